//! The legs that RingCentral opens towards the gateway: dialogs (RFC 3261 section 12) seen from the callee.

use bytes::Bytes;

use super::Flow;
use super::message::{self, HeaderValues, Request, split_list};
use super::transaction::TransactionKey;

/// A leg: one INVITE and the dialog that grows from it. Never reused within a user agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);

impl std::fmt::Display for LegId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a leg is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The other side sent BYE.
    Bye,
    /// The other side took its INVITE back before the answer.
    Cancelled,
    /// Our 200 was never acknowledged.
    NotAcknowledged,
    /// We hung up, and the other side knows or can't be reached.
    HungUp,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegState {
    /// The first INVITE waits for an answer.
    Proceeding,
    /// Answered, no ACK yet. With `closing`, a BYE follows the ACK: RFC 3261 section 15 forbids it before.
    Answered { closing: bool },
    /// Acknowledged.
    Confirmed,
    /// Our BYE is under way.
    Closing,
}

/// An INVITE or UPDATE that waits for [`answer`](super::UserAgent::answer).
#[derive(Debug)]
pub(super) struct PendingRequest {
    pub(super) key: TransactionKey,
    pub(super) request: Request,
}

/// One leg.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) state: LegState,
    /// The flow that the last request came on.
    pub(super) flow: Flow,
    pub(super) call_id: String,
    pub(super) local_tag: String,
    remote_tag: String,
    /// From and To of our own requests.
    local: String,
    remote: String,
    /// Request-URI of our own requests.
    remote_target: String,
    /// Route headers of our own requests, in order (RFC 3261 section 12.1.1).
    route_set: Vec<String>,
    /// The CSeq number of the last INVITE or UPDATE.
    pub(super) remote_cseq: u32,
    local_cseq: u32,
    /// The INVITE whose 2xx an ACK may acknowledge.
    pub(super) invite: Option<(TransactionKey, u32)>,
    /// Whether that INVITE had no offer, so that its ACK carries the answer to ours.
    pub(super) expects_answer_in_ack: bool,
    pub(super) pending: Option<PendingRequest>,
}

impl Leg {
    /// The leg of a first INVITE. `None` if the INVITE has no usable Contact.
    pub(super) fn new(
        invite: &Request,
        key: TransactionKey,
        flow: Flow,
        tag: String,
    ) -> Option<Self> {
        let (cseq, _) = invite.cseq()?;
        let to = invite.value("To")?;
        Some(Self {
            state: LegState::Proceeding,
            flow,
            call_id: invite.call_id()?.to_owned(),
            remote_tag: invite.tag_in_from()?.to_owned(),
            local: format!("{to};tag={tag}"),
            local_tag: tag,
            remote: invite.value("From")?.to_owned(),
            remote_target: invite.contact_uri()?,
            route_set: invite
                .values("Record-Route")
                .flat_map(split_list)
                .map(str::to_owned)
                .collect(),
            remote_cseq: cseq,
            local_cseq: 0,
            invite: Some((key.clone(), cseq)),
            expects_answer_in_ack: invite.sdp().is_none(),
            pending: Some(PendingRequest { key, request: invite.clone() }),
        })
    }

    /// Whether an in-dialog request belongs to this leg. The To tag is ours and random: it can't be guessed.
    pub(super) fn matches(&self, request: &Request) -> bool {
        request.call_id() == Some(self.call_id.as_str())
            && request.tag_in_to() == Some(self.local_tag.as_str())
            && request.tag_in_from() == Some(self.remote_tag.as_str())
    }

    /// A target refresh (RFC 3261 section 12.2.2): the other side may have moved.
    pub(super) fn refresh_target(&mut self, request: &Request, flow: Flow) {
        self.flow = flow;
        if let Some(target) = request.contact_uri() {
            self.remote_target = target;
        }
    }

    /// A BYE of ours. `branch` names its transaction.
    pub(super) fn bye(&mut self, via: String) -> Bytes {
        self.local_cseq += 1;
        let mut headers = vec![("Via", via), ("Max-Forwards", "70".to_owned())];
        headers.extend(self.route_set.iter().map(|route| ("Route", route.clone())));
        headers.extend([
            ("From", self.local.clone()),
            ("To", self.remote.clone()),
            ("Call-ID", self.call_id.clone()),
            ("CSeq", format!("{} BYE", self.local_cseq)),
        ]);
        message::request("BYE", &self.remote_target, &headers)
    }
}
