//! The head of what std wakers point into, and how its memory is counted.

use std::{
    cell::Cell,
    ptr::{self, NonNull},
};

use super::{Home, HomeRef, Letter, here};
use crate::{
    facade::planted,
    roster::Roster,
    wakee::TargetVTable,
    word::{Peeked, Sent, Word, too_many},
};

/// The flags of an anchor that keep its memory. What they mean is the business of its owner, but
/// for [`LIVE`].
pub(crate) const KEEP: u32 = 0b1111;

/// The anchor's owner is there: waking it means something.
pub(crate) const LIVE: u32 = 1 << 0;

/// The anchor's owner was polled before.
pub(crate) const STARTED: u32 = 1 << 4;

/// Of these flags, an owner that waits to be woken has `LIVE` and `STARTED` alone.
pub(crate) const AWAKE: u32 = LIVE | STARTED | 1 << 2 | 1 << 3;

/// How far home counts wakers by itself. Beyond, it adds its count to the word, which is wider: a
/// program may clone as many as it likes in one place and drop them in another.
const FAR: i32 = 1 << 26;

/// The slot of an anchor that is in no roster.
const NOWHERE: u32 = u32::MAX;

#[repr(C)]
pub(crate) struct Anchor {
    /// Points at a static whose first field is an [`AnchorVTable`].
    pub(crate) vtable: *const AnchorVTable,
    pub(crate) home: NonNull<Home>,
    pub(crate) word: Word,
    held: Cell<u32>,
    /// Wakers cloned at home less wakers dropped at home; never further from zero than [`FAR`].
    clones: Cell<i32>,
    /// Where it is in its home's roster.
    slot: u32,
    pub(crate) flags: Cell<u32>,
}

#[repr(C)]
pub(crate) struct AnchorVTable {
    pub(crate) target: TargetVTable,
    /// A wake from elsewhere has arrived. Home only; never unwinds.
    pub(crate) deliver: unsafe fn(NonNull<Anchor>),
    /// Nobody is left who could wake the owner, who waits. Home's thread only; runs no user code.
    pub(crate) forsaken: unsafe fn(NonNull<Anchor>),
    /// Gives the memory back. Runs no user code. Home passes itself; without, this may be any
    /// thread, and the loop is gone or there was none.
    pub(crate) dealloc: unsafe fn(NonNull<Anchor>, Option<&Home>),
}

impl Anchor {
    /// The anchor of memory that has no loop: every reference counts in the word. One of `flags`
    /// keeps it.
    pub(crate) fn orphan(vtable: *const AnchorVTable, flags: u32) -> Anchor {
        let word = Word::orphan(1);
        Anchor { word, ..Anchor::new(vtable, NonNull::dangling(), NOWHERE, flags) }
    }

    #[inline]
    pub(crate) fn new(
        vtable: *const AnchorVTable,
        home: NonNull<Home>,
        slot: u32,
        flags: u32,
    ) -> Anchor {
        Anchor {
            vtable,
            home,
            word: Word::new(),
            held: Cell::new(0),
            clones: Cell::new(0),
            slot,
            flags: Cell::new(flags),
        }
    }

    /// Where it is in its home's roster.
    #[inline]
    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// Whether this thread may use the cells of the anchor.
    ///
    /// # Safety
    /// The anchor is alive.
    #[inline]
    pub(crate) unsafe fn at_home(anchor: NonNull<Anchor>) -> bool {
        // SAFETY: `home` never changes.
        ptr::eq(here(), unsafe { (*anchor.as_ptr()).home }.as_ptr())
    }

    /// # Safety
    /// Home's thread only; the anchor is alive.
    #[inline]
    pub(crate) unsafe fn hold(anchor: NonNull<Anchor>) {
        // SAFETY: the caller says so.
        let held = unsafe { &(*anchor.as_ptr()).held };
        held.set(held.get().checked_add(1).unwrap_or_else(|| too_many("a task has more wakers")));
    }

