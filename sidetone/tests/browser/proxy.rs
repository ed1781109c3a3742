//! A line between browser and relay that can be cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Passes TCP connections on, for as long as the line holds.
pub struct Proxy {
    address: SocketAddr,
    /// Cancelled while the line is cut.
    line: Arc<Mutex<CancellationToken>>,
    refused: watch::Receiver<u32>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Mutex::new(CancellationToken::new()));
        let (count, refused) = watch::channel(0);
        tokio::spawn(accept(listener, target, line.clone(), count));
        Self { address, line, refused }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, and each new one at once.
    pub fn cut(&self) {
        self.line.lock().unwrap().cancel();
    }

    /// Connections hold again.
    pub fn mend(&self) {
        *self.line.lock().unwrap() = CancellationToken::new();
    }

    /// Waits until so many connections were refused.
    pub async fn refused(&self, count: u32) {
        self.refused.clone().wait_for(|refused| *refused >= count).await.unwrap();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    line: Arc<Mutex<CancellationToken>>,
    refused: watch::Sender<u32>,
) {
    while let Ok((browser, _)) = listener.accept().await {
        let line = line.lock().unwrap().clone();
        if line.is_cancelled() {
            refused.send_modify(|count| *count += 1);
            continue;
        }
        tokio::spawn(line.run_until_cancelled_owned(connect(browser, target)));
    }
}

async fn connect(mut browser: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let mut relay = TcpStream::connect(target).await?;
    copy_bidirectional(&mut browser, &mut relay).await.map(drop)
}
