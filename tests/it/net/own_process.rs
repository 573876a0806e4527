//! What concerns the whole process: signals and descriptors.

use super::streams::run;
use crate::support::subprocess;
use boucle::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixStream};
use futures_lite::AsyncWriteExt;
use std::{
    collections::BTreeSet,
    io::{self, ErrorKind, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

async fn tcp() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    Ok((client, listener.accept().await?.0))
}

#[test]
fn t80_a_peer_that_has_gone_is_an_error_and_no_signal() {
    if let Some(ended) =
        subprocess("net::own_process::t80_a_peer_that_has_gone_is_an_error_and_no_signal")
    {
        assert!(ended.status.success(), "{}", ended.stderr);
        return;
    }
    // Rust programs ignore it from the start; one that does not must not be hit by it.
    let hit = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, hit.clone()).unwrap();
    run(async {
        let mut kinds = Vec::new();
        let (a, b) = tcp().await?;
        drop(b);
        // The first one makes the peer answer that it has gone.
        let _ = (&a).write(b"x").await;
        let bufs = [IoSlice::new(b"so"), IoSlice::new(b"da")];
        for _ in 0..2 {
            kinds.push((&a).write(b"x").await.unwrap_err().kind());
            kinds.push((&a).write_vectored(&bufs).await.unwrap_err().kind());
        }
        assert!(
            kinds
                .iter()
                .all(|kind| { matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) })
        );
        let (mut a, b) = UnixStream::pair()?;
        drop(b);
        assert_eq!(a.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(a.write_vectored(&bufs).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (_, mut writer) = a.into_split();
        assert_eq!(writer.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (a, b) = UnixDatagram::pair()?;
        b.shutdown(std::net::Shutdown::Read)?;
        assert_eq!(a.send(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        Ok(())
    });
    assert!(!hit.load(Ordering::SeqCst));
    // It would have been heard.
    let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(b);
    assert!(rustix::io::write(&a, b"x").is_err());
    assert!(hit.load(Ordering::SeqCst));
}

#[test]
#[cfg(target_os = "linux")]
fn t76_no_descriptor_is_inherited() {
    const NAME: &str = "net::own_process::t76_no_descriptor_is_inherited";
    if let Some(ended) = subprocess(NAME) {
        assert!(ended.status.success(), "{}", ended.stderr);
        return;
    }
    fn descriptors() -> BTreeSet<String> {
        let all = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
    let before = descriptors();
    run(async {
        let (path, other) = (name("listener"), name("datagram"));
        let unix = boucle::net::UnixListener::bind(&path)?;
        let all = (
            tcp().await?,
            UdpSocket::bind("127.0.0.1:0").await?,
            UnixStream::connect(&path).await?,
            unix.accept().await?,
            UnixStream::pair()?,
            (UnixDatagram::bind(&other)?, UnixDatagram::unbound()?, UnixDatagram::pair()?),
            std::net::TcpStream::try_from({
                let (a, _) = tcp().await?;
                let _shared = a.clone();
                a
            })?,
        );
        // A loop makes a timer when it sleeps with sockets.
        let (waits, _peer) = UnixStream::pair()?;
        let wait = boucle::timeout(Duration::from_millis(1), async {
            futures_lite::AsyncReadExt::read(&mut &waits, &mut [0]).await
        });
        assert!(wait.await.is_err());
        let made: Vec<_> = descriptors().difference(&before).cloned().collect();
        // The loop's own ones are there too.
        assert!(made.len() >= 17, "{made:?}");
        for fd in made {
            // The one of the directory that was read has gone.
            let Ok(info) = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")) else {
                continue;
            };
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
            assert!(flags & 0o2_000_000 != 0, "descriptor {fd}: {info}");
        }
        drop((all, std::fs::remove_file(path), std::fs::remove_file(other)));
        Ok(())
    });
}

#[cfg(target_os = "linux")]
fn name(what: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("boucle-{what}-{}", std::process::id()))
}
