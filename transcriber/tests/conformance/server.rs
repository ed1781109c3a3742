//! A recogniser that hears how loud it is, and does one thing wrong if the test wants it to.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sidetone_proto::v1::recognise_request::Message;
use sidetone_proto::v1::recogniser_server::{Recogniser, RecogniserServer};
use sidetone_proto::v1::{
    Capabilities, GetCapabilitiesRequest, GetHealthRequest, Health, RecogniseRequest,
    RecogniseResponse, RecognisedWord,
};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

const MAX_STREAMS: u32 = 3;

/// A word is said in each stretch of so many samples that is loud.
const WORD: usize = 16_000 * 3 / 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    NoCapabilities,
    NamelessCapabilities,
    NoLanguages,
    NoStreams,
    CapabilitiesThatChange,
    Unhealthy,
    HearsNothing,
    NeverAnswers,
    FinalBeforeTheEnd,
    TimesInSeconds,
    TimesBeyondTheAudio,
    TimesThatRunBackwards,
    WordsThatEndBeforeTheyStart,
    NoWordTimes,
    TwoFinals,
    PartialAfterTheFinal,
    StreamLeftOpen,
    ErrorAfterTheFinal,
    WordsInSilence,
    FailsWithoutAudio,
    RemembersTheLastSpeaker,
    SlowFinal,
    TakesGarbage,
    WrongStatusForGarbage,
    KeepsCancelledStreams,
    QueuesInsteadOfRefusing,
    WrongStatusForOverload,
    TakesFewerThanItSays,
    OtherAfterReconnect,
}

struct Service {
    fault: Fault,
    free: Arc<Semaphore>,
    /// Utterances so far.
    heard: Arc<AtomicU64>,
    asked: AtomicU64,
}

/// Starts a server with a fault.
pub async fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let streams = match fault {
        Fault::TakesFewerThanItSays => MAX_STREAMS - 1,
        _ => MAX_STREAMS,
    };
    let service = Service {
        fault,
        free: Arc::new(Semaphore::new(streams as usize)),
        heard: Arc::default(),
        asked: AtomicU64::new(0),
    };
    let server = Server::builder()
        .add_service(RecogniserServer::new(service))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    address
}

