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

/// The peers' versions, from the lock file; and what two of them drive.
pub(crate) fn peers() -> String {
    const PEERS: [&str; 10] = [
        "tokio",
        "async-executor",
        "async-io",
        "futures",
        "monoio",
        "compio",
        "zruntime",
        "futures-concurrency",
        "pollster",
        "futures-lite",
    ];
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap_or_default();
    let version = |name: &str| {
        let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        after.split('"').next()
    };
    let versions = PEERS.map(|name| format!("{name} {}", version(name).unwrap_or("?")));
    let monoio = if monoio::utils::detect_uring() { "io_uring" } else { "epoll" };
    let compio = compio::runtime::Runtime::new().map(|runtime| match runtime.driver_type() {
        compio::driver::DriverType::IoUring => "io_uring",
        _ => "polling",
    });
    let compio = compio.unwrap_or("nothing");
    format!("{}; monoio drives {monoio}, compio {compio}", versions.join(", "))
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
