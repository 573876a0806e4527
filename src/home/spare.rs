//! The memory of a loop that is gone, kept for the next loop of the thread.
//!
//! A loop that runs little costs more to make and to take apart than to run. One that is as new when
//! it goes leaves its memory here, and the next one that is not configured begins with it: at most
//! one per thread, with the memory of a few tasks, until the thread ends.
//!
//! `[spare]` invariant: nobody refers to a home that is kept but the one who keeps it, by the loop's
//! own reference, and nothing that its last loop did can be told from it.

use std::{
    cell::Cell,
    ptr::{self, NonNull},
};

use super::{Counts, Home, here, next_number};
use crate::facade::Ordering;

/// loom's objects belong to one run of a model.
const KEPT: bool = cfg!(not(loom));

/// How many entries and blocks a home may have that is kept for the next loop.
const FEW: usize = 16;

/// Whether what is kept goes when the thread ends.
#[derive(Clone, Copy, PartialEq)]
enum Guard {
    /// Nothing was kept yet.
    Absent,
    Set,
    /// The thread ends: nothing is kept any more.
    Gone,
}

thread_local! {
    /// The home that is kept, or none. Neither this nor the next needs a destructor, so they are there
    /// until the very end, and no access asks whether they still are.
    static SPARE: Cell<Option<NonNull<Home>>> = const { Cell::new(None) };
    static GUARD: Cell<Guard> = const { Cell::new(Guard::Absent) };
    static END: End = const { End };
}

/// Dropped when the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        GUARD.set(Guard::Gone);
        if let Some(home) = SPARE.take() {
            // SAFETY: [spare]: the reference is the last one.
            unsafe { Home::release(home) };
        }
    }
}

/// The home that is kept, with the loop's own reference to it.
#[inline]
pub(crate) fn take_spare() -> Option<NonNull<Home>> {
    if KEPT { SPARE.take() } else { None }
}

/// Keeps a home; false if there is one already, or the thread ends.
///
/// # Safety
/// `[spare]`. If true, the caller has given its reference away.
#[inline(always)]
pub(crate) unsafe fn keep_spare(home: NonNull<Home>) -> bool {
    let is_free = KEPT && (GUARD.get() == Guard::Set || set_guard()) && SPARE.get().is_none();
    if is_free {
        SPARE.set(Some(home));
    }
    is_free
}

/// Has what is kept go when the thread ends; false if that is now.
#[cold]
#[inline(never)]
fn set_guard() -> bool {
    let is_set = GUARD.get() != Guard::Gone && END.try_with(|_| ()).is_ok();
    if is_set {
        GUARD.set(Guard::Set);
    }
    is_set
}

impl Home {
    /// Whether nobody refers to this home but the owner of the loop's own reference, nor could begin
    /// to: it is not entered, has no anchors, and no timer is left either, says the caller.
    ///
    /// # Safety
    /// Home's thread only, by that owner; the home is alive.
    #[inline]
    pub(crate) unsafe fn is_alone(home: NonNull<Home>) -> bool {
        // SAFETY: the caller says so.
        let this = unsafe { home.as_ref() };
        // Ordering: Acquire, to see all that was done under references that are gone, letters of
        // theirs included. [letters]: a reference elsewhere begins with another, or with an anchor;
        // here, with an anchor or the loop itself, or while the home is the current one.
        !ptr::eq(here(), home.as_ptr()) && this.is_empty() && this.refs.load(Ordering::Acquire) == 1
    }

    /// Something was used that [`Home::renew`] does not make as new: this memory goes with its loop.
    #[inline]
    pub(crate) fn touch(&self) {
        self.is_touched.set(true);
    }

    #[inline]
    pub(crate) fn is_touched(&self) -> bool {
        self.is_touched.get()
    }

    /// Makes it as new, but for its number and the memory of a few tasks; or else false.
    #[inline(always)]
    pub(crate) fn renew(&mut self) -> bool {
        debug_assert!(!self.is_touched.get());
        let is_spare = self.roster.get_mut().renew(FEW);
        if !is_spare || !self.blocks.renew(FEW) || !self.bell.renew() {
            return false;
        }
        self.number = next_number();
        self.looked.set(0);
        self.counts = Counts::default();
        #[cfg(all(unix, feature = "net", not(loom)))]
        self.operations.set(0);
        true
    }

    /// Whether it is as [`Home::renew`] makes it, as far as can be told.
    pub(crate) fn is_new(&mut self) -> bool {
        // All fields are named, so that none is forgotten.
        let Home {
            this: _,
            refs: _,
            dealloc: _,
            bell,
            inbox,
            read,
            roster,
            blocks,
            number: _,
            gone,
            expecting,
            serving,
            looked,
            counts,
            #[cfg(all(unix, feature = "net", not(loom)))]
            operations,
            is_touched,
        } = self;
        #[cfg(all(unix, feature = "net", not(loom)))]
        if operations.get() != 0 {
            return false;
        }
        let is_used = gone.get() || expecting.get() || is_touched.get();
        let is_counted = serving.get() != 0 || looked.get() != 0 || !counts.is_new();
        let has_memory = read.get_mut().capacity() != 0;
        !(is_used || is_counted || has_memory)
            && roster.get_mut().renew(FEW)
            && blocks.renew(FEW)
            && inbox.is_new()
            && bell.is_new()
    }
}
