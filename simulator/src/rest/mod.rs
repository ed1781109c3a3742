//! The REST shell: RingCentral's paths, tokens and error bodies over the switchboard.

mod oauth;
mod telephony;

use crate::api_error::ApiError;
use crate::conversation::CallCommand;
use crate::sip::transport::SipHandle;
use crate::switchboard::Switchboard;
use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{from_fn_with_state, map_response_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use oauth::Tokens;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// The largest request body, in bytes; a supervise request has about a hundred.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The ways to the tasks of the calls on the line.
pub(crate) type Lines = Arc<Mutex<HashMap<String, mpsc::Sender<CallCommand>>>>;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) switchboard: Arc<Mutex<Switchboard>>,
    pub(crate) lines: Lines,
    pub(crate) sip: SipHandle,
    /// Where devices register: the outbound proxy of the device's settings.
    pub(crate) sip_address: SocketAddr,
    /// The same over TLS.
    pub(crate) sip_tls_address: SocketAddr,
    tokens: Arc<Mutex<Tokens>>,
    requests: Arc<AtomicU64>,
}

impl Cloud {
    pub(crate) fn new(
        switchboard: Arc<Mutex<Switchboard>>,
        lines: Lines,
        sip: SipHandle,
        (sip_address, sip_tls_address): (SocketAddr, SocketAddr),
        seed: u64,
    ) -> Self {
        Self {
            switchboard,
            lines,
            sip,
            sip_address,
            sip_tls_address,
            tokens: Arc::new(Mutex::new(Tokens::new(seed))),
            requests: Arc::default(),
        }
    }

    pub(crate) fn switchboard(&self) -> MutexGuard<'_, Switchboard> {
        self.switchboard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to a call's task, while the call is on the line.
    fn line(&self, session_id: &str) -> Option<mpsc::Sender<CallCommand>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).get(session_id).cloned()
    }
}

/// The whole REST interface.
pub(crate) fn router(cloud: Cloud) -> Router {
    const ACCOUNT: &str = "/restapi/v1.0/account/~";
    let path = |rest: &str| format!("{ACCOUNT}{rest}");
    let protected = Router::new()
        .route(&path("/extension/{extension}/presence"), get(telephony::presence))
        .route(&path("/device/{device}/sip-info"), get(telephony::sip_info))
        .route(
            &path("/telephony/sessions/{session}"),
            get(telephony::session).merge(delete(telephony::delete_session)),
        )
        .route(&path("/telephony/sessions/{session}/supervise"), post(telephony::supervise_session))
        .route(
            &path("/telephony/sessions/{session}/parties/{party}"),
            get(telephony::party).merge(delete(telephony::delete_party)),
        )
        .route(
            &path("/telephony/sessions/{session}/parties/{party}/supervise"),
            post(telephony::supervise_party),
        )
        .route_layer(from_fn_with_state(cloud.clone(), oauth::require_token));
    Router::new()
        .route("/restapi/oauth/token", post(oauth::token))
        .merge(protected)
        .fallback(|| async { ApiError::NotFound("uri") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response_with_state(cloud.clone(), add_request_id))
        .with_state(cloud)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(self.body())).into_response()
    }
}

/// Every response names its request: what RingCentral's support asks for.
async fn add_request_id(State(cloud): State<Cloud>, mut response: Response) -> Response {
    let number = cloud.requests.fetch_add(1, Ordering::Relaxed);
    if let Ok(id) = HeaderValue::from_str(&format!("simulated-{number:08}")) {
        response.headers_mut().insert("rcrequestid", id);
    }
    response
}
