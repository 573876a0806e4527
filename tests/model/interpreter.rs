//! Runs a program on an executor, and notes all that can be seen from outside.
//!
//! Each poll, each operation, each drop of a future or an output, each result and each panic that
//! nobody observed is an event. The operations of all tasks draw on one supply, so that every
//! program ends.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use crate::{
    program::{Op, Program, Verb},
    runtime::{
        BoxFuture, End, Handle, Joining, Nursery, Runtime, Until, Value, catch, panic_as_planned,
        planned, wake_elsewhere,
    },
    trace::{Event, Trace},
};

/// How many operations one program performs, at most.
const SUPPLY: u32 = 400;
/// How deep scripts run inside of others.
const DEPTH: u8 = 3;
/// How deep destructors run operations inside of others.
const DROPPING: u32 = 4;
/// How many operations a destructor performs, at most.
const LAST: usize = 2;
/// How many handles, wakers and cancellers are kept.
const SLOTS: usize = 4;

type Slots<T> = [RefCell<Option<T>>; SLOTS];

/// What is there for all tasks of a program.
struct World {
    runtime: Rc<dyn Runtime>,
    program: Program,
    trace: Trace,
    supply: Cell<u32>,
    ids: Cell<u32>,
    dropping: Cell<u32>,
    /// Destructors only note that they have run.
    calm: Cell<bool>,
    handles: Slots<Box<dyn Handle>>,
    cancellers: Slots<Box<dyn Fn() -> bool>>,
    wakers: Slots<Waker>,
}

/// What has happened, and how many operations that took.
pub(crate) struct Story {
    pub(crate) events: Vec<Event>,
    pub(crate) operations: u32,
}

/// Runs a program; `make` makes the executor, which says each unobserved panic in the trace.
pub(crate) fn run(program: Program, make: impl FnOnce(Trace) -> Rc<dyn Runtime>) -> Story {
    let trace = Trace::default();
    let world = Rc::new(World {
        runtime: make(trace.clone()),
        program,
        trace: trace.clone(),
        supply: Cell::new(SUPPLY),
        ids: Cell::new(0),
        dropping: Cell::new(0),
        calm: Cell::new(false),
        handles: Slots::default(),
        cancellers: Slots::default(),
        wakers: Slots::default(),
    });
    for at in 0..world.program.host().len() {
        let op = world.program.host()[at];
        if world.pay() {
            if let Err(payload) = catch(|| world.drive(op)) {
                world.say("panics at the host:", 0, planned(&*payload));
            }
        }
    }
    // What is left may end by itself.
    for _ in 0..32 {
        world.runtime.run_until_stalled();
        let Some(next) = world.runtime.next_deadline() else { break };
        world.runtime.advance(next - world.runtime.now());
    }
    world.say("closing at", 0, world.runtime.now());
    world.calm.set(true);
    let open = trace.len();
    world.runtime.close();
    trace.sort_from(open);
    for handle in world.handles.iter().filter_map(RefCell::take) {
        // What nobody has observed by now would only be told on stderr.
        handle.look();
        drop(handle);
    }
    world.cancellers.iter().for_each(|slot| drop(slot.take()));
    world.wakers.iter().for_each(|slot| drop(slot.take()));
    Story { events: trace.take(), operations: SUPPLY - world.supply.get() }
}

/// The three low bits, the three above, and the two above those.
fn split(byte: u8) -> (u8, u8, u8) {
    (byte & 7, byte >> 3 & 7, byte >> 6)
}

impl World {
    fn say(&self, what: &'static str, who: u32, x: impl Into<u64>) {
        self.trace.say(what, who, x.into());
    }

    fn next_id(&self) -> u32 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    /// Takes one operation from the supply, if there is any.
    fn pay(&self) -> bool {
        let left = self.supply.get();
        self.supply.set(left.saturating_sub(1));
        left > 0
    }

    fn handle(&self, slot: u8) -> &RefCell<Option<Box<dyn Handle>>> {
        &self.handles[usize::from(slot) % SLOTS]
    }

