//! What a final says about its own delay.

use std::time::{Duration, Instant};

use pipeline::speech::Endpointing;

use crate::World;
use crate::gateway::start;
use crate::script::{Script, said, voice};

/// The least that the recogniser takes.
const WORK: Duration = Duration::from_millis(3);

#[tokio::test]
async fn a_final_says_what_its_delay_is_made_up_of() {
    let works = |window: &_| {
        let started = Instant::now();
        while started.elapsed() < WORK {
            std::hint::spin_loop();
        }
        Ok(said(window))
    };
    let world = World::new(8, Script::new(works)).await;
    world.gateway().await.stream(start("p-1"), &voice("agent")).await;
    let finals = world.relay.entries_now("p-1").into_iter().map(|entry| entry.into_final());
    let timings: Vec<_> = finals.map(|caption| caption.timing.expect("a timing")).collect();
    assert!(timings.len() > 3);
    for timing in &timings {
        assert!(u128::from(timing.inference_ms) >= WORK.as_millis(), "{timing:?}");
    }
    // The party pauses after its first sentence, for as long as it takes to be believed. Audio comes in frames of 60 ms.
    let Endpointing { draft_silence_ms, end_silence_ms, .. } = Endpointing::default();
    let endpoint = u64::from(timings[0].endpoint_ms);
    assert!((draft_silence_ms..end_silence_ms + 100).contains(&endpoint), "{endpoint} ms");
}
