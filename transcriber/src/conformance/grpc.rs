//! The checks of a server of `proto/sidetone/v1/recogniser.proto`.

use std::time::{Duration, Instant};

use sidetone_proto::v1::recognise_request::Message;
use sidetone_proto::v1::recogniser_client::RecogniserClient;
use sidetone_proto::v1::{Capabilities, GetCapabilitiesRequest, GetHealthRequest, RecogniseConfig};
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::call::{Call, Course, plain, told, utter};
use super::judge::{finals, judge_capabilities, order, pace, speech, times};
use super::{FINAL_PATIENCE, Notes, Outcome, PATIENCE, sample};

/// A place that a cancelled call had must be free by then.
const RELEASE: Duration = Duration::from_secs(2);

/// With more streams than this, overload isn't tried: it would take the machine that tries more than the server.
const MOST_STREAMS: u32 = 64;

const AFTER_CAPABILITIES: [&str; 6] = ["health", "speech", "order", "times", "finals", "pace"];

const AFTER_SPEECH: [&str; 6] =
    ["silence", "independence", "garbage", "cancellation", "overload", "restart"];

/// A server, and how it is asked.
struct Server {
    endpoint: Endpoint,
    client: RecogniserClient<Channel>,
    capabilities: Capabilities,
    config: RecogniseConfig,
}

/// Makes every check.
pub(super) async fn examine(endpoint: &Endpoint, language: &str, notes: &mut dyn Notes) {
    let endpoint = endpoint.clone().connect_timeout(PATIENCE);
    let address = endpoint.uri().authority().map(ToString::to_string).unwrap_or_default();
    let mut client = match endpoint.connect().await {
        Ok(channel) => RecogniserClient::new(channel),
        Err(_) => {
            notes.note(
                "connection",
                Outcome::failed(
                    format!("nobody takes connections at {address}"),
                    "start the server, and let it listen at this address with plain HTTP/2 (an insecure port)",
                ),
            );
            notes.skip(&["capabilities"], "it needs a connection");
            notes.skip(&AFTER_CAPABILITIES, "it needs a connection");
            return notes.skip(&AFTER_SPEECH, "it needs a connection");
        }
    };
    notes.note("connection", Outcome::ok(address));

    let asked = (capabilities(&mut client).await, capabilities(&mut client).await);
    let (outcome, known) = judge_capabilities(asked, language);
    notes.note("capabilities", outcome);
    let Some(capabilities) = known else {
        notes.skip(&AFTER_CAPABILITIES, "it needs the capabilities");
        return notes.skip(&AFTER_SPEECH, "it needs the capabilities");
    };
    let config = RecogniseConfig {
        sample_rate: 16_000,
        language: language.to_owned(),
        vocabulary: vec!["hear".to_owned()],
        partials: true,
    };
    let server = Server { endpoint, client, capabilities, config };
    notes.note("health", server.health().await);
    if !server.speech(notes).await {
        let because = "it needs streams that end";
        return notes.skip(&AFTER_SPEECH, because);
    }
    notes.note("silence", server.silence().await);
    notes.note("independence", server.independence().await);
    notes.note("garbage", server.garbage().await);
    notes.note("cancellation", server.cancellation().await);
    notes.note("overload", server.overload().await);
    notes.note("restart", server.restart().await);
}

async fn capabilities(client: &mut RecogniserClient<Channel>) -> Result<Capabilities, Status> {
    let answer = timeout(PATIENCE, client.get_capabilities(GetCapabilitiesRequest {})).await;
    answer.map_err(|_| Status::deadline_exceeded("no answer"))?.map(tonic::Response::into_inner)
}

impl Server {
    async fn health(&self) -> Outcome {
        let mend = "answer GetHealth at once, with serving = true while utterances are taken";
        let mut client = self.client.clone();
        match timeout(PATIENCE, client.get_health(GetHealthRequest {})).await {
            Err(_) => Outcome::failed("no answer within 3 s", mend),
            Ok(Err(status)) => Outcome::failed(told(&status), mend),
            Ok(Ok(health)) if !health.get_ref().serving => {
                let detail = plain(&health.get_ref().detail);
                Outcome::failed(
                    format!("it is not serving: {detail}"),
                    "wait until it has loaded its model, or mend what it names",
                )
            }
            Ok(Ok(_)) => Outcome::ok("serving"),
        }
    }

    /// One utterance at the pace of speech, and what it tells of five things. Returns whether the server ended its stream:
    /// with one that doesn't, each further check would only wait.
    async fn speech(&self, notes: &mut dyn Notes) -> bool {
        let mut call = Call::configured(&self.client, self.config.clone());
        let mut answers = call.say_slowly(&sample::speech()).await;
        call.end();
        let Course { answers: late, status } = call.rest(FINAL_PATIENCE).await;
        answers.extend(late);
        let course = Course { answers, status };
        notes.note("speech", speech(&course));
        notes.note("order", order(&course, self.capabilities.streaming));
        notes.note("times", times(&course, self.capabilities.word_times));
        notes.note("finals", finals(&course));
        notes.note("pace", pace(&course));
        course.status.is_some()
    }

