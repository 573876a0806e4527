//! A snapshot on stderr when SIGQUIT comes, with the feature `signal`.
//!
//! The handler does nothing but write to signal-hook's pipe. A thread, one for the process, reads
//! the pipe and leaves a letter with every loop that asked; each prints its own snapshot, at home,
//! when it reads its letters. What the list keeps of a loop is a reference and no `Writer`, so a
//! loop that asked can still be proven to be stuck.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use signal_hook::{consts::SIGQUIT, iterator::Signals};

use crate::{
    current::current,
    diagnosis::Snapshot,
    event_loop::Loop,
    home::{HomeRef, Letter},
    turn::{Core, with_core},
};

/// Who asked, in this process. No user code runs under the lock.
static ASKED: Mutex<Asked> = Mutex::new(Asked { loops: Vec::new(), is_heard: false });

struct Asked {
    loops: Vec<Asking>,
    /// There is a thread that hears the signal.
    is_heard: bool,
}

#[derive(Clone)]
struct Asking {
    home: HomeRef,
    /// A letter is on its way: signals that come meanwhile are one with it.
    posted: Arc<AtomicBool>,
}

/// As [`Loop::report_on_sigquit`], for the loop that runs on this thread.
///
/// # Errors
/// As [`Loop::report_on_sigquit`].
///
/// # Panics
/// Outside a loop.
///
/// ```
/// boucle::block_on(async { boucle::report_on_sigquit() }).unwrap();
/// ```
#[track_caller]
pub fn report_on_sigquit() -> io::Result<()> {
    current("boucle::report_on_sigquit", ask)
}

impl Loop {
    /// Prints a [snapshot](Loop::snapshot) of this loop on stderr whenever the process gets
    /// SIGQUIT: `kill -QUIT`, or Ctrl-\ in a terminal.
    ///
    /// It is printed at the loop's next look at its letters: at once if it sleeps, after at most 64
    /// polls if it is busy, and not before the end of a poll that blocks. A loop that a host runs
    /// calls [`Loop::on_wake`]. Every loop that asked prints its own, and stops when it is dropped.
    /// A loop that asked can still be [`Stalled`](crate::Stalled): a signal wakes no task.
    ///
    /// From the first call on, SIGQUIT does not end the process any more, whatever becomes of the
    /// loops; a handler that was there before is still called. One thread, `boucle-sigquit`, waits
    /// for the signal. With the feature `signal`, on Unix.
    ///
    /// # Errors
    /// If the handler cannot be installed, or the thread not be started.
    ///
    /// ```
    /// let l = boucle::Loop::new();
    /// l.report_on_sigquit().unwrap();
    /// let stalled = l.try_block_on(boucle::forever()).unwrap_err();
    /// assert_eq!(stalled.grade(), boucle::Grade::Proven);
    /// ```
    pub fn report_on_sigquit(&self) -> io::Result<()> {
        ask(self.core())
    }
}

fn ask(core: &Core) -> io::Result<()> {
    let home = core.tasks.home.reference();
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    if !asked.is_heard {
        let mut signals = Signals::new([SIGQUIT])?;
        let hear = move || signals.forever().for_each(|_| post());
        // It lives as long as the process: what would stop it is a loop that goes.
        drop(thread::Builder::new().name("boucle-sigquit".into()).spawn(hear)?);
        asked.is_heard = true;
    }
    asked.loops.retain(|other| !other.home.is_closed());
    if !asked.loops.iter().any(|other| other.home == home) {
        asked.loops.push(Asking { home, posted: Arc::new(AtomicBool::new(false)) });
    }
    Ok(())
}

/// Leaves a letter with everybody who asked.
fn post() {
    // A copy, since the bell of a loop may call its host.
    let loops = ASKED.lock().unwrap_or_else(PoisonError::into_inner).loops.clone();
    for Asking { home, posted } in loops {
        // Ordering: Relaxed, it only counts letters.
        if !posted.swap(true, Ordering::Relaxed) {
            let job = move || {
                posted.store(false, Ordering::Relaxed);
                with_core(tell);
            };
            // A loop that is gone gets none, and is forgotten when the next one asks.
            home.post(Letter::Job(Box::new(job)));
        }
    }
}

fn tell(core: &Core) {
    if core.tasks.is_closing() {
        return;
    }
    let snapshot = Snapshot::of(core);
    let (tasks, stuck) = (snapshot.tasks().len(), snapshot.stuck().len());
    let (thread, s) = (thread::current(), if tasks == 1 { "" } else { "s" });
    let name = thread.name().unwrap_or("unnamed");
    let mut text = format!("boucle: SIGQUIT: {tasks} task{s} on thread '{name}', {stuck} stuck\n");
    for line in snapshot.to_string().lines() {
        let _ = writeln!(text, "  {line}");
    }
    // At once, so that the reports of several loops do not mix. Nobody can be told of an error.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
