//! Which window is recognised next: the one decision that many calls on few cores hang on.

use std::collections::{HashMap, VecDeque};

use pipeline::speech::Window;

/// A party's stream, for as long as it is connected.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StreamId(pub u64);

/// What a hypothesis is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To show while the party speaks. Worthless once there is a newer one.
    Partial,
    /// To stay. Never dropped.
    Draft,
}

/// Drafts before partials; of each, the one that has waited longest. A party has at most one partial in the queue.
///
/// Bounded by its users: a stream waits for its drafts before it takes more audio.
#[derive(Default)]
pub struct JobQueue {
    drafts: VecDeque<(StreamId, Window)>,
    /// Streams with a partial, in the order in which they asked.
    partial_order: VecDeque<StreamId>,
    partials: HashMap<StreamId, Window>,
}

impl JobQueue {
    /// Adds a window. A partial replaces the stream's last one, in its place in the queue; a draft removes it.
    pub fn push(&mut self, stream: StreamId, purpose: Purpose, window: Window) {
        match purpose {
            Purpose::Partial => {
                if self.partials.insert(stream, window).is_none() {
                    self.partial_order.push_back(stream);
                }
            }
            Purpose::Draft => {
                self.forget_partial(stream);
                self.drafts.push_back((stream, window));
            }
        }
    }

    /// The window to recognise next.
    pub fn pop(&mut self) -> Option<(StreamId, Purpose, Window)> {
        if let Some((stream, window)) = self.drafts.pop_front() {
            return Some((stream, Purpose::Draft, window));
        }
        let stream = self.partial_order.pop_front()?;
        let window = self.partials.remove(&stream)?;
        Some((stream, Purpose::Partial, window))
    }

    /// Drops everything of a stream that nobody waits for any more.
    pub fn forget(&mut self, stream: StreamId) {
        self.forget_partial(stream);
        self.drafts.retain(|(of, _)| *of != stream);
    }

    fn forget_partial(&mut self, stream: StreamId) {
        if self.partials.remove(&stream).is_some() {
            self.partial_order.retain(|of| *of != stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: StreamId = StreamId(1);
    const B: StreamId = StreamId(2);

    fn window(segment: u32) -> Window {
        Window { segment, start: 0, speech_start: 0, speech_end: 0, clarity: 0.0, audio: [].into() }
    }

    fn drain(queue: &mut JobQueue) -> Vec<(StreamId, Purpose, u32)> {
        std::iter::from_fn(|| queue.pop()).map(|(s, p, w)| (s, p, w.segment)).collect()
    }

    #[test]
    fn drafts_go_before_partials() {
        let mut queue = JobQueue::default();
        queue.push(A, Purpose::Partial, window(1));
        queue.push(B, Purpose::Draft, window(2));
        queue.push(A, Purpose::Draft, window(3));
        assert_eq!(drain(&mut queue), [(B, Purpose::Draft, 2), (A, Purpose::Draft, 3)]);
    }

    #[test]
    fn a_newer_partial_takes_the_place_of_the_older() {
        let mut queue = JobQueue::default();
        queue.push(A, Purpose::Partial, window(1));
        queue.push(B, Purpose::Partial, window(2));
        queue.push(A, Purpose::Partial, window(3));
        assert_eq!(drain(&mut queue), [(A, Purpose::Partial, 3), (B, Purpose::Partial, 2)]);
    }

    #[test]
    fn a_stream_that_has_gone_leaves_nothing_behind() {
        let mut queue = JobQueue::default();
        queue.push(A, Purpose::Draft, window(1));
        queue.push(A, Purpose::Partial, window(1));
        queue.push(B, Purpose::Draft, window(2));
        queue.forget(A);
        assert_eq!(drain(&mut queue), [(B, Purpose::Draft, 2)]);
    }
}
