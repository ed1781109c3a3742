//! The login: one for the process, renewed in time, by one request however many wait for it.

use std::fmt;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tracing::{debug, warn};

use super::Error;
use super::model::id;
use super::rate_limit::Group;
use super::transport::{Authorization, Request, Transport, parse};

const TOKEN_PATH: &str = "/restapi/oauth/token";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A token is renewed when this share of its life is over.
const RENEW_AT: f64 = 0.8;

/// No token is trusted to live longer.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Between two attempts to renew a token that is still good.
const RENEWAL_RETRY: Duration = Duration::from_secs(30);

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

/// A good token, and whose it is.
pub(super) struct Access {
    pub(super) token: String,
    /// The extension id of the supervisor.
    pub(super) owner: String,
    /// The app's permissions, separated by spaces.
    pub(super) scope: String,
}

/// The auth session: at most five live at once for a user of an app, and the oldest is ended for a sixth. So it is kept
/// by refreshing it, and the JWT is presented again only when that fails.
#[derive(Debug)]
pub(super) struct Auth {
    credentials: Credentials,
    /// Held during a login: who comes meanwhile waits for its outcome.
    token: Mutex<Option<Token>>,
    /// How many auth sessions there have been.
    sessions: watch::Sender<u64>,
}

struct Token {
    access_token: String,
    owner: String,
    scope: String,
    renew_at: Instant,
    expires_at: Instant,
    refresh: Option<Refresh>,
}

struct Refresh {
    token: String,
    expires_at: Instant,
}

impl Auth {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, token: Mutex::new(None), sessions: watch::Sender::new(0) }
    }

    /// Changes whenever a new auth session has replaced the one before.
    pub(super) fn sessions(&self) -> watch::Receiver<u64> {
        self.sessions.subscribe()
    }

    /// A good token. `refused` is one that RingCentral does not take any longer: its session is over.
    pub(super) async fn access(
        &self,
        transport: &Transport,
        refused: Option<&str>,
    ) -> Result<Access, Error> {
        let mut current = self.token.lock().await;
        let now = Instant::now();
        if let Some(token) = current.as_mut()
            && Some(token.access_token.as_str()) != refused
        {
            if now < token.renew_at {
                return Ok(token.access());
            }
            match self.renew(transport, token, now).await {
                Ok(fresh) => *token = fresh,
                Err(error) if now < token.expires_at => {
                    warn!(%error, "could not renew the access token yet");
                    token.renew_at = now + RENEWAL_RETRY;
                }
                Err(error) => return Err(error),
            }
            return Ok(token.access());
        }
        let fresh = self.login(transport).await?;
        Ok(current.insert(fresh).access())
    }

    /// Ends the auth session, if there is one.
    pub(super) async fn revoke(&self, transport: &Transport) -> Result<(), Error> {
        let Some(token) = self.token.lock().await.take() else { return Ok(()) };
        let request = Request::new(Group::Auth, Method::POST, "/restapi/oauth/revoke")
            .form(vec![("token", token.access_token)]);
        transport.exchange(&request, Authorization::App(&self.credentials)).await.map(drop)
    }

    /// A new auth session.
    async fn login(&self, transport: &Transport) -> Result<Token, Error> {
        let assertion = self.credentials.jwt.clone();
        let form = vec![("grant_type", JWT_BEARER.to_owned()), ("assertion", assertion)];
        match self.grant(transport, form).await {
            Ok(token) => {
                debug!(owner = token.owner, "logged in");
                self.sessions.send_modify(|sessions| *sessions += 1);
                Ok(token)
            }
            Err(Error::Refused { status: 400 | 401 | 403, code, message, .. }) => {
                Err(Error::Login { code, message })
            }
            Err(error) => Err(error),
        }
    }

    /// The next token of the same auth session, if it can be had; else one of a new session.
    async fn renew(
        &self,
        transport: &Transport,
        token: &mut Token,
        now: Instant,
    ) -> Result<Token, Error> {
        if let Some(refresh) = token.refresh.as_ref().filter(|refresh| now < refresh.expires_at) {
            let form = vec![
                ("grant_type", "refresh_token".to_owned()),
                ("refresh_token", refresh.token.clone()),
            ];
            match self.grant(transport, form).await {
                Err(Error::Refused { status: 400 | 401 | 403, code, .. }) => {
                    debug!(code, "refresh token refused, logging in again");
                    token.refresh = None;
                }
                granted => return granted,
            }
        }
        self.login(transport).await
    }

    async fn grant(
        &self,
        transport: &Transport,
        form: Vec<(&'static str, String)>,
    ) -> Result<Token, Error> {
        #[derive(Deserialize)]
        struct Grant {
            access_token: String,
            expires_in: u64,
            refresh_token: Option<String>,
            #[serde(default)]
            refresh_token_expires_in: u64,
            #[serde(default, deserialize_with = "id")]
            owner_id: String,
            #[serde(default)]
            scope: String,
        }
        let request = Request::new(Group::Auth, Method::POST, TOKEN_PATH).form(form);
        let asked = Instant::now();
        let answer = transport.exchange(&request, Authorization::App(&self.credentials)).await?;
        let grant: Grant = parse(&request, &answer)?;
        let until = |seconds: u64| asked + Duration::from_secs(seconds).min(LONGEST_LIFE);
        let life = Duration::from_secs(grant.expires_in).min(LONGEST_LIFE);
        let refresh_expires_at = until(grant.refresh_token_expires_in);
        Ok(Token {
            access_token: grant.access_token,
            owner: grant.owner_id,
            scope: grant.scope,
            renew_at: asked + life.mul_f64(RENEW_AT),
            expires_at: asked + life,
            refresh: grant
                .refresh_token
                .map(|token| Refresh { token, expires_at: refresh_expires_at }),
        })
    }
}

impl Token {
    fn access(&self) -> Access {
        Access {
            token: self.access_token.clone(),
            owner: self.owner.clone(),
            scope: self.scope.clone(),
        }
    }
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
