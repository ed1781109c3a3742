//! When a call's next step is due: pure.

use crate::kind::CallKind;
use crate::media::{FRAME, event_of};
use crate::plan::{CallPlan, Start};
use crate::script::{Script, Step};
use crate::variant::Effect;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How long the first leg waits for the others before the conversation starts without them.
const OTHER_LEGS_WAIT: Duration = Duration::from_secs(5);

/// A call's time.
pub(super) struct Clock {
    phase: Phase,
    dialling: VecDeque<(Duration, Step)>,
    talking: VecDeque<(Duration, Event)>,
    is_answered: bool,
    starts_at_once: bool,
    /// How long a message is that nobody listens to.
    message: Duration,
    /// What both have to say, in frames.
    frames: u64,
    /// Frames that have been said.
    said: u64,
}

/// Something that happens to the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// In the session.
    Step(Step),
    /// To its legs.
    Effect(Effect),
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Do this.
    Event(Event),
    /// A frame of 20 ms has passed: send it.
    Frame,
    /// The call is over.
    End,
    /// Nothing yet.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The call is set up.
    Dialling { placed: Instant },
    /// Both sides have answered; no leg has.
    Idle,
    /// A leg has been answered; the others have until then.
    Waiting { until: Instant },
    /// The parties talk; the next frame to send.
    Running { start: Instant, next_frame: u64 },
    /// Nobody answered; a message may be spoken until then.
    Unanswered { until: Instant },
}

impl Clock {
    /// The time of a call that is placed now.
    pub(super) fn new(plan: &CallPlan, placed: Instant) -> Self {
        let talk = plan.talk();
        let script = Script::new(plan.kind, plan.ringing, talk);
        let steps = script.talking.into_iter().map(|(at, step)| (at, Event::Step(step)));
        let effects = plan.variant.effects(talk).into_iter();
        let keys = plan.keys.iter().filter_map(|press| {
            let event = event_of(press.key)?;
            Some((press.at, Effect::Press { is_agents: press.is_agents, event }))
        });
        let effects = effects.chain(keys).map(|(at, effect)| (at, Event::Effect(effect)));
        let mut talking: Vec<_> = steps.chain(effects).collect();
        talking.sort_by_key(|(at, _)| *at);
        Self {
            phase: Phase::Dialling { placed },
            dialling: script.dialling.into(),
            talking: talking.into(),
            is_answered: script.is_answered,
            starts_at_once: plan.start == Start::AtOnce,
            message: if plan.kind == CallKind::Voicemail { talk } else { Duration::ZERO },
            frames: talk.as_nanos().div_ceil(FRAME.as_nanos()) as u64,
            said: 0,
        }
    }

    /// A leg has been answered; whether every voice is heard now.
    pub(super) fn leg_answered(&mut self, now: Instant, is_everyone_heard: bool) {
        self.phase = match self.phase {
            Phase::Idle | Phase::Waiting { .. } if is_everyone_heard => {
                Phase::Running { start: now, next_frame: 0 }
            }
            Phase::Idle => Phase::Waiting { until: now + OTHER_LEGS_WAIT },
            phase => phase,
        };
    }

