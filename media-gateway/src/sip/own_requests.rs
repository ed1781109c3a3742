//! The requests that we send within legs: BYE, refreshes of the session, and the re-INVITE that moves a leg to another
//! flow.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::event::Event;
use super::leg::{EndReason, LegId, LegState, Move, OwnMethod, OwnRequest, SentAck, Timer};
use super::message::{ALLOW, HeaderValues, Response, via};
use super::registration::contact_uri;
use super::session_timer::SessionTimer;
use super::transaction::{ClientTransaction, LIFETIME};
use super::user_agent::{UserAgent, token};
use super::{Flow, Transmit};

/// Between the re-INVITEs of two legs that move: a proxy that has just come back is not flooded.
const MOVE_SPACING: Duration = Duration::from_millis(20);

/// When a refresh is tried again that was refused for now, or for which there is no connection.
const REFRESH_RETRY: Duration = Duration::from_secs(10);

/// After a 491, the side that did not make the Call-ID waits at most this, in milliseconds (RFC 3261 section 14.1).
const LONGEST_GLARE_WAIT_MS: u64 = 2000;

impl UserAgent {
    /// The device is registered: legs that came on an earlier flow of the registration follow it with a re-INVITE. Media
    /// often keep flowing after a lost connection, but the other side's requests would go nowhere.
    pub(super) fn follow_registration(&mut self, now: Instant) {
        let Some((flow, _)) = self.registered_on() else { return };
        let strays = self.legs.values_mut().filter(|leg| {
            leg.follows.is_some_and(|followed| followed != flow) && leg.state != LegState::Closing
        });
        let mut first_try = now;
        for leg in strays {
            // Whatever was under way is lost with its flow.
            leg.own_request = None;
            leg.follows = Some(flow);
            leg.moving = Some(Move::new(now, first_try));
            first_try += MOVE_SPACING;
        }
    }

