//! SIP messages: their headers with the accessors that a user agent needs, and the building of responses.

use std::net::SocketAddr;

use bytes::Bytes;

use super::Flow;
use super::framing::Defect;
use super::syntax::{self, Address, UriError, is_token, number};
pub use super::syntax::{bracketed_uri, parameter, split_list};

/// The methods that [`UserAgent`](super::UserAgent) serves, as they stand in `Allow`.
pub const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, UPDATE, INFO, NOTIFY, MESSAGE, OPTIONS";

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// A request that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// The Request-URI as written: it is never interpreted, because it names this user agent by whatever address the
    /// registration travelled through.
    pub uri: String,
    /// All headers in order, compact names written out, lines unfolded.
    pub headers: Vec<Header>,
    /// The body, as long as Content-Length says.
    pub body: Vec<u8>,
    /// What is wrong with it, if anything.
    pub defect: Option<Defect>,
}

/// A response that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 100 to 699.
    pub code: u16,
    /// All headers in order.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
}

/// A header line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As written, or the full name if that was a compact one. Names are compared without regard to case.
    pub name: String,
    /// On one line, without blanks around it.
    pub value: String,
}

/// A request's method. Methods are case-sensitive (RFC 3261 section 7.1).
#[allow(missing_docs)] // The variants have the names of the methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    Ack,
    Bye,
    Cancel,
    Info,
    Invite,
    Message,
    Notify,
    Options,
    Prack,
    Publish,
    Refer,
    Register,
    Subscribe,
    Update,
    /// One that this user agent has never heard of.
    Extension(String),
}

/// What a request asks for that this user agent does not have (RFC 3261 section 8.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// 420: these extensions, in a list.
    Extensions(String),
    /// 415: to understand a body that is no SDP, or is compressed.
    ContentType,
    /// 406: an answer that is no SDP.
    Accept,
}

/// A response on its way out.
#[derive(Debug)]
pub struct ResponseBuilder {
    start_line: String,
    headers: Vec<Header>,
    body: Vec<u8>,
}

/// Reads the headers that requests and responses share.
pub trait HeaderValues {
    /// The headers.
    fn headers(&self) -> &[Header];

    /// The values of every header with this name, compared without regard to case, in order.
    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.headers().iter().filter(move |header| header.is(name));
        named.map(|header| header.value.as_str())
    }

    /// The first value of a header.
    fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// Call-ID.
    fn call_id(&self) -> Option<&str> {
        self.value("Call-ID").filter(|id| !id.is_empty())
    }

    /// The tag of From.
    fn tag_in_from(&self) -> Option<&str> {
        self.value("From").and_then(|from| parameter(from, "tag"))
    }

    /// The tag of To: absent in requests that open a dialog.
    fn tag_in_to(&self) -> Option<&str> {
        self.value("To").and_then(|to| parameter(to, "tag"))
    }

    /// The branch of the topmost Via.
    fn branch(&self) -> Option<&str> {
        self.top_via().and_then(|via| parameter(via, "branch"))
    }

    /// The topmost Via, also where several share a line.
    fn top_via(&self) -> Option<&str> {
        self.value("Via").and_then(|vias| split_list(vias).next())
    }

    /// Number and method of CSeq.
    fn cseq(&self) -> Option<(u32, &str)> {
        let (digits, method) = self.value("CSeq")?.split_once([' ', '\t'])?;
        Some((number(digits)?, method.trim()))
    }

    /// The URI of the first Contact, without brackets and header parameters.
    fn contact_uri(&self) -> Option<String> {
        let contact = self.value("Contact").and_then(|contacts| split_list(contacts).next())?;
        Address::parse(contact).map(|address| address.uri.to_owned())
    }
}

impl HeaderValues for Request {
    fn headers(&self) -> &[Header] {
        &self.headers
    }
}

impl HeaderValues for Response {
    fn headers(&self) -> &[Header] {
        &self.headers
    }
}

