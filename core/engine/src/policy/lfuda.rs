//! LFU with dynamic aging (Arlitt et al., "Evaluating Content Management Techniques for Web Proxy Caches", 2000).

use super::heap::GrowingHeap;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

/// Evicts the tensor with the lowest priority; among equals, the one whose last use is longest ago.
///
/// In the paper a use gives the priority age + uses, where the age is the priority of the last victim. In libCacheSim
/// (0.3.5) the age is the lowest priority in the memory, a newcomer gets one more, and every further use adds the age
/// to the priority: it grows faster than the uses.
#[derive(Debug)]
pub struct Lfuda {
    heap: GrowingHeap,
    uses: Vec<u64>,
    age: u64,
    published: bool,
}

impl Policy for Lfuda {
    const PARAMETERS: &'static [Parameter] =
        &[Parameter::choice("published", "1: the priority of the paper; 0: that of libCacheSim")];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        let [published, ..] = setup.values::<Self>();
        Ok(Self { heap: GrowingHeap::new(tensors), uses: vec![0; tensors], age: 0, published: published > 0.0 })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        if self.published {
            let uses = &mut self.uses[tensor as usize];
            *uses += 1;
            self.heap.raise(tensor, (self.age + *uses, now as u64));
            return;
        }
        let (priority, _) = self.heap.key(tensor);
        self.heap.raise(tensor, (priority.saturating_add(self.age), now as u64));
        if priority == self.age {
            self.age = self.heap.lowest().unwrap_or(self.age);
        }
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.uses[tensor as usize] = 1;
        self.heap.push(tensor, (self.age.saturating_add(1), now as u64));
    }

    fn evict(&mut self) -> Option<u32> {
        let ((age, _), tensor) = self.heap.pop()?;
        self.age = age;
        if !self.published {
            self.age = self.heap.lowest().unwrap_or(age);
        }
        Some(tensor)
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
    }
}
