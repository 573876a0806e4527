//! How a task ends: by itself, by a panic, by a cancel, or with its loop.
//!
//! Futures, outputs and errors are dropped here and in `cell`, always under [`catch`], never while
//! anything of the loop is borrowed.

use std::{mem::ManuallyDrop, ptr::NonNull};

use super::{
    error::{Cause, JoinError},
    header::Header,
    state::{
        BUSY, CANCEL, CANCELLED, ENDED, ERROR, FAILED, HANDLE, LIVE, MAIN, OUTPUT, REASON, SCOPED,
    },
    tasks::{Tasks, name_of},
    waker,
};
use crate::{
    guard::{OnDrop, Payload, catch},
    home::{Anchor, Entered},
};

/// Where the error of a task lies when `ERROR` is set.
///
/// # Safety
/// The header is alive and its pointer covers the whole cell.
pub(super) unsafe fn error_of(header: NonNull<Header>) -> *mut ManuallyDrop<JoinError> {
    // SAFETY: the caller says so; the content begins at this offset and is a union with an error.
    unsafe { header.as_ptr().byte_add(header.as_ref().vtable().content).cast() }
}

/// The future has panicked, in its poll or in its destructor, and is no more.
///
/// # Safety
/// The task is `BUSY` and its cell holds nothing.
#[cold]
pub(super) unsafe fn fail(header: NonNull<Header>, payload: Payload) {
    // SAFETY: `BUSY` keeps the task.
    let task = unsafe { header.as_ref() };
    if task.is(CANCEL) {
        // SAFETY: likewise; the caller says the rest.
        return unsafe {
            stray(header, payload);
            mark_cancelled(header)
        };
    }
    if task.is(SCOPED) {
        // Its scope ends with it, so nobody will ask.
        task.set(FAILED);
        // SAFETY: likewise.
        return unsafe { stray(header, payload) };
    }
    // SAFETY: likewise.
    let error = unsafe { error_for(header, Some(payload)) };
    if task.is(HANDLE) {
        // SAFETY: the cell holds nothing.
        unsafe { error_of(header).write(ManuallyDrop::new(error)) };
        task.set(FAILED | ERROR);
    } else {
        task.set(FAILED);
        Tasks::of(task).report(error);
    }
}

/// Something that has to do with a task has panicked, but is not its result.
///
/// # Safety
/// The caller holds the task; a child that has just ended has its scope around it.
#[cold]
pub(super) unsafe fn stray(header: NonNull<Header>, payload: Payload) {
    // SAFETY: the caller says so.
    unsafe { (header.as_ref().vtable().stray)(header, payload) };
}

/// What is to be told of how a task has ended. Takes the reason for which it was cancelled.
///
/// # Safety
/// The caller holds the task.
pub(super) unsafe fn error_for(header: NonNull<Header>, payload: Option<Payload>) -> JoinError {
    // SAFETY: the caller says so.
    let (task, name) = unsafe { (header.as_ref(), name_of(header)) };
    let cause = match payload {
        Some(payload) => Cause::panicked(payload),
        // A child of a scope may have no loop.
        None if task.is(SCOPED) => Cause::Cancelled(None),
        None => match Tasks::of(task).take_reason(task) {
            None if Tasks::of(task).is_closing() => Cause::LoopDropped,
            reason => Cause::Cancelled(reason),
        },
    };
    JoinError::new(name, Some(task.id), task.place, cause)
}

/// # Safety
/// The task is `BUSY` and its cell holds nothing.
#[cold]
pub(super) unsafe fn mark_cancelled(header: NonNull<Header>) {
    // SAFETY: `BUSY` keeps the task.
    let task = unsafe { header.as_ref() };
    task.set(CANCELLED);
    if task.is(HANDLE) {
        // SAFETY: likewise, and the cell holds nothing.
        unsafe { error_of(header).write(ManuallyDrop::new(error_for(header, None))) };
        task.set(ERROR);
    } else if task.is(REASON) {
        drop(Tasks::of(task).take_reason(task));
    }
}

/// The last step of every end: lets go of the task and wakes who awaits it.
///
/// # Safety
/// The task is `BUSY` and not `LIVE`, it is marked as ended and not what is polled; the caller
/// does not use it any more.
#[inline(always)]
pub(super) unsafe fn conclude(header: NonNull<Header>) {
    // SAFETY: `BUSY` keeps the task until it is cleared.
    let joiner = unsafe {
        let task = header.as_ref();
        debug_assert!(task.is(ENDED) && !task.is(LIVE));
        let tasks = Tasks::of(task);
        tasks.live.set(tasks.live.get() - 1);
        let joiner = task.take_joiner();
        if task.is(MAIN) {
            tasks.home.counts.countdown.set(0);
        }
        task.clear(BUSY);
        Anchor::settle(header.cast());
        joiner
    };
    // This may be foreign code, which may drop the handle and with it the task.
    if let Some(joiner) = joiner {
        waker::wake_wakee(joiner);
    }
}

