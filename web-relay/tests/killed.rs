//! The relay's process is killed in mid-call while publishers deliver, again and again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use caption_publisher::Publisher;
use sidetone_proto::CallId;
use sidetone_proto::v1::caption_event::Event as ProtoEvent;
use sidetone_proto::v1::{self, PartyLabel};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use web_relay::event::Event;
use web_relay::store::{SqliteStore, TranscriptStore};

/// How often the relay is killed.
const KILLS: u32 = 5;

/// Finals of each party between two kills.
const FINALS: u32 = 60;

const PARTIES: [&str; 2] = ["p-1", "p-2"];

/// A relay's process. Killed when dropped, without a chance to say goodbye.
struct Process(Child);

impl Process {
    /// Starts a relay and waits until it takes events. Gives its ports, which it gets again the next time.
    fn start(folder: &TempDir, ports: Option<[SocketAddr; 2]>) -> (Self, [SocketAddr; 2]) {
        let [listen, ingest] = ports.unwrap_or([([127, 0, 0, 1], 0).into(); 2]);
        let database = folder.path().join("transcripts.db");
        let config = folder.path().join("relay.toml");
        let settings = format!(
            "[relay]\nlisten = \"{listen}\"\ningest_listen = \"{ingest}\"\ndatabase = {database:?}\n"
        );
        std::fs::write(&config, settings).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_web-relay"))
            .arg("--config")
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = |before: &str| {
            let line = lines.next().expect("the relay starts").unwrap();
            let address = line.strip_prefix(before).expect(&line).trim_end_matches('/');
            address.parse().expect(&line)
        };
        let ports = [address("captions: http://"), address("ingest: ")];
        (Self(process), ports)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL, on Unix.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn finished(party: &str, segment: u32) -> ProtoEvent {
    let role = v1::Role::Agent.into();
    let label = PartyLabel { call_id: "s-1".to_owned(), party_id: party.to_owned(), role };
    ProtoEvent::Caption(v1::Caption {
        party: Some(label),
        segment,
        is_final: true,
        text: format!("{party} says {segment}"),
        start_ms: u64::from(segment) * 1_000,
        end_ms: u64::from(segment) * 1_000 + 500,
        ..v1::Caption::default()
    })
}

/// Everything that is on disk, page by page.
async fn stored(folder: &TempDir) -> Vec<Event> {
    let store = SqliteStore::open(&folder.path().join("transcripts.db")).unwrap();
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, Event::seq);
        let page = store.events_after(CallId::new("s-1"), after).await.unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

#[tokio::test]
async fn every_final_is_stored_once_however_often_the_relay_dies() {
    let folder = tempfile::tempdir().unwrap();
    let (mut relay, ports) = Process::start(&folder, None);
    let publisher =
        Publisher::start(Endpoint::from_shared(format!("http://{}", ports[1])).unwrap());
    let mut deliveries = JoinSet::new();
    for round in 0..=KILLS {
        for segment in round * FINALS..(round + 1) * FINALS {
            for party in PARTIES {
                let publisher = publisher.clone();
                let event = finished(party, segment);
                deliveries.spawn(async move { publisher.deliver(event).await });
            }
        }
        if round < KILLS {
            // Some are stored, some are on their way, and some not yet sent.
            for _ in 0..FINALS {
                deliveries.join_next().await.unwrap().unwrap().unwrap();
            }
            drop(relay);
            relay = Process::start(&folder, Some(ports)).0;
        }
    }
    while let Some(delivered) = deliveries.join_next().await {
        delivered.unwrap().unwrap();
    }
    drop(relay);

    let events = stored(&folder).await;
    assert!(events.is_sorted_by(|a, b| a.seq() < b.seq()));
    let mut texts = BTreeMap::new();
    for event in &events {
        let Event::Final(caption) = event else { panic!("unexpected {event:?}") };
        let party = caption.party_id.to_string();
        let before = texts.insert((party, caption.segment), caption.text.clone());
        assert_eq!(before, None, "{caption:?} is stored twice");
    }
    let expected: BTreeMap<_, _> = PARTIES
        .iter()
        .flat_map(|party| (0..(KILLS + 1) * FINALS).map(move |segment| (party, segment)))
        .map(|(party, segment)| ((party.to_string(), segment), format!("{party} says {segment}")))
        .collect();
    assert_eq!(texts, expected);
}
