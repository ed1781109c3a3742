//! The auth sessions of the supervisor with the app, and their tokens. Pure: time and randomness are inputs.

use crate::api_error::ApiError;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long an access token is good for, unless set otherwise.
const ACCESS_LIFETIME: Duration = Duration::from_secs(7199);
/// How long a refresh token is good for.
const REFRESH_LIFETIME: Duration = Duration::from_secs(604_799);
/// How long a refresh may be repeated and gives the same tokens.
const REPEAT_LIMIT: Duration = Duration::from_secs(10);
/// How long the token of a notification connection is good for.
const WEB_SOCKET_LIFETIME: Duration = Duration::from_secs(30);
/// Sessions of one user with one app; when full, the oldest ends.
const MAX_SESSIONS: usize = 5;
/// Unused tokens of notification connections; when full, the oldest dies.
const MAX_WEB_SOCKET_TOKENS: usize = 64;

/// The number of an auth session.
pub(super) type SessionNumber = u64;

/// The auth sessions that are good now.
pub(super) struct Tokens {
    sessions: VecDeque<AuthSession>,
    web_socket_tokens: VecDeque<(String, SessionNumber, Instant)>,
    rng: StdRng,
    access_lifetime: Duration,
    gives_refresh_tokens: bool,
    /// How often the JWT was taken, and how often a refresh token.
    logins: u64,
    refreshes: u64,
}

/// What a grant gives.
pub(super) struct Granted {
    pub(super) access_token: String,
    pub(super) expires_in: Duration,
    pub(super) refresh: Option<(String, Duration)>,
}

/// A token for one notification connection.
pub(super) struct WebSocketToken {
    pub(super) token: String,
    pub(super) expires_in: Duration,
}

struct AuthSession {
    number: SessionNumber,
    access_token: String,
    expires_at: Instant,
    refresh: Option<(String, Instant)>,
    /// The refresh token before, and until when it may be presented again.
    spent: Option<(String, Instant)>,
}

