//! What publishers and clients are promised, whatever happens in between: hub and session together.

mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use web_relay::event::{CaptionState, ErrorCode, Event, ServerMessage};
use web_relay::hub::{LOG_BYTES, SEQ_BLOCK, Settled};
use web_relay::incoming::Incoming;
use web_relay::session::close_code;

use world::*;

fn a_call() -> Vec<Incoming> {
    let mut events = vec![started()];
    for segment in 0..6 {
        let speaker = (segment % 2) as u8;
        events.extend([partial(speaker, segment, 0), partial(speaker, segment, 1)]);
        events.push(finished(speaker, segment));
        if segment == 3 {
            events.push(gap(0, 4_200));
        }
    }
    events.extend([partial(0, 9, 0), partial(1, 9, 4)]);
    events
}

fn kinds(events: &[Event]) -> Vec<(u64, &'static str)> {
    let kind = |event: &Event| match event {
        Event::CallStarted(_) => "started",
        Event::CallEnded(_) => "ended",
        Event::Partial(_) => "partial",
        Event::Final(_) => "final",
        Event::Gap(_) => "gap",
        Event::Status(_) => "status",
        Event::Recognition(_) => "recognition",
        Event::Consent(_) => "consent",
    };
    events.iter().map(|event| (event.seq(), kind(event))).collect()
}

#[test]
fn who_comes_later_is_told_who_recognises_each_party_now() {
    let mut world = World::new();
    world.publish_all([
        started(),
        recognition(0, true),
        recognition(1, true),
        finished(0, 0),
        status(CaptionState::Live),
        recognition(0, false),
    ]);
    world.connect();
    let told = world.client.received.iter().filter_map(|event| match event {
        Event::Recognition(it) => Some((it.party_id.clone(), it.is_fallback)),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, [(party(1).id, true), (party(0).id, false)]);
}

#[test]
fn every_event_of_a_call_has_the_next_seq() {
    let mut world = World::new();
    world.connect();
    world.publish(started());
    world.settle();
    world.connect();
    world.publish_all([partial(0, 0, 0), finished(0, 0), status(CaptionState::Live), ended()]);
    assert_eq!(
        kinds(&world.client.received),
        [(1, "started"), (2, "partial"), (3, "final"), (4, "status"), (5, "ended")]
    );
}

#[test]
fn a_party_that_is_heard_anew_counts_from_zero_and_loses_nothing() {
    let mut world = World::new();
    let first = [started(), partial(0, 0, 0), finished(0, 0), gap(0, 5), partial(0, 1, 7)];
    world.publish_all(first);
    world.crash(usize::MAX);
    world.publish_all([started(), partial(0, 0, 0), finished(0, 0), gap(0, 5)].map(heard_anew));
    world.publish_all([partial(0, 1, 0), finished(0, 1)].map(heard_anew));
    world.connect();
    let kinds: Vec<_> = kinds(&world.client.received).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["started", "final", "gap", "final", "gap", "final"]);
}

#[test]
fn what_came_before_is_taken_once_and_acknowledged_again() {
    let mut world = World::new();
    world.publish_all([started(), partial(0, 0, 3), finished(0, 0), gap(0, 5), ended()]);
    world.connect();
    let seen = world.client.received.len();
    for duplicate in [
        started(),
        finished(0, 0),
        Incoming::Final(caption(0, 0, 100, "something else")),
        partial(0, 0, 200),
        gap(0, 5),
        ended(),
    ] {
        let id = world.publish(duplicate.clone());
        world.settle();
        assert!(world.is_acknowledged(id), "{duplicate:?}");
    }
    assert_eq!(world.client.received.len(), seen);
    assert_eq!(world.stored.len(), 4);
}

#[test]
fn an_older_revision_does_not_replace_a_newer_one() {
    let mut world = World::new();
    world.publish_all([started()]);
    world.connect();
    world.publish_all([partial(0, 0, 5), partial(0, 0, 5), partial(0, 0, 4), partial(0, 0, 6)]);
    assert_eq!(kinds(&world.client.received)[1..], [(2, "partial"), (3, "partial")]);
}

#[test]
fn a_final_is_neither_shown_nor_acknowledged_before_it_is_stored() {
    let mut world = World::new();
    world.publish_all([started()]);
    world.connect();
    let said = world.publish(finished(0, 0));
    // Sent again over a new connection, before the first is stored.
    let again = world.publish(finished(0, 0));
    let later = world.publish(partial(1, 0, 0));
    assert_eq!(kinds(&world.client.received), [(1, "started")]);
    assert!(![said, again, later].iter().any(|id| world.is_acknowledged(*id)));
    world.store_step(true);
    assert_eq!(kinds(&world.client.received)[1..], [(2, "final"), (3, "partial")]);
    assert!([said, again, later].iter().all(|id| world.is_acknowledged(*id)));
}

