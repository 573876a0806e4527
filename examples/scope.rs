//! Notice that children borrow the counter's locals, that the scope waits for all of them, and that
//! the first error lets nobody run on.

use std::{cell::Cell, time::Duration};

use boucle::{Loop, scope, sleep, try_scope};

struct Order<'a> {
    dish: &'a str,
    seconds: u64,
}

async fn cook(order: &Order<'_>, served: &Cell<u32>) {
    println!("  {} starts", order.dish);
    sleep(Duration::from_secs(order.seconds)).await;
    served.set(served.get() + 1);
    println!("  {} is dish number {}", order.dish, served.get());
}

async fn fry(pan: &str, seconds: u64) -> Result<(), String> {
    struct Clean<'p>(&'p str);

    impl Drop for Clean<'_> {
        fn drop(&mut self) {
            println!("  {} is cleaned", self.0);
        }
    }

    let _clean = Clean(pan);
    sleep(Duration::from_secs(seconds)).await;
    if pan == "the old pan" { Err(format!("{pan} burns")) } else { Ok(()) }
}

async fn counter() {
    let menu = String::from("burger fries soda");
    let served = Cell::new(0);
    println!("A scope waits for its children:");
    let words = scope(async |s| {
        let orders = menu.split(' ').zip([3, 2, 1]).map(|(dish, seconds)| Order { dish, seconds });
        for order in orders {
            let served = &served;
            s.spawn(async move { cook(&order, served).await });
        }
        "the body is done first"
    })
    .await;
    println!("  {words}, and yet {} dishes are served", served.get());

    println!("One error ends them all:");
    let error = try_scope(async |s| {
        s.spawn(fry("the new pan", 9));
        s.spawn(fry("the old pan", 1));
        sleep(Duration::from_secs(60)).await;
        println!("  nobody gets here");
        Ok(())
    });
    println!("  {}", error.await.unwrap_err());
}

fn main() {
    let l = match std::env::args().any(|arg| arg == "--virtual") {
        true => Loop::builder().virtual_time().build(),
        false => Loop::new(),
    };
    l.block_on(counter());
}
