//! SIP messages: rsip's headers with the accessors that a user agent needs, and the building of responses.

use std::net::SocketAddr;

use bytes::Bytes;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::{Header, Headers, StatusCode};

use super::Flow;
use super::framing::{Defect, header};

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
    pub headers: Headers,
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
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

/// A request's method. Methods are case-sensitive (RFC 3261 section 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// One that rsip names.
    Known(rsip::Method),
    /// An extension.
    Extension(String),
}

/// A response on its way out.
#[derive(Debug)]
pub struct ResponseBuilder {
    response: rsip::Response,
}

/// Reads the headers that requests and responses share.
pub trait HeaderValues {
    /// The headers.
    fn headers(&self) -> &Headers;

    /// The values of every header with this name, compared without regard to case, in order.
    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers().iter().filter_map(move |header| value_if(header, name))
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
        let (number, method) = self.value("CSeq")?.split_once([' ', '\t'])?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The URI of the first Contact, without brackets and header parameters.
    fn contact_uri(&self) -> Option<String> {
        let contact = self.value("Contact").and_then(|contacts| split_list(contacts).next())?;
        let typed = rsip::headers::Contact::new(contact).typed().map(|typed| typed.uri.to_string());
        // rsip refuses IPv6 literals, which are as good a target as any.
        typed.ok().or_else(|| bracketed_uri(contact).map(str::to_owned))
    }
}

impl HeaderValues for Request {
    fn headers(&self) -> &Headers {
        &self.headers
    }
}

impl HeaderValues for Response {
    fn headers(&self) -> &Headers {
        &self.headers
    }
}

impl Method {
    /// Reads a method; `None` if it is no token.
    pub fn parse(text: &str) -> Option<Self> {
        let known = rsip::Method::all().into_iter().find(|method| method.to_string() == text);
        match known {
            Some(method) => Some(Method::Known(method)),
            None if text.chars().all(is_token) => Some(Method::Extension(text.to_owned())),
            None => None,
        }
    }

