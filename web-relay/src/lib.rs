//! web-relay
