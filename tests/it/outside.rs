//! What is known to be outside: holds of the clock, and functions that block.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
    thread,
    time::Duration,
};

use boucle::{
    Loop, now, sleep,
    time::{Hold, hold},
    timeout,
};

use crate::support::{message, virtual_loop};

fn panic_of(f: impl FnOnce()) -> String {
    message(&*catch_unwind(AssertUnwindSafe(f)).unwrap_err())
}

/// Ready when a thread, which is given the hold, has woken it. Real, since that is what is held for.
async fn answer(hold: Hold) {
    let mut hold = Some(hold);
    poll_fn(|cx| match hold.take() {
        None => Poll::Ready(()),
        Some(hold) => {
            let waker = cx.waker().clone();
            thread::spawn(move || {
                waker.wake();
                drop(hold);
            });
            Poll::Pending
        }
    })
    .await;
}

#[test]
fn a_held_clock_stands_still_until_the_answer_is_there() {
    virtual_loop().block_on(async {
        let start = now();
        for _ in 0..100 {
            assert_eq!(timeout(Duration::from_nanos(1), answer(hold())).await, Ok(()));
        }
        assert_eq!(now(), start);
    });
}

#[test]
fn a_waker_elsewhere_alone_holds_nothing() {
    virtual_loop().block_on(async {
        let start = now();
        let mut kept = None;
        let for_ever = poll_fn(|cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(timeout(Duration::from_secs(1), for_ever).await.is_err());
        assert_eq!(now() - start, Duration::from_secs(1));
    });
}

#[test]
fn the_last_hold_to_go_lets_the_clock_go() {
    virtual_loop().block_on(async {
        let start = now();
        let (first, second) = (hold(), hold());
        drop(first);
        // A real thread: the loop is asleep, or about to be, when the hold goes.
        let thread = thread::spawn(move || drop(second));
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(now() - start, Duration::from_secs(3600));
        thread.join().unwrap();
    });
}

#[test]
fn a_hold_may_outlive_its_loop() {
    let l = virtual_loop();
    let held = l.block_on(async { hold() });
    drop(l);
    drop(held);
}

#[test]
fn a_hold_keeps_no_stall_from_being_proven() {
    let l = virtual_loop();
    let stalled = l.try_block_on(async {
        let _hold = hold();
        (&boucle::Waiter::new(1)).await;
    });
    assert!(stalled.unwrap_err().to_string().contains("main"));
}

#[test]
fn a_real_clock_and_one_that_is_advanced_take_no_notice() {
    let l = Loop::new();
    l.block_on(async {
        let _hold = hold();
        sleep(Duration::from_micros(1)).await;
    });
    let l = virtual_loop();
    let ended = l.spawn(async {
        let _hold = hold();
        sleep(Duration::from_secs(5)).await;
    });
    l.advance(Duration::from_secs(5));
    assert!(ended.is_finished());
}

#[test]
fn a_hold_outside_a_loop_is_refused() {
    let message = panic_of(|| drop(hold()));
    assert!(message.contains("`boucle::time::hold` outside a loop"), "{message}");
}

#[cfg(feature = "blocking")]
mod blocking {
    use std::{cell::Cell, sync::mpsc};

    use boucle::{gather, snapshot, unblock};

    use super::*;
    use crate::support::{boom, quiet};

    #[test]
    fn a_blocking_function_gives_its_output_and_time_stands_still() {
        virtual_loop().block_on(async {
            let start = now();
            let (tx, rx) = mpsc::channel();
            let received = timeout(Duration::from_nanos(1), unblock(move || rx.recv().unwrap()));
            let sent = unblock(move || tx.send(7).unwrap());
            assert_eq!(gather((received, sent)).await, (Ok(7), ()));
            assert_eq!(now(), start);
        });
    }

    #[test]
    fn a_blocking_function_that_is_let_go_lets_the_clock_go() {
        virtual_loop().block_on(async {
            let start = now();
            // Both are on the pool's threads until the end of the test, wherever its loop is by then.
            let (tx, rx) = mpsc::channel::<()>();
            let stuck = unblock(move || rx.recv().is_err());
            drop(stuck);
            sleep(Duration::from_secs(60)).await;
            assert_eq!(now() - start, Duration::from_secs(60));
            drop(tx);
        });
    }

    #[test]
    fn a_panic_of_a_blocking_function_comes_out() {
        quiet();
        let message = panic_of(|| {
            Loop::new()
                .block_on(async { unblock(|| -> () { panic!("boom on another thread") }).await })
        });
        assert_eq!(message, "boom on another thread");
    }

    #[test]
    fn a_blocking_function_that_has_panicked_lets_the_clock_go() {
        virtual_loop().block_on(async {
            let mut job = Box::pin(unblock(|| boom()));
            let panicked = poll_fn(|cx| {
                let polled = catch_unwind(AssertUnwindSafe(|| job.as_mut().poll(cx)));
                polled.map_or(Poll::Ready(true), |polled| polled.map(|()| false))
            });
            assert!(panicked.await);
            // Its future is there still.
            let start = now();
            sleep(Duration::from_secs(60)).await;
            assert_eq!(now() - start, Duration::from_secs(60));
        });
    }

    #[test]
    fn a_blocking_function_may_begin_outside_and_end_in_any_loop() {
        let job = unblock(|| 1);
        let start = Cell::new(None);
        let outcome = virtual_loop().block_on(async {
            start.set(Some(now()));
            let outcome = timeout(Duration::from_secs(1), job).await;
            assert_eq!(Some(now()), start.get());
            outcome
        });
        assert_eq!(outcome, Ok(1));
    }

    #[test]
    fn who_waits_for_a_blocking_function_says_so() {
        let l = virtual_loop();
        let (tx, rx) = mpsc::channel::<()>();
        let task =
            l.spawn(async move { unblock(move || rx.recv().is_err()).await }).named("reader");
        l.block_on(async {
            boucle::yield_now().await;
            let report = snapshot().to_string();
            assert!(report.starts_with("reader #1 WAITING"), "{report}");
            assert!(report.contains("an answer from elsewhere"), "{report}");
        });
        drop(tx);
        assert!(l.block_on(task).unwrap());
    }
}

#[test]
fn a_hold_prints_nothing_of_what_it_holds() {
    let hold = Loop::builder().virtual_time().build().block_on(async { hold() });
    assert_eq!(format!("{hold:?}"), "Hold { .. }");
}
