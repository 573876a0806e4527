//! Who looks on while a loop runs.

use std::{any::Any, rc::Rc, time::Duration};

use super::Core;
use crate::task::Onlooker;

/// What a watch has to say to whoever drives the loop.
pub(crate) type Verdict = Box<dyn Any>;

/// Who is asked when something looks wrong. Called while nothing is borrowed; may run user code.
pub(crate) trait Watch {
    /// Tasks are suspected: see [`Tasks::take_suspects`].
    fn judge(&self, core: &Core);

    /// How long the loop may be idle, with no timer armed, before [`Watch::worry`] is called.
    fn patience(&self, core: &Core) -> Option<Duration>;

    /// The loop has been idle for that long.
    fn worry(&self, core: &Core);

    /// Who looks on while tasks are polled, if anybody: the same at every call.
    fn polls(&self) -> Option<&dyn WatchPolls> {
        None
    }

    /// The loop goes; its tasks are still there.
    fn closing(&self, _: &Core) {}

    /// The loop goes; its tasks and its timers have gone.
    fn closed(&self, _: &Core) {}
}

/// Who looks on while tasks are polled.
pub(crate) trait WatchPolls: Onlooker {
    /// Tasks are polled from now on; `news` says whether anything has come from outside the tasks
    /// since the last time, or the loop has waited.
    fn begin(&self, news: bool);

    /// Whether there is something to tell.
    fn has_found(&self) -> bool;

    /// Tells it. Called while nothing is borrowed; may run user code.
    fn tell(&self, core: &Core);

    /// No task is polled until the next [`WatchPolls::begin`].
    fn end(&self);
}

/// The watch of a loop: one for all that are not configured, or its own.
#[derive(Clone)]
pub(crate) enum Watcher {
    Common(&'static (dyn Watch + Sync)),
    Own(Rc<dyn Watch>),
}

/// The watch of a loop that is gone.
struct Asleep;

impl Watch for Asleep {
    fn judge(&self, _: &Core) {}

    fn patience(&self, _: &Core) -> Option<Duration> {
        None
    }

    fn worry(&self, _: &Core) {}
}

impl Watcher {
    pub(super) fn asleep() -> Watcher {
        Watcher::Common(&Asleep)
    }

    pub(super) fn get(&self) -> &dyn Watch {
        match self {
            Watcher::Common(watch) => *watch,
            Watcher::Own(watch) => &**watch,
        }
    }

    /// The watch of a loop that is configured: only that one looks on, and sees the loop off.
    pub(super) fn own(&self) -> Option<&Rc<dyn Watch>> {
        match self {
            Watcher::Common(_) => None,
            Watcher::Own(watch) => Some(watch),
        }
    }
}
