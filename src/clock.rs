//! What time it is: the machine's, or a simulated one that moves only when told.
//!
//! Inside, time is nanoseconds since the loop's epoch in 64 bits: 584 years, where deadlines
//! further away saturate.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

pub(crate) struct Clock {
    /// Set by the first look at a real clock, so that a loop without timers never reads it.
    epoch: Cell<Option<Instant>>,
    /// Nanoseconds since the epoch, if the clock is simulated.
    simulated: Option<Cell<u64>>,
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
    pub(crate) fn real() -> Clock {
        Clock { epoch: Cell::new(None), simulated: None, id: ClockId::REAL }
    }

    pub(crate) fn simulated() -> Clock {
        // Not part of what threads share with a loop, so not from the facade.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Clock {
            epoch: Cell::new(Some(Instant::now())),
            simulated: Some(Cell::new(0)),
            id: ClockId(NEXT.fetch_add(1, Ordering::Relaxed)),
        }
    }

    pub(crate) fn id(&self) -> ClockId {
        self.id
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.simulated.is_some()
    }

    fn epoch(&self) -> Instant {
        self.epoch.get().unwrap_or_else(|| {
            let now = Instant::now();
            self.epoch.set(Some(now));
            now
        })
    }

    pub(crate) fn now(&self) -> Instant {
        match &self.simulated {
            None => Instant::now(),
            Some(now) => self.instant(now.get()),
        }
    }

    pub(crate) fn nanos(&self) -> u64 {
        match &self.simulated {
            None => self.since_epoch(Instant::now()),
            Some(now) => now.get(),
        }
    }

    /// Moves a simulated clock forward, never back.
    pub(crate) fn set(&self, nanos: u64) {
        if let Some(now) = &self.simulated {
            now.set(now.get().max(nanos));
        }
    }

    /// The nanoseconds from the epoch to `at`: zero if it is past, the end of time if it is far.
    pub(crate) fn since_epoch(&self, at: Instant) -> u64 {
        let far = at.saturating_duration_since(self.epoch());
        u64::try_from(far.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn instant(&self, nanos: u64) -> Instant {
        later(self.epoch(), Duration::from_nanos(nanos))
    }
}

/// `at + by`, or, where that cannot be told, the latest instant found by halving `by`.
pub(crate) fn later(at: Instant, mut by: Duration) -> Instant {
    // The platform's limit may be nearer than a `Duration` can be long.
    loop {
        match at.checked_add(by) {
            Some(then) => return then,
            None => by /= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_instants_saturate() {
        let clock = Clock::simulated();
        let far = later(clock.now(), Duration::MAX);
        assert!(far > clock.now() + Duration::from_secs(1 << 40));
        assert_eq!(clock.since_epoch(far), u64::MAX);
        assert_eq!(clock.since_epoch(clock.now()), 0);
    }

    #[test]
    fn a_simulated_clock_moves_when_told_and_never_back() {
        let clock = Clock::simulated();
        clock.set(500);
        clock.set(300);
        assert_eq!(clock.nanos(), 500);
        assert_eq!(clock.since_epoch(clock.now()), 500);
        assert_eq!(clock.instant(700), clock.now() + Duration::from_nanos(200));
    }
}
