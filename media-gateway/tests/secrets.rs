//! Secrets stay secret: in `Debug`, in errors and in logs, whatever a server answers.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use media_gateway::Gateway;
use media_gateway::config::Config;
use media_gateway::ringcentral::{
    Client, Credentials, EventFilters, NOTIFICATION_CAPACITY, Notification, Notifications,
};
use serde_json::json;
use simulator::{Account, CallPlan, Cut, Fault};
use support::{Downstream, PATIENCE, serve};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

const TOKEN: &str = "the-access-token";
const REFRESH: &str = "the-refresh-token";

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Takes everything that this thread logs from now on.
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn credentials() -> Credentials {
    let account = Account::demo();
    Credentials {
        client_id: account.client_id,
        client_secret: account.client_secret,
        jwt: account.jwt,
    }
}

fn expect_none(text: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

/// Gives good tokens, and repeats everything that it is told in its refusals and in malformed answers.
async fn echo(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let heard = format!("{:?}", request.headers());
    let body = axum::body::to_bytes(request.into_body(), 65_536).await.unwrap();
    let heard = format!("{heard} {}", String::from_utf8_lossy(&body));
    match path.as_str() {
        "/restapi/oauth/token" if heard.contains("refresh_token=") => {
            let repeated = json!({ "error": heard, "error_description": heard });
            (StatusCode::BAD_REQUEST, axum::Json(repeated)).into_response()
        }
        "/restapi/oauth/token" => axum::Json(json!({
            "access_token": TOKEN, "expires_in": 0, "owner_id": 1,
            "refresh_token": REFRESH, "refresh_token_expires_in": 600,
        }))
        .into_response(),
        path if path.ends_with("/sip-info") => {
            axum::Json(json!({ "domain": TOKEN, "userName": [TOKEN] })).into_response()
        }
        "/restapi/oauth/wstoken" => {
            axum::Json(json!({ "ws_access_token": TOKEN, "uri": TOKEN })).into_response()
        }
        _ => {
            let repeated = json!({
                "errorCode": heard, "message": heard,
                "errors": [{ "parameterName": heard }],
            });
            (StatusCode::FORBIDDEN, axum::Json(repeated)).into_response()
        }
    }
}

#[tokio::test]
async fn a_server_that_repeats_what_it_hears_gets_nothing_into_errors_or_logs() {
    let (log, _guard) = Log::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(echo);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Arc::new(Client::new(&url, credentials()).unwrap());
    let mut text = String::new();
    let errors = [
        client.presence("1").await.unwrap_err(),
        client.sip_info("1").await.unwrap_err(),
        client.revoke().await.unwrap_err(),
        client.supervise_session("s-1", "2", "3").await.unwrap_err(),
    ];
    for error in &errors {
        text += &format!("{error} {error:?}\n");
    }
    assert!(text.contains("<secret>"), "{text}");
    let (sender, mut receiver) = mpsc::channel(NOTIFICATION_CAPACITY);
    let shutdown = CancellationToken::new();
    let filters = EventFilters::account();
    let notifications = Notifications::start(client.clone(), filters, sender, shutdown.clone());
    timeout(PATIENCE, receiver.recv()).await.unwrap();
    shutdown.cancel();
    notifications.stopped().await;
    text += &format!("{client:?}\n{}", log.text());
    assert!(text.contains("could not connect for notifications"), "{text}");
    let Credentials { client_id, client_secret, jwt } = credentials();
    let basic = BASE64.encode(format!("{client_id}:{client_secret}"));
    expect_none(&text, &[&client_secret, &jwt, &basic, TOKEN, REFRESH]);
}

#[tokio::test]
async fn a_days_work_logs_no_secret() {
    let (log, _guard) = Log::start();
    let simulator = support::simulator().await;
    let account = Account::demo();
    let client = Arc::new(Client::new(&simulator.rest_url(), credentials()).unwrap());
    let info = client.sip_info(&account.supervisor_device_id).await.unwrap();
    assert_eq!(info.password, account.sip_password);
    let (sender, mut receiver) = mpsc::channel(NOTIFICATION_CAPACITY);
    let shutdown = CancellationToken::new();
    let filters = EventFilters::account();
    let notifications = Notifications::start(client.clone(), filters, sender, shutdown.clone());
    for _ in 0..2 {
        while timeout(PATIENCE, receiver.recv()).await.unwrap() != Some(Notification::Missed) {}
        simulator.controls().cut_notifications(Cut::Abrupt);
    }
    simulator.controls().end_auth_sessions();
    client.presence(support::AGENT).await.unwrap();
    shutdown.cancel();
    notifications.stopped().await;
    let text = format!("{client:?} {info:?}\n{}", log.text());
    assert!(text.contains("subscribed to notifications"), "{text}");
    assert!(text.contains("logging in again"), "{text}");
    // What the simulated cloud issues begins with these.
    let issued = ["SIM", "REF", "WS0", "WS1", "wsc=", "access_token"];
    expect_none(&text, &issued);
    expect_none(&text, &[&account.client_secret, &account.jwt, &account.sip_password]);
}

#[tokio::test]
async fn a_whole_call_logs_no_secret_and_nobodys_number_or_name_above_debug() {
    let (log, _guard) = Log::start();
    let simulator = support::simulator().await;
    let account = Account::demo();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, simulator.authority_pem()).unwrap();
    let downstream = support::Downstream::default();
    let address = support::serve(downstream.clone()).await;
    let sip = format!("transport = \"tls\"\ntls_ca_file = {ca_file:?}");
    let config = support::config(&simulator, address, &sip, "");
    let config = Config::from_toml(&config).unwrap();
    let mut text = format!("{config:?}\n");
    let gateway = Gateway::start(config).await.unwrap();
    timeout(PATIENCE, simulator.registered()).await.expect("registered");
    let plan = CallPlan::new(support::AGENT, support::tone(440.0, 1), support::tone(1100.0, 1));
    let person = plan.person.clone();
    // A refusal and a lost connection on the way.
    simulator.controls().inject(Fault::WrongState, 1);
    let call = simulator.place_call(plan).await.unwrap();
    let report = timeout(PATIENCE, call.report()).await.expect("the call ends").unwrap();
    assert!(report.is_heard(), "{report:?}");
    text += &format!("{gateway:?} {:?}\n", gateway.control().calls().await);
    gateway.shutdown().await;
    // The simulated cloud has a log of its own.
    let log = log.text();
    let own = || log.lines().filter(|line| !line.contains("simulator::"));
    text.extend(own().flat_map(|line| [line, "\n"]));
    assert!(text.contains("leg answered"), "{text}");
    let issued = ["SIM", "REF", "WS0", "WS1", "wsc=", "access_token", "inline:"];
    expect_none(&text, &issued);
    let Account { client_secret, jwt, sip_password, .. } = &account;
    expect_none(&text, &[client_secret, jwt, sip_password]);
    let is_loud = |line: &&str| ["INFO", "WARN", "ERROR"].iter().any(|level| line.contains(level));
    let loud: Vec<&str> = own().filter(is_loud).collect();
    assert!(loud.len() > 5, "{loud:?}");
    let agent = &account.agents[0];
    let people = [&person.phone_number, &person.name, &agent.phone_number, &agent.name];
    expect_none(&loud.join("\n"), &people.map(String::as_str));
}

