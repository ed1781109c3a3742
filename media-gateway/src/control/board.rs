//! Every call that is followed, and the search for more.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sidetone_proto::{CallId, PartyId, Role};
use tracing::{debug, info, warn};

use super::action::{Action, LegNews, Outcome, Refusal};
use super::call::{Call, Context, Finish};
use super::consent::{self, Consent, Policies, Source};
use super::handle::ControlError;
use super::outage::Outage;
use super::search::Search;
use super::view::{CallView, PartyView};
use crate::config::Supervise;
use crate::ringcentral::{ActiveCall, Advice, Notification, Session, SessionEvent};
use crate::sip::LegId;
use crate::supervision::Target;

/// REST requests under way at once. Further ones wait for their turn: at most one for each call, and one for presence.
const MAX_REQUESTS: usize = 8;

/// Calls that are followed for each that may be listened to: many only ring, or wait for an agent. When all places are
/// taken, a new call is not followed; presence lists it again later.
const CALLS_PER_SEAT: usize = 4;

/// For how long an ended call is remembered, so that late events and presence do not bring it back.
const MEMORY: Duration = Duration::from_secs(30);

/// Ended calls that are remembered. When full, the oldest is forgotten.
const MEMORY_CAPACITY: usize = 1024;

/// What the board goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Extension ids of the agents whose calls are listened to.
    pub agents: Vec<String>,
    /// One leg per party, or one for the whole session.
    pub supervise: Supervise,
    /// What has to be said before a call is transcribed.
    pub policies: Policies,
    /// Calls that may be listened to at once.
    pub max_calls: usize,
    /// Between two presence requests while no notifications come; at least 5 s while they do.
    pub poll_interval: Duration,
}

/// All calls. See [the module](super).
#[derive(Debug)]
pub struct Board {
    agents: Arc<[String]>,
    settings: Settings,
    owner: Option<String>,
    is_registered: bool,
    calls: BTreeMap<CallId, Call>,
    legs: HashMap<LegId, CallId>,
    ended: VecDeque<(CallId, Instant)>,
    /// What is not a request, in order.
    ready: VecDeque<Action>,
    /// Requests that wait for their turn.
    waiting: VecDeque<Action>,
    /// Requests under way.
    requests: usize,
    search: Search,
    outage: Outage,
    /// The time of the last input.
    now: Instant,
}

impl Board {
    /// A board without calls, which begins with a look at every agent.
    pub fn new(now: Instant, settings: Settings) -> Self {
        let agents: Arc<[String]> = settings.agents.clone().into();
        Self {
            search: Search::new(now, agents.clone(), settings.poll_interval),
            agents,
            settings,
            owner: None,
            is_registered: false,
            calls: BTreeMap::new(),
            legs: HashMap::new(),
            ended: VecDeque::new(),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            requests: 0,
            outage: Outage::default(),
            now,
        }
    }

    /// Whose login it is: the extension whose stuck parties may be deleted.
    pub fn set_owner(&mut self, owner: String) {
        self.owner = Some(owner).filter(|owner| !owner.is_empty());
    }

    /// Whether the device can be called. Until it can, nothing is searched or asked for.
    pub fn handle_registered(&mut self, now: Instant, is_registered: bool) {
        let was_registered = std::mem::replace(&mut self.is_registered, is_registered);
        if is_registered && !was_registered {
            // Nobody was looked at while the device could not be called.
            self.search.hurry(now);
        }
        self.each(now, Call::settle);
    }

    /// Something came over the notification channel.
    pub fn handle_notification(&mut self, now: Instant, notification: Notification) {
        match notification {
            Notification::Session(event) => self.handle_event(now, event),
            Notification::Missed => {
                self.search.notified(now, true);
                self.search.hurry(now);
                self.each(now, Call::look_again);
            }
            Notification::Lost => {
                self.now = now;
                self.search.notified(now, false);
            }
        }
    }

