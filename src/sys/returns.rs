//! What the processor guesses of returns, after a call to the system.
//!
//! A processor keeps where the last calls came from, and guesses that returns lead there. A kernel that
//! guards itself by "Safe RET" (against SRSO, on AMD's Zen 1 to 4) leaves places of its own there. Once a
//! return of ours was guessed to lead to one of them, what the kernel does next takes longer: by a fifth,
//! for an echoed message. As many calls of ours as are kept drive them out. docs/DESIGN.md has figures.

use std::{
    fs,
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
};

/// How many calls such a processor keeps, at most.
const KEPT: u32 = 32;

static IS_WANTED: AtomicBool = AtomicBool::new(false);

/// Asks the kernel how it returns. Where it does not say, nothing is driven out.
pub(super) fn look() {
    let said = fs::read("/sys/devices/system/cpu/vulnerabilities/spec_rstack_overflow");
    // Ordering: Relaxed; nothing hangs on it but time.
    IS_WANTED.store(said.is_ok_and(|said| says_so(&said)), Ordering::Relaxed);
}

fn says_so(said: &[u8]) -> bool {
    said.windows(8).any(|words| words == b"Safe RET")
}

/// For whoever has called the system, before it returns itself.
#[inline(always)]
pub(super) fn refill() {
    // Ordering: Relaxed, as above.
    if IS_WANTED.load(Ordering::Relaxed) {
        descend(KEPT);
    }
}

/// Makes that many calls, each within the one before.
#[inline(never)]
fn descend(calls: u32) {
    if calls > 0 {
        descend(calls - 1);
        // With nothing left to do, the call would become a jump.
        black_box(());
    }
}

#[cfg(test)]
mod tests {
    use super::says_so;

    #[test]
    fn only_a_kernel_that_returns_so_says_so() {
        for said in ["Mitigation: Safe RET\n", "Vulnerable: Safe RET, no microcode\n"] {
            assert!(says_so(said.as_bytes()), "{said}");
        }
        for said in ["", "Not affected\n", "Mitigation: IBPB\n", "Mitigation: SMT disabled\n"] {
            assert!(!says_so(said.as_bytes()), "{said}");
        }
    }
}