    /// Does what a leg has to do now.
    pub(super) fn expire(&mut self, now: Instant, id: LegId, timer: Timer) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match timer {
            Timer::Unanswered => {
                let was_first = leg.state == LegState::Proceeding;
                self.reject(now, id, 480, "Temporarily Unavailable");
                if was_first {
                    let reason = EndReason::NotAnswered;
                    self.events.push_back(Event::Ended { leg: id, reason });
                }
            }
            Timer::RepeatAnswer => {
                if let Some(answer) = &mut leg.unacknowledged
                    && answer.again.is_due(now)
                {
                    self.transmits.push_back(answer.transmit.clone());
                }
            }
            // RFC 3261 section 13.3.1.4: the session is to be terminated with a BYE.
            Timer::NotAcknowledged => self.terminate(now, id, EndReason::NotAcknowledged),
            Timer::SessionExpired => self.terminate(now, id, EndReason::SessionExpired),
            Timer::OwnRequest => {
                let own = leg.own_request.as_mut();
                let is_alive =
                    own.is_some_and(|own| own.transaction.handle_timeout(now, &mut self.transmits));
                if !is_alive {
                    leg.own_request = None;
                    self.unanswered(now, id);
                }
            }
            Timer::Refresh => {
                let method = if leg.allows_update { OwnMethod::Update } else { OwnMethod::Invite };
                let flow = leg.flow;
                if self.is_open(flow) {
                    self.send_own(now, id, method);
                } else {
                    self.retry(now, id, REFRESH_RETRY);
                }
            }
            Timer::Move => match self.registered_on() {
                Some((flow, local)) => {
                    if let Some(leg) = self.legs.get_mut(&id) {
                        (leg.flow, leg.local) = (flow, local);
                    }
                    // Not an UPDATE: RingCentral answers one from a new connection with 481.
                    self.send_own(now, id, OwnMethod::Invite);
                }
                None => self.try_later(now, id),
            },
        }
    }

    /// Takes a response to a BYE, re-INVITE or UPDATE of ours.
    pub(super) fn handle_leg_response(&mut self, now: Instant, response: &Response) {
        let Some(branch) = response.branch() else { return };
        if response.code < 200 {
            let own = self.legs.values_mut().filter_map(|leg| leg.own_request.as_mut());
            for own in own.filter(|own| own.transaction.branch == branch) {
                own.transaction.provisional();
            }
            return;
        }
        if let Some(leg) =
            self.byes.iter().find(|(_, bye)| bye.branch == branch).map(|(leg, _)| *leg)
        {
            self.byes.remove(&leg);
            self.end(leg, EndReason::HungUp);
            return;
        }
        for (id, leg) in &mut self.legs {
            if let Some(ack) = leg.sent_ack.as_ref().filter(|ack| ack.branch == branch) {
                self.transmits.push_back(ack.transmit.clone());
                return;
            }
            if let Some(own) = leg.own_request.take_if(|own| own.transaction.branch == branch) {
                let id = *id;
                self.own_request_answered(now, id, own, response);
                return;
            }
        }
    }

    /// Ends a leg with a BYE, and for the shell at once.
    fn terminate(&mut self, now: Instant, id: LegId, reason: EndReason) {
        self.send_bye(now, id);
        self.end(id, reason);
    }

    pub(super) fn send_bye(&mut self, now: Instant, id: LegId) {
        self.terminate_pending(now, id);
        let registered = self.registered_on();
        let Some(flow) = self.legs.get(&id).map(|leg| leg.flow) else { return };
        let is_open = self.is_open(flow);
        let branch = branch(self);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some(registered) = registered.filter(|_| !is_open) {
            (leg.flow, leg.local) = registered;
        }
        leg.state = LegState::Closing;
        leg.unacknowledged = None;
        let via = via(leg.flow, leg.local, &branch);
        let (_, bytes) = leg.dialog.request("BYE", via, Vec::new(), None);
        let flow = leg.flow;
        let bye = ClientTransaction::send(now, flow, branch, bytes, LIFETIME, &mut self.transmits);
        self.byes.insert(id, bye);
    }

    fn send_own(&mut self, now: Instant, id: LegId, method: OwnMethod) {
        let branch = branch(self);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let contact = contact_uri(&self.account, leg.flow, leg.local);
        let mut headers = vec![("Contact", format!("<{contact}>")), ("Allow", ALLOW.to_owned())];
        headers.extend(leg.session.into_iter().flat_map(|session| session.terms.in_request()));
        let via = via(leg.flow, leg.local, &branch);
        let (cseq, bytes) = match method {
            OwnMethod::Invite => leg.dialog.request("INVITE", via, headers, Some(&leg.sdp)),
            OwnMethod::Update => leg.dialog.request("UPDATE", via, headers, None),
        };
        let transmits = &mut self.transmits;
        let transaction =
            ClientTransaction::send(now, leg.flow, branch, bytes, LIFETIME, transmits);
        leg.own_request = Some(OwnRequest { method, cseq, transaction });
    }

    fn own_request_answered(
        &mut self,
        now: Instant,
        id: LegId,
        own: OwnRequest,
        response: &Response,
    ) {
        if response.code < 300
            && let Some(leg) = self.legs.get_mut(&id)
        {
            leg.dialog.refresh_target(response);
        }
        if own.method == OwnMethod::Invite {
            self.send_ack(id, own.cseq, &own.transaction.branch, response.code);
        }
        let glare_wait = self.random.random_range(0..LONGEST_GLARE_WAIT_MS);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.state == LegState::Closing {
            return;
        }
        let longer = leg.session.and_then(|session| session.terms.after_too_small(response));
        match (response.code, longer, &mut leg.session) {
            (200..300, _, session) => {
                leg.moving = None;
                if let Some(session) = session {
                    *session = SessionTimer::start(now, session.terms.after_response(response));
                }
                if own.method == OwnMethod::Invite {
                    let answer = response.sdp().map(<[u8]>::to_vec);
                    self.events.push_back(Event::Confirmed { leg: id, answer });
                }
            }
            (481, ..) => self.terminate(now, id, EndReason::Unreachable),
            (408, ..) => self.unanswered(now, id),
            (405 | 501, ..) if own.method == OwnMethod::Update => {
                leg.allows_update = false;
                self.retry(now, id, Duration::ZERO);
            }
            (422, Some(longer), Some(session)) => {
                session.terms = longer;
                self.retry(now, id, Duration::ZERO);
            }
            // Both sides asked at once: the leg is alive.
            (491, ..) => self.retry(now, id, Duration::from_millis(glare_wait)),
            // The other side's own user agent does not want it, so it is there.
            (488, _, session) => {
                leg.moving = None;
                if let Some(session) = session {
                    *session = SessionTimer::start(now, session.terms);
                }
            }
            _ => self.try_later(now, id),
        }
    }

    fn send_ack(&mut self, id: LegId, cseq: u32, invite_branch: &str, code: u16) {
        // The ACK of a 2xx is a transaction of its own and goes to the new target (RFC 3261 section 13.2.2.4), that of a
        // refusal belongs to the INVITE's (section 17.1.1.3).
        let ack_branch = if code < 300 { branch(self) } else { invite_branch.to_owned() };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let bytes = leg.dialog.ack(cseq, via(leg.flow, leg.local, &ack_branch));
        let transmit = Transmit { flow: leg.flow, bytes };
        self.transmits.push_back(transmit.clone());
        leg.sent_ack = Some(SentAck { branch: invite_branch.to_owned(), transmit });
    }

    /// Nobody answered our request. A leg that moves may still be reached later; otherwise RFC 4028 section 10 ends it.
    fn unanswered(&mut self, now: Instant, id: LegId) {
        match self.legs.get(&id) {
            Some(leg) if leg.state == LegState::Closing => {}
            Some(leg) if leg.moving.is_some() => self.try_later(now, id),
            Some(_) => self.terminate(now, id, EndReason::Unreachable),
            None => {}
        }
    }

    /// Our request was refused for now.
    fn try_later(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match leg.moving {
            Some(moving) => match moving.again(now) {
                Some(again) => leg.moving = Some(again),
                None => self.terminate(now, id, EndReason::Unreachable),
            },
            None => self.retry(now, id, REFRESH_RETRY),
        }
    }

    /// Tries again what was tried last.
    fn retry(&mut self, now: Instant, id: LegId, wait: Duration) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some(moving) = &mut leg.moving {
            moving.retry_at = now + wait;
        } else if let Some(session) = &mut leg.session {
            session.refresh_at = Some(now + wait);
        }
    }

    /// The flow of the registration, and our address on it.
    fn registered_on(&self) -> Option<(Flow, SocketAddr)> {
        self.home.filter(|(flow, _)| self.registered_flow() == Some(*flow))
    }
}

fn branch(user_agent: &mut UserAgent) -> String {
    format!("z9hG4bK{}", token(&mut user_agent.random))
}
