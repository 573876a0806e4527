//! Wakers: at home, elsewhere, after the end, and those of other executors. Traps 1 to 18.
#![expect(clippy::waker_clone_wake, reason = "wakes of a clone take another way than by reference")]

use std::{
    cell::{Cell, RefCell},
    future::{IntoFuture, pending, poll_fn},
    pin::Pin,
    rc::{Rc, Weak},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, RawWaker, RawWakerVTable, Wake, Waker},
    thread,
    time::Duration,
};

use boucle::{Loop, Status, Waiter, gather, sleep, spawn, wait, yield_now};

use crate::support::{
    Act, Drops, Log, blocks, boom, foreign_waker, noting_waker, on_drop, own_waker, panics, pause,
    poll_with, quiet, virtual_loop,
};

/// A task that gave its waker away at its first poll and waits for ever.
fn sleeper<T: 'static>(l: &Loop, owned: T) -> Waker {
    let waker = Rc::new(RefCell::new(None));
    let place = waker.clone();
    drop(l.spawn(async move {
        let _owned = owned;
        pause(move |waker| *place.borrow_mut() = Some(waker.clone())).await;
        pending::<()>().await;
    }));
    l.run_until_stalled();
    waker.take().unwrap()
}

/// Runs `f` on another thread, to its end.
fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    // Real threads: a waker must work away from its loop's thread; joined, so nothing races.
    thread::scope(|scope| scope.spawn(f).join().unwrap())
}

#[test]
fn t01_wakers_outlive_their_loop_here_and_elsewhere() {
    #[repr(align(1024))]
    struct Aligned;
    let drops = Drops::default();
    let l = virtual_loop();
    let waker = sleeper(&l, (drops.probe(), Aligned));
    let elder = waker.clone();
    drop(l);
    drops.assert_all_dropped_here();
    assert_eq!(drops.dropped(), 1);

    // Used in every way after the loop, on two threads.
    waker.wake_by_ref();
    let young = waker.clone();
    assert!(young.will_wake(&waker));
    young.wake();
    let back = elsewhere(move || {
        waker.wake_by_ref();
        let other = waker.clone();
        drop(waker);
        other.clone().wake();
        other
    });
    assert!(back.will_wake(&elder));
    drop(elder);
    assert_eq!(blocks::<Aligned>(), 1, "the last waker keeps the memory");
    elsewhere(move || drop(back));
    assert_eq!(blocks::<Aligned>(), 0, "and nothing else does");
}

#[test]
fn t02_wakes_while_the_loop_is_dropped() {
    #[repr(align(2048))]
    struct Aligned;
    let drops = Drops::default();
    for _ in 0..200 {
        let l = virtual_loop();
        let wakers: Vec<Waker> = (0..4).map(|_| sleeper(&l, (drops.probe(), Aligned))).collect();
        let start = Barrier::new(3);
        // Real threads: the race between a wake and the drop of the loop is what is tested.
        thread::scope(|scope| {
            for mine in [wakers.clone(), wakers] {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..8 {
                        mine.iter().for_each(Waker::wake_by_ref);
                        mine.iter().for_each(|waker| waker.clone().wake());
                    }
                    mine.into_iter().for_each(Waker::wake);
                });
            }
            start.wait();
            drop(l);
        });
        drops.assert_all_dropped_here();
        assert_eq!(blocks::<Aligned>(), 0);
    }
    assert_eq!(drops.made(), 800);
}

#[test]
fn t03_futures_and_outputs_are_dropped_at_home_only() {
    let drops = Drops::default();
    let l = virtual_loop();

    // The last reference to a task is a waker that is woken, or dropped, elsewhere.
    for woken in [true, false] {
        let waker = sleeper(&l, drops.probe());
        elsewhere(move || if woken { waker.wake() } else { drop(waker) });
        l.run_until_stalled();
    }
    assert_eq!(drops.dropped(), 0, "they wait on");

    // A waker that is elsewhere keeps neither the future of an ended task nor its output.
    let (future, output) = (drops.probe(), drops.probe());
    let kept = Rc::new(RefCell::new(None));
    let task = l.spawn({
        let kept = kept.clone();
        async move {
            let _future = future;
            *kept.borrow_mut() = Some(own_waker().await);
            output
        }
    });
    l.run_until_stalled();
    assert_eq!(drops.dropped(), 1);
    let waker = kept.take().unwrap();
    let waker = elsewhere(move || {
        waker.wake_by_ref();
        waker
    });
    drop(task);
    assert_eq!(drops.dropped(), 2);
    elsewhere(move || drop(waker));

    // A cancel drops at once, although the waker is elsewhere.
    let probe = drops.probe();
    let task = l.spawn({
        let kept = kept.clone();
        async move {
            let _probe = probe;
            *kept.borrow_mut() = Some(own_waker().await);
            pending::<()>().await;
        }
    });
    l.run_until_stalled();
    let waker = kept.take().unwrap();
    let waker = elsewhere(move || waker.clone());
    assert!(task.cancel());
    assert_eq!(drops.dropped(), 3);
    elsewhere(move || waker.wake());

    // Nor does the waker of a joiner drop anything there: it is this thread's.
    let other = l.spawn(pending::<()>());
    let waker = sleeper(&l, (drops.probe(), other));
    drop(l);
    elsewhere(move || drop(waker));
    drops.assert_all_dropped_here();
    assert_eq!(drops.made(), 6);
}

