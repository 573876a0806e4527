//! TCP, over loopback.

use boucle::net::{TcpListener, TcpStream};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use std::io;

#[test]
fn an_echo_comes_back() {
    boucle::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let server = boucle::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            let mut buf = [0; 64];
            loop {
                let read = stream.read(&mut buf).await?;
                if read == 0 {
                    return io::Result::Ok(());
                }
                stream.write_all(&buf[..read]).await?;
            }
        });
        let mut client = TcpStream::connect(addr).await?;
        for n in 0..1000_u32 {
            client.write_all(&n.to_le_bytes()).await?;
            let mut back = [0; 4];
            client.read_exact(&mut back).await?;
            assert_eq!(u32::from_le_bytes(back), n);
        }
        drop(client);
        server.await.unwrap()
    })
    .unwrap();
}
