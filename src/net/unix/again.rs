//! Operations that are refused without anybody telling when they would not be.
//!
//! The system says `EAGAIN` to whoever connects to a listener that has enough to do, or sends a
//! datagram to somebody who does not keep up, and no event comes when that has passed. So they are
//! tried again after a pause. That says nothing of the socket: its side stays as ready as it was, for
//! those who use it otherwise.

use std::{
    io,
    os::{fd::AsFd, unix::net},
    time::Duration,
};

use futures_lite::future::or;

use crate::{
    io::{Source, plain},
    sys::{self, Way},
    time::sleep,
    turn::with_core,
};

const PAUSE: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

/// Does `op` until it is not refused.
pub(super) async fn again<R, T: AsFd>(
    source: &Source<T>,
    mut op: impl FnMut(&T) -> io::Result<R>,
) -> io::Result<R> {
    let mut pause = PAUSE;
    loop {
        let tried = source.op(Way::Write, |io| match op(io) {
            Err(error) if is_refused(&error) => Ok(plain(Err(error))),
            result => result.map(|value| plain(Ok(value))),
        });
        let refused = match tried.await? {
            Ok(value) => return Ok(value),
            Err(refused) => refused,
        };
        match with_core(|core| core.is_simulated()) {
            // Where no loop runs there are no timers: then it is for the caller to pause.
            None => return Err(refused),
            Some(false) => sleep(pause).await,
            Some(true) => {
                // A virtual clock does not run ahead while a socket is waited for: this one, to which
                // nobody sends.
                let quiet = sys::call(net::UnixDatagram::unbound)?;
                attend(&Source::new(quiet, "UnixDatagram::send_to", "unix")?, pause).await?;
            }
        }
        pause = LONGEST.min(pause * 2);
    }
}

/// As [`again`], after `op` was refused, with a socket that nobody else uses: that it is waited for
/// shows in reports, and keeps a virtual clock from running ahead.
pub(super) async fn again_alone<R, T: AsFd>(
    source: &Source<T>,
    mut op: impl FnMut(&T) -> io::Result<R>,
) -> io::Result<R> {
    let mut pause = PAUSE;
    loop {
        if cfg!(any(boucle_oneshot, target_os = "illumos", target_os = "solaris")) {
            // Where each event is asked for, what is not connected is called over each time: then one
            // waits for a socket to which nobody sends.
            let quiet = sys::call(net::UnixDatagram::unbound)?;
            attend(&Source::new(quiet, "UnixStream::connect", "unix")?, pause).await?;
        } else {
            attend(source, pause).await?;
        }
        match sys::call(|| op(source.get())) {
            Err(error) if is_refused(&error) => pause = LONGEST.min(pause * 2),
            result => return result,
        }
    }
}

/// Pauses, and waits for events, which do not matter.
async fn attend<T: AsFd>(source: &Source<T>, pause: Duration) -> io::Result<()> {
    let wait = source.op(Way::Read, |_| Err(io::ErrorKind::WouldBlock.into()));
    let rest = async {
        sleep(pause).await;
        Ok(())
    };
    or(wait, rest).await
}

pub(super) fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
