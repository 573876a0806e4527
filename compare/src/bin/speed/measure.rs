//! Rounds over all subjects in turn, and medians.

use rustix::time::{ClockId, clock_gettime};

use crate::{
    cases::{Case, Group, Series, Workload, short},
    meter::{Meter, Reading},
};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Effort {
    Full,
    /// To see that all runs.
    Quick,
}

/// One line of a table: a workload at one size.
pub(crate) struct Row {
    pub(crate) series: &'static Series,
    pub(crate) size: usize,
    /// Whether it is in the first table.
    pub(crate) first: bool,
    /// For each subject of the group, nanoseconds per operation in each round.
    cells: Vec<Option<Vec<f64>>>,
}

impl Row {
    pub(crate) fn median(&self, subject: usize) -> Option<f64> {
        self.cells[subject].clone().map(median)
    }

    /// The median of the rounds' own ratios: what slows a whole round leaves them alone.
    pub(crate) fn ratio(&self, of: usize, to: usize) -> Option<f64> {
        let (of, to) = (self.cells[of].as_ref()?, self.cells[to].as_ref()?);
        Some(median(of.iter().zip(to).map(|(of, to)| of / to).collect()))
    }

    /// The fastest that is neither the limit nor we.
    pub(crate) fn best_peer(&self) -> Option<usize> {
        let known = (2..self.cells.len()).filter(|&n| self.cells[n].is_some());
        known.min_by(|&a, &b| self.median(a).unwrap().total_cmp(&self.median(b).unwrap()))
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// All sizes of the wanted workloads, small ones first: what a large one leaves in the allocator
/// is then nobody's trouble.
pub(crate) fn group(
    group: &'static Group,
    effort: Effort,
    wanted: impl Fn(&str) -> bool,
) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for series in group.series.iter().filter(|series| wanted(series.name)) {
        for &(size, first) in series.sizes {
            if effort == Effort::Quick && size > 1_000 {
                continue;
            }
            rows.push(Row { series, size, first, cells: Vec::new() });
        }
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&n| rows[n].size);
    for n in order {
        rows[n].cells = cells(group, rows[n].series, rows[n].size, effort);
    }
    rows
}

/// How many rounds are thrown away, and how many count.
fn rounds(size: usize, effort: Effort) -> (usize, usize) {
    match (effort, size) {
        (Effort::Quick, _) => (0, 1),
        (_, ..=10_000) => (1, 15),
        (_, ..=100_000) => (1, 9),
        _ => (0, 3),
    }
}

fn cells(group: &Group, series: &Series, size: usize, effort: Effort) -> Vec<Option<Vec<f64>>> {
    let mut case = series.case(size);
    if effort == Effort::Quick {
        case.ops = size.max(case.ops / 50);
    }
    let (warm_up, counted) = rounds(size, effort);
    let mut cells = vec![Some(Vec::new()); group.subjects.len()];
    for round in 0..warm_up + counted {
        eprint!("\r{} {}: round {} of {} ", series.name, short(size), round + 1, warm_up + counted);
        for n in 0..cells.len() {
            // Nobody is always the first, or always behind the same neighbour's heat.
            let n = (n + round) % cells.len();
            let Some(times) = &mut cells[n] else { continue };
            match time(group, n, case) {
                None => cells[n] = None,
                Some(time) if round >= warm_up => times.push(time),
                Some(_) => {}
            }
        }
    }
    eprintln!();
    cells
}

/// Nanoseconds of CPU per operation.
fn time(group: &Group, subject: usize, case: Case) -> Option<f64> {
    let meter = Meter::new(clock_of(case.workload));
    let ops = (group.subjects[subject].run)(case, &meter)?;
    Some(meter.spent()[0] as f64 / ops as f64)
}

/// The thread's CPU clock, or that of the process where another thread has a part: an echo, or
/// that of async-io's timers.
fn clock_of(workload: Workload) -> fn() -> Reading {
    match workload {
        Workload::Elsewhere | Workload::Sleeps | Workload::Timeouts => {
            || [nanoseconds(ClockId::ProcessCPUTime), 0]
        }
        _ => || [nanoseconds(ClockId::ThreadCPUTime), 0],
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither part is negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
