//! The ways to drive a loop, and who takes which turn.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{Arc, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::Instant,
};

use boucle::{JoinHandle, Loop, Status, Waiter, block_on, now, sleep, spawn, yield_now};

use crate::support::{on_drop, owning, without_sites};

use crate::trace::{Count, Last, Trace, millis, my_waker, panic_of, secs, sentence, simulated};

/// Pauses `turns` times and says so at each turn, counted from one.
async fn say_turns(trace: Trace, name: &'static str, turns: u32) {
    for turn in 1..=turns {
        trace.say(format_args!("{name}{turn}"));
        yield_now().await;
    }
}

/// Leaves its waker in `wakers` once, and ends when it is polled again.
async fn once_woken(wakers: Rc<RefCell<Vec<Waker>>>) {
    let mut first = true;
    poll_fn(move |cx| {
        if std::mem::replace(&mut first, false) {
            wakers.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

// block_on, run

#[test]
fn block_on_returns_the_output_and_may_borrow() {
    let mut words = vec!["un"];
    let count = block_on(async {
        words.push("deux");
        yield_now().await;
        words.len()
    });
    assert_eq!((count, words), (2, vec!["un", "deux"]));
}

#[test]
fn block_on_drops_what_is_left_before_it_returns() {
    let trace = Trace::default();
    let inner = trace.clone();
    block_on(async move {
        let last = Last(inner.clone(), "dropped");
        drop(spawn(async move {
            let _last = last;
            pending::<()>().await;
        }));
        yield_now().await;
        inner.say("ends");
    });
    assert_eq!(trace.take(), "ends dropped");
}

#[test]
fn block_on_tells_of_a_destructor_that_panics_when_it_drops_what_is_left() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("burnt");
        }
    }

    let message = panic_of(|| {
        block_on(async {
            let bomb = Bomb;
            drop(spawn(async move {
                let _bomb = bomb;
                pending::<()>().await;
            }));
            yield_now().await;
        });
    });
    assert_eq!(message, "burnt");
}

#[test]
fn a_loop_keeps_its_tasks_from_one_block_on_to_the_next() {
    let (l, trace) = (simulated(), Trace::default());
    let task = l.spawn(say_turns(trace.clone(), "task", 4));
    l.block_on(say_turns(trace.clone(), "main", 2));
    assert_eq!(trace.take(), "task1 main1 task2 main2 task3");
    assert_eq!(task.status(), Status::Ready);
    l.block_on(async { task.await.unwrap() });
    assert_eq!(trace.take(), "task4");
}

#[test]
fn block_on_stops_at_the_poll_that_ends_its_future() {
    let (l, trace) = (simulated(), Trace::default());
    let inner = trace.clone();
    l.block_on(async move {
        drop(spawn(say_turns(inner.clone(), "child", 2)));
        inner.say("main");
    });
    assert_eq!(trace.take(), "main");
    l.run();
    assert_eq!(trace.take(), "child1 child2");
}

#[test]
fn run_ends_with_the_last_task_whoever_spawned_it() {
    async fn countdown(trace: Trace, n: u32) {
        trace.say(n);
        if n > 0 {
            drop(spawn(Box::pin(countdown(trace, n - 1))));
        }
    }
    let (l, trace) = (simulated(), Trace::default());
    drop(l.spawn(countdown(trace.clone(), 3)));
    l.run();
    assert_eq!(trace.take(), "3 2 1 0");
    assert!(l.tasks().is_empty());
    l.run();
}

#[test]
fn a_loop_is_usable_after_a_panic_came_out_of_it() {
    let l = simulated();
    assert_eq!(panic_of(|| l.block_on(async { panic!("main") })), "main");
    drop(l.spawn(async { panic!("detached") }));
    assert_eq!(panic_of(|| l.run()), "detached");
    assert_eq!(l.block_on(async { 7 }), 7);
}

// step, run_until_stalled, advance

#[test]
fn step_polls_one_task() {
    let (l, trace) = (simulated(), Trace::default());
    assert!(!l.step());
    let a = l.spawn(say_turns(trace.clone(), "a", 1));
    let b = l.spawn(say_turns(trace.clone(), "b", 1));
    let mut seen = Vec::new();
    while l.step() {
        seen.push(format!("{} {}", trace.take(), a.status()));
    }
    assert_eq!(seen, ["a1 READY", "b1 READY", " FINISHED", " FINISHED"]);
    assert!(b.is_finished());
}

#[test]
fn step_fires_what_is_due_and_moves_no_clock() {
    let l = simulated();
    let task = l.spawn(async { sleep(secs(1)).await });
    assert!(l.step() && !l.step());
    assert_eq!(task.status(), Status::Waiting);
    l.advance(secs(1));
    assert_eq!(task.status(), Status::Finished);
}

#[test]
fn run_until_stalled_never_moves_a_virtual_clock() {
    let (l, trace) = (simulated(), Trace::default());
    let start = l.now();
    let inner = trace.clone();
    let task = l.spawn(async move {
        yield_now().await;
        inner.say("asleep");
        sleep(secs(1)).await;
    });
    l.run_until_stalled();
    assert_eq!((trace.take().as_str(), task.status()), ("asleep", Status::Waiting));
    assert_eq!((l.now(), l.next_deadline()), (start, Some(start + secs(1))));
}

#[test]
fn run_until_stalled_and_step_fire_timers_that_are_due() {
    type Drive = fn(&Loop);
    // It arms its timer at the first poll, and the second comes when that has fired.
    let drives: [Drive; 2] = [Loop::run_until_stalled, |l| {
        assert_eq!([l.step(), l.step(), l.step()], [true, true, false])
    }];
    for drive in drives {
        let l = simulated();
        let late = l.block_on(poll_fn(|_| Poll::Ready(sleep(secs(1)))));
        l.advance(secs(2));
        let task = l.spawn(late);
        drive(&l);
        assert_eq!(task.status(), Status::Finished);
    }
}

#[test]
fn next_deadline_forgets_timers_that_were_dropped() {
    let l = simulated();
    let start = l.now();
    assert_eq!(l.next_deadline(), None);
    let [early, late] = [1, 2].map(|n| l.spawn(async move { sleep(secs(n)).await }));
    l.run_until_stalled();
    assert_eq!(l.next_deadline(), Some(start + secs(1)));
    early.cancel();
    assert_eq!(l.next_deadline(), Some(start + secs(2)));
    late.cancel();
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn advance_stops_at_each_deadline_on_the_way() {
    let (l, trace) = (simulated(), Trace::default());
    let start = l.now();
    for n in [30, 10, 20] {
        let trace = trace.clone();
        drop(l.spawn(async move {
            sleep(secs(n)).await;
            trace.say((now() - start).as_secs());
            // Armed on the way, due on the way.
            sleep(secs(5)).await;
            trace.say((now() - start).as_secs());
        }));
    }
    l.advance(secs(28));
    assert_eq!(trace.take(), "10 15 20 25");
    assert_eq!(l.now() - start, secs(28));
    l.advance(secs(7));
    assert_eq!(trace.take(), "30 35");
    l.advance(secs(0));
    assert_eq!(l.now() - start, secs(35));
}

#[test]
fn advance_on_the_real_clock_panics() {
    let message = panic_of(|| Loop::new().advance(secs(1)));
    assert!(message.contains("real clock"), "{message}");
}

// on_wake, tasks

/// Rings counted on whatever thread.
fn count_rings(l: &Loop) -> Arc<Count> {
    let rings = Arc::new(Count::default());
    l.on_wake({
        let rings = rings.clone();
        move || rings.add()
    });
    rings
}

#[test]
fn on_wake_is_called_once_per_change_from_idle_to_ready() {
    let l = simulated();
    let rings = count_rings(&l);
    let wakers = Rc::default();
    let tasks = [(); 3].map(|()| l.spawn(once_woken(Rc::clone(&wakers))));
    assert_eq!(rings.get(), 1, "three spawns, one change");
    l.run_until_stalled();
    assert_eq!(rings.get(), 1, "what happens inside a run is no news");
    let [first, second, third] = <[Waker; 3]>::try_from(wakers.take()).unwrap();
    first.wake();
    second.wake();
    assert_eq!(rings.get(), 2);
    l.run_until_stalled();
    third.wake();
    assert_eq!(rings.get(), 3);
    l.run_until_stalled();
    assert!(tasks.iter().all(JoinHandle::is_finished));
}

#[test]
fn on_wake_hears_other_threads_and_the_last_callback_counts() {
    let l = simulated();
    let unheard = count_rings(&l);
    let rings = count_rings(&l);
    let wakers = Rc::default();
    let task = l.spawn(once_woken(Rc::clone(&wakers)));
    l.run_until_stalled();
    let waker = wakers.take().pop().unwrap();
    // Real threads: the callback runs on the thread that wakes.
    thread::spawn(move || waker.wake()).join().unwrap();
    assert_eq!((unheard.get(), rings.get()), (0, 2));
    l.run_until_stalled();
    assert!(task.is_finished());
}

#[test]
fn on_wake_is_not_called_while_the_loop_runs() {
    let l = simulated();
    let rings = count_rings(&l);
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let task = l.spawn(once_woken(wakers.clone()));
    l.run_until_stalled();
    assert_eq!(rings.get(), 1);
    l.block_on(async {
        let waker = wakers.take().pop().unwrap();
        // Real threads: the loop reads such a wake later in the same run.
        thread::spawn(move || waker.wake()).join().unwrap();
        task.await.unwrap();
    });
    assert_eq!(rings.get(), 1);
}

#[test]
fn on_wake_is_not_called_between_steps_that_leave_something_ready() {
    let l = simulated();
    let rings = count_rings(&l);
    let tasks = [(); 3].map(|()| l.spawn(async {}));
    assert_eq!(rings.get(), 1);
    assert!(l.step());
    drop(l.spawn(async {}));
    assert_eq!(rings.get(), 1, "the host knows that it has to go on stepping");
    while l.step() {}
    drop(l.spawn(async {}));
    assert_eq!(rings.get(), 2);
    assert!(tasks.iter().all(JoinHandle::is_finished));
}

#[test]
fn tasks_lists_those_that_have_not_ended() {
    let l = simulated();
    let parent = l.spawn(async {
        drop(spawn(pending::<()>()).named("child"));
        pending::<()>().await;
    });
    let short = l.spawn(async {}).named("short");
    assert_eq!(l.tasks().len(), 2);
    l.run_until_stalled();
    let [first, second] = <[_; 2]>::try_from(l.tasks()).unwrap();
    assert_eq!((first.id, first.parent, first.status), (parent.id(), None, Status::Waiting));
    assert_eq!(first.name, "tasks_lists_those_that_have_not_ended");
    assert_eq!(first.spawned_at, parent.spawned_at());
    assert_eq!((&*second.name, second.parent), ("child", Some(parent.id())));
    assert_eq!(second.spawned_at.file(), file!());
    assert!(second.id > first.id && short.is_finished());
}

// Stalls

#[test]
fn a_loop_that_can_never_go_on_says_who_waits_for_what() {
    let l = simulated();
    let child = l.spawn(async { (&Waiter::new(1)).await }).named("child");
    let stalled = l.try_block_on(async { child.await.unwrap() }).unwrap_err();
    let names: Vec<&str> = stalled.tasks().iter().map(|task| &*task.name).collect();
    assert_eq!(names, ["child", "main"]);
    let report = without_sites(&stalled.to_string());
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("deadlock: 2 tasks wait"), "{report}");
    assert!(lines[1].contains("child #1 WAITING, waiting for waiter (made at"), "{report}");
    assert!(
        lines[2].contains("main #2 WAITING, waiting for the end of child #1, spawned at"),
        "{report}"
    );
    let message = panic_of(|| l.run());
    assert!(message.starts_with("deadlock: 1 task waits"), "{message}");
}

#[test]
fn a_report_tells_the_last_wait_of_a_task_not_an_earlier_one() {
    let l = simulated();
    let stalled = l.try_block_on(async {
        sleep(secs(1)).await;
        (&Waiter::new(1)).await;
    });
    let report = stalled.unwrap_err().to_string();
    assert!(report.contains("main #1 WAITING, waiting for waiter (made at"), "{report}");
}

#[test]
fn a_report_of_a_thousand_tasks_is_short() {
    let l = simulated();
    let tasks = [(); 1000].map(|()| l.spawn(pending::<()>()));
    let stalled = l.try_block_on(pending::<()>()).unwrap_err();
    assert_eq!((stalled.tasks().len(), tasks.len()), (1001, 1000));
    let report = stalled.to_string();
    assert!(report.starts_with("deadlock: 1001 tasks wait"), "{report}");
    assert!(report.contains("\n  and 999 more like it\n"), "{report}");
}

#[test]
fn t88_tasks_that_await_each_other_are_reported() {
    let l = simulated();
    let left: Rc<Cell<Option<JoinHandle<()>>>> = Rc::default();
    let right = l.spawn({
        let left = left.clone();
        async move { left.take().unwrap().await.unwrap() }
    });
    left.set(Some(l.spawn(async move { right.await.unwrap() })));
    let message = panic_of(|| l.run());
    assert!(message.starts_with("deadlock: 2 tasks wait"), "{message}");
}

#[test]
fn t88_a_task_that_awaits_itself_is_reported() {
    let l = simulated();
    let own: Rc<Cell<Option<JoinHandle<()>>>> = Rc::default();
    let inner = own.clone();
    own.set(Some(l.spawn(async move { inner.take().unwrap().await.unwrap() })));
    let message = without_sites(&panic_of(|| l.run()));
    assert!(message.contains(" #1 WAITING, waiting for its own end, "), "{message}");
}

#[test]
fn t92_a_failed_assertion_in_a_detached_task_comes_out_of_the_run() {
    let l = simulated();
    drop(l.spawn(async { assert_eq!(1 + 1, 3, "arithmetic") }));
    drop(l.spawn(async { panic!("a later one") }));
    assert!(panic_of(|| l.run()).contains("arithmetic"));
    assert_eq!(
        panic_of(|| block_on(async {
            drop(spawn(async { panic!("free") }));
            yield_now().await;
        })),
        "free"
    );
    // Seen, so nobody else needs to hear of it.
    l.block_on(async {
        let error = spawn(async { panic!("awaited") }).await.unwrap_err();
        assert_eq!(sentence(&*error.into_panic()), "awaited");
    });
}

// Order

#[test]
fn turns_are_first_in_first_out() {
    let (l, trace) = (simulated(), Trace::default());
    for (name, turns) in [("a", 3), ("b", 1), ("c", 2)] {
        drop(l.spawn(say_turns(trace.clone(), name, turns)));
    }
    l.run();
    assert_eq!(trace.take(), "a1 b1 c1 a2 c2 a3");
}

#[test]
fn what_a_task_spawns_or_wakes_comes_after_what_is_ready() {
    let (l, trace) = (simulated(), Trace::default());
    let gate = Rc::new(Waiter::new(1));
    let (log, inner) = (trace.clone(), gate.clone());
    drop(l.spawn(async move {
        (&*inner).await;
        log.say("woken");
    }));
    let log = trace.clone();
    drop(l.spawn(async move {
        drop(spawn(say_turns(log.clone(), "child", 1)));
        gate.set();
        log.say("parent");
        yield_now().await;
        log.say("parent again");
    }));
    drop(l.spawn(say_turns(trace.clone(), "beside", 1)));
    l.run();
    assert_eq!(trace.take(), "parent beside1 child1 woken parent again");
}

// Traps

/// A future of eight mebibytes, made of zeroes; its poll needs no stack.
struct Huge {
    polls: u8,
    _ballast: [u8; HUGE],
}

const HUGE: usize = 8 << 20;

impl Future for Huge {
    type Output = u8;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u8> {
        self.polls += 1;
        if self.polls == 7 {
            return Poll::Ready(self.polls);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Real threads: they have stacks of the size that we want.
fn with_stack<R: Send + 'static>(size: usize, f: impl FnOnce() -> R + Send + 'static) -> R {
    thread::Builder::new().stack_size(size).spawn(f).unwrap().join().unwrap()
}

#[test]
fn t39_a_huge_future_is_spawned_with_few_copies_on_the_stack() {
    // A debug build moves by copies, five of them here; a release build needs the caller's only.
    let copies = if cfg!(debug_assertions) { 6 } else { 2 };
    let output = with_stack(copies * HUGE, || {
        let l = Loop::new();
        let task = l.spawn(Huge { polls: 0, _ballast: [0; HUGE] });
        l.block_on(task).unwrap()
    });
    assert_eq!(output, 7);
}

#[test]
fn t39_a_huge_future_in_a_box_runs_on_a_small_stack() {
    // Made where there is room, then moved as a pointer.
    let boxed = with_stack(4 * HUGE, || Box::pin(Huge { polls: 0, _ballast: [0; HUGE] }));
    let output = with_stack(2 << 20, || {
        let l = Loop::new();
        let task = l.spawn(boxed);
        l.block_on(task).unwrap()
    });
    assert_eq!(output, 7);
}

/// A result that holds the handle of the next task.
struct Link(#[allow(dead_code)] Option<JoinHandle<Link>>);

/// How long chains are: a stack frame each would overflow any stack.
const CHAIN: u32 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };

#[test]
fn t40_dropping_a_long_chain_of_finished_tasks_needs_no_stack() {
    let l = simulated();
    let mut next = None;
    for _ in 0..CHAIN {
        let link = Link(next.take());
        next = Some(l.spawn(async move { link }));
    }
    l.run();
    drop(next);
    assert!(l.tasks().is_empty());
}

#[test]
fn t40_cancelling_a_long_chain_of_waiting_tasks_needs_no_stack() {
    /// Cancels the next one when it is dropped itself.
    struct Domino(Option<JoinHandle<()>>, Rc<Cell<u32>>);

    impl Drop for Domino {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
            if let Some(next) = &self.0 {
                next.cancel();
            }
        }
    }

    let (l, fallen) = (simulated(), Rc::new(Cell::new(0)));
    let mut next = None;
    for _ in 0..CHAIN {
        let domino = Domino(next.take(), fallen.clone());
        next = Some(l.spawn(async move {
            let _domino = domino;
            pending::<()>().await;
        }));
    }
    l.run_until_stalled();
    assert!(next.take().unwrap().cancel());
    assert_eq!((fallen.get(), l.tasks().len()), (CHAIN, 0));
}

#[test]
fn t40_a_long_chain_of_wakes_needs_no_stack() {
    let l = simulated();
    let mut last = l.spawn(async { 0_u32 });
    for _ in 0..CHAIN {
        let before = last;
        last = l.spawn(async move { before.await.unwrap() + 1 });
    }
    // The first end wakes the second task, and so on.
    assert_eq!(l.block_on(last).unwrap(), CHAIN);
}

#[test]
fn t40_a_loop_with_a_long_chain_is_dropped() {
    let l = simulated();
    let mut next = l.spawn(pending::<()>());
    for _ in 0..CHAIN {
        let before = next;
        next = l.spawn(async move { before.await.unwrap() });
    }
    l.run_until_stalled();
    drop((l, next));
}

#[test]
fn t41_outputs_of_every_shape_survive_the_trip() {
    #[derive(Debug, PartialEq)]
    struct Nothing;

    #[derive(Debug, PartialEq)]
    #[repr(align(4096))]
    struct Page(u8);

    let l = simulated();
    let zst = l.spawn(async { Nothing });
    let page = l.spawn(async {
        let page = Page(9);
        yield_now().await;
        assert_eq!(&raw const page as usize % 4096, 0, "a future is aligned, too");
        page
    });
    let rc = Rc::new("not Send");
    let shared = l.spawn({
        let rc = rc.clone();
        async move { rc }
    });
    l.run();
    let Some(Ok(at)) = page.result() else { panic!("{page:?}") };
    assert_eq!(std::ptr::from_ref(at) as usize % 4096, 0);
    l.block_on(async {
        assert_eq!((zst.await.unwrap(), page.await.unwrap()), (Nothing, Page(9)));
        assert!(Rc::ptr_eq(&shared.await.unwrap(), &rc));
    });
    assert_eq!(Rc::strong_count(&rc), 1);
}

#[test]
fn t41_an_output_is_dropped_once_whoever_drops_it() {
    let (l, trace) = (simulated(), Trace::default());
    let spawn = |word| {
        let trace = trace.clone();
        l.spawn(async move { Last(trace, word) })
    };
    drop(spawn("detached"));
    l.run();
    assert_eq!(trace.take(), "detached");

    let unread = spawn("unread");
    l.run();
    assert_eq!(trace.take(), "");
    drop(unread);
    assert_eq!(trace.take(), "unread");

    let awaited = spawn("awaited");
    drop(l.block_on(awaited).unwrap());
    assert_eq!(trace.take(), "awaited");

    let outlives = spawn("outlives");
    l.run();
    drop(l);
    assert_eq!(trace.take(), "");
    drop(outlives);
    assert_eq!(trace.take(), "outlives");
}

#[test]
fn t43_no_wake_is_lost_between_the_last_look_and_the_park() {
    const ROUNDS: u32 = 20_000;
    let (send, receive) = mpsc::channel::<Waker>();
    // Real threads: the race is between one that wakes and one that parks.
    let waking = thread::spawn(move || receive.into_iter().for_each(Waker::wake));
    block_on(async move {
        for _ in 0..ROUNDS {
            let mut sent = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut sent, true) {
                    return Poll::Ready(());
                }
                send.send(cx.waker().clone()).unwrap();
                Poll::Pending
            })
            .await;
        }
    });
    waking.join().unwrap();
}

