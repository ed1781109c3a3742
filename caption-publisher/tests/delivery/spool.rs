//! What is on disk while the relay is away, and after the process was killed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use caption_publisher::{Publisher, SpoolError, SpoolOptions, Undelivered};
use sidetone_proto::Party;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{Caption, PartyLabel};
use tokio::net::TcpListener;
use tokio::task::yield_now;
use tonic::transport::Endpoint;

use super::{CAPACITY, Relay, deliver};

const EMPTY: u64 = 8;

/// What a party says.
const SECRET: &str = "nobody is to read this";

fn spool(folder: &Path) -> SpoolOptions {
    SpoolOptions { path: folder.join("spool"), most_bytes: 1 << 24 }
}

fn publisher(relay: SocketAddr, spool: &SpoolOptions) -> Publisher {
    let relay = Endpoint::from_shared(format!("http://{relay}")).unwrap();
    Publisher::start_with_spool(relay, spool).unwrap()
}

/// A port on which nobody listens yet.
fn vacant() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn spooled(publisher: &Publisher, bytes: u64) {
    while publisher.spool_bytes() < bytes {
        yield_now().await;
    }
}

#[tokio::test]
async fn more_than_memory_holds_is_kept_and_delivered_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let address = vacant();
    let publisher = publisher(address, &spool(folder.path()));
    let mut deliveries = Vec::new();
    for name in 0..3 * CAPACITY {
        let before = publisher.spool_bytes();
        deliveries.push(deliver(&publisher, name));
        spooled(&publisher, before + 1).await;
    }
    assert!(publisher.has_room_on_disk());

    let mut relay = Relay::serve(TcpListener::bind(address).await.unwrap());
    let mut stream = relay.stream().await;
    for name in 0..2 * CAPACITY {
        assert_eq!(stream.take_and_acknowledge().await, name.to_string());
    }
    // It goes away once more, in the middle.
    let (_, name) = stream.take().await;
    assert_eq!(name, (2 * CAPACITY).to_string());
    drop(stream);
    let mut stream = relay.stream().await;
    for name in 2 * CAPACITY..3 * CAPACITY {
        assert_eq!(stream.take_and_acknowledge().await, name.to_string());
    }
    for delivery in deliveries {
        assert_eq!(delivery.await.unwrap(), Ok(()));
    }
    assert_eq!(publisher.spool_bytes(), EMPTY);
    let later = deliver(&publisher, "later");
    assert_eq!(stream.take_and_acknowledge().await, "later");
    assert_eq!(later.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_spool_that_is_full_makes_callers_wait_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let address = vacant();
    let tight = SpoolOptions { most_bytes: 200, ..spool(folder.path()) };
    let publisher = publisher(address, &tight);
    let deliveries: Vec<_> = (0..4 * CAPACITY).map(|name| deliver(&publisher, name)).collect();
    while publisher.has_room_on_disk() {
        yield_now().await;
    }
    let mut relay = Relay::serve(TcpListener::bind(address).await.unwrap());
    let mut stream = relay.stream().await;
    let mut names = Vec::new();
    for _ in 0..4 * CAPACITY {
        names.push(stream.take_and_acknowledge().await.parse::<usize>().unwrap());
    }
    names.sort_unstable();
    assert!(names.into_iter().eq(0..4 * CAPACITY));
    for delivery in deliveries {
        assert_eq!(delivery.await.unwrap(), Ok(()));
    }
}

#[tokio::test]
async fn a_spool_has_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let _one = publisher(vacant(), &spool(folder.path()));
    let relay = Endpoint::from_static("http://127.0.0.1:9");
    let other = Publisher::start_with_spool(relay, &spool(folder.path()));
    assert!(matches!(other, Err(SpoolError::Taken(_))));
}

fn said(segment: u32) -> Event {
    let party = PartyLabel { call_id: "s-1".to_owned(), party_id: "p-1".to_owned(), role: 1 };
    Event::Caption(Caption {
        party: Some(party),
        text: SECRET.to_owned(),
        segment,
        is_final: true,
        start_ms: 1_000 * u64::from(segment),
        end_ms: 1_000 * u64::from(segment) + 900,
        anchor_unix_ms: 5,
        ..Caption::default()
    })
}

