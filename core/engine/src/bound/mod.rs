//! How good any policy could be: proven lower bounds on misses, and schedules that attain an upper one.
//!
//! With sizes that differ, the best possible schedule is NP-hard to find, and farthest next use is not it. So the
//! optimum is enclosed: [`lower`] relaxes it (Berger, Beckmann and Harchol-Balter, "Practical Bounds on Optimal
//! Caching with Variable Object Sizes", 2018), [`packing`] and the policies that know the future attain what they
//! claim.
//!
//! A hit keeps its tensor resident from the last use to this one, an *interval*. Where sizes change, the interval takes
//! the size of the access at its start, and the hit is worth that of the access at its end; such an access, if it hits,
//! may let its tensor go even under `Always`. Whether a newcomer may pass by
//! ([`Admission::Bypass`]) or must come in ([`Admission::Always`]) changes what is possible, so every bound is one
//! for a mode. `Always` is the stricter: each of its schedules is also one of `Bypass`.

pub mod lower;
pub mod packing;

use std::sync::Arc;

use lower::Lower;
use serde::{Deserialize, Serialize};

use crate::memory::{HIT_MS, MISS_MS_PER_BYTE, miss_ms, prototype_time};
use crate::policy::Admission;
use crate::trace::{NO_PARENT, Trace};
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
    sizes: Sizes,
    tensors: usize,
}

/// The size at each access.
#[derive(Debug, Clone)]
enum Sizes {
    /// One size and the number of uses for each tensor.
    Steady(Arc<[u64]>, Arc<[u64]>),
    /// One size for each access, and whether the tensor may be away after it even under `Always`: where it has another
    /// size than before, or continues another.
    Changing(Arc<[(u64, bool)]>),
}

/// The tensor of an interval, its size, and the accesses at its ends.
#[derive(Debug, Clone, Copy)]
struct Interval {
    bytes: u64,
    /// Bytes of the hit at its end.
    hit_bytes: u64,
    start: u32,
    end: u32,
    /// Whether the tensor is in at its start, whatever is decided under `Always`.
    given: bool,
}

impl Interval {
    /// Steps for which the tensor takes room that the mode does not give it anyway: under `Always` it is in at its
    /// own use, whatever is decided; under `Bypass` it is in at the hit because it was kept.
    fn steps(&self, admission: Admission) -> u32 {
        match admission {
            Admission::Bypass => self.end - self.start,
            Admission::Always => self.end - self.start - u32::from(self.given),
        }
    }
}

impl Reuses {
    /// The reuses of `trace`.
    pub fn new(trace: &Trace, future: &Arc<Future>) -> Self {
        let tensors = trace.tensors().len();
        let sizes = if trace.resizes().is_empty() && trace.parents().is_empty() {
            let mut uses = vec![0; tensors];
            trace.accesses().iter().for_each(|t| uses[*t as usize] += 1);
            Sizes::Steady(trace.sizes().into(), uses.into())
        } else {
            let mut sizes: Vec<(u64, bool)> = trace.sized().map(|(_, bytes)| (bytes, false)).collect();
            trace.resizes().iter().for_each(|resize| sizes[resize.at as usize].1 = true);
            // One whose parent is not resident passes by.
            let tied = |tensor: u32| trace.parents().get(tensor as usize).is_some_and(|parent| *parent != NO_PARENT);
            sizes.iter_mut().zip(trace.accesses()).for_each(|(size, tensor)| size.1 |= tied(*tensor));
            Sizes::Changing(sizes.into())
        };
        Self { future: Arc::clone(future), sizes, tensors }
    }

    /// The size at access `now`, and whether the tensor may be away after it even under `Always`.
    fn size(&self, now: u32) -> (u64, bool) {
        match &self.sizes {
            Sizes::Steady(sizes, _) => (sizes[self.future.order[now as usize] as usize], false),
            Sizes::Changing(sizes) => sizes[now as usize],
        }
    }

    /// Whether any tensor changes its size.
    fn change(&self) -> bool {
        matches!(self.sizes, Sizes::Changing(_))
    }

    /// The largest size.
    fn largest(&self) -> u64 {
        match &self.sizes {
            Sizes::Steady(sizes, _) => sizes.iter().copied().max(),
            Sizes::Changing(sizes) => sizes.iter().map(|(bytes, _)| *bytes).max(),
        }
        .unwrap_or(0)
    }

    /// Number of accesses.
    pub fn accesses(&self) -> usize {
        self.future.order.len()
    }

    /// Number of intervals.
    fn len(&self) -> usize {
        self.accesses() - self.tensors
    }

