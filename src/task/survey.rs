//! A look at all tasks of a loop: who is there, who waits for whom, whether anybody can be woken.

use std::{borrow::Cow, panic::Location, ptr::NonNull};

use super::{
    header::{Header, Id},
    nursery,
    state::{
        AWAKE, ERROR, FAILED, HANDLE, LIVE, OUTPUT, SCOPED, SEEN, STARTED, SUSPECT, Status, TOLD,
        WANTED,
    },
    tasks::{Tasks, name_of},
    waits::Waits,
    waker,
};
use crate::{
    home::{Anchor, Who},
    order::sort_by,
    wakee::Target,
};

/// A task that has not ended, as a survey sees it.
pub(crate) struct Seen {
    /// Its address, which names it as long as no user code runs.
    pub(crate) target: NonNull<Target>,
    pub(crate) id: Id,
    pub(crate) name: Cow<'static, str>,
    pub(crate) status: Status,
    pub(crate) place: &'static Location<'static>,
    pub(crate) parent: Option<Id>,
    pub(crate) waits: Waits<Option<&'static Location<'static>>>,
    /// When it was last polled, in nanoseconds; zero if the loop had not looked at the clock.
    pub(crate) since: u64,
    /// Somebody else has wakers of it, or has just used one.
    pub(crate) has_wakers: bool,
    /// Somebody of ours will wake it, or may cancel it.
    pub(crate) is_held: bool,
    /// It is polled by a scope.
    pub(crate) is_scoped: bool,
    /// Where it awaits the end of another, if that is what it did last and the place is known.
    pub(crate) joins_at: Option<&'static Location<'static>>,
    /// The task that goes on when it has ended.
    pub(crate) awaited_by: Option<NonNull<Target>>,
}

/// What a chain of waits goes on with.
pub(crate) enum Edge {
    /// In the end of this task.
    Task(Who),
    /// In a place of a queue, where this is who waits.
    Place(u32, NonNull<Target>),
}

