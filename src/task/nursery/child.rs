//! How a child of a scope is polled, ends and is cancelled.

use std::{
    ptr::{self, NonNull},
    task::Waker,
};

use super::hub::{Nursery, nursery, tell};
use crate::{
    guard::{OnDrop, catch},
    home::{Anchor, looked},
    task::{
        berth::berth,
        end::{mark_cancelled, stray},
        header::Header,
        run::rest,
        state::{BUSY, CANCEL, HANDLE, LIVE, OUTPUT, QUEUED, STARTED},
        tasks::Tasks,
        waker::wake_wakee,
    },
    wakee::set_polled,
};

/// # Safety
/// On the scope's thread, by [`Nursery::poll`]; the child was popped.
pub(super) unsafe fn poll_child(header: NonNull<Header>, at_home: bool, stranger: Option<&Waker>) {
    // SAFETY: [queued] keeps the child until `QUEUED` is cleared, then `BUSY` does.
    unsafe {
        let task = header.as_ref();
        let flags = task.flags() & !QUEUED;
        if flags & LIVE == 0 {
            task.anchor.flags.set(flags);
            return Anchor::settle(header.cast());
        }
        task.anchor.flags.set(flags | BUSY | STARTED);
        task.stamp(looked());
        let vtable = task.vtable();
        let ended = match stranger {
            Some(waker) => (vtable.poll_with)(header, waker),
            None => {
                let tasks = at_home.then(|| Tasks::of(task));
                let running = tasks.map(|tasks| tasks.running.replace(header.as_ptr()));
                let polled = set_polled(header.as_ptr().cast_const().cast());
                let ended = (vtable.poll)(header);
                set_polled(polled);
                if let Some((tasks, running)) = tasks.zip(running) {
                    tasks.running.set(running);
                }
                ended
            }
        };
        if ended {
            conclude(header);
        } else if header.as_ref().is(CANCEL) {
            cancel_now(header);
        } else {
            rest(header);
        }
    }
}

/// The last step of a child's end.
///
/// # Safety
/// The child is `BUSY` and not `LIVE`, and marked as ended; the caller does not use it any more.
unsafe fn conclude(header: NonNull<Header>) {
    // SAFETY: `BUSY` keeps the child until it is cleared; [nursery].
    unsafe {
        let this = berth(header).nursery.cast::<Nursery>();
        (*this.as_ptr()).children.remove(header);
        berth(header).end();
        let joiner = header.as_ref().take_joiner();
        header.as_ref().clear(BUSY);
        Anchor::settle(header.cast());
        if let Some(joiner) = joiner {
            wake_wakee(joiner);
        }
        // [scope]: it is being polled or dropped, so no waker has dropped it meanwhile.
        tell(this);
    }
}

/// Drops the future of a child that is not on the stack, or has just left it.
///
/// # Safety
/// On the scope's thread; the child is `LIVE` and in the list.
#[cold]
pub(super) unsafe fn cancel_now(header: NonNull<Header>) {
    // SAFETY: `LIVE` keeps the child, then `BUSY`; [nursery].
    unsafe {
        let task = header.as_ref();
        task.set(BUSY);
        task.clear(LIVE);
        let tasks = nursery(header).tasks();
        let running = tasks.map(|tasks| tasks.running.replace(header.as_ptr()));
        let polled = set_polled(ptr::null());
        if let Err(payload) = catch(|| (task.vtable().drop_future)(header)) {
            stray(header, payload);
        }
        set_polled(polled);
        if let Some((tasks, running)) = tasks.zip(running) {
            tasks.running.set(running);
        }
        mark_cancelled(header);
        conclude(header);
    }
}

/// Cancels a child, or drops an output that nobody can ask for, now or before the outermost such
/// call in its scope returns: so before anything that it borrows goes, and a chain of children
/// needs no stack.
///
/// # Safety
/// On the scope's thread; [nursery]; the child is alive.
pub(in crate::task) unsafe fn doom(header: NonNull<Header>) {
    // SAFETY: the caller says so.
    unsafe {
        Anchor::hold(header.cast());
        let nursery = nursery(header);
        nursery.doomed.borrow_mut().push_back(header);
        nursery.drop_doomed();
    }
}

impl Nursery {
    /// Drops what is to be dropped, unless somebody further out is at it.
    pub(super) fn drop_doomed(&self) {
        if self.dooming.replace(true) {
            return;
        }
        let _reset = OnDrop(|| self.dooming.set(false));
        loop {
            let next = self.doomed.borrow_mut().pop_front();
            let Some(header) = next else { return };
            // SAFETY: it was held when it was pushed.
            unsafe {
                let task = header.as_ref();
                if task.is(LIVE) && task.is(BUSY) {
                    // It is dropped when it leaves the stack.
                    task.set(CANCEL);
                } else if task.is(LIVE) {
                    cancel_now(header);
                } else if task.flags() & (OUTPUT | HANDLE) == OUTPUT {
                    task.clear(OUTPUT);
                    if let Err(payload) = catch(|| (task.vtable().drop_output)(header)) {
                        stray(header, payload);
                    }
                }
                Anchor::release(header.cast());
            }
        }
    }
}
