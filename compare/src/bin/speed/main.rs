//! What tasks, wakes and timers cost: boucle beside other single-threaded runtimes, and beside the
//! bare limit, in one process. The README says what is measured and how.

mod allocations;
mod apart;
mod cases;
mod counts;
mod machine;
mod measure;
mod meter;
mod plots;
mod report;
mod resident;
mod runtimes;
mod table;
mod workloads;

use std::{error::Error, process::ExitCode};

use cases::GROUPS;
use measure::Effort;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: speed                        measure all, write docs/speed and the README's table
       speed counts                 count instructions under valgrind, write docs/speed
       speed only WORKLOAD...       measure a part, and print it
       speed quick                  see that all runs, in a minute; the figures mean nothing
       speed resident RUNTIME       be a child that holds a million idle tasks
       speed one WORKLOAD SIZE RUNTIME OPS
                                    be a child that does one thing, for callgrind";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("speed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match *arguments {
        [] => optimised().and_then(|()| report::write()),
        ["counts"] => optimised().and_then(|()| counts::write()),
        ["only", ref names @ ..] if !names.is_empty() => {
            print(Effort::Full, |name| names.contains(&name));
            Ok(())
        }
        ["quick"] => {
            print(Effort::Quick, |_| true);
            Ok(())
        }
        ["resident", runtime] => {
            let idle = runtimes::RUNTIMES.iter().find(|s| s.name == runtime).and_then(|s| s.idle);
            idle.ok_or_else(|| format!("no runtime is named '{runtime}'"))?();
            Ok(())
        }
        ["one", workload, size, subject, ops] => {
            counts::one(workload, size.parse()?, subject, ops.parse()?)
        }
        _ => Err(USAGE.into()),
    }
}

fn optimised() -> Result<()> {
    if cfg!(debug_assertions) {
        return Err("figures of a debug build mean nothing: use cargo run --release".into());
    }
    Ok(())
}

fn print(effort: Effort, wanted: impl Fn(&str) -> bool) {
    for group in GROUPS {
        let rows = measure::group(group, effort, &wanted);
        if !rows.is_empty() {
            println!("## {}\n\n{}", group.title, table::times(group, &rows, |_| true));
        }
    }
}
