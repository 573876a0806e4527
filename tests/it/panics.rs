//! Panics: in polls, in destructors, in payloads, in iterators. Traps 19 to 24, 35 and 36.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    pin::Pin,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use boucle::{
    JoinError, JoinHandle, Loop, Status, TaskSet, block_on, gather, scope, wait, yield_now,
};

use crate::support::{
    Drops, Log, boom, cause, message, noting_loop, on_drop, own_waker, owning, panics, poll_with,
    quiet, subprocess, virtual_loop,
};

/// Panics when it is dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        quiet();
        panic!("boom {}", self.0);
    }
}

#[test]
fn t19_a_panic_ends_its_task_and_no_other() {
    let log = Log::default();
    let l = virtual_loop();
    let [before, after] = ["before", "after"].map(|name| {
        let log = log.clone();
        l.spawn(async move {
            log.push(name);
            yield_now().await;
            log.push(name);
        })
    });
    let bad = l.spawn(async { boom() }).named("bad");
    l.run();
    assert_eq!(log.take(), ["before", "after", "before", "after"]);
    assert_eq!((before.status(), after.status()), (Status::Finished, Status::Finished));
    assert_eq!((bad.status(), bad.is_finished()), (Status::Failed, true));
    let error: JoinError = l.block_on(bad).map(|()| unreachable!()).unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!((error.task_name(), cause(&error)), ("bad", "panicked: boom".into()));
    assert_eq!(message(&*error.into_panic()), "boom");
    // It was awaited, so nobody hears of it again.
    l.run();
}

#[test]
fn t19_a_panic_that_nobody_observes_is_resumed_once() {
    let l = virtual_loop();
    drop(l.spawn(async { boom() }));
    let late = l.spawn(async { boom() });
    assert_eq!(panics(|| l.run()), "boom");
    l.run();
    drop(late);
    // Between runs it waits for the next one; the loop runs all the same.
    let other = l.spawn(async { 7 });
    assert_eq!(panics(|| l.block_on(ready(()))), "boom");
    assert_eq!(l.block_on(other).unwrap(), 7);
    // The root's own panic comes first, and takes no other's place.
    drop(l.spawn(async { boom() }));
    let root = async {
        yield_now().await;
        panic!("boom root");
    };
    assert_eq!(panics(|| l.block_on(root)), "boom root");
    assert_eq!(panics(|| l.run()), "boom");
}

#[test]
fn t19_only_awaiting_and_result_read_an_error() {
    type Look = fn(&Loop, &mut JoinHandle<()>);
    let looks: [(&str, bool, Look); 6] = [
        ("nothing", false, |_, _| {}),
        ("status", false, |_, task| assert_eq!(task.status(), Status::Failed)),
        ("is_finished", false, |_, task| assert!(task.is_finished())),
        ("print", false, |_, task| assert!(format!("{task:?}").contains("panicked: boom"))),
        ("result", true, |_, task| assert!(task.result().unwrap().is_err())),
        ("await", true, |l, task| assert!(l.block_on(task).unwrap_err().is_panic())),
    ];
    for (name, reads, look) in looks {
        let log = Log::default();
        let l = noting_loop(&log);
        let mut task = l.spawn(async { boom() });
        l.run_until_stalled();
        look(&l, &mut task);
        assert_eq!(log.take(), [""; 0], "{name}, with the handle still there");
        drop(task);
        assert_eq!(log.take().is_empty(), reads, "{name}");
    }
}

#[test]
fn t19_wait_reads_no_error_and_takes_an_err_for_done() {
    let log = Log::default();
    let l = noting_loop(&log);
    let tasks = [l.spawn(async { Err("sold out") }), l.spawn(async { boom() })];
    let (done, failed): (TaskSet<Result<(), &str>>, _) = l.block_on(wait(tasks));
    assert_eq!((done.len(), failed.len()), (1, 1));
    let output = done.iter().next().unwrap().result().unwrap();
    assert_eq!(output.unwrap(), &Err("sold out"));
    assert_eq!(log.take(), [""; 0]);
    drop((done, failed));
    assert_eq!(log.take(), ["unobserved panicked: boom"]);
}

