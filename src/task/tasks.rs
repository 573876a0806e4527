//! The tasks of one loop: who is ready, how many live, what they are called, which panics nobody
//! has seen.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::VecDeque,
    num::NonZeroU64,
    ptr::{self, NonNull},
    rc::Rc,
};

use super::{
    berth,
    error::JoinError,
    header::{Header, Id},
    state::{NAMED, REASON, SCOPED, SUSPECT, WANTED},
    waits::Waits,
};
use crate::{
    call_site::CallSite,
    guard::{catch, discard},
    home::{Home, Who, here},
    map::Map,
    ready::Ready,
};

/// A callback for panics that nobody observes.
pub(crate) type OnUnobserved = Rc<dyn Fn(JoinError)>;

/// `[prefix]` invariant: every home is the first field of a `Tasks`, and pointers to homes cover
/// all of it, so that the one can be cast to the other.
#[repr(C)]
pub(crate) struct Tasks {
    pub(crate) home: Home,
    pub(crate) ready: Ready<Header>,
    /// How many tasks have not ended.
    pub(super) live: Cell<usize>,
    /// The task on the stack, or null. `[running]` invariant: it is `BUSY`, or it has just been and
    /// no user code has run since: whoever runs any first sets this anew, or steps back.
    pub(super) running: Cell<*mut Header>,
    ids: Cell<u64>,
    closing: Cell<bool>,
    /// Cells whose content is to be dropped, each held once, and whether somebody is at it.
    pub(super) doomed: RefCell<VecDeque<NonNull<Header>>>,
    pub(super) dooming: Cell<bool>,
    names: RefCell<Map<Id, Cow<'static, str>>>,
    /// Why tasks are to be cancelled, until they are.
    reasons: RefCell<Map<Id, Cow<'static, str>>>,
    unobserved: RefCell<Option<Unobserved>>,
    on_unobserved: RefCell<Option<OnUnobserved>>,
    /// Tasks that may be in a circle, or may never be woken any more: to be looked at.
    pub(super) suspects: RefCell<Vec<Who>>,
    /// The number of an anchor that had wakers when `is_stuck` last looked.
    pub(super) witness: Cell<u32>,
}

/// Panics that nobody has observed: the first, and how many more there were.
pub(crate) struct Unobserved {
    first: JoinError,
    more: usize,
}

/// Writes a line to stderr; a stderr that cannot be written to is no reason to panic in a `Drop`.
macro_rules! say {
    ($($line:tt)*) => {{
        let _ = catch(|| eprintln!($($line)*)).map_err(discard);
    }};
}

/// Runs `f` with the loop that is entered on this thread, if there is one.
#[inline]
pub(crate) fn with_here<R>(f: impl FnOnce(&Tasks) -> R) -> Option<R> {
    let home = here();
    // SAFETY: [here], [prefix].
    (!home.is_null()).then(|| f(unsafe { &*home.cast::<Tasks>() }))
}

/// Runs `f` with the task on the stack, if there is one.
#[inline]
fn with_running(f: impl FnOnce(&Header)) {
    with_here(|tasks| {
        if let Some(task) = tasks.running() {
            f(task);
        }
    });
}

/// Notes what the task on the stack is about to wait for, if there is one.
#[inline]
pub(crate) fn note(waits: Waits) {
    with_running(|task| task.note(waits));
}

/// As [`note`], for whoever stands in this place of a queue for what certain tasks took, which may
/// wait for each other in a circle.
pub(crate) fn note_claim(place: u32) {
    with_running(|task| {
        task.note(Waits::Place(place));
        Tasks::of(task).suspect(task);
    });
}

/// As [`note`], for whoever awaits the end of `awaited`.
#[track_caller]
pub(super) fn note_join(awaited: &Header) {
    let site = CallSite::caller();
    with_running(|task| joins(task, awaited, site));
}