impl Header {
    /// A header of ours.
    pub fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned() }
    }

    /// Whether it has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl Method {
    const KNOWN: [Method; 14] = [
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Info,
        Method::Invite,
        Method::Message,
        Method::Notify,
        Method::Options,
        Method::Prack,
        Method::Publish,
        Method::Refer,
        Method::Register,
        Method::Subscribe,
        Method::Update,
    ];

    /// Reads a method; `None` if it is no token.
    pub fn parse(text: &str) -> Option<Self> {
        let known = Self::KNOWN.into_iter().find(|method| method.name() == text);
        known.or_else(|| is_token(text).then(|| Method::Extension(text.to_owned())))
    }

    /// As on the wire.
    pub fn name(&self) -> &str {
        match self {
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Info => "INFO",
            Method::Invite => "INVITE",
            Method::Message => "MESSAGE",
            Method::Notify => "NOTIFY",
            Method::Options => "OPTIONS",
            Method::Prack => "PRACK",
            Method::Publish => "PUBLISH",
            Method::Refer => "REFER",
            Method::Register => "REGISTER",
            Method::Subscribe => "SUBSCRIBE",
            Method::Update => "UPDATE",
            Method::Extension(name) => name,
        }
    }
}

impl Request {
    /// What of RFC 3261 section 8.1.1's mandatory headers is not as it must be.
    pub(super) fn find_defect(&self) -> Option<Defect> {
        for name in ["Call-ID", "From", "To", "CSeq"] {
            let mut values = self.values(name);
            let one = values.next().is_some_and(|value| !value.is_empty());
            if !one || values.next().is_some() {
                return Some(Defect::Header(name));
            }
        }
        let method = self.method.name();
        if self.cseq().is_none_or(|(number, of)| number > i32::MAX as u32 || of != method) {
            return Some(Defect::Header("CSeq"));
        }
        if self.tag_in_from().is_none() {
            return Some(Defect::Header("From"));
        }
        for name in ["From", "To"] {
            if self.value(name).and_then(Address::parse).is_none() {
                return Some(Defect::Header(name));
            }
        }
        let mut contacts = self.values("Contact").flat_map(split_list);
        if !contacts.all(|contact| contact == "*" || Address::parse(contact).is_some()) {
            return Some(Defect::Header("Contact"));
        }
        if !self.top_via().is_some_and(syntax::is_via) {
            return Some(Defect::Header("Via"));
        }
        match syntax::check_request_uri(&self.uri) {
            Ok(()) => None,
            Err(UriError::Malformed) => Some(Defect::RequestUri),
            Err(UriError::Scheme) => Some(Defect::UriScheme),
        }
    }

    /// Whether a response can be sent: it needs a Via to find its way by, and leaves out what else is missing.
    pub fn is_answerable(&self) -> bool {
        self.top_via().is_some()
    }

    /// What it asks for that is not to be had, if anything. Methods that are refused anyway, or whose refusal would help
    /// nobody (BYE), ask for nothing.
    pub fn unmet(&self) -> Option<Unmet> {
        let can_bring_an_offer = match self.method {
            Method::Invite | Method::Update => true,
            Method::Info | Method::Message | Method::Notify | Method::Options => false,
            _ => return None,
        };
        let unknown: Vec<&str> = self
            .values("Require")
            .flat_map(split_list)
            .filter(|option| !option.eq_ignore_ascii_case("timer"))
            .collect();
        if !unknown.is_empty() {
            return Some(Unmet::Extensions(unknown.join(", ")));
        }
        if !can_bring_an_offer {
            return None;
        }
        let is_plain = self
            .value("Content-Encoding")
            .is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
        let is_readable = is_plain && self.sdp().is_some();
        if !self.body.is_empty() && !is_readable {
            return Some(Unmet::ContentType);
        }
        let accepts = |range: &str| {
            let kind = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            ["application/sdp", "application/*", "*/*"].contains(&kind.as_str())
        };
        let mut accepted = self.values("Accept").peekable();
        (accepted.peek().is_some() && !accepted.flat_map(split_list).any(accepts))
            .then_some(Unmet::Accept)
    }

