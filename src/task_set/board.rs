//! Where members that end are written down, in order.
//!
//! See [the contract](super) for `[node]`.

use std::{
    cell::{Cell, RefCell},
    ptr::{self, NonNull},
    rc::Rc,
    task::Context,
};

use super::gate::{Gate, Turn};
use crate::wakee::{NOBODY, Target, TargetVTable, Wakee, behind, renew};

pub(super) struct Board {
    /// The nodes: 8 of them, then twice as many in each chunk as in the one before. Only pushed to.
    chunks: RefCell<Vec<Rc<[Node]>>>,
    /// The list of those that have ended. `[list]` invariant: null, or nodes of this board; `last`
    /// means something only while there is a first.
    first: Cell<*const Node>,
    last: Cell<*const Node>,
    /// Nodes that are not in use, likewise.
    vacant: Cell<*const Node>,
    /// Who awaits the next one.
    waiting: Cell<Option<Wakee>>,
    gate: Option<Rc<Gate>>,
}

#[repr(C)]
struct Node {
    /// First, so that the address of the node is that of its target.
    target: Target,
    board: *const Board,
    /// Its number on the board.
    index: u32,
    /// The number that the member has in the row.
    place: Cell<u32>,
    /// The next in the list, or the next vacant one.
    next: Cell<*const Node>,
    turn: Cell<Turn>,
}

const FIRST_CHUNK: usize = 8;

static NODE: TargetVTable = TargetVTable {
    waker: &NOBODY,
    // SAFETY: `TargetVTable` says who calls them and with what, here and below; [node].
    hold: |target| unsafe {
        Rc::increment_strong_count(board_of(target));
        target
    },
    // SAFETY: likewise.
    release: |target| unsafe { Rc::decrement_strong_count(board_of(target)) },
    wake: |target| {
        // SAFETY: likewise; the wakee's reference keeps the board while it is reported to.
        let board = unsafe { Rc::from_raw(board_of(target)) };
        // SAFETY: [node].
        board.report(unsafe { target.cast::<Node>().as_ref() });
    },
    // SAFETY: likewise; [node].
    behind: |target| behind(unsafe { &(*board_of(target)).waiting }),
};

/// # Safety
/// The target is that of a node, whose board is alive.
#[inline]
unsafe fn board_of(target: NonNull<Target>) -> *const Board {
    // SAFETY: the caller says so; [node].
    unsafe { (*target.cast::<Node>().as_ptr()).board }
}

/// Which chunk has the node, and where.
#[inline]
fn place_of(index: u32) -> (usize, usize) {
    let n = index as usize + FIRST_CHUNK;
    let chunk = (n / FIRST_CHUNK).ilog2();
    (chunk as usize, n - (FIRST_CHUNK << chunk))
}

impl Board {
    pub(super) fn new(gate: Option<Rc<Gate>>) -> Rc<Board> {
        Rc::new(Board {
            chunks: RefCell::new(Vec::new()),
            first: Cell::new(ptr::null()),
            last: Cell::new(ptr::null()),
            vacant: Cell::new(ptr::null()),
            waiting: Cell::new(None),
            gate,
        })
    }

    /// Takes a node for the member with this number in the row: the node's own number, and somebody
    /// who, when woken, writes the member down.
    #[inline]
    pub(super) fn wakee(self: &Rc<Self>, place: u32, turn: Turn) -> (u32, Wakee) {
        if self.vacant.get().is_null() {
            self.grow();
        }
        // SAFETY: [list], and this board is alive: [node].
        let node = unsafe { &*self.vacant.get() };
        self.vacant.set(node.next.get());
        node.place.set(place);
        node.turn.set(turn);
        // For the wakee.
        std::mem::forget(self.clone());
        // SAFETY: [node]: it was just counted.
        (node.index, unsafe { Wakee::held(NonNull::from(node).cast()) })
    }

    /// Makes the next chunk of nodes.
    #[cold]
    fn grow(self: &Rc<Self>) {
        let mut chunks = self.chunks.borrow_mut();
        let count = FIRST_CHUNK << chunks.len();
        let node = |index: usize| Node {
            target: Target { vtable: &raw const NODE },
            board: Rc::as_ptr(self),
            index: index as u32,
            place: Cell::new(0),
            next: Cell::new(ptr::null()),
            turn: Cell::default(),
        };
        let chunk: Rc<[Node]> = (count - FIRST_CHUNK..2 * count - FIRST_CHUNK).map(node).collect();
        // The first is used first.
        for node in chunk.iter().rev() {
            node.next.set(self.vacant.replace(node));
        }
        chunks.push(chunk);
    }

    /// The member of this node has another number in the row now.
    pub(super) fn moved(&self, index: u32, place: u32) {
        let (chunk, at) = place_of(index);
        self.chunks.borrow()[chunk][at].place.set(place);
    }

    /// The member of a node of this board has ended. May run foreign code.
    #[inline]
    fn report(&self, node: &Node) {
        node.next.set(ptr::null());
        let last = self.last.replace(node);
        if self.first.get().is_null() {
            self.first.set(node);
        } else {
            // SAFETY: [list], and this board is alive: [node].
            unsafe { (*last).next.set(node) };
        }
        if let Some(gate) = &self.gate {
            gate.ended(node.turn.take());
        }
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Where the first of those that have ended is, which leaves the list.
    #[inline]
    pub(super) fn pop(&self) -> Option<u32> {
        // SAFETY: [list], and this board is alive: [node].
        let first = unsafe { self.first.get().as_ref() }?;
        self.first.set(first.next.replace(self.vacant.replace(first)));
        Some(first.place.get())
    }

    /// Remembers whom to wake when the next one ends. May run foreign code: the caller looks again.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.take();
        let old = renew(&mut waiting, cx);
        self.waiting.set(waiting);
        drop(old);
    }

    /// Nobody awaits the next one any more.
    pub(super) fn stop_waiting(&self) {
        drop(self.waiting.take());
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // Members that were not to be written down any more when they end have not left the queue.
        if let Some(gate) = &self.gate {
            for node in self.chunks.get_mut().iter().flat_map(|chunk| chunk.iter()) {
                gate.lose(node.turn.take());
            }
        }
    }
}
