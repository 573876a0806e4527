//! TCP, over loopback.

use super::streams::{assert_private, note, run, settle, stream_tests};
use crate::support::Log;
use boucle::{
    gather,
    net::{TcpListener, TcpStream},
    spawn, timeout, yield_now,
};
use futures_lite::{AsyncReadExt, AsyncWriteExt, StreamExt, future::poll_once};
use rustix::net::SendFlags;
use socket2::{Domain, SockRef, Socket, Type};
use std::{
    io::{self, ErrorKind, Read},
    net::{self, Ipv4Addr, Shutdown, SocketAddr},
    os::fd::{AsFd, AsRawFd},
    rc::Rc,
    time::Duration,
};

type Ours = TcpStream;
type Std = net::TcpStream;

async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    Ok((client, listener.accept().await?.0))
}

stream_tests!();

/// Where nobody listens, nor can anybody else.
fn nobody() -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let addr = socket.local_addr()?.as_socket().unwrap();
    Ok((socket, addr))
}

#[test]
fn an_echo_comes_back() {
    boucle::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let server = boucle::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            let mut buf = [0; 64];
            loop {
                let read = stream.read(&mut buf).await?;
                if read == 0 {
                    return io::Result::Ok(());
                }
                stream.write_all(&buf[..read]).await?;
            }
        });
        let mut client = TcpStream::connect(addr).await?;
        for n in 0..1000_u32 {
            client.write_all(&n.to_le_bytes()).await?;
            let mut back = [0; 4];
            client.read_exact(&mut back).await?;
            assert_eq!(u32::from_le_bytes(back), n);
        }
        drop(client);
        server.await.unwrap()
    })
    .unwrap();
}

#[test]
fn what_a_stream_knows_and_what_can_be_set() {
    run(async {
        let (a, mut b) = pair().await?;
        assert_eq!(a.local_addr()?, b.peer_addr()?);
        assert_eq!(a.peer_addr()?, b.local_addr()?);
        assert!(!a.nodelay()?);
        a.set_nodelay(true)?;
        assert!(a.nodelay()?);
        a.set_ttl(42)?;
        assert_eq!(a.ttl()?, 42);
        let mut buf = [0; 8];
        assert!(poll_once(a.peek(&mut buf)).await.is_none());
        b.write_all(b"soda").await?;
        assert_eq!(a.peek(&mut buf).await?, 4);
        assert_eq!((&a).read(&mut buf).await?, 4);
        assert_eq!(&buf[..4], b"soda");
        drop(b);
        assert_eq!(a.peek(&mut buf).await?, 0);
        Ok(())
    });
}

#[test]
fn what_a_listener_knows_and_what_can_be_set() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        listener.set_ttl(42)?;
        assert_eq!(listener.ttl()?, 42);
        assert_private(&listener);
        let addr = listener.local_addr()?;
        let fd = listener.as_raw_fd();
        let std = net::TcpListener::try_from(listener)?;
        assert_eq!((std.local_addr()?, std.as_raw_fd()), (addr, fd));
        std.set_nonblocking(false)?;
        let listener = TcpListener::try_from(std)?;
        assert_private(&listener);
        assert_eq!(listener.as_fd().as_raw_fd(), fd);
        let client = TcpStream::connect(addr).await?;
        let (served, peer) = listener.accept().await?;
        assert_eq!(peer, client.local_addr()?);
        assert_eq!(served.ttl()?, 42);
        assert!(format!("{listener:?} {:?}", listener.incoming()).contains("Incoming(TcpListener"));
        Ok(())
    });
}

#[test]
fn errors_are_those_of_std() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let taken = listener.local_addr()?;
        let kind = TcpListener::bind(taken).await.unwrap_err().kind();
        assert_eq!(kind, net::TcpListener::bind(taken).unwrap_err().kind());
        assert_eq!(kind, ErrorKind::AddrInUse);
        let (_socket, nobody) = nobody()?;
        let error = TcpStream::connect(nobody).await.unwrap_err();
        let std = net::TcpStream::connect(nobody).unwrap_err();
        assert_eq!((error.kind(), error.raw_os_error()), (std.kind(), std.raw_os_error()));
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // No port at all.
        assert!(TcpStream::connect("localhost").await.is_err());
        assert!(TcpStream::connect(Vec::new()).await.is_err());
        assert!(TcpListener::bind(Vec::new()).await.is_err());
        Ok(())
    });
}

