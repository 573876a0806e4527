//! A loop that has nothing to do: made and dropped, and made for a future that is ready at once.
//! Notice: the second and later loops of a thread, and their only task, ask for no memory.

// criterion's macro makes a public function without a word about it.
#![allow(missing_docs)]

mod limit;

use std::hint::black_box;

use boucle::Loop;
use criterion::{Criterion, criterion_group, criterion_main};

fn block_on_ready(c: &mut Criterion) {
    let mut group = c.benchmark_group("block_on_ready");
    group.bench_function("boucle", |b| {
        b.iter(|| boucle::block_on(async { black_box(1) }));
    });
    group.bench_function("pollster_0.4", |b| {
        b.iter(|| pollster::block_on(async { black_box(1) }));
    });
    group.bench_function("futures_lite", |b| {
        b.iter(|| futures_lite::future::block_on(async { black_box(1) }));
    });
    // What it costs to be one of several on a loop that is there.
    group.bench_function("boucle_kept_loop", |b| {
        let l = Loop::new();
        b.iter(|| l.block_on(async { black_box(1) }));
    });
}

fn new_drop(c: &mut Criterion) {
    let mut group = c.benchmark_group("loop_new_drop");
    group.bench_function("boucle", |b| b.iter(Loop::new));
    group.bench_function("boucle_two", |b| b.iter(|| [Loop::new(), Loop::new()]));
    group.bench_function("limit", |b| {
        b.iter(|| Box::new(std::mem::MaybeUninit::<[u64; 133]>::uninit()));
    });
}

criterion_group!(name = benches; config = limit::short(); targets = block_on_ready, new_drop);
criterion_main!(benches);
