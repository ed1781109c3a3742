//! A recogniser behind the gRPC service of `proto/sidetone/v1/recogniser.proto`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pipeline::captions::{Hypothesis, Word};
use pipeline::speech::SAMPLE_RATE;
use sidetone_proto::v1::recognise_request::Message;
use sidetone_proto::v1::recogniser_client::RecogniserClient;
use sidetone_proto::v1::{
    EndOfUtterance, GetCapabilitiesRequest, RecogniseConfig, RecogniseRequest, RecogniseResponse,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::info;

use super::engine::{HEARD_CAPACITY, PARTS_CAPACITY};
use super::hypothesis::MOST_WORDS;
use super::{Capabilities, Engine, Heard, Hearing, Part, RecogniserError, Task};

/// A server that does not take a connection, or does not tell its capabilities, within this time is not there.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection on which nothing comes back for so long is dead.
const PING: Duration = Duration::from_secs(5);

/// A hypothesis is no larger, in bytes.
const LARGEST_ANSWER: usize = 256 * 1024;

/// A server's address, and what it is asked for. The connection is opened when it is first needed, and again whenever it
/// breaks.
pub struct Grpc {
    endpoint: Endpoint,
    client: OnceLock<RecogniserClient<Channel>>,
    config: RecogniseConfig,
    known: Known,
}

/// What the server has said that it can do. Forgotten when it can't be reached: it may be another one that comes back.
#[derive(Clone, Default)]
struct Known(Arc<Mutex<Option<Capabilities>>>);

impl Grpc {
    /// A recogniser at an address. Connects to nothing yet.
    pub fn new(endpoint: Endpoint, language: &str, vocabulary: &[String]) -> Self {
        let endpoint = endpoint
            .connect_timeout(PATIENCE)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        let config = RecogniseConfig {
            sample_rate: SAMPLE_RATE as u32,
            language: language.to_owned(),
            vocabulary: vocabulary.to_vec(),
            partials: true,
        };
        Self { endpoint, client: OnceLock::new(), config, known: Known::default() }
    }

    /// Made when it is first used, which is inside a runtime.
    fn client(&self) -> RecogniserClient<Channel> {
        let connect = || {
            RecogniserClient::new(self.endpoint.connect_lazy())
                .max_decoding_message_size(LARGEST_ANSWER)
        };
        self.client.get_or_init(connect).clone()
    }

    async fn ask_capabilities(&self) -> Result<Capabilities, RecogniserError> {
        let mut client = self.client();
        let answer = timeout(PATIENCE, client.get_capabilities(GetCapabilitiesRequest {}))
            .await
            .map_err(|_| RecogniserError::Unavailable("it does not tell what it can do".into()))?
            .map_err(refused)?
            .into_inner();
        let language = &self.config.language;
        if !language.is_empty() && !answer.languages.iter().any(|known| known == language) {
            let known = answer.languages.join(", ");
            let problem = format!("it knows the languages {known}, and {language:?} is configured");
            return Err(RecogniserError::Contract(problem));
        }
        Ok(Capabilities {
            name: answer.name,
            streaming: answer.streaming,
            word_times: answer.word_times,
            languages: answer.languages,
            vocabulary: answer.vocabulary,
        })
    }
}

#[tonic::async_trait]
impl Engine for Grpc {
    async fn capabilities(&self) -> Result<Capabilities, RecogniserError> {
        if let Some(capabilities) = self.known.get() {
            return Ok(capabilities);
        }
        let capabilities = self.ask_capabilities().await?;
        let Capabilities { name, streaming, vocabulary, .. } = &capabilities;
        info!(%name, streaming, vocabulary, "a recogniser's server is there");
        self.known.set(Some(capabilities.clone()));
        Ok(capabilities)
    }

    fn open(&self, partials: bool) -> Hearing {
        let (parts, incoming) = mpsc::channel(PARTS_CAPACITY);
        let (answers, heard) = mpsc::channel(HEARD_CAPACITY);
        let config = RecogniseConfig { partials, ..self.config.clone() };
        let (client, known) = (self.client(), self.known.clone());
        let task = Task::spawn(async move {
            if let Err(error) = hear(client, config, incoming, &answers).await {
                if matches!(error, RecogniserError::Unavailable(_)) {
                    known.set(None);
                }
                let _ = answers.send(Err(error)).await;
            }
        });
        Hearing { parts, heard, task }
    }
}

impl Known {
    fn get(&self) -> Option<Capabilities> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, capabilities: Option<Capabilities>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = capabilities;
    }
}

