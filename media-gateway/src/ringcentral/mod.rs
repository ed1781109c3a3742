//! RingCentral's platform: the REST requests that supervision and its set-up need, and the notifications.

mod advice;
mod auth;
mod client;
mod discovery;
mod error;
mod event;
mod groups;
mod model;
mod notifications;
mod rate_limit;
mod transport;

pub use advice::{Advice, advise};
pub use auth::Credentials;
pub use client::{Client, PRESENCE_BATCH};
pub use discovery::{ActiveCallRecord, Device, Extension, ExtensionPresence, ExtensionRef};
pub use error::Error;
pub use event::{Notification, SessionEvent};
pub use groups::{Assignment, BulkAssignment, GroupMember, GroupPermission, MonitoringGroup};
pub use model::{
    ActiveCall, OutboundProxy, PeerId, Presence, Session, SessionParty, SipInfo, SupervisorParty,
};
pub use notifications::{
    ConnectError as NotificationError, EventFilters, NOTIFICATION_CAPACITY, Notifications,
    try_connection,
};
pub use rate_limit::Group;
