//! Asks, connects and binds, for the examination.

use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tonic::transport::Endpoint;

use super::clock::http_date;
use super::network::Port;
use crate::config::Config;
use crate::gateway;
use crate::gateway::connect::{ConnectError, Connected, Connector};
use crate::media::MediaPorts;

/// An answer of RingCentral's that needs no login.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);

/// A neighbour that takes longer to accept a connection is out of reach.
const NEIGHBOUR_TIMEOUT: Duration = Duration::from_secs(5);

/// A call has two parties, and calls overlap.
const RTP_PAIRS: usize = 4;

/// Proxies tried at once; RingCentral has eight.
const MAX_PROXIES: usize = 16;

/// What the server says to somebody who has not logged in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// The HTTP status.
    pub(super) status: u16,
    /// The server's time in seconds since 1970, if it tells.
    pub(super) date: Option<i64>,
    /// Our time when the answer came.
    pub(super) now: i64,
}

/// Asks for the version of the API.
pub(super) async fn server(server: &str) -> Result<Answered, reqwest::Error> {
    let http = reqwest::Client::builder()
        .timeout(SERVER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let response = http.get(format!("{server}/restapi/v1.0")).send().await?;
    let date = response.headers().get("date").and_then(|date| date.to_str().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Answered {
        status: response.status().as_u16(),
        date: date.and_then(http_date),
        now: now.as_secs().cast_signed(),
    })
}

/// Connects to every proxy at once. Gives what came of each, and the first connection.
pub(super) async fn proxies(
    connector: &Connector,
    config: &Config,
    proxies: &[String],
) -> (Vec<(String, Result<(), ConnectError>)>, Option<Connected>) {
    let attempts = proxies
        .iter()
        .take(MAX_PROXIES)
        .map(async |proxy| (proxy.clone(), connector.connect(proxy, config.listen.ip()).await));
    let mut first = None;
    let mut all = Vec::new();
    for (proxy, connected) in join_all(attempts).await {
        let connected = connected.map(|connected| {
            first.get_or_insert(connected);
        });
        all.push((proxy, connected));
    }
    (all, first)
}

/// Listens, for a moment, where the gateway would.
pub(super) async fn ports(config: &Config) -> Vec<Port> {
    let mut ports = vec![Port {
        what: "SIP",
        key: "[sip] listen",
        address: config.listen.to_string(),
        bound: gateway::bind(config.listen).await.map(drop),
    }];
    if let Some(address) = config.operations.listen {
        ports.push(Port {
            what: "operators",
            key: "[operations] listen",
            address: address.to_string(),
            bound: TcpListener::bind(address).await.map(drop),
        });
    }
    let media = MediaPorts::new(config.listen.ip());
    let mut pairs = Vec::new();
    let mut bound = Ok(());
    for _ in 0..RTP_PAIRS {
        match media.bind() {
            Ok(pair) => pairs.push(pair),
            Err(error) => bound = Err(error),
        }
    }
    let address = config.listen.ip().to_string();
    ports.push(Port { what: "RTP", key: "[sip] listen", address, bound });
    ports
}

/// Connects to every service at once.
pub(super) async fn services(endpoints: &[Endpoint]) -> Vec<(String, io::Result<()>)> {
    let attempts = endpoints.iter().map(async |endpoint| {
        let address = endpoint.uri().to_string();
        let connected = timeout(NEIGHBOUR_TIMEOUT, reach(endpoint)).await;
        (address, connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())))
    });
    join_all(attempts).await
}

async fn reach(endpoint: &Endpoint) -> io::Result<()> {
    let uri = endpoint.uri();
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    TcpStream::connect((host, uri.port_u16().unwrap_or(usual))).await.map(drop)
}
