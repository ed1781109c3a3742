//! The user agent in virtual time, against a peer that is written out.

mod invites;
mod legs;
mod moves;
mod properties;
mod registering;
mod sessions;
mod streams;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const PEER: &str = "192.0.2.10:5090";
const LOCAL: &str = "10.0.0.5:5060";
const SDP: &str = "v=0\r\n";

struct Harness {
    user_agent: UserAgent,
    now: Instant,
    /// What the peer's messages come on.
    flow: Flow,
}

impl Harness {
    fn new() -> Self {
        let account = Account {
            domain: "sip.ringcentral.com".into(),
            user_name: "18002097562*102".into(),
            authorization_id: "802512345678".into(),
            password: "password".into(),
            instance: uuid::Uuid::from_u128(1),
        };
        let config = UserAgentConfig { account, max_legs: 2 };
        let user_agent = UserAgent::new(config, StdRng::seed_from_u64(1));
        Self { user_agent, now: Instant::now(), flow: Flow::Udp(address(PEER)) }
    }

    /// The device registered over a connection with this number, which the peer's messages come on from now on.
    fn register_over(&mut self, stream: u64) {
        let (stream, local) = (StreamId::tcp(stream), address(LOCAL));
        self.flow = Flow::Stream(stream);
        self.user_agent.handle_stream_opened(stream, local);
        self.user_agent.register(self.now, self.flow, local);
        let register = self.sent_one();
        self.receive(&reply(&register, "200 OK", "Expires: 3600\r\n", ""));
        assert_eq!(self.events(), [Event::Registered { expires: Duration::from_secs(3600) }]);
    }

    fn receive(&mut self, text: &str) {
        let (now, bytes) = (self.now, text.as_bytes());
        match self.flow {
            Flow::Udp(peer) => self.user_agent.handle_datagram(now, address(LOCAL), peer, bytes),
            Flow::Stream(stream) => self.user_agent.handle_stream_bytes(now, stream, bytes),
        }
    }

    /// Without the keep-alives of the registered flow, which are tested where they are made.
    fn sent_with_flows(&mut self) -> Vec<(Flow, String)> {
        std::iter::from_fn(|| self.user_agent.poll_transmit())
            .map(|transmit| (transmit.flow, String::from_utf8(transmit.bytes.to_vec()).unwrap()))
            .filter(|(_, text)| text != "\r\n\r\n")
            .collect()
    }

    fn sent(&mut self) -> Vec<String> {
        self.sent_with_flows().into_iter().map(|(_, text)| text).collect()
    }

    fn sent_one(&mut self) -> String {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// The status codes of the responses that were sent.
    fn statuses(&mut self) -> Vec<String> {
        self.sent().iter().map(|text| status(text).to_owned()).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.user_agent.poll_event()).collect()
    }

    /// Lets virtual time pass, serving every timeout; gives what was sent, with the milliseconds it was sent at.
    fn pass(&mut self, duration: Duration) -> Vec<(u128, String)> {
        let (start, end) = (self.now, self.now + duration);
        let mut sent = Vec::new();
        while let Some(at) = self.user_agent.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.user_agent.handle_timeout(self.now);
            let next = self.user_agent.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "what is due has been done");
            let elapsed = (self.now - start).as_millis();
            sent.extend(self.sent().into_iter().map(|text| (elapsed, text)));
        }
        self.now = end;
        sent
    }

    fn pass_s(&mut self, seconds: u64) -> Vec<(u128, String)> {
        self.pass(Duration::from_secs(seconds))
    }

    fn answer(&mut self, leg: LegId) {
        self.user_agent.answer(self.now, leg, address(LOCAL), SDP);
    }

    fn invite(&mut self) -> LegId {
        self.invited(&invite("1", SDP))
    }

    fn invited(&mut self, invite: &str) -> LegId {
        self.receive(invite);
        match self.events().as_slice() {
            [Event::Invited(invite)] => invite.leg,
            other => panic!("expected an invite, got {other:?}"),
        }
    }

    /// A confirmed leg, and our tag on it.
    fn confirmed(&mut self) -> (LegId, String) {
        self.confirmed_by(&invite("1", SDP))
    }

    /// A confirmed leg that this INVITE opened, and our tag on it.
    fn confirmed_by(&mut self, invite: &str) -> (LegId, String) {
        let leg = self.invited(invite);
        self.answer(leg);
        let tag = tag_of(self.sent().last().unwrap());
        self.receive(&in_dialog("ACK", 1, &tag, ""));
        assert_eq!(self.events(), [Event::Confirmed { leg, answer: None }]);
        (leg, tag)
    }

    fn ended(&mut self, leg: LegId, reason: EndReason) {
        assert_eq!(self.events(), [Event::Ended { leg, reason }]);
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn invite(branch: &str, body: &str) -> String {
    format!(
        "INVITE sip:18002097562*102@192.168.42.15:62931;transport=UDP;ob SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.62.192.70:5091;branch=z9hG4bK{branch}\r\n\
         Record-Route: <sip:edge;lr>\r\nFrom: <sip:+16508370072@10.62.192.70>;tag=remote\r\n\
         To: <sip:18002097562*102@192.168.12.3;ob>\r\nContact: <sip:+16508370072@10.62.192.70:5091>\r\n\
         Call-ID: 198dd3\r\nCSeq: 1 INVITE\r\n\
         p-rc-api-ids: party-id=cs1-6;session-id=Y3Mx\r\nSupported: replaces, timer\r\n\
         Session-Expires: 14400;refresher=uac\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn in_dialog(method: &str, cseq: u32, tag: &str, body: &str) -> String {
    format!(
        "{method} sip:x@10.0.0.5:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.62.192.70:5091;branch=z9hG4bK{method}{cseq}\r\n\
         From: <sip:+16508370072@10.62.192.70>;tag=remote\r\nTo: <sip:18002097562*102@x>;tag={tag}\r\n\
         Contact: <sip:moved@10.62.192.71>\r\n\
         Call-ID: 198dd3\r\nCSeq: {cseq} {method}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The peer's response to a request of ours.
fn reply(request: &str, status: &str, extra: &str, body: &str) -> String {
    let copied = request.lines().take_while(|line| !line.is_empty()).filter(|line| {
        ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
    });
    let copied: Vec<&str> = copied.collect();
    let len = body.len();
    format!(
        "SIP/2.0 {status}\r\n{}\r\n{extra}Content-Length: {len}\r\n\r\n{body}",
        copied.join("\r\n")
    )
}

fn tag_of(response: &str) -> String {
    let to = response.lines().find(|line| line.starts_with("To:")).unwrap();
    to.split_once(";tag=").unwrap().1.to_owned()
}

fn status(message: &str) -> &str {
    &message.lines().next().unwrap()[8..11]
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = message.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn starts(messages: &[(u128, String)]) -> Vec<(u128, &str)> {
    messages.iter().map(|(at, text)| (*at, text.split(' ').next().unwrap_or_default())).collect()
}
