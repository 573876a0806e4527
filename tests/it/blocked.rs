//! What a loop tells of itself when asked: slow polls, polls that go on, tasks that spin, and what is
//! left at its end.
//!
//! Slow polls are measured in real time, so these tests spend some: a poll that is to be slow looks
//! at the clock until it was, and one that is not has an hour.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    sync::{Mutex, mpsc},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use boucle::{
    Blocked, Builder, Diagnostic, Grade, Loop, Reaction, Running, Waiter, block_on, forever,
    gather, sleep, spawn, yield_now,
};

use crate::support::{
    Log, boom, debugged_subprocess, foreign_waker, own_waker, panics, quiet, subprocess,
};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Blocks the thread, in real time, for longer than `over`.
fn dawdle(over: Duration) {
    let start = Instant::now();
    while start.elapsed() <= over {}
}

/// A virtual loop that notes what it finds.
fn telling(log: &Log, ask: impl FnOnce(Builder) -> Builder) -> Loop {
    let log = log.clone();
    let tell = move |found: &Diagnostic| log.push(found.to_string());
    ask(Loop::builder().virtual_time().on_diagnostic(tell)).build()
}

/// Likewise, of slow polls: who, and whether it was at least two milliseconds.
fn timing(log: &Log, over: Duration) -> Loop {
    let log = log.clone();
    let tell = move |found: &Diagnostic| match found {
        Diagnostic::SlowPoll { task, took, .. } => log.push(format!("{task} {}", *took > 2 * MS)),
        found => log.push(found.to_string()),
    };
    Loop::builder().virtual_time().on_slow_poll(over, Reaction::Tell).on_diagnostic(tell).build()
}

/// Wakes itself so many times, then waits for ever.
async fn spin(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
    forever().await;
}

#[test]
fn a_slow_poll_is_told_with_task_place_and_duration() {
    let log = Log::default();
    let l = telling(&log, |b| b.on_slow_poll(2 * MS, Reaction::Tell));
    let cook = l.spawn(async { dawdle(2 * MS) }).named("cook");
    let place = cook.spawned_at().to_string();
    l.run();
    let told = log.take().join("\n");
    let told = told.strip_prefix("slow poll: cook #1 was polled for ").unwrap();
    let took = told.strip_suffix(&format!(", spawned at {place}")).unwrap();
    // How long it took is the machine's business.
    assert!(took.ends_with(" ms") || took.ends_with(" s"), "{took}");
}

#[test]
fn a_poll_is_slow_however_it_ends_and_each_time() {
    let log = Log::default();
    let l = timing(&log, 2 * MS);
    drop(l.spawn(async { dawdle(2 * MS) }).named("detached"));
    let panicked = l
        .spawn(async {
            dawdle(2 * MS);
            boom();
        })
        .named("panicked");
    let cancelled = Rc::new(Cell::new(None));
    let canceller = l
        .spawn({
            let cancelled = cancelled.clone();
            async move {
                let canceller: boucle::Canceller = cancelled.take().unwrap();
                canceller.cancel();
                dawdle(2 * MS);
            }
        })
        .named("cancelled");
    cancelled.set(Some(canceller.canceller()));
    let _twice = l
        .spawn(async {
            dawdle(2 * MS);
            yield_now().await;
            dawdle(2 * MS);
        })
        .named("twice");
    quiet();
    l.run_until_stalled();
    assert!(panicked.result().unwrap().is_err());
    let told = [
        "detached #1 true",
        "panicked #2 true",
        "cancelled #3 true",
        "twice #4 true",
        "twice #4 true",
    ];
    assert_eq!(log.take(), told);
}

#[test]
fn every_way_to_drive_a_loop_measures_polls() {
    let log = Log::default();
    let l = timing(&log, 2 * MS);
    let _a = l.spawn(async { dawdle(2 * MS) }).named("a");
    assert!(l.step() && !l.step());
    assert_eq!(log.take(), ["a #1 true"]);
    let b = || async {
        dawdle(2 * MS);
        sleep(HOUR).await;
        dawdle(2 * MS);
    };
    let _b = l.spawn(b()).named("b");
    l.advance(HOUR);
    assert_eq!(log.take(), ["b #2 true", "b #2 true"]);
    l.block_on(async { dawdle(2 * MS) });
    assert_eq!(log.take(), ["main #3 true"]);
    // A child is polled inside its parent.
    l.block_on(async {
        gather([async { dawdle(2 * MS) }]).await;
    });
    assert_eq!(log.take(), ["main #4 true"]);
}

