//! Safe code that means harm: every act at every moment, futures that watch their own address,
//! futures that are forgotten half-way, and what the comments of `unsafe` blocks say.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt,
    future::{pending, poll_fn, ready},
    marker::PhantomPinned,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook},
    path::Path,
    pin::Pin,
    ptr,
    rc::Rc,
    sync::{Once, mpsc},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
    thread,
    time::Duration,
};

use boucle::{
    Canceller, JoinHandle, Loop, Reaction, TaskSet, Waiter, gather, race, scope, sleep, spawn,
    sync::{self, Semaphore, channel},
    timeout, try_gather, yield_now,
};

use crate::support::{
    DropProbe, Drops, boom, forget_for_good as forget, on_drop, own_waker, panics, poll_with,
    quiet, virtual_loop,
};

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// When a trap springs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Poll,
    FutureDrop,
    OutputDrop,
    PayloadDrop,
    WakerClone,
    WakerWake,
    WakerDrop,
    Unobserved,
    Rung,
    Told,
    Printed,
}

/// What a trap does then.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    DropLoop,
    DropOther,
    CancelAll,
    DropHandles,
    WakeAll,
    DropWakers,
    WakeElsewhere,
    Spawn,
    Drive,
    PollByHand,
    DropByHand,
    DropSets,
    Look,
    Panic,
}

const MOMENTS: [Moment; 11] = [
    Moment::Poll,
    Moment::FutureDrop,
    Moment::OutputDrop,
    Moment::PayloadDrop,
    Moment::WakerClone,
    Moment::WakerWake,
    Moment::WakerDrop,
    Moment::Unobserved,
    Moment::Rung,
    Moment::Told,
    Moment::Printed,
];

const DEEDS: [Deed; 14] = [
    Deed::DropLoop,
    Deed::DropOther,
    Deed::CancelAll,
    Deed::DropHandles,
    Deed::WakeAll,
    Deed::DropWakers,
    Deed::WakeElsewhere,
    Deed::Spawn,
    Deed::Drive,
    Deed::PollByHand,
    Deed::DropByHand,
    Deed::DropSets,
    Deed::Look,
    Deed::Panic,
];

/// Everything that a trap can reach. Nothing of it is borrowed while it is used.
#[derive(Default)]
struct World {
    plan: Option<(Moment, [Deed; 2])>,
    /// How many traps may spring yet, and how many are at it.
    left: u32,
    depth: u32,
    sprung: usize,
    /// How many calls drive a loop, and whether one did that inside another.
    driven: u32,
    driven_inside: bool,
    own: Option<Rc<Loop>>,
    other: Option<Rc<Loop>>,
    handles: Vec<JoinHandle<Trap>>,
    cancellers: Vec<Canceller>,
    wakers: Vec<Waker>,
    sets: Vec<TaskSet<Trap>>,
    by_hand: Vec<Boxed>,
    drops: Drops,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

fn world<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(f)
}

/// Of no interest.
fn ignore<T>(_: T) {}

/// Whatever it panics with, this goes on.
fn try_to(f: impl FnOnce()) {
    let _panic = catch_unwind(AssertUnwindSafe(f));
}

/// Drives a loop, which fails inside a call that does.
fn drive(f: impl FnOnce()) {
    world(|world| world.driven += 1);
    let driven = catch_unwind(AssertUnwindSafe(f)).is_ok();
    world(|world| {
        world.driven -= 1;
        world.driven_inside |= driven && world.driven > 0;
    });
}

/// Springs if this is the moment.
fn at(moment: Moment) {
    let deeds = world(|world| match world.plan {
        Some((when, deeds)) if when == moment && world.left > 0 && world.depth < 3 => {
            world.left -= 1;
            world.depth += 1;
            world.sprung += 1;
            Some(deeds)
        }
        _ => None,
    });
    let Some(deeds) = deeds else { return };
    for deed in deeds {
        try_to(|| harm(deed));
    }
    world(|world| world.depth -= 1);
    // Two panics at once are the program's own fault.
    if deeds[1] == Deed::Panic && !thread::panicking() {
        boom();
    }
}

