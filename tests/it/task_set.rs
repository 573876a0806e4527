//! `TaskSet`: members in order, results in order of completion, limits, ends.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use boucle::{JoinError, JoinHandle, Loop, Status, TaskSet, now, sleep, spawn, wait, yield_now};

use crate::{
    support::{Log, foreign_waker, noting_loop},
    trace::{Count, Last, Trace, panic_of, secs, simulated},
};

async fn after(seconds: u64) -> u64 {
    sleep(secs(seconds)).await;
    seconds
}

/// Says when it starts and ends.
async fn job(trace: Trace, name: &'static str, seconds: u64) -> &'static str {
    trace.say(format!("+{name}"));
    sleep(secs(seconds)).await;
    trace.say(format!("-{name}"));
    name
}

fn word<T: std::fmt::Display>(result: Result<T, JoinError>) -> String {
    match result {
        Ok(output) => output.to_string(),
        Err(error) if error.is_cancelled() => "cancelled".into(),
        Err(_) => "panicked".into(),
    }
}

/// The results of a set that is joined until it is empty.
async fn drain<T: std::fmt::Display>(set: &mut TaskSet<T>) -> String {
    let mut words = Vec::new();
    while let Some(result) = set.join_next().await {
        words.push(word(result));
    }
    words.join(" ")
}

fn statuses<T>(set: &TaskSet<T>) -> String {
    set.iter().map(|task| task.status().to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn members_come_in_the_order_in_which_they_end_and_lie_in_that_in_which_they_came() {
    simulated().block_on(async {
        let mut set = TaskSet::new();
        for seconds in [3, 1, 4, 1, 5, 2] {
            set.spawn(after(seconds));
        }
        assert_eq!(set.join_next().await.unwrap().unwrap(), 1);
        assert_eq!((set.len(), set.iter().len()), (5, 5));
        assert_eq!(statuses(&set), "WAITING WAITING FINISHED WAITING WAITING");
        set.spawn_named("late", after(2));
        let start = now();
        assert_eq!(drain(&mut set).await, "1 2 3 2 4 5");
        assert_eq!(now() - start, secs(4));
        assert!(set.is_empty() && set.join_next().await.is_none());
    });
}

#[test]
fn members_have_ids_names_places_and_handles() {
    simulated().block_on(async {
        let mut set = TaskSet::new();
        let (line, plain) = (line!(), set.spawn(after(1)));
        let named = set.spawn_named("fries", after(2));
        let inserted = set.insert(spawn(after(3)).named("soda"));
        let names: Vec<_> = set.iter().map(JoinHandle::name).collect();
        assert_eq!(names, ["after", "fries", "soda"]);
        let places: Vec<_> = set.iter().map(|task| task.spawned_at().line() - line).collect();
        assert_eq!(places, [0, 1, 2]);
        assert!(set.get(plain).unwrap().spawned_at().file().ends_with("task_set.rs"));
        assert_eq!(set.get(named).unwrap().id(), named);
        assert!(set.get(inserted).unwrap().cancel());
        assert_eq!(drain(&mut set).await, "cancelled 1 2");
        assert!(set.get(plain).is_none());
    });
}

#[test]
fn a_set_shows_its_members_as_a_list() {
    let l = simulated();
    let mut set: TaskSet<u64> =
        [l.spawn(after(0)).named("a"), l.spawn(after(9))].into_iter().collect();
    set.extend([l.spawn(async { 7 }).named("c")]);
    l.run_until_stalled();
    assert_eq!(
        format!("{set:?}"),
        "[<Task 'a' [FINISHED] (0)>, <Task 'after' [WAITING]>, <Task 'c' [FINISHED] (7)>]"
    );
    let names: Vec<_> = set.iter().rev().map(|task| task.name().into_owned()).collect();
    assert_eq!(names, ["c", "after", "a"]);
    let handles: Vec<JoinHandle<u64>> = set.into_iter().collect();
    assert_eq!(handles[1].status(), Status::Waiting, "nothing was cancelled");
    assert_eq!(l.block_on(async { wait(handles).await.0.len() }), 3);
}

#[test]
fn t84_members_that_have_ended_and_the_end_take_no_turn() {
    let l = simulated();
    let ended = [1, 2, 3].map(|n| l.spawn(async move { n }));
    l.run();
    let mut set = TaskSet::new();
    assert!(set.try_join_next().is_none());
    set.extend(ended);
    set.insert(l.spawn(async { 4 }));
    assert_eq!(set.try_join_next().unwrap().unwrap(), 1);
    let joining = l.spawn(async move {
        assert_eq!(set.join_next().await.unwrap().unwrap(), 2);
        assert_eq!(set.join_next().await.unwrap().unwrap(), 3);
        assert_eq!(set.try_join_next().unwrap().unwrap(), 4);
        assert!(set.try_join_next().is_none() && set.join_next().await.is_none());
    });
    l.step();
    assert!(!joining.is_finished(), "the fourth member has its turn first");
    l.step();
    assert_eq!(joining.status(), Status::Finished);
}

#[test]
fn the_sets_of_wait_can_be_joined_and_go_on() {
    simulated().block_on(async {
        let (mut done, _) = wait([3, 1, 2].map(|n| spawn(after(n)))).await;
        done.spawn(after(1));
        assert_eq!(drain(&mut done).await, "3 1 2 1");
    });
}

#[test]
fn panics_and_cancels_are_results_too() {
    simulated().block_on(async {
        let mut set = TaskSet::new();
        set.spawn(after(2));
        set.spawn(async { panic!("burnt") });
        let id = set.spawn(pending());
        let canceller = set.get(id).unwrap().canceller();
        drop(spawn(async move {
            sleep(secs(1)).await;
            canceller.cancel();
        }));
        assert_eq!(drain(&mut set).await, "panicked cancelled 2");
    });
}

#[test]
fn a_dropped_join_next_loses_nothing_and_leaves_no_waker() {
    let l = simulated();
    let mut set = TaskSet::new();
    set.insert(l.spawn(after(1)));
    let (count, waker) = Count::waker();
    assert!(pin!(set.join_next()).poll(&mut Context::from_waker(&waker)).is_pending());
    let (other, foreign) = Count::waker();
    {
        let mut joining = pin!(set.join_next());
        assert!(joining.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(joining.as_mut().poll(&mut Context::from_waker(&foreign)).is_pending());
        l.run();
        assert_eq!((count.get(), other.get()), (0, 1), "the last waker counts");
    }
    let Poll::Ready(joined) = pin!(set.join_next()).poll(&mut Context::from_waker(&waker)) else {
        panic!("it has ended")
    };
    assert_eq!(word(joined.unwrap()), "1");
    set.insert(l.spawn(after(1)));
    assert!(pin!(set.join_next()).poll(&mut Context::from_waker(&waker)).is_pending());
    l.run();
    assert_eq!((count.get(), set.len()), (0, 1), "nobody waits");
}

#[test]
fn an_output_that_was_taken_before_is_missed_by_name() {
    let l = simulated();
    let mut task = l.spawn(async { 1 }).named("spam");
    l.block_on(async { (&mut task).await.unwrap() });
    let mut set = TaskSet::new();
    set.insert(task);
    set.insert(l.spawn(async { 2 }));
    assert!(panic_of(|| set.try_join_next()).contains("'spam'"));
    l.run();
    assert_eq!(set.try_join_next().unwrap().unwrap(), 2);
}

#[test]
fn a_dropped_set_cancels_in_order_and_its_destructors_have_run() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async move {
        let mut set = TaskSet::new();
        for name in ["a", "b", "c"] {
            let last = Last(log.clone(), name);
            set.spawn(async move {
                pending::<()>().await;
                drop(last);
            });
        }
        let last = Last(log.clone(), "output");
        let done = set.insert(spawn(async move { drop(last) }));
        yield_now().await;
        assert!(set.get(done).unwrap().is_finished());
        log.say("|");
        drop(set);
        log.say("|");
    });
    assert_eq!(trace.take(), "output | a b c |");
    assert!(l.tasks().is_empty());
}

#[test]
fn outputs_of_a_dropped_set_are_dropped() {
    let (l, trace) = (simulated(), Trace::default());
    let mut set = TaskSet::new();
    for name in ["a", "b"] {
        let last = Last(trace.clone(), name);
        set.insert(l.spawn(async move { last }));
    }
    l.run();
    assert_eq!(trace.take(), "");
    drop(set);
    assert_eq!(trace.take(), "a b");
}

#[test]
fn a_set_dropped_inside_a_member_cancels_it_at_its_next_pause() {
    let (l, trace) = (simulated(), Trace::default());
    let shared = Rc::new(RefCell::new(TaskSet::new()));
    for name in ["a", "b", "c"] {
        let (set, last, log) = (shared.clone(), Last(trace.clone(), name), trace.clone());
        shared.borrow_mut().insert(l.spawn(async move {
            let _last = last;
            if name == "b" {
                drop(set.take());
                log.say("dropped");
            }
            yield_now().await;
            log.say("never");
        }));
    }
    l.run();
    assert_eq!(trace.take(), "a c dropped b");
}

#[test]
fn panics_nobody_has_seen_are_unobserved_when_the_set_goes() {
    let log = Log::default();
    let l = noting_loop(&log);
    let mut set = TaskSet::new();
    for what in ["burnt", "spilt", "seen"] {
        set.insert(l.spawn(async move { panic!("{what}") }));
    }
    set.insert(l.spawn(async {}));
    l.run();
    assert!(set.iter().nth(2).unwrap().result().unwrap().is_err());
    assert_eq!(log.take(), [""; 0]);
    drop(set);
    assert_eq!(log.take(), ["unobserved panicked: burnt", "unobserved panicked: spilt"]);
}

#[test]
fn cancelled_members_stay_to_be_joined() {
    simulated().block_on(async {
        let mut set = TaskSet::new();
        set.spawn(after(5));
        set.spawn(async { 1 });
        yield_now().await;
        set.spawn(after(0));
        set.cancel_all();
        assert_eq!(statuses(&set), "CANCELLED FINISHED CANCELLED");
        assert_eq!(drain(&mut set).await, "1 cancelled cancelled");
    });
}

#[test]
fn detached_members_run_on() {
    let (l, trace) = (simulated(), Trace::default());
    let mut set = TaskSet::new();
    set.insert(l.spawn(job(trace.clone(), "a", 1)));
    l.run_until_stalled();
    set.detach_all();
    assert!(set.is_empty() && set.try_join_next().is_none());
    set.insert(l.spawn(job(trace.clone(), "b", 2)));
    l.run();
    assert_eq!(word(set.try_join_next().unwrap()), "b");
    assert!(set.try_join_next().is_none());
    assert_eq!(trace.take(), "+a +b -a -b");
}

// Limits.

#[test]
fn a_limit_holds_the_others_back_in_order() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async move {
        let mut set = TaskSet::with_limit(2);
        for (name, seconds) in [("a", 3), ("b", 1), ("c", 1), ("d", 3), ("e", 1)] {
            set.spawn_named(name, job(log.clone(), name, seconds));
        }
        sleep(secs(0)).await;
        assert_eq!(statuses(&set), "WAITING WAITING NEW NEW NEW");
        let names: Vec<_> = set.iter().map(JoinHandle::name).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        assert_eq!(drain(&mut set).await, "b c a e d");
        log.say((set.spawn(job(log.clone(), "f", 1)), drain(&mut set).await).1);
    });
    assert_eq!(trace.take(), "+a +b -b +c -c +d -a +e -e -d +f -f f");
}