/// Drops the future of a task that is not on the stack, or has just left it.
///
/// # Safety
/// Home only; nothing is being polled according to `wakee`; the task is `LIVE` and its future is
/// not on the stack.
#[cold]
pub(super) unsafe fn cancel_now(header: NonNull<Header>) {
    // SAFETY: `LIVE` keeps the task, then `BUSY`.
    unsafe {
        let task = header.as_ref();
        task.set(BUSY);
        task.clear(LIVE);
        let tasks = Tasks::of(task);
        let running = tasks.running.replace(header.as_ptr());
        if let Err(payload) = catch(|| (task.vtable().drop_future)(header)) {
            stray(header, payload);
        }
        tasks.running.set(running);
        mark_cancelled(header);
        conclude(header);
    }
}

/// Drops what a cell holds and should not: the future of a task to be cancelled, or an output
/// that nobody can ask for.
///
/// Inside a destructor that runs because of another such call, it is only noted, and done before
/// the outermost call returns: so a chain of a million tasks needs no stack.
///
/// # Safety
/// Home's thread only; the task is alive.
#[cold]
pub(super) unsafe fn doom(header: NonNull<Header>) {
    // SAFETY: the hold keeps the task, and so its home, by [outlives]; the entry keeps the home
    // for the rest of the loop.
    unsafe {
        let home = header.as_ref().anchor.home;
        let entered = Entered::new(home);
        let tasks = home.cast::<Tasks>().as_ref();
        Anchor::hold(header.cast());
        tasks.home.touch();
        tasks.doomed.borrow_mut().push_back(header);
        if !tasks.dooming.get() {
            tasks.drop_doomed();
        }
        if !tasks.ready.is_empty() {
            // Outside a run, this may be news to the host.
            tasks.home.bell.ring_if_idle();
        }
        drop(entered);
    }
}

impl Tasks {
    fn drop_doomed(&self) {
        let outer = self.dooming.replace(true);
        let _reset = OnDrop(|| self.dooming.set(outer));
        loop {
            let next = self.doomed.borrow_mut().pop_front();
            let Some(header) = next else { return };
            // SAFETY: it was held when it was pushed; this is home's thread.
            unsafe {
                dispose(header);
                Anchor::release(header.cast());
            }
        }
    }

    /// Drops the future of every task, those that are spawned meanwhile excepted: there are none
    /// once the loop is closing.
    ///
    /// Not left to an outer [`doom`], so that all is done when this returns.
    pub(crate) fn cancel_all(&self) {
        // SAFETY: this is home, which is alive.
        let entered = unsafe { Entered::new(self.home.this()) };
        let outer = self.dooming.replace(true);
        let reset = OnDrop(|| self.dooming.set(outer));
        // A cancel may end other tasks and so shorten the roster, never lengthen what matters.
        for index in 0..self.home.span() {
            if let Some(header) = self.task(index) {
                // SAFETY: the hold keeps the task; this is home.
                unsafe {
                    Anchor::hold(header.cast());
                    dispose(header);
                    Anchor::release(header.cast());
                }
            }
        }
        self.drop_doomed();
        drop(reset);
        drop(entered);
    }

    /// Whether a task is ready. Those that have ended leave the front of the queue: nobody would
    /// poll them, and a host is not to wait for it.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        while let Some(header) = NonNull::new(self.ready.first()) {
            // SAFETY: [queued] until the flag is cleared.
            unsafe {
                if header.as_ref().is(LIVE) {
                    return true;
                }
                self.ready.pop();
                header.as_ref().clear(super::state::QUEUED);
                Anchor::settle(header.cast());
            }
        }
        false
    }

    /// Takes what is left out of the ready queue: tasks that have ended.
    pub(crate) fn clear_ready(&self) {
        loop {
            let header = self.ready.pop();
            let Some(header) = NonNull::new(header) else { return };
            // SAFETY: [queued] until the flag is cleared.
            unsafe {
                header.as_ref().clear(super::state::QUEUED);
                Anchor::settle(header.cast());
            }
        }
    }
}

/// # Safety
/// Home's thread only; the caller holds the task.
unsafe fn dispose(header: NonNull<Header>) {
    // SAFETY: the caller holds it.
    let task = unsafe { header.as_ref() };
    if task.is(LIVE) {
        if task.is(BUSY) {
            // It has come on the stack since it was doomed, so it is dropped when it leaves it.
            task.set(CANCEL);
        } else {
            // SAFETY: it is `LIVE` and not on the stack.
            unsafe { cancel_now(header) };
        }
    } else if task.is(OUTPUT) && !task.is(HANDLE) {
        task.clear(OUTPUT);
        // SAFETY: the cell held the output and nobody else takes it now.
        if let Err(payload) = catch(|| unsafe { (task.vtable().drop_output)(header) }) {
            // SAFETY: the caller holds it.
            unsafe { stray(header, payload) };
        }
    }
}
