//! The ready queue: first in, first out, linked through the things it holds.

use std::{cell::Cell, ptr};

/// # Safety
/// `link` returns the same cell of `node` every time, and nobody but the queue writes it while
/// the node is queued.
pub(crate) unsafe trait Linked {
    /// # Safety
    /// `node` is alive.
    unsafe fn link<'a>(node: *mut Self) -> &'a Cell<*mut Self>;
}

/// `[queued]` invariant: whoever pushes a node keeps it alive until it is popped, and pushes it
/// only when it is not in a queue.
pub(crate) struct Ready<T> {
    head: Cell<*mut T>,
    tail: Cell<*mut T>,
}

impl<T: Linked> Ready<T> {
    pub(crate) const fn new() -> Self {
        Ready { head: Cell::new(ptr::null_mut()), tail: Cell::new(ptr::null_mut()) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    /// The first in the queue, or null.
    #[inline]
    pub(crate) fn first(&self) -> *mut T {
        self.head.get()
    }

    /// The last in the queue, or null.
    pub(crate) fn last(&self) -> *mut T {
        self.tail.get()
    }

    /// # Safety
    /// `[queued]`.
    #[inline]
    pub(crate) unsafe fn push(&self, node: *mut T) {
        // SAFETY: the caller keeps `[queued]`.
        unsafe { T::link(node) }.set(ptr::null_mut());
        let last = self.tail.replace(node);
        if last.is_null() {
            self.head.set(node);
        } else {
            // SAFETY: [queued]: `last` was pushed and not popped.
            unsafe { T::link(last) }.set(node);
        }
    }

    #[inline]
    pub(crate) fn pop(&self) -> *mut T {
        let first = self.head.get();
        if !first.is_null() {
            // SAFETY: [queued].
            let next = unsafe { T::link(first) }.get();
            self.head.set(next);
            if next.is_null() {
                self.tail.set(ptr::null_mut());
            }
        }
        first
    }
}
