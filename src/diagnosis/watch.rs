//! When a loop looks at itself, and what it finds.

use std::{cell::RefCell, rc::Rc, sync::OnceLock, time::Duration};

use super::{
    diagnostic::{Diagnostic, Reaction, Tell},
    leftovers::Leftovers,
    polls::Polls,
    snapshot::Snapshot,
    stalled::{Grade, Stalled},
};
use crate::{
    guard::{catch, discard},
    home::Who,
    order::sort_by,
    queue::{self, ResourceKind},
    task::{Edge, Id, Onlooker, Polled},
    turn::{Core, Watch, WatchPolls, Watcher},
};

/// What is looked for, and what happens then.
pub(crate) struct Settings {
    pub(crate) on_dead: Reaction,
    pub(crate) on_cycle: Reaction,
    /// How long an idle loop waits for somebody else.
    pub(crate) on_stall: Option<(Duration, Reaction)>,
    /// Whether that holds for a loop that waits for a socket too: a server may be idle for long.
    pub(crate) suspects_sockets: bool,
    pub(crate) tell: Option<Tell>,
    /// Who looks on while tasks are polled.
    pub(crate) polls: Option<Polls>,
    /// Whether what is left at the end is told.
    pub(crate) leftovers: bool,
    /// What was left, while the loop goes.
    pub(crate) left: RefCell<Option<Leftovers>>,
}

/// The watch of loops that are not configured, on the real clock.
pub(crate) static DEFAULT: Plain = Plain { stall: None };

/// Likewise, on a simulated clock: a test is told rather than left hanging.
pub(crate) static VIRTUAL: Plain = Plain { stall: Some((Duration::from_secs(10), Reaction::Fail)) };

/// A watch without anything of its own.
pub(crate) struct Plain {
    stall: Option<(Duration, Reaction)>,
}

/// How much one loop says on stderr, of slow and spinning polls, and again of all else.
const TOLD: u32 = 16;

/// How long a poll may take, if the environment asks.
const SLOW: Duration = Duration::from_millis(100);

/// How many polls in a row are called spinning, if the environment asks.
const SPINNING: u64 = 1_000_000;

/// How many steps a chain of waits is followed.
const STEPS: usize = 64;

/// Whether the environment asks for all that can be told.
fn is_asked_for() -> bool {
    static ASKED: OnceLock<bool> = OnceLock::new();
    *ASKED.get_or_init(|| std::env::var_os("BOUCLE_DEBUG").is_some_and(|value| value == "1"))
}

impl Settings {
    /// The watch of a loop that is not configured: it has something of its own only if the
    /// environment asks for what takes that.
    pub(crate) fn watcher(plain: &'static Plain) -> Watcher {
        if is_asked_for() {
            Watcher::Own(Rc::new(Settings::of(plain)))
        } else {
            Watcher::Common(plain)
        }
    }

    /// What holds unless a builder says otherwise.
    pub(crate) fn of(plain: &Plain) -> Settings {
        let told = if cfg!(debug_assertions) || is_asked_for() {
            Reaction::Tell
        } else {
            Reaction::Ignore
        };
        let asked = is_asked_for().then_some((Duration::from_secs(5), Reaction::Tell));
        let slow = is_asked_for().then_some((SLOW, Reaction::Tell));
        let spin = is_asked_for().then_some((SPINNING, Reaction::Tell));
        Settings {
            on_dead: told,
            on_cycle: told,
            on_stall: plain.stall.or(asked),
            suspects_sockets: plain.stall.is_some(),
            tell: None,
            polls: Polls::new(slow, spin, None),
            leftovers: false,
            left: RefCell::new(None),
        }
    }

    fn react(&self, core: &Core, reaction: Reaction, found: Diagnostic) {
        match &self.tell {
            _ if reaction == Reaction::Ignore => return,
            Some(tell) => {
                let _ = catch(|| tell(&found)).map_err(discard);
            }
            None if reaction == Reaction::Tell => {
                let (is_frequent, more) = match found {
                    Diagnostic::SlowPoll { .. } => (true, "more slow polls were"),
                    Diagnostic::Spinning { .. } => (true, "more spinning was"),
                    _ => (false, "more was"),
                };
                let line = match core.count_told(is_frequent) {
                    ..TOLD => format!("boucle: {found}"),
                    TOLD => format!(
                        "boucle: {more} found in this loop, and all further such are told to \
                         `Builder::on_diagnostic` alone"
                    ),
                    _ => return,
                };
                let _ = catch(|| eprintln!("{line}")).map_err(discard);
            }
            None => {}
        }
        if reaction == Reaction::Fail {
            if let Some(stalled) = found.into_stalled(core) {
                core.condemn(Box::new(stalled));
            }
        }
    }

    fn dead(&self, core: &Core, suspects: &[Who]) {
        if self.on_dead == Reaction::Ignore {
            return;
        }
        let dead: Vec<_> = suspects.iter().filter_map(|who| core.tasks.newly_dead(*who)).collect();
        let headline = match &*dead {
            [] => return,
            [task] => format!("dead task: {} {} can never be woken", task.name, task.id),
            tasks => format!("dead tasks: {} can never be woken", tasks.len()),
        };
        let stalled = Stalled::new(Grade::Dead, headline, Snapshot::of_dead(core, dead));
        self.react(core, self.on_dead, Diagnostic::Dead(stalled));
    }

