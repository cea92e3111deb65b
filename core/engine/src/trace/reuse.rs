//! When a tensor was last used and how much else was used since.

use std::sync::Arc;

use super::Trace;

/// Marks an access without an earlier (or later) use of the same tensor.
pub const NEVER: u32 = u32::MAX;

/// For each access, the index of the previous access to the same tensor, or [`NEVER`].
pub fn previous_use(trace: &Trace) -> Vec<u32> {
    let mut last = vec![NEVER; trace.tensors().len()];
    let step = |(i, t): (usize, &u32)| std::mem::replace(&mut last[*t as usize], i as u32);
    trace.accesses().iter().enumerate().map(step).collect()
}

/// When each tensor is used next, for every access: what only a simulation knows.
#[derive(Debug)]
pub struct Future {
    /// For each access, the index of the next access to the same tensor, or [`NEVER`].
    pub next_use: Vec<u32>,
    /// The tensor of each access.
    pub order: Arc<Vec<u32>>,
}

impl Future {
    /// The future of `trace`.
    pub fn of(trace: &Trace) -> Self {
        let order = trace.shared_accesses();
        let mut next = vec![NEVER; trace.tensors().len()];
        let mut next_use = vec![NEVER; order.len()];
        for (now, &t) in order.iter().enumerate().rev() {
            next_use[now] = std::mem::replace(&mut next[t as usize], now as u32);
        }
        Self { next_use, order }
    }
}

/// A set of access numbers that finds its last one at once: a bit for each access, a bit for each 64 of those that
/// are not all zero, and so on.
#[derive(Debug, Clone)]
pub struct TimeSet {
    /// The lowest level first; the last has one word.
    levels: Vec<Vec<u64>>,
}

impl TimeSet {
    /// An empty set of numbers below `accesses`.
    pub fn new(accesses: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = accesses;
        while levels.is_empty() || words > 1 {
            words = words.div_ceil(64).max(1);
            levels.push(vec![0; words]);
        }
        Self { levels }
    }

    /// Adds `time`.
    pub fn insert(&mut self, time: u32) {
        let mut at = time as usize;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            let before = *word;
            *word |= 1 << (at % 64);
            if before != 0 {
                return;
            }
            at /= 64;
        }
    }

    /// Takes `time` out.
    pub fn remove(&mut self, time: u32) {
        let mut at = time as usize;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            *word &= !(1 << (at % 64));
            if *word != 0 {
                return;
            }
            at /= 64;
        }
    }

    /// The last time in the set.
    pub fn last(&self) -> Option<u32> {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            let word = level[at];
            // Only the top word can be zero: the others are marked above.
            at = 64 * at + 63usize.checked_sub(word.leading_zeros() as usize)?;
        }
        Some(at as u32)
    }
}

/// Stack distances in bytes, access by access: the sizes of the distinct tensors used since the last use of
/// the same tensor, that tensor included.
///
/// LRU hits exactly the reuses whose stack distance is at most the capacity, where that holds the largest tensor; a
/// smaller one never takes the larger tensors in, so they put nothing out.
///
/// A Fenwick tree over moments holds the size of each tensor at its latest use: O(log tensors) per access. Only the
/// latest uses matter, so once the moments are used up, those in use move together and it goes on from there.
#[derive(Debug)]
pub struct StackDistances {
    latest: Fenwick,
    /// Bytes of all tensors used so far.
    total: u64,
    /// The moment of each tensor's latest use, and the tensor used at each moment.
    moments: Vec<u32>,
    tensors: Vec<u32>,
}

impl StackDistances {
    /// Before the first use of any of `tensors` tensors.
    pub fn new(tensors: usize) -> Self {
        // Twice as many moments as tensors: they move together after as many accesses, or more.
        let moments = (2 * tensors).max(64).min(NEVER as usize);
        Self {
            latest: Fenwick::new(moments),
            total: 0,
            moments: vec![NEVER; tensors],
            tensors: Vec::with_capacity(moments),
        }
    }

    /// The next access is to `tensor` of `bytes`; returns its stack distance, or none on first use.
    pub fn access(&mut self, tensor: u32, bytes: u64) -> Option<u64> {
        self.access_resized(tensor, bytes, bytes)
    }

    /// The same for a tensor that has `bytes` from this access on, and had `before`: the distance counts it with the
    /// size with which it was kept.
    pub fn access_resized(&mut self, tensor: u32, before: u64, bytes: u64) -> Option<u64> {
        if self.tensors.len() == self.latest.len() {
            self.move_together();
        }
        let now = self.tensors.len();
        self.tensors.push(tensor);
        let last = std::mem::replace(&mut self.moments[tensor as usize], now as u32);
        let distance = if last == NEVER {
            self.total = self.total.wrapping_add(bytes);
            None
        } else {
            let since = self.total.wrapping_sub(self.latest.prefix(last as usize));
            self.latest.add(last as usize, before.wrapping_neg());
            self.total = self.total.wrapping_add(bytes).wrapping_sub(before);
            Some(since)
        };
        self.latest.add(now, bytes);
        distance
    }

