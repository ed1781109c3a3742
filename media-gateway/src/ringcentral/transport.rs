//! One HTTP exchange: admitted by the rate limits, bounded in time and size, its refusal read.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::Error;
use super::auth::Credentials;
use super::rate_limit::{Group, RateLimits, Report};

/// No request of this API takes longer than this when it is well.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer longer than this is not one of ours.
const MAX_ANSWER_LEN: usize = 4 * 1024 * 1024;

/// The characters of a refusal's message, or of a code, that are kept.
const MAX_MESSAGE_LEN: usize = 400;

/// What is asked.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) group: Group,
    pub(super) method: Method,
    /// From the slash, with the query.
    pub(super) path: String,
    pub(super) body: Body,
    /// The form of the answer, where it is not plain JSON.
    pub(super) accept: Option<&'static str>,
}

#[derive(Clone)]
pub(super) enum Body {
    Empty,
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

/// Who asks.
#[derive(Clone, Copy)]
pub(super) enum Authorization<'a> {
    App(&'a Credentials),
    Bearer(&'a str),
}

/// The connections to the server, and what it lets through.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    server: String,
    limits: Mutex<RateLimits>,
}

impl Request {
    pub(super) fn new(group: Group, method: Method, path: impl Into<String>) -> Self {
        Self { group, method, path: path.into(), body: Body::Empty, accept: None }
    }

    pub(super) fn get(group: Group, path: impl Into<String>) -> Self {
        Self::new(group, Method::GET, path)
    }

    pub(super) fn json(mut self, body: Value) -> Self {
        self.body = Body::Json(body);
        self
    }

    pub(super) fn form(mut self, fields: Vec<(&'static str, String)>) -> Self {
        self.body = Body::Form(fields);
        self
    }

    pub(super) fn accept(mut self, form: &'static str) -> Self {
        self.accept = Some(form);
        self
    }

    /// The path without the query: what errors show.
    pub(super) fn name(&self) -> String {
        self.path.split('?').next().unwrap_or_default().to_owned()
    }
}

impl Transport {
    pub(super) fn new(server: &str) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("Sidetone/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the login to somebody else.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Unreachable)?;
        let server = server.trim_end_matches('/').to_owned();
        Ok(Self { http, server, limits: Mutex::new(RateLimits::new()) })
    }

    /// Whether the server is reached over TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.server.starts_with("https:")
    }

    /// Sends a request, unless its group has to keep quiet; the body of a good answer.
    pub(super) async fn exchange(
        &self,
        request: &Request,
        authorization: Authorization<'_>,
    ) -> Result<Vec<u8>, Error> {
        let sent = Instant::now();
        self.limits(|limits| limits.admit(request.group, sent))
            .map_err(|retry_after| Error::RateLimited { retry_after })?;
        let url = format!("{}{}", self.server, request.path);
        let mut builder = self.http.request(request.method.clone(), url);
        builder = match authorization {
            Authorization::App(app) => builder.basic_auth(&app.client_id, Some(&app.client_secret)),
            Authorization::Bearer(token) => builder.bearer_auth(token),
        };
        if let Some(form) = request.accept {
            builder = builder.header(reqwest::header::ACCEPT, form);
        }
        builder = match &request.body {
            Body::Empty => builder,
            Body::Json(body) => builder.json(body),
            Body::Form(fields) => builder.form(fields),
        };
        let unreachable = |error: reqwest::Error| Error::Unreachable(error.without_url());
        let response = builder.send().await.map_err(unreachable)?;
        let report = Report::read(response.headers());
        let status = response.status();
        if status.is_success() {
            self.limits(|limits| limits.answered(request.group, sent, Instant::now(), report));
            return read(response)
                .await
                .map_err(|reason| Error::Unreadable { request: request.name(), reason });
        }
        let refusal = refusal(request, authorization, response).await;
        if status == StatusCode::TOO_MANY_REQUESTS || refusal.code() == Some("CMN-301") {
            let now = Instant::now();
            let retry_after = self.limits(|limits| limits.refused(request.group, now, report));
            return Err(Error::RateLimited { retry_after });
        }
        self.limits(|limits| limits.answered(request.group, sent, Instant::now(), report));
        Err(refusal)
    }

    fn limits<T>(&self, with: impl FnOnce(&mut RateLimits) -> T) -> T {
        with(&mut self.limits.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads an answer. The error says where it is wrong and not with what, which may be secret.
pub(super) fn parse<T: DeserializeOwned>(request: &Request, answer: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(answer).map_err(|error| {
        let what = match error.classify() {
            Category::Data => "it is not of the documented form",
            Category::Syntax | Category::Eof | Category::Io => "it is not JSON",
        };
        let (line, column) = (error.line(), error.column());
        let reason = format!("{what}, at line {line}, column {column}");
        Error::Unreadable { request: request.name(), reason }
    })
}

async fn refusal(request: &Request, authorization: Authorization<'_>, response: Response) -> Error {
    let status = response.status().as_u16();
    let request_id = response.headers().get("RCRequestId").and_then(|id| id.to_str().ok());
    let request_id = shown(request_id.unwrap_or("none"), &[]);
    let body = read(response).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    // Whatever a server repeats of what it was given stays out of errors.
    let mut secrets: Vec<String> = match authorization {
        Authorization::App(app) => {
            let basic = BASE64.encode(format!("{}:{}", app.client_id, app.client_secret));
            vec![basic, app.client_secret.clone(), app.jwt.clone()]
        }
        Authorization::Bearer(token) => vec![token.to_owned()],
    };
    if let Body::Form(fields) = &request.body {
        secrets.extend(fields.iter().map(|(_, value)| value.clone()));
    }
    let text = |pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| body.pointer(pointer)?.as_str());
        shown(found.unwrap_or_default(), &secrets)
    };
    Error::Refused {
        request: request.name(),
        status,
        code: text(&["/errorCode", "/errors/0/errorCode", "/error"]),
        message: text(&["/message", "/error_description"]),
        parameter: text(&["/errors/0/parameterName", "/parameterName"]),
        request_id,
    }
}

/// A text from the network as an error shows it: of bounded length, on one line, without secrets.
fn shown(text: &str, secrets: &[String]) -> String {
    let text = secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "<secret>"));
    text.chars().filter(|character| !character.is_control()).take(MAX_MESSAGE_LEN).collect()
}

async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| error.without_url().to_string())?
    {
        if bytes.len() + chunk.len() > MAX_ANSWER_LEN {
            return Err(format!("longer than {MAX_ANSWER_LEN} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
