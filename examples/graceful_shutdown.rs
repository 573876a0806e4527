//! Notice that `quit` does not cut anybody off: it opens a gate, which every child of the scope
//! sees, and each cleans up with `.await` before the scope returns. Only who is too slow is cut.

use std::time::Duration;

use boucle::{Loop, Waiter, now, race, scope, sleep, timeout};

/// Whether there is more to do, rather than a shutdown.
async fn pause(seconds: u64, quit: &Waiter) -> bool {
    let work = async {
        sleep(Duration::from_secs(seconds)).await;
        true
    };
    let stop = async {
        quit.wait().await;
        false
    };
    race((work, stop)).await
}

async fn serve(name: &str, seconds: u64, quit: &Waiter) {
    let mut served = 0;
    while pause(seconds, quit).await {
        served += 1;
        println!("{name}: request {served}");
    }
    // The clean-up may wait: nobody has dropped this future.
    sleep(Duration::from_secs(1)).await;
    println!("{name}: flushed {served} requests");
}

/// Never looks at the gate.
async fn stubborn() {
    struct Cut;

    impl Drop for Cut {
        fn drop(&mut self) {
            println!("stubborn: cut off");
        }
    }

    let _cut = Cut;
    sleep(Duration::from_secs(1000)).await;
}

/// What a person at the keyboard does; a program would wait for a signal or a socket here.
async fn control_c() {
    sleep(Duration::from_secs(7)).await;
    println!("^C");
}

async fn server() {
    let (start, quit) = (now(), Waiter::new(1));
    scope(async |s| {
        let children = [
            s.spawn(serve("web", 2, &quit)),
            s.spawn(serve("mail", 3, &quit)),
            s.spawn(stubborn()),
        ];
        control_c().await;
        quit.set();
        let gone = async {
            for child in children {
                child.await.expect("nobody is cut off while we wait");
            }
        };
        if timeout(Duration::from_secs(5), gone).await.is_err() {
            s.cancel();
        }
    })
    .await;
    println!("down after {} s", (now() - start).as_secs());
}

fn main() {
    let l = match std::env::args().any(|arg| arg == "--virtual") {
        true => Loop::builder().virtual_time().build(),
        false => Loop::new(),
    };
    l.block_on(server());
}
