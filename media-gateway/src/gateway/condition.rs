//! What the people who look at a call should know of how it is doing.

use std::collections::BTreeSet;
use std::time::Duration;

use caption_publisher::Publisher;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{CaptionState, Status};
use sidetone_proto::{CallId, PartyId};
use tokio::time::Instant;
use tracing::info;

use crate::uplink::{Uplink, UplinkState};

/// An outage shorter than this is not worth a word to the people who read.
const TOLERATED_OUTAGE: Duration = Duration::from_secs(2);

/// What was announced is said again after this long: the relay may have been away.
const REPEAT: Duration = Duration::from_secs(10);

/// How a call is doing. The normal condition is news only after another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    captions: CaptionState,
    /// Everyone who is heard is on hold.
    is_on_hold: bool,
    on_hold: BTreeSet<PartyId>,
}

/// Tells the relay how a call is doing.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    announced: Condition,
    repeat_at: Option<Instant>,
}

impl Default for Condition {
    fn default() -> Self {
        Self { captions: CaptionState::Live, is_on_hold: false, on_hold: BTreeSet::new() }
    }
}

impl Announcer {
    /// Says what has changed, or what was said before if that was long ago.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        call: &CallId,
        streams: &[Uplink],
        publisher: &Publisher,
    ) {
        let condition = condition(&self.announced, streams);
        let is_news = condition != self.announced;
        if is_news {
            info!(was = ?self.announced, is = ?condition, "call status");
        }
        if is_news || self.repeat_at.is_some_and(|at| at <= now) {
            publisher.announce(Event::Status(Status {
                call_id: call.to_string(),
                state: condition.captions.into(),
                is_on_hold: condition.is_on_hold,
                parties_on_hold: condition.on_hold.iter().map(ToString::to_string).collect(),
            }));
            self.announced = condition;
            self.repeat_at = Some(now + REPEAT);
        }
    }
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
