//! `timeout` and `timeout_at`, in virtual time.

use std::{
    cell::{Cell, RefCell},
    future::{Future, IntoFuture, pending, poll_fn, ready},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use boucle::{
    Elapsed, Sleep, Status, Timeout, block_on, gather, now, race, sleep, sleep_until, spawn,
    timeout, timeout_at, yield_now,
};

use crate::{
    time::{poll_once, poll_with},
    trace::{Last, Trace, millis, panic_of, secs, simulated},
};

#[test]
fn what_is_in_time_comes_out_and_what_is_not_elapses() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        let after = |n| async move {
            sleep(secs(n)).await;
            n
        };
        assert_eq!(timeout(secs(2), after(1)).await, Ok(1));
        assert_eq!(now() - start, secs(1));
        let elapsed = timeout(secs(2), after(3)).await.unwrap_err();
        assert_eq!((now() - start, elapsed.allowed()), (secs(3), secs(2)));
        let elapsed = timeout_at(start + secs(7), after(9)).await.unwrap_err();
        assert_eq!((now() - start, elapsed.allowed()), (secs(7), secs(4)));
        assert_eq!(timeout_at(start + secs(9), after(1)).await, Ok(1));
    });
    assert_eq!((l.now() - start, l.next_deadline()), (secs(8), None));
}

#[test]
fn a_timeout_counts_from_the_call() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        let early = timeout(secs(3), pending::<()>());
        assert_eq!(early.deadline(), start + secs(3));
        sleep(secs(2)).await;
        assert_eq!(early.await.unwrap_err().allowed(), secs(3));
        assert_eq!(now() - start, secs(3));
        let late = timeout(secs(1), async { "there" });
        sleep(secs(2)).await;
        assert_eq!(late.await, Ok("there"));
    });
}

#[test]
fn an_output_that_is_there_beats_the_deadline() {
    let l = simulated();
    l.block_on(async {
        let deadline = now() + secs(1);
        // The sleep inside is made before that of the timeout, then after it.
        assert_eq!(timeout_at(deadline, sleep_until(deadline)).await, Ok(()));
        let deadline = now() + secs(1);
        let late = async { sleep_until(deadline).await };
        assert_eq!(timeout_at(deadline, late).await, Ok(()));
        let nanos = Duration::from_nanos(1);
        assert!(timeout(secs(1), sleep(secs(1) + nanos)).await.is_err());
    });
}

#[test]
fn t60_no_time_is_one_poll_and_one_turn() {
    let (l, polls) = (simulated(), Cell::new(0));
    l.advance(secs(10));
    let start = l.now();
    let count = || {
        poll_fn(|_| {
            polls.set(polls.get() + 1);
            Poll::<()>::Pending
        })
    };
    l.block_on(async {
        assert!(timeout(Duration::ZERO, count()).await.is_err());
        assert_eq!(polls.take(), 1);
        assert!(timeout_at(start - secs(5), count()).await.is_err());
        assert_eq!(polls.take(), 1);
        assert!(timeout(Duration::ZERO, yield_now()).await.is_err());
    });
    let task = l.spawn(async {
        let elapsed = timeout(Duration::ZERO, pending::<()>()).await.unwrap_err();
        assert_eq!(elapsed.allowed(), Duration::ZERO);
    });
    assert!(l.step() && task.status() == Status::Ready && l.step());
    assert_eq!((task.status(), l.now(), l.next_deadline()), (Status::Finished, start, None));
    let task = l.spawn(async { timeout(Duration::ZERO, ready(1)).await });
    assert!(l.step());
    assert_eq!(*task.result().unwrap().unwrap(), Ok(1));
}

#[test]
fn t48_a_loop_around_no_time_starves_nobody() {
    let l = simulated();
    let stop = Cell::new(false);
    let turns = Cell::new(0);
    l.block_on(gather((
        async {
            while !stop.get() {
                assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
                turns.set(turns.get() + 1);
            }
        },
        async {
            sleep(Duration::ZERO).await;
            stop.set(true);
        },
    )));
    assert!(turns.get() <= 2, "{turns:?}");
}

