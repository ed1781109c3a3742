//! The JSON messages of protocol `captions.v1`, as described in PROTOCOL.md beside this crate.

use serde::{Deserialize, Serialize};
use sidetone_proto::{CallId, PartyId, Role};

/// The WebSocket subprotocol that these messages belong to.
pub const SUBPROTOCOL: &str = "captions.v1";

/// Everything that the relay sends on a WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// Answers `subscribe_calls`, now and whenever the list changes.
    Calls(CallList),
    /// Answers `subscribe`. The replay follows, then live events.
    Subscribed {
        /// The call.
        call_id: CallId,
        /// The call's newest event at this moment.
        as_of_seq: u64,
    },
    /// Sent every 5 s, so that a client can tell a quiet call from a dead connection.
    Heartbeat,
    /// A client message could not be acted on.
    Error {
        /// What a program branches on.
        code: ErrorCode,
        /// What a person reads.
        message: String,
        /// The call that it is about, if it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call_id: Option<CallId>,
    },
    /// Something happened on a subscribed call.
    #[serde(untagged)]
    Event(Event),
}

/// Everything that a client may send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Asks for the list of calls, and for its changes.
    SubscribeCalls,
    /// Asks for a call's events.
    Subscribe {
        /// The call.
        call_id: CallId,
        /// The newest `seq` that the client has; everything durable after it is replayed. Absent: from the start.
        #[serde(default)]
        after_seq: Option<u64>,
    },
    /// Ends a subscription.
    Unsubscribe {
        /// The call.
        call_id: CallId,
    },
}

/// Why a client message could not be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Neither a live call nor one in the store has this id.
    UnknownCall,
    /// Not a message of this protocol, or too long. Counts towards closing the connection.
    InvalidMessage,
    /// Too many messages at once. Counts towards closing the connection.
    RateLimited,
    /// The connection follows as many calls as it may.
    TooManySubscriptions,
    /// The call can't be read at this moment. Try again.
    Unavailable,
}

/// Something that happened on a call. `seq` increases over all events of the call and is never used twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The call is being listened to.
    CallStarted(CallStarted),
    /// Every final of the call is out.
    CallEnded(CallEnded),
    /// What a party is saying. Replaced by the next partial or final of the same segment. Not stored.
    Partial(Caption),
    /// What a party has said. On disk before it is sent.
    Final(Caption),
    /// Speech that was or may have been said here is not in the transcript.
    Gap(Gap),
    /// How well the captions of the call are doing, and who is on hold. Not stored.
    Status(Status),
    /// Who recognises a party. Replaces the party's last one. Not stored.
    Recognition(Recognition),
    /// What is known of the parties' consent. Once it is refused, nothing that was said is kept.
    Consent(Consent),
}

impl Event {
    /// The caption, if this is a final.
    pub fn as_final(&self) -> Option<&Caption> {
        match self {
            Self::Final(caption) => Some(caption),
            Self::Partial(_)
            | Self::CallStarted(_)
            | Self::CallEnded(_)
            | Self::Gap(_)
            | Self::Status(_)
            | Self::Recognition(_)
            | Self::Consent(_) => None,
        }
    }
}

/// See [`Event::CallStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStarted {
    /// The call.
    pub call_id: CallId,
    /// Position in the call's events.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// The parties whose audio was received when the call started.
    pub parties: Vec<PartyRole>,
}

/// See [`Event::CallEnded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEnded {
    /// The call.
    pub call_id: CallId,
    /// Position in the call's events.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub ended_unix_ms: i64,
}

/// See [`Event::Partial`] and [`Event::Final`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Caption {
    /// The call.
    pub call_id: CallId,
    /// Position in the call's events.
    pub seq: u64,
    /// Who speaks.
    pub party_id: PartyId,
    /// Who that is.
    pub role: Role,
    /// Counts the utterances of the party's stream, from 0.
    pub segment: u32,
    /// Counts the versions of the segment, from 0.
    pub revision: u32,
    /// The words, as plain text. An empty final withdraws the partials of its segment.
    pub text: String,
    /// How much of the start of `text` no later partial will change, in UTF-16 code units. All of a final.
    pub stable_len: u32,
    /// Milliseconds on the party's clock.
    pub start_ms: u64,
    /// Milliseconds on the party's clock.
    pub end_ms: u64,
    /// Wall clock of the party's time 0, in milliseconds since the Unix epoch. It names the party's stream.
    pub anchor_unix_ms: i64,
    /// From the end of the audio that the caption covers to its leaving the relay, in milliseconds. Absent (null) when
    /// the caption is read back from the store.
    pub latency_ms: Option<u64>,
    /// Empty if the recogniser gives no word times.
    pub words: Vec<Word>,
}

/// One word of a caption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Milliseconds on the party's clock.
    pub start_ms: u64,
    /// Milliseconds on the party's clock.
    pub end_ms: u64,
    /// 0 to 1.
    pub confidence: f32,
}

