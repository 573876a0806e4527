//! `wait` and `gather`.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    panic::Location,
    pin::{Pin, pin},
    rc::Rc,
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread,
};

use boucle::{
    JoinHandle, Loop, Status, TaskSet, Waited, Waiter, block_on, gather, now, sleep, spawn,
    try_wait, wait, yield_now,
};

use crate::support::Log;
use crate::trace::{Count, Last, Trace, my_waker, panic_of, secs, simulated};

fn outputs<T: Copy>(tasks: &TaskSet<T>) -> Vec<T> {
    tasks.iter().filter_map(|task| task.result()?.ok().copied()).collect()
}

fn names<T>(tasks: &TaskSet<T>) -> Vec<String> {
    tasks.iter().map(|task| task.name().into_owned()).collect()
}

async fn after(seconds: u64) -> u64 {
    sleep(secs(seconds)).await;
    seconds
}

// wait

#[test]
fn wait_takes_tasks_in_any_state_and_keeps_their_order() {
    simulated().block_on(async {
        let (finished, running) = (spawn(after(0)), spawn(after(3)));
        sleep(secs(1)).await;
        let new = spawn(after(1));
        let states = [&new, &finished, &running].map(JoinHandle::status);
        assert_eq!(states, [Status::New, Status::Finished, Status::Waiting]);
        let (done, failed) = wait([new, finished, running]).await;
        assert_eq!((outputs(&done), failed.len()), (vec![1, 0, 3], 0));
    });
}

#[test]
fn wait_takes_boxed_futures_and_spawns_them_at_the_call() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async {
        let futures: Vec<Pin<Box<dyn Future<Output = u64>>>> =
            vec![Box::pin(after(2)), Box::pin(async { 7 })];
        let line = line!() + 1;
        let waiting = wait(futures);
        let here: &Location<'_> = Location::caller();
        yield_now().await;
        let (done, _) = waiting.await;
        assert_eq!(outputs(&done), [2, 7]);
        for task in &done {
            let place = task.spawned_at();
            assert_eq!((place.file(), place.line()), (here.file(), line));
        }
        log.say("done");
    });
    assert_eq!(trace.take(), "done");
}

#[test]
fn wait_sorts_the_finished_from_the_failed() {
    simulated().block_on(async {
        let tasks = [
            spawn(async { panic!("burnt") }).named("panics"),
            spawn(after(1)).named("ends"),
            spawn(pending()).named("cancelled"),
            spawn(after(2)).named("ends too"),
        ];
        let canceller = tasks[2].canceller();
        drop(spawn(async move {
            sleep(secs(1)).await;
            canceller.cancel();
        }));
        let (done, failed) = wait(tasks).await;
        assert_eq!(names(&done), ["ends", "ends too"]);
        assert_eq!(names(&failed), ["panics", "cancelled"]);
        let kinds: Vec<_> =
            failed.iter().map(|task| task.result().unwrap().unwrap_err().is_panic()).collect();
        assert_eq!(kinds, [true, false]);
    });
}

#[test]
fn wait_works_in_any_executor_that_polls_it_on_the_thread_of_its_tasks() {
    let l = simulated();
    let mut waiting = pin!(wait([l.spawn(async { 1 }), l.spawn(async { 2 })]));
    let (count, waker) = Count::waker();
    let mut cx = Context::from_waker(&waker);
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    l.run();
    assert!(count.get() >= 1);
    let Poll::Ready((done, _)) = waiting.as_mut().poll(&mut cx) else { panic!("both have ended") };
    assert_eq!(outputs(&done), [1, 2]);
}

#[test]
fn a_dropped_wait_detaches_its_tasks() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async move {
        let task = spawn(async move {
            sleep(secs(1)).await;
            log.say("still ran");
        });
        let mut waiting = pin!(wait([task]));
        poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    l.run();
    assert_eq!(trace.take(), "still ran");
}

#[test]
fn t84_waiting_for_nothing_or_for_what_has_ended_takes_no_turn() {
    let l = simulated();
    let nothing = l.spawn(async {
        let (done, failed) = wait(Vec::<JoinHandle<()>>::new()).await;
        assert!(done.is_empty() && failed.is_empty());
        assert_eq!(gather(Vec::<std::future::Ready<()>>::new()).await, []);
        gather(()).await;
    });
    assert!(l.step());
    assert_eq!(nothing.status(), Status::Finished);

    let ended = [l.spawn(async { 1 }), l.spawn(async { panic!("burnt") })];
    l.run();
    let waiting = l.spawn(async {
        let (done, failed) = wait(ended).await;
        assert!(failed.iter().all(|task| task.result().unwrap().unwrap_err().is_panic()));
        (done.len(), failed.len())
    });
    assert!(l.step());
    assert_eq!(*waiting.result().unwrap().unwrap(), (1, 1));
}