#[test]
fn t46_a_spurious_unpark_ends_no_sleep() {
    let start = Instant::now();
    thread::current().unpark();
    block_on(async { sleep(millis(3)).await });
    assert!(start.elapsed() >= millis(3));
}

#[test]
fn t46_a_spurious_wake_ends_nothing() {
    let (l, trace) = (simulated(), Trace::default());
    let (log, start) = (trace.clone(), l.now());
    let wakers = Rc::new(RefCell::new(Vec::new()));
    let inner = wakers.clone();
    drop(l.spawn(async move {
        let waker = my_waker().await;
        inner.borrow_mut().push(waker);
        sleep(secs(5)).await;
        log.say(format_args!("slept {} s", (now() - start).as_secs()));
    }));
    drop(l.spawn(async move {
        for _ in 0..3 {
            sleep(secs(1)).await;
            wakers.borrow()[0].wake_by_ref();
        }
    }));
    l.run();
    assert_eq!(trace.take(), "slept 5 s");
}

#[test]
fn t47_wakes_on_the_loops_own_thread_arrive_in_and_out_of_a_run() {
    let l = simulated();
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let (before, during) =
        (l.spawn(once_woken(wakers.clone())), l.spawn(once_woken(wakers.clone())));
    l.run_until_stalled();
    let [outside, inside] = <[Waker; 2]>::try_from(wakers.take()).unwrap();
    outside.wake();
    let waking = l.spawn(async move { inside.wake() });
    l.run();
    assert!(before.is_finished() && during.is_finished() && waking.is_finished());
}

