//! What two threads can touch, from std or from loom.
//!
//! Every atomic, lock, parked thread and raw allocation of the crate comes from here, so that a
//! build with `--cfg loom` runs the same code under the model checker.

#[cfg(not(loom))]
pub(crate) use std::{
    alloc::{alloc, dealloc},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering},
    },
    thread::{Thread, current, park, park_timeout},
};

#[cfg(loom)]
pub(crate) use loom::{
    alloc::{alloc, dealloc},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering},
    },
    thread::{Thread, current, park},
};

/// Of what other threads touch only while they borrow it: whoever takes it back is ordered after them,
/// so that no model has to try it.
pub(crate) use std::sync::atomic::AtomicUsize as Borrowed;

/// A variable of each thread, loom's own included.
macro_rules! local {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $init:expr;) => {
        #[cfg(not(loom))]
        thread_local! { $(#[$doc])* static $name: $type = const { $init }; }
        #[cfg(loom)]
        loom::thread_local! { $(#[$doc])* static $name: $type = $init; }
    };
    // Made when it is first used.
    ($(#[$doc:meta])* lazy static $name:ident: $type:ty = $init:expr;) => {
        #[cfg(not(loom))]
        thread_local! { $(#[$doc])* static $name: $type = $init; }
        #[cfg(loom)]
        loom::thread_local! { $(#[$doc])* static $name: $type = $init; }
    };
}
pub(crate) use local;

/// loom has no clock: a model that parks must be woken.
#[cfg(loom)]
pub(crate) fn park_timeout(_: std::time::Duration) {
    park();
}

/// Whether a fault is planted, for `.ci/self-test`, which has the gates find it. In a build with
/// `--cfg boucle_fault` one is chosen when the program starts; in any other there is none.
#[cfg(boucle_fault)]
pub(crate) fn planted(fault: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("BOUCLE_FAULT").ok()).as_deref() == Some(fault)
}

#[cfg(not(boucle_fault))]
#[inline(always)]
pub(crate) const fn planted(_: &str) -> bool {
    false
}

/// Locks a mutex whose holder never runs user code, so that a poisoned one is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
