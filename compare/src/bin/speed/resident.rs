//! What an idle task holds of resident memory. It needs a process that has not done anything yet,
//! so it is a child: `speed resident RUNTIME`.

use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    hint::black_box,
    process::{Command, exit},
    task::{Poll, Waker},
};

use crate::{
    Result,
    runtimes::{Runtime, Subject},
};

pub(crate) const TASKS: usize = 1_000_000;

thread_local! {
    /// How many have been polled. It is no field of theirs, since their size is given.
    static POLLED: Cell<usize> = const { Cell::new(0) };
    /// Whom the last of them wakes. To yield until then would never end where a task that yields
    /// runs again at once.
    static ROOT: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A future of 64 bytes that is never done.
pub(crate) fn idler(i: usize) -> impl Future<Output = ()> {
    let data = [i; 7];
    let future = async move {
        POLLED.set(POLLED.get() + 1);
        if POLLED.get() == TASKS
            && let Some(root) = ROOT.take()
        {
            root.wake();
        }
        pending::<()>().await;
        black_box(&data);
    };
    assert_eq!(size_of_val(&future), 64);
    future
}

/// Spawns them and waits until all have been polled once.
pub(crate) fn idle<R: Runtime>() {
    let rt = R::new();
    rt.block_on(async {
        let before = bytes();
        for i in 0..TASKS {
            rt.detach(idler(i));
        }
        poll_fn(|cx| {
            if POLLED.get() == TASKS {
                return Poll::Ready(());
            }
            ROOT.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        report(before);
    });
}

/// Resident bytes of this process.
pub(crate) fn bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages = statm.split_whitespace().nth(1).expect("a second field");
    pages.parse::<usize>().expect("a number") * rustix::param::page_size()
}

/// Says how much each holds, and ends the process: the way out is of no interest.
pub(crate) fn report(before: usize) -> ! {
    println!("{}", (bytes() - before) / TASKS);
    exit(0)
}

/// Asks a child.
pub(crate) fn of(subject: &Subject) -> Result<usize> {
    let child = Command::new(std::env::current_exe()?).args(["resident", subject.name]).output()?;
    let answer = String::from_utf8(child.stdout)?;
    let error = || format!("{} has no answer: {}", subject.name, child.status);
    Ok(answer.trim().parse().map_err(|_| error())?)
}
