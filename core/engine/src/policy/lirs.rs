//! LIRS (Jiang and Zhang, "LIRS: An Efficient Low Inter-reference Recency Set Replacement Policy", SIGMETRICS
//! 2002), with sizes in bytes.

use super::list::Queues;
use super::{Policy, Setup};
use crate::error::Error;

/// The share of the capacity for tensors of high inter-reference recency, the paper's 1 %: one in so many bytes.
const HIR_SHARE: u64 = 100;

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Low inter-reference recency: used twice within a short time. Such a tensor is resident.
    low: bool,
    /// In the stack of recent uses.
    stacked: bool,
}

/// Keeps the tensors whose last two uses were close together. The others pass through a small queue, from which
/// victims come; one that is used again while the stack remembers it changes places with the coldest of the kept.
#[derive(Debug)]
pub struct Lirs {
    /// By last use; its oldest is always a tensor of low recency.
    stack: Queues<1>,
    queue: Queues<1>,
    states: Vec<State>,
    sizes: Vec<u64>,
    low_bytes: u64,
    low_share_bytes: u64,
}

impl Lirs {
    /// Puts `tensor` on top of the stack.
    fn stack(&mut self, tensor: u32) {
        let state = &mut self.states[tensor as usize];
        if state.stacked {
            self.stack.make_newest(0, tensor);
        } else {
            state.stacked = true;
            self.stack.push_newest(0, tensor);
        }
    }

    /// Forgets tensors of high recency at the bottom of the stack.
    fn prune(&mut self) {
        while let Some(bottom) = self.stack.oldest(0) {
            let state = &mut self.states[bottom as usize];
            if state.low {
                break;
            }
            state.stacked = false;
            self.stack.remove(0, bottom);
        }
    }

    /// Makes `tensor`, on top of the stack, one of low recency; the coldest make room for it.
    fn make_low(&mut self, tensor: u32) {
        self.states[tensor as usize].low = true;
        self.low_bytes += self.sizes[tensor as usize];
        while self.low_bytes > self.low_share_bytes {
            let Some(bottom) = self.demote() else { break };
            if bottom == tensor {
                break;
            }
        }
    }

    /// Moves the coldest tensor of low recency to the queue.
    fn demote(&mut self) -> Option<u32> {
        let bottom = self.stack.pop_oldest(0)?;
        self.states[bottom as usize] = State::default();
        self.low_bytes -= self.sizes[bottom as usize];
        self.queue.push_newest(0, bottom);
        self.prune();
        Some(bottom)
    }
}

impl Policy for Lirs {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        Ok(Self {
            stack: Queues::new(tensors),
            queue: Queues::new(tensors),
            states: vec![State::default(); tensors],
            sizes: setup.sizes.to_vec(),
            low_bytes: 0,
            low_share_bytes: setup.capacity_bytes - setup.capacity_bytes / HIR_SHARE,
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        let State { low, stacked, .. } = self.states[tensor as usize];
        self.stack(tensor);
        if low {
            self.prune();
        } else if stacked {
            self.queue.remove(0, tensor);
            self.make_low(tensor);
        } else {
            self.queue.make_newest(0, tensor);
            // Where no tensor is of low recency, nothing is to be compared with.
            self.prune();
        }
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        let remembered = self.states[tensor as usize].stacked;
        self.stack(tensor);
        // Until the tensors of low recency fill their share, every newcomer is one of them.
        let fits = self.low_bytes + self.sizes[tensor as usize] <= self.low_share_bytes;
        if remembered || fits {
            self.make_low(tensor);
        } else {
            self.queue.push_newest(0, tensor);
            self.prune();
        }
    }

    fn evict(&mut self) -> Option<u32> {
        if self.queue.is_empty(0) {
            self.demote();
        }
        self.queue.pop_oldest(0)
    }

    fn remove(&mut self, tensor: u32) {
        let State { low, stacked } = std::mem::take(&mut self.states[tensor as usize]);
        if stacked {
            self.stack.remove(0, tensor);
        }
        if low {
            self.low_bytes -= self.sizes[tensor as usize];
        } else {
            self.queue.remove(0, tensor);
        }
        self.prune();
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        let before = std::mem::replace(&mut self.sizes[tensor as usize], bytes);
        if self.states[tensor as usize].low {
            self.low_bytes = self.low_bytes - before + bytes;
        }
    }
}
