//! Control by hand over HTTP: list calls, listen to one, leave one, note consent. Every request carries a bearer token.

mod refusal;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::control::{CallView, Control, ControlError, consent};
use crate::ringcentral::Client;
use refusal::Refusal;
use token::Token;

pub use refusal::Problem;

/// No body of this API is as long.
const MAX_BODY_LEN: usize = 4 * 1024;

/// The longest request looks an extension up, which takes two requests of at most ten seconds: a login may come first.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);

/// The digits of an extension number or id that are taken.
const MAX_ID_LEN: usize = 32;

/// For whom a call is listened to: `POST /v1/calls/{telephonySessionId}/supervise`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentRef {
    /// By short number, such as `108`.
    #[serde(rename = "agentExtensionNumber")]
    Number(String),
    /// By id, such as `62226587016`.
    #[serde(rename = "agentExtensionId")]
    Id(String),
}

/// What the parties said: `PUT /v1/calls/{telephonySessionId}/consent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentBody {
    /// Anything but [`consent::State::Unknown`].
    pub state: consent::State,
}

/// A listener that answers until it is dropped.
#[derive(Debug)]
pub(crate) struct ControlApi {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Api {
    control: Control,
    client: Arc<Client>,
    token: Token,
}

impl ControlApi {
    /// Answers requests that carry the token, until `shutdown`; those under way are still answered.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub(crate) async fn start(
        listen: SocketAddr,
        token: &str,
        control: Control,
        client: Arc<Client>,
        shutdown: CancellationToken,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let router = router(Api { control, client, token: Token::new(token) });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let serving =
                axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
            if let Err(error) = serving.await {
                error!(%error, "calls can't be controlled over http any more");
            }
        });
        info!(%address, "serving control of calls");
        Ok(Self { address, _tasks: tasks })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/calls", get(list))
        .route("/v1/calls/{call}", get(show))
        .route("/v1/calls/{call}/supervise", post(supervise))
        .route("/v1/calls/{call}/supervision", delete(stop))
        .route("/v1/calls/{call}/consent", put(learn))
        .fallback(async || {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "unknown_path",
                "there is no such path; see /v1/calls",
            )
        })
        .method_not_allowed_fallback(async || {
            let message = "the path does not take this method";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_LEN))
        // Outermost, so that a stranger learns nothing, not even which paths there are.
        .layer(from_fn_with_state(api.clone(), guard))
        .with_state(api)
}

async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    if !api.token.is_in(request.headers()) {
        return Refusal::unauthorized().into_response();
    }
    timeout(REQUEST_TIMEOUT, next.run(request)).await.unwrap_or_else(|_| {
        let message = "the request took too long; list the calls to see what became of it";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message).into_response()
    })
}

async fn list(State(api): State<Api>) -> Result<Json<Vec<CallView>>, Refusal> {
    Ok(Json(api.control.calls().await?))
}

async fn show(
    State(api): State<Api>,
    call: Result<Path<String>, PathRejection>,
) -> Result<Json<CallView>, Refusal> {
    let call = id(call)?;
    let calls = api.control.calls().await?;
    let found = calls.into_iter().find(|view| view.call_id.as_str() == call);
    found.map(Json).ok_or_else(Refusal::unknown_call)
}

async fn supervise(
    State(api): State<Api>,
    call: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Refusal> {
    let call = id(call)?;
    let wanted = "{\"agentExtensionNumber\": \"108\"} or {\"agentExtensionId\": \"62226587016\"}";
    let agent = match read(body, wanted)? {
        AgentRef::Id(agent) => digits(agent, "agentExtensionId")?,
        AgentRef::Number(number) => {
            let number = digits(number, "agentExtensionNumber")?;
            let found = api.client.extension_by_number(&number).await?;
            let missing = || {
                let message = "no extension of the account has this number; look it up in the \
                               admin portal, or give agentExtensionId";
                Refusal::new(StatusCode::NOT_FOUND, "unknown_extension", message)
            };
            found.ok_or_else(missing)?.id
        }
    };
    api.control.supervise(&call, &agent).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn stop(
    State(api): State<Api>,
    call: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Refusal> {
    known(api.control.stop(&id(call)?).await)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn learn(
    State(api): State<Api>,
    call: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Refusal> {
    let call = id(call)?;
    let wanted = "{\"state\": \"announced\"}, \"granted\" or \"refused\"";
    let ConsentBody { state } = read(body, wanted)?;
    if state == consent::State::Unknown {
        return Err(Refusal::bad_request(format!("send {wanted}")));
    }
    known(api.control.consent(&call, state).await)?;
    Ok(StatusCode::NO_CONTENT)
}

/// An id that can't be one names no call either.
fn known(done: Result<(), ControlError>) -> Result<(), Refusal> {
    done.map_err(|error| match error {
        ControlError::InvalidId(_) => Refusal::unknown_call(),
        other => other.into(),
    })
}

fn id(call: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    call.map(|Path(call)| call).map_err(|_| Refusal::unknown_call())
}

fn digits(text: String, what: &str) -> Result<String, Refusal> {
    let fits = (1..=MAX_ID_LEN).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    let refusal = || Refusal::bad_request(format!("{what} must be 1 to {MAX_ID_LEN} digits"));
    if fits { Ok(text) } else { Err(refusal()) }
}

fn read<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
    wanted: &str,
) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the body is longer than {MAX_BODY_LEN} bytes; send {wanted}");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", message)
        }
        _ => Refusal::bad_request("the body broke off; send the request again"),
    })?;
    serde_json::from_slice(&body).map_err(|_| Refusal::bad_request(format!("send {wanted}")))
}
