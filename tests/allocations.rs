//! How often boucle asks for memory: once per task, thrice per gather, never to go on.

// A global allocator is unsafe to write; this one forwards to the system's.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::{Future, pending},
    sync::mpsc,
    thread,
    time::Duration,
};

use boucle::{Loop, TaskSet, gather, sleep, spawn, yield_now};

struct Counting;

thread_local! {
    /// Per thread, so that tests do not count each other's.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    /// Blocks that were asked for and not given back.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        LIVE.with(|live| live.set(live.get() + 1));
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get() - 1));
        // SAFETY: likewise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: likewise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(f: impl FnOnce()) -> usize {
    let before = COUNT.get();
    f();
    COUNT.get() - before
}

/// How much of the memory of `tasks` an optimised build asks for anew, if as many have just ended.
fn anew(tasks: usize) -> usize {
    if cfg!(debug_assertions) { tasks } else { 0 }
}

/// How many blocks of ended tasks a loop that has nothing to do may keep.
const KEPT: isize = 1024;

/// How many allocations a future makes in a loop that has seen much already.
fn allocations_of<F: Future>(make: impl Fn() -> F) -> usize {
    let l = Loop::builder().virtual_time().build();
    l.block_on(async {
        let warm: Vec<_> = (0..2000).map(|_| spawn(sleep(Duration::from_secs(1)))).collect();
        for task in warm {
            task.await.expect("a sleep does not fail");
        }
        // The first run of the same may grow the loop's tables.
        make().await;
        let before = COUNT.get();
        make().await;
        COUNT.get() - before
    })
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(allocations_of(|| async { drop(std::hint::black_box(Box::new(1))) }), 1);
}

#[test]
fn a_task_is_one_allocation() {
    let spawn_many = |count: usize| {
        move || async move {
            for _ in 0..count {
                drop(spawn(async {}));
            }
            yield_now().await;
        }
    };
    let (some, more) = (allocations_of(spawn_many(100)), allocations_of(spawn_many(1100)));
    assert_eq!((some, more - some), (anew(100), anew(1000)));
    // The first ones, of which none has ended.
    let l = Loop::new();
    let first = |count: usize| allocations(|| (0..count).for_each(|_| drop(l.spawn(async {}))));
    // The table of all tasks doubles now and then.
    first(1000);
    assert!((5000..5010).contains(&first(5000)));
}

#[test]
fn awaiting_a_task_allocates_nothing() {
    let join = || async {
        for _ in 0..100 {
            spawn(yield_now()).await.expect("a pause does not fail");
        }
    };
    assert_eq!(allocations_of(join), anew(100));
}

