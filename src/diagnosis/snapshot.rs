//! How a snapshot is taken: one walk over the tasks, the timers and the queues.

use std::{
    fmt,
    panic::Location,
    ptr::NonNull,
    sync::Arc,
    time::{Duration, Instant},
};

use super::info::{Resource, TaskInfo, TaskRef, WaitInfo, WaitsFor};
use crate::{
    clock::instant,
    current::current,
    map::Map,
    order::sort_by,
    queue::{self, Line, ResourceKind},
    task::{Id, Seen, Status, Waits},
    turn::Core,
    wakee::Target,
};

/// What every task of a loop waited for at one moment.
///
/// Its `Display` is a report for people, as in [`Stalled`](crate::Stalled).
#[derive(Clone)]
pub struct Snapshot {
    at: Instant,
    tasks: Vec<TaskInfo>,
}

/// What every task of the loop that runs on this thread waits for, right now.
///
/// # Panics
/// Outside a loop; [`Loop::snapshot`](crate::Loop::snapshot) works there.
///
/// ```
/// boucle::block_on(async {
///     let nap = boucle::spawn(boucle::sleep(std::time::Duration::from_secs(60))).named("nap");
///     boucle::yield_now().await;
///     let report = boucle::snapshot().to_string();
///     assert!(report.contains("nap #2 WAITING, waiting for a timer in "), "{report}");
///     nap.cancel();
/// });
/// ```
#[track_caller]
pub fn snapshot() -> Snapshot {
    current("boucle::snapshot", Snapshot::of)
}

impl Snapshot {
    pub(crate) fn of(core: &Core) -> Snapshot {
        let seen = core.tasks.survey();
        let mut gathering = Gathering::default();
        gathering.index.reserve(seen.len());
        gathering.tasks.reserve(seen.len());
        for seen in seen {
            gathering.index.insert(key(seen.target), gathering.tasks.len());
            gathering.tasks.push(Found { seen, waits: Vec::new(), is_foreign: false });
        }
        gathering.joins();
        gathering.queues(core);
        core.each_timer(|wakee, at, site| {
            let site = site.location().and_then(queue::of_user);
            gathering.add(wakee.behind(), WaitsFor::Timer(at), None, site);
        });
        core.reactor.each(|wakee, what| {
            gathering.add(wakee.behind(), WaitsFor::Io(what), None, None);
        });
        for parent in core.tasks.foreign_parents() {
            if let Some(task) = gathering.task(parent) {
                task.is_foreign = true;
            }
        }
        Snapshot::from(core, gathering.tasks)
    }

    /// Tasks that wait for nothing.
    pub(super) fn of_dead(core: &Core, dead: Vec<Seen>) -> Snapshot {
        let mut tasks = Vec::with_capacity(dead.len());
        for seen in dead {
            tasks.push(Found { seen, waits: Vec::new(), is_foreign: false });
        }
        sort_by(&mut tasks, |task| task.seen.id.number());
        Snapshot::from(core, tasks)
    }

    fn from(core: &Core, found: Vec<Found>) -> Snapshot {
        let mut tasks = Vec::with_capacity(found.len());
        for found in found {
            tasks.push(info(found));
        }
        Snapshot { at: core.now(), tasks }
    }