fn harm(deed: Deed) {
    match deed {
        Deed::DropLoop => drop(world(|world| world.own.take())),
        Deed::DropOther => drop(world(|world| world.other.take())),
        Deed::CancelAll => {
            let cancellers = world(|world| world.cancellers.clone());
            for canceller in cancellers {
                canceller.cancel();
            }
        }
        Deed::DropHandles => {
            while let Some(handle) = world(|world| world.handles.pop()) {
                try_to(|| drop(handle));
            }
        }
        Deed::WakeAll => {
            let wakers = world(|world| world.wakers.clone());
            wakers.iter().for_each(Waker::wake_by_ref);
        }
        Deed::DropWakers => drop(world(|world| std::mem::take(&mut world.wakers))),
        Deed::WakeElsewhere => {
            let wakers = world(|world| std::mem::take(&mut world.wakers));
            thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
        }
        Deed::Spawn => {
            let own = world(|world| world.own.clone());
            if let Some(own) = own {
                drop(own.spawn(actor(1, End::Output)));
            }
            let handle = spawn(actor(1, End::Panic));
            world(|world| world.handles.push(handle));
        }
        Deed::Drive => {
            for l in world(|world| [world.own.clone(), world.other.clone()]).into_iter().flatten() {
                drive(|| l.run_until_stalled());
            }
            drive(|| boucle::block_on(async { drop(spawn(actor(1, End::Output)).await) }));
        }
        Deed::PollByHand => {
            let waker = world(|world| world.wakers.pop()).unwrap_or_else(|| Waker::noop().clone());
            let mut futures = world(|world| std::mem::take(&mut world.by_hand));
            for future in &mut futures {
                try_to(|| ignore(poll_with(future, &waker)));
            }
            world(|world| world.by_hand.append(&mut futures));
            while let Some(future) = futures.pop() {
                try_to(|| drop(future));
            }
        }
        Deed::DropByHand => {
            while let Some(future) = world(|world| world.by_hand.pop()) {
                try_to(|| drop(future));
            }
        }
        Deed::DropSets => {
            while let Some(set) = world(|world| world.sets.pop()) {
                try_to(|| drop(set));
            }
        }
        Deed::Look => {
            let loops = world(|world| [world.own.clone(), world.other.clone()]);
            loops.iter().flatten().for_each(|l| drop(l.snapshot().to_string()));
            let handles = world(|world| std::mem::take(&mut world.handles));
            for handle in &handles {
                try_to(|| drop((format!("{handle:?}"), handle.result().is_some())));
            }
            world(|world| world.handles.extend(handles));
        }
        // Once the deeds are done.
        Deed::Panic => {}
    }
}

/// Springs when it is dropped, or printed.
struct Trap {
    _probe: DropProbe,
    moment: Moment,
}

impl Trap {
    fn new(moment: Moment) -> Trap {
        Trap { _probe: world(|world| world.drops.probe()), moment }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        at(self.moment);
    }
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        at(Moment::Printed);
        f.write_str("trap")
    }
}

#[derive(Clone, Copy)]
enum End {
    Output,
    Panic,
    Never,
}

/// A future with a trap in every place where one fits.
struct Actor {
    _trap: Trap,
    polls: u32,
    end: End,
}

fn actor(polls: u32, end: End) -> Actor {
    Actor { _trap: Trap::new(Moment::FutureDrop), polls, end }
}

impl Future for Actor {
    type Output = Trap;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Trap> {
        let waker = cx.waker().clone();
        // These are cloned while the world is borrowed.
        let is_trapped = ptr::eq(waker.vtable(), &TRAPPED);
        let surplus = world(|world| match world.wakers.len() {
            0..32 if !is_trapped => {
                world.wakers.push(waker);
                None
            }
            _ => Some(waker),
        });
        drop(surplus);
        at(Moment::Poll);
        self.polls = self.polls.saturating_sub(1);
        match self.end {
            End::Output if self.polls == 0 => Poll::Ready(Trap::new(Moment::OutputDrop)),
            End::Panic if self.polls == 0 => {
                resume_unwind(Box::new(Trap::new(Moment::PayloadDrop)))
            }
            _ => Poll::Pending,
        }
    }
}

/// An actor whose output is an error. No async block, which would lose the output if the destructor
/// of the actor panics.
struct Failing(Actor);

impl Future for Failing {
    type Output = Result<(), Trap>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(Err)
    }
}

/// The waker of another executor, with a trap in each of its functions, on any thread.
fn trapped_waker() -> Waker {
    // SAFETY: there is no data, so nothing that the functions do could harm it.
    unsafe { Waker::from_raw(RawWaker::new(ptr::null(), &TRAPPED)) }
}

static TRAPPED: RawWakerVTable = RawWakerVTable::new(
    |data| {
        at(Moment::WakerClone);
        RawWaker::new(data, &TRAPPED)
    },
    |_| {
        at(Moment::WakerWake);
        at(Moment::WakerDrop);
    },
    |_| at(Moment::WakerWake),
    |_| at(Moment::WakerDrop),
);

