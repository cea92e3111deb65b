//! Eviction from a tree of prefixes, from its leaves: SGLang's radix cache (Zheng et al., "SGLang: Efficient Execution of
//! Structured Language Model Programs", 2024), whose order vLLM's prefix cache reaches by freeing the last blocks of a
//! request first.

use std::cmp::Reverse;

use super::heap::IndexedHeap;
use super::{Policy, Setup};
use crate::error::Error;
use crate::trace::NO_PARENT;

/// Residents that no other continues, by key; the greatest leaves first. The others keep their keys until they are
/// leaves again.
#[derive(Debug)]
struct Leaves<K> {
    parents: Vec<u32>,
    /// How many residents continue each tensor.
    children: Vec<u32>,
    keys: Vec<K>,
    heap: IndexedHeap<K>,
}

impl<K: PartialOrd + Copy + Default> Leaves<K> {
    fn new(setup: &Setup<'_>) -> Self {
        let tensors = setup.sizes.len();
        Self {
            parents: setup.parents.to_vec(),
            children: vec![0; tensors],
            keys: vec![K::default(); tensors],
            heap: IndexedHeap::new(tensors),
        }
    }

    fn parent(&self, tensor: u32) -> Option<u32> {
        self.parents.get(tensor as usize).copied().filter(|parent| *parent != NO_PARENT)
    }

    /// A resident has another key.
    fn set(&mut self, tensor: u32, key: K) {
        self.keys[tensor as usize] = key;
        if self.children[tensor as usize] == 0 {
            self.heap.set(tensor, key);
        }
    }

    /// A leaf comes in.
    fn insert(&mut self, tensor: u32, key: K) {
        if let Some(parent) = self.parent(tensor) {
            let children = &mut self.children[parent as usize];
            *children += 1;
            if *children == 1 {
                self.heap.remove(parent);
            }
        }
        self.set(tensor, key);
    }

    /// A leaf leaves; its parent may be one now.
    fn left(&mut self, tensor: u32) {
        if let Some(parent) = self.parent(tensor) {
            let children = &mut self.children[parent as usize];
            *children -= 1;
            if *children == 0 {
                self.heap.set(parent, self.keys[parent as usize]);
            }
        }
    }

    fn pop(&mut self) -> Option<u32> {
        let tensor = self.heap.pop()?;
        self.left(tensor);
        Some(tensor)
    }

    fn remove(&mut self, tensor: u32) {
        self.heap.remove(tensor);
        self.left(tensor);
    }
}

/// Evicts, of the blocks that no other in memory continues, the one whose last use is longest ago. Without prefixes it is
/// LRU.
#[derive(Debug)]
pub struct Radix(Leaves<Reverse<u64>>);

impl Policy for Radix {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self(Leaves::new(setup)))
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.0.set(tensor, Reverse(now as u64));
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.0.insert(tensor, Reverse(now as u64));
    }

    fn evict(&mut self) -> Option<u32> {
        self.0.pop()
    }

    fn remove(&mut self, tensor: u32) {
        self.0.remove(tensor);
    }
}

/// The same leaves, by what it costs to make them again: evicts the one with the lowest clock + uses x blocks of its
/// prefix / bytes, where the clock is that sum of the last victim at the time of the leaf's last use; among equals, the
/// one whose last use is longest ago. A block is computed again by reading all of its prefix, itself included. This is
/// greedy dual size frequency (Cherkasova, 1998) with that cost.
#[derive(Debug)]
pub struct RadixCost {
    leaves: Leaves<(Reverse<u64>, Reverse<u64>)>,
    sizes: Vec<u64>,
    uses: Vec<u32>,
    /// Blocks from the root of the tree to each, itself included.
    depths: Vec<u32>,
    clock: f64,
}

impl RadixCost {
    fn key(&self, tensor: u32, now: usize) -> (Reverse<u64>, Reverse<u64>) {
        let bytes = (self.sizes[tensor as usize] as f64).max(1.0);
        let worth = f64::from(self.uses[tensor as usize]) * f64::from(self.depths[tensor as usize]);
        let priority = self.clock + worth / bytes;
        // Never negative: the bits order as the number does.
        (Reverse(priority.to_bits()), Reverse(now as u64))
    }
}

impl Policy for RadixCost {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let leaves = Leaves::new(setup);
        let mut depths = vec![1; setup.sizes.len()];
        for tensor in 0..setup.parents.len() {
            // A parent has a lower number.
            if let Some(parent) = leaves.parent(tensor as u32) {
                depths[tensor] = depths[parent as usize] + 1;
            }
        }
        Ok(Self { leaves, sizes: setup.sizes.to_vec(), uses: vec![0; setup.sizes.len()], depths, clock: 0.0 })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        let uses = &mut self.uses[tensor as usize];
        *uses = uses.saturating_add(1);
        self.leaves.set(tensor, self.key(tensor, now));
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        self.uses[tensor as usize] = 1;
        self.leaves.insert(tensor, self.key(tensor, now));
    }

    fn evict(&mut self) -> Option<u32> {
        let victim = self.leaves.pop()?;
        self.clock = f64::from_bits(self.leaves.keys[victim as usize].0.0);
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        self.leaves.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.sizes[tensor as usize] = bytes;
    }
}
