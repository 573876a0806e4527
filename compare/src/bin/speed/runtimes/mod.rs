//! The runtimes, one small file each, all behind the same few verbs, so that the workloads are
//! written once and nobody gets a better variant.

mod boucle;
mod compio;
mod futures;
mod gatherers;
mod limit;
mod monoio;
mod small;
mod smol;
mod tokio_local_runtime;
mod tokio_local_set;
mod zruntime;

use std::time::Duration;

use crate::{
    cases::Case,
    meter::Meter,
    workloads::{block_on, tasks, timers},
};

/// Who is measured, and how. `run` is none where something is missing, else it says how many
/// operations the meter has seen.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Case, &Meter) -> Option<usize>,
    /// Holds a million idle tasks; see the module `resident`.
    pub(crate) idle: Option<fn()>,
}

/// A runtime with its drivers for timers and sockets on, where it has them; a handle to it.
pub(crate) trait Runtime: Clone + 'static {
    type Joined<T>;
    type Handle<T: 'static>: Future<Output = Self::Joined<T>> + 'static;

    fn new() -> Self;
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Inside `block_on` only.
    fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> Self::Handle<F::Output>;
    fn value<T>(joined: Self::Joined<T>) -> T;
    fn detach<F: Future<Output = ()> + 'static>(&self, future: F);
}

pub(crate) trait Timers: Runtime {
    fn sleep(&self, duration: Duration) -> impl Future<Output: 'static> + 'static;
    fn timeout<F: Future + 'static>(&self, duration: Duration, future: F) -> impl Future;
}

const fn without_timers<R: Runtime>(name: &'static str) -> Subject {
    Subject { name, run: tasks::<R>, idle: Some(crate::resident::idle::<R>) }
}

const fn with_timers<R: Timers>(name: &'static str) -> Subject {
    let run = |case, meter: &Meter| tasks::<R>(case, meter).or_else(|| timers::<R>(case, meter));
    Subject { name, run, idle: Some(crate::resident::idle::<R>) }
}

const fn blocker<R: Runtime>(name: &'static str) -> Subject {
    Subject { name, run: block_on::<R>, idle: None }
}

const fn only(name: &'static str, run: fn(Case, &Meter) -> Option<usize>) -> Subject {
    Subject { name, run, idle: None }
}

/// The first is the limit, the second is us, the others are the peers; in every list. A runtime has
/// the same place in all, so that it has the same colour.
pub(crate) const RUNTIMES: &[Subject] = &[
    Subject { name: "limit", run: limit::tasks, idle: Some(limit::idle) },
    with_timers::<boucle::Boucle>("boucle"),
    with_timers::<tokio_local_set::Tokio>("tokio LocalSet"),
    with_timers::<tokio_local_runtime::Tokio>("tokio LocalRuntime"),
    with_timers::<smol::Smol>("smol"),
    without_timers::<futures::Futures>("futures LocalPool"),
    with_timers::<monoio::Monoio>("monoio"),
    with_timers::<compio::Compio>("compio"),
    with_timers::<zruntime::Zruntime>("zruntime"),
];

pub(crate) const GATHERERS: &[Subject] = &[
    only("limit", limit::gather),
    only("boucle gather", gatherers::gather),
    only("join_all", gatherers::join_all),
    only("FuturesUnordered", gatherers::unordered),
    only("futures-concurrency", gatherers::concurrency),
    only("JoinSet, LocalSet", gatherers::join_set::<tokio_local_set::Tokio>),
    only("JoinSet, LocalRuntime", gatherers::join_set::<tokio_local_runtime::Tokio>),
    only("monoio spawn", gatherers::spawn::<monoio::Monoio>),
    only("compio spawn", gatherers::spawn::<compio::Compio>),
];

pub(crate) const BLOCKERS: &[Subject] = &[
    only("limit", limit::block_on),
    blocker::<boucle::Boucle>("boucle"),
    blocker::<tokio_local_set::Tokio>("tokio LocalSet"),
    blocker::<tokio_local_runtime::Tokio>("tokio LocalRuntime"),
    blocker::<smol::Smol>("smol"),
    blocker::<futures::Futures>("futures LocalPool"),
    blocker::<monoio::Monoio>("monoio"),
    blocker::<compio::Compio>("compio"),
    blocker::<zruntime::Zruntime>("zruntime"),
    only("pollster", small::pollster),
    only("futures-lite", small::futures_lite),
];
