//! Keeps one device registered (RFC 3261 section 10), over one flow at a time.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::digest::{Challenge, ChallengeError, Credentials, md5_hex};
use super::message::{HeaderValues, Response, bracketed_uri, parameter, request, split_list, via};
use super::transaction::ClientTransaction;
use super::{Flow, Transmit};

/// What is asked for; RingCentral grants about 180 s over TLS.
const REQUESTED_EXPIRY: Duration = Duration::from_secs(3600);

/// A registrar that answers nothing for this long is gone: registrations hang silently after idle hours.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Never refresh more often than this, whatever the registrar grants.
const SHORTEST_REFRESH: Duration = Duration::from_secs(5);

/// The supervisor's device, as `sip-info` describes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Such as `sip.ringcentral.com`, without a port: it enters the digest.
    pub domain: String,
    /// Such as `18002097562*102`.
    pub user_name: String,
    /// The user name of the digest; equals the supervisor's device id.
    pub authorization_id: String,
    /// The SIP password.
    pub password: String,
}

/// Why the device is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationFailure {
    /// The registrar never answered.
    #[error("the registrar did not answer within {} s", TRANSACTION_TIMEOUT.as_secs())]
    Timeout,
    /// The credentials were refused.
    #[error("the registrar refused the credentials ({0}); check authorization_id and password")]
    Refused(u16),
    /// The challenge can't be answered.
    #[error("the registrar's challenge can't be answered: {0}")]
    Challenge(#[from] ChallengeError),
    /// Another final response, such as 503 or `603 Too Many Contacts`.
    #[error("the registrar answered {0}")]
    Status(u16),
    /// The flow that the registration was made on is closed.
    #[error("the connection to the registrar is closed")]
    FlowClosed,
}

/// What a registration tells its user agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The device is reachable for this long.
    Registered(Duration),
    /// The registrar has forgotten the device.
    Unregistered,
    /// Not registered; nothing further happens until a new start.
    Failed(RegistrationFailure),
}

/// The registration of one device.
#[derive(Debug)]
pub(super) struct Registration {
    account: Account,
    call_id: String,
    tag: String,
    cseq: u32,
    challenge: Option<(Challenge, u32)>,
    binding: Option<Binding>,
}

/// A flow that the device is, or is being, registered on.
#[derive(Debug)]
struct Binding {
    flow: Flow,
    local: SocketAddr,
    /// The REGISTER that waits for a final response.
    transaction: Option<ClientTransaction>,
    /// Whether that REGISTER has answered a challenge already.
    answered_challenge: bool,
    removing: bool,
    registered: bool,
    refresh: Option<Instant>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("domain", &self.domain)
            .field("authorization_id", &self.authorization_id)
            .finish_non_exhaustive()
    }
}

impl Registration {
    pub(super) fn new(account: Account, call_id: String, tag: String) -> Self {
        Self { account, call_id, tag, cseq: 0, challenge: None, binding: None }
    }

    /// The flow that the device is registered on.
    pub(super) fn flow(&self) -> Option<Flow> {
        self.binding.as_ref().filter(|binding| binding.registered).map(|binding| binding.flow)
    }

    /// Registers on a flow, and keeps it so.
    pub(super) fn start(
        &mut self,
        now: Instant,
        flow: Flow,
        local: SocketAddr,
        token: &str,
        out: &mut VecDeque<Transmit>,
    ) {
        self.binding = Some(Binding {
            flow,
            local,
            transaction: None,
            answered_challenge: false,
            removing: false,
            registered: false,
            refresh: None,
        });
        self.send(now, token, out);
    }

