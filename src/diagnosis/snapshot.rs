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
    home::Who,
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
        let mut gathering = Gathering {
            index: seen.iter().enumerate().map(|(at, seen)| (seen.header.cast(), at)).collect(),
            waits: seen.iter().map(|_| Vec::new()).collect(),
            resources: Map::default(),
            foreign: vec![false; seen.len()],
        };
        gathering.joins(&seen);
        gathering.queues(core, &seen);
        core.each_timer(|wakee, at, site| {
            let site = site.location().and_then(queue::of_user);
            gathering.add(wakee.behind(), WaitsFor::Timer(at), None, site);
        });
        core.reactor.each(|wakee, what| {
            gathering.add(wakee.behind(), WaitsFor::Io(what), None, None);
        });
        for parent in core.tasks.foreign_parents() {
            if let Some(&at) = gathering.index.get(&parent) {
                gathering.foreign[at] = true;
            }
        }
        let found = gathering.waits.into_iter().zip(gathering.foreign);
        let tasks =
            seen.into_iter().zip(found).map(|(seen, (waits, foreign))| info(seen, waits, foreign));
        Snapshot { at: core.now(), tasks: tasks.collect() }
    }

    /// Tasks that wait for nothing.
    pub(super) fn of_dead(core: &Core, dead: Vec<Seen>) -> Snapshot {
        let tasks = dead.into_iter().map(|seen| info(seen, Vec::new(), false));
        let mut tasks: Vec<TaskInfo> = tasks.collect();
        sort_by(&mut tasks, |task| task.id.number());
        Snapshot { at: core.now(), tasks }
    }

    /// The same moment, with these tasks alone.
    pub(super) fn only(&self, tasks: impl IntoIterator<Item = Id>) -> Snapshot {
        let mut ids: Vec<Id> = tasks.into_iter().collect();
        sort_by(&mut ids, |id| id.number());
        let tasks = ids.into_iter().filter_map(|id| self.get(id)).cloned().collect();
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
struct Gathering {
    /// Where in the list of tasks the one is that goes on when this is woken.
    index: Map<NonNull<Target>, usize>,
    waits: Vec<Vec<WaitInfo>>,
    /// By the numbers of their lines.
    resources: Map<u32, Option<Arc<Resource>>>,
    /// Whose children somebody else may wake.
    foreign: Vec<bool>,
}

impl Gathering {
    fn add(
        &mut self,
        task: Option<NonNull<Target>>,
        what: WaitsFor,
        since: Option<Instant>,
        at: Option<&'static Location<'static>>,
    ) {
        if let Some(&index) = task.and_then(|task| self.index.get(&task)) {
            let waits = &mut self.waits[index];
            if waits.capacity() == 0 {
                // Most tasks wait for one thing, and a vector makes room for four.
                waits.reserve_exact(1);
            }
            waits.push(WaitInfo { what, since, at });
        }
    }

    fn joins(&mut self, seen: &[Seen]) {
        for awaited in seen {
            let task = TaskRef { id: awaited.id, name: Some(awaited.name.clone()) };
            let waiter = awaited.awaited_by.and_then(|waiter| self.index.get(&waiter));
            let at = waiter.and_then(|&waiter| seen[waiter].joins_at).and_then(queue::of_user);
            self.add(awaited.awaited_by, WaitsFor::Task(task), None, at);
        }
    }

    fn queues(&mut self, core: &Core, seen: &[Seen]) {
        for waiting in queue::all_waiting() {
            let Some(task) = waiting.task.filter(|task| self.index.contains_key(task)) else {
                continue;
            };
            let resource = self.resources.entry(waiting.line);
            let resource = resource.or_insert_with(|| resource_of(core, seen, waiting.line));
            if let Some(resource) = resource.clone() {
                let what = WaitsFor::Resource { resource, wants: waiting.wants };
                let at = queue::of_user(waiting.at);
                self.add(Some(task), what, moment(waiting.since), at);
            }
        }
    }
}

/// The moment of a look at the clock, if there was one.
fn moment(nanos: u64) -> Option<Instant> {
    (nanos != 0).then(|| instant(nanos))
}

fn resource_of(core: &Core, seen: &[Seen], line: u32) -> Option<Arc<Resource>> {
    let line = queue::line(line)?;
    let takers = line.takers.as_ref();
    let (tasks, strangers) = takers.map(|takers| takers.borrow_mut().all()).unwrap_or_default();
    let is_ours = |who: &Who| who.is_of(&core.tasks.home);
    let taken_elsewhere = strangers || !tasks.iter().all(is_ours);
    let taken_by = tasks.into_iter().filter(is_ours).map(|who| {
        let id = Id::from(who);
        let at = seen.binary_search_by_key(&id, |seen| seen.id);
        TaskRef { id, name: at.ok().map(|at| seen[at].name.clone()) }
    });
    let taken_by = taken_by.collect();
    let Line { kind, number, name, made_at, .. } = line;
    Some(Arc::new(Resource { kind, number, name, made_at, taken_by, taken_elsewhere }))
}

fn info(seen: Seen, found: Vec<WaitInfo>, children_have_wakers: bool) -> TaskInfo {
    let since = moment(seen.since);
    let has_wakers = seen.has_wakers || children_have_wakers;
    let mut waits = Vec::new();
    if matches!(seen.status, Status::Waiting | Status::New) {
        waits = found;
        let shared: Vec<Id> = waits.iter().filter_map(|wait| shared_task(&wait.what)).collect();
        waits.retain(|wait| match &wait.what {
            // One of those who share the end of a task is woken by it, and wakes the others.
            WaitsFor::Task(task) => !shared.contains(&task.id),
            _ => true,
        });
        for wait in &mut waits {
            wait.since = wait.since.or(since);
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
