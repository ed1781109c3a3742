//! Whatever happens to events, a look at the session puts it right.

use proptest::prelude::*;

use super::cloud::{AGENT, CALL, Cloud, OTHER_AGENT};
use crate::control::Stage;
use crate::ringcentral::{Advice, Notification, SessionEvent};

/// Something that happens to the call: which party, and how it is from then on.
#[derive(Clone, Copy, Debug)]
struct Change {
    party: u32,
    code: &'static str,
}

/// What becomes of the event that tells of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Delivered,
    Lost,
    Twice,
    /// Delivered after the last.
    Late,
}

fn extension(party: u32) -> Option<&'static str> {
    match party {
        2 => Some(AGENT),
        3 => Some(OTHER_AGENT),
        _ => None,
    }
}

fn change() -> impl Strategy<Value = Change> {
    let code = prop_oneof![
        4 => Just("Answered"), 2 => Just("Hold"), 1 => Just("Proceeding"), 1 => Just("Disconnected"),
    ];
    (1..=4_u32, code).prop_map(|(party, code)| Change { party, code })
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Delivered), 2 => Just(Fate::Lost), 1 => Just(Fate::Twice), 2 => Just(Fate::Late),
    ]
}

fn refusal() -> impl Strategy<Value = Advice> {
    prop_oneof![
        Just(Advice::RetryLater),
        Just(Advice::Unavailable),
        Just(Advice::Reregister),
        Just(Advice::CleanUp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The cloud itself asserts that nobody is heard twice, and that no party but our own is deleted.
    #[test]
    fn any_order_duplication_and_loss_of_events_ends_in_the_same_state(
        script in prop::collection::vec((change(), fate(), 0..8_u64, any::<bool>()), 1..20),
        refusals in prop::collection::vec(refusal(), 0..4),
        lost_legs in prop::collection::vec(0..4_usize, 0..3),
        last_talk in any::<bool>(),
    ) {
        let mut cloud = Cloud::new();
        cloud.refusals.extend(refusals);
        let mut late: Vec<SessionEvent> = Vec::new();
        let mut left: Vec<u32> = Vec::new();
        for (Change { party, code }, fate, seconds, sends_invites) in script {
            // Who has left does not come back under the same id.
            if left.contains(&party) || (last_talk && code == "Disconnected" && party <= 2) {
                continue;
            }
            if code == "Disconnected" {
                left.push(party);
            }
            cloud.sends_invites = sends_invites;
            cloud.set(party, extension(party), code);
            let event = cloud.event(party);
            match fate {
                Fate::Delivered => cloud.deliver(event),
                Fate::Lost => {}
                Fate::Twice => {
                    cloud.deliver(event.clone());
                    cloud.deliver(event);
                }
                Fate::Late => late.push(event),
            }
            cloud.seconds(seconds);
        }
        for at in lost_legs {
            if at < cloud.ears.len() {
                cloud.end_leg(at);
            }
        }
        cloud.sends_invites = true;
        if last_talk {
            for party in [1, 2] {
                cloud.set(party, extension(party), "Answered");
            }
            for party in [3, 4] {
                cloud.set(party, extension(party), "Disconnected");
            }
        }
        for event in late.into_iter().rev() {
            cloud.deliver(event);
        }
        cloud.board.handle_notification(cloud.now, Notification::Missed);
        cloud.seconds(600);

        let live = |cloud: &Cloud, party: u32| {
            let parties = cloud.sessions.get(CALL).into_iter().flatten();
            parties.filter(|it| it.code != "Disconnected").any(|it| it.id == format!("p-1-{party}"))
        };
        if last_talk {
            let heard = cloud.heard();
            let is_mixed = heard.len() == 1 && heard[0].0 == "session";
            prop_assert!(is_mixed || heard.len() == 2, "{heard:?} {:?}", cloud.view());
            prop_assert_eq!(cloud.stage(), Stage::Listening);
        }
        if !live(&cloud, 2) && !live(&cloud, 3) {
            prop_assert_eq!(cloud.heard(), vec![]);
            prop_assert_eq!(cloud.board.calls(cloud.now, 0), vec![]);
        }
        let stuck = cloud.ears.iter().filter(|ear| ear.leg.is_none()).count();
        let is_followed = !cloud.board.calls(cloud.now, 0).is_empty();
        prop_assert!(stuck == 0 || !last_talk || !is_followed, "{stuck} parties are stuck");
    }
}
