//! One call's task: plays its script, brings its legs up, plays both voices on one clock, and hangs up at the end.

mod answer;
mod clock;
mod invite;
mod leg;

use crate::load::StreamPool;
use crate::media::Recording;
use crate::plan::CallPlan;
use crate::report::{CallReport, LegReport};
use crate::sip::leg::LegId;
use crate::sip::transport::{LegNews, SipHandle};
use crate::switchboard::{Supervision, Switchboard};
use crate::variant::{Effect, Variant};
use clock::{Clock, Due, Event};
use leg::{Leg, Sound};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Commands that wait for a call's task; when full, the REST request waits.
pub(crate) const COMMAND_CAPACITY: usize = 32;
/// News of legs that wait for a call's task. A session has at most 16 supervisors and a leg has
/// three pieces of news, rarely more, so that this does not fill; if it did, news would be lost with an error.
const NEWS_CAPACITY: usize = 256;
/// How long the answer to a supervise request has been under way when its INVITE goes out.
const REPLY_HEAD_START: Duration = Duration::from_millis(20);

/// Music is played again after this many frames of 20 ms.
const MUSIC_FRAMES: u64 = 200;

/// What a call's task is asked to do.
pub(crate) enum CallCommand {
    /// Send the INVITE of an accepted supervise request, which is answered once the sender is gone.
    Supervise(Box<Supervision>, oneshot::Sender<()>),
    /// End the leg of a supervisor's party.
    Drop { party_id: String },
    /// End every leg, while the parties talk on.
    DropLegs,
    /// End the call now, because somebody deleted the session.
    Delete,
    /// End the call now.
    HangUp,
}

/// The parties talking, and those who listen.
pub(crate) struct Conversation {
    session_id: String,
    plan: CallPlan,
    is_eligible: bool,
    /// What sends the parties' voices instead of this task.
    pool: Option<StreamPool>,
    switchboard: Arc<Mutex<Switchboard>>,
    sip: SipHandle,
    rng: StdRng,
    /// Both voices, and the music for those who wait, by sample rate.
    recordings: HashMap<u32, [Arc<Recording>; 2]>,
    clock: Clock,
    /// Whether both voices can be heard now.
    is_talking: bool,
    /// Whether somebody waits, and music is played.
    is_waiting: bool,
    /// Frames of music that have been played.
    played: u64,
    /// Whether the legs are on hold.
    is_held: bool,
    was_deleted: bool,
    was_heard_twice: bool,
    /// INVITEs that wait for the answer to their request.
    invites: VecDeque<(Instant, Supervision)>,
    /// In the order of their INVITEs.
    legs: BTreeMap<LegId, Leg>,
    ended: Vec<(LegId, LegReport)>,
    news: mpsc::Receiver<LegNews>,
    news_sender: mpsc::Sender<LegNews>,
}

impl Conversation {
    /// A call in a session that nobody is in yet. What happens in its first instant has happened after this.
    pub(crate) fn new(
        session_id: String,
        plan: CallPlan,
        pool: Option<StreamPool>,
        switchboard: Arc<Mutex<Switchboard>>,
        sip: SipHandle,
        seed: u64,
    ) -> Self {
        let (news_sender, news) = mpsc::channel(NEWS_CAPACITY);
        let now = Instant::now();
        let is_monitored = {
            let switchboard = switchboard.lock().unwrap_or_else(PoisonError::into_inner);
            let agent = switchboard.account().agent(&plan.agent_extension_id);
            agent.is_some_and(|agent| agent.monitored)
        };
        let mut conversation = Self {
            session_id,
            is_eligible: is_monitored && plan.kind.is_answered(),
            switchboard,
            sip,
            rng: StdRng::seed_from_u64(seed),
            recordings: HashMap::new(),
            clock: Clock::new(&plan, now),
            is_talking: false,
            is_waiting: false,
            played: 0,
            is_held: false,
            was_deleted: false,
            was_heard_twice: false,
            invites: VecDeque::new(),
            legs: BTreeMap::new(),
            ended: vec![],
            plan,
            pool,
            news,
            news_sender,
        };
        while let Due::Event(Event::Step(step)) = conversation.clock.poll(now) {
            conversation.switchboard().apply(&conversation.session_id, &step, SystemTime::now());
        }
        conversation.look_who_talks();
        if conversation.plan.variant == Variant::StuckParty {
            conversation.switchboard().add_ghost(&conversation.session_id, SystemTime::now());
        }
        conversation
    }

