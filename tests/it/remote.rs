//! Spawning from other threads: what crosses, in which order, and what becomes of it at the end.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    rc::Rc,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use boucle::{
    Grade, JoinError, Loop, Reaction, Remote, RemoteHandle, Waiter, gather, now, remote, sleep,
    spawn, yield_now,
};
use futures_lite::future::block_on as stranger;

use crate::support::{
    Act, DropProbe, Drops, Log, blocks, boom, cause, foreign_waker, noting_loop, noting_waker,
    on_drop, panics, pause, poll_with, virtual_loop,
};

/// Runs `f` on another thread, to its end.
fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    // Real threads: remotes are there for them; joined, so nothing races.
    thread::scope(|scope| scope.spawn(f).join().unwrap())
}

/// A log that may cross threads.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn push(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Runs a loop until nobody can spawn on it any more and nothing is left to do.
fn serve(l: &Loop) {
    l.try_block_on(pending::<()>()).unwrap_err();
}

/// A loop on a thread of its own, which ends when its last remote is dropped.
fn server() -> (Remote, thread::JoinHandle<()>) {
    let (tell, told) = mpsc::channel();
    // A real thread: two loops that meet need two.
    let thread = thread::spawn(move || {
        let l = Loop::new();
        tell.send(l.remote()).unwrap();
        serve(&l);
    });
    (told.recv().unwrap(), thread)
}

#[test]
fn the_closure_and_the_output_cross_and_the_future_stays() {
    let (closures, futures, outputs) = (Drops::default(), Drops::default(), Drops::default());
    let l = virtual_loop();
    let (home, remote) = (thread::current().id(), l.remote());
    let handle = elsewhere({
        let (closure, futures, output) = (closures.probe(), futures.clone(), outputs.probe());
        move || {
            remote.spawn(move || {
                drop(closure);
                let ids = (thread::current().id(), Rc::new(futures.probe()));
                async move {
                    yield_now().await;
                    assert_eq!(ids.0, thread::current().id());
                    (ids.0, output)
                }
            })
        }
    });
    assert!(!handle.is_finished());
    l.run();
    assert!(handle.is_finished());
    closures.assert_all_dropped_here();
    futures.assert_all_dropped_here();
    assert_eq!((futures.made(), outputs.dropped()), (1, 0));
    elsewhere(move || assert_eq!(stranger(handle).unwrap().0, home));
    assert_eq!(outputs.dropped(), 1);
}

async fn cook() -> &'static str {
    yield_now().await;
    "burger"
}

