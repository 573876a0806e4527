//! How a loop is configured.

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    diagnosis::{
        Blocked, DEFAULT, Diagnostic, Limit, OnBlocked, Polls, Reaction, Running, Settings, Tell,
        VIRTUAL, Watchdog,
    },
    event_loop::Loop,
    task::{JoinError, OnUnobserved},
    turn::Watcher,
};

/// How long awaited sockets must be quiet, in real time, before a simulated clock moves on: what is
/// on its way from another process should come first.
const QUIET: Duration = Duration::from_millis(10);

/// Configures a [`Loop`].
///
/// ```
/// let l = boucle::Loop::builder().virtual_time().build();
/// # drop(l);
/// ```
///
/// # What the loop tells of itself
/// What is not asked for costs nothing. Every loop of a process, those of the free
/// [`block_on`](crate::block_on) included, is asked by the environment variable `BOUCLE_DEBUG=1`,
/// read once, at the first loop. What a builder says goes before it.
///
/// | what | asked for by | by default | with `BOUCLE_DEBUG=1` |
/// |---|---|---|---|
/// | tasks that nobody can wake | [`on_dead`](Builder::on_dead) | told with debug assertions | told |
/// | tasks that wait for each other | [`on_cycle`](Builder::on_cycle) | told with debug assertions | told |
/// | a loop that is idle for long | [`on_stall`](Builder::on_stall) | no; virtual time: fails after 10 s | told after 5 s |
/// | a poll that took long | [`on_slow_poll`](Builder::on_slow_poll) | no | told if over 100 ms |
/// | tasks that only wake themselves | [`on_spinning`](Builder::on_spinning) | no | told after 1,000,000 polls |
/// | a poll that goes on for long | [`watchdog`](Builder::watchdog) | no | no: it takes a thread |
/// | what was left at the end | [`report_leftovers`](Builder::report_leftovers), [`strict`](Builder::strict) | no | no |
///
/// It is told to [`on_diagnostic`](Builder::on_diagnostic), or else on stderr, where one loop says
/// at most 16 things.
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    virtual_time: bool,
    quiet: Duration,
    on_unobserved: Option<OnUnobserved>,
    on_dead: Option<Reaction>,
    on_cycle: Option<Reaction>,
    on_stall: Option<(Duration, Reaction)>,
    on_slow_poll: Option<(Duration, Reaction)>,
    on_spinning: Option<(u64, Reaction)>,
    watchdog: Option<Limit>,
    on_blocked: Option<OnBlocked>,
    running: Option<Running>,
    leftovers: bool,
    strict: bool,
    tell: Option<Tell>,
}

impl Loop {
    /// A loop to be configured.
    ///
    /// ```
    /// let l = boucle::Loop::builder().virtual_time().build();
    /// assert_eq!(format!("{l:?}"), "Loop { tasks: 0, virtual_time: true, .. }");
    /// ```
    pub fn builder() -> Builder {
        Builder {
            virtual_time: false,
            quiet: QUIET,
            on_unobserved: None,
            on_dead: None,
            on_cycle: None,
            on_stall: None,
            on_slow_poll: None,
            on_spinning: None,
            watchdog: None,
            on_blocked: None,
            running: None,
            leftovers: false,
            strict: false,
            tell: None,
        }
    }
}

impl Builder {
    /// Gives the loop a clock that stands still while anything is ready, and jumps to the next
    /// deadline when nothing is.
    ///
    /// Only what is ready holds the clock back: a thread that is about to wake a task does not. If
    /// a timer is armed, the clock jumps to it without waiting for that thread; if none is, the
    /// loop parks until the wake comes. An answer that is awaited from another loop, through a
    /// [`Remote`](crate::Remote), does hold it back: no `timeout` around one elapses meanwhile.
    /// Sleeps must be made inside the loop, in an `async` block:
    /// one made outside takes the real clock, and panics when it is polled here.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let l = boucle::Loop::builder().virtual_time().build();
    /// let start = l.now();
    /// l.block_on(async { boucle::sleep(Duration::from_secs(3600)).await });
    /// assert_eq!(l.now() - start, Duration::from_secs(3600));
    /// ```
    pub fn virtual_time(mut self) -> Self {
        self.virtual_time = true;
        self
    }

