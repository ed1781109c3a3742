//! The sockets of the SIP side: one UDP port, one TCP port, one TLS port, and the task that drives the core.

mod connection;

use super::endpoint::{Endpoint, Event};
use super::framing::datagram_message;
use super::leg::{Invitation, LegEvent, LegId};
use super::{Channel, Flow};
use bytes::Bytes;
use connection::{accept, serve, serve_tls};
use rsip::SipMessage;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Commands that wait for the SIP task; when full, the sender waits.
const COMMAND_CAPACITY: usize = 256;
/// Messages from all connections that wait for the SIP task; when full, reading pauses.
const INCOMING_CAPACITY: usize = 256;
/// Messages that wait to be written to one connection, which may carry hundreds of calls; when
/// full, the connection is closed.
const OUTGOING_CAPACITY: usize = 4096;
/// Connections at one time; further ones are closed at once.
const MAX_CONNECTIONS: usize = 256;
/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// The supervisor's device as the rest of the cloud sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    /// Our address on the way to the device: where media should come from.
    pub(crate) local_ip: IpAddr,
    /// Whether signalling is encrypted.
    pub(crate) is_secure: bool,
    /// When the registration ends.
    pub(crate) expires_at: Instant,
}

/// News of a leg.
pub(crate) type LegNews = (LegId, LegEvent);

/// The way of one account to the SIP task.
#[derive(Clone)]
pub(crate) struct SipHandle {
    /// The account's number.
    tenant: usize,
    commands: mpsc::Sender<Command>,
    registration: watch::Receiver<Option<Registration>>,
    next_leg: Arc<AtomicU64>,
}

enum Command {
    Invite { leg: LegId, tenant: usize, invitation: Invitation, news: mpsc::Sender<LegNews> },
    HangUp { leg: LegId },
    Acknowledge { leg: LegId, sdp: String },
    Reoffer { leg: LegId, sdp: String },
    Refresh { leg: LegId },
    DropConnection { leg: LegId },
    SetReachable(bool),
}

/// The sockets that the SIP task takes over. UDP and TCP have the same port.
pub(crate) struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    pub(crate) tls: (TcpListener, TlsAcceptor),
    /// Of UDP and TCP.
    pub(crate) local: SocketAddr,
}

enum Incoming {
    Connected(TcpStream, SocketAddr, Option<TlsAcceptor>),
    Message(Flow, Box<SipMessage>),
    Closed(Flow),
}

impl SipHandle {
    /// The device's registration, unless it has expired.
    pub(crate) fn registration(&self) -> Option<Registration> {
        self.registration.borrow().filter(|registration| registration.expires_at > Instant::now())
    }

