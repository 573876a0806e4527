//! Notice that the service is not `Send`: its counter is a `Cell`, and no lock is in sight. When
//! stdin ends, each connection finishes the requests it is at, and the scope waits for them all.
//!
//! `hyper_server [ADDRESS] [--http2]` serves until stdin ends; `--virtual` asks itself, by HTTP/2.

use std::pin::{Pin, pin};
use std::{cell::Cell, convert::Infallible, error::Error, future::poll_fn, io, rc::Rc, thread};

use boucle::hyper::{Executor, Timer};
use boucle::net::{TcpListener, TcpStream};
use boucle::{Waiter, io::Async, race, scope, spawn};
use http_body_util::{BodyExt, Empty, Full};
use hyper::server::conn::{http1, http2};
use hyper::{Request, Response, body::Bytes, client, service::service_fn};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Serves a connection to its end, which comes early once `quit` is open.
async fn finish<C: Future>(connection: C, quit: &Waiter, end: fn(Pin<&mut C>)) -> C::Output {
    let (mut connection, mut quit, mut quits) = (pin!(connection), pin!(quit.wait()), false);
    poll_fn(|cx| {
        if !quits && quit.as_mut().poll(cx).is_ready() {
            quits = true;
            end(connection.as_mut());
        }
        connection.as_mut().poll(cx)
    })
    .await
}

async fn attend(stream: TcpStream, is_http2: bool, served: Rc<Cell<u64>>, quit: Rc<Waiter>) {
    let _ = stream.set_nodelay(true); // An error: the client has gone.
    let service = service_fn(move |_| {
        served.set(served.get() + 1);
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n")))) }
    });
    let ended = if is_http2 {
        let serving = http2::Builder::new(Executor).timer(Timer).serve_connection(stream, service);
        finish(serving, &quit, http2::Connection::graceful_shutdown).await
    } else {
        let serving = http1::Builder::new().timer(Timer).serve_connection(stream, service);
        finish(serving, &quit, http1::Connection::graceful_shutdown).await
    };
    ended.unwrap_or_else(|error| eprintln!("{error}"));
}

/// stdin may be a file, for which nobody can wait: a thread reads it, and hangs up at its end.
async fn stdin_ends() -> Result<()> {
    let (here, there) = std::os::unix::net::UnixStream::pair()?;
    thread::spawn(move || (io::copy(&mut io::stdin(), &mut io::sink()), there));
    Ok(Async::new(here)?.readable().await?)
}

async fn ask(listener: &TcpListener) -> Result<()> {
    let stream = TcpStream::connect(listener.local_addr()?).await?;
    let (mut sender, connection) = client::conn::http2::handshake(Executor, stream).await?;
    drop(spawn(connection));
    let answer = sender.send_request(Request::new(Empty::<Bytes>::new())).await?;
    print!("{}", String::from_utf8_lossy(&answer.collect().await?.to_bytes()));
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let address = args.iter().find(|arg| !arg.starts_with("--")).map_or("127.0.0.1:0", |arg| arg);
    let has = |name| args.iter().any(|arg| arg == name);
    let (is_virtual, is_http2) = (has("--virtual"), has("--virtual") || has("--http2"));
    let (served, quit) = (Rc::new(Cell::new(0)), Rc::new(Waiter::new(1)));
    boucle::block_on(scope(async |s| {
        let listener = TcpListener::bind(address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let accept = async {
            loop {
                let (stream, _) = listener.accept().await?;
                // A task of its own, so that a panic ends one connection; the scope waits for it.
                let task = spawn(attend(stream, is_http2, served.clone(), quit.clone()));
                drop(s.spawn(async { drop(task.cancel_on_drop().await) }));
            }
        };
        let end = async { if is_virtual { ask(&listener).await } else { stdin_ends().await } };
        let result = race((accept, end)).await;
        quit.set();
        result
    }))?;
    println!("{} requests served", served.get());
    Ok(())
}
