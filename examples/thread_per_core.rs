//! Notice that a kitchen's plates never leave its thread: only orders and dishes cross.
//!
//! One loop per core, each on a thread of its own. With `--virtual` the seconds are simulated.

use std::{
    cell::Cell, collections::HashSet, future::pending, pin::Pin, rc::Rc, sync::Arc, sync::mpsc,
    thread, time::Duration,
};

use boucle::{Loop, Remote, gather, sleep};

thread_local! {
    /// What the tasks of a kitchen share.
    static WASHED: Rc<Cell<u32>> = Rc::default();
}

/// Opens a kitchen, which closes when its last remote is gone; returns how many plates it washed.
fn open(simulated: bool) -> (Remote, thread::JoinHandle<u32>) {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let builder = Loop::builder();
        let l = if simulated { builder.virtual_time() } else { builder }.build();
        tell.send(l.remote()).expect("somebody has asked for it");
        // It never ends by itself; it is over once nobody can send anything any more.
        assert!(l.try_block_on(pending::<()>()).is_err());
        WASHED.with(|washed| washed.get())
    });
    (told.recv().expect("the kitchen opens"), thread)
}

async fn cook(dish: &'static str, millis: u64) -> String {
    let plates = WASHED.with(Rc::clone);
    sleep(Duration::from_millis(millis)).await;
    plates.set(plates.get() + 1);
    format!("{dish}, cooked for {millis} ms")
}

type Round = Pin<Box<dyn Future<Output = Vec<thread::ThreadId>>>>;

/// Signs the guest book and hands it on to the next kitchen, until it has been in all of them.
fn sign(mut book: Vec<thread::ThreadId>, kitchens: Arc<[Remote]>) -> Round {
    Box::pin(async move {
        book.push(thread::current().id());
        match kitchens.get(book.len()).cloned() {
            Some(next) => next.spawn(|| sign(book, kitchens)).await.expect("nobody drops a plate"),
            None => book,
        }
    })
}

fn main() {
    let simulated = std::env::args().any(|arg| arg == "--virtual");
    let cores = thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let (kitchens, threads): (Vec<_>, Vec<_>) = (0..cores).map(|_| open(simulated)).unzip();
    let kitchens: Arc<[Remote]> = kitchens.into();

    boucle::block_on(async {
        let menu =
            [("burger", 300), ("fries", 400), ("soda", 100), ("salad", 200), ("coffee", 100)];
        let order =
            |((dish, millis), kitchen): (_, &Remote)| kitchen.spawn(move || cook(dish, millis));
        let orders: Vec<_> = menu.into_iter().zip(kitchens.iter().cycle()).map(order).collect();
        // In the order of the menu, whichever kitchen is first.
        for dish in gather(orders).await {
            println!("{}", dish.expect("nobody drops a plate"));
        }
        let book = kitchens[0].spawn({
            let kitchens = kitchens.clone();
            || sign(Vec::new(), kitchens)
        });
        let book = book.await.expect("nobody drops a plate");
        let different: HashSet<_> = book.iter().collect();
        assert_eq!((book.len(), different.len()), (cores, cores));
        println!("every kitchen has signed, each on its own thread");
    });

    drop(kitchens);
    let washed: u32 = threads.into_iter().map(|kitchen| kitchen.join().expect("it closes")).sum();
    println!("{washed} plates washed");
}
