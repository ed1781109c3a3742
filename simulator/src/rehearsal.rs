//! Generated traffic in virtual time, with the cloud's side of supervision: no socket, no clock, no task.
//!
//! A [`Rehearsal`] is what a control plane sees of RingCentral. Whoever drives it decides what becomes of its events and
//! answers on their way: they may come late, twice, in another order, or never.

use crate::account::Account;
use crate::api_error::ApiError;
use crate::kind::CallKind;
use crate::report::Hears;
use crate::script::{Script, Step};
use crate::switchboard::{Cast, SessionChange, Side, Switchboard, Target};
use crate::traffic::{ScheduledCall, Traffic, TrafficError};
use crate::variant::Variant;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast;

/// The calls of some traffic, and who listens to them.
pub struct Rehearsal {
    account: Account,
    switchboard: Switchboard,
    changes: broadcast::Receiver<SessionChange>,
    /// In order of time; the last step of a call is `None`.
    steps: VecDeque<(Duration, usize, Option<Step>)>,
    calls: Vec<Course>,
    /// The supervisor's parties, by id.
    legs: BTreeMap<String, Leg>,
    events: VecDeque<RehearsalEvent>,
    now: Duration,
}

/// Something that the cloud tells.
#[derive(Clone, Debug, PartialEq)]
pub enum RehearsalEvent {
    /// A telephony session event. The extension is that of its party: subscriptions of other extensions don't bring it.
    Session {
        /// `None` for somebody outside the account.
        extension_id: Option<String>,
        /// The event's `body`.
        body: Value,
    },
    /// BYE: the leg of this supervisor's party is over.
    LegEnded {
        /// The supervisor's party.
        party_id: String,
    },
}

/// An accepted supervise request.
#[derive(Clone, Debug, PartialEq)]
pub struct Invitation {
    /// The supervisor's new party: `p-rc-api-ids` of the INVITE.
    pub party_id: String,
    /// RingCentral's own headers of the INVITE.
    pub headers: Vec<(&'static str, String)>,
    /// The REST answer.
    pub response: Value,
}

/// A refused REST request.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedRequest {
    /// The HTTP status.
    pub status: u16,
    /// The error in RingCentral's words.
    pub body: Value,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct RehearsedCall {
    /// The session.
    pub telephony_session_id: String,
    /// What happened in it.
    pub kind: CallKind,
    /// Whether there was something to listen to.
    pub is_eligible: bool,
    /// Every leg that was answered, in order: the supervisor's party and who could be heard.
    pub legs: Vec<(String, Hears)>,
    /// For how long both voices could be heard on the line.
    pub talked: Duration,
    /// For how long of that somebody listened to both.
    pub heard: Duration,
    /// Whether a voice was heard on two legs at once.
    pub was_heard_twice: bool,
    /// Supervisor's parties that were left behind unanswered when the call ended.
    pub ghosts: usize,
}

struct Course {
    scheduled: ScheduledCall,
    session_id: Option<String>,
    is_over: bool,
    report: Vec<(String, Hears)>,
    talked: Duration,
    heard: Duration,
    was_heard_twice: bool,
    ghosts: usize,
}

struct Leg {
    call: usize,
    hears: Hears,
    is_answered: bool,
}

impl Rehearsal {
    /// Everybody is at rest, and nothing has happened.
    ///
    /// # Errors
    /// Those of [`Traffic::schedule`].
    pub fn new(traffic: &Traffic) -> Result<Self, TrafficError> {
        let account = Account::with_agents(traffic.agents);
        let switchboard = Switchboard::new(account.clone(), traffic.seed);
        let calls = traffic.schedule()?;
        let mut steps: Vec<_> = calls.iter().enumerate().flat_map(steps).collect();
        steps.sort_by_key(|(at, number, _)| (*at, *number));
        Ok(Self {
            changes: switchboard.subscribe(),
            account,
            switchboard,
            steps: steps.into(),
            calls: calls.into_iter().map(Course::new).collect(),
            legs: BTreeMap::new(),
            events: VecDeque::new(),
            now: Duration::ZERO,
        })
    }

    /// Whose calls they are.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// When something happens next, since the start; `None` once every call is over.
    pub fn next_due(&self) -> Option<Duration> {
        self.steps.front().map(|(at, ..)| *at)
    }

