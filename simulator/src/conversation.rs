//! One call's task: brings its legs up, plays both voices on one clock, and hangs up at the end.

use crate::audio::ResampleError;
use crate::load::{PooledStream, StreamPool};
use crate::media::{FRAME, Feed, Recording, RtpIdentity, RtpStream};
use crate::plan::{CallPlan, Shape};
use crate::sdp::{Offer, OfferedMedia, read_answer};
use crate::sip::leg::{Invitation, LegEvent, LegId};
use crate::sip::transport::{LegNews, SipHandle};
use crate::switchboard::{Side, Supervision, Switchboard, Target};
use anyhow::Context;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Commands that wait for a call's task; when full, the REST request waits.
pub(crate) const COMMAND_CAPACITY: usize = 32;
/// News of legs that wait for a call's task. A session has at most 16 supervisors and a leg has
/// two pieces of news, so that this does not fill; if it did, news would be lost with an error.
const NEWS_CAPACITY: usize = 256;
/// How long the first leg waits for the others before the conversation starts without them.
const OTHER_LEGS_WAIT: Duration = Duration::from_secs(5);

/// What a call's task is asked to do.
pub(crate) enum CallCommand {
    /// Send the INVITE of an accepted supervise request.
    Supervise(Box<Supervision>),
    /// End the leg of a supervisor's party.
    Drop { party_id: String },
    /// End the call now.
    HangUp,
}

/// The parties talking, and those who listen.
pub(crate) struct Conversation {
    session_id: String,
    plan: CallPlan,
    /// What sends the parties' voices instead of this task.
    pool: Option<StreamPool>,
    switchboard: Arc<Mutex<Switchboard>>,
    sip: SipHandle,
    rng: StdRng,
    recordings: HashMap<u32, Arc<Recording>>,
    legs: HashMap<LegId, Leg>,
    clock: Clock,
    total_frames: u64,
    news: mpsc::Receiver<LegNews>,
    news_sender: mpsc::Sender<LegNews>,
}

/// When the conversation starts, and how far it is.
#[derive(Clone, Copy)]
enum Clock {
    /// No leg has been answered.
    Idle,
    /// A leg has been answered; the others have until then.
    Waiting { until: Instant },
    /// The parties talk; the next frame to send.
    Running { start: Instant, next_frame: u64 },
}

struct Leg {
    party_id: String,
    target: Target,
    /// Media lines of the offer.
    lines: usize,
    sockets: Vec<(UdpSocket, Feed)>,
    streams: Vec<MediaStream>,
    pooled: Vec<PooledStream>,
    is_answered: bool,
}

struct MediaStream {
    socket: UdpSocket,
    remote: SocketAddr,
    feed: Feed,
    recording: Arc<Recording>,
    rtp: RtpStream,
    frame: Vec<i16>,
}

impl Conversation {
    pub(crate) fn new(
        session_id: String,
        plan: CallPlan,
        pool: Option<StreamPool>,
        switchboard: Arc<Mutex<Switchboard>>,
        sip: SipHandle,
        seed: u64,
    ) -> Self {
        let (news_sender, news) = mpsc::channel(NEWS_CAPACITY);
        let length = plan.customer.duration().max(plan.agent.duration());
        Self {
            session_id,
            switchboard,
            sip,
            rng: StdRng::seed_from_u64(seed),
            recordings: HashMap::new(),
            legs: HashMap::new(),
            clock: Clock::Idle,
            total_frames: length.as_nanos().div_ceil(FRAME.as_nanos()) as u64,
            plan,
            pool,
            news,
            news_sender,
        }
    }

