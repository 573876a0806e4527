//! Instructions in user space, counted by callgrind: the same on every run, however busy the
//! machine is. Each thing is done by a child with N operations and with 2N; what both do once is
//! not in the difference.

use std::{
    fs,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use crate::{
    Result,
    cases::{Case, GROUPS, Group, Series, Workload::SpawnJoin},
    machine,
    meter::Meter,
    report, table,
};

/// Does one thing and says nothing.
pub(crate) fn one(workload: &str, size: usize, subject: &str, ops: usize) -> Result<()> {
    for group in GROUPS {
        let series = group.series.iter().find(|series| series.name == workload);
        let subject = group.subjects.iter().find(|candidate| candidate.name == subject);
        if let (Some(series), Some(subject)) = (series, subject) {
            let meter = Meter::new(|| [0, 0]);
            let case = Case { workload: series.workload, size, ops };
            (subject.run)(case, &meter).ok_or("it has nothing of the kind")?;
            return Ok(());
        }
    }
    Err(format!("no '{workload}', or no '{subject}' in it").into())
}

/// What is counted, of whom, and the count.
struct Job {
    series: &'static Series,
    size: usize,
    subject: usize,
    name: &'static str,
    count: Option<u64>,
}

pub(crate) fn write() -> Result<()> {
    Command::new("valgrind")
        .arg("--version")
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let mut words = format!(
        "# Instructions\n\nUser-space instructions per operation, counted by callgrind; {}; {}. \
         `cargo run --release -p boucle-compare -- counts` writes this page.\n",
        machine::line(),
        machine::peers()
    );
    for group in GROUPS {
        let mut jobs = jobs(group);
        count_all(&mut jobs);
        words += &format!("\n## {}\n\n{}", group.title, lines(group, &jobs));
    }
    print!("{words}");
    fs::create_dir_all(report::directory())?;
    Ok(fs::write(report::directory().join("instructions.md"), words)?)
}

fn jobs(group: &'static Group) -> Vec<Job> {
    let mut jobs = Vec::new();
    for series in group.series {
        for &(size, first) in series.sizes {
            if first && size <= series.counted {
                for (subject, of) in group.subjects.iter().enumerate() {
                    jobs.push(Job { series, size, subject, name: of.name, count: None });
                }
            }
        }
    }
    jobs
}

/// On all cores: counts do not mind company.
fn count_all(jobs: &mut [Job]) {
    let (next, total) = (AtomicUsize::new(0), jobs.len());
    let slots: Vec<Mutex<&mut Job>> = jobs.iter_mut().map(Mutex::new).collect();
    thread::scope(|s| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(|| {
                while let Some(slot) = slots.get(next.fetch_add(1, Relaxed)) {
                    let mut job = slot.lock().expect("nobody panics");
                    job.count = per_op(&job);
                    eprint!("\r{} of {total} counted ", next.load(Relaxed).min(total));
                }
            });
        }
    });
    eprintln!();
}

fn per_op(job: &Job) -> Option<u64> {
    // A fifth of what is timed is enough, and a whole number of batches.
    let n = (job.series.case(job.size).ops / 5).next_multiple_of(job.size);
    let [once, twice] = [1, 2].map(|times| {
        // Not a second burst: a larger one.
        let size = if job.series.workload == SpawnJoin { times * job.size } else { job.size };
        count(job.series.name, size, job.name, times * n)
    });
    Some((twice? - once?) / n as u64)
}

/// The instructions of one run, read from callgrind's summary.
fn count(workload: &str, size: usize, subject: &str, ops: usize) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .args(["one", workload, &size.to_string(), subject, &ops.to_string()])
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = log.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn lines(group: &Group, jobs: &[Job]) -> String {
    let lines: Vec<(String, &[Job])> = jobs
        .chunks(group.subjects.len())
        .map(|line| (line[0].series.title(line[0].size), line))
        .collect();
    table::any(group, "instructions", &lines, |line, n| {
        assert_eq!(line[n].subject, n, "a line has all subjects in their order");
        line[n].count.map(|count| (Some(count), count.to_string()))
    })
}
