//! Loops after loops of one thread: nothing of the one is left to the next; and hosts that are told
//! of what comes after a call that has driven their loop.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use boucle::{
    Canceller, JoinHandle, Loop, Remote, RemoteHandle, TaskSet, block_on, forever, gather, scope,
    sleep, spawn,
    sync::{OwnedPermit, Semaphore},
    yield_now,
};

#[cfg(all(unix, feature = "net"))]
use crate::support::poll_with;
use crate::support::{Drops, Log, blocks, boom, on_drop};

/// Calls `f` in the poll of whoever awaits this, at once.
fn with_cx<R>(mut f: impl FnMut(&mut Context<'_>) -> R) -> impl Future<Output = R> {
    poll_fn(move |cx| Poll::Ready(f(cx)))
}

/// A loop, and how often it has called its host.
fn hosted() -> (Loop, impl Fn() -> usize) {
    let (l, rings) = (Loop::new(), Arc::new(AtomicUsize::new(0)));
    let ring = rings.clone();
    l.on_wake(move || {
        ring.fetch_add(1, Ordering::SeqCst);
    });
    (l, move || rings.load(Ordering::SeqCst))
}

/// What a loop is driven to do, in words and in deed.
type Life = (&'static str, fn(&Loop));

/// A task that has ended may still stand in the ready queue when the call returns that drives the
/// loop. Nothing is ready all the same.
#[test]
fn t48_a_host_is_told_after_a_call_that_left_ended_tasks_in_the_queue() {
    let lives: [Life; 4] = [
        ("a guest that main cancels", |l| l.block_on(async { assert!(spawn(forever()).cancel()) })),
        ("main, woken as it ends at once", |l| {
            l.block_on(with_cx(|cx| cx.waker().wake_by_ref()));
        }),
        ("main, woken as it ends later", |l| {
            l.block_on(async {
                yield_now().await;
                with_cx(|cx| cx.waker().wake_by_ref()).await;
            });
        }),
        ("guests, one behind the other", |l| {
            let guests = [l.spawn(forever()), l.spawn(forever())];
            l.block_on(async {
                yield_now().await;
                let woken = [spawn(forever()), spawn(forever())];
                assert!(woken.iter().chain(&guests).all(|guest| guest.cancel()));
            });
        }),
    ];
    for (life, live) in lives {
        let (l, rings) = hosted();
        live(&l);
        let before = rings();
        assert_eq!(l.tasks().len(), 0);
        let late = l.remote().spawn(|| async {});
        assert_eq!(rings(), before + 1, "{life}: a letter");
        l.run_until_stalled();
        assert!(late.is_finished(), "{life}");
        live(&l);
        let before = rings();
        drop(l.spawn(async {}));
        assert_eq!(rings(), before + 1, "{life}: a spawn");
    }
}

/// What a destructor may do to a socket of another loop before the first poll of its own: what the
/// last poll of the loop before has done does not count.
#[cfg(all(unix, feature = "net"))]
#[test]
fn t75_the_operations_of_the_last_loop_are_not_counted_in_the_next() {
    use boucle::net::UdpSocket;

    let home = Loop::new();
    let (near, far) = home.block_on(async {
        let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        near.connect(far.local_addr().unwrap()).await.unwrap();
        (near, Rc::new(far))
    });
    let send = |near: &UdpSocket| {
        let mut send = Box::pin(near.send(b"soda"));
        poll_with(&mut send, Waker::noop()).is_ready()
    };
    let far_of = far.clone();
    let first = move || {
        let far = far_of.clone();
        let l = Loop::new();
        let log = Log::default();
        let end = on_drop({
            let log = log.clone();
            move || {
                let mut buf = [0; 4];
                let mut read = Box::pin(far.recv(&mut buf));
                log.push(format!("{}", poll_with(&mut read, Waker::noop()).is_ready()));
            }
        });
        let guest = l.spawn(async move {
            let _end = end;
            forever().await;
        });
        assert!(guest.cancel());
        log.take()
    };
    assert!(send(&near));
    assert_eq!(first(), ["true"], "in a loop that is new");
    // One poll does all that one poll may.
    block_on(poll_fn(|_| {
        assert!((0..128).all(|_| send(&near)));
        Poll::Ready(())
    }));
    assert_eq!(first(), ["true"], "in the next");
}

/// Who took a permit in a loop that is gone is no task of the next, though both are the first of
/// their loops, in the same place.
#[test]
fn t75_who_took_a_permit_in_the_last_loop_is_nobody_in_the_next() {
    let wait = |plain: bool| {
        let permits = Rc::new(Semaphore::new(1));
        let l = Loop::new();
        if !plain {
            // Its memory goes with it.
            l.on_wake(|| ());
        }
        let permit = l.block_on(async { permits.acquire_owned().await });
        drop(l);
        let stalled = Loop::new().try_block_on(async { drop(permits.acquire().await) });
        drop(permit);
        stalled.unwrap_err().to_string()
    };
    let fresh = wait(false);
    assert_eq!(wait(true), fresh);
    assert!(fresh.contains("main #1"), "{fresh}");
}

/// What outlives its loop, to be used in or between later ones.
enum Survivor {
    Waker(Waker),
    Handle(JoinHandle<u32>),
    Canceller(Canceller),
    Future(Pin<Box<dyn Future<Output = ()>>>),
    Set(TaskSet<u32>),
    Remote(Remote),
    Answer(RemoteHandle<u32>),
    Permit(OwnedPermit),
}

/// Unlike the alignment of any other test.
#[repr(align(1024))]
struct Marked;

/// A program of its own numbers, told by what it has noted.
struct Program {
    seed: u64,
    log: Log,
    drops: Drops,
    survivors: Vec<Survivor>,
    permits: Rc<Semaphore>,
    /// Whether its loops are as others, so that they may leave their memory to the next.
    plain: bool,
}

type Shared = Rc<RefCell<Program>>;

fn number(program: &Shared, below: usize) -> usize {
    let seed = &mut program.borrow_mut().seed;
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % below as u64) as usize
}

fn note(program: &Shared, line: impl Into<String>) {
    program.borrow().log.push(line);
}

fn keep(program: &Shared, survivor: Survivor) {
    program.borrow_mut().survivors.push(survivor);
}

/// Takes out one of those who are there.
fn take(program: &Shared) -> Option<Survivor> {
    let count = program.borrow().survivors.len();
    let at = number(program, count.max(1));
    (count > 0).then(|| program.borrow_mut().survivors.swap_remove(at))
}

/// A task that never ends by itself; its end may make loops.
async fn guest(program: Shared, name: usize) -> u32 {
    let end = on_drop({
        let (program, probe) = (program.clone(), program.borrow().drops.probe());
        move || {
            let _probe = &probe;
            note(&program, format!("end of {name}"));
            match name % 4 {
                0 => drop(Loop::new()),
                1 => drop(Loop::new().spawn(async {})),
                2 => {
                    let nested = catch_unwind(|| block_on(async { 1 }));
                    note(&program, format!("nested {}", nested.is_ok()));
                }
                _ => {}
            }
        }
    });
    let (_end, _marked) = (end, Marked);
    if name % 3 == 0 {
        let of = program.clone();
        let keeps = |cx: &mut Context<'_>| keep(&of, Survivor::Waker(cx.waker().clone()));
        with_cx(keeps).await;
    }
    if name % 5 == 0 {
        yield_now().await;
        return name as u32;
    }
    forever().await;
    0
}

/// Does one thing with somebody who is there, in a loop or out of it.
fn meet(program: &Shared, cx: Option<&mut Context<'_>>) {
    let Some(survivor) = take(program) else { return };
    let how = number(program, 4);
    match survivor {
        Survivor::Waker(waker) => match how {
            0 => thread::spawn(move || waker.wake()).join().unwrap(),
            1 => thread::spawn(move || drop(waker)).join().unwrap(),
            2 => waker.wake(),
            _ => {
                waker.wake_by_ref();
                let waker = thread::spawn(move || waker.clone()).join().unwrap();
                keep(program, Survivor::Waker(waker));
            }
        },
        Survivor::Handle(handle) => {
            note(program, format!("{} {:?}", handle.id(), handle.status()));
            match how {
                0 => note(program, format!("{}", handle.cancel())),
                1 => keep(program, Survivor::Canceller(handle.canceller())),
                2 => drop(handle.cancel_on_drop()),
                _ => keep(program, Survivor::Handle(handle)),
            }
        }
        Survivor::Canceller(canceller) => note(program, format!("{}", canceller.cancel())),
        Survivor::Future(mut future) => {
            let mut outside = Context::from_waker(Waker::noop());
            let cx = cx.unwrap_or(&mut outside);
            if how < 3 {
                let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx).is_ready()));
                note(program, format!("polled {:?}", polled.ok()));
                keep(program, Survivor::Future(future));
            }
        }
        Survivor::Set(mut set) => {
            note(program, format!("{}", set.len()));
            if how < 2 {
                while let Some(ended) = set.try_join_next() {
                    note(program, format!("{:?}", ended.ok()));
                }
                keep(program, Survivor::Set(set));
            }
        }
        Survivor::Remote(remote) => {
            if how < 3 {
                let answer = thread::spawn(move || remote.spawn(|| async { 3 })).join().unwrap();
                keep(program, Survivor::Answer(answer));
            }
        }
        Survivor::Answer(answer) => note(program, format!("{}", answer.is_finished())),
        Survivor::Permit(permit) => drop(permit),
    }
}

