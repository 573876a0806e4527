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
    name,
    state::{CANCEL, FINISHED, HANDLE, LIVE, MAIN, NAMED, OUTPUT, QUEUED},
    tasks::Tasks,
    waker,
};
use crate::{
    facade::{alloc, dealloc},
    guard::{Payload, catch, discard},
    home::{Anchor, AnchorVTable},
};

#[repr(C)]
struct Cell<F: Future> {
    header: Header,
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

/// The vtables of tasks that run an `F`.
struct VTable<F>(F);

impl<F: Future> VTable<F> {
    const TASK: &'static TaskVTable = &Self::named(|| name::short(std::any::type_name::<F>()));
    const MAIN: &'static TaskVTable = &Self::named(|| "main");

    const fn named(name: fn() -> &'static str) -> TaskVTable {
        TaskVTable {
            anchor: AnchorVTable {
                target: waker::TARGET,
                deliver: waker::deliver,
                dealloc: free::<F>,
            },
            poll: poll::<F>,
            drop_future: drop_future::<F>,
            drop_output: drop_output::<F>,
            content: offset_of!(Cell<F>, content),
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
    let layout = Layout::new::<Cell<F>>();
    // SAFETY: a cell is never of size zero; the fields are written before anybody reads them;
    // `[queued]`: the flag keeps the memory.
    unsafe {
        let Some(cell) = NonNull::new(alloc(layout).cast::<Cell<F>>()) else {
            handle_alloc_error(layout)
        };
        let vtable: *const TaskVTable = if main { VTable::<F>::MAIN } else { VTable::<F>::TASK };
        let flags = LIVE | HANDLE | if queued { QUEUED } else { 0 } | if main { MAIN } else { 0 };
        let slot = tasks.home.enroll(cell.cast());
        tasks.live.set(tasks.live.get() + 1);
        let parent = tasks.running().map(|task| task.id);
        (&raw mut (*cell.as_ptr()).header).write(Header::new(
            Anchor::new(vtable.cast(), tasks.home.this(), slot, flags),
            tasks.next_id(),
            place,
            parent,
        ));
        let content = (&raw mut (*cell.as_ptr()).content).cast::<F>();
        content.write(future);
        if queued {
            tasks.ready.push(cell.as_ptr().cast());
        }
        cell.cast()
    }
}

/// # Safety
/// The task is alive, and the pointer covers all of it.
unsafe fn content<F: Future>(header: NonNull<Header>) -> *mut Content<F> {
    // SAFETY: the header is the head of a `Cell<F>`.
    unsafe { (*header.cast::<Cell<F>>().as_ptr()).content.get() }
}

/// # Safety
/// Home only; the task is `LIVE` and `BUSY`, and not being polled.
unsafe fn poll<F: Future>(header: NonNull<Header>) -> bool {
    let raw = RawWaker::new(header.as_ptr().cast_const().cast(), &waker::WAKER);
    // SAFETY: the waker is lent to the future, not counted: `BUSY` keeps the memory that long,
    // and clones count themselves.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw) });
    let mut cx = Context::from_waker(&waker);
    let polled = catch(|| {
        // SAFETY: `LIVE`: the content is the future. It never moves before it is dropped, and
        // nobody else refers to it while it is `BUSY`.
        unsafe { Pin::new_unchecked(&mut *(*content::<F>(header)).future).poll(&mut cx) }
    });
    match polled {
        Ok(Poll::Pending) => return false,
        // SAFETY: the task is `BUSY` and its poll is over.
        Ok(Poll::Ready(output)) => unsafe { finish::<F>(header, Ok(output)) },
        // SAFETY: likewise.
        Err(payload) => unsafe { finish::<F>(header, Err(payload)) },
    }
    true
}

/// Drops the future, then keeps or drops what came of it.
///
/// # Safety
/// As for [`poll`], and the poll is over.
#[inline(never)]
unsafe fn finish<F: Future>(header: NonNull<Header>, result: Result<F::Output, Payload>) {
    // SAFETY: `BUSY` keeps the task.
    let task = unsafe { header.as_ref() };
    task.clear(LIVE);
    // SAFETY: the content was the future until now, and nobody polls or drops it again.
    let dropped = catch(|| unsafe { drop_future::<F>(header) });
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
            unsafe { (&raw mut (*content::<F>(header)).output).write(ManuallyDrop::new(output)) };
            task.set(OUTPUT | FINISHED);
        }
        Ok(output) => {
            if let Err(payload) = catch(|| drop(output)) {
                end::stray(task, payload);
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
unsafe fn drop_future<F: Future>(header: NonNull<Header>) {
    // SAFETY: the caller says so.
    unsafe { ManuallyDrop::drop(&mut (*content::<F>(header)).future) };
}

/// # Safety
/// The content is the output, and is not used again.
unsafe fn drop_output<F: Future>(header: NonNull<Header>) {
    // SAFETY: the caller says so.
    unsafe { ManuallyDrop::drop(&mut (*content::<F>(header)).output) };
}

/// # Safety
/// As `AnchorVTable::dealloc`; the content is gone.
unsafe fn free<F: Future>(anchor: NonNull<Anchor>) {
    let header = anchor.cast::<Header>();
    // SAFETY: nobody refers to the task any more; it was allocated with this layout. The side
    // table of names is home's, and a task that outlives its loop leaves its name there.
    unsafe {
        let task = header.as_ref();
        if task.is(NAMED) && !task.anchor.word.is_orphan() {
            Tasks::of(task).forget_name(task);
        }
        ptr::drop_in_place(header.as_ptr());
        dealloc(header.as_ptr().cast(), Layout::new::<Cell<F>>());
    }
}
