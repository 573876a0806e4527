//! What the children of a scope are woken into.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ptr::NonNull,
    task::{RawWaker, RawWakerVTable, Waker},
};

use crate::{
    guard::Payload,
    home::{Anchor, Home},
    ready::Ready,
    task::{
        berth::{Berth, Siblings, berth},
        cell::Extra,
        end::error_for,
        error::JoinError,
        header::Header,
        state::{QUEUED, SCOPED},
        tasks::{Tasks, drop_error},
    },
    wakee::{TargetVTable, Wakee, behind},
};

#[repr(C)]
pub(crate) struct Nursery {
    /// The body's: `LIVE` until it has ended. `HANDLE` says that the scope is there.
    pub(super) header: Header,
    pub(super) berth: Berth,
    pub(super) ready: Ready<Header>,
    pub(super) children: Siblings,
    /// No child may be added: what is spawned is dropped at once.
    pub(super) closing: Cell<bool>,
    /// The scope is to end without waiting for anybody.
    pub(super) cut: Cell<bool>,
    /// The first panic of a child or of the body.
    pub(super) panic: Cell<Option<JoinError>>,
    /// The nursery is at it, so nobody need be told of what becomes ready.
    pub(super) polling: Cell<bool>,
    /// Who polls the scope; taken by the wake that tells it. Under another executor from the
    /// start, that is in the mail, for wakers alone: whatever else tells the scope is done while it
    /// is polled, or dropped.
    pub(super) parent: Cell<Option<Wakee>>,
    /// The scope was last polled out of its loop.
    pub(super) away: Cell<bool>,
    /// Children to be cancelled, each held once, and whether somebody is at it.
    pub(super) doomed: RefCell<VecDeque<NonNull<Header>>>,
    pub(super) dooming: Cell<bool>,
    /// The numbers of children that have no loop.
    pub(super) ids: Cell<u64>,
}

pub(super) static WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

pub(super) const TARGET: TargetVTable = TargetVTable {
    waker: &WAKER,
    // SAFETY: `TargetVTable` says who calls them and with what, here and below.
    hold: |target| unsafe {
        Anchor::hold(target.cast());
        target
    },
    // SAFETY: likewise.
    release: |target| unsafe { Anchor::release(target.cast()) },
    // SAFETY: likewise.
    wake: |target| unsafe {
        wake_by_ref(target.as_ptr().cast_const().cast());
        Anchor::release(target.cast());
    },
    // A child goes on by itself; the body, when who polls the scope does.
    // SAFETY: likewise; a nursery that is not a child's header is the body's.
    behind: |target| unsafe {
        if target.cast::<Header>().as_ref().is(SCOPED) {
            Some(target)
        } else {
            behind(&(*target.cast::<Nursery>().as_ptr()).parent)
        }
    },
};

impl Extra for Berth {
    const TARGET: TargetVTable = TARGET;
    const DELIVER: unsafe fn(NonNull<Anchor>) = deliver;
    const STRAY: unsafe fn(NonNull<Header>, Payload) = panicked;
    const POLL_WITH: bool = true;
}

/// The nursery of a child or of a body.
///
/// # Safety
/// [berth]; by [nursery], the child is `LIVE`, or its handle or its scope is at hand.
pub(super) unsafe fn nursery<'a>(header: NonNull<Header>) -> &'a Nursery {
    // SAFETY: the caller says so.
    unsafe { berth(header).nursery.cast().as_ref() }
}

/// Whether the scope of a child was last polled out of its loop.
///
/// # Safety
/// As [`nursery`].
pub(in crate::task) unsafe fn is_away(header: NonNull<Header>) -> bool {
    // SAFETY: the caller says so.
    unsafe { nursery(header) }.away.get()
}

/// A child has panicked, or something of its has while it was dropped: the scope will end with it.
///
/// # Safety
/// As [`nursery`].
unsafe fn panicked(header: NonNull<Header>, payload: Payload) {
    // SAFETY: the caller says so.
    unsafe { nursery(header).panicked(error_for(header, Some(payload))) };
}

