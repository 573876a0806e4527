//! Timers on the virtual clock, and a few on the real one.

use std::{
    cell::RefCell,
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use boucle::{
    JoinHandle, Loop, Sleep, Status, block_on, gather, now, sleep, sleep_until, spawn, yield_now,
};

use crate::trace::{Count, Trace, millis, panic_of, secs, simulated};

/// Polls once, whatever comes of it.
pub(crate) async fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    let mut future = Some(future);
    poll_fn(move |cx| match future.take() {
        Some(future) => Poll::Ready(future.poll(cx)),
        None => Poll::Pending,
    })
    .await
}

pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A sleep whose timer the loop has, for whoever `waker` wakes.
pub(crate) fn armed(l: &Loop, length: Duration, waker: &Waker) -> Sleep {
    let mut armed = None;
    l.block_on(async {
        let sleep = armed.insert(sleep(length));
        assert!(poll_with(sleep, waker).is_pending());
    });
    armed.expect("it was made")
}

#[test]
fn a_sleep_ends_at_its_deadline_on_the_virtual_clock() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        sleep(millis(1500)).await;
        assert_eq!(now() - start, millis(1500));
        sleep_until(start + secs(3)).await;
        assert_eq!(now() - start, secs(3));
    });
    assert_eq!(l.now() - start, secs(3));
}

#[test]
fn a_sleep_counts_from_the_call() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        let early = sleep(secs(2));
        assert_eq!(early.deadline(), start + secs(2));
        sleep(secs(1)).await;
        early.await;
        assert_eq!(now() - start, secs(2));
    });
}

#[test]
fn the_virtual_clock_stands_still_while_anything_is_ready() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    drop(l.spawn(async move {
        sleep(Duration::from_nanos(1)).await;
        log.say("slept");
    }));
    let log = trace.clone();
    drop(l.spawn(async move {
        for _ in 0..1000 {
            yield_now().await;
        }
        log.say("worked");
    }));
    l.run();
    assert_eq!(trace.take(), "worked slept");
}

#[test]
fn the_virtual_clock_does_not_wait_for_a_wake_from_elsewhere() {
    let (l, (send, receive)) = (simulated(), mpsc::channel());
    let task = l.spawn(async move {
        let mut woken = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut woken, true) {
                return Poll::Ready(());
            }
            send.send(cx.waker().clone()).unwrap();
            Poll::Pending
        })
        .await;
    });
    let start = l.now();
    l.block_on(async { sleep(secs(3600)).await });
    assert_eq!((l.now() - start, task.status()), (secs(3600), Status::Waiting));
    // Without a timer the loop does wait, and the clock stands still. A real thread, since a loop
    // cannot wake itself while it is parked.
    let waking = thread::spawn(move || receive.recv().unwrap().wake());
    l.block_on(task).unwrap();
    assert_eq!(l.now() - start, secs(3600));
    waking.join().unwrap();
}

#[test]
fn virtual_time_ends_with_the_future_not_with_the_timers() {
    let l = simulated();
    let start = l.now();
    let late = l.spawn(async { sleep(secs(100)).await });
    l.block_on(async { sleep(secs(1)).await });
    assert_eq!(l.now() - start, secs(1));
    l.run();
    assert_eq!(l.now() - start, secs(100));
    assert!(late.is_finished());
}

#[test]
fn outside_a_loop_now_is_the_real_time_and_a_sleep_waits_for_a_real_loop() {
    let before = Instant::now();
    let sleep = sleep(millis(1));
    assert!(now() >= before && sleep.deadline() >= before + millis(1));
    block_on(sleep);
    assert!(Instant::now() >= before + millis(1));
}