#[test]
fn t47_a_wake_by_the_callback_that_announces_one_arrives() {
    let l = simulated();
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let tasks = [(); 2].map(|()| l.spawn(once_woken(wakers.clone())));
    l.run_until_stalled();
    let [first, second] = <[Waker; 2]>::try_from(wakers.take()).unwrap();
    l.on_wake(move || second.wake_by_ref());
    first.wake();
    l.run_until_stalled();
    assert!(tasks.iter().all(JoinHandle::is_finished));
}

/// How many turns a task that always wakes itself gets until `stop` says so.
async fn spin_until(stop: impl Fn() -> bool) -> u32 {
    let mut turns = 0;
    while !stop() {
        turns += 1;
        yield_now().await;
    }
    turns
}

#[test]
fn t48_a_spinning_task_delays_a_due_timer_by_64_polls_at_most() {
    let fired = Rc::new(Cell::new(false));
    let l = Loop::new();
    let timer = l.spawn({
        let fired = fired.clone();
        async move {
            sleep(millis(1)).await;
            fired.set(true);
        }
    });
    let turns = l.block_on(async move {
        yield_now().await;
        let due = Instant::now() + millis(1);
        while Instant::now() <= due {
            std::hint::spin_loop();
        }
        spin_until(|| fired.get()).await
    });
    assert!((1..=65).contains(&turns), "{turns}");
    assert!(timer.is_finished());
}

