//! Sources whose keys have gone, and sides that wait apart.

use std::{
    io::{ErrorKind, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
};

use super::{Attempt, Key, Reactor, Waiting};
use crate::{sys::Way, wakee::Wakee};

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    b.set_nonblocking(true).unwrap();
    (a, b)
}

/// Waits as after an operation that would have blocked.
fn wait(reactor: &Reactor, key: Key, way: Way, count: &Arc<Count>) {
    reactor.blocked(key, way);
    let waker = Waker::from(count.clone());
    let wakee = Wakee::of(&Context::from_waker(&waker));
    assert!(matches!(reactor.wait_for(key, way, 1, wakee), Waiting::Begun(None)));
}

#[test]
fn t70_an_event_of_a_source_that_has_gone_is_not_for_its_successor() {
    let reactor = Reactor::new();
    let ((a, mut to_a), (b, mut to_b)) = (pair(), pair());
    let old = reactor.add(a.as_fd(), "test").unwrap();
    let waits = Arc::new(Count::default());
    wait(&reactor, old, Way::Read, &waits);

    // The event is on its way, and its source has gone.
    to_a.write_all(b"a").unwrap();
    reactor.remove(old);
    assert_eq!((waits.get(), reactor.is_awaited()), (1, false));
    assert_eq!(reactor.attempt(old, Way::Read, 0, || None), Attempt::Gone);
    let new = reactor.add(b.as_fd(), "test").unwrap();
    assert_eq!(old.pack() >> 32, new.pack() >> 32, "the place is used again");
    let waits = Arc::new(Count::default());
    wait(&reactor, new, Way::Read, &waits);
    reactor.look();
    assert_eq!(waits.get(), 0);
    assert_eq!(reactor.attempt(new, Way::Read, 0, || None), Attempt::Wait);

    // Whatever is said under the old key.
    assert_eq!(reactor.attempt(old, Way::Read, 0, || None), Attempt::Gone);
    let noop = Context::from_waker(Waker::noop());
    let refused = reactor.wait_for(old, Way::Read, 0, Wakee::of(&noop));
    assert!(matches!(refused, Waiting::Refused(_)));
    assert!(reactor.give_up(old, Way::Read, 1).is_none());
    assert!(!reactor.knows(old, Way::Read, |_, _| true));
    reactor.remove(old);
    assert_eq!((waits.get(), reactor.is_awaited()), (0, true));

    to_b.write_all(b"b").unwrap();
    assert!(reactor.look());
    assert_eq!((waits.get(), reactor.is_awaited()), (1, false));
}

#[test]
fn an_operation_elsewhere_says_nothing_of_an_event_that_came_after_it() {
    let reactor = Reactor::new();
    let (a, mut peer) = pair();
    let key = reactor.add(a.as_fd(), "test").unwrap();
    let link = reactor.link().unwrap().clone();
    let attempt = || reactor.attempt(key, Way::Read, 0, || None);

    // Nothing has come since.
    reactor.blocked_at(key, Way::Read, link.epoch());
    assert_eq!(attempt(), Attempt::Wait);
    for _ in 0..3 {
        let waits = Arc::new(Count::default());
        wait(&reactor, key, Way::Read, &waits);
        let before = link.epoch();
        peer.write_all(b"a").unwrap();
        assert!(reactor.look());
        assert_eq!(waits.get(), 1);
        // The letter was written before, and is read now.
        reactor.blocked_at(key, Way::Read, before);
        assert_eq!(attempt(), Attempt::Go);
        reactor.blocked_at(key, Way::Read, link.epoch());
        assert_eq!(attempt(), Attempt::Wait);
    }
}

#[test]
fn an_event_in_one_direction_leaves_the_other_one_waiting() {
    let reactor = Reactor::new();
    let (mut a, mut peer) = pair();
    let key = reactor.add(a.as_fd(), "test").unwrap();
    let block = [0; 4096];
    let error = loop {
        match a.write(&block) {
            Ok(written) => assert_ne!(written, 0),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let (reads, writes) = (Arc::new(Count::default()), Arc::new(Count::default()));
    reactor.look();
    wait(&reactor, key, Way::Write, &writes);
    for n in 1..4 {
        wait(&reactor, key, Way::Read, &reads);
        peer.write_all(b"a").unwrap();
        while reads.get() < n {
            assert!(reactor.look());
        }
        assert_eq!(a.read(&mut [0; 8]).unwrap(), 1);
        assert_eq!(writes.get(), 0);
    }
    // Nobody has waited anew since the last event.
    let mut buf = [0; 4096];
    while peer.read(&mut buf).is_ok() {}
    assert!(reactor.look());
    assert_eq!(writes.get(), 1);
}
