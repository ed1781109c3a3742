//! What a call does about what it was told.

use std::time::{Duration, Instant};

use tracing::info;

use super::{ABSENT_INTERVAL, CHECK_INTERVAL, Call, Context, Finish, RINGING_INTERVAL, Request};
use crate::control::action::Action;
use crate::control::attachment::{Attachment, State};
use crate::control::consent::Decision;
use crate::control::roster::{Plan, is_same};
use crate::control::view::Stage;
use crate::ringcentral::SessionParty;
use crate::supervision::{SuperviseRequest, Target};

/// A leg whose party has left is hung up if RingCentral has not done so by then.
const LEG_GRACE: Duration = Duration::from_secs(5);

/// Between looks while the other party rings for longer than [`LONG_RINGING`].
const LONG_RINGING_INTERVAL: Duration = Duration::from_secs(10);
const LONG_RINGING: Duration = Duration::from_secs(60);

/// A call without a monitored agent is forgotten after this long; one who joins later brings it back.
const ABSENT_LIMIT: Duration = Duration::from_secs(60);

impl Call {
    /// Does what is due. Call it whenever something was told, and at [`poll_timeout`](Self::poll_timeout).
    pub(in crate::control) fn settle(&mut self, context: Context<'_>) {
        if self.finish.is_some() {
            return;
        }
        let now = context.now;
        let own = self.roster.agent(&self.agents, self.agent.as_deref());
        if let Some(agent) = own.and_then(SessionParty::extension_id) {
            self.consent.tighten(context.policies.of(agent));
            self.agent = Some(agent.to_owned());
        }
        let is_withheld = self.is_withheld();
        if is_withheld != std::mem::replace(&mut self.is_withheld, is_withheld) {
            self.actions.push_back(Action::Forward { call: self.id.clone(), is_withheld });
        }
        self.notify_of_consent();
        let plan = self.plan();
        let (hold, happened) = (self.roster.hold(&plan), self.happened_unix_ms.take());
        if hold != self.hold {
            self.hold = hold;
            self.tell_hold(happened);
        }
        self.lapse(now);
        let wanted = self.wanted(&plan);
        self.leave(now, &plan, &wanted);
        if matches!(plan, Plan::Talk(_)) {
            for target in &wanted {
                if self.attachment(target).is_none() {
                    self.attachments.push(Attachment::new(target.clone()));
                }
            }
        }
        if self.request.is_none() {
            self.ask(context, &plan, &wanted);
        }
        self.enter(now, self.stage_of(&plan, &wanted));
        self.end(now, &plan);
        let wakes = self.attachments.iter().filter_map(Attachment::wake);
        let absent = (plan == Plan::Absent).then_some(self.since + ABSENT_LIMIT);
        self.wake =
            wakes.chain(absent).chain(self.look_due(&plan)).filter(|wake| *wake > now).min();
    }

    /// Tells the relay what has become of consent. Of a call that it does not know, only a refusal is told: a gateway that
    /// ran before this one may have sent something.
    fn notify_of_consent(&mut self) {
        let notice = self.consent.notice();
        let is_due = self.is_known || self.consent.decision() == Decision::StopAndPurge;
        if is_due && self.notice.replace(notice) != Some(notice) {
            self.actions.push_back(Action::Consent { call: self.id.clone(), notice });
        }
    }

    /// Requests that never brought their INVITE.
    fn lapse(&mut self, now: Instant) {
        for attachment in &mut self.attachments {
            if matches!(attachment.state, State::Invited { until } if until <= now) {
                attachment.strike(now, "no INVITE came");
                self.cleans_up = true;
                self.look_by = Some(now);
            }
        }
    }