    /// The answer to [`Action::Presence`]: the calls of each agent that RingCentral shows.
    pub fn handle_presence(
        &mut self,
        now: Instant,
        agents: &[String],
        presence: Result<Vec<(String, Vec<ActiveCall>)>, Refusal>,
    ) {
        self.answered(now, presence.as_ref().err());
        match presence {
            Ok(shown) => {
                self.search.succeeded(now, agents.len());
                for (agent, calls) in shown {
                    self.see(now, &agent, &calls);
                }
            }
            Err(Refusal { advice, why }) => {
                warn!(why, "could not look for calls");
                match advice {
                    // None of them exists: the others are looked at all the same.
                    Advice::Gone => self.search.succeeded(now, agents.len()),
                    advice => self.search.failed(now, advice),
                }
            }
        }
    }

    /// What an agent's presence lists.
    fn see(&mut self, now: Instant, agent: &str, calls: &[ActiveCall]) {
        let listed: Vec<(CallId, bool)> = calls
            .iter()
            .filter_map(|call| {
                let id = CallId::parse(&call.telephony_session_id).ok()?;
                Some((id, matches!(call.telephony_status.as_str(), "CallConnected" | "OnHold")))
            })
            .collect();
        for (call, _) in listed.iter().filter(|(_, is_connected)| *is_connected) {
            self.follow(now, call, true);
            self.with(now, call, |it, context| it.listed(context, true));
        }
        let is_missing = |(id, call): (&CallId, &Call)| {
            let is_own = call.agent.as_deref() == Some(agent);
            (is_own && listed.iter().all(|(it, _)| it != id)).then(|| id.clone())
        };
        let missing: Vec<CallId> = self.calls.iter().filter_map(is_missing).collect();
        for call in missing {
            self.with(now, &call, |it, context| it.listed(context, false));
        }
    }

    /// The answer to [`Action::Look`].
    pub fn handle_session(
        &mut self,
        now: Instant,
        call: &CallId,
        session: Result<Session, Refusal>,
    ) {
        self.answered(now, session.as_ref().err());
        self.with(now, call, |it, context| it.looked(context, session));
    }

    /// The answer to [`Action::Supervise`].
    pub fn handle_supervised(
        &mut self,
        now: Instant,
        call: &CallId,
        target: &Target,
        outcome: Outcome,
    ) {
        match &outcome {
            Outcome::Accepted { .. } => self.answered(now, None),
            Outcome::Refused(refusal) => self.answered(now, Some(refusal)),
            Outcome::Denied { .. } => self.not_sent(now),
        }
        self.with(now, call, |it, context| it.supervised(context, target, outcome));
    }

    /// The answer to [`Action::DeleteParty`].
    pub fn handle_deleted(
        &mut self,
        now: Instant,
        call: &CallId,
        party: &str,
        deleted: Result<(), Refusal>,
    ) {
        self.answered(now, deleted.as_ref().err());
        self.with(now, call, |it, context| it.deleted(context, party, deleted));
    }

    /// Something happened to a leg, or on it.
    pub fn handle_leg(&mut self, now: Instant, news: LegNews) {
        match news {
            LegNews::Up { call, target, leg, supervisor } => {
                let up = self
                    .with(now, &call, |it, context| it.leg_up(context, &target, leg, supervisor));
                if up == Some(true) {
                    self.legs.insert(leg, call);
                } else {
                    debug!(%call, %leg, "nobody wants this leg any more");
                    self.ready.push_back(Action::HangUp { leg });
                }
            }
            LegNews::Failed { call, target, why } => {
                self.with(now, &call, |it, context| it.leg_failed(context, &target, &why));
            }
            LegNews::Ended { leg } => {
                if let Some(call) = self.legs.remove(&leg) {
                    self.with(now, &call, |it, context| it.leg_ended(context, leg));
                }
            }
            LegNews::Silent { call } => {
                self.with(now, &call, Call::look_again);
            }
            LegNews::Consent { call, state, source } => {
                self.with(now, &call, |it, context| it.consented(context, state, source));
            }
            LegNews::SameAudio { call } => {
                self.with(now, &call, Call::same_audio);
            }
        }
    }