    /// # Safety
    /// Home's thread only; the caller held the anchor and does not use it any more.
    #[inline]
    pub(crate) unsafe fn release(anchor: NonNull<Anchor>) {
        // SAFETY: [memory] until the end of this function.
        unsafe {
            let held = &(*anchor.as_ptr()).held;
            held.set(held.get() - 1);
            Anchor::settle(anchor);
        }
    }

    /// As [`Anchor::release`], while something else keeps the memory and the owner does not wait.
    ///
    /// # Safety
    /// Likewise.
    #[inline]
    pub(crate) unsafe fn unhold(anchor: NonNull<Anchor>) {
        // SAFETY: [memory].
        let held = unsafe { &(*anchor.as_ptr()).held };
        held.set(held.get() - 1);
    }

    /// Frees the memory if nothing keeps it. Called when the last hold or the last `KEEP` flag
    /// goes, or a waker at home.
    ///
    /// # Safety
    /// Home's thread only; the caller does not use the anchor any more.
    #[inline]
    pub(crate) unsafe fn settle(anchor: NonNull<Anchor>) {
        // SAFETY: [memory]: the anchor has not been freed, since only `settle` does so here.
        unsafe {
            let this = anchor.as_ref();
            let flags = this.flags.get();
            if flags & KEEP == 0 {
                if this.held.get() == 0 {
                    Anchor::settle_unkept(anchor);
                }
            } else if flags & AWAKE == LIVE | STARTED && !this.is_counted() {
                Anchor::forsake(anchor);
            }
        }
    }

    /// # Safety
    /// As [`Anchor::settle`], of an anchor that is kept.
    #[cold]
    #[inline(never)]
    unsafe fn forsake(anchor: NonNull<Anchor>) {
        // SAFETY: the caller says so.
        unsafe { ((*(*anchor.as_ptr()).vtable).forsaken)(anchor) };
    }

