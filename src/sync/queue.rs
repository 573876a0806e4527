//! Who waits, first come first served; anybody may leave.
//!
//! Everything in [`sync`](crate::sync) that makes somebody wait has one of these. A place belongs
//! to the future that waits, from when it joins until it leaves, whether it is *taken* meanwhile
//! or not: to take the first is to tell it that its turn has come, and what it was waiting for is
//! its own from that moment. A future that is dropped leaves, and hands on what it was given.

use std::{
    cell::{Cell, RefCell},
    task::Context,
};

use crate::{
    slab::Slab,
    wakee::{Wakee, renew},
};

/// A doubly linked list through a slab: joining, leaving and taking the first are O(1).
///
/// Nothing is woken, cloned or dropped while the list is borrowed.
pub(crate) struct WaitQueue {
    list: RefCell<List>,
    /// How many are in the list, to be read without a borrow.
    len: Cell<usize>,
}

struct List {
    nodes: Slab<Node>,
    first: u32,
    last: u32,
}

struct Node {
    wakee: Option<Wakee>,
    /// How many of what is waited for.
    wants: usize,
    /// Out of the list: the turn of whoever has this place has come.
    taken: bool,
    before: u32,
    after: u32,
}

const NONE: u32 = u32::MAX;

/// A place in a queue: to be left, once.
#[derive(Debug)]
#[must_use]
pub(crate) struct Place(u32);

impl WaitQueue {
    pub(crate) const fn new() -> WaitQueue {
        let list = List { nodes: Slab::new(), first: NONE, last: NONE };
        WaitQueue { list: RefCell::new(list), len: Cell::new(0) }
    }

    /// How many wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// Joins at the end, or keeps the place and sees to it that the waker is up to date. True if
    /// the place has been taken.
    ///
    /// May run foreign code, which may have changed what is waited for: the caller looks again.
    pub(crate) fn join(&self, place: &mut Option<Place>, wants: usize, cx: &Context<'_>) -> bool {
        if let Some(Place(index)) = *place {
            let mut list = self.list.borrow_mut();
            let node = list.node(index);
            if node.taken || node.wakee.as_ref().is_some_and(|wakee| wakee.is(cx)) {
                return node.taken;
            }
        }
        let mut wakee = None;
        renew(&mut wakee, cx);
        let mut list = self.list.borrow_mut();
        let index = match place {
            Some(Place(index)) => {
                let node = list.node(*index);
                if !node.taken {
                    std::mem::swap(&mut node.wakee, &mut wakee);
                }
                *index
            }
            None => {
                let index = list.push(wakee.take(), wants);
                *place = Some(Place(index));
                self.len.set(self.len.get() + 1);
                index
            }
        };
        drop(list);
        // What was there before, or what came too late: it may be foreign, and take the place.
        drop(wakee);
        self.list.borrow_mut().node(index).taken
    }

    /// Joins at the end for somebody else, who is to be woken when the turn has come.
    pub(crate) fn enter(&self, wakee: Wakee) -> Place {
        self.len.set(self.len.get() + 1);
        Place(self.list.borrow_mut().push(Some(wakee), 0))
    }

    /// Gives the place up; true if it had been taken.
    #[must_use = "what a taken place was given must be handed on"]
    pub(crate) fn leave(&self, Place(index): Place) -> bool {
        let mut list = self.list.borrow_mut();
        let taken = list.node(index).taken;
        if !taken {
            list.unlink(index);
            self.len.set(self.len.get() - 1);
        }
        let wakee = list.node(index).wakee.take();
        list.nodes.vacate(index);
        drop(list);
        drop(wakee);
        taken
    }

    /// How many the first one wants; `None` if nobody waits.
    pub(crate) fn first_wants(&self) -> Option<usize> {
        let mut list = self.list.borrow_mut();
        let first = list.first;
        (first != NONE).then(|| list.node(first).wants)
    }

    /// Takes the first one, for the caller to wake.
    pub(crate) fn take_first(&self) -> Option<Wakee> {
        let mut list = self.list.borrow_mut();
        let first = list.first;
        if first == NONE {
            return None;
        }
        list.unlink(first);
        self.len.set(self.len.get() - 1);
        let node = list.node(first);
        node.taken = true;
        node.wakee.take()
    }

    /// Takes everybody, in order, for the caller to wake.
    pub(crate) fn take_all(&self) -> Vec<Wakee> {
        let mut all = Vec::with_capacity(self.len());
        all.extend(std::iter::from_fn(|| self.take_first()));
        all
    }
}

impl List {
    fn node(&mut self, index: u32) -> &mut Node {
        self.nodes.get_mut(index).expect("a place is valid until it is left")
    }

    fn push(&mut self, wakee: Option<Wakee>, wants: usize) -> u32 {
        let before = self.last;
        let node = Node { wakee, wants, taken: false, before, after: NONE };
        let index = self.nodes.insert(node);
        match before {
            NONE => self.first = index,
            before => self.node(before).after = index,
        }
        self.last = index;
        index
    }

    fn unlink(&mut self, index: u32) {
        let &mut Node { before, after, .. } = self.node(index);
        match before {
            NONE => self.first = after,
            before => self.node(before).after = after,
        }
        match after {
            NONE => self.last = before,
            after => self.node(after).before = before,
        }
    }
}
