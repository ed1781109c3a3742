//! What every request has to satisfy, and what every response carries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::is_loopback;

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// The names under which this relay may be addressed.
///
/// A page on another site whose name its owner points at this machine (DNS rebinding) sends that name as Host; a page
/// that opens a WebSocket across sites sends its own as Origin. Neither gets in.
#[derive(Debug)]
pub(crate) struct Hosts {
    listen: IpAddr,
    public: Option<String>,
}

impl Hosts {
    /// `public` is the host, and the port if it is not the usual one, of the relay's public address, in lower case.
    pub(crate) fn new(listen: SocketAddr, public: Option<String>) -> Self {
        Self { listen: listen.ip(), public }
    }

    /// Says what is wrong with a request's addressing, if anything is.
    fn refusal(&self, headers: &HeaderMap) -> Option<&'static str> {
        let Some(host) = single(headers, header::HOST).filter(|host| self.is_ours(host)) else {
            return Some(
                "the Host header names neither this machine nor the relay's public_url: use the address that the relay printed, \
                 or set public_url\n",
            );
        };
        if !headers.contains_key(header::ORIGIN) {
            return None;
        }
        let origin = single(headers, header::ORIGIN).unwrap_or_default();
        let same_origin = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(|origin| origin == host || Some(origin) == self.public.as_deref());
        (!same_origin).then_some("pages of other sites may not talk to this relay\n")
    }

    fn is_ours(&self, host: &str) -> bool {
        if self.public.as_deref() == Some(host) {
            return true;
        }
        let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name == "localhost"
            || address.is_ok_and(|address| {
                is_loopback(address) || (address == self.listen && !address.is_unspecified())
            })
    }
}

/// Refuses requests that come under a foreign name or from a foreign page.
pub(super) async fn check(
    State(hosts): State<Arc<Hosts>>,
    request: Request,
    next: Next,
) -> Response {
    match hosts.refusal(request.headers()) {
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
        None => next.run(request).await,
    }
}

/// Forbids the browser everything that the pages do not need.
pub(super) async fn harden(mut response: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A header that occurs exactly once, in lower case.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.to_ascii_lowercase();
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let public = Some("captions.example.com".to_owned());
        let hosts = Hosts::new("10.0.0.5:8080".parse().unwrap(), public);
        hosts.refusal(&headers).is_some()
    }

    #[test]
    fn only_our_own_names_are_served() {
        for host in [
            "localhost:8080",
            "LocalHost",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "10.0.0.5:8080",
            "captions.example.com",
        ] {
            assert!(!refused(Some(host), None), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.6",
            "captions.example.com.evil.example",
            "user@localhost",
            "",
            "a b",
        ] {
            assert!(refused(Some(host), None), "{host}");
        }
        assert!(refused(None, None));
    }

    #[test]
    fn only_our_own_pages_may_connect() {
        let host = Some("127.0.0.1:8080");
        assert!(!refused(host, Some("http://127.0.0.1:8080")));
        assert!(!refused(host, Some("https://captions.example.com")));
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost:8080",
            "http://127.0.0.1:9",
            "file://",
        ] {
            assert!(refused(host, Some(origin)), "{origin}");
        }
    }

    #[test]
    fn a_header_that_comes_twice_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        let hosts = Hosts::new("127.0.0.1:80".parse().unwrap(), None);
        assert!(hosts.refusal(&headers).is_some());
    }
}
