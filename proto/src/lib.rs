//! The wire contracts between Sidetone's services, and the ids that appear on them.
//!
//! [`v1`] is generated from the `.proto` files beside this crate; its messages are what travels. [`CallId`], [`PartyId`]
//! and [`Party`] are what the rest of the code holds: conversions check what came from the network.

mod ids;

pub use ids::{CallId, InvalidParty, Party, PartyId, Role};

/// Messages, clients and servers generated from `sidetone/v1/*.proto`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("sidetone.v1");
}