#[test]
fn a_member_that_queues_is_a_task_with_the_name_of_its_function() {
    let l = simulated();
    let mut set = TaskSet::with_limit(1);
    l.block_on(async {
        set.spawn(after(9));
        let id = set.spawn(after(1));
        yield_now().await;
        let task = set.get(id).unwrap();
        assert_eq!((task.status(), &*task.name()), (Status::New, "after"));
    });
    let infos: Vec<_> =
        l.tasks().iter().map(|task| format!("{} {}", task.name, task.status)).collect();
    assert_eq!(infos, ["after WAITING", "after NEW"]);
}

#[test]
fn every_end_lets_the_next_one_start_though_nobody_joins() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    let mut set = l.block_on(async move {
        let mut set = TaskSet::with_limit(1);
        for name in ["panics", "is cancelled", "cancels itself", "ends"] {
            let log = log.clone();
            set.spawn(async move {
                log.say(format!("+{name}"));
                match name {
                    "panics" => panic!("burnt"),
                    "ends" => name,
                    _ => pending().await,
                }
            });
        }
        sleep(secs(1)).await;
        assert_eq!(statuses(&set), "FAILED WAITING NEW NEW");
        for member in [1, 2] {
            set.iter().nth(member).unwrap().cancel();
            sleep(secs(1)).await;
        }
        set
    });
    assert_eq!(trace.take(), "+panics +is cancelled +cancels itself +ends");
    assert_eq!(l.block_on(drain(&mut set)), "panicked cancelled cancelled ends");
}

