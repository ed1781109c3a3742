//! The relay as publishers and browsers see it: gRPC in, HTTP and WebSocket out, over loopback.

use caption_publisher::{Publisher, Undelivered};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use sidetone_proto::CallId;
use sidetone_proto::v1::caption_event::Event as ProtoEvent;
use sidetone_proto::v1::{self, PartyLabel};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tonic::transport::Endpoint;
use web_relay::event::{ErrorCode, Event, SUBPROTOCOL, ServerMessage};
use web_relay::{Config, ConfigError, Relay, StartError};

struct Setup {
    relay: Relay,
    folder: TempDir,
}

struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Setup {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let relay = Relay::start(config(&folder)).await.unwrap();
        Self { relay, folder }
    }

    /// Ends the relay and starts it again on the same addresses.
    async fn restart(self) -> Self {
        let mut config = config(&self.folder);
        config.listen = self.relay.http_address();
        config.ingest_listen = self.relay.ingest_address();
        self.relay.shutdown().await;
        Self { relay: Relay::start(config).await.unwrap(), folder: self.folder }
    }

    fn publisher(&self) -> Publisher {
        let address = format!("http://{}", self.relay.ingest_address());
        Publisher::start(Endpoint::from_shared(address).unwrap())
    }

    async fn browser(&self) -> Browser {
        let url = format!("ws://{}/v1/captions", self.relay.http_address());
        let mut request = url.into_client_request().unwrap();
        let protocol = SUBPROTOCOL.parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (socket, response) = connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], SUBPROTOCOL);
        Browser { socket }
    }

    /// One HTTP request as it is written, so that every header is the test's; the whole answer.
    async fn raw(&self, request: &str) -> String {
        let mut connection = TcpStream::connect(self.relay.http_address()).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        let host = self.relay.http_address();
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }
}

impl Browser {
    async fn say(&mut self, json: impl Into<String>) {
        self.socket.send(Message::text(json.into())).await.unwrap();
    }

