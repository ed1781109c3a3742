//! The paths, and the group of limits that each belongs to.

use super::gate::{Gate, pass};
use super::rate_limit::Group;
use super::{Cloud, directory, groups, notifications, oauth, telephony};
use crate::api_error::ApiError;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderValue;
use axum::middleware::{from_fn_with_state, map_response_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post, put};
use std::sync::atomic::Ordering;

/// The largest request body, in bytes; a supervise request has about a hundred.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The whole interface of one account.
pub(super) fn router(cloud: Cloud) -> Router {
    let limited = |group: Group, routes: Router<Cloud>| {
        routes.route_layer(from_fn_with_state(Gate { cloud: cloud.clone(), group }, pass))
    };
    let protected = Router::new()
        .merge(limited(Group::Light, light()))
        .merge(limited(Group::Medium, medium()))
        .merge(limited(Group::Heavy, heavy()))
        .route_layer(from_fn_with_state(cloud.clone(), oauth::require_token));
    let tokens = Router::new()
        .route("/restapi/oauth/token", post(oauth::token))
        .route("/restapi/oauth/revoke", post(oauth::revoke))
        .route("/restapi/oauth/wstoken", post(oauth::web_socket_token));
    Router::new()
        .merge(limited(Group::Auth, tokens))
        .merge(protected)
        .route("/ws", get(notifications::connect))
        .fallback(|| async { ApiError::NotFound("uri") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response_with_state(cloud.clone(), add_request_id))
        .with_state(cloud)
}

fn light() -> Router<Cloud> {
    const PARTY: &str = "/telephony/sessions/{session}/parties/{party}";
    below_account([
        ("/extension/{extension}", get(directory::extension)),
        ("/extension/{extension}/presence", get(telephony::presence)),
        ("/extension/{extension}/device", get(directory::devices)),
        ("/device/{device}", get(directory::device)),
        ("/device/{device}/sip-info", get(telephony::sip_info)),
        (
            "/telephony/sessions/{session}",
            get(telephony::session).delete(telephony::delete_session),
        ),
        ("/telephony/sessions/{session}/supervise", post(telephony::supervise_session)),
        (PARTY, get(telephony::party).delete(telephony::delete_party)),
        (&format!("{PARTY}/supervise"), post(telephony::supervise_party)),
    ])
}

fn medium() -> Router<Cloud> {
    below_account([
        ("/extension", get(directory::extensions)),
        ("/call-monitoring-groups", get(groups::list).post(groups::create)),
        ("/call-monitoring-groups/{group}", put(groups::rename).delete(groups::delete)),
        ("/call-monitoring-groups/{group}/members", get(groups::members)),
    ])
}

fn heavy() -> Router<Cloud> {
    below_account([
        ("/presence", get(directory::account_presence)),
        ("/active-calls", get(directory::active_calls)),
        ("/extension/{extension}/active-calls", get(directory::extension_active_calls)),
        ("/call-monitoring-groups/{group}/bulk-assign", post(groups::bulk_assign)),
    ])
}

fn below_account<const N: usize>(routes: [(&str, MethodRouter<Cloud>); N]) -> Router<Cloud> {
    routes.into_iter().fold(Router::new(), |router, (path, methods)| {
        router.route(&format!("/restapi/v1.0/account/~{path}"), methods)
    })
}

/// Every response names its request: what RingCentral's support asks for.
async fn add_request_id(State(cloud): State<Cloud>, mut response: Response) -> Response {
    let number = cloud.requests.fetch_add(1, Ordering::Relaxed);
    if let Ok(id) = HeaderValue::from_str(&format!("simulated-{number:08}")) {
        response.headers_mut().insert("rcrequestid", id);
    }
    response
}
