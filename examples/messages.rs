//! Notice that two tasks that sleep at different paces interleave by time alone.
//!
//! With `--virtual` the seconds are simulated.

use std::time::Duration;

use boucle::{Loop, sleep};

async fn print_messages(messages: [&str; 3], pace: Duration) {
    for message in messages {
        println!("{message}");
        sleep(pace).await;
    }
}

fn main() {
    let simulated = std::env::args().any(|arg| arg == "--virtual");
    let builder = Loop::builder();
    let l = if simulated { builder.virtual_time() } else { builder }.build();
    // Detached: `run` ends with the last task, so nobody needs the handles.
    drop(l.spawn(print_messages(["foo", "bar", "baz"], Duration::from_millis(1000))));
    drop(l.spawn(print_messages(["aaa", "bbb", "ccc"], Duration::from_millis(700))));
    l.run();
}
