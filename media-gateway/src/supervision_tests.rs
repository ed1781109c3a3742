use super::*;

fn party(id: &str, role: Role) -> Party {
    Party { call: CallId::new("s-1"), id: PartyId::new(id), role }
}

fn parties() -> Vec<Party> {
    vec![party("p-1-1", Role::Customer), party("p-1-2", Role::Agent)]
}

fn request(target: Target) -> SuperviseRequest {
    SuperviseRequest {
        call: CallId::new("s-1"),
        target,
        agent: "622".into(),
        parties: parties(),
        is_withheld: false,
    }
}

fn agent() -> SuperviseRequest {
    request(Target::Party(party("p-1-2", Role::Agent)))
}

fn customer() -> SuperviseRequest {
    request(Target::Party(party("p-1-1", Role::Customer)))
}

fn invite(supervisor: Option<&str>, monitored: Option<&str>, media: &[Option<&str>]) -> InviteIds {
    InviteIds {
        supervisor: supervisor.map(Ids::parse),
        monitored: monitored.map(Ids::parse),
        media: media.iter().map(|id| id.map(str::to_owned)).collect(),
    }
}

fn matched(verdict: Verdict) -> Match {
    match verdict {
        Verdict::Matched(matched) => matched,
        other => panic!("expected a match, got {other:?}"),
    }
}

#[test]
fn ids_read_in_any_order_and_spacing() {
    for text in [
        "party-id=p-1-2;session-id=s-1",
        "session-id=s-1; party-id=p-1-2",
        " Session-Id = s-1 ;PARTY-ID= p-1-2 ",
        "session-id=\"s-1\";party-id=\"p-1-2\";x",
    ] {
        let ids = Ids::parse(text);
        assert_eq!(ids.party.as_deref(), Some("p-1-2"), "{text}");
        assert_eq!(ids.session.as_deref(), Some("s-1"), "{text}");
    }
    assert_eq!(Ids::parse("party-id=;=;;"), Ids::default());
}

#[test]
fn the_monitored_party_tells_the_leg_even_before_the_rest_answer() {
    for monitored in ["party-id=p-1-1;session-id=s-1", "session-id=s-1; party-id=1-1"] {
        let now = Instant::now();
        let mut supervision = Supervision::default();
        supervision.request(now, agent());
        let id = supervision.request(now, customer());
        let ids = invite(Some("party-id=p-1-9;session-id=s-1"), Some(monitored), &[None]);
        let found = matched(supervision.invited(now, LegId(0), ids));
        assert_eq!(found.media, [party("p-1-1", Role::Customer)]);
        assert_eq!(found.by, MatchedBy::MonitoredParty);
        assert!(supervision.is_settled(id));
        assert_eq!(supervision.accepted(now, id, "p-1-9"), None);
    }
}

#[test]
fn an_invite_without_monitoring_ids_waits_for_the_rest_answer() {
    let now = Instant::now();
    let mut supervision = Supervision::default();
    let first = supervision.request(now, agent());
    let second = supervision.request(now, customer());
    let ids = invite(Some("party-id=1-4;session-id=s-1"), None, &[None]);
    assert_eq!(supervision.invited(now, LegId(5), ids), Verdict::Parked);
    assert_eq!(supervision.accepted(now, first, "p-1-3"), None);
    let found = supervision.accepted(now, second, "p-1-4").unwrap();
    assert_eq!((found.leg, found.by), (LegId(5), MatchedBy::SupervisorParty));
    assert_eq!(found.media, [party("p-1-1", Role::Customer)]);

    let ids = invite(Some("session-id=s-1;party-id=p-1-3"), None, &[None]);
    let found = matched(supervision.invited(now, LegId(6), ids));
    assert_eq!(found.media, [party("p-1-2", Role::Agent)]);
}

#[test]
fn a_request_is_used_once() {
    let now = Instant::now();
    let mut supervision = Supervision::default();
    supervision.request(now, agent());
    let ids = invite(None, Some("party-id=p-1-2"), &[None]);
    matched(supervision.invited(now, LegId(0), ids.clone()));
    assert_eq!(supervision.invited(now, LegId(1), ids), Verdict::Parked);
}

