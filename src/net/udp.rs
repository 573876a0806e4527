//! UDP.

use std::{
    io,
    net::{self, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use crate::{
    io::{Source, plain},
    net::{
        addr::{ToSocketAddrs, first, resolve},
        socket::{register, socket},
    },
    reactor::Describe,
    sys::{self, Way},
};

/// A UDP socket.
///
/// It sends and receives datagrams: to and from anybody with [`send_to`](UdpSocket::send_to) and
/// [`recv_from`](UdpSocket::recv_from), or, once it is [connected](UdpSocket::connect), one peer
/// with [`send`](UdpSocket::send) and [`recv`](UdpSocket::recv). Clones are the same socket, and
/// several tasks may use one: each datagram goes to one of those who receive.
///
/// As with std, a datagram that is longer than the buffer it is received into is cut off there: the
/// rest is lost, and nothing tells. Give room for the longest one that is expected; 65 535 bytes is
/// enough for any.
///
/// That nobody listens at an address may be told by the network after a datagram was sent there. A
/// connected socket gets that as an error, [`ConnectionRefused`], once, from whichever operation
/// comes next. Options that have no method here are set through [`socket2::SockRef`].
///
/// ```
/// use boucle::net::UdpSocket;
///
/// boucle::block_on(async {
///     let counter = UdpSocket::bind("127.0.0.1:0").await?;
///     let guest = UdpSocket::bind("127.0.0.1:0").await?;
///     guest.send_to(b"soda", counter.local_addr()?).await?;
///     let mut buf = [0; 1500];
///     let (len, from) = counter.recv_from(&mut buf).await?;
///     assert_eq!((&buf[..len], from), (&b"soda"[..], guest.local_addr()?));
///     std::io::Result::Ok(())
/// })
/// # .unwrap();
/// ```
///
/// [`ConnectionRefused`]: io::ErrorKind::ConnectionRefused
#[derive(Clone)]
pub struct UdpSocket {
    source: Arc<Source<net::UdpSocket>>,
}

impl UdpSocket {
    /// A socket with the first of these addresses that can be bound.
    ///
    /// Port 0 asks the system for a free one: [`local_addr`](UdpSocket::local_addr) says which.
    ///
    /// # Errors
    /// The last address's, if none can be bound; if the name cannot be resolved.
    ///
    /// # Panics
    /// Outside a loop.
    ///
    /// # Cancellation
    /// Dropping the future binds nothing.
    ///
    /// ```
    /// use boucle::net::UdpSocket;
    ///
    /// let socket = boucle::block_on(UdpSocket::bind("127.0.0.1:0")).unwrap();
    /// assert!(socket.local_addr().unwrap().ip().is_loopback());
    /// ```
    pub async fn bind(addrs: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        let addrs = resolve(addrs).await?;
        let socket = sys::call(|| net::UdpSocket::bind(&*addrs))?;
        UdpSocket::new(socket, "UdpSocket::bind")
    }

    #[track_caller]
    fn new(socket: net::UdpSocket, call: &str) -> io::Result<UdpSocket> {
        Ok(UdpSocket { source: register(socket, call, "udp")? })
    }

    /// Makes the first of these addresses that works the peer: datagrams are sent there, and only
    /// its own are received. Nothing is sent for that. It may be called again, for another peer.
    ///
    /// # Errors
    /// The last address's, if none works; if the name cannot be resolved.
    ///
    /// # Cancellation
    /// Dropping the future connects to nobody.
    ///
    /// ```
    /// use boucle::net::UdpSocket;
    ///
    /// boucle::block_on(async {
    ///     let counter = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let guest = UdpSocket::bind("127.0.0.1:0").await?;
    ///     guest.connect(counter.local_addr()?).await?;
    ///     counter.connect(guest.local_addr()?).await?;
    ///     guest.send(b"soda").await?;
    ///     let mut buf = [0; 1500];
    ///     assert_eq!(counter.peek(&mut buf).await?, 4);
    ///     assert_eq!(counter.recv(&mut buf).await?, 4);
    ///     assert_eq!(&buf[..4], b"soda");
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub async fn connect(&self, addrs: impl ToSocketAddrs) -> io::Result<()> {
        let addrs = resolve(addrs).await?;
        sys::call(|| self.source.get().connect(&*addrs))
    }

    /// Sends a datagram to the peer, all of it or nothing. Returns its length.
    ///
    /// # Errors
    /// Without a peer; if it is too long; what the network has told of an earlier one; what else the
    /// system says, such as that a filter does not let it pass; if the loop of the socket is gone.
    ///
    /// # Cancellation
    /// Dropping the future sends nothing.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.source.op(Way::Write, |socket| socket.send(buf).map(plain)).await
    }

    /// Sends a datagram to the first of these addresses, all of it or nothing. Returns its length.
    ///
    /// # Errors
    /// If the name cannot be resolved; as [`send`](UdpSocket::send) otherwise.
    ///
    /// # Cancellation
    /// Dropping the future sends nothing.
    pub async fn send_to(&self, buf: &[u8], addr: impl ToSocketAddrs) -> io::Result<usize> {
        let addr = first(addr).await?;
        self.source.op(Way::Write, |socket| socket.send_to(buf, addr).map(plain)).await
    }

    /// Receives a datagram, from the peer if there is one. Returns its length, or that of the buffer
    /// if it was too short for all of it.
    ///
    /// # Errors
    /// What the network has told of a datagram that was sent; if the loop of the socket is gone.
    ///
    /// # Cancellation
    /// Dropping the future loses no datagram.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.op(Way::Read, |socket| socket.recv(buf).map(plain)).await
    }

    /// Receives a datagram, and says who has sent it. As [`recv`](UdpSocket::recv) otherwise.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Cancellation
    /// Dropping the future loses no datagram.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.op(Way::Read, |socket| socket.recv_from(buf).map(plain)).await
    }

    /// Receives a datagram without taking it: the next call gets the same one. As
    /// [`recv`](UdpSocket::recv) otherwise.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.op(Way::Read, |socket| socket.peek(buf).map(plain)).await
    }

    /// Receives a datagram without taking it, and says who has sent it. As [`peek`](UdpSocket::peek)
    /// otherwise.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    ///
    /// ```
    /// use boucle::net::UdpSocket;
    ///
    /// boucle::block_on(async {
    ///     let a = UdpSocket::bind("127.0.0.1:0").await?;
    ///     let b = UdpSocket::bind("127.0.0.1:0").await?;
    ///     a.send_to(b"soda", b.local_addr()?).await?;
    ///     let mut buf = [0; 2];
    ///     for _ in 0..2 {
    ///         assert_eq!(b.peek_from(&mut buf).await?, (2, a.local_addr()?));
    ///     }
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.op(Way::Read, |socket| socket.peek_from(buf).map(plain)).await
    }

    /// The address of this socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// The address of the peer.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) without a peer.
    ///
    /// ```
    /// use boucle::net::UdpSocket;
    /// use std::io::{Error, ErrorKind};
    ///
    /// boucle::block_on(async {
    ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
    ///     assert_eq!(socket.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    ///     socket.connect("127.0.0.1:9").await?;
    ///     assert_eq!(socket.peer_addr()?.port(), 9);
    ///     Ok::<_, Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// The error that the socket keeps, if it keeps one, which is then cleared: `SO_ERROR`.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }

    /// Joins a group, by the interface with this address, or any if it is unspecified.
    ///
    /// # Errors
    /// If the address is none of a group; if there is no such interface; what else the system says.
    ///
    /// ```
    /// use boucle::net::UdpSocket;
    /// use std::net::Ipv4Addr;
    ///
    /// boucle::block_on(async {
    ///     let socket = UdpSocket::bind("0.0.0.0:0").await?;
    ///     let group = Ipv4Addr::new(224, 0, 0, 123);
    ///     socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    ///     socket.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
    /// })
    /// # .unwrap();
    /// ```
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.source.get().join_multicast_v4(group, interface)
    }

    /// Leaves a group that was [joined](UdpSocket::join_multicast_v4).
    ///
    /// # Errors
    /// If it was not.
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.source.get().leave_multicast_v4(group, interface)
    }

    /// Joins a group, by the interface with this index, or any if it is zero.
    ///
    /// # Errors
    /// As [`join_multicast_v4`](UdpSocket::join_multicast_v4).
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.source.get().join_multicast_v6(group, interface)
    }

    /// Leaves a group that was [joined](UdpSocket::join_multicast_v6).
    ///
    /// # Errors
    /// If it was not.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.source.get().leave_multicast_v6(group, interface)
    }

    /// As [`multicast_loop_v4`](UdpSocket::multicast_loop_v4), for IPv6: the option
    /// `IPV6_MULTICAST_LOOP`.
    ///
    /// # Errors
    /// If the socket is none of IPv6; what else the system says.
    ///
    /// ```
    /// use boucle::net::UdpSocket;
    ///
    /// boucle::block_on(async {
    ///     // Not every host has IPv6.
    ///     let Ok(socket) = UdpSocket::bind("[::1]:0").await else { return Ok(()) };
    ///     socket.set_multicast_loop_v6(false)?;
    ///     assert_eq!(socket.multicast_loop_v6()?, false);
    ///     std::io::Result::Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.source.get().multicast_loop_v6()
    }

    /// Sets what [`multicast_loop_v6`](UdpSocket::multicast_loop_v6) tells.
    ///
    /// # Errors
    /// If the socket is none of IPv6; what else the system says.
    pub fn set_multicast_loop_v6(&self, value: bool) -> io::Result<()> {
        self.source.get().set_multicast_loop_v6(value)
    }
}

