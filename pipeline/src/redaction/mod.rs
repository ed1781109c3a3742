//! What must not be written down: payment card numbers first of all, and what else a [`Policy`] names.
//!
//! Numbers are found as they are written ("4111 1111 ...") and as they are said ("four triple one", "forty one
//! eleven", "oh"), across the utterances of one party. Number words are those of English; recognisers of other
//! languages write numbers in digits.

mod address;
mod luhn;
mod numbers;
mod party;
mod runs;

use std::time::Duration;

pub use party::PartyRedactor;

/// What is redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Payment card numbers: 13 to 19 digits that pass the Luhn check (ISO/IEC 7812-1), and the digits that are said in
    /// the same breath: the expiry date and the security code.
    pub cards: bool,
    /// E-mail addresses, written or said ("jane at example dot com").
    pub emails: bool,
    /// Numbers of 7 and of 10 to 12 digits.
    pub phones: bool,
    /// Numbers of 9 digits, as social security numbers are.
    pub social_security_numbers: bool,
    /// How long a final that ends in digits waits for the party to say more, or something else. With few digits, a quarter.
    pub hold: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            cards: true,
            emails: false,
            phones: false,
            social_security_numbers: false,
            hold: Duration::from_secs(2),
        }
    }
}

impl Policy {
    /// Nothing is redacted, and nothing waits.
    pub fn off() -> Self {
        Self { cards: false, ..Self::default() }
    }

    fn wants_numbers(&self) -> bool {
        self.cards || self.phones || self.social_security_numbers
    }
}

/// What stood where a placeholder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A payment card number.
    Card,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// Nine digits.
    SocialSecurityNumber,
}

impl Kind {
    /// What readers see in place of the text.
    pub fn placeholder(self) -> &'static str {
        match self {
            Kind::Card => "[card number]",
            Kind::Email => "[e-mail address]",
            Kind::Phone => "[phone number]",
            Kind::SocialSecurityNumber => "[social security number]",
        }
    }
}
