//! `Mutex`: a value for one at a time, across awaits.

use std::{
    borrow::Cow,
    cell::{RefCell, RefMut},
    fmt,
    ops::{Deref, DerefMut},
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use super::semaphore::{Claim, Semaphore, Sole};
use crate::queue::ResourceKind;

/// A value for one task at a time, which may keep it while it awaits something else.
///
/// Tasks of one loop never run at the same time, so a value that is only used *between* awaits
/// needs no mutex: a `RefCell` or `Cell` will do.
///
/// The lock is given to those who wait in the order in which they came, directly: nobody who
/// comes later can take it in between. A panic while it is locked unlocks it like any other end
/// of the guard; nothing is poisoned, and the value is as the panic left it. A task that locks
/// what it has locked already waits for ever.
///
/// ```
/// use boucle::{block_on, gather, sync::Mutex, yield_now};
///
/// let account = Mutex::new(10);
/// let withdraw = async |amount: i32| {
///     let mut balance = account.lock().await;
///     if *balance >= amount {
///         yield_now().await; // the others wait
///         *balance -= amount;
///     }
/// };
/// block_on(async { gather([withdraw(7), withdraw(7)]).await });
/// assert_eq!(account.into_inner(), 3);
/// ```
///
/// Spawned tasks share it in an `Rc`, which each of them keeps while it has the lock:
///
/// ```
/// use boucle::{block_on, spawn, sync::Mutex};
/// use std::rc::Rc;
///
/// block_on(async {
///     let total = Rc::new(Mutex::new(0));
///     let task = spawn({
///         let total = total.clone();
///         async move { *total.lock().await += 1 }
///     });
///     task.await.unwrap();
///     assert_eq!(*total.lock().await, 1);
/// });
/// ```
pub struct Mutex<T: ?Sized> {
    turn: Turn,
    /// Borrowed by whoever has the permit.
    value: RefCell<T>,
}

/// One permit.
struct Turn(Semaphore);

impl Turn {
    #[track_caller]
    const fn new() -> Turn {
        Turn(Semaphore::made(1, ResourceKind::Mutex, Location::caller()))
    }
}

impl<T> Mutex<T> {
    /// A mutex that nobody has locked.
    ///
    /// ```
    /// const ZERO: boucle::sync::Mutex<u8> = boucle::sync::Mutex::new(0);
    /// assert_eq!(ZERO.into_inner(), 0);
    /// ```
    #[track_caller]
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { turn: Turn::new(), value: RefCell::new(value) }
    }

    /// Names it, for reports of what tasks wait for.
    ///
    /// ```
    /// use boucle::{Loop, sync::Mutex};
    ///
    /// let orders = Mutex::new(()).named("orders");
    /// let stalled = Loop::new().try_block_on(async {
    ///     let _guard = orders.lock().await;
    ///     drop(orders.lock().await);
    /// });
    /// assert!(stalled.unwrap_err().to_string().contains(r#"mutex "orders" taken by itself"#));
    /// ```
    pub fn named(self, name: impl Into<Cow<'static, str>>) -> Mutex<T> {
        self.turn.0.set_name(name.into());
        self
    }

    /// The value; nobody has locked it, since nobody borrows the mutex.
    ///
    /// ```
    /// assert_eq!(boucle::sync::Mutex::new(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock; takes no turn if nobody has it.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue; if it was given the lock, the next one gets it.
    ///
    /// ```
    /// let mutex = boucle::sync::Mutex::new(vec![1]);
    /// boucle::block_on(async { mutex.lock().await.push(2) });
    /// assert_eq!(mutex.into_inner(), [1, 2]);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> Lock<'_, T> {
        Lock { mutex: self, claim: Claim::new() }
    }

    /// Locks it, or returns `None` if somebody has it, or has been given it.
    ///
    /// ```
    /// let mutex = boucle::sync::Mutex::new(1);
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(mutex.try_lock().is_none());
    /// assert_eq!(*guard, 1);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if !self.turn.0.take(1) {
            return None;
        }
        Some(MutexGuard { value: self.value.borrow_mut(), _permit: Sole::new(&self.turn.0) })
    }

    /// The value, without locking: a `&mut` says that nobody else is there.
    ///
    /// ```
    /// let mut mutex = boucle::sync::Mutex::new(1);
    /// *mutex.get_mut() = 2;
    /// assert_eq!(mutex.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mutex = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => mutex.field("value", &&*guard),
            None => mutex.field("value", &format_args!("<locked>")),
        };
        mutex.field("waiting", &self.turn.0.waiting()).finish()
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    #[track_caller]
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

/// Waits for a [`Mutex`], from [`Mutex::lock`].
///
/// # Cancellation
/// Dropping it leaves the queue; if it was given the lock, the next one gets it.
///
/// ```
/// let mutex = boucle::sync::Mutex::new(());
/// drop(mutex.lock());
/// assert!(mutex.try_lock().is_some());
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Lock<'m, T: ?Sized> {
    mutex: &'m Mutex<T>,
    claim: Claim,
}

impl<'m, T: ?Sized> Future for Lock<'m, T> {
    type Output = MutexGuard<'m, T>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MutexGuard<'m, T>> {
        let mutex = self.mutex;
        self.claim.poll(&mutex.turn.0, 1, cx).map(|()| MutexGuard {
            // A permit is the only way to the value.
            value: mutex.value.borrow_mut(),
            _permit: Sole::new(&mutex.turn.0),
        })
    }
}

impl<T: ?Sized> Drop for Lock<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.claim.abandon(&self.mutex.turn.0, 1);
    }
}

impl<T: ?Sized> fmt::Debug for Lock<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("waiting", &self.mutex.turn.0.waiting()).finish()
    }
}

/// The value of a locked [`Mutex`], which is unlocked when this is dropped.
///
/// ```
/// let mutex = boucle::sync::Mutex::new(1);
/// let mut guard = mutex.try_lock().unwrap();
/// *guard += 1;
/// drop(guard);
/// assert_eq!(*mutex.try_lock().unwrap(), 2);
/// ```
#[must_use = "it is unlocked at once if the guard is not kept"]
pub struct MutexGuard<'m, T: ?Sized> {
    // Fields are dropped in this order: the value is let go before the next one is woken.
    value: RefMut<'m, T>,
    _permit: Sole<'m>,
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
