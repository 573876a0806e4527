//! How much one poll of a task may do, so that a busy task starves nobody: how many children it
//! may poll, and how many operations on sources it may do.

use std::cell::Cell;

use super::{Home, STRIDE};

/// How many operations on sources one poll of a task may do.
#[cfg(all(unix, feature = "net", not(loom)))]
const OPERATIONS: u32 = 128;

/// What polls are counted by: in a loop, or of who polls children where there is none.
#[derive(Default)]
pub(crate) struct Counts {
    /// How many more polls, of tasks or of children, until the loop looks at timers and letters.
    pub(crate) countdown: Cell<i64>,
    /// How many more children may be polled in the current poll: see [`Budget`].
    left: Cell<i64>,
}

/// How many children whoever has some may poll, whenever it is polled: [`STRIDE`]. In a loop, children
/// who have children of their own share with them.
///
/// What is left is there for whoever is inside; what was used is taken off the countdown in the end.
pub(crate) struct Budget<'c> {
    counts: &'c Counts,
    /// Zero if it is that of another, who is outside.
    given: i64,
    /// What was left to somebody else, in whose poll this one is, but not as a child: a destructor
    /// polled by hand.
    before: i64,
}

impl<'c> Budget<'c> {
    /// `inner` says that the one who begins is a child itself, who takes from what its parent has
    /// left, but one poll at least.
    #[inline(always)]
    pub(crate) fn begin(home: Option<&'c Home>, inner: bool, none: &'c Counts) -> Budget<'c> {
        let counts = home.map_or(none, |home| &home.counts);
        let given = match inner && home.is_some() {
            true if counts.left.get() > 0 => return Budget { counts, given: 0, before: 0 },
            true => 1,
            false => i64::from(STRIDE),
        };
        let before = counts.left.replace(given);
        Budget { counts, given, before }
    }

    /// One child is about to be polled; false, and nothing is counted, if no more may be.
    #[inline(always)]
    pub(crate) fn spend(&self) -> bool {
        let left = &self.counts.left;
        left.set(left.get() - 1);
        let goes_on = left.get() >= 0;
        if !goes_on {
            left.set(0);
        }
        goes_on
    }

    /// What was counted last was no poll.
    #[inline(always)]
    pub(crate) fn give_back(&self) {
        self.counts.left.set(self.counts.left.get() + 1);
    }
}

impl Drop for Budget<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.given > 0 {
            let Counts { countdown, left } = self.counts;
            countdown.set(countdown.get() - self.given + left.replace(self.before));
        }
    }
}

impl Counts {
    pub(super) fn is_new(&self) -> bool {
        (self.countdown.get(), self.left.get()) == (0, 0)
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
