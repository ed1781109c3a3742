//! Which INVITE belongs to which supervise request: pure matching, no REST and no SIP.
//!
//! A request is entered before it is sent, because its INVITE can arrive before the REST answer. An INVITE that matches
//! nothing yet is parked; one that matches nothing by the end of [`PARKING`] is an ordinary phone call and is left alone.

use std::time::{Duration, Instant};

use sidetone_proto::{CallId, Party, PartyId, Role};

use crate::sip::LegId;

/// How long an INVITE waits for the REST answer that it may belong to.
pub const PARKING: Duration = Duration::from_secs(15);

/// How long a supervise request may bring its INVITE. Used once.
pub const REQUEST_LIFETIME: Duration = Duration::from_secs(30);

/// INVITEs parked at once. When full, the next one counts as an ordinary call at once.
pub const PARKED_CAPACITY: usize = 64;

/// A supervise request, numbered in the order of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// What a supervise request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperviseRequest {
    /// The call.
    pub call: CallId,
    /// Whom to listen to: one party, or the whole session.
    pub target: Target,
    /// The agent's extension id.
    pub agent: String,
    /// The live parties of the call with their roles, as the session says.
    pub parties: Vec<Party>,
    /// Whether what is heard is kept back, because nobody has consented yet.
    pub is_withheld: bool,
}

/// Whom a supervise request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One party: one leg with one voice.
    Party(Party),
    /// Everyone: one leg, either with both voices mixed or with one m-line for each.
    Session,
}

/// The ids that an INVITE carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InviteIds {
    /// `p-rc-api-ids`: the supervisor's own party.
    pub supervisor: Option<Ids>,
    /// `p-rc-api-monitoring-ids`: the monitored party.
    pub monitored: Option<Ids>,
    /// The party id in the `i=` line of each m-line, in order.
    pub media: Vec<Option<String>>,
}

/// One of RingCentral's id headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// `party-id`, as written.
    pub party: Option<String>,
    /// `session-id`, as written.
    pub session: Option<String>,
}

/// How an INVITE was matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchedBy {
    /// `p-rc-api-monitoring-ids` names the monitored party.
    MonitoredParty,
    /// `p-rc-api-ids` names the supervisor's party of the REST answer.
    SupervisorParty,
}

/// An INVITE that a supervise request asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The leg to answer.
    pub leg: LegId,
    /// The request, now used up.
    pub request: SuperviseRequest,
    /// How it was recognised.
    pub by: MatchedBy,
    /// The supervisor's own party, if the INVITE or the REST answer names it.
    pub supervisor: Option<String>,
    /// Who speaks on each m-line, in order.
    pub media: Vec<Party>,
    /// The party id in the `i=` line of each m-line, in order.
    ids: Vec<Option<String>>,
}

/// What to do with an INVITE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Matched(Match),
    /// Wait for the REST answer.
    Parked,
    /// Too many wait already: leave it alone.
    Unwanted,
}

/// The pending supervise requests and the INVITEs that wait for one.
#[derive(Debug, Default)]
pub struct Supervision {
    next_request: u64,
    pending: Vec<Pending>,
    parked: Vec<Parked>,
}

#[derive(Debug)]
struct Pending {
    id: RequestId,
    request: SuperviseRequest,
    /// The supervisor's party of the REST answer, normalised.
    supervisor: Option<String>,
    expires: Instant,
}

#[derive(Debug)]
struct Parked {
    leg: LegId,
    ids: InviteIds,
    expires: Instant,
}

impl Match {
    /// The party ids of a leg with several m-lines, if nobody on it is known: worth asking RingCentral for each.
    pub fn unresolved(&self) -> Option<Vec<String>> {
        let unknown = self.media.len() > 1
            && self.media.iter().all(|party| party.role == Role::Unknown)
            && self.ids.iter().any(Option::is_some);
        unknown.then(|| self.ids.iter().flatten().cloned().collect())
    }

    /// The same leg, with what is known of its parties meanwhile.
    pub fn resolved(mut self, parties: &[Party]) -> Self {
        self.media = identify(&self.request.call, &self.ids, parties);
        self
    }
}

