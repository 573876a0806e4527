//! A registered descriptor, and operations on it that wait.
//!
//! A source belongs to the loop in which it was made, whose reactor holds its readiness. There,
//! operations ask that first and use no atomics. Elsewhere, on another thread or in another loop,
//! they are tried at once, and one that would block sends its waker home in a letter.
//!
//! `[registered]` invariant: a descriptor is deleted from its poller before it is closed or given
//! away. [`Source`] sees to it: it alone owns the descriptor, and only drops it or takes it out
//! after [`Registration::end`].

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use rustix::io::Errno;

use crate::{
    current::current,
    guard::OnDrop,
    home::{HomeRef, Letter},
    reactor::{Attempt, Key, Link, Name, Token, Waiting},
    sys::{self, Way},
    task::{own_wakee, wakee_of},
    turn::{Core, with_core, with_core_at},
    wakee::Wakee,
};

/// A descriptor of a loop.
pub(crate) struct Source<T: AsFd> {
    /// There until it is taken out.
    io: Option<T>,
    registration: Registration,
}

struct Registration {
    home: HomeRef,
    link: Arc<Link>,
    key: Key,
    /// What was registered.
    fd: RawFd,
}

/// What an operation came to.
pub(crate) struct Done<R> {
    pub(crate) value: R,
    /// The next one would block.
    pub(crate) drained: bool,
}

/// What an operation says that leaves its side as ready as it was.
pub(crate) fn plain<R>(value: R) -> Done<R> {
    Done { value, drained: false }
}

/// What a read or write of `did` bytes says, of `wanted` at most, on a stream: with less than was
/// wanted there is no more.
#[inline]
pub(crate) fn streamed(did: usize, wanted: usize) -> Done<usize> {
    Done { value: did, drained: sys::TELLS_ENDS && did != 0 && did < wanted }
}

impl<T: AsFd> Source<T> {
    /// Registers a descriptor, which does not block, with the loop that runs here; `call` is what
    /// the user has called, `what` says in a report what it is.
    #[track_caller]
    pub(crate) fn new(io: T, call: &str, what: &'static str) -> io::Result<Source<T>> {
        current(call, |core| Source::of(core, io, what))
    }

    fn of(core: &Core, io: T, what: &'static str) -> io::Result<Source<T>> {
        if core.tasks.is_closing() {
            return Err(gone());
        }
        let link = core.reactor.link()?.clone();
        let fd = io.as_fd();
        let (key, fd) = (core.reactor.add(fd, what).map_err(explain)?, fd.as_raw_fd());
        let home = core.tasks.home.reference();
        Ok(Source { io: Some(io), registration: Registration { home, link, key, fd } })
    }

    /// Who can say what it is.
    pub(crate) fn set_name(&self, name: Name) {
        self.registration.at_home(|core| core.reactor.set_name(self.registration.key, name));
    }

    pub(crate) fn get(&self) -> &T {
        self.io.as_ref().expect("only the last owner takes it out")
    }

    /// Takes the descriptor out; those who wait for it are woken.
    pub(crate) fn into_inner(mut self) -> T {
        let io = self.io.take().expect("it is there until now");
        self.registration.end(&io);
        io
    }

    /// Does `op`, or has whoever is polled woken when it may be worth another try.
    ///
    /// `op` may be called several times, but not after it has done something. It may be user code:
    /// nothing is borrowed.
    #[inline]
    pub(crate) fn poll<R>(
        &self,
        way: Way,
        cx: &Context<'_>,
        token: &mut Token,
        mut op: impl FnMut(&T) -> io::Result<Done<R>>,
    ) -> Poll<io::Result<R>> {
        self.registration.poll(way, cx, token, || op(self.get()))
    }

