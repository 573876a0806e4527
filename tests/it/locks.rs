//! `Mutex` and `Semaphore`: order, cancelled waiters, foreign code at the worst moments.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    task::{Poll, Waker},
};

use boucle::{
    gather, spawn,
    sync::{Acquire, Lock, Mutex, Permit, Semaphore},
    yield_now,
};

use crate::support::{
    Act, Log, boom, foreign_waker, noting_waker, on_drop, panics, poll_with, virtual_loop,
};

/// A waker that notes its wakes alone.
pub(crate) fn waker(log: &Log, name: impl Into<String>) -> Waker {
    let (log, name) = (log.clone(), name.into());
    foreign_waker(move |act| {
        if act == Act::Wake {
            log.push(name.clone());
        }
    })
}

/// Random numbers that are the same on every run.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// A value that is never dropped, in reach of leak checkers, which take it for meant then.
pub(crate) fn forever<T>(value: T) -> &'static T {
    static ADDRESSES: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());
    let value = Box::leak(Box::new(value));
    let address = (&raw const *value).cast::<()>().expose_provenance();
    ADDRESSES.lock().unwrap().push(address);
    value
}

pub(crate) fn ready<T>(poll: Poll<T>) -> T {
    let Poll::Ready(value) = poll else { panic!("it is pending") };
    value
}

#[test]
fn the_lock_goes_round_in_order_and_newcomers_wait() {
    let (l, log, mutex) = (virtual_loop(), Log::default(), Rc::new(Mutex::new(0)));
    for name in ["a", "b", "c"] {
        let (log, mutex) = (log.clone(), mutex.clone());
        drop(l.spawn(async move {
            for _ in 0..2 {
                let mut value = mutex.lock().await;
                *value += 1;
                yield_now().await;
                log.push(format!("{name}{value}"));
                // The lock is given away here, so the next round waits behind the others.
            }
        }));
    }
    l.run();
    assert_eq!(log.take(), ["a1", "b2", "c3", "a4", "b5", "c6"]);
}

#[test]
fn an_unlock_gives_the_lock_to_the_first_who_waits() {
    let (log, mutex) = (Log::default(), Mutex::new(0));
    let guard = mutex.try_lock().unwrap();
    let (mut first, mut second) = (mutex.lock(), mutex.lock());
    assert!(poll_with(&mut first, &waker(&log, "first")).is_pending());
    assert!(poll_with(&mut second, &waker(&log, "second")).is_pending());
    drop(guard);
    assert_eq!(log.take(), ["first"]);
    // It is locked already, for the first: neither the second nor a newcomer gets in between.
    assert!(mutex.try_lock().is_none());
    assert!(poll_with(&mut mutex.lock(), &waker(&log, "newcomer")).is_pending());
    assert!(poll_with(&mut second, &waker(&log, "second")).is_pending());
    drop(ready(poll_with(&mut first, &waker(&log, "first"))));
    assert_eq!(log.take(), ["second"]);
    drop(ready(poll_with(&mut second, &waker(&log, "second"))));
    assert!(mutex.try_lock().is_some());
    assert_eq!(log.take(), [""; 0]);
}

/// The trap: a waiter that was woken and is dropped instead swallows the wake.
#[test]
fn t55_a_waiter_that_is_dropped_hands_the_lock_on() {
    let (log, mutex) = (Log::default(), Mutex::new(()));
    let guard = mutex.try_lock().unwrap();
    let mut waiting: VecDeque<Lock<'_, ()>> = (0..4).map(|_| mutex.lock()).collect();
    for (n, lock) in waiting.iter_mut().enumerate() {
        assert!(poll_with(lock, &waker(&log, n.to_string())).is_pending());
    }
    // One in the middle leaves before its turn, and two after theirs has come.
    drop(waiting.remove(1));
    drop(guard);
    assert_eq!(log.take(), ["0"]);
    drop(waiting.pop_front());
    assert_eq!(log.take(), ["2"]);
    drop(waiting.pop_front());
    assert_eq!(log.take(), ["3"]);
    assert!(mutex.try_lock().is_none());
    drop(waiting.pop_front());
    assert!(mutex.try_lock().is_some());
}

#[test]
fn t55_a_cancelled_task_hands_its_lock_on() {
    let (l, log, mutex) = (virtual_loop(), Log::default(), Rc::new(Mutex::new(())));
    let tasks = ["holder", "given", "next"].map(|name| {
        let (log, mutex) = (log.clone(), mutex.clone());
        l.spawn(async move {
            let _guard = mutex.lock().await;
            log.push(name);
            std::future::pending::<()>().await;
        })
    });
    l.run_until_stalled();
    assert!(tasks[0].cancel());
    // The second has been given the lock and was not polled since.
    assert!(tasks[1].cancel());
    l.run_until_stalled();
    assert_eq!(log.take(), ["holder", "next"]);
}

