//! A relay with a made-up call on it, to look at the page without audio, model or telephone.
//!
//!     cargo run -p web-relay --example scripted_call -- 127.0.0.1:8080 1.0 agent,customer
//!
//! Arguments: where to listen, how many times faster than real time, and the roles of the two speakers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use caption_publisher::Publisher;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{CallEnded, CallStarted, Caption, CaptionState, Gap, GapReason};
use sidetone_proto::v1::{PartyLabel, Role, Status};
use tokio::time::{Instant, sleep_until};
use tonic::transport::Endpoint;
use web_relay::{Config, Relay};

/// Who speaks (an index), when (in ms), and what.
const SCRIPT: &[(usize, u64, &str)] = &[
    (
        0,
        600,
        "Thank you for calling Harbour Energy, this is Priya speaking. How can I help you today?",
    ),
    (
        1,
        5_400,
        "Hi, yes, I'm calling about my last bill. It's nearly double what I usually pay and I haven't changed anything.",
    ),
    (
        0,
        12_000,
        "I'm sorry to hear that. Let me have a look at it with you. Could I take the account number, please?",
    ),
    (1, 17_600, "Sure, it's four four seven, oh nine one, two eight."),
    (0, 22_300, "Thank you. One moment while I bring that up."),
    (1, 24_100, "No problem."),
    (
        0,
        28_700,
        "Right, I can see the February bill. The reading on it is an estimate, not one from your meter.",
    ),
    (1, 34_500, "An estimate? But I sent a photo of the meter in, about three weeks ago."),
    (
        0,
        39_900,
        "I see the photo here. It was filed under the old address, so it never reached the billing team.",
    ),
    (1, 45_600, "So what happens now? <b>Do I still have to pay</b> the full amount?"),
    (
        0,
        49_900,
        "No. I'm correcting the reading now, and a new bill will be with you within two working days.",
    ),
];
const GAP_MS: (u64, u64) = (26_300, 27_500);
const END_MS: u64 = 58_000;
const WORD_MS: u64 = 290;
/// What a recogniser needs after the last word.
const DELAY_MS: u64 = 620;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let speed: f64 = arguments.next().unwrap_or_else(|| "1".to_owned()).parse()?;
    let roles = arguments.next().unwrap_or_else(|| "agent,customer".to_owned());
    let folder = tempfile::tempdir()?;
    let relay = Relay::start(Config {
        listen: listen
            .parse()
            .context("the first argument is an address such as 127.0.0.1:8080")?,
        ingest_listen: ([127, 0, 0, 1], 0).into(),
        database: folder.path().join("transcripts.db"),
        ..Config::default()
    })
    .await?;
    println!("http://{}/", relay.http_address());

    let address = format!("http://{}", relay.ingest_address());
    let publisher = Publisher::start(Endpoint::from_shared(address)?);
    play(&publisher, speed, &roles).await?;
    tokio::signal::ctrl_c().await?;
    relay.shutdown().await;
    Ok(())
}

async fn play(publisher: &Publisher, speed: f64, roles: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    let anchor = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let call_id = format!("s-scripted-{anchor}");
    let parties: Vec<PartyLabel> = roles
        .split(',')
        .enumerate()
        .map(|(index, role)| PartyLabel {
            call_id: call_id.clone(),
            party_id: format!("p-scripted-{index}"),
            role: match role {
                "agent" => Role::Agent,
                "customer" => Role::Customer,
                "mixed" => Role::Mixed,
                _ => Role::Unspecified,
            }
            .into(),
        })
        .collect();
    let at = |ms: u64| begin + Duration::from_millis(ms).div_f64(speed);

    let started =
        CallStarted { call_id: call_id.clone(), started_unix_ms: anchor, parties: parties.clone() };
    deliver(publisher, Event::CallStarted(started)).await?;
    let live =
        Status { call_id: call_id.clone(), state: CaptionState::Live.into(), ..Status::default() };
    publisher.announce(Event::Status(live));

    let mut due: Vec<(u64, Event)> = Vec::new();
    let mut segments = vec![0; parties.len()];
    for (speaker, start_ms, text) in SCRIPT {
        let speaker = speaker % parties.len();
        let segment = segments[speaker];
        segments[speaker] += 1;
        let caption = |said: &str, words: usize, is_final| {
            Event::Caption(Caption {
                party: Some(parties[speaker].clone()),
                segment,
                revision: words as u32,
                is_final,
                text: said.to_owned(),
                stable_len: said.rfind(' ').map_or(0, |end| said[..end].rfind(' ').unwrap_or(0))
                    as u32,
                start_ms: *start_ms,
                end_ms: start_ms + WORD_MS * words as u64,
                anchor_unix_ms: anchor,
                words: Vec::new(),
                timing: None,
            })
        };
        let words: Vec<&str> = text.split(' ').collect();
        for count in (2..words.len()).step_by(2) {
            let partial = caption(&words[..count].join(" "), count, false);
            due.push((start_ms + WORD_MS * count as u64 + DELAY_MS, partial));
        }
        let final_ms = start_ms + WORD_MS * words.len() as u64 + DELAY_MS;
        due.push((final_ms, caption(text, words.len(), true)));
    }
    let gap = Gap {
        party: parties.last().cloned(),
        start_ms: GAP_MS.0,
        end_ms: GAP_MS.1,
        reason: GapReason::PacketLoss.into(),
        anchor_unix_ms: anchor,
    };
    due.push((GAP_MS.1 + DELAY_MS, Event::Gap(gap)));
    let ended_unix_ms = anchor + END_MS as i64;
    due.push((END_MS, Event::CallEnded(CallEnded { call_id, ended_unix_ms })));
    due.sort_by_key(|(ms, _)| *ms);
    for (ms, event) in due {
        sleep_until(at(ms)).await;
        deliver(publisher, event).await?;
    }
    Ok(())
}

async fn deliver(publisher: &Publisher, event: Event) -> anyhow::Result<()> {
    publisher
        .deliver(event)
        .await
        .map_err(|why| anyhow::anyhow!("the relay took no event: {why:?}"))
}
