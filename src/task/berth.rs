//! What a child of a scope has behind its header: its place among its siblings, the name it was
//! given, and where its wakes go when no thread is home.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    ptr::{self, NonNull},
    sync::Arc,
    task::Waker,
};

use super::header::Header;
use crate::{
    facade::{AtomicU32, Mutex, Ordering, lock},
    guard::{catch, discard},
};

pub(super) struct Berth {
    /// The nursery, by the header that it begins with.
    pub(super) nursery: NonNull<Header>,
    /// Under another executor, where wakes go.
    pub(super) mail: Option<Arc<Mail>>,
    /// One while the child is in the mail, and once it has ended: no wake is news then.
    pub(super) posted: AtomicU32,
    /// The neighbours among the siblings.
    before: Cell<*mut Header>,
    after: Cell<*mut Header>,
    name: RefCell<Option<Cow<'static, str>>>,
}

/// `[berth]` invariant: behind every header with the flag `SCOPED`, and behind that of a nursery,
/// lies a [`Berth`], and pointers to such headers cover it.
///
/// # Safety
/// [berth]; the header is alive.
pub(super) unsafe fn berth<'a>(header: NonNull<Header>) -> &'a Berth {
    // A berth is aligned like a header, so it follows without a gap.
    const { assert!(align_of::<Berth>() <= align_of::<Header>()) };
    // SAFETY: the caller says so.
    unsafe { header.add(1).cast::<Berth>().as_ref() }
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

impl Berth {
    pub(super) fn new(nursery: NonNull<Header>, mail: Option<Arc<Mail>>) -> Berth {
        Berth {
            nursery,
            mail,
            posted: AtomicU32::new(0),
            before: Cell::new(ptr::null_mut()),
            after: Cell::new(ptr::null_mut()),
            name: RefCell::new(None),
        }
    }

    /// Whoever this is about has ended.
    pub(super) fn end(&self) {
        if self.mail.is_some() {
            // Ordering: Relaxed; a wake that comes just before is one too many, no more.
            self.posted.store(1, Ordering::Relaxed);
        }
    }
}

/// The children of a scope that have not ended, oldest first.
pub(super) struct Siblings {
    first: Cell<*mut Header>,
    last: Cell<*mut Header>,
}

impl Siblings {
    pub(super) fn new() -> Siblings {
        Siblings { first: Cell::new(ptr::null_mut()), last: Cell::new(ptr::null_mut()) }
    }

    pub(super) fn first(&self) -> Option<NonNull<Header>> {
        NonNull::new(self.first.get())
    }

    /// # Safety
    /// The child is alive and in no list.
    pub(super) unsafe fn push(&self, header: NonNull<Header>) {
        // SAFETY: the caller says so; what is in the list is alive.
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
    pub(super) unsafe fn remove(&self, header: NonNull<Header>) {
        // SAFETY: the caller says so; what is in the list is alive.
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

    /// All of them, for as long as none of them leaves meanwhile.
    pub(super) fn iter(&self) -> impl Iterator<Item = NonNull<Header>> {
        let mut next = self.first.get();
        std::iter::from_fn(move || {
            let header = NonNull::new(next)?;
            // SAFETY: what is in the list is alive.
            next = unsafe { berth(header) }.after.get();
            Some(header)
        })
    }
}

/// What other threads write to a scope under another executor, where no thread is home.
pub(super) struct Mail {
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

impl Mail {
    pub(super) fn open() -> Arc<Mail> {
        Arc::new(Mail { post: Mutex::new(Some(Post::default())) })
    }

    /// Posts a child, or the body, and wakes whoever polls the scope. From any thread.
    ///
    /// `waker` makes a waker of the child.
    ///
    /// # Safety
    /// [berth]; the header is alive.
    pub(super) unsafe fn send(&self, header: NonNull<Header>, waker: impl FnOnce() -> Waker) {
        // SAFETY: the caller says so.
        let posted = unsafe { &berth(header).posted };
        // Ordering: Release even if it is posted: whoever clears the mark acquires what we wrote.
        if posted.swap(1, Ordering::AcqRel) == 1 {
            return;
        }
        let mut unsent = Some(waker());
        let told = lock(&self.post).as_mut().and_then(|post| {
            post.woken.extend(unsent.take());
            post.waker.take()
        });
        // If the scope has ended.
        drop(unsent);
        wake(told);
    }

    /// Takes the mail. From now on, whoever posts wakes `waker`; the one before is returned.
    pub(super) fn receive(&self, waker: Waker) -> (Option<Waker>, Vec<Waker>) {
        let mut post = lock(&self.post);
        let post = post.get_or_insert_default();
        (post.waker.replace(waker), std::mem::take(&mut post.woken))
    }

    /// Takes no mail from now on.
    pub(super) fn close(&self) {
        let post = lock(&self.post).take();
        let _ = catch(|| drop(post)).map_err(discard);
    }
}

/// Wakes a waker of another executor, which may panic.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        let _ = catch(|| waker.wake()).map_err(discard);
    }
}