/// One step of a main future.
async fn step(program: &Shared) {
    let name = number(program, 1000);
    match number(program, 14) {
        0 => drop(spawn(guest(program.clone(), name))),
        1 => keep(program, Survivor::Handle(spawn(guest(program.clone(), name)))),
        2 => keep(program, Survivor::Handle(spawn(guest(program.clone(), name)).named("named"))),
        3 => yield_now().await,
        4 => with_cx(|cx| cx.waker().wake_by_ref()).await,
        5 => {
            let waker = with_cx(|cx| cx.waker().clone()).await;
            keep(program, Survivor::Waker(waker));
        }
        6 => {
            let of = (program.clone(), program.clone());
            let both = async move {
                gather((guest(of.0, name), guest(of.1, name + 1))).await;
            };
            keep(program, Survivor::Future(Box::pin(both)));
        }
        7 => {
            let of = program.clone();
            let children = async move {
                scope(async |s| {
                    let _child = s.spawn(guest(of.clone(), name));
                    guest(of.clone(), name + 1).await;
                })
                .await;
            };
            keep(program, Survivor::Future(Box::pin(children)));
        }
        8 => keep(program, Survivor::Future(Box::pin(sleep(Duration::from_secs(3600))))),
        9 => {
            let permits = program.borrow().permits.clone();
            let permit = poll_fn(|cx| {
                let mut acquire = std::pin::pin!(permits.acquire_owned());
                Poll::Ready(acquire.as_mut().poll(cx))
            });
            if let Poll::Ready(permit) = permit.await {
                keep(program, Survivor::Permit(permit));
            }
        }
        10 => {
            let mut set = if name % 2 == 0 { TaskSet::new() } else { TaskSet::with_limit(1) };
            set.spawn(guest(program.clone(), name));
            set.spawn(guest(program.clone(), name + 1));
            keep(program, Survivor::Set(set));
        }
        11 => keep(program, Survivor::Remote(boucle::remote())),
        12 => {
            let snapshot = boucle::snapshot();
            let tasks = snapshot.tasks().iter().map(|task| (task.id, task.status, &task.name));
            note(program, format!("{:?}", tasks.collect::<Vec<_>>()));
        }
        _ => {
            if name < 200 {
                boom();
            }
        }
    }
}

