//! Who leaves with whom: a block of a prefix is worth nothing without the one that it continues.

use crate::trace::NO_PARENT;

/// Marks the end of a list.
const NIL: u32 = u32::MAX;

/// The residents that continue each tensor, as lists through arrays.
#[derive(Debug)]
pub(super) struct Prefixes {
    parents: Vec<u32>,
    first: Vec<u32>,
    next: Vec<u32>,
    previous: Vec<u32>,
}

impl Prefixes {
    /// No residents yet; none where there are no ties.
    pub(super) fn new(parents: &[u32]) -> Option<Self> {
        let list = || vec![NIL; parents.len()];
        (!parents.is_empty()).then(|| Self { parents: parents.to_vec(), first: list(), next: list(), previous: list() })
    }

    /// The tensor that `tensor` continues.
    pub(super) fn parent(&self, tensor: u32) -> Option<u32> {
        Some(self.parents[tensor as usize]).filter(|parent| *parent != NO_PARENT)
    }

    /// A resident that continues `tensor`.
    pub(super) fn child(&self, tensor: u32) -> Option<u32> {
        Some(self.first[tensor as usize]).filter(|child| *child != NIL)
    }

    /// `tensor` becomes resident.
    pub(super) fn insert(&mut self, tensor: u32) {
        let Some(parent) = self.parent(tensor) else { return };
        let second = std::mem::replace(&mut self.first[parent as usize], tensor);
        self.next[tensor as usize] = second;
        self.previous[tensor as usize] = NIL;
        if second != NIL {
            self.previous[second as usize] = tensor;
        }
    }

    /// `tensor` leaves.
    pub(super) fn remove(&mut self, tensor: u32) {
        let Some(parent) = self.parent(tensor) else { return };
        let (previous, next) = (self.previous[tensor as usize], self.next[tensor as usize]);
        match previous {
            NIL => self.first[parent as usize] = next,
            previous => self.next[previous as usize] = next,
        }
        if next != NIL {
            self.previous[next as usize] = previous;
        }
    }
}
