//! Finds SIP messages in datagrams and byte streams and brings them into one form.
//!
//! rsip's own parser refuses what servers really send (compact header names, folded lines, lone line feeds, extension
//! methods) and does not look at Content-Length, so this small reader meets the network first; rsip's header types
//! stand behind it.

use rsip::Header;
use rsip::headers::header::Tokenizer;

use super::message::{Message, Method, Request, Response};

/// Longest message that is taken, headers and body. RFC 3261 section 18.1.1 asks for 65,535 bytes over UDP.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;

/// More header lines than any honest message has.
const MAX_HEADERS: usize = 256;

/// Bytes that are no SIP message. A datagram is dropped, a stream has lost its framing and must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The message is longer than [`MAX_MESSAGE_LEN`], or has too many headers.
    #[error(
        "the message is longer than {MAX_MESSAGE_LEN} bytes or has more than {MAX_HEADERS} headers"
    )]
    TooLong,
    /// The first line is neither a request's nor a response's, or the headers never end.
    #[error("this is not a SIP message: the first line or the end of the headers is missing")]
    NotSip,
    /// Content-Length is not a number, so the end of the message in the stream is unknown.
    #[error("the Content-Length is not a number")]
    BadContentLength,
}

/// What is wrong with a message that could still be framed; a request with one is answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A header line has no colon or no name.
    #[error("a header line has no name")]
    HeaderWithoutName,
    /// Two Content-Length headers disagree.
    #[error("two Content-Length headers disagree")]
    ContentLengthTwice,
    /// The datagram ends before the body does.
    #[error("the body is shorter than its Content-Length")]
    BodyTruncated,
    /// A header that every message has once is missing, unreadable or there twice.
    #[error("{0} is missing, unreadable or there twice")]
    Header(&'static str),
    /// The request is not in SIP/2.0.
    #[error("the version is not SIP/2.0")]
    Version,
}

/// Reads one datagram. `Ok(None)` is a keep-alive: nothing but line ends.
pub fn parse_datagram(datagram: &[u8]) -> Result<Option<Message>, FramingError> {
    if datagram.len() > MAX_MESSAGE_LEN {
        return Err(FramingError::TooLong);
    }
    let datagram = skip_line_ends(datagram);
    if datagram.is_empty() {
        return Ok(None);
    }
    let head_len = head_len(datagram).ok_or(FramingError::NotSip)?;
    let (head, rest) = datagram.split_at(head_len);
    let mut head = Head::parse(head)?;
    let body = match head.content_length {
        Some(len) if len > rest.len() => {
            head.defect.get_or_insert(Defect::BodyTruncated);
            rest
        }
        Some(len) => &rest[..len],
        None => rest,
    };
    head.into_message(body).map(Some)
}

/// Cuts a byte stream into messages by their Content-Length (RFC 3261 section 18.3).
#[derive(Debug, Default)]
pub struct StreamFramer {
    /// Never longer than [`MAX_MESSAGE_LEN`] plus one read.
    buffer: Vec<u8>,
}

impl StreamFramer {
    /// Takes what was read. Call [`next_message`](Self::next_message) until it gives `None` before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether nothing of a message has arrived yet.
    pub fn is_between_messages(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole message. After an error the stream is beyond repair: close it.
    pub fn next_message(&mut self) -> Option<Result<Message, FramingError>> {
        let blank = self.buffer.len() - skip_line_ends(&self.buffer).len();
        self.buffer.drain(..blank);
        if self.buffer.is_empty() {
            return None;
        }
        let Some(head_len) = head_len(&self.buffer) else {
            return (self.buffer.len() > MAX_MESSAGE_LEN).then_some(Err(FramingError::TooLong));
        };
        let head = match Head::parse(&self.buffer[..head_len]) {
            Ok(head) => head,
            Err(error) => return Some(Err(error)),
        };
        let body_len = head.content_length.unwrap_or(0);
        if body_len > MAX_MESSAGE_LEN || head_len + body_len > MAX_MESSAGE_LEN {
            return Some(Err(FramingError::TooLong));
        }
        if self.buffer.len() < head_len + body_len {
            return None;
        }
        let message = head.into_message(&self.buffer[head_len..head_len + body_len]);
        self.buffer.drain(..head_len + body_len);
        Some(message)
    }
}

/// The part before the body, taken apart.
struct Head {
    start_line: String,
    headers: Vec<Header>,
    content_length: Option<usize>,
    defect: Option<Defect>,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, FramingError> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let start_line = lines.next().unwrap_or_default().to_owned();
        if !start_line.contains("SIP/") {
            return Err(FramingError::NotSip);
        }
        let mut parsed =
            Head { start_line, headers: Vec::new(), content_length: None, defect: None };
        for line in unfold(lines) {
            if parsed.headers.len() == MAX_HEADERS {
                return Err(FramingError::TooLong);
            }
            parsed.header(&line)?;
        }
        Ok(parsed)
    }