    fn waker(&self, slot: u8) -> Option<Waker> {
        self.wakers[usize::from(slot) % SLOTS].borrow().clone()
    }

    fn keep_waker(&self, slot: u8, waker: &Waker) {
        let old = self.wakers[usize::from(slot) % SLOTS].replace(Some(waker.clone()));
        drop(old);
    }

    fn value(self: &Rc<Self>, last: u8) -> Value {
        let (world, id) = (self.clone(), self.next_id());
        Value::new(id, move || {
            world.say("output dropped", id, 0_u8);
            world.last(id, last, None);
        })
    }

    /// What a destructor does at last.
    fn last(self: &Rc<Self>, who: u32, script: u8, scope: Option<&Rc<Scope<'_>>>) {
        if script == 0 || self.calm.get() || self.dropping.get() >= DROPPING {
            return;
        }
        self.dropping.set(self.dropping.get() + 1);
        let script = self.program.script(script);
        let ended = catch(|| {
            for &op in &script[..script.len().min(LAST)] {
                // A second panic would abort.
                let unwinding = op.verb == Verb::Panic && std::thread::panicking();
                if !unwinding && self.pay() {
                    self.at_once(who, op, scope);
                }
            }
        });
        self.dropping.set(self.dropping.get() - 1);
        if let Err(payload) = ended {
            std::panic::resume_unwind(payload);
        }
    }

