//! Payment card numbers, written and said, in one piece and in many.

use std::time::Duration;

use crate::Party;

const SECOND: Duration = Duration::from_secs(1);
const NOTHING: [&str; 0] = [];

#[test]
fn a_number_is_found_however_it_is_written_or_said() {
    for number in [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4,111,111,111,111,111",
        "4111111111111111.",
        "visa4111111111111111",
        "four one one one one one one one one one one one one one one one",
        "Four, one, one, one. One one one one, one one one one, one one one one.",
        "forty one eleven eleven eleven eleven eleven eleven eleven",
        "forty-one eleven double one double one eleven eleven um eleven eleven",
        "four triple one, four ones, four ones and four ones",
        "for one one one 1111 1111 one one one one",
        "forty one hundred eleven, eleven eleven eleven eleven eleven eleven",
        "four thousand one hundred and eleven 1111 1111 1111",
        "4111 okay 1111 yes 1111 right 1111",
    ] {
        let text = format!("it is {number} thanks");
        assert_eq!(Party::new().says(&text), ["it is [card number] thanks"], "{number}");
    }
    let zeros = "six oh one one triple oh double nine oh one three nine four two four";
    assert_eq!(Party::new().says(&format!("is {zeros} it")), ["is [card number] it"]);
}

#[test]
fn the_placeholder_has_the_time_of_what_it_stands_for() {
    let mut party = Party::new();
    let said = super::caption(0, "it is 4111 1111 1111 1111 thanks", 0, true);
    let expected = (said.words[2].start, said.words[5].end);
    let out = party.redactor.closed(party.now, 0, Some(said)).remove(0);
    assert_eq!(out.words.len(), 4);
    assert_eq!((out.words[2].start, out.words[2].end), expected);
    assert_eq!(out.stable_len, out.text.len());
}

#[test]
fn the_expiry_date_and_the_code_go_with_the_number() {
    let said = "4111 1111 1111 1111 12 27 and 123 is the code";
    assert_eq!(Party::new().says(said), ["[card number] is the code"]);
}

#[test]
fn other_numbers_stay() {
    for text in [
        "order 4111 1111 1111 1112 please",
        "in twenty twenty four it was two thousand one hundred people",
        "call me at 555 123 4567 or 555 765 4321 tomorrow",
        "I have two and you have three of them",
        "no one of you",
        "oh I see",
    ] {
        assert_eq!(Party::new().says(text), [text]);
    }
}

#[test]
fn a_number_over_several_utterances_never_leaves() {
    let mut party = Party::new();
    assert_eq!(party.says("my card is four one one one"), NOTHING);
    party.now += SECOND;
    assert_eq!(party.says("eleven eleven"), NOTHING);
    assert_eq!(party.says("um"), NOTHING);
    party.now += SECOND;
    assert_eq!(party.says("1111"), NOTHING);
    let out = ["my card is [card number]", "[card number]", "um", "[card number]", "[card number]"];
    // The number is known for what it is before anything more is said.
    assert_eq!(party.says("one one one one"), out);
    assert_eq!(party.says("12 27"), ["[card number]"]);
    assert_eq!(party.says("that's it"), ["that's it"]);
    assert_eq!(party.says("2 of them"), ["2 of them"]);
}

#[test]
fn a_number_that_turns_out_to_be_none_is_shown_when_something_else_is_said() {
    let mut party = Party::new();
    assert_eq!(party.says("it was in 2024"), NOTHING);
    assert_eq!(party.says("I think"), ["it was in 2024", "I think"]);
}

#[test]
fn what_is_being_said_next_releases_what_waits() {
    let mut party = Party::new();
    assert_eq!(party.says("it was in 2024"), NOTHING);
    assert!(party.is_saying("for", 0).iter().all(|caption| !caption.is_final));
    // Not committed yet: it may turn out to be "four".
    assert!(party.is_saying("for sure", 0).iter().all(|caption| !caption.is_final));
    let out = party.is_saying("for sure I do", 8);
    assert_eq!(super::texts(out), ["it was in 2024", "for sure I do"]);
}