/// A loop full of traps, which are spawned.
fn trapped_loop() -> Rc<Loop> {
    let l = Loop::builder()
        .virtual_time()
        .on_unobserved(|_| at(Moment::Unobserved))
        .on_dead(Reaction::Tell)
        .on_diagnostic(|_| at(Moment::Told))
        .build();
    l.on_wake(|| at(Moment::Rung));
    for end in [End::Output, End::Panic, End::Never] {
        for kept in [true, false] {
            let handle = l.spawn(actor(2, end));
            let canceller = handle.canceller();
            world(|world| world.cancellers.push(canceller));
            if kept {
                world(|world| world.handles.push(handle));
            }
        }
    }
    drop(l.spawn(async {
        let ended = scope(async |s| {
            let first = s.spawn(actor(2, End::Output));
            let second = s.spawn(actor(1, End::Output));
            drop(s.spawn(async { first.await.is_ok() }));
            drop(s.spawn(actor(3, End::Never)));
            drop(s.spawn(async { (timeout(Duration::from_secs(1), second)).await.is_ok() }));
            yield_now().await;
            Trap::new(Moment::OutputDrop)
        });
        drop(ended.await);
    }));
    drop(l.spawn(async { drop(gather((actor(2, End::Output), actor(1, End::Panic))).await) }));
    drop(l.spawn(async { drop(race([actor(2, End::Output), actor(9, End::Never)]).await) }));
    drop(l.spawn(async {
        let failing = |n| Failing(actor(n, End::Output));
        ignore(try_gather(vec![failing(2), failing(1)]).await.is_ok());
    }));
    drop(l.spawn(async {
        let mut set = TaskSet::with_limit(1);
        for end in [End::Output, End::Panic, End::Never] {
            set.spawn(actor(1, end));
        }
        while let Some(ended) = set.join_next().await {
            drop(ended);
        }
    }));
    drop(l.spawn(async {
        ignore(timeout(Duration::from_secs(1), actor(9, End::Never)).await.is_ok());
        let (_tx, rx) = sync::oneshot::<Trap>();
        ignore(rx.await.is_ok());
    }));
    Rc::new(l)
}

/// Futures that nobody's task polls.
fn futures_by_hand(own: &Loop, other: &Loop) -> Vec<Boxed> {
    let ending = other.spawn(actor(2, End::Output));
    vec![
        Box::pin(async { drop(scope(async |s| s.spawn(actor(2, End::Output)).await).await) }),
        Box::pin(async { drop(gather(vec![actor(2, End::Output), actor(2, End::Never)]).await) }),
        Box::pin(sleep(Duration::from_secs(1))),
        Box::pin({
            let handle = own.spawn(actor(3, End::Panic));
            async { ignore(handle.await.is_ok()) }
        }),
        Box::pin(async {
            drop(boucle::wait([ending]).first_done().await);
            pending().await
        }),
        Box::pin({
            let remote = other.remote();
            drop(remote.spawn(|| actor(2, End::Panic)));
            let (ends, cancelled) =
                (remote.spawn(|| actor(2, End::Output)), remote.spawn(|| actor(2, End::Never)));
            async move {
                ignore(ends.await.is_ok());
                cancelled.cancel();
                ignore(cancelled.await.is_ok());
            }
        }),
        Box::pin({
            let mut set = TaskSet::new();
            set.insert(own.spawn(actor(2, End::Output)));
            set.insert(own.spawn(actor(2, End::Never)));
            async move { while set.join_next().await.is_some() {} }
        }),
    ]
}

/// Lives through everything that can happen to these traps.
fn live() {
    let [own, other] = [trapped_loop(), trapped_loop()];
    let mut set = TaskSet::new();
    set.insert(own.spawn(actor(2, End::Output)));
    set.insert(other.spawn(actor(2, End::Never)));
    let by_hand = futures_by_hand(&own, &other);
    let joined = own.spawn(actor(2, End::Output));
    drop(other.spawn(async { ignore(joined.await.is_ok()) }));
    world(|world| {
        (world.own, world.other) = (Some(own), Some(other));
        world.sets.push(set);
        world.by_hand = by_hand;
    });
    let run = |which: fn(&World) -> Option<Rc<Loop>>, f: fn(&Loop)| {
        if let Some(l) = world(|world| which(world)) {
            drive(|| f(&l));
        }
    };
    let foreign = || {
        let waker = trapped_waker();
        let mut futures = world(|world| std::mem::take(&mut world.by_hand));
        for future in &mut futures {
            try_to(|| ignore(poll_with(future, &waker)));
        }
        world(|world| world.by_hand.append(&mut futures));
        try_to(|| drop(futures));
        try_to(|| drop(waker));
    };
    run(|world| world.own.clone(), Loop::run_until_stalled);
    foreign();
    run(|world| world.other.clone(), Loop::run_until_stalled);
    try_to(|| harm(Deed::Look));
    try_to(|| harm(Deed::WakeAll));
    run(
        |world| world.own.clone(),
        |l| {
            l.step();
        },
    );
    // Polled inside a loop after they were polled outside.
    run(|world| world.own.clone(), |l| l.block_on(async { harm(Deed::PollByHand) }));
    run(|world| world.own.clone(), |l| drop(l.block_on(actor(1, End::Output))));
    foreign();
    run(|world| world.other.clone(), |l| l.advance(Duration::from_secs(2)));
    try_to(|| harm(Deed::WakeElsewhere));
    let first = world(|world| world.cancellers.first().cloned());
    try_to(|| ignore(first.as_ref().map(Canceller::cancel)));
    run(|world| world.own.clone(), |l| l.advance(Duration::from_secs(2)));
    let last = world(|world| world.handles.pop());
    try_to(|| drop(last));
    drive(|| boucle::block_on(async { harm(Deed::PollByHand) }));
    foreign();
    let parts = [Deed::DropByHand, Deed::DropSets, Deed::DropLoop, Deed::Look, Deed::DropOther];
    for deed in parts.into_iter().chain([Deed::DropHandles, Deed::DropWakers]) {
        try_to(|| harm(deed));
    }
    // Whatever is left, or has been spawned by what went.
    for _ in 0..8 {
        for deed in DEEDS.iter().filter(|deed| format!("{deed:?}").starts_with("Drop")) {
            try_to(|| harm(*deed));
        }
        let cancellers = world(|world| std::mem::take(&mut world.cancellers));
        drop(cancellers);
    }
}

