//! One address for several accounts: the credentials of a request say which of them it is about.

use super::{Cloud, oauth, routes};
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use std::sync::Arc;
use tower::ServiceExt;

/// One account's interface.
struct Door {
    cloud: Cloud,
    router: Router,
}

/// The interface of all accounts. What belongs to none is answered as by the first, which does not know it either.
pub(crate) fn front(clouds: &[Cloud]) -> Router {
    let door = |cloud: &Cloud| Door { cloud: cloud.clone(), router: routes::router(cloud.clone()) };
    let doors: Arc<[Door]> = clouds.iter().map(door).collect();
    Router::new().fallback(async move |request: Request| -> Response {
        let own = doors.iter().find(|door| door.opens_to(&request)).or(doors.first());
        match own.map(|door| door.router.clone()) {
            Some(router) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
            None => Response::default(),
        }
    })
}

impl Door {
    fn opens_to(&self, request: &Request) -> bool {
        let headers = request.headers();
        let is_app = oauth::client_id(headers)
            .is_some_and(|client| client == self.cloud.switchboard().account().client_id);
        let bearer = oauth::credentials(headers, "Bearer");
        // The token of a notification connection travels in its address.
        let query = request.uri().query().unwrap_or_default();
        let in_query = query.split('&').find_map(|pair| pair.strip_prefix("access_token="));
        let tokens = self.cloud.tokens();
        is_app || bearer.or(in_query).is_some_and(|token| tokens.knows(token))
    }
}
