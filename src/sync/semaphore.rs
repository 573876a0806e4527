//! `Semaphore`: a number of permits.

use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    panic::Location,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::taken::{Taken, Ticket};
use crate::{
    queue::{Place, ResourceKind, WaitQueue},
    task::note_claim,
};

/// A number of permits, given out first come, first served.
///
/// A request waits behind all that came before it, even if it asks for fewer permits than are
/// there: a big request is never starved by small ones. Permits that come back are given to
/// those who wait before anybody else can take them.
///
/// ```
/// use boucle::{block_on, gather, sleep, sync::Semaphore};
/// use std::time::Duration;
///
/// let stoves = Semaphore::new(2);
/// let cook = async || {
///     let _stove = stoves.acquire().await;
///     sleep(Duration::from_millis(1)).await;
/// };
/// // Never more than two cook at a time.
/// block_on(async { gather([cook(), cook(), cook()]).await });
/// assert_eq!(stoves.available(), 2);
/// ```
pub struct Semaphore {
    available: Cell<usize>,
    /// Those that are available and those that will come back: so they can be counted.
    total: Cell<usize>,
    taken: Taken,
    queue: WaitQueue,
}

impl Semaphore {
    /// A semaphore with so many permits; zero is fine, since more may be added.
    ///
    /// ```
    /// assert_eq!(boucle::sync::Semaphore::new(3).available(), 3);
    /// ```
    #[track_caller]
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore::made(permits, ResourceKind::Semaphore, Location::caller())
    }

    #[inline]
    pub(super) const fn made(
        permits: usize,
        kind: ResourceKind,
        at: &'static Location<'static>,
    ) -> Semaphore {
        Semaphore {
            available: Cell::new(permits),
            total: Cell::new(permits),
            taken: Taken::new(),
            queue: WaitQueue::new(kind, at),
        }
    }

    /// Names it, for reports of what tasks wait for.
    ///
    /// ```
    /// use boucle::{Loop, sync::Semaphore};
    ///
    /// let stoves = Semaphore::new(0).named("stoves");
    /// let stalled = Loop::new().try_block_on(async { drop(stoves.acquire().await) });
    /// assert!(stalled.unwrap_err().to_string().contains(r#"semaphore "stoves""#));
    /// ```
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Semaphore {
        self.set_name(name.into());
        self
    }

    pub(super) fn set_name(&self, name: Cow<'static, str>) {
        self.queue.set_name(name);
    }

    /// Waits for one permit; takes no turn if there is one and nobody waits.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue; a permit that it was given goes to the next.
    ///
    /// ```
    /// let semaphore = boucle::sync::Semaphore::new(1);
    /// boucle::block_on(async {
    ///     let permit = semaphore.acquire().await;
    ///     assert_eq!(semaphore.available(), 0);
    ///     drop(permit);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> Acquire<'_> {
        self.acquire_many(1)
    }

    /// Waits for `n` permits at once, however long it takes until there are as many. A request
    /// for none waits for its turn too.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue; permits that it was given go to the next.
    ///
    /// ```
    /// let semaphore = boucle::sync::Semaphore::new(3);
    /// boucle::block_on(async {
    ///     let permit = semaphore.acquire_many(2).await;
    ///     assert_eq!((permit.count(), semaphore.available()), (2, 1));
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_many(&self, n: usize) -> Acquire<'_> {
        Acquire { semaphore: self, wants: n, claim: Claim::new() }
    }

    /// As [`acquire`](Semaphore::acquire), for a permit that borrows nothing: to give it to a
    /// task, or to keep it.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue; a permit that it was given goes to the next.
    ///
    /// ```
    /// use boucle::{block_on, spawn, sync::Semaphore, yield_now};
    /// use std::rc::Rc;
    ///
    /// let semaphore = Rc::new(Semaphore::new(1));
    /// block_on(async {
    ///     // The next task is only spawned when the one before has ended.
    ///     for _ in 0..3 {
    ///         let permit = semaphore.acquire_owned().await;
    ///         drop(spawn(async move {
    ///             yield_now().await;
    ///             drop(permit);
    ///         }));
    ///     }
    /// });
    /// ```
    #[track_caller]
    pub fn acquire_owned(self: &Rc<Self>) -> AcquireOwned {
        self.acquire_many_owned(1)
    }

    /// As [`acquire_many`](Semaphore::acquire_many), for a permit that borrows nothing.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue; permits that it was given go to the next.
    ///
    /// ```
    /// let semaphore = std::rc::Rc::new(boucle::sync::Semaphore::new(2));
    /// let permit = boucle::block_on(semaphore.acquire_many_owned(2));
    /// assert_eq!((permit.count(), semaphore.available()), (2, 0));
    /// ```
    #[track_caller]
    pub fn acquire_many_owned(self: &Rc<Self>, n: usize) -> AcquireOwned {
        AcquireOwned { semaphore: self.clone(), wants: n, claim: Claim::new() }
    }

    /// Takes a permit, or nothing if there is none or if somebody waits.
    ///
    /// ```
    /// let semaphore = boucle::sync::Semaphore::new(1);
    /// let permit = semaphore.try_acquire();
    /// assert!(permit.is_some() && semaphore.try_acquire().is_none());
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `n` permits at once, or nothing if there are fewer or if somebody waits.
    ///
    /// ```
    /// let semaphore = boucle::sync::Semaphore::new(3);
    /// let two = semaphore.try_acquire_many(2);
    /// assert!(two.is_some() && semaphore.try_acquire_many(2).is_none());
    /// ```
    #[inline]
    pub fn try_acquire_many(&self, n: usize) -> Option<Permit<'_>> {
        // Only made if it was taken: a permit that is dropped goes back.
        self.take(n).then(|| Permit::new(self, n))
    }

    /// How many permits nobody has. Somebody who wants more may still be waiting for them.
    ///
    /// ```
    /// let semaphore = boucle::sync::Semaphore::new(2);
    /// let _permit = semaphore.try_acquire();
    /// assert_eq!(semaphore.available(), 1);
    /// ```
    pub fn available(&self) -> usize {
        self.available.get()
    }

    /// Adds `n` permits for good, and gives them to those who wait.
    ///
    /// # Panics
    /// If there would be more than `usize::MAX` permits, those that are taken included.
    ///
    /// ```
    /// let semaphore = boucle::sync::Semaphore::new(0);
    /// semaphore.add_permits(2);
    /// assert_eq!(semaphore.available(), 2);
    /// ```
    #[track_caller]
    pub fn add_permits(&self, n: usize) {
        let Some(total) = self.total.get().checked_add(n) else {
            panic!("boucle: a semaphore holds at most usize::MAX permits");
        };
        self.total.set(total);
        self.release(n);
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    #[inline]
    pub(super) fn take(&self, n: usize) -> bool {
        let available = self.available.get();
        let enough = available >= n && self.queue.is_empty();
        if enough {
            self.available.set(available - n);
        }
        enough
    }

    #[inline]
    fn release(&self, n: usize) {
        // Not above the total.
        self.available.set(self.available.get() + n);
        self.grant();
    }

    /// Gives what there is to those who wait, in order.
    #[inline]
    fn grant(&self) {
        if !self.queue.is_empty() {
            self.grant_waiting();
        }
    }

    #[inline(never)]
    fn grant_waiting(&self) {
        while let Some(left) =
            self.queue.first_wants().and_then(|wants| self.available.get().checked_sub(wants))
        {
            self.available.set(left);
            // All is in order when it wakes: that may run foreign code, which may come back here.
            if let Some(wakee) = self.queue.take_first() {
                wakee.wake();
            }
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .field("waiting", &self.waiting())
            .finish()
    }
}

/// What all who wait for permits have in common.
pub(super) struct Claim {
    place: Option<Place>,
    /// Where the wait is written.
    at: &'static Location<'static>,
}

impl Claim {
    #[inline]
    #[track_caller]
    pub(super) const fn new() -> Claim {
        Claim { place: None, at: Location::caller() }
    }

    /// Ready when the permits are the caller's.
    #[inline]
    pub(super) fn poll(
        &mut self,
        semaphore: &Semaphore,
        wants: usize,
        cx: &Context<'_>,
    ) -> Poll<()> {
        if self.place.is_none() && semaphore.take(wants) {
            return Poll::Ready(());
        }
        self.wait(semaphore, wants, cx)
    }

    #[inline(never)]
    fn wait(&mut self, semaphore: &Semaphore, wants: usize, cx: &Context<'_>) -> Poll<()> {
        let came = self.place.is_none();
        if semaphore.queue.join(&mut self.place, wants, self.at, cx) {
            let _ = self.place.take().map(|place| semaphore.queue.leave(place));
            return Poll::Ready(());
        }
        if came {
            semaphore.queue.set_takers(semaphore.taken.list().clone());
            // Joining may have run foreign code that gave permits back; then this one is woken.
            semaphore.grant();
        }
        note_claim(Place::number(&self.place));
        Poll::Pending
    }

    /// Gives up, and hands on what it was given.
    #[inline]
    pub(super) fn abandon(&mut self, semaphore: &Semaphore, wants: usize) {
        if let Some(place) = self.place.take() {
            self.leave(semaphore, wants, place);
        }
    }

    #[cold]
    fn leave(&self, semaphore: &Semaphore, wants: usize, place: Place) {
        if semaphore.queue.leave(place) {
            semaphore.release(wants);
        } else {
            // The next may want less.
            semaphore.grant();
        }
    }
}

/// Waits for permits, from [`Semaphore::acquire`] and [`Semaphore::acquire_many`].
///
/// # Cancellation
/// Dropping it leaves the queue; permits that it was given go to the next.
///
/// ```
/// let semaphore = boucle::sync::Semaphore::new(1);
/// drop(semaphore.acquire());
/// assert_eq!(semaphore.available(), 1);
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Acquire<'s> {
    semaphore: &'s Semaphore,
    wants: usize,
    claim: Claim,
}