/// Keeps panics of this thread off stderr: there are thousands, and each may cost a backtrace.
fn silence() {
    thread_local! {
        static SILENT: Cell<bool> = const { Cell::new(false) };
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |info| {
            if !SILENT.get() {
                loud(info);
            }
        }));
    });
    SILENT.set(true);
}

#[test]
fn every_deed_at_every_moment() {
    silence();
    let mut sprung = 0;
    for moment in MOMENTS {
        let before = sprung;
        // A panic is the last deed.
        for first in DEEDS.into_iter().filter(|&first| first != Deed::Panic) {
            for second in DEEDS.into_iter().filter(|&second| second != first) {
                let plan = Some((moment, [first, second]));
                WORLD.set(World { plan, left: 6, ..World::default() });
                live();
                let gone = WORLD.take();
                sprung += gone.sprung;
                let told = format!("{moment:?}: {first:?}, {second:?}");
                assert!(gone.drops.made() > 40, "{told}");
                assert!(!gone.driven_inside, "{told}");
                assert_eq!(gone.drops.dropped(), gone.drops.made(), "{told}");
                gone.drops.assert_all_dropped_here();
            }
        }
        assert!(sprung > before, "{moment:?} never came");
    }
}

/// A future that must not move from its first poll to its drop.
struct Fixed {
    at: Cell<usize>,
    polls: u32,
    met: Rc<Cell<u32>>,
    _pinned: PhantomPinned,
}

impl Fixed {
    fn new(polls: u32, met: &Rc<Cell<u32>>) -> Fixed {
        Fixed { at: Cell::new(0), polls, met: met.clone(), _pinned: PhantomPinned }
    }

    fn meet(&self) {
        let here = (&raw const *self).addr();
        assert!([0, here].contains(&self.at.replace(here)), "it has moved");
        self.met.set(self.met.get() + 1);
    }
}

impl Future for Fixed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.meet();
        // SAFETY: the field is a number; nothing moves.
        let polls = unsafe { &mut self.get_unchecked_mut().polls };
        *polls -= 1;
        if *polls == 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        if self.at.get() != 0 {
            self.meet();
        }
    }
}

#[test]
fn a_future_stays_where_it_was_first_polled() {
    let met = Rc::new(Cell::new(0));
    let seen = || met.replace(0);
    let fixed = |polls| Fixed::new(polls, &met);
    let l = virtual_loop();
    l.block_on(fixed(1));
    l.block_on(fixed(3));
    assert_eq!(seen(), 2 + 4);
    l.block_on(async {
        let task = spawn(fixed(3));
        spawn(fixed(9)).cancel();
        let running = spawn(fixed(9));
        yield_now().await;
        running.cancel();
        task.await.unwrap();
        assert_eq!(seen(), 4 + 2);

        drop(gather(vec![fixed(3), fixed(2)]).await);
        ignore(gather([fixed(3), fixed(2)]).await);
        gather((fixed(3), fixed(2), gather((fixed(1),)))).await;
        race(vec![fixed(3), fixed(2)]).await;
        assert_eq!(seen(), 7 + 7 + 9 + 6);

        scope(async |s| {
            drop(s.spawn(fixed(3)));
            drop(s.spawn(fixed(9)));
            fixed(2).await;
            s.cancel();
        })
        .await;
        assert_eq!(seen(), 3 + 2 + 2);

        timeout(Duration::from_secs(1), fixed(3)).await.unwrap();
        let mut set = TaskSet::with_limit(1);
        let ids: Vec<_> = (0..100).map(|_| set.spawn(fixed(1))).collect();
        while set.join_next().await.is_some() {}
        assert_eq!((ids.len(), seen()), (100, 4 + 200));
        let remote = boucle::remote();
        let sent =
            thread::spawn(move || remote.spawn(|| async { Fixed::new(3, &Rc::default()).await }));
        sent.join().unwrap().await.unwrap();
    });
}

