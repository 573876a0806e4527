//! hyper, on both sides: services and bodies that are not `Send`.

use std::{
    cell::Cell,
    convert::Infallible,
    error::Error,
    future::{pending, poll_fn},
    io,
    mem::MaybeUninit,
    pin::Pin,
    process::{Command, Output},
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use boucle::{
    gather,
    hyper::{Executor, Timer},
    net::{TcpListener, TcpStream, UnixStream},
    now, race, sleep, spawn,
    sync::{OneshotReceiver, oneshot},
    try_gather,
};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Frame, Incoming},
    client::conn as client,
    header::{CONNECTION, UPGRADE},
    rt::{self, Read, ReadBuf, Timer as _},
    server::conn as server,
    service::service_fn,
    upgrade,
};

use super::users::{Server, bounded};
use crate::{
    support::{Log, boom, noting_loop, virtual_loop},
    transcripts::binary,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A connection, from both sides.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let connected = TcpStream::connect(listener.local_addr()?);
    let ((accepted, _), connected) = try_gather((listener.accept(), connected)).await?;
    // Else a small write may wait 40 ms for an answer to the last one, while a virtual clock waits 10.
    accepted.set_nodelay(true)?;
    connected.set_nodelay(true)?;
    Ok((accepted, connected))
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://here{path}")).body(Empty::new()).unwrap()
}

async fn text(response: Response<Incoming>) -> Result<String> {
    Ok(String::from_utf8(response.collect().await?.to_bytes().to_vec())?)
}

/// A body of several chunks, which is not `Send`; the second half comes when it is told to.
struct Chunks {
    left: usize,
    half: usize,
    goes_on: OneshotReceiver<()>,
}

const CHUNK: usize = 50_021;

/// The chunk before the last `left` ones.
fn chunk(left: usize) -> Vec<u8> {
    (0..CHUNK).map(|at| (at * 13 + at / 256 + left * 5) as u8).collect()
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.left == self.half && Pin::new(&mut self.goes_on).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(chunk(self.left).into()))))
    }
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let asked = virtual_loop().block_on(async {
        let (accepted, connected) = pair().await?;
        let served = Cell::new(0);
        let service = service_fn(async |request: Request<Incoming>| {
            served.set(served.get() + 1);
            sleep(Duration::from_secs(3600)).await;
            let path = request.uri().path();
            Ok::<_, Infallible>(Response::new(format!("{path} {}", served.get())))
        });
        let server = async {
            server::http1::Builder::new().timer(Timer).serve_connection(accepted, service).await
        };
        let (mut sender, connection) = client::http1::handshake(connected).await?;
        let ask = async move {
            let mut answers = Vec::new();
            for path in ["/soda", "/fries", "/burger"] {
                answers.push(text(sender.send_request(get(path)).await.unwrap()).await.unwrap());
            }
            answers
        };
        let (server, connection, answers) = gather((server, connection, ask)).await;
        // An end that both have agreed on.
        server?;
        connection?;
        Result::Ok(answers)
    });
    assert_eq!(asked.unwrap(), ["/soda 1", "/fries 2", "/burger 3"]);
}

#[test]
fn requests_of_one_connection_overtake_each_other() {
    let (l, log) = (virtual_loop(), Log::default());
    let start = l.now();
    l.block_on(async {
        let (accepted, connected) = pair().await?;
        let served = Rc::new(Cell::new(0));
        let service = service_fn(move |request: Request<Incoming>| {
            let served = served.clone();
            async move {
                let seconds = request.uri().path()[1..].parse().unwrap();
                sleep(Duration::from_secs(seconds)).await;
                served.set(served.get() + 1);
                Ok::<_, Infallible>(Response::new(format!("number {}", served.get())))
            }
        });
        let mut http2 = server::http2::Builder::new(Executor);
        let server = spawn(http2.timer(Timer).serve_connection(accepted, service));
        let (sender, connection) = client::http2::handshake(Executor, connected).await?;
        let client = spawn(connection);
        let asks = ["/3", "/1", "/2"].map(|path| {
            let (mut sender, log) = (sender.clone(), &log);
            async move {
                let answer = text(sender.send_request(get(path)).await?).await?;
                log.push(format!("{path} is {answer} after {:?}", now() - start));
                Result::Ok(())
            }
        });
        try_gather(asks).await?;
        drop(sender);
        client.await??;
        Ok(server.await??)
    })
    .map_err(|error: Box<dyn Error>| error)
    .unwrap();
    assert_eq!(
        log.take(),
        ["/1 is number 1 after 1s", "/2 is number 2 after 2s", "/3 is number 3 after 3s"]
    );
}