#[test]
fn a_member_cancelled_in_the_queue_frees_its_place_and_nobody_elses() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async move {
        let mut set = TaskSet::with_limit(1);
        let ids = ["a", "b", "c", "d"].map(|name| set.spawn(job(log.clone(), name, 1)));
        yield_now().await;
        // One in the queue, then one whose turn comes but which has not been polled.
        set.get(ids[2]).unwrap().cancel();
        set.get(ids[0]).unwrap().cancel();
        set.get(ids[1]).unwrap().cancel();
        assert_eq!(statuses(&set), "CANCELLED CANCELLED CANCELLED NEW");
        assert_eq!(drain(&mut set).await, "cancelled cancelled cancelled d");
    });
    assert_eq!(trace.take(), "+a +d -d");
}

#[test]
fn inserted_members_count_but_do_not_queue() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async move {
        let mut set = TaskSet::with_limit(1);
        set.insert(spawn(job(log.clone(), "a", 1)));
        set.insert(spawn(job(log.clone(), "b", 2)));
        set.spawn(job(log.clone(), "c", 1));
        assert_eq!(drain(&mut set).await, "a b c");
    });
    assert_eq!(trace.take(), "+a +b -a -b +c -c");
}

#[test]
fn detached_members_keep_to_the_limit_and_new_ones_have_their_own() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async move {
        let mut set = TaskSet::with_limit(1);
        for name in ["a", "b"] {
            set.spawn(job(log.clone(), name, 2));
        }
        yield_now().await;
        set.detach_all();
        for name in ["c", "d"] {
            set.spawn(job(log.clone(), name, 3));
        }
        assert_eq!(drain(&mut set).await, "c d");
    });
    l.run();
    assert_eq!(trace.take(), "+a +c -a +b -c +d -b -d");
}

