//! The block of a nest whose children's wakers are kept: an anchor, which counts them all, and a
//! slot per child.
//!
//! `[block]` invariant: slots lie behind their block in one allocation, numbered from zero, and
//! the block stays as long as one of them is referred to.

use std::{
    alloc::{Layout, handle_alloc_error},
    cell::Cell,
    mem::ManuallyDrop,
    ptr::{self, NonNull},
    task::{Context, RawWaker, RawWakerVTable, Waker},
};

use crate::{
    facade::{AtomicU32, Mutex, Ordering, lock},
    guard::{catch, discard},
    home::{Anchor, AnchorVTable, Blocks, Home, LIVE},
    wakee::{Target, TargetVTable, Wakee, behind, renew},
};

#[repr(C)]
pub(super) struct Block {
    pub(super) anchor: Anchor,
    /// In a loop: who polls the nest; taken by the wake that tells it.
    parent: Cell<Option<Wakee>>,
    /// Under another executor, likewise.
    foreign: Mutex<Option<Waker>>,
    /// The list of woken children: first and last, or `END`.
    first: Cell<u32>,
    pub(super) last: Cell<u32>,
    /// The parent is at it, so it need not be told.
    pub(super) polling: Cell<bool>,
    /// The stack of children woken elsewhere: the top, or `END`.
    mail: AtomicU32,
    len: u32,
}

#[repr(C)]
pub(super) struct Slot {
    /// First, so that the address of the slot is that of its target.
    target: Target,
    index: u32,
    /// The next woken child, or one of the marks below.
    next: Cell<u32>,
    /// One while the slot is on the stack.
    posted: AtomicU32,
    /// The slot below on the stack, or `END`.
    below: AtomicU32,
}

/// In the list, but done: not to be polled.
const SKIP: u32 = 1 << 31;
/// The end of a list.
pub(super) const END: u32 = SKIP - 1;
/// Not in the list.
const IDLE: u32 = SKIP - 2;
/// Not in the list, and never again.
pub(super) const DONE: u32 = SKIP - 3;

static SLOT_WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

static SLOT: TargetVTable = TargetVTable {
    waker: &SLOT_WAKER,
    // SAFETY: `TargetVTable` says who calls them and with what, here and below; [block].
    hold: |target| unsafe {
        Anchor::hold(block_of(target.cast()).cast());
        target
    },
    // SAFETY: likewise.
    release: |target| unsafe { Anchor::release(block_of(target.cast()).cast()) },
    // SAFETY: likewise.
    wake: |target| unsafe {
        wake_by_ref(target.as_ptr().cast_const().cast());
        Anchor::release(block_of(target.cast()).cast());
    },
    // SAFETY: likewise; [block].
    behind: |target| behind(unsafe { &(*block_of(target.cast()).as_ptr()).parent }),
};

/// A block is no target itself: only its slots are.
static BLOCK: AnchorVTable = AnchorVTable {
    target: TargetVTable {
        waker: &SLOT_WAKER,
        hold: |_| unreachable!("blocks are not woken"),
        release: |_| unreachable!("blocks are not woken"),
        wake: |_| unreachable!("blocks are not woken"),
        // Asked of a block, not of a slot: who polls the nest.
        // SAFETY: `TargetVTable` says who calls it and with what.
        behind: |target| behind(unsafe { &(*target.cast::<Block>().as_ptr()).parent }),
    },
    deliver,
    forsaken: |_| unreachable!("a nest is not polled by itself"),
    dealloc: free,
};

impl Block {
    fn layout(len: u32) -> Layout {
        let slots = (len as usize).checked_mul(size_of::<Slot>());
        let size = slots.and_then(|slots| slots.checked_add(size_of::<Block>()));
        let layout = size.map(|size| Layout::from_size_align(size, align_of::<Block>()));
        match layout {
            Some(Ok(layout)) => layout,
            _ => panic!("boucle: too many futures in one call for this machine"),
        }
    }

