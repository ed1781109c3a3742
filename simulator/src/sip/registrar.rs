//! The registrar: digest authentication without qop, and the flow that INVITEs take back.

use super::Flow;
use super::message::{header, parameter, response_to, uri_in, user_of};
use crate::account::Account;
use rand::RngExt;
use rand::rngs::StdRng;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HeadersExt;
use rsip::services::DigestGenerator;
use rsip::{Header, Method, Request, Response, headers};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The longest registration that is granted, whatever was asked for: what RingCentral does.
pub(crate) const GRANTED_EXPIRES: Duration = Duration::from_secs(182);

/// How many nonces stay valid. When full, the oldest is forgotten, and a client that still uses
/// it is challenged again.
const NONCES_KEPT: usize = 64;

/// Where the supervisor's device can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The contact URI, as the device wrote it.
    pub(crate) contact: String,
    /// The way back to the device.
    pub(crate) flow: Flow,
    /// When the binding ends unless it is refreshed.
    pub(crate) expires_at: Instant,
}

/// Keeps the binding of the account's one device: the newest registration wins.
pub(crate) struct Registrar {
    account: Account,
    nonces: VecDeque<String>,
    binding: Option<Binding>,
}

impl Registrar {
    pub(crate) fn new(account: Account) -> Self {
        Self { account, nonces: VecDeque::new(), binding: None }
    }

    /// The device's binding, if it is registered now.
    pub(crate) fn binding(&self, now: Instant) -> Option<&Binding> {
        self.binding.as_ref().filter(|binding| binding.expires_at > now)
    }

    /// Drops the binding whose connection has closed.
    pub(crate) fn handle_flow_closed(&mut self, flow: &Flow) {
        if self.binding.as_ref().is_some_and(|binding| binding.flow == *flow) {
            self.binding = None;
        }
    }

    /// Whether a REGISTER is about the account's device.
    pub(crate) fn serves(&self, request: &Request) -> bool {
        let address_of_record = request.to_header().map(|to| uri_in(to.value())).unwrap_or("");
        user_of(address_of_record) == Some(self.account.sip_user_name.as_str())
    }

    /// Answers a REGISTER (RFC 3261 section 10.3).
    pub(crate) fn handle_register(
        &mut self,
        now: Instant,
        flow: Flow,
        request: &Request,
        rng: &mut StdRng,
    ) -> Response {
        let tag = format!("{:016x}", rng.random::<u64>());
        let respond = |status, extra| response_to(request, &flow, status, &tag, extra);
        if !self.serves(request) {
            return respond(404, vec![]);
        }
        if !self.is_authorized(request) {
            let challenge = self.challenge(rng);
            return respond(401, vec![challenge]);
        }
        let Some(contact) = header(request, "Contact") else {
            // A query: the answer lists the binding there is.
            let listed = self.binding(now).map(|binding| contact_header(binding, now));
            return respond(200, listed.into_iter().collect());
        };
        let asked = parameter(contact, "expires")
            .or_else(|| header(request, "Expires"))
            .map(str::parse::<u64>)
            .unwrap_or(Ok(3600));
        let Ok(asked) = asked else {
            return respond(400, vec![]);
        };
        if asked == 0 {
            self.binding = None;
            return respond(200, vec![]);
        }
        let binding = Binding {
            contact: uri_in(contact).to_owned(),
            flow,
            expires_at: now + GRANTED_EXPIRES.min(Duration::from_secs(asked)),
        };
        let listed = contact_header(&binding, now);
        self.binding = Some(binding);
        respond(200, vec![listed])
    }

    /// Whether the request carries the right digest for a nonce of ours (RFC 2069).
    fn is_authorized(&self, request: &Request) -> bool {
        let Some(authorization) = request.authorization_header() else { return false };
        let Ok(authorization) = authorization.typed() else { return false };
        self.nonces.contains(&authorization.nonce)
            && authorization.username == self.account.supervisor_device_id
            && authorization.realm == self.account.sip_domain
            && DigestGenerator::from(&authorization, &self.account.sip_password, &Method::Register)
                .verify(&authorization.response)
    }

    fn challenge(&mut self, rng: &mut StdRng) -> Header {
        let nonce = format!("{:032x}", rng.random::<u128>());
        if self.nonces.len() == NONCES_KEPT {
            self.nonces.pop_front();
        }
        self.nonces.push_back(nonce.clone());
        Header::WwwAuthenticate(headers::WwwAuthenticate::new(format!(
            "Digest realm=\"{}\", nonce=\"{nonce}\"",
            self.account.sip_domain
        )))
    }
}

