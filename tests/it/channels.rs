//! `oneshot`, `channel` and `unbounded`: order, ends that go, futures that are dropped midway.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
    error::Error,
    fmt::Debug,
    rc::Rc,
    task::{Poll, Waker},
};

use boucle::{
    gather,
    sync::{
        OneshotReceiver, Receiver, Receiving, RecvError, SendError, Sender, Sending, TryRecvError,
        TrySendError, channel, oneshot, unbounded,
    },
    yield_now,
};

use crate::{
    locks::{SplitMix, forever, ready, waker},
    support::{
        Act, DropProbe, Drops, Log, foreign_waker, noting_waker, on_drop, panics, poll_with,
        virtual_loop,
    },
};

#[test]
fn a_oneshot_wakes_its_receiver_once() {
    let (log, (tx, mut rx)) = (Log::default(), oneshot());
    assert!(poll_with(&mut rx, &waker(&log, "rx")).is_pending());
    assert_eq!(tx.send(7), Ok(()));
    assert_eq!(log.take(), ["rx"]);
    assert_eq!(ready(poll_with(&mut rx, &waker(&log, "rx"))), Ok(7));
    // It has ended, and says so if it is polled again.
    assert_eq!(ready(poll_with(&mut rx, &waker(&log, "rx"))), Err(RecvError));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_oneshot_whose_sender_goes_says_so() {
    let (log, (tx, mut rx)) = (Log::default(), oneshot::<u8>());
    assert!(poll_with(&mut rx, &waker(&log, "rx")).is_pending());
    drop(tx);
    assert_eq!(log.take(), ["rx"]);
    assert_eq!(ready(poll_with(&mut rx, &waker(&log, "rx"))), Err(RecvError));
}

#[test]
fn a_oneshot_whose_receiver_goes_drops_the_message_and_tells_the_sender() {
    let (l, drops) = (virtual_loop(), Drops::default());
    let (tx, rx) = oneshot();
    assert!(tx.send(drops.probe()).is_ok());
    drop(rx);
    assert_eq!(drops.dropped(), 1);
    let (tx, rx) = oneshot();
    let worker = l.spawn(async move {
        gather((tx.closed(), tx.closed())).await;
        tx.send(1)
    });
    l.run_until_stalled();
    assert!(!worker.is_finished());
    drop(rx);
    assert_eq!(l.block_on(worker).unwrap(), Err(1));
}

#[test]
fn a_closed_oneshot_still_gives_what_was_sent() {
    let (tx, mut rx) = oneshot();
    assert!(poll_with(&mut rx, Waker::noop()).is_pending());
    assert_eq!(tx.send(1), Ok(()));
    rx.close();
    assert_eq!(ready(poll_with(&mut rx, Waker::noop())), Ok(1));
    let (log, (tx, mut rx)) = (Log::default(), oneshot());
    assert!(poll_with(&mut rx, &waker(&log, "rx")).is_pending());
    rx.close();
    assert!(tx.is_closed() && log.take().is_empty(), "it wakes itself for nothing");
    assert_eq!(ready(poll_with(&mut rx, Waker::noop())), Err(RecvError));
    assert_eq!(tx.send(1), Err(1));
}

/// The trap: what is waited for comes between the look at it and the joining of the queue.
#[test]
fn t43_a_message_that_comes_while_the_waker_is_cloned_is_not_lost() {
    let (tx, mut rx) = oneshot();
    let give = RefCell::new(Some(tx));
    let waker = foreign_waker(move |act| {
        if act == Act::Clone {
            let _ = give.take().map(|tx| tx.send(7));
        }
    });
    assert_eq!(ready(poll_with(&mut rx, &waker)), Ok(7));

    let (tx, rx) = channel(1);
    let wakes = Rc::new(Cell::new(0));
    let count = wakes.clone();
    let waker = foreign_waker(move |act| match act {
        Act::Clone => drop(tx.try_send(7)),
        Act::Wake => count.set(count.get() + 1),
        Act::Drop => {}
    });
    let mut recv = rx.recv();
    match poll_with(&mut recv, &waker) {
        Poll::Ready(received) => assert_eq!(received, Ok(7)),
        Poll::Pending => {
            assert_eq!(wakes.get(), 1);
            assert_eq!(ready(poll_with(&mut recv, &waker)), Ok(7));
        }
    }
}

#[test]
fn t43_room_that_comes_while_the_waker_is_cloned_is_not_lost() {
    for close in [false, true] {
        let (tx, rx) = channel(1);
        tx.try_send(1).unwrap();
        let (wakes, theirs) = (Rc::new(Cell::new(0)), rx.clone());
        let count = wakes.clone();
        let waker = foreign_waker(move |act| match act {
            Act::Clone if close => theirs.close(),
            Act::Clone => drop(theirs.try_recv()),
            Act::Wake => count.set(count.get() + 1),
            Act::Drop => {}
        });
        let mut send = tx.send(2);
        let polled = poll_with(&mut send, &waker);
        if close {
            assert_eq!(ready(polled), Err(SendError(2)));
            continue;
        }
        assert!(polled.is_ready() || wakes.get() == 1);
        if polled.is_pending() {
            assert_eq!(ready(poll_with(&mut send, &waker)), Ok(()));
        }
        assert_eq!(rx.try_recv(), Ok(2));
    }
}

#[test]
fn t54_the_last_waker_of_a_receiver_is_woken() {
    let (log, (tx, rx)) = (Log::default(), channel(1));
    let mut recv = rx.recv();
    assert!(poll_with(&mut recv, &noting_waker(&log, "old")).is_pending());
    assert!(poll_with(&mut recv, &noting_waker(&log, "new")).is_pending());
    log.take();
    tx.try_send(1).unwrap();
    assert_eq!(log.take(), ["Wake new", "Drop new"]);
    assert_eq!(ready(poll_with(&mut recv, Waker::noop())), Ok(1));
}

#[test]
fn messages_wait_for_room_in_order() {
    let (log, (tx, rx)) = (Log::default(), channel(2));
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    let (mut three, mut four) = (tx.send(3), tx.send(4));
    assert!(poll_with(&mut three, &waker(&log, "three")).is_pending());
    assert!(poll_with(&mut four, &waker(&log, "four")).is_pending());
    assert_eq!((rx.try_recv(), log.take()), (Ok(1), vec!["three".to_owned()]));
    // The room is reserved: a newcomer does not overtake.
    assert_eq!(tx.try_send(9), Err(TrySendError::Full(9)));
    assert_eq!((rx.try_recv(), log.take()), (Ok(2), vec!["four".to_owned()]));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(ready(poll_with(&mut three, Waker::noop())), Ok(()));
    assert_eq!(tx.try_send(9), Err(TrySendError::Full(9)));
    assert_eq!(ready(poll_with(&mut four, Waker::noop())), Ok(()));
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(3), Ok(4)));
}

