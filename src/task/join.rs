//! The handle of a task.

use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    mem::ManuallyDrop,
    panic::Location,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

use super::{
    berth,
    cancel::{Canceller, cancel, cancel_because},
    cell,
    end::{cancel_now, doom, error_of},
    error::JoinError,
    header::{Header, Id},
    nursery::{self, Nursery},
    state::{BOUND, CANCELLED, ENDED, ERROR, FINISHED, HANDLE, LIVE, OUTPUT, SCOPED, SEEN, Status},
    tasks::{Tasks, drop_error, joins, name_of, note_join},
    waker::{self, wakee_of},
};
use crate::{
    call_site::CallSite,
    home::{Anchor, Who},
    wakee::Wakee,
};

/// Awaits a task, looks at it, or cancels it.
///
/// A handle is a future: its output is that of the task, or a [`JoinError`] if the task panicked
/// or was cancelled. Dropping the handle detaches the task, which runs on. A handle belongs to the
/// thread of its loop: it is neither `Send` nor `Sync`, even if the output is.
///
/// # Unobserved panics
/// The panic of a task is *unobserved* when the handle is dropped, before or after the panic, and
/// the error was never read: neither taken by awaiting the handle nor seen through
/// [`result`](JoinHandle::result). [`status`](JoinHandle::status), printing the handle with
/// `{:?}` and passing through [`wait`](crate::wait()) do not read it. A panic in the destructor of
/// a cancelled future, or of an output that nobody took, is unobserved at once.
///
/// The first unobserved panic is resumed when the `block_on`, `try_block_on` or `run` in progress
/// returns, or else the next one; the others are dropped, and counted on stderr. The panic of
/// `block_on`'s own future goes first, and nothing is resumed while the thread unwinds: what is
/// pending then stays so. `step`, `run_until_stalled` and `advance` resume nothing. A
/// [`Loop`](crate::Loop) that is dropped with one pending says so on stderr.
/// [`Builder::on_unobserved`](crate::Builder::on_unobserved) replaces all this.
///
/// # Cancellation
/// Dropping a future that awaits the handle drops the handle with it, unless it was awaited
/// through `&mut handle`; the task runs on either way.
///
/// # Panics
/// Polling it again after it returned the output, as for most futures.
///
/// ```
/// boucle::block_on(async {
///     let task = boucle::spawn(async { 6 * 7 });
///     assert_eq!(task.await.unwrap(), 42);
/// });
/// ```
#[must_use = "dropping the handle detaches the task and loses its result; name it `_` to mean it"]
pub struct JoinHandle<T> {
    /// `[handle]` invariant: `HANDLE` keeps the task until this is dropped, and a cell whose
    /// flags say `OUTPUT` holds a `T`.
    header: NonNull<Header>,
    output: PhantomData<T>,
}