#[test]
fn a_dropped_set_starts_nobody_and_drops_all() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async move {
        let mut set = TaskSet::with_limit(1);
        for name in ["a", "b", "c"] {
            let (last, log) = (Last(log.clone(), name), log.clone());
            set.spawn(async move {
                log.say("+");
                pending::<()>().await;
                drop(last);
            });
        }
        yield_now().await;
        drop(set);
        yield_now().await;
        log.say("|");
    });
    assert_eq!(trace.take(), "+ a b c |");
    assert!(l.tasks().is_empty());
}

#[test]
fn the_limit_ends_with_a_set_that_is_taken_apart() {
    let (l, trace) = (simulated(), Trace::default());
    let log = trace.clone();
    l.block_on(async move {
        let mut set = TaskSet::with_limit(1);
        for name in ["a", "b", "c"] {
            set.spawn(job(log.clone(), name, 1));
        }
        let (done, _) = wait(set).await;
        assert_eq!(done.len(), 3);
    });
    assert_eq!(trace.take(), "+a +b +c -a -b -c");
}

#[test]
fn a_loop_that_goes_takes_the_queue_with_it() {
    let (l, trace) = (simulated(), Trace::default());
    let mut set = TaskSet::with_limit(1);
    l.block_on(async {
        for name in ["a", "b"] {
            let last = Last(trace.clone(), name);
            set.spawn(async move {
                pending::<()>().await;
                drop(last);
            });
        }
    });
    drop(l);
    assert_eq!(trace.take(), "a b");
    assert_eq!(statuses(&set), "CANCELLED CANCELLED");
    assert!(set.try_join_next().unwrap().unwrap_err().is_cancelled());
}

