//! Finds SIP messages in datagrams and byte streams and brings them into one form: compact header names are written
//! out, folded lines joined, lone line feeds taken for line ends.

use super::message::{Header, Message, Method, Request, Response};
use super::syntax::{is_token, number};

/// Longest message that is taken, headers and body. RFC 3261 section 18.1.1 asks for 65,535 bytes over UDP.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;

/// Longest header line that is taken, unfolded. Honest ones stay under a tenth of it.
pub const MAX_LINE_LEN: usize = 16 * 1024;

/// More header lines than any honest message has.
pub const MAX_HEADERS: usize = 256;

/// Bytes that are no message. A datagram is dropped; a stream must be closed if its framing is lost with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The message is longer than [`MAX_MESSAGE_LEN`], a line longer than [`MAX_LINE_LEN`], or there are more headers
    /// than [`MAX_HEADERS`].
    #[error(
        "the message is longer than {MAX_MESSAGE_LEN} bytes, a line longer than {MAX_LINE_LEN}, or there are more than \
         {MAX_HEADERS} headers"
    )]
    TooLong,
    /// The first line is neither a request's nor a response's, or the headers never end.
    #[error("this is not a SIP message: the first line or the end of the headers is missing")]
    NotSip,
    /// Content-Length is not a number or disagrees with another one, so the end of the message in the stream is
    /// unknown.
    #[error("the Content-Length is not a number, or there twice with different values")]
    BadContentLength,
    /// A response whose status code is none, or in another version of SIP. It tells nothing, but its end is known.
    #[error("the response has no status code from 100 to 699")]
    BadStatus,
}

/// What is wrong with a request that could still be framed. It is answered with [`refusal`](Self::refusal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A header line has no colon, or no name before it.
    #[error("a header line has no name")]
    HeaderWithoutName,
    /// Content-Length is not a number, or there twice with different values.
    #[error("the Content-Length is not a number, or there twice with different values")]
    ContentLength,
    /// The datagram ends before the body does.
    #[error("the body is shorter than its Content-Length")]
    BodyTruncated,
    /// A header that every message has once is missing, unreadable or there twice.
    #[error("{0} is missing, unreadable or there twice")]
    Header(&'static str),
    /// The request line is not three words with one space between them.
    #[error("the request line is not method, URI and version with single spaces")]
    RequestLine,
    /// The Request-URI is malformed or has headers in it.
    #[error("the Request-URI is malformed")]
    RequestUri,
    /// The Request-URI is neither `sip` nor `sips`.
    #[error("the Request-URI is neither sip nor sips")]
    UriScheme,
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
    let body = match head.body_len {
        BodyLen::Known(len) if len <= rest.len() => &rest[..len],
        BodyLen::Known(_) => {
            head.defect.get_or_insert(Defect::BodyTruncated);
            rest
        }
        BodyLen::Unsaid => rest,
        BodyLen::Contradictory => {
            head.defect.get_or_insert(Defect::ContentLength);
            rest
        }
    };
    head.into_message(body.to_vec()).map(Some)
}

/// Cuts a byte stream into messages by their Content-Length (RFC 3261 section 18.3).
#[derive(Debug, Default)]
pub struct StreamFramer {
    /// Never longer than [`MAX_MESSAGE_LEN`] plus one read.
    buffer: Vec<u8>,
    /// The head whose body, of this length, is not there yet.
    waiting: Option<(Head, usize)>,
}

impl StreamFramer {
    /// Takes what was read. Call [`next_message`](Self::next_message) until it gives `None` before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether nothing of a message has arrived yet.
    pub fn is_between_messages(&self) -> bool {
        self.waiting.is_none() && self.buffer.is_empty()
    }

    /// The next whole message. After an error that [loses the framing](FramingError::loses_framing), close the stream.
    pub fn next_message(&mut self) -> Option<Result<Message, FramingError>> {
        let (head, body_len) = match self.waiting.take() {
            Some(waiting) => waiting,
            None => match self.next_head() {
                Ok(next) => next?,
                Err(error) => return Some(Err(error)),
            },
        };
        if self.buffer.len() < body_len {
            self.waiting = Some((head, body_len));
            return None;
        }
        let body = self.buffer.drain(..body_len).collect();
        Some(head.into_message(body))
    }

