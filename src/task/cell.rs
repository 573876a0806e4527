//! The one allocation of a task: its header, then its future, then in the same place its output.
//!
//! Every pointer to a task is derived from the whole allocation and stays a pointer: nowhere is a
//! `&Header` turned back into one, since its provenance would end with the header.

use std::{
    alloc::{Layout, handle_alloc_error},
    cell::UnsafeCell,
    mem::{ManuallyDrop, offset_of},
    panic::Location,
    pin::Pin,
    ptr::{self, NonNull},
    task::{Context, Poll, RawWaker, Waker},
};

use super::{
    end,
    error::JoinError,
    header::{Header, TaskVTable},
    name, run,
    state::{BUSY, CANCEL, FINISHED, HANDLE, LIVE, MAIN, NAMED, OUTPUT, QUEUED, STARTED},
    tasks::Tasks,
    waker,
};
use crate::{
    guard::{Payload, catch, discard},
    home::{Anchor, AnchorVTable, Blocks, Home},
    wakee::TargetVTable,
};

#[repr(C)]
struct Cell<F: Future, X> {
    header: Header,
    extra: X,
    content: UnsafeCell<Content<F>>,
}

/// `LIVE` says that it is the future, `OUTPUT` the output, `ERROR` the error. All begin where it
/// does.
#[repr(C)]
union Content<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<F::Output>,
    /// Written and read by `end`, which does not know `F`.
    #[allow(dead_code)]
    error: ManuallyDrop<JoinError>,
}

/// What a kind of task has behind its header, and how it is woken. Its drop runs no user code.
pub(super) trait Extra: Sized {
    const TARGET: TargetVTable;
    const DELIVER: unsafe fn(NonNull<Anchor>);
    /// Something that has to do with the task has panicked, but is not its result.
    const STRAY: unsafe fn(NonNull<Header>, Payload);
    const POLL_WITH: bool;
}

/// A task of a loop has nothing more.
impl Extra for () {
    const TARGET: TargetVTable = waker::TARGET;
    const DELIVER: unsafe fn(NonNull<Anchor>) = waker::deliver;
    const STRAY: unsafe fn(NonNull<Header>, Payload) = |header, payload| {
        // SAFETY: callers hold the task.
        let (task, error) = unsafe { (header.as_ref(), end::error_for(header, Some(payload))) };
        Tasks::of(task).report(error);
    };
    const POLL_WITH: bool = false;
}

/// The vtables of tasks that run an `F` and are named after an `N`.
struct VTable<F, X, N>(F, X, N);

impl<F: Future, X: Extra, N> VTable<F, X, N> {
    const TASK: &'static TaskVTable = &Self::named(|| name::short(std::any::type_name::<N>()));
    const MAIN: &'static TaskVTable = &Self::named(|| "main");

    const fn named(name: fn() -> &'static str) -> TaskVTable {
        TaskVTable {
            anchor: AnchorVTable {
                target: X::TARGET,
                deliver: X::DELIVER,
                forsaken: run::forsaken,
                dealloc: free::<F, X>,
            },
            poll: poll::<F, X>,
            poll_with: if X::POLL_WITH {
                poll_with::<F, X>
            } else {
                |_, _| unreachable!("tasks of a loop are polled with their own waker")
            },
            stray: X::STRAY,
            drop_future: drop_future::<F, X>,
            drop_output: drop_output::<F, X>,
            content: offset_of!(Cell<F, X>, content),
            name,
        }
    }
}

/// Makes a task and, if it is to be `queued`, puts it into the ready queue. It has a handle, which
/// the caller must make.
///
/// # Safety
/// Home's thread only. If `F` or its output borrow, the caller sees to it that both are gone
/// before what they borrow is.
#[inline]
pub(super) unsafe fn spawn<F: Future>(
    tasks: &Tasks,
    future: F,
    place: &'static Location<'static>,
    main: bool,
    queued: bool,
) -> NonNull<Header> {
    // SAFETY: the caller says so; `[queued]`: the flag keeps the memory.
    unsafe {
        let (header, content) = make::<F>(tasks, place, main, queued);
        content.write(future);
        if queued {
            tasks.ready.push(header.as_ptr());
        }
        header
    }
}

/// All of [`spawn`] but the future, which the caller writes next, and the queue.
///
/// # Safety
/// As for [`spawn`].
#[inline(always)]
unsafe fn make<F: Future>(
    tasks: &Tasks,
    place: &'static Location<'static>,
    main: bool,
    queued: bool,
) -> (NonNull<Header>, *mut F) {
    // SAFETY: the caller says so.
    unsafe {
        let cell = allocate::<F, ()>(Some(&tasks.home));
        let slot = tasks.home.enroll(cell.cast());
        tasks.live.set(tasks.live.get() + 1);
        let vtable = if main { VTable::<F, (), F>::MAIN } else { VTable::<F, (), F>::TASK };
        let flags = LIVE | HANDLE | if queued { QUEUED } else { 0 } | if main { MAIN } else { 0 };
        let parent = tasks.running().map(|task| task.id);
        let anchor = Anchor::new(anchor_vtable(vtable), tasks.home.this(), slot, flags);
        let header = Header::new(anchor, tasks.next_id(), place, parent);
        (cell.cast(), fill(cell, header, ()))
    }
}