    /// The body, if it is there and its type is that of SDP or unsaid.
    pub fn sdp(&self) -> Option<&[u8]> {
        sdp(self, &self.body)
    }
}

impl Response {
    /// The body, if it is there and its type is that of SDP or unsaid.
    pub fn sdp(&self) -> Option<&[u8]> {
        sdp(self, &self.body)
    }
}

impl Unmet {
    /// Status code, reason phrase, and the header that says what would have been all right.
    pub fn refusal(&self) -> (u16, &'static str, Header) {
        match self {
            Unmet::Extensions(options) => {
                (420, "Bad Extension", Header::new("Unsupported", options))
            }
            Unmet::ContentType => {
                (415, "Unsupported Media Type", Header::new("Accept", "application/sdp"))
            }
            Unmet::Accept => (406, "Not Acceptable", Header::new("Accept", "application/sdp")),
        }
    }
}

impl ResponseBuilder {
    /// A response with everything that must be copied from the request, all Via and Record-Route lines in order
    /// (RFC 3261 sections 8.2.6.2 and 12.1.1). `peer` fills `received` and `rport` (RFC 3581).
    pub fn new(request: &Request, code: u16, reason: &str, peer: Option<SocketAddr>) -> Self {
        let mut headers: Vec<Header> = Vec::new();
        for Header { name, value } in &request.headers {
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
            let is_new = || !headers.iter().any(|copied| copied.is(name));
            if is("Via") && is_new() {
                headers.push(Header::new("Via", &with_received(value, peer)));
            } else if is("Via") || (is("Record-Route") && (101..300).contains(&code)) {
                headers.push(Header::new(name, value));
            } else if ["From", "To", "Call-ID", "CSeq"].into_iter().any(is) && is_new() {
                // The request may have a second one, which is why it is refused. The response has not.
                headers.push(Header::new(name, value));
            }
        }
        Self { start_line: format!("SIP/2.0 {code} {reason}"), headers, body: Vec::new() }
    }

    /// Adds our tag to To, unless the request already names the dialog.
    pub fn to_tag(mut self, tag: &str) -> Self {
        let to = self.headers.iter_mut().find(|header| header.is("To"));
        if let Some(to) = to.filter(|to| parameter(&to.value, "tag").is_none()) {
            to.value.push_str(";tag=");
            to.value.push_str(tag);
        }
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Sets an SDP body.
    pub fn sdp(mut self, sdp: &str) -> Self {
        self.body = sdp.as_bytes().to_vec();
        self.header("Content-Type", "application/sdp")
    }

    /// The bytes to send.
    pub fn build(self) -> Bytes {
        serialise(&self.start_line, &self.headers, &self.body)
    }
}

/// Builds a request of ours without a body.
pub fn request(method: &str, uri: &str, headers: &[(&str, String)]) -> Bytes {
    request_with_sdp(method, uri, headers, None)
}

/// Builds a request of ours.
pub fn request_with_sdp(
    method: &str,
    uri: &str,
    headers: &[(&str, String)],
    sdp: Option<&str>,
) -> Bytes {
    let kind = sdp.map(|_| Header::new("Content-Type", "application/sdp"));
    let headers = headers.iter().map(|(name, value)| Header::new(name, value));
    let headers: Vec<Header> = headers.chain(kind).collect();
    serialise(&format!("{method} {uri} SIP/2.0"), &headers, sdp.unwrap_or_default().as_bytes())
}

/// Our Via for a request on a flow.
pub fn via(flow: Flow, local: SocketAddr, branch: &str) -> String {
    format!("SIP/2.0/{} {local};rport;branch={branch}", flow.transport())
}

fn sdp<'a>(message: &impl HeaderValues, body: &'a [u8]) -> Option<&'a [u8]> {
    let is_sdp = message
        .value("Content-Type")
        .is_none_or(|kind| kind.to_ascii_lowercase().starts_with("application/sdp"));
    (is_sdp && !body.is_empty()).then_some(body)
}

