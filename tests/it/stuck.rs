//! Programs that hang, and what they are told, word for word.
//!
//! Places in this file are told by [`plain`] as lines below the head of their function, so that
//! tests may move.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    future::{pending, poll_fn},
    mem::forget,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use boucle::{
    Diagnostic, Grade, JoinHandle, Loop, Reaction, TaskSet, Waiter, forever, gather, race, scope,
    shield, sleep, spawn,
    sync::{Mutex, OwnedPermit, Semaphore, channel, oneshot, unbounded},
    timeout, try_gather, wait, yield_now,
};

use crate::support::{forget_for_good, own_waker, panics, virtual_loop, without_sites};

const MS: Duration = Duration::from_millis(1);

/// A report by lines, in which `here:+3` is the third line below the head of a test, and
/// `cook:+3` that below the head of another function, of this file.
fn plain(report: impl Display) -> Vec<String> {
    let source: Vec<&str> = include_str!("stuck.rs").lines().collect();
    let place = |line: usize| {
        let is_head = |&at: &usize| {
            let text = source[at];
            text.contains("fn ") && text.ends_with('{') && !text.starts_with(' ')
        };
        let head = (0..line).rfind(is_head).unwrap();
        let name = source[head].split("fn ").nth(1).unwrap().split(['(', '<']).next().unwrap();
        let name = if head > 0 && source[head - 1] == "#[test]" { "here" } else { name };
        format!("{name}:+{}", line - 1 - head)
    };
    let line = |line: &str| {
        let mut parts = line.split(concat!("tests/it/", "stuck.rs", ":"));
        let mut text = parts.next().unwrap().to_owned();
        for part in parts {
            let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit());
            let (number, rest) = part.split_at(digits(part).unwrap());
            let rest = &rest[1..];
            text += &place(number.parse().unwrap());
            text += &rest[digits(rest).unwrap_or(rest.len())..];
        }
        text
    };
    without_sites(&report.to_string()).replace('\\', "/").lines().map(line).collect()
}

/// Whether a report reads so.
#[track_caller]
fn reads(report: &[String], expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|line| without_sites(line)).collect();
    assert_eq!(report, expected, "\n{}\n", report.join("\n"));
}

/// The report of the stall that a future runs into, at once and for sure.
fn proven<T>(l: &Loop, future: impl Future<Output = T>) -> Vec<String> {
    match l.try_block_on(future) {
        Ok(_) => panic!("it is not stuck"),
        Err(stalled) => {
            assert_eq!(stalled.grade(), Grade::Proven, "{stalled}");
            plain(stalled)
        }
    }
}

/// As [`proven`], in a loop of its own on a virtual clock.
fn stuck<T>(future: impl Future<Output = T>) -> Vec<String> {
    proven(&virtual_loop(), future)
}

/// What a loop has found.
type Found = Rc<RefCell<Vec<(Grade, Vec<String>)>>>;

/// A virtual loop that notes what it finds, and goes on.
fn telling_loop(log: &Found) -> Loop {
    let log = log.clone();
    let note = move |found: &Diagnostic| {
        let (Diagnostic::Dead(told) | Diagnostic::Cycle(told) | Diagnostic::Stall(told)) = found
        else {
            panic!("{found}")
        };
        log.borrow_mut().push((told.grade(), plain(found)));
    };
    Loop::builder()
        .virtual_time()
        .on_dead(Reaction::Tell)
        .on_cycle(Reaction::Tell)
        .on_diagnostic(note)
        .build()
}

/// A report without how long tasks have waited, in real time.
fn without_spans(report: Vec<String>) -> Vec<String> {
    let line = |line: String| {
        let Some((before, after)) = line.split_once(", waiting ") else { return line };
        let wait = after.split_once("for ").unwrap().1;
        format!("{before}, waiting for {wait}")
    };
    report.into_iter().map(line).collect()
}

/// Has a loop go on for a millisecond.
fn tick(l: &Loop) {
    l.block_on(async { sleep(MS).await });
}

/// The handle of a task for the task itself, once it is there.
type Own = Rc<Cell<Option<JoinHandle<()>>>>;

/// Tasks that await each other in a circle: each the one that was spawned before it, the first
/// one the last.
fn circle(l: &Loop, names: impl IntoIterator<Item = &'static str>) {
    let last = Own::default();
    let mut before: Option<JoinHandle<()>> = None;
    for name in names {
        let (last, awaited) = (last.clone(), before.take());
        let task = l.spawn(async move {
            let awaited = awaited.or_else(|| last.take());
            awaited.unwrap().await.unwrap();
        });
        before = Some(task.named(name));
    }
    last.set(before);
}

// Locks

#[test]
fn two_mutexes_in_opposite_order() {
    let orders = Rc::new(Mutex::new(()).named("orders"));
    let stove = Rc::new(Mutex::new(()).named("stove"));
    let take = |first: &Rc<Mutex<()>>, second: &Rc<Mutex<()>>| {
        let (first, second) = (first.clone(), second.clone());
        async move {
            let _first = first.lock().await;
            sleep(100 * MS).await;
            let _second = second.lock().await;
        }
    };
    let report = stuck(async {
        let cook = spawn(take(&orders, &stove)).named("cook");
        let waiter = spawn(take(&stove, &orders)).named("waiter");
        sleep(1300 * MS).await;
        cook.await.unwrap();
        waiter.await.unwrap();
    });
    reads(
        &report,
        &[
            "deadlock: 3 tasks wait for what can never happen",
            "  cycle: cook #2 -> waiter #3 -> cook #2",
            "  main #1 WAITING, waiting for the end of cook #2, spawned at proven:+1",
            "    cook #2 WAITING, waiting 1.2 s for mutex \"stove\" taken by waiter #3 at \
             here:+8, spawned at here:+12",
            "    waiter #3 WAITING, waiting 1.2 s for mutex \"orders\" taken by cook #2 at \
             here:+8, spawned at here:+13",
        ],
    );
}

#[test]
fn two_mutexes_in_opposite_order_in_real_time() {
    let (a, b) = (Rc::new(Mutex::new(1)), Rc::new(Mutex::new(2)));
    let l = Loop::new();
    for (first, second) in [(a.clone(), b.clone()), (b, a)] {
        drop(l.spawn(async move {
            let first = first.lock().await;
            yield_now().await;
            drop((second.lock().await, first));
        }));
    }
    let report = plain(panics(|| l.run()));
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  cycle: two_mutexes_in_opposite_order_in_real_time #1 -> \
             two_mutexes_in_opposite_order_in_real_time #2 -> \
             two_mutexes_in_opposite_order_in_real_time #1",
            "  two_mutexes_in_opposite_order_in_real_time #1 WAITING, waiting for mutex (made at \
             here:+1) taken by two_mutexes_in_opposite_order_in_real_time #2 at here:+7, \
             spawned at here:+4",
            "  two_mutexes_in_opposite_order_in_real_time #2 WAITING, waiting for mutex (made at \
             here:+1) taken by two_mutexes_in_opposite_order_in_real_time #1 at here:+7, \
             spawned at here:+4",
        ],
    );
}

#[test]
fn a_mutex_locked_twice() {
    let till = Mutex::new(0).named("till");
    let report = stuck(async {
        let _guard = till.lock().await;
        drop(till.lock().await);
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  cycle: main #1 -> main #1",
            "  main #1 WAITING, waiting for mutex \"till\" taken by itself at here:+4, spawned \
             at proven:+1",
        ],
    );
}

