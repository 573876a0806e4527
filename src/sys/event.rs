//! What a poller tells.

/// What has happened to a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) key: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// No read waits any more, or is known to when it is short: the other side has closed its end,
    /// all is over, or there is urgent data, which cuts reads short.
    pub(crate) read_ended: bool,
    /// All is over: no write waits any more.
    pub(crate) write_ended: bool,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
}

/// How many events one wait brings at most; the others come with the next.
pub(super) const EVENTS: usize = 1024;
