//! What is redacted only if the operator wants it.

use pipeline::redaction::Policy;

use crate::Party;

fn everything() -> Policy {
    Policy { emails: true, phones: true, social_security_numbers: true, ..Policy::default() }
}

#[test]
fn each_kind_has_its_placeholder() {
    for (said, out) in [
        ("mail jane@example.com please", "mail [e-mail address] please"),
        ("mail jane at example dot com please", "mail [e-mail address] please"),
        ("call 555 123 4567 please", "call [phone number] please"),
        ("call five five five one two three four please", "call [phone number] please"),
        ("it is 078-05-1120 I think", "it is [social security number] I think"),
        ("it is 4111 1111 1111 1111 I think", "it is [card number] I think"),
        ("it is 20 to 5 I think", "it is 20 to 5 I think"),
    ] {
        assert_eq!(Party::with(everything()).says(said), [out]);
        let unchanged = Party::with(Policy::off()).says(said);
        assert_eq!(unchanged, [said]);
    }
}

#[test]
fn a_number_over_two_utterances_is_one_number() {
    let mut party = Party::with(everything());
    assert!(party.says("call 555 123").is_empty());
    let out = ["call [phone number]", "[phone number] please"];
    assert_eq!(party.says("4567 please"), out);
}

#[test]
fn nothing_waits_when_nothing_is_redacted() {
    assert_eq!(Party::with(Policy::off()).says("it was in 2024"), ["it was in 2024"]);
}