#[test]
fn a_newcomer_sends_after_those_for_whom_room_is_reserved() {
    let (l, (tx, rx)) = (virtual_loop(), channel(2));
    let old = tx.clone();
    drop(l.spawn(async move {
        for n in 1..=3 {
            old.send(n).await.unwrap();
        }
    }));
    l.run_until_stalled();
    let received = l.block_on(async {
        // There is room for two more now, and 3 is not sent yet.
        let mut received = vec![rx.recv().await.unwrap(), rx.recv().await.unwrap()];
        tx.send(4).await.unwrap();
        received.extend([rx.recv().await.unwrap(), rx.recv().await.unwrap()]);
        received
    });
    assert_eq!(received, [1, 2, 3, 4]);
}

/// The trap: one that was given room, or a message, and is dropped instead, swallows it.
#[test]
fn t55_a_send_that_is_dropped_takes_its_message_and_leaves_the_room() {
    let (log, drops, (tx, rx)) = (Log::default(), Drops::default(), channel(1));
    assert!(tx.try_send(drops.probe()).is_ok());
    let [mut a, mut b, mut c] = [(); 3].map(|()| tx.send(drops.probe()));
    for (send, name) in [(&mut a, "a"), (&mut b, "b"), (&mut c, "c")] {
        assert!(poll_with(send, &waker(&log, name)).is_pending());
    }
    drop(b);
    assert_eq!(drops.dropped(), 1);
    drop(rx.try_recv());
    assert_eq!(log.take(), ["a"]);
    drop(a);
    assert_eq!((log.take(), drops.dropped()), (vec!["c".to_owned()], 3));
    assert!(ready(poll_with(&mut c, Waker::noop())).is_ok());
    assert_eq!(rx.len(), 1);
    drop(c);
    drop((tx, rx));
    drops.assert_all_dropped_here();
}