#[test]
fn t04_wakers_are_counted_by_all_threads_at_once() {
    #[repr(align(512))]
    struct Aligned;
    const THREADS: usize = 3;
    let ended = Arc::new(AtomicUsize::new(0));
    let l = virtual_loop();
    let polls = Rc::new(Cell::new(0));
    // Real threads: counts at home are plain, counts elsewhere atomic; only a race tells.
    let handles = Rc::new(RefCell::new(Vec::new()));
    drop(l.spawn({
        let (ended, polls, handles) = (ended.clone(), polls.clone(), handles.clone());
        let aligned = Aligned;
        poll_fn(move |cx| {
            let _aligned = &aligned;
            polls.set(polls.get() + 1);
            if polls.get() == 1 {
                for _ in 0..THREADS {
                    let (waker, ended) = (cx.waker().clone(), ended.clone());
                    handles.borrow_mut().push(thread::spawn(move || {
                        for _ in 0..2000 {
                            let copy = waker.clone();
                            waker.wake_by_ref();
                            copy.clone().wake();
                        }
                        ended.fetch_add(1, Ordering::Relaxed);
                        waker.wake();
                    }));
                }
            }
            let copies = [(); 8].map(|()| cx.waker().clone());
            assert!(copies.iter().all(|copy| copy.will_wake(cx.waker())));
            let over = ended.load(Ordering::Relaxed) == THREADS && polls.get() > 1;
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
    }));
    // If a wake were lost this would never end; if a count were, it would crash or report a stall.
    l.run();
    handles.take().into_iter().for_each(|handle| handle.join().unwrap());
    assert!(polls.get() > 1);
    drop(l);
    assert_eq!(blocks::<Aligned>(), 0);
}

#[test]
fn t05_a_waker_dropped_while_its_task_is_scheduled_or_has_ended() {
    #[repr(align(8192))]
    struct Aligned;
    let log = Log::default();
    let l = virtual_loop();
    for at_home in [true, false] {
        let kept = Rc::new(RefCell::new(None));
        drop(l.spawn({
            let (log, kept, aligned) = (log.clone(), kept.clone(), Aligned);
            async move {
                let _aligned = aligned;
                pause(|waker| {
                    log.push("first");
                    waker.wake_by_ref();
                    drop(waker.clone());
                    *kept.borrow_mut() = Some(waker.clone());
                })
                .await;
                log.push("second");
            }
        }));
        assert!(l.step());
        let waker = kept.take().unwrap();
        let twin = waker.clone();
        let use_up = move || {
            waker.wake_by_ref();
            drop(waker);
        };
        if at_home {
            use_up()
        } else {
            elsewhere(use_up)
        }
        assert_eq!(log.take(), ["first"]);
        l.run_until_stalled();
        assert_eq!(log.take(), ["second"]);
        // Now it has ended.
        twin.wake_by_ref();
        assert_eq!(blocks::<Aligned>(), 1);
        if at_home {
            drop(twin)
        } else {
            elsewhere(move || drop(twin))
        }
        l.run_until_stalled();
        assert_eq!(blocks::<Aligned>(), 0, "at home: {at_home}");
    }
    assert!(log.take().is_empty());
}

#[test]
fn t06_a_waker_dropped_elsewhere_after_the_end_frees_the_task() {
    #[repr(align(16384))]
    struct Aligned;
    for loop_lives in [true, false] {
        let l = virtual_loop();
        let aligned = Aligned;
        let waker = l.block_on({
            let task = l.spawn(async move {
                let _aligned = aligned;
                own_waker().await
            });
            async { task.await.unwrap() }
        });
        assert_eq!(blocks::<Aligned>(), 1);
        let l = loop_lives.then_some(l);
        elsewhere(move || drop(waker));
        if let Some(l) = l {
            // Its home learns of it by letter.
            l.run_until_stalled();
            assert_eq!(blocks::<Aligned>(), 0);
        }
        assert_eq!(blocks::<Aligned>(), 0);
    }
}

#[test]
fn t08_the_memory_of_a_task_goes_with_its_last_waker() {
    #[repr(align(32768))]
    struct Aligned;
    // Under valgrind this also shows that nothing is read after the last reference.
    let l = virtual_loop();
    let give = || {
        let aligned = Aligned;
        let task = l.spawn(async move {
            let _aligned = aligned;
            own_waker().await
        });
        l.block_on(task).unwrap()
    };

    // Between runs no thread is home: the waker goes by letter.
    give().wake();
    l.run_until_stalled();
    assert_eq!(blocks::<Aligned>(), 0);

    // In a run, at once.
    let waker = give();
    l.block_on(async move { waker.wake() });
    assert_eq!(blocks::<Aligned>(), 0);

    // At its end, if nobody is left to ask.
    let aligned = Aligned;
    drop(l.spawn(async move {
        let _aligned = aligned;
        yield_now().await;
    }));
    assert_eq!(blocks::<Aligned>(), 1);
    l.run();
    assert_eq!(blocks::<Aligned>(), 0);

    // In its own joiner's wake, which drops the handle: the end of the task is still going on.
    let handle = Rc::new(RefCell::new(None));
    let joiner = foreign_waker({
        let handle = handle.clone();
        move |act| {
            if act == Act::Wake {
                drop(handle.take());
            }
        }
    });
    let aligned = Aligned;
    let mut task = l.spawn(async move {
        yield_now().await;
        aligned
    });
    l.block_on(async {
        assert!(poll_with(&mut task, &joiner).is_pending());
        *handle.borrow_mut() = Some(task);
        yield_now().await;
        yield_now().await;
        assert!(handle.borrow().is_none());
    });
    assert_eq!(blocks::<Aligned>(), 0);

    // After the loop.
    let waker = give();
    drop(l);
    waker.wake();
    assert_eq!(blocks::<Aligned>(), 0);

    // With its loop: home counts one waker less than none, another thread one more.
    let l = virtual_loop();
    let waker = sleeper(&l, Aligned);
    l.block_on(async {
        let clone = elsewhere(|| waker.clone());
        drop([waker, clone]);
    });
    assert_eq!(blocks::<Aligned>(), 1);
    drop(l);
    assert_eq!(blocks::<Aligned>(), 0);

    // With its loop, which has read its last letters when it drops the callback of its host: those
    // that come now keep nothing, nor do those about timers.
    let l = virtual_loop();
    let waker = sleeper(&l, Aligned);
    let [dropped, mut moved] = l.block_on(async {
        let mut sleeps = [1, 2].map(|n| sleep(Duration::from_secs(n)));
        poll_fn(|cx| {
            assert!(sleeps.iter_mut().all(|sleep| Pin::new(sleep).poll(cx).is_pending()));
            Poll::Ready(())
        })
        .await;
        sleeps
    });
    let mut late = Some(move || {
        waker.wake();
        drop(dropped);
        moved.reset(moved.deadline() + Duration::from_secs(1));
    });
    let late = Mutex::new(on_drop(move || elsewhere(late.take().unwrap())));
    l.on_wake(move || {
        let _late = &late;
    });
    drop(l);
    assert_eq!(blocks::<Aligned>(), 0);
}

#[test]
fn t09_no_reference_is_turned_back_into_a_pointer_to_a_task() {
    // Such a pointer would cover the header alone, and using it for the rest would be undefined.
    // Only an interpreter notices, so the rule is kept by reading the source.
    let mut pointers = 0;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/task");
    let inner = concat!(env!("CARGO_MANIFEST_DIR"), "/src/task/nursery");
    let entries = [folder, inner].map(|folder| std::fs::read_dir(folder).unwrap());
    for path in entries.into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        pointers += text.matches("NonNull<Header>").count();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for banned in [
                "NonNull::from(task",
                "NonNull::from(self",
                "NonNull::from(header",
                "NonNull::from(&",
                "NonNull::from_ref(",
                "NonNull::from_mut(",
                "ptr::from_ref(task",
                "ptr::from_ref(header",
                "&raw const *task",
                "as *const Header as",
                "as *mut Header",
            ] {
                assert!(!code.contains(banned), "{}:{}: {line}", path.display(), number + 1);
            }
        }
    }
    assert!(pointers > 10, "the rule looks for pointers where there are none");
}