// A handle never pins what it hands out.
impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// Spawns; the handle may be given away only if nothing is borrowed.
    ///
    /// # Safety
    /// As for [`cell::spawn`].
    #[inline]
    pub(crate) unsafe fn spawn<F: Future<Output = T>>(
        tasks: &Tasks,
        future: F,
        place: &'static Location<'static>,
        main: bool,
    ) -> JoinHandle<T> {
        // SAFETY: the caller says so.
        let header = unsafe { cell::spawn(tasks, future, place, main, true) };
        // SAFETY: it is new.
        unsafe { JoinHandle::first(tasks, header) }
    }

    /// Spawns `main`, and polls it if that may be done `at_once`: its output, if it has ended then and
    /// nobody refers to it, or else its handle.
    ///
    /// # Safety
    /// As for [`cell::spawn`]; if `at_once`, the loop is entered, the caller keeps it, and nothing is
    /// ready.
    #[inline]
    pub(crate) unsafe fn start<F: Future<Output = T>>(
        tasks: &Tasks,
        future: F,
        place: &'static Location<'static>,
        at_once: bool,
    ) -> Result<T, JoinHandle<T>> {
        // SAFETY: the caller says so.
        let started = unsafe { cell::start(tasks, future, place, at_once) };
        started.map_err(|header| JoinHandle { header, output: PhantomData })
    }

    /// As [`JoinHandle::spawn`], but the task does not start before it is woken.
    ///
    /// # Safety
    /// As for [`cell::spawn`].
    pub(crate) unsafe fn spawn_later<F: Future<Output = T>>(
        tasks: &Tasks,
        future: F,
        place: &'static Location<'static>,
    ) -> JoinHandle<T> {
        // SAFETY: the caller says so.
        let header = unsafe { cell::spawn(tasks, future, place, false, false) };
        // SAFETY: it is new.
        unsafe { JoinHandle::first(tasks, header) }
    }

    /// # Safety
    /// The task has just been made, with an output of type `T`, and has no handle yet.
    #[inline]
    unsafe fn first(tasks: &Tasks, header: NonNull<Header>) -> JoinHandle<T> {
        let handle = JoinHandle { header, output: PhantomData };
        if tasks.is_closing() {
            // SAFETY: it was never polled, and no task of this loop is: it is dropping them.
            unsafe { cancel_now(header) };
        }
        handle
    }

    /// Spawns a child of a scope; the handle may be given away only within the scope.
    ///
    /// # Safety
    /// As for [`Nursery::spawn`].
    pub(crate) unsafe fn scoped<F: Future<Output = T>, N>(
        nursery: NonNull<Nursery>,
        future: F,
        place: &'static Location<'static>,
    ) -> JoinHandle<T> {
        // SAFETY: the caller says so.
        let header = unsafe { Nursery::spawn::<F, N>(nursery, future, place) };
        JoinHandle { header, output: PhantomData }
    }

    fn task(&self) -> &Header {
        // SAFETY: [handle].
        unsafe { self.header.as_ref() }
    }

    /// The task itself, for the one who drives the loop.
    pub(crate) fn header(&self) -> &Header {
        self.task()
    }

    /// Names the task, without keeping it.
    pub(crate) fn who(&self) -> Who {
        self.task().who(&Tasks::of(self.task()).home)
    }

    fn output(&self) -> *mut ManuallyDrop<T> {
        // SAFETY: [handle]; the error is in the same place.
        unsafe { error_of(self.header).cast() }
    }

    /// Names the task, for reports and for [`Loop::tasks`](crate::Loop::tasks).
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let task = boucle::spawn(async {}).named("fries");
    /// assert_eq!(task.name(), "fries");
    /// # });
    /// ```
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        if self.task().is(SCOPED) {
            // SAFETY: [berth]; [handle].
            unsafe { berth::set_name(self.header, name) };
        } else {
            Tasks::of(self.task()).set_name(self.task(), name);
        }
        self
    }

    /// The name of the task: the one it was given, or else the name of the async fn that it runs.
    /// An async block has the name of the function around it.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// async fn cook() {}
    ///
    /// assert_eq!(boucle::spawn(cook()).name(), "cook");
    /// assert_eq!(boucle::spawn(async { cook().await }).name(), "main");
    /// # });
    /// ```
    pub fn name(&self) -> Cow<'static, str> {
        // SAFETY: [handle].
        unsafe { name_of(self.header) }
    }

    /// The number of the task in its loop.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let (soda, fries) = (l.spawn(async {}), l.spawn(async {}));
    /// assert!(soda.id() < fries.id());
    /// ```
    pub fn id(&self) -> Id {
        self.task().id
    }

    /// Where the task is in its life.
    ///
    /// To see that a task has failed is not to read its error: see
    /// [unobserved panics](JoinHandle#unobserved-panics).
    ///
    /// ```
    /// use boucle::Status;
    ///
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(boucle::yield_now());
    /// assert_eq!(task.status(), Status::New);
    /// l.step();
    /// assert_eq!(task.status(), Status::Ready);
    /// l.step();
    /// assert_eq!(task.status(), Status::Finished);
    /// ```
    pub fn status(&self) -> Status {
        Status::of(self.task().flags())
    }

    /// Whether the task has ended, in whatever way. Its future has been dropped by then.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(std::future::pending::<()>());
    /// assert!(!task.is_finished());
    /// task.cancel();
    /// assert!(task.is_finished());
    /// ```
    pub fn is_finished(&self) -> bool {
        self.task().is(ENDED)
    }

    /// Where the task was spawned.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let (task, line) = (l.spawn(async {}), line!());
    /// assert_eq!(task.spawned_at().line(), line);
    /// ```
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.task().place
    }

    /// The result, or `None` while the task runs. An error that was seen here counts as read: see
    /// [unobserved panics](JoinHandle#unobserved-panics).
    ///
    /// # Panics
    /// If the output was taken, by awaiting the handle.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async { 42 });
    /// assert!(task.result().is_none());
    /// l.run();
    /// assert_eq!(*task.result().unwrap().unwrap(), 42);
    /// ```
    #[track_caller]
    pub fn result(&self) -> Option<Result<&T, &JoinError>> {
        let flags = self.task().flags();
        if flags & OUTPUT != 0 {
            self.task().set(SEEN);
            // SAFETY: [handle]; the output leaves through `&mut self` only.
            Some(Ok(unsafe { &*self.output() }))
        } else if flags & ERROR != 0 {
            self.task().set(SEEN);
            // SAFETY: `ERROR`; it leaves through `&mut self` only.
            Some(Err(unsafe { &*error_of(self.header) }))
        } else if flags & ENDED != 0 {
            self.taken("asked for")
        } else {
            None
        }
    }

    #[cold]
    #[track_caller]
    fn taken(&self, what: &str) -> ! {
        panic!(
            "the output of task '{}' ({}, spawned at {}) is {what} after it was taken: await a \
             handle once",
            self.name(),
            self.id(),
            self.spawned_at()
        )
    }

    /// Cancels the task; false if it has ended already.
    ///
    /// The future has been dropped when this returns, and the handle yields a [`JoinError`], with
    /// two exceptions. A task that is on the stack, such as one that cancels itself, is dropped as
    /// soon as it returns `Pending`; if it returns `Ready` instead, it still counts as cancelled
    /// and its output is dropped. And a cancel inside a destructor that runs because of another
    /// cancel takes effect before the outermost one returns.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let task = boucle::spawn(std::future::pending::<()>());
    /// assert!(task.cancel());
    /// assert!(!task.cancel());
    /// assert!(task.await.unwrap_err().is_cancelled());
    /// # });
    /// ```
    pub fn cancel(&self) -> bool {
        // SAFETY: [handle]; a handle is `!Send`, so this is home's thread.
        unsafe { cancel(self.header) }
    }

    /// As [`JoinHandle::cancel`], and says why, for whoever awaits the task: see
    /// [`JoinError::reason`]. The first reason counts.
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let task = boucle::spawn(std::future::pending::<()>());
    /// task.cancel_because("the client has gone");
    /// let error = task.await.unwrap_err();
    /// assert_eq!(error.reason(), Some("the client has gone"));
    /// assert!(error.to_string().ends_with(" was cancelled: the client has gone"));
    /// # });
    /// ```
    pub fn cancel_because(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        // SAFETY: [handle]; a handle is `!Send`, so this is home's thread.
        unsafe { cancel_because(self.header, reason.into()) }
    }

    /// Ties the task to the handle: dropping the handle cancels the task, as
    /// [`JoinHandle::cancel`] does, instead of detaching it.
    ///
    /// It stays so wherever the handle goes: into a future that is dropped, a
    /// [`wait`](crate::wait()) or a [`gather`](crate::gather()).
    ///
    /// ```
    /// use std::rc::Rc;
    ///
    /// # boucle::block_on(async {
    /// let alive = Rc::new(());
    /// let owned = alive.clone();
    /// let task = boucle::spawn(async move {
    ///     let _owned = owned;
    ///     std::future::pending::<()>().await
    /// });
    /// drop(task.cancel_on_drop());
    /// assert_eq!(Rc::strong_count(&alive), 1);
    /// # });
    /// ```
    pub fn cancel_on_drop(self) -> Self {
        self.task().set(BOUND);
        self
    }

    /// Something that cancels the task after the handle was moved into a
    /// [`wait`](crate::wait()) or [`gather`](crate::gather()).
    ///
    /// ```
    /// # boucle::block_on(async {
    /// let task = boucle::spawn(std::future::pending::<()>());
    /// let canceller = task.canceller();
    /// let ended = boucle::wait([task]);
    /// assert!(canceller.cancel());
    /// let (done, failed) = ended.await;
    /// assert_eq!((done.len(), failed.len()), (0, 1));
    /// # });
    /// ```
    pub fn canceller(&self) -> Canceller {
        // SAFETY: [handle]; this is home's thread.
        unsafe { Canceller::new(self.header) }
    }

    /// The output, if it is there.
    pub(crate) fn output_ref(&self) -> Option<&T> {
        // SAFETY: [handle]; the output leaves through `&mut self` only.
        self.task().is(OUTPUT).then(|| unsafe { &**self.output() })
    }

    /// Detaches the task, and leaves who is woken at its end: not only the handle's owner cares.
    pub(crate) fn detach(self) {
        if !self.task().is(ENDED) {
            let this = ManuallyDrop::new(self);
            // `LIVE` or `BUSY` keeps the task, since it has not ended.
            this.task().clear(HANDLE);
        }
    }

    /// Unties the task from the handle.
    pub(crate) fn unbind(&self) {
        self.task().clear(BOUND);
    }

    /// The task, to be woken.
    pub(crate) fn wakee(&self) -> Wakee {
        // SAFETY: [handle], on home's thread, where handles stay.
        unsafe { waker::hold(self.header) }
    }

    /// Takes the result of a task that has ended.
    #[inline]
    #[track_caller]
    pub(crate) fn take(&mut self) -> Result<T, JoinError> {
        let task = self.task();
        if task.is(OUTPUT) {
            task.clear(OUTPUT);
            // SAFETY: [handle], and the flag is clear now, so it is read once.
            Ok(ManuallyDrop::into_inner(unsafe { self.output().read() }))
        } else if task.is(ERROR) {
            task.clear(ERROR);
            // SAFETY: likewise.
            Err(ManuallyDrop::into_inner(unsafe { error_of(self.header).read() }))
        } else {
            self.taken("awaited")
        }
    }

    /// [`JoinHandle::take`], and then drops the handle, all at once.
    #[inline]
    #[track_caller]
    pub(crate) fn into_result(mut self) -> Result<T, JoinError> {
        if !self.task().is(OUTPUT) {
            return self.take();
        }
        let handle = ManuallyDrop::new(self);
        // SAFETY: [handle] until `HANDLE` is clear; the output is read once, since its flag is clear
        // then; this is home's thread.
        unsafe {
            let output = handle.output().read();
            handle.task().clear(OUTPUT | HANDLE);
            Anchor::settle(handle.header.cast());
            Ok(ManuallyDrop::into_inner(output))
        }
    }

    /// Registers who is to be woken when the task ends; true if it has ended.
    #[inline]
    #[track_caller]
    pub(crate) fn watch(&self, cx: &Context<'_>) -> bool {
        let task = self.task();
        if task.is(ENDED) {
            return true;
        }
        if !task.has_joiner() {
            if let Some(joiner) = waker::own(cx) {
                // SAFETY: it is on the stack, on its loop's thread.
                unsafe {
                    // First, so that a task that awaits itself is seen to be awaited.
                    task.set_joiner(Some(waker::hold(joiner)));
                    joins(joiner.as_ref(), task, CallSite::caller());
                }
                return false;
            }
        }
        self.watch_anyhow(cx)
    }

    /// Has `wakee` woken when the task ends, at once if it has ended.
    #[inline]
    pub(crate) fn watch_by(&self, wakee: Wakee) {
        let task = self.task();
        if task.is(ENDED) {
            return wakee.wake();
        }
        // This may be foreign, and its destructor may end the task: that wakes the new one.
        drop(self.replace_joiner(wakee));
    }

    #[inline(never)]
    #[track_caller]
    fn watch_anyhow(&self, cx: &Context<'_>) -> bool {
        let task = self.task();
        let joiner = task.take_joiner();
        let known = joiner.as_ref().is_some_and(|joiner| joiner.is(cx));
        task.set_joiner(joiner);
        note_join(task);
        if known {
            return false;
        }
        // Cloning a foreign waker runs its code, and so does dropping the old one: that may end the
        // task, or have somebody else watch it.
        let joiner = wakee_of(cx);
        drop(self.replace_joiner(joiner));
        task.is(ENDED)
    }

    /// Has `joiner` woken when the task ends, and gives back who was to be woken until now, or
    /// `joiner` itself if the task has ended. Runs no foreign code; dropping what it returns may.
    pub(crate) fn replace_joiner(&self, joiner: Wakee) -> Option<Wakee> {
        let task = self.task();
        if task.is(ENDED) {
            return Some(joiner);
        }
        let old = task.take_joiner();
        task.set_joiner(Some(joiner));
        old
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    #[inline(always)]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.watch(cx) {
            return Poll::Ready(self.get_mut().take());
        }
        Poll::Pending
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        let header = self.header;
        // SAFETY: [handle] until the flag is cleared, then the hold; it is home's thread, since
        // handles are `!Send`.
        unsafe {
            let task = header.as_ref();
            if task.flags() & (ENDED | OUTPUT | ERROR) == FINISHED {
                // The usual end: the output was awaited.
                task.clear(HANDLE);
                return Anchor::settle(header.cast());
            }
            if task.flags() & (LIVE | BOUND) == LIVE && !task.has_joiner() {
                // Detached: the loop, or the scope, keeps it.
                return task.clear(HANDLE);
            }
            Anchor::hold(header.cast());
            task.clear(HANDLE);
            if task.is(BOUND) {
                cancel(header);
            }
            drop_unread(header);
            Anchor::release(header.cast());
        }
    }
}

