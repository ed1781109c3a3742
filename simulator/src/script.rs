//! What happens in a call of each kind, and when: pure, from the kind and two lengths.

use crate::kind::CallKind;
use crate::switchboard::{Code, Direction, Member};
use Change::{Gone, Join, Status};
use Code::{Answered, Disconnected, Hold, Parked, Proceeding, Setup, VoiceMail};
use Direction::{Inbound, Outbound};
use Member::{Agent, Colleague, Customer, Guest, Queue};
use std::time::Duration;

/// The course of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// What happens until both sides talk, by the time since the call was placed.
    pub(crate) dialling: Vec<Scheduled>,
    /// What happens while they talk, by the time since they began to.
    pub(crate) talking: Vec<Scheduled>,
    /// Whether both sides come to talk.
    pub(crate) is_answered: bool,
}

/// A step and its time.
pub(crate) type Scheduled = (Duration, Step);

/// One event of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where.
    pub(crate) line: Line,
    /// What.
    pub(crate) change: Change,
}

/// One of the sessions that a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The call itself.
    Call,
    /// The agent's question to the colleague before an attended transfer.
    Consultation,
}

/// A change of a session. Parties are counted from 1 in the order in which they join, without supervisors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Somebody joins.
    Join(Member, Direction, Code),
    /// A party's status changes, for a reason if there is one.
    Status(usize, Code, Option<&'static str>),
    /// A party goes on as that party of the other line.
    Gone(usize, usize, &'static str),
}

impl Script {
    /// The course of a call that rings for `ringing`, and whose parties have `talk` to say.
    ///
    /// The sequences of direct, queue, outbound and internal calls are those of captured event logs.
    pub(crate) fn new(kind: CallKind, ringing: Duration, talk: Duration) -> Self {
        let start = Duration::ZERO;
        let mut script = Self { dialling: vec![], talking: vec![], is_answered: true };
        match kind {
            CallKind::Queue => {
                script.dial(
                    start,
                    [
                        Join(Customer, Outbound, Setup),
                        Join(Queue, Inbound, Setup),
                        // A caller has been answered as soon as the greeting plays.
                        Status(1, Answered, None),
                    ],
                );
                script.dial(
                    ringing / 2,
                    [
                        Status(2, Disconnected, None),
                        Join(Agent, Inbound, Setup),
                        Status(3, Proceeding, None),
                    ],
                );
                script.dial(ringing, [Status(3, Answered, None)]);
            }
            CallKind::Outbound => {
                script.dial(
                    start,
                    [
                        Join(Agent, Outbound, Setup),
                        Join(Customer, Inbound, Proceeding),
                        Status(1, Proceeding, None),
                    ],
                );
                script.dial(ringing, [Status(2, Answered, None), Status(1, Answered, None)]);
            }
            CallKind::Internal => {
                script.dial(
                    start,
                    [
                        Join(Agent, Outbound, Setup),
                        Join(Colleague, Inbound, Setup),
                        // Within the account a caller has been answered before anybody picks up.
                        Status(1, Answered, None),
                        Status(2, Proceeding, None),
                    ],
                );
                script.dial(ringing, [Status(2, Answered, None)]);
            }
            CallKind::EarlyHangUp => {
                script.ring();
                let gone = Some("Cancelled");
                script.dial(ringing, [1, 2].map(|party| Status(party, Disconnected, gone)));
                script.is_answered = false;
            }
            CallKind::Voicemail => {
                script.ring();
                let message = [Status(2, VoiceMail, Some("NoAnswer")), Status(1, Answered, None)];
                script.dial(ringing, message);
                script.is_answered = false;
            }
            CallKind::Inbound
            | CallKind::Hold
            | CallKind::BlindTransfer
            | CallKind::AttendedTransfer
            | CallKind::Park
            | CallKind::Conference => {
                script.ring();
                script.dial(ringing, [Status(2, Answered, None), Status(1, Answered, None)]);
            }
        }
        script.talk(kind, talk);
        script
    }

    fn talk(&mut self, kind: CallKind, talk: Duration) {
        let [third, half] = [talk / 3, talk / 2];
        // How long the others take to react.
        let reaction = talk / 10;
        match kind {
            CallKind::Hold => {
                self.during(third, [Status(2, Hold, None)]);
                self.during(half, [Status(2, Answered, None)]);
            }
            CallKind::BlindTransfer => {
                self.during(
                    half,
                    [
                        Status(2, Disconnected, Some("BlindTransfer")),
                        Join(Colleague, Inbound, Setup),
                        Status(3, Proceeding, None),
                    ],
                );
                self.during(half + reaction, [Status(3, Answered, None)]);
            }
            CallKind::AttendedTransfer => {
                const REASON: &str = "AttendedTransfer";
                self.during(third, [Status(2, Hold, None)]);
                self.consult(
                    third,
                    [
                        Join(Agent, Outbound, Setup),
                        Join(Colleague, Inbound, Setup),
                        Status(1, Answered, None),
                        Status(2, Proceeding, None),
                    ],
                );
                self.consult(half, [Status(2, Answered, None)]);
                let over = half + reaction;
                self.during(over, [Join(Colleague, Inbound, Answered)]);
                self.consult(over, [Gone(2, 3, REASON), Status(1, Disconnected, Some(REASON))]);
                self.during(over, [Status(2, Disconnected, Some(REASON))]);
            }
            CallKind::Park => {
                let parked = Some("CallPark");
                self.during(third, [Status(2, Disconnected, parked), Status(1, Parked, parked)]);
                self.during(
                    half,
                    [
                        Join(Agent, Inbound, Setup),
                        Status(1, Answered, None),
                        Status(3, Answered, Some("Pickup")),
                    ],
                );
            }
            CallKind::Conference => {
                self.during(half, [Join(Guest, Inbound, Proceeding)]);
                self.during(half + reaction, [Status(3, Answered, None)]);
            }
            CallKind::Inbound
            | CallKind::Queue
            | CallKind::Outbound
            | CallKind::Internal
            | CallKind::EarlyHangUp
            | CallKind::Voicemail => {}
        }
    }

    /// A customer calls the agent, whose phone rings.
    fn ring(&mut self) {
        self.dial(
            Duration::ZERO,
            [
                Join(Customer, Outbound, Setup),
                Join(Agent, Inbound, Setup),
                Status(1, Proceeding, None),
                Status(2, Proceeding, None),
            ],
        );
    }

    fn dial<const N: usize>(&mut self, at: Duration, changes: [Change; N]) {
        let steps = changes.map(|change| (at, Step { line: Line::Call, change }));
        self.dialling.extend(steps);
    }

    fn during<const N: usize>(&mut self, at: Duration, changes: [Change; N]) {
        self.talking.extend(changes.map(|change| (at, Step { line: Line::Call, change })));
    }

    fn consult<const N: usize>(&mut self, at: Duration, changes: [Change; N]) {
        let steps = changes.map(|change| (at, Step { line: Line::Consultation, change }));
        self.talking.extend(steps);
    }
}