#[test]
fn t10_will_wake_knows_a_task_by_its_wakers() {
    let l = virtual_loop();
    let (one, two) = l.block_on(async {
        let one = spawn(async {
            let first = own_waker().await;
            yield_now().await;
            let second = own_waker().await;
            assert!(first.will_wake(&second) && second.will_wake(&first));
            assert!(first.clone().will_wake(&second.clone()));
            first
        });
        let two = spawn(async { own_waker().await });
        (one.await.unwrap(), two.await.unwrap())
    });
    assert!(!one.will_wake(&two));
    // Two futures, both instantiated in this crate, and one static of the other.
    assert!(std::ptr::eq(one.vtable(), two.vtable()));
    assert!(std::ptr::eq(one.vtable(), elsewhere(|| one.clone()).vtable()));
}

#[test]
fn t11_a_foreign_waker_with_the_address_of_a_task_is_not_mistaken_for_it() {
    static WAKES: AtomicUsize = AtomicUsize::new(0);
    static IMPOSTOR: RawWakerVTable = RawWakerVTable::new(
        |data| RawWaker::new(data, &IMPOSTOR),
        |_| _ = WAKES.fetch_add(1, Ordering::Relaxed),
        |_| _ = WAKES.fetch_add(1, Ordering::Relaxed),
        |_| {},
    );
    let l = virtual_loop();
    let polls = Rc::new(Cell::new(0));
    let gate = Rc::new(Waiter::new(1));
    let task = l.spawn({
        let (polls, gate) = (polls.clone(), gate.clone());
        async move {
            let (mut nap, mut queued) = (sleep(Duration::from_secs(1)), gate.into_future());
            let mut task = spawn(yield_now());
            poll_fn(|cx| {
                polls.set(polls.get() + 1);
                // SAFETY: the vtable does nothing with the data.
                let impostor = unsafe { Waker::new(cx.waker().data(), &IMPOSTOR) };
                assert!(!impostor.will_wake(cx.waker()));
                assert!(poll_with(&mut nap, &impostor).is_pending());
                assert!(poll_with(&mut queued, &impostor).is_pending());
                assert!(poll_with(&mut task, &impostor).is_pending());
                Poll::<()>::Pending
            })
            .await;
        }
    });
    l.run_until_stalled();
    assert_eq!(WAKES.load(Ordering::Relaxed), 1, "the join");
    l.advance(Duration::from_secs(1));
    assert_eq!(WAKES.load(Ordering::Relaxed), 2, "the timer");
    gate.set();
    l.run_until_stalled();
    assert_eq!(WAKES.load(Ordering::Relaxed), 3, "the gate");
    assert_eq!((polls.get(), task.status()), (1, Status::Waiting), "and never the task");
}

