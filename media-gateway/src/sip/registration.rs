//! Keeps one device registered (RFC 3261 section 10), over one flow at a time.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use uuid::Uuid;

use super::digest::{Challenge, Credentials};
use super::keepalive::KeepAlive;
use super::message::{HeaderValues, Response, bracketed_uri, parameter, request, split_list, via};
use super::registration_failure::RegistrationFailure;
use super::transaction::ClientTransaction;
use super::user_agent::token;
use super::{Flow, Transmit};

/// What is asked for; RingCentral grants about 180 s over TLS.
const REQUESTED_EXPIRY: Duration = Duration::from_secs(3600);

/// A registrar whose Min-Expires is longer than this is not followed.
const LONGEST_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// A registrar that answers nothing for this long is gone: registrations hang silently after idle hours.
pub(super) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Never refresh more often than this, whatever the registrar grants.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// Challenges answered in one attempt: the proxy's, the registrar's, and one stale nonce of each.
const MAX_CHALLENGES: u8 = 4;

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
    /// The `+sip.instance` (RFC 5626 section 4.1). The same after every restart, so that a new start takes over the
    /// slot of the one before.
    pub instance: Uuid,
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
    /// What is asked for: more than usual once the registrar has called that too brief.
    expiry: Duration,
    /// Answered unasked in every further request: first the registrar's, then a proxy's.
    challenges: [Option<Answering>; 2],
    binding: Option<Binding>,
}

/// A challenge, and how often its nonce was used.
#[derive(Debug)]
struct Answering {
    challenge: Challenge,
    count: u32,
}

/// Who challenges: the response code and the two headers of RFC 3261 section 22.
struct Challenger {
    code: u16,
    challenge: &'static str,
    answer: &'static str,
}

/// In the order of [`Registration::challenges`].
const CHALLENGERS: [Challenger; 2] = [
    Challenger { code: 401, challenge: "WWW-Authenticate", answer: "Authorization" },
    Challenger { code: 407, challenge: "Proxy-Authenticate", answer: "Proxy-Authorization" },
];