    async fn follow(&mut self, call: &str, after_seq: u64) {
        self.say(format!(r#"{{"type":"subscribe","call_id":"{call}","after_seq":{after_seq}}}"#))
            .await;
    }

    async fn next(&mut self) -> ServerMessage {
        loop {
            match self.socket.next().await.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    async fn next_final(&mut self) -> (u64, String) {
        loop {
            if let ServerMessage::Event(Event::Final(caption)) = self.next().await {
                return (caption.seq, caption.text);
            }
        }
    }

    /// Reads to the end. The events, and the close code with its reason.
    async fn rest(&mut self) -> (Vec<Event>, Option<(u16, String)>) {
        let mut events = Vec::new();
        while let Some(Ok(message)) = self.socket.next().await {
            match message {
                Message::Text(text) => {
                    if let ServerMessage::Event(event) = serde_json::from_str(&text).unwrap() {
                        events.push(event);
                    }
                }
                Message::Close(frame) => {
                    let frame = frame.map(|f| (f.code.into(), f.reason.to_string()));
                    return (events, frame);
                }
                _ => {}
            }
        }
        (events, None)
    }
}

fn config(folder: &TempDir) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        ingest_listen: ([127, 0, 0, 1], 0).into(),
        database: folder.path().join("transcripts.db"),
        ..Config::default()
    }
}

fn label(call: &str) -> PartyLabel {
    let role = v1::Role::Customer.into();
    PartyLabel { call_id: call.to_owned(), party_id: "p-1".to_owned(), role }
}

fn caption(call: &str, segment: u32, text: &str) -> v1::Caption {
    v1::Caption {
        party: Some(label(call)),
        segment,
        revision: 1,
        is_final: true,
        text: text.to_owned(),
        start_ms: u64::from(segment) * 1_000,
        end_ms: u64::from(segment) * 1_000 + 500,
        ..v1::Caption::default()
    }
}

fn finished(call: &str, segment: u32, text: &str) -> ProtoEvent {
    ProtoEvent::Caption(caption(call, segment, text))
}

fn started(call: &str) -> ProtoEvent {
    ProtoEvent::CallStarted(v1::CallStarted {
        call_id: call.to_owned(),
        started_unix_ms: 1_800_000_000_000,
        parties: vec![label(call)],
    })
}

#[tokio::test]
async fn captions_reach_the_browser_and_stay_text() {
    let setup = Setup::new().await;
    let publisher = setup.publisher();
    let hostile = "<img src=x onerror=\"alert(1)\"> </script> \\u0000 \u{202e} \u{7} &amp;";
    publisher.deliver(started("s-1")).await.unwrap();
    let mut browser = setup.browser().await;
    browser.say(r#"{"type":"subscribe_calls"}"#).await;
    let ServerMessage::Calls(list) = browser.next().await else { panic!("no list") };
    assert_eq!(list.calls[0].call_id, CallId::new("s-1"));
    browser.follow("s-1", 0).await;
    publisher.deliver(finished("s-1", 0, hostile)).await.unwrap();
    assert_eq!(browser.next_final().await, (2, hostile.to_owned()));

    let listed = setup.get("/v1/calls").await;
    assert!(listed.contains(r#""call_id":"s-1""#), "{listed}");
    setup.relay.shutdown().await;
}

#[tokio::test]
async fn a_browser_that_lost_its_socket_misses_nothing() {
    let setup = Setup::new().await;
    let publisher = setup.publisher();
    publisher.deliver(finished("s-1", 0, "one")).await.unwrap();
    let mut browser = setup.browser().await;
    browser.follow("s-1", 0).await;
    let (seen, _) = browser.next_final().await;
    // The connection is torn, not closed.
    drop(browser);
    for (segment, text) in [(1, "two"), (2, "three")] {
        publisher.deliver(finished("s-1", segment, text)).await.unwrap();
    }
    let mut browser = setup.browser().await;
    browser.follow("s-1", seen).await;
    assert_eq!(browser.next_final().await.1, "two");
    assert_eq!(browser.next_final().await.1, "three");
    publisher.deliver(finished("s-1", 3, "four")).await.unwrap();
    assert_eq!(browser.next_final().await.1, "four");
}

#[tokio::test]
async fn a_restart_in_mid_call_loses_nothing() {
    let setup = Setup::new().await;
    let publisher = setup.publisher();
    publisher.deliver(started("s-1")).await.unwrap();
    publisher.deliver(finished("s-1", 0, "before")).await.unwrap();
    let mut browser = setup.browser().await;
    browser.follow("s-1", 0).await;
    let (seen, _) = browser.next_final().await;

    let setup = setup.restart().await;
    assert_eq!(browser.rest().await.1.unwrap().0, 1001);
    // The publisher connects again by itself.
    publisher.deliver(finished("s-1", 0, "before, sent again")).await.unwrap();
    publisher.deliver(finished("s-1", 1, "after")).await.unwrap();
    let mut browser = setup.browser().await;
    browser.say(r#"{"type":"subscribe_calls"}"#).await;
    let ServerMessage::Calls(list) = browser.next().await else { panic!("no list") };
    assert_eq!(list.calls.len(), 1);
    browser.follow("s-1", seen).await;
    let (seq, text) = browser.next_final().await;
    assert_eq!(text, "after");
    assert!(seq > seen);
}

#[tokio::test]
async fn an_event_that_breaks_the_contract_is_refused_and_the_rest_goes_on() {
    let setup = Setup::new().await;
    let publisher = setup.publisher();
    let broken = ProtoEvent::Caption(v1::Caption { party: None, ..caption("s-1", 0, "x") });
    assert_eq!(publisher.deliver(broken).await, Err(Undelivered::Refused));
    let long = finished("s-1", 0, &"x".repeat(2 * 1024 * 1024));
    assert_eq!(publisher.deliver(long).await, Err(Undelivered::Refused));
    publisher.deliver(finished("s-1", 0, "fine")).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_is_sent_away_and_resumes_without_a_hole() {
    let setup = Setup::new().await;
    let publisher = setup.publisher();
    publisher.deliver(started("s-1")).await.unwrap();
    let mut slow = setup.browser().await;
    slow.follow("s-1", 0).await;
    assert!(matches!(slow.next().await, ServerMessage::Subscribed { .. }));
    // More than the sockets' buffers and the relay's memory of the call hold.
    let text = "z".repeat(15_000);
    let count: u32 = 1_500;
    let delivered = join_all((0..count).map(|segment| {
        let event = finished("s-1", segment, &text);
        publisher.deliver(event)
    }))
    .await;
    assert!(delivered.iter().all(Result::is_ok));
    let (mut events, close) = slow.rest().await;
    let (code, reason) = close.unwrap();
    assert_eq!(code, 4008);
    let resume_after: u64 = reason.strip_prefix("resume_after=").unwrap().parse().unwrap();
    assert_eq!(events.last().map(Event::seq), Some(resume_after));

    let mut again = setup.browser().await;
    again.follow("s-1", resume_after).await;
    while events.len() < count as usize + 1 {
        if let ServerMessage::Event(event) = again.next().await {
            events.push(event);
        }
    }
    let seqs: Vec<_> = events.iter().map(Event::seq).collect();
    assert_eq!(seqs, (1..=u64::from(count) + 1).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_closed() {
    let setup = Setup::new().await;
    let mut browser = setup.browser().await;
    browser.follow("s-unknown", 0).await;
    let ServerMessage::Error { code, call_id, .. } = browser.next().await else { panic!() };
    assert_eq!((code, call_id), (ErrorCode::UnknownCall, Some(CallId::new("s-unknown"))));
    browser.say("{").await;
    browser.say("x".repeat(5_000)).await;
    browser.socket.send(Message::binary(vec![0u8; 3])).await.unwrap();
    assert_eq!(browser.rest().await.1.unwrap().0, 1008);
}

#[tokio::test]
async fn foreign_names_and_pages_are_refused() {
    let setup = Setup::new().await;
    let host = setup.relay.http_address();
    let handshake = |host: &str, origin: &str| {
        format!(
            "GET /v1/captions HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    let refused = setup.raw(&handshake(&host.to_string(), "http://evil.example")).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let refused = setup.raw(&handshake("evil.example", "http://evil.example")).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let rebound = "GET /v1/calls HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(setup.raw(rebound).await.starts_with("HTTP/1.1 403"));
    // Probes may come under any name.
    let probe = "GET /healthz HTTP/1.1\r\nHost: pod-7\r\nConnection: close\r\n\r\n";
    assert!(setup.raw(probe).await.starts_with("HTTP/1.1 200"));

    let url = format!("ws://{host}/v1/captions");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("origin", format!("http://{host}").parse().unwrap());
    assert!(connect_async(request).await.is_ok());
    let url = format!("ws://{host}/v1/captions");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "captions.v9".parse().unwrap());
    match connect_async(request).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 400),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn pages_come_with_everything_that_they_name_and_nothing_else_is_allowed() {
    let setup = Setup::new().await;
    let page = setup.get("/").await;
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'";
    assert!(page.contains(policy), "{page}");
    assert!(page.contains("x-content-type-options: nosniff"));
    assert!(page.contains("referrer-policy: no-referrer"));
    let mut seen = vec!["/".to_owned()];
    let mut unread = vec![page];
    while let Some(text) = unread.pop() {
        let named = text.split('"').filter_map(|quoted| {
            let module = quoted.strip_prefix("./").filter(|name| name.ends_with(".js"));
            let asset = quoted.starts_with("/assets/").then(|| quoted.to_owned());
            module.map(|name| format!("/assets/{name}")).or(asset)
        });
        for path in named.collect::<Vec<_>>() {
            if !seen.contains(&path) {
                let answer = setup.get(&path).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
                assert!(!answer.contains("innerHTML"), "{path}");
                unread.push(answer);
                seen.push(path);
            }
        }
    }
    assert!(seen.len() >= 7, "{seen:?}");
    assert!(setup.get("/assets/../Cargo.toml").await.starts_with("HTTP/1.1 404"));
    assert!(setup.get("/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn what_keeps_the_relay_from_starting_is_said() {
    let setup = Setup::new().await;
    let taken = Config { listen: setup.relay.http_address(), ..config(&setup.folder) };
    let error = Relay::start(taken).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { setting: "listen", .. }), "{error}");
    assert!(error.to_string().contains("stop what uses that port"));

    let folder = tempfile::tempdir().unwrap();
    let nowhere = Config { database: folder.path().join("no/t.db"), ..config(&folder) };
    assert!(matches!(Relay::start(nowhere).await, Err(StartError::Store(_))));

    let open = Config { listen: ([0, 0, 0, 0], 0).into(), ..config(&folder) };
    assert!(matches!(
        Relay::start(open).await,
        Err(StartError::Config(ConfigError::Exposed { .. }))
    ));
}

fn consent(call: &str, state: v1::ConsentState, at_unix_ms: i64) -> ProtoEvent {
    let (call_id, source) = (call.to_owned(), v1::ConsentSource::Phrase.into());
    ProtoEvent::Consent(v1::Consent { call_id, state: state.into(), source, at_unix_ms })
}

/// Whether any file of a folder holds some bytes.
fn is_on_disk(folder: &std::path::Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().any(|file| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test]
async fn after_a_refusal_nothing_that_was_said_is_on_the_disk() {
    const SAID: &str = "my account number is four one one seven";
    let setup = Setup::new().await;
    let publisher = setup.publisher();
    publisher.deliver(started("s-1")).await.unwrap();
    publisher.deliver(consent("s-1", v1::ConsentState::Announced, 5)).await.unwrap();
    for segment in 0..50 {
        publisher.deliver(finished("s-1", segment, SAID)).await.unwrap();
    }
    publisher.deliver(finished("s-2", 0, "another call")).await.unwrap();
    let mut browser = setup.browser().await;
    browser.follow("s-1", 0).await;
    browser.next_final().await;
    assert!(is_on_disk(setup.folder.path(), SAID));

    publisher.deliver(consent("s-1", v1::ConsentState::Refused, 9)).await.unwrap();
    assert!(!is_on_disk(setup.folder.path(), SAID));
    assert!(is_on_disk(setup.folder.path(), "another call"));
    // The reader is told, after what it has been sent before.
    let told = async {
        loop {
            if let ServerMessage::Event(Event::Consent(consent)) = browser.next().await
                && consent.state == web_relay::event::ConsentState::Refused
            {
                return consent;
            }
        }
    };
    let told = told.await;
    assert_eq!(told.at_unix_ms, 9);
    assert_eq!(told.source, web_relay::event::ConsentSource::Phrase);

    // Also after a restart, whatever comes late is acknowledged and dropped.
    drop(publisher);
    let setup = setup.restart().await;
    let publisher = setup.publisher();
    publisher.deliver(finished("s-1", 99, SAID)).await.unwrap();
    publisher.announce(ProtoEvent::Caption(v1::Caption {
        is_final: false,
        ..caption("s-1", 100, SAID)
    }));
    publisher
        .deliver(ProtoEvent::CallEnded(v1::CallEnded { call_id: "s-1".into(), ended_unix_ms: 11 }))
        .await
        .unwrap();
    let mut browser = setup.browser().await;
    browser.follow("s-1", 0).await;
    let mut kinds = Vec::new();
    while kinds.last() != Some(&"call_ended") {
        match browser.next().await {
            ServerMessage::Event(Event::CallStarted(_)) => kinds.push("call_started"),
            ServerMessage::Event(Event::Consent(_)) => kinds.push("consent"),
            ServerMessage::Event(Event::CallEnded(_)) => kinds.push("call_ended"),
            ServerMessage::Event(other) => panic!("{other:?} is kept"),
            _ => {}
        }
    }
    assert_eq!(kinds, ["call_started", "consent", "consent", "call_ended"]);
    assert!(!is_on_disk(setup.folder.path(), SAID));
}
