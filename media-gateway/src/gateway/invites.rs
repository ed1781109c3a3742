//! What the event loop does with INVITEs.

use std::net::SocketAddr;
use std::time::Duration;

use sidetone_proto::{Party, PartyId, Role};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::admission::Denied;
use super::event_loop::{EventLoop, Input};
use super::legs::{Unacceptable, acceptable_lines};
use crate::control::LegNews;
use crate::metrics;
use crate::ringcentral::Client;
use crate::sdp::Description;
use crate::sip::{Flow, Invite, LegId};
use crate::supervision::{Ids, InviteIds, Match, SuperviseRequest, Verdict};

/// How long a leg waits for [`look_up`].
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// A leg that is not answered yet: its offer, and where it came from.
pub(super) struct Waiting {
    pub(super) offer: Option<Description>,
    pub(super) flow: Flow,
}

impl EventLoop {
    pub(super) async fn invited(&mut self, invite: Invite) {
        let leg = invite.leg;
        let now = Instant::now().into_std();
        let is_trusted = invite.on_registered_flow || self.is_allowed(invite.flow);
        if let Err(denied) = self.admission.invited(now, is_trusted) {
            self.deny(leg, denied);
            return;
        }
        let ids = match read_invite(&invite) {
            Ok((ids, offer)) => {
                self.waiting.insert(leg, Waiting { offer, flow: invite.flow });
                ids
            }
            Err(unacceptable) => {
                self.reject(leg, unacceptable);
                return;
            }
        };
        match self.supervision.invited(now, leg, ids) {
            Verdict::Matched(matched) => self.matched(matched).await,
            Verdict::Parked => debug!(%leg, "invite matches no supervise request yet"),
            Verdict::Unwanted => self.deny(leg, Denied::Unsolicited),
        }
    }

    /// Answers a leg, after asking RingCentral who is on it if nobody is known.
    pub(super) async fn matched(&mut self, matched: Match) {
        let Some(ids) = matched.unresolved() else {
            self.answer(matched).await;
            return;
        };
        let (client, inputs) = (self.client.clone(), self.input_sender.clone());
        tokio::spawn(async move {
            let parties = look_up(&client, &matched.request, &ids);
            let parties = timeout(LOOKUP_LIMIT, parties).await.unwrap_or_default();
            let _ = inputs.send(Input::Looked { matched, parties }).await;
        });
    }

    /// Answers a leg, and tells the control plane whether that went well.
    pub(super) async fn answer(&mut self, matched: Match) {
        let leg = matched.leg;
        let (call, target) = (matched.request.call.clone(), matched.request.target.clone());
        let supervisor = matched.supervisor.clone();
        let news = match self.try_answer(matched) {
            Ok(()) => LegNews::Up { call, target, leg, supervisor },
            Err(why) => LegNews::Failed { call, target, why },
        };
        self.tell(news).await;
    }

    fn try_answer(&mut self, matched: Match) -> Result<(), String> {
        let leg = matched.leg;
        let Some(Waiting { offer, flow }) = self.waiting.remove(&leg) else {
            return Err("the INVITE was taken back".to_owned());
        };
        let is_new = !self.legs.has_call(&matched.request.call);
        if let Err(denied) = self.admission.joining(self.legs.calls(), is_new) {
            self.deny(leg, denied);
            return Err(denied.to_string());
        }
        let signalling = self.flows.local_of(flow);
        let remote =
            offer.iter().flat_map(|offer| &offer.media).find(|media| media.unfit.is_none());
        let local = match remote {
            Some(media) if !media.remote.ip().is_unspecified() => {
                self.flows.local_towards(media.remote.ip()).ip()
            }
            Some(_) | None => signalling.ip(),
        };
        match self.legs.answer(matched, offer.as_ref(), local) {
            Ok(sdp) => {
                metrics::INVITES_ANSWERED.increment();
                self.send_answer(leg, Some(signalling), &sdp);
                Ok(())
            }
            Err(unacceptable) => {
                let why = unacceptable.to_string();
                self.reject(leg, unacceptable);
                Err(why)
            }
        }
    }

    pub(super) fn send_answer(&mut self, leg: LegId, local: Option<SocketAddr>, sdp: &str) {
        let local = local.unwrap_or_else(|| self.local_of(leg));
        self.user_agent.answer(Instant::now().into_std(), leg, local, sdp);
    }

    pub(super) fn reject(&mut self, leg: LegId, unacceptable: Unacceptable) {
        let Unacceptable { code, reason, detail } = unacceptable;
        warn!(%leg, code, reason, detail, "invite refused");
        let label = match code {
            488 => "not_acceptable".to_owned(),
            500 => "server_error".to_owned(),
            code => format!("status_{code}"),
        };
        self.refusals.count(label);
        self.user_agent.reject(Instant::now().into_std(), leg, code, reason);
    }

    /// Refuses an INVITE that is not let in.
    pub(super) fn deny(&mut self, leg: LegId, denied: Denied) {
        self.waiting.remove(&leg);
        let (code, reason) = denied.status();
        let flow = self.user_agent.flow_of(leg).map(tracing::field::display);
        warn!(%leg, flow, code, %denied, "invite not let in");
        self.refusals.count(metrics::label(&denied));
        self.user_agent.reject(Instant::now().into_std(), leg, code, reason);
    }

    fn is_allowed(&self, flow: Flow) -> bool {
        match flow {
            Flow::Udp(peer) => self.flows.is_allowed(peer.ip()),
            // A connection is either one of ours to the registrar, or was let in by its address.
            Flow::Stream(_) => true,
        }
    }
}

/// The parties with these ids, as far as RingCentral knows them.
async fn look_up(client: &Client, request: &SuperviseRequest, ids: &[String]) -> Vec<Party> {
    let mut parties = Vec::new();
    for id in ids {
        match client.party(request.call.as_str(), id).await {
            Ok(party) => {
                let is_agent = party.extension_id() == Some(request.agent.as_str());
                let role = if is_agent { Role::Agent } else { Role::Customer };
                parties.push(Party {
                    call: request.call.clone(),
                    id: PartyId::new(party.id),
                    role,
                });
            }
            Err(error) => debug!(%error, party = id, "a party on the leg is not known"),
        }
    }
    parties
}

/// What an INVITE is about.
fn read_invite(invite: &Invite) -> Result<(InviteIds, Option<Description>), Unacceptable> {
    let offer = invite.offer.as_deref().map(Description::parse).transpose()?;
    let media = match &offer {
        Some(offer) => {
            acceptable_lines(offer)?.into_iter().map(|media| media.party_id.clone()).collect()
        }
        None => vec![None],
    };
    let ids = InviteIds {
        supervisor: invite.api_ids.as_deref().map(Ids::parse),
        monitored: invite.monitoring_ids.as_deref().map(Ids::parse),
        media,
    };
    Ok((ids, offer))
}
