//! The handle by which others list calls and interfere.

use sidetone_proto::CallId;
use tokio::sync::{mpsc, oneshot};

use super::consent;
use super::view::CallView;

/// Commands that wait for the control plane. When full, the next caller waits.
const COMMAND_CAPACITY: usize = 16;

/// The control plane of a running gateway. Clones speak to the same one.
#[derive(Clone, Debug)]
pub struct Control(mpsc::Sender<Command>);

/// The other end of a [`Control`].
pub(crate) type Commands = mpsc::Receiver<Command>;

/// A command that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The gateway is not running any more.
    #[error("the gateway is going down; try again when it is back")]
    Closed,
    /// No such call is known.
    #[error("no call {0} is known; list the calls for those that are")]
    UnknownCall(CallId),
    /// More calls than can be kept track of.
    #[error("the gateway follows as many calls as it can; stop one, or raise [sip] max_calls")]
    TooManyCalls,
    /// A session or extension id that can't be one.
    #[error(
        "{0:?} is not an id; give the telephonySessionId of the call and the agent's extension id"
    )]
    InvalidId(String),
}

/// What a [`Control`] asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Supervise { call: CallId, agent: String, reply: Reply },
    Stop { call: CallId, reply: Reply },
    Consent { call: CallId, state: consent::State, reply: Reply },
    Calls { reply: oneshot::Sender<Vec<CallView>> },
}

type Reply = oneshot::Sender<Result<(), ControlError>>;

impl Control {
    pub(crate) fn new() -> (Self, Commands) {
        let (sender, commands) = mpsc::channel(COMMAND_CAPACITY);
        (Self(sender), commands)
    }

    /// Listens to a call for an agent, whether or not the agent is among those that are listened to anyway. Takes up
    /// a call again that was stopped or given up. Returns as soon as the call is followed.
    ///
    /// # Errors
    /// [`ControlError::InvalidId`], [`ControlError::TooManyCalls`], [`ControlError::Closed`].
    pub async fn supervise(&self, session: &str, agent: &str) -> Result<(), ControlError> {
        let call = parse(session)?;
        let is_id = !agent.is_empty() && agent.bytes().all(|byte| byte.is_ascii_digit());
        if !is_id {
            return Err(ControlError::InvalidId(agent.to_owned()));
        }
        let agent = agent.to_owned();
        self.ask(|reply| Command::Supervise { call, agent, reply }).await?
    }

    /// Hangs up every leg of a call and leaves it alone, until [`supervise`](Self::supervise) takes it up again.
    ///
    /// # Errors
    /// [`ControlError::InvalidId`], [`ControlError::UnknownCall`], [`ControlError::Closed`].
    pub async fn stop(&self, session: &str) -> Result<(), ControlError> {
        let call = parse(session)?;
        self.ask(|reply| Command::Stop { call, reply }).await?
    }

    /// Notes what the parties of a call have said to being transcribed. A refusal hangs up every leg, has the relay delete
    /// what was said, also of a call that is over, and is final.
    ///
    /// # Errors
    /// [`ControlError::InvalidId`], [`ControlError::UnknownCall`] unless it is a refusal, [`ControlError::Closed`].
    pub async fn consent(&self, session: &str, state: consent::State) -> Result<(), ControlError> {
        let call = parse(session)?;
        self.ask(|reply| Command::Consent { call, state, reply }).await?
    }

    /// Every call that is followed, by id.
    ///
    /// # Errors
    /// [`ControlError::Closed`].
    pub async fn calls(&self) -> Result<Vec<CallView>, ControlError> {
        self.ask(|reply| Command::Calls { reply }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.map_err(|_| ControlError::Closed)?;
        answer.await.map_err(|_| ControlError::Closed)
    }
}

fn parse(session: &str) -> Result<CallId, ControlError> {
    CallId::parse(session).map_err(|_| ControlError::InvalidId(session.to_owned()))
}
