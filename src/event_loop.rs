//! The loop itself, and the ways to drive it.

use std::{
    fmt,
    marker::PhantomData,
    mem::ManuallyDrop,
    panic::Location,
    ptr::NonNull,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    clock::Clock,
    diagnosis::{DEFAULT, Settings, Snapshot, Stalled, TaskInfo},
    drive::{Driven, Root},
    guard::{catch, discard},
    home::STRIDE,
    task::{JoinError, JoinHandle, OnUnobserved, Unobserved},
    turn::{Core, Waited, Watcher},
};

/// A single-threaded event loop: its tasks, its timers, and the ways to run them.
///
/// Tasks are polled in the order in which they became ready; a task woken during its own poll goes to
/// the back. Timers fire in the order of their deadlines, equal ones in the order of their creation,
/// never early. Letters from other threads, timers and sockets are looked at when nothing is ready,
/// and at least every 64 polls. An idle loop sleeps and makes no system call.
///
/// Dropping a loop drops the futures of all its tasks, on this thread, before it returns. Wakers
/// may outlive the loop, on any thread; waking them does nothing then.
///
/// ```
/// use boucle::Loop;
///
/// let l = Loop::new();
/// let answer = l.spawn(async { 42 });
/// assert_eq!(l.block_on(answer).unwrap(), 42);
/// ```
pub struct Loop {
    /// The loop's own reference, given back by its drop.
    core: NonNull<Core>,
    /// Neither `Send` nor `Sync`: its thread is home.
    thread: PhantomData<*mut ()>,
}

/// Runs a future to its end on a loop of its own, and returns its output.
///
/// Tasks that were spawned and have not ended are dropped before this returns. The future may
/// borrow.
///
/// # Panics
/// With the future's panic; with the first panic of a task that is
/// [unobserved](crate::JoinHandle#unobserved-panics); if every task waits for something that
/// cannot happen (see [`Stalled`]); and inside a running loop, where the future should be awaited
/// instead.
///
/// ```
/// use std::time::Duration;
///
/// let soda = boucle::block_on(async {
///     boucle::sleep(Duration::from_millis(1)).await;
///     "soda"
/// });
/// assert_eq!(soda, "soda");
/// ```
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let l = Loop::new();
    let driven = Driven::begin(l.core(), "boucle::block_on", true);
    let (tasks, at_once) = (&l.core().tasks, l.core().begin());
    // SAFETY: as in `drive_main`.
    let result = match unsafe { JoinHandle::start(tasks, future, Location::caller(), at_once) } {
        Ok(output) => {
            driven.end();
            let home = &tasks.home;
            if home.is_empty() && !home.is_touched() {
                // No task is left, and nobody has anything to tell.
                let l = ManuallyDrop::new(l);
                // SAFETY: the loop's own reference is given back, once.
                unsafe { Core::close(l.core) };
                return output;
            }
            l.core().drop_tasks();
            Ok(Ok(output))
        }
        Err(handle) => {
            let result = l.finish_main(Root(handle));
            driven.end();
            l.core().drop_tasks();
            result
        }
    };
    l.conclude(result)
}

impl Loop {
    /// A loop on the real clock.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// assert_eq!(l.block_on(async { 42 }), 42);
    /// ```
    #[inline]
    pub fn new() -> Loop {
        match Core::reuse() {
            Some(core) => Loop { core, thread: PhantomData },
            None => Loop::anew(),
        }
    }

    /// A loop on the real clock, in memory of its own.
    #[cold]
    fn anew() -> Loop {
        Loop::make(Clock::real(), None, Settings::watcher(&DEFAULT))
    }

    /// A loop as a [`Builder`](crate::Builder) has configured it.
    pub(crate) fn make(clock: Clock, on_unobserved: Option<OnUnobserved>, watch: Watcher) -> Loop {
        Loop { core: Core::create(clock, on_unobserved, watch), thread: PhantomData }
    }

    pub(crate) fn core(&self) -> &Core {
        // SAFETY: the loop's own reference keeps it.
        unsafe { self.core.as_ref() }
    }

