//! Misses of fully associative LRU caches.

use super::nest::Program;
use super::report::Count;
use crate::error::Error;
use crate::run::Progress;

/// What happens in one cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Misses {
    /// Its capacity in bytes.
    pub capacity_bytes: u64,
    /// Lines touched for the first time.
    pub compulsory: Count,
    /// Lines that were there and had left.
    pub capacity: Count,
    /// Between which numbers `capacity` lies, where it is not exact.
    pub capacity_range: Option<[f64; 2]>,
    /// Changed lines that go back: those that leave, and those left at the end.
    pub write_backs: Count,
    /// Misses of both kinds by the line of the source (ascending) that caused them.
    pub by_line: Vec<(u32, Count)>,
    /// How they were found, in words.
    pub method: String,
}

/// The misses of `program` in caches of `capacities` bytes, each seeing every access.
pub fn misses(
    _program: &Program,
    _line_bytes: u64,
    _capacities: &[u64],
    _progress: &mut dyn Progress,
) -> Result<Vec<Misses>, Error> {
    Err(Error::Internal("not yet".into()))
}
