//! Who waits, first come first served; anybody may leave.

use std::{cell::RefCell, task::Context};

use crate::{
    slab::Slab,
    wakee::{Wakee, renew},
};

/// A doubly linked list through a slab: joining, leaving and taking the first are O(1).
///
/// Nothing is woken, cloned or dropped while the list is borrowed.
pub(crate) struct WaitQueue {
    list: RefCell<List>,
}

struct List {
    nodes: Slab<Node>,
    first: u32,
    last: u32,
}

struct Node {
    wakee: Option<Wakee>,
    before: u32,
    after: u32,
}

const NONE: u32 = u32::MAX;

/// A place in a queue, until it is left or taken.
#[derive(Debug)]
pub(crate) struct Place(u32);

impl WaitQueue {
    pub(crate) const fn new() -> WaitQueue {
        let list = List { nodes: Slab::new(), first: NONE, last: NONE };
        WaitQueue { list: RefCell::new(list) }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.borrow().nodes.len()
    }

    /// Joins at the end, or keeps the place and sees to it that the waker is up to date.
    pub(crate) fn join(&self, place: &mut Option<Place>, cx: &Context<'_>) {
        if let Some(Place(index)) = place {
            let mut list = self.list.borrow_mut();
            if list
                .nodes
                .get_mut(*index)
                .and_then(|node| node.wakee.as_ref())
                .is_some_and(|wakee| wakee.is(cx))
            {
                return;
            }
        }
        let mut new = None;
        renew(&mut new, cx);
        let mut list = self.list.borrow_mut();
        let old = match place {
            // Making a wakee may have run foreign code, which may have woken us.
            Some(Place(index)) => match list.nodes.get_mut(*index) {
                Some(node) => std::mem::replace(&mut node.wakee, new),
                None => {
                    *place = None;
                    new
                }
            },
            None => {
                *place = Some(Place(list.push(new)));
                None
            }
        };
        drop(list);
        drop(old);
    }

    /// Leaves without having been taken.
    pub(crate) fn leave(&self, Place(index): Place) {
        let wakee = self.list.borrow_mut().remove(index);
        drop(wakee);
    }

    /// Takes everybody out, in order. Their places are void.
    pub(crate) fn take_all(&self) -> Vec<Wakee> {
        let mut list = self.list.borrow_mut();
        let mut all = Vec::with_capacity(list.nodes.len());
        while list.first != NONE {
            let first = list.first;
            all.extend(list.remove(first));
        }
        all
    }
}

impl List {
    fn node(&mut self, index: u32) -> &mut Node {
        self.nodes.get_mut(index).expect("a place is valid until it is left")
    }

    fn push(&mut self, wakee: Option<Wakee>) -> u32 {
        let before = self.last;
        let index = self.nodes.insert(Node { wakee, before, after: NONE });
        match before {
            NONE => self.first = index,
            before => self.node(before).after = index,
        }
        self.last = index;
        index
    }

    fn remove(&mut self, index: u32) -> Option<Wakee> {
        let Node { wakee, before, after } = self.nodes.remove(index)?;
        match before {
            NONE => self.first = after,
            before => self.node(before).after = after,
        }
        match after {
            NONE => self.last = before,
            after => self.node(after).before = before,
        }
        wakee
    }
}
