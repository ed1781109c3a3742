//! RingCentral's REST API for one call that is up from the start, and is supervised as a session.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::process::within;

/// The agent's extension.
pub const AGENT: &str = "62226587016";

/// Answers the gateway's questions. SIP is left to the peers.
pub struct Cloud {
    /// Its base URL.
    pub url: String,
    supervised: watch::Receiver<bool>,
    is_over: Arc<watch::Sender<bool>>,
}

impl Cloud {
    /// Starts to listen.
    pub async fn start() -> Self {
        let (sender, supervised) = watch::channel(false);
        let sender = Arc::new(sender);
        let is_over = Arc::<watch::Sender<bool>>::default();
        let sessions = "/restapi/v1.0/account/~/telephony/sessions/s-1";
        let supervise = async move || {
            sender.send_replace(true);
            // The INVITE names this party in its p-rc-api-ids.
            (StatusCode::CREATED, Json(json!({ "id": "p-sup" })))
        };
        let router = Router::new()
            .route("/restapi/oauth/token", post(token))
            .route("/restapi/v1.0/account/~/extension/{id}/presence", get(presence))
            .route(sessions, get(session))
            .route(&format!("{sessions}/supervise"), post(supervise))
            .with_state(Arc::clone(&is_over));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, supervised, is_over }
    }

    /// Waits until the gateway has asked to supervise the call: its INVITE is expected from now on.
    pub async fn supervised(&mut self) {
        let wait = self.supervised.wait_for(|supervised| *supervised);
        within("the gateway asks to supervise", wait).await.unwrap();
    }

    /// Everybody hangs up: a supervisor whose leg has ended while the call goes on would ask for another.
    pub fn hang_up(&self) {
        self.is_over.send_replace(true);
    }
}

async fn token() -> Json<Value> {
    Json(json!({ "access_token": "token", "expires_in": 3600, "owner_id": "809646016" }))
}

async fn presence(State(is_over): State<Arc<watch::Sender<bool>>>) -> Json<Value> {
    let call = json!({ "telephonyStatus": "CallConnected", "telephonySessionId": "s-1" });
    let calls = if *is_over.borrow() { vec![] } else { vec![call] };
    Json(json!({ "extension": { "id": 62226587016u64 }, "activeCalls": calls }))
}

async fn session(State(is_over): State<Arc<watch::Sender<bool>>>) -> Json<Value> {
    let code = if *is_over.borrow() { "Disconnected" } else { "Answered" };
    let party = |id: &str, extension: Option<&str>| json!({ "id": id, "extensionId": extension, "status": { "code": code } });
    Json(json!({ "id": "s-1", "parties": [party("p-1", None), party("p-2", Some(AGENT))] }))
}
