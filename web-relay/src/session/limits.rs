//! How much a client may say.

use std::time::Instant;

/// Longest message from a client, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// Messages that a client may send on average.
pub const MESSAGES_PER_SECOND: f64 = 10.0;

/// Messages that a client may send at once, after a while of silence.
pub const MESSAGE_BURST: f64 = 40.0;

/// A token bucket.
#[derive(Debug)]
pub(super) struct RateLimit {
    tokens: f64,
    filled_at: Instant,
}

impl RateLimit {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: MESSAGE_BURST, filled_at: now }
    }

    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * MESSAGES_PER_SECOND).min(MESSAGE_BURST);
        self.filled_at = now;
        let admitted = self.tokens >= 1.0;
        if admitted {
            self.tokens -= 1.0;
        }
        admitted
    }
}
