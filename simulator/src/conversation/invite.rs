//! How a call's legs come to be: what their INVITEs say, and where their media comes from.

use super::leg::{Leg, Line};
use super::{Conversation, REPLY_HEAD_START};
use crate::load::StreamPool;
use crate::media::Feed;
use crate::plan::Shape;
use crate::sdp::MasterKey;
use crate::sip::leg::Invitation;
use crate::sip::transport::Registration;
use crate::switchboard::{Side, Supervision, Target};
use crate::variant::Variant;
use rand::RngExt;
use rand::seq::SliceRandom;
use std::io;
use std::time::SystemTime;
use tokio::sync::oneshot;
use tokio::time::Instant;

impl Conversation {
    /// Sends the INVITE now, or lets the answer to the request go first.
    pub(super) async fn supervise(&mut self, supervision: Supervision, reply: oneshot::Sender<()>) {
        if self.plan.variant.is_before_reply() {
            self.invite(supervision, Some(reply)).await;
        } else {
            self.invites.push_back((Instant::now() + REPLY_HEAD_START, supervision));
        }
    }

    /// Offers one media line, or two, to the supervisor's device.
    pub(super) async fn invite(
        &mut self,
        supervision: Supervision,
        reply: Option<oneshot::Sender<()>>,
    ) {
        let Supervision { party_id, target, headers, caller, is_send_only, .. } = supervision;
        let is_first = self.legs.is_empty() && self.ended.is_empty();
        let variant = match self.plan.variant {
            // Only the first one is taken back.
            Variant::Cancelled if !is_first => Variant::default(),
            variant => variant,
        };
        let invitation = Invitation { caller, headers, sdp: None, variant };
        self.call_device(party_id, Some(target), is_send_only, invitation, reply).await;
    }

    /// Calls the device as anybody might.
    pub(super) async fn ring_at_the_device(&mut self) {
        let caller = self.plan.person.phone_number.clone();
        let variant = Variant::OrdinaryCall;
        let invitation = Invitation { caller, headers: vec![], sdp: None, variant };
        self.call_device(String::new(), None, false, invitation, None).await;
    }

    async fn call_device(
        &mut self,
        party: String,
        target: Option<Target>,
        is_send_only: bool,
        mut invitation: Invitation,
        reply: Option<oneshot::Sender<()>>,
    ) {
        // The registration that the request was accepted on may have ended since then.
        let Some(registration) = self.sip.registration() else {
            tracing::warn!(call = %self.session_id, party, "device unregistered before the invite");
            return;
        };
        let lines = match self.lines(target, &registration).await {
            Ok(lines) => lines,
            Err(error) => {
                tracing::error!(call = %self.session_id, party, %error, "cannot bind an rtp port");
                return;
            }
        };
        let (id, session_number) = (self.sip.new_leg(), u64::from(self.rng.random::<u32>()));
        let form = (registration.local_ip, self.plan.codec, is_send_only);
        tracing::info!(call = %self.session_id, party, media = lines.len(), "inviting");
        let mut leg = Leg::new(party, target, lines, form, session_number);
        if invitation.variant != Variant::LateOffer {
            invitation.sdp = Some(leg.offer(false));
        }
        leg.reply = reply;
        self.legs.insert(id, leg);
        self.sip.invite(id, invitation, self.news_sender.clone()).await;
    }

    /// The media lines of a leg, in the order of the offer.
    async fn lines(
        &mut self,
        target: Option<Target>,
        registration: &Registration,
    ) -> io::Result<Vec<Line>> {
        let feeds = self.feeds(target);
        let pool_port = self.pool.as_ref().map(StreamPool::port);
        let is_secure = self.plan.variant.is_secure().unwrap_or(registration.is_secure);
        let mut lines = Vec::with_capacity(feeds.len());
        for feed in &feeds {
            let side = match feed {
                Feed::Customer if feeds.len() > 1 => Some(Side::Customer),
                Feed::Agent if feeds.len() > 1 => Some(Side::Agent),
                _ => None,
            };
            let information =
                side.and_then(|side| self.switchboard().media_information(&self.session_id, side));
            // The pool sends the same bytes to all.
            let is_secure = is_secure && pool_port.is_none();
            let key = is_secure.then(|| MasterKey::new(rand::random()));
            let ip = registration.local_ip;
            lines.push(Line::bind(ip, pool_port, *feed, information, key).await?);
        }
        Ok(lines)
    }

    /// What each media line of a leg carries, in the order of the offer.
    fn feeds(&mut self, target: Option<Target>) -> Vec<Feed> {
        match (target, self.plan.effective_shape()) {
            (Some(Target::Party(Side::Customer)), _) => vec![Feed::Customer],
            (Some(Target::Party(Side::Agent)), _) => vec![Feed::Agent],
            (Some(Target::Session), Shape::TwoMedia) => {
                // The order of the lines means nothing, so nobody may come to rely on it.
                let mut feeds = vec![Feed::Customer, Feed::Agent];
                feeds.shuffle(&mut self.rng);
                feeds
            }
            (Some(Target::Session), Shape::TwoLegs | Shape::Mixed) | (None, _) => vec![Feed::Mixed],
        }
    }

    pub(super) async fn drop_party(&mut self, party_id: &str) {
        self.invites.retain(|(_, supervision)| supervision.party_id != party_id);
        let leg = self.legs.iter().find(|(_, leg)| leg.party_id == party_id).map(|(id, _)| *id);
        match leg {
            Some(leg) => self.sip.hang_up(leg).await,
            // A stuck party has no leg that could take it away.
            None => {
                let mut switchboard = self.switchboard();
                let now = SystemTime::now();
                let _ = switchboard.remove_supervisor(&self.session_id, party_id, now);
            }
        }
    }
}
