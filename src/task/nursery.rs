//! The children of a scope: tasks that are polled inside the scope's own future.
//!
//! A child is one allocation, like any task: a [`Header`], its [`Berth`], its future. It has what
//! every task has, but its nursery polls it: a wake puts it into the nursery's queue and wakes
//! whoever polls the scope. The scope's body stands in the same queue, as the header that the
//! nursery itself begins with, so that body and children take turns in the order of their wakes.
//!
//! # Who may touch what, when
//! Everything but `mail` belongs to the thread of the scope, which is `!Send`.
//! `[scope]` invariant: a child's future and output may borrow what lives as long as the scope's
//! future. They are polled and dropped by the nursery alone, between the spawn and the end of
//! [`Nursery::close`], which the scope's future calls, at the latest when it is dropped, or by a
//! handle, which cannot outlive the scope. A scope that is forgotten is never polled or dropped
//! again: its children, found through the roster, then only show their headers.
//! `[nursery]` invariant: a nursery is closed before it is given back, and no child is `LIVE` once
//! it is closed. So a `LIVE` child's nursery is alive; that of any other may be gone.
//! `[berth]` invariant: behind every header with the flag `SCOPED` lies a [`Berth`], and pointers
//! to such headers cover it.
//!
//! # Where the scope is polled
//! | | wakers | a wake |
//! |---|---|---|
//! | in the loop it was first polled in | its own | puts the child into the queue; from another thread by a letter, as for tasks |
//! | under another executor from the start | its own; no thread is home | puts the child into the mail, and wakes the scope's waker |
//! | in its loop first, elsewhere now | the scope's | wakes the scope, which polls all children |

use std::{
    alloc::{Layout, handle_alloc_error},
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::{ManuallyDrop, take},
    num::NonZeroU64,
    panic::Location,
    ptr::{self, NonNull},
    sync::Arc,
    task::{Context, RawWaker, RawWakerVTable, Waker},
};

use super::{
    cell::{self, Extra},
    end::{error_for, mark_cancelled, stray},
    error::JoinError,
    header::{Header, Id, TaskVTable},
    state::{BUSY, CANCEL, HANDLE, LIVE, OUTPUT, QUEUED, SCOPED, STARTED},
    tasks::{Tasks, drop_error, lament, note_instead},
    waits::Waits,
    waker::{is_child_polled, wake_wakee},
};
use crate::{
    facade::{AtomicU32, Mutex, Ordering, alloc, dealloc, lock},
    guard::{OnDrop, Payload, catch, discard},
    home::{Anchor, AnchorVTable, Budget, Entered, Home, here},
    ready::Ready,
    wakee::{TargetVTable, Wakee, renew, set_polled},
};

/// What a child has behind its header.
pub(super) struct Berth {
    nursery: NonNull<Nursery>,
    /// Under another executor, where wakes go.
    mail: Option<Arc<Mail>>,
    /// One while the child is in the mail.
    posted: AtomicU32,
    /// The neighbours in the list of children that have not ended.
    before: Cell<*mut Header>,
    after: Cell<*mut Header>,
    name: RefCell<Option<Cow<'static, str>>>,
}

/// What other threads write to a scope under another executor, where no thread is home.
struct Mail {
    /// `None` once the scope has ended.
    post: Mutex<Option<Post>>,
}

#[derive(Default)]
struct Post {
    /// Who polls the scope; taken by the wake that tells it.
    waker: Option<Waker>,
    /// Wakers of the children, or of the body, that were woken.
    woken: Vec<Waker>,
}

#[repr(C)]
pub(crate) struct Nursery {
    /// The body's: `LIVE` until it has ended. `HANDLE` says that the scope is there.
    header: Header,
    berth: Berth,
    ready: Ready<Header>,
    /// The children that have not ended, oldest first.
    first: Cell<*mut Header>,
    last: Cell<*mut Header>,
    /// No child may be added: what is spawned is dropped at once.
    closing: Cell<bool>,
    /// The scope is to end without waiting for anybody.
    cut: Cell<bool>,
    /// The first panic of a child or of the body.
    panic: Cell<Option<JoinError>>,
    /// The nursery is at it, so nobody need be told of what becomes ready.
    polling: Cell<bool>,
    /// In its loop: who polls the scope; taken by the wake that tells it.
    parent: Cell<Option<Wakee>>,
    /// Out of its loop, likewise.
    stranger: Cell<Option<Waker>>,
    /// The scope was last polled out of its loop.
    away: Cell<bool>,
    /// Children to be cancelled, each held once, and whether somebody is at it.
    doomed: RefCell<VecDeque<NonNull<Header>>>,
    dooming: Cell<bool>,
    /// The numbers of children that have no loop.
    ids: Cell<u64>,
}

