//! `Waiter`: a gate that opens after n sets.

use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    queue::{Place, ResourceKind, WaitQueue},
    task::{Waits, note},
};

/// A gate that opens for ever once it was [`set`](Waiter::set) a number of times.
///
/// Any number of tasks may wait for it; they are woken in the order in which they came. It opens
/// once: there is no way to close it again.
///
/// Tasks share it in an `Rc`; futures of one [`gather`](crate::gather()) may just borrow it.
///
/// ```
/// use std::rc::Rc;
///
/// use boucle::{Waiter, block_on, spawn};
///
/// block_on(async {
///     let gate = Rc::new(Waiter::new(1));
///     let guest = spawn({
///         let gate = gate.clone();
///         async move {
///             gate.wait().await;
///             "inside"
///         }
///     });
///     gate.set();
///     assert_eq!(guest.await.unwrap(), "inside");
/// });
/// ```
#[doc(alias = "event")]
#[doc(alias = "latch")]
#[doc(alias = "countdown")]
pub struct Waiter {
    left: Cell<usize>,
    queue: WaitQueue,
}

impl Waiter {
    /// A gate that opens after `n` sets; it is open from the start if `n` is zero.
    ///
    /// ```
    /// use boucle::Waiter;
    ///
    /// assert!(!Waiter::new(1).is_set());
    /// assert!(Waiter::new(0).is_set());
    /// ```
    #[track_caller]
    pub const fn new(n: usize) -> Waiter {
        let queue = WaitQueue::new(ResourceKind::Waiter, Location::caller());
        Waiter { left: Cell::new(n), queue }
    }

    /// Names it, for reports of what tasks wait for.
    ///
    /// ```
    /// let open = boucle::Waiter::new(1).named("open");
    /// let stalled = boucle::Loop::new().try_block_on(open.wait()).unwrap_err();
    /// assert!(stalled.to_string().contains(r#"waiting for waiter "open""#));
    /// ```
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Waiter {
        self.queue.set_name(name.into());
        self
    }

    /// Counts one set; the last one opens the gate and wakes whoever waits. Does nothing once it
    /// is open.
    ///
    /// ```
    /// let gate = boucle::Waiter::new(2);
    /// gate.set();
    /// assert!(!gate.is_set());
    /// gate.set();
    /// assert!(gate.is_set());
    /// ```
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

    /// Waits until the gate is open; takes no turn if it is already. The same as `(&gate).await`,
    /// and easier to write for a gate in an `Rc`.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue; no set is lost.
    ///
    /// ```
    /// boucle::block_on(async {
    ///     let gate = std::rc::Rc::new(boucle::Waiter::new(1));
    ///     boucle::gather((gate.wait(), async { gate.set() })).await;
    /// });
    /// ```
    #[track_caller]
    pub fn wait(&self) -> WaitFor<'_> {
        WaitFor { waiter: self, place: None, at: Location::caller() }
    }

    /// Whether the gate is open.
    ///
    /// ```
    /// let gate = boucle::Waiter::default();
    /// assert!(!gate.is_set());
    /// gate.set();
    /// assert!(gate.is_set());
    /// ```
    pub fn is_set(&self) -> bool {
        self.left.get() == 0
    }

    /// How many sets are missing.
    ///
    /// ```
    /// let gate = boucle::Waiter::new(2);
    /// gate.set();
    /// assert_eq!(gate.missing(), 1);
    /// ```
    pub fn missing(&self) -> usize {
        self.left.get()
    }
}

/// A gate that opens at the first set.
impl Default for Waiter {
    #[track_caller]
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
    #[track_caller]
    fn into_future(self) -> WaitFor<'w> {
        self.wait()
    }
}

/// The future of a [`Waiter`], from [`Waiter::wait`] or `(&waiter).await`.
///
/// # Cancellation
/// Dropping it leaves the queue; no set is lost.
///
/// ```
/// let l = boucle::Loop::new();
/// let gate = boucle::Waiter::new(1);
/// drop(gate.wait());
/// gate.set();
/// l.block_on(gate.wait());
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct WaitFor<'w> {
    waiter: &'w Waiter,
    place: Option<Place>,
    at: &'static Location<'static>,
}

impl Future for WaitFor<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let WaitFor { waiter, place, at } = &mut *self;
        // Joining may run foreign code, which may open the gate.
        if waiter.is_set() || waiter.queue.join(place, 0, at, cx) || waiter.is_set() {
            return Poll::Ready(());
        }
        note(Waits::Place(Place::number(place)));
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
