//! From a recogniser's hypotheses to captions: what may be shown, what stays, and when it is final.

mod assembler;
mod hypothesis;
mod phrases;
mod plausibility;
mod stabiliser;

pub use assembler::{Caption, CaptionAssembler};
pub use hypothesis::{Hypothesis, Word};
pub use phrases::{Meaning, PhraseListener};
pub use plausibility::{Implausible, check};
pub use stabiliser::Stabiliser;
