//! How many system calls a process makes, by the kernel's own tracepoint.
//!
//! `perf` reads it without stopping the process. `strace` would stop it at every call, so that more
//! messages pile up behind each wait, and the figure would be another.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Result, child::Asked};

const EVENT: &str = "raw_syscalls:sys_enter";

/// The calls of process `pid`, all threads, while `work` runs.
pub(crate) fn during(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let mut command = Command::new("perf");
    command.args(["stat", "-x,", "-e", EVENT, "-p", &pid.to_string()]);
    // It starts with its counter off, and obeys the orders that come on its stdin.
    command.args(["-D", "-1", "--control", "fd:0,1"]).stderr(Stdio::piped());
    let mut perf = Asked::start(&mut command).map_err(|error| format!("perf: {error}"))?;
    let mut report = perf.child().stderr.take().ok_or("perf has no stderr")?;
    let told = count_during(&mut perf, work);
    if told.is_err() {
        drop(perf);
    }
    // It ends now, and says what it has counted or why not.
    let mut words = String::new();
    report.read_to_string(&mut words)?;
    told.map_err(|error| format!("{error}; perf said: {}", words.trim()))?;
    count(&words).ok_or_else(|| format!("perf counted nothing: {}", words.trim()).into())
}

fn count_during(perf: &mut Asked, work: impl FnOnce() -> Result<()>) -> Result<()> {
    perf.ask("enable")?;
    work()?;
    perf.ask("disable")?;
    // As a user ends it.
    Ok(kill_process(Pid::from_child(perf.child()), Signal::INT)?)
}

/// The first field of the line about the event.
fn count(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains(EVENT))?;
    line.split(',').next()?.parse().ok()
}