#[tonic::async_trait]
impl Recogniser for Service {
    type RecogniseStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<RecogniseResponse, Status>> + Send>>;

    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<Capabilities>, Status> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut capabilities = Capabilities {
            name: "loudness".to_owned(),
            streaming: true,
            word_times: true,
            languages: vec!["en".to_owned()],
            vocabulary: false,
            max_streams: MAX_STREAMS,
        };
        match self.fault {
            Fault::NoCapabilities => return Err(Status::unimplemented("not yet")),
            Fault::NamelessCapabilities => capabilities.name.clear(),
            Fault::NoLanguages => capabilities.languages.clear(),
            Fault::NoStreams => capabilities.max_streams = 0,
            Fault::CapabilitiesThatChange => capabilities.name = format!("loudness {asked}"),
            // The two that are asked for at first are the same.
            Fault::OtherAfterReconnect if asked >= 2 => capabilities.streaming = false,
            _ => {}
        }
        Ok(Response::new(capabilities))
    }

    async fn get_health(&self, _: Request<GetHealthRequest>) -> Result<Response<Health>, Status> {
        let serving = self.fault != Fault::Unhealthy;
        Ok(Response::new(Health { serving, detail: "as the test wants it".to_owned() }))
    }

    async fn recognise(
        &self,
        requests: Request<Streaming<RecogniseRequest>>,
    ) -> Result<Response<Self::RecogniseStream>, Status> {
        let place = match self.fault {
            Fault::QueuesInsteadOfRefusing => self.free.clone().acquire_owned().await.ok(),
            fault => match self.free.clone().try_acquire_owned() {
                Ok(place) => Some(place),
                Err(_) if fault == Fault::WrongStatusForOverload => {
                    return Err(Status::unavailable("busy"));
                }
                Err(_) => return Err(Status::resource_exhausted("busy")),
            },
        };
        let (answers, outgoing) = mpsc::channel(64);
        let utterance = Utterance {
            fault: self.fault,
            number: self.heard.fetch_add(1, Ordering::Relaxed),
            audio: Vec::new(),
            answers: answers.clone(),
        };
        tokio::spawn(async move {
            if let Err(status) = utterance.hear(requests.into_inner(), place).await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

struct Utterance {
    fault: Fault,
    number: u64,
    audio: Vec<i16>,
    answers: mpsc::Sender<Result<RecogniseResponse, Status>>,
}

impl Utterance {
    async fn hear(
        mut self,
        mut requests: Streaming<RecogniseRequest>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Status> {
        let mut configured = false;
        let mut shown = 0;
        loop {
            let request = tokio::select! {
                request = requests.message() => request,
                () = self.answers.closed() => Ok(None),
            };
            // The call is cancelled, or the client gone.
            let Ok(Some(request)) = request else {
                if self.fault == Fault::KeepsCancelledStreams {
                    place.into_iter().for_each(OwnedSemaphorePermit::forget);
                }
                return Ok(());
            };
            match request.message {
                Some(Message::Config(config)) => {
                    let is_english = matches!(config.language.as_str(), "" | "en");
                    if configured || config.sample_rate != 16_000 || !is_english {
                        self.garbage()?;
                    }
                    configured = true;
                }
                Some(Message::Audio(pcm)) if configured => {
                    if pcm.len() % 2 != 0 {
                        self.garbage()?;
                    }
                    let samples = pcm.chunks_exact(2);
                    self.audio.extend(samples.map(|it| i16::from_le_bytes([it[0], it[1]])));
                }
                Some(Message::End(_)) if configured => return self.finish().await,
                Some(Message::Audio(_) | Message::End(_)) | None => self.garbage()?,
            }
            let words = self.words();
            if words.len() > shown {
                shown = words.len();
                let is_final = self.fault == Fault::FinalBeforeTheEnd && shown == 4;
                self.answer(is_final, words).await;
            }
        }
    }

    fn garbage(&self) -> Result<(), Status> {
        match self.fault {
            Fault::TakesGarbage => Ok(()),
            Fault::WrongStatusForGarbage => Err(Status::internal("panic")),
            _ => Err(Status::invalid_argument("this is not in the contract")),
        }
    }

    async fn finish(self) -> Result<(), Status> {
        match self.fault {
            Fault::NeverAnswers => self.answers.closed().await,
            Fault::SlowFinal => tokio::time::sleep(Duration::from_millis(700)).await,
            Fault::FailsWithoutAudio if self.audio.is_empty() => {
                return Err(Status::internal("division by zero"));
            }
            _ => {}
        }
        let words = self.words();
        self.answer(true, words.clone()).await;
        match self.fault {
            Fault::TwoFinals => self.answer(true, words).await,
            Fault::PartialAfterTheFinal => self.answer(false, words).await,
            Fault::StreamLeftOpen => self.answers.closed().await,
            Fault::ErrorAfterTheFinal => return Err(Status::internal("panic")),
            _ => {}
        }
        Ok(())
    }

    async fn answer(&self, is_final: bool, words: Vec<RecognisedWord>) {
        let mut response = RecogniseResponse { is_final, words, ..RecogniseResponse::default() };
        if self.fault == Fault::NoWordTimes {
            let words = std::mem::take(&mut response.words);
            response.text = words.into_iter().map(|word| word.text).collect::<Vec<_>>().join(" ");
        }
        let _ = self.answers.send(Ok(response)).await;
    }

    fn words(&self) -> Vec<RecognisedWord> {
        if self.fault == Fault::HearsNothing {
            return Vec::new();
        }
        let loud = |audio: &[i16]| audio.iter().any(|sample| sample.unsigned_abs() > 1_000);
        let is_word = |audio: &[i16]| {
            audio.len() == WORD && (loud(audio) || self.fault == Fault::WordsInSilence)
        };
        let stretches = (0..).zip(self.audio.chunks(WORD)).filter(|(_, audio)| is_word(audio));
        let word = |number: u64| {
            let (start_ms, end_ms) = (300 * number, 300 * number + 250);
            let (start_ms, end_ms) = match self.fault {
                Fault::TimesInSeconds => (start_ms / 1_000, end_ms / 1_000),
                Fault::TimesBeyondTheAudio => (start_ms, end_ms * 16),
                Fault::TimesThatRunBackwards => (250 - 10 * number, 250 - 10 * number),
                Fault::WordsThatEndBeforeTheyStart => (end_ms, start_ms),
                _ => (start_ms, end_ms),
            };
            let speaker = match self.fault {
                Fault::RemembersTheLastSpeaker => format!("{}", self.number),
                _ => String::new(),
            };
            RecognisedWord {
                text: format!("w{number}{speaker}"),
                start_ms,
                end_ms,
                confidence: None,
            }
        };
        stretches.map(|(number, _)| word(number)).collect()
    }
}
