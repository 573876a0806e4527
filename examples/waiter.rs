//! Notice that a `Waiter`, a gate that opens once, is enough to order tasks and to build a mutex.

use std::{cell::RefCell, rc::Rc};

use boucle::{Waiter, block_on, gather, yield_now};

async fn wait_job(gate: &Waiter) {
    println!("start");
    gate.await;
    println!("finished");
}

async fn count_up_to(gate: &Waiter, n: u32) {
    for i in 0..n {
        println!("{i}");
        yield_now().await;
    }
    gate.set();
}

/// While somebody has the mutex, there is a gate for the others to wait at.
#[derive(Default)]
struct Mutex {
    gate: RefCell<Option<Rc<Waiter>>>,
}

struct Guard<'m>(&'m Mutex);

impl Mutex {
    async fn lock(&self) -> Guard<'_> {
        // Everybody at a gate is woken when it opens; all but the first find the next gate.
        while let Some(gate) = self.held() {
            (&*gate).await;
        }
        self.gate.replace(Some(Rc::new(Waiter::new(1))));
        Guard(self)
    }

    fn held(&self) -> Option<Rc<Waiter>> {
        self.gate.borrow().clone()
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0.gate.take() {
            gate.set();
        }
    }
}

async fn talk(name: &str, microphone: &Mutex) {
    let _guard = microphone.lock().await;
    for word in ["takes the microphone", "speaks", "hands it on"] {
        println!("{name} {word}");
        yield_now().await;
    }
}

fn main() {
    let gate = Waiter::new(1);
    block_on(gather((wait_job(&gate), count_up_to(&gate, 10))));

    let microphone = Mutex::default();
    block_on(gather(["Anne", "Bruno", "Chloe"].map(|name| talk(name, &microphone))));
}
