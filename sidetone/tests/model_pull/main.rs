//! Pulls models from a server on this machine that misbehaves as told.

mod server;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream;
use sha2::{Digest, Sha256};
use sidetone::model::{
    Content, ModelDirectory, PullError, PullEvent, PullRequest, Pulled, Retry, Source, pull,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use server::{Server, announce, answer, cut, redirect, serve, whole};

/// Requests are made this often until a pull gives up.
const ATTEMPTS: u32 = 3;

#[tokio::test]
async fn a_model_is_downloaded_checked_and_put_in_place() {
    let file = weights(300_000);
    let server = serve(move |request| whole(&file, request.from)).await;
    let bench = Bench::new(&weights(300_000));

    let pulled = bench.pull(&server).await.unwrap();
    assert_eq!(std::fs::read(&pulled.path).unwrap(), weights(300_000));
    assert_eq!((pulled.path, pulled.already_here), (bench.file(), false));
    assert!(!bench.part().exists());
    assert_eq!(
        bench.events().last(),
        Some(&PullEvent::Progress { bytes: 300_000, total: 300_000 })
    );
    assert_eq!(server.requests(), ["/models/ggml-test.bin"]);

    assert!(bench.pull(&server).await.unwrap().already_here);
    assert_eq!(server.requests().len(), 1, "nothing was asked for again");
}

#[tokio::test]
async fn a_cut_connection_is_resumed() {
    let file = weights(100_000);
    let arrived = Arc::new(Notify::new());
    let gate = arrived.clone();
    let server = serve(move |request| match request.number {
        0 => cut(&file, request.from, 40_000, gate.clone()),
        _ => whole(&file, request.from),
    })
    .await;
    let bench = Bench::new(&weights(100_000));

    let mut watch = |event| {
        if matches!(event, PullEvent::Progress { bytes: 40_000, .. }) {
            arrived.notify_one();
        }
    };
    let pulled = pull(&bench.request, &server.source(), &mut watch).await.unwrap();
    assert_eq!(std::fs::read(pulled.path).unwrap(), weights(100_000));
    assert_eq!(server.requests()[1..], ["/models/ggml-test.bin from 40000"]);
}

#[tokio::test]
async fn an_earlier_pull_is_gone_on_with() {
    let file = weights(5_000);
    let server = serve(move |request| whole(&file, request.from)).await;
    let bench = Bench::new(&weights(5_000));
    std::fs::write(bench.part(), &weights(5_000)[..1_234]).unwrap();

    bench.pull(&server).await.unwrap();
    assert_eq!(std::fs::read(bench.file()).unwrap(), weights(5_000));
    assert_eq!(server.requests(), ["/models/ggml-test.bin from 1234"]);
    assert_eq!(bench.events()[0], PullEvent::Resuming { bytes: 1_234 });
}

#[tokio::test]
async fn a_server_without_ranges_sends_everything_again() {
    let file = weights(5_000);
    let server = serve(move |_| whole(&file, None)).await;
    let bench = Bench::new(&weights(5_000));
    std::fs::write(bench.part(), &weights(5_000)[..1_234]).unwrap();

    bench.pull(&server).await.unwrap();
    assert_eq!(std::fs::read(bench.file()).unwrap(), weights(5_000));
    assert!(bench.events().contains(&PullEvent::Restarting));
}

#[tokio::test]
async fn a_longer_part_than_the_model_is_given_up() {
    let file = weights(5_000);
    let server = serve(move |request| whole(&file, request.from)).await;
    let bench = Bench::new(&weights(5_000));
    std::fs::write(bench.part(), weights(6_000)).unwrap();

    bench.pull(&server).await.unwrap();
    assert_eq!(server.requests(), ["/models/ggml-test.bin"]);
}

#[tokio::test]
async fn a_wrong_checksum_leaves_nothing() {
    let server = serve(move |request| whole(&[7; 5_000], request.from)).await;
    let bench = Bench::new(&weights(5_000));

    let error = bench.pull(&server).await.unwrap_err();
    assert!(matches!(error, PullError::WrongChecksum { .. }), "{error}");
    assert!(!bench.part().exists() && !bench.file().exists());
}

#[tokio::test]
async fn a_missing_or_refused_file_is_asked_for_once() {
    for (status, expected) in [
        (StatusCode::NOT_FOUND, "does not exist"),
        (StatusCode::UNAUTHORIZED, "401 Unauthorized"),
        (StatusCode::FORBIDDEN, "403 Forbidden"),
    ] {
        let server = serve(move |_| answer(status)).await;
        let bench = Bench::new(b"x");
        let error = bench.pull(&server).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(server.requests().len(), 1);
        assert!(!bench.part().exists(), "no empty part is left");
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let file = weights(5_000);
    let server = serve(move |request| match request.number {
        0 => answer(StatusCode::SERVICE_UNAVAILABLE),
        1 => answer(StatusCode::TOO_MANY_REQUESTS),
        _ => whole(&file, request.from),
    })
    .await;
    let bench = Bench::new(&weights(5_000));
    bench.pull(&server).await.unwrap();
    let retries = |event: &&PullEvent| matches!(event, PullEvent::Retrying { .. });
    assert_eq!(bench.events().iter().filter(retries).count(), 2);
}

#[tokio::test]
async fn a_server_that_stays_broken_is_given_up_and_the_part_is_kept() {
    let server = serve(|_| answer(StatusCode::BAD_GATEWAY)).await;
    let bench = Bench::new(&weights(5_000));
    std::fs::write(bench.part(), &weights(5_000)[..1_234]).unwrap();

    let error = bench.pull(&server).await.unwrap_err();
    assert!(
        matches!(error, PullError::Unreachable { attempts: ATTEMPTS, bytes: 1_234, .. }),
        "{error}"
    );
    assert_eq!(server.requests().len(), ATTEMPTS as usize);
    assert_eq!(std::fs::read(bench.part()).unwrap(), weights(5_000)[..1_234]);
}

#[tokio::test]
async fn a_server_that_is_gone_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/models", listener.local_addr().unwrap());
    drop(listener);
    let bench = Bench::new(b"x");
    let source = Source::new(&address).unwrap();
    let error = pull(&bench.request, &source, &mut |_| ()).await.unwrap_err();
    assert!(matches!(&error, PullError::Unreachable { url, .. } if url.starts_with(&address)));
    assert!(!bench.part().exists());
}

#[tokio::test]
async fn another_file_is_noticed_before_it_is_downloaded() {
    let longer = serve(|_| whole(&[7; 6_000], None)).await;
    let announced = (sha256(b"other"), 5_000);
    let other = serve(move |request| match request.path.as_str() {
        "/storage" => whole(&[7; 5_000], None),
        _ => redirect("/storage", Some(&announced)),
    })
    .await;
    for (server, expected) in [(longer, "it has 6000 bytes"), (other, "announces SHA-256")] {
        let bench = Bench::new(&weights(5_000));
        let error = bench.pull(&server).await.unwrap_err();
        assert!(matches!(error, PullError::OtherFile { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(bench.events().is_empty(), "nothing was downloaded");
        assert!(!bench.part().exists() && !bench.file().exists());
    }
}

#[tokio::test]
async fn an_endless_file_is_cut_off() {
    let server = serve(|_| {
        let endless = stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from(vec![7; 1_000])));
        Response::new(Body::from_stream(endless))
    })
    .await;
    let bench = Bench::new(&weights(5_500));
    let error = bench.pull(&server).await.unwrap_err();
    assert!(error.to_string().contains("more than 5500 bytes"), "{error}");
    assert!(!bench.part().exists() && !bench.file().exists());
}

#[tokio::test]
async fn a_model_that_is_not_listed_is_checked_against_what_the_server_announces() {
    let model = std::fs::read(DEMO).unwrap();
    let bytes = model.len() as u64;
    let announced = (sha256(&model), bytes);
    let server = serve(move |request| match request.path.as_str() {
        "/storage" => whole(&model, request.from),
        _ => redirect("/storage", Some(&announced)),
    })
    .await;
    let bench = Bench::unlisted();

    let pulled = bench.pull(&server).await.unwrap();
    assert_eq!(pulled.content.bytes, bytes);
    assert_eq!(bench.events()[0], PullEvent::Announced { content: pulled.content });
    assert!(bench.pull(&server).await.unwrap().already_here);

    // What is announced is checked: a file that differs from it is not taken.
    std::fs::write(bench.file(), "something else").unwrap();
    let error = bench.pull(&server).await.unwrap_err();
    assert!(matches!(error, PullError::Occupied { .. }), "{error}");
}

#[tokio::test]
async fn what_the_server_announces_and_does_not_send_is_refused() {
    let announced = (sha256(&weights(5_000)), 5_000);
    let server = serve(move |request| match request.path.as_str() {
        "/storage" => whole(&[7; 5_000], request.from),
        _ => redirect("/storage", Some(&announced)),
    })
    .await;
    let error = Bench::unlisted().pull(&server).await.unwrap_err();
    assert!(matches!(error, PullError::WrongChecksum { .. }), "{error}");
}

#[tokio::test]
async fn what_the_server_announces_has_to_be_a_model() {
    let announced = (sha256(&weights(5_000)), 5_000);
    let server = serve(move |request| match request.path.as_str() {
        "/storage" => whole(&weights(5_000), request.from),
        _ => redirect("/storage", Some(&announced)),
    })
    .await;
    let bench = Bench::unlisted();
    let error = bench.pull(&server).await.unwrap_err();
    assert!(matches!(error, PullError::NotAModel(_)), "{error}");
    assert!(!bench.part().exists() && !bench.file().exists());
}

#[tokio::test]
async fn without_anything_to_check_against_nothing_is_downloaded() {
    let server = serve(|request| match request.path.as_str() {
        "/storage" => whole(&weights(5_000), None),
        _ => redirect("/storage", None),
    })
    .await;
    let bench = Bench::unlisted();
    let error = bench.pull(&server).await.unwrap_err();
    assert!(matches!(error, PullError::NoChecksum { .. }), "{error}");
    assert_eq!(std::fs::read_dir(bench.folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn only_the_source_itself_is_taken_at_its_word() {
    let elsewhere = serve(|_| {
        let mut response = whole(&weights(5_000), None);
        announce(&mut response, &(sha256(&weights(5_000)), 5_000));
        response
    })
    .await;
    let address = format!("{}/ggml-test.bin", elsewhere.address);
    let server = serve(move |_| redirect(&address, None)).await;
    let error = Bench::unlisted().pull(&server).await.unwrap_err();
    assert!(matches!(error, PullError::NoChecksum { .. }), "{error}");
    assert_eq!(elsewhere.requests().len(), 1);
}

#[tokio::test]
async fn a_circle_of_redirects_is_left() {
    let server = serve(|_| redirect("/models/ggml-test.bin", None)).await;
    let error = Bench::new(b"x").pull(&server).await.unwrap_err();
    assert!(matches!(error, PullError::BadRedirect { .. }), "{error}");
}

#[tokio::test]
async fn a_disk_that_is_too_small_is_noticed_at_once() {
    let huge = (sha256(b"huge"), 1 << 60);
    let server = serve(move |request| match request.path.as_str() {
        "/storage" => Response::new(Body::from_stream(stream::pending::<io::Result<Bytes>>())),
        _ => redirect("/storage", Some(&huge)),
    })
    .await;
    let bench = Bench::unlisted();
    let error = bench.pull(&server).await.unwrap_err();
    assert!(
        matches!(error, PullError::NotEnoughDisk { needed, free, .. } if needed == 1 << 60 && free > 0),
        "{error}"
    );
    assert!(!bench.part().exists());
}

#[tokio::test]
async fn a_file_that_is_in_the_way_is_left_alone() {
    let server = serve(|request| whole(&weights(5_000), request.from)).await;
    let bench = Bench::new(&weights(5_000));
    std::fs::write(bench.file(), "my own model").unwrap();
    let error = bench.pull(&server).await.unwrap_err();
    assert!(matches!(error, PullError::Occupied { .. }), "{error}");
    assert_eq!(std::fs::read(bench.file()).unwrap(), b"my own model");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn two_pulls_do_not_write_to_one_file() {
    let file = weights(5_000);
    let asked = Arc::new(Notify::new());
    let (tell, never) = (asked.clone(), Arc::new(Notify::new()));
    let server = serve(move |request| {
        tell.notify_one();
        cut(&file, request.from, 1_000, never.clone())
    })
    .await;
    let bench = Bench::new(&weights(5_000));
    let source = server.source();
    let mut ignore = |_| ();
    tokio::select! {
        result = pull(&bench.request, &source, &mut ignore) => panic!("{result:?}"),
        () = async {
            asked.notified().await;
            let error = bench.pull(&server).await.unwrap_err();
            assert!(matches!(error, PullError::Busy { .. }), "{error}");
        } => {}
    }
}

/// The model of the demo.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo-en-q8_0.bin");

/// A folder to pull into, and what a pull of the model `test` reported.
struct Bench {
    folder: TempDir,
    request: PullRequest,
    events: Mutex<Vec<PullEvent>>,
}

impl Bench {
    /// For a model of that content.
    fn new(file: &[u8]) -> Self {
        let sha256 = sha256(file).parse().unwrap();
        Self::for_content(Some(Content { bytes: file.len() as u64, sha256 }))
    }

    /// For a model that only the server knows.
    fn unlisted() -> Self {
        Self::for_content(None)
    }

    fn for_content(content: Option<Content>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = ModelDirectory::new(folder.path());
        let retry = Retry { attempts: ATTEMPTS, first: Duration::ZERO, longest: Duration::ZERO };
        let request = PullRequest { name: "test".parse().unwrap(), content, directory, retry };
        Self { folder, request, events: Mutex::default() }
    }

    async fn pull(&self, server: &Server) -> Result<Pulled, PullError> {
        let mut watch = |event| self.events.lock().unwrap().push(event);
        pull(&self.request, &server.source(), &mut watch).await
    }

    fn events(&self) -> Vec<PullEvent> {
        self.events.lock().unwrap().clone()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ggml-test.bin")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("ggml-test.bin.part")
    }
}

fn weights(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index % 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
