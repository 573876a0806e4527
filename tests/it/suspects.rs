//! What a loop suspects of its tasks, at the worst moment: nobody is accused, lost or kept because
//! of it.

use std::{
    future::pending,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use boucle::{Loop, Status, Waiter};

use crate::support::own_waker;

/// A loop whose hook opens `gate` when it is told of something, and how often its host was called.
fn opening_loop(gate: &Rc<Waiter>) -> (Loop, Arc<AtomicUsize>) {
    let (gate, rings) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let builder = Loop::builder().virtual_time().on_dead(boucle::Reaction::Tell);
    let l = builder.on_diagnostic(move |_| gate.set()).build();
    l.on_wake({
        let rings = rings.clone();
        move || {
            rings.fetch_add(1, Ordering::SeqCst);
        }
    });
    (l, rings)
}

#[test]
fn a_task_that_the_hook_wakes_is_not_forgotten() {
    for drive in [Loop::run_until_stalled, |l: &Loop| l.advance(Duration::from_secs(1))] {
        let gate = Rc::new(Waiter::new(1));
        let (l, _) = opening_loop(&gate);
        let guest = l.spawn(async move { gate.wait().await });
        let _dead = l.spawn(pending::<()>());
        drive(&l);
        assert_eq!(guest.status(), Status::Finished);
    }
}

#[test]
fn the_host_hears_of_a_task_that_the_hook_wakes_in_the_last_step() {
    let gate = Rc::new(Waiter::new(1));
    let (l, rings) = opening_loop(&gate);
    let guest = l.spawn(async move { gate.wait().await });
    let (tell, told) = std::sync::mpsc::channel();
    let _dead = l.spawn(async move {
        tell.send(own_waker().await).unwrap();
        pending::<()>().await;
    });
    while l.step() {}
    // The last waker goes while nobody drives the loop; the next step has nothing to poll.
    drop(told);
    rings.store(0, Ordering::SeqCst);
    assert!(!l.step());
    assert_eq!((guest.status(), rings.load(Ordering::SeqCst)), (Status::Ready, 1));
    l.run_until_stalled();
    assert_eq!(guest.status(), Status::Finished);
}
