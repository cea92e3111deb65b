//! Heaps of tensors whose keys change.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Marks a tensor that is not in the heap.
const ABSENT: u32 = u32::MAX;

/// A priority, and the access that gave it.
pub(super) type Key = (u64, u64);

/// The tensor with the smallest key comes first, and keys only grow while a tensor is in: then a key may change
/// without touching the heap, and is put right once its tensor comes to the top.
#[derive(Debug)]
pub(super) struct GrowingHeap {
    heap: BinaryHeap<Reverse<(Key, u32)>>,
    keys: Vec<Key>,
    /// Once a tensor was removed: the access at which each came in. Entries of earlier accesses stand for nothing.
    entered: Vec<u64>,
    stale_entries: usize,
}

impl GrowingHeap {
    /// An empty heap for tensors `0..tensors`.
    pub(super) fn new(tensors: usize) -> Self {
        Self { heap: BinaryHeap::new(), keys: vec![Key::default(); tensors], entered: Vec::new(), stale_entries: 0 }
    }

    /// The key of `tensor`, which must be in the heap.
    pub(super) fn key(&self, tensor: u32) -> Key {
        self.keys[tensor as usize]
    }

    /// Adds `tensor`, which must not be in the heap.
    pub(super) fn push(&mut self, tensor: u32, key: Key) {
        self.keys[tensor as usize] = key;
        if let Some(entered) = self.entered.get_mut(tensor as usize) {
            *entered = key.1;
        }
        self.heap.push(Reverse((key, tensor)));
    }

    /// Changes the key of `tensor`, which must be in the heap, to one that is not smaller.
    pub(super) fn raise(&mut self, tensor: u32, key: Key) {
        self.keys[tensor as usize] = key;
    }

    /// Changes the key of `tensor`, which must be in the heap, to any that a later access gives.
    pub(super) fn set(&mut self, tensor: u32, key: Key) {
        if key >= self.keys[tensor as usize] {
            self.raise(tensor, key);
        } else {
            self.remove(tensor);
            self.push(tensor, key);
        }
    }

    /// Takes out `tensor`, which must be in the heap.
    pub(super) fn remove(&mut self, tensor: u32) {
        self.entered.resize(self.keys.len(), 0);
        self.entered[tensor as usize] = u64::MAX;
        self.stale_entries += 1;
        // Entries go when they come to the top; where half of them are stale, all at once.
        if 2 * self.stale_entries >= self.heap.len() {
            let entered = &self.entered;
            self.heap.retain(|Reverse(((_, time), tensor))| *time >= entered[*tensor as usize]);
            self.stale_entries = 0;
        }
    }

    /// The tensor with the smallest key.
    pub(super) fn peek(&mut self) -> Option<u32> {
        self.settle().map(|top| top.0.1)
    }

    /// The smallest priority.
    pub(super) fn lowest(&mut self) -> Option<u64> {
        self.settle().map(|top| top.0.0.0)
    }

    /// Takes out the tensor with the smallest key.
    pub(super) fn pop(&mut self) -> Option<(Key, u32)> {
        self.settle().map(|top| PeekMut::pop(top).0)
    }

    /// The top of the heap, once it is the tensor with the smallest key.
    #[inline]
    fn settle(&mut self) -> Option<PeekMut<'_, Reverse<(Key, u32)>>> {
        loop {
            let mut top = self.heap.peek_mut()?;
            let Reverse((key, tensor)) = *top;
            if self.stale_entries > 0 && key.1 < self.entered[tensor as usize] {
                PeekMut::pop(top);
                self.stale_entries -= 1;
                continue;
            }
            let now = self.keys[tensor as usize];
            if key == now {
                break;
            }
            *top = Reverse((now, tensor));
        }
        self.heap.peek_mut()
    }
}

/// The tensor with the greatest key on top; it knows where each one stands, so that keys can change either way.
#[derive(Debug)]
pub(super) struct IndexedHeap<K> {
    /// Tensors with their keys, in heap order.
    items: Vec<(K, u32)>,
    /// Where each tensor stands in `items`.
    places: Vec<u32>,
}

impl<K: PartialOrd + Copy> IndexedHeap<K> {
    /// An empty heap for tensors `0..tensors`.
    pub(super) fn new(tensors: usize) -> Self {
        Self { items: Vec::new(), places: vec![ABSENT; tensors] }
    }

    /// Adds `tensor`, or changes its key.
    pub(super) fn set(&mut self, tensor: u32, key: K) {
        let place = match self.places[tensor as usize] {
            ABSENT => {
                self.items.push((key, tensor));
                self.items.len() - 1
            }
            place => {
                self.items[place as usize].0 = key;
                place as usize
            }
        };
        let place = self.sift_up(place);
        self.sift_down(place);
    }

    /// The tensor with the greatest key.
    pub(super) fn peek(&self) -> Option<u32> {
        self.items.first().map(|(_, top)| *top)
    }

    /// Takes out the tensor with the greatest key.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let (_, top) = *self.items.first()?;
        self.remove(top);
        Some(top)
    }

    /// Takes out `tensor`, which must be in the heap.
    pub(super) fn remove(&mut self, tensor: u32) {
        let place = std::mem::replace(&mut self.places[tensor as usize], ABSENT) as usize;
        self.items.swap_remove(place);
        if place < self.items.len() {
            let place = self.sift_up(place);
            self.sift_down(place);
        }
    }

    fn sift_up(&mut self, mut at: usize) -> usize {
        let item = self.items[at];
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.items[parent].0 >= item.0 {
                break;
            }
            self.place(at, self.items[parent]);
            at = parent;
        }
        self.place(at, item);
        at
    }

    fn sift_down(&mut self, mut at: usize) {
        let item = self.items[at];
        loop {
            let mut child = 2 * at + 1;
            if child >= self.items.len() {
                break;
            }
            if child + 1 < self.items.len() && self.items[child + 1].0 > self.items[child].0 {
                child += 1;
            }
            if self.items[child].0 <= item.0 {
                break;
            }
            self.place(at, self.items[child]);
            at = child;
        }
        self.place(at, item);
    }

    fn place(&mut self, at: usize, item: (K, u32)) {
        self.items[at] = item;
        self.places[item.1 as usize] = at as u32;
    }
}
