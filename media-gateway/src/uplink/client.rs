//! Streams one party's audio to a transcriber, and when that fails to another, from the acknowledged position on.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use pipeline::clock::SamplePosition;
use rand::RngExt;
use sidetone_proto::Party;
use sidetone_proto::v1::audio_ingest_client::AudioIngestClient;
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{
    AudioFrame, LostAudio, PartyAudio, PartyDiscard, PartyEnd, PartyLabel, PartyStart,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{Instrument, error, info, warn};

use super::feed::{Feed, Next};
use super::ring::Chunk;
use super::transcribers::{Seat, Transcribers};
use crate::metrics::{self, Share};

/// A transcriber that has not opened the stream by then is tried again.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a party that has left waits for its last acknowledgement.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(3);

/// One party's way to a transcriber. Dropping it ends the stream.
#[derive(Debug)]
pub struct Uplink {
    party: Party,
    rate: u32,
    feed: Feed,
    state: watch::Receiver<UplinkState>,
    task: JoinHandle<Outcome>,
}

/// How an uplink is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UplinkState {
    /// There is no audio yet, or no more.
    Idle,
    /// A transcriber takes the audio.
    Connected,
    /// None does, since then. The ring fills.
    Lost(Instant),
}

/// How a party's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every sample is acknowledged, or there was none.
    Delivered,
    /// What lies between these was never acknowledged.
    Unacknowledged {
        /// The first sample that may be missing.
        from: SamplePosition,
        /// One past the last.
        to: SamplePosition,
        /// Wall clock at sample 0, in milliseconds since the Unix epoch.
        anchor_unix_ms: i64,
    },
}

impl Uplink {
    /// Streams what comes out of a feed of audio at `rate` samples per second. Must be called inside a tokio runtime.
    pub fn start(transcribers: Transcribers, party: Party, rate: u32, feed: Feed) -> Self {
        let (report, state) = watch::channel(UplinkState::Idle);
        let span = tracing::info_span!("uplink", call = %party.call, party = %party.id, role = %party.role);
        let label = PartyLabel::from(&party);
        let report = Report { state: report, share: None };
        let stream = Stream { label, rate, feed: feed.clone() };
        let task = tokio::spawn(stream.run(transcribers, report).instrument(span));
        Self { party, rate, feed, state, task }
    }

    /// Whose audio it is.
    pub fn party(&self) -> &Party {
        &self.party
    }

    /// Where its audio comes from.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Samples per second of its audio.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// How it is doing.
    pub fn state(&self) -> UplinkState {
        *self.state.borrow()
    }