    /// As on the wire.
    pub fn name(&self) -> String {
        match self {
            Method::Known(method) => method.to_string(),
            Method::Extension(name) => name.clone(),
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
        self.top_via().is_none().then_some(Defect::Header("Via"))
    }

    /// Whether enough is there to send a response to: RFC 3261 section 8.2.6.
    pub fn is_answerable(&self) -> bool {
        ["Via", "From", "To", "Call-ID", "CSeq"].iter().all(|name| self.value(name).is_some())
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

impl ResponseBuilder {
    /// A response with everything that must be copied from the request, all Via and Record-Route lines in order
    /// (RFC 3261 sections 8.2.6.2 and 12.1.1). `peer` fills `received` and `rport` (RFC 3581).
    pub fn new(request: &Request, code: u16, reason: &str, peer: Option<SocketAddr>) -> Self {
        let mut headers = Headers::default();
        let mut first_via = true;
        for header in request.headers.iter() {
            match header {
                Header::Via(via) if first_via => {
                    first_via = false;
                    headers.push(with_received(via.value(), peer));
                }
                Header::Via(_)
                | Header::From(_)
                | Header::To(_)
                | Header::CallId(_)
                | Header::CSeq(_) => headers.push(header.clone()),
                Header::RecordRoute(_) if (101..300).contains(&code) => {
                    headers.push(header.clone())
                }
                _ => {}
            }
        }
        let response = rsip::Response {
            status_code: StatusCode::Other(code, reason.to_owned()),
            version: rsip::Version::V2,
            headers,
            body: Vec::new(),
        };
        Self { response }
    }

    /// Adds our tag to To, unless the request already names the dialog.
    pub fn to_tag(mut self, tag: &str) -> Self {
        for header in self.response.headers.iter_mut() {
            if let Header::To(to) = header
                && parameter(to.value(), "tag").is_none()
            {
                let tagged = format!("{};tag={tag}", to.value());
                to.replace(tagged);
            }
        }
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.response.headers.push(header(name, value));
        self
    }

    /// Sets an SDP body.
    pub fn sdp(mut self, sdp: &str) -> Self {
        self.response.body = sdp.as_bytes().to_vec();
        self.header("Content-Type", "application/sdp")
    }

    /// The bytes to send.
    pub fn build(mut self) -> Bytes {
        let len = self.response.body.len().to_string();
        self = self.header("Content-Length", &len);
        Bytes::from(self.response.to_string())
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
    let kind = sdp.map(|_| header("Content-Type", "application/sdp"));
    let body = sdp.unwrap_or_default();
    let headers = headers.iter().map(|(name, value)| header(name, value));
    let headers: Vec<Header> =
        headers.chain(kind).chain([header("Content-Length", &body.len().to_string())]).collect();
    Bytes::from(format!("{method} {uri} SIP/2.0\r\n{}\r\n{body}", Headers::from(headers)))
}

/// Our Via for a request on a flow.
pub fn via(flow: Flow, local: SocketAddr, branch: &str) -> String {
    format!("SIP/2.0/{} {local};rport;branch={branch}", flow.transport())
}

/// A parameter of a header value that follows the name-addr, if any: `<sip:a;x=1>;tag=2` has `tag` and no `x`.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    after_uri(value).split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        key.trim().eq_ignore_ascii_case(name).then_some(value).filter(|value| !value.is_empty())
    })
}

/// What follows the URI of a name-addr; all of an addr-spec. Brackets within quotes are not the URI's.
fn after_uri(value: &str) -> &str {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = value.find(|c| {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        c == '>' && !is_quoted
    });
    end.map_or(value, |end| &value[end + 1..])
}

/// The URI of a name-addr or addr-spec, without brackets and header parameters.
pub fn bracketed_uri(name_addr: &str) -> Option<&str> {
    match name_addr.split_once('<') {
        Some((_, rest)) => rest.split_once('>').map(|(uri, _)| uri),
        None => name_addr.split(';').next(),
    }
    .map(str::trim)
    .filter(|uri| !uri.is_empty())
}

/// The elements of a comma-separated header value; commas in quotes and angle brackets do not count.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut bracketed = false;
    value
        .split(move |c| {
            match c {
                '"' if !bracketed => quoted = !quoted,
                '<' if !quoted => bracketed = true,
                '>' if !quoted => bracketed = false,
                _ => {}
            }
            c == ',' && !quoted && !bracketed
        })
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// The text of a header, if it has this name.
fn value_if<'a>(header: &'a Header, name: &str) -> Option<&'a str> {
    let value = match header {
        Header::Via(via) if name.eq_ignore_ascii_case("Via") => via.value(),
        Header::From(from) if name.eq_ignore_ascii_case("From") => from.value(),
        Header::To(to) if name.eq_ignore_ascii_case("To") => to.value(),
        Header::CallId(id) if name.eq_ignore_ascii_case("Call-ID") => id.value(),
        Header::CSeq(cseq) if name.eq_ignore_ascii_case("CSeq") => cseq.value(),
        Header::Contact(contact) if name.eq_ignore_ascii_case("Contact") => contact.value(),
        Header::RecordRoute(route) if name.eq_ignore_ascii_case("Record-Route") => route.value(),
        Header::ContentType(kind) if name.eq_ignore_ascii_case("Content-Type") => kind.value(),
        Header::Expires(expires) if name.eq_ignore_ascii_case("Expires") => expires.value(),
        Header::MinExpires(expires) if name.eq_ignore_ascii_case("Min-Expires") => expires.value(),
        Header::AlertInfo(info) if name.eq_ignore_ascii_case("Alert-Info") => info.value(),
        Header::CallInfo(info) if name.eq_ignore_ascii_case("Call-Info") => info.value(),
        Header::Supported(options) if name.eq_ignore_ascii_case("Supported") => options.value(),
        Header::Require(options) if name.eq_ignore_ascii_case("Require") => options.value(),
        Header::Allow(methods) if name.eq_ignore_ascii_case("Allow") => methods.value(),
        Header::RetryAfter(seconds) if name.eq_ignore_ascii_case("Retry-After") => seconds.value(),
        Header::WwwAuthenticate(challenge) if name.eq_ignore_ascii_case("WWW-Authenticate") => {
            challenge.value()
        }
        Header::ProxyAuthenticate(challenge) if name.eq_ignore_ascii_case("Proxy-Authenticate") => {
            challenge.value()
        }
        Header::Other(other, value) if name.eq_ignore_ascii_case(other) => value,
        _ => return None,
    };
    Some(value)
}

fn with_received(vias: &str, peer: Option<SocketAddr>) -> Header {
    let (top, rest) = match split_list(vias).next() {
        Some(top) => (top, &vias[vias.find(top).unwrap_or(0) + top.len()..]),
        None => (vias, ""),
    };
    let asks_for_port =
        top.split(';').skip(1).any(|parameter| parameter.trim().eq_ignore_ascii_case("rport"));
    match peer {
        Some(peer) if asks_for_port => {
            let others: Vec<&str> = top
                .split(';')
                .filter(|parameter| !parameter.trim().eq_ignore_ascii_case("rport"))
                .collect();
            let top = others.join(";");
            header("Via", &format!("{top};rport={};received={}{rest}", peer.port(), peer.ip()))
        }
        _ => header("Via", vias),
    }
}

fn sdp<'a>(message: &impl HeaderValues, body: &'a [u8]) -> Option<&'a [u8]> {
    let is_sdp = message
        .value("Content-Type")
        .is_none_or(|kind| kind.trim().to_ascii_lowercase().starts_with("application/sdp"));
    (is_sdp && !body.is_empty()).then_some(body)
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c)
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
        assert_eq!(invite.contact_uri().as_deref(), Some("sip:+1650@10.0.0.1:5091;transport=TCP"));
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