#[test]
fn t55_a_receive_that_is_dropped_leaves_its_message_and_the_order() {
    let (log, (tx, rx)) = (Log::default(), unbounded());
    let [mut a, mut b, mut c] = [rx.recv(), rx.recv(), rx.recv()];
    for (recv, name) in [(&mut a, "a"), (&mut b, "b"), (&mut c, "c")] {
        assert!(poll_with(recv, &waker(&log, name)).is_pending());
    }
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    assert_eq!(log.take(), ["a", "b"]);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    drop(a);
    assert_eq!(log.take(), ["c"]);
    assert_eq!(ready(poll_with(&mut b, Waker::noop())), Ok(1));
    drop(c);
    tx.send(3).unwrap();
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(2), Ok(3)));
}

#[test]
fn a_newcomer_receives_what_is_not_promised() {
    let (tx, rx) = unbounded();
    let mut first = rx.recv();
    assert!(poll_with(&mut first, Waker::noop()).is_pending());
    for n in 1..=3 {
        tx.send(n).unwrap();
    }
    assert_eq!(ready(poll_with(&mut rx.recv(), Waker::noop())), Ok(2));
    assert_eq!(ready(poll_with(&mut first, Waker::noop())), Ok(1));
    assert_eq!(rx.try_recv(), Ok(3));
}

#[test]
fn senders_that_go_leave_what_they_sent() {
    let (l, log, (tx, rx)) = (virtual_loop(), Log::default(), channel(4));
    for name in ["a", "b", "c"] {
        let (rx, log) = (rx.clone(), log.clone());
        drop(l.spawn(async move {
            while let Ok(n) = rx.recv().await {
                log.push(format!("{name}{n}"));
                yield_now().await;
            }
            log.push(format!("{name} ends"));
        }));
    }
    l.run_until_stalled();
    for n in 1..=4 {
        tx.try_send(n).unwrap();
    }
    drop(tx);
    l.run();
    assert_eq!(log.take(), ["a1", "b2", "c3", "a4", "b ends", "c ends", "a ends"]);
    assert!(rx.is_closed() && rx.is_empty());
}

#[test]
fn whoever_waits_gets_what_one_that_was_closed_in_on_leaves() {
    // The last message is promised to the first when the channel closes; the second waits on.
    for gives_up in [false, true] {
        let (log, (tx, rx)) = (Log::default(), channel(1));
        let (mut first, mut second) = (rx.recv(), rx.recv());
        assert!(poll_with(&mut first, &waker(&log, "first")).is_pending());
        assert!(poll_with(&mut second, &waker(&log, "second")).is_pending());
        tx.try_send(1).unwrap();
        drop(tx);
        assert_eq!(log.take(), ["first"]);
        assert!(poll_with(&mut second, &waker(&log, "second")).is_pending());
        let wanted = if gives_up {
            drop(first);
            Ok(1)
        } else {
            assert_eq!(ready(poll_with(&mut first, Waker::noop())), Ok(1));
            Err(RecvError)
        };
        assert_eq!(log.take(), ["second"]);
        assert_eq!(ready(poll_with(&mut second, Waker::noop())), wanted);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    }
}

#[test]
fn receivers_that_go_give_the_senders_their_messages_back() {
    let (l, (tx, rx)) = (virtual_loop(), channel(1));
    tx.try_send("sent").unwrap();
    let waiting = ["a", "b"].map(|name| {
        let tx = tx.clone();
        l.spawn(async move { tx.send(name).await })
    });
    l.run_until_stalled();
    // Room for the first, which it does not use before all is over.
    assert_eq!(rx.try_recv(), Ok("sent"));
    drop(rx);
    let [a, b] = waiting.map(|task| l.block_on(task).unwrap());
    assert_eq!((a, b), (Err(SendError("a")), Err(SendError("b"))));
    assert_eq!(tx.try_send("c"), Err(TrySendError::Closed("c")));
}

