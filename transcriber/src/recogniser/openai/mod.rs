//! A recogniser behind an OpenAI-compatible `POST /v1/audio/transcriptions`: windowed, one request per window.

mod answer;
mod request;

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::engine::{HEARD_CAPACITY, PARTS_CAPACITY};
use super::{Capabilities, Engine, Heard, Hearing, Part, RecogniserError, Task};
use request::Form;

pub use request::wav;

/// A server that does not take a connection within this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A transcription is no larger, in bytes.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Times that a request is made, if the server is busy, unwell or breaks the connection.
const ATTEMPTS: u32 = 2;
/// Between two, unless the server asks for another pause, ...
const PAUSE: Duration = Duration::from_millis(200);
/// ... which is not longer than this: then the next recogniser is the better choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How a server is asked.
#[derive(Clone)]
pub struct OpenAiOptions {
    /// Up to and including the version, as in `https://api.example.com/v1`.
    pub url: Url,
    /// As the server names it.
    pub model: String,
    /// An ISO 639-1 code, or empty: the server finds out.
    pub language: String,
    /// Words and names that are likely to be said, passed on as the prompt.
    pub vocabulary: Vec<String>,
    /// Sent as a bearer token.
    pub api_key: Option<String>,
    /// How long a request may take.
    pub timeout: Duration,
}

/// Why there can be no such client.
#[derive(Debug, thiserror::Error)]
pub enum OpenAiError {
    /// It has characters that HTTP has no place for.
    #[error(
        "the API key has characters that no HTTP header can hold; write the key and nothing else into its file"
    )]
    ApiKey,
    /// TLS can't be set up.
    #[error("cannot set up HTTPS: {0}")]
    Client(#[from] reqwest::Error),
}

/// A server with the OpenAI-compatible endpoint.
#[derive(Clone)]
pub struct OpenAi {
    http: Client,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    options: OpenAiOptions,
}

impl OpenAi {
    /// A client. Connects to nothing yet.
    pub fn new(options: OpenAiOptions) -> Result<Self, OpenAiError> {
        let authorization = options.api_key.as_deref().map(bearer).transpose()?;
        let mut endpoint = options.url.clone();
        let path = format!("{}/audio/transcriptions", endpoint.path().trim_end_matches('/'));
        endpoint.set_path(&path);
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(options.timeout)
            // The answer to a POST elsewhere is not meant for us, and the key isn't meant for elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, endpoint, authorization, options })
    }

    /// What is said in some audio. Tried again if that may help.
    pub async fn transcribe(&self, audio: &[f32]) -> Result<Heard, RecogniserError> {
        let form = Form::new(&wav(audio), &self.options);
        let mut attempt = 1;
        loop {
            let (error, pause) = match self.post(&form).await {
                Ok(response) if response.status().is_success() => {
                    return answer::understood(&body(response).await?);
                }
                Ok(response) => {
                    let pause = asked_pause(&response).unwrap_or(PAUSE);
                    (refusal(response).await, pause)
                }
                Err(error) => (unreachable(&error), PAUSE),
            };
            let may_pass =
                matches!(error, RecogniserError::Unavailable(_) | RecogniserError::Overloaded(_));
            if !may_pass || attempt == ATTEMPTS || pause > LONGEST_PAUSE {
                return Err(error);
            }
            attempt += 1;
            sleep(pause).await;
        }
    }

    /// The status with which some upload is answered, audio or not.
    pub(crate) async fn post_raw(&self, file: &[u8]) -> Result<u16, RecogniserError> {
        let answer = self.post(&Form::new(file, &self.options)).await;
        answer.map(|response| response.status().as_u16()).map_err(|error| unreachable(&error))
    }

    async fn post(&self, form: &Form) -> reqwest::Result<Response> {
        let mut request = self
            .http
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, form.content_type())
            .body(form.body());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.send().await
    }
}

#[tonic::async_trait]
impl Engine for OpenAi {
    async fn capabilities(&self) -> Result<Capabilities, RecogniserError> {
        let OpenAiOptions { model, language, .. } = &self.options;
        Ok(Capabilities {
            name: format!("{model} at {}", self.endpoint.host_str().unwrap_or_default()),
            streaming: false,
            word_times: true,
            languages: Some(language.clone()).filter(|it| !it.is_empty()).into_iter().collect(),
            vocabulary: true,
        })
    }

    fn open(&self, _partials: bool) -> Hearing {
        let (parts, mut incoming) = mpsc::channel(PARTS_CAPACITY);
        let (answers, heard) = mpsc::channel(HEARD_CAPACITY);
        let server = self.clone();
        let task = Task::spawn(async move {
            let mut audio = Vec::new();
            while let Some(part) = incoming.recv().await {
                match part {
                    Part::Audio(samples) => audio.extend_from_slice(&samples),
                    Part::End => {
                        let _ = answers.send(server.transcribe(&audio).await).await;
                        return;
                    }
                }
            }
        });
        Hearing { parts, heard, task }
    }
}

fn bearer(key: &str) -> Result<HeaderValue, OpenAiError> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| OpenAiError::ApiKey)?;
    value.set_sensitive(true);
    Ok(value)
}

async fn body(mut response: Response) -> Result<Vec<u8>, RecogniserError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            let problem = format!("its answer is larger than {LARGEST_ANSWER} bytes");
            return Err(RecogniserError::Contract(problem));
        }
    }
    Ok(body)
}

/// In whole seconds; the other form, a date, is not used by these servers.
fn asked_pause(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn refusal(response: Response) -> RecogniserError {
    let status = response.status();
    let reason = answer::reason(&body(response).await.unwrap_or_default());
    let message = format!("HTTP {}{reason}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS => RecogniserError::Overloaded(message),
        StatusCode::REQUEST_TIMEOUT => RecogniserError::Unavailable(message),
        _ if status.is_server_error() => RecogniserError::Unavailable(message),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            RecogniserError::Contract(format!("{message}: it does not take the API key"))
        }
        _ => RecogniserError::Contract(message),
    }
}

/// Without the address, which the operator knows, and in which there may be a key.
fn unreachable(error: &reqwest::Error) -> RecogniserError {
    let what = if error.is_timeout() {
        "it does not answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    RecogniserError::Unavailable(what.to_owned())
}

/// Without the key, and without what the vocabulary may tell about a business.
impl fmt::Debug for OpenAiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_key = self.api_key.is_some();
        write!(f, "OpenAiOptions({}, has_key: {has_key})", self.model)
    }
}
