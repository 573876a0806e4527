//! What is left of a loop at its end.

use std::fmt;

use super::{
    info::{TaskInfo, WaitInfo, WaitsFor},
    snapshot::Snapshot,
};
use crate::turn::Core;

/// What was left when a [`Loop`](crate::Loop) was dropped, told as
/// [`Diagnostic::Leftovers`](crate::Diagnostic::Leftovers). Its `Display` is the report.
///
/// ```
/// use boucle::{Diagnostic, Leftovers, Loop, Waiter};
/// use std::{cell::RefCell, rc::Rc};
///
/// let log = Rc::new(RefCell::new(Vec::new()));
/// let l = Loop::builder()
///     .report_leftovers()
///     .on_diagnostic({
///         let log = log.clone();
///         move |found: &Diagnostic| {
///             if let Diagnostic::Leftovers(left) = found {
///                 let left: &Leftovers = left;
///                 log.borrow_mut().push((left.alive().tasks().len(), left.untaken().len(), left.wakers()));
///             }
///         }
///     })
///     .build();
/// let gate = Rc::new(Waiter::new(1));
/// let _waits = l.spawn(async move { gate.wait().await });
/// let _never_awaited = l.spawn(async { "soda" });
/// l.run_until_stalled();
/// drop(l);
/// assert_eq!(*log.borrow(), [(1, 1, 0)]);
/// ```
#[derive(Clone, Debug)]
pub struct Leftovers {
    alive: Snapshot,
    untaken: Snapshot,
    wakers: usize,
}

impl Leftovers {
    /// What is there before the tasks are dropped.
    pub(super) fn before(core: &Core) -> Leftovers {
        let alive = Snapshot::of(core);
        // Who waits for ever on purpose is meant to be there.
        let meant =
            |task: &TaskInfo| matches!(&*task.waits, [WaitInfo { what: WaitsFor::Forever, .. }]);
        let mut ids = Vec::new();
        for task in alive.tasks() {
            if !meant(task) {
                ids.push(task.id);
            }
        }
        let alive = alive.only(&ids);
        let untaken = Snapshot::of_dead(core, core.tasks.untaken());
        Leftovers { alive, untaken, wakers: 0 }
    }

    /// What is there after that too; `None` if nothing was left.
    pub(super) fn after(self, core: &Core) -> Option<Leftovers> {
        let left = Leftovers { wakers: core.tasks.count_late_wakers(), ..self };
        let any = !left.alive.tasks().is_empty() || !left.untaken().is_empty() || left.wakers > 0;
        any.then_some(left)
    }

    /// The tasks that had not ended, and what they waited for; without those that waited for
    /// [`forever`](crate::forever()) alone.
    ///
    /// ```
    /// # fn tell(left: &boucle::Leftovers) {
    /// for task in left.alive().tasks() {
    ///     println!("{} was left alone", task.name);
    /// }
    /// # }
    /// ```
    pub fn alive(&self) -> &Snapshot {
        &self.alive
    }

    /// The tasks that had ended, and whose output or panic lay there for a handle that nobody had
    /// awaited or looked into. A handle that was dropped has let go of it: that is no leftover.
    ///
    /// ```
    /// # fn tell(left: &boucle::Leftovers) {
    /// for task in left.untaken() {
    ///     println!("nobody has asked what became of {}", task.name);
    /// }
    /// # }
    /// ```
    pub fn untaken(&self) -> &[TaskInfo] {
        self.untaken.tasks()
    }

    /// How many wakers somebody else still had when all tasks had gone: a thread, or a future of
    /// another crate that is kept elsewhere.
    ///
    /// ```
    /// # fn tell(left: &boucle::Leftovers) {
    /// println!("{} wakers wake nobody now", left.wakers());
    /// # }
    /// ```
    pub fn wakers(&self) -> usize {
        self.wakers
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left at the end of the loop: ")?;
        let counts = [
            (self.alive.tasks().len(), "task that has not ended", "tasks that have not ended"),
            (self.untaken().len(), "result that nobody took", "results that nobody took"),
            (self.wakers, "waker that somebody keeps", "wakers that somebody keeps"),
        ];
        let mut comma = "";
        for (count, one, many) in counts {
            if count > 0 {
                write!(f, "{comma}{count} {}", if count == 1 { one } else { many })?;
                comma = ", ";
            }
        }
        self.alive.report(f, "  ")?;
        self.untaken.report(f, "  ")
    }
}
