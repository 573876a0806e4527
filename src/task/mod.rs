//! Tasks: the contract page.
//!
//! # References
//! A task is one allocation: a [`Header`], then a cell that holds the future or what came of it.
//! Its memory stays as long as `[memory]` in `home` says: the flags `LIVE` (the loop runs it),
//! `HANDLE` (its [`JoinHandle`] exists), `QUEUED` (the ready queue has it), `BUSY` (it is on the
//! stack), holds (whoever will wake it: timers, joins, wait queues, and [`Canceller`]s), and std
//! wakers, counted apart from holds since they alone can be elsewhere. Its *future* goes as soon
//! as it ends, whoever still refers to the memory.
//!
//! # Who may touch what, when
//! | what | who | when |
//! |---|---|---|
//! | `vtable`, `home`, `id`, `place`, `parent` | anybody | read, always |
//! | `word` | anybody | always: it is atomic |
//! | flags, counts, joiner, waits | home's thread | always; no user code runs between reading a flag and acting on it |
//! | link | the ready queue; `run` and `survey` | `QUEUED`; else, as the time of the last poll |
//! | the future | `cell::poll`; then `cell::finish` or a `cancel_now`, of `end` or of the nursery, once | `LIVE` and `BUSY`; then `BUSY` alone |
//! | the output | the handle, or `end::dispose` without a handle | `OUTPUT`; whoever clears the flag takes it |
//! | the error | the handle | `ERROR`, likewise |
//!
//! # States
//! ```text
//!  NEW ──poll──▶ RUNNING ──Pending──▶ WAITING ──wake──▶ READY ──poll──▶ RUNNING
//!                  │  ▲                                                   │
//!                  │  └── a wake meanwhile: straight to READY ────────────┤
//!                  ├── Ready, the future is dropped ──▶ FINISHED          │
//!                  ├── panic, the future is dropped ──▶ FAILED            ◀┘
//!   any of them ───┴── cancel, the future is dropped ──▶ CANCELLED
//! ```
//!
//! # Why it is sound
//! 1. One thread: handles, holds and tasks are `!Send`; wakers use cells only while their loop is
//!    entered on the current thread, which is the loop's since a loop is `!Send`.
//! 2. User code (polls, destructors, foreign wakers, callbacks) runs under `catch` and never
//!    while a `RefCell` of the loop is borrowed: what it may want to change is in `Cell`s whose
//!    values are complete at that moment.
//! 3. A future is never polled or dropped while it is on the stack (`BUSY`), and its place is
//!    never read again once the flag that names its content is clear. `BUSY` tasks are not
//!    cancelled, and not polled either: a thread that drives a loop drives no loop inside
//!    (`Loop::drive`), so the ready queue is only read between polls.
//! 4. The future of a task that borrows is dropped, and its output taken: that of the root of a
//!    `block_on` before the call returns or unwinds, that of a scope's child by `[scope]` of the
//!    nursery.
//! 5. A reference to an output, from [`JoinHandle::result`], borrows the handle, and the output only
//!    leaves by the handle or with it:
//!
//!    ```compile_fail
//!    let l = boucle::Loop::new();
//!    let task = l.spawn(async { String::from("fries") });
//!    l.run();
//!    let lent = task.result().unwrap().unwrap();
//!    drop(task);
//!    println!("{lent}");
//!    ```

mod berth;
mod cancel;
mod cell;
mod end;
mod error;
mod header;
mod join;
mod name;
mod nursery;
mod run;
mod state;
mod survey;
mod tasks;
mod waits;
mod waker;

pub use cancel::Canceller;
pub(crate) use error::Cause;
pub use error::JoinError;
pub(crate) use header::Header;
pub use header::Id;
pub use join::JoinHandle;
pub(crate) use name::short as short_name;
pub(crate) use nursery::Nursery;
pub(crate) use run::{Onlooker, Polled};
pub(crate) use state::ENDED;
pub use state::Status;
pub(crate) use survey::{Edge, Seen};
pub(crate) use tasks::{
    OnUnobserved, Tasks, Unobserved, lament, note, note_claim, note_instead, who, with_here,
};
pub(crate) use waits::Waits;
#[cfg(all(unix, feature = "net", not(loom)))]
pub(crate) use waker::own_wakee;
pub(crate) use waker::{is_child_polled, wakee_of};
