//! What only a test inside the crate can bring about.

use std::process::Command;

use super::*;

/// A count at its end aborts: going on would free memory in use.
#[test]
fn t07_refcount_overflow_aborts() {
    const WHICH: &str = "BOUCLE_TEST_OVERFLOW";
    match std::env::var(WHICH).as_deref() {
        Ok("home") => overflow(|anchor| anchor.clones.set(i32::MAX)),
        Ok("held") => overflow(|anchor| anchor.held.set(u32::MAX)),
        Ok(_) => overflow(|anchor| {
            // As on a thread where no loop is entered.
            HERE.with(|here| here.set(ptr::null()));
            anchor.word.fill();
        }),
        Err(_) => {
            for which in ["home", "held", "elsewhere"] {
                let child = Command::new(std::env::current_exe().expect("a path"))
                    .args(["home::tests::t07_refcount_overflow_aborts", "--exact"])
                    .args(["--nocapture", "--test-threads=1"])
                    .env(WHICH, which)
                    .output()
                    .expect("a process");
                let said = String::from_utf8_lossy(&child.stderr);
                assert!(!child.status.success(), "{which} went on");
                assert!(said.contains("more than two billion"), "{which}: {said}");
            }
        }
    }
}

/// Prepares an anchor, at home, and refers to it once more than it can count.
fn overflow(prepare: impl FnOnce(&Anchor)) {
    let mut home = Home::new(|_| unreachable!("it is on the stack"));
    let home = NonNull::from(&mut home);
    let mut anchor = Anchor::new(ptr::null(), home, NOWHERE, LIVE);
    let anchor = NonNull::from(&mut anchor);
    // SAFETY: both are alive until the process aborts.
    unsafe {
        Home::settle_in(home);
        let _entered = Entered::new(home);
        prepare(anchor.as_ref());
        Anchor::hold(anchor);
        Anchor::clone_waker(anchor);
    }
    eprintln!("still here");
}
