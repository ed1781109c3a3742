/// A piece of a number as it is written or said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// One digit, written or said.
    Digit(u8),
    /// "ten" to "nineteen".
    Teen(u8),
    /// "twenty" to "ninety", by the first digit.
    Tens(u8),
    /// "hundred".
    Hundred,
    /// "thousand".
    Thousand,
    /// "double", "triple", ...: the next digit as many times.
    Times(u8),
    /// "ones", "zeros", ...: after a digit, as many of them.
    Plural(u8),
    /// What recognisers write for a digit, and people also say for itself: "oh", "for", "to".
    Perhaps(u8),
    /// Said between the digits of a number.
    Filler,
}

impl Token {
    /// Whether nothing but a number has this in it.
    pub(super) fn is_certain(self) -> bool {
        matches!(
            self,
            Token::Digit(_) | Token::Teen(_) | Token::Tens(_) | Token::Hundred | Token::Thousand
        )
    }

    /// The most digits that it stands for.
    pub(super) fn most_digits(self) -> usize {
        match self {
            Token::Digit(_) | Token::Perhaps(_) => 1,
            Token::Plural(_) => 8,
            Token::Teen(_) | Token::Tens(_) | Token::Hundred => 2,
            Token::Thousand => 3,
            Token::Times(times) => usize::from(times) - 1,
            Token::Filler => 0,
        }
    }
}

/// What the pieces of a word are to a number. `None` is what no number has in it. A word of signs alone has no pieces.
pub(super) fn pieces(word: &str, mut take: impl FnMut(Option<Token>)) {
    let mut letters = String::new();
    for character in word.chars() {
        if character.is_alphabetic() {
            letters.extend(character.to_lowercase());
            continue;
        }
        if !letters.is_empty() {
            take(named(&letters));
            letters.clear();
        }
        if let Some(digit) = digit(character) {
            take(Some(Token::Digit(digit)));
        }
    }
    if !letters.is_empty() {
        take(named(&letters));
    }
}

/// A decimal digit of the scripts that recognisers write numbers in.
fn digit(character: char) -> Option<u8> {
    /// Arabic, Persian, Devanagari and full-width zeros; their digits follow.
    const ZEROS: [u32; 5] = [0x30, 0x0660, 0x06f0, 0x0966, 0xff10];
    ZEROS.iter().find_map(|zero| {
        let digit = u32::from(character).checked_sub(*zero)?;
        u8::try_from(digit).ok().filter(|digit| *digit < 10)
    })
}

fn named(word: &str) -> Option<Token> {
    let token = match word {
        "zero" | "nought" | "naught" => Token::Digit(0),
        "one" => Token::Digit(1),
        "two" => Token::Digit(2),
        "three" => Token::Digit(3),
        "four" => Token::Digit(4),
        "five" => Token::Digit(5),
        "six" => Token::Digit(6),
        "seven" => Token::Digit(7),
        "eight" => Token::Digit(8),
        "nine" | "niner" => Token::Digit(9),
        "ten" => Token::Teen(10),
        "eleven" => Token::Teen(11),
        "twelve" => Token::Teen(12),
        "thirteen" => Token::Teen(13),
        "fourteen" => Token::Teen(14),
        "fifteen" => Token::Teen(15),
        "sixteen" => Token::Teen(16),
        "seventeen" => Token::Teen(17),
        "eighteen" => Token::Teen(18),
        "nineteen" => Token::Teen(19),
        "twenty" => Token::Tens(2),
        "thirty" => Token::Tens(3),
        "forty" | "fourty" => Token::Tens(4),
        "fifty" => Token::Tens(5),
        "sixty" => Token::Tens(6),
        "seventy" => Token::Tens(7),
        "eighty" => Token::Tens(8),
        "ninety" => Token::Tens(9),
        "hundred" => Token::Hundred,
        "thousand" => Token::Thousand,
        "double" => Token::Times(2),
        "triple" | "treble" => Token::Times(3),
        "quadruple" => Token::Times(4),
        "zeros" | "zeroes" | "ohs" => Token::Plural(0),
        "ones" => Token::Plural(1),
        "twos" => Token::Plural(2),
        "threes" => Token::Plural(3),
        "fours" => Token::Plural(4),
        "fives" => Token::Plural(5),
        "sixes" => Token::Plural(6),
        "sevens" => Token::Plural(7),
        "eights" => Token::Plural(8),
        "nines" => Token::Plural(9),
        "oh" | "o" => Token::Perhaps(0),
        "won" => Token::Perhaps(1),
        "to" | "too" => Token::Perhaps(2),
        "for" | "fore" => Token::Perhaps(4),
        "ate" => Token::Perhaps(8),
        "and" | "then" | "um" | "uh" | "er" | "erm" | "ah" | "hm" | "hmm" | "mm" | "mhm"
        | "dash" | "hyphen" | "space" | "okay" | "ok" | "yes" | "yeah" | "right" | "next"
        | "comma" => Token::Filler,
        _ => return None,
    };
    Some(token)
}

