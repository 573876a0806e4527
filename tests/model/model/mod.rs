//! The model: a slow and simple executor that does what boucle documents, in safe code, with
//! nothing but std.
//!
//! Tasks and timers are in maps, wakes in lists. It is written from the rules: the ready queue is
//! first in, first out; letters from elsewhere and timers are looked at when nothing is ready and
//! after 64 polls; timers fire by deadline, equal ones by age; a cancel drops the future before it
//! returns, unless that is on the stack, or a destructor that another cancel has called is.

mod hub;
mod nest;
mod nursery;
mod sleep;
mod task;

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    panic::resume_unwind,
    rc::Rc,
    task::Waker,
};

use self::{
    hub::{Hub, Key},
    nest::{Gather, Race, Wait},
    nursery::Scoping,
    sleep::{Sleep, Timeout},
    task::{Fault, Join, Task},
};
use crate::{
    runtime::{
        BoxFuture, Handle, Joining, Nap, Payload, Runtime, ScopeBody, Until, Value, Waited, planned,
    },
    trace::Trace,
};

/// After how many polls letters and timers are looked at.
const STRIDE: u32 = 64;

/// What is done wrong on purpose, to see that the tests find it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Plant {
    /// The last one woken is polled first.
    LifoWakes,
    /// Equal deadlines fire youngest first.
    YoungTimersFirst,
    /// A cancel leaves the future to the loop.
    LateCancel,
    /// A handle that is dropped leaves the output to the end of the loop.
    KeptOutput,
    /// Letters are read before every poll.
    EagerLetters,
    /// A wake during a poll is lost.
    LostSelfWake,
    /// A gather goes on after 64 children.
    GreedyGather,
    /// Children of a scope that ends go youngest first.
    YoungChildrenFirst,
    /// Letters and timers are looked at one poll too early.
    ShortStride,
    /// A timeout asks the clock before the future.
    ClockFirst,
}

pub(crate) struct Model(Rc<Core>);

struct Core {
    hub: Hub,
    /// Those that have not ended.
    tasks: RefCell<BTreeMap<Key, Rc<Task>>>,
    /// Who is woken when, by deadline and age.
    timers: RefCell<BTreeMap<(u64, i64), Waker>>,
    now: Cell<u64>,
    /// How many sleeps were made.
    born: Cell<i64>,
    /// How many polls are left until the next look.
    countdown: Cell<i64>,
    /// How many children the task on the stack may still poll.
    budget: Cell<u32>,
    /// A child is polled, rather than a task.
    inner: Cell<bool>,
    closing: Cell<bool>,
    /// Whose future or output is to be dropped, and whether somebody is at it.
    doomed: RefCell<VecDeque<Rc<Task>>>,
    dooming: Cell<bool>,
    trace: Trace,
    plant: Option<Plant>,
}

impl Model {
    pub(crate) fn new(trace: Trace, plant: Option<Plant>) -> Model {
        Model(Rc::new(Core {
            hub: Hub::new(plant == Some(Plant::LifoWakes)),
            tasks: RefCell::default(),
            timers: RefCell::default(),
            now: Cell::new(0),
            born: Cell::new(0),
            countdown: Cell::new(0),
            budget: Cell::new(0),
            inner: Cell::new(false),
            closing: Cell::new(false),
            doomed: RefCell::default(),
            dooming: Cell::new(false),
            trace,
            plant,
        }))
    }
}

