//! Notice that the host never polls: `on_wake` and `next_deadline` say when to run the loop.
//!
//! The host has an event queue of its own, as a window system does. Its tasks run between two
//! events, on the host's thread.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use boucle::{Loop, sleep};

enum Event {
    Key(char),
    /// The loop, idle until now, has something to do.
    Wake,
}

/// Where another thread leaves something for a task.
#[derive(Clone, Default)]
struct Letterbox(Arc<Mutex<(Option<String>, Option<Waker>)>>);

impl Letterbox {
    fn put(&self, letter: String) {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inside.0 = Some(letter);
        if let Some(waker) = inside.1.take() {
            waker.wake();
        }
    }

    async fn take(&self) -> String {
        poll_fn(|cx| {
            let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            inside.1 = Some(cx.waker().clone());
            inside.0.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

fn main() -> thread::Result<()> {
    let l = Loop::new();
    let letterbox = Letterbox::default();
    let inbox = letterbox.clone();
    let task = l.spawn(async move {
        println!("task: waits for a letter");
        println!("task: {}", inbox.take().await);
        sleep(Duration::from_millis(20)).await;
        println!("task: slept");
    });
    l.run_until_stalled();

    let (events, queue) = mpsc::channel();
    let ring = events.clone();
    // An error would mean that the host has left its own loop.
    l.on_wake(move || drop(ring.send(Event::Wake)));

    let typist = thread::spawn(move || {
        "ok".chars().for_each(|key| drop(events.send(Event::Key(key))));
        letterbox.put("bonjour".into());
    });

    while !task.is_finished() {
        let left = l.next_deadline().map(|at| at.saturating_duration_since(l.now()));
        match queue.recv_timeout(left.unwrap_or(Duration::MAX)) {
            Ok(Event::Key(key)) => println!("host: key {key}"),
            Ok(Event::Wake) | Err(_) => l.run_until_stalled(),
        }
    }
    typist.join()
}