#[test]
fn t48_a_spinning_task_delays_a_wake_from_elsewhere_by_64_polls_at_most() {
    let l = simulated();
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let task = Rc::new(l.spawn(once_woken(wakers.clone())));
    let turns = l.block_on(async move {
        yield_now().await;
        let waker = wakers.take().pop().unwrap();
        // Real threads: only a wake from elsewhere has to be looked for.
        thread::spawn(move || waker.wake()).join().unwrap();
        spin_until(|| task.is_finished()).await
    });
    assert!((1..=65).contains(&turns), "{turns}");
}

/// As long as every step finds something ready, nothing else makes the loop look around.
#[test]
fn t48_a_host_that_steps_hears_of_wakes_within_64_steps() {
    let l = simulated();
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    drop(l.spawn(spin_until(|| false)));
    let task = l.spawn(once_woken(wakers.clone()));
    assert!(l.step() && l.step());
    let waker = wakers.take().pop().unwrap();
    // Real threads: only a wake from elsewhere has to be looked for.
    thread::spawn(move || waker.wake()).join().unwrap();
    for _ in 0..=2 * 64 {
        assert!(l.step());
    }
    assert!(task.is_finished());
}

#[test]
fn t49_wakes_during_the_own_poll_are_one_more_poll_and_not_at_once() {
    let (l, trace) = (simulated(), Trace::default());
    let (log, mut polls) = (trace.clone(), 0);
    let task = l.spawn(poll_fn(move |cx| {
        polls += 1;
        log.say(format_args!("poll{polls}"));
        if polls == 1 {
            cx.waker().wake_by_ref();
            let clone = cx.waker().clone();
            clone.wake_by_ref();
            clone.wake();
            log.say("(");
        }
        log.say(if polls == 1 { ")" } else { "." });
        Poll::<()>::Pending
    }));
    drop(l.spawn(say_turns(trace.clone(), "beside", 3)));
    l.run_until_stalled();
    assert_eq!(trace.take(), "poll1 ( ) beside1 poll2 . beside2 beside3");
    assert_eq!(task.status(), Status::Waiting);
}