impl Core {
    fn is(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    /// A panic that nobody can see any more.
    fn report(&self, payload: Payload) {
        self.trace.say("nobody observes", 0, planned(&*payload).into());
    }

    fn next_born(&self) -> i64 {
        let born = self.born.get() + 1;
        self.born.set(born);
        if self.is(Plant::YoungTimersFirst) { -born } else { born }
    }

    /// Reads letters and fires timers.
    fn look(&self) {
        self.hub.read_letters();
        loop {
            let mut timers = self.timers.borrow_mut();
            let due = timers.first_entry().filter(|first| first.key().0 <= self.now.get());
            let Some(waker) = due.map(|due| due.remove()) else { return };
            drop(timers);
            waker.wake();
        }
    }

    fn earliest(&self) -> Option<u64> {
        self.timers.borrow().first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Polls the first task that is ready.
    fn run_one(self: &Rc<Self>) -> bool {
        if self.is(Plant::EagerLetters) {
            self.hub.read_letters();
        }
        while let Some(key) = self.hub.pop() {
            let task = self.tasks.borrow().get(&key).cloned();
            if let Some(task) = task {
                let outer = self.inner.replace(false);
                task.run();
                self.inner.set(outer);
                return true;
            }
        }
        false
    }

    /// Polls until `main` has ended (then true) or nothing is ready.
    fn run_ready(self: &Rc<Self>, main: Option<&Task>) -> bool {
        loop {
            let early = u32::from(self.is(Plant::ShortStride));
            self.countdown.set(i64::from(STRIDE - early) - 1);
            while self.run_one() {
                self.countdown.set(self.countdown.get() - 1);
                if self.countdown.get() < 0 {
                    break;
                }
            }
            if main.is_some_and(Task::has_ended) {
                return true;
            }
            self.look();
            if self.hub.is_idle() {
                return false;
            }
        }
    }

    /// Runs `f` in the loop.
    fn entered<R>(&self, f: impl FnOnce() -> R) -> R {
        self.hub.enter();
        let result = f();
        self.hub.leave();
        result
    }

    /// Runs `f` in the loop, which is at rest for its host when nothing is ready any more.
    fn driven<R>(&self, f: impl FnOnce() -> R) -> R {
        self.hub.busy();
        self.entered(|| {
            let result = f();
            self.rest();
            result
        })
    }

    fn rest(&self) {
        while !self.has_ready() && !self.hub.is_at_rest() {
            self.look();
        }
    }

    /// Whether a task is ready that has not ended. Those that have, and come first, are forgotten.
    fn has_ready(&self) -> bool {
        while let Some(key) = self.hub.first() {
            if self.tasks.borrow().contains_key(&key) {
                return true;
            }
            self.hub.pop();
        }
        false
    }

    fn sleep(self: &Rc<Self>, after: u64) -> Sleep {
        Sleep::new(self, after)
    }
}

impl Runtime for Model {
    fn spawn(&self, future: BoxFuture<'static, Value>) -> Box<dyn Handle> {
        let task = Task::spawn(&self.0, future, false);
        self.0.hub.ring_if_idle();
        Box::new(task)
    }

    fn yield_now(&self) -> BoxFuture<'static, ()> {
        let mut yielded = false;
        Box::pin(std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut yielded, true) {
                return std::task::Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        }))
    }

    fn sleep(&self, after: u64) -> Box<dyn Nap> {
        Box::new(self.0.sleep(after))
    }

    fn timeout<'a>(&self, after: u64, f: BoxFuture<'a, Value>) -> BoxFuture<'a, Option<Value>> {
        Box::pin(Timeout::new(f, self.0.sleep(after)))
    }

    fn gather<'a>(&self, futures: Vec<BoxFuture<'a, Value>>) -> BoxFuture<'a, Vec<Value>> {
        Box::pin(Gather::new(&self.0, futures))
    }

    fn race<'a>(&self, futures: Vec<BoxFuture<'a, Value>>) -> BoxFuture<'a, Value> {
        Box::pin(Race::new(&self.0, futures))
    }

    fn scope(&self, body: ScopeBody) -> BoxFuture<'static, Value> {
        Box::pin(Scoping::new(&self.0, body))
    }

    fn wait(
        &self,
        tasks: Vec<Box<dyn Handle>>,
        until: Until,
        timeout: Option<u64>,
    ) -> BoxFuture<'static, Waited> {
        let own = |task: Box<dyn Handle>| -> Join {
            let any: Box<dyn Any> = task.into_any();
            *any.downcast().expect("a handle of the model")
        };
        let tasks = tasks.into_iter().map(own).collect();
        Box::pin(Wait::new(&self.0, tasks, until, timeout.map(|after| self.0.sleep(after))))
    }

    fn now(&self) -> u64 {
        self.0.now.get()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.0.earliest()
    }

    fn step(&self) -> bool {
        let core = &self.0;
        core.driven(|| {
            if core.countdown.get() <= 0 || core.hub.is_idle() {
                core.look();
                core.countdown.set(STRIDE.into());
            }
            core.rest();
            let polled = core.run_one();
            core.countdown.set(core.countdown.get() - 1);
            if !core.hub.is_idle() {
                core.hub.ring_if_idle();
            }
            polled
        })
    }

    fn run_until_stalled(&self) {
        let core = &self.0;
        core.driven(|| {
            loop {
                core.run_ready(None);
                core.look();
                core.rest();
                if core.hub.is_idle() {
                    break;
                }
                core.hub.busy();
            }
        });
    }

    fn advance(&self, by: u64) {
        let core = &self.0;
        let until = core.now.get() + by;
        core.driven(|| {
            loop {
                core.run_ready(None);
                core.look();
                if !core.hub.is_idle() || core.hub.has_rung() {
                    continue;
                }
                match core.earliest().filter(|&deadline| deadline <= until) {
                    Some(deadline) => {
                        core.now.set(core.now.get().max(deadline));
                        core.look();
                    }
                    None => break,
                }
            }
            core.now.set(until);
        });
    }

    fn block_on(&self, future: BoxFuture<'static, Value>) -> Value {
        let core = &self.0;
        let mut main = Task::spawn(core, future, true);
        core.driven(|| {
            while !core.run_ready(Some(main.task())) {
                if core.hub.has_rung() {
                    core.look();
                    continue;
                }
                let deadline = core.earliest().expect("programs set a limit");
                core.now.set(core.now.get().max(deadline));
                core.look();
            }
        });
        match main.take() {
            Ok(value) => value,
            Err(Fault::Panicked(payload)) => resume_unwind(payload),
            Err(Fault::Cancelled) => unreachable!("nobody can cancel it"),
        }
    }

    fn close(&self) {
        let core = &self.0;
        core.closing.set(true);
        core.entered(|| {
            let tasks: Vec<_> = core.tasks.borrow().values().cloned().collect();
            core.dooming.set(true);
            tasks.iter().for_each(|task| task.dispose());
            core.dooming.set(false);
            core.drop_doomed();
        });
        drop(tasks_left(core));
    }
}

/// None, unless a task was left out.
fn tasks_left(core: &Core) -> Vec<Rc<Task>> {
    let left: Vec<_> = core.tasks.take().into_values().collect();
    assert!(left.is_empty(), "the model has forgotten a task");
    left
}

/// How a handle shows itself to programs.
impl Joining for Join {
    fn cancel(&self) -> bool {
        self.task().cancel()
    }

    fn status(&self) -> &'static str {
        self.task().status()
    }

    fn poll_join(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<crate::runtime::End<Value>> {
        self.poll_end(cx)
    }
}