    /// Runs the call until its script and both voices have ended, or until it is hung up, and then until every
    /// leg is gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<CallCommand>) -> CallReport {
        if self.plan.variant == Variant::OrdinaryCall {
            self.ring_at_the_device().await;
        }
        loop {
            let due = self.next_due();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(CallCommand::Supervise(supervision, reply)) => {
                        self.supervise(*supervision, reply).await;
                    }
                    Some(CallCommand::Drop { party_id }) => self.drop_party(&party_id).await,
                    Some(CallCommand::DropLegs) => self.hang_up_legs().await,
                    Some(CallCommand::Delete) => {
                        self.was_deleted = true;
                        break;
                    }
                    Some(CallCommand::HangUp) | None => break,
                },
                Some((leg, event)) = self.news.recv() => self.handle_leg(leg, event).await,
                () = sleep_until(due) => if self.step().await { break },
            }
        }
        // Requests that come from now on are refused; those that were accepted get no INVITE.
        commands.close();
        let ghosts = self.switchboard().ghosts(&self.session_id);
        self.switchboard().end(&self.session_id, SystemTime::now());
        self.hang_up_legs().await;
        while !self.legs.is_empty() {
            let Some((leg, event)) = self.news.recv().await else { break };
            self.handle_leg(leg, event).await;
        }
        if self.plan.variant == Variant::LostBye {
            self.sip.set_reachable(true).await;
        }
        tracing::info!(call = %self.session_id, "call ended");
        self.ended.sort_by_key(|(leg, _)| *leg);
        CallReport {
            telephony_session_id: self.session_id,
            kind: self.plan.kind,
            variant: self.plan.variant,
            is_eligible: self.is_eligible,
            legs: self.ended.into_iter().map(|(_, report)| report).collect(),
            was_heard_twice: self.was_heard_twice,
            ghosts,
            was_deleted: self.was_deleted,
        }
    }

    async fn hang_up_legs(&mut self) {
        let legs: Vec<LegId> = self.legs.keys().copied().collect();
        for leg in legs {
            self.sip.hang_up(leg).await;
        }
    }

    fn switchboard(&self) -> MutexGuard<'_, Switchboard> {
        self.switchboard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_who_talks(&mut self) {
        let (is_talking, is_waiting) = {
            let switchboard = self.switchboard();
            (switchboard.is_talking(&self.session_id), switchboard.is_waiting(&self.session_id))
        };
        (self.is_talking, self.is_waiting) = (is_talking, is_waiting);
    }

    fn next_due(&self) -> Option<Instant> {
        // What a pool sends is not timed here.
        let clock = self.clock.next_due().filter(|_| self.pool.is_none());
        clock.into_iter().chain(self.invites.front().map(|(at, _)| *at)).min()
    }

    /// Does what is due; whether the call is over.
    async fn step(&mut self) -> bool {
        let now = Instant::now();
        while self.invites.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, supervision)) = self.invites.pop_front()
        {
            self.invite(supervision, None).await;
        }
        if self.pool.is_some() {
            return false;
        }
        loop {
            match self.clock.poll(now) {
                Due::Event(Event::Step(step)) => {
                    let dropped =
                        self.switchboard().apply(&self.session_id, &step, SystemTime::now());
                    for party in dropped {
                        self.drop_party(&party).await;
                    }
                    self.look_who_talks();
                }
                Due::Event(Event::Effect(effect)) => self.befall(effect).await,
                Due::Frame => self.send_frame(),
                Due::End => return true,
                Due::Nothing => return false,
            }
        }
    }

    fn send_frame(&mut self) {
        let sound = match (self.is_talking && !self.is_held, self.is_waiting) {
            (true, _) => Sound::Speech(self.clock.say()),
            (false, true) => {
                self.played += 1;
                Sound::Music(self.played % MUSIC_FRAMES)
            }
            (false, false) => Sound::Silence,
        };
        for leg in self.legs.values_mut() {
            for stream in &mut leg.streams {
                stream.receive();
                if self.is_held {
                    stream.pause();
                } else if let Err(error) = stream.send(sound) {
                    let party = &leg.party_id;
                    tracing::debug!(call = %self.session_id, party, %error, "packet lost");
                }
            }
        }
    }

    async fn befall(&mut self, effect: Effect) {
        match effect {
            Effect::Hold | Effect::Resume => {
                self.is_held = effect == Effect::Hold;
                for (id, leg) in self.legs.iter_mut().filter(|(_, leg)| leg.is_answered) {
                    let offer = leg.offer(self.is_held);
                    self.sip.reoffer(*id, offer).await;
                }
            }
            Effect::Refresh => {
                let legs: Vec<LegId> = self.legs.keys().copied().collect();
                for leg in legs {
                    self.sip.refresh(leg).await;
                }
            }
            Effect::ChangeSsrc => {
                for stream in self.legs.values_mut().flat_map(|leg| &mut leg.streams) {
                    if let Err(error) = stream.change_ssrc(&mut self.rng) {
                        tracing::error!(call = %self.session_id, %error, "cannot change the ssrc");
                    }
                }
            }
            Effect::Press { is_agents, event } => {
                for stream in self.legs.values_mut().flat_map(|leg| &mut leg.streams) {
                    stream.press(is_agents, event);
                }
            }
            Effect::DropConnection => {
                let leg = self.legs.keys().next().copied();
                if let Some(leg) = leg {
                    self.sip.drop_connection(leg).await;
                }
            }
            Effect::CutOff => self.sip.set_reachable(false).await,
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