#[test]
fn a_remote_task_knows_its_name_and_place() {
    let l = virtual_loop();
    let remote = l.remote();
    let (handle, line) = elsewhere(move || (remote.spawn(cook), line!()));
    assert!(l.tasks().is_empty(), "the loop has not looked");
    l.step();
    let task = &l.tasks()[0];
    assert_eq!((&*task.name, task.spawned_at.line(), task.parent), ("cook", line, None));
    assert_eq!(task.spawned_at.file(), file!());
    assert_eq!(format!("{handle:?}"), r#"RemoteHandle { name: "cook", finished: false, .. }"#);
    assert_eq!(format!("{:?}", l.remote()), "Remote { .. }");
    assert!(handle.cancel());
    let error = l.block_on(handle).unwrap_err();
    assert_eq!((error.task_name(), error.id()), ("cook", task.id));
    assert_eq!(error.spawned_at(), task.spawned_at);
    assert_eq!(cause(&error), "was cancelled");
}

#[test]
fn what_a_thread_spawns_starts_in_order() {
    let lines = Lines::default();
    let l = virtual_loop();
    let spawn_some = |remote: &Remote, names: [&'static str; 3]| {
        for name in names {
            let lines = lines.clone();
            drop(remote.spawn(move || {
                lines.push(format!("call {name}"));
                async move { lines.push(format!("run {name}")) }
            }));
        }
    };
    let remote = l.remote();
    elsewhere(|| spawn_some(&remote, ["a", "b", "c"]));
    // The other thread is known to have spawned. The own one comes after it, too.
    elsewhere(|| spawn_some(&remote.clone(), ["d", "e", "f"]));
    spawn_some(&remote, ["g", "h", "i"]);
    l.run();
    let expected = "abcdefghi".chars().flat_map(|c| [format!("call {c}"), format!("run {c}")]);
    assert_eq!(lines.take(), expected.collect::<Vec<_>>());
}

#[test]
fn a_task_spawns_on_its_own_loop() {
    let lines = Lines::default();
    let l = virtual_loop();
    let mine = lines.clone();
    drop(l.spawn(async move {
        let (remotely, locally) = (mine.clone(), mine.clone());
        let answer = remote().spawn(move || async move { remotely.push("remote") });
        drop(spawn(async move { locally.push("local") }));
        mine.push("spawned");
        answer.await.unwrap();
        mine.push("answered");
    }));
    // What arrives meanwhile is run, too.
    l.run_until_stalled();
    assert_eq!(lines.take(), ["spawned", "local", "remote", "answered"]);
    assert!(l.tasks().is_empty());
}

#[test]
fn a_hot_task_keeps_no_remote_waiting() {
    let polls = Loop::new().block_on(async {
        let (done, mut polls) = (Arc::new(AtomicBool::new(false)), 0);
        let there = done.clone();
        drop(remote().spawn(move || async move { there.store(true, Ordering::Relaxed) }));
        while !done.load(Ordering::Relaxed) {
            yield_now().await;
            polls += 1;
        }
        polls
    });
    assert_eq!(polls, 65, "one more while the new task is behind it in the queue");
}

#[test]
fn a_host_hears_of_a_spawn_once() {
    let rings = Arc::new(AtomicUsize::new(0));
    let l = Loop::new();
    let counted = rings.clone();
    l.on_wake(move || count(&counted));
    let remote = l.remote();
    let ring_by = |f: &(dyn Fn() + Sync)| {
        elsewhere(f);
        rings.swap(0, Ordering::Relaxed)
    };
    assert_eq!(ring_by(&|| drop(remote.clone())), 0, "a clone that goes is no news");
    let spawn_two = || (0..2).for_each(|_| drop(remote.spawn(|| async {})));
    assert_eq!(ring_by(&spawn_two), 1);
    l.run_until_stalled();
    assert_eq!(ring_by(&spawn_two), 1);
    l.run();
    assert_eq!(ring_by(&spawn_two), 1);
    l.block_on(async {});
    assert_eq!(ring_by(&spawn_two), 0, "the host knows that something is left to do");
    l.run();
    assert_eq!(ring_by(&spawn_two), 1);
    l.run();
    drop(remote);
    assert_eq!(rings.load(Ordering::Relaxed), 0, "nor is the last one");
}

#[test]
fn run_ends_with_the_last_task_and_leaves_no_letter() {
    let l = virtual_loop();
    let remote = l.remote();
    l.run();
    // The last task spawns remotely: that is not the end.
    let (done, again) = (Arc::new(AtomicUsize::new(0)), remote.clone());
    let done_here = done.clone();
    drop(l.spawn(async move {
        let inner = done_here.clone();
        drop(again.spawn(move || async move { count(&inner) }));
        count(&done_here);
    }));
    l.run();
    assert_eq!(done.load(Ordering::Relaxed), 2);
    drop(remote);
}

#[test]
fn run_reads_what_came_with_its_last_look() {
    let (l, lines) = (virtual_loop(), Lines::default());
    let (remote, line) = (l.remote(), lines.clone());
    let waker = foreign_waker(move |act| {
        if act == Act::Wake {
            let line = line.clone();
            drop(remote.spawn(move || async move { line.push("ran") }));
        }
    });
    // Its timer is due when the last task has ended, and its foreign waker sends another.
    let late = Rc::new(RefCell::new(None));
    let kept = late.clone();
    drop(l.spawn(async move {
        let mut late = sleep(Duration::from_secs(1));
        sleep(Duration::from_secs(2)).await;
        assert!(poll_with(&mut late, &waker).is_pending());
        *kept.borrow_mut() = Some(late);
    }));
    l.run();
    assert_eq!(lines.take(), ["ran"]);
    drop(late.take());
}

#[test]
fn a_loop_that_may_be_spawned_on_is_not_stuck() {
    let (l, lines) = (virtual_loop(), Lines::default());
    let (remote, mine) = (l.remote(), lines.clone());
    let (start, started) = mpsc::channel::<()>();
    // A real thread: it spawns when the loop has nothing left to do but to sleep.
    let thread = thread::spawn(move || {
        started.recv().unwrap();
        let last = remote.spawn(move || async move { mine.push("spawned") });
        drop(remote);
        stranger(last)
    });
    let stalled = l.try_block_on(async {
        sleep(Duration::from_secs(3600)).await;
        lines.push("slept");
        start.send(()).unwrap();
        pending::<()>().await;
    });
    lines.push("stalled");
    assert_eq!(stalled.unwrap_err().tasks().len(), 1);
    thread.join().unwrap().unwrap();
    assert_eq!(lines.take(), ["slept", "spawned", "stalled"]);
}

#[test]
fn a_virtual_clock_waits_for_what_was_sent_not_for_who_may_send() {
    let l = virtual_loop();
    let (remote, start) = (l.remote(), l.now());
    let at = Rc::new(Cell::new(None));
    l.block_on(async {
        // A timer that is due at the loop's next look, which is its last one before it moves the
        // clock, and whose foreign waker sends a task then.
        let mut late = sleep(Duration::from_secs(1));
        sleep(Duration::from_secs(2)).await;
        let (sent, remote) = (Rc::new(RefCell::new(None)), remote.clone());
        let answer = sent.clone();
        let waker = foreign_waker(move |act| {
            if act == Act::Wake {
                *answer.borrow_mut() = Some(remote.spawn(|| async { now() }));
            }
        });
        assert!(poll_with(&mut late, &waker).is_pending());
        sleep(Duration::from_secs(3600)).await;
        let answer = sent.take().unwrap();
        assert!(answer.is_finished());
        at.set(Some(answer.await.unwrap() - start));
    });
    assert_eq!(at.get(), Some(Duration::from_secs(2)));
    assert_eq!(l.now() - start, Duration::from_secs(3602));
    drop(remote);
}

#[test]
fn a_step_of_virtual_time_waits_for_what_was_sent() {
    let l = virtual_loop();
    let start = l.now();
    let (sent, remote) = (Rc::new(RefCell::new(None)), l.remote());
    let answer = sent.clone();
    let waker = foreign_waker(move |act| {
        if act == Act::Wake {
            *answer.borrow_mut() = Some(remote.spawn(|| async { now() }));
        }
    });
    drop(l.spawn(async move {
        let mut late = sleep(Duration::from_secs(1));
        sleep(Duration::from_secs(2)).await;
        assert!(poll_with(&mut late, &waker).is_pending());
        pause(|_| drop(spawn(sleep(Duration::from_secs(60))))).await;
    }));
    l.advance(Duration::from_secs(3600));
    let answer = sent.take().unwrap();
    assert_eq!(l.block_on(answer).unwrap() - start, Duration::from_secs(2));
}

#[test]
fn t89_a_virtual_clock_stands_still_while_a_remote_call_is_in_flight() {
    let (kitchen, thread) = server();
    let l = virtual_loop();
    let (start, here) = (l.now(), l.remote());
    let (open, gate) = mpsc::channel::<()>();
    // A real thread: it gives the loop every occasion to jump before it lets the call end.
    let opener = thread::spawn(move || {
        for _ in 0..3 {
            stranger(here.spawn(|| async {})).unwrap();
        }
        open.send(()).unwrap();
    });
    let answer = l.block_on(async {
        let mut call = kitchen.spawn(move || async move { gate.recv().is_ok() });
        let mut hour = Box::pin(sleep(Duration::from_secs(3600)));
        let noop = std::task::Waker::noop();
        assert!(poll_with(&mut call, noop).is_pending(), "with whatever waker");
        poll_fn(|cx| {
            if let Poll::Ready(answer) = std::pin::Pin::new(&mut call).poll(cx) {
                return Poll::Ready(Some(answer));
            }
            hour.as_mut().poll(cx).map(|()| None)
        })
        .await
    });
    assert!(answer.expect("it comes before the hour is over").unwrap());
    assert_eq!(l.now(), start);
    opener.join().unwrap();

    // A call that nobody awaits any more holds nothing back.
    let (open, gate) = mpsc::channel::<()>();
    l.block_on(async {
        let mut call = kitchen.spawn(move || async move { gate.recv().is_ok() });
        pause(|waker| {
            assert!(poll_with(&mut call, waker).is_pending());
            waker.wake_by_ref();
        })
        .await;
        drop(call);
        sleep(Duration::from_secs(3600)).await;
    });
    open.send(()).unwrap();
    assert_eq!(l.now() - start, Duration::from_secs(3600));
    drop(kitchen);
    thread.join().unwrap();
}

/// Whichever waker it is polled with: here it is the same one each time.
#[test]
fn an_answer_holds_the_clock_of_the_loop_where_it_was_last_awaited() {
    let (kitchen, waker) = (virtual_loop(), foreign_waker(|_| ()));
    let mut call = kitchen.remote().spawn(|| async { "soup" });
    let loops = [(); 2].map(|()| {
        Loop::builder().virtual_time().on_stall(Duration::from_millis(1), Reaction::Fail).build()
    });
    let hour = || async { sleep(Duration::from_secs(3600)).await };
    for l in &loops {
        l.block_on(async {
            assert!(poll_with(&mut call, &waker).is_pending());
        });
    }
    loops[0].try_block_on(hour()).unwrap();
    // This one stands still until somebody outside does something.
    let stalled = loops[1].try_block_on(hour()).unwrap_err();
    assert_eq!(stalled.grade(), Grade::Likely, "{stalled}");
    // Outside it holds nobody's.
    assert!(poll_with(&mut call, &waker).is_pending());
    for l in &loops {
        l.try_block_on(hour()).unwrap();
    }
    assert_eq!(kitchen.block_on(call).unwrap(), "soup");
}

#[test]
fn virtual_loops_that_call_each_other_do_not_wait_in_a_circle() {
    const SECOND: Duration = Duration::from_secs(1);
    let (tell, told) = mpsc::channel();
    // A real thread: two loops that meet need two.
    let thread = thread::spawn(move || {
        let l = virtual_loop();
        tell.send(l.remote()).unwrap();
        serve(&l);
    });
    let (there, l) = (told.recv().unwrap(), virtual_loop());
    let (start, here) = (l.now(), l.remote());
    let call = there.spawn(move || async move {
        sleep(SECOND).await;
        // The other loop awaits this one, and this one the other: both clocks move.
        let back = here.spawn(|| async {
            sleep(SECOND).await;
            now()
        });
        back.await.unwrap()
    });
    assert_eq!(l.block_on(call).unwrap() - start, SECOND);
    // Nor does a loop wait for itself.
    let own = l.remote().spawn(|| sleep(SECOND));
    l.block_on(own).unwrap();
    assert_eq!(l.now() - start, 2 * SECOND);
    drop(there);
    thread.join().unwrap();
}

// The end.

#[test]
fn what_a_dropped_loop_leaves_behind_ends_at_once() {
    fn told(handle: RemoteHandle<()>) -> JoinError {
        assert!(handle.is_finished() && !handle.cancel());
        let error = stranger(handle).unwrap_err();
        assert!(error.is_cancelled() && error.is_loop_dropped() && !error.is_panic());
        assert_eq!(cause(&error), "was cancelled: its loop was dropped");
        error
    }
    let drops = Drops::default();
    let l = virtual_loop();
    let remote = l.remote();
    let spawn = |probe: DropProbe| {
        remote.spawn(move || async move {
            pending::<()>().await;
            drop(probe);
        })
    };
    let running = elsewhere(|| spawn(drops.probe()));
    l.run_until_stalled();
    let unread = elsewhere(|| spawn(drops.probe()));
    assert_eq!(drops.dropped(), 0);
    let mut polled = elsewhere(|| spawn(drops.probe()));
    let log = Log::default();
    let awaiter = noting_waker(&log, "awaiter");
    assert!(poll_with(&mut polled, &awaiter).is_pending());
    assert_eq!(log.take(), ["Clone awaiter"]);
    drop(l);
    drops.assert_all_dropped_here();
    assert_eq!(drops.dropped(), 3);
    assert_eq!(log.take(), ["Wake awaiter", "Drop awaiter"]);
    assert_eq!(told(running).id().to_string(), "#1");
    told(unread);
    told(polled);
    // The box is closed.
    let late = elsewhere(|| spawn(drops.probe()));
    assert_eq!(drops.dropped(), 4);
    let error = told(late);
    assert!(error.to_string().contains("(never begun, spawned at tests/it/remote.rs:"), "{error}");
    assert_eq!(error.id().to_string(), format!("#{}", u64::MAX));
}

#[test]
fn a_task_that_its_loop_drops_tells_its_handle_why() {
    let l = virtual_loop();
    let task = l.spawn(pending::<()>());
    let other = l.spawn(pending::<()>());
    other.cancel();
    drop(l);
    let why = |task: boucle::JoinHandle<()>| stranger(task).unwrap_err().is_loop_dropped();
    assert_eq!((why(task), why(other)), (true, false));
}

#[test]
fn destructors_of_closures_may_do_anything() {
    let log = Lines::default();
    let l = virtual_loop();
    let remote = l.remote();
    let probe = |name: &'static str| {
        let (log, remote) = (log.clone(), remote.clone());
        on_drop(move || {
            let inside = boucle::remote().spawn(|| async {}).is_finished();
            let late = remote.spawn(|| async {});
            let local = spawn(async {});
            log.push(format!("{name}: {inside} {} {}", late.is_finished(), local.is_finished()));
            boom();
        })
    };
    let unread = [probe("first"), probe("second")].map(|probe| {
        remote.spawn(move || async move {
            let _probe = probe;
            pending::<()>().await
        })
    });
    // Reading them goes on after a panic, each in the loop that is about to go.
    crate::support::quiet();
    drop(l);
    assert_eq!(log.take(), ["first: false false true", "second: false false true"]);
    assert!(unread.into_iter().all(|handle| stranger(handle).unwrap_err().is_loop_dropped()));

    // No loop runs here: `boucle::remote` panics, which hurts nobody.
    let late = remote.spawn({
        let log = log.clone();
        let probe = on_drop(move || {
            log.push("late");
            boom();
        });
        move || async move { drop(probe) }
    });
    assert!(stranger(late).unwrap_err().is_loop_dropped());
    assert_eq!(log.take(), ["late"]);
}