impl Nursery {
    /// The loop that children are entered in; `None` if there was none, or it is gone.
    pub(super) fn home(&self) -> Option<NonNull<Home>> {
        let home = self.header.anchor.home;
        // SAFETY: [outlives].
        (home != NonNull::dangling() && unsafe { !home.as_ref().is_gone() }).then_some(home)
    }

    /// The tasks of the loop, even if it is gone.
    pub(super) fn tasks(&self) -> Option<&Tasks> {
        let home = self.header.anchor.home;
        // SAFETY: [outlives], [prefix] of `tasks`.
        (home != NonNull::dangling()).then(|| unsafe { home.cast().as_ref() })
    }

    pub(super) fn panicked(&self, error: JoinError) {
        self.cut();
        // The first one wins.
        let second = match self.panic.take() {
            None => {
                self.panic.set(Some(error));
                None
            }
            first => {
                self.panic.set(first);
                Some(error)
            }
        };
        if let Some(second) = second {
            drop_error(second);
        }
    }

    /// The scope is to end as soon as it is polled, or goes on being polled.
    pub(crate) fn cut(&self) {
        self.cut.set(true);
        // SAFETY: [scope]: the scope is being polled or dropped, so it cannot go meanwhile.
        unsafe { tell(self.berth.nursery.cast()) };
    }
}

/// Tells whoever polls the scope to do so again, unless it is being polled.
///
/// That may run foreign code, which may drop the scope and with it the nursery.
///
/// # Safety
/// On the scope's thread; the nursery is alive.
#[inline]
pub(super) unsafe fn tell(this: NonNull<Nursery>) {
    // SAFETY: the caller says so.
    if unsafe { !(*this.as_ptr()).polling.get() } {
        // SAFETY: likewise.
        unsafe { tell_parent(this) };
    }
}

/// # Safety
/// As [`tell`].
#[inline(never)]
unsafe fn tell_parent(this: NonNull<Nursery>) {
    // Taken out first: nothing of the nursery is used once anybody was woken.
    // SAFETY: the caller says so.
    if let Some(parent) = unsafe { this.as_ref() }.parent.take() {
        parent.wake();
    }
}

/// Puts a child, or the body, into its nursery's queue unless it is there or has ended.
///
/// # Safety
/// On the scope's thread; [berth]; the header is alive.
#[inline]
pub(super) unsafe fn queue(header: NonNull<Header>) {
    // SAFETY: the caller says so; it is `LIVE`, so by [nursery] its nursery is alive; [queued].
    unsafe {
        let task = header.as_ref();
        if task.sleeps() {
            task.set(QUEUED);
            let this = berth(header).nursery.cast::<Nursery>();
            (*this.as_ptr()).ready.push(header.as_ptr());
            tell(this);
        }
    }
}

/// A wake from elsewhere has arrived.
///
/// # Safety
/// As `AnchorVTable::deliver`.
pub(super) unsafe fn deliver(anchor: NonNull<Anchor>) {
    // SAFETY: the caller says so.
    unsafe { queue(anchor.cast()) };
}

/// `[scoped waker]` invariant: the data is the address of a header with a berth, counted in its
/// anchor, with the provenance of the whole child or nursery.
///
/// # Safety
/// [scoped waker].
pub(super) unsafe fn header_of(data: *const ()) -> NonNull<Header> {
    // SAFETY: the caller says so.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: [scoped waker].
    unsafe { Anchor::clone_waker(header_of(data).cast()) };
    RawWaker::new(data, &WAKER)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: [scoped waker], until it is dropped.
    unsafe {
        wake_by_ref(data);
        drop_waker(data);
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: [scoped waker], or the caller is a wakee, which holds the header.
    unsafe {
        let header = header_of(data);
        if Anchor::at_home(header.cast()) {
            queue(header);
        } else if let Some(mail) = &berth(header).mail {
            // SAFETY: the header is alive, so its waker can be cloned.
            mail.send(header, || Waker::from_raw(clone(data)));
        } else {
            Anchor::send(header.cast(), true, false);
        }
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: [scoped waker]; it is the last use of this one.
    unsafe { Anchor::drop_waker(header_of(data).cast()) };
}