    fn body<'s>(
        self: &Rc<Self>,
        script: u8,
        depth: u8,
        (last, output): (u8, u8),
        scope: Option<Rc<Scope<'s>>>,
    ) -> Body<'s> {
        let world = self.clone();
        let who = self.next_id();
        Body { world, who, script, at: 0, depth, last, output, current: None, scope }
    }

    /// Performs an operation of the host.
    fn drive(self: &Rc<Self>, op: Op) {
        let Op { verb, x, y } = op;
        match verb {
            Verb::Run => {
                self.say("runs", 0, 0_u8);
                self.runtime.run_until_stalled();
            }
            Verb::Step => {
                for _ in 0..=x % 4 {
                    let polled = self.runtime.step();
                    self.say("steps", 0, polled);
                }
            }
            Verb::Advance => {
                self.say("advances", 0, x % 8);
                self.runtime.advance(u64::from(x % 8));
                self.say("is at", 0, self.runtime.now());
                self.say("next deadline", 0, self.runtime.next_deadline().unwrap_or(u64::MAX));
            }
            Verb::BlockOn => {
                let (script, last, _) = split(x);
                let (after, output, _) = split(y);
                self.say("blocks on", 0, script);
                // Without a limit, it might wait for ever. Made in the loop, whose clock counts.
                let (world, mut timeout) = (self.clone(), None);
                let value = self.runtime.block_on(Box::pin(poll_fn(move |cx| {
                    let timeout = timeout.get_or_insert_with(|| {
                        let body = world.body(script, 0, (last, output), None);
                        world.runtime.timeout(u64::from(after), Box::pin(body))
                    });
                    let polled = timeout.as_mut().poll(cx);
                    polled.map(|value| value.unwrap_or_else(|| world.value(0)))
                })));
                self.say("main gives", 0, value.id);
            }
            _ => self.at_once(0, op, None),
        }
    }

    /// Performs an operation that takes no time, unless it is of another kind.
    fn at_once(self: &Rc<Self>, who: u32, op: Op, scope: Option<&Rc<Scope<'_>>>) {
        let Op { verb, x, y } = op;
        match verb {
            Verb::Spawn | Verb::SpawnBound => {
                let ((script, slot, _), (last, output, _)) = (split(x), split(y));
                let body = self.body(script, 0, (last, output), None);
                self.say("spawns", who, body.who);
                let mut handle = self.runtime.spawn(Box::pin(body));
                if verb == Verb::SpawnBound {
                    handle = handle.bind();
                }
                let old = self.handle(slot).replace(Some(handle));
                drop(old);
            }
            Verb::DropHandle => {
                let handle = self.handle(x).take();
                self.say("drops a handle", who, handle.is_some());
                drop(handle);
            }
            Verb::Cancel => {
                // Whatever it drops may use the slot.
                let canceller = self.handle(x).borrow().as_ref().map(|handle| handle.canceller());
                let cancelled = canceller.is_some_and(|cancel| cancel());
                self.say("cancels", who, cancelled);
            }
            Verb::KeepCanceller => {
                let canceller = self.handle(x).borrow().as_ref().map(|handle| handle.canceller());
                let slot = &self.cancellers[usize::from(y) % SLOTS];
                let old = slot.replace(canceller);
                drop(old);
            }
            Verb::UseCanceller => {
                let canceller = self.cancellers[usize::from(x) % SLOTS].take();
                let cancelled = canceller.is_some_and(|cancel| cancel());
                self.say("uses a canceller", who, cancelled);
            }
            Verb::Look => {
                let slot = self.handle(x).borrow();
                let Some(handle) = slot.as_ref() else { return };
                self.say(handle.status(), who, x % 8);
                let result = handle.look();
                drop(slot);
                self.note(who, "sees", result.as_ref());
            }
            Verb::Wake => {
                let waker = self.waker(x);
                self.say("wakes", who, waker.is_some());
                // By value: a drop out of the loop would be a letter of its own.
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Verb::WakeElsewhere => {
                let waker = self.waker(x);
                self.say("wakes elsewhere", who, waker.is_some());
                if let Some(waker) = waker {
                    wake_elsewhere(waker);
                }
            }
            Verb::Panic if who > 0 => {
                let id = self.next_id();
                self.say("panics", who, id);
                panic_as_planned(id);
            }
            Verb::SpawnChild => {
                let Some(scope) = scope else { return };
                let ((script, slot, _), (last, output, _)) = (split(x), split(y));
                let child = self.body(script, scope.depth, (last, output), Some(scope.clone()));
                self.say("spawns a child", who, child.who);
                let handle = scope.nursery.spawn(Box::pin(child));
                let old = scope.handle(slot).replace(Some(handle));
                drop(old);
            }
            Verb::CancelChild => {
                let Some(scope) = scope else { return };
                let handle = scope.handle(x).take();
                let cancelled = handle.as_ref().is_some_and(|handle| handle.cancel());
                self.say("cancels a child", who, cancelled);
                // Somebody may have put another one there meanwhile.
                let kept = scope.handle(x).borrow().is_some();
                if !kept {
                    *scope.handle(x).borrow_mut() = handle;
                }
            }
            Verb::DropChild => {
                let Some(scope) = scope else { return };
                let handle = scope.handle(x).take();
                self.say("drops a child's handle", who, handle.is_some());
                drop(handle);
            }
            Verb::CancelScope => {
                let Some(scope) = scope else { return };
                self.say("cancels the scope", who, 0_u8);
                scope.nursery.cancel_all();
            }
            _ => {}
        }
    }

    fn note(&self, who: u32, how: &'static str, end: Option<&End<u32>>) {
        match end {
            None => self.say("looks in vain", who, 0_u8),
            Some(End::Done(id)) => self.say(how, who, *id),
            Some(End::Cancelled) => self.say("finds it cancelled", who, 0_u8),
            Some(End::Panicked(id)) => self.say("finds that it panicked", who, *id),
        }
    }

    /// Notes a result, and drops it.
    fn joined(&self, who: u32, end: End<Value>) {
        let number = match &end {
            End::Done(value) => End::Done(value.id),
            End::Cancelled => End::Cancelled,
            End::Panicked(id) => End::Panicked(*id),
        };
        self.note(who, "joins", Some(&number));
        drop(end);
    }
}

/// What is there for all who run in a scope.
struct Scope<'s> {
    nursery: Rc<dyn Nursery<'s> + 's>,
    handles: [RefCell<Option<Box<dyn Joining + 's>>>; SLOTS],
    depth: u8,
}

