//! Many calls at once from one recording, cheap for the machine that plays them: the recording is encoded once, and one
//! thread with one socket sends it on every stream.

use crate::audio::Audio;
use crate::media::{EncodeError, FRAME, PayloadCodec};
use crate::plan::{CallPlan, Codec};
use crate::sdp::AcceptedMedia;
use crate::simulator::{Call, PlaceCallError, Simulator};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Streams send in turn, one group of them in every millisecond of a frame.
const SLOTS: u64 = 20;
/// How long one group takes.
const SLOT: Duration = Duration::from_millis(FRAME.as_millis() as u64 / SLOTS);
/// Streams that wait to be added or removed; when full, the call's task waits for a millisecond.
const COMMAND_CAPACITY: usize = 1024;
/// The golden ratio's part of 2^32: streams that follow each other begin far apart in the recording.
const SPREAD: u64 = 0x9E37_79B9;
/// An RTP header without extensions (RFC 3550 section 5.1).
const HEADER_BYTES: usize = 12;

/// Why a load cannot be prepared.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The recording cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// There is no port or no thread to send from.
    #[error("cannot start to send; free a port and a thread")]
    Start(#[from] io::Error),
}

/// Calls with two legs each, whose parties all say the same, over and over, but begin at different places: two legs that
/// carry the same audio at the same time would be taken for one mix.
pub struct Load<'a> {
    simulator: &'a Simulator,
    plan: CallPlan,
    pool: StreamPool,
    calls: Vec<Call>,
    payloads: Arc<[Bytes]>,
}

/// Where streams are sent from.
#[derive(Clone)]
pub(crate) struct StreamPool {
    port: u16,
    codec: PayloadCodec,
    commands: SyncSender<Command>,
    shared: Arc<Shared>,
}

/// A stream that is sent until this is dropped.
pub(crate) struct PooledStream {
    id: u64,
    commands: SyncSender<Command>,
}

#[derive(Default)]
struct Shared {
    next_id: AtomicU64,
    streams: AtomicU64,
    packets: AtomicU64,
    worst_delay_us: AtomicU64,
    is_mute: AtomicBool,
}

enum Command {
    Add(Stream),
    Remove(u64),
}

struct Stream {
    id: u64,
    remote: SocketAddr,
    payload_type: u8,
    ssrc: u32,
    /// Packets sent so far.
    packets: u64,
}

/// Which packet goes out when, without sockets and clocks.
struct Wheel {
    payloads: Arc<[Bytes]>,
    timestamp_step: u32,
    slots: [Vec<Stream>; SLOTS as usize],
    packet: Vec<u8>,
}

impl Simulator {
    /// Prepares calls to an agent in which both parties repeat a recording.
    ///
    /// # Errors
    /// [`LoadError`] says what is missing.
    pub fn load(
        &self,
        agent_extension_id: &str,
        codec: Codec,
        recording: &Audio,
    ) -> Result<Load<'_>, LoadError> {
        let payloads: Arc<[Bytes]> = recording.encoded(codec, 0.0)?.into();
        let pool = StreamPool::start(self.sip_address().ip(), codec.into(), payloads.clone())?;
        let silence = Audio::silence(Duration::ZERO);
        let plan =
            CallPlan { codec, ..CallPlan::new(agent_extension_id, silence.clone(), silence) };
        Ok(Load { simulator: self, plan, pool, calls: Vec::new(), payloads })
    }
}

impl Load<'_> {
    /// Puts one more call on the line.
    ///
    /// # Errors
    /// [`PlaceCallError::UnknownAgent`].
    pub fn add_call(&mut self) -> Result<(), PlaceCallError> {
        let call = self.simulator.place(self.plan.clone(), Some(self.pool.clone()))?;
        self.calls.push(call);
        Ok(())
    }

    /// What is sent, packet after packet of 20 ms, and then again from the start.
    pub fn payloads(&self) -> &[Bytes] {
        &self.payloads
    }

    /// Streams that are being sent.
    pub fn streams(&self) -> u64 {
        self.pool.shared.streams.load(Ordering::Relaxed)
    }

    /// Packets that have been sent on all streams together.
    pub fn packets(&self) -> u64 {
        self.pool.shared.packets.load(Ordering::Relaxed)
    }

    /// By how much a group of packets has left late at most, because this machine was busy.
    pub fn worst_delay(&self) -> Duration {
        Duration::from_micros(self.pool.shared.worst_delay_us.load(Ordering::Relaxed))
    }

    /// Falls silent on every stream, without hanging up.
    pub fn mute(&self) {
        self.pool.shared.is_mute.store(true, Ordering::Relaxed);
    }

    /// Hangs up every call and waits until each BYE has been answered. Gives how many packets were sent in all.
    pub async fn finish(self) -> u64 {
        for call in &self.calls {
            call.hang_up().await;
        }
        for call in &self.calls {
            call.finished().await;
        }
        self.packets()
    }
}

impl StreamPool {
    fn start(ip: IpAddr, codec: PayloadCodec, payloads: Arc<[Bytes]>) -> io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        let port = socket.local_addr()?.port();
        let (commands, received) = sync_channel(COMMAND_CAPACITY);
        let shared = Arc::<Shared>::default();
        let wheel = Wheel {
            payloads,
            timestamp_step: codec.timestamp_step(),
            slots: Default::default(),
            packet: Vec::new(),
        };
        let for_thread = shared.clone();
        // Ends with the last sender of commands.
        thread::Builder::new()
            .name("load".into())
            .spawn(move || send(wheel, &socket, &received, &for_thread))?;
        Ok(Self { port, codec, commands, shared })
    }

    /// The port that every stream comes from.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts a stream; `None` when the answer chose another codec than the recording has.
    pub(crate) fn add(&self, accepted: AcceptedMedia) -> Option<PooledStream> {
        if accepted.codec != self.codec {
            return None;
        }
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let stream = Stream {
            id,
            remote: accepted.remote,
            payload_type: accepted.payload_type,
            ssrc: rand::random(),
            packets: 0,
        };
        self.commands.send(Command::Add(stream)).ok()?;
        Some(PooledStream { id, commands: self.commands.clone() })
    }
}

