//! Notice that results come as they are ready, two cooks at a time, and nobody cooks after closing.
//!
//! With `--virtual` the seconds are simulated.

use std::time::{Duration, Instant};

use boucle::{Loop, TaskSet, Waited, now, sleep, wait};

async fn cook(dish: &'static str, seconds: u64, start: Instant) -> &'static str {
    println!("{:2} s: {dish} starts", seconds_since(start));
    sleep(Duration::from_secs(seconds)).await;
    assert!(dish != "toast", "{dish} burnt");
    dish
}

fn seconds_since(start: Instant) -> u64 {
    (now() - start).as_secs()
}

async fn kitchen(start: Instant) {
    let mut set = TaskSet::with_limit(2);
    for (dish, seconds) in [("stew", 4), ("soup", 1), ("toast", 2), ("salad", 1), ("cake", 5)] {
        set.spawn_named(dish, cook(dish, seconds, start));
    }
    println!("{:?}", set.iter().map(|task| task.status()).collect::<Vec<_>>());

    // In the order in which they end.
    for _ in 0..3 {
        match set.join_next().await {
            Some(Ok(dish)) => println!("{:2} s: {dish} served", seconds_since(start)),
            Some(Err(error)) => println!("{:2} s: {error}", seconds_since(start)),
            None => println!("nothing left"),
        }
    }
    // In the order in which they came.
    println!("{set:?}");
    drop(set);
    println!("{:2} s: closed, and the cake is cancelled", seconds_since(start));
}

async fn race(start: Instant) {
    let tasks = [("tea", 3), ("coffee", 2), ("ice", 7)]
        .map(|(dish, seconds)| boucle::spawn(cook(dish, seconds, start)).named(dish));
    let Waited { done, pending, .. } = wait(tasks).first_done().await;
    println!("{done:?}");

    let Waited { done, pending, .. } = wait(pending).timeout(Duration::from_secs(2)).await;
    println!("{done:?}");
    for task in pending {
        task.cancel();
        println!("{task:?}");
    }
}

fn main() {
    let simulated = std::env::args().any(|arg| arg == "--virtual");
    let builder = Loop::builder();
    let l = if simulated { builder.virtual_time() } else { builder }.build();
    l.block_on(async {
        kitchen(now()).await;
        race(now()).await;
    });
}