/// # Safety
/// Home's thread only; the caller holds the task, whose handle has just gone.
unsafe fn drop_unread(header: NonNull<Header>) {
    // SAFETY: the caller holds it.
    let task = unsafe { header.as_ref() };
    if task.is(OUTPUT) && task.is(SCOPED) {
        // SAFETY: as above; a child's handle is not there without its scope.
        unsafe { nursery::doom(header) };
    } else if task.is(OUTPUT) {
        // SAFETY: as above.
        unsafe { doom(header) };
    } else if task.is(ERROR) {
        task.clear(ERROR);
        // SAFETY: the flag said that it is there, and is clear now.
        let error = ManuallyDrop::into_inner(unsafe { error_of(header).read() });
        if error.is_panic() && !task.is(SEEN) {
            Tasks::of(task).report(error);
        } else {
            drop_error(error);
        }
    } else {
        drop(task.take_joiner());
    }
}

impl<T: fmt::Debug> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Task '{}' [{}]", self.name(), self.status())?;
        let flags = self.task().flags();
        if flags & OUTPUT != 0 {
            // SAFETY: as in `result`.
            write!(f, " ({:?})", unsafe { &**self.output() })?;
        } else if flags & (ERROR | CANCELLED) == ERROR {
            f.write_str(" (")?;
            // SAFETY: as in `result`.
            unsafe { &*error_of(self.header) }.cause(f)?;
            f.write_str(")")?;
        }
        f.write_str(">")
    }
}
