//! A cloud of sessions, which answers what the board asks and checks that it asks for nothing that it must not.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidetone_proto::{CallId, Role};

use crate::config::Supervise;
use crate::control::consent::{Notice, Policies};
use crate::control::{Action, Board, CallView, Hold, LegNews, Outcome, Refusal, Settings, Stage};
use crate::ringcentral::{ActiveCall, Advice, Notification, Presence, SessionEvent};
use crate::sip::LegId;
use crate::supervision::{SuperviseRequest, Target};

pub const AGENT: &str = "101";
pub const OTHER_AGENT: &str = "102";
pub const OWNER: &str = "900";
pub const CALL: &str = "s-1";

/// What the ids of our own parties begin with, and no others.
const EAR: &str = "p-1-ear";

#[derive(Clone)]
pub struct CloudParty {
    pub id: String,
    pub extension: Option<&'static str>,
    pub code: &'static str,
    pub peer: Option<&'static str>,
}

/// A supervisor's party of ours.
#[derive(Clone)]
pub struct Ear {
    pub call: String,
    pub id: String,
    pub target: Option<Target>,
    pub leg: Option<LegId>,
}

pub struct Cloud {
    pub board: Board,
    pub now: Instant,
    pub sessions: BTreeMap<String, Vec<CloudParty>>,
    pub ears: Vec<Ear>,
    pub sequence: u64,
    /// What becomes of the next supervise requests; afterwards they are accepted.
    pub refusals: VecDeque<Advice>,
    /// What becomes of every look and presence request while set.
    pub outage: Option<Advice>,
    /// Agents whose presence RingCentral does not show.
    pub hidden: Vec<String>,
    pub sends_invites: bool,
    pub invites_first: bool,
    /// When REST requests were made.
    pub requested: Vec<Instant>,
    /// How often each kind of action was asked for.
    pub asked: BTreeMap<&'static str, usize>,
    pub requests: Vec<(SuperviseRequest, bool)>,
    pub deleted: Vec<String>,
    pub released: Vec<CallId>,
    pub withheld: Vec<bool>,
    pub holds: Vec<(Hold, Option<i64>)>,
    pub notices: Vec<Notice>,
    next_ear: u64,
}

pub fn refusal(advice: Advice) -> Refusal {
    Refusal { advice, why: format!("{advice:?}") }
}

impl Cloud {
    pub fn new() -> Self {
        Self::with(Supervise::Party, Policies::default())
    }

    pub fn with(supervise: Supervise, policies: Policies) -> Self {
        let settings = Settings {
            agents: vec![AGENT.into(), OTHER_AGENT.into()],
            supervise,
            policies,
            max_calls: 4,
            poll_interval: Duration::from_secs(5),
        };
        Self::of(settings)
    }

    pub fn of(settings: Settings) -> Self {
        let now = Instant::now();
        let mut board = Board::new(now, settings);
        board.set_owner(OWNER.into());
        board.handle_registered(now, true);
        Self {
            board,
            now,
            sessions: BTreeMap::new(),
            ears: Vec::new(),
            sequence: 1,
            refusals: VecDeque::new(),
            outage: None,
            hidden: Vec::new(),
            sends_invites: true,
            invites_first: false,
            requested: Vec::new(),
            asked: BTreeMap::new(),
            requests: Vec::new(),
            deleted: Vec::new(),
            released: Vec::new(),
            withheld: Vec::new(),
            holds: Vec::new(),
            notices: Vec::new(),
            next_ear: 0,
        }
    }

    /// A party of `CALL`, as it is from now on. No event tells.
    pub fn set(&mut self, number: u32, extension: Option<&'static str>, code: &'static str) {
        self.set_in(CALL, number, extension, code);
    }

    pub fn set_in(
        &mut self,
        call: &str,
        number: u32,
        extension: Option<&'static str>,
        code: &'static str,
    ) {
        let id = format!("p-{}-{number}", call.trim_start_matches("s-"));
        let party = CloudParty { id: id.clone(), extension, code, peer: None };
        let parties = self.sessions.entry(call.to_owned()).or_default();
        match parties.iter_mut().find(|it| it.id == id) {
            Some(it) => *it = party,
            None => parties.push(party),
        }
    }

    /// The event that tells how a party is now.
    pub fn event(&mut self, number: u32) -> SessionEvent {
        self.event_in(CALL, number)
    }

