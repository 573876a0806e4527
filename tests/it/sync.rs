//! `Waiter`, alone and as a part of something greater.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::Context,
};

use boucle::{
    Loop, Status, TaskSet, Waiter, block_on, gather, now, scope, sleep, spawn,
    sync::{Mutex, Semaphore, WaitFor, channel, oneshot},
    try_scope, yield_now,
};

use crate::{
    locks::{SplitMix, waker},
    support::{Log, poll_with, virtual_loop},
    trace::{Count, Trace, secs, simulated},
};

/// Tasks that wait at a gate and say their names when they are through.
fn queue(l: &Loop, gate: &Rc<Waiter>, trace: &Trace, names: &[&'static str]) {
    for &name in names {
        let (gate, trace) = (gate.clone(), trace.clone());
        drop(l.spawn(async move {
            (&*gate).await;
            trace.say(name);
        }));
    }
}

#[test]
fn a_gate_opens_after_n_sets_for_everybody_in_order() {
    let (l, trace, gate) = (simulated(), Trace::default(), Rc::new(Waiter::new(3)));
    queue(&l, &gate, &trace, &["a", "b", "c"]);
    for missing in [2, 1] {
        gate.set();
        l.run_until_stalled();
        assert_eq!((gate.missing(), gate.is_set(), trace.take().as_str()), (missing, false, ""));
    }
    gate.set();
    assert!(gate.is_set());
    l.run();
    assert_eq!(trace.take(), "a b c");
    gate.set();
    assert_eq!(gate.missing(), 0);
}

#[test]
fn a_gate_in_an_rc_is_waited_for_by_its_method() {
    let (l, trace, gate) = (simulated(), Trace::default(), Rc::new(Waiter::new(1)));
    let tasks = ["a", "b"].map(|name| {
        let (gate, trace) = (gate.clone(), trace.clone());
        l.spawn(async move {
            gate.wait().await;
            trace.say(name);
        })
    });
    queue(&l, &gate, &trace, &["c"]);
    l.run_until_stalled();
    assert!(format!("{gate:?}").contains("waiting: 3"), "{gate:?}");
    // One that gives up leaves the queue.
    assert!(tasks[0].cancel());
    gate.set();
    l.run();
    assert_eq!(trace.take(), "b c");
    // Open is open: it takes no turn.
    let late = l.spawn(async move { gate.wait().await });
    assert!(l.step() && late.is_finished());
}

#[test]
fn an_open_gate_takes_no_turn() {
    let l = simulated();
    let task = l.spawn(async {
        (&Waiter::new(0)).await;
        let gate = Waiter::default();
        gate.set();
        (&gate).await;
        (&gate).await;
    });
    assert!(l.step());
    assert_eq!(task.status(), Status::Finished);
}

#[test]
fn whoever_comes_after_the_opening_does_not_wait_for_those_before() {
    let (l, trace, gate) = (simulated(), Trace::default(), Rc::new(Waiter::new(1)));
    queue(&l, &gate, &trace, &["early"]);
    l.run_until_stalled();
    let (inner, log) = (gate.clone(), trace.clone());
    drop(l.spawn(async move {
        inner.set();
        (&*inner).await;
        log.say("setter");
    }));
    l.run();
    assert_eq!(trace.take(), "setter early");
}

#[test]
fn whoever_gives_up_leaves_the_queue_wherever_it_stood() {
    for leaves in 0..3 {
        let (l, trace, gate) = (simulated(), Trace::default(), Rc::new(Waiter::new(1)));
        let tasks = ["a", "b", "c"].map(|name| {
            let (gate, trace) = (gate.clone(), trace.clone());
            l.spawn(async move {
                (&*gate).await;
                trace.say(name);
            })
        });
        l.run_until_stalled();
        assert!(tasks[leaves].cancel());
        assert!(format!("{gate:?}").contains("waiting: 2"), "{gate:?}");
        gate.set();
        l.run();
        assert_eq!(trace.take(), ["b c", "a c", "a b"][leaves]);
    }
}

#[test]
fn whoever_gives_up_after_the_opening_takes_nothing_away() {
    let (l, trace, gate) = (simulated(), Trace::default(), Rc::new(Waiter::new(1)));
    let inner = gate.clone();
    let first = l.spawn(async move { (&*inner).await });
    queue(&l, &gate, &trace, &["second"]);
    l.run_until_stalled();
    gate.set();
    assert!(first.cancel());
    l.run();
    assert_eq!(trace.take(), "second");
}

#[test]
fn one_task_may_wait_at_a_gate_several_times_at_once() {
    let (l, trace, gate) = (simulated(), Trace::default(), Waiter::new(1));
    l.block_on(gather((
        async {
            gather([&gate, &gate, &gate].map(IntoFuture::into_future)).await;
            trace.say("through");
        },
        async {
            yield_now().await;
            trace.say("set");
            gate.set();
        },
    )));
    assert_eq!(trace.take(), "set through");
}

#[test]
fn the_last_waker_counts() {
    let gate = Waiter::new(1);
    let mut waiting = pin!((&gate).into_future());
    let ((old, first), (new, second)) = (Count::waker(), Count::waker());
    for waker in [&first, &second, &second] {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    gate.set();
    assert_eq!((old.get(), new.get()), (0, 1));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&second)).is_ready());
}

