//! Calls to the system.

use std::io;

use super::returns;

/// Calls the system; again if a signal came in between.
///
/// Inline, as `call` should be: what returns from the system returns no further before `refill`.
#[inline(always)]
pub(crate) fn call<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        #[cfg(test)]
        let result = super::fault::next().map_or_else(&mut call, Err);
        #[cfg(not(test))]
        let result = call();
        returns::refill();
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
