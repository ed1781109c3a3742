//! The SIP protocol core: every message, timer and leg of the simulated cloud, without sockets.

use super::Flow;
use super::dialog::{Dialog, Identifiers, Output, belongs_to};
use super::leg::{Invitation, LegEvent, LegFailure, LegId};
use super::message::{call_id, parameter, response_to};
use super::oddity::{odd_spelling, segments};
use super::registrar::{Binding, Registrar};
use crate::account::Account;
use crate::variant::Variant;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rsip::headers::UntypedHeader;
use rsip::prelude::HeadersExt;
use rsip::{Method, Request, SipMessage};
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// A message to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transmit {
    /// The way to send it.
    pub(crate) flow: Flow,
    /// The message.
    pub(crate) message: Bytes,
}

/// Something that the application needs to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The binding of the device of the account with this number has changed.
    Registration(usize, Option<Binding>),
    /// News of a leg.
    Leg(LegId, LegEvent),
}

/// The registrars of all accounts and every leg. Messages and time go in; drain the transmits and events after
/// each call, then wait until [`Endpoint::next_timeout`].
pub(crate) struct Endpoint {
    tenants: Vec<Tenant>,
    legs: HashMap<LegId, Dialog>,
    /// The number of the account whose device each leg calls.
    tenant_of: HashMap<LegId, usize>,
    leg_of_call_id: HashMap<String, LegId>,
    rng: StdRng,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// What one account has of its own.
struct Tenant {
    registrar: Registrar,
    announced: Option<Binding>,
}

impl Endpoint {
    /// Without accounts nobody can register.
    pub(crate) fn new(accounts: Vec<Account>, seed: u64) -> Self {
        let tenant = |account| Tenant { registrar: Registrar::new(account), announced: None };
        Self {
            tenants: accounts.into_iter().map(tenant).collect(),
            tenant_of: HashMap::new(),
            legs: HashMap::new(),
            leg_of_call_id: HashMap::new(),
            rng: StdRng::seed_from_u64(seed),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Calls the device of the account with a number. News of the leg come as [`Event::Leg`].
    pub(crate) fn invite(
        &mut self,
        now: Instant,
        leg: LegId,
        tenant: usize,
        invitation: Invitation,
    ) {
        let ids = Identifiers {
            call_id: format!("{:032x}", self.rng.random::<u128>()),
            tag: format!("{:016x}", self.rng.random::<u64>()),
            branch: format!("{:016x}", self.rng.random::<u64>()),
            cseq: self.rng.random_range(1..100_000),
        };
        let (call_id, variant) = (ids.call_id.clone(), invitation.variant);
        let mut output = Output::default();
        let binding = self.tenants.get(tenant).and_then(|it| it.registrar.binding(now));
        let dialog = binding.and_then(|binding| {
            let (flow, contact) = (binding.flow, &binding.contact);
            Dialog::invite(now, flow, contact, invitation, ids, &mut output).ok()
        });
        match dialog {
            Some(dialog) => {
                let flow = dialog.flow;
                self.leg_of_call_id.insert(call_id, leg);
                self.tenant_of.insert(leg, tenant);
                self.legs.insert(leg, dialog);
                if variant == Variant::Segmented && !flow.is_unreliable() {
                    output.messages =
                        output.messages.iter().flat_map(|it| segments(it, &flow)).collect();
                }
                self.emit(leg, flow, output);
            }
            None => {
                let failure = LegEvent::Failed(LegFailure::NotRegistered);
                self.events.push_back(Event::Leg(leg, failure));
            }
        }
    }

    /// Answers the device's offer in the ACK.
    pub(crate) fn acknowledge(&mut self, leg: LegId, sdp: String) {
        self.with_leg(leg, |dialog, output| dialog.acknowledge(sdp, output));
    }

    /// Sends a re-INVITE with a new offer; a leg that is not up, or has one under way, is left alone.
    pub(crate) fn reoffer(&mut self, now: Instant, leg: LegId, sdp: String) {
        self.with_leg(leg, |dialog, output| dialog.reoffer(now, sdp, output));
    }

    /// Refreshes the session with an UPDATE without a body (RFC 4028), unless something is under way.
    pub(crate) fn refresh(&mut self, now: Instant, leg: LegId) {
        self.with_leg(leg, |dialog, output| dialog.refresh(now, output));
    }

    /// The way that a leg's messages take.
    pub(crate) fn flow_of(&self, leg: LegId) -> Option<Flow> {
        self.legs.get(&leg).map(|dialog| dialog.flow)
    }

    /// Ends a leg; unknown and ended legs are left alone.
    pub(crate) fn hang_up(&mut self, now: Instant, leg: LegId) {
        let tenant = self.tenant_of.get(&leg).and_then(|number| self.tenants.get(*number));
        let newest_flow =
            tenant.and_then(|it| it.registrar.binding(now)).map(|binding| binding.flow);
        self.with_leg(leg, |dialog, output| dialog.hang_up(now, newest_flow, output));
    }

    /// Takes a message that came over `flow`.
    pub(crate) fn handle_message(&mut self, now: Instant, flow: Flow, message: SipMessage) {
        match message {
            SipMessage::Response(response) => {
                let leg = call_id(&response).and_then(|id| self.leg_of_call_id.get(id)).copied();
                if let Some(leg) = leg {
                    self.with_leg(leg, |dialog, output| {
                        dialog.handle_response(now, &response, output);
                    });
                }
            }
            SipMessage::Request(request) if request.method == Method::Register => {
                self.handle_register(now, flow, &request);
            }
            SipMessage::Request(request) => self.handle_request(now, flow, &request),
        }
        self.announce_registration(now);
    }

    /// A TCP connection has closed.
    pub(crate) fn handle_flow_closed(&mut self, now: Instant, flow: Flow) {
        self.tenants.iter_mut().for_each(|it| it.registrar.handle_flow_closed(&flow));
        let closed: Vec<LegId> =
            self.legs.iter().filter(|(_, dialog)| dialog.flow == flow).map(|(id, _)| *id).collect();
        for leg in closed {
            self.with_leg(leg, |dialog, output| dialog.handle_flow_closed(now, output));
        }
        self.announce_registration(now);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<LegId> = self
            .legs
            .iter()
            .filter(|(_, dialog)| dialog.next_timeout().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for leg in due {
            self.with_leg(leg, |dialog, output| dialog.handle_timeout(now, output));
        }
        let (leg_of_call_id, tenant_of) = (&mut self.leg_of_call_id, &mut self.tenant_of);
        self.legs.retain(|leg, dialog| {
            let is_over = dialog.is_over(now);
            if is_over {
                tenant_of.remove(leg);
                leg_of_call_id.remove(dialog.call_id());
            }
            !is_over
        });
        self.announce_registration(now);
    }

    /// When [`Endpoint::handle_timeout`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let legs = self.legs.values().filter_map(Dialog::next_timeout);
        let announced = self.tenants.iter().filter_map(|it| it.announced.as_ref());
        legs.chain(announced.map(|binding| binding.expires_at)).min()
    }

    /// The next message to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whose device it is, the user of the address says.
    fn handle_register(&mut self, now: Instant, flow: Flow, request: &Request) {
        let own = self.tenants.iter().position(|it| it.registrar.serves(request));
        let Some(tenant) = self.tenants.get_mut(own.unwrap_or(0)) else { return };
        let message = tenant.registrar.handle_register(now, flow, request, &mut self.rng).into();
        self.transmits.push_back(Transmit { flow, message });
    }

    fn handle_request(&mut self, now: Instant, flow: Flow, request: &Request) {
        let leg = call_id(request).and_then(|id| self.leg_of_call_id.get(id)).copied();
        let leg =
            leg.filter(|leg| self.legs.get(leg).is_some_and(|dialog| belongs_to(dialog, request)));
        match (leg, request.method) {
            (Some(leg), _) => {
                let mut output = Output::default();
                if let Some(dialog) = self.legs.get_mut(&leg) {
                    dialog.handle_request(now, &flow, request, &mut output);
                }
                self.emit(leg, flow, output);
            }
            (None, Method::Ack) => {}
            (None, method) => {
                let status = match method {
                    Method::Options => 200,
                    // The supervisor only listens: outgoing calls are not part of this cloud.
                    Method::Invite if !is_in_dialog(request) => 403,
                    Method::Invite
                    | Method::Bye
                    | Method::Cancel
                    | Method::Update
                    | Method::Info => 481,
                    _ => 405,
                };
                let tag = format!("{:016x}", self.rng.random::<u64>());
                let message = response_to(request, &flow, status, &tag, vec![]).into();
                self.transmits.push_back(Transmit { flow, message });
            }
        }
    }

    fn with_leg(&mut self, leg: LegId, act: impl FnOnce(&mut Dialog, &mut Output)) {
        let Some(dialog) = self.legs.get_mut(&leg) else { return };
        let mut output = Output::default();
        act(dialog, &mut output);
        let flow = dialog.flow;
        self.emit(leg, flow, output);
    }

    fn emit(&mut self, leg: LegId, flow: Flow, output: Output) {
        let is_odd =
            self.legs.get(&leg).is_some_and(|dialog| dialog.variant == Variant::OddHeaders);
        self.transmits.extend(output.messages.into_iter().map(|message| {
            let message = if is_odd { odd_spelling(&message) } else { message };
            Transmit { flow, message }
        }));
        self.events.extend(output.events.into_iter().map(|event| Event::Leg(leg, event)));
    }

    fn announce_registration(&mut self, now: Instant) {
        for (number, tenant) in self.tenants.iter_mut().enumerate() {
            let current = tenant.registrar.binding(now);
            if current != tenant.announced.as_ref() {
                tenant.announced = current.cloned();
                self.events.push_back(Event::Registration(number, tenant.announced.clone()));
            }
        }
    }
}

fn is_in_dialog(request: &Request) -> bool {
    request.to_header().is_ok_and(|to| parameter(to.value(), "tag").is_some())
}

#[cfg(test)]
mod tests;