#[test]
fn t84_not_even_for_more_tasks_than_a_poll_may_look_at() {
    let l = simulated();
    let ended: Vec<_> = (0..1000).map(|n| l.spawn(async move { n })).collect();
    l.run();
    let waiting = l.spawn(async { wait(ended).await.0.len() });
    assert!(l.step());
    assert_eq!(*waiting.result().unwrap().unwrap(), 1000);
}

#[test]
fn wait_is_over_in_the_turn_after_the_last_end() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    let tasks = [l.spawn(async {}), l.spawn(async {})];
    drop(l.spawn(async move {
        let (done, _) = wait(tasks).await;
        log.say(format_args!("{} done", done.len()));
    }));
    let log = trace.clone();
    drop(l.spawn(async move {
        for turn in 1..=2 {
            log.say(format_args!("turn {turn}"));
            yield_now().await;
        }
    }));
    l.run();
    assert_eq!(trace.take(), "2 done turn 1 turn 2");
}

// wait, until

/// Done, failed and pending, by name.
fn sorted<T>(waited: &Waited<T>) -> String {
    let pending: Vec<_> = waited.pending.iter().map(|task| task.name().into_owned()).collect();
    let [done, failed] = [&waited.done, &waited.failed].map(|set| names(set).join(" "));
    format!("{done} | {failed} | {}", pending.join(" "))
}

/// Tasks that end after some seconds, named after them.
fn sleepers<const N: usize>(seconds: [u64; N]) -> [JoinHandle<u64>; N] {
    seconds.map(|n| spawn(after(n)).named(n.to_string()))
}

#[test]
fn t85_first_done_returns_all_that_are_done_by_then_in_the_order_given() {
    simulated().block_on(async {
        let start = now();
        let waited = wait(sleepers([3, 1, 2, 1, 1])).first_done().await;
        assert_eq!((sorted(&waited).as_str(), now() - start), ("1 1 1 |  | 3 2", secs(1)));
        let waited = wait(waited.pending).first_done().await;
        assert_eq!((sorted(&waited).as_str(), now() - start), ("2 |  | 3", secs(2)));
    });
}

#[test]
fn a_failure_is_an_end_too() {
    simulated().block_on(async {
        let burnt = spawn(async { panic!("burnt") }).named("burnt");
        let [one, two] = sleepers([1, 2]);
        let waited = wait([one, burnt, two]).first_done().await;
        assert_eq!(sorted(&waited), " | burnt | 1 2");
        assert!(waited.failed.iter().all(|task| task.result().unwrap().is_err()));
    });
}

#[test]
fn t83_a_second_failure_is_not_lost() {
    async fn fails(after: u64, how: &'static str) {
        sleep(secs(after)).await;
        panic!("{how}");
    }

    crate::support::quiet();
    // Both are there for whoever waits for all, or gathers the handles.
    let l = simulated();
    let (done, failed) = l.block_on(async { wait([1, 2].map(|n| spawn(fails(n, "boom")))).await });
    assert_eq!((done.len(), failed.len()), (0, 2));
    assert!(failed.iter().all(|task| task.result().unwrap().unwrap_err().is_panic()));
    drop(failed);
    l.run();
    let both = l.block_on(async { gather([1, 2].map(|n| spawn(fails(n, "boom")))).await });
    assert!(both.iter().all(Result::is_err));

    // One that comes after the first was reported, and is read by nobody, comes out of the run.
    let message = panic_of(|| {
        l.block_on(async {
            let tasks = [spawn(fails(1, "boom, first")), spawn(fails(2, "boom, second"))];
            let waited = wait(tasks).first_failed().await;
            assert_eq!((waited.failed.len(), waited.pending.len()), (1, 1));
            assert!(waited.failed.iter().next().unwrap().result().unwrap().is_err());
            drop(waited.pending);
            sleep(secs(9)).await;
        });
    });
    assert_eq!(message, "boom, second");
}

