//! Notice that the server and its clients share one thread: whoever waits for a socket or for the
//! time lets the others run. The server needs no end of its own: it loses a race, and is dropped.

use std::{io, time::Duration};

use boucle::{
    Loop,
    net::{TcpListener, TcpStream},
    now, race, sleep, spawn, try_gather,
};
use futures_lite::{AsyncBufReadExt, AsyncWriteExt, StreamExt, io::BufReader};

/// Answers each line reversed, until the client hangs up.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    // Both are the same connection.
    let mut lines = BufReader::new(stream.clone()).lines();
    while let Some(line) = lines.next().await {
        let reversed: String = line?.chars().rev().collect();
        stream.write_all(format!("{reversed}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        println!("server: somebody comes");
        // Dropping the handle detaches the task.
        drop(spawn(async {
            if let Err(error) = answer(stream).await {
                println!("server: {error}");
            }
        }));
    }
}

async fn say(server: &TcpListener, name: &str, pause: u64, words: &[&str]) -> io::Result<()> {
    let (start, pause) = (now(), Duration::from_secs(pause));
    sleep(pause).await;
    let mut stream = TcpStream::connect(server.local_addr()?).await?;
    let mut answers = BufReader::new(stream.clone()).lines();
    for word in words {
        stream.write_all(format!("{word}\n").as_bytes()).await?;
        let answer = answers.next().await.unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()))?;
        println!("{:2} s {name}: {word} -> {answer}", (now() - start).as_secs());
        sleep(pause).await;
    }
    Ok(())
}

async fn server_and_clients() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let clients = try_gather((
        say(&listener, "anna", 2, &["soda", "fries"]),
        say(&listener, "bruno", 5, &["burger", "radar", "toast"]),
        say(&listener, "chloe", 7, &["caviar"]),
    ));
    let clients = async { clients.await.map(drop) };
    race((serve(&listener), clients)).await
}

fn main() -> io::Result<()> {
    let l = match std::env::args().any(|arg| arg == "--virtual") {
        true => Loop::builder().virtual_time().build(),
        false => Loop::new(),
    };
    l.block_on(server_and_clients())
}
