//! The shell of one m-line: sockets and a task.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pipeline::codec::CodecError;
use pipeline::rtp::{PayloadFormat, RtpReceiver};
use rand::RngExt;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{Instrument, Span, debug, info};

use super::keepalive::KeepAlive;
use super::source::SourceLock;
use crate::metrics::StreamCounters;
use crate::uplink::Feed;

/// Between two packets of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Longest datagram that is read; RTP packets are far shorter.
const MAX_DATAGRAM_LEN: usize = 2048;

/// RTP ports are even, at random, and out of the way of what systems hand out to clients.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Attempts to find a free pair of ports.
const BIND_ATTEMPTS: u32 = 100;

/// A pair of bound sockets: RTP on an even port, RTCP on the next (RFC 3550 section 11).
#[derive(Debug)]
pub struct MediaPort {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    port: u16,
}

/// A running m-line. Dropping it flushes what the receiver holds and finishes the feed.
#[derive(Debug)]
pub struct MediaStream {
    /// Closing it ends the task.
    remote: watch::Sender<SocketAddr>,
    port: u16,
    format: PayloadFormat,
    _task: JoinHandle<()>,
}

impl MediaPort {
    /// Binds a free pair on an address, unspecified for all interfaces.
    ///
    /// # Errors
    /// The last error of the system, when no pair was free or the address is not ours.
    pub async fn bind(ip: IpAddr) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..BIND_ATTEMPTS {
            let port = rand::rng().random_range(PORTS) & !1;
            let bound = async {
                let rtp = UdpSocket::bind((ip, port)).await?;
                let rtcp = UdpSocket::bind((ip, port + 1)).await?;
                Ok(Self { rtp, rtcp, port })
            };
            match bound.await {
                Ok(pair) => return Ok(pair),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The RTP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl MediaStream {
    /// Receives from, and keeps the path open to, the address in the other side's SDP.
    ///
    /// # Errors
    /// When no decoder can be made.
    pub fn start(
        port: MediaPort,
        format: PayloadFormat,
        remote: SocketAddr,
        feed: Feed,
        span: Span,
    ) -> Result<Self, CodecError> {
        let receiver = RtpReceiver::new(format)?;
        let (sender, remotes) = watch::channel(remote);
        let now = Instant::now().into_std();
        let task = Task {
            receiver,
            format,
            keep_alive: KeepAlive::new(format, rand::rng().random()),
            lock: SourceLock::new(now, remote),
            feed,
            rejected: 0,
            counters: StreamCounters::new(),
        };
        let number = port.port;
        let task = tokio::spawn(task.run(port, remotes).instrument(span));
        Ok(Self { remote: sender, port: number, format, _task: task })
    }

    /// The other side has moved, or confirms where it is: a re-INVITE.
    pub fn retarget(&self, remote: SocketAddr) {
        self.remote.send_if_modified(|current| std::mem::replace(current, remote) != remote);
    }

    /// The RTP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What is received.
    pub fn format(&self) -> PayloadFormat {
        self.format
    }
}

struct Task {
    receiver: RtpReceiver,
    format: PayloadFormat,
    keep_alive: KeepAlive,
    lock: SourceLock,
    feed: Feed,
    rejected: u64,
    counters: StreamCounters,
}

impl Task {
    async fn run(mut self, port: MediaPort, mut remotes: watch::Receiver<SocketAddr>) {
        let mut datagram = [0; MAX_DATAGRAM_LEN];
        let mut control = [0; MAX_DATAGRAM_LEN];
        let mut keep_alive = interval(KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let timeout = self.receiver.poll_timeout();
            let expired = async {
                match timeout {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            // Datagrams go before the receiver's timeout: after this process was held up both are due, and the timeout
            // would take the party for silent and what it said for too late.
            tokio::select! {
                biased;
                changed = remotes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let remote = *remotes.borrow_and_update();
                    debug!(%remote, "the other side's media moved");
                    self.lock = SourceLock::new(Instant::now().into_std(), remote);
                    keep_alive.reset_immediately();
                }
                _ = keep_alive.tick() => self.send_silence(&port.rtp).await,
                received = port.rtp.recv_from(&mut datagram) => {
                    // An error here is an ICMP answer to our own packet: the far side is not there yet.
                    if let Ok((len, source)) = received {
                        self.handle_datagram(source, &datagram[..len]);
                    }
                }
                // RTCP is not used; reading it keeps the port from answering with ICMP errors.
                _ = port.rtcp.recv_from(&mut control) => {}
                () = expired => self.receiver.handle_timeout(Instant::now().into_std()),
            }
            self.forward();
        }
        // What has arrived by now was said before the end.
        while let Ok((len, source)) = port.rtp.try_recv_from(&mut datagram) {
            self.handle_datagram(source, &datagram[..len]);
            self.forward();
        }
        self.receiver.finish();
        self.forward();
        self.feed.finish();
        info!(rejected = self.rejected, stats = ?self.receiver.stats(), "media stream ended");
    }

    fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8]) {
        let now = Instant::now().into_std();
        let is_expected = matches!(datagram, [first, second, ..]
            if first >> 6 == 2 && second & 0x7f == self.format.payload_type);
        let taken = match self.lock.admit(now, source, is_expected) {
            Ok(()) => self.receiver.handle_datagram(now, datagram).map_err(|error| {
                self.counters.refused(&error);
                error.to_string()
            }),
            Err(error) => {
                self.counters.refused(&error);
                Err(error.to_string())
            }
        };
        if let Err(reason) = taken {
            self.rejected += 1;
            // One line for the first of each power of two: a flood must not fill the disk.
            if self.rejected.is_power_of_two() {
                debug!(%source, reason, rejected = self.rejected, "datagram rejected");
            }
        }
    }

    fn forward(&mut self) {
        while let Some(audio) = self.receiver.poll_audio() {
            self.feed.push(audio, self.format.codec.sample_rate(), unix_ms());
        }
        self.counters.count(self.receiver.stats());
    }

    async fn send_silence(&mut self, rtp: &UdpSocket) {
        let remote = self.lock.remote();
        if remote.ip().is_unspecified() {
            return;
        }
        let packet = self.keep_alive.packet(KEEP_ALIVE.as_millis() as u32);
        if let Err(error) = rtp.send_to(&packet, remote).await {
            debug!(%remote, %error, "could not send a keep-alive packet");
        }
    }
}

/// Wall clock in milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
