//! Notice who speaks when: tasks take turns, sleepers wake by deadline, results keep their order.
//!
//! With `--virtual` the seconds are simulated.

use std::time::Duration;

use boucle::{Loop, gather, sleep, spawn, wait, yield_now};

async fn repeat(word: &str, times: u32) {
    println!("I say {word} {times} times");
    for _ in 0..times {
        println!("{word}");
        yield_now().await;
    }
}

async fn sleep_test(seconds: u64, word: &str) {
    sleep(Duration::from_secs(seconds)).await;
    println!("{word}");
}

async fn square(n: u64) -> u64 {
    // The greater numbers are done first.
    sleep(Duration::from_secs(10 - n)).await;
    println!("{n} squared");
    n * n
}

async fn cook(dish: &str, seconds: u64) -> String {
    sleep(Duration::from_secs(seconds)).await;
    assert!(seconds < 5, "{dish} burnt");
    format!("a plate of {dish}")
}

async fn dinner() {
    let (done, failed) =
        wait([spawn(repeat("spam", 10)), spawn(repeat("eggs", 3)), spawn(repeat("bacon", 5))])
            .await;
    println!("{} done, {} failed", done.len(), failed.len());

    // Boxed futures become tasks in the call.
    let tests = [(3, "trois"), (1, "un"), (2, "deux")];
    let (done, failed) = wait(tests.map(|(n, word)| Box::pin(sleep_test(n, word)))).await;
    println!("{} done, {} failed", done.len(), failed.len());

    println!("{:?}", gather([3, 1, 2].map(square)).await);

    // A panic stays in its task. Its message also goes to stderr, as for any panic.
    let (done, failed) = wait([spawn(cook("fries", 4)), spawn(cook("toast", 9))]).await;
    println!("{done:?}");
    for task in &failed {
        if let Some(Err(error)) = task.result() {
            println!("{error}");
        }
    }
}

fn main() {
    let simulated = std::env::args().any(|arg| arg == "--virtual");
    let builder = Loop::builder();
    let l = if simulated { builder.virtual_time() } else { builder }.build();
    l.block_on(dinner());
}