static WAKER: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

const TARGET: TargetVTable = TargetVTable {
    waker: &WAKER,
    // SAFETY: `TargetVTable` says who calls them and with what, here and below.
    hold: |target| unsafe { Anchor::hold(target.cast()) },
    // SAFETY: likewise.
    release: |target| unsafe { Anchor::release(target.cast()) },
    // SAFETY: likewise.
    wake: |target| unsafe {
        wake_by_ref(target.as_ptr().cast_const().cast());
        Anchor::release(target.cast());
    },
};

impl Extra for Berth {
    const TARGET: TargetVTable = TARGET;
    const DELIVER: unsafe fn(NonNull<Anchor>) = deliver;
    const POLL_WITH: bool = true;
}

/// The vtable of nurseries: of all that, they only use what their anchor needs.
static NURSERY: TaskVTable = TaskVTable {
    anchor: AnchorVTable { target: TARGET, deliver, dealloc: free },
    poll: |_| unreachable!("the scope polls its body itself"),
    poll_with: |_, _| unreachable!("the scope polls its body itself"),
    drop_future: |_| unreachable!("the scope drops its body itself"),
    drop_output: |_| unreachable!("the scope drops its output itself"),
    content: 0,
    name: || "scope",
};

/// Whether an anchor in a roster is that of a child.
pub(super) fn is_child(anchor: NonNull<Anchor>) -> bool {
    // SAFETY: anchors in a roster are alive; their vtables are statics.
    let vtable = unsafe { (*anchor.as_ptr()).vtable };
    // SAFETY: likewise.
    !ptr::eq(vtable, (&raw const NURSERY).cast())
        && ptr::eq(unsafe { (*vtable).target.waker }, &WAKER)
}

/// # Safety
/// [berth]; the header is alive.
unsafe fn berth<'a>(header: NonNull<Header>) -> &'a Berth {
    // SAFETY: the caller says so. A berth is aligned like a header, so it follows without a gap.
    const { assert!(align_of::<Berth>() <= align_of::<Header>()) };
    // SAFETY: likewise.
    unsafe { header.add(1).cast::<Berth>().as_ref() }
}

/// The nursery of a child or of a body.
///
/// # Safety
/// [berth]; by [nursery], the child is `LIVE`, or its handle or its scope is at hand.
unsafe fn nursery<'a>(header: NonNull<Header>) -> &'a Nursery {
    // SAFETY: the caller says so.
    unsafe { berth(header).nursery.as_ref() }
}

/// The name that a child was given.
///
/// # Safety
/// [berth]; the header is alive.
pub(super) unsafe fn given_name(header: NonNull<Header>) -> Option<Cow<'static, str>> {
    // SAFETY: the caller says so.
    unsafe { berth(header) }.name.borrow().clone()
}

/// # Safety
/// As [`given_name`].
pub(super) unsafe fn set_name(header: NonNull<Header>, name: Cow<'static, str>) {
    // SAFETY: the caller says so.
    *unsafe { berth(header) }.name.borrow_mut() = Some(name);
}

/// A child has panicked, or something of its has while it was dropped: the scope will end with it.
///
/// # Safety
/// As [`nursery`].
pub(super) unsafe fn panicked(header: NonNull<Header>, payload: Payload) {
    let error = error_for(header, Some(payload));
    // SAFETY: the caller says so.
    unsafe { nursery(header) }.panicked(error);
}

/// Makes an anchor, of a loop's or of nobody's.
///
/// # Safety
/// As [`Home::enroll`], if there is a home.
unsafe fn anchor_at(
    home: Option<NonNull<Home>>,
    at: NonNull<Anchor>,
    vtable: *const AnchorVTable,
    flags: u32,
) -> Anchor {
    match home {
        // SAFETY: the caller says so.
        Some(home) => Anchor::new(vtable, home, unsafe { home.as_ref().enroll(at) }, flags),
        None => Anchor::orphan(vtable, flags),
    }
}