    /// A block in the loop that is entered here; for null, or if that loop has gone since then, an
    /// orphan. `waker` is that of who polls the nest and is at it. Whoever makes a block lets go of it
    /// by [`Block::leave`].
    ///
    /// # Safety
    /// [here]: `here` is null, or a loop that was entered on this thread when the poll began that goes
    /// on, so that it is kept, though it may be gone.
    pub(super) unsafe fn create(here: *const Home, len: u32, waker: &Waker) -> NonNull<Block> {
        let home = NonNull::new(here.cast_mut());
        let parent = home.map(|_| Wakee::of(&Context::from_waker(waker)));
        // Foreign code, be it that clone, may have dropped the loop: no anchor may begin in it then.
        // From here on nothing foreign runs, unless the block is an orphan.
        // SAFETY: the caller says so.
        let home = home.filter(|home| !unsafe { home.as_ref() }.is_gone());
        let (parent, foreign) = match home {
            Some(_) => (parent, None),
            None => (None, Some(waker.clone())),
        };
        let vtable = &raw const BLOCK;
        let layout = Block::layout(len);
        // SAFETY: a block is never of size zero; everything is written before it is read; this is
        // the home's thread, since it is entered here.
        unsafe {
            let memory = match home {
                Some(home) => home.as_ref().blocks.take(layout),
                None => Blocks::new().take(layout),
            };
            let Some(block) = NonNull::new(memory.cast::<Block>()) else {
                handle_alloc_error(layout)
            };
            let anchor = match home {
                Some(home) => Anchor::new(vtable, home, home.as_ref().enroll(block.cast()), LIVE),
                None => Anchor::orphan(vtable, LIVE),
            };
            block.write(Block {
                anchor,
                parent: Cell::new(parent),
                foreign: Mutex::new(foreign),
                first: Cell::new(END),
                last: Cell::new(END),
                polling: Cell::new(true),
                mail: AtomicU32::new(END),
                len,
            });
            for index in 0..len {
                slot(block, index).write(Slot {
                    target: Target { vtable: &raw const SLOT },
                    index,
                    next: Cell::new(IDLE),
                    posted: AtomicU32::new(0),
                    below: AtomicU32::new(END),
                });
            }
            block
        }
    }

    /// Lets go of a block; wakers that are left wake nobody.
    ///
    /// # Safety
    /// Its maker does so once, on the thread that polls, and does not use it any more.
    pub(super) unsafe fn leave(block: NonNull<Block>) {
        // SAFETY: the maker kept it until now, and lets go last.
        unsafe {
            let this = block.as_ref();
            let parent = this.parent.take();
            // Nobody sets it in a loop.
            let foreign = if this.home().is_none() { lock(&this.foreign).take() } else { None };
            let flags = &this.anchor.flags;
            flags.set(flags.get() & !LIVE);
            Anchor::settle(block.cast());
            drop(parent);
            let _ = catch(|| drop(foreign)).map_err(discard);
        }
    }

    /// The loop of the block, if it has one.
    pub(super) fn home(&self) -> Option<&Home> {
        let home = self.anchor.home;
        if home == NonNull::dangling() {
            return None;
        }
        // SAFETY: [outlives].
        Some(unsafe { home.as_ref() })
    }

    /// Whether that, or null, is the loop of the block.
    pub(super) fn is_of(&self, here: *const Home) -> bool {
        self.anchor.home == NonNull::new(here.cast_mut()).unwrap_or(NonNull::dangling())
    }

    /// Remembers who polls.
    pub(super) fn meet(&self, cx: &Context<'_>) {
        if self.home().is_some() {
            let mut parent = self.parent.take();
            let old = renew(&mut parent, cx);
            self.parent.set(parent);
            drop(old);
        } else {
            let new = cx.waker().clone();
            let old = lock(&self.foreign).replace(new);
            drop(old);
        }
    }
}

/// # Safety
/// [block]; the index is that of a slot. The pointer must cover the whole allocation to be used
/// for more than the slot's cells.
pub(super) unsafe fn slot(block: NonNull<Block>, index: u32) -> NonNull<Slot> {
    const { assert!(align_of::<Slot>() <= align_of::<Block>()) };
    const { assert!(size_of::<Block>() % align_of::<Slot>() == 0) };
    // SAFETY: the caller says so.
    unsafe { block.add(1).cast::<Slot>().add(index as usize) }
}

