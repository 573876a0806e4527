//! Tasks and their handles: ends, cancels, spawns in destructors, loops that go. Traps 25 to 34.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    rc::Rc,
    thread,
    time::Duration,
};

use boucle::{Canceller, JoinHandle, Loop, Status, Waiter, gather, sleep, spawn, yield_now};

use crate::support::{
    Act, Drops, Log, blocks, boom, cause, foreign_waker, noting_loop, noting_waker, on_drop,
    own_waker, owning, panics, pause, poll_with, subprocess, virtual_loop,
};

/// A place to put something that is not there yet when a future is made.
type Slot<T> = Rc<RefCell<Option<T>>>;

#[test]
fn t25_a_handle_dropped_while_its_task_ends() {
    #[repr(align(256))]
    struct Aligned;
    let drops = Drops::default();
    let l = virtual_loop();

    // In its future's destructor, when it ends, is cancelled, or goes with the loop.
    for end in ["ready", "cancel", "loop"] {
        let own: Slot<JoinHandle<(crate::support::DropProbe, Aligned)>> = Rc::default();
        let drop_own = on_drop({
            let own = own.clone();
            move || drop(own.take())
        });
        let (future, output) = (drops.probe(), (drops.probe(), Aligned));
        let task = l.spawn(owning((drop_own, future), async move {
            if end != "ready" {
                pending::<()>().await;
            }
            output
        }));
        let canceller = task.canceller();
        *own.borrow_mut() = Some(task);
        l.run_until_stalled();
        assert_eq!(own.borrow().is_none(), end == "ready");
        match end {
            "ready" => assert!(!canceller.cancel(), "it has ended"),
            "cancel" => assert!(canceller.cancel()),
            _ => {
                drop(canceller);
                break;
            }
        }
        drops.assert_all_dropped_here();
        drop(canceller);
        assert_eq!(blocks::<Aligned>(), 0);
    }
    drop(l);
    drops.assert_all_dropped_here();
    assert_eq!((drops.made(), blocks::<Aligned>()), (6, 0));

    // While its output is being taken: the output owns the handle of the task that awaits it.
    let l = virtual_loop();
    let give: Slot<JoinHandle<()>> = Rc::default();
    let probe = drops.probe();
    let giver = l.spawn({
        let give = give.clone();
        async move {
            yield_now().await;
            (give.take(), probe)
        }
    });
    let taker = l.spawn(async move {
        let (own, _probe) = giver.await.unwrap();
        drop(own.unwrap());
    });
    *give.borrow_mut() = Some(taker);
    l.run();
    drops.assert_all_dropped_here();

    // In the destructor of its own output, which the handle's drop runs.
    let log = Log::default();
    let second = l.spawn(owning((), async {}));
    let first = l.spawn({
        let in_drop = log.on_drop("output dropped");
        async move { (in_drop, second) }
    });
    l.run();
    drop(first);
    assert_eq!(log.take(), ["output dropped"]);
}

#[test]
fn t26_two_tasks_that_hold_each_others_handle_leak_nothing() {
    #[repr(align(4096))]
    struct Aligned;
    let drops = Drops::default();
    let l = virtual_loop();
    for awaits in [true, false] {
        let slots: [Slot<JoinHandle<()>>; 2] = Default::default();
        let tasks = [0, 1].map(|n| {
            let (owned, other) = ((drops.probe(), Aligned), slots[n].clone());
            l.spawn(async move {
                let _owned = owned;
                yield_now().await;
                let other: JoinHandle<()> = other.take().unwrap();
                if awaits {
                    other.await.unwrap();
                } else {
                    let _other = other;
                    pending::<()>().await;
                }
            })
        });
        let [a, b] = tasks;
        (*slots[0].borrow_mut(), *slots[1].borrow_mut()) = (Some(b), Some(a));
        l.run_until_stalled();
    }
    assert_eq!(blocks::<Aligned>(), 4);
    let stalled = l.try_block_on(pending::<()>()).unwrap_err();
    assert_eq!(stalled.tasks().len(), 5);
    drop(l);
    drops.assert_all_dropped_here();
    assert_eq!((drops.made(), blocks::<Aligned>()), (4, 0));
}

