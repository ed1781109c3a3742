//! One leg: an INVITE that we send, its dialog, and its end (RFC 3261 sections 13, 15 and 17).

mod change;
mod request;

use super::Flow;
use super::leg::{Invitation, LegEvent, LegFailure};
use super::message::{call_id, cseq, header, parameter, response_to, uri_in};
use super::repeat::{Repeat, T2, TRANSACTION_TIMEOUT};
use crate::variant::Variant;
use bytes::Bytes;
use change::InDialog;
use request::{contact_header, sdp_type};
use rsip::headers::UntypedHeader;
use rsip::message::HeadersExt;
use rsip::{Header, Method, Request, Response, Uri, headers};
use std::time::{Duration, Instant};

/// Four hours, refreshed by us.
const SESSION_EXPIRES: &str = "14400;refresher=uac";
/// ACKs that get lost where ACKs do.
const ACKS_LOST: u8 = 2;

/// The random parts of a dialog.
pub(crate) struct Identifiers {
    /// The Call-ID.
    pub(crate) call_id: String,
    /// Our tag.
    pub(crate) tag: String,
    /// The part of every branch that makes it unique to this leg.
    pub(crate) branch: String,
    /// The number of the INVITE.
    pub(crate) cseq: u32,
}

/// What a leg wants done: messages to send, then events to report.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) messages: Vec<Bytes>,
    pub(crate) events: Vec<LegEvent>,
}

/// A leg from its INVITE to its last repeated response.
pub(crate) struct Dialog {
    pub(crate) flow: Flow,
    ids: Identifiers,
    from: String,
    to: String,
    /// The user part of From.
    caller: String,
    pub(crate) variant: Variant,
    remote_target: Uri,
    /// The last description that we sent; empty until an offer of the device's is answered.
    sdp: String,
    state: State,
    /// The number of our last request.
    cseq: u32,
    /// A re-INVITE or UPDATE that is under way.
    change: Option<InDialog>,
    /// ACKs that get lost on the way.
    acks_to_lose: u8,
    wants_hang_up: bool,
    /// The connection that the leg was answered on has closed.
    is_cut_off: bool,
}

enum State {
    /// The INVITE is out, nothing has come back.
    Calling(Repeat),
    /// A provisional response has come.
    Proceeding,
    /// CANCEL is out; the INVITE's final response decides.
    Cancelling(Repeat),
    /// Answered with an offer: the ACK waits for our answer.
    Offered,
    /// Answered. The ACK is kept for repeated 200s.
    Confirmed { ack: Bytes },
    /// BYE is out.
    Terminating(Repeat),
    /// Over; late repeats are still answered until then.
    Lingering { ack: Option<Bytes>, until: Instant },
}

impl Dialog {
    /// Sends the INVITE to the device at `contact` over `flow`.
    pub(crate) fn invite(
        now: Instant,
        flow: Flow,
        contact: &str,
        invitation: Invitation,
        ids: Identifiers,
        output: &mut Output,
    ) -> Result<Self, rsip::Error> {
        let remote_target = Uri::try_from(contact)?;
        let from = format!("<sip:{}@{}>;tag={}", invitation.caller, flow.local.ip(), ids.tag);
        let to = format!("<{contact}>");
        let Invitation { caller, headers: own, sdp, variant } = invitation;
        let mut extra = vec![
            Header::UserAgent(headers::UserAgent::new("RC_SIPWRP_25.111")),
            contact_header(&flow, &caller),
            Header::Allow(headers::Allow::new(
                "SUBSCRIBE, NOTIFY, REFER, INVITE, ACK, BYE, CANCEL, UPDATE, INFO",
            )),
            Header::Supported(headers::Supported::new("replaces, timer, diversion, histinfo")),
            Header::Other("Session-Expires".into(), SESSION_EXPIRES.into()),
            Header::Other("Min-SE".into(), "90".into()),
        ];
        extra.extend(own.into_iter().map(|(name, value)| Header::Other(name.into(), value)));
        let mut dialog = Self {
            flow,
            from,
            to,
            caller,
            variant,
            remote_target,
            sdp: sdp.unwrap_or_default(),
            state: State::Proceeding,
            cseq: ids.cseq,
            change: None,
            acks_to_lose: if variant == Variant::LostAck { ACKS_LOST } else { 0 },
            wants_hang_up: variant == Variant::Cancelled,
            is_cut_off: false,
            ids,
        };
        let branch = dialog.branch("i");
        let sdp = dialog.sdp.clone();
        let message = dialog.request(Method::Invite, dialog.ids.cseq, &branch, extra, &sdp);
        // Only UDP needs repeats; the deadline holds everywhere (timers A and B).
        let repeat = Repeat::new(now, message.clone(), &flow, TRANSACTION_TIMEOUT);
        dialog.state = State::Calling(repeat);
        output.messages.push(message);
        Ok(dialog)
    }

    /// The Call-ID that messages of this leg carry.
    pub(crate) fn call_id(&self) -> &str {
        &self.ids.call_id
    }

