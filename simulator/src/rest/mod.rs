//! The REST shell: RingCentral's paths, tokens, limits and error bodies over the switchboard; and the notifications.

mod call_log;
mod controls;
mod directory;
mod faults;
mod front;
mod gate;
mod groups;
mod notifications;
mod oauth;
mod pages;
mod rate_limit;
mod routes;
mod telephony;
mod tokens;

use crate::api_error::ApiError;
use crate::conversation::CallCommand;
use crate::sip::transport::SipHandle;
use crate::switchboard::Switchboard;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use call_log::CallLog;
use faults::Faults;
use groups::MonitoringGroups;
use notifications::Notifications;
use rate_limit::Limiter;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokens::Tokens;
use tokio::sync::mpsc;

pub use controls::{Controls, GrantCounts};
pub use faults::Fault;
pub use notifications::{Cut, Delivery};
pub use rate_limit::RateLimits;

pub(crate) use front::front;
pub(crate) use notifications::distribute;

/// The ways to the tasks of the calls on the line.
pub(crate) type Lines = Arc<Mutex<HashMap<String, mpsc::Sender<CallCommand>>>>;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) switchboard: Arc<Mutex<Switchboard>>,
    pub(crate) lines: Lines,
    pub(crate) sip: SipHandle,
    /// Where devices register: the outbound proxy of the device's settings.
    pub(crate) sip_address: SocketAddr,
    /// The same over TLS.
    pub(crate) sip_tls_address: SocketAddr,
    platform: Arc<Platform>,
    notifications: Arc<Notifications>,
    requests: Arc<AtomicU64>,
}

/// What REST keeps for itself. No two of the locks are held at once, but for `tokens` inside of the notifications'.
struct Platform {
    tokens: Mutex<Tokens>,
    limiter: Mutex<Limiter>,
    faults: Mutex<Faults>,
    groups: Mutex<MonitoringGroups>,
    call_log: Mutex<CallLog>,
}

impl Cloud {
    pub(crate) fn new(
        switchboard: Arc<Mutex<Switchboard>>,
        lines: Lines,
        sip: SipHandle,
        (sip_address, sip_tls_address): (SocketAddr, SocketAddr),
        seed: u64,
    ) -> Self {
        let account = lock(&switchboard).account().clone();
        let platform = Platform {
            tokens: Mutex::new(Tokens::new(seed)),
            limiter: Mutex::default(),
            faults: Mutex::default(),
            groups: Mutex::new(MonitoringGroups::new(&account)),
            call_log: Mutex::new(CallLog::new(seed)),
        };
        Self {
            switchboard,
            lines,
            sip,
            sip_address,
            sip_tls_address,
            platform: Arc::new(platform),
            notifications: Arc::new(Notifications::new(&account.account_id, seed)),
            requests: Arc::default(),
        }
    }

    pub(crate) fn switchboard(&self) -> MutexGuard<'_, Switchboard> {
        lock(&self.switchboard)
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.platform.tokens)
    }

    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        lock(&self.platform.limiter)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.platform.faults)
    }

    fn groups(&self) -> MutexGuard<'_, MonitoringGroups> {
        lock(&self.platform.groups)
    }

    fn call_log(&self) -> MutexGuard<'_, CallLog> {
        lock(&self.platform.call_log)
    }

    /// The way to a call's task, while the call is on the line.
    fn line(&self, session_id: &str) -> Option<mpsc::Sender<CallCommand>> {
        lock(&self.lines).get(session_id).cloned()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(self.body())).into_response()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