    /// Lets time pass, and happen what happens until then.
    pub fn advance(&mut self, to: Duration) {
        while self.next_due().is_some_and(|due| due <= to)
            && let Some((at, number, step)) = self.steps.pop_front()
        {
            self.pass(at);
            self.happen(number, step);
        }
        self.pass(to);
    }

    /// The next thing that the cloud tells.
    pub fn poll_event(&mut self) -> Option<RehearsalEvent> {
        self.events.pop_front()
    }

    /// `GET …/telephony/sessions/{id}`.
    ///
    /// # Errors
    /// [`RefusedRequest`].
    pub fn session(&self, session_id: &str) -> Result<Value, RefusedRequest> {
        Ok(self.switchboard.session(session_id)?)
    }

    /// `GET …/extension/{id}/presence` with the calls.
    ///
    /// # Errors
    /// [`RefusedRequest`].
    pub fn presence(&self, extension_id: &str) -> Result<Value, RefusedRequest> {
        Ok(self.switchboard.presence(extension_id, true)?)
    }

    /// `POST …/supervise` for a party, or for the session. [`Rehearsal::answer`] or [`Rehearsal::hang_up`] is what the
    /// device makes of the INVITE.
    ///
    /// # Errors
    /// [`RefusedRequest`].
    pub fn supervise(
        &mut self,
        session_id: &str,
        party_id: Option<&str>,
        request: Value,
    ) -> Result<Invitation, RefusedRequest> {
        let request =
            serde_json::from_value(request).map_err(|_| ApiError::InvalidParameter("body"))?;
        let now = self.wall_clock();
        let accepted = self.switchboard.supervise(session_id, party_id, &request, true, now)?;
        let hears = match accepted.target {
            Target::Session => Hears::Everyone,
            Target::Party(Side::Customer) => Hears::Customer,
            Target::Party(Side::Agent) => Hears::Agent,
        };
        if let Some(call) = self.number_of(session_id) {
            let leg = Leg { call, hears, is_answered: false };
            self.legs.insert(accepted.party_id.clone(), leg);
        }
        self.collect();
        let (party_id, headers) = (accepted.party_id, accepted.headers);
        Ok(Invitation { party_id, headers, response: accepted.response })
    }

    /// The device answers the INVITE of a supervisor's party. `false`: it was taken back meanwhile.
    pub fn answer(&mut self, party_id: &str) -> bool {
        let Some(call) = self.legs.get(party_id).map(|leg| leg.call) else { return false };
        let Some(session) = self.calls[call].session_id.clone() else { return false };
        self.pass(self.now);
        let now = self.wall_clock();
        self.switchboard.supervisor_answered(&session, party_id, now);
        if let Some(leg) = self.legs.get_mut(party_id) {
            leg.is_answered = true;
            let course = &mut self.calls[call];
            course.report.push((party_id.to_owned(), leg.hears));
        }
        self.calls[call].was_heard_twice |= self.is_heard_twice(call);
        self.collect();
        true
    }

    /// The device, or the cloud, ends the leg of a supervisor's party. Unknown ones are left alone.
    pub fn hang_up(&mut self, party_id: &str) {
        let Some(leg) = self.legs.remove(party_id) else { return };
        if let Some(session) = self.calls[leg.call].session_id.clone() {
            let now = self.wall_clock();
            let _ = self.switchboard.remove_supervisor(&session, party_id, now);
        }
        self.collect();
        if leg.is_answered {
            self.events.push_back(RehearsalEvent::LegEnded { party_id: party_id.to_owned() });
        }
    }

    /// `DELETE …/parties/{id}`: of a supervisor's party, whose leg ends with it.
    ///
    /// # Errors
    /// [`RefusedRequest`].
    pub fn delete_party(&mut self, session_id: &str, party_id: &str) -> Result<(), RefusedRequest> {
        let now = self.wall_clock();
        self.switchboard.remove_supervisor(session_id, party_id, now)?;
        self.collect();
        self.hang_up(party_id);
        Ok(())
    }

    /// The supervisor's parties whose INVITE was answered.
    pub fn answered(&self) -> impl Iterator<Item = &str> {
        self.legs.iter().filter(|(_, leg)| leg.is_answered).map(|(id, _)| id.as_str())
    }

