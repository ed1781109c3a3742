//! The board and the matching of INVITEs on one side, a rehearsed cloud on the other, and the way between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use media_gateway::config::Supervise;
use media_gateway::control::consent::Policies;
use media_gateway::control::{Action, Board, LegNews, Outcome, Refusal, Settings};
use media_gateway::ringcentral::{
    ActiveCall, Error, Notification, Presence, Session, SessionEvent, SupervisorParty,
};
use media_gateway::sip::LegId;
use media_gateway::supervision::{
    Ids, InviteIds, Match, RequestId, SuperviseRequest, Supervision, Target, Verdict,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sidetone_proto::{CallId, Role};
use simulator::{RefusedRequest, Rehearsal, RehearsalEvent, RehearsedCall, Traffic};

use super::chaos::{Chaos, Fate, refused};

/// What is left undone at the end of the last call is done by then.
const AFTERMATH: Duration = Duration::from_secs(180);

/// Between two chances for a leg to be lost.
const LEG_INTERVAL: Duration = Duration::from_secs(10);

/// What became of everything.
#[derive(Debug, PartialEq)]
pub struct Played {
    pub calls: Vec<RehearsedCall>,
    /// Under which role each supervisor's party was heard.
    pub roles: BTreeMap<String, Role>,
    pub released: Vec<String>,
    /// Calls that the board follows at the end, and legs that are up.
    pub followed: usize,
    pub legs: usize,
}

/// Something on its way.
enum Parcel {
    Event(SessionEvent),
    Lost,
    Subscribed,
    LosesLeg,
    /// A REST request, on its way to the cloud.
    Request(Action, Option<RequestId>),
    Presence(Vec<String>, Result<Vec<(String, Vec<ActiveCall>)>, Refusal>),
    Session(CallId, Result<Session, Refusal>),
    Supervised(CallId, Target, RequestId, Result<SupervisorParty, Refusal>),
    Deleted(CallId, String, Result<(), Refusal>),
    Invite(String, Vec<(&'static str, String)>),
}

struct Theatre {
    cloud: Rehearsal,
    board: Board,
    supervision: Supervision,
    chaos: Chaos,
    agents: Vec<String>,
    start: Instant,
    now: Duration,
    /// In order of time, then of dispatch.
    parcels: BTreeMap<(Duration, u64), Parcel>,
    dispatched: u64,
    is_subscribed: bool,
    /// Of each INVITE: whose leg it is.
    legs: BTreeMap<u64, String>,
    next_leg: u64,
    roles: BTreeMap<String, Role>,
    released: Vec<String>,
}

/// Plays the traffic to its end.
pub fn play(traffic: &Traffic, chaos: Chaos) -> Played {
    let cloud = Rehearsal::new(traffic).unwrap();
    let agents: Vec<String> =
        cloud.account().agents.iter().map(|agent| agent.extension_id.clone()).collect();
    let start = Instant::now();
    let settings = Settings {
        agents: agents.clone(),
        supervise: Supervise::Party,
        policies: Policies::default(),
        max_calls: 50,
        poll_interval: Duration::from_secs(2),
    };
    let mut board = Board::new(start, settings);
    board.set_owner(cloud.account().supervisor_extension_id.clone());
    board.handle_registered(start, true);
    let mut theatre = Theatre {
        cloud,
        board,
        supervision: Supervision::default(),
        chaos,
        agents,
        start,
        now: Duration::ZERO,
        parcels: BTreeMap::new(),
        dispatched: 0,
        is_subscribed: false,
        legs: BTreeMap::new(),
        next_leg: 0,
        roles: BTreeMap::new(),
        released: Vec::new(),
    };
    theatre.dispatch(Duration::from_millis(100), Parcel::Subscribed);
    theatre.dispatch(LEG_INTERVAL, Parcel::LosesLeg);
    theatre.run(traffic.duration + AFTERMATH);
    Played {
        calls: theatre.cloud.report(),
        followed: theatre.board.calls(theatre.at(), 0).len(),
        legs: theatre.cloud.answered().count(),
        roles: theatre.roles,
        released: theatre.released,
    }
}

impl Theatre {
    fn run(&mut self, end: Duration) {
        loop {
            self.settle();
            let board =
                self.board.poll_timeout().map(|at| at.saturating_duration_since(self.start));
            let supervision =
                self.supervision.poll_timeout().map(|at| at.saturating_duration_since(self.start));
            let parcel = self.parcels.first_key_value().map(|((at, _), _)| *at);
            let due =
                [self.cloud.next_due(), board, supervision, parcel].into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= end) else { return };
            self.now = self.now.max(due);
            self.cloud.advance(self.now);
            while let Some(entry) = self.parcels.first_entry()
                && entry.key().0 <= self.now
            {
                let parcel = entry.remove();
                self.deliver(parcel);
                self.settle();
            }
            let now = self.at();
            self.board.handle_timeout(now);
            // An INVITE that nobody asked for is refused, and its party stays behind.
            let (unwanted, _) = self.supervision.handle_timeout(now);
            for leg in unwanted {
                self.legs.remove(&leg.0);
            }
        }
    }

    fn at(&self) -> Instant {
        self.start + self.now
    }

    fn dispatch(&mut self, delay: Duration, parcel: Parcel) {
        self.dispatched += 1;
        self.parcels.insert((self.now + delay, self.dispatched), parcel);
    }

    /// Takes what both sides have to say, until they are done.
    fn settle(&mut self) {
        loop {
            if let Some(event) = self.cloud.poll_event() {
                self.told(event);
            } else if let Some(action) = self.board.poll_action() {
                self.act(action);
            } else {
                return;
            }
        }
    }

    fn told(&mut self, event: RehearsalEvent) {
        match event {
            RehearsalEvent::Session { extension_id, body } => {
                let is_agents = extension_id.is_some_and(|id| self.agents.contains(&id));
                if !self.is_subscribed || !(is_agents || self.chaos.is_account_subscribed()) {
                    return;
                }
                if let Fate::After(delays) = self.chaos.event() {
                    for delay in delays {
                        self.dispatch(delay, Parcel::Event(read(body.clone())));
                    }
                }
            }
            RehearsalEvent::LegEnded { party_id } => {
                let leg = self.legs.iter().find(|(_, party)| **party == party_id);
                if let Some(leg) = leg.map(|(leg, _)| LegId(*leg)) {
                    self.legs.remove(&leg.0);
                    self.supervision.forget(leg);
                    self.board.handle_leg(self.start + self.now, LegNews::Ended { leg });
                }
            }
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.at();
        match action {
            Action::Supervise { ref request, .. } => {
                let id = self.supervision.request(now, request.clone());
                let delay = self.chaos.delay();
                self.dispatch(delay, Parcel::Request(action, Some(id)));
            }
            Action::HangUp { leg } => {
                if let Some(party) = self.legs.get(&leg.0).cloned() {
                    self.cloud.hang_up(&party);
                }
            }
            Action::Release { call } => self.released.push(call.to_string()),
            Action::Reregister | Action::Forward { .. } => {}
            request => {
                let delay = self.chaos.delay();
                self.dispatch(delay, Parcel::Request(request, None));
            }
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        let now = self.at();
        match parcel {
            Parcel::Event(event) if self.is_subscribed => {
                self.board.handle_notification(now, Notification::Session(event));
            }
            Parcel::Event(_) => {}
            Parcel::Lost => {
                self.is_subscribed = false;
                self.board.handle_notification(now, Notification::Lost);
            }
            Parcel::Subscribed => {
                self.is_subscribed = true;
                self.board.handle_notification(now, Notification::Missed);
                if let Some((lives, away)) = self.chaos.next_outage() {
                    self.dispatch(lives, Parcel::Lost);
                    self.dispatch(lives + away, Parcel::Subscribed);
                }
            }
            Parcel::LosesLeg => self.lose_leg(),
            Parcel::Request(action, id) => self.serve(action, id),
            Parcel::Presence(agents, shown) => self.board.handle_presence(now, &agents, shown),
            Parcel::Session(call, session) => self.board.handle_session(now, &call, session),
            Parcel::Deleted(call, party, deleted) => {
                self.board.handle_deleted(now, &call, &party, deleted);
            }
            Parcel::Supervised(call, target, id, answer) => {
                let outcome = match answer {
                    Ok(SupervisorParty { id: supervisor }) => {
                        if let Some(matched) = self.supervision.accepted(now, id, &supervisor) {
                            self.answer(matched);
                        }
                        Outcome::Accepted { supervisor }
                    }
                    Err(refusal) => {
                        self.supervision.refused(id);
                        Outcome::Refused(refusal)
                    }
                };
                self.board.handle_supervised(now, &call, &target, outcome);
            }
            Parcel::Invite(party, headers) => self.invited(party, &headers),
        }
    }

    fn lose_leg(&mut self) {
        let up: Vec<String> = self.cloud.answered().map(str::to_owned).collect();
        if !up.is_empty() && self.chaos.loses_a_leg() {
            let party = &up[self.chaos.pick(up.len())];
            self.cloud.hang_up(party);
        }
        if self.cloud.next_due().is_some() {
            self.dispatch(LEG_INTERVAL, Parcel::LosesLeg);
        }
    }

    /// The cloud takes a REST request; its answer sets out.
    fn serve(&mut self, action: Action, id: Option<RequestId>) {
        let answer = match action {
            Action::Presence { agents } => {
                let shown = self.refusal().map_or_else(|| Ok(self.presence(&agents)), Err);
                Parcel::Presence(agents, shown)
            }
            Action::Look { call } => {
                let session = match self.refusal() {
                    Some(refusal) => Err(refusal),
                    None => self.cloud.session(call.as_str()).map(read).map_err(refusal),
                };
                Parcel::Session(call, session)
            }
            Action::DeleteParty { call, party } => {
                let deleted = match self.refusal() {
                    Some(refusal) => Err(refusal),
                    None => self.cloud.delete_party(call.as_str(), &party).map_err(refusal),
                };
                Parcel::Deleted(call, party, deleted)
            }
            Action::Supervise { request, names_agent } => {
                let Some(id) = id else { return };
                let answer = self.supervise(&request, names_agent);
                Parcel::Supervised(request.call, request.target, id, answer)
            }
            other => panic!("{other:?} is no request"),
        };
        let delay = self.chaos.delay();
        self.dispatch(delay, answer);
    }

    fn presence(&self, agents: &[String]) -> Vec<(String, Vec<ActiveCall>)> {
        let of = |agent: &String| {
            let presence: Presence = read(self.cloud.presence(agent).unwrap());
            (agent.clone(), presence.active_calls)
        };
        agents.iter().map(of).collect()
    }

    fn supervise(
        &mut self,
        request: &SuperviseRequest,
        names_agent: bool,
    ) -> Result<SupervisorParty, Refusal> {
        let call = request.call.as_str();
        let party = match &request.target {
            Target::Party(party) => Some(party.id.as_str()),
            Target::Session => None,
        };
        let is_public = party.is_some_and(|party| self.is_public(call, party));
        if let Some(error) = self.chaos.supervise_refusal(is_public, names_agent) {
            return Err((&error).into());
        }
        let device = self.cloud.account().supervisor_device_id.clone();
        let mut body = json!({ "mode": "Listen", "supervisorDeviceId": device });
        if names_agent {
            body["agentExtensionId"] = json!(request.agent);
        }
        let invitation = self.cloud.supervise(call, party, body).map_err(refusal)?;
        // Before the answer, or after it.
        let delay = self.chaos.delay() * 2;
        self.dispatch(delay, Parcel::Invite(invitation.party_id, invitation.headers));
        if self.chaos.loses_the_answer() {
            return Err((&refused(504, "", "")).into());
        }
        Ok(read(invitation.response))
    }

    fn is_public(&self, call: &str, party: &str) -> bool {
        let session = self.cloud.session(call).unwrap_or_default();
        let mut parties = session["parties"].as_array().into_iter().flatten();
        parties.any(|it| it["id"] == party && it.get("extensionId").is_none())
    }

    fn refusal(&mut self) -> Option<Refusal> {
        self.chaos.refusal().map(|error| (&error).into())
    }

    fn invited(&mut self, party: String, headers: &[(&'static str, String)]) {
        let ids = |name: &str| {
            headers.iter().find(|(it, _)| *it == name).map(|(_, value)| Ids::parse(value))
        };
        self.next_leg += 1;
        let leg = LegId(self.next_leg);
        self.legs.insert(leg.0, party);
        let ids = InviteIds {
            supervisor: ids("p-rc-api-ids"),
            monitored: ids("p-rc-api-monitoring-ids"),
            media: vec![None],
        };
        match self.supervision.invited(self.at(), leg, ids) {
            Verdict::Matched(matched) => self.answer(matched),
            Verdict::Parked => {}
            Verdict::Unwanted => drop(self.legs.remove(&leg.0)),
        }
    }

    /// The gateway answers an INVITE that was asked for.
    fn answer(&mut self, matched: Match) {
        let Match { leg, request: SuperviseRequest { call, target, .. }, supervisor, .. } = matched;
        let Some(party) = self.legs.get(&leg.0).cloned() else { return };
        let news = if self.cloud.answer(&party) {
            let role = match &target {
                Target::Party(party) => party.role,
                Target::Session => Role::Mixed,
            };
            self.roles.insert(party, role);
            LegNews::Up { call, target, leg, supervisor }
        } else {
            self.legs.remove(&leg.0);
            LegNews::Failed { call, target, why: "the INVITE was taken back".to_owned() }
        };
        self.board.handle_leg(self.at(), news);
    }
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn refusal(refused_request: RefusedRequest) -> Refusal {
    let RefusedRequest { status, body } = refused_request;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let error = Error::Refused {
        request: "/restapi".into(),
        status,
        code: text("/errorCode").into(),
        message: text("/message").into(),
        parameter: text("/errors/0/parameterName").into(),
        request_id: "rehearsed".into(),
    };
    (&error).into()
}
