//! How often each asks the allocator, and for how much, told by the program `speed_allocations`.
//!
//! It is another program since a counting allocator takes time, which would be measured too.

use std::{collections::HashMap, process::Command};

use crate::Result;

/// Workload, size and subject.
pub(crate) type Key = (String, usize, String);

/// Allocations and bytes per operation.
pub(crate) type Figures = (f64, f64);

pub(crate) type Allocations = HashMap<Key, Figures>;

/// Builds and runs the other program.
pub(crate) fn count() -> Result<Allocations> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["run", "--quiet", "--release", "--bin", "speed_allocations"]);
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("speed_allocations: {}", output.status).into());
    }
    let words = String::from_utf8(output.stdout)?;
    words.lines().map(parse).collect()
}

/// Fields are separated by tabs: names have spaces.
fn parse(line: &str) -> Result<(Key, Figures)> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [workload, size, subject, count, bytes] = fields[..] else {
        return Err(format!("speed_allocations said '{line}'").into());
    };
    Ok(((workload.into(), size.parse()?, subject.into()), (count.parse()?, bytes.parse()?)))
}