#[test]
fn what_can_never_go_on_is_reported() {
    let l = simulated();
    let stalled = l.try_block_on(async {
        let mut set = TaskSet::with_limit(1);
        set.spawn_named("first", pending::<()>());
        set.spawn_named("second", pending::<()>());
        set.join_next().await;
    });
    let report = stalled.unwrap_err().to_string();
    assert!(report.contains("second #3 NEW, waiting for its turn in a set"), "{report}");
    assert!(report.contains("main #1 WAITING, waiting for its children"), "{report}");
}

#[test]
fn mistakes_are_named() {
    assert!(panic_of(|| TaskSet::<()>::with_limit(0)).contains("limit of zero"));
    let mut set = TaskSet::new();
    assert!(panic_of(|| set.spawn(async {})).contains("`boucle::TaskSet::spawn` outside a loop"));
    assert!(set.is_empty());
}

// Other executors and loops.

#[test]
fn members_of_another_loop_of_the_thread_are_heard_of() {
    let (here, there) = (simulated(), simulated());
    let mut set = TaskSet::new();
    set.insert(there.spawn(after(1)));
    set.insert(there.spawn(after(9)));
    let canceller = set.iter().nth(1).unwrap().canceller();
    let joining = here.spawn(async move { drain(&mut set).await });
    here.run_until_stalled();
    // Ends while the other loop runs, then while this one does.
    there.block_on(after(2));
    drop(here.spawn(async move { canceller.cancel() }));
    here.run();
    assert_eq!(joining.result().unwrap().unwrap(), "1 cancelled");
}

#[test]
fn a_limit_spans_the_loops_of_a_thread() {
    let (here, there) = (simulated(), simulated());
    let mut set = TaskSet::with_limit(1);
    there.block_on(async { set.spawn(after(1)) });
    here.block_on(async { set.spawn(after(2)) });
    here.run_until_stalled();
    assert_eq!(statuses(&set), "NEW NEW");
    there.run();
    here.run();
    assert_eq!(statuses(&set), "FINISHED FINISHED");
}

/// A waker whose clone, made as somebody joins, ends a member.
#[test]
fn a_member_that_ends_as_it_is_awaited_is_not_missed() {
    let l = simulated();
    let mut set = TaskSet::new();
    set.insert(l.spawn(pending::<u64>()));
    let canceller = set.iter().next().unwrap().canceller();
    let waker = foreign_waker(move |_| {
        canceller.cancel();
    });
    let joined = pin!(set.join_next()).poll(&mut Context::from_waker(&waker));
    let Poll::Ready(Some(result)) = joined else { panic!("it was cancelled meanwhile") };
    assert_eq!(word(result), "cancelled");
}

