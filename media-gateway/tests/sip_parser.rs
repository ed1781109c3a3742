//! What holds for every SIP message: how it is spelled and cut does not matter, what is built reads back, and nothing
//! panics.

#[path = "torture/fixture.rs"]
mod fixture;

use bytes::Bytes;
use media_gateway::sip::framing::{FramingError, StreamFramer, parse_datagram};
use media_gateway::sip::message::{
    self, Header, HeaderValues, Message, Request, Response, ResponseBuilder,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

proptest! {
    #[test]
    fn what_is_built_reads_back(
        method in "[A-Z]{1,8}",
        host in select(&HOSTS[..]),
        extras in vec(extra_header(), 0..6),
        code in 100u16..700,
        reason in "[ -~]{0,20}",
        tag in "[a-z0-9]{1,8}",
        body in "[ -~\r\n]{0,80}",
        peer in select(&["192.0.2.1:4000", "[2001:db8::1]:5060"][..]),
    ) {
        let uri = format!("sip:a@{host}");
        let headers = headers_of(&method, host, extras);
        let request = read_request(&build(&method, &uri, &headers));
        prop_assert_eq!(request.defect, None);
        prop_assert_eq!(request.method.name(), method);
        prop_assert_eq!(&request.uri, &uri);
        prop_assert_eq!(&request.headers[..headers.len()], headers.as_slice());

        let response = ResponseBuilder::new(&request, code, &reason, peer.parse().ok())
            .to_tag(&tag)
            .header("X-Ours", "value")
            .sdp(&body)
            .build();
        let response = read_response(&response);
        prop_assert_eq!(response.code, code);
        prop_assert_eq!(&response.body, body.as_bytes());
        for name in ["From", "Call-ID", "CSeq"] {
            prop_assert_eq!(response.value(name), request.value(name));
        }
        prop_assert_eq!(response.tag_in_to(), Some(tag.as_str()));
        prop_assert_eq!(response.branch(), request.branch());
        prop_assert_eq!(response.value("X-Ours"), Some("value"));
    }

    #[test]
    fn spelling_does_not_matter(
        method in "[A-Z]{1,8}",
        host in select(&HOSTS[..]),
        extras in vec(extra_header(), 0..6),
        spellings in vec(spelling(), 16),
        line_end in select(&["\r\n", "\n"][..]),
        body in vec(any::<u8>(), 0..60),
    ) {
        let uri = format!("sip:a@{host}");
        let headers = headers_of(&method, host, extras);
        let plain = read_request(&build(&method, &uri, &headers));

        let mut text = format!("{method} {uri} SIP/2.0{line_end}");
        let length = Header::new("Content-Length", &body.len().to_string());
        for (header, spelling) in headers.iter().chain([&length]).zip(&spellings) {
            text.push_str(&spelling.line(header, line_end));
        }
        let spelled = [text.as_bytes(), line_end.as_bytes(), &body].concat();
        let spelled = read_request(&spelled);
        prop_assert_eq!(spelled.defect, None);
        prop_assert_eq!((&spelled.method, &spelled.uri), (&plain.method, &plain.uri));
        prop_assert_eq!(&spelled.body, &body);
        for header in &headers {
            let values = |request: &Request| {
                request.values(&header.name).map(str::to_owned).collect::<Vec<_>>()
            };
            prop_assert_eq!(values(&spelled), values(&plain), "{}", header.name);
        }
    }

    #[test]
    fn a_stream_may_be_cut_anywhere(
        parts in vec(part_of_stream(), 1..6),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let stream = parts.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let reads: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        let whole = messages_in(&[&stream]);
        prop_assert_eq!(messages_in(&reads), whole.clone());
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(messages_in(&bytes), whole);
    }

    #[test]
    fn damaged_messages_are_survived(
        fixture in any::<Index>(),
        damages in vec((any::<Index>(), any::<Index>(), vec(any::<u8>(), 0..8)), 1..4),
    ) {
        let fixtures = fixture::all("rfc4475");
        let (_, mut bytes) = fixture.get(&fixtures).clone();
        for (start, len, replacement) in damages {
            let start = start.index(bytes.len() + 1);
            let end = (start + len.index(16)).min(bytes.len());
            bytes.splice(start..end, replacement);
        }
        let _ = parse_datagram(&bytes);
        messages_in(&[&bytes]);
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..600)) {
        let _ = parse_datagram(&bytes);
        messages_in(&[&bytes]);
    }

    #[test]
    fn any_header_lines_are_survived(lines in "([ -~\t]{0,40}\r?\n){0,12}") {
        let request = format!("OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n{lines}\r\n");
        let _ = parse_datagram(request.as_bytes());
        messages_in(&[request.as_bytes()]);
    }
}

