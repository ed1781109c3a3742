//! Serves the requests within a leg, and answers those that waited for the shell.

use std::net::SocketAddr;
use std::time::Instant;

use rand::RngExt;

use super::event::{Event, Refusal};
use super::leg::{EndReason, Incoming, LegId, LegState, PendingRequest, Unacknowledged};
use super::message::{ALLOW, HeaderValues, Request, ResponseBuilder};
use super::registration::contact_uri;
use super::serve::response_to;
use super::session_timer::{SessionTimer, Terms};
use super::transaction::TransactionKey;
use super::user_agent::{USER_AGENT, UserAgent};

/// The Retry-After of a 500 to a request that came too early, in seconds (RFC 3261 section 14.2).
const RETRY_AFTER: std::ops::RangeInclusive<u8> = 0..=10;

impl UserAgent {
    /// Answers the INVITE, re-INVITE or UPDATE that waits on a leg with 200 and this SDP. `local` is our address on the
    /// leg's flow.
    pub fn answer(&mut self, now: Instant, leg: LegId, local: SocketAddr, sdp: &str) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        let Some(PendingRequest { incoming, terms, .. }) = state.pending.take() else { return };
        state.local = local;
        state.sdp = sdp.to_owned();
        let Some(response) = self.refreshed(now, &incoming, leg, terms) else { return };
        let transmit = self.send_response(now, &incoming, 200, response.sdp(sdp));
        let Some(state) = self.legs.get_mut(&leg) else { return };
        if incoming.is_invite() {
            let cseq = incoming.request.cseq().map_or(0, |(number, _)| number);
            let expects_answer = incoming.request.sdp().is_none();
            state.unacknowledged = Some(Unacknowledged::new(now, cseq, transmit, expects_answer));
        }
        if state.state == LegState::Proceeding {
            state.state = LegState::Answered { closing: false };
        }
    }

    /// Refuses what waits on a leg. A refused first INVITE ends the leg, without an event.
    pub fn reject(&mut self, now: Instant, leg: LegId, code: u16, reason: &str) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        let Some(pending) = state.pending.take() else { return };
        let tag = state.dialog.local_tag.clone();
        if state.state == LegState::Proceeding {
            self.legs.remove(&leg);
        }
        self.respond(now, &pending.incoming, code, reason, &tag);
    }

    /// A re-INVITE or UPDATE.
    pub(super) fn reoffered(&mut self, now: Instant, incoming: Incoming, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let cseq = incoming.request.cseq().map_or(0, |(number, _)| number);
        if !leg.dialog.advance(cseq) {
            self.refuse(now, &incoming, 500, "Server Internal Error", Refusal::OutOfOrder);
            return;
        }
        // Only our 200 can have told them the tag: its ACK is lost or late.
        let has_our_answer = leg.unacknowledged.take_if(|answer| !answer.expects_answer).is_some();
        if has_our_answer {
            self.confirmed(now, id, None);
        }
        let Some(leg) = self.legs.get(&id) else { return };
        let (state, tag) = (leg.state, leg.dialog.local_tag.clone());
        if state == LegState::Closing {
            self.unknown_dialog(now, &incoming);
            return;
        }
        let Ok(terms) = Terms::of_request(&incoming.request) else {
            self.interval_too_small(now, &incoming);
            return;
        };
        let offer = incoming.request.sdp().map(<[u8]>::to_vec);
        let only_refreshes = !incoming.is_invite() && offer.is_none();
        if only_refreshes && state != LegState::Proceeding {
            // A session refresh (RFC 4028) without news.
            if let Some(response) = self.refreshed(now, &incoming, id, terms) {
                self.send_response(now, &incoming, 200, response);
            }
        } else if leg.pending.is_some() {
            let seconds = self.random.random_range(RETRY_AFTER).to_string();
            let response = response_to(&incoming, 500, "Server Internal Error", &tag)
                .header("Retry-After", &seconds);
            self.send_response(now, &incoming, 500, response);
            let reason = Refusal::OutOfOrder;
            self.events.push_back(Event::Refused { reason, flow: incoming.flow });
        } else if leg.has_offered() {
            self.refuse(now, &incoming, 491, "Request Pending", Refusal::OutOfOrder);
        } else {
            if incoming.is_invite() {
                self.send_trying(now, &incoming);
            }
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.pending = Some(PendingRequest::new(now, incoming, terms));
            }
            self.events.push_back(Event::Reoffered { leg: id, offer });
        }
    }

    pub(super) fn acknowledged(&mut self, now: Instant, key: &TransactionKey, ack: &Request) {
        // The ACK of a refusal is in the INVITE's transaction.
        self.transactions.acknowledge(key);
        let Some(id) = self.leg_of(ack) else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let number = ack.cseq().map(|(number, _)| number);
        let answered = leg.unacknowledged.take_if(|answer| Some(answer.cseq) == number);
        if let Some(Unacknowledged { expects_answer, .. }) = answered {
            let answer = ack.sdp().filter(|_| expects_answer).map(<[u8]>::to_vec);
            self.confirmed(now, id, answer);
        }
    }

    pub(super) fn cancelled(&mut self, now: Instant, incoming: &Incoming) {
        let invite = TransactionKey::cancelled_by(&incoming.request);
        if !self.transactions.contains(&invite) {
            self.unknown_dialog(now, incoming);
            return;
        }
        let cancelled = self.legs.iter_mut().find_map(|(id, leg)| {
            let pending = leg.pending.take_if(|pending| pending.incoming.key == invite)?;
            Some((*id, leg.state, leg.dialog.local_tag.clone(), pending.incoming))
        });
        let Some((id, state, tag, invite)) = cancelled else {
            // Too late: the INVITE has its final response, and CANCEL has no effect (RFC 3261 section 9.2).
            let leg = self.legs.iter().find(|(_, leg)| leg.dialog.was_opened_by(&incoming.request));
            let tag = self.tag_for(leg.map(|(id, _)| *id));
            self.respond(now, incoming, 200, "OK", &tag);
            return;
        };
        self.respond(now, incoming, 200, "OK", &tag);
        self.respond(now, &invite, 487, "Request Terminated", &tag);
        if state == LegState::Proceeding {
            self.end(id, EndReason::Cancelled);
        }
    }

    pub(super) fn hung_up(&mut self, now: Instant, incoming: &Incoming, id: LegId) {
        let tag = self.tag_for(Some(id));
        self.respond(now, incoming, 200, "OK", &tag);
        self.terminate_pending(now, id);
        self.end(id, EndReason::Bye);
    }

    /// The leg ends while a request waits for its answer (RFC 3261 section 15.1.2).
    pub(super) fn terminate_pending(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let tag = leg.dialog.local_tag.clone();
        if let Some(pending) = leg.pending.take() {
            self.respond(now, &pending.incoming, 487, "Request Terminated", &tag);
        }
    }

    /// The other side has our 200.
    fn confirmed(&mut self, now: Instant, id: LegId, answer: Option<Vec<u8>>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match leg.state {
            LegState::Answered { closing: true } => return self.send_bye(now, id),
            LegState::Answered { closing: false } => leg.state = LegState::Confirmed,
            LegState::Closing => return,
            LegState::Proceeding | LegState::Confirmed => {}
        }
        self.events.push_back(Event::Confirmed { leg: id, answer });
    }

    /// An INVITE or UPDATE of theirs succeeds: notes what it says of the leg, and begins the 200.
    fn refreshed(
        &mut self,
        now: Instant,
        incoming: &Incoming,
        id: LegId,
        terms: Terms,
    ) -> Option<ResponseBuilder> {
        let registered = self.registered_flow();
        let leg = self.legs.get_mut(&id)?;
        leg.flow = incoming.flow;
        if leg.follows.is_some() && registered == Some(incoming.flow) {
            // They have found us on the new flow themselves.
            (leg.follows, leg.moving) = (registered, None);
        }
        leg.dialog.refresh_target(&incoming.request);
        leg.session = Some(SessionTimer::start(now, terms));
        let contact = contact_uri(&self.account, leg.flow, leg.local);
        let response = response_to(incoming, 200, "OK", &leg.dialog.local_tag)
            .header("Contact", &format!("<{contact}>"))
            .header("Allow", ALLOW)
            .header("User-Agent", USER_AGENT);
        Some(terms.in_response(response))
    }
}
