//! PFOO-L: no schedule has fewer misses than this.
//!
//! The intervals that hit must fit the memory at every moment, so together they fit its space-time: capacity x
//! accesses. Filling that with the intervals of most value for their space-time, the last one in part, hits at least
//! as much as any schedule can.

use std::sync::Arc;

use super::{Interval, Reuses, Value};
use crate::order;
use crate::policy::Admission;

/// The intervals of a trace in the order in which the space-time is filled: one sort for every capacity.
#[derive(Debug, Clone)]
pub struct Lower {
    pub(super) reuses: Reuses,
    value: Value,
    pub(super) admission: Admission,
    /// First accesses of the intervals, those of most value for their space-time first.
    starts: Arc<[u32]>,
    /// Space-time is counted in units of 2^`shift` byte-steps, rounded in favour of hits, so that it fits 64 bits.
    shift: u32,
}

impl Lower {
    /// Sorts the intervals for `value` under `admission`.
    pub fn new(reuses: &Reuses, value: Value, admission: Admission) -> Self {
        let largest = reuses.largest();
        let most = u128::from(largest) * reuses.accesses() as u128;
        let mut lower = Self {
            reuses: reuses.clone(),
            value,
            admission,
            starts: Arc::default(),
            shift: (u128::BITS - most.leading_zeros()).saturating_sub(u64::BITS),
        };
        let key = |start: u32| lower.key(&reuses.interval(start));
        lower.starts = match value {
            // The key fits 32 bits: half the room, and a faster sort.
            Value::Bytes if !reuses.change() => {
                let mut keyed = Vec::with_capacity(reuses.len());
                keyed.extend(reuses.starts().map(|start| key(start) << 32 | u64::from(start)));
                order::sort_numbers(&mut keyed);
                keyed.into_iter().map(|both| both as u32).collect()
            }
            Value::Objects | Value::Bytes | Value::Cost { .. } => {
                let mut keyed = Vec::with_capacity(reuses.len());
                keyed.extend(reuses.starts().map(|start| (key(start), start)));
                order::sort(&mut keyed);
                keyed.into_iter().map(|(_, start)| start).collect()
            }
        };
        lower
    }

    /// The intervals by falling value for their space-time, as their first accesses.
    pub fn starts(&self) -> Arc<[u32]> {
        Arc::clone(&self.starts)
    }

    /// Space-time of an interval in units.
    fn footprint(&self, interval: &Interval) -> u64 {
        ((u128::from(interval.bytes) * u128::from(interval.steps(self.admission, self.reuses.from))) >> self.shift)
            as u64
    }

    /// Grows as the value for the space-time falls.
    fn key(&self, interval: &Interval) -> u64 {
        match self.value {
            Value::Objects => self.footprint(interval),
            Value::Bytes if !self.reuses.change() => u64::from(interval.steps(self.admission, self.reuses.from)),
            // Not negative, so the bits order as the numbers do.
            Value::Bytes | Value::Cost { .. } => {
                let saved = self.saved(interval);
                if saved > 0.0 { (self.footprint(interval) as f64 / saved).to_bits() } else { u64::MAX }
            }
        }
    }

    /// What a hit saves.
    fn saved(&self, interval: &Interval) -> f64 {
        match self.value {
            Value::Objects => 1.0,
            Value::Bytes => interval.hit_bytes as f64,
            Value::Cost { fixed, per_byte } => (fixed + per_byte * interval.hit_bytes as f64).max(0.0),
        }
    }

    /// The space-time of a memory of `capacity` bytes in units. Under `Always` the access itself takes its part.
    fn budget(&self, capacity: u64) -> u128 {
        let all = u128::from(capacity) * self.reuses.counted() as u128;
        let taken = match self.admission {
            Admission::Bypass => 0,
            Admission::Always => self.reuses.given_bytes(capacity),
        };
        (all - taken).div_ceil(1 << self.shift)
    }

    /// Goes through the intervals that fill a memory of `capacity` bytes, each with the space-time that it gets of what
    /// it needs; the last gets a part.
    fn fill(&self, capacity: u64, mut take: impl FnMut(&Interval, u128, u128)) {
        let mut budget = self.budget(capacity);
        for &start in &*self.starts {
            let interval = self.reuses.interval(start);
            // A tensor larger than the memory never hits.
            if interval.bytes.max(interval.hit_bytes) > capacity {
                continue;
            }
            let needed = u128::from(self.footprint(&interval));
            if needed > budget {
                return take(&interval, budget, needed);
            }
            budget -= needed;
            take(&interval, needed, needed);
        }
    }

    /// At most so many hits, whatever the schedule.
    pub fn most_hits(&self, capacity: u64) -> u64 {
        let mut hits = 0;
        // A share of a hit is none.
        self.fill(capacity, |_, got, needed| hits += u64::from(got == needed));
        hits
    }

    /// At most so many bytes hit, whatever the schedule.
    pub fn most_hit_bytes(&self, capacity: u64) -> u64 {
        let mut bytes: u64 = 0;
        // A share of a byte is none. Less is got than needed, and what is needed fits 64 bits: so does the product.
        self.fill(capacity, |interval, got, needed| {
            let hit = interval.hit_bytes;
            bytes += if got == needed { hit } else { (u128::from(hit) * got / needed) as u64 };
        });
        // Where sizes change, the order is by rounded numbers.
        let slack = if self.reuses.change() { (bytes as f64 * 1e-9).ceil() as u64 } else { 0 };
        bytes.saturating_add(slack).min(self.reuses.requested_bytes())
    }

    /// At most so much saved, whatever the schedule.
    pub fn most_saved(&self, capacity: u64) -> f64 {
        let mut saved = 0.0;
        self.fill(capacity, |interval, got, needed| {
            let share = if got == needed { 1.0 } else { got as f64 / needed as f64 };
            saved += share * self.saved(interval);
        });
        saved * (1.0 + 1e-9) // sums of rounded numbers
    }

    /// No memory smaller than this hits `hits` times, whatever the schedule.
    pub fn least_capacity(&self, hits: u64) -> u64 {
        let n = self.reuses.counted() as u128;
        let mut needed = 0u128;
        for &start in self.starts.iter().take(hits as usize) {
            needed += u128::from(self.footprint(&self.reuses.interval(start))) << self.shift;
        }
        u64::try_from(needed.div_ceil(n.max(1))).unwrap_or(u64::MAX)
    }
}