#[test]
fn waiting_is_not_slow_nor_is_what_was_not_asked_for() {
    let log = Log::default();
    // In virtual time each sleep is longer than a poll may take, and no poll is.
    let l = timing(&log, HOUR);
    l.block_on(async {
        for _ in 0..10 {
            sleep(2 * HOUR).await;
        }
    });
    let ignoring = telling(&log, |b| b.on_slow_poll(MS, Reaction::Ignore));
    ignoring.block_on(async { dawdle(MS) });
    let l = telling(&log, |b| b);
    l.block_on(async { dawdle(MS) });
    assert!(log.take().is_empty());
}

#[test]
fn a_slow_poll_can_fail_the_run() {
    let log = Log::default();
    let l = telling(&log, |b| b.on_slow_poll(MS, Reaction::Fail));
    let failed = l.try_block_on(async { dawdle(MS) }).unwrap_err();
    assert_eq!(failed.grade(), Grade::Slow);
    assert_eq!(log.take().len(), 1);
    // Nobody else is polled after it, until the loop is driven on.
    let _slow = l.spawn(async { dawdle(MS) }).named("slow");
    let next = l.spawn(async { dawdle(MS) }).named("next");
    let report = panics(|| l.run());
    assert!(report.starts_with("slow poll: slow #2 was polled for "), "{report}");
    assert!(report.contains("\n  next #3 NEW, spawned at "), "{report}");
    assert!(!next.is_finished());
    assert!(panics(|| l.run()).starts_with("slow poll: next #3 "));
    assert!(next.is_finished());
    let _slow = l.spawn(async { dawdle(MS) });
    assert!(panics(|| l.step()).starts_with("slow poll: "));
}

#[test]
fn whoever_is_told_may_do_as_it_likes() {
    let (log, gate) = (Log::default(), Rc::new(Waiter::new(1)));
    let handle = Rc::new(Cell::new(None));
    let tell = {
        let (log, gate, handle) = (log.clone(), gate.clone(), handle.clone());
        move |_: &Diagnostic| {
            gate.set();
            let task: Option<boucle::JoinHandle<()>> = handle.take();
            assert!(task.is_some_and(|task| task.cancel()));
            drop(spawn(async {}).named("told"));
            let snapshot = boucle::snapshot();
            let names = snapshot.tasks().iter().map(|task| task.name.to_string());
            log.push(names.collect::<Vec<_>>().join(" "));
            boom();
        }
    };
    // Long enough for the quick polls of a machine that is busy with something else.
    let builder = Loop::builder().virtual_time().on_slow_poll(100 * MS, Reaction::Tell);
    let l = builder.on_diagnostic(tell).build();
    quiet();
    let waits = l.spawn(async move { gate.wait().await }).named("waits");
    handle.set(Some(l.spawn(spin(usize::MAX)).named("cancelled")));
    l.run_until_stalled_for(2);
    let _slow = l.spawn(async { dawdle(100 * MS) }).named("slow");
    l.run();
    assert!(waits.is_finished());
    assert_eq!(log.take(), ["waits told"]);
}

/// A host that gives its loop so many turns.
trait Steps {
    fn run_until_stalled_for(&self, steps: usize);
}

impl Steps for Loop {
    fn run_until_stalled_for(&self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }
}

#[test]
fn a_poll_that_goes_on_is_told_while_it_does() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let on_blocked = move |blocked: &Blocked| {
        let _ = tell.lock().unwrap().send(blocked.clone());
        // What it panics with hurts nobody.
        boom();
    };
    quiet();
    let l = Loop::builder().virtual_time().watchdog(MS).on_blocked(on_blocked).build();
    let told = Rc::new(told);
    for id in ["#1", "#2", "#3"] {
        let task = l.spawn({
            let told = told.clone();
            // Blocks until the watchdog has seen it, whenever that is.
            async move { told.recv().unwrap() }
        });
        let place = task.spawned_at();
        // Nobody else is polled, so that nobody else can be told, however slow the machine is.
        l.run();
        let blocked = task.result().unwrap().unwrap();
        assert_eq!(blocked.id.to_string(), id);
        assert_eq!(blocked.spawned_at, place);
        assert!(blocked.lasted >= MS);
        let text = blocked.to_string();
        let begin =
            format!("blocked: task {}, spawned at {place}, has been polled for ", blocked.id);
        assert!(text.starts_with(&begin) && text.ends_with(" and goes on"), "{text}");
    }
    // The thread goes when the loop does, and takes the callback along.
    drop(l);
    assert!(told.recv().is_err());
}

