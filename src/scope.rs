//! `scope`: tasks that may borrow, and that nobody outlives.
//!
//! `[forget]`: a scope's future may be leaked instead of dropped, while what its children borrow
//! goes away. That is sound because it alone polls and drops them, by [scope] of the nursery; there
//! is no guard object whose destructor safety would rest on.

use std::{
    borrow::Cow,
    cell::Cell,
    error::Error,
    fmt,
    future::poll_fn,
    marker::PhantomData,
    panic::{Location, resume_unwind},
    pin::{Pin, pin},
    ptr::NonNull,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    guard::{OnDrop, Payload, catch, discard},
    sync::{OneshotSender, oneshot},
    task::{Id, JoinError, JoinHandle, Nursery, Status},
};

/// Runs an async closure that may spawn children which borrow, and returns its output when it and
/// all children have ended.
///
/// Children may borrow whatever lives longer than the scope: the locals of the function around
/// it, and the [`Scope`] itself. They are polled inside the scope's future, each only when it was
/// woken, in the order in which they and the body became ready; they start at their turn. They are
/// listed by [`Loop::tasks`](crate::Loop::tasks) like other tasks. It works in any executor;
/// timers inside need a loop. A scope that was first polled in a loop and goes on elsewhere polls
/// all its children each time.
///
/// The scope ends early, and cancels the children that are left, when a child or the body panics:
/// the first panic goes on to whoever awaits the scope, once all destructors have run; further
/// ones are dropped. An `Err` is an output like any other here: see [`try_scope`].
///
/// One allocation for the scope and one for each child.
///
/// # Cancellation
/// Dropping the future drops the body, then the children, oldest first. A panic of theirs then
/// counts as unobserved.
///
/// # Panics
/// When a child or the body does.
///
/// ```
/// boucle::block_on(async {
///     let menu = ["fries", "soda"];
///     let served = std::cell::Cell::new(0);
///     let longest = boucle::scope(async |s| {
///         for dish in &menu {
///             s.spawn(async { served.set(served.get() + dish.len()) }); // not 'static
///         }
///         s.spawn(async { menu.iter().map(|dish| dish.len()).max() }).await.unwrap()
///     });
///     assert_eq!(longest.await, Some(5));
///     assert_eq!(served.get(), 9);
/// });
/// ```
///
/// Write `async |s|` rather than `|s| async move`: only an async closure can lend the scope to its
/// own future. A function that spawns into a scope names the time of the scope twice:
///
/// ```
/// use boucle::Scope;
///
/// async fn crawl<'s>(s: &'s Scope<'s, '_>, depth: u32, pages: &'s std::cell::Cell<u32>) {
///     pages.set(pages.get() + 1);
///     if depth > 0 {
///         for _ in 0..2 {
///             s.spawn(crawl(s, depth - 1, pages));
///         }
///     }
/// }
///
/// let pages = std::cell::Cell::new(0);
/// boucle::block_on(boucle::scope(async |s| crawl(s, 3, &pages).await));
/// assert_eq!(pages.get(), 15);
/// ```
///
/// A child cannot leave its scope, and cannot borrow what lives inside the body:
///
/// ```compile_fail,E0521
/// # boucle::block_on(async {
/// let mut escaped = None;
/// boucle::scope(async |s| escaped = Some(s.spawn(async { 1 }))).await;
/// # });
/// ```
///
/// ```compile_fail,E0597
/// # boucle::block_on(async {
/// boucle::scope(async |s| {
///     let dish = String::from("fries");
///     s.spawn(async { println!("{}", &dish) }).await.unwrap();
/// })
/// .await;
/// # });
/// ```
///
/// ```compile_fail
/// # boucle::block_on(async {
/// let dish = String::from("fries");
/// let scope = boucle::scope(async |s| { s.spawn(async { println!("{}", &dish) }); });
/// drop(dish); // still borrowed
/// scope.await;
/// # });
/// ```
#[track_caller]
pub fn scope<'env, F, R>(f: F) -> impl Future<Output = R>
where
    F: for<'s> AsyncFnOnce(&'s Scope<'s, 'env>) -> R,
{
    let place = Location::caller();
    async move {
        // Dropped from the last to the first: the body, the children, the scope. So a destructor
        // of a child may still use the scope.
        let nursery = Nursery::create(place);
        let scope = Scope { nursery, scope: PhantomData, env: PhantomData };
        let children = Children(nursery);
        let body = pin!(Some(f(&scope)));
        match children.run(body).await {
            Ok(Some(output)) => output,
            Ok(None) => unreachable!("a scope is cut short by panics alone"),
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// As [`scope`], for children and a body that may fail: the first `Err` ends it.
///
/// A child that returns `Err`, or the body, for instance by `?`, cancels whatever is left, and the
/// error is returned once all destructors have run. Handles give what is inside of `Ok`; they give
/// an error only if the child was cancelled by hand, so `unwrap` is right where nobody does. Errors
/// that come later, from destructors or in the same moment, are dropped.
///
/// # Cancellation
/// As [`scope`].
///
/// # Panics
/// As [`scope`]; a panic goes before any error.
///
/// ```
/// async fn cook(dish: &str) -> Result<usize, String> {
///     if dish == "fries" { Err(format!("{dish} burnt")) } else { Ok(dish.len()) }
/// }
///
/// boucle::block_on(async {
///     let menu = [String::from("soda"), String::from("fries")];
///     let served = boucle::try_scope(async |s| {
///         let dishes: Vec<_> = menu.iter().map(|dish| s.spawn(cook(dish))).collect();
///         let mut letters = 0;
///         for dish in dishes {
///             letters += dish.await.unwrap();
///         }
///         Ok(letters)
///     });
///     assert_eq!(served.await, Err("fries burnt".into()));
/// });
/// ```
#[track_caller]
pub fn try_scope<'env, F, T, E>(f: F) -> impl Future<Output = Result<T, E>>
where
    F: for<'s> AsyncFnOnce(&'s TryScope<'s, 'env, E>) -> Result<T, E>,
{
    let place = Location::caller();
    async move {
        let nursery = Nursery::create(place);
        let scope = Scope { nursery, scope: PhantomData, env: PhantomData };
        let scope = TryScope { scope, error: Cell::new(None) };
        let children = Children(nursery);
        let body = pin!(Some(async {
            let result = f(&scope).await;
            if result.is_err() {
                scope.scope.nursery().cut();
            }
            result
        }));
        let result = children.run(body).await;
        drop(children);
        match (scope.error.take(), result) {
            (error, Err(payload)) => {
                // Dropped now, since a destructor that panics while unwinding would abort.
                let _ = catch(|| drop(error)).map_err(discard);
                resume_unwind(payload)
            }
            (Some(error), Ok(result)) => {
                drop(result);
                Err(error)
            }
            (None, Ok(Some(result))) => result,
            (None, Ok(None)) => unreachable!("a scope is cut short by an error or a panic"),
        }
    }
}

/// Where children are spawned: what the closure of a [`scope`] is given.
///
/// `'scope` is the time until the scope has ended, `'env` that of what children may borrow.
pub struct Scope<'scope, 'env: 'scope> {
    /// There as long as anybody is lent this.
    nursery: NonNull<Nursery>,
    // Invariant, so that neither can be stretched or shrunk.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Scope<'scope, '_> {
    fn nursery(&self) -> &Nursery {
        // SAFETY: [nursery]: it is released once body and children, who are lent this, have gone.
        unsafe { self.nursery.as_ref() }
    }

    /// Spawns a child.
    ///
    /// On a scope that is ending, so in a destructor of its body or of a child, and on one that was
    /// cancelled, the future is dropped at once, and the handle gives an error.
    ///
    /// ```
    /// boucle::block_on(async {
    ///     let dish = String::from("fries");
    ///     let cooked = boucle::scope(async |s| s.spawn(async { dish.len() }).await);
    ///     assert_eq!(cooked.await.unwrap(), 5);
    /// });
    /// ```
    #[track_caller]
    pub fn spawn<F>(&'scope self, future: F) -> ScopedHandle<'scope, F::Output>
    where
        F: Future + 'scope,
        F::Output: 'scope,
    {
        self.spawn_as::<F, F>(future, Location::caller())
    }

    /// Spawns a child whose default name is that of an `N`.
    fn spawn_as<F, N>(
        &'scope self,
        future: F,
        place: &'static Location<'static>,
    ) -> ScopedHandle<'scope, F::Output>
    where
        F: Future + 'scope,
        F::Output: 'scope,
    {
        // SAFETY: a scope is `!Send`; the future and its output outlive `'scope`, the end of which
        // nobody sees before the nursery is closed, by [forget].
        let inner = unsafe { JoinHandle::scoped::<F, N>(self.nursery, future, place) };
        ScopedHandle { inner, scope: PhantomData }
    }

    /// Spawns a child and waits until it says that it is ready, which it does with a value.
    ///
    /// For children that must have begun before others rely on them: a server that listens, a
    /// connection that is made. The child is spawned by this call and runs on once it is ready.
    ///
    /// # Errors
    /// [`NeverReady`], if the child ends, or drops its [`Ready`], without having said so.
    ///
    /// # Cancellation
    /// Dropping the future leaves the child to the scope.
    ///
    /// ```
    /// boucle::block_on(boucle::scope(async |s| {
    ///     let (port, server) = s
    ///         .start(|ready| async move {
    ///             boucle::yield_now().await; // it binds
    ///             ready.with(8080);
    ///             "served"
    ///         })
    ///         .await
    ///         .unwrap();
    ///     assert_eq!((port, server.await.unwrap()), (8080, "served"));
    /// }));
    /// ```
    #[track_caller]
    pub fn start<V, F, Fut>(
        &'scope self,
        f: F,
    ) -> impl Future<Output = Result<(V, ScopedHandle<'scope, Fut::Output>), NeverReady>>
    where
        V: 'scope,
        F: FnOnce(Ready<V>) -> Fut,
        Fut: Future + 'scope,
    {
        let (sender, receiver) = oneshot();
        let child = self.spawn_as::<Fut, Fut>(f(Ready(sender)), Location::caller());
        async move {
            match receiver.await {
                Ok(value) => Ok((value, child)),
                Err(_) => Err(NeverReady),
            }
        }
    }

    /// Cancels all children, and those that are spawned from now on. The body goes on.
    ///
    /// Their futures have been dropped when this returns, with the same exceptions as for
    /// [`JoinHandle::cancel`](crate::JoinHandle::cancel): a child that calls this itself, and a
    /// call from the destructor of a child.
    ///
    /// ```
    /// use std::future::pending;
    ///
    /// boucle::block_on(boucle::scope(async |s| {
    ///     let child = s.spawn(pending::<()>());
    ///     s.cancel();
    ///     assert!(child.await.unwrap_err().is_cancelled());
    ///     assert!(s.spawn(async {}).await.unwrap_err().is_cancelled());
    /// }));
    /// ```
    pub fn cancel(&self) {
        self.nursery().cancel_all();
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("children", &self.nursery().live()).finish_non_exhaustive()
    }
}

/// What a child says that it is ready with: see [`Scope::start`].
#[must_use = "whoever starts the child waits until it is ready"]
pub struct Ready<V>(OneshotSender<V>);

impl<V> Ready<V> {
    /// The child is ready. If nobody waits for that any more, the value is dropped.
    ///
    /// ```
    /// boucle::block_on(boucle::scope(async |s| {
    ///     let started = s.start(|ready| async { ready.with(42) });
    ///     assert_eq!(started.await.unwrap().0, 42);
    /// }));
    /// ```
    pub fn with(self, value: V) {
        drop(self.0.send(value));
    }
}

impl<V> fmt::Debug for Ready<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}

/// Why [`Scope::start`] gave nothing: the child never said that it was ready.
///
/// ```
/// boucle::block_on(boucle::scope(async |s| {
///     let started = s.start(|ready: boucle::Ready<()>| async { drop(ready) });
///     assert_eq!(started.await.unwrap_err(), boucle::NeverReady);
/// }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeverReady;

impl fmt::Display for NeverReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the child ended, or dropped its `Ready`, before it said that it was ready")
    }
}