/// See [`Event::Gap`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The call.
    pub call_id: CallId,
    /// Position in the call's events.
    pub seq: u64,
    /// Whose speech is missing.
    pub party_id: PartyId,
    /// Who that is.
    pub role: Role,
    /// Milliseconds on the party's clock.
    pub start_ms: u64,
    /// Milliseconds on the party's clock.
    pub end_ms: u64,
    /// Why.
    pub reason: GapReason,
    /// As in [`Caption`].
    pub anchor_unix_ms: i64,
}

/// Which of a party's captions it is. A party has a stream, and numbers from 0, for each leg that it was heard on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The stream, by the wall clock of its time 0, in milliseconds since the Unix epoch.
    pub anchor_unix_ms: i64,
    /// The utterance in it.
    pub segment: u32,
}

/// Which of a party's gaps it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GapId {
    /// The stream, as in [`SegmentId`].
    pub anchor_unix_ms: i64,
    /// Where the gap begins, in milliseconds on the party's clock.
    pub start_ms: u64,
}

impl Caption {
    /// What tells it from the party's other captions; all its revisions have the same.
    pub fn id(&self) -> SegmentId {
        SegmentId { anchor_unix_ms: self.anchor_unix_ms, segment: self.segment }
    }
}

impl Gap {
    /// What tells it from the party's other gaps.
    pub fn id(&self) -> GapId {
        GapId { anchor_unix_ms: self.anchor_unix_ms, start_ms: self.start_ms }
    }
}

/// Why speech is missing from a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The publisher gave no reason.
    Unspecified,
    /// Packets never arrived and were too many to conceal.
    PacketLoss,
    /// No transcriber could be reached for longer than the audio is kept.
    TranscriberUnavailable,
    /// The recogniser could not keep up.
    Overload,
    /// The recogniser failed on this span.
    RecogniserFailed,
    /// Nobody listened: the party's leg was lost, or the gateway was.
    SupervisionInterrupted,
    /// The text is withheld, for it could not be redacted.
    Withheld,
}

/// See [`Event::Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The call.
    pub call_id: CallId,
    /// Position in the call's events.
    pub seq: u64,
    /// The state from now on.
    pub state: CaptionState,
    /// Whether everyone who is heard is on hold.
    pub is_on_hold: bool,
    /// The parties that are on hold.
    pub parties_on_hold: Vec<PartyId>,
}

/// How well the captions of a call are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptionState {
    /// Captions come as they should.
    Live,
    /// The call goes on and its audio is kept, but no transcriber can be reached.
    CaptionsUnavailable,
}

/// See [`Event::Recognition`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recognition {
    /// The call.
    pub call_id: CallId,
    /// Position in the call's events.
    pub seq: u64,
    /// Whose speech is recognised.
    pub party_id: PartyId,
    /// Who that is.
    pub role: Role,
    /// Whether captions come from another recogniser than the preferred one, which fails or is late.
    pub is_fallback: bool,
}

/// See [`Event::Consent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// The call.
    pub call_id: CallId,
    /// Position in the call's events.
    pub seq: u64,
    /// What is known from now on.
    pub state: ConsentState,
    /// How somebody has told of it.
    pub source: ConsentSource,
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: i64,
}

/// What is known of the parties' consent to a call's transcription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentState {
    /// Nobody has said anything yet, and until somebody does nothing is captioned.
    Awaited,
    /// Nobody has said anything, and the operator asks for nothing.
    NotRequired,
    /// The parties were told, and nobody has objected.
    Announced,
    /// Somebody has agreed.
    Granted,
    /// Somebody has objected. Final: nothing of the call is kept.
    Refused,
}

/// How somebody has told of consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentSource {
    /// Nobody has: it is what the operator's policy says.
    Policy,
    /// An operator, or a program of theirs.
    Operator,
    /// A party, by a key.
    Key,
    /// A party, by a phrase.
    Phrase,
}

/// Calls in progress, and those that ended in the last hour: newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallList {
    /// The calls.
    pub calls: Vec<CallSummary>,
}

/// A call in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallSummary {
    /// The call.
    pub call_id: CallId,
    /// When the call started, or when the relay first heard of it; milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// When it ended, or null while it goes on; milliseconds since the Unix epoch.
    pub ended_unix_ms: Option<i64>,
    /// Everybody who has been heard on the call.
    pub parties: Vec<PartyRole>,
}

/// A party of a call, and who that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyRole {
    /// The party.
    pub party_id: PartyId,
    /// Who that is.
    pub role: Role,
}

impl Event {
    /// The call that the event belongs to.
    pub fn call_id(&self) -> &CallId {
        match self {
            Event::CallStarted(event) => &event.call_id,
            Event::CallEnded(event) => &event.call_id,
            Event::Partial(event) | Event::Final(event) => &event.call_id,
            Event::Gap(event) => &event.call_id,
            Event::Status(event) => &event.call_id,
            Event::Recognition(event) => &event.call_id,
            Event::Consent(event) => &event.call_id,
        }
    }

