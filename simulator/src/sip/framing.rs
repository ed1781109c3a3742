//! From bytes to SIP messages: framing, limits, and the spelling that the parser behind needs.
//!
//! The parser knows neither compact header names, nor folded lines, nor bare line feeds, and does
//! not look at Content-Length. This module does, in front of it (RFC 3261 sections 7.3 and 18.3).

use bytes::{Buf, BytesMut};
use rsip::SipMessage;
use thiserror::Error;

/// The longest start line and headers of a message, in bytes.
pub(crate) const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The longest body of a message, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Why bytes are not a SIP message.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum FramingError {
    /// The headers or the body exceed their limit.
    #[error("the message is larger than the limit")]
    TooLarge,
    /// Content-Length is missing on a stream, is no number, or is given twice with two values.
    #[error("the content length is missing or contradictory")]
    ContentLength,
    /// The bytes end before the body does, or hold no complete headers.
    #[error("the message is truncated")]
    Truncated,
    /// The start line or a header is not SIP.
    #[error("not a SIP message: {0}")]
    Malformed(String),
}

/// Cuts the byte stream of a connection into messages.
///
/// The buffer holds at most one message of the largest size plus what one read brings; when a
/// message exceeds the limits the stream is beyond repair and the connection must be closed.
#[derive(Default)]
pub(crate) struct StreamFramer {
    buffer: BytesMut,
}

impl StreamFramer {
    /// Takes bytes as they were read from the connection.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete message, or `None` until more bytes come.
    ///
    /// # Errors
    /// After any error the boundaries of messages are lost: close the connection.
    pub(crate) fn next_message(&mut self) -> Result<Option<SipMessage>, FramingError> {
        // Empty lines between messages are keep-alives (RFC 5626 section 3.5.1).
        while self.buffer.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            self.buffer.advance(1);
        }
        let Some(head) = head_length(&self.buffer) else {
            return if self.buffer.len() > MAX_HEADER_BYTES {
                Err(FramingError::TooLarge)
            } else {
                Ok(None)
            };
        };
        if head > MAX_HEADER_BYTES {
            return Err(FramingError::TooLarge);
        }
        let lines = unfold(&self.buffer[..head])?;
        let body = content_length(&lines)?.ok_or(FramingError::ContentLength)?;
        if self.buffer.len() < head + body {
            return Ok(None);
        }
        let message = parse(&lines, &self.buffer[head..head + body])?;
        self.buffer.advance(head + body);
        Ok(Some(message))
    }
}

/// The message in a datagram.
///
/// # Errors
/// [`FramingError`] says why the datagram is to be dropped.
pub(crate) fn datagram_message(datagram: &[u8]) -> Result<SipMessage, FramingError> {
    let start = datagram
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .ok_or(FramingError::Truncated)?;
    let datagram = &datagram[start..];
    let head = head_length(datagram).ok_or(FramingError::Truncated)?;
    let lines = unfold(&datagram[..head])?;
    let rest = &datagram[head..];
    let body = content_length(&lines)?.unwrap_or(rest.len());
    parse(&lines, rest.get(..body).ok_or(FramingError::Truncated)?)
}

/// The length of start line and headers with the empty line that ends them.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut line_is_empty = false;
    for (n, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if line_is_empty => return Some(n + 1),
            b'\n' => line_is_empty = true,
            b'\r' => {}
            _ => line_is_empty = false,
        }
    }
    None
}

/// The lines of the head; a line that begins with white space continues the one before.
fn unfold(head: &[u8]) -> Result<Vec<String>, FramingError> {
    let head =
        std::str::from_utf8(head).map_err(|_| FramingError::Malformed("not UTF-8".into()))?;
    let mut lines: Vec<String> = Vec::new();
    for line in head.lines().filter(|line| !line.is_empty()) {
        match lines.last_mut() {
            Some(previous) if line.starts_with([' ', '\t']) => {
                previous.push(' ');
                previous.push_str(line.trim());
            }
            _ => lines.push(line.trim_end().to_owned()),
        }
    }
    Ok(lines)
}

fn content_length(lines: &[String]) -> Result<Option<usize>, FramingError> {
    let mut length = None;
    for (name, value) in lines.iter().skip(1).filter_map(|line| line.split_once(':')) {
        if full_name(name.trim()).eq_ignore_ascii_case("Content-Length") {
            let value = value.trim().parse().map_err(|_| FramingError::ContentLength)?;
            if length.is_some_and(|previous| previous != value) {
                return Err(FramingError::ContentLength);
            }
            if value > MAX_BODY_BYTES {
                return Err(FramingError::TooLarge);
            }
            length = Some(value);
        }
    }
    Ok(length)
}

