//! Both voices of a call on one clock, cut into frames.

use crate::audio::{Audio, ResampleError};

/// What a media stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Feed {
    /// The customer's voice.
    Customer,
    /// The agent's voice.
    Agent,
    /// Both, added up.
    Mixed,
}

/// Both voices at one sample rate: sample `n` of either is the same instant.
pub(crate) struct Recording {
    customer: Audio,
    agent: Audio,
}

impl Recording {
    /// Brings both voices to `sample_rate` in Hz.
    pub(crate) fn new(
        customer: &Audio,
        agent: &Audio,
        sample_rate: u32,
    ) -> Result<Self, ResampleError> {
        Ok(Self {
            customer: customer.resampled(sample_rate)?,
            agent: agent.resampled(sample_rate)?,
        })
    }

    /// Copies frame number `index` into `frame`, whose length is the frame's; silence follows the
    /// end of a voice.
    pub(crate) fn read_frame(&self, feed: Feed, index: u64, frame: &mut [i16]) {
        match feed {
            Feed::Customer => copy_frame(self.customer.samples(), index, frame),
            Feed::Agent => copy_frame(self.agent.samples(), index, frame),
            Feed::Mixed => {
                let mut other = vec![0; frame.len()];
                copy_frame(self.customer.samples(), index, frame);
                copy_frame(self.agent.samples(), index, &mut other);
                for (sample, other) in frame.iter_mut().zip(other) {
                    *sample = sample.saturating_add(other);
                }
            }
        }
    }
}

fn copy_frame(samples: &[i16], index: u64, frame: &mut [i16]) {
    let start = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(frame.len());
    let rest = samples.get(start..).unwrap_or_default();
    let length = rest.len().min(frame.len());
    frame[..length].copy_from_slice(&rest[..length]);
    frame[length..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_share_a_clock_and_the_mix_saturates() {
        let audio = |samples: Vec<i16>| Audio::from_samples(samples, 8_000).unwrap();
        let recording =
            Recording::new(&audio(vec![1, 2, 3, i16::MAX, 5]), &audio(vec![10, 20, 30, 40]), 8_000)
                .unwrap();
        let read = |feed, index| {
            let mut frame = [-1; 2];
            recording.read_frame(feed, index, &mut frame);
            frame
        };
        assert_eq!(read(Feed::Customer, 1), [3, i16::MAX]);
        assert_eq!(read(Feed::Agent, 1), [30, 40]);
        assert_eq!(read(Feed::Mixed, 1), [33, i16::MAX]);
        assert_eq!(read(Feed::Customer, 2), [5, 0]);
        assert_eq!(read(Feed::Agent, 2), [0, 0]);
        assert_eq!(read(Feed::Mixed, u64::MAX), [0, 0]);
    }
}
