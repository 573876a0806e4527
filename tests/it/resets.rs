//! `Sleep::reset`, at every stage of a sleep and from every place.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use boucle::{Loop, Sleep, Status, gather, now, sleep, sleep_until, spawn, yield_now};

use crate::{
    time::{armed, poll_once, poll_with},
    trace::{Count, Trace, panic_of, secs, simulated},
};

#[test]
fn at_every_stage_it_ends_at_the_new_deadline() {
    let l = simulated();
    l.block_on(async {
        for (old, new) in [(3, 5), (5, 3), (3, 3), (0, 3)] {
            // Before its first poll.
            let start = now();
            let mut sleep = sleep(secs(old));
            sleep.reset(start + secs(new));
            assert_eq!(sleep.deadline(), start + secs(new));
            (&mut sleep).await;
            assert_eq!(now() - start, secs(new));
            // After its end.
            let start = now();
            sleep.reset(start + secs(new));
            (&mut sleep).await;
            assert_eq!(now() - start, secs(new));
            // Armed, or in its pause of one turn.
            let start = now();
            sleep.reset(start + secs(old));
            assert!(poll_once(Pin::new(&mut sleep)).await.is_pending());
            sleep.reset(start + secs(new));
            assert!(poll_once(Pin::new(&mut sleep)).await.is_pending());
            (&mut sleep).await;
            assert_eq!(now() - start, secs(new));
        }
    });
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn t60_to_the_past_takes_a_turn_and_no_time_at_every_stage() {
    let l = simulated();
    l.advance(secs(10));
    let start = l.now();
    for (stage, polls) in [("new", 0), ("armed", 1)] {
        let task = l.spawn(async move {
            let mut sleep = sleep(secs(1));
            for _ in 0..polls {
                assert!(poll_once(Pin::new(&mut sleep)).await.is_pending());
            }
            sleep.reset(start - secs(5));
            assert!(poll_once(Pin::new(&mut sleep)).await.is_pending());
            (&mut sleep).await;
            sleep.reset(start);
            assert!(poll_once(Pin::new(&mut sleep)).await.is_pending());
            sleep.await;
        });
        l.run_until_stalled();
        assert_eq!((task.status(), l.now()), (Status::Finished, start), "{stage}");
    }
    assert_eq!(l.next_deadline(), None);
}

/// A sleep on the clock of a loop.
fn made(l: &Loop, make: impl FnOnce() -> Sleep) -> Sleep {
    let mut made = None;
    l.block_on(async { made = Some(make()) });
    made.expect("it was made")
}

/// A task that awaits a sleep that others can reset; it says each poll and its end, in seconds.
fn shared(l: &Loop, trace: &Trace, first: u64) -> Rc<RefCell<Sleep>> {
    let start = l.now();
    let shared = Rc::new(RefCell::new(made(l, || sleep(secs(first)))));
    let (sleep, trace) = (shared.clone(), trace.clone());
    drop(l.spawn(async move {
        poll_fn(|cx| {
            trace.say("poll");
            Pin::new(&mut *sleep.borrow_mut()).poll(cx)
        })
        .await;
        trace.say((now() - start).as_secs());
    }));
    shared
}

#[test]
fn who_waits_already_is_woken_at_the_new_deadline_alone() {
    for new in [1, 2, 3, 9] {
        let (l, trace) = (simulated(), Trace::default());
        let start = l.now();
        let sleep = shared(&l, &trace, 3);
        l.advance(secs(1));
        l.block_on(async { sleep.borrow_mut().reset(start + secs(new)) });
        l.run();
        assert_eq!(trace.take(), format!("poll poll {new}"));
    }
}

#[test]
fn between_runs_it_keeps_its_clock_and_has_who_waits_look_again() {
    for new in [1, 2, 3, 9] {
        let (l, trace) = (simulated(), Trace::default());
        let start = l.now();
        let sleep = shared(&l, &trace, 3);
        l.advance(secs(1));
        sleep.borrow_mut().reset(start + secs(new));
        l.run_until_stalled();
        l.run();
        assert_eq!(trace.take(), format!("poll poll poll {new}"));
        assert_eq!(l.now() - start, secs(new));
    }
}

#[test]
fn on_another_thread_it_has_who_waits_look_again() {
    let (l, trace) = (simulated(), Trace::default());
    let start = l.now();
    let sleep = Arc::new(Mutex::new(made(&l, || sleep(secs(3)))));
    let (inside, log) = (sleep.clone(), trace.clone());
    drop(l.spawn(async move {
        poll_fn(|cx| {
            log.say("poll");
            Pin::new(&mut *inside.lock().unwrap()).poll(cx)
        })
        .await;
        log.say((now() - start).as_secs());
    }));
    l.run_until_stalled();
    // Real threads: sleeps are `Send`.
    let elsewhere = {
        let sleep = sleep.clone();
        thread::spawn(move || sleep.lock().unwrap().reset(start + secs(9)))
    };
    elsewhere.join().unwrap();
    l.run();
    assert_eq!(trace.take(), "poll poll poll 9");
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn a_reset_on_another_thread_races_with_the_loop_that_waits() {
    let l = Loop::new();
    let rounds = 200;
    let sleep = Arc::new(Mutex::new(sleep(secs(3600))));
    let elsewhere = {
        let sleep = sleep.clone();
        // Real threads: the resets race with polls, and with the letters of earlier ones.
        thread::spawn(move || {
            for n in 0..rounds {
                let now = Instant::now();
                let at = if n + 1 == rounds { now } else { now + secs(3600) };
                sleep.lock().unwrap().reset(at);
            }
        })
    };
    l.block_on(poll_fn(|cx| Pin::new(&mut *sleep.lock().unwrap()).poll(cx)));
    elsewhere.join().unwrap();
    l.run_until_stalled();
    assert_eq!(l.next_deadline(), None);
}

#[test]
fn a_sleep_whose_loop_has_gone_is_of_use_again() {
    let (old, new) = (simulated(), simulated());
    let mut orphan = armed(&old, secs(1), Waker::noop());
    let mut letter = armed(&old, secs(1), Waker::noop());
    letter.reset(old.now() + secs(2));
    drop(old);
    let start = new.now();
    new.block_on(async {
        for sleep in [&mut orphan, &mut letter] {
            sleep.reset(now() + secs(5));
            sleep.await;
        }
    });
    assert_eq!(new.now() - start, secs(10));
    orphan.reset(new.now());
    drop(new);
    assert!(panic_of(|| poll_with(&mut orphan, Waker::noop())).contains("outside a loop"));
}

#[test]
fn in_another_loop_it_becomes_a_sleep_of_that_loop() {
    let (left, right) = (simulated(), simulated());
    let (count, waker) = Count::waker();
    let mut moved = armed(&left, secs(1), &waker);
    right.block_on(async {
        let start = now();
        moved.reset(start + secs(4));
        (&mut moved).await;
        assert_eq!(now() - start, secs(4));
    });
    assert_eq!(count.get(), 0);
    left.run_until_stalled();
    assert_eq!((left.next_deadline(), count.get()), (None, 1));
}

#[test]
fn t59_among_equal_deadlines_a_reset_is_the_youngest() {
    let (l, trace) = (simulated(), Trace::default());
    l.block_on(async {
        let deadline = now() + secs(1);
        let sleeps = ["a", "b", "c", "d"].map(|_| Rc::new(RefCell::new(sleep_until(deadline))));
        let wait = |n: usize| {
            let (sleep, trace) = (sleeps[n].clone(), trace.clone());
            spawn(async move {
                poll_fn(|cx| Pin::new(&mut *sleep.borrow_mut()).poll(cx)).await;
                trace.say(["a", "b", "c", "d"][n]);
            })
        };
        // One before its first poll, one while armed.
        sleeps[0].borrow_mut().reset(deadline);
        let tasks = [3, 2, 1, 0].map(wait);
        yield_now().await;
        sleeps[1].borrow_mut().reset(deadline);
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(trace.take(), "c d a b");
}

thread_local! {
    static SLEEPS: RefCell<Vec<Sleep>> = const { RefCell::new(Vec::new()) };
}

/// Resets all sleeps, its own too, when it is woken.
struct Postpone(AtomicUsize);

impl Wake for Postpone {
    fn wake(self: Arc<Self>) {
        let later = now() + secs(1);
        SLEEPS.with_borrow_mut(|sleeps| sleeps.iter_mut().for_each(|sleep| sleep.reset(later)));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn t58_a_wake_resets_its_own_timer_and_others_that_are_about_to_fire() {
    let l = simulated();
    let start = l.now();
    let postpone = Arc::new(Postpone(AtomicUsize::new(0)));
    let sleeps = (0..10).map(|_| armed(&l, secs(1), &Waker::from(postpone.clone()))).collect();
    SLEEPS.set(sleeps);
    for second in 1..=10 {
        l.advance(secs(1));
        assert_eq!(postpone.0.load(Ordering::SeqCst), second, "the others were postponed");
    }
    assert_eq!(l.next_deadline(), None);
    l.block_on(gather(SLEEPS.take()));
    assert_eq!((l.now() - start, Arc::strong_count(&postpone)), (secs(11), 1));
}

#[test]
fn t62_a_timer_that_is_reset_a_million_times_ends_once() {
    let l = simulated();
    let start = l.now();
    l.block_on(async {
        let mut idle = sleep(secs(1));
        let _other = spawn(sleep(secs(2_000_000)));
        for n in 1..1_000_000 {
            assert!(poll_with(&mut idle, Waker::noop()).is_pending());
            idle.reset(start + secs(n));
        }
        idle.await;
        assert_eq!(now() - start, secs(999_999));
    });
}

fn splitmix(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Notes that its sleep is to be polled.
struct Bell(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

/// What the model knows of a sleep: when it is to end, its age, whether the loop has its timer.
#[derive(Clone, Copy)]
struct Known {
    at: u64,
    born: u64,
    armed: bool,
}

/// Sleeps are made, polled, reset and dropped, in the loop and between its runs, while time goes
/// on; a sorted map says whom the loop must wake next, and whether he is to be ready.
#[test]
fn resets_agree_with_a_sorted_map_under_random_use() {
    let (l, woken) = (simulated(), Arc::new(Mutex::new(Vec::new())));
    let start = l.now();
    let at = |second: u64| start + Duration::from_secs(second);
    let mut sleeps: BTreeMap<usize, (Sleep, Known)> = BTreeMap::new();
    let mut letters: Vec<usize> = Vec::new();
    let (mut seed, mut time, mut born, mut fired) = (7, 0, 0, 0);
    let waker = |name: usize| Waker::from(Arc::new(Bell(name, woken.clone())));
    for name in 0..20_000 {
        let dice = splitmix(&mut seed);
        let inside = dice & 1 == 0;
        let deadline = time + 1 + (dice >> 8) % 30;
        let len = sleeps.len().max(1);
        let chosen = sleeps.keys().copied().nth((dice >> 32) as usize % len);
        match (dice >> 1) % 8 {
            0 | 1 if len < 30 => {
                let sleep = made(&l, || sleep_until(at(deadline)));
                sleeps.insert(name, (sleep, Known { at: deadline, born, armed: false }));
                born += 1;
            }
            2 | 3 => {
                let Some(chosen) = chosen else { continue };
                let (sleep, known) = sleeps.get_mut(&chosen).unwrap();
                let poll = l.block_on(async { poll_with(sleep, &waker(chosen)) });
                assert!(poll.is_pending());
                known.armed = true;
            }
            4 | 5 => {
                let Some(chosen) = chosen else { continue };
                let (sleep, known) = sleeps.get_mut(&chosen).unwrap();
                if inside {
                    l.block_on(async { sleep.reset(at(deadline)) });
                } else {
                    sleep.reset(at(deadline));
                    if std::mem::take(&mut known.armed) {
                        letters.push(chosen);
                    }
                }
                *known = Known { at: deadline, born, ..*known };
                born += 1;
            }
            6 => {
                let Some((sleep, _)) = chosen.and_then(|chosen| sleeps.remove(&chosen)) else {
                    continue;
                };
                if inside {
                    l.block_on(async { drop(sleep) });
                } else {
                    drop(sleep);
                }
            }
            _ => {
                time += (dice >> 8) % 10;
                l.advance(at(time) - l.now());
                let mut due: Vec<(u64, u64, usize)> = sleeps
                    .iter()
                    .filter(|(_, (_, known))| known.armed && known.at <= time)
                    .map(|(&name, (_, known))| (known.at, known.born, name))
                    .collect();
                due.sort_unstable();
                fired += due.len();
                // Those that were reset between runs are told before any timer fires.
                let mut expected = std::mem::take(&mut letters);
                expected.extend(due.iter().map(|&(.., name)| name));
                assert_eq!(std::mem::take(&mut *woken.lock().unwrap()), expected);
                for (.., name) in due {
                    let (mut sleep, _) = sleeps.remove(&name).unwrap();
                    let poll = l.block_on(async { poll_with(&mut sleep, Waker::noop()) });
                    assert_eq!(poll, Poll::Ready(()));
                }
                // Nobody has polled these in time.
                sleeps.retain(|_, (_, known)| known.armed || known.at > time);
            }
        }
        let first = sleeps.values().filter(|(_, known)| known.armed).map(|(_, known)| known.at);
        if letters.is_empty() && (dice >> 60) == 0 {
            l.run_until_stalled();
            assert_eq!(l.next_deadline(), first.min().map(at));
        }
    }
    assert!(fired > 500, "{fired}");
}

#[test]
fn outside_a_loop_the_real_clock_is_asked_whether_a_real_deadline_has_passed() {
    let (trace, other) = (Trace::default(), Trace::default());
    let mut past = sleep(secs(3600));
    past.reset(Instant::now());
    let (slept, turns) = (trace.clone(), trace.clone());
    Loop::new().block_on(gather((
        async move {
            past.await;
            slept.say("slept");
        },
        async move {
            for _ in 0..3 {
                yield_now().await;
            }
            turns.say("turns");
        },
    )));
    assert_eq!(trace.take(), "slept turns");
    // Another clock stands still meanwhile.
    let l = simulated();
    let (start, soon) = (l.now(), Duration::from_nanos(1));
    let mut sleep = made(&l, || sleep(secs(9)));
    sleep.reset(start + soon);
    l.block_on(sleep);
    other.say((l.now() - start).as_nanos());
    assert_eq!(other.take(), "1");
}
