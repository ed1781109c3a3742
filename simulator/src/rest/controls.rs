//! What can be changed while the cloud runs: by tests, and by who tries out how a client copes.

use super::Cloud;
use super::faults::Fault;
use super::notifications::{Cut, Delivery};
use super::rate_limit::RateLimits;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The levers of a running simulator's REST side. Clones share them.
#[derive(Clone)]
pub struct Controls {
    cloud: Cloud,
}

/// How many tokens have been granted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantCounts {
    /// With the JWT.
    pub logins: u64,
    /// With a refresh token.
    pub refreshes: u64,
}

impl Controls {
    pub(crate) fn new(cloud: Cloud) -> Self {
        Self { cloud }
    }

    /// From now on these limits hold; what has been asked before is forgotten.
    pub fn set_rate_limits(&self, limits: RateLimits) {
        self.cloud.limiter().set(limits);
    }

    /// The next `times` requests that the fault is about are refused with it. Faults wait in a queue of 1024; when it is
    /// full, the oldest is forgotten.
    pub fn inject(&self, fault: Fault, times: usize) {
        for _ in 0..times {
            self.cloud.faults().add(fault);
        }
    }

    /// Every request is answered with 503 for this long.
    pub fn set_unavailable(&self, duration: Duration) {
        self.cloud.faults().set_unavailable(Instant::now(), duration);
    }

    /// How long access tokens granted from now on are good for, and whether a refresh token comes with them.
    pub fn set_tokens(&self, lifetime: Duration, with_refresh_token: bool) {
        self.cloud.tokens().configure(lifetime, with_refresh_token);
    }

    /// Ends every auth session: its tokens are not known any more, and its notifications end without a word.
    pub fn end_auth_sessions(&self) {
        self.cloud.tokens().end_all();
    }

    /// The tokens that have been granted.
    pub fn grants(&self) -> GrantCounts {
        let (logins, refreshes) = self.cloud.tokens().counts();
        GrantCounts { logins, refreshes }
    }

    /// The requests that have been answered, refusals included.
    pub fn requests(&self) -> u64 {
        self.cloud.requests.load(Ordering::Relaxed)
    }

    /// Makes the delivery of notifications unreliable.
    pub fn set_delivery(&self, delivery: Delivery) {
        self.cloud.notifications.hub().set_delivery(delivery);
    }

    /// How long after a loss a notification session can be recovered. Clients learn it when they connect.
    pub fn set_recovery_timeout(&self, timeout: Duration) {
        self.cloud.notifications.hub().set_recovery_timeout(timeout);
    }

    /// Lets SIP connections in, or closes all that there are and each that comes from then on; of every account, since they
    /// share one address. Datagrams are taken all the same.
    pub async fn set_sip_reachable(&self, is_reachable: bool) {
        self.cloud.sip.set_reachable(is_reachable).await;
    }

    /// Ends every notification connection.
    pub fn cut_notifications(&self, cut: Cut) {
        self.cloud.notifications.cut(cut);
    }

    /// Makes every notification session whose connection is lost at the moment impossible to recover.
    pub fn forget_notification_sessions(&self) {
        self.cloud.notifications.hub().forget_lost();
    }

    /// The notification connections that are subscribed to something.
    pub fn subscribers(&self) -> usize {
        self.cloud.notifications.hub().subscribers()
    }
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls").finish_non_exhaustive()
    }
}