#[test]
fn t12_wake_neither_polls_nor_blocks() {
    let log = Log::default();
    let l = virtual_loop();
    let waker = Rc::new(RefCell::new(None));
    drop(l.spawn({
        let (log, waker) = (log.clone(), waker.clone());
        async move {
            pause(|own| *waker.borrow_mut() = Some(own.clone())).await;
            log.push("polled");
        }
    }));
    drop(l.spawn({
        let (log, waker) = (log.clone(), waker.clone());
        async move {
            log.push("wake");
            waker.take().unwrap().wake();
            log.push("woken");
            pause(|own| {
                log.push("wake self");
                own.wake_by_ref();
                log.push("self woken");
            })
            .await;
            log.push("polled again");
        }
    }));
    l.run();
    let trace = ["wake", "woken", "wake self", "self woken", "polled", "polled again"];
    assert_eq!(log.take(), trace);

    // However many wakes nobody reads, each returns.
    let wakers: Vec<Waker> = (0..10_000).map(|_| sleeper(&l, ())).collect();
    elsewhere(move || {
        for _ in 0..3 {
            wakers.iter().for_each(Waker::wake_by_ref);
        }
    });
    assert_eq!(l.tasks().iter().filter(|task| task.status == Status::Waiting).count(), 10_000);
}

