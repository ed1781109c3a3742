//! The supervision of one call.
//!
//! Everything that is told ends in [`Call::settle`], which compares what is with what should be and asks for the next
//! step, so that it does not matter in which order, or how often, things are told. One REST request is under way at a
//! time: the two parties are asked for one after the other.
//!
//! Two participants are heard on a leg each. When a third joins, legs that are up stay: their labels are right, and
//! going over to the mixed leg would cost a gap. Once one of them ends, or when there were none yet, the whole session
//! is heard on one mixed leg, which stays when the third leaves, until it ends.

mod settle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sidetone_proto::CallId;
use tracing::warn;

use super::action::{Action, Hold, Outcome, Refusal};
use super::attachment::{Attachment, State};
use super::consent::{self, Consent, Decision, Notice, Policies};
use super::roster::{Change, Plan, Roster, is_same};
use super::view::Stage;
use crate::ringcentral::{Advice, PeerId, Session, SessionParty};
use crate::sip::LegId;
use crate::supervision::Target;

/// The longest wait between attempts that RingCentral refused because of the call's state.
pub(super) const LAST_RETRY: Duration = Duration::from_secs(30);

/// The longest wait while RingCentral is not well: legs are back within ten seconds of its recovery.
const LAST_UNAVAILABLE: Duration = Duration::from_secs(8);

/// After a leg has ended, or a stuck party was deleted, RingCentral needs a moment until the session tells.
const SETTLING: Duration = Duration::from_secs(1);

/// When a look verifies that RingCentral lists us on the call.
const VERIFICATION: Duration = Duration::from_secs(5);

/// Between looks at a call of which nothing else is heard.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Between looks while the other party rings.
const RINGING_INTERVAL: Duration = Duration::from_secs(2);

/// Between looks while the agent is away or has not picked up: events tell sooner.
const ABSENT_INTERVAL: Duration = Duration::from_secs(15);

/// What every call shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    /// The extension that owns the login, once known.
    pub(super) owner: Option<&'a str>,
    pub(super) is_registered: bool,
    pub(super) policies: &'a Policies,
}

/// How a call stopped being followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// Everyone has left.
    Over,
    /// No monitored agent is on it, but it goes on.
    AgentLeft,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    id: CallId,
    /// Whose calls are listened to, by extension id.
    agents: Arc<[String]>,
    /// The one for whom this call is.
    pub(super) agent: Option<String>,
    pub(super) roster: Roster,
    attachments: Vec<Attachment>,
    pub(super) consent: Consent,
    /// Whether the session is heard on one leg, whoever is on it.
    is_mixed: bool,
    is_stopped: bool,
    is_released: bool,
    /// What the shell was last told about the call's audio.
    is_withheld: bool,
    hold: Hold,
    /// When that of which was told last happened, in milliseconds since the Unix epoch.
    happened_unix_ms: Option<i64>,
    /// What the relay was last told about consent.
    notice: Option<Notice>,
    /// Whether the relay knows the call: a leg was up.
    is_known: bool,
    /// A stuck party of ours is to be deleted, if the next look finds one.
    cleans_up: bool,
    request: Option<Request>,
    look_by: Option<Instant>,
    look_delay: Duration,
    looked_at: Option<Instant>,
    heard_at: Instant,
    pub(super) stage: Stage,
    pub(super) since: Instant,
    /// Why looking fails, or what a look has found wrong.
    trouble: Option<String>,
    finish: Option<Finish>,
    actions: VecDeque<Action>,
    wake: Option<Instant>,
}

/// The REST request that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Look,
    Supervise,
    Delete,
}

impl Call {
    /// A call of which nothing is known yet. `looks` is false when an event will tell once somebody picks up.
    pub(super) fn new(
        now: Instant,
        id: CallId,
        agents: Arc<[String]>,
        is_mixed: bool,
        looks: bool,
    ) -> Self {
        Self {
            id,
            agents,
            agent: None,
            roster: Roster::default(),
            attachments: Vec::new(),
            consent: Consent::default(),
            is_mixed,
            is_stopped: false,
            is_released: false,
            is_withheld: false,
            hold: Hold::default(),
            happened_unix_ms: None,
            notice: None,
            is_known: false,
            cleans_up: false,
            request: None,
            look_by: Some(if looks { now } else { now + ABSENT_INTERVAL }),
            look_delay: SETTLING,
            looked_at: None,
            heard_at: now,
            stage: Stage::Looking,
            since: now,
            trouble: None,
            finish: None,
            actions: VecDeque::new(),
            wake: None,
        }
    }

    /// An event tells of a party, and when it happened (milliseconds since the Unix epoch). Gives where the party has
    /// gone to, if it has gone to another call.
    pub(super) fn hear(
        &mut self,
        context: Context<'_>,
        (sequence, unix_ms): (u64, Option<i64>),
        party: SessionParty,
    ) -> Option<PeerId> {
        let moved = party.moved_to().cloned();
        self.heard_at = context.now;
        match self.roster.hear(sequence, party) {
            Change::Nothing => return None,
            Change::Hold => self.attachments.iter_mut().for_each(Attachment::hurry),
            Change::Other => {
                self.attachments.iter_mut().for_each(Attachment::hurry);
                let agent = self.roster.agent(&self.agents, self.agent.as_deref());
                // While the agent's phone rings, there is nothing to see yet.
                if self.looked_at.is_some() || agent.is_none_or(|agent| !agent.is_ringing()) {
                    self.look_at(context.now);
                }
            }
        }
        self.happened_unix_ms = unix_ms;
        self.settle(context);
        moved
    }