#[test]
fn a_guard_that_was_forgotten_by_a_task_that_has_ended() {
    let till = Rc::new(Mutex::new(0).named("till"));
    let forgetful = till.clone();
    let report = stuck(async {
        let clerk = async move { forget(forgetful.lock().await) };
        spawn(clerk).named("clerk").await.unwrap();
        drop(till.lock().await);
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for mutex \"till\" taken by task #2 (ended) at here:+6, \
             spawned at proven:+1",
        ],
    );
}

#[test]
fn five_philosophers() {
    let forks: Vec<_> = (0..5).map(|_| Rc::new(Mutex::new(()))).collect();
    let l = virtual_loop();
    for (at, name) in ["Aspasia", "Diotima", "Hypatia", "Ptolemais", "Themista"].iter().enumerate()
    {
        let (left, right) = (forks[at].clone(), forks[(at + 1) % 5].clone());
        let eats = l.spawn(async move {
            let left = left.lock().await;
            sleep(MS).await;
            drop((left, right.lock().await));
        });
        drop(eats.named(*name));
    }
    let report = plain(panics(|| l.run()));
    reads(
        &report,
        &[
            "deadlock: 5 tasks wait for what can never happen",
            "  cycle: Aspasia #1 -> Diotima #2 -> Hypatia #3 -> Ptolemais #4 -> Themista #5 -> \
             Aspasia #1",
            "  Aspasia #1 WAITING, waiting for mutex (made at here:+1) taken by Diotima #2 at \
             here:+9, spawned at here:+6",
            "  Diotima #2 WAITING, waiting for mutex (made at here:+1) taken by Hypatia #3 at \
             here:+9, spawned at here:+6",
            "  Hypatia #3 WAITING, waiting for mutex (made at here:+1) taken by Ptolemais #4 at \
             here:+9, spawned at here:+6",
            "  Ptolemais #4 WAITING, waiting for mutex (made at here:+1) taken by Themista #5 at \
             here:+9, spawned at here:+6",
            "  Themista #5 WAITING, waiting for mutex (made at here:+1) taken by Aspasia #1 at \
             here:+9, spawned at here:+6",
        ],
    );
}

#[test]
fn a_mutex_held_by_a_task_that_waits_for_a_message_of_whoever_wants_it() {
    let table = Rc::new(Mutex::new(()).named("table"));
    let (order, orders) = channel::<u8>(1);
    let orders = orders.named("orders");
    let taken = table.clone();
    let report = stuck(async {
        let cook = spawn(async move {
            let _guard = taken.lock().await;
            orders.recv().await.unwrap();
        });
        let cook = cook.named("cook");
        yield_now().await;
        let _guard = table.lock().await;
        order.send(1).await.unwrap();
        cook.await.unwrap();
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for mutex \"table\" taken by cook #2 at here:+12, \
             spawned at proven:+1",
            "    cook #2 WAITING, waiting for a message from channel \"orders\" at here:+8, \
             spawned at here:+6",
        ],
    );
}

#[test]
fn a_permit_that_has_moved_to_another_task() {
    let one = Rc::new(Semaphore::new(1).named("one"));
    let (give, given) = oneshot::<OwnedPermit>();
    let (taken, wanted) = (one.clone(), one.clone());
    let report = stuck(async {
        let taker = spawn(async move {
            assert!(give.send(taken.acquire_owned().await).is_ok());
            drop(taken.acquire().await);
        });
        let taker = taker.named("taker");
        let keeper = spawn(async move {
            let _permit = given.await.unwrap();
            drop(wanted.acquire().await);
        });
        let keeper = keeper.named("keeper");
        taker.await.unwrap();
        keeper.await.unwrap();
    });
    reads(
        &report,
        &[
            "deadlock: 3 tasks wait for what can never happen",
            "  cycle: taker #2 -> taker #2",
            "  main #1 WAITING, waiting for the end of taker #2, spawned at proven:+1",
            "    taker #2 WAITING, waiting for 1 permit of semaphore \"one\" taken by itself at \
             here:+7, spawned at here:+5",
            "    keeper #3 WAITING, waiting for 1 permit of semaphore \"one\" taken by taker #2 \
             at here:+12, spawned at here:+10",
        ],
    );
}

// Permits

#[test]
fn permits_that_were_forgotten() {
    let seats = Semaphore::new(2).named("seats");
    let report = stuck(async {
        seats.acquire().await.forget();
        seats.acquire().await.forget();
        drop(seats.acquire().await);
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for 1 permit of semaphore \"seats\" at here:+5, spawned \
             at proven:+1",
        ],
    );
}

#[test]
fn more_permits_than_there_are() {
    let seats = Semaphore::new(3);
    let report = stuck(async { drop(seats.acquire_many(4).await) });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for 4 permits of semaphore (made at here:+1) at here:+2, \
             spawned at proven:+1",
        ],
    );
}

#[test]
fn permits_that_were_taken_outside_the_loop() {
    let seats = Rc::new(Semaphore::new(2).named("seats"));
    let _taken = seats.try_acquire().unwrap();
    let report = stuck(async {
        let _first = seats.acquire().await;
        drop(seats.acquire().await);
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for 1 permit of semaphore \"seats\" taken by itself and \
             by somebody outside at here:+5, spawned at proven:+1",
        ],
    );
    let report = stuck(async { drop(seats.acquire_many(2).await) });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for 2 permits of semaphore \"seats\" taken by somebody \
             outside at here:+15, spawned at proven:+1",
        ],
    );
}

#[test]
fn a_semaphore_whose_permits_are_all_taken_by_others_who_want_more() {
    let seats = Rc::new(Semaphore::new(5).named("seats"));
    let l = virtual_loop();
    for name in ["a", "b", "c", "d", "e"] {
        let seats = seats.clone();
        let guest = l.spawn(async move {
            let _first = seats.acquire().await;
            sleep(MS).await;
            drop(seats.acquire().await);
        });
        drop(guest.named(name));
    }
    let report = plain(panics(|| l.run()));
    reads(
        &report,
        &[
            "deadlock: 5 tasks wait for what can never happen",
            "  a #1 WAITING, waiting for 1 permit of semaphore \"seats\" taken by itself, b #2, \
             c #3 and 2 more at here:+8, spawned at here:+5",
            "  b #2 WAITING, waiting for 1 permit of semaphore \"seats\" taken by a #1, itself, \
             c #3 and 2 more at here:+8, spawned at here:+5",
            "  c #3 WAITING, waiting for 1 permit of semaphore \"seats\" taken by a #1, b #2, \
             itself and 2 more at here:+8, spawned at here:+5",
            "  d #4 WAITING, waiting for 1 permit of semaphore \"seats\" taken by a #1, b #2, c \
             #3 and 2 more at here:+8, spawned at here:+5",
            "  e #5 WAITING, waiting for 1 permit of semaphore \"seats\" taken by a #1, b #2, c \
             #3 and 2 more at here:+8, spawned at here:+5",
        ],
    );
}

#[test]
fn permits_that_as_many_have_taken_as_a_report_lists() {
    let seats = Rc::new(Semaphore::new(3).named("seats"));
    let l = virtual_loop();
    for name in ["a", "b", "c"] {
        let seats = seats.clone();
        let guest = l.spawn(async move {
            let _first = seats.acquire().await;
            sleep(MS).await;
            drop(seats.acquire().await);
        });
        drop(guest.named(name));
    }
    let report = plain(panics(|| l.run()));
    reads(
        &report,
        &[
            "deadlock: 3 tasks wait for what can never happen",
            "  a #1 WAITING, waiting for 1 permit of semaphore \"seats\" taken by itself, b #2, \
             c #3 at here:+8, spawned at here:+5",
            "  b #2 WAITING, waiting for 1 permit of semaphore \"seats\" taken by a #1, itself, \
             c #3 at here:+8, spawned at here:+5",
            "  c #3 WAITING, waiting for 1 permit of semaphore \"seats\" taken by a #1, b #2, \
             itself at here:+8, spawned at here:+5",
        ],
    );
}

