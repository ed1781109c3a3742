//! The pages, embedded in the binary.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::content;

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

pub(super) async fn index() -> Response {
    content("text/html; charset=utf-8", include_str!("../../pages/index.html"))
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match name.as_str() {
        "captions.css" => {
            content("text/css; charset=utf-8", include_str!("../../pages/captions.css"))
        }
        "captions.js" => content(JAVASCRIPT, include_str!("../../pages/captions.js")),
        "connection.js" => content(JAVASCRIPT, include_str!("../../pages/connection.js")),
        "calls.js" => content(JAVASCRIPT, include_str!("../../pages/calls.js")),
        "follow.js" => content(JAVASCRIPT, include_str!("../../pages/follow.js")),
        "format.js" => content(JAVASCRIPT, include_str!("../../pages/format.js")),
        "transcript.js" => content(JAVASCRIPT, include_str!("../../pages/transcript.js")),
        "favicon.svg" => content("image/svg+xml", include_str!("../../pages/favicon.svg")),
        _ => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
    }
}
