//! The notification protocol. Pure: frames and time in, requests and notifications out.
//!
//! A connection opens with the server's `ConnectionDetails`; then comes our subscription, then events. When a connection
//! is lost, the next one can go on with its session, given the recovery token and a little luck. Whether it can or not,
//! [`Notification::Missed`] follows: the server keeps only so many events.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use tracing::{debug, error, info, warn};
use uuid::Builder;

use super::frame::{ConnectionDetails, Content, Frame, Refusal, Wsc};
use super::seen::Seen;
use crate::ringcentral::Notification;

/// From one step of the opening to the next: token and connection; first frame; answer to the subscription.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection on which nothing comes for this long is asked for a sign of life,
const HEARTBEAT_AFTER: Duration = Duration::from_secs(30);

/// which has to come within this time.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection is replaced this long before the server ends it, or halfway if it is to be short.
const RENEW_BEFORE_END: Duration = Duration::from_secs(300);

/// Between two attempts: none after the first loss, then this, doubled up to the last.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// A connection that lived this long was a good one: the next loss counts as the first.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);

/// Between two attempts while somebody has to change the app's or the user's permissions.
const FORBIDDEN_RETRY: Duration = Duration::from_secs(300);

/// The pause after a refusal for too many requests or subscriptions.
const LIMITED_RETRY: Duration = Duration::from_secs(60);

/// Without a subscription the reader is sent to look for itself, this often.
const MISSED_INTERVAL: Duration = Duration::from_secs(60);

/// What the protocol wants done.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Get a token and connect; with the recovery token, if there is one.
    Connect { wsc: Option<String> },
    /// Drop the connection, or the attempt at one.
    Disconnect,
    /// Write a text frame.
    Send(String),
    /// Tell the reader.
    Notify(Notification),
}

/// Why there is no connection or no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Trying again may help.
    Transient,
    /// Trying again helps after this time.
    Wait(Duration),
    /// Trying again helps after somebody has changed a permission or the configuration.
    Forbidden,
}

pub(super) struct Session {
    filters: Vec<String>,
    rng: StdRng,
    state: State,
    outputs: VecDeque<Output>,
    /// The newest recovery token, and until when the session that it stands for can be recovered.
    wsc: Option<Wsc>,
    recovery_timeout: Duration,
    recover_until: Option<Instant>,
    /// Attempts since the last good connection.
    attempts: u32,
    last_missed: Option<Instant>,
    seen: Seen,
}

#[derive(Debug)]
enum State {
    /// No connection until then.
    Waiting {
        until: Instant,
    },
    Connecting {
        deadline: Instant,
        offers_wsc: bool,
    },
    /// Connected; nothing may be sent before the first frame.
    Greeting {
        deadline: Instant,
        offers_wsc: bool,
    },
    Subscribing {
        deadline: Instant,
        message_id: String,
        ends_at: Instant,
    },
    Active(Active),
}

#[derive(Debug)]
struct Active {
    since: Instant,
    /// When to reconnect before the server makes us.
    ends_at: Instant,
    heard_at: Instant,
    /// Until when an answer to our heartbeat is waited for.
    answer_due: Option<Instant>,
}

impl Session {
    /// Connects at once.
    pub(super) fn new(filters: Vec<String>, rng: StdRng, now: Instant) -> Self {
        Self {
            filters,
            rng,
            state: State::Waiting { until: now },
            outputs: VecDeque::new(),
            wsc: None,
            recovery_timeout: Duration::ZERO,
            recover_until: None,
            attempts: 0,
            last_missed: None,
            seen: Seen::default(),
        }
    }

