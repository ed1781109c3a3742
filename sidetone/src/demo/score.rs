use std::time::Duration;

use sidetone_proto::Role;
use simulator::{Turn, demo_transcript};
use web_relay::event::{Caption, Event};

use super::alignment::{align, words};

/// How well the bundled call was captioned, held against what is said in it.
#[derive(Clone, Debug)]
pub struct Score {
    /// Over the words of all turns.
    pub words: Tally,
    /// From the end of each turn to the leaving of its last final.
    pub finals: Delays,
    /// From the beginning of each turn to the leaving of its first caption.
    pub first_partials: Delays,
}

/// Word errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Substitutions, deletions and insertions.
    pub errors: usize,
    /// Words of the reference.
    pub words: usize,
}

/// Delays in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Delays(Vec<Duration>);

impl Score {
    /// Scores the events of one bundled call.
    pub fn of(events: &[Event]) -> Self {
        let turns = demo_transcript();
        Self {
            words: word_errors(events, &turns),
            finals: turns.iter().filter_map(|turn| final_delay(events, turn)).collect(),
            first_partials: turns.iter().filter_map(|turn| partial_delay(events, turn)).collect(),
        }
    }
}

impl Tally {
    /// Word error rate in percent.
    pub fn percent(self) -> f64 {
        100.0 * self.errors as f64 / self.words.max(1) as f64
    }

    /// Counts the errors of a hypothesis. Case and punctuation are not words.
    pub fn count(reference: &str, hypothesis: &str) -> Self {
        let reference = words(reference);
        let steps = align(&reference, &words(hypothesis));
        let errors = steps.into_iter().filter(|step| step.is_error()).count();
        Self { errors, words: reference.len() }
    }
}

impl Delays {
    /// The delay that `percent` of all do not exceed (nearest rank), in ms. `None` if there are none.
    pub fn percentile_ms(&self, percent: usize) -> Option<u64> {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map(|delay| delay.as_millis() as u64)
    }
}

impl FromIterator<Duration> for Delays {
    fn from_iter<I: IntoIterator<Item = Duration>>(delays: I) -> Self {
        let mut all = Self::default();
        all.extend(delays);
        all
    }
}

impl Extend<Duration> for Delays {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, delays: I) {
        self.0.extend(delays);
        self.0.sort_unstable();
    }
}

impl IntoIterator for Delays {
    type Item = Duration;
    type IntoIter = std::vec::IntoIter<Duration>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Each party against its own turns; a mixed leg against all of them.
fn word_errors(events: &[Event], turns: &[Turn]) -> Tally {
    let mut roles: Vec<Role> = finals(events).map(|caption| caption.role).collect();
    roles.sort_by_key(|role| role.as_str());
    roles.dedup();
    let mut tally = Tally::default();
    for role in roles {
        let mut said: Vec<_> = finals(events).filter(|caption| caption.role == role).collect();
        said.sort_by_key(|caption| caption.start_ms);
        let heard = join(said.iter().map(|caption| caption.text.as_str()));
        let expected =
            join(turns.iter().filter(|turn| covers(role, turn)).map(|turn| turn.text.as_str()));
        let counted = Tally::count(&expected, &heard);
        tally.errors += counted.errors;
        tally.words += counted.words;
    }
    tally
}

/// The final that holds the end of the turn.
fn final_delay(events: &[Event], turn: &Turn) -> Option<Duration> {
    let last = finals(events)
        .filter(|caption| covers(caption.role, turn) && caption.start_ms < turn.end_ms)
        .max_by_key(|caption| caption.start_ms)?;
    since(last, turn.end_ms)
}

/// The first caption about audio after the beginning of the turn, within it.
fn partial_delay(events: &[Event], turn: &Turn) -> Option<Duration> {
    let first = events
        .iter()
        .filter_map(|event| match event {
            Event::Partial(caption) | Event::Final(caption) => Some(caption),
            Event::CallStarted(_)
            | Event::CallEnded(_)
            | Event::Gap(_)
            | Event::Status(_)
            | Event::Recognition(_)
            | Event::Consent(_) => None,
        })
        .find(|caption| covers(caption.role, turn) && caption.end_ms > turn.start_ms)?;
    since(first, turn.start_ms)
}

/// From a moment on the party's clock to the caption's leaving the relay.
fn since(caption: &Caption, ms: u64) -> Option<Duration> {
    let left = caption.end_ms + caption.latency_ms?;
    Some(Duration::from_millis(left.saturating_sub(ms)))
}

fn finals(events: &[Event]) -> impl Iterator<Item = &Caption> {
    events.iter().filter_map(Event::as_final)
}

fn covers(role: Role, turn: &Turn) -> bool {
    role == Role::Mixed || role.as_str() == turn.speaker.as_str()
}

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_the_word() {
        let count = |reference, hypothesis| Tally::count(reference, hypothesis).errors;
        assert_eq!(count("Good morning, Helen.", "good morning helen"), 0);
        assert_eq!(count("twenty-two", "twenty two"), 0);
        assert_eq!(count("may I help you", "may help you all"), 2);
        assert_eq!(count("may I help you", ""), 4);
        assert_eq!(count("", "thank you"), 2);
        assert_eq!(Tally { errors: 1, words: 4 }.percent(), 25.0);
    }

    #[test]
    fn percentiles_are_delays_that_occurred() {
        let delays: Delays = [30, 10, 20, 40].map(Duration::from_millis).into_iter().collect();
        assert_eq!(delays.percentile_ms(50), Some(20));
        assert_eq!(delays.percentile_ms(95), Some(40));
        assert_eq!(Delays::default().percentile_ms(50), None);
    }
}
