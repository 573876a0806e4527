//! The servers. Each does the same: accept, no delay, and echo what comes, a task per connection.

mod boucle;
mod raw;
mod smol;
mod tokio;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Any free port, here.
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// More than a message, so that a read may be short, as in most servers.
const BUFFER: usize = 1024;

/// How many connections were accepted. It is bumped once per connection, never per message.
static ACCEPTED: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn accepted() -> usize {
    ACCEPTED.load(Relaxed)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Raw,
    Boucle,
    Tokio,
    Smol,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Raw, Kind::Boucle, Kind::Tokio, Kind::Smol];

    pub(crate) fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::Boucle => "boucle",
            Kind::Tokio => "tokio",
            Kind::Smol => "smol",
        }
    }

    /// Serves for ever on this thread; `ready` is told where as soon as it listens.
    pub(crate) fn serve(
        self,
        ready: impl FnOnce(SocketAddr) -> io::Result<()>,
    ) -> crate::Result<()> {
        match self {
            Kind::Raw => raw::serve(ready),
            Kind::Boucle => Ok(boucle::serve(ready)?),
            Kind::Tokio => Ok(tokio::serve(ready)?),
            Kind::Smol => Ok(smol::serve(ready)?),
        }
    }
}

/// Echoes until the peer is done or gone, over futures-lite's traits.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = [0; BUFFER];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}