/// Passes an utterance on, and the answers back. Dropped in mid-utterance, it cancels the call.
async fn hear(
    mut client: RecogniserClient<Channel>,
    config: RecogniseConfig,
    incoming: mpsc::Receiver<Part>,
    answers: &mpsc::Sender<Result<Heard, RecogniserError>>,
) -> Result<(), RecogniserError> {
    let config = RecogniseRequest { message: Some(Message::Config(config)) };
    let requests = tokio_stream::iter([config]).chain(ReceiverStream::new(incoming).map(message));
    let mut responses = client.recognise(requests).await.map_err(refused)?.into_inner();
    while let Some(response) = responses.message().await.map_err(refused)? {
        let heard = understood(response)?;
        let is_final = heard.is_final;
        if answers.send(Ok(heard)).await.is_err() || is_final {
            return Ok(());
        }
    }
    Err(RecogniserError::Contract("the stream ended without a final".into()))
}

fn message(part: Part) -> RecogniseRequest {
    let message = match part {
        Part::Audio(audio) => Message::Audio(pcm(&audio)),
        Part::End => Message::End(EndOfUtterance {}),
    };
    RecogniseRequest { message: Some(message) }
}

/// Signed 16-bit little-endian PCM.
pub(crate) fn pcm(audio: &[f32]) -> Bytes {
    let loudest = f32::from(i16::MAX);
    let bytes = audio.iter().flat_map(|sample| ((sample * loudest) as i16).to_le_bytes());
    bytes.collect::<Vec<_>>().into()
}

fn understood(response: RecogniseResponse) -> Result<Heard, RecogniserError> {
    let RecogniseResponse { is_final, text, words, no_speech_probability, average_log_probability } =
        response;
    if words.len() > MOST_WORDS {
        let problem = format!("{} words in one utterance", words.len());
        return Err(RecogniserError::Contract(problem));
    }
    let word_times = !words.is_empty();
    let timed = words.into_iter().map(|word| Word {
        text: word.text,
        start: position(word.start_ms),
        end: position(word.end_ms),
        confidence: word.confidence.unwrap_or(1.0),
    });
    let words = if word_times { timed.collect() } else { untimed(&text) };
    let hypothesis = Hypothesis {
        words,
        no_speech_probability: no_speech_probability.unwrap_or(0.0),
        average_log_probability: average_log_probability.unwrap_or(0.0),
    };
    Ok(Heard { is_final, hypothesis, word_times })
}

/// The words of a text, before their times are known.
pub(super) fn untimed(text: &str) -> Vec<Word> {
    let word = |text: &str| Word { text: text.to_owned(), start: 0, end: 0, confidence: 1.0 };
    text.split_whitespace().take(MOST_WORDS).map(word).collect()
}

fn position(ms: u64) -> u64 {
    ms.saturating_mul(SAMPLE_RATE / 1_000)
}

fn refused(status: Status) -> RecogniserError {
    // What a server says is for people, and may be long.
    let message: String = status.message().chars().take(200).collect();
    let message = format!("{:?}: {message}", status.code());
    match status.code() {
        Code::ResourceExhausted => RecogniserError::Overloaded(message),
        Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => {
            RecogniserError::Contract(message)
        }
        Code::Internal | Code::DataLoss => RecogniserError::Failed(message),
        _ => RecogniserError::Unavailable(message),
    }
}
