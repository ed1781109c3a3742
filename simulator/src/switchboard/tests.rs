use super::*;
use crate::account::Customer;
use crate::kind::CallKind;
use crate::script::Script;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

/// A switchboard with one call of a kind, and what it has told.
struct Fixture {
    switchboard: Switchboard,
    session: String,
    changes: broadcast::Receiver<SessionChange>,
    script: Script,
}

impl Fixture {
    fn new(kind: CallKind) -> Self {
        let account = Account::with_agents(2);
        let cast = Cast {
            agent: account.agents[0].clone(),
            colleague: Some(account.agents[1].clone()),
            customer: Customer::default(),
        };
        let mut switchboard = Switchboard::new(account, 1);
        let changes = switchboard.subscribe();
        let session = switchboard.open(cast, Variant::default(), UNIX_EPOCH);
        let script = Script::new(kind, Duration::from_secs(4), Duration::from_secs(60));
        Self { switchboard, session, changes, script }
    }

    /// A call whose both sides have answered.
    fn answered(kind: CallKind) -> Self {
        let mut fixture = Self::new(kind);
        fixture.dial();
        fixture
    }

    fn apply(&mut self, steps: Vec<(Duration, Step)>) -> Vec<String> {
        let switchboard = &mut self.switchboard;
        let session = &self.session;
        steps
            .into_iter()
            .flat_map(|(at, step)| switchboard.apply(session, &step, UNIX_EPOCH + at))
            .collect()
    }

    fn dial(&mut self) -> Vec<String> {
        self.apply(self.script.dialling.clone())
    }

    fn talk(&mut self) -> Vec<String> {
        self.apply(self.script.talking.clone())
    }

    /// What has been told since the last time, as `party number: status`, with the extension's last digits for parties
    /// of the account.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(change) = self.changes.try_recv() {
            let party = &change.body["parties"][0];
            let number = party["id"].as_str().unwrap().rsplit('-').next().unwrap();
            let status = party["status"]["code"].as_str().unwrap();
            assert_eq!(change.extension_id.as_deref(), party["extensionId"].as_str());
            let is_call = change.telephony_session_id == self.session;
            told.push(format!("{}-{number} {status}", if is_call { "" } else { "consult" }));
        }
        told
    }

    fn party(&self, index: usize) -> Value {
        self.switchboard.session(&self.session).unwrap()["parties"][index - 1].clone()
    }

    fn supervise(&mut self, index: Option<usize>) -> Result<Supervision, ApiError> {
        let party = index.map(|index| self.party(index)["id"].as_str().unwrap().to_owned());
        self.ask(party.as_deref(), "agentExtensionId", 0)
    }

    fn ask(
        &mut self,
        party: Option<&str>,
        key: &str,
        agent: usize,
    ) -> Result<Supervision, ApiError> {
        let account = self.switchboard.account();
        let request = json!({
            "mode": "Listen",
            "supervisorDeviceId": account.supervisor_device_id,
            key: account.agents[agent].extension_id,
        });
        let request = serde_json::from_value(request).unwrap();
        self.switchboard.supervise(&self.session, party, &request, true, UNIX_EPOCH)
    }
}

#[test]
fn each_kind_of_call_tells_the_sequence_of_the_real_service() {
    for (kind, sequence) in [
        (
            CallKind::Inbound,
            "-1 Setup, -2 Setup, -1 Proceeding, -2 Proceeding, -2 Answered, -1 Answered",
        ),
        (
            CallKind::Queue,
            "-1 Setup, -2 Setup, -1 Answered, -2 Disconnected, -3 Setup, -3 Proceeding, -3 Answered",
        ),
        (CallKind::Outbound, "-1 Setup, -2 Proceeding, -1 Proceeding, -2 Answered, -1 Answered"),
        (CallKind::Internal, "-1 Setup, -2 Setup, -1 Answered, -2 Proceeding, -2 Answered"),
        (
            CallKind::EarlyHangUp,
            "-1 Setup, -2 Setup, -1 Proceeding, -2 Proceeding, -1 Disconnected, -2 Disconnected",
        ),
        (
            CallKind::Voicemail,
            "-1 Setup, -2 Setup, -1 Proceeding, -2 Proceeding, -2 VoiceMail, -1 Answered",
        ),
    ] {
        let mut fixture = Fixture::answered(kind);
        assert_eq!(fixture.told().join(", "), sequence, "{kind}");
        assert_eq!(fixture.switchboard.is_talking(&fixture.session), kind.is_answered(), "{kind}");
        fixture.switchboard.end(&fixture.session, UNIX_EPOCH);
        let ended = fixture.told();
        assert!(ended.iter().all(|it| it.ends_with("Disconnected")), "{kind}: {ended:?}");
    }
}

