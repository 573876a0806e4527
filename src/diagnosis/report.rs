//! How a snapshot reads.

use std::{
    fmt::{self, Write},
    time::{Duration, Instant},
};

use super::{
    info::{Resource, TaskInfo, TaskRef, WaitInfo, WaitsFor},
    snapshot::{Snapshot, ago},
};
use crate::{queue::ResourceKind, task::Id};

/// How many lines a report has.
const LINES: usize = 50;
/// How many things that one task waits for are listed.
const WAITS: usize = 3;
/// How many tasks that are alike are listed, and how many circles.
const ALIKE: usize = 3;
/// How many tasks of a circle are named in its line.
const LINKS: usize = 16;

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = String::new();
        self.report(&mut lines, "")?;
        f.write_str(lines.strip_prefix("\n").unwrap_or(&lines))
    }
}

impl Snapshot {
    /// Circles, then a line for each task, under its parent.
    pub(super) fn report(&self, f: &mut dyn Write, indent: &str) -> fmt::Result {
        let circles = self.circles();
        for circle in circles.iter().take(ALIKE) {
            write!(f, "\n{indent}cycle: {}", self.circle(circle))?;
            // Further down they may fall victim to the limit, and they are what matters.
            let members = if self.tasks().len() > LINES { &**circle } else { &[] };
            for id in members.iter().take(LINKS) {
                if let Some(task) = self.get(*id) {
                    write!(f, "\n{indent}  {}", Line { task, at: self.at() })?;
                }
            }
        }
        if circles.len() > ALIKE {
            write!(f, "\n{indent}and {} more cycles", circles.len() - ALIKE)?;
        }
        // Of each task, by its place in the list; and, at last, those without a parent.
        let mut children = vec![Vec::new(); self.tasks().len() + 1];
        let nobody = self.tasks().len();
        let place = |id: Option<Id>| id.and_then(|id| self.position(id)).unwrap_or(nobody);
        for task in self.tasks() {
            children[place(task.parent)].push(task);
        }
        // What is still to be written, the next one last: how deep, and who.
        let mut left: Vec<(usize, &TaskInfo)> = Vec::new();
        let push = |left: &mut Vec<_>, depth, of| {
            for task in children[place(of)].iter().rev() {
                left.push((depth, *task));
            }
        };
        push(&mut left, 0, None);
        let (mut lines, mut written) = (0, 0);
        while let Some((depth, task)) = left.pop() {
            if lines == LINES {
                return write!(f, "\n{indent}and {} more", self.tasks().len() - written);
            }
            lines += 1;
            written += 1;
            let line = Line { task, at: self.at() };
            write!(f, "\n{indent}{:1$}{line}", "", 2 * depth)?;
            let has_children = |task: &TaskInfo| !children[place(Some(task.id))].is_empty();
            if has_children(task) {
                push(&mut left, depth + 1, Some(task.id));
                continue;
            }
            let like = line.key();
            let mut alike = 0;
            for &(other_depth, task) in left.iter().rev() {
                let other = Line { task, at: self.at() };
                if other_depth != depth || has_children(task) || other.key() != like {
                    break;
                }
                alike += 1;
            }
            if alike >= ALIKE {
                left.truncate(left.len() - alike);
                written += alike;
                write!(f, "\n{indent}{:1$}and {alike} more like it", "", 2 * depth)?;
            }
        }
        Ok(())
    }

    /// `a #1 -> b #2 -> a #1`
    fn circle(&self, circle: &[Id]) -> String {
        let mut text = String::new();
        for id in circle.iter().take(LINKS) {
            let _ = write!(text, "{} -> ", self.named(*id));
        }
        if circle.len() > LINKS {
            let _ = write!(text, "{} more -> ", circle.len() - LINKS);
        }
        if let Some(first) = circle.first() {
            let _ = write!(text, "{}", self.named(*first));
        }
        text
    }

    fn named(&self, id: Id) -> TaskRef {
        TaskRef { id, name: self.get(id).map(|task| task.name.clone()) }
    }
}

/// A task, as it is written in a report.
pub(super) struct Line<'t> {
    pub(super) task: &'t TaskInfo,
    /// The moment of the report.
    pub(super) at: Instant,
}

