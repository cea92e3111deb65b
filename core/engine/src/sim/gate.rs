//! The rules of a memory at work: what is decided before the policy is asked.

use crate::policy::Setup;
use crate::rules::{Filter, Rules};

/// Who stays, who is let in, and whose part of the memory is used.
#[derive(Debug)]
pub(super) struct Gate {
    filter: Filter,
    pinned: Vec<bool>,
    parts: Vec<u16>,
    /// Bytes of the pinned tensors that are resident.
    pub(super) pinned_bytes: u64,
}

impl Gate {
    /// The rules of `setup`, where they say anything.
    pub(super) fn new(setup: &Setup<'_>) -> Option<Box<Self>> {
        let rules = setup.rules.filter(|rules| !rules.are_plain())?;
        let filter = Filter::new(rules.admission(), setup.sizes.len(), setup.capacity_bytes, setup.seed);
        let (pinned, parts) = (rules.pinned().to_vec(), rules.parts().to_vec());
        Some(Box::new(Self { filter, pinned, parts, pinned_bytes: 0 }))
    }

    /// The part that the first of `accesses` uses, and how many accesses can be run there at once; none if there are none.
    pub(super) fn stretch(&self, accesses: &[u32]) -> Option<(usize, usize)> {
        let part = |tensor: u32| self.parts.get(tensor as usize).copied().unwrap_or(0);
        let first = part(*accesses.first()?);
        let most = self.filter.patience().unwrap_or(usize::MAX).min(accesses.len());
        let same = match self.parts.as_slice() {
            [] => most,
            _ => accesses[..most].iter().take_while(|tensor| part(**tensor) == first).count(),
        };
        Some((usize::from(first), same))
    }

    /// Whether `tensor` stays for good.
    pub(super) fn pins(&self, tensor: u32) -> bool {
        self.pinned.get(tensor as usize).copied().unwrap_or(false)
    }

    /// Whether `tensor` of `bytes`, which missed and fits, comes in.
    pub(super) fn lets_in(&mut self, tensor: u32, bytes: u64) -> bool {
        self.filter.lets_in(tensor, bytes)
    }

    /// Hears of `accesses`, which are over.
    pub(super) fn hear(&mut self, accesses: &[u32], bytes: impl Fn(u32) -> u64) {
        self.filter.hear(accesses, bytes);
    }
}

/// The capacity of each part, and the bytes that become free at least when room is needed in it.
pub(super) fn parts(setup: &Setup<'_>) -> Result<Vec<(u64, u64)>, crate::error::Error> {
    let Some(rules) = setup.rules else { return Ok(vec![(setup.capacity_bytes, 0)]) };
    let with_slack = |capacity: u64| (capacity, Rules::slack(rules, capacity));
    Ok(rules.capacities(setup.capacity_bytes)?.into_iter().map(with_slack).collect())
}
