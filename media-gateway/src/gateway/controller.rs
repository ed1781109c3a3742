//! The shell of the control plane: makes the REST requests that the board asks for, and tells it what happens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sidetone_proto::CallId;
use sidetone_proto::v1::Consent;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info_span, warn};

use super::event_loop::Input;
use crate::config::Config;
use crate::control::{Action, Board, Command, Commands, LegNews, Outcome, Refusal, Settings};
use crate::media::unix_ms;
use crate::metrics::{self, SUPERVISE_REQUESTS};
use crate::ringcentral::{
    ActiveCall, Advice, Client, Error, Notification, Presence, Session, SupervisorParty,
};
use crate::supervision::{SuperviseRequest, Target};

/// News of legs that wait for the board. When full, the event loop waits: the board takes them without a pause.
pub(super) const NEWS_CAPACITY: usize = 256;

/// Between two attempts to learn whose login it is.
const OWNER_RETRY: Duration = Duration::from_secs(15);

/// What the controller hears.
pub(super) struct Sources {
    pub(super) registered: watch::Receiver<bool>,
    pub(super) legs: mpsc::Receiver<LegNews>,
    pub(super) commands: Commands,
    /// Absent: calls are found by looking at every agent again and again.
    pub(super) notifications: Option<mpsc::Receiver<Notification>>,
}

/// What became of a request.
enum Report {
    Owner(String),
    Presence { agents: Vec<String>, presence: Result<Vec<(String, Vec<ActiveCall>)>, Refusal> },
    Session { call: CallId, session: Result<Session, Refusal> },
    Supervised { call: CallId, target: Target, outcome: Outcome },
    Deleted { call: CallId, party: String, deleted: Result<(), Refusal> },
}

struct Controller {
    board: Board,
    client: Arc<Client>,
    device: Arc<str>,
    inputs: mpsc::Sender<Input>,
    /// What the event loop is to do, in order. As long as there are legs and calls, at most a few for each.
    orders: VecDeque<Input>,
    requests: JoinSet<Report>,
}

/// Follows calls until cancelled.
pub(super) async fn run(
    config: Arc<Config>,
    client: Arc<Client>,
    inputs: mpsc::Sender<Input>,
    sources: Sources,
    cancelled: CancellationToken,
) {
    let settings = Settings {
        agents: config.agents.clone(),
        supervise: config.supervise,
        policies: config.consent.clone(),
        max_calls: config.max_calls,
        poll_interval: config.poll_interval,
    };
    let mut controller = Controller {
        board: Board::new(Instant::now().into_std(), settings),
        client: client.clone(),
        device: config.supervisor_device_id.as_str().into(),
        inputs,
        orders: VecDeque::new(),
        requests: JoinSet::new(),
    };
    controller.requests.spawn(owner(client));
    let _ = cancelled.run_until_cancelled(controller.follow(sources)).await;
}

impl Controller {
    async fn follow(&mut self, mut sources: Sources) {
        let is_registered = *sources.registered.borrow_and_update();
        self.board.handle_registered(Instant::now().into_std(), is_registered);
        let inputs = self.inputs.clone();
        loop {
            while let Some(action) = self.board.poll_action() {
                self.act(action);
            }
            let due = self.board.poll_timeout();
            tokio::select! {
                Some(report) = self.requests.join_next() => match report {
                    Ok(report) => self.report(report),
                    Err(error) => error!(%error, "a request of the control plane broke off"),
                },
                news = sources.legs.recv() => match news {
                    Some(news) => self.board.handle_leg(Instant::now().into_std(), news),
                    None => return,
                },
                notification = next(&mut sources.notifications) => match notification {
                    Some(it) => self.board.handle_notification(Instant::now().into_std(), it),
                    None => {
                        warn!("no more notifications come, looking for calls only");
                        sources.notifications = None;
                        self.board.handle_notification(Instant::now().into_std(), Notification::Lost);
                    }
                },
                Some(command) = sources.commands.recv() => self.command(command),
                changed = sources.registered.changed() => match changed {
                    Ok(()) => {
                        let is_registered = *sources.registered.borrow_and_update();
                        self.board.handle_registered(Instant::now().into_std(), is_registered);
                    }
                    Err(_) => return,
                },
                permit = inputs.reserve(), if !self.orders.is_empty() => match permit {
                    Ok(permit) => if let Some(order) = self.orders.pop_front() {
                        permit.send(order);
                    },
                    Err(_) => return,
                },
                () = expired(due) => self.board.handle_timeout(Instant::now().into_std()),
            }
        }
    }

