//! Registers the device once, and takes it off the registrar again: the user agent of [`crate::sip`] on a socket of its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout};

use crate::gateway::connect::Connected;
use crate::sip::framing::MAX_MESSAGE_LEN;
use crate::sip::{Account, Event, Flow, RegistrationFailure, StreamId, UserAgent, UserAgentConfig};

/// For registering and unregistering, each of which the user agent gives up before.
const DEADLINE: Duration = Duration::from_secs(30);

const STREAM: u64 = 0;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

enum Wire {
    Datagrams { socket: UdpSocket, peer: SocketAddr },
    Stream { stream: Box<dyn Stream>, id: StreamId },
}

/// For how long the registrar grants a registration. `listening` is the address of SIP's UDP socket.
///
/// # Errors
/// Why it does not.
pub(super) async fn register(
    connected: Connected,
    listening: IpAddr,
    account: Account,
) -> Result<Duration, RegistrationFailure> {
    let closed = |_: io::Error| RegistrationFailure::FlowClosed;
    let (mut wire, local) = open(connected, listening).await.map_err(closed)?;
    let random = StdRng::from_rng(&mut rand::rng());
    // No leg is allowed: whoever calls meanwhile hears that the line is busy.
    let mut user_agent = UserAgent::new(UserAgentConfig { account, max_legs: 0 }, random);
    let now = Instant::now();
    if let Wire::Stream { id, .. } = &wire {
        user_agent.handle_stream_opened(*id, local);
    }
    user_agent.register(now, wire.flow(), local);
    timeout(DEADLINE, drive(&mut user_agent, &mut wire, local))
        .await
        .unwrap_or(Err(RegistrationFailure::Timeout))
}

async fn open(connected: Connected, listening: IpAddr) -> io::Result<(Wire, SocketAddr)> {
    Ok(match connected {
        Connected::Udp(peer) => {
            let socket = UdpSocket::bind((listening, 0)).await?;
            socket.connect(peer).await?;
            let local = socket.local_addr()?;
            (Wire::Datagrams { socket, peer }, local)
        }
        Connected::Tcp(stream) => {
            let local = stream.local_addr()?;
            (Wire::Stream { stream: Box::new(stream), id: StreamId::tcp(STREAM) }, local)
        }
        Connected::Tls(stream) => {
            let local = stream.get_ref().0.local_addr()?;
            (Wire::Stream { stream, id: StreamId::tls(STREAM) }, local)
        }
    })
}

async fn drive(
    user_agent: &mut UserAgent,
    wire: &mut Wire,
    local: SocketAddr,
) -> Result<Duration, RegistrationFailure> {
    let mut granted = None;
    let mut buffer = vec![0; MAX_MESSAGE_LEN];
    loop {
        while let Some(event) = user_agent.poll_event() {
            match event {
                Event::Registered { expires } if granted.is_none() => {
                    granted = Some(expires);
                    user_agent.unregister(Instant::now());
                }
                Event::Unregistered => {
                    return granted.ok_or(RegistrationFailure::FlowClosed);
                }
                Event::RegistrationFailed(failure) => return granted.ok_or(failure),
                Event::StreamCorrupt { .. } => {
                    return granted.ok_or(RegistrationFailure::FlowClosed);
                }
                _ => {}
            }
        }
        while let Some(transmit) = user_agent.poll_transmit() {
            if wire.send(&transmit.bytes).await.is_err() {
                return granted.ok_or(RegistrationFailure::FlowClosed);
            }
        }
        let due = user_agent.poll_timeout().unwrap_or_else(|| Instant::now() + DEADLINE);
        tokio::select! {
            received = wire.receive(&mut buffer) => match (received, &*wire) {
                (Ok(len), Wire::Datagrams { peer, .. }) => {
                    user_agent.handle_datagram(Instant::now(), local, *peer, &buffer[..len]);
                }
                (Ok(len), Wire::Stream { id, .. }) if len > 0 => {
                    user_agent.handle_stream_bytes(Instant::now(), *id, &buffer[..len]);
                }
                // An ICMP answer to what was sent; REGISTER is repeated.
                (Err(_), Wire::Datagrams { .. }) => {}
                (_, Wire::Stream { id, .. }) => user_agent.handle_stream_closed(*id),
            },
            () = sleep_until(due.into()) => user_agent.handle_timeout(Instant::now()),
        }
    }
}

impl Wire {
    fn flow(&self) -> Flow {
        match self {
            Self::Datagrams { peer, .. } => Flow::Udp(*peer),
            Self::Stream { id, .. } => Flow::Stream(*id),
        }
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Datagrams { socket, .. } => socket.recv(buffer).await,
            Self::Stream { stream, .. } => stream.read(buffer).await,
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagrams { socket, .. } => socket.send(bytes).await.map(drop),
            Self::Stream { stream, .. } => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }
}