    fn header(&mut self, line: &str) -> Result<(), FramingError> {
        let Some((name, value)) = line.split_once(':').map(|(n, v)| (n.trim(), v.trim())) else {
            self.defect.get_or_insert(Defect::HeaderWithoutName);
            return Ok(());
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            self.defect.get_or_insert(Defect::HeaderWithoutName);
            return Ok(());
        }
        let name = full_name(name);
        if name.eq_ignore_ascii_case("Content-Length") {
            let len = value.parse().map_err(|_| FramingError::BadContentLength)?;
            if self.content_length.is_some_and(|earlier| earlier != len) {
                self.defect.get_or_insert(Defect::ContentLengthTwice);
            }
            self.content_length.get_or_insert(len);
        }
        self.headers.push(header(name, value));
        Ok(())
    }

    fn into_message(mut self, body: &[u8]) -> Result<Message, FramingError> {
        let headers = std::mem::take(&mut self.headers).into();
        let body = body.to_vec();
        if let Some(status) = self.start_line.strip_prefix("SIP/2.0 ") {
            let code = status.get(..3).and_then(|code| code.parse::<u16>().ok());
            let code = code.filter(|code| (100..700).contains(code)).ok_or(FramingError::NotSip)?;
            return Ok(Message::Response(Response { code, headers, body }));
        }
        let mut parts = self.start_line.split(' ').filter(|part| !part.is_empty());
        let (Some(method), Some(uri), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FramingError::NotSip);
        };
        if version != "SIP/2.0" {
            self.defect.get_or_insert(Defect::Version);
        }
        let method = Method::parse(method).ok_or(FramingError::NotSip)?;
        let mut request =
            Request { method, uri: uri.to_owned(), headers, body, defect: self.defect };
        request.defect = request.defect.or_else(|| request.find_defect());
        Ok(Message::Request(request))
    }
}

/// rsip's header for a name in any case.
pub(super) fn header(name: &str, value: &str) -> Header {
    let tokens = Tokenizer { name: name.as_bytes(), value: value.as_bytes() };
    tokens.try_into().unwrap_or_else(|_| Header::Other(name.to_owned(), value.to_owned()))
}

/// RFC 3261 section 7.3.3, RFC 4028, RFC 3515, RFC 3265.
fn full_name(name: &str) -> &str {
    match name {
        "v" | "V" => "Via",
        "f" | "F" => "From",
        "t" | "T" => "To",
        "i" | "I" => "Call-ID",
        "m" | "M" => "Contact",
        "l" | "L" => "Content-Length",
        "c" | "C" => "Content-Type",
        "e" | "E" => "Content-Encoding",
        "k" | "K" => "Supported",
        "s" | "S" => "Subject",
        "x" | "X" => "Session-Expires",
        "r" | "R" => "Refer-To",
        "o" | "O" => "Event",
        name => name,
    }
}

/// Joins continuation lines to the line before (RFC 3261 section 7.3.1); stops at the empty line.
fn unfold<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut unfolded: Vec<String> = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        match unfolded.last_mut() {
            Some(previous) if line.starts_with([' ', '\t']) => {
                previous.push(' ');
                previous.push_str(line.trim());
            }
            _ => unfolded.push(line.to_owned()),
        }
    }
    unfolded
}

fn skip_line_ends(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    &bytes[start.unwrap_or(bytes.len())..]
}