impl Nursery {
    /// A nursery for a scope that is polled here and now.
    pub(crate) fn create(place: &'static Location<'static>) -> NonNull<Nursery> {
        let home = NonNull::new(here().cast_mut());
        let parent = home.and_then(|home| {
            // SAFETY: [here], [prefix] of `tasks`.
            unsafe { home.cast::<Tasks>().as_ref() }.running().map(|task| task.id)
        });
        let layout = Layout::new::<Nursery>();
        // SAFETY: a nursery is not of size zero; it is written before it is read; this is home's
        // thread.
        unsafe {
            let Some(this) = NonNull::new(alloc(layout).cast::<Nursery>()) else {
                handle_alloc_error(layout)
            };
            let vtable = (&raw const NURSERY).cast();
            let flags = LIVE | HANDLE | QUEUED | SCOPED;
            let anchor = anchor_at(home, this.cast(), vtable, flags);
            this.write(Nursery {
                header: Header::new(anchor, Id(NonZeroU64::MIN), place, parent),
                berth: Berth::new(this, home.is_none().then(Mail::open)),
                ready: Ready::new(),
                first: Cell::new(ptr::null_mut()),
                last: Cell::new(ptr::null_mut()),
                closing: Cell::new(false),
                cut: Cell::new(false),
                panic: Cell::new(None),
                polling: Cell::new(false),
                parent: Cell::new(None),
                stranger: Cell::new(None),
                away: Cell::new(false),
                doomed: RefCell::new(VecDeque::new()),
                dooming: Cell::new(false),
                ids: Cell::new(1),
            });
            (*this.as_ptr()).ready.push(this.as_ptr().cast());
            this
        }
    }

    /// The loop that children are entered in; `None` if there was none, or it is gone.
    fn home(&self) -> Option<NonNull<Home>> {
        let home = self.header.anchor.home;
        // SAFETY: [outlives].
        (home != NonNull::dangling() && unsafe { !home.as_ref().is_gone() }).then_some(home)
    }

    /// The tasks of the loop, even if it is gone.
    fn tasks(&self) -> Option<&Tasks> {
        let home = self.header.anchor.home;
        // SAFETY: [outlives], [prefix] of `tasks`.
        (home != NonNull::dangling()).then(|| unsafe { home.cast().as_ref() })
    }

    /// Adds a child. It has a handle, which is to be made from the result.
    ///
    /// # Safety
    /// On the scope's thread; by [scope], the future and its output live as long as the scope.
    pub(super) unsafe fn spawn<F: Future, N>(
        this: NonNull<Nursery>,
        future: F,
        place: &'static Location<'static>,
    ) -> NonNull<Header> {
        // SAFETY: [nursery]: the scope is there, since somebody refers to it.
        let nursery = unsafe { this.as_ref() };
        let home = nursery.home();
        let id = match nursery.tasks().filter(|_| home.is_some()) {
            Some(tasks) => tasks.next_id(),
            None => nursery.next_id(),
        };
        // SAFETY: the caller says so; this is home's thread, since the scope was polled in it.
        let header = unsafe {
            cell::create::<F, Berth, N>(
                |at, vtable| anchor_at(home, at, vtable, LIVE | HANDLE | SCOPED),
                |anchor| Header::new(anchor, id, place, nursery.header.parent),
                Berth::new(this, nursery.berth.mail.clone()),
                future,
            )
        };
        // SAFETY: it is alive and in no list.
        unsafe {
            nursery.link(header);
            if nursery.closing.get() {
                cancel_now(header);
            } else {
                queue(header);
            }
        }
        header
    }

