//! A look at all tasks of a loop: who is there, who waits for whom, whether anybody can be woken.

use std::{collections::HashMap, ptr::NonNull};

use super::{
    TaskInfo,
    header::Header,
    state::{LIVE, SCOPED},
    tasks::{Tasks, info_of},
    waits::Waits,
    waker,
};
use crate::home::Anchor;

impl Tasks {
    /// As [`Tasks::info`], for every task that has not ended, in the order of their ids.
    pub(crate) fn infos(&self) -> Vec<TaskInfo> {
        let mut infos = Vec::with_capacity(self.live());
        let mut joined = HashMap::new();
        self.each(|anchor| {
            if !waker::is_task(anchor) && !is_child(anchor) {
                return;
            }
            let header = anchor.cast::<Header>();
            // SAFETY: tasks in the roster are alive, and no user code runs here.
            let task = unsafe { header.as_ref() };
            if task.is(LIVE) {
                infos.push((header, info_of(header)));
                if let Some(joiner) = task.joiner() {
                    joined.insert(joiner, task.id);
                }
            }
        });
        infos.sort_unstable_by_key(|(_, info)| info.id);
        let resolve = |(header, mut info): (NonNull<Header>, TaskInfo)| {
            if let (Waits::Foreign, Some(id)) = (info.waits, joined.get(&header.cast())) {
                info.waits = Waits::Join(*id);
            }
            info
        };
        infos.into_iter().map(resolve).collect()
    }

    /// Runs `f` for everything in memory that wakers point into.
    fn each(&self, f: impl FnMut(NonNull<Anchor>)) {
        (0..self.home.span()).filter_map(|index| self.home.anchor(index)).for_each(f);
    }

    pub(super) fn task(&self, index: u32) -> Option<NonNull<Header>> {
        let anchor = self.home.anchor(index)?;
        waker::is_task(anchor).then(|| anchor.cast())
    }

    /// Whether nothing outside this loop can ever wake a task of it: no std waker exists, of a
    /// task that has not ended or of a gather's child, none is on its way, and nobody may spawn
    /// from elsewhere or has just done so.
    ///
    /// The answer does not go stale: where no waker exists, none can be cloned. O(tasks), and O(1)
    /// while the same task has a waker out.
    pub(crate) fn is_stuck(&self) -> bool {
        if !self.home.is_quiet() {
            return false;
        }
        let awake = |index: u32| {
            self.home.anchor(index).is_some_and(|anchor| {
                // SAFETY: anchors in the roster are alive, and this is home.
                unsafe { anchor.as_ref().flags.get() & LIVE != 0 && Anchor::has_wakers(anchor) }
            })
        };
        if awake(self.witness.get()) {
            return false;
        }
        match (0..self.home.span()).find(|&index| awake(index)) {
            Some(witness) => {
                self.witness.set(witness);
                false
            }
            None => true,
        }
    }
}

/// Whether an anchor in a roster is that of a scope's child.
fn is_child(anchor: NonNull<Anchor>) -> bool {
    // SAFETY: anchors in a roster are alive, and this is home.
    unsafe { anchor.as_ref() }.flags.get() & SCOPED != 0
}