impl Error for NeverReady {}

/// Where children are spawned that may fail: what the closure of a [`try_scope`] is given.
pub struct TryScope<'scope, 'env: 'scope, E> {
    scope: Scope<'scope, 'env>,
    /// The first error of a child.
    error: Cell<Option<E>>,
}

impl<'scope, 'env, E> TryScope<'scope, 'env, E> {
    /// Spawns a child; if it returns an error, the scope ends with it.
    ///
    /// As [`Scope::spawn`] otherwise.
    ///
    /// ```
    /// boucle::block_on(async {
    ///     let doubled = boucle::try_scope(async |s| {
    ///         let child = s.spawn(async { "21".parse::<i32>() });
    ///         Ok(2 * child.await.unwrap())
    ///     });
    ///     assert_eq!(doubled.await, Ok(42));
    /// });
    /// ```
    #[track_caller]
    pub fn spawn<T, F>(&'scope self, future: F) -> ScopedHandle<'scope, T>
    where
        F: Future<Output = Result<T, E>> + 'scope,
        T: 'scope,
    {
        let child = Fallible { future, scope: self };
        self.scope.spawn_as::<_, F>(child, Location::caller())
    }

    /// Cancels all children, as [`Scope::cancel`] does. The body goes on.
    pub fn cancel(&self) {
        self.scope.cancel();
    }

    /// A child has failed.
    fn fail(&self, error: E) {
        let first = self.error.take();
        if first.is_none() {
            self.error.set(Some(error));
        } else {
            self.error.set(first);
            drop(error);
        }
        self.scope.nursery().cut();
    }
}

impl<E> fmt::Debug for TryScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let children = self.scope.nursery().live();
        f.debug_struct("TryScope").field("children", &children).finish_non_exhaustive()
    }
}

