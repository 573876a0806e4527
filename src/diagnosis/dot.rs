//! How a snapshot is drawn: as a graph, in the language of Graphviz.
//!
//! All of it is `#[inline]`, so that it is compiled by those who draw, and by nobody else.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use super::{
    info::{Resource, TaskInfo, TaskRef, WaitInfo, WaitsFor},
    report::Span,
    snapshot::Snapshot,
};
use crate::{
    map::{Map, Set},
    order::sort_by,
    queue::ResourceKind,
    task::{Id, Status},
};

/// The border of a task that is stuck, and the arrows of a circle.
const RED: &str = ", color=red, penwidth=2";

impl Snapshot {
    /// The same as a graph, in the language of [Graphviz](https://graphviz.org): `dot -Tsvg` makes
    /// a picture of it.
    ///
    /// A box is a task, coloured by its [`Status`]; an ellipse is a resource. Arrows go from who
    /// waits to what is waited for, and say where in the source; dashed ones go on to who took it;
    /// dotted lines without a head join parents to the tasks they spawned. Tasks that are
    /// [stuck](Snapshot::stuck) have a red border; the arrows of a circle are thick and red. The
    /// same snapshot always gives the same text; any name will do. O(n log n).
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// let stalled = l.try_block_on(boucle::forever()).unwrap_err();
    /// let dot = stalled.snapshot().to_dot();
    /// assert!(dot.starts_with("digraph boucle {\n"));
    /// assert!(dot.contains(r#"t1 [label="main #1\nWAITING""#));
    /// ```
    #[must_use]
    #[inline]
    pub fn to_dot(&self) -> String {
        let mut text = String::new();
        let _ = Drawing::of(self).write(&mut text);
        text
    }
}

struct Drawing<'s> {
    snapshot: &'s Snapshot,
    stuck: Set<Id>,
    /// Who comes next, for each task on a circle.
    circles: Map<Id, Id>,
}

impl<'s> Drawing<'s> {
    #[inline]
    fn of(snapshot: &'s Snapshot) -> Self {
        let mut circles = Map::default();
        for circle in snapshot.circles() {
            let next = circle.iter().cycle().skip(1);
            circles.extend(circle.iter().copied().zip(next.copied()));
        }
        let stuck = snapshot.stuck().into_iter().map(|task| task.id).collect();
        Drawing { snapshot, stuck, circles }
    }

    #[inline]
    fn write(&self, f: &mut String) -> fmt::Result {
        f.write_str("digraph boucle {\n")?;
        f.write_str("  graph [rankdir=LR];\n")?;
        f.write_str("  node [fontname=\"sans-serif\", fontsize=11];\n")?;
        f.write_str("  node [shape=box, style=\"rounded,filled\", fillcolor=wheat];\n")?;
        f.write_str("  edge [fontname=\"sans-serif\", fontsize=9];\n")?;
        for task in self.snapshot.tasks() {
            self.task(f, task)?;
        }
        let resources = self.snapshot.resources();
        for task in self.elsewhere(&resources) {
            let label = Quoted(match &task.name {
                Some(name) => format!("{name} {}", task.id),
                None => format!("task {}\nhas ended", task.id),
            });
            writeln!(f, "  t{} [label={label}, style=\"rounded,dashed\"];", task.id.0)?;
        }
        for resource in &resources {
            let label = Quoted(title(resource));
            writeln!(f, "  r{} [label={label}, shape=ellipse, fillcolor=white];", resource.number)?;
        }
        for task in self.snapshot.tasks() {
            for (index, wait) in task.waits.iter().enumerate() {
                self.wait(f, task, index, wait)?;
            }
        }
        let red = self.on_circles();
        for resource in resources {
            for taker in &resource.taken_by {
                let (from, to) = (resource.number, taker.id.0);
                let colour = if red.contains(&(from, taker.id)) { RED } else { "" };
                writeln!(f, "  r{from} -> t{to} [label=\"taken by\", style=dashed{colour}];")?;
            }
        }
        for task in self.snapshot.tasks() {
            let parent = task.parent.filter(|id| self.snapshot.get(*id).is_some());
            if let Some(parent) = parent {
                let label = if task.is_scoped { ", label=\"scope\"" } else { "" };
                let (parent, child) = (parent.0, task.id.0);
                writeln!(f, "  t{parent} -> t{child} [style=dotted, arrowhead=none{label}];")?;
            }
        }
        f.write_str("}\n")
    }

    #[inline]
    fn task(&self, f: &mut String, task: &TaskInfo) -> fmt::Result {
        let TaskInfo { id, name, status, .. } = task;
        let label = Quoted(format!("{name} {id}\n{status}"));
        let fill = match status {
            Status::New => "aliceblue",
            Status::Ready => "palegreen",
            Status::Running => "limegreen",
            Status::Waiting => "wheat",
            Status::Finished | Status::Failed | Status::Cancelled => "lightgrey",
        };
        write!(f, "  t{} [label={label}, fillcolor={fill}", id.0)?;
        let border = if self.stuck.contains(id) { RED } else { "" };
        let tip = Quoted(format!("spawned at {}", task.spawned_at));
        writeln!(f, "{border}, tooltip={tip}];")
    }