/// The trap: the waker of one who waits changes, and the old one is woken.
#[test]
fn t54_the_last_waker_is_the_one_that_is_woken() {
    let (log, mutex) = (Log::default(), Mutex::new(()));
    let guard = mutex.try_lock().unwrap();
    let mut lock = mutex.lock();
    assert!(poll_with(&mut lock, &noting_waker(&log, "old")).is_pending());
    assert!(poll_with(&mut lock, &noting_waker(&log, "new")).is_pending());
    log.take();
    drop(guard);
    assert_eq!(log.take(), ["Wake new", "Drop new"]);
    drop(ready(poll_with(&mut lock, Waker::noop())));
}

/// The trap: what is waited for comes between the look at it and the joining of the queue.
#[test]
fn t43_an_unlock_while_the_waker_is_cloned_is_not_lost() {
    let mutex: &'static Mutex<u8> = forever(Mutex::new(7));
    let (guard, wakes) = (Rc::new(RefCell::new(mutex.try_lock())), Rc::new(Cell::new(0)));
    let (give, count) = (guard.clone(), wakes.clone());
    let waker = foreign_waker(move |act| match act {
        Act::Clone => drop(give.take()),
        Act::Wake => count.set(count.get() + 1),
        Act::Drop => {}
    });
    let mut lock = mutex.lock();
    let polled = poll_with(&mut lock, &waker);
    assert!(guard.borrow().is_none() && (polled.is_ready() || wakes.get() == 1));
    drop(polled);
    assert_eq!(*ready(poll_with(&mut lock, &waker)), 7);
}