#[test]
fn latency_is_measured_when_the_caption_leaves() {
    let mut world = World::new();
    world.publish_all([started()]);
    world.connect();
    world.publish_all([finished(0, 1), finished(0, 7)]);
    let latencies: Vec<_> = world
        .client
        .received
        .iter()
        .filter_map(|event| if let Event::Final(final_) = event { final_.latency_ms } else { None })
        .collect();
    // The audio ended at NOW - 3 s + 1.8 s; and at a time that is yet to come, by a clock that is wrong.
    assert_eq!(latencies, [1_200, 0]);
}

#[test]
fn resuming_after_any_seq_brings_exactly_what_is_missing() {
    for restarted in [false, true] {
        let mut world = World::new();
        world.publish_all(a_call());
        let all = world.stored.clone();
        let newest = 1 + all.len() as u64 + 12 + 2;
        if restarted {
            world.crash(usize::MAX);
        }
        for after_seq in 0..newest {
            world.client.received.clear();
            world.connect_after(Some(after_seq));
            world.settle();
            let missing: Vec<_> = all.iter().filter(|e| e.seq() > after_seq).cloned().collect();
            assert_eq!(durable(&world.client.received), durable(&missing), "after {after_seq}");
            let partials = kinds(&world.client.received);
            let partials = partials.iter().filter(|(_, kind)| *kind == "partial").count();
            assert_eq!(partials, if restarted { 0 } else { 2 }, "after {after_seq}");
        }
    }
}

#[test]
fn a_place_that_the_relay_never_gave_out_means_from_the_start() {
    let mut world = World::new();
    world.publish_all([started(), finished(0, 0)]);
    world.connect_after(Some(1 << 40));
    assert_eq!(kinds(&world.client.received), [(1, "started"), (2, "final")]);
}

#[test]
fn a_client_that_did_not_look_sees_only_the_newest_partial_but_every_final() {
    let mut world = World::new();
    world.publish_all([started(), partial(0, 0, 0)]);
    world.connect();
    world.disconnect();
    world.publish_all((1..50).map(|revision| partial(0, 0, revision)));
    world.publish_all([finished(1, 0), finished(1, 1)]);
    world.client.received.clear();
    world.connect_after(Some(2));
    assert_eq!(kinds(&world.client.received), [(52, "final"), (53, "final"), (51, "partial")]);
}

#[test]
fn numbers_go_on_behind_the_reserved_block_after_a_restart() {
    let mut world = World::new();
    world.publish_all([started(), partial(0, 0, 0), partial(0, 0, 1)]);
    world.crash(0);
    world.connect();
    world.publish_all([partial(0, 0, 2)]);
    assert_eq!(kinds(&world.client.received), [(1, "started"), (SEQ_BLOCK + 1, "partial")]);
}

#[test]
fn partials_beyond_the_block_wait_until_the_next_is_reserved() {
    let mut world = World::new();
    world.publish_all([started()]);
    world.publish_all((0..SEQ_BLOCK as u32 - 1).map(|revision| partial(0, 0, revision)));
    world.connect();
    world.client.received.clear();
    let id = world.publish(partial(0, 0, 5_000));
    assert!(world.client.received.is_empty() && !world.is_acknowledged(id));
    world.settle();
    assert_eq!(kinds(&world.client.received), [(SEQ_BLOCK + 1, "partial")]);
}

#[test]
fn a_call_that_nobody_named_is_unknown() {
    let mut world = World::new();
    world.connect();
    world.settle();
    assert!(matches!(
        world.client.control[..],
        [ServerMessage::Error { code: ErrorCode::UnknownCall, .. }]
    ));
    // Asking did not make it known, and it can still come into being.
    world.publish_all([finished(0, 0)]);
    world.connect();
    assert_eq!(kinds(&world.client.received), [(1, "final")]);
}