    pub fn event_in(&mut self, call: &str, number: u32) -> SessionEvent {
        self.sequence += 1;
        let id = format!("p-{}-{number}", call.trim_start_matches("s-"));
        let party = self.sessions[call].iter().find(|it| it.id == id).unwrap();
        serde_json::from_value(json!({
            "telephonySessionId": call, "sequence": self.sequence, "parties": [party.json()],
            "eventTime": "1970-01-01T00:00:07.500Z",
        }))
        .unwrap()
    }

    pub fn deliver(&mut self, event: SessionEvent) {
        self.board.handle_notification(self.now, Notification::Session(event));
        self.act();
    }

    /// Changes a party, and tells.
    pub fn change(&mut self, number: u32, extension: Option<&'static str>, code: &'static str) {
        self.set(number, extension, code);
        let event = self.event(number);
        self.deliver(event);
    }

    /// A customer and the agent talk; an event tells of the agent only, as an extension's subscription does.
    pub fn talk(&mut self) {
        self.set(1, None, "Answered");
        self.change(2, Some(AGENT), "Answered");
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.act();
        let mut steps = 0;
        while let Some(due) = self.board.poll_timeout().filter(|due| *due <= end) {
            steps += 1;
            assert!(steps < 10_000, "the board wakes up for nothing");
            self.now = self.now.max(due);
            self.board.handle_timeout(self.now);
            self.act();
        }
        self.now = end;
    }

    pub fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    /// RingCentral ends a leg.
    pub fn end_leg(&mut self, at: usize) {
        let ear = self.ears.remove(at);
        if let Some(leg) = ear.leg {
            self.board.handle_leg(self.now, LegNews::Ended { leg });
        }
        self.act();
    }

    pub fn view(&self) -> CallView {
        let calls = self.board.calls(self.now, 1_000_000);
        calls.into_iter().find(|it| it.call_id.as_str() == CALL).expect("the call is followed")
    }

    pub fn stage(&self) -> Stage {
        self.view().stage
    }

    /// Who is heard on legs of `CALL`, in the order in which they came up.
    pub fn heard(&self) -> Vec<(String, Role)> {
        self.heard_in(CALL)
    }

    pub fn heard_in(&self, call: &str) -> Vec<(String, Role)> {
        let own = self.ears.iter().filter(|ear| ear.call == call && ear.leg.is_some());
        own.map(|ear| match &ear.target {
            Some(Target::Party(party)) => (party.id.to_string(), party.role),
            Some(Target::Session) | None => ("session".to_owned(), Role::Mixed),
        })
        .collect()
    }

    /// The most requests in any minute.
    pub fn busiest_minute(&self) -> usize {
        let minute = Duration::from_secs(60);
        let within = |start: usize| {
            let later = self.requested[start..].iter();
            later.take_while(|at| **at < self.requested[start] + minute).count()
        };
        (0..self.requested.len()).map(within).max().unwrap_or_default()
    }

    pub fn count(&self, action: &str) -> usize {
        self.asked.get(action).copied().unwrap_or_default()
    }

    /// Does what the board asks for, at once.
    pub fn act(&mut self) {
        while let Some(action) = self.board.poll_action() {
            let name = match &action {
                Action::Presence { .. } => "presence",
                Action::Look { .. } => "look",
                Action::Supervise { .. } => "supervise",
                Action::DeleteParty { .. } => "delete",
                Action::HangUp { .. } => "hang up",
                Action::Reregister => "reregister",
                Action::Forward { .. } => "forward",
                Action::Hold { .. } => "hold",
                Action::Consent { .. } => "consent",
                Action::Release { .. } => "release",
            };
            *self.asked.entry(name).or_default() += 1;
            if action.is_request() {
                self.requested.push(self.now);
            }
            match action {
                Action::Presence { agents } => {
                    let shown = agents.iter().filter(|agent| !self.hidden.contains(*agent));
                    let calls = shown.map(|agent| (agent.clone(), self.presence(agent)));
                    let calls =
                        self.outage.map_or_else(|| Ok(calls.collect()), |it| Err(refusal(it)));
                    self.board.handle_presence(self.now, &agents, calls);
                }
                Action::Look { call } => {
                    let session = match (self.outage, self.sessions.get(call.as_str())) {
                        (Some(advice), _) => Err(refusal(advice)),
                        (None, None) => Err(refusal(Advice::Gone)),
                        (None, Some(_)) => {
                            Ok(serde_json::from_value(self.session(call.as_str())).unwrap())
                        }
                    };
                    self.board.handle_session(self.now, &call, session);
                }
                Action::Supervise { request, names_agent } => self.supervise(request, names_agent),
                Action::DeleteParty { call, party } => {
                    assert!(
                        party.starts_with(EAR),
                        "only supervisor's parties of our own are deleted"
                    );
                    let own = |it: &Ear| it.id == party && it.call == call.as_str();
                    let deleted = match self.ears.iter().position(own) {
                        Some(at) => {
                            assert_eq!(self.ears[at].leg, None, "a leg that is up is not deleted");
                            self.ears.remove(at);
                            self.deleted.push(party.clone());
                            Ok(())
                        }
                        // It has gone by itself meanwhile.
                        None => Err(refusal(Advice::Gone)),
                    };
                    self.board.handle_deleted(self.now, &call, &party, deleted);
                }
                Action::HangUp { leg } => {
                    self.ears.retain(|it| it.leg != Some(leg));
                    self.board.handle_leg(self.now, LegNews::Ended { leg });
                }
                Action::Reregister => {}
                Action::Forward { is_withheld, .. } => self.withheld.push(is_withheld),
                Action::Hold { hold, since_unix_ms, .. } => self.holds.push((hold, since_unix_ms)),
                Action::Consent { notice, .. } => self.notices.push(notice),
                Action::Release { call } => self.released.push(call),
            }
        }
    }

