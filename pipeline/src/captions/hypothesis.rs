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

/// Words as they may go into a caption of a stretch of audio, whatever the recogniser says of them: in order, one after
/// the other, within the stretch, each with a text and a probability.
pub(super) fn tidied(words: Vec<Word>, from: u64, to: u64) -> Vec<Word> {
    let mut earliest = from;
    let tidied = words.into_iter().filter(|word| !word.text.trim().is_empty()).map(|word| {
        let start = word.start.clamp(earliest, to.max(earliest));
        let end = word.end.clamp(start, to.max(start));
        earliest = end;
        let confidence =
            if word.confidence.is_nan() { 0.0 } else { word.confidence.clamp(0.0, 1.0) };
        let is_tidy = !word.text.contains(char::is_whitespace);
        let text = if is_tidy {
            word.text
        } else {
            word.text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        Word { text, start, end, confidence }
    });
    tidied.collect()
}

/// What was said on a call is nobody's business but the call's: it stays out of logs.
impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({}..{})", self.start, self.end)
    }
}

pub(crate) fn join(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}