/// Notes, when it is polled or dropped, whether it lies where its alignment has it lie.
#[repr(align(4096))]
struct Page<const SIZE: usize>([u8; SIZE]);

impl<const SIZE: usize> Page<SIZE> {
    fn look(&self) {
        assert_eq!((&raw const *self).addr() % 4096, 0);
        assert!(self.0.iter().all(|&byte| byte == 7));
    }
}

impl<const SIZE: usize> Drop for Page<SIZE> {
    fn drop(&mut self) {
        self.look();
    }
}

impl<const SIZE: usize> Future for Page<SIZE> {
    type Output = Page<SIZE>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Page<SIZE>> {
        self.look();
        Poll::Ready(Page([7; SIZE]))
    }
}

/// Each life that a task may have, of a future as large and as much aligned as this.
fn lives<const SIZE: usize>() {
    let page = || Page([7; SIZE]);
    let l = virtual_loop();
    l.block_on(page()).look();
    l.block_on(async {
        spawn(page()).await.unwrap().look();
        spawn(page()).cancel();
        drop(spawn(page()));
        let kept = spawn(page());
        let failed = spawn(async move {
            page().await.look();
            boom()
        });
        yield_now().await;
        kept.result().unwrap().unwrap().look();
        assert!(failed.await.unwrap_err().is_panic());
        scope(async |s| {
            s.spawn(page()).await.unwrap().look();
            s.spawn(page()).cancel();
            drop(s.spawn(page()));
            let unread = s.spawn(page());
            yield_now().await;
            drop(unread);
        })
        .await;
        let [one, two] = gather([page(), page()]).await;
        one.look();
        two.look();
        let mut set = TaskSet::new();
        set.spawn(page());
        set.join_next().await.unwrap().unwrap().look();
        boucle::remote().spawn(|| Page([7; SIZE])).await.unwrap().look();
    });
    drop(l.spawn(page()));
    let kept = l.spawn(page());
    l.run();
    drop(l);
    kept.result().unwrap().unwrap().look();
}

#[test]
fn futures_of_no_size_and_of_a_megabyte_are_aligned_as_they_should_be() {
    quiet();
    lives::<0>();
    lives::<1>();
    // In debug builds, each step of its making has a copy on the stack.
    let large = thread::Builder::new().stack_size(256 << 20).spawn(lives::<{ 1 << 20 }>);
    large.unwrap().join().unwrap();
    // No size at all.
    let l = Loop::new();
    let nothing: Vec<_> = (0..3).map(|_| l.spawn(ready(()))).collect();
    assert_eq!(l.block_on(gather(nothing)).into_iter().filter(Result::is_ok).count(), 3);
}

/// Polls a future once, with the waker of the task that awaits this.
async fn begin<F: Future + ?Sized>(mut future: Pin<&mut F>) {
    let is_pending = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
    assert!(is_pending);
}

/// As [`begin`], and then forgets it.
async fn begin_and_forget(future: impl Future) {
    let mut future = Box::pin(future);
    begin(future.as_mut()).await;
    forget(future);
}

