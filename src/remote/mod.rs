//! Spawning from elsewhere: another thread sends a closure, home makes a future of it and runs it,
//! and the result goes back.
//!
//! `Remote::spawn` posts a job. Home reads it and spawns an [`errand::Errand`]: a task that first
//! calls the closure, then is its future, and at its end sends what came of it through
//! [`shared::Shared`]. Whatever drops an errand earlier, read or not, is the end of its loop:
//! nobody else has a handle to it.
//!
//! A cancel is a flag, and a wake: the task's waker lies beside the flag as long as somebody may
//! raise it, so a loop whose task may be cancelled from elsewhere does not count as stuck.
//!
//! What the closure owns, and the output, change threads, so neither may be bound to one; nor may
//! anything borrow.
//!
//! ```compile_fail
//! let (l, here) = (boucle::Loop::new(), std::rc::Rc::new(()));
//! drop(l.remote().spawn(move || async move { drop(here) }));
//! ```
//!
//! ```compile_fail
//! let l = boucle::Loop::new();
//! drop(l.remote().spawn(|| async { std::rc::Rc::new(()) }));
//! ```
//!
//! ```compile_fail
//! let (l, dish) = (boucle::Loop::new(), String::from("fries"));
//! let lent = &dish;
//! drop(l.remote().spawn(move || async move { lent.len() }));
//! ```

mod errand;
mod handle;
mod shared;

pub use handle::RemoteHandle;

use std::{any::type_name, fmt, panic::Location};

use self::{errand::Parcel, shared::Shared};
use crate::{
    current::current,
    event_loop::Loop,
    facade::Arc,
    home::{Letter, Writer},
    spawn::spawn_at,
    task::short_name,
    turn::Core,
};

/// Spawns tasks on a loop from any thread. Made by [`Loop::remote`] and [`remote`].
///
/// A remote is `Send` and `Sync`, and cheap to clone. What [`Remote::spawn`] takes is a closure,
/// not a future: the closure goes to the loop's thread and makes the future there, which need not
/// be `Send` and never leaves it. Only the closure and the result cross threads.
///
/// A loop whose remotes are elsewhere may get work at any time: it never counts as
/// [`Stalled`](crate::Stalled), but sleeps until something comes or the last remote goes. That
/// holds for remotes kept by its own tasks too, which may lend them to other threads. But
/// [`Loop::run`](crate::Loop::run) returns when no task is left, whatever remotes there are.
///
/// A remote keeps some of its loop's memory, none of its tasks, and does not keep it going: when
/// the loop is dropped, what it has been sent comes to nothing, and says so. A loop that serves
/// remotes alone runs `try_block_on(std::future::pending::<()>())`, which returns when the last
/// remote has gone and nothing is left to do. What the tasks share and is not `Send` they find in a
/// `thread_local!`.
///
/// # Virtual time
/// A virtual clock does not jump past work that has been sent, but does not wait for work that may
/// be sent one day. While a task of a loop with virtual time awaits the answer of another loop, its
/// own clock stands still, unless the loop runs remote tasks itself: so loops that call each other
/// do not wait in a circle. A loop with a timer that never ends, such as an interval, runs ahead of
/// threads that are still to spawn on it. [`Loop::advance`](crate::Loop::advance) goes as far as it is told.
///
/// # Order
/// What one thread spawns starts in the order in which it was spawned, and so does what one
/// thread spawns after it has learned that another thread has spawned.
///
/// ```
/// use std::{rc::Rc, thread};
///
/// boucle::block_on(async {
///     let remote = boucle::remote();
///     let elsewhere = thread::spawn(move || {
///         let soda = remote.spawn(|| async {
///             let here = Rc::new("soda"); // not `Send`
///             boucle::yield_now().await;
///             *here
///         });
///         // In this thread, any executor will do, even none at all.
///         drop(remote.spawn(|| async { println!("detached") }));
///         soda
///     });
///     let soda = elsewhere.join().unwrap();
///     assert_eq!(soda.await.unwrap(), "soda");
/// });
/// ```
#[derive(Clone)]
pub struct Remote {
    writer: Writer,
}

/// Makes a [`Remote`] of the loop that runs on this thread.
///
/// # Panics
/// Outside a loop. [`Loop::remote`] works before and between runs.
///
/// ```
/// boucle::block_on(async {
///     let remote = boucle::remote();
///     let thread = std::thread::spawn(move || remote.spawn(|| async { 6 * 7 }));
///     assert_eq!(thread.join().unwrap().await.unwrap(), 42);
/// });
/// ```
#[track_caller]
pub fn remote() -> Remote {
    current("boucle::remote", Remote::of)
}

impl Loop {
    /// Makes a [`Remote`], which spawns on this loop from any thread.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let remote = l.remote();
    /// let thread = std::thread::spawn(move || remote.spawn(|| async { 6 * 7 }));
    /// let answer = thread.join().unwrap();
    /// assert_eq!(l.block_on(answer).unwrap(), 42);
    /// ```
    pub fn remote(&self) -> Remote {
        Remote::of(self.core())
    }
}

impl Remote {
    fn of(core: &Core) -> Remote {
        Remote { writer: core.tasks.home.writer() }
    }

    /// Spawns a task: `f` is called on the loop's thread, at the task's first turn, and what it
    /// returns is run there.
    ///
    /// Never waits for the loop, whatever that does. A loop that is parked wakes up; one that its
    /// host runs calls [`Loop::on_wake`]. The loop's own thread may use this too, with the same
    /// effect. The task counts as spawned where this is called, without a parent, and its default
    /// name is that of its async fn.
    ///
    /// If the loop is gone, or goes before the task has ended, `f` or the future is dropped and the
    /// handle yields an error for which
    /// [`JoinError::is_loop_dropped`](crate::JoinError::is_loop_dropped) holds. An `f` that the
    /// loop has not got to is dropped by the thread that finds out.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let remote = l.remote();
    /// drop(l);
    /// let late = remote.spawn(|| async { "too late" });
    /// assert!(late.is_finished());
    /// let error = boucle::block_on(late).unwrap_err();
    /// assert!(error.is_cancelled() && error.is_loop_dropped());
    /// ```
    #[track_caller]
    pub fn spawn<F, Fut>(&self, f: F) -> RemoteHandle<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let place = Location::caller();
        let name = short_name(type_name::<Fut>());
        let shared = Arc::new(Shared::new(name, place));
        let parcel = Parcel::new(f, shared.clone());
        let job = move || {
            let task = spawn_at("Remote::spawn", parcel.unpack(), place);
            drop(task.named(name));
        };
        let home = self.writer.home().clone();
        // A box that is closed drops the job, and with it the answer, which says so.
        home.post(Letter::Job(Box::new(job)));
        RemoteHandle::new(shared, home)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}
