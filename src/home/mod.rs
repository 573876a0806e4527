//! What a waker must know: its anchor, and the anchor's home.
//!
//! An [`Anchor`] is the head of every piece of memory that std wakers point into: a task, or the
//! block of a gather. A [`Home`] is the head of a loop. *Home* is also the thread of the loop
//! while that loop is entered there: [`at_home`] is one comparison, and what it guards needs no
//! atomics.
//!
//! | field of `Anchor` | home | elsewhere |
//! |---|---|---|
//! | `vtable`, `home`, `slot` | read | read |
//! | `word` | reads, collects | counts, wakes |
//! | `held`, `clones`, `flags` | reads and writes | never |
//!
//! A [`Writer`] may leave a letter at any time, out of the blue: while there is one, nobody can
//! tell that a loop is stuck. The job that its letter carries is run at home, when the loop looks.
//! A job that wakes nobody, such as to print a report, needs no writer: it disproves nothing.
//!
//! `[memory]` invariant: the memory of an anchor stays while at least one of these holds:
//! a flag in [`KEEP`] is set; `held > 0`; `clones` and the count in `word` differ from zero in
//! sum; a letter about it is on its way. [`Anchor::settle`] frees it when the last goes.
//!
//! `[outlives]` invariant: a home outlives its anchors. The loop's own reference covers them
//! while the loop is there; when it goes, [`Home::abandon`] gives every anchor that is left a
//! reference of its own. So the address of a home names it: it cannot be reused while an anchor
//! could still be compared with it.
//!
//! `[letters]` invariant: a thread that writes to a home it does not own first takes a reference,
//! since the moment a letter is posted its anchor and the loop may go.

mod anchor;
mod blocks;
mod budget;
mod spare;
mod who;

pub(crate) use anchor::{AWAKE, Anchor, AnchorVTable, KEEP, LIVE, STARTED};
pub(crate) use blocks::Blocks;
pub(crate) use budget::{Budget, Counts};
pub(crate) use spare::{keep_spare, take_spare};
pub(crate) use who::{Who, looked};

use std::{
    cell::{Cell, UnsafeCell},
    ptr::{self, NonNull},
};

use crate::{
    bell::Bell,
    facade::{AtomicUsize, Ordering, local},
    guard::{catch, discard},
    inbox::Inbox,
    roster::Roster,
    wakee::{Target, set_polled},
    word::too_many,
};

/// More references than this mean a program that forgets them, such as clones of a `Remote`: on
/// 32-bit machines their count could wrap. The other half is room for threads that race past the
/// check.
const MOST: usize = usize::MAX / 2;

/// How many children of one task may be polled before the task goes to the back of the queue,
/// and how many tasks before the loop looks at timers and letters.
pub(crate) const STRIDE: u32 = 64;

#[repr(C)]
pub(crate) struct Home {
    /// The address of this home, with the provenance of the loop's whole allocation.
    this: Cell<*const Home>,
    refs: AtomicUsize,
    dealloc: unsafe fn(NonNull<Home>),
    pub(crate) bell: Bell,
    inbox: Inbox<Letter>,
    /// The vector that the inbox's letters are exchanged with.
    read: Cell<Vec<Letter>>,
    /// Reached through [`Home::with_roster`] alone.
    roster: UnsafeCell<Roster<Anchor>>,
    pub(crate) blocks: Blocks,
    /// Counts the homes of the thread, which no two share.
    number: u64,
    gone: Cell<bool>,
    /// False if no [`Hold`] exists.
    expecting: Cell<bool>,
    serving: Cell<i32>,
    /// When the loop last looked at the clock, in nanoseconds; zero if it has not yet.
    pub(crate) looked: Cell<u64>,
    pub(crate) counts: Counts,
    /// How many operations on sources the current poll has done.
    #[cfg(all(unix, feature = "net", not(loom)))]
    operations: Cell<u32>,
    /// See [`Home::touch`].
    is_touched: Cell<bool>,
}

