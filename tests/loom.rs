//! What two threads can do to a loop, in every order within a bound, under the model checker loom.
//!
//! `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release --test loom`
//!
//! Each model is named after what meets what. Loom tries every interleaving with at most three
//! preemptions, or two (with `LOOM_MAX_PREEMPTIONS=n` n, or one less), and every value that a relaxed
//! load may see: a model that ends has no others. Each says in how many executions, and at which bound.
//! Loom reports a thread that sleeps for ever, memory that is never freed, and, by [`Lend`], a
//! future that is polled or dropped in a race. Use after free is found when it runs under
//! AddressSanitizer too.

#![cfg(loom)]

use std::{
    cell::RefCell,
    future::{poll_fn, ready},
    pin::{Pin, pin},
    rc::Rc,
    sync::atomic::AtomicUsize as Count,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use boucle::{Loop, Reaction, Running, Sleep, forever, gather, scope, sleep, yield_now};
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Mutex, Notify,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, ThreadId},
};

/// Runs a model in every order, and says in how many.
fn explore(name: &str, model: impl Fn() + Send + Sync + 'static) {
    explore_within(0, name, model);
}

/// For three threads that have much to do: one preemption less, or it takes minutes.
fn explore_wide(name: &str, model: impl Fn() + Send + Sync + 'static) {
    explore_within(1, name, model);
}

