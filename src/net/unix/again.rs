//! Operations that are refused without anybody telling when they would not be.
//!
//! The system says `EAGAIN` to whoever connects to a listener that has enough to do, or sends a
//! datagram to somebody who does not keep up, and no event comes when that has passed. So they are
//! tried again after a pause: a millisecond, and twice as long each time, up to 50. Meanwhile an event
//! is waited for too. There is one if it was this socket's own fault, and a virtual clock knows then
//! that somebody waits for a socket.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    io::{Source, WANTED, plain},
    reactor::Token,
    sys::{self, Way},
    time::{Sleep, sleep},
    turn::with_core,
};

const PAUSE: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

/// Does `op`, which may be called several times, but not after it has done something.
pub(super) fn again<'s, R, T, F>(source: &'s Source<T>, op: F) -> Again<'s, T, F>
where
    T: AsFd,
    F: FnMut(&T) -> io::Result<R>,
{
    Again { source, op, token: WANTED, pause: None, next: PAUSE }
}

#[must_use = "futures do nothing unless they are awaited"]
pub(super) struct Again<'s, T: AsFd, F> {
    source: &'s Source<T>,
    op: F,
    token: Token,
    pause: Option<Sleep>,
    /// How long the next pause is.
    next: Duration,
}

impl<T: AsFd, F> Unpin for Again<'_, T, F> {}

impl<R, T: AsFd, F: FnMut(&T) -> io::Result<R>> Future for Again<'_, T, F> {
    type Output = io::Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Again { source, op, token, pause, next } = &mut *self;
        if with_core(|_| ()).is_none() {
            // Where no loop runs there are no timers: then it is for the caller to pause.
            *pause = None;
            let tried = source.poll(Way::Write, cx, &mut 0, |io| match op(io) {
                Err(error) if is_refused(&error) => Ok(plain(Err(error))),
                result => result.map(|value| plain(Ok(value))),
            });
            return tried.map(|tried| tried.and_then(|result| result));
        }
        loop {
            if let Some(over) = pause {
                if Pin::new(over).poll(cx).is_ready() {
                    *pause = None;
                    // Whether there was an event or not.
                    match sys::call(|| op(source.get())) {
                        Err(error) if is_refused(&error) => {}
                        result => return Poll::Ready(result),
                    }
                }
            }
            if let Poll::Ready(result) = source.poll(Way::Write, cx, token, |io| op(io).map(plain))
            {
                return Poll::Ready(result);
            }
            if pause.is_some() {
                return Poll::Pending;
            }
            *pause = Some(sleep(*next));
            *next = (*next * 2).min(LONGEST);
        }
    }
}

impl<T: AsFd, F> Drop for Again<'_, T, F> {
    fn drop(&mut self) {
        if self.token != WANTED {
            self.source.give_up(Way::Write, self.token);
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
