//! Unix sockets.

use super::streams::{assert_private, note, run, settle, stream_tests};
use crate::support::Log;
use boucle::{
    net::{UnixDatagram, UnixListener, UnixStream, unix::SocketAddr},
    spawn, timeout,
};
use futures_lite::{AsyncReadExt, AsyncWriteExt, StreamExt, future::poll_once};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    io::{self, ErrorKind, IoSlice},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net,
    },
    path::PathBuf,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

type Ours = UnixStream;
type Std = net::UnixStream;

async fn pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

stream_tests!();

/// A path that nobody has, and nobody has when the test has ended.
struct Path(PathBuf);

fn path() -> Path {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("boucle-test-{}-{next}", std::process::id());
    Path(std::env::temp_dir().join(name))
}

impl AsRef<std::path::Path> for Path {
    fn as_ref(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(target_os = "linux")]
fn name() -> SocketAddr {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(path().0.to_str().unwrap()).unwrap()
}

#[test]
fn whoever_connects_is_served() {
    run(async {
        let path = path();
        let listener = UnixListener::bind(&path)?;
        let mut client = UnixStream::connect(&path).await?;
        let (mut served, peer) = listener.accept().await?;
        assert!(peer.is_unnamed());
        assert!(client.local_addr()?.is_unnamed() && served.peer_addr()?.is_unnamed());
        for addr in [listener.local_addr()?, client.peer_addr()?, served.local_addr()?] {
            assert_eq!(addr.as_pathname(), Some(path.as_ref()));
        }
        for stream in [&client, &served] {
            assert_private(stream);
        }
        client.write_all(b"soda").await?;
        client.shutdown(Shutdown::Write)?;
        let mut text = String::new();
        served.read_to_string(&mut text).await?;
        assert_eq!(text, "soda");
        assert!(listener.take_error()?.is_none());
        Ok(())
    });
}

#[test]
fn a_peer_that_has_an_address_is_told() {
    run(async {
        let (at, from) = (path(), path());
        let listener = UnixListener::bind(&at)?;
        let client = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        client.bind(&SockAddr::unix(&from)?)?;
        client.connect(&SockAddr::unix(&at)?)?;
        let (_, peer) = listener.accept().await?;
        assert_eq!(peer.as_pathname(), Some(from.as_ref()));
        Ok(())
    });
}

#[test]
#[cfg(target_os = "linux")]
fn the_error_that_a_socket_keeps_is_told_once() {
    run(async {
        let (a, b) = UnixStream::pair()?;
        (&a).write_all(b"soda").await?;
        // It goes without having read that.
        drop(b);
        assert_eq!(a.take_error()?.unwrap().kind(), ErrorKind::ConnectionReset);
        assert!(a.take_error()?.is_none());
        let (path, (a, b)) = (path(), UnixDatagram::pair()?);
        let _other = UnixDatagram::bind(&path)?;
        assert_eq!(a.send(b"soda").await?, 4);
        // It turns to another one, without having read that.
        b.connect(&path)?;
        assert_eq!(a.take_error()?.unwrap().kind(), ErrorKind::ConnectionReset);
        assert!(a.take_error()?.is_none());
        // An error comes before the end.
        let (a, b) = UnixDatagram::pair()?;
        assert_eq!(a.send(b"soda").await?, 4);
        b.connect(&path)?;
        a.shutdown(Shutdown::Read)?;
        assert_eq!(a.recv(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(a.recv(&mut [0]).await?, 0);
        Ok(())
    });
}

#[test]
fn errors_are_those_of_std() {
    run(async {
        let path = path();
        let same = |ours: io::Error, std: io::Error| {
            assert_eq!((ours.kind(), ours.raw_os_error()), (std.kind(), std.raw_os_error()));
            ours.kind()
        };
        let missing = UnixStream::connect(&path).await.unwrap_err();
        let kind = same(missing, net::UnixStream::connect(&path).unwrap_err());
        assert_eq!(kind, ErrorKind::NotFound);
        let long = PathBuf::from("x".repeat(200));
        let bind = UnixListener::bind(&long).unwrap_err();
        assert_eq!(
            same(bind, net::UnixListener::bind(&long).unwrap_err()),
            ErrorKind::InvalidInput
        );
        let connect = UnixStream::connect(&long).await.unwrap_err();
        same(connect, net::UnixStream::connect(&long).unwrap_err());
        let bind = UnixDatagram::bind(&long).unwrap_err();
        same(bind, net::UnixDatagram::bind(&long).unwrap_err());
        let (ours, std) = (UnixDatagram::unbound()?, net::UnixDatagram::unbound()?);
        same(ours.send(b"x").await.unwrap_err(), std.send(b"x").unwrap_err());
        same(ours.peer_addr().unwrap_err(), std.peer_addr().unwrap_err());
        let sent = ours.send_to(b"x", &path).await.unwrap_err();
        same(sent, std.send_to(b"x", &path).unwrap_err());
        same(ours.connect(&path).unwrap_err(), std.connect(&path).unwrap_err());
        same(ours.connect(&long).unwrap_err(), std.connect(&long).unwrap_err());
        Ok(())
    });
}

#[test]
fn nothing_is_made_outside_a_loop() {
    let path = path();
    let message = crate::support::panics(|| UnixListener::bind(&path));
    assert!(message.starts_with("`UnixListener::bind` outside a loop"), "{message}");
    let message = crate::support::panics(|| UnixDatagram::bind(&path));
    assert!(message.starts_with("`UnixDatagram::bind` outside a loop"), "{message}");
    assert!(!path.0.exists());
    let message = crate::support::panics(UnixStream::pair);
    assert!(message.starts_with("`UnixStream::pair` outside a loop"), "{message}");
}

#[test]
fn t76_a_path_that_is_left_over_is_for_the_next_one_to_remove() {
    run(async {
        let path = path();
        drop(UnixListener::bind(&path)?);
        assert!(path.0.exists());
        let refused = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        std::fs::remove_file(&path)?;
        drop(UnixDatagram::bind(&path)?);
        assert_eq!(UnixDatagram::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        std::fs::remove_file(&path)?;
        let listener = UnixListener::bind(&path)?;
        UnixStream::connect(&path).await?;
        listener.accept().await?;
        Ok(())
    });
}

#[test]
#[cfg(target_os = "linux")]
fn t76_names_that_are_no_paths() {
    use std::os::linux::net::SocketAddrExt;
    run(async {
        let addr = name();
        let listener = UnixListener::bind_addr(&addr)?;
        let client = UnixStream::connect_addr(&addr).await?;
        assert_eq!(client.peer_addr()?.as_abstract_name(), addr.as_abstract_name());
        assert_eq!(
            listener.accept().await?.0.local_addr()?.as_abstract_name(),
            addr.as_abstract_name()
        );
        let task = spawn(async move { listener.accept().await.map(drop) });
        settle().await;
        let text = String::from_utf8_lossy(addr.as_abstract_name().unwrap()).into_owned();
        let said = boucle::snapshot().to_string();
        assert!(said.contains(&format!("for accept on unix @{text}, spawned at")), "{said}");
        task.cancel();
        // It has gone with its socket.
        let refused = UnixStream::connect_addr(&addr).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let receives = UnixDatagram::bind_addr(&addr)?;
        let (one, two) = (UnixDatagram::bind_addr(&name())?, UnixDatagram::unbound()?);
        one.send_to_addr(b"one", &addr).await?;
        two.connect_addr(&addr)?;
        two.send(b"two").await?;
        let mut buf = [0; 8];
        let (len, from) = receives.recv_from(&mut buf).await?;
        assert_eq!(&buf[..len], b"one");
        assert_eq!(from.as_abstract_name(), one.local_addr()?.as_abstract_name());
        assert!(receives.recv_from(&mut buf).await?.1.is_unnamed());
        // Zeros are as good as any other byte.
        let zeros = SocketAddr::from_abstract_name([text.as_bytes(), b"\0\0z"].concat())?;
        let listener = UnixListener::bind_addr(&zeros)?;
        UnixStream::connect_addr(&zeros).await?;
        listener.accept().await?;
        Ok(())
    });
}

#[test]
#[cfg(target_os = "linux")]
fn t76_the_system_knows_who_the_peer_is() {
    run(async {
        let path = path();
        let listener = UnixListener::bind(&path)?;
        let client = UnixStream::connect(&path).await?;
        let (served, _) = listener.accept().await?;
        for stream in [&client, &served] {
            let peer = rustix::net::sockopt::socket_peercred(stream)?;
            assert_eq!(peer.pid.as_raw_nonzero().get() as u32, std::process::id());
        }
        Ok(())
    });
}

#[test]
fn t76_nothing_is_inherited_or_blocks() {
    run(async {
        let (one, two) = (path(), path());
        let listener = UnixListener::bind(&one)?;
        assert_private(&listener);
        assert_private(&UnixDatagram::bind(&two)?);
        assert_private(&UnixDatagram::unbound()?);
        let (a, b) = UnixDatagram::pair()?;
        assert_private(&a);
        assert_private(&b);
        Ok(())
    });
}

#[test]
fn sockets_come_from_std_and_go_there() {
    run(async {
        let path = path();
        let std = net::UnixListener::bind(&path)?;
        let fd = std.as_raw_fd();
        let listener = UnixListener::try_from(std)?;
        assert_private(&listener);
        assert_eq!(listener.as_fd().as_raw_fd(), fd);
        assert!(format!("{:?}", listener.incoming()).contains("Incoming(UnixListener"));
        assert_eq!(net::UnixListener::try_from(listener)?.as_raw_fd(), fd);
        let std = net::UnixDatagram::unbound()?;
        let fd = std.as_raw_fd();
        let ours = UnixDatagram::try_from(std)?;
        assert_private(&ours);
        assert!(format!("{ours:?}").contains("UnixDatagram"));
        let clone = ours.clone();
        assert_ne!(net::UnixDatagram::try_from(ours)?.as_raw_fd(), fd);
        assert_eq!(net::UnixDatagram::try_from(clone)?.as_raw_fd(), fd);
        Ok(())
    });
}

#[test]
fn several_tasks_accept_and_a_stream_of_connections_loses_none() {
    run(async {
        let path = path();
        let listener = Rc::new(UnixListener::bind(&path)?);
        let log = Log::default();
        let servers = [0; 3].map(|_| {
            let listener = listener.clone();
            note(&log, "accepted", async move { listener.accept().await.map(drop) })
        });
        settle().await;
        assert!(servers[0].cancel());
        let _two = (UnixStream::connect(&path).await?, UnixStream::connect(&path).await?);
        for server in servers {
            let _ = server.await;
        }
        assert_eq!(log.take(), ["accepted: ()"; 2]);
        let mut incoming = listener.incoming();
        assert!(poll_once(incoming.next()).await.is_none());
        let _one = UnixStream::connect(&path).await?;
        drop(incoming);
        listener.incoming().next().await.unwrap()?;
        assert!(poll_once(listener.accept()).await.is_none());
        Ok(())
    });
}

/// A listener that has as many connections as it takes.
#[cfg(target_os = "linux")]
fn full(path: &Path) -> io::Result<(UnixListener, net::UnixStream)> {
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    listener.bind(&SockAddr::unix(path)?)?;
    listener.listen(0)?;
    let listener = net::UnixListener::from(std::os::fd::OwnedFd::from(listener));
    let first = net::UnixStream::connect(path)?;
    Ok((UnixListener::try_from(listener)?, first))
}

#[test]
#[cfg(target_os = "linux")]
fn whoever_connects_to_a_listener_that_is_full_is_patient() {
    run(async {
        let path = path();
        let (listener, _first) = full(&path)?;
        let at = path.0.clone();
        let client = spawn(async move { UnixStream::connect(at).await }).named("client");
        settle().await;
        assert!(!client.is_finished());
        let said = boucle::snapshot().to_string();
        let name = format!("connect to unix {}", path.0.display());
        // Where events come once, it waits for another socket meanwhile.
        assert!(said.contains(&name) || cfg!(boucle_oneshot), "{said}");
        boucle::sleep(Duration::from_millis(5)).await;
        assert!(!client.is_finished());
        listener.accept().await?;
        let mut client = client.await.unwrap()?;
        client.write_all(b"soda").await?;
        let (mut served, _) = listener.accept().await?;
        let mut got = [0; 4];
        served.read_exact(&mut got).await?;
        // Who gives up leaves nothing.
        let _second = UnixStream::connect(&path).await?;
        let late = timeout(Duration::from_millis(2), UnixStream::connect(&path)).await;
        assert!(late.is_err());
        listener.accept().await?;
        assert!(poll_once(listener.accept()).await.is_none());
        Ok(())
    });
}

#[test]
fn whoever_connects_to_nobody_is_not_patient() {
    let path = path();
    let l = boucle::Loop::builder().virtual_time().build();
    let start = l.now();
    let error = l.block_on(UnixStream::connect(&path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(l.now(), start);
}

#[test]
#[cfg(target_os = "linux")]
fn whoever_is_patient_hears_that_the_listener_has_gone() {
    run(async {
        let path = path();
        let (listener, _first) = full(&path)?;
        let client = spawn(UnixStream::connect(path.0.clone()));
        settle().await;
        drop(listener);
        let error = client.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[test]
#[cfg(target_os = "linux")]
fn patience_lets_a_virtual_clock_wait_too() {
    let l = boucle::Loop::builder().virtual_time().build();
    l.block_on(async {
        let path = path();
        let (listener, _first) = full(&path)?;
        let client = spawn(UnixStream::connect(path.0.clone()));
        settle().await;
        let start = boucle::now();
        // Nothing moves for a second of that clock: a pause of 50 milliseconds at most, each of
        // which takes 10 of the other.
        boucle::sleep(Duration::from_millis(200)).await;
        assert!(!client.is_finished());
        listener.accept().await?;
        client.await.unwrap()?;
        assert!(boucle::now() - start <= Duration::from_millis(250));
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn patience_with_a_receiver_lets_a_virtual_clock_wait_too() {
    let l = boucle::Loop::builder().virtual_time().build();
    l.block_on(async {
        let path = path();
        let (receives, sends) = (UnixDatagram::bind(&path)?, UnixDatagram::unbound()?);
        let mut queued = 0;
        while poll_once(sends.send_to(b"soda", &path)).await.is_some() {
            queued += 1;
        }
        let start = boucle::now();
        let (waits, at) = (sends.clone(), path.0.clone());
        let sender = spawn(async move { waits.send_to(b"last", at).await });
        boucle::sleep(Duration::from_millis(200)).await;
        assert!(!sender.is_finished());
        // Others may use the socket meanwhile.
        let other = UnixDatagram::bind_addr(&name())?;
        sends.send_to_addr(b"x", &other.local_addr()?).await?;
        for _ in 0..queued {
            receives.recv(&mut [0; 4]).await?;
        }
        sender.await.unwrap()?;
        assert!(boucle::now() - start <= Duration::from_millis(250));
        assert_eq!(receives.recv(&mut [0; 8]).await?, 4);
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn descriptors_that_are_sent_along_do_not_hold_back_what_is_behind_them() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    run(async {
        let (a, mut b) = pair().await?;
        for waits in [false, true] {
            let log = Log::default();
            let mut reads = b.clone();
            let read = async move {
                let (mut buf, mut text) = ([0; 64], Vec::new());
                while text.len() < 12 {
                    let read = reads.read(&mut buf).await?;
                    text.extend_from_slice(&buf[..read]);
                }
                Ok(String::from_utf8(text).unwrap())
            };
            let send = || {
                // No read goes over the border between them.
                for part in [b"here", b"is a", b"fish"] {
                    let fds = [a.as_fd()];
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                    let mut along = SendAncillaryBuffer::new(&mut space);
                    assert!(along.push(SendAncillaryMessage::ScmRights(&fds)));
                    sendmsg(&a, &[IoSlice::new(part)], &mut along, SendFlags::empty()).unwrap();
                }
            };
            if !waits {
                send();
            }
            let reader = note(&log, "reader", read);
            settle().await;
            if waits {
                send();
            }
            reader.await.unwrap();
            assert_eq!(log.take(), ["reader: \"hereis afish\""]);
        }
        (&a).write_all(b"x").await?;
        assert_eq!(b.read(&mut [0; 8]).await?, 1);
        Ok(())
    });
}

#[test]
fn datagrams_come_in_order_and_are_cut_off() {
    run(async {
        let (at, from) = (path(), path());
        let (a, b) = (UnixDatagram::bind(&from)?, UnixDatagram::bind(&at)?);
        assert_eq!(a.local_addr()?.as_pathname(), Some(from.as_ref()));
        assert_eq!(a.send_to(b"soda and coffee", &at).await?, 15);
        a.connect(&at)?;
        assert_eq!(a.peer_addr()?.as_pathname(), Some(at.as_ref()));
        assert_eq!(a.send(b"").await?, 0);
        assert_eq!(a.send(b"next").await?, 4);
        let mut buf = [0; 4];
        let (len, sender) = b.recv_from(&mut buf).await?;
        assert_eq!((&buf[..len], sender.as_pathname()), (&b"soda"[..], Some(from.as_ref())));
        assert_eq!(b.recv(&mut buf).await?, 0);
        assert_eq!(b.recv(&mut buf).await?, 4);
        assert_eq!(&buf, b"next");
        assert!(a.take_error()?.is_none());
        drop(b);
        assert_eq!(a.send(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[test]
fn a_receiver_that_does_not_keep_up_is_waited_for() {
    run(async {
        let path = path();
        let receives = UnixDatagram::bind(&path)?;
        // Some know the receiver as their peer, and hear when it has received; others do not.
        let connected = UnixDatagram::unbound()?;
        connected.connect(&path)?;
        let one = spawn(async move {
            for n in 0..500_u32 {
                connected.send(&n.to_le_bytes()).await?;
            }
            io::Result::Ok(())
        });
        let (at, alone) = (path.0.clone(), UnixDatagram::unbound()?);
        let two = spawn(async move {
            for n in 1000..1100_u32 {
                alone.send_to(&n.to_le_bytes(), &at).await?;
            }
            io::Result::Ok(())
        });
        settle().await;
        assert!(!one.is_finished() && !two.is_finished());
        let (mut low, mut high) = (0, 1000);
        while (low, high) != (500, 1100) {
            let mut buf = [0; 4];
            assert_eq!(receives.recv(&mut buf).await?, 4);
            let n = u32::from_le_bytes(buf);
            let next = if n < 1000 { &mut low } else { &mut high };
            assert_eq!(n, *next);
            *next += 1;
        }
        one.await.unwrap()?;
        two.await.unwrap()
    });
}

#[test]
fn whoever_sends_is_told_when_the_receiver_goes() {
    run(async {
        let path = path();
        let receives = UnixDatagram::bind(&path)?;
        let (a, b) = (UnixDatagram::unbound()?, UnixDatagram::unbound()?);
        a.connect(&path)?;
        let log = Log::default();
        let one = note(&log, "send", async move { loop_on(|| a.send(b"x")).await });
        settle().await;
        let at = path.0.clone();
        let two = note(&log, "send_to", async move { loop_on(|| b.send_to(b"x", &at)).await });
        settle().await;
        assert!(log.take().is_empty());
        drop(receives);
        one.await.unwrap();
        two.await.unwrap();
        let mut said = log.take();
        said.sort();
        // The peer of a connected one was the very socket.
        assert!(
            matches!(&*said[0], "send: ConnectionRefused" | "send: ConnectionReset"),
            "{said:?}"
        );
        assert_eq!(said[1], "send_to: ConnectionRefused");
        Ok(())
    });
}

/// Does it again until it fails.
async fn loop_on<F: Future<Output = io::Result<usize>>>(f: impl Fn() -> F) -> io::Result<()> {
    loop {
        f().await?;
    }
}

#[test]
fn a_datagram_socket_is_shut_down() {
    run(async {
        let (a, b) = UnixDatagram::pair()?;
        let log = Log::default();
        let receives = b.clone();
        let receiver = note(&log, "receiver", async move { receives.recv(&mut [0]).await });
        settle().await;
        b.shutdown(Shutdown::Read)?;
        receiver.await.unwrap();
        assert_eq!(log.take(), ["receiver: 0"]);
        assert_eq!(a.send(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        b.send(b"still").await?;
        assert_eq!(a.recv(&mut [0; 8]).await?, 5);
        Ok(())
    });
}

#[test]
fn a_task_says_on_which_socket_it_waits() {
    run(async {
        let path = path();
        let at = path.0.display().to_string();
        let listener = UnixListener::bind(&path)?;
        let mut client = UnixStream::connect(&path).await?;
        let (mut served, _) = listener.accept().await?;
        let (mut pair, _end) = UnixStream::pair()?;
        let (datagram, _other) = UnixDatagram::pair()?;
        let tasks = [
            spawn(async move { client.read(&mut [0]).await }).named("client"),
            spawn(async move { served.read(&mut [0]).await }).named("served"),
            spawn(async move { pair.read(&mut [0]).await }).named("pair"),
            spawn(async move { datagram.recv(&mut [0]).await }).named("datagram"),
        ];
        settle().await;
        let said = boucle::snapshot().to_string();
        for wait in [
            format!("for read on unix -> {at}, spawned at"),
            format!("for read on unix {at}, spawned at"),
            "for read on unix (unnamed), spawned at".to_owned(),
            "for receive on unix (unnamed), spawned at".to_owned(),
        ] {
            assert!(said.contains(&wait), "{wait}\n{said}");
        }
        assert!(tasks.iter().all(|task| task.cancel()));
        Ok(())
    });
}

#[test]
fn the_futures_may_go_to_other_threads() {
    fn send<T: Send>(future: T) {
        drop(future);
    }
    run(async {
        let (path, addr) = (path(), SocketAddr::from_pathname("/nowhere")?);
        let listener = UnixListener::bind(&path)?;
        send(listener.accept());
        send(listener.incoming());
        send(UnixStream::connect("/nowhere"));
        send(UnixStream::connect_addr(&addr));
        let (a, _b) = UnixDatagram::pair()?;
        send(a.send(b"x"));
        send(a.send_to(b"x", "/nowhere"));
        send(a.recv(&mut [0]));
        send(a.recv_from(&mut [0]));
        Ok(())
    });
}