#[test]
fn a_task_whose_handle_has_gone_before_it_began_is_kept_by_nobody() {
    let l =
        Loop::builder().virtual_time().on_stall(Duration::from_millis(1), Reaction::Fail).build();
    drop(l.remote().spawn(pending::<()>));
    let stalled = l.try_block_on(pending::<()>()).unwrap_err();
    assert_eq!((stalled.grade(), stalled.tasks().len()), (Grade::Proven, 2), "{stalled}");
}

#[test]
fn a_remote_keeps_no_task() {
    #[repr(align(4096))]
    struct Aligned;
    let l = virtual_loop();
    let remote = l.remote();
    let aligned = Aligned;
    drop(remote.spawn(move || async move {
        let _aligned = &aligned;
        pending::<()>().await;
    }));
    l.run_until_stalled();
    assert!(blocks::<Aligned>() > 0);
    drop(l);
    assert_eq!(blocks::<Aligned>(), 0);
    elsewhere(move || drop(remote));
}

// Panics.

#[test]
fn panics_come_back_with_their_payload() {
    let log = Log::default();
    let l = noting_loop(&log);
    let remote = l.remote();
    crate::support::quiet();
    let payload = |handle: RemoteHandle<()>| {
        let error = l.block_on(handle).unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        *error.into_panic().downcast::<String>().unwrap()
    };
    let in_closure = remote.spawn(|| {
        if true {
            std::panic::panic_any(String::from("boom: closure"));
        }
        pending()
    });
    assert_eq!(payload(in_closure), "boom: closure");
    let in_task = remote.spawn(|| async {
        yield_now().await;
        std::panic::panic_any(String::from("boom: task"))
    });
    assert_eq!(payload(in_task), "boom: task");
    let in_drop = remote.spawn(|| {
        let probe = on_drop(|| std::panic::panic_any(String::from("boom: drop")));
        poll_fn(move |_| {
            let _probe = &probe;
            Poll::Ready(())
        })
    });
    assert_eq!(payload(in_drop), "boom: drop");
    assert!(log.take().is_empty(), "somebody has observed them all");
}

