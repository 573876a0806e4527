//! Notice that all pages are fetched at once on one thread, each over a connection of its own, and
//! that a connection is a task beside the one that asks.
//!
//! `hyper_client [--http2] URL..` prints what is there; `--virtual` brings its own server.

use std::{error::Error, time::Duration};

use boucle::{
    hyper::{Executor, Timer},
    net::{TcpListener, TcpStream},
    race, spawn, timeout, try_gather,
};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, Uri, body::Bytes, client::conn, header::HOST};
use hyper::{body::Incoming, server, service::service_fn};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

async fn fetch(url: &str, is_http2: bool) -> Result<()> {
    let url: Uri = url.parse()?;
    let host = url.host().ok_or("a URL without a host")?;
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let response = if is_http2 {
        let builder = conn::http2::Builder::new(Executor).timer(Timer).clone();
        let (mut sender, connection) = builder.handshake(stream).await?;
        // Detached: it ends soon after its sender is dropped, when the answer was read.
        drop(spawn(connection));
        sender.send_request(Request::get(&url).body(Empty::<Bytes>::new())?).await?
    } else {
        let (mut sender, connection) = conn::http1::handshake(stream).await?;
        drop(spawn(connection));
        let page = url.path_and_query().map_or("/", |page| page.as_str());
        let request = Request::get(page).header(HOST, url.authority().map_or(host, |a| a.as_str()));
        sender.send_request(request.body(Empty::<Bytes>::new())?).await?
    };
    let status = response.status();
    let body = response.collect().await?.to_bytes();
    println!("{url}: {status}\n{}", String::from_utf8_lossy(&body).trim_end());
    Ok(())
}

/// Answers with the path that was asked for.
async fn serve(listener: &TcpListener, is_http2: bool) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service_fn(async |request: Request<Incoming>| {
            hyper::Result::Ok(Response::new(request.uri().path().to_owned()))
        });
        if is_http2 {
            let server = server::conn::http2::Builder::new(Executor);
            drop(spawn(server.serve_connection(stream, service)));
        } else {
            let server = server::conn::http1::Builder::new();
            drop(spawn(server.serve_connection(stream, service)));
        }
    }
}

async fn fetch_all(urls: &[String], is_http2: bool) -> Result<()> {
    let fetch = async |url: &String| timeout(Duration::from_secs(30), fetch(url, is_http2)).await?;
    try_gather(urls.iter().map(fetch).collect::<Vec<_>>()).await.map(drop)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (options, urls): (Vec<_>, Vec<_>) = args.into_iter().partition(|arg| arg.starts_with("--"));
    let is_http2 = options.iter().any(|option| option == "--http2");
    boucle::block_on(async {
        if !options.iter().any(|option| option == "--virtual") {
            return fetch_all(&urls, is_http2).await;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let urls = ["soda", "fries"].map(|dish| format!("http://{address}/{dish}"));
        race((serve(&listener, is_http2), fetch_all(&urls, is_http2))).await
    })
}
