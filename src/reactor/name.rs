//! What a source is called in a report.

use std::{os::fd::RawFd, sync::Weak};

use crate::sys::Way;

/// What a source says of itself, for a report: `read on tcp 127.0.0.1:80 -> 127.0.0.1:1025`.
pub(crate) trait Describe {
    fn describe(&self, way: Way) -> String;
}

/// Who says that.
#[derive(Clone)]
pub(crate) enum Name {
    Fd(&'static str, RawFd),
    Of(Weak<dyn Describe + Send + Sync>),
}

impl Name {
    pub(super) fn describe(&self, way: Way) -> String {
        match self {
            Name::Fd(what, fd) => {
                let way = if way == Way::Read { "read" } else { "write" };
                format!("{way} on {what} (descriptor {fd})")
            }
            Name::Of(source) => match source.upgrade() {
                Some(source) => source.describe(way),
                None => "a socket that is being closed".into(),
            },
        }
    }
}
