use std::net::SocketAddr;

use anyhow::{Context, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use sidetone_proto::CallId;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use web_relay::event::{ClientMessage, Event, SUBPROTOCOL, ServerMessage};

/// A client of the relay, like the page, for programs on this machine.
pub struct Viewer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Viewer {
    /// Connects to a relay.
    pub async fn connect(relay: SocketAddr) -> anyhow::Result<Self> {
        let mut request = format!("ws://{relay}/v1/captions").into_client_request()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        let (socket, _) = connect_async(request)
            .await
            .with_context(|| format!("cannot connect to the relay at {relay}"))?;
        Ok(Self { socket })
    }

    /// Watches a call, from before it begins until it has ended.
    pub async fn watch(
        mut self,
        call_id: &str,
        mut on_event: impl FnMut(&Event),
    ) -> anyhow::Result<()> {
        let call_id = CallId::new(call_id);
        self.send(&ClientMessage::SubscribeCalls).await?;
        let mut subscribed = false;
        loop {
            match self.next().await? {
                ServerMessage::Calls(list) => {
                    let listed = list.calls.iter().any(|call| call.call_id == call_id);
                    if listed && !subscribed {
                        subscribed = true;
                        let call_id = call_id.clone();
                        let subscribe = ClientMessage::Subscribe { call_id, after_seq: None };
                        self.send(&subscribe).await?;
                    }
                }
                ServerMessage::Event(event) => {
                    on_event(&event);
                    if let Event::CallEnded(_) = event {
                        return Ok(());
                    }
                }
                ServerMessage::Error { message, .. } => bail!("the relay says: {message}"),
                ServerMessage::Subscribed { .. } | ServerMessage::Heartbeat => {}
            }
        }
    }

    async fn send(&mut self, message: &ClientMessage) -> anyhow::Result<()> {
        let text = serde_json::to_string(message)?;
        self.socket.send(Message::text(text)).await.context("the relay closed the connection")
    }

    async fn next(&mut self) -> anyhow::Result<ServerMessage> {
        loop {
            let message = self
                .socket
                .next()
                .await
                .ok_or_else(|| anyhow!("the relay closed the connection"))?;
            if let Message::Text(text) = message.context("lost the connection to the relay")? {
                return serde_json::from_str(&text).context("not a message of captions.v1");
            }
        }
    }
}