    /// How long awaited sockets must have been quiet, in real time, before virtual time moves on: 10 ms
    /// if nothing else is said. Feature `net`.
    ///
    /// As long as a task waits for a socket, what is on its way to it from another process should come
    /// before the next deadline. A test against a slow one wants more; one whose sockets all end in the
    /// loop itself may have zero, and waits for nothing. A real clock takes no notice.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let builder = boucle::Loop::builder().virtual_time();
    /// let l = builder.sockets_quiet_for(Duration::from_millis(200)).build();
    /// # drop(l);
    /// ```
    #[cfg(all(unix, feature = "net", not(loom)))]
    pub fn sockets_quiet_for(mut self, span: Duration) -> Self {
        self.quiet = span;
        self
    }

    /// Takes panics that nobody observes as they come, instead of resuming the first one when
    /// `block_on` or `run` returns.
    ///
    /// Which these are says [`JoinHandle`](crate::JoinHandle#unobserved-panics). The callback runs
    /// on the loop's thread, as soon as nobody can observe the panic any more; what it panics with
    /// is dropped.
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    ///
    /// let log = Rc::new(RefCell::new(Vec::new()));
    /// let l = boucle::Loop::builder()
    ///     .on_unobserved({
    ///         let log = log.clone();
    ///         move |error| log.borrow_mut().push(error.task_name().to_owned())
    ///     })
    ///     .build();
    /// drop(l.spawn(async { panic!("burnt") }).named("fries"));
    /// l.run();
    /// assert_eq!(*log.borrow(), ["fries"]);
    /// ```
    pub fn on_unobserved(mut self, f: impl Fn(JoinError) + 'static) -> Self {
        self.on_unobserved = Some(Rc::new(f));
        self
    }

    /// Takes what the loop finds while it runs, as it comes, instead of stderr.
    ///
    /// The callback runs on the loop's thread, between two polls. What it panics with is dropped,
    /// once the panic hook has seen it.
    ///
    /// ```
    /// let l = boucle::Loop::builder().on_diagnostic(|found| eprintln!("{found}")).build();
    /// # drop(l);
    /// ```
    pub fn on_diagnostic(mut self, f: impl Fn(&Diagnostic) + 'static) -> Self {
        self.tell = Some(Rc::new(f));
        self
    }

    /// What to do about a task that waits, and that nobody can wake any more.
    ///
    /// Found as soon as the last waker of a task that waits is gone, and told once. By default it is
    /// told if boucle was built with debug assertions, or if the environment has `BOUCLE_DEBUG=1`.
    /// A task that is meant to wait for ever says so with [`forever`](crate::forever()).
    ///
    /// ```
    /// let l = boucle::Loop::builder().on_dead(boucle::Reaction::Fail).build();
    /// # drop(l);
    /// ```
    pub fn on_dead(mut self, reaction: Reaction) -> Self {
        self.on_dead = Some(reaction);
        self
    }

    /// What to do about tasks that wait for each other in a circle, each for nothing but the next:
    /// for its end, or for a lock or a permit that it took.
    ///
    /// Found when the circle closes, if it has at most 64 tasks, and told once. It is no proof: see
    /// [`Diagnostic::Cycle`](crate::Diagnostic::Cycle). By default it is told when
    /// [dead tasks](Builder::on_dead) are.
    ///
    /// ```
    /// use boucle::{Loop, Reaction, sleep, spawn, sync::oneshot};
    /// use std::time::Duration;
    ///
    /// let l = Loop::builder().on_cycle(Reaction::Fail).build();
    /// let failed = l.try_block_on(async {
    ///     let (tx, rx) = oneshot::<boucle::JoinHandle<()>>();
    ///     let task = spawn(async move { drop(rx.await.unwrap().await) });
    ///     drop(tx.send(task));
    ///     sleep(Duration::from_secs(3600)).await;
    /// });
    /// assert!(failed.unwrap_err().to_string().contains("its own end"));
    /// ```
    pub fn on_cycle(mut self, reaction: Reaction) -> Self {
        self.on_cycle = Some(reaction);
        self
    }

    /// What to do when the loop has been idle for this long, in real time, though it is no proven
    /// stall: somebody outside has a waker of a task, or a [`Remote`](crate::Remote), and may use
    /// it yet, or a task waits for a socket. Told once, until something has come from there.
    ///
    /// By default nothing is done about it; if the environment has `BOUCLE_DEBUG=1`, it is told after
    /// 5 seconds, unless a task waits for a socket, as a server does that nobody calls. Under virtual
    /// time, where a test would hang, the run fails after 10 seconds.
    ///
    /// ```
    /// use boucle::{Grade, Loop, Reaction};
    /// use std::time::Duration;
    ///
    /// let l = Loop::builder().on_stall(Duration::from_millis(1), Reaction::Fail).build();
    /// let remote = l.remote();
    /// let stalled = l.try_block_on(boucle::forever()).unwrap_err();
    /// assert_eq!(stalled.grade(), Grade::Likely);
    /// # drop(remote);
    /// ```
    pub fn on_stall(mut self, after: Duration, reaction: Reaction) -> Self {
        self.on_stall = Some((after, reaction));
        self
    }

