//! `interval`: ticks at equal distances.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_lite::Stream;

use super::sleep::{Sleep, time};
use crate::{
    clock::{self, ClockId},
    turn::with_core,
};

/// Ticks at equal distances, the first time at once.
///
/// Each tick yields its deadline: the time it was for, which may have passed a while ago. A tick
/// never comes early; one whose time has come takes a turn and no time, so that ticks that were
/// missed starve nobody. What follows a late tick is up to [`MissedTicks`].
///
/// # Panics
/// If the period is zero. When polled, as [`sleep`](crate::sleep).
///
/// ```
/// use std::time::Duration;
///
/// let l = boucle::Loop::builder().virtual_time().build();
/// l.block_on(async {
///     let start = boucle::now();
///     let mut minutes = boucle::interval(Duration::from_secs(60));
///     for n in 0..3 {
///         assert_eq!(minutes.tick().await, start + Duration::from_secs(n * 60));
///     }
/// });
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    let (now, clock) = time();
    Interval::new(Sleep::new(now, clock, true), period, "boucle::interval")
}

/// Ticks at equal distances, the first time at `start`, which is on the clock of the loop, or on
/// the real clock outside one.
///
/// As [`interval`] otherwise.
///
/// # Panics
/// As [`interval`].
///
/// ```
/// use std::time::Duration;
///
/// let l = boucle::Loop::builder().virtual_time().build();
/// l.block_on(async {
///     let second = Duration::from_secs(1);
///     let start = boucle::now() + second;
///     let mut ticks = boucle::interval_at(start, second);
///     assert_eq!(ticks.tick().await, start);
///     assert_eq!(ticks.tick().await, start + second);
/// });
/// ```
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    let (now, clock) = time();
    Interval::new(Sleep::new(start, clock, start <= now), period, "boucle::interval_at")
}

/// When an [`Interval`] ticks after a tick that came late, because nobody had asked for it in time.
///
/// With a period of 10, and somebody who asks for the first tick at 0, for the second at 27, and
/// then always at once:
///
/// | | ticks yield, and come at |
/// |---|---|
/// | `Burst` | 10 at 27, 20 at 27, 30 at 30, 40 at 40 |
/// | `Delay` | 10 at 27, 37 at 37, 47 at 47, 57 at 57 |
/// | `Skip` | 10 at 27, 30 at 30, 40 at 40, 50 at 50 |
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MissedTicks {
    /// One after the other until all are made up for: the number of ticks is right.
    Burst,
    /// A period after the late one: two ticks are never much closer than a period.
    ///
    /// A tick is late if it comes more than 5 ms, or half a period if that is less, after its
    /// time. Less than that shifts nothing, so that the ticks do not drift.
    #[default]
    Delay,
    /// At the next multiple of the period that is still to come: the times are right.
    Skip,
}

/// How late a tick may be without delaying those that follow.
const SLACK: Duration = Duration::from_millis(5);

/// The ticks of [`interval`] and [`interval_at`]: a [`Stream`](futures_lite::Stream) that never ends.
///
/// The timer is kept between ticks, so any way of waiting for one can be given up without losing
/// it. It is `Send`, and may move to the thread of another loop as [`Sleep`] does.
#[derive(Debug)]
#[must_use = "an interval does nothing unless its ticks are awaited"]
pub struct Interval {
    /// Until the next tick.
    sleep: Sleep,
    period: Duration,
    missed: MissedTicks,
}

impl Interval {
    #[track_caller]
    fn new(sleep: Sleep, period: Duration, call: &str) -> Interval {
        assert!(
            !period.is_zero(),
            "`{call}` with a period of zero: all its ticks would be at once"
        );
        Interval { sleep, period, missed: MissedTicks::default() }
    }

    /// What follows a late tick; [`MissedTicks::Delay`] unless this is called.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use boucle::MissedTicks;
    ///
    /// let l = boucle::Loop::builder().virtual_time().build();
    /// l.block_on(async {
    ///     let start = boucle::now();
    ///     let mut ticks = boucle::interval(Duration::from_secs(10)).missed_ticks(MissedTicks::Skip);
    ///     ticks.tick().await;
    ///     boucle::sleep(Duration::from_secs(27)).await;
    ///     assert_eq!(ticks.tick().await, start + Duration::from_secs(10));
    ///     assert_eq!(ticks.tick().await, start + Duration::from_secs(30));
    /// });
    /// ```
    pub fn missed_ticks(self, missed: MissedTicks) -> Interval {
        Interval { missed, ..self }
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Makes the next tick come a period from now, whatever was to come before.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let l = boucle::Loop::builder().virtual_time().build();
    /// l.block_on(async {
    ///     let start = boucle::now();
    ///     let mut ticks = boucle::interval(Duration::from_secs(10));
    ///     boucle::sleep(Duration::from_secs(3)).await;
    ///     ticks.reset();
    ///     assert_eq!(ticks.tick().await, start + Duration::from_secs(13));
    /// });
    /// ```
    ///
    /// # Panics
    /// Outside a loop, if the interval was made under a virtual clock: nobody can tell its time
    /// there.
    #[track_caller]
    pub fn reset(&mut self) {
        let (now, clock) = time();
        let outside = with_core(|_| ()).is_none();
        assert!(
            !outside || self.sleep.clock() == ClockId::REAL,
            "`Interval::reset` outside a loop, of an interval with a virtual clock: reset it in a \
             future that its loop runs"
        );
        self.sleep.set(clock::later(now, self.period), clock, false);
    }

    /// Waits for the next tick and returns its deadline.
    ///
    /// # Cancellation
    /// Dropping the future loses no tick: the interval keeps its timer.
    ///
    /// # Panics
    /// When polled, as [`sleep`](crate::sleep).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// boucle::Loop::builder().virtual_time().build().block_on(async {
    ///     let mut ticks = boucle::interval(Duration::from_secs(1));
    ///     let first = ticks.tick().await;
    ///     assert_eq!(ticks.tick().await, first + ticks.period());
    /// });
    /// ```
    pub fn tick(&mut self) -> Tick<'_> {
        Tick { interval: self }
    }

    #[track_caller]
    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.sleep).poll(cx));
        let (now, clock) = time();
        let deadline = self.sleep.deadline();
        let next = self.after(deadline, now);
        self.sleep = Sleep::new(next, clock, next <= now);
        Poll::Ready(deadline)
    }

    /// The deadline after this one, whose tick comes now.
    fn after(&self, deadline: Instant, now: Instant) -> Instant {
        let period = self.period;
        let late = now.saturating_duration_since(deadline);
        match self.missed {
            MissedTicks::Delay if late > SLACK.min(period / 2) => clock::later(now, period),
            MissedTicks::Burst | MissedTicks::Delay => clock::later(deadline, period),
            MissedTicks::Skip => clock::later(now, period - remainder(late, period)),
        }
    }
}

/// What is left of `late` after all whole periods.
fn remainder(late: Duration, period: Duration) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let nanos = late.as_nanos() % period.as_nanos();
    // The first is less than the seconds of `late`, the second less than a second.
    Duration::new((nanos / SECOND) as u64, (nanos % SECOND) as u32)
}

impl Stream for Interval {
    type Item = Instant;

    #[track_caller]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

/// The future of [`Interval::tick`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Tick<'i> {
    interval: &'i mut Interval,
}

impl Future for Tick<'_> {
    type Output = Instant;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        self.interval.poll_tick(cx)
    }
}
