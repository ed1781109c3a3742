//! Messages as no parser likes them, and all are allowed (RFC 3261 sections 7.3 and 18.3).

use super::Flow;
use bytes::Bytes;

/// How header names are spelled differently.
const SPELLINGS: [(&str, &str); 8] = [
    ("Content-Length", "l"),
    ("Call-ID", "Call-Id"),
    ("CSeq", "CSEQ"),
    ("From", "f"),
    ("Via", "VIA"),
    ("Contact", "contact"),
    ("p-rc-api-ids", "P-Rc-Api-Ids"),
    ("p-rc-api-monitoring-ids", "P-RC-API-Monitoring-IDs"),
];

/// The same message with unusual spellings of header names, compact ones among them.
pub(super) fn odd_spelling(message: &Bytes) -> Bytes {
    let Ok(text) = std::str::from_utf8(message) else { return message.clone() };
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let lines: Vec<String> = head
        .split("\r\n")
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match SPELLINGS.iter().find(|(usual, _)| name.eq_ignore_ascii_case(usual)) {
                Some((_, odd)) => format!("{odd}:{value}"),
                None => line.to_owned(),
            }
        })
        .collect();
    format!("{}\r\n\r\n{body}", lines.join("\r\n")).into()
}

/// The message behind another one, an OPTIONS: the first segment ends in its middle.
pub(super) fn segments(message: &Bytes, flow: &Flow) -> [Bytes; 2] {
    let local = flow.local;
    let options = format!(
        "OPTIONS sip:{peer} SIP/2.0\r\nVia: SIP/2.0/{} {local};branch=z9hG4bKoptions{port}\r\n\
         Max-Forwards: 69\r\nFrom: <sip:cloud@{local}>;tag=options\r\nTo: <sip:{peer}>\r\n\
         Call-ID: options-{port}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        flow.via_transport(),
        peer = flow.peer,
        port = flow.peer.port(),
    );
    let middle = message.len() / 2;
    let first = [options.as_bytes(), &message[..middle]].concat();
    [first.into(), message.slice(middle..)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Channel;
    use crate::sip::framing::{StreamFramer, datagram_message};
    use rsip::SipMessage;

    const INVITE: &str = "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP 1.2.3.4:5;branch=z9hG4bKx\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
        p-rc-api-ids: party-id=p-1-3\r\nContent-Length: 5\r\n\r\nv=0\r\n";

    #[test]
    fn spelling_changes_and_meaning_does_not() {
        let odd = odd_spelling(&INVITE.into());
        let text = String::from_utf8(odd.to_vec()).unwrap();
        assert!(
            text.contains("\r\nl: 5\r\n") && text.contains("\r\nP-Rc-Api-Ids: party"),
            "{text}"
        );
        let read = |bytes: &[u8]| match datagram_message(bytes).unwrap() {
            SipMessage::Request(request) => (request.body.clone(), request.headers.iter().count()),
            SipMessage::Response(_) => unreachable!(),
        };
        assert_eq!(read(&odd), read(INVITE.as_bytes()));
    }

    #[test]
    fn two_messages_come_out_of_two_segments() {
        let flow = Flow {
            channel: Channel::Tcp(1),
            peer: "127.0.0.1:4000".parse().unwrap(),
            local: "127.0.0.1:5060".parse().unwrap(),
        };
        let mut framer = StreamFramer::default();
        let [first, second] = segments(&INVITE.into(), &flow);
        let mut next = |bytes: &[u8]| {
            framer.push(bytes);
            std::iter::from_fn(|| framer.next_message().unwrap())
                .map(|message| match message {
                    SipMessage::Request(request) => request.method.to_string(),
                    SipMessage::Response(_) => unreachable!(),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(next(&first), ["OPTIONS"]);
        assert_eq!(next(&second), ["INVITE"]);
    }
}