/// Length of the start line and headers with the empty line that ends them, written with CRLF or LF.
fn head_len(bytes: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let line = &bytes[line_start..at];
        if line_start > 0 && (line.is_empty() || line == b"\r") {
            return Some(at + 1);
        }
        line_start = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::HeaderValues as _;
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n\
        From: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c1\r\nCSeq: 1 OPTIONS\r\n";

    fn request(message: Option<Message>) -> Request {
        match message {
            Some(Message::Request(request)) => request,
            other => panic!("expected a request, got {other:?}"),
        }
    }

    #[test]
    fn compact_folded_lf_only_and_odd_case_read_alike() {
        let odd = "\r\n\nOPTIONS  sip:a@b  SIP/2.0\nv: SIP/2.0/TCP h\n ;branch=z9hG4bK1\nF: <sip:x@y>;tag=1\n\
            t: <sip:a@b>\ni: c1\ncseq: 1 OPTIONS\nL:3\nP-Rc-Api-Ids : party-id=p-1\n\nabcEXTRA";
        let request = request(parse_datagram(odd.as_bytes()).unwrap());
        assert_eq!(request.defect, None);
        assert_eq!(request.call_id(), Some("c1"));
        assert_eq!(request.branch(), Some("z9hG4bK1"));
        assert_eq!(request.value("p-rc-api-ids"), Some("party-id=p-1"));
        assert_eq!(request.body, b"abc");
    }

    #[test]
    fn a_stream_is_cut_by_content_length() {
        let first = format!("{OPTIONS}Content-Length: 4\r\n\r\nbody");
        let second = format!("{OPTIONS}l: 0\r\n\r\n");
        let whole = format!("\r\n\r\n{first}\r\n{second}");
        for chunk in [1, 7, 1000] {
            let mut framer = StreamFramer::default();
            let mut bodies = Vec::new();
            for bytes in whole.as_bytes().chunks(chunk) {
                framer.push(bytes);
                while let Some(message) = framer.next_message() {
                    bodies.push(request(Some(message.unwrap())).body);
                }
            }
            assert_eq!(bodies, [b"body".to_vec(), Vec::new()], "in chunks of {chunk}");
        }
    }

    #[test]
    fn hostile_messages_are_told_apart() {
        let datagram = |text: &str| parse_datagram(text.as_bytes());
        assert_eq!(datagram("\r\n\r\n").unwrap(), None);
        assert_eq!(datagram("GET / HTTP/1.1\r\n\r\n"), Err(FramingError::NotSip));
        assert_eq!(datagram("SIP/2.0 99 No\r\n\r\n"), Err(FramingError::NotSip));
        assert_eq!(datagram(OPTIONS), Err(FramingError::NotSip));
        let with = |lines: &str| format!("{OPTIONS}{lines}\r\n");
        assert_eq!(datagram(&with("Content-Length: -1\r\n")), Err(FramingError::BadContentLength));
        let defect = |lines: &str| request(datagram(&with(lines)).unwrap()).defect;
        assert_eq!(defect(""), None);
        assert_eq!(defect("Content-Length: 9\r\n"), Some(Defect::BodyTruncated));
        assert_eq!(defect("l: 0\r\nL: 1\r\n"), Some(Defect::ContentLengthTwice));
        assert_eq!(defect("no colon\r\n"), Some(Defect::HeaderWithoutName));
        assert_eq!(defect("Call-ID: again\r\n"), Some(Defect::Header("Call-ID")));
        assert_eq!(datagram(&with(&"A: b\r\n".repeat(300))), Err(FramingError::TooLong));
        let other = |from: &str, to: &str| request(datagram(&with("").replace(from, to)).unwrap());
        assert_eq!(other("SIP/2.0\r\nVia", "SIP/3.0\r\nVia").defect, Some(Defect::Version));
        assert_eq!(other("1 OPTIONS", "1 INVITE").defect, Some(Defect::Header("CSeq")));
        assert_eq!(other("1 OPTIONS", "99999999999 OPTIONS").defect, Some(Defect::Header("CSeq")));
        assert_eq!(other("OPTIONS", "FLY").defect, None);
    }

    #[test]
    fn an_endless_stream_is_refused() {
        let mut framer = StreamFramer::default();
        framer.push(format!("{OPTIONS}Content-Length: 9999999\r\n\r\n").as_bytes());
        assert_eq!(framer.next_message(), Some(Err(FramingError::TooLong)));
        let mut framer = StreamFramer::default();
        framer.push(OPTIONS.as_bytes());
        framer.push(&vec![b'x'; MAX_MESSAGE_LEN]);
        assert_eq!(framer.next_message(), Some(Err(FramingError::TooLong)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse_datagram(&bytes);
            let mut framer = StreamFramer::default();
            framer.push(&bytes);
            while let Some(Ok(_)) = framer.next_message() {}
        }

        #[test]
        fn any_header_lines_are_survived(lines in "([ -~\t]{0,40}\r?\n){0,12}") {
            let _ = parse_datagram(format!("{OPTIONS}{lines}\r\n").as_bytes());
        }
    }
}