    /// What has become of the calls that have begun, in order of time.
    pub fn report(&self) -> Vec<RehearsedCall> {
        self.calls.iter().filter_map(Course::report).collect()
    }

    fn happen(&mut self, number: usize, step: Option<Step>) {
        let now = self.wall_clock();
        let session = match &self.calls[number].session_id {
            Some(session) => session.clone(),
            None => {
                let cast = cast(&self.account, &self.calls[number].scheduled);
                let session = self.switchboard.open(cast, Variant::default(), now);
                self.calls[number].session_id = Some(session.clone());
                session
            }
        };
        let ended: Vec<String> = match step {
            Some(step) => self.switchboard.apply(&session, &step, now),
            None => {
                self.calls[number].ghosts = self.switchboard.ghosts(&session);
                self.calls[number].is_over = true;
                self.switchboard.end(&session, now);
                let own = self.legs.iter().filter(|(_, leg)| leg.call == number);
                own.map(|(party, _)| party.clone()).collect()
            }
        };
        self.collect();
        for party in ended {
            self.hang_up(&party);
        }
    }

    /// Takes account of the time that has passed, in which nothing changed.
    fn pass(&mut self, to: Duration) {
        let passed = to.saturating_sub(self.now);
        self.now = self.now.max(to);
        if passed.is_zero() {
            return;
        }
        for number in 0..self.calls.len() {
            let course = &self.calls[number];
            let session = course.session_id.as_deref().filter(|_| !course.is_over);
            if !session.is_some_and(|session| self.switchboard.is_talking(session)) {
                continue;
            }
            let is_heard = self.is_heard(number);
            let course = &mut self.calls[number];
            course.talked += passed;
            course.heard += if is_heard { passed } else { Duration::ZERO };
        }
    }

    fn hearing(&self, call: usize, side: Hears) -> usize {
        let answered = self.legs.values().filter(|leg| leg.call == call && leg.is_answered);
        answered.filter(|leg| leg.hears == side || leg.hears == Hears::Everyone).count()
    }

    fn is_heard(&self, call: usize) -> bool {
        [Hears::Customer, Hears::Agent].into_iter().all(|side| self.hearing(call, side) > 0)
    }

    fn is_heard_twice(&self, call: usize) -> bool {
        [Hears::Customer, Hears::Agent].into_iter().any(|side| self.hearing(call, side) > 1)
    }

    fn number_of(&self, session_id: &str) -> Option<usize> {
        self.calls.iter().position(|call| call.session_id.as_deref() == Some(session_id))
    }

    fn collect(&mut self) {
        while let Ok(SessionChange { extension_id, body, .. }) = self.changes.try_recv() {
            self.events.push_back(RehearsalEvent::Session { extension_id, body });
        }
    }

    fn wall_clock(&self) -> SystemTime {
        UNIX_EPOCH + self.now
    }
}

impl Course {
    fn new(scheduled: ScheduledCall) -> Self {
        Self {
            scheduled,
            session_id: None,
            is_over: false,
            report: Vec::new(),
            talked: Duration::ZERO,
            heard: Duration::ZERO,
            was_heard_twice: false,
            ghosts: 0,
        }
    }

