//! media-gateway
