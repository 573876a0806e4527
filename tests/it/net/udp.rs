//! UDP, over loopback.

use super::streams::{assert_private, note, run, settle};
use crate::support::Log;
use boucle::{net::UdpSocket, spawn};
use futures_lite::future::poll_once;
use std::{
    io::{self, ErrorKind},
    net::{self, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
};

async fn bound() -> io::Result<UdpSocket> {
    UdpSocket::bind("127.0.0.1:0").await
}

async fn pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let (a, b) = (bound().await?, bound().await?);
    a.connect(b.local_addr()?).await?;
    b.connect(a.local_addr()?).await?;
    Ok((a, b))
}

#[test]
fn what_a_socket_knows_and_what_can_be_set() {
    run(async {
        let (a, b) = pair().await?;
        assert_eq!(a.local_addr()?, b.peer_addr()?);
        assert_eq!(a.peer_addr()?, b.local_addr()?);
        assert!(a.take_error()?.is_none());
        for value in [true, false] {
            a.set_broadcast(value)?;
            assert_eq!(a.broadcast()?, value);
            a.set_multicast_loop_v4(value)?;
            assert_eq!(a.multicast_loop_v4()?, value);
        }
        a.set_ttl(42)?;
        assert_eq!(a.ttl()?, 42);
        a.set_multicast_ttl_v4(3)?;
        assert_eq!(a.multicast_ttl_v4()?, 3);
        assert!(format!("{a:?}").contains("UdpSocket"));
        assert_private(&a);
        Ok(())
    });
}

#[test]
fn groups_are_joined_and_left() {
    run(async {
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        let (group, here) = (Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::LOCALHOST);
        socket.join_multicast_v4(&group, &here)?;
        assert!(socket.join_multicast_v4(&group, &here).is_err());
        socket.leave_multicast_v4(&group, &here)?;
        assert!(socket.leave_multicast_v4(&group, &here).is_err());
        assert!(socket.join_multicast_v4(&here, &here).is_err());
        assert!(socket.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0).is_err());
        assert!(socket.leave_multicast_v6(&Ipv6Addr::LOCALHOST, 0).is_err());
        // Not every host has IPv6.
        if let Ok(socket) = UdpSocket::bind("[::1]:0").await {
            for value in [true, false] {
                socket.set_multicast_loop_v6(value)?;
                assert_eq!(socket.multicast_loop_v6()?, value);
            }
        }
        Ok(())
    });
}

#[test]
fn datagrams_go_to_whom_they_are_for() {
    run(async {
        let (a, b, c) = (bound().await?, bound().await?, bound().await?);
        let mut buf = [0; 16];
        assert_eq!(a.send_to(b"one", b.local_addr()?).await?, 3);
        assert_eq!(c.send_to(b"two!", ("127.0.0.1", b.local_addr()?.port())).await?, 4);
        assert_eq!(b.peek(&mut buf).await?, 3);
        assert_eq!(b.peek_from(&mut buf).await?, (3, a.local_addr()?));
        assert_eq!(b.recv_from(&mut buf).await?, (3, a.local_addr()?));
        assert_eq!(&buf[..3], b"one");
        // An empty one is one as well.
        a.send_to(b"", b.local_addr()?).await?;
        assert_eq!(b.recv_from(&mut buf).await?, (4, c.local_addr()?));
        assert_eq!(b.recv(&mut buf).await?, 0);
        // From the peer alone.
        b.connect(c.local_addr()?).await?;
        a.send_to(b"no", b.local_addr()?).await?;
        c.connect(b.local_addr()?).await?;
        assert_eq!(c.send(b"yes").await?, 3);
        assert_eq!(b.recv(&mut buf).await?, 3);
        assert!(poll_once(b.recv(&mut buf)).await.is_none());
        Ok(())
    });
}

#[test]
fn errors_are_those_of_std() {
    run(async {
        let ours = bound().await?;
        let std = net::UdpSocket::bind("127.0.0.1:0")?;
        let same = |ours: io::Error, std: io::Error| {
            assert_eq!((ours.kind(), ours.raw_os_error()), (std.kind(), std.raw_os_error()));
            ours.kind()
        };
        let taken = ours.local_addr()?;
        let bind = UdpSocket::bind(taken).await.unwrap_err();
        let kind = same(bind, net::UdpSocket::bind(taken).unwrap_err());
        assert_eq!(kind, ErrorKind::AddrInUse);
        same(ours.peer_addr().unwrap_err(), std.peer_addr().unwrap_err());
        same(ours.send(b"x").await.unwrap_err(), std.send(b"x").unwrap_err());
        let all = "255.255.255.255:9".parse::<SocketAddr>().unwrap();
        let kind =
            same(ours.send_to(b"x", all).await.unwrap_err(), std.send_to(b"x", all).unwrap_err());
        assert_eq!(kind, ErrorKind::PermissionDenied);
        let long = vec![0; 70_000];
        let to_long = ours.send_to(&long, taken).await.unwrap_err();
        same(to_long, std.send_to(&long, taken).unwrap_err());
        // And it goes on.
        ours.send_to(b"x", taken).await?;
        assert_eq!(ours.recv(&mut [0; 8]).await?, 1);
        assert!(ours.send_to(b"x", Vec::new()).await.is_err());
        assert!(ours.connect(Vec::new()).await.is_err());
        Ok(())
    });
}