    /// The event's position in the call's events.
    pub fn seq(&self) -> u64 {
        match self {
            Event::CallStarted(event) => event.seq,
            Event::CallEnded(event) => event.seq,
            Event::Partial(event) | Event::Final(event) => event.seq,
            Event::Gap(event) => event.seq,
            Event::Status(event) => event.seq,
            Event::Recognition(event) => event.seq,
            Event::Consent(event) => event.seq,
        }
    }

    pub(crate) fn to_json(&self) -> String {
        to_json(self)
    }
}

impl ServerMessage {
    pub(crate) fn to_json(&self) -> String {
        to_json(self)
    }
}

/// These messages have string keys only and no map in them, which is all that serde_json can fail on.
pub(crate) fn to_json<T: Serialize>(message: &T) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_the_protocol_says() {
        let check = |message: ServerMessage, json: &str| {
            assert_eq!(message.to_json(), json);
            assert_eq!(serde_json::from_str::<ServerMessage>(json).unwrap(), message);
        };
        check(ServerMessage::Heartbeat, r#"{"type":"heartbeat"}"#);
        check(
            ServerMessage::Subscribed { call_id: CallId::new("s-1"), as_of_seq: 7 },
            r#"{"type":"subscribed","call_id":"s-1","as_of_seq":7}"#,
        );
        check(
            ServerMessage::Error {
                code: ErrorCode::UnknownCall,
                message: "no".to_owned(),
                call_id: Some(CallId::new("s-1")),
            },
            r#"{"type":"error","code":"unknown_call","message":"no","call_id":"s-1"}"#,
        );
        check(
            ServerMessage::Calls(CallList {
                calls: vec![CallSummary {
                    call_id: CallId::new("s-1"),
                    started_unix_ms: 5,
                    ended_unix_ms: None,
                    parties: vec![PartyRole { party_id: PartyId::new("p-1"), role: Role::Agent }],
                }],
            }),
            concat!(
                r#"{"type":"calls","calls":[{"call_id":"s-1","started_unix_ms":5,"ended_unix_ms":null,"#,
                r#""parties":[{"party_id":"p-1","role":"agent"}]}]}"#
            ),
        );
        check(
            ServerMessage::Event(Event::Status(Status {
                call_id: CallId::new("s-1"),
                seq: 4,
                state: CaptionState::Live,
                is_on_hold: false,
                parties_on_hold: vec![PartyId::new("p-1")],
            })),
            concat!(
                r#"{"type":"status","call_id":"s-1","seq":4,"state":"live","is_on_hold":false,"#,
                r#""parties_on_hold":["p-1"]}"#
            ),
        );
        check(
            ServerMessage::Event(Event::Final(Caption {
                call_id: CallId::new("s-1"),
                seq: 3,
                party_id: PartyId::new("p-2"),
                role: Role::Customer,
                segment: 0,
                revision: 2,
                text: "hi".to_owned(),
                stable_len: 2,
                start_ms: 10,
                end_ms: 20,
                anchor_unix_ms: 1000,
                latency_ms: Some(30),
                words: vec![Word {
                    text: "hi".to_owned(),
                    start_ms: 10,
                    end_ms: 20,
                    confidence: 0.5,
                }],
            })),
            concat!(
                r#"{"type":"final","call_id":"s-1","seq":3,"party_id":"p-2","role":"customer","segment":0,"#,
                r#""revision":2,"text":"hi","stable_len":2,"start_ms":10,"end_ms":20,"anchor_unix_ms":1000,"#,
                r#""latency_ms":30,"words":[{"text":"hi","start_ms":10,"end_ms":20,"confidence":0.5}]}"#
            ),
        );
    }

    #[test]
    fn consent_is_written_as_the_protocol_says() {
        let event = Event::Consent(Consent {
            call_id: CallId::new("s-1"),
            seq: 4,
            state: ConsentState::NotRequired,
            source: ConsentSource::Policy,
            at_unix_ms: 7,
        });
        let json = concat!(
            r#"{"type":"consent","call_id":"s-1","seq":4,"state":"not_required","#,
            r#""source":"policy","at_unix_ms":7}"#
        );
        assert_eq!(event.to_json(), json);
        assert_eq!(serde_json::from_str::<Event>(json).unwrap(), event);
    }

    #[test]
    fn client_messages_are_read_strictly() {
        let read = |json| serde_json::from_str::<ClientMessage>(json);
        assert_eq!(read(r#"{"type":"subscribe_calls"}"#).unwrap(), ClientMessage::SubscribeCalls);
        assert_eq!(
            read(r#"{"type":"subscribe","call_id":"s-1"}"#).unwrap(),
            ClientMessage::Subscribe { call_id: CallId::new("s-1"), after_seq: None }
        );
        assert!(read(r#"{"type":"subscribe"}"#).is_err());
        assert!(read(r#"{"type":"subscribe","call_id":"s-1","after_seq":-1}"#).is_err());
        assert!(read(r#"{"type":"drop_tables"}"#).is_err());
    }
}