fn serialise(start_line: &str, headers: &[Header], body: &[u8]) -> Bytes {
    let mut text = format!("{start_line}\r\n");
    for Header { name, value } in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    Bytes::from(bytes)
}

/// The Via line with its topmost element saying where the request came from, if it asks for that.
fn with_received(vias: &str, peer: Option<SocketAddr>) -> String {
    let (Some(peer), Some(top)) = (peer, split_list(vias).next()) else { return vias.to_owned() };
    let rest = &vias[vias.find(top).unwrap_or(0) + top.len()..];
    let is_rport = |parameter: &str| parameter.trim().eq_ignore_ascii_case("rport");
    if !top.split(';').skip(1).any(is_rport) {
        return vias.to_owned();
    }
    let others: Vec<&str> = top.split(';').filter(|parameter| !is_rport(parameter)).collect();
    format!("{};rport={};received={}{rest}", others.join(";"), peer.port(), peer.ip())
}

#[cfg(test)]
mod tests {
    use super::super::framing::parse_datagram;
    use super::*;

    fn parse(text: &str) -> Request {
        match parse_datagram(text.as_bytes()) {
            Ok(Some(Message::Request(request))) => request,
            other => panic!("expected a request, got {other:?}"),
        }
    }

    const INVITE: &str = "INVITE sip:18002097562*102@192.168.42.15:62931;transport=TCP;ob SIP/2.0\r\n\
        Via: SIP/2.0/UDP a:1;rport;branch=z9hG4bKa, SIP/2.0/TCP b;branch=z9hG4bKb\r\n\
        Record-Route: <sip:r1;lr>\r\nVia: SIP/2.0/TCP c;branch=z9hG4bKc\r\nRecord-Route: <sip:r2;lr>\r\n\
        From: \"A; <b>\" <sip:+1650@10.0.0.1;tag=no>;tag=yes\r\nTo: <sip:x@y;ob>\r\n\
        Contact: <sip:+1650@10.0.0.1:5091;transport=tcp>\r\nCall-ID: id\r\nCSeq: 31268 INVITE\r\n\
        Content-Length: 0\r\n\r\n";

    #[test]
    fn parameters_are_those_of_the_header_not_of_its_uri() {
        let invite = parse(INVITE);
        assert_eq!(invite.tag_in_from(), Some("yes"));
        assert_eq!(invite.tag_in_to(), None);
        let contact =
            "\"\\\" <\" <sip:a@b;x=1>;expires=182;+sip.instance=\"<urn:uuid:1>\";reg-id=1";
        assert_eq!(parameter(contact, "expires"), Some("182"));
        assert_eq!(parameter(contact, "x"), None);
        assert_eq!(invite.branch(), Some("z9hG4bKa"));
        assert_eq!(invite.cseq(), Some((31268, "INVITE")));
        assert_eq!(invite.contact_uri().as_deref(), Some("sip:+1650@10.0.0.1:5091;transport=tcp"));
        let v6 = parse(&INVITE.replace("10.0.0.1:5091", "[2001:db8::1]:5091"));
        assert_eq!(v6.contact_uri().as_deref(), Some("sip:+1650@[2001:db8::1]:5091;transport=tcp"));
    }

    #[test]
    fn a_response_copies_via_and_record_route_in_order() {
        let peer = "192.0.2.1:4000".parse().unwrap();
        let bytes = ResponseBuilder::new(&parse(INVITE), 200, "OK", Some(peer))
            .to_tag("ours")
            .sdp("v=0\r\n")
            .build();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.starts_with("SIP/2.0 200 OK\r\n"), "{text}");
        let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} in {text}"));
        assert!(
            at(
                "Via: SIP/2.0/UDP a:1;branch=z9hG4bKa;rport=4000;received=192.0.2.1, SIP/2.0/TCP b;"
            ) < at("Via: SIP/2.0/TCP c;")
        );
        assert!(at("Record-Route: <sip:r1;lr>") < at("Record-Route: <sip:r2;lr>"));
        assert!(text.contains("To: <sip:x@y;ob>;tag=ours\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 5\r\n\r\nv=0\r\n"), "{text}");
    }
}