#[test]
fn a_race_between_a_lock_and_the_end_of_who_has_it() {
    let till = Rc::new(Mutex::new(()).named("till"));
    let report = stuck(async {
        let taken = till.clone();
        let clerk = async move {
            let _guard = taken.lock().await;
            pending::<()>().await;
        };
        let clerk = spawn(clerk).named("clerk");
        yield_now().await;
        race((async { drop(till.lock().await) }, async { clerk.await.unwrap() })).await
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+10: the end of clerk #2, mutex \
             \"till\" taken by clerk #2 at here:+10, spawned at proven:+1",
            "    clerk #2 WAITING, waiting for nothing: nobody can wake it, spawned at here:+8",
        ],
    );
}

// Messages

#[test]
fn a_receiver_that_waits_for_its_own_sender() {
    let report = stuck(async {
        let (order, orders) = channel::<u8>(1);
        let orders = orders.named("orders");
        let _got = orders.recv().await;
        drop(order);
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for a message from channel \"orders\" at here:+4, \
             spawned at proven:+1",
        ],
    );
}

#[test]
fn a_sender_that_was_forgotten() {
    // As good as forgotten, but for who counts what is never freed.
    let forgotten = RefCell::new(None);
    let report = stuck(async {
        let (tell, told) = unbounded::<u8>();
        tell.send(1).unwrap();
        *forgotten.borrow_mut() = Some(tell);
        while told.recv().await.is_ok() {}
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for a message from channel (made at here:+4) at here:+7, \
             spawned at proven:+1",
        ],
    );
}

#[test]
fn a_full_channel_whose_receiver_waits_for_the_sender() {
    let report = stuck(async {
        let (order, orders) = channel::<u8>(1);
        let order = order.named("orders");
        let sender = spawn(async move {
            for dish in 0..3 {
                order.send(dish).await.unwrap();
            }
        });
        sender.named("sender").await.unwrap();
        while orders.recv().await.is_ok() {}
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for the end of sender #2, spawned at proven:+1",
            "    sender #2 WAITING, waiting for room in channel \"orders\" at here:+6, spawned \
             at here:+4",
        ],
    );
}

#[test]
fn two_tasks_that_each_wait_for_the_others_first_message() {
    let (ask, asked) = channel::<u8>(1);
    let (answer, answered) = channel::<u8>(1);
    let (asked, answered) = (asked.named("questions"), answered.named("answers"));
    let report = stuck(async {
        let left = spawn(async move {
            let first = answered.recv().await.unwrap();
            ask.send(first).await.unwrap();
        });
        let right = spawn(async move {
            let first = asked.recv().await.unwrap();
            answer.send(first).await.unwrap();
        });
        gather((left.named("left"), right.named("right"))).await
    });
    reads(
        &report,
        &[
            "deadlock: 3 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+13: the end of left #2, the \
             end of right #3, spawned at proven:+1",
            "    left #2 WAITING, waiting for a message from channel \"answers\" at here:+6, \
             spawned at here:+5",
            "    right #3 WAITING, waiting for a message from channel \"questions\" at here:+10, \
             spawned at here:+9",
        ],
    );
}

#[test]
fn a_oneshot_whose_sender_the_receiver_has_itself() {
    let report = stuck(async {
        let (tell, told) = oneshot::<u8>();
        let got = told.await;
        tell.send(1).unwrap();
        got.unwrap();
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for oneshot (made at here:+2) at here:+3, spawned at \
             proven:+1",
        ],
    );
}

#[test]
fn a_sender_that_waits_until_its_receiver_has_gone() {
    let report = stuck(async {
        let (tell, told) = oneshot::<u8>();
        spawn(async move { tell.closed().await }).named("polite").await.unwrap();
        drop(told);
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for the end of polite #2, spawned at proven:+1",
            "    polite #2 WAITING, waiting for oneshot (made at here:+2) at here:+3, spawned at \
             here:+3",
        ],
    );
}

// Gates

#[test]
fn a_waiter_that_is_set_once_too_little() {
    let ready = Rc::new(Waiter::new(3).named("ready"));
    let report = stuck(async {
        for name in ["one", "two"] {
            let ready = ready.clone();
            drop(spawn(async move { ready.set() }).named(name));
        }
        ready.wait().await;
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for waiter \"ready\" at here:+7, spawned at proven:+1",
        ],
    );
}

#[test]
fn a_meeting_to_which_three_of_four_come() {
    let meeting = Rc::new(Waiter::new(4));
    let l = virtual_loop();
    for _ in 0..3 {
        let meeting = meeting.clone();
        drop(l.spawn(async move {
            meeting.set();
            (&*meeting).await;
        }));
    }
    let report = plain(panics(|| l.run()));
    reads(
        &report,
        &[
            "deadlock: 3 tasks wait for what can never happen",
            "  a_meeting_to_which_three_of_four_come #1 WAITING, waiting for waiter (made at \
             here:+1) at here:+7, spawned at here:+5",
            "  a_meeting_to_which_three_of_four_come #2 WAITING, waiting for waiter (made at \
             here:+1) at here:+7, spawned at here:+5",
            "  a_meeting_to_which_three_of_four_come #3 WAITING, waiting for waiter (made at \
             here:+1) at here:+7, spawned at here:+5",
        ],
    );
}

// Ends

#[test]
fn t88_two_tasks_that_await_each_other() {
    let l = virtual_loop();
    circle(&l, ["left", "right"]);
    let report = plain(panics(|| l.run()));
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  cycle: left #1 -> right #2 -> left #1",
            "  left #1 WAITING, waiting for the end of right #2, spawned at circle:+5",
            "  right #2 WAITING, waiting for the end of left #1, spawned at circle:+5",
        ],
    );
}

#[test]
fn t88_five_tasks_that_await_each_other_in_real_time() {
    let l = Loop::new();
    circle(&l, ["a", "b", "c", "d", "e"]);
    let report = plain(panics(|| l.run()));
    reads(
        &report,
        &[
            "deadlock: 5 tasks wait for what can never happen",
            "  cycle: a #1 -> e #5 -> d #4 -> c #3 -> b #2 -> a #1",
            "  a #1 WAITING, waiting for the end of e #5, spawned at circle:+5",
            "  b #2 WAITING, waiting for the end of a #1, spawned at circle:+5",
            "  c #3 WAITING, waiting for the end of b #2, spawned at circle:+5",
            "  d #4 WAITING, waiting for the end of c #3, spawned at circle:+5",
            "  e #5 WAITING, waiting for the end of d #4, spawned at circle:+5",
        ],
    );
}

#[test]
fn t88_a_task_that_awaits_itself() {
    let (l, own) = (virtual_loop(), Own::default());
    let inner = own.clone();
    own.set(Some(l.spawn(async move { inner.take().unwrap().await.unwrap() }).named("narcissus")));
    let report = plain(panics(|| l.run()));
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  cycle: narcissus #1 -> narcissus #1",
            "  narcissus #1 WAITING, waiting for its own end, spawned at here:+3",
        ],
    );
}

