//! The bare limit: boxed futures polled by hand with a waker that does nothing.

// Each bench uses a part of it.
#![allow(dead_code)]

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// Short measurements, so that a whole `cargo bench` takes a few minutes.
pub(crate) fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
}

/// The benches that follow in this group do `ops` operations an iteration: `thrpt` is the figure
/// to compare.
pub(crate) fn of(group: &mut BenchmarkGroup<'_, WallTime>, ops: usize) {
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(ops as u64));
}

/// Polls the futures in turn, `polls` times or until all are done.
pub(crate) fn round_robin<T>(queue: &mut VecDeque<Boxed<T>>, polls: usize) {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        let Some(mut future) = queue.pop_front() else { return };
        if future.as_mut().poll(&mut cx).is_pending() {
            queue.push_back(future);
        }
    }
}