#[test]
fn futures_that_are_forgotten_half_way_hurt_nobody() {
    let l = virtual_loop();
    let (remote, gate) = (l.remote(), Rc::new(Waiter::new(1)));
    let opens = |gate: &Rc<Waiter>| {
        let gate = gate.clone();
        async move { gate.wait().await }
    };
    let (wakers, other) = (Rc::new(RefCell::new(Vec::new())), virtual_loop());
    let keep_waker = |wakers: &Rc<RefCell<Vec<Waker>>>| {
        let wakers = wakers.clone();
        async move {
            let waker = own_waker().await;
            wakers.borrow_mut().push(waker);
            pending::<()>().await;
        }
    };
    let far = other.spawn(opens(&gate));
    let forgetful = l.spawn({
        let (gate, keep) = (gate.clone(), [keep_waker(&wakers), keep_waker(&wakers)]);
        let more = [keep_waker(&wakers), keep_waker(&wakers)];
        let (opened, child) = (opens(&gate), opens(&gate));
        async move {
            let task = spawn(opened);
            let canceller = task.canceller();
            let (full, _room) = channel::<u8>(1);
            full.send(1).await.unwrap();
            let (_tx, empty) = channel::<u8>(1);
            let (mutex, permits) = (sync::Mutex::new(()), Semaphore::new(0));
            let taken = mutex.lock().await;
            let (_answer, question) = sync::oneshot::<u8>();
            let mut set = TaskSet::new();
            set.spawn(pending::<()>());
            begin_and_forget(gate.wait()).await;
            begin_and_forget(mutex.lock()).await;
            begin_and_forget(permits.acquire()).await;
            begin_and_forget(full.send(2)).await;
            begin_and_forget(empty.recv()).await;
            begin_and_forget(question).await;
            begin_and_forget(set.join_next()).await;
            begin_and_forget(task).await;
            begin_and_forget(far).await;
            begin_and_forget(sleep(Duration::from_secs(1))).await;
            begin_and_forget(timeout(Duration::from_secs(1), pending::<()>())).await;
            begin_and_forget(gather(keep)).await;
            begin_and_forget(race(more)).await;
            begin_and_forget(boucle::wait([spawn(pending::<()>())])).await;
            begin_and_forget(scope(async |s| s.spawn(child).await)).await;
            begin_and_forget(spawn(pending::<()>()).shared()).await;
            begin_and_forget(remote.spawn(pending::<()>)).await;
            forget(canceller);
            forget(own_waker().await);
            drop((taken, permits));
            set.cancel_all();
            "ends"
        }
    });
    l.run_until_stalled();
    assert_eq!(*forgetful.result().unwrap().unwrap(), "ends");
    gate.set();
    assert_eq!(wakers.borrow().len(), 4);
    wakers.borrow().iter().for_each(Waker::wake_by_ref);
    let gone = wakers.take();
    thread::spawn(move || gone.into_iter().for_each(Waker::wake)).join().unwrap();
    l.advance(Duration::from_secs(2));
    other.run_until_stalled();
    drop(l);
    drop(other);
    drop(gate);
}

#[test]
fn a_scope_that_is_forgotten_inside_another_keeps_the_outer_ones_handles() {
    let l = virtual_loop();
    let gates = [Waiter::new(1), Waiter::new(1)];
    let drops = Drops::default();
    for early in [true, false] {
        let outer = scope(async |s| {
            let probe = drops.probe();
            let child = s.spawn(async {
                let _probe = probe;
                gates[usize::from(!early)].wait().await;
            });
            let inner = scope(async |t| {
                drop(t.spawn(async { child.await.is_ok() }));
                pending::<()>().await;
            });
            begin_and_forget(inner).await;
            if early {
                yield_now().await;
            } else {
                pending::<()>().await;
            }
        });
        let mut outer = Box::pin(outer);
        if early {
            gates[0].set();
            l.block_on(outer);
        } else {
            // The child ends because its scope is dropped, and wakes one that was forgotten.
            l.block_on(begin(outer.as_mut()));
            l.block_on(begin(outer.as_mut()));
            drop(outer);
        }
        l.run_until_stalled();
        drops.assert_all_dropped_here();
    }
    assert!(l.tasks().iter().all(|task| task.is_scoped));
}

#[test]
fn what_a_result_lends_outlives_the_loop_and_all_that_wake_the_task() {
    let (l, log) = (virtual_loop(), RefCell::new(Vec::new()));
    let task = l.spawn(async { String::from("fries") });
    let waker = l.spawn(own_waker());
    let canceller = task.canceller();
    l.run();
    let lent = task.result().unwrap().unwrap();
    assert!(!canceller.cancel());
    waker.result().unwrap().unwrap().wake_by_ref();
    log.borrow_mut().push(lent.as_str());
    drop((l, canceller));
    boucle::block_on(async { spawn(async { String::from("soda") }).await.unwrap() });
    log.borrow_mut().push(lent);
    assert_eq!(log.take(), ["fries", "fries"]);
    // Elsewhere it may be dropped at once.
    let waker = waker.result().unwrap().unwrap().clone();
    thread::spawn(move || drop(waker)).join().unwrap();
}

#[test]
fn a_waker_never_passes_for_that_of_a_later_task() {
    let mut old: Vec<Waker> = Vec::new();
    for _ in 0..20 {
        let l = virtual_loop();
        for _ in 0..20 {
            let [one, two] = [own_waker(), own_waker()].map(|waker| l.spawn(waker));
            let ended = l.block_on(async { [one.await.unwrap(), two.await.unwrap()] });
            for waker in ended {
                assert!(!old.iter().any(|other| other.will_wake(&waker)));
                old.push(waker);
            }
        }
        let half = old.len() / 2;
        old.truncate(half);
    }
    thread::spawn(move || old.into_iter().for_each(Waker::wake)).join().unwrap();
}

