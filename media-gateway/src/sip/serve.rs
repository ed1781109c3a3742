//! Serves the requests that come in.

use std::net::SocketAddr;
use std::time::Instant;

use super::Flow;
use super::dialog::{EndReason, Leg, LegId, LegState, PendingRequest};
use super::message::{ALLOW, HeaderValues, Method, Request, ResponseBuilder};
use super::transaction::{Acknowledged, TransactionKey};
use super::user_agent::{Event, Invite, Refusal, UserAgent, peer, token};

/// How long a caller who met an overload or a shutdown is asked to stay away (RFC 3261 section 20.33).
const RETRY_AFTER_SECONDS: &str = "5";

impl UserAgent {
    /// Takes one request.
    pub(super) fn serve(&mut self, now: Instant, flow: Flow, local: SocketAddr, request: Request) {
        let key = TransactionKey::of(&request);
        if request.method == Method::Known(rsip::Method::Ack) {
            self.acknowledged(now, &key, local, &request);
            return;
        }
        if request.defect.is_some() && !request.is_answerable() {
            self.events.push_back(Event::Refused { reason: Refusal::Malformed, flow });
            return;
        }
        if !self.transactions.receive(now, &key, flow, &mut self.transmits) {
            return;
        }
        if let Some(defect) = request.defect {
            let reason = format!("Bad Request: {defect}");
            self.refuse(now, flow, &key, &request, 400, &reason, Refusal::Malformed);
            return;
        }
        let leg = request.tag_in_to().and_then(|_| self.leg_of(&request));
        let method = match &request.method {
            Method::Known(method) => *method,
            Method::Extension(_) => {
                let refusal = Refusal::UnknownMethod;
                self.refuse(now, flow, &key, &request, 501, "Not Implemented", refusal);
                return;
            }
        };
        use rsip::Method::*;
        match (method, leg) {
            (Cancel, _) => self.cancelled(now, flow, &key, &request),
            (Ack | Invite | Update | Bye | Info, None) if request.tag_in_to().is_some() => {
                self.unknown_dialog(now, flow, &key, &request)
            }
            (Invite, None) => self.invited(now, flow, key, request),
            (Bye | Update | Info, None) => self.unknown_dialog(now, flow, &key, &request),
            (Notify | Message | Options, None) if request.tag_in_to().is_some() => {
                self.unknown_dialog(now, flow, &key, &request)
            }
            (Invite | Update, Some(leg)) => self.reoffered(now, flow, key, request, leg),
            (Bye, Some(leg)) => self.hung_up(now, &key, &request, leg),
            (Info | Notify | Message, _) => {
                let tag = self.tag_for(leg);
                self.respond(now, &key, &request, 200, "OK", &tag, Acknowledged::Never);
            }
            (Options, _) => {
                let tag = self.tag_for(leg);
                let response = ResponseBuilder::new(&request, 200, "OK", peer(flow))
                    .to_tag(&tag)
                    .header("Allow", ALLOW)
                    .header("Accept", "application/sdp")
                    .build();
                let transmit = self.transactions.respond(now, &key, response, Acknowledged::Never);
                self.transmits.extend(transmit);
            }
            (Ack | PRack | Publish | Refer | Register | Subscribe, _) => {
                let refusal = Refusal::MethodNotAllowed;
                self.refuse(now, flow, &key, &request, 405, "Method Not Allowed", refusal);
            }
        }
    }

