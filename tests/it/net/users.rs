//! The examples that use sockets, as processes of their own, with clients from here.

use std::{
    io,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use boucle::{gather, io::Async, net::TcpStream, timeout, try_gather};
use futures_lite::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt,
    io::{BufReader, Lines},
};

use crate::transcripts::binary;

/// A server that runs until its stdin ends, or until it is dropped.
pub(super) struct Server {
    child: Child,
    lines: Lines<BufReader<Async<ChildStdout>>>,
    /// What it says after "listening on ".
    pub(super) address: String,
}

impl Server {
    pub(super) async fn start(example: &str, args: &[&str]) -> Server {
        let mut child = Command::new(binary(example))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Async::new(child.stdout.take().unwrap()).unwrap();
        let lines = BufReader::new(stdout).lines();
        let mut server = Server { child, lines, address: String::new() };
        let line = server.line().await.expect("it says where it listens");
        server.address = line.strip_prefix("listening on ").unwrap().to_owned();
        server
    }

    /// The next line that it prints.
    pub(super) async fn line(&mut self) -> Option<String> {
        self.lines.next().await.map(Result::unwrap)
    }

    /// Ends its stdin.
    pub(super) fn end_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// What else it prints until it ends, which it is about to do.
    pub(super) async fn end(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        // It has closed its stdout, so it waits for nothing any more.
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {lines:?}");
        lines
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error: it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a test, which fails rather than hang.
#[track_caller]
pub(super) fn bounded<T>(test: impl Future<Output = T>) -> T {
    // Where the examples have to be built first, that takes as long as it takes.
    binary("echo_server");
    let test = async { timeout(Duration::from_secs(600), test).await };
    boucle::block_on(test).expect("it does not hang")
}

/// Bytes that are different at each place and for each `n`.
fn message(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 256 + n * 7) as u8).collect()
}

/// Sends a message while it reads what comes back.
async fn exchange(stream: &TcpStream, message: &[u8]) -> io::Result<()> {
    let (mut reader, mut writer) = (stream, stream);
    let mut back = vec![0; message.len()];
    try_gather((writer.write_all(message), reader.read_exact(&mut back))).await?;
    assert!(back == message, "other bytes came back");
    Ok(())
}

#[test]
fn an_echo_server_holds_under_load() {
    const GUESTS: usize = 300;
    bounded(async {
        let server = Server::start("echo_server", &["--connections", &GUESTS.to_string()]).await;
        let connect = (0..GUESTS).map(|_| TcpStream::connect(&*server.address));
        let streams = try_gather(connect.collect::<Vec<_>>()).await.unwrap();
        // 9 MB each way, all connections at once, in three goes.
        for go in 0..3 {
            let guests = streams.iter().enumerate();
            let exchanges =
                guests.map(async |(n, stream)| exchange(stream, &message(n + go, 10_007)).await);
            for result in gather(exchanges.collect::<Vec<_>>()).await {
                result.unwrap();
            }
        }
        drop(streams);
        assert_eq!(server.end().await, vec!["30021 bytes"; GUESTS]);
    });
}

#[test]
fn an_echo_server_whose_stdin_ends_serves_its_last_guests() {
    bounded(async {
        let mut server = Server::start("echo_server", &[]).await;
        let guests = [(); 2].map(|()| TcpStream::connect(&*server.address));
        let guests = try_gather(guests).await.unwrap();
        exchange(&guests[0], b"soda").await.unwrap();
        exchange(&guests[1], b"fries").await.unwrap();
        server.end_stdin();
        for guest in &guests {
            exchange(guest, &message(1, 100_000)).await.unwrap();
        }
        drop(guests);
        let mut lines = server.end().await;
        lines.sort();
        assert_eq!(lines, ["100004 bytes", "100005 bytes"]);
    });
}

#[test]
fn a_chat_goes_on_without_a_guest_who_does_not_read() {
    bounded(async {
        let mut server = Server::start("chat", &["127.0.0.1:0"]).await;
        let mut mute = TcpStream::connect(&*server.address).await.unwrap();
        // He is greeted before the others come: so he is number 1.
        mute.read_exact(&mut [0; "1 comes\n".len()]).await.unwrap();
        let mut talker = TcpStream::connect(&*server.address).await.unwrap();
        let mut hears = BufReader::new(talker.clone()).lines();
        assert_eq!(hears.next().await.unwrap().unwrap(), "2 comes");
        let listener = TcpStream::connect(&*server.address).await.unwrap();
        let mut listens = BufReader::new(listener).lines();
        for lines in [&mut hears, &mut listens] {
            assert_eq!(lines.next().await.unwrap().unwrap(), "3 comes");
        }

        let line = "x".repeat(64 * 1024);
        let talk = async {
            loop {
                talker.write_all(format!("{line}\n").as_bytes()).await.unwrap();
                for lines in [&mut hears, &mut listens] {
                    assert_eq!(lines.next().await.unwrap().unwrap(), format!("2: {line}"));
                }
            }
        };
        let told = async { server.line().await.unwrap() };
        assert_eq!(boucle::race((talk, told)).await, "1 is too slow");
        // His connection is gone, and what was on its way is all that he gets.
        let _reset = mute.read_to_end(&mut Vec::new()).await;
    });
}

#[test]
fn a_foreign_loop_waits_for_ours() {
    let output = Command::new(binary("foreign_loop")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = lines.lines().collect();
    // Keys and dish come on different ways; how late, the machine decides.
    lines.sort();
    assert_eq!(lines, ["host: key k", "host: key o", "task: SODA"]);
}