#[test]
fn sleeps_change_places_loops_and_threads() {
    let secs = Duration::from_secs;
    let [a, b] = [Loop::new(), Loop::new()];
    // Their slots in both loops have the same number.
    let nap = |l: &Loop, after| {
        let mut nap = l.block_on(poll_fn(|_| Poll::Ready(Box::pin(sleep(after)))));
        l.block_on(begin(nap.as_mut()));
        nap
    };
    let (mut one, mut two) = (nap(&a, secs(1000)), nap(&b, secs(2000)));
    std::mem::swap(&mut *one, &mut *two);
    assert!(a.next_deadline() < b.next_deadline());
    drop(one);
    // It was the one of `b`, which hears of it when it looks.
    b.run_until_stalled();
    assert!(a.next_deadline().is_some() && b.next_deadline().is_none());
    // Its slot is used again, while a letter about the former sleep is on its way.
    thread::spawn(move || drop(two)).join().unwrap();
    let mut three = nap(&a, secs(3000));
    a.run_until_stalled();
    assert!(a.next_deadline().is_some_and(|at| at > boucle::now() + secs(2500)));
    // Moves to the other loop, then to none: its own goes first.
    b.block_on(begin(three.as_mut()));
    a.run_until_stalled();
    assert!(a.next_deadline().is_none() && b.next_deadline().is_some());
    drop(b);
    let gone = panics(|| a.block_on(poll_fn(|cx| three.as_mut().poll(cx))));
    assert!(gone.contains("after its loop was dropped"), "{gone}");
    thread::spawn(move || {
        three.reset(std::time::Instant::now());
        boucle::block_on(three);
    })
    .join()
    .unwrap();
}

#[test]
fn a_set_that_goes_while_the_end_of_a_member_is_written_down() {
    let (l, drops) = (virtual_loop(), Drops::default());
    let set = Rc::new(RefCell::new(None::<Boxed>));
    let mut members = TaskSet::with_limit(1);
    l.block_on(async {
        for _ in 0..3 {
            let probe = drops.probe();
            members.spawn(async move {
                yield_now().await;
                probe
            });
        }
    });
    let gone = Rc::new(Cell::new(false));
    let waker = crate::support::foreign_waker({
        let (set, gone) = (set.clone(), gone.clone());
        move |act| {
            if act == crate::support::Act::Wake {
                drop(set.take());
                gone.set(true);
            }
        }
    });
    let mut waits: Boxed = Box::pin(async move { drop(members.join_next().await) });
    assert!(poll_with(&mut waits, &waker).is_pending());
    set.replace(Some(waits));
    l.run_until_stalled();
    assert!(gone.get() && l.tasks().is_empty());
    drops.assert_all_dropped_here();
}

#[test]
fn everything_may_lie_in_thread_locals_until_the_end() {
    /// One of each kind, from loops of this thread.
    struct Last {
        tell: mpsc::Sender<&'static str>,
        _handles: [JoinHandle<u8>; 3],
        _canceller: Canceller,
        waker: Waker,
        _sleep: Pin<Box<boucle::Sleep>>,
        _remote: boucle::Remote,
        by_hand: Boxed,
        _set: TaskSet<()>,
        l: Loop,
    }

    impl Drop for Last {
        fn drop(&mut self) {
            self.waker.wake_by_ref();
            let _ = catch_unwind(AssertUnwindSafe(|| self.l.run_until_stalled()));
            let _ = catch_unwind(AssertUnwindSafe(|| poll_with(&mut self.by_hand, Waker::noop())));
            let tell = self.tell.clone();
            let guard = on_drop(move || tell.send("went with its loop").unwrap());
            drop(self.l.spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            }));
            self.tell.send("thread ends").unwrap();
        }
    }

    fn last(tell: mpsc::Sender<&'static str>) -> Last {
        let gone = Loop::new();
        let (ended, lost) = (gone.spawn(async { 1 }), gone.spawn(pending()));
        gone.run_until_stalled();
        drop(gone);
        let l = Loop::new();
        let task = l.spawn(pending());
        let canceller = task.canceller();
        let mut nap = Box::pin(sleep(Duration::from_secs(1000)));
        let waker = l.block_on(async {
            begin(nap.as_mut()).await;
            own_waker().await
        });
        let mut set = TaskSet::new();
        set.insert(l.spawn(async {}));
        set.insert(l.spawn(pending()));
        let mut by_hand: Boxed = Box::pin(scope(async |s| {
            drop(s.spawn(gather([pending::<()>(), pending()])));
            pending().await
        }));
        l.block_on(begin(by_hand.as_mut()));
        Last {
            tell,
            _handles: [ended, lost, task],
            _canceller: canceller,
            waker,
            _sleep: nap,
            _remote: l.remote(),
            by_hand,
            _set: set,
            l,
        }
    }

    thread_local! {
        static BEFORE: RefCell<Option<Last>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        // Their destructors are entered before and after those of what loops keep for themselves.
        BEFORE.with_borrow_mut(|_| ());
        boucle::block_on(async {});
        AFTER.with_borrow_mut(|_| ());
        BEFORE.set(Some(last(tell.clone())));
        AFTER.set(Some(last(tell)));
    })
    .join()
    .unwrap();
    let mut told: Vec<_> = told.iter().collect();
    told.sort_unstable();
    assert_eq!(told, ["thread ends", "thread ends", "went with its loop", "went with its loop"]);
}