#[test]
fn polls_are_told_apart_however_many_there_were() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let on_blocked = move |blocked: &Blocked| drop(tell.lock().unwrap().send(blocked.clone()));
    let l = Loop::builder().virtual_time().watchdog(MS).on_blocked(on_blocked).build();
    l.block_on(async {
        for _ in 0..200 {
            yield_now().await;
        }
        // One right after the other. Each blocks until the watchdog has seen it, or, on a slow
        // machine, one before it.
        for _ in 0..2 {
            told.try_iter().for_each(drop);
            assert_eq!(told.recv().unwrap().id.to_string(), "#1");
            yield_now().await;
        }
    });
}

#[test]
fn a_watchdog_of_a_loop_that_is_never_driven_does_not_start() {
    let (tell, told) = mpsc::channel::<()>();
    let tell = Mutex::new(tell);
    let on_blocked = move |_: &Blocked| tell.lock().unwrap().send(()).unwrap();
    let l = Loop::builder().watchdog(MS).on_blocked(on_blocked).build();
    let task = l.spawn(async {});
    drop(l);
    // Gone at once: no thread had it.
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    assert!(task.is_finished());
}

#[test]
#[cfg(target_os = "linux")]
fn a_watchdog_barks_on_stderr_while_the_loop_is_blocked() {
    const NAME: &str = "blocked::a_watchdog_barks_on_stderr_while_the_loop_is_blocked";
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("barks");
    let file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    let Some(ended) = crate::support::filed_subprocess(NAME, file) else {
        // It can read what was written to its stderr, and blocks until that is the report.
        let stderr = move || std::fs::read_to_string(&path).unwrap();
        let l = Loop::builder().watchdog(MS).build();
        let task = l.spawn(async move {
            loop {
                let text = stderr();
                if text.contains(" and goes on\n") {
                    return text;
                }
            }
        });
        let begin = format!(
            "boucle: blocked: task #1, spawned at {}, has been polled for ",
            task.spawned_at()
        );
        let text = l.block_on(task).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with(&begin)).count(), 1, "{text}");
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn what_runs_is_known_to_other_threads() {
    let running = Running::new();
    let l = Loop::builder().virtual_time().running(&running).build();
    let ask = |running: &Running| {
        let running = running.clone();
        move || running.task().map(|(id, place)| (id.to_string(), place))
    };
    let task = l.spawn({
        let ask = ask(&running);
        async move {
            yield_now().await;
            thread::spawn(ask).join().unwrap()
        }
    });
    let place = task.spawned_at();
    assert_eq!(format!("{running:?}"), "Running { task: None }");
    l.run();
    let seen = task.result().unwrap().unwrap().as_ref();
    assert_eq!(seen.map(|(id, place)| (&**id, *place)), Some(("#1", place)));
    // Between two runs, and between two polls, nobody is polled.
    assert_eq!(running.task(), None);
    let waker = foreign_waker({
        let running = running.clone();
        move |_| assert_eq!(running.task(), None)
    });
    let gate = Rc::new(Waiter::new(1));
    let mut wait = Box::pin({
        let gate = gate.clone();
        async move { gate.wait().await }
    });
    assert!(crate::support::poll_with(&mut wait, &waker).is_pending());
    drop(wait);
    // A loop that goes in the middle of things leaves nobody behind.
    let _never = l.spawn(forever());
    l.run_until_stalled();
    drop(l);
    assert_eq!(running.task(), None);
}