#[test]
fn t73_several_addresses_are_tried_in_turn() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let ((_one, wrong), (_two, other)) = (nobody()?, nobody()?);
        let stream = TcpStream::connect([wrong, addr, other]).await?;
        assert_eq!(stream.peer_addr()?, addr);
        let error = TcpStream::connect([wrong, other]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let second = TcpListener::bind([addr, "127.0.0.1:0".parse().unwrap()]).await?;
        assert_ne!(second.local_addr()?, addr);
        Ok(())
    });
}

/// A listener that has as many connections as it takes.
#[cfg(target_os = "linux")]
pub(super) fn full() -> io::Result<(Socket, SocketAddr, Vec<net::TcpStream>)> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    listener.listen(0)?;
    let addr = listener.local_addr()?.as_socket().unwrap();
    let first = net::TcpStream::connect(addr)?;
    Ok((listener, addr, vec![first]))
}

#[test]
#[cfg(target_os = "linux")]
fn t73_an_attempt_that_is_under_way_can_be_given_up() {
    run(async {
        let (_listener, addr, _queued) = full()?;
        let task = spawn(TcpStream::connect(addr)).named("client");
        settle().await;
        assert!(!task.is_finished());
        let said = boucle::snapshot().to_string();
        assert!(said.contains(&format!("for connect to tcp {addr}, spawned at")), "{said}");
        assert!(task.cancel());
        let said = boucle::snapshot().to_string();
        assert!(!said.contains("connect to"), "{said}");
        let late = timeout(Duration::from_millis(5), TcpStream::connect(addr)).await;
        assert!(late.is_err());
        Ok(())
    });
}

#[test]
fn t73_the_error_that_a_socket_keeps_is_told_once() {
    run(async {
        let (a, b) = pair().await?;
        assert!(a.take_error()?.is_none());
        SockRef::from(&b).set_linger(Some(Duration::ZERO))?;
        drop(b);
        assert_eq!(a.take_error()?.unwrap().kind(), ErrorKind::ConnectionReset);
        assert!(a.take_error()?.is_none());
        assert_eq!(a.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        Ok(())
    });
}

#[test]
fn a_task_says_that_the_peer_of_its_socket_has_gone() {
    run(async {
        let (mut a, b) = pair().await?;
        let (at, same) = (a.local_addr()?, a.clone());
        let reader = spawn(async move { a.read(&mut [0]).await }).named("reader");
        yield_now().await;
        SockRef::from(&b).set_linger(Some(Duration::ZERO))?;
        drop(b);
        // It is on its way; the loop looks for no event meanwhile.
        while same.peer_addr().is_ok() {
            std::thread::yield_now();
        }
        let said = boucle::snapshot().to_string();
        let wait = format!("for read on tcp {at}, whose peer has gone, spawned at");
        assert!(said.contains(&wait), "{said}");
        assert_eq!(reader.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
        Ok(())
    });
}

#[test]
#[cfg(target_os = "linux")]
fn t73_nobody_connects_to_itself() {
    // The system chooses the port of this end among those of one parity, the next one each time: soon
    // it is the very port that nobody listens on.
    run(async {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
        let range: Vec<u16> = range.split_whitespace().map(|port| port.parse().unwrap()).collect();
        // One that nobody has, and another one than that of a process that does the same.
        let ports = (range[0]..=range[1]).step_by(2).map(|port| (Ipv4Addr::LOCALHOST, port));
        let own = std::process::id() as usize % ports.len();
        let mut ports = ports.cycle().skip(own);
        let addr = ports.find(|addr| net::TcpListener::bind(addr).is_ok()).unwrap();
        for _ in range[0]..=range[1] {
            let error = TcpStream::connect(addr).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            yield_now().await;
        }
        Ok(())
    });
}

#[test]
fn t71_a_reset_is_an_error_for_who_reads_and_who_writes() {
    run(async {
        let (a, b) = pair().await?;
        let log = Log::default();
        let mut reads = a.clone();
        let reader = note(&log, "reader", async move { reads.read(&mut [0]).await });
        settle().await;
        SockRef::from(&b).set_linger(Some(Duration::ZERO))?;
        drop(b);
        reader.await.unwrap();
        assert_eq!(log.take(), ["reader: ConnectionReset"]);
        assert_eq!((&a).write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!((&a).read(&mut [0]).await?, 0);
        // To close what has been reset is no error.
        (&a).close().await?;
        assert_eq!(a.shutdown(Shutdown::Both).unwrap_err().kind(), ErrorKind::NotConnected);
        Ok(())
    });
}

#[test]
fn several_tasks_accept_from_one_listener() {
    run(async {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await?);
        let addr = listener.local_addr()?;
        let log = Log::default();
        let servers: Vec<_> = ["one", "two", "three", "four"]
            .map(|name| {
                let listener = listener.clone();
                note(&log, name, async move { listener.accept().await.map(drop) })
            })
            .into();
        settle().await;
        let mut clients = vec![TcpStream::connect(addr).await?];
        settle().await;
        assert_eq!(log.take().len(), 1);
        // One that is cancelled takes nothing with it.
        let waits = servers.iter().find(|server| !server.is_finished()).unwrap();
        assert!(waits.cancel());
        clients.push(TcpStream::connect(addr).await?);
        clients.push(TcpStream::connect(addr).await?);
        for server in servers {
            let _ = server.await;
        }
        assert_eq!(log.take().len(), 2);
        Ok(())
    });
}

#[test]
fn a_stream_of_connections_that_is_dropped_loses_none() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let mut incoming = listener.incoming();
        assert!(poll_once(incoming.next()).await.is_none());
        let clients = gather([0; 3].map(|_| TcpStream::connect(addr))).await;
        drop(incoming);
        let mut peers = vec![listener.accept().await?.1];
        {
            let mut incoming = listener.incoming();
            peers.push(incoming.next().await.unwrap()?.peer_addr()?);
        }
        peers.push(listener.incoming().next().await.unwrap()?.peer_addr()?);
        let mut addrs = Vec::new();
        for client in clients {
            addrs.push(client?.local_addr()?);
        }
        peers.sort();
        addrs.sort();
        assert_eq!(peers, addrs);
        assert!(poll_once(listener.accept()).await.is_none());
        Ok(())
    });
}

