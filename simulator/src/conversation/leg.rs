//! One leg's media: its ports and keys from the offer on, its streams once it is answered.

use crate::load::PooledStream;
use crate::media::{Feed, Protection, Recording, RtpIdentity, RtpStream};
use crate::plan::Codec;
use crate::report::{Hears, LegReport, Outcome};
use crate::sdp::{AcceptedMedia, Crypto, Direction, MasterKey, Offer, OfferedMedia};
use crate::switchboard::{Side, Target};
use crate::variant::Variant;
use rand::RngExt;
use rand::rngs::StdRng;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

/// The largest datagram that counts as a packet of the device.
const MAX_PACKET: usize = 2048;
/// Packets that are left before the sequence number wraps, where it is to wrap.
const PACKETS_TO_WRAP: u16 = 20;

/// A leg to the supervisor's device.
pub(super) struct Leg {
    pub(super) party_id: String,
    /// `None` for an ordinary call.
    pub(super) target: Option<Target>,
    pub(super) lines: Vec<Line>,
    pub(super) streams: Vec<MediaStream>,
    pub(super) pooled: Vec<PooledStream>,
    pub(super) is_answered: bool,
    pub(super) outcome: Option<Outcome>,
    /// How often the device brought it to another connection.
    pub(super) moves: u64,
    /// What the answer to the supervise request waits for; dropped when it need not wait any longer.
    pub(super) reply: Option<oneshot::Sender<()>>,
    description: Description,
}

/// What every description of the leg says.
struct Description {
    address: IpAddr,
    codec: Codec,
    direction: Direction,
    session_number: u64,
    version: u64,
}

/// A media line that is offered.
pub(super) struct Line {
    /// `None` where a pool sends.
    pub(super) socket: Option<UdpSocket>,
    pub(super) feed: Feed,
    port: u16,
    information: Option<String>,
    key: Option<MasterKey>,
}

/// What a frame carries, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sound {
    /// What the parties have to say.
    Speech(u64),
    /// What is played to whoever waits. Every leg carries it.
    Music(u64),
    /// Nothing.
    Silence,
}

/// A stream on an accepted line.
pub(super) struct MediaStream {
    socket: UdpSocket,
    /// Where packets go: the address of the answer, until something comes from another one.
    remote: SocketAddr,
    is_latched: bool,
    feed: Feed,
    recording: Arc<Recording>,
    music: Arc<Recording>,
    accepted: AcceptedMedia,
    rtp: RtpStream,
    protection: Protection,
    loss_percent: f32,
    frame: Vec<i16>,
    sent: u64,
    received: u64,
}

impl Leg {
    pub(super) fn new(
        party_id: String,
        target: Option<Target>,
        lines: Vec<Line>,
        (address, codec, is_send_only): (IpAddr, Codec, bool),
        session_number: u64,
    ) -> Self {
        let direction = if is_send_only { Direction::SendOnly } else { Direction::SendRecv };
        Self {
            party_id,
            target,
            lines,
            streams: vec![],
            pooled: vec![],
            is_answered: false,
            outcome: None,
            moves: 0,
            reply: None,
            description: Description { address, codec, direction, session_number, version: 0 },
        }
    }

    /// The next offer: the first one, or one that holds or resumes the leg.
    pub(super) fn offer(&mut self, is_held: bool) -> String {
        let description = &mut self.description;
        description.version += 1;
        let media: Vec<OfferedMedia> = self.lines.iter().map(Line::offered).collect();
        Offer {
            address: description.address,
            media: &media,
            codec: description.codec,
            direction: if is_held { Direction::Inactive } else { description.direction },
            session_number: description.session_number,
            version: description.version,
        }
        .to_sdp()
    }

    pub(super) fn address(&self) -> IpAddr {
        self.description.address
    }

    /// Whether a voice can be heard on it.
    pub(super) fn hears(&self, side: Side) -> bool {
        self.is_answered
            && self.target.is_some_and(|it| it == Target::Session || it == Target::Party(side))
    }

    pub(super) fn report(&self) -> LegReport {
        let count = |of: fn(&MediaStream) -> u64| self.streams.iter().map(of).sum();
        LegReport {
            hears: match self.target {
                None => Hears::Nobody,
                Some(Target::Session) => Hears::Everyone,
                Some(Target::Party(Side::Customer)) => Hears::Customer,
                Some(Target::Party(Side::Agent)) => Hears::Agent,
            },
            outcome: self.outcome.unwrap_or(Outcome::NoResponse),
            moves: self.moves,
            packets_sent: count(|stream| stream.sent),
            packets_received: count(|stream| stream.received),
        }
    }
}

