//! Which window is recognised next: the one decision that many calls on few cores hang on.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

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

/// A window to be recognised.
#[derive(Debug)]
pub struct Job {
    /// Whose it is.
    pub stream: StreamId,
    /// What for.
    pub purpose: Purpose,
    /// What there is to hear.
    pub window: Window,
    /// Since when it waits.
    pub requested: Instant,
}

/// Drafts before partials; of each, the one that has waited longest. A party has at most one partial in the queue.
///
/// Bounded by its users: a stream waits for its drafts before it takes more audio.
#[derive(Default)]
pub struct JobQueue {
    drafts: VecDeque<Job>,
    /// Streams with a partial, in the order in which they asked.
    partial_order: VecDeque<StreamId>,
    partials: HashMap<StreamId, Job>,
}

impl JobQueue {
    /// Adds a window. A partial replaces the stream's last one, in its place in the queue; a draft removes it.
    pub fn push(&mut self, stream: StreamId, purpose: Purpose, window: Window, now: Instant) {
        let job = Job { stream, purpose, window, requested: now };
        match purpose {
            Purpose::Partial => {
                if self.partials.insert(stream, job).is_none() {
                    self.partial_order.push_back(stream);
                }
            }
            Purpose::Draft => {
                self.forget_partial(stream);
                self.drafts.push_back(job);
            }
        }
    }

    /// The window to recognise next.
    pub fn pop(&mut self) -> Option<Job> {
        if let Some(draft) = self.drafts.pop_front() {
            return Some(draft);
        }
        let stream = self.partial_order.pop_front()?;
        self.partials.remove(&stream)
    }

    /// Drops everything of a stream that nobody waits for any more.
    pub fn forget(&mut self, stream: StreamId) {
        self.forget_partial(stream);
        self.drafts.retain(|draft| draft.stream != stream);
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

    fn push(queue: &mut JobQueue, stream: StreamId, purpose: Purpose, segment: u32) {
        queue.push(stream, purpose, window(segment), Instant::now());
    }

    fn drain(queue: &mut JobQueue) -> Vec<(StreamId, Purpose, u32)> {
        let jobs = std::iter::from_fn(|| queue.pop());
        jobs.map(|job| (job.stream, job.purpose, job.window.segment)).collect()
    }

    #[test]
    fn drafts_go_before_partials() {
        let mut queue = JobQueue::default();
        push(&mut queue, A, Purpose::Partial, 1);
        push(&mut queue, B, Purpose::Draft, 2);
        push(&mut queue, A, Purpose::Draft, 3);
        assert_eq!(drain(&mut queue), [(B, Purpose::Draft, 2), (A, Purpose::Draft, 3)]);
    }

    #[test]
    fn a_newer_partial_takes_the_place_of_the_older() {
        let mut queue = JobQueue::default();
        push(&mut queue, A, Purpose::Partial, 1);
        push(&mut queue, B, Purpose::Partial, 2);
        push(&mut queue, A, Purpose::Partial, 3);
        assert_eq!(drain(&mut queue), [(A, Purpose::Partial, 3), (B, Purpose::Partial, 2)]);
    }

    #[test]
    fn a_stream_that_has_gone_leaves_nothing_behind() {
        let mut queue = JobQueue::default();
        push(&mut queue, A, Purpose::Draft, 1);
        push(&mut queue, A, Purpose::Partial, 1);
        push(&mut queue, B, Purpose::Draft, 2);
        queue.forget(A);
        assert_eq!(drain(&mut queue), [(B, Purpose::Draft, 2)]);
    }
}
