//! Fewer, larger writes: what many parties send within a few milliseconds goes out together.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, Join, duplex, join};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;
use tracing::debug;

/// Between two writes. A frame of audio is 20 times as long.
const PERIOD: Duration = Duration::from_millis(5);

/// Bytes that wait for the next write. When full, HTTP/2 waits, and the rings hold the audio.
const CAPACITY: usize = 256 * 1024;

/// A TCP connection whose written bytes are gathered.
pub(super) type Coalescing = Join<OwnedReadHalf, DuplexStream>;

/// Makes a connection write at most once in [`PERIOD`]; what comes after a quiet moment goes out at once.
///
/// Without this each frame of each party is a system call, which costs more than all else that is done for the frame.
/// Must be called inside a tokio runtime.
pub(super) fn coalescing(connection: TcpStream) -> Coalescing {
    let (reader, writer) = connection.into_split();
    let (near, far) = duplex(CAPACITY);
    tokio::spawn(write_gathered(far, writer));
    join(reader, near)
}

/// Ends when the near side is dropped and everything is written, or when the connection breaks: the near side then
/// cannot write any longer.
async fn write_gathered(mut gathered: DuplexStream, mut connection: OwnedWriteHalf) {
    let mut batch = BytesMut::with_capacity(CAPACITY);
    while let Ok(1..) = gathered.read_buf(&mut batch).await {
        if let Err(error) = connection.write_all_buf(&mut batch).await {
            debug!(%error, "the connection to a transcriber broke");
            return;
        }
        batch.reserve(CAPACITY);
        sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn everything_arrives_in_order_and_so_does_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut connection = coalescing(connection);
        let sent: Vec<u8> = (0..3 * CAPACITY).map(|at| (at % 251) as u8).collect();
        let receiving = tokio::spawn(async move {
            peer.write_all(b"welcome").await.unwrap();
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.unwrap();
            received
        });
        for part in sent.chunks(1000) {
            connection.write_all(part).await.unwrap();
            connection.flush().await.unwrap();
        }
        let mut welcome = [0; 7];
        connection.read_exact(&mut welcome).await.unwrap();
        drop(connection);
        assert_eq!((&welcome, receiving.await.unwrap() == sent), (b"welcome", true));
    }

    #[tokio::test]
    async fn a_broken_connection_is_told_to_who_writes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut connection = coalescing(connection);
        let (peer, _) = listener.accept().await.unwrap();
        drop((peer, listener));
        while connection.write_all(b"anyone?").await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