    /// Sends the ACK of the 200, with our answer if the device has offered.
    pub(crate) fn acknowledge(&mut self, sdp: String, output: &mut Output) {
        if !matches!(
            self.state,
            State::Calling(_) | State::Proceeding | State::Cancelling(_) | State::Offered
        ) {
            return;
        }
        let branch = self.branch("a");
        let ack = self.request(Method::Ack, self.ids.cseq, &branch, vec![], &sdp);
        if !sdp.is_empty() {
            self.sdp = sdp;
        }
        self.state = State::Confirmed { ack: ack.clone() };
        self.send_ack(ack, output);
    }

    /// Ends the leg with CANCEL or BYE, whichever its state asks for. `newest_flow` is where the
    /// device is registered now.
    pub(crate) fn hang_up(&mut self, now: Instant, newest_flow: Option<Flow>, output: &mut Output) {
        if self.is_cut_off {
            match newest_flow {
                Some(flow) => self.flow = flow,
                None => return self.end(now, LegEvent::Ended, output),
            }
        }
        match &self.state {
            // CANCEL may only follow a provisional response (RFC 3261 section 9.1).
            State::Calling(_) => self.wants_hang_up = true,
            State::Proceeding => self.cancel(now, output),
            State::Confirmed { .. } => self.bye(now, output),
            State::Offered => {
                self.acknowledge(String::new(), output);
                self.bye(now, output);
            }
            State::Cancelling(_) | State::Terminating(_) | State::Lingering { .. } => {}
        }
    }

