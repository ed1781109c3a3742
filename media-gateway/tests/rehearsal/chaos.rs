//! What goes wrong, by the dice.

use std::time::Duration;

use media_gateway::ringcentral::Error;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How likely each mishap is, in percent.
pub struct Chaos {
    dice: StdRng,
    lost: u32,
    repeated: u32,
    late: u32,
    refused: u32,
    /// A request is served, and its answer gets lost.
    unanswered: u32,
    leg_lost: u32,
    slow: Duration,
    /// How long a notification connection lives, and stays away.
    connection: Option<(Duration, Duration)>,
    is_account_subscribed: bool,
}

/// What becomes of an event.
pub enum Fate {
    Lost,
    After(Vec<Duration>),
}

impl Chaos {
    pub fn none() -> Self {
        Self {
            dice: StdRng::seed_from_u64(0),
            lost: 0,
            repeated: 0,
            late: 0,
            refused: 0,
            unanswered: 0,
            leg_lost: 0,
            slow: Duration::from_millis(50),
            connection: None,
            is_account_subscribed: false,
        }
    }

    /// Everything at once, each seed in its own measure.
    pub fn seeded(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed ^ 0xc4a0);
        let mut up_to = |most: u32| dice.random_range(0..=most);
        Self {
            lost: up_to(20),
            repeated: up_to(30),
            late: up_to(40),
            refused: up_to(15),
            unanswered: up_to(4),
            leg_lost: up_to(3),
            slow: Duration::from_millis(u64::from(up_to(1500))),
            connection: (up_to(1) == 1).then(|| {
                [60, 20].map(|most| Duration::from_secs(u64::from(1 + up_to(most)))).into()
            }),
            is_account_subscribed: up_to(1) == 1,
            dice,
        }
    }

    pub fn is_account_subscribed(&self) -> bool {
        self.is_account_subscribed
    }

    /// When the notification connection is lost next, and for how long.
    pub fn next_outage(&mut self) -> Option<(Duration, Duration)> {
        let (lives, away) = self.connection?;
        Some((lives.mul_f64(self.dice.random_range(0.5..2.0)), away))
    }

    pub fn event(&mut self) -> Fate {
        if self.strikes(self.lost) {
            return Fate::Lost;
        }
        let copies = if self.strikes(self.repeated) { 2 } else { 1 };
        let delay = |chaos: &mut Self| {
            let longest = if chaos.strikes(chaos.late) { 3000 } else { 40 };
            Duration::from_millis(chaos.dice.random_range(0..longest))
        };
        Fate::After((0..copies).map(|_| delay(self)).collect())
    }

    /// How long a request, an answer or an INVITE is under way.
    pub fn delay(&mut self) -> Duration {
        self.slow.mul_f64(self.dice.random())
    }

    pub fn loses_the_answer(&mut self) -> bool {
        self.strikes(self.unanswered)
    }

    pub fn loses_a_leg(&mut self) -> bool {
        self.strikes(self.leg_lost)
    }

    pub fn pick(&mut self, of: usize) -> usize {
        self.dice.random_range(0..of)
    }

    /// A refusal of any request.
    pub fn refusal(&mut self) -> Option<Error> {
        if !self.strikes(self.refused) {
            return None;
        }
        Some(match self.dice.random_range(0..4) {
            0 => Error::RateLimited { retry_after: Duration::from_secs(3) },
            _ => refused(503, "CMN-201", ""),
        })
    }

    /// A refusal of a supervise request. `is_public`: of a party outside the account.
    pub fn supervise_refusal(&mut self, is_public: bool, names_agent: bool) -> Option<Error> {
        if !self.strikes(self.refused) {
            return None;
        }
        Some(match self.dice.random_range(0..6) {
            0 => refused(400, "TAS-102", ""),
            1 => refused(400, "TAS-120", ""),
            2 => refused(403, "MBW-005", ""),
            3 => refused(409, "TAS-409", ""),
            4 if is_public && names_agent => refused(404, "CMN-102", "agentExtensionId"),
            _ => refused(500, "CMN-203", ""),
        })
    }

    fn strikes(&mut self, percent: u32) -> bool {
        self.dice.random_range(0..100) < percent
    }
}

pub fn refused(status: u16, code: &str, parameter: &str) -> Error {
    Error::Refused {
        request: "/restapi".into(),
        status,
        code: code.into(),
        message: format!("parameter [{parameter}]"),
        parameter: parameter.into(),
        request_id: "rehearsed".into(),
    }
}
