//! Children polled inside their parent's future, each with a waker of its own.
//!
//! A woken child wakes the parent, which then polls the children that were woken, and no others.
//! What is polled, where it lies and what becomes of it is the caller's business: a nest never
//! refers to it.
//!
//! # Few children
//! Up to 64, or as many as a word has bits, are polled with a waker that is lent to one after
//! another. It lies on the stack, and can be used for one thing: a child that is polled wakes
//! itself. That, and in which order, is in a word of the nest. Children that are ready at once, or
//! that yield, need no more.
//!
//! # A block
//! When the first of them keeps a waker, and for more children from the beginning, a nest makes a
//! block of memory: an anchor, which counts the wakers of all the children, and a slot per child,
//! whose address is the data of the child's waker. A woken child joins the block's list.
//!
//! In a loop, the block lives by the rules of `home`. Elsewhere, under another executor, no
//! thread is home: the block is an orphan from birth, and every wake takes the way for other
//! threads. Such a wake puts the slot on a stack (pushed by anybody, taken as a whole by the
//! parent, so that no entry can change under a push) and then tells the parent.
//!
//! A thread that borrows a lent waker during a poll, and clones it, makes an orphan too. In a loop
//! that is not what the nest wants: at its next poll it makes another, and asks all children again.

mod block;
mod lent;

use std::{
    mem::{self, ManuallyDrop},
    panic::Location,
    ptr::NonNull,
    task::{Context, Waker},
};

use crate::{
    guard::OnDrop,
    home::{Budget, Counts, Home, here},
    task::{Waits, is_child_polled, note_instead},
    wakee::set_polled,
};

use block::{Block, END, append, has_woken, is_empty, lend, pop, retire, slot, take_mail};
use lent::Lent;

// In this order: the loop in `poll` takes eight instructions a child less than in another.
#[repr(C)]
pub(crate) struct Nest {
    block: Option<NonNull<Block>>,
    len: u32,
    /// With a block: the children before this one have been polled; the others are ready, before all
    /// woken ones.
    fresh: u32,
    /// Without a block: the children that are ready, a bit each. Every pass polls all of them, and they
    /// wake themselves when they are polled: so the order of their wakes is that of their numbers.
    ready: usize,
    /// Where the call is written.
    at: &'static Location<'static>,
}

/// What came of polling a child.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    Pending,
    /// It is not polled again.
    Done,
    /// Nobody is polled again: the caller lets go of the nest.
    Last,
}

/// So many children need no block, unless they keep their wakers.
const FEW: u32 = usize::BITS;

impl Nest {
    #[inline]
    pub(crate) fn new(len: usize, at: &'static Location<'static>) -> Nest {
        assert!(len < block::DONE as usize, "boucle: 2 billion futures in one call");
        let len = len as u32;
        let is_few = len.wrapping_sub(1) < FEW;
        let ready = if is_few { usize::MAX >> ((FEW - len) % FEW) } else { 0 };
        Nest { block: None, len, fresh: 0, ready, at }
    }

