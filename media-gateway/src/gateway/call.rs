//! The life of one call, as the relay sees it.

use std::time::Duration;

use caption_publisher::Publisher;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{
    CallEnded, CallStarted, Consent, ConsentState, Gap, GapReason, PartyLabel,
};
use sidetone_proto::{CallId, Party};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval};
use tracing::{Instrument, info, info_span, warn};

use super::condition::Announcer;
use super::continuity::{Continuity, Interruption, Progress, Trace};
use super::ear::Ear;
use super::journal::Journal;
use crate::control::LegNews;
use crate::control::consent::State;
use crate::media::unix_ms;
use crate::metrics;
use crate::uplink::{Feed, Outcome, Uplink};

/// How often the uplinks are looked at.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

/// Streams per call; a call has two parties, and legs may be replaced.
pub(super) const STREAMS_CAPACITY: usize = 16;

/// Publishes the call's life until it is released and every party's audio is delivered or given up.
///
/// `uplinks` closes when the call is released; `refused` becomes true when somebody refuses to be transcribed.
pub(super) async fn run(
    call: CallId,
    parties: Vec<Party>,
    uplinks: (mpsc::Receiver<Uplink>, watch::Receiver<bool>),
    publisher: Publisher,
    news: mpsc::Sender<LegNews>,
    journal: Journal,
) {
    let span = info_span!("call", %call);
    live(call, parties, uplinks, publisher, news, journal).instrument(span).await;
}

async fn live(
    call: CallId,
    parties: Vec<Party>,
    (uplinks, refused): (mpsc::Receiver<Uplink>, watch::Receiver<bool>),
    publisher: Publisher,
    news: mpsc::Sender<LegNews>,
    journal: Journal,
) {
    let started = CallStarted {
        call_id: call.to_string(),
        started_unix_ms: unix_ms(),
        parties: parties.iter().map(PartyLabel::from).collect(),
    };
    info!(parties = parties.len(), "call started");
    let start = {
        let publisher = publisher.clone();
        tokio::spawn(async move { publisher.deliver(Event::CallStarted(started)).await })
    };
    let mut life = Life {
        continuity: Continuity::after(journal.take(&call)),
        call,
        streams: Vec::new(),
        refused,
        is_refused: false,
        announcer: Announcer::default(),
        ear: Ear::default(),
        publisher,
        news,
        journal,
    };
    life.follow(uplinks).await;
    let ended = CallEnded { call_id: life.call.to_string(), ended_unix_ms: unix_ms() };
    life.see_off().await;
    let _ = start.await;
    let delivered = life.publisher.deliver(Event::CallEnded(ended)).await;
    info!(delivered = delivered.is_ok(), "call ended");
}

/// A call while it lasts.
struct Life {
    call: CallId,
    streams: Vec<Uplink>,
    refused: watch::Receiver<bool>,
    /// Everything that was heard is discarded.
    is_refused: bool,
    announcer: Announcer,
    ear: Ear,
    continuity: Continuity,
    publisher: Publisher,
    news: mpsc::Sender<LegNews>,
    journal: Journal,
}

