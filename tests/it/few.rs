//! Few children of a gather, who are lent one waker in turn until one of them keeps it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
};

use boucle::{Loop, Status, block_on, gather, race, wait, yield_now};

use crate::{
    locks::SplitMix,
    support::{Act as Deed, foreign_waker, on_drop, poll_with},
    trace::{Count, panic_of, simulated},
};

// Against a model.

/// What a child does in one poll, as the dice say.
#[derive(Clone, Copy)]
struct Act {
    keeps: bool,
    wakes: bool,
    /// It wakes itself by the waker that it has kept.
    wakes_kept: bool,
    other: Option<usize>,
    ends: bool,
}

/// The same for the child's nth poll whoever asks.
fn act(seed: u64, children: usize, child: usize, polls: usize) -> Act {
    let mut dice = SplitMix(seed ^ (child as u64) << 32 ^ polls as u64);
    let roll = dice.below(16);
    Act {
        keeps: matches!(roll, 6..=8 | 13),
        wakes: matches!(roll, 1..=5 | 7 | 10 | 12),
        wakes_kept: roll == 8,
        other: matches!(roll, 9 | 10).then(|| dice.below(children)),
        ends: matches!(roll, 11..=13),
    }
}

/// Children that take part in a round are those that were woken before it, in that order.
///
/// Without a loop, the wake of a waker that somebody has kept is only seen when the next round begins:
/// a child that was woken already, and is polled after that, is polled once more.
struct Model {
    seed: u64,
    /// The wakes that are seen later, if that is so.
    mail: Option<VecDeque<usize>>,
    is_kept: bool,
    queue: VecDeque<usize>,
    queued: Vec<bool>,
    alive: Vec<bool>,
    kept: Vec<bool>,
    polls: Vec<usize>,
}