/// Sends 100 chunks to a server that sends back each as it comes.
async fn send_and_receive(is_http2: bool) -> Result<()> {
    const CHUNKS: usize = 100;
    let (accepted, connected) = pair().await?;
    let echo = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let (go_on, goes_on) = oneshot();
    let body = Chunks { left: CHUNKS, half: CHUNKS / 2, goes_on };
    let request = Request::post("http://here/").body(body)?;
    let mut response = if is_http2 {
        drop(spawn(server::http2::Builder::new(Executor).serve_connection(accepted, echo)));
        let (mut sender, connection) = client::http2::handshake(Executor, connected).await?;
        drop(spawn(connection));
        sender.send_request(request).await?
    } else {
        drop(spawn(server::http1::Builder::new().serve_connection(accepted, echo)));
        let (mut sender, connection) = client::http1::handshake(connected).await?;
        drop(spawn(connection));
        sender.send_request(request).await?
    };
    // The answer begins before all is sent.
    go_on.send(()).unwrap();
    let mut back = Vec::new();
    while let Some(frame) = response.frame().await {
        back.extend_from_slice(&frame?.into_data().expect("there are no trailers"));
    }
    let sent: Vec<u8> = (0..CHUNKS).rev().flat_map(chunk).collect();
    assert!(back == sent, "{} bytes came back of {}", back.len(), sent.len());
    Ok(())
}

#[test]
fn large_bodies_go_both_ways_at_once() {
    for is_http2 in [false, true] {
        bounded(send_and_receive(is_http2)).unwrap();
    }
}

#[test]
fn a_unix_socket_serves_http() {
    let answer = bounded(async {
        let (here, there) = UnixStream::pair()?;
        let service = service_fn(async |_| Ok::<_, Infallible>(Response::new("soda".to_owned())));
        drop(spawn(server::http1::Builder::new().serve_connection(there, service)));
        let (mut sender, connection) = client::http1::handshake(here).await?;
        drop(spawn(connection));
        text(sender.send_request(get("/")).await?).await
    });
    assert_eq!(answer.unwrap(), "soda");
}

#[test]
fn a_connection_can_be_taken_over() {
    let heard = bounded(async {
        let (accepted, connected) = pair().await?;
        let service = service_fn(async |request: Request<Incoming>| {
            drop(spawn(async {
                let parts = upgrade::on(request).await.unwrap().downcast::<TcpStream>().unwrap();
                let (mut stream, mut heard) = (parts.io, parts.read_buf.to_vec());
                stream.read_to_end(&mut heard).await.unwrap();
                stream.write_all(&heard.to_ascii_uppercase()).await.unwrap();
            }));
            let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let answer = answer.header(CONNECTION, "upgrade").header(UPGRADE, "shout");
            Ok::<_, Infallible>(answer.body(Empty::<Bytes>::new()).unwrap())
        });
        let http1 = server::http1::Builder::new();
        drop(spawn(http1.serve_connection(accepted, service).with_upgrades()));
        let (mut sender, connection) = client::http1::handshake(connected).await?;
        drop(spawn(connection.with_upgrades()));
        let request = Request::get("/").header(CONNECTION, "upgrade").header(UPGRADE, "shout");
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let parts = upgrade::on(response).await?.downcast::<TcpStream>().unwrap();
        let (mut stream, mut heard) = (parts.io, parts.read_buf.to_vec());
        stream.write_all(b"soda").await?;
        stream.close().await?;
        stream.read_to_end(&mut heard).await?;
        Result::Ok(heard)
    });
    assert_eq!(heard.unwrap(), b"SODA");
}

