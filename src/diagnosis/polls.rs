//! What looking on while tasks are polled finds: slow polls, tasks that spin, who is polled.

use std::{
    cell::{Cell, RefCell},
    mem,
    time::{Duration, Instant},
};

use super::{
    blocked::Watchdog,
    diagnostic::{Diagnostic, Reaction, Spinner},
    info::TaskRef,
};
use crate::{map::Map, order::sort_by, task::Polled};

/// How many polls are looked at before a stretch is judged, at most.
const WINDOW: u64 = 4096;

/// Who has fewer than one in so many of these polls is not the one that spins.
const SHARE: u64 = 16;

/// Looks on while tasks are polled. Only loops that were asked to have one.
#[derive(Default)]
pub(crate) struct Polls {
    /// How long a poll may take.
    pub(crate) slow: Option<(Duration, Reaction)>,
    /// How many polls in a row there may be.
    pub(crate) spin: Option<(u64, Reaction)>,
    watchdog: Option<Watchdog>,
    since: Cell<Option<Instant>>,
    /// How many polls there were since anything has come from outside, or since they were judged.
    stretch: Cell<u64>,
    /// This stretch was told.
    is_told: Cell<bool>,
    /// Who was polled in the last part of the stretch, and in how many polls it woke itself.
    window: RefCell<Window>,
    found: RefCell<Vec<(Reaction, Diagnostic)>>,
    has_found: Cell<bool>,
}

/// Who was polled, in the order of their first polls.
#[derive(Default)]
struct Window {
    /// Each with the number of its polls in which it woke itself.
    spinners: Vec<(Spinner, u64)>,
    /// Where in that list a task is.
    index: Map<u64, usize>,
}

/// The time, for durations of polls: real, whatever the clock of the loop says.
fn now() -> Instant {
    Instant::now()
}

impl Polls {
    /// For what was asked for and is not to be ignored; `None` if that is nothing.
    pub(crate) fn new(
        slow: Option<(Duration, Reaction)>,
        spin: Option<(u64, Reaction)>,
        watchdog: Option<Watchdog>,
    ) -> Option<Polls> {
        let slow = slow.filter(|(_, reaction)| *reaction != Reaction::Ignore);
        let spin = spin.filter(|(_, reaction)| *reaction != Reaction::Ignore);
        let any = slow.is_some() || spin.is_some() || watchdog.is_some();
        any.then(|| Polls { slow, spin, watchdog, ..Polls::default() })
    }

    pub(super) fn begin(&self, news: bool) {
        if news {
            self.stretch.set(0);
            self.is_told.set(false);
            let mut window = self.window.borrow_mut();
            window.spinners.clear();
            window.index.clear();
        }
        if let Some(watchdog) = &self.watchdog {
            watchdog.begin();
        }
    }

    pub(super) fn end(&self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.end();
        }
    }

    pub(super) fn before(&self, task: Polled<'_>) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.pulse().begin(task.id().0.get(), task.place());
        }
        if self.slow.is_some() {
            self.since.set(Some(now()));
        }
    }

    pub(super) fn after(&self, task: Polled<'_>) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.pulse().end();
        }
        if let (Some((limit, reaction)), Some(since)) = (self.slow, self.since.get()) {
            let took = now().saturating_duration_since(since);
            if took > limit {
                let spawned_at = task.place();
                self.find(reaction, Diagnostic::SlowPoll { task: named(task), spawned_at, took });
            }
        }
        if let Some((polls, reaction)) = self.spin.filter(|_| !self.is_told.get()) {
            self.count(task, polls.max(1), reaction);
        }
    }

    /// One more poll of the stretch.
    fn count(&self, task: Polled<'_>, polls: u64, reaction: Reaction) {
        let counted = self.stretch.get() + 1;
        self.stretch.set(counted);
        let size = polls.min(WINDOW);
        if counted <= polls - size {
            return;
        }
        let mut window = self.window.borrow_mut();
        let Window { spinners, index } = &mut *window;
        let key = task.id().number();
        let at = match index.get(&key) {
            Some(&at) => at,
            None => {
                let spawned_at = task.place();
                spinners.push((Spinner { task: named(task), spawned_at, polls: 0, of: size }, 0));
                index.insert(key, spinners.len() - 1);
                spinners.len() - 1
            }
        };
        let (spinner, woken) = &mut spinners[at];
        spinner.polls += 1;
        *woken += u64::from(task.woke_itself());
        if counted < polls {
            return;
        }
        self.stretch.set(0);
        let mut spinners = Vec::new();
        for (spinner, woken) in mem::take(&mut *window).spinners {
            if woken == spinner.polls && spinner.polls * SHARE >= size {
                spinners.push(spinner);
            }
        }
        drop(window);
        // The busiest first.
        sort_by(&mut spinners, |spinner| spinner.task.id.number());
        sort_by(&mut spinners, |spinner| u64::MAX - spinner.polls);
        if !spinners.is_empty() {
            // Whoever drives a loop on that has failed is to be told again.
            self.is_told.set(reaction != Reaction::Fail);
            self.find(reaction, Diagnostic::Spinning { polls, spinners });
        }
    }

    fn find(&self, reaction: Reaction, found: Diagnostic) {
        self.found.borrow_mut().push((reaction, found));
        self.has_found.set(true);
    }

    pub(super) fn has_found(&self) -> bool {
        self.has_found.get()
    }

    pub(super) fn take_found(&self) -> Vec<(Reaction, Diagnostic)> {
        self.has_found.set(false);
        self.found.take()
    }
}

fn named(task: Polled<'_>) -> TaskRef {
    TaskRef { id: task.id(), name: Some(task.name()) }
}
