//! Small helpers over the SIP message types.

use super::Flow;
use rsip::headers::UntypedHeader;
use rsip::message::{HasHeaders, HeadersExt};
use rsip::{Header, Headers, Request, Response, StatusCode};

/// The value of the first header of that name, whatever its case.
pub(crate) fn header<'a>(message: &'a impl HasHeaders, name: &str) -> Option<&'a str> {
    message.headers().iter().find_map(|header| match header {
        Header::Other(other, value) if other.eq_ignore_ascii_case(name) => Some(value.as_str()),
        Header::Contact(value) if name == "Contact" => Some(value.value()),
        Header::Authorization(value) if name == "Authorization" => Some(value.value()),
        Header::Expires(value) if name == "Expires" => Some(value.value()),
        _ => None,
    })
}

/// The URI in a name-addr such as `"Name" <sip:user@host;transport=TCP>;expires=60`, or the whole
/// of an addr-spec up to its parameters (RFC 3261 section 20.10).
pub(crate) fn uri_in(name_addr: &str) -> &str {
    match name_addr.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => name_addr.split(';').next().unwrap_or(name_addr).trim(),
    }
}

/// A parameter of the header itself, outside of the URI's angle brackets.
pub(crate) fn parameter<'a>(name_addr: &'a str, name: &str) -> Option<&'a str> {
    let parameters = match name_addr.rsplit_once('>') {
        Some((_, parameters)) => parameters,
        None => name_addr.split_once(';').map_or("", |(_, parameters)| parameters),
    };
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The user part of a SIP URI, as it is written.
pub(crate) fn user_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once(':')?;
    let (user, _) = rest.rsplit_once('@')?;
    Some(user.split(':').next().unwrap_or(user))
}

/// A response to `request` with the headers that RFC 3261 section 8.2.6.2 copies, and the address
/// that section 18.2.1 and RFC 3581 add to the topmost Via. `to_tag` is used when To has none.
pub(crate) fn response_to(
    request: &Request,
    flow: &Flow,
    status: u16,
    to_tag: &str,
    extra: Vec<Header>,
) -> Response {
    let mut headers = Headers::default();
    let mut is_topmost = true;
    for header in request.headers.iter() {
        match header {
            Header::Via(via) if is_topmost => {
                is_topmost = false;
                headers.push(Header::Via(rsip::headers::Via::new(with_source(via.value(), flow))));
            }
            Header::To(to) => {
                let value = match parameter(to.value(), "tag") {
                    Some(_) => to.value().to_owned(),
                    None => format!("{};tag={to_tag}", to.value()),
                };
                headers.push(Header::To(rsip::headers::To::new(value)));
            }
            Header::Via(_) | Header::From(_) | Header::CallId(_) | Header::CSeq(_) => {
                headers.push(header.clone());
            }
            _ => {}
        }
    }
    headers.extend(extra);
    headers.push(Header::ContentLength(rsip::headers::ContentLength::new("0")));
    Response { status_code: StatusCode::from(status), headers, ..Default::default() }
}

/// The identity of a message's dialog or registration.
pub(crate) fn call_id(message: &impl HeadersExt) -> Option<&str> {
    message.call_id_header().ok().map(|header| header.value())
}

/// The sequence number and method.
pub(crate) fn cseq(message: &impl HeadersExt) -> Option<(u32, rsip::Method)> {
    let header = message.cseq_header().ok()?;
    Some((header.seq().ok()?, header.method().ok()?))
}

fn with_source(via: &str, flow: &Flow) -> String {
    let mut value = String::new();
    for (n, part) in via.split(';').enumerate() {
        if n > 0 {
            value.push(';');
        }
        if part.trim().eq_ignore_ascii_case("rport") {
            value.push_str(&format!("rport={}", flow.peer.port()));
        } else {
            value.push_str(part);
        }
    }
    value.push_str(&format!(";received={}", flow.peer.ip()));
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Channel;

    #[test]
    fn name_addrs_are_taken_apart() {
        let contact = "\"GW\" <sip:1800*102@10.0.0.4:5062;transport=TLS;ob>;reg-id=1;\
            +sip.instance=\"<urn:uuid:1>\";expires=60";
        assert_eq!(uri_in(contact), "sip:1800*102@10.0.0.4:5062;transport=TLS;ob");
        assert_eq!(parameter(contact, "expires"), Some("60"));
        assert_eq!(parameter(contact, "transport"), None);
        assert_eq!(user_of(uri_in(contact)), Some("1800*102"));
        assert_eq!(uri_in("sip:a@b;tag=1"), "sip:a@b");
        assert_eq!(parameter("sip:a@b;tag=1", "TAG"), Some("1"));
        assert_eq!(user_of("sip:b"), None);
        assert_eq!(uri_in("<"), "");
    }

    #[test]
    fn a_response_carries_every_via_and_the_source_address() {
        let request = Request::try_from(
            "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.4:5062;rport;branch=z9hG4bK1\r\n\
             Via: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bK2\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 7 OPTIONS\r\n\r\n",
        )
        .unwrap();
        let flow = Flow {
            channel: Channel::Udp,
            peer: "127.0.0.1:4000".parse().unwrap(),
            local: "127.0.0.1:5060".parse().unwrap(),
        };
        let response = response_to(&request, &flow, 200, "mine", vec![]).to_string();
        assert!(response.starts_with("SIP/2.0 200 OK\r\n"), "{response}");
        for line in [
            "Via: SIP/2.0/UDP 10.0.0.4:5062;rport=4000;branch=z9hG4bK1;received=127.0.0.1\r\n",
            "Via: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bK2\r\n",
            "To: <sip:a@b>;tag=mine\r\n",
            "CSeq: 7 OPTIONS\r\n",
        ] {
            assert!(response.contains(line), "{line:?} not in {response}");
        }
    }
}
