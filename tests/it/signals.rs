//! SIGQUIT makes loops print their snapshots, with the feature `signal`. Each test sends it to a
//! process of its own, and tells that what it has seen by the end of the pipe to its stdin.

use std::{
    future::poll_fn,
    io::{BufRead, BufReader, Read, Write, stdin},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    task::{Poll, Waker},
    thread,
};

use boucle::{Grade, Loop, Waiter, forever, spawn};
use signal_hook::{consts::SIGQUIT, low_level::raise};

const CHILD: &str = "BOUCLE_TEST_SIGNALLED";

/// The test called `name`, in a process of its own; `None` there.
fn start(name: &str) -> Option<(Child, BufReader<ChildStderr>)> {
    if std::env::var_os(CHILD).is_some() {
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Some((child, stderr))
}

/// Sends it. ThreadSanitizer keeps a signal from outside until the thread that gets it calls into
/// libc, and here that is the thread that waits for the test to end; so there a line has the child
/// send it to itself.
fn quit(child: &mut Child) {
    if cfg!(boucle_tsan) {
        return child.stdin.as_mut().unwrap().write_all(b"quit\n").unwrap();
    }
    let kill = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
    assert!(kill.expect("there is a `kill`").success());
}

/// The next lines of a child's stderr; the places in this file are `HERE`.
fn lines(stderr: &mut BufReader<ChildStderr>, count: usize) -> Vec<String> {
    let read = |_| {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the child ended, or said {line:?}");
        scrub(line.trim_end())
    };
    (0..count).map(read).collect()
}

fn scrub(line: &str) -> String {
    let mut parts = line.split(file!());
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += "HERE";
        text += part.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
    }
    text
}

/// Lets the child end, which has nothing more to say.
fn end(mut child: Child, mut stderr: BufReader<ChildStderr>) {
    drop(child.stdin.take());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(child.wait().unwrap().success());
}

/// Ends when `when` returns, in a thread; until then somebody else has a waker.
async fn meanwhile(when: impl FnOnce() + Send + 'static) {
    let state = Arc::new(Mutex::new((false, None::<Waker>)));
    let theirs = state.clone();
    drop(thread::spawn(move || {
        when();
        let waker = {
            let mut state = theirs.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }));
    poll_fn(|cx| {
        let mut state = state.lock().unwrap();
        state.1 = Some(cx.waker().clone());
        if state.0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Calls `f` on a thread of that name.
fn in_the_kitchen(f: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("kitchen".into()).spawn(f).unwrap().join().unwrap();
}

fn until_stdin_ends() {
    for line in stdin().lines() {
        assert_eq!(line.unwrap(), "quit");
        raise(SIGQUIT).unwrap();
    }
}

#[test]
fn a_loop_that_sleeps_prints_its_snapshot_each_time() {
    let name = "signals::a_loop_that_sleeps_prints_its_snapshot_each_time";
    let Some((mut child, mut stderr)) = start(name) else {
        in_the_kitchen(|| {
            let l = Loop::new();
            l.report_on_sigquit().unwrap();
            l.report_on_sigquit().unwrap(); // asking twice is asking once
            l.block_on(async {
                let gate = Waiter::new(1).named("gate");
                let _guest = spawn(async move { gate.wait().await }).named("guest");
                let _hermit = spawn(forever()).named("hermit");
                boucle::yield_now().await;
                eprintln!("ready");
                meanwhile(until_stdin_ends).await;
            });
        });
        return;
    };
    assert_eq!(lines(&mut stderr, 1), ["ready"]);
    for _ in 0..2 {
        quit(&mut child);
        let report = lines(&mut stderr, 4);
        let expected = [
            "boucle: SIGQUIT: 3 tasks on thread 'kitchen', 1 stuck",
            "  main #1 WAITING, waiting for a foreign future, spawned at HERE",
            "    guest #2 WAITING, waiting for waiter \"gate\" at HERE, spawned at HERE",
            "    hermit #3 WAITING, waiting for ever on purpose at HERE, spawned at HERE",
        ];
        assert_eq!(report, expected);
    }
    end(child, stderr);
}

#[test]
fn every_loop_that_asked_and_is_there_prints() {
    let name = "signals::every_loop_that_asked_and_is_there_prints";
    let Some((mut child, mut stderr)) = start(name) else {
        let gone = Loop::new();
        gone.report_on_sigquit().unwrap();
        let _lost = gone.spawn(forever());
        drop(gone);
        let (ready, all) = mpsc::channel();
        let cook = |name: &str| {
            let (done, end) = mpsc::channel::<()>();
            let ready = ready.clone();
            let run = move || {
                let l = Loop::new();
                l.block_on(async {
                    boucle::report_on_sigquit().unwrap();
                    ready.send(()).unwrap();
                    meanwhile(move || assert!(end.recv().is_err())).await;
                });
            };
            let thread = thread::Builder::new().name(name.into()).spawn(run).unwrap();
            (thread, done)
        };
        let cooks = ["anna", "bruno"].map(cook);
        (0..cooks.len()).for_each(|_| all.recv().unwrap());
        // It has not asked.
        let silent = Loop::new();
        let _task = silent.spawn(forever());
        eprintln!("ready");
        until_stdin_ends();
        for (thread, done) in cooks {
            drop(done);
            thread.join().unwrap();
        }
        return;
    };
    assert_eq!(lines(&mut stderr, 1), ["ready"]);
    quit(&mut child);
    let mut reports = [lines(&mut stderr, 2), lines(&mut stderr, 2)];
    reports.sort();
    let expected = ["anna", "bruno"].map(|name| {
        let first = format!("boucle: SIGQUIT: 1 task on thread '{name}', 0 stuck");
        [first, "  main #1 WAITING, waiting for a foreign future, spawned at HERE".into()]
    });
    assert_eq!(reports, expected);
    end(child, stderr);
}

/// A host is told that there is a letter, and its loop prints when it is run.
#[test]
fn the_host_of_a_loop_is_called() {
    let Some((mut child, mut stderr)) = start("signals::the_host_of_a_loop_is_called") else {
        in_the_kitchen(|| {
            let l = Loop::new();
            l.report_on_sigquit().unwrap();
            let _task = l.spawn(forever()).named("hermit");
            l.run_until_stalled();
            let (bell, rings) = mpsc::channel();
            l.on_wake(move || bell.send(()).unwrap());
            let parent = thread::spawn(until_stdin_ends);
            eprintln!("ready");
            rings.recv().unwrap();
            eprintln!("rung");
            l.run_until_stalled();
            parent.join().unwrap();
        });
        return;
    };
    assert_eq!(lines(&mut stderr, 1), ["ready"]);
    quit(&mut child);
    let report = lines(&mut stderr, 3);
    let expected = [
        "rung",
        "boucle: SIGQUIT: 1 task on thread 'kitchen', 1 stuck",
        "  hermit #1 WAITING, waiting for ever on purpose at HERE, spawned at HERE",
    ];
    assert_eq!(report, expected);
    end(child, stderr);
}

#[test]
fn a_loop_that_asked_can_still_be_stuck() {
    let l = Loop::new();
    l.report_on_sigquit().unwrap();
    assert_eq!(l.try_block_on(forever()).unwrap_err().grade(), Grade::Proven);
}
