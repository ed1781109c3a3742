//! `a=crypto` lines: the keys of SRTP in the SDP (SDES, RFC 4568).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// Length of the master key and the master salt together (RFC 4568 section 6.1).
const MATERIAL_LEN: usize = 16 + 14;

/// The longest MKI that RFC 4568 section 6.1 allows, in bytes.
const MAX_MKI_LEN: u8 = 128;

/// How packets are encrypted and authenticated (RFC 4568 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptoSuite {
    /// `AES_CM_128_HMAC_SHA1_80`: a tag of 10 bytes on each packet.
    HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: a tag of 4 bytes on RTP packets; those of RTCP keep 10.
    HmacSha1_32,
}

/// The master key and salt that one side protects its packets with. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    suite: CryptoSuite,
    material: [u8; MATERIAL_LEN],
    mki_len: u8,
}

/// An `a=crypto` line: a tag, which the answer repeats, and the key of the side that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CryptoLine {
    /// Names the line within its m-line, up to 9 digits.
    pub tag: u32,
    /// What the packets of the writer are protected with.
    pub key: MasterKey,
}

impl CryptoSuite {
    fn name(self) -> &'static str {
        match self {
            CryptoSuite::HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            CryptoSuite::HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    fn read(name: &str) -> Option<Self> {
        [CryptoSuite::HmacSha1_80, CryptoSuite::HmacSha1_32]
            .into_iter()
            .find(|suite| suite.name().eq_ignore_ascii_case(name))
    }
}

impl MasterKey {
    /// A key for `suite`; the 30 bytes have to be unpredictable.
    pub fn new(suite: CryptoSuite, random: [u8; MATERIAL_LEN]) -> Self {
        Self { suite, material: random, mki_len: 0 }
    }

    /// What it is used with.
    pub fn suite(&self) -> CryptoSuite {
        self.suite
    }

    /// The 16 bytes of the key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.material[..16]
    }

    /// The 14 bytes of the salt.
    pub(crate) fn salt(&self) -> &[u8] {
        &self.material[16..]
    }

    /// How many bytes before the tag of each packet name the key. There is one key, so what they say does not matter.
    pub(crate) fn mki_len(&self) -> usize {
        usize::from(self.mki_len)
    }

    /// `inline:<base64>[|<lifetime>][|<MKI>:<length>]`. The lifetime of 2^31 packets or more is longer than any call.
    fn read(text: &str) -> Option<(&str, u8)> {
        let text = text.strip_prefix("inline:")?;
        let mut parts = text.split('|');
        let material = parts.next()?;
        let mut mki_len = 0;
        for part in parts {
            if let Some((mki, length)) = part.split_once(':') {
                mki.parse::<u128>().ok()?;
                mki_len =
                    length.parse().ok().filter(|length| (1..=MAX_MKI_LEN).contains(length))?;
            } else {
                part.strip_prefix("2^").unwrap_or(part).parse::<u64>().ok()?;
            }
        }
        Some((material, mki_len))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl CryptoLine {
    /// Reads the value of the attribute; `None` for what is malformed or asks for something that is not supported: other
    /// suites, several keys, unencrypted or unauthenticated packets, key derivation rates.
    pub(super) fn read(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|tag| tag.len() <= 9)?.parse().ok()?;
        let suite = CryptoSuite::read(words.next()?)?;
        let (material, mki_len) = MasterKey::read(words.next()?)?;
        // What starts with `-` may be left out by who does not know it; the window size is a hint.
        if !words.all(|parameter| parameter.starts_with('-') || parameter.starts_with("WSH=")) {
            return None;
        }
        let engine = if material.ends_with('=') { STANDARD } else { STANDARD_NO_PAD };
        let material = engine.decode(material).ok()?.try_into().ok()?;
        Some(Self { tag, key: MasterKey { suite, material, mki_len } })
    }

    /// Our line in an offer of ours, with a key from 30 unpredictable bytes.
    pub fn offered(random: [u8; MATERIAL_LEN]) -> Self {
        Self { tag: 1, key: MasterKey::new(CryptoSuite::HmacSha1_80, random) }
    }

    /// Our line in the answer to this one: the same tag and suite, our own key from 30 unpredictable bytes.
    pub fn answered_with(&self, random: [u8; MATERIAL_LEN]) -> Self {
        Self { tag: self.tag, key: MasterKey::new(self.key.suite, random) }
    }

    /// The value of the attribute.
    pub(super) fn value(&self) -> String {
        let material = STANDARD.encode(self.key.material);
        format!("{} {} inline:{material}", self.tag, self.key.suite.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn a_line_reads_back_as_it_is_written() {
        let line = CryptoLine::read(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).unwrap();
        assert_eq!((line.tag, line.key.suite()), (1, CryptoSuite::HmacSha1_80));
        assert_eq!(line.key.key(), b"YS___semctl () {");
        assert_eq!(line.key.salt(), b"\t220;}\n}\nunles");
        assert_eq!(line.value(), format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"));
    }

    #[test]
    fn an_answer_has_the_tag_and_the_suite_and_another_key() {
        let line = CryptoLine::read(&format!("7 aes_cm_128_hmac_sha1_32 inline:{KEY}")).unwrap();
        let ours = line.answered_with([9; 30]);
        assert_eq!((ours.tag, ours.key.suite()), (7, CryptoSuite::HmacSha1_32));
        assert_ne!(ours.key, line.key);
        assert_eq!(CryptoLine::read(&ours.value()), Some(ours));
    }

    #[test]
    fn lifetimes_and_key_indices_are_read() {
        let mki = |suffix: &str| {
            let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{suffix}");
            CryptoLine::read(&line).map(|line| line.key.mki_len())
        };
        assert_eq!(mki("|2^31"), Some(0));
        assert_eq!(mki("|2147483648"), Some(0));
        assert_eq!(mki("|2^31|1:1"), Some(1));
        assert_eq!(mki("|1:4"), Some(4));
        assert_eq!(mki("|2^20|1:4 WSH=64"), Some(4));
        assert_eq!(mki(" -SOMETHING_NEW"), Some(0));
    }

    #[test]
    fn what_is_malformed_or_unsupported_is_not_taken() {
        for value in [
            String::new(),
            "1".into(),
            "1 AES_CM_128_HMAC_SHA1_80".into(),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("-1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 uri:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", &KEY[..36]),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}AAAA"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:????????????????????????????????????????".into(),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:0"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:129"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|soon"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=3"),
        ] {
            assert_eq!(CryptoLine::read(&value), None, "{value}");
        }
    }

    #[test]
    fn keys_do_not_show() {
        let line = CryptoLine { tag: 1, key: MasterKey::new(CryptoSuite::HmacSha1_80, [0xab; 30]) };
        let shown = format!("{line:?} {line:#?}");
        assert!(
            !shown.contains("171") && !shown.contains("ab, ") && !shown.contains("q6ur"),
            "{shown}"
        );
    }
}
