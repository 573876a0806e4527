//! The examples print what the tutorials print.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use crate::support::without_sites;

/// Runs an example under virtual time and compares its lines with the `expected` ones, in which
/// one `*` stands for anything.
#[track_caller]
fn check(example: &str, expected: &[&str]) {
    let stdout = printed(example, &[]);
    let lines: Vec<&str> = stdout.lines().collect();
    for (n, (line, pattern)) in lines.iter().zip(expected).enumerate() {
        let (head, tail) = pattern.split_once('*').unwrap_or((pattern, ""));
        let fits = if pattern.contains('*') {
            line.len() >= head.len() + tail.len() && line.starts_with(head) && line.ends_with(tail)
        } else {
            line == pattern
        };
        assert!(fits, "{example}, line {}: {line:?} instead of {pattern:?}", n + 1);
    }
    assert_eq!(lines.len(), expected.len(), "{example} printed:\n{stdout}");
}

/// What an example prints under virtual time.
#[track_caller]
fn printed(example: &str, more: &[&str]) -> String {
    let mut example = Command::new(binary(example));
    let output = example.arg("--virtual").args(more).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("examples print UTF-8")
}

/// Cargo builds the examples beside the tests, unless it is told to build one test only.
pub(crate) fn binary(example: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test knows its file");
    let profile = exe.parent().and_then(Path::parent).expect("<profile>/deps/<test>");
    let binary =
        profile.join("examples").join(example).with_extension(std::env::consts::EXE_EXTENSION);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{example}.rs"));
    if modified(&binary) < modified(&source) {
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--examples"]);
        if cfg!(feature = "hyper") {
            build.args(["--features", "hyper"]);
        } else if cfg!(feature = "net") {
            build.args(["--features", "net"]);
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        // `<target>/<profile>`, or `<target>/<triple>/<profile>` with `--target`.
        let mut target = profile.parent().expect("a profile has a folder");
        let triple = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if triple.starts_with(std::env::consts::ARCH) {
            build.arg("--target").arg(triple);
            target = target.parent().expect("a triple has a folder");
        }
        build.arg("--target-dir").arg(target);
        assert!(build.status().expect("cargo starts").success(), "the examples do not build");
    }
    binary
}

/// `None`, the earliest of all, if there is no such file.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

#[test]
fn fast_food() {
    check(
        "fast_food",
        &[
            "burger starts",
            "burger ready (3 s)",
            "fries starts",
            "fries ready (7 s)",
            "soda starts",
            "soda ready (8 s)",
            "Client served in 8 s",
            "burger starts",
            "fries starts",
            "soda starts",
            "soda ready (1 s)",
            "burger ready (3 s)",
            "fries ready (4 s)",
            "Client served in 4 s",
        ],
    );
}

#[test]
fn tic_tac() {
    check(
        "tic_tac",
        &[
            "<Task 'tic_tac' [NEW]>",
            "Tic",
            "<Task 'tic_tac' [READY]>",
            "Tac",
            "<Task 'tic_tac' [READY]>",
            r#"<Task 'tic_tac' [FINISHED] ("Boum!")>"#,
            "Tic",
            "spam",
            "Tac",
            "eggs",
            r#"<Task 'tic_tac' [FINISHED] ("Boum!")>"#,
            "bacon",
            r#"<Task 'spam' [FINISHED] ("spam")>"#,
        ],
    );
}

#[test]
fn wait_and_gather() {
    let mut expected = vec![
        "I say spam 10 times",
        "spam",
        "I say eggs 3 times",
        "eggs",
        "I say bacon 5 times",
        "bacon",
    ];
    expected.extend(["spam", "eggs", "bacon"].repeat(2));
    expected.extend(["spam", "bacon"].repeat(2));
    expected.extend(["spam"; 5]);
    expected.push("3 done, 0 failed");
    expected.extend(["un", "deux", "trois", "3 done, 0 failed"]);
    expected.extend(["3 squared", "2 squared", "1 squared", "[9, 1, 4]"]);
    expected.push(r#"[<Task 'cook' [FINISHED] ("a plate of fries")>]"#);
    expected.push("task 'cook' (#*) panicked: toast burnt");
    check("wait_and_gather", &expected);
}

#[test]
fn task_set() {
    check(
        "task_set",
        &[
            "[New, New, New, New, New]",
            " 0 s: stew starts",
            " 0 s: soup starts",
            " 1 s: toast starts",
            " 1 s: soup served",
            " 3 s: salad starts",
            " 3 s: task 'toast' (#*) panicked: toast burnt",
            " 4 s: cake starts",
            " 4 s: stew served",
            r#"[<Task 'salad' [FINISHED] ("salad")>, <Task 'cake' [WAITING]>]"#,
            " 4 s: closed, and the cake is cancelled",
            " 0 s: tea starts",
            " 0 s: coffee starts",
            " 0 s: ice starts",
            r#"[<Task 'coffee' [FINISHED] ("coffee")>]"#,
            r#"[<Task 'tea' [FINISHED] ("tea")>]"#,
            "<Task 'ice' [CANCELLED]>",
        ],
    );
}

#[test]
fn waiter() {
    let mut expected = vec!["start"];
    expected.extend(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "finished"]);
    expected.extend(["Anne takes the microphone", "Anne speaks", "Anne hands it on"]);
    expected.extend(["Bruno takes the microphone", "Bruno speaks", "Bruno hands it on"]);
    expected.extend(["Chloe takes the microphone", "Chloe speaks", "Chloe hands it on"]);
    check("waiter", &expected);
}

#[test]
fn messages() {
    check("messages", &["foo", "aaa", "bbb", "bar", "ccc", "baz"]);
}

#[test]
fn subtask() {
    check(
        "subtask",
        &[
            "example starts its subtask",
            "example 1",
            "subtask 1",
            "example 2",
            "subtask 2",
            "example 3",
            "subtask 3",
            "example waits",
            "subtask 4",
            "subtask 5",
            "subtask ends",
            "example ends with a result",
        ],
    );
}

#[test]
fn embed() {
    check(
        "embed",
        &["task: waits for a letter", "host: key o", "host: key k", "task: bonjour", "task: slept"],
    );
}

#[test]
fn scope() {
    check(
        "scope",
        &[
            "A scope waits for its children:",
            "  burger starts",
            "  fries starts",
            "  soda starts",
            "  soda is dish number 1",
            "  fries is dish number 2",
            "  burger is dish number 3",
            "  the body is done first, and yet 3 dishes are served",
            "One error ends them all:",
            "  the old pan is cleaned",
            "  the new pan is cleaned",
            "  the old pan burns",
        ],
    );
}

#[test]
fn graceful_shutdown() {
    check(
        "graceful_shutdown",
        &[
            "web: request 1",
            "mail: request 1",
            "web: request 2",
            "mail: request 2",
            "web: request 3",
            "^C",
            "mail: flushed 2 requests",
            "web: flushed 3 requests",
            "stubborn: cut off",
            "down after 12 s",
        ],
    );
}

#[test]
fn thread_per_core() {
    check(
        "thread_per_core",
        &[
            "burger, cooked for 300 ms",
            "fries, cooked for 400 ms",
            "soda, cooked for 100 ms",
            "salad, cooked for 200 ms",
            "coffee, cooked for 100 ms",
            "every kitchen has signed, each on its own thread",
            "5 plates washed",
        ],
    );
}

#[test]
fn why_it_hangs() {
    check(
        "why_it_hangs",
        &[
            "tick: 0 stuck",
            "tick: 2 stuck",
            "tick: 2 stuck",
            "deadlock: 3 tasks wait for what can never happen",
            "  cycle: anna #3 -> bruno #4 -> anna #3",
            "  main #1 WAITING, waiting for the end of anna #3*",
            "    anna #3 WAITING, waiting 2.0 s for mutex \"big pan\" taken by bruno #4 at examples/*",
            "    bruno #4 WAITING, waiting 2.0 s for mutex \"small pan\" taken by anna #3 at *",
        ],
    );
    let graph = printed("why_it_hangs", &["--dot"]);
    assert!(graph.starts_with("digraph boucle {\n") && graph.ends_with("}\n"), "{graph}");
}

#[cfg(all(unix, feature = "net"))]
#[test]
fn reverse_echo() {
    check(
        "reverse_echo",
        &[
            "server: somebody comes",
            " 2 s anna: soda -> ados",
            " 4 s anna: fries -> seirf",
            "server: somebody comes",
            " 5 s bruno: burger -> regrub",
            "server: somebody comes",
            " 7 s chloe: caviar -> raivac",
            "10 s bruno: radar -> radar",
            "15 s bruno: toast -> tsaot",
        ],
    );
}

/// The README shows the code of this example, and what it prints, line numbers and all.
#[test]
fn the_readme_shows_why_it_hangs() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let (readme, code) = (read("README.md").unwrap(), read("examples/why_it_hangs.rs").unwrap());
    let printed = printed("why_it_hangs", &[]);
    let report = &printed[printed.find("deadlock").expect("it is one")..];
    let report = report.replace(std::path::MAIN_SEPARATOR, "/");
    let block = format!("```text\n{report}```\n");
    let shown = if cfg!(debug_assertions) {
        readme.contains(&block)
    } else {
        without_sites(&readme).contains(&without_sites(&block))
    };
    assert!(shown, "not in README.md:\n{report}");
    let cook = &code[code.find("async fn cook").unwrap()..];
    let cook = &cook[..cook.find("\n}\n").unwrap() + 3];
    assert!(readme.contains(cook), "not in README.md:\n{cook}");
}
