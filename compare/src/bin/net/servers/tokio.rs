//! tokio on one thread: a `current_thread` runtime and a `LocalSet`.

use std::{io, net::SocketAddr, sync::atomic::Ordering::Relaxed};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{LocalSet, spawn_local},
};

use super::{ACCEPTED, ADDRESS, BUFFER};

pub(super) fn serve(ready: impl FnOnce(SocketAddr) -> io::Result<()>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(ADDRESS).await?;
        ready(listener.local_addr()?)?;
        // A task accepts, as it would in a real server, not the root.
        let accept = spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                ACCEPTED.fetch_add(1, Relaxed);
                spawn_local(echo(stream));
            }
        });
        accept.await?
    })
}

/// As [`super::echo`], over tokio's own traits.
async fn echo(mut stream: TcpStream) {
    let mut buffer = [0; BUFFER];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}
