//! The bearer token, compared in a time that tells nothing about it.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

/// Of the configured token, its hash: the comparison takes as long for a near miss as for anything else.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether a request carries it.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, token)) = value.to_str().ok().and_then(|it| it.split_once(' ')) else {
            return false;
        };
        let given: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
        let difference =
            self.0.iter().zip(given).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
        scheme.eq_ignore_ascii_case("bearer") && difference == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let token = Token::new("a-long-secret");
        for (value, opens) in [
            ("Bearer a-long-secret", true),
            ("bearer  a-long-secret", true),
            ("Bearer a-long-secre", false),
            ("Bearer a-long-secret2", false),
            ("Basic a-long-secret", false),
            ("a-long-secret", false),
            ("Bearer ", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            assert_eq!(token.is_in(&headers), opens, "{value}");
            headers.append(AUTHORIZATION, value.parse().unwrap());
            assert!(!token.is_in(&headers), "twice {value}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
    }
}
