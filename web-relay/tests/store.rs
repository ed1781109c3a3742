//! The SQLite store keeps what it says it has kept.

use std::path::Path;

use sidetone_proto::{CallId, Party, PartyId, Role};
use web_relay::event::{
    CallEnded, CallStarted, Caption, Consent, ConsentSource, ConsentState, Event, Gap, GapId,
    GapReason, Word,
};
use web_relay::store::{SqliteStore, StoreError, TranscriptStore, Write};

const NOW: i64 = 1_800_000_000_000;

fn call() -> CallId {
    CallId::new("s-1")
}

fn party(number: u8) -> Party {
    Party { call: call(), id: PartyId::new(format!("p-{number}")), role: Role::Customer }
}

fn caption(segment: u32, seq: u64, text: &str) -> Caption {
    Caption {
        call_id: call(),
        seq,
        party_id: party(0).id,
        role: party(0).role,
        segment,
        revision: 4,
        text: text.to_owned(),
        stable_len: text.encode_utf16().count() as u32,
        start_ms: 100,
        end_ms: 900,
        anchor_unix_ms: NOW - 3_000,
        latency_ms: None,
        words: Vec::new(),
    }
}

fn write(event: Option<Event>) -> Write {
    Write {
        call: call(),
        now_unix_ms: NOW,
        started_unix_ms: NOW - 9_000,
        reserved_seq: 1_000,
        event,
    }
}

fn a_transcript() -> Vec<Event> {
    let mut said = caption(0, 2, "grüß 👋 <b>Gott</b>");
    let word = Word { text: "grüß".to_owned(), start_ms: 3, end_ms: 9, confidence: 0.25 };
    said.words = vec![word];
    let missing = party(1);
    vec![
        Event::CallStarted(CallStarted {
            call_id: call(),
            seq: 1,
            started_unix_ms: NOW - 8_000,
            parties: vec![],
        }),
        Event::Final(said),
        Event::Gap(Gap {
            call_id: call(),
            seq: 5,
            party_id: missing.id,
            role: missing.role,
            start_ms: 7,
            end_ms: 8,
            reason: GapReason::RecogniserFailed,
            anchor_unix_ms: NOW - 8_000,
        }),
        Event::CallEnded(CallEnded { call_id: call(), seq: 9, ended_unix_ms: NOW }),
    ]
}

async fn fill(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).unwrap();
    for event in a_transcript() {
        store.append(write(Some(event))).await.unwrap();
    }
    store
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let crashed = fill(&path).await;
    // The first is still open: nothing was closed or flushed in order.
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.events_after(call(), 0).await.unwrap(), a_transcript());
    assert_eq!(store.events_after(call(), 2).await.unwrap(), a_transcript()[2..]);
    assert_eq!(store.events_after(call(), 9).await.unwrap(), []);

    let loaded = store.load(call()).await.unwrap().unwrap();
    assert_eq!((loaded.last_seq, loaded.reserved_seq), (9, 1_000));
    assert_eq!((loaded.started_unix_ms, loaded.ended_unix_ms), (NOW - 8_000, Some(NOW)));
    assert!(loaded.has_start);
    assert_eq!(loaded.finals, [(party(0).id, caption(0, 2, "").id())]);
    let gap = GapId { anchor_unix_ms: NOW - 8_000, start_ms: 7 };
    assert_eq!(loaded.gaps, [(party(1).id, gap)]);
    assert_eq!(loaded.parties.len(), 2);
    drop(crashed);
}

#[tokio::test]
async fn a_final_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = fill(&folder.path().join("t.db")).await;
    let other = caption(0, 12, "something else");
    store.append(write(Some(Event::Final(other)))).await.unwrap();
    assert_eq!(store.events_after(call(), 0).await.unwrap(), a_transcript());
}

