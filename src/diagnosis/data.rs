//! How a snapshot is written as data: by serde, in a shape that is part of the interface.
//!
//! By hand, so that nobody builds a macro for it, and the shape is in one place. Moments are
//! seconds before or after that of the snapshot: an `Instant` means nothing elsewhere. Places are
//! `file:line:column`, numbers of tasks are numbers. A wait names its resource by number, so the
//! whole grows with the tasks, not with tasks times owners.

use std::{panic::Location, time::Instant};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{
    info::{Resource, TaskInfo, TaskRef, WaitInfo, WaitsFor},
    snapshot::Snapshot,
    stalled::{Grade, Stalled},
};
use crate::{
    queue::ResourceKind,
    task::{Id, Status},
};

/// With the feature `serde`.
///
/// In JSON; other formats have the same structs. Keys, and values of `for` and `kind`, may be added.
///
/// ```json
/// {
///   "tasks": [{
///     "id": 2,
///     "name": "cook",
///     "status": "WAITING",
///     "spawned_at": "src/main.rs:12:5",
///     "parent": 1,
///     "is_scoped": false,
///     "has_wakers": false,
///     "polled_s": 1.5,
///     "waits": [
///       {"for": "resource", "number": 1, "wants": 1, "waiting_s": 1.5, "at": "src/main.rs:31:9"},
///       {"for": "task", "task": {"id": 3, "name": "maid"}, "waiting_s": 1.5, "at": null},
///       {"for": "timer", "due_s": 0.5, "waiting_s": 1.5, "at": null}
///     ]
///   }],
///   "resources": [{
///     "kind": "mutex",
///     "number": 1,
///     "name": "pan",
///     "made_at": "src/main.rs:9:18",
///     "taken_by": [{"id": 3, "name": "maid"}],
///     "taken_elsewhere": false
///   }],
///   "stuck": [],
///   "circles": []
/// }
/// ```
///
/// What else a task may wait `for`, without further keys: `children`, `remote`, `forever`,
/// `foreign`, `nothing`. `polled_s` and `waiting_s` are seconds before the snapshot, `due_s` is
/// seconds after it; null is not known. `stuck` has the ids of [`Snapshot::stuck`], and each of
/// `circles` those of tasks of which each waits for the next alone, and the last for the first.
///
/// ```
/// # #[cfg(feature = "serde")] {
/// let l = boucle::Loop::new();
/// let stalled = l.try_block_on(boucle::forever()).unwrap_err();
/// let json = serde_json::to_value(stalled.snapshot()).unwrap();
/// assert_eq!(json["tasks"][0]["waits"][0]["for"], "forever");
/// # }
/// ```
impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = Some(self.at());
        let tasks: Vec<Task<'_>> = self.tasks().iter().map(|task| Task { task, at }).collect();
        let stuck: Vec<Id> = self.stuck().iter().map(|task| task.id).collect();
        let mut all = serializer.serialize_struct("Snapshot", 4)?;
        all.serialize_field("tasks", &tasks)?;
        all.serialize_field("resources", &self.resources())?;
        all.serialize_field("stuck", &stuck)?;
        all.serialize_field("circles", &self.circles())?;
        all.end()
    }
}

/// With the feature `serde`: `{"grade": "proven", "headline": "...", "snapshot": ...}`. The
/// headline is the first line of the report.
impl Serialize for Stalled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_struct("Stalled", 3)?;
        all.serialize_field("grade", &self.grade())?;
        all.serialize_field("headline", &self.headline)?;
        all.serialize_field("snapshot", self.snapshot())?;
        all.end()
    }
}

/// With the feature `serde`: as in a [`Snapshot`], but for the times, which mean nothing without
/// the moment of the snapshot and are left out.
impl Serialize for TaskInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Task { task: self, at: None }.serialize(serializer)
    }
}

/// With the feature `serde`: as in a [`Snapshot`], but for the times.
impl Serialize for WaitInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wait { wait: self, at: None }.serialize(serializer)
    }
}

/// With the feature `serde`: as in a [`Snapshot`], but for the times.
impl Serialize for WaitsFor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_struct("WaitsFor", fields(self, None))?;
        write(&mut all, self, None)?;
        all.end()
    }
}

/// A task, at the moment of the snapshot if that is known.
struct Task<'t> {
    task: &'t TaskInfo,
    at: Option<Instant>,
}

