//! `scope` and `try_scope`: order, ends of every kind, borrowing, other executors.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    thread,
};

use boucle::{
    Loop, Scope, Status, Waiter, block_on, now, scope, sleep, spawn, try_scope, yield_now,
};

use crate::{
    support::{
        Act, Drops, Log, blocks, boom, cause, foreign_waker, on_drop, own_waker, owning, panics,
        poll_with, virtual_loop,
    },
    trace::secs,
};

#[test]
fn children_start_at_their_turn_and_take_turns() {
    let (l, log) = (virtual_loop(), Log::default());
    let turns = async |name: &str, n: usize| {
        for turn in 0..n {
            log.push(format!("{name} {turn}"));
            yield_now().await;
        }
        name.len()
    };
    let (first, second) = l.block_on(scope(async |s| {
        let a = s.spawn(turns("a", 3));
        let bb = s.spawn(turns("bb", 2));
        log.push("body");
        (a.await.unwrap(), bb.await.unwrap())
    }));
    assert_eq!((first, second), (1, 2));
    assert_eq!(log.take(), ["body", "a 0", "bb 0", "a 1", "bb 1", "a 2"]);
}

#[test]
fn a_scope_waits_for_children_that_nobody_awaits() {
    let (l, log) = (virtual_loop(), Log::default());
    l.block_on(async {
        let start = now();
        let locals = RefCell::new(vec![]);
        let answer = scope(async |s| {
            for n in [3, 1, 2] {
                let locals = &locals;
                s.spawn(async move {
                    sleep(secs(n)).await;
                    locals.borrow_mut().push(n);
                });
            }
            log.push("body ends");
            42
        })
        .await;
        log.push(format!("{answer} after {:?}: {:?}", now() - start, locals.into_inner()));
    });
    assert_eq!(log.take(), ["body ends", "42 after 3s: [1, 2, 3]"]);
}

#[test]
fn a_child_spawns_siblings_and_scopes_nest() {
    let (l, log) = (virtual_loop(), Log::default());
    l.block_on(async {
        let outer = String::from("outer");
        scope(async |s| {
            s.spawn(async {
                s.spawn(async { log.push(format!("sibling in {outer}")) });
                let inner = String::from("inner");
                scope(async |t| {
                    t.spawn(async { log.push(format!("child of {inner} in {outer}")) });
                    s.spawn(async { log.push("from two floors down") });
                })
                .await;
                log.push("inner scope ended");
            });
        })
        .await;
        log.push("outer scope ended");
    });
    assert_eq!(
        log.take(),
        [
            "sibling in outer",
            "from two floors down",
            "child of inner in outer",
            "inner scope ended",
            "outer scope ended",
        ]
    );
}

#[test]
fn children_are_listed_like_tasks() {
    async fn cook(_dish: &str) {
        pending::<()>().await;
    }

    let l = virtual_loop();
    let task = l.spawn(async {
        let dish = String::from("fries");
        scope(async |s| {
            let a = s.spawn(cook(&dish));
            let b = s.spawn(pending::<()>()).named("soda");
            assert_eq!((a.name().as_ref(), b.name().as_ref()), ("cook", "soda"));
            assert_eq!((a.id().to_string(), b.id().to_string()), ("#2".into(), "#3".into()));
            assert_eq!((a.status(), a.is_finished()), (Status::New, false));
            assert_eq!(format!("{a:?}"), "<Child 'cook' [NEW]>");
            assert!(a.spawned_at().line() < b.spawned_at().line());
            assert_eq!(format!("{s:?}"), "Scope { children: 2, .. }");
        })
        .await;
    });
    l.run_until_stalled();
    let tasks = l.tasks();
    let shown: Vec<_> = tasks.iter().map(|t| (t.name.as_ref(), t.status, t.parent)).collect();
    let parent = Some(task.id());
    assert_eq!(
        shown,
        [
            ("children_are_listed_like_tasks", Status::Waiting, None),
            ("cook", Status::Waiting, parent),
            ("soda", Status::Waiting, parent),
        ]
    );
    assert!(tasks.iter().all(|t| t.spawned_at.file() == file!()));
    let message = l.try_block_on(task).unwrap_err().to_string();
    assert!(message.contains("soda #3 WAITING"), "{message}");
}

