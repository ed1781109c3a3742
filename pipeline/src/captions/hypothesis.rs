use std::fmt;

/// A word of a hypothesis. Times are samples at 16 kHz on the party's clock.
#[derive(Clone, PartialEq)]
pub struct Word {
    /// With its punctuation, without spaces around it.
    pub text: String,
    /// Where it begins.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// The recogniser's probability, 0 to 1.
    pub confidence: f32,
}

/// What a recogniser takes a window of audio to say.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Hypothesis {
    /// In the order in which they were said.
    pub words: Vec<Word>,
    /// The recogniser's probability that nobody speaks, 0 to 1.
    pub no_speech_probability: f32,
    /// Mean natural logarithm of the tokens' probabilities.
    pub average_log_probability: f32,
}

impl Hypothesis {
    /// The words with spaces between them.
    pub fn text(&self) -> String {
        join(&self.words)
    }
}

impl Word {
    /// The word as it is compared: without case and punctuation, which recognisers change their minds about.
    pub(super) fn normalised(&self) -> impl Iterator<Item = char> + '_ {
        self.text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase)
    }

    pub(super) fn same_as(&self, other: &Word) -> bool {
        self.normalised().eq(other.normalised())
    }
}

/// What was said on a call is nobody's business but the call's: it stays out of logs.
impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({}..{})", self.start, self.end)
    }
}

pub(super) fn join(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}