    fn invited(&mut self, now: Instant, flow: Flow, key: TransactionKey, request: Request) {
        let required: Vec<&str> = request
            .values("Require")
            .flat_map(|options| options.split(','))
            .map(str::trim)
            .filter(|option| !option.is_empty() && !option.eq_ignore_ascii_case("timer"))
            .collect();
        if !required.is_empty() {
            self.unsupported(now, flow, &key, &request, &required.join(", "));
            return;
        }
        if self.legs.len() >= self.max_legs {
            self.refuse(now, flow, &key, &request, 486, "Busy Here", Refusal::TooManyLegs);
            return;
        }
        let tag = token(&mut self.random);
        let Some(leg) = Leg::new(&request, key.clone(), flow, tag.clone()) else {
            let reason = "Bad Request: Contact is missing or unreadable";
            self.refuse(now, flow, &key, &request, 400, reason, Refusal::Malformed);
            return;
        };
        let id = LegId(self.next_leg);
        self.next_leg += 1;
        self.legs.insert(id, leg);
        self.respond(now, &key, &request, 100, "Trying", "", Acknowledged::Never);
        self.events.push_back(Event::Invited(Invite {
            leg: id,
            flow,
            on_registered_flow: self.registered_flow() == Some(flow),
            api_ids: request.value("p-rc-api-ids").map(str::to_owned),
            monitoring_ids: request.value("p-rc-api-monitoring-ids").map(str::to_owned),
            offer: request.sdp().map(<[u8]>::to_vec),
        }));
    }

