//! `Waiter`: a gate that opens after n sets.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use super::queue::{Place, WaitQueue};
use crate::task::{Waits, note};

/// A gate that opens for ever once it was [`set`](Waiter::set) a number of times.
///
/// Any number of tasks may wait for it; they are woken in the order in which they came. Share it
/// between tasks in an `Rc`.
///
/// ```
/// use std::rc::Rc;
///
/// use boucle::{Waiter, block_on, gather};
///
/// let (gate, log) = (Waiter::new(1), std::cell::RefCell::new(Vec::new()));
/// block_on(gather((
///     async {
///         (&gate).await;
///         log.borrow_mut().push("second");
///     },
///     async {
///         log.borrow_mut().push("first");
///         gate.set();
///     },
/// )));
/// assert_eq!(log.into_inner(), ["first", "second"]);
/// # let _ = Rc::new(gate);
/// ```
pub struct Waiter {
    left: Cell<usize>,
    queue: WaitQueue,
}

impl Waiter {
    /// A gate that opens after `n` sets; it is open from the start if `n` is zero.
    pub const fn new(n: usize) -> Waiter {
        Waiter { left: Cell::new(n), queue: WaitQueue::new() }
    }

    /// Counts one set; the last one opens the gate and wakes whoever waits. Does nothing once it
    /// is open.
    pub fn set(&self) {
        match self.left.get() {
            0 => {}
            1 => {
                self.left.set(0);
                for wakee in self.queue.take_all() {
                    wakee.wake();
                }
            }
            left => self.left.set(left - 1),
        }
    }

    /// Whether the gate is open.
    pub fn is_set(&self) -> bool {
        self.left.get() == 0
    }

    /// How many sets are missing.
    pub fn missing(&self) -> usize {
        self.left.get()
    }
}

/// A gate that opens at the first set.
impl Default for Waiter {
    fn default() -> Waiter {
        Waiter::new(1)
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("missing", &self.missing())
            .field("waiting", &self.queue.len())
            .finish()
    }
}

impl<'w> IntoFuture for &'w Waiter {
    type Output = ();
    type IntoFuture = WaitFor<'w>;

    /// Waits until the gate is open.
    fn into_future(self) -> WaitFor<'w> {
        WaitFor { waiter: self, place: None }
    }
}

/// The future of a [`Waiter`], from `(&waiter).await`.
///
/// # Cancellation
/// Dropping it leaves the queue; no set is lost.
#[must_use = "futures do nothing unless they are awaited"]
pub struct WaitFor<'w> {
    waiter: &'w Waiter,
    place: Option<Place>,
}

impl Future for WaitFor<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let WaitFor { waiter, place } = &mut *self;
        // Joining may run foreign code, which may open the gate.
        if waiter.is_set() || waiter.queue.join(place, 0, cx) || waiter.is_set() {
            return Poll::Ready(());
        }
        note(Waits::Waiter);
        Poll::Pending
    }
}

impl Drop for WaitFor<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            // An open gate is open for all, so there is nothing to hand on.
            let _ = self.waiter.queue.leave(place);
        }
    }
}

impl fmt::Debug for WaitFor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitFor").field(self.waiter).finish()
    }
}