    /// Polls the children that are ready, each once: at first all, then those that were woken;
    /// after [`Child::Last`], nobody. If the caller is to wait then, it calls [`Nest::wait`].
    ///
    /// `len` is what the nest was made for: if it is the length of what `child` indexes, no index needs
    /// a check.
    ///
    /// After 64 children in one poll of the task, the rest is left for its next turn. An only child is
    /// polled whenever the nest is.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        mut child: impl FnMut(usize, &mut Context<'_>) -> Child,
    ) {
        debug_assert_eq!(len, self.len as usize);
        if self.len == 1 {
            child(0, cx);
            return;
        }
        let here = here();
        // SAFETY: [here]: whoever has entered it keeps it until after this poll.
        let home = unsafe { here.as_ref() };
        let none = Counts::default();
        let budget = Budget::begin(home, is_child_polled(), &none);
        let until = if self.ready != 0 {
            // SAFETY: likewise.
            match unsafe { self.poll_lent(cx, here, &budget, len, &mut child) } {
                Some(until) => until,
                None => return,
            }
        } else if self.block.is_some() || self.len > FEW {
            // SAFETY: likewise.
            unsafe { self.settle(cx, here) }
        } else {
            return;
        };
        self.poll_listed(&budget, until, &mut child);
    }

    /// Has the task that polls the nest wait for its children; wakes it if some are ready already.
    #[inline]
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        let is_ready = match self.block {
            // An only child has woken the task by itself.
            None => self.ready != 0 && self.len > 1,
            // SAFETY: it is the nest's own.
            Some(block) => unsafe { self.is_ready(block) },
        };
        if is_ready {
            cx.waker().wake_by_ref();
        } else {
            note_instead(Waits::Children(self.at));
        }
    }

    /// # Safety
    /// This is the nest's block.
    #[inline(never)]
    unsafe fn is_ready(&self, block: NonNull<Block>) -> bool {
        // SAFETY: the nest keeps it, and this thread polls; [here].
        unsafe {
            // A block of another loop, or of one that a child has dropped, is of no use: the next poll
            // makes a new one and asks all again.
            self.fresh < self.len || has_woken(block) || !block.as_ref().is_of(here())
        }
    }

    /// A pass without a block. When one comes to be, because a child keeps its waker, the pass is to
    /// be finished with that: until this child in its list.
    ///
    /// # Safety
    /// As for [`Nest::settle`].
    #[inline(always)]
    unsafe fn poll_lent(
        &mut self,
        cx: &Context<'_>,
        here: *const Home,
        budget: &Budget<'_>,
        len: usize,
        child: &mut impl FnMut(usize, &mut Context<'_>) -> Child,
    ) -> Option<u32> {
        let lent = Lent::new(here, self.len, cx);
        // SAFETY: [lent], [polled]: `lent` stays where it is until after the last poll of a child.
        let (waker, outer) = unsafe { (lent.waker(), set_polled(lent.target())) };
        let (ready, nest, made) = (self.ready, &mut *self, &lent);
        let early = OnDrop(move || {
            // SAFETY: [polled]: what was before; nobody else has the block.
            unsafe {
                set_polled(outer);
                nest.keep(made, ready);
            }
        });
        let mut bit = 1;
        for index in 0..len {
            if ready & bit != 0 {
                lent.begin(bit);
                if !budget.spend() {
                    drop(early);
                    // SAFETY: the caller says so.
                    unsafe { self.part(cx, here, ready & bit.wrapping_neg(), lent.woken()) };
                    return None;
                }
                match child(index, &mut Context::from_waker(&waker)) {
                    Child::Last => return None,
                    became if lent.block().is_some() => {
                        drop(early);
                        return self.adopt(&lent, ready & (bit << 1).wrapping_neg(), became);
                    }
                    Child::Done if lent.woken() & bit != 0 => lent.forget(),
                    _ => {}
                }
            }
            bit <<= 1;
        }
        mem::forget(early);
        // SAFETY: [polled]: what was before.
        unsafe { set_polled(outer) };
        self.ready = lent.woken();
        None
    }

    /// A pass without a block ends early: a child panics or is the last, the budget is spent, or there is
    /// a block now. Unless it is adopted then, all children are asked again.
    ///
    /// # Safety
    /// The block is given to the nest, on the thread that polls.
    #[cold]
    unsafe fn keep(&mut self, lent: &Lent, ready: usize) {
        self.block = lent.block();
        self.ready = match self.block {
            // A child that panics may be asked again: the clone of its parent's waker may panic too.
            None => ready & lent.bit().wrapping_neg() | lent.woken(),
            Some(block) => {
                // SAFETY: the caller says so.
                unsafe { block.as_ref() }.polling.set(false);
                0
            }
        };
    }

    /// A pass ends before all that are `due` were polled: from now on they come first, which takes a
    /// list.
    ///
    /// # Safety
    /// As for [`Nest::settle`].
    #[cold]
    #[inline(never)]
    unsafe fn part(&mut self, cx: &Context<'_>, here: *const Home, due: usize, again: usize) {
        // SAFETY: the caller says so.
        unsafe { self.settle(cx, here) };
        self.ready = 0;
        let Some(block) = self.block else { return };
        // SAFETY: the nest keeps it, and this is the thread that polls.
        unsafe {
            block.as_ref().polling.set(false);
            self.put_off(block, due);
            list(block, again);
        }
    }

    /// Has these come first. In the first pass they are those that were never polled.
    ///
    /// # Safety
    /// The nest has this block, whose list is empty, and this is the thread that polls.
    unsafe fn put_off(&mut self, block: NonNull<Block>, due: usize) {
        let first = due.trailing_zeros().min(self.len);
        if due.count_ones() == self.len - first {
            self.fresh = first;
        } else {
            self.fresh = self.len;
            // SAFETY: the caller says so.
            unsafe { list(block, due) };
        }
    }

    /// A child that has just been polled, and what became of it, has made a block: puts those into its
    /// list that are `due` in this pass, then those to be polled in the next, last of all this one.
    #[cold]
    #[inline(never)]
    fn adopt(&mut self, lent: &Lent, due: usize, became: Child) -> Option<u32> {
        // If a thread has made it, or the loop is gone, the next poll asks all again.
        // SAFETY: the nest keeps it, and this is the thread that polls.
        let block = self.block.filter(|block| unsafe { block.as_ref() }.is_of(lent.home()))?;
        // SAFETY: as above. Nobody but this child has a waker, so nobody else is in the list.
        unsafe {
            let slot = slot(block, lent.index());
            let woken = !is_empty(block) && pop(block).1 || lent.woken() & lent.bit() != 0;
            self.put_off(block, due);
            let until = block.as_ref().last.get();
            list(block, lent.woken() & !lent.bit());
            if became == Child::Done {
                retire(slot);
            } else if woken {
                append(block, slot);
            }
            Some(until)
        }
    }

    /// Polls the fresh ones, and those in the list until this one.
    #[inline(always)]
    fn poll_listed(
        &mut self,
        budget: &Budget<'_>,
        until: u32,
        child: &mut impl FnMut(usize, &mut Context<'_>) -> Child,
    ) {
        let Some(block) = self.block else { return };
        // SAFETY: the nest keeps the block, by `LIVE`; this is the thread that polls it, and the
        // cells of a block without a loop are used by that thread only.
        let this = unsafe { block.as_ref() };
        this.polling.set(true);
        let _polling = OnDrop(|| this.polling.set(false));
        let mut left = (self.len - self.fresh) > 0 || until != END;
        while left && budget.spend() {
            let (index, wanted) = if self.fresh < self.len {
                self.fresh += 1;
                (self.fresh - 1, true)
            } else {
                // SAFETY: as above; `until` is still in the list.
                unsafe { pop(block) }
            };
            left = self.fresh < self.len || (until != END && index != until);
            if !wanted {
                budget.give_back();
                continue;
            }
            // SAFETY: [block]; indices in the list are those of slots.
            let polled = unsafe { poll_slot(block, index, |cx| child(index as usize, cx)) };
            if polled == Child::Last {
                return;
            }
        }
    }

    /// Has a block, made anew when the nest is polled in another loop than before, that knows who
    /// polls; the last child in its list.
    ///
    /// # Safety
    /// [here]: the loop that was entered when this poll began, or null.
    unsafe fn settle(&mut self, cx: &Context<'_>, here: *const Home) -> u32 {
        // SAFETY: the nest keeps its block, which this thread polls.
        unsafe {
            let kept = self.block.filter(|block| block.as_ref().is_of(here));
            if let Some(block) = kept {
                block.as_ref().meet(cx);
                take_mail(block);
                return block.as_ref().last.get();
            }
        }
        // First this: if the waker's clone panics, the nest is still what it was.
        // SAFETY: as above.
        let block = unsafe { Block::create(here, self.len, cx.waker()) };
        self.leave();
        self.block = Some(block);
        self.fresh = 0;
        END
    }

    /// Lets go of the children's wakers, which wake nobody from now on.
    #[inline]
    pub(crate) fn leave(&mut self) {
        if let Some(block) = self.block.take() {
            // SAFETY: the nest has had it.
            unsafe { Block::leave(block) };
        }
    }
}

impl Drop for Nest {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

/// # Safety
/// The caller keeps the block and is the one who polls it; the slot is not in the list.
#[inline(always)]
unsafe fn poll_slot(
    block: NonNull<Block>,
    index: u32,
    child: impl FnOnce(&mut Context<'_>) -> Child,
) -> Child {
    // SAFETY: the caller says so.
    unsafe {
        let slot = slot(block, index);
        let waker: ManuallyDrop<Waker> = lend(slot);
        let outer = set_polled(slot.as_ptr().cast_const().cast());
        let polled = OnDrop(|| {
            set_polled(outer);
        });
        let became = child(&mut Context::from_waker(&waker));
        drop(polled);
        if became == Child::Done {
            retire(slot);
        }
        became
    }
}

/// Puts children, a bit each, at the end of the list.
///
/// # Safety
/// [block], on the thread that polls.
unsafe fn list(block: NonNull<Block>, mut bits: usize) {
    while bits != 0 {
        // SAFETY: the caller says so.
        unsafe { append(block, slot(block, bits.trailing_zeros())) };
        bits &= bits - 1;
    }
}