const HOSTS: [&str; 4] = ["h.example.com", "192.0.2.9:5061", "[2001:db8::9]", "[2001:db8::9]:5070"];

/// What every request has, and some more.
fn headers_of(method: &str, host: &str, extras: Vec<Header>) -> Vec<Header> {
    let fixed = [
        ("Via", format!("SIP/2.0/UDP {host};rport;branch=z9hG4bK1, SIP/2.0/TCP h;branch=z9hG4bK2")),
        ("From", format!("\"A, <b>;\" <sip:x@{host};tag=no>;tag=yes")),
        ("To", format!("<sip:a@{host};ob>")),
        ("Call-ID", "id@h".to_owned()),
        ("CSeq", format!("7 {method}")),
        ("Contact", format!("<sip:x@{host}>;q=0.5")),
    ];
    fixed.iter().map(|(name, value)| Header::new(name, value)).chain(extras).collect()
}

fn extra_header() -> impl Strategy<Value = Header> {
    ("X-[A-Za-z0-9]{1,8}", "([!-~]{1,6}( [!-~]{1,6}){0,3})?")
        .prop_map(|(name, value)| Header::new(&name, &value))
}

/// One of the ways to write a header line.
#[derive(Clone, Debug)]
struct Spelling {
    compact: bool,
    upper: bool,
    before_colon: &'static str,
    after_colon: &'static str,
    folded: bool,
}

fn spelling() -> impl Strategy<Value = Spelling> {
    let blanks = || select(&["", " ", "\t ", "   "][..]);
    (any::<bool>(), any::<bool>(), blanks(), blanks(), any::<bool>()).prop_map(
        |(compact, upper, before_colon, after_colon, folded)| Spelling {
            compact,
            upper,
            before_colon,
            after_colon,
            folded,
        },
    )
}

impl Spelling {
    fn line(&self, header: &Header, line_end: &str) -> String {
        let name = match (self.compact, header.name.as_str()) {
            (true, "Via") => "v",
            (true, "From") => "f",
            (true, "To") => "t",
            (true, "Call-ID") => "i",
            (true, "Contact") => "m",
            (true, "Content-Length") => "l",
            (_, name) => name,
        };
        let name = if self.upper { name.to_uppercase() } else { name.to_lowercase() };
        let value = match self.folded {
            true => header.value.replace(' ', &format!("{line_end}\t ")),
            false => header.value.clone(),
        };
        format!("{name}{}:{}{value}{line_end}", self.before_colon, self.after_colon)
    }
}

/// A message, a keep-alive, or something else.
fn part_of_stream() -> impl Strategy<Value = Vec<u8>> {
    let request =
        (vec(extra_header(), 0..3), vec(any::<u8>(), 0..40)).prop_map(|(extras, body)| {
            let headers = headers_of("INFO", "h", extras);
            let lines: String =
                headers.iter().map(|it| format!("{}: {}\r\n", it.name, it.value)).collect();
            let head = format!("INFO sip:a@h SIP/2.0\r\n{lines}l: {}\r\n\r\n", body.len());
            [head.as_bytes(), &body].concat()
        });
    let torture = any::<Index>().prop_map(|index| index.get(&fixture::all("rfc4475")).1.clone());
    let blank = select(&["\r\n\r\n", "\n", "\r\n"][..]).prop_map(|blank| blank.as_bytes().to_vec());
    prop_oneof![6 => request, 2 => torture, 2 => blank, 1 => vec(any::<u8>(), 0..40)]
}

/// What a connection carries, read in these pieces, up to where it must be closed.
fn messages_in(reads: &[&[u8]]) -> Vec<Result<Message, FramingError>> {
    let mut framer = StreamFramer::default();
    let mut messages = Vec::new();
    for read in reads {
        framer.push(read);
        while let Some(message) = framer.next_message() {
            let is_last = message.as_ref().is_err_and(|error| error.loses_framing());
            messages.push(message);
            if is_last {
                return messages;
            }
        }
    }
    messages
}

fn build(method: &str, uri: &str, headers: &[Header]) -> Bytes {
    let headers: Vec<(&str, String)> =
        headers.iter().map(|header| (header.name.as_str(), header.value.clone())).collect();
    message::request(method, uri, &headers)
}

fn read_request(bytes: &[u8]) -> Request {
    match parse_datagram(bytes) {
        Ok(Some(Message::Request(request))) => request,
        other => panic!("expected a request, got {other:?} from {bytes:?}"),
    }
}

fn read_response(bytes: &[u8]) -> Response {
    match parse_datagram(bytes) {
        Ok(Some(Message::Response(response))) => response,
        other => panic!("expected a response, got {other:?} from {bytes:?}"),
    }
}
