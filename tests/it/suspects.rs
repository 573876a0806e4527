//! What a loop suspects of its tasks, at the worst moment: nobody is accused, lost or kept because
//! of it.

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    mem::ManuallyDrop,
    panic::catch_unwind,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use boucle::{
    Diagnostic, JoinHandle, Loop, Reaction, Status, TaskSet, Waiter, scope, sleep, spawn,
    sync::{Mutex, Semaphore},
    yield_now,
};

use crate::{
    locks::forever,
    support::{
        Log, blocks, boom, foreign_waker, message, on_drop, own_waker, panics, poll_with,
        subprocess, virtual_loop,
    },
};

/// A loop whose hook opens `gate` when it is told of something, and how often its host was called.
fn opening_loop(gate: &Rc<Waiter>) -> (Loop, Arc<AtomicUsize>) {
    let (gate, rings) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let builder = Loop::builder().virtual_time().on_dead(Reaction::Tell);
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
    let (tell, told) = mpsc::channel();
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

/// Runs `f` when the thread ends, after its table of waits has gone.
fn at_the_end_of_the_thread(f: impl FnOnce() + Send + 'static) {
    struct AtEnd(RefCell<Option<Box<dyn FnOnce()>>>);

    impl Drop for AtEnd {
        fn drop(&mut self) {
            if let Some(f) = self.0.take() {
                f();
            }
        }
    }

    thread_local! {
        static END: AtEnd = const { AtEnd(RefCell::new(None)) };
    }

    thread::spawn(|| {
        END.with(|end| *end.0.borrow_mut() = Some(Box::new(f)));
        // What is used later goes earlier.
        assert!(virtual_loop().try_block_on(Waiter::new(1).wait()).is_err());
    })
    .join()
    .unwrap();
}

#[test]
fn a_loop_can_be_stuck_while_its_thread_ends() {
    let (tell, told) = mpsc::channel();
    at_the_end_of_the_thread(move || {
        let said = catch_unwind(|| {
            let mutex = Rc::new(Mutex::new(()));
            let l = Loop::builder().virtual_time().on_cycle(Reaction::Tell).build();
            let twice = |mutex: Rc<Mutex<()>>| async move {
                let _once = mutex.lock().await;
                drop(mutex.lock().await);
            };
            drop(l.spawn(twice(mutex.clone())));
            l.run_until_stalled();
            l.try_block_on(twice(mutex)).unwrap_err().to_string()
        });
        tell.send(said.map_err(|panic| message(&*panic))).unwrap();
    });
    let said = told.recv().unwrap().unwrap();
    assert!(said.starts_with("deadlock: 2 tasks wait"), "{said}");
}

#[test]
fn what_two_callbacks_own_may_panic_when_a_loop_goes() {
    let name = "suspects::what_two_callbacks_own_may_panic_when_a_loop_goes";
    if let Some(ended) = subprocess(name) {
        return assert!(ended.status.success(), "{}", ended.stderr);
    }
    let bad = || std::sync::Mutex::new(on_drop(|| boom()));
    let (first, second, third) = (bad(), bad(), bad());
    let l = Loop::builder()
        .on_unobserved(move |_| drop(first.lock()))
        .on_diagnostic(move |_| drop(second.lock()))
        .build();
    l.on_wake(move || drop(third.lock()));
    drop(l);
}

#[repr(align(1024))]
struct Marked(#[allow(dead_code)] u8);

#[test]
fn a_limited_set_that_is_dropped_in_a_destructor_keeps_no_member() {
    let l = virtual_loop();
    let set = l.block_on(async {
        let mut set = TaskSet::with_limit(1);
        for _ in 0..4 {
            let marked = Marked(0);
            set.spawn(async move {
                let _marked = marked;
                pending::<()>().await;
            });
        }
        set
    });
    let mut set = Some(set);
    let dropping = on_drop(move || drop(set.take()));
    let task = l.spawn(async move {
        let _dropping = dropping;
        pending::<()>().await;
    });
    l.run_until_stalled();
    assert!(task.cancel());
    drop((task, l));
    assert_eq!(blocks::<Marked>(), 0);
}

#[repr(align(2048))]
struct Forgetful(#[allow(dead_code)] u8);

#[test]
fn a_wait_that_is_forgotten_is_none_for_another_gate() {
    let l = virtual_loop();
    l.block_on(async {
        let task = spawn(async {
            let _marked = Forgetful(0);
            let gone = Waiter::new(1).named("gone");
            let mut wait = ManuallyDrop::new(gone.wait());
            poll_fn(|cx| {
                assert!(Pin::new(&mut *wait).poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            drop(gone);
            sleep(Duration::from_secs(1)).await;
        });
        let other = spawn(async { Waiter::new(1).named("other").wait().await });
        yield_now().await;
        let report = boucle::snapshot().to_string();
        assert_eq!(report.matches("\"other\"").count(), 1, "{report}");
        other.cancel();
        task.await.unwrap();
    });
    drop(l);
    assert_eq!(blocks::<Forgetful>(), 0);
}

#[test]
fn a_child_whose_scope_is_polled_elsewhere_is_not_dead() {
    let log = Log::default();
    let l = Loop::builder()
        .virtual_time()
        .on_dead(Reaction::Tell)
        .on_diagnostic({
            let log = log.clone();
            move |found| log.push(found.to_string())
        })
        .build();
    let kept = Rc::new(RefCell::new(None));
    let mut scope: Pin<Box<dyn Future<Output = ()>>> = Box::pin(scope({
        let kept = kept.clone();
        async move |s| {
            let keeps_wakers = poll_fn(move |cx| {
                kept.replace(Some(cx.waker().clone()));
                Poll::<()>::Pending
            });
            s.spawn(keeps_wakers).await.unwrap();
        }
    }));
    let mut scope = l.block_on(poll_fn(move |cx| {
        assert!(scope.as_mut().poll(cx).is_pending());
        Poll::Ready(std::mem::replace(&mut scope, Box::pin(pending())))
    }));
    assert!(poll_with(&mut scope, &foreign_waker(|_| ())).is_pending());
    l.run_until_stalled();
    assert_eq!(log.take(), [""; 0]);
    assert!(l.snapshot().to_string().contains("for nothing that is known"));
    assert!(l.snapshot().stuck().is_empty());
    // Nor when the last waker that it had in its loop is gone.
    kept.take();
    l.run_until_stalled();
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn a_task_is_not_taken_for_one_of_a_loop_that_was_there_before() {
    let mutex = forever(Mutex::new(()));
    for _ in 0..50 {
        // Both loops have a main task #1 in their first slot, and often one address.
        let guard = virtual_loop().block_on(mutex.lock());
        let l = Loop::builder().virtual_time().on_cycle(Reaction::Fail).build();
        l.block_on(async {
            drop(spawn(async move {
                sleep(Duration::from_secs(1)).await;
                drop(guard);
            }));
            drop(mutex.lock().await);
        });
    }
}

#[test]
fn a_mutex_remembers_one_who_locked_it() {
    let l = Loop::builder().virtual_time().on_cycle(Reaction::Fail).build();
    let mutex = forever(Mutex::new(()));
    let mut guard = None;
    l.block_on(async {
        // Somebody has waited, from now on there is a list.
        let first = mutex.lock().await;
        drop(spawn(async { drop(mutex.lock().await) }));
        yield_now().await;
        drop(first);
        yield_now().await;
        for _ in 0..100 {
            drop(mutex.lock().await);
        }
    });
    // By no task, though `main` #1 of this loop did so before.
    guard.replace(mutex.try_lock().unwrap());
    l.block_on(async {
        let waits = spawn(async { drop(mutex.lock().await) });
        yield_now().await;
        let snapshot = boucle::snapshot();
        assert!(snapshot.resources()[0].taken_by.is_empty(), "{snapshot}");
        drop(guard);
        waits.await.unwrap();
    });
}

#[test]
fn a_permit_that_no_task_took_may_come_back() {
    let permits = forever(Semaphore::new(2));
    let other = permits.try_acquire().unwrap();
    let l = Loop::builder().virtual_time().on_cycle(Reaction::Fail).build();
    l.block_on(async {
        drop(spawn(async move {
            sleep(Duration::from_secs(1)).await;
            drop(other);
        }));
        let _one = permits.acquire().await;
        let _two = permits.acquire().await;
    });
}

#[test]
fn a_hundred_thousand_permits_go_back_at_once() {
    virtual_loop().block_on(async {
        let permits = Semaphore::new(100_000);
        let taken: Vec<_> = (0..100_000).map(|_| permits.try_acquire().unwrap()).collect();
        drop(taken);
        assert_eq!(permits.available(), 100_000);
    });
}

#[test]
fn each_of_many_circles_is_told_once() {
    const PAIRS: usize = 300;
    let told = Rc::new(RefCell::new(Vec::<Vec<boucle::Id>>::new()));
    let l = Loop::builder()
        .virtual_time()
        .on_cycle(Reaction::Tell)
        .on_diagnostic({
            let told = told.clone();
            move |found| match found {
                Diagnostic::Cycle(stalled) => {
                    told.borrow_mut().push(stalled.tasks().iter().map(|task| task.id).collect());
                }
                other => panic!("{other}"),
            }
        })
        .build();
    let mut tasks = Vec::new();
    for _ in 0..PAIRS {
        let (a, b) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
        for (first, second) in [(a.clone(), b.clone()), (b, a)] {
            tasks.push(l.spawn(async move {
                let _first = first.lock().await;
                yield_now().await;
                let _second = second.lock().await;
            }));
        }
    }
    l.run_until_stalled();
    // Looked at again, they are the same circles.
    l.run_until_stalled();
    let mut expected: Vec<Vec<_>> =
        tasks.chunks(2).map(|pair| pair.iter().map(JoinHandle::id).collect()).collect();
    let mut told = told.borrow().clone();
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[test]
fn a_verdict_waits_until_the_thread_has_unwound() {
    let l = Loop::builder().on_dead(Reaction::Fail).build();
    let _lost = l.spawn(pending::<()>());
    let first = panics(|| {
        let _driven = on_drop(|| l.run_until_stalled());
        panic!("boom: the first");
    });
    assert_eq!(first, "boom: the first");
    assert!(panics(|| l.run_until_stalled()).starts_with("dead task: Pending #1"));
}
