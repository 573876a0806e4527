//! Other unixes: the `polling` crate. Edge-triggered where the system can be; where it cannot, an
//! event disarms its descriptor, in both directions, until somebody waits again.

use std::{
    collections::HashMap,
    io,
    num::NonZeroUsize,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use polling::PollMode;

use super::{
    call::call,
    event::{EVENTS, Event},
    returns,
};

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "boucle: except on Linux, the feature `net` needs a system of 64 bits, since keys have as many"
);

/// Ends are not told apart, so a short read or write shows nothing.
pub(crate) const TELLS_ENDS: bool = false;

pub(crate) struct Poller {
    poller: polling::Poller,
    /// What is registered, by key; only where events come once, and must be asked for again.
    registered: Option<Mutex<HashMap<u64, RawFd>>>,
}

/// What a wait brings.
pub(crate) struct Events {
    events: polling::Events,
}

impl Events {
    pub(crate) fn new() -> Events {
        let events = NonZeroUsize::new(EVENTS).expect("it is not zero");
        Events { events: polling::Events::with_capacity(events) }
    }

    /// Of users' descriptors alone.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.events.iter().map(|event| {
            let over = event.is_interrupt() || event.is_err() == Some(true);
            Event {
                key: event.key as u64,
                readable: event.readable || over,
                writable: event.writable || over,
                read_ended: over,
                write_ended: over,
            }
        })
    }

    /// Whether there may be more than were brought. The poller's own events, two at most, are not
    /// counted, but take room.
    pub(crate) fn is_full(&self) -> bool {
        self.events.len() + 2 >= EVENTS
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        returns::look();
        let poller = call(polling::Poller::new)?;
        let is_edge = poller.supports_edge() && !cfg!(boucle_oneshot);
        Ok(Poller { poller, registered: (!is_edge).then(Mutex::default) })
    }

    /// Whether an event disarms its descriptor.
    #[inline]
    pub(crate) fn is_oneshot(&self) -> bool {
        self.registered.is_some()
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        // Where events come once, nobody waits for any yet.
        let (event, mode) = match self.registered {
            None => (polling::Event::all(key as usize), PollMode::Edge),
            Some(_) => (polling::Event::none(key as usize), PollMode::Oneshot),
        };
        let number = fd.as_raw_fd();
        let added = call(|| {
            // SAFETY: [registered] of `io`: it is deleted before it is closed. Whoever breaks that, or has
            // an `AsFd` that lies, has the system wait for another descriptor, or for none: an
            // error, or a source that is told of no event. No memory hangs on it.
            unsafe { self.poller.add_with_mode(number, event, mode) }
        });
        if let Err(error) = added {
            // Some systems have begun to know it, unless it was another source's.
            if error.kind() != io::ErrorKind::AlreadyExists {
                let _ = self.poller.delete(fd);
            }
            return Err(error);
        }
        if let Some(registered) = &self.registered {
            registered.lock().unwrap_or_else(PoisonError::into_inner).insert(key, number);
        }
        Ok(())
    }

    /// Where events come once, asks for the next one in each of these directions; a key that is
    /// deleted on another thread right now is awaited by nobody.
    pub(crate) fn arm(&self, key: u64, [read, write]: [bool; 2]) -> io::Result<()> {
        let Some(registered) = &self.registered else { return Ok(()) };
        let registered = registered.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(&fd) = registered.get(&key) else { return Ok(()) };
        // SAFETY: [registered] of `io`: it is open for as long as it is in the map, since whoever is to
        // close it deletes it first, under the lock. An `AsFd` that lies is as in `add`.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let event = polling::Event::new(key as usize, read, write);
        call(|| self.poller.modify_with_mode(fd, event, PollMode::Oneshot))
    }

    pub(crate) fn delete(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let registered = self.registered.as_ref();
        let registered = registered.map(|map| map.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(mut registered) = registered {
            registered.remove(&key);
        }
        call(|| self.poller.delete(fd))
    }

    /// A signal does not end it.
    pub(crate) fn wait(&self, events: &mut Events, limit: Option<Duration>) -> io::Result<()> {
        events.events.clear();
        self.poller.wait(&mut events.events, limit).map(drop)
    }

    pub(crate) fn notify(&self) {
        // What fails is waking somebody who is woken already.
        let _ = self.poller.notify();
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
