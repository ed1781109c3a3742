//! What operators see: one HTTP listener with metrics, health and readiness.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often what was recorded is summed up, so that it takes no more memory when nobody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// A listener that answers until it is dropped.
#[derive(Debug)]
pub(crate) struct Operations {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// What readiness depends on.
#[derive(Clone)]
struct Gateway {
    registered: watch::Receiver<bool>,
    shutdown: CancellationToken,
    metrics: PrometheusHandle,
}

impl Operations {
    /// Answers `GET /metrics`, `/health` and `/ready`. The gateway is ready while it is registered and not
    /// `shutdown`.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub(crate) async fn start(
        listen: SocketAddr,
        registered: watch::Receiver<bool>,
        shutdown: CancellationToken,
        metrics: PrometheusHandle,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_up(metrics.clone()));
        let router = Router::new()
            .route("/metrics", get(render))
            .route("/health", get(|| async { Json(json!({ "alive": true })) }))
            .route("/ready", get(ready))
            .with_state(Gateway { registered, shutdown, metrics });
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                error!(%error, "metrics, health and readiness are not served any more");
            }
        });
        info!(%address, "serving metrics, health and readiness");
        Ok(Self { address, _tasks: tasks })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn render(State(gateway): State<Gateway>) -> impl IntoResponse {
    ([(CONTENT_TYPE, TEXT_FORMAT)], gateway.metrics.render())
}

async fn ready(State(gateway): State<Gateway>) -> (StatusCode, Json<Value>) {
    let reason = if gateway.shutdown.is_cancelled() {
        "draining: the gateway is going down"
    } else if !*gateway.registered.borrow() {
        "not registered: no call can be listened to"
    } else {
        return (StatusCode::OK, Json(json!({ "ready": true })));
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": reason })))
}

async fn keep_up(metrics: PrometheusHandle) {
    let mut tick = interval(UPKEEP);
    loop {
        tick.tick().await;
        metrics.run_upkeep();
    }
}