    /// The legs that the call should have, or keep.
    fn wanted(&self, plan: &Plan) -> Vec<Target> {
        if self.is_stopped || self.consent.decision() == Decision::StopAndPurge {
            return Vec::new();
        }
        let active = || self.attachments.iter().filter(|it| it.is_active());
        let kept = || -> Vec<Target> {
            let is_there = |target: &&Target| match target {
                Target::Party(party) => self.roster.is_live(party.id.as_str()),
                Target::Session => true,
            };
            active().map(|it| &it.target).filter(is_there).cloned().collect()
        };
        let parties = match plan {
            Plan::Over | Plan::Absent => return Vec::new(),
            Plan::Ringing | Plan::OnHold => return kept(),
            Plan::Talk(parties) => parties,
        };
        if active().any(|it| it.target == Target::Session) {
            return vec![Target::Session];
        }
        let each: Vec<Target> = parties.iter().cloned().map(Target::Party).collect();
        let is_up = |target: &&Target| active().any(|it| it.target == **target);
        let up: Vec<Target> = each.iter().filter(is_up).cloned().collect();
        let has_agent = each.first().is_some_and(|agent| up.contains(agent));
        match parties.len() {
            _ if self.is_mixed => vec![Target::Session],
            ..=2 => each,
            _ if has_agent && up.len() >= 2 => up,
            _ => vec![Target::Session],
        }
    }

    /// Leaves the legs that nobody wants.
    fn leave(&mut self, now: Instant, plan: &Plan, wanted: &[Target]) {
        let has_ended = matches!(plan, Plan::Over | Plan::Absent);
        let (roster, actions) = (&self.roster, &mut self.actions);
        self.attachments.retain_mut(|attachment| {
            if wanted.contains(&attachment.target) && !attachment.is_leaving {
                attachment.leave_at = None;
                return true;
            }
            match attachment.state {
                State::Idle => false,
                State::Asking => true,
                State::Invited { .. } => *plan != Plan::Over,
                State::Up { leg, .. } => {
                    let is_gone = has_ended
                        || matches!(&attachment.target, Target::Party(party) if !roster.is_live(party.id.as_str()));
                    let grace = if is_gone { LEG_GRACE } else { Duration::ZERO };
                    let leave_at = *attachment.leave_at.get_or_insert(now + grace);
                    if leave_at.min(now + grace) <= now && !attachment.is_leaving {
                        attachment.is_leaving = true;
                        actions.push_back(Action::HangUp { leg });
                    }
                    true
                }
            }
        });
    }

    /// The next REST request.
    fn ask(&mut self, context: Context<'_>, plan: &Plan, wanted: &[Target]) {
        let now = context.now;
        if self.look_due(plan).is_some_and(|due| due <= now) {
            self.look_by = None;
            self.request = Some(Request::Look);
            self.roster.begin_look();
            self.actions.push_back(Action::Look { call: self.id.clone() });
            return;
        }
        if self.looked_at.is_none() {
            return;
        }
        if self.cleans_up
            && let Some(owner) = context.owner
        {
            if let Some(party) = self.stuck(owner) {
                self.request = Some(Request::Delete);
                self.actions.push_back(Action::DeleteParty { call: self.id.clone(), party });
                return;
            }
            self.cleans_up = false;
        }
        // Nobody is heard twice: first what is not wanted has to be gone.
        let is_clear =
            self.attachments.iter().all(|it| wanted.contains(&it.target) && !it.is_leaving);
        let (Plan::Talk(parties), true, true) = (plan, context.is_registered, is_clear) else {
            return;
        };
        let Some(agent) = self.agent.clone() else { return };
        let is_withheld = self.is_withheld();
        let Some(attachment) = self.attachments.iter_mut().find(|it| it.is_due(now)) else {
            return;
        };
        attachment.state = State::Asking;
        let request = SuperviseRequest {
            call: self.id.clone(),
            target: attachment.target.clone(),
            agent,
            parties: parties.clone(),
            is_withheld,
        };
        let names_agent = attachment.names_agent;
        self.request = Some(Request::Supervise);
        self.is_released = false;
        self.actions.push_back(Action::Supervise { request, names_agent });
    }

