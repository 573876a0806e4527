//! Two threads on two cores.

use std::thread::{self, JoinHandle};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Another thread, on a core of its own: whether two threads that wake each other share one is not
/// to be left to chance.
pub(crate) struct Apart {
    thread: JoinHandle<()>,
    /// Where the thread that has started it may run otherwise.
    before: Option<CpuSet>,
}

impl Apart {
    /// Keeps the calling thread on one core and the new one on another, where there are two.
    pub(crate) fn spawn(f: impl FnOnce() + Send + 'static) -> Apart {
        let before = sched_getaffinity(None).ok();
        let allowed = |core: &usize| before.as_ref().is_some_and(|cores| cores.is_set(*core));
        let mut cores = (0..CpuSet::MAX_CPU).filter(allowed);
        let pair = cores.next().zip(cores.next());
        // What is refused stays with the system's choice.
        if let Some((here, _)) = pair {
            let _ = sched_setaffinity(None, &only(here));
        }
        let thread = thread::spawn(move || {
            if let Some((_, there)) = pair {
                let _ = sched_setaffinity(None, &only(there));
            }
            f();
        });
        Apart { thread, before }
    }

    pub(crate) fn join(self) {
        self.thread.join().expect("it ends");
        if let Some(before) = self.before {
            let _ = sched_setaffinity(None, &before);
        }
    }
}

fn only(core: usize) -> CpuSet {
    let mut cores = CpuSet::new();
    cores.set(core);
    cores
}
