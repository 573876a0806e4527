//! Accepting, which goes on when descriptors run out.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::{
    facade::{Mutex, lock},
    guard::{catch, discard},
    io::{Source, WANTED, plain},
    reactor::Token,
    sys::Way,
    time::{Sleep, sleep},
    turn::with_core,
};

/// How long the first pause is; the next ones are longer, up to a second.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(60);

/// How a listener fares that lacks descriptors or memory.
#[derive(Default)]
pub(super) struct Drought {
    /// How many pauses were made since it last accepted.
    pauses: AtomicU32,
    /// When it was last told, in real time: at the limit, droughts come and go.
    told: Mutex<Option<Instant>>,
}

/// Accepts one connection.
#[must_use = "futures do nothing unless they are awaited"]
pub(super) struct Accepting<'l, T: AsFd, C> {
    source: &'l Source<T>,
    drought: &'l Drought,
    accept: fn(&T) -> io::Result<C>,
    token: Token,
    pause: Option<Sleep>,
}

impl<'l, T: AsFd, C> Accepting<'l, T, C> {
    pub(super) fn new(
        source: &'l Source<T>,
        drought: &'l Drought,
        accept: fn(&T) -> io::Result<C>,
    ) -> Self {
        Accepting { source, drought, accept, token: WANTED, pause: None }
    }
}

impl<T: AsFd, C> Unpin for Accepting<'_, T, C> {}

impl<T: AsFd, C> Future for Accepting<'_, T, C> {
    type Output = io::Result<C>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(Pin::new(pause).poll(cx));
                this.pause = None;
            }
            let accept = this.accept;
            let accepted =
                this.source.poll(Way::Read, cx, &mut this.token, |io| accept(io).map(plain));
            match ready!(accepted) {
                Ok(accepted) => {
                    this.drought.pauses.store(0, Ordering::Relaxed);
                    return Poll::Ready(Ok(accepted));
                }
                // It has gone again before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Where no loop runs there are no timers: then it is for the caller to pause.
                Err(error) if is_shortage(&error) && with_core(|_| ()).is_some() => {
                    this.pause = Some(sleep(this.drought.pause(&error)));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl<T: AsFd, C> Drop for Accepting<'_, T, C> {
    fn drop(&mut self) {
        self.source.give_up(Way::Read, self.token);
    }
}

impl Drought {
    /// How long to pause; the first time, and not twice in [`SILENCE`], says why.
    fn pause(&self, error: &io::Error) -> Duration {
        let pauses = self.pauses.fetch_add(1, Ordering::Relaxed);
        if pauses == 0 && self.is_news() {
            let _ = catch(|| {
                eprintln!(
                    "boucle: no connection can be accepted ({error}); trying again until one can"
                );
            })
            .map_err(discard);
        }
        PAUSE.saturating_mul(1 << pauses.min(10)).min(LONGEST)
    }

    fn is_news(&self) -> bool {
        let now = Instant::now();
        let mut told = lock(&self.told);
        let is_news = told.is_none_or(|told| now.duration_since(told) >= SILENCE);
        if is_news {
            *told = Some(now);
        }
        is_news
    }
}

/// Whether it may pass when somebody closes something.
fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