#[test]
fn only_the_child_that_was_woken_is_polled() {
    let l = virtual_loop();
    let polls = RefCell::new(vec![0; 1000]);
    let gates: Vec<_> = (0..1000).map(|_| Waiter::new(1)).collect();
    let body_polls = Cell::new(0);
    l.block_on(scope(async |s| {
        for (n, gate) in gates.iter().enumerate() {
            let mut wait = Box::pin(async move { gate.await });
            let polls = &polls;
            s.spawn(poll_fn(move |cx| {
                polls.borrow_mut()[n] += 1;
                wait.as_mut().poll(cx)
            }));
        }
        let mut turns = pin!(async {
            // Room for the first poll of each, 64 at a time.
            for _ in 0..1000 / 64 + 2 {
                yield_now().await;
            }
            assert!(polls.borrow().iter().all(|&polls| polls == 1));
            gates[500].set();
            yield_now().await;
            yield_now().await;
            assert_eq!(polls.borrow()[500], 2);
            assert_eq!(polls.borrow().iter().sum::<usize>(), 1001);
            gates.iter().for_each(Waiter::set);
        });
        poll_fn(|cx| {
            body_polls.set(body_polls.get() + 1);
            turns.as_mut().poll(cx)
        })
        .await;
    }));
    assert!(polls.borrow().iter().all(|&polls| polls == 2));
    assert_eq!(body_polls.get(), 1000 / 64 + 5);
}

#[test]
fn a_childs_panic_ends_the_scope_after_all_destructors() {
    let (l, log) = (virtual_loop(), Log::default());
    let message = panics(|| {
        l.block_on(async {
            let _task = log.on_drop("task");
            scope(async |s| {
                let _body = log.on_drop("body");
                let guard = log.on_drop("sibling");
                s.spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                let late = log.on_drop("never polled");
                s.spawn(async {
                    s.spawn(async move { drop(late) });
                    boom();
                });
                pending::<()>().await;
            })
            .await;
        });
    });
    assert_eq!(message, "boom");
    assert_eq!(log.take(), ["body", "sibling", "never polled", "task"]);
}

#[test]
fn the_first_panic_wins_and_the_body_counts() {
    let l = virtual_loop();
    let message = panics(|| {
        l.block_on(scope(async |s| {
            s.spawn(async {
                let _second = on_drop(|| panic!("boom, second"));
                pending::<()>().await;
            });
            yield_now().await;
            panic!("boom, first");
        }));
    });
    assert_eq!(message, "boom, first");
}

#[test]
fn a_panic_in_a_destructor_of_a_cancelled_child_comes_out() {
    let (l, log) = (virtual_loop(), Log::default());
    let message = panics(|| {
        l.block_on(scope(async |s| {
            let child = s.spawn(async {
                let _guard = on_drop(|| boom());
                pending::<()>().await;
            });
            yield_now().await;
            assert!(child.cancel());
            assert_eq!(child.status(), Status::Cancelled);
            log.push("the body goes on until it waits");
            yield_now().await;
            log.push("never");
        }));
    });
    assert_eq!(
        (message.as_str(), log.take()),
        ("boom", vec!["the body goes on until it waits".to_owned()])
    );
}

#[test]
fn cancel_reaches_children_but_not_the_body() {
    let (l, log) = (virtual_loop(), Log::default());
    let output = l.block_on(scope(async |s| {
        let children = ["a", "b"].map(|name| {
            let guard = log.on_drop(name);
            s.spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            })
        });
        yield_now().await;
        s.cancel();
        log.push("cancelled");
        for child in children {
            assert!(child.await.unwrap_err().is_cancelled());
        }
        let late = s.spawn(async { 1 });
        assert_eq!(late.status(), Status::Cancelled);
        late.await.is_err()
    }));
    assert!(output);
    assert_eq!(log.take(), ["a", "b", "cancelled"]);
}

#[test]
fn a_child_that_cancels_the_scope_goes_when_it_next_waits() {
    let (l, log) = (virtual_loop(), Log::default());
    l.block_on(scope(async |s| {
        let sibling = s.spawn(pending::<()>());
        let child = s.spawn(async {
            s.cancel();
            log.push("still here");
            yield_now().await;
            log.push("never");
        });
        assert!(child.await.unwrap_err().is_cancelled());
        assert!(sibling.await.unwrap_err().is_cancelled());
    }));
    assert_eq!(log.take(), ["still here"]);
}