/// Notes that `task`, which is polled, waits for the end of `awaited`.
#[inline]
pub(super) fn joins(task: &Header, awaited: &Header, site: CallSite) {
    task.joins_at.set(site);
    task.note(Waits::Join(awaited.anchor.slot()));
    if task.has_joiner() || task.is(WANTED) {
        Tasks::of(task).suspect(task);
    }
}

/// Who the task on the stack is, if there is one.
#[inline]
pub(crate) fn who() -> Option<Who> {
    with_here(|tasks| tasks.running().map(|task| task.who(&tasks.home))).flatten()
}

/// As [`note`], for a future whose children have noted their own waits.
#[inline]
pub(crate) fn note_instead(waits: Waits) {
    with_running(|task| task.waits.set(waits.pack()));
}

impl Tasks {
    pub(crate) fn new(home: Home, on_unobserved: Option<OnUnobserved>) -> Tasks {
        Tasks {
            home,
            ready: Ready::new(),
            live: Cell::new(0),
            running: Cell::new(ptr::null_mut()),
            ids: Cell::new(1),
            closing: Cell::new(false),
            doomed: RefCell::new(VecDeque::new()),
            dooming: Cell::new(false),
            names: RefCell::new(Map::default()),
            reasons: RefCell::new(Map::default()),
            unobserved: RefCell::new(None),
            on_unobserved: RefCell::new(on_unobserved),
            suspects: RefCell::new(Vec::new()),
            witness: Cell::new(0),
        }
    }

    /// As [`Home::renew`].
    #[inline(always)]
    pub(crate) fn renew(&mut self) -> bool {
        if !self.home.renew() {
            return false;
        }
        self.ids.set(1);
        self.closing.set(false);
        true
    }

    /// As [`Home::is_new`].
    pub(crate) fn is_new(&mut self) -> bool {
        // All fields are named, so that none is forgotten.
        let Tasks {
            home,
            ready,
            live,
            running,
            ids,
            closing,
            doomed,
            dooming,
            names,
            reasons,
            unobserved,
            on_unobserved,
            suspects,
            witness,
        } = self;
        let is_driven = !ready.is_empty() || !running.get().is_null();
        let is_closed = closing.get() || dooming.get();
        let has_names = names.get_mut().capacity() + reasons.get_mut().capacity() != 0;
        let has_lists = suspects.get_mut().capacity() + doomed.get_mut().capacity() != 0;
        let has_panics = unobserved.get_mut().is_some() || on_unobserved.get_mut().is_some();
        !(is_driven || is_closed || has_names || has_lists || has_panics)
            && (live.get(), ids.get(), witness.get()) == (0, 1, 0)
            && home.is_new()
    }

    /// The tasks of the loop that a header belongs to.
    #[inline]
    pub(crate) fn of(header: &Header) -> &Tasks {
        // SAFETY: [prefix], [outlives].
        unsafe { header.anchor.home.cast::<Tasks>().as_ref() }
    }

    pub(crate) fn running(&self) -> Option<&Header> {
        // SAFETY: [running].
        unsafe { self.running.get().as_ref() }
    }

