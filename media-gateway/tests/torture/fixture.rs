//! The messages as text files; `README.md` describes the notation.

use std::path::PathBuf;

/// All messages of a folder, `rfc4475` or `rfc5118`, by name in alphabetical order.
pub fn all(folder: &str) -> Vec<(String, Vec<u8>)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torture").join(folder);
    let entries = path.read_dir().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut messages: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            assert_eq!(path.extension().unwrap(), "sip", "{}", path.display());
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, decode(&std::fs::read_to_string(&path).unwrap()))
        })
        .collect();
    messages.sort();
    messages
}

/// The bytes that a fixture stands for: line feeds become CRLF, and `\xNN` the byte NN.
pub fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, escaped(after)) {
            (b'\n', _) => bytes.extend(b"\r\n"),
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => bytes.push(first),
        }
    }
    bytes
}

/// The byte of an escape, behind its backslash: `x0a`.
fn escaped(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"x")?.get(..2)?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[test]
fn escapes_are_bytes_and_line_feeds_are_crlf() {
    assert_eq!(decode("a\\\\x07\\x0d\\y\\x5cx41\n"), b"a\\\x07\r\\y\\x41\r\n");
}