#[test]
fn a_circle_and_who_waits_for_it() {
    let l = virtual_loop();
    circle(&l, ["left", "right"]);
    let report = proven(&l, async {
        let (one, two) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
        let _kept = (one.lock().await, two.lock().await);
        let guest = spawn({
            let one = one.clone();
            async move { drop(one.lock().await) }
        });
        guest.named("guest").await.unwrap();
    });
    reads(
        &report,
        &[
            "deadlock: 4 tasks wait for what can never happen",
            "  cycle: left #1 -> right #2 -> left #1",
            "  cycle: main #3 -> guest #4 -> main #3",
            "  left #1 WAITING, waiting for the end of right #2, spawned at circle:+5",
            "  right #2 WAITING, waiting for the end of left #1, spawned at circle:+5",
            "  main #3 WAITING, waiting for the end of guest #4, spawned at proven:+1",
            "    guest #4 WAITING, waiting for mutex (made at here:+4) taken by main #3 at \
             here:+8, spawned at here:+6",
        ],
    );
}

#[test]
fn several_who_await_a_task_that_is_stuck() {
    let report = stuck(async {
        let soup =
            spawn(async { Waiter::new(1).named("heat").wait().await }).named("soup").shared();
        for name in ["first", "second"] {
            let soup = soup.clone();
            drop(spawn(async move { soup.await.unwrap() }).named(name));
        }
        soup.await.unwrap();
    });
    reads(
        &report,
        &[
            "deadlock: 4 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for the end of soup #2 at here:+8, spawned at proven:+1",
            "    soup #2 WAITING, waiting for waiter \"heat\" at here:+3, spawned at here:+3",
            "    first #3 WAITING, waiting for the end of soup #2 at here:+6, spawned at here:+6",
            "    second #4 WAITING, waiting for the end of soup #2 at here:+6, spawned at here:+6",
        ],
    );
}

#[test]
fn a_task_behind_a_shield() {
    let report = stuck(async {
        let closed = Waiter::new(1).named("closed");
        shield(async move { closed.wait().await }).await;
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for the end of a_task_behind_a_shield #2, spawned at \
             proven:+1",
            "    a_task_behind_a_shield #2 WAITING, waiting for waiter \"closed\" at here:+3, \
             spawned at here:+3",
        ],
    );
}

#[test]
fn a_wait_for_tasks_that_wait() {
    let report = stuck(async {
        let gate = Rc::new(Waiter::new(1).named("gate"));
        let guests = ["ann", "bob"].map(|name| {
            let gate = gate.clone();
            spawn(async move { gate.wait().await }).named(name)
        });
        wait(guests).await
    });
    reads(
        &report,
        &[
            "deadlock: 3 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+7: the end of ann #2, the end \
             of bob #3, spawned at proven:+1",
            "    ann #2 WAITING, waiting for waiter \"gate\" at here:+5, spawned at here:+5",
            "    bob #3 WAITING, waiting for waiter \"gate\" at here:+5, spawned at here:+5",
        ],
    );
}

#[test]
fn a_set_with_a_limit_whose_first_member_never_ends() {
    let report = stuck(async {
        let mut set = TaskSet::with_limit(1);
        set.spawn_named("first", async { Waiter::new(1).named("never").wait().await });
        set.spawn_named("second", async {});
        set.join_next().await;
    });
    reads(
        &report,
        &[
            "deadlock: 3 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+5: the end of first #2, the \
             end of second #3, spawned at proven:+1",
            "    first #2 WAITING, waiting for waiter \"never\" at here:+3, spawned at here:+3",
            "    second #3 NEW, waiting for its turn in a set at here:+2, spawned at here:+4",
        ],
    );
}

// Nobody

#[test]
fn a_waker_that_was_lost() {
    let report = stuck(async {
        let lost = poll_fn(|cx| {
            drop(cx.waker().clone());
            Poll::<()>::Pending
        });
        spawn(lost).named("lost").await.unwrap();
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for the end of lost #2, spawned at proven:+1",
            "    lost #2 WAITING, waiting for nothing: nobody can wake it, spawned at here:+6",
        ],
    );
}

#[test]
fn a_waker_that_another_task_drops_later() {
    let waker = Rc::new(Cell::new(None));
    let kept = waker.clone();
    let report = stuck(async {
        let sleeper = spawn(async move {
            kept.set(Some(own_waker().await));
            pending::<()>().await;
        });
        let sleeper = sleeper.named("sleeper");
        sleep(250 * MS).await;
        drop(waker.take());
        sleeper.await.unwrap();
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for the end of sleeper #2, spawned at proven:+1",
            "    sleeper #2 WAITING, waiting for nothing: nobody can wake it, spawned at here:+4",
        ],
    );
}

#[test]
fn a_gather_on_a_dead_task() {
    let report = stuck(async {
        let dead = spawn(pending::<()>()).named("dead");
        gather((dead, async { sleep(MS).await })).await.0.unwrap();
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+3: the end of dead #2, spawned \
             at proven:+1",
            "    dead #2 WAITING, waiting for nothing: nobody can wake it, spawned at here:+2",
        ],
    );
}

#[test]
fn a_race_of_two_dead_ones() {
    let report = stuck(async {
        race([pending::<()>(), pending()]).await;
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+2, spawned at proven:+1",
        ],
    );
}

#[test]
fn forever_and_nothing_else() {
    let report = stuck(async {
        let guard = spawn(forever()).named("guard");
        guard.await.unwrap()
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for the end of guard #2, spawned at proven:+1",
            "    guard #2 WAITING, waiting for ever on purpose at here:+2, spawned at here:+2",
        ],
    );
}

// Families

#[test]
fn gathers_inside_gathers() {
    let (bell, stove) = (Waiter::new(1).named("bell"), Mutex::new(()).named("stove"));
    let report = stuck(async {
        let _lit = stove.lock().await;
        let (order, orders) = channel::<u8>(1);
        let inner = gather((bell.wait(), async { drop(stove.lock().await) }));
        let outer = async { orders.recv().await };
        let _ended = gather((inner, outer)).await;
        drop(order);
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+7: waiter \"bell\" at here:+5, \
             mutex \"stove\" taken by itself at here:+5, a message from channel (made at \
             here:+4) at here:+6, spawned at proven:+1",
        ],
    );
}

#[test]
fn a_race_between_more_locks_than_a_report_lists() {
    let locks = [(); 5].map(|()| Mutex::new(()));
    let report = stuck(async {
        let _all = gather(locks.each_ref().map(|lock| lock.lock())).await;
        race(locks.each_ref().map(|lock| async move { drop(lock.lock().await) })).await;
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+4: mutex (made at here:+1) \
             taken by itself at here:+4, mutex (made at here:+1) taken by itself at here:+4, \
             mutex (made at here:+1) taken by itself at here:+4, and 2 more, spawned at proven:+1",
        ],
    );
}

#[test]
fn a_try_gather_whose_failure_never_comes() {
    let report = stuck(async {
        let (tell, told) = oneshot::<u8>();
        let fails = async { told.await.map_err(drop) };
        let ends = async { Ok(1) };
        let failed = try_gather((fails, ends)).await;
        drop(tell);
        failed
    });
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+5: oneshot (made at here:+2) \
             at here:+3, spawned at proven:+1",
        ],
    );
}

#[test]
fn a_child_that_waits_for_the_parent_of_its_scope() {
    let closing = Waiter::new(1).named("closing");
    let report = stuck(async {
        scope(async |s| {
            s.spawn(async { closing.wait().await }).named("sweeper");
        })
        .await;
        closing.set();
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+3, spawned at proven:+1",
            "    sweeper #2 WAITING, waiting for waiter \"closing\" at here:+4, spawned at here:+4",
        ],
    );
}

#[test]
fn a_child_of_a_scope_that_nobody_can_wake() {
    let report = stuck(async {
        scope(async |s| {
            let child = s.spawn(pending::<()>()).named("child");
            child.await.unwrap();
        })
        .await;
    });
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+2: the end of child #2, \
             spawned at proven:+1",
            "    child #2 WAITING, waiting for nothing: nobody can wake it, spawned at here:+3",
        ],
    );
}

