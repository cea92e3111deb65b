//! QD-LP-FIFO (Yang et al., "FIFO can be Better than LRU: the Power of Lazy Promotion and Quick Demotion", HotOS 2023).

use super::list::Segments;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

const SMALL: usize = 0;
const MAIN: usize = 1;
const GHOST: usize = 2;

/// Newcomers pass through a small queue, first in, first out; those used there move to the main part, a CLOCK that
/// counts uses, the others leave and are remembered. Whoever comes back while remembered goes straight to the main
/// part, which evicts only to stay within its share.
#[derive(Debug)]
pub struct QdLpFifo {
    queues: Segments<3>,
    uses: Vec<u8>,
    main_share_bytes: u64,
    ghost_share_bytes: u64,
    most_uses: u8,
    known: bool,
    incoming_bytes: u64,
}

impl QdLpFifo {
    /// The main part's next victim.
    fn evict_main(&mut self) -> Option<u32> {
        loop {
            let tensor = self.queues.oldest(MAIN)?;
            let uses = &mut self.uses[tensor as usize];
            if *uses == 0 {
                self.queues.remove(tensor);
                return Some(tensor);
            }
            *uses -= 1;
            self.queues.make_newest(MAIN, tensor);
        }
    }
}

impl Policy for QdLpFifo {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::share("small", 0.1, "the small queue's share of the capacity; the rest is the main part's"),
        Parameter::multiple("ghost", 0.9, "bytes remembered, as a multiple of the capacity"),
        Parameter::count("bits", 2.0, [1.0, 8.0], "bits of the main part's counters of uses"),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [small, ghost, bits, _] = setup.values::<Self>();
        Ok(Self {
            queues: Segments::new(setup.sizes),
            uses: vec![0; setup.sizes.len()],
            main_share_bytes: setup.capacity_bytes - setup.share(small),
            ghost_share_bytes: setup.multiple(ghost),
            most_uses: u8::MAX >> (8 - bits as u32),
            known: false,
            incoming_bytes: 0,
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        let uses = &mut self.uses[tensor as usize];
        *uses = uses.saturating_add(1).min(self.most_uses);
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        // Before room is made: that may push it out of what is remembered.
        self.known = self.queues.place(tensor) == Some(GHOST);
        self.queues.remove(tensor);
        self.incoming_bytes = if self.known { self.queues.size(tensor) } else { 0 };
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.uses[tensor as usize] = 0;
        self.queues.make_newest(if self.known { MAIN } else { SMALL }, tensor);
        self.incoming_bytes = 0;
    }

    fn evict(&mut self) -> Option<u32> {
        loop {
            let main = self.queues.bytes(MAIN) + self.incoming_bytes;
            let small = self.queues.oldest(SMALL);
            let Some(oldest) = small.filter(|_| main <= self.main_share_bytes || self.queues.is_empty(MAIN)) else {
                return self.evict_main();
            };
            if std::mem::take(&mut self.uses[oldest as usize]) > 0 {
                self.queues.make_newest(MAIN, oldest);
                continue;
            }
            self.queues.make_newest(GHOST, oldest);
            while self.queues.bytes(GHOST) > self.ghost_share_bytes && self.queues.pop_oldest(GHOST).is_some() {}
            return Some(oldest);
        }
    }

    fn remove(&mut self, tensor: u32) {
        self.queues.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.queues.resize(tensor, bytes);
    }
}