/// What other threads write to a loop.
pub(crate) enum Letter {
    /// The word of this anchor has changed.
    Anchor(NonNull<Anchor>),
    /// The sleep of this timer was dropped elsewhere.
    Timer(u32),
    /// The sleep of this timer was reset elsewhere: who waits for it must poll it again.
    Reset(u32),
    /// To be run by home.
    Job(Job),
}

/// What another thread asks home to do, while the loop is entered and nothing is borrowed. If the
/// loop goes first, it is dropped instead, on any thread, where no lock is held.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

// SAFETY: a letter is an address for home, which alone follows it, a number, or a job.
unsafe impl Send for Letter {}

local! {
    static HERE: Cell<*const Home> = Cell::new(ptr::null());
}

local! {
    /// The number of the next home.
    static NUMBERS: Cell<u64> = Cell::new(0);
}

/// The number of a home that begins now.
#[inline(always)]
fn next_number() -> u64 {
    NUMBERS.with(|numbers| {
        let number = numbers.get();
        numbers.set(number + 1);
        number
    })
}

/// The loop that is entered on this thread, or null.
///
/// `[here]` invariant: while it is not null it is alive: whoever entered it holds it. Nor is it gone:
/// a loop that goes while it is entered is not the current one from then on.
#[inline]
pub(crate) fn here() -> *const Home {
    HERE.with(Cell::get)
}

/// Makes a loop the current one until it is dropped; the previous one comes back then.
pub(crate) struct Entered {
    previous: *const Home,
    polled: *const Target,
    held: Option<HomeRef>,
}

impl Entered {
    /// # Safety
    /// The home is alive, this is its thread, and the guard is dropped in reverse order of entry.
    pub(crate) unsafe fn new(home: NonNull<Home>) -> Entered {
        let previous = here();
        // Whoever entered the same loop before us holds it already.
        let held = (!ptr::eq(previous, home.as_ptr())).then(|| {
            // SAFETY: the caller says that the home is alive.
            unsafe { HomeRef::new(home) }
        });
        // SAFETY: as above. A loop that is gone is not entered: its destructors find the one that
        // is current already, if any. [polled]: nothing is.
        unsafe {
            if !(*home.as_ptr()).is_gone() {
                HERE.with(|here| here.set(home.as_ptr()));
            }
            Entered { previous, polled: set_polled(ptr::null()), held }
        }
    }
}

/// As [`Entered`], where no loop is the current one, of a loop that is there for longer.
pub(crate) struct EnteredFirst {
    polled: *const Target,
}

impl EnteredFirst {
    /// # Safety
    /// As for [`Entered::new`]. No loop is the current one, and the home outlives the guard.
    #[inline]
    pub(crate) unsafe fn new(home: NonNull<Home>) -> EnteredFirst {
        HERE.with(|here| here.set(home.as_ptr()));
        // SAFETY: [polled]: nothing is.
        EnteredFirst { polled: unsafe { set_polled(ptr::null()) } }
    }
}

impl Drop for EnteredFirst {
    #[inline]
    fn drop(&mut self) {
        HERE.with(|here| here.set(ptr::null()));
        // SAFETY: [polled]: who polls that has called what ends here.
        unsafe { set_polled(self.polled) };
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // The loop of an outer entry may have been dropped meanwhile, by a destructor.
        // SAFETY: [here]: the outer entry still holds it.
        let gone = !self.previous.is_null() && unsafe { (*self.previous).is_gone() };
        HERE.with(|here| here.set(if gone { ptr::null() } else { self.previous }));
        // SAFETY: [polled]: who polls that has called what ends here.
        unsafe { set_polled(self.polled) };
        // Only now, that nobody on this thread calls it current, may the home go.
        drop(self.held.take());
    }
}

/// A counted reference to a home, from any thread.
pub(crate) struct HomeRef(NonNull<Home>);

