//! boucle, with sockets of its own.

use std::{io, net::SocketAddr, sync::atomic::Ordering::Relaxed};

use boucle::net::TcpListener;

use super::{ACCEPTED, ADDRESS, echo};

pub(super) fn serve(ready: impl FnOnce(SocketAddr) -> io::Result<()>) -> io::Result<()> {
    boucle::block_on(async {
        let listener = TcpListener::bind(ADDRESS).await?;
        ready(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            ACCEPTED.fetch_add(1, Relaxed);
            drop(boucle::spawn(echo(stream)));
        }
    })
}
