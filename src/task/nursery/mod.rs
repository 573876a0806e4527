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
//! handle, which cannot outlive the scope. Handles, and the scope as it is lent, are in the body
//! and the children alone, so that whoever uses one does so while the scope's future is polled or
//! dropped: nobody else can drop it meanwhile. A scope that is forgotten is never polled or dropped
//! again: its children, found through the roster, then only show their headers.
//! `[nursery]` invariant: a nursery is closed before it is given back, and no child is `LIVE` once
//! it is closed. So a `LIVE` child's nursery is alive; that of any other may be gone.
//!
//! # Where the scope is polled
//! | | wakers | a wake |
//! |---|---|---|
//! | in the loop it was first polled in | its own | puts the child into the queue; from another thread by a letter, as for tasks |
//! | under another executor from the start | its own; no thread is home | puts the child into the mail, and wakes the scope's waker |
//! | in its loop first, elsewhere now | the scope's | wakes the scope, which polls all children |
//!
//! # What the compiler sees to
//! Neither a handle nor the scope leaves: not by what the body borrows, by its output, by an error,
//! in a task, or to an outer scope.
//!
//! ```compile_fail
//! let kept = std::cell::Cell::new(None);
//! boucle::block_on(boucle::scope(async |s| kept.set(Some(s.spawn(async {})))));
//! ```
//!
//! ```compile_fail
//! boucle::block_on(boucle::scope(async |s| s));
//! ```
//!
//! ```compile_fail
//! let ended: Result<(), _> = boucle::block_on(boucle::try_scope(async |s| {
//!     Err(s.spawn(async { Ok(()) }))
//! }));
//! drop(ended.err());
//! ```
//!
//! ```compile_fail
//! boucle::block_on(boucle::scope(async |s| {
//!     let child = s.spawn(async {});
//!     drop(boucle::spawn(async move { child.await.unwrap() }));
//! }));
//! ```
//!
//! ```compile_fail
//! boucle::block_on(boucle::scope(async |s| {
//!     boucle::scope(async |t| {
//!         let child = t.spawn(async {});
//!         s.spawn(async move { child.await.unwrap() });
//!     })
//!     .await;
//! }));
//! ```
//!
//! No child borrows from another.
//!
//! ```compile_fail
//! boucle::block_on(boucle::scope(async |s| {
//!     s.spawn(async {
//!         let dish = String::from("fries");
//!         let lent = &dish;
//!         drop(s.spawn(async move { lent.len() }));
//!     });
//! }));
//! ```
//!
//! No lifetime can be changed.
//!
//! ```compile_fail
//! fn shorter<'s, 'l, 'e>(s: &'s boucle::Scope<'s, 'l>) -> &'s boucle::Scope<'s, 'e>
//! where
//!     'l: 'e,
//!     'e: 's,
//! {
//!     s
//! }
//! ```
//!
//! ```compile_fail
//! fn shorter<'l, 's>(h: boucle::ScopedHandle<'l, ()>) -> boucle::ScopedHandle<'s, ()>
//! where
//!     'l: 's,
//! {
//!     h
//! }
//! ```

mod child;
mod hub;

pub(super) use child::doom;
pub(crate) use hub::Nursery;
pub(super) use hub::is_away;

use std::{
    alloc::{Layout, handle_alloc_error},
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::ManuallyDrop,
    num::NonZeroU64,
    panic::Location,
    ptr::{self, NonNull},
    task::{Context, RawWaker, Waker},
};

use super::{
    berth::{Berth, Mail, Siblings, berth},
    cell,
    error::{Cause, JoinError},
    header::{Header, Id, TaskVTable},
    state::{BUSY, HANDLE, LIVE, QUEUED, SCOPED},
    tasks::{Tasks, lament, note_instead},
    waits::Waits,
    waker::is_child_polled,
};
use crate::{
    facade::{Ordering, alloc, dealloc},
    guard::{OnDrop, Payload, catch},
    home::{Anchor, AnchorVTable, Budget, Counts, Entered, Home, here},
    ready::Ready,
    wakee::{renew, set_polled},
};
use child::{cancel_now, poll_child};
use hub::{TARGET, WAKER, deliver, header_of, queue};

