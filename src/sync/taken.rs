//! Which tasks took what others wait for.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
};

use crate::{
    home::Who,
    queue::{Signed, Takers},
    task::who,
};

/// Who took permits, for reports: one task is written here, more of them, or anybody once somebody
/// waits, in a list that reports can reach.
pub(super) struct Taken {
    one: Cell<Option<Who>>,
    list: OnceCell<Takers>,
}

/// The number of a signature in the list. The one that is in no list yet will be its first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u32);

impl Taken {
    pub(super) const fn new() -> Taken {
        Taken { one: Cell::new(None), list: OnceCell::new() }
    }

    /// Signs for the task that runs, or for a stranger: one who takes permits outside a task may
    /// give them back at any time, so no task that took others is the only one to wait for.
    #[inline]
    pub(super) fn sign(&self) -> Ticket {
        let who = who();
        if who.is_none() || self.list.get().is_some() || self.one.get().is_some() {
            return self.sign_list(who);
        }
        self.one.set(who);
        Ticket(0)
    }

    #[cold]
    fn sign_list(&self, who: Option<Who>) -> Ticket {
        Ticket(self.list().borrow_mut().sign(who))
    }

    /// Strikes out who signed.
    #[inline]
    pub(super) fn strike(&self, Ticket(number): Ticket) {
        match self.list.get() {
            Some(list) => list.borrow_mut().strike(number),
            None => self.one.set(None),
        }
    }

    /// As [`Taken::sign`], where there is one permit: who signed before has given it back.
    #[inline]
    pub(super) fn sign_alone(&self) {
        if let Some(list) = self.list.get() {
            list.borrow_mut().sign_alone(who());
        } else {
            self.one.set(who());
        }
    }

    /// As [`Taken::strike`], where there is one permit. Only needed when it goes to somebody who
    /// waits: while nobody has it, nobody asks who took it.
    pub(super) fn strike_alone(&self) {
        if let Some(list) = self.list.get() {
            list.borrow_mut().strike_alone();
        }
    }

    pub(super) fn list(&self) -> &Takers {
        self.list.get_or_init(|| Rc::new(RefCell::new(Signed::new(self.one.take()))))
    }
}
