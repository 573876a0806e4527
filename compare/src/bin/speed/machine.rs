//! What the figures were measured on, and when.

use std::{process::Command, thread::available_parallelism};

use rustix::{
    system::uname,
    time::{ClockId, clock_gettime},
};

/// One line: CPU, cores, kernel, compiler, date.
pub(crate) fn line() -> String {
    let cores = available_parallelism().map_or(1, usize::from);
    let kernel = uname().release().to_string_lossy().into_owned();
    format!("{}, {cores} cores, Linux {kernel}, {}, {}", cpu(), compiler(), date())
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let virtual_machine = if info.contains(" hypervisor") { " (virtual machine)" } else { "" };
    format!("{}{virtual_machine}", model.unwrap_or("unknown CPU"))
}

fn compiler() -> String {
    let version = Command::new("rustc").arg("--version").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    match version {
        // Without the commit.
        Ok(line) if !line.is_empty() => line.split(" (").next().unwrap_or_default().to_owned(),
        _ => "unknown rustc".into(),
    }
}

/// Year, month and day, UTC.
fn date() -> String {
    let mut days = clock_gettime(ClockId::Realtime).tv_sec / 86_400;
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let february = 28 + i64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}