impl Drop for PooledStream {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Remove(self.id));
    }
}

impl Wheel {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Add(stream) => {
                if let Some(emptiest) = self.slots.iter_mut().min_by_key(|slot| slot.len()) {
                    emptiest.push(stream);
                }
            }
            Command::Remove(id) => {
                self.slots.iter_mut().for_each(|slot| slot.retain(|stream| stream.id != id));
            }
        }
    }

    fn streams(&self) -> usize {
        self.slots.iter().map(Vec::len).sum()
    }

    /// Gives every packet of a slot to `send`.
    fn turn(&mut self, slot: u64, mut send: impl FnMut(&[u8], SocketAddr)) {
        let Self { payloads, timestamp_step, slots, packet } = self;
        for stream in &mut slots[(slot % SLOTS) as usize] {
            let number = stream.packets;
            stream.packets += 1;
            let len = payloads.len() as u64;
            let start = ((stream.id.wrapping_mul(SPREAD) % (1 << 32)) * len) >> 32;
            let payload = &payloads[((start + number) % len) as usize];
            let marker = if number == 0 { 0x80 } else { 0 };
            packet.clear();
            packet.reserve(HEADER_BYTES + payload.len());
            packet.extend_from_slice(&[0x80, marker | stream.payload_type]);
            packet.extend_from_slice(&(number as u16).to_be_bytes());
            packet.extend_from_slice(&(number as u32).wrapping_mul(*timestamp_step).to_be_bytes());
            packet.extend_from_slice(&stream.ssrc.to_be_bytes());
            packet.extend_from_slice(payload);
            send(packet, stream.remote);
        }
    }
}

/// Sends until nobody can command any more.
fn send(mut wheel: Wheel, socket: &UdpSocket, commands: &Receiver<Command>, shared: &Shared) {
    let start = Instant::now();
    for slot in 0.. {
        loop {
            match commands.try_recv() {
                Ok(command) => wheel.handle(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        shared.streams.store(wheel.streams() as u64, Ordering::Relaxed);
        if !shared.is_mute.load(Ordering::Relaxed) {
            wheel.turn(slot, |packet, remote| {
                // What the system does not take is lost on the way, as it would be from a real phone.
                let _ = socket.send_to(packet, remote);
                shared.packets.fetch_add(1, Ordering::Relaxed);
            });
        }
        let next = start + Duration::from_millis((slot + 1) * SLOT.as_millis() as u64);
        let now = Instant::now();
        match next.checked_duration_since(now) {
            Some(wait) => thread::sleep(wait),
            None => {
                let delay = now.duration_since(next).as_micros();
                shared.worst_delay_us.fetch_max(delay as u64, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtp::packet::Packet;
    use webrtc_util::marshal::Unmarshal;

    fn wheel(streams: u64) -> Wheel {
        let payloads: Vec<Bytes> = (0u8..3).map(|n| Bytes::from(vec![n; 4])).collect();
        let mut wheel = Wheel {
            payloads: payloads.into(),
            timestamp_step: 160,
            slots: Default::default(),
            packet: Vec::new(),
        };
        for id in 0..streams {
            let remote = SocketAddr::from(([127, 0, 0, 1], 5000 + id as u16));
            let stream = Stream { id, remote, payload_type: 0, ssrc: id as u32, packets: 0 };
            wheel.handle(Command::Add(stream));
        }
        wheel
    }

    #[test]
    fn every_stream_sends_once_in_a_frame_and_the_streams_are_spread_over_it() {
        let mut wheel = wheel(50);
        let mut counts = [0; 50];
        for slot in 0..SLOTS * 4 {
            let mut sent = 0;
            wheel.turn(slot, |_, remote| {
                counts[usize::from(remote.port() - 5000)] += 1;
                sent += 1;
            });
            assert!((2..=3).contains(&sent), "{sent} packets at once");
        }
        assert_eq!(counts, [4; 50]);
        wheel.handle(Command::Remove(7));
        assert_eq!(wheel.streams(), 49);
    }

    #[test]
    fn packets_are_numbered_and_the_recording_repeats() {
        let mut wheel = wheel(1);
        let mut packets = Vec::new();
        for slot in 0..SLOTS * 4 {
            wheel.turn(slot, |mut packet, _| packets.push(Packet::unmarshal(&mut packet).unwrap()));
        }
        let numbers = |packet: &Packet| (packet.header.sequence_number, packet.header.timestamp);
        assert_eq!(
            packets.iter().map(numbers).collect::<Vec<_>>(),
            [(0, 0), (1, 160), (2, 320), (3, 480)]
        );
        let said: Vec<u8> = packets.iter().map(|packet| packet.payload[0]).collect();
        assert_eq!(said, [0, 1, 2, 0]);
        assert!(packets[0].header.marker && !packets[1].header.marker);
    }

    #[test]
    fn streams_begin_at_different_places() {
        let mut wheel = wheel(2);
        let mut said = [Vec::new(), Vec::new()];
        for slot in 0..SLOTS * 3 {
            wheel.turn(slot, |packet, remote| {
                said[usize::from(remote.port() - 5000)].push(packet[HEADER_BYTES]);
            });
        }
        assert_eq!(said, [[0, 1, 2], [1, 2, 0]]);
    }
}