    /// The same moment, with these tasks alone; they are in the order in which they were spawned.
    pub(super) fn only(&self, ids: &[Id]) -> Snapshot {
        let mut tasks = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(task) = self.get(*id) {
                tasks.push(task.clone());
            }
        }
        Snapshot { at: self.at, tasks }
    }

    pub(crate) fn into_tasks(self) -> Vec<TaskInfo> {
        self.tasks
    }

    /// When it was taken, on the clock of the loop.
    ///
    /// ```
    /// let l = boucle::Loop::builder().virtual_time().build();
    /// assert_eq!(l.snapshot().at(), l.now());
    /// ```
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The tasks that had not ended, in the order in which they were spawned.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let _soda = l.spawn(async {}).named("soda");
    /// assert_eq!(l.snapshot().tasks()[0].name, "soda");
    /// ```
    pub fn tasks(&self) -> &[TaskInfo] {
        &self.tasks
    }

    /// The task with this number, if it had not ended. O(log n).
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let soda = l.spawn(async {}).named("soda");
    /// assert_eq!(l.snapshot().get(soda.id()).unwrap().name, "soda");
    /// ```
    pub fn get(&self, id: Id) -> Option<&TaskInfo> {
        self.position(id).map(|at| &self.tasks[at])
    }

    /// Where in the list of tasks this one is. O(log n).
    pub(super) fn position(&self, id: Id) -> Option<usize> {
        self.tasks.binary_search_by_key(&id, |task| task.id).ok()
    }

    /// What tasks waited for that is no task, each once, in the order in which it was first waited
    /// for.
    ///
    /// ```
    /// use boucle::{ResourceKind, Waiter};
    ///
    /// let (l, gate) = (boucle::Loop::new(), Waiter::new(1));
    /// let stalled = l.try_block_on(gate.wait()).unwrap_err();
    /// assert_eq!(stalled.snapshot().resources()[0].kind, ResourceKind::Waiter);
    /// ```
    #[inline]
    pub fn resources(&self) -> Vec<&Resource> {
        let waits = self.tasks.iter().flat_map(|task| &task.waits);
        let mut resources: Vec<&Resource> = waits
            .filter_map(|wait| match &wait.what {
                WaitsFor::Resource { resource, .. } => Some(&**resource),
                _ => None,
            })
            .collect();
        sort_by(&mut resources, |resource| resource.number);
        resources.dedup_by_key(|resource| resource.number);
        resources
    }
}

/// What was found so far.
#[derive(Default)]
struct Gathering {
    tasks: Vec<Found>,
    /// Where in the list of tasks the one is that goes on when this is woken.
    index: Map<u64, usize>,
    resources: Vec<Option<Arc<Resource>>>,
    /// Where in the list of resources the one is that has this line.
    lines: Map<u64, usize>,
}

/// What was found of one task.
struct Found {
    seen: Seen,
    waits: Vec<WaitInfo>,
    /// Whether somebody else may wake its children.
    is_foreign: bool,
}

/// What a target is called in an index.
fn key(target: NonNull<Target>) -> u64 {
    target.addr().get() as u64
}

impl Gathering {
    /// The task that goes on when this is woken.
    fn task(&mut self, target: NonNull<Target>) -> Option<&mut Found> {
        self.index.get(&key(target)).map(|&at| &mut self.tasks[at])
    }

    fn add(
        &mut self,
        task: Option<NonNull<Target>>,
        what: WaitsFor,
        since: Option<Instant>,
        at: Option<&'static Location<'static>>,
    ) {
        if let Some(task) = task.and_then(|task| self.task(task)) {
            if task.waits.capacity() == 0 {
                // Most tasks wait for one thing, and a vector makes room for four.
                task.waits.reserve_exact(1);
            }
            task.waits.push(WaitInfo { what, since, at });
        }
    }

    fn joins(&mut self) {
        for at in 0..self.tasks.len() {
            let Seen { id, ref name, awaited_by, .. } = self.tasks[at].seen;
            if let Some(waiter) = awaited_by {
                let what = WaitsFor::Task(TaskRef { id, name: Some(name.clone()) });
                let at = self.task(waiter).and_then(|waiter| waiter.seen.joins_at);
                self.add(awaited_by, what, None, at.and_then(queue::of_user));
            }
        }
    }

    fn queues(&mut self, core: &Core) {
        for waiting in queue::all_waiting() {
            let Some(task) = waiting.task.filter(|task| self.index.contains_key(&key(*task)))
            else {
                continue;
            };
            if let Some(resource) = self.resource(core, waiting.line) {
                let what = WaitsFor::Resource { resource, wants: waiting.wants };
                let at = queue::of_user(waiting.at);
                self.add(Some(task), what, moment(waiting.since), at);
            }
        }
    }