    fn supervise(&mut self, request: SuperviseRequest, names_agent: bool) {
        let (call, target) = (request.call.clone(), request.target.clone());
        self.requests.push((request, names_agent));
        if let Some(advice) = self.refusals.pop_front() {
            let outcome = Outcome::Refused(refusal(advice));
            self.board.handle_supervised(self.now, &call, &target, outcome);
            return;
        }
        let own = self.ears.iter().filter(|ear| ear.call == call.as_str());
        let stuck = |ear: &&Ear| ear.target.is_none() || ear.target.as_ref() == Some(&target);
        if own.clone().any(|ear| stuck(&ear) && ear.leg.is_none()) {
            let outcome = Outcome::Refused(refusal(Advice::CleanUp));
            self.board.handle_supervised(self.now, &call, &target, outcome);
            return;
        }
        for ear in own {
            assert_ne!(ear.target.as_ref(), Some(&target), "nobody is heard twice");
            let is_session = |it: &Target| *it == Target::Session;
            let mixes = is_session(&target) || ear.target.as_ref().is_some_and(is_session);
            assert!(!mixes, "nobody is heard on a leg of their own and on a mixed one");
        }
        self.next_ear += 1;
        let id = format!("{EAR}{}", self.next_ear);
        let leg = self.sends_invites.then_some(LegId(self.next_ear));
        self.ears.push(Ear {
            call: call.to_string(),
            id: id.clone(),
            target: Some(target.clone()),
            leg,
        });
        let up = |board: &mut Board, now| {
            if let Some(leg) = leg {
                let (call, target, supervisor) = (call.clone(), target.clone(), Some(id.clone()));
                board.handle_leg(now, LegNews::Up { call, target, leg, supervisor });
            }
        };
        if self.invites_first {
            up(&mut self.board, self.now);
        }
        let outcome = Outcome::Accepted { supervisor: id.clone() };
        self.board.handle_supervised(self.now, &call, &target, outcome);
        if !self.invites_first {
            up(&mut self.board, self.now);
        }
    }

    fn presence(&self, agent: &str) -> Vec<ActiveCall> {
        let own = |it: &&CloudParty| it.extension == Some(agent) && !it.is_over();
        let calls: Vec<Value> = self
            .sessions
            .iter()
            .filter_map(|(id, parties)| {
                let status = match parties.iter().find(own)?.code {
                    "Answered" => "CallConnected",
                    "Hold" => "OnHold",
                    _ => "Ringing",
                };
                Some(json!({ "telephonyStatus": status, "telephonySessionId": id }))
            })
            .collect();
        let presence: Presence = serde_json::from_value(json!({ "activeCalls": calls })).unwrap();
        presence.active_calls
    }

    fn session(&self, call: &str) -> Value {
        let parties = self.sessions[call].iter().map(CloudParty::json);
        let ears = self.ears.iter().filter(|ear| ear.call == call).map(|ear| {
            let code = if ear.leg.is_some() { "Answered" } else { "Proceeding" };
            json!({ "id": ear.id, "extensionId": OWNER,
                    "status": { "code": code, "reason": "Supervising" } })
        });
        json!({ "parties": parties.chain(ears).collect::<Vec<_>>() })
    }
}

impl CloudParty {
    fn is_over(&self) -> bool {
        matches!(self.code, "Disconnected" | "Gone")
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "extensionId": self.extension,
            "status": { "code": self.code,
                        "peerId": self.peer.map(|peer| json!({ "telephonySessionId": peer })) },
        })
    }
}