impl Tasks {
    /// Every task that has not ended, in the order of their ids.
    pub(crate) fn survey(&self) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(self.live());
        self.each(|anchor| {
            // SAFETY: tasks in the roster are alive, and no user code runs here.
            unsafe {
                if let Some(header) = headed(anchor).filter(|task| task.as_ref().is(LIVE)) {
                    seen.push(see(header));
                }
            }
        });
        sort_by(&mut seen, |seen| seen.id.number());
        seen
    }

    /// The tasks that have ended by themselves, and whose result somebody could still take but has
    /// not looked at, in the order of their ids.
    pub(crate) fn untaken(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        // SAFETY: tasks in the roster are alive, and no user code runs here.
        self.each(|anchor| unsafe {
            let Some(header) = headed(anchor) else { return };
            let flags = header.as_ref().flags();
            let has_result = flags & OUTPUT != 0 || flags & (ERROR | FAILED) == ERROR | FAILED;
            if has_result && flags & (HANDLE | SEEN | SCOPED) == HANDLE {
                seen.push(see(header));
            }
        });
        sort_by(&mut seen, |seen| seen.id.number());
        seen
    }

    /// How many wakers there are of all that has ended.
    pub(crate) fn count_late_wakers(&self) -> usize {
        let mut count = 0;
        self.each(|anchor| {
            // SAFETY: anchors in the roster are alive, and this is home.
            unsafe {
                if anchor.as_ref().flags.get() & LIVE == 0 {
                    count += Anchor::count_wakers(anchor);
                }
            }
        });
        count
    }

    /// The tasks that would go on if a waker of one of their children, which somebody else has, were
    /// used.
    pub(crate) fn foreign_parents(&self) -> Vec<NonNull<Target>> {
        let mut parents = Vec::new();
        self.each(|anchor| {
            // SAFETY: anchors in the roster are alive, and this is home.
            unsafe {
                if headed(anchor).is_none() && Anchor::has_wakers(anchor) {
                    let vtable = &(*(*anchor.as_ptr()).vtable).target;
                    if let Some(parent) = (vtable.behind)(anchor.cast()) {
                        parents.push(parent);
                    }
                }
            }
        });
        parents
    }

    /// What a task waits for, as far as it noted it, if it is still there and nobody else has a waker
    /// of it. It may wait for other things too: that is for a survey to find.
    pub(crate) fn edge(&self, who: Who) -> Option<Edge> {
        let header = self.find(who)?;
        // SAFETY: it was just found in the roster; this is home.
        let (task, has_wakers) = unsafe { (header.as_ref(), Anchor::has_wakers(header.cast())) };
        if !is_asleep(task) || has_wakers {
            return None;
        }
        match Waits::unpack(task.waits.get()) {
            Waits::Join(slot) => {
                // SAFETY: anchors in the roster are alive.
                let awaited = unsafe { headed(self.home.anchor(slot)?)?.as_ref() };
                let awaits = awaited.awaited_by() == Some(header.cast());
                awaits.then(|| Edge::Task(awaited.who(&self.home)))
            }
            Waits::Place(place) => Some(Edge::Place(place, header.cast())),
            _ => None,
        }
    }

    /// Has the waits of a task looked at from now on, if it is still there, since somebody waits for it.
    pub(crate) fn want(&self, who: Who) {
        if let Some(task) = self.find(who) {
            // SAFETY: it was just found in the roster.
            unsafe { task.as_ref() }.set(WANTED);
        }
    }

    /// A task that can never go on: it waits, nobody can wake it, and it is not meant so. Once.
    pub(crate) fn newly_dead(&self, who: Who) -> Option<Seen> {
        let header = self.find(who)?;
        // SAFETY: it was just found in the roster, and no user code runs here; this is home.
        unsafe {
            let task = header.as_ref();
            let meant = matches!(Waits::unpack(task.waits.get()), Waits::Forever(_));
            let lost = is_asleep(task)
                && !task.anchor.is_held()
                && !is_away(header)
                && !Anchor::has_wakers(header.cast());
            if !lost || meant || task.is(TOLD) {
                return None;
            }
            task.set(TOLD);
            Some(see(header))
        }
    }

    /// Those that were suspected since the last time; they may have gone.
    pub(crate) fn take_suspects(&self) -> Vec<Who> {
        let suspects = self.suspects.take();
        for task in suspects.iter().filter_map(|who| self.find(*who)) {
            // SAFETY: it was just found in the roster.
            unsafe { task.as_ref() }.clear(SUSPECT);
        }
        suspects
    }

    /// The address of a task, if it is still there: a name as long as no user code runs.
    pub(crate) fn target(&self, who: Who) -> Option<NonNull<Target>> {
        self.find(who).map(NonNull::cast)
    }

    /// The task, or child of a scope, of this loop that was once named, if it is still there.
    fn find(&self, who: Who) -> Option<NonNull<Header>> {
        // SAFETY: anchors in the roster are alive.
        unsafe {
            let header = headed(who.find(&self.home)?)?;
            (header.as_ref().id.0 == who.id).then_some(header)
        }
    }

    /// Runs `f` for everything in memory that wakers point into.
    fn each(&self, mut f: impl FnMut(NonNull<Anchor>)) {
        for index in 0..self.home.span() {
            if let Some(anchor) = self.home.anchor(index) {
                f(anchor);
            }
        }
    }

    pub(super) fn task(&self, index: u32) -> Option<NonNull<Header>> {
        // SAFETY: anchors in the roster are alive.
        self.home
            .anchor(index)
            .filter(|anchor| unsafe { waker::is_task(*anchor) })
            .map(NonNull::cast)
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

/// One task, or child of a scope.
///
/// # Safety
/// It was just found in the roster; this is home.
unsafe fn see(header: NonNull<Header>) -> Seen {
    // SAFETY: the caller says so, and no user code runs here.
    unsafe {
        let task = header.as_ref();
        let waits = Waits::unpack(task.waits.get());
        let joins_at = matches!(waits, Waits::Join(_)).then(|| task.joins_at.get().location());
        Seen {
            target: header.cast(),
            id: task.id,
            name: name_of(header),
            status: Status::of(task.flags()),
            place: task.place,
            parent: task.parent,
            waits,
            joins_at: joins_at.flatten(),
            since: task.stamped().unwrap_or_default(),
            has_wakers: Anchor::has_wakers(header.cast()),
            is_held: task.anchor.is_held() || is_away(header),
            is_scoped: task.is(SCOPED),
            awaited_by: task.awaited_by(),
        }
    }
}

/// Whether a task is a child, not ended, of a scope that was last polled out of its loop: it
/// goes on when whoever polled it there does, and has no wakers of its own.
///
/// # Safety
/// As for [`see`].
unsafe fn is_away(header: NonNull<Header>) -> bool {
    // SAFETY: the caller says so; a child is asked if it is `LIVE`.
    unsafe {
        let is_child = header.as_ref().flags() & (LIVE | SCOPED) == LIVE | SCOPED;
        is_child && nursery::is_away(header)
    }
}

/// Whether a task waits to be woken.
fn is_asleep(task: &Header) -> bool {
    task.flags() & AWAKE == LIVE | STARTED
}

/// The header of an anchor, if it is that of a task or of a scope's child.
///
/// # Safety
/// The anchor is in a roster; this is home.
pub(super) unsafe fn headed(anchor: NonNull<Anchor>) -> Option<NonNull<Header>> {
    // SAFETY: anchors in a roster are alive.
    unsafe {
        let is_child = anchor.as_ref().flags.get() & SCOPED != 0;
        (is_child || waker::is_task(anchor)).then(|| anchor.cast())
    }
}