pin_project! {
    /// A child that ends its scope if it fails.
    struct Fallible<'scope, 'env, F, E> {
        #[pin]
        future: F,
        scope: &'scope TryScope<'scope, 'env, E>,
    }
}

impl<T, F, E> Future for Fallible<'_, '_, F, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            // Nobody polls a child of a scope that was cut short.
            Poll::Ready(Err(error)) => {
                this.scope.fail(error);
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The children of a scope that is being polled or dropped.
struct Children(NonNull<Nursery>);

impl Children {
    /// Runs the body and the children until all have ended or the scope is cut short, and drops
    /// what is left. Gives the output of the body, if it has ended, or the first panic.
    async fn run<B: Future>(
        &self,
        mut body: Pin<&mut Option<B>>,
    ) -> Result<Option<B::Output>, Payload> {
        // SAFETY: [nursery]: it is released when `self` is dropped.
        let nursery = unsafe { self.0.as_ref() };
        // Also when this future is dropped, which is before the body is.
        let refusing = OnDrop(|| nursery.refuse());
        let mut output = None;
        poll_fn(|cx| {
            let poll_body = |cx: &mut Context<'_>| {
                let Some(running) = body.as_mut().as_pin_mut() else { return true };
                let Poll::Ready(result) = running.poll(cx) else { return false };
                output = Some(result);
                nursery.end_body(|| body.set(None));
                true
            };
            // SAFETY: the scope's future is `!Send`, and it is what is polled.
            if unsafe { Nursery::poll(self.0, cx, poll_body) } {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        drop(refusing);
        if let Err(payload) = catch(|| body.set(None)) {
            nursery.body_panicked(payload);
        }
        // SAFETY: no child is polled, since they only are in `Nursery::poll`.
        unsafe { nursery.close() };
        if let Some(payload) = nursery.take_panic() {
            let _ = catch(|| drop(output)).map_err(discard);
            return Err(payload);
        }
        Ok(output)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        // SAFETY: no child is polled while the scope is dropped; it was created for this one.
        unsafe {
            self.0.as_ref().close();
            Nursery::release(self.0);
        }
    }
}

/// Awaits a child of a [`scope`], looks at it, or cancels it.
///
/// A handle is a future. Its output is that of the child, or a [`JoinError`] if the child was
/// cancelled; a child that panics ends the scope, and whoever awaits it with it. Dropping the
/// handle leaves the child to the scope, which waits for it.
///
/// # Cancellation
/// Dropping a future that awaits the handle drops the handle with it, unless it was awaited through
/// `&mut handle`; the child runs on either way.
///
/// # Panics
/// Polling it again after it returned the output, as for most futures.
///
/// ```
/// boucle::block_on(boucle::scope(async |s| {
///     let child = s.spawn(async { 6 * 7 }).named("answer");
///     assert_eq!((child.name().as_ref(), child.await.unwrap()), ("answer", 42));
/// }));
/// ```
pub struct ScopedHandle<'scope, T> {
    inner: JoinHandle<T>,
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedHandle<'_, T> {
    /// Names the child, for reports and for [`Loop::tasks`](crate::Loop::tasks).
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Self {
        ScopedHandle { inner: self.inner.named(name), scope: PhantomData }
    }

    /// The name of the child: the one it was given, or else the name of the async fn that it runs.
    pub fn name(&self) -> Cow<'static, str> {
        self.inner.name()
    }

    /// The number of the child in its loop, or in its scope if there is no loop.
    pub fn id(&self) -> Id {
        self.inner.id()
    }

    /// Where the child is in its life.
    pub fn status(&self) -> Status {
        self.inner.status()
    }

    /// Whether the child has ended, in whatever way. Its future has been dropped by then.
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// Where the child was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.inner.spawned_at()
    }

    /// Cancels the child, as [`JoinHandle::cancel`](crate::JoinHandle::cancel) does; false if it
    /// has ended already.
    ///
    /// ```
    /// boucle::block_on(boucle::scope(async |s| {
    ///     let child = s.spawn(std::future::pending::<()>());
    ///     assert!(child.cancel() && !child.cancel());
    ///     assert!(child.await.unwrap_err().is_cancelled());
    /// }));
    /// ```
    pub fn cancel(&self) -> bool {
        self.inner.cancel()
    }
}

// A handle never pins what it hands out.
impl<T> Unpin for ScopedHandle<'_, T> {}

impl<T> Future for ScopedHandle<'_, T> {
    type Output = Result<T, JoinError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.inner.watch(cx) {
            // The scope ends with the panic as soon as it is polled on.
            true if self.inner.status() == Status::Failed => Poll::Pending,
            true => Poll::Ready(self.inner.take()),
            false => Poll::Pending,
        }
    }
}

impl<T> fmt::Debug for ScopedHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Child '{}' [{}]>", self.name(), self.status())
    }
}
