//! The life of one call, as the relay sees it.

use std::time::Duration;

use caption_publisher::Publisher;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{
    CallEnded, CallStarted, CaptionState, Consent, ConsentState, Gap, GapReason, PartyLabel, Status,
};
use sidetone_proto::{CallId, Party};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval};
use tracing::{Instrument, info, info_span, warn};

use super::ear::Ear;
use crate::control::LegNews;
use crate::control::consent::State;
use crate::media::unix_ms;
use crate::uplink::{Feed, Outcome, Uplink, UplinkState};

/// An outage shorter than this is not worth a word to the people who read.
const TOLERATED_OUTAGE: Duration = Duration::from_secs(2);

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
) {
    let span = info_span!("call", %call);
    live(call, parties, uplinks, publisher, news).instrument(span).await;
}

async fn live(
    call: CallId,
    parties: Vec<Party>,
    (uplinks, refused): (mpsc::Receiver<Uplink>, watch::Receiver<bool>),
    publisher: Publisher,
    news: mpsc::Sender<LegNews>,
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
        call,
        streams: Vec::new(),
        refused,
        is_refused: false,
        announced: None,
        ear: Ear::default(),
        publisher,
        news,
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
    announced: Option<CaptionState>,
    ear: Ear,
    publisher: Publisher,
    news: mpsc::Sender<LegNews>,
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
        if let Some(state) = changed(self.announced, state_of(&self.streams)) {
            self.announced = Some(state);
            announce(&self.publisher, &self.call, state);
        }
        for (state, source) in self.streams.iter().filter_map(|it| it.feed().take_consent()) {
            if let Some(state) = State::said(state) {
                info!(?state, ?source, "a party has told of consent");
                let (call, source) = (self.call.clone(), source.into());
                let _ = self.news.send(LegNews::Consent { call, state, source }).await;
            }
        }
        // When the board is behind, it will look at the call by itself.
        if self.ear.hears_silence(Instant::now(), &self.streams) {
            let _ = self.news.try_send(LegNews::Silent { call: self.call.clone() });
        }
        if self.ear.hears_one_voice_twice(&self.streams) {
            let _ = self.news.send(LegNews::SameAudio { call: self.call.clone() }).await;
        }
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

/// `None`: nobody has sent audio yet, or an outage is too short to tell.
fn state_of(streams: &[Uplink]) -> Option<CaptionState> {
    let mut state = None;
    for stream in streams {
        match stream.state() {
            UplinkState::Lost(since) if since.elapsed() >= TOLERATED_OUTAGE => {
                return Some(CaptionState::CaptionsUnavailable);
            }
            UplinkState::Lost(_) => return None,
            UplinkState::Connected => state = Some(CaptionState::Live),
            UplinkState::Idle => {}
        }
    }
    state
}

/// What there is to announce. Live is the normal case: it is news only after an outage.
fn changed(announced: Option<CaptionState>, state: Option<CaptionState>) -> Option<CaptionState> {
    state.filter(|state| match announced {
        Some(announced) => announced != *state,
        None => *state != CaptionState::Live,
    })
}

fn announce(publisher: &Publisher, call: &CallId, state: CaptionState) {
    info!(state = state.as_str_name(), "captions");
    publisher.announce(Event::Status(Status { call_id: call.to_string(), state: state.into() }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_is_news_only_after_an_outage() {
        use CaptionState::{CaptionsUnavailable, Live};
        for (announced, state, news) in [
            (None, None, None),
            (None, Some(Live), None),
            (None, Some(CaptionsUnavailable), Some(CaptionsUnavailable)),
            (Some(CaptionsUnavailable), Some(CaptionsUnavailable), None),
            (Some(CaptionsUnavailable), None, None),
            (Some(CaptionsUnavailable), Some(Live), Some(Live)),
            (Some(Live), Some(Live), None),
            (Some(Live), Some(CaptionsUnavailable), Some(CaptionsUnavailable)),
        ] {
            assert_eq!(changed(announced, state), news, "{announced:?} {state:?}");
        }
    }
}
