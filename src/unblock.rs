//! Functions that block, on threads of their own.

use std::{
    fmt,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    home::Hold,
    task::{Waits, note},
    turn::with_core,
};

/// Runs a function that blocks on a thread of the blocking crate's pool, which all of the process
/// share; feature `blocking`, which `net` brings.
///
/// It starts at once, or as soon as the pool has a thread for it. Output and function are `Send`,
/// and nothing is borrowed. Under [virtual time](crate::Builder::virtual_time) the clock of the loop
/// stands still until it has ended. It works in any executor.
///
/// # Panics
/// Awaiting it panics with the function's panic.
///
/// # Cancellation
/// Dropping the future drops a function that has not begun. One that has runs on, and its output is
/// dropped in its thread.
///
/// ```
/// let lines = boucle::block_on(async {
///     boucle::unblock(|| std::fs::read_to_string("Cargo.toml")).await
/// });
/// assert!(lines.is_ok_and(|lines| lines.contains("boucle")));
/// ```
#[track_caller]
pub fn unblock<T, F>(f: F) -> Unblock<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let mut unblock = Unblock { job: blocking::unblock(f), hold: None, at: Location::caller() };
    unblock.keep_clock();
    unblock
}

/// The future of [`unblock`].
///
/// ```
/// let job = boucle::unblock(|| 6 * 7);
/// assert_eq!(boucle::block_on(job), 42);
/// ```
#[must_use = "a function whose future is dropped may never run"]
pub struct Unblock<T> {
    job: blocking::Task<T>,
    /// Of the loop that awaits it, if its clock is simulated.
    hold: Option<Hold>,
    /// Where the call is written.
    at: &'static Location<'static>,
}

impl<T> Unblock<T> {
    /// Has the clock of the loop that runs here stand still, if it is simulated.
    fn keep_clock(&mut self) {
        if self.hold.as_ref().is_some_and(Hold::is_here) {
            return;
        }
        let hold = with_core(|core| core.is_simulated().then(|| core.tasks.home.hold()));
        if let Some(hold) = hold.flatten() {
            self.hold = Some(hold);
        }
    }
}

impl<T> Future for Unblock<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Not kept if the function has panicked, which is an end too.
        let hold = self.hold.take();
        let polled = Pin::new(&mut self.job).poll(cx);
        if polled.is_pending() {
            self.hold = hold;
            self.keep_clock();
            note(Waits::Remote(self.at));
        }
        polled
    }
}

impl<T> fmt::Debug for Unblock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unblock").field("at", &self.at).finish_non_exhaustive()
    }
}