// Size.

/// Few are left between many that have gone, and have moved up.
#[test]
fn members_that_have_closed_ranks_are_found_as_they_end() {
    simulated().block_on(async {
        let mut set = TaskSet::new();
        for n in 0..1000 {
            set.spawn(after(if n % 50 == 7 { 2000 - n } else { 1 }));
        }
        for _ in 0..980 {
            assert_eq!(set.join_next().await.unwrap().unwrap(), 1);
        }
        set.spawn(after(1500));
        let late: Vec<u64> = (7..1000).step_by(50).map(|n| 2000 - n).collect();
        assert_eq!((set.len(), late.len()), (21, 20));
        let mut ends = late;
        ends.push(1501);
        ends.sort_unstable();
        for end in ends {
            let seconds = set.join_next().await.unwrap().unwrap();
            assert_eq!(seconds, if end == 1501 { 1500 } else { end });
        }
        assert!(set.join_next().await.is_none());
    });
}

/// Wherever they are among those who came with them.
#[test]
fn every_member_that_has_moved_up_is_found_as_it_ends() {
    simulated().block_on(async {
        for kept in 0..25 {
            let mut set = TaskSet::new();
            for n in 0..100 {
                set.spawn(after(if n % 25 == kept { 200 - n } else { 1 }));
            }
            for _ in 0..96 {
                assert_eq!(set.join_next().await.unwrap().unwrap(), 1);
            }
            // The latest ends first.
            for n in [75, 50, 25, 0] {
                assert_eq!(set.join_next().await.unwrap().unwrap(), 200 - kept - n);
            }
            assert!(set.join_next().await.is_none());
        }
    });
}

#[test]
fn a_great_many_members_cost_each_the_same() {
    // A million of anything quadratic would not end.
    let count = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    let l = simulated();
    let mut set: TaskSet<usize> = (0..count).map(|n| l.spawn(async move { n })).collect();
    let kept = set.iter().next_back().unwrap().id();
    l.run();
    for n in 0..count - 1 {
        assert_eq!(set.try_join_next().unwrap().unwrap(), n);
    }
    assert_eq!((set.len(), set.iter().next().unwrap().id()), (1, kept));
    set.insert(l.spawn(async { 0 }));
    l.run();
    assert_eq!(l.block_on(drain(&mut set)), format!("{} 0", count - 1));
}

// Against a model.

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// What a member is told to do.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Go,
    End,
    Panic,
}

/// Notes that its future went.
struct Gone(Rc<Strings>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.alive.set(self.0.alive.get() - 1);
    }
}

