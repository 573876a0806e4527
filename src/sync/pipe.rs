//! What the ends of a channel share: messages, and who waits for them or for room.
//!
//! A message is *promised* to a receiver that waited for it, and room is *reserved* for a sender
//! that waited for it, from the moment they are woken until they come for it or are dropped. What
//! is promised stays where it is, so no message is lost, nor its order: of n promises, the first n
//! messages are the ones.
//!
//! Nobody waits for what is there: whatever makes room, or a message, free gives it to the first
//! who waits before anything else happens. So who finds some that is free overtakes nobody.
//!
//! User code (wakers, destructors of messages) runs when nothing is borrowed and all is in order,
//! since it may come back here.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    panic::Location,
    task::Context,
};

use super::error::{TryRecvError, TrySendError};
use crate::{
    queue::{Place, ResourceKind, WaitQueue},
    wakee::Wakee,
};

pub(super) struct Pipe<T> {
    messages: RefCell<VecDeque<T>>,
    /// How many messages there may be.
    pub(super) bound: usize,
    /// Nothing will be sent any more.
    closed: Cell<bool>,
    senders: Cell<usize>,
    receivers: Cell<usize>,
    /// Who waits for room.
    for_room: WaitQueue,
    /// Who waits for a message.
    for_message: WaitQueue,
    /// Room of those who were taken from the queue and have not come yet.
    reserved: Cell<usize>,
    /// Messages of those who were taken from the queue and have not come yet.
    promised: Cell<usize>,
}

impl<T> Pipe<T> {
    /// With one sender and one receiver.
    #[track_caller]
    pub(super) fn new(bound: usize) -> Pipe<T> {
        let at = Location::caller();
        Pipe {
            messages: RefCell::new(VecDeque::new()),
            bound,
            closed: Cell::new(false),
            senders: Cell::new(1),
            receivers: Cell::new(1),
            for_room: WaitQueue::new(ResourceKind::Room, at),
            for_message: WaitQueue::new(ResourceKind::Message, at),
            reserved: Cell::new(0),
            promised: Cell::new(0),
        }
    }

    /// Names it, for reports.
    pub(super) fn set_name(&self, name: Cow<'static, str>) {
        self.for_room.set_name(name.clone());
        self.for_message.set_name(name);
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.messages.borrow().len()
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn add_sender(&self) {
        self.senders.set(self.senders.get() + 1);
    }

    pub(super) fn add_receiver(&self) {
        self.receivers.set(self.receivers.get() + 1);
    }

    pub(super) fn remove_sender(&self) {
        self.senders.set(self.senders.get() - 1);
        if self.senders.get() == 0 {
            self.close();
        }
    }

    pub(super) fn remove_receiver(&self) {
        self.receivers.set(self.receivers.get() - 1);
        if self.receivers.get() == 0 {
            self.close();
            // Nobody will ever take them, and the senders may stay for long.
            let messages = self.messages.take();
            drop(messages);
        }
    }

    pub(super) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        // Both before anybody is woken, so that whoever is finds all in order.
        let senders = self.for_room.take_all();
        let receivers = self.dismissed();
        for wakee in senders.into_iter().chain(receivers) {
            wakee.wake();
        }
    }

    /// Closed and empty: there is nothing to wait for.
    fn is_over(&self) -> bool {
        self.closed.get() && self.len() == 0
    }

    /// Those who wait for a message if none will come.
    fn dismissed(&self) -> Vec<Wakee> {
        if self.is_over() { self.for_message.take_all() } else { Vec::new() }
    }

