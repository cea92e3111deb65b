//! How good any policy could be: proven lower bounds on misses, and schedules that attain an upper one.
//!
//! With sizes that differ, the best possible schedule is NP-hard to find, and farthest next use is not it. So the
//! optimum is enclosed: [`lower`] relaxes it (Berger, Beckmann and Harchol-Balter, "Practical Bounds on Optimal
//! Caching with Variable Object Sizes", 2018), [`packing`] and the policies that know the future attain what they
//! claim.
//!
//! A hit keeps its tensor resident from the last use to this one, an *interval*. Whether a newcomer may pass by
//! ([`Admission::Bypass`]) or must come in ([`Admission::Always`]) changes what is possible, so every bound is one
//! for a mode. `Always` is the stricter: each of its schedules is also one of `Bypass`.

pub mod lower;
pub mod packing;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::policy::Admission;
use crate::trace::Trace;
use crate::trace::reuse::{Future, NEVER};

/// What a miss costs: `fixed + per_byte x size`, in any unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Every miss counts 1.
    Objects,
    /// Every miss counts its bytes.
    Bytes,
    /// Every hit saves `fixed + per_byte x size`; one that saves nothing is not counted.
    Cost {
        /// Saved by any hit.
        fixed: f64,
        /// Saved by each byte hit.
        per_byte: f64,
    },
}

/// A trace as the bounds see it.
#[derive(Debug, Clone)]
pub struct Reuses {
    future: Arc<Future>,
    sizes: Arc<[u64]>,
    /// Uses of each tensor.
    uses: Arc<[u64]>,
}

/// The tensor of an interval, its size, and the accesses at its ends.
#[derive(Debug, Clone, Copy)]
struct Interval {
    bytes: u64,
    start: u32,
    end: u32,
}

impl Interval {
    /// Steps for which the tensor takes room that the mode does not give it anyway: under `Always` it is in at its
    /// own use, whatever is decided; under `Bypass` it is in at the hit because it was kept.
    fn steps(&self, admission: Admission) -> u32 {
        match admission {
            Admission::Bypass => self.end - self.start,
            Admission::Always => self.end - self.start - 1,
        }
    }
}

impl Reuses {
    /// The reuses of `trace`.
    pub fn new(trace: &Trace, future: &Arc<Future>) -> Self {
        let mut uses = vec![0; trace.tensors().len()];
        trace.accesses().iter().for_each(|t| uses[*t as usize] += 1);
        Self { future: Arc::clone(future), sizes: trace.sizes().into(), uses: uses.into() }
    }

    /// Number of accesses.
    pub fn accesses(&self) -> usize {
        self.future.order.len()
    }

    /// The first access of every interval.
    fn starts(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.future.next_use).filter(|(_, next)| **next != NEVER).map(|(start, _)| start)
    }

    fn interval(&self, start: u32) -> Interval {
        let bytes = self.sizes[self.future.order[start as usize] as usize];
        Interval { bytes, start, end: self.future.next_use[start as usize] }
    }

    /// Bytes of all accesses to tensors of at most `most` bytes.
    fn requested_bytes(&self, most: u64) -> u128 {
        let bytes = |(size, uses): (&u64, &u64)| u128::from(*size) * u128::from(*uses);
        self.sizes.iter().zip(&*self.uses).filter(|(size, _)| **size <= most).map(bytes).sum()
    }
}

/// Misses in objects and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Misses {
    /// Accesses that miss.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests;