impl Ids {
    /// Reads `party-id=…;session-id=…` in any order, case and spacing.
    pub fn parse(value: &str) -> Self {
        let get = |name: &str| {
            value.split([';', ',']).find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                let value = value.trim().trim_matches('"');
                let is_it = key.trim().eq_ignore_ascii_case(name) && !value.is_empty();
                is_it.then(|| value.to_owned())
            })
        };
        Self { party: get("party-id"), session: get("session-id") }
    }
}

impl Supervision {
    /// Enters a request. Do this before it is sent.
    pub fn request(&mut self, now: Instant, request: SuperviseRequest) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let expires = now + REQUEST_LIFETIME;
        self.pending.push(Pending { id, request, supervisor: None, expires });
        id
    }

    /// RingCentral accepted a request and named the supervisor's new party. Gives the INVITE that was waiting for this.
    pub fn accepted(&mut self, now: Instant, id: RequestId, supervisor: &str) -> Option<Match> {
        let pending = self.pending.iter_mut().find(|pending| pending.id == id)?;
        pending.supervisor = Some(normalise(supervisor).to_owned());
        pending.expires = now + REQUEST_LIFETIME;
        let waiting = self.parked.iter().position(|parked| {
            let named = parked.ids.supervisor.as_ref().and_then(|ids| ids.party.as_deref());
            named.map(normalise) == Some(normalise(supervisor))
        })?;
        let parked = self.parked.remove(waiting);
        self.take(id, parked.leg, &parked.ids, MatchedBy::SupervisorParty)
    }

    /// RingCentral refused a request: no INVITE will come.
    pub fn refused(&mut self, id: RequestId) {
        self.pending.retain(|pending| pending.id != id);
    }

    /// Whether no INVITE is waited for, and none waits.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.parked.is_empty()
    }

    /// Whether a request has brought its INVITE, or never will.
    pub fn is_settled(&self, id: RequestId) -> bool {
        self.pending.iter().all(|pending| pending.id != id)
    }

    /// An INVITE arrived.
    pub fn invited(&mut self, now: Instant, leg: LegId, ids: InviteIds) -> Verdict {
        if let Some((id, by)) = self.find(&ids)
            && let Some(matched) = self.take(id, leg, &ids, by)
        {
            return Verdict::Matched(matched);
        }
        if self.parked.len() >= PARKED_CAPACITY {
            return Verdict::Unwanted;
        }
        self.parked.push(Parked { leg, ids, expires: now + PARKING });
        Verdict::Parked
    }

    /// A parked leg is over: its INVITE was taken back.
    pub fn forget(&mut self, leg: LegId) {
        self.parked.retain(|parked| parked.leg != leg);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let parked = self.parked.iter().map(|parked| parked.expires);
        parked.chain(self.pending.iter().map(|pending| pending.expires)).min()
    }

    /// Forgets what has waited long enough. Returns the INVITEs that nobody asked for, and the requests that never
    /// brought one.
    pub fn handle_timeout(&mut self, now: Instant) -> (Vec<LegId>, Vec<SuperviseRequest>) {
        let unwanted: Vec<LegId> =
            self.parked.extract_if(.., |parked| parked.expires <= now).map(|p| p.leg).collect();
        let unserved = self.pending.extract_if(.., |pending| pending.expires <= now);
        (unwanted, unserved.map(|pending| pending.request).collect())
    }

    fn find(&self, ids: &InviteIds) -> Option<(RequestId, MatchedBy)> {
        let monitored = ids.monitored.as_ref().and_then(|ids| ids.party.as_deref()).map(normalise);
        let by_monitored = self.pending.iter().find(|pending| match &pending.request.target {
            Target::Party(party) => Some(normalise(party.id.as_str())) == monitored,
            Target::Session => false,
        });
        if let Some(pending) = by_monitored {
            return Some((pending.id, MatchedBy::MonitoredParty));
        }
        let supervisor = ids.supervisor.as_ref().and_then(|ids| ids.party.as_deref())?;
        let by_supervisor = self
            .pending
            .iter()
            .find(|pending| pending.supervisor.as_deref() == Some(normalise(supervisor)))?;
        Some((by_supervisor.id, MatchedBy::SupervisorParty))
    }

    fn take(&mut self, id: RequestId, leg: LegId, ids: &InviteIds, by: MatchedBy) -> Option<Match> {
        let at = self.pending.iter().position(|pending| pending.id == id)?;
        let Pending { request, supervisor, .. } = self.pending.remove(at);
        let supervisor = ids.supervisor.as_ref().and_then(|ids| ids.party.clone()).or(supervisor);
        let media = match &request.target {
            Target::Party(party) => vec![party.clone(); ids.media.len()],
            Target::Session => {
                session_media(&request, supervisor.as_deref().unwrap_or("supervisor"), &ids.media)
            }
        };
        Some(Match { leg, request, by, supervisor, media, ids: ids.media.clone() })
    }
}

