//! Programs that look stuck and are not: nobody accuses them of anything.
//!
//! Each runs in a loop that fails at the first dead task and the first circle. Threads are real
//! where the point is that somebody outside the loop may wake a task; nothing depends on when.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Condvar, Mutex as StdMutex, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use boucle::{
    Diagnostic, Grade, JoinHandle, Loop, Reaction, Remote, Status, TaskSet, Waiter, forever,
    gather, interval, race, scope, shield, sleep, spawn,
    sync::{Mutex, OwnedPermit, Semaphore, channel, oneshot, unbounded},
    timeout, wait, yield_now,
};

use crate::support::{pause, virtual_loop};

const MS: Duration = Duration::from_millis(1);

/// Loops on both clocks that accuse at the first occasion.
fn strict_loops() -> [Loop; 2] {
    [Loop::builder(), Loop::builder().virtual_time()]
        .map(|builder| builder.on_dead(Reaction::Fail).on_cycle(Reaction::Fail).build())
}

/// Runs a program on both clocks; it must end without a word.
#[track_caller]
fn lives<F: AsyncFn()>(program: F) {
    for l in strict_loops() {
        if let Err(accused) = l.try_block_on(program()) {
            panic!("accused: {accused}");
        }
        assert_eq!(l.tasks().len(), 0, "{}", l.snapshot());
    }
}

/// Ends at the second poll, which is up to whoever gets the waker.
async fn until_woken(f: impl FnOnce(Waker)) {
    pause(|waker| f(waker.clone())).await;
}

/// Runs `f` on a thread of its own, which nobody waits for.
fn elsewhere(f: impl FnOnce() + Send + 'static) {
    drop(thread::spawn(f));
}

// Woken by threads

#[test]
fn a_thread_that_holds_the_only_waker() {
    lives(async || {
        spawn(until_woken(|waker| elsewhere(|| waker.wake()))).await.unwrap();
    });
}

#[test]
fn a_waker_that_goes_from_thread_to_thread() {
    lives(async || {
        until_woken(|waker| {
            let (first, second) = (mpsc::channel::<Waker>(), mpsc::channel::<Waker>());
            elsewhere(move || second.0.send(first.1.recv().unwrap()).unwrap());
            elsewhere(move || second.1.recv().unwrap().wake());
            first.0.send(waker).unwrap();
        })
        .await;
    });
}

#[test]
fn a_waker_that_was_cloned_on_a_thread_while_the_first_one_goes() {
    lives(async || {
        until_woken(|waker| {
            elsewhere(move || {
                let clone = waker.clone();
                drop(waker);
                thread::spawn(|| clone.wake()).join().unwrap();
            });
        })
        .await;
    });
}

#[test]
fn a_thread_behind_a_condition_variable() {
    lives(async || {
        let shared = Arc::new((StdMutex::new(None::<Waker>), Condvar::new()));
        let there = shared.clone();
        elsewhere(move || {
            let waits = there.1.wait_while(there.0.lock().unwrap(), |waker| waker.is_none());
            let waker = waits.unwrap().take();
            waker.unwrap().wake();
        });
        until_woken(|waker| {
            *shared.0.lock().unwrap() = Some(waker);
            shared.1.notify_one();
        })
        .await;
    });
}

#[cfg(unix)]
#[test]
fn a_thread_that_reads_from_a_pipe() {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };
    lives(async || {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        until_woken(|waker| {
            elsewhere(move || {
                there.read_exact(&mut [0]).unwrap();
                waker.wake();
            });
            here.write_all(&[1]).unwrap();
        })
        .await;
    });
}

