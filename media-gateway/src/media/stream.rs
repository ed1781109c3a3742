//! The shell of one m-line: sockets and a task.

use std::time::Instant;

use pipeline::rtp::PayloadFormat;
use rand::RngExt;
use sidetone_proto::v1::{ConsentSource, ConsentState};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{Span, debug, info};

use super::ports::MediaPort;
use super::session::{Channel, MediaError, MediaSession, Remote};
use super::socket::{Inbox, MediaSocket, Moment, Received};
use crate::metrics::StreamCounters;
use crate::sdp::{CryptoLine, Direction, LocalMedia, Media};
use crate::uplink::{Feed, LineHold};

/// Datagrams that are read from a socket at a time. What a flood leaves there waits, or is dropped by the system.
const BATCH: usize = 128;

/// RTCP is read every so many ticks: it comes once in five seconds.
const RTCP_TICKS: u32 = 8;

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
        let (now, seed) = (Instant::now(), rand::rng().random());
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
    async fn run(mut self, mut port: MediaPort, mut remotes: watch::Receiver<Remote>) {
        let mut inbox = Inbox::new();
        let mut ticks = port.ticks();
        for tick in 0_u32.. {
            ticks.tick().await;
            let now = Moment::now();
            // Datagrams go before what is due: after this process was held up both are there, and the party would be
            // taken for silent and what it said for too late.
            let heard = self.read(now, Channel::Rtp, &mut port.rtp, &mut inbox);
            if tick.is_multiple_of(RTCP_TICKS) {
                self.read(now, Channel::Rtcp, &mut port.rtcp, &mut inbox);
            }
            if self.session.poll_timeout() <= now.at {
                self.session.handle_timeout(now.at);
            }
            match remotes.has_changed() {
                Ok(false) => {}
                Ok(true) => {
                    debug!(parent: &self.span, "the other side's media changed");
                    let remote = remotes.borrow_and_update().clone();
                    self.session.retarget(now.at, remote);
                }
                // What has arrived by now was said before the end.
                Err(_) => break,
            }
            self.forward(heard);
            self.transmit(&port);
        }
        let now = Moment::now();
        self.session.finish(now.at);
        self.forward(now);
        self.transmit(&port);
        self.feed.finish();
        let (stats, rejected) = (self.session.stats(), self.session.rejected());
        info!(parent: &self.span, ?rejected, ?stats, "media stream ended");
    }

    /// Takes what has arrived at a socket. Gives when the last of it did, or now.
    fn read(
        &mut self,
        now: Moment,
        channel: Channel,
        socket: &mut MediaSocket,
        inbox: &mut Inbox,
    ) -> Moment {
        let mut last = now;
        for _ in 0..BATCH {
            // An error is that there is no more, or an ICMP answer to our own packet: the far side is not there yet.
            let Ok(received) = socket.receive(now, inbox) else { break };
            last = received.arrival;
            self.handle_datagram(channel, &received);
        }
        last
    }

    fn handle_datagram(&mut self, channel: Channel, received: &Received<'_>) {
        let Received { datagram, source, arrival } = *received;
        if let Err(reason) = self.session.handle_datagram(arrival.at, channel, source, datagram) {
            self.counters.refused(reason.reason());
            self.rejected += 1;
            // One line for the first of each power of two: a flood must not fill the disk.
            if self.rejected.is_power_of_two() {
                debug!(parent: &self.span, %source, %reason, rejected = self.rejected, "datagram rejected");
            }
        }
    }

    fn forward(&mut self, heard: Moment) {
        let rate = self.session.format().codec.sample_rate();
        while let Some(audio) = self.session.poll_audio() {
            self.feed.push(audio, rate, heard.unix_ms());
        }
        while let Some(key) = self.session.poll_key() {
            if let Some(state) = self.keys.and_then(|keys| keys.meaning(key)) {
                self.feed.hear_consent(state, ConsentSource::Key);
            }
        }
        self.counters.count(self.session.stats());
        self.feed.note_datagrams(self.session.stats().datagrams);
    }

    fn transmit(&mut self, port: &MediaPort) {
        while let Some(transmit) = self.session.poll_transmit() {
            let socket = match transmit.channel {
                Channel::Rtp => &port.rtp,
                Channel::Rtcp => &port.rtcp,
            };
            if let Err(error) = socket.send(&transmit.datagram, transmit.to) {
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
