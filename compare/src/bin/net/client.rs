//! The client: many connections, one thread, one level-triggered epoll.
//!
//! Each connection has one message on its way at any time: sent, awaited, compared, sent again. The
//! client never sleeps: to wake it would be charged to the server that answers, and how often that
//! comes about hangs on which of the two happens to be the faster one. It is as fast as the limit: who
//! waits for a slow client sleeps and wakes for each message. So its calls are inline, as there.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
    io::{Errno, read, write},
};

use crate::{Result, machine};

const MESSAGE: [u8; 64] = [0x42; 64];

/// A silent server is an error, not a hang.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    epoll: OwnedFd,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    /// How much of the awaited message has come back.
    received: usize,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Result<Client> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for n in 0..count {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let key = epoll::EventData::new_u64(n as u64);
            epoll::add(&epoll, &stream, key, epoll::EventFlags::IN)?;
            connections.push(Connection { stream, received: 0 });
        }
        Ok(Client { epoll, connections })
    }

    /// Makes `total` round trips over all connections together, at least one on each.
    pub(crate) fn round_trips(&mut self, total: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for connection in &mut self.connections {
            connection.send()?;
        }
        let mut sent = self.connections.len();
        let mut received = 0;
        let mut events = Vec::with_capacity(self.connections.len());
        while received < sent {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("{received} of {total} came back in {PATIENCE:?}").into());
            }
            wait(&self.epoll, &mut events, Some(Duration::ZERO))?;
            for event in events.drain(..) {
                let connection = &mut self.connections[event.data.u64() as usize];
                if connection.receive()? {
                    received += 1;
                    if sent < total {
                        connection.send()?;
                        sent += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Connection {
    #[inline(always)]
    fn send(&mut self) -> Result<()> {
        // An empty socket buffer has room for it.
        if write(&self.stream, &MESSAGE)? < MESSAGE.len() {
            return Err("a message was sent in parts".into());
        }
        Ok(())
    }

    /// True once the whole message has come back.
    #[inline(always)]
    fn receive(&mut self) -> Result<bool> {
        let mut buffer = [0; MESSAGE.len()];
        let awaited = &MESSAGE[self.received..];
        let n = match read(&self.stream, &mut buffer[..awaited.len()]) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(n) => n,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if buffer[..n] != awaited[..n] {
            return Err("the echo is not what was sent".into());
        }
        self.received = (self.received + n) % MESSAGE.len();
        Ok(self.received == 0)
    }
}

/// Waits for events, at most for `patience`. A signal may end the wait with none.
pub(crate) fn wait(
    epoll: &OwnedFd,
    events: &mut Vec<epoll::Event>,
    patience: Option<Duration>,
) -> Result<()> {
    let patience = patience.map(Timespec::try_from).transpose()?;
    match epoll::wait(epoll, spare_capacity(events), patience.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens connections, says so, and keeps them silent until stdin ends.
pub(crate) fn hold(address: SocketAddr, count: usize) -> Result<()> {
    machine::allow_many_files()?;
    let _client = Client::connect(address, count)?;
    println!("connected");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