    /// Takes a response to one of our requests.
    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        response: &Response,
        output: &mut Output,
    ) {
        let Some((number, method)) = cseq(response) else { return };
        let status = response.status_code.code();
        match method {
            Method::Invite if number == self.ids.cseq => {
                self.handle_invite_response(now, status, response, output);
            }
            _ if self.change.as_ref().is_some_and(|change| change.cseq == number) => {
                self.handle_change_response(status, response, output);
            }
            Method::Bye if status >= 200 => {
                if matches!(self.state, State::Terminating(_)) {
                    self.end(now, LegEvent::Ended, output);
                }
            }
            Method::Cancel if status >= 200 => {
                // The INVITE's own final response follows; only the repeats stop.
                if let State::Cancelling(repeat) = &mut self.state {
                    repeat.next = None;
                }
            }
            _ => {}
        }
    }

    /// Takes a request from the device within this dialog.
    pub(crate) fn handle_request(
        &mut self,
        now: Instant,
        flow: &Flow,
        request: &Request,
        output: &mut Output,
    ) {
        let status = match request.method {
            Method::Ack => return,
            Method::Bye => {
                if matches!(
                    self.state,
                    State::Offered | State::Confirmed { .. } | State::Terminating(_)
                ) {
                    self.end(now, LegEvent::Ended, output);
                }
                200
            }
            // From another connection this is not enough to bring a leg back.
            Method::Update if self.is_cut_off => 481,
            Method::Options | Method::Info | Method::Notify | Method::Message | Method::Update => {
                200
            }
            Method::Invite if matches!(self.state, State::Confirmed { .. }) => {
                output.events.extend(self.is_cut_off.then_some(LegEvent::Moved));
                output.messages.insert(0, self.handle_reinvite(flow, request).into());
                return;
            }
            Method::Invite => 488,
            _ => 405,
        };
        let response = response_to(request, flow, status, &self.ids.tag, vec![]);
        output.messages.insert(0, response.into());
    }

    /// The supervisor only listens: it has nothing to renegotiate, but may be somewhere else.
    fn handle_reinvite(&mut self, flow: &Flow, request: &Request) -> Response {
        self.flow = *flow;
        self.is_cut_off = false;
        let contact = header(request, "Contact").map(|contact| Uri::try_from(uri_in(contact)));
        if let Some(Ok(contact)) = contact {
            self.remote_target = contact;
        }
        let extra = vec![contact_header(flow, &self.caller), sdp_type()];
        let mut response = response_to(request, flow, 200, &self.ids.tag, extra);
        response.body = self.sdp.clone().into_bytes();
        let length = response.body.len().to_string();
        response.headers.unique_push(Header::ContentLength(headers::ContentLength::new(length)));
        response
    }

    /// The connection has closed: what is under way on it will not be answered.
    pub(crate) fn handle_flow_closed(&mut self, now: Instant, output: &mut Output) {
        match self.state {
            State::Calling(_) | State::Proceeding | State::Cancelling(_) => {
                self.end(now, LegEvent::Failed(LegFailure::NoResponse), output);
            }
            State::Terminating(_) => self.end(now, LegEvent::Ended, output),
            // Media goes on without signalling, as it does on the real service.
            State::Offered | State::Confirmed { .. } => {
                self.change = None;
                self.is_cut_off = true;
            }
            State::Lingering { .. } => {}
        }
    }

    /// Repeats what is unanswered, and gives up what has taken too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant, output: &mut Output) {
        if let Some(change) = &mut self.change {
            if change.repeat.deadline > now {
                output.messages.extend(change.repeat.due(now));
            } else {
                self.change = None;
            }
        }
        let (State::Calling(repeat) | State::Cancelling(repeat) | State::Terminating(repeat)) =
            &mut self.state
        else {
            return;
        };
        if repeat.deadline > now {
            output.messages.extend(repeat.due(now));
            return;
        }
        let event = match self.state {
            State::Terminating(_) => LegEvent::Ended,
            State::Cancelling(_) => LegEvent::Failed(LegFailure::Cancelled),
            _ => LegEvent::Failed(LegFailure::NoResponse),
        };
        self.end(now, event, output);
    }

    /// When [`Dialog::handle_timeout`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Calling(repeat) | State::Cancelling(repeat) | State::Terminating(repeat) => {
                Some(repeat.wake())
            }
            State::Lingering { until, .. } => Some(*until),
            State::Proceeding | State::Offered | State::Confirmed { .. } => {
                self.change.as_ref().map(|change| change.repeat.wake())
            }
        }
    }

    /// Whether nothing more can happen on this leg.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        matches!(self.state, State::Lingering { until, .. } if until <= now)
    }

    fn handle_invite_response(
        &mut self,
        now: Instant,
        status: u16,
        response: &Response,
        output: &mut Output,
    ) {
        match (&self.state, status) {
            (State::Calling(_), 100..200) => {
                self.state = State::Proceeding;
                if self.wants_hang_up {
                    self.cancel(now, output);
                }
            }
            (State::Calling(_) | State::Proceeding | State::Cancelling(_), 200..300) => {
                let is_unwanted = self.wants_hang_up || matches!(self.state, State::Cancelling(_));
                self.adopt_remote(response);
                let sdp = response.body.clone();
                if self.sdp.is_empty() {
                    self.state = State::Offered;
                    output.events.push(LegEvent::Offered { sdp });
                } else {
                    self.acknowledge(String::new(), output);
                    output.events.push(LegEvent::Answered { sdp });
                }
                if is_unwanted {
                    self.hang_up(now, None, output);
                }
            }
            (State::Calling(_) | State::Proceeding | State::Cancelling(_), 300..) => {
                let failure = match self.state {
                    State::Cancelling(_) => LegFailure::Cancelled,
                    _ => LegFailure::Rejected(status),
                };
                let ack = self.ack_of_failure(response);
                output.messages.push(ack.clone());
                self.end(now, LegEvent::Failed(failure), output);
                if let State::Lingering { ack: kept, .. } = &mut self.state {
                    *kept = Some(ack);
                }
            }
            (State::Confirmed { ack } | State::Lingering { ack: Some(ack), .. }, 200..) => {
                let ack = ack.clone();
                self.send_ack(ack, output);
            }
            _ => {}
        }
    }

    fn send_ack(&mut self, ack: Bytes, output: &mut Output) {
        if self.acks_to_lose > 0 {
            self.acks_to_lose -= 1;
        } else {
            output.messages.push(ack);
        }
    }

    fn cancel(&mut self, now: Instant, output: &mut Output) {
        // CANCEL has the INVITE's Via and number (RFC 3261 section 9.1).
        let branch = self.branch("i");
        let message = self.request(Method::Cancel, self.ids.cseq, &branch, vec![], "");
        output.messages.push(message.clone());
        self.state = State::Cancelling(Repeat::new(now, message, &self.flow, T2));
    }

    fn bye(&mut self, now: Instant, output: &mut Output) {
        let branch = self.branch("b");
        self.cseq += 1;
        self.change = None;
        let message = self.request(Method::Bye, self.cseq, &branch, vec![], "");
        output.messages.push(message.clone());
        self.state = State::Terminating(Repeat::new(now, message, &self.flow, T2));
    }

    fn end(&mut self, now: Instant, event: LegEvent, output: &mut Output) {
        self.change = None;
        let wait = if self.flow.is_unreliable() { TRANSACTION_TIMEOUT } else { Duration::ZERO };
        self.state = State::Lingering { ack: None, until: now + wait };
        output.events.push(event);
    }

    /// Takes the tag and the contact of the device from its answer.
    fn adopt_remote(&mut self, response: &Response) {
        if let Ok(to) = response.to_header() {
            self.to = to.value().to_owned();
        }
        let contact = header(response, "Contact").map(|contact| Uri::try_from(uri_in(contact)));
        if let Some(Ok(contact)) = contact {
            self.remote_target = contact;
        }
    }
}

/// Whether a message from the device belongs to this dialog (RFC 3261 section 12.2.2).
pub(crate) fn belongs_to(dialog: &Dialog, request: &Request) -> bool {
    call_id(request) == Some(dialog.call_id())
        && request.to_header().ok().and_then(|to| parameter(to.value(), "tag"))
            == Some(dialog.ids.tag.as_str())
}