/// # Safety
/// [block]; the pointer covers the whole allocation.
unsafe fn block_of(slot: NonNull<Slot>) -> NonNull<Block> {
    // SAFETY: the caller says so.
    unsafe { slot.sub((*slot.as_ptr()).index as usize).cast::<Block>().sub(1) }
}

/// The waker of a slot, not counted: to be lent, and not to be dropped. Clones count themselves.
///
/// # Safety
/// [block], for as long as it is lent.
#[inline(always)]
pub(super) unsafe fn lend(slot: NonNull<Slot>) -> ManuallyDrop<Waker> {
    let raw = RawWaker::new(slot.as_ptr().cast_const().cast(), &SLOT_WAKER);
    // SAFETY: the caller says so.
    ManuallyDrop::new(unsafe { Waker::from_raw(raw) })
}

/// Marks a child as done; if it has woken itself meanwhile, it stays in the list, to be passed over
/// there.
///
/// # Safety
/// The caller keeps the block and is the one who polls it.
pub(super) unsafe fn retire(slot: NonNull<Slot>) {
    // SAFETY: the caller says so.
    let next = unsafe { &(*slot.as_ptr()).next };
    next.set(if next.get() == IDLE { DONE } else { next.get() | SKIP });
}

/// Whether no child is in the list.
///
/// # Safety
/// [block], on the thread that polls.
pub(super) unsafe fn is_empty(block: NonNull<Block>) -> bool {
    // SAFETY: the caller says so.
    unsafe { block.as_ref() }.first.get() == END
}

/// Takes the first child out of the list; true if it is to be polled.
///
/// # Safety
/// [block], on the thread that polls; the list is not empty.
pub(super) unsafe fn pop(block: NonNull<Block>) -> (u32, bool) {
    // SAFETY: the caller says so; indices in the list are those of slots.
    unsafe {
        let this = block.as_ref();
        let index = this.first.get();
        let link = &slot(block, index).as_ref().next;
        let next = link.get() & !SKIP;
        this.first.set(next);
        if next == END {
            this.last.set(END);
        }
        let wanted = link.get() & SKIP == 0;
        link.set(if wanted { IDLE } else { DONE });
        (index, wanted)
    }
}

/// Whether a child waits to be polled; those that are done leave the front of the list.
///
/// # Safety
/// [block], on the thread that polls.
pub(super) unsafe fn has_woken(block: NonNull<Block>) -> bool {
    // SAFETY: the caller says so.
    unsafe {
        loop {
            let first = block.as_ref().first.get();
            if first == END {
                return false;
            }
            if slot(block, first).as_ref().next.get() & SKIP == 0 {
                return true;
            }
            pop(block);
        }
    }
}

/// Puts a woken child at the end of the list. True if the parent must be told.
///
/// # Safety
/// [block], on the thread that polls.
pub(super) unsafe fn append(block: NonNull<Block>, slot: NonNull<Slot>) -> bool {
    // SAFETY: the caller says so.
    unsafe {
        let (this, child) = (block.as_ref(), slot.as_ref());
        if child.next.get() != IDLE {
            return false;
        }
        child.next.set(END);
        let last = this.last.replace(child.index);
        if last == END {
            this.first.set(child.index);
        } else {
            let before = &self::slot(block, last).as_ref().next;
            before.set(child.index | before.get() & SKIP);
        }
        !this.polling.get()
    }
}

/// Moves the children that were woken elsewhere to the list, in the order of their wakes.
///
/// # Safety
/// As [`append`].
pub(super) unsafe fn take_mail(block: NonNull<Block>) {
    // SAFETY: the caller says so. Slots on the stack are ours from the moment the top is taken
    // until `posted` is cleared, after which anybody may push them again.
    unsafe {
        let this = block.as_ref();
        // Ordering: Relaxed; whoever pushes after this look tells the parent afterwards.
        if this.mail.load(Ordering::Relaxed) == END {
            return;
        }
        // Ordering: Acquire sees the `below`s that the pushes released.
        let mut top = this.mail.swap(END, Ordering::AcqRel);
        let mut reversed = END;
        while top != END {
            let child = slot(block, top).as_ref();
            let below = child.below.load(Ordering::Relaxed);
            child.below.store(reversed, Ordering::Relaxed);
            (reversed, top) = (top, below);
        }
        while reversed != END {
            let child = slot(block, reversed);
            reversed = child.as_ref().below.load(Ordering::Relaxed);
            // Ordering: Acquire sees what every waker wrote, also those that found it posted.
            child.as_ref().posted.swap(0, Ordering::AcqRel);
            append(block, child);
        }
    }
}

