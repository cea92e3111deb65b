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

use crate::error::Error;
use crate::memory::{Costing, HIT_MS, MISS_MS_PER_BYTE, miss_ms, prototype_time};
use crate::policy::Admission;
use crate::sim::timing::least_ms;
use crate::trace::reuse::{Future, NEVER};
use crate::trace::{NO_PARENT, Trace};

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
    /// The first access that counts: those before are a warm-up.
    from: u32,
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
    /// Steps, from step `from` on, for which the tensor takes room that the mode does not give it anyway: under `Always`
    /// it is in at its own use, whatever is decided; under `Bypass` it is in at the hit because it was kept.
    fn steps(&self, admission: Admission, from: u32) -> u32 {
        let start = match admission {
            Admission::Bypass => self.start,
            Admission::Always => self.start + u32::from(self.given),
        };
        self.end - start.max(from)
    }
}

impl Reuses {
    /// The reuses of `trace`.
    pub fn new(trace: &Trace, future: &Arc<Future>) -> Self {
        Self::since(0, trace, future)
    }

    /// The reuses of `trace` whose later access is number `from` or one behind it.
    pub fn since(from: usize, trace: &Trace, future: &Arc<Future>) -> Self {
        let tensors = trace.tensors().len();
        let sizes = if trace.resizes().is_empty() && trace.parents().is_empty() {
            let mut uses = vec![0; tensors];
            trace.accesses().iter().skip(from).for_each(|t| uses[*t as usize] += 1);
            Sizes::Steady(trace.sizes().into(), uses.into())
        } else {
            let mut sizes: Vec<(u64, bool)> = trace.sized().map(|(_, bytes)| (bytes, false)).collect();
            trace.resizes().iter().for_each(|resize| sizes[resize.at as usize].1 = true);
            // One whose parent is not resident passes by.
            let tied = |tensor: u32| trace.parents().get(tensor as usize).is_some_and(|parent| *parent != NO_PARENT);
            sizes.iter_mut().zip(trace.accesses()).for_each(|(size, tensor)| size.1 |= tied(*tensor));
            Sizes::Changing(sizes.into())
        };
        Self { future: Arc::clone(future), sizes, tensors, from: from as u32 }
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

    /// Number of accesses, those before counting begins included.
    pub fn accesses(&self) -> usize {
        self.future.order.len()
    }

    /// Number of accesses that count.
    pub fn counted(&self) -> usize {
        self.accesses() - self.from as usize
    }

    /// The most intervals that there are.
    fn len(&self) -> usize {
        self.accesses() - self.tensors
    }

    /// The first access of every interval.
    fn starts(&self) -> impl Iterator<Item = u32> + '_ {
        let counts = |next: u32| next != NEVER && next >= self.from;
        (0u32..).zip(&self.future.next_use).filter(move |(_, next)| counts(**next)).map(|(start, _)| start)
    }

    fn interval(&self, start: u32) -> Interval {
        let end = self.future.next_use[start as usize];
        let (bytes, free) = self.size(start);
        let hit_bytes = if self.change() { self.size(end).0 } else { bytes };
        Interval { bytes, hit_bytes, start, end, given: !free }
    }

    /// Bytes of all accesses that count.
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
                let counted = sizes.iter().skip(self.from as usize).filter(|(size, free)| counts(*size, *free));
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
    /// Time, where anything counts it, in ms.
    pub time_ms: Option<Range<f64>>,
    /// No memory smaller than this hits half of the reuses, whatever the policy, in bytes.
    pub half_of_hits_bytes: u64,
}

/// The proven halves of [`Bounds`].
#[derive(Debug, Clone, Copy)]
pub struct Least {
    misses: u64,
    miss_bytes: u64,
    time_ms: Option<f64>,
    half_of_hits_bytes: u64,
}

/// A schedule that can be carried out.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// What it misses.
    pub misses: Misses,
    /// The time that it takes, where that is known, in ms.
    pub time_ms: Option<f64>,
}

impl Least {
    /// The lower bounds for `capacity` bytes, where `order` sorts the reuses by a value under `admission`.
    pub fn new(
        trace: &Trace,
        reuses: &Reuses,
        capacity: u64,
        admission: Admission,
        costing: &Costing,
        order: impl Fn(Value) -> Lower,
    ) -> Result<Self, Error> {
        // One order after the other: each takes memory of the size of the trace.
        let half = |any: &Lower| any.least_capacity((any.starts().len() as u64).div_ceil(2));
        // The order of bypassing holds in both modes, and says more than that of the stricter one.
        let of_any = match admission {
            Admission::Bypass => None,
            Admission::Always => Some(half(&Lower::new(reuses, Value::Objects, Admission::Bypass))),
        };
        let objects = order(Value::Objects);
        let hits = objects.most_hits(capacity);
        let half_of_hits_bytes = of_any.unwrap_or_else(|| half(&objects));
        drop(objects);
        let hit_bytes = order(Value::Bytes).most_hit_bytes(capacity);
        let requested = reuses.requested_bytes();
        let miss_bytes = requested - hit_bytes;
        let time_ms = match costing {
            Costing::Nothing => None,
            Costing::Prototype => {
                // A hit saves what a miss of its size costs, less what the hit itself costs.
                let value = Value::Cost { fixed: -HIT_MS, per_byte: MISS_MS_PER_BYTE };
                let saved = Lower::new(reuses, value, admission).most_saved(capacity);
                Some((miss_ms(requested) - saved).max(0.0))
            }
            Costing::Device { physical, .. } => Some(least_ms(physical, trace, reuses.from as usize, miss_bytes)?),
        };
        Ok(Self { misses: reuses.counted() as u64 - hits, miss_bytes, time_ms, half_of_hits_bytes })
    }

    /// The bounds on `accesses` that count, given what `schedules` attain.
    pub fn bounds(
        &self,
        admission: Admission,
        accesses: u64,
        costing: &Costing,
        schedules: &[Schedule],
    ) -> Option<Bounds> {
        let attained = |figure: fn(&Misses) -> u64| -> Vec<(&str, u64)> {
            schedules.iter().map(|schedule| (schedule.name.as_str(), figure(&schedule.misses))).collect()
        };
        let times = schedules.iter().filter_map(|schedule| {
            let Misses { objects, bytes } = schedule.misses;
            let ms = match costing {
                Costing::Nothing => None,
                Costing::Prototype => Some(prototype_time(accesses - objects, bytes).total_latency_ms),
                Costing::Device { .. } => schedule.time_ms,
            };
            Some((schedule.name.as_str(), ms?))
        });
        let times: Vec<(&str, f64)> = times.collect();
        Some(Bounds {
            admission,
            misses: Range::new(self.misses, &attained(|m| m.objects))?,
            miss_bytes: Range::new(self.miss_bytes, &attained(|m| m.bytes))?,
            time_ms: self.time_ms.and_then(|least| Range::new(least, &times)),
            half_of_hits_bytes: self.half_of_hits_bytes,
        })
    }
}

#[cfg(test)]
mod tests;
