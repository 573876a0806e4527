//! What only a test inside the crate can bring about.

use std::process::Command;

use super::{
    super::{Entered, HERE},
    *,
};
use crate::facade::Ordering;

/// A count at its end aborts: going on would free memory in use.
#[test]
fn t07_refcount_overflow_aborts() {
    const WHICH: &str = "BOUCLE_TEST_OVERFLOW";
    match std::env::var(WHICH).as_deref() {
        Ok("home") => overflow(|anchor| {
            anchor.clones.set(FAR);
            anchor.word.fill();
        }),
        Ok("held") => overflow(|anchor| anchor.held.set(u32::MAX)),
        Ok("loop") => overflow(|anchor| {
            // SAFETY: it is alive.
            let home = unsafe { anchor.home.as_ref() };
            home.refs.store(usize::MAX / 2, Ordering::Relaxed);
            drop(home.writer().clone());
        }),
        Ok(_) => overflow(|anchor| {
            // As on a thread where no loop is entered.
            HERE.with(|here| here.set(ptr::null()));
            anchor.word.fill();
        }),
        Err(_) => {
            for which in ["home", "held", "loop", "elsewhere"] {
                let child = Command::new(std::env::current_exe().expect("a path"))
                    .args(["home::anchor::tests::t07_refcount_overflow_aborts", "--exact"])
                    .args(["--nocapture", "--test-threads=1"])
                    .env(WHICH, which)
                    .output()
                    .expect("a process");
                let said = String::from_utf8_lossy(&child.stderr);
                assert!(!child.status.success(), "{which} went on");
                let what = if which == "loop" { "references" } else { "wakers" };
                assert!(
                    said.contains(&format!("more {what} than can be counted")),
                    "{which}: {said}"
                );
            }
        }
    }
}

/// However many wakers are cloned elsewhere and dropped at home, or the other way round, none is
/// miscounted.
#[test]
fn t07_counts_may_drift_apart() {
    with_anchor(|anchor| {
        // SAFETY: the anchor is alive, and this is home.
        unsafe {
            let this = anchor.as_ref();
            this.word.add(2 * FAR as isize);
            this.clones.set(2 - FAR);
            for left in (1..=FAR + 2).rev().take(4) {
                Anchor::uncount(anchor);
                assert!(Anchor::has_wakers(anchor), "{left}");
            }
            assert_eq!(this.clones.get(), -1, "the rest is in the word");
            this.clones.set(2 - FAR);
            Anchor::uncount(anchor);
            assert!(!Anchor::has_wakers(anchor));

            this.word.add(1 - 2 * FAR as isize);
            this.clones.set(FAR);
            assert!(!Anchor::has_wakers(anchor));
            Anchor::clone_waker(anchor);
            assert!(Anchor::has_wakers(anchor));
            assert_eq!(this.clones.get(), 0);
            Anchor::uncount(anchor);
            assert!(!Anchor::has_wakers(anchor));
        }
    });
}

/// Prepares an anchor, at home, and refers to it once more than it can count.
fn overflow(prepare: impl FnOnce(&Anchor)) {
    with_anchor(|anchor| {
        // SAFETY: it is alive until the process aborts.
        unsafe {
            prepare(anchor.as_ref());
            Anchor::hold(anchor);
            Anchor::clone_waker(anchor);
        }
    });
    eprintln!("still here");
}

/// An anchor on the stack, at home.
fn with_anchor(f: impl FnOnce(NonNull<Anchor>)) {
    let mut home = Home::new(|_| unreachable!("it is on the stack"));
    let home = NonNull::from(&mut home);
    let mut anchor = Anchor::new(ptr::null(), home, NOWHERE, LIVE);
    // SAFETY: both are alive until the end.
    unsafe {
        Home::settle_in(home);
        let _entered = Entered::new(home);
        f(NonNull::from(&mut anchor));
    }
}
