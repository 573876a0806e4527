//! Notice that a task does nothing until a loop takes a step, and what its `Debug` says meanwhile.

use boucle::{JoinHandle, Loop, yield_now};

async fn tic_tac() -> &'static str {
    println!("Tic");
    yield_now().await;
    println!("Tac");
    yield_now().await;
    "Boum!"
}

async fn spam() -> &'static str {
    println!("spam");
    yield_now().await;
    println!("eggs");
    yield_now().await;
    println!("bacon");
    yield_now().await;
    "spam"
}

/// One task, one step at a time.
fn by_hand(l: &Loop) {
    let task = l.spawn(tic_tac());
    println!("{task:?}");
    while l.step() {
        println!("{task:?}");
    }
}

/// Several tasks until all have ended; each is printed when it does.
fn until_empty<T: std::fmt::Debug>(l: &Loop, mut tasks: Vec<JoinHandle<T>>) {
    while l.step() {
        tasks.retain(|task| {
            if task.is_finished() {
                println!("{task:?}");
            }
            !task.is_finished()
        });
    }
}

fn main() {
    let l = Loop::new();
    by_hand(&l);
    until_empty(&l, vec![l.spawn(tic_tac()), l.spawn(spam())]);
}
