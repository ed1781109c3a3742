//! What each fuzz target does with its input. The targets in `fuzz_targets/` call these functions with whatever the
//! fuzzer makes up, and a test of the media gateway calls them with the committed corpus.
//!
//! A function returns if the input was dealt with, accepted or not, and panics if a promise was broken.

mod media;
mod sip;

pub use media::{codec, media_session, rtcp, rtp, sdp, srtp};
pub use sip::{sip_message, sip_stream, sip_user_agent};

/// A target: its name, which is that of its binary and of its folder in the corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("codec", codec),
    ("media_session", media_session),
    ("rtcp", rtcp),
    ("rtp", rtp),
    ("sdp", sdp),
    ("sip_message", sip_message),
    ("sip_stream", sip_stream),
    ("sip_user_agent", sip_user_agent),
    ("srtp", srtp),
];

/// The next datagram of an input that holds several, each behind a byte for its length, with the byte after that.
fn next_datagram<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [len, extra, rest @ ..] = *input else { return None };
    let (datagram, rest) = rest.split_at(rest.len().min(usize::from(*len)));
    *input = rest;
    Some((*extra, datagram))
}
