//! Notice that a task runs beside its parent from the moment it is spawned, and is awaited later.

use boucle::{JoinError, block_on, spawn, yield_now};

async fn subtask() -> &'static str {
    for i in 1..=5 {
        println!("subtask {i}");
        yield_now().await;
    }
    println!("subtask ends");
    "a result"
}

async fn example() -> Result<(), JoinError> {
    println!("example starts its subtask");
    let task = spawn(subtask());
    for i in 1..=3 {
        println!("example {i}");
        yield_now().await;
    }
    println!("example waits");
    let result = task.await?;
    println!("example ends with {result}");
    Ok(())
}

fn main() -> Result<(), JoinError> {
    block_on(example())
}
