//! Scopes: children that nobody outlives.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    panic::resume_unwind,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use super::{Core, Plant, hub::Key, task::Task};
use crate::runtime::{self, BoxFuture, Joining, Payload, ScopeBody, Value, catch};

pub(super) struct Nursery {
    core: Rc<Core>,
    /// The body's.
    pub(super) key: Key,
    /// Those that have not ended, oldest first.
    pub(super) children: RefCell<BTreeMap<Key, Rc<Task>>>,
    /// What is spawned is dropped at once.
    pub(super) closing: Cell<bool>,
    /// The scope ends without waiting for anybody.
    cut: Cell<bool>,
    panic: RefCell<Option<Payload>>,
    pub(super) doomed: RefCell<VecDeque<Rc<Task>>>,
    dooming: Cell<bool>,
}

impl Nursery {
    /// The first panic is the scope's.
    pub(super) fn panicked(&self, payload: Payload) {
        self.cut.set(true);
        self.core.hub.tell(self.key);
        self.panic.borrow_mut().get_or_insert(payload);
    }

    pub(super) fn drop_doomed(&self) {
        if self.dooming.replace(true) {
            return;
        }
        loop {
            let next = self.doomed.borrow_mut().pop_front();
            let Some(child) = next else { break };
            child.dispose();
        }
        self.dooming.set(false);
    }

    /// Drops all children, oldest first.
    fn close(&self) {
        self.closing.set(true);
        let outer = self.dooming.replace(true);
        self.core.hub.set_polling(self.key, true);
        self.core.entered(|| {
            loop {
                let children = self.children.borrow();
                let mut live = children.values().filter(|child| child.is_live());
                let young = self.core.is(Plant::YoungChildrenFirst);
                let next = if young { live.next_back() } else { live.next() }.cloned();
                drop(children);
                let Some(child) = next else { break };
                child.cancel_now();
            }
            self.dooming.set(outer);
            self.drop_doomed();
        });
        self.core.hub.set_polling(self.key, false);
        if !self.core.hub.is_idle() {
            self.core.hub.ring_if_idle();
        }
    }
}

/// What the body and the children spawn into.
struct Door(Rc<Nursery>);

impl runtime::Nursery<'static> for Door {
    fn spawn(&self, child: BoxFuture<'static, Value>) -> Box<dyn Joining> {
        Box::new(Task::spawn_child(&self.0.core, &self.0, child))
    }

    fn cancel_all(&self) {
        self.0.closing.set(true);
        let children: Vec<_> = self.0.children.borrow().values().cloned().collect();
        self.0.doomed.borrow_mut().extend(children);
        self.0.drop_doomed();
    }
}

/// The future of a scope.
pub(super) struct Scoping {
    core: Rc<Core>,
    make: Option<ScopeBody>,
    body: Option<BoxFuture<'static, Value>>,
    nursery: Option<Rc<Nursery>>,
    output: Option<Value>,
}

impl Scoping {
    pub(super) fn new(core: &Rc<Core>, make: ScopeBody) -> Scoping {
        Scoping { core: core.clone(), make: Some(make), body: None, nursery: None, output: None }
    }

    fn begin(&mut self) -> Rc<Nursery> {
        if let Some(make) = self.make.take() {
            let nursery = Rc::new(Nursery {
                core: self.core.clone(),
                key: self.core.hub.add_scope(),
                children: RefCell::default(),
                closing: Cell::new(false),
                cut: Cell::new(false),
                panic: RefCell::default(),
                doomed: RefCell::default(),
                dooming: Cell::new(false),
            });
            self.core.hub.hit(nursery.key, 0);
            self.body = Some(make(Rc::new(Door(nursery.clone()))));
            self.nursery = Some(nursery);
        }
        self.nursery.clone().expect("it has begun and not ended")
    }

    /// The body has its turn.
    fn poll_body(&mut self, nursery: &Nursery, cx: &mut Context<'_>) {
        let polled = catch(|| {
            let Some(body) = &mut self.body else { return };
            if let Poll::Ready(value) = body.as_mut().poll(cx) {
                self.output = Some(value);
                self.core.hub.end_body(nursery.key);
                self.body = None;
            }
        });
        if let Err(payload) = polled {
            self.core.hub.end_body(nursery.key);
            nursery.panicked(payload);
        }
    }

    /// Polls the body and the children that are ready; true if the scope ends.
    fn poll_all(&mut self, nursery: &Rc<Nursery>, cx: &mut Context<'_>) -> bool {
        let (core, key) = (self.core.clone(), nursery.key);
        let until = core.hub.begin(key, cx.waker());
        let mut budget = core.begin();
        while until.is_some() && !nursery.cut.get() && budget > 0 {
            let Some(next) = core.hub.pop_child(key) else { break };
            let polled = core.spend(budget, || {
                if next == key {
                    let waker = core.hub.waker(key, 0);
                    self.poll_body(nursery, &mut Context::from_waker(&waker));
                } else {
                    let child = nursery.children.borrow().get(&next).cloned();
                    if let Some(child) = child.filter(|child| child.is_live()) {
                        child.run();
                    }
                }
            });
            let ((), left) = polled.unwrap_or_else(|payload| resume_unwind(payload));
            budget = left;
            if Some(next) == until {
                break;
            }
        }
        core.hub.set_polling(key, false);
        let over = self.body.is_none() && nursery.children.borrow().is_empty();
        if nursery.cut.get() || over {
            return true;
        }
        if core.hub.has_ready(key) {
            cx.waker().wake_by_ref();
        }
        false
    }
}

impl Future for Scoping {
    type Output = Value;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Value> {
        let nursery = self.begin();
        if !self.poll_all(&nursery, cx) {
            return Poll::Pending;
        }
        nursery.closing.set(true);
        let body = self.body.take();
        if let Err(payload) = catch(|| drop(body)) {
            nursery.panicked(payload);
        }
        nursery.close();
        self.nursery = None;
        self.core.hub.remove(nursery.key);
        let output = self.output.take();
        let panic = nursery.panic.take();
        if let Some(payload) = panic {
            let _ = catch(|| drop(output));
            resume_unwind(payload);
        }
        Poll::Ready(output.expect("the body has ended"))
    }
}

/// What is left to do when the future of a scope is dropped, whatever panics before.
struct Ending(Rc<Nursery>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close();
        self.0.core.hub.remove(self.0.key);
        let panic = self.0.panic.take();
        if let Some(payload) = panic {
            self.0.core.report(payload);
        }
    }
}

/// The body, which finds that nobody can be spawned any more.
struct Body {
    nursery: Rc<Nursery>,
    _body: Option<BoxFuture<'static, Value>>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.nursery.closing.set(true);
    }
}

impl Drop for Scoping {
    fn drop(&mut self) {
        let Some(nursery) = self.nursery.take() else { return };
        // Dropped from the last to the first: the output or the body, then the children.
        let _ending = Ending(nursery.clone());
        let _body = Body { nursery, _body: self.body.take() };
        let _output = self.output.take();
    }
}
