//! The beginning of a trace, the uses of some of its tensors, and a trace whose sizes do not count.

use std::sync::Arc;

use super::{Mark, NO_PARENT, Resize, Tensor, Trace};

/// The number of a tensor that is left out of a [part](Trace::only).
pub const LEFT_OUT: u32 = u32::MAX;

impl Trace {
    /// The accesses to some of the tensors: `numbers` has the new number of each, rising from 0, or [`LEFT_OUT`].
    ///
    /// Ages and marks keep their place among the accesses that stay. A tensor whose parent is left out continues none.
    pub fn only(&self, numbers: &[u32]) -> Self {
        fn column<T: Copy>(kept: &[usize], all: &[T]) -> Vec<T> {
            kept.iter().filter_map(|access| all.get(*access).copied()).collect()
        }
        let number = |access: usize| numbers[self.accesses[access] as usize];
        let stays = |access: &usize| number(*access) != LEFT_OUT;
        let kept: Vec<usize> = (0..self.accesses.len()).filter(stays).collect();
        let rank = |access: u64| kept.partition_point(|kept| (*kept as u64) < access) as u64;
        let of_tensors = |tensor: &usize| numbers[*tensor] != LEFT_OUT;
        let tensors = (0..self.tensors.len()).filter(of_tensors).map(|tensor| self.tensors[tensor].clone()).collect();
        let parent = |parent: u32| numbers.get(parent as usize).copied().unwrap_or(NO_PARENT);
        let parents: Vec<u32> =
            (0..self.parents.len()).filter(of_tensors).map(|tensor| parent(self.parents[tensor])).collect();
        let resizes = self.resizes.iter().filter(|resize| stays(&(resize.at as usize)));
        let mut part = Self {
            tensors,
            accesses: Arc::new(kept.iter().map(|access| number(*access)).collect()),
            resizes: resizes.map(|resize| Resize { at: rank(resize.at), ..*resize }).collect(),
            deadlines: column(&kept, &self.deadlines).into_iter().map(|until| rank(until.into()) as u32).collect(),
            parents: if parents.iter().all(|parent| *parent == NO_PARENT) { Vec::new() } else { parents },
            ops: column(&kept, &self.ops),
            modes: column(&kept, &self.modes),
            flops: column(&kept, &self.flops),
            marks: self.marks.iter().map(|mark| Mark { at: rank(mark.at), ..mark.clone() }).collect(),
            model_type: self.model_type.clone(),
            warnings: self.warnings.clone(),
            timed: self.timed,
            ..Self::default()
        };
        part.sum_up();
        part
    }

    /// The first `accesses` of the trace, with the tensors that they use; all of it where it has no more.
    pub fn first(mut self, accesses: usize) -> Self {
        if accesses >= self.accesses.len() {
            return self;
        }
        const UNUSED: u32 = u32::MAX;
        let mut order = self.accesses[..accesses].to_vec();
        let mut numbers = vec![UNUSED; self.tensors.len()];
        order.iter().for_each(|tensor| numbers[*tensor as usize] = 0);
        (0..).zip(numbers.iter_mut().filter(|number| **number != UNUSED)).for_each(|(new, number)| *number = new);
        order.iter_mut().for_each(|tensor| *tensor = numbers[*tensor as usize]);
        let used = |tensor: usize| numbers[tensor] != UNUSED;
        if !self.parents.is_empty() {
            let parents = self.parents.iter().enumerate().filter(|(tensor, _)| used(*tensor));
            // A parent that is not used any more ties nobody.
            let renumbered = |parent: u32| numbers.get(parent as usize).copied().unwrap_or(NO_PARENT);
            self.parents = parents.map(|(_, parent)| renumbered(*parent)).collect();
            if self.parents.iter().all(|parent| *parent == NO_PARENT) {
                self.parents = Vec::new();
            }
        }
        let mut kept = (0..numbers.len()).map(used);
        self.tensors.retain(|_| kept.next().unwrap_or(false));
        self.accesses = Arc::new(order);
        self.resizes.retain(|resize| (resize.at as usize) < accesses);
        self.deadlines.truncate(accesses);
        self.ops.truncate(accesses);
        self.modes.truncate(accesses);
        self.flops.truncate(accesses);
        self.marks.retain(|mark| mark.at < accesses as u64);
        // How many tokens there are up to here is not known.
        self.decoding = None;
        self.sum_up();
        self
    }

    /// The same accesses to tensors of one byte each.
    pub fn without_sizes(mut self) -> Self {
        self.tensors.iter_mut().for_each(|Tensor { bytes, .. }| *bytes = 1);
        self.resizes = Vec::new();
        self.sum_up();
        self
    }

    /// Counts bytes anew, after sizes or accesses became fewer: the sums cannot overflow.
    fn sum_up(&mut self) {
        self.requested_bytes = self.sized().map(|(_, bytes)| bytes).sum();
        self.unique_bytes = self.largest_sizes().iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LEFT_OUT;
    use crate::trace::testing::{expiring, sized, tree};

    proptest! {
        /// The uses of some tensors are a trace of those uses.
        #[test]
        fn the_uses_of_some_tensors_are_a_trace_of_them(
            uses in prop::collection::vec((0u32..9, 0u64..100), 1..60),
            keep in prop::collection::vec(any::<bool>(), 9),
            steady: bool,
        ) {
            let trace = tree(&uses, steady, &[]);
            let keeps = |name: &str| keep[name.parse::<usize>().unwrap()];
            let mut next = 0..;
            let number = |name: &str| if keeps(name) { next.next().unwrap() } else { LEFT_OUT };
            let numbers: Vec<u32> = trace.tensors().iter().map(|tensor| tensor.name.as_str()).map(number).collect();
            let kept: Vec<(u32, u64)> = uses.iter().copied().filter(|(tensor, _)| keep[*tensor as usize]).collect();
            prop_assume!(!kept.is_empty());
            prop_assert_eq!(trace.only(&numbers), tree(&kept, steady, &[]));
            // Too old from the next access on: from the next one that is left.
            let deadlines: Vec<u32> = (1..=uses.len() as u32).collect();
            let aged = expiring(trace, &deadlines).only(&numbers);
            prop_assert_eq!(aged.whole().deadlines, &(1..=kept.len() as u32).collect::<Vec<_>>()[..]);
        }

        #[test]
        fn the_first_accesses_are_those_of_a_trace_made_of_them(
            uses in prop::collection::vec((0u32..9, 0u64..100), 1..60),
            count in 1usize..70,
            steady: bool,
            parents in prop_oneof![Just(Vec::new()), prop::collection::vec(0u32..9, 9)],
        ) {
            let kept = &uses[..count.min(uses.len())];
            prop_assert_eq!(tree(&uses, steady, &parents).first(count), tree(kept, steady, &parents));
            let unit: Vec<(u32, u64)> = kept.iter().map(|(tensor, _)| (*tensor, 1)).collect();
            prop_assert_eq!(sized(kept, steady).without_sizes(), sized(&unit, true));
        }
    }
}