    /// Waits for the end: at most a minute after the feed has finished.
    pub async fn finished(&mut self) -> Outcome {
        (&mut self.task).await.unwrap_or_else(|_| given_up(&self.feed))
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Stream {
    label: PartyLabel,
    rate: u32,
    feed: Feed,
}

/// What is sent on a stream: taken from the feed when the connection has room for it. RTP never waits, and no task is
/// woken between the ring and the connection.
struct Outgoing {
    feed: Feed,
    sent: SamplePosition,
    /// Nothing comes any more. Shared with who waits for the last acknowledgement.
    is_ended: Arc<AtomicBool>,
}

/// Tells how an uplink is doing, to its owner and as a metric.
struct Report {
    state: watch::Sender<UplinkState>,
    share: Option<Share>,
}

impl Stream {
    async fn run(self, transcribers: Transcribers, mut report: Report) -> Outcome {
        let Some(anchor_unix_ms) = self.feed.anchor().await else { return Outcome::Delivered };
        let mut seat = transcribers.seat();
        let mut deadline = None;
        let mut retry = FIRST_RETRY;
        loop {
            let connected = self.connect(&seat, anchor_unix_ms, &mut report, &mut deadline);
            let broken = match connected.await {
                Ok(()) => {
                    report.set(UplinkState::Idle);
                    return Outcome::Delivered;
                }
                Err(status) => status,
            };
            if report.is_connected() {
                retry = FIRST_RETRY;
            }
            report.lost();
            if self.feed.is_discarded() {
                // The relay takes nothing of the call any more, whatever the transcriber still has.
                return Outcome::Delivered;
            }
            if broken.code() == Code::InvalidArgument {
                error!(reason = broken.message(), "the transcriber refuses this party's audio");
                return given_up(&self.feed);
            }
            if self.feed.is_finished() {
                deadline.get_or_insert_with(|| Instant::now() + DRAIN_TIMEOUT);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                warn!("gave up waiting for the last acknowledgements");
                return given_up(&self.feed);
            }
            let failed = seat.number();
            let is_promising = seat.fail_over();
            if seat.number() != failed {
                metrics::FAILOVERS.increment();
            }
            // All parties of a transcriber that fails move at once, so that even the first wait has jitter.
            let wait = if is_promising { FIRST_RETRY } else { retry };
            let wait = wait.mul_f64(rand::rng().random_range(0.5..1.0));
            let reason = broken.message();
            warn!(reason, failed, next = seat.number(), retry_in = ?wait, "no stream to the transcriber");
            sleep(wait).await;
            if !is_promising {
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
    }

    /// Runs one stream. `Ok` when everything up to the party's end is acknowledged.
    async fn connect(
        &self,
        seat: &Seat,
        anchor_unix_ms: i64,
        report: &mut Report,
        deadline: &mut Option<Instant>,
    ) -> Result<(), Status> {
        let (position, next_segment) = self.feed.resume_from();
        let start = PartyStart {
            party: Some(self.label.clone()),
            sample_rate: self.rate,
            anchor_unix_ms,
            sample_position: position.0,
            next_segment,
            consent_phrases: self.feed.phrases(),
        };
        let is_ended = Arc::new(AtomicBool::new(false));
        let outgoing =
            Outgoing { feed: self.feed.clone(), sent: position, is_ended: is_ended.clone() };
        // The connection lets go of the feed when this is over, however it ends.
        let open = CancellationToken::new();
        let _open = open.clone().drop_guard();
        let messages = stream::iter([Message::Start(start)])
            .chain(stream::unfold(outgoing, Outgoing::next))
            .map(|message| PartyAudio { message: Some(message) })
            .take_until(open.cancelled_owned());
        let mut client = AudioIngestClient::new(seat.channel());
        let opening = client.stream_party(messages);
        let mut acks = timeout(OPEN_TIMEOUT, opening)
            .await
            .map_err(|_| Status::unavailable("the transcriber did not open the stream"))??
            .into_inner();
        let number = seat.number();
        info!(position = position.0, next_segment, number, "streaming to the transcriber");
        seat.succeeded();
        if report.is_lost() {
            metrics::RESUMES.increment();
        }
        report.set(UplinkState::Connected);

        let given_up = async {
            self.feed.left().await;
            sleep_until(*deadline.get_or_insert_with(|| Instant::now() + DRAIN_TIMEOUT)).await;
        };
        tokio::pin!(given_up);
        loop {
            tokio::select! {
                ack = acks.message() => match ack? {
                    Some(ack) => self.feed.acknowledge(ack),
                    None if is_ended.load(Ordering::Relaxed) => return Ok(()),
                    None => return Err(Status::unavailable("the transcriber closed the stream")),
                },
                () = &mut given_up => return Err(Status::deadline_exceeded("no acknowledgement came")),
            }
        }
    }
}

impl Outgoing {
    /// The next message. After the last the stream stays open, for the acknowledgements.
    async fn next(mut self) -> Option<(Message, Self)> {
        loop {
            if self.is_ended.load(Ordering::Relaxed) {
                return pending().await;
            }
            match self.feed.next_after(self.sent) {
                Next::Chunk(chunk) => {
                    self.sent = chunk.end();
                    return Some((message(chunk), self));
                }
                Next::End(position) => {
                    self.is_ended.store(true, Ordering::Relaxed);
                    let end = PartyEnd { sample_position: position.0 };
                    return Some((Message::End(end), self));
                }
                Next::Discard => {
                    self.is_ended.store(true, Ordering::Relaxed);
                    return Some((Message::Discard(PartyDiscard {}), self));
                }
                Next::Nothing => self.feed.changed().await,
            }
        }
    }
}

impl Report {
    fn set(&mut self, state: UplinkState) {
        self.state.send_replace(state);
        self.share = match state {
            UplinkState::Idle => None,
            UplinkState::Connected => Some(Share::of_state(metrics::UPLINKS, "connected")),
            UplinkState::Lost(_) => Some(Share::of_state(metrics::UPLINKS, "lost")),
        };
    }

    /// Since now, unless it was so already.
    fn lost(&mut self) {
        if !self.is_lost() {
            self.set(UplinkState::Lost(Instant::now()));
        }
    }

    fn is_lost(&self) -> bool {
        matches!(*self.state.borrow(), UplinkState::Lost(_))
    }

    fn is_connected(&self) -> bool {
        *self.state.borrow() == UplinkState::Connected
    }
}

fn given_up(feed: &Feed) -> Outcome {
    let (from, to) = feed.give_up();
    match feed.known_anchor() {
        Some(anchor_unix_ms) if from < to => Outcome::Unacknowledged { from, to, anchor_unix_ms },
        Some(_) | None => Outcome::Delivered,
    }
}

fn message(chunk: Chunk) -> Message {
    match chunk {
        Chunk::Frame { position, pcm, for_consent_only } => Message::Frame(AudioFrame {
            sample_position: position.0,
            pcm: little_endian(&pcm).into(),
            for_consent_only,
        }),
        Chunk::Lost { position, samples, reason } => {
            Message::Lost(LostAudio { sample_position: position.0, samples, reason: reason.into() })
        }
    }
}

fn little_endian(pcm: &[i16]) -> Vec<u8> {
    let mut bytes = vec![0; pcm.len() * 2];
    for (pair, sample) in bytes.chunks_exact_mut(2).zip(pcm) {
        pair.copy_from_slice(&sample.to_le_bytes());
    }
    bytes
}