/// Makes the task `main`. `at_once` polls it too, which is what its turn would be: if it has ended
/// then, and nobody refers to it, it goes and its output is returned. Else the task is, whose handle
/// the caller must make.
///
/// # Safety
/// As for [`spawn`]; if `at_once`, the loop is entered, the caller keeps it, and nothing is ready.
#[inline]
pub(super) unsafe fn start<F: Future>(
    tasks: &Tasks,
    future: F,
    place: &'static Location<'static>,
    at_once: bool,
) -> Result<F::Output, NonNull<Header>> {
    const STACK: u32 = HANDLE | BUSY | STARTED | MAIN;
    debug_assert!(!tasks.is_closing());
    // SAFETY: the caller says so; then `BUSY` keeps the task, then `HANDLE`.
    unsafe {
        if !at_once {
            return Err(spawn(tasks, future, place, true, true));
        }
        let (header, place) = make::<F>(tasks, place, true, false);
        place.write(future);
        let task = header.as_ref();
        task.anchor.flags.set(LIVE | STACK);
        tasks.step_on(header);
        if !poll::<F, ()>(header) {
            tasks.step_off(header);
            return Err(header);
        }
        tasks.step_back();
        if task.flags() != STACK | OUTPUT | FINISHED || !task.anchor.is_alone() {
            end::conclude(header);
            return Err(header);
        }
        tasks.live.set(tasks.live.get() - 1);
        // As at every end of `main`: a step that comes next looks first.
        tasks.home.counts.countdown.set(0);
        task.anchor.flags.set(0);
        // The output is read once, since the flags have gone.
        let output = (&raw const (*content::<F, ()>(header)).output).read();
        Anchor::strike(header.cast(), &tasks.home);
        vacate::<F, ()>(header, Some(&tasks.home));
        Ok(ManuallyDrop::into_inner(output))
    }
}

/// Makes a task that is not queued yet, with what it has behind its header. `anchor` is told where
/// the task lies and which vtable it has.
///
/// # Safety
/// As for [`spawn`].
pub(super) unsafe fn create<F: Future, X: Extra, N>(
    home: Option<NonNull<Home>>,
    anchor: impl FnOnce(NonNull<Anchor>, *const AnchorVTable) -> Anchor,
    header: impl FnOnce(Anchor) -> Header,
    extra: X,
    future: F,
) -> NonNull<Header> {
    // SAFETY: the caller says so.
    unsafe {
        let cell = allocate::<F, X>(home.map(|home| home.as_ref()));
        let anchor = anchor(cell.cast(), anchor_vtable(VTable::<F, X, N>::TASK));
        fill(cell, header(anchor), extra).write(future);
        cell.cast()
    }
}

/// The anchor's part of a vtable, with the provenance of the whole.
const fn anchor_vtable(vtable: &'static TaskVTable) -> *const AnchorVTable {
    (&raw const *vtable).cast()
}