    /// Spawns a task, before, between or during runs.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(async { "soda" });
    /// l.run();
    /// assert_eq!(format!("{task:?}"), r#"<Task 'main' [FINISHED] ("soda")>"#);
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let core = self.core();
        // SAFETY: a loop is `!Send`, so this is home's thread; nothing is borrowed.
        let handle = unsafe { JoinHandle::spawn(&core.tasks, future, Location::caller(), false) };
        core.tasks.home.bell.ring_if_idle();
        handle
    }

    /// Runs a future, and the tasks beside it, until the future ends; returns its output.
    ///
    /// The other tasks stay in the loop. The future may borrow; it is a task named `main`.
    ///
    /// # Panics
    /// With the future's panic; with the first panic of a task that is
    /// [unobserved](JoinHandle#unobserved-panics), from now or from before; if every task waits
    /// for something that cannot happen (see [`Stalled`]); and inside a running loop.
    ///
    /// ```
    /// let (l, mut count) = (boucle::Loop::new(), 0);
    /// l.block_on(async { count += 1 });
    /// assert_eq!(count, 1);
    /// ```
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let result = self.drive_main("Loop::block_on", future);
        self.conclude(result)
    }

    /// As [`Loop::block_on`], but tells when the future can never end.
    ///
    /// # Errors
    /// [`Stalled`], if nothing is ready, no timer is left and no waker exists outside the loop: no
    /// task can ever run again. The future has been dropped then; the other tasks stay.
    ///
    /// # Panics
    /// As [`Loop::block_on`], but for the stall.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let stalled = l.try_block_on(std::future::pending::<()>()).unwrap_err();
    /// assert!(stalled.to_string().contains("main"));
    /// ```
    #[track_caller]
    pub fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, Stalled> {
        let result = self.drive_main("Loop::try_block_on", future);
        match result {
            Err(stalled) => {
                self.resume_unobserved();
                Err(stalled)
            }
            ended => Ok(self.conclude(ended)),
        }
    }

    /// Runs until no task is left.
    ///
    /// # Panics
    /// With the first panic of a task that is [unobserved](JoinHandle#unobserved-panics), from now
    /// or from before; if the tasks that are left can never run again (see [`Stalled`]); and inside
    /// a running loop.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let tasks = [l.spawn(boucle::yield_now()), l.spawn(boucle::yield_now())];
    /// l.run();
    /// assert!(tasks.iter().all(|task| task.is_finished()));
    /// ```
    #[track_caller]
    pub fn run(&self) {
        let core = self.core();
        let driven = self.drive("Loop::run");
        let stalled = loop {
            // SAFETY: `driven` has entered the loop, which `self` keeps.
            unsafe { core.run_ready(None) };
            if core.is_condemned() {
                break Some(self.stalled());
            }
            if core.is_over() {
                break None;
            }
            if core.tasks.ready.is_empty() && core.wait() == Waited::Stuck {
                break Some(self.stalled());
            }
        };
        drop(driven);
        self.resume_unobserved();
        if let Some(stalled) = stalled {
            panic!("{stalled}");
        }
    }

    /// Runs until nothing is ready now. Never waits, and never moves a virtual clock.
    ///
    /// Timers that are due fire, and what they wake runs too. A task that always wakes itself keeps
    /// this from returning: a host whose turns must be short calls [`Loop::step`] a number of times
    /// instead. For a host loop that calls this when [`Loop::on_wake`] or [`Loop::next_deadline`]
    /// says so. [Unobserved](JoinHandle#unobserved-panics) panics are left to the next
    /// [`Loop::run`] or [`Loop::block_on`].
    ///
    /// # Panics
    /// Inside a running loop.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let gate = std::rc::Rc::new(boucle::Waiter::new(1));
    /// let task = l.spawn({
    ///     let gate = gate.clone();
    ///     async move { gate.wait().await }
    /// });
    /// l.run_until_stalled();
    /// assert!(!task.is_finished());
    /// gate.set();
    /// l.run_until_stalled();
    /// assert!(task.is_finished());
    /// ```
    #[track_caller]
    pub fn run_until_stalled(&self) {
        let driven = self.drive("Loop::run_until_stalled");
        let core = self.core();
        loop {
            // SAFETY: `driven` has entered the loop, which `self` keeps.
            unsafe { core.run_ready(None) };
            core.look_around();
            // Before the loop rests: that runs user code, which may wake somebody.
            core.judge();
            core.rest();
            if core.is_condemned() || (core.tasks.ready.is_empty() && !core.tasks.has_suspects()) {
                break;
            }
            core.tasks.home.bell.busy();
        }
        drop(driven);
        self.heed();
    }

    /// Polls one ready task; false if none was ready. Never waits, and never moves a virtual clock.
    ///
    /// Timers that are due fire, and letters from other threads are read, when nothing is ready and
    /// at least every 64 steps. [Unobserved](JoinHandle#unobserved-panics) panics are left to the
    /// next [`Loop::run`] or [`Loop::block_on`].
    ///
    /// # Panics
    /// Inside a running loop.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let task = l.spawn(boucle::yield_now());
    /// assert!(l.step() && !task.is_finished());
    /// assert!(l.step() && task.is_finished());
    /// assert!(!l.step());
    /// ```
    #[track_caller]
    pub fn step(&self) -> bool {
        let driven = self.drive("Loop::step");
        let core = self.core();
        // Stepping counts as any other turn does, and a loop that becomes idle is at rest for its
        // host: until the bell agrees, what it brings is polled here.
        let countdown = &core.tasks.home.counts.countdown;
        if countdown.get() <= 0 || core.tasks.ready.is_empty() {
            core.look_around();
            countdown.set(i64::from(STRIDE));
        }
        core.rest();
        // SAFETY: `driven` has entered the loop, which `self` keeps.
        let polled = unsafe { core.run_one() };
        countdown.set(countdown.get() - 1);
        core.judge();
        if !core.tasks.ready.is_empty() {
            // The host may have been told that nothing is ready: a verdict runs user code.
            core.tasks.home.bell.ring_if_idle();
        }
        drop(driven);
        self.heed();
        polled
    }

    /// The time on this loop's clock.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let before = l.now();
    /// assert!(l.block_on(async { boucle::now() }) >= before);
    /// ```
    pub fn now(&self) -> Instant {
        self.core().now()
    }

    /// When the next timer is due, if any. O(log n) for each timer made since the last look.
    ///
    /// A timer is there from the first poll of its sleep: run what is ready before you ask.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let l = boucle::Loop::builder().virtual_time().build();
    /// let _task = l.spawn(async { boucle::sleep(Duration::from_secs(3)).await });
    /// assert_eq!(l.next_deadline(), None);
    /// l.run_until_stalled();
    /// assert_eq!(l.next_deadline(), Some(l.now() + Duration::from_secs(3)));
    /// ```
    pub fn next_deadline(&self) -> Option<Instant> {
        self.core().next_deadline()
    }

    /// Moves a virtual clock, stopping at each deadline on the way to run what is ready then.
    ///
    /// [Unobserved](JoinHandle#unobserved-panics) panics are left to the next [`Loop::run`] or
    /// [`Loop::block_on`].
    ///
    /// # Panics
    /// If the loop runs on the real clock; and inside a running loop.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let l = boucle::Loop::builder().virtual_time().build();
    /// let task = l.spawn(async { boucle::sleep(Duration::from_secs(3600)).await });
    /// l.advance(Duration::from_secs(3599));
    /// assert!(!task.is_finished());
    /// l.advance(Duration::from_secs(1));
    /// assert!(task.is_finished());
    /// ```
    #[track_caller]
    pub fn advance(&self, by: Duration) {
        assert!(
            self.core().is_simulated(),
            "`Loop::advance` on a loop that runs on the real clock: build it with \
             `Loop::builder().virtual_time()`"
        );
        let driven = self.drive("Loop::advance");
        let (core, mut left) = (self.core(), by);
        loop {
            // SAFETY: `driven` has entered the loop, which `self` keeps.
            unsafe { core.advance(left) };
            core.judge();
            if core.is_condemned() || core.tasks.ready.is_empty() {
                break;
            }
            left = Duration::ZERO;
        }
        drop(driven);
        self.heed();
    }

    /// Sets what to call when an idle loop becomes ready, so that a host loop knows to run it.
    ///
    /// It is called once per change from idle to ready, on the thread that made the change. The
    /// loop is idle when a driving call returns and nothing is ready; timers are the host's
    /// business, through [`Loop::next_deadline`], and so are sockets, through the loop's descriptor. What was ready before this call rings no bell. A
    /// later callback replaces an earlier one. What the callback panics with is dropped, once the
    /// panic hook has seen it.
    ///
    /// A host loop waits for a ring or for the next deadline, whichever comes first:
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (bell, rings) = mpsc::channel();
    /// let l = boucle::Loop::new();
    /// l.on_wake(move || drop(bell.send(())));
    /// let task = l.spawn(async {
    ///     boucle::sleep(Duration::from_millis(1)).await;
    ///     "soda"
    /// });
    /// l.run_until_stalled();
    /// while !task.is_finished() {
    ///     // A host has events of its own in the same channel, and handles them here.
    ///     let _ring_or_timeout = match l.next_deadline() {
    ///         Some(at) => rings.recv_timeout(at.saturating_duration_since(l.now())).ok(),
    ///         None => rings.recv().ok(),
    ///     };
    ///     l.run_until_stalled();
    /// }
    /// assert_eq!(*task.result().unwrap().unwrap(), "soda");
    /// ```
    pub fn on_wake(&self, f: impl Fn() + Send + Sync + 'static) {
        let home = &self.core().tasks.home;
        home.touch();
        drop(home.bell.set_host(Some(Arc::new(f))));
    }

    /// The tasks that have not ended, in the order in which they were spawned. O(n log n).
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let _soda = l.spawn(async {}).named("soda");
    /// let tasks = l.tasks();
    /// assert_eq!((tasks.len(), &*tasks[0].name), (1, "soda"));
    /// ```
    pub fn tasks(&self) -> Vec<TaskInfo> {
        self.snapshot().into_tasks()
    }

    /// What every task of the loop waits for, right now.
    ///
    /// Polls nothing, and runs no code of the tasks. O(n log n) for n tasks and places in queues.
    /// Inside a running loop, [`boucle::snapshot`](crate::snapshot()) gives the same.
    ///
    /// ```
    /// use boucle::{Loop, Waiter};
    ///
    /// let (l, gate) = (Loop::new(), std::rc::Rc::new(Waiter::new(1).named("gate")));
    /// let _guest = l.spawn(async move { gate.wait().await }).named("guest");
    /// l.run_until_stalled();
    /// let report = l.snapshot().to_string();
    /// assert!(report.starts_with(r#"guest #1 WAITING, waiting for waiter "gate" at "#));
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.core())
    }

    /// Why the loop cannot be driven on: the verdict that was given, or that it is stuck.
    fn stalled(&self) -> Stalled {
        self.verdict().unwrap_or_else(|| Stalled::proven(self.snapshot()))
    }

    fn verdict(&self) -> Option<Stalled> {
        let verdict = self.core().take_verdict()?.downcast();
        verdict.ok().map(|stalled| *stalled)
    }

    /// Panics if something was found that was to fail; while the thread unwinds, that is put off.
    #[track_caller]
    fn heed(&self) {
        let now = !std::thread::panicking();
        if let Some(stalled) = now.then(|| self.verdict()).flatten() {
            panic!("{stalled}");
        }
    }

    /// Enters the loop in order to poll its tasks.
    #[track_caller]
    fn drive(&self, call: &'static str) -> Driven<'_> {
        Driven::begin(self.core(), call, false)
    }

    /// Runs a future as the task `main`.
    #[track_caller]
    fn drive_main<F: Future>(
        &self,
        call: &'static str,
        future: F,
    ) -> Result<Result<F::Output, JoinError>, Stalled> {
        let driven = self.drive(call);
        let (tasks, at_once) = (&self.core().tasks, self.core().begin());
        // SAFETY: `driven` has entered the loop, which `self` keeps. Either the future and its output
        // are gone when this returns, or `Root` sees to it.
        let result = match unsafe { JoinHandle::start(tasks, future, Location::caller(), at_once) }
        {
            Ok(output) => Ok(Ok(output)),
            Err(handle) => self.finish_main(Root(handle)),
        };
        drop(driven);
        result
    }

    /// Runs the loop, which is entered, until the task `main` has ended.
    fn finish_main<T>(&self, root: Root<T>) -> Result<Result<T, JoinError>, Stalled> {
        let core = self.core();
        let main = root.0.header();
        // SAFETY: the caller has entered the loop, which `self` keeps.
        let mut ended = root.0.is_finished() || unsafe { core.run_on(Some(main)) };
        let stalled = loop {
            if ended {
                break self.verdict();
            }
            if core.wait() == Waited::Stuck {
                break Some(self.stalled());
            }
            // SAFETY: as above.
            ended = unsafe { core.run_ready(Some(main)) };
        };
        match stalled {
            Some(stalled) => Err(stalled),
            None => Ok(root.into_result()),
        }
    }

    /// What a driving call returns, or panics with.
    #[track_caller]
    fn conclude<T>(&self, result: Result<Result<T, JoinError>, Stalled>) -> T {
        match result {
            Ok(Ok(output)) => match self.unobserved() {
                None => output,
                Some(unobserved) => {
                    // Dropped now, since a destructor that panics while unwinding would abort.
                    let _ = catch(|| drop(output)).map_err(discard);
                    unobserved.resume()
                }
            },
            Ok(Err(error)) => match error.try_into_panic() {
                Ok(payload) => std::panic::resume_unwind(payload),
                Err(error) => unreachable!("nobody has a handle to cancel: {error}"),
            },
            Err(stalled) => {
                self.resume_unobserved();
                panic!("{stalled}")
            }
        }
    }

    /// The panics to be resumed now: none while the thread unwinds.
    #[inline]
    fn unobserved(&self) -> Option<Unobserved> {
        // Most loops have nothing to tell.
        if !self.core().tasks.home.is_touched() {
            return None;
        }
        if std::thread::panicking() { None } else { self.core().tasks.take_unobserved() }
    }

    fn resume_unobserved(&self) {
        if let Some(unobserved) = self.unobserved() {
            unobserved.resume();
        }
    }
}

impl Default for Loop {
    fn default() -> Self {
        Loop::new()
    }
}

impl Drop for Loop {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the loop's own reference is given back once; a loop is `!Send`.
        unsafe { Core::close(self.core) };
    }
}

impl fmt::Debug for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loop")
            .field("tasks", &self.core().tasks.live())
            .field("virtual_time", &self.core().is_simulated())
            .finish_non_exhaustive()
    }
}