#[test]
fn who_only_wakes_itself_is_named_once() {
    let log = Log::default();
    let l = telling(&log, |b| b.on_spinning(1000, Reaction::Tell));
    let _waits = l.spawn(forever());
    let spinner = l.spawn(spin(3998)).named("spinner");
    let place = spinner.spawned_at();
    l.run_until_stalled();
    let told = format!(
        "spinning: 1000 polls in a row, and nothing has come from elsewhere\n  \
         spinner #2 woke itself in 1000 of the last 1000 polls, spawned at {place}"
    );
    // Once, though it goes on for three thousand more.
    assert_eq!(log.take(), [told]);
}

#[test]
fn those_who_spin_together_are_named_the_busiest_first() {
    let log = Log::default();
    let l = telling(&log, |b| b.on_spinning(10_000, Reaction::Tell));
    let _a = l.spawn(spin(usize::MAX)).named("a");
    let _b = l.spawn(spin(usize::MAX)).named("b");
    l.run_until_stalled_for(10_000);
    let told = log.take().join("\n");
    let lines: Vec<&str> = told.lines().map(|line| line.split(", ").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "spinning: 10000 polls in a row",
            "  a #1 woke itself in 2048 of the last 4096 polls",
            "  b #2 woke itself in 2048 of the last 4096 polls",
        ]
    );
}

#[test]
fn the_busiest_is_named_before_those_who_were_there_before_it() {
    let log = Log::default();
    let l = telling(&log, |b| b.on_spinning(1001, Reaction::Tell));
    // Both are woken at once, by a timer each, and the second one's was made first.
    let late = async {
        yield_now().await;
        sleep(MS).await;
        spin(600).await;
    };
    let early = async {
        sleep(MS).await;
        spin(600).await;
    };
    let (_late, _early) = (l.spawn(late).named("late"), l.spawn(early).named("early"));
    l.advance(MS);
    let told = log.take().join("\n");
    let lines: Vec<&str> = told.lines().map(|line| line.split(", ").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "spinning: 1001 polls in a row",
            "  early #2 woke itself in 501 of the last 1001 polls",
            "  late #1 woke itself in 500 of the last 1001 polls",
        ]
    );
}

#[test]
fn a_stretch_ends_when_something_comes_and_the_next_is_told_again() {
    let log = Log::default();
    let l = telling(&log, |b| b.on_spinning(1000, Reaction::Tell));
    // A timer fires after every 900 polls, when the clock can move.
    let calm = async {
        for _ in 0..20 {
            for _ in 0..900 {
                yield_now().await;
            }
            sleep(MS).await;
        }
    };
    l.block_on(calm);
    assert!(log.take().is_empty());
    for told in 1..=3 {
        l.block_on(async {
            for _ in 0..1000 {
                yield_now().await;
            }
            sleep(MS).await;
        });
        assert_eq!(log.take().len(), 1, "{told}");
    }
    // A letter from a thread is something that comes.
    let waker = Rc::new(l.block_on(own_waker()));
    let calm = async {
        for round in 0..2000 {
            yield_now().await;
            if round % 900 == 0 {
                let waker = own_waker().await;
                thread::spawn(move || waker.wake()).join().unwrap();
            }
        }
    };
    l.block_on(calm);
    drop(waker);
    assert!(log.take().is_empty());
}

