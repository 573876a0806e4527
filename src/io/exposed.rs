//! The loop as a descriptor, for another loop to wait for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::{bell::Alarm, event_loop::Loop};

/// A descriptor that becomes readable when the loop has something to do: one of its sockets has, or
/// another thread has woken a task. A host loop that waits in `poll`, `epoll` or the like, waits for
/// it, and until [`Loop::next_deadline`] at most; then it calls [`Loop::run_until_stalled`]. Neither a
/// helper thread nor [`Loop::on_wake`] is needed. Nothing is to be read from it.
///
/// A loop that has been asked for its descriptor looks at it in every
/// [`run_until_stalled`](Loop::run_until_stalled), [`step`](Loop::step) and
/// [`advance`](Loop::advance): one call to the system.
///
/// # Panics
/// If the system has no descriptors left.
///
/// ```
/// use boucle::net::{TcpListener, TcpStream};
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// let l = boucle::Loop::new();
/// let task = l.spawn(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = boucle::spawn(TcpStream::connect(listener.local_addr()?));
///     listener.accept().await?;
///     client.await.unwrap()
/// });
/// l.run_until_stalled();
/// while !task.is_finished() {
///     poll(&mut [PollFd::new(&l, PollFlags::IN)], None).unwrap();
///     l.run_until_stalled();
/// }
/// assert!(task.result().unwrap().unwrap().is_ok());
/// ```
impl AsFd for Loop {
    #[track_caller]
    fn as_fd(&self) -> BorrowedFd<'_> {
        let core = self.core();
        match core.reactor.expose() {
            Ok(link) => {
                let bell = &core.tasks.home.bell;
                bell.set_alarm(link);
                if bell.has_rung() || !core.tasks.ready.is_empty() {
                    // That was before there was an alarm.
                    link.rouse();
                }
                link.as_fd()
            }
            Err(error) => panic!("boucle: the system has no descriptor for the loop: {error}"),
        }
    }
}

/// As its [`AsFd`].
impl AsRawFd for Loop {
    #[track_caller]
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