#[test]
fn t12_a_wake_at_the_end_of_a_step_is_not_lost() {
    let rings = Arc::new(AtomicUsize::new(0));
    let l = virtual_loop();
    l.on_wake({
        let rings = rings.clone();
        move || _ = rings.fetch_add(1, Ordering::Relaxed)
    });
    let kept = Rc::new(RefCell::new(None));
    let task = l.spawn({
        let kept = kept.clone();
        async move { pause(|waker| *kept.borrow_mut() = Some(waker.clone())).await }
    });
    l.run_until_stalled();
    // A letter about a timer makes home drop this waker, which makes another thread wake the
    // task, after the letters were read: the step finds nothing and then learns of the wake.
    let waker: Waker = kept.take().unwrap();
    let foreign = foreign_waker(move |act| {
        if act == Act::Drop {
            elsewhere(|| waker.wake_by_ref());
        }
    });
    let mut nap = None;
    l.block_on(async {
        let nap = nap.insert(sleep(Duration::from_secs(1)));
        assert!(poll_with(nap, &foreign).is_pending());
    });
    drop(nap);
    rings.store(0, Ordering::Relaxed);
    while l.step() {}
    // A host that steps until there is nothing to do then waits for the bell.
    let rung = rings.load(Ordering::Relaxed) > 0;
    assert!(task.is_finished() || rung, "{} and nobody knows", task.status());
}

/// Calls whatever there is to call.
fn call_everything(l: &Weak<Loop>, gate: &Waiter) {
    let Some(l) = l.upgrade() else { return };
    let on_drop = on_drop({
        let l = Rc::downgrade(&l);
        move || drop(l.upgrade().map(|l| l.spawn(async {})))
    });
    let victim = l.spawn(async move {
        let _on_drop = on_drop;
        pending::<()>().await;
    });
    assert_eq!(victim.name(), "call_everything");
    let canceller = victim.canceller();
    assert!(l.tasks().iter().any(|task| task.id == victim.id()));
    assert!(canceller.cancel() && !victim.cancel());
    assert!(victim.result().unwrap().unwrap_err().is_cancelled());
    drop(spawn(async {}).named("nobody"));
    assert!(format!("{l:?} {victim:?}").contains("CANCELLED"));
    let _ = (l.next_deadline(), l.on_wake(|| {}));
    let mut nap = sleep(Duration::from_millis(1));
    assert!(nap.deadline() > l.now());
    assert!(poll_with(&mut nap, Waker::noop()).is_pending());
    let mut queued = gate.into_future();
    let _ = poll_with(&mut queued, Waker::noop());
    drop((nap, queued));
    gate.set();
    assert!(panics(|| l.step()).contains("`Loop::step` called inside"));
    drop(wait([victim]));
}

#[test]
fn t13_foreign_wakers_may_call_everything_at_any_time() {
    /// Registers two wakers with `future`, one after the other, and then calls `fire`.
    async fn replaced_and_fired(
        log: &Log,
        wakers: &[Waker; 2],
        mut future: Pin<Box<dyn Future<Output = ()>>>,
        fire: impl AsyncFnOnce(),
    ) -> Vec<String> {
        log.take();
        assert!(poll_with(&mut future, &wakers[0]).is_pending());
        assert!(poll_with(&mut future, &wakers[1]).is_pending());
        assert!(poll_with(&mut future, &wakers[1]).is_pending());
        fire().await;
        let trace = log.take();
        assert!(poll_with(&mut future, &wakers[1]).is_ready());
        trace
    }

    let log = Log::default();
    let l = Rc::new(virtual_loop());
    let wakers = ["one", "two"].map(|name| {
        let (log, l) = (log.clone(), Rc::downgrade(&l));
        foreign_waker(move |act| {
            log.push(format!("{act:?} {name}"));
            call_everything(&l, &Waiter::new(2));
        })
    });
    let trace = ["Clone one", "Clone two", "Drop one", "Wake two", "Drop two"];

    l.block_on(async {
        let gate = Rc::new(Waiter::new(1));
        let task = spawn({
            let gate = gate.clone();
            async move { (&*gate).await }
        });
        let join = Box::pin(async { task.await.unwrap() });
        let fire = async || {
            gate.set();
            yield_now().await;
            yield_now().await;
        };
        assert_eq!(replaced_and_fired(&log, &wakers, join, fire).await, trace, "join");

        let nap = Box::pin(sleep(Duration::from_secs(1)));
        let fire = async || sleep(Duration::from_secs(1)).await;
        assert_eq!(replaced_and_fired(&log, &wakers, nap, fire).await, trace, "sleep");

        for gathered in [false, true] {
            let gate = Rc::new(Waiter::new(1));
            let future: Pin<Box<dyn Future<Output = ()>>> = {
                let gate = gate.clone();
                let open = async move { (&*gate).await };
                if gathered { Box::pin(async { gather((open,)).await.0 }) } else { Box::pin(open) }
            };
            let fire = async || gate.set();
            let fired = replaced_and_fired(&log, &wakers, future, fire).await;
            assert_eq!(fired, trace, "gathered: {gathered}");
        }

        let gate = Rc::new(Waiter::new(1));
        let task = spawn({
            let gate = gate.clone();
            async move { (&*gate).await }
        });
        let both = Box::pin(async {
            let (done, _) = wait([task]).await;
            assert_eq!(done.len(), 1);
        });
        let fire = async || {
            gate.set();
            yield_now().await;
            yield_now().await;
        };
        assert_eq!(replaced_and_fired(&log, &wakers, both, fire).await, trace, "wait");

        // Registered, and never fired.
        let closed = Waiter::new(1);
        let idle = spawn(pending::<()>());
        let mut nap = sleep(Duration::from_secs(9));
        let mut queued = closed.into_future();
        let canceller = idle.canceller();
        let mut joined = idle;
        assert!(poll_with(&mut nap, &wakers[0]).is_pending());
        assert!(poll_with(&mut queued, &wakers[0]).is_pending());
        assert!(poll_with(&mut joined, &wakers[0]).is_pending());
        log.take();
        drop((nap, queued, joined));
        assert_eq!(log.take(), ["Drop one"; 3]);
        assert!(canceller.cancel());
    });
    // What is registered when the loop goes: a waker calls into a loop that closes.
    let mut nap = None;
    l.block_on(async {
        let nap = nap.insert(sleep(Duration::from_secs(9)));
        assert!(poll_with(nap, &wakers[0]).is_pending());
    });
    log.take();
    drop(Rc::into_inner(l).unwrap());
    assert_eq!(log.take(), ["Drop one"]);
    drop(nap);
    assert!(log.take().is_empty());
}