    /// An agent's presence lists the call, or does not any more.
    pub(super) fn listed(&mut self, context: Context<'_>, is_listed: bool) {
        let is_recent = self.looked_at.is_some_and(|at| at + RINGING_INTERVAL > context.now);
        if is_listed {
            self.heard_at = context.now;
            if self.looked_at.is_none() {
                self.look_at(context.now);
            }
        } else if !is_recent {
            self.look_at(context.now);
        }
        self.settle(context);
    }

    /// Events may have been missed, or nothing is to be heard: read the session.
    pub(super) fn look_again(&mut self, context: Context<'_>) {
        self.look_at(context.now);
        self.settle(context);
    }

    /// RingCentral is well again after an outage: what it did not serve is asked for now.
    pub(super) fn recover(&mut self, context: Context<'_>) {
        self.attachments.iter_mut().for_each(Attachment::hurry);
        if self.trouble.is_some() {
            self.look_at(context.now);
        }
        self.settle(context);
    }

    pub(super) fn looked(&mut self, context: Context<'_>, session: Result<Session, Refusal>) {
        let now = context.now;
        self.request = None;
        match session {
            Ok(session) => {
                let before = self.plan();
                self.looked_at = Some(now);
                self.look_delay = SETTLING;
                self.trouble = None;
                if !self.roster.looked(session) {
                    self.look_at(now);
                }
                if self.plan() != before {
                    self.attachments.iter_mut().for_each(Attachment::hurry);
                }
                self.verify(context);
            }
            Err(Refusal { advice: Advice::Gone, .. }) => {
                self.looked_at = Some(now);
                self.roster = Roster::default();
            }
            Err(Refusal { advice, why }) => {
                let pause = match advice {
                    Advice::Wait(pause) => pause,
                    Advice::Misconfigured => CHECK_INTERVAL,
                    _ => self.look_delay,
                };
                self.look_delay = (self.look_delay * 2).min(LAST_UNAVAILABLE);
                self.look_at(now + pause);
                self.trouble = Some(why);
            }
        }
        self.settle(context);
    }

    pub(super) fn supervised(&mut self, context: Context<'_>, target: &Target, outcome: Outcome) {
        let now = context.now;
        self.request = None;
        match outcome {
            Outcome::Accepted { supervisor } => {
                if let Some(attachment) = self.attachment(target) {
                    attachment.accepted(now, supervisor);
                }
            }
            Outcome::Denied { why } => {
                if let Some(attachment) = self.attachment(target) {
                    attachment.wait(now, LAST_UNAVAILABLE, &why);
                }
            }
            Outcome::Refused(refusal) => self.refused(now, target, &refusal),
        }
        self.settle(context);
    }

    pub(super) fn deleted(
        &mut self,
        context: Context<'_>,
        party: &str,
        deleted: Result<(), Refusal>,
    ) {
        self.request = None;
        let refusal = deleted.err().filter(|refusal| refusal.advice != Advice::Gone);
        match refusal {
            None => {
                self.roster.forget(party);
                self.look_at(context.now + SETTLING);
            }
            Some(refusal) => {
                // The next attempt will be refused again, and bring us back here.
                warn!(call = %self.id, party, why = refusal.why, "could not remove the stuck party");
                self.cleans_up = false;
            }
        }
        self.settle(context);
    }

    /// A leg is answered. `false`: nobody wants it, and it is to be hung up.
    pub(super) fn leg_up(
        &mut self,
        context: Context<'_>,
        target: &Target,
        leg: LegId,
        supervisor: Option<String>,
    ) -> bool {
        let now = context.now;
        let Some(attachment) = self.attachment(target).filter(|it| it.leg().is_none()) else {
            return false;
        };
        attachment.up(now, leg, supervisor);
        self.is_known = true;
        if self.consent.is_required() {
            // Consent may have changed since the leg was asked for.
            let (call, is_withheld) = (self.id.clone(), self.is_withheld());
            self.actions.push_back(Action::Forward { call, is_withheld });
        }
        if self.hold != Hold::default() {
            self.tell_hold(None);
        }
        self.look_at(now + VERIFICATION);
        self.settle(context);
        true
    }

    /// An INVITE could not be answered: RingCentral is left with a party that rings for good.
    pub(super) fn leg_failed(&mut self, context: Context<'_>, target: &Target, why: &str) {
        if let Some(attachment) = self.attachment(target).filter(|it| it.leg().is_none()) {
            attachment.strike(context.now, why);
            self.cleans_up = true;
            self.look_at(context.now + SETTLING);
        }
        self.settle(context);
    }