#[test]
fn a_spurious_poll_keeps_the_place_in_the_queue() {
    let (l, trace, gate) = (simulated(), Trace::default(), Rc::new(Waiter::new(1)));
    let (inner, log) = (gate.clone(), trace.clone());
    drop(l.spawn(async move {
        let mut waiting = (&*inner).into_future();
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if polls < 3 {
                cx.waker().wake_by_ref();
            }
            Pin::new(&mut waiting).poll(cx)
        })
        .await;
        log.say("first");
    }));
    queue(&l, &gate, &trace, &["second"]);
    l.run_until_stalled();
    assert!(format!("{gate:?}").contains("waiting: 2"), "{gate:?}");
    gate.set();
    l.run();
    assert_eq!(trace.take(), "first second");
}

#[test]
fn a_gate_orders_tasks_across_time() {
    let (l, trace) = (simulated(), Trace::default());
    let (log, start) = (trace.clone(), l.now());
    l.block_on(async move {
        let gate = Rc::new(Waiter::new(2));
        for n in [1, 4] {
            let gate = gate.clone();
            drop(spawn(async move {
                sleep(secs(n)).await;
                gate.set();
            }));
        }
        (&*gate).await;
        log.say(format_args!("open after {} s", (now() - start).as_secs()));
    });
    assert_eq!(trace.take(), "open after 4 s");
}

#[test]
fn a_gate_between_two_loops_of_one_thread() {
    let (left, right, trace) = (simulated(), simulated(), Trace::default());
    let gate = Rc::new(Waiter::new(1));
    queue(&right, &gate, &trace, &["right"]);
    right.run_until_stalled();
    left.block_on(async { gate.set() });
    assert_eq!(trace.take(), "");
    right.run();
    assert_eq!(trace.take(), "right");
}

#[test]
fn a_gate_outlives_the_loop_whose_tasks_waited() {
    let gate = Rc::new(Waiter::new(1));
    let l = simulated();
    queue(&l, &gate, &Trace::default(), &["never"]);
    l.run_until_stalled();
    drop(l);
    assert!(format!("{gate:?}").contains("waiting: 0"), "{gate:?}");
    gate.set();
    let l = simulated();
    l.block_on(async { (&*gate).await });
}

