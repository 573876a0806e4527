//! Loops that did little: the next one of the thread begins as if there had been none.

use std::{
    cell::RefCell,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::mpsc,
    task::{Poll, Waker},
    thread,
};

use boucle::{JoinHandle, Loop, Status, block_on, forever, spawn, yield_now};

use crate::support::Log;

/// What can be told of a loop from inside and outside.
fn look(log: &Log) {
    let l = Loop::new();
    log.push(format!("{l:?} {:?} {:?}", l.tasks(), l.next_deadline()));
    let guest = l.spawn(async {});
    log.push(format!("{} {}", guest.id(), guest.name()));
    let main = l.block_on(async { boucle::snapshot().to_string() });
    log.push(main.split(',').next().unwrap_or_default());
    log.push(format!("{:?} {}", guest.status(), l.step()));
}

#[test]
fn a_loop_begins_as_if_there_had_been_none_before() {
    let lives: [fn(); 9] = [
        || drop(Loop::new()),
        || block_on(async {}),
        || block_on(async { drop(spawn(forever()).named("guest")) }),
        || block_on(async { drop(spawn(async { yield_now().await })) }),
        || {
            let l = Loop::new();
            drop(l.spawn(forever()));
            l.on_wake(|| ());
            l.run_until_stalled();
        },
        || {
            let panics = catch_unwind(|| block_on(async { panic!("burnt") }));
            assert!(panics.is_err());
        },
        || {
            let late = block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
            thread::spawn(move || late.wake()).join().unwrap();
        },
        || drop(block_on(async { boucle::remote() })),
        || {
            let l = Loop::new();
            (0..100).for_each(|_| drop(l.spawn(async {})));
            l.run();
        },
    ];
    let fresh = thread::spawn(|| {
        let log = Log::default();
        look(&log);
        log.take()
    });
    let fresh = fresh.join().unwrap();
    let log = Log::default();
    for (index, life) in lives.iter().enumerate() {
        life();
        look(&log);
        assert_eq!(log.take(), fresh, "after life {index}");
    }
}

#[test]
fn a_panic_that_nobody_observed_is_not_left_to_the_next_loop() {
    let l = Loop::new();
    drop(l.spawn(async { panic!("burnt") }));
    assert!(l.step());
    drop(l);
    block_on(async {});
}

#[test]
fn the_handle_of_a_task_is_of_its_own_loop_when_that_has_gone() {
    let l = Loop::new();
    let task = l.spawn(async { "soda" });
    l.run();
    drop(l);
    let next = Loop::new();
    let fries = next.spawn(async { "fries" });
    assert_eq!(*task.result().unwrap().unwrap(), "soda");
    drop(task);
    assert_eq!(next.block_on(fries).unwrap(), "fries");
}

#[test]
fn loops_run_while_their_thread_ends() {
    /// Runs a loop when it is dropped.
    struct Last(mpsc::Sender<u32>);

    impl Drop for Last {
        fn drop(&mut self) {
            let sum = block_on(async { 1 + spawn(async { 2 }).await.unwrap() });
            drop(Loop::new());
            self.0.send(sum).unwrap();
        }
    }

    thread_local! {
        static BEFORE: RefCell<Option<Last>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let (tx, rx) = mpsc::channel();
    let ended = thread::spawn(move || {
        // One is dropped before what loops keep for each other, one after.
        BEFORE.with(|last| *last.borrow_mut() = Some(Last(tx.clone())));
        block_on(async {});
        AFTER.with(|last| *last.borrow_mut() = Some(Last(tx)));
    });
    ended.join().unwrap();
    assert_eq!(rx.iter().collect::<Vec<_>>(), [3, 3]);
}

/// A task that has kept its waker, and from then on wakes itself.
fn parked(l: &Loop) -> (JoinHandle<()>, Waker) {
    let kept = Rc::new(RefCell::new(None));
    let keep = kept.clone();
    let task = l.spawn(poll_fn(move |cx| {
        if keep.replace(Some(cx.waker().clone())).is_some() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }));
    l.run_until_stalled();
    let waker = kept.borrow().clone().expect("it was polled");
    (task, waker)
}

#[test]
fn a_step_after_main_has_ended_at_once_looks_first() {
    let l = Loop::new();
    let [(first, one), (second, two)] = [parked(&l), parked(&l)];
    let wake = |waker: Waker| thread::spawn(move || waker.wake()).join().expect("it is woken");
    l.block_on(async { wake(one) });
    assert_eq!(first.status(), Status::Ready);
    wake(two);
    // It would not look for 64 polls otherwise, since one is ready all the time.
    assert!(l.step());
    assert_eq!([first.status(), second.status()], [Status::Ready; 2]);
}

#[test]
fn main_is_as_any_task_if_it_ends_at_once() {
    let log = Log::default();
    let l = Loop::new();
    // It comes after who was ready before, and what it does not await stays.
    drop(l.spawn(async {}));
    let seen = l.block_on(async {
        let guard = log.on_drop("future dropped");
        let snapshot = boucle::snapshot();
        let seen: Vec<_> = snapshot.tasks().iter().map(|task| task.name.to_string()).collect();
        drop(spawn(forever()).named("guest"));
        drop(guard);
        seen
    });
    assert_eq!(seen, ["main"]);
    assert_eq!(log.take(), ["future dropped"]);
    assert_eq!(l.tasks().len(), 1);
    // A destructor of its future that panics is its panic.
    let l = Loop::new();
    let bomb = crate::support::on_drop(|| panic!("burnt"));
    let panics = catch_unwind(AssertUnwindSafe(|| {
        l.block_on(poll_fn(move |_| {
            let _bomb = &bomb;
            Poll::Ready(())
        }));
    }));
    assert_eq!(panics.unwrap_err().downcast_ref(), Some(&"burnt"));
    // A waker that outlives it, and a wake of its own, do no harm.
    let waker = l.block_on(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Ready(cx.waker().clone())
    }));
    waker.wake_by_ref();
    l.run();
    drop(l);
    waker.wake();
}