    fn next_id(&self) -> Id {
        let id = self.ids.get();
        self.ids.set(id + 1);
        Id(NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN))
    }

    /// # Safety
    /// The child is alive and in no list.
    unsafe fn link(&self, header: NonNull<Header>) {
        // SAFETY: the caller says so; what is in the list is `LIVE`.
        unsafe {
            let last = self.last.replace(header.as_ptr());
            berth(header).before.set(last);
            match NonNull::new(last) {
                Some(last) => berth(last).after.set(header.as_ptr()),
                None => self.first.set(header.as_ptr()),
            }
        }
    }

    /// # Safety
    /// The child is alive and in the list.
    unsafe fn unlink(&self, header: NonNull<Header>) {
        // SAFETY: the caller says so; what is in the list is `LIVE`, or about to leave it.
        unsafe {
            let Berth { before, after, .. } = berth(header);
            match NonNull::new(before.get()) {
                Some(before) => berth(before).after.set(after.get()),
                None => self.first.set(after.get()),
            }
            match NonNull::new(after.get()) {
                Some(after) => berth(after).before.set(before.get()),
                None => self.last.set(before.get()),
            }
        }
    }

    /// The children that have not ended, for as long as none of them ends meanwhile.
    fn children(&self) -> impl Iterator<Item = NonNull<Header>> {
        let mut next = self.first.get();
        std::iter::from_fn(move || {
            let header = NonNull::new(next)?;
            // SAFETY: what is in the list is alive.
            next = unsafe { berth(header) }.after.get();
            Some(header)
        })
    }

    fn panicked(&self, error: JoinError) {
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
        second.map(drop_error);
    }

    /// The scope is to end as soon as it is polled, or goes on being polled.
    pub(crate) fn cut(&self) {
        self.cut.set(true);
        self.tell();
    }

    /// How many children have not ended. O(n).
    pub(crate) fn live(&self) -> usize {
        self.children().count()
    }

    /// Tells whoever polls the scope to do so again, unless it is being polled.
    fn tell(&self) {
        if self.polling.get() {
            return;
        }
        if let Some(parent) = self.parent.take() {
            parent.wake();
        }
        let stranger = match &self.berth.mail {
            None => self.stranger.take(),
            Some(mail) => lock(&mail.post).as_mut().and_then(|post| post.waker.take()),
        };
        if let Some(waker) = stranger {
            let _ = catch(|| waker.wake()).map_err(discard);
        }
    }

    /// Polls the body and the children that are ready, each at most once, no more than the budget
    /// allows. True if all have ended, or if the scope is to end without waiting for them.
    ///
    /// `body` returns true when it has ended; it is not called again then.
    ///
    /// # Safety
    /// On the scope's thread, by whoever polls the scope.
    pub(crate) unsafe fn poll(
        this: NonNull<Nursery>,
        cx: &mut Context<'_>,
        mut body: impl FnMut(&mut Context<'_>) -> bool,
    ) -> bool {
        // SAFETY: [nursery]: the scope is there.
        let nursery = unsafe { this.as_ref() };
        nursery.polling.set(true);
        let polling = OnDrop(|| nursery.polling.set(false));
        let home = nursery.meet(cx);
        // A stranger's waker, if the children's own would wake nobody here.
        let stranger = nursery.away.get().then(|| cx.waker());
        let mut budget = Budget::begin(home, is_child_polled());
        let until = nursery.ready.last();
        while !until.is_null() && !budget.is_spent() && !nursery.cut.get() {
            let Some(header) = NonNull::new(nursery.ready.pop()) else { break };
            budget.spend();
            // SAFETY: [queued] keeps what was popped until its flag is cleared.
            unsafe {
                if header == this.cast() {
                    nursery.poll_body(this, stranger, &mut body);
                } else {
                    poll_child(header, home.is_some(), stranger);
                }
            }
            budget.refresh();
            if header.as_ptr() == until {
                break;
            }
        }
        drop(polling);
        note_instead(Waits::Children);
        if nursery.cut.get() || (nursery.first.get().is_null() && !nursery.header.is(LIVE)) {
            return true;
        }
        if !nursery.ready.is_empty() {
            cx.waker().wake_by_ref();
        }
        false
    }

    /// Remembers who polls, and takes the mail; the loop, if it is polled there.
    fn meet(&self, cx: &Context<'_>) -> Option<&Home> {
        let home = self.header.anchor.home;
        if let Some(mail) = &self.berth.mail {
            let waker = cx.waker().clone();
            let mut post = lock(&mail.post);
            let post_ = post.get_or_insert_default();
            let (old, woken) = (post_.waker.replace(waker), take(&mut post_.woken));
            drop(post);
            for waker in woken {
                // SAFETY: the mail holds wakers of headers of this scope.
                unsafe {
                    let header = header_of(waker.data());
                    // Ordering: Acquire sees what every waker wrote, also those that found it
                    // posted already.
                    berth(header).posted.swap(0, Ordering::AcqRel);
                    queue(header);
                }
            }
            drop(old);
            return None;
        }
        let at_home = ptr::eq(here(), home.as_ptr());
        if at_home {
            let mut parent = self.parent.take();
            let old = renew(&mut parent, cx);
            self.parent.set(parent);
            drop(old);
        } else {
            drop(self.parent.take());
            let old = self.stranger.replace(Some(cx.waker().clone()));
            drop(old);
        }
        // Whoever was polled with another kind of waker is asked again.
        if self.away.replace(!at_home) || !at_home {
            // SAFETY: all are alive.
            unsafe {
                self.children().for_each(|child| queue(child));
                queue(self.berth.nursery.cast());
            }
        }
        // SAFETY: [outlives].
        at_home.then(|| unsafe { home.as_ref() })
    }

    /// # Safety
    /// By [`Nursery::poll`]; the body was popped.
    unsafe fn poll_body(
        &self,
        this: NonNull<Nursery>,
        stranger: Option<&Waker>,
        body: &mut impl FnMut(&mut Context<'_>) -> bool,
    ) {
        self.header.clear(QUEUED);
        if !self.header.is(LIVE) {
            return;
        }
        let polled = match stranger {
            Some(waker) => catch(|| body(&mut Context::from_waker(waker))),
            None => {
                let raw = RawWaker::new(this.as_ptr().cast_const().cast(), &WAKER);
                // SAFETY: the waker is lent, not counted: the scope keeps the nursery that long,
                // and clones count themselves.
                let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw) });
                let outer = set_polled(this.as_ptr().cast_const().cast());
                let polled = catch(|| body(&mut Context::from_waker(&waker)));
                set_polled(outer);
                polled
            }
        };
        match polled {
            Ok(false) => {}
            Ok(true) => self.header.clear(LIVE),
            Err(payload) => self.body_panicked(payload),
        }
    }

    /// The body, or its destructor, has panicked.
    pub(crate) fn body_panicked(&self, payload: Payload) {
        self.header.clear(LIVE);
        let Header { id, place, .. } = self.header;
        self.panicked(JoinError::new("scope".into(), id, place, Some(payload)));
    }

    /// The first panic of a child or of the body.
    pub(crate) fn take_panic(&self) -> Option<Payload> {
        self.panic.take().and_then(|error| error.try_into_panic().ok())
    }

    /// Cancels all children, and those that are spawned from now on.
    pub(crate) fn cancel_all(&self) {
        self.closing.set(true);
        let mut doomed = self.doomed.borrow_mut();
        for child in self.children() {
            // SAFETY: it is alive, and this is its thread.
            unsafe { Anchor::hold(child.cast()) };
            doomed.push_back(child);
        }
        drop(doomed);
        self.drop_doomed();
    }

    /// Cancels what is to be cancelled, unless somebody further out is at it: a chain of children
    /// that cancel each other in their destructors needs no stack.
    fn drop_doomed(&self) {
        if self.dooming.replace(true) {
            return;
        }
        let _reset = OnDrop(|| self.dooming.set(false));
        loop {
            let next = self.doomed.borrow_mut().pop_front();
            let Some(header) = next else { return };
            // SAFETY: it was held when it was pushed.
            unsafe {
                let task = header.as_ref();
                if task.is(LIVE) && task.is(BUSY) {
                    // It is dropped when it leaves the stack.
                    task.set(CANCEL);
                } else if task.is(LIVE) {
                    cancel_now(header);
                }
                Anchor::release(header.cast());
            }
        }
    }

    /// Drops the futures of all children, oldest first, and refuses new ones from now on.
    ///
    /// # Safety
    /// On the scope's thread, while no child is polled.
    pub(crate) unsafe fn close(&self) {
        self.closing.set(true);
        // SAFETY: this is home's thread, and the home is alive.
        let entered = self.home().map(|home| unsafe { Entered::new(home) });
        let outer = self.dooming.replace(true);
        while let Some(child) = NonNull::new(self.first.get()) {
            // SAFETY: what is in the list is `LIVE`, and nobody polls it.
            unsafe {
                if child.as_ref().is(BUSY) {
                    // Only a fault of ours could get here; going on would leave a future behind
                    // whose borrows end now.
                    std::process::abort();
                }
                cancel_now(child);
            }
        }
        self.dooming.set(outer);
        self.drop_doomed();
        drop(entered);
    }

    /// Gives a closed nursery back.
    ///
    /// # Safety
    /// On the scope's thread, once; it is not used any more.
    pub(crate) unsafe fn release(this: NonNull<Nursery>) {
        // SAFETY: `HANDLE` keeps it until the end.
        unsafe {
            let nursery = this.as_ref();
            debug_assert!(nursery.first.get().is_null(), "closed first");
            while let Some(header) = NonNull::new(nursery.ready.pop()) {
                header.as_ref().clear(QUEUED);
                if header != this.cast() {
                    Anchor::settle(header.cast());
                }
            }
            let post = nursery.berth.mail.as_ref().and_then(|mail| lock(&mail.post).take());
            let _ = catch(|| drop(post)).map_err(discard);
            drop(nursery.parent.take());
            let stranger = nursery.stranger.take();
            let _ = catch(|| drop(stranger)).map_err(discard);
            if let Some(error) = nursery.panic.take() {
                // The scope was dropped, so there is nobody to panic at.
                match nursery.tasks() {
                    Some(tasks) => tasks.report(error),
                    None => lament(error),
                }
            }
            nursery.header.clear(LIVE | HANDLE);
            Anchor::settle(this.cast());
        }
    }
}