#[test]
fn an_old_call_leaves_memory_and_is_replayed_from_the_store() {
    let mut world = World::new();
    world.publish_all(a_call());
    world.publish_all([ended()]);
    world.hub.handle_timeout(NOW + 24 * 3_600_000);
    assert!(world.hub.list().contains(r#""calls":[]"#));
    world.connect();
    world.settle();
    assert_eq!(durable(&world.client.received), durable(&world.stored));
}

#[test]
fn a_live_client_that_falls_too_far_behind_is_told_where_to_resume() {
    let mut world = World::new();
    world.publish_all([started(), finished(0, 0)]);
    world.connect();
    let mut session = web_relay::session::Session::new(std::time::Instant::now());
    session
        .handle_message(std::time::Instant::now(), Some(r#"{"type":"subscribe","call_id":"s-1"}"#));
    session.handle_opened(call(), Ok(2));
    session.handle_pulled(call(), world.hub.pull(&call(), 0, true));
    let text = "x".repeat(10_000);
    let many = LOG_BYTES / 10_000 + 2;
    world.publish_all((1..many as u32).map(|n| Incoming::Final(caption(0, n, 0, &text))));
    session.handle_news(call());
    session.handle_pulled(call(), world.hub.pull(&call(), 2, false));
    let outputs: Vec<_> = std::iter::from_fn(|| session.poll_output()).collect();
    assert_eq!(
        outputs.last(),
        Some(&web_relay::session::Output::Close {
            code: close_code::TOO_SLOW,
            reason: "resume_after=2".to_owned()
        })
    );
    // And whoever does resume gets all of it, in pages.
    world.client.received.clear();
    world.connect_after(Some(2));
    assert_eq!(durable(&world.client.received), durable(&world.stored[2..]));
}

#[test]
fn a_call_has_limits() {
    let mut world = World::new();
    world.publish_all((0..16).map(|number| partial(number, 0, 0)));
    let id = world.publish(partial(16, 0, 0));
    assert!(matches!(world.settled.last(), Some((last, Settled::Refused(_))) if *last == id));
}

#[derive(Clone, Debug)]
enum Step {
    Publish(Incoming),
    Store { works: bool },
    Crash { survive: usize },
    Connect,
    Disconnect,
}

fn any_step() -> impl Strategy<Value = Step> {
    let event = prop_oneof![
        4 => (0..2u8, 0..5u32, 0..4u32).prop_map(|(p, segment, rev)| partial(p, segment, rev)),
        4 => (0..2u8, 0..5u32).prop_map(|(p, segment)| finished(p, segment)),
        1 => (0..2u8, 0..3u64).prop_map(|(p, start)| gap(p, start)),
        1 => Just(started()),
        1 => Just(ended()),
        1 => Just(status(CaptionState::CaptionsUnavailable)),
    ];
    let event = (event, any::<bool>())
        .prop_map(|(event, anew)| if anew { heard_anew(event) } else { event });
    prop_oneof![
        12 => event.prop_map(Step::Publish),
        12 => Just(Step::Store { works: true }),
        1 => Just(Step::Store { works: false }),
        1 => (0..4usize).prop_map(|survive| Step::Crash { survive }),
        2 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_final_is_lost_doubled_or_shown_too_early(
        steps in proptest::collection::vec(any_step(), 1..80)
    ) {
        let mut world = World::new();
        let mut published = Vec::new();
        let mut store_failed = false;
        for step in steps {
            match step {
                Step::Publish(incoming) => {
                    published.push(incoming.clone());
                    world.publish(incoming);
                }
                Step::Store { works } => {
                    store_failed |= !works;
                    world.store_step(works);
                }
                Step::Crash { survive } => world.crash(survive),
                Step::Connect => world.connect(),
                Step::Disconnect => world.disconnect(),
            }
            let shown = durable(&world.client.received);
            prop_assert!(shown.iter().all(|event| durable(&world.stored).contains(event)));
        }
        world.settle();
        if let Some((code, _)) = &world.client.closed {
            let again = [close_code::TRY_AGAIN_LATER, close_code::TOO_SLOW];
            prop_assert!(store_failed && again.contains(code), "closed without a reason: {}", code);
        }
        // A call that did not exist when the client asked is unknown; one more look settles it.
        world.connect();
        world.settle();

        let shown = durable(&world.client.received);
        prop_assert_eq!(&shown, &durable(&world.stored), "the client has all that is stored, in order, once");

        let said = |events: &[Event]| -> Vec<_> {
            let mut said: Vec<_> = events.iter().filter_map(|event| match event {
                Event::Final(caption) => Some((caption.party_id.clone(), caption.id())),
                _ => None,
            }).collect();
            said.sort();
            said
        };
        let mut expected: Vec<_> = published.iter().filter_map(|incoming| match incoming {
            Incoming::Final(caption) => Some((caption.party_id.clone(), caption.id())),
            _ => None,
        }).collect();
        expected.sort();
        expected.dedup();
        prop_assert_eq!(said(&shown), expected, "every final that was published is there, once");

        let mut by_seq: BTreeMap<u64, Event> = BTreeMap::new();
        for mut event in world.client.received.clone() {
            if let Event::Final(caption) | Event::Partial(caption) = &mut event {
                caption.latency_ms = None;
            }
            let first = by_seq.entry(event.seq()).or_insert_with(|| event.clone());
            prop_assert_eq!(&*first, &event, "a number stands for one event for ever");
        }
    }
}