// SAFETY: the count is atomic, and so is all that a reference gives access to: the inbox and the
// bell.
unsafe impl Send for HomeRef {}
// SAFETY: likewise.
unsafe impl Sync for HomeRef {}

// What a reference gives access to has no state that a panic could leave half-made.
impl std::panic::UnwindSafe for HomeRef {}
impl std::panic::RefUnwindSafe for HomeRef {}

impl HomeRef {
    /// # Safety
    /// The home is alive.
    pub(crate) unsafe fn new(home: NonNull<Home>) -> HomeRef {
        // SAFETY: the caller says so.
        unsafe { Home::retain(home, 1) };
        HomeRef(home)
    }

    /// Leaves a letter. False if the loop is gone.
    pub(crate) fn post(&self, letter: Letter) -> bool {
        let posted = self.inbox().post(letter);
        if posted.is_ok() {
            self.bell().ring();
        }
        posted.map_err(drop_letter).is_ok()
    }

    /// Whether the loop is gone.
    #[cfg(all(unix, any(feature = "net", feature = "signal"), not(loom)))]
    pub(crate) fn is_closed(&self) -> bool {
        self.inbox().is_closed()
    }

    /// Whether this is the home of the loop that is entered on this thread.
    pub(crate) fn is_here(&self) -> bool {
        self.is(here())
    }

    /// Whether this is that home.
    #[inline]
    pub(crate) fn is(&self, home: *const Home) -> bool {
        ptr::eq(home, self.0.as_ptr())
    }

    fn inbox(&self) -> &Inbox<Letter> {
        // SAFETY: this reference keeps the home; the inbox is made for any thread.
        unsafe { &(*self.0.as_ptr()).inbox }
    }

    fn bell(&self) -> &Bell {
        // SAFETY: this reference keeps the home; the bell is made for any thread.
        unsafe { &(*self.0.as_ptr()).bell }
    }
}

#[cfg(all(unix, feature = "signal", not(loom)))]
impl PartialEq for HomeRef {
    fn eq(&self, other: &HomeRef) -> bool {
        // Each keeps its home, so the address names it.
        self.0 == other.0
    }
}

impl Clone for HomeRef {
    fn clone(&self) -> Self {
        // SAFETY: this reference keeps the home.
        unsafe { HomeRef::new(self.0) }
    }
}

/// A letter about an anchor or a timer is an address; a job belongs to somebody, who is not to be
/// hurt by its destructor.
fn drop_letter(letter: Letter) {
    if let Letter::Job(job) = letter {
        let _ = catch(|| drop(job)).map_err(discard);
    }
}

/// Somebody who may write to a loop at any time, from any thread.
pub(crate) struct Writer(HomeRef);

impl Writer {
    /// A reference that is no writer.
    pub(crate) fn home(&self) -> &HomeRef {
        &self.0
    }
}

impl Clone for Writer {
    fn clone(&self) -> Self {
        self.0.inbox().join();
        Writer(self.0.clone())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.0.inbox().leave() {
            // The loop may sleep only because there was a writer.
            self.0.bell().nudge();
        }
    }
}

impl Drop for HomeRef {
    fn drop(&mut self) {
        // SAFETY: this reference was counted.
        unsafe { Home::release(self.0) };
    }
}

/// An answer that a loop awaits from elsewhere. Its virtual clock does not jump meanwhile.
pub(crate) struct Hold(HomeRef);

impl Hold {
    /// Whether it holds the clock of the loop that is entered on this thread.
    pub(crate) fn is_here(&self) -> bool {
        self.0.is_here()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.inbox().settle() {
            self.0.bell().nudge();
        }
    }
}

