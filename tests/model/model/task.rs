//! Tasks and children of scopes: how they are polled, end, and are cancelled.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::{Core, Plant, hub::Key, nursery::Nursery};
use crate::runtime::{BoxFuture, End, Handle, Payload, Value, catch, planned};

pub(super) enum Fault {
    Cancelled,
    Panicked(Payload),
}

pub(super) struct Task {
    core: Rc<Core>,
    pub(super) key: Key,
    /// The scope that it is a child of.
    nursery: Option<Rc<Nursery>>,
    future: RefCell<Option<BoxFuture<'static, Value>>>,
    result: RefCell<Option<Result<Value, Fault>>>,
    joiner: RefCell<Option<Waker>>,
    status: Cell<Option<&'static str>>,
    /// It has not begun to end.
    live: Cell<bool>,
    /// It is polled, or its future is dropped.
    busy: Cell<bool>,
    started: Cell<bool>,
    to_cancel: Cell<bool>,
    handle: Cell<bool>,
    /// Its handle's drop cancels it.
    bound: Cell<bool>,
    /// Its panic was seen.
    seen: Cell<bool>,
    main: bool,
}

impl Task {
    fn new(
        core: &Rc<Core>,
        key: Key,
        nursery: Option<Rc<Nursery>>,
        future: BoxFuture<'static, Value>,
        main: bool,
    ) -> Rc<Task> {
        Rc::new(Task {
            core: core.clone(),
            key,
            nursery,
            future: RefCell::new(Some(future)),
            result: RefCell::default(),
            joiner: RefCell::default(),
            status: Cell::new(None),
            live: Cell::new(true),
            busy: Cell::new(false),
            started: Cell::new(false),
            to_cancel: Cell::new(false),
            handle: Cell::new(true),
            bound: Cell::new(false),
            seen: Cell::new(false),
            main,
        })
    }

    pub(super) fn spawn(core: &Rc<Core>, future: BoxFuture<'static, Value>, main: bool) -> Join {
        let task = Task::new(core, core.hub.add_task(), None, future, main);
        if core.closing.get() {
            task.cancel_now();
        } else {
            core.tasks.borrow_mut().insert(task.key, task.clone());
            core.hub.hit(task.key, 0);
        }
        Join(task)
    }

    pub(super) fn spawn_child(
        core: &Rc<Core>,
        nursery: &Rc<Nursery>,
        future: BoxFuture<'static, Value>,
    ) -> Join {
        let key = core.hub.add_child(nursery.key);
        let task = Task::new(core, key, Some(nursery.clone()), future, false);
        nursery.children.borrow_mut().insert(key, task.clone());
        if nursery.closing.get() {
            task.cancel_now();
        } else {
            core.hub.hit(key, 0);
        }
        Join(task)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.status.get().is_some()
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.get()
    }

