//! `hyper` on boucle: its executor, its timer, and its traits for our streams. Feature
//! `hyper`; unix only.
//!
//! Services and bodies need be neither `Send` nor `Sync`, since all that hyper spawns stays in the
//! loop that runs it. hyper's own features, `server`, `http1` and the like, are for the program to
//! choose: this one brings none of them.
//!
//! The file of this page stands by itself, but for one function, which reads into memory that was
//! not initialised: take it as it is, and change what does not suit. Streams that are not ours, TLS for
//! instance, go through `TokioIo` of hyper-util if they have tokio's traits; the feature `tokio-io`
//! gives these to our sockets, for what is to be put between.
//!
//! ```
//! use std::{cell::Cell, convert::Infallible};
//!
//! use boucle::{hyper::Timer, net::{TcpListener, TcpStream}};
//! use http_body_util::{BodyExt, Empty};
//! use hyper::{Request, Response, body::Bytes, client, server, service::service_fn};
//!
//! boucle::block_on(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let addr = listener.local_addr()?;
//!     let server = boucle::spawn(async move {
//!         let (stream, _) = listener.accept().await.unwrap();
//!         // No lock, no atomic: the service stays on this thread.
//!         let served = Cell::new(0);
//!         let service = service_fn(async |_| {
//!             served.set(served.get() + 1);
//!             Ok::<_, Infallible>(Response::new(format!("dish number {}", served.get())))
//!         });
//!         server::conn::http1::Builder::new().timer(Timer).serve_connection(stream, service).await
//!     });
//!
//!     let stream = TcpStream::connect(addr).await?;
//!     let (mut sender, connection) = client::conn::http1::handshake(stream).await?;
//!     let client = boucle::spawn(connection);
//!     for n in 1..=3 {
//!         let request = Request::new(Empty::<Bytes>::new());
//!         let body = sender.send_request(request).await?.collect().await?.to_bytes();
//!         assert_eq!(body, format!("dish number {n}"));
//!     }
//!     drop(sender);
//!     client.await??;
//!     server.await??;
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! })
//! # .unwrap();
//! ```

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ::hyper::rt::{self, ReadBufCursor};
use futures_lite::AsyncWrite;

use crate::{
    net::{TcpStream, UnixStream, poll_read_uninit},
    time::{Sleep, now, sleep, sleep_until},
};

/// Spawns what hyper wants to run, with HTTP/2 each stream, on the loop that runs where it asks.
///
/// The tasks are detached: they end when they are done, or with the loop. A panic in a service ends
/// its stream only, and is [unobserved](crate::JoinHandle#unobserved-panics), as that of any other
/// detached task: it is resumed when the run of the loop ends, unless
/// [`on_unobserved`](crate::Builder::on_unobserved) takes it.
///
/// # Panics
/// Where no loop runs.
///
/// ```
/// use std::{convert::Infallible, rc::Rc};
///
/// use boucle::{hyper::Executor, net::{TcpListener, TcpStream}};
/// use http_body_util::{BodyExt, Empty};
/// use hyper::{Request, Response, body::Bytes, client, server, service::service_fn};
///
/// boucle::block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let stream = TcpStream::connect(listener.local_addr()?).await?;
///     let server = boucle::spawn(async move {
///         let (stream, _) = listener.accept().await.unwrap();
///         let dish = Rc::new("soda");
///         let service = service_fn(move |_| {
///             let dish = Rc::clone(&dish);
///             async move { Ok::<_, Infallible>(Response::new(dish.to_string())) }
///         });
///         server::conn::http2::Builder::new(Executor).serve_connection(stream, service).await
///     });
///     let (mut sender, connection) = client::conn::http2::handshake(Executor, stream).await?;
///     let client = boucle::spawn(connection);
///     let answer = sender.send_request(Request::new(Empty::<Bytes>::new())).await?;
///     assert_eq!(answer.collect().await?.to_bytes(), "soda");
///     drop(sender);
///     client.await??;
///     server.await??;
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Executor;

impl<F> rt::Executor<F> for Executor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(crate::spawn(future));
    }
}

/// The clock of the loop that runs where hyper asks, real or virtual, for hyper's timeouts.
///
/// ```
/// use std::time::Duration;
///
/// use boucle::{Loop, hyper::Timer, net::{TcpListener, TcpStream}};
/// use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
///
/// let l = Loop::builder().virtual_time().build();
/// let start = l.now();
/// let timed_out = l.block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
///     let _mute = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
///     let (stream, _) = listener.accept().await.unwrap();
///     let service = service_fn(async |_: Request<Incoming>| {
///         hyper::Result::Ok(Response::new("soda".to_owned()))
///     });
///     http1::Builder::new()
///         .timer(Timer)
///         .header_read_timeout(Duration::from_secs(3600))
///         .serve_connection(stream, service)
///         .await
/// });
/// assert!(timed_out.unwrap_err().is_timeout());
/// assert_eq!(l.now() - start, Duration::from_secs(3600));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer;

impl rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(sleep_until(deadline))
    }

    fn now(&self) -> Instant {
        now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(mut sleep) => sleep.reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

impl rt::Sleep for Sleep {}

/// hyper's traits, for a stream.
macro_rules! stream {
    ($type:ty) => {
        impl rt::Read for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                mut buf: ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: what the system does not write stays as it is.
                let unfilled = unsafe { buf.as_mut() };
                poll_read_uninit(self.get_mut().handle(), cx, unfilled).map_ok(|read| {
                    // SAFETY: so many bytes were written at the beginning of what is unfilled.
                    unsafe { buf.advance(read) };
                })
            }
        }

        impl rt::Write for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                AsyncWrite::poll_write(self, cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                AsyncWrite::poll_write_vectored(self, cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                AsyncWrite::poll_flush(self, cx)
            }

            /// Shuts the writing direction down.
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                AsyncWrite::poll_close(self, cx)
            }
        }
    };
}

stream!(TcpStream);
stream!(UnixStream);
