//! The memory of tasks that have ended, kept for those to come.
//!
//! The allocator is the greatest cost of a task that does little. A loop that spawns again what it
//! has just let go gets the same block back, for a few instructions. Only home takes and gives.
//!
//! | the loop | blocks kept |
//! |---|---|
//! | runs | every one that is given; the surplus over [`MOST`] goes slowly, [`Blocks::trim`] |
//! | has nothing ready | the surplus goes, in batches, before the loop parks |
//! | is not driven | at most [`MOST`] |
//! | is gone | none |
//!
//! So a burst that drains does not wait for the allocator, whose work is done when there is no
//! other; and a loop that sleeps, or that nobody runs, holds no more than [`MOST`].
//!
//! Builds with debug assertions, and so the sanitizers, use the allocator alone: they are to see
//! every block come and go.

use std::{alloc::Layout, cell::Cell, ptr};

use crate::facade::{alloc, dealloc};

/// Free blocks by size class: class `k` has blocks of `16 * k + 8` bytes, which is what common
/// allocators can give without waste.
pub(crate) struct Blocks {
    free: [Cell<*mut Free>; CLASSES],
    len: Cell<usize>,
    /// With so many, no further one is kept.
    most: Cell<usize>,
}

/// What is written into a free block.
struct Free {
    next: *mut Free,
}

const CLASSES: usize = 32;
const MOST: usize = 1024;

/// How many blocks an idle loop gives back between two looks at its letters and timers: some tens
/// of microseconds.
const BATCH: usize = 1024;

/// How many a busy loop gives back at each look: an eighth of the polls since the last.
const FEW: usize = 8;

const KEPT: bool = cfg!(not(any(debug_assertions, loom)));

/// The class of a layout, if blocks like that are kept.
#[inline]
const fn class(layout: Layout) -> Option<usize> {
    let class = (layout.size() + 7) / 16;
    if KEPT && class > 0 && class < CLASSES && layout.align() <= 8 { Some(class) } else { None }
}

/// The layout of all blocks of a class.
#[inline(always)]
const fn layout_of(class: usize) -> Layout {
    match Layout::from_size_align(16 * class + 8, 8) {
        Ok(layout) => layout,
        Err(_) => panic!("classes are small"),
    }
}

impl Blocks {
    pub(crate) const fn new() -> Blocks {
        Blocks {
            free: [const { Cell::new(ptr::null_mut()) }; CLASSES],
            len: Cell::new(0),
            most: Cell::new(MOST),
        }
    }

    /// A block for this layout, which is not of size zero; null if there is no memory.
    ///
    /// It is given back to the same `Blocks` by `give`, or to nobody by [`Blocks::lose`].
    #[inline]
    pub(crate) fn take(&self, layout: Layout) -> *mut u8 {
        if let Some(class) = class(layout) {
            let block = self.free[class].get();
            if block.is_null() {
                // SAFETY: the size is not zero.
                return unsafe { alloc(layout_of(class)) };
            }
            // SAFETY: a block in the list is ours, and `give` has written it.
            self.free[class].set(unsafe { (*block).next });
            self.len.set(self.len.get() - 1);
            return block.cast();
        }
        // SAFETY: the caller says that the size is not zero.
        unsafe { alloc(layout) }
    }

    /// # Safety
    /// The block was taken with this layout and is not used any more.
    #[inline]
    pub(crate) unsafe fn give(&self, block: *mut u8, layout: Layout) {
        match class(layout) {
            Some(class) if self.len.get() < self.most.get() => {
                let block = block.cast::<Free>();
                // SAFETY: the block is the caller's, aligned to 8 and of 24 bytes at least.
                unsafe { block.write(Free { next: self.free[class].get() }) };
                self.free[class].set(block);
                self.len.set(self.len.get() + 1);
            }
            // SAFETY: the caller says so.
            _ => unsafe { Blocks::lose(block, layout) },
        }
    }

    /// Gives a block to the allocator. From any thread.
    ///
    /// # Safety
    /// As for `give`.
    #[inline]
    pub(crate) unsafe fn lose(block: *mut u8, layout: Layout) {
        let layout = class(layout).map_or(layout, layout_of);
        // SAFETY: it was allocated with this layout by `take`.
        unsafe { dealloc(block, layout) };
    }

