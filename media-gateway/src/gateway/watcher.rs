//! Finds the agents' calls and asks RingCentral to let us listen.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sidetone_proto::{CallId, Party, PartyId, Role};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use super::admission::Denied;
use super::event_loop::Input;
use crate::config::{Config, Supervise};
use crate::metrics::SUPERVISE_REQUESTS;
use crate::ringcentral::{Advice, Client, Error, Session, SessionParty, SupervisorParty, advise};
use crate::supervision::{RequestId, SuperviseRequest, Target};

/// Attempts at one supervise request before its call is given up.
const MAX_ATTEMPTS: u32 = 8;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// How often a call is looked at that not everyone has answered yet. Presence and this share 50 requests a minute.
const SESSION_INTERVAL: Duration = Duration::from_secs(2);

/// Looks for calls until cancelled, while the device is registered.
pub(super) async fn run(
    config: Arc<Config>,
    client: Arc<Client>,
    inputs: mpsc::Sender<Input>,
    mut registered: watch::Receiver<bool>,
    cancelled: CancellationToken,
) {
    let watch = async {
        let mut attachments = JoinSet::new();
        let mut known: HashSet<(String, String)> = HashSet::new();
        let mut retry = FIRST_RETRY;
        // One agent per interval: with more agents each is looked at less often, and the rate stays the same.
        for agent in config.agents.iter().cycle() {
            if registered.wait_for(|registered| *registered).await.is_err() {
                return;
            }
            let pause = match client.presence(agent).await {
                Ok(presence) => {
                    retry = FIRST_RETRY;
                    known.retain(|(of, session)| {
                        of != agent
                            || presence
                                .active_calls
                                .iter()
                                .any(|it| it.telephony_session_id == *session)
                    });
                    for call in presence.active_calls {
                        let session = call.telephony_session_id;
                        let is_new = call.telephony_status == "CallConnected"
                            && !session.is_empty()
                            && known.insert((agent.clone(), session.clone()));
                        if is_new {
                            let span = info_span!("supervise", call = %session);
                            let attach = Attachment {
                                config: config.clone(),
                                client: client.clone(),
                                inputs: inputs.clone(),
                                agent: agent.clone(),
                                session,
                            };
                            attachments.spawn(attach.run().instrument(span));
                        }
                    }
                    config.poll_interval
                }
                Err(Error::RateLimited { retry_after }) => {
                    warn!(?retry_after, "rate limit reached, not looking for calls");
                    retry_after
                }
                Err(error) => {
                    warn!(%error, retry_in = ?retry, "could not look for calls");
                    let pause = retry;
                    retry = (retry * 2).min(LAST_RETRY);
                    pause
                }
            };
            while attachments.try_join_next().is_some() {}
            sleep(pause).await;
        }
    };
    let _ = cancelled.run_until_cancelled(watch).await;
}

/// What to do about a call.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Not everyone has answered.
    Wait,
    /// The agent is not on it any more.
    Gone,
    /// Listen to each party, in this order.
    Parties(Vec<Party>),
    /// Listen to everyone at once.
    Session(Vec<Party>),
}

/// Why a call is not listened to.
#[derive(Debug)]
enum Stopped {
    Gone,
    GivenUp,
}

struct Attachment {
    config: Arc<Config>,
    client: Arc<Client>,
    inputs: mpsc::Sender<Input>,
    agent: String,
    session: String,
}

impl Attachment {
    async fn run(self) {
        let plan = loop {
            match self.look().await {
                Ok(Plan::Wait) => sleep(SESSION_INTERVAL).await,
                Ok(plan) => break plan,
                Err(Stopped::Gone | Stopped::GivenUp) => return,
            }
        };
        let (targets, parties) = match plan {
            Plan::Parties(parties) => {
                (parties.iter().cloned().map(Target::Party).collect::<Vec<_>>(), parties)
            }
            Plan::Session(parties) => (vec![Target::Session], parties),
            Plan::Wait | Plan::Gone => return,
        };
        for target in targets {
            let call = CallId::new(self.session.as_str());
            let request = SuperviseRequest {
                call,
                target,
                agent: self.agent.clone(),
                parties: parties.clone(),
            };
            match self.supervise(request).await {
                Ok(()) | Err(Stopped::GivenUp) => {}
                Err(Stopped::Gone) => return,
            }
        }
    }