    /// What to do next. Take everything after each input.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Instant {
        match &self.state {
            State::Waiting { until } => *until,
            State::Connecting { deadline, .. }
            | State::Greeting { deadline, .. }
            | State::Subscribing { deadline, .. } => *deadline,
            State::Active(active) => {
                let quiet = active.heard_at + HEARTBEAT_AFTER;
                active.answer_due.unwrap_or(quiet).min(active.ends_at)
            }
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if now < self.poll_timeout() {
            return;
        }
        match &mut self.state {
            State::Waiting { .. } => self.connect(now),
            State::Connecting { .. } | State::Greeting { .. } | State::Subscribing { .. } => {
                warn!("the notification connection is not getting anywhere");
                self.handle_failure(Failure::Transient, now);
            }
            State::Active(active) if active.ends_at <= now => {
                info!("replacing the notification connection before its end");
                self.reconnect(now);
            }
            State::Active(active) if active.answer_due.is_some() => {
                warn!("the notification connection gives no sign of life");
                self.handle_failure(Failure::Transient, now);
            }
            State::Active(active) => {
                active.answer_due = Some(now + HEARTBEAT_TIMEOUT);
                let heartbeat = json!([{ "type": "Heartbeat", "messageId": self.message_id() }]);
                self.outputs.push_back(Output::Send(heartbeat.to_string()));
            }
        }
    }

    /// The connection that was asked for is there.
    pub(super) fn handle_connected(&mut self, now: Instant) {
        if let State::Connecting { offers_wsc, .. } = self.state {
            self.state = State::Greeting { deadline: now + STEP_TIMEOUT, offers_wsc };
        }
    }

    /// Something came that is not a text frame, such as a ping.
    pub(super) fn handle_activity(&mut self, now: Instant) {
        if let State::Active(active) = &mut self.state {
            (active.heard_at, active.answer_due) = (now, None);
        }
    }

    /// The connection is gone.
    pub(super) fn handle_closed(&mut self, now: Instant) {
        if self.is_connected() {
            self.handle_failure(Failure::Transient, now);
        }
    }

    /// The login that the connection was made with has been replaced.
    pub(super) fn handle_new_login(&mut self, now: Instant) {
        if self.is_connected() {
            debug!("moving the notification connection to the new login");
            self.reconnect(now);
        }
    }

    /// There is no connection, or no use in it.
    pub(super) fn handle_failure(&mut self, failure: Failure, now: Instant) {
        if let State::Waiting { .. } = self.state {
            return;
        }
        self.outputs.push_back(Output::Disconnect);
        if let State::Active(active) = &self.state {
            self.recover_until = Some(now + self.recovery_timeout);
            self.outputs.push_back(Output::Notify(Notification::Lost));
            if now.saturating_duration_since(active.since) >= GOOD_CONNECTION {
                self.attempts = 0;
            }
        } else if self.last_missed.is_none_or(|last| now >= last + MISSED_INTERVAL) {
            self.miss(now);
            self.notify(Notification::Lost);
        }
        let pause = match failure {
            Failure::Transient => self.next_pause(),
            Failure::Wait(pause) => pause.max(self.next_pause()),
            Failure::Forbidden => FORBIDDEN_RETRY,
        };
        info!(?pause, "no notifications, connecting again");
        self.state = State::Waiting { until: now + pause };
    }

    /// A text frame came.
    pub(super) fn handle_text(&mut self, text: &str, now: Instant) {
        if !self.is_connected() {
            return;
        }
        self.handle_activity(now);
        let Some(frame) = Frame::read(text) else {
            debug!(len = text.len(), "skipping a frame that can't be read");
            return;
        };
        let is_opening = matches!(frame.content, Content::ConnectionDetails(_));
        if let Some(wsc) = frame.wsc {
            let is_newer = self.wsc.as_ref().is_none_or(|old| wsc.sequence > old.sequence);
            if is_opening || is_newer {
                self.wsc = Some(wsc);
            }
        }
        match frame.content {
            Content::ConnectionDetails(details) => self.greet(&details, now),
            Content::Error(refusal) => self.refuse(&refusal, now),
            Content::Answer { message_id, outcome } => self.answer(&message_id, outcome, now),
            Content::Event { uuid, event } => {
                if self.seen.is_new(&uuid) {
                    self.notify(Notification::Session(event));
                }
            }
            Content::Other => {}
        }
    }

    fn connect(&mut self, now: Instant) {
        let wsc = match self.recover_until {
            Some(until) if now < until => self.wsc.as_ref().map(|wsc| wsc.token.clone()),
            _ => None,
        };
        self.state = State::Connecting { deadline: now + STEP_TIMEOUT, offers_wsc: wsc.is_some() };
        self.outputs.push_back(Output::Connect { wsc });
    }