    /// Takes the next head off the buffer, with the length of its body.
    fn next_head(&mut self) -> Result<Option<(Head, usize)>, FramingError> {
        let blank = self.buffer.len() - skip_line_ends(&self.buffer).len();
        self.buffer.drain(..blank);
        let start = &self.buffer[..self.buffer.len().min(MAX_MESSAGE_LEN)];
        // What is no SIP is not waited for.
        let first_line = start.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        if first_line.ends_with(b"\n") && !is_start_line(first_line) {
            return Err(FramingError::NotSip);
        }
        let Some(head_len) = head_len(start) else {
            let is_full = start.len() == MAX_MESSAGE_LEN;
            return if is_full { Err(FramingError::TooLong) } else { Ok(None) };
        };
        let head = Head::parse(&start[..head_len])?;
        let body_len = match head.body_len {
            BodyLen::Known(len) => len,
            BodyLen::Unsaid => 0,
            BodyLen::Contradictory => return Err(FramingError::BadContentLength),
        };
        if body_len > MAX_MESSAGE_LEN - head_len {
            return Err(FramingError::TooLong);
        }
        self.buffer.drain(..head_len);
        Ok(Some((head, body_len)))
    }
}

impl FramingError {
    /// Whether the end of the message is unknown, so that nothing can follow it on its stream.
    pub fn loses_framing(self) -> bool {
        match self {
            FramingError::TooLong | FramingError::NotSip | FramingError::BadContentLength => true,
            FramingError::BadStatus => false,
        }
    }
}

impl Defect {
    /// The status code and reason phrase that it is refused with.
    pub fn refusal(self) -> (u16, &'static str) {
        match self {
            Defect::UriScheme => (416, "Unsupported URI Scheme"),
            Defect::Version => (505, "Version Not Supported"),
            Defect::HeaderWithoutName
            | Defect::ContentLength
            | Defect::BodyTruncated
            | Defect::Header(_)
            | Defect::RequestLine
            | Defect::RequestUri => (400, "Bad Request"),
        }
    }
}

/// The part before the body, taken apart.
#[derive(Debug)]
struct Head {
    start: StartLine,
    headers: Vec<Header>,
    body_len: BodyLen,
    defect: Option<Defect>,
}

#[derive(Debug)]
enum StartLine {
    Request { method: Method, uri: String },
    Response { code: Option<u16> },
}

/// What Content-Length says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyLen {
    Unsaid,
    Known(usize),
    Contradictory,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, FramingError> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let (start, defect) = StartLine::parse(lines.next().unwrap_or_default())?;
        let mut parsed = Self { start, headers: Vec::new(), body_len: BodyLen::Unsaid, defect };
        for line in unfold(lines) {
            if parsed.headers.len() == MAX_HEADERS || line.len() > MAX_LINE_LEN {
                return Err(FramingError::TooLong);
            }
            parsed.header(&line);
        }
        Ok(parsed)
    }

    fn header(&mut self, line: &str) {
        let named = line.split_once(':').map(|(name, value)| (name.trim_end(), value.trim()));
        let Some((name, value)) = named.filter(|(name, _)| is_token(name)) else {
            self.defect.get_or_insert(Defect::HeaderWithoutName);
            return;
        };
        let header = Header::new(full_name(name), value);
        if header.is("Content-Length") {
            self.body_len = match (self.body_len, number(value)) {
                (BodyLen::Unsaid, Some(len)) => BodyLen::Known(len),
                (BodyLen::Known(earlier), Some(len)) if earlier == len => BodyLen::Known(len),
                _ => BodyLen::Contradictory,
            };
        }
        self.headers.push(header);
    }

    fn into_message(self, body: Vec<u8>) -> Result<Message, FramingError> {
        let Self { start, headers, defect, .. } = self;
        match start {
            StartLine::Response { code } => {
                let code = code.ok_or(FramingError::BadStatus)?;
                Ok(Message::Response(Response { code, headers, body }))
            }
            StartLine::Request { method, uri } => {
                let mut request = Request { method, uri, headers, body, defect };
                request.defect = request.defect.or_else(|| request.find_defect());
                Ok(Message::Request(request))
            }
        }
    }
}

