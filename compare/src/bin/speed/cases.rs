//! What is measured: the list of workloads, their sizes, and who takes part in which.

use crate::runtimes::{self, Subject};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Workload {
    Yield,
    SpawnAwait,
    SpawnAwaitRoot,
    SpawnJoin,
    Ring,
    Elsewhere,
    Sleeps,
    Timeouts,
    Gather,
    BlockOn,
    NewBlockOn,
}

use Workload::*;

/// One thing to do: a workload among `size` tasks, timers or children, some `ops` times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) size: usize,
    pub(crate) ops: usize,
}

/// A workload at all of its sizes.
pub(crate) struct Series {
    pub(crate) workload: Workload,
    /// For the command line.
    pub(crate) name: &'static str,
    /// What one operation is; `{n}` stands for the size.
    pub(crate) title: &'static str,
    /// Sizes, and whether each is in the first table.
    pub(crate) sizes: &'static [(usize, bool)],
    /// How many operations a measurement has, or as many as the size if that is more.
    pub(crate) ops: usize,
    /// Of how many sizes callgrind counts the instructions: those of the first table up to this.
    pub(crate) counted: usize,
}

/// Series that the same subjects run: a table, and a picture.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) subjects: &'static [Subject],
    pub(crate) series: &'static [Series],
}

impl Series {
    pub(crate) fn case(&self, size: usize) -> Case {
        Case { workload: self.workload, size, ops: self.ops.max(size) }
    }

    pub(crate) fn title(&self, size: usize) -> String {
        self.title.replace("{n}", &short(size))
    }

    /// Whether it says how a cost grows, too.
    pub(crate) fn grows(&self) -> bool {
        self.sizes.len() > 2
    }
}

/// 1, 10, 1k, 1M.
pub(crate) fn short(n: usize) -> String {
    match n {
        1_000_000.. if n.is_multiple_of(1_000_000) => format!("{}M", n / 1_000_000),
        1_000.. if n.is_multiple_of(1_000) => format!("{}k", n / 1_000),
        _ => n.to_string(),
    }
}

pub(crate) const GROUPS: &[Group] = &[
    Group {
        name: "tasks",
        title: "Tasks and timers",
        subjects: runtimes::RUNTIMES,
        series: &[
            Series {
                workload: Yield,
                name: "yield",
                title: "yield, {n} at it",
                sizes: &[
                    (1, true),
                    (10, false),
                    (1_000, true),
                    (100_000, false),
                    (1_000_000, false),
                ],
                ops: 200_000,
                counted: 1_000,
            },
            Series {
                workload: SpawnAwait,
                name: "spawn_await",
                title: "spawn and await, from a task",
                sizes: &[(1, true)],
                ops: 50_000,
                counted: 1,
            },
            Series {
                workload: SpawnAwaitRoot,
                name: "spawn_await_root",
                title: "spawn and await, from the root",
                sizes: &[(1, true)],
                ops: 50_000,
                counted: 1,
            },
            Series {
                workload: SpawnJoin,
                name: "spawn_join",
                title: "spawn {n}, join all",
                sizes: &[
                    (1, false),
                    (10, false),
                    (1_000, false),
                    (100_000, true),
                    (1_000_000, false),
                ],
                ops: 50_000,
                counted: 100_000,
            },
            Series {
                workload: Ring,
                name: "ring",
                title: "a wake, round a ring of {n}",
                sizes: &[
                    (2, true),
                    (10, false),
                    (1_000, false),
                    (100_000, false),
                    (1_000_000, false),
                ],
                ops: 100_000,
                counted: 2,
            },
            Series {
                workload: Elsewhere,
                name: "elsewhere",
                title: "a round trip to another thread",
                sizes: &[(1, true)],
                ops: 1_000,
                counted: 0,
            },
            Series {
                workload: Sleeps,
                name: "sleeps",
                title: "{n} tasks that sleep",
                sizes: &[(1_000, false), (10_000, false), (100_000, true), (1_000_000, false)],
                ops: 10_000,
                counted: 0,
            },
            Series {
                workload: Timeouts,
                name: "timeouts",
                title: "timeout polled once and dropped, {n} live",
                sizes: &[
                    (1, false),
                    (1_000, false),
                    (10_000, true),
                    (100_000, false),
                    (1_000_000, true),
                ],
                ops: 50_000,
                counted: 10_000,
            },
        ],
    },
    Group {
        name: "gather",
        title: "Many futures awaited together",
        subjects: runtimes::GATHERERS,
        series: &[Series {
            workload: Gather,
            name: "gather",
            title: "{n} that yield once, each",
            sizes: &[(1, true), (10, true), (1_000, true), (100_000, true), (1_000_000, true)],
            ops: 100_000,
            counted: 1_000,
        }],
    },
    Group {
        name: "block_on",
        title: "The way in and out",
        subjects: runtimes::BLOCKERS,
        series: &[
            Series {
                workload: BlockOn,
                name: "block_on",
                title: "`block_on` a ready future",
                sizes: &[(1, true)],
                ops: 20_000,
                counted: 1,
            },
            Series {
                workload: NewBlockOn,
                name: "new_block_on",
                title: "the same on a new runtime",
                sizes: &[(1, true)],
                ops: 500,
                counted: 1,
            },
        ],
    },
];