#[test]
fn no_timer_is_left_behind() {
    let l = simulated();
    // After an output, while the timeout is still there.
    let mut kept = Box::pin(timeout(secs(10), sleep(secs(1))));
    let mut moved = timeout(secs(10), pending::<()>());
    l.block_on(async {
        let mut own = pin!(timeout(secs(10), sleep(secs(1))));
        assert_eq!(own.as_mut().await, Ok(()));
        assert_eq!(boucle::now() - own.get_ref().deadline(), secs(0));
        yield_now().await;
        // Half-way: dropped, then taken out of.
        assert!(poll_once(pin!(timeout(secs(10), pending::<()>()))).await.is_pending());
        moved = timeout(secs(10), pending());
        assert!(poll_once(Pin::new(&mut moved)).await.is_pending());
    });
    assert!(l.next_deadline().is_some());
    drop(moved.into_inner());
    l.run_until_stalled();
    assert_eq!(l.next_deadline(), None);
    // A panic inside.
    let task = l.spawn(async {
        let burnt = async {
            yield_now().await;
            panic!("burnt")
        };
        timeout(secs(10), burnt).await
    });
    assert!(l.block_on(task).unwrap_err().is_panic());
    assert_eq!(l.next_deadline(), None);
    assert!(panic_of(|| l.block_on(kept.as_mut()).is_ok()).contains("another clock"));
}

#[test]
fn an_output_disarms_the_timer_of_a_timeout_that_stays() {
    let l = simulated();
    let mut stays = None;
    l.block_on(async {
        let timeout = stays.insert(Box::pin(timeout(secs(10), sleep(secs(1)))));
        assert_eq!(timeout.as_mut().await, Ok(()));
    });
    assert_eq!(l.next_deadline(), None);
    drop(stays);
}

#[test]
fn elapsed_names_the_task_and_what_was_allowed() {
    async fn cook() -> Result<(), Elapsed> {
        timeout(millis(1500), pending()).await
    }

    let l = simulated();
    l.block_on(async {
        let elapsed = spawn(cook()).await.unwrap().unwrap_err();
        assert_eq!(elapsed.to_string(), "task 'cook' (#2) timed out after 1.5s");
        assert_eq!(format!("{elapsed:?}"), format!("Elapsed({elapsed})"));
        let task = spawn(cook()).named("fries");
        let id = task.id();
        let elapsed = task.await.unwrap().unwrap_err();
        assert_eq!((elapsed.task_name(), elapsed.id()), (Some("fries"), Some(id)));
        assert_eq!(elapsed.clone(), elapsed);
        let [elapsed] = gather([cook()]).await;
        assert_eq!(elapsed.unwrap_err().task_name(), Some("main"));
    });
}

#[test]
fn elapsed_outside_a_task_names_none() {
    thread_local! {
        static SAID: RefCell<Option<Elapsed>> = const { RefCell::new(None) };
    }

    /// Polls a timeout of no time, twice, inside the loop but in no task.
    struct Poller;

    impl Wake for Poller {
        fn wake(self: Arc<Self>) {
            let mut timeout = timeout(Duration::ZERO, pending::<()>());
            assert!(poll_with(&mut timeout, Waker::noop()).is_pending());
            if let Poll::Ready(Err(elapsed)) = poll_with(&mut timeout, Waker::noop()) {
                SAID.set(Some(elapsed));
            }
        }
    }

    let l = simulated();
    let _armed = crate::time::armed(&l, secs(1), &Waker::from(Arc::new(Poller)));
    l.advance(secs(1));
    let elapsed = SAID.take().expect("it has elapsed");
    assert_eq!((elapsed.task_name(), elapsed.id()), (None, None));
    assert_eq!(elapsed.to_string(), "timed out after 0ns");
}

#[test]
fn elapsed_is_an_io_error_by_a_question_mark() {
    async fn read() -> io::Result<u8> {
        Ok(timeout(secs(1), pending()).await?)
    }

    let error = simulated().block_on(read()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "task 'main' (#1) timed out after 1s");
    assert!(error.get_ref().is_some_and(|inner| inner.is::<Elapsed>()));
}

