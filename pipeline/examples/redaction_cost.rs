//! What redaction costs: microseconds for each partial and final of a party that reads numbers, and of one that does not.

use std::time::Instant;

use pipeline::captions::{Caption, Word};
use pipeline::redaction::{PartyRedactor, Policy};

const ROUNDS: u32 = 2_000;

fn caption(segment: u32, text: &str, is_final: bool) -> Caption {
    let words = text.split_whitespace().map(|text| Word {
        text: text.to_owned(),
        start: 0,
        end: 0,
        confidence: 1.0,
    });
    Caption {
        segment,
        revision: 0,
        is_final,
        text: text.to_owned(),
        stable_len: text.len(),
        start: 0,
        end: 0,
        words: words.collect(),
    }
}

fn main() {
    let policy =
        Policy { emails: true, phones: true, social_security_numbers: true, ..Policy::default() };
    for (what, text) in [
        ("25 words", "thank you for calling how may I help you today ".repeat(3)),
        ("a card number in words", "my number is ".to_owned() + &"four one double one ".repeat(4)),
        ("60 digits", "4 1 1 1 2 3 ".repeat(10) + "okay so"),
    ] {
        let text = text.trim();
        let mut redactor = PartyRedactor::new(policy.clone(), 0);
        let (mut partials, mut finals) = (0.0, 0.0);
        for segment in 0..ROUNDS {
            let (partial, last) = (caption(segment, text, false), caption(segment, text, true));
            let start = Instant::now();
            redactor.partial(partial);
            partials += start.elapsed().as_secs_f64();
            let start = Instant::now();
            redactor.closed(start, segment, Some(last));
            redactor.finish(start);
            finals += start.elapsed().as_secs_f64();
        }
        let micros = |seconds: f64| seconds * 1e6 / f64::from(ROUNDS);
        println!("{what}: {:.1} us a partial, {:.1} us a final", micros(partials), micros(finals));
    }
}
