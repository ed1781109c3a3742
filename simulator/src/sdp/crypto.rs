//! SDES keys (RFC 4568), for AES_CM_128_HMAC_SHA1_80.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// Master key and salt (RFC 3711 section 4.3).
const KEY_BYTES: usize = 16;
const MATERIAL_BYTES: usize = 30;

/// Master key and salt of one direction of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MasterKey([u8; MATERIAL_BYTES]);

/// An `a=crypto` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crypto {
    /// An answer has the tag of the line that it has chosen.
    pub(crate) tag: u32,
    /// For what the writer of the line sends.
    pub(crate) key: MasterKey,
}

impl MasterKey {
    /// A key from unpredictable bytes.
    pub(crate) fn new(material: [u8; MATERIAL_BYTES]) -> Self {
        Self(material)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.0[..KEY_BYTES]
    }

    pub(crate) fn salt(&self) -> &[u8] {
        &self.0[KEY_BYTES..]
    }
}

impl Crypto {
    /// Reads the value of the attribute; `None` for other suites, and for what is malformed.
    pub(super) fn read(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?.parse().ok()?;
        words.next().filter(|suite| suite.eq_ignore_ascii_case(SUITE))?;
        let material = words.next()?.strip_prefix("inline:")?.split('|').next()?;
        let material = BASE64.decode(material).ok()?.try_into().ok()?;
        Some(Self { tag, key: MasterKey(material) })
    }

    /// The value of the attribute.
    pub(super) fn value(&self) -> String {
        format!("{} {SUITE} inline:{}", self.tag, BASE64.encode(self.key.0))
    }
}

/// Keys do not show.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<key>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_it_is_written_and_the_key_does_not_show() {
        let line = Crypto { tag: 3, key: MasterKey::new(std::array::from_fn(|n| n as u8)) };
        assert_eq!(Crypto::read(&line.value()), Some(line));
        assert_eq!(Crypto::read(&format!("{}|2^31|1:1", line.value())), Some(line));
        assert_eq!((line.key.key().len(), line.key.salt().len()), (16, 14));
        assert_eq!(format!("{line:?}"), "Crypto { tag: 3, key: <key> }");
        for bad in [
            "",
            "x",
            "1 AES_CM_128_HMAC_SHA1_32 inline:AAAA",
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA",
        ] {
            assert_eq!(Crypto::read(bad), None, "{bad}");
        }
    }
}