    pub(super) fn status(&self) -> &'static str {
        match self.status.get() {
            Some(status) => status,
            None if self.busy.get() => "RUNNING",
            None if !self.started.get() => "NEW",
            None if self.core.hub.is_queued(self.key) => "READY",
            None => "WAITING",
        }
    }

    /// One poll, and what comes of it.
    pub(super) fn run(self: &Rc<Self>) {
        self.busy.set(true);
        self.started.set(true);
        let waker = self.core.hub.waker(self.key, 0);
        let future = self.future.take();
        let mut future = future.expect("a live task has its future");
        let polled = catch(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        match polled {
            Ok(Poll::Pending) if self.to_cancel.get() => {
                self.future.replace(Some(future));
                self.cancel_now();
            }
            Ok(Poll::Pending) => {
                self.future.replace(Some(future));
                self.busy.set(false);
                if self.core.is(Plant::LostSelfWake) && self.core.hub.is_queued(self.key) {
                    self.core.hub.pop();
                }
            }
            Ok(Poll::Ready(value)) => self.finish(future, Ok(value)),
            Err(payload) => self.finish(future, Err(payload)),
        }
    }

    /// The future goes first, then what came of it is kept or dropped. The first panic counts.
    fn finish(&self, future: BoxFuture<'static, Value>, result: Result<Value, Payload>) {
        self.die();
        let dropped = catch(|| drop(future));
        let result = match (result, dropped) {
            (Ok(value), Err(payload)) => {
                let _ = catch(|| drop(value));
                Err(payload)
            }
            (result, _) => result,
        };
        match result {
            Ok(value) if self.handle.get() && !self.to_cancel.get() => {
                self.result.replace(Some(Ok(value)));
                self.status.set(Some("FINISHED"));
            }
            Ok(value) => {
                if let Err(payload) = catch(|| drop(value)) {
                    self.stray(payload);
                }
                if self.to_cancel.get() {
                    self.mark_cancelled();
                } else {
                    self.status.set(Some("FINISHED"));
                }
            }
            Err(payload) if self.to_cancel.get() => {
                self.stray(payload);
                self.mark_cancelled();
            }
            Err(payload) => {
                self.status.set(Some("FAILED"));
                if self.nursery.is_some() || !self.handle.get() {
                    self.stray(payload);
                } else {
                    self.result.replace(Some(Err(Fault::Panicked(payload))));
                }
            }
        }
        self.conclude();
    }

    /// Wakes mean nothing to it any more.
    fn die(&self) {
        self.live.set(false);
        self.core.hub.remove(self.key);
        if self.nursery.is_none() {
            let task = self.core.tasks.borrow_mut().remove(&self.key);
            drop(task);
        }
    }

    fn mark_cancelled(&self) {
        self.status.set(Some("CANCELLED"));
        if self.handle.get() {
            self.result.replace(Some(Err(Fault::Cancelled)));
        }
    }

    /// A panic that is not the result: the scope's, or nobody's.
    fn stray(&self, payload: Payload) {
        match &self.nursery {
            Some(nursery) => nursery.panicked(payload),
            None => self.core.report(payload),
        }
    }

    /// Wakes who awaits it, and then who polls the scope.
    fn conclude(&self) {
        if let Some(nursery) = &self.nursery {
            let child = nursery.children.borrow_mut().remove(&self.key);
            drop(child);
        }
        if self.main {
            self.core.countdown.set(0);
        }
        self.busy.set(false);
        let joiner = self.joiner.take();
        if let Some(joiner) = joiner {
            joiner.wake();
        }
        if let Some(nursery) = &self.nursery {
            self.core.hub.tell(nursery.key);
        }
    }

    /// False if it has ended.
    pub(super) fn cancel(self: &Rc<Self>) -> bool {
        if self.has_ended() {
            return false;
        }
        if self.busy.get() {
            self.to_cancel.set(true);
        } else if self.live.get() && self.core.is(Plant::LateCancel) {
            self.to_cancel.set(true);
            self.core.hub.hit(self.key, 0);
        } else if self.live.get() {
            self.doom();
        }
        true
    }

    /// Drops the future, which is not on the stack.
    pub(super) fn cancel_now(&self) {
        self.busy.set(true);
        self.die();
        let future = self.future.take();
        if let Err(payload) = catch(|| drop(future)) {
            self.stray(payload);
        }
        self.mark_cancelled();
        self.conclude();
    }

    /// Drops the future, or an output that nobody can ask for: now, or before the outermost such
    /// call returns.
    fn doom(self: &Rc<Self>) {
        match &self.nursery {
            Some(nursery) => {
                nursery.doomed.borrow_mut().push_back(self.clone());
                nursery.drop_doomed();
            }
            None => {
                self.core.doomed.borrow_mut().push_back(self.clone());
                self.core.entered(|| self.core.drop_doomed());
                if !self.core.hub.is_idle() {
                    self.core.hub.ring_if_idle();
                }
            }
        }
    }

    /// Does what it was doomed to.
    pub(super) fn dispose(&self) {
        if self.live.get() && self.busy.get() {
            self.to_cancel.set(true);
        } else if self.live.get() {
            self.cancel_now();
        } else if !self.handle.get() && matches!(*self.result.borrow(), Some(Ok(_))) {
            let value = self.result.take();
            if let Err(payload) = catch(|| drop(value)) {
                self.stray(payload);
            }
        }
    }
}

impl Core {
    pub(super) fn drop_doomed(&self) {
        if self.dooming.replace(true) {
            return;
        }
        loop {
            let next = self.doomed.borrow_mut().pop_front();
            let Some(task) = next else { break };
            task.dispose();
        }
        self.dooming.set(false);
    }
}

/// The handle.
pub(super) struct Join(Rc<Task>);

impl Join {
    pub(super) fn task(&self) -> &Rc<Task> {
        &self.0
    }

    /// Whether it has ended; if not, whoever is polled is woken when it does.
    pub(super) fn watch(&self, cx: &Context<'_>) -> bool {
        if !self.0.has_ended() {
            let old = self.0.joiner.replace(Some(cx.waker().clone()));
            drop(old);
        }
        self.0.has_ended()
    }

    pub(super) fn take(&mut self) -> Result<Value, Fault> {
        let result = self.0.result.take();
        result.expect("asked once, at the end")
    }

    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End<Value>> {
        if !self.watch(cx) {
            return Poll::Pending;
        }
        // The scope ends with the panic of a child.
        if self.0.nursery.is_some() && self.0.status() == "FAILED" {
            return Poll::Pending;
        }
        Poll::Ready(match self.take() {
            Ok(value) => End::Done(value),
            Err(Fault::Cancelled) => End::Cancelled,
            Err(Fault::Panicked(payload)) => End::Panicked(planned(&*payload)),
        })
    }
}

impl Handle for Join {
    fn look(&self) -> Option<End<u32>> {
        let result = self.0.result.borrow();
        self.0.seen.set(self.0.seen.get() || result.is_some());
        Some(match result.as_ref()? {
            Ok(value) => End::Done(value.id),
            Err(Fault::Cancelled) => End::Cancelled,
            Err(Fault::Panicked(_)) => End::Panicked(0),
        })
    }

    fn canceller(&self) -> Box<dyn Fn() -> bool> {
        let task = self.0.clone();
        Box::new(move || task.cancel())
    }

    fn bind(self: Box<Self>) -> Box<dyn Handle> {
        self.0.bound.set(true);
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Drop for Join {
    fn drop(&mut self) {
        let task = &self.0;
        task.handle.set(false);
        if task.bound.get() {
            task.cancel();
        }
        let joiner = task.joiner.take();
        drop(joiner);
        let result = task.result.borrow();
        match result.as_ref() {
            Some(Ok(_)) if task.core.is(Plant::KeptOutput) => {}
            Some(Ok(_)) => {
                drop(result);
                task.doom();
            }
            Some(Err(_)) => {
                drop(result);
                if let Some(Err(Fault::Panicked(payload))) = task.result.take() {
                    if !task.seen.get() {
                        task.core.report(payload);
                    }
                }
            }
            None => {}
        }
    }
}