#[test]
fn children_of_a_scope_that_lock_in_opposite_order() {
    let (a, b) = (Mutex::new(()).named("a"), Mutex::new(()).named("b"));
    let both = async |first: &Mutex<()>, second: &Mutex<()>| {
        let _first = first.lock().await;
        yield_now().await;
        drop(second.lock().await);
    };
    let report = stuck(scope(async |s| {
        s.spawn(both(&a, &b)).named("up");
        s.spawn(both(&b, &a)).named("down");
    }));
    reads(
        &report,
        &[
            "deadlock: 3 tasks wait for what can never happen",
            "  cycle: up #2 -> down #3 -> up #2",
            "  main #1 WAITING, waiting for its children at here:+7, spawned at proven:+1",
            "    up #2 WAITING, waiting for mutex \"b\" taken by down #3 at here:+5, spawned at \
             here:+8",
            "    down #3 WAITING, waiting for mutex \"a\" taken by up #2 at here:+5, spawned at \
             here:+9",
        ],
    );
}

#[test]
fn tasks_stand_under_the_tasks_that_spawned_them() {
    async fn branch(depth: u32) {
        if depth > 0 {
            let _ended = gather([depth - 1, 0].map(|depth| spawn(branch(depth)))).await;
        }
        pending().await
    }
    let report = stuck(branch(3));
    reads(
        &report,
        &[
            "deadlock: 7 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+3: the end of branch #2, the \
             end of branch #3, spawned at proven:+1",
            "    branch #2 WAITING, waiting for its children at here:+3: the end of branch #4, \
             the end of branch #5, spawned at here:+3",
            "      branch #4 WAITING, waiting for its children at here:+3: the end of branch #6, \
             the end of branch #7, spawned at here:+3",
            "        branch #6 WAITING, waiting for nothing: nobody can wake it, spawned at \
             here:+3",
            "        branch #7 WAITING, waiting for nothing: nobody can wake it, spawned at \
             here:+3",
            "      branch #5 WAITING, waiting for nothing: nobody can wake it, spawned at here:+3",
            "    branch #3 WAITING, waiting for nothing: nobody can wake it, spawned at here:+3",
        ],
    );
}

// Many

#[test]
fn a_thousand_that_are_alike() {
    let gate = Rc::new(Waiter::new(1).named("gate"));
    let report = stuck(async {
        let guests: Vec<_> = (0..1000)
            .map(|_| {
                let gate = gate.clone();
                spawn(async move { gate.wait().await }).named("guest")
            })
            .collect();
        wait(guests).await
    });
    reads(
        &report,
        &[
            "deadlock: 1001 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+9: the end of guest #2, the \
             end of guest #3, the end of guest #4, and 997 more, spawned at proven:+1",
            "    guest #2 WAITING, waiting for waiter \"gate\" at here:+6, spawned at here:+6",
            "    and 999 more like it",
        ],
    );
}

#[test]
fn sixty_that_are_not_alike() {
    let gates: Vec<_> = (0..60).map(|at| Rc::new(Waiter::new(1).named(format!("{at}")))).collect();
    let l = virtual_loop();
    for gate in gates {
        drop(l.spawn(async move { gate.wait().await }).named("guest"));
    }
    let report = plain(panics(|| l.run()));
    assert_eq!(report.len(), 52);
    reads(
        &report[..2],
        &[
            "deadlock: 60 tasks wait for what can never happen",
            "  guest #1 WAITING, waiting for waiter \"0\" at here:+4, spawned at here:+4",
        ],
    );
    reads(
        &report[49..],
        &[
            "  guest #49 WAITING, waiting for waiter \"48\" at here:+4, spawned at here:+4",
            "  guest #50 WAITING, waiting for waiter \"49\" at here:+4, spawned at here:+4",
            "  and 10 more",
        ],
    );
}

#[test]
fn those_who_are_alike_count_among_those_that_are_told() {
    let l = virtual_loop();
    let all = Rc::new(Waiter::new(1).named("all"));
    let each = (0..60).map(|at| Rc::new(Waiter::new(1).named(format!("{at}"))));
    for gate in std::iter::repeat_n(all, 10).chain(each) {
        drop(l.spawn(async move { gate.wait().await }).named("guest"));
    }
    let report = plain(panics(|| l.run()));
    reads(
        &report[..4],
        &[
            "deadlock: 70 tasks wait for what can never happen",
            "  guest #1 WAITING, waiting for waiter \"all\" at here:+5, spawned at here:+5",
            "  and 9 more like it",
            "  guest #11 WAITING, waiting for waiter \"0\" at here:+5, spawned at here:+5",
        ],
    );
    // The fiftieth line of a task, and those after ten and forty-nine.
    reads(
        &report[51..],
        &[
            "  guest #59 WAITING, waiting for waiter \"48\" at here:+5, spawned at here:+5",
            "  and 11 more",
        ],
    );
}

#[test]
fn short_times_are_told_in_microseconds() {
    let l = virtual_loop();
    for micros in [7, 999, 1000] {
        drop(l.spawn(async move { sleep(Duration::from_micros(micros)).await }).named("nap"));
    }
    l.run_until_stalled();
    reads(
        &plain(l.snapshot()),
        &[
            "nap #1 WAITING, waiting for a timer in 7 us, spawned at here:+3",
            "nap #2 WAITING, waiting for a timer in 999 us, spawned at here:+3",
            "nap #3 WAITING, waiting for a timer in 1 ms, spawned at here:+3",
        ],
    );
}

#[test]
fn the_longest_circle_that_is_told_in_full() {
    let names =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"];
    for (length, more) in [(16, ""), (17, "1 more -> ")] {
        let l = virtual_loop();
        circle(&l, names[..length].iter().copied());
        let report = plain(panics(|| l.run()));
        // Each awaits the one before; the first sixteen of them are named.
        let links: Vec<String> = std::iter::once(0)
            .chain((1..length).rev())
            .take(16)
            .map(|at| format!("{} #{} -> ", names[at], at + 1))
            .collect();
        assert_eq!(report[1], format!("  cycle: {}{more}a #1", links.concat()));
    }
}

#[test]
fn a_circle_behind_many_others() {
    let l = virtual_loop();
    let gates: Vec<_> = (0..60).map(|at| Rc::new(Waiter::new(1).named(format!("{at}")))).collect();
    for gate in gates {
        drop(l.spawn(async move { gate.wait().await }).named("guest"));
    }
    circle(&l, ["left", "right"]);
    let report = plain(panics(|| l.run()));
    reads(
        &report[..5],
        &[
            "deadlock: 62 tasks wait for what can never happen",
            "  cycle: left #61 -> right #62 -> left #61",
            "    left #61 WAITING, waiting for the end of right #62, spawned at circle:+5",
            "    right #62 WAITING, waiting for the end of left #61, spawned at circle:+5",
            "  guest #1 WAITING, waiting for waiter \"0\" at here:+4, spawned at here:+4",
        ],
    );
    reads(&report[54..], &["  and 12 more"]);
}

#[test]
fn more_circles_than_a_report_tells() {
    let l = virtual_loop();
    for name in ["a", "b", "c", "d", "e"] {
        circle(&l, [name]);
    }
    let report = plain(panics(|| l.run()));
    reads(
        &report,
        &[
            "deadlock: 5 tasks wait for what can never happen",
            "  cycle: a #1 -> a #1",
            "  cycle: b #2 -> b #2",
            "  cycle: c #3 -> c #3",
            "  and 2 more cycles",
            "  a #1 WAITING, waiting for its own end, spawned at circle:+5",
            "  b #2 WAITING, waiting for its own end, spawned at circle:+5",
            "  c #3 WAITING, waiting for its own end, spawned at circle:+5",
            "  d #4 WAITING, waiting for its own end, spawned at circle:+5",
            "  e #5 WAITING, waiting for its own end, spawned at circle:+5",
        ],
    );
}