/// One loop, from its beginning to its end.
fn live(program: &Shared) {
    let steps = [0, 0, 0, 1, 1, 2, 3, 8][number(program, 8)];
    let of = program.clone();
    let main = async move {
        for _ in 0..steps {
            step(&of).await;
            if number(&of, 2) == 0 {
                with_cx(|cx| meet(&of, Some(cx))).await;
            }
        }
        Marked
    };
    let plain = program.borrow().plain;
    let way = number(program, 3);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        if plain && way == 0 {
            return block_on(main);
        }
        let l = Loop::new();
        if !plain {
            l.on_wake(|| ());
        }
        if way == 1 {
            let probe = program.borrow().drops.probe();
            drop(l.spawn(async move { drop(probe) }));
        }
        l.block_on(main)
    }));
    note(program, format!("main {}", ended.is_ok()));
    if number(program, 4) == 0 {
        meet(program, None);
    }
    // Whatever was dropped by the first is not among them.
    let l = Loop::new();
    note(program, format!("{l:?} {} {:?}", l.spawn(async {}).id(), l.next_deadline()));
}

/// What the program of this number notes.
fn run(seed: u64, lives: usize, plain: bool) -> Vec<String> {
    crate::support::quiet();
    let program = Rc::new(RefCell::new(Program {
        seed,
        log: Log::default(),
        drops: Drops::default(),
        survivors: Vec::new(),
        permits: Rc::new(Semaphore::new(2)),
        plain,
    }));
    for _ in 0..lives {
        live(&program);
        if program.borrow().survivors.len() > 12 {
            drop(take(&program));
        }
    }
    while let Some(survivor) = take(&program) {
        drop(survivor);
    }
    program.borrow().drops.assert_all_dropped_here();
    program.borrow().log.take()
}

/// The same programs, in loops whose memory goes with them: what outlives a loop behaves alike, and
/// all is dropped once.
#[test]
fn loops_after_loops_are_as_the_first_whatever_outlives_them() {
    let before = blocks::<Marked>();
    for seed in 0..SEEDS {
        let (kept, fresh) = (run(seed, 40, true), run(seed, 40, false));
        let differs = kept.iter().zip(&fresh).position(|(kept, fresh)| kept != fresh);
        if let Some(at) = differs {
            let from = at.saturating_sub(5);
            panic!("seed {seed}, line {at}:\n{:#?}\n{:#?}", &kept[from..=at], &fresh[from..=at]);
        }
        assert_eq!(kept.len(), fresh.len(), "seed {seed}");
        assert_eq!(blocks::<Marked>(), before, "seed {seed}");
    }
}

const SEEDS: u64 = if cfg!(miri) { 2 } else { 60 };
