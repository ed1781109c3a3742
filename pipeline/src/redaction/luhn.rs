use std::collections::BTreeMap;
use std::ops::Range;

use super::numbers::{Token, each_reading};

/// Digits of a payment card number (ISO/IEC 7812-1).
pub(super) const LEAST_DIGITS: usize = 13;
pub(super) const MOST_DIGITS: usize = 19;

/// Readings that end at one token, by how many digits they have: a set of pairs of check sums.
type Readings = [u128; MOST_DIGITS + 1];

/// The stretch of tokens that card numbers are read from, whichever way they are read. `begins_word`: whether a word
/// begins at a token.
///
/// Any digits in a row are a card number if they pass as a whole. A part of them is if it is made of whole words, and
/// begins and is as long as the numbers of a card company are: one in ten numbers passes by chance.
pub(super) fn find(tokens: &[Token], begins_word: impl Fn(usize) -> bool) -> Option<Range<usize>> {
    let first = tokens.iter().position(|token| token.is_certain())?;
    let last = tokens.iter().rposition(|token| token.is_certain())?;
    let digits: usize = tokens.iter().map(|token| token.most_digits()).sum();
    let mut found: Option<Range<usize>> = None;
    for from in 0..=last {
        each_number_from(tokens, from, &mut |to, first_digit, count| {
            let is_whole = from <= first && to > last;
            // Recognisers write what is said in one breath in one piece.
            let is_bounded = digits > MOST_DIGITS
                || begins_word(from) && (to == tokens.len() || begins_word(to));
            if is_whole || is_bounded && is_issued(first_digit, count) {
                let start = found.as_ref().map_or(from, |found| found.start);
                let end = found.as_ref().map_or(to, |found| found.end.max(to));
                found = Some(start..end);
            }
        });
    }
    found
}

/// Whether card companies give out numbers that begin with a digit and have so many.
fn is_issued(first_digit: u8, count: usize) -> bool {
    match first_digit {
        2 | 5 => count == 16,
        3 => (14..=16).contains(&count),
        4 => matches!(count, 13 | 16 | 19),
        6 => (16..=19).contains(&count),
        _ => false,
    }
}

/// Every number that begins at a token and passes: where it ends, its first digit, and how many it has.
fn each_number_from(tokens: &[Token], from: usize, take: &mut dyn FnMut(usize, u8, usize)) {
    let mut start: Readings = [0; MOST_DIGITS + 1];
    start[0] = 1;
    let mut first_digit = None;
    let mut frontier = BTreeMap::from([(from, start)]);
    while let Some((at, readings)) = frontier.pop_first() {
        for (count, sums) in readings.iter().enumerate().skip(LEAST_DIGITS) {
            if let Some(first) = first_digit.filter(|_| is_valid(*sums, count)) {
                take(at, first, count);
            }
        }
        each_reading(tokens, at, &mut |to, digits| {
            if at == from {
                // A number begins with a digit.
                let Some(first) = digits.first() else { return };
                first_digit = Some(*first);
            }
            let next = frontier.entry(to).or_insert([0; MOST_DIGITS + 1]);
            for count in 0..=MOST_DIGITS.saturating_sub(digits.len()) {
                next[count + digits.len()] |= extended(readings[count], count, digits);
            }
        });
        frontier.retain(|_, readings| readings.iter().any(|sums| *sums != 0));
    }
}

/// The check sums after more digits. A pair is one bit, 10 times the sum with every digit at an even index doubled, plus
/// that with those at odd ones.
fn extended(mut sums: u128, count: usize, digits: &[u8]) -> u128 {
    if digits.is_empty() {
        return sums;
    }
    let mut extended = 0;
    while sums != 0 {
        let pair = sums.trailing_zeros() as usize;
        sums &= sums - 1;
        let (mut even, mut odd) = (pair / 10, pair % 10);
        for (index, &digit) in (count..).zip(digits) {
            let plain = usize::from(digit);
            let doubled = if plain > 4 { 2 * plain - 9 } else { 2 * plain };
            let (at_even, at_odd) =
                if index.is_multiple_of(2) { (doubled, plain) } else { (plain, doubled) };
            even = (even + at_even) % 10;
            odd = (odd + at_odd) % 10;
        }
        extended |= 1 << (10 * even + odd);
    }
    extended
}

/// Every second digit is doubled, counted from the last, which is not: in a number of even length, those at even indices.
fn is_valid(sums: u128, count: usize) -> bool {
    (0..10).any(|other| {
        let pair = if count.is_multiple_of(2) { other } else { 10 * other };
        sums & (1 << pair) != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_card(digits: &str) -> bool {
        let tokens: Vec<_> = digits.bytes().map(|digit| Token::Digit(digit - b'0')).collect();
        find(&tokens, |at| at == 0) == Some(0..tokens.len())
    }

    #[test]
    fn the_test_numbers_of_every_brand_are_cards() {
        for number in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "6011111111111117",
            "30569309025904",
            "3530111333300000",
            "6304000000000000000",
        ] {
            assert!(is_card(number), "{number}");
        }
    }

    #[test]
    fn one_wrong_digit_is_no_card() {
        for digit in 0..16 {
            let mut number = *b"4111111111111111";
            number[digit] = b'0' + (number[digit] - b'0' + 1) % 10;
            assert!(!is_card(std::str::from_utf8(&number).unwrap()), "{digit}");
        }
        assert!(!is_card("411111111111"));
    }

    fn found(digits: &str, words: &[usize]) -> Option<Range<usize>> {
        let tokens: Vec<_> = digits.bytes().map(|digit| Token::Digit(digit - b'0')).collect();
        find(&tokens, |at| words.contains(&at))
    }

    #[test]
    fn a_card_among_other_digits_is_found() {
        assert_eq!(found("994111111111111111", &[0, 2]), Some(2..18));
        assert_eq!(found("41111111111111111227", &[0]), Some(0..16));
        assert_eq!(found("4111111111111111122", &[0, 16]), Some(0..16));
    }

    #[test]
    fn a_part_of_a_word_is_no_card() {
        assert_eq!(found("4111111111111112", &[0, 4, 8, 12]), None);
        assert_eq!(found("994111111111111111", &[0]), None);
    }
}
