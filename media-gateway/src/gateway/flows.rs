//! SIP's sockets: one for UDP, connections for TCP and TLS. They turn reads into inputs of the event loop.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tracing::{debug, warn};

use super::event_loop::Input;
use crate::config::Network;
use crate::sip::framing::MAX_MESSAGE_LEN;
use crate::sip::{Flow, StreamId, Transmit};

/// Messages of about 1 KiB waiting to be written to one connection: the connection to the registrar carries all calls, and
/// hundreds may begin at once. When full, the peer does not read and the connection is closed.
const WRITE_CAPACITY: usize = 4096;

/// Accepted connections at once. When full, new ones are closed at once.
const MAX_STREAMS: usize = 256;

/// The open sockets.
#[derive(Debug)]
pub(super) struct Flows {
    udp: Arc<UdpSocket>,
    streams: HashMap<StreamId, Stream>,
    next_stream: u64,
    inputs: mpsc::Sender<Input>,
    allowed_sources: Vec<Network>,
    /// Ends every socket's task when dropped.
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Stream {
    local: SocketAddr,
    writer: mpsc::Sender<Bytes>,
    reader: tokio::task::AbortHandle,
}

impl Flows {
    /// Starts reading the listening sockets.
    pub(super) fn new(
        udp: UdpSocket,
        tcp: TcpListener,
        allowed_sources: Vec<Network>,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        let udp = Arc::new(udp);
        let mut tasks = JoinSet::new();
        tasks.spawn(read_datagrams(udp.clone(), inputs.clone()));
        tasks.spawn(accept(tcp, inputs.clone()));
        Self { udp, streams: HashMap::new(), next_stream: 0, inputs, allowed_sources, tasks }
    }

    /// Takes an accepted connection, if its peer may connect.
    pub(super) fn accepted(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<(StreamId, SocketAddr)> {
        if !self.is_allowed(peer.ip()) || self.streams.len() >= MAX_STREAMS {
            warn!(%peer, open = self.streams.len(), "sip connection refused");
            return None;
        }
        self.open(stream)
    }

    /// Takes a connection, accepted or made by us. Gives its number and our address on it; `None` if it is closed
    /// already.
    pub(super) fn open(&mut self, stream: TcpStream) -> Option<(StreamId, SocketAddr)> {
        let local = stream.local_addr().ok()?;
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        Some((self.start(StreamId::tcp, local, read, write), local))
    }

    /// The same for a connection with TLS.
    pub(super) fn open_tls(
        &mut self,
        stream: TlsStream<TcpStream>,
    ) -> Option<(StreamId, SocketAddr)> {
        let local = stream.get_ref().0.local_addr().ok()?;
        let _ = stream.get_ref().0.set_nodelay(true);
        let (read, write) = split(stream);
        Some((self.start(StreamId::tls, local, read, write), local))
    }

    fn start(
        &mut self,
        id: fn(u64) -> StreamId,
        local: SocketAddr,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> StreamId {
        let id = id(self.next_stream);
        self.next_stream += 1;
        let (writer, messages) = mpsc::channel(WRITE_CAPACITY);
        let reader = self.tasks.spawn(read_stream(id, read, self.inputs.clone()));
        self.tasks.spawn(write_stream(write, messages));
        self.streams.insert(id, Stream { local, writer, reader });
        id
    }

    /// Closes a connection, once what is queued has been written.
    pub(super) fn close(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.remove(&id) {
            stream.reader.abort();
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Whether INVITEs from an address are taken besides those of the registered flow.
    pub(super) fn is_allowed(&self, source: IpAddr) -> bool {
        self.allowed_sources.iter().any(|network| network.contains(source))
    }

    /// Sends a message. `Some` is a connection that does not keep up and is closed now.
    pub(super) fn send(&mut self, transmit: Transmit) -> Option<StreamId> {
        match transmit.flow {
            Flow::Udp(peer) => {
                if let Err(error) = self.udp.try_send_to(&transmit.bytes, peer) {
                    // SIP repeats what matters.
                    debug!(%peer, %error, "could not send a datagram");
                }
                None
            }
            Flow::Stream(id) => {
                let stream = self.streams.get(&id)?;
                stream.writer.try_send(transmit.bytes).is_err().then(|| {
                    warn!(stream = %id, "sip connection does not keep up, closing it");
                    self.close(id);
                    id
                })
            }
        }
    }

    /// Where UDP and TCP are listened on.
    pub(super) fn listening(&self) -> SocketAddr {
        self.udp.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Our address on a flow, for Contact and Via.
    pub(super) fn local_of(&self, flow: Flow) -> SocketAddr {
        match flow {
            Flow::Udp(peer) => self.local_towards(peer.ip()),
            Flow::Stream(id) => {
                self.streams.get(&id).map_or_else(|| self.listening(), |stream| stream.local)
            }
        }
    }

    /// Our address towards a peer, as the routing table says, with the listening port.
    pub(super) fn local_towards(&self, peer: IpAddr) -> SocketAddr {
        let listening = self.listening();
        if !listening.ip().is_unspecified() {
            return listening;
        }
        SocketAddr::new(local_ip(peer).unwrap_or(listening.ip()), listening.port())
    }
}

/// The address that packets to `peer` leave from. Sends nothing.
fn local_ip(peer: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => IpAddr::from([0, 0, 0, 0]),
        IpAddr::V6(_) => IpAddr::from([0u16; 8]),
    };
    let probe = std::net::UdpSocket::bind((any, 0))?;
    probe.connect((peer, 9))?;
    Ok(probe.local_addr()?.ip())
}

async fn read_datagrams(udp: Arc<UdpSocket>, inputs: mpsc::Sender<Input>) {
    let mut buffer = vec![0; MAX_MESSAGE_LEN];
    loop {
        // An error is an ICMP answer to an earlier datagram of ours.
        let Ok((len, peer)) = udp.recv_from(&mut buffer).await else { continue };
        let bytes = Bytes::copy_from_slice(&buffer[..len]);
        if inputs.send(Input::Datagram { peer, bytes }).await.is_err() {
            return;
        }
    }
}

async fn accept(tcp: TcpListener, inputs: mpsc::Sender<Input>) {
    loop {
        match tcp.accept().await {
            Ok((stream, peer)) => {
                if inputs.send(Input::Accepted { stream, peer }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: give those in use a chance to be closed.
                warn!(%error, "could not accept a sip connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn read_stream(id: StreamId, mut read: impl AsyncRead + Unpin, inputs: mpsc::Sender<Input>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(4096);
        let input = match read.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => Input::StreamClosed(id),
            Ok(_) => Input::StreamBytes { stream: id, bytes: buffer.split().freeze() },
        };
        let is_closed = matches!(input, Input::StreamClosed(_));
        if inputs.send(input).await.is_err() || is_closed {
            return;
        }
    }
}

async fn write_stream(mut write: impl AsyncWrite + Unpin, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = messages.recv().await {
        // TLS gathers what is written until it is flushed.
        if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
            return;
        }
    }
    let _ = write.shutdown().await;
}
