//! Samples and laws: shares, quantiles and the distance between them.

use super::profile::Profile;
use crate::error::{Error, Place};
use crate::order;
use crate::trace::Trace;
use crate::trace::reuse::StackDistances;

/// Observations in order, each as an index into the distinct values.
pub(super) struct Sample {
    /// Ascending.
    pub(super) values: Vec<u64>,
    /// Observations of at most each value.
    pub(super) at_most: Vec<u64>,
    /// In order.
    pub(super) codes: Vec<u32>,
}

impl Sample {
    pub(super) fn of(observations: &[u64]) -> Self {
        let values = order::distinct(observations.iter().copied());
        let code = |value| values.partition_point(|v| v < value) as u32;
        let codes: Vec<u32> = observations.iter().map(code).collect();
        let mut at_most = vec![0; values.len()];
        codes.iter().for_each(|code| at_most[*code as usize] += 1);
        Self::cumulate(values, at_most, codes)
    }

    /// Distances are below the number of tensors: counted, not sorted.
    pub(super) fn of_distances(trace: &Trace, name: &str) -> Result<Self, Error> {
        let mut stack = StackDistances::new(trace.tensors().len());
        let mut codes = Vec::new();
        let mut counts = vec![0u64; trace.tensors().len()];
        for tensor in trace.accesses() {
            // Of size 1 each, so that bytes are tensors; the tensor itself is not another.
            if let Some(depth) = stack.access(*tensor, 1) {
                codes.push(depth as u32 - 1);
                counts[depth as usize - 1] += 1;
            }
        }
        if codes.is_empty() {
            let problem = "every tensor is used once, so there are no stack distances to compare";
            return Err(Error::input(name, Place::Whole, problem, "Give a trace that uses tensors again"));
        }
        let mut values = Vec::new();
        let mut seen = Vec::new();
        let mut code = vec![0u32; counts.len()];
        for (value, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            code[value] = values.len() as u32;
            values.push(value as u64);
            seen.push(*count);
        }
        codes.iter_mut().for_each(|c| *c = code[*c as usize]);
        Ok(Self::cumulate(values, seen, codes))
    }

    fn cumulate(values: Vec<u64>, mut counts: Vec<u64>, codes: Vec<u32>) -> Self {
        let mut sum = 0;
        for count in &mut counts {
            sum += *count;
            *count = sum;
        }
        Self { values, at_most: counts, codes }
    }

    pub(super) fn len(&self) -> usize {
        self.codes.len()
    }

    /// The share of observations of at most `value`.
    pub(super) fn share(&self, value: u64) -> f64 {
        let upto = self.values.partition_point(|v| *v <= value);
        upto.checked_sub(1).map_or(0.0, |i| self.at_most[i] as f64 / self.len() as f64)
    }

    /// The least value up to which `part` of `whole` observations lie.
    pub(super) fn quantile(&self, part: u64, whole: u64) -> u64 {
        let rank = (u128::from(part) * self.len() as u128).div_ceil(u128::from(whole)) as u64;
        let at = self.at_most.partition_point(|seen| *seen < rank);
        self.values[at.min(self.values.len() - 1)]
    }

    /// The observations of block `b` of `blocks`.
    pub(super) fn block(&self, b: usize, blocks: usize) -> &[u32] {
        let bound = |b: usize| (b as u64 * self.len() as u64 / blocks as u64) as usize;
        &self.codes[bound(b)..bound(b + 1)]
    }
}

/// The distribution a sample is compared with.
pub(super) enum Law<'a> {
    Profile(&'static Profile),
    Sample(&'a Sample),
}

impl Law<'_> {
    pub(super) fn share(&self, value: u64) -> f64 {
        match self {
            Self::Profile(profile) => profile.at_most(value),
            Self::Sample(sample) => sample.share(value),
        }
    }

    pub(super) fn quantile(&self, part: u64, whole: u64) -> u64 {
        match self {
            Self::Profile(profile) => profile.quantile(part as f64 / whole as f64),
            Self::Sample(sample) => sample.quantile(part, whole),
        }
    }
}

/// The greatest difference of the cumulative distributions over all whole numbers.
pub(super) fn distance(sample: &Sample, law: &Law<'_>) -> f64 {
    let mut points = sample.values.clone();
    match law {
        // A law goes on rising between observations: it is farthest from them just before the next.
        Law::Profile(_) => points.extend(sample.values.iter().filter_map(|v| v.checked_sub(1))),
        Law::Sample(other) => points.extend(&other.values),
    }
    points.iter().map(|x| (sample.share(*x) - law.share(*x)).abs().min(1.0)).fold(0.0, f64::max)
}
