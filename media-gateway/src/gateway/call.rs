//! The life of one call, as the relay sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use caption_publisher::Publisher;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{
    CallEnded, CallStarted, CaptionState, Gap, GapReason, PartyLabel, Status,
};
use sidetone_proto::{CallId, Party, PartyId};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};
use tracing::{Instrument, info, info_span, warn};

use super::ear::Ear;
use crate::control::LegNews;
use crate::media::unix_ms;
use crate::uplink::{Outcome, Uplink, UplinkState};

/// What the people who look at a call should know of it. The normal condition is news only after another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    captions: CaptionState,
    /// Everyone who is heard is on hold.
    is_on_hold: bool,
    on_hold: BTreeSet<PartyId>,
}

/// An outage shorter than this is not worth a word to the people who read.
const TOLERATED_OUTAGE: Duration = Duration::from_secs(2);

/// What was announced is said again after this long: the relay may have been away.
const STATUS_REPEAT: Duration = Duration::from_secs(10);

/// How often the uplinks are looked at.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

/// Streams per call; a call has two parties, and legs may be replaced.
pub(super) const STREAMS_CAPACITY: usize = 16;

impl Default for Condition {
    fn default() -> Self {
        Self { captions: CaptionState::Live, is_on_hold: false, on_hold: BTreeSet::new() }
    }
}

/// Publishes the call's life until it is released and every party's audio is delivered or given up.
///
/// `uplinks` closes when the call is released.
pub(super) async fn run(
    call: CallId,
    parties: Vec<Party>,
    uplinks: mpsc::Receiver<Uplink>,
    publisher: Publisher,
    news: mpsc::Sender<LegNews>,
) {
    let span = info_span!("call", %call);
    live(call, parties, uplinks, publisher, news).instrument(span).await;
}

async fn live(
    call: CallId,
    parties: Vec<Party>,
    mut uplinks: mpsc::Receiver<Uplink>,
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
    let mut streams: Vec<Uplink> = Vec::new();
    let mut announced = Condition::default();
    let mut repeat_at = None;
    let mut ear = Ear::default();
    let mut tick = interval(STATUS_INTERVAL);
    loop {
        tokio::select! {
            uplink = uplinks.recv() => match uplink {
                Some(uplink) => streams.push(uplink),
                None => break,
            },
            _ = tick.tick() => {
                let now = condition(&announced, &streams);
                if now != announced {
                    info!(was = ?announced, is = ?now, "call status");
                }
                if now != announced || repeat_at.is_some_and(|at| at <= Instant::now()) {
                    announce(&publisher, &call, &now);
                    announced = now;
                    repeat_at = Some(Instant::now() + STATUS_REPEAT);
                }
                // When the board is behind, it will look at the call by itself.
                let feeds = streams.iter().map(Uplink::feed);
                if ear.hears_silence(Instant::now(), feeds) {
                    let _ = news.try_send(LegNews::Silent { call: call.clone() });
                }
                if ear.hears_one_voice_twice(&streams) {
                    let _ = news.send(LegNews::SameAudio { call: call.clone() }).await;
                }
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

/// How the call is doing now. What was announced holds while nobody has sent audio yet, or an outage is too short to
/// tell.
fn condition(announced: &Condition, streams: &[Uplink]) -> Condition {
    let open = || streams.iter().filter(|stream| !stream.feed().is_finished());
    let held = open().filter(|stream| stream.feed().is_on_hold());
    let on_hold: BTreeSet<PartyId> = held.map(|stream| stream.party().id.clone()).collect();
    Condition {
        captions: state_of(streams).unwrap_or(announced.captions),
        is_on_hold: !on_hold.is_empty() && open().all(|stream| stream.feed().is_on_hold()),
        on_hold,
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

fn announce(publisher: &Publisher, call: &CallId, condition: &Condition) {
    let Condition { captions, is_on_hold, on_hold } = condition;
    publisher.announce(Event::Status(Status {
        call_id: call.to_string(),
        state: (*captions).into(),
        is_on_hold: *is_on_hold,
        parties_on_hold: on_hold.iter().map(ToString::to_string).collect(),
    }));
}
