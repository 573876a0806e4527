//! The memory of tasks that have ended, kept for those to come.
//!
//! The allocator is the greatest cost of a task that does little. A loop that spawns again what it
//! has just let go gets the same block back, for a few instructions. Only home takes and gives; at
//! most [`MOST`] blocks are kept, and all go with the loop.
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
}

/// What is written into a free block.
struct Free {
    next: *mut Free,
}

const CLASSES: usize = 32;
const MOST: usize = 1024;
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
        Blocks { free: [const { Cell::new(ptr::null_mut()) }; CLASSES], len: Cell::new(0) }
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
            Some(class) if self.len.get() < MOST => {
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
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for (class, free) in self.free.iter().enumerate() {
            if self.len.get() == 0 {
                return;
            }
            let mut block = free.get();
            while !block.is_null() {
                // SAFETY: blocks in the list are ours.
                unsafe {
                    let next = (*block).next;
                    dealloc(block.cast(), layout_of(class));
                    self.len.set(self.len.get() - 1);
                    block = next;
                }
            }
        }
    }
}
