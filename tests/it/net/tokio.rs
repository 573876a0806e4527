//! tokio's traits, for crates that ask for them.

use super::streams::{narrow, pattern, run};
use boucle::{
    net::{TcpListener, TcpStream, UnixStream},
    spawn,
};
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf,
    copy_bidirectional, split,
};

async fn tcp() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    Ok((client, listener.accept().await?.0))
}

/// What a crate may do that knows tokio's traits alone.
async fn talk<A, B>(mut a: A, mut b: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin + 'static,
    B: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let all = pattern(300_000);
    let sent = all.clone();
    let writer = spawn(async move {
        a.write_all(&sent).await?;
        assert!(a.is_write_vectored());
        let (parts, mut wrote) = ([IoSlice::new(b"so"), IoSlice::new(b"da\n")], 0);
        wrote += a.write_vectored(&parts).await?;
        a.write_all(&b"soda\n"[wrote..]).await?;
        a.flush().await?;
        a.shutdown().await?;
        let mut answer = String::new();
        a.read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    });
    let mut got = vec![0; all.len()];
    b.read_exact(&mut got).await?;
    assert!(got == all);
    let (reads, mut writes) = split(b);
    let mut lines = BufReader::new(reads).lines();
    assert_eq!(lines.next_line().await?.as_deref(), Some("soda"));
    assert_eq!(lines.next_line().await?, None);
    writes.write_all(b"ok").await?;
    writes.shutdown().await?;
    assert_eq!(writer.await.unwrap()?, "ok");
    Ok(())
}

#[test]
fn streams_are_those_of_tokio_too() {
    run(async {
        let (a, b) = tcp().await?;
        narrow(&a);
        narrow(&b);
        talk(a, b).await?;
        let (a, b) = UnixStream::pair()?;
        talk(a, b).await
    });
}

#[test]
fn halves_are_those_of_tokio_too() {
    run(async {
        let (a, b) = tcp().await?;
        let (mut a, mut b) = (a.into_split(), b.into_split());
        assert!(a.1.is_write_vectored());
        a.1.write_all(b"so").await?;
        let parts = [IoSlice::new(b"d"), IoSlice::new(b"a")];
        assert_eq!(a.1.write_vectored(&parts).await?, 2);
        a.1.flush().await?;
        a.1.shutdown().await?;
        let mut text = String::new();
        b.0.read_to_string(&mut text).await?;
        assert_eq!(text, "soda");
        let (unix, mut far) = UnixStream::pair()?;
        let (mut near, mut writes) = unix.into_split();
        writes.write_all(b"soda").await?;
        far.write_all(b"coffee").await?;
        drop(writes);
        AsyncWriteExt::shutdown(&mut far).await?;
        text.clear();
        near.read_to_string(&mut text).await?;
        far.read_to_string(&mut text).await?;
        assert_eq!(text, "coffeesoda");
        Ok(())
    });
}

#[test]
fn a_proxy_copies_both_ways() {
    run(async {
        let (mut client, mut near) = tcp().await?;
        let (mut far, mut server) = UnixStream::pair()?;
        let proxy = spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        client.write_all(b"soda").await?;
        AsyncWriteExt::shutdown(&mut client).await?;
        let mut text = String::new();
        server.read_to_string(&mut text).await?;
        server.write_all(b"coming").await?;
        drop(server);
        client.read_to_string(&mut text).await?;
        assert_eq!(text, "sodacoming");
        assert_eq!(proxy.await.unwrap()?, (4, 6));
        Ok(())
    });
}

#[test]
fn what_is_read_goes_behind_what_is_there() {
    run(async {
        let (mut a, mut b) = UnixStream::pair()?;
        a.write_all(b"soda").await?;
        let mut memory = [MaybeUninit::uninit(); 6];
        let mut buf = ReadBuf::uninit(&mut memory);
        buf.put_slice(b"one ");
        for expected in [b"one so", b"one da"] {
            poll_fn(|cx| Pin::new(&mut b).poll_read(cx, &mut buf)).await?;
            assert_eq!(buf.filled(), expected);
            buf.set_filled(4);
        }
        Ok(())
    });
}
