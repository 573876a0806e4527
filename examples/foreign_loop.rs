//! Notice that the outer loop is not ours: it waits in `poll(2)` for descriptors, and boucle is one
//! of them. No helper thread, no callback: a descriptor to wait for, and a time to wait until.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use boucle::{
    Loop,
    net::{TcpListener, TcpStream},
    sleep, spawn,
};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

async fn serve(listener: TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut order = String::new();
    stream.read_to_string(&mut order).await?;
    sleep(Duration::from_millis(20)).await;
    stream.write_all(order.to_uppercase().as_bytes()).await
}

/// Orders something over the network, and presses keys in the host's window meanwhile.
async fn dine(mut keyboard: UnixStream) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut stream = TcpStream::connect(listener.local_addr()?).await?;
    let server = spawn(serve(listener));
    stream.write_all(b"soda").await?;
    stream.close().await?;
    keyboard.write_all(b"o")?;
    sleep(Duration::from_millis(10)).await;
    keyboard.write_all(b"k")?;
    let mut dish = String::new();
    stream.read_to_string(&mut dish).await?;
    println!("task: {dish}");
    server.await.map_err(io::Error::other)?
}

fn main() -> io::Result<()> {
    let (mut window, keyboard) = UnixStream::pair()?;
    let l = Loop::new();
    let task = l.spawn(dine(keyboard));
    // Makes its sockets and timers, for which the host then waits.
    l.run_until_stalled();
    loop {
        let left = l.next_deadline().map(|at| at.saturating_duration_since(l.now()));
        // A duration too long for the system means for ever.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut ready = [PollFd::new(&window, PollFlags::IN), PollFd::new(&l, PollFlags::IN)];
        poll(&mut ready, left.as_ref())?;
        if !ready[0].revents().is_empty() {
            let mut key = [0];
            match window.read(&mut key)? {
                // The task has ended, and hung up.
                0 => break,
                _ => println!("host: key {}", char::from(key[0])),
            }
        }
        // Cheap if nothing has happened; and a timer may be due.
        l.run_until_stalled();
    }
    l.block_on(task).map_err(io::Error::other)?
}