#[test]
fn going_on_allocates_nothing() {
    let turns = || async {
        for _ in 0..1000 {
            yield_now().await;
        }
    };
    assert_eq!(allocations_of(turns), 0);
    let sleeps = || async {
        for _ in 0..1000 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert_eq!(allocations_of(sleeps), 0);
}

#[test]
fn the_name_of_a_task_goes_with_it() {
    let l = Loop::new();
    let cook = |times: usize| {
        for _ in 0..times {
            drop(l.spawn(async {}).named(String::from("cook")));
            l.run();
        }
        LIVE.get()
    };
    assert_eq!(cook(10), cook(100));
}

#[test]
fn a_gather_makes_three_allocations_at_most_however_many_children() {
    // The vector that is given away is the caller's.
    let list = |count: usize| {
        move || async move { drop(gather((0..count).map(|_| yield_now()).collect::<Vec<_>>()).await) }
    };
    for count in [1, 10, 1000, 10_000] {
        let found = allocations_of(list(count));
        assert!(found <= 1 + 3, "{count}: {found}");
    }
    // Few that keep no waker need no block.
    assert_eq!(allocations_of(|| gather([(); 64].map(|()| yield_now()))), 0);
    assert_eq!(allocations_of(|| gather((yield_now(), async {}, yield_now()))), 0);
    let array = allocations_of(|| gather([(); 100].map(|()| yield_now())));
    assert!(array <= 3, "{array}");
    let tuple = allocations_of(|| gather((yield_now(), yield_now(), async {})));
    assert!(tuple <= 3, "{tuple}");
}

#[test]
fn a_wake_of_a_gathered_child_allocates_nothing() {
    let pauses = |turns: usize| {
        move || {
            gather([(); 8].map(|()| async move {
                for _ in 0..turns {
                    yield_now().await;
                }
            }))
        }
    };
    assert_eq!(allocations_of(pauses(1)), allocations_of(pauses(1000)));
}

#[test]
fn a_set_asks_for_memory_per_task_and_joins_for_none() {
    let l = Loop::builder().virtual_time().build();
    l.block_on(async {
        let round = |set: &mut TaskSet<u32>| {
            for n in 0..1000 {
                set.spawn(async move { n });
            }
        };
        let mut warm = TaskSet::new();
        round(&mut warm);
        while warm.join_next().await.is_some() {}
        let mut set = TaskSet::new();
        // The board, a chunk of nodes each time their number doubles, likewise for the handles.
        let made = allocations(|| round(&mut set));
        // An optimised build takes the memory that those before have left.
        assert!(
            (anew(1000)..anew(1000) + 30).contains(&made),
            "{made} allocations for 1000 members"
        );
        sleep(Duration::from_secs(1)).await;
        let before = COUNT.get();
        for n in 0..1000 {
            assert_eq!(set.join_next().await.expect("a member").expect("it ended"), n);
        }
        // The handles close ranks now and then.
        assert!(COUNT.get() - before <= 4, "{} allocations to join", COUNT.get() - before);
    });
}

/// A burst of tasks that end, all joined before the loop does anything else. What is kept of it.
async fn burst(tasks: usize) -> isize {
    let before = LIVE.get();
    let mut set = TaskSet::new();
    for n in 0..tasks {
        set.spawn(async move { n });
    }
    yield_now().await;
    for n in 0..tasks {
        assert_eq!(set.join_next().await.expect("a member").expect("it ended"), n);
    }
    drop(set);
    LIVE.get() - before
}

#[test]
fn the_memory_of_a_burst_is_kept_while_the_loop_runs_and_goes_when_it_has_nothing_to_do() {
    const TASKS: usize = 10_000;
    let l = Loop::builder().virtual_time().build();
    l.block_on(async {
        sleep(Duration::from_secs(1)).await;
        let (before, began) = (LIVE.get(), boucle::now());
        let kept = burst(TASKS).await;
        let least = TASKS - anew(TASKS);
        assert!((least as isize..least as isize + 20).contains(&kept), "{kept} blocks");
        // An instant later, and no more than that: to give memory back takes no virtual time.
        sleep(Duration::from_nanos(1)).await;
        assert_eq!(boucle::now() - began, Duration::from_nanos(1));
        let left = LIVE.get() - before;
        assert!(left < KEPT + 20, "{left} blocks");
        // The next burst does not find what the first one has left.
        assert!(burst(TASKS).await <= kept);
    });
}

#[test]
fn a_loop_that_is_never_idle_gives_the_memory_of_a_burst_back_slowly() {
    const TASKS: usize = 5000;
    let l = Loop::new();
    l.block_on(async {
        let before = LIVE.get();
        let kept = burst(TASKS).await;
        for _ in 0..64 * 10 {
            yield_now().await;
        }
        // Eight at each of ten looks.
        let (left, given) = (LIVE.get() - before, if cfg!(debug_assertions) { 0 } else { 80 });
        assert!((kept - left - given).abs() <= 20, "{kept} blocks, then {left}");
        for _ in 0..64 * TASKS / 8 {
            yield_now().await;
        }
        let left = LIVE.get() - before;
        assert!(left < KEPT + 20, "{left} blocks");
    });
}

#[test]
fn a_loop_that_nobody_runs_keeps_little() {
    const TASKS: usize = 10_000;
    let l = Loop::new();
    let before = LIVE.get();
    let few = |call: &str| {
        let left = LIVE.get() - before;
        assert!(left < KEPT + 20, "{call}: {left} blocks");
    };
    drop(l.spawn(burst(TASKS)));
    l.run_until_stalled();
    few("run_until_stalled");
    drop(l.spawn(burst(TASKS)));
    while l.step() {}
    few("step");
    drop(l.spawn(burst(TASKS)));
    l.run();
    few("run");
    l.block_on(async {
        drop(spawn(pending::<()>()));
        burst(TASKS).await
    });
    few("block_on");
    // Tasks that ended in a run, and whose handles are dropped outside one.
    let handles: Vec<_> = (0..TASKS).map(|_| l.spawn(async {})).collect();
    l.run_until_stalled();
    drop(handles);
    few("drop");
    drop(l);
    assert!(LIVE.get() <= before, "{} blocks", LIVE.get() - before);
}

#[test]
fn the_next_loop_of_a_thread_asks_for_no_memory() {
    let task = anew(1);
    let once = || assert_eq!(boucle::block_on(async { 1 }), 1);
    // A loop and its task; the list of tasks and of destructors to run when the thread ends.
    assert!(allocations(once) <= 4);
    assert_eq!(allocations(once), task);
    assert_eq!(allocations(|| drop(Loop::new())), 0);
    // Two at a time: one of them is kept.
    assert_eq!(allocations(|| drop([Loop::new(), Loop::new()])), 1);
    assert_eq!(allocations(|| drop(Loop::new())), 0);
    // One that somebody still refers to goes its own way.
    let late =
        boucle::block_on(std::future::poll_fn(|cx| std::task::Poll::Ready(cx.waker().clone())));
    assert_eq!(allocations(|| drop(Loop::new())), 1);
    late.wake();
    // So does one that has needed more than a little.
    let live = LIVE.get();
    boucle::block_on(async {
        let tasks: Vec<_> = (0..100).map(|_| spawn(async {})).collect();
        for task in tasks {
            task.await.expect("it does nothing");
        }
    });
    assert!(LIVE.get() <= live);
}

#[test]
fn what_is_kept_for_the_next_loop_goes_with_its_thread() {
    struct AtEnd(Cell<Option<(mpsc::Sender<isize>, isize)>>);

    impl Drop for AtEnd {
        fn drop(&mut self) {
            if let Some((tell, before)) = self.0.take() {
                let left = LIVE.get() - before;
                tell.send(left).expect("somebody asks");
            }
        }
    }

    thread_local! {
        static END: AtEnd = const { AtEnd(Cell::new(None)) };
    }

    // What a loop has left then; the thread itself is the same, whether it had one or not.
    let left = |had_loop: bool| {
        let (tell, told) = mpsc::channel();
        let kept = thread::spawn(move || {
            // What is used first goes last.
            END.with(|_| ());
            let before = LIVE.get();
            END.with(|end| end.0.set(Some((tell, before))));
            if had_loop {
                assert_eq!(boucle::block_on(async { 1 }), 1);
            }
            LIVE.get() > before
        });
        assert_eq!(kept.join().expect("it ends"), had_loop);
        told.recv().expect("it is told")
    };
    assert_eq!(left(true), left(false));
}

#[test]
fn a_loop_that_has_seen_tasks_of_many_sizes_leaves_their_memory_to_nobody() {
    async fn sized<const SIZE: usize>() -> u8 {
        let bytes = std::hint::black_box([1; SIZE]);
        yield_now().await;
        std::hint::black_box(bytes).iter().sum()
    }
    macro_rules! one_after_the_other {
        ($($size:literal)*) => {
            async {
                $(assert_eq!(spawn(sized::<$size>()).await.expect("it sums up"), $size);)*
            }
        };
    }
    // A core that is kept, and then goes with all that it has.
    boucle::block_on(async {});
    let live = LIVE.get();
    boucle::block_on(one_after_the_other!(
        0 16 32 48 64 80 96 112 128 144 160 176 192 208 224 240 250
    ));
    boucle::block_on(one_after_the_other!(1));
    assert_eq!(LIVE.get(), live + 1 - isize::try_from(anew(1)).expect("one"));
}

#[test]
fn a_set_with_a_limit_that_goes_before_its_members_leaves_nothing() {
    let l = Loop::builder().virtual_time().build();
    let rounds = |count: usize| {
        for _ in 0..count {
            let set = l.block_on(async {
                let mut set = TaskSet::with_limit(1);
                set.spawn(pending::<()>());
                set.spawn(pending::<()>());
                set
            });
            // Its members are cancelled when this future, which owns them, has been dropped.
            let owner = l.spawn(async move {
                let _set = set;
                pending::<()>().await;
            });
            l.run_until_stalled();
            assert!(owner.cancel());
        }
    };
    rounds(100);
    // No table grows, be it now and then.
    let hundred = allocations(|| rounds(100));
    assert_eq!(allocations(|| rounds(1000)), 10 * hundred);
}