impl Home {
    pub(crate) fn new(dealloc: unsafe fn(NonNull<Home>)) -> Home {
        Home {
            this: Cell::new(ptr::null()),
            refs: AtomicUsize::new(1),
            dealloc,
            bell: Bell::new(),
            inbox: Inbox::new(),
            read: Cell::new(Vec::new()),
            roster: UnsafeCell::new(Roster::new()),
            blocks: Blocks::new(),
            number: next_number(),
            gone: Cell::new(false),
            expecting: Cell::new(false),
            serving: Cell::new(0),
            looked: Cell::new(0),
            counts: Counts::default(),
            #[cfg(all(unix, feature = "net", not(loom)))]
            operations: Cell::new(0),
            is_touched: Cell::new(false),
        }
    }

    /// # Safety
    /// Once, after the home was moved to where it stays; `this` covers the loop's allocation.
    pub(crate) unsafe fn settle_in(this: NonNull<Home>) {
        // SAFETY: the caller says so.
        unsafe { (*this.as_ptr()).this.set(this.as_ptr()) };
    }

    /// The pointer that anchors, and the loop itself, refer to this home by.
    #[inline]
    pub(crate) fn this(&self) -> NonNull<Home> {
        debug_assert!(!self.this.get().is_null());
        // SAFETY: `settle_in` came first.
        unsafe { NonNull::new_unchecked(self.this.get().cast_mut()) }
    }

    /// # Safety
    /// The home is alive. Each reference is released once.
    pub(crate) unsafe fn retain(home: NonNull<Home>, count: usize) {
        // SAFETY: the caller says so. Ordering: Relaxed, a count that only grows here.
        let before = unsafe { (*home.as_ptr()).refs.fetch_add(count, Ordering::Relaxed) };
        if before > MOST {
            too_many("a loop has more references");
        }
    }

    /// # Safety
    /// The caller owns a reference and does not use the home any more.
    pub(crate) unsafe fn release(home: NonNull<Home>) {
        // SAFETY: the caller's reference keeps it until here. Ordering: Release hands over what
        // this thread did with it, Acquire is for the last one, who frees it.
        if unsafe { (*home.as_ptr()).refs.fetch_sub(1, Ordering::AcqRel) } == 1 {
            // SAFETY: that was the last reference.
            unsafe { ((*home.as_ptr()).dealloc)(home) };
        }
    }

    /// Stops a virtual clock, for an answer that is awaited here.
    pub(crate) fn hold(&self) -> Hold {
        self.touch();
        self.expecting.set(true);
        self.inbox.expect();
        // SAFETY: a home is alive while anybody refers to it.
        Hold(unsafe { HomeRef::new(self.this()) })
    }

    /// Counts the calls from elsewhere that run here.
    pub(crate) fn serve(&self, more: i32) {
        self.touch();
        self.serving.set(self.serving.get() + more);
    }

    /// Whether a virtual clock must stand still: for a [`Hold`], unless this loop serves calls
    /// itself. So whoever serves a loop that is held is not held, and nobody waits in a circle.
    pub(crate) fn is_held(&self) -> bool {
        if !self.expecting.get() {
            return false;
        }
        self.expecting.set(self.inbox.is_expecting());
        self.expecting.get() && self.serving.get() == 0
    }

    /// A reference, for another thread, that does not count as a writer.
    #[cfg(all(unix, any(feature = "net", feature = "signal"), not(loom)))]
    pub(crate) fn reference(&self) -> HomeRef {
        self.touch();
        // SAFETY: a home is alive while anybody refers to it.
        unsafe { HomeRef::new(self.this()) }
    }

    /// Makes somebody who may write to this loop.
    pub(crate) fn writer(&self) -> Writer {
        self.touch();
        self.inbox.join();
        // SAFETY: a home is alive while anybody refers to it.
        Writer(unsafe { HomeRef::new(self.this()) })
    }