impl Berth {
    fn new(nursery: NonNull<Nursery>, mail: Option<Arc<Mail>>) -> Berth {
        Berth {
            nursery,
            mail,
            posted: AtomicU32::new(0),
            before: Cell::new(ptr::null_mut()),
            after: Cell::new(ptr::null_mut()),
            name: RefCell::new(None),
        }
    }
}

impl Mail {
    fn open() -> Arc<Mail> {
        Arc::new(Mail { post: Mutex::new(Some(Post::default())) })
    }

    /// Posts a child, or the body, and wakes whoever polls the scope. From any thread.
    ///
    /// # Safety
    /// [berth]; the header is alive.
    unsafe fn send(&self, header: NonNull<Header>) {
        // SAFETY: the caller says so.
        let posted = unsafe { &berth(header).posted };
        // Ordering: Release even if it is posted: `meet` acquires what we wrote.
        if posted.swap(1, Ordering::AcqRel) == 1 {
            return;
        }
        // SAFETY: the header is alive, so its waker can be cloned.
        let waker = unsafe { Waker::from_raw(clone(header.as_ptr().cast_const().cast())) };
        let mut unsent = Some(waker);
        let told = lock(&self.post).as_mut().and_then(|post| {
            post.woken.extend(unsent.take());
            post.waker.take()
        });
        // If the scope has ended.
        drop(unsent);
        if let Some(waker) = told {
            let _ = catch(|| waker.wake()).map_err(discard);
        }
    }
}