    /// When [`Clock::poll`] has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Dialling { placed } => {
                Some(placed + self.dialling.front().map_or(Duration::ZERO, |(at, _)| *at))
            }
            Phase::Idle => None,
            Phase::Waiting { until } | Phase::Unanswered { until } => Some(until),
            // A frame leaves once it has been spoken, as from a real phone. The deadlines do not
            // depend on when the frames before really left, so that a delay does not add up.
            Phase::Running { start, next_frame } => Some(start + frames(next_frame + 1)),
        }
    }

    /// What is due now; ask until it is nothing.
    pub(super) fn poll(&mut self, now: Instant) -> Due {
        match self.phase {
            Phase::Dialling { placed } => match self.dialling.front() {
                Some((at, step)) if placed + *at <= now => {
                    let step = *step;
                    self.dialling.pop_front();
                    Due::Event(Event::Step(step))
                }
                Some(_) => Due::Nothing,
                None => {
                    self.phase = if !self.is_answered {
                        Phase::Unanswered { until: now + self.message }
                    } else if self.starts_at_once {
                        Phase::Running { start: now, next_frame: 0 }
                    } else {
                        Phase::Idle
                    };
                    Due::Nothing
                }
            },
            Phase::Waiting { until } if until <= now => {
                self.phase = Phase::Running { start: now, next_frame: 0 };
                Due::Nothing
            }
            Phase::Unanswered { until } if until <= now => Due::End,
            Phase::Running { .. } if self.said >= self.frames => Due::End,
            Phase::Running { start, next_frame } if start + frames(next_frame + 1) <= now => {
                let passed = frames(next_frame);
                if let Some((at, event)) = self.talking.front()
                    && *at <= passed
                {
                    let event = *event;
                    self.talking.pop_front();
                    return Due::Event(event);
                }
                self.phase = Phase::Running { start, next_frame: next_frame + 1 };
                Due::Frame
            }
            _ => Due::Nothing,
        }
    }

    /// The number of the next frame of speech, which is said now.
    pub(super) fn say(&mut self) -> u64 {
        self.said += 1;
        self.said - 1
    }
}

fn frames(count: u64) -> Duration {
    FRAME * u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Audio;

    fn plan(kind: CallKind, start: Start) -> CallPlan {
        let silence = Audio::silence(Duration::from_millis(600));
        let ringing = Duration::from_secs(2);
        CallPlan { kind, ringing, start, ..CallPlan::new("1", silence.clone(), silence) }
    }

    /// Runs until the end, or until nothing is due any more: how long that takes, the events, and the frames.
    fn run(
        clock: &mut Clock,
        placed: Instant,
        is_talking: impl Fn(usize) -> bool,
    ) -> (Option<Duration>, usize, u64) {
        let (mut events, mut frames) = (0, 0);
        while let Some(now) = clock.next_due() {
            loop {
                match clock.poll(now) {
                    Due::Event(_) => events += 1,
                    Due::Frame => {
                        frames += 1;
                        if is_talking(events) {
                            clock.say();
                        }
                    }
                    Due::End => return (Some(now - placed), events, frames),
                    Due::Nothing => break,
                }
            }
        }
        (None, events, frames)
    }

    #[test]
    fn a_call_rings_then_talks_then_ends() {
        let now = Instant::now();
        let mut clock = Clock::new(&plan(CallKind::Inbound, Start::AtOnce), now);
        let (end, events, frames) = run(&mut clock, now, |_| true);
        assert_eq!((end, events, frames), (Some(Duration::from_millis(2600)), 6, 30));
    }

    #[test]
    fn what_is_on_hold_is_said_later() {
        let now = Instant::now();
        let mut clock = Clock::new(&plan(CallKind::Hold, Start::AtOnce), now);
        // The seventh event puts the call on hold, the eighth resumes it, a sixth of the talk later.
        let (end, events, frames) = run(&mut clock, now, |events| events != 7);
        assert_eq!((end, events, frames), (Some(Duration::from_millis(2700)), 8, 35));
    }

    #[test]
    fn nobody_talks_before_the_supervisor_listens() {
        let now = Instant::now();
        let mut clock = Clock::new(&plan(CallKind::Inbound, Start::WhenHeard), now);
        assert_eq!(run(&mut clock, now, |_| true), (None, 6, 0));
        let later = now + Duration::from_secs(60);
        clock.leg_answered(later, false);
        assert_eq!(clock.next_due(), Some(later + OTHER_LEGS_WAIT));
        clock.leg_answered(later, true);
        let (end, _, frames) = run(&mut clock, later, |_| true);
        assert_eq!((end, frames), (Some(Duration::from_millis(600)), 30));
    }

    #[test]
    fn an_unanswered_call_ends_by_itself() {
        let now = Instant::now();
        for (kind, length) in [(CallKind::EarlyHangUp, 2000), (CallKind::Voicemail, 2600)] {
            let mut clock = Clock::new(&plan(kind, Start::WhenHeard), now);
            let (end, _, frames) = run(&mut clock, now, |_| true);
            assert_eq!((end, frames), (Some(Duration::from_millis(length)), 0), "{kind}");
        }
    }
}