#[test]
fn talks_change_as_their_kind_says() {
    for (kind, sequence) in [
        (CallKind::Hold, "-2 Hold, -2 Answered"),
        (CallKind::BlindTransfer, "-2 Disconnected, -3 Setup, -3 Proceeding, -3 Answered"),
        (
            CallKind::AttendedTransfer,
            "-2 Hold, consult-1 Setup, consult-2 Setup, consult-1 Answered, consult-2 Proceeding, \
             consult-2 Answered, -3 Answered, consult-2 Gone, consult-1 Disconnected, -2 Disconnected",
        ),
        (CallKind::Park, "-2 Disconnected, -1 Parked, -3 Setup, -1 Answered, -3 Answered"),
        (CallKind::Conference, "-3 Proceeding, -3 Answered"),
    ] {
        let mut fixture = Fixture::answered(kind);
        fixture.told();
        fixture.talk();
        assert_eq!(fixture.told().join(", "), sequence, "{kind}");
        assert!(fixture.switchboard.is_talking(&fixture.session), "{kind}");
    }
}

#[test]
fn sequences_rise_by_one_from_two() {
    let mut fixture = Fixture::answered(CallKind::Queue);
    let sequences: Vec<u64> =
        std::iter::from_fn(|| fixture.changes.try_recv().ok()).map(|it| it.sequence).collect();
    assert_eq!(sequences, (2..9).collect::<Vec<_>>());
}

#[test]
fn a_gone_party_names_the_one_that_it_goes_on_as() {
    let mut fixture = Fixture::answered(CallKind::AttendedTransfer);
    fixture.talk();
    let mut gone = None;
    while let Ok(change) = fixture.changes.try_recv() {
        let status = change.body["parties"][0]["status"].clone();
        gone = gone.or((status["code"] == "Gone").then_some(status));
    }
    let peer = &gone.unwrap()["peerId"];
    assert_eq!(peer["telephonySessionId"], fixture.session);
    assert_eq!(peer["partyId"], fixture.party(3)["id"]);
}

#[test]
fn in_a_queue_call_the_callee_is_the_queue_and_the_agent_a_later_party() {
    let fixture = Fixture::answered(CallKind::Queue);
    let [queue, agent] = [2, 3].map(|index| fixture.party(index));
    assert_eq!(agent["to"]["extensionId"], queue["extensionId"]);
    assert_eq!(agent["extensionId"], fixture.switchboard.account().agents[0].extension_id);
    assert_eq!(fixture.party(1)["extensionId"], Value::Null);
}

#[test]
fn nobody_is_supervised_who_does_not_talk() {
    let mut fixture = Fixture::new(CallKind::Internal);
    let ringing = fixture.script.dialling.len() - 1;
    fixture.apply(fixture.script.dialling[..ringing].to_vec());
    // The agent's party is answered, the colleague's telephone rings.
    assert_eq!(fixture.party(1)["status"]["code"], "Answered");
    assert_eq!(fixture.supervise(Some(1)).unwrap_err(), ApiError::WrongState);
    fixture.apply(fixture.script.dialling[ringing..].to_vec());
    assert!(fixture.supervise(Some(1)).is_ok() && fixture.supervise(Some(2)).is_ok());

    let mut fixture = Fixture::answered(CallKind::Hold);
    fixture.apply(fixture.script.talking[..1].to_vec());
    assert_eq!(fixture.supervise(Some(1)).unwrap_err(), ApiError::WrongState);
    for kind in [CallKind::EarlyHangUp, CallKind::Voicemail] {
        let mut fixture = Fixture::answered(kind);
        assert_eq!(fixture.supervise(None).unwrap_err(), ApiError::WrongState, "{kind}");
    }
}