    /// What those wait for who are in this line.
    fn resource(&mut self, core: &Core, line: u32) -> Option<Arc<Resource>> {
        if let Some(&at) = self.lines.get(&line.into()) {
            return self.resources[at].clone();
        }
        let resource = self.look_up(core, line).map(Arc::new);
        self.lines.insert(line.into(), self.resources.len());
        self.resources.push(resource.clone());
        resource
    }

    fn look_up(&mut self, core: &Core, line: u32) -> Option<Resource> {
        let Line { kind, number, name, made_at, takers } = queue::line(line)?;
        let (tasks, strangers) = takers.map(|takers| takers.borrow_mut().all()).unwrap_or_default();
        let (mut taken_by, mut taken_elsewhere) = (Vec::new(), strangers);
        for who in tasks {
            if who.is_of(&core.tasks.home) {
                let task = core.tasks.target(who).and_then(|task| self.task(task));
                let name = task.map(|task| task.seen.name.clone());
                taken_by.push(TaskRef { id: who.into(), name });
            } else {
                taken_elsewhere = true;
            }
        }
        Some(Resource { kind, number, name, made_at, taken_by, taken_elsewhere })
    }
}

/// The moment of a look at the clock, if there was one.
fn moment(nanos: u64) -> Option<Instant> {
    (nanos != 0).then(|| instant(nanos))
}

fn info(found: Found) -> TaskInfo {
    let Found { seen, mut waits, is_foreign } = found;
    let since = moment(seen.since);
    let has_wakers = seen.has_wakers || is_foreign;
    if !matches!(seen.status, Status::Waiting | Status::New) {
        waits = Vec::new();
    } else {
        let mut shared = Vec::new();
        for wait in &mut waits {
            wait.since = wait.since.or(since);
            if let Some(task) = shared_task(&wait.what) {
                shared.push(task);
            }
        }
        if !shared.is_empty() {
            waits.retain(|wait| match &wait.what {
                // One of those who share the end of a task is woken by it, and wakes the others.
                WaitsFor::Task(task) => !shared.contains(&task.id),
                _ => true,
            });
        }
        let alone = |what, at: Option<_>| WaitInfo { what, since, at: at.and_then(queue::of_user) };
        match seen.waits {
            Waits::Children(at) => waits.insert(0, alone(WaitsFor::Children, at)),
            Waits::Remote(at) => waits.insert(0, alone(WaitsFor::Remote, at)),
            Waits::Forever(at) => waits.insert(0, alone(WaitsFor::Forever, at)),
            _ => {}
        }
        if has_wakers && !matches!(seen.waits, Waits::Remote(_)) {
            waits.push(alone(WaitsFor::Foreign, None));
        } else if waits.is_empty() && seen.status == Status::Waiting {
            let known = if seen.is_held { WaitsFor::Unknown } else { WaitsFor::Nothing };
            waits.push(alone(known, None));
        }
    }
    TaskInfo {
        id: seen.id,
        name: seen.name,
        status: seen.status,
        spawned_at: seen.place,
        parent: seen.parent,
        waits,
        polled_at: since,
        has_wakers,
        is_scoped: seen.is_scoped,
    }
}

/// The task whose end several await, if it is that.
fn shared_task(what: &WaitsFor) -> Option<Id> {
    match what {
        WaitsFor::Resource { resource, .. } if resource.kind == ResourceKind::Task => {
            resource.taken_by.first().map(|task| task.id)
        }
        _ => None,
    }
}

/// How long before `at` it was, if that is worth a word.
pub(super) fn ago(at: Instant, since: Option<Instant>) -> Option<Duration> {
    let passed = at.saturating_duration_since(since?);
    (passed >= Duration::from_millis(1)).then_some(passed)
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
