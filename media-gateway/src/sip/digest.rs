//! Digest authentication, client side: RFC 2069 (no qop), RFC 2617 (`qop=auth`), RFC 8760 (SHA-256).
//!
//! Not rsip's: it refuses `qop="auth,auth-int"`, knows no SHA-256, and writes the nonce count in decimal.

use md5::Digest as _;
use sha2::Digest as _;

/// A server's challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// Whether `auth` is among the offered qualities of protection.
    qop_auth: bool,
    /// Whether the last answer was right but its nonce too old.
    pub stale: bool,
}

/// The hash of a digest, the weaker one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Md5,
    Sha256,
}

/// A challenge that can't be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Not of the Digest scheme, or without realm or nonce.
    #[error("it is not a Digest one with realm and nonce")]
    NotDigest,
    /// An algorithm other than MD5 and SHA-256.
    #[error("it asks for the algorithm {0}; MD5 and SHA-256 are supported")]
    Algorithm(String),
    /// Body integrity protection only.
    #[error("it insists on qop {0}; auth and none are supported")]
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
    /// The one with the strongest algorithm among the values of WWW-Authenticate or Proxy-Authenticate headers; of
    /// equals the first, which the server prefers (RFC 8760 section 2.4).
    ///
    /// # Errors
    /// What is wrong with the first one, if none can be answered.
    pub fn strongest<'a>(values: impl Iterator<Item = &'a str>) -> Result<Self, ChallengeError> {
        let mut best: Result<Self, _> = Err(ChallengeError::NotDigest);
        for (index, challenge) in values.map(Self::parse).enumerate() {
            let is_better = match (&best, &challenge) {
                (Ok(best), Ok(challenge)) => challenge.algorithm > best.algorithm,
                (Err(_), Ok(_)) => true,
                (Err(_), Err(_)) => index == 0,
                (Ok(_), Err(_)) => false,
            };
            if is_better {
                best = challenge;
            }
        }
        best
    }

    /// Reads the value of a WWW-Authenticate or Proxy-Authenticate header.
    ///
    /// # Errors
    /// [`ChallengeError`] says what keeps it from being answered.
    pub fn parse(value: &str) -> Result<Self, ChallengeError> {
        let rest = value
            .trim()
            .split_at_checked("Digest".len())
            .filter(|(scheme, rest)| scheme.eq_ignore_ascii_case("Digest") && rest.starts_with(' '))
            .map(|(_, rest)| rest)
            .ok_or(ChallengeError::NotDigest)?;
        let text = |name: &str| {
            let mut found = parameters(rest).filter(|(key, _)| key.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| unquote(value))
        };
        let algorithm = match text("algorithm") {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(name) => return Err(ChallengeError::Algorithm(name)),
        };
        let qop = text("qop").unwrap_or_default();
        let qop_auth = qop.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth"));
        if !qop.trim().is_empty() && !qop_auth {
            return Err(ChallengeError::Qop(qop));
        }
        Ok(Self {
            realm: text("realm").ok_or(ChallengeError::NotDigest)?,
            nonce: text("nonce").ok_or(ChallengeError::NotDigest)?,
            opaque: text("opaque"),
            algorithm,
            qop_auth,
            stale: text("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The value of the Authorization or Proxy-Authorization header. `nonce_count` counts the requests with this
    /// challenge, from 1.
    pub fn answer(
        &self,
        credentials: Credentials<'_>,
        method: &str,
        uri: &str,
        nonce_count: u32,
        cnonce: &str,
    ) -> String {
        let Self { realm, nonce, algorithm, .. } = self;
        let Credentials { username, password } = credentials;
        let ha1 = algorithm.hex(&format!("{username}:{realm}:{password}"));
        let ha2 = algorithm.hex(&format!("{method}:{uri}"));
        let count = format!("{nonce_count:08x}");
        let response = if self.qop_auth {
            algorithm.hex(&format!("{ha1}:{nonce}:{count}:{cnonce}:auth:{ha2}"))
        } else {
            algorithm.hex(&format!("{ha1}:{nonce}:{ha2}"))
        };
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri=\"{uri}\", response=\"{response}\", algorithm={}",
            quote(username),
            quote(realm),
            quote(nonce),
            algorithm.name()
        );
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque={}", quote(opaque)));
        }
        if self.qop_auth {
            value.push_str(&format!(", qop=auth, nc={count}, cnonce=\"{cnonce}\""));
        }
        value
    }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// The lower-case hexadecimal hash of a text.
    fn hex(self, text: &str) -> String {
        let hash = match self {
            Algorithm::Md5 => md5::Md5::digest(text.as_bytes()).to_vec(),
            Algorithm::Sha256 => sha2::Sha256::digest(text.as_bytes()).to_vec(),
        };
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `key=value` pairs as written; values may be quoted and then hold commas.
fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    super::message::split_list(text).filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim(), value.trim()))
    })
}