#[test]
fn the_free_block_on_panics_with_the_report() {
    let report = plain(panics(|| boucle::block_on(pending::<()>())));
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #1 WAITING, waiting for nothing: nobody can wake it, spawned at here:+1",
        ],
    );
}

#[test]
fn a_gather_in_a_child_of_a_scope() {
    let (left, right) = (Waiter::new(1).named("left"), Waiter::new(1).named("right"));
    let report = stuck(scope(async |s| {
        s.spawn(async { gather((left.wait(), race([right.wait()]))).await }).named("child");
    }));
    reads(
        &report,
        &[
            "deadlock: 2 tasks wait for what can never happen",
            "  main #1 WAITING, waiting for its children at here:+2, spawned at proven:+1",
            "    child #2 WAITING, waiting for its children at here:+3: waiter \"left\" at \
             here:+3, waiter \"right\" at here:+3, spawned at here:+3",
        ],
    );
}

#[test]
fn a_circle_is_found_as_it_closes_if_it_has_at_most_64_tasks() {
    for (length, found) in [(64, 1), (65, 0)] {
        let log = Found::default();
        let l = telling_loop(&log);
        circle(&l, (0..length).map(|at| if at == 0 { "first" } else { "link" }));
        tick(&l);
        let told = log.take();
        assert_eq!(told.len(), found);
        let proof = plain(panics(|| l.run()));
        assert_eq!(proof[0], format!("deadlock: {length} tasks wait for what can never happen"));
        for report in told.iter().map(|(_, report)| report).chain([&proof]) {
            let start = format!("  cycle: first #1 -> link #{length} -> link #{} -> ", length - 1);
            assert!(report[1].starts_with(&start), "{report:?}");
            let end = format!(" -> link #{} -> {} more -> first #1", length - 14, length - 16);
            assert!(report[1].ends_with(&end), "{report:?}");
            // Then sixteen of its tasks, fifty of all, and how many more there are.
            assert_eq!(report[2 + 16 + 50..], [format!("  and {} more", length - 50)]);
        }
        assert_eq!(log.take(), [], "one report is enough for a loop that is stuck as a whole");
    }
}

// While others live: circles

#[test]
fn a_circle_in_a_live_loop_fails_if_that_is_asked_for() {
    let l = Loop::builder().virtual_time().on_cycle(Reaction::Fail).build();
    let start = l.now();
    let failed = l.try_block_on(async {
        let (a, b) = (Rc::new(Mutex::new(()).named("a")), Rc::new(Mutex::new(()).named("b")));
        for (name, first, second) in [("up", a.clone(), b.clone()), ("down", b, a)] {
            let task = spawn(async move {
                let _first = first.lock().await;
                sleep(MS).await;
                drop(second.lock().await);
            });
            drop(task.named(name));
        }
        sleep(1000 * MS).await;
    });
    let failed = failed.unwrap_err();
    assert_eq!((failed.grade(), l.now() - start), (Grade::Cycle, MS));
    let report = plain(failed);
    reads(
        &report,
        &[
            "tasks seem to wait for each other",
            "  cycle: up #2 -> down #3 -> up #2",
            "  up #2 WAITING, waiting for mutex \"b\" taken by down #3 at here:+9, spawned at \
             here:+6",
            "  down #3 WAITING, waiting for mutex \"a\" taken by up #2 at here:+9, spawned at \
             here:+6",
        ],
    );
}

#[test]
fn a_circle_that_a_host_drives_fails_likewise() {
    let l = Loop::builder().on_cycle(Reaction::Fail).build();
    circle(&l, ["left", "right"]);
    let report = plain(panics(|| l.run_until_stalled()));
    reads(
        &report,
        &[
            "tasks seem to wait for each other",
            "  cycle: left #1 -> right #2 -> left #1",
            "  left #1 WAITING, waiting for the end of right #2, spawned at circle:+5",
            "  right #2 WAITING, waiting for the end of left #1, spawned at circle:+5",
        ],
    );
    l.run_until_stalled();
}

#[test]
fn each_circle_is_told_once() {
    let log = Found::default();
    let l = telling_loop(&log);
    circle(&l, ["a", "b"]);
    circle(&l, ["narcissus"]);
    l.block_on(async {
        for _ in 0..3 {
            sleep(MS).await;
        }
    });
    let told = log.take();
    assert!(told.iter().all(|(grade, _)| *grade == Grade::Cycle), "{told:?}");
    let report: Vec<String> = told.into_iter().flat_map(|(_, report)| report).collect();
    reads(
        &report,
        &[
            "tasks seem to wait for each other",
            "  cycle: a #1 -> b #2 -> a #1",
            "  a #1 WAITING, waiting for the end of b #2, spawned at circle:+5",
            "  b #2 WAITING, waiting for the end of a #1, spawned at circle:+5",
            "a task seems to wait for itself",
            "  cycle: narcissus #3 -> narcissus #3",
            "  narcissus #3 WAITING, waiting for its own end, spawned at circle:+5",
        ],
    );
    tick(&l);
    assert_eq!(log.take(), []);
}

/// Of those who share the end of a task, the last to ask hears of it, and tells the others. When that
/// one goes, another asks again, and waits in the same circle as before.
#[test]
fn a_circle_whose_member_asks_again_is_told_once() {
    let log = Found::default();
    let l = telling_loop(&log);
    let (give, given) = oneshot::<JoinHandle<()>>();
    let left = l.spawn(async move { given.await.unwrap().await.unwrap() }).named("left").shared();
    let asks = |asked: &Rc<Cell<usize>>| {
        let (mut left, asked) = (Box::pin(left.clone()), asked.clone());
        poll_fn(move |cx| {
            asked.set(asked.get() + 1);
            left.as_mut().poll(cx).map(|_| ())
        })
    };
    let (first, last) = (Rc::default(), Rc::default());
    give.send(l.spawn(asks(&first)).named("right")).unwrap();
    tick(&l);
    let told = log.take();
    let [(Grade::Cycle, report)] = &*told else { panic!("{told:?}") };
    assert_eq!(report[1], "  cycle: left #1 -> right #2 -> left #1");
    let guest = l.spawn(asks(&last));
    tick(&l);
    assert_eq!((first.get(), last.get()), (1, 1));
    assert!(guest.cancel());
    tick(&l);
    assert_eq!((first.get(), last.get(), log.take()), (2, 1, vec![]));
}

#[test]
fn a_circle_through_a_shared_handle() {
    let log = Found::default();
    let l = telling_loop(&log);
    let (give, given) = oneshot::<JoinHandle<()>>();
    let left = l.spawn(async move { given.await.unwrap().await.unwrap() }).named("left").shared();
    let right = l.spawn(async move { left.await.unwrap() }).named("right");
    give.send(right).unwrap();
    tick(&l);
    let (grade, report) = log.take().remove(0);
    assert_eq!(grade, Grade::Cycle);
    reads(
        &report,
        &[
            "tasks seem to wait for each other",
            "  cycle: left #1 -> right #2 -> left #1",
            "  left #1 WAITING, waiting for the end of right #2, spawned at here:+4",
            "  right #2 WAITING, waiting for the end of left #1 at here:+5, spawned at here:+5",
        ],
    );
}

