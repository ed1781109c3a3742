//! The REST client: one login for the process, renewed in time, one retry on 401, silence on 429.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;

use super::Error;
use super::model::{Presence, Session, SipInfo, SupervisorParty, id};

/// No request of this API takes longer than this when it is well.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The wait after a 429 that does not say how long.
const DEFAULT_PENALTY: Duration = Duration::from_secs(60);

/// The token is renewed when this share of its life is over.
const RENEW_AT: f64 = 0.8;

/// An answer longer than this is not one of ours.
const MAX_ANSWER_LEN: usize = 4 * 1024 * 1024;

/// Who logs in.
#[derive(Clone)]
pub struct Credentials {
    /// Of the RingCentral app.
    pub client_id: String,
    /// Of the RingCentral app.
    pub client_secret: String,
    /// Of the supervisor.
    pub jwt: String,
}

/// RingCentral's REST API as one supervisor. Share it: every login counts against a small limit.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    server: String,
    credentials: Credentials,
    token: Mutex<Option<Token>>,
    /// Set by a 429. A request during the penalty would restart its clock, so none is sent.
    quiet_until: Mutex<Option<Instant>>,
}

struct Token {
    access_token: String,
    /// The extension that the token belongs to: the supervisor's.
    owner: String,
    renew_at: Instant,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for a server such as `https://platform.ringcentral.com`. Logs in when it first has to.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when TLS can't be set up: is a rustls provider installed?
    pub fn new(server: &str, credentials: Credentials) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("Sidetone/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::Unreachable)?;
        Ok(Self {
            http,
            server: server.trim_end_matches('/').to_owned(),
            credentials,
            token: Mutex::new(None),
            quiet_until: Mutex::new(None),
        })
    }

    /// The extension id of the supervisor, who owns the login.
    pub async fn owner(&self) -> Result<String, Error> {
        self.token(None).await.map(|(_, owner)| owner)
    }

    /// The calls of an extension.
    pub async fn presence(&self, extension: &str) -> Result<Presence, Error> {
        let path = format!(
            "/restapi/v1.0/account/~/extension/{extension}/presence\
             ?detailedTelephonyState=true&sipData=true"
        );
        self.json(Method::GET, &path, None).await
    }

    /// The parties of a call.
    pub async fn session(&self, session: &str) -> Result<Session, Error> {
        self.json(Method::GET, &session_path(session), None).await
    }

    /// One party of a call.
    pub async fn party(&self, session: &str, party: &str) -> Result<super::SessionParty, Error> {
        self.json(Method::GET, &party_path(session, party), None).await
    }

    /// Where and how a device registers.
    pub async fn sip_info(&self, device: &str) -> Result<SipInfo, Error> {
        let path = format!("/restapi/v1.0/account/~/device/{device}/sip-info");
        self.json(Method::GET, &path, None).await
    }

    /// Asks for one leg with everyone's voice.
    pub async fn supervise_session(
        &self,
        session: &str,
        device: &str,
        agent: &str,
    ) -> Result<SupervisorParty, Error> {
        let path = format!("{}/supervise", session_path(session));
        self.json(Method::POST, &path, Some(supervise_body(device, Some(agent)))).await
    }

    /// Asks for a leg with one party's voice. `agent` is the agent's extension, whoever the party is; a carrier's leg
    /// may refuse it.
    pub async fn supervise_party(
        &self,
        session: &str,
        party: &str,
        device: &str,
        agent: Option<&str>,
    ) -> Result<SupervisorParty, Error> {
        let path = format!("{}/supervise", party_path(session, party));
        self.json(Method::POST, &path, Some(supervise_body(device, agent))).await
    }

    /// Removes a supervisor's own party from a call. Never call this with anybody else's.
    pub async fn delete_party(&self, session: &str, party: &str) -> Result<(), Error> {
        self.send(Method::DELETE, &party_path(session, party), None).await.map(drop)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, Error> {
        let response = self.send(method, path, body).await?;
        let unreadable = |reason: String| Error::Unreadable { request: path.to_owned(), reason };
        let bytes = read(response).await.map_err(&unreadable)?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
    }

    /// Sends a request; a 401 is answered by one new login and one retry.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Response, Error> {
        let mut refused_token = None;
        loop {
            self.keep_quiet().await?;
            let (token, _) = self.token(refused_token.as_deref()).await?;
            let mut request = self
                .http
                .request(method.clone(), format!("{}{path}", self.server))
                .bearer_auth(&token);
            if let Some(body) = &body {
                request = request.json(body);
            }
            let response = request.send().await.map_err(Error::Unreachable)?;
            if response.status() == StatusCode::UNAUTHORIZED && refused_token.is_none() {
                debug!(path, "access token refused, logging in again");
                refused_token = Some(token);
                continue;
            }
            return self.check(path, response).await;
        }
    }