    /// The first access of every interval.
    fn starts(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.future.next_use).filter(|(_, next)| **next != NEVER).map(|(start, _)| start)
    }

    fn interval(&self, start: u32) -> Interval {
        let end = self.future.next_use[start as usize];
        let (bytes, free) = self.size(start);
        let hit_bytes = if self.change() { self.size(end).0 } else { bytes };
        Interval { bytes, hit_bytes, start, end, given: !free }
    }

    /// Bytes of all accesses.
    fn requested_bytes(&self) -> u64 {
        self.sum(|_, _| true) as u64
    }

    /// Space-time that is given to tensors at their own use under `Always`, in a memory of `capacity` bytes.
    fn given_bytes(&self, capacity: u64) -> u128 {
        self.sum(|size, free| size <= capacity && !free)
    }

    /// Bytes of the accesses that `counts` names by size and whether the tensor may be away after it.
    fn sum(&self, counts: impl Fn(u64, bool) -> bool) -> u128 {
        match &self.sizes {
            Sizes::Steady(sizes, uses) => {
                let bytes = |(size, uses): (&u64, &u64)| u128::from(*size) * u128::from(*uses);
                sizes.iter().zip(&**uses).filter(|(size, _)| counts(**size, false)).map(bytes).sum()
            }
            Sizes::Changing(sizes) => {
                let counted = sizes.iter().filter(|(size, free)| counts(*size, *free));
                counted.map(|(size, _)| u128::from(*size)).sum()
            }
        }
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

/// Between which figures the best possible schedule lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range<T> {
    /// Proven: no schedule does better.
    pub lower: T,
    /// Attained by `schedule`.
    pub upper: T,
    /// Which schedule attains it: a policy by its name, `packing by objects` or `bytes`, or `nothing kept`.
    pub schedule: String,
}

impl<T: PartialOrd + Copy> Range<T> {
    fn new(lower: T, schedules: &[(&str, T)]) -> Option<Self> {
        let better = |a: &&(&str, T), b: &&(&str, T)| a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal);
        let (schedule, upper) = schedules.iter().min_by(better)?;
        Some(Self { lower, upper: *upper, schedule: (*schedule).into() })
    }
}

/// How good any policy could be at one capacity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The mode for which the bounds hold.
    pub admission: Admission,
    /// Misses.
    pub misses: Range<u64>,
    /// Bytes of the misses.
    pub miss_bytes: Range<u64>,
    /// Time by the prototype's constants, in ms.
    pub total_latency_ms: Range<f64>,
    /// No memory smaller than this hits half of the reuses, whatever the policy, in bytes.
    pub half_of_hits_bytes: u64,
}

/// The proven halves of [`Bounds`].
#[derive(Debug, Clone, Copy)]
pub struct Least {
    misses: u64,
    miss_bytes: u64,
    total_latency_ms: f64,
    half_of_hits_bytes: u64,
}

impl Least {
    /// The lower bounds for `capacity` bytes.
    pub fn new(reuses: &Reuses, capacity: u64, admission: Admission) -> Self {
        // One order after the other: each takes memory of the size of the trace.
        let lower = |value| Lower::new(reuses, value, admission);
        let hits = lower(Value::Objects).most_hits(capacity);
        // Holds in both modes, and says more than the order of the stricter one.
        let any = Lower::new(reuses, Value::Objects, Admission::Bypass);
        let half_of_hits_bytes = any.least_capacity((any.starts().len() as u64).div_ceil(2));
        drop(any);
        let hit_bytes = lower(Value::Bytes).most_hit_bytes(capacity);
        // A hit saves what a miss of its size costs, less what the hit itself costs.
        let saved = lower(Value::Cost { fixed: -HIT_MS, per_byte: MISS_MS_PER_BYTE }).most_saved(capacity);
        let requested = reuses.requested_bytes();
        Self {
            misses: reuses.accesses() as u64 - hits,
            miss_bytes: requested - hit_bytes,
            total_latency_ms: (miss_ms(requested) - saved).max(0.0),
            half_of_hits_bytes,
        }
    }

    /// The bounds, given what `schedules` attain.
    pub fn bounds(&self, admission: Admission, accesses: u64, schedules: &[(&str, Misses)]) -> Option<Bounds> {
        let attained = |figure: fn(&Misses) -> u64| -> Vec<(&str, u64)> {
            schedules.iter().map(|(name, misses)| (*name, figure(misses))).collect()
        };
        let times: Vec<(&str, f64)> = schedules
            .iter()
            .map(|(name, m)| (*name, prototype_time(accesses - m.objects, m.bytes).total_latency_ms))
            .collect();
        Some(Bounds {
            admission,
            misses: Range::new(self.misses, &attained(|m| m.objects))?,
            miss_bytes: Range::new(self.miss_bytes, &attained(|m| m.bytes))?,
            total_latency_ms: Range::new(self.total_latency_ms, &times)?,
            half_of_hits_bytes: self.half_of_hits_bytes,
        })
    }
}

#[cfg(test)]
mod tests;
