//! The server that models are pulled from, spoken to over HTTP.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName, LOCATION, RANGE,
};
use reqwest::{Client, Response, StatusCode, Url};

use super::catalogue::ModelName;
use super::checksum::Checksum;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the server may send nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Redirects followed for one request; Hugging Face answers with one or two.
const MAX_REDIRECTS: usize = 8;

/// The SHA-256 that Git LFS keeps the file under: Hugging Face sends it with the redirect to the file's storage.
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");

/// The file's length in bytes, sent with [`LINKED_ETAG`].
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");

/// A folder on a web server that holds models as `ggml-NAME.bin`.
#[derive(Debug, Clone)]
pub struct Source {
    client: Client,
    base: Url,
}

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address is not one of a folder on a web server.
    #[error("\"{}\" is not an address to pull models from: {why}", .address.escape_debug())]
    BadAddress {
        /// The address as it was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up, mostly because the system has no root certificates.
    #[error("cannot set up TLS: {0}; install the package ca-certificates")]
    Tls(reqwest::Error),
}

impl Source {
    /// A source at an `http` or `https` address.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn new(address: &str) -> Result<Self, SourceError> {
        let bad = |why: &str| SourceError::BadAddress { address: address.into(), why: why.into() };
        let mut base = Url::parse(address).map_err(|error| bad(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(bad("it has to begin with https:// or http://"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("it has to end in the path of a folder"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }

        // Whoever started the process may have installed a provider before, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("sidetone/", env!("CARGO_PKG_VERSION")))
            // Redirects are followed here, because their headers are needed.
            .redirect(reqwest::redirect::Policy::none());
        // No proxy reaches what listens on this machine only.
        let client = if is_loopback(&base) { client.no_proxy() } else { client };
        Ok(Self { client: client.build().map_err(SourceError::Tls)?, base })
    }

    /// The address of a model's file.
    pub fn url(&self, name: &ModelName) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path(), name.file_name()));
        url
    }

    /// The server's name, for messages.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Asks for a model's file from byte `from` on.
    pub(super) async fn get(&self, name: &ModelName, from: u64) -> Result<Answer, GetError> {
        let mut url = self.url(name);
        let mut announced = Announced::default();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = request
                .send()
                .await
                .map_err(|error| GetError::Unreachable { why: root_cause(&error) })?;
            // Only the source itself can be taken at its word, and only on a line that nobody can write to.
            if url.origin() == self.base.origin() && (url.scheme() == "https" || is_loopback(&url))
            {
                announced.read(response.headers());
            }
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                url = redirected(&url, response.headers())
                    .map_err(|why| GetError::BadRedirect { url: url.clone(), why })?;
                continue;
            }
            return Answer::new(url, from, announced, response);
        }
        Err(GetError::BadRedirect { url, why: format!("more than {MAX_REDIRECTS} redirects") })
    }
}

/// What a source says of a file's content.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Announced {
    pub(super) sha256: Option<Checksum>,
    pub(super) bytes: Option<u64>,
}

impl Announced {
    /// The first answer that says anything counts.
    fn read(&mut self, headers: &HeaderMap) {
        if self.sha256.is_some() {
            return;
        }
        let etag = text(headers, LINKED_ETAG).map(|etag| etag.trim_matches('"'));
        if let Some(sha256) = etag.and_then(Checksum::from_hex) {
            self.sha256 = Some(sha256);
            self.bytes = text(headers, LINKED_SIZE).and_then(|size| size.parse().ok());
        }
    }
}

/// The server's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) announced: Announced,
    /// The whole file's length, where the server says it.
    pub(super) bytes: Option<u64>,
    pub(super) part: Part,
}

/// Which part of the file follows.
#[derive(Debug)]
pub(super) enum Part {
    /// The file from this byte on.
    From(u64, Response),
    /// None: the file is no longer than the byte that was asked for.
    None,
}