#[test]
fn waiting_ends_by_itself() {
    let mut party = Party::new();
    assert_eq!(party.says("my account is 1234 5678"), NOTHING);
    let due = party.redactor.next_timeout(false).unwrap();
    assert_eq!(due - party.now, 2 * SECOND);
    assert_eq!(party.waits(SECOND, false), NOTHING);
    // While the party speaks, what it says is waited for, but not for ever.
    assert_eq!(party.waits(3 * SECOND, true), NOTHING);
    assert_eq!(party.waits(16 * SECOND, true), ["my account is 1234 5678"]);
    assert_eq!(party.redactor.next_timeout(false), None);

    // What a card number may begin with is no secret, and waits for less.
    assert_eq!(party.says("it was in 2024"), NOTHING);
    assert_eq!(party.redactor.next_timeout(false), Some(party.now + SECOND / 2));
}

#[test]
fn what_comes_after_a_long_pause_is_still_redacted() {
    let mut party = Party::new();
    party.says("my card is 4111 1111");
    assert_eq!(party.waits(2 * SECOND, false), ["my card is 4111 1111"]);
    party.now += 60 * SECOND;
    assert_eq!(party.says("1111"), ["[card number]"; 0]);
    assert_eq!(party.says("1111 is it"), ["[card number]", "[card number] is it"]);
}

#[test]
fn most_of_a_number_is_not_shown_when_the_party_breaks_off() {
    let mut party = Party::new();
    party.says("my card is 4111 1111 1111");
    assert_eq!(party.waits(2 * SECOND, false), ["my card is [card number]"]);
    assert_eq!(party.says("1111"), ["[card number]"]);
    let mut party = Party::new();
    party.says("my card is 4111 1111 1111");
    assert_eq!(super::texts(party.redactor.finish(party.now)), ["my card is [card number]"]);
}

#[test]
fn partials_stop_before_a_number_that_is_not_known_yet() {
    let mut party = Party::new();
    let mut shown = |text: &str, stable: usize| super::texts(party.is_saying(text, stable));
    assert_eq!(shown("my card is 4111", 10), ["my card is 4111"]);
    assert_eq!(shown("my card is 4111 1111", 15), ["my card is"]);
    // It would be a number of another kind if the next word were not about to become "one".
    assert_eq!(shown("my card is 4111 1111 won't", 20), NOTHING);
    assert_eq!(shown("my card is 4111 1111 1111 11", 20), NOTHING);
    assert_eq!(shown("my card is 4111 1111 1111 1111", 25), ["my card is [card number]"]);
    let out = party.is_saying("my card is 4111 1111 1111 1111 and that is it", 45).remove(0);
    assert_eq!(out.text, "my card is [card number] and that is it");
    assert_eq!(out.stable_len, out.text.len());
}

#[test]
fn a_partial_knows_what_was_said_before() {
    let mut party = Party::new();
    party.says("my card is 4111 1111 1111");
    assert!(party.is_saying("1", 0).is_empty());
    assert!(party.is_saying("111", 0).is_empty());
    assert_eq!(super::texts(party.is_saying("1111", 0)), ["[card number]"]);
    let out = ["my card is [card number]", "[card number] is it"];
    assert_eq!(party.says("1111 is it"), out);
}

#[test]
fn finals_that_come_out_of_order_are_put_in_order() {
    let mut party = Party::new();
    let last = |segment, text: &str| Some(super::caption(segment, text, 0, true));
    let now = party.now;
    assert!(party.redactor.closed(now, 1, last(1, "1111 1111 okay so")).is_empty());
    let out = party.redactor.partial(super::caption(2, "fine", 0, false));
    assert_eq!(super::texts(out), ["fine"]);
    let out = party.redactor.closed(now, 0, last(0, "it is 4111 1111"));
    assert_eq!(super::texts(out), ["it is [card number]", "[card number] okay so"]);
    // An utterance of which there is no final holds nothing up.
    assert!(party.redactor.closed(now, 3, last(3, "and then")).is_empty());
    let out = party.redactor.closed(now, 2, None);
    assert_eq!(super::texts(out), ["and then"]);
}

#[test]
fn text_without_words_is_redacted_too() {
    let mut party = Party::new();
    let mut last = super::caption(0, "it is 4111 1111 1111 1111 thanks", 0, true);
    last.words.clear();
    let out = party.redactor.closed(party.now, 0, Some(last));
    assert_eq!(super::texts(out), ["it is [card number] thanks"]);
}
