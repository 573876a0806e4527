//! A snapshot as a graph: the text, and whether Graphviz can read it.

use std::{
    io::Write,
    process::{Command, Stdio},
    rc::Rc,
    thread,
    time::Duration,
};

use boucle::{
    Loop, Snapshot, Stalled, Waiter, forever, sleep, spawn,
    sync::{Mutex, Semaphore, channel},
};

use crate::support::virtual_loop;

/// How every graph begins.
const HEAD: &str = r#"digraph boucle {
  graph [rankdir=LR];
  node [fontname="sans-serif", fontsize=11];
  node [shape=box, style="rounded,filled", fillcolor=wheat];
  edge [fontname="sans-serif", fontsize=9];
"#;

/// The graph that `f` makes, in a thread of its own, where resources are counted from one; the
/// places in this file are `HERE`.
fn graph(f: impl FnOnce(&Loop) -> String + Send + 'static) -> String {
    let graph = thread::spawn(move || f(&virtual_loop())).join().expect("it is drawn");
    let mut parts = graph.split(file!());
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += "HERE";
        text += part.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
    }
    text
}

#[track_caller]
fn check(graph: &str, expected: &str) {
    let mut expected = expected.replace("RED", "color=red, penwidth=2").replace("ODD", QUOTED);
    if cfg!(debug_assertions) {
        // Then timers and joins know where they are written.
        expected = expected.replace(r#"="its end""#, r#"="its end\nHERE""#);
        expected = expected.replace(" -> w7_0;", r#" -> w7_0 [label="HERE"];"#);
    }
    assert_eq!(graph.strip_prefix(HEAD), Some(&*expected), "{graph}");
}

fn of(stalled: &Stalled) -> String {
    stalled.snapshot().to_dot()
}

/// Two cooks who each have a pan and want the other's, and a third who waits for one of them.
async fn kitchen() {
    let (small, big) = (Rc::new(Mutex::new(()).named("small")), Rc::new(Mutex::new(())));
    let cook = |first: &Rc<Mutex<()>>, second: &Rc<Mutex<()>>| {
        let (first, second) = (first.clone(), second.clone());
        async move {
            let _first = first.lock().await;
            sleep(Duration::from_secs(1)).await;
            let _second = second.lock().await;
        }
    };
    let anna = spawn(cook(&small, &big)).named("anna");
    let _bruno = spawn(cook(&big, &small)).named("bruno");
    anna.await.unwrap();
}

#[test]
fn a_circle_is_red() {
    let graph = graph(|l| of(&l.try_block_on(kitchen()).unwrap_err()));
    check(
        &graph,
        r#"  t1 [label="main #1\nWAITING", fillcolor=wheat, RED, tooltip="spawned at HERE"];
  t2 [label="anna #2\nWAITING", fillcolor=wheat, RED, tooltip="spawned at HERE"];
  t3 [label="bruno #3\nWAITING", fillcolor=wheat, RED, tooltip="spawned at HERE"];
  r1 [label="mutex\nsmall", shape=ellipse, fillcolor=white];
  r2 [label="mutex\nHERE", shape=ellipse, fillcolor=white];
  t1 -> t2 [label="its end"];
  t2 -> r2 [label="the lock\nHERE", RED];
  t3 -> r1 [label="the lock\nHERE", RED];
  r1 -> t2 [label="taken by", style=dashed, RED];
  r2 -> t3 [label="taken by", style=dashed, RED];
  t1 -> t2 [style=dotted, arrowhead=none];
  t1 -> t3 [style=dotted, arrowhead=none];
}
"#,
    );
}

/// Something of everything.
fn assorted(l: &Loop) -> Snapshot {
    l.block_on(async {
        let semaphore = Rc::new(Semaphore::new(3));
        let taken = semaphore.clone();
        let ended = spawn(async move { std::mem::forget(taken.acquire_many(2).await) });
        ended.await.unwrap();
        let _wants = spawn(async move { drop(semaphore.acquire_many(2).await) }).named("wants");
        let _forever = spawn(forever()).named("hermit");
        let (_tx, rx) = channel::<()>(1);
        let _receiver = spawn(async move { rx.recv().await }).named("receiver");
        boucle::scope(async |s| {
            let _child = s.spawn(async { Waiter::new(1).wait().await }).named("child");
            let _sleeper = spawn(sleep(Duration::from_millis(1500))).named("sleeper");
            boucle::yield_now().await;
            let _new = spawn(async {}).named("new");
            let snapshot = boucle::snapshot();
            s.cancel();
            snapshot
        })
        .await
    })
}

#[test]
fn there_is_something_of_everything() {
    let graph = graph(|l| assorted(l).to_dot());
    check(
        &graph,
        r#"  t1 [label="main #1\nRUNNING", fillcolor=limegreen, tooltip="spawned at HERE"];
  t3 [label="wants #3\nWAITING", fillcolor=wheat, tooltip="spawned at HERE"];
  t4 [label="hermit #4\nWAITING", fillcolor=wheat, RED, tooltip="spawned at HERE"];
  t5 [label="receiver #5\nWAITING", fillcolor=wheat, tooltip="spawned at HERE"];
  t6 [label="child #6\nWAITING", fillcolor=wheat, tooltip="spawned at HERE"];
  t7 [label="sleeper #7\nWAITING", fillcolor=wheat, tooltip="spawned at HERE"];
  t8 [label="new #8\nNEW", fillcolor=aliceblue, tooltip="spawned at HERE"];
  t2 [label="task #2\nhas ended", style="rounded,dashed"];
  r1 [label="semaphore\nHERE", shape=ellipse, fillcolor=white];
  r2 [label="channel\nHERE", shape=ellipse, fillcolor=white];
  r3 [label="waiter\nHERE", shape=ellipse, fillcolor=white];
  t3 -> r1 [label="2 permits\nHERE"];
  w4_0 [label="ever, on purpose", shape=plaintext, style=""];
  t4 -> w4_0 [label="HERE"];
  t5 -> r2 [label="a message\nHERE"];
  t6 -> r3 [label="its opening\nHERE"];
  w7_0 [label="a timer in 1.5 s", shape=plaintext, style=""];
  t7 -> w7_0;
  r1 -> t2 [label="taken by", style=dashed];
  t1 -> t3 [style=dotted, arrowhead=none];
  t1 -> t4 [style=dotted, arrowhead=none];
  t1 -> t5 [style=dotted, arrowhead=none];
  t1 -> t6 [style=dotted, arrowhead=none, label="scope"];
  t1 -> t7 [style=dotted, arrowhead=none];
  t1 -> t8 [style=dotted, arrowhead=none];
}
"#,
    );
}

