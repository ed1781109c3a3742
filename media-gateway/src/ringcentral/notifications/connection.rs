//! Makes a WebSocket: a token, a TCP connection, TLS with the system's trusted roots, the handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::session::Failure;
use crate::ringcentral::rate_limit::Group;
use crate::ringcentral::transport::Request;
use crate::ringcentral::{Client, Error};

/// TCP, TLS and handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A longer message ends the connection. An event has about two kilobytes.
const MAX_MESSAGE_LEN: usize = 1024 * 1024;

/// A WebSocket, over TLS or, to a server without TLS, plain.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why there is no notification connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no token for it.
    #[error("no token for the notification connection: {0}")]
    Token(Box<Error>),
    /// The address that came with the token can't be used.
    #[error("RingCentral gave an address that is not of a WebSocket{0}")]
    Address(&'static str),
    /// Refused, unreachable or broken off.
    #[error("{host} can't be reached ({source}); check the network and the firewall")]
    Unreachable {
        /// Of the address that came with the token.
        host: String,
        /// In the system's words.
        source: io::Error,
    },
    /// The trusted roots can't be read.
    #[error("could not set up the verification of certificates: {0}")]
    Roots(rustls::Error),
    /// The certificate is not accepted, or there is no TLS.
    #[error("TLS with {host} failed: {source}")]
    Tls {
        /// Of the address that came with the token.
        host: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The server does not take the WebSocket.
    #[error("{host} answered the WebSocket handshake with HTTP {status}")]
    Refused {
        /// Of the address that came with the token.
        host: String,
        /// 300 to 599.
        status: u16,
    },
    /// The handshake broke off.
    #[error("the WebSocket handshake with {host} failed")]
    Handshake {
        /// Of the address that came with the token.
        host: String,
    },
    /// Nothing happened for too long.
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
}

/// Connects; remembers the trusted roots, which take a while to read.
pub(super) struct Connector {
    /// Whether a connection without TLS is out of the question, as the login came over TLS.
    needs_tls: bool,
    tls: OnceCell<TlsConnector>,
}

#[derive(Deserialize)]
struct WebSocketToken {
    ws_access_token: String,
    uri: String,
}

impl Connector {
    pub(super) fn new(needs_tls: bool) -> Self {
        Self { needs_tls, tls: OnceCell::new() }
    }

    /// A new connection, of which nothing has been read; `wsc` is the token of a session to recover. Every connection takes
    /// a new access token: one is good for a single use.
    pub(super) async fn connect(
        &self,
        client: &Client,
        wsc: Option<String>,
    ) -> Result<Socket, ConnectError> {
        let request = Request::new(Group::Auth, Method::POST, "/restapi/oauth/wstoken");
        let token: WebSocketToken =
            client.json(request).await.map_err(|error| ConnectError::Token(Box::new(error)))?;
        let url = address(&token, wsc.as_deref(), self.needs_tls)?;
        timeout(CONNECT_TIMEOUT, self.open(&url)).await.unwrap_or(Err(ConnectError::Timeout))
    }

    async fn open(&self, url: &Url) -> Result<Socket, ConnectError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let unreachable = |source| ConnectError::Unreachable { host: host.clone(), source };
        let tcp = TcpStream::connect((bare.as_str(), port)).await.map_err(unreachable)?;
        let stream: Box<dyn Stream> = match url.scheme() {
            "wss" => {
                let name = ServerName::try_from(bare)
                    .map_err(|_| ConnectError::Address(": its host has no name"))?;
                let tls = self.tls.get_or_try_init(tls_connector).await?.clone();
                let failed = |source| ConnectError::Tls { host: host.clone(), source };
                Box::new(tls.connect(name, tcp).await.map_err(failed)?)
            }
            _ => Box::new(tcp),
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_LEN))
            .max_frame_size(Some(MAX_MESSAGE_LEN));
        match client_async_with_config(url.as_str(), stream, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => {
                Err(ConnectError::Refused { host, status: response.status().as_u16() })
            }
            // Its own words may quote the address, which holds the token.
            Err(_) => Err(ConnectError::Handshake { host }),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Token(error) => match *error {
                Error::RateLimited { retry_after } => Self::Wait(retry_after),
                Error::Login { .. } | Error::Refused { status: 403, .. } => Self::Forbidden,
                _ => Self::Transient,
            },
            ConnectError::Refused { status: 403, .. } | ConnectError::Address(_) => Self::Forbidden,
            _ => Self::Transient,
        }
    }
}

fn address(
    token: &WebSocketToken,
    wsc: Option<&str>,
    needs_tls: bool,
) -> Result<Url, ConnectError> {
    let mut url = Url::parse(&token.uri).map_err(|_| ConnectError::Address(""))?;
    match url.scheme() {
        "wss" => {}
        "ws" if !needs_tls => {}
        "ws" => return Err(ConnectError::Address(" over TLS")),
        _ => return Err(ConnectError::Address("")),
    }
    url.query_pairs_mut().append_pair("access_token", &token.ws_access_token);
    if let Some(wsc) = wsc {
        url.query_pairs_mut().append_pair("wsc", wsc);
    }
    Ok(url)
}

async fn tls_connector() -> Result<TlsConnector, ConnectError> {
    let config = ClientConfig::with_platform_verifier().map_err(ConnectError::Roots)?;
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uri: &str, needs_tls: bool) -> Result<String, String> {
        let token = WebSocketToken { ws_access_token: "a+b".into(), uri: uri.into() };
        let url = address(&token, Some("c&d"), needs_tls);
        url.map(|url| url.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn tokens_travel_in_the_query_and_not_without_tls() {
        let query = "access_token=a%2Bb&wsc=c%26d";
        assert_eq!(at("wss://ws.example/ws", true), Ok(format!("wss://ws.example/ws?{query}")));
        assert_eq!(at("ws://[::1]:80/ws", false), Ok(format!("ws://[::1]/ws?{query}")));
        for (uri, needs_tls) in
            [("ws://ws.example/ws", true), ("http://ws.example", false), ("ws", false)]
        {
            let error = at(uri, needs_tls).unwrap_err();
            assert!(!error.contains("a+b") && !error.contains("a%2Bb"), "{error}");
        }
    }
}