#[tokio::test]
async fn pages_leave_nothing_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("t.db")).unwrap();
    let text = "y".repeat(9_000);
    let mut appended = Vec::new();
    for seq in 1..=400u32 {
        let event = if seq % 5 == 0 {
            let Event::Gap(mut gap) = a_transcript().remove(2) else { panic!("not a gap") };
            (gap.seq, gap.start_ms, gap.end_ms) = (seq.into(), seq.into(), seq.into());
            Event::Gap(gap)
        } else {
            let text = if seq < 200 { "short" } else { text.as_str() };
            Event::Final(caption(seq, seq.into(), text))
        };
        appended.push(store.append(write(Some(event))));
    }
    for appended in appended {
        appended.await.unwrap();
    }
    let mut seqs = Vec::new();
    loop {
        let page = store.events_after(call(), seqs.last().copied().unwrap_or(0)).await.unwrap();
        assert!(page.len() <= 128);
        if page.is_empty() {
            break;
        }
        seqs.extend(page.iter().map(Event::seq));
    }
    assert_eq!(seqs, (1..=400).collect::<Vec<u64>>());
}

#[tokio::test]
async fn calls_are_listed_by_when_something_last_happened() {
    let folder = tempfile::tempdir().unwrap();
    let store = fill(&folder.path().join("t.db")).await;
    let listed = store.calls_since(NOW).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].summary.ended_unix_ms, Some(NOW));
    assert_eq!(store.calls_since(NOW + 1).await.unwrap(), []);
}

#[tokio::test]
async fn reserving_numbers_makes_a_call_known() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("t.db")).unwrap();
    assert_eq!(store.load(call()).await.unwrap(), None);
    store.append(write(None)).await.unwrap();
    let loaded = store.load(call()).await.unwrap().unwrap();
    assert_eq!((loaded.last_seq, loaded.reserved_seq), (0, 1_000));
}

#[tokio::test]
async fn a_database_without_consent_is_brought_up_to_date_and_can_be_purged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../src/store/sqlite/schema_1.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO calls VALUES (1, 's-1', 5, 1, '[]', NULL, NULL, 1000, 9);
         INSERT INTO finals VALUES (1, 1, 2, 'p-0', 'customer', 0, 1, 'said long ago', 0, 9, 7, '[]');",
    )
    .unwrap();
    old.pragma_update(None, "application_id", 0x5369_6465).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.events_after(call(), 0).await.unwrap().len(), 2);
    let refusal = Event::Consent(Consent {
        call_id: call(),
        seq: 1_001,
        state: ConsentState::Refused,
        source: ConsentSource::Operator,
        at_unix_ms: NOW,
    });
    store.append(write(Some(refusal.clone()))).await.unwrap();
    let events = store.events_after(call(), 0).await.unwrap();
    assert!(matches!(&events[..], [Event::CallStarted(_), last] if *last == refusal), "{events:?}");
    let loaded = store.load(call()).await.unwrap().unwrap();
    assert_eq!(loaded.consents, [(NOW, ConsentState::Refused)]);
    assert_eq!((loaded.last_seq, loaded.finals), (1_001, vec![]));
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(13).any(|window| window == b"said long ago"));
    }
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = fill(&folder.path().join("t.db")).await;
    store.close().await.unwrap();
    assert!(matches!(store.append(write(None)).await, Err(StoreError::Closed)));
}

#[test]
fn databases_that_are_not_ours_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| SqliteStore::open(&folder.path().join(name));

    drop(open("newer.db").unwrap());
    let newer = rusqlite::Connection::open(folder.path().join("newer.db")).unwrap();
    newer.pragma_update(None, "user_version", 7).unwrap();
    let refused = open("newer.db").unwrap_err();
    assert!(matches!(refused, StoreError::FromTheFuture { found: 7, .. }), "{refused}");

    let foreign = rusqlite::Connection::open(folder.path().join("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(open("foreign.db"), Err(StoreError::Foreign { .. })));

    std::fs::write(folder.path().join("text.db"), "not a database at all ".repeat(99)).unwrap();
    assert!(matches!(open("text.db"), Err(StoreError::Foreign { .. })));
    assert!(matches!(open("no/such/folder/t.db"), Err(StoreError::Open { .. })));
}
