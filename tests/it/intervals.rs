//! `interval` and `interval_at`, in virtual time.

use std::{
    future::poll_fn,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use boucle::{
    Interval, Loop, MissedTicks, gather, interval, interval_at, now, race, sleep, spawn, yield_now,
};
use futures_lite::{Stream, StreamExt};

use crate::{
    time::poll_once,
    trace::{Trace, millis, panic_of, secs, simulated},
};

/// Asks for a tick after each of these pauses, in seconds, and tells what each tick was for and
/// when it came.
fn consume(missed: MissedTicks, period: u64, pauses: &[u64]) -> String {
    let (l, trace) = (simulated(), Trace::default());
    let start = l.now();
    l.block_on(async {
        let mut ticks = interval(secs(period)).missed_ticks(missed);
        for &pause in pauses {
            if pause > 0 {
                sleep(secs(pause)).await;
            }
            let tick = ticks.tick().await;
            let [tick, now] = [tick, now()].map(|at| (at - start).as_secs());
            trace.say(format_args!("{tick}@{now}"));
        }
    });
    trace.take()
}

#[test]
fn ticks_come_at_equal_distances_and_the_first_at_once() {
    for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
        assert_eq!(consume(missed, 10, &[0, 0, 0, 0]), "0@0 10@10 20@20 30@30");
        // Whoever asks in time misses nothing, however long it takes him.
        assert_eq!(consume(missed, 10, &[0, 9, 10, 1]), "0@0 10@10 20@20 30@30");
    }
}

#[test]
fn t90_after_missed_ticks_nothing_bursts_unless_told_to() {
    assert_eq!(MissedTicks::default(), MissedTicks::Delay);
    let pauses = [0, 27, 0, 0, 0];
    assert_eq!(consume(MissedTicks::Burst, 10, &pauses), "0@0 10@27 20@27 30@30 40@40");
    assert_eq!(consume(MissedTicks::Delay, 10, &pauses), "0@0 10@27 37@37 47@47 57@57");
    assert_eq!(consume(MissedTicks::Skip, 10, &pauses), "0@0 10@27 30@30 40@40 50@50");
    // Late by whole periods.
    let pauses = [0, 30, 0, 0, 0];
    assert_eq!(consume(MissedTicks::Burst, 10, &pauses), "0@0 10@30 20@30 30@30 40@40");
    assert_eq!(consume(MissedTicks::Delay, 10, &pauses), "0@0 10@30 40@40 50@50 60@60");
    assert_eq!(consume(MissedTicks::Skip, 10, &pauses), "0@0 10@30 40@40 50@50 60@60");
}

#[test]
fn t90_a_consumer_that_is_always_too_slow() {
    let pauses = [0, 25, 25, 25, 25];
    assert_eq!(consume(MissedTicks::Burst, 10, &pauses), "0@0 10@25 20@50 30@75 40@100");
    assert_eq!(consume(MissedTicks::Delay, 10, &pauses), "0@0 10@25 35@50 60@75 85@100");
    assert_eq!(consume(MissedTicks::Skip, 10, &pauses), "0@0 10@25 30@50 60@75 80@100");
    // A little too slow.
    let pauses = [0, 12, 12, 12, 12];
    assert_eq!(consume(MissedTicks::Burst, 10, &pauses), "0@0 10@12 20@24 30@36 40@48");
    assert_eq!(consume(MissedTicks::Delay, 10, &pauses), "0@0 10@12 22@24 34@36 46@48");
    assert_eq!(consume(MissedTicks::Skip, 10, &pauses), "0@0 10@12 20@24 30@36 40@48");
    // Too slow once, then quick.
    let pauses = [4, 11, 0, 3, 0];
    assert_eq!(consume(MissedTicks::Burst, 10, &pauses), "0@4 10@15 20@20 30@30 40@40");
    assert_eq!(consume(MissedTicks::Delay, 10, &pauses), "0@4 14@15 25@25 35@35 45@45");
    assert_eq!(consume(MissedTicks::Skip, 10, &pauses), "0@4 10@15 20@20 30@30 40@40");
}

