//! Addresses of Unix sockets.

use std::{ffi::OsString, io, os::unix::net::SocketAddr, path::PathBuf};

use socket2::SockAddr;

use crate::sys::Way;

/// What a path would be for this address: names that are no paths begin with a zero byte.
fn path(addr: &SocketAddr) -> Option<PathBuf> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        #[cfg(target_os = "android")]
        use std::os::android::net::SocketAddrExt;
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStringExt;
        if let Some(name) = addr.as_abstract_name() {
            return Some(OsString::from_vec([b"\0", name].concat()).into());
        }
    }
    addr.as_pathname().map(|path| OsString::from(path).into())
}

/// For the system.
pub(super) fn to_system(addr: &SocketAddr) -> io::Result<SockAddr> {
    SockAddr::unix(path(addr).unwrap_or_default())
}

/// For a report: what is done, on which socket, and who is at its other end.
pub(super) fn describe(
    way: [&'static str; 2],
    at: Way,
    local: io::Result<SocketAddr>,
    peer: io::Result<SocketAddr>,
) -> String {
    let way = way[usize::from(at == Way::Write)];
    match (local.ok().and_then(name), peer.ok().and_then(name)) {
        (Some(local), Some(peer)) => format!("{way} on unix {local} -> {peer}"),
        (Some(local), None) => format!("{way} on unix {local}"),
        (None, Some(peer)) => format!("{way} on unix -> {peer}"),
        (None, None) => format!("{way} on unix (unnamed)"),
    }
}

/// Names that are no paths are written with an `@`, as everywhere.
pub(super) fn name(addr: SocketAddr) -> Option<String> {
    let path = path(&addr)?;
    let text = path.to_string_lossy();
    Some(match text.strip_prefix('\0') {
        Some(name) => format!("@{}", name.replace('\0', "@")),
        None => text.into_owned(),
    })
}