#[test]
fn messages_that_nobody_can_receive_are_dropped_at_once() {
    let (drops, (tx, rx)) = (Drops::default(), unbounded());
    assert!(tx.send(drops.probe()).is_ok() && tx.send(drops.probe()).is_ok());
    drop(rx);
    assert_eq!((drops.dropped(), tx.len()), (2, 0));
}

/// The trap: user code runs while something is borrowed, and comes back.
#[test]
fn t13_messages_that_use_their_channel_when_dropped() {
    let (log, (tx, rx)) = (Log::default(), channel::<Box<dyn std::any::Any>>(3));
    for n in 0..3 {
        let (own, log) = (tx.clone(), log.clone());
        let message = on_drop(move || {
            let refused = own.try_send(Box::new(0)).unwrap_err();
            log.push(format!("{n}: {refused}, {} left", own.len()));
            drop(own.clone());
            own.close();
        });
        tx.try_send(Box::new(message)).unwrap();
    }
    let send = tx.send(Box::new(9));
    drop(rx);
    assert_eq!(log.take(), [0, 1, 2].map(|n| format!("{n}: the channel is closed, 0 left")));
    drop(send);
}

#[test]
fn t13_wakers_that_use_the_channel() {
    let (tx, rx) = channel::<u8>(1);
    let log = Log::default();
    let hostile = |name: &'static str| {
        let (tx, rx, log) = (tx.clone(), rx.clone(), log.clone());
        foreign_waker(move |act| {
            let sent = tx.try_send(9).map_err(|error| error.to_string());
            let received = rx.try_recv();
            if act == Act::Wake {
                log.push(format!("{name}: {sent:?} {received:?}"));
            }
        })
    };
    let (hostile_recv, hostile_send) = (hostile("recv"), hostile("send"));
    let mut recv = rx.recv();
    assert!(poll_with(&mut recv, &hostile_recv).is_pending());
    tx.try_send(1).unwrap();
    // The promise is kept, whatever the waker tries.
    assert_eq!(log.take(), ["recv: Err(\"the channel is full\") Err(Empty)"]);
    let mut send = tx.send(2);
    assert!(poll_with(&mut send, &hostile_send).is_pending());
    assert_eq!(ready(poll_with(&mut recv, &hostile_recv)), Ok(1));
    assert_eq!(log.take(), ["send: Err(\"the channel is full\") Err(Empty)"]);
    assert_eq!(ready(poll_with(&mut send, &hostile_send)), Ok(()));
    assert_eq!(rx.try_recv(), Ok(2));
}

#[test]
fn a_wake_at_the_end_may_drop_the_others() {
    let (tx, rx) = channel::<u8>(1);
    let rx: &'static Receiver<u8> = forever(rx);
    let others: Rc<RefCell<Vec<Receiving<'static, u8>>>> = Rc::default();
    let theirs = others.clone();
    let hostile = foreign_waker(move |act| {
        if act == Act::Wake {
            drop(theirs.take());
        }
    });
    let mut recv = rx.recv();
    assert!(poll_with(&mut recv, &hostile).is_pending());
    for _ in 0..3 {
        let mut other = rx.recv();
        assert!(poll_with(&mut other, Waker::noop()).is_pending());
        others.borrow_mut().push(other);
    }
    drop(tx);
    assert!(others.borrow().is_empty());
    assert_eq!(ready(poll_with(&mut recv, Waker::noop())), Err(RecvError));
}

#[test]
fn a_channel_without_room_is_refused() {
    let told = panics(|| drop(channel::<u8>(0)));
    assert_eq!(told, "boucle: a channel needs room for one message at least; its bound is 0");
}