    async fn silence(&self) -> Outcome {
        for (what, audio) in [
            ("3 s of silence", sample::silence()),
            ("3 s of faint hiss", sample::hiss()),
            ("no audio at all", Vec::new()),
        ] {
            let course = utter(&self.client, &self.config, &audio).await;
            match course.text() {
                Err(error) => {
                    let mend =
                        "answer any audio, also none, with one final and end the stream with OK";
                    return Outcome::failed(format!("{what}: {error}"), mend);
                }
                Ok(text) if !text.is_empty() => {
                    return Outcome::failed(
                        format!("{what} became {} words", text.split_whitespace().count()),
                        "send an empty final where nothing is said: leave out fillers and noise marks, and what the engine doubts",
                    );
                }
                Ok(_) => {}
            }
        }
        Outcome::ok("nothing is heard in it")
    }

    /// The same speech alone, again, and beside an utterance of silence.
    async fn independence(&self) -> Outcome {
        let speech = sample::speech();
        let mend = "keep a decoder of its own for every stream, and reset all of it (adaptation, too) before the next utterance";
        let alone = utter(&self.client, &self.config, &speech).await.text();
        let again = if self.capabilities.max_streams > 1 {
            let mut other = Call::configured(&self.client, self.config.clone());
            other.say(&sample::silence());
            let again = utter(&self.client, &self.config, &speech).await.text();
            other.end();
            match other.rest(FINAL_PATIENCE).await.text() {
                Ok(text) if text.is_empty() => again,
                Ok(_) => {
                    return Outcome::failed(
                        "an utterance of silence has the words of another stream",
                        mend,
                    );
                }
                Err(error) => {
                    return Outcome::failed(format!("of two streams, one: {error}"), mend);
                }
            }
        } else {
            utter(&self.client, &self.config, &speech).await.text()
        };
        match (alone, again) {
            (Ok(alone), Ok(again)) if alone == again => {
                Outcome::ok("the same audio gives the same final")
            }
            (Ok(_), Ok(_)) => {
                Outcome::failed("the same audio gives another final the second time", mend)
            }
            (Err(error), _) | (_, Err(error)) => Outcome::failed(error, mend),
        }
    }

    async fn garbage(&self) -> Outcome {
        type Misuse<'a> = (&'a str, Box<dyn Fn(&Call) + Send + Sync + 'a>);
        let config =
            |config: RecogniseConfig| move |call: &Call| call.send(Message::Config(config.clone()));
        let odd = Message::Audio(vec![0; 3_201].into());
        let misuses: [Misuse<'_>; 6] = [
            (
                "audio before the config",
                Box::new(|call| call.send(Message::Audio(vec![0; 3_200].into()))),
            ),
            ("a message with nothing in it", Box::new(Call::send_nothing)),
            (
                "a sample rate of 12345",
                Box::new(config(RecogniseConfig { sample_rate: 12_345, ..self.config.clone() })),
            ),
            (
                "the language \"tlh-x-none\"",
                Box::new(config(RecogniseConfig {
                    language: "tlh-x-none".to_owned(),
                    ..self.config.clone()
                })),
            ),
            (
                "a second config",
                Box::new(|call| {
                    call.send(Message::Config(self.config.clone()));
                    call.send(Message::Config(self.config.clone()));
                }),
            ),
            (
                "half a sample",
                Box::new(|call| {
                    call.send(Message::Config(self.config.clone()));
                    call.send(odd.clone());
                }),
            ),
        ];
        for (what, misuse) in misuses {
            let mut call = Call::open(&self.client);
            misuse(&call);
            call.end();
            match call.rest(PATIENCE).await.status {
                Some(Err(status)) if status.code() == Code::InvalidArgument => {}
                answer => {
                    let answer = match answer {
                        Some(Err(status)) => told(&status),
                        Some(Ok(())) => "OK".to_owned(),
                        None => "silence".to_owned(),
                    };
                    return Outcome::failed(
                        format!("{what} was answered with {answer}"),
                        "end the stream with INVALID_ARGUMENT and a message that names what is wrong",
                    );
                }
            }
        }
        match utter(&self.client, &self.config, &sample::speech()).await.text() {
            Ok(text) if !text.is_empty() => {
                Outcome::ok("refused with INVALID_ARGUMENT, and others are served")
            }
            Ok(_) => Outcome::failed(
                "after it, speech is not recognised",
                "keep what one stream does away from the others",
            ),
            Err(error) => Outcome::failed(
                format!("after it: {error}"),
                "keep what one stream does away from the others",
            ),
        }
    }

