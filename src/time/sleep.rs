//! `sleep`: one timer.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    ptr::{self, NonNull},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use crate::{
    call_site::CallSite,
    clock::{self, ClockId},
    home::{Home, HomeRef, Letter, here},
    task::wakee_of,
    timers::Key,
    turn::{Core, with_core},
};

/// The time on the clock of the loop that runs on this thread, real or virtual; outside a loop,
/// the real time.
///
/// ```
/// let before = boucle::now();
/// assert!(boucle::block_on(async { boucle::now() }) >= before);
/// ```
pub fn now() -> Instant {
    with_core(Core::now).unwrap_or_else(Instant::now)
}

/// Waits for a while, counted from this call.
///
/// Never returns early. A duration of zero pauses for one turn. Durations too long for the clock
/// saturate, at more than 500 years.
///
/// # Cancellation
/// Dropping the future disarms the timer. O(1); O(log n) if the loop has looked at it.
///
/// # Panics
/// When polled outside a loop, or under another clock than it was made under: a virtual clock's
/// instants mean nothing elsewhere.
///
/// ```
/// use std::time::Duration;
///
/// // Made inside the loop, so that it takes its clock, real or virtual.
/// boucle::block_on(async { boucle::sleep(Duration::from_millis(1)).await });
/// ```
#[inline]
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    let (now, clock) = time();
    Sleep::new(clock::later(now, duration), clock, duration.is_zero())
}

/// Waits until a point in time on the clock of the loop, or on the real clock if it is made
/// outside a loop.
///
/// As [`sleep`] otherwise. An instant that has passed pauses for one turn.
///
/// # Cancellation
/// As for [`sleep`].
///
/// # Panics
/// As [`sleep`].
///
/// ```
/// use std::time::Duration;
///
/// boucle::block_on(async {
///     let deadline = boucle::now() + Duration::from_millis(1);
///     boucle::sleep_until(deadline).await;
///     assert!(boucle::now() >= deadline);
/// });
/// ```
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    let (now, clock) = time();
    Sleep::new(deadline, clock, deadline <= now)
}

/// The time on the clock of the current loop, or on the real one, and which it is.
#[inline]
pub(super) fn time() -> (Instant, ClockId) {
    match with_core(|core| (core.clock().now(), core.clock().id())) {
        Some(time) => time,
        None => (Instant::now(), ClockId::REAL),
    }
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It is `Send`: it may be dropped on any thread, and, before or after its first poll, be polled
/// on the thread of another loop with the same clock, where it moves to that loop.
///
/// # Cancellation
/// Dropping it disarms the timer, whether it has fired or not. Where its loop does not run, on
/// another thread for instance, it leaves a letter, and the loop disarms it at its next look.
///
/// # Panics
/// When polled outside a loop, under another clock than it was made under, or after the loop that
/// it was last polled in was dropped.
///
/// ```
/// use std::time::Duration;
///
/// boucle::block_on(async {
///     let nap: boucle::Sleep = boucle::sleep(Duration::from_millis(1));
///     nap.await;
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    deadline: Instant,
    born: u64,
    clock: ClockId,
    stage: Stage,
    /// Where it was made.
    site: CallSite,
}

enum Stage {
    /// It had passed when it was made: one turn is to be let pass.
    Due,
    /// Not polled yet.
    New,
    /// `[armed]` invariant: the timer exists in that loop, or did when the loop went, and then
    /// keeps the loop's memory. Whoever leaves this stage gives the timer up, once.
    Armed(NonNull<Home>, Key),
    Done,
}

