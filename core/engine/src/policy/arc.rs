//! ARC (Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003), with sizes in bytes.

use super::list::Segments;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

// The paper's lists: resident and used once (T1) or more often (T2), and what each evicted not long ago (B1, B2).
const T1: usize = 0;
const T2: usize = 1;
const B1: usize = 2;
const B2: usize = 3;

/// Balances recent against frequent use: a miss on a tensor that one of two lists evicted not long ago makes room
/// for that list. With equal sizes this is the published algorithm; otherwise lists and target count bytes, and
/// the target moves by the tensor's size times the paper's step.
///
/// libCacheSim (0.3.5) moves the target by the paper's step in bytes, whatever the sizes, which is next to nothing
/// where they are large, and drops at most one ghost for each tensor that it evicts.
#[derive(Debug)]
pub struct Arc {
    lists: Segments<4>,
    capacity: u64,
    /// How many bytes T1 should hold: the paper's p.
    target: f64,
    /// The list in which the tensor on its way in was remembered.
    from: Option<usize>,
    incoming_bytes: u64,
    stepwise: bool,
}

impl Arc {
    /// The bytes of all lists; those of all tensors fit 64 bits.
    fn total(&self) -> u64 {
        (T1..=B2).map(|list| self.lists.bytes(list)).sum()
    }

    /// Drops ghosts until the lists are as long as they may be.
    fn trim(&mut self) {
        while self.lists.bytes(T1) + self.lists.bytes(B1) > self.capacity && self.lists.pop_oldest(B1).is_some() {}
        // Twice the capacity may not fit 64 bits.
        while self.total() > self.capacity.saturating_mul(2) && self.lists.pop_oldest(B2).is_some() {}
    }
}

impl Policy for Arc {
    const PARAMETERS: &'static [Parameter] = &[Parameter::choice(
        "stepwise",
        "1: the target moves by the paper's step in bytes, as in libCacheSim; 0: by as many tensors of that size",
    )];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [stepwise, ..] = setup.values::<Self>();
        Ok(Self {
            lists: Segments::new(setup.sizes),
            capacity: setup.capacity_bytes,
            target: 0.0,
            from: None,
            incoming_bytes: 0,
            stepwise: stepwise > 0.0,
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.lists.make_newest(T2, tensor);
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        let (b1, b2) = (self.lists.bytes(B1) as f64, self.lists.bytes(B2) as f64);
        self.incoming_bytes = self.lists.size(tensor);
        let unit = if self.stepwise { 1.0 } else { self.incoming_bytes as f64 };
        // A list without bytes holds only tensors without bytes: they move nothing.
        let step = |here: f64, there: f64| (there / here.max(1.0)).max(1.0) * unit;
        self.from = self.lists.place(tensor);
        match self.from {
            Some(B1) => self.target = (self.target + step(b1, b2)).min(self.capacity as f64),
            Some(B2) => self.target = (self.target - step(b2, b1)).max(0.0),
            _ => {}
        }
        if self.stepwise {
            self.lists.remove(tensor);
        }
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.lists.make_newest(if self.from.is_some() { T2 } else { T1 }, tensor);
        if !self.stepwise {
            self.trim();
        }
        self.incoming_bytes = 0;
    }

    fn evict(&mut self) -> Option<u32> {
        if self.stepwise && self.from.is_none() {
            let recent = self.lists.bytes(T1) + self.lists.bytes(B1);
            if recent + self.incoming_bytes > self.capacity {
                if self.lists.pop_oldest(B1).is_none()
                    && let Some(victim) = self.lists.pop_oldest(T1)
                {
                    return Some(victim);
                }
            } else if self.total() >= self.capacity.saturating_mul(2) {
                self.lists.pop_oldest(B2);
            }
        }
        let t1 = self.lists.bytes(T1) as f64;
        let too_much = t1 > self.target || (self.from == Some(B2) && t1 == self.target);
        let take_t1 = !self.lists.is_empty(T1) && (too_much || self.lists.is_empty(T2));
        let (from, to) = if take_t1 { (T1, B1) } else { (T2, B2) };
        let victim = self.lists.oldest(from)?;
        self.lists.make_newest(to, victim);
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        self.lists.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.lists.resize(tensor, bytes);
    }
}