#[test]
fn t26_a_join_waker_goes_with_the_task_or_the_handle() {
    let log = Log::default();
    let l = virtual_loop();
    let waker = noting_waker(&log, "joiner");
    let registered = || {
        let mut task = l.spawn(pause(|waker| waker.wake_by_ref()));
        assert!(poll_with(&mut task, &waker).is_pending());
        assert_eq!(log.take(), ["Clone joiner"]);
        task
    };
    // At the end of the task, though the handle stays.
    let task = registered();
    l.run();
    assert_eq!(log.take(), ["Wake joiner", "Drop joiner"]);
    drop(task);
    // With the handle, though the task stays.
    drop(registered());
    assert_eq!(log.take(), ["Drop joiner"]);
    // With the loop.
    let task = registered();
    drop(l);
    assert_eq!(log.take(), ["Wake joiner", "Drop joiner"]);
    assert_eq!(task.status(), Status::Cancelled);
}

#[test]
fn t27_the_last_waker_that_polls_a_handle_is_woken() {
    let log = Log::default();
    let l = virtual_loop();
    let mut task = l.spawn(yield_now());
    let wakers = ["a", "b", "a again"].map(|name| noting_waker(&log, name));
    for waker in &wakers {
        assert!(poll_with(&mut task, waker).is_pending());
        // The same once more costs nothing.
        assert!(poll_with(&mut task, &waker.clone()).is_pending());
    }
    let mut trace = log.take();
    trace.retain(|line| line != "Clone a" && line != "Clone b" && line != "Clone a again");
    // Each poll with a clone drops that clone; each replacement drops the one before.
    assert_eq!(trace, ["Drop a", "Drop a", "Drop b", "Drop b", "Drop a again"]);
    l.run();
    assert_eq!(log.take(), ["Wake a again", "Drop a again"]);
    assert!(poll_with(&mut task, &wakers[0]).is_ready());
    assert!(log.take().is_empty());

    // Awaited by one task, and then by another.
    l.block_on(async {
        let slow = spawn(sleep(Duration::from_secs(1)));
        let shared = Rc::new(RefCell::new(slow));
        let first = spawn({
            let (shared, log) = (shared.clone(), log.clone());
            async move {
                pause(|waker| assert!(poll_with(&mut *shared.borrow_mut(), waker).is_pending()))
                    .await;
                log.push("first");
            }
        });
        yield_now().await;
        spawn({
            let log = log.clone();
            async move {
                let waker = own_waker().await;
                assert!(poll_with(&mut *shared.borrow_mut(), &waker).is_pending());
                pause(|_| ()).await;
                log.push("second");
            }
        })
        .await
        .unwrap();
        assert_eq!((log.take(), first.status()), (vec!["second".into()], Status::Waiting));
        first.cancel();
    });
}

#[test]
fn t28_a_handle_polled_after_its_output_was_taken_says_so() {
    let l = virtual_loop();
    let place = std::panic::Location::caller().line() + 1;
    let [mut ended, mut failed] = [l.spawn(async { 1 }), l.spawn(async { boom() })];
    l.run();
    let noop = std::task::Waker::noop();
    for task in [&mut ended, &mut failed] {
        assert!(poll_with(task, noop).is_ready());
        for message in [panics(|| poll_with(task, noop)), panics(|| task.result().is_some())] {
            let at = format!("(#{}, spawned at {}:{place}:", &task.id().to_string()[1..], file!());
            assert!(message.contains(&at), "{message}");
            assert!(message.contains("after it was taken"), "{message}");
        }
        // The rest goes on to work.
        assert!(task.is_finished() && !task.cancel());
        assert!(format!("{task:?}").starts_with("<Task 't28_"));
    }
    assert_eq!((ended.status(), failed.status()), (Status::Finished, Status::Failed));
    // In a task, that is a panic of the task.
    let error = l.block_on(async { spawn(async move { _ = ended.await }).await.unwrap_err() });
    assert!(cause(&error).contains("awaited after it was taken"), "{error}");
}