#[test]
fn t90_ticks_that_are_hardly_late_do_not_drift() {
    // Late by the slack, by more, and by half a period when that is less.
    for (period, late, next) in [(100, 5, 200), (100, 6, 206), (8, 4, 16), (8, 5, 21)] {
        let l = simulated();
        let start = l.now();
        l.block_on(async {
            let mut ticks = interval_at(start + millis(period), millis(period));
            sleep(millis(period + late)).await;
            assert_eq!(ticks.tick().await, start + millis(period));
            assert_eq!(ticks.tick().await, start + millis(next), "{period} {late}");
        });
    }
}

#[test]
fn an_interval_begins_when_it_is_told_to() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        let mut ticks = interval_at(start + secs(7), secs(2));
        assert_eq!(ticks.period(), secs(2));
        for n in 0..3 {
            assert_eq!(ticks.tick().await, start + secs(7 + 2 * n));
            assert_eq!(now(), start + secs(7 + 2 * n));
        }
        // A start that has passed is a tick that is late.
        let mut ticks = interval_at(start + secs(1), secs(4));
        assert_eq!((ticks.tick().await, now()), (start + secs(1), start + secs(11)));
        assert_eq!(ticks.tick().await, start + secs(15));
    });
}

#[test]
fn a_tick_whose_time_has_come_takes_a_turn_and_no_time() {
    let l = simulated();
    let start = l.now();
    let task = l.spawn(async {
        let mut ticks = interval(secs(1)).missed_ticks(MissedTicks::Burst);
        ticks.tick().await;
        sleep(secs(3)).await;
        for _ in 0..3 {
            ticks.tick().await;
        }
        now()
    });
    assert!(l.step() && l.step() && !l.step());
    l.advance(secs(1));
    assert!(!task.is_finished());
    assert_eq!(l.block_on(task).unwrap(), start + secs(3));
}

#[test]
fn t48_ticks_that_are_made_up_for_starve_nobody() {
    let l = simulated();
    let (ticking, turns) = l.block_on(async {
        let ticking = spawn(async {
            let mut ticks = interval(millis(1)).missed_ticks(MissedTicks::Burst);
            sleep(secs(1)).await;
            for _ in 0..1000 {
                ticks.tick().await;
            }
        });
        sleep(secs(1)).await;
        let mut turns = 0;
        while !ticking.is_finished() {
            turns += 1;
            yield_now().await;
        }
        (ticking, turns)
    });
    assert!(ticking.is_finished() && (1000..=1002).contains(&turns), "{turns}");
}

#[test]
fn a_tick_that_is_given_up_is_not_lost() {
    let (l, trace) = (simulated(), Trace::default());
    let start = l.now();
    l.block_on(async {
        let mut ticks = interval(secs(10));
        // The pause of the first one is given up in the middle.
        assert!(poll_once(Pin::new(&mut ticks.tick())).await.is_pending());
        assert_eq!(poll_once(Pin::new(&mut ticks.tick())).await, Poll::Ready(start));
        let step = async || {
            sleep(secs(4)).await;
            None
        };
        for _ in 0..6 {
            let tick = race((async { Some(ticks.tick().await) }, step())).await;
            match tick {
                Some(tick) => trace.say(format_args!("tick {}", (tick - start).as_secs())),
                None => trace.say((now() - start).as_secs()),
            }
        }
    });
    assert_eq!(trace.take(), "4 8 tick 10 14 18 tick 20");
}

#[test]
fn a_reset_begins_anew() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        let mut ticks = interval(secs(10));
        ticks.reset();
        assert_eq!(ticks.tick().await, start + secs(10), "before the first");
        sleep(secs(3)).await;
        ticks.reset();
        assert_eq!(ticks.tick().await, start + secs(23), "between two");
        sleep(secs(17)).await;
        ticks.reset();
        assert_eq!(ticks.tick().await, start + secs(50), "after one was missed");
        assert!(poll_once(Pin::new(&mut ticks.tick())).await.is_pending());
        sleep(secs(1)).await;
        ticks.reset();
        assert_eq!(
            (ticks.tick().await, now()),
            (start + secs(61), start + secs(61)),
            "while armed"
        );
        assert_eq!(ticks.tick().await, start + secs(71));
    });
}