#[test]
fn dropping_a_scope_drops_the_body_then_the_children() {
    let (l, log) = (virtual_loop(), Log::default());
    let task = l.spawn({
        let log = log.clone();
        async move {
            let _outside = log.on_drop("outside");
            scope(async |s| {
                let _body = log.on_drop("body");
                for name in ["a", "b"] {
                    let guard = log.on_drop(name);
                    s.spawn(async move {
                        let _guard = guard;
                        pending::<()>().await;
                    });
                }
                pending::<()>().await;
            })
            .await;
        }
    });
    l.run_until_stalled();
    assert_eq!(l.tasks().len(), 3);
    assert!(task.cancel());
    assert_eq!(log.take(), ["body", "a", "b", "outside"]);
    assert!(l.tasks().is_empty());
}

/// The classic use-after-free: a child's destructor that spawns into the scope that drops it.
#[test]
fn t37_a_destructor_that_spawns_into_its_ending_scope() {
    let (l, log) = (virtual_loop(), Log::default());
    let task = l.spawn({
        let log = log.clone();
        async move {
            let dish = String::from("fries");
            scope(async |s| {
                s.spawn(async {
                    let _spawner = on_drop(|| {
                        let late = s.spawn(async { drop(dish.clone()) });
                        log.push(format!("{dish}: {}", late.status()));
                        drop(late);
                    });
                    pending::<()>().await;
                });
                pending::<()>().await;
            })
            .await;
        }
    });
    l.run_until_stalled();
    assert!(task.cancel());
    assert_eq!(log.take(), ["fries: CANCELLED"]);
}

static FORGOTTEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// A scope that is forgotten is never polled or dropped again, so what its children borrow may go.
#[test]
fn t37_a_forgotten_scope_is_sound() {
    let l = virtual_loop();
    let (woken, drops) = (Rc::new(RefCell::new(None::<Waker>)), Drops::default());
    {
        let dish = String::from("fries");
        let probe = drops.probe();
        let mut forgotten = Box::pin(scope(async |s| {
            s.spawn(async {
                let _probe = probe;
                *woken.borrow_mut() = Some(own_waker().await);
                pending::<()>().await;
                unreachable!("{dish}");
            })
            .named("forgotten");
            pending::<()>().await;
        }));
        l.block_on(poll_fn(|cx| {
            assert!(forgotten.as_mut().poll(cx).is_pending());
            assert!(forgotten.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        }));
        // As good as `mem::forget`, but a leak checker that finds it here takes it for meant.
        let address = (&raw const *forgotten).cast::<()>().expose_provenance();
        FORGOTTEN.lock().unwrap().push(address);
        std::mem::forget(forgotten);
    }
    let waker = woken.borrow_mut().take().unwrap();
    waker.wake_by_ref();
    l.run_until_stalled();
    let listed: Vec<_> = l.tasks().iter().map(|t| t.name.clone().into_owned()).collect();
    assert_eq!(listed, ["forgotten"]);
    thread::spawn(move || waker.wake()).join().unwrap();
    l.run_until_stalled();
    drop(l);
    assert_eq!(drops.dropped(), 0);
}

#[test]
fn try_scope_ends_with_the_first_error() {
    let (l, log) = (virtual_loop(), Log::default());
    let result: Result<(), String> = l.block_on(try_scope(async |s| {
        let _body = log.on_drop("body");
        for (name, after) in [("slow", 3), ("failing", 1), ("failing later", 2)] {
            let log = &log;
            s.spawn(async move {
                let _guard = log.on_drop(name);
                sleep(secs(after)).await;
                Err::<(), _>(format!("{name} after {after}"))
            });
        }
        pending().await
    }));
    assert_eq!(result, Err("failing after 1".into()));
    assert_eq!(log.take(), ["failing", "body", "slow", "failing later"]);
}

#[test]
fn try_scope_is_ended_by_its_body_too_and_gives_what_is_inside() {
    let (l, log) = (virtual_loop(), Log::default());
    let result: Result<i32, std::num::ParseIntError> = l.block_on(try_scope(async |s| {
        let guard = log.on_drop("child");
        s.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
            Ok(())
        });
        yield_now().await;
        let good = s.spawn(async { "42".parse::<i32>() }).await.unwrap();
        Ok(good + "x".parse::<i32>()?)
    }));
    assert!(result.is_err());
    assert_eq!(log.take(), ["child"]);
    let result: Result<i32, ()> = l.block_on(try_scope(async |s| {
        s.spawn(async { Ok(()) });
        Ok(7)
    }));
    assert_eq!(result, Ok(7));
}