    fn cycles(&self, core: &Core, suspects: &[Who]) {
        if self.on_cycle == Reaction::Ignore {
            return;
        }
        let mut circles = Vec::new();
        for suspect in suspects {
            let mut circle = circle_through(core, *suspect).unwrap_or_default();
            sort_by(&mut circle, |id| id.number());
            if !circle.is_empty() && !circles.contains(&circle) && !core.has_told(&circle) {
                circles.push(circle);
            }
        }
        if circles.is_empty() {
            return;
        }
        // One for all: it looks at the whole loop.
        let snapshot = Snapshot::of(core);
        let mut found = Vec::new();
        for members in circles {
            let snapshot = snapshot.only(&members);
            if snapshot.circles().len() != 1 {
                // One of them waits for something else too, such as the time.
                continue;
            }
            let headline = match &*members {
                [_] => "a task seems to wait for itself",
                _ => "tasks seem to wait for each other",
            };
            core.set_told(members);
            found.push(Stalled::new(Grade::Cycle, headline.to_owned(), snapshot));
        }
        // All are made before the first is told, which may run user code.
        for stalled in found {
            self.react(core, self.on_cycle, Diagnostic::Cycle(stalled));
        }
    }
}

/// The task that this one waits for, if it waits for nothing else.
fn next(core: &Core, task: Who) -> Option<Who> {
    let next = match core.tasks.edge(task)? {
        Edge::Task(awaited) => awaited,
        Edge::Place(place, task) => {
            let waiting = queue::waiting_at(place).filter(|at| at.task == Some(task))?;
            let line = queue::line(waiting.line)?;
            if !matches!(
                line.kind,
                ResourceKind::Mutex | ResourceKind::Semaphore | ResourceKind::Task
            ) {
                return None;
            }
            line.takers?.borrow_mut().sole()?
        }
    };
    core.tasks.want(next);
    Some(next)
}

/// The circle of waits that comes back to this task, if there is one that is not too long.
fn circle_through(core: &Core, start: Who) -> Option<Vec<Id>> {
    let mut circle = vec![start.into()];
    let mut at = start;
    while circle.len() <= STEPS {
        at = next(core, at)?;
        if at == start {
            return Some(circle);
        }
        circle.push(at.into());
    }
    None
}

impl Watch for Settings {
    fn judge(&self, core: &Core) {
        let suspects = core.tasks.take_suspects();
        self.dead(core, &suspects);
        // Found again: telling may have run user code, after which some are gone.
        self.cycles(core, &suspects);
    }

    fn patience(&self, core: &Core) -> Option<Duration> {
        if core.reactor.is_awaited() && !self.suspects_sockets {
            return None;
        }
        self.on_stall.filter(|(_, reaction)| *reaction != Reaction::Ignore).map(|(after, _)| after)
    }

    fn worry(&self, core: &Core) {
        let Some((after, reaction)) = self.on_stall else { return };
        let remote = if core.tasks.home.has_writers() { "; a `Remote` is alive" } else { "" };
        let socket = if core.reactor.is_awaited() { "a socket or " } else { "" };
        let headline = format!(
            "probably stalled: nothing has happened for {} s, and only {socket}somebody outside the \
             loop could wake a task{remote}",
            after.as_secs_f64()
        );
        let stalled = Stalled::new(Grade::Likely, headline, Snapshot::of(core));
        self.react(core, reaction, Diagnostic::Stall(stalled));
    }

    fn polls(&self) -> Option<&dyn WatchPolls> {
        self.polls.is_some().then_some(self)
    }

    fn closing(&self, core: &Core) {
        // While the thread unwinds, what is left is what the panic has left.
        if self.leftovers && !std::thread::panicking() {
            *self.left.borrow_mut() = Some(Leftovers::before(core));
        }
    }

    fn closed(&self, core: &Core) {
        let left = self.left.take().and_then(|left| left.after(core));
        if let Some(left) = left {
            self.react(core, Reaction::Tell, Diagnostic::Leftovers(left));
        }
    }
}

impl Onlooker for Settings {
    fn before(&self, task: Polled<'_>) {
        if let Some(polls) = &self.polls {
            polls.before(task);
        }
    }

    fn after(&self, task: Polled<'_>) {
        if let Some(polls) = &self.polls {
            polls.after(task);
        }
    }
}

impl WatchPolls for Settings {
    fn begin(&self, news: bool) {
        if let Some(polls) = &self.polls {
            polls.begin(news);
        }
    }

    fn has_found(&self) -> bool {
        self.polls.as_ref().is_some_and(Polls::has_found)
    }

    fn tell(&self, core: &Core) {
        let Some(polls) = &self.polls else { return };
        for (reaction, found) in polls.take_found() {
            self.react(core, reaction, found);
        }
    }

    fn end(&self) {
        if let Some(polls) = &self.polls {
            polls.end();
        }
    }
}

impl Watch for Plain {
    fn judge(&self, core: &Core) {
        Settings::of(self).judge(core);
    }

    /// As the settings would say; the environment has asked for nothing.
    fn patience(&self, _: &Core) -> Option<Duration> {
        self.stall.map(|(after, _)| after)
    }

    fn worry(&self, core: &Core) {
        Settings::of(self).worry(core);
    }
}
