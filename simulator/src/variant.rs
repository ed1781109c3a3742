//! The ways in which RingCentral's SIP side has been seen to behave.

use crate::plan::{Shape, UnknownName};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How the supervise INVITEs of a call come, and what befalls their legs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    /// The INVITE comes before the answer to the supervise request.
    InviteBeforeReply,
    /// The INVITE comes after it: the ordinary course.
    #[default]
    InviteAfterReply,
    /// `p-rc-api-monitoring-ids` has its keys the other way round, with extra spaces.
    ReorderedIds,
    /// Session supervise with one media line for each party, in the clear.
    TwoMedia,
    /// The same with SRTP and a key for each line.
    TwoMediaSrtp,
    /// The INVITE has no SDP: the device offers in its 200, and the ACK answers.
    LateOffer,
    /// Unusual spelling of header names, and the compact `l:` for Content-Length.
    OddHeaders,
    /// A re-INVITE puts the leg on hold, another resumes it, and an UPDATE without a body refreshes it.
    HoldAndRefresh,
    /// The first INVITE comes before the answer to its request, names no monitored party, and is taken back with CANCEL.
    Cancelled,
    /// The first two ACKs get lost, so that the device repeats its 200.
    LostAck,
    /// Two messages in one TCP segment, the second of them cut in two.
    Segmented,
    /// RTP begins close to the wrap of its sequence number, and half-way goes on as another SSRC.
    SsrcChange,
    /// The connection is closed while the parties talk.
    ConnectionDrop,
    /// The connection is closed while the parties talk, and none is taken before the call is over: the BYEs get lost.
    LostBye,
    /// An ordinary call that nobody asked for rings at the device, too.
    OrdinaryCall,
    /// A supervisor's party from an earlier attempt is stuck on the agent.
    StuckParty,
}

/// Something that befalls the legs of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A re-INVITE puts them on hold.
    Hold,
    /// Another resumes them.
    Resume,
    /// An UPDATE refreshes their sessions.
    Refresh,
    /// Their streams go on with another SSRC.
    ChangeSsrc,
    /// Their connection is closed.
    DropConnection,
    /// Their connection is closed, and no other taken.
    CutOff,
    /// Whoever talks on it presses a key: the agent, or the customer.
    Press {
        /// Whether it is the agent.
        is_agents: bool,
        /// The event's number (RFC 4733 section 3.2).
        event: u8,
    },
}

impl Variant {
    /// All variants, in the order of their documentation.
    pub const ALL: [Variant; 16] = [
        Variant::InviteBeforeReply,
        Variant::InviteAfterReply,
        Variant::ReorderedIds,
        Variant::TwoMedia,
        Variant::TwoMediaSrtp,
        Variant::LateOffer,
        Variant::OddHeaders,
        Variant::HoldAndRefresh,
        Variant::Cancelled,
        Variant::LostAck,
        Variant::Segmented,
        Variant::SsrcChange,
        Variant::ConnectionDrop,
        Variant::LostBye,
        Variant::OrdinaryCall,
        Variant::StuckParty,
    ];

    /// The name on command lines and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Variant::InviteBeforeReply => "invite-before-reply",
            Variant::InviteAfterReply => "invite-after-reply",
            Variant::ReorderedIds => "reordered-ids",
            Variant::TwoMedia => "two-media",
            Variant::TwoMediaSrtp => "two-media-srtp",
            Variant::LateOffer => "late-offer",
            Variant::OddHeaders => "odd-headers",
            Variant::HoldAndRefresh => "hold-and-refresh",
            Variant::Cancelled => "cancelled",
            Variant::LostAck => "lost-ack",
            Variant::Segmented => "segmented",
            Variant::SsrcChange => "ssrc-change",
            Variant::ConnectionDrop => "connection-drop",
            Variant::LostBye => "lost-bye",
            Variant::OrdinaryCall => "ordinary-call",
            Variant::StuckParty => "stuck-party",
        }
    }

    /// The shape that the variant is one of, if it is about shapes.
    pub const fn shape(self) -> Option<Shape> {
        match self {
            Variant::TwoMedia | Variant::TwoMediaSrtp => Some(Shape::TwoMedia),
            _ => None,
        }
    }

    /// Whether the INVITE comes before the answer to its request.
    pub(crate) const fn is_before_reply(self) -> bool {
        matches!(self, Variant::InviteBeforeReply | Variant::Cancelled)
    }

    /// What befalls the legs while the parties talk for `talk`, in order of time.
    pub(crate) fn effects(self, talk: Duration) -> Vec<(Duration, Effect)> {
        match self {
            Variant::HoldAndRefresh => vec![
                (talk / 3, Effect::Hold),
                (talk / 2, Effect::Resume),
                (talk * 2 / 3, Effect::Refresh),
            ],
            Variant::SsrcChange => vec![(talk / 2, Effect::ChangeSsrc)],
            Variant::ConnectionDrop => vec![(talk / 3, Effect::DropConnection)],
            Variant::LostBye => vec![(talk / 3, Effect::CutOff)],
            _ => vec![],
        }
    }

    /// Whether media is encrypted, if the variant says so; else it is where signalling is.
    pub(crate) const fn is_secure(self) -> Option<bool> {
        match self {
            Variant::TwoMedia => Some(false),
            Variant::TwoMediaSrtp => Some(true),
            _ => None,
        }
    }
}

impl FromStr for Variant {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|variant| variant.as_str() == name).ok_or_else(|| UnknownName {
            given: name.into(),
            kind: "variant",
            choices: "invite-before-reply, invite-after-reply, reordered-ids, two-media, \
                      two-media-srtp, late-offer, odd-headers, hold-and-refresh, cancelled, \
                      lost-ack, segmented, ssrc-change, connection-drop, lost-bye, ordinary-call, \
                      stuck-party",
        })
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
