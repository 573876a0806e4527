//! Who waits, first come first served; anybody may leave.
//!
//! Everything that makes tasks wait for each other has one of these. A place belongs to the future
//! that waits, from when it joins until it leaves, whether it is *taken* meanwhile or not: to take
//! the first is to tell it that its turn has come, and what it was waiting for is its own from that
//! moment. A future that is dropped leaves, and hands on what it was given.
//!
//! The places of all queues of a thread lie in one table, so that whoever explains a hang can walk
//! them without a pointer into what users own. A queue has a *line* in the table from the first time
//! that somebody waits, or that it is given a name: what it is, where it was made, who took what is
//! waited for.

use std::{
    borrow::Cow,
    cell::{Cell, OnceCell, RefCell},
    panic::Location,
    ptr::NonNull,
    rc::Rc,
    task::Context,
};

use crate::{
    facade::local,
    home::{Who, looked},
    slab::Slab,
    wakee::{Target, Wakee, renew},
};

/// A doubly linked list through the table: joining, leaving and taking the first are O(1).
///
/// Nothing is woken, cloned or dropped while the table is borrowed.
pub(crate) struct WaitQueue {
    kind: ResourceKind,
    made_at: &'static Location<'static>,
    first: Cell<u32>,
    last: Cell<u32>,
    /// How many are in the list, to be read without a borrow.
    len: Cell<u32>,
    /// Its line in the table, or `NONE`.
    line: Cell<u32>,
    table: OnceCell<Rc<RefCell<Table>>>,
}

/// The kinds of [`Resource`](crate::Resource).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResourceKind {
    /// A [`Waiter`](crate::Waiter) that is to be set.
    Waiter,
    /// A [`Mutex`](crate::sync::Mutex) that is to be unlocked.
    Mutex,
    /// Permits of a [`Semaphore`](crate::sync::Semaphore).
    Semaphore,
    /// Room in a [`channel`](crate::sync::channel()).
    Room,
    /// A message from a [`channel`](crate::sync::channel()).
    Message,
    /// The message of a [`oneshot`](crate::sync::oneshot()), or its end.
    Oneshot,
    /// The end of a task that [several](crate::Shared) await.
    Task,
    /// A turn in a [`TaskSet`](crate::TaskSet) with a limit.
    Turn,
}

struct Table {
    nodes: Slab<Node>,
    lines: Slab<Line>,
    /// The number of the next line.
    numbers: u64,
}

struct Node {
    wakee: Option<Wakee>,
    /// How many of what is waited for.
    wants: usize,
    /// Out of the list: the turn of whoever has this place has come.
    taken: bool,
    before: u32,
    after: u32,
    line: u32,
    /// When it joined, by the loop's last look at the clock.
    since: u64,
    /// Where the wait is written.
    at: &'static Location<'static>,
}

/// A queue, as the table knows it.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) kind: ResourceKind,
    /// Counts the lines of the thread.
    pub(crate) number: u64,
    pub(crate) made_at: &'static Location<'static>,
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) takers: Option<Takers>,
}

/// Who took what is waited for, and has not given it back.
pub(crate) type Takers = Rc<RefCell<Signed>>;

/// Signatures, each at a number of its own: signing and striking out are O(1).
pub(crate) struct Signed(Slab<Signature>);

enum Signature {
    Struck,
    /// Taken by no task.
    Nobody,
    Task(Who),
}

impl Signed {
    pub(crate) fn new(who: impl IntoIterator<Item = Who>) -> Signed {
        let mut signed = Signed(Slab::new());
        for who in who {
            signed.sign(Some(who));
        }
        signed
    }

    /// The first number is 0.
    pub(crate) fn sign(&mut self, who: Option<Who>) -> u32 {
        self.0.insert(who.map_or(Signature::Nobody, Signature::Task))
    }

    pub(crate) fn strike(&mut self, number: u32) {
        if let Some(signature) = self.0.get_mut(number) {
            *signature = Signature::Struck;
            self.0.vacate(number);
        }
    }

    /// Signs in the first place, where nobody else ever signs.
    pub(crate) fn sign_alone(&mut self, who: Option<Who>) {
        let signature = who.map_or(Signature::Nobody, Signature::Task);
        match self.0.get_mut(0) {
            Some(first) => *first = signature,
            None => drop(self.0.insert(signature)),
        }
    }

    /// Strikes out who signed in the first place.
    pub(crate) fn strike_alone(&mut self) {
        if let Some(first) = self.0.get_mut(0) {
            *first = Signature::Struck;
        }
    }

    /// The tasks that signed, and whether anybody else did.
    pub(crate) fn all(&mut self) -> (Vec<Who>, bool) {
        let (mut tasks, mut strangers) = (Vec::new(), false);
        for (_, signature) in self.0.iter_mut() {
            match *signature {
                Signature::Task(who) => tasks.push(who),
                Signature::Nobody => strangers = true,
                Signature::Struck => {}
            }
        }
        (tasks, strangers)
    }

