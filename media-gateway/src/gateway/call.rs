//! The life of one call, as the relay sees it.

use std::time::Duration;

use caption_publisher::Publisher;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{
    CallEnded, CallStarted, CaptionState, Gap, GapReason, PartyLabel, Status,
};
use sidetone_proto::{CallId, Party};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};
use tracing::{Instrument, info, info_span, warn};

use super::continuity::{Continuity, Interruption, Progress, Trace};
use super::ear::Ear;
use super::journal::Journal;
use crate::control::LegNews;
use crate::media::unix_ms;
use crate::metrics;
use crate::uplink::{Outcome, Uplink, UplinkState};

/// An outage shorter than this is not worth a word to the people who read.
const TOLERATED_OUTAGE: Duration = Duration::from_secs(2);

/// How often the uplinks are looked at.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

/// Streams per call; a call has two parties, and legs may be replaced.
pub(super) const STREAMS_CAPACITY: usize = 16;

/// Publishes the call's life until it is released and every party's audio is delivered or given up.
///
/// `uplinks` closes when the call is released.
pub(super) async fn run(
    call: CallId,
    parties: Vec<Party>,
    uplinks: mpsc::Receiver<Uplink>,
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
    mut uplinks: mpsc::Receiver<Uplink>,
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
    let mut streams: Vec<Uplink> = Vec::new();
    let mut announced = None;
    let mut ear = Ear::default();
    let mut continuity = Continuity::after(journal.take(&call));
    let mut tick = interval(STATUS_INTERVAL);
    loop {
        tokio::select! {
            uplink = uplinks.recv() => match uplink {
                Some(uplink) => streams.push(uplink),
                None => break,
            },
            _ = tick.tick() => {
                if let Some(state) = changed(announced, state_of(&streams)) {
                    announced = Some(state);
                    announce(&publisher, &call, state);
                }
                // When the board is behind, it will look at the call by itself.
                if ear.hears_silence(Instant::now(), &streams) {
                    let _ = news.try_send(LegNews::Silent { call: call.clone() });
                }
                if ear.hears_one_voice_twice(&streams) {
                    let _ = news.send(LegNews::SameAudio { call: call.clone() }).await;
                }
                let progress: Vec<Progress> = streams.iter().map(progress).collect();
                for interruption in continuity.observe(&progress) {
                    let gap = gap_of(&call, interruption);
                    deliver(&publisher, gap);
                }
                journal.note(&call, progress.into_iter().filter_map(|it| it.trace).collect());
            }
        }
    }
    let ended = CallEnded { call_id: call.to_string(), ended_unix_ms: unix_ms() };
    for stream in &mut streams {
        if let Outcome::Unacknowledged { from, to, anchor_unix_ms } = stream.finished().await {
            warn!(party = %stream.party().id, "audio was never acknowledged");
            let gap = Gap {
                party: Some(PartyLabel::from(stream.party())),
                start_ms: from.to_ms(stream.rate()),
                end_ms: to.to_ms(stream.rate()),
                reason: GapReason::TranscriberUnavailable.into(),
                anchor_unix_ms,
            };
            let _ = publisher.deliver(Event::Gap(gap)).await;
        }
    }
    let _ = start.await;
    let delivered = publisher.deliver(Event::CallEnded(ended)).await;
    info!(delivered = delivered.is_ok(), "call ended");
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

/// Delivers a gap without holding up the call: the relay may be away.
fn deliver(publisher: &Publisher, gap: Gap) {
    let publisher = publisher.clone();
    tokio::spawn(async move {
        let _ = publisher.deliver(Event::Gap(gap)).await;
    });
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
