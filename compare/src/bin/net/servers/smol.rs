//! smol on one thread: its `LocalExecutor`, driven by async-io.

use std::{io, net::SocketAddr, sync::atomic::Ordering::Relaxed};

use async_executor::LocalExecutor;
use async_net::TcpListener;

use super::{ACCEPTED, ADDRESS, echo};

pub(super) fn serve(ready: impl FnOnce(SocketAddr) -> io::Result<()>) -> io::Result<()> {
    let executor = LocalExecutor::new();
    async_io::block_on(executor.run(async {
        let listener = TcpListener::bind(ADDRESS).await?;
        ready(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            ACCEPTED.fetch_add(1, Relaxed);
            executor.spawn(echo(stream)).detach();
        }
    }))
}
