//! The tasks of the listeners and of the connections.

use super::Incoming;
use crate::sip::Flow;
use crate::sip::framing::StreamFramer;
use bytes::Bytes;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// The wait after a failed accept, such as when the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Takes connections for the SIP task.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    incoming: mpsc::Sender<Incoming>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let connected = Incoming::Connected(stream, peer, tls.clone());
                if incoming.send(connected).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a sip connection, trying again");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// The same as [`serve`], after the handshake.
pub(super) async fn serve_tls(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    flow: Flow,
    incoming: mpsc::Sender<Incoming>,
    outgoing: mpsc::Receiver<Bytes>,
) {
    match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, flow, incoming, outgoing).await,
        failed => {
            let error = failed.ok().and_then(Result::err);
            tracing::debug!(peer = %flow.peer, ?error, "no tls handshake");
            let _ = incoming.send(Incoming::Closed(flow)).await;
        }
    }
}

/// Reads and writes one connection until either side closes it or its bytes stop being SIP.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite,
    flow: Flow,
    incoming: mpsc::Sender<Incoming>,
    mut outgoing: mpsc::Receiver<Bytes>,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut framer = StreamFramer::default();
    let mut buffer = [0; 8192];
    'connection: loop {
        tokio::select! {
            read = reader.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    framer.push(&buffer[..length]);
                    loop {
                        match framer.next_message() {
                            Ok(Some(message)) => {
                                let message = Incoming::Message(flow, Box::new(message));
                                if incoming.send(message).await.is_err() {
                                    return;
                                }
                            }
                            Ok(None) => break,
                            Err(error) => {
                                tracing::debug!(peer = %flow.peer, %error, "closed a connection");
                                break 'connection;
                            }
                        }
                    }
                }
            },
            message = outgoing.recv() => match message {
                Some(message) => {
                    let written = async {
                        writer.write_all(&message).await?;
                        writer.flush().await
                    };
                    if written.await.is_err() {
                        break;
                    }
                }
                None => break,
            },
        }
    }
    let _ = incoming.send(Incoming::Closed(flow)).await;
}
