//! `oneshot`: one message, once.

use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::error::{RecvError, TryRecvError};
use crate::{
    queue::{Place, ResourceKind, WaitQueue},
    task::{Waits, note},
};

/// A channel for a single message.
///
/// ```
/// use boucle::{block_on, spawn, sync::oneshot};
///
/// block_on(async {
///     let (tx, rx) = oneshot();
///     drop(spawn(async move { tx.send("ready").unwrap() }));
///     assert_eq!(rx.await, Ok("ready"));
/// });
/// ```
#[track_caller]
pub fn oneshot<T>() -> (OneshotSender<T>, OneshotReceiver<T>) {
    let shared = Rc::new(Shared {
        message: Cell::new(None),
        closed: Cell::new(false),
        queue: WaitQueue::new(ResourceKind::Oneshot, Location::caller()),
    });
    (OneshotSender { shared: shared.clone() }, OneshotReceiver { shared, place: None })
}

struct Shared<T> {
    message: Cell<Option<T>>,
    /// Nothing will be sent any more.
    closed: Cell<bool>,
    /// Who waits for it to be closed. One side closes it, so those who wait are on the other.
    queue: WaitQueue,
}

impl<T> Shared<T> {
    fn close(&self) {
        if !self.closed.replace(true) {
            for wakee in self.queue.take_all() {
                wakee.wake();
            }
        }
    }

    fn leave(&self, place: &mut Option<Place>) {
        if let Some(place) = place.take() {
            // Closed is closed for all, so there is nothing to hand on.
            let _ = self.queue.leave(place);
        }
    }

    fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.message.take() {
            Some(message) => Ok(message),
            None if self.closed.get() => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
        }
    }
}

/// Sends the message of a [`oneshot`]. Dropping it closes the channel.
///
/// ```
/// let (tx, mut rx) = boucle::sync::oneshot();
/// tx.send(7).unwrap();
/// assert_eq!(rx.try_recv(), Ok(7));
/// ```
pub struct OneshotSender<T> {
    shared: Rc<Shared<T>>,
}

impl<T> OneshotSender<T> {
    /// Sends the message and wakes the receiver.
    ///
    /// # Errors
    /// The message, if the receiver has gone or was closed.
    ///
    /// ```
    /// let (tx, rx) = boucle::sync::oneshot();
    /// drop(rx);
    /// assert_eq!(tx.send("late"), Err("late"));
    /// ```
    pub fn send(self, message: T) -> Result<(), T> {
        if self.is_closed() {
            return Err(message);
        }
        self.shared.message.set(Some(message));
        // Dropping the sender does the rest.
        Ok(())
    }

    /// Whether the receiver has gone or was closed: nobody wants the message.
    ///
    /// ```
    /// let (tx, rx) = boucle::sync::oneshot::<u8>();
    /// assert!(!tx.is_closed());
    /// drop(rx);
    /// assert!(tx.is_closed());
    /// ```
    pub fn is_closed(&self) -> bool {
        self.shared.closed.get()
    }

    /// Waits until nobody wants the message any more: to stop working on it.
    ///
    /// # Cancellation
    /// Dropping the future leaves no trace.
    ///
    /// ```
    /// let (tx, rx) = boucle::sync::oneshot::<u8>();
    /// boucle::block_on(async { boucle::gather((tx.closed(), async { drop(rx) })).await });
    /// ```
    #[track_caller]
    pub fn closed(&self) -> Closed<'_, T> {
        Closed { shared: &self.shared, place: None, at: Location::caller() }
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<T> fmt::Debug for OneshotSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneshotSender").field("closed", &self.is_closed()).finish()
    }
}

/// Waits until the receiver has gone, from [`OneshotSender::closed`].
///
/// # Cancellation
/// Dropping it leaves no trace.
///
/// ```
/// let (tx, _rx) = boucle::sync::oneshot::<u8>();
/// drop(tx.closed());
/// assert_eq!(tx.send(1), Ok(()));
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Closed<'s, T> {
    shared: &'s Shared<T>,
    place: Option<Place>,
    at: &'static Location<'static>,
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Closed { shared, place, at } = &mut *self;
        // Joining may run foreign code, which may close it.
        if shared.closed.get() || shared.queue.join(place, 0, at, cx) || shared.closed.get() {
            return Poll::Ready(());
        }
        note(Waits::Place(Place::number(place)));
        Poll::Pending
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        self.shared.leave(&mut self.place);
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").field("closed", &self.shared.closed.get()).finish()
    }
}

/// Receives the message of a [`oneshot`]: a future. Once that has ended, it gives [`RecvError`].
///
/// # Cancellation
/// Dropping it closes the channel and drops the message, if there is one. To give up waiting and
/// come back later, await `&mut receiver`.
///
/// ```
/// let (tx, rx) = boucle::sync::oneshot();
/// tx.send(7).unwrap();
/// assert_eq!(boucle::block_on(rx), Ok(7));
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct OneshotReceiver<T> {
    shared: Rc<Shared<T>>,
    place: Option<Place>,
}

impl<T> OneshotReceiver<T> {
    /// Names the oneshot, for reports of what tasks wait for.
    ///
    /// ```
    /// let (_tx, rx) = boucle::sync::oneshot::<u8>();
    /// let stalled = boucle::Loop::new().try_block_on(rx.named("price")).unwrap_err();
    /// assert!(stalled.to_string().contains(r#"waiting for oneshot "price""#));
    /// ```
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.shared.queue.set_name(name.into());
        self
    }

    /// The message, if it is there.
    ///
    /// # Errors
    /// [`Empty`](TryRecvError::Empty) if it may still come, [`Closed`](TryRecvError::Closed) if it
    /// will not, or was taken already.
    ///
    /// ```
    /// use boucle::sync::{TryRecvError, oneshot};
    ///
    /// let (tx, mut rx) = oneshot();
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// tx.send(7).unwrap();
    /// assert_eq!(rx.try_recv(), Ok(7));
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    /// ```
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.shared.try_recv()
    }

    /// Refuses the message; one that was sent before can still be received.
    ///
    /// ```
    /// let (tx, mut rx) = boucle::sync::oneshot();
    /// rx.close();
    /// assert_eq!(tx.send(7), Err(7));
    /// ```
    pub fn close(&mut self) {
        self.shared.leave(&mut self.place);
        self.shared.close();
    }
}

impl<T> Future for OneshotReceiver<T> {
    type Output = Result<T, RecvError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        let OneshotReceiver { shared, place } = &mut *self;
        let mut received = shared.try_recv();
        if let Err(TryRecvError::Empty) = received {
            let _ = shared.queue.join(place, 0, Location::caller(), cx);
            // That may have run foreign code, which may send or close.
            received = shared.try_recv();
        }
        if let Err(TryRecvError::Empty) = received {
            note(Waits::Place(Place::number(place)));
            return Poll::Pending;
        }
        shared.leave(place);
        Poll::Ready(received.map_err(|_| RecvError))
    }
}

impl<T> Drop for OneshotReceiver<T> {
    fn drop(&mut self) {
        // A sender that has sent is gone, so a message goes with the receiver.
        self.close();
    }
}

impl<T> fmt::Debug for OneshotReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneshotReceiver").field("closed", &self.shared.closed.get()).finish()
    }
}