#[test]
fn a_sleep_polled_where_it_cannot_work_panics_and_says_why() {
    let real = sleep(secs(1));
    let message = panic_of(|| simulated().block_on(real));
    assert!(message.contains("another clock") || message.contains("other clock"), "{message}");

    let message = panic_of(|| poll_with(&mut sleep(secs(1)), Waker::noop()).is_ready());
    assert!(message.contains("outside a loop"), "{message}");

    let l = Loop::new();
    let mut orphan = armed(&l, secs(1), Waker::noop());
    drop(l);
    let message = panic_of(|| poll_with(&mut orphan, Waker::noop()).is_ready());
    assert!(message.contains("after its loop was dropped"), "{message}");
    let message = panic_of(|| block_on(&mut orphan));
    assert!(message.contains("after its loop was dropped"), "{message}");
}

#[test]
fn an_armed_sleep_moves_to_the_loop_that_polls_it() {
    let l = Loop::new();
    let mut moved = armed(&l, millis(2), Waker::noop());
    assert_eq!(l.next_deadline(), Some(moved.deadline()));
    // Real threads: each has a loop of its own.
    let ended = thread::spawn(move || {
        block_on(&mut moved);
        moved.deadline() <= Instant::now()
    });
    assert!(ended.join().unwrap());
    l.run_until_stalled();
    assert_eq!(l.next_deadline(), None);
}

// Traps

#[test]
fn t57_durations_without_end_do_not_overflow() {
    let forever = [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(u64::MAX / 10),
        Duration::from_secs(i64::MAX as u64),
        Duration::from_nanos(u64::MAX),
        Duration::from_millis(u64::MAX),
        Duration::from_secs(1 << 33),
    ];
    for l in [simulated(), Loop::new()] {
        let tasks = forever.map(|far| l.spawn(async move { sleep(far).await }));
        l.block_on(async { sleep(millis(1)).await });
        assert!(tasks.iter().all(|task| task.status() == Status::Waiting));
        assert!(l.next_deadline().unwrap() > l.now() + secs(1 << 33) - secs(1));
    }
}

#[test]
fn t57_the_end_of_virtual_time_is_a_time_like_any_other() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async {
        sleep(Duration::MAX).await;
        log.say("the end");
        sleep(secs(1)).await;
        sleep(Duration::ZERO).await;
        sleep(Duration::MAX).await;
        log.say("and after");
    });
    assert_eq!(trace.take(), "the end and after");
    l.advance(secs(1));
}

#[test]
fn t57_a_deadline_just_before_the_far_future_is_kept_apart_from_it() {
    let (l, trace) = (simulated(), Trace::default());
    let far = secs(500 * 365 * 24 * 3600);
    for (name, after) in [("last", far), ("first", far - Duration::from_nanos(1))] {
        let trace = trace.clone();
        drop(l.spawn(async move {
            sleep(after).await;
            trace.say(name);
        }));
    }
    l.advance(far - Duration::from_nanos(2));
    assert_eq!(trace.take(), "");
    l.run();
    assert_eq!(trace.take(), "first last");
}