#[test]
fn an_interval_is_a_stream_without_end() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        let ticks = interval(secs(2));
        assert_eq!(ticks.size_hint(), (usize::MAX, None));
        let first: Vec<Instant> = ticks.take(3).collect().await;
        assert_eq!(first, [0, 2, 4].map(|n| start + secs(n)));
    });
    assert_eq!((l.now() - start, l.next_deadline()), (secs(4), None));
}

#[test]
fn a_period_of_zero_panics_at_the_call() {
    let message = panic_of(|| interval(Duration::ZERO));
    assert!(message.starts_with("`boucle::interval` with a period of zero"), "{message}");
    let message = panic_of(|| interval_at(Instant::now(), Duration::ZERO));
    assert!(message.starts_with("`boucle::interval_at` with a period of zero"), "{message}");
}

#[test]
fn an_interval_polled_where_it_cannot_work_panics_and_says_why() {
    let mut real = interval(secs(1));
    let message = panic_of(|| simulated().block_on(real.tick()));
    assert!(message.contains("another clock"), "{message}");
    let message = panic_of(|| futures_lite::future::block_on(real.next()));
    assert!(message.contains("outside a loop"), "{message}");
}

#[test]
fn t57_periods_without_end_do_not_overflow() {
    for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
        let l = simulated();
        let start = l.now();
        l.block_on(async {
            let mut ticks = interval(Duration::MAX).missed_ticks(missed);
            assert_eq!(ticks.tick().await, start);
            let far = ticks.tick().await;
            assert!(far - start > secs(500 * 365 * 86_400));
            // The end of time comes again and again.
            assert_eq!(ticks.tick().await, far);
        });
    }
}

#[test]
fn t87_short_intervals_and_a_jump_of_twelve_days() {
    let l = simulated();
    let (start, days) = (l.now(), secs(12 * 24 * 3600));
    let mut ticks: Vec<Interval> = l.block_on(async {
        let each = [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip];
        each.map(|missed| interval_at(start + millis(10), millis(10)).missed_ticks(missed)).into()
    });
    l.advance(days + millis(7));
    let end = l.now();
    let came = l.block_on(gather(
        ticks
            .iter_mut()
            .map(|ticks| async {
                assert_eq!((ticks.tick().await, now()), (start + millis(10), end));
                ticks.tick().await
            })
            .collect::<Vec<_>>(),
    ));
    assert_eq!(came, [start + millis(20), end + millis(10), start + days + millis(10)]);
}

#[test]
fn two_intervals_keep_the_order_in_which_their_ticks_were_set() {
    let (l, trace) = (simulated(), Trace::default());
    l.block_on(async {
        let ticking = [("a", 2), ("b", 3)].map(|(name, period)| {
            let trace = &trace;
            async move {
                let mut ticks = interval(secs(period));
                while ticks.tick().await < boucle::now() + secs(1) && trace.len() < 9 {
                    trace.say(name);
                }
            }
        });
        gather(ticking).await;
    });
    // At 0 both; a 2; b 3; a 4; at 6 b, whose tick was set at 3, before a, set at 4; a 8; b 9.
    assert_eq!(trace.take(), "a b a b a b a a b");
}

#[test]
fn an_interval_moves_to_the_loop_that_polls_it() {
    let (left, right) = (Loop::new(), Loop::new());
    let mut ticks = left.block_on(async {
        let mut ticks = interval(millis(1));
        ticks.tick().await;
        assert!(poll_once(Pin::new(&mut ticks.tick())).await.is_pending());
        ticks
    });
    let next = left.next_deadline();
    assert_eq!(Some(right.block_on(ticks.tick())), next);
    left.run_until_stalled();
    assert_eq!(left.next_deadline(), None);
}

#[test]
fn a_dropped_interval_leaves_no_timer() {
    let l = simulated();
    l.block_on(async {
        let mut ticks = interval(secs(1));
        ticks.tick().await;
        poll_fn(|cx| {
            assert!(Pin::new(&mut ticks).poll_next(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn a_virtual_interval_is_not_reset_where_nobody_knows_its_time() {
    let l = boucle::Loop::builder().virtual_time().build();
    let mut ticks = l.block_on(async { boucle::interval(std::time::Duration::from_secs(1)) });
    let message = crate::support::panics(|| ticks.reset());
    assert!(message.starts_with("`Interval::reset` outside a loop"), "{message}");
    l.block_on(async { ticks.tick().await });
}
