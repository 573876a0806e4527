//! What every task has, whatever its future.

use std::{
    cell::Cell,
    fmt,
    num::NonZeroU64,
    panic::Location,
    ptr::{self, NonNull},
    task::Waker,
};

use super::{
    state::{LIVE, QUEUED, STARTED},
    waits::{Waits, Word},
};
use crate::{
    call_site::CallSite,
    guard::Payload,
    home::{Anchor, AnchorVTable, Home, Who},
    ready::Linked,
    wakee::{Target, Wakee},
};

/// Names a task within its loop: 1, 2, 3, ... in the order of spawning.
///
/// ```
/// let l = boucle::Loop::new();
/// assert_eq!(l.spawn(async {}).id().to_string(), "#1");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub(crate) NonZeroU64);

impl Id {
    /// To sort by.
    pub(crate) fn number(self) -> u64 {
        self.0.get()
    }
}

impl From<Who> for Id {
    fn from(who: Who) -> Id {
        Id(who.id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}

#[repr(C)]
pub(crate) struct Header {
    /// First, so that the address of the task is the address of its anchor and of its target.
    pub(crate) anchor: Anchor,
    /// The next in the ready queue, whose it is while `QUEUED`. Else no pointer at all: when the
    /// task was last polled, in nanoseconds, by the loop's last look at the clock.
    link: Cell<*mut Header>,
    pub(crate) id: Id,
    pub(crate) place: &'static Location<'static>,
    pub(crate) parent: Option<Id>,
    /// Who awaits the handle: a [`Wakee`], or null.
    joiner: Cell<*mut Target>,
    /// What the task waits for, as [`super::waits`] packs it.
    pub(crate) waits: Cell<Word>,
    /// Where it last began to wait for the end of another.
    pub(super) joins_at: Cell<CallSite>,
}

const _: () = assert!(size_of::<Header>() <= 88 + size_of::<CallSite>() || size_of::<usize>() != 8);

/// The functions take the whole task, whatever the type of its future.
#[repr(C)]
pub(crate) struct TaskVTable {
    pub(crate) anchor: AnchorVTable,
    /// Polls the future; true if the task has ended.
    pub(crate) poll: unsafe fn(NonNull<Header>) -> bool,
    /// As `poll`, but the future gets this waker, and nobody can wake the task itself.
    pub(crate) poll_with: unsafe fn(NonNull<Header>, &Waker) -> bool,
    /// Something that has to do with the task has panicked, but is not its result.
    pub(crate) stray: unsafe fn(NonNull<Header>, Payload),
    pub(crate) drop_future: unsafe fn(NonNull<Header>),
    pub(crate) drop_output: unsafe fn(NonNull<Header>),
    /// Where the content of the cell begins, in bytes.
    pub(crate) content: usize,
    pub(crate) name: fn() -> &'static str,
}

// SAFETY: the link of a header is its own, and only the ready queue writes it.
unsafe impl Linked for Header {
    #[inline]
    unsafe fn link<'a>(node: *mut Header) -> &'a Cell<*mut Header> {
        // SAFETY: the caller says that the node is alive.
        unsafe { &(*node).link }
    }
}

impl Header {
    pub(crate) fn new(
        anchor: Anchor,
        id: Id,
        place: &'static Location<'static>,
        parent: Option<Id>,
    ) -> Header {
        Header {
            anchor,
            link: Cell::new(ptr::null_mut()),
            id,
            place,
            parent,
            joiner: Cell::new(ptr::null_mut()),
            waits: Cell::new(ptr::null()),
            joins_at: Cell::new(CallSite::of(place)),
        }
    }

    /// Begins a poll: nothing is waited for yet. Not while the task is queued.
    #[inline]
    pub(super) fn stamp(&self, looked: u64) {
        self.waits.set(ptr::null());
        self.link.set(ptr::without_provenance_mut(looked as usize));
    }

    /// When the task was last polled, as [`Header::stamp`] was told; `None` while it is queued.
    pub(super) fn stamped(&self) -> Option<u64> {
        (!self.is(QUEUED) && self.is(STARTED)).then(|| self.link.get().addr() as u64)
    }

    /// Notes what is waited for.
    #[inline]
    pub(super) fn note(&self, waits: Waits) {
        self.waits.set(waits.pack());
    }

    /// Its name for those who do not keep it; `home` is its loop.
    #[inline]
    pub(crate) fn who(&self, home: &Home) -> Who {
        Who::new(home, &self.anchor, self.id.0)
    }

    #[inline]
    pub(crate) fn flags(&self) -> u32 {
        self.anchor.flags.get()
    }

    #[inline]
    pub(crate) fn is(&self, flags: u32) -> bool {
        self.flags() & flags != 0
    }

    #[inline]
    pub(crate) fn set(&self, flags: u32) {
        self.anchor.flags.set(self.flags() | flags);
    }

    #[inline]
    pub(crate) fn clear(&self, flags: u32) {
        self.anchor.flags.set(self.flags() & !flags);
    }

    /// Whether a wake has anything to do.
    #[inline]
    pub(crate) fn sleeps(&self) -> bool {
        self.flags() & (LIVE | QUEUED) == LIVE
    }

    #[inline]
    pub(crate) fn vtable(&self) -> &'static TaskVTable {
        // SAFETY: the anchor of a header points at the first field of a static `TaskVTable`, and
        // the pointer covers all of it (`cell::VTable`).
        unsafe { &*self.anchor.vtable.cast::<TaskVTable>() }
    }

    #[inline]
    pub(crate) fn take_joiner(&self) -> Option<Wakee> {
        // SAFETY: what is there was put there by `set_joiner`, once.
        unsafe { Wakee::from_raw(self.joiner.replace(ptr::null_mut())) }
    }

    #[inline]
    pub(crate) fn has_joiner(&self) -> bool {
        !self.joiner.get().is_null()
    }

    /// The task that goes on when this one has ended, if somebody awaits it and that is known.
    pub(super) fn awaited_by(&self) -> Option<NonNull<Target>> {
        let joiner = self.take_joiner();
        let behind = joiner.as_ref().and_then(Wakee::behind);
        self.set_joiner(joiner);
        behind
    }

    /// The caller has taken the previous one.
    #[inline]
    pub(crate) fn set_joiner(&self, joiner: Option<Wakee>) {
        debug_assert!(self.joiner.get().is_null());
        self.joiner.set(joiner.map_or(ptr::null_mut(), Wakee::into_raw));
    }
}