#[test]
fn t13_a_waker_that_ends_what_it_is_to_wait_for() {
    let l = virtual_loop();
    for when in [Act::Clone, Act::Drop] {
        let at = |f: Box<dyn Fn()>| {
            foreign_waker(move |act| {
                if act == when {
                    f()
                }
            })
        };
        // Dropped when the second waker replaces it, or cloned at the first poll.
        let waits = |future: &mut dyn FnMut(&Waker) -> bool, bad: &Waker| {
            let ready = future(bad);
            if when == Act::Clone {
                return !ready;
            }
            ready || !future(Waker::noop())
        };
        l.block_on(async {
            let mut task = spawn(pending::<()>());
            let canceller = task.canceller();
            let bad = at(Box::new(move || _ = canceller.cancel()));
            let waited = waits(&mut |waker| poll_with(&mut task, waker).is_ready(), &bad);
            assert!(!waited, "{when:?}: it was cancelled meanwhile");

            let gate = Rc::new(Waiter::new(1));
            let mut queued = (&*gate).into_future();
            let opens = gate.clone();
            let bad = at(Box::new(move || opens.set()));
            let waited = waits(&mut |waker| poll_with(&mut queued, waker).is_ready(), &bad);
            assert!(!waited, "{when:?}: it was opened meanwhile");
        });
    }
}

#[test]
fn t14_a_wake_never_drops_and_a_drop_may_wake() {
    let log = Log::default();
    let l = virtual_loop();

    // The last reference to a task without a handle is the waker: its wake drops nothing.
    let waker = sleeper(&l, log.on_drop("dropped"));
    l.block_on({
        let log = log.clone();
        async move {
            log.push("wake");
            waker.wake();
            log.push("woken");
        }
    });
    l.run_until_stalled();
    assert_eq!(log.take(), ["wake", "woken"]);

    // The drop of one task wakes itself and another, which runs at its turn.
    let (kept, sibling) = (Rc::new(RefCell::new(None)), Rc::new(RefCell::new(None)));
    drop(l.spawn({
        let (log, sibling) = (log.clone(), sibling.clone());
        async move {
            pause(|waker| *sibling.borrow_mut() = Some(waker.clone())).await;
            log.push("sibling runs");
        }
    }));
    let wake_both = on_drop({
        let (log, kept) = (log.clone(), kept.clone());
        move || {
            log.push("drop begins");
            sibling.take().into_iter().chain(kept.take()).for_each(Waker::wake);
            log.push("drop ends");
        }
    });
    let task = l.spawn(async move {
        let _wake_both = wake_both;
        pause(|waker| *kept.borrow_mut() = Some(waker.clone())).await;
    });
    l.run_until_stalled();
    assert!(task.cancel());
    assert_eq!(log.take(), ["drop begins", "drop ends"]);
    l.run_until_stalled();
    assert_eq!(log.take(), ["sibling runs"]);
    drop(l);
    assert_eq!(log.take(), ["dropped"]);
}