#[test]
fn timeouts_nest_and_the_shorter_counts() {
    let l = simulated();
    l.block_on(async {
        let nest = |outer, inner| timeout(secs(outer), timeout(secs(inner), pending::<()>()));
        assert_eq!(nest(2, 1).await.unwrap().unwrap_err().allowed(), secs(1));
        assert_eq!(nest(1, 2).await.unwrap_err().allowed(), secs(1));
        // With equal deadlines, what is inside is polled first.
        assert_eq!(nest(1, 1).await.unwrap().unwrap_err().allowed(), secs(1));
    });
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn what_is_inside_can_be_seen_and_had_back() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        let mut limited: Timeout<Sleep> = timeout(secs(1), sleep(secs(5)));
        assert_eq!(limited.get_ref().deadline(), start + secs(5));
        limited.get_mut().reset(start + secs(3));
        let pinned = Pin::new(&mut limited).get_pin_mut();
        assert_eq!(pinned.deadline(), start + secs(3));
        assert!((&mut limited).await.is_err());
        assert!(format!("{limited:?}").starts_with("Timeout { future: Sleep {"));
        limited.into_inner().await;
        assert_eq!(now() - start, secs(3));
    });
}

#[test]
fn whatever_becomes_a_future_can_be_limited() {
    struct Order(u8);

    impl IntoFuture for Order {
        type Output = u8;
        type IntoFuture = std::future::Ready<u8>;

        fn into_future(self) -> Self::IntoFuture {
            ready(self.0)
        }
    }

    block_on(async {
        assert_eq!(timeout(secs(1), Order(7)).await, Ok(7));
        assert_eq!(timeout_at(now(), Order(8)).await, Ok(8));
    });
}

#[test]
fn outside_a_loop_only_what_is_ready_gets_through() {
    assert_eq!(poll_with(&mut timeout(secs(1), ready(1)), Waker::noop()), Poll::Ready(Ok(1)));
    let mut late = timeout(secs(1), pending::<()>());
    let message = panic_of(|| poll_with(&mut late, Waker::noop()).is_ready());
    assert!(message.contains("outside a loop"), "{message}");
}

#[test]
fn polled_after_its_end_it_panics() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut done = pin!(timeout(secs(1), ready(1)));
    assert!(done.as_mut().poll(&mut cx).is_ready());
    let message = panic_of(|| done.as_mut().poll(&mut cx));
    assert_eq!(message, "a timeout was polled after it had ended");
    simulated().block_on(async {
        let mut late = timeout(secs(1), pending::<()>());
        assert!((&mut late).await.is_err());
        let message = panic_of(|| poll_with(&mut late, Waker::noop()));
        assert_eq!(message, "a timeout was polled after it had ended");
    });
}

#[test]
fn the_future_goes_when_the_await_ends() {
    let (l, trace) = (simulated(), Trace::default());
    l.block_on(async {
        let last = Last(trace.clone(), "future");
        let slow = async move {
            let _last = last;
            pending::<()>().await;
        };
        let elapsed = timeout(secs(1), slow).await;
        trace.say(elapsed.is_err());
    });
    assert_eq!(trace.take(), "future true");
}

#[test]
fn t57_timeouts_without_end_do_not_overflow() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        for far in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(u64::MAX)] {
            assert_eq!(timeout(far, sleep(secs(1))).await, Ok(()));
        }
        assert_eq!(now() - start, secs(3));
        let elapsed = timeout(Duration::MAX, pending::<()>()).await.unwrap_err();
        assert_eq!(elapsed.allowed(), Duration::MAX);
    });
}

#[test]
fn many_timeouts_in_one_task_end_in_order() {
    let (l, trace) = (simulated(), Trace::default());
    let start: Instant = l.now();
    l.block_on(async {
        let limited = [3, 1, 2].map(|n| {
            let trace = &trace;
            async move {
                let inside = sleep(millis(1500));
                let in_time = timeout(secs(n), inside).await.is_ok();
                trace.say(format_args!("{n}:{in_time}@{:?}", now() - start));
            }
        });
        gather(limited).await;
        let late = timeout(secs(2), pending::<()>());
        assert_eq!(race([late, timeout(secs(1), pending())]).await.unwrap_err().allowed(), secs(1));
    });
    assert_eq!(trace.take(), "1:false@1s 3:true@1.5s 2:true@1.5s");
    assert_eq!(l.next_deadline(), None);
}
