//! What sockets cost: echo servers on several runtimes, each in a process and on a core of its own,
//! and one client that drives them all alike. The README says what is measured and how.

mod child;
mod client;
mod control;
mod machine;
mod servers;
mod syscalls;
mod table;

use std::{error::Error, process::ExitCode};

use servers::Kind;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: net                        measure every server and print the table
       net serve KIND CORE        be a server, told what to do on stdin
       net connect ADDRESS COUNT  open connections and keep them until stdin ends";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("net: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match *arguments {
        [] => table::print(),
        ["serve", kind, core] => {
            let kind = Kind::named(kind).ok_or_else(|| format!("no server is named '{kind}'"))?;
            control::serve(kind, core.parse()?)
        }
        ["connect", address, count] => client::hold(address.parse()?, count.parse()?),
        _ => Err(USAGE.into()),
    }
}
