//! Which connection a party's audio comes on. A gateway that lost its connection comes back on another one, often before
//! the loss of the first is noticed here. Then the first must fall silent: the utterance that it broke off in is said in
//! full on the second, under the same number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidetone_proto::{CallId, PartyId};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::start::Start;

/// One audio stream of one party, over all its connections. A gateway that starts afresh anchors the party anew.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    call: CallId,
    party: PartyId,
    anchor_unix_ms: i64,
}

/// All seats that are taken: one for each connection at most.
#[derive(Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    occupants: HashMap<Key, Occupant>,
    next_id: u64,
}

struct Occupant {
    id: u64,
    claimed: CancellationToken,
    left: CancellationToken,
}

/// A connection's right to caption a party's audio. Given up when dropped.
pub(crate) struct Seat {
    key: Key,
    id: u64,
    seats: Seats,
    claimed: CancellationToken,
    _left: DropGuard,
}

impl Seats {
    /// Takes the seat of a party's stream, and waits until an older connection has left it.
    pub(crate) async fn claim(&self, start: &Start) -> Seat {
        let key = Key {
            call: start.party.call.clone(),
            party: start.party.id.clone(),
            anchor_unix_ms: start.anchor_unix_ms,
        };
        let (claimed, left) = (CancellationToken::new(), CancellationToken::new());
        let (id, older) = {
            let mut taken = self.lock();
            let id = taken.next_id;
            taken.next_id += 1;
            let occupant = Occupant { id, claimed: claimed.clone(), left: left.clone() };
            (id, taken.occupants.insert(key.clone(), occupant))
        };
        let seat = Seat { key, id, seats: self.clone(), claimed, _left: left.drop_guard() };
        if let Some(older) = older {
            older.claimed.cancel();
            older.left.cancelled().await;
        }
        seat
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Completes when a newer connection claims the seat.
    pub(crate) async fn claimed(&self) {
        self.claimed.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if taken.occupants.get(&self.key).is_some_and(|occupant| occupant.id == self.id) {
            taken.occupants.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use sidetone_proto::{Party, Role};

    use super::*;

    fn start(party: &str, anchor_unix_ms: i64) -> Start {
        let party = Party { call: CallId::new("s-1"), id: PartyId::new(party), role: Role::Agent };
        let (sample_position, next_segment) = (0, 0);
        Start {
            party,
            sample_rate: 8_000,
            anchor_unix_ms,
            sample_position,
            next_segment,
            phrases: Default::default(),
        }
    }

    #[tokio::test]
    async fn the_newest_connection_gets_the_seat_when_the_older_has_left() {
        let seats = Seats::default();
        let first = seats.claim(&start("p-1", 5)).await;
        let _other_party = seats.claim(&start("p-2", 5)).await;
        let _afresh = seats.claim(&start("p-1", 6)).await;
        assert!(!first.claimed.is_cancelled());

        let again = start("p-1", 5);
        let mut second = pin!(seats.claim(&again));
        tokio::select! {
            biased;
            _ = &mut second => panic!("two connections have one seat"),
            () = first.claimed() => {}
        }
        drop(first);
        let second = second.await;
        assert!(!second.claimed.is_cancelled());
        drop(second);
        assert_eq!(seats.lock().occupants.len(), 2);
    }

    #[tokio::test]
    async fn a_claim_that_is_given_up_leaves_nothing_behind() {
        let seats = Seats::default();
        let first = seats.claim(&start("p-1", 5)).await;
        let again = start("p-1", 5);
        tokio::select! {
            biased;
            _ = seats.claim(&again) => panic!("two connections have one seat"),
            () = first.claimed() => {}
        }
        drop(first);
        assert!(seats.lock().occupants.is_empty());
        seats.claim(&again).await;
    }
}