impl<'s> Scope<'s> {
    fn handle(&self, slot: u8) -> &RefCell<Option<Box<dyn Joining + 's>>> {
        &self.handles[usize::from(slot) % SLOTS]
    }
}

/// A script that is run, by a task or inside of one. A future that is written by hand, so that what
/// it owns goes when it is dropped, and not while a panic of its poll unwinds.
struct Body<'s> {
    world: Rc<World>,
    who: u32,
    script: u8,
    at: usize,
    depth: u8,
    /// The script that the future's destructor runs, and that of the output's.
    last: u8,
    output: u8,
    current: Option<BoxFuture<'s, ()>>,
    scope: Option<Rc<Scope<'s>>>,
}

impl Future for Body<'_> {
    type Output = Value;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Value> {
        let this = &mut *self;
        this.world.say("is polled at", this.who, this.world.runtime.now());
        loop {
            if let Some(current) = &mut this.current {
                ready!(current.as_mut().poll(cx));
                this.current = None;
            }
            let op = this.world.program.script(this.script).get(this.at).copied();
            let Some(op) = op.filter(|_| this.world.pay()) else {
                let value = this.world.value(this.output);
                this.world.say("gives", this.who, value.id);
                return Poll::Ready(value);
            };
            this.at += 1;
            this.perform(op, cx);
        }
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.world.say("is dropped", self.who, self.script);
        self.world.last(self.who, self.last, self.scope.as_ref());
    }
}

/// Pending once.
struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Does `f` with what a future gives. The future stays until it is dropped: an async block would
/// drop it while its output is on its way, and if the former panics, Rust may forget the latter.
fn then<'s, T: 's>(
    mut future: BoxFuture<'s, T>,
    f: impl FnOnce(T) + 's,
) -> Option<BoxFuture<'s, ()>> {
    let mut f = Some(f);
    Some(Box::pin(poll_fn(move |cx| {
        let value = ready!(future.as_mut().poll(cx));
        if let Some(f) = f.take() {
            f(value);
        }
        Poll::Ready(())
    })))
}

/// Awaits a handle.
struct Join<'s>(Box<dyn Joining + 's>);

impl Future for Join<'_> {
    type Output = End<Value>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End<Value>> {
        self.0.poll_join(cx)
    }
}