    /// A valid token and its owner. `refused` is one that RingCentral did not take any longer.
    async fn token(&self, refused: Option<&str>) -> Result<(String, String), Error> {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref()
            && Some(token.access_token.as_str()) != refused
            && Instant::now() < token.renew_at
        {
            return Ok((token.access_token.clone(), token.owner.clone()));
        }
        self.keep_quiet().await?;
        let fresh = self.login().await?;
        let answer = (fresh.access_token.clone(), fresh.owner.clone());
        *token = Some(fresh);
        Ok(answer)
    }

    /// The JWT grant. Presenting the JWT again is always valid, so refresh tokens are not used.
    async fn login(&self) -> Result<Token, Error> {
        #[derive(Deserialize)]
        struct Grant {
            access_token: String,
            expires_in: u64,
            #[serde(default, deserialize_with = "id")]
            owner_id: String,
        }
        let path = "/restapi/oauth/token";
        let response = self
            .http
            .post(format!("{}{path}", self.server))
            .basic_auth(&self.credentials.client_id, Some(&self.credentials.client_secret))
            .form(&[
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", &self.credentials.jwt),
            ])
            .send()
            .await
            .map_err(Error::Unreachable)?;
        let response = match self.check(path, response).await {
            Err(Error::Refused { status: 400 | 401 | 403, code, message, .. }) => {
                return Err(Error::Login { code, message });
            }
            checked => checked?,
        };
        let unreadable = |reason| Error::Unreadable { request: path.to_owned(), reason };
        let bytes = read(response).await.map_err(unreadable)?;
        let grant: Grant =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let life = Duration::from_secs(grant.expires_in.min(24 * 3600)).mul_f64(RENEW_AT);
        Ok(Token {
            access_token: grant.access_token,
            owner: grant.owner_id,
            renew_at: Instant::now() + life,
        })
    }

    async fn keep_quiet(&self) -> Result<(), Error> {
        match *self.quiet_until.lock().await {
            Some(until) if Instant::now() < until => {
                Err(Error::RateLimited { retry_after: until - Instant::now() })
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn check(&self, path: &str, response: Response) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let body = read(response).await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = text(&body, "/errorCode").or_else(|| text(&body, "/error")).unwrap_or_default();
        if status == StatusCode::TOO_MANY_REQUESTS || code == "CMN-301" {
            let retry_after = retry_after(&headers);
            *self.quiet_until.lock().await = Some(Instant::now() + retry_after);
            return Err(Error::RateLimited { retry_after });
        }
        Err(Error::Refused {
            request: path.split('?').next().unwrap_or(path).to_owned(),
            status: status.as_u16(),
            code,
            message: text(&body, "/message")
                .or_else(|| text(&body, "/error_description"))
                .unwrap_or_default(),
            parameter: text(&body, "/errors/0/parameterName").unwrap_or_default(),
            request_id: headers
                .get("RCRequestId")
                .and_then(|id| id.to_str().ok())
                .unwrap_or("none")
                .to_owned(),
        })
    }
}

fn session_path(session: &str) -> String {
    format!("/restapi/v1.0/account/~/telephony/sessions/{}", path_segment(session))
}

fn party_path(session: &str, party: &str) -> String {
    format!("{}/parties/{}", session_path(session), path_segment(party))
}

/// Ids come from the network: what is not unreserved (RFC 3986) is percent-encoded.
fn path_segment(id: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    id.bytes().map(encode).collect()
}

fn supervise_body(device: &str, agent: Option<&str>) -> Value {
    let mut body = json!({ "mode": "Listen", "supervisorDeviceId": device });
    if let Some(agent) = agent {
        body["agentExtensionId"] = agent.into();
    }
    body
}

async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
        if bytes.len() + chunk.len() > MAX_ANSWER_LEN {
            return Err(format!("longer than {MAX_ANSWER_LEN} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn text(body: &Value, pointer: &str) -> Option<String> {
    body.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(DEFAULT_PENALTY, Duration::from_secs).min(Duration::from_secs(3600))
}
