//! What the tests share: traces, probes, wakers that do as they are told, and child processes.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    any::Any,
    cell::RefCell,
    fmt,
    future::poll_fn,
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    process::{Command, ExitStatus, Stdio},
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicIsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
    thread::{self, ThreadId},
    time::Duration,
};

use boucle::Loop;

static FORGOTTEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// As `mem::forget`, but a leak checker takes it for meant.
pub(crate) fn forget_for_good<T>(value: T) {
    let address = Box::into_raw(Box::new(value)).expose_provenance();
    FORGOTTEN.lock().unwrap().push(address);
}

/// A loop whose clock jumps instead of waiting.
pub(crate) fn virtual_loop() -> Loop {
    Loop::builder().virtual_time().build()
}

/// A virtual loop that notes every panic that nobody observed.
pub(crate) fn noting_loop(log: &Log) -> Loop {
    let log = log.clone();
    let note = move |error: boucle::JoinError| log.push(format!("unobserved {}", cause(&error)));
    Loop::builder().virtual_time().on_unobserved(note).build()
}

/// What became of a task, without its name and number.
pub(crate) fn cause(error: &boucle::JoinError) -> String {
    let text = error.to_string();
    text.split(") ").last().unwrap_or_default().to_owned()
}

/// A trace of what happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn push(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    /// What was noted since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }

    /// Notes `line` when it is dropped.
    pub(crate) fn on_drop(&self, line: &str) -> OnDrop<impl FnMut() + use<>> {
        let (log, line) = (self.clone(), line.to_owned());
        on_drop(move || log.push(line.clone()))
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.borrow().fmt(f)
    }
}

/// Calls `f` when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(F);

pub(crate) fn on_drop<F: FnMut()>(f: F) -> OnDrop<F> {
    OnDrop(f)
}

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Makes probes, and knows which of them were dropped, and where.
#[derive(Clone, Default)]
pub(crate) struct Drops(Arc<Mutex<(usize, Vec<ThreadId>)>>);

impl Drops {
    pub(crate) fn probe(&self) -> DropProbe {
        self.lock().0 += 1;
        DropProbe(self.clone())
    }

    pub(crate) fn made(&self) -> usize {
        self.lock().0
    }

    pub(crate) fn dropped(&self) -> usize {
        self.lock().1.len()
    }

    /// Whether all that were made are gone, each dropped once, on this thread.
    #[track_caller]
    pub(crate) fn assert_all_dropped_here(&self) {
        let (made, ref threads) = *self.lock();
        assert_eq!(threads.len(), made, "dropped of made");
        assert!(threads.iter().all(|&id| id == thread::current().id()), "dropped elsewhere");
    }

    fn lock(&self) -> MutexGuard<'_, (usize, Vec<ThreadId>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts its drop and the thread it happens on.
pub(crate) struct DropProbe(Drops);

impl Drop for DropProbe {
    fn drop(&mut self) {
        self.0.lock().1.push(thread::current().id());
    }
}

/// What happens to a waker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Clone,
    Wake,
    Drop,
}

struct Hook(ThreadId, Box<dyn Fn(Act)>);

/// A waker of another executor: it calls `hook` for all that happens to it. For this thread only.
pub(crate) fn foreign_waker(hook: impl Fn(Act) + 'static) -> Waker {
    let hook = Rc::new(Hook(thread::current().id(), Box::new(hook)));
    // SAFETY: the vtable keeps the contract of a waker but for `Send`, which `hook_of` checks.
    unsafe { Waker::from_raw(RawWaker::new(Rc::into_raw(hook).cast(), &HOOK)) }
}

static HOOK: RawWakerVTable = RawWakerVTable::new(
    |data| {
        let hook = std::mem::ManuallyDrop::new(hook_of(data));
        (hook.1)(Act::Clone);
        RawWaker::new(Rc::into_raw(Rc::clone(&hook)).cast(), &HOOK)
    },
    // A wake by value is the end of the waker too.
    |data| {
        let hook = hook_of(data);
        (hook.1)(Act::Wake);
        (hook.1)(Act::Drop);
    },
    |data| (std::mem::ManuallyDrop::new(hook_of(data)).1)(Act::Wake),
    |data| (hook_of(data).1)(Act::Drop),
);

fn hook_of(data: *const ()) -> Rc<Hook> {
    // SAFETY: the data of these wakers comes from `Rc::into_raw`, and each waker owns a count.
    let hook = unsafe { Rc::from_raw(data.cast::<Hook>()) };
    if hook.0 != thread::current().id() {
        eprintln!("a test's waker has left its thread");
        std::process::abort();
    }
    hook
}

/// A waker that notes what happens to it.
pub(crate) fn noting_waker(log: &Log, name: &'static str) -> Waker {
    let log = log.clone();
    foreign_waker(move |act| log.push(format!("{act:?} {name}")))
}