#[test]
fn first_failed_returns_at_a_failure_or_when_all_have_ended() {
    simulated().block_on(async {
        let start = now();
        let mut tasks = sleepers([1, 9, 3]);
        let canceller = tasks[1].canceller();
        tasks.reverse();
        drop(spawn(async move {
            sleep(secs(2)).await;
            canceller.cancel();
        }));
        let waited = wait(tasks).first_failed().await;
        assert_eq!((sorted(&waited).as_str(), now() - start), ("1 | 9 | 3", secs(2)));
        let waited = wait(waited.pending).first_failed().await;
        assert_eq!((sorted(&waited).as_str(), now() - start), ("3 |  | ", secs(3)));
    });
}

#[test]
fn a_timeout_returns_what_is_pending_alive() {
    simulated().block_on(async {
        let start = now();
        let waited = wait(sleepers([3, 1, 9])).timeout(secs(2)).await;
        assert_eq!((sorted(&waited).as_str(), now() - start), ("1 |  | 3 9", secs(2)));
        let statuses: Vec<_> = waited.pending.iter().map(JoinHandle::status).collect();
        assert_eq!(statuses, [Status::Waiting; 2]);
        let mut pending = waited.pending.into_iter();
        assert_eq!((pending.next().unwrap().await.unwrap(), now() - start), (3, secs(3)));
        assert!(pending.next().unwrap().cancel());
        // All ended before the deadline.
        let waited = wait(sleepers([1])).timeout(secs(5)).await;
        assert_eq!((sorted(&waited).as_str(), now() - start), ("1 |  | ", secs(4)));
    });
}

#[test]
fn who_is_ready_at_the_deadline_beats_it() {
    simulated().block_on(async {
        // The sleeps of the tasks begin after that of the timeout, and so fire after it.
        let waited = wait(sleepers([2, 2, 3])).timeout(secs(2)).await;
        assert_eq!(sorted(&waited), "2 2 |  | 3");
        let waiting = wait([Box::pin(after(1))]).timeout(secs(1));
        assert_eq!(waiting.await.done.len(), 1);
        let waited = wait([spawn(after(1)), spawn(async { 0 })]).timeout(secs(0)).await;
        assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
    });
}

#[test]
fn reasons_to_return_may_be_combined() {
    simulated().block_on(async {
        let start = now();
        let waited = wait(sleepers([1, 5])).first_failed().timeout(secs(2)).await;
        assert_eq!((sorted(&waited).as_str(), now() - start), ("1 |  | 5", secs(2)));
        let waited = wait(waited.pending).timeout(secs(9)).first_failed().first_done().await;
        assert_eq!((sorted(&waited).as_str(), now() - start), ("5 |  | ", secs(5)));
        let waited = wait(sleepers([4, 8])).first_done().first_failed().timeout(secs(6)).await;
        assert_eq!((sorted(&waited).as_str(), now() - start), ("4 |  | 8", secs(9)));
        let waited = wait(waited.pending).timeout(secs(1)).timeout(secs(3)).await;
        assert_eq!((sorted(&waited).as_str(), now() - start), (" |  | 8", secs(10)));
    });
}

#[test]
fn t84_what_has_ended_is_enough_in_no_turn() {
    let l = simulated();
    let ended = [l.spawn(async { 1 }), l.spawn(async { panic!("burnt") })];
    l.run();
    let [one, burnt] = ended;
    let waiting = l.spawn(async move {
        let waited = wait([spawn(pending()), one]).first_done().await;
        assert_eq!((waited.done.len(), waited.pending.len()), (1, 1));
        let waited = wait([spawn(pending()), burnt]).first_failed().timeout(secs(1)).await;
        assert_eq!((waited.failed.len(), waited.pending.len()), (1, 1));
        assert!(waited.failed.iter().all(|task| task.result().unwrap().is_err()));
        let nothing = || wait(Vec::<JoinHandle<()>>::new());
        for waiting in [nothing().first_done(), nothing().timeout(secs(1))] {
            assert_eq!(sorted(&waiting.await), " |  | ");
        }
    });
    assert!(l.step());
    assert_eq!(waiting.status(), Status::Finished);
}