/// Two implementations for what has the trait, so that naming it is ambiguous and does not compile.
trait AmbiguousIf<Which> {
    fn it_has_not(_: &Self) {}
}

struct Sent;
struct Shared;

impl<T: ?Sized> AmbiguousIf<()> for T {}
impl<T: ?Sized + Send> AmbiguousIf<Sent> for T {}
impl<T: ?Sized + Sync> AmbiguousIf<Shared> for T {}

/// Compiling is the test.
#[test]
fn what_has_no_name_stays_on_its_thread_too() {
    let l = Loop::new();
    AmbiguousIf::<_>::it_has_not(&scope(async |_| ()));
    AmbiguousIf::<_>::it_has_not(&boucle::try_scope(async |_| Ok::<(), ()>(())));
    AmbiguousIf::<_>::it_has_not(&gather((ready(1), ready(2))));
    AmbiguousIf::<_>::it_has_not(&l.spawn(async {}).shared());
    AmbiguousIf::<_>::it_has_not(&Loop::builder());
    let scoped = scope(async |s| {
        AmbiguousIf::<_>::it_has_not(s);
        AmbiguousIf::<_>::it_has_not(&s.spawn(async {}));
        AmbiguousIf::<_>::it_has_not(&s.start(|ready| async {
            AmbiguousIf::<_>::it_has_not(&ready);
            ready.with(());
        }));
    });
    l.block_on(scoped);
    l.block_on(async { AmbiguousIf::<_>::it_has_not(&boucle::shield(async {})) });
}

struct Unpinned;

/// As [`AmbiguousIf`], for what may be moved after it was polled.
trait AmbiguousIfUnpin<Which> {
    fn it_is_not(_: &Self) {}
}

impl<T: ?Sized> AmbiguousIfUnpin<()> for T {}
impl<T: ?Sized + Unpin> AmbiguousIfUnpin<Unpinned> for T {}

/// Compiling is the test.
#[test]
fn what_holds_a_future_is_pinned_with_it() {
    let met = Rc::default();
    let fixed = || Fixed::new(1, &met);
    AmbiguousIfUnpin::<_>::it_is_not(&gather((fixed(), ready(1))));
    AmbiguousIfUnpin::<_>::it_is_not(&gather(vec![fixed()]));
    AmbiguousIfUnpin::<_>::it_is_not(&gather([fixed()]));
    AmbiguousIfUnpin::<_>::it_is_not(&race([fixed(), fixed()]));
    AmbiguousIfUnpin::<_>::it_is_not(&timeout(Duration::ZERO, fixed()));
    AmbiguousIfUnpin::<_>::it_is_not(&scope(async |_| fixed().await));
    fn is<T: Unpin>(_: T) {}
    is((gather([ready(1)]), gather(vec![ready(1)]), gather((ready(1),)), sleep(Duration::ZERO)));
}

/// The names in brackets that stand in a line, as in `[memory]`.
fn names(line: &str) -> impl Iterator<Item = &str> {
    line.split('[').skip(1).filter_map(|rest| {
        let (name, after) = rest.split_once(']')?;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b' ');
        (is_name && !after.starts_with('(')).then_some(name)
    })
}

#[test]
fn comments_of_unsafe_blocks_name_invariants_that_are_written_somewhere() {
    fn read(folder: &Path, texts: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, texts);
            } else {
                texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut texts = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    let mut stated = BTreeSet::new();
    for line in texts.iter().flat_map(|(_, text)| text.lines()) {
        for (doc, rest) in line.match_indices("`[").map(|(at, _)| line.split_at(at)) {
            let Some((name, after)) = rest[2..].split_once("]`") else { continue };
            let is_doc = doc.trim_start().starts_with("//!") || doc.trim_start().starts_with("///");
            if is_doc && (after.starts_with(" invariant") || after.starts_with(':')) {
                assert!(stated.insert(name.to_owned()), "[{name}] is stated twice");
            }
        }
    }
    assert!(stated.len() > 15, "{stated:?}");
    let mut cited = BTreeSet::new();
    for (path, text) in &texts {
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        for start in (0..lines.len()).filter(|&at| lines[at].contains("// SAFETY:")) {
            let comment = lines[start..].iter().take_while(|line| line.starts_with("//"));
            for name in comment.flat_map(|line| names(line)) {
                assert!(stated.contains(name), "{path}:{}: [{name}] is nowhere", start + 1);
                cited.insert(name.to_owned());
            }
        }
    }
    assert!(cited.len() > 12, "{cited:?}");
}
