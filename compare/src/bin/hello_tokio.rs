//! "hello" by hyper on tokio's `current_thread` runtime, for `benches/http.sh`: the twin of
//! `hello_boucle`, with the same answer and the same timer for slow clients.

use std::{
    convert::Infallible,
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use http_body_util::Full;
use hyper::{Response, body::Bytes, server::conn::http1, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

async fn attend(stream: TcpStream, is_http2: bool, served: Arc<AtomicU64>) {
    let _ = stream.set_nodelay(true);
    // The task must be `Send`, though it never leaves its thread.
    let service = service_fn(move |_| {
        served.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n")))) }
    });
    let (stream, timer) = (TokioIo::new(stream), TokioTimer::new());
    let ended = if is_http2 {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(timer).serve_connection(stream, service).await
    } else {
        http1::Builder::new().timer(timer).serve_connection(stream, service).await
    };
    if let Err(error) = ended {
        eprintln!("{error}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let address = args.iter().find(|arg| !arg.starts_with("--")).map_or("127.0.0.1:0", |arg| arg);
    let is_http2 = args.iter().any(|arg| arg == "--http2");
    let served = Arc::new(AtomicU64::new(0));
    let (ended, end) = tokio::sync::oneshot::channel();
    thread::spawn(move || (io::copy(&mut io::stdin(), &mut io::sink()), ended.send(())));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let served = served.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(attend(stream, is_http2, served.clone()));
            }
        });
        Ok::<_, Box<dyn Error>>(end.await?)
    })?;
    println!("{} requests served", served.load(Ordering::Relaxed));
    Ok(())
}
