//! Sockets.

mod faults;
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod process;
mod tcp;
mod turns;
mod users;
