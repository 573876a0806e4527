//! Futures that run together until one of them ends it: `try_gather`, `race`.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn, ready},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use boucle::{Status, Waiter, block_on, gather, now, race, sleep, spawn, try_gather, yield_now};

use crate::trace::{Count, Last, Trace, my_waker, panic_of, secs, simulated};

/// Ends after `n` seconds: with an error if `n` is odd.
async fn even(trace: Trace, n: u64) -> Result<u64, String> {
    let _last = Last(trace, ["0", "1", "2", "3", "4", "5"][n as usize]);
    sleep(secs(n)).await;
    if n % 2 == 0 { Ok(n * 10) } else { Err(format!("{n} is odd")) }
}

/// Panics when it is dropped, after it has said so.
struct Bomb(Trace, &'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.say(self.1);
        panic!("{}", self.1);
    }
}

#[test]
fn try_gather_of_successes_keeps_the_order_given() {
    let (l, trace) = (simulated(), Trace::default());
    let start = l.now();
    let f = |n| even(trace.clone(), n);
    assert_eq!(l.block_on(try_gather(vec![f(4), f(2)])), Ok(vec![40, 20]));
    assert_eq!(l.block_on(try_gather([f(4), f(0), f(2)])), Ok([40, 0, 20]));
    let two = async { Ok::<_, String>("two") };
    assert_eq!(l.block_on(try_gather((f(2), two, f(0)))), Ok((20, "two", 0)));
    assert_eq!(trace.take(), "2 4 0 2 4 0 2");
    assert_eq!(l.now() - start, secs(10));
}

#[test]
fn try_gather_of_nothing_succeeds() {
    let none: [std::future::Ready<Result<u8, ()>>; 0] = [];
    assert_eq!(block_on(try_gather(none)), Ok([]));
    assert_eq!(block_on(try_gather(Vec::<std::future::Ready<Result<u8, ()>>>::new())), Ok(vec![]));
}

