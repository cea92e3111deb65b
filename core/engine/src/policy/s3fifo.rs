//! S3-FIFO (Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023, algorithm 1).

use super::list::{FifoQueue, Queues};
use super::{Policy, Setup};
use crate::error::Error;

/// The small queue's part of the capacity: one in so many bytes.
const SMALL_SHARE: u64 = 10;
/// Uses in the small queue that take a tensor to the main queue.
const PROMOTION: u8 = 2;
/// Uses are counted up to here.
const MOST_USES: u8 = 3;

#[derive(Debug, Clone, Copy)]
struct State {
    uses: u8,
    /// In the small queue.
    small: bool,
    /// Evicted from the small queue not long ago.
    ghost: bool,
}

/// Tensors come into a small queue (10 % of the capacity). Those used twice there move to the main queue, the
/// others leave and are remembered; whoever comes back while remembered goes straight to the main queue, where a
/// used tensor goes round again. All queues are first in, first out.
#[derive(Debug)]
pub struct S3Fifo {
    small: FifoQueue,
    main: FifoQueue,
    ghosts: Queues<1>,
    states: Vec<State>,
    sizes: Vec<u64>,
    small_bytes: u64,
    ghost_bytes: u64,
    small_share_bytes: u64,
    /// As many bytes are remembered as the main queue may hold.
    ghost_share_bytes: u64,
}

impl S3Fifo {
    fn evict_small(&mut self) -> Option<u32> {
        loop {
            let tensor = self.small.pop()?;
            self.small_bytes -= self.sizes[tensor as usize];
            let State { uses, small, .. } = &mut self.states[tensor as usize];
            *small = false;
            if *uses < PROMOTION {
                self.remember(tensor);
                return Some(tensor);
            }
            *uses = 0;
            self.main.push(tensor);
        }
    }

    fn evict_main(&mut self) -> Option<u32> {
        loop {
            let tensor = self.main.pop()?;
            let uses = &mut self.states[tensor as usize].uses;
            if *uses == 0 {
                return Some(tensor);
            }
            *uses -= 1;
            self.main.push(tensor);
        }
    }

    fn remember(&mut self, tensor: u32) {
        self.states[tensor as usize].ghost = true;
        self.ghosts.push_newest(0, tensor);
        self.ghost_bytes += self.sizes[tensor as usize];
        while self.ghost_bytes > self.ghost_share_bytes {
            let Some(oldest) = self.ghosts.pop_oldest(0) else { break };
            self.states[oldest as usize].ghost = false;
            self.ghost_bytes -= self.sizes[oldest as usize];
        }
    }
}

impl Policy for S3Fifo {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        let small_share_bytes = setup.capacity_bytes / SMALL_SHARE;
        Ok(Self {
            small: FifoQueue::default(),
            main: FifoQueue::default(),
            ghosts: Queues::new(tensors),
            states: vec![State { uses: 0, small: false, ghost: false }; tensors],
            sizes: setup.sizes.to_vec(),
            small_bytes: 0,
            ghost_bytes: 0,
            small_share_bytes,
            ghost_share_bytes: setup.capacity_bytes - small_share_bytes,
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        let uses = &mut self.states[tensor as usize].uses;
        *uses = (*uses + 1).min(MOST_USES);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        let bytes = self.sizes[tensor as usize];
        let ghost = self.states[tensor as usize].ghost;
        self.states[tensor as usize] = State { uses: 0, small: !ghost, ghost: false };
        if ghost {
            self.ghosts.remove(0, tensor);
            self.ghost_bytes -= bytes;
            self.main.push(tensor);
        } else {
            self.small_bytes += bytes;
            self.small.push(tensor);
        }
    }

    fn evict(&mut self) -> Option<u32> {
        let small_is_full = self.small_bytes >= self.small_share_bytes;
        if small_is_full || self.main.is_empty() {
            // It may find nothing but tensors that move to the main queue.
            let victim = self.evict_small();
            if victim.is_some() {
                return victim;
            }
        }
        self.evict_main()
    }

    fn remove(&mut self, tensor: u32) {
        if std::mem::take(&mut self.states[tensor as usize].small) {
            self.small_bytes -= self.sizes[tensor as usize];
            self.small.remove(tensor);
        } else {
            self.main.remove(tensor);
        }
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        let before = std::mem::replace(&mut self.sizes[tensor as usize], bytes);
        let State { small, ghost, .. } = self.states[tensor as usize];
        if small {
            self.small_bytes = self.small_bytes - before + bytes;
        }
        if ghost {
            self.ghost_bytes = self.ghost_bytes - before + bytes;
        }
    }
}