#[test]
fn t92_a_failed_assertion_in_a_detached_remote_task_fails_the_run() {
    // Detached before it begins; while it waits; and the panic unread, dropped here or elsewhere.
    let l = virtual_loop();
    drop(l.remote().spawn(|| async { boom() }));
    assert_eq!(panics(|| l.run()), "boom");

    let handle = l.remote().spawn(|| async {
        yield_now().await;
        boom()
    });
    l.step();
    drop(handle);
    assert_eq!(panics(|| l.run()), "boom");

    let unread = || {
        let handle = l.remote().spawn(|| async { boom() });
        l.run();
        assert!(handle.is_finished());
        handle
    };
    drop(unread());
    assert_eq!(panics(|| l.run()), "boom");
    let handle = unread();
    elsewhere(move || drop(handle));
    assert_eq!(panics(|| l.run()), "boom");
    l.run();

    let message = panics(|| {
        boucle::block_on(async {
            let handle = remote().spawn(|| async { boom() });
            while !handle.is_finished() {
                yield_now().await;
            }
        })
    });
    assert_eq!(message, "boom");
}

#[test]
fn unobserved_panics_are_told_of_once() {
    let log = Log::default();
    let l = noting_loop(&log);
    let remote = l.remote();
    // An output whose destructor panics: dropped by the loop, or by whoever has the handle.
    drop(remote.spawn(|| async { on_drop(|| boom()) }));
    l.run();
    assert_eq!(log.take(), ["unobserved panicked: boom"]);
    let handle = remote.spawn(|| async { on_drop(|| boom()) });
    l.run();
    elsewhere(move || drop(handle));
    assert!(log.take().is_empty(), "the loop has not looked");
    l.run();
    assert_eq!(log.take(), ["unobserved panicked: boom"]);
    // A future whose destructor panics at a cancel.
    let handle = remote.spawn(|| {
        let probe = on_drop(|| boom());
        async move {
            pending::<()>().await;
            drop(probe);
        }
    });
    l.run_until_stalled();
    assert!(handle.cancel());
    assert_eq!(cause(&l.block_on(handle).unwrap_err()), "was cancelled");
    assert_eq!(log.take(), ["unobserved panicked: boom"]);
    // A panic that its loop cannot be told of any more is said on stderr, and hurts nobody.
    let handle = remote.spawn(|| async { boom() });
    l.run();
    drop(l);
    drop(handle);
    assert!(log.take().is_empty());
}

