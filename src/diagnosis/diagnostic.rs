//! What a loop may find while it runs, and what to do then.

use std::fmt;

use super::stalled::Stalled;

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
}

impl Diagnostic {
    /// The report, to be failed with.
    pub(super) fn into_stalled(self) -> Option<Stalled> {
        match self {
            Diagnostic::Dead(stalled) | Diagnostic::Cycle(stalled) | Diagnostic::Stall(stalled) => {
                Some(stalled)
            }
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Diagnostic::Dead(stalled) | Diagnostic::Cycle(stalled) | Diagnostic::Stall(stalled) => {
                stalled.fmt(f)
            }
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