/// # Safety
/// On the scope's thread, by [`Nursery::poll`]; the child was popped.
unsafe fn poll_child(header: NonNull<Header>, at_home: bool, stranger: Option<&Waker>) {
    // SAFETY: [queued] keeps the child until `QUEUED` is cleared, then `BUSY` does.
    unsafe {
        let task = header.as_ref();
        let flags = task.flags() & !QUEUED;
        if flags & LIVE == 0 {
            task.anchor.flags.set(flags);
            return Anchor::settle(header.cast());
        }
        task.anchor.flags.set(flags | BUSY | STARTED);
        task.waits.set(0);
        let vtable = task.vtable();
        let ended = match stranger {
            Some(waker) => (vtable.poll_with)(header, waker),
            None => {
                let tasks = at_home.then(|| Tasks::of(task));
                let running = tasks.map(|tasks| tasks.running.replace(header.as_ptr()));
                let polled = set_polled(header.as_ptr().cast_const().cast());
                let ended = (vtable.poll)(header);
                set_polled(polled);
                if let Some((tasks, running)) = tasks.zip(running) {
                    tasks.running.set(running);
                }
                ended
            }
        };
        if ended {
            conclude(header);
        } else if header.as_ref().is(CANCEL) {
            cancel_now(header);
        } else {
            header.as_ref().clear(BUSY);
        }
    }
}

