//! One thread drives one loop at a time.

use std::{cell::Cell, mem::ManuallyDrop, ptr};

use crate::{
    facade::local,
    home::{EnteredFirst, here},
    task::{JoinError, JoinHandle, with_here},
    turn::Core,
};

local! {
    /// Whether a loop is being driven on this thread. Not told by which loop is the current one:
    /// that is none for the rest of a destructor that has dropped its own loop.
    static DRIVING: Cell<bool> = Cell::new(false);
}

/// A loop is being driven, and entered. Its fields are dropped in their order.
pub(crate) struct Driven<'l> {
    rest: Rest<'l>,
    _entered: EnteredFirst,
    _driving: Driving,
}

impl<'l> Driven<'l> {
    /// Enters a loop in order to poll its tasks, for this call of its user. If it is `fresh`, it was
    /// just made, and nobody else knows of it.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn begin(core: &'l Core, call: &str, fresh: bool) -> Driven<'l> {
        let is_dooming = !fresh && core.tasks.is_dooming();
        if DRIVING.with(Cell::get) || !here().is_null() || is_dooming {
            refuse(call, core);
        }
        DRIVING.with(|driving| driving.set(true));
        match fresh {
            true => core.tasks.home.bell.begin(),
            false => core.tasks.home.bell.busy(),
        }
        core.tasks.home.blocks.open();
        // SAFETY: the borrow keeps the loop, on its thread; the guard is dropped before the driving
        // call returns.
        let entered = unsafe { EnteredFirst::new(core.tasks.home.this()) };
        Driven { rest: Rest(core), _entered: entered, _driving: Driving }
    }

    /// Leaves a loop that goes now, and so need not be at rest.
    #[inline]
    pub(crate) fn end(self) {
        std::mem::forget(self.rest);
    }
}

/// Puts a loop to rest when it is not driven any more.
struct Rest<'l>(&'l Core);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.rest();
        self.0.tasks.home.blocks.close();
    }
}

struct Driving;

impl Drop for Driving {
    #[inline]
    fn drop(&mut self) {
        DRIVING.with(|driving| driving.set(false));
    }
}

/// The handle of a future that may borrow.
pub(crate) struct Root<T>(pub(crate) JoinHandle<T>);

impl<T> Root<T> {
    /// What came of a future that has ended.
    pub(crate) fn into_result(self) -> Result<T, JoinError> {
        let this = ManuallyDrop::new(self);
        // SAFETY: it is read once; an end needs no drop.
        unsafe { ptr::read(&this.0) }.into_result()
    }
}

impl<T> Drop for Root<T> {
    fn drop(&mut self) {
        if !self.0.is_finished() {
            self.0.cancel();
            if !self.0.is_finished() {
                // Only a fault of ours could get here; going on would leave a future behind whose
                // borrows end now.
                std::process::abort();
            }
        }
    }
}

/// Says why a loop cannot be driven here.
#[cold]
#[track_caller]
fn refuse(call: &str, core: &Core) -> ! {
    let inside = with_here(|tasks| {
        let which = if std::ptr::eq(tasks, &core.tasks) { "the same" } else { "another" };
        match tasks.running() {
            Some(task) => format!(
                "task '{}' ({}, spawned at {}) of {which} loop",
                tasks.running_name().unwrap_or_default(),
                task.id,
                task.place
            ),
            None => format!("{which} loop, between two tasks"),
        }
    });
    let inside = inside.unwrap_or_else(|| "a destructor that the loop runs".into());
    let instead = match call {
        "Loop::advance" => "`sleep` instead, or call it between runs",
        "Loop::run" | "Loop::run_until_stalled" | "Loop::step" => {
            "call it between runs; the loop that runs now polls its own tasks by itself"
        }
        _ => "`.await` the future or `spawn` it instead",
    };
    panic!("`{call}` called inside {inside}: a thread drives one loop at a time; {instead}")
}
