//! LIRS (Jiang and Zhang, "LIRS: An Efficient Low Inter-reference Recency Set Replacement Policy", SIGMETRICS
//! 2002), with sizes in bytes.

use super::list::{Queues, Segments};
use super::{Parameter, Policy, Setup};
use crate::error::Error;

// Of high recency: resident, or evicted and still in the stack.
const HIGH: usize = 0;
const GHOST: usize = 1;

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Low inter-reference recency: used twice within a short time. Such a tensor is resident.
    low: bool,
    /// In the stack of recent uses.
    stacked: bool,
}

/// Keeps the tensors whose last two uses were close together. The others pass through a small queue, from which
/// victims come; one that is used again while the stack remembers it changes places with the coldest of the kept.
/// Those kept leave room for one tensor at least of the other kind. The paper's stack has no limit; libCacheSim (0.3.5)
/// lets it hold twice the capacity.
#[derive(Debug)]
pub struct Lirs {
    /// By last use; its oldest is always a tensor of low recency.
    stack: Queues<1>,
    high: Segments<2>,
    states: Vec<State>,
    low_bytes: u64,
    stack_bytes: u64,
    capacity_bytes: u64,
    high_share_bytes: u64,
    stack_limit_bytes: u64,
}

impl Lirs {
    /// Puts `tensor` on top of the stack.
    fn stack(&mut self, tensor: u32) {
        let state = &mut self.states[tensor as usize];
        if state.stacked {
            self.stack.make_newest(0, tensor);
        } else {
            state.stacked = true;
            self.stack_bytes += self.high.size(tensor);
            self.stack.push_newest(0, tensor);
        }
    }

    /// Takes `tensor` out of the stack; a ghost is forgotten.
    fn unstack(&mut self, tensor: u32) {
        self.states[tensor as usize].stacked = false;
        self.stack_bytes -= self.high.size(tensor);
        self.stack.remove(0, tensor);
        if self.high.place(tensor) == Some(GHOST) {
            self.high.remove(tensor);
        }
    }

    /// Forgets tensors of high recency at the bottom of the stack.
    fn prune(&mut self) {
        while let Some(bottom) = self.stack.oldest(0).filter(|bottom| !self.states[*bottom as usize].low) {
            self.unstack(bottom);
        }
    }

    /// Forgets ghosts, those evicted first before the others, while the stack is too long.
    fn limit(&mut self) {
        while self.stack_bytes > self.stack_limit_bytes {
            let Some(ghost) = self.high.oldest(GHOST) else { break };
            self.unstack(ghost);
        }
    }

    /// Whether the tensors of low recency leave too little room beside one of `bytes` more.
    fn is_full(&self, bytes: u64) -> bool {
        self.low_bytes.saturating_add(bytes) > self.capacity_bytes.saturating_sub(self.high_share_bytes.max(bytes))
    }

    /// Makes `tensor`, on top of the stack, one of low recency; the coldest make room for it.
    fn make_low(&mut self, tensor: u32) {
        let bytes = self.high.size(tensor);
        self.high.remove(tensor);
        self.states[tensor as usize].low = true;
        while self.is_full(bytes) && self.stack.oldest(0) != Some(tensor) && self.demote().is_some() {}
        self.low_bytes += bytes;
    }

    /// Moves the coldest tensor of low recency to the queue.
    fn demote(&mut self) -> Option<u32> {
        let bottom = self.stack.oldest(0).filter(|bottom| self.states[*bottom as usize].low)?;
        self.unstack(bottom);
        self.states[bottom as usize].low = false;
        self.low_bytes -= self.high.size(bottom);
        self.high.make_newest(HIGH, bottom);
        self.prune();
        Some(bottom)
    }
}

impl Policy for Lirs {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::share("high", 0.01, "the share of the capacity for tensors whose last two uses were far apart"),
        Parameter::multiple(
            "stack",
            2.0,
            "bytes that the stack of recent uses holds, as a multiple of the capacity; 0: no limit, as in the paper",
        ),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        let [high, stack, ..] = setup.values::<Self>();
        Ok(Self {
            stack: Queues::new(tensors),
            high: Segments::new(setup.sizes),
            states: vec![State::default(); tensors],
            low_bytes: 0,
            stack_bytes: 0,
            capacity_bytes: setup.capacity_bytes,
            high_share_bytes: setup.share(high),
            stack_limit_bytes: if stack > 0.0 { setup.multiple(stack) } else { u64::MAX },
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        let State { low, stacked } = self.states[tensor as usize];
        self.stack(tensor);
        if low {
            self.prune();
        } else if stacked {
            self.make_low(tensor);
        } else {
            self.high.make_newest(HIGH, tensor);
            // Where no tensor is of low recency, nothing is to be compared with.
            self.prune();
            self.limit();
        }
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        let remembered = self.states[tensor as usize].stacked;
        self.stack(tensor);
        // Until the tensors of low recency fill their share, every newcomer is one of them.
        if remembered || !self.is_full(self.high.size(tensor)) {
            self.make_low(tensor);
        } else {
            self.high.make_newest(HIGH, tensor);
            self.prune();
        }
        self.limit();
    }

    fn evict(&mut self) -> Option<u32> {
        if self.high.is_empty(HIGH) {
            self.demote();
        }
        let victim = self.high.pop_oldest(HIGH)?;
        if self.states[victim as usize].stacked {
            self.high.make_newest(GHOST, victim);
        }
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        let low = self.states[tensor as usize].low;
        if self.states[tensor as usize].stacked {
            self.unstack(tensor);
        }
        if low {
            self.states[tensor as usize].low = false;
            self.low_bytes -= self.high.size(tensor);
        } else {
            self.high.remove(tensor);
        }
        self.prune();
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        let before = self.high.size(tensor);
        self.high.resize(tensor, bytes);
        let State { low, stacked } = self.states[tensor as usize];
        if low {
            self.low_bytes = self.low_bytes - before + bytes;
        }
        if stacked {
            self.stack_bytes = self.stack_bytes - before + bytes;
        }
    }
}
