//! Sockets.

mod tcp;
mod turns;