impl<'s> Body<'s> {
    /// A script that runs inside of this one.
    fn inner(&self, script: u8, ends: (u8, u8)) -> BoxFuture<'s, Value> {
        Box::pin(self.world.body(script, self.depth + 1, ends, self.scope.clone()))
    }

    /// Performs an operation, or sets out to.
    fn perform(&mut self, op: Op, cx: &mut Context<'_>) {
        let Op { verb, x, y } = op;
        let (world, who) = (self.world.clone(), self.who);
        let ((a, b, _), (c, d, e)) = (split(x), split(y));
        let deep = self.depth >= DEPTH;
        self.current = match verb {
            Verb::KeepWaker => {
                world.say("keeps its waker", who, x % 8);
                world.keep_waker(x, cx.waker());
                None
            }
            Verb::Park => {
                world.say("parks", who, x % 8);
                world.keep_waker(x, cx.waker());
                Some(Box::pin(Pause(false)))
            }
            Verb::Yield => {
                // Often enough, now and then, for the loop to look at letters and timers meanwhile.
                let times = if x < 128 { 1 } else { x - 120 };
                world.say("yields", who, times);
                Some(Box::pin(async move {
                    for _ in 0..times {
                        world.runtime.yield_now().await;
                    }
                }))
            }
            Verb::Sleep => {
                world.say("sleeps", who, a);
                let mut sleep = world.runtime.sleep(u64::from(a));
                Some(Box::pin(poll_fn(move |cx| Pin::new(&mut *sleep).poll(cx))))
            }
            Verb::Reset => {
                world.say("sleeps", who, a);
                let mut sleep = world.runtime.sleep(u64::from(a));
                Some(Box::pin(async move {
                    if b & 1 == 0 {
                        // So that it is armed, or has fired.
                        let _ = Pin::new(&mut *sleep).poll(&mut Context::from_waker(
                            &poll_fn(|cx| Poll::Ready(cx.waker().clone())).await,
                        ));
                        world.runtime.sleep(u64::from(d)).await;
                    }
                    world.say("sleeps on", who, c);
                    sleep.reset(u64::from(c));
                    (&mut *sleep).await;
                }))
            }
            Verb::Join => {
                let Some(handle) = world.handle(x).take() else { return };
                world.say("waits for a task", who, x % 8);
                then(Box::pin(Join(handle)), move |end| world.joined(who, end))
            }
            Verb::JoinChild => {
                let handle = self.scope.as_ref().and_then(|scope| scope.handle(x).take());
                let Some(handle) = handle else { return };
                world.say("waits for a child", who, x % 8);
                then(Box::pin(Join(handle)), move |end| world.joined(who, end))
            }
            Verb::Timeout if !deep => {
                world.say("sets a limit of", who, c);
                let inner = self.inner(a, (b, d));
                let timeout = world.runtime.timeout(u64::from(c), inner);
                then(timeout, move |value| {
                    world.say("was in time:", who, value.is_some());
                })
            }
            Verb::Gather | Verb::GatherMany if !deep => {
                let futures: Vec<_> = if verb == Verb::GatherMany {
                    (0..y % 80).map(|_| self.inner(a, (0, 0))).collect()
                } else {
                    let scripts = [a, b, c];
                    let scripts = &scripts[usize::from(e == 0)..];
                    scripts.iter().map(|&script| self.inner(script, (d, c))).collect()
                };
                world.say("gathers", who, futures.len() as u64);
                let gather = world.runtime.gather(futures);
                then(gather, move |values| {
                    values.iter().for_each(|value| world.say("has gathered", who, value.id));
                    // One at a time: a second panic while the first unwinds would be left out.
                    values.into_iter().for_each(drop);
                })
            }
            Verb::Race if !deep => {
                let racers = [a, b, c].map(|script| self.inner(script, (d, c))).into();
                world.say("races", who, 3_u8);
                let race = world.runtime.race(racers);
                then(race, move |value| {
                    world.say("has raced", who, value.id);
                })
            }
            Verb::Scope if !deep => {
                world.say("opens a scope", who, a);
                let (inner, depth) = (world.clone(), self.depth + 1);
                let scope = world.runtime.scope(Box::new(move |nursery| {
                    let handles = Default::default();
                    let scope = Rc::new(Scope { nursery, handles, depth });
                    for slot in 0..e {
                        let child = Op { verb: Verb::SpawnChild, x: d | slot << 3, y: c };
                        inner.at_once(who, child, Some(&scope));
                    }
                    Box::pin(inner.body(a, depth, (b, c), Some(scope)))
                }));
                then(scope, move |value| {
                    world.say("leaves a scope with", who, value.id);
                })
            }
            Verb::Wait => {
                let slots = [a, b, c];
                let tasks: Vec<_> = slots.iter().filter_map(|&n| world.handle(n).take()).collect();
                let until = [Until::All, Until::FirstDone, Until::FirstFailed][usize::from(d % 3)];
                let timeout = (e > 0).then_some(u64::from(e));
                world.say("waits for tasks", who, tasks.len() as u64);
                let wait = world.runtime.wait(tasks, until, timeout);
                then(wait, move |waited| {
                    for done in &waited.done {
                        world.note(who, "has waited for", done.look().as_ref());
                    }
                    world.say("failed:", who, waited.failed.len() as u64);
                    for (task, slot) in waited.pending.into_iter().zip(slots) {
                        world.say("still waits", who, slot);
                        let old = world.handle(slot).replace(Some(task));
                        drop(old);
                    }
                    waited.done.into_iter().chain(waited.failed).for_each(drop);
                })
            }
            Verb::Again => {
                self.at = 0;
                None
            }
            _ => {
                let scope = self.scope.clone();
                world.at_once(who, op, scope.as_ref());
                None
            }
        };
    }
}
