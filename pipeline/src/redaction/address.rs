use std::ops::Range;

/// The most words that an address is said in: what comes later does not change what is found before.
pub(super) const LONGEST: usize = 12;

/// The e-mail addresses among some words.
pub(super) fn emails(words: &[&str]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for at in 0..words.len() {
        let Some(span) = written(words[at]).then_some(at..at + 1).or_else(|| spoken(words, at))
        else {
            continue;
        };
        match found.last_mut() {
            Some(last) if last.end > span.start => last.end = last.end.max(span.end),
            _ => found.push(span),
        }
    }
    found
}

fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn written(word: &str) -> bool {
    bare(word).split_once('@').is_some_and(|(local, host)| !local.is_empty() && is_host(host))
}

fn is_host(word: &str) -> bool {
    word.rsplit_once('.').is_some_and(|(host, top)| {
        !host.is_empty() && top.len() > 1 && top.chars().all(char::is_alphabetic)
    })
}

/// "jane dot doe at example dot com", around the "at".
fn spoken(words: &[&str], at: usize) -> Option<Range<usize>> {
    let is = |i: usize, names: &[&str]| {
        let said = words.get(i).map(|word| bare(word));
        said.is_some_and(|said| names.iter().any(|name| said.eq_ignore_ascii_case(name)))
    };
    if at == 0 || !(is(at, &["at"]) || words[at] == "@") {
        return None;
    }
    let end = host_after(words, at)?;
    let mut start = at - 1;
    while start > 0 && end - start < LONGEST {
        let spelt = |i: usize| bare(words[i]).chars().count() == 1;
        if start > 1 && is(start - 1, &["dot", "underscore", "dash", "hyphen", "plus"]) {
            start -= 2;
        } else if spelt(start) && spelt(start - 1) {
            start -= 1;
        } else {
            break;
        }
    }
    (end - start <= LONGEST).then_some(start..end)
}

/// Where the host ends that is named after an "at".
fn host_after(words: &[&str], at: usize) -> Option<usize> {
    let dot = |i: usize| words.get(i).is_some_and(|word| bare(word).eq_ignore_ascii_case("dot"));
    if words.get(at + 1).is_some_and(|word| is_host(bare(word))) {
        return Some(at + 2);
    }
    // A host of up to two words: "g mail", "my company".
    let first = (at + 2..=at + 3).find(|&i| dot(i))?;
    let mut end = first;
    while dot(end) && words.get(end + 1).is_some() && end - at < LONGEST {
        end += 2;
    }
    (end > first).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_as_they_are_written_and_said() {
        for (text, from, to) in [
            ("it is jane.doe@example.com, thanks", 2, 3),
            ("it is jane at example dot com thanks", 2, 7),
            ("it is jane dot doe at example dot co dot uk.", 2, 11),
            ("my name j d o e at gmail.com okay", 2, 8),
            ("is it jane underscore doe at g mail dot com", 2, 10),
        ] {
            let words: Vec<_> = text.split_whitespace().collect();
            let found = emails(&words);
            assert_eq!(found.first(), Some(&(from..to)), "{text}");
            assert_eq!(found.len(), 1, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_left() {
        for text in
            ["look at that", "at 3.50 an hour", "the dot at the end", "@", "at", "dot com at"]
        {
            let words: Vec<_> = text.split_whitespace().collect();
            assert!(emails(&words).is_empty(), "{text}");
        }
    }
}
