//! How much one poll of a task may do, so that a busy task starves nobody: how many children it
//! may poll, and how many operations on sources it may do.

use super::{Home, STRIDE};

/// How many operations on sources one poll of a task may do.
#[cfg(all(unix, feature = "net", not(loom)))]
const OPERATIONS: u32 = 128;

/// What is left of [`STRIDE`]. Children who have children of their own share with them.
pub(crate) struct Budget<'h> {
    /// The loop, if the poll is one of its tasks'.
    home: Option<&'h Home>,
    left: u32,
}

impl<'h> Budget<'h> {
    /// `inner` says that the one who begins is a child itself, who takes from what its parent has
    /// left, but one poll at least.
    #[inline]
    pub(crate) fn begin(home: Option<&'h Home>, inner: bool) -> Budget<'h> {
        let left = home.filter(|_| inner).map_or(STRIDE, |home| home.budget.get()).max(1);
        Budget { home, left }
    }

    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// One child is about to be polled; it counts for the loop's next look as well.
    #[inline]
    pub(crate) fn spend(&mut self) {
        self.left -= 1;
        if let Some(home) = self.home {
            home.budget.set(self.left);
            home.countdown.set(home.countdown.get() - 1);
        }
    }

    /// The child has been polled, and may have spent some on its own children.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        self.left = self.home.map_or(self.left, |home| home.budget.get());
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
