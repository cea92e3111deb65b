//! S3-FIFO (Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023), as its authors' simulator has
//! it (libCacheSim 0.3.5), or as algorithm 1 of the paper.

use super::list::{FifoQueue, Queues};
use super::{Parameter, Policy, Setup};
use crate::error::Error;

/// Uses are counted up to here: two bits.
const MOST_USES: u8 = 3;

/// Where a tensor is; a ghost was evicted from the small queue not long ago.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Nowhere,
    Small,
    Main,
    Ghost,
}

#[derive(Debug, Clone, Copy)]
struct State {
    uses: u8,
    place: Place,
}

/// Tensors come into a small queue. Those used often enough there move to the main queue, the others leave and are
/// remembered; whoever comes back while remembered goes straight to the main queue, where a used tensor goes round
/// again. All queues are first in, first out.
///
/// The paper evicts from the small queue as soon as it exceeds its share. Its authors now evict from the main queue
/// only where that exceeds its own share, and fill the main queue once the small one is full, until the memory is.
#[derive(Debug)]
pub struct S3Fifo {
    small: FifoQueue,
    main: FifoQueue,
    ghosts: Queues<1>,
    states: Vec<State>,
    sizes: Vec<u64>,
    small_bytes: u64,
    main_bytes: u64,
    ghost_bytes: u64,
    small_share_bytes: u64,
    main_share_bytes: u64,
    ghost_share_bytes: u64,
    promotion: u8,
    published: bool,
    /// Whether the memory was ever full.
    full: bool,
    /// Whether the tensor on its way in was remembered.
    known: bool,
}

impl S3Fifo {
    fn evict_small(&mut self) -> Option<u32> {
        loop {
            let tensor = self.small.pop()?;
            let bytes = self.sizes[tensor as usize];
            self.small_bytes -= bytes;
            let State { uses, place } = &mut self.states[tensor as usize];
            if *uses < self.promotion {
                self.remember(tensor);
                return Some(tensor);
            }
            (*uses, *place) = (0, Place::Main);
            self.main_bytes += bytes;
            self.main.push(tensor);
        }
    }

    fn evict_main(&mut self) -> Option<u32> {
        loop {
            let tensor = self.main.pop()?;
            let State { uses, place } = &mut self.states[tensor as usize];
            if *uses == 0 {
                *place = Place::Nowhere;
                self.main_bytes -= self.sizes[tensor as usize];
                return Some(tensor);
            }
            *uses -= 1;
            self.main.push(tensor);
        }
    }

    fn remember(&mut self, tensor: u32) {
        self.states[tensor as usize].place = Place::Ghost;
        self.ghosts.push_newest(0, tensor);
        self.ghost_bytes += self.sizes[tensor as usize];
        while self.ghost_bytes > self.ghost_share_bytes {
            let Some(oldest) = self.ghosts.oldest(0) else { break };
            self.forget(oldest);
        }
    }

    /// Notes whether `tensor`, on its way in, was remembered. Its authors' code asks before room is made, which may
    /// push it out of the ghosts, the paper after.
    fn recall(&mut self, tensor: u32) {
        self.known = self.states[tensor as usize].place == Place::Ghost;
        if self.known {
            self.forget(tensor);
        }
    }

    /// Takes `tensor` out of the ghosts.
    fn forget(&mut self, tensor: u32) {
        self.states[tensor as usize].place = Place::Nowhere;
        self.ghosts.remove(0, tensor);
        self.ghost_bytes -= self.sizes[tensor as usize];
    }
}

impl Policy for S3Fifo {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::share("small", 0.1, "the small queue's share of the capacity"),
        Parameter::multiple("ghost", 0.9, "bytes remembered, as a multiple of the capacity"),
        Parameter::count("promotion", 2.0, [1.0, 3.0], "uses in the small queue that take a tensor to the main queue"),
        Parameter::choice("published", "1: algorithm 1 of the paper; 0: its authors' code since"),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let tensors = setup.sizes.len();
        let [small, ghost, promotion, published] = setup.values::<Self>();
        let small_share_bytes = setup.share(small);
        Ok(Self {
            small: FifoQueue::default(),
            main: FifoQueue::default(),
            ghosts: Queues::new(tensors),
            states: vec![State { uses: 0, place: Place::Nowhere }; tensors],
            sizes: setup.sizes.to_vec(),
            small_bytes: 0,
            main_bytes: 0,
            ghost_bytes: 0,
            small_share_bytes,
            main_share_bytes: setup.capacity_bytes - small_share_bytes,
            ghost_share_bytes: setup.multiple(ghost),
            promotion: promotion as u8,
            published: published > 0.0,
            full: false,
            known: false,
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        let uses = &mut self.states[tensor as usize].uses;
        *uses = (*uses + 1).min(MOST_USES);
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        if !self.published {
            self.recall(tensor);
        }
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        if self.published {
            self.recall(tensor);
        }
        let bytes = self.sizes[tensor as usize];
        let early = !self.full && !self.published && self.small_bytes >= self.small_share_bytes;
        let place = if self.known || early { Place::Main } else { Place::Small };
        self.states[tensor as usize] = State { uses: 0, place };
        if place == Place::Small {
            self.small_bytes += bytes;
            self.small.push(tensor);
        } else {
            self.main_bytes += bytes;
            self.main.push(tensor);
        }
    }

    fn evict(&mut self) -> Option<u32> {
        self.full = true;
        let from_small = match self.published {
            true => self.small_bytes >= self.small_share_bytes || self.main.is_empty(),
            false => self.main_bytes <= self.main_share_bytes,
        };
        if from_small {
            // It may find nothing but tensors that move to the main queue.
            let victim = self.evict_small();
            if victim.is_some() {
                return victim;
            }
        }
        self.evict_main().or_else(|| self.evict_small())
    }

    fn remove(&mut self, tensor: u32) {
        let bytes = self.sizes[tensor as usize];
        let place = std::mem::replace(&mut self.states[tensor as usize].place, Place::Nowhere);
        if place == Place::Small {
            self.small_bytes -= bytes;
            self.small.remove(tensor);
        } else {
            self.main_bytes -= bytes;
            self.main.remove(tensor);
        }
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        let before = std::mem::replace(&mut self.sizes[tensor as usize], bytes);
        let holder = match self.states[tensor as usize].place {
            Place::Nowhere => return,
            Place::Small => &mut self.small_bytes,
            Place::Main => &mut self.main_bytes,
            Place::Ghost => &mut self.ghost_bytes,
        };
        *holder = *holder - before + bytes;
    }
}