#[test]
fn what_a_task_waits_for_is_told() {
    let (l, (tx, rx)) = (virtual_loop(), channel::<u8>(1));
    let (full, _kept) = channel::<u8>(1);
    full.try_send(1).unwrap();
    let (once, never) = oneshot::<u8>();
    let _a = l.spawn(async move { rx.recv().await });
    let _b = l.spawn(async move { full.send(2).await });
    let _c = l.spawn(never);
    let told = panics(|| l.block_on(std::future::pending::<()>()));
    for line in ["for a message from channel", "for room in channel", "for oneshot (made at"] {
        assert!(told.contains(line), "{told}");
    }
    drop((tx, once));
}

#[test]
fn errors_are_errors_whatever_the_message() {
    fn error<E: Error + Send + Sync + 'static>(error: E) -> (String, String) {
        (error.to_string(), format!("{error:?}"))
    }
    #[derive(PartialEq)]
    struct Plain;
    let closed = "the channel is closed";
    assert_eq!(error(SendError(Plain)), (closed.into(), "SendError { .. }".into()));
    assert_eq!(error(TrySendError::Closed(Plain)), (closed.into(), "Closed(..)".into()));
    let full = ("the channel is full".into(), "Full(..)".into());
    assert_eq!(error(TrySendError::Full(Plain)), full);
    let over = "the channel is closed and empty";
    assert_eq!(error(RecvError), (over.into(), "RecvError".into()));
    assert_eq!(error(TryRecvError::Closed), (over.into(), "Closed".into()));
    assert_eq!(error(TryRecvError::Empty), ("the channel is empty".into(), "Empty".into()));
}

/// What a channel should do, in a few lines. Messages are numbers.
#[derive(Default)]
struct Model {
    bound: usize,
    messages: VecDeque<u64>,
    closed: bool,
    /// Who waits, and who was woken since.
    sends: VecDeque<u64>,
    recvs: VecDeque<u64>,
    reserved: BTreeSet<u64>,
    promised: BTreeSet<u64>,
    /// Who will be told that it is over.
    dismissed: BTreeSet<u64>,
    woken: Vec<String>,
}

impl Model {
    fn settle(&mut self) {
        if self.closed {
            let all = self.sends.drain(..).collect::<Vec<_>>();
            self.reserved.clear();
            self.woken.extend(all.iter().map(u64::to_string));
            self.dismissed.extend(all);
        }
        while self.promised.len() < self.messages.len() {
            let Some(id) = self.recvs.pop_front() else { break };
            self.promised.insert(id);
            self.woken.push(id.to_string());
        }
        if self.closed && self.messages.is_empty() {
            let all = self.recvs.drain(..).collect::<Vec<_>>();
            self.woken.extend(all.iter().map(u64::to_string));
            self.dismissed.extend(all);
        }
        while self.messages.len() + self.reserved.len() < self.bound {
            let Some(id) = self.sends.pop_front() else { break };
            self.reserved.insert(id);
            self.woken.push(id.to_string());
        }
    }

    fn send(&mut self, n: u64) -> Result<(), TrySendError<u64>> {
        if self.closed {
            return Err(TrySendError::Closed(n));
        }
        if !self.reserved.is_empty() || self.messages.len() >= self.bound {
            return Err(TrySendError::Full(n));
        }
        self.messages.push_back(n);
        self.settle();
        Ok(())
    }

    fn recv(&mut self) -> Result<u64, TryRecvError> {
        let message = self.messages.remove(self.promised.len());
        self.settle();
        let over = self.closed && self.messages.is_empty();
        message.ok_or(if over { TryRecvError::Closed } else { TryRecvError::Empty })
    }
}

