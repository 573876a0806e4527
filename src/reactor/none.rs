//! A loop without sockets: it sleeps as its thread does.

use std::time::Duration;

use crate::{bell::Bell, wakee::Wakee};

pub(crate) struct Reactor;

impl Reactor {
    pub(crate) fn new() -> Reactor {
        Reactor
    }

    pub(crate) fn is_new(&self) -> bool {
        true
    }

    pub(crate) fn is_awaited(&self) -> bool {
        false
    }

    pub(crate) fn look(&self) -> bool {
        false
    }

    pub(crate) fn pace(&self, _: i64) -> bool {
        false
    }

    pub(crate) fn park(&self, bell: &Bell, limit: Option<Duration>) -> bool {
        bell.park(limit);
        false
    }

    pub(crate) fn close(&self) {}

    pub(crate) fn each(&self, _: impl FnMut(&Wakee, String)) {}
}
