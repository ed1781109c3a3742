//! Which words of a hypothesis stand for which words of what was said.

use std::iter::repeat_n;

/// One step of an alignment. Numbers count words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The word was heard as it was said.
    Match {
        /// In the hypothesis.
        heard: usize,
    },
    /// Another word was heard in its place.
    Substitution {
        /// In the hypothesis.
        heard: usize,
    },
    /// A word that was said was not heard.
    Deletion {
        /// The first word of the hypothesis after it.
        before: usize,
    },
    /// A word was heard that was not said.
    Insertion {
        /// In the hypothesis.
        heard: usize,
    },
}

impl Step {
    /// Whether it is a word error.
    pub fn is_error(self) -> bool {
        !matches!(self, Self::Match { .. })
    }
}

/// The cheapest way from what was said to what was heard, at one for each error (Levenshtein), from first to last word.
pub fn align(said: &[String], heard: &[String]) -> Vec<Step> {
    // distances[i][j]: between the first i words said and the first j heard.
    let width = heard.len() + 1;
    let mut distances: Vec<Vec<usize>> = vec![(0..width).collect()];
    for (i, word) in said.iter().enumerate() {
        let above = &distances[i];
        let mut row: Vec<usize> = repeat_n(i + 1, width).collect();
        for (j, candidate) in heard.iter().enumerate() {
            let replaced = above[j] + usize::from(word != candidate);
            row[j + 1] = replaced.min(above[j + 1] + 1).min(row[j] + 1);
        }
        distances.push(row);
    }
    let (mut i, mut j) = (said.len(), heard.len());
    let mut steps = Vec::new();
    while i > 0 || j > 0 {
        let here = distances[i][j];
        let is_equal = i > 0 && j > 0 && said[i - 1] == heard[j - 1];
        if is_equal && here == distances[i - 1][j - 1] {
            (i, j) = (i - 1, j - 1);
            steps.push(Step::Match { heard: j });
        } else if i > 0 && j > 0 && here == distances[i - 1][j - 1] + 1 {
            (i, j) = (i - 1, j - 1);
            steps.push(Step::Substitution { heard: j });
        } else if i > 0 && here == distances[i - 1][j] + 1 {
            i -= 1;
            steps.push(Step::Deletion { before: j });
        } else {
            j -= 1;
            steps.push(Step::Insertion { heard: j });
        }
    }
    steps.reverse();
    steps
}

/// The words of a text as they are compared: case and punctuation are not words.
pub fn words(text: &str) -> Vec<String> {
    let spoken = |c: &char| c.is_alphanumeric() || *c == '\'';
    let normalised = |word: &str| -> String {
        word.chars().filter(spoken).flat_map(char::to_lowercase).collect()
    };
    text.replace('-', " ")
        .split_whitespace()
        .map(normalised)
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(said: &str, heard: &str) -> Vec<Step> {
        align(&words(said), &words(heard))
    }

    #[test]
    fn errors_stand_where_they_happened() {
        assert_eq!(
            steps("may I help you", "may help you all"),
            [
                Step::Match { heard: 0 },
                Step::Deletion { before: 1 },
                Step::Match { heard: 1 },
                Step::Match { heard: 2 },
                Step::Insertion { heard: 3 },
            ]
        );
        assert_eq!(
            steps("one two three", "one too three"),
            [Step::Match { heard: 0 }, Step::Substitution { heard: 1 }, Step::Match { heard: 2 }]
        );
    }

    #[test]
    fn nothing_against_something_is_all_errors() {
        assert!(steps("may I", "").into_iter().all(Step::is_error));
        assert_eq!(steps("", "thank you").len(), 2);
        assert_eq!(steps("", ""), []);
    }
}