#[test]
fn t75_a_datagram_that_is_too_long_is_cut_off() {
    run(async {
        let (a, b) = pair().await?;
        a.send(b"soda and coffee").await?;
        a.send(b"next").await?;
        let mut buf = [0; 4];
        assert_eq!(b.peek(&mut buf).await?, 4);
        assert_eq!(b.recv(&mut buf).await?, 4);
        assert_eq!(&buf, b"soda");
        assert_eq!(b.recv_from(&mut buf).await?, (4, a.local_addr()?));
        assert_eq!(&buf, b"next");
        Ok(())
    });
}

#[test]
fn t75_that_nobody_listens_is_told_once() {
    run(async {
        let (a, b) = pair().await?;
        drop(b);
        let log = Log::default();
        let receives = a.clone();
        let receiver = note(&log, "receiver", async move { receives.recv(&mut [0; 8]).await });
        settle().await;
        assert_eq!(a.send(b"x").await?, 1);
        receiver.await.unwrap();
        assert_eq!(log.take(), ["receiver: ConnectionRefused"]);
        assert!(poll_once(a.recv(&mut [0; 8])).await.is_none());
        // Whatever comes next is told.
        assert_eq!(a.send(b"x").await?, 1);
        assert_eq!(a.send(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(a.send(b"x").await?, 1);
        assert_eq!(a.take_error()?.unwrap().kind(), ErrorKind::ConnectionRefused);
        assert!(a.take_error()?.is_none());
        // It is as good as before: a new peer may come to the same place.
        let b = UdpSocket::bind(a.peer_addr()?).await?;
        a.send(b"soda").await?;
        assert_eq!(b.recv(&mut [0; 8]).await?, 4);
        Ok(())
    });
}

#[test]
fn the_first_address_that_works_is_taken() {
    run(async {
        let socket = bound().await?;
        let other = bound().await?.local_addr()?;
        // A socket of IPv4 cannot have a peer of IPv6.
        let wrong = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
        assert!(socket.connect(wrong).await.is_err());
        socket.connect([wrong, other]).await?;
        assert_eq!(socket.peer_addr()?, other);
        let second =
            UdpSocket::bind([socket.local_addr()?, "127.0.0.1:0".parse().unwrap()]).await?;
        assert_ne!(second.local_addr()?, socket.local_addr()?);
        Ok(())
    });
}

#[test]
fn each_datagram_goes_to_one_of_those_who_receive() {
    run(async {
        let (a, b) = pair().await?;
        let log = Log::default();
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let b = b.clone();
                note(&log, "got", async move {
                    let mut buf = [0; 8];
                    b.recv(&mut buf).await?;
                    Ok(buf[0])
                })
            })
            .collect();
        settle().await;
        // One that is cancelled takes none with it.
        assert!(receivers[1].cancel());
        for n in 0..3 {
            a.send(&[n]).await?;
        }
        for receiver in receivers {
            let _ = receiver.await;
        }
        let mut got = log.take();
        got.sort();
        assert_eq!(got, ["got: 0", "got: 1", "got: 2"]);
        Ok(())
    });
}

#[test]
fn a_task_says_on_which_socket_it_waits() {
    run(async {
        let (a, b) = pair().await?;
        let (near, far) = (b.local_addr()?, a.local_addr()?);
        let connected = spawn(async move { b.recv(&mut [0]).await }).named("connected");
        let alone = bound().await?;
        let at = alone.local_addr()?;
        let alone = spawn(async move { alone.recv_from(&mut [0]).await }).named("alone");
        settle().await;
        let said = boucle::snapshot().to_string();
        assert!(
            said.contains(&format!("for receive on udp {near} -> {far}, spawned at")),
            "{said}"
        );
        assert!(said.contains(&format!("for receive on udp {at}, spawned at")), "{said}");
        assert!(connected.cancel() && alone.cancel());
        let said = boucle::snapshot().to_string();
        assert!(!said.contains(" udp "), "{said}");
        Ok(())
    });
}

#[test]
fn a_socket_comes_from_std_and_goes_there() {
    run(async {
        let std = net::UdpSocket::bind("127.0.0.1:0")?;
        let (fd, addr) = (std.as_raw_fd(), std.local_addr()?);
        let ours = UdpSocket::try_from(std)?;
        assert_private(&ours);
        assert_eq!(ours.as_fd().as_raw_fd(), fd);
        let clone = ours.clone();
        let duplicate = net::UdpSocket::try_from(ours)?;
        assert_ne!(duplicate.as_raw_fd(), fd);
        assert_eq!(duplicate.local_addr()?, addr);
        let std = net::UdpSocket::try_from(clone)?;
        assert_eq!(std.as_raw_fd(), fd);
        Ok(())
    });
}

#[test]
fn the_futures_may_go_to_other_threads() {
    fn send<T: Send>(future: T) {
        drop(future);
    }
    run(async {
        let a = bound().await?;
        send(bound());
        send(a.connect("localhost:80"));
        send(a.send(b"x"));
        send(a.send_to(b"x", "localhost:80"));
        send(a.recv(&mut [0]));
        send(a.recv_from(&mut [0]));
        send(a.peek(&mut [0]));
        send(a.peek_from(&mut [0]));
        Ok(())
    });
}