    /// Somebody wants a call to be listened to.
    ///
    /// # Errors
    /// [`ControlError::TooManyCalls`].
    pub fn supervise(
        &mut self,
        now: Instant,
        call: &CallId,
        agent: String,
    ) -> Result<(), ControlError> {
        self.ended.retain(|(ended, _)| ended != call);
        self.follow(now, call, true);
        self.with(now, call, |it, context| it.supervise(context, agent))
            .ok_or(ControlError::TooManyCalls)
    }

    /// Somebody does not want a call to be listened to.
    ///
    /// # Errors
    /// [`ControlError::UnknownCall`].
    pub fn stop(&mut self, now: Instant, call: &CallId) -> Result<(), ControlError> {
        self.with(now, call, Call::stop).ok_or_else(|| ControlError::UnknownCall(call.clone()))
    }

    /// An operator knows what the parties of a call have said to being transcribed. A refusal counts when the call is over,
    /// too: the relay may have it still.
    ///
    /// # Errors
    /// [`ControlError::UnknownCall`], unless it is a refusal.
    pub fn consent(
        &mut self,
        now: Instant,
        call: &CallId,
        state: consent::State,
    ) -> Result<(), ControlError> {
        let by_operator = Source::Operator;
        if self.with(now, call, |it, context| it.consented(context, state, by_operator)).is_some() {
            return Ok(());
        }
        if state != consent::State::Refused {
            return Err(ControlError::UnknownCall(call.clone()));
        }
        let mut consent = Consent::default();
        consent.learn(state, by_operator);
        self.ready.push_back(Action::Consent { call: call.clone(), notice: consent.notice() });
        Ok(())
    }

    /// Every call that is followed, by id. `unix_ms` is the wall clock at `now`.
    pub fn calls(&self, now: Instant, unix_ms: i64) -> Vec<CallView> {
        let ago = |at: Instant| i64::try_from((now - at).as_millis()).unwrap_or(i64::MAX);
        let view = |(id, call): (&CallId, &Call)| CallView {
            call_id: id.clone(),
            agent: call.agent.clone(),
            stage: call.stage,
            since_unix_ms: unix_ms.saturating_sub(ago(call.since)),
            why: call.why(),
            parties: parties(call),
            consent: call.consent.state(),
            consent_source: call.consent.source(),
            is_withheld: call.is_withheld(),
            is_mixed: call.is_heard_mixed(),
        };
        self.calls.iter().map(view).collect()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.ready.pop_front() {
            return Some(action);
        }
        if !self.has_room() || !self.outage.admits(self.now) {
            return None;
        }
        let action = self.waiting.pop_front()?;
        self.requests += 1;
        Some(action)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let search = self.search.poll_timeout().filter(|_| self.is_registered);
        let probe = self.outage.poll_timeout().filter(|_| self.has_room());
        self.calls.values().filter_map(Call::poll_timeout).chain(search).chain(probe).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.is_registered
            && let Some(agents) = self.search.begin(now)
        {
            self.waiting.push_back(Action::Presence { agents });
        }
        let is_due = |call: &Call| call.poll_timeout().is_some_and(|due| due <= now);
        let due = self.calls.iter().filter(|(_, call)| is_due(call)).map(|(id, _)| id.clone());
        for call in due.collect::<Vec<_>>() {
            self.with(now, &call, Call::settle);
        }
    }

    /// A request came back, with what was wrong if it was refused.
    fn answered(&mut self, now: Instant, refusal: Option<&Refusal>) {
        match refusal.map(|refusal| refusal.advice) {
            Some(Advice::Unavailable) => {
                self.requests = self.requests.saturating_sub(1);
                self.now = now;
                self.outage.failed(now);
            }
            // A rate limit may have kept it from being sent.
            Some(Advice::Wait(_)) => self.not_sent(now),
            _ => {
                self.requests = self.requests.saturating_sub(1);
                self.now = now;
                if self.outage.answered() {
                    info!("ringcentral serves requests again");
                    self.search.hurry(now);
                    self.each(now, Call::recover);
                }
            }
        }
    }

