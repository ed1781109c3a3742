//! Consent: what readers are told, and that nothing is left of a call after a refusal. Hub and session together.

mod world;

use web_relay::event::{CaptionState, ConsentState, Event};
use web_relay::hub::MAX_CONSENTS;
use world::*;

const REFUSED: ConsentState = ConsentState::Refused;

fn consents(events: &[Event]) -> Vec<ConsentState> {
    let state = |event: &Event| match event {
        Event::Consent(consent) => Some(consent.state),
        _ => None,
    };
    events.iter().filter_map(state).collect()
}

fn tells_of_speech(event: &Event) -> bool {
    matches!(event, Event::Partial(_) | Event::Final(_) | Event::Gap(_))
}

#[test]
fn consent_is_told_kept_and_never_older_than_what_is_known() {
    let mut world = World::new();
    world.publish(started());
    world.settle();
    world.connect();
    world.publish_all([
        consent(ConsentState::Awaited, NOW),
        consent(ConsentState::Granted, NOW + 20),
        // Overtaken, and sent again.
        consent(ConsentState::Announced, NOW + 10),
        consent(ConsentState::Granted, NOW + 20),
    ]);
    let told = [ConsentState::Awaited, ConsentState::Granted];
    assert_eq!(consents(&world.client.received), told);
    assert_eq!(world.settled.len(), 5, "all of them are acknowledged");
    world.crash(usize::MAX);
    world.publish_all([consent(ConsentState::Announced, NOW + 10)]);
    world.client.received.clear();
    world.connect();
    assert_eq!(consents(&world.client.received), told);
}

#[test]
fn a_refusal_takes_everything_back_from_memory_store_and_readers() {
    let mut world = World::new();
    world.publish_all([started(), partial(0, 0, 0), finished(0, 0), gap(0, 5), partial(1, 0, 2)]);
    world.publish_all([status(CaptionState::CaptionsUnavailable)]);
    world.connect();
    world.publish_all([consent(REFUSED, NOW)]);
    assert_eq!(consents(&world.client.received), [REFUSED]);
    assert!(!world.stored.iter().any(tells_of_speech), "{:?}", world.stored);

    // What was under way, in whatever form, is acknowledged and dropped; the end is not.
    let late = [partial(1, 0, 9), finished(1, 0), gap(1, 9), started(), finished(0, 0)];
    let ids: Vec<_> = late.into_iter().map(|incoming| world.publish(incoming)).collect();
    world.settle();
    assert!(ids.iter().all(|id| world.is_acknowledged(*id)));
    assert_eq!(world.hub.dropped(&call()), 5);
    world.publish_all([consent(ConsentState::Granted, NOW + 99), ended()]);
    let newest = world.client.received.last();
    assert!(matches!(newest, Some(Event::CallEnded(_))), "{newest:?}");

    // Whoever comes now, from wherever, learns nothing.
    for after_seq in [None, Some(1), Some(3)] {
        world.client.received.clear();
        world.connect_after(after_seq);
        assert!(!world.client.received.iter().any(tells_of_speech));
        assert_eq!(consents(&world.client.received), [REFUSED]);
    }
}

#[test]
fn a_refusal_outlives_a_restart_and_late_finals_stay_out() {
    let mut world = World::new();
    world.publish_all([started(), finished(0, 0), consent(REFUSED, NOW)]);
    world.crash(usize::MAX);
    // The gateway was started anew, too, and knows nothing of the refusal.
    world.publish_all([
        consent(ConsentState::NotRequired, NOW + 5),
        heard_anew(partial(0, 0, 0)),
        heard_anew(finished(0, 0)),
    ]);
    assert_eq!(world.hub.dropped(&call()), 2);
    assert!(!world.stored.iter().any(tells_of_speech), "{:?}", world.stored);
    world.connect();
    assert_eq!(consents(&world.client.received), [REFUSED]);
}

#[test]
fn a_refusal_that_could_not_be_stored_is_asked_for_again() {
    let mut world = World::new();
    world.publish_all([started(), finished(0, 0)]);
    let refusal = world.publish(consent(REFUSED, NOW));
    let late = world.publish(finished(0, 1));
    world.store_step(false);
    assert!(!world.is_acknowledged(refusal), "nothing is deleted yet");
    world.settle();
    assert!(!world.stored.iter().any(tells_of_speech), "{:?}", world.stored);
    assert_eq!(consents(&world.stored), [REFUSED]);
    let _ = late;
}

#[test]
fn a_refusal_of_a_call_that_nobody_knows_keeps_it_out() {
    let mut world = World::new();
    world.publish_all([consent(REFUSED, NOW), started(), finished(0, 0), ended()]);
    world.connect();
    assert_eq!(consents(&world.client.received), [REFUSED]);
    assert!(!world.stored.iter().any(tells_of_speech));
}

#[test]
fn a_consent_that_flickers_fills_no_memory_and_can_still_be_refused() {
    let mut world = World::new();
    for at in 0..i64::try_from(MAX_CONSENTS).unwrap() * 2 {
        let state = if at % 2 == 0 { ConsentState::Awaited } else { ConsentState::NotRequired };
        world.publish_all([consent(state, NOW + at)]);
    }
    assert_eq!(world.stored.len(), MAX_CONSENTS);
    world.publish_all([consent(REFUSED, NOW)]);
    assert_eq!(world.stored.len(), MAX_CONSENTS + 1);
}
