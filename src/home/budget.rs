//! How much one poll of a task may do, so that a busy task starves nobody: how many children it
//! may poll, and how many operations on sources it may do.

use std::cell::Cell;

use super::{Home, STRIDE};

/// How many operations on sources one poll of a task may do.
#[cfg(all(unix, feature = "net", not(loom)))]
const OPERATIONS: u32 = 128;

/// So many children may be polled in one poll of a task: [`STRIDE`]. Children who have children of
/// their own share with them.
///
/// Each counts for the loop's next look as well, so what is counted is that countdown, and a budget
/// is how far it may go.
pub(crate) struct Budget<'h> {
    countdown: &'h Cell<i64>,
    end: i64,
}

/// The countdown of who polls where there is no loop.
#[derive(Default)]
pub(crate) struct NoLoop(Cell<i64>);

impl<'h> Budget<'h> {
    /// `inner` says that the one who begins is a child itself, who takes from what its parent has
    /// left, but one poll at least.
    #[inline(always)]
    pub(crate) fn begin(home: Option<&'h Home>, inner: bool, none: &'h NoLoop) -> Budget<'h> {
        let Some(home) = home else {
            return Budget { countdown: &none.0, end: none.0.get() - i64::from(STRIDE) };
        };
        let now = home.countdown.get();
        let end = if inner {
            home.budget.get().min(now - 1)
        } else {
            home.budget.set(now - i64::from(STRIDE));
            now - i64::from(STRIDE)
        };
        Budget { countdown: &home.countdown, end }
    }

    #[inline(always)]
    pub(crate) fn is_spent(&self) -> bool {
        self.countdown.get() <= self.end
    }

    /// One child is about to be polled.
    #[inline(always)]
    pub(crate) fn spend(&self) {
        self.countdown.set(self.countdown.get() - 1);
    }
}

impl Home {
    /// A task is about to be polled.
    #[inline(always)]
    pub(crate) fn begin_poll(&self) {
        #[cfg(all(unix, feature = "net", not(loom)))]
        self.operations.set(0);
    }

    /// Counts an operation, on a source of this or another loop; false if this poll has done enough.
    #[cfg(all(unix, feature = "net", not(loom)))]
    #[inline]
    pub(crate) fn spend_operation(&self) -> bool {
        let done = self.operations.get();
        let goes_on = done < OPERATIONS;
        // Whoever tries again in the same poll, as another executor within it does, is let through.
        self.operations.set(if goes_on { done + 1 } else { OPERATIONS - 1 });
        goes_on
    }
}
