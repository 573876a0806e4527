//! From names to addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs as _},
};

use crate::unblock::unblock;

/// What can be turned into socket addresses: as [`std::net::ToSocketAddrs`], without blocking.
///
/// Addresses, and strings and pairs that are one in writing, are taken as they are. Names are looked
/// up on a thread of the [`blocking`] crate's pool, since systems have no other way. This trait
/// cannot be implemented elsewhere.
///
/// ```
/// boucle::block_on(async {
///     let addrs = boucle::net::resolve(("127.0.0.1", 80)).await?;
///     assert_eq!(addrs, ["127.0.0.1:80".parse().unwrap()]);
///     std::io::Result::Ok(())
/// })
/// # .unwrap();
/// ```
pub trait ToSocketAddrs: sealed::Resolve {}

impl<A: sealed::Resolve + ?Sized> ToSocketAddrs for A {}

/// The addresses of a host and port, at least one, in the order in which they should be tried.
///
/// # Errors
/// If the name has no address or cannot be looked up; if a string names no port.
///
/// # Cancellation
/// Dropping the future gives up; a look-up that has begun ends on its own thread.
///
/// # Virtual time
/// A virtual clock stands still meanwhile.
///
/// ```
/// boucle::block_on(async {
///     assert!(!boucle::net::resolve("localhost:80").await?.is_empty());
///     assert!(boucle::net::resolve("localhost").await.is_err());
///     std::io::Result::Ok(())
/// })
/// # .unwrap();
/// ```
pub async fn resolve(addr: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    look_up(addr.question()).await
}

/// The first of these addresses. Needs no memory if it is one already.
pub(super) async fn first(addr: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    match addr.question() {
        Question::One(addr) => Ok(addr),
        question => Ok(look_up(question).await?[0]),
    }
}

/// At least one.
async fn look_up(question: Question) -> io::Result<Vec<SocketAddr>> {
    let addrs = match question {
        Question::One(addr) => vec![addr],
        Question::Known(addrs) => addrs,
        Question::Host(host, port) => {
            let answer = unblock(move || {
                // A host without a port is one string, and std knows what is wrong with it.
                let addrs = match port {
                    Some(port) => (&*host, port).to_socket_addrs(),
                    None => host.to_socket_addrs(),
                };
                addrs.map(Iterator::collect)
            });
            answer.await?
        }
    };
    if addrs.is_empty() {
        // As std says it.
        let what = "could not resolve to any addresses";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(addrs)
}

mod sealed {
    use std::net::SocketAddr;

    pub enum Question {
        One(SocketAddr),
        Known(Vec<SocketAddr>),
        Host(String, Option<u16>),
    }

    pub trait Resolve {
        fn question(&self) -> Question;
    }
}

use sealed::{Question, Resolve};

/// What every type here can be asked at once.
macro_rules! known {
    ($($type:ty),*) => {$(
        impl Resolve for $type {
            fn question(&self) -> Question {
                Question::One(SocketAddr::from(*self))
            }
        }
    )*};
}

known!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16),
    ([u8; 4], u16),
    ([u16; 8], u16)
);

impl Resolve for [SocketAddr] {
    fn question(&self) -> Question {
        Question::Known(self.to_vec())
    }
}

impl<const N: usize> Resolve for [SocketAddr; N] {
    fn question(&self) -> Question {
        Question::Known(self.to_vec())
    }
}

impl Resolve for Vec<SocketAddr> {
    fn question(&self) -> Question {
        Question::Known(self.clone())
    }
}

impl Resolve for str {
    fn question(&self) -> Question {
        match self.parse() {
            Ok(addr) => Question::One(addr),
            Err(_) => Question::Host(self.to_owned(), None),
        }
    }
}

impl Resolve for String {
    fn question(&self) -> Question {
        (**self).question()
    }
}

impl Resolve for (&str, u16) {
    fn question(&self) -> Question {
        match self.0.parse::<IpAddr>() {
            Ok(ip) => Question::One(SocketAddr::new(ip, self.1)),
            Err(_) => Question::Host(self.0.to_owned(), Some(self.1)),
        }
    }
}

impl Resolve for (String, u16) {
    fn question(&self) -> Question {
        (&*self.0, self.1).question()
    }
}

impl<A: Resolve + ?Sized> Resolve for &A {
    fn question(&self) -> Question {
        (**self).question()
    }
}
