//! The same for OpenAI-compatible servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use transcriber::conformance::Outcome;

use crate::{assert_failed, examine, outcome};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    NoJson,
    NotFound,
    HearsNothing,
    NoWords,
    TimesInMilliseconds,
    WordsInSilence,
    AnotherTextEachTime,
    BreaksUnderLoad,
    TakesGarbage,
    TakesAnyKey,
}

struct Service {
    fault: Fault,
    requests: AtomicU64,
    running: AtomicU64,
}

async fn start(fault: Fault) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Service { fault, requests: AtomicU64::new(0), running: AtomicU64::new(0) };
    let router = Router::new()
        .route("/v1/audio/transcriptions", post(transcribe))
        .layer(DefaultBodyLimit::max(4 << 20))
        .with_state(Arc::new(service));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

type Answer = (StatusCode, axum::Json<Value>);

async fn transcribe(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Answer {
    let fault = service.fault;
    let refuse = |status: StatusCode, message: &str| {
        (status, axum::Json(json!({ "error": { "message": message } })))
    };
    let key = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if fault != Fault::TakesAnyKey && key.is_some_and(|key| key != "Bearer right") {
        return refuse(StatusCode::UNAUTHORIZED, "wrong key");
    }
    let (mut model, mut file) = (String::new(), Vec::new());
    while let Some(field) = form.next_field().await.unwrap() {
        match field.name().unwrap() {
            "model" => model = field.text().await.unwrap(),
            "file" => file = field.bytes().await.unwrap().to_vec(),
            _ => {}
        }
    }
    assert_eq!(model, "whisper-1");
    if fault == Fault::NotFound {
        return refuse(StatusCode::NOT_FOUND, "no such model");
    }
    let running = service.running.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    service.running.fetch_sub(1, Ordering::SeqCst);
    if fault == Fault::BreaksUnderLoad && running > 0 {
        return refuse(StatusCode::BAD_REQUEST, "two at once");
    }
    let samples: Vec<i16> = match hound::WavReader::new(file.as_slice()) {
        Ok(reader) => reader.into_samples().map(Result::unwrap).collect(),
        Err(_) if fault == Fault::TakesGarbage => Vec::new(),
        Err(_) => return refuse(StatusCode::BAD_REQUEST, "no WAV file"),
    };
    let is_loud = samples.iter().any(|sample| sample.unsigned_abs() > 1_000);
    let number = service.requests.fetch_add(1, Ordering::SeqCst);
    let text = match fault {
        Fault::HearsNothing => String::new(),
        Fault::AnotherTextEachTime => format!("hello {number}"),
        Fault::WordsInSilence => "thank you".to_owned(),
        _ if is_loud => "hello there".to_owned(),
        _ => String::new(),
    };
    let factor = if fault == Fault::TimesInMilliseconds { 1_000.0 } else { 1.0 };
    let words: Vec<_> = (0..)
        .zip(text.split_whitespace())
        .map(|(i, word)| {
            let start = f64::from(i) * factor;
            json!({ "word": word, "start": start, "end": start + 0.5 * factor })
        })
        .collect();
    let answer = match fault {
        Fault::NoJson => json!({ "result": text }),
        Fault::NoWords => json!({ "text": text }),
        _ => json!({ "text": text, "words": words }),
    };
    (StatusCode::OK, axum::Json(answer))
}

async fn examine_with(fault: Fault) -> transcriber::conformance::Report {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let address = start(fault).await;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "right\n").unwrap();
    let backend = format!("http://{address}/v1");
    examine(&["--backend", &backend, "--api-key-file", key.to_str().unwrap()]).await
}

#[tokio::test]
async fn a_good_server_passes_every_check() {
    let report = examine_with(Fault::None).await;
    assert_eq!(report.checks.len(), 9);
    for check in &report.checks {
        let is_good = matches!(check.outcome, Outcome::Ok { .. }) || check.name == "pace";
        assert!(is_good, "{check}");
    }
}

#[tokio::test]
async fn word_times_that_are_missing_are_a_warning() {
    let report = examine_with(Fault::NoWords).await;
    assert!(matches!(outcome(&report, "times"), Outcome::Warning { .. }), "{report:?}");
    assert_eq!(report.failures(), 0, "{report:?}");
}

#[tokio::test]
async fn another_text_each_time_is_a_warning() {
    let report = examine_with(Fault::AnotherTextEachTime).await;
    assert!(matches!(outcome(&report, "independence"), Outcome::Warning { .. }), "{report:?}");
}

#[tokio::test]
async fn nobody_there_is_told() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let report = examine(&["--backend", &format!("http://{address}/v1")]).await;
    assert_failed(&report, "connection", "start the server");
    assert_eq!(report.failures(), 1);
}

#[tokio::test]
async fn every_fault_is_found() {
    let faults = [
        (Fault::NoJson, "speech", "\"text\""),
        (Fault::NotFound, "speech", "/v1/audio/transcriptions"),
        (Fault::HearsNothing, "speech", "16-bit PCM"),
        (Fault::TimesInMilliseconds, "times", "in seconds"),
        (Fault::WordsInSilence, "silence", "vad_filter"),
        (Fault::BreaksUnderLoad, "concurrency", "429"),
        (Fault::TakesGarbage, "garbage", "400"),
        (Fault::TakesAnyKey, "authorization", "401"),
    ];
    for (fault, check, step) in faults {
        assert_failed(&examine_with(fault).await, check, step);
    }
}