impl StartLine {
    fn parse(line: &str) -> Result<(Self, Option<Defect>), FramingError> {
        if !is_start_line(line.as_bytes()) {
            return Err(FramingError::NotSip);
        }
        let (first, rest) = line.split_once(' ').ok_or(FramingError::NotSip)?;
        if is_version(first) {
            let digits = rest.split(' ').next().filter(|digits| digits.len() == 3);
            let code = digits.and_then(number).filter(|code| (100..700).contains(code));
            let code = code.filter(|_| first.eq_ignore_ascii_case("SIP/2.0"));
            return Ok((Self::Response { code }, None));
        }
        let method = Method::parse(first).ok_or(FramingError::NotSip)?;
        let (uri, version) = rest.rsplit_once(' ').unwrap_or((rest, ""));
        let defect = if version.eq_ignore_ascii_case("SIP/2.0") {
            (uri.is_empty() || uri.contains(char::is_whitespace)).then_some(Defect::RequestLine)
        } else if is_version(version) {
            Some(Defect::Version)
        } else {
            Some(Defect::RequestLine)
        };
        Ok((Self::Request { method, uri: uri.to_owned() }, defect))
    }
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

/// Joins continuation lines to the line before (RFC 3261 section 7.3.1); stops at the empty line. A carriage return
/// within a line becomes a space: echoed in a response, it would end the line for a less careful reader.
fn unfold<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut unfolded: Vec<String> = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()).map(|line| line.replace('\r', " ")) {
        match unfolded.last_mut() {
            Some(previous) if line.starts_with([' ', '\t']) => {
                previous.push(' ');
                previous.push_str(line.trim());
            }
            _ => unfolded.push(line),
        }
    }
    unfolded
}

fn is_version(word: &str) -> bool {
    word.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("SIP/"))
}

