//! Ways to await many futures together. Those that are no part of a runtime run in boucle's
//! `block_on`, so that they differ in nothing else.

use std::hint::black_box;

use ::boucle::Loop;
use ::futures::stream::{FuturesUnordered, StreamExt};
use ::tokio::task::JoinSet;
use futures_concurrency::future::Join;

use super::Runtime;
use crate::{
    cases::Case,
    meter::Meter,
    workloads::{
        batches,
        parts::{YieldNow, yield_now},
    },
};

/// `size` futures to be awaited.
fn children(case: Case) -> Vec<YieldNow> {
    (0..case.size).map(|_| yield_now()).collect()
}

pub(super) fn gather(case: Case, meter: &Meter) -> Option<usize> {
    in_boucle(case, meter, async || black_box(::boucle::gather(children(case)).await).len())
}

pub(super) fn join_all(case: Case, meter: &Meter) -> Option<usize> {
    in_boucle(case, meter, async || {
        black_box(::futures::future::join_all(children(case)).await).len()
    })
}

pub(super) fn concurrency(case: Case, meter: &Meter) -> Option<usize> {
    in_boucle(case, meter, async || black_box(children(case).join().await).len())
}

pub(super) fn unordered(case: Case, meter: &Meter) -> Option<usize> {
    in_boucle(case, meter, async || {
        let mut set: FuturesUnordered<_> = (0..case.size).map(|_| yield_now()).collect();
        let mut ended = 0;
        while let Some(output) = set.next().await {
            black_box(output);
            ended += 1;
        }
        ended
    })
}

/// tokio's own; it spawns.
pub(super) fn join_set<R: Runtime>(case: Case, meter: &Meter) -> Option<usize> {
    on_runtime(&R::new(), case, meter, async |_| {
        let mut set = JoinSet::new();
        for _ in 0..case.size {
            set.spawn_local(yield_now());
        }
        set.join_all().await.len()
    })
}

/// Tasks, awaited one by one: what is left where a runtime has nothing of the kind.
pub(super) fn spawn<R: Runtime>(case: Case, meter: &Meter) -> Option<usize> {
    on_runtime(&R::new(), case, meter, async |rt: &R| {
        let tasks: Vec<_> = (0..case.size).map(|_| rt.spawn(yield_now())).collect();
        let size = tasks.len();
        for task in tasks {
            R::value(black_box(task.await));
        }
        size
    })
}

fn in_boucle(case: Case, meter: &Meter, once: impl AsyncFn() -> usize) -> Option<usize> {
    Some(Loop::new().block_on(measured(case, meter, once)))
}

fn on_runtime<R: Runtime>(
    rt: &R,
    case: Case,
    meter: &Meter,
    once: impl AsyncFn(&R) -> usize,
) -> Option<usize> {
    Some(rt.block_on(measured(case, meter, async || once(rt).await)))
}

async fn measured(case: Case, meter: &Meter, once: impl AsyncFn() -> usize) -> usize {
    assert_eq!(once().await, case.size, "all are awaited");
    meter.start();
    for _ in 0..batches(case) {
        black_box(once().await);
    }
    meter.stop();
    batches(case) * case.size
}
