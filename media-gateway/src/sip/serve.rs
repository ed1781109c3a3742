//! Serves the requests that come in: which they are, and those that belong to no leg yet.

use std::net::SocketAddr;
use std::time::Instant;

use super::dialog::Dialog;
use super::event::{Event, Invite, Refusal};
use super::leg::{Incoming, Leg, LegId};
use super::message::{ALLOW, HeaderValues, Method, Request, ResponseBuilder};
use super::session_timer::{SHORTEST_INTERVAL, Terms};
use super::transaction::TransactionKey;
use super::user_agent::{UserAgent, peer, token};
use super::{Flow, Transmit};

/// How long a caller who met an overload or a shutdown is asked to stay away (RFC 3261 section 20.33).
const RETRY_AFTER_SECONDS: &str = "5";

impl UserAgent {
    /// Takes one request. `local` is our address on the flow.
    pub(super) fn serve(&mut self, now: Instant, flow: Flow, local: SocketAddr, request: Request) {
        let key = TransactionKey::of(&request);
        if request.method == Method::Known(rsip::Method::Ack) {
            self.acknowledged(now, &key, &request);
            return;
        }
        if request.defect.is_some() && !request.is_answerable() {
            self.events.push_back(Event::Refused { reason: Refusal::Malformed, flow });
            return;
        }
        if !self.transactions.receive(&key, flow, &mut self.transmits) {
            return;
        }
        let incoming = Incoming { key, flow, request };
        if let Some(defect) = incoming.request.defect {
            let reason = format!("Bad Request: {defect}");
            self.refuse(now, &incoming, 400, &reason, Refusal::Malformed);
            return;
        }
        let Method::Known(method) = incoming.request.method else {
            self.refuse(now, &incoming, 501, "Not Implemented", Refusal::UnknownMethod);
            return;
        };
        use rsip::Method::*;
        let unsupported = unsupported_options(&incoming.request);
        let is_in_dialog = incoming.request.tag_in_to().is_some();
        match (method, self.leg_of(&incoming.request)) {
            (Cancel, _) => self.cancelled(now, &incoming),
            (Bye, Some(leg)) => self.hung_up(now, &incoming, leg),
            (Bye | Update | Info, None) => self.unknown_dialog(now, &incoming),
            (Invite | Notify | Message | Options, None) if is_in_dialog => {
                self.unknown_dialog(now, &incoming);
            }
            (Invite | Update | Info | Notify | Message | Options, _) if !unsupported.is_empty() => {
                self.unsupported(now, &incoming, &unsupported.join(", "));
            }
            (Invite, None) => self.invited(now, local, incoming),
            (Invite | Update, Some(leg)) => self.reoffered(now, incoming, leg),
            (Info | Notify | Message, leg) => {
                let tag = self.tag_for(leg);
                self.respond(now, &incoming, 200, "OK", &tag);
            }
            (Options, leg) => {
                let tag = self.tag_for(leg);
                let response = response_to(&incoming, 200, "OK", &tag)
                    .header("Allow", ALLOW)
                    .header("Supported", "timer")
                    .header("Accept", "application/sdp");
                self.send_response(now, &incoming, 200, response);
            }
            (Ack | PRack | Publish | Refer | Register | Subscribe, _) => {
                let refusal = Refusal::MethodNotAllowed;
                self.refuse(now, &incoming, 405, "Method Not Allowed", refusal);
            }
        }
    }

    fn invited(&mut self, now: Instant, local: SocketAddr, incoming: Incoming) {
        if self.legs.values().any(|leg| leg.dialog.was_opened_by(&incoming.request)) {
            self.refuse(now, &incoming, 482, "Loop Detected", Refusal::Merged);
            return;
        }
        let Ok(terms) = Terms::of_request(&incoming.request) else {
            self.interval_too_small(now, &incoming);
            return;
        };
        if self.legs.len() >= self.max_legs {
            self.refuse(now, &incoming, 486, "Busy Here", Refusal::TooManyLegs);
            return;
        }
        let tag = token(&mut self.random);
        let Some(dialog) = Dialog::new(&incoming.request, tag) else {
            let reason = "Bad Request: Contact is missing or unreadable";
            self.refuse(now, &incoming, 400, reason, Refusal::Malformed);
            return;
        };
        self.send_trying(now, &incoming);
        let (flow, request) = (incoming.flow, &incoming.request);
        let invite = Invite {
            leg: LegId(self.next_leg),
            flow,
            on_registered_flow: self.registered_flow() == Some(flow),
            api_ids: request.value("p-rc-api-ids").map(str::to_owned),
            monitoring_ids: request.value("p-rc-api-monitoring-ids").map(str::to_owned),
            offer: request.sdp().map(<[u8]>::to_vec),
        };
        let mut leg = Leg::new(now, incoming, dialog, terms, local);
        leg.follows = invite.on_registered_flow.then_some(flow);
        self.next_leg += 1;
        self.legs.insert(invite.leg, leg);
        self.events.push_back(Event::Invited(invite));
    }

