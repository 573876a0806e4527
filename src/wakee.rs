//! Who gets woken.
//!
//! Timers, joins, gathers and wait queues store a [`Wakee`], one word: a task or a gather's child
//! of ours, whose memory it keeps without being one of its waker clones, or a foreign waker in a
//! box. Everything a wakee may point at begins with a pointer to a [`TargetVTable`].
//!
//! `[polled]` invariant: while [`polled`] is not null, it points at a target that is being polled
//! on this thread, or was a moment ago, and its memory is kept by whoever polls it.

use std::{
    cell::Cell,
    ptr::{self, NonNull},
    task::{Context, RawWaker, RawWakerVTable, Waker},
};

use crate::{
    facade::local,
    guard::{catch, discard},
};

/// What stands first in everything that can be woken.
#[repr(C)]
pub(crate) struct Target {
    /// Points at a static whose first field is a [`TargetVTable`].
    pub(crate) vtable: *const TargetVTable,
}

/// All functions are called on the thread of the target's loop only, with a pointer whose
/// provenance covers the target's whole allocation.
#[repr(C)]
pub(crate) struct TargetVTable {
    /// The vtable of the std wakers of this kind of target: a static, so its address is its name.
    pub(crate) waker: &'static RawWakerVTable,
    /// Keeps the memory of who is to be woken, and says who that is: the target itself, or who stands
    /// for it when its poll is over.
    pub(crate) hold: unsafe fn(NonNull<Target>) -> NonNull<Target>,
    /// Stops keeping the memory.
    pub(crate) release: unsafe fn(NonNull<Target>),
    /// Wakes, then stops keeping the memory. Never unwinds; may run foreign code.
    pub(crate) wake: unsafe fn(NonNull<Target>),
    /// The task that goes on when this is woken: the target itself, or who polls it. `None` if
    /// nobody can tell. Runs no foreign code.
    pub(crate) behind: unsafe fn(NonNull<Target>) -> Option<NonNull<Target>>,
}

local! {
    static POLLED: Cell<*const Target> = Cell::new(ptr::null());
}

/// Sets what is being polled on this thread and returns what was.
///
/// # Safety
/// [polled].
#[inline]
pub(crate) unsafe fn set_polled(target: *const Target) -> *const Target {
    POLLED.with(|polled| polled.replace(target))
}

/// What is being polled on this thread, or null.
#[inline]
pub(crate) fn polled() -> *const Target {
    POLLED.with(Cell::get)
}

/// A reference to someone who waits. Not `Send`: it counts without atomics.
pub(crate) struct Wakee(NonNull<Target>);

impl Wakee {
    /// The one who is being polled with `cx`.
    ///
    /// If the waker is the very one that boucle made for the target on the stack, the target is
    /// held; any other waker is cloned into a box.
    #[inline]
    pub(crate) fn of(cx: &Context<'_>) -> Wakee {
        let waker = cx.waker();
        let polled = NonNull::new(polled().cast_mut());
        if let Some(target) = polled.filter(|target| ptr::eq(waker.data(), target.as_ptr().cast()))
        {
            // The pointer that is used is our own, not the waker's, so nothing is believed of a
            // foreign waker; its vtable only tells whether it would wake the same way.
            // SAFETY: [polled], and a target points at its vtable.
            let vtable = unsafe { &*(*target.as_ptr()).vtable };
            if ptr::eq(waker.vtable(), vtable.waker) {
                // SAFETY: [polled]; polling happens on the thread of the target's loop.
                return Wakee(unsafe { (vtable.hold)(target) });
            }
        }
        Wakee::foreign(waker)
    }

    #[cold]
    fn foreign(waker: &Waker) -> Wakee {
        let target = Target { vtable: &raw const FOREIGN };
        let foreign = Box::new(Foreign { target, waker: waker.clone() });
        Wakee(NonNull::from(Box::leak(foreign)).cast())
    }

    /// Whether waking this is the same as waking the waker of `cx`.
    pub(crate) fn is(&self, cx: &Context<'_>) -> bool {
        let waker = cx.waker();
        // SAFETY: a wakee keeps its target's memory.
        let vtable = unsafe { (*self.0.as_ptr()).vtable };
        if ptr::eq(vtable, &raw const FOREIGN) {
            // SAFETY: that vtable is private to this file and goes with a `Foreign` only.
            let foreign = unsafe { self.0.cast::<Foreign>().as_ref() };
            return foreign.waker.will_wake(waker);
        }
        // SAFETY: as above; vtables are statics.
        let known = unsafe { (*vtable).waker };
        ptr::eq(self.0.as_ptr().cast_const().cast(), waker.data()) && ptr::eq(known, waker.vtable())
    }

