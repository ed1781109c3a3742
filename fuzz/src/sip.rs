//! SIP: one message, a stream of them, and the user agent that they are for.

use std::net::SocketAddr;
use std::time::Instant;

use media_gateway::sip::framing::{FramingError, StreamFramer, parse_datagram};
use media_gateway::sip::message::{HeaderValues, Message, Request, ResponseBuilder};
use media_gateway::sip::{Account, Event, Invite, StreamId, UserAgent, UserAgentConfig};
use rand::SeedableRng;
use rand::rngs::StdRng;

const LOCAL: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5060);
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5090);

/// Longer inputs find nothing that shorter ones do not, and their echo in a response may exceed the limits.
const MAX_INPUT_LEN: usize = 8 * 1024;

/// More than the retransmissions of everything that fits into one input.
const MAX_TIMEOUTS: u32 = 10_000;

/// Reads a datagram. A response to what was read must read back.
pub fn sip_message(data: &[u8]) {
    let data = &data[..data.len().min(MAX_INPUT_LEN)];
    match parse_datagram(data) {
        Ok(Some(Message::Request(request))) => answer(&request),
        Ok(Some(Message::Response(response))) => {
            assert!((100..700).contains(&response.code));
            let _ = (response.cseq(), response.contact_uri(), response.branch());
        }
        Ok(None) | Err(_) => {}
    }
}

/// Reads a stream, cut into pieces as long as the first byte says. How it is cut must not matter.
pub fn sip_stream(data: &[u8]) {
    let Some((piece_len, stream)) = data.split_first() else { return };
    let whole = messages_in([stream].into_iter());
    let pieces = messages_in(stream.chunks(usize::from(*piece_len).max(1)));
    assert_eq!(whole, pieces, "in pieces of {piece_len}");
}

/// Feeds a user agent, over UDP or TCP as the first byte says, with what NULs separate, and lets it run until it has
/// nothing left to do. `{tag}` stands for the tag that it gave itself last: the key to a dialog.
pub fn sip_user_agent(data: &[u8]) {
    let Some((transport, bytes)) = data.split_first() else { return };
    let account = Account {
        domain: "sip.example.com".into(),
        user_name: "user".into(),
        authorization_id: "id".into(),
        password: "password".into(),
        instance: Default::default(),
    };
    let config = UserAgentConfig { account, max_legs: 4 };
    let mut user_agent = UserAgent::new(config, StdRng::seed_from_u64(7));
    let mut now = Instant::now();
    let stream = StreamId::tcp(1);
    user_agent.handle_stream_opened(stream, LOCAL);
    let mut tag = String::new();
    for read in bytes.split(|byte| *byte == 0) {
        let read = with_tag(read, &tag);
        if transport % 2 == 0 {
            user_agent.handle_datagram(now, LOCAL, PEER, &read);
        } else {
            user_agent.handle_stream_bytes(now, stream, &read);
        }
        serve(&mut user_agent, now, &mut tag);
    }
    user_agent.handle_stream_closed(stream);
    let mut timeouts = 0;
    while let Some(at) = user_agent.poll_timeout() {
        timeouts += 1;
        assert!(timeouts < MAX_TIMEOUTS, "a user agent that hears nothing comes to rest");
        now = now.max(at);
        user_agent.handle_timeout(now);
        serve(&mut user_agent, now, &mut tag);
    }
}

fn with_tag(read: &[u8], tag: &str) -> Vec<u8> {
    let mut rest = read;
    let mut bytes = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(b"{tag}") {
            Some(behind) => {
                bytes.extend(tag.as_bytes());
                rest = behind;
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// Plays the shell: takes the calls that the user agent asks about. Whatever is sent must read back.
fn serve(user_agent: &mut UserAgent, now: Instant, tag: &mut String) {
    while let Some(event) = user_agent.poll_event() {
        match event {
            Event::Invited(Invite { leg, .. }) | Event::Reoffered { leg, .. } => {
                user_agent.answer(now, leg, LOCAL, "v=0\r\n");
            }
            _ => {}
        }
    }
    while let Some(transmit) = user_agent.poll_transmit() {
        match parse_datagram(&transmit.bytes) {
            Ok(Some(Message::Response(response))) => {
                *tag = response.tag_in_to().unwrap_or(tag).to_owned();
            }
            // A keep-alive of ours, a request, or the echo of something very long.
            Ok(_) | Err(FramingError::TooLong) => {}
            Err(error) => panic!("what was sent can't be read: {error} in {:?}", transmit.bytes),
        }
    }
}

fn answer(request: &Request) {
    let _ = (request.contact_uri(), request.unmet(), request.sdp());
    if !request.is_answerable() {
        return;
    }
    let bytes = ResponseBuilder::new(request, 200, "OK", Some(PEER)).to_tag("ours").build();
    let response = match parse_datagram(&bytes) {
        Ok(Some(Message::Response(response))) => response,
        other => panic!("our response can't be read: {other:?} from {bytes:?}"),
    };
    assert_eq!(response.values("Via").count(), request.values("Via").count());
    assert_eq!(response.call_id(), request.call_id());
    assert_eq!(response.cseq(), request.cseq());
    assert_eq!(response.tag_in_from(), request.tag_in_from());
    if request.defect.is_none() {
        assert_eq!(response.branch(), request.branch());
        assert_eq!(response.tag_in_to(), request.tag_in_to().or(Some("ours")));
    }
}

/// What a stream carries, up to where it must be closed.
fn messages_in<'a>(reads: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Message, FramingError>> {
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