    fn report(&self) -> Option<RehearsedCall> {
        Some(RehearsedCall {
            telephony_session_id: self.session_id.clone()?,
            kind: self.scheduled.kind,
            is_eligible: self.scheduled.kind.is_answered(),
            legs: self.report.clone(),
            talked: self.talked,
            heard: self.heard,
            was_heard_twice: self.was_heard_twice,
            ghosts: self.ghosts,
        })
    }
}

impl From<ApiError> for RefusedRequest {
    fn from(error: ApiError) -> Self {
        Self { status: error.status(), body: error.body() }
    }
}

fn cast(account: &Account, call: &ScheduledCall) -> Cast {
    let agent = account.agents[call.agent].clone();
    let colleague = account.colleague_of(&agent.extension_id).cloned();
    Cast { agent, colleague, customer: call.person.clone() }
}

/// The steps of a call with their times, and its end.
fn steps(
    (number, call): (usize, &ScheduledCall),
) -> impl Iterator<Item = (Duration, usize, Option<Step>)> + use<> {
    let Script { dialling, talking, .. } = Script::new(call.kind, call.ringing, call.talk);
    let (placed, talk, end) = (call.at, call.at + call.ringing, call.end());
    let dialling = dialling.into_iter().map(move |(at, step)| (placed + at, Some(step)));
    let talking = talking.into_iter().map(move |(at, step)| (talk + at, Some(step)));
    dialling.chain(talking).chain([(end, None)]).map(move |(at, step)| (at, number, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    fn rehearsal(seed: u64) -> Rehearsal {
        let duration = Duration::from_secs(600);
        Rehearsal::new(&Traffic { agents: 20, calls: 50, duration, seed }).unwrap()
    }

    /// The bodies of all events, as they come if nobody supervises.
    fn bodies(seed: u64) -> Vec<(Duration, Value)> {
        let mut rehearsal = rehearsal(seed);
        let mut bodies = Vec::new();
        while let Some(due) = rehearsal.next_due() {
            rehearsal.advance(due);
            while let Some(RehearsalEvent::Session { body, .. }) = rehearsal.poll_event() {
                bodies.push((due, body));
            }
        }
        bodies
    }

    #[test]
    fn a_seed_gives_the_same_events_every_time_and_another_one_others() {
        assert_eq!(bodies(7), bodies(7));
        assert_ne!(bodies(7), bodies(8));
    }

    #[test]
    fn every_session_ends_and_counts_its_events_without_a_gap() {
        let mut sequences = BTreeMap::<String, u64>::new();
        let mut live = BTreeMap::<String, bool>::new();
        for (_, body) in &bodies(3) {
            let session = body["telephonySessionId"].as_str().unwrap().to_owned();
            let sequence = body["sequence"].as_u64().unwrap();
            let last = sequences.insert(session, sequence);
            assert_eq!(sequence, last.unwrap_or(1) + 1);
            let party = &body["parties"][0];
            let code = party["status"]["code"].as_str().unwrap();
            let is_live = !matches!(code, "Disconnected" | "Gone");
            live.insert(party["id"].as_str().unwrap().to_owned(), is_live);
        }
        // Attended transfers take a second session each.
        assert!(sequences.len() > 50, "{}", sequences.len());
        assert!(live.values().all(|is_live| !is_live));
    }

    #[test]
    fn time_is_counted_in_which_somebody_listens() {
        let mut rehearsal = rehearsal(1);
        // The first call that both sides have answered.
        let call = loop {
            rehearsal.advance(rehearsal.next_due().unwrap());
            let report = rehearsal.report();
            let talking = report.into_iter().find(|call| {
                let session = rehearsal.session(&call.telephony_session_id).unwrap();
                let parties = session["parties"].as_array().unwrap();
                let answered =
                    parties.iter().filter(|party| party["status"]["code"] == "Answered").count();
                call.kind == CallKind::Inbound && answered == 2
            });
            if let Some(call) = talking {
                break call.telephony_session_id;
            }
        };
        let session = rehearsal.session(&call).unwrap();
        let parties: Vec<&str> = session["parties"]
            .as_array()
            .unwrap()
            .iter()
            .map(|party| party["id"].as_str().unwrap())
            .collect();
        let agent = &session["parties"][1]["extensionId"];
        let device = &rehearsal.account().supervisor_device_id;
        let request =
            json!({ "mode": "Listen", "supervisorDeviceId": device, "agentExtensionId": agent });
        let ids: Vec<String> = parties
            .iter()
            .map(|party| rehearsal.supervise(&call, Some(party), request.clone()).unwrap().party_id)
            .collect();
        let again = rehearsal.supervise(&call, Some(parties[0]), request).unwrap_err();
        assert_eq!(again.status, 409);
        let now = rehearsal.now;
        let own = |rehearsal: &Rehearsal| {
            let report = rehearsal.report();
            report.into_iter().find(|it| it.telephony_session_id == call).unwrap()
        };
        let second = Duration::from_secs(1);
        rehearsal.advance(now + second);
        assert!(ids.iter().all(|id| rehearsal.answer(id)));
        rehearsal.advance(now + 3 * second);
        rehearsal.hang_up(&ids[0]);
        rehearsal.advance(now + 4 * second);
        let report = own(&rehearsal);
        assert_eq!((report.talked, report.heard), (4 * second, 2 * second));
        let hears: BTreeSet<&str> = report.legs.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(hears.len(), 2);
        assert!(!report.was_heard_twice && !rehearsal.answer(&ids[0]));
    }
}