    /// The name of the task on the stack, if there is one.
    pub(crate) fn running_name(&self) -> Option<Cow<'static, str>> {
        // SAFETY: [running].
        NonNull::new(self.running.get()).map(|task| unsafe { name_of(task) })
    }

    pub(crate) fn live(&self) -> usize {
        self.live.get()
    }

    /// Whether a destructor runs that a cancel has called.
    pub(crate) fn is_dooming(&self) -> bool {
        self.dooming.get()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// From now on, what is spawned is dropped at once.
    pub(crate) fn set_closing(&self) {
        self.closing.set(true);
    }

    /// Has a task looked at, once, when the loop next looks.
    #[cold]
    #[inline(never)]
    pub(super) fn suspect(&self, task: &Header) {
        if !task.is(SUSPECT) {
            task.set(SUSPECT);
            self.home.touch();
            self.suspects.borrow_mut().push(task.who(&self.home));
        }
    }

    /// Whether the loop should look at [`Tasks::take_suspects`].
    #[inline]
    pub(crate) fn has_suspects(&self) -> bool {
        !self.suspects.borrow().is_empty()
    }

    pub(super) fn next_id(&self) -> Id {
        let id = self.ids.get();
        self.ids.set(id + 1);
        Id(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN))
    }

    pub(super) fn set_name(&self, header: &Header, name: Cow<'static, str>) {
        self.home.touch();
        header.set(NAMED);
        self.names.borrow_mut().insert(header.id, name);
    }

    pub(super) fn set_reason(&self, header: &Header, reason: Cow<'static, str>) {
        self.home.touch();
        header.set(REASON);
        self.reasons.borrow_mut().insert(header.id, reason);
    }

    /// Why a task was cancelled, if that was said.
    pub(super) fn take_reason(&self, header: &Header) -> Option<Cow<'static, str>> {
        if header.is(REASON) { self.reasons.borrow_mut().remove(&header.id) } else { None }
    }

    /// The memory of this task is about to go. Not called for one that outlives its loop.
    pub(super) fn forget_name(&self, header: &Header) {
        self.names.borrow_mut().remove(&header.id);
    }

    /// The name that a task was given, if it was.
    fn given_name(&self, header: &Header) -> Option<Cow<'static, str>> {
        if header.is(NAMED) { self.names.borrow().get(&header.id).cloned() } else { None }
    }

    /// A panic that nobody can observe any more.
    pub(crate) fn report(&self, error: JoinError) {
        if self.home.is_gone() {
            return lament(error);
        }
        self.home.touch();
        let callback = self.on_unobserved.borrow().clone();
        if let Some(callback) = callback {
            // The callback may drop the loop, and then goes here.
            let _ = catch(|| callback(error)).map_err(discard);
            let _ = catch(|| drop(callback)).map_err(discard);
            return;
        }
        let mut unobserved = self.unobserved.borrow_mut();
        let later = match &mut *unobserved {
            Some(unobserved) => {
                unobserved.more += 1;
                Some(error)
            }
            none => {
                *none = Some(Unobserved { first: error, more: 0 });
                None
            }
        };
        drop(unobserved);
        if let Some(later) = later {
            drop_error(later);
        }
    }

    /// The panics that nobody has observed, which the caller is to deal with now.
    pub(crate) fn take_unobserved(&self) -> Option<Unobserved> {
        self.unobserved.borrow_mut().take()
    }

    pub(crate) fn take_callback(&self) -> Option<OnUnobserved> {
        self.on_unobserved.borrow_mut().take()
    }
}

/// The name of a task.
///
/// # Safety
/// It is alive; this is home.
pub(super) unsafe fn name_of(header: NonNull<Header>) -> Cow<'static, str> {
    // SAFETY: the caller says so.
    unsafe {
        let task = header.as_ref();
        let given = if task.is(SCOPED) {
            berth::given_name(header)
        } else {
            Tasks::of(task).given_name(task)
        };
        given.unwrap_or_else(|| Cow::Borrowed((task.vtable().name)()))
    }
}

impl Unobserved {
    /// Goes on with the first panic; the others are counted on stderr.
    pub(crate) fn resume(self) -> ! {
        match self.more {
            0 => {}
            1 => say!("boucle: 1 more panic in a task was not observed"),
            more => say!("boucle: {more} more panics in tasks were not observed"),
        }
        std::panic::resume_unwind(self.first.into_panic())
    }

    /// Says on stderr what will never be resumed.
    pub(crate) fn lament(self) {
        let Unobserved { first, more } = self;
        match more {
            0 => say!("boucle: {first}, and nobody observed it"),
            _ => say!("boucle: {first}, and nobody observed it ({more} more like it)"),
        }
        drop_error(first);
    }
}

/// Says on stderr what nobody is left to be told. Any thread.
pub(crate) fn lament(error: JoinError) {
    say!("boucle: {error}, and nobody is left to be told");
    drop_error(error);
}

/// Drops an error whose payload's destructor may panic.
pub(super) fn drop_error(error: JoinError) {
    if let Ok(payload) = error.try_into_panic() {
        discard(payload);
    }
}