    fn not_sent(&mut self, now: Instant) {
        self.requests = self.requests.saturating_sub(1);
        self.now = now;
        self.outage.postponed(now);
    }

    /// Whether a request waits for its turn, and one more may be under way.
    fn has_room(&self) -> bool {
        self.requests < MAX_REQUESTS && !self.waiting.is_empty()
    }

    fn handle_event(&mut self, now: Instant, event: SessionEvent) {
        let Ok(call) = CallId::parse(&event.telephony_session_id) else {
            debug!("an event names no call");
            return;
        };
        let news = (event.sequence, event.unix_ms());
        for party in event.parties {
            let is_monitored =
                party.extension_id().is_some_and(|own| self.agents.iter().any(|it| it == own));
            if is_monitored && party.is_live() {
                self.follow(now, &call, false);
            }
            let moved = self.with(now, &call, |it, context| it.hear(context, news, party));
            if let Some(peer) = moved.flatten()
                && let Ok(peer) = CallId::parse(&peer.telephony_session_id)
                && peer != call
            {
                self.follow(now, &peer, true);
                self.with(now, &peer, Call::settle);
            }
        }
    }

    /// Follows a call, unless it is followed already or has just ended. `looks` when no event will tell of it first.
    fn follow(&mut self, now: Instant, call: &CallId, looks: bool) {
        while self.ended.front().is_some_and(|(_, at)| *at + MEMORY <= now) {
            self.ended.pop_front();
        }
        if self.calls.contains_key(call) || self.ended.iter().any(|(ended, _)| ended == call) {
            return;
        }
        if self.calls.len() >= self.settings.max_calls.saturating_mul(CALLS_PER_SEAT) {
            warn!(%call, "as many calls as can be followed are followed, leaving this one alone");
            return;
        }
        let is_mixed = self.settings.supervise == Supervise::Session;
        let new = Call::new(now, call.clone(), self.agents.clone(), is_mixed, looks);
        self.calls.insert(call.clone(), new);
    }

    fn each(&mut self, now: Instant, act: fn(&mut Call, Context<'_>)) {
        for call in self.calls.keys().cloned().collect::<Vec<_>>() {
            self.with(now, &call, act);
        }
    }

    /// Lets one call act, and takes what it asks for.
    fn with<T>(
        &mut self,
        now: Instant,
        id: &CallId,
        act: impl FnOnce(&mut Call, Context<'_>) -> T,
    ) -> Option<T> {
        self.now = now;
        let context = Context {
            now,
            owner: self.owner.as_deref(),
            is_registered: self.is_registered,
            policies: &self.settings.policies,
        };
        let call = self.calls.get_mut(id)?;
        let result = act(call, context);
        while let Some(action) = call.poll_action() {
            let queue = if action.is_request() { &mut self.waiting } else { &mut self.ready };
            queue.push_back(action);
        }
        if let Some(finish) = call.finish() {
            self.calls.remove(id);
            if finish == Finish::Over {
                if self.ended.len() >= MEMORY_CAPACITY {
                    self.ended.pop_front();
                }
                self.ended.push_back((id.clone(), now));
            }
        }
        Some(result)
    }
}

fn parties(call: &Call) -> Vec<PartyView> {
    let view = |party: &crate::ringcentral::SessionParty| PartyView {
        party_id: PartyId::new(party.id.as_str()),
        role: match party.extension_id() {
            own @ Some(_) if own == call.agent.as_deref() => Role::Agent,
            _ => Role::Customer,
        },
        status: party.code().to_owned(),
        is_heard: call.hears(&party.id),
    };
    call.roster.live().map(view).collect()
}