#[test]
fn more_tasks_than_a_poll_may_look_at_are_all_reported() {
    simulated().block_on(async {
        let mut tasks: Vec<_> = (0..300).map(|n| spawn(after(1 + n % 2))).collect();
        tasks.push(spawn(async { 7 }));
        let waited = wait(tasks).first_done().await;
        assert_eq!((outputs(&waited.done), waited.pending.len()), (vec![7], 300));
        let waited = wait(waited.pending).first_done().await;
        assert_eq!((outputs(&waited.done), waited.pending.len()), (vec![1; 150], 150));
        assert_eq!(wait(waited.pending).timeout(secs(9)).await.done.len(), 150);
    });
}

#[test]
fn an_err_is_a_failure_for_try_wait() {
    simulated().block_on(async {
        let task = |seconds, result: Result<u64, u64>| {
            spawn(async move {
                sleep(secs(seconds)).await;
                result
            })
            .named(seconds.to_string())
        };
        let burnt = spawn(async { panic!("burnt") }).named("burnt");
        let (done, failed) =
            try_wait([task(3, Ok(1)), task(1, Err(2)), burnt, task(2, Ok(3))]).await;
        assert_eq!(
            (names(&done).join(" "), names(&failed).join(" ")),
            ("3 2".into(), "1 burnt".into())
        );
        assert!(failed.iter().next_back().unwrap().result().unwrap().is_err());
        let tasks = [task(3, Ok(1)), task(1, Ok(2)), task(2, Err(3))];
        let waited = try_wait(tasks).first_failed().await;
        assert_eq!(sorted(&waited), "1 | 2 | 3");
        let mut taken = task(0, Err(4));
        assert_eq!((&mut taken).await.unwrap(), Err(4));
        assert_eq!(sorted(&try_wait([taken]).timeout(secs(1)).await), "0 |  | ");
    });
}

#[test]
fn a_wait_until_polled_after_its_end_has_nothing_left() {
    let l = simulated();
    let mut waiting = pin!(wait([l.spawn(async { 1 }), l.spawn(pending())]).first_done());
    l.block_on(async {
        assert_eq!(waiting.as_mut().await.pending.len(), 1);
        assert_eq!(sorted(&waiting.as_mut().await), " |  | ");
    });
}

#[test]
fn a_dropped_wait_until_detaches_its_tasks() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async move {
        let task = spawn(async move {
            sleep(secs(3)).await;
            log.say("still ran");
        });
        yield_now().await;
        let mut waiting = pin!(wait([task]).first_failed().timeout(secs(1)));
        poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    assert_eq!(l.next_deadline().map(|at| at - l.now()), Some(secs(3)), "the timer went");
    l.run();
    assert_eq!(trace.take(), "still ran");
}

// gather

#[test]
fn gather_keeps_the_order_given_and_may_borrow() {
    let (l, trace) = (simulated(), Trace::default());
    let start = l.now();
    let say = async |n: u64| {
        trace.say(after(n).await);
        n * 10
    };
    assert_eq!(l.block_on(gather(vec![say(3), say(1), say(2)])), [30, 10, 20]);
    assert_eq!(l.block_on(gather([say(2), say(1)])), [20, 10]);
    assert_eq!(l.block_on(gather((say(2), async { "two" }, say(1)))), (20, "two", 10));
    assert_eq!(trace.take(), "1 2 3 1 2 1 2");
    assert_eq!(l.now() - start, secs(7));
}

