//! Faults: whichever call to the system fails, whoever asked hears of it, nothing is left behind, and
//! the loop goes on.

use std::{
    fs, io,
    net::Shutdown,
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::net::{self, SocketAddr},
    },
    pin::Pin,
    process::{Command, Stdio},
    task::{Context, Waker},
    time::Duration,
};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use rustix::io::Errno;

use super::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use crate::{
    Loop,
    io::Async,
    sys::{self, fault},
    timeout,
};

/// What is to fail: in which step, which call, and how.
#[derive(Clone, Copy)]
struct Fault(&'static str, usize, Errno);

/// One run, of a few steps.
struct Run {
    fault: Option<Fault>,
    /// The call has come, and failed.
    failed: bool,
}

impl Run {
    /// One step. If it waits for an event that never comes, the virtual clock ends it.
    async fn step<R>(
        &mut self,
        name: &'static str,
        op: impl Future<Output = io::Result<R>>,
    ) -> io::Result<R> {
        let fault = self.fault.filter(|fault| fault.0 == name);
        if let Some(Fault(_, nth, errno)) = fault {
            fault::plan(nth, errno.raw_os_error());
        }
        let result = timeout(Duration::from_secs(60), op).await;
        if fault.is_some() {
            self.failed |= fault::has_failed();
        }
        result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// A little of everything.
    async fn go(&mut self) -> io::Result<()> {
        let listener = self.step("bind", TcpListener::bind("127.0.0.1:0")).await?;
        let addr = listener.local_addr()?;
        let mut client = self.step("connect", TcpStream::connect(addr)).await?;
        let (mut served, _) = self.step("accept", listener.accept()).await?;
        let mut buf = [0; 4];
        if self.fault.is_some() {
            self.step("wait", async {
                // Nothing comes: the loop waits with a limit.
                match timeout(Duration::from_millis(1), served.peek(&mut buf)).await {
                    Ok(peeked) => panic!("there were {} bytes", peeked?),
                    Err(_) => Ok(()),
                }
            })
            .await?;
        }
        self.step("write", client.write_all(b"soda")).await?;
        self.step("read", served.read_exact(&mut buf)).await?;
        assert_eq!(&buf, b"soda");

        let (a, b) = net::UnixStream::pair()?;
        let (mut a, mut b) =
            self.step("pipe", async { Ok((Async::new(a)?, Async::new(b)?)) }).await?;
        self.step("write to pipe", a.write_all(b"soda")).await?;
        self.step("read from pipe", b.read_exact(&mut buf)).await?;
        self.step("shut down", async { client.shutdown(Shutdown::Write) }).await?;
        assert_eq!(self.step("end", served.read(&mut buf)).await?, 0);
        self.step("close writing", served.close()).await?;

        let at = SocketAddr::from_abstract_name(format!("boucle {}", std::process::id()))?;
        let unix = self.step("bind unix", async { UnixListener::bind_addr(&at) }).await?;
        let mut client_unix = self.step("connect unix", UnixStream::connect_addr(&at)).await?;
        let (mut served_unix, _) = self.step("accept unix", unix.accept()).await?;
        self.step("write unix", client_unix.write_all(b"soda")).await?;
        self.step("read unix", served_unix.read_exact(&mut buf)).await?;
        self.step("shut down unix", async { client_unix.shutdown(Shutdown::Write) }).await?;

        let udp = self.step("bind udp", UdpSocket::bind("127.0.0.1:0")).await?;
        self.step("connect udp", udp.connect(udp.local_addr()?)).await?;
        self.step("send", udp.send(b"soda")).await?;
        self.step("receive", udp.recv(&mut buf)).await?;

        self.step("close", async {
            drop((listener, client, served, a, unix, client_unix, served_unix, udp));
            b.into_inner();
            Ok(())
        })
        .await
    }
}

/// The steps, and how many of the calls in each somebody hears of at least.
const STEPS: [(&str, usize); 23] = [
    ("bind", 4),
    ("connect", 4),
    // It tries again when descriptors or memory have run out.
    ("accept", 1),
    ("wait", 1),
    ("write", 1),
    ("read", 1),
    ("pipe", 4),
    ("write to pipe", 1),
    ("read from pipe", 1),
    ("shut down", 1),
    ("end", 1),
    ("close writing", 1),
    ("bind unix", 3),
    // To be refused is no error: it tries again.
    ("connect unix", 3),
    ("accept unix", 1),
    ("write unix", 1),
    ("read unix", 1),
    ("shut down unix", 1),
    ("bind udp", 3),
    ("connect udp", 1),
    ("send", 1),
    ("receive", 1),
    // What cannot be deleted is closed.
    ("close", 0),
];

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Has each call of a step fail in turn: how often somebody heard of it, and how often nobody did.
fn fail_each(step: &'static str, errno: Errno) -> (usize, usize) {
    let (mut heard, mut unheard) = (0, 0);
    for nth in 0.. {
        assert!(nth < 100, "{step} has an end, whatever fails");
        let before = descriptors();
        let l = Loop::builder().virtual_time().build();
        let mut run = Run { fault: Some(Fault(step, nth, errno)), failed: false };
        match l.block_on(run.go()) {
            Ok(()) => unheard += usize::from(run.failed),
            Err(error) => {
                assert!(run.failed, "{error} of itself, in place of call {nth} of '{step}'");
                // What says that it would block is waited for, and there may be no event to come; the system's word for what it cannot wait for has a sentence of ours.
                let known = match errno {
                    Errno::AGAIN => error.kind() == io::ErrorKind::TimedOut,
                    Errno::PERM => error.kind() == io::ErrorKind::Unsupported,
                    _ => false,
                };
                let is_same = error.raw_os_error() == Some(errno.raw_os_error());
                assert!(known || is_same, "{step}: {error} instead of {errno}");
                heard += 1;
            }
        }
        // It goes on as if nothing had been.
        let again = l.block_on(Run { fault: None, failed: false }.go());
        assert!(again.is_ok(), "after {errno} in '{step}': {again:?}");
        drop(l);
        assert_eq!(descriptors(), before, "after {errno} in call {nth} of '{step}'");
        if !run.failed {
            break;
        }
    }
    (heard, unheard)
}

/// Whether the test called `name` has run in a process of its own, where nobody else opens
/// descriptors; false there.
fn has_run_alone(name: &str) -> bool {
    const CHILD: &str = "BOUCLE_TEST_ALONE";
    if std::env::var_os(CHILD).is_some() {
        return false;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(told.contains("running 1 test"), "no such test: {name}\n{told}");
    assert!(child.status.success(), "{told}{}", String::from_utf8_lossy(&child.stderr));
    true
}

#[test]
fn a_fault_in_any_call_is_heard_of_and_leaves_nothing_behind() {
    if has_run_alone("net::tests::a_fault_in_any_call_is_heard_of_and_leaves_nothing_behind") {
        return;
    }
    for (step, least) in STEPS {
        for errno in
            [Errno::MFILE, Errno::NOMEM, Errno::NOBUFS, Errno::CONNRESET, Errno::AGAIN, Errno::PERM]
        {
            let (heard, unheard) = fail_each(step, errno);
            if least == 0 {
                assert!(heard == 0 && unheard > 0, "{errno} in '{step}': {heard}, {unheard}");
            } else if errno != Errno::AGAIN || least > 2 {
                // An operation that says that it would block is done when an event comes.
                assert!(heard >= least, "{errno} in '{step}': {heard}, {unheard}");
            }
        }
        let (heard, unheard) = fail_each(step, Errno::INTR);
        assert!(heard == 0 && unheard > 0, "{step}: a call that was interrupted is made again");
    }
}

#[test]
fn a_connection_that_goes_before_it_is_accepted_is_passed_over() {
    Loop::new().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        fault::plan(0, Errno::CONNABORTED.raw_os_error());
        let (_, peer) = listener.accept().await.unwrap();
        assert!(fault::has_failed());
        assert_eq!(peer, client.local_addr().unwrap());
    });
}

#[test]
fn a_loop_that_has_had_sockets_leaves_no_descriptor_to_the_next_one() {
    if has_run_alone("net::tests::a_loop_that_has_had_sockets_leaves_no_descriptor_to_the_next_one")
    {
        return;
    }
    let before = descriptors();
    let uses: [fn(&Loop); 3] = [
        |l| l.block_on(async { drop(UdpSocket::bind("127.0.0.1:0").await.unwrap()) }),
        // Refused, by a reactor that is there from then on.
        |l| drop(l.block_on(async { Async::new(fs::File::open("/").unwrap()).unwrap_err() })),
        |l| _ = l.as_fd(),
    ];
    for use_it in uses {
        let l = Loop::new();
        use_it(&l);
        assert!(descriptors() > before, "its own are kept while it lives");
        drop(l);
        assert_eq!(descriptors(), before);
    }
}

/// Whether this makes a call to the system; if so, it fails.
fn calls(work: impl FnOnce()) -> bool {
    fault::plan(0, Errno::IO.raw_os_error());
    work();
    fault::has_failed()
}

#[test]
fn after_a_short_read_or_write_nobody_tries_before_an_event_has_come() {
    Loop::new().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut a = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut b, _) = listener.accept().await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        for (wanted, tries) in [(4, true), (5, !sys::TELLS_ENDS)] {
            a.write_all(b"soda").await.unwrap();
            assert_eq!(b.read(&mut vec![0; wanted]).await.unwrap(), 4);
            let tried = calls(|| {
                let polled = Pin::new(&mut b).poll_read(cx, &mut [0]);
                assert_eq!(polled.is_ready(), tries);
            });
            assert_eq!(tried, tries, "read 4 of {wanted}");
        }

        socket2::SockRef::from(&a).set_send_buffer_size(1).unwrap();
        let written = a.write(&vec![7; 1 << 24]).await.unwrap();
        assert!(written < 1 << 24);
        let tried = calls(|| drop(Pin::new(&mut a).poll_write(cx, &[7])));
        assert_eq!(tried, !sys::TELLS_ENDS, "written {written}");
        // There is room again.
        b.read_exact(&mut vec![0; written]).await.unwrap();
        assert_eq!(a.write(&[7]).await.unwrap(), 1);
        assert!(calls(|| drop(Pin::new(&mut a).poll_write(cx, &[7]))), "that was no short one");

        // An end is no short read: it is there for whoever asks again.
        drop(a);
        while b.read(&mut [0; 4096]).await.unwrap() > 0 {}
        assert_eq!(b.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn what_the_system_says_of_too_many_descriptors_is_explained() {
    let error = Loop::new().block_on(async {
        let (a, b) = net::UnixStream::pair()?;
        // The loop's own descriptors come with the first.
        let _there = Async::new(a)?;
        fault::plan(0, Errno::NOSPC.raw_os_error());
        let refused = Async::new(b).map(drop);
        assert!(fault::has_failed());
        refused
    });
    let error = error.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("/proc/sys/fs/epoll/max_user_watches"), "{error}");
}

#[test]
#[cfg(not(boucle_portable))]
fn without_a_timer_a_wait_is_not_too_short() {
    let (poller, mut events) = (sys::Poller::new().unwrap(), sys::Events::new());
    // By a real clock, since that is what is tested: never early, however late.
    for micros in [1, 700, 1500] {
        let limit = Duration::from_micros(micros);
        let start = std::time::Instant::now();
        fault::plan(0, Errno::MFILE.raw_os_error());
        poller.wait(&mut events, Some(limit)).unwrap();
        assert!(fault::has_failed(), "the timer is to be refused");
        assert!(start.elapsed() >= limit, "{limit:?}");
    }
}
