use std::ops::Range;

use super::numbers::{Token, digits, pieces};
use super::{Kind, Policy, luhn};
use crate::captions::Word;

/// More than this between two digits ends a number.
const MOST_FILLERS: usize = 3;

/// Tokens of a number that are remembered when it has gone out: more than any card number has.
const REMEMBERED_TOKENS: usize = 64;

/// A number that the party broke off at this length is most of a card number.
const TELLING_DIGITS: std::ops::RangeInclusive<usize> = 11..=12;

/// A word: the number of its utterance, and its own in it.
pub(super) type Place = (usize, usize);

/// What a number that goes on began with, in utterances that have gone out.
#[derive(Clone, Default)]
pub(super) struct Beginning {
    pub(super) tokens: Vec<Token>,
    begins_word: Vec<bool>,
    /// Its digits are known to be those of a card.
    pub(super) is_card: bool,
}

/// A number as it is said: digits in a row, with nothing but fillers between them. Or what may become one.
#[derive(Default)]
pub(super) struct Run {
    tokens: Vec<Token>,
    /// Whether each token is the first of a word.
    begins_word: Vec<bool>,
    /// Of each token; `None` in what has gone out.
    places: Vec<Option<Place>>,
    began_as_card: bool,
    /// What came before it and is no part of it.
    pub(super) after: Option<Place>,
    /// What came after it and is no part of it. Until something does, the number may go on.
    pub(super) ended_by: Option<Place>,
}

/// The numbers in some utterances in a row.
pub(super) fn runs<'a>(
    beginning: &Beginning,
    utterances: impl IntoIterator<Item = &'a [Word]>,
) -> Vec<Run> {
    let mut found = Found {
        current: Run {
            places: vec![None; beginning.tokens.len()],
            tokens: beginning.tokens.clone(),
            begins_word: beginning.begins_word.clone(),
            began_as_card: beginning.is_card,
            ..Run::default()
        },
        ..Found::default()
    };
    for (number, words) in utterances.into_iter().enumerate() {
        for (index, word) in words.iter().enumerate() {
            pieces(&word.text, |piece| found.take(piece, (number, index)));
        }
    }
    if !found.current.tokens.is_empty() {
        found.runs.push(found.current);
    }
    found.runs
}

#[derive(Default)]
struct Found {
    runs: Vec<Run>,
    current: Run,
    fillers: usize,
}

impl Found {
    fn take(&mut self, piece: Option<Token>, place: Place) {
        match piece {
            None => self.end(place),
            Some(Token::Filler) if self.current.tokens.is_empty() => self.end(place),
            Some(Token::Filler) if self.fillers == MOST_FILLERS => self.end(place),
            Some(token) => {
                self.fillers = if token == Token::Filler { self.fillers + 1 } else { 0 };
                let last = self.current.places.last().copied().flatten();
                self.current.begins_word.push(last != Some(place));
                self.current.tokens.push(token);
                self.current.places.push(Some(place));
            }
        }
    }

    fn end(&mut self, place: Place) {
        self.fillers = 0;
        let next = Run { after: Some(place), ..Run::default() };
        let mut ended = std::mem::replace(&mut self.current, next);
        if !ended.tokens.is_empty() {
            ended.ended_by = Some(place);
            self.runs.push(ended);
        }
    }
}

impl Run {
    /// The most digits that it may have. None if nothing in it is sure to be a digit.
    pub(super) fn most_digits(&self) -> usize {
        match self.certain() {
            Some(_) => self.tokens.iter().map(|token| token.most_digits()).sum(),
            None => 0,
        }
    }

    /// The first of its words in an utterance.
    pub(super) fn first_word(&self, utterance: usize) -> Option<usize> {
        let places = self.places.iter().flatten();
        places.filter(|place| place.0 == utterance).map(|place| place.1).min()
    }

    /// The first utterance that it has a word in.
    pub(super) fn first_utterance(&self) -> Option<usize> {
        self.places.iter().flatten().map(|place| place.0).next()
    }

    /// What it begins with in utterances before a number.
    pub(super) fn beginning(&self, before: usize, is_card: bool) -> Beginning {
        let is_before = |place: Place| place.0 < before;
        let count = self.places.iter().take_while(|place| place.is_none_or(is_before)).count();
        let from = count.saturating_sub(REMEMBERED_TOKENS);
        Beginning {
            tokens: self.tokens[from..count].to_vec(),
            begins_word: self.begins_word[from..count].to_vec(),
            is_card,
        }
    }

    /// What it is, and from which to which token. A number that may go on can only be seen to be a card's.
    pub(super) fn verdict(&self, policy: &Policy, is_over: bool) -> Option<(Kind, Range<usize>)> {
        let certain = self.certain()?;
        if policy.cards {
            if self.began_as_card {
                return Some((Kind::Card, certain));
            }
            let enough = self.most_digits() >= luhn::LEAST_DIGITS;
            if let Some(card) = enough.then(|| self.find_card()).flatten() {
                let whole = card.start.min(certain.start)..card.end.max(certain.end);
                return Some((Kind::Card, whole));
            }
        }
        if !is_over {
            return None;
        }
        match digits(&self.tokens) {
            9 if policy.social_security_numbers => Some((Kind::SocialSecurityNumber, certain)),
            7 | 10..=12 if policy.phones => Some((Kind::Phone, certain)),
            _ => None,
        }
    }

    /// What a number is that the party has not gone on with for a long time.
    pub(super) fn verdict_when_broken_off(&self, policy: &Policy) -> Option<(Kind, Range<usize>)> {
        self.verdict(policy, true).or_else(|| {
            let certain = self.certain()?;
            let telling = TELLING_DIGITS.contains(&digits(&self.tokens));
            // Telephone numbers of that length begin with the country's 1, or another's 0.
            let begins = matches!(
                self.tokens[certain.start],
                Token::Digit(2..=6) | Token::Tens(2..=6) | Token::Times(_)
            );
            (policy.cards && telling && begins).then_some((Kind::Card, certain))
        })
    }

    fn find_card(&self) -> Option<Range<usize>> {
        luhn::find(&self.tokens, |at| at == 0 || self.begins_word[at])
    }

    fn certain(&self) -> Option<Range<usize>> {
        let first = self.tokens.iter().position(|token| token.is_certain())?;
        // "Double five" is one with its digit.
        let is_doubled = first > 0 && matches!(self.tokens[first - 1], Token::Times(_));
        let first = first - usize::from(is_doubled);
        let last = self.tokens.iter().rposition(|token| token.is_certain())?;
        Some(first..last + 1)
    }

    /// Marks the words of a stretch of tokens in one utterance. One that consists of fillers has none.
    pub(super) fn mark(
        &self,
        verdict: &(Kind, Range<usize>),
        utterance: usize,
        marks: &mut [Option<Kind>],
    ) {
        let (kind, stretch) = verdict;
        let words = || {
            let tokens = self.tokens[stretch.clone()].iter().zip(&self.places[stretch.clone()]);
            let places = tokens.filter(|(token, _)| **token != Token::Filler);
            let places = places.filter_map(|(_, place)| *place);
            places.filter(|place| place.0 == utterance).map(|place| place.1)
        };
        if let (Some(first), Some(last)) = (words().min(), words().max()) {
            marks[first..=last].fill(Some(*kind));
        }
    }
}