    /// Whether no letter waits, and none can come out of the blue: no writer is left.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inbox.is_quiet()
    }

    /// Whether a [`Writer`] exists.
    pub(crate) fn has_writers(&self) -> bool {
        self.inbox.has_writers()
    }

    /// Reads the letters, and runs the jobs among them; `timer` hears of sleeps that were dropped
    /// elsewhere, or reset (then true). The loop is entered and nothing is borrowed.
    pub(crate) fn read_letters(&self, mut timer: impl FnMut(u32, bool)) {
        let mut letters = self.read.take();
        self.inbox.swap(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                // SAFETY: [memory]: the letter keeps the anchor, and this is home.
                Letter::Anchor(anchor) => unsafe { Anchor::receive(anchor) },
                Letter::Timer(slot) => timer(slot, false),
                Letter::Reset(slot) => timer(slot, true),
                Letter::Job(job) => {
                    let _ = catch(job).map_err(discard);
                }
            }
        }
        self.read.set(letters);
    }

    /// Whether the loop is gone, as far as another thread can tell.
    ///
    /// # Safety
    /// The home is alive.
    pub(crate) unsafe fn is_closed(home: NonNull<Home>) -> bool {
        // SAFETY: the caller says so; the box is made for any thread.
        unsafe { (*home.as_ptr()).inbox.is_closed() }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Home's thread only, as all of a home that is not made for several.
    #[inline]
    fn with_roster<R>(&self, f: impl FnOnce(&mut Roster<Anchor>) -> R) -> R {
        // SAFETY: the callers are in this room, and what they do is to call one method of the
        // roster; those call nothing that could come back here.
        f(unsafe { &mut *self.roster.get() })
    }

    /// Enters an anchor in the roster and returns its slot there.
    ///
    /// # Safety
    /// Home's thread only. `anchor` covers its whole allocation, and the caller makes it an anchor
    /// of this home with this slot before anything else happens.
    #[inline]
    pub(crate) unsafe fn enroll(&self, anchor: NonNull<Anchor>) -> u32 {
        self.with_roster(|roster| roster.insert(anchor))
    }

    /// Whether it has no anchors.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.with_roster(|roster| roster.is_empty())
    }

    pub(crate) fn span(&self) -> u32 {
        self.with_roster(|roster| roster.span())
    }

    /// The anchor with this number, if it is in use.
    pub(crate) fn anchor(&self, index: u32) -> Option<NonNull<Anchor>> {
        self.with_roster(|roster| roster.get(index))
    }

    /// The loop is gone: from here on the anchors that are left belong to whoever refers to them.
    ///
    /// `pins` further references are taken for timers that are still armed; a letter that gives one
    /// up, still in the box, gives its reference back.
    ///
    /// # Safety
    /// Home's thread only, once, by the owner of the loop's own reference, who releases it next.
    /// Destructors further out that run because of this loop may still use its cells: they have
    /// entered it, and so hold it.
    pub(crate) unsafe fn abandon(home: NonNull<Home>, pins: usize) {
        // SAFETY: the loop's own reference keeps the home until after this function.
        let this = unsafe { home.as_ref() };
        this.gone.set(true);
        if ptr::eq(here(), home.as_ptr()) {
            // A destructor of this very loop drops it: the rest of that destructor is away.
            HERE.with(|here| here.set(ptr::null()));
        }
        // SAFETY: it is alive, and each anchor and pin releases its reference once.
        unsafe { Home::retain(home, pins) };
        for index in 0..this.span() {
            if let Some(anchor) = this.anchor(index) {
                // SAFETY: anchors in the roster are alive, and this is home.
                unsafe { Anchor::abandon(anchor) };
            }
        }
        for letter in this.inbox.close() {
            match letter {
                // SAFETY: [memory]: the letter keeps the anchor.
                Letter::Anchor(anchor) => unsafe { Anchor::returned(anchor) },
                // SAFETY: one of the pins was for this timer.
                Letter::Timer(_) | Letter::Reset(_) => unsafe { Home::release(home) },
                job @ Letter::Job(_) => drop_letter(job),
            }
        }
    }
}