#[test]
fn t50_a_hot_task_gets_one_turn_in_every_round() {
    const OTHERS: u32 = 200;
    let (l, hot) = (simulated(), Rc::new(Cell::new(0)));
    let spins = hot.clone();
    drop(l.spawn(async move {
        loop {
            spins.set(spins.get() + 1);
            yield_now().await;
        }
    }));
    let others: Vec<_> = (0..OTHERS)
        .map(|_| {
            let hot = hot.clone();
            l.spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..5 {
                    seen.push(hot.get());
                    yield_now().await;
                }
                seen
            })
        })
        .collect();
    l.block_on(async {
        for task in others {
            assert_eq!(task.await.unwrap(), [1, 2, 3, 4, 5]);
        }
    });
}

#[test]
fn t51_a_loop_cannot_be_driven_from_inside_a_loop() {
    type Drive = fn(&Loop);
    let drives: [(&str, Drive); 6] = [
        ("Loop::block_on", |l| l.block_on(async {})),
        ("Loop::try_block_on", |l| l.try_block_on(async {}).unwrap()),
        ("Loop::run", Loop::run),
        ("Loop::run_until_stalled", Loop::run_until_stalled),
        ("Loop::step", |l| assert!(l.step())),
        ("Loop::advance", |l| l.advance(secs(1))),
    ];
    let (same, other) = (Rc::new(simulated()), simulated());
    for (call, drive) in drives {
        for (which, message) in [
            ("the same", same.block_on(async { panic_of(|| drive(&same)) })),
            ("another", same.block_on(async { panic_of(|| drive(&other)) })),
        ] {
            assert!(
                message.starts_with(&format!("`{call}` called inside task 'main'")),
                "{message}"
            );
            assert!(message.contains(&format!("of {which} loop")), "{message}");
            // Advice that fits: not every call has a future that could be awaited.
            assert_eq!(message.contains("`.await` the future"), call.ends_with("block_on"));
            assert!(message.contains(file!()), "{message}");
        }
    }
    let message = same.block_on(async { panic_of(|| block_on(async {})) });
    assert!(message.starts_with("`boucle::block_on` called inside task 'main'"), "{message}");
    assert_eq!(same.block_on(async { 1 }), 1, "and the loop goes on");
}