    /// Waits until the device is registered. Never returns once the SIP task has ended.
    pub(crate) async fn registered(&self) {
        let mut registration = self.registration.clone();
        if registration.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A leg id that no other leg has.
    pub(crate) fn new_leg(&self) -> LegId {
        self.next_leg.fetch_add(1, Ordering::Relaxed)
    }

    /// Calls the device; what becomes of the leg comes through `news`, which must have room for
    /// three events of each leg. Without a SIP task, nothing happens.
    pub(crate) async fn invite(
        &self,
        leg: LegId,
        invitation: Invitation,
        news: mpsc::Sender<LegNews>,
    ) {
        let tenant = self.tenant;
        let _ = self.commands.send(Command::Invite { leg, tenant, invitation, news }).await;
    }

    /// Answers the device's offer.
    pub(crate) async fn acknowledge(&self, leg: LegId, sdp: String) {
        let _ = self.commands.send(Command::Acknowledge { leg, sdp }).await;
    }

    /// Sends a re-INVITE.
    pub(crate) async fn reoffer(&self, leg: LegId, sdp: String) {
        let _ = self.commands.send(Command::Reoffer { leg, sdp }).await;
    }

    /// Sends an UPDATE without a body.
    pub(crate) async fn refresh(&self, leg: LegId) {
        let _ = self.commands.send(Command::Refresh { leg }).await;
    }

    /// Closes the connection that a leg was set up on.
    pub(crate) async fn drop_connection(&self, leg: LegId) {
        let _ = self.commands.send(Command::DropConnection { leg }).await;
    }

    /// Lets connections in, or closes all of them and each that comes from then on.
    pub(crate) async fn set_reachable(&self, is_reachable: bool) {
        let _ = self.commands.send(Command::SetReachable(is_reachable)).await;
    }

    /// Ends a leg; its last event follows.
    pub(crate) async fn hang_up(&self, leg: LegId) {
        let _ = self.commands.send(Command::HangUp { leg }).await;
    }
}

/// The SIP task: bind first, then run.
pub(crate) struct SipTransport {
    endpoint: Endpoint,
    udp: Arc<UdpSocket>,
    local: SocketAddr,
    connections: HashMap<u64, mpsc::Sender<Bytes>>,
    next_connection: u64,
    news: HashMap<LegId, mpsc::Sender<LegNews>>,
    /// Of each account.
    registrations: Vec<watch::Sender<Option<Registration>>>,
    is_reachable: bool,
    next_leg: Arc<AtomicU64>,
    command_sender: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    incoming: mpsc::Receiver<Incoming>,
    incoming_sender: mpsc::Sender<Incoming>,
    /// Ended with the transport: the tasks of the listener and of the connections.
    tasks: JoinSet<()>,
}

impl SipTransport {
    /// Takes over bound sockets.
    pub(crate) fn new(endpoint: Endpoint, sockets: Sockets) -> Self {
        let Sockets { udp, tcp, tls: (tls, acceptor), local } = sockets;
        let (command_sender, commands) = mpsc::channel(COMMAND_CAPACITY);
        let (incoming_sender, incoming) = mpsc::channel(INCOMING_CAPACITY);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(tcp, None, incoming_sender.clone()));
        tasks.spawn(accept(tls, Some(acceptor), incoming_sender.clone()));
        Self {
            endpoint,
            udp: Arc::new(udp),
            local,
            connections: HashMap::new(),
            next_connection: 0,
            news: HashMap::new(),
            registrations: Vec::new(),
            is_reachable: true,
            next_leg: Arc::default(),
            command_sender,
            commands,
            incoming,
            incoming_sender,
            tasks,
        }
    }

    /// The handle of the endpoint's next account.
    pub(crate) fn next_handle(&mut self) -> SipHandle {
        let registration = watch::Sender::new(None);
        let handle = SipHandle {
            tenant: self.registrations.len(),
            commands: self.command_sender.clone(),
            registration: registration.subscribe(),
            next_leg: self.next_leg.clone(),
        };
        self.registrations.push(registration);
        handle
    }