    #[inline]
    pub(crate) fn wake(self) {
        let target = self.into_raw();
        // SAFETY: a wakee keeps its target's memory, and is `!Send`; the call takes its hold over.
        unsafe { ((*(*target).vtable).wake)(NonNull::new_unchecked(target)) }
    }

    /// The target whose std wakers have this vtable, with the hold on it; or the wakee again.
    #[inline]
    pub(crate) fn into_target(
        self,
        waker: &'static RawWakerVTable,
    ) -> Result<NonNull<Target>, Wakee> {
        // SAFETY: a wakee keeps its target's memory; vtables are statics.
        if ptr::eq(unsafe { (*(*self.0.as_ptr()).vtable).waker }, waker) {
            Ok(std::mem::ManuallyDrop::new(self).0)
        } else {
            Err(self)
        }
    }

    /// The task that goes on when this is woken, if that is known.
    pub(crate) fn behind(&self) -> Option<NonNull<Target>> {
        // SAFETY: a wakee keeps its target's memory, and is `!Send`.
        unsafe { ((*(*self.0.as_ptr()).vtable).behind)(self.0) }
    }

    /// Gives the reference away as a pointer, to be given back by [`Wakee::from_raw`].
    pub(crate) fn into_raw(self) -> *mut Target {
        std::mem::ManuallyDrop::new(self).0.as_ptr()
    }

    /// # Safety
    /// The target is held for this wakee, on its loop's thread; the pointer is as `TargetVTable`
    /// says.
    #[inline]
    pub(crate) unsafe fn held(target: NonNull<Target>) -> Wakee {
        Wakee(target)
    }

    /// # Safety
    /// The pointer comes from [`Wakee::into_raw`] and is given back once.
    pub(crate) unsafe fn from_raw(target: *mut Target) -> Option<Wakee> {
        NonNull::new(target).map(Wakee)
    }
}

impl Drop for Wakee {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a wakee keeps its target's memory, and is `!Send`; it is not used again.
        unsafe { ((*(*self.0.as_ptr()).vtable).release)(self.0) }
    }
}

/// Puts the wakee of `cx` into `slot` unless it is there already; returns the one it replaces,
/// which may be foreign, so that the caller drops it while nothing is borrowed.
pub(crate) fn renew(slot: &mut Option<Wakee>, cx: &Context<'_>) -> Option<Wakee> {
    match slot {
        Some(wakee) if wakee.is(cx) => None,
        _ => slot.replace(Wakee::of(cx)),
    }
}

/// A waker of another executor, or of a combinator that makes its own.
#[repr(C)]
struct Foreign {
    target: Target,
    waker: Waker,
}

static FOREIGN: TargetVTable = TargetVTable {
    waker: &NOBODY,
    hold: |_| unreachable!("a foreign waker is cloned, not held"),
    // A foreign waker that panics when dropped or woken has told the panic hook; the loop and the
    // other tasks go on.
    release: |target| {
        // SAFETY: the pointer was leaked by `Wakee::of`, and its wakee is gone now.
        let foreign = unsafe { Box::from_raw(target.cast::<Foreign>().as_ptr()) };
        let _ = catch(|| drop(foreign)).map_err(discard);
    },
    wake: |target| {
        // SAFETY: the pointer was leaked by `Wakee::of`, and its wakee is gone now.
        let Foreign { waker, .. } = *unsafe { Box::from_raw(target.cast::<Foreign>().as_ptr()) };
        let _ = catch(|| waker.wake()).map_err(discard);
    },
    behind: |_| None,
};

/// [`Wakee::behind`] of what is in a cell.
pub(crate) fn behind(parent: &Cell<Option<Wakee>>) -> Option<NonNull<Target>> {
    let wakee = parent.take();
    let behind = wakee.as_ref().and_then(Wakee::behind);
    parent.set(wakee);
    behind
}

/// No waker has this vtable: for targets that nobody polls.
pub(crate) static NOBODY: RawWakerVTable =
    RawWakerVTable::new(|_| RawWaker::new(ptr::null(), &NOBODY), |_| {}, |_| {}, |_| {});
