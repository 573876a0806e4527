//! How a loop is configured.

use std::{fmt, rc::Rc, time::Duration};

use crate::{
    clock::Clock,
    diagnosis::{DEFAULT, Diagnostic, Reaction, Settings, VIRTUAL},
    event_loop::Loop,
    task::{JoinError, OnUnobserved},
    turn::Watcher,
};

/// Configures a [`Loop`].
///
/// ```
/// let l = boucle::Loop::builder().virtual_time().build();
/// # drop(l);
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    virtual_time: bool,
    on_unobserved: Option<OnUnobserved>,
    on_dead: Option<Reaction>,
    on_cycle: Option<Reaction>,
    on_stall: Option<(Duration, Reaction)>,
    tell: Option<Rc<dyn Fn(&Diagnostic)>>,
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
            on_unobserved: None,
            on_dead: None,
            on_cycle: None,
            on_stall: None,
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
    /// it yet. Told once, until something has come from there.
    ///
    /// By default nothing is done about it, or it is told after 5 seconds if the environment has
    /// `BOUCLE_DEBUG=1`. Under virtual time, where a test would hang, the run fails after 10 seconds.
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

    /// Makes the loop. Reads no clock and makes no system call, unless time is virtual.
    ///
    /// ```
    /// let l = boucle::Loop::builder().build();
    /// assert_eq!(l.block_on(async { 42 }), 42);
    /// ```
    pub fn build(self) -> Loop {
        let clock = if self.virtual_time { Clock::simulated() } else { Clock::real() };
        let plain = if self.virtual_time { &VIRTUAL } else { &DEFAULT };
        let (dead, cycle, stall) = (self.on_dead, self.on_cycle, self.on_stall);
        let watch = if dead.is_none() && cycle.is_none() && stall.is_none() && self.tell.is_none() {
            Watcher::Common(plain)
        } else {
            let usual = Settings::of(plain);
            Watcher::Own(Rc::new(Settings {
                on_dead: dead.unwrap_or(usual.on_dead),
                on_cycle: cycle.unwrap_or(usual.on_cycle),
                on_stall: stall.or(usual.on_stall),
                tell: self.tell,
                ..usual
            }))
        };
        Loop::make(clock, self.on_unobserved, watch)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("virtual_time", &self.virtual_time).finish_non_exhaustive()
    }
}