impl Model {
    fn wake_kept(&mut self, child: usize) {
        match &mut self.mail {
            None => self.wake(child),
            Some(mail) if mail.contains(&child) => {}
            Some(mail) => mail.push_back(child),
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.mail.as_ref().is_none_or(VecDeque::is_empty)
    }

    fn wake(&mut self, child: usize) {
        if self.alive[child] && !self.queued[child] {
            self.queued[child] = true;
            self.queue.push_back(child);
        }
    }

    fn round(&mut self) -> Vec<usize> {
        let mut polled = Vec::new();
        for child in self.mail.as_mut().map(std::mem::take).into_iter().flatten() {
            self.wake(child);
        }
        for _ in 0..self.queue.len() {
            let child = self.queue.pop_front().expect("it was counted");
            self.queued[child] = false;
            if !self.alive[child] {
                continue;
            }
            polled.push(child);
            let act = act(self.seed, self.alive.len(), child, self.polls[child]);
            self.polls[child] += 1;
            self.kept[child] |= act.keeps;
            if act.wakes && self.is_kept {
                self.wake_kept(child);
            } else if act.wakes {
                self.wake(child);
            }
            if act.wakes_kept {
                self.wake_kept(child);
            }
            if let Some(other) = act.other.filter(|&other| self.kept[other]) {
                self.wake_kept(other);
            }
            self.is_kept |= act.keeps;
            self.alive[child] &= !act.ends;
        }
        polled
    }
}

/// Real children that do the same.
struct Stage {
    seed: u64,
    polled: RefCell<Vec<usize>>,
    polls: RefCell<Vec<usize>>,
    kept: RefCell<Vec<Option<Waker>>>,
}

impl Stage {
    fn poll(&self, child: usize, cx: &Context<'_>) -> Poll<()> {
        self.polled.borrow_mut().push(child);
        let polls = self.polls.borrow()[child];
        self.polls.borrow_mut()[child] += 1;
        let act = act(self.seed, self.kept.borrow().len(), child, polls);
        if act.keeps {
            let old = self.kept.borrow_mut()[child].replace(cx.waker().clone());
            drop(old);
        }
        if act.wakes {
            cx.waker().wake_by_ref();
        }
        if act.wakes_kept {
            self.wake(child);
        }
        if let Some(other) = act.other {
            self.wake(other);
        }
        if act.ends { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wake(&self, child: usize) {
        let waker = self.kept.borrow()[child].clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Plays one game; `cx` is that of who polls the gather, perhaps in a loop.
fn play(seed: u64, cx: &mut Context<'_>, in_loop: bool) {
    let mut dice = SplitMix(seed);
    let children = if dice.below(2) == 0 { 2 + dice.below(4) } else { 2 + dice.below(63) };
    let stage = Rc::new(Stage {
        seed,
        polled: RefCell::default(),
        polls: RefCell::new(vec![0; children]),
        kept: RefCell::new((0..children).map(|_| None).collect()),
    });
    let mut model = Model {
        seed,
        mail: (!in_loop).then(VecDeque::new),
        is_kept: false,
        queue: (0..children).collect(),
        queued: vec![true; children],
        alive: vec![true; children],
        kept: vec![false; children],
        polls: vec![0; children],
    };
    let futures = (0..children).map(|child| {
        let stage = stage.clone();
        poll_fn(move |cx| stage.poll(child, cx))
    });
    let mut gathered = Box::pin(gather(futures.collect::<Vec<_>>()));
    for round in 0..40 {
        let ended = gathered.as_mut().poll(cx).is_ready();
        assert_eq!(stage.polled.take(), model.round(), "seed {seed}, round {round}");
        assert_eq!(ended, model.alive.iter().all(|alive| !alive), "seed {seed}, round {round}");
        if ended {
            return;
        }
        if model.is_idle() {
            // Nobody is polled for nothing.
            assert!(gathered.as_mut().poll(cx).is_pending());
            assert_eq!(stage.polled.take(), Vec::<usize>::new(), "seed {seed}, round {round}");
        }
        for _ in 0..dice.below(3) {
            let child = dice.below(children);
            let waker = stage.kept.borrow()[child].clone();
            if let Some(waker) = waker {
                waker.wake_by_ref();
                model.wake_kept(child);
            }
        }
    }
}

#[test]
fn children_are_polled_when_they_were_woken_in_that_order_in_a_loop() {
    let l = simulated();
    for seed in 0..3000 {
        l.block_on(poll_fn(|cx| {
            play(seed, cx, true);
            Poll::Ready(())
        }));
    }
}

#[test]
fn children_are_polled_when_they_were_woken_in_that_order_elsewhere() {
    let (_, waker) = Count::waker();
    for seed in 0..3000 {
        play(seed, &mut Context::from_waker(&waker), false);
    }
}

// A child.

/// A child that lends its waker at its first poll, and ends at its second.
fn lends(mut f: impl FnMut(&Waker)) -> impl Future<Output = ()> {
    let mut polls = 0;
    poll_fn(move |cx| {
        polls += 1;
        if polls == 2 {
            return Poll::Ready(());
        }
        f(cx.waker());
        Poll::Pending
    })
}

/// Runs it in a loop, and under an executor that polls whenever it was woken.
fn everywhere(make: impl Fn() -> Pin<Box<dyn Future<Output = ()>>>) {
    Loop::new().block_on(make());
    let (count, waker) = Count::waker();
    let (mut future, mut woken) = (make(), 0);
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        // A thread of its own wakes it.
        while count.get() == woken {
            thread::yield_now();
        }
        woken = count.get();
    }
}

#[test]
fn a_thread_may_wake_a_child_by_the_borrowed_waker() {
    everywhere(|| {
        let child = lends(|waker| {
            thread::scope(|s| {
                s.spawn(|| waker.wake_by_ref());
                s.spawn(|| waker.wake_by_ref());
            });
        });
        Box::pin(async {
            gather((child, yield_now())).await;
        })
    });
}

#[test]
fn threads_may_clone_the_borrowed_waker_all_at_once() {
    everywhere(|| {
        let child = lends(|waker| {
            let cloned = |waker: &Waker| waker.clone();
            let (theirs, mine) = thread::scope(|s| {
                let theirs = [(); 3].map(|()| s.spawn(|| cloned(waker)));
                let mine = cloned(waker);
                (theirs.map(|thread| thread.join().unwrap()), mine)
            });
            // Real threads: the child is woken from elsewhere, perhaps when its poll is over.
            for waker in theirs {
                assert!(waker.will_wake(&mine));
                drop(thread::spawn(move || waker.wake()));
            }
        });
        Box::pin(async {
            gather([child].map(|child| gather((child, yield_now())))).await;
        })
    });
}

#[test]
fn a_waker_that_only_a_thread_has_cloned_wakes_the_child() {
    everywhere(|| {
        let child = lends(|waker| {
            let theirs = thread::scope(|s| s.spawn(|| waker.clone()).join().unwrap());
            drop(thread::spawn(move || theirs.wake()));
        });
        Box::pin(async {
            gather((yield_now(), child, yield_now())).await;
        })
    });
}

#[test]
fn a_waker_that_is_kept_is_that_of_later_polls() {
    let (l, same) = (simulated(), Cell::new(0));
    let child = || {
        let mut kept: Option<Waker> = None;
        let same = &same;
        poll_fn(move |cx| match &kept {
            None => {
                kept = Some(cx.waker().clone());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(kept) => {
                same.set(same.get() + u32::from(kept.will_wake(cx.waker())));
                Poll::Ready(())
            }
        })
    };
    l.block_on(gather([child(), child(), child()]));
    assert_eq!(same.get(), 3);
}

#[test]
fn a_child_that_keeps_its_waker_and_panics_leaves_nothing_behind() {
    let (l, kept) = (simulated(), RefCell::new(None));
    let keeps = poll_fn(|cx| -> Poll<()> {
        *kept.borrow_mut() = Some(cx.waker().clone());
        panic!("burnt")
    });
    let mut gathered = Box::pin(gather((pending::<()>(), keeps, yield_now())));
    assert_eq!(panic_of(|| l.block_on(gathered.as_mut())), "burnt");
    let waker: Waker = kept.take().expect("it was polled");
    waker.wake_by_ref();
    l.block_on(async { waker.wake_by_ref() });
    drop(gathered);
    drop(l);
    waker.wake();
}

#[test]
fn a_winner_that_has_kept_its_waker_wakes_nobody() {
    let (l, kept) = (simulated(), Rc::new(RefCell::new(None)));
    let keep = kept.clone();
    let task = l.spawn(async move {
        let wins = poll_fn(|cx| {
            *keep.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        });
        let mut racing = pin!(race((pending(), wins)));
        racing.as_mut().await;
        // What has ended is still there.
        pending::<()>().await;
    });
    l.run_until_stalled();
    kept.take().expect("it has won").wake();
    assert!(!l.step());
    assert_eq!(task.status(), Status::Waiting);
}

#[test]
fn a_child_that_was_woken_and_keeps_its_waker_as_it_ends_is_not_polled_again() {
    let (l, kept) = (simulated(), RefCell::new(None));
    let ends = poll_fn(|cx| {
        *kept.borrow_mut() = Some(cx.waker().clone());
        cx.waker().wake_by_ref();
        Poll::Ready(())
    });
    let mut turns = 0;
    let late = poll_fn(|cx| {
        turns += 1;
        if let Some(waker) = &*kept.borrow() {
            waker.wake_by_ref();
        }
        cx.waker().wake_by_ref();
        if turns == 3 { Poll::Ready(()) } else { Poll::Pending }
    });
    l.block_on(gather((yield_now(), ends, late)));
}

#[test]
fn an_only_child_is_polled_whenever_its_gather_is() {
    let polls = Cell::new(0);
    let child = || {
        poll_fn(|_| -> Poll<()> {
            polls.set(polls.get() + 1);
            Poll::Pending
        })
    };
    let (count, waker) = Count::waker();
    let mut cx = Context::from_waker(&waker);
    let (mut one, mut two) = (pin!(gather([child()])), pin!(gather([child(), child()])));
    for _ in 0..3 {
        assert!(one.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(polls.replace(0), 3);
    for _ in 0..3 {
        assert!(two.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!((polls.get(), count.get()), (2, 0));
}

#[test]
fn an_only_child_has_the_waker_of_its_parent() {
    let (_, waker) = Count::waker();
    let child = poll_fn(|cx| Poll::Ready(cx.waker().will_wake(&waker)));
    let mut one = pin!(gather((child,)));
    let polled = one.as_mut().poll(&mut Context::from_waker(&waker));
    assert_eq!(polled, Poll::Ready((true,)));
}

// What one poll may do.

#[test]
fn who_was_left_out_comes_first() {
    let (l, polled) = (simulated(), RefCell::new(Vec::new()));
    // Of the 64, this takes 61, so that two of those that follow are polled in the first turn.
    let greedy = gather([(); 60].map(|()| async {}));
    let polled = &polled;
    let yields = (0..40).map(|n| async move {
        for _ in 0..3 {
            polled.borrow_mut().push(n);
            yield_now().await;
        }
    });
    l.block_on(gather((greedy, gather(yields.collect::<Vec<_>>()))));
    assert_eq!(polled.take(), (0..40).cycle().take(120).collect::<Vec<_>>());
}

#[test]
fn the_children_of_small_nests_share_the_64() {
    let (l, polls, turns) = (simulated(), Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(0)));
    let (counted, counts) = (polls.clone(), turns.clone());
    let task = l.spawn(async move {
        let yields = || async {
            for _ in 0..5 {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        };
        let nest = || gather((0..30).map(|_| yields()).collect::<Vec<_>>());
        gather([nest(), nest(), nest(), nest()]).await;
    });
    l.block_on(async move {
        let mut before = 0;
        while !task.is_finished() {
            let now = polls.get();
            // Each of four nests is polled too, and each of these polls one child at least.
            assert!(now - before <= 64, "{before} then {now}");
            before = now;
            counts.set(counts.get() + 1);
            yield_now().await;
        }
    });
    assert!(turns.get() >= 600 / 64, "{turns:?}");
}

#[test]
fn a_wait_for_one_or_two_tasks_ends_with_the_last() {
    block_on(async {
        for count in 1..3 {
            let tasks: Vec<_> = (0..count).map(|_| boucle::spawn(yield_now())).collect();
            let (done, failed) = wait(tasks).await;
            assert_eq!((done.len(), failed.len()), (count, 0));
        }
    });
}

// The waker of who polls, which is foreign code.

/// A waker whose first clone panics.
fn burnt_waker() -> Waker {
    let good = Cell::new(false);
    foreign_waker(move |act| {
        if act == Deed::Clone {
            assert!(good.replace(true), "burnt");
        }
    })
}

/// Polls a wait by hand until it has ended; whatever panics, it is polled again.
async fn insists<T>(wait: &mut boucle::Wait<T>, waker: &Waker) {
    for _ in 0..10 {
        let polled = catch_unwind(AssertUnwindSafe(|| poll_with(wait, waker).is_ready()));
        if let Ok(true) = polled {
            return;
        }
        yield_now().await;
    }
    panic!("tasks that have ended are still waited for");
}

#[test]
fn a_wait_whose_parents_waker_panics_asks_again() {
    for count in 2..5 {
        simulated().block_on(async move {
            let tasks = (0..count).map(|_| boucle::spawn(yield_now())).collect::<Vec<_>>();
            insists(&mut wait(tasks), &burnt_waker()).await;
        });
    }
}

#[test]
fn a_wait_that_moves_and_whose_parents_waker_panics_asks_again() {
    let l = simulated();
    let tasks = [(); 3].map(|()| l.spawn(yield_now()));
    let mut waiting = wait(tasks);
    // Here it gets a block without a loop, in the loop one of that.
    assert!(poll_with(&mut waiting, Waker::noop()).is_pending());
    l.block_on(async { insists(&mut waiting, &burnt_waker()).await });
}

#[test]
fn a_wait_that_is_left_in_the_middle_and_whose_parents_waker_panics_asks_again() {
    let l = simulated();
    l.block_on(async {
        let greedy = gather([(); 60].map(|()| async {}));
        // Those that have ended need no waker: the first clone is for the list of who is left.
        let tasks = (0..40).map(|n| {
            boucle::spawn(async move {
                for _ in 0..if n < 10 { 0 } else { 5 } {
                    yield_now().await;
                }
            })
        });
        let tasks: Vec<_> = tasks.collect();
        yield_now().await;
        let mut waiting = wait(tasks);
        gather((greedy, insists(&mut waiting, &burnt_waker()))).await;
    });
}

// A loop that goes while a nest is at it.

thread_local! {
    static LOOP: RefCell<Option<Loop>> = const { RefCell::new(None) };
}

/// A waker whose end is that of a loop.
struct Closes;

impl Wake for Closes {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Closes {
    fn drop(&mut self) {
        close();
    }
}

fn close() {
    let l = LOOP.with(|l| l.borrow_mut().take());
    drop(l);
}

/// Runs `f` in a destructor of a task, in whose loop that is.
fn in_a_destructor(f: impl FnOnce() + 'static) {
    let l = Loop::new();
    let ended = Rc::new(Cell::new(false));
    let (has_ended, mut f) = (ended.clone(), Some(f));
    let task = l.spawn(async move {
        let _end = on_drop(move || {
            f.take().expect("once")();
            has_ended.set(true);
        });
        pending::<()>().await;
    });
    l.run_until_stalled();
    LOOP.with(|place| *place.borrow_mut() = Some(l));
    task.cancel();
    drop(task);
    assert!(ended.get(), "it did not panic");
    assert!(LOOP.with(|l| l.borrow().is_none()), "it was closed");
}

/// Polls it there, and keeps it for longer than its loop.
fn poll_in_a_destructor<F: Future + 'static>(mut all: Pin<Box<F>>) {
    let kept = Rc::new(RefCell::new(None));
    let keep = kept.clone();
    in_a_destructor(move || {
        assert!(all.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        *keep.borrow_mut() = Some(all);
    });
    drop(kept);
}

#[test]
fn a_loop_that_goes_with_the_waker_of_before_gets_no_block() {
    let mut all = Box::pin(gather([(); 65].map(|()| pending::<()>())));
    let closes = Waker::from(Arc::new(Closes));
    assert!(all.as_mut().poll(&mut Context::from_waker(&closes)).is_pending());
    drop(closes);
    poll_in_a_destructor(all);
}

#[test]
fn a_loop_that_a_child_has_dropped_gets_no_block() {
    let greedy = gather([(); 60].map(|()| async {}));
    let closing = gather([(); 40].map(|()| async {
        close();
        pending::<()>().await;
    }));
    let all = Box::pin(gather((greedy, closing)));
    poll_in_a_destructor(all);
}

#[test]
fn a_loop_that_goes_as_the_waker_is_cloned_gets_no_block() {
    for children in [2, 65] {
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let child = || {
            poll_fn(|cx| -> Poll<()> {
                drop(cx.waker().clone());
                Poll::Pending
            })
        };
        let mut all = Box::pin(gather((0..children).map(|_| child()).collect::<Vec<_>>()));
        in_a_destructor(move || {
            let waker = foreign_waker(|act| {
                if act == Deed::Clone {
                    close();
                }
            });
            assert!(all.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            *keep.borrow_mut() = Some(all);
        });
        drop(kept);
    }
}

/// A gather that is polled by hand, as by the `block_on` of another executor.
fn two_turns_by_hand(children: usize) {
    let polls = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::new(RefCell::new(Vec::new()));
    let child = |n| {
        let (polls, kept) = (polls.clone(), kept.clone());
        poll_fn(move |cx| -> Poll<()> {
            polls.borrow_mut().push(n);
            kept.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
    };
    let mut all = gather((0..children).map(child).collect::<Vec<_>>());
    let (woken, waker) = Count::waker();
    // 64 in one poll of the task, then the rest.
    let passes = children.div_ceil(64);
    for pass in 1..=passes {
        assert!(poll_with(&mut all, &waker).is_pending());
        assert_eq!(woken.get(), pass.min(passes - 1), "wakes");
    }
    assert_eq!(*polls.borrow(), (0..children).collect::<Vec<_>>(), "each once");
    assert!(poll_with(&mut all, &waker).is_pending());
    assert_eq!(polls.borrow().len(), children, "nobody was woken");
    let second = kept.borrow()[1].clone();
    second.wake();
    assert_eq!(woken.get(), passes);
    assert!(poll_with(&mut all, &waker).is_pending());
    assert_eq!((&polls.borrow()[children..], woken.get()), (&[1][..], passes));
}

#[test]
fn a_gather_in_a_destructor_polls_who_was_woken_and_waits() {
    for children in [2, 64, 65] {
        in_a_destructor(move || {
            two_turns_by_hand(children);
            close();
            two_turns_by_hand(children);
        });
        let l = Loop::new();
        let ended = Rc::new(Cell::new(false));
        let has_ended = ended.clone();
        drop(l.spawn(async move {
            let _end = on_drop(move || {
                two_turns_by_hand(children);
                has_ended.set(true);
            });
            pending::<()>().await;
        }));
        l.run_until_stalled();
        drop(l);
        assert!(ended.get(), "it did not panic");
    }
}