impl Serialize for Task<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let &Task { task, at } = self;
        let waits: Vec<Wait<'_>> = task.waits.iter().map(|wait| Wait { wait, at }).collect();
        let fields = 8 + usize::from(at.is_some());
        let mut all = serializer.serialize_struct("TaskInfo", fields)?;
        all.serialize_field("id", &task.id)?;
        all.serialize_field("name", &task.name)?;
        all.serialize_field("status", &task.status)?;
        all.serialize_field("spawned_at", &Place(task.spawned_at))?;
        all.serialize_field("parent", &task.parent)?;
        all.serialize_field("is_scoped", &task.is_scoped)?;
        all.serialize_field("has_wakers", &task.has_wakers)?;
        if let Some(at) = at {
            all.serialize_field("polled_s", &task.polled_at.map(|polled| seconds(polled, at)))?;
        }
        all.serialize_field("waits", &waits)?;
        all.end()
    }
}

struct Wait<'w> {
    wait: &'w WaitInfo,
    at: Option<Instant>,
}

impl Serialize for Wait<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let &Wait { wait, at } = self;
        let fields = fields(&wait.what, at) + usize::from(at.is_some()) + 1;
        let mut all = serializer.serialize_struct("WaitInfo", fields)?;
        write(&mut all, &wait.what, at)?;
        if let Some(at) = at {
            all.serialize_field("waiting_s", &wait.since.map(|since| seconds(since, at)))?;
        }
        all.serialize_field("at", &wait.at.map(Place))?;
        all.end()
    }
}

/// How many fields [`write`] writes.
fn fields(what: &WaitsFor, at: Option<Instant>) -> usize {
    match what {
        WaitsFor::Task(_) | WaitsFor::Io(_) => 2,
        WaitsFor::Resource { .. } => 3,
        WaitsFor::Timer(_) => 1 + usize::from(at.is_some()),
        _ => 1,
    }
}

fn write<S: SerializeStruct>(
    all: &mut S,
    what: &WaitsFor,
    at: Option<Instant>,
) -> Result<(), S::Error> {
    let tag = match what {
        WaitsFor::Task(_) => "task",
        WaitsFor::Resource { .. } => "resource",
        WaitsFor::Timer(_) => "timer",
        WaitsFor::Io(_) => "io",
        WaitsFor::Children => "children",
        WaitsFor::Remote => "remote",
        WaitsFor::Forever => "forever",
        WaitsFor::Foreign => "foreign",
        WaitsFor::Unknown => "unknown",
        WaitsFor::Nothing => "nothing",
    };
    all.serialize_field("for", tag)?;
    match what {
        WaitsFor::Task(task) => all.serialize_field("task", task)?,
        WaitsFor::Io(what) => all.serialize_field("what", what)?,
        WaitsFor::Resource { resource, wants } => {
            all.serialize_field("number", &resource.number)?;
            all.serialize_field("wants", wants)?;
        }
        WaitsFor::Timer(due) => {
            if let Some(at) = at {
                all.serialize_field("due_s", &seconds(at, *due))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// From one moment to a later one.
fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

/// With the feature `serde`: a struct of its fields, the kind in lower case.
impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_struct("Resource", 6)?;
        all.serialize_field("kind", &self.kind)?;
        all.serialize_field("number", &self.number)?;
        all.serialize_field("name", &self.name)?;
        all.serialize_field("made_at", &Place(self.made_at))?;
        all.serialize_field("taken_by", &self.taken_by)?;
        all.serialize_field("taken_elsewhere", &self.taken_elsewhere)?;
        all.end()
    }
}

/// With the feature `serde`: its name in lower case, such as `"mutex"`.
impl Serialize for ResourceKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            ResourceKind::Waiter => "waiter",
            ResourceKind::Mutex => "mutex",
            ResourceKind::Semaphore => "semaphore",
            ResourceKind::Room => "room",
            ResourceKind::Message => "message",
            ResourceKind::Oneshot => "oneshot",
            ResourceKind::Task => "task",
            ResourceKind::Turn => "turn",
        })
    }
}

/// With the feature `serde`: its name in lower case, such as `"proven"`.
impl Serialize for Grade {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Grade::Proven => "proven",
            Grade::Likely => "likely",
            Grade::Cycle => "cycle",
            Grade::Dead => "dead",
            Grade::Slow => "slow",
            Grade::Spinning => "spinning",
        })
    }
}

/// With the feature `serde`: `{"id": 4, "name": "cook"}`; the name of a task that has ended is
/// null.
impl Serialize for TaskRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_struct("TaskRef", 2)?;
        all.serialize_field("id", &self.id)?;
        all.serialize_field("name", &self.name)?;
        all.end()
    }
}

/// With the feature `serde`: the number alone.
impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.get())
    }
}

/// With the feature `serde`: as it is displayed, such as `"WAITING"`.
impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `file:line:column`
struct Place(&'static Location<'static>);

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}