#[test]
fn a_client_that_never_ends_its_header_is_timed_out() {
    let l = virtual_loop();
    let start = l.now();
    let ended = l.block_on(async {
        let (accepted, mut connected) = pair().await.unwrap();
        let mut http1 = server::http1::Builder::new();
        http1.timer(Timer).header_read_timeout(Duration::from_secs(30));
        let service = service_fn(async |_| Ok::<_, Infallible>(Response::new("soda".to_owned())));
        let server = spawn(http1.serve_connection(accepted, service));
        // One request in time, then one byte every ten seconds.
        sleep(Duration::from_secs(25)).await;
        let request = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";
        connected.write_all(request).await.unwrap();
        let mut answer = [0; 4096];
        let read = connected.read(&mut answer).await.unwrap();
        assert!(answer[..read].ends_with(b"soda"), "{}", answer[..read].escape_ascii());
        let slow = async {
            for byte in request {
                sleep(Duration::from_secs(10)).await;
                connected.write_all(&[*byte]).await.unwrap();
            }
            unreachable!("the server has waited for it all");
        };
        // When it has answered, it waits for the next header.
        race((slow, async { server.await.unwrap() })).await
    });
    assert!(ended.unwrap_err().is_timeout());
    assert_eq!((l.now() - start).as_secs(), 25 + 30);
}

#[test]
fn a_peer_that_does_not_answer_pings_is_given_up() {
    let l = virtual_loop();
    let start = l.now();
    let ended = l.block_on(async {
        let (accepted, connected) = pair().await.unwrap();
        let mut http2 = client::http2::Builder::new(Executor);
        http2.timer(Timer).keep_alive_while_idle(true);
        http2
            .keep_alive_interval(Duration::from_secs(3600))
            .keep_alive_timeout(Duration::from_secs(60));
        let (_sender, connection) = http2.handshake::<_, Empty<Bytes>>(connected).await.unwrap();
        let ended = connection.await;
        drop(accepted);
        ended
    });
    assert!(ended.unwrap_err().is_timeout());
    assert_eq!((l.now() - start).as_secs(), 3660);
}

#[test]
fn a_request_that_is_given_up_ends_its_service() {
    let (l, log) = (virtual_loop(), Log::default());
    l.block_on(async {
        let (accepted, connected) = pair().await?;
        let service = service_fn({
            let log = log.clone();
            move |_| {
                let dropped = log.on_drop("the service is dropped");
                async move {
                    let _dropped = dropped;
                    pending::<std::result::Result<Response<Empty<Bytes>>, Infallible>>().await
                }
            }
        });
        let server = server::http2::Builder::new(Executor).serve_connection(accepted, service);
        let server = spawn(server);
        let (mut sender, connection) = client::http2::handshake(Executor, connected).await?;
        drop(spawn(connection));
        let ask = boucle::timeout(Duration::from_secs(1), sender.send_request(get("/"))).await;
        assert!(ask.is_err());
        log.push("given up");
        sleep(Duration::from_secs(1)).await;
        log.push("a second later");
        drop(sender);
        Ok(server.await??)
    })
    .map_err(|error: Box<dyn Error>| error)
    .unwrap();
    assert_eq!(log.take(), ["given up", "the service is dropped", "a second later"]);
}

#[test]
fn a_panic_in_a_service_ends_one_request_only() {
    let log = Log::default();
    let l = noting_loop(&log);
    let answers = l.block_on(async {
        let (accepted, connected) = pair().await?;
        let service = service_fn(async |request: Request<Incoming>| {
            if request.uri().path() == "/boom" {
                boom();
            }
            Ok::<_, Infallible>(Response::new("soda".to_owned()))
        });
        drop(spawn(server::http2::Builder::new(Executor).serve_connection(accepted, service)));
        let (mut sender, connection) = client::http2::handshake(Executor, connected).await?;
        drop(spawn(connection));
        let mut answers = Vec::new();
        for path in ["/1", "/boom", "/2"] {
            answers.push(match sender.send_request(get(path)).await {
                Ok(answer) => text(answer).await?,
                Err(_) => "failed".to_owned(),
            });
        }
        Result::Ok(answers)
    });
    assert_eq!(answers.unwrap(), ["soda", "failed", "soda"]);
    assert_eq!(log.take(), ["unobserved panicked: boom"]);
}

