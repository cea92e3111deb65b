//! The question a language model is asked about an access: how long until this tensor is used again?
//!
//! Ten answers, the digits 0..9, each a factor of four of the reuse distance (see
//! [`predicted_reuse_distance`](super::predicted_reuse_distance)); 9 = not again. The same prefix precedes every item.

use super::features;
use crate::trace::Trace;

/// Counts up whenever the text changes: scores of different versions must not be mixed.
pub const VERSION: u32 = 1;

/// The answers, from soonest to never.
pub const LABELS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// What precedes every item.
pub fn prefix() -> String {
    "A cache holds the tensors of a neural network. For each access, tell how many accesses pass until the same tensor \
     is used again, as one digit: 0 for the next access, one more for each factor of four, 9 for not again.\n"
        .to_owned()
}

/// One item an access, in order; equal prompts are equal strings.
pub fn items(trace: &Trace) -> impl Iterator<Item = String> + '_ {
    features(trace).map(|f| format!("bytes {} uses {} stride {} distance ", f.bytes, f.uses, f.stride))
}

/// The expected digit, from 0 to 1.
pub fn score(probabilities: &[f64; 10]) -> f64 {
    probabilities.iter().zip(0u8..).map(|(p, digit)| p * f64::from(digit)).sum::<f64>() / 9.0
}
