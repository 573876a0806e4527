//! How a loop sleeps and how others wake it: a parked thread, or a host that was promised a call.
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `BUSY` | the loop is being driven, or has work that its host knows of | a letter, or a nudge: `RUNG` |
//! | `RUNG` | letters wait | home, before it reads them: `BUSY` |
//! | `PARKED` | home sleeps in `park` | a letter, or a nudge: `RUNG`, and home's thread is unparked |
//! | `ALARMED` | home sleeps in `park_in` | likewise, and the alarm is roused |
//! | `IDLE` | nobody drives the loop and nothing is ready | anything that becomes ready: `RUNG`, and the host is called |
//!
//! Letters are posted before the bell is rung, and read after `RUNG` was cleared: one of the two
//! sides always sees the other. Both sides use read-modify-writes, so no fence is needed.

use std::{
    // Set by home alone, before the state that has others read it: no business of loom's.
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{
    facade::{AtomicUsize, Mutex, Ordering, Thread, current, lock, park, park_timeout, planted},
    guard::{OnDrop, catch, discard},
};

const BUSY: usize = 0;
const RUNG: usize = 1;
const PARKED: usize = 2;
const IDLE: usize = 3;
const ALARMED: usize = 4;

type Host = Arc<dyn Fn() + Send + Sync>;

/// What a home sleeps in that is not its thread's own sleep.
pub(crate) trait Alarm: Send + Sync {
    /// Ends its sleep, now or the next one. From any thread.
    fn rouse(&self);
}

pub(crate) struct Bell {
    state: AtomicUsize,
    /// Who parks: home's thread, which never changes. Set before the state can be `PARKED`.
    thread: OnceLock<Thread>,
    /// What home sleeps in. Set before the state can be `ALARMED`.
    alarm: OnceLock<Arc<dyn Alarm>>,
    host: Mutex<Option<Host>>,
    /// The alarm, if a host sleeps in it.
    hosts_alarm: OnceLock<Arc<dyn Alarm>>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Bell {
            state: AtomicUsize::new(IDLE),
            thread: OnceLock::new(),
            alarm: OnceLock::new(),
            host: Mutex::new(None),
            hosts_alarm: OnceLock::new(),
        }
    }

    /// Begins anew, unless it has rung; nobody else refers to it.
    #[inline]
    pub(crate) fn renew(&self) -> bool {
        let is_answered = !self.has_rung();
        if is_answered {
            // Ordering: Relaxed; it is home's alone.
            self.state.store(IDLE, Ordering::Relaxed);
        }
        is_answered
    }

    /// Whether it rings for nobody and has nobody to rouse.
    pub(crate) fn is_new(&mut self) -> bool {
        // The next loop of the thread has the same thread.
        let Bell { state, thread: _, alarm, host, hosts_alarm } = self;
        let is_idle = state.load(Ordering::Relaxed) == IDLE;
        is_idle && lock(host).is_none() && alarm.get().is_none() && hosts_alarm.get().is_none()
    }

    /// Something became ready. From any thread; runs the host's callback if the loop was idle.
    pub(crate) fn ring(&self) {
        // Ordering: Release publishes the letter to whoever clears RUNG; Acquire sees who sleeps.
        match self.state.swap(RUNG, Ordering::AcqRel) {
            IDLE => {
                if let Some(alarm) = self.hosts_alarm.get() {
                    alarm.rouse();
                }
                let host = lock(&self.host).clone();
                if let Some(call) = host {
                    // Whoever woke a task is not to be hurt by the host, whose callback may have
                    // been replaced meanwhile, so that it goes here.
                    let _ = catch(|| call()).map_err(discard);
                    let _ = catch(|| drop(call)).map_err(discard);
                }
            }
            state => self.rouse(state),
        }
    }

    /// Something that kept home from being stuck is gone: a home that sleeps, or is about to, looks
    /// again. No news for a host. From any thread.
    pub(crate) fn nudge(&self) {
        // Ordering: as in `ring`.
        let nudged = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            matches!(state, BUSY | PARKED | ALARMED).then_some(RUNG)
        });
        self.rouse(nudged.unwrap_or(BUSY));
    }

    /// Ends the sleep that this state stands for, if any.
    fn rouse(&self, state: usize) {
        match state {
            PARKED => self.thread.get().into_iter().for_each(Thread::unpark),
            ALARMED => self.alarm.get().into_iter().for_each(|alarm| alarm.rouse()),
            _ => {}
        }
    }

    /// Whether it has rung: what was posted before something that this thread has seen is seen.
    #[inline]
    pub(crate) fn has_rung(&self) -> bool {
        // Ordering: Relaxed; `answer` follows and acquires.
        self.state.load(Ordering::Relaxed) == RUNG
    }

    /// Home made something ready itself, outside a run: only an idle loop's host must hear of it.
    pub(crate) fn ring_if_idle(&self) {
        // Ordering: Relaxed; IDLE is only ever set on this thread.
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.ring();
        }
    }

    /// Clears the bell. True if it had rung, so that letters may be waiting.
    #[inline]
    pub(crate) fn answer(&self) -> bool {
        // Ordering: Relaxed for the look, which may be late; Acquire for the answer.
        self.has_rung() && self.state.swap(BUSY, Ordering::AcqRel) == RUNG
    }

    /// As [`Bell::busy`], while nobody else refers to the bell: no atomic read-modify-write.
    #[inline]
    pub(crate) fn begin(&self) {
        debug_assert!(self.state.load(Ordering::Relaxed) == IDLE);
        // Ordering: Relaxed; whoever refers to it later was told by this thread.
        self.state.store(BUSY, Ordering::Relaxed);
    }

    /// Somebody drives the loop from now on.
    pub(crate) fn busy(&self) {
        // Ordering: Relaxed; a bell that rings right now keeps its RUNG.
        let _ =
            self.state.compare_exchange(IDLE, BUSY, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    }

    /// Nobody drives the loop and nothing is ready. False if the bell has rung meanwhile.
    pub(crate) fn idle(&self) -> bool {
        // Ordering: Acquire on failure, since the caller then reads letters.
        match self.state.compare_exchange(BUSY, IDLE, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(IDLE) => true,
            Err(_) => false,
        }
    }

    /// Sleeps until the bell rings or `limit` is over; may return early.
    pub(crate) fn park(&self, limit: Option<Duration>) {
        self.thread.get_or_init(current);
        self.sleep(PARKED, || match limit {
            None => park(),
            Some(limit) => park_timeout(limit),
        });
    }

    /// As [`Bell::park`], by another sleep, which `alarm` ends; always the same one.
    #[cfg_attr(not(feature = "net"), allow(dead_code))]
    pub(crate) fn park_in<A: Alarm + 'static>(&self, alarm: &Arc<A>, sleep: impl FnOnce()) {
        self.alarm.get_or_init(|| alarm.clone());
        self.sleep(ALARMED, sleep);
    }

    fn sleep(&self, state: usize, sleep: impl FnOnce()) {
        // Ordering: Release shows who sleeps to the one who will rouse us.
        let slept = self.state.compare_exchange(BUSY, state, Ordering::AcqRel, Ordering::Acquire);
        if slept.is_err() && !planted("lost_wake") {
            return;
        }
        let _awake = OnDrop(|| {
            // Ordering: Relaxed; if it fails the bell has rung, and `answer` acquires.
            let _ = self
                .state
                .compare_exchange(state, BUSY, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        });
        sleep();
    }

    /// Sets what is roused when an idle loop becomes ready; always the same.
    #[cfg_attr(not(feature = "net"), allow(dead_code))]
    pub(crate) fn set_alarm<A: Alarm + 'static>(&self, alarm: &Arc<A>) {
        self.hosts_alarm.get_or_init(|| alarm.clone());
    }

    /// Sets the host's callback and hands the old one back, to be dropped by the caller.
    pub(crate) fn set_host(&self, host: Option<Host>) -> Option<impl Sized> {
        std::mem::replace(&mut *lock(&self.host), host)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::{
        cell::Cell,
        thread::{spawn, yield_now},
    };

    use super::*;

    #[derive(Default)]
    struct Roused(AtomicUsize);

    impl Alarm for Roused {
        fn rouse(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Roused {
        fn times(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_sleep_is_ended_by_its_alarm_and_not_begun_once_the_bell_has_rung() {
        let (bell, alarm, slept) = (Bell::new(), Arc::new(Roused::default()), Cell::new(0));
        bell.begin();
        let sleep = |rings: bool| {
            bell.park_in(&alarm, || {
                slept.set(slept.get() + 1);
                if rings {
                    bell.ring();
                }
            });
            (slept.get(), alarm.times())
        };
        assert_eq!(sleep(false), (1, 0));
        assert_eq!(sleep(true), (2, 1));
        assert_eq!(sleep(false), (2, 1), "it has rung");
        assert!(bell.answer());
        assert_eq!(sleep(true), (3, 2));
    }

    #[test]
    fn a_thread_that_parks_is_roused() {
        let bell = Arc::new(Bell::new());
        // A real thread, since that is what parks. Bounded: a park may end early, but not often.
        let home = spawn({
            let bell = bell.clone();
            move || {
                bell.begin();
                (0..1000).take_while(|_| !bell.answer()).for_each(|_| bell.park(None));
            }
        });
        while bell.state.load(Ordering::Relaxed) != PARKED {
            assert!(!home.is_finished(), "it does not park");
            yield_now();
        }
        bell.ring();
        home.join().unwrap();
    }

    #[test]
    fn a_host_that_sleeps_in_an_alarm_is_roused_once() {
        let (bell, alarm) = (Bell::new(), Arc::new(Roused::default()));
        bell.set_alarm(&alarm);
        bell.ring();
        bell.ring();
        assert_eq!(alarm.times(), 1);
    }

    #[test]
    fn a_bell_that_has_rung_does_not_begin_anew() {
        let bell = Bell::new();
        assert!(bell.renew());
        bell.ring();
        assert!(!bell.renew());
    }
}
