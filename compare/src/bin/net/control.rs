//! The server's end of its control pipes: questions come on stdin, answers go to stdout.
//!
//! A thread of its own waits for them. It sleeps in one read while nothing is asked, so that it
//! costs the server nothing, and ends the process when the asker is gone.

use std::{
    io::{self, BufRead, Write},
    process, thread,
};

use crate::{
    Result, machine,
    servers::{self, Kind},
};

/// Says where the server listens, then serves until stdin ends.
pub(crate) fn serve(kind: Kind, core: usize) -> Result<()> {
    machine::pin_to(core)?;
    machine::allow_many_files()?;
    thread::Builder::new().name("control".into()).spawn(|| {
        let code = match answer() {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("net: control: {error}");
                1
            }
        };
        process::exit(code);
    })?;
    kind.serve(|address| say(&address))?;
    Err("the server ended by itself".into())
}

fn answer() -> io::Result<()> {
    for question in io::stdin().lock().lines() {
        match question?.as_str() {
            "cpu" => say(&machine::cpu_time())?,
            "accepted" => say(&servers::accepted())?,
            other => return Err(io::Error::other(format!("no answer to '{other}'"))),
        }
    }
    Ok(())
}

fn say(what: &dyn std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{what}")?;
    out.flush()
}
