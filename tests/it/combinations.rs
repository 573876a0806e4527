//! Every life of a task, enumerated: what its future does, what becomes of its handle, who keeps
//! its waker. Tokio found the odd ones this way.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::mpsc::{Receiver, Sender, channel},
    task::{Context, Poll, Waker},
    thread,
};

use boucle::{JoinError, JoinHandle, Loop};

use crate::support::{DropProbe, Drops, blocks, boom, quiet};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Future_ {
    Ready,
    PendingOnce,
    PendingForEver,
    PanicsFirst,
    PanicsSecond,
    PanicsInDrop,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Output {
    Quiet,
    PanicsInDrop,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Handle {
    /// Until after the loop.
    KeptLongest,
    /// Until just before the loop is dropped, and not read.
    DroppedAfter,
    DroppedBefore,
    Awaited,
    CancelledBefore,
    /// After the first poll.
    CancelledBetween,
    /// After whatever it does by itself.
    CancelledAfter,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Waking {
    /// No clone: it wakes itself by reference.
    None,
    KeptAtHome,
    /// Kept by another thread, and dropped there when the loop is gone.
    KeptElsewhere,
    WokenElsewhere,
}

type Life = (Future_, Output, Handle, Waking);

fn every_life() -> impl Iterator<Item = Life> {
    let futures = [
        Future_::Ready,
        Future_::PendingOnce,
        Future_::PendingForEver,
        Future_::PanicsFirst,
        Future_::PanicsSecond,
        Future_::PanicsInDrop,
    ];
    let handles = [
        Handle::KeptLongest,
        Handle::DroppedAfter,
        Handle::DroppedBefore,
        Handle::Awaited,
        Handle::CancelledBefore,
        Handle::CancelledBetween,
        Handle::CancelledAfter,
    ];
    let wakings = [Waking::None, Waking::KeptAtHome, Waking::KeptElsewhere, Waking::WokenElsewhere];
    futures.into_iter().flat_map(move |future| {
        [Output::Quiet, Output::PanicsInDrop].into_iter().flat_map(move |output| {
            handles.into_iter().flat_map(move |handle| {
                wakings.into_iter().map(move |waking| (future, output, handle, waking))
            })
        })
    })
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Finished,
    Failed,
    Cancelled,
}

/// What the documentation promises.
#[derive(Debug, PartialEq)]
struct Promise {
    /// `None` if nobody asks.
    end: Option<End>,
    polls: usize,
    outputs: usize,
    unobserved: usize,
}

fn promise((future, output, handle, _): Life) -> Promise {
    let ends_at = match future {
        Future_::Ready | Future_::PanicsFirst => 1,
        Future_::PendingOnce | Future_::PanicsSecond | Future_::PanicsInDrop => 2,
        Future_::PendingForEver => usize::MAX,
    };
    let polls_before_cancel = match handle {
        Handle::CancelledBefore => 0,
        Handle::CancelledBetween => 1,
        _ => usize::MAX,
    };
    let by_itself = ends_at <= polls_before_cancel && ends_at < usize::MAX;
    let returns = by_itself && !matches!(future, Future_::PanicsFirst | Future_::PanicsSecond);
    let end = match future {
        _ if !by_itself => End::Cancelled,
        Future_::Ready | Future_::PendingOnce => End::Finished,
        _ => End::Failed,
    };
    // One that waits for ever is polled again by the one wake there is, in vain.
    let polls = ends_at.min(polls_before_cancel).min(2);

    let unread = matches!(handle, Handle::DroppedBefore | Handle::DroppedAfter);
    let mut unobserved = 0;
    unobserved += usize::from(end == End::Failed && unread);
    // A destructor that panics in a cancel is no result.
    unobserved += usize::from(end == End::Cancelled && future == Future_::PanicsInDrop);
    // After the loop there is nobody to tell; who awaits drops the output himself.
    unobserved += usize::from(
        end == End::Finished
            && output == Output::PanicsInDrop
            && !matches!(handle, Handle::KeptLongest | Handle::Awaited),
    );
    Promise { end: (!unread).then_some(end), polls, outputs: usize::from(returns), unobserved }
}

/// What the other thread is told to do; it answers each.
enum Order {
    Keep(Waker),
    Wake,
    DropAll,
}

struct Elsewhere(Sender<Order>, Receiver<()>);

impl Elsewhere {
    fn new() -> Elsewhere {
        let ((orders, inbox), (tell, done)) = (channel(), channel());
        // Real threads: a waker elsewhere takes another way. Each order is awaited: no races.
        thread::spawn(move || {
            let mut wakers = Vec::new();
            for order in inbox {
                match order {
                    Order::Keep(waker) => wakers.push(waker),
                    Order::Wake => wakers.iter().for_each(Waker::wake_by_ref),
                    Order::DropAll => wakers.clear(),
                }
                let _ = tell.send(());
            }
        });
        Elsewhere(orders, done)
    }

    fn order(&self, order: Order) {
        self.0.send(order).unwrap();
        self.1.recv().unwrap();
    }
}

/// No other test's tasks have this alignment.
#[repr(align(64))]
struct Aligned;

struct Fruit(Output, #[expect(dead_code, reason = "it is there to be dropped")] DropProbe);

impl Drop for Fruit {
    fn drop(&mut self) {
        if self.0 == Output::PanicsInDrop {
            boom();
        }
    }
}

struct Task {
    life: Life,
    polls: Rc<Cell<usize>>,
    outputs: Drops,
    kept: Rc<RefCell<Vec<Waker>>>,
    elsewhere: Rc<Elsewhere>,
    _probe: DropProbe,
    _aligned: Aligned,
}

impl Future for Task {
    type Output = Fruit;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fruit> {
        let (future, output, _, waking) = self.life;
        self.polls.set(self.polls.get() + 1);
        let first = self.polls.get() == 1;
        if first {
            match waking {
                Waking::None => cx.waker().wake_by_ref(),
                Waking::KeptAtHome => self.kept.borrow_mut().push(cx.waker().clone()),
                Waking::KeptElsewhere => {
                    self.elsewhere.order(Order::Keep(cx.waker().clone()));
                    cx.waker().wake_by_ref();
                }
                Waking::WokenElsewhere => self.elsewhere.order(Order::Keep(cx.waker().clone())),
            }
        }
        match future {
            Future_::PanicsFirst => boom(),
            Future_::PanicsSecond if !first => boom(),
            Future_::Ready => {}
            Future_::PendingForEver => return Poll::Pending,
            _ if first => return Poll::Pending,
            _ => {}
        }
        Poll::Ready(Fruit(output, self.outputs.probe()))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.life.0 == Future_::PanicsInDrop {
            boom();
        }
    }
}

fn end_of(result: Result<&Fruit, &JoinError>) -> End {
    match result {
        Ok(_) => End::Finished,
        Err(error) if error.is_panic() => End::Failed,
        Err(error) => {
            assert!(error.is_cancelled());
            End::Cancelled
        }
    }
}

fn live(life: Life, elsewhere: &Rc<Elsewhere>) {
    let (_, _, handle, waking) = life;
    let promised = promise(life);
    let (futures, outputs) = (Drops::default(), Drops::default());
    let (polls, unobserved) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let kept = Rc::new(RefCell::new(Vec::new()));
    let l = Loop::builder().virtual_time();
    let l = l.on_unobserved({
        let unobserved = unobserved.clone();
        move |_| unobserved.set(unobserved.get() + 1)
    });
    let l = l.build();

    let task: JoinHandle<Fruit> = l.spawn(Task {
        life,
        polls: polls.clone(),
        outputs: outputs.clone(),
        kept: kept.clone(),
        elsewhere: elsewhere.clone(),
        _probe: futures.probe(),
        _aligned: Aligned,
    });
    let mut task = Some(task);
    let awaited = Rc::new(RefCell::new(None));
    match handle {
        Handle::DroppedBefore => drop(task.take()),
        Handle::CancelledBefore => assert!(task.as_ref().unwrap().cancel()),
        Handle::Awaited => {
            let (mut task, awaited) = (task.take().unwrap(), awaited.clone());
            drop(l.spawn(poll_fn(move |cx| {
                let result = std::task::ready!(Pin::new(&mut task).poll(cx));
                *awaited.borrow_mut() = Some(result);
                Poll::Ready(())
            })));
        }
        _ => {}
    }

    // The first poll, then those that follow by themselves, then those of a wake from outside.
    l.step();
    if handle == Handle::CancelledBetween {
        let task = task.as_ref().unwrap();
        assert_eq!(task.cancel(), promised.end == Some(End::Cancelled));
    }
    l.run_until_stalled();
    kept.borrow().iter().for_each(Waker::wake_by_ref);
    if waking == Waking::WokenElsewhere {
        elsewhere.order(Order::Wake);
    }
    l.run_until_stalled();
    match handle {
        Handle::CancelledAfter => {
            let task = task.as_ref().unwrap();
            assert_eq!(task.cancel(), promised.end == Some(End::Cancelled));
            assert!(!task.cancel());
        }
        Handle::DroppedAfter => drop(task.take()),
        _ => {}
    }

    // What the handle says, before the loop goes or after.
    let kept_longest = task.take_if(|_| handle == Handle::KeptLongest);
    let mut end = task.as_ref().map(|task| end_of(task.result().unwrap()));
    drop(task);
    drop(l);
    assert_eq!(futures.dropped(), 1, "the loop has gone");
    if let Some(task) = kept_longest {
        end = Some(end_of(task.result().unwrap()));
    }
    if let Some(result) = awaited.take() {
        end = Some(end_of(result.as_ref()));
        // What it holds is ours, and so is its panic.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(result)));
    } else if handle == Handle::Awaited {
        // Who awaits waits for ever, too, and went with the loop.
        end = Some(End::Cancelled);
    }
    kept.take().into_iter().for_each(Waker::wake);
    elsewhere.order(Order::Wake);
    elsewhere.order(Order::DropAll);

    futures.assert_all_dropped_here();
    outputs.assert_all_dropped_here();
    assert_eq!(blocks::<Aligned>(), 0, "its memory");
    let kept =
        Promise { end, polls: polls.get(), outputs: outputs.made(), unobserved: unobserved.get() };
    assert_eq!(kept, promised);
}

#[test]
fn t23_every_life_of_a_task() {
    quiet();
    let elsewhere = Rc::new(Elsewhere::new());
    let mut failed = Vec::new();
    let mut lives = 0;
    for life in every_life() {
        lives += 1;
        if catch_unwind(AssertUnwindSafe(|| live(life, &elsewhere))).is_err() {
            failed.push(life);
        }
    }
    assert_eq!(lives, 6 * 2 * 7 * 4);
    assert!(failed.is_empty(), "{} lives went wrong: {failed:#?}", failed.len());
}
