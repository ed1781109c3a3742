//! Digest authentication (RFC 2069, RFC 2617), client side.
//!
//! Not rsip's: it refuses `qop="auth,auth-int"` and writes the nonce count in decimal.

use md5::{Digest as _, Md5};

/// A server's challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// Whether `auth` is among the offered qualities of protection.
    qop_auth: bool,
    /// Whether the last answer was right but its nonce too old.
    pub stale: bool,
}

/// A challenge that can't be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Not of the Digest scheme, or without realm or nonce.
    #[error("the challenge is not a Digest one with realm and nonce")]
    NotDigest,
    /// An algorithm other than MD5.
    #[error("the server asks for the digest algorithm {0}; only MD5 is supported")]
    Algorithm(String),
    /// Body integrity protection only.
    #[error("the server insists on qop {0}; only auth is supported")]
    Qop(String),
}

/// Who answers a challenge.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// RingCentral's `authorizationId`, not the SIP user name.
    pub username: &'a str,
    /// The SIP password.
    pub password: &'a str,
}

impl Challenge {
    /// Reads the value of a WWW-Authenticate or Proxy-Authenticate header.
    pub fn parse(value: &str) -> Result<Self, ChallengeError> {
        let rest = value
            .trim()
            .split_at_checked("Digest".len())
            .filter(|(scheme, rest)| scheme.eq_ignore_ascii_case("Digest") && rest.starts_with(' '))
            .map(|(_, rest)| rest)
            .ok_or(ChallengeError::NotDigest)?;
        let get = |name: &str| parameters(rest).find(|(key, _)| key.eq_ignore_ascii_case(name));
        let text = |name: &str| get(name).map(|(_, value)| value.to_owned());
        let algorithm = text("algorithm").unwrap_or_else(|| "MD5".to_owned());
        if !algorithm.eq_ignore_ascii_case("MD5") {
            return Err(ChallengeError::Algorithm(algorithm));
        }
        let qop = text("qop").unwrap_or_default();
        let qop_auth = qop.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth"));
        if !qop.trim().is_empty() && !qop_auth {
            return Err(ChallengeError::Qop(qop));
        }
        Ok(Self {
            realm: text("realm").ok_or(ChallengeError::NotDigest)?,
            nonce: text("nonce").ok_or(ChallengeError::NotDigest)?,
            opaque: text("opaque"),
            qop_auth,
            stale: text("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The value of the Authorization header. `nonce_count` counts the requests with this challenge, from 1.
    pub fn answer(
        &self,
        credentials: Credentials<'_>,
        method: &str,
        uri: &str,
        nonce_count: u32,
        cnonce: &str,
    ) -> String {
        let Self { realm, nonce, .. } = self;
        let Credentials { username, password } = credentials;
        let ha1 = md5_hex(&format!("{username}:{realm}:{password}"));
        let ha2 = md5_hex(&format!("{method}:{uri}"));
        let count = format!("{nonce_count:08x}");
        let response = if self.qop_auth {
            md5_hex(&format!("{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}"))
        } else {
            md5_hex(&format!("{ha1}:{nonce}:{ha2}"))
        };
        let mut value = format!(
            "Digest username=\"{username}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5"
        );
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        if self.qop_auth {
            value.push_str(&format!(", qop=auth, nc={count}, cnonce=\"{cnonce}\""));
        }
        value
    }
}

/// The lower-case hexadecimal MD5 of a text.
pub(super) fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `key=value` pairs; values may be quoted and then hold commas.
fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    super::message::split_list(text).filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim(), value.trim().trim_matches('"')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ringcentrals_challenge_without_qop() {
        let challenge =
            Challenge::parse(r#"Digest realm="sip.ringcentral.com", nonce="Zm9vYmFyMTIzNDU2""#)
                .unwrap();
        let credentials = Credentials { username: "802512345678", password: "password" };
        let answer = challenge.answer(credentials, "REGISTER", "sip:sip.ringcentral.com", 1, "x");
        assert!(answer.contains(r#"response="7f869cb6fbc33df427eaf8350fa30deb""#), "{answer}");
        assert!(!answer.contains("qop"), "{answer}");
    }

    #[test]
    fn rfc_2617_example_with_qop_auth() {
        let challenge = Challenge::parse(
            "digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        )
        .unwrap();
        let credentials = Credentials { username: "Mufasa", password: "Circle Of Life" };
        let answer = challenge.answer(credentials, "GET", "/dir/index.html", 1, "0a4f113b");
        assert!(answer.contains(r#"response="6629fae49393a05397450978507c4ef1""#), "{answer}");
        assert!(answer.contains("qop=auth, nc=00000001, cnonce=\"0a4f113b\""), "{answer}");
        assert!(challenge.answer(credentials, "GET", "/", 10, "c").contains("nc=0000000a"));
    }

    #[test]
    fn challenges_that_cannot_be_answered() {
        for (text, error) in [
            ("Basic realm=\"x\"", ChallengeError::NotDigest),
            ("Digest", ChallengeError::NotDigest),
            ("Digest realm=\"x\"", ChallengeError::NotDigest),
            (
                "Digest realm=\"x\", nonce=\"y\", algorithm=SHA-256",
                ChallengeError::Algorithm("SHA-256".into()),
            ),
            (
                "Digest realm=\"x\", nonce=\"y\", qop=\"auth-int\"",
                ChallengeError::Qop("auth-int".into()),
            ),
        ] {
            assert_eq!(Challenge::parse(text), Err(error), "{text}");
        }
    }
}