/// Why there is no answer to go on with.
#[derive(Debug)]
pub(super) enum GetError {
    /// Worth another try.
    Unreachable { why: String },
    /// The server has no such file.
    NotFound { url: Url },
    /// The server will not give it.
    Refused { url: Url, status: StatusCode },
    /// The server sends us to where we will not go.
    BadRedirect { url: Url, why: String },
}

impl Answer {
    fn new(
        url: Url,
        from: u64,
        announced: Announced,
        response: Response,
    ) -> Result<Self, GetError> {
        let headers = response.headers();
        match response.status() {
            StatusCode::OK => {
                let bytes = text(headers, CONTENT_LENGTH).and_then(|length| length.parse().ok());
                Ok(Self { announced, bytes, part: Part::From(0, response) })
            }
            StatusCode::PARTIAL_CONTENT => match text(headers, CONTENT_RANGE).and_then(range) {
                Some((start, bytes)) if start == from => {
                    Ok(Self { announced, bytes, part: Part::From(from, response) })
                }
                _ => Err(GetError::Unreachable {
                    why: "the server sent another part than the one asked for".into(),
                }),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => {
                Ok(Self { announced, bytes: None, part: Part::None })
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(GetError::NotFound { url }),
            status
                if status.is_server_error()
                    || status == StatusCode::REQUEST_TIMEOUT
                    || status == StatusCode::TOO_MANY_REQUESTS =>
            {
                Err(GetError::Unreachable { why: format!("the server answers {status}") })
            }
            status => Err(GetError::Refused { url, status }),
        }
    }
}

/// The innermost reason of a network error; the outer ones only repeat the address.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Where a redirect leads: never from `https` to `http`.
fn redirected(from: &Url, headers: &HeaderMap) -> Result<Url, String> {
    let location = text(headers, LOCATION).ok_or("a redirect to nowhere")?;
    let to = from.join(location).map_err(|error| format!("a redirect to no address: {error}"))?;
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(to),
        _ => Err("a redirect away from https".into()),
    }
}

/// The first byte and the whole length from `bytes FIRST-LAST/LENGTH` (RFC 9110, section 14.4).
fn range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, length) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, length.trim().parse().ok()))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_in_the_folder_of_the_source() {
        let name = "base.en".parse().unwrap();
        for address in ["https://example.com/models", "https://example.com/models/"] {
            let url = Source::new(address).unwrap().url(&name);
            assert_eq!(url.as_str(), "https://example.com/models/ggml-base.en.bin");
        }
        let url = Source::new("http://localhost:1").unwrap().url(&name);
        assert_eq!(url.as_str(), "http://localhost:1/ggml-base.en.bin");
    }

    #[test]
    fn an_address_that_is_no_folder_is_refused() {
        for address in ["", "example.com", "ftp://example.com", "file:///a", "https://e.com/?a=b"] {
            let result = Source::new(address);
            assert!(matches!(result, Err(SourceError::BadAddress { .. })), "{address}");
        }
    }

    #[test]
    fn a_redirect_never_leaves_https() {
        let to = |from: &str, location: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            redirected(&Url::parse(from).unwrap(), &headers).map(String::from)
        };
        assert_eq!(to("https://a/b/c", "/d"), Ok("https://a/d".into()));
        assert_eq!(to("https://a/b", "https://c/d"), Ok("https://c/d".into()));
        assert_eq!(to("http://a/b", "http://c/d"), Ok("http://c/d".into()));
        assert!(to("https://a/b", "http://a/b").is_err());
        assert!(to("http://a/b", "file:///etc/passwd").is_err());
        assert!(redirected(&Url::parse("http://a").unwrap(), &HeaderMap::new()).is_err());
    }

    #[test]
    fn reads_content_ranges() {
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["", "bytes */10", "bytes 5-9", "bytes -5/10", "lines 5-9/10", "bytes a-b/c"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn knows_this_machine() {
        for (url, loopback) in [
            ("http://localhost:1/", true),
            ("http://127.0.0.1/", true),
            ("http://[::1]:1/", true),
            ("http://127.0.0.1.example.com/", false),
            ("http://192.168.0.1/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), loopback, "{url}");
        }
    }
}