#[test]
fn a_connection_that_is_reset_before_it_is_accepted_does_no_harm() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let gone = TcpStream::connect(addr).await?;
        SockRef::from(&gone).set_linger(Some(Duration::ZERO))?;
        drop(gone);
        let client = TcpStream::connect(addr).await?;
        // Some systems pass it over, others give a dead one.
        let mut peer = listener.accept().await?.1;
        if peer != client.local_addr()? {
            peer = listener.accept().await?.1;
        }
        assert_eq!(peer, client.local_addr()?);
        Ok(())
    });
}

#[test]
fn urgent_data_does_not_lose_what_comes_before_and_after() {
    run(async {
        for waits in [false, true] {
            let (mut a, b) = pair().await?;
            let log = Log::default();
            let read = read_all(b);
            let (now, later) = if waits { (Some(read), None) } else { (None, Some(read)) };
            let reader = now.map(|read| note(&log, "reader", read));
            settle().await;
            a.write_all(b"before").await?;
            if waits {
                settle().await;
            }
            rustix::net::send(&a, b"!", SendFlags::OOB)?;
            a.write_all(b"after").await?;
            settle().await;
            a.write_all(b"wards").await?;
            drop(a);
            match reader {
                Some(reader) => {
                    reader.await.unwrap();
                    assert_eq!(log.take(), ["reader: \"beforeafterwards\""]);
                }
                None => assert_eq!(later.unwrap().await?, "beforeafterwards"),
            }
        }
        Ok(())
    });
}

async fn read_all(mut stream: TcpStream) -> io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[test]
fn a_stream_that_is_given_to_std_wakes_who_waited_by_it() {
    run(async {
        let (mut a, mut b) = pair().await?;
        assert!(poll_once(a.read(&mut [0])).await.is_none());
        let mut a = net::TcpStream::try_from(a)?;
        b.write_all(b"soda").await?;
        a.set_nonblocking(false)?;
        let mut got = [0; 4];
        a.read_exact(&mut got)?;
        assert_eq!(&got, b"soda");
        Ok(())
    });
}

#[test]
fn the_futures_may_go_to_other_threads() {
    fn send<T: Send>(future: T) {
        drop(future);
    }
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (a, _b) = pair().await?;
        send(TcpListener::bind("127.0.0.1:0"));
        send(TcpStream::connect("localhost:80"));
        send(listener.accept());
        send(listener.incoming());
        send(a.peek(&mut [0]));
        Ok(())
    });
}
