//! One poll of one task.

use std::{
    borrow::Cow,
    panic::Location,
    ptr::{self, NonNull},
};

use super::{
    end::{cancel_now, conclude},
    header::{Header, Id},
    state::{BUSY, CANCEL, LIVE, QUEUED, STARTED},
    tasks::{Tasks, name_of},
};
use crate::{home::Anchor, wakee::set_polled};

/// Who looks on while tasks are polled. It runs no user code.
pub(crate) trait Onlooker {
    /// A task is about to be polled.
    fn before(&self, task: Polled<'_>);

    /// It was polled, and has not left the stack.
    fn after(&self, task: Polled<'_>);
}

/// Nobody looks on.
impl Onlooker for () {
    #[inline(always)]
    fn before(&self, _: Polled<'_>) {}

    #[inline(always)]
    fn after(&self, _: Polled<'_>) {}
}

/// The task that is on the stack, as an onlooker sees it.
#[derive(Clone, Copy)]
pub(crate) struct Polled<'t> {
    task: &'t Header,
    header: NonNull<Header>,
}

impl Polled<'_> {
    pub(crate) fn id(self) -> Id {
        self.task.id
    }

    pub(crate) fn place(self) -> &'static Location<'static> {
        self.task.place
    }

    pub(crate) fn name(self) -> Cow<'static, str> {
        // SAFETY: it is that of `task`, which is borrowed.
        unsafe { name_of(self.header) }
    }

    /// Whether it is pending, and was woken while it was polled.
    pub(crate) fn woke_itself(self) -> bool {
        self.task.flags() & (LIVE | QUEUED) == LIVE | QUEUED
    }
}

/// A task that stays pending leaves the stack.
///
/// # Safety
/// Home only; the task is `LIVE` and `BUSY`.
#[inline(always)]
pub(super) unsafe fn rest(header: NonNull<Header>) {
    // SAFETY: `LIVE` keeps the task.
    let task = unsafe { header.as_ref() };
    let flags = task.flags() & !BUSY;
    task.anchor.flags.set(flags);
    if flags & QUEUED == 0 && !task.anchor.is_counted() {
        // SAFETY: as above.
        unsafe { forsaken(header.cast()) };
    }
}

/// Has a task looked at that nobody seems to be able to wake any more.
///
/// # Safety
/// As `AnchorVTable::forsaken`, of a task.
#[cold]
pub(super) unsafe fn forsaken(anchor: NonNull<Anchor>) {
    // SAFETY: the caller says so; [outlives]. A child of a scope may have no loop.
    unsafe {
        let task = anchor.cast::<Header>().as_ref();
        let home = task.anchor.home;
        if home != NonNull::dangling() && !home.as_ref().is_gone() {
            Tasks::of(task).suspect(task);
        }
    }
}

impl Tasks {
    /// Polls the first task of the ready queue; false if none is ready.
    ///
    /// A task that stays pending is left as the one that runs and is polled, until the next one is
    /// or [`Tasks::step_back`] is called: nothing can end it before.
    ///
    /// # Safety
    /// The loop is entered, and the caller keeps it. The caller steps back before anything but
    /// the next call.
    #[inline(always)]
    pub(crate) unsafe fn run_one<O: Onlooker + ?Sized>(&self, onlooker: &O) -> bool {
        loop {
            let Some(header) = NonNull::new(self.ready.pop()) else { return false };
            // SAFETY: [queued] keeps the task until `QUEUED` is cleared, then `BUSY` does. The
            // references end before `conclude` and `cancel_now`.
            unsafe {
                let task = header.as_ref();
                let flags = task.flags() & !QUEUED;
                debug_assert!(flags & BUSY == 0, "`drive` refuses to drive a loop twice");
                if flags & LIVE == 0 {
                    task.anchor.flags.set(flags);
                    Anchor::settle(header.cast());
                    continue;
                }
                task.anchor.flags.set(flags | BUSY | STARTED);
                task.stamp(self.home.looked.get());
                self.home.begin_poll();
                self.running.set(header.as_ptr());
                set_polled(header.as_ptr().cast());
                onlooker.before(Polled { task, header });
                let ended = (task.vtable().poll)(header);
                onlooker.after(Polled { task: header.as_ref(), header });
                if ended {
                    self.step_back();
                    conclude(header);
                } else if header.as_ref().is(CANCEL) {
                    self.step_back();
                    cancel_now(header);
                } else {
                    rest(header);
                }
            }
            return true;
        }
    }

    /// The first poll of a task begins.
    ///
    /// # Safety
    /// The task is `BUSY`, and the loop entered.
    #[inline(always)]
    pub(super) unsafe fn step_on(&self, header: NonNull<Header>) {
        // SAFETY: `BUSY` keeps the task. [polled]: that long.
        unsafe {
            header.as_ref().stamp(self.home.looked.get());
            self.home.begin_poll();
            self.running.set(header.as_ptr());
            set_polled(header.as_ptr().cast());
        }
    }

    /// That poll is over, and the task stays pending.
    ///
    /// # Safety
    /// The task is what runs, `LIVE` and `BUSY`; the caller has its handle.
    pub(super) unsafe fn step_off(&self, header: NonNull<Header>) {
        self.step_back();
        let countdown = &self.home.counts.countdown;
        countdown.set(countdown.get() - 1);
        // SAFETY: the caller says so; its handle keeps the task, whose future has left the stack, and
        // nothing is polled any more.
        unsafe {
            if header.as_ref().is(CANCEL) {
                cancel_now(header);
            } else {
                rest(header);
            }
        }
    }

    /// Nothing runs and nothing is polled until the next [`Tasks::run_one`].
    #[inline]
    pub(crate) fn step_back(&self) {
        // SAFETY: [polled]: nothing is.
        unsafe { set_polled(ptr::null()) };
        self.running.set(ptr::null_mut());
    }
}