impl Line {
    /// A line with a port of its own, or with that of a pool; with a key if it is secure.
    pub(super) async fn bind(
        ip: IpAddr,
        pool_port: Option<u16>,
        feed: Feed,
        information: Option<String>,
        key: Option<MasterKey>,
    ) -> io::Result<Self> {
        let (socket, port) = match pool_port {
            Some(port) => (None, port),
            None => {
                let socket = UdpSocket::bind((ip, 0)).await?;
                let port = socket.local_addr()?.port();
                (Some(socket), port)
            }
        };
        Ok(Self { socket, feed, port, information, key })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Our key under a tag of the device's, or under our own.
    pub(super) fn crypto(&self, tag: u32) -> Option<Crypto> {
        self.key.map(|key| Crypto { tag, key })
    }

    fn offered(&self) -> OfferedMedia {
        let (port, information) = (self.port, self.information.clone());
        OfferedMedia { port, information, crypto: self.crypto(1) }
    }
}

impl MediaStream {
    /// Begins to stream on an accepted line.
    ///
    /// # Errors
    /// When codec or cipher refuse, or the answer is in the clear where a key was offered or the other way round.
    pub(super) fn open(
        line: &mut Line,
        accepted: AcceptedMedia,
        [recording, music]: [Arc<Recording>; 2],
        loss_percent: f32,
        variant: Variant,
        rng: &mut StdRng,
    ) -> anyhow::Result<Option<Self>> {
        let Some(socket) = line.socket.take() else { return Ok(None) };
        anyhow::ensure!(
            line.key.is_some() == accepted.crypto.is_some(),
            "the answer's profile is not the offer's"
        );
        let keys = line.key.zip(accepted.crypto.map(|crypto| crypto.key));
        let mut identity = identity(rng);
        if variant == Variant::SsrcChange {
            identity.sequence_number = u16::MAX - PACKETS_TO_WRAP;
        }
        let codec = accepted.codec;
        Ok(Some(Self {
            socket,
            remote: accepted.remote,
            is_latched: false,
            feed: line.feed,
            recording,
            music,
            accepted,
            rtp: RtpStream::new(codec, accepted.payload_type, loss_percent, identity)?,
            protection: Protection::new(keys)?,
            loss_percent,
            frame: vec![0; codec.frame_samples()],
            sent: 0,
            received: 0,
        }))
    }

    /// Goes on with another SSRC.
    pub(super) fn change_ssrc(&mut self, rng: &mut StdRng) -> anyhow::Result<()> {
        let AcceptedMedia { codec, payload_type, .. } = self.accepted;
        self.rtp = RtpStream::new(codec, payload_type, self.loss_percent, identity(rng))?;
        Ok(())
    }

    /// The agent, or the customer, presses a key, if it is heard here.
    pub(super) fn press(&mut self, is_agents: bool, event: u8) {
        let is_heard = match self.feed {
            Feed::Mixed => true,
            Feed::Agent => is_agents,
            Feed::Customer => !is_agents,
        };
        if is_heard {
            self.rtp.press(event);
        }
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, sound: Sound) -> anyhow::Result<()> {
        match sound {
            Sound::Speech(frame) => self.recording.read_frame(self.feed, frame, &mut self.frame),
            Sound::Music(frame) => self.music.read_frame(self.feed, frame, &mut self.frame),
            Sound::Silence => self.frame.fill(0),
        }
        if let Some(packet) = self.rtp.next_packet(&self.frame)? {
            let packet = self.protection.protect(packet)?;
            self.socket.try_send_to(&packet, self.remote)?;
            self.sent += 1;
        }
        Ok(())
    }

    /// Lets the time of a frame pass on hold.
    pub(super) fn pause(&mut self) {
        self.rtp.pause();
    }

    /// Counts what has come in. The first datagram, whatever it says, shows where the device is, as it does for the real
    /// service.
    pub(super) fn receive(&mut self) {
        let mut datagram = [0; MAX_PACKET];
        while let Ok((length, source)) = self.socket.try_recv_from(&mut datagram) {
            if !self.is_latched {
                self.is_latched = true;
                self.remote = source;
            }
            self.received += u64::from(self.protection.is_authentic(&datagram[..length]));
        }
    }
}

fn identity(rng: &mut StdRng) -> RtpIdentity {
    RtpIdentity {
        ssrc: rng.random(),
        sequence_number: rng.random(),
        timestamp: rng.random(),
        loss_seed: rng.random(),
    }
}