#[test]
fn t19_only_block_on_and_run_resume_a_panic() {
    type Drive = fn(&Loop);
    let ends: [Drive; 3] =
        [Loop::run, |l| l.block_on(ready(())), |l| l.try_block_on(ready(())).unwrap()];
    for end in ends {
        let l = virtual_loop();
        drop(l.spawn(async { boom() }));
        assert!(l.step() && !l.step());
        l.run_until_stalled();
        l.advance(Duration::from_secs(1));
        assert_eq!(panics(|| end(&l)), "boom");
        end(&l);
    }
}

#[test]
fn t19_stderr_hears_of_panics_that_are_not_resumed() {
    let name = "panics::t19_stderr_hears_of_panics_that_are_not_resumed";
    let Some(ended) = subprocess(name) else {
        for panicking in 1..=3 {
            let l = virtual_loop();
            for _ in 0..panicking {
                drop(l.spawn(async { boom() }));
            }
            assert_eq!(panics(|| l.run()), "boom");
            for _ in 0..panicking {
                drop(l.spawn(async { boom() }));
            }
            l.run_until_stalled();
        }
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
    let lines = ended.stderr.lines().filter_map(|line| line.strip_prefix("boucle: "));
    let told: Vec<&str> = lines.map(|line| line.rsplit(") p").next().unwrap()).collect();
    assert_eq!(
        told,
        [
            "anicked: boom, and nobody observed it",
            "1 more panic in a task was not observed",
            "anicked: boom, and nobody observed it (1 more like it)",
            "2 more panics in tasks were not observed",
            "anicked: boom, and nobody observed it (2 more like it)",
        ]
    );
}

#[test]
fn t19_a_loop_that_goes_tells_of_every_unobserved_panic() {
    let Some(ended) = subprocess("panics::t19_a_loop_that_goes_tells_of_every_unobserved_panic")
    else {
        // The last to let go of a handle is the callback, which goes with the loop.
        let handles = Rc::new(RefCell::new(Vec::new()));
        let captured = handles.clone();
        let l = Loop::builder().virtual_time().on_unobserved(move |_| drop(captured.clone()));
        let l = l.build();
        handles.borrow_mut().push(l.spawn(async { boom() }));
        l.run();
        drop::<Rc<RefCell<Vec<boucle::JoinHandle<()>>>>>(handles);
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.contains("panicked: boom"), "{ended:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn t19_a_loop_that_cannot_tell_goes_all_the_same() {
    let name = "panics::t19_a_loop_that_cannot_tell_goes_all_the_same";
    let Some(ended) = crate::support::unheard_subprocess(name) else {
        let drops = Drops::default();
        let l = virtual_loop();
        drop(l.spawn(async { boom() }));
        let task = l.spawn(async { boom() });
        drop(l.spawn(owning(drops.probe(), pending::<()>())));
        l.run_until_stalled();
        // Nothing panics in a drop: neither the loop's nor, later, the handle's.
        drop(l);
        drops.assert_all_dropped_here();
        drop::<boucle::JoinHandle<()>>(task);
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn t20_nothing_is_polled_after_a_panic_or_its_end() {
    let l = virtual_loop();
    for fails in [true, false] {
        let polls = Rc::new(Cell::new(0));
        let kept = Rc::new(RefCell::new(None));
        let task = l.spawn({
            let (polls, kept) = (polls.clone(), kept.clone());
            poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                *kept.borrow_mut() = Some(cx.waker().clone());
                cx.waker().wake_by_ref();
                if fails { boom() } else { Poll::Ready(()) }
            })
        });
        l.run_until_stalled();
        let waker: Waker = kept.take().unwrap();
        waker.wake_by_ref();
        l.run_until_stalled();
        l.block_on(async move { waker.wake() });
        l.run_until_stalled();
        assert_eq!((polls.get(), task.result().unwrap().is_err()), (1, fails));
    }
}

#[test]
fn t20_a_gather_polled_after_a_panic_or_its_end_says_so() {
    let l = virtual_loop();
    l.block_on(async {
        let log = Log::default();
        let mut failed = Box::pin(gather((
            async {
                let _on_drop = log.on_drop("other dropped");
                pending::<()>().await;
            },
            async { boom() },
        )));
        let waker = own_waker().await;
        assert_eq!(panics(|| poll_with(&mut failed, &waker)), "boom");
        assert_eq!(log.take(), ["other dropped"]);
        let after = panics(|| poll_with(&mut failed, &waker));
        assert!(after.contains("polled after it had ended"), "{after}");
        let mut ended = Box::pin(gather([ready(1)]));
        assert_eq!(poll_with(&mut ended, &waker), Poll::Ready([1]));
        let after = panics(|| poll_with(&mut ended, &waker));
        assert!(after.contains("polled after it had ended"), "{after}");
    });
}

#[test]
fn t21_a_future_that_panics_when_dropped() {
    let log = Log::default();
    let drops = Drops::default();
    let l = noting_loop(&log);
    let bomb = |ends: bool| {
        let owned = (drops.probe(), Bomb("future"), drops.probe());
        let output = drops.probe();
        owning(owned, async move {
            if !ends {
                pending::<()>().await;
            }
            output
        })
    };

    // At its end: the task has failed, its output is lost.
    let task = l.spawn(bomb(true));
    l.run_until_stalled();
    assert_eq!(task.status(), Status::Failed);
    assert_eq!(cause(task.result().unwrap().err().unwrap()), "panicked: boom future");
    assert!(log.take().is_empty(), "it was seen");
    drop(l.spawn(bomb(true)));
    l.run_until_stalled();
    assert_eq!(log.take(), ["unobserved panicked: boom future"]);

    // By a cancel, before and after its first poll: it is cancelled, and the panic unobserved.
    for polled in [false, true] {
        let task = l.spawn(bomb(false));
        if polled {
            l.run_until_stalled();
        }
        assert!(task.cancel());
        assert_eq!(task.status(), Status::Cancelled);
        assert!(task.result().unwrap().err().unwrap().is_cancelled());
        assert_eq!(log.take(), ["unobserved panicked: boom future"]);
    }

    // By its own cancel, on the stack.
    let own = Rc::new(RefCell::new(None));
    let task = l.spawn({
        let (own, bomb) = (own.clone(), bomb(false));
        async move {
            let mut bomb = Box::pin(bomb);
            poll_fn(|cx| {
                let canceller: &boucle::Canceller = &own.borrow_mut().take().unwrap();
                assert!(canceller.cancel());
                poll_with(&mut bomb, cx.waker())
            })
            .await
        }
    });
    *own.borrow_mut() = Some(task.canceller());
    l.run_until_stalled();
    assert_eq!(task.status(), Status::Cancelled);
    assert_eq!(log.take(), ["unobserved panicked: boom future"]);

    // With the loop.
    let task = l.spawn(bomb(false));
    l.run_until_stalled();
    drop(l.spawn(bomb(false)));
    drop(l);
    assert_eq!(log.take(), ["unobserved panicked: boom future"; 2]);
    assert_eq!(task.status(), Status::Cancelled);
    drops.assert_all_dropped_here();
    assert_eq!(drops.made(), 21);
}

#[test]
fn t21_a_main_future_that_panics_when_dropped() {
    let l = virtual_loop();
    let root = |ends: bool| {
        owning(Bomb("main"), async move {
            if !ends {
                pending::<()>().await;
            }
        })
    };
    assert_eq!(panics(|| l.block_on(root(true))), "boom main");
    // It stalls, so it is dropped: its destructor's panic comes before the stall's.
    assert_eq!(panics(|| _ = l.try_block_on(root(false))), "boom main");
    assert_eq!(panics(|| l.block_on(root(false))), "boom main");
    assert_eq!(panics(|| boucle::block_on(root(false))), "boom main");
    l.run();
}

#[test]
fn t22_the_first_of_two_panics_counts() {
    let log = Log::default();
    let l = noting_loop(&log);
    // A bomb in an async block would go off while the poll unwinds, which aborts in any Rust.
    let held = || owning(Bomb("future"), async { boom() });

    let task = l.spawn(held());
    l.run_until_stalled();
    assert_eq!(cause(task.result().unwrap().err().unwrap()), "panicked: boom");
    drop(task);
    drop(l.spawn(held()));
    l.run_until_stalled();
    assert_eq!(log.take(), ["unobserved panicked: boom"]);

    // The future's destructor and then the output's.
    let held = || owning(Bomb("future"), async { Bomb("output") });
    let task = l.spawn(held());
    drop(l.spawn(held()));
    l.run_until_stalled();
    assert_eq!(cause(task.result().unwrap().map(|_| ()).unwrap_err()), "panicked: boom future");
    assert_eq!(log.take(), ["unobserved panicked: boom future"]);

    // The same in a gather: the panic of the poll goes on.
    let sibling = owning(Bomb("sibling"), pending::<()>());
    let failed = panics(|| l.block_on(gather((sibling, async { boom() }))));
    assert_eq!(failed, "boom");
}

#[test]
fn t22_destructors_that_panic_while_the_thread_unwinds_do_not_abort() {
    let Some(ended) =
        subprocess("panics::t22_destructors_that_panic_while_the_thread_unwinds_do_not_abort")
    else {
        let panicked = catch_unwind(|| {
            let l = virtual_loop();
            let with_output = l.spawn(async { Bomb("output") });
            l.run_until_stalled();
            drop(l.spawn(async { boom() }));
            let cancelled = l.spawn(async {
                let _bomb = Bomb("cancelled");
                pending::<()>().await;
            });
            let _cancel = on_drop(move || _ = cancelled.cancel());
            for _ in 0..3 {
                drop(l.spawn(async {
                    let _bomb = Bomb("future");
                    pending::<()>().await;
                }));
            }
            l.run_until_stalled();
            // The loop, the handles and the futures are all dropped while this unwinds.
            let _handles = (with_output, l.spawn(async { Bomb("never made") }));
            panic!("boom outside");
        });
        assert_eq!(message(&*panicked.unwrap_err()), "boom outside");
        eprintln!("went on");
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.contains("went on"), "{ended:?}");
    assert!(ended.stderr.contains("panicked: boom, and nobody observed it"), "{ended:?}");
}

#[test]
fn t23_an_output_that_panics_when_dropped() {
    let log = Log::default();
    let l = noting_loop(&log);
    let give = || async { Bomb("output") };

    // The handle goes before the end, after it, or takes the output out.
    drop(l.spawn(give()));
    l.run_until_stalled();
    assert_eq!(log.take(), ["unobserved panicked: boom output"]);
    let task = l.spawn(give());
    l.run_until_stalled();
    drop(task);
    assert_eq!(log.take(), ["unobserved panicked: boom output"]);
    assert_eq!(panics(|| drop(l.block_on(l.spawn(give())))), "boom output");
    assert!(log.take().is_empty(), "the panic went to who dropped it");

    // Cancelled by itself in the poll that ends it, so that the output is dropped.
    let own: Rc<RefCell<Option<boucle::Canceller>>> = Rc::default();
    let task = l.spawn({
        let own = own.clone();
        async move {
            assert!(own.take().unwrap().cancel());
            Bomb("output")
        }
    });
    *own.borrow_mut() = Some(task.canceller());
    l.run_until_stalled();
    assert_eq!(task.status(), Status::Cancelled);
    assert_eq!(log.take(), ["unobserved panicked: boom output"]);

    // A finished task's handle dropped after its loop: it is told on stderr, and that is all.
    let task = l.spawn(give());
    l.run_until_stalled();
    drop(l);
    drop(task);
    assert!(log.take().is_empty());

    // Without a callback the next run resumes it.
    let l = virtual_loop();
    let task = l.spawn(give());
    l.run();
    drop(task);
    assert_eq!(panics(|| l.run()), "boom output");
}

#[test]
fn t23_an_output_that_panics_while_another_panic_is_resumed() {
    let name = "panics::t23_an_output_that_panics_while_another_panic_is_resumed";
    let Some(ended) = subprocess(name) else {
        // `block_on` has an output and resumes an unobserved panic instead of returning it.
        let l = virtual_loop();
        drop(l.spawn(async { panic!("boom first") }));
        let root = async {
            yield_now().await;
            Bomb("output")
        };
        assert_eq!(panics(|| drop(l.block_on(root))), "boom first");
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn t24_a_panic_in_one_destructor_leaves_no_other_task_behind() {
    let log = Log::default();
    let drops = Drops::default();
    for polled in [false, true] {
        let l = noting_loop(&log);
        for n in 0..10 {
            let (probe, bomb) = (drops.probe(), (n % 3 == 0).then(|| Bomb("future")));
            drop(l.spawn(async move {
                let _owned = (bomb, probe);
                pending::<()>().await;
            }));
        }
        if polled {
            l.run_until_stalled();
        }
        drop(l);
        drops.assert_all_dropped_here();
        assert_eq!(log.take().len(), 4);
    }
    assert_eq!(drops.made(), 20);

    // Nor in a chain of cancels, where each destructor cancels the next and then panics.
    let l = noting_loop(&log);
    let mut next = None;
    for _ in 0..5 {
        let (probe, victim) = (drops.probe(), next.take());
        let cancel = on_drop(move || {
            if let Some(victim) = &victim {
                boucle::JoinHandle::<()>::cancel(victim);
            }
        });
        next = Some(l.spawn(owning((probe, Bomb("future"), cancel), pending::<()>())));
    }
    assert!(next.unwrap().cancel());
    drops.assert_all_dropped_here();
    assert_eq!(log.take(), ["unobserved panicked: boom future"; 5]);
    assert!(l.tasks().is_empty());
}

#[test]
fn t35_a_payload_that_panics_when_dropped() {
    /// A payload whose destructor panics, with one whose destructor panics. The latter is of size
    /// zero: boucle leaks it on purpose, and so leaks nothing here.
    struct Payload(Drops);
    struct Shard;
    impl Drop for Payload {
        fn drop(&mut self) {
            drop(self.0.probe());
            std::panic::resume_unwind(Box::new(Shard));
        }
    }
    impl Drop for Shard {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new(()));
        }
    }
    let dropped = Drops::default();
    let throw = || {
        let payload = Payload(dropped.clone());
        async move { std::panic::resume_unwind(Box::new(payload)) }
    };
    let seen = |l: &Loop| {
        let task = l.spawn(throw());
        l.run_until_stalled();
        task
    };

    // Dropped with the handle, after it was seen.
    let l = virtual_loop();
    let task = seen(&l);
    assert!(task.result().unwrap().is_err());
    drop::<boucle::JoinHandle<()>>(task);
    assert_eq!(dropped.dropped(), 1);
    // Unobserved: the first is kept and resumed, the second dropped at once.
    drop(seen(&l));
    assert_eq!(dropped.dropped(), 1);
    drop(seen(&l));
    assert_eq!(dropped.dropped(), 2);
    let payload = catch_unwind(AssertUnwindSafe(|| l.run())).unwrap_err();
    assert!(payload.is::<Payload>());
    let shard = catch_unwind(AssertUnwindSafe(|| drop(payload))).unwrap_err();
    assert!(shard.is::<Shard>());
    std::mem::forget(shard);
    // Unobserved when the loop goes, and with a handle that stays longer than the loop.
    drop(seen(&l));
    let task = seen(&l);
    drop(l);
    assert_eq!(dropped.dropped(), 4);
    drop(task);
    assert_eq!(dropped.dropped(), 5);

    // A callback that drops the error, and so panics.
    let calls = Rc::new(Cell::new(0));
    let l = Loop::builder().virtual_time();
    let l = l.on_unobserved({
        let calls = calls.clone();
        move |error| {
            calls.set(calls.get() + 1);
            drop(error);
        }
    });
    let l = l.build();
    drop(seen(&l));
    l.run();
    // Both of them: what a panicking drop throws is dropped, too.
    assert_eq!((calls.get(), dropped.dropped()), (1, 6));
}

#[test]
fn t35_a_callback_for_unobserved_panics_may_drop_the_loop() {
    let slot: Rc<RefCell<Option<Loop>>> = Rc::default();
    let drops = Drops::default();
    let l = Loop::builder().virtual_time().on_unobserved({
        let slot = slot.clone();
        move |error| {
            assert_eq!(cause(&error), "panicked: boom");
            drop(slot.take());
            boom();
        }
    });
    let l = l.build();
    let bad = l.spawn(async { boom() });
    let probe = drops.probe();
    let other = l.spawn(async move {
        let _probe = probe;
        pending::<()>().await;
    });
    l.run_until_stalled();
    *slot.borrow_mut() = Some(l);
    drop::<boucle::JoinHandle<()>>(bad);
    assert!(slot.borrow().is_none());
    assert_eq!((drops.dropped(), other.status()), (1, Status::Cancelled));
}

#[test]
fn t36_an_iterator_that_panics_leaves_the_loop_usable() {
    let log = Log::default();
    let l = virtual_loop();
    l.block_on(async {
        let cook = |name| {
            let log = log.clone();
            Box::pin(async move { log.push(name) })
        };
        let menu = ["soda", "fries", "burger"].into_iter();
        let failed =
            panics(|| wait(menu.map(|name| if name == "burger" { boom() } else { cook(name) })));
        assert_eq!(failed, "boom");
        // Those that were spawned by then are detached; the place of `wait` is not left behind.
        let (done, _) = wait([cook("pie")]).await;
        assert_eq!(log.take(), ["soda", "fries", "pie"]);
        assert!(done.iter().all(|task| task.spawned_at().file() == file!()));

        // A destructor that panics inside `wait`'s own drop of its arguments.
        let futures: Vec<Pin<Box<dyn Future<Output = ()>>>> = vec![cook("tea"), cook("cake")];
        let failed = panics(|| wait(futures.into_iter().inspect(|_| panic_any("boom"))));
        assert_eq!(failed, "boom");
    });
    l.run();
    assert!(log.take().is_empty(), "none of them was spawned");
    // A lock that a panic has been through poisons nothing: the bell, the inbox, the errors.
    drop(l.spawn(async { boom() }));
    assert_eq!(panics(|| l.run()), "boom");
    assert_eq!(l.block_on(l.spawn(async { 1 })).unwrap(), 1);
    let error = l.block_on(l.spawn(async { boom() })).unwrap_err();
    assert_eq!(cause(&error), "panicked: boom");
}

#[test]
fn a_panic_that_nobody_saw_fails_a_block_on_that_ends_at_its_first_poll() {
    let message = panics(|| {
        block_on(async {
            let mut owner = Box::pin(scope(async |s| {
                drop(s.spawn(owning(Bomb("guest"), pending::<()>())));
                pending::<()>().await;
            }));
            assert!(poll_with(&mut owner, Waker::noop()).is_pending());
            // No task is left by the end, but a panic is.
            drop(owner);
            "soda"
        })
    });
    assert_eq!(message, "boom guest");
}
