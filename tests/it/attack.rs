//! Attacks.
use std::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::{AtomicUsize, Ordering}},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use boucle::{Diagnostic, JoinHandle, Loop, Reaction, Status, TaskSet, Waiter, scope, sleep, spawn, sync::{Mutex, Semaphore}};
use crate::support::{Log, foreign_waker, on_drop, blocks, subprocess, virtual_loop};

// T1
fn hook_loop(gate: &Rc<Waiter>) -> (Loop, Arc<AtomicUsize>) {
    let g = gate.clone();
    let l = Loop::builder().on_dead(Reaction::Tell).virtual_time().on_diagnostic(move |_| g.set()).build();
    let rings = Arc::new(AtomicUsize::new(0));
    let r = rings.clone();
    l.on_wake(move || { r.fetch_add(1, Ordering::SeqCst); });
    (l, rings)
}
fn lost(kind: u8) {
    let gate = Rc::new(Waiter::new(1));
    let (l, rings) = hook_loop(&gate);
    let g = gate.clone();
    let t = l.spawn(async move { g.wait().await });
    let _dead = l.spawn(pending::<()>());
    rings.store(0, Ordering::SeqCst);
    match kind {
        0 => l.run_until_stalled(),
        1 => l.advance(Duration::from_secs(1)),
        _ => while l.step() {},
    }
    assert!(t.status() == Status::Finished || rings.load(Ordering::SeqCst) > 0, "lost {kind}: {} rings {}", t.status(), rings.load(Ordering::SeqCst));
}
#[test] fn a01_lost_run_until_stalled() { lost(0) }
#[test] fn a01_lost_advance() { lost(1) }
#[test] fn a01_lost_step() { lost(2) }

// T2
struct AtEnd(RefCell<Option<Box<dyn FnOnce()>>>);
impl Drop for AtEnd { fn drop(&mut self) { if let Some(f) = self.0.take() { f() } } }
thread_local! { static END: AtEnd = const { AtEnd(RefCell::new(None)) }; }
fn at_thread_end(f: impl FnOnce() + 'static) { END.with(|e| *e.0.borrow_mut() = Some(Box::new(f))); }
fn touch_table() {
    let l = virtual_loop();
    let w = Waiter::new(1);
    let _ = l.try_block_on(w.wait());
}
#[test] fn a02_tls_snapshot() {
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        at_thread_end(move || {
            let r = catch_unwind(|| {
                let l = Loop::new();
                let w = Waiter::new(1);
                l.try_block_on(w.wait()).unwrap_err().to_string()
            });
            tx.send(r.map_err(|e| crate::support::message(&*e))).unwrap();
        });
        touch_table();
    }).join().unwrap();
    println!("{:?}", rx.recv().unwrap().unwrap());
}
#[test] fn a02_tls_cycle() {
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        at_thread_end(move || {
            let r = catch_unwind(|| {
                let l = Loop::builder().on_cycle(Reaction::Tell).virtual_time().build();
                l.block_on(async {
                    let m = Rc::new(Mutex::new(()));
                    let m2 = m.clone();
                    let t = spawn(async move { let _g = m2.lock().await; let _h = m2.lock().await; });
                    sleep(Duration::from_secs(1)).await;
                    t.cancel();
                });
            });
            tx.send(r.map_err(|e| crate::support::message(&*e))).unwrap();
        });
        touch_table();
    }).join().unwrap();
    rx.recv().unwrap().unwrap();
}

// T3
#[test] fn a03_two_bad_captures() {
    if let Some(e) = subprocess("attack::a03_two_bad_captures") { assert!(e.status.success(), "{}", e.stderr); return; }
    struct Bad; impl Drop for Bad { fn drop(&mut self) { panic!("bad") } }
    let (a, b, c) = (Bad, Bad, Bad);
    let l = Loop::builder().on_unobserved(move |_| { let _ = &a; }).on_diagnostic(move |_| { let _ = &b; }).build();
    let c = std::sync::Mutex::new(c);
    l.on_wake(move || { let _ = &c; });
    drop(l);
}

// T4: a scope that is polled elsewhere.
#[test] fn a04_away_scope_is_not_dead() {
    let log = Log::default();
    let n = log.clone();
    let l = Loop::builder().virtual_time().on_dead(Reaction::Tell).on_diagnostic(move |d| n.push(d.to_string())).build();
    let held: Rc<RefCell<Option<Waker>>> = Rc::default();
    let h = held.clone();
    let sc: Pin<Box<dyn Future<Output = ()>>> = Box::pin(scope(async move |s| {
        let _c = s.spawn(poll_fn::<(), _>(move |cx| { *h.borrow_mut() = Some(cx.waker().clone()); Poll::Pending })).named("child");
        pending::<()>().await
    }));
    let slot = Rc::new(RefCell::new(Some(sc)));
    let s2 = slot.clone();
    l.spawn(async move {
        poll_fn(|cx| { let mut s = s2.borrow_mut(); let _ = s.as_mut().unwrap().as_mut().poll(cx); Poll::Ready(()) }).await;
    }).cancel_on_drop().named("first");
    let s3 = slot.clone();
    let t = l.spawn(poll_fn(move |cx| { let mut s = s3.borrow_mut(); let _ = s.as_mut().unwrap().as_mut().poll(cx); Poll::Ready(()) }));
    l.run_until_stalled();
    println!("{:?} {:?}", t.status(), log.take());
    // Now elsewhere.
    let w = foreign_waker(|_| ());
    let mut sc = slot.borrow_mut().take().unwrap();
    let _ = sc.as_mut().poll(&mut Context::from_waker(&w));
    let kept = held.borrow().is_some();
    l.run_until_stalled();
    println!("{}", l.snapshot());
    let told = log.take();
    assert!(kept && told.is_empty(), "{told:?}");
}