#[test]
fn a_sender_that_a_thread_lets_go_of() {
    // A channel of another crate, in a few lines: its end wakes the receiver.
    struct Sender(Arc<StdMutex<(bool, Option<Waker>)>>);

    impl Drop for Sender {
        fn drop(&mut self) {
            let mut inner = self.0.lock().unwrap();
            inner.0 = true;
            let waker = inner.1.take();
            drop(inner);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    lives(async || {
        let inner = Arc::new(StdMutex::new((false, None)));
        let sender = Sender(inner.clone());
        let mut sender = Some(sender);
        poll_fn(move |cx| {
            let mut inner = inner.lock().unwrap();
            if inner.0 {
                return Poll::Ready(());
            }
            inner.1 = Some(cx.waker().clone());
            drop(inner);
            if let Some(sender) = sender.take() {
                elsewhere(|| drop(sender));
            }
            Poll::Pending
        })
        .await;
    });
}

#[test]
fn children_of_a_gather_that_threads_wake() {
    lives(async || {
        let child = || until_woken(|waker| elsewhere(|| waker.wake()));
        gather([child(), child(), child()]).await;
        gather((gather([child(), child()]), child())).await;
        race([child(), child()]).await;
    });
}

#[test]
fn children_of_a_scope_that_threads_wake() {
    lives(async || {
        scope(async |s| {
            for _ in 0..3 {
                s.spawn(until_woken(|waker| elsewhere(|| waker.wake())));
            }
        })
        .await;
    });
}

#[test]
fn a_chain_of_tasks_whose_last_one_a_thread_wakes() {
    lives(async || {
        let mut last = spawn(until_woken(|waker| elsewhere(|| waker.wake())));
        for _ in 0..100 {
            last = spawn(async move { last.await.unwrap() });
        }
        last.await.unwrap();
    });
}

#[test]
fn a_member_of_a_full_set_that_a_thread_wakes() {
    lives(async || {
        let mut set = TaskSet::with_limit(1);
        for _ in 0..3 {
            set.spawn(until_woken(|waker| elsewhere(|| waker.wake())));
        }
        while set.join_next().await.is_some() {}
    });
}

#[test]
fn a_lock_whose_holder_a_thread_wakes() {
    lives(async || {
        let lock = Rc::new(Mutex::new(()));
        let holder = spawn({
            let lock = lock.clone();
            async move {
                let _guard = lock.lock().await;
                until_woken(|waker| elsewhere(|| waker.wake())).await;
            }
        });
        yield_now().await;
        drop(lock.lock().await);
        holder.await.unwrap();
    });
}

#[test]
fn wakes_that_race_with_the_loops_look() {
    lives(async || {
        let (give, given) = mpsc::channel::<(u32, Waker)>();
        let thread = thread::spawn(move || {
            for (round, waker) in given {
                match round % 4 {
                    0 => waker.wake(),
                    1 => waker.wake_by_ref(),
                    2 => {
                        let clone = waker.clone();
                        drop(waker);
                        clone.wake();
                    }
                    _ => {
                        drop(waker.clone());
                        waker.wake_by_ref();
                        drop(waker.clone());
                    }
                }
            }
        });
        for round in 0..2000 {
            let sleeps = until_woken(|waker| give.send((round, waker)).unwrap());
            match round % 3 {
                0 => sleeps.await,
                1 => drop(gather([sleeps]).await),
                _ => scope(async |s| s.spawn(sleeps).await.unwrap()).await,
            }
        }
        drop(give);
        thread.join().unwrap();
    });
}

// Remotes

#[test]
fn a_task_that_comes_from_elsewhere_later() {
    lives(async || {
        let gate = Rc::new(Waiter::new(1));
        thread_local! {
            static GATE: Cell<Option<Rc<Waiter>>> = const { Cell::new(None) };
        }
        GATE.set(Some(gate.clone()));
        let remote = boucle::remote();
        elsewhere(move || {
            drop(remote.spawn(|| async { GATE.take().unwrap().set() }));
        });
        gate.wait().await;
    });
}

/// A loop on a thread of its own, which ends when its last remote is dropped.
fn server() -> (Remote, thread::JoinHandle<Grade>) {
    let (tell, told) = mpsc::channel();
    let serve = move || {
        let l = virtual_loop();
        tell.send(l.remote()).unwrap();
        l.try_block_on(forever()).unwrap_err().grade()
    };
    let thread = thread::spawn(serve);
    (told.recv().unwrap(), thread)
}

#[test]
fn an_answer_from_another_loop() {
    lives(async || {
        let (there, thread) = server();
        let answer = there.spawn(|| async {
            sleep(3600 * 1000 * MS).await;
            42
        });
        assert_eq!(answer.await.unwrap(), 42);
        drop(there);
        // With its last remote went the last who could wake it.
        assert_eq!(thread.join().unwrap(), Grade::Proven);
    });
}

#[test]
fn an_answer_whose_remote_has_gone_before_it_comes() {
    lives(async || {
        let (there, thread) = server();
        let (open, gate) = mpsc::channel::<()>();
        let answer = there.spawn(move || async move { gate.recv().is_ok() });
        drop(there);
        spawn(async move { open.send(()).unwrap() }).await.unwrap();
        assert!(answer.await.unwrap());
        thread.join().unwrap();
    });
}

#[test]
fn an_answer_of_its_own_loop() {
    lives(async || {
        let answer = boucle::remote().spawn(|| async {
            sleep(MS).await;
            42
        });
        assert_eq!(answer.await.unwrap(), 42);
    });
}

// Foreign combinators

/// Polls what was woken, with wakers of its own: what another crate's `FuturesUnordered` does.
struct Unordered<F> {
    futures: Vec<Option<Pin<Box<F>>>>,
    shared: Arc<Woken>,
}

#[derive(Default)]
struct Woken {
    indices: StdMutex<VecDeque<usize>>,
    parent: StdMutex<Option<Waker>>,
}

struct One(Arc<Woken>, usize);

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.0.indices.lock().unwrap().push_back(self.1);
        let parent = self.0.parent.lock().unwrap().take();
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

impl<F: Future> Unordered<F> {
    fn new(futures: impl IntoIterator<Item = F>) -> Unordered<F> {
        let futures: Vec<_> = futures.into_iter().map(|f| Some(Box::pin(f))).collect();
        let shared = Arc::<Woken>::default();
        shared.indices.lock().unwrap().extend(0..futures.len());
        Unordered { futures, shared }
    }
}

impl<F: Future> Future for Unordered<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        *this.shared.parent.lock().unwrap() = Some(cx.waker().clone());
        loop {
            let next = this.shared.indices.lock().unwrap().pop_front();
            let Some(index) = next else { break };
            let waker = Waker::from(Arc::new(One(this.shared.clone(), index)));
            let slot = &mut this.futures[index];
            let polled = slot.as_mut().map(|f| f.as_mut().poll(&mut Context::from_waker(&waker)));
            if polled.is_some_and(|polled| polled.is_ready()) {
                *slot = None;
            }
        }
        if this.futures.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[test]
fn tasks_and_locks_under_a_foreign_combinator() {
    lives(async || {
        let lock = Rc::new(Mutex::new(0));
        let (tell, told) = unbounded::<u8>();
        let work = |at: u64| {
            let (lock, tell) = (lock.clone(), tell.clone());
            async move {
                let mut count = lock.lock().await;
                spawn(async move { sleep(at as u32 * MS).await }).await.unwrap();
                *count += 1;
                tell.send(1).unwrap();
            }
        };
        Unordered::new((0..4).map(work)).await;
        drop(tell);
        while told.recv().await.is_ok() {}
        assert_eq!(*lock.lock().await, 4);
    });
}

#[test]
fn a_foreign_combinator_that_threads_wake() {
    lives(async || {
        Unordered::new((0..3).map(|_| until_woken(|waker| elsewhere(|| waker.wake())))).await;
    });
}

#[test]
fn futures_lite_beside_a_thread() {
    use futures_lite::future::{or, zip};
    lives(async || {
        let (tell, told) = oneshot::<u8>();
        let tells = until_woken(|waker| elsewhere(|| waker.wake()));
        let tells = async {
            tells.await;
            tell.send(1).unwrap();
        };
        zip(or(async { told.await.unwrap() }, pending()), tells).await;
    });
}

#[test]
fn a_task_in_a_box_that_wakes_another_by_hand() {
    lives(async || {
        let stored = Rc::new(Cell::new(None));
        let store = stored.clone();
        let sleeper: Pin<Box<dyn Future<Output = ()>>> =
            Box::pin(until_woken(move |waker| store.set(Some(waker))));
        let sleeper = spawn(sleeper);
        let waking = spawn(async move {
            sleep(MS).await;
            let waker: Waker = stored.take().unwrap();
            waker.wake();
        });
        sleeper.await.unwrap();
        waking.await.unwrap();
    });
}

#[test]
fn a_waker_in_a_thread_local() {
    thread_local! {
        static KEPT: RefCell<Option<Waker>> = const { RefCell::new(None) };
    }
    lives(async || {
        let sleeper = spawn(until_woken(|waker| KEPT.set(Some(waker))));
        spawn(async {
            sleep(MS).await;
            KEPT.take().unwrap().wake();
        })
        .await
        .unwrap();
        sleeper.await.unwrap();
    });
}

#[test]
fn a_waker_in_a_destructor() {
    struct Wakes(Waker);

    impl Drop for Wakes {
        fn drop(&mut self) {
            self.0.wake_by_ref();
        }
    }

    lives(async || {
        let (give, given) = oneshot::<Wakes>();
        let keeper = spawn(async move {
            let _wakes = given.await;
            pending::<()>().await;
        });
        let canceller = keeper.canceller();
        let sleeper = spawn(until_woken(|waker| drop(give.send(Wakes(waker)))));
        yield_now().await;
        yield_now().await;
        canceller.cancel();
        drop(keeper);
        sleeper.await.unwrap();
    });
}

// Circles that are none

#[test]
fn timeouts_around_waits_in_a_circle() {
    lives(async || {
        let (a, b) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
        let both = |first: &Rc<Mutex<()>>, second: &Rc<Mutex<()>>, patience: Duration| {
            let (first, second) = (first.clone(), second.clone());
            async move {
                let _first = first.lock().await;
                sleep(MS).await;
                timeout(patience, second.lock()).await.is_ok()
            }
        };
        let up = spawn(both(&a, &b, 4 * MS));
        let down = spawn(both(&b, &a, 3600 * 1000 * MS));
        assert!(!up.await.unwrap());
        assert!(down.await.unwrap());
    });
}

#[test]
fn a_timer_in_a_race_with_a_lock_in_a_circle() {
    lives(async || {
        let lock = Mutex::new(());
        let _guard = lock.lock().await;
        let wants = async {
            let _guard = lock.lock().await;
            true
        };
        let gives_up = async {
            sleep(MS).await;
            false
        };
        assert!(!race((wants, gives_up)).await);
    });
}

#[test]
fn a_circle_through_a_race_that_another_arm_breaks() {
    lives(async || {
        let (lock, bell) = (Rc::new(Mutex::new(())), Rc::new(Waiter::new(1)));
        let (give, given) = oneshot::<JoinHandle<()>>();
        let (taken, rung) = (lock.clone(), bell.clone());
        let holder = spawn(async move {
            let _guard = taken.lock().await;
            let wanter = given.await.unwrap();
            race((async { drop(wanter.await) }, async { rung.wait().await })).await;
        });
        let wanter = spawn(async move { drop(lock.lock().await) });
        assert!(give.send(wanter).is_ok());
        sleep(MS).await;
        bell.set();
        holder.await.unwrap();
    });
}

#[test]
fn a_permit_that_has_moved_closes_no_circle() {
    lives(async || {
        let one = Rc::new(Semaphore::new(1));
        let (give, given) = oneshot::<OwnedPermit>();
        let (taken, kept) = (one.clone(), one.clone());
        // The permit is with `keeper`, whom nobody waits for; the timer is not this task's.
        let taker = spawn(async move {
            assert!(give.send(taken.acquire_owned().await).is_ok());
            timeout(3_600_000 * MS, taken.acquire()).await.unwrap().forget();
        });
        let keeper = spawn(async move {
            let _permit = given.await.unwrap();
            sleep(MS).await;
            assert_eq!(kept.available(), 0);
        });
        taker.await.unwrap();
        keeper.await.unwrap();
    });
}

#[test]
fn permits_that_somebody_outside_has() {
    for l in strict_loops() {
        let two = Rc::new(Semaphore::new(2));
        let taken = two.try_acquire().unwrap();
        let task = l.spawn({
            let two = two.clone();
            async move {
                let _first = two.acquire().await;
                drop(two.acquire().await);
            }
        });
        l.run_until_stalled();
        assert_eq!(task.status(), Status::Waiting);
        assert!(l.snapshot().stuck().is_empty(), "{}", l.snapshot());
        drop(taken);
        l.run();
    }
}

#[test]
fn guards_that_were_swapped() {
    lives(async || {
        let (a, b) = (Rc::new(Semaphore::new(1)), Rc::new(Semaphore::new(1)));
        let (to_right, from_left) = channel::<OwnedPermit>(1);
        let (to_left, from_right) = channel::<OwnedPermit>(1);
        let (left_a, left_b) = (a.clone(), b.clone());
        // Each took what the other one gives back before it wants what it took itself.
        let left = spawn(async move {
            to_right.send(left_a.acquire_owned().await).await.unwrap();
            drop(from_right.recv().await.unwrap());
            drop(left_b.acquire().await);
        });
        let right = spawn(async move {
            to_left.send(b.acquire_owned().await).await.unwrap();
            drop(from_left.recv().await.unwrap());
            drop(a.acquire().await);
        });
        let (done, failed) = wait([left, right]).await;
        assert_eq!((done.len(), failed.len()), (2, 0));
    });
}

#[test]
fn a_lock_that_goes_round_between_tasks() {
    lives(async || {
        let lock = Rc::new(Mutex::new(0));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let lock = lock.clone();
                spawn(async move {
                    for _ in 0..10 {
                        let mut count = lock.lock().await;
                        yield_now().await;
                        *count += 1;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*lock.lock().await, 100);
    });
}

#[test]
fn permits_that_come_from_nobody() {
    lives(async || {
        let seats = Rc::new(Semaphore::new(1));
        seats.acquire().await.forget();
        let host = seats.clone();
        let host = spawn(async move {
            sleep(MS).await;
            host.add_permits(1);
        });
        drop(seats.acquire().await);
        host.await.unwrap();
    });
}

#[test]
fn a_circle_of_channels_with_a_message_under_way() {
    lives(async || {
        let (ask, asked) = channel::<u32>(1);
        let (answer, answered) = channel::<u32>(1);
        let counts = spawn(async move {
            while let Ok(n) = asked.recv().await {
                answer.send(n + 1).await.unwrap();
            }
        });
        let mut n = 0;
        while n < 100 {
            ask.send(n).await.unwrap();
            n = answered.recv().await.unwrap();
        }
        drop(ask);
        counts.await.unwrap();
    });
}

/// Runs a program in which a circle closes that opens again: that is told, and is no failure.
fn circles<F: AsyncFn()>(program: F) {
    for builder in [Loop::builder(), Loop::builder().virtual_time()] {
        let found = Rc::new(RefCell::new(Vec::new()));
        let log = found.clone();
        let hear = move |told: &Diagnostic| match told {
            Diagnostic::Cycle(told) => log.borrow_mut().push(told.grade()),
            other => panic!("accused: {other}"),
        };
        let builder = builder.on_dead(Reaction::Fail).on_cycle(Reaction::Tell);
        let l = builder.on_diagnostic(hear).build();
        l.try_block_on(program()).unwrap();
        assert_eq!(*found.borrow(), [Grade::Cycle]);
    }
}

#[test]
fn a_circle_that_a_third_task_breaks_is_no_proof() {
    circles(async || {
        let (a, b) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
        // Open when both are in the poll in which they ask for their second: then the circle closes.
        let asked = Rc::new(Waiter::new(2));
        let both = |first: &Rc<Mutex<()>>, second: &Rc<Mutex<()>>| {
            let (first, second, asked) = (first.clone(), second.clone(), asked.clone());
            spawn(async move {
                let _first = first.lock().await;
                sleep(MS).await;
                asked.set();
                drop(second.lock().await);
            })
        };
        let (up, down) = (both(&a, &b), both(&b, &a));
        let doctor = up.canceller();
        drop(spawn(async move {
            asked.wait().await;
            sleep(MS).await;
            doctor.cancel();
        }));
        down.await.unwrap();
        assert!(up.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn a_circle_through_a_permit_that_somebody_else_has_is_no_proof() {
    circles(async || {
        let one = Rc::new(Semaphore::new(1));
        let (give, given) = oneshot::<OwnedPermit>();
        // Reports say who took it, and nobody knows where it went.
        let taker = spawn(async move {
            assert!(give.send(one.acquire_owned().await).is_ok());
            drop(one.acquire().await);
        });
        let permit = given.await.unwrap();
        sleep(MS).await;
        drop(permit);
        taker.await.unwrap();
    });
}

#[test]
fn a_circle_through_permits_that_somebody_adds_is_no_proof() {
    circles(async || {
        let one = Rc::new(Semaphore::new(1));
        let more = one.clone();
        drop(spawn(async move {
            sleep(MS).await;
            more.add_permits(1);
        }));
        let _first = one.acquire().await;
        drop(one.acquire().await);
    });
}

// Cancelled, or ended, by a third

#[test]
fn a_task_that_waits_for_ever_and_is_cancelled() {
    lives(async || {
        let guard = spawn(forever());
        let canceller = guard.canceller();
        drop(spawn(async move {
            sleep(MS).await;
            canceller.cancel();
        }));
        assert!(shield(guard).await.unwrap_err().is_cancelled());
    });
}

#[test]
fn a_task_that_a_thread_may_cancel() {
    lives(async || {
        let lock = Rc::new(Mutex::new(()));
        thread_local! {
            static LOCK: Cell<Option<Rc<Mutex<()>>>> = const { Cell::new(None) };
        }
        LOCK.set(Some(lock.clone()));
        let holder = boucle::remote().spawn(|| async {
            let lock = LOCK.take().unwrap();
            let _guard = lock.lock().await;
            forever().await
        });
        while lock.try_lock().is_some() {
            yield_now().await;
        }
        // The only one who can: its handle is the last that anybody has of this loop.
        elsewhere(move || assert!(holder.cancel()));
        drop(lock.lock().await);
    });
}

#[test]
fn a_task_that_ends_before_anybody_looks() {
    lives(async || {
        // It waits for nothing for a moment: cancelled in the same turn.
        let lost = spawn(pending::<()>());
        spawn({
            let doctor = lost.canceller();
            async move {
                doctor.cancel();
            }
        })
        .await
        .unwrap();
        drop(lost);
    });
}

// New, ready, and about to be

#[test]
fn a_task_that_is_new_or_ready() {
    for l in strict_loops() {
        let new = l.spawn(async {});
        assert_eq!(new.status(), Status::New);
        assert!(l.snapshot().stuck().is_empty());
        l.run_until_stalled();
        // A host may set the gate at any time: neither proven nor dead.
        let gate = Rc::new(Waiter::new(1));
        let guest = l.spawn({
            let gate = gate.clone();
            async move { gate.wait().await }
        });
        l.run_until_stalled();
        while l.step() {}
        assert_eq!(guest.status(), Status::Waiting);
        gate.set();
        // The wake is under way.
        assert!(l.snapshot().stuck().is_empty(), "{}", l.snapshot());
        l.run();
    }
}

#[test]
fn a_loop_whose_host_is_rung_by_a_thread() {
    for l in strict_loops() {
        let (ring, rings) = mpsc::channel();
        l.on_wake(move || ring.send(()).unwrap());
        let task = l.spawn(until_woken(|waker| elsewhere(|| waker.wake())));
        l.run_until_stalled();
        while !task.is_finished() {
            rings.recv().unwrap();
            l.run_until_stalled();
        }
    }
}

#[test]
fn a_task_whose_handle_somebody_else_has_in_a_queue() {
    lives(async || {
        // The handle stands in a full channel; its task waits for room in another one.
        let (give, given) = channel::<JoinHandle<()>>(1);
        let (tell, told) = channel::<u8>(1);
        tell.send(0).await.unwrap();
        let talker = spawn(async move { tell.send(1).await.unwrap() });
        give.send(talker).await.unwrap();
        let idle = spawn(async {});
        let giver = spawn(async move { drop(give.send(idle).await) });
        sleep(MS).await;
        assert_eq!((told.recv().await, told.recv().await), (Ok(0), Ok(1)));
        given.recv().await.unwrap().await.unwrap();
        given.recv().await.unwrap().await.unwrap();
        giver.await.unwrap();
    });
}

#[test]
fn many_who_wait_for_the_end_of_one_that_sleeps() {
    lives(async || {
        let cook = spawn(async { sleep(2 * MS).await }).shared();
        let guests: Vec<_> = (0..10)
            .map(|_| {
                let cook = cook.clone();
                spawn(async move { cook.await.unwrap() })
            })
            .collect();
        let (done, failed) = wait(guests).await;
        assert_eq!((done.len(), failed.len()), (10, 0));
    });
}

#[test]
fn a_heartbeat_and_nothing_else() {
    lives(async || {
        let mut beats = interval(MS);
        for _ in 0..5 {
            beats.tick().await;
        }
    });
}

// Loops in loops

#[test]
fn a_loop_under_another_executor() {
    for l in strict_loops() {
        let answer = futures_lite::future::block_on(async {
            l.block_on(async {
                until_woken(|waker| elsewhere(|| waker.wake())).await;
                sleep(MS).await;
                1
            })
        });
        assert_eq!(answer, 1);
    }
}

#[test]
fn handles_that_another_executor_polls() {
    for l in strict_loops() {
        let task = l.spawn(until_woken(|waker| elsewhere(|| waker.wake())));
        let (mut task, noop) = (pin!(task), Waker::noop());
        assert!(task.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
        l.run();
        assert!(task.as_mut().poll(&mut Context::from_waker(noop)).is_ready());
    }
}

#[test]
fn a_task_that_waits_for_one_of_another_loop_of_the_thread() {
    let [here, there] = strict_loops();
    let gate = Rc::new(Waiter::new(1));
    let guest = there.spawn({
        let gate = gate.clone();
        async move { gate.wait().await }
    });
    let waits = here.spawn(async move { wait([guest]).await.0.len() });
    here.run_until_stalled();
    there.run_until_stalled();
    gate.set();
    there.run();
    here.run();
    assert_eq!(*waits.result().unwrap().unwrap(), 1);
}

#[test]
fn t89_virtual_time_waits_for_an_answer_from_outside() {
    let [_, l] = strict_loops();
    let start = l.now();
    let (there, thread) = server();
    let (open, gate) = mpsc::channel::<()>();
    let beside = Rc::new(Cell::new(None));
    let jumped = beside.clone();
    l.block_on(async {
        drop(spawn(async move {
            sleep(3600 * 1000 * MS).await;
            jumped.set(Some(boucle::now()));
        }));
        let answer = there.spawn(move || async move { gate.recv().is_ok() });
        // Not before this loop has had every occasion to jump: the letter of a thread ends its nap.
        let here = boucle::remote();
        let opener = thread::spawn(move || {
            for _ in 0..3 {
                futures_lite::future::block_on(here.spawn(|| async {})).unwrap();
            }
            open.send(()).unwrap();
        });
        assert!(answer.await.unwrap());
        opener.join().unwrap();
        assert_eq!(boucle::now(), start, "the clock stands still");
        assert_eq!(beside.get(), None);
    });
    drop(there);
    thread.join().unwrap();
    l.run();
    assert_eq!(beside.get().unwrap() - start, 3600 * 1000 * MS);
}