    fn act(&mut self, action: Action) {
        let client = self.client.clone();
        match action {
            Action::Presence { agents } => {
                self.requests.spawn(async move {
                    let shown = client.presences(&agents).await;
                    let calls = |(agent, it): (String, Presence)| (agent, it.active_calls);
                    let presence = shown
                        .map(|shown| shown.into_iter().map(calls).collect())
                        .map_err(|it| (&it).into());
                    Report::Presence { agents, presence }
                });
            }
            Action::Look { call } => {
                self.requests.spawn(async move {
                    let session = client.session(call.as_str()).await;
                    Report::Session { call, session: session.map_err(|it| (&it).into()) }
                });
            }
            Action::Supervise { request, names_agent } => {
                let span = info_span!("supervise", call = %request.call);
                let attempt = Attempt {
                    client,
                    device: self.device.clone(),
                    inputs: self.inputs.clone(),
                    request,
                    names_agent,
                };
                self.requests.spawn(attempt.run().instrument(span));
            }
            Action::DeleteParty { call, party } => {
                warn!(%call, party, "removing a stuck supervisor party");
                self.requests.spawn(async move {
                    let deleted = client.delete_party(call.as_str(), &party).await;
                    Report::Deleted { call, party, deleted: deleted.map_err(|it| (&it).into()) }
                });
            }
            Action::HangUp { leg } => self.orders.push_back(Input::HangUp { leg }),
            Action::Reregister => self.orders.push_back(Input::Reregister),
            Action::Forward { call, is_withheld } => {
                self.orders.push_back(Input::Forward { call, is_withheld });
            }
            Action::Hold { call, hold, since_unix_ms } => {
                self.orders.push_back(Input::Hold { call, hold, since_unix_ms });
            }
            Action::Consent { call, notice } => {
                let consent = Consent {
                    call_id: call.to_string(),
                    state: notice.state.into(),
                    source: notice.source.into(),
                    at_unix_ms: unix_ms(),
                };
                self.orders.push_back(Input::Consent(consent));
            }
            Action::Release { call } => self.orders.push_back(Input::Release { call }),
        }
    }

    fn report(&mut self, report: Report) {
        let (board, now) = (&mut self.board, Instant::now().into_std());
        match report {
            Report::Owner(owner) => board.set_owner(owner),
            Report::Presence { agents, presence } => board.handle_presence(now, &agents, presence),
            Report::Session { call, session } => board.handle_session(now, &call, session),
            Report::Supervised { call, target, outcome } => {
                board.handle_supervised(now, &call, &target, outcome);
            }
            Report::Deleted { call, party, deleted } => {
                board.handle_deleted(now, &call, &party, deleted);
            }
        }
    }

    fn command(&mut self, command: Command) {
        let (board, now) = (&mut self.board, Instant::now().into_std());
        // Whoever asked may have gone away: nobody then needs the answer.
        match command {
            Command::Supervise { call, agent, reply } => {
                let _ = reply.send(board.supervise(now, &call, agent));
            }
            Command::Stop { call, reply } => {
                let _ = reply.send(board.stop(now, &call));
            }
            Command::Consent { call, state, reply } => {
                let _ = reply.send(board.consent(now, &call, state));
            }
            Command::Calls { reply } => {
                let _ = reply.send(board.calls(now, unix_ms()));
            }
        }
    }
}

/// One supervise request: entered with the event loop before it is sent, since its INVITE may come before the answer.
struct Attempt {
    client: Arc<Client>,
    device: Arc<str>,
    inputs: mpsc::Sender<Input>,
    request: SuperviseRequest,
    names_agent: bool,
}

impl Attempt {
    async fn run(self) -> Report {
        let outcome = self.supervise().await;
        let SuperviseRequest { call, target, .. } = self.request;
        Report::Supervised { call, target, outcome }
    }

    async fn supervise(&self) -> Outcome {
        let (reply, entered) = oneshot::channel();
        self.tell(Input::SuperviseRequested { request: self.request.clone(), reply }).await;
        let id = match entered.await {
            Ok(Ok(id)) => id,
            Ok(Err(denied)) => {
                SUPERVISE_REQUESTS.increment_of("outcome", metrics::label(&denied));
                warn!(%denied, "not listening to the call yet");
                return Outcome::Denied { why: denied.to_string() };
            }
            Err(_) => return Outcome::Denied { why: "the gateway is going down".to_owned() },
        };
        match self.post().await {
            Ok(SupervisorParty { id: supervisor }) => {
                SUPERVISE_REQUESTS.increment_of("outcome", "accepted");
                debug!(supervisor, "supervision accepted");
                self.tell(Input::SuperviseAccepted { id, supervisor: supervisor.clone() }).await;
                Outcome::Accepted { supervisor }
            }
            Err(error) => {
                SUPERVISE_REQUESTS.increment_of("outcome", "refused");
                let refusal = Refusal::from(&error);
                match refusal.advice {
                    Advice::Misconfigured => error!(%error, "supervision can't work like this"),
                    advice => warn!(%error, ?advice, "supervision refused"),
                }
                self.tell(Input::SuperviseRefused { id }).await;
                Outcome::Refused(refusal)
            }
        }
    }

    async fn post(&self) -> Result<SupervisorParty, Error> {
        let SuperviseRequest { call, target, agent, .. } = &self.request;
        match target {
            Target::Party(party) => {
                let agent = self.names_agent.then_some(agent.as_str());
                let party = party.id.as_str();
                self.client.supervise_party(call.as_str(), party, &self.device, agent).await
            }
            Target::Session => {
                self.client.supervise_session(call.as_str(), &self.device, agent).await
            }
        }
    }

    /// The event loop outlives every request but those of a gateway that is going down.
    async fn tell(&self, input: Input) {
        let _ = self.inputs.send(input).await;
    }
}

async fn owner(client: Arc<Client>) -> Report {
    loop {
        match client.owner().await {
            Ok(owner) => return Report::Owner(owner),
            Err(error) => {
                warn!(%error, "could not learn whose login it is");
                sleep(OWNER_RETRY).await;
            }
        }
    }
}

async fn next(notifications: &mut Option<mpsc::Receiver<Notification>>) -> Option<Notification> {
    match notifications {
        Some(notifications) => notifications.recv().await,
        None => std::future::pending().await,
    }
}

async fn expired(at: Option<std::time::Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
