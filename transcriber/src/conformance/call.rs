//! A call of `Recognise`, made by hand: in whatever order a check wants it.

use std::time::Duration;

use pipeline::speech::{SAMPLE_RATE, millis};
use sidetone_proto::v1::recognise_request::Message;
use sidetone_proto::v1::recogniser_client::RecogniserClient;
use sidetone_proto::v1::{EndOfUtterance, RecogniseConfig, RecogniseRequest, RecogniseResponse};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::FINAL_PATIENCE;
use crate::recogniser::{Task, pcm};

/// Samples of a message of audio.
const PART: usize = (SAMPLE_RATE / 10) as usize;

/// A call that is going on. Dropping it cancels it.
pub(super) struct Call {
    requests: mpsc::Sender<RecogniseRequest>,
    answers: mpsc::Receiver<Result<RecogniseResponse, Status>>,
    /// Came while something was being said.
    refusal: Option<Status>,
    _task: Task,
    sent_ms: u64,
    ended: Option<Instant>,
}

/// An answer, and what had been said to the server before it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: RecogniseResponse,
    /// Milliseconds of audio.
    pub(super) sent_ms: u64,
    /// Since the end was sent.
    pub(super) after_end: Option<Duration>,
}

/// How a call went.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) answers: Vec<Answer>,
    /// `None`: the server did not end the stream.
    pub(super) status: Option<Result<(), Status>>,
}

impl Call {
    pub(super) fn open(client: &RecogniserClient<Channel>) -> Self {
        let (requests, outgoing) = mpsc::channel(256);
        let (heard, answers) = mpsc::channel(256);
        let mut client = client.clone();
        let task = Task::spawn(async move {
            let mut responses = match client.recognise(ReceiverStream::new(outgoing)).await {
                Ok(responses) => responses.into_inner(),
                Err(status) => return drop(heard.send(Err(status)).await),
            };
            loop {
                let answer = match responses.message().await {
                    Ok(Some(response)) => Ok(response),
                    Ok(None) => return,
                    Err(status) => Err(status),
                };
                let is_over = answer.is_err();
                if heard.send(answer).await.is_err() || is_over {
                    return;
                }
            }
        });
        Self { requests, answers, refusal: None, _task: task, sent_ms: 0, ended: None }
    }

    /// With the first message.
    pub(super) fn configured(client: &RecogniserClient<Channel>, config: RecogniseConfig) -> Self {
        let call = Self::open(client);
        call.send(Message::Config(config));
        call
    }

    /// There is room for more messages than any check sends; a server that takes none is found out by its silence.
    pub(super) fn send(&self, message: Message) {
        let _ = self.requests.try_send(RecogniseRequest { message: Some(message) });
    }

    /// A message with nothing in it.
    pub(super) fn send_nothing(&self) {
        let _ = self.requests.try_send(RecogniseRequest { message: None });
    }

    pub(super) fn say(&mut self, audio: &[f32]) {
        for part in audio.chunks(PART) {
            self.send(Message::Audio(pcm(part)));
        }
        self.sent_ms += millis(audio.len() as u64);
    }

    pub(super) fn end(&mut self) {
        self.send(Message::End(EndOfUtterance {}));
        self.ended = Some(Instant::now());
    }

    /// Says everything as it would be spoken, and takes what is answered meanwhile.
    pub(super) async fn say_slowly(&mut self, audio: &[f32]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for part in audio.chunks(PART) {
            self.say(part);
            sleep(Duration::from_millis(millis(part.len() as u64))).await;
            while let Ok(answer) = self.answers.try_recv() {
                match answer {
                    Ok(response) => answers.push(self.answer(response)),
                    Err(status) => self.refusal = Some(status),
                }
            }
        }
        answers
    }

    /// What the server answers until it ends the stream, or for so long.
    pub(super) async fn rest(&mut self, patience: Duration) -> Course {
        let mut answers = Vec::new();
        if let Some(status) = self.refusal.take() {
            return Course { answers, status: Some(Err(status)) };
        }
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let status = match timeout(left, self.answers.recv()).await {
                Ok(Some(Ok(response))) => {
                    answers.push(self.answer(response));
                    continue;
                }
                Ok(Some(Err(status))) => Some(Err(status)),
                Ok(None) => Some(Ok(())),
                Err(_) => None,
            };
            return Course { answers, status };
        }
    }

    fn answer(&self, response: RecogniseResponse) -> Answer {
        let after_end = self.ended.map(|ended| ended.elapsed());
        Answer { response, sent_ms: self.sent_ms, after_end }
    }
}

/// An utterance from its config to its end, said all at once.
pub(super) async fn utter(
    client: &RecogniserClient<Channel>,
    config: &RecogniseConfig,
    audio: &[f32],
) -> Course {
    let mut call = Call::configured(client, config.clone());
    call.say(audio);
    call.end();
    call.rest(FINAL_PATIENCE).await
}

impl Course {
    /// The text of the one final, if the call went as it must.
    pub(super) fn text(&self) -> Result<String, String> {
        match &self.status {
            None => return Err("the server did not end the stream".to_owned()),
            Some(Err(status)) => return Err(told(status)),
            Some(Ok(())) => {}
        }
        let finals: Vec<_> = self.answers.iter().filter(|it| it.response.is_final).collect();
        match finals.as_slice() {
            [only] => Ok(text_of(&only.response)),
            [] => Err("the stream ended without a final".to_owned()),
            several => Err(format!("{} finals came", several.len())),
        }
    }
}

/// What a response says.
pub(super) fn text_of(response: &RecogniseResponse) -> String {
    if response.words.is_empty() {
        return response.text.trim().to_owned();
    }
    let words: Vec<_> = response.words.iter().map(|word| word.text.trim()).collect();
    words.join(" ")
}

/// A status for people.
pub(super) fn told(status: &Status) -> String {
    format!("{:?} ({})", status.code(), plain(status.message()))
}

/// What a server says, for a terminal: it may say anything.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