    /// A party of our own that no leg of ours belongs to. Nobody else's is ever given.
    fn stuck(&self, owner: &str) -> Option<String> {
        let ours: Vec<&str> =
            self.attachments.iter().filter_map(|it| it.supervisor.as_deref()).collect();
        // While it is not known which party a leg has, one that is answered may be that leg's.
        let is_certain =
            self.attachments.iter().all(|it| it.leg().is_none() || it.supervisor.is_some());
        self.roster
            .supervisors(owner)
            .filter(|party| !ours.iter().any(|own| is_same(own, &party.id)))
            .find(|party| is_certain || !party.is_answered())
            .map(|party| party.id.clone())
    }

    fn stage_of(&self, plan: &Plan, wanted: &[Target]) -> Stage {
        let wanted = || self.attachments.iter().filter(|it| wanted.contains(&it.target));
        match plan {
            _ if self.looked_at.is_none() => {
                let agent = self.roster.agent(&self.agents, self.agent.as_deref());
                let is_ringing = agent.is_some_and(SessionParty::is_ringing);
                if is_ringing { Stage::Ringing } else { Stage::Looking }
            }
            Plan::Over => Stage::Ended,
            _ if self.consent.decision() == Decision::StopAndPurge => Stage::ConsentRefused,
            _ if self.is_stopped => Stage::Stopped,
            Plan::Absent => Stage::AgentAbsent,
            Plan::Ringing => Stage::Ringing,
            Plan::OnHold => Stage::OnHold,
            Plan::Talk(_) if wanted().all(Attachment::is_up) => Stage::Listening,
            Plan::Talk(_) if wanted().any(|it| it.given_up.is_some()) => Stage::GivenUp,
            Plan::Talk(_) if wanted().any(|it| it.failure.is_some()) => Stage::Retrying,
            Plan::Talk(_) => Stage::Joining,
        }
    }

    fn enter(&mut self, now: Instant, stage: Stage) {
        if stage != self.stage {
            info!(call = %self.id, from = ?self.stage, to = ?stage, why = self.why(), "call");
            (self.stage, self.since) = (stage, now);
        }
    }

    /// The call is left when nothing of it is left.
    fn end(&mut self, now: Instant, plan: &Plan) {
        let is_idle = self.attachments.is_empty() && self.request.is_none();
        if !is_idle || self.looked_at.is_none() {
            return;
        }
        let is_forgotten = self.stage == Stage::AgentAbsent && now >= self.since + ABSENT_LIMIT;
        self.finish = match plan {
            Plan::Over => Some(Finish::Over),
            Plan::Absent if is_forgotten => Some(Finish::AgentLeft),
            _ => None,
        };
        let is_left =
            self.finish.is_some() || matches!(self.stage, Stage::Stopped | Stage::ConsentRefused);
        if is_left && !std::mem::replace(&mut self.is_released, true) {
            self.actions.push_back(Action::Release { call: self.id.clone() });
        }
    }

    /// When the session is to be read, at the latest.
    fn look_due(&self, plan: &Plan) -> Option<Instant> {
        let Some(looked_at) = self.looked_at else { return self.look_by };
        let has_picked_up = || {
            let agent = self.roster.agent(&self.agents, self.agent.as_deref());
            agent.is_some_and(SessionParty::is_answered)
        };
        let periodic = match plan {
            Plan::Over => return None,
            Plan::Ringing if has_picked_up() && looked_at < self.since + LONG_RINGING => {
                looked_at + RINGING_INTERVAL
            }
            Plan::Ringing if has_picked_up() => looked_at + LONG_RINGING_INTERVAL,
            Plan::Absent | Plan::Ringing => looked_at + ABSENT_INTERVAL,
            Plan::OnHold | Plan::Talk(_) => looked_at.max(self.heard_at) + CHECK_INTERVAL,
        };
        Some(self.look_by.map_or(periodic, |by| by.min(periodic)))
    }
}