fn explore_within(less: usize, name: &str, model: impl Fn() + Send + Sync + 'static) {
    use std::io::Write;

    /// Of all models that have ended.
    static ALL: Count = Count::new(0);

    let count = std::sync::Arc::new(Count::new(0));
    let mut builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.unwrap_or(3).saturating_sub(less);
    builder.preemption_bound = Some(bound);
    builder.check({
        let count = count.clone();
        move || {
            count.fetch_add(1, Relaxed);
            model();
        }
    });
    let count = count.load(Relaxed);
    let all = ALL.fetch_add(count, Relaxed) + count;
    // Not by `eprintln`, which the test harness swallows; in one piece, as models run side by side.
    let line = format!("{name}: {count} executions, {bound} preemptions; {all} so far\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// What threads tell each other. Only ever relaxed: that the other side sees it in time is up to
/// the wake that follows.
#[derive(Clone)]
struct Flag(Arc<AtomicUsize>);

impl Flag {
    fn new() -> Flag {
        Flag(Arc::new(AtomicUsize::new(0)))
    }

    fn raise(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A future that at its first poll lends a clone of its waker to a new thread for each of
/// `elsewhere`, and then does what `poll` says. Its home is the thread that made it.
struct Lend<E, P, const N: usize> {
    /// Loom reports a poll or a drop that nothing orders after the last one.
    touched: UnsafeCell<()>,
    home: ThreadId,
    elsewhere: Option<[E; N]>,
    poll: P,
}

fn lend<E, P, T, const N: usize>(elsewhere: [E; N], poll: P) -> Lend<E, P, N>
where
    E: FnOnce(Waker) + Send + 'static,
    P: FnMut(&mut Context<'_>) -> Poll<T>,
{
    let home = thread::current().id();
    Lend { touched: UnsafeCell::new(()), home, elsewhere: Some(elsewhere), poll }
}

impl<E, P, const N: usize> Lend<E, P, N> {
    fn touch(&self) {
        self.touched.with_mut(|_| ());
        assert_eq!(thread::current().id(), self.home);
    }
}

// Nothing is pinned: no reference to a field outlives a poll.
impl<E, P, const N: usize> Unpin for Lend<E, P, N> {}

impl<E, P, T, const N: usize> Future for Lend<E, P, N>
where
    E: FnOnce(Waker) + Send + 'static,
    P: FnMut(&mut Context<'_>) -> Poll<T>,
{
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.touch();
        for elsewhere in self.elsewhere.take().into_iter().flatten() {
            let waker = cx.waker().clone();
            thread::spawn(move || elsewhere(waker));
        }
        (self.poll)(cx)
    }
}

impl<E, P, const N: usize> Drop for Lend<E, P, N> {
    fn drop(&mut self) {
        self.touch();
    }
}

fn raise_and_wake(flag: &Flag) -> impl FnOnce(Waker) + Send + use<> {
    let flag = flag.clone();
    move |waker| {
        flag.raise();
        waker.wake();
    }
}

/// Ready when the flag was raised so often.
fn until(flag: &Flag, times: usize) -> impl FnMut(&mut Context<'_>) -> Poll<()> + use<> {
    let flag = flag.clone();
    move |_| if flag.get() == times { Poll::Ready(()) } else { Poll::Pending }
}

fn never(_: &mut Context<'_>) -> Poll<()> {
    Poll::Pending
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) {
    poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// Another executor, as small as can be.
struct Stranger {
    bell: Arc<Notify>,
    waker: Waker,
}

struct Ring(Arc<Notify>);

impl Wake for Ring {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

impl Stranger {
    fn new() -> Stranger {
        let bell = Arc::new(Notify::new());
        Stranger { waker: Waker::from(std::sync::Arc::new(Ring(bell.clone()))), bell }
    }

    fn poll<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&self.waker))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = self.poll(future.as_mut()) {
                return output;
            }
            self.bell.wait();
        }
    }
}

// Tasks.

#[test]
fn wake_against_poll() {
    explore("wake against poll", || {
        let flag = Flag::new();
        Loop::new().block_on(lend([raise_and_wake(&flag)], until(&flag, 1)));
    });
}

#[test]
fn wake_hands_over() {
    explore("wake hands over what was written", || {
        let (flag, mut polls) = (Flag::new(), 0);
        let seen = flag.clone();
        Loop::new().block_on(lend([raise_and_wake(&flag)], move |_| {
            polls += 1;
            if polls == 1 {
                return Poll::Pending;
            }
            assert_eq!(seen.get(), 1);
            Poll::Ready(())
        }));
    });
}

#[test]
fn wake_against_pop() {
    explore("wake against pop", || {
        let (flag, mut polls) = (Flag::new(), 0);
        let mut up = until(&flag, 1);
        let l = Loop::new();
        let task = l.spawn(lend([raise_and_wake(&flag)], move |cx| {
            polls += 1;
            if polls == 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            up(cx)
        }));
        l.run();
        assert!(task.is_finished());
    });
}

#[test]
fn wake_against_completion() {
    explore("wake against completion", || {
        let mut polls = 0;
        let l = Loop::new();
        let elsewhere = |waker: Waker| {
            waker.wake_by_ref();
            waker.wake();
        };
        let task = l.spawn(lend([elsewhere], move |cx| {
            polls += 1;
            if polls == 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        }));
        l.run();
        assert!(task.is_finished());
        drop(task);
        l.run_until_stalled();
    });
}

#[test]
fn wake_against_cancel() {
    explore("wake against cancel", || {
        let l = Loop::new();
        let task = l.spawn(lend([|waker: Waker| waker.wake()], never));
        l.block_on(async {
            yield_now().await;
            task.cancel();
            assert!(task.await.is_err());
        });
        l.run_until_stalled();
    });
}

#[test]
fn wake_by_ref_against_loop_drop() {
    explore("wake by reference against loop drop", || {
        let l = Loop::new();
        let _ = l.spawn(lend([|waker: Waker| waker.wake_by_ref()], never));
        l.run_until_stalled();
    });
}

#[test]
fn wake_by_value_against_loop_drop() {
    explore("wake by value against loop drop", || {
        let l = Loop::new();
        let _ = l.spawn(lend([|waker: Waker| waker.wake()], never));
        l.run_until_stalled();
    });
}

#[test]
fn two_wakes_against_loop_drop() {
    explore("two wakes against loop drop", || {
        let l = Loop::new();
        let _ = l.spawn(lend([(), ()].map(|()| |waker: Waker| waker.wake()), never));
        l.run_until_stalled();
    });
}

#[test]
fn two_wakers() {
    explore("two wakers", || {
        let flag = Flag::new();
        let elsewhere = [&flag, &flag].map(raise_and_wake);
        Loop::new().block_on(lend(elsewhere, until(&flag, 2)));
    });
}

#[test]
fn wakes_of_two_tasks() {
    explore("wakes of two tasks", || {
        let l = Loop::new();
        for flag in [Flag::new(), Flag::new()] {
            let _ = l.spawn(lend([raise_and_wake(&flag)], until(&flag, 1)));
        }
        l.run();
    });
}

#[test]
fn park_against_wake() {
    explore("park against wake, twice", || {
        let flag = Flag::new();
        let raised = flag.clone();
        let elsewhere = move |waker: Waker| {
            raised.raise();
            waker.wake_by_ref();
            raised.raise();
            waker.wake();
        };
        Loop::new().block_on(lend([elsewhere], until(&flag, 2)));
    });
}

#[test]
fn last_clone_dropped_elsewhere() {
    explore("last clone dropped elsewhere", || {
        let l = Loop::new();
        let task = l.spawn(lend([|waker: Waker| drop(waker)], never));
        assert!(l.step());
        task.cancel();
        drop(task);
        l.run_until_stalled();
    });
}

#[test]
fn last_drop_against_stall() {
    explore("last clone dropped elsewhere against the proof of a stall", || {
        let stalled = Loop::new().try_block_on(lend([|waker: Waker| drop(waker)], never));
        assert!(stalled.is_err());
    });
}

#[test]
fn clone_and_drop_against_home_drop() {
    explore("clone and drop elsewhere against drop at home", || {
        let l = Loop::new();
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let elsewhere = |waker: Waker| {
            let clone = waker.clone();
            drop(waker);
            drop(clone);
        };
        let task = l.spawn(lend([elsewhere], move |cx| {
            *keep.borrow_mut() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        assert!(l.step());
        task.cancel();
        drop(task);
        l.block_on(async move {
            let clone = kept.borrow().clone();
            drop(kept.take());
            drop(clone);
        });
        l.run_until_stalled();
    });
}

#[test]
fn waker_outlives_its_loop() {
    explore("wake, clone and drop against loop drop and after", || {
        let l = Loop::new();
        let elsewhere = |waker: Waker| {
            waker.wake_by_ref();
            let clone = waker.clone();
            drop(waker);
            clone.wake();
        };
        let _ = l.spawn(lend([elsewhere], never));
        l.run_until_stalled();
    });
}

#[test]
fn two_wakers_of_an_orphan() {
    explore("two wakers of a loop that is gone", || {
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        boucle::block_on(poll_fn(move |cx| {
            *keep.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        }));
        let waker = kept.take().expect("it was polled");
        for waker in [waker.clone(), waker] {
            thread::spawn(move || waker.wake());
        }
    });
}

#[test]
fn wake_between_runs() {
    explore("wakes elsewhere and on the own thread between runs", || {
        let flag = Flag::new();
        let l = Loop::new();
        let kept = Rc::new(RefCell::new(None));
        let (keep, mut up) = (kept.clone(), until(&flag, 2));
        let task = l.spawn(lend([raise_and_wake(&flag)], move |cx| {
            *keep.borrow_mut() = Some(cx.waker().clone());
            up(cx)
        }));
        assert!(l.step());
        flag.raise();
        // Nobody has entered the loop: this thread is elsewhere, too.
        let _ = kept.take().map(Waker::wake);
        l.block_on(task).expect("it ends");
        drop(kept.take());
    });
}

#[test]
fn wake_against_idle() {
    explore("wake against a host's loop going idle", || {
        let flag = Flag::new();
        let l = Loop::new();
        let bell = Arc::new(Notify::new());
        let ring = bell.clone();
        l.on_wake(move || ring.notify());
        let task = l.spawn(lend([raise_and_wake(&flag)], until(&flag, 1)));
        loop {
            l.run_until_stalled();
            if task.is_finished() {
                break;
            }
            bell.wait();
        }
    });
}

#[test]
fn two_loops() {
    explore("two loops wake each other", || {
        let (ping, pong) = (Flag::new(), Flag::new());
        let lent = Arc::new(Mutex::new(None));
        let (pinged, pongs, lends) = (ping.clone(), pong.clone(), lent.clone());
        let elsewhere = move |waker: Waker| {
            let (mut up, mut waker) = (until(&pinged, 1), Some(waker));
            Loop::new().block_on(poll_fn(move |cx| {
                if let Some(waker) = waker.take() {
                    *lends.lock().expect("whole") = Some(cx.waker().clone());
                    pongs.raise();
                    waker.wake_by_ref();
                    drop(waker);
                }
                up(cx)
            }));
        };
        Loop::new().block_on(async {
            lend([elsewhere], until(&pong, 1)).await;
            let waker = lent.lock().expect("whole").take();
            ping.raise();
            let waker: Waker = waker.expect("it was lent");
            waker.wake_by_ref();
            // At home, but not in the loop that the waker belongs to.
            drop(waker);
        });
    });
}

// Children of a gather. An only child would be polled with its parent's waker.

#[test]
fn child_wake_against_poll() {
    explore("wake of a gather's child against poll", || {
        let flag = Flag::new();
        let child = lend([raise_and_wake(&flag)], until(&flag, 1));
        Loop::new().block_on(gather((child, yield_now())));
    });
}

#[test]
fn two_children() {
    explore_wide("wakes of two children", || {
        let children =
            [Flag::new(), Flag::new()].map(|flag| lend([raise_and_wake(&flag)], until(&flag, 1)));
        Loop::new().block_on(gather(children));
    });
}

#[test]
fn two_wakers_of_one_child() {
    explore_wide("two wakers of one child", || {
        let flag = Flag::new();
        let elsewhere = [&flag, &flag].map(raise_and_wake);
        Loop::new().block_on(gather((lend(elsewhere, until(&flag, 2)), ready(()))));
    });
}

#[test]
fn child_wake_against_gather_drop() {
    explore("wake of a child against drop of the gather", || {
        Loop::new().block_on(async {
            let child = lend([|waker: Waker| waker.wake()], never);
            let mut all = Box::pin(gather((child, ready(()))));
            poll_once(all.as_mut()).await;
            drop(all);
            yield_now().await;
        });
    });
}

#[test]
fn child_wake_against_loop_drop() {
    explore("wake of a child against loop drop", || {
        let l = Loop::new();
        let _ = l.spawn(gather((lend([|waker: Waker| waker.wake()], never), ready(()))));
        l.run_until_stalled();
    });
}

#[test]
fn child_wake_without_loop() {
    explore("wake of a child under another executor", || {
        let flag = Flag::new();
        let child = lend([raise_and_wake(&flag)], until(&flag, 1));
        Stranger::new().block_on(gather((child, yield_now())));
    });
}

#[test]
fn two_children_without_loop() {
    explore_wide("wakes of two children under another executor", || {
        let children =
            [Flag::new(), Flag::new()].map(|flag| lend([raise_and_wake(&flag)], until(&flag, 1)));
        Stranger::new().block_on(gather(children));
    });
}

#[test]
fn gather_drop_without_loop() {
    explore("wake of a child against drop of the gather under another executor", || {
        let child = lend([|waker: Waker| waker.wake()], never);
        let mut all = Box::pin(gather((child, ready(()))));
        assert!(Stranger::new().poll(all.as_mut()).is_pending());
    });
}

#[test]
fn child_wake_against_move() {
    explore("wake of a child against the move of its gather into a loop", || {
        let child = lend([|waker: Waker| waker.wake()], never);
        let mut all = Box::pin(gather((child, yield_now())));
        assert!(Stranger::new().poll(all.as_mut()).is_pending());
        Loop::new().block_on(async {
            poll_once(all.as_mut()).await;
            yield_now().await;
            drop(all);
        });
    });
}

#[test]
fn child_of_a_child() {
    explore("wake of a child of a child against poll", || {
        let flag = Flag::new();
        let child = lend([raise_and_wake(&flag)], until(&flag, 1));
        Loop::new().block_on(gather((gather((child, ready(()))), yield_now())));
    });
}

#[test]
fn child_of_a_child_without_loop() {
    explore("wake of a child of a child under another executor", || {
        let flag = Flag::new();
        let child = lend([raise_and_wake(&flag)], until(&flag, 1));
        Stranger::new().block_on(gather((gather((child, ready(()))), ready(()))));
    });
}

/// A child whose waker is borrowed by two threads in its first poll, and cloned by both at once; the
/// second of them may be home. Both clones are used later.
fn borrowed_by_two(is_home_one: bool) -> impl Future<Output = ()> {
    let (flag, mut polls) = (Flag::new(), 0);
    let kept = Arc::new(Mutex::new(Vec::new()));
    poll_fn(move |cx| {
        polls += 1;
        if polls > 1 {
            // The waker of this poll counts: it may not be that of the one before.
            kept.lock().expect("whole").push(cx.waker().clone());
            return if flag.get() == 1 { Poll::Ready(()) } else { Poll::Pending };
        }
        let theirs = clone_elsewhere(cx.waker());
        let mine = if is_home_one {
            cx.waker().clone()
        } else {
            clone_elsewhere(cx.waker()).join().expect("it is cloned")
        };
        let theirs = theirs.join().expect("it is cloned");
        assert!(mine.will_wake(&theirs));
        kept.lock().expect("whole").extend([mine, theirs]);
        let (flag, kept) = (flag.clone(), kept.clone());
        thread::spawn(move || {
            flag.raise();
            let wakers = std::mem::take(&mut *kept.lock().expect("whole"));
            wakers.into_iter().for_each(Waker::wake);
        });
        Poll::Pending
    })
}

/// As if the thread were scoped: it is joined before the poll ends whose waker this is.
#[allow(unsafe_code)]
fn clone_elsewhere(waker: &Waker) -> thread::JoinHandle<Waker> {
    // SAFETY: the caller joins the thread while it has the waker.
    let waker: &'static Waker = unsafe { &*std::ptr::from_ref(waker) };
    thread::spawn(|| waker.clone())
}

#[test]
fn clones_of_a_borrowed_waker() {
    explore("clone of a waker that a thread borrows against clone of the same at home", || {
        Loop::new().block_on(gather((borrowed_by_two(true), yield_now())));
    });
}

#[test]
fn clones_of_a_waker_that_two_threads_borrow() {
    explore_wide("clones of a waker that two threads borrow", || {
        Loop::new().block_on(gather((borrowed_by_two(false), yield_now())));
    });
}

#[test]
fn clones_of_a_borrowed_waker_without_loop() {
    explore_wide("clones of a waker that two threads borrow under another executor", || {
        Stranger::new().block_on(gather((borrowed_by_two(false), ready(()))));
    });
}

// The proof of a stall: one model for each way in which a task could still be woken.

/// Waits for nothing, having lent its waker to a thread that drops it.
fn lost() -> impl Future<Output = ()> {
    lend([|waker: Waker| drop(waker)], never)
}

#[test]
fn clone_elsewhere_against_stall() {
    explore("clone and wake elsewhere against the proof of a stall", || {
        let flag = Flag::new();
        let raised = flag.clone();
        let elsewhere = move |waker: Waker| {
            let clone = waker.clone();
            drop(waker);
            raised.raise();
            clone.wake();
        };
        let ended = Loop::new().try_block_on(lend([elsewhere], until(&flag, 1)));
        assert!(ended.is_ok());
    });
}

#[test]
fn wakes_of_two_tasks_against_stall() {
    explore("wake of one task, drop of another's waker, against the proof of a stall", || {
        let (l, flag) = (Loop::new(), Flag::new());
        let _lost = l.spawn(lost());
        let ended = l.try_block_on(lend([raise_and_wake(&flag)], until(&flag, 1)));
        assert!(ended.is_ok());
    });
}

#[test]
fn child_drop_against_stall() {
    explore("last waker of a gather's child against the proof of a stall", || {
        assert!(Loop::new().try_block_on(gather((lost(), yield_now()))).is_err());
    });
}

#[test]
fn scoped_drop_against_stall() {
    explore("last waker of a scope's child against the proof of a stall", || {
        let stalled = Loop::new().try_block_on(scope(async |s| drop(s.spawn(lost()))));
        assert!(stalled.is_err());
    });
}

#[test]
fn remote_spawn_against_stall() {
    explore("remote spawn and drop against the proof of a stall", || {
        let (l, flag) = (Loop::new(), Flag::new());
        let (raised, remote) = (flag.clone(), l.remote());
        thread::spawn(move || {
            drop(remote.spawn(move || async move {
                yield_now().await;
                raised.raise();
            }));
        });
        serve(&l);
        assert_eq!(flag.get(), 1);
    });
}

#[test]
fn wake_in_flight_is_no_death() {
    explore("wake elsewhere against the report of a dead task", || {
        let l = Loop::builder().on_dead(Reaction::Fail).build();
        let flag = Flag::new();
        let task = l.spawn(lend([raise_and_wake(&flag)], until(&flag, 1)));
        assert!(l.try_block_on(task).is_ok());
    });
}

#[test]
fn last_drop_elsewhere_is_death() {
    explore_wide("last waker dropped elsewhere against the report of a dead task", || {
        let told = std::rc::Rc::new(std::cell::Cell::new(0));
        let l = Loop::builder().on_dead(Reaction::Tell).on_diagnostic({
            let told = told.clone();
            move |_| told.set(told.get() + 1)
        });
        let (l, flag) = (l.build(), Flag::new());
        let _lost = l.spawn(lost());
        l.block_on(lend([raise_and_wake(&flag)], until(&flag, 1)));
        // All letters are read before it is stuck, and death is told before that.
        let remote = l.remote();
        thread::spawn(move || drop(remote));
        serve(&l);
        assert!(told.get() <= 1);
    });
}

// Children of a scope.

#[test]
fn scoped_wake_against_poll() {
    explore("wake of a scope's child against poll", || {
        let flag = Flag::new();
        let child = lend([raise_and_wake(&flag)], until(&flag, 1));
        Loop::new().block_on(scope(async |s| {
            s.spawn(child);
            yield_now().await;
        }));
    });
}

#[test]
fn scoped_wake_against_scope_drop() {
    explore("wake of a child against drop of the scope", || {
        Loop::new().block_on(async {
            let child = lend([|waker: Waker| waker.wake()], never);
            let mut all = Box::pin(scope(async |s| drop(s.spawn(child))));
            poll_once(all.as_mut()).await;
            poll_once(all.as_mut()).await;
            drop(all);
            yield_now().await;
        });
    });
}

#[test]
fn scoped_wake_against_loop_drop() {
    explore("wake of a scope's child against loop drop", || {
        let l = Loop::new();
        drop(l.spawn(scope(async |s| drop(s.spawn(lend([|waker: Waker| waker.wake()], never))))));
        l.run_until_stalled();
    });
}

#[test]
fn body_wake_without_loop() {
    explore("wake of a scope's body under another executor", || {
        let flag = Flag::new();
        let body = lend([raise_and_wake(&flag)], until(&flag, 1));
        Stranger::new().block_on(scope(async |_s| body.await));
    });
}

#[test]
fn scoped_wake_without_loop() {
    explore("wake of a scope's child under another executor", || {
        let flag = Flag::new();
        let child = lend([raise_and_wake(&flag)], until(&flag, 1));
        Stranger::new().block_on(scope(async |s| drop(s.spawn(child))));
    });
}

#[test]
fn two_wakers_of_one_scoped_child_without_loop() {
    explore_wide("two wakers of one scope's child under another executor", || {
        let flag = Flag::new();
        let elsewhere = [&flag, &flag].map(raise_and_wake);
        let child = lend(elsewhere, until(&flag, 2));
        Stranger::new().block_on(scope(async |s| drop(s.spawn(child))));
    });
}

#[test]
fn scope_drop_without_loop() {
    explore("wake of a child against drop of its scope under another executor", || {
        let child = lend([|waker: Waker| waker.wake()], never);
        let mut all = Box::pin(scope(async |s| drop(s.spawn(child))));
        let stranger = Stranger::new();
        assert!(stranger.poll(all.as_mut()).is_pending());
        assert!(stranger.poll(all.as_mut()).is_pending());
    });
}

// Timers.

fn armed(l: &Loop) -> Sleep {
    let kept = Rc::new(RefCell::new(None));
    let keep = kept.clone();
    let _ = l.spawn(async move {
        let mut hour = sleep(Duration::from_secs(3600));
        poll_once(pin!(&mut hour)).await;
        *keep.borrow_mut() = Some(hour);
    });
    l.run_until_stalled();
    kept.take().expect("the task ran")
}

#[test]
fn sleep_drop_against_loop_drop() {
    explore("sleep dropped elsewhere against loop drop", || {
        let l = Loop::new();
        let hour = armed(&l);
        thread::spawn(move || drop(hour));
    });
}

#[test]
fn two_sleep_drops_against_loop_drop() {
    explore("two sleeps dropped elsewhere against loop drop", || {
        let l = Loop::new();
        for hour in [armed(&l), armed(&l)] {
            thread::spawn(move || drop(hour));
        }
    });
}

#[test]
fn sleep_drop_against_run() {
    explore("sleep dropped elsewhere against a run", || {
        let flag = Flag::new();
        let l = Loop::new();
        let (hour, raised) = (armed(&l), flag.clone());
        let elsewhere = move |waker| {
            drop(hour);
            raise_and_wake(&raised)(waker);
        };
        l.block_on(lend([elsewhere], until(&flag, 1)));
        // The letter came first, so the timer is gone.
        assert_eq!(l.next_deadline(), None);
    });
}

#[test]
fn sleep_reset_against_loop_drop() {
    explore("sleep reset and dropped elsewhere against loop drop", || {
        let l = Loop::new();
        let mut hour = armed(&l);
        let later = hour.deadline() + Duration::from_secs(1);
        thread::spawn(move || {
            hour.reset(later);
            drop(hour);
        });
    });
}

#[test]
fn sleep_reset_against_run() {
    explore("sleep reset elsewhere against a run", || {
        let flag = Flag::new();
        let l = Loop::new();
        let (mut hour, raised) = (armed(&l), flag.clone());
        let elsewhere = move |waker| {
            let later = hour.deadline() + Duration::from_secs(1);
            hour.reset(later);
            raise_and_wake(&raised)(waker);
            assert_eq!(hour.deadline(), later);
        };
        l.block_on(lend([elsewhere], until(&flag, 1)));
        // The letter came first, so the timer is gone until somebody polls the sleep.
        assert_eq!(l.next_deadline(), None);
    });
}

#[test]
fn sleep_moves_to_another_loop() {
    explore("sleep polled in another loop against a run", || {
        let flag = Flag::new();
        let l = Loop::new();
        let (mut hour, raised) = (armed(&l), flag.clone());
        let elsewhere = move |waker| {
            let other = Loop::new();
            other.block_on(poll_once(pin!(&mut hour)));
            assert!(other.next_deadline().is_some());
            drop(other);
            drop(hour);
            raise_and_wake(&raised)(waker);
        };
        l.block_on(lend([elsewhere], until(&flag, 1)));
        assert_eq!(l.next_deadline(), None);
    });
}

// Remotes.

/// An output that notices when it is touched in a race.
struct Dish(UnsafeCell<()>);

impl Dish {
    fn new() -> Dish {
        Dish(UnsafeCell::new(()))
    }
}

impl Drop for Dish {
    fn drop(&mut self) {
        self.0.with_mut(|_| ());
    }
}

/// Runs a loop until nobody can wake it or spawn on it any more.
fn serve(l: &Loop) {
    assert!(l.try_block_on(forever()).is_err());
}

#[test]
fn remote_spawn_against_park() {
    explore("remote spawn against park", || {
        let (flag, l) = (Flag::new(), Loop::new());
        let (raised, remote) = (flag.clone(), l.remote());
        thread::spawn(move || drop(remote.spawn(move || async move { raised.raise() })));
        serve(&l);
        assert_eq!(flag.get(), 1);
    });
}

#[test]
fn last_remote_against_stall() {
    explore("last remote dropped elsewhere against the proof of a stall", || {
        let l = Loop::new();
        let remote = l.remote();
        thread::spawn(move || drop(remote));
        serve(&l);
    });
}

#[test]
fn remote_answer_against_other_executor() {
    explore("a remote task's end against the poll of its handle", || {
        let l = Loop::new();
        let remote = l.remote();
        thread::spawn(move || {
            let answer = remote.spawn(|| async { Dish::new() });
            drop(remote);
            assert!(Stranger::new().block_on(answer).is_ok());
        });
        serve(&l);
    });
}

#[test]
fn remote_spawn_against_loop_drop() {
    explore("remote spawn against loop drop", || {
        let l = Loop::new();
        let remote = l.remote();
        thread::spawn(move || {
            let (dish, other) = (Dish::new(), Dish::new());
            let answer = remote.spawn(move || async move {
                drop(other);
                dish
            });
            if let Err(error) = Stranger::new().block_on(answer) {
                assert!(error.is_loop_dropped());
                let late = Stranger::new().block_on(remote.spawn(|| async {}));
                assert!(late.is_err_and(|error| error.is_loop_dropped()));
            }
        });
        l.run_until_stalled();
    });
}

#[test]
fn two_remotes() {
    explore_wide("two remotes spawn", || {
        let (flag, l) = (Flag::new(), Loop::new());
        for remote in [l.remote(), l.remote()] {
            let raised = flag.clone();
            thread::spawn(move || drop(remote.spawn(move || async move { raised.raise() })));
        }
        serve(&l);
        assert_eq!(flag.get(), 2);
    });
}

#[test]
fn remote_spawn_against_idle() {
    explore("remote spawn against a host's loop going idle", || {
        let (flag, l) = (Flag::new(), Loop::new());
        let bell = Arc::new(Notify::new());
        let ring = bell.clone();
        l.on_wake(move || ring.notify());
        let (raised, remote) = (flag.clone(), l.remote());
        thread::spawn(move || drop(remote.spawn(move || async move { raised.raise() })));
        loop {
            l.run_until_stalled();
            if flag.get() == 1 {
                break;
            }
            bell.wait();
        }
    });
}

#[test]
fn remote_answer_against_held_clock() {
    explore("a remote answer against a virtual clock that stands still for it", || {
        let there = Loop::new();
        let answer = there.remote().spawn(|| async {});
        thread::spawn(move || {
            let here = Loop::builder().virtual_time().build();
            let start = here.now();
            here.block_on(async {
                let (mut answer, mut hour) = (answer, sleep(Duration::from_secs(3600)));
                poll_fn(|cx| {
                    assert!(Pin::new(&mut hour).poll(cx).is_pending());
                    Pin::new(&mut answer).poll(cx).map(|_| ())
                })
                .await;
            });
            assert_eq!(here.now(), start);
        });
        there.run();
    });
}

#[test]
fn t25_remote_handle_drop_against_completion() {
    explore("drop of a remote handle against completion", || {
        let l = Loop::new();
        let answer = l.remote().spawn(|| async { Dish::new() });
        thread::spawn(move || drop(answer));
        l.run();
    });
}

#[test]
fn t25_remote_handle_drop_against_taking() {
    explore("a remote output taken, or dropped, against loop drop", || {
        let l = Loop::new();
        let mut answer = l.remote().spawn(|| async { Dish::new() });
        thread::spawn(move || {
            let _ = Stranger::new().poll(Pin::new(&mut answer));
            drop(answer);
        });
        l.run_until_stalled();
    });
}

#[test]
fn t26_remote_tasks_hold_each_others_handles() {
    explore("two remote tasks that hold each other's handles against loop drop", || {
        let l = Loop::new();
        let remote = l.remote();
        let slots = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..2 {
            let mine = slots.clone();
            let answer = remote.spawn(move || async move {
                let other = mine.lock().expect("whole").pop();
                drop(mine);
                let other: boucle::RemoteHandle<()> = other.expect("there are two");
                let _ = other.await;
            });
            slots.lock().expect("whole").push(answer);
        }
        drop(slots);
        thread::spawn(move || drop(remote));
        l.run_until_stalled();
    });
}

#[test]
fn t29_cancel_elsewhere_against_completion() {
    explore("cancel from another thread against completion", || {
        let l = Loop::new();
        let answer = l.remote().spawn(|| async {
            yield_now().await;
            Dish::new()
        });
        thread::spawn(move || {
            let cancelled = answer.cancel();
            assert_eq!(Stranger::new().block_on(answer).is_err(), cancelled);
        });
        l.run();
    });
}

#[test]
fn t29_cancel_elsewhere_against_park() {
    explore("cancel from another thread against park", || {
        let l = Loop::new();
        let answer = l.remote().spawn(|| poll_fn(never));
        thread::spawn(move || {
            assert!(answer.cancel());
            assert!(Stranger::new().block_on(answer).is_err());
        });
        l.run();
    });
}

#[test]
fn t29_cancel_elsewhere_against_loop_drop() {
    explore("cancel from another thread against loop drop", || {
        let l = Loop::new();
        let answer = l.remote().spawn(|| poll_fn(never));
        thread::spawn(move || {
            answer.cancel();
            assert!(Stranger::new().block_on(answer).is_err());
        });
        l.run_until_stalled();
    });
}

#[test]
fn who_runs_against_the_next_poll() {
    explore("asking who runs against the next poll", || {
        let running = Running::new();
        let l = Loop::builder().running(&running).build();
        // Two lines, so that these are two places.
        let first = l.spawn(yield_now());
        let second = l.spawn(yield_now());
        let tasks = [first, second];
        let known = [0, 1].map(|at| (tasks[at].id(), tasks[at].spawned_at()));
        let asks = thread::spawn(move || {
            // The number and the place of one task, never of two.
            if let Some((id, place)) = running.task() {
                let task = known.iter().find(|task| task.0 == id).expect("a task of the loop");
                assert!(std::ptr::eq(task.1, place));
            }
        });
        l.run_until_stalled();
        asks.join().unwrap();
    });
}
