//! The shell of one m-line: sockets and a task.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{SystemTime, UNIX_EPOCH};

use pipeline::rtp::PayloadFormat;
use rand::RngExt;
use sidetone_proto::v1::{ConsentSource, ConsentState};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{Span, debug, info};

use super::ports::MediaPort;
use super::session::{Channel, MediaError, MediaSession, Remote};
use crate::metrics::StreamCounters;
use crate::sdp::{CryptoLine, Direction, LocalMedia, Media};
use crate::uplink::{Feed, LineHold};

/// Longest datagram that is read; RTP packets are far shorter.
const MAX_DATAGRAM_LEN: usize = 2048;

/// The keys by which a party tells of consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsentKeys {
    /// By this one it agrees.
    pub granted: Option<char>,
    /// By this one it objects.
    pub refused: Option<char>,
}

/// A running m-line. Dropping it flushes what the receiver holds and finishes the feed.
#[derive(Debug)]
pub struct MediaStream {
    /// Closing it ends the task.
    remote: watch::Sender<Remote>,
    local: LocalMedia,
    feed: Feed,
    /// Which way media flowed at first: an offer may say `sendonly` all along, for a supervisor who only listens.
    direction: Direction,
    _task: JoinHandle<()>,
}

impl MediaStream {
    /// Receives from, and keeps the path open to, the other side of an m-line. `crypto` is our line in the answer, with
    /// the key that our packets are protected with.
    ///
    /// # Errors
    /// When no decoder or cipher can be made, or only one side has a key.
    pub fn start(
        port: MediaPort,
        format: PayloadFormat,
        theirs: &Media,
        crypto: Option<CryptoLine>,
        (feed, keys): (Feed, Option<ConsentKeys>),
        span: Span,
    ) -> Result<Self, MediaError> {
        let (now, seed) = (Instant::now().into_std(), rand::rng().random());
        let remote = Remote::of(theirs);
        let key = crypto.as_ref().map(|line| &line.key);
        let mut session = MediaSession::new(now, format, remote.clone(), key, seed)?;
        if let (Some(_), Some(events)) = (keys, theirs.telephone_events_beside(format)) {
            session.listen_for_keys(events);
        }
        let (sender, remotes) = watch::channel(remote);
        let local = LocalMedia { port: port.port(), format, crypto };
        feed.hold_line(LineHold::of(theirs, theirs.direction));
        let held = feed.clone();
        let task = Task { session, feed, keys, rejected: 0, counters: StreamCounters::new(), span };
        let task = tokio::spawn(task.run(port, remotes));
        Ok(Self { remote: sender, local, feed: held, direction: theirs.direction, _task: task })
    }

    /// Whether [`retarget`](Self::retarget) will succeed. Changes nothing.
    ///
    /// # Errors
    /// As there.
    pub fn can_retarget(&self, theirs: &Media) -> Result<(), MediaError> {
        match (&self.local.crypto, &theirs.crypto) {
            (Some(ours), Some(theirs)) if ours.key.suite() == theirs.key.suite() => Ok(()),
            (None, None) => Ok(()),
            _ => Err(MediaError::ProtectionChanged),
        }
    }

    /// The other side has moved, holds, or confirms where it is: a re-INVITE. Gives our m-line for the answer, in which
    /// our port and key stay and the tag is that of their new line.
    ///
    /// # Errors
    /// [`MediaError::ProtectionChanged`]; everything stays as it was.
    pub fn retarget(&mut self, theirs: &Media) -> Result<LocalMedia, MediaError> {
        self.can_retarget(theirs)?;
        if let (Some(ours), Some(theirs)) = (&mut self.local.crypto, &theirs.crypto) {
            ours.tag = theirs.tag;
        }
        self.feed.hold_line(LineHold::of(theirs, self.direction));
        let remote = Remote::of(theirs);
        self.remote.send_if_modified(|current| {
            let is_new = *current != remote;
            *current = remote;
            is_new
        });
        Ok(self.local())
    }

    /// What our m-line says.
    pub fn local(&self) -> LocalMedia {
        self.local.clone()
    }
}

struct Task {
    session: MediaSession,
    feed: Feed,
    keys: Option<ConsentKeys>,
    rejected: u64,
    counters: StreamCounters,
    /// For what is logged. To enter it 50 times a second would cost more than decoding G.711.
    span: Span,
}