    fn reoffered(
        &mut self,
        now: Instant,
        flow: Flow,
        key: TransactionKey,
        request: Request,
        id: LegId,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (cseq, method) = request.cseq().unwrap_or_default();
        let is_invite = method == "INVITE";
        if cseq <= leg.remote_cseq {
            let refusal = Refusal::OutOfOrder;
            self.refuse(now, flow, &key, &request, 500, "Server Internal Error", refusal);
            return;
        }
        leg.remote_cseq = cseq;
        leg.refresh_target(&request, flow);
        let offer = request.sdp().map(<[u8]>::to_vec);
        if !is_invite && offer.is_none() {
            // A session refresh (RFC 4028) without news.
            let tag = leg.local_tag.clone();
            self.respond(now, &key, &request, 200, "OK", &tag, Acknowledged::Never);
            return;
        }
        if leg.pending.is_some() || leg.state != LegState::Confirmed {
            self.refuse(now, flow, &key, &request, 491, "Request Pending", Refusal::OutOfOrder);
            return;
        }
        if is_invite {
            leg.invite = Some((key.clone(), cseq));
            leg.expects_answer_in_ack = offer.is_none();
            self.respond(now, &key, &request, 100, "Trying", "", Acknowledged::Never);
        }
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.pending = Some(PendingRequest { key, request });
        }
        self.events.push_back(Event::Reoffered { leg: id, offer });
    }

    fn acknowledged(
        &mut self,
        now: Instant,
        key: &TransactionKey,
        local: SocketAddr,
        ack: &Request,
    ) {
        // The ACK of a refusal is in the INVITE's transaction.
        self.transactions.acknowledge(key);
        let Some(id) = self.leg_of(ack) else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let number = ack.cseq().map(|(number, _)| number);
        let Some((invite, _)) = leg.invite.take_if(|(_, cseq)| Some(*cseq) == number) else {
            return;
        };
        if leg.pending.is_some() {
            // An ACK before our answer acknowledges nothing.
            leg.invite = number.map(|number| (invite, number));
            return;
        }
        self.transactions.acknowledge(&invite);
        let answer = leg.expects_answer_in_ack.then(|| ack.sdp().map(<[u8]>::to_vec)).flatten();
        let closing = leg.state == LegState::Answered { closing: true };
        if matches!(leg.state, LegState::Answered { .. }) {
            leg.state = LegState::Confirmed;
        }
        if closing {
            self.send_bye(now, id, local);
        } else {
            self.events.push_back(Event::Confirmed { leg: id, answer });
        }
    }

    fn cancelled(&mut self, now: Instant, flow: Flow, key: &TransactionKey, request: &Request) {
        let invite = TransactionKey::cancelled_by(request);
        if !self.transactions.contains(&invite) {
            self.unknown_dialog(now, flow, key, request);
            return;
        }
        let pending = self.legs.iter_mut().find_map(|(id, leg)| {
            let cancelled = leg.pending.take_if(|pending| pending.key == invite)?;
            Some((*id, leg.state, leg.local_tag.clone(), cancelled))
        });
        let Some((id, state, tag, pending)) = pending else {
            // Too late: the INVITE has its final response, and CANCEL has no effect (RFC 3261 section 9.2).
            let tag = token(&mut self.random);
            self.respond(now, key, request, 200, "OK", &tag, Acknowledged::Never);
            return;
        };
        self.respond(now, key, request, 200, "OK", &tag, Acknowledged::Never);
        let by_ack = Acknowledged::ByTransaction;
        let (key, invite) = (pending.key, pending.request);
        self.respond(now, &key, &invite, 487, "Request Terminated", &tag, by_ack);
        if state == LegState::Proceeding {
            self.end(id, EndReason::Cancelled);
        }
    }

    fn hung_up(&mut self, now: Instant, key: &TransactionKey, request: &Request, id: LegId) {
        let tag = self.tag_for(Some(id));
        self.respond(now, key, request, 200, "OK", &tag, Acknowledged::Never);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some((invite, _)) = leg.invite.take() {
            self.transactions.acknowledge(&invite);
        }
        let pending = leg.pending.take();
        self.end(id, EndReason::Bye);
        if let Some(pending) = pending {
            let (key, request) = (pending.key, pending.request);
            let by_ack = Acknowledged::ByTransaction;
            self.respond(now, &key, &request, 487, "Request Terminated", &tag, by_ack);
        }
    }

    fn unknown_dialog(
        &mut self,
        now: Instant,
        flow: Flow,
        key: &TransactionKey,
        request: &Request,
    ) {
        let reason = "Call/Transaction Does Not Exist";
        self.refuse(now, flow, key, request, 481, reason, Refusal::UnknownDialog);
    }

    fn unsupported(
        &mut self,
        now: Instant,
        flow: Flow,
        key: &TransactionKey,
        request: &Request,
        options: &str,
    ) {
        let tag = token(&mut self.random);
        let response = ResponseBuilder::new(request, 420, "Bad Extension", peer(flow))
            .to_tag(&tag)
            .header("Unsupported", options)
            .build();
        let by_ack = Acknowledged::ByTransaction;
        self.transmits.extend(self.transactions.respond(now, key, response, by_ack));
        self.events.push_back(Event::Refused { reason: Refusal::UnsupportedExtension, flow });
    }

    #[allow(clippy::too_many_arguments)]
    fn refuse(
        &mut self,
        now: Instant,
        flow: Flow,
        key: &TransactionKey,
        request: &Request,
        code: u16,
        reason: &str,
        refusal: Refusal,
    ) {
        let tag = token(&mut self.random);
        let acknowledged = match request.method {
            Method::Known(rsip::Method::Invite) => Acknowledged::ByTransaction,
            Method::Known(_) | Method::Extension(_) => Acknowledged::Never,
        };
        self.respond(now, key, request, code, reason, &tag, acknowledged);
        self.events.push_back(Event::Refused { reason: refusal, flow });
    }

    /// Sends a response without a body. `tag` goes into To, unless it is empty or To has one.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn respond(
        &mut self,
        now: Instant,
        key: &TransactionKey,
        request: &Request,
        code: u16,
        reason: &str,
        tag: &str,
        acknowledged: Acknowledged,
    ) {
        let Some(flow) = self.transactions.flow(key) else { return };
        let mut response = ResponseBuilder::new(request, code, reason, peer(flow));
        if !tag.is_empty() {
            response = response.to_tag(tag);
        }
        if matches!(code, 405 | 501) {
            response = response.header("Allow", ALLOW);
        }
        if code == 503 {
            response = response.header("Retry-After", RETRY_AFTER_SECONDS);
        }
        let bytes = response.build();
        self.transmits.extend(self.transactions.respond(now, key, bytes, acknowledged));
    }

    fn leg_of(&self, request: &Request) -> Option<LegId> {
        self.legs.iter().find(|(_, leg)| leg.matches(request)).map(|(id, _)| *id)
    }

    fn tag_for(&mut self, leg: Option<LegId>) -> String {
        match leg.and_then(|leg| self.legs.get(&leg)) {
            Some(leg) => leg.local_tag.clone(),
            None => token(&mut self.random),
        }
    }
}