#[test]
fn a_conference_is_supervised_as_a_session_only() {
    let mut fixture = Fixture::answered(CallKind::Conference);
    assert!(fixture.supervise(Some(1)).is_ok());
    fixture.talk();
    assert_eq!(fixture.supervise(Some(2)).unwrap_err(), ApiError::WrongState);
    assert!(fixture.supervise(None).is_ok());
}

#[test]
fn with_the_agent_goes_the_right_to_listen() {
    let mut fixture = Fixture::answered(CallKind::BlindTransfer);
    let supervisors = [1, 2].map(|index| fixture.supervise(Some(index)).unwrap().party_id);
    assert_eq!(fixture.talk(), supervisors);
    for supervisor in &supervisors {
        let (switchboard, session) = (&mut fixture.switchboard, &fixture.session);
        switchboard.remove_supervisor(session, supervisor, UNIX_EPOCH).unwrap();
    }
    // From now on it is the colleague's call.
    assert_eq!(fixture.supervise(None).unwrap_err(), ApiError::NotFound("agentExtensionId"));
    let party = fixture.party(3)["id"].as_str().unwrap().to_owned();
    let supervision = fixture.ask(Some(&party), "agentExtensionId", 1).unwrap();
    assert_eq!(supervision.target, Target::Party(Side::Agent));
}

#[test]
fn only_the_customers_leg_needs_no_agent() {
    let mut fixture = Fixture::answered(CallKind::Inbound);
    let [customer, agent] = [1, 2].map(|n| fixture.party(n)["id"].as_str().unwrap().to_owned());
    let missing = ApiError::InvalidParameter("agentExtensionId");
    assert_eq!(fixture.ask(Some(&agent), "nothing", 0).unwrap_err(), missing);
    assert_eq!(fixture.ask(None, "nothing", 0).unwrap_err(), missing);
    assert!(fixture.ask(Some(&customer), "nothing", 0).is_ok());
}

#[test]
fn a_ghost_keeps_others_out_until_it_is_deleted() {
    let mut fixture = Fixture::answered(CallKind::Inbound);
    fixture.switchboard.add_ghost(&fixture.session, UNIX_EPOCH);
    assert_eq!(fixture.switchboard.ghosts(&fixture.session), 1);
    assert_eq!(fixture.supervise(Some(2)).unwrap_err(), ApiError::AlreadySupervised);
    let ghost = fixture.party(3);
    assert_eq!(
        (&ghost["status"]["code"], &ghost["status"]["reason"]),
        (&json!("Proceeding"), &json!("Supervising"))
    );
    let (switchboard, id) = (&mut fixture.switchboard, ghost["id"].as_str().unwrap());
    switchboard.remove_supervisor(&fixture.session, id, UNIX_EPOCH).unwrap();
    assert!(fixture.supervise(Some(2)).is_ok());
}

#[test]
fn presence_shows_who_is_called_and_who_listens() {
    let mut fixture = Fixture::answered(CallKind::Inbound);
    let supervision = fixture.supervise(Some(2)).unwrap();
    let (supervisor, agent) = {
        let account = fixture.switchboard.account();
        (account.supervisor_extension_id.clone(), account.agents[0].clone())
    };
    let presence = |fixture: &Fixture, id: &str| fixture.switchboard.presence(id, true).unwrap();
    assert_eq!(presence(&fixture, &supervisor)["telephonyStatus"], "NoCall");
    let (switchboard, session) = (&mut fixture.switchboard, &fixture.session);
    switchboard.supervisor_answered(session, &supervision.party_id, UNIX_EPOCH);
    let joined = &presence(&fixture, &supervisor)["activeCalls"][0];
    assert_eq!(
        (&joined["direction"], &joined["to"]),
        (&json!("Outbound"), &json!(agent.extension_number))
    );
    assert_eq!(joined["partyId"], supervision.party_id);
    assert_eq!(presence(&fixture, &agent.extension_id)["activeCalls"][0]["direction"], "Inbound");
}

#[test]
fn changes_hide_numbers_and_names() {
    let mut fixture = Fixture::answered(CallKind::Inbound);
    let shown = format!("{:?}", fixture.changes.try_recv().unwrap());
    assert!(shown.contains(&fixture.session) && !shown.contains("+1"), "{shown}");
}
