//! Programs that do the strangest things safe code can do, at the worst moment.

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
};

use boucle::{JoinHandle, Loop, Status, Waiter, gather, spawn};

use crate::support::{Act, Log, boom, foreign_waker, on_drop, panics, poll_with, virtual_loop};

/// A task of `l` that never ends, and does `f` when it is dropped.
fn at_the_end(l: &Loop, f: impl FnMut() + 'static) -> JoinHandle<()> {
    let end = on_drop(f);
    l.spawn(async move {
        let _end = end;
        pending::<()>().await;
    })
}

/// Cancels a task whose destructor has `l` driven, in the middle of its own poll, while it is
/// woken: a loop that obeyed would poll it twice at a time.
fn drive_inside_a_poll(l: &Rc<Loop>, trap: JoinHandle<()>) {
    let mut depth = 0;
    let victim = l.spawn(poll_fn(move |cx| {
        depth += 1;
        assert_eq!(depth, 1, "polled while on the stack");
        cx.waker().wake_by_ref();
        assert!(trap.cancel());
        depth -= 1;
        Poll::Ready(())
    }));
    l.run_until_stalled();
    assert_eq!(victim.status(), Status::Finished);
}

#[test]
fn t51_a_destructor_that_drops_its_own_loop_cannot_drive_the_outer_one() {
    let (l, log) = (Rc::new(virtual_loop()), Log::default());
    let inner = Rc::new(RefCell::new(Some(virtual_loop())));
    let trap = at_the_end(inner.borrow().as_ref().unwrap(), {
        let (l, inner, log) = (l.clone(), inner.clone(), log.clone());
        move || {
            let gone = inner.borrow_mut().take();
            drop(gone);
            log.push(panics(|| l.run_until_stalled()));
        }
    });
    inner.borrow().as_ref().unwrap().run_until_stalled();
    drive_inside_a_poll(&l, trap);
    let [said] = log.take().try_into().unwrap();
    assert!(said.starts_with("`Loop::run_until_stalled` called inside"), "{said}");
}

#[test]
fn t51_nor_can_one_whose_loop_was_dropped_further_in() {
    let (l, log) = (Rc::new(virtual_loop()), Log::default());
    let middle = Rc::new(RefCell::new(Some(virtual_loop())));
    let inner = virtual_loop();
    let drops_middle = at_the_end(&inner, {
        let middle = middle.clone();
        move || {
            let gone = middle.borrow_mut().take();
            drop(gone);
        }
    });
    let trap = at_the_end(middle.borrow().as_ref().unwrap(), {
        let (l, log) = (l.clone(), log.clone());
        move || {
            assert!(drops_middle.cancel());
            log.push(panics(|| l.run_until_stalled()));
        }
    });
    inner.run_until_stalled();
    middle.borrow().as_ref().unwrap().run_until_stalled();
    drive_inside_a_poll(&l, trap);
    let [said] = log.take().try_into().unwrap();
    assert!(said.starts_with("`Loop::run_until_stalled` called inside"), "{said}");
}

/// A gather that waits for `future` under an executor whose wakers panic.
fn polled_by_a_bad_executor<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> Pin<Box<dyn Future<Output = (T,)>>> {
    let mut gathering: Pin<Box<dyn Future<Output = (T,)>>> = Box::pin(gather((future,)));
    let bad = foreign_waker(|act| {
        if act == Act::Wake {
            boom();
        }
    });
    assert!(poll_with(&mut gathering, &bad).is_pending());
    gathering
}

#[test]
fn t13_a_bad_waker_behind_a_gather_keeps_no_wake_from_the_others() {
    let (l, gate) = (virtual_loop(), Rc::new(Waiter::new(1)));
    let open = |gate: &Rc<Waiter>| {
        let gate = gate.clone();
        async move { (&*gate).await }
    };
    let outside = polled_by_a_bad_executor(open(&gate));
    let innocent = l.spawn(open(&gate));
    l.run_until_stalled();
    gate.set();
    l.run_until_stalled();
    assert_eq!(innocent.status(), Status::Finished);
    drop(outside);
}

#[test]
fn t13_a_bad_waker_behind_a_gather_does_not_stop_the_loop() {
    let (l, log) = (virtual_loop(), Log::default());
    let tasks = ["first", "second", "third"].map(|name| {
        let guard = log.on_drop(name);
        l.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        })
    });
    l.run_until_stalled();
    let outside = tasks.map(polled_by_a_bad_executor);
    drop(l);
    assert_eq!(log.take(), ["first", "second", "third"]);
    drop(outside);
}

