//! "hello" by hyper on boucle, for `benches/http.sh`: line by line as its twin, `hello_tokio`, but
//! for what need not be `Send`.

use std::{
    cell::Cell, convert::Infallible, error::Error, io, os::unix::net::UnixStream, rc::Rc, thread,
};

use boucle::{
    hyper::{Executor, Timer},
    io::Async,
    net::{TcpListener, TcpStream},
};
use http_body_util::Full;
use hyper::{Response, body::Bytes, server::conn::http1, server::conn::http2, service::service_fn};

async fn attend(stream: TcpStream, is_http2: bool, served: Rc<Cell<u64>>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |_| {
        served.set(served.get() + 1);
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n")))) }
    });
    let ended = if is_http2 {
        http2::Builder::new(Executor).timer(Timer).serve_connection(stream, service).await
    } else {
        http1::Builder::new().timer(Timer).serve_connection(stream, service).await
    };
    if let Err(error) = ended {
        eprintln!("{error}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let address = args.iter().find(|arg| !arg.starts_with("--")).map_or("127.0.0.1:0", |arg| arg);
    let is_http2 = args.iter().any(|arg| arg == "--http2");
    let served = Rc::new(Cell::new(0));
    let (end, ended) = UnixStream::pair()?;
    thread::spawn(move || (io::copy(&mut io::stdin(), &mut io::sink()), ended));
    boucle::block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let served = served.clone();
        drop(boucle::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(boucle::spawn(attend(stream, is_http2, served.clone())));
            }
        }));
        Async::new(end)?.readable().await
    })?;
    println!("{} requests served", served.get());
    Ok(())
}
