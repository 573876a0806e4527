//! Integration tests, one file per room; `tNN_` names the trap that a test springs.

mod combinations;
mod panics;
#[allow(unsafe_code)]
mod support;
mod tasks;
#[allow(unsafe_code)]
mod wakers;

use boucle::*;
use std::{cell::RefCell, rc::Rc, time::Duration};
#[test]
fn smoke() {
    let l = Loop::builder().virtual_time().build();
    let log = Rc::new(RefCell::new(vec![]));
    let start = l.now();
    for (n, s) in [(3, "trois"), (1, "un"), (2, "deux")] {
        let log = log.clone();
        drop(l.spawn(async move {
            sleep(Duration::from_secs(n)).await;
            log.borrow_mut().push(s)
        }));
    }
    l.run();
    assert_eq!(*log.borrow(), ["un", "deux", "trois"]);
    assert_eq!(l.now() - start, Duration::from_secs(3));
    let v = l.block_on(gather(
        (0..1000)
            .map(|n| async move {
                yield_now().await;
                n
            })
            .collect::<Vec<_>>(),
    ));
    assert_eq!(v.len(), 1000);
    let (d, f) = l.block_on(async {
        wait([Box::pin(async {
            yield_now().await;
            1
        })])
        .await
    });
    assert_eq!((d.len(), f.len()), (1, 0));
    let t = l.spawn(async { panic!("x") });
    drop(t);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| l.run())).is_err());
    println!("{}", l.try_block_on(async { (&Waiter::new(1)).await }).unwrap_err());
    let w = block_on(async {
        let (tx, rx) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let w: std::task::Waker = rx.recv().unwrap();
            w.wake();
        });
        let mut first = true;
        std::future::poll_fn(move |cx| {
            if first {
                first = false;
                tx.send(cx.waker().clone()).unwrap();
                std::task::Poll::Pending
            } else {
                std::task::Poll::Ready(7)
            }
        })
        .await
    });
    assert_eq!(w, 7);
}
