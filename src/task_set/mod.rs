//! Sets of tasks: the contract page.
//!
//! # Who owns what
//! A [`TaskSet`] owns the handles of its members, in a row: in the order in which they came.
//! Beside them it shares a *board*, where members that end are written down. The board has a small
//! node for each member, at an address that stays, which knows the member's place in the row; the
//! joiner of the member's task is a [`Wakee`](crate::wakee::Wakee) on the node. So the end of a
//! task puts its node at the end of the board's list, in O(1) and without asking for memory, wakes
//! whoever awaits [`TaskSet::join_next`], and lets the next member start if there is a limit.
//! `join_next` takes the first node of the list, and with it the handle and the result.
//!
//! | what | owned by | goes |
//! |---|---|---|
//! | handles | the set | when joined, or with the set |
//! | the board, with all nodes | the set, and the wakee of each node | with the last of them |
//! | the gate, if there is a limit | the set and its board | with the last of them |
//! | a place in the gate's queue | the node | at the end of the member |
//!
//! All of it belongs to one thread: handles are `!Send`, so every member's home is this thread,
//! whichever loop it is in.
//!
//! # Invariants
//! `[node]`: a node stays as long as its board, and each of its wakees counts as a reference to the
//! board.
//!
//! `[ended]`: the node of a member is in the board's list if and only if its task has ended, and
//! it is there once. A member that had ended before it came is written down as it comes. A node
//! that leaves the list has no wakee and no member any more: it is vacant.
//!
//! `[turn]`: with a limit, the gate counts as running exactly the members whose turn has come and
//! which have not ended; while the count is below the limit, nobody queues, unless the gate is
//! shut because all members are being cancelled.
//!
//! User code (destructors, foreign wakers) runs while nothing here is borrowed, and finds all of
//! this true: a member is written down before anybody is woken.
//!
//! # Dropping
//! A dropped set shuts its gate, cancels its members in order, then drops their handles; their
//! joiners go with them, and so does the board, unless it is being reported to at that moment. A
//! set that detaches its members gives their board and gate away with them, and takes new ones.

mod board;
mod gate;
mod row;
mod set;

pub use set::{JoinNext, Members, TaskSet};