#[test]
fn gather_takes_tuples_of_up_to_twelve() {
    let one = |n: u8| async move {
        yield_now().await;
        n
    };
    let tuple = (
        one(1),
        one(2),
        one(3),
        one(4),
        one(5),
        one(6),
        one(7),
        one(8),
        one(9),
        one(10),
        one(11),
        one(12),
    );
    let (a, b, c, d, e, f, g, h, i, j, k, l) = block_on(gather(tuple));
    assert_eq!([a, b, c, d, e, f, g, h, i, j, k, l], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(block_on(gather((one(1),))), (1,));
}

#[test]
fn gathers_nest() {
    let l = simulated();
    let sums = l.block_on(gather([1, 2, 3].map(|n| async move {
        let inner: Vec<u64> = gather((0..100).map(|m| after(n + m % 3)).collect::<Vec<_>>()).await;
        inner.into_iter().sum::<u64>()
    })));
    assert_eq!(sums, [199, 299, 399]);
}

/// A child that counts its polls, gives its waker away and ends once it is told to.
struct Child {
    polls: Cell<u32>,
    waker: RefCell<Option<Waker>>,
    done: Cell<bool>,
}

impl Child {
    fn new() -> Rc<Child> {
        Rc::new(Child { polls: Cell::new(0), waker: RefCell::new(None), done: Cell::new(false) })
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        self.polls.set(self.polls.get() + 1);
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        if self.done.get() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn future(self: &Rc<Self>) -> impl Future<Output = ()> + use<> {
        let this = self.clone();
        poll_fn(move |cx| this.poll(cx))
    }

    fn waker(&self) -> Waker {
        self.waker.borrow().clone().expect("it was polled")
    }
}

fn polls(children: &[Rc<Child>]) -> u32 {
    children.iter().map(|child| child.polls.get()).sum()
}

/// A loop with a task that gathers children, all polled once.
fn gathering(count: usize) -> (Loop, Vec<Rc<Child>>, JoinHandle<usize>) {
    let l = simulated();
    let children: Vec<_> = (0..count).map(|_| Child::new()).collect();
    let futures: Vec<_> = children.iter().map(Child::future).collect();
    let task = l.spawn(async { gather(futures).await.len() });
    l.run_until_stalled();
    assert!(children.iter().all(|child| child.polls.get() == 1));
    (l, children, task)
}

#[test]
fn one_of_a_thousand_is_woken_and_polled_alone() {
    let (l, children, task) = gathering(1000);
    // By a task of the same loop, then from outside of a run, which is another path.
    l.block_on(async { children[700].waker().wake() });
    l.run_until_stalled();
    children[700].waker().wake();
    l.run_until_stalled();
    assert_eq!((polls(&children), children[700].polls.get()), (1002, 3));
    assert_eq!(task.status(), Status::Waiting);
}

#[test]
fn two_wakes_are_one_poll_and_who_has_ended_is_not_polled_again() {
    let (l, children, task) = gathering(1000);
    let wake = |index: usize| {
        let waker = children[index].waker();
        waker.wake_by_ref();
        waker.wake();
    };
    for (index, polled) in [(3, 1001), (5, 1002)] {
        children[index].done.set(index == 5);
        l.block_on(async { wake(index) });
        l.run_until_stalled();
        assert_eq!(polls(&children), polled);
    }
    wake(3);
    wake(5);
    l.run_until_stalled();
    l.block_on(async { wake(5) });
    l.run_until_stalled();
    assert_eq!((polls(&children), children[5].polls.get()), (1003, 2));
    assert_eq!(task.status(), Status::Waiting);
}

#[test]
fn one_of_a_thousand_is_woken_elsewhere_and_polled_alone() {
    let (l, children, _task) = gathering(1000);
    let waker = children[700].waker();
    // Real threads: such wakes take another path.
    thread::spawn(move || {
        waker.wake_by_ref();
        waker.wake();
    })
    .join()
    .unwrap();
    l.run_until_stalled();
    assert_eq!((polls(&children), children[700].polls.get()), (1001, 2));
}

#[test]
fn one_of_a_thousand_is_woken_and_polled_alone_under_another_executor() {
    let children: Vec<_> = (0..1000).map(|_| Child::new()).collect();
    let futures: Vec<_> = children.iter().map(Child::future).collect();
    let mut gathered = pin!(gather(futures));
    let (count, waker) = Count::waker();
    let mut cx = Context::from_waker(&waker);
    let mut rounds = 0;
    while polls(&children) < 1000 || count.get() > rounds {
        rounds = count.get();
        assert!(gathered.as_mut().poll(&mut cx).is_pending());
    }
    children[700].waker().wake();
    assert_eq!(count.get(), rounds + 1);
    assert!(gathered.as_mut().poll(&mut cx).is_pending());
    assert_eq!((polls(&children), children[700].polls.get()), (1001, 2));
    for child in &children {
        child.done.set(true);
        child.waker().wake();
    }
    while gathered.as_mut().poll(&mut cx).is_pending() {}
    assert_eq!(polls(&children), 2001);
}

#[test]
fn children_woken_inside_a_run_are_polled_in_the_order_of_their_wakes() {
    order_of_wakes(true);
}

#[test]
fn children_woken_outside_a_run_are_polled_in_the_order_of_their_wakes() {
    order_of_wakes(false);
}

#[track_caller]
fn order_of_wakes(inside: bool) {
    let (l, trace) = (simulated(), Trace::default());
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let children = ["a", "b", "c"].map(|name| {
        let (trace, wakers) = (trace.clone(), wakers.clone());
        async move {
            let waker = my_waker().await;
            wakers.borrow_mut().push(waker);
            let mut woken = false;
            poll_fn(|_| {
                if std::mem::replace(&mut woken, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            trace.say(name);
        }
    });
    drop(l.spawn(gather(children)));
    l.run_until_stalled();
    let wake = || [2, 0, 1].map(|index| wakers.borrow()[index].wake_by_ref());
    if inside {
        l.block_on(async { wake() });
    } else {
        wake();
    }
    l.run();
    assert_eq!(trace.take(), "c a b");
}

#[test]
fn after_64_children_the_others_have_a_turn() {
    let (l, trace) = (simulated(), Trace::default());
    let polled = Rc::new(Cell::new(0));
    let count = polled.clone();
    drop(l.spawn(async move {
        let child = || {
            let count = count.clone();
            async move { count.set(count.get() + 1) }
        };
        gather((0..200).map(|_| child()).collect::<Vec<_>>()).await;
    }));
    let log = trace.clone();
    drop(l.spawn(async move {
        for _ in 0..4 {
            log.say(polled.get());
            yield_now().await;
        }
    }));
    l.run();
    assert_eq!(trace.take(), "64 128 192 200");
}

#[test]
fn the_children_of_nested_gathers_share_the_64() {
    share_the_64(3, 100);
}

#[test]
fn the_children_of_small_nested_gathers_share_the_64() {
    share_the_64(30, 10);
}

/// Has so many gathers of so many children each polled, 300 in all.
fn share_the_64(nests: usize, leaves: usize) {
    let (l, trace) = (simulated(), Trace::default());
    let (polled, log) = (Rc::new(Cell::new(0_u32)), trace.clone());
    let count = polled.clone();
    drop(l.spawn(async move {
        let leaf = || {
            let count = count.clone();
            async move { count.set(count.get() + 1) }
        };
        let nest = |_| gather((0..leaves).map(|_| leaf()).collect::<Vec<_>>());
        gather((0..nests).map(nest).collect::<Vec<_>>()).await;
    }));
    drop(l.spawn(async move {
        let mut before = 0;
        while before < 300 {
            let now = polled.get();
            assert!(now - before <= 64, "{before} then {now}");
            before = now;
            yield_now().await;
        }
        trace.say("fair");
    }));
    l.run();
    assert_eq!(log.take(), "fair");
}

#[test]
fn a_child_that_wakes_itself_and_ends_is_not_polled_again() {
    let l = simulated();
    let ended = |n: u8| {
        poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(n)
        })
    };
    assert_eq!(l.block_on(gather([ended(1), ended(2), ended(3)])), [1, 2, 3]);
}

#[test]
fn a_spinning_child_does_not_starve_its_siblings() {
    let (l, trace) = (simulated(), Trace::default());
    let stop = Cell::new(false);
    l.block_on(gather((
        async {
            while !stop.get() {
                yield_now().await;
            }
            trace.say("stopped");
        },
        async {
            for _ in 0..3 {
                yield_now().await;
            }
            stop.set(true);
            trace.say("stops");
        },
    )));
    assert_eq!(trace.take(), "stops stopped");
}

#[test]
fn a_panic_in_a_child_drops_the_others_and_goes_on() {
    let (l, trace) = (simulated(), Trace::default());
    let message = panic_of(|| {
        l.block_on(gather([0, 1, 2].map(|n| {
            let last = Last(trace.clone(), ["zero", "one", "two"][n]);
            async move {
                let _last = last;
                sleep(secs(n as u64)).await;
                assert!(n != 1, "burnt");
                pending::<()>().await;
            }
        })))
    });
    assert_eq!(message, "burnt");
    // The one that panicked goes while it unwinds, before the others.
    assert_eq!(trace.take(), "one zero two");
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn the_others_are_dropped_before_the_panic_of_a_child_comes_out() {
    let trace = Trace::default();
    let last = Last(trace.clone(), "other");
    let mut gathered = pin!(gather((
        async move {
            let _last = last;
            pending::<()>().await;
        },
        async { panic!("burnt") },
    )));
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(panic_of(|| gathered.as_mut().poll(&mut cx)), "burnt");
    assert_eq!(trace.take(), "other");
}

#[test]
fn a_dropped_gather_drops_futures_and_outputs() {
    let (l, trace) = (simulated(), Trace::default());
    let task = l.spawn(gather([1, 5].map(|n| {
        let last = Last(trace.clone(), if n == 1 { "output" } else { "future" });
        async move {
            sleep(secs(n)).await;
            last
        }
    })));
    l.advance(secs(2));
    assert_eq!(trace.take(), "");
    assert!(task.cancel());
    assert_eq!(trace.take(), "output future");
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn a_gather_polled_after_its_end_panics() {
    let mut gathered = pin!(gather([async {}]));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(gathered.as_mut().poll(&mut cx).is_ready());
    let message = panic_of(|| gathered.as_mut().poll(&mut cx));
    assert!(message.contains("after it had ended"), "{message}");
}

#[test]
fn wakers_of_children_outlive_the_gather_and_wake_nobody() {
    let (l, children, task) = gathering(3);
    let wakers: Vec<Waker> = children.iter().map(|child| child.waker()).collect();
    assert!(task.cancel());
    let beside = l.spawn(async { now() });
    l.run();
    wakers.iter().for_each(Waker::wake_by_ref);
    assert!(!l.step() && beside.is_finished());
    drop(l);
    // Real threads: the last reference goes elsewhere.
    thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
}

#[test]
fn a_gather_that_moves_to_another_loop_goes_on_there() {
    let (left, right, gate) = (simulated(), simulated(), Rc::new(Waiter::new(1)));
    let inside = gate.clone();
    let mut gathered = Box::pin(gather([1, 2].map(|n| {
        let gate = inside.clone();
        async move {
            if n == 2 {
                (&*gate).await;
            }
            n
        }
    })));
    left.block_on(poll_fn(|cx| {
        assert!(gathered.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    }));
    drop(right.spawn(async move { gate.set() }));
    assert_eq!(right.block_on(gathered), [1, 2]);
}

#[test]
fn a_wait_that_moves_to_another_loop_counts_nobody_twice() {
    let (left, right) = (simulated(), simulated());
    let (ended, late) = (left.spawn(async { 1 }), left.spawn(after(5)));
    let mut waiting = Box::pin(wait([ended, late]));
    left.block_on(async {
        yield_now().await;
        poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    let waiting = right.spawn(waiting);
    right.run_until_stalled();
    assert_eq!(waiting.status(), Status::Waiting, "one of the two has not ended");
    left.run();
    right.run_until_stalled();
    let Some(Ok((done, failed))) = waiting.result() else { panic!("{waiting:?}") };
    assert_eq!((outputs(done), failed.len()), (vec![1, 5], 0));
}

/// Two gathers in one task share its 64 polls, which the first alone could use up for ever.
#[test]
fn a_gather_of_spinning_children_does_not_starve_one_beside_it() {
    let l = simulated();
    let stop = Rc::new(Cell::new(false));
    let stopped = stop.clone();
    let task = l.spawn(async move {
        let spinning: Vec<_> = (0..100)
            .map(|_| async {
                while !stopped.get() {
                    yield_now().await;
                }
            })
            .collect();
        let stopping = gather([async { stopped.set(true) }]);
        futures_lite::future::zip(gather(spinning), stopping).await;
    });
    for _ in 0..1000 {
        l.step();
    }
    assert!(stop.get(), "the second gather has never polled its child");
    l.run();
    assert!(task.is_finished());
}

/// Children that each let other threads wake them many times, on one of four threads.
fn woken_from_four_threads(children: usize, rounds: u32) -> impl Future<Output = Vec<u32>> {
    let posts = [(); 4].map(|()| {
        let (send, receive) = mpsc::channel::<Waker>();
        // Real threads: the wakes race with the polls and with each other.
        thread::spawn(move || receive.into_iter().for_each(Waker::wake));
        send
    });
    let child = move |n: usize| {
        let post = posts[n % posts.len()].clone();
        let mut polls = 0;
        poll_fn(move |cx| {
            polls += 1;
            if polls > rounds {
                return Poll::Ready(polls);
            }
            post.send(cx.waker().clone()).expect("the thread reads until we are gone");
            Poll::Pending
        })
    };
    gather((0..children).map(child).collect::<Vec<_>>())
}

#[test]
fn t43_no_wake_of_a_child_from_elsewhere_is_lost() {
    assert_eq!(block_on(woken_from_four_threads(200, 50)), [51; 200]);
}

#[test]
fn t43_no_wake_of_a_child_from_elsewhere_is_lost_under_another_executor() {
    let gathered = woken_from_four_threads(200, 50);
    assert_eq!(futures_lite::future::block_on(gathered), [51; 200]);
}

#[test]
fn wakes_of_children_may_race_with_the_drop_of_their_loop() {
    for _ in 0..200 {
        let (l, children, task) = gathering(8);
        let (start, started) = mpsc::sync_channel(0);
        let wakers: Vec<Waker> = children.iter().map(|child| child.waker()).collect();
        // Real threads: the last references go while the loop does.
        let waking = thread::spawn(move || {
            started.recv().expect("it is told to start");
            for waker in wakers {
                waker.wake_by_ref();
                drop(waker.clone());
            }
        });
        start.send(()).expect("it waits for this");
        drop(l);
        drop((children, task));
        waking.join().unwrap();
    }
}

#[test]
fn t48_spinning_children_delay_a_wake_from_elsewhere_by_few_polls() {
    let l = simulated();
    let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
    let inner = waker.clone();
    let mut woken = false;
    let task = l.spawn(poll_fn(move |cx| {
        inner.replace(Some(cx.waker().clone()));
        if std::mem::replace(&mut woken, true) { Poll::Ready(()) } else { Poll::Pending }
    }));
    l.run_until_stalled();
    let waker = waker.take().expect("it was polled");
    // Real threads: only a wake from elsewhere has to be looked for.
    thread::spawn(move || waker.wake()).join().unwrap();
    let polls = Cell::new(0);
    let spinning = (0..32).map(|_| async {
        while !task.is_finished() {
            polls.set(polls.get() + 1);
            yield_now().await;
        }
    });
    l.block_on(gather(spinning.collect::<Vec<_>>()));
    // Two polls of the task are 64 of its children and two of itself.
    assert!(polls.get() <= 3 * 32, "{polls:?}");
}

/// Wakes itself and ends in the same poll.
fn wakes_itself_and_ends() -> impl Future<Output = ()> {
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Ready(())
    })
}

#[test]
fn the_wake_of_a_child_that_ends_is_nobodys() {
    let l = simulated();
    let task = l.spawn(gather((wakes_itself_and_ends(), pending::<()>())));
    assert!(l.step());
    assert_eq!(task.status(), Status::Waiting);
}

#[test]
fn a_child_that_leaves_the_list_of_woken_ones_takes_nobody_along() {
    // It leaves the end, the middle or the front of a list of children that have yielded.
    let l = simulated();
    l.block_on(gather((yield_now(), wakes_itself_and_ends(), yield_now())));
    l.block_on(gather((wakes_itself_and_ends(), yield_now(), yield_now())));
    let late = async {
        yield_now().await;
        wakes_itself_and_ends().await;
    };
    let mut turns = 0;
    let early = poll_fn(|cx| {
        turns += 1;
        cx.waker().wake_by_ref();
        if turns == 4 { Poll::Ready(()) } else { Poll::Pending }
    });
    l.block_on(gather((early, late, yield_now(), yield_now())));
}

#[test]
fn a_waker_of_a_dropped_gather_keeps_no_loop_waiting() {
    let (l, children, task) = gathering(2);
    assert!(task.cancel());
    let waker = children[0].waker();
    assert!(l.try_block_on(pending::<()>()).is_err(), "nobody can wake it");
    drop(waker);
}

/// Polls a gather by hand when it is dropped.
struct GathersInDrop;

impl Drop for GathersInDrop {
    fn drop(&mut self) {
        let children = pin!(gather([(); 2].map(|()| async {})));
        assert!(children.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}

#[test]
fn a_destructor_that_gathers_leaves_its_callers_the_64() {
    let l = simulated();
    let log = Log::default();
    let (first, second, third) = (log.clone(), log.clone(), log.clone());
    let victim = l.spawn(async {
        let _gathers = GathersInDrop;
        pending::<()>().await;
    });
    l.run_until_stalled();
    let both = l.spawn(async move {
        let cancels = async {
            first.push("first child");
            victim.cancel();
        };
        gather((cancels, async { second.push("second child") })).await;
    });
    let other = l.spawn(async move { third.push("another task") });
    l.run();
    assert!(both.is_finished() && other.is_finished());
    assert_eq!(log.take(), ["first child", "second child", "another task"]);
}