/// A flow that the device is, or is being, registered on.
#[derive(Debug)]
struct Binding {
    flow: Flow,
    local: SocketAddr,
    /// The REGISTER that waits for a final response.
    transaction: Option<ClientTransaction>,
    /// Of this attempt: whom it has answered already, and how many challenges in all.
    answered: [bool; 2],
    answers: u8,
    removing: bool,
    registered: bool,
    refresh: Option<Instant>,
    /// Runs while registered.
    keep_alive: Option<KeepAlive>,
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
        Self {
            account,
            call_id,
            tag,
            cseq: 0,
            expiry: REQUESTED_EXPIRY,
            challenges: [None, None],
            binding: None,
        }
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
        random: &mut StdRng,
        out: &mut VecDeque<Transmit>,
    ) {
        self.binding = Some(Binding {
            flow,
            local,
            transaction: None,
            answered: [false; 2],
            answers: 0,
            removing: false,
            registered: false,
            refresh: None,
            keep_alive: None,
        });
        self.send(now, random, out);
    }

    /// Asks the registrar to forget the device. `false` if there is nothing to forget.
    pub(super) fn stop(
        &mut self,
        now: Instant,
        random: &mut StdRng,
        out: &mut VecDeque<Transmit>,
    ) -> bool {
        let Some(binding) = &mut self.binding else { return false };
        // Also while the first REGISTER is under way: it may have arrived.
        binding.removing = true;
        (binding.answered, binding.answers) = ([false; 2], 0);
        self.send(now, random, out);
        true
    }

    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        response: &Response,
        random: &mut StdRng,
        out: &mut VecDeque<Transmit>,
    ) -> Option<Outcome> {
        let binding = self.binding.as_mut()?;
        let transaction = binding.transaction.as_mut()?;
        if response.branch() != Some(transaction.branch.as_str()) {
            return None;
        }
        if response.code < 200 {
            transaction.provisional();
            return None;
        }
        binding.transaction = None;
        let failure = match response.code {
            ..300 => return Some(self.granted(now, response, random)),
            401 | 407 => match self.challenged(response) {
                Ok(()) => {
                    self.send(now, random, out);
                    return None;
                }
                Err(failure) => failure,
            },
            423 if self.is_longer_asked(response) => {
                self.send(now, random, out);
                return None;
            }
            403 => RegistrationFailure::Forbidden,
            404 => RegistrationFailure::UnknownDevice,
            603 => RegistrationFailure::TooManyContacts,
            code => {
                RegistrationFailure::Status { code, retry_after: seconds(response, "Retry-After") }
            }
        };
        Some(self.fail(failure))
    }

    /// Something arrived on a flow; `is_pong`: nothing but a CRLF between messages.
    pub(super) fn handle_received(&mut self, flow: Flow, is_pong: bool) {
        let binding = self.binding.as_mut().filter(|binding| binding.flow == flow);
        if let Some(keep_alive) = binding.and_then(|binding| binding.keep_alive.as_mut()) {
            keep_alive.handle_received(is_pong);
        }
    }

    pub(super) fn handle_closed(&mut self, flow: Flow) -> Option<Outcome> {
        let ours = self.binding.as_ref().is_some_and(|binding| binding.flow == flow);
        ours.then(|| self.fail(RegistrationFailure::FlowClosed))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let binding = self.binding.as_ref()?;
        let keep_alive = binding.keep_alive.as_ref().map(KeepAlive::poll_timeout);
        let register = match &binding.transaction {
            Some(transaction) => Some(transaction.poll_timeout()),
            None => binding.refresh,
        };
        keep_alive.into_iter().chain(register).min()
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        random: &mut StdRng,
        out: &mut VecDeque<Transmit>,
    ) -> Option<Outcome> {
        let binding = self.binding.as_mut()?;
        if let Some(keep_alive) = &mut binding.keep_alive
            && !keep_alive.handle_timeout(now, random, out)
        {
            return Some(self.fail(RegistrationFailure::FlowDead));
        }
        if let Some(transaction) = &mut binding.transaction {
            let alive = transaction.handle_timeout(now, out);
            return (!alive).then(|| self.fail(RegistrationFailure::Timeout));
        }
        if binding.refresh.is_some_and(|at| at <= now) {
            self.send(now, random, out);
        }
        None
    }

    fn granted(&mut self, now: Instant, response: &Response, random: &mut StdRng) -> Outcome {
        let Some(binding) = self.binding.as_mut() else { return Outcome::Unregistered };
        (binding.answered, binding.answers) = ([false; 2], 0);
        if binding.removing {
            self.binding = None;
            return Outcome::Unregistered;
        }
        let ours = contact_uri(&self.account, binding.flow, binding.local);
        let granted = granted_expiry(response, &ours).unwrap_or(self.expiry);
        binding.registered = true;
        binding.refresh = Some(now + (granted / 2).max(SHORTEST_REFRESH));
        let flow_timer = seconds(response, "Flow-Timer");
        binding
            .keep_alive
            .get_or_insert_with(|| KeepAlive::new(now, binding.flow, flow_timer, random));
        Outcome::Registered(granted)
    }

    /// Takes note of a challenge, unless it says that the last answer was wrong.
    fn challenged(&mut self, response: &Response) -> Result<(), RegistrationFailure> {
        let Some(binding) = self.binding.as_mut() else { return Ok(()) };
        let from = CHALLENGERS.iter().position(|it| it.code == response.code).unwrap_or(0);
        let challenge = Challenge::strongest(response.values(CHALLENGERS[from].challenge))?;
        let is_wrong = binding.answered[from] && !challenge.stale;
        if is_wrong || binding.answers >= MAX_CHALLENGES {
            return Err(RegistrationFailure::Credentials(response.code));
        }
        binding.answered[from] = true;
        binding.answers += 1;
        self.challenges[from] = Some(Answering { challenge, count: 0 });
        Ok(())
    }

    /// Asks for what a 423 demands (RFC 3261 section 10.3). `false` if that makes no sense.
    fn is_longer_asked(&mut self, response: &Response) -> bool {
        let longer = seconds(response, "Min-Expires")
            .filter(|least| *least > self.expiry && *least <= LONGEST_EXPIRY);
        self.expiry = longer.unwrap_or(self.expiry);
        longer.is_some()
    }

    fn send(&mut self, now: Instant, random: &mut StdRng, out: &mut VecDeque<Transmit>) {
        let Some(binding) = self.binding.as_mut() else { return };
        self.cseq += 1;
        let Account { domain, user_name, authorization_id, password, instance } = &self.account;
        let uri = format!("sip:{domain}");
        let branch = format!("z9hG4bK{}", token(random));
        let address = format!("<sip:{user_name}@{domain}>");
        let expires = if binding.removing { 0 } else { self.expiry.as_secs() };
        let contact = format!(
            "<{}>;reg-id=1;+sip.instance=\"<{}>\"",
            contact_uri(&self.account, binding.flow, binding.local),
            instance.urn()
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
        for (challenger, answering) in CHALLENGERS.iter().zip(&mut self.challenges) {
            let Some(Answering { challenge, count }) = answering else { continue };
            *count += 1;
            let credentials = Credentials { username: authorization_id, password };
            let cnonce = token(random);
            let answer = challenge.answer(credentials, "REGISTER", &uri, *count, &cnonce);
            headers.push((challenger.answer, answer));
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

/// The value of a header that counts seconds; a comment or parameters may follow (RFC 3261 section 20.33).
fn seconds(response: &Response, name: &str) -> Option<Duration> {
    let value = response.value(name)?;
    let digits = value.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