impl<'s> Future for Acquire<'s> {
    type Output = Permit<'s>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<'s>> {
        let (semaphore, count) = (self.semaphore, self.wants);
        self.claim.poll(semaphore, count, cx).map(|()| Permit::new(semaphore, count))
    }
}

impl Drop for Acquire<'_> {
    #[inline]
    fn drop(&mut self) {
        self.claim.abandon(self.semaphore, self.wants);
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acquire").field(self.semaphore).finish()
    }
}

/// Waits for permits, from [`Semaphore::acquire_owned`] and [`Semaphore::acquire_many_owned`].
///
/// # Cancellation
/// Dropping it leaves the queue; permits that it was given go to the next.
///
/// ```
/// let semaphore = std::rc::Rc::new(boucle::sync::Semaphore::new(1));
/// drop(semaphore.acquire_owned());
/// assert_eq!(semaphore.available(), 1);
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct AcquireOwned {
    semaphore: Rc<Semaphore>,
    wants: usize,
    claim: Claim,
}

impl Future for AcquireOwned {
    type Output = OwnedPermit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<OwnedPermit> {
        let AcquireOwned { semaphore, wants, claim } = &mut *self;
        claim.poll(semaphore, *wants, cx).map(|()| OwnedPermit {
            semaphore: semaphore.clone(),
            count: *wants,
            ticket: semaphore.taken.sign(),
        })
    }
}