    /// As [`Source::poll`], for what needs the descriptor to itself.
    pub(crate) fn poll_mut<R>(
        &mut self,
        way: Way,
        cx: &Context<'_>,
        mut op: impl FnMut(&mut T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let io = self.io.as_mut().expect("only the last owner takes it out");
        self.registration.poll(way, cx, &mut 0, || op(io).map(plain))
    }

    /// What was done so far is known to go on: no operation is worth a try before an event has come.
    pub(crate) fn expect_event(&self, way: Way) {
        let key = self.registration.key;
        self.registration.at_home(|core| core.reactor.blocked(key, way));
    }

    /// Whoever waited under this token waits no longer.
    pub(crate) fn give_up(&self, way: Way, token: Token) {
        self.take_back(way, token, drop);
    }

    /// Whoever waits under this token waits in vain from now on, and is woken.
    pub(crate) fn forsake(&self, way: Way, token: Token) {
        self.take_back(way, token, Wakee::wake);
    }

    fn take_back(&self, way: Way, token: Token, then: fn(Wakee)) {
        if token == WANTED {
            return;
        }
        let key = self.registration.key;
        let take =
            move |core: &Core| core.reactor.give_up(key, way, token).into_iter().for_each(then);
        if self.registration.at_home(take).is_none() {
            self.registration.home.post(Letter::Job(Box::new(move || {
                with_core(take);
            })));
        }
    }

    /// As a future.
    pub(crate) fn op<R, F>(&self, way: Way, op: F) -> Op<'_, T, F>
    where
        F: FnMut(&T) -> io::Result<Done<R>>,
    {
        // The first token is asked for when somebody waits.
        Op { source: self, way, token: WANTED, op }
    }
}

impl<T: AsFd> AsFd for Source<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get().as_fd()
    }
}

impl<T: AsFd> Drop for Source<T> {
    fn drop(&mut self) {
        if let Some(io) = &self.io {
            self.registration.end(io);
        }
    }
}

/// Stands for a token that is still to be asked for. Those who cannot give up have the token zero.
pub(crate) const WANTED: Token = Token::MAX;

impl Registration {
    /// Runs `f` if the loop of the source runs here.
    #[inline]
    fn at_home<R>(&self, f: impl FnOnce(&Core) -> R) -> Option<R> {
        with_core_at(&self.home, f)
    }

    /// As [`Source::poll`].
    #[inline]
    fn poll<R>(
        &self,
        way: Way,
        cx: &Context<'_>,
        token: &mut Token,
        mut op: impl FnMut() -> io::Result<Done<R>>,
    ) -> Poll<io::Result<R>> {
        match with_core_at(&self.home, |core| self.poll_at_home(core, way, cx, token, &mut op)) {
            Some(polled) => polled,
            None => self.poll_elsewhere(way, cx, *token, op),
        }
    }