fn contact_header(binding: &Binding, now: Instant) -> Header {
    let left = binding.expires_at.saturating_duration_since(now).as_secs();
    Header::Contact(headers::Contact::new(format!("<{}>;expires={left};q=0", binding.contact)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Channel;
    use rand::SeedableRng;
    use rsip::Uri;
    use rsip::headers::auth::Algorithm;

    fn flow() -> Flow {
        Flow {
            channel: Channel::Tcp(1),
            peer: "127.0.0.1:40000".parse().unwrap(),
            local: "127.0.0.1:5060".parse().unwrap(),
        }
    }

    fn digest(username: &str, realm: &str, password: &str, nonce: &str) -> String {
        let uri = Uri::try_from("sip:sip.ringcentral.com").unwrap();
        DigestGenerator {
            username,
            password,
            nonce,
            uri: &uri,
            realm,
            method: &Method::Register,
            qop: None,
            algorithm: Algorithm::Md5,
        }
        .compute()
    }

    fn register(authorization: &str, expires: &str) -> Request {
        let user = Account::demo().sip_user_name;
        format!(
            "REGISTER sip:sip.ringcentral.com SIP/2.0\r\n\
             Via: SIP/2.0/TCP 10.128.0.4:52152;rport;branch=z9hG4bK-1;alias\r\n\
             From: <sip:{user}@sip.ringcentral.com>;tag=1\r\n\
             To: <sip:{user}@sip.ringcentral.com>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\
             Contact: <sip:{user}@10.128.0.4:52152;transport=TCP;ob>;reg-id=1;\
             +sip.instance=\"<urn:uuid:2>\"\r\n{expires}{authorization}Content-Length: 0\r\n\r\n"
        )
        .try_into()
        .unwrap()
    }

    fn authorization(nonce: &str, password: &str) -> String {
        let account = Account::demo();
        let (username, realm) = (account.supervisor_device_id, account.sip_domain);
        let response = digest(&username, &realm, password, nonce);
        format!(
            "Authorization: Digest algorithm=MD5, username=\"{username}\", realm=\"{realm}\", \
             nonce=\"{nonce}\", uri=\"sip:sip.ringcentral.com\", response=\"{response}\"\r\n"
        )
    }

    struct Fixture {
        registrar: Registrar,
        rng: StdRng,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                registrar: Registrar::new(Account::demo()),
                rng: StdRng::seed_from_u64(1),
                now: Instant::now(),
            }
        }

        fn handle(&mut self, request: &Request) -> Response {
            self.registrar.handle_register(self.now, flow(), request, &mut self.rng)
        }

        fn nonce(&mut self) -> String {
            let response = self.handle(&register("", ""));
            assert_eq!(response.status_code.code(), 401);
            let challenge = response.www_authenticate_header().unwrap().value().to_owned();
            challenge.split("nonce=\"").nth(1).unwrap().trim_end_matches('"').to_owned()
        }
    }

    #[test]
    fn the_digest_follows_rfc_2069() {
        assert_eq!(
            digest("802512345678", "sip.ringcentral.com", "password", "Zm9vYmFyMTIzNDU2"),
            "7f869cb6fbc33df427eaf8350fa30deb"
        );
    }

    #[test]
    fn a_challenged_device_registers_for_a_shortened_time() {
        let mut fixture = Fixture::new();
        let nonce = fixture.nonce();
        let authorization = authorization(&nonce, &Account::demo().sip_password);
        let response = fixture.handle(&register(&authorization, "Expires: 3600\r\n"));
        assert_eq!(response.status_code.code(), 200);
        let contact = response.contact_header().unwrap().value();
        assert!(contact.contains(";transport=TCP;ob>;expires=182"), "{contact}");
        let now = fixture.now;
        assert_eq!(fixture.registrar.binding(now).unwrap().flow, flow());
        assert!(fixture.registrar.binding(now + GRANTED_EXPIRES).is_none());

        // The nonce may be used again, for a refresh and to unregister.
        let response = fixture.handle(&register(&authorization, "Expires: 0\r\n"));
        assert_eq!(response.status_code.code(), 200);
        assert!(fixture.registrar.binding(now).is_none());
    }

    #[test]
    fn wrong_credentials_are_challenged_again() {
        let mut fixture = Fixture::new();
        let nonce = fixture.nonce();
        for authorization in [
            authorization(&nonce, "wrong"),
            authorization("0123", &Account::demo().sip_password),
            "Authorization: Digest nonsense\r\n".to_owned(),
            "Authorization: \r\n".to_owned(),
        ] {
            let response = fixture.handle(&register(&authorization, ""));
            assert_eq!(response.status_code.code(), 401, "{authorization}");
        }
        assert!(fixture.registrar.binding(fixture.now).is_none());
    }

    #[test]
    fn a_closed_connection_ends_its_binding_only() {
        let mut fixture = Fixture::new();
        let nonce = fixture.nonce();
        let authorization = authorization(&nonce, &Account::demo().sip_password);
        fixture.handle(&register(&authorization, ""));
        let other = Flow { channel: Channel::Tcp(2), ..flow() };
        fixture.registrar.handle_flow_closed(&other);
        assert!(fixture.registrar.binding(fixture.now).is_some());
        fixture.registrar.handle_flow_closed(&flow());
        assert!(fixture.registrar.binding(fixture.now).is_none());
    }
}