#[test]
fn a_circle_of_a_scopes_child_and_a_task() {
    let log = Found::default();
    let l = telling_loop(&log);
    let lock = Rc::new(Mutex::new(()).named("lock"));
    let (give, given) = oneshot::<JoinHandle<()>>();
    let taken = lock.clone();
    drop(l.spawn(scope(async move |s| {
        s.spawn(async move {
            let _guard = taken.lock().await;
            given.await.unwrap().await.unwrap();
        })
        .named("child");
    })));
    l.run_until_stalled();
    let task = l.spawn(async move { drop(lock.lock().await) }).named("task");
    give.send(task).unwrap();
    tick(&l);
    let (grade, report) = log.take().remove(0);
    assert_eq!(grade, Grade::Cycle);
    reads(
        &report,
        &[
            "tasks seem to wait for each other",
            "  cycle: child #2 -> task #3 -> child #2",
            "  child #2 WAITING, waiting for the end of task #3, spawned at here:+7",
            "  task #3 WAITING, waiting for mutex \"lock\" taken by child #2 at here:+14, \
             spawned at here:+14",
        ],
    );
}

// While others live: dead ones

#[test]
fn a_dead_task_in_a_live_loop_fails_if_that_is_asked_for() {
    let l = Loop::builder().virtual_time().on_dead(Reaction::Fail).build();
    let start = l.now();
    let failed = l.try_block_on(async {
        let lost = spawn(async {
            sleep(MS).await;
            pending::<()>().await;
        });
        drop(lost.named("lost"));
        sleep(1000 * MS).await;
    });
    let failed = failed.unwrap_err();
    assert_eq!((failed.grade(), l.now() - start), (Grade::Dead, MS));
    let report = plain(failed);
    reads(
        &report,
        &[
            "dead task: lost #2 can never be woken",
            "  lost #2 WAITING, waiting for nothing: nobody can wake it, spawned at here:+4",
        ],
    );
}

#[test]
fn dead_tasks_are_told_once_and_together() {
    let log = Found::default();
    let l = telling_loop(&log);
    l.block_on(async {
        for name in ["one", "two", "three"] {
            drop(spawn(pending::<()>()).named(name));
        }
        drop(spawn(forever()).named("guard"));
        for _ in 0..3 {
            sleep(MS).await;
        }
    });
    let (grade, report) = log.take().remove(0);
    assert_eq!(grade, Grade::Dead);
    reads(
        &report,
        &[
            "dead tasks: 3 can never be woken",
            "  one #2 WAITING, waiting for nothing: nobody can wake it, spawned at here:+5",
            "  two #3 WAITING, waiting for nothing: nobody can wake it, spawned at here:+5",
            "  three #4 WAITING, waiting for nothing: nobody can wake it, spawned at here:+5",
        ],
    );
    l.block_on(async {
        drop(spawn(pending::<()>()).named("four"));
        sleep(MS).await;
    });
    let told = log.take();
    assert_eq!(told.len(), 1);
    reads(
        &told[0].1,
        &[
            "dead task: four #7 can never be woken",
            "  four #7 WAITING, waiting for nothing: nobody can wake it, spawned at here:+24",
        ],
    );
}

#[test]
fn a_dead_task_is_told_once_whoever_lets_go_of_it_later() {
    let log = Found::default();
    let l = telling_loop(&log);
    let dead = l.spawn(pending::<()>()).named("dead");
    tick(&l);
    assert_eq!(log.take().len(), 1);
    // Each time the loop has reason to look at it again.
    let mut dead = Box::pin(dead);
    l.block_on(async {
        assert!(futures_lite::future::poll_once(&mut dead).await.is_none());
    });
    tick(&l);
    drop(dead.canceller());
    tick(&l);
    drop(dead);
    tick(&l);
    assert_eq!(log.take(), []);
}

#[test]
fn a_task_is_dead_when_its_last_waker_goes_wherever_that_is() {
    let log = Found::default();
    let l = telling_loop(&log);
    let (tell, told) = std::sync::mpsc::channel();
    let wakers = tell.clone();
    let sleeper = l.spawn(async move {
        wakers.send(own_waker().await).unwrap();
        pending::<()>().await;
    });
    drop(sleeper.named("sleeper"));
    l.run_until_stalled();
    assert_eq!(log.take(), []);
    // A real thread: wakers may go on any.
    std::thread::spawn(move || drop(told)).join().unwrap();
    drop(tell);
    l.run_until_stalled();
    let told = log.take();
    assert_eq!(told.len(), 1);
    reads(
        &told[0].1,
        &[
            "dead task: sleeper #1 can never be woken",
            "  sleeper #1 WAITING, waiting for nothing: nobody can wake it, spawned at here:+5",
        ],
    );
}

#[test]
fn a_child_of_a_scope_that_is_dead() {
    let log = Found::default();
    let l = telling_loop(&log);
    l.block_on(scope(async |s| {
        let child = s.spawn(pending::<()>()).named("child");
        sleep(MS).await;
        child.cancel();
    }));
    let told = log.take();
    assert_eq!(told.len(), 1);
    reads(
        &told[0].1,
        &[
            "dead task: child #2 can never be woken",
            "  child #2 WAITING, waiting for nothing: nobody can wake it, spawned at here:+4",
        ],
    );
}

// Probably stalled. In real time, of a millisecond: patience is about the people who wait.

#[test]
fn a_waker_that_somebody_keeps_makes_a_stall_likely() {
    let wakers = Cell::new(None);
    for l in [Loop::builder(), Loop::builder().virtual_time()] {
        let l = l.on_stall(MS, Reaction::Fail).build();
        let failed = l.try_block_on(async {
            wakers.set(Some(own_waker().await));
            Waiter::new(1).named("gate").wait().await;
        });
        let failed = failed.unwrap_err();
        assert_eq!(failed.grade(), Grade::Likely);
        reads(
            &without_spans(plain(failed)),
            &[
                "probably stalled: nothing has happened for 0.001 s, and only somebody outside \
                 the loop could wake a task",
                "  main #1 WAITING, waiting for waiter \"gate\" at here:+6, a foreign future, \
                 spawned at here:+4",
            ],
        );
    }
}

#[test]
fn a_stall_fails_whoever_drives_the_loop_on_again() {
    let l = Loop::builder().virtual_time().on_stall(MS, Reaction::Fail).build();
    let kept = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..3 {
        let keeps = async {
            let waker = own_waker().await;
            kept.borrow_mut().push(waker);
            pending::<()>().await;
        };
        assert_eq!(l.try_block_on(keeps).unwrap_err().grade(), Grade::Likely);
    }
}

#[test]
fn a_remote_that_somebody_keeps_makes_a_stall_likely() {
    let l = Loop::builder().virtual_time().on_stall(MS, Reaction::Fail).build();
    let remote = l.remote();
    let report = plain(panics(|| l.block_on(forever())));
    reads(
        &report,
        &[
            "probably stalled: nothing has happened for 0.001 s, and only somebody outside the \
             loop could wake a task; a `Remote` is alive",
            "  main #1 WAITING, waiting for ever on purpose at here:+3, spawned at here:+3",
        ],
    );
    // Without it, that is a proof.
    drop(remote);
    let report = proven(&l, forever());
    reads(
        &report,
        &[
            "deadlock: 1 task waits for what can never happen",
            "  main #2 WAITING, waiting for ever on purpose at here:+14, spawned at proven:+1",
        ],
    );
}