    pub(super) fn unknown_dialog(&mut self, now: Instant, incoming: &Incoming) {
        let reason = "Call/Transaction Does Not Exist";
        self.refuse(now, incoming, 481, reason, Refusal::UnknownDialog);
    }

    /// RFC 4028 section 6.
    pub(super) fn interval_too_small(&mut self, now: Instant, incoming: &Incoming) {
        let tag = token(&mut self.random);
        let response = response_to(incoming, 422, "Session Interval Too Small", &tag)
            .header("Min-SE", &SHORTEST_INTERVAL.to_string());
        self.send_response(now, incoming, 422, response);
        let reason = Refusal::IntervalTooSmall;
        self.events.push_back(Event::Refused { reason, flow: incoming.flow });
    }

    fn unsupported(&mut self, now: Instant, incoming: &Incoming, options: &str) {
        let tag = token(&mut self.random);
        let response =
            response_to(incoming, 420, "Bad Extension", &tag).header("Unsupported", options);
        self.send_response(now, incoming, 420, response);
        let reason = Refusal::UnsupportedExtension;
        self.events.push_back(Event::Refused { reason, flow: incoming.flow });
    }

    /// Refuses a request without asking the shell, and tells it so.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        code: u16,
        reason: &str,
        refusal: Refusal,
    ) {
        let tag = token(&mut self.random);
        self.respond(now, incoming, code, reason, &tag);
        self.events.push_back(Event::Refused { reason: refusal, flow: incoming.flow });
    }

    pub(super) fn send_trying(&mut self, now: Instant, incoming: &Incoming) {
        let to = peer(incoming.flow);
        let trying = ResponseBuilder::new(&incoming.request, 100, "Trying", to);
        self.send_response(now, incoming, 100, trying);
    }

    /// Sends a response without a body. `tag` goes into To, unless To has one.
    pub(super) fn respond(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        code: u16,
        reason: &str,
        tag: &str,
    ) {
        let mut response = response_to(incoming, code, reason, tag);
        if matches!(code, 405 | 501) {
            response = response.header("Allow", ALLOW);
        }
        if code == 503 {
            response = response.header("Retry-After", RETRY_AFTER_SECONDS);
        }
        self.send_response(now, incoming, code, response);
    }

    /// Sends a response, and again to every repetition of the request. Gives what was sent.
    pub(super) fn send_response(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        code: u16,
        response: ResponseBuilder,
    ) -> Transmit {
        let bytes = response.build();
        let flow = self.transactions.respond(now, &incoming.key, code, &bytes);
        let transmit = Transmit { flow: flow.unwrap_or(incoming.flow), bytes };
        self.transmits.push_back(transmit.clone());
        transmit
    }

    pub(super) fn leg_of(&self, request: &Request) -> Option<LegId> {
        self.legs.iter().find(|(_, leg)| leg.dialog.matches(request)).map(|(id, _)| *id)
    }

    pub(super) fn tag_for(&mut self, leg: Option<LegId>) -> String {
        match leg.and_then(|leg| self.legs.get(&leg)) {
            Some(leg) => leg.dialog.local_tag.clone(),
            None => token(&mut self.random),
        }
    }
}

/// A response with our tag in To.
pub(super) fn response_to(
    incoming: &Incoming,
    code: u16,
    reason: &str,
    tag: &str,
) -> ResponseBuilder {
    ResponseBuilder::new(&incoming.request, code, reason, peer(incoming.flow)).to_tag(tag)
}

/// What a request requires and we do not have.
fn unsupported_options(request: &Request) -> Vec<String> {
    request
        .values("Require")
        .flat_map(|options| options.split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty() && !option.eq_ignore_ascii_case("timer"))
        .map(str::to_owned)
        .collect()
}
