//! The beginning of a trace, and a trace whose sizes do not count.

use std::sync::Arc;

use super::{NO_PARENT, Tensor, Trace};

impl Trace {
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

    use crate::trace::testing::{sized, tree};

    proptest! {
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
