//! Cancelling: handles that take their task with them, reasons, what is shielded, what is shared.

use std::{
    cell::{Cell, RefCell},
    error::Error,
    future::{pending, poll_fn},
    rc::Rc,
    task::Poll,
};

use boucle::{JoinHandle, Loop, Status, Waiter, gather, shield, sleep, spawn, wait, yield_now};

use crate::{
    support::{Act, Drops, Log, boom, foreign_waker, panics, poll_with, virtual_loop},
    trace::secs,
};

/// A task that never ends and notes its drop.
fn lasting(l: &Loop, log: &Log, name: &'static str) -> JoinHandle<()> {
    let guard = log.on_drop(name);
    l.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    })
}

#[test]
fn a_bound_task_goes_with_its_handle_wherever_that_is() {
    let (l, log) = (virtual_loop(), Log::default());
    drop(lasting(&l, &log, "dropped").cancel_on_drop());
    let gathered = gather((lasting(&l, &log, "gathered").cancel_on_drop(),));
    let waited = wait([lasting(&l, &log, "waited").cancel_on_drop()]);
    let owner = l.spawn({
        let owned = lasting(&l, &log, "owned").cancel_on_drop();
        async move { owned.await.unwrap() }
    });
    l.run_until_stalled();
    log.push("all but one wait");
    drop(gathered);
    drop(waited);
    assert!(owner.cancel());
    assert_eq!(log.take(), ["dropped", "all but one wait", "gathered", "waited", "owned"]);
    assert!(l.tasks().is_empty());
}

#[test]
fn a_bound_task_that_ends_is_as_any_other() {
    let l = virtual_loop();
    let task = l.spawn(async { 42 }).cancel_on_drop();
    assert_eq!(l.block_on(task).unwrap(), 42);
    drop(l.spawn(async { boom() }).cancel_on_drop());
    l.run();
    let failed = l.spawn(async { boom() }).cancel_on_drop();
    l.run_until_stalled();
    drop(failed);
    assert_eq!(panics(|| l.run()), "boom", "a panic is not lost");
}

#[test]
fn t40_dropping_the_head_of_a_chain_of_bound_tasks_needs_no_stack() {
    let l = Loop::new();
    let n = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let drops = Rc::new(Cell::new(0));
    let mut head = l.spawn(pending::<()>()).cancel_on_drop();
    for _ in 1..n {
        let (next, drops) = (head, drops.clone());
        head = l
            .spawn(async move {
                let _next = next;
                let _count = crate::support::on_drop(move || drops.set(drops.get() + 1));
                pending::<()>().await;
            })
            .cancel_on_drop();
    }
    l.run_until_stalled();
    drop(head);
    assert_eq!((drops.get(), l.tasks().len()), (n - 1, 0));
}

#[test]
fn a_cancel_may_say_why_and_the_first_reason_counts() {
    let (l, log) = (virtual_loop(), Log::default());
    let task = lasting(&l, &log, "cook").named("cook");
    let canceller = task.canceller();
    assert!(task.cancel_because("out of fries"));
    assert!(!canceller.cancel_because("too late"));
    let error = task.result().unwrap().unwrap_err();
    assert_eq!((error.reason(), error.is_cancelled()), (Some("out of fries"), true));
    let text = error.to_string();
    assert!(text.starts_with("task 'cook' (#1, spawned at "), "{text}");
    assert!(text.ends_with(") was cancelled: out of fries"), "{text}");
    assert!(error.source().is_none());

    let silent = lasting(&l, &log, "silent");
    silent.cancel();
    assert_eq!(silent.result().unwrap().unwrap_err().reason(), None);
    let finished = l.spawn(async {});
    l.run_until_stalled();
    assert!(!finished.cancel_because("nothing left to do"));
}

#[test]
fn a_task_on_the_stack_learns_of_the_reason_too() {
    let l = virtual_loop();
    let own = Rc::new(RefCell::new(None::<boucle::Canceller>));
    let task = l.spawn({
        let own = own.clone();
        async move {
            let canceller = own.borrow_mut().take().unwrap();
            canceller.cancel_because("I said so");
            canceller.cancel_because("again");
            yield_now().await;
        }
    });
    *own.borrow_mut() = Some(task.canceller());
    let error = l.block_on(task).unwrap_err();
    assert_eq!(error.reason(), Some("I said so"));
    // Without a handle there is nobody to be told.
    let (log, detached) = (Log::default(), lasting(&l, &Log::default(), "detached"));
    let canceller = detached.canceller();
    assert_eq!(format!("{canceller:?}"), format!("Canceller({})", detached.id()));
    drop(detached);
    assert!(canceller.cancel_because(String::from("unheard")));
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn a_shielded_future_ends_though_nobody_waits() {
    let (l, log) = (virtual_loop(), Log::default());
    let task = l.spawn({
        let log = log.clone();
        async move {
            let step = |name: &'static str, n| {
                let log = log.clone();
                async move {
                    sleep(secs(n)).await;
                    log.push(name);
                    name.len()
                }
            };
            log.push(shield(step("first", 1)).await.to_string());
            shield(step("second", 5)).await;
            log.push("never");
        }
    });
    l.advance(secs(3));
    assert!(task.cancel());
    l.run();
    assert_eq!(log.take(), ["first", "5", "second"]);
}

#[test]
fn a_shielded_panic_reaches_the_awaiter_or_counts_as_unobserved() {
    let l = virtual_loop();
    assert_eq!(panics(|| l.block_on(async { shield(async { boom() }).await })), "boom");
    l.block_on(async { drop(shield(async { boom() })) });
    assert_eq!(panics(|| l.run()), "boom");
    let text = panics(|| shield(async {}));
    assert!(text.starts_with("`boucle::shield` outside a loop"), "{text}");
}