/// A waker that notes whether it was woken, and on which thread it may be used: any.
#[derive(Default)]
struct Flag(Mutex<u32>);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
fn a_scope_runs_under_another_executor() {
    let log = Log::default();
    let gates = [Waiter::new(1), Waiter::new(1)];
    let output = futures_lite::future::block_on(scope(async |s| {
        let children: Vec<_> = gates
            .iter()
            .enumerate()
            .map(|(n, gate)| {
                let log = &log;
                s.spawn(async move {
                    gate.await;
                    yield_now().await;
                    log.push(format!("child {n}"));
                    n
                })
            })
            .collect();
        s.spawn(async {
            yield_now().await;
            gates[1].set();
            yield_now().await;
            gates[0].set();
        });
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    }));
    assert_eq!((output, log.take()), (1, vec!["child 1".to_owned(), "child 0".to_owned()]));
}

#[test]
fn under_another_executor_only_the_woken_child_is_polled_and_wakes_come_from_any_thread() {
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(flag.clone());
    let woken = || std::mem::take(&mut *flag.0.lock().unwrap());
    let (wakers, polls) = (RefCell::new(Vec::new()), RefCell::new([0; 3]));
    let mut outside = Box::pin(scope(async |s| {
        for n in 0..3 {
            let (wakers, polls) = (&wakers, &polls);
            s.spawn(poll_fn(move |cx| {
                wakers.borrow_mut().push(cx.waker().clone());
                polls.borrow_mut()[n] += 1;
                if polls.borrow()[n] == 2 { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
    }));
    assert!(poll_with(&mut outside, &waker).is_pending());
    assert_eq!((woken(), *polls.borrow()), (1, [0, 0, 0]), "children start at their turn");
    assert!(poll_with(&mut outside, &waker).is_pending());
    assert_eq!((woken(), *polls.borrow()), (0, [1, 1, 1]));

    let [first, second, third] = std::mem::take(&mut *wakers.borrow_mut()).try_into().unwrap();
    // A real thread, since that is what is tested.
    let second = thread::spawn(move || {
        second.wake_by_ref();
        second.wake_by_ref();
        second
    });
    let second = second.join().unwrap();
    assert_eq!(woken(), 1);
    assert!(poll_with(&mut outside, &waker).is_pending());
    assert_eq!(*polls.borrow(), [1, 2, 1]);
    // A waker of a child that has ended wakes nobody.
    second.wake();
    assert_eq!(woken(), 0);
    first.wake();
    third.wake_by_ref();
    assert_eq!(woken(), 1);
    assert!(poll_with(&mut outside, &waker).is_ready());
    assert_eq!(*polls.borrow(), [2, 2, 2]);
    drop(outside);
    third.wake();
    assert_eq!(woken(), 0);
}

#[test]
fn a_scope_that_moves_between_executors_goes_on() {
    let (first, second) = (virtual_loop(), virtual_loop());
    let gates = [Waiter::new(1), Waiter::new(1), Waiter::new(1)];
    let (ended, log) = (Cell::new(0), Log::default());
    let mut moving = Box::pin(scope(async |s| {
        for gate in &gates {
            let ended = &ended;
            s.spawn(async move {
                gate.await;
                ended.set(ended.get() + 1);
            });
        }
        let _guard = log.on_drop("body");
        yield_now().await;
        pending::<()>().await;
    }));
    let once = |moving: &mut Pin<Box<_>>, l: &Loop| poll_twice(moving, l);
    once(&mut moving, &first);
    gates[0].set();
    once(&mut moving, &second);
    assert_eq!(ended.get(), 1);
    // Now the second loop is to be woken.
    let task_polls = Cell::new(0);
    second.block_on(async {
        let mut polled = poll_fn(|cx| {
            task_polls.set(task_polls.get() + 1);
            let _ = moving.as_mut().poll(cx);
            if ended.get() == 2 { Poll::Ready(()) } else { Poll::Pending }
        });
        boucle::gather((
            async {
                yield_now().await;
                gates[1].set();
            },
            &mut polled,
        ))
        .await;
    });
    drop(first);
    gates[2].set();
    once(&mut moving, &second);
    assert_eq!(ended.get(), 3);
    drop(moving);
    assert_eq!(log.take(), ["body"]);
}

fn poll_twice<F: Future>(future: &mut Pin<Box<F>>, l: &Loop) {
    l.block_on(async {
        for _ in 0..2 {
            poll_fn(|cx| {
                assert!(future.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
    });
}

#[test]
fn outputs_and_handles_of_children_may_borrow_and_are_dropped_in_time() {
    struct Loud<'a>(&'a str, &'a Log);

    impl Drop for Loud<'_> {
        fn drop(&mut self) {
            self.1.push(self.0);
        }
    }

    let (l, log) = (virtual_loop(), Log::default());
    l.block_on(async {
        let names = [String::from("awaited"), String::from("dropped"), String::from("kept")];
        scope(async |s| {
            let [a, b, c] = names.each_ref().map(|name| s.spawn(async { Loud(name, &log) }));
            drop(a.await.unwrap());
            log.push("next");
            drop(b);
            log.push("last");
            drop((s.spawn(async { Loud("detached", &log) }), c));
            yield_now().await;
        })
        .await;
        drop(names);
    });
    assert_eq!(log.take(), ["awaited", "next", "dropped", "last", "kept", "detached"]);
}

#[test]
fn t40_children_that_cancel_each_other_when_dropped_need_no_stack() {
    let l = virtual_loop();
    let n = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
    let dropped = Cell::new(0);
    l.block_on(scope(async |s| {
        let next: RefCell<Option<boucle::ScopedHandle<'_, ()>>> = RefCell::new(None);
        for _ in 0..n {
            let next_one = next.borrow_mut().take();
            let dropped = &dropped;
            let child = s.spawn(async move {
                let _chain = on_drop(move || {
                    dropped.set(dropped.get() + 1);
                    if let Some(next) = &next_one {
                        next.cancel();
                    }
                });
                pending::<()>().await;
            });
            *next.borrow_mut() = Some(child);
        }
        for _ in 0..n / 64 + 2 {
            yield_now().await;
        }
        let last = next.borrow_mut().take().unwrap();
        assert!(last.cancel());
    }));
    assert_eq!(dropped.get(), n);
}

#[test]
fn t48_a_scope_with_many_children_does_not_starve_its_neighbours() {
    let (l, log) = (virtual_loop(), Log::default());
    l.block_on(async {
        let neighbour = spawn({
            let log = log.clone();
            async move {
                for turn in 0..4 {
                    log.push(format!("turn {turn}"));
                    yield_now().await;
                }
            }
        });
        let polled = Cell::new(0);
        scope(async |s| {
            for _ in 0..150 {
                s.spawn(async {
                    polled.set(polled.get() + 1);
                    if polled.get() % 50 == 0 {
                        log.push(format!("{} children", polled.get()));
                    }
                });
            }
        })
        .await;
        neighbour.await.unwrap();
    });
    assert_eq!(
        log.take(),
        ["turn 0", "50 children", "turn 1", "100 children", "turn 2", "150 children", "turn 3"]
    );
}

#[test]
fn an_unpolled_scope_does_nothing_and_a_panic_of_a_dropped_one_is_unobserved() {
    let ran = Cell::new(false);
    drop(scope(async |_s| ran.set(true)));
    assert!(!ran.get());

    let l = virtual_loop();
    let task = l.spawn(async {
        scope(async |s| {
            s.spawn(async {
                let _guard = on_drop(|| boom());
                pending::<()>().await;
            });
            pending::<()>().await;
        })
        .await;
    });
    l.run_until_stalled();
    assert!(task.cancel());
    assert_eq!(panics(|| l.block_on(async {})), "boom");
    let end = catch_unwind(AssertUnwindSafe(|| l.block_on(async { 5 })));
    assert_eq!(end.unwrap(), 5);
}

/// Says of a closure what `scope` is to know of it.
fn plain<'env, F, T>(f: F) -> F
where
    F: for<'s> FnOnce(&'s Scope<'s, 'env>) -> T,
{
    f
}

/// As for tasks: a wake by the destructor of what has ended is nobody's.
#[test]
fn a_body_that_wakes_itself_as_it_goes_has_nobody_polled_for_it() {
    let (l, log) = (virtual_loop(), Log::default());
    let waker = Rc::new(RefCell::new(None::<Waker>));
    let kept = waker.clone();
    let wake = on_drop(move || {
        if let Some(waker) = kept.take() {
            waker.wake();
        }
    });
    let mut scope = Box::pin(scope(plain(|s| {
        s.spawn(pending::<()>());
        // Dropped with the body, rather than by its last poll.
        owning(wake, async move { *waker.borrow_mut() = Some(own_waker().await) })
    })));
    let polled = log.clone();
    let _task = l.spawn(poll_fn(move |cx| {
        polled.push("polled");
        scope.as_mut().poll(cx)
    }));
    l.run_until_stalled();
    assert_eq!(log.take(), ["polled"]);
}

#[test]
fn a_scope_without_children_ends_at_once() {
    let mut ready = Box::pin(scope(async |_s| 7));
    let polled = ready.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Ready(7));
    assert_eq!(block_on(scope(async |_s| 8)), 8);
}

/// A scope's future where its own waker can reach it.
type Reachable = Rc<RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>>;

fn poll_reachable(scope: &Reachable, waker: &Waker) {
    let mut slot = scope.borrow_mut();
    assert!(poll_with(slot.as_mut().unwrap(), waker).is_pending());
}

#[test]
fn t13_a_waker_that_drops_the_scope_it_should_poll() {
    let (l, armed) = (virtual_loop(), Rc::new(Cell::new(false)));
    for by_child in [true, false] {
        let (gate, reachable) = (Rc::new(Waiter::new(1)), Reachable::default());
        let waker = foreign_waker({
            let (armed, reachable) = (armed.clone(), reachable.clone());
            move |act| {
                if act == Act::Wake && armed.get() {
                    let scope = reachable.borrow_mut().take();
                    drop(scope);
                }
            }
        });
        *reachable.borrow_mut() = Some(Box::pin(scope({
            let gate = gate.clone();
            async move |s| {
                if by_child {
                    let gate = gate.clone();
                    s.spawn(async move { gate.wait().await });
                    pending::<()>().await;
                }
                gate.wait().await;
            }
        })));
        l.block_on(async {
            armed.set(false);
            poll_reachable(&reachable, &waker);
            poll_reachable(&reachable, &waker);
            armed.set(true);
            gate.set();
        });
        assert!(reachable.borrow().is_none(), "by_child: {by_child}");
    }
}

#[test]
fn t47_a_destructor_of_a_child_outside_a_run_rings_the_hosts_bell() {
    let (l, gate) = (virtual_loop(), Rc::new(Waiter::new(1)));
    let rings = Arc::new(Flag::default());
    let task = l.spawn({
        let gate = gate.clone();
        async move { gate.wait().await }
    });
    let mut outside = Box::pin(scope(async |s| {
        s.spawn(async {
            let _guard = on_drop(|| gate.set());
            pending::<()>().await;
        });
        pending::<()>().await;
    }));
    poll_twice(&mut outside, &l);
    l.run_until_stalled();
    l.on_wake({
        let rings = rings.clone();
        move || rings.clone().wake()
    });
    drop(outside);
    assert_eq!((task.status(), *rings.0.lock().unwrap()), (Status::Ready, 1));
}

#[test]
fn t48_a_scope_away_from_its_loop_is_idle_however_many_children_wait() {
    let (first, second) = (virtual_loop(), virtual_loop());
    let mut moving = Box::pin(scope(async |s| {
        for _ in 0..100 {
            s.spawn(pending::<()>());
        }
        pending::<()>().await;
    }));
    poll_twice(&mut moving, &first);
    poll_twice(&mut moving, &first);
    let task = second.spawn(moving);
    let steps = std::iter::from_fn(|| second.step().then_some(())).take(10).count();
    assert_eq!((steps, task.status()), (1, Status::Waiting));
}

#[test]
fn t37_a_destructor_of_the_body_that_spawns() {
    let (l, log) = (virtual_loop(), Log::default());
    let cut: Result<(), ()> = l.block_on(try_scope(async |s| {
        let _spawner = on_drop(|| log.push(s.spawn(async { Ok(()) }).status().to_string()));
        s.spawn(async { Err::<(), ()>(()) });
        pending().await
    }));
    assert_eq!(cut, Err(()));
    let mut dropped = Box::pin(scope(async |s| {
        let _spawner = on_drop(|| log.push(s.spawn(async {}).status().to_string()));
        pending::<()>().await;
    }));
    poll_twice(&mut dropped, &l);
    drop(dropped);
    assert_eq!(log.take(), ["CANCELLED", "CANCELLED"]);
}

/// What runs while the scope lets go may wake its body. That must not keep the scope's memory, as
/// LeakSanitizer tells.
#[test]
fn t10_a_wake_of_the_body_while_the_scope_lets_go() {
    thread_local! {
        static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
    }
    let log = Log::default();
    let l = Loop::builder()
        .on_unobserved({
            let log = log.clone();
            move |_| {
                log.push("woken");
                WAKER.take().unwrap().wake();
            }
        })
        .build();
    let task = l.spawn(scope(async |s| {
        s.spawn(async {
            let _guard = on_drop(|| boom());
            pending::<()>().await;
        });
        WAKER.set(Some(own_waker().await));
        pending::<()>().await;
    }));
    l.run_until_stalled();
    assert!(task.cancel());
    drop((task, l));
    assert_eq!(log.take(), ["woken"]);
}

/// Polls `outside` in a destructor that runs because of a cancel in a loop, which the first child
/// drops: the wakers of the others are of no use then.
fn polled_while_the_loop_goes(
    make: impl FnOnce(Rc<RefCell<Option<Loop>>>, Rc<Waiter>) -> Pin<Box<dyn Future<Output = ()>>>,
) {
    let l = Rc::new(RefCell::new(Some(virtual_loop())));
    let gate = Rc::new(Waiter::new(1));
    let outside = Rc::new(RefCell::new(Some(make(l.clone(), gate.clone()))));
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(flag.clone());
    let trap = {
        let (outside, waker) = (outside.clone(), waker.clone());
        let guard = on_drop(move || {
            poll_reachable(&outside, &waker);
            poll_reachable(&outside, &waker);
        });
        l.borrow().as_ref().unwrap().spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        })
    };
    l.borrow().as_ref().unwrap().run_until_stalled();
    assert!(trap.cancel());
    assert!(l.borrow().is_none());
    let woken = || std::mem::take(&mut *flag.0.lock().unwrap()) > 0;
    assert!(woken(), "to be polled anew");
    poll_reachable(&outside, &waker);
    woken();
    gate.set();
    assert!(woken());
    let mut outside = outside.borrow_mut().take().unwrap();
    assert!(poll_with(&mut outside, &waker).is_ready());
}

#[test]
fn t22_a_child_that_drops_the_loop_it_is_polled_in() {
    polled_while_the_loop_goes(|l, gate| {
        Box::pin(scope(async move |s| {
            s.spawn(async move {
                let gone = l.borrow_mut().take();
                drop(gone);
            });
            s.spawn(async move { gate.wait().await });
        }))
    });
    polled_while_the_loop_goes(|l, gate| {
        Box::pin(async move {
            let drops = async move {
                yield_now().await;
                let gone = l.borrow_mut().take();
                drop(gone);
            };
            let waits = async move {
                yield_now().await;
                gate.wait().await;
            };
            boucle::gather((drops, waits)).await;
        })
    });
}

#[test]
fn t88_a_scope_that_came_from_another_loop_hides_no_stall() {
    let (first, second) = (virtual_loop(), virtual_loop());
    let mut moving = Box::pin(scope(async |s| {
        s.spawn(pending::<()>());
    }));
    poll_twice(&mut moving, &first);
    let stalled = second.try_block_on(moving).unwrap_err().to_string();
    assert!(stalled.contains("main #1 WAITING"), "{stalled}");
}

#[test]
fn an_error_that_panics_when_dropped_gives_way_to_the_panic() {
    struct Grenade;

    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("boom, the error");
        }
    }

    let l = virtual_loop();
    let message = panics(|| {
        let result: Result<(), Grenade> = l.block_on(try_scope(async |s| {
            s.spawn(async {
                let _guard = on_drop(|| panic!("boom, the child"));
                pending::<Result<(), _>>().await
            });
            yield_now().await;
            s.spawn(async { Err::<(), _>(Grenade) });
            pending().await
        }));
        result.map_err(std::mem::forget)
    });
    assert_eq!(message, "boom, the child");
}

#[test]
fn t40_outputs_that_hold_the_handles_of_others_need_no_stack() {
    enum Link<'s> {
        End,
        Next(#[allow(dead_code)] boucle::ScopedHandle<'s, Link<'s>>),
    }

    let l = virtual_loop();
    let n = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
    l.block_on(scope(async |s| {
        let mut last = s.spawn(async { Link::End });
        for _ in 0..n {
            let next = last;
            last = s.spawn(async move { Link::Next(next) });
        }
        for _ in 0..n / 64 + 2 {
            yield_now().await;
        }
        assert!(last.is_finished());
        drop(last);
    }));
}

#[test]
fn start_waits_until_the_child_is_ready_and_no_longer() {
    let (l, log) = (virtual_loop(), Log::default());
    l.block_on(scope(async |s| {
        let local = String::from("local");
        log.push("start");
        let (name, server) = s
            .start(|ready| {
                let log = &log;
                async move {
                    sleep(secs(2)).await;
                    log.push("ready");
                    ready.with(String::from("server"));
                    sleep(secs(3)).await;
                    log.push("served");
                    7
                }
            })
            .await
            .unwrap();
        log.push(format!("{name} has begun, {local}"));
        log.push(server.await.unwrap().to_string());

        let never = s.start(|ready: boucle::Ready<()>| async move {
            drop(ready);
            pending::<()>().await;
        });
        assert_eq!(never.await.unwrap_err(), boucle::NeverReady);
        // Dropping it takes nothing from the child.
        drop(s.start(|ready| async { ready.with("alone") }));
        log.push("alone");
        yield_now().await;
        yield_now().await;
        s.cancel();
    }));
    assert_eq!(log.take(), ["start", "ready", "server has begun, local", "served", "7", "alone"]);
}

#[test]
fn a_scope_runs_in_tokio_beside_its_tasks() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let log = Log::default();
    let sum = runtime.block_on(scope(async |s| {
        let children: Vec<_> = (1..=3)
            .map(|n| {
                let log = &log;
                s.spawn(async move {
                    tokio::task::yield_now().await;
                    let doubled = tokio::spawn(async move { 2 * n }).await.unwrap();
                    log.push(format!("{n} doubled is {doubled}"));
                    doubled
                })
            })
            .collect();
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    }));
    assert_eq!(sum, 12);
    // Who yields first is tokio's business.
    let mut lines = log.take();
    lines.sort();
    assert_eq!(lines, ["1 doubled is 2", "2 doubled is 4", "3 doubled is 6"]);
}

#[test]
fn under_another_executor_children_have_numbers_and_are_cancelled_as_in_a_loop() {
    let ids = futures_lite::future::block_on(scope(async |s| {
        let (first, second) = (s.spawn(pending::<()>()), s.spawn(async {}));
        let ids = [first.id().to_string(), second.id().to_string()];
        assert!(first.cancel());
        assert_eq!(cause(&first.await.unwrap_err()), "was cancelled");
        second.await.unwrap();
        ids
    }));
    assert_eq!(ids, ["#1", "#2"]);
}

#[test]
fn a_scope_that_is_dropped_with_unread_mail_leaves_no_memory() {
    #[repr(align(65536))]
    struct Aligned;
    let (flag, wakers) = (Arc::new(Flag::default()), RefCell::new(Vec::new()));
    let waker = Waker::from(flag.clone());
    let mut outside = Box::pin(scope(async |s| {
        let wakers = &wakers;
        s.spawn(owning(Aligned, async move {
            let waker = own_waker().await;
            wakers.borrow_mut().push(waker);
            pending::<()>().await;
        }));
        pending::<()>().await;
    }));
    for _ in 0..2 {
        assert!(poll_with(&mut outside, &waker).is_pending());
    }
    wakers.borrow_mut().pop().unwrap().wake();
    assert_eq!((blocks::<Aligned>(), *flag.0.lock().unwrap()), (1, 2));
    drop(outside);
    assert_eq!(blocks::<Aligned>(), 0);
}

#[test]
fn a_body_that_has_ended_is_dropped_before_the_children_go_on() {
    let log = Log::default();
    let (guard, child) = (log.on_drop("body dropped"), log.clone());
    virtual_loop().block_on(scope(plain(|s| {
        s.spawn(async move {
            yield_now().await;
            child.push("child ends");
        });
        // Dropped with the body, rather than by its last poll.
        owning(guard, async {})
    })));
    assert_eq!(log.take(), ["body dropped", "child ends"]);
}