    /// Reads the session until it can be read.
    async fn look(&self) -> Result<Plan, Stopped> {
        let mut retry = FIRST_RETRY;
        loop {
            match self.client.session(&self.session).await {
                Ok(session) => {
                    let call = CallId::new(self.session.as_str());
                    return Ok(plan(&call, &session, &self.agent, self.config.supervise));
                }
                Err(error) if error.is_not_found() => return Err(Stopped::Gone),
                Err(Error::RateLimited { retry_after }) => sleep(retry_after).await,
                Err(error) if retry > LAST_RETRY => {
                    error!(%error, "could not read the call, giving it up");
                    return Err(Stopped::GivenUp);
                }
                Err(error) => {
                    warn!(%error, "could not read the call");
                    sleep(retry).await;
                    retry *= 2;
                }
            }
        }
    }

    async fn supervise(&self, request: SuperviseRequest) -> Result<(), Stopped> {
        let mut agent = Some(self.agent.as_str());
        let mut retry = FIRST_RETRY;
        for _ in 0..MAX_ATTEMPTS {
            let id = self.enter(request.clone()).await?;
            match self.post(&request.target, agent).await {
                Ok(supervisor) => {
                    SUPERVISE_REQUESTS.increment_of("outcome", "accepted");
                    debug!(supervisor = supervisor.id, "supervision accepted");
                    return self
                        .tell(Input::SuperviseAccepted { id, supervisor: supervisor.id })
                        .await;
                }
                Err(error) => {
                    SUPERVISE_REQUESTS.increment_of("outcome", "refused");
                    self.tell(Input::SuperviseRefused { id }).await?;
                    self.follow(&error, &mut agent, retry).await?;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        }
        error!(target = ?request.target, "supervision refused too often, giving it up");
        Err(Stopped::GivenUp)
    }

    /// Does what a refusal asks for before the next attempt.
    async fn follow(
        &self,
        error: &Error,
        agent: &mut Option<&str>,
        retry: Duration,
    ) -> Result<(), Stopped> {
        match advise(error) {
            Advice::RetryLater => {
                warn!(%error, retry_in = ?retry, "supervision refused");
                sleep(retry).await;
                match self.look().await? {
                    Plan::Gone => Err(Stopped::Gone),
                    Plan::Wait | Plan::Parties(_) | Plan::Session(_) => Ok(()),
                }
            }
            Advice::Reregister => {
                warn!(%error, "ringcentral does not see the device, registering again");
                self.tell(Input::Reregister).await?;
                sleep(retry.max(Duration::from_secs(2))).await;
                Ok(())
            }
            Advice::RetryWithoutAgent if agent.is_some() => {
                info!(%error, "asking again without the agent's extension");
                *agent = None;
                Ok(())
            }
            Advice::CleanUp => {
                warn!(%error, "removing a stuck supervisor party");
                self.remove_stuck_party().await;
                sleep(retry).await;
                Ok(())
            }
            Advice::Wait(pause) => {
                warn!(%error, "supervision has to wait");
                sleep(pause).await;
                Ok(())
            }
            Advice::Gone => {
                info!(%error, "the call is over");
                Err(Stopped::Gone)
            }
            Advice::Misconfigured | Advice::RetryWithoutAgent => {
                error!(%error, "supervision can't work with this configuration");
                Err(Stopped::GivenUp)
            }
        }
    }

    async fn post(&self, target: &Target, agent: Option<&str>) -> Result<SupervisorParty, Error> {
        let device = &self.config.supervisor_device_id;
        match target {
            Target::Party(party) => {
                let party = party.id.as_str();
                self.client.supervise_party(&self.session, party, device, agent).await
            }
            Target::Session => {
                self.client.supervise_session(&self.session, device, &self.agent).await
            }
        }
    }

    /// Deletes our own party of an earlier attempt, and nobody else's: deleting another would drop the customer's call.
    async fn remove_stuck_party(&self) {
        let (Ok(owner), Ok(session)) =
            (self.client.owner().await, self.client.session(&self.session).await)
        else {
            return;
        };
        let stuck = session.parties.iter().filter(|party| {
            party.is_supervising()
                && !party.is_answered()
                && !owner.is_empty()
                && party.extension_id() == Some(owner.as_str())
        });
        for party in stuck {
            if let Err(error) = self.client.delete_party(&self.session, &party.id).await {
                warn!(%error, party = party.id, "could not remove the stuck party");
            }
        }
    }

    /// Announces the request that is about to be made. While there are too many calls, waits for its turn.
    async fn enter(&self, request: SuperviseRequest) -> Result<RequestId, Stopped> {
        loop {
            let (reply, id) = oneshot::channel();
            self.tell(Input::SuperviseRequested { request: request.clone(), reply }).await?;
            let denied = match id.await {
                Ok(Ok(id)) => return Ok(id),
                Ok(Err(denied)) => denied,
                Err(_) => return Err(Stopped::Gone),
            };
            SUPERVISE_REQUESTS.increment_of("outcome", crate::metrics::label(&denied));
            if denied != Denied::TooManyCalls {
                return Err(Stopped::GivenUp);
            }
            warn!(%denied, retry_in = ?LAST_RETRY, "not listening to the call yet");
            sleep(LAST_RETRY).await;
            if self.look().await? == Plan::Gone {
                return Err(Stopped::Gone);
            }
        }
    }

    async fn tell(&self, input: Input) -> Result<(), Stopped> {
        self.inputs.send(input).await.map_err(|_| Stopped::Gone)
    }
}

/// Who is on the call, and whether everyone has answered. The agent is whose **own** extension it is.
fn plan(call: &CallId, session: &Session, agent: &str, supervise: Supervise) -> Plan {
    let live: Vec<&SessionParty> = session.parties.iter().filter(|party| party.is_live()).collect();
    if live.is_empty() || live.iter().all(|party| party.extension_id() != Some(agent)) {
        return Plan::Gone;
    }
    let answered: Vec<&SessionParty> =
        live.iter().copied().filter(|party| party.is_answered()).collect();
    let label = |id: &str, role| Party { call: call.clone(), id: PartyId::new(id), role };
    let (agents, others): (Vec<&SessionParty>, Vec<&SessionParty>) =
        answered.iter().copied().partition(|party| party.extension_id() == Some(agent));
    if agents.is_empty() || others.is_empty() || answered.len() < live.len() {
        return Plan::Wait;
    }
    let parties: Vec<Party> = agents
        .iter()
        .map(|party| label(&party.id, Role::Agent))
        .chain(others.iter().map(|party| label(&party.id, Role::Customer)))
        .collect();
    // RingCentral supervises parties of calls with two participants only.
    if supervise == Supervise::Session || parties.len() > 2 {
        Plan::Session(parties)
    } else {
        Plan::Parties(parties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "62226587016";

    fn session(parties: &[(&str, Option<&str>, &str, &str)]) -> Session {
        let parties: Vec<_> = parties
            .iter()
            .map(|(id, extension, code, reason)| {
                serde_json::json!({
                    "id": id, "extensionId": extension, "to": { "extensionId": AGENT },
                    "status": { "code": code, "reason": reason, "rcc": false },
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({ "id": "s-1", "parties": parties })).unwrap()
    }

    fn ids(plan: Plan) -> Vec<(String, Role)> {
        match plan {
            Plan::Parties(parties) => {
                parties.into_iter().map(|party| (party.id.to_string(), party.role)).collect()
            }
            other => panic!("expected parties, got {other:?}"),
        }
    }

    fn decide(parties: &[(&str, Option<&str>, &str, &str)]) -> Plan {
        plan(&CallId::new("s-1"), &session(parties), AGENT, Supervise::Party)
    }

    #[test]
    fn the_agent_is_whose_own_extension_it_is() {
        let both = [("p-1-1", None, "Answered", ""), ("p-1-3", Some(AGENT), "Answered", "")];
        let expected = [("p-1-3".to_owned(), Role::Agent), ("p-1-1".to_owned(), Role::Customer)];
        assert_eq!(ids(decide(&both)), expected);
        let with_dead_ivr = [both[0], ("p-1-2", Some("9"), "Disconnected", ""), both[1]];
        assert_eq!(ids(decide(&with_dead_ivr)), expected);
        let with_supervisor = [both[0], both[1], ("p-1-4", Some("8"), "Answered", "Supervising")];
        assert_eq!(ids(decide(&with_supervisor)), expected);
    }

    #[test]
    fn nobody_is_listened_to_before_both_have_answered() {
        for (customer, agent) in
            [("Answered", "Proceeding"), ("Proceeding", "Answered"), ("Hold", "Answered")]
        {
            let parties = [("p-1-1", None, customer, ""), ("p-1-2", Some(AGENT), agent, "")];
            assert_eq!(decide(&parties), Plan::Wait, "{customer} {agent}");
        }
        assert_eq!(decide(&[("p-1-1", None, "Answered", "")]), Plan::Gone);
        assert_eq!(decide(&[]), Plan::Gone);
    }

    #[test]
    fn three_participants_are_heard_mixed() {
        let parties = [
            ("p-1-1", None, "Answered", ""),
            ("p-1-2", Some(AGENT), "Answered", ""),
            ("p-1-3", None, "Answered", ""),
        ];
        assert!(matches!(decide(&parties), Plan::Session(parties) if parties.len() == 3));
    }
}