#[test]
fn t15_destructors_wake_their_own_task_and_its_siblings() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum End {
        Ready,
        Cancel,
        LoopDrop,
    }
    for end in [End::Ready, End::Cancel, End::LoopDrop] {
        let log = Log::default();
        let l = virtual_loop();
        let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
        let tasks = [0, 1, 2].map(|n| {
            let wake_all = on_drop({
                let (log, wakers) = (log.clone(), wakers.clone());
                move || {
                    log.push(format!("drop {n}"));
                    wakers.borrow().iter().for_each(Waker::wake_by_ref);
                }
            });
            let (log, wakers) = (log.clone(), wakers.clone());
            l.spawn(async move {
                let _wake_all = wake_all;
                pause(|waker| wakers.borrow_mut().push(waker.clone())).await;
                log.push(format!("poll {n}"));
                if end == End::LoopDrop {
                    pending::<()>().await;
                }
            })
        });
        l.run_until_stalled();
        match end {
            End::Ready => {
                wakers.borrow()[0].wake_by_ref();
                l.run_until_stalled();
                let trace = ["poll 0", "drop 0", "poll 1", "drop 1", "poll 2", "drop 2"];
                assert_eq!(log.take(), trace);
            }
            End::Cancel => {
                tasks[1].cancel();
                assert_eq!(log.take(), ["drop 1"]);
                l.run_until_stalled();
                assert_eq!(log.take(), ["poll 0", "drop 0", "poll 2", "drop 2"]);
            }
            End::LoopDrop => {
                // All are in the queue when it is cleared, and each drop wakes all again.
                wakers.borrow().iter().for_each(Waker::wake_by_ref);
                drop(l);
                assert_eq!(log.take(), ["drop 0", "drop 1", "drop 2"]);
                assert!(tasks.iter().all(|task| task.status() == Status::Cancelled));
                continue;
            }
        }
        drop(l);
        assert!(log.take().is_empty());
    }
}

#[test]
fn t16_a_wake_after_the_end_is_ignored() {
    let l = virtual_loop();
    let polls = Rc::new(Cell::new(0));
    let kept = Rc::new(RefCell::new(None));
    let task = l.spawn({
        let (polls, kept) = (polls.clone(), kept.clone());
        poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            // It even ends while it is woken.
            cx.waker().wake_by_ref();
            *kept.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(7)
        })
    });
    l.run_until_stalled();
    let waker: Waker = kept.take().unwrap();
    waker.wake_by_ref();
    elsewhere(|| waker.wake_by_ref());
    assert!(!l.step(), "nothing is ready");
    l.block_on(async { waker.wake_by_ref() });
    l.run_until_stalled();
    assert_eq!((polls.get(), task.status()), (1, Status::Finished));
    assert_eq!(task.result().unwrap().ok(), Some(&7));
}

