//! Which tasks took what others wait for.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
};

use crate::{home::Who, queue::Takers, task::who};

/// Which tasks took permits, for reports: one is written here, more of them, or any once somebody
/// waits, in a list that reports can reach.
pub(super) struct Taken {
    one: Cell<Option<Who>>,
    list: OnceCell<Takers>,
    /// The number of the last who signed in the list.
    tickets: Cell<u32>,
}

/// Under which number somebody signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(u32);

impl Ticket {
    /// Of who is, or was, written in the one place that is no list.
    const ONE: Ticket = Ticket(1);
}

impl Taken {
    pub(super) const fn new() -> Taken {
        let tickets = Cell::new(Ticket::ONE.0);
        Taken { one: Cell::new(None), list: OnceCell::new(), tickets }
    }

    /// Signs for the task that runs, or for a stranger: one who takes permits outside a task may
    /// give them back at any time, so no task that took others is the only one to wait for.
    #[inline]
    pub(super) fn sign(&self) -> Ticket {
        if self.list.get().is_some() || self.one.get().is_some() {
            return self.sign_list();
        }
        self.one.set(Some(who().unwrap_or(Who::STRANGER)));
        Ticket::ONE
    }

    #[cold]
    fn sign_list(&self) -> Ticket {
        let who = who().unwrap_or(Who::STRANGER);
        let ticket = self.tickets.get().wrapping_add(1).max(Ticket::ONE.0 + 1);
        self.tickets.set(ticket);
        self.list().borrow_mut().push((ticket, who));
        Ticket(ticket)
    }

    /// Strikes out who signed.
    #[inline]
    pub(super) fn strike(&self, Ticket(ticket): Ticket) {
        match self.list.get() {
            Some(list) => list.borrow_mut().retain(|(other, _)| *other != ticket),
            None if ticket == Ticket::ONE.0 => self.one.set(None),
            None => {}
        }
    }

    /// As [`Taken::sign`], where there is one permit.
    #[inline]
    pub(super) fn sign_alone(&self) {
        if self.list.get().is_some() {
            let _ticket = self.sign_list();
        } else {
            self.one.set(who());
        }
    }

    /// As [`Taken::strike`], where there is one permit. Only needed when it goes to somebody who
    /// waits: while nobody has it, nobody asks who took it.
    pub(super) fn strike_alone(&self) {
        if let Some(list) = self.list.get() {
            list.borrow_mut().clear();
        }
    }

    pub(super) fn list(&self) -> &Takers {
        let one = || self.one.take().map(|who| (Ticket::ONE.0, who));
        self.list.get_or_init(|| Rc::new(RefCell::new(Vec::from_iter(one()))))
    }
}
