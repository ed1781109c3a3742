//! What the application and the SIP core tell each other about a leg.

use crate::variant::Variant;

/// The identity of a leg, chosen by the caller of `Endpoint::invite`.
pub(crate) type LegId = u64;

/// What the application learns about a leg. `Failed` or `Ended` comes last, exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LegEvent {
    /// The device has answered; its SDP answer.
    Answered {
        /// The body of the 200.
        sdp: Vec<u8>,
    },
    /// The device has answered an INVITE without SDP: its offer waits for an answer in the ACK.
    Offered {
        /// The body of the 200.
        sdp: Vec<u8>,
    },
    /// The device has brought the leg to another connection, after its own had closed.
    Moved,
    /// The leg never came up.
    Failed(LegFailure),
    /// The leg was up and is over; every BYE and its response have been exchanged.
    Ended,
}

/// Why a leg never came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LegFailure {
    /// The device has no binding.
    NotRegistered,
    /// The device refused the INVITE with this status.
    Rejected(u16),
    /// The device did not answer in time, or its connection closed.
    NoResponse,
    /// We took the INVITE back.
    Cancelled,
}

/// What an INVITE says.
#[derive(Clone, Debug)]
pub(crate) struct Invitation {
    /// The user part of From, a phone number.
    pub(crate) caller: String,
    /// Headers of RingCentral's own, in order.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The SDP offer; without one the device has to offer.
    pub(crate) sdp: Option<String>,
    /// How the leg behaves.
    pub(crate) variant: Variant,
}