    /// Runs the call until both voices have ended, or until it is hung up, and then until every
    /// leg is gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<CallCommand>) {
        while !self.is_over() {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(CallCommand::Supervise(supervision)) => self.invite(*supervision).await,
                    Some(CallCommand::Drop { party_id }) => self.drop_party(&party_id).await,
                    Some(CallCommand::HangUp) | None => break,
                },
                Some((leg, event)) = self.news.recv() => self.handle_leg(leg, event).await,
                () = sleep_until(self.clock.next_step()) => self.step(),
            }
        }
        // Requests that come from now on are refused; those that were accepted get no INVITE.
        commands.close();
        self.switchboard().end(&self.session_id);
        let legs: Vec<LegId> = self.legs.keys().copied().collect();
        for leg in legs {
            self.sip.hang_up(leg).await;
        }
        while !self.legs.is_empty() {
            let Some((leg, event)) = self.news.recv().await else { break };
            self.handle_leg(leg, event).await;
        }
        tracing::info!(call = %self.session_id, "call ended");
    }

    fn is_over(&self) -> bool {
        matches!(self.clock, Clock::Running { next_frame, .. } if next_frame >= self.total_frames)
    }

    fn switchboard(&self) -> MutexGuard<'_, Switchboard> {
        self.switchboard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers one media line, or two, to the supervisor's device.
    async fn invite(&mut self, supervision: Supervision) {
        let party = supervision.party_id.clone();
        // The registration that the request was accepted on may have ended since then.
        let Some(registration) = self.sip.registration() else {
            tracing::warn!(call = %self.session_id, party, "device unregistered before the invite");
            return;
        };
        let feeds = self.feeds(supervision.target);
        let bound = match self.pool {
            Some(_) => Ok(Vec::new()),
            None => bind_all(registration.local_ip, &feeds).await,
        };
        let sockets = match bound {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::error!(call = %self.session_id, party, %error, "cannot bind an rtp port");
                return;
            }
        };
        let ports: io::Result<Vec<u16>> = match &self.pool {
            Some(pool) => Ok(vec![pool.port(); feeds.len()]),
            None => sockets.iter().map(|(socket, _)| Ok(socket.local_addr()?.port())).collect(),
        };
        let Ok(ports) = ports else { return };
        let media: Vec<OfferedMedia> = feeds
            .iter()
            .zip(ports)
            .map(|(feed, port)| {
                let information = match feed {
                    _ if feeds.len() == 1 => None,
                    Feed::Customer => Some(Side::Customer),
                    Feed::Agent => Some(Side::Agent),
                    Feed::Mixed => None,
                };
                let information = information
                    .and_then(|side| self.switchboard().media_information(&self.session_id, side));
                OfferedMedia { port, information }
            })
            .collect();
        let offer = Offer {
            address: registration.local_ip,
            media: &media,
            codec: self.plan.codec,
            is_send_only: supervision.is_send_only,
            session_number: u64::from(self.rng.random::<u32>()),
        };
        let invitation = Invitation {
            caller: supervision.caller,
            headers: supervision.headers,
            sdp: offer.to_sdp(),
        };
        let leg = self.sip.new_leg();
        tracing::info!(call = %self.session_id, party, media = media.len(), "inviting");
        self.legs.insert(
            leg,
            Leg {
                party_id: party,
                target: supervision.target,
                lines: media.len(),
                sockets,
                streams: vec![],
                pooled: vec![],
                is_answered: false,
            },
        );
        self.sip.invite(leg, invitation, self.news_sender.clone()).await;
    }

    /// What each media line of a leg carries, in the order of the offer.
    fn feeds(&mut self, target: Target) -> Vec<Feed> {
        match (target, self.plan.shape) {
            (Target::Party(Side::Customer), _) => vec![Feed::Customer],
            (Target::Party(Side::Agent), _) => vec![Feed::Agent],
            (Target::Session, Shape::TwoMedia) => {
                // The order of the lines means nothing, so nobody may come to rely on it.
                let mut feeds = vec![Feed::Customer, Feed::Agent];
                feeds.shuffle(&mut self.rng);
                feeds
            }
            (Target::Session, Shape::TwoLegs | Shape::Mixed) => vec![Feed::Mixed],
        }
    }

    async fn drop_party(&mut self, party_id: &str) {
        let leg = self.legs.iter().find(|(_, leg)| leg.party_id == party_id).map(|(id, _)| *id);
        if let Some(leg) = leg {
            self.sip.hang_up(leg).await;
        }
    }

    async fn handle_leg(&mut self, id: LegId, event: LegEvent) {
        match event {
            LegEvent::Answered { sdp } => self.handle_answer(id, &sdp).await,
            LegEvent::Failed(failure) => {
                // The supervisor's party stays behind, as it does on the real service, and keeps
                // further requests out until it is deleted.
                if let Some(leg) = self.legs.remove(&id) {
                    let party = leg.party_id;
                    tracing::warn!(call = %self.session_id, party, ?failure, "leg failed");
                }
            }
            LegEvent::Ended => {
                if let Some(leg) = self.legs.remove(&id) {
                    let party = leg.party_id;
                    tracing::info!(call = %self.session_id, party, "leg ended");
                    let mut switchboard = self.switchboard();
                    // A deleted party is gone already, and the parties of an ended call stay.
                    let _ = switchboard.remove_supervisor(&self.session_id, &party);
                }
            }
        }
    }

    async fn handle_answer(&mut self, id: LegId, sdp: &[u8]) {
        let Some(mut leg) = self.legs.remove(&id) else { return };
        let party = leg.party_id.clone();
        let opened = self.open_streams(&mut leg, sdp).await;
        self.legs.insert(id, leg);
        if let Err(error) = opened {
            tracing::warn!(call = %self.session_id, party, %error, "cannot use the answer");
            self.sip.hang_up(id).await;
            return;
        }
        tracing::info!(call = %self.session_id, party, "leg answered");
        self.switchboard().supervisor_answered(&self.session_id, &party);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.is_answered = true;
        }
        if self.pool.is_some() {
            // There is nothing to time: the pool sends until the call is hung up.
            return;
        }
        let now = Instant::now();
        self.clock = match self.clock {
            Clock::Idle | Clock::Waiting { .. } if self.is_every_voice_heard() => {
                Clock::Running { start: now, next_frame: 0 }
            }
            Clock::Idle => Clock::Waiting { until: now + OTHER_LEGS_WAIT },
            clock => clock,
        };
    }

    async fn open_streams(&mut self, leg: &mut Leg, sdp: &[u8]) -> anyhow::Result<()> {
        let answer = read_answer(sdp, leg.lines, self.plan.codec)?;
        if let Some(pool) = &self.pool {
            for accepted in answer.into_iter().flatten() {
                let stream = pool.add(accepted).context("the recording has another codec")?;
                leg.pooled.push(stream);
            }
            return Ok(());
        }
        for ((socket, feed), accepted) in leg.sockets.drain(..).zip(answer) {
            let Some(accepted) = accepted else { continue };
            let codec = accepted.codec;
            let identity = RtpIdentity {
                ssrc: self.rng.random(),
                sequence_number: self.rng.random(),
                timestamp: self.rng.random(),
                loss_seed: self.rng.random(),
            };
            let loss_percent = self.plan.loss_percent;
            leg.streams.push(MediaStream {
                socket,
                remote: accepted.remote,
                feed,
                recording: self.recording(codec.sample_rate()).await?,
                rtp: RtpStream::new(codec, accepted.payload_type, loss_percent, identity)?,
                frame: vec![0; codec.frame_samples()],
            });
        }
        Ok(())
    }

    /// Both voices at a sample rate. Most calls need one rate, and most recordings have it.
    async fn recording(&mut self, sample_rate: u32) -> anyhow::Result<Arc<Recording>> {
        if let Some(recording) = self.recordings.get(&sample_rate) {
            return Ok(recording.clone());
        }
        let (customer, agent) = (self.plan.customer.clone(), self.plan.agent.clone());
        let recording = tokio::task::spawn_blocking(move || -> Result<_, ResampleError> {
            Recording::new(&customer, &agent, sample_rate)
        })
        .await??;
        let recording = Arc::new(recording);
        self.recordings.insert(sample_rate, recording.clone());
        Ok(recording)
    }

    /// Whether the answered legs carry both voices.
    fn is_every_voice_heard(&self) -> bool {
        let hears = |side| {
            self.legs.values().any(|leg| {
                leg.is_answered
                    && (leg.target == Target::Session || leg.target == Target::Party(side))
            })
        };
        hears(Side::Customer) && hears(Side::Agent)
    }

    /// Starts the conversation when the wait is over, or sends the frame that is due.
    fn step(&mut self) {
        match &mut self.clock {
            Clock::Idle => {}
            Clock::Waiting { .. } => {
                tracing::info!(call = %self.session_id, "starting without the missing legs");
                self.clock = Clock::Running { start: Instant::now(), next_frame: 0 };
            }
            Clock::Running { next_frame, .. } => {
                let frame = *next_frame;
                *next_frame += 1;
                for leg in self.legs.values_mut() {
                    for stream in &mut leg.streams {
                        if let Err(error) = stream.send(frame) {
                            let party = &leg.party_id;
                            tracing::debug!(call = %self.session_id, party, %error, "packet lost");
                        }
                    }
                }
            }
        }
    }
}

impl Clock {
    fn next_step(self) -> Option<Instant> {
        match self {
            Clock::Idle => None,
            Clock::Waiting { until } => Some(until),
            // A frame leaves once it has been spoken, as from a real phone. The deadlines do not
            // depend on when the frames before really left, so that a delay does not add up.
            Clock::Running { start, next_frame } => {
                Some(start + FRAME * u32::try_from(next_frame + 1).unwrap_or(u32::MAX))
            }
        }
    }
}

impl MediaStream {
    fn send(&mut self, frame: u64) -> anyhow::Result<()> {
        self.recording.read_frame(self.feed, frame, &mut self.frame);
        if let Some(packet) = self.rtp.next_packet(&self.frame)? {
            self.socket.try_send_to(&packet, self.remote)?;
        }
        Ok(())
    }
}

async fn bind_all(ip: IpAddr, feeds: &[Feed]) -> io::Result<Vec<(UdpSocket, Feed)>> {
    let mut sockets = Vec::with_capacity(feeds.len());
    for feed in feeds {
        sockets.push((UdpSocket::bind((ip, 0)).await?, *feed));
    }
    Ok(sockets)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
