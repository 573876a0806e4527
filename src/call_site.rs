//! Where a call is written, for reports: known in builds with debug assertions. Others keep nothing
//! of it, since it would cost each sleep and each join a tenth of what they do.

use std::panic::Location;

#[derive(Clone, Copy)]
pub(crate) struct CallSite {
    #[cfg(debug_assertions)]
    at: &'static Location<'static>,
}

impl CallSite {
    #[inline(always)]
    #[track_caller]
    pub(crate) fn caller() -> CallSite {
        CallSite::of(Location::caller())
    }

    #[inline(always)]
    pub(crate) fn of(_at: &'static Location<'static>) -> CallSite {
        CallSite {
            #[cfg(debug_assertions)]
            at: _at,
        }
    }

    pub(crate) fn location(self) -> Option<&'static Location<'static>> {
        #[cfg(debug_assertions)]
        return Some(self.at);
        #[cfg(not(debug_assertions))]
        return None;
    }
}