// T5: homes at the same address.
#[test] fn a05_who_of_a_loop_that_is_gone() {
    let mut wrong = 0;
    for _ in 0..50 {
        let m = Rc::new(Mutex::new(()));
        let s: &'static Mutex<()> = Box::leak(Box::new(Mutex::new(())));
        drop(m);
        let guard = { let l = virtual_loop(); l.block_on(async { s.lock().await }) };
        let l = Loop::builder().virtual_time().on_cycle(Reaction::Fail).build();
        let r = l.try_block_on(async move {
            let g = spawn(async move { sleep(Duration::from_secs(1)).await; });
            let keep = RefCell::new(Some(guard));
            let _ = g;
            let both = boucle::gather((async { s.lock().await; }, async { sleep(Duration::from_secs(1)).await; keep.take(); }));
            both.await;
        });
        if r.is_err() { wrong += 1; }
    }
    let s: &'static Mutex<()> = Box::leak(Box::new(Mutex::new(())));
    for _ in 0..50 {
        let guard = { let l = virtual_loop(); l.block_on(async { s.lock().await }) };
        let l = Loop::builder().virtual_time().on_cycle(Reaction::Fail).build();
        let helper = RefCell::new(None);
        *helper.borrow_mut() = Some(guard);
        let h = Rc::new(helper);
        let h2 = h.clone();
        // main holds nothing; the helper gives back.
        let t = Rc::new(Cell::new(false));
        let t2 = t.clone();
        let r = l.try_block_on(async move {
            drop(spawn(async move { sleep(Duration::from_secs(1)).await; h2.borrow_mut().take(); t2.set(true); }));
            let _g = s.lock().await;
        });
        h.borrow_mut().take();
        if let Err(e) = r { wrong += 1; if wrong == 1 { println!("{e}"); } }
    }
    assert_eq!(wrong, 0);
}

// T6: leaks of places.
#[repr(align(1024))] struct Marked1(#[allow(dead_code)] u8);
#[test] fn a06_limited_set_dropped_in_a_destructor() {
    {
    let l = virtual_loop();
    let set: Rc<RefCell<TaskSet<()>>> = Rc::new(RefCell::new(TaskSet::with_limit(1)));
    let s = set.clone();
    l.block_on(async move {
        for _ in 0..4 { let m = Marked1(1); s.borrow_mut().spawn(async move { let _m = m; pending::<()>().await }); }
    });
    let set = Rc::into_inner(set).unwrap().into_inner();
    let d = on_drop({ let mut set = Some(set); move || drop(set.take()) });
    let t = l.spawn(async move { let _d = d; pending::<()>().await });
    l.run_until_stalled();
    t.cancel();
    drop(t);
    drop(l);
    }
    assert_eq!(blocks::<Marked1>(), 0);
}
#[repr(align(2048))] struct Marked2(#[allow(dead_code)] u8);
#[test] fn a06_member_drops_its_set() {
    {
    let l = virtual_loop();
    let set: Rc<RefCell<Option<TaskSet<()>>>> = Rc::new(RefCell::new(Some(TaskSet::with_limit(1))));
    let s = set.clone();
    l.block_on(async move {
        let s2 = s.clone();
        s.borrow_mut().as_mut().unwrap().spawn(async move { let x = s2.borrow_mut().take(); drop(x); });
        for _ in 0..4 { let m = Marked2(1); s.borrow_mut().as_mut().unwrap().spawn(async move { let _m = m; pending::<()>().await }); }
        sleep(Duration::from_secs(1)).await;
    });
    drop(set);
    drop(l);
    }
    assert_eq!(blocks::<Marked2>(), 0);
}