    /// Runs until cancelled.
    pub(crate) async fn run(mut self, cancelled: CancellationToken) {
        let udp = self.udp.clone();
        let mut datagram = vec![0; MAX_DATAGRAM];
        loop {
            self.deliver().await;
            let timeout = self.endpoint.next_timeout().map(Instant::from_std);
            tokio::select! {
                () = cancelled.cancelled() => return,
                received = udp.recv_from(&mut datagram) => match received {
                    Ok((length, peer)) => self.handle_datagram(&datagram[..length], peer),
                    Err(error) => tracing::warn!(%error, "cannot receive a sip datagram"),
                },
                Some(incoming) = self.incoming.recv() => self.handle_incoming(incoming),
                Some(command) = self.commands.recv() => self.handle_command(command),
                () = sleep_until(timeout) => self.endpoint.handle_timeout(now()),
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn handle_datagram(&mut self, datagram: &[u8], peer: SocketAddr) {
        let ip = if self.local.ip().is_unspecified() {
            local_ip_towards(peer).unwrap_or(self.local.ip())
        } else {
            self.local.ip()
        };
        let local = SocketAddr::new(ip, self.local.port());
        match datagram_message(datagram) {
            Ok(message) => {
                let flow = Flow { channel: Channel::Udp, peer, local };
                self.endpoint.handle_message(now(), flow, message);
            }
            Err(error) => tracing::debug!(%peer, %error, "dropped a datagram"),
        }
    }

    fn handle_incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Connected(..) if !self.is_reachable => {}
            Incoming::Connected(stream, peer, tls) => {
                if self.connections.len() >= MAX_CONNECTIONS {
                    tracing::warn!(%peer, "too many sip connections, closed the newest");
                    return;
                }
                let Ok(local) = stream.local_addr() else { return };
                let number = self.next_connection;
                self.next_connection += 1;
                let (outgoing_sender, outgoing) = mpsc::channel(OUTGOING_CAPACITY);
                self.connections.insert(number, outgoing_sender);
                // What is written goes out at once, in segments of its own.
                let _ = stream.set_nodelay(true);
                let incoming = self.incoming_sender.clone();
                match tls {
                    None => {
                        let flow = Flow { channel: Channel::Tcp(number), peer, local };
                        self.tasks.spawn(serve(stream, flow, incoming, outgoing));
                    }
                    Some(acceptor) => {
                        let flow = Flow { channel: Channel::Tls(number), peer, local };
                        self.tasks.spawn(serve_tls(acceptor, stream, flow, incoming, outgoing));
                    }
                }
            }
            Incoming::Message(flow, message) => {
                self.endpoint.handle_message(now(), flow, *message);
            }
            Incoming::Closed(flow) => {
                if let Some(number) = flow.channel.connection() {
                    self.connections.remove(&number);
                }
                self.endpoint.handle_flow_closed(now(), flow);
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Invite { leg, tenant, invitation, news } => {
                self.news.insert(leg, news);
                self.endpoint.invite(now(), leg, tenant, invitation);
            }
            Command::SetReachable(is_reachable) => {
                self.is_reachable = is_reachable;
                if !is_reachable {
                    // Without its sender a connection's task ends and reports the close.
                    self.connections.clear();
                }
            }
            Command::HangUp { leg } => self.endpoint.hang_up(now(), leg),
            Command::Acknowledge { leg, sdp } => self.endpoint.acknowledge(leg, sdp),
            Command::Reoffer { leg, sdp } => self.endpoint.reoffer(now(), leg, sdp),
            Command::Refresh { leg } => self.endpoint.refresh(now(), leg),
            Command::DropConnection { leg } => {
                let flow = self.endpoint.flow_of(leg);
                if let Some(number) = flow.and_then(|flow| flow.channel.connection()) {
                    // Without its sender the connection's task ends and reports the close.
                    self.connections.remove(&number);
                }
            }
        }
    }

    /// Sends what the core wants sent, and tells what it wants told.
    async fn deliver(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            match transmit.flow.channel.connection() {
                None => {
                    let sent = self.udp.send_to(&transmit.message, transmit.flow.peer).await;
                    if let Err(error) = sent {
                        tracing::warn!(peer = %transmit.flow.peer, %error, "cannot send sip");
                    }
                }
                Some(number) => {
                    let connection = self.connections.get(&number);
                    let is_full = connection
                        .is_some_and(|outgoing| outgoing.try_send(transmit.message).is_err());
                    if is_full {
                        // Without its sender the connection's task ends and reports the close.
                        self.connections.remove(&number);
                    }
                }
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Registration(tenant, binding) => {
                    let is_registered = binding.is_some();
                    tracing::info!(tenant, is_registered, "registration changed");
                    let registration = binding.map(|binding| Registration {
                        local_ip: binding.flow.local.ip(),
                        is_secure: binding.flow.is_secure(),
                        expires_at: Instant::from_std(binding.expires_at),
                    });
                    if let Some(own) = self.registrations.get(tenant) {
                        own.send_replace(registration);
                    }
                }
                Event::Leg(leg, event) => self.tell(leg, event),
            }
        }
    }

    fn tell(&mut self, leg: LegId, event: LegEvent) {
        let is_last = matches!(event, LegEvent::Failed(_) | LegEvent::Ended);
        if let Some(news) = self.news.get(&leg)
            && let Err(error) = news.try_send((leg, event))
        {
            tracing::error!(leg, %error, "a leg's news found no room and is lost");
        }
        if is_last {
            self.news.remove(&leg);
        }
    }
}

/// The address that this machine uses towards `peer`: connecting a UDP socket sends nothing.
fn local_ip_towards(peer: SocketAddr) -> io::Result<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

/// Now on tokio's clock, which tests may pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
