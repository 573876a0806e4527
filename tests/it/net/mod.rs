//! Sockets.

mod anything;
mod elsewhere;
mod faults;
mod hostile;
#[cfg(feature = "hyper")]
mod http;
mod own_process;
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod process;
mod streams;
mod tcp;
#[cfg(feature = "tokio-io")]
mod tokio;
mod turns;
mod udp;
mod unix;
mod users;