impl Life {
    /// Looks after the streams until the call is released.
    async fn follow(&mut self, mut uplinks: mpsc::Receiver<Uplink>) {
        let mut tick = interval(STATUS_INTERVAL);
        loop {
            tokio::select! {
                uplink = uplinks.recv() => match uplink {
                    Some(uplink) => {
                        self.streams.push(uplink);
                        self.discard_if_refused();
                    }
                    None => return,
                },
                () = refusal(&mut self.refused), if !self.is_refused => {
                    self.is_refused = true;
                    self.discard_if_refused();
                }
                _ = tick.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let now = Instant::now();
        self.announcer.announce(now, &self.call, &self.streams, &self.publisher);
        self.pass_on_consent().await;
        // When the board is behind, it will look at the call by itself.
        if self.ear.hears_silence(now, self.streams.iter().map(Uplink::feed)) {
            let _ = self.news.try_send(LegNews::Silent { call: self.call.clone() });
        }
        if self.ear.hears_one_voice_twice(&self.streams) {
            let _ = self.news.send(LegNews::SameAudio { call: self.call.clone() }).await;
        }
        self.note_progress();
    }

    async fn pass_on_consent(&self) {
        for (state, source) in self.streams.iter().filter_map(|it| it.feed().take_consent()) {
            if let Some(state) = State::said(state) {
                info!(?state, ?source, "a party has told of consent");
                let (call, source) = (self.call.clone(), source.into());
                let _ = self.news.send(LegNews::Consent { call, state, source }).await;
            }
        }
    }

    /// Tells what nobody heard between two legs of a party, and notes how far each has come.
    fn note_progress(&mut self) {
        let progress: Vec<Progress> = self.streams.iter().map(progress).collect();
        for interruption in self.continuity.observe(&progress) {
            let gap = gap_of(&self.call, interruption);
            let publisher = self.publisher.clone();
            // Without holding up the call: the relay may be away.
            tokio::spawn(async move {
                let _ = publisher.deliver(Event::Gap(gap)).await;
            });
        }
        self.journal.note(&self.call, progress.into_iter().filter_map(|it| it.trace).collect());
    }

    /// Waits until every party's audio is delivered or given up.
    async fn see_off(&mut self) {
        let feeds: Vec<Feed> = self.streams.iter().map(|it| it.feed().clone()).collect();
        for stream in &mut self.streams {
            let outcome = loop {
                tokio::select! {
                    outcome = stream.finished() => break outcome,
                    () = refusal(&mut self.refused), if !self.is_refused => {
                        self.is_refused = true;
                        feeds.iter().for_each(Feed::discard);
                    }
                }
            };
            if let Outcome::Unacknowledged { from, to, anchor_unix_ms } = outcome {
                warn!(party = %stream.party().id, "audio was never acknowledged");
                let gap = Gap {
                    party: Some(PartyLabel::from(stream.party())),
                    start_ms: from.to_ms(stream.rate()),
                    end_ms: to.to_ms(stream.rate()),
                    reason: GapReason::TranscriberUnavailable.into(),
                    anchor_unix_ms,
                };
                let _ = self.publisher.deliver(Event::Gap(gap)).await;
            }
        }
        // What was said last is known when the control plane may not follow the call any more.
        let last_words = feeds.iter().filter_map(Feed::take_consent);
        for (_, source) in last_words.filter(|(state, _)| *state == ConsentState::Refused) {
            let consent = Consent {
                call_id: self.call.to_string(),
                state: ConsentState::Refused.into(),
                source: source.into(),
                at_unix_ms: unix_ms(),
            };
            let _ = self.publisher.deliver(Event::Consent(consent)).await;
        }
    }

    fn discard_if_refused(&self) {
        if self.is_refused {
            self.streams.iter().for_each(|stream| stream.feed().discard());
        }
    }
}

/// Completes when somebody has refused to be transcribed.
async fn refusal(refused: &mut watch::Receiver<bool>) {
    if refused.wait_for(|is_refused| *is_refused).await.is_err() {
        std::future::pending().await
    }
}

/// How far a stream has come.
fn progress(stream: &Uplink) -> Progress {
    let feed = stream.feed();
    let Party { id: party_id, role, .. } = stream.party().clone();
    let until_ms = feed.heard_until().to_ms(stream.rate());
    let trace = |anchor_unix_ms| Trace { party_id, role, anchor_unix_ms, until_ms };
    Progress { trace: feed.known_anchor().map(trace), is_finished: feed.is_finished() }
}

fn gap_of(call: &CallId, interruption: Interruption) -> Gap {
    let Interruption { of, to_ms } = interruption;
    let missing_ms = to_ms - of.until_ms;
    warn!(party = %of.party_id, missing_ms, "the party was not heard for a while");
    metrics::gap(GapReason::SupervisionInterrupted, missing_ms, 1000);
    Gap {
        party: Some(PartyLabel::from(&of.party(call))),
        start_ms: of.until_ms,
        end_ms: to_ms,
        reason: GapReason::SupervisionInterrupted.into(),
        anchor_unix_ms: of.anchor_unix_ms,
    }
}