#[test]
fn an_ordinary_call_is_left_alone_when_its_parking_ends() {
    let now = Instant::now();
    let mut supervision = Supervision::default();
    let id = supervision.request(now, agent());
    assert_eq!(supervision.invited(now, LegId(0), invite(None, None, &[None])), Verdict::Parked);
    assert_eq!(supervision.poll_timeout(), Some(now + PARKING));
    assert_eq!(supervision.handle_timeout(now + PARKING).0, [LegId(0)]);
    assert_eq!(supervision.handle_timeout(now + REQUEST_LIFETIME).1, [agent()]);
    assert!(supervision.is_settled(id));
    assert_eq!(supervision.poll_timeout(), None);
}

#[test]
fn a_refused_request_matches_nothing_and_a_cancelled_invite_is_forgotten() {
    let now = Instant::now();
    let mut supervision = Supervision::default();
    let id = supervision.request(now, agent());
    supervision.refused(id);
    let ids = invite(Some("party-id=p-1-3"), Some("party-id=p-1-2"), &[None]);
    assert_eq!(supervision.invited(now, LegId(0), ids), Verdict::Parked);
    supervision.forget(LegId(0));
    assert_eq!(supervision.handle_timeout(now + PARKING).0, []);
}

#[test]
fn parking_is_bounded() {
    let now = Instant::now();
    let mut supervision = Supervision::default();
    for leg in 0..PARKED_CAPACITY as u64 {
        assert_eq!(supervision.invited(now, LegId(leg), InviteIds::default()), Verdict::Parked);
    }
    assert_eq!(supervision.invited(now, LegId(999), InviteIds::default()), Verdict::Unwanted);
}

#[test]
fn a_session_leg_with_one_line_is_mixed() {
    let now = Instant::now();
    let mut supervision = Supervision::default();
    let id = supervision.request(now, request(Target::Session));
    supervision.accepted(now, id, "p-1-3");
    let ids = invite(Some("party-id=p-1-3;session-id=s-1"), None, &[None]);
    let found = matched(supervision.invited(now, LegId(0), ids));
    assert_eq!(found.media, [party("p-1-3", Role::Mixed)]);
}

#[test]
fn two_lines_are_told_apart_by_their_ids_only() {
    let customer = || party("p-1-1", Role::Customer);
    let agent = || party("p-1-2", Role::Agent);
    let table: [(&[Option<&str>], Vec<Party>); 7] = [
        (&[Some("1-1"), Some("1-2")], vec![customer(), agent()]),
        (&[Some("p-1-2"), Some("1-1")], vec![agent(), customer()]),
        (&[Some("1-2"), Some("1-8")], vec![agent(), customer()]),
        (&[None, Some("1-2")], vec![customer(), agent()]),
        (&[Some("1-2"), Some("p-1-2")], vec![agent(), customer()]),
        (
            &[Some("1-7"), Some("1-8")],
            vec![party("1-7", Role::Unknown), party("1-8", Role::Unknown)],
        ),
        (&[None, None], vec![party("media-0", Role::Unknown), party("media-1", Role::Unknown)]),
    ];
    for (media, expected) in table {
        let now = Instant::now();
        let mut supervision = Supervision::default();
        let id = supervision.request(now, request(Target::Session));
        supervision.accepted(now, id, "p-1-3");
        let found =
            matched(supervision.invited(now, LegId(0), invite(Some("party-id=1-3"), None, media)));
        assert_eq!(found.media, expected, "{media:?}");
    }
}

#[test]
fn unknown_lines_are_known_once_ringcentral_names_one_of_them() {
    let now = Instant::now();
    let mut supervision = Supervision::default();
    let id = supervision.request(now, request(Target::Session));
    supervision.accepted(now, id, "p-1-3");
    let ids = invite(Some("party-id=1-3"), None, &[Some("1-7"), Some("1-8")]);
    let found = matched(supervision.invited(now, LegId(0), ids));
    assert_eq!(found.unresolved(), Some(vec!["1-7".to_owned(), "1-8".to_owned()]));
    let resolved = found.resolved(&[party("p-1-8", Role::Agent)]);
    assert_eq!(resolved.media, [party("1-7", Role::Customer), party("p-1-8", Role::Agent)]);
    assert_eq!(resolved.unresolved(), None);
}
