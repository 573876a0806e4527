//! How a loop is configured.

use std::{fmt, rc::Rc};

use crate::{
    clock::Clock,
    event_loop::Loop,
    task::{JoinError, OnUnobserved},
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
}

impl Loop {
    /// A loop to be configured.
    ///
    /// ```
    /// let l = boucle::Loop::builder().virtual_time().build();
    /// assert_eq!(format!("{l:?}"), "Loop { tasks: 0, virtual_time: true, .. }");
    /// ```
    pub fn builder() -> Builder {
        Builder { virtual_time: false, on_unobserved: None }
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

    /// Makes the loop. Reads no clock and makes no system call, unless time is virtual.
    ///
    /// ```
    /// let l = boucle::Loop::builder().build();
    /// assert_eq!(l.block_on(async { 42 }), 42);
    /// ```
    pub fn build(self) -> Loop {
        let clock = if self.virtual_time { Clock::simulated() } else { Clock::real() };
        Loop::make(clock, self.on_unobserved)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("virtual_time", &self.virtual_time).finish_non_exhaustive()
    }
}