#[test]
fn t58_a_timer_is_dropped_while_its_fellows_fire() {
    thread_local! {
        static SLEEPS: RefCell<Vec<Sleep>> = const { RefCell::new(Vec::new()) };
    }

    /// Drops all sleeps, its own too, when it is woken.
    struct Sweep(Count);

    impl Wake for Sweep {
        fn wake(self: Arc<Self>) {
            self.0.add();
            drop(SLEEPS.take());
        }
    }

    let l = simulated();
    let sweep = Arc::new(Sweep(Count::default()));
    let waker = Waker::from(sweep.clone());
    l.block_on(async {
        let deadline = now() + secs(1);
        for _ in 0..10 {
            let mut sleep = sleep_until(deadline);
            assert!(poll_with(&mut sleep, &waker).is_pending());
            SLEEPS.with_borrow_mut(|sleeps| sleeps.push(sleep));
        }
        sleep_until(deadline).await;
        assert_eq!(sweep.0.get(), 1, "the first drops the others before they fire");
        sleep(secs(1)).await;
    });
    drop(waker);
    assert_eq!((sweep.0.get(), Arc::strong_count(&sweep)), (1, 1));
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn t58_a_wake_arms_and_drops_timers_while_others_fire() {
    thread_local! {
        static NEXT: RefCell<Option<Sleep>> = const { RefCell::new(None) };
    }

    /// Replaces the sleep that woke it by a new one, three times.
    struct Rearm(Count);

    impl Wake for Rearm {
        fn wake(self: Arc<Self>) {
            self.0.add();
            let mut next = (self.0.get() < 4).then(|| sleep(secs(1)));
            if let Some(sleep) = &mut next {
                assert!(poll_with(sleep, &Waker::from(self.clone())).is_pending());
            }
            drop(NEXT.replace(next));
        }
    }

    let l = simulated();
    let rearm = Arc::new(Rearm(Count::default()));
    let start = l.now();
    l.block_on(async { rearm.clone().wake() });
    let mut fired = Vec::new();
    while let Some(deadline) = l.next_deadline() {
        fired.push((deadline - start).as_secs());
        l.advance(deadline - l.now());
    }
    assert_eq!((fired, rearm.0.get()), (vec![1, 2, 3], 4));
}

#[test]
fn t59_equal_deadlines_fire_in_order_of_creation_whoever_is_polled_first() {
    let (l, trace) = (simulated(), Trace::default());
    l.block_on(async {
        let deadline = now() + secs(1);
        let sleeps = ["a", "b", "c", "d"].map(|name| (name, sleep_until(deadline)));
        let mut tasks: Vec<JoinHandle<()>> = Vec::new();
        for (name, sleep) in sleeps.into_iter().rev() {
            let trace = trace.clone();
            tasks.push(spawn(async move {
                sleep.await;
                trace.say(name);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(trace.take(), "a b c d");
}

/// Arms three timers and drops them, so that the places that they leave are out of order.
async fn shuffle_places() {
    let mut used = [1, 2, 3].map(|n| sleep(secs(n)));
    for sleep in &mut used {
        assert!(poll_once(Pin::new(sleep)).await.is_pending());
    }
}

#[test]
fn t59_equal_deadlines_of_sleeps_made_outside_fire_in_order_of_creation() {
    let (l, trace) = (Loop::new(), Trace::default());
    l.block_on(shuffle_places());
    loop {
        let deadline = Instant::now() + millis(50);
        let tasks = ["a", "b", "c"].map(|name| {
            let (trace, sleep) = (trace.clone(), sleep_until(deadline));
            l.spawn(async move {
                sleep.await;
                trace.say(name);
            })
        });
        l.run_until_stalled();
        let in_time = Instant::now() < deadline;
        l.run();
        assert!(tasks.iter().all(JoinHandle::is_finished));
        let order = trace.take();
        if in_time {
            assert_eq!(order, "a b c");
            return;
        }
        // The machine stood still until it was too late for some to wait at all.
    }
}

/// Sleeps that cannot be told apart must not be taken for one another: here 200 are cancelled
/// while others with the same deadline take their places.
#[test]
fn t62_cancelled_sleeps_made_outside_are_not_mistaken_for_new_ones() {
    let l = Loop::new();
    // Time enough to cancel them all before, even on a slow machine.
    let deadline = Instant::now() + millis(100);
    let spawn_all = |count: usize| -> Vec<JoinHandle<()>> {
        (0..count).map(|_| l.spawn(sleep_until(deadline))).collect()
    };
    let first = spawn_all(100);
    l.run_until_stalled();
    assert!(first.iter().take(60).all(JoinHandle::cancel));
    let second = spawn_all(60);
    l.run_until_stalled();
    assert!(first.iter().skip(60).chain(second.iter().take(50)).all(JoinHandle::cancel));
    l.run();
    assert!(second.iter().skip(50).all(|task| task.status() == Status::Finished));
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn t59_two_timers_of_one_task_are_one_poll() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async {
        let (mut a, mut b) = (sleep(secs(1)), sleep(secs(1)));
        poll_fn(move |cx| {
            log.say("poll");
            let (a, b) = (Pin::new(&mut a).poll(cx), Pin::new(&mut b).poll(cx));
            assert_eq!(a.is_ready(), b.is_ready());
            a
        })
        .await;
    });
    assert_eq!(trace.take(), "poll poll");
}

#[test]
fn t60_a_deadline_that_has_passed_takes_one_turn_and_no_time() {
    let (l, trace) = (simulated(), Trace::default());
    l.advance(secs(10));
    let start = l.now();
    for (name, past) in [("zero", secs(0)), ("past", secs(5))] {
        let log = trace.clone();
        drop(l.spawn(async move {
            sleep_until(start - past).await;
            log.say(name);
            sleep(Duration::ZERO).await;
            log.say(name);
        }));
    }
    let mut turns = 0;
    while l.step() {
        turns += 1;
    }
    assert_eq!((turns, trace.take().as_str()), (6, "zero past zero past"));
    assert_eq!((l.now(), l.next_deadline()), (start, None));
}

#[test]
fn t61_while_the_clock_stands_still_nothing_fires() {
    let l = simulated();
    let task = l.spawn(async { sleep(Duration::from_nanos(1)).await });
    for _ in 0..100 {
        l.run_until_stalled();
        l.advance(Duration::ZERO);
        assert_eq!(task.status(), Status::Waiting);
    }
    l.advance(Duration::from_nanos(1));
    assert!(task.is_finished());
}

#[test]
fn t61_a_clock_that_jumps_fires_everything_in_order() {
    let (l, trace) = (simulated(), Trace::default());
    for n in [5, 3, 9, 1, 7] {
        let trace = trace.clone();
        drop(l.spawn(async move {
            sleep(secs(n)).await;
            trace.say(n);
        }));
    }
    l.advance(secs(1_000_000));
    assert_eq!(trace.take(), "1 3 5 7 9");
}

#[test]
fn t61_no_real_sleep_is_early_however_short() {
    block_on(async {
        for nanos in [1, 999, 1_000, 1_001, 99_999, 100_001, 999_999, 1_000_001] {
            let (start, length) = (Instant::now(), Duration::from_nanos(nanos));
            sleep(length).await;
            assert!(start.elapsed() >= length, "{length:?}");
        }
    });
}

#[test]
fn t62_the_middle_of_a_heap_of_100k_timers_is_cancelled() {
    const TIMERS: u64 = 100_000;
    let (l, fired) = (simulated(), Rc::new(RefCell::new(Vec::new())));
    let tasks: Vec<_> = (0..TIMERS)
        .map(|n| {
            // In no order; 7919 and the number of timers share no factor.
            let (fired, at) = (fired.clone(), n * 7919 % TIMERS);
            l.spawn(async move {
                sleep(millis(at)).await;
                fired.borrow_mut().push(at);
            })
        })
        .collect();
    l.run_until_stalled();
    for (n, task) in (0..).zip(&tasks) {
        if (TIMERS / 3..2 * TIMERS / 3).contains(&(n * 7919 % TIMERS)) {
            assert!(task.cancel());
        }
    }
    l.run();
    let left: Vec<u64> = (0..TIMERS / 3).chain(2 * TIMERS / 3..TIMERS).collect();
    assert!(*fired.borrow() == left, "the others fire in order");
}

#[test]
fn t63_a_loop_that_goes_lets_go_of_the_wakers_of_its_timers() {
    let l = simulated();
    let (count, waker) = Count::waker();
    let armed = armed(&l, secs(1), &waker);
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 2, "the timer has one");
    drop(l);
    assert_eq!((Arc::strong_count(&count), count.get()), (1, 0));
    drop(armed);
}

#[test]
fn t63_a_loop_with_200k_timers_goes_at_once() {
    // Were it quadratic, this test would take minutes.
    const TIMERS: usize = 200_000;
    let (count, waker) = Count::waker();
    // Those of tasks go with their tasks, one by one; others only when the loop takes them all.
    for kept_outside in [false, true] {
        let (l, kept) = (simulated(), Rc::new(RefCell::new(Vec::new())));
        for n in (1..).take(TIMERS) {
            let (waker, kept) = (waker.clone(), kept.clone());
            drop(l.spawn(async move {
                let mut sleep = sleep(millis(n));
                assert!(poll_with(&mut sleep, &waker).is_pending());
                if kept_outside {
                    kept.borrow_mut().push(sleep);
                } else {
                    sleep.await;
                }
            }));
        }
        l.run_until_stalled();
        assert_eq!(l.next_deadline(), Some(l.now() + millis(1)));
        assert_eq!(kept.borrow().len(), if kept_outside { TIMERS } else { 0 });
        drop(l);
        // Nobody was woken, and the loop has let go of everybody.
        assert_eq!((count.get(), Arc::strong_count(&count)), (0, 2));
    }
}

#[test]
fn t63_a_sleep_is_dropped_on_another_thread_before_and_after_its_loop() {
    let l = Loop::new();
    let (send, receive) = mpsc::channel::<Sleep>();
    // Real threads: sleeps are `Send`.
    let dropping = thread::spawn(move || receive.into_iter().for_each(drop));
    let [early, late] = [100, 200].map(|n| armed(&l, secs(n), Waker::noop()));
    let remaining = late.deadline();
    send.send(early).unwrap();
    drop(send);
    dropping.join().unwrap();
    l.run_until_stalled();
    assert_eq!(l.next_deadline(), Some(remaining));
    drop(l);
    thread::spawn(move || drop(late)).join().unwrap();
}

#[test]
fn t86_five_timers_with_one_deadline_fire_in_creation_order() {
    let (l, trace) = (simulated(), Trace::default());
    l.block_on(async {
        let deadline = now() + secs(1);
        let five = (0..5).map(|n| {
            let trace = trace.clone();
            async move {
                sleep_until(deadline).await;
                trace.say(n);
            }
        });
        let tasks: Vec<_> = five.clone().map(spawn).collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(now(), deadline);
    });
    assert_eq!(trace.take(), "0 1 2 3 4");

    l.block_on(async {
        let deadline = now() + secs(1);
        gather([0, 1, 2, 3, 4].map(|n| {
            let trace = &trace;
            async move {
                sleep_until(deadline).await;
                trace.say(n);
            }
        }))
        .await;
    });
    assert_eq!(trace.take(), "0 1 2 3 4");
}

#[test]
fn t87_a_jump_of_twelve_days() {
    let l = simulated();
    let start = l.now();
    let long = l.spawn(async { sleep(secs(12 * 24 * 3600)).await });
    l.run();
    assert!(long.is_finished());
    assert_eq!(l.now() - start, secs(12 * 24 * 3600));
    l.block_on(async { sleep(millis(1)).await });
    assert_eq!(l.now() - start, secs(12 * 24 * 3600) + millis(1));
}

#[test]
fn t87_a_very_long_sleep_beside_short_ones() {
    let l = simulated();
    let start = l.now();
    let year = secs(365 * 24 * 3600);
    let long = l.spawn(async move {
        sleep(year).await;
        now() - start
    });
    let ticks = l.spawn(async {
        for _ in 0..10_000 {
            sleep(millis(10)).await;
        }
        now()
    });
    assert_eq!(l.block_on(ticks).unwrap() - start, secs(100));
    assert_eq!(long.status(), Status::Waiting);
    assert_eq!(l.block_on(long).unwrap(), year);
}

#[test]
fn a_dropped_sleep_leaves_no_timer() {
    let l = simulated();
    l.block_on(async {
        let mut forgotten = pin!(sleep(secs(1)));
        assert!(poll_once(forgotten.as_mut()).await.is_pending());
        assert_eq!(forgotten.deadline() - now(), secs(1));
    });
    assert_eq!(l.next_deadline(), None);
    let message = panic_of(|| l.block_on(pending::<()>()));
    assert!(message.starts_with("deadlock"), "{message}");
}
