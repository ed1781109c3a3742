use std::net::Ipv4Addr;
use std::time::Instant;

use sidetone_proto::Role;
use tonic::transport::Endpoint;

use super::*;
use crate::supervision::{Ids, InviteIds, SuperviseRequest, Supervision, Verdict};

const LEG: LegId = LegId(1);

fn party(id: &str, role: Role) -> Party {
    Party { call: CallId::new("s-1"), id: PartyId::new(id), role }
}

/// Two lines, each with what it says after its port.
fn offer([first, second]: [&str; 2]) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio 5000 {first}\r\nm=audio 5002 {second}\r\n"
    )
}

/// A leg that carries the agent on its first line and the customer on its second.
async fn answered() -> Legs {
    let nowhere = Endpoint::from_static("http://127.0.0.1:9");
    let (news, _) = mpsc::channel(1);
    let transcribers = Transcribers::connect([nowhere.clone()]);
    let publisher = Publisher::start(nowhere);
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut legs = Legs::new(
        here,
        false,
        transcribers,
        publisher,
        news,
        Journal::open(None),
        Rules::default(),
    );

    let (now, mut supervision) = (Instant::now(), Supervision::default());
    let request = SuperviseRequest {
        call: CallId::new("s-1"),
        target: Target::Session,
        agent: "622".into(),
        parties: vec![party("p-1", Role::Agent), party("p-2", Role::Customer)],
        is_withheld: false,
    };
    let id = supervision.request(now, request);
    supervision.accepted(now, id, "p-3");
    let ids = InviteIds {
        supervisor: Some(Ids::parse("party-id=p-3;session-id=s-1")),
        monitored: None,
        media: vec![Some("p-1".into()), Some("p-2".into())],
    };
    let Verdict::Matched(matched) = supervision.invited(now, LEG, ids) else {
        panic!("it was asked for")
    };
    let description = Description::parse(offer(["RTP/AVP 0"; 2]).as_bytes()).unwrap();
    legs.answer(matched, Some(&description), here).unwrap();
    legs
}

/// Who is on hold.
fn held(legs: &Legs) -> Vec<&str> {
    let feeds = legs.calls[&CallId::new("s-1")].feeds.iter();
    feeds.filter(|(.., feed)| feed.is_on_hold()).map(|(_, party, _)| party.as_str()).collect()
}

#[tokio::test]
async fn a_new_offer_is_taken_whole_or_not_at_all() {
    let mut legs = answered().await;
    assert_eq!(held(&legs), [""; 0]);
    for second in [
        "RTP/AVP 9",
        "RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk",
    ] {
        let mixed = offer(["RTP/AVP 0\r\na=inactive", second]);
        let refused = legs.reoffer(LEG, Some(mixed.as_bytes())).unwrap_err();
        assert_eq!(refused.code, 488, "{refused}");
        assert_eq!(held(&legs), [""; 0], "the first line stays as it was");
    }
    let sdp = legs.reoffer(LEG, Some(offer(["RTP/AVP 0\r\na=inactive", "RTP/AVP 0"]).as_bytes()));
    assert_eq!(sdp.unwrap().matches("a=inactive").count(), 1);
    assert_eq!(held(&legs), ["p-1"]);
}

#[tokio::test]
async fn each_way_to_hold_a_line_is_seen_and_so_is_its_end() {
    let mut legs = answered().await;
    let open = "RTP/AVP 0";
    for held_line in [
        "RTP/AVP 0\r\na=inactive",
        "RTP/AVP 0\r\na=sendonly",
        "RTP/AVP 0\r\na=recvonly",
        "RTP/AVP 0\r\nc=IN IP4 0.0.0.0",
    ] {
        legs.reoffer(LEG, Some(offer([open, held_line]).as_bytes())).unwrap();
        assert_eq!(held(&legs), ["p-2"], "{held_line}");
        // A mere refresh, without an offer, ends nothing.
        legs.reoffer(LEG, None).unwrap();
        assert_eq!(held(&legs), ["p-2"], "{held_line}");
        legs.reoffer(LEG, Some(offer([open, open]).as_bytes())).unwrap();
        assert_eq!(held(&legs), [""; 0], "{held_line}");
    }
}

#[tokio::test]
async fn who_is_on_hold_in_the_cloud_is_on_hold_on_the_leg() {
    let mut legs = answered().await;
    let call = CallId::new("s-1");
    let customer = Hold { is_everyone: false, parties: vec![PartyId::new("p-2")] };
    legs.hold(&call, customer, None);
    assert_eq!(held(&legs), ["p-2"]);
    legs.hold(&call, Hold { is_everyone: true, parties: Vec::new() }, None);
    assert_eq!(held(&legs), ["p-1", "p-2"]);
    legs.hold(&call, Hold::default(), Some(1));
    assert_eq!(held(&legs), [""; 0]);
}