impl Line<'_> {
    /// What tasks that are alike have in common.
    fn key(&self) -> (&str, crate::task::Status, &std::panic::Location<'static>, String) {
        let TaskInfo { name, status, spawned_at, .. } = self.task;
        (name, *status, spawned_at, self.waits())
    }

    fn waits(&self) -> String {
        let mut waits = &*self.task.waits;
        let mut text = String::new();
        if let [WaitInfo { what: WaitsFor::Children, at, .. }, more @ ..] = waits {
            text += "its children";
            if let Some(at) = at {
                let _ = write!(text, " at {at}");
            }
            text += if more.is_empty() { "" } else { ": " };
            waits = more;
        }
        for (index, wait) in waits.iter().take(WAITS).enumerate() {
            text += if index == 0 { "" } else { ", " };
            let _ = write!(text, "{}", self.what(&wait.what));
            if let Some(at) = wait.at {
                let _ = write!(text, " at {at}");
            }
        }
        if waits.len() > WAITS {
            let _ = write!(text, ", and {} more", waits.len() - WAITS);
        }
        text
    }

    fn what(&self, what: &WaitsFor) -> String {
        match what {
            WaitsFor::Task(task) if task.id == self.task.id => "its own end".into(),
            WaitsFor::Task(task) => format!("the end of {task}"),
            WaitsFor::Resource { resource, wants } => self.resource(resource, *wants),
            WaitsFor::Timer(at) => match at.saturating_duration_since(self.at) {
                Duration::ZERO => "a timer that is due".into(),
                left => format!("a timer in {}", Span(left)),
            },
            WaitsFor::Io(what) => what.clone(),
            WaitsFor::Children => "its children".into(),
            WaitsFor::Remote => "an answer from elsewhere".into(),
            WaitsFor::Forever => "ever on purpose".into(),
            WaitsFor::Foreign => "a foreign future".into(),
            WaitsFor::Unknown => "nothing that is known".into(),
            WaitsFor::Nothing => "nothing: nobody can wake it".into(),
        }
    }

    fn resource(&self, resource: &Resource, wants: usize) -> String {
        let which = match &resource.name {
            Some(name) => format!(" {name:?}"),
            None => format!(" (made at {})", resource.made_at),
        };
        let taken = self.takers(resource);
        match resource.kind {
            ResourceKind::Waiter => format!("waiter{which}"),
            ResourceKind::Mutex => format!("mutex{which}{taken}"),
            ResourceKind::Semaphore => {
                let permits = if wants == 1 { "permit" } else { "permits" };
                format!("{wants} {permits} of semaphore{which}{taken}")
            }
            ResourceKind::Room => format!("room in channel{which}"),
            ResourceKind::Message => format!("a message from channel{which}"),
            ResourceKind::Oneshot => format!("oneshot{which}"),
            ResourceKind::Task => match &*resource.taken_by {
                [task] => self.what(&WaitsFor::Task(task.clone())),
                _ => "the end of a task".into(),
            },
            ResourceKind::Turn => "its turn in a set".into(),
        }
    }

    fn takers(&self, resource: &Resource) -> String {
        let mut text = String::new();
        for (index, task) in resource.taken_by.iter().take(WAITS).enumerate() {
            text += if index == 0 { " taken by " } else { ", " };
            if task.id == self.task.id {
                text += "itself";
            } else {
                let _ = write!(text, "{task}");
            }
        }
        if resource.taken_by.len() > WAITS {
            let _ = write!(text, " and {} more", resource.taken_by.len() - WAITS);
        }
        if resource.taken_elsewhere {
            text += if text.is_empty() { " taken by " } else { " and by " };
            text += "somebody outside";
        }
        text
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaskInfo { id, name, status, spawned_at, waits, .. } = self.task;
        write!(f, "{name} {id} {status}")?;
        if !waits.is_empty() {
            let mut since = None;
            for wait in waits {
                since = match (since, wait.since) {
                    (Some(a), Some(b)) => Some(Instant::min(a, b)),
                    (a, b) => a.or(b),
                };
            }
            f.write_str(", waiting ")?;
            if let Some(waited) = ago(self.at, since) {
                write!(f, "{} ", Span(waited))?;
            }
            write!(f, "for {}", self.waits())?;
        }
        write!(f, ", spawned at {spawned_at}")
    }
}

/// A duration, to two or three digits.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            0 => write!(f, "{} us", self.0.as_micros()),
            ms @ 1..1000 => write!(f, "{ms} ms"),
            _ => write!(f, "{:.1} s", self.0.as_secs_f64()),
        }
    }
}
