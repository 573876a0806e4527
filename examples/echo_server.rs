//! Notice that a full server stops accepting: who comes then waits in the system's own queue. When
//! stdin ends it accepts nobody any more, and the scope returns once the last guest has left.
//!
//! `echo_server [ADDRESS] [--connections N]` serves until stdin ends, or N connections and no more.
//! `--virtual` brings clients of its own.

use std::{error::Error, io, os::unix::net::UnixStream, thread};

use boucle::{
    Loop,
    io::Async,
    net::{TcpListener, TcpStream},
    race, scope, spawn,
    sync::Semaphore,
    try_gather,
};
use futures_lite::{AsyncReadExt, AsyncWriteExt, io::copy};

/// How many are served at a time.
const SEATS: usize = 1000;

/// Returns how many bytes it has sent back.
async fn echo(stream: TcpStream) -> io::Result<u64> {
    copy(&stream, &stream).await
}

/// stdin may be a file, for which nobody can wait: a thread reads it, and hangs up at its end.
async fn stdin_ends() -> io::Result<()> {
    let (here, there) = UnixStream::pair()?;
    thread::spawn(move || (io::copy(&mut io::stdin(), &mut io::sink()), there));
    Async::new(here)?.readable().await
}

async fn serve(listener: TcpListener, connections: Option<usize>) -> io::Result<()> {
    let seats = &Semaphore::new(SEATS);
    scope(async move |s| {
        let accept = async {
            for _ in 0..connections.unwrap_or(usize::MAX) {
                let seat = seats.acquire().await;
                let (stream, peer) = listener.accept().await?;
                // Not awaited: the scope does that.
                drop(s.spawn(async move {
                    let _seat = seat;
                    // A task of its own: what it panics with ends this connection alone.
                    match spawn(echo(stream)).named(peer.to_string()).cancel_on_drop().await {
                        Ok(Ok(bytes)) => println!("{bytes} bytes"),
                        Ok(Err(error)) => println!("{peer}: {error}"),
                        Err(panic) => println!("{panic}"),
                    }
                }));
            }
            Ok(())
        };
        match connections {
            Some(_) => accept.await,
            None => race((accept, stdin_ends())).await,
        }
        // The listener goes here.
    })
    .await
}

async fn client(server: &str, message: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(message).await?;
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).await?;
    assert_eq!(answer, message);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut address, mut connections, mut clients) = ("127.0.0.1:0".to_owned(), None, 0);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match &*arg {
            "--connections" => connections = Some(args.next().ok_or("how many?")?.parse()?),
            "--virtual" => (connections, clients) = (Some(3), 3),
            _ => address = arg,
        }
    }
    Loop::new().block_on(async {
        let listener = TcpListener::bind(&*address).await?;
        let address = listener.local_addr()?.to_string();
        println!("listening on {address}");
        let server = spawn(serve(listener, connections));
        try_gather((0..clients).map(|_| client(&address, b"soda")).collect::<Vec<_>>()).await?;
        Ok(server.await??)
    })
}