// Handles.

#[test]
fn t28_a_result_is_taken_once() {
    let l = virtual_loop();
    let mut handle = l.remote().spawn(|| async { 1 });
    assert_eq!(l.block_on(&mut handle).unwrap(), 1);
    assert!(handle.is_finished() && !handle.cancel());
    let message = panics(|| stranger(&mut handle));
    assert!(message.starts_with("the result of remote task 't28_a_result_is_taken_once', spawned"));
    assert!(message.ends_with("is awaited after it was taken: await a handle once"), "{message}");
}

#[test]
fn t27_the_last_waker_wins() {
    let log = Log::default();
    let l = virtual_loop();
    let mut handle = l.remote().spawn(|| async { 1 });
    let [a, b] = ["a", "b"].map(|name| noting_waker(&log, name));
    assert!(poll_with(&mut handle, &a).is_pending());
    assert!(poll_with(&mut handle, &a).is_pending());
    assert_eq!(log.take(), ["Clone a"], "the same waker is not cloned again");
    assert!(poll_with(&mut handle, &b).is_pending());
    assert_eq!(log.take(), ["Clone b", "Drop a"]);
    l.run();
    assert_eq!(log.take(), ["Wake b", "Drop b"]);
    assert!(poll_with(&mut handle, &a).is_ready());
}