    /// Fills the server with calls and cancels them: half of them while audio comes, half while they are being decoded.
    async fn cancellation(&self) -> Outcome {
        let places = self.capabilities.max_streams.min(MOST_STREAMS);
        if self.until_free(places).await.is_err() {
            return Outcome::skipped(format!("{places} streams at once are not taken anyway"));
        }
        let speech = sample::speech();
        for number in 0..places {
            let mut call = Call::configured(&self.client, self.config.clone());
            call.say(&speech);
            if number % 2 == 1 {
                call.end();
            }
            // Long enough for the server to have begun with it.
            sleep(Duration::from_millis(50)).await;
        }
        match self.until_free(places).await {
            Ok(took) => Outcome::ok(format!("places are free again after {} ms", took.as_millis())),
            Err(error) => Outcome::failed(
                format!("{} s after calls were cancelled: {error}", RELEASE.as_secs()),
                "stop decoding and give the place back when the call is cancelled (watch the context's cancellation, not only its messages)",
            ),
        }
    }

    /// How long it takes until so many utterances are taken at once.
    async fn until_free(&self, places: u32) -> Result<Duration, String> {
        let since = Instant::now();
        loop {
            let mut calls = Vec::new();
            for _ in 0..places {
                calls.push(Call::configured(&self.client, self.config.clone()));
            }
            // Long enough for all of them to have their places at the same time.
            sleep(Duration::from_millis(50)).await;
            let mut refusal = None;
            for mut call in calls {
                call.end();
                refusal = call.rest(FINAL_PATIENCE).await.text().err().or(refusal);
            }
            match refusal {
                None => return Ok(since.elapsed()),
                Some(error) if since.elapsed() >= RELEASE => return Err(error),
                Some(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn overload(&self) -> Outcome {
        let most = self.capabilities.max_streams;
        if most > MOST_STREAMS {
            return Outcome::skipped(format!("more than {MOST_STREAMS} streams are not tried"));
        }
        if let Err(error) = self.until_free(1).await {
            return Outcome::failed(
                format!("the server is not free: {error}"),
                "mend cancellation first",
            );
        }
        let mut calls = Vec::new();
        for _ in 0..most + 2 {
            let mut call = Call::configured(&self.client, self.config.clone());
            call.say(&sample::silence()[..16_000]);
            calls.push(call);
            sleep(Duration::from_millis(20)).await;
        }
        let mut refused = 0;
        let mut admitted = Vec::new();
        for mut call in calls {
            let patience =
                if refused < 2 { Duration::from_millis(500) } else { Duration::from_millis(50) };
            match call.rest(patience).await.status {
                None => admitted.push(call),
                Some(Err(status)) if status.code() == Code::ResourceExhausted => refused += 1,
                Some(Err(status)) => {
                    return Outcome::failed(
                        format!("a stream too many was refused with {}", told(&status)),
                        "refuse it with RESOURCE_EXHAUSTED, so that it is tried elsewhere",
                    );
                }
                Some(Ok(())) => {
                    return Outcome::failed(
                        "a stream was ended before its end",
                        "wait for EndOfUtterance",
                    );
                }
            }
        }
        if refused == 0 {
            return Outcome::failed(
                format!("of {} streams, none was refused: max_streams is {most}", most + 2),
                "refuse a stream too many with RESOURCE_EXHAUSTED at once instead of queueing it (in Python: maximum_concurrent_rpcs, or a counter), or raise max_streams",
            );
        }
        if admitted.len() < most as usize {
            return Outcome::failed(
                format!("{} streams were taken: max_streams is {most}", admitted.len()),
                "take as many streams as Capabilities.max_streams says, or lower it",
            );
        }
        for mut call in admitted {
            call.end();
            if let Err(error) = call.rest(FINAL_PATIENCE).await.text() {
                let mend =
                    "serve the streams that were taken to their end, whatever is refused meanwhile";
                return Outcome::failed(format!("a stream that was taken: {error}"), mend);
            }
        }
        Outcome::ok(format!("{most} streams are taken, and more are refused at once"))
    }

    /// A connection that breaks in mid-utterance, and the utterance again on another one.
    async fn restart(&self) -> Outcome {
        let mend =
            "forget a stream whose connection breaks, and serve the next connection as the first";
        let before = utter(&self.client, &self.config, &sample::speech()).await.text();
        let connect = || async {
            let channel =
                self.endpoint.connect().await.map_err(|_| "no second connection".to_owned())?;
            Ok::<_, String>(RecogniserClient::new(channel))
        };
        let broken = match connect().await {
            Ok(client) => client,
            Err(error) => return Outcome::failed(error, mend),
        };
        let mut call = Call::configured(&broken, self.config.clone());
        let _ = call.say_slowly(&sample::speech()[..16_000]).await;
        drop((call, broken));
        let mut client = match connect().await {
            Ok(client) => client,
            Err(error) => return Outcome::failed(error, mend),
        };
        match capabilities(&mut client).await {
            Ok(again) if again == self.capabilities => {}
            Ok(_) => return Outcome::failed("another connection has other capabilities", mend),
            Err(status) => return Outcome::failed(told(&status), mend),
        }
        let again = utter(&client, &self.config, &sample::speech()).await.text();
        match (before, again) {
            (Ok(before), Ok(again)) if before == again => {
                Outcome::ok("the utterance is recognised on another connection")
            }
            (Ok(_), Ok(_)) => {
                Outcome::failed("on another connection the same audio gives another final", mend)
            }
            (Err(error), _) | (_, Err(error)) => Outcome::failed(error, mend),
        }
    }
}
