//! What can be told from a call's audio without understanding it: that there is none, and that two legs carry the same.

use std::time::Duration;

use pipeline::clock::SamplePosition;
use pipeline::correlation::{Comparison, Stream, Verdict};
use sidetone_proto::{PartyId, Role};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::uplink::{Chunk, Feed, Uplink};

/// A call from which nothing arrives for this long may be over, its BYE lost.
const SILENCE: Duration = Duration::from_secs(10);

/// Listens to the streams of one call, as often as it is asked.
#[derive(Default)]
pub(super) struct Ear {
    heard: Option<Heard>,
    comparing: Option<Comparing>,
}

/// How much arrived, and since when there is no more.
struct Heard {
    datagrams: u64,
    since: Instant,
    is_told: bool,
}

/// The two legs that should carry one party each.
struct Comparing {
    parties: [PartyId; 2],
    read: [SamplePosition; 2],
    comparison: Comparison,
    is_done: bool,
}

impl Ear {
    /// Whether nothing has arrived on any stream for [`SILENCE`]. True once for each silence; silence on hold is none.
    pub(super) fn hears_silence<'a>(
        &mut self,
        now: Instant,
        feeds: impl Iterator<Item = &'a Feed> + Clone,
    ) -> bool {
        let datagrams = feeds.clone().map(Feed::datagrams).sum();
        let is_expected = feeds.filter(|feed| !feed.is_finished()).any(Feed::is_on_hold);
        match &mut self.heard {
            Some(heard) if heard.datagrams == datagrams && !is_expected => {
                let is_news = !heard.is_told && now.duration_since(heard.since) >= SILENCE;
                heard.is_told |= is_news;
                is_news
            }
            heard => {
                *heard = Some(Heard { datagrams, since: now, is_told: false });
                false
            }
        }
    }

    /// Whether the agent's and the customer's leg turn out to carry the same audio. True once.
    pub(super) fn hears_one_voice_twice(&mut self, streams: &[Uplink]) -> bool {
        let newest = |role| streams.iter().rev().find(|stream| stream.party().role == role);
        let (Some(agent), Some(customer)) = (newest(Role::Agent), newest(Role::Customer)) else {
            return false;
        };
        let pair = [agent, customer];
        let parties = pair.map(|stream| stream.party().id.clone());
        if self.comparing.as_ref().is_none_or(|comparing| comparing.parties != parties) {
            let anchors = pair.map(|stream| stream.feed().known_anchor());
            let [Some(agent_anchor), Some(customer_anchor)] = anchors else { return false };
            let comparison = Comparison::new([
                Stream { rate: agent.rate(), anchor_unix_ms: agent_anchor },
                Stream { rate: customer.rate(), anchor_unix_ms: customer_anchor },
            ]);
            let read = [SamplePosition(0); 2];
            self.comparing = Some(Comparing { parties, read, comparison, is_done: false });
        }
        self.comparing.as_mut().is_some_and(|comparing| comparing.hear(pair))
    }
}

impl Comparing {
    fn hear(&mut self, pair: [&Uplink; 2]) -> bool {
        if self.is_done {
            return false;
        }
        for (side, stream) in pair.into_iter().enumerate() {
            for chunk in stream.feed().audio_since(self.read[side]) {
                self.read[side] = chunk.end();
                if let Chunk::Frame { position, pcm, .. } = chunk {
                    self.comparison.push(side, position, &pcm);
                }
            }
        }
        let Some((verdict, correlation)) = self.comparison.verdict() else { return false };
        self.is_done = true;
        match verdict {
            Verdict::Separate => info!(correlation, "each leg carries one party"),
            Verdict::Same => warn!(correlation, "two legs carry the same audio"),
        }
        verdict == Verdict::Same
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::LineHold;

    #[test]
    fn silence_is_told_once_and_a_hold_is_none() {
        let start = Instant::now();
        let feeds = [Feed::new(8000), Feed::new(8000)];
        let mut ear = Ear::default();
        let mut listen =
            |second| ear.hears_silence(start + Duration::from_secs(second), feeds.iter());
        // One of the parties still sends.
        for second in 0..20 {
            feeds[0].note_datagrams(50 * second);
            assert!(!listen(second), "{second}");
        }
        assert!(!listen(28));
        assert!(listen(29));
        assert!(!listen(60), "the same silence");
        feeds[0].note_datagrams(5000);
        assert!(!listen(61));
        feeds[1].hold_line(LineHold::Silent);
        assert!(!listen(100), "nothing is expected on hold");
        feeds[1].hold_line(LineHold::Open);
        assert!(!listen(105));
        assert!(!listen(109));
        assert!(listen(111), "but after it");
        feeds[0].note_datagrams(5001);
        assert!(!listen(112));
        feeds[0].hold(true, None);
        assert!(!listen(140));
        feeds[0].finish();
        assert!(listen(151), "who has left holds nobody");
    }
}