fn parse(lines: &[String], body: &[u8]) -> Result<SipMessage, FramingError> {
    let mut message = String::new();
    for (n, line) in lines.iter().enumerate() {
        match line.split_once(':') {
            Some((name, value)) if n > 0 => {
                message.push_str(full_name(name.trim()));
                message.push_str(": ");
                message.push_str(value.trim());
            }
            _ => message.push_str(line),
        }
        message.push_str("\r\n");
    }
    message.push_str("\r\n");
    let mut message = message.into_bytes();
    message.extend_from_slice(body);
    SipMessage::try_from(message).map_err(|error| FramingError::Malformed(error.to_string()))
}

/// The full form of a compact header name (RFC 3261 section 7.3.3, RFC 4028 for `x`).
fn full_name(name: &str) -> &str {
    let [letter] = name.as_bytes() else { return name };
    match letter.to_ascii_lowercase() {
        b'c' => "Content-Type",
        b'e' => "Content-Encoding",
        b'f' => "From",
        b'i' => "Call-ID",
        b'k' => "Supported",
        b'l' => "Content-Length",
        b'm' => "Contact",
        b's' => "Subject",
        b't' => "To",
        b'v' => "Via",
        b'x' => "Session-Expires",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsip::prelude::*;

    const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP 1.2.3.4:5;branch=z9hG4bKx\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\
        Content-Length: 4\r\n\r\nbody";

    fn body(message: SipMessage) -> String {
        String::from_utf8(message.body().clone()).unwrap()
    }

    #[test]
    fn a_stream_is_cut_into_messages_wherever_the_reads_end() {
        let stream = format!("\r\n\r\n{OPTIONS}\r\n{OPTIONS}");
        for cut in 0..stream.len() {
            let mut framer = StreamFramer::default();
            let mut bodies = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                framer.push(part.as_bytes());
                while let Some(message) = framer.next_message().unwrap() {
                    bodies.push(body(message));
                }
            }
            assert_eq!(bodies, ["body", "body"], "cut at {cut}");
        }
    }

    #[test]
    fn compact_names_folded_lines_and_bare_line_feeds_are_understood() {
        let odd = "OPTIONS sip:a@b SIP/2.0\nv: SIP/2.0/UDP 1.2.3.4:5\n ;branch=z9hG4bKx\n\
            f: <sip:a@b>;tag=1\nt : <sip:a@b>\ni: c\nCSeq: 1 OPTIONS\nl: 0\n\nignored";
        let message = datagram_message(odd.as_bytes()).unwrap();
        assert_eq!(message.call_id_header().unwrap().value(), "c");
        assert!(message.via_header().unwrap().value().ends_with("branch=z9hG4bKx"));
        assert_eq!(body(message), "");
    }

    #[test]
    fn hostile_streams_end_in_an_error_not_in_memory() {
        let table = [
            ("no end", "A".repeat(MAX_HEADER_BYTES + 1), FramingError::TooLarge),
            ("huge body", OPTIONS.replace("Length: 4", "Length: 99999999"), FramingError::TooLarge),
            (
                "no length",
                OPTIONS.replace("Content-Length: 4\r\n", ""),
                FramingError::ContentLength,
            ),
            ("negative", OPTIONS.replace("Length: 4", "Length: -4"), FramingError::ContentLength),
            ("two lengths", OPTIONS.replace("CSeq", "l: 5\r\nCSeq"), FramingError::ContentLength),
        ];
        for (name, stream, expected) in table {
            let mut framer = StreamFramer::default();
            framer.push(stream.as_bytes());
            assert_eq!(framer.next_message().unwrap_err(), expected, "{name}");
        }
        let mut framer = StreamFramer::default();
        framer.push(b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
        assert!(matches!(framer.next_message(), Err(FramingError::Malformed(_))));
    }

    #[test]
    fn a_datagram_shorter_than_its_content_length_is_truncated() {
        let cut = &OPTIONS.as_bytes()[..OPTIONS.len() - 1];
        assert_eq!(datagram_message(cut).unwrap_err(), FramingError::Truncated);
        for length in 0..OPTIONS.len() {
            assert!(datagram_message(&OPTIONS.as_bytes()[..length]).is_err());
        }
    }
}
