//! The std waker of a task, and what else can wake it.
//!
//! One vtable serves every task: it is a static, so that `will_wake` can trust its address.

use std::{
    ptr::{self, NonNull},
    task::{Context, RawWaker, RawWakerVTable},
};

use super::{header::Header, state::QUEUED, tasks::Tasks};
use crate::{
    home::Anchor,
    wakee::{TargetVTable, Wakee, polled},
};

/// The data of such a waker is the address of a [`Header`], counted in its anchor, with the
/// provenance of the whole task. `[waker]` invariant: so a waker keeps the header's memory, by
/// `[memory]`, on whatever thread it is.
pub(super) static WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop);

pub(super) const TARGET: TargetVTable = TargetVTable {
    waker: &WAKER,
    // SAFETY: `TargetVTable` says who calls them and with what, here and below.
    hold: |target| unsafe {
        Anchor::hold(target.cast());
        target
    },
    // SAFETY: likewise.
    release: |target| unsafe { Anchor::release(target.cast()) },
    // SAFETY: likewise.
    wake: |target| unsafe { wake_held(target.cast()) },
    behind: Some,
};

/// Wakes a task that is held, and lets go of the hold.
///
/// # Safety
/// Home's thread only; the caller does not use the task any more.
#[inline(always)]
unsafe fn wake_held(anchor: NonNull<Anchor>) {
    // SAFETY: the hold keeps the task until it is released.
    unsafe {
        // Home's thread is not home while another loop is entered there.
        if !Anchor::at_home(anchor) {
            Anchor::send(anchor, true, false);
            Anchor::release(anchor);
        } else if queue(anchor.cast()) {
            Anchor::unhold(anchor);
        } else {
            Anchor::release(anchor);
        }
    }
}

/// Whether a child of a task is being polled on this thread, rather than a task itself.
#[inline]
pub(crate) fn is_child_polled() -> bool {
    let polled = polled();
    // SAFETY: [polled] of `wakee`; vtables are statics.
    !polled.is_null() && !ptr::eq(unsafe { (*(*polled).vtable).waker }, &WAKER)
}

/// The task on the stack, if `cx` has its own waker.
#[inline]
pub(super) fn own(cx: &Context<'_>) -> Option<NonNull<Header>> {
    let waker = cx.waker();
    let target = polled();
    let own = ptr::eq(waker.data(), target.cast()) && ptr::eq(waker.vtable(), &WAKER);
    // Who has this vtable is a task. SAFETY: [polled]: it is not null, since the data of our wakers
    // never is.
    own.then(|| unsafe { NonNull::new_unchecked(target.cast_mut().cast()) })
}

/// A wakee of a task.
///
/// # Safety
/// Home's thread only; the task is alive.
#[inline]
pub(super) unsafe fn hold(header: NonNull<Header>) -> Wakee {
    // SAFETY: the caller says so; it is held here for the wakee.
    unsafe {
        Anchor::hold(header.cast());
        Wakee::held(header.cast())
    }
}

/// [`Wakee::of`], quicker if that is a task.
#[inline]
pub(crate) fn wakee_of(cx: &Context<'_>) -> Wakee {
    match own(cx) {
        // SAFETY: it is on the stack, on its loop's thread.
        Some(task) => unsafe { hold(task) },
        None => Wakee::of(cx),
    }
}

/// [`Wakee::of`] if that is a task, which runs no foreign code.
#[inline]
#[cfg(all(unix, feature = "net", not(loom)))]
pub(crate) fn own_wakee(cx: &Context<'_>) -> Option<Wakee> {
    // SAFETY: it is on the stack, on its loop's thread.
    own(cx).map(|task| unsafe { hold(task) })
}

/// Wakes a wakee that is most likely a task: no call goes through its vtable then.
#[inline(never)]
pub(super) fn wake_wakee(wakee: Wakee) {
    match wakee.into_target(&WAKER) {
        // SAFETY: the hold has come with the target; wakees are `!Send`, so this is its thread.
        Ok(target) => unsafe { wake_held(target.cast()) },
        Err(other) => other.wake(),
    }
}

/// Whether an anchor is that of a task.
///
/// # Safety
/// It is alive.
pub(super) unsafe fn is_task(anchor: NonNull<Anchor>) -> bool {
    // SAFETY: the caller says so; vtables of anchors are statics.
    ptr::eq(unsafe { (*(*anchor.as_ptr()).vtable).target.waker }, &WAKER)
}

/// # Safety
/// [waker].
unsafe fn anchor(data: *const ()) -> NonNull<Anchor> {
    // SAFETY: the data of our wakers is never null.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

/// Puts a task into the ready queue unless it is there or has ended; true if it was put there, and
/// so is kept.
///
/// # Safety
/// Home only; the task is alive.
#[inline]
pub(super) unsafe fn queue(header: NonNull<Header>) -> bool {
    // SAFETY: the caller says so.
    let task = unsafe { header.as_ref() };
    let sleeps = task.sleeps();
    if sleeps {
        task.set(QUEUED);
        // SAFETY: [queued]: the flag keeps the memory, and was clear.
        unsafe { Tasks::of(task).ready.push(header.as_ptr()) };
    }
    sleeps
}

/// A wake from elsewhere has arrived.
///
/// # Safety
/// As `AnchorVTable::deliver`.
pub(super) unsafe fn deliver(anchor: NonNull<Anchor>) {
    // SAFETY: the caller says so.
    let _ = unsafe { queue(anchor.cast()) };
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: [waker].
    unsafe { Anchor::clone_waker(anchor(data)) };
    RawWaker::new(data, &WAKER)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: [waker] until the waker is uncounted.
    unsafe {
        let anchor = anchor(data);
        if !Anchor::at_home(anchor) {
            Anchor::send(anchor, true, true);
        } else if queue(anchor.cast()) {
            Anchor::uncount_kept(anchor);
        } else {
            Anchor::uncount(anchor);
        }
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: [waker], or the caller is a wakee, which holds the task.
    unsafe {
        let anchor = anchor(data);
        if Anchor::at_home(anchor) {
            queue(anchor.cast());
        } else {
            Anchor::send(anchor, true, false);
        }
    }
}

unsafe fn drop(data: *const ()) {
    // SAFETY: [waker]; it is the last use of this one.
    unsafe { Anchor::drop_waker(anchor(data)) };
}
