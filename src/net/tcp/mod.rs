//! TCP.

mod halves;
mod listener;
mod stream;

pub use self::{
    halves::{OwnedReadHalf, OwnedWriteHalf, ReuniteError},
    listener::{Incoming, TcpListener},
    stream::TcpStream,
};