/// Pending until told otherwise; notes that it has started.
async fn puppet(gone: Gone, n: usize) -> usize {
    gone.0.started.borrow_mut().push(n);
    poll_fn(|cx| {
        let (order, waker) = &mut gone.0.orders.borrow_mut()[n];
        match order {
            Order::End => Poll::Ready(n),
            Order::Panic => panic!("told to"),
            Order::Go => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

#[derive(Default)]
struct Strings {
    orders: RefCell<Vec<(Order, Option<Waker>)>>,
    started: RefCell<Vec<usize>>,
    alive: Cell<isize>,
}

#[derive(Default)]
struct Model {
    limit: usize,
    /// In the order in which they came.
    members: Vec<usize>,
    queued: Vec<usize>,
    running: Vec<usize>,
    ended: Vec<(usize, &'static str)>,
    started: Vec<usize>,
}

impl Model {
    fn settle(&mut self) {
        while self.running.len() < self.limit && !self.queued.is_empty() {
            let n = self.queued.remove(0);
            self.running.push(n);
            self.started.push(n);
        }
    }

    fn end(&mut self, n: usize, how: &'static str) {
        self.queued.retain(|&m| m != n);
        self.running.retain(|&m| m != n);
        self.ended.push((n, how));
    }
}

fn live(seed: u64) {
    let mut rng = Rng(seed);
    let limit = [1, 2, 3, usize::MAX][rng.below(4)];
    let l = Loop::builder().virtual_time().on_unobserved(drop).build();
    let strings = Rc::new(Strings::default());
    let mut set = if limit == usize::MAX { TaskSet::new() } else { TaskSet::with_limit(limit) };
    let mut model = Model { limit, ..Model::default() };
    let mut ids = Vec::new();
    for _ in 0..rng.below(120) {
        match rng.below(10) {
            0..4 => {
                let n = ids.len();
                strings.orders.borrow_mut().push((Order::Go, None));
                strings.alive.set(strings.alive.get() + 1);
                let inserted = rng.below(5) == 0;
                let future = puppet(Gone(strings.clone()), n);
                let id = l.block_on(async {
                    if inserted { set.insert(spawn(future)) } else { set.spawn(future) }
                });
                ids.push(id);
                model.members.push(n);
                if inserted {
                    model.running.push(n);
                    model.started.push(n);
                } else {
                    model.queued.push(n);
                }
            }
            what @ 4..7 if !model.running.is_empty() => {
                let n = model.running[rng.below(model.running.len())];
                let (order, how) =
                    if what == 4 { (Order::Panic, "panicked") } else { (Order::End, "ended") };
                let waker = {
                    let entry = &mut strings.orders.borrow_mut()[n];
                    entry.0 = order;
                    entry.1.take()
                };
                waker.unwrap().wake();
                model.end(n, how);
            }
            7 if !model.members.is_empty() => {
                let n = model.members[rng.below(model.members.len())];
                let ended = model.ended.iter().any(|(m, _)| *m == n);
                assert_eq!(set.get(ids[n]).unwrap().cancel(), !ended);
                if !ended {
                    model.end(n, "cancelled");
                    // It is never polled.
                    strings.orders.borrow_mut()[n].1 = None;
                }
            }
            8 | 9 => {
                let next = (!model.ended.is_empty()).then(|| model.ended.remove(0));
                let joined = set.try_join_next().map(|result| match result {
                    Ok(n) => (n, "ended"),
                    Err(error) if error.is_panic() => (next.map_or(0, |(n, _)| n), "panicked"),
                    Err(_) => (next.map_or(0, |(n, _)| n), "cancelled"),
                });
                assert_eq!(joined, next);
                model.members.retain(|&n| joined.is_none_or(|(m, _)| n != m));
            }
            _ => {}
        }
        model.settle();
        l.run_until_stalled();
        let members: Vec<_> = set.iter().map(JoinHandle::id).collect();
        assert_eq!(members, model.members.iter().map(|&n| ids[n]).collect::<Vec<_>>());
        for &n in &model.queued {
            assert_eq!(set.get(ids[n]).unwrap().status(), Status::New);
        }
        assert_eq!(*strings.started.borrow(), model.started);
        let unended = model.queued.len() + model.running.len();
        assert_eq!(strings.alive.get(), 0_isize.wrapping_add_unsigned(unended));
    }
    strings.orders.borrow_mut().clear();
    drop(set);
    assert_eq!(strings.alive.get(), 0);
    assert!(l.tasks().is_empty());
}

#[test]
fn sets_behave_as_their_model() {
    for seed in 0..600 {
        live(seed);
    }
}

#[test]
fn detached_members_run_on_even_if_they_were_tied_to_their_handles() {
    for mut set in [boucle::TaskSet::new(), boucle::TaskSet::with_limit(2)] {
        let l = boucle::Loop::builder().virtual_time().build();
        let ran = std::rc::Rc::new(std::cell::Cell::new(false));
        let flag = ran.clone();
        let task = l.spawn(async move {
            boucle::yield_now().await;
            flag.set(true);
        });
        set.insert(task.cancel_on_drop());
        set.detach_all();
        l.run();
        assert!(ran.get());
    }
}