impl Drop for AcquireOwned {
    fn drop(&mut self) {
        self.claim.abandon(&self.semaphore, self.wants);
    }
}

impl fmt::Debug for AcquireOwned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AcquireOwned").field(&self.semaphore).finish()
    }
}

/// One or more permits of a [`Semaphore`], which go back when it is dropped.
///
/// ```
/// let semaphore = boucle::sync::Semaphore::new(1);
/// let permit = semaphore.try_acquire().unwrap();
/// drop(permit);
/// assert_eq!(semaphore.available(), 1);
/// ```
#[must_use = "permits go back at once if they are not kept"]
pub struct Permit<'s> {
    semaphore: &'s Semaphore,
    count: usize,
    ticket: Ticket,
}

impl<'s> Permit<'s> {
    /// For permits that were claimed already.
    #[inline]
    fn new(semaphore: &'s Semaphore, count: usize) -> Permit<'s> {
        Permit { semaphore, count, ticket: semaphore.taken.sign() }
    }

    /// How many permits it is.
    ///
    /// ```
    /// let semaphore = boucle::sync::Semaphore::new(3);
    /// assert_eq!(semaphore.try_acquire_many(2).unwrap().count(), 2);
    /// ```
    pub fn count(&self) -> usize {
        self.count
    }

    /// Keeps its permits from ever going back.
    ///
    /// ```
    /// let semaphore = boucle::sync::Semaphore::new(2);
    /// semaphore.try_acquire().unwrap().forget();
    /// assert_eq!(semaphore.available(), 1);
    /// ```
    pub fn forget(mut self) {
        forget(self.semaphore, &mut self.count);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.taken.strike(self.ticket);
        self.semaphore.release(self.count);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("count", &self.count).finish()
    }
}

/// The one permit of a mutex, which goes back when it is dropped.
pub(super) struct Sole<'s>(&'s Semaphore);

impl<'s> Sole<'s> {
    /// For a permit that was claimed already.
    #[inline]
    pub(super) fn new(semaphore: &'s Semaphore) -> Sole<'s> {
        semaphore.taken.sign_alone();
        Sole(semaphore)
    }
}

impl Drop for Sole<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.available.set(self.0.available.get() + 1);
        if !self.0.queue.is_empty() {
            self.0.taken.strike_alone();
            self.0.grant_waiting();
        }
    }
}

/// One or more permits of a [`Semaphore`] in an `Rc`, which go back when it is dropped.
///
/// ```
/// let semaphore = std::rc::Rc::new(boucle::sync::Semaphore::new(1));
/// let permit = boucle::block_on(semaphore.acquire_owned());
/// drop(permit);
/// assert_eq!(semaphore.available(), 1);
/// ```
#[must_use = "permits go back at once if they are not kept"]
pub struct OwnedPermit {
    semaphore: Rc<Semaphore>,
    count: usize,
    ticket: Ticket,
}

impl OwnedPermit {
    /// How many permits it is.
    ///
    /// ```
    /// let semaphore = std::rc::Rc::new(boucle::sync::Semaphore::new(1));
    /// assert_eq!(boucle::block_on(semaphore.acquire_owned()).count(), 1);
    /// ```
    pub fn count(&self) -> usize {
        self.count
    }

    /// Keeps its permits from ever going back.
    ///
    /// ```
    /// let semaphore = std::rc::Rc::new(boucle::sync::Semaphore::new(1));
    /// boucle::block_on(semaphore.acquire_owned()).forget();
    /// assert_eq!(semaphore.available(), 0);
    /// ```
    pub fn forget(mut self) {
        forget(&self.semaphore, &mut self.count);
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.semaphore.taken.strike(self.ticket);
        self.semaphore.release(self.count);
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("count", &self.count).finish()
    }
}

fn forget(semaphore: &Semaphore, count: &mut usize) {
    semaphore.total.set(semaphore.total.get() - std::mem::take(count));
}