/// A number that is dropped once.
struct Message(u64, #[expect(dead_code, reason = "it counts its drop")] DropProbe);

/// What a oneshot should do: who waits, what was sent, whether it is over.
#[derive(Default)]
struct Once {
    /// The receiver is zero.
    waiting: Vec<u64>,
    message: Option<u64>,
    closed: bool,
    woken: Vec<u64>,
}

impl Once {
    fn close(&mut self) {
        self.closed = true;
        self.woken.append(&mut self.waiting);
    }

    fn recv(&mut self) -> Result<u64, TryRecvError> {
        let over = if self.closed { TryRecvError::Closed } else { TryRecvError::Empty };
        self.message.take().ok_or(over)
    }

    /// What the receiver does, one of five things.
    fn receive(&mut self, what: usize, rx: &mut Option<OneshotReceiver<Message>>, log: &Log) {
        let Some(receiver) = rx else { return };
        match what {
            0 | 1 => match poll_with(receiver, &waker(log, "0")) {
                Poll::Ready(got) => {
                    let wanted = self.recv().map_err(|_| RecvError);
                    assert_eq!(got.map(|message| message.0), wanted);
                    self.waiting.retain(|&id| id != 0);
                }
                Poll::Pending => {
                    assert_eq!(self.recv(), Err(TryRecvError::Empty));
                    if !self.waiting.contains(&0) {
                        self.waiting.push(0);
                    }
                }
            },
            2 => assert_eq!(receiver.try_recv().map(|message| message.0), self.recv()),
            3 => {
                receiver.close();
                self.waiting.retain(|&id| id != 0);
                self.close();
            }
            _ => {
                *rx = None;
                self.waiting.retain(|&id| id != 0);
                self.close();
            }
        }
    }

    fn check(&mut self, log: &Log, seed: u64) {
        let woken: Vec<String> = self.woken.drain(..).map(|id| id.to_string()).collect();
        assert_eq!(log.take(), woken, "{seed}");
    }
}

#[test]
fn any_oneshot_does_what_the_model_does() {
    let (mut received, mut told) = (0, 0);
    for seed in 0..3_000 {
        let (mut random, drops, log) = (SplitMix(seed), Drops::default(), Log::default());
        let (tx, rx) = oneshot::<Message>();
        let (mut rx, mut model) = (Some(rx), Once::default());
        let mut futures = Vec::new();
        // The receiver does this and that, while the sender watches it.
        for id in 1..12 {
            match random.below(6) {
                0 | 1 => {
                    let mut future = tx.closed();
                    let polled = poll_with(&mut future, &waker(&log, id.to_string()));
                    assert_eq!(polled.is_ready(), model.closed, "{seed}");
                    if !model.closed {
                        model.waiting.push(id);
                        futures.push((id, future));
                    }
                }
                2 if !futures.is_empty() => {
                    let at = random.below(futures.len());
                    let (id, future) = &mut futures[at];
                    let polled = poll_with(future, &waker(&log, id.to_string()));
                    assert_eq!(polled.is_ready(), model.closed, "{seed}");
                    told += usize::from(model.closed);
                    if random.below(2) == 0 {
                        let (gone, _) = futures.swap_remove(at);
                        model.waiting.retain(|&id| id != gone);
                    }
                }
                3 if random.below(4) == 0 => {
                    model.receive(3 + random.below(2), &mut rx, &log);
                }
                _ => model.receive(random.below(3), &mut rx, &log),
            }
            assert_eq!(tx.is_closed(), model.closed, "{seed}");
            model.check(&log, seed);
        }
        model.waiting.retain(|&id| id == 0);
        drop(futures);
        // It sends, or goes.
        if random.below(3) > 0 {
            let sent = tx.send(Message(seed, drops.probe())).map_err(|message| message.0);
            assert_eq!(sent, if model.closed { Err(seed) } else { Ok(()) });
            model.message = sent.is_ok().then_some(seed);
        } else {
            drop(tx);
        }
        model.close();
        model.check(&log, seed);
        for _ in 0..4 {
            let sent = model.message.is_some();
            model.receive(random.below(5), &mut rx, &log);
            received += usize::from(sent && model.message.is_none());
            model.check(&log, seed);
        }
        drop(rx);
        drops.assert_all_dropped_here();
    }
    assert!(received > 500 && told > 300, "{received} {told}");
}

#[test]
fn any_channel_does_what_the_model_does() {
    let (mut handed, mut resent) = (0, 0);
    for seed in 0..30 {
        let (mut random, drops) = (SplitMix(seed), Drops::default());
        let bound = 1 + random.below(4);
        let (tx, rx) = channel::<Message>(bound);
        let (log, mut model) = (Log::default(), Model { bound, ..Model::default() });
        let mut sends: Vec<(u64, Sending<'_, Message>)> = Vec::new();
        let mut recvs: Vec<(u64, Receiving<'_, Message>)> = Vec::new();
        let mut ids = 0;
        for step in 0..3_000 {
            ids += 1;
            let name = waker(&log, ids.to_string());
            let message = |n| Message(n, drops.probe());
            match random.below(10) {
                0 | 1 if sends.len() < 6 => {
                    let mut send = tx.send(message(ids));
                    match poll_with(&mut send, &name) {
                        Poll::Ready(sent) => {
                            let sent = sent.map_err(|error| TrySendError::Closed(error.0.0));
                            assert_eq!(sent, model.send(ids), "{seed} {step}");
                        }
                        Poll::Pending => {
                            assert_eq!(model.send(ids), Err(TrySendError::Full(ids)));
                            model.sends.push_back(ids);
                            model.settle();
                            sends.push((ids, send));
                        }
                    }
                }
                2 | 3 if recvs.len() < 6 => {
                    let mut recv = rx.recv();
                    match poll_with(&mut recv, &name) {
                        Poll::Ready(received) => {
                            let received = received.map(|message| message.0);
                            assert_eq!(received.map_err(Into::into), model.recv(), "{seed}");
                        }
                        Poll::Pending => {
                            assert_eq!(model.recv(), Err(TryRecvError::Empty), "{seed}");
                            model.recvs.push_back(ids);
                            recvs.push((ids, recv));
                        }
                    }
                }
                4 if !sends.is_empty() => {
                    let at = random.below(sends.len());
                    let (id, send) = &mut sends[at];
                    let wanted = if model.closed {
                        model.dismissed.remove(id);
                        Some(Err(*id))
                    } else if model.reserved.remove(id) {
                        model.messages.push_back(*id);
                        model.settle();
                        handed += 1;
                        Some(Ok(()))
                    } else {
                        None
                    };
                    let sent = match poll_with(send, &waker(&log, id.to_string())) {
                        Poll::Ready(sent) => Some(sent.map_err(|error| error.0.0)),
                        Poll::Pending => None,
                    };
                    assert_eq!(sent, wanted, "{seed} {step}");
                    if sent.is_some() {
                        drop(sends.remove(at));
                    }
                }
                5 if !recvs.is_empty() => {
                    let at = random.below(recvs.len());
                    let (id, recv) = &mut recvs[at];
                    let wanted = if model.promised.remove(id) {
                        let first = model.messages.pop_front();
                        model.settle();
                        handed += 1;
                        first.map(Ok)
                    } else {
                        model.dismissed.remove(id).then_some(Err(RecvError))
                    };
                    let received = match poll_with(recv, &waker(&log, id.to_string())) {
                        Poll::Ready(received) => Some(received.map(|message| message.0)),
                        Poll::Pending => None,
                    };
                    assert_eq!(received, wanted, "{seed} {step}");
                    if received.is_some() {
                        drop(recvs.remove(at));
                    }
                }
                6 if !sends.is_empty() => {
                    let (id, send) = sends.swap_remove(random.below(sends.len()));
                    model.sends.retain(|waiting| *waiting != id);
                    model.reserved.remove(&id);
                    model.settle();
                    let before = drops.dropped();
                    drop(send);
                    assert_eq!(drops.dropped(), before + 1);
                }
                7 if !recvs.is_empty() => {
                    let (id, recv) = recvs.swap_remove(random.below(recvs.len()));
                    model.recvs.retain(|waiting| *waiting != id);
                    resent += usize::from(model.promised.remove(&id));
                    model.settle();
                    drop(recv);
                }
                8 => {
                    let sent = tx.try_send(message(ids)).map_err(|error| match error {
                        TrySendError::Full(message) => TrySendError::Full(message.0),
                        TrySendError::Closed(message) => TrySendError::Closed(message.0),
                    });
                    assert_eq!(sent, model.send(ids), "{seed} {step}");
                }
                9 if step > 2_900 && random.below(10) == 0 => {
                    tx.close();
                    model.closed = true;
                    model.settle();
                }
                _ => {
                    let received = rx.try_recv().map(|message| message.0);
                    assert_eq!(received, model.recv(), "{seed} {step}");
                }
            }
            assert_eq!(log.take(), std::mem::take(&mut model.woken), "{seed} {step}");
            assert_eq!((tx.len(), tx.is_closed()), (model.messages.len(), model.closed));
        }
        drop((sends, recvs));
        while let Ok(Message(n, _)) = rx.try_recv() {
            assert_eq!(model.messages.pop_front(), Some(n), "{seed}");
        }
        assert!(model.messages.is_empty(), "messages lost with seed {seed}");
        drop((tx, rx));
        drops.assert_all_dropped_here();
    }
    assert!(handed > 1_000 && resent > 500, "{handed} handed over, {resent} handed on");
}

#[test]
fn any_tasks_with_a_channel_lose_nothing_when_cancelled() {
    for seed in 0..20 {
        let (l, mut random) = (virtual_loop(), SplitMix(seed));
        let (tx, rx) = channel(1 + random.below(3));
        let (sent, received): (Log, Log) = Default::default();
        let mut tasks = VecDeque::new();
        for n in 0..500 {
            if random.below(2) == 0 {
                let (tx, sent) = (tx.clone(), sent.clone());
                tasks.push_back(l.spawn(async move {
                    tx.send(n).await.unwrap();
                    sent.push(n.to_string());
                }));
            } else {
                let (rx, received) = (rx.clone(), received.clone());
                tasks.push_back(l.spawn(async move {
                    received.push(rx.recv().await.unwrap().to_string());
                }));
            }
            for _ in 0..random.below(3) {
                l.step();
            }
            if random.below(3) == 0 {
                let at = random.below(tasks.len());
                tasks.remove(at).unwrap().cancel();
            }
        }
        l.run_until_stalled();
        tasks.clear();
        // Of those who still wait, there are only senders or only receivers.
        drop(tx);
        while let Ok(n) = rx.try_recv() {
            received.push(n.to_string());
        }
        drop(l);
        let [mut sent, mut received] = [sent, received].map(|log| log.take());
        // A receiver may come later for the message that it was promised than another for the
        // next one, so this is not about order.
        sent.sort();
        received.sort();
        assert!(sent.len() > 50 && sent == received, "seed {seed}: {sent:?} {received:?}");
    }
}

#[test]
fn ends_are_clones_of_each_other_and_say_what_they_are() {
    fn told(end: &impl Debug) -> String {
        format!("{end:?}")
    }
    let (tx, rx): (Sender<u8>, Receiver<u8>) = channel(2);
    let (also, other) = (tx.clone(), rx.clone());
    also.try_send(1).unwrap();
    assert_eq!((tx.len(), rx.len(), rx.is_empty(), tx.capacity()), (1, 1, false, 2));
    drop((tx, rx));
    assert!(!also.is_closed());
    let inside = "Channel { len: 1, closed: false, senders: 1, receivers: 1, \
                  waiting_to_send: 0, waiting_to_receive: 0 }";
    assert_eq!(told(&also), format!("Sender({inside})"));
    assert_eq!(told(&other.recv()), format!("Receiving({inside})"));
    let (tx, _rx): (_, OneshotReceiver<u8>) = oneshot();
    assert_eq!(told(&tx), "OneshotSender { closed: false }");
}

#[test]
fn nobody_needs_a_loop_as_long_as_nobody_waits() {
    let (tx, rx) = channel(1);
    assert_eq!(ready(poll_with(&mut tx.send(2), Waker::noop())), Ok(()));
    assert_eq!(ready(poll_with(&mut rx.recv(), Waker::noop())), Ok(2));
}

#[test]
fn messages_go_between_the_tasks_of_two_loops() {
    let (left, right) = (virtual_loop(), virtual_loop());
    let (tx, rx) = channel(1);
    let sender = left.spawn(async move {
        for n in 0..3 {
            tx.send(n).await.unwrap();
        }
    });
    let received = right.spawn(async move {
        let mut received = vec![];
        while let Ok(n) = rx.recv().await {
            received.push(n);
        }
        received
    });
    while !received.is_finished() {
        left.run_until_stalled();
        right.run_until_stalled();
    }
    assert!(sender.is_finished());
    assert_eq!(right.block_on(received).unwrap(), [0, 1, 2]);
}
