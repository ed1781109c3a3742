//! What somebody may say about being transcribed, found in what they said.

/// What a phrase means for the consent to a call's transcription. The stronger ones come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// The parties were told.
    Announced,
    /// Somebody agrees.
    Granted,
    /// Somebody objects.
    Refused,
}

/// Listens to one party for phrases, final by final.
///
/// Words are compared without case or punctuation. A phrase may go across a pause: the last words of a final are
/// remembered for the next one, fewer than the longest phrase has.
#[derive(Clone, Debug, Default)]
pub struct PhraseListener {
    phrases: Vec<(Meaning, Vec<String>)>,
    longest: usize,
    tail: Vec<String>,
}

impl PhraseListener {
    /// Listens for these. A phrase without a word is never said.
    pub fn new<'a>(phrases: impl IntoIterator<Item = (Meaning, &'a str)>) -> Self {
        let phrases: Vec<_> = phrases
            .into_iter()
            .map(|(meaning, phrase)| (meaning, words(phrase)))
            .filter(|(_, words)| !words.is_empty())
            .collect();
        let longest = phrases.iter().map(|(_, words)| words.len()).max().unwrap_or_default();
        Self { phrases, longest, tail: Vec::new() }
    }

    /// The strongest meaning of what a final completes.
    pub fn hear(&mut self, text: &str) -> Option<Meaning> {
        if self.phrases.is_empty() {
            return None;
        }
        let known = self.tail.len();
        let mut said = std::mem::take(&mut self.tail);
        said.extend(words(text));
        let is_said = |phrase: &Vec<String>| {
            let ends_now = |(at, window): (usize, &[String])| {
                window == phrase.as_slice() && at + phrase.len() > known
            };
            said.windows(phrase.len()).enumerate().any(ends_now)
        };
        let heard = self.phrases.iter().filter(|(_, phrase)| is_said(phrase));
        let heard = heard.map(|(meaning, _)| *meaning).max();
        self.tail = said.split_off(said.len().saturating_sub(self.longest - 1));
        heard
    }
}

fn words(text: &str) -> Vec<String> {
    // Recognisers write either apostrophe.
    let text = text.replace('\u{2019}', "'").to_lowercase();
    let separates = |letter: char| !letter.is_alphanumeric() && letter != '\'';
    let bare = text.split(separates).map(|word| word.trim_matches('\''));
    bare.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use Meaning::{Announced, Granted, Refused};

    use super::*;

    fn listener() -> PhraseListener {
        PhraseListener::new([
            (Announced, "This call is being recorded"),
            (Granted, "you can record"),
            (Refused, "don't record"),
            (Refused, " -- "),
        ])
    }

    #[test]
    fn words_are_compared_without_case_or_punctuation() {
        for (text, meaning) in [
            ("Hello! THIS call, is being recorded for quality.", Some(Announced)),
            ("Well, you can record.", Some(Granted)),
            ("Please don\u{2019}t record me", Some(Refused)),
            ("this call is not being recorded", None),
            ("recorded being is call this", None),
            ("you can recording", None),
            ("--", None),
            ("", None),
        ] {
            assert_eq!(listener().hear(text), meaning, "{text}");
        }
        assert_eq!(PhraseListener::default().hear("you can record"), None);
    }

    #[test]
    fn an_objection_outweighs_what_is_said_beside_it() {
        assert_eq!(listener().hear("you can record, no, don't record"), Some(Refused));
        assert_eq!(listener().hear("don't record. this call is being recorded"), Some(Refused));
        assert_eq!(listener().hear("you can record. this call is being recorded"), Some(Granted));
    }

    #[test]
    fn a_phrase_may_go_across_a_pause_and_counts_once() {
        let mut listener = listener();
        assert_eq!(listener.hear("This call"), None);
        assert_eq!(listener.hear("is"), None);
        assert_eq!(listener.hear("being recorded, all right?"), Some(Announced));
        assert_eq!(listener.hear("fine"), None);
        assert_eq!(listener.hear("you can"), None);
        assert_eq!(listener.hear("hear me"), None);
    }
}