#[test]
fn t13_wakers_of_handles_may_do_anything() {
    let l = virtual_loop();
    let remote = l.remote();
    let handle = Rc::new(RefCell::new(Some(remote.spawn(|| async { 1 }))));
    let log = Log::default();
    let (inside, seen, sender) = (handle.clone(), log.clone(), remote.clone());
    let waker = foreign_waker(move |act| {
        drop(sender.spawn(|| async {}));
        let finished = inside.try_borrow().ok().and_then(|h| h.as_ref().map(|h| h.is_finished()));
        seen.push(format!("{act:?} {finished:?}"));
        if act == Act::Wake {
            // The handle that is being told goes: its result is dropped unread.
            inside.take();
            boom();
        }
    });
    crate::support::quiet();
    let mut mine = handle.take().unwrap();
    assert!(poll_with(&mut mine, &waker).is_pending());
    *handle.borrow_mut() = Some(mine);
    l.run();
    assert_eq!(log.take(), ["Clone None", "Wake Some(true)"]);
    drop(waker);
}

#[test]
fn t42_a_gather_of_remote_handles_may_be_dropped_half_way() {
    let l = virtual_loop();
    let (remote, lines) = (l.remote(), Lines::default());
    let tasks = [1, 2, 3].map(|n| {
        let lines = lines.clone();
        remote.spawn(move || async move {
            sleep(Duration::from_secs(n)).await;
            lines.push(n.to_string());
            if n == 2 {
                boom();
            }
            n
        })
    });
    l.block_on(async {
        let mut all = Box::pin(gather(tasks));
        let mut pause = Box::pin(sleep(Duration::from_millis(1500)));
        poll_fn(|cx| {
            assert!(all.as_mut().poll(cx).is_pending());
            pause.as_mut().poll(cx)
        })
        .await;
    });
    // They run on, detached.
    assert_eq!(panics(|| l.run()), "boom");
    assert_eq!(lines.take(), ["1", "2", "3"]);
    let both = [1, 2].map(|n| remote.spawn(move || async move { n }));
    let both = l.block_on(gather(both));
    assert_eq!(both.map(|result| result.unwrap()), [1, 2]);
}