#[test]
fn t43_an_unlock_while_an_old_waker_is_dropped_is_not_lost() {
    let mutex: &'static Mutex<u8> = forever(Mutex::new(7));
    let guard = Rc::new(RefCell::new(mutex.try_lock()));
    let give = guard.clone();
    let old = foreign_waker(move |act| {
        if act == Act::Drop {
            drop(give.take());
        }
    });
    let mut lock = mutex.lock();
    assert!(poll_with(&mut lock, &old).is_pending());
    let polled = poll_with(&mut lock, Waker::noop());
    assert!(guard.borrow().is_none() && polled.is_ready());
    drop(polled);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn t13_a_waker_that_polls_the_one_it_wakes() {
    let mutex: &'static Mutex<u8> = forever(Mutex::new(0));
    let (log, waiting) = (Log::default(), Rc::new(RefCell::new(mutex.lock())));
    let (noted, own) = (log.clone(), waiting.clone());
    let eager = foreign_waker(move |act| {
        if act == Act::Wake {
            let value = *ready(poll_with(&mut *own.borrow_mut(), Waker::noop()));
            noted.push(format!("locked {value}"));
        }
    });
    let mut guard = mutex.try_lock().unwrap();
    assert!(poll_with(&mut *waiting.borrow_mut(), &eager).is_pending());
    *guard = 7;
    drop(guard);
    assert_eq!(log.take(), ["locked 7"]);
    assert!(mutex.try_lock().is_some());
}

/// The trap: a foreign waker is called while something is borrowed, and comes back.
#[test]
fn t13_a_waker_that_drops_the_others_and_locks_again() {
    let mutex: &'static Mutex<u8> = forever(Mutex::new(0));
    let others: Rc<RefCell<Vec<Lock<'static, u8>>>> = Rc::default();
    let log = Log::default();
    let (theirs, noted) = (others.clone(), log.clone());
    let hostile = foreign_waker(move |act| {
        let dropped = theirs.take().len();
        let locked = mutex.try_lock().is_some();
        let again = poll_with(&mut mutex.lock(), Waker::noop()).is_ready();
        noted.push(format!("{act:?} {dropped} {locked} {again}"));
    });
    let guard = mutex.try_lock().unwrap();
    let mut lock = mutex.lock();
    assert!(poll_with(&mut lock, &hostile).is_pending());
    for name in ["a", "b"] {
        let mut other = mutex.lock();
        assert!(poll_with(&mut other, &waker(&log, name)).is_pending());
        others.borrow_mut().push(other);
    }
    drop(guard);
    assert_eq!(log.take(), ["Clone 0 false false", "Wake 2 false false", "Drop 0 false false"]);
    *ready(poll_with(&mut lock, Waker::noop())) += 1;
    // And with the lock handed on by the waker itself.
    let guard = mutex.try_lock().unwrap();
    let cell: Rc<RefCell<Option<Lock<'static, u8>>>> = Rc::default();
    let own = cell.clone();
    let gives_up = foreign_waker(move |act| {
        if act == Act::Wake {
            drop(own.take());
        }
    });
    let (mut first, mut second) = (mutex.lock(), mutex.lock());
    assert!(poll_with(&mut first, &gives_up).is_pending());
    *cell.borrow_mut() = Some(first);
    assert!(poll_with(&mut second, &waker(&log, "second")).is_pending());
    drop(guard);
    assert_eq!(log.take(), ["second"]);
    assert_eq!(*ready(poll_with(&mut second, Waker::noop())), 1);
}

#[test]
fn a_panic_unlocks_and_poisons_nothing() {
    let mutex = Mutex::new(1);
    let message = panics(|| {
        let mut guard = mutex.try_lock().unwrap();
        *guard = 2;
        boom();
    });
    assert_eq!((message.as_str(), *mutex.try_lock().unwrap()), ("boom", 2));
}

#[test]
fn a_mutex_shows_its_value_or_that_it_is_locked() {
    let mut mutex: Box<Mutex<[u8]>> = Box::new(Mutex::from([1, 2]));
    mutex.get_mut()[1] = 3;
    assert_eq!(format!("{mutex:?}"), "Mutex { value: [1, 3], waiting: 0 }");
    let guard = mutex.try_lock().unwrap();
    assert_eq!(format!("{mutex:?}"), "Mutex { value: <locked>, waiting: 0 }");
    assert_eq!(format!("{guard:?}"), "[1, 3]");
}

#[test]
fn what_a_task_waits_for_is_told() {
    let l = virtual_loop();
    let (mutex, semaphore) = (Rc::new(Mutex::new(())), Rc::new(Semaphore::new(0)));
    let _guard = mutex.try_lock().unwrap();
    let (m, s) = (mutex.clone(), semaphore.clone());
    let _a = l.spawn(async move { drop(m.lock().await) }).named("a");
    let _b = l.spawn(async move { drop(s.acquire().await) }).named("b");
    let told = panics(|| l.block_on(std::future::pending::<()>()));
    for line in ["for mutex (made at", "for 1 permit of semaphore (made at"] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn a_big_request_is_not_overtaken_by_small_ones() {
    let (log, semaphore) = (Log::default(), Semaphore::new(3));
    let two = semaphore.try_acquire_many(2).unwrap();
    let (mut big, mut small) = (semaphore.acquire_many(3), semaphore.acquire());
    assert!(poll_with(&mut big, &waker(&log, "big")).is_pending());
    assert!(poll_with(&mut small, &waker(&log, "small")).is_pending());
    assert_eq!(semaphore.available(), 1);
    assert!(semaphore.try_acquire().is_none(), "it would overtake");
    drop(two);
    assert_eq!(log.take(), ["big"]);
    drop(ready(poll_with(&mut big, Waker::noop())));
    assert_eq!(log.take(), ["small"]);
    drop(ready(poll_with(&mut small, Waker::noop())));
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn a_big_request_that_gives_up_lets_the_small_ones_pass() {
    let (log, semaphore) = (Log::default(), Semaphore::new(2));
    let (mut big, mut one, mut more) =
        (semaphore.acquire_many(3), semaphore.acquire(), semaphore.acquire_many(2));
    assert!(poll_with(&mut big, &waker(&log, "big")).is_pending());
    assert!(poll_with(&mut one, &waker(&log, "one")).is_pending());
    assert!(poll_with(&mut more, &waker(&log, "more")).is_pending());
    drop(big);
    assert_eq!((log.take(), semaphore.available()), (vec!["one".to_owned()], 1));
    // One that was given its permit and is dropped gives it to the next.
    drop(one);
    assert_eq!((log.take(), semaphore.available()), (vec!["more".to_owned()], 0));
    ready(poll_with(&mut more, Waker::noop())).forget();
    assert_eq!(semaphore.available(), 0);
}

#[test]
fn permits_that_borrow_nothing_outlive_their_task() {
    let (l, semaphore) = (virtual_loop(), Rc::new(Semaphore::new(2)));
    let permit = l.block_on(async {
        let taken = semaphore.acquire_many_owned(2).await;
        let next = spawn(semaphore.acquire_owned());
        yield_now().await;
        drop(taken);
        next.await.unwrap()
    });
    assert_eq!((permit.count(), semaphore.available()), (1, 1));
    let weak = Rc::downgrade(&semaphore);
    drop(semaphore);
    drop(permit);
    assert!(weak.upgrade().is_none());
}

#[test]
fn more_permits_than_can_be_counted_are_refused() {
    let semaphore = Semaphore::new(usize::MAX);
    let permit = semaphore.try_acquire_many(2).unwrap();
    let told = panics(|| semaphore.add_permits(1));
    assert_eq!(told, "boucle: a semaphore holds at most usize::MAX permits");
    permit.forget();
    semaphore.add_permits(2);
    assert_eq!(semaphore.available(), usize::MAX);
}

#[test]
fn children_of_a_gather_share_a_mutex() {
    let (l, mutex, log) = (virtual_loop(), Mutex::new(()), Log::default());
    let child = async |name: &str| {
        let _guard = mutex.lock().await;
        yield_now().await;
        log.push(name);
    };
    l.block_on(async { gather((child("a"), child("b"), child("c"))).await });
    assert_eq!(log.take(), ["a", "b", "c"]);
}

/// What a semaphore should do, in a few lines.
#[derive(Default)]
struct Model {
    available: usize,
    waiting: VecDeque<(u64, usize)>,
    given: BTreeMap<u64, usize>,
    woken: Vec<String>,
}

impl Model {
    fn grant(&mut self) {
        while let Some(&(id, wants)) = self.waiting.front() {
            let Some(left) = self.available.checked_sub(wants) else { return };
            self.available = left;
            self.waiting.pop_front();
            self.given.insert(id, wants);
            self.woken.push(id.to_string());
        }
    }

    fn take(&mut self, wants: usize) -> bool {
        let can = self.waiting.is_empty() && self.available >= wants;
        self.available -= if can { wants } else { 0 };
        can
    }
}

#[test]
fn any_semaphore_does_what_the_model_does() {
    let mut all_given = 0;
    for seed in 0..20 {
        let mut random = SplitMix(seed);
        let start = random.below(4);
        let (semaphore, log) = (Semaphore::new(start), Log::default());
        let mut model = Model { available: start, ..Model::default() };
        let mut futures: Vec<(u64, usize, Acquire<'_>)> = Vec::new();
        let mut permits: Vec<Permit<'_>> = Vec::new();
        let (mut total, mut ids) = (start, 0);
        for _ in 0..3_000 {
            match random.below(9) {
                // Somebody comes.
                0..=2 if futures.len() < 12 => {
                    let wants = random.below(4);
                    ids += 1;
                    let mut future = semaphore.acquire_many(wants);
                    match poll_with(&mut future, &waker(&log, ids.to_string())) {
                        Poll::Ready(permit) => {
                            assert!(model.take(wants), "{seed}");
                            permits.push(permit);
                        }
                        Poll::Pending => {
                            assert!(!model.take(wants), "{seed}");
                            model.waiting.push_back((ids, wants));
                            futures.push((ids, wants, future));
                        }
                    }
                }
                // Somebody looks again.
                3 | 4 if !futures.is_empty() => {
                    let at = random.below(futures.len());
                    let (id, wants, future) = &mut futures[at];
                    let polled = poll_with(future, &waker(&log, id.to_string()));
                    assert_eq!(polled.is_ready(), model.given.contains_key(id), "{seed}");
                    if let Poll::Ready(permit) = polled {
                        assert_eq!(model.given.remove(id), Some(*wants));
                        assert_eq!(permit.count(), *wants);
                        all_given += 1;
                        permits.push(permit);
                        drop(futures.remove(at));
                    }
                }
                // Somebody gives up.
                5 if !futures.is_empty() => {
                    let (id, ..) = futures.swap_remove(random.below(futures.len()));
                    model.waiting.retain(|waiting| waiting.0 != id);
                    model.available += model.given.remove(&id).unwrap_or(0);
                    model.grant();
                }
                // A permit goes back, or never will.
                6 | 7 if !permits.is_empty() => {
                    let permit = permits.swap_remove(random.below(permits.len()));
                    if total > 3 && random.below(4) == 0 {
                        total -= permit.count();
                        permit.forget();
                    } else {
                        model.available += permit.count();
                        drop(permit);
                        model.grant();
                    }
                }
                8 if random.below(3) == 0 => {
                    let n = random.below(3);
                    semaphore.add_permits(n);
                    (total, model.available) = (total + n, model.available + n);
                    model.grant();
                }
                _ => {
                    let wants = random.below(3);
                    let permit = semaphore.try_acquire_many(wants);
                    assert_eq!(permit.is_some(), model.take(wants), "{seed}");
                    permits.extend(permit);
                }
            }
            assert_eq!(log.take(), std::mem::take(&mut model.woken), "{seed}");
            assert_eq!(semaphore.available(), model.available, "{seed}");
        }
        drop((futures, permits));
        assert_eq!(semaphore.available(), total, "permits lost with seed {seed}");
    }
    assert!(all_given > 1_000, "{all_given} waited and were served");
}

#[test]
fn any_tasks_with_a_mutex_lose_nothing_when_cancelled() {
    for seed in 0..20 {
        let (l, mutex, log) = (virtual_loop(), Rc::new(Mutex::new(0)), Log::default());
        let (mut random, inside) = (SplitMix(seed), Rc::new(Cell::new(0)));
        let mut tasks = VecDeque::new();
        for n in 0..500 {
            let (mutex, inside, yields) = (mutex.clone(), inside.clone(), random.below(3));
            let log = log.clone();
            tasks.push_back(l.spawn(async move {
                let mut guard = mutex.lock().await;
                log.push(n.to_string());
                inside.set(inside.get() + 1);
                assert_eq!(inside.get(), 1);
                let _out = on_drop(|| inside.set(inside.get() - 1));
                for _ in 0..yields {
                    yield_now().await;
                }
                *guard += 1;
            }));
            for _ in 0..random.below(3) {
                l.step();
            }
            if random.below(3) == 0 {
                let at = random.below(tasks.len());
                tasks.remove(at).unwrap().cancel();
            }
        }
        l.run();
        let order: Vec<u32> = log.take().iter().map(|n| n.parse().unwrap()).collect();
        assert!(order.is_sorted(), "seed {seed}: {order:?}");
        assert!(mutex.try_lock().is_some_and(|done| *done > 200), "seed {seed}: {mutex:?}");
    }
}

/// The names of the tasks that have what the first queue of this loop is for.
fn takers(l: &boucle::Loop) -> Vec<String> {
    let snapshot = l.snapshot();
    let tasks = snapshot.resources().first().map(|queue| queue.taken_by.clone());
    tasks.into_iter().flatten().map(|task| task.name.unwrap().into_owned()).collect()
}

#[test]
fn whoever_has_given_a_permit_back_is_not_told_to_have_it() {
    let (l, semaphore) = (virtual_loop(), Rc::new(Semaphore::new(2)));
    let takes = |turns: usize, name: &'static str| {
        let semaphore = semaphore.clone();
        let task = l.spawn(async move {
            let permit = semaphore.acquire_owned().await;
            for _ in 0..turns {
                yield_now().await;
            }
            drop(permit);
            std::future::pending::<()>().await;
        });
        task.named(name)
    };
    let _tasks = [takes(9, "keeps"), takes(1, "returns")];
    let s = semaphore.clone();
    let _wants = l.spawn(async move { drop(s.acquire_many(2).await) });
    (0..3).for_each(|_| assert!(l.step()));
    assert_eq!(takers(&l), ["keeps", "returns"]);
    (0..2).for_each(|_| assert!(l.step()));
    assert_eq!(takers(&l), ["keeps"]);
}

#[test]
fn a_mutex_that_others_have_waited_for_tells_who_has_it_now() {
    let (l, mutex) = (virtual_loop(), Rc::new(Mutex::new(())));
    let locks = |name: &'static str| {
        let mutex = mutex.clone();
        let task = l.spawn(async move {
            let guard = mutex.lock().await;
            yield_now().await;
            drop(guard);
        });
        task.named(name)
    };
    let _tasks = [locks("first"), locks("second"), locks("third")];
    let mut told = Vec::new();
    (0..3).for_each(|_| assert!(l.step()));
    // Nobody is told once nobody waits.
    while l.step() {
        told.extend(takers(&l));
    }
    assert_eq!(told, ["second"]);
}

#[test]
fn an_owned_request_that_is_dropped_leaves_and_hands_on_what_it_was_given() {
    let (log, semaphore) = (Log::default(), Rc::new(Semaphore::new(2)));
    let both = ready(poll_with(&mut semaphore.acquire_many_owned(2), Waker::noop()));
    assert_eq!((both.count(), semaphore.available()), (2, 0));
    let [mut gone, mut given, mut next] = [(); 3].map(|()| semaphore.acquire_many_owned(2));
    for (request, name) in [(&mut gone, "gone"), (&mut given, "given"), (&mut next, "next")] {
        assert!(poll_with(request, &waker(&log, name)).is_pending());
    }
    drop(gone);
    drop(both);
    assert_eq!(log.take(), ["given"]);
    drop(given);
    assert_eq!(log.take(), ["next"]);
    ready(poll_with(&mut next, Waker::noop())).forget();
    assert_eq!(semaphore.available(), 0);
}