#[test]
fn the_first_error_drops_the_others_and_then_comes_out() {
    let (l, trace) = (simulated(), Trace::default());
    let start = l.now();
    let f = |n| even(trace.clone(), n);
    let say = |result: Result<(), String>| trace.say(result.unwrap_err());
    l.block_on(async {
        say(try_gather(vec![f(5), f(2), f(3), f(4)]).await.map(drop));
        assert_eq!((trace.take().as_str(), now() - start), ("2 3 5 4 3 is odd", secs(3)));
        say(try_gather([f(4), f(1), f(2)]).await.map(drop));
        assert_eq!((trace.take().as_str(), now() - start), ("1 4 2 1 is odd", secs(4)));
        say(try_gather((f(4), f(1), f(2))).await.map(drop));
        assert_eq!((trace.take().as_str(), now() - start), ("1 4 2 1 is odd", secs(5)));
    });
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn outputs_that_are_there_go_before_the_error_comes_out() {
    let (l, trace) = (simulated(), Trace::default());
    l.block_on(async {
        let done = async { Ok::<_, u8>(Last(trace.clone(), "output")) };
        let failed = async {
            yield_now().await;
            Err::<Last, u8>(7)
        };
        let error = try_gather((done, failed)).await.err();
        trace.say(error.unwrap());
    });
    assert_eq!(trace.take(), "output 7");
}

#[test]
fn those_behind_the_end_are_never_polled() {
    let (l, trace) = (simulated(), Trace::default());
    let child = |n: u32| {
        let trace = trace.clone();
        async move {
            trace.say(n);
            Err::<(), u32>(n)
        }
    };
    assert_eq!(l.block_on(try_gather([1, 2, 3].map(child))), Err(1));
    assert_eq!(l.block_on(race([4, 5, 6].map(child))), Err(4));
    let pending = async {
        trace.say("pending");
        pending().await
    };
    assert_eq!(l.block_on(race((pending, child(7), child(8)))), Err(7));
    assert_eq!(trace.take(), "1 4 pending 7");
}

#[test]
fn race_returns_the_first_and_drops_the_others_before() {
    let (l, trace) = (simulated(), Trace::default());
    let start = l.now();
    let f = |n| even(trace.clone(), n);
    l.block_on(async {
        trace.say(race(vec![f(5), f(3), f(4)]).await.unwrap_err());
        assert_eq!((trace.take().as_str(), now() - start), ("3 5 4 3 is odd", secs(3)));
        trace.say(race([f(5), f(4)]).await.unwrap());
        assert_eq!((trace.take().as_str(), now() - start), ("4 5 40", secs(7)));
        trace.say(race((f(5), f(2), ready(Ok(1)))).await.unwrap());
        assert_eq!((trace.take().as_str(), now() - start), ("5 2 1", secs(7)));
    });
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn a_tie_goes_to_the_first_given_or_the_first_woken() {
    let (l, trace) = (simulated(), Trace::default());
    assert_eq!(l.block_on(race([ready(1), ready(2)])), 1);
    assert_eq!(l.block_on(race((ready("a"), ready("b")))), "a");
    // Sleeps with one deadline fire, and wake, in the order of their creation.
    let deadline = l.now() + secs(1);
    let after = |n: u8| async move {
        boucle::sleep_until(deadline).await;
        n
    };
    assert_eq!(l.block_on(race([after(1), after(2)])), 1);
    let gates = [Waiter::new(1), Waiter::new(1)];
    let winner = l.block_on(async {
        let racers = race([0, 1].map(|n: usize| {
            let (gate, trace) = (&gates[n], trace.clone());
            async move {
                gate.await;
                trace.say(n);
                n
            }
        }));
        let both = async {
            yield_now().await;
            gates[1].set();
            gates[0].set();
        };
        gather((racers, both)).await.0
    });
    assert_eq!((winner, trace.take().as_str()), (1, "1"));
}

#[test]
fn a_race_of_nobody_panics_at_the_call() {
    let message = panic_of(|| race(Vec::<std::future::Ready<()>>::new()));
    assert!(message.starts_with("`boucle::race` of no futures"), "{message}");
    let none: [std::future::Ready<()>; 0] = [];
    let message = panic_of(|| race(none));
    assert!(message.starts_with("`boucle::race` of no futures"), "{message}");
}

#[test]
fn tuples_of_up_to_twelve() {
    let ok = |n: u8| async move {
        yield_now().await;
        if n < 13 { Ok(n) } else { Err(n) }
    };
    macro_rules! twelve {
        ($last:expr) => {
            (ok(1), ok(2), ok(3), ok(4), ok(5), ok(6), ok(7), ok(8), ok(9), ok(10), ok(11), $last)
        };
    }
    let (a, b, c, d, e, f, g, h, i, j, k, l) = block_on(try_gather(twelve!(ok(12)))).unwrap();
    assert_eq!([a, b, c, d, e, f, g, h, i, j, k, l], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(block_on(try_gather(twelve!(ok(13)))), Err(13));
    assert_eq!(block_on(race(twelve!(async { Err(14) }))), Err(14));
    assert_eq!(block_on(try_gather((ok(1),))), Ok((1,)));
    assert_eq!(block_on(race((ok(13),))), Err(13));
}

#[test]
fn handles_of_tasks_give_their_results() {
    let l = simulated();
    l.block_on(async {
        let task = |n: u64| {
            spawn(async move {
                sleep(secs(n)).await;
                assert!(n != 2, "burnt");
                n
            })
        };
        let [one, two] = gather([task(1), task(2)]).await;
        assert_eq!(one.unwrap(), 1);
        assert!(two.unwrap_err().is_panic());

        assert_eq!(try_gather((task(1), task(3))).await.unwrap(), (1, 3));
        let slow = task(5);
        let canceller = slow.canceller();
        let error = try_gather(vec![task(3), task(2), slow]).await.unwrap_err();
        assert!(error.is_panic() && error.to_string().ends_with("burnt"), "{error}");
        assert!(canceller.cancel(), "its handle was dropped, and it runs on");

        assert_eq!(race((task(3), task(1))).await.unwrap(), 1);
        assert!(race([task(3), task(2)]).await.unwrap_err().is_panic());
    });
    l.run();
}

#[test]
fn they_borrow_what_is_around_them() {
    let (l, text) = (simulated(), String::from("abc"));
    let part = async |at: usize| {
        sleep(secs(at as u64)).await;
        text.get(at..=at).ok_or(at)
    };
    assert_eq!(l.block_on(try_gather([part(0), part(2)])), Ok(["a", "c"]));
    assert_eq!(l.block_on(try_gather([part(0), part(3), part(4)])), Err(3));
    assert_eq!(l.block_on(race([part(2), part(1)])), Ok("b"));
}

#[test]
fn only_the_child_that_was_woken_is_polled() {
    let l = simulated();
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let (polls, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let children: Vec<_> = (0..1000)
        .map(|n| {
            let (wakers, polls, done) = (wakers.clone(), polls.clone(), done.clone());
            poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                wakers.borrow_mut().push(cx.waker().clone());
                if done.get() { Poll::Ready(Err::<(), usize>(n)) } else { Poll::Pending }
            })
        })
        .collect();
    let task = l.spawn(try_gather(children));
    l.run_until_stalled();
    assert_eq!(polls.get(), 1000);
    let wake = |n: usize| wakers.borrow()[n].wake_by_ref();
    wake(700);
    l.run_until_stalled();
    assert_eq!((polls.get(), task.status()), (1001, Status::Waiting));
    done.set(true);
    [900, 700, 10].into_iter().for_each(wake);
    l.run_until_stalled();
    assert_eq!(polls.get(), 1002, "the first of three has ended it");
    assert!(matches!(task.result(), Some(Ok(Err(900)))));
}

#[test]
fn they_work_under_another_executor() {
    let raced = race((pending(), async {
        yield_now().await;
        1
    }));
    assert_eq!(futures_lite::future::block_on(raced), 1);
    let many = (0..200).map(|n| async move {
        yield_now().await;
        if n < 199 { Ok(n) } else { Err(n) }
    });
    let tried = try_gather(many.collect::<Vec<_>>());
    assert_eq!(futures_lite::future::block_on(tried), Err(199));
}

#[test]
fn the_end_wakes_nobody() {
    /// Wakes everybody when it is dropped.
    struct Alarm(Rc<RefCell<Vec<Waker>>>);

    impl Drop for Alarm {
        fn drop(&mut self) {
            self.0.take().iter().for_each(Waker::wake_by_ref);
        }
    }

    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let racers: Vec<_> = (0..100)
        .map(|n| {
            let wakers = wakers.clone();
            async move {
                let _alarm = (n != 2).then(|| Alarm(wakers.clone()));
                let waker = my_waker().await;
                wakers.borrow_mut().push(waker);
                if n == 2 { n } else { pending().await }
            }
        })
        .collect();
    let mut raced = pin!(race(racers));
    let (count, waker) = Count::waker();
    let mut cx = Context::from_waker(&waker);
    assert_eq!(raced.as_mut().poll(&mut cx), Poll::Ready(2));
    assert_eq!((wakers.borrow().len(), count.get()), (0, 0));
}

#[test]
fn t42_a_panic_in_a_child_comes_out_after_the_others_have_gone() {
    let (l, trace) = (simulated(), Trace::default());
    let child = |n: usize| {
        let last = Last(trace.clone(), ["zero", "one", "two"][n]);
        async move {
            let _last = last;
            sleep(secs(n as u64 + 1)).await;
            assert!(n != 0, "burnt");
            Ok::<_, ()>(n)
        }
    };
    for n in 0..2 {
        let children = [1, 0, 2].map(child);
        let message = panic_of(|| match n {
            0 => l.block_on(try_gather(children)).is_ok(),
            _ => l.block_on(race(children)).is_ok(),
        });
        trace.say(message);
        assert_eq!(trace.take(), "zero one two burnt");
        assert_eq!(l.next_deadline(), None);
    }
}

#[test]
fn t42_destructors_that_panic_keep_nobody_from_going() {
    let (l, trace) = (simulated(), Trace::default());
    let child = |n: usize| {
        let trace = trace.clone();
        async move {
            let _bomb = (n % 2 == 1).then(|| Bomb(trace.clone(), ["", "one", "", "three"][n]));
            let _last = Last(trace, ["zero", ".", "two", "."][n]);
            yield_now().await;
            pending::<Result<(), Last>>().await
        }
    };
    for n in 0..2 {
        let (log, last) = (trace.clone(), Last(trace.clone(), "value"));
        let quick = async move {
            yield_now().await;
            log.say("end");
            Err::<(), Last>(last)
        };
        let futures = (child(0), child(1), quick, child(3), child(2));
        let message = panic_of(|| match n {
            0 => l.block_on(try_gather(futures)).is_ok(),
            _ => l.block_on(race(futures)).is_ok(),
        });
        trace.say(message);
        assert_eq!(trace.take(), "end zero . one . three two value one");
    }
}

#[test]
fn t42_dropped_half_way_they_drop_futures_and_outputs() {
    let (l, trace) = (simulated(), Trace::default());
    let task = l.spawn(try_gather([1, 5].map(|n| {
        let last = Last(trace.clone(), if n == 1 { "output" } else { "future" });
        async move {
            sleep(secs(n)).await;
            Ok::<_, ()>(last)
        }
    })));
    l.advance(secs(2));
    assert_eq!(trace.take(), "");
    assert!(task.cancel());
    assert_eq!((trace.take().as_str(), l.next_deadline()), ("output future", None));
}

#[test]
fn polled_after_the_end_they_panic_and_say_who_they_are() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut raced = pin!(race([ready(1), ready(2)]));
    assert_eq!(raced.as_mut().poll(&mut cx), Poll::Ready(1));
    let message = panic_of(|| raced.as_mut().poll(&mut cx));
    assert_eq!(message, "a race was polled after it had ended");
    let mut tried = pin!(try_gather([ready(Err::<u8, u8>(1)), ready(Ok(2))]));
    assert_eq!(tried.as_mut().poll(&mut cx), Poll::Ready(Err(1)));
    let message = panic_of(|| tried.as_mut().poll(&mut cx));
    assert_eq!(message, "a try_gather was polled after it had ended");
}

#[test]
fn what_moves_to_another_loop_counts_nobody_twice() {
    let (left, right, gate) = (simulated(), simulated(), Rc::new(Waiter::new(1)));
    let inside = gate.clone();
    let mut tried = Box::pin(try_gather([1, 2].map(|n| {
        let gate = inside.clone();
        async move {
            if n == 2 {
                (&*gate).await;
            }
            Ok::<_, ()>(n)
        }
    })));
    left.block_on(poll_fn(|cx| {
        assert!(tried.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    let task = right.spawn(tried);
    right.run_until_stalled();
    assert_eq!(task.status(), Status::Waiting, "one of the two has not ended");
    gate.set();
    right.run();
    assert!(matches!(task.result(), Some(Ok(Ok([1, 2])))));
}
