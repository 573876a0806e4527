//! Notice that the kitchen's code is the same twice: only the way of waiting turns 8 s into 4 s.
//!
//! With `--virtual` the seconds are simulated, and the whole takes an instant.

use std::time::{Duration, Instant};

use boucle::{Loop, gather, now, sleep};

async fn prepare(product: &str, seconds: u64, start: Instant) {
    println!("{product} starts");
    sleep(Duration::from_secs(seconds)).await;
    println!("{product} ready ({} s)", seconds_since(start));
}

async fn burger(start: Instant) {
    prepare("burger", 3, start).await;
}

async fn fries(start: Instant) {
    prepare("fries", 4, start).await;
}

async fn soda(start: Instant) {
    prepare("soda", 1, start).await;
}

async fn serve_in_sequence() {
    let start = now();
    burger(start).await;
    fries(start).await;
    soda(start).await;
    println!("Client served in {} s", seconds_since(start));
}

async fn serve_together() {
    let start = now();
    gather((burger(start), fries(start), soda(start))).await;
    println!("Client served in {} s", seconds_since(start));
}

/// On the loop's clock, which may be a virtual one.
fn seconds_since(start: Instant) -> u64 {
    (now() - start).as_secs()
}

fn main() {
    let simulated = std::env::args().any(|arg| arg == "--virtual");
    let builder = Loop::builder();
    let l = if simulated { builder.virtual_time() } else { builder }.build();
    l.block_on(async {
        serve_in_sequence().await;
        serve_together().await;
    });
}