#[test]
fn t29_cancel_from_another_thread() {
    let drops = Drops::default();
    let l = virtual_loop();
    let remote = l.remote();
    let spawn = |probe: DropProbe| {
        remote.spawn(move || async move {
            pending::<()>().await;
            drop(probe);
        })
    };
    // Before the loop has read of it, once it waits, and twice.
    for begun in [false, true] {
        let handle = spawn(drops.probe());
        if begun {
            l.run_until_stalled();
        }
        let dropped = drops.dropped();
        let handle = elsewhere(move || {
            assert!(handle.cancel() && handle.cancel() && !handle.is_finished());
            handle
        });
        assert_eq!(drops.dropped(), dropped, "not before the loop gets to it");
        l.run();
        assert_eq!(drops.dropped(), dropped + 1);
        assert!(handle.is_finished() && !handle.cancel());
        let error = elsewhere(move || stranger(handle)).unwrap_err();
        assert!(error.is_cancelled() && !error.is_loop_dropped());
    }
    drops.assert_all_dropped_here();

    // From the task itself: it ends as cancelled, and its output goes.
    let (outputs, slot) = (Drops::default(), Arc::new(Mutex::new(None)));
    let (own, output) = (slot.clone(), outputs.probe());
    let handle = remote.spawn(move || async move {
        let own: RemoteHandle<DropProbe> = own.lock().unwrap().take().unwrap();
        assert!(own.cancel());
        OWN.set(Some(own));
        output
    });
    thread_local! {
        static OWN: Cell<Option<RemoteHandle<DropProbe>>> = const { Cell::new(None) };
    }
    *slot.lock().unwrap() = Some(handle);
    l.run();
    outputs.assert_all_dropped_here();
    assert!(stranger(OWN.take().unwrap()).is_err_and(|error| error.is_cancelled()));
}

#[test]
fn a_cancelled_task_that_panics_first_is_cancelled_and_unobserved() {
    let log = Log::default();
    let l = noting_loop(&log);
    let slot = Arc::new(Mutex::new(None::<RemoteHandle<()>>));
    let own = slot.clone();
    let handle = l.remote().spawn(move || async move {
        assert!(own.lock().unwrap().as_ref().unwrap().cancel());
        boom()
    });
    *slot.lock().unwrap() = Some(handle);
    l.run();
    assert_eq!(log.take(), ["unobserved panicked: boom"]);
    let handle = slot.lock().unwrap().take().unwrap();
    assert_eq!(cause(&stranger(handle).unwrap_err()), "was cancelled");
}

#[test]
fn t25_handles_are_dropped_while_their_tasks_end() {
    let outputs = Drops::default();
    let (remote, thread) = server();
    for round in 0..2000 {
        let probe = outputs.probe();
        let mut handle = remote.spawn(move || async move { probe });
        if round % 2 == 0 {
            let waker = std::task::Waker::noop();
            let _ = poll_with(&mut handle, waker);
        }
        drop(handle);
    }
    drop(remote);
    thread.join().unwrap();
    assert_eq!((outputs.made(), outputs.dropped()), (2000, 2000));
}

