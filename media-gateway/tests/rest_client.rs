//! The REST client against a server that refuses, limits and forgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use media_gateway::ringcentral::{Advice, Client, Credentials, Error, advise};
use serde_json::{Value, json};

#[derive(Default)]
struct Server {
    logins: AtomicU32,
    requests: AtomicU32,
}

type Shared = State<Arc<Server>>;

async fn token(
    State(server): Shared,
    headers: HeaderMap,
    Form(form): Form<Vec<(String, String)>>,
) -> Response {
    let authorization = headers["authorization"].to_str().unwrap();
    let assertion =
        form.iter().find(|(key, _)| key == "assertion").map(|(_, value)| value.as_str());
    // base64("id:secret")
    if authorization != "Basic aWQ6c2VjcmV0" || assertion != Some("jwt") {
        let error = json!({ "errorCode": "OAU-213", "message": "Token not found" });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let number = server.logins.fetch_add(1, Ordering::SeqCst) + 1;
    Json(json!({ "access_token": format!("token-{number}"), "expires_in": 3600, "owner_id": "809646016" }))
        .into_response()
}

/// Takes the second token only, as if the first had been revoked.
fn is_authorized(headers: &HeaderMap) -> bool {
    headers["authorization"] == "Bearer token-2"
}

async fn presence(State(server): Shared, headers: HeaderMap) -> Response {
    server.requests.fetch_add(1, Ordering::SeqCst);
    if !is_authorized(&headers) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "errorCode": "OAU-128" }))).into_response();
    }
    Json(json!({
        "extension": { "id": 62226587016u64 },
        "activeCalls": [{ "telephonyStatus": "CallConnected", "telephonySessionId": "s-1",
                          "partyId": 7, "startTime": "2019-03-26T22:16:29.629+0000" }],
    }))
    .into_response()
}

async fn session(State(server): Shared) -> Response {
    server.requests.fetch_add(1, Ordering::SeqCst);
    let limited = json!({ "errorCode": "CMN-301", "message": "Request rate exceeded" });
    (StatusCode::TOO_MANY_REQUESTS, [("Retry-After", "17")], Json(limited)).into_response()
}

async fn supervise(Json(body): Json<Value>) -> Response {
    assert_eq!(
        body,
        json!({ "mode": "Listen", "supervisorDeviceId": "802", "agentExtensionId": "622" })
    );
    let error = json!({
        "errorCode": "TAS-120", "message": "Can't find registered deviceId",
        "errors": [{ "parameterName": "supervisorDeviceId" }],
    });
    (StatusCode::BAD_REQUEST, [("RCRequestId", "abc-1")], Json(error)).into_response()
}

async fn start() -> (String, Arc<Server>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Arc::new(Server::default());
    let router = Router::new()
        .route("/restapi/oauth/token", post(token))
        .route("/restapi/v1.0/account/~/extension/{id}/presence", get(presence))
        .route("/restapi/v1.0/account/~/telephony/sessions/{id}", get(session))
        .route(
            "/restapi/v1.0/account/~/telephony/sessions/{id}/parties/{party}/supervise",
            post(supervise),
        )
        .route("/restapi/v1.0/account/~/device/{id}/sip-info", get(async || "<html>"))
        .with_state(server.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, server)
}

fn client(url: &str, jwt: &str) -> Client {
    let credentials =
        Credentials { client_id: "id".into(), client_secret: "secret".into(), jwt: jwt.into() };
    Client::new(url, credentials).unwrap()
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_kept() {
    let (url, server) = start().await;
    let client = client(&url, "jwt");
    for _ in 0..2 {
        let presence = client.presence("62226587016").await.unwrap();
        assert_eq!(presence.active_calls[0].telephony_session_id, "s-1");
    }
    assert_eq!(client.owner().await.unwrap(), "809646016");
    assert_eq!(server.logins.load(Ordering::SeqCst), 2);
    assert_eq!(server.requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_rate_limit_silences_every_request() {
    let (url, server) = start().await;
    let client = client(&url, "jwt");
    let limited = client.session("s-1").await.unwrap_err();
    assert!(
        matches!(limited, Error::RateLimited { retry_after } if retry_after == Duration::from_secs(17)),
        "{limited:?}"
    );
    let silenced = client.presence("62226587016").await.unwrap_err();
    assert!(matches!(silenced, Error::RateLimited { .. }), "{silenced:?}");
    assert_eq!(server.requests.load(Ordering::SeqCst), 1, "nothing is sent during the penalty");
}

#[tokio::test]
async fn errors_carry_what_support_asks_for() {
    let (url, _server) = start().await;
    let client = client(&url, "jwt");
    let error = client.supervise_party("s-1", "p-1-2", "802", Some("622")).await.unwrap_err();
    let text = error.to_string();
    for part in
        ["TAS-120", "Can't find registered deviceId", "abc-1", "400", "/parties/p-1-2/supervise"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(advise(&error), Advice::Reregister);
    let unreadable = client.sip_info("802").await.unwrap_err();
    assert!(matches!(unreadable, Error::Unreadable { .. }), "{unreadable:?}");
    let missing = client.delete_party("s-1", "../x").await.unwrap_err();
    assert!(missing.is_not_found(), "{missing:?}");
}

#[tokio::test]
async fn wrong_credentials_are_named() {
    let (url, _server) = start().await;
    let error = client(&url, "wrong").presence("1").await.unwrap_err();
    assert!(matches!(&error, Error::Login { code, .. } if code == "OAU-213"), "{error:?}");
    let nobody = client("http://127.0.0.1:9", "jwt").presence("1").await.unwrap_err();
    assert!(matches!(nobody, Error::Unreachable(_)), "{nobody:?}");
}