/// Memory for a cell, from what the loop has kept if there is one.
#[inline]
fn allocate<F: Future, X>(home: Option<&Home>) -> NonNull<Cell<F, X>> {
    let layout = Layout::new::<Cell<F, X>>();
    let cell = match home {
        Some(home) => home.blocks.take(layout),
        None => Blocks::new().take(layout),
    };
    NonNull::new(cell.cast()).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Writes all but the future, for which it says where to. The future is not passed through here,
/// since that would copy it once more.
///
/// # Safety
/// The cell was just allocated.
#[inline]
unsafe fn fill<F: Future, X>(cell: NonNull<Cell<F, X>>, header: Header, extra: X) -> *mut F {
    // SAFETY: the caller says so.
    unsafe {
        (&raw mut (*cell.as_ptr()).header).write(header);
        (&raw mut (*cell.as_ptr()).extra).write(extra);
        (&raw mut (*cell.as_ptr()).content).cast()
    }
}

/// # Safety
/// The task is alive, and the pointer covers all of it.
unsafe fn content<F: Future, X>(header: NonNull<Header>) -> *mut Content<F> {
    // SAFETY: the header is the head of a `Cell<F, X>`.
    unsafe { (*header.cast::<Cell<F, X>>().as_ptr()).content.get() }
}

/// # Safety
/// Home only; the task is `LIVE` and `BUSY`, and not being polled.
// Never: what polls the future is to be inlined here, and not to be there twice.
#[inline(never)]
unsafe fn poll<F: Future, X: Extra>(header: NonNull<Header>) -> bool {
    let raw = RawWaker::new(header.as_ptr().cast_const().cast(), X::TARGET.waker);
    // SAFETY: the waker is lent to the future, not counted: `BUSY` keeps the memory that long,
    // and clones count themselves.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw) });
    // SAFETY: the caller says so.
    unsafe { poll_with::<F, X>(header, &waker) }
}

/// As [`poll`], with somebody else's waker.
///
/// # Safety
/// As [`poll`].
#[inline]
unsafe fn poll_with<F: Future, X: Extra>(header: NonNull<Header>, waker: &Waker) -> bool {
    let mut cx = Context::from_waker(waker);
    let polled = catch(|| {
        // SAFETY: `LIVE`: the content is the future. It never moves before it is dropped, and
        // nobody else refers to it while it is `BUSY`.
        unsafe { Pin::new_unchecked(&mut *(*content::<F, X>(header)).future).poll(&mut cx) }
    });
    match polled {
        Ok(Poll::Pending) => return false,
        // SAFETY: the task is `BUSY` and its poll is over.
        Ok(Poll::Ready(output)) => unsafe { finish::<F, X>(header, Ok(output)) },
        // SAFETY: likewise.
        Err(payload) => unsafe { finish::<F, X>(header, Err(payload)) },
    }
    true
}

/// Drops the future, then keeps or drops what came of it.
///
/// # Safety
/// As for [`poll`], and the poll is over.
#[inline(never)]
unsafe fn finish<F: Future, X>(header: NonNull<Header>, result: Result<F::Output, Payload>) {
    // SAFETY: `BUSY` keeps the task.
    let task = unsafe { header.as_ref() };
    task.clear(LIVE);
    // SAFETY: the content was the future until now, and nobody polls or drops it again.
    let dropped = catch(|| unsafe { drop_future::<F, X>(header) });
    let result = match (result, dropped) {
        (result, Ok(())) => result,
        (Ok(output), Err(payload)) => {
            let _ = catch(|| drop(output)).map_err(discard);
            Err(payload)
        }
        (Err(payload), Err(second)) => {
            discard(second);
            Err(payload)
        }
    };
    match result {
        Ok(output) if task.flags() & (HANDLE | CANCEL) == HANDLE => {
            // SAFETY: the future is gone, so the content is free.
            unsafe {
                (&raw mut (*content::<F, X>(header)).output).write(ManuallyDrop::new(output))
            };
            task.set(OUTPUT | FINISHED);
        }
        Ok(output) => {
            if let Err(payload) = catch(|| drop(output)) {
                // SAFETY: as above.
                unsafe { end::stray(header, payload) };
            }
            if task.is(CANCEL) {
                // SAFETY: the task is `BUSY` and its cell empty.
                unsafe { end::mark_cancelled(header) };
            } else {
                task.set(FINISHED);
            }
        }
        // SAFETY: as above.
        Err(payload) => unsafe { end::fail(header, payload) },
    }
}

/// # Safety
/// The content is the future, and is not used again.
unsafe fn drop_future<F: Future, X>(header: NonNull<Header>) {
    // SAFETY: the caller says so.
    unsafe { ManuallyDrop::drop(&mut (*content::<F, X>(header)).future) };
}

/// # Safety
/// The content is the output, and is not used again.
unsafe fn drop_output<F: Future, X>(header: NonNull<Header>) {
    // SAFETY: the caller says so.
    unsafe { ManuallyDrop::drop(&mut (*content::<F, X>(header)).output) };
}

/// # Safety
/// As `AnchorVTable::dealloc`; the content is gone.
unsafe fn free<F: Future, X>(anchor: NonNull<Anchor>, home: Option<&Home>) {
    let header = anchor.cast::<Header>();
    // SAFETY: nobody refers to the task any more; it was allocated with this layout. At home, names
    // and blocks are home's. A task that outlives its loop leaves its name there.
    unsafe {
        let home = match home {
            Some(home) if header.as_ref().is(NAMED) => return free_named::<F, X>(header, home),
            home => home,
        };
        vacate::<F, X>(header, home);
    }
}

/// # Safety
/// As [`free`].
#[cold]
#[inline(never)]
unsafe fn free_named<F: Future, X>(header: NonNull<Header>, home: &Home) {
    // SAFETY: [prefix]; the caller says the rest.
    unsafe {
        home.this().cast::<Tasks>().as_ref().forget_name(header.as_ref());
        vacate::<F, X>(header, Some(home));
    }
}

/// # Safety
/// As [`free`].
#[inline(always)]
unsafe fn vacate<F: Future, X>(header: NonNull<Header>, home: Option<&Home>) {
    // SAFETY: the caller says so.
    unsafe {
        ptr::drop_in_place(header.as_ptr());
        ptr::drop_in_place(&raw mut (*header.cast::<Cell<F, X>>().as_ptr()).extra);
        let (block, layout) = (header.as_ptr().cast(), Layout::new::<Cell<F, X>>());
        match home {
            Some(home) => home.blocks.give(block, layout),
            None => Blocks::lose(block, layout),
        }
    }
}