/// Who speaks on each m-line, given the party ids of the m-lines and the parties of the call.
///
/// If exactly one of two m-lines resolves, the other one is the other role. Ids that resolve nowhere are `unknown`:
/// never guessed from the order of the lines.
pub fn identify(call: &CallId, ids: &[Option<String>], parties: &[Party]) -> Vec<Party> {
    let mut found: Vec<Option<Party>> = Vec::new();
    for id in ids.iter().map(Option::as_deref) {
        let named = |party: &&Party| id.map(normalise) == Some(normalise(party.id.as_str()));
        let party = parties.iter().find(named);
        // Two lines that name one party: the second is not believed.
        let is_new = party.is_some_and(|party| !found.iter().flatten().any(|it| it == party));
        found.push(party.filter(|_| is_new).cloned());
    }
    let unresolved = |index: usize, role| {
        let id = ids[index].as_deref().filter(|_| !repeats(ids, index));
        let id = id.map_or_else(|| format!("media-{index}"), str::to_owned);
        Party { call: call.clone(), id: PartyId::new(id), role }
    };
    let other = |index, known: &Party| {
        opposite(known, parties).unwrap_or_else(|| unresolved(index, other_role(known.role)))
    };
    match found.as_slice() {
        [Some(known), None] => vec![known.clone(), other(1, known)],
        [None, Some(known)] => vec![other(0, known), known.clone()],
        _ => found
            .into_iter()
            .enumerate()
            .map(|(index, party)| party.unwrap_or_else(|| unresolved(index, Role::Unknown)))
            .collect(),
    }
}

fn session_media(
    request: &SuperviseRequest,
    supervisor: &str,
    ids: &[Option<String>],
) -> Vec<Party> {
    if ids.len() < 2 {
        let id = PartyId::new(supervisor);
        return vec![Party { call: request.call.clone(), id, role: Role::Mixed }];
    }
    identify(&request.call, ids, &request.parties)
}

fn other_role(role: Role) -> Role {
    match role {
        Role::Agent => Role::Customer,
        Role::Customer => Role::Agent,
        Role::Mixed | Role::Unknown => Role::Unknown,
    }
}

/// Whether an earlier line has the same id.
fn repeats(ids: &[Option<String>], index: usize) -> bool {
    let id = ids[index].as_deref().map(normalise);
    ids[..index].iter().any(|earlier| earlier.as_deref().map(normalise) == id)
}

/// The one live party that is not this one and has the other role.
fn opposite(known: &Party, parties: &[Party]) -> Option<Party> {
    let mut others = parties.iter().filter(|party| party.role != known.role);
    let other = others.next()?.clone();
    others.next().is_none().then_some(other)
}

/// RingCentral mixes forms of one id within one message: with and without `p-` or `s-`.
pub(crate) fn normalise(id: &str) -> &str {
    let id = id.trim();
    id.strip_prefix("p-").or_else(|| id.strip_prefix("s-")).unwrap_or(id)
}

#[cfg(test)]
#[path = "supervision_tests.rs"]
mod tests;
