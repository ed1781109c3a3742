//! pipeline

pub mod clock;
pub mod codec;
pub mod resample;
pub mod rtp;