    /// Gives a connection up for a new one, at once.
    fn reconnect(&mut self, now: Instant) {
        // Without a subscription there is nothing to recover.
        if let State::Active(_) = self.state {
            self.recover_until = Some(now + self.recovery_timeout);
        }
        self.outputs.push_back(Output::Disconnect);
        self.state = State::Waiting { until: now };
    }

    fn greet(&mut self, details: &ConnectionDetails, now: Instant) {
        let State::Greeting { offers_wsc, .. } = self.state else { return };
        self.recovery_timeout = details.recovery_timeout;
        let life = details.absolute_timeout;
        let ends_at = now + life.saturating_sub(RENEW_BEFORE_END).max(life / 2).max(STEP_TIMEOUT);
        if offers_wsc && details.is_recovered {
            info!("notifications go on after a gap");
            return self.activate(ends_at, now);
        }
        // The session of this connection holds no subscription yet: nothing worth recovering.
        self.recover_until = None;
        let message_id = self.message_id();
        let request = json!([
            {
                "type": "ClientRequest", "messageId": message_id, "method": "POST",
                "path": "/restapi/v1.0/subscription",
            },
            { "eventFilters": self.filters, "deliveryMode": { "transportType": "WebSocket" } },
        ]);
        self.outputs.push_back(Output::Send(request.to_string()));
        self.state = State::Subscribing { deadline: now + STEP_TIMEOUT, message_id, ends_at };
    }

    fn answer(&mut self, answered: &str, outcome: Result<(), Refusal>, now: Instant) {
        let State::Subscribing { message_id, ends_at, .. } = &self.state else { return };
        if answered != message_id {
            return;
        }
        let ends_at = *ends_at;
        match outcome {
            Ok(()) => {
                info!(filters = self.filters.len(), "subscribed to notifications");
                self.activate(ends_at, now);
            }
            Err(refusal) => self.refuse(&refusal, now),
        }
    }

    fn refuse(&mut self, refusal: &Refusal, now: Instant) {
        let Refusal { status, code, message } = refusal;
        let failure = match (*status, code.as_str()) {
            // Idle for too long, or connected for too long: nothing is wrong.
            (_, "WSG-902" | "WSG-903") if matches!(self.state, State::Active(_)) => {
                debug!(code, "the server ends the notification connection");
                return self.reconnect(now);
            }
            (429, _) | (_, "SUB-505") => Failure::Wait(LIMITED_RETRY),
            (401, _) => Failure::Transient,
            (400..=499, _) | (_, "CMN-408") => Failure::Forbidden,
            _ => Failure::Transient,
        };
        if failure == Failure::Forbidden {
            error!(
                status,
                code,
                message,
                "notifications are refused; check the app's permissions WebSocketsSubscription and CallControl, and \
                 the extension ids of the agents"
            );
        } else {
            warn!(status, code, message, "notifications are refused for now");
        }
        // A refused recovery would be refused again.
        if matches!(self.state, State::Greeting { offers_wsc: true, .. }) {
            self.recover_until = None;
        }
        self.handle_failure(failure, now);
    }

    fn activate(&mut self, ends_at: Instant, now: Instant) {
        self.state = State::Active(Active { since: now, ends_at, heard_at: now, answer_due: None });
        self.miss(now);
    }

    fn miss(&mut self, now: Instant) {
        self.last_missed = Some(now);
        self.notify(Notification::Missed);
    }

    fn notify(&mut self, notification: Notification) {
        self.outputs.push_back(Output::Notify(notification));
    }

    /// The pause before the next attempt: many gateways lose their connections at once, and spread out.
    fn next_pause(&mut self) -> Duration {
        let pause = match self.attempts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST_RETRY * 2u32.pow(doublings.min(8))).min(LAST_RETRY),
        };
        self.attempts = self.attempts.saturating_add(1);
        pause.mul_f64(self.rng.random_range(0.8..1.2))
    }

    fn is_connected(&self) -> bool {
        !matches!(self.state, State::Waiting { .. } | State::Connecting { .. })
    }

    fn message_id(&mut self) -> String {
        Builder::from_random_bytes(self.rng.random()).into_uuid().to_string()
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
