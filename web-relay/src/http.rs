//! The one HTTP port: the page, the WebSocket, the list of calls, the health checks.

mod guard;
mod pages;
mod socket;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use self::guard::Hosts;
use crate::event::SUBPROTOCOL;
use crate::switchboard::Switchboard;

/// WebSocket connections at a time. When full, further ones are answered 503.
pub const MAX_CLIENTS: u32 = 16_384;

/// Longest message that is read from a client at all; the session refuses much shorter ones politely.
const MAX_FRAME_BYTES: usize = 64 * 1024;

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) switchboard: Switchboard,
    pub(crate) clients: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

pub(crate) fn router(context: Context, hosts: Hosts) -> Router {
    let guarded = Router::new()
        .route("/", get(pages::index))
        .route("/assets/{name}", get(pages::asset))
        .route("/v1/captions", get(captions))
        .route("/v1/calls", get(calls))
        .layer(middleware::from_fn_with_state(Arc::new(hosts), guard::check));
    // Probes come with whatever Host the orchestrator likes, and learn nothing.
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .layer(middleware::map_response(guard::harden))
        .with_state(context)
}

async fn captions(State(context): State<Context>, upgrade: WebSocketUpgrade) -> Response {
    let offers_protocols = upgrade.requested_protocols().next().is_some();
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    if offers_protocols && upgrade.selected_protocol().is_none() {
        let message = format!("this relay speaks the WebSocket subprotocol {SUBPROTOCOL} only\n");
        return (StatusCode::BAD_REQUEST, message).into_response();
    }
    let Ok(place) = context.clients.clone().try_acquire_owned() else {
        let message = "the relay has as many clients as it can: try again later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let client = context.switchboard.connect();
    upgrade.max_message_size(MAX_FRAME_BYTES).max_frame_size(MAX_FRAME_BYTES).on_upgrade(
        |socket| async move {
            socket::serve(socket, client, context.shutdown).await;
            drop(place);
        },
    )
}

async fn calls(State(context): State<Context>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, context.switchboard.list().to_string()).into_response()
}

async fn ready(State(context): State<Context>) -> Response {
    if context.shutdown.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response()
    } else if !context.switchboard.store_works() {
        let message = "the transcript store can't be written\n";
        (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
    } else {
        "ready\n".into_response()
    }
}

/// Text that must not be kept without asking whether it is still current.
fn content(content_type: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}
