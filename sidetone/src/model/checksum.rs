//! SHA-256 checksums, the ones that Git LFS names a file by.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Bytes read at once when a whole file is hashed.
const READ_SIZE: usize = 256 * 1024;

/// A SHA-256 checksum (FIPS 180-4), shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum([u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 checksum: 64 hexadecimal digits expected")]
pub struct ParseChecksumError;

impl Checksum {
    /// Reads 64 hexadecimal digits of either case; `None` for anything else.
    pub const fn from_hex(hex: &str) -> Option<Self> {
        let hex = hex.as_bytes();
        if hex.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        let mut index = 0;
        while index < bytes.len() {
            let (Some(high), Some(low)) = (digit(hex[2 * index]), digit(hex[2 * index + 1])) else {
                return None;
            };
            bytes[index] = high << 4 | low;
            index += 1;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Checksum {
    type Err = ParseChecksumError;

    fn from_str(hex: &str) -> Result<Self, Self::Err> {
        Self::from_hex(hex).ok_or(ParseChecksumError)
    }
}

/// A checksum in the making, with the number of bytes that went in.
#[derive(Clone, Default)]
pub(super) struct Hasher {
    state: Sha256,
    bytes: u64,
}

impl Hasher {
    /// Reads from where `file` stands to its end.
    pub(super) fn of_file(file: &mut File) -> io::Result<Self> {
        let mut hasher = Self::default();
        let mut buffer = vec![0; READ_SIZE];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hasher),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn finish(self) -> Checksum {
        Checksum(self.state.finalize().into())
    }
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1: the message "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn hashes_the_standard_example() {
        let mut hasher = Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.bytes(), 3);
        assert_eq!(hasher.finish().to_string(), ABC);
    }

    #[test]
    fn reads_either_case_and_nothing_else() {
        assert_eq!(Checksum::from_hex(ABC), Checksum::from_hex(&ABC.to_uppercase()));
        assert!(Checksum::from_hex(ABC).is_some());
        for wrong in ["", &ABC[1..], &format!("{ABC}0"), &ABC.replace('b', "g"), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Checksum>(), Err(ParseChecksumError), "{wrong}");
        }
    }
}