    /// Gives the latest uses the first moments, in their order.
    fn move_together(&mut self) {
        let mut kept = 0;
        let mut before = 0;
        let moved = Fenwick::new(self.latest.len());
        let old = std::mem::replace(&mut self.latest, moved);
        for moment in 0..self.tensors.len() {
            let tensor = self.tensors[moment];
            if self.moments[tensor as usize] as usize != moment {
                continue;
            }
            let until = old.prefix(moment + 1);
            self.latest.add(kept, until.wrapping_sub(before));
            before = until;
            self.moments[tensor as usize] = kept as u32;
            self.tensors[kept] = tensor;
            kept += 1;
        }
        self.tensors.truncate(kept);
    }
}

/// Counts of values on a logarithmic scale: quantiles within 1 % of the true value.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

/// Leading bits of a value that choose its bin: 2^7 bins for each power of two.
const BIN_BITS: u32 = 7;

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 64 << BIN_BITS], total: 0 }
    }
}

impl Histogram {
    /// Counts `value`.
    pub fn add(&mut self, value: u64) {
        let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BIN_BITS + 1);
        self.counts[((shift as usize) << BIN_BITS) + (value >> shift) as usize] += 1;
        self.total += 1;
    }

    /// The value up to which a share `q` (0..=1) of the values lies, at most 1 % too large; none without values.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = (q * self.total as f64) as u64;
        let mut seen = 0;
        let bin = self.counts.iter().position(|count| {
            seen += count;
            *count > 0 && seen > rank.min(self.total - 1)
        })?;
        let shift = (bin >> BIN_BITS).saturating_sub(usize::from(bin >= 1 << (BIN_BITS + 1)));
        let leading = (bin - (shift << BIN_BITS)) as u64;
        Some((leading << shift) | ((1 << shift) - 1))
    }
}

/// Prefix sums under point updates; arithmetic wraps, so a value is taken back by adding its negative.
#[derive(Debug)]
struct Fenwick(Vec<u64>);

impl Fenwick {
    fn new(len: usize) -> Self {
        Self(vec![0; len + 1])
    }

    fn len(&self) -> usize {
        self.0.len() - 1
    }

    fn add(&mut self, index: usize, value: u64) {
        let mut i = index + 1;
        while i < self.0.len() {
            self.0[i] = self.0[i].wrapping_add(value);
            i += i & i.wrapping_neg();
        }
    }

    /// The sum of the values at `0..end`.
    fn prefix(&self, end: usize) -> u64 {
        let mut sum = 0u64;
        let mut i = end;
        while i > 0 {
            sum = sum.wrapping_add(self.0[i]);
            i -= i & i.wrapping_neg();
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::trace::testing::sized;

    fn naive(trace: &Trace) -> Vec<u64> {
        let accesses = trace.accesses();
        let mut out = Vec::new();
        for now in 0..accesses.len() {
            if let Some(last) = (0..now).rev().find(|i| accesses[*i] == accesses[now]) {
                let distinct: BTreeSet<u32> = accesses[last..now].iter().copied().collect();
                // The size of each at its last use.
                let bytes = |t: &u32| trace.sized().take(now).filter(|(other, _)| other == t).last().unwrap().1;
                out.push(distinct.iter().map(bytes).sum());
            }
        }
        out
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            uses in prop::collection::vec((0u32..8, 0u64..100), 1..150),
            steady: bool,
        ) {
            let trace = sized(&uses, steady);
            let mut stack = StackDistances::new(trace.tensors().len());
            let mut sizes = trace.sizes();
            let step = |(t, bytes): (u32, u64)| {
                stack.access_resized(t, std::mem::replace(&mut sizes[t as usize], bytes), bytes)
            };
            let got: Vec<u64> = trace.sized().filter_map(step).collect();
            prop_assert_eq!(got, naive(&trace));
        }

        #[test]
        fn quantiles_are_within_a_percent(mut values in prop::collection::vec(any::<u64>(), 1..50), q in 0.0f64..1.0) {
            for (i, v) in values.iter_mut().enumerate() {
                *v >>= i % 64;
            }
            let mut histogram = Histogram::default();
            values.iter().for_each(|v| histogram.add(*v));
            values.sort_unstable();
            let exact = values[((q * values.len() as f64) as usize).min(values.len() - 1)];
            let got = histogram.quantile(q).unwrap();
            prop_assert!(exact <= got && got - exact <= exact / 100, "{got} {exact}");
        }
    }
}