#[test]
fn t51_a_destructor_cannot_drive_a_loop_either() {
    struct Drive(Rc<Loop>, Trace);

    impl Drop for Drive {
        fn drop(&mut self) {
            let message = panic_of(|| self.0.run());
            self.1.say(message.split(" called inside ").next().unwrap_or_default());
        }
    }

    let (l, trace) = (Rc::new(simulated()), Trace::default());
    let drive = Drive(l.clone(), trace.clone());
    let task = l.spawn(async move {
        let _drive = drive;
        pending::<()>().await;
    });
    l.run_until_stalled();
    // In a destructor outside of a run, then in one inside.
    assert!(task.cancel());
    assert_eq!(trace.take(), "`Loop::run`");
    drop(l.spawn({
        let drive = Drive(l.clone(), trace.clone());
        async move { drop(drive) }
    }));
    l.run();
    assert_eq!(trace.take(), "`Loop::run`");
}

/// Inside the destructor of a loop that has gone meanwhile, no loop is current, though another one is
/// still at its own.
#[test]
fn t51_nor_can_a_destructor_that_has_lost_its_loop() {
    let (outer, trace) = (Rc::new(simulated()), Trace::default());
    let inner = Rc::new(RefCell::new(Some(simulated())));
    let other = simulated();
    let gone = inner.clone();
    let third = other.spawn(owning(on_drop(move || drop(gone.take())), pending::<()>()));
    let (driven, said) = (outer.clone(), trace.clone());
    let second = on_drop(move || {
        assert!(third.cancel());
        let message = panic_of(|| driven.run());
        said.say(message.split(" called inside ").next().unwrap_or_default());
    });
    let second = inner.borrow().as_ref().unwrap().spawn(owning(second, pending::<()>()));
    let first = on_drop(move || assert!(second.cancel()));
    assert!(outer.spawn(owning(first, pending::<()>())).cancel());
    assert!(inner.borrow().is_none());
    assert_eq!(trace.take(), "`Loop::run`");
}

