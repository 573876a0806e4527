//! What time it is: the machine's, or a simulated one that moves only when told.
//!
//! Inside, time is nanoseconds since an epoch in 64 bits: 584 years, where deadlines further away
//! saturate. The epoch is one for the whole process, so that real deadlines mean the same in every
//! loop.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) struct Clock {
    /// Nanoseconds since the epoch, if the clock is simulated.
    simulated: Option<Cell<u64>>,
    quiet: Duration,
    id: ClockId,
}

/// Tells instants of different clocks apart: there is one real clock, and each simulated one is
/// its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClockId(u32);

impl ClockId {
    pub(crate) const REAL: ClockId = ClockId(0);
}

impl Clock {
    pub(crate) const fn real() -> Clock {
        Clock { simulated: None, quiet: Duration::ZERO, id: ClockId::REAL }
    }

    /// One that moves on when awaited sockets have been quiet for so long, in real time.
    pub(crate) fn simulated(quiet: Duration) -> Clock {
        // Not part of what threads share with a loop, so not from the facade.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Clock {
            simulated: Some(Cell::new(since_epoch(Instant::now()))),
            quiet,
            id: ClockId(NEXT.fetch_add(1, Ordering::Relaxed)),
        }
    }

    pub(crate) fn id(&self) -> ClockId {
        self.id
    }

    pub(crate) fn quiet(&self) -> Duration {
        self.quiet
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.simulated.is_some()
    }

    pub(crate) fn now(&self) -> Instant {
        match &self.simulated {
            None => Instant::now(),
            Some(now) => instant(now.get()),
        }
    }

    pub(crate) fn nanos(&self) -> u64 {
        match &self.simulated {
            None => since_epoch(Instant::now()),
            Some(now) => now.get(),
        }
    }

    /// Moves a simulated clock forward, never back.
    pub(crate) fn set(&self, nanos: u64) {
        if let Some(now) = &self.simulated {
            now.set(now.get().max(nanos));
        }
    }
}

/// Where the nanoseconds begin: the first time anybody asked. Instants before it count as past.
#[inline]
fn epoch() -> Instant {
    // Not part of what threads share with a loop, so not from the facade.
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// The nanoseconds from the epoch to `at`: zero if it is past, the end of time if it is far.
#[inline]
pub(crate) fn since_epoch(at: Instant) -> u64 {
    nanos(at.saturating_duration_since(epoch()))
}

/// The nanoseconds of a duration, saturating.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    match duration.as_secs().checked_mul(1_000_000_000) {
        Some(nanos) => nanos.saturating_add(u64::from(duration.subsec_nanos())),
        None => u64::MAX,
    }
}

/// `duration` after `at`; far enough if that is too far to be told.
#[inline]
pub(crate) fn later(at: Instant, duration: Duration) -> Instant {
    at.checked_add(duration).unwrap_or_else(|| instant(u64::MAX))
}

pub(crate) fn instant(nanos: u64) -> Instant {
    // A platform whose instants end before 584 years are over gets its latest one, or near.
    let mut since = Duration::from_nanos(nanos);
    loop {
        match epoch().checked_add(since) {
            Some(instant) => return instant,
            None => since /= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_times_saturate() {
        assert_eq!(nanos(Duration::MAX), u64::MAX);
        assert_eq!(nanos(Duration::new(7, 5)), 7_000_000_005);
        let far = instant(u64::MAX);
        assert!(far > epoch() + Duration::from_secs(500 * 365 * 86_400));
        assert_eq!(since_epoch(far), u64::MAX);
        assert_eq!(since_epoch(far + Duration::from_secs(1)), u64::MAX);
    }

    #[test]
    fn a_simulated_clock_moves_when_told_and_never_back() {
        let clock = Clock::simulated(Duration::ZERO);
        let start = clock.nanos();
        clock.set(start + 500);
        clock.set(start + 300);
        assert_eq!(clock.nanos(), start + 500);
        assert_eq!(since_epoch(clock.now()), start + 500);
        assert_eq!(instant(start + 700), clock.now() + Duration::from_nanos(200));
    }
}
