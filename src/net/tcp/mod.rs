//! TCP.

mod listener;
mod stream;

pub use self::{
    listener::{Incoming, TcpListener},
    stream::TcpStream,
};