#[test]
fn t26_remote_tasks_that_hold_each_others_handles_leave_nothing() {
    let drops = Drops::default();
    let l = virtual_loop();
    let remote = l.remote();
    let slots = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..2 {
        let (mine, probe) = (slots.clone(), drops.probe());
        let handle = remote.spawn(move || async move {
            let other = mine.lock().unwrap().pop();
            let other: RemoteHandle<()> = other.unwrap();
            let _ = other.await;
            drop(probe);
        });
        slots.lock().unwrap().push(handle);
    }
    l.run_until_stalled();
    assert!(slots.lock().unwrap().is_empty());
    assert_eq!((l.tasks().len(), Arc::strong_count(&slots)), (2, 3));
    drop(l);
    drops.assert_all_dropped_here();
    assert_eq!(Arc::strong_count(&slots), 1);
}

// Many threads.

#[test]
fn t04_remotes_and_handles_are_used_and_dropped_anywhere() {
    let l = Loop::new();
    let remote = l.remote();
    let start = Arc::new(Barrier::new(4));
    // Real threads: counts that are not atomic would go wrong.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (remote, start) = (remote.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                let mut handles = Vec::new();
                for n in 0..500 {
                    let clone = remote.clone();
                    handles.push(clone.spawn(move || async move { n }));
                }
                thread::spawn(move || {
                    handles.into_iter().map(|handle| stranger(handle).unwrap()).sum::<u32>()
                })
            })
        })
        .collect();
    drop(remote);
    serve(&l);
    let sums = threads.into_iter().map(|thread| thread.join().unwrap().join().unwrap());
    assert_eq!(sums.collect::<Vec<_>>(), [500 * 499 / 2; 4]);
}

#[test]
fn t43_no_spawn_is_lost_between_the_last_look_and_the_park() {
    let (remote, thread) = server();
    // One at a time, so that the loop is about to park each time.
    for n in 0..2000 {
        assert_eq!(stranger(remote.spawn(move || async move { n })).unwrap(), n);
    }
    drop(remote);
    thread.join().unwrap();
}

#[test]
fn t44_two_threads_that_spawn_and_cancel_strand_nobody() {
    let (remote, thread) = server();
    // Real threads: spawns and cancels race with each other and with the loop.
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let forever = remote.spawn(pending::<()>);
                    let answer = remote.spawn(yield_now);
                    assert!(forever.cancel());
                    assert!(stranger(forever).unwrap_err().is_cancelled());
                    let _ = answer.cancel();
                    let _ = stranger(answer);
                }
            });
        }
    });
    drop(remote);
    thread.join().unwrap();
}

#[test]
fn t45_spawning_never_waits_for_the_loop() {
    const MANY: usize = 100_000;
    let l = virtual_loop();
    let (done, remote) = (Arc::new(AtomicUsize::new(0)), l.remote());
    l.block_on(async {
        // The loop is on the stack and reads nothing, here and meanwhile elsewhere.
        let spawn_many = || {
            for _ in 0..MANY {
                let done = done.clone();
                drop(remote.spawn(move || async move { count(&done) }));
            }
        };
        elsewhere(spawn_many);
        spawn_many();
        assert_eq!(done.load(Ordering::Relaxed), 0);
        remote.spawn(|| async {}).await.unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 2 * MANY);
    });
}

#[test]
fn two_loops_spawn_on_each_other() {
    let (remote, thread) = server();
    boucle::block_on(async {
        let here = boucle::remote();
        let open = Rc::new(Waiter::new(1));
        OPEN.set(Some(open.clone()));
        let answer = remote.spawn(move || async move {
            let back = here.spawn(|| async { OPEN.take().unwrap().set() });
            drop(here);
            back.await.unwrap();
            "there and back"
        });
        (&*open).await;
        assert_eq!(answer.await.unwrap(), "there and back");
    });
    thread_local! {
        static OPEN: Cell<Option<Rc<Waiter>>> = const { Cell::new(None) };
    }
    drop(remote);
    thread.join().unwrap();
}

#[test]
fn outside_a_loop_the_caller_is_told() {
    let message = panics(boucle::remote);
    assert!(message.starts_with("`boucle::remote` outside a loop: "), "{message}");
}