    /// Sends without waiting; nobody is overtaken.
    #[inline]
    pub(super) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        if self.closed.get() {
            return Err(TrySendError::Closed(message));
        }
        if self.reserved.get() > 0 || self.len() >= self.bound {
            return Err(TrySendError::Full(message));
        }
        self.push(message);
        Ok(())
    }

    /// Waits for room, then sends what is in `message`. Gives the message back if it is closed,
    /// and nothing while it waits.
    pub(super) fn poll_send(
        &self,
        message: &mut Option<T>,
        place: &mut Option<Place>,
        at: &'static Location<'static>,
        cx: &Context<'_>,
    ) -> Option<Result<(), T>> {
        const ENDED: &str = "boucle: a send was polled after it had ended";
        if place.is_none() {
            match self.try_send(message.take().expect(ENDED)) {
                Ok(()) => return Some(Ok(())),
                Err(TrySendError::Closed(message)) => return Some(Err(message)),
                Err(TrySendError::Full(full)) => *message = Some(full),
            }
            let _ = self.for_room.join(place, 0, at, cx);
            // That may have run foreign code, which may have made room, or closed it. And those
            // for whom room is reserved may come after this one is polled again.
            self.grant();
            if !self.closed.get() {
                return None;
            }
        } else if !self.for_room.join(place, 0, at, cx) {
            return None;
        }
        let message = message.take().expect(ENDED);
        let given = place.take().is_some_and(|place| self.for_room.leave(place));
        if self.closed.get() {
            return Some(Err(message));
        }
        if given {
            self.reserved.set(self.reserved.get() - 1);
        }
        self.push(message);
        Some(Ok(()))
    }

    /// Leaves the queue, and hands on the room that it was given.
    pub(super) fn abandon_send(&self, place: Place) {
        // Once it is closed, room is of no use.
        if self.for_room.leave(place) && !self.closed.get() {
            self.reserved.set(self.reserved.get() - 1);
            self.grant();
        }
    }

    /// Receives without waiting; what is promised to others is left to them.
    #[inline]
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let first = self.promised.get();
        if self.len() > first {
            Ok(self.take(first))
        } else if self.is_over() {
            Err(TryRecvError::Closed)
        } else {
            Err(TryRecvError::Empty)
        }
    }

    /// Waits for a message. `Empty` while it waits.
    pub(super) fn poll_recv(
        &self,
        place: &mut Option<Place>,
        at: &'static Location<'static>,
        cx: &Context<'_>,
    ) -> Result<T, TryRecvError> {
        if place.is_none() {
            let received = self.try_recv();
            let Err(TryRecvError::Empty) = received else { return received };
            let _ = self.for_message.join(place, 0, at, cx);
            // That may have run foreign code, which may have sent something, or closed it.
            self.promise();
        } else if self.for_message.join(place, 0, at, cx) && !self.is_over() {
            let _ = place.take().map(|place| self.for_message.leave(place));
            self.promised.set(self.promised.get() - 1);
            return Ok(self.take(0));
        }
        if self.is_over() {
            let _ = place.take().map(|place| self.for_message.leave(place));
            return Err(TryRecvError::Closed);
        }
        Err(TryRecvError::Empty)
    }

    /// Leaves the queue, and hands on the message that it was promised.
    pub(super) fn abandon_recv(&self, place: Place) {
        // When it is over nothing is promised: whoever was taken from the queue was dismissed.
        if self.for_message.leave(place) && !self.is_over() {
            self.promised.set(self.promised.get() - 1);
            self.promise();
        }
    }

    #[inline]
    fn push(&self, message: T) {
        self.messages.borrow_mut().push_back(message);
        self.promise();
    }

    #[inline]
    fn take(&self, at: usize) -> T {
        let mut messages = self.messages.borrow_mut();
        let message = if at == 0 { messages.pop_front() } else { messages.remove(at) };
        drop(messages);
        if self.closed.get() {
            for wakee in self.dismissed() {
                wakee.wake();
            }
        } else {
            self.grant();
        }
        message.expect("there are as many messages as promises")
    }

    /// Promises messages to those who wait, in order.
    #[inline]
    fn promise(&self) {
        while !self.for_message.is_empty() && self.promised.get() < self.len() {
            self.promised.set(self.promised.get() + 1);
            if let Some(wakee) = self.for_message.take_first() {
                wakee.wake();
            }
        }
    }

    /// Reserves room for those who wait, in order.
    #[inline]
    fn grant(&self) {
        while !self.for_room.is_empty() && self.len() + self.reserved.get() < self.bound {
            self.reserved.set(self.reserved.get() + 1);
            if let Some(wakee) = self.for_room.take_first() {
                wakee.wake();
            }
        }
    }
}

impl<T> fmt::Debug for Pipe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("len", &self.len())
            .field("closed", &self.closed.get())
            .field("senders", &self.senders.get())
            .field("receivers", &self.receivers.get())
            .field("waiting_to_send", &self.for_room.len())
            .field("waiting_to_receive", &self.for_message.len())
            .finish()
    }
}