/// A gate, and whoever comes, looks again or gives up, beside a list of who waits.
#[test]
fn any_gate_does_what_the_model_does() {
    let mut through = 0;
    for seed in 0..500 {
        let (mut random, log) = (SplitMix(seed), Log::default());
        let mut left = random.below(6);
        let gate = Waiter::new(left);
        let mut futures: Vec<(u64, WaitFor<'_>)> = Vec::new();
        let (mut waiting, mut ids): (Vec<u64>, _) = (Vec::new(), 0);
        for _ in 0..60 {
            let mut woken = Vec::new();
            match random.below(6) {
                0 | 1 => {
                    ids += 1;
                    let mut future = gate.wait();
                    let polled = poll_with(&mut future, &waker(&log, ids.to_string()));
                    assert_eq!(polled.is_ready(), left == 0, "{seed}");
                    if left > 0 {
                        waiting.push(ids);
                        futures.push((ids, future));
                    }
                }
                2 | 3 if !futures.is_empty() => {
                    let at = random.below(futures.len());
                    let (id, future) = &mut futures[at];
                    let polled = poll_with(future, &waker(&log, id.to_string()));
                    assert_eq!(polled.is_ready(), left == 0, "{seed}");
                    if left == 0 {
                        through += 1;
                        drop(futures.swap_remove(at));
                    }
                }
                4 if !futures.is_empty() => {
                    let (gone, _) = futures.swap_remove(random.below(futures.len()));
                    waiting.retain(|&id| id != gone);
                }
                _ if random.below(3) == 0 => {
                    gate.set();
                    left = left.saturating_sub(1);
                    if left == 0 {
                        woken.append(&mut waiting);
                    }
                }
                _ => {}
            }
            assert_eq!(log.take(), woken.iter().map(u64::to_string).collect::<Vec<_>>(), "{seed}");
            assert_eq!((gate.missing(), gate.is_set()), (left, left == 0), "{seed}");
        }
    }
    assert!(through > 500, "{through} waited and were let through");
}

#[test]
fn what_is_public_prints_its_name() {
    fn prints(it: &dyn std::fmt::Debug, name: &str) {
        let text = format!("{it:?}");
        assert!(text.starts_with(name), "{name}: {text}");
    }
    let semaphore = Rc::new(Semaphore::new(1));
    prints(&semaphore.acquire(), "Acquire(Semaphore { available: 1, waiting: 0 })");
    prints(&semaphore.acquire_owned(), "AcquireOwned(Semaphore { available: 1, waiting: 0 })");
    prints(&semaphore.try_acquire().unwrap(), "Permit { count: 1 }");
    prints(&block_on(semaphore.acquire_owned()), "OwnedPermit { count: 1 }");
    prints(&Mutex::new(()).lock(), "Lock { waiting: 0 }");
    let (sender, receiver) = oneshot::<()>();
    prints(&receiver, "OneshotReceiver { closed: false }");
    prints(&sender.closed(), "Closed { closed: false }");
    drop(receiver);
    prints(&sender, "OneshotSender { closed: true }");
    let (sender, receiver) = channel::<u8>(1);
    prints(&sender.send(1), "Sending(");
    prints(&receiver.recv(), "Receiving(");
    prints(&sender, "Sender(Channel { len: 0, closed: false");
    drop(receiver);
    prints(&sender.try_send(1).unwrap_err(), "Closed(..)");
    let waiter = Waiter::new(1);
    prints(&waiter.wait(), "WaitFor");
    prints(&gather([async {}]), "Gathering { left: ");
    prints(&TaskSet::<()>::new().join_next(), "boucle::task_set::set::JoinNext");
    block_on(scope(async |s| prints(s, "Scope { children: 0")));
    let ended: Result<(), ()> = block_on(try_scope(async |s| {
        prints(s, "TryScope { children: 0");
        Ok(())
    }));
    ended.unwrap();
    assert!(!boucle::NeverReady.to_string().is_empty());
    let l = virtual_loop();
    let _task = l.spawn(async {}).named("cook");
    prints(&l.snapshot(), "cook #1 NEW");
}