    #[inline]
    fn wait(&self, f: &mut String, task: &TaskInfo, index: usize, wait: &WaitInfo) -> fmt::Result {
        let id = task.id.0;
        let plain = |f: &mut String, text: &str| {
            writeln!(f, "  w{id}_{index} [label=\"{text}\", shape=plaintext, style=\"\"];")?;
            Ok(format!("w{id}_{index}"))
        };
        let (to, label) = match &wait.what {
            WaitsFor::Task(awaited) => (format!("t{}", awaited.id.0), "its end".to_owned()),
            WaitsFor::Resource { resource, wants } => {
                (format!("r{}", resource.number), wish(resource, *wants))
            }
            WaitsFor::Timer(at) => {
                let what = match at.saturating_duration_since(self.snapshot.at()) {
                    Duration::ZERO => "a timer that is due".to_owned(),
                    left => format!("a timer in {}", Span(left)),
                };
                (plain(f, &what)?, String::new())
            }
            WaitsFor::Io(what) => (plain(f, what)?, String::new()),
            // They are drawn as its children.
            WaitsFor::Children => return Ok(()),
            WaitsFor::Remote => (plain(f, "an answer from elsewhere")?, String::new()),
            WaitsFor::Forever => (plain(f, "ever, on purpose")?, String::new()),
            WaitsFor::Unknown => (plain(f, "nothing that is known")?, String::new()),
            WaitsFor::Foreign => (plain(f, "a foreign future")?, String::new()),
            WaitsFor::Nothing => (plain(f, "nothing: nobody can wake it")?, String::new()),
        };
        let label = match wait.at {
            Some(at) if label.is_empty() => at.to_string(),
            Some(at) => format!("{label}\n{at}"),
            None => label,
        };
        // Who is on a circle waits for nothing else.
        let colour = if self.circles.contains_key(&task.id) { RED } else { "" };
        match &*label {
            "" => writeln!(f, "  t{id} -> {to};"),
            _ => writeln!(f, "  t{id} -> {to} [label={}{colour}];", Quoted(label)),
        }
    }

    /// Tasks that are mentioned and not in the list, such as those that have ended.
    #[inline]
    fn elsewhere<'r>(&'r self, resources: &[&'r Resource]) -> Vec<&'r TaskRef> {
        let waits = self.snapshot.tasks().iter().flat_map(|task| &task.waits);
        let awaited = waits.filter_map(|wait| match &wait.what {
            WaitsFor::Task(task) => Some(task),
            _ => None,
        });
        let takers = resources.iter().flat_map(|resource| &resource.taken_by);
        let is_missing = |task: &&TaskRef| self.snapshot.get(task.id).is_none();
        let mut missing: Vec<&TaskRef> = awaited.chain(takers).filter(is_missing).collect();
        sort_by(&mut missing, |task| task.id.number());
        missing.dedup_by_key(|task| task.id);
        missing
    }

    /// The resources that circles lead through, and the tasks that took them.
    #[inline]
    fn on_circles(&self) -> Set<(u64, Id)> {
        let waits = |id: &Id| self.snapshot.get(*id).and_then(|task| task.waits.first());
        let through = |(id, next): (&Id, &Id)| match &waits(id)?.what {
            WaitsFor::Resource { resource, .. } => Some((resource.number, *next)),
            _ => None,
        };
        self.circles.iter().filter_map(through).collect()
    }
}

/// `mutex "orders"`
#[inline]
fn title(resource: &Resource) -> String {
    let kind = match resource.kind {
        ResourceKind::Waiter => "waiter",
        ResourceKind::Mutex => "mutex",
        ResourceKind::Semaphore => "semaphore",
        ResourceKind::Room | ResourceKind::Message => "channel",
        ResourceKind::Oneshot => "oneshot",
        ResourceKind::Task => "shared task",
        ResourceKind::Turn => "set with a limit",
    };
    match &resource.name {
        Some(name) => format!("{kind}\n{name}"),
        None => format!("{kind}\n{}", resource.made_at),
    }
}

/// What a task wants of a resource.
#[inline]
fn wish(resource: &Resource, wants: usize) -> String {
    match resource.kind {
        ResourceKind::Waiter => "its opening".into(),
        ResourceKind::Mutex => "the lock".into(),
        ResourceKind::Semaphore if wants == 1 => "1 permit".into(),
        ResourceKind::Semaphore => format!("{wants} permits"),
        ResourceKind::Room => "room".into(),
        ResourceKind::Message | ResourceKind::Oneshot => "a message".into(),
        ResourceKind::Task => "its end".into(),
        ResourceKind::Turn => "its turn".into(),
    }
}

/// A text as a string of the language, whatever is in it.
struct Quoted(String);

impl fmt::Display for Quoted {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                // Labels may have the entities of HTML.
                '&' => f.write_str("&amp;")?,
                // Not in a picture, nor in XML; the backslash is one to be read.
                '\u{fffe}' | '\u{ffff}' => write!(f, "\\{}", c.escape_unicode())?,
                c if c.is_control() => write!(f, "\\{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
