//! `channel` and `unbounded`: messages in order, from many to many.

use std::{
    borrow::Cow,
    fmt,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::{
    error::{RecvError, SendError, TryRecvError, TrySendError},
    pipe::Pipe,
};
use crate::{
    queue::Place,
    task::{Waits, note},
};

/// A channel with room for `bound` messages: who sends more waits until some are received.
///
/// Both ends can be cloned. Messages are received in the order in which they were sent, by those
/// who wait for one in the order in which they came. The channel is closed when all ends on one
/// side are gone, or by [`close`](Sender::close). What was sent before can still be received.
///
/// # Panics
/// If `bound` is zero.
///
/// ```
/// use boucle::{block_on, gather, sync::channel};
///
/// block_on(async {
///     let (tx, rx) = channel(2);
///     let waiter = async move {
///         for order in ["soup", "pasta", "cake"] {
///             tx.send(order).await.unwrap();
///         }
///     };
///     let cook = async {
///         let mut cooked = vec![];
///         while let Ok(order) = rx.recv().await {
///             cooked.push(order);
///         }
///         cooked
///     };
///     assert_eq!(gather((waiter, cook)).await.1, ["soup", "pasta", "cake"]);
/// });
/// ```
#[track_caller]
pub fn channel<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    assert!(bound > 0, "boucle: a channel needs room for one message at least; its bound is 0");
    let pipe = Rc::new(Pipe::new(bound));
    (Sender { pipe: pipe.clone() }, Receiver { pipe })
}

/// A [`channel`] without a bound: sending never waits, and messages that nobody receives pile up.
///
/// ```
/// let (tx, rx) = boucle::sync::unbounded();
/// tx.send(1).unwrap();
/// tx.send(2).unwrap();
/// assert_eq!(boucle::block_on(rx.recv()), Ok(1));
/// ```
#[track_caller]
pub fn unbounded<T>() -> (UnboundedSender<T>, Receiver<T>) {
    let pipe = Rc::new(Pipe::new(usize::MAX));
    (UnboundedSender { pipe: pipe.clone() }, Receiver { pipe })
}

/// Sends into a [`channel`].
///
/// ```
/// let (tx, rx) = boucle::sync::channel(1);
/// let also = tx.clone();
/// drop(tx);
/// boucle::block_on(also.send(7)).unwrap();
/// assert_eq!(rx.try_recv(), Ok(7));
/// ```
pub struct Sender<T> {
    pipe: Rc<Pipe<T>>,
}

impl<T> Sender<T> {
    /// Sends a message as soon as there is room; takes no turn if there is some and nobody waits.
    ///
    /// # Errors
    /// [`SendError`] with the message, if the channel is closed, or gets closed meanwhile.
    ///
    /// # Cancellation
    /// A future that is dropped has sent nothing: it leaves the queue, takes its message with
    /// it, and if it was given room, the next one gets that.
    ///
    /// ```
    /// let (tx, rx) = boucle::sync::channel(1);
    /// boucle::block_on(async {
    ///     tx.send(1).await.unwrap();
    ///     drop(rx);
    ///     assert_eq!(tx.send(2).await.unwrap_err().0, 2);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn send(&self, message: T) -> Sending<'_, T> {
        Sending { sender: self, message: Some(message), place: None, at: Location::caller() }
    }

    /// Sends a message if there is room and nobody waits for it.
    ///
    /// # Errors
    /// [`TrySendError`] with the message, if it is full or closed.
    ///
    /// ```
    /// use boucle::sync::{TrySendError, channel};
    ///
    /// let (tx, _rx) = channel(1);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    /// ```
    #[inline]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.pipe.try_send(message)
    }

    /// How many messages there is room for, in all.
    ///
    /// ```
    /// assert_eq!(boucle::sync::channel::<u8>(3).0.capacity(), 3);
    /// ```
    pub fn capacity(&self) -> usize {
        self.pipe.bound
    }
}

/// Sends into an [`unbounded`] channel.
///
/// ```
/// let (tx, rx) = boucle::sync::unbounded();
/// tx.clone().send(7).unwrap();
/// assert_eq!(rx.try_recv(), Ok(7));
/// ```
pub struct UnboundedSender<T> {
    pipe: Rc<Pipe<T>>,
}

impl<T> UnboundedSender<T> {
    /// Sends a message, without waiting.
    ///
    /// # Errors
    /// [`SendError`] with the message, if the channel is closed.
    ///
    /// ```
    /// let (tx, rx) = boucle::sync::unbounded();
    /// assert_eq!(tx.send(1), Ok(()));
    /// drop(rx);
    /// assert_eq!(tx.send(2).unwrap_err().0, 2);
    /// ```
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.pipe.try_send(message).map_err(|error| SendError(error.into_inner()))
    }
}

/// Receives from a [`channel`] or an [`unbounded`] one.
///
/// ```
/// let (tx, rx) = boucle::sync::channel(2);
/// let also = rx.clone();
/// tx.try_send(1).unwrap();
/// tx.try_send(2).unwrap();
/// // Each message is received once.
/// assert_eq!((rx.try_recv(), also.try_recv()), (Ok(1), Ok(2)));
/// ```
pub struct Receiver<T> {
    pipe: Rc<Pipe<T>>,
}