#[test]
fn several_await_one_task_and_each_gets_a_clone() {
    let (l, log) = (virtual_loop(), Log::default());
    l.block_on(async {
        let soup = spawn(async {
            sleep(secs(1)).await;
            String::from("soup")
        })
        .shared();
        let guests = ["a", "b", "c"].map(|name| {
            let (soup, log) = (soup.clone(), log.clone());
            spawn(async move { log.push(format!("{name} eats {}", soup.await.unwrap())) })
        });
        drop(gather(guests).await);
        assert_eq!(soup.clone().await.unwrap(), "soup", "long after");
        assert_eq!(format!("{soup:?}").split(' ').next_back(), Some("[FINISHED])"));
    });
    // The last to ask is woken first, and wakes the others in their order.
    assert_eq!(log.take(), ["c eats soup", "a eats soup", "b eats soup"]);
}

#[test]
fn the_watchman_of_a_shared_task_may_go_at_any_time() {
    let (l, log) = (virtual_loop(), Log::default());
    let gate = Rc::new(Waiter::new(1));
    let soup = l
        .spawn({
            let gate = gate.clone();
            async move {
                gate.wait().await;
                1
            }
        })
        .shared();
    let mut guests: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|name| {
            let (soup, log) = (soup.clone(), log.clone());
            l.spawn(async move { log.push(format!("{name} {}", soup.await.unwrap())) })
        })
        .collect();
    l.run_until_stalled();
    assert!(guests.pop().unwrap().cancel(), "the last to ask is the watchman");
    l.run_until_stalled();
    // Whoever has taken over goes between the end of the task and its own turn.
    gate.set();
    while soup.clone().now_or_never_status() != Status::Finished {
        assert!(l.step());
    }
    assert!(guests.remove(0).cancel());
    l.run_until_stalled();
    assert_eq!(log.take(), ["b 1", "c 1"]);
}

trait NowOrNever {
    fn now_or_never_status(self) -> Status;
}

impl<T> NowOrNever for boucle::Shared<T> {
    fn now_or_never_status(self) -> Status {
        if format!("{self:?}").contains("FINISHED") { Status::Finished } else { Status::Waiting }
    }
}

#[test]
fn all_who_share_a_task_see_how_it_failed() {
    let l = virtual_loop();
    let burnt = l.spawn(async { boom() }).named("fries").shared();
    let (a, b): (Result<(), _>, _) = l.block_on(gather((burnt.clone(), burnt)));
    let (a, b) = (a.unwrap_err(), b.unwrap_err());
    assert!(a.is_panic() && std::sync::Arc::ptr_eq(&a, &b));
    l.run();

    let unread = l.spawn(async { boom() });
    drop::<boucle::Shared<()>>(unread.shared());
    assert_eq!(panics(|| l.run()), "boom", "nobody has asked");
}

#[test]
fn a_waker_that_polls_a_clone_of_what_it_is_registered_with() {
    let (l, drops) = (virtual_loop(), Drops::default());
    let probe = Rc::new(drops.probe());
    let gate = Rc::new(Waiter::new(1));
    let shared = l
        .spawn({
            let gate = gate.clone();
            async move {
                gate.wait().await;
                probe
            }
        })
        .shared();
    l.run_until_stalled();
    let inner = Rc::new(RefCell::new(Some(shared.clone())));
    let waker = foreign_waker({
        let (inner, gate) = (inner.clone(), gate.clone());
        move |act| {
            if act == Act::Clone {
                gate.set();
                if let Some(mut clone) = inner.take() {
                    let polled = poll_with(&mut clone, std::task::Waker::noop());
                    assert!(polled.is_pending());
                }
            }
        }
    });
    let mut outer = shared;
    assert!(poll_with(&mut outer, &waker).is_pending());
    l.run_until_stalled();
    let ended = poll_with(&mut outer, &waker);
    assert!(matches!(&ended, Poll::Ready(Ok(_))));
    l.block_on(poll_fn(|_| Poll::Ready(())));
    drop((ended, outer, waker, l));
    drops.assert_all_dropped_here();
}

/// The end of a task is not lost when a waker, on being registered, has a clone of the future
/// registered after it.
#[test]
fn t13_a_waker_that_hands_the_watch_over_while_it_is_cloned() {
    let (l, log) = (virtual_loop(), Log::default());
    let gate = Rc::new(Waiter::new(1));
    let shared = l
        .spawn({
            let gate = gate.clone();
            async move { gate.wait().await }
        })
        .shared();
    l.run_until_stalled();
    let nested = Rc::new(RefCell::new(shared.clone()));
    let waker = foreign_waker({
        let (nested, log) = (nested.clone(), log.clone());
        let polled = Cell::new(0);
        move |act| {
            if act == Act::Clone {
                // The first clone is the queue's, the second that which watches.
                polled.set(polled.get() + 1);
                if polled.get() == 2 {
                    let inner = crate::support::noting_waker(&log, "nested");
                    assert!(poll_with(&mut *nested.borrow_mut(), &inner).is_pending());
                }
            }
        }
    });
    let mut outer = shared;
    assert!(poll_with(&mut outer, &waker).is_pending());
    drop(outer);
    gate.set();
    l.run_until_stalled();
    let woken = log.take().iter().filter(|line| *line == "Wake nested").count();
    assert!(woken > 0);
}