    /// Who signed, if that is one task alone.
    pub(crate) fn sole(&mut self) -> Option<Who> {
        let is_one = self.0.len() == 1;
        is_one.then(|| self.0.iter_mut().find_map(|(_, signature)| signature.task())).flatten()
    }
}

impl Signature {
    fn task(&self) -> Option<Who> {
        match *self {
            Signature::Task(who) => Some(who),
            Signature::Struck | Signature::Nobody => None,
        }
    }
}

/// Somebody who stands in a queue.
pub(crate) struct Waiting {
    /// The task that goes on at its turn, if that is known.
    pub(crate) task: Option<NonNull<Target>>,
    pub(crate) line: u32,
    pub(crate) wants: usize,
    pub(crate) since: u64,
    pub(crate) at: &'static Location<'static>,
}

const NONE: u32 = u32::MAX;

/// A place in a queue: to be left, once.
#[derive(Debug)]
#[must_use]
pub(crate) struct Place(u32);

impl Place {
    /// Its number in the table of the thread, for as long as it is not left.
    #[inline]
    pub(crate) fn number(place: &Option<Place>) -> u32 {
        place.as_ref().map_or(NONE, |place| place.0)
    }
}

local! {
    lazy static TABLE: Rc<RefCell<Table>> = Rc::new(RefCell::new(Table::new()));
}

impl WaitQueue {
    pub(crate) const fn new(kind: ResourceKind, made_at: &'static Location<'static>) -> WaitQueue {
        WaitQueue {
            kind,
            made_at,
            first: Cell::new(NONE),
            last: Cell::new(NONE),
            len: Cell::new(0),
            line: Cell::new(NONE),
            table: OnceCell::new(),
        }
    }

    /// How many wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.get() as usize
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// Joins at the end, or keeps the place and sees to it that the waker is up to date. True if
    /// the place has been taken.
    ///
    /// May run foreign code, which may have changed what is waited for: the caller looks again.
    pub(crate) fn join(
        &self,
        place: &mut Option<Place>,
        wants: usize,
        at: &'static Location<'static>,
        cx: &Context<'_>,
    ) -> bool {
        if let Some(Place(index)) = *place {
            let mut table = self.table().borrow_mut();
            let node = table.node(index);
            if node.taken || node.wakee.as_ref().is_some_and(|wakee| wakee.is(cx)) {
                return node.taken;
            }
        }
        let mut wakee = None;
        renew(&mut wakee, cx);
        let index = match place {
            Some(Place(index)) => {
                let mut table = self.table().borrow_mut();
                let node = table.node(*index);
                if !node.taken {
                    std::mem::swap(&mut node.wakee, &mut wakee);
                }
                *index
            }
            None => {
                let index = self.push(wakee.take(), wants, at);
                *place = Some(Place(index));
                index
            }
        };
        // What was there before, or what came too late: it may be foreign, and take the place.
        drop(wakee);
        self.table().borrow_mut().node(index).taken
    }

    /// Joins at the end for somebody else, who is to be woken when the turn has come.
    pub(crate) fn enter(&self, wakee: Wakee) -> Place {
        Place(self.push(Some(wakee), 0, self.made_at))
    }

    /// Gives the place up; true if it had been taken.
    #[must_use = "what a taken place was given must be handed on"]
    pub(crate) fn leave(&self, Place(index): Place) -> bool {
        let mut table = self.table().borrow_mut();
        let taken = table.node(index).taken;
        if !taken {
            self.unlink(&mut table, index);
        }
        let wakee = table.node(index).wakee.take();
        table.nodes.vacate(index);
        drop(table);
        drop(wakee);
        taken
    }

    /// How many the first one wants; `None` if nobody waits.
    pub(crate) fn first_wants(&self) -> Option<usize> {
        let first = self.first.get();
        (first != NONE).then(|| self.table().borrow_mut().node(first).wants)
    }

    /// Takes the first one, for the caller to wake.
    pub(crate) fn take_first(&self) -> Option<Wakee> {
        let first = self.first.get();
        if first == NONE {
            return None;
        }
        let mut table = self.table().borrow_mut();
        self.unlink(&mut table, first);
        let node = table.node(first);
        node.taken = true;
        node.wakee.take()
    }

    /// Gives up the place of the first one, whom nobody will ever wake.
    fn evict_first(&self) -> Option<Option<Wakee>> {
        let first = self.first.get();
        if first == NONE {
            return None;
        }
        let mut table = self.table().borrow_mut();
        self.unlink(&mut table, first);
        let wakee = table.node(first).wakee.take();
        table.nodes.vacate(first);
        Some(wakee)
    }