#[tokio::test]
async fn what_is_taken_back_is_neither_delivered_nor_left_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (address, options) = (vacant(), spool(folder.path()));
    let publisher = publisher(address, &options);
    let mut deliveries = vec![deliver(&publisher, "before")];
    for segment in 0..2 {
        let before = publisher.spool_bytes();
        let delivering = publisher.clone();
        deliveries.push(tokio::spawn(async move { delivering.deliver(said(segment)).await }));
        spooled(&publisher, before + 1).await;
    }
    deliveries.push(deliver(&publisher, "after"));
    let is_on_disk = || {
        let bytes = std::fs::read(&options.path).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    };
    assert!(is_on_disk());
    let Event::Caption(caption) = said(0) else { panic!("a final") };
    publisher.forget(Party::try_from(caption.party).unwrap()).await;
    while is_on_disk() {
        yield_now().await;
    }

    let mut relay = Relay::serve(TcpListener::bind(address).await.unwrap());
    let mut stream = relay.stream().await;
    assert_eq!(stream.take_and_acknowledge().await, "before");
    assert_eq!(stream.take_and_acknowledge().await, "after");
    let mut outcomes = Vec::new();
    for delivery in deliveries {
        outcomes.push(delivery.await.unwrap());
    }
    let refused = Err(Undelivered::Refused);
    assert_eq!(outcomes, [Ok(()), refused, refused, Ok(())]);
    assert_eq!(publisher.spool_bytes(), EMPTY);
}

#[tokio::test]
async fn finals_that_are_under_way_are_known_and_remembered_when_they_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let address = vacant();
    let publisher = publisher(address, &spool(folder.path()));
    for segment in [3, 4, 6] {
        let (before, publisher) = (publisher.spool_bytes(), publisher.clone());
        let delivering = publisher.clone();
        tokio::spawn(async move { delivering.deliver(said(segment)).await });
        spooled(&publisher, before + 1).await;
    }
    let Event::Caption(Caption { party, .. }) = said(0) else { unreachable!() };
    let party = Party::try_from(party).unwrap();
    let kept = publisher.kept(&party, 5, 3);
    let ends: Vec<_> = kept.iter().map(|last| (last.segment, last.end_ms)).collect();
    assert_eq!(ends, [(3, 3_900), (4, 4_900)], "there is a hole before the sixth");
    assert!(publisher.kept(&party, 6, 3).is_empty(), "another stream");
    assert!(publisher.kept(&party, 5, 5).is_empty());

    let mut relay = Relay::serve(TcpListener::bind(address).await.unwrap());
    let mut stream = relay.stream().await;
    let request = stream.requests.message().await.unwrap().unwrap();
    stream.acknowledge(request.publish_id).await;
    publisher.stored(&kept[0]).await;
    // It is remembered: its number is taken.
    assert_eq!(publisher.kept(&party, 5, 3), kept);
}

const SPOOL_FILE: &str = "SIDETONE_TEST_SPOOL";
const EVENTS: usize = 2 * CAPACITY;

/// Not a test of its own: what is killed in the next one.
#[tokio::test]
#[ignore = "run by another test, as a process of its own"]
async fn child() {
    let path = PathBuf::from(std::env::var_os(SPOOL_FILE).unwrap());
    let publisher = publisher(vacant(), &SpoolOptions { path, most_bytes: 1 << 24 });
    for name in 0..EVENTS {
        let before = publisher.spool_bytes();
        deliver(&publisher, name);
        spooled(&publisher, before + 1).await;
    }
    println!("\nspooled");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_a_killed_process_had_on_disk_is_delivered_in_order_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spool::child", "--ignored", "--nocapture"])
        .env(SPOOL_FILE, &spool.path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "spooled"));
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    // As if it had been killed while it wrote.
    let mut torn = std::fs::read(&spool.path).unwrap();
    torn.extend([40, 0, 0, 0, 1, 2, 3]);
    std::fs::write(&spool.path, torn).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let publisher = publisher(listener.local_addr().unwrap(), &spool);
    let newer = deliver(&publisher, "newer");
    let mut relay = Relay::serve(listener);
    let mut stream = relay.stream().await;
    for name in 0..EVENTS {
        assert_eq!(stream.take_and_acknowledge().await, name.to_string());
    }
    assert_eq!(stream.take_and_acknowledge().await, "newer");
    assert_eq!(newer.await.unwrap(), Ok(()));
    while publisher.spool_bytes() > EMPTY {
        yield_now().await;
    }
}