#[test]
fn t17_a_foreign_waker_that_panics_stops_nobody_else() {
    quiet();
    let log = Log::default();
    let l = virtual_loop();
    let bad = {
        let log = log.clone();
        foreign_waker(move |act| {
            if act == Act::Wake {
                log.push("boom");
                boom();
            }
        })
    };
    let [before, after] = ["before", "after"].map(|name| {
        let log = log.clone();
        foreign_waker(move |act| {
            if act == Act::Wake {
                log.push(name);
            }
        })
    });
    l.block_on(async {
        let wakers = [&before, &bad, &after];

        let mut naps = wakers.map(|_| sleep(Duration::from_secs(1)));
        for (nap, waker) in naps.iter_mut().zip(wakers) {
            assert!(poll_with(nap, waker).is_pending());
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(log.take(), ["before", "boom", "after"], "timers");
        assert!(naps.iter_mut().all(|nap| poll_with(nap, &after).is_ready()));

        let gate = Waiter::new(1);
        let mut queue = wakers.map(|_| gate.into_future());
        for (place, waker) in queue.iter_mut().zip(wakers) {
            assert!(poll_with(place, waker).is_pending());
        }
        gate.set();
        assert_eq!(log.take(), ["before", "boom", "after"], "queue");
        assert!(queue.iter_mut().all(|place| poll_with(place, &after).is_ready()));

        let mut tasks = wakers.map(|_| spawn(async {}));
        for (task, waker) in tasks.iter_mut().zip(wakers) {
            assert!(poll_with(task, waker).is_pending());
        }
        yield_now().await;
        assert_eq!(log.take(), ["before", "boom", "after"], "joins");
        assert!(tasks.iter_mut().all(|task| poll_with(task, &after).is_ready()));
    });
    // The panic belongs to the waker: no task failed, nothing is resumed.
    l.run();
}

#[test]
fn t17_a_foreign_waker_that_panics_when_dropped_stops_nobody_else() {
    quiet();
    let l = virtual_loop();
    let armed = Rc::new(Cell::new(true));
    let count = Rc::new(Cell::new(0));
    let bad = foreign_waker({
        let (armed, count) = (armed.clone(), count.clone());
        move |act| {
            if act == Act::Drop && armed.get() {
                count.set(count.get() + 1);
                boom();
            }
        }
    });
    l.block_on(async {
        let (mut nap, gate) = (sleep(Duration::from_secs(1)), Waiter::new(1));
        let (mut task, mut queued) = (spawn(pending::<()>()), gate.into_future());
        assert!(poll_with(&mut nap, &bad).is_pending());
        assert!(poll_with(&mut queued, &bad).is_pending());
        assert!(poll_with(&mut task, &bad).is_pending());
        // One fires, one is replaced, one is dropped.
        sleep(Duration::from_secs(1)).await;
        assert_eq!(count.get(), 1);
        assert!(poll_with(&mut queued, Waker::noop()).is_pending());
        assert_eq!(count.get(), 2);
        let canceller = task.canceller();
        drop(task);
        assert_eq!(count.get(), 3);
        assert!(canceller.cancel());
    });
    armed.set(false);
    l.run();
}

#[test]
fn t18_a_foreign_waker_that_panics_when_cloned_registers_nothing() {
    let log = Log::default();
    let l = virtual_loop();
    let armed = Rc::new(Cell::new(false));
    let bad = foreign_waker({
        let armed = armed.clone();
        move |act| {
            if act == Act::Clone && armed.get() {
                boom();
            }
        }
    });
    let good = noting_waker(&log, "good");
    l.block_on(async {
        let gate = Waiter::new(1);
        let mut nap = sleep(Duration::from_secs(1));
        let mut queued = gate.into_future();
        let mut task = spawn(yield_now());
        // A gather ends by any panic, and drops its children.
        let mut gathering = Box::pin(gather([async {
            let _on_drop = log.on_drop("child dropped");
            (&gate).await;
        }]));
        assert!(poll_with(&mut gathering, &good).is_pending());
        armed.set(true);
        log.take();
        assert_eq!(panics(|| poll_with(&mut gathering, &bad)), "boom");
        assert_eq!(log.take(), ["Drop good", "child dropped"]);
        drop(gathering);
        // New, and in the place of a good one.
        for _ in 0..2 {
            armed.set(true);
            assert_eq!(panics(|| poll_with(&mut nap, &bad)), "boom");
            assert_eq!(panics(|| poll_with(&mut queued, &bad)), "boom");
            assert_eq!(panics(|| poll_with(&mut task, &bad)), "boom");
            armed.set(false);
            log.take();
            assert!(poll_with(&mut nap, &good).is_pending());
            assert!(poll_with(&mut queued, &good).is_pending());
            assert!(poll_with(&mut task, &good).is_pending());
        }
        log.take();
        gate.set();
        assert_eq!(log.take(), ["Wake good", "Drop good"]);
        assert!(poll_with(&mut queued, &good).is_ready());
        yield_now().await;
        yield_now().await;
        assert_eq!(log.take(), ["Wake good", "Drop good"]);
        assert!(poll_with(&mut task, &good).is_ready());
        sleep(Duration::from_secs(1)).await;
        assert_eq!(log.take(), ["Wake good", "Drop good"]);
        assert!(poll_with(&mut nap, &good).is_ready());
    });
}

/// Counts its wakes, on any thread.
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn t13_the_waker_of_another_executor_crosses_threads() {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let foreign = Waker::from(count.clone());
    let l = virtual_loop();
    let mut task = l.spawn(pause(|_| {}));
    // Polled where no loop runs: a join works in any executor of this thread.
    assert!(poll_with(&mut task, &foreign).is_pending());
    assert_eq!(Arc::strong_count(&count), 3);
    assert!(task.cancel());
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(Arc::strong_count(&count), 2);
    assert!(matches!(poll_with(&mut task, &foreign), Poll::Ready(Err(e)) if e.is_cancelled()));
}
