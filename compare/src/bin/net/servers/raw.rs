//! The limit: a level-triggered epoll loop by hand. Per event one read and one write.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::atomic::Ordering::Relaxed,
};

use rustix::{
    event::epoll,
    io::{read, write},
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
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut buffer = [0; BUFFER];
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
                if streams.len() <= key as usize {
                    streams.resize_with(key as usize + 1, || None);
                }
                streams[key as usize] = Some(stream);
                ACCEPTED.fetch_add(1, Relaxed);
                continue;
            }
            let Some(stream) = &streams[key as usize] else { continue };
            // A peer that does not take back what it sent is let go, as is one that left.
            let echoed = match read(stream, &mut buffer) {
                Ok(0) => false,
                Ok(n) => write(stream, &buffer[..n]) == Ok(n),
                Err(error) => error == rustix::io::Errno::AGAIN,
            };
            if !echoed {
                streams[key as usize] = None;
            }
        }
    }
}