    /// Begins anew, with the blocks that it has, if these are at most so many.
    #[inline]
    pub(crate) fn renew(&self, most: usize) -> bool {
        self.most.set(MOST);
        self.len.get() <= most
    }

    /// The loop runs: from now on every block is kept.
    pub(crate) fn open(&self) {
        self.most.set(usize::MAX);
    }

    /// The loop does not run any more: the surplus goes now, and none is kept until it runs again.
    pub(crate) fn close(&self) {
        self.most.set(MOST);
        if self.len.get() > MOST {
            self.shed(usize::MAX);
        }
    }

    /// Gives some of the surplus back, since the loop has nothing else to do; false if there is
    /// none.
    #[inline]
    pub(crate) fn trim(&self) -> bool {
        let surplus = self.len.get() > MOST;
        if surplus {
            self.shed(BATCH);
        }
        surplus
    }

    /// As [`Blocks::trim`], of a loop that is busy: it might never be idle.
    #[inline]
    pub(crate) fn trim_busy(&self) {
        if self.len.get() > MOST {
            self.shed(FEW);
        }
    }

    /// Gives `count` blocks of the surplus to the allocator, large ones first.
    #[inline(never)]
    fn shed(&self, count: usize) {
        let mut left = count.min(self.len.get().saturating_sub(MOST));
        for class in (0..CLASSES).rev() {
            left -= self.drain(class, left);
            if left == 0 {
                return;
            }
        }
    }

    /// Gives at most `count` blocks of one class to the allocator; how many it were.
    #[inline]
    fn drain(&self, class: usize, count: usize) -> usize {
        let free = &self.free[class];
        let mut drained = 0;
        while drained < count && !free.get().is_null() {
            let block = free.get();
            drained += 1;
            // SAFETY: blocks in the list are ours, and of this class.
            unsafe {
                free.set((*block).next);
                dealloc(block.cast(), layout_of(class));
            }
        }
        self.len.set(self.len.get() - drained);
        drained
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // Small ones first: most loops are short, and have few.
        for class in 0..CLASSES {
            if self.len.get() == 0 {
                return;
            }
            self.drain(class, usize::MAX);
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    /// Takes and gives as many blocks of each of two sizes.
    fn burst(blocks: &Blocks, count: usize) {
        let layouts = [24, 120].map(|size| Layout::from_size_align(size, 8).unwrap());
        let taken: Vec<_> =
            layouts.iter().flat_map(|&of| (0..count).map(move |_| (blocks.take(of), of))).collect();
        for (block, layout) in taken {
            assert!(!block.is_null());
            // SAFETY: it was taken with this layout, and nobody uses it.
            unsafe { blocks.give(block, layout) };
        }
    }

    /// Without debug assertions.
    fn kept(len: usize) -> usize {
        if KEPT { len } else { 0 }
    }

    #[test]
    fn the_surplus_goes_in_batches_until_there_is_none() {
        let blocks = Blocks::new();
        blocks.open();
        burst(&blocks, 2500);
        assert_eq!(blocks.len.get(), kept(5000));
        blocks.trim_busy();
        assert_eq!(blocks.len.get(), kept(5000 - FEW));
        assert_eq!(blocks.free[7].get().is_null(), !KEPT);
        let trims = (0..100).take_while(|_| blocks.trim()).count();
        assert_eq!((blocks.len.get(), trims), (kept(MOST), kept((5000 - MOST).div_ceil(BATCH))));
        assert!(!blocks.trim());
        blocks.trim_busy();
        assert_eq!(blocks.len.get(), kept(MOST));
        // Large ones went first.
        assert!(blocks.free[7].get().is_null());
        assert_eq!(blocks.free[1].get().is_null(), !KEPT);
    }

    #[test]
    fn a_loop_that_does_not_run_keeps_little() {
        let blocks = Blocks::new();
        burst(&blocks, 2500);
        assert_eq!(blocks.len.get(), kept(MOST));
        blocks.open();
        burst(&blocks, 2500);
        assert_eq!(blocks.len.get(), kept(5000));
        blocks.close();
        assert_eq!(blocks.len.get(), kept(MOST));
        burst(&blocks, 2500);
        assert_eq!(blocks.len.get(), kept(MOST));
    }
}
