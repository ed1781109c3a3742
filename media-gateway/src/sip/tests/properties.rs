//! Whatever comes, in whatever order and however often: nothing panics, time runs forwards, and every leg ends.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Something that happens to the user agent.
#[derive(Clone, Debug)]
enum Step {
    /// A request of the peer: method, call, CSeq, branch, whether it carries SDP, and which session timer.
    Request(&'static str, u8, u32, u8, bool, usize),
    /// The peer answers something of ours with this status.
    Reply(u8, &'static str),
    /// The shell answers, rejects or hangs up a leg.
    Answer(u8),
    Reject(u8),
    HangUp(u8),
    /// Milliseconds pass.
    Pass(u64),
    /// The connection is lost and the device registers on another one.
    Reconnect,
}

const TIMERS: [&str; 4] = [
    "",
    "Supported: timer\r\nSession-Expires: 14400;refresher=uac\r\n",
    "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\nAllow: INVITE, UPDATE\r\n",
    "Supported: timer\r\nSession-Expires: 5\r\nMin-SE: 100000\r\n",
];

fn step() -> impl Strategy<Value = Step> {
    let method = prop::sample::select(vec![
        "INVITE", "INVITE", "ACK", "ACK", "BYE", "CANCEL", "UPDATE", "OPTIONS", "INFO", "FLY",
    ]);
    let status = prop::sample::select(vec![
        "100 Trying",
        "200 OK",
        "200 OK",
        "405 No",
        "408 No",
        "422 No",
        "481 No",
        "488 No",
        "491 No",
        "503 No",
    ]);
    prop_oneof![
        6 => (method, 0u8..2, 1u32..6, 0u8..4, any::<bool>(), 0..TIMERS.len()).prop_map(
            |(method, call, cseq, branch, sdp, timer)| Step::Request(method, call, cseq, branch, sdp, timer)
        ),
        3 => (any::<u8>(), status).prop_map(|(which, status)| Step::Reply(which, status)),
        4 => (0u8..4).prop_map(Step::Answer),
        1 => (0u8..4).prop_map(Step::Reject),
        1 => (0u8..4).prop_map(Step::HangUp),
        3 => prop_oneof![0u64..3_000, 0u64..700_000].prop_map(Step::Pass),
        1 => Just(Step::Reconnect),
    ]
}

/// The harness with what a run has brought about so far.
struct Run {
    harness: Harness,
    connections: u64,
    /// Requests of ours.
    requests: Vec<String>,
    /// Our tag in each call.
    tags: [String; 2],
    live: BTreeSet<LegId>,
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            harness: Harness::new(),
            connections: 0,
            requests: Vec::new(),
            tags: [String::new(), String::new()],
            live: BTreeSet::new(),
        };
        run.reconnect();
        run
    }

    fn take(&mut self, step: &Step) {
        let now = self.harness.now;
        let leg = |number: u8| LegId(number.into());
        match *step {
            Step::Request(method, call, cseq, branch, sdp, timer) => {
                let tag = &self.tags[usize::from(call)];
                let body = if sdp { SDP } else { "" };
                let mut text = in_dialog(method, cseq, tag, body)
                    .replace("198dd3", &format!("call{call}"))
                    .replace("Content-Length", &format!("{}Content-Length", TIMERS[timer]));
                if tag.is_empty() {
                    text = text.replace(";tag=\r\n", "\r\n");
                }
                // CANCEL and the ACK of a refusal share the branch of their INVITE.
                let own = format!("z9hG4bK{method}{cseq}");
                self.harness.receive(&text.replace(&own, &format!("z9hG4bK{call}{cseq}{branch}")));
            }
            Step::Reply(which, status) => {
                if !self.requests.is_empty() {
                    let request = &self.requests[usize::from(which) % self.requests.len()];
                    let text = reply(request, status, "Min-SE: 700\r\nContact: <sip:n@h>\r\n", SDP);
                    self.harness.receive(&text);
                }
            }
            Step::Answer(number) => self.harness.answer(leg(number)),
            Step::Reject(number) => {
                self.harness.user_agent.reject(now, leg(number), 486, "Busy Here");
                if self.harness.user_agent.flow_of(leg(number)).is_none() {
                    self.live.remove(&leg(number));
                }
            }
            Step::HangUp(number) => self.harness.user_agent.hang_up(now, leg(number)),
            Step::Pass(ms) => {
                let sent = self.harness.pass(Duration::from_millis(ms));
                self.note(sent.into_iter().map(|(_, text)| text).collect());
            }
            Step::Reconnect => self.reconnect(),
        }
        let sent = self.harness.sent();
        self.note(sent);
        for event in self.harness.events() {
            match event {
                Event::Invited(invite) => assert!(self.live.insert(invite.leg)),
                Event::Ended { leg, .. } => assert!(self.live.remove(&leg), "{leg} ended twice"),
                Event::Confirmed { leg, .. } | Event::Reoffered { leg, .. } => {
                    assert!(self.live.contains(&leg), "{leg} is over");
                }
                _ => {}
            }
        }
    }

    fn reconnect(&mut self) {
        if self.connections > 0 {
            self.harness.user_agent.handle_stream_closed(StreamId::tcp(self.connections));
        }
        self.connections += 1;
        let (stream, local) = (StreamId::tcp(self.connections), address(LOCAL));
        self.harness.flow = Flow::Stream(stream);
        self.harness.user_agent.handle_stream_opened(stream, local);
        self.harness.user_agent.register(self.harness.now, self.harness.flow, local);
        let sent = self.harness.sent();
        let register = sent.iter().rfind(|text| text.starts_with("REGISTER ")).unwrap().clone();
        self.note(sent);
        self.harness.receive(&reply(&register, "200 OK", "Expires: 3600\r\n", ""));
    }

    fn note(&mut self, sent: Vec<String>) {
        for text in sent {
            let is_ok_to_invite = text.starts_with("SIP/2.0 200")
                && header(&text, "CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
            if is_ok_to_invite {
                let call = usize::from(header(&text, "Call-ID") == Some("call1"));
                self.tags[call] = tag_of(&text);
            }
            if ["INVITE ", "UPDATE ", "BYE "].iter().any(|start| text.starts_with(start)) {
                self.requests.push(text);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_leg_ends(steps in prop::collection::vec(step(), 0..60)) {
        let mut run = Run::new();
        for step in &steps {
            run.take(step);
        }
        // The peer falls silent: a day and a bit, the longest session there is.
        run.take(&Step::Pass(90_000_000));
        prop_assert!(run.harness.user_agent.is_idle());
        prop_assert_eq!(run.live, BTreeSet::new());
    }

    #[test]
    fn any_bytes_are_survived(
        chunks in prop::collection::vec(prop::collection::vec(prop::num::u8::ANY, 0..300), 0..5),
        cut in 0usize..600,
        flip in 0usize..600,
    ) {
        let mut harness = Harness::new();
        let stream = StreamId::tcp(1);
        harness.user_agent.handle_stream_opened(stream, address(LOCAL));
        for chunk in &chunks {
            harness.user_agent.handle_datagram(harness.now, address(LOCAL), address(PEER), chunk);
            harness.user_agent.handle_stream_bytes(harness.now, stream, chunk);
        }
        let mut mutated = invite("1", SDP).into_bytes();
        mutated.truncate(cut.max(1));
        let at = flip % mutated.len();
        mutated[at] ^= 0x15;
        harness.user_agent.handle_datagram(harness.now, address(LOCAL), address(PEER), &mutated);
        harness.pass_s(40);
    }
}
