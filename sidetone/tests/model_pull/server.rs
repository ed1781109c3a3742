//! A web server for one test, whose answers the test writes.

use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures_util::stream::{self, StreamExt};
use sidetone::model::Source;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// A server whose folder of models is `/models`.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn source(&self) -> Source {
        Source::new(&self.address).unwrap()
    }

    /// The path of each request, with the byte that it asked to start at.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// One request: how many came before it, and what it asks for.
pub struct Asked {
    pub number: usize,
    pub path: String,
    pub from: Option<usize>,
}

/// Answers each request as `respond` says.
pub async fn serve(respond: impl Fn(Asked) -> Response + Send + Sync + 'static) -> Server {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = requests.clone();
    let respond = Arc::new(respond);
    let router = Router::new().fallback(move |request: Request| {
        let path = request.uri().path().to_owned();
        let range = request.headers().get(header::RANGE).map(|range| range.to_str().unwrap());
        let from = range.map(|range| {
            range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
        });
        let number = {
            let mut log = log.lock().unwrap();
            log.push(match from {
                Some(from) => format!("{path} from {from}"),
                None => path.clone(),
            });
            log.len() - 1
        };
        let respond = respond.clone();
        async move { respond(Asked { number, path, from }) }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/models", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server { address, requests }
}

/// The file from a byte on.
pub fn whole(file: &[u8], from: Option<usize>) -> Response {
    let body = Body::from(file[from.unwrap_or(0)..].to_vec());
    answer_with(file.len(), from, body)
}

/// The file from a byte on, with the connection cut before byte `at` once `gate` opens.
pub fn cut(file: &[u8], from: Option<usize>, at: usize, gate: Arc<Notify>) -> Response {
    let sent = Bytes::copy_from_slice(&file[from.unwrap_or(0)..at]);
    let broken = stream::once(async move {
        gate.notified().await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let body = Body::from_stream(stream::iter([Ok(sent)]).chain(broken));
    answer_with(file.len(), from, body)
}

fn answer_with(length: usize, from: Option<usize>, body: Body) -> Response {
    let response = Response::builder();
    let response = match from {
        Some(from) => response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {from}-{}/{length}", length - 1)),
        None => response,
    };
    let rest = length - from.unwrap_or(0);
    response.header(header::CONTENT_LENGTH, rest).body(body).unwrap()
}

/// An answer without a file.
pub fn answer(status: StatusCode) -> Response {
    Response::builder().status(status).body(Body::from("<html>an error page</html>")).unwrap()
}

/// A redirect as Hugging Face sends it for a file in Git LFS.
pub fn redirect(to: &str, announced: Option<&(String, u64)>) -> Response {
    let mut response =
        Response::builder().status(302).header(header::LOCATION, to).body(Body::empty()).unwrap();
    if let Some(announced) = announced {
        announce(&mut response, announced);
    }
    response
}

/// Adds what Hugging Face says of a file: its SHA-256 and its size.
pub fn announce(response: &mut Response, (sha256, bytes): &(String, u64)) {
    let headers = response.headers_mut();
    headers.insert("x-linked-etag", format!("\"{sha256}\"").parse().unwrap());
    headers.insert("x-linked-size", bytes.to_string().parse().unwrap());
}