impl Task {
    async fn run(mut self, port: MediaPort, mut remotes: watch::Receiver<Remote>) {
        let mut datagram = [0; MAX_DATAGRAM_LEN];
        let mut control = [0; MAX_DATAGRAM_LEN];
        // One timer for the life of the stream. It is set only when something is due before it: what is due moves away
        // with every packet, and a timer that comes too early costs less than one that is set 50 times a second.
        let mut timer = pin!(sleep_until(self.session.poll_timeout().into()));
        loop {
            let due = Instant::from_std(self.session.poll_timeout());
            if due < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            // Datagrams go before the timer: after this process was held up both are due, and the timer would take the
            // party for silent and what it said for too late.
            tokio::select! {
                biased;
                changed = remotes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    debug!(parent: &self.span, "the other side's media changed");
                    let remote = remotes.borrow_and_update().clone();
                    self.session.retarget(Instant::now().into_std(), remote);
                }
                // An error here is an ICMP answer to our own packet: the far side is not there yet.
                received = receive(&port.rtp, &mut datagram) => if let Ok((len, source)) = received {
                    self.handle_datagram(Channel::Rtp, source, &datagram[..len]);
                },
                received = receive(&port.rtcp, &mut control) => if let Ok((len, source)) = received {
                    self.handle_datagram(Channel::Rtcp, source, &control[..len]);
                },
                () = timer.as_mut() => self.session.handle_timeout(Instant::now().into_std()),
            }
            self.forward(&port).await;
        }
        // What has arrived by now was said before the end.
        while let Ok((len, source)) = port.rtp.try_recv_from(&mut datagram) {
            self.handle_datagram(Channel::Rtp, source, &datagram[..len]);
            self.forward(&port).await;
        }
        self.session.finish(Instant::now().into_std());
        self.forward(&port).await;
        self.feed.finish();
        let (stats, rejected) = (self.session.stats(), self.session.rejected());
        info!(parent: &self.span, ?rejected, ?stats, "media stream ended");
    }

    fn handle_datagram(&mut self, channel: Channel, source: SocketAddr, datagram: &[u8]) {
        let now = Instant::now().into_std();
        if let Err(reason) = self.session.handle_datagram(now, channel, source, datagram) {
            self.counters.refused(reason.reason());
            self.rejected += 1;
            // One line for the first of each power of two: a flood must not fill the disk.
            if self.rejected.is_power_of_two() {
                debug!(parent: &self.span, %source, %reason, rejected = self.rejected, "datagram rejected");
            }
        }
    }

    async fn forward(&mut self, port: &MediaPort) {
        let rate = self.session.format().codec.sample_rate();
        while let Some(audio) = self.session.poll_audio() {
            self.feed.push(audio, rate, unix_ms());
        }
        while let Some(key) = self.session.poll_key() {
            if let Some(state) = self.keys.and_then(|keys| keys.meaning(key)) {
                self.feed.hear_consent(state, ConsentSource::Key);
            }
        }
        self.counters.count(self.session.stats());
        self.feed.note_datagrams(self.session.stats().datagrams);
        while let Some(transmit) = self.session.poll_transmit() {
            let socket = match transmit.channel {
                Channel::Rtp => &port.rtp,
                Channel::Rtcp => &port.rtcp,
            };
            if let Err(error) = socket.send_to(&transmit.datagram, transmit.to).await {
                debug!(parent: &self.span, to = %transmit.to, %error, "could not send a media packet");
            }
        }
    }
}

impl ConsentKeys {
    fn meaning(self, key: char) -> Option<ConsentState> {
        match Some(key) {
            it if it == self.refused => Some(ConsentState::Refused),
            it if it == self.granted => Some(ConsentState::Granted),
            _ => None,
        }
    }
}

/// The next datagram. Cheaper than the socket's own way, which enters a list of those that wait, and leaves it again.
async fn receive(socket: &UdpSocket, datagram: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let mut datagram = ReadBuf::new(datagram);
    let source = poll_fn(|cx| socket.poll_recv_from(cx, &mut datagram)).await?;
    Ok((datagram.filled().len(), source))
}

/// Wall clock in milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