const ODD: &str = "\"\\n\\N\n\r\0\u{ffff}<b>&amp;{x|y}été鍋🍳\\";

/// The same, quoted.
const QUOTED: &str = r#"\"\\n\\N\n\\r\\u{0}\\u{ffff}<b>&amp;amp;{x|y}été鍋🍳\\"#;

/// A task, a mutex and a waiter with that name.
fn named(l: &Loop, name: &'static str) -> Stalled {
    let waiter = Waiter::new(1).named(name);
    let mutex = Mutex::new(()).named(name);
    let _task = l.spawn(async move { waiter.wait().await }).named(name);
    let stalled = l.try_block_on(async {
        let _guard = mutex.lock().await;
        drop(mutex.lock().await);
    });
    stalled.unwrap_err()
}

#[test]
fn any_name_is_quoted() {
    let graph = graph(|l| of(&named(l, ODD)));
    check(
        &graph,
        r#"  t1 [label="ODD #1\nWAITING", fillcolor=wheat, RED, tooltip="spawned at HERE"];
  t2 [label="main #2\nWAITING", fillcolor=wheat, RED, tooltip="spawned at HERE"];
  r1 [label="waiter\nODD", shape=ellipse, fillcolor=white];
  r2 [label="mutex\nODD", shape=ellipse, fillcolor=white];
  t1 -> r1 [label="its opening\nHERE"];
  t2 -> r2 [label="the lock\nHERE", RED];
  r2 -> t2 [label="taken by", style=dashed, RED];
}
"#,
    );
}

/// A test of the text is no test of the language: Graphviz has the last word.
#[test]
fn graphviz_reads_it() {
    let mut dot = Command::new("dot");
    dot.arg("-Tsvg").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut dot) = dot.spawn() else {
        eprintln!("SKIPPED graphviz_reads_it: there is no `dot` here (install graphviz)");
        return;
    };
    let text = graph(|l| {
        let graphs = [of(&l.try_block_on(kitchen()).unwrap_err()), assorted(l).to_dot()];
        graphs.concat() + &of(&named(l, ODD))
    });
    // Less than a pipe holds, and `dot` reads all graphs before it ends.
    dot.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let output = dot.wait_with_output().expect("it ends");
    let (svg, errors) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert!(output.status.success(), "{errors:?}\n{text}");
    let svg = svg.expect("it is UTF-8");
    assert_eq!(svg.matches("</svg>").count(), 3, "{svg}");
    // Every character of the name is to be seen, the line break as two lines.
    let escaped = svg.replace("&#45;", "-").replace("&#160;", " ");
    let line = r"\r\u{0}\u{ffff}&lt;b&gt;&amp;amp;{x|y}été鍋🍳\";
    assert!(escaped.contains(line), "{svg}");
}
