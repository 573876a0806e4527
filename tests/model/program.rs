//! Programs: byte strings, decoded into scripts of operations.
//!
//! Every byte string is a program. An operation takes three bytes; the first script is the host's,
//! who drives the loop, the others are run by tasks, children and destructors.

use std::fmt;

/// One operation; its meaning is in the interpreter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Op {
    pub(crate) verb: Verb,
    pub(crate) x: u8,
    pub(crate) y: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verb {
    // At once, anywhere, also in destructors.
    Spawn,
    SpawnBound,
    DropHandle,
    Cancel,
    KeepCanceller,
    UseCanceller,
    Look,
    Wake,
    WakeElsewhere,
    Panic,
    // At once, where a scope is.
    SpawnChild,
    CancelChild,
    DropChild,
    CancelScope,
    // In a task or a child.
    KeepWaker,
    Park,
    Yield,
    Sleep,
    Reset,
    Join,
    JoinChild,
    Timeout,
    Gather,
    GatherMany,
    Race,
    Scope,
    Wait,
    Again,
    // By the host.
    Run,
    Step,
    Advance,
    BlockOn,
}

use Verb::*;

/// What a byte means in the script of a task: the more often a verb stands here, the likelier it is.
/// A change here gives other meanings to the bytes that the fuzzer has kept: run it again then.
const TASK: &[Verb] = &[
    Spawn,
    Spawn,
    Spawn,
    SpawnBound,
    DropHandle,
    Cancel,
    Cancel,
    KeepCanceller,
    UseCanceller,
    Look,
    Wake,
    Wake,
    Wake,
    Panic,
    SpawnChild,
    SpawnChild,
    CancelChild,
    DropChild,
    CancelScope,
    KeepWaker,
    KeepWaker,
    Park,
    Park,
    Yield,
    Yield,
    Sleep,
    Sleep,
    Reset,
    Join,
    Join,
    JoinChild,
    JoinChild,
    Timeout,
    Timeout,
    Gather,
    Gather,
    Race,
    Scope,
    Scope,
    Wait,
    Wait,
    Again,
    Yield,
    Wake,
    Spawn,
    Sleep,
    GatherMany,
    WakeElsewhere,
    WakeElsewhere,
    WakeElsewhere,
];

const HOST: &[Verb] = &[
    Spawn,
    Spawn,
    Spawn,
    Spawn,
    Spawn,
    SpawnBound,
    DropHandle,
    Cancel,
    KeepCanceller,
    UseCanceller,
    Look,
    Wake,
    Run,
    Run,
    Step,
    Step,
    Step,
    Step,
    Advance,
    Advance,
    Advance,
    BlockOn,
    BlockOn,
    Wake,
];

/// From here on, the first byte of an operation begins the next script instead.
const NEXT: u8 = 232;

/// How many scripts there may be, since three bits name one.
pub(crate) const SCRIPTS: usize = 8;

/// How many bytes an operation takes.
pub(crate) const WIDTH: usize = 3;

/// The first script is there always, and is the host's.
#[derive(Clone, PartialEq)]
pub(crate) struct Program(Vec<Vec<Op>>);

impl Program {
    pub(crate) fn decode(bytes: &[u8]) -> Program {
        let mut scripts = vec![Vec::new()];
        for op in bytes.chunks(WIDTH) {
            let (code, x, y) =
                (op[0], op.get(1).copied().unwrap_or(0), op.get(2).copied().unwrap_or(0));
            let host = scripts.len() == 1;
            if code >= NEXT && scripts.len() < SCRIPTS {
                scripts.push(Vec::new());
                continue;
            }
            let table = if host { HOST } else { TASK };
            let verb = table[usize::from(code) % table.len()];
            if let Some(script) = scripts.last_mut() {
                script.push(Op { verb, x, y });
            }
        }
        Program(scripts)
    }

    /// A script, by any number; none has the number zero but the host's.
    pub(crate) fn script(&self, number: u8) -> &[Op] {
        match self.0.len() {
            1 => &[],
            len => &self.0[1 + usize::from(number) % (len - 1)],
        }
    }

    pub(crate) fn host(&self) -> &[Op] {
        &self.0[0]
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, script) in self.0.iter().enumerate() {
            match number.checked_sub(1) {
                None => writeln!(f, "host:")?,
                Some(number) => writeln!(f, "script {number} of {}:", self.0.len() - 1)?,
            }
            for Op { verb, x, y } in script {
                writeln!(f, "    {verb:?} {x} {y}")?;
            }
        }
        Ok(())
    }
}

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The program of a seed.
    pub(crate) fn bytes(seed: u64) -> Vec<u8> {
        let mut random = Random(seed);
        let ops = 8 + random.next() % 56;
        (0..ops * WIDTH as u64).map(|_| (random.next() >> 24) as u8).collect()
    }
}