    #[inline]
    fn poll_at_home<R>(
        &self,
        core: &Core,
        way: Way,
        cx: &Context<'_>,
        token: &mut Token,
        op: &mut impl FnMut() -> io::Result<Done<R>>,
    ) -> Poll<io::Result<R>> {
        let (reactor, key) = (&core.reactor, self.key);
        loop {
            let own = || if *token == WANTED { None } else { own_wakee(cx) };
            match reactor.attempt(key, way, *token, own) {
                Attempt::Go if core.tasks.home.spend_operation() => {}
                Attempt::Go => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Attempt::Waits => return Poll::Pending,
                Attempt::Wait => match self.wait(core, way, cx, token) {
                    Ok(true) => return Poll::Pending,
                    Ok(false) => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                },
                Attempt::Gone => return Poll::Ready(Err(gone())),
            }
            match sys::call(&mut *op) {
                Ok(Done { value, drained }) => {
                    if drained {
                        reactor.drained(key, way);
                    }
                    return Poll::Ready(Ok(value));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    reactor.blocked(key, way)
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    #[cold]
    fn poll_elsewhere<R>(
        &self,
        way: Way,
        cx: &Context<'_>,
        token: Token,
        mut op: impl FnMut() -> io::Result<Done<R>>,
    ) -> Poll<io::Result<R>> {
        let Registration { home, link, key, .. } = self;
        if with_core(|core| !core.tasks.home.spend_operation()) == Some(true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if home.is_closed() {
            return Poll::Ready(Err(gone()));
        }
        let epoch = link.epoch();
        match sys::call(&mut op) {
            Ok(Done { value, .. }) => Poll::Ready(Ok(value)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let token = if token == WANTED { 0 } else { token };
                let ask = Ask { key: *key, way, epoch, token, waker: Some(cx.waker().clone()) };
                // If the loop has gone, the letter is dropped, which wakes.
                home.post(Letter::Job(Box::new(move || ask.read())));
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Has whoever is polled woken at the next event, as well as others; false if an operation is worth a try now.
    #[inline(never)]
    fn wait(&self, core: &Core, way: Way, cx: &Context<'_>, token: &mut Token) -> io::Result<bool> {
        if *token == WANTED {
            *token = core.reactor.token();
        }
        let mine = *token;
        if core.reactor.knows(self.key, way, |wakee, of| of == mine && wakee.is(cx)) {
            return Ok(true);
        }
        // This may run foreign code.
        let wakee = wakee_of(cx);
        match core.reactor.wait_for(self.key, way, mine, wakee) {
            Waiting::Begun(old) => {
                drop(old);
                Ok(true)
            }
            Waiting::Refused(wakee) => {
                drop(wakee);
                Ok(false)
            }
            Waiting::Failed(error) => Err(error),
        }
    }

    fn end(&self, io: &impl AsFd) {
        // Whatever users' code says now.
        let _forget = OnDrop(|| self.forget());
        let fd = io.as_fd();
        if fd.as_raw_fd() == self.fd {
            // An error says that it was not registered any more: somebody has closed it.
            let _ = self.link.delete(fd, self.key);
        }
    }

    fn forget(&self) {
        let key = self.key;
        if self.at_home(|core| core.reactor.remove(key)).is_none() {
            self.home.post(Letter::Job(Box::new(move || {
                with_core(|core| core.reactor.remove(key));
            })));
        }
    }
}

/// What somebody elsewhere asks of home: to be woken at the next event. Dropped, it wakes.
struct Ask {
    key: Key,
    way: Way,
    epoch: u32,
    token: Token,
    waker: Option<Waker>,
}

impl Ask {
    /// At home.
    fn read(mut self) {
        let Some(waker) = self.waker.take() else { return };
        let cx = Context::from_waker(&waker);
        let waits = with_core(|core| {
            core.reactor.blocked_at(self.key, self.way, self.epoch);
            let (key, way, mine) = (self.key, self.way, self.token);
            if core.reactor.knows(key, way, |wakee, of| of == mine && wakee.is(&cx)) {
                return true;
            }
            let wakee = Wakee::of(&cx);
            matches!(core.reactor.wait_for(key, way, mine, wakee), Waiting::Begun(_))
        });
        if waits != Some(true) {
            waker.wake();
        }
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// One operation as a future, which says when it waits no longer.
#[must_use = "futures do nothing unless they are awaited"]
pub(crate) struct Op<'s, T: AsFd, F> {
    source: &'s Source<T>,
    way: Way,
    token: Token,
    op: F,
}

impl<T: AsFd, F> Unpin for Op<'_, T, F> {}

impl<R, T: AsFd, F: FnMut(&T) -> io::Result<Done<R>>> Future for Op<'_, T, F> {
    type Output = io::Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Op { source, way, token, op } = &mut *self;
        source.poll(*way, cx, token, op)
    }
}

impl<T: AsFd, F> Drop for Op<'_, T, F> {
    fn drop(&mut self) {
        if self.token != WANTED {
            self.source.give_up(self.way, self.token);
        }
    }
}

/// What the system means by a refusal to wait for a descriptor.
#[cold]
fn explain(error: io::Error) -> io::Error {
    let what = match Errno::from_io_error(&error) {
        Some(Errno::PERM) => {
            let what = "the system cannot wait for this descriptor: files on a disk, directories and \
                        devices such as /dev/null never say `WouldBlock`; read them on another \
                        thread, by `boucle::unblock`";
            return io::Error::new(io::ErrorKind::Unsupported, what);
        }
        Some(Errno::EXIST) => "this descriptor is registered with the loop already",
        Some(Errno::NOSPC) => {
            "the system waits for no more descriptors of this user: see \
             /proc/sys/fs/epoll/max_user_watches"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), what)
}

/// The loop of a source is gone, or goes.
#[cold]
pub(crate) fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the boucle loop of this socket was dropped, or is being dropped: sockets are waited for in the \
         loop in which they were made, so make them where they are used, or run both on one `Loop`",
    )
}
