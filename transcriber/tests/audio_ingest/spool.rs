//! Captions that were on disk when the transcriber was killed.

use std::net::SocketAddr;

use caption_publisher::{Publisher, SpoolOptions};
use pipeline::speech::{Window, millis};
use sidetone_proto::v1::Caption;
use sidetone_proto::v1::caption_event::Event;
use tokio::task::yield_now;

use crate::gateway::start;
use crate::script::{text, utterances, voice};
use crate::{World, endpoint};

fn final_of(window: &Window, text: &str) -> Event {
    Event::Caption(Caption {
        party: start("p-1").party,
        segment: window.segment,
        is_final: true,
        text: text.to_owned(),
        start_ms: millis(window.speech_start),
        end_ms: millis(window.speech_end),
        anchor_unix_ms: start("p-1").anchor_unix_ms,
        ..Caption::default()
    })
}

/// What a transcriber leaves that goes down while the relay is away.
fn leave(spool: &SpoolOptions, events: Vec<Event>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
        let publisher = Publisher::start_with_spool(endpoint(nobody), spool).unwrap();
        for event in events {
            let before = publisher.spool_bytes();
            let delivering = publisher.clone();
            tokio::spawn(async move { delivering.deliver(event).await });
            while publisher.spool_bytes() == before {
                yield_now().await;
            }
        }
    });
}

#[test]
fn what_an_earlier_process_kept_is_delivered_first_and_not_said_again() {
    let folder = tempfile::tempdir().unwrap();
    let spool = SpoolOptions { path: folder.path().join("spool"), most_bytes: 1 << 20 };
    let audio = voice("agent");
    let said = utterances(&audio);
    leave(&spool, vec![final_of(&said[0], "kept 0"), final_of(&said[1], "kept 1")]);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut world = World::with_spool(&spool, "p-1").await;
        let gateway = world.gateway().await;
        let mut party = gateway.start(start("p-1")).await.unwrap();
        let half = said[2].end() as usize + 16_000;
        party.say(&audio, 0, half).await;
        // What is on disk is not stored by the relay yet, and so its audio is kept.
        let relay = &mut world.relay;
        relay.entries("p-1", 3).await;
        for ack in party.acks_now().await {
            assert_eq!(ack.sample_position, 0, "{ack:?}");
        }
        relay.acknowledge_all();
        party.say(&audio, half, audio.len()).await;
        party.end(audio.len()).await;
        let acks = party.rest().await.unwrap();
        assert_eq!(acks.last().unwrap().sample_position, audio.len() as u64);

        let mut finals = relay.transcript("p-1");
        // A relay takes a final once, whatever comes again.
        finals.sort();
        finals.dedup();
        let expected = said.iter().map(|window| {
            let text = match window.segment {
                kept @ 0..2 => format!("kept {kept}"),
                _ => text(window),
            };
            (window.segment, text)
        });
        let expected: Vec<_> = expected.collect();
        assert_eq!(finals.len(), expected.len());
        for ((segment, text), (expected_segment, expected_text)) in finals.iter().zip(&expected) {
            assert_eq!(segment, expected_segment);
            if *segment < 2 {
                assert_eq!(text, expected_text);
            }
        }
        assert_eq!(finals.last(), expected.last());
    });
}