    /// Takes everybody, in order, for the caller to wake.
    pub(crate) fn take_all(&self) -> Vec<Wakee> {
        let mut all = Vec::with_capacity(self.len());
        all.extend(std::iter::from_fn(|| self.take_first()));
        all
    }

    /// Names it, for reports.
    pub(crate) fn set_name(&self, name: Cow<'static, str>) {
        self.with_line(|line| line.name = Some(name));
    }

    /// Tells reports where to read who took what is waited for.
    pub(crate) fn set_takers(&self, takers: Takers) {
        self.with_line(|line| line.takers = Some(takers));
    }

    fn table(&self) -> &RefCell<Table> {
        // Once the thread is ending and its table is gone, a queue has one for itself.
        self.table.get_or_init(|| {
            TABLE.try_with(Rc::clone).unwrap_or_else(|_| Rc::new(RefCell::new(Table::new())))
        })
    }

    /// The line of the queue, made when it is first asked for.
    fn line(&self, table: &mut Table) -> u32 {
        if self.line.get() == NONE {
            let (kind, made_at, number) = (self.kind, self.made_at, table.numbers);
            table.numbers += 1;
            let line = Line { kind, number, made_at, name: None, takers: None };
            self.line.set(table.lines.insert(line));
        }
        self.line.get()
    }

    fn with_line(&self, f: impl FnOnce(&mut Line)) {
        let mut table = self.table().borrow_mut();
        let line = self.line(&mut table);
        f(table.lines.get_mut(line).expect("a line stays as long as its queue"));
    }

    fn push(&self, wakee: Option<Wakee>, wants: usize, at: &'static Location<'static>) -> u32 {
        let mut table = self.table().borrow_mut();
        let (line, before) = (self.line(&mut table), self.last.get());
        let since = looked();
        let node = Node { wakee, wants, taken: false, before, after: NONE, line, since, at };
        let index = table.nodes.insert(node);
        match before {
            NONE => self.first.set(index),
            before => table.node(before).after = index,
        }
        self.last.set(index);
        self.len.set(self.len.get() + 1);
        index
    }

    fn unlink(&self, table: &mut Table, index: u32) {
        let &mut Node { before, after, .. } = table.node(index);
        match before {
            NONE => self.first.set(after),
            before => table.node(before).after = after,
        }
        match after {
            NONE => self.last.set(before),
            after => table.node(after).before = before,
        }
        self.len.set(self.len.get() - 1);
    }
}

impl Drop for WaitQueue {
    fn drop(&mut self) {
        if self.line.get() != NONE {
            // Whoever is still there was forgotten, and never leaves: the table outlives the queue.
            while let Some(forgotten) = self.evict_first() {
                drop(forgotten);
            }
            self.with_line(|line| (line.name, line.takers) = (None, None));
            self.table().borrow_mut().lines.vacate(self.line.get());
        }
    }
}

impl Table {
    const fn new() -> Table {
        Table { nodes: Slab::new(), lines: Slab::new(), numbers: 1 }
    }

    #[inline]
    fn node(&mut self, index: u32) -> &mut Node {
        self.nodes.get_mut(index).expect("a place is valid until it is left")
    }
}

impl Node {
    fn waiting(&self) -> Option<Waiting> {
        let &Node { line, wants, since, at, .. } = self;
        let task = self.wakee.as_ref()?.behind();
        Some(Waiting { task, line, wants, since, at })
    }
}

/// Everybody on this thread who waits in a queue, in no particular order: nobody at the end of the
/// thread, when the table may have gone before a loop has. Runs no user code.
pub(crate) fn all_waiting() -> Vec<Waiting> {
    let mut all = Vec::new();
    with_table(|table| {
        for (_, node) in table.nodes.iter_mut() {
            if let Some(waiting) = node.waiting() {
                all.push(waiting);
            }
        }
        Some(())
    });
    all
}

/// A place, unless it is in this crate: where a poll names the line that awaits, and a gather or the
/// loop itself does, that is no news.
pub(crate) fn of_user(at: &'static Location<'static>) -> Option<&'static Location<'static>> {
    let own = file!().strip_suffix("queue.rs").unwrap_or("/");
    (!at.file().starts_with(own)).then_some(at)
}

/// Who has this place, if anybody waits there.
pub(crate) fn waiting_at(place: u32) -> Option<Waiting> {
    with_table(|table| table.nodes.get_mut(place)?.waiting())
}

/// The line with this number of somebody who waits.
pub(crate) fn line(index: u32) -> Option<Line> {
    with_table(|table| table.lines.get_mut(index).cloned())
}

/// `None` once the thread is ending and its table is gone: nobody can tell then who waits in queues.
fn with_table<R>(f: impl FnOnce(&mut Table) -> Option<R>) -> Option<R> {
    TABLE.try_with(|table| f(&mut table.borrow_mut())).ok().flatten()
}