/// The vtable of nurseries: of all that, they only use what their anchor needs.
static NURSERY: TaskVTable = TaskVTable {
    anchor: AnchorVTable {
        target: TARGET,
        deliver,
        forsaken: |_| unreachable!("a body is not marked as started"),
        dealloc: free,
    },
    poll: |_| unreachable!("the scope polls its body itself"),
    poll_with: |_, _| unreachable!("the scope polls its body itself"),
    stray: |_, _| unreachable!("the scope hears of its body itself"),
    drop_future: |_| unreachable!("the scope drops its body itself"),
    drop_output: |_| unreachable!("the scope drops its output itself"),
    content: 0,
    name: || "scope",
};

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
            let flags = LIVE | HANDLE | QUEUED;
            let anchor = anchor_at(home, this.cast(), vtable, flags);
            this.write(Nursery {
                header: Header::new(anchor, Id(NonZeroU64::MIN), place, parent),
                berth: Berth::new(this.cast(), home.is_none().then(Mail::open)),
                ready: Ready::new(),
                children: Siblings::new(),
                closing: Cell::new(false),
                cut: Cell::new(false),
                panic: Cell::new(None),
                polling: Cell::new(false),
                parent: Cell::new(None),
                away: Cell::new(false),
                doomed: RefCell::new(VecDeque::new()),
                dooming: Cell::new(false),
                ids: Cell::new(1),
            });
            (*this.as_ptr()).ready.push(this.as_ptr().cast());
            this
        }
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
        let id = nursery.tasks().map_or_else(|| nursery.next_id(), Tasks::next_id);
        let running = nursery.tasks().and_then(|tasks| tasks.running().map(|task| task.id));
        let parent = running.or(nursery.header.parent);
        // SAFETY: the caller says so; this is home's thread, since the scope was polled in it.
        let header = unsafe {
            cell::create::<F, Berth, N>(
                home,
                |at, vtable| anchor_at(home, at, vtable, LIVE | HANDLE | SCOPED),
                |anchor| Header::new(anchor, id, place, parent),
                Berth::new(this.cast(), nursery.berth.mail.clone()),
                future,
            )
        };
        // SAFETY: it is alive and in no list.
        unsafe {
            nursery.children.push(header);
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

    /// How many children have not ended. O(n).
    pub(crate) fn live(&self) -> usize {
        self.children.iter().count()
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
        let none = Counts::default();
        let budget = Budget::begin(home, is_child_polled(), &none);
        let until = nursery.ready.last();
        // Away from home, all are polled whatever the budget: whoever was left out would have to be
        // told from those who had their turn.
        let rationed = stranger.is_none();
        while !until.is_null() && !nursery.cut.get() {
            if rationed && !budget.spend() {
                break;
            }
            // Never `None`: `until` is still there.
            let Some(header) = NonNull::new(nursery.ready.pop()) else { break };
            // SAFETY: [queued] keeps what was popped until its flag is cleared.
            unsafe {
                if header == this.cast() {
                    nursery.poll_body(this, stranger, &mut body);
                } else {
                    poll_child(header, home.is_some(), stranger);
                }
            }
            if header.as_ptr() == until {
                break;
            }
        }
        drop(polling);
        note_instead(Waits::Children(nursery.header.place));
        if nursery.cut.get() || (nursery.children.first().is_none() && !nursery.header.is(LIVE)) {
            return true;
        }
        // If a child has dropped the loop, with it went what the children's wakers could do: the next
        // poll asks all again.
        if !nursery.ready.is_empty() || home.is_some_and(Home::is_gone) {
            cx.waker().wake_by_ref();
        }
        false
    }

    /// Remembers who polls, and takes the mail; the loop, if it is polled there.
    fn meet(&self, cx: &Context<'_>) -> Option<&Home> {
        let home = self.header.anchor.home;
        if let Some(mail) = &self.berth.mail {
            let waker = cx.waker().clone();
            let (old, woken) = mail.receive(waker);
            for waker in woken {
                // SAFETY: the mail holds wakers of headers of this scope.
                unsafe {
                    let header = header_of(waker.data());
                    if header.as_ref().is(LIVE) {
                        // Ordering: Acquire sees what every waker wrote, also those that found it
                        // posted already.
                        berth(header).posted.swap(0, Ordering::AcqRel);
                        queue(header);
                    }
                }
            }
            drop(old);
            return None;
        }
        let at_home = ptr::eq(here(), home.as_ptr());
        let mut parent = self.parent.take();
        let old = renew(&mut parent, cx);
        self.parent.set(parent);
        drop(old);
        // Whoever was polled with another kind of waker is asked again.
        if self.away.replace(!at_home) || !at_home {
            // SAFETY: all are alive.
            unsafe {
                self.children.iter().for_each(|child| queue(child));
                queue(self.berth.nursery);
            }
        }
        // SAFETY: [outlives].
        if at_home { Some(unsafe { home.as_ref() }) } else { None }
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
                // and clones count themselves. [polled]: likewise.
                let (waker, outer) = unsafe {
                    let waker = ManuallyDrop::new(Waker::from_raw(raw));
                    (waker, set_polled(this.as_ptr().cast_const().cast()))
                };
                let polled = catch(|| body(&mut Context::from_waker(&waker)));
                // SAFETY: [polled]: what was before.
                unsafe { set_polled(outer) };
                polled
            }
        };
        match polled {
            Ok(false) => {}
            Ok(true) => self.body_ended(),
            Err(payload) => self.body_panicked(payload),
        }
    }

    /// The body has ended, and `f` drops it: as with any task, a wake by its destructor is nobody's.
    pub(crate) fn end_body(&self, f: impl FnOnce()) {
        self.body_ended();
        f();
    }

    fn body_ended(&self) {
        self.header.clear(LIVE);
        self.berth.end();
    }

    /// The body, or its destructor, has panicked.
    pub(crate) fn body_panicked(&self, payload: Payload) {
        self.body_ended();
        let Header { id, place, .. } = self.header;
        self.panicked(JoinError::new("scope".into(), Some(id), place, Cause::panicked(payload)));
    }

    /// The first panic of a child or of the body.
    pub(crate) fn take_panic(&self) -> Option<Payload> {
        self.panic.take().and_then(|error| error.try_into_panic().ok())
    }

    /// Cancels all children, and those that are spawned from now on.
    pub(crate) fn cancel_all(&self) {
        self.closing.set(true);
        let mut doomed = self.doomed.borrow_mut();
        for child in self.children.iter() {
            // SAFETY: it is alive, and this is its thread.
            unsafe { Anchor::hold(child.cast()) };
            doomed.push_back(child);
        }
        drop(doomed);
        self.drop_doomed();
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
        // Whoever polls the scope has no business with what ends now.
        self.polling.set(true);
        while let Some(child) = self.children.first() {
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
        self.polling.set(false);
        if let Some(tasks) = self.tasks().filter(|tasks| !tasks.ready.is_empty()) {
            // Outside a run, this may be news to the host.
            tasks.home.bell.ring_if_idle();
        }
        drop(entered);
    }

    /// Refuses new children from now on.
    pub(crate) fn refuse(&self) {
        self.closing.set(true);
    }

    /// Gives a closed nursery back.
    ///
    /// # Safety
    /// On the scope's thread, once; it is not used any more.
    pub(crate) unsafe fn release(this: NonNull<Nursery>) {
        // SAFETY: `HANDLE` keeps it until the end.
        unsafe {
            let nursery = this.as_ref();
            debug_assert!(nursery.children.first().is_none(), "closed first");
            // From here on nobody is queued, whatever the destructors below wake.
            nursery.body_ended();
            while let Some(header) = NonNull::new(nursery.ready.pop()) {
                header.as_ref().clear(QUEUED);
                if header != this.cast() {
                    Anchor::settle(header.cast());
                }
            }
            if let Some(mail) = &nursery.berth.mail {
                mail.close();
            }
            drop(nursery.parent.take());
            if let Some(error) = nursery.panic.take() {
                // The scope was dropped, so there is nobody to panic at.
                match nursery.tasks() {
                    Some(tasks) => tasks.report(error),
                    None => lament(error),
                }
            }
            nursery.header.clear(HANDLE);
            Anchor::settle(this.cast());
        }
    }
}

/// # Safety
/// As `AnchorVTable::dealloc`, of a nursery.
unsafe fn free(anchor: NonNull<Anchor>, _: Option<&Home>) {
    let nursery = anchor.cast::<Nursery>();
    // SAFETY: nobody refers to the nursery any more; it was released, so no user code runs.
    unsafe {
        ptr::drop_in_place(nursery.as_ptr());
        dealloc(nursery.as_ptr().cast(), Layout::new::<Nursery>());
    }
}