/// The last step of a child's end.
///
/// # Safety
/// The child is `BUSY` and not `LIVE`, and marked as ended; the caller does not use it any more.
unsafe fn conclude(header: NonNull<Header>) {
    // SAFETY: `BUSY` keeps the child until it is cleared; [nursery].
    unsafe {
        let nursery = nursery(header);
        nursery.unlink(header);
        let joiner = header.as_ref().take_joiner();
        header.as_ref().clear(BUSY);
        Anchor::settle(header.cast());
        if let Some(joiner) = joiner {
            wake_wakee(joiner);
        }
        nursery.tell();
    }
}

/// Drops the future of a child that is not on the stack, or has just left it.
///
/// # Safety
/// On the scope's thread; the child is `LIVE` and in the list.
#[cold]
unsafe fn cancel_now(header: NonNull<Header>) {
    // SAFETY: `LIVE` keeps the child, then `BUSY`; [nursery].
    unsafe {
        let task = header.as_ref();
        task.set(BUSY);
        task.clear(LIVE);
        let tasks = nursery(header).tasks();
        let running = tasks.map(|tasks| tasks.running.replace(header.as_ptr()));
        let polled = set_polled(ptr::null());
        if let Err(payload) = catch(|| (task.vtable().drop_future)(header)) {
            stray(header, payload);
        }
        set_polled(polled);
        if let Some((tasks, running)) = tasks.zip(running) {
            tasks.running.set(running);
        }
        mark_cancelled(header);
        conclude(header);
    }
}

/// Cancels a child, now or before the outermost cancel in its scope returns.
///
/// # Safety
/// On the scope's thread; [nursery]; the child is `LIVE`.
pub(super) unsafe fn doom(header: NonNull<Header>) {
    // SAFETY: the caller says so.
    unsafe {
        Anchor::hold(header.cast());
        let nursery = nursery(header);
        nursery.doomed.borrow_mut().push_back(header);
        nursery.drop_doomed();
    }
}

/// Drops an output that nobody asked for, at once: what it borrows may go next.
///
/// # Safety
/// On the scope's thread; [nursery]; the caller holds the child, which has an `OUTPUT` and no
/// handle.
pub(super) unsafe fn drop_output(header: NonNull<Header>) {
    // SAFETY: the caller says so; the flag is clear, so nobody else takes it.
    unsafe {
        let task = header.as_ref();
        task.clear(OUTPUT);
        if let Err(payload) = catch(|| (task.vtable().drop_output)(header)) {
            stray(header, payload);
        }
    }
}

/// Puts a child, or the body, into its nursery's queue unless it is there or has ended.
///
/// # Safety
/// On the scope's thread; [berth]; the header is alive.
unsafe fn queue(header: NonNull<Header>) {
    // SAFETY: the caller says so; it is `LIVE`, so by [nursery] its nursery is alive; [queued].
    unsafe {
        let task = header.as_ref();
        if task.sleeps() {
            task.set(QUEUED);
            let nursery = nursery(header);
            nursery.ready.push(header.as_ptr());
            nursery.tell();
        }
    }
}

/// A wake from elsewhere has arrived.
///
/// # Safety
/// As `AnchorVTable::deliver`.
unsafe fn deliver(anchor: NonNull<Anchor>) {
    // SAFETY: the caller says so.
    unsafe { queue(anchor.cast()) };
}

/// # Safety
/// As `AnchorVTable::dealloc`, of a nursery.
unsafe fn free(anchor: NonNull<Anchor>) {
    let nursery = anchor.cast::<Nursery>();
    // SAFETY: nobody refers to the nursery any more; it was released, so no user code runs.
    unsafe {
        ptr::drop_in_place(nursery.as_ptr());
        dealloc(nursery.as_ptr().cast(), Layout::new::<Nursery>());
    }
}

/// `[scoped waker]` invariant: the data is the address of a header with a berth, counted in its
/// anchor, with the provenance of the whole child or nursery.
fn header_of(data: *const ()) -> NonNull<Header> {
    // SAFETY: [scoped waker].
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
    let header = header_of(data);
    // SAFETY: [scoped waker], or the caller is a wakee, which holds the header.
    unsafe {
        if Anchor::at_home(header.cast()) {
            queue(header);
        } else if let Some(mail) = &berth(header).mail {
            mail.send(header);
        } else {
            Anchor::send(header.cast(), true, false);
        }
    }
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: [scoped waker]; it is the last use of this one.
    unsafe { Anchor::drop_waker(header_of(data).cast()) };
}
