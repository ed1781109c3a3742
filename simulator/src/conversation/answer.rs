//! What becomes of a call's legs once their INVITEs are out.

use super::leg::{Leg, MediaStream};
use super::{Conversation, MUSIC_FRAMES};
use crate::audio::{Audio, ResampleError};
use crate::media::{FRAME, Recording};
use crate::report::Outcome;
use crate::sdp::{answer, read_answer};
use crate::sip::leg::{LegEvent, LegFailure, LegId};
use crate::switchboard::Side;
use anyhow::Context;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

impl Conversation {
    pub(super) async fn handle_leg(&mut self, id: LegId, event: LegEvent) {
        match event {
            LegEvent::Answered { sdp } => self.handle_answer(id, &sdp, false).await,
            LegEvent::Offered { sdp } => self.handle_answer(id, &sdp, true).await,
            LegEvent::Moved => {
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.moves += 1;
                }
            }
            LegEvent::Failed(failure) => {
                let Some(mut leg) = self.legs.remove(&id) else { return };
                let party = &leg.party_id;
                tracing::warn!(call = %self.session_id, party, ?failure, "leg failed");
                leg.outcome = Some(failure.into());
                self.ended.push((id, leg.report()));
                // After a refusal the supervisor's party stays behind, as it does on the real service, and keeps
                // further requests out until it is deleted. What was taken back leaves nothing.
                if failure == LegFailure::Cancelled {
                    self.forget_supervisor(&leg.party_id);
                }
            }
            LegEvent::Ended => {
                let Some(leg) = self.legs.remove(&id) else { return };
                tracing::info!(call = %self.session_id, party = leg.party_id, "leg ended");
                self.ended.push((id, leg.report()));
                self.forget_supervisor(&leg.party_id);
            }
        }
    }

    /// A deleted party is gone already, and the parties of an ended call stay.
    fn forget_supervisor(&self, party_id: &str) {
        let mut switchboard = self.switchboard();
        let _ = switchboard.remove_supervisor(&self.session_id, party_id, SystemTime::now());
    }

    /// The device has answered with an answer, or with an offer of its own.
    async fn handle_answer(&mut self, id: LegId, sdp: &[u8], is_offer: bool) {
        let Some(mut leg) = self.legs.remove(&id) else { return };
        let opened = self.open_streams(&mut leg, sdp).await;
        leg.reply = None;
        let party = leg.party_id.clone();
        match opened {
            Ok(acknowledgement) => {
                if is_offer {
                    self.sip.acknowledge(id, acknowledgement).await;
                }
                leg.is_answered = true;
                leg.outcome = Some(Outcome::Answered);
                self.legs.insert(id, leg);
            }
            Err(error) => {
                tracing::warn!(call = %self.session_id, party, %error, "cannot use the answer");
                leg.outcome = Some(Outcome::Unusable);
                self.legs.insert(id, leg);
                self.sip.hang_up(id).await;
                return;
            }
        }
        tracing::info!(call = %self.session_id, party, "leg answered");
        self.switchboard().supervisor_answered(&self.session_id, &party, SystemTime::now());
        let listeners = [Side::Customer, Side::Agent]
            .map(|side| self.legs.values().filter(|leg| leg.hears(side)).count());
        let is_everyone_heard = listeners.iter().all(|count| *count > 0);
        self.was_heard_twice |= listeners.iter().any(|count| *count > 1);
        self.clock.leg_answered(Instant::now(), is_everyone_heard);
    }

    /// Gives the answer of the last line, for a device that has offered.
    async fn open_streams(&mut self, leg: &mut Leg, sdp: &[u8]) -> anyhow::Result<String> {
        let accepted = read_answer(sdp, leg.lines.len(), self.plan.codec)?;
        let mut acknowledgement = String::new();
        let address = leg.address();
        for (line, accepted) in leg.lines.iter_mut().zip(accepted) {
            let Some(accepted) = accepted else { continue };
            let tag = accepted.crypto.map_or(1, |crypto| crypto.tag);
            acknowledgement = answer(address, line.port(), &accepted, line.crypto(tag).as_ref());
            if let Some(pool) = &self.pool {
                let stream = pool.add(accepted).context("the recording has another codec")?;
                leg.pooled.push(stream);
                continue;
            }
            let recordings = self.recordings(accepted.codec.sample_rate()).await?;
            let (loss, variant) = (self.plan.loss_percent, self.plan.variant);
            let stream =
                MediaStream::open(line, accepted, recordings, loss, variant, &mut self.rng)?;
            leg.streams.extend(stream);
        }
        Ok(acknowledgement)
    }

    /// Both voices, and music, at a sample rate. Most calls need one rate, and most recordings have it.
    async fn recordings(&mut self, sample_rate: u32) -> anyhow::Result<[Arc<Recording>; 2]> {
        if let Some(recordings) = self.recordings.get(&sample_rate) {
            return Ok(recordings.clone());
        }
        let has_music = self.plan.kind.makes_wait();
        let (customer, agent) = (self.plan.customer.clone(), self.plan.agent.clone());
        let recordings = tokio::task::spawn_blocking(move || -> Result<_, ResampleError> {
            let length = if has_music { MUSIC_FRAMES as u32 * FRAME } else { Duration::ZERO };
            let music = Audio::hold_music(length, 1);
            Ok([
                Recording::new(&customer, &agent, sample_rate)?,
                Recording::new(&music, &music, sample_rate)?,
            ])
        })
        .await??
        .map(Arc::new);
        self.recordings.insert(sample_rate, recordings.clone());
        Ok(recordings)
    }
}

impl From<LegFailure> for Outcome {
    fn from(failure: LegFailure) -> Self {
        match failure {
            LegFailure::NotRegistered => Self::NotRegistered,
            LegFailure::Rejected(status) => Self::Refused(status),
            LegFailure::NoResponse => Self::NoResponse,
            LegFailure::Cancelled => Self::Cancelled,
        }
    }
}