/// Every way to read a number on from a token: where the reading ends, and the digits that it gives.
pub(super) fn each_reading(tokens: &[Token], at: usize, take: &mut dyn FnMut(usize, &[u8])) {
    let Some(&token) = tokens.get(at) else { return };
    let next = tokens.get(at + 1).copied();
    match (token, next) {
        (Token::Digit(digit), Some(Token::Plural(of))) if digit > 1 => {
            take(at + 2, &[of; 9][..usize::from(digit)]);
        }
        (Token::Times(times), Some(Token::Digit(digit) | Token::Perhaps(digit))) => {
            take(at + 2, &[digit; 4][..usize::from(times)]);
        }
        _ => {}
    }
    match token {
        Token::Digit(digit) | Token::Plural(digit) => take(at + 1, &[digit]),
        Token::Perhaps(digit) => {
            take(at + 1, &[digit]);
            take(at + 1, &[]);
        }
        Token::Teen(_) | Token::Tens(_) => {}
        Token::Times(_) | Token::Hundred | Token::Thousand | Token::Filler => take(at + 1, &[]),
    }
    for (value, end) in below_hundred(tokens, at).into_iter().flatten() {
        if value >= 10 {
            take(end, &[value as u8 / 10, value as u8 % 10]);
        }
        each_multiple(tokens, value, end, take);
    }
}

/// "... hundred and eleven", "... thousand one hundred and eleven", after a value.
fn each_multiple(tokens: &[Token], value: u32, end: usize, take: &mut dyn FnMut(usize, &[u8])) {
    match tokens.get(end) {
        Some(Token::Hundred) => {
            each_sum(tokens, value * 100, end + 1, take);
        }
        Some(Token::Thousand) => {
            each_sum(tokens, value * 1000, end + 1, take);
            for (hundreds, end) in below_hundred(tokens, end + 1).into_iter().flatten() {
                if hundreds < 10 && tokens.get(end) == Some(&Token::Hundred) {
                    each_sum(tokens, value * 1000 + hundreds * 100, end + 1, take);
                }
            }
        }
        _ => {}
    }
}

/// A round number, and with what is below a hundred after it.
fn each_sum(tokens: &[Token], round: u32, end: usize, take: &mut dyn FnMut(usize, &[u8])) {
    let mut take_value = |end: usize, value: u32| {
        let mut digits = [0; 8];
        let mut from = digits.len();
        let mut rest = value;
        while rest > 0 && from > 0 {
            from -= 1;
            digits[from] = (rest % 10) as u8;
            rest /= 10;
        }
        take(end, &digits[from..]);
    };
    take_value(end, round);
    let and = usize::from(tokens.get(end) == Some(&Token::Filler));
    for (rest, end) in below_hundred(tokens, end + and).into_iter().flatten() {
        take_value(end, round + rest);
    }
}

/// The values below a hundred that are said from a token on, each with where it ends.
fn below_hundred(tokens: &[Token], at: usize) -> [Option<(u32, usize)>; 2] {
    match (tokens.get(at), tokens.get(at + 1)) {
        (Some(&Token::Digit(digit)), _) if digit > 0 => [Some((digit.into(), at + 1)), None],
        (Some(&Token::Teen(value)), _) => [Some((value.into(), at + 1)), None],
        (Some(&Token::Tens(tens)), Some(&Token::Digit(digit))) if digit > 0 => {
            let tens = 10 * u32::from(tens);
            [Some((tens, at + 1)), Some((tens + u32::from(digit), at + 2))]
        }
        (Some(&Token::Tens(tens)), _) => [Some((10 * u32::from(tens), at + 1)), None],
        _ => [None, None],
    }
}

/// How many digits a number has when it is read in the commonest way: as much as possible at a time.
pub(super) fn digits(tokens: &[Token]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < tokens.len() {
        let mut best = (at + 1, 0);
        each_reading(tokens, at, &mut |end, digits| {
            // "for" and "to" are what they say; "oh" is a zero.
            let is_word = matches!(tokens[at], Token::Perhaps(1..));
            let length = if is_word { 0 } else { digits.len() };
            if (end, length) > best {
                best = (end, length);
            }
        });
        at = best.0;
        count += best.1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        for word in text.split_whitespace() {
            pieces(word, |token| tokens.push(token.expect(word)));
        }
        let mut all = vec![(0, String::new())];
        let mut whole = Vec::new();
        while let Some((at, read)) = all.pop() {
            if at == tokens.len() {
                whole.push(read);
                continue;
            }
            each_reading(&tokens, at, &mut |end, digits| {
                let digits: String = digits.iter().map(ToString::to_string).collect();
                all.push((end, format!("{read}{digits}")));
            });
        }
        whole.sort();
        whole.dedup();
        whole
    }

    #[test]
    fn numbers_are_read_in_every_way_that_they_are_said() {
        for (text, number) in [
            ("4111-1111", "41111111"),
            ("4,111", "4111"),
            ("four one one one", "4111"),
            ("forty one eleven", "4111"),
            ("Forty-one, eleven.", "4111"),
            ("four one double one", "4111"),
            ("four triple one", "4111"),
            ("four three ones", "4111"),
            ("four oh oh one", "4001"),
            ("four zero um zero one", "4001"),
            ("for too won ate", "4218"),
            ("forty one hundred", "4100"),
            ("forty one hundred and eleven", "4111"),
            ("four hundred and eleven", "411"),
            ("four thousand one hundred and eleven", "4111"),
            ("fifty five", "55"),
            ("fifty five", "505"),
            ("４１１１", "4111"),
        ] {
            let readings = readings(text);
            assert!(readings.iter().any(|reading| reading == number), "{text}: {readings:?}");
        }
    }

    #[test]
    fn what_is_no_number_breaks_one() {
        let mut found = Vec::new();
        for word in ["the", "2nd", "-", "b2b"] {
            pieces(word, |token| found.push(token));
        }
        let two = Some(Token::Digit(2));
        assert_eq!(found, [None, two, None, None, two, None]);
    }
}