impl<T> Receiver<T> {
    /// Receives the next message; takes no turn if there is one that nobody waits for.
    ///
    /// # Errors
    /// [`RecvError`] if the channel is closed and empty.
    ///
    /// # Cancellation
    /// A future that is dropped has received nothing: it leaves the queue, and a message that it
    /// was woken for stays, at its place in the order, for the next one.
    ///
    /// ```
    /// use boucle::sync::{RecvError, channel};
    ///
    /// let (tx, rx) = channel(1);
    /// boucle::block_on(async {
    ///     tx.send(1).await.unwrap();
    ///     drop(tx);
    ///     assert_eq!(rx.recv().await, Ok(1));
    ///     assert_eq!(rx.recv().await, Err(RecvError));
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn recv(&self) -> Receiving<'_, T> {
        Receiving { receiver: self, place: None, at: Location::caller() }
    }

    /// Receives the next message if there is one that nobody waits for.
    ///
    /// # Errors
    /// [`Empty`](TryRecvError::Empty) if something may still come, [`Closed`](TryRecvError::Closed)
    /// if not.
    ///
    /// ```
    /// use boucle::sync::{TryRecvError, channel};
    ///
    /// let (tx, rx) = channel(1);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// tx.try_send(1).unwrap();
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// ```
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.pipe.try_recv()
    }
}

/// What all three ends can do.
macro_rules! end {
    ($end:ident, $make:literal, $add:ident, $remove:ident) => {
        impl<T> $end<T> {
            /// Names the channel, for reports of what tasks wait for.
            ///
            /// ```
            #[doc = $make]
            /// let end = end.named("orders");
            /// ```
            pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
                self.pipe.set_name(name.into());
                self
            }

            /// How many messages were sent and not received yet.
            ///
            /// ```
            #[doc = $make]
            /// assert_eq!(end.len(), 0);
            /// ```
            pub fn len(&self) -> usize {
                self.pipe.len()
            }

            /// Whether all that was sent has been received.
            ///
            /// ```
            #[doc = $make]
            /// assert!(end.is_empty());
            /// ```
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether nothing can be sent any more: one side has gone, or somebody closed it.
            ///
            /// ```
            #[doc = $make]
            /// assert!(!end.is_closed());
            /// ```
            pub fn is_closed(&self) -> bool {
                self.pipe.is_closed()
            }

            /// Lets nobody send any more; what was sent can still be received. Those who wait to
            /// send get their messages back.
            ///
            /// ```
            #[doc = $make]
            /// end.close();
            /// assert!(end.is_closed());
            /// ```
            pub fn close(&self) {
                self.pipe.close();
            }
        }

        impl<T> Clone for $end<T> {
            fn clone(&self) -> $end<T> {
                self.pipe.$add();
                $end { pipe: self.pipe.clone() }
            }
        }

        impl<T> Drop for $end<T> {
            fn drop(&mut self) {
                self.pipe.$remove();
            }
        }

        impl<T> fmt::Debug for $end<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($end)).field(&self.pipe).finish()
            }
        }
    };
}

end!(Sender, "let (end, _other) = boucle::sync::channel::<u8>(1);", add_sender, remove_sender);
end!(
    UnboundedSender,
    "let (end, _other) = boucle::sync::unbounded::<u8>();",
    add_sender,
    remove_sender
);
end!(
    Receiver,
    "let (_other, end) = boucle::sync::channel::<u8>(1);",
    add_receiver,
    remove_receiver
);

/// Sends a message, from [`Sender::send`].
///
/// # Cancellation
/// A future that is dropped has sent nothing: it leaves the queue, takes its message with it, and
/// if it was given room, the next one gets that.
///
/// ```
/// let (tx, rx) = boucle::sync::channel(1);
/// drop(tx.send(1));
/// assert!(rx.is_empty());
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sending<'s, T> {
    sender: &'s Sender<T>,
    message: Option<T>,
    place: Option<Place>,
    at: &'static Location<'static>,
}

/// The message is never pinned.
impl<T> Unpin for Sending<'_, T> {}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), SendError<T>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        let Sending { sender, message, place, at } = &mut *self;
        match sender.pipe.poll_send(message, place, at, cx) {
            Some(sent) => Poll::Ready(sent.map_err(SendError)),
            None => {
                note(Waits::Place(Place::number(place)));
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Sending<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.sender.pipe.abandon_send(place);
        }
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sending").field(&self.sender.pipe).finish()
    }
}

/// Receives a message, from [`Receiver::recv`].
///
/// # Cancellation
/// A future that is dropped has received nothing: it leaves the queue, and a message that it was
/// woken for stays, at its place in the order, for the next one.
///
/// ```
/// let (tx, rx) = boucle::sync::channel(1);
/// tx.try_send(1).unwrap();
/// drop(rx.recv());
/// assert_eq!(rx.len(), 1);
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Receiving<'r, T> {
    receiver: &'r Receiver<T>,
    place: Option<Place>,
    at: &'static Location<'static>,
}

impl<T> Future for Receiving<'_, T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        let Receiving { receiver, place, at } = &mut *self;
        match receiver.pipe.poll_recv(place, at, cx) {
            Ok(message) => Poll::Ready(Ok(message)),
            Err(TryRecvError::Closed) => Poll::Ready(Err(RecvError)),
            Err(TryRecvError::Empty) => {
                note(Waits::Place(Place::number(place)));
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Receiving<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.receiver.pipe.abandon_recv(place);
        }
    }
}

impl<T> fmt::Debug for Receiving<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiving").field(&self.receiver.pipe).finish()
    }
}