#[test]
fn t29_cancels_from_everywhere() {
    let log = Log::default();
    let l = virtual_loop();
    let idle = || {
        let in_drop = log.on_drop("dropped");
        l.spawn(async move {
            let _in_drop = in_drop;
            pending::<()>().await;
        })
    };

    // By its handle and by a canceller, twice, and after the end.
    for polled in [false, true] {
        let task = idle();
        let canceller = task.canceller();
        if polled {
            l.run_until_stalled();
        }
        assert!(task.cancel());
        assert_eq!(log.take(), ["dropped"], "before it returns");
        assert!(!task.cancel() && !canceller.cancel() && !canceller.clone().cancel());
        assert!(task.result().unwrap().unwrap_err().is_cancelled());
        assert_eq!(cause(&l.block_on(task).unwrap_err()), "was cancelled");
    }
    let task = l.spawn(async { 7 });
    l.run();
    assert!(!task.cancel() && !task.canceller().cancel());
    assert_eq!(l.block_on(task).unwrap(), 7);

    // By another task, of this loop; it wakes who awaits it.
    let task = idle();
    let canceller = task.canceller();
    let joiner = l.spawn(async move { task.await.unwrap_err().is_cancelled() });
    let other = l.spawn({
        let log = log.clone();
        async move {
            yield_now().await;
            assert!(canceller.cancel());
            log.push("cancelled");
        }
    });
    l.run();
    assert_eq!(log.take(), ["dropped", "cancelled"]);
    assert_eq!((joiner.status(), other.status()), (Status::Finished, Status::Finished));
    assert!(*joiner.result().unwrap().unwrap());

    // By a task of another loop on this thread.
    let task = idle();
    l.run_until_stalled();
    virtual_loop().block_on(async { assert!(task.cancel()) });
    assert_eq!(log.take(), ["dropped"]);

    // Many at once, in the middle of the ready queue.
    let tasks = [(); 5].map(|()| idle());
    for n in [1, 3, 4] {
        assert!(tasks[n].cancel());
    }
    l.run_until_stalled();
    assert_eq!(log.take().len(), 3);
    let statuses = tasks.each_ref().map(JoinHandle::status);
    let (waits, gone) = (Status::Waiting, Status::Cancelled);
    assert_eq!(statuses, [waits, gone, waits, gone, gone]);
}

#[test]
fn t29_a_task_that_cancels_itself() {
    let log = Log::default();
    let l = noting_loop(&log);
    let own: Slot<Canceller> = Rc::default();
    let cancel_self = |then: &'static str| {
        let (log, own, in_drop) = (log.clone(), own.clone(), log.on_drop("future dropped"));
        owning(in_drop, async move {
            let canceller: Canceller = own.take().unwrap();
            assert!(canceller.cancel());
            assert!(canceller.cancel(), "it has not ended yet");
            log.push("cancelled itself");
            match then {
                "pending" => yield_now().await,
                "panic" => boom(),
                _ => {}
            }
            log.on_drop("output dropped")
        })
    };
    for (then, trace) in [
        ("pending", &["cancelled itself", "future dropped"][..]),
        ("ready", &["cancelled itself", "future dropped", "output dropped"]),
        ("panic", &["cancelled itself", "future dropped", "unobserved panicked: boom"]),
    ] {
        let task = l.spawn(cancel_self(then));
        *own.borrow_mut() = Some(task.canceller());
        l.run();
        assert_eq!(log.take(), trace, "{then}");
        assert_eq!(task.status(), Status::Cancelled, "{then}");
        let error = l.block_on(task).map(|_| ()).unwrap_err();
        assert!(error.is_cancelled(), "{then}");
    }

    // In its own destructor, at its end and in a cancel.
    for ends in [true, false] {
        let in_drop = on_drop({
            let (log, own) = (log.clone(), own.clone());
            move || {
                let canceller: Canceller = own.take().unwrap();
                log.push(format!("in its destructor: {}", canceller.cancel()));
            }
        });
        let task = l.spawn(owning(in_drop, async move {
            if !ends {
                pending::<()>().await;
            }
        }));
        *own.borrow_mut() = Some(task.canceller());
        if ends {
            l.run();
        } else {
            assert!(task.cancel());
        }
        assert_eq!(log.take(), ["in its destructor: true"]);
        assert_eq!(task.status(), Status::Cancelled);
    }
}

