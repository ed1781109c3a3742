//! What a call is made of: who takes it, how it is supervised, and what is said.

use crate::account::Customer;
use crate::audio::Audio;
use crate::kind::CallKind;
use crate::variant::Variant;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// A call to place on the simulated line.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// The extension id of the agent whose call it is.
    pub agent_extension_id: String,
    /// Who calls, or is called, unless it is a colleague.
    pub person: Customer,
    /// What happens in the call.
    pub kind: CallKind,
    /// How long it rings, the greeting of a queue included.
    pub ringing: Duration,
    /// When the parties begin to talk.
    pub start: Start,
    /// How the parties' voices reach the supervisor.
    pub shape: Shape,
    /// How the INVITEs come, and what befalls the legs.
    pub variant: Variant,
    /// The codec that leads the SDP offers.
    pub codec: Codec,
    /// The share of RTP packets that get lost on the way, in percent, 0 to 100.
    pub loss_percent: f32,
    /// What the customer says, from the first instant of the conversation.
    pub customer: Audio,
    /// What the agent says, from the same instant.
    pub agent: Audio,
    /// The keys that are pressed meanwhile, in any order.
    pub keys: Vec<KeyPress>,
}

/// A key that one of the parties presses. It is sent as RTP telephone-events (RFC 4733).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPress {
    /// When, from the first instant of the conversation.
    pub at: Duration,
    /// Whether the agent presses it; else the customer does.
    pub is_agents: bool,
    /// `0` to `9`, `*`, `#`, `A` to `D`; anything else is not sent.
    pub key: char,
}

impl CallPlan {
    /// A call from a customer that the agent answers at once, in Opus over a perfect network.
    pub fn new(agent_extension_id: &str, customer: Audio, agent: Audio) -> Self {
        Self {
            agent_extension_id: agent_extension_id.to_owned(),
            person: Customer::default(),
            kind: CallKind::default(),
            ringing: Duration::ZERO,
            start: Start::default(),
            shape: Shape::TwoLegs,
            variant: Variant::default(),
            codec: Codec::Opus,
            loss_percent: 0.0,
            customer,
            agent,
            keys: vec![],
        }
    }

    /// How long both voices are.
    pub(crate) fn talk(&self) -> Duration {
        self.customer.duration().max(self.agent.duration())
    }

    /// The shape of session supervision, which a variant may fix.
    pub(crate) fn effective_shape(&self) -> Shape {
        self.variant.shape().unwrap_or(self.shape)
    }
}

/// When the parties of an answered call begin to talk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Start {
    /// Once the supervisor hears both, or 5 s after it hears one: no word is missed. The call waits for ever if nobody
    /// listens.
    #[default]
    WhenHeard,
    /// At once, as people do.
    AtOnce,
}

/// The three ways in which RingCentral has sent supervised audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Party supervise: one INVITE for each party, one voice on each.
    TwoLegs,
    /// Session supervise as of 2019: one INVITE with two `m=audio` lines, one voice on each.
    TwoMedia,
    /// Session supervise as of today: one INVITE, both voices mixed.
    Mixed,
}

impl Shape {
    /// All shapes, in the order of their documentation.
    pub const ALL: [Shape; 3] = [Shape::TwoLegs, Shape::TwoMedia, Shape::Mixed];

    /// The name on command lines and in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Shape::TwoLegs => "two-legs",
            Shape::TwoMedia => "two-media",
            Shape::Mixed => "mixed",
        }
    }
}

/// The codec of a call's RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus at a clock rate of 48 kHz (RFC 7587), wideband speech.
    Opus,
    /// G.711 mu-law at 8 kHz (RFC 3551).
    Pcmu,
}

impl Codec {
    /// All codecs, the richer one first.
    pub const ALL: [Codec; 2] = [Codec::Opus, Codec::Pcmu];

    /// The name on command lines and in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Pcmu => "pcmu",
        }
    }
}

/// A name that is not one of the choices.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{given:?} is not a known {kind}: use one of {choices}")]
pub struct UnknownName {
    /// What was asked for.
    pub given: String,
    /// What was being named.
    pub kind: &'static str,
    /// The names that are known.
    pub choices: &'static str,
}

impl FromStr for Shape {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|shape| shape.as_str() == name).ok_or_else(|| UnknownName {
            given: name.into(),
            kind: "shape",
            choices: "two-legs, two-media, mixed",
        })
    }
}

impl FromStr for Codec {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|codec| codec.as_str() == name).ok_or_else(|| UnknownName {
            given: name.into(),
            kind: "codec",
            choices: "opus, pcmu",
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back() {
        for shape in Shape::ALL {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
        for codec in Codec::ALL {
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
    }

    #[test]
    fn an_unknown_name_lists_the_choices() {
        let error = "stereo".parse::<Shape>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"stereo\" is not a known shape: use one of two-legs, two-media, mixed"
        );
        assert!("OPUS".parse::<Codec>().is_err());
    }
}