#[test]
fn those_who_work_are_not_accused() {
    let log = Log::default();
    let l = telling(&log, |b| b.on_spinning(1000, Reaction::Tell));
    // Tasks that come and go.
    l.block_on(async {
        for _ in 0..3000 {
            spawn(yield_now()).await.unwrap();
        }
    });
    // Many tasks that each yield now and then: none is a few.
    let many: Vec<_> = (0..100).map(|_| l.spawn(spin(100))).collect();
    l.run_until_stalled();
    drop(many);
    // Two that wake each other, however long.
    l.block_on(async {
        let (to, from) = boucle::sync::channel(1);
        let (back, home) = boucle::sync::channel(1);
        let echo = spawn(async move {
            while let Ok(message) = from.recv().await {
                back.send(message).await.unwrap();
            }
        });
        for round in 0..2000 {
            to.send(round).await.unwrap();
            assert_eq!(home.recv().await, Ok(round));
        }
        drop(to);
        echo.await.unwrap();
    });
    // One short of it.
    let _short = l.spawn(async {
        sleep(MS).await;
        spin(998).await;
    });
    l.advance(MS);
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn spinning_can_fail_the_run_each_time() {
    let l = Loop::builder().virtual_time().on_spinning(1000, Reaction::Fail).build();
    let flag = Cell::new(false);
    let wait = || async {
        while !flag.get() {
            yield_now().await;
        }
    };
    let failed = l.try_block_on(wait()).unwrap_err();
    assert_eq!((failed.grade(), failed.tasks().len()), (Grade::Spinning, 1));
    let text = failed.to_string();
    assert!(text.contains("\n  main #1 woke itself in 1000 of the last 1000 polls, "), "{text}");
    assert!(panics(|| l.block_on(wait())).starts_with("spinning: 1000 polls in a row"));
    let _spinner = l.spawn(spin(usize::MAX)).named("spinner");
    for _ in 0..2 {
        assert!(panics(|| l.run_until_stalled()).contains("spinner #3 woke itself in "));
    }
}

/// A loop that tells what is left, and dies at the end.
fn ending(log: &Log, live: impl FnOnce(&Loop)) {
    let l = telling(log, Builder::report_leftovers);
    live(&l);
    drop(l);
}

#[test]
fn what_is_left_is_told_word_for_word() {
    let (log, places) = (Log::default(), Cell::new(None));
    let wakers = Rc::new(Cell::new(Vec::new()));
    let kept = Cell::new(Vec::new());
    let gate = Rc::new(Waiter::new(1).named("gate"));
    ending(&log, |l| {
        let guest = l.spawn({
            let gate = gate.clone();
            async move { gate.wait().await }
        });
        let guest = guest.named("guest");
        let lost = l.spawn({
            let wakers = wakers.clone();
            poll_fn(move |cx| {
                wakers.set(vec![cx.waker().clone(), cx.waker().clone()]);
                Poll::<()>::Pending
            })
        });
        let lost = lost.named("lost");
        let soda = l.spawn(async {}).named("soda");
        let fries = l.spawn(async { boom() }).named("fries");
        l.run_until_stalled();
        let new = l.spawn(async {}).named("new");
        let at = [&guest, &lost, &soda, &fries, &new].map(|task| task.spawned_at().to_string());
        places.set(Some(at));
        kept.set(vec![guest, lost, soda, fries, new]);
    });
    let [guest, lost, soda, fries, new] = places.take().unwrap();
    let told = log.take();
    assert_eq!(told.len(), 1);
    // Where the wait stands in this file is not what is asked here.
    let (before, after) = told[0].split_once(" at tests").unwrap();
    let after = &after[after.find(", spawned").unwrap()..];
    assert_eq!(
        format!("{before}{after}"),
        format!(
            "left at the end of the loop: 3 tasks that have not ended, 2 results that nobody took, \
             2 wakers that somebody keeps\n  \
             guest #1 WAITING, waiting for waiter \"gate\", spawned at {guest}\n  \
             lost #2 WAITING, waiting for a foreign future, spawned at {lost}\n  \
             new #5 NEW, spawned at {new}\n  \
             soda #3 FINISHED, spawned at {soda}\n  \
             fries #4 FAILED, spawned at {fries}"
        )
    );
    // They do nothing, and hurt nobody.
    wakers.take().into_iter().for_each(std::task::Waker::wake);
}

#[test]
fn a_loop_that_leaves_nothing_says_nothing() {
    let log = Log::default();
    let kept = Cell::new(None);
    ending(&log, |l| {
        // Awaited, looked into, let go, cancelled, or meant to be there.
        l.block_on(async { spawn(async {}).await.unwrap() });
        let looked_into = l.spawn(async {});
        drop(l.spawn(async {}));
        let cancelled = l.spawn(async { sleep(HOUR).await });
        let meant = l.spawn(forever());
        l.run_until_stalled();
        assert!(looked_into.result().unwrap().is_ok());
        assert!(cancelled.cancel());
        kept.set(Some((looked_into, cancelled, meant)));
    });
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn a_waker_alone_is_left_too() {
    let (log, waker) = (Log::default(), Cell::new(None));
    ending(&log, |l| {
        waker.set(Some(l.block_on(own_waker())));
        // The task has ended long ago, and its memory is another's by now.
        l.block_on(yield_now());
    });
    assert_eq!(log.take(), ["left at the end of the loop: 1 waker that somebody keeps"]);
    drop(waker);
    // One that a thread had, and gave back, is not.
    ending(&log, |l| {
        let waker = l.block_on(own_waker());
        thread::spawn(move || waker.wake()).join().unwrap();
    });
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn leftovers_never_panic_in_a_drop_and_are_silent_while_the_thread_unwinds() {
    let log = Log::default();
    let tell = {
        let log = log.clone();
        move |found: &Diagnostic| {
            log.push(found.to_string());
            // The loop is closing: what is spawned now is dropped at once.
            drop(spawn(async {}));
            boom();
        }
    };
    quiet();
    let l = Loop::builder().strict().on_diagnostic(tell.clone()).build();
    let _left = l.spawn(async {});
    drop(l);
    assert_eq!(log.take().len(), 1);
    let report = panics(|| {
        let l = Loop::builder().strict().on_diagnostic(tell).build();
        let _left = l.spawn(async {});
        boom();
    });
    assert_eq!((report.as_str(), log.take().len()), ("boom", 0));
}

#[test]
fn a_loop_that_goes_with_its_thread_tells_what_is_left() {
    thread_local! {
        static BEFORE: RefCell<Option<Loop>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<Loop>> = const { RefCell::new(None) };
    }
    const NAME: &str = "blocked::a_loop_that_goes_with_its_thread_tells_what_is_left";
    // A subprocess, since a panic at the end of a thread aborts.
    let Some(ended) = subprocess(NAME) else {
        let (tell, told) = mpsc::channel();
        // Real threads: only the end of one destroys its thread-locals, in an order of the system's.
        let ends = move || {
            BEFORE.with_borrow(|_| {});
            let make = || {
                let tell = tell.clone();
                let tell = move |found: &Diagnostic| {
                    let text = found.to_string();
                    drop(tell.send(text.lines().next().unwrap_or_default().to_owned()));
                };
                let l = Loop::builder().strict().on_diagnostic(tell).build();
                let gate = Rc::new(Waiter::new(1));
                drop(l.spawn(async move { gate.wait().await }));
                l.run_until_stalled();
                l
            };
            let (before, after) = (make(), make());
            AFTER.set(Some(after));
            BEFORE.set(Some(before));
        };
        thread::spawn(ends).join().unwrap();
        let left = "left at the end of the loop: 1 task that has not ended";
        assert_eq!(told.iter().collect::<Vec<_>>(), [left, left]);
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn a_strict_loop_tells_what_others_may_ignore() {
    let log = Log::default();
    let l = telling(&log, |b| b.on_dead(Reaction::Ignore).on_cycle(Reaction::Ignore).strict());
    let _dead = l.spawn(std::future::pending::<()>()).named("dead");
    l.run_until_stalled();
    let told = log.take();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("dead task: dead #1 can never be woken"), "{told:?}");
    drop(l);
    let told = log.take();
    assert!(
        told[0].starts_with("left at the end of the loop: 1 task that has not ended\n  dead #1")
    );
    // What is to fail does.
    let l = Loop::builder().on_dead(Reaction::Fail).strict().on_diagnostic(|_| {}).build();
    let _dead = l.spawn(std::future::pending::<()>());
    assert!(panics(|| l.run_until_stalled()).starts_with("dead task: "));
}

#[test]
fn leftovers_go_to_stderr_if_nobody_is_to_be_told() {
    const NAME: &str = "blocked::leftovers_go_to_stderr_if_nobody_is_to_be_told";
    let Some(ended) = subprocess(NAME) else {
        let l = Loop::builder().report_leftovers().build();
        let _task = l.spawn(async {}).named("soda");
        return drop(l);
    };
    assert!(ended.status.success(), "{ended:?}");
    let told: Vec<&str> =
        ended.stderr.lines().skip_while(|line| !line.starts_with("boucle: ")).take(2).collect();
    assert_eq!(told[0], "boucle: left at the end of the loop: 1 task that has not ended");
    assert!(told[1].starts_with("  soda #1 NEW, spawned at tests/it/blocked.rs:"), "{told:?}");
}

/// The lines that boucle has written to stderr, up to the comma.
fn said(stderr: &str) -> Vec<&str> {
    let lines = stderr.lines().filter_map(|line| line.strip_prefix("boucle: "));
    lines.map(|line| line.split([',', '0']).next().unwrap_or(line)).collect()
}

/// What the environment variable asks for, on the loop of the free `block_on`.
fn misbehave() {
    block_on(async {
        dawdle(Duration::from_millis(100));
        let _left = spawn(forever());
        for _ in 0..1_000_001 {
            yield_now().await;
        }
    });
}

#[test]
fn the_environment_asks_for_all_that_takes_no_thread() {
    const NAME: &str = "blocked::the_environment_asks_for_all_that_takes_no_thread";
    let Some(ended) = debugged_subprocess(NAME) else { return misbehave() };
    assert!(ended.status.success(), "{ended:?}");
    // A machine that is busy with something else may make more polls slow.
    let (slow, told): (Vec<&str>, Vec<&str>) = said(&ended.stderr)
        .into_iter()
        .partition(|line| line.starts_with("slow poll: main #1 was polled for "));
    assert!(!slow.is_empty(), "{}", ended.stderr);
    let (cut, told): (Vec<&str>, Vec<&str>) =
        told.into_iter().partition(|line| line.starts_with("more "));
    if !cut.is_empty() && told.is_empty() {
        // So many that nothing more is said when it spins.
        return;
    }
    assert_eq!(told, ["spinning: 1"], "{}", ended.stderr);
    let spinner = "  main #1 woke itself in 4096 of the last 4096 polls, spawned at ";
    assert!(ended.stderr.lines().any(|line| line.starts_with(spinner)), "{}", ended.stderr);
}

#[test]
fn a_loop_that_is_not_asked_says_nothing() {
    const NAME: &str = "blocked::a_loop_that_is_not_asked_says_nothing";
    let Some(ended) = subprocess(NAME) else { return misbehave() };
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(said(&ended.stderr), [""; 0], "{}", ended.stderr);
}

#[test]
fn a_loop_says_sixteen_things_of_what_may_come_often_and_of_all_else() {
    const NAME: &str = "blocked::a_loop_says_sixteen_things_of_what_may_come_often_and_of_all_else";
    let Some(ended) = subprocess(NAME) else {
        for slow in [true, false] {
            let l = Loop::builder().virtual_time().on_dead(Reaction::Tell);
            let l = if slow {
                l.on_slow_poll(Duration::ZERO, Reaction::Tell).build()
            } else {
                l.on_spinning(10, Reaction::Tell).build()
            };
            l.block_on(async {
                for _ in 0..40 {
                    for _ in 0..20 {
                        dawdle(Duration::ZERO);
                        yield_now().await;
                    }
                    sleep(MS).await;
                }
            });
            for _ in 0..40 {
                drop(l.spawn(std::future::pending::<()>()));
                l.run_until_stalled();
            }
        }
        return;
    };
    assert!(ended.status.success(), "{ended:?}");
    let mut told: Vec<(&str, usize)> = Vec::new();
    for line in ended.stderr.lines().filter_map(|line| line.strip_prefix("boucle: ")) {
        let what = line.split([':', ',']).next().unwrap();
        match told.last_mut().filter(|(last, _)| *last == what) {
            Some((_, times)) => *times += 1,
            None => told.push((what, 1)),
        }
    }
    assert_eq!(
        told,
        [
            ("slow poll", 16),
            ("more slow polls were found in this loop", 1),
            ("dead task", 16),
            ("more was found in this loop", 1),
            ("spinning", 16),
            ("more spinning was found in this loop", 1),
            ("dead task", 16),
            ("more was found in this loop", 1),
        ],
        "{}",
        ended.stderr
    );
}

#[test]
fn a_builder_goes_before_the_environment() {
    const NAME: &str = "blocked::a_builder_goes_before_the_environment";
    let Some(ended) = debugged_subprocess(NAME) else {
        let l = Loop::builder()
            .on_slow_poll(HOUR, Reaction::Tell)
            .on_spinning(1, Reaction::Ignore)
            .build();
        return l.block_on(async {
            dawdle(Duration::from_millis(100));
            for _ in 0..1_000_001 {
                yield_now().await;
            }
        });
    };
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(said(&ended.stderr), [""; 0], "{}", ended.stderr);
}