    /// Asks the registrar to forget the device. `false` if there is nothing to forget.
    pub(super) fn stop(&mut self, now: Instant, token: &str, out: &mut VecDeque<Transmit>) -> bool {
        match &mut self.binding {
            Some(binding) if binding.registered => binding.removing = true,
            _ => {
                self.binding = None;
                return false;
            }
        }
        self.send(now, token, out);
        true
    }

    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        response: &Response,
        token: &str,
        out: &mut VecDeque<Transmit>,
    ) -> Option<Outcome> {
        let binding = self.binding.as_mut()?;
        let transaction = binding.transaction.as_mut()?;
        if response.branch() != Some(transaction.branch.as_str()) {
            return None;
        }
        match response.code {
            ..200 => {
                transaction.provisional();
                None
            }
            200..300 => {
                binding.transaction = None;
                Some(self.granted(now, response))
            }
            401 | 407 => {
                binding.transaction = None;
                self.challenged(now, response, token, out)
            }
            403 => Some(self.fail(RegistrationFailure::Refused(403))),
            code => Some(self.fail(RegistrationFailure::Status(code))),
        }
    }

    pub(super) fn handle_closed(&mut self, flow: Flow) -> Option<Outcome> {
        let ours = self.binding.as_ref().is_some_and(|binding| binding.flow == flow);
        ours.then(|| self.fail(RegistrationFailure::FlowClosed))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let binding = self.binding.as_ref()?;
        match &binding.transaction {
            Some(transaction) => Some(transaction.poll_timeout()),
            None => binding.refresh,
        }
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        token: &str,
        out: &mut VecDeque<Transmit>,
    ) -> Option<Outcome> {
        let binding = self.binding.as_mut()?;
        if let Some(transaction) = &mut binding.transaction {
            let alive = transaction.handle_timeout(now, out);
            return (!alive).then(|| self.fail(RegistrationFailure::Timeout));
        }
        if binding.refresh.is_some_and(|at| at <= now) {
            self.send(now, token, out);
        }
        None
    }

    fn granted(&mut self, now: Instant, response: &Response) -> Outcome {
        let Some(binding) = self.binding.as_mut() else { return Outcome::Unregistered };
        binding.answered_challenge = false;
        if binding.removing {
            self.binding = None;
            return Outcome::Unregistered;
        }
        let ours = contact_uri(&self.account, binding.flow, binding.local);
        let granted = granted_expiry(response, &ours).unwrap_or(REQUESTED_EXPIRY);
        binding.registered = true;
        binding.refresh = Some(now + (granted / 2).max(SHORTEST_REFRESH));
        Outcome::Registered(granted)
    }

    fn challenged(
        &mut self,
        now: Instant,
        response: &Response,
        token: &str,
        out: &mut VecDeque<Transmit>,
    ) -> Option<Outcome> {
        let value = response
            .values("WWW-Authenticate")
            .chain(response.values("Proxy-Authenticate"))
            .map(Challenge::parse)
            .reduce(|best, next| if best.is_ok() { best } else { next })
            .unwrap_or(Err(ChallengeError::NotDigest));
        let challenge = match value {
            Ok(challenge) => challenge,
            Err(error) => return Some(self.fail(error.into())),
        };
        let binding = self.binding.as_mut()?;
        if binding.answered_challenge && !challenge.stale {
            return Some(self.fail(RegistrationFailure::Refused(response.code)));
        }
        binding.answered_challenge = true;
        self.challenge = Some((challenge, 0));
        self.send(now, token, out);
        None
    }

    fn send(&mut self, now: Instant, token: &str, out: &mut VecDeque<Transmit>) {
        let Some(binding) = self.binding.as_mut() else { return };
        self.cseq += 1;
        let Account { domain, user_name, authorization_id, password } = &self.account;
        let uri = format!("sip:{domain}");
        let branch = format!("z9hG4bK{token}");
        let address = format!("<sip:{user_name}@{domain}>");
        let expires = if binding.removing { 0 } else { REQUESTED_EXPIRY.as_secs() };
        let contact = format!(
            "<{}>;reg-id=1;+sip.instance=\"<urn:uuid:{}>\"",
            contact_uri(&self.account, binding.flow, binding.local),
            instance_id(authorization_id)
        );
        let mut headers = vec![
            ("Via", via(binding.flow, binding.local, &branch)),
            ("Max-Forwards", "70".to_owned()),
            ("From", format!("{address};tag={}", self.tag)),
            ("To", address.clone()),
            ("Call-ID", self.call_id.clone()),
            ("CSeq", format!("{} REGISTER", self.cseq)),
            ("Contact", contact),
            ("Expires", expires.to_string()),
            ("Allow", super::message::ALLOW.to_owned()),
            ("User-Agent", super::user_agent::USER_AGENT.to_owned()),
        ];
        if let Some((challenge, count)) = &mut self.challenge {
            *count += 1;
            let credentials = Credentials { username: authorization_id, password };
            let cnonce = md5_hex(token);
            let answer = challenge.answer(credentials, "REGISTER", &uri, *count, &cnonce);
            headers.push(("Authorization", answer));
        }
        let bytes = request("REGISTER", &uri, &headers);
        let flow = binding.flow;
        binding.transaction =
            Some(ClientTransaction::send(now, flow, branch, bytes, TRANSACTION_TIMEOUT, out));
    }

    fn fail(&mut self, failure: RegistrationFailure) -> Outcome {
        let removing = self.binding.take().is_some_and(|binding| binding.removing);
        if removing { Outcome::Unregistered } else { Outcome::Failed(failure) }
    }
}

/// The URI that requests for the device go to.
pub(super) fn contact_uri(account: &Account, flow: Flow, local: SocketAddr) -> String {
    let transport = flow.transport();
    format!("sip:{}@{local};transport={transport};ob", account.user_name)
}

/// The lifetime of our binding: of our Contact among those that are listed, else of the Expires header.
fn granted_expiry(response: &Response, ours: &str) -> Option<Duration> {
    let user_and_host = |uri: &str| uri.split(';').next().unwrap_or_default().to_ascii_lowercase();
    let of_contact = response
        .values("Contact")
        .flat_map(split_list)
        .filter(|contact| {
            bracketed_uri(contact).is_some_and(|uri| user_and_host(uri) == user_and_host(ours))
        })
        .find_map(|contact| parameter(contact, "expires"));
    let seconds = of_contact.or_else(|| response.value("Expires"))?;
    seconds.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

/// A stable `+sip.instance` (RFC 5626): the same device always registers as the same instance, so that a restart takes
/// over its own slot. A name-based UUID (RFC 9562 version 3) of the authorization id.
fn instance_id(authorization_id: &str) -> String {
    let hex = md5_hex(&format!("sidetone:{authorization_id}"));
    format!("{}-{}-3{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
