//! Who waits for whom: circles, and tasks that only stuck tasks can wake.

use super::{
    info::{Resource, TaskInfo, WaitsFor},
    snapshot::Snapshot,
};
use crate::{
    queue::ResourceKind,
    task::{Id, Status},
};

impl Snapshot {
    /// The tasks that only stuck tasks can wake: those of this list, that is. One heartbeat timer
    /// beside them does not hide a partial deadlock.
    ///
    /// A task counts as stuck if all that it waits for has to come from tasks that are: the ends
    /// of tasks, locks and permits that certain tasks took; or if nobody can wake it. What any task
    /// may bring, such as a message or the set of a waiter, has to come from somewhere else as soon
    /// as one task is not stuck. No more is claimed than what is known: a guard may have moved,
    /// permits may be added to a semaphore, a task that is not stuck may cancel one that is, and
    /// another loop of the thread is not looked at. O(n + waits).
    ///
    /// ```
    /// use boucle::{Loop, sleep, spawn, sync::Mutex};
    /// use std::{rc::Rc, time::Duration};
    ///
    /// let l = Loop::builder().virtual_time().build();
    /// l.block_on(async {
    ///     let (a, b) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
    ///     for (first, second) in [(a.clone(), b.clone()), (b, a)] {
    ///         drop(spawn(async move {
    ///             let _first = first.lock().await;
    ///             sleep(Duration::from_secs(1)).await;
    ///             let _second = second.lock().await;
    ///         }));
    ///     }
    ///     sleep(Duration::from_secs(2)).await;
    ///     let snapshot = boucle::snapshot();
    ///     assert_eq!(snapshot.stuck().len(), 2);
    /// });
    /// ```
    #[inline]
    pub fn stuck(&self) -> Vec<&TaskInfo> {
        let tasks = self.tasks();
        let mut stuck = vec![true; tasks.len()];
        // Whom a task that turns out not to be stuck takes along, and whom any such task does.
        let mut takes = vec![Vec::new(); tasks.len()];
        let mut any = Vec::new();
        let mut free = Vec::new();
        for (index, task) in tasks.iter().enumerate() {
            if let Some(parent) = task.parent.and_then(|id| self.position(id)) {
                if task.is_scoped {
                    takes[index].push(parent);
                }
            }
            if task.status != Status::Waiting || task.has_wakers {
                free.push(index);
            }
            for wait in &task.waits {
                match needs(&wait.what) {
                    Needs::Nobody => {}
                    Needs::Anybody => any.push(index),
                    Needs::Elsewhere => free.push(index),
                    Needs::Tasks(ids) => {
                        for id in ids {
                            match self.position(id) {
                                Some(other) => takes[other].push(index),
                                None => free.push(index),
                            }
                        }
                    }
                }
            }
        }
        if !free.is_empty() {
            free.append(&mut any);
        }
        while let Some(index) = free.pop() {
            if std::mem::replace(&mut stuck[index], false) {
                free.append(&mut takes[index]);
            }
        }
        tasks.iter().zip(stuck).filter_map(|(task, stuck)| stuck.then_some(task)).collect()
    }

    /// The circles of tasks of which each waits for the next alone. O(n log n).
    pub(super) fn circles(&self) -> Vec<Vec<Id>> {
        let tasks = self.tasks();
        // Who comes next, and which walk has come by; none began at the end.
        let (mut next, mut seen) = (Vec::new(), Vec::new());
        for task in tasks {
            next.push(sole(task).and_then(|id| self.position(id)));
            seen.push(tasks.len());
        }
        let mut circles = Vec::new();
        for start in 0..tasks.len() {
            let mut at = start;
            while seen[at] == tasks.len() {
                seen[at] = start;
                at = next[at].unwrap_or(at);
            }
            if next[at].is_some() && seen[at] == start {
                let mut circle = vec![tasks[at].id];
                let mut member = next[at];
                while let Some(other) = member.filter(|&other| other != at) {
                    circle.push(tasks[other].id);
                    member = next[other];
                }
                circles.push(circle);
            }
        }
        circles
    }
}

/// Who could bring what is waited for.
enum Needs {
    Nobody,
    /// All of these.
    Tasks(Vec<Id>),
    /// Any task.
    Anybody,
    /// Somebody who is no task of the loop, or who is not known.
    Elsewhere,
}

#[inline]
fn needs(what: &WaitsFor) -> Needs {
    match what {
        WaitsFor::Task(task) => Needs::Tasks(vec![task.id]),
        WaitsFor::Resource { resource, .. } if is_taken(resource) => {
            match resource.taken_by.iter().all(|task| task.name.is_some()) {
                true if !resource.taken_by.is_empty() && !resource.taken_elsewhere => {
                    Needs::Tasks(resource.taken_by.iter().map(|task| task.id).collect())
                }
                _ => Needs::Elsewhere,
            }
        }
        WaitsFor::Resource { .. } => Needs::Anybody,
        WaitsFor::Children | WaitsFor::Forever | WaitsFor::Nothing => Needs::Nobody,
        WaitsFor::Timer(_)
        | WaitsFor::Io(_)
        | WaitsFor::Remote
        | WaitsFor::Foreign
        | WaitsFor::Unknown => Needs::Elsewhere,
    }
}

/// Whether it is certain tasks that give it back.
fn is_taken(resource: &Resource) -> bool {
    use ResourceKind::{Mutex, Semaphore, Task};
    matches!(resource.kind, Mutex | Semaphore | Task)
}

/// The one task that a task waits for, if it waits for nothing else.
fn sole(task: &TaskInfo) -> Option<Id> {
    match &*task.waits {
        _ if task.has_wakers => None,
        [wait] => match &wait.what {
            WaitsFor::Task(awaited) => Some(awaited.id),
            WaitsFor::Resource { resource, .. } if is_taken(resource) => {
                match &*resource.taken_by {
                    [taker] if !resource.taken_elsewhere => Some(taker.id),
                    _ => None,
                }
            }
            _ => None,
        },
        _ => None,
    }
}