    pub(super) fn leg_ended(&mut self, context: Context<'_>, leg: LegId) {
        if let Some(attachment) = self.attachments.iter_mut().find(|it| it.leg() == Some(leg)) {
            attachment.ended(context.now, SETTLING);
            self.look_at(context.now + SETTLING);
        }
        self.settle(context);
    }

    /// Two legs turned out to carry the same audio: their labels mean nothing.
    pub(super) fn same_audio(&mut self, context: Context<'_>) {
        warn!(call = %self.id, "both legs carry the same audio, going over to one mixed leg");
        self.is_mixed = true;
        self.settle(context);
    }

    /// Somebody asks for the call by hand.
    pub(super) fn supervise(&mut self, context: Context<'_>, agent: String) {
        if !self.agents.contains(&agent) {
            self.agents = self.agents.iter().cloned().chain([agent.clone()]).collect();
        }
        self.agent = Some(agent);
        self.is_stopped = false;
        self.attachments.iter_mut().for_each(Attachment::start_over);
        self.look_again(context);
    }

    /// Somebody does not want the call to be listened to.
    pub(super) fn stop(&mut self, context: Context<'_>) {
        self.is_stopped = true;
        self.settle(context);
    }

    /// Somebody has told of consent.
    pub(super) fn consented(
        &mut self,
        context: Context<'_>,
        state: consent::State,
        source: consent::Source,
    ) {
        self.consent.learn(state, source);
        self.settle(context);
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`settle`](Self::settle) if nothing is told before.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// Whether the call is not followed any more.
    pub(super) fn finish(&self) -> Option<Finish> {
        self.finish
    }

    pub(super) fn is_withheld(&self) -> bool {
        self.consent.decision() == Decision::Withhold
    }

    /// Whether everyone is heard on one leg.
    pub(super) fn is_heard_mixed(&self) -> bool {
        self.attachments.iter().any(|it| it.is_up() && it.target == Target::Session)
    }

    /// Whether a party is heard on a leg of its own.
    pub(super) fn hears(&self, party: &str) -> bool {
        self.attachments.iter().any(|it| {
            it.is_up()
                && matches!(&it.target, Target::Party(own) if is_same(own.id.as_str(), party))
        })
    }

    /// Why the call is where it is, if there is more to say.
    pub(super) fn why(&self) -> Option<String> {
        let given_up = self.attachments.iter().find_map(|it| it.given_up.clone());
        let failure = || self.attachments.iter().find_map(|it| it.failure.clone());
        given_up.or_else(failure).or_else(|| self.trouble.clone())
    }

    fn refused(&mut self, now: Instant, target: &Target, refusal: &Refusal) {
        let Refusal { advice, why } = refusal;
        let Some(attachment) = self.attachment(target) else { return };
        if attachment.leg().is_some() {
            // The INVITE came all the same; it was the answer that got lost.
            return;
        }
        match advice {
            Advice::RetryLater | Advice::Gone => {
                attachment.retry(now, LAST_RETRY, why);
                let pause = if *advice == Advice::Gone { Duration::ZERO } else { SETTLING };
                self.look_at(now + pause);
            }
            Advice::Unavailable => {
                attachment.retry(now, LAST_UNAVAILABLE, why);
                // It may have been served all the same: then its party would ring for good.
                self.cleans_up = true;
                self.look_at(now + SETTLING);
            }
            Advice::Wait(pause) => attachment.wait(now, *pause, why),
            Advice::Reregister => {
                attachment.retry(now, LAST_RETRY, why);
                self.actions.push_back(Action::Reregister);
            }
            Advice::RetryWithoutAgent
                if attachment.names_agent && matches!(target, Target::Party(_)) =>
            {
                attachment.names_agent = false;
                attachment.state = State::Idle;
            }
            Advice::CleanUp => {
                attachment.strike(now, why);
                self.cleans_up = true;
                self.look_at(now);
            }
            Advice::Misconfigured | Advice::RetryWithoutAgent => {
                attachment.state = State::Idle;
                attachment.given_up = Some(why.clone());
            }
        }
    }

    /// RingCentral says that we are on the call. Until it does, what is heard may come from a leg that is stuck.
    fn verify(&mut self, context: Context<'_>) {
        let Some(owner) = context.owner else { return };
        let is_due = |it: &Attachment| matches!(it.state, State::Up { since, .. } if since + VERIFICATION <= context.now);
        let is_listed = self.roster.supervisors(owner).next().is_some();
        if self.attachments.iter().any(is_due) && !is_listed {
            self.trouble = Some("the session does not list the supervisor".to_owned());
        }
    }

    fn tell_hold(&mut self, since_unix_ms: Option<i64>) {
        let (call, hold) = (self.id.clone(), self.hold.clone());
        self.actions.push_back(Action::Hold { call, hold, since_unix_ms });
    }

    fn look_at(&mut self, at: Instant) {
        self.look_by = Some(self.look_by.map_or(at, |by| by.min(at)));
    }

    fn plan(&self) -> Plan {
        self.roster.plan(&self.id, &self.agents, self.agent.as_deref())
    }

    fn attachment(&mut self, target: &Target) -> Option<&mut Attachment> {
        self.attachments.iter_mut().find(|it| it.target == *target)
    }
}