/// What a quoted-string stands for (RFC 3261 section 25.1); a token stands for itself.
fn unquote(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut escaped = false;
    quoted
        .chars()
        .filter(|c| {
            escaped = *c == '\\' && !escaped;
            !escaped
        })
        .collect()
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 section 3.9.1.
    const MUFASA: Credentials<'_> = Credentials { username: "Mufasa", password: "Circle of Life" };

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
    fn rfc_7616_example_in_both_algorithms_the_stronger_one_preferred() {
        let offer = |algorithm: &str| {
            format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            )
        };
        let answer = |challenge: &Challenge| {
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            challenge.answer(MUFASA, "GET", "/dir/index.html", 1, cnonce)
        };
        let md5 = answer(&Challenge::parse(&offer("MD5")).unwrap());
        assert!(md5.contains(r#"response="8ca523f5e9506fed4657c9700eebdbec", algorithm=MD5"#));
        let sha256 = "response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\", \
                      algorithm=SHA-256";
        for order in [
            ["MD5", "SHA-512-256", "SHA-256"],
            ["SHA-256", "MD5", "nonsense"],
            ["AKAv1-MD5", "SHA-256", "MD5"],
        ] {
            let offers = order.map(offer);
            let strongest = Challenge::strongest(offers.iter().map(String::as_str)).unwrap();
            let answer = answer(&strongest);
            assert!(answer.contains(sha256), "{order:?}: {answer}");
        }
    }

    #[test]
    fn quotes_within_a_realm_are_hashed_bare_and_sent_escaped() {
        let challenge =
            Challenge::parse(r#"Digest realm="a \"b\", c\\", nonce="n", algorithm="md5""#).unwrap();
        assert_eq!(challenge.realm, r#"a "b", c\"#);
        let answer = challenge.answer(MUFASA, "REGISTER", "sip:x", 1, "c");
        assert!(answer.contains(r#"realm="a \"b\", c\\", nonce="n""#), "{answer}");
    }

    #[test]
    fn challenges_that_cannot_be_answered() {
        for (text, error) in [
            ("Basic realm=\"x\"", ChallengeError::NotDigest),
            ("Digest", ChallengeError::NotDigest),
            ("Digest realm=\"x\"", ChallengeError::NotDigest),
            (
                "Digest realm=\"x\", nonce=\"y\", algorithm=SHA-512-256",
                ChallengeError::Algorithm("SHA-512-256".into()),
            ),
            (
                "Digest realm=\"x\", nonce=\"y\", qop=\"auth-int\"",
                ChallengeError::Qop("auth-int".into()),
            ),
        ] {
            assert_eq!(Challenge::parse(text), Err(error.clone()), "{text}");
            assert_eq!(Challenge::strongest([text].into_iter()), Err(error), "{text}");
        }
        assert_eq!(Challenge::strongest([].into_iter()), Err(ChallengeError::NotDigest));
    }
}
