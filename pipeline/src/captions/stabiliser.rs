use super::Word;
use super::hypothesis::join;
use crate::speech::samples;

/// A word that ends this close to the end of the window may still be cut off.
const UNSETTLED_TAIL: u64 = samples(300);

/// Keeps the words of a growing utterance steady: LocalAgreement-2 (Liu et al., Interspeech 2020; Macháček et al. 2023).
///
/// A word is committed when two hypotheses in a row agree on it and on all before it. What is committed is shown in
/// every later partial, as it was.
#[derive(Default)]
pub struct Stabiliser {
    committed: Vec<Word>,
    previous: Vec<Word>,
}

impl Stabiliser {
    /// Takes the next hypothesis about the utterance, from its first word on, over a window that ends at `window_end`.
    /// Returns what to show: the text, how many bytes of it are committed, and the words.
    pub fn update(&mut self, words: &[Word], window_end: u64) -> (String, usize, Vec<Word>) {
        let shown = self.committed.len();
        let agrees_with_committed = words.len() >= shown
            && self.committed.iter().zip(words).all(|(committed, word)| committed.same_as(word));
        if agrees_with_committed {
            let fresh = words[shown..].iter();
            let before = self.previous.get(shown..).unwrap_or_default();
            let agreed = fresh
                .zip(before)
                .take_while(|(word, before)| {
                    word.same_as(before) && word.end + UNSETTLED_TAIL <= window_end
                })
                .map(|(word, _)| word.clone());
            self.committed.extend(agreed.collect::<Vec<_>>());
            self.previous = words.to_vec();
        }

        let mut shown = self.committed.clone();
        let stable_len = join(&shown).len();
        // A hypothesis that contradicts what is committed is not shown: the next one, or the final, decides.
        shown.extend(self.previous.iter().skip(self.committed.len()).cloned());
        (join(&shown), stable_len, shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Word> {
        text.split_whitespace()
            .zip(1..)
            .map(|(text, i)| Word {
                text: text.to_owned(),
                start: samples(200 * (i - 1)),
                end: samples(200 * i),
                confidence: 1.0,
            })
            .collect()
    }

    fn show(stabiliser: &mut Stabiliser, text: &str, window_ms: u64) -> String {
        let (text, stable, shown) = stabiliser.update(&words(text), samples(window_ms));
        assert_eq!(join(&shown), text);
        format!("{}|{}", &text[..stable], &text[stable..])
    }

    #[test]
    fn two_hypotheses_that_agree_commit() {
        let s = &mut Stabiliser::default();
        assert_eq!(show(s, "good mourning", 600), "|good mourning");
        assert_eq!(show(s, "Good morning thank", 900), "Good| morning thank");
        assert_eq!(show(s, "good morning, thank you", 1300), "Good morning, thank| you");
    }

    #[test]
    fn a_word_at_the_edge_of_the_window_waits() {
        let s = &mut Stabiliser::default();
        show(s, "may I", 400);
        assert_eq!(show(s, "may I", 500), "may| I");
        assert_eq!(show(s, "may I have", 800), "may I| have");
    }

    #[test]
    fn what_is_committed_never_changes() {
        let s = &mut Stabiliser::default();
        show(s, "may I have", 1500);
        assert_eq!(show(s, "may I have", 1500), "may I have|");
        assert_eq!(show(s, "may we have your", 1800), "may I have|");
        assert_eq!(show(s, "may", 2000), "may I have|");
        assert_eq!(show(s, "may I have your", 2100), "may I have| your");
    }
}