#[test]
fn t52_two_loops_on_one_thread_wake_each_others_tasks() {
    let (left, right, trace) = (simulated(), simulated(), Trace::default());
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let on_right = right.spawn(once_woken(wakers.clone()));
    right.run_until_stalled();
    let rings = count_rings(&right);

    let (log, start) = (trace.clone(), left.now());
    left.block_on(async move {
        sleep(secs(2)).await;
        wakers.take().pop().unwrap().wake();
        log.say(format_args!("woke at {} s", (now() - start).as_secs()));
    });
    assert_eq!(trace.take(), "woke at 2 s");
    assert_eq!((on_right.status(), rings.get()), (Status::Waiting, 1));
    right.run();
    assert!(on_right.is_finished());
    assert!(right.next_deadline().is_none());
}

#[test]
fn t52_a_task_of_one_loop_may_await_a_task_of_another() {
    let (left, right) = (simulated(), simulated());
    let on_right = right.spawn(async { 7 });
    let on_left = left.spawn(async move { on_right.await.unwrap() });
    left.run_until_stalled();
    right.run();
    left.run();
    assert_eq!(left.block_on(on_left).unwrap(), 7);
}

#[test]
fn t52_spawning_inside_a_run_goes_to_the_loop_that_runs() {
    let (left, right) = (simulated(), simulated());
    left.block_on(async {
        drop(spawn(pending::<()>()).named("here"));
        drop(right.spawn(pending::<()>()).named("there"));
    });
    let names = |l: &Loop| l.tasks().iter().map(|t| t.name.to_string()).collect::<Vec<_>>();
    assert_eq!((names(&left), names(&right)), (vec!["here".into()], vec!["there".to_string()]));
}