impl Tokens {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            sessions: VecDeque::new(),
            web_socket_tokens: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
            access_lifetime: ACCESS_LIFETIME,
            gives_refresh_tokens: true,
            logins: 0,
            refreshes: 0,
        }
    }

    /// From now on: how long access tokens are good for, and whether the app has "Issue refresh tokens".
    pub(super) fn configure(&mut self, access_lifetime: Duration, gives_refresh_tokens: bool) {
        self.access_lifetime = access_lifetime;
        self.gives_refresh_tokens = gives_refresh_tokens;
    }

    /// Grants with the JWT and with refresh tokens since the start.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.logins, self.refreshes)
    }

    /// Opens a session.
    pub(super) fn grant(&mut self, now: Instant) -> Granted {
        self.logins += 1;
        if self.sessions.len() == MAX_SESSIONS {
            self.sessions.pop_front();
        }
        let session = self.session(self.logins, None, now);
        let granted = self.granted(&session, now);
        self.sessions.push_back(session);
        granted
    }

    /// Gives a session its next tokens: the ones before die at once.
    pub(super) fn refresh(&mut self, refresh_token: &str, now: Instant) -> Option<Granted> {
        let is = |token: &Option<(String, Instant)>| {
            token.as_ref().is_some_and(|(token, until)| token == refresh_token && now < *until)
        };
        if let Some(session) = self.sessions.iter().find(|session| is(&session.spent)) {
            return Some(self.granted(session, now));
        }
        let position = self.sessions.iter().position(|session| is(&session.refresh))?;
        self.refreshes += 1;
        let number = self.sessions[position].number;
        let spent = Some((refresh_token.to_owned(), now + REPEAT_LIMIT));
        let session = self.session(number, spent, now);
        let granted = self.granted(&session, now);
        self.sessions[position] = session;
        Some(granted)
    }

    /// Ends the session that a token belongs to.
    pub(super) fn revoke(&mut self, token: &str) {
        self.sessions.retain(|session| {
            let refresh = session.refresh.as_ref().map(|(token, _)| token.as_str());
            session.access_token != token && refresh != Some(token)
        });
    }

    /// Ends every session.
    pub(super) fn end_all(&mut self) {
        self.sessions.clear();
    }

    pub(super) fn check(&self, token: &str, now: Instant) -> Result<SessionNumber, ApiError> {
        match self.sessions.iter().find(|session| session.access_token == token) {
            None => Err(ApiError::UnknownToken),
            Some(session) if session.expires_at <= now => Err(ApiError::ExpiredToken),
            Some(session) => Ok(session.number),
        }
    }

    /// Whether a token of the account is presented: good for REST, or for one notification connection.
    pub(super) fn knows(&self, token: &str) -> bool {
        self.sessions.iter().any(|session| session.access_token == token)
            || self.web_socket_tokens.iter().any(|(issued, ..)| issued == token)
    }

    pub(super) fn is_live(&self, number: SessionNumber) -> bool {
        self.sessions.iter().any(|session| session.number == number)
    }

    pub(super) fn issue_web_socket_token(
        &mut self,
        access_token: &str,
        now: Instant,
    ) -> Result<WebSocketToken, ApiError> {
        let number = self.check(access_token, now)?;
        if self.web_socket_tokens.len() == MAX_WEB_SOCKET_TOKENS {
            self.web_socket_tokens.pop_front();
        }
        let token = format!("WS{:032x}", self.rng.random::<u128>());
        self.web_socket_tokens.push_back((token.clone(), number, now + WEB_SOCKET_LIFETIME));
        Ok(WebSocketToken { token, expires_in: WEB_SOCKET_LIFETIME })
    }

    /// Takes the token of a notification connection, which is good once.
    pub(super) fn redeem(&mut self, token: &str, now: Instant) -> Option<SessionNumber> {
        let position = self.web_socket_tokens.iter().position(|(issued, ..)| issued == token)?;
        let (_, number, expires_at) = self.web_socket_tokens.remove(position)?;
        (now < expires_at && self.is_live(number)).then_some(number)
    }

    fn session(
        &mut self,
        number: SessionNumber,
        spent: Option<(String, Instant)>,
        now: Instant,
    ) -> AuthSession {
        let access_token = format!("SIM{:032x}", self.rng.random::<u128>());
        let refresh = format!("REF{:032x}", self.rng.random::<u128>());
        AuthSession {
            number,
            access_token,
            expires_at: now + self.access_lifetime,
            refresh: self.gives_refresh_tokens.then_some((refresh, now + REFRESH_LIFETIME)),
            spent,
        }
    }

    fn granted(&self, session: &AuthSession, now: Instant) -> Granted {
        let left = |until: Instant| until.saturating_duration_since(now);
        Granted {
            access_token: session.access_token.clone(),
            expires_in: left(session.expires_at),
            refresh: session.refresh.as_ref().map(|(token, until)| (token.clone(), left(*until))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_expire_and_the_oldest_session_is_evicted() {
        let now = Instant::now();
        let mut tokens = Tokens::new(1);
        let first = tokens.grant(now).access_token;
        assert_eq!(tokens.check(&first, now), Ok(1));
        assert_eq!(tokens.check(&first, now + ACCESS_LIFETIME), Err(ApiError::ExpiredToken));
        for _ in 0..MAX_SESSIONS {
            tokens.grant(now);
        }
        assert_eq!(tokens.check(&first, now), Err(ApiError::UnknownToken));
    }

    #[test]
    fn a_refresh_keeps_the_session_and_ends_its_tokens() {
        let now = Instant::now();
        let mut tokens = Tokens::new(1);
        let first = tokens.grant(now);
        let (refresh_token, _) = first.refresh.unwrap();
        let second = tokens.refresh(&refresh_token, now).unwrap();
        assert_eq!(tokens.check(&first.access_token, now), Err(ApiError::UnknownToken));
        assert_eq!(tokens.check(&second.access_token, now), Ok(1));
        let repeated = tokens.refresh(&refresh_token, now + Duration::from_secs(9)).unwrap();
        assert_eq!(repeated.access_token, second.access_token);
        assert!(tokens.refresh(&refresh_token, now + REPEAT_LIMIT).is_none());
        tokens.revoke(&second.refresh.unwrap().0);
        assert_eq!(tokens.check(&second.access_token, now), Err(ApiError::UnknownToken));
    }

    #[test]
    fn a_connections_token_is_good_once_and_briefly() {
        let now = Instant::now();
        let mut tokens = Tokens::new(1);
        let access = tokens.grant(now).access_token;
        let issue =
            |tokens: &mut Tokens| tokens.issue_web_socket_token(&access, now).unwrap().token;
        let first = issue(&mut tokens);
        assert_eq!(tokens.redeem(&first, now), Some(1));
        assert_eq!(tokens.redeem(&first, now), None);
        let late = issue(&mut tokens);
        assert_eq!(tokens.redeem(&late, now + WEB_SOCKET_LIFETIME), None);
        let orphan = issue(&mut tokens);
        tokens.end_all();
        assert_eq!(tokens.redeem(&orphan, now), None);
    }
}