/// What a caller types may be the number of a card.
#[tokio::test]
async fn digits_that_are_typed_are_not_logged() {
    const DIGITS: &str = "4929123";
    let (log, _guard) = Log::start();
    let simulator = support::simulator().await;
    let downstream = serve(Downstream::default()).await;
    let sip = "allowed_sources = [\"127.0.0.1\"]";
    let config = support::config(&simulator, downstream, sip, "");
    let gateway = Gateway::start(Config::from_toml(&config).unwrap()).await.unwrap();
    timeout(PATIENCE, simulator.registered()).await.expect("registered");
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let from = socket.local_addr().unwrap();
    for (number, method) in ["INFO", "MESSAGE", "NOTIFY", "INVITE", "BYE"].into_iter().enumerate() {
        let body = format!("Signal={DIGITS}\r\nDuration=160\r\n");
        let request = format!(
            "{method} sip:{DIGITS}@y SIP/2.0\r\nVia: SIP/2.0/UDP {from};rport;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{DIGITS}@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: c{number}\r\n\
             CSeq: 7 {method}\r\nContact: <sip:a@{from}>\r\nContent-Type: application/dtmf-relay\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        socket.send_to(request.as_bytes(), gateway.sip_address()).await.unwrap();
        let mut response = [0; 2048];
        timeout(PATIENCE, socket.recv(&mut response)).await.expect("a response").unwrap();
    }
    gateway.shutdown().await;
    simulator.shutdown().await;
    let text = log.text();
    assert!(text.contains("listening for sip"), "{text}");
    expect_none(&text, &[DIGITS]);
}
