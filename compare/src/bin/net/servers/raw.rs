//! The limit: a level-triggered epoll loop by hand. Per event one read and one write, both inline: on
//! some machines a return after a call to the system makes the next one dearer by a fifth.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    os::fd::AsRawFd,
    sync::atomic::Ordering::Relaxed,
};

use rustix::{
    event::epoll,
    io::{Errno, read, write},
};

use super::{ACCEPTED, ADDRESS, BUFFER};
use crate::client::wait;

pub(super) fn serve(ready: impl FnOnce(SocketAddr) -> io::Result<()>) -> crate::Result<()> {
    let listener = TcpListener::bind(ADDRESS)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let key_of = |socket: &dyn AsRawFd| socket.as_raw_fd() as u64;
    let door = key_of(&listener);
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(door), epoll::EventFlags::IN)?;
    ready(listener.local_addr()?)?;

    // By file descriptor: the kernel gives the smallest that is free.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    loop {
        wait(&epoll, &mut events, None)?;
        for event in events.drain(..) {
            let key = event.data.u64();
            if key == door {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let key = key_of(&stream);
                let data = epoll::EventData::new_u64(key);
                epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
                if connections.len() <= key as usize {
                    connections.resize_with(key as usize + 1, || None);
                }
                connections[key as usize] = Some(Connection::new(stream));
                ACCEPTED.fetch_add(1, Relaxed);
                continue;
            }
            let Some(connection) = &mut connections[key as usize] else { continue };
            let stuck = connection.is_stuck();
            let goes_on = connection.echo();
            if !goes_on {
                connections[key as usize] = None;
            } else if connection.is_stuck() != stuck {
                let way = if stuck { epoll::EventFlags::IN } else { epoll::EventFlags::OUT };
                let data = epoll::EventData::new_u64(key);
                epoll::modify(&epoll, &connection.stream, data, way)?;
            }
        }
    }
}

/// A connection has a buffer of its own: the peer may be slow to take back what it sent.
struct Connection {
    stream: TcpStream,
    buffer: Box<[u8; BUFFER]>,
    /// What of the buffer was read and is not written yet.
    unsent: Range<usize>,
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        Connection { stream, buffer: Box::new([0; BUFFER]), unsent: 0..0 }
    }

    /// The peer takes nothing at the moment.
    fn is_stuck(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// One step; false at the end.
    #[inline(always)]
    fn echo(&mut self) -> bool {
        if !self.is_stuck() {
            match read(&self.stream, &mut self.buffer[..]) {
                Ok(0) => return false,
                Ok(n) => self.unsent = 0..n,
                Err(error) => return error == Errno::AGAIN,
            }
        }
        match write(&self.stream, &self.buffer[self.unsent.clone()]) {
            Ok(n) => self.unsent.start += n,
            Err(error) => return error == Errno::AGAIN,
        }
        true
    }
}