    /// What to do when one poll of a task takes longer than this, in real time, also under virtual
    /// time: nothing else of the loop could run meanwhile. Told when the poll is over, each time.
    ///
    /// What counts is the poll of the task, with all that is polled inside it and with the drop of
    /// its future if it ends. A loop that was asked reads the clock twice per poll.
    ///
    /// By default nothing is done about it, or it is told if a poll took more than 100 ms and the
    /// environment has `BOUCLE_DEBUG=1`.
    ///
    /// ```
    /// use boucle::{Grade, Loop, Reaction};
    /// use std::time::{Duration, Instant};
    ///
    /// let l = Loop::builder().on_slow_poll(Duration::from_millis(1), Reaction::Fail).build();
    /// let start = Instant::now();
    /// let failed = l.try_block_on(async { while start.elapsed().as_millis() < 2 {} });
    /// assert_eq!(failed.unwrap_err().grade(), Grade::Slow);
    /// ```
    pub fn on_slow_poll(mut self, over: Duration, reaction: Reaction) -> Self {
        self.on_slow_poll = Some((over, reaction));
        self
    }

    /// What to do after so many polls in a row in which no timer fired, nothing came from another
    /// thread and the loop did not wait, if a few tasks woke themselves whenever they were polled:
    /// they may be waiting for something by asking again and again.
    ///
    /// Up to 4096 of these polls, the last ones, are looked at. A task is named if it woke itself in
    /// each of its own, and had one in 16 of all. Told once, until a timer fires, something comes or
    /// the loop waits. It is no proof: a computation that [yields](crate::yield_now) looks the same;
    /// and tasks that keep waking each other are not found, since they look like any that talk.
    ///
    /// By default nothing is done about it, or it is told after 1,000,000 polls if the environment
    /// has `BOUCLE_DEBUG=1`.
    ///
    /// ```
    /// use boucle::{Grade, Loop, Reaction, yield_now};
    ///
    /// let l = Loop::builder().on_spinning(1_000_000, Reaction::Fail).build();
    /// let ready = std::cell::Cell::new(false);
    /// let failed = l.try_block_on(async {
    ///     while !ready.get() {
    ///         yield_now().await;
    ///     }
    /// });
    /// assert_eq!(failed.unwrap_err().grade(), Grade::Spinning);
    /// ```
    pub fn on_spinning(mut self, polls: u64, reaction: Reaction) -> Self {
        self.on_spinning = Some((polls, reaction));
        self
    }

    /// Has a thread look at the loop and report a poll that goes on for longer than this, in real
    /// time, while it does: the one thing that a loop which is blocked cannot do itself.
    ///
    /// The thread looks twice in that time, and takes a poll for as long as it has seen it go on: it
    /// reports after up to one and a half times the limit, and never too early. It tells each poll
    /// once, to [`on_blocked`](Builder::on_blocked) or else on stderr. At most one look per
    /// millisecond.
    ///
    /// It starts with the first poll, sleeps while the loop is idle, and ends soon after the loop is
    /// dropped; it keeps no process alive. If it cannot be started, that is said on stderr, and the
    /// loop runs without. The loop writes a few words per poll for it, and makes no system call but
    /// one when it is busy again after the thread had fallen asleep.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let l = boucle::Loop::builder().watchdog(Duration::from_secs(1)).build();
    /// l.block_on(async {});
    /// ```
    #[inline]
    pub fn watchdog(mut self, over: Duration) -> Self {
        self.watchdog = Some(Limit::new(over));
        self
    }

    /// Takes what the [`watchdog`](Builder::watchdog) sees, instead of stderr. Does nothing without
    /// one.
    ///
    /// The callback runs on the watchdog's thread, while the loop's thread is blocked; one that
    /// takes long holds up the next report, and nothing else. What it panics with is dropped, once
    /// the panic hook has seen it. It may still run when the loop has been dropped meanwhile.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let l = boucle::Loop::builder()
    ///     .watchdog(Duration::from_secs(1))
    ///     .on_blocked(|blocked| eprintln!("{} hangs", blocked.id))
    ///     .build();
    /// l.block_on(async {});
    /// ```
    pub fn on_blocked(mut self, f: impl Fn(&Blocked) + Send + Sync + 'static) -> Self {
        self.on_blocked = Some(Arc::new(f));
        self
    }