#[test]
fn a_read_fills_what_was_never_initialised_and_no_more() {
    bounded(async {
        let (mut accepted, mut connected) = pair().await.unwrap();
        let mut memory = [MaybeUninit::uninit(); 8];
        let mut buf = ReadBuf::uninit(&mut memory);
        buf.unfilled().put_slice(b"a ");
        accepted.write_all(b"sod").await.unwrap();
        poll_fn(|cx| Pin::new(&mut connected).poll_read(cx, buf.unfilled())).await.unwrap();
        assert_eq!(buf.filled(), b"a sod");
        accepted.write_all(b"a, and fries").await.unwrap();
        poll_fn(|cx| Pin::new(&mut connected).poll_read(cx, buf.unfilled())).await.unwrap();
        assert_eq!(buf.filled(), b"a soda, ");
    });
}

/// A timer's sleep that is not ours.
struct Foreign;

impl Future for Foreign {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl rt::Sleep for Foreign {}

#[test]
fn the_timer_has_the_loop_s_time_and_can_be_reset() {
    let l = virtual_loop();
    l.block_on(async {
        let start = now();
        let seconds = |n| start + Duration::from_secs(n);
        let mut timer = Timer.sleep(Duration::from_secs(10));
        let address = &raw const *timer;
        // Before its first poll, while it waits, and after its end.
        for (from, to) in [(0, 20), (5, 7), (7, 9)] {
            assert!(
                race((
                    async {
                        (&mut timer).await;
                        false
                    },
                    async {
                        boucle::sleep_until(seconds(from)).await;
                        true
                    }
                ))
                .await
                    || from == 7
            );
            Timer.reset(&mut timer, seconds(to));
            assert!(std::ptr::addr_eq(address, &raw const *timer), "no new one is made");
        }
        timer.await;
        assert_eq!(Timer.now(), seconds(9));
        let mut foreign: Pin<Box<dyn rt::Sleep>> = Box::pin(Foreign);
        Timer.reset(&mut foreign, seconds(12));
        foreign.await;
        assert_eq!(Timer.now(), seconds(12));
        Timer.sleep_until(seconds(15)).await;
        assert_eq!(now(), seconds(15));
    });
    // Outside a loop there is the real time.
    assert!(Timer.now() <= Instant::now());
}

/// Runs curl, or says that there is none.
fn curl(args: &[&str]) -> Option<Output> {
    match Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(args)
        .output()
    {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED, since there is no curl: {error}");
            None
        }
    }
}

#[test]
fn curl_fetches_from_the_example() {
    let cases: [(&str, &[&str], _); 2] = [
        ("--http1.1", &[], "hello\n200 1.1 1\nhello\n200 1.1 0\n"),
        ("--http2-prior-knowledge", &["--http2"], "hello\n200 2 1\n"),
    ];
    for (http, options, expected) in cases {
        bounded(async {
            let mut server = Server::start("hyper_server", options).await;
            let url = &*server.address;
            let mut args =
                vec![http, "--write-out", "%{http_code} %{http_version} %{num_connects}\n", url];
            if options.is_empty() {
                // curl 7.88 fails at the second request of a connection over HTTP/2, whoever serves.
                args.push(url);
            }
            let Some(output) = curl(&args) else { return };
            let stderr = String::from_utf8_lossy(&output.stderr);
            if stderr.contains("does not support") {
                eprintln!("SKIPPED, since this curl has no HTTP/2: {stderr}");
                return;
            }
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{stderr}");
            server.end_stdin();
            let requests = expected.matches("hello").count();
            assert_eq!(server.end().await, [format!("{requests} requests served")]);
        });
    }
}

#[test]
fn the_examples_speak_with_each_other() {
    for option in [None, Some("--http2")] {
        bounded(async {
            let options: Vec<&str> = option.into_iter().collect();
            let mut server = Server::start("hyper_server", &options).await;
            let client = Command::new(binary("hyper_client"))
                .args(&options)
                .arg(&server.address)
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&client.stdout);
            assert_eq!(told, format!("{}/: 200 OK\nhello\n", server.address));
            server.end_stdin();
            assert_eq!(server.end().await, ["1 requests served"]);
        });
    }
}
