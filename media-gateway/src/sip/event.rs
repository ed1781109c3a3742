//! What the user agent tells the shell.

use std::time::Duration;

use super::framing::FramingError;
use super::leg::{EndReason, LegId};
use super::registration_failure::RegistrationFailure;
use super::{Flow, StreamId};

/// Something that the shell must know or act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The device is reachable on its flow for this long; it is refreshed in time without further ado. Legs that came on
    /// the flow before are moved to this one.
    Registered {
        /// As granted by the registrar.
        expires: Duration,
    },
    /// The registrar has forgotten the device, as [`UserAgent::unregister`](super::UserAgent::unregister) asked.
    Unregistered,
    /// The device is not registered. Nothing is tried until [`UserAgent::register`](super::UserAgent::register) is
    /// called again.
    RegistrationFailed(RegistrationFailure),
    /// Someone calls. Answer or reject within three minutes.
    Invited(Invite),
    /// An INVITE within the leg, theirs or ours, is acknowledged. Carries the other side's SDP if the offer was ours: the
    /// INVITE had none, or it was a re-INVITE of ours.
    Confirmed {
        /// Which leg.
        leg: LegId,
        /// The answer to our offer.
        answer: Option<Vec<u8>>,
    },
    /// A re-INVITE or UPDATE within the leg. Answer or reject; rejecting leaves the leg as it was.
    Reoffered {
        /// Which leg.
        leg: LegId,
        /// Absent: our offer is asked for.
        offer: Option<Vec<u8>>,
    },
    /// The leg is over. Its id means nothing any more.
    Ended {
        /// Which leg.
        leg: LegId,
        /// Why.
        reason: EndReason,
    },
    /// A request was refused before it could become anything.
    Refused {
        /// Why.
        reason: Refusal,
        /// Who sent it.
        flow: Flow,
    },
    /// The bytes on a stream are not SIP: close it.
    StreamCorrupt {
        /// Which stream.
        stream: StreamId,
        /// What is wrong.
        error: FramingError,
    },
}

/// An INVITE that opens a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The leg that it opens.
    pub leg: LegId,
    /// Where it came from.
    pub flow: Flow,
    /// Whether that is the flow that the device is registered on.
    pub on_registered_flow: bool,
    /// The value of `p-rc-api-ids`.
    pub api_ids: Option<String>,
    /// The value of `p-rc-api-monitoring-ids`.
    pub monitoring_ids: Option<String>,
    /// The SDP offer; absent when ours is asked for.
    pub offer: Option<Vec<u8>>,
}

/// Why a request was refused without asking the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Not SIP at all: dropped.
    NotSip,
    /// Malformed: 400, or 416 and 505 for a scheme and a version that are not SIP's.
    Malformed,
    /// An extension method: 501.
    UnknownMethod,
    /// A method that a supervisor's device does not serve: 405.
    MethodNotAllowed,
    /// In a dialog that does not exist: 481.
    UnknownDialog,
    /// More legs than the limit: 486.
    TooManyLegs,
    /// Requires an extension that is not supported: 420.
    UnsupportedExtension,
    /// Brings a body that is no SDP, or takes no SDP for an answer: 415 or 406.
    UnsupportedContent,
    /// The INVITE of a leg that is there already, come on another way: 482.
    Merged,
    /// A Session-Expires below the minimum: 422.
    IntervalTooSmall,
    /// A re-INVITE or UPDATE out of order or while another one waits: 500, or while ours does: 491.
    OutOfOrder,
}
