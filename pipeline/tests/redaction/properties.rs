use pipeline::captions::{Stabiliser, Word};
use pipeline::redaction::{PartyRedactor, Policy};
use pipeline::speech::samples;
use proptest::prelude::*;
use proptest::sample::select;

use crate::Party;

const PLAIN: [&str; 8] = ["my", "card", "is", "please", "Helen,", "it's", "x-ray", "thanks."];
const UNITS: [&str; 10] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A number that passes the Luhn check.
fn card() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..10_u8, 12..=18).prop_map(|mut digits| {
        let sum: u32 = digits.iter().rev().enumerate().fold(0, |sum, (i, &digit)| {
            let value = u32::from(digit) * if i % 2 == 0 { 2 } else { 1 };
            sum + value / 10 + value % 10
        });
        digits.push(((10 - sum % 10) % 10) as u8);
        digits
    })
}

/// Says the next digits of a number in one of several ways; gives the words and how many digits they are.
fn say(digits: &[u8], way: u8) -> (String, usize) {
    match (way % 5, digits) {
        (0, [a, b, c, d, ..]) => (format!("{a}{b}{c}{d}"), 4),
        (1, [a, b, ..]) if a == b => (format!("double {}", UNITS[usize::from(*a)]), 2),
        (2, [a @ 2..=9, b @ 1..=9, ..]) => {
            (format!("{} {}", TENS[usize::from(*a)], UNITS[usize::from(*b)]), 2)
        }
        (3, [a, ..]) => (format!("{a}"), 1),
        (_, [a, ..]) => (UNITS[usize::from(*a)].to_owned(), 1),
        (_, []) => (String::new(), 0),
    }
}

/// Digits that some text shows.
fn digits_in(text: &str) -> usize {
    text.split_whitespace()
        .map(|word| {
            let spoken = UNITS.contains(&word) || TENS[2..].contains(&word) || word == "double";
            word.chars().filter(char::is_ascii_digit).count() + usize::from(spoken)
        })
        .sum()
}

/// A card number in words, with where each word ends among its digits.
fn spoken(digits: &[u8], ways: &[u8]) -> Vec<(String, usize)> {
    let (mut words, mut at) = (Vec::new(), 0);
    for way in ways.iter().cycle() {
        if at == digits.len() {
            break;
        }
        let (text, count) = say(&digits[at..], *way);
        at += count;
        words.push((text, at));
    }
    words
}

proptest! {
    #[test]
    fn no_card_number_is_ever_shown(
        digits in card(),
        ways in prop::collection::vec(any::<u8>(), 1..8),
        cuts in prop::collection::vec(any::<bool>(), 20),
        before in prop::collection::vec(select(&PLAIN[..]), 0..4),
        after in prop::collection::vec(select(&PLAIN[..]), 1..4),
    ) {
        // Utterances end at any word, once there have been enough digits to make one suspicious.
        let mut utterances = vec![before.join(" ")];
        let words = spoken(&digits, &ways);
        for ((word, at), cut) in words.iter().zip(cuts.iter().cycle()) {
            let last = utterances.last_mut().unwrap();
            *last = format!("{last} {word}").trim().to_owned();
            if *cut && *at >= 3 && *at < digits.len() {
                utterances.push(String::new());
            }
        }
        let last = utterances.last_mut().unwrap();
        *last = format!("{last} {}", after.join(" "));

        let mut party = Party::new();
        let mut finals = Vec::new();
        for utterance in &utterances {
            let ends = utterance.match_indices(' ').map(|(at, _)| at).chain([utterance.len()]);
            for end in ends.collect::<Vec<_>>() {
                for caption in party.is_saying(&utterance[..end], 0) {
                    let most = if caption.is_final { 0 } else { 4 };
                    prop_assert!(digits_in(&caption.text) <= most, "{:?}", caption.text);
                }
            }
            finals.extend(party.says(utterance));
        }
        prop_assert_eq!(finals.len(), utterances.len());
        prop_assert_eq!(finals.iter().map(|text| digits_in(text)).sum::<usize>(), 0, "{:?}", finals);
    }

    #[test]
    fn text_without_numbers_passes_at_once_and_whole(
        said in prop::collection::vec(prop::collection::vec(select(&PLAIN[..]), 1..9), 1..6),
    ) {
        let mut party = Party::new();
        for words in said {
            let text = words.join(" ");
            prop_assert_eq!(party.says(&text), [text]);
        }
    }

    #[test]
    fn whatever_is_said_comes_out_once_in_order_and_in_time(
        said in prop::collection::vec(".{0,40}", 1..12),
        pauses in prop::collection::vec(0..5_000_u64, 12),
    ) {
        let policy = Policy { emails: true, phones: true, ..Policy::default() };
        let mut party = Party::with(policy);
        let mut out = 0;
        for (text, pause) in said.iter().zip(pauses) {
            out += party.says(text).len();
            out += party.waits(std::time::Duration::from_millis(pause), false).len();
        }
        out += party.waits(std::time::Duration::from_secs(3), false).len();
        prop_assert_eq!(out, said.len());
    }

    #[test]
    fn what_is_committed_in_a_partial_never_changes(
        hypotheses in prop::collection::vec(
            prop::collection::vec(
                select(&["my", "4111", "1111", "one", "double", "for", "at", "dot", "com", "um"][..]),
                0..14,
            ),
            2..12,
        ),
        repeat in 1..3_usize,
        before in prop::option::of("(4111 1111|1111|one|hello)"),
    ) {
        let policy = Policy { emails: true, phones: true, ..Policy::default() };
        let mut redactor = PartyRedactor::new(policy, 0);
        if let Some(before) = before {
            redactor.closed(std::time::Instant::now(), 0, Some(crate::caption(0, &before, 0, true)));
        }
        let mut stabiliser = Stabiliser::default();
        let mut committed = String::new();
        for (k, texts) in hypotheses.iter().flat_map(|h| std::iter::repeat_n(h, repeat)).enumerate() {
            let words: Vec<_> = texts.iter().zip(0..).map(|(text, i)| Word {
                text: (*text).to_owned(),
                start: samples(100 * i),
                end: samples(100 * (i + 1)),
                confidence: 1.0,
            }).collect();
            let (text, stable_len, words) = stabiliser.update(&words, samples(3_000));
            let mut partial = crate::caption(1, &text, stable_len, false);
            (partial.words, partial.revision) = (words, k as u32);
            for shown in redactor.partial(partial).into_iter().filter(|caption| !caption.is_final) {
                prop_assert!(shown.text.starts_with(&committed), "{:?} {:?}", committed, shown.text);
                committed = shown.text[..shown.stable_len].to_owned();
            }
        }
    }
}