#[test]
fn a_foreign_combinator_makes_a_stall_likely() {
    let l = Loop::builder().virtual_time().on_stall(MS, Reaction::Fail).build();
    let (gate, kept) = (Rc::new(Waiter::new(1).named("gate")), Cell::new(None));
    let report = plain(panics(|| {
        l.block_on(async {
            let (tell, told) = oneshot::<u8>();
            let guest = spawn({
                let gate = gate.clone();
                async move { gate.wait().await }
            });
            drop(guest.named("guest"));
            kept.set(Some(tell));
            // With a waker of its own, which has one of the task.
            let waker = own_waker().await;
            let own = std::task::Waker::from(std::sync::Arc::new(Pass(waker)));
            let mut told = std::pin::pin!(told);
            poll_fn(|_| told.as_mut().poll(&mut std::task::Context::from_waker(&own))).await
        })
    }));
    reads(
        &report,
        &[
            "probably stalled: nothing has happened for 0.001 s, and only somebody outside the \
             loop could wake a task",
            "  main #1 WAITING, waiting for a foreign future, spawned at here:+4",
            "    guest #2 WAITING, waiting for waiter \"gate\" at here:+8, spawned at here:+6",
        ],
    );
}

/// A waker that wakes another one.
struct Pass(std::task::Waker);

impl std::task::Wake for Pass {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.wake_by_ref();
    }
}

// Beside a heartbeat

#[test]
fn what_is_stuck_beside_a_heartbeat() {
    let l = virtual_loop();
    circle(&l, ["left", "right"]);
    let stuck = l.block_on(async {
        let (a, b) = (Rc::new(Mutex::new(()).named("a")), Rc::new(Mutex::new(()).named("b")));
        for (name, first, second) in [("up", a.clone(), b.clone()), ("down", b, a.clone())] {
            let task = spawn(async move {
                let _first = first.lock().await;
                sleep(MS).await;
                drop(second.lock().await);
            });
            drop(task.named(name));
        }
        sleep(2 * MS).await;
        // These only wait for those.
        drop(spawn(async move { drop(timeout(2 * MS, a.lock()).await) }).named("patient"));
        let guest = spawn(scope(async |s| {
            s.spawn(pending::<()>()).named("lost");
        }));
        drop(spawn(async move { guest.named("host").await.unwrap() }).named("guest"));
        // A message may come from the heartbeat.
        let (tick, ticks) = channel::<u8>(1);
        drop(spawn(async move { while ticks.recv().await.is_ok() {} }).named("listener"));
        let heartbeat = spawn(async move {
            for beat in 0..3 {
                sleep(MS).await;
                tick.send(beat).await.unwrap();
            }
        });
        drop(heartbeat.named("heartbeat"));
        sleep(MS).await;
        let snapshot = boucle::snapshot();
        reads(
            &plain(&snapshot),
            &[
                "cycle: left #1 -> right #2 -> left #1",
                "cycle: up #4 -> down #5 -> up #4",
                "left #1 WAITING, waiting for the end of right #2, spawned at circle:+5",
                "right #2 WAITING, waiting for the end of left #1, spawned at circle:+5",
                "main #3 RUNNING, spawned at here:+3",
                "  up #4 WAITING, waiting 2 ms for mutex \"b\" taken by down #5 at here:+9, \
                 spawned at here:+6",
                "  down #5 WAITING, waiting 2 ms for mutex \"a\" taken by up #4 at here:+9, \
                 spawned at here:+6",
                "  patient #6 WAITING, waiting 1 ms for mutex \"a\" taken by up #4 at here:+15, \
                 a timer in 1 ms, spawned at here:+15",
                "  host #7 WAITING, waiting 1 ms for its children at here:+16, spawned at here:+16",
                "    lost #11 WAITING, waiting 1 ms for nothing: nobody can wake it, spawned at \
                 here:+17",
                "  guest #8 WAITING, waiting 1 ms for the end of host #7, spawned at here:+19",
                "  listener #9 WAITING, waiting 1 ms for a message from channel (made at \
                 here:+21) at here:+22, spawned at here:+22",
                "  heartbeat #10 READY, spawned at here:+23",
            ],
        );
        let names = snapshot.stuck().iter().map(|task| task.name.to_string()).collect::<Vec<_>>();
        sleep(10 * MS).await;
        names
    });
    assert_eq!(stuck, ["left", "right", "up", "down", "host", "guest", "lost"]);
}

/// Only builds with debug assertions know where timers and joins are.
#[test]
#[cfg(debug_assertions)]
fn where_sleeps_and_joins_are_written() {
    let l = virtual_loop();
    l.block_on(async {
        let top = line!();
        let nap = spawn(sleep(1000 * MS)).named("nap");
        let guard = spawn(async {
            let late = timeout(3000 * MS, forever()).await;
            drop(late);
        });
        let guest = spawn(nap);
        let late = sleep(5 * MS);
        late.await;
        let report = boucle::snapshot().to_string();
        for (name, site) in [
            (" #2 ", format!("for a timer in 995 ms at {}:{}:", file!(), top + 1)),
            (" #3 ", format!("a timer in 3.0 s at {}:{}:", file!(), top + 3)),
        ] {
            let line = report.lines().find(|line| line.contains(name)).unwrap();
            assert!(line.contains(&site), "{site}\n{report}");
        }
        // A handle that is the whole task is polled by the loop alone: no line of ours awaits it.
        let line = report.lines().find(|line| line.contains(" #4 ")).unwrap();
        assert!(line.contains("for the end of nap #2, spawned"), "{report}");
        guard.cancel();
        guest.cancel();
    });
}

#[test]
fn a_waker_of_a_task_that_has_ended_is_no_hope() {
    let l = virtual_loop();
    let waker = l.block_on(own_waker());
    reads(
        &proven(&l, pending::<()>())[1..],
        &["  main #2 WAITING, waiting for nothing: nobody can wake it, spawned at proven:+1"],
    );
    drop(waker);
}

/// Nor is that of a child whose gather has ended, by all of them or by the first.
#[test]
fn a_waker_of_a_child_that_has_ended_is_no_hope() {
    let l = Loop::builder().virtual_time().on_stall(MS, Reaction::Fail).build();
    let kept = l.block_on(async {
        let all = gather((own_waker(), yield_now(), own_waker())).await;
        let first = race((own_waker(), async { (yield_now().await, own_waker().await).1 })).await;
        (all, first)
    });
    reads(
        &proven(&l, pending::<()>())[1..],
        &["  main #2 WAITING, waiting for nothing: nobody can wake it, spawned at proven:+1"],
    );
    drop(kept);
}

#[test]
fn a_waker_of_a_child_that_somebody_keeps() {
    let (l, kept) = (virtual_loop(), Rc::new(Cell::new(None)));
    let keeps = kept.clone();
    let _task = l.spawn(async move {
        let child = async { keeps.set(Some(own_waker().await)) };
        gather((async { (child.await, pending::<()>().await) }, pending::<()>())).await;
    });
    l.run_until_stalled();
    let told = || l.snapshot().to_string().contains("a foreign future");
    assert!(told(), "{}", l.snapshot());
    drop(kept.take());
    l.run_until_stalled();
    assert!(!told(), "{}", l.snapshot());
}

#[test]
fn a_wait_that_was_forgotten_goes_with_what_it_was_for() {
    let l = virtual_loop();
    let _task = l.spawn(async {
        poll_fn(|cx| {
            let waiter = Waiter::new(1);
            let mut waits = Box::pin(waiter.wait());
            assert!(waits.as_mut().poll(cx).is_pending());
            forget_for_good(waits);
            Poll::Ready(())
        })
        .await;
        sleep(MS).await;
    });
    l.run_until_stalled();
    let waits = l.snapshot().tasks()[0].waits.len();
    assert_eq!(waits, 1, "{}", l.snapshot());
}