/// Whether a line mentions a version of SIP at all.
fn is_start_line(line: &[u8]) -> bool {
    line.windows(4).any(|window| window.eq_ignore_ascii_case(b"SIP/"))
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
        let odd = "\r\n\nOPTIONS sip:a@b sip/2.0\nv: SIP/2.0/TCP h\n ;branch=z9hG4bK1\nF: <sip:x@y>;tag=1\n\
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
        for status in ["99", "099", "700", "4294967301", "+99", "", "200OK"] {
            let response = format!("SIP/2.0 {status} No\r\n\r\n");
            assert_eq!(datagram(&response), Err(FramingError::BadStatus), "{status}");
        }
        assert_eq!(datagram(OPTIONS), Err(FramingError::NotSip));
        let with = |lines: &str| format!("{OPTIONS}{lines}\r\n");
        let defect = |lines: &str| request(datagram(&with(lines)).unwrap()).defect;
        assert_eq!(defect(""), None);
        assert_eq!(defect("Content-Length: 9\r\n"), Some(Defect::BodyTruncated));
        assert_eq!(defect("l: 0\r\nContent-Length : 00\r\n"), None);
        for lengths in ["l: -1", "l: +1", "l:", "l: 1 2", "l: 0\r\nL: 1", "l: x\r\nL: 1"] {
            assert_eq!(defect(&format!("{lengths}\r\n")), Some(Defect::ContentLength), "{lengths}");
            let mut framer = StreamFramer::default();
            framer.push(with(&format!("{lengths}\r\n")).as_bytes());
            assert_eq!(framer.next_message(), Some(Err(FramingError::BadContentLength)));
        }
        assert_eq!(defect("no colon\r\n"), Some(Defect::HeaderWithoutName));
        assert_eq!(defect("Call-ID: again\r\n"), Some(Defect::Header("Call-ID")));
        assert_eq!(defect(": no name\r\n"), Some(Defect::HeaderWithoutName));
        assert_eq!(defect("A B: two names\r\n"), Some(Defect::HeaderWithoutName));
        let other = |from: &str, to: &str| request(datagram(&with("").replace(from, to)).unwrap());
        assert_eq!(other("SIP/2.0\r\nVia", "SIP/3.0\r\nVia").defect, Some(Defect::Version));
        assert_eq!(other("1 OPTIONS", "1 INVITE").defect, Some(Defect::Header("CSeq")));
        assert_eq!(other("1 OPTIONS", "99999999999 OPTIONS").defect, Some(Defect::Header("CSeq")));
        assert_eq!(other("OPTIONS", "FLY").defect, None);
        assert_eq!(other("OPTIONS sip", "OPTIONS  sip").defect, Some(Defect::RequestLine));
        assert_eq!(other("SIP/2.0\r\nVia", "SIP/2.0 \r\nVia").defect, Some(Defect::RequestLine));
        assert_eq!(other("sip:a@b SIP", "<sip:a@b> SIP").defect, Some(Defect::RequestUri));
        assert_eq!(other("sip:a@b SIP", "tel:1 SIP").defect, Some(Defect::UriScheme));
        assert_eq!(other("TCP h;", "TCP h;;").defect, Some(Defect::Header("Via")));
        assert_eq!(other("<sip:x@y>;", "\"<sip:x@y>;").defect, Some(Defect::Header("From")));
    }

    #[test]
    fn a_carriage_return_within_a_line_ends_nothing() {
        let odd = format!("{OPTIONS}A: b\rC: d\r\r\n\r\r\nZ: f\r\n\r\n");
        let request = request(parse_datagram(odd.as_bytes()).unwrap());
        assert_eq!((request.value("A"), request.value("C")), (Some("b C: d"), None));
        assert_eq!(request.value("Z"), Some("f"), "the line was not empty");
    }

    #[test]
    fn limits_are_kept_to_the_byte() {
        let padded = |lines: &str, len: usize| {
            let fixed = OPTIONS.len() + lines.len() + "\r\n".len();
            format!("{OPTIONS}{lines}\r\n{}", "x".repeat(len - fixed))
        };
        let whole = padded("", MAX_MESSAGE_LEN);
        assert!(parse_datagram(whole.as_bytes()).is_ok());
        assert_eq!(parse_datagram(format!("{whole}x").as_bytes()), Err(FramingError::TooLong));

        let own = OPTIONS.lines().count() - 1;
        for (lines, is_taken) in [
            ("A: b\r\n".repeat(MAX_HEADERS - own), true),
            ("A: b\r\n".repeat(MAX_HEADERS - own + 1), false),
            (format!("A: {}\r\n", "b".repeat(MAX_LINE_LEN - 3)), true),
            (format!("A: {}\r\n", "b".repeat(MAX_LINE_LEN - 2)), false),
            (format!("A: {}\r\n c\r\n", "b".repeat(MAX_LINE_LEN - 4)), false),
        ] {
            let message = format!("{OPTIONS}{lines}\r\n");
            assert_eq!(parse_datagram(message.as_bytes()).is_ok(), is_taken);
            let mut framer = StreamFramer::default();
            framer.push(message.as_bytes());
            assert_eq!(framer.next_message().unwrap().is_ok(), is_taken);
        }
    }

    #[test]
    fn a_stream_is_not_waited_for_in_vain() {
        let first = |bytes: &[u8]| {
            let mut framer = StreamFramer::default();
            framer.push(bytes);
            framer.next_message()
        };
        let with_length =
            |len: usize| first(format!("{OPTIONS}Content-Length: {len}\r\n\r\n").as_bytes());
        let head_len = OPTIONS.len() + "Content-Length: 65000\r\n\r\n".len();
        assert_eq!(with_length(MAX_MESSAGE_LEN - head_len), None);
        assert_eq!(with_length(MAX_MESSAGE_LEN - head_len + 1), Some(Err(FramingError::TooLong)));
        assert_eq!(with_length(usize::MAX), Some(Err(FramingError::TooLong)));
        let endless = [OPTIONS.as_bytes(), &vec![b'x'; MAX_MESSAGE_LEN]].concat();
        assert_eq!(first(&endless), Some(Err(FramingError::TooLong)));
        assert_eq!(first(b"GET / HTTP/1.1\r\n"), Some(Err(FramingError::NotSip)));
        assert_eq!(first(b"GET / HTTP/1.1"), None);
    }

    #[test]
    fn a_response_that_says_nothing_is_no_end_of_its_stream() {
        let mut framer = StreamFramer::default();
        framer.push(
            format!("SIP/2.0 4294967301 big\r\nl: 3\r\n\r\nabc{OPTIONS}l: 0\r\n\r\n").as_bytes(),
        );
        assert_eq!(framer.next_message(), Some(Err(FramingError::BadStatus)));
        assert!(matches!(framer.next_message(), Some(Ok(Message::Request(_)))));
    }
}