#[test]
fn t13_a_callback_replaced_by_itself_keeps_no_wake_from_the_others() {
    thread_local! {
        static LOOP: RefCell<Option<Loop>> = const { RefCell::new(None) };
    }
    let with = |f: &dyn Fn(&Loop)| LOOP.with_borrow(|l| f(l.as_ref().unwrap()));
    LOOP.set(Some(virtual_loop()));
    let (gate, log) = (Rc::new(Waiter::new(1)), Log::default());
    with(&|l| {
        for name in ["a", "b"] {
            let (gate, log) = (gate.clone(), log.clone());
            drop(l.spawn(async move {
                (&*gate).await;
                log.push(name);
            }));
        }
        l.run_until_stalled();
        let capture = PanicsWhenDropped;
        l.on_wake(move || {
            let _ = &capture;
            LOOP.with_borrow(|l| l.as_ref().unwrap().on_wake(|| {}));
        });
    });
    gate.set();
    with(&Loop::run_until_stalled);
    assert_eq!(log.take(), ["a", "b"]);
    drop(LOOP.take());
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        boom();
    }
}

#[test]
fn a_callback_that_drops_its_loop_and_panics_when_dropped_leaves_the_cancel_whole() {
    thread_local! {
        static LOOP: RefCell<Option<Loop>> = const { RefCell::new(None) };
    }
    let (capture, log) = (PanicsWhenDropped, Log::default());
    let l = Loop::builder()
        .on_unobserved({
            let log = log.clone();
            move |error| {
                let _ = &capture;
                log.push(error.to_string().rsplit(") ").next().unwrap_or_default());
                drop(LOOP.take());
            }
        })
        .build();
    let task = at_the_end(&l, || boom());
    let other = l.spawn(pending::<()>());
    l.run_until_stalled();
    LOOP.set(Some(l));
    assert!(task.cancel());
    assert_eq!((task.status(), other.status()), (Status::Cancelled, Status::Cancelled));
    assert_eq!(log.take(), ["panicked: boom"]);
}

#[test]
fn t04_what_panics_carry_is_dropped_before_the_loop_is_gone() {
    thread_local! {
        static HANDLE: RefCell<Option<JoinHandle<()>>> = const { RefCell::new(None) };
        static DROPPED: RefCell<Vec<ThreadId>> = const { RefCell::new(Vec::new()) };
    }

    /// Leaves another panic unobserved when it is dropped.
    struct First;

    impl Drop for First {
        fn drop(&mut self) {
            drop(HANDLE.take());
        }
    }

    struct Second;

    impl Drop for Second {
        fn drop(&mut self) {
            DROPPED.with_borrow_mut(|dropped| dropped.push(thread::current().id()));
        }
    }

    let (l, kept) = (virtual_loop(), Rc::new(RefCell::new(None::<Waker>)));
    let keeper = l.spawn({
        let kept = kept.clone();
        poll_fn(move |cx: &mut Context<'_>| {
            *kept.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        })
    });
    drop(l.spawn(async { panic_any(First) }));
    HANDLE.set(Some(l.spawn(async { panic_any(Second) })));
    l.run_until_stalled();
    drop((keeper, l));
    // The waker keeps the memory of the loop, but nothing of a user's is left in it.
    assert_eq!(DROPPED.take(), [thread::current().id()]);
    drop(kept);
}

/// A destructor that runs because its loop goes may start another loop and use what is left.
#[test]
fn a_destructor_may_run_a_new_loop_once_its_own_is_gone() {
    let l = Rc::new(RefCell::new(Some(virtual_loop())));
    let log = Log::default();
    let trap = at_the_end(l.borrow().as_ref().unwrap(), {
        let (l, log) = (l.clone(), log.clone());
        move || {
            let gone = l.borrow_mut().take();
            drop(gone);
            let answer = boucle::block_on(async { spawn(async { 42 }).await.unwrap() });
            log.push(answer.to_string());
        }
    });
    l.borrow().as_ref().unwrap().run_until_stalled();
    let cancelled = catch_unwind(AssertUnwindSafe(|| trap.cancel())).unwrap();
    assert!(cancelled);
    assert_eq!(log.take(), ["42"]);
}

/// A cancel enters the loop that is entered already; what is woken inside must be polled.
#[test]
fn t53_a_wake_in_a_loop_that_is_entered_twice() {
    let (l, log) = (virtual_loop(), Log::default());
    let gates = Rc::new([Waiter::new(1), Waiter::new(1)]);
    for (n, name) in ["woken inside", "woken after"].into_iter().enumerate() {
        let (gates, log) = (gates.clone(), log.clone());
        drop(l.spawn(async move {
            gates[n].wait().await;
            log.push(name);
        }));
    }
    let trap = at_the_end(&l, {
        let gates = gates.clone();
        move || gates[0].set()
    });
    l.run_until_stalled();
    l.block_on(async {
        assert!(trap.cancel());
        gates[1].set();
        boucle::yield_now().await;
    });
    assert_eq!(log.take(), ["woken inside", "woken after"]);
    assert_eq!(l.tasks().len(), 0);
}