#[test]
fn t29_cancels_inside_destructors_run_before_the_outermost_returns() {
    let log = Log::default();
    let l = virtual_loop();
    let mut chain: Option<JoinHandle<()>> = None;
    for n in 0..4 {
        let next = chain.take();
        let in_drop = on_drop({
            let log = log.clone();
            move || {
                log.push(format!("drop {n}"));
                if let Some(next) = &next {
                    assert!(next.cancel());
                }
                log.push(format!("end {n}"));
            }
        });
        chain = Some(l.spawn(async move {
            let _in_drop = in_drop;
            pending::<()>().await;
        }));
    }
    assert!(chain.unwrap().cancel());
    // One after the other, not one within the other: a long chain needs no stack.
    let trace = ["drop 3", "end 3", "drop 2", "end 2", "drop 1", "end 1", "drop 0", "end 0"];
    assert_eq!(log.take(), trace);
}

#[test]
fn t30_a_cancel_before_the_first_poll_drops_the_future_once_in_its_loop() {
    let drops = Drops::default();
    let log = Log::default();
    let l = Rc::new(virtual_loop());
    l.advance(Duration::from_secs(5));
    let start = l.now();
    let seen = {
        let log = log.clone();
        move || {
            assert_eq!(boucle::now(), start, "the loop's clock, not the machine's");
            let born = spawn({
                let log = log.clone();
                async move { log.push("spawned in a destructor") }
            });
            log.push(format!("dropped, spawned a {} one", born.status()));
        }
    };
    let future = |polled: bool| {
        let (probe, log) = (drops.probe(), log.clone());
        owning((on_drop(seen.clone()), probe), async move {
            assert!(polled, "never polled");
            log.push("polled");
            pending::<()>().await;
        })
    };
    for (polled, task) in [false, true].map(|polled| (polled, l.spawn(future(polled)))) {
        if polled {
            l.run_until_stalled();
            assert_eq!(log.take(), ["polled", "spawned in a destructor"]);
        }
        assert!(task.cancel());
        assert_eq!(task.status(), Status::Cancelled);
        assert_eq!(log.take(), ["dropped, spawned a NEW one"]);
        assert_eq!(drops.dropped(), if polled { 2 } else { 1 });
        assert!(!task.cancel());
    }
    l.run_until_stalled();
    assert_eq!(log.take(), ["spawned in a destructor"]);
    drops.assert_all_dropped_here();

    // Outside every loop once more, and inside another.
    let other = virtual_loop();
    let task = l.spawn(future(true));
    other.block_on(async {
        let before = boucle::now();
        assert!(task.cancel());
        assert_eq!(boucle::now(), before, "the other loop is the current one again");
    });
    assert_eq!(log.take().len(), 1);
    assert_eq!(other.tasks().len(), 0, "it was spawned on its own loop");
    assert!(panics(|| drop(spawn(async {}))).contains("outside a loop"));
}

#[test]
fn t30_a_future_may_own_its_loop() {
    for polled in [false, true] {
        let drops = Drops::default();
        let slot: Slot<Loop> = Rc::default();
        let l = virtual_loop();
        let probe = drops.probe();
        let own = slot.clone();
        let task = l.spawn(owning((own.clone(), probe), pending::<()>()));
        let probe = drops.probe();
        let log = Log::default();
        let in_drop = on_drop({
            let log = log.clone();
            move || {
                assert_eq!(spawn(async {}).status(), Status::New);
                drop(own.take());
                // The loop has gone in the middle of this.
                log.push(panics(|| drop(spawn(async {}))));
            }
        });
        let sibling = l.spawn(owning((in_drop, probe), pending::<()>()));
        if polled {
            l.run_until_stalled();
        }
        *slot.borrow_mut() = Some(l);
        // Its destructor drops the loop, and with it the other task.
        assert!(sibling.cancel());
        assert!(slot.borrow().is_none());
        assert!(log.take().concat().contains("`boucle::spawn` outside a loop"));
        drops.assert_all_dropped_here();
        assert_eq!((drops.made(), task.status()), (2, Status::Cancelled));
        assert_eq!(sibling.status(), Status::Cancelled);
        assert!(!task.cancel() && task.result().unwrap().is_err());
    }
}