thread_local! {
    /// The number of the next sleep that is made on this thread, in whatever loop or outside.
    static BORN: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: the pointer is followed on the loop's own thread only, but for leaving a letter and for
// asking whether the loop is gone, which any thread may do; the rest is plain data.
unsafe impl Send for Sleep {}
// SAFETY: nothing but plain data is reachable through `&Sleep`.
unsafe impl Sync for Sleep {}

/// The number of a sleep that is made now.
#[inline]
fn next_born() -> u64 {
    let born = BORN.get();
    BORN.set(born + 1);
    born
}

impl Sleep {
    #[inline]
    #[track_caller]
    pub(super) fn new(deadline: Instant, clock: ClockId, due: bool) -> Sleep {
        let stage = if due { Stage::Due } else { Stage::New };
        Sleep { deadline, born: next_born(), clock, stage, site: CallSite::caller() }
    }

    /// When it ends.
    ///
    /// ```
    /// let at = boucle::now() + std::time::Duration::from_secs(1);
    /// assert_eq!(boucle::sleep_until(at).deadline(), at);
    /// ```
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Gives it another deadline, whether it waits, has ended or was never polled.
    ///
    /// From now on it is like a new sleep until then: it ends neither earlier nor at the old
    /// deadline, and counts as the youngest of those with the same one. Whoever awaits it already
    /// is woken at the new deadline. The deadline is on the clock of the loop that runs on this
    /// thread, or, outside a loop, on the clock that the sleep had.
    ///
    /// It may be called on any thread. Elsewhere than in the loop that polled the sleep, it wakes
    /// whoever awaits it, who must poll it again for the new deadline to count.
    ///
    /// O(1); O(log n) if the loop has looked at it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let l = boucle::Loop::builder().virtual_time().build();
    /// l.block_on(async {
    ///     let start = boucle::now();
    ///     let mut idle = boucle::sleep(Duration::from_secs(1));
    ///     idle.reset(start + Duration::from_secs(3));
    ///     (&mut idle).await;
    ///     idle.reset(start + Duration::from_secs(5));
    ///     idle.await;
    ///     assert_eq!(boucle::now() - start, Duration::from_secs(5));
    /// });
    /// ```
    pub fn reset(&mut self, deadline: Instant) {
        let (now, clock) = match with_core(|core| (core.clock().now(), core.clock().id())) {
            Some((now, clock)) => (Some(now), clock),
            None if self.clock == ClockId::REAL => (Some(Instant::now()), self.clock),
            // Nobody here can tell the time of that clock; the loop will.
            None => (None, self.clock),
        };
        self.set(deadline, clock, now.is_some_and(|now| deadline <= now));
    }

    pub(super) fn clock(&self) -> ClockId {
        self.clock
    }

    /// As [`Sleep::reset`]; `due` as in [`Sleep::new`].
    pub(super) fn set(&mut self, deadline: Instant, clock: ClockId, due: bool) {
        let born = next_born();
        let mut stage = if due { Stage::Due } else { Stage::New };
        if let Stage::Armed(home, key) = self.stage {
            self.stage = Stage::Done;
            if ptr::eq(here(), home.as_ptr()) {
                // Fired already? Then who waits was woken, and polls again.
                if let Some(Some(key)) = with_core(|core| core.rearm(key, deadline, born)) {
                    stage = Stage::Armed(home, key);
                }
            } else {
                // SAFETY: [armed], and the stage was left.
                unsafe { send_elsewhere(home, Letter::Reset(key.0)) };
            }
        }
        *self = Sleep { deadline, born, clock, stage, site: self.site };
    }

    /// Whether it has ended, or its pause of one turn has begun.
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    #[inline]
    fn start(&mut self, core: &Core, cx: &Context<'_>) -> Polled {
        if self.clock != core.clock().id() {
            return Polled::OtherClock;
        }
        // A deadline that has passed since it was made fires when the loop next looks. Nor is a
        // sleep younger than all of this thread, wherever it was made.
        let born = self.born.min(BORN.get());
        if let Some(key) = core.arm(self.deadline, born, self.site, wakee_of(cx)) {
            self.stage = Stage::Armed(core.tasks.home.this(), key);
        }
        Polled::Pending
    }

    /// Whether the loop that armed the timer is gone.
    #[cold]
    fn is_orphan(&self) -> bool {
        match self.stage {
            // SAFETY: [armed].
            Stage::Armed(home, _) => unsafe { Home::is_closed(home) },
            _ => false,
        }
    }

    /// Gives the timer up, on whatever thread.
    #[inline]
    pub(super) fn disarm(&mut self) {
        if let Stage::Armed(home, key) = self.stage {
            self.stage = Stage::Done;
            if ptr::eq(here(), home.as_ptr()) {
                with_core(|core| core.disarm(key));
            } else {
                // SAFETY: [armed], and the stage is left here.
                unsafe { send_elsewhere(home, Letter::Timer(key.0)) };
            }
        }
    }
}

/// Gives a timer up by a letter to its loop.
///
/// # Safety
/// [armed]; the stage is left, and the letter is about its timer.
#[cold]
unsafe fn send_elsewhere(home: NonNull<Home>, letter: Letter) {
    // SAFETY: [armed] keeps the loop's memory until the letter is posted. If it cannot be, the
    // loop is gone, and with it went a reference to this timer, given back here.
    unsafe {
        let home_ref = HomeRef::new(home);
        if !home_ref.post(letter) {
            Home::release(home);
        }
    }
}

/// What a poll has come to.
enum Polled {
    Ready,
    Pending,
    OtherClock,
    Gone,
}

impl Future for Sleep {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let polled = with_core(|core| match this.stage {
            Stage::New => this.start(core, cx),
            Stage::Armed(home, key) if home == core.tasks.home.this() => {
                if core.has_fired(key, cx) {
                    this.disarm();
                    Polled::Ready
                } else {
                    Polled::Pending
                }
            }
            Stage::Armed(..) if this.is_orphan() => Polled::Gone,
            Stage::Armed(..) => {
                this.disarm();
                this.start(core, cx)
            }
            Stage::Due if this.clock != core.clock().id() => Polled::OtherClock,
            Stage::Due => {
                this.stage = Stage::Done;
                cx.waker().wake_by_ref();
                Polled::Pending
            }
            Stage::Done => Polled::Ready,
        });
        // Panics here and not in the closure, so that they name the line of the `.await`.
        match polled {
            Some(Polled::Ready) => Poll::Ready(()),
            Some(Polled::Pending) => Poll::Pending,
            Some(Polled::OtherClock) => panic!("{OTHER_CLOCK}"),
            Some(Polled::Gone) => panic!("{GONE}"),
            None if this.is_orphan() => panic!("{GONE}"),
            None => panic!("{NOWHERE}"),
        }
    }
}

const OTHER_CLOCK: &str = "a `Sleep` polled under another clock than it was made under: make it \
                           inside the loop that awaits it";

const GONE: &str = "a `Sleep` polled after its loop was dropped: its timer went with the loop";

const NOWHERE: &str = "a `Sleep` polled outside a loop: no boucle loop runs on this thread; \
                       await it in a future that `boucle::block_on` or `Loop::run` runs";

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        self.disarm();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline())
            .field("done", &matches!(self.stage, Stage::Done))
            .finish()
    }
}
