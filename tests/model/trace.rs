//! What has happened, in order, and how two such stories differ.

use std::{cell::RefCell, fmt, rc::Rc};

/// One thing that has happened: to whom, with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    pub(crate) what: &'static str,
    pub(crate) who: u32,
    pub(crate) x: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3} {} {}", self.who, self.what, self.x)
    }
}

/// Clones write to the same trace.
#[derive(Clone, Default)]
pub(crate) struct Trace(Rc<RefCell<Vec<Event>>>);

impl Trace {
    pub(crate) fn say(&self, what: &'static str, who: u32, x: u64) {
        self.0.borrow_mut().push(Event { what, who, x });
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Forgets the order of what has happened since the trace was so long: the order in which a
    /// loop that goes drops its tasks is not promised.
    pub(crate) fn sort_from(&self, start: usize) {
        self.0.borrow_mut()[start..].sort_unstable();
    }

    pub(crate) fn take(&self) -> Vec<Event> {
        self.0.take()
    }
}

/// Where two traces differ first, if they do.
pub(crate) fn difference(one: &[Event], other: &[Event]) -> Option<usize> {
    let common = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    (common < one.len().max(other.len())).then_some(common)
}

/// Both traces side by side, up to the first difference.
pub(crate) fn side_by_side(names: [&str; 2], one: &[Event], other: &[Event], at: usize) -> String {
    let mut text = format!("      {:<34} {}\n", names[0], names[1]);
    let line = |trace: &[Event], n: usize| trace.get(n).map_or("(ends)".into(), Event::to_string);
    for n in 0..=at {
        let mark = if n == at { '>' } else { ' ' };
        text += &format!("{mark}{n:>4} {:<34} {}\n", line(one, n), line(other, n));
    }
    text
}
