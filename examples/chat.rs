//! Notice that the room needs no lock and no cell: one task owns it, and hears of everything. Who
//! reads too slowly is shown the door, so that the others never wait.
//!
//! `chat ADDRESS` serves until it is killed; `chat --virtual` brings a guest of its own.

use std::{collections::BTreeMap, io, rc::Rc};

use boucle::{
    JoinHandle,
    net::{TcpListener, TcpStream},
    race, spawn,
    sync::{Receiver, Sender, channel},
};
use futures_lite::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt, io::BufReader};

/// How many lines a guest may lag behind, beside what the system keeps for him.
const LAG: usize = 64;

enum Event {
    Came(TcpStream),
    Said(usize, String),
    Left(usize),
}

/// Hears a guest, while he is told what is new in the room.
async fn attend(guest: usize, mut stream: TcpStream, told: Receiver<Rc<str>>, room: Sender<Event>) {
    let mut lines = BufReader::new(stream.clone()).lines();
    let hear = async {
        while let Some(line) = lines.next().await {
            room.send(Event::Said(guest, line?)).await.map_err(io::Error::other)?;
        }
        Ok(())
    };
    let tell = async {
        while let Ok(news) = told.recv().await {
            stream.write_all(news.as_bytes()).await?;
        }
        Ok(())
    };
    let _: io::Result<()> = race((hear, tell)).await;
    let _ = room.send(Event::Left(guest)).await;
}

async fn host(listener: TcpListener) -> io::Result<()> {
    let (room, events) = channel(1);
    let (mut guests, mut number) = (BTreeMap::<_, (Sender<Rc<str>>, JoinHandle<()>)>::new(), 0);
    loop {
        // The one that loses the race is dropped, and loses no guest and no event.
        let came = async { listener.accept().await.map(|(stream, _)| Event::Came(stream)) };
        let heard = async { events.recv().await.map_err(io::Error::other) };
        let news = match race((came, heard)).await? {
            Event::Came(stream) => {
                number += 1;
                let (outbox, told) = channel(LAG);
                let task = spawn(attend(number, stream, told, room.clone()));
                guests.insert(number, (outbox, task));
                format!("{number} comes\n")
            }
            Event::Said(guest, line) => format!("{guest}: {line}\n"),
            Event::Left(guest) => format!("{guest} leaves\n"),
        };
        let news: Rc<str> = news.into();
        guests.retain(|guest, (outbox, task)| {
            let keeps_up = outbox.try_send(news.clone()).is_ok();
            // Drops his future, wherever it waits, and with it the connection; unless he has left.
            if !keeps_up && task.cancel() {
                println!("{guest} is too slow");
            }
            keeps_up
        });
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).filter(|arg| arg != "--virtual");
    boucle::block_on(async {
        let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
        let local = listener.local_addr()?;
        println!("listening on {local}");
        if address.is_some() {
            return host(listener).await;
        }
        let guest = async {
            let mut stream = TcpStream::connect(local).await?;
            stream.write_all(b"hello\n").await?;
            stream.read_exact(&mut [0; "1 comes\n1: hello\n".len()]).await
        };
        race((host(listener), guest)).await
    })
}
