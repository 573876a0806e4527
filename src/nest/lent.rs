//! The waker that is lent to one child after another, as long as none has kept one.
//!
//! It lies on the stack of who polls, and so it costs nothing to make. A child that wakes itself
//! while it is polled, which is all that a lent waker can be used for, marks that. Whoever clones it,
//! or holds its target, gets that of a slot: the first to do so makes the block.
//!
//! `[lent]` invariant: the data of a lent waker is the address of a [`Lent`] that stays where it is
//! while any child is polled with it. Nobody owns such a waker; borrowed from the context of a poll,
//! it is used until that poll returns at most, though maybe on another thread.
//!
//! | field | who polls | elsewhere, during a poll |
//! |---|---|---|
//! | `target`, `home`, `len`, `outer`, `polled` | reads | reads; `polled`: never |
//! | `bit` | writes it between polls; reads | reads |
//! | `woken` | reads it, and clears a bit, between polls; adds to it | adds the child that is polled |
//! | `block` | makes it | makes it: without a loop |

use std::{
    cell::Cell,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
    task::{Context, RawWaker, RawWakerVTable, Waker},
};

use super::block::{self, Block, Slot};
use crate::{
    facade::{AtomicPtr, Borrowed, Ordering},
    guard::OnDrop,
    home::{Anchor, Home, here},
    wakee::{Target, TargetVTable, polled, set_polled},
};

#[repr(C)]
pub(super) struct Lent {
    /// First, so that the address is that of the target.
    target: Target,
    /// The children that were woken while they were polled, a bit each.
    woken: Borrowed,
    /// The child that is polled.
    bit: Cell<usize>,
    /// Null until one is needed.
    block: AtomicPtr<Block>,
    /// The loop that is entered, or null.
    home: *const Home,
    /// Who polls the nest: the waker, and what is being polled with it.
    outer: *const Waker,
    polled: *const Target,
    len: u32,
}

static LENT_WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake_by_ref, wake_by_ref, |_| {});

static LENT: TargetVTable = TargetVTable {
    waker: &LENT_WAKER,
    // SAFETY: `TargetVTable` says who calls it and with what; [lent], since it is being polled.
    hold: |target| unsafe {
        let (block, slot) = target.cast::<Lent>().as_ref().settle();
        Anchor::hold(block.cast());
        slot.cast()
    },
    release: |_| unreachable!("who holds it has a slot"),
    wake: |_| unreachable!("who holds it has a slot"),
    behind: |_| unreachable!("who holds it has a slot"),
};

impl Lent {
    /// For `len` children of who is polled with `cx` now.
    #[inline(always)]
    pub(super) fn new(home: *const Home, len: u32, cx: &Context<'_>) -> Lent {
        Lent {
            target: Target { vtable: &raw const LENT },
            woken: Borrowed::new(0),
            bit: Cell::new(1),
            block: AtomicPtr::new(ptr::null_mut()),
            home,
            outer: cx.waker(),
            polled: polled(),
            len,
        }
    }

    /// The waker to be lent.
    ///
    /// # Safety
    /// [lent]: it stays where it is, and the waker is used for polls of children alone, while the
    /// context that this was made of is borrowed.
    #[inline(always)]
    pub(super) unsafe fn waker(&self) -> ManuallyDrop<Waker> {
        let raw = RawWaker::new(ptr::from_ref(self).cast(), &LENT_WAKER);
        // SAFETY: the caller says so, and a lent waker may be used from any thread.
        ManuallyDrop::new(unsafe { Waker::from_raw(raw) })
    }

    /// What is polled with that waker.
    #[inline(always)]
    pub(super) fn target(&self) -> *const Target {
        ptr::from_ref(self).cast()
    }

    /// This child is polled next.
    #[inline(always)]
    pub(super) fn begin(&self, bit: usize) {
        self.bit.set(bit);
    }

    /// The child that was polled last.
    pub(super) fn bit(&self) -> usize {
        self.bit.get()
    }

    /// Its number.
    pub(super) fn index(&self) -> u32 {
        self.bit().trailing_zeros()
    }

    /// The loop in which it is polled, or null.
    pub(super) fn home(&self) -> *const Home {
        self.home
    }

    /// Those children.
    #[inline(always)]
    pub(super) fn woken(&self) -> usize {
        // Ordering: Relaxed, here and below: it is `Borrowed`.
        self.woken.load(Ordering::Relaxed)
    }

    /// Has it be as if the child that was polled last had not woken itself.
    pub(super) fn forget(&self) {
        self.woken.store(self.woken() & !self.bit(), Ordering::Relaxed);
    }

    /// The block, if there is one by now.
    #[inline(always)]
    pub(super) fn block(&self) -> Option<NonNull<Block>> {
        // Ordering: Acquire, to see what a thread has made.
        NonNull::new(self.block.load(Ordering::Acquire))
    }

    /// The block and the child's slot in it, on any thread.
    ///
    /// # Safety
    /// [lent]; a child is being polled.
    unsafe fn settle(&self) -> (NonNull<Block>, NonNull<Slot>) {
        let block = self.block().unwrap_or_else(|| {
            // SAFETY: the caller says so.
            unsafe { self.make() }
        });
        // SAFETY: [block]: who polls keeps it; `len` and `bit` say that the slot exists.
        (block, unsafe { block::slot(block, self.index()) })
    }

    /// # Safety
    /// As for [`Lent::settle`].
    #[inline(never)]
    unsafe fn make(&self) -> NonNull<Block> {
        // SAFETY: [lent]: the context of who polls is still borrowed.
        let outer = unsafe { &*self.outer };
        let block = if !self.home.is_null() && ptr::eq(here(), self.home) {
            // SAFETY: it is the loop that is entered. [polled]: who polls the nest is at it, and so is
            // who polls the child.
            unsafe {
                let inner = set_polled(self.polled);
                let back = OnDrop(|| {
                    set_polled(inner);
                });
                let block = Block::create(self.home, self.len, outer);
                drop(back);
                block
            }
        } else {
            // SAFETY: another thread, or no loop.
            unsafe { Block::create(ptr::null(), self.len, outer) }
        };
        let none = ptr::null_mut();
        // Ordering: Release hands the block over; Acquire sees the one of another thread.
        match self.block.compare_exchange(none, block.as_ptr(), Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => block,
            Err(theirs) => {
                // SAFETY: it was made here, and nobody else knows it.
                unsafe {
                    Block::leave(block);
                    NonNull::new_unchecked(theirs)
                }
            }
        }
    }
}

/// # Safety
/// [lent], here and below.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the caller says so; a waker is borrowed, so a child is being polled.
    unsafe { block::counted((*data.cast::<Lent>()).settle().1) }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the caller says so.
    let lent = unsafe { &*data.cast::<Lent>() };
    // Not in one step: whoever else adds to it now adds the same child.
    lent.woken.store(lent.woken() | lent.bit(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_who_make_a_block_at_once_both_have_the_first() {
        let cx = Context::from_waker(Waker::noop());
        let lent = Lent::new(ptr::null(), 2, &cx);
        // SAFETY: [lent]: it stays where it is, and the context is borrowed.
        let (first, second) = unsafe { (lent.make(), lent.make()) };
        assert_eq!((second, lent.block()), (first, Some(first)));
        // SAFETY: it was made here, and nobody has a waker.
        unsafe { Block::leave(first) };
    }
}
