//! Notice that the report names both cooks and both pans, though a timer of somebody else runs.
//!
//! With `--dot` it is a graph: `cargo run --example why_it_hangs -- --dot | dot -Tsvg > why.svg`.
//! With `--virtual` the seconds are simulated.

use std::{rc::Rc, time::Duration};

use boucle::{Loop, Reaction, Stalled, sleep, spawn, sync::Mutex};

/// Takes the pans in the order in which the recipe asks for them.
async fn cook(first: Rc<Mutex<()>>, second: Rc<Mutex<()>>) {
    let _first = first.lock().await;
    sleep(Duration::from_secs(1)).await; // until the butter is brown
    let _second = second.lock().await;
}

/// Looks at the kitchen once a second, and sees who can never go on, while everything still moves.
async fn clock(seconds: u32) {
    for _ in 0..seconds {
        sleep(Duration::from_secs(1)).await;
        let stuck = boucle::snapshot().stuck().len();
        if !is_asked("--dot") {
            println!("tick: {stuck} stuck");
        }
    }
}

fn is_asked(flag: &str) -> bool {
    std::env::args().any(|arg| arg == flag)
}

async fn kitchen() {
    let small = Rc::new(Mutex::new(()).named("small pan"));
    let big = Rc::new(Mutex::new(()).named("big pan"));
    let clock = spawn(clock(3)).named("clock");
    let anna = spawn(cook(small.clone(), big.clone())).named("anna");
    let bruno = spawn(cook(big, small)).named("bruno");
    clock.await.expect("it ticks");
    // Nothing else runs now: nobody can ever wake a cook, and boucle can tell.
    for cook in [anna, bruno] {
        cook.await.expect("the dish is served");
    }
}

fn main() {
    // The circle would be told on stderr as soon as it closes; here the end is to be seen.
    let builder = Loop::builder().on_cycle(Reaction::Ignore);
    let l = if is_asked("--virtual") { builder.virtual_time() } else { builder }.build();
    let stalled: Stalled = l.try_block_on(kitchen()).expect_err("the cooks wait for each other");
    if is_asked("--dot") {
        print!("{}", stalled.snapshot().to_dot());
    } else {
        println!("{stalled}");
    }
}