    /// Has the loop write down at each poll which task that is, for a thread or a signal handler
    /// that wants to know.
    ///
    /// ```
    /// let running = boucle::Running::new();
    /// let l = boucle::Loop::builder().running(&running).build();
    /// let me = l.block_on(async { running.task() }).unwrap();
    /// assert_eq!(me.0.to_string(), "#1");
    /// ```
    pub fn running(mut self, running: &Running) -> Self {
        self.running = Some(running.clone());
        self
    }

    /// Tells what is left when the loop is dropped: tasks that have not ended, results that nobody
    /// took, and wakers that somebody keeps; see [`Leftovers`](crate::Leftovers). Says nothing if
    /// nothing is left, or while the thread unwinds. Never panics.
    ///
    /// ```
    /// let l = boucle::Loop::builder()
    ///     .report_leftovers()
    ///     .on_diagnostic(|found| println!("{found}"))
    ///     .build();
    /// l.block_on(async {});
    /// ```
    pub fn report_leftovers(mut self) -> Self {
        self.leftovers = true;
        self
    }

    /// For tests: tells what is left at the end, as
    /// [`report_leftovers`](Builder::report_leftovers), and [dead tasks](Builder::on_dead) and
    /// [circles](Builder::on_cycle) unless they fail, in release builds too.
    ///
    /// It tells, and fails nothing; a test that wants nothing to be told says so itself:
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    ///
    /// let told = Rc::new(RefCell::new(Vec::new()));
    /// let l = boucle::Loop::builder()
    ///     .virtual_time()
    ///     .strict()
    ///     .on_diagnostic({
    ///         let told = told.clone();
    ///         move |found| told.borrow_mut().push(found.to_string())
    ///     })
    ///     .build();
    /// l.block_on(async {});
    /// drop(l);
    /// assert_eq!(*told.borrow(), [""; 0]);
    /// ```
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Makes the loop. Reads no clock and makes no system call, unless time is virtual.
    ///
    /// ```
    /// let l = boucle::Loop::builder().build();
    /// assert_eq!(l.block_on(async { 42 }), 42);
    /// ```
    pub fn build(self) -> Loop {
        let clock = if self.virtual_time { Clock::simulated(self.quiet) } else { Clock::real() };
        let plain = if self.virtual_time { &VIRTUAL } else { &DEFAULT };
        let watch = match self.is_plain() {
            true => Settings::watcher(plain),
            false => Watcher::Own(Rc::new(self.settings(Settings::of(plain)))),
        };
        Loop::make(clock, self.on_unobserved, watch)
    }

    /// Whether the loop is to tell no more of itself, and to nobody else, than others do.
    fn is_plain(&self) -> bool {
        let reactions = self.on_dead.or(self.on_cycle);
        let after = self.on_stall.or(self.on_slow_poll);
        let sees = self.watchdog.is_some() || self.running.is_some();
        let any = reactions.is_some() || after.is_some() || self.on_spinning.is_some();
        !(any || sees || self.leftovers || self.strict || self.tell.is_some())
    }

    fn settings(&self, usual: Settings) -> Settings {
        let at_least = |reaction| match reaction {
            Reaction::Ignore if self.strict => Reaction::Tell,
            reaction => reaction,
        };
        let watchdog = (self.watchdog.is_some() || self.running.is_some()).then(|| {
            let running = self.running.clone().unwrap_or_default();
            Watchdog::new(running, self.watchdog, self.on_blocked.clone())
        });
        let slow = usual.polls.as_ref().and_then(|polls| polls.slow);
        let spin = usual.polls.as_ref().and_then(|polls| polls.spin);
        let polls = Polls::new(self.on_slow_poll.or(slow), self.on_spinning.or(spin), watchdog);
        Settings {
            on_dead: at_least(self.on_dead.unwrap_or(usual.on_dead)),
            on_cycle: at_least(self.on_cycle.unwrap_or(usual.on_cycle)),
            on_stall: self.on_stall.or(usual.on_stall),
            suspects_sockets: self.on_stall.is_some() || usual.suspects_sockets,
            tell: self.tell.clone(),
            polls,
            leftovers: self.leftovers || self.strict,
            ..usual
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("virtual_time", &self.virtual_time).finish_non_exhaustive()
    }
}