#[test]
fn t30_a_destructor_is_a_part_of_its_task() {
    let l = virtual_loop();
    let born: Slot<JoinHandle<()>> = Rc::default();
    let spawns = on_drop({
        let born = born.clone();
        move || *born.borrow_mut() = Some(spawn(pending()))
    });
    let task = l.spawn(owning(spawns, pending::<()>()));
    let (id, canceller) = (task.id(), task.canceller());
    let parent = |of: boucle::Id| l.tasks().iter().find(|task| task.id == of).unwrap().parent;
    l.block_on(async {
        let before = spawn(pending::<()>());
        assert!(canceller.cancel());
        let born = born.take().unwrap();
        assert_eq!(parent(born.id()), Some(id));
        // And then the task that has cancelled it goes on.
        let after = spawn(pending::<()>());
        assert_eq!(parent(after.id()), parent(before.id()));
        assert_ne!(parent(after.id()), None);
        for task in [before, born, after] {
            task.cancel();
        }
    });
}

#[test]
fn t30_a_task_that_has_cancelled_another_can_still_be_found_stuck() {
    // A subprocess, since the fault to be found is a loop that hangs instead of a report.
    let name = "tasks::t30_a_task_that_has_cancelled_another_can_still_be_found_stuck";
    let Some(ended) = subprocess(name) else {
        let l = virtual_loop();
        let task = l.spawn(pending::<()>());
        let stalled = l.try_block_on(async {
            assert!(task.cancel());
            // Its own waker is known as such, and not kept as a clone that might wake it.
            (&Waiter::new(1)).await;
        });
        assert!(stalled.unwrap_err().to_string().contains("for waiter (made at"));
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn t31_what_is_spawned_while_the_loop_closes_is_dropped_at_once() {
    let log = Log::default();
    let l = virtual_loop();
    let kept: Slot<JoinHandle<()>> = Rc::default();
    for polled in [false, true] {
        let in_drop = on_drop({
            let (log, kept) = (log.clone(), kept.clone());
            move || {
                let inner = log.on_drop("inner dropped");
                let task = spawn(async move {
                    let _inner = inner;
                    unreachable!("polled in a loop that closes");
                });
                log.push(format!("inner {}", task.status()));
                assert!(!task.cancel());
                *kept.borrow_mut() = Some(task);
                // Timers, too, are of no use any more.
                assert!(
                    poll_with(&mut sleep(Duration::ZERO), std::task::Waker::noop()).is_pending()
                );
                let mut nap = sleep(Duration::from_secs(1));
                assert!(poll_with(&mut nap, std::task::Waker::noop()).is_pending());
            }
        });
        drop(l.spawn(owning(in_drop, pending::<()>())));
        if !polled {
            l.run_until_stalled();
        }
    }
    drop(l);
    let trace = ["inner dropped", "inner CANCELLED"];
    assert_eq!(log.take(), [trace, trace].concat());
    let task = kept.take().unwrap();
    assert!(task.result().unwrap().unwrap_err().is_cancelled());

    // The free `block_on` closes its loop, too.
    let inner = log.clone();
    boucle::block_on(async {
        let in_drop = on_drop(move || {
            let task = spawn(async {});
            inner.push(format!("{}", task.status()));
        });
        drop(spawn(owning(in_drop, pending::<()>())));
    });
    assert_eq!(log.take(), ["CANCELLED"]);

    // A destructor in a destructor in a destructor.
    fn nested(log: Log, depth: u32) -> impl Future<Output = ()> {
        let in_drop = on_drop(move || {
            log.push(depth.to_string());
            if depth > 0 {
                drop(spawn(nested(log.clone(), depth - 1)));
            }
        });
        owning(in_drop, pending())
    }
    let l = virtual_loop();
    drop(l.spawn(nested(log.clone(), 3)));
    drop(l);
    assert_eq!(log.take(), ["3", "2", "1", "0"]);
}

#[test]
fn t32_a_future_is_gone_before_its_result_can_be_seen() {
    let log = Log::default();
    let l = virtual_loop();
    for end in ["ready", "panic", "cancel"] {
        let own: Slot<JoinHandle<()>> = Rc::default();
        let in_drop = on_drop({
            let (log, own) = (log.clone(), own.clone());
            move || {
                let own = own.borrow();
                let task: &JoinHandle<()> = own.as_ref().unwrap();
                assert!(!task.is_finished() && task.result().is_none());
                log.push(format!("dropped, {}", task.status()));
            }
        });
        let task = l.spawn(owning(in_drop, async move {
            yield_now().await;
            match end {
                "ready" => {}
                "panic" => boom(),
                _ => pending().await,
            }
        }));
        let canceller = task.canceller();
        *own.borrow_mut() = Some(task);
        let waker = foreign_waker({
            let (log, own) = (log.clone(), own.clone());
            move |act| {
                if act == Act::Wake {
                    let own = own.borrow();
                    let task: &JoinHandle<()> = own.as_ref().unwrap();
                    log.push(format!("joiner woken, {}", task.status()));
                }
            }
        });
        assert!(poll_with(own.borrow_mut().as_mut().unwrap(), &waker).is_pending());
        l.run_until_stalled();
        let last = match end {
            "ready" => "joiner woken, FINISHED",
            "panic" => "joiner woken, FAILED",
            _ => {
                canceller.cancel();
                "joiner woken, CANCELLED"
            }
        };
        assert_eq!(log.take(), ["dropped, RUNNING", last]);
        let _ = own.take().unwrap().result();
    }
}

#[test]
fn t33_a_loop_dropped_with_unfinished_tasks_drops_them_quietly() {
    let drops = Drops::default();
    let l = virtual_loop();
    let gate = Rc::new(Waiter::new(1));
    // One of each: never polled, ready, asleep, joined, queued, and gathered.
    let waiting = l.spawn(owning(drops.probe(), pending::<()>()));
    let napping = l.spawn(owning(drops.probe(), async {
        sleep(Duration::from_secs(1)).await;
    }));
    let joining = l.spawn(owning(drops.probe(), async move { _ = waiting.await }));
    let queued = l.spawn({
        let gate = gate.clone();
        owning(drops.probe(), async move { (&*gate).await })
    });
    let gathering = l.spawn({
        let gate = gate.clone();
        owning(drops.probe(), async move {
            let children = [(); 3].map(|()| async {
                (&*gate).await;
            });
            gather(children).await;
        })
    });
    l.run_until_stalled();
    let ready = l.spawn(owning(drops.probe(), async {
        loop {
            yield_now().await;
        }
    }));
    assert!(l.step());
    let fresh = l.spawn(owning(drops.probe(), async {}));
    assert_eq!((ready.status(), fresh.status()), (Status::Ready, Status::New));
    drop(l);
    drops.assert_all_dropped_here();
    assert_eq!(drops.made(), 7);

    // The handles outlive the loop and tell the truth.
    let mut tasks = [napping, joining, queued, gathering, ready, fresh];
    for task in &mut tasks {
        assert_eq!(task.status(), Status::Cancelled);
        assert!(task.is_finished() && !task.cancel() && !task.canceller().cancel());
        assert!(!task.name().is_empty() && task.spawned_at().file() == file!());
        assert!(format!("{task:?}").ends_with("[CANCELLED]>"));
        assert!(poll_with(task, std::task::Waker::noop()).is_ready());
    }
    // An output that is dropped after its loop finds none.
    let (l, log) = (virtual_loop(), Log::default());
    let output = l.spawn({
        let log = log.clone();
        async move { on_drop(move || log.push(panics(|| drop(spawn(async {}))))) }
    });
    l.run();
    drop(l);
    drop(output);
    assert!(log.take().concat().contains("`boucle::spawn` outside a loop"));

    // Another loop can await such a handle.
    let l = virtual_loop();
    let task = l.spawn(pending::<()>());
    drop(l);
    assert!(virtual_loop().block_on(task).unwrap_err().is_cancelled());
    gate.set();
}

#[test]
fn t34_a_loop_in_a_thread_local_is_dropped_with_its_thread() {
    const NAME: &str = "tasks::t34_a_loop_in_a_thread_local_is_dropped_with_its_thread";
    thread_local! {
        static BEFORE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        static LOOP: RefCell<Option<Loop>> = const { RefCell::new(None) };
        static AFTER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let Some(ended) = subprocess(NAME) else {
        // Real threads: only the end of one destroys its thread-locals.
        let (drops, spawned) = (Drops::default(), Cell::new(0));
        for order in ["first", "last"] {
            let probe = drops.probe();
            let wakers = thread::spawn(move || {
                // Thread-locals are destroyed in an order of the system's; both are tried.
                let touch = || {
                    BEFORE.with_borrow_mut(|bytes| bytes.push(1));
                    AFTER.with_borrow_mut(|bytes| bytes.push(1));
                };
                if order == "last" {
                    touch();
                }
                let l = virtual_loop();
                let in_drop = on_drop(|| {
                    // Here the loop is entered, and closing.
                    assert_eq!(spawn(async {}).status(), Status::Cancelled);
                    let _ = boucle::now();
                    let _ = BEFORE.try_with(|_| ());
                    let _ = AFTER.try_with(|_| ());
                    eprintln!("destructor ran");
                });
                let (tell, told) = std::sync::mpsc::channel();
                drop(l.spawn(async move {
                    let _owned = (in_drop, probe);
                    pause(move |waker| tell.send(waker.clone()).unwrap()).await;
                    pending::<()>().await;
                }));
                let nap = l.spawn(sleep_later());
                l.run_until_stalled();
                drop(nap);
                LOOP.set(Some(l));
                if order == "first" {
                    touch();
                }
                told.recv().unwrap()
            })
            .join()
            .unwrap();
            spawned.set(spawned.get() + 1);
            assert_eq!(drops.dropped(), spawned.get());
            wakers.wake();
        }
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stderr.matches("destructor ran").count(), 2, "{ended:?}");
}

async fn sleep_later() {
    sleep(Duration::from_secs(3600)).await;
}

#[test]
fn what_names_a_task_is_printed_briefly() {
    let l = virtual_loop();
    let task = l.spawn(pending::<()>());
    assert_eq!(format!("{:?} {:?}", task.id(), task.canceller()), "Id(1) Canceller(#1)");
    task.cancel();
    let error = task.result().unwrap().unwrap_err();
    assert_eq!(format!("{error:?}"), format!("JoinError({error})"));
}

#[test]
fn when_a_task_was_polled_is_not_told_while_it_is_ready() {
    async fn spins() {
        loop {
            yield_now().await;
        }
    }
    let l = virtual_loop();
    let _tasks = [l.spawn(spins()), l.spawn(spins())];
    assert!(l.step() && l.step());
    let told: Vec<_> = l.tasks().iter().map(|task| (task.status, task.polled_at)).collect();
    assert_eq!(told, [(Status::Ready, None); 2]);
}

/// Without timers, each look at the clock would be a cost for nothing but this.
#[test]
fn a_busy_loop_without_timers_looks_at_the_clock_after_a_thousand_polls() {
    let l = virtual_loop();
    // At the very beginning of time, no look would be seen.
    l.advance(Duration::from_secs(1));
    let _busy = l.spawn(async {
        loop {
            yield_now().await;
        }
    });
    let mut polled_at = |polls: usize| {
        assert!((0..polls).all(|_| l.step()));
        let guest = l.spawn(pending::<()>());
        assert!(l.step() && l.step());
        assert_eq!(guest.status(), Status::Waiting);
        l.tasks().iter().find(|task| task.id == guest.id()).unwrap().polled_at
    };
    assert_eq!([0, 900, 128, 64].map(&mut polled_at), [None, None, Some(l.now()), Some(l.now())]);
}