fn rss() -> usize {
    let s = std::fs::read_to_string("/proc/self/statm").unwrap();
    s.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
#[test] fn a06_into_iter_leaks_places() {
    let one = || {
        let l = virtual_loop();
        l.block_on(async {
            let mut set = TaskSet::with_limit(1);
            for _ in 0..1000 { set.spawn(async {}); }
            for h in set { h.await.unwrap(); }
        });
    };
    for _ in 0..20 { one(); }
    let before = rss();
    for _ in 0..200 { one(); }
    let after = rss();
    assert!(after < before + 4_000_000, "grown by {} bytes", after - before);
}
#[test] fn a06_snapshots_slow_after_into_iter() {
    let l = virtual_loop();
    l.block_on(async {
        for _ in 0..50 {
            let mut set = TaskSet::with_limit(1);
            for _ in 0..1000 { set.spawn(async {}); }
            for h in set { h.await.unwrap(); }
        }
        let t = Instant::now();
        for _ in 0..100 { boucle::snapshot(); }
        println!("100 snapshots: {:?}", t.elapsed());
    });
}

// T7: forgotten places.
#[test] fn a07_forgotten_place() {
    let l = virtual_loop();
    let e = l.try_block_on(async {
        {
            let a = Waiter::new(1).named("gone");
            let mut f = Box::pin(a.wait());
            poll_fn(|cx| { let _ = f.as_mut().poll(cx); Poll::Ready(()) }).await;
            std::mem::forget(f);
        }
        let b = Waiter::new(1).named("other");
        let t = spawn(async move { b.wait().await });
        boucle::yield_now().await;
        let s = boucle::snapshot();
        println!("{s}");
        assert!(!s.tasks()[0].waits.iter().any(|w| format!("{w:?}").contains("other")), "{s}");
        drop(t);
    });
    let _ = e;
}

// T8
#[test] fn a08_many_permits() {
    for n in [10_000u32, 20_000, 40_000] {
    let l = virtual_loop();
    let took = l.block_on(async {
        let s = Semaphore::new(n as usize);
        let t = Instant::now();
        let all: Vec<_> = (0..n).map(|_| s.try_acquire().unwrap()).collect();
        drop(all);
        t.elapsed()
    });
    println!("permits {n}: {took:?}");
    }
}
#[test] fn a08_many_circles() {
    for n in [100usize, 200, 400, 800] {
    let count = Rc::new(Cell::new(0));
    let c = count.clone();
    let l = Loop::builder().virtual_time().on_cycle(Reaction::Tell).on_diagnostic(move |_| c.set(c.get() + 1)).build();
    let t0 = Instant::now();
    for _ in 0..n {
        let (a, b) = (Rc::new(Mutex::new(())), Rc::new(Mutex::new(())));
        for (x, y) in [(a.clone(), b.clone()), (b, a)] {
            drop(l.spawn(async move { let _x = x.lock().await; boucle::yield_now().await; let _y = y.lock().await; }));
        }
    }
    l.run_until_stalled();
    println!("circles {n}: {} told in {:?}", count.get(), t0.elapsed());
    }
}

// T9: default loop tells the same circle again?
#[test] fn a09_circle_told_once() {
    if let Some(e) = subprocess("attack::a09_circle_told_once") {
        assert!(e.stderr.matches("tasks wait for each other").count() <= 1, "{}", e.stderr); return;
    }
    let l = virtual_loop();
    let m = Rc::new(Mutex::new(()));
    let m2 = m.clone();
    let w: Rc<RefCell<Option<Waker>>> = Rc::default();
    let w2 = w.clone();
    let t = l.spawn(async move {
        let _g = m2.lock().await;
        let mut f = Box::pin(m2.lock());
        poll_fn(move |cx| { let mut s = w2.borrow_mut(); if s.is_none() { *s = Some(cx.waker().clone()); } drop(s); f.as_mut().poll(cx).map(|_| ()) }).await
    });
    for _ in 0..5 {
        l.run_until_stalled();
        let wk = w.borrow_mut().take(); if let Some(wk) = wk { wk.wake(); }
        l.run_until_stalled();
    }
    drop(t);
}

// Semaphore with add_permits: a live program.
#[test] fn a10_add_permits_is_no_circle() {
    let l = Loop::builder().virtual_time().on_cycle(Reaction::Fail).build();
    let r = l.try_block_on(async {
        let s = Rc::new(Semaphore::new(1));
        let s2 = s.clone();
        drop(spawn(async move { sleep(Duration::from_secs(1)).await; s2.add_permits(1); }));
        let _one = s.acquire().await;
        let _two = s.acquire().await;
    });
    assert!(r.is_ok(), "{}", r.unwrap_err());
}
// Permits that nobody signed for.
#[test] fn a10_unsigned_permits_are_no_circle() {
    let s: &'static Semaphore = Box::leak(Box::new(Semaphore::new(2)));
    let outside = RefCell::new(Some(s.try_acquire().unwrap()));
    let l = Loop::builder().virtual_time().on_cycle(Reaction::Fail).build();
    let outside = Rc::new(outside);
    let r = l.try_block_on(async move {
        drop(spawn(async move { sleep(Duration::from_secs(1)).await; outside.borrow_mut().take(); }));
        let _one = s.acquire().await;
        let _two = s.acquire().await;
    });
    assert!(r.is_ok(), "{}", r.unwrap_err());
}
#[allow(dead_code)] fn unused(_: JoinHandle<()>, _: Diagnostic, _: AssertUnwindSafe<()>) {}