/// A letter about the block: children were woken elsewhere.
///
/// # Safety
/// As `AnchorVTable::deliver`.
unsafe fn deliver(anchor: NonNull<Anchor>) {
    // SAFETY: the caller says so.
    unsafe {
        take_mail(anchor.cast());
        let parent = anchor.cast::<Block>().as_ref().parent.take();
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

/// # Safety
/// As `AnchorVTable::dealloc`.
unsafe fn free(anchor: NonNull<Anchor>, home: Option<&Home>) {
    let block = anchor.cast::<Block>();
    // SAFETY: nobody refers to the block or its slots any more. `parent` and `foreign` were taken
    // when the nest let go, so no user code runs.
    unsafe {
        let len = block.as_ref().len;
        for index in 0..len {
            ptr::drop_in_place(slot(block, index).as_ptr());
        }
        ptr::drop_in_place(block.as_ptr());
        let (memory, layout) = (block.as_ptr().cast(), Block::layout(len));
        match home {
            Some(home) => home.blocks.give(memory, layout),
            None => Blocks::lose(memory, layout),
        }
    }
}

/// `[slot waker]` invariant: the data is the address of a slot, counted in its block's anchor,
/// with the provenance of the whole block.
fn of(data: *const ()) -> (NonNull<Slot>, NonNull<Block>) {
    // SAFETY: [slot waker], [block].
    unsafe {
        let slot = NonNull::new_unchecked(data.cast_mut().cast());
        (slot, block_of(slot))
    }
}

/// A waker of a slot, counted: it is to be made a `Waker`.
///
/// # Safety
/// [block], on any thread; the pointer covers the whole allocation.
pub(super) unsafe fn counted(slot: NonNull<Slot>) -> RawWaker {
    // SAFETY: the caller says so.
    unsafe { Anchor::clone_waker(block_of(slot).cast()) };
    RawWaker::new(slot.as_ptr().cast_const().cast(), &SLOT_WAKER)
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: [slot waker].
    unsafe { counted(of(data).0) }
}

unsafe fn wake(data: *const ()) {
    // SAFETY: [slot waker], until it is dropped.
    unsafe {
        wake_by_ref(data);
        drop_waker(data);
    }
}

unsafe fn wake_by_ref(data: *const ()) {
    let (slot, block) = of(data);
    // SAFETY: [slot waker], or the caller is a wakee, which holds the block.
    unsafe {
        if Anchor::at_home(block.cast()) {
            if append(block, slot) {
                if let Some(parent) = block.as_ref().parent.take() {
                    parent.wake();
                }
            }
        } else {
            wake_elsewhere(slot, block);
        }
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: [slot waker]; it is the last use of this one.
    unsafe { Anchor::drop_waker(of(data).1.cast()) };
}

/// # Safety
/// [slot waker]; not at home.
#[cold]
unsafe fn wake_elsewhere(slot: NonNull<Slot>, block: NonNull<Block>) {
    // SAFETY: the caller's reference keeps the block; only atomics, the lock and what never
    // changes are used.
    unsafe {
        let child = slot.as_ptr();
        let mail = &(*block.as_ptr()).mail;
        // Ordering: Release even if it is posted: `take_mail` acquires what we wrote. Acquire
        // orders our `below` after the read by the `take_mail` that cleared the mark.
        if (*child).posted.swap(1, Ordering::AcqRel) == 0 {
            let mut top = mail.load(Ordering::Relaxed);
            loop {
                (*child).below.store(top, Ordering::Relaxed);
                // Ordering: Release publishes `below`.
                match mail.compare_exchange_weak(
                    top,
                    (*child).index,
                    Ordering::Release,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => break,
                    Err(now) => top = now,
                }
            }
        }
        let foreign = lock(&(*block.as_ptr()).foreign).take();
        if let Some(waker) = foreign {
            // It may panic, which is no reason to lose the rest.
            let _ = catch(|| waker.wake()).map_err(discard);
        }
        Anchor::send(block.cast(), true, false);
    }
}