/// Polls something by hand.
pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Pending once, after `f` has seen the waker.
pub(crate) async fn pause(f: impl FnOnce(&Waker)) {
    let mut f = Some(f);
    poll_fn(|cx| match f.take() {
        Some(f) => {
            f(cx.waker());
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}

/// A future that owns something, which is dropped with it and not, as in an async block, when it
/// ends.
pub(crate) fn owning<T, F: Future>(owned: T, future: F) -> impl Future<Output = F::Output> {
    let (mut future, owned) = (Box::pin(future), owned);
    poll_fn(move |cx| {
        let _owned = &owned;
        future.as_mut().poll(cx)
    })
}

/// The waker of the task that awaits this.
pub(crate) async fn own_waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// The message that `f` panics with.
#[track_caller]
pub(crate) fn panics<R>(f: impl FnOnce() -> R) -> String {
    quiet();
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => message(&*payload),
    }
}

pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&'static str>().map(|&text| text.to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Keeps panics that begin with "boom" off stderr: tests make them on purpose.
pub(crate) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !message(info.payload()).starts_with("boom") {
                loud(info);
            }
        }));
    });
}

/// Panics as a test means it to.
pub(crate) fn boom() -> ! {
    quiet();
    panic!("boom")
}

/// How a child process has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

/// Runs the test called `name` in a process of its own, since it may abort or hang.
///
/// `None` in that process, which goes on with the test; how it ended, in the calling one.
pub(crate) fn subprocess(name: &str) -> Option<Ended> {
    start(name, Stdio::piped(), None)
}

/// As [`subprocess`], with the environment variable that asks for all that can be told.
pub(crate) fn debugged_subprocess(name: &str) -> Option<Ended> {
    start(name, Stdio::piped(), Some("1"))
}

/// As [`subprocess`], but its stderr goes to a file.
#[cfg(target_os = "linux")]
pub(crate) fn filed_subprocess(name: &str, stderr: std::fs::File) -> Option<Ended> {
    start(name, stderr.into(), None)
}

/// As [`subprocess`], but its stderr is full from the start: whatever is written there fails.
#[cfg(target_os = "linux")]
pub(crate) fn unheard_subprocess(name: &str) -> Option<Ended> {
    start(name, std::fs::File::options().write(true).open("/dev/full").unwrap().into(), None)
}

fn start(name: &str, stderr: Stdio, debug: Option<&str>) -> Option<Ended> {
    const CHILD: &str = "BOUCLE_TEST_CHILD";
    if std::env::var_os(CHILD).is_some_and(|child| child == name) {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    match debug {
        Some(value) => command.env("BOUCLE_DEBUG", value),
        None => command.env_remove("BOUCLE_DEBUG"),
    };
    let mut child = command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let stdout = read(child.stdout.take().unwrap());
    let stderr = child.stderr.take().map(read);
    // It has ended when it has closed its stdout.
    let told = stdout.recv_timeout(Duration::from_secs(600));
    if told.is_err() {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let stderr = stderr.map_or_else(String::new, |stderr| stderr.recv().unwrap());
    let told = told.unwrap_or_else(|_| panic!("{name} hangs in its own process:\n{stderr}"));
    assert!(told.contains("running 1 test"), "no such test: {name}\n{told}");
    Some(Ended { status, stderr })
}

/// Reads a pipe to its end.
fn read(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    // Real threads: a child blocks when one of its pipes is full, so both are read at once.
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        let _ = tell.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    told
}

/// Counts the blocks of memory with an unusual alignment, so that a test that picks one of its own
/// can tell when the memory of its tasks has gone.
struct Counting;

const ALIGNMENTS: usize = 32;
const UNUSUAL: usize = 64;

static LIVE: [AtomicIsize; ALIGNMENTS] = [const { AtomicIsize::new(0) }; ALIGNMENTS];

/// How many blocks of this alignment are allocated.
pub(crate) fn blocks<T>() -> isize {
    assert!(align_of::<T>() >= UNUSUAL, "an alignment that others use too");
    LIVE[align_of::<T>().trailing_zeros() as usize].load(Ordering::SeqCst)
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() >= UNUSUAL {
            LIVE[layout.align().trailing_zeros() as usize % ALIGNMENTS]
                .fetch_add(1, Ordering::SeqCst);
        }
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.align() >= UNUSUAL {
            LIVE[layout.align().trailing_zeros() as usize % ALIGNMENTS]
                .fetch_sub(1, Ordering::SeqCst);
        }
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(block, layout) }
    }
}

/// A report without the places of timers and joins, which only builds with debug assertions know.
pub(crate) fn without_sites(report: &str) -> String {
    let mut text = String::new();
    let mut rest = report;
    let begins = |text: &str| {
        let phrases = ["the end of ", "its own end", "a timer "];
        phrases.iter().filter_map(|phrase| text.find(phrase)).min()
    };
    while let Some(at) = begins(rest) {
        let part = &rest[at..];
        let end = part.find([',', '\n']).unwrap_or(part.len());
        let site = part[..end].find(" at ").unwrap_or(end);
        text += &rest[..at];
        text += &part[..site];
        rest = &part[end..];
    }
    text + rest
}
