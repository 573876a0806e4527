//! What a loop may find while it runs, and what to do then.

use std::{fmt, panic::Location, rc::Rc, time::Duration};

use super::{
    info::TaskRef,
    leftovers::Leftovers,
    report::Span,
    snapshot::Snapshot,
    stalled::{Grade, Stalled},
};
use crate::turn::Core;

/// Something that a loop has found while it runs, told to
/// [`Builder::on_diagnostic`](crate::Builder::on_diagnostic). Its `Display` is the report.
///
/// ```
/// use boucle::{Diagnostic, Loop};
/// use std::{cell::RefCell, rc::Rc};
///
/// let log = Rc::new(RefCell::new(Vec::new()));
/// let l = Loop::builder()
///     .on_diagnostic({
///         let log = log.clone();
///         move |found: &Diagnostic| log.borrow_mut().push(found.to_string())
///     })
///     .build();
/// let _lost = l.spawn(std::future::pending::<()>()).named("lost");
/// l.run_until_stalled();
/// assert!(log.borrow()[0].starts_with("dead task: lost #1 can never be woken"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Diagnostic {
    /// A task waits, and nobody can wake it: it can never run again.
    Dead(Stalled),
    /// Tasks wait for each other in a circle. No proof that they hang: a task that is not in the
    /// circle may cancel one of them, and a guard may have moved.
    Cycle(Stalled),
    /// The loop has been idle for long, and only somebody else could wake it.
    Stall(Stalled),
    /// A poll took long, in real time: nothing else could run meanwhile.
    #[non_exhaustive]
    SlowPoll {
        /// Whose.
        task: TaskRef,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
        /// How long.
        took: Duration,
    },
    /// The loop polls and polls: no timer has fired meanwhile, nothing has come from elsewhere, it
    /// has not waited; and a few tasks wake themselves whenever they are polled. No proof that they
    /// get nowhere: a computation that yields looks the same.
    #[non_exhaustive]
    Spinning {
        /// For how many polls.
        polls: u64,
        /// Who, the busiest first.
        spinners: Vec<Spinner>,
    },
    /// What was left when the loop was dropped.
    Leftovers(Leftovers),
}

/// Whom a loop tells.
pub(crate) type Tell = Rc<dyn Fn(&Diagnostic)>;

/// A task that wakes itself whenever it is polled.
///
/// ```
/// use boucle::{Diagnostic, Loop, Reaction, Spinner, yield_now};
/// use std::{cell::RefCell, rc::Rc};
///
/// let log = Rc::new(RefCell::new(Vec::new()));
/// let l = Loop::builder()
///     .on_spinning(1000, Reaction::Tell)
///     .on_diagnostic({
///         let log = log.clone();
///         move |found| {
///             if let Diagnostic::Spinning { spinners, .. } = found {
///                 log.borrow_mut().extend(spinners.iter().cloned());
///             }
///         }
///     })
///     .build();
/// l.block_on(async {
///     for _ in 0..2000 {
///         yield_now().await;
///     }
/// });
/// let spinner: &Spinner = &log.borrow()[0];
/// assert_eq!((spinner.task.to_string(), spinner.polls, spinner.of), ("main #1".into(), 1000, 1000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spinner {
    /// Which.
    pub task: TaskRef,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// In how many of the last polls of the loop it woke itself.
    pub polls: u64,
    /// How many polls that were: 4096 at most.
    pub of: u64,
}

impl Diagnostic {
    /// The report, to be failed with; `None` for what comes too late for that.
    pub(super) fn into_stalled(self, core: &Core) -> Option<Stalled> {
        let grade = match self {
            Diagnostic::Dead(stalled) | Diagnostic::Cycle(stalled) | Diagnostic::Stall(stalled) => {
                return Some(stalled);
            }
            Diagnostic::SlowPoll { .. } => Grade::Slow,
            Diagnostic::Spinning { .. } => Grade::Spinning,
            Diagnostic::Leftovers(_) => return None,
        };
        Some(Stalled::new(grade, self.to_string(), Snapshot::of(core)))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Diagnostic::Dead(stalled) | Diagnostic::Cycle(stalled) | Diagnostic::Stall(stalled) => {
                stalled.fmt(f)
            }
            Diagnostic::SlowPoll { task, spawned_at, took } => {
                write!(
                    f,
                    "slow poll: {task} was polled for {}, spawned at {spawned_at}",
                    Span(*took)
                )
            }
            Diagnostic::Spinning { polls, spinners } => {
                write!(f, "spinning: {polls} polls in a row, and nothing has come from elsewhere")?;
                for Spinner { task, spawned_at, polls, of } in spinners {
                    write!(f, "\n  {task} woke itself in {polls} of the last {of} polls, ")?;
                    write!(f, "spawned at {spawned_at}")?;
                }
                Ok(())
            }
            Diagnostic::Leftovers(left) => left.fmt(f),
        }
    }
}

/// What a loop does when it has found something.
///
/// ```
/// use boucle::{Loop, Reaction, spawn};
///
/// let l = Loop::builder().on_dead(Reaction::Fail).build();
/// let failed = l.try_block_on(async {
///     let _lost = spawn(std::future::pending::<()>()).named("lost");
///     boucle::sleep(std::time::Duration::from_secs(3600)).await;
/// });
/// assert!(failed.unwrap_err().to_string().starts_with("dead task: lost #2"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reaction {
    /// Nothing: it does not even look.
    Ignore,
    /// Tells [`Builder::on_diagnostic`](crate::Builder::on_diagnostic), or stderr if nobody is to be
    /// told.
    Tell,
    /// Tells whoever is to be told, if anybody, and ends the run: `block_on` and `run` panic with the
    /// report, `try_block_on` returns it.
    Fail,
}
