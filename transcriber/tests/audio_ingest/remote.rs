//! A server of the recogniser's gRPC service, in a runtime of its own, so that it can be killed as a process can.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use pipeline::captions::Word;
use sidetone_proto::v1::recognise_request::Message;
use sidetone_proto::v1::recogniser_server::{Recogniser, RecogniserServer};
use sidetone_proto::v1::{
    Capabilities, GetCapabilitiesRequest, GetHealthRequest, Health, RecogniseRequest,
    RecogniseResponse, RecognisedWord,
};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

type Hear = fn(&[f32]) -> Vec<Word>;

/// A running server.
pub struct Remote {
    runtime: Option<Runtime>,
    address: SocketAddr,
    utterances: watch::Receiver<usize>,
}

struct Service {
    streaming: bool,
    hear: Hear,
    utterances: Arc<watch::Sender<usize>>,
}

impl Remote {
    /// At an address that was another's before, or at a free one.
    pub fn start(address: Option<SocketAddr>, streaming: bool, hear: Hear) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let (count, utterances) = watch::channel(0);
        let service = Service { streaming, hear, utterances: Arc::new(count) };
        runtime.spawn(async move {
            let listener = socket.listen(64).unwrap();
            Server::builder()
                .add_service(RecogniserServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });
        Self { runtime: Some(runtime), address, utterances }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When it hears so many utterances, or has heard them.
    pub async fn heard_utterance(&self, number: usize) {
        self.utterances.clone().wait_for(|count| *count >= number).await.unwrap();
    }

    /// Everything ends where it is, and the sockets close.
    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl Recogniser for Service {
    type RecogniseStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<RecogniseResponse, Status>> + Send>>;

    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<Capabilities>, Status> {
        Ok(Response::new(Capabilities {
            name: "loudness".to_owned(),
            streaming: self.streaming,
            word_times: true,
            languages: vec!["en".to_owned()],
            vocabulary: true,
            max_streams: 8,
        }))
    }

    async fn get_health(&self, _: Request<GetHealthRequest>) -> Result<Response<Health>, Status> {
        Ok(Response::new(Health { serving: true, detail: String::new() }))
    }

    async fn recognise(
        &self,
        requests: Request<Streaming<RecogniseRequest>>,
    ) -> Result<Response<Self::RecogniseStream>, Status> {
        self.utterances.send_modify(|count| *count += 1);
        let (streaming, hear) = (self.streaming, self.hear);
        let (answers, outgoing) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut requests = requests.into_inner();
            let mut audio = Vec::new();
            while let Ok(Some(request)) = requests.message().await {
                let is_final = match request.message {
                    Some(Message::Config(config)) => {
                        assert_eq!((config.sample_rate, config.language.as_str()), (16_000, "en"));
                        assert_eq!(config.vocabulary, ["Sidetone"]);
                        continue;
                    }
                    Some(Message::Audio(pcm)) => {
                        let samples = pcm.chunks_exact(2);
                        audio
                            .extend(samples.map(|it| {
                                f32::from(i16::from_le_bytes([it[0], it[1]])) / 32_768.0
                            }));
                        false
                    }
                    Some(Message::End(_)) => true,
                    None => panic!("the transcriber sends no empty message"),
                };
                if is_final || streaming {
                    let words = hear(&audio).into_iter().map(sent).collect();
                    let response =
                        RecogniseResponse { is_final, words, ..RecogniseResponse::default() };
                    let _ = answers.send(Ok(response)).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

fn sent(word: Word) -> RecognisedWord {
    RecognisedWord {
        text: word.text,
        start_ms: word.start / 16,
        end_ms: word.end / 16,
        confidence: Some(word.confidence),
    }
}