/// Options: a getter and a setter each.
macro_rules! options {
    ($($(#[$doc:meta])* $get:ident, $set:ident: $type:ty = $value:literal;)*) => {
        impl UdpSocket {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// What the system says.
            ///
            /// ```
            /// use boucle::net::UdpSocket;
            ///
            /// boucle::block_on(async {
            ///     let socket = UdpSocket::bind("127.0.0.1:0").await?;
            #[doc = concat!("    socket.", stringify!($set), "(", $value, ")?;")]
            #[doc = concat!("    assert_eq!(socket.", stringify!($get), "()?, ", $value, ");")]
            ///     std::io::Result::Ok(())
            /// })
            /// # .unwrap();
            /// ```
            pub fn $get(&self) -> io::Result<$type> {
                self.source.get().$get()
            }

            #[doc = concat!("Sets what [`", stringify!($get), "`](UdpSocket::", stringify!($get), ") tells.")]
            ///
            /// # Errors
            /// What the system says.
            pub fn $set(&self, value: $type) -> io::Result<()> {
                self.source.get().$set(value)
            }
        )*}
    };
}

options! {
    /// Whether datagrams may be sent to all hosts of a network at once, which is off by default: the
    /// option `SO_BROADCAST`.
    broadcast, set_broadcast: bool = true;

    /// How many routers a datagram may pass: the option `IP_TTL`.
    ttl, set_ttl: u32 = 42;

    /// Whether datagrams to a group come back to those of its members that are on this host, which is
    /// on by default: the option `IP_MULTICAST_LOOP`.
    multicast_loop_v4, set_multicast_loop_v4: bool = false;

    /// How many routers a datagram to a group may pass, 1 by default: the option `IP_MULTICAST_TTL`.
    multicast_ttl_v4, set_multicast_ttl_v4: u32 = 2;
}

impl Describe for Source<net::UdpSocket> {
    fn describe(&self, way: Way) -> String {
        let way = if way == Way::Read { "receive" } else { "send" };
        match (self.get().local_addr(), self.get().peer_addr()) {
            (Ok(local), Ok(peer)) => format!("{way} on udp {local} -> {peer}"),
            (Ok(local), Err(_)) => format!("{way} on udp {local}"),
            _ => format!("{way} on udp"),
        }
    }
}

socket!(UdpSocket, net::UdpSocket, UdpSocket::new);