    /// Whether no hold and no waker keeps the anchor, nor does a letter. Home only.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        !self.is_counted() && self.word.is_untouched()
    }

    /// Strikes an anchor off the roster of `home`, which is its own. The caller frees it.
    ///
    /// # Safety
    /// Home only; [`Anchor::is_alone`], and no flag keeps it.
    #[inline]
    pub(crate) unsafe fn strike(anchor: NonNull<Anchor>, home: &Home) {
        // SAFETY: it is alive.
        let slot = unsafe { anchor.as_ref() }.slot;
        if home.with_roster(|roster| roster.remove(slot)) {
            home.with_roster(Roster::rest);
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.get() != 0
    }

    /// Whether home counts anybody who could wake the owner. Without, only a waker that was cloned
    /// elsewhere could.
    #[inline]
    pub(crate) fn is_counted(&self) -> bool {
        // Neighbours in memory, so that one word is read.
        u64::from(self.held.get()) | u64::from(self.clones.get() as u32) << 32 != 0
    }

    /// # Safety
    /// As [`Anchor::settle`]; no flag and no hold keeps the anchor.
    unsafe fn settle_unkept(anchor: NonNull<Anchor>) {
        // SAFETY: as above.
        let this = unsafe { anchor.as_ref() };
        if this.clones.get() == 0 && this.word.is_untouched() {
            // SAFETY: [memory]: nothing keeps it, and it is alive, so its home is.
            return unsafe { Anchor::free(anchor) };
        }
        match this.word.peek() {
            Peeked::Count(elsewhere) if this.clones.get() as isize + elsewhere == 0 => {
                // SAFETY: likewise.
                unsafe { Anchor::free(anchor) };
            }
            Peeked::Orphan => {
                // SAFETY: all that this thread counted was one reference, which has just gone.
                unsafe { Anchor::send(anchor, false, true) };
            }
            Peeked::Count(_) | Peeked::Posted => {}
        }
    }

    /// # Safety
    /// Home only; nothing keeps the anchor.
    #[inline]
    unsafe fn free(anchor: NonNull<Anchor>) {
        // SAFETY: it is alive until now, and so is its home, by [outlives].
        unsafe {
            let this = anchor.as_ref();
            let (slot, home) = (this.slot, this.home.as_ref());
            if home.with_roster(|roster| roster.remove(slot)) {
                return Anchor::free_last(anchor);
            }
            ((*this.vtable).dealloc)(anchor, Some(home));
        }
    }

    /// # Safety
    /// As [`Anchor::free`]; it has left the roster, as the last.
    #[cold]
    #[inline(never)]
    unsafe fn free_last(anchor: NonNull<Anchor>) {
        // SAFETY: as above.
        unsafe {
            let home = anchor.as_ref().home.as_ref();
            home.with_roster(Roster::rest);
            ((*anchor.as_ref().vtable).dealloc)(anchor, Some(home));
        }
    }

    /// Whether a waker exists, or a wake is on its way from elsewhere.
    ///
    /// # Safety
    /// Home only; the anchor is alive.
    pub(crate) unsafe fn has_wakers(anchor: NonNull<Anchor>) -> bool {
        // SAFETY: the caller says so.
        let this = unsafe { anchor.as_ref() };
        match this.word.peek() {
            Peeked::Count(elsewhere) => this.clones.get() as isize + elsewhere != 0,
            Peeked::Posted | Peeked::Orphan => true,
        }
    }

    /// How many wakers exist; one if a letter about them is on its way.
    ///
    /// # Safety
    /// Home only; the anchor is alive.
    pub(crate) unsafe fn count_wakers(anchor: NonNull<Anchor>) -> usize {
        // SAFETY: the caller says so.
        let this = unsafe { anchor.as_ref() };
        match this.word.peek() {
            Peeked::Count(elsewhere) => {
                usize::try_from(this.clones.get() as isize + elsewhere).unwrap_or_default()
            }
            Peeked::Posted | Peeked::Orphan => 1,
        }
    }

    /// A std waker is cloned, on any thread.
    ///
    /// # Safety
    /// The anchor is alive.
    #[inline]
    pub(crate) unsafe fn clone_waker(anchor: NonNull<Anchor>) {
        // SAFETY: the caller says so; the cells are used at home only.
        unsafe {
            if Anchor::at_home(anchor) || planted("cell_race") {
                let clones = &(*anchor.as_ptr()).clones;
                clones.set(clones.get() + 1);
                if clones.get() > FAR {
                    Anchor::count_on(anchor, 0);
                }
            } else {
                (*anchor.as_ptr()).word.cloned();
            }
        }
    }

    /// A std waker is dropped, on any thread.
    ///
    /// # Safety
    /// The caller owned one and does not use the anchor any more.
    #[inline]
    pub(crate) unsafe fn drop_waker(anchor: NonNull<Anchor>) {
        // SAFETY: [memory] until the waker is uncounted; the cells are used at home only.
        unsafe {
            if Anchor::at_home(anchor) {
                Anchor::uncount(anchor);
            } else {
                Anchor::send(anchor, false, true);
            }
        }
    }

    /// A std waker is dropped at home.
    ///
    /// # Safety
    /// As [`Anchor::drop_waker`], and home only.
    #[inline]
    pub(crate) unsafe fn uncount(anchor: NonNull<Anchor>) {
        // SAFETY: the caller says so.
        unsafe {
            Anchor::uncount_kept(anchor);
            Anchor::settle(anchor);
        }
    }

    /// As [`Anchor::uncount`], while something else keeps the memory and the owner does not wait.
    ///
    /// # Safety
    /// Likewise.
    #[inline]
    pub(crate) unsafe fn uncount_kept(anchor: NonNull<Anchor>) {
        // SAFETY: the caller says so.
        unsafe {
            let clones = &(*anchor.as_ptr()).clones;
            clones.set(clones.get() - 1);
            if clones.get() < -FAR {
                Anchor::count_on(anchor, 0);
            }
        }
    }

    /// Adds `more` to home's count of wakers, and leaves the sum to the word if it is large.
    ///
    /// # Safety
    /// Home only; the anchor is alive.
    unsafe fn count_on(anchor: NonNull<Anchor>, more: isize) {
        // SAFETY: the caller says so.
        let this = unsafe { anchor.as_ref() };
        let sum = this.clones.get() as isize + more;
        match i32::try_from(sum).ok().filter(|sum| (-FAR..=FAR).contains(sum)) {
            Some(sum) => this.clones.set(sum),
            None => {
                this.clones.set(0);
                this.word.add(sum);
            }
        }
    }

    /// A wake, a drop or both, of a waker away from home.
    ///
    /// # Safety
    /// The caller owns a reference that the word counts, or counts together with home. With
    /// `dropped` it does not use the anchor any more.
    #[cold]
    pub(crate) unsafe fn send(anchor: NonNull<Anchor>, wake: bool, dropped: bool) {
        let this = anchor.as_ptr();
        // SAFETY: the caller's reference keeps the anchor until the word says that it is gone,
        // and [outlives]; after that only `home` is used, by [letters].
        unsafe {
            let home = (!(*this).word.is_orphan()).then(|| HomeRef::new((*this).home));
            match (*this).word.send(wake, dropped) {
                Sent::Done => {}
                Sent::Last => Anchor::free_orphan(anchor),
                Sent::Post => {
                    // An orphan stays one, so a word that asks for a letter had a home above.
                    let posted = home.is_some_and(|home| home.post(Letter::Anchor(anchor)));
                    if !posted {
                        Anchor::returned(anchor);
                    }
                }
            }
        }
    }

    /// Home reads a letter about this anchor.
    ///
    /// # Safety
    /// Home only; the letter was posted and is read once.
    pub(super) unsafe fn receive(anchor: NonNull<Anchor>) {
        // SAFETY: [memory]: the letter kept the anchor until `collect`; then the hold does.
        unsafe {
            Anchor::hold(anchor);
            let this = anchor.as_ref();
            let found = this.word.collect();
            Anchor::count_on(anchor, found.clones);
            if found.wake {
                ((*this.vtable).deliver)(anchor);
            }
            Anchor::release(anchor);
        }
    }

    /// # Safety
    /// Home only, once, when the loop goes.
    pub(super) unsafe fn abandon(anchor: NonNull<Anchor>) {
        // SAFETY: the anchor is alive until the word says otherwise; [outlives].
        unsafe {
            let this = anchor.as_ref();
            Home::retain(this.home, 1);
            let kept = this.flags.get() & KEEP != 0 || this.held.get() != 0;
            if this.word.abandon(this.clones.get() as isize + kept as isize) {
                Anchor::free_orphan(anchor);
            }
        }
    }

    /// A letter about this anchor was not delivered: its loop is gone.
    ///
    /// # Safety
    /// The caller has that letter.
    pub(super) unsafe fn returned(anchor: NonNull<Anchor>) {
        // SAFETY: [memory]: the letter keeps the anchor.
        if unsafe { (*anchor.as_ptr()).word.returned() } {
            // SAFETY: and nothing else does.
            unsafe { Anchor::free_orphan(anchor) };
        }
    }

    /// # Safety
    /// That was the last reference to an anchor whose loop is gone.
    unsafe fn free_orphan(anchor: NonNull<Anchor>) {
        // SAFETY: the caller says so. The home's reference was taken by `abandon`; an anchor that
        // never had a home has a dangling one.
        unsafe {
            let home = (*anchor.as_ptr()).home;
            ((*(*anchor.as_ptr()).vtable).dealloc)(anchor, None);
            if home != NonNull::dangling() {
                Home::release(home);
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
