//! The backend `openai` against a server of the test's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Multipart, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use transcriber::recogniser::{OpenAi, OpenAiOptions, RecogniserError};

/// What a request had in it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Request {
    authorization: Option<String>,
    fields: Vec<(String, String)>,
    samples: Vec<i16>,
}

type Answer = fn(usize) -> Response;

struct Server {
    requests: Mutex<Vec<Request>>,
    answer: Answer,
}

async fn transcribe(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Response {
    let mut request = Request {
        authorization: headers.get("authorization").map(|it| it.to_str().unwrap().to_owned()),
        ..Request::default()
    };
    while let Some(field) = form.next_field().await.unwrap() {
        let name = field.name().unwrap().to_owned();
        if name == "file" {
            assert!(field.file_name().unwrap().ends_with(".wav"));
            let file = field.bytes().await.unwrap();
            let wav = hound::WavReader::new(&file[..]).unwrap();
            assert_eq!((wav.spec().channels, wav.spec().sample_rate), (1, 16_000));
            request.samples = wav.into_samples().map(Result::unwrap).collect();
        } else {
            request.fields.push((name, field.text().await.unwrap()));
        }
    }
    let number = {
        let mut requests = server.requests.lock().unwrap();
        requests.push(request);
        requests.len()
    };
    (server.answer)(number)
}

async fn start(answer: Answer) -> (Arc<Server>, OpenAi) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server { requests: Mutex::default(), answer });
    let router = Router::new()
        .route("/v1/audio/transcriptions", post(transcribe))
        .with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (server, OpenAi::new(options(&format!("http://{address}/v1/"))).unwrap())
}

fn options(url: &str) -> OpenAiOptions {
    OpenAiOptions {
        url: url.parse().unwrap(),
        model: "whisper-1".to_owned(),
        language: "en".to_owned(),
        vocabulary: vec!["Green Valley".to_owned(), "meter\r\nreading".to_owned()],
        api_key: Some("sk-secret".to_owned()),
        timeout: Duration::from_secs(10),
    }
}

fn said() -> Response {
    axum::Json(json!({
        "text": "Hello, Helen.",
        "words": [{ "word": "hello", "start": 0.1, "end": 0.4 }, { "word": "helen", "start": 0.5, "end": 0.9 }],
        "segments": [{ "avg_logprob": -0.2, "no_speech_prob": 0.02 }],
    }))
    .into_response()
}

fn refusal(status: StatusCode) -> Response {
    (status, axum::Json(json!({ "error": { "message": "as the test wants it" } }))).into_response()
}

#[tokio::test]
async fn a_window_is_a_request_with_a_wav_file() {
    let (server, client) = start(|_| said()).await;
    let heard = client.transcribe(&[0.0, 0.25, -0.25]).await.unwrap();
    assert!(heard.is_final && heard.word_times);
    assert_eq!(heard.hypothesis.text(), "Hello, Helen.");
    assert_eq!(heard.hypothesis.words[1].start, 8_000);
    assert_eq!(heard.hypothesis.average_log_probability, -0.2);

    let [request] = server.requests.lock().unwrap().clone().try_into().unwrap();
    assert_eq!(request.authorization.as_deref(), Some("Bearer sk-secret"));
    assert_eq!(request.samples, [0, 8_191, -8_191]);
    for (name, value) in [
        ("model", "whisper-1"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("language", "en"),
        ("prompt", "Green Valley, meter  reading"),
    ] {
        let field = (name.to_owned(), value.to_owned());
        assert!(request.fields.contains(&field), "{field:?} in {:?}", request.fields);
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_once() {
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
        let (server, client) = start(match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                |n| if n == 1 { refusal(StatusCode::SERVICE_UNAVAILABLE) } else { said() }
            }
            _ => |n| if n == 1 { refusal(StatusCode::TOO_MANY_REQUESTS) } else { said() },
        })
        .await;
        assert!(client.transcribe(&[0.0; 160]).await.is_ok(), "{status}");
        assert_eq!(server.requests.lock().unwrap().len(), 2);
    }
    let (server, client) = start(|_| refusal(StatusCode::BAD_GATEWAY)).await;
    let error = client.transcribe(&[0.0; 160]).await.unwrap_err();
    assert!(matches!(error, RecogniserError::Unavailable(_)), "{error}");
    assert_eq!(server.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    let (server, client) = start(|_| refusal(StatusCode::UNAUTHORIZED)).await;
    let error = client.transcribe(&[0.0; 160]).await.unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("as the test wants it"), "{error}");
    assert!(error.contains("API key") && !error.contains("sk-secret"), "{error}");
    assert_eq!(server.requests.lock().unwrap().len(), 1);

    // A server that wants to be left alone for a minute has no place in a live call.
    let (server, client) =
        start(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "60")], "").into_response())
            .await;
    let error = client.transcribe(&[0.0; 160]).await.unwrap_err();
    assert!(matches!(error, RecogniserError::Overloaded(_)), "{error}");
    assert_eq!(server.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_redirect_does_not_take_the_key_along() {
    let (server, client) =
        start(|_| (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response())
            .await;
    let error = client.transcribe(&[0.0; 160]).await.unwrap_err().to_string();
    assert!(error.contains("307"), "{error}");
    assert_eq!(server.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let (_server, client) = start(|_| "x".repeat(3 << 20).into_response()).await;
    let error = client.transcribe(&[0.0; 160]).await.unwrap_err().to_string();
    assert!(error.contains("larger than"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let error = OpenAi::new(options(&url)).unwrap().transcribe(&[0.0; 160]).await.unwrap_err();
    assert!(matches!(error, RecogniserError::Unavailable(_)), "{error}");
}

#[test]
fn the_key_stays_out_of_logs() {
    let options = options("http://127.0.0.1:1/v1");
    let shown = format!("{options:?}");
    assert!(!shown.contains("sk-secret") && !shown.contains("Green Valley"), "{shown}");
}
