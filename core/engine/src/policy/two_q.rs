//! 2Q (Johnson and Shasha, "2Q: A Low Overhead High Performance Buffer Management Replacement Algorithm", VLDB 1994),
//! with sizes in bytes.

use super::list::Segments;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

// The paper's queues: newcomers in order of insertion (A1in), those evicted from it (A1out), and the others by last
// use (Am).
const IN: usize = 0;
const OUT: usize = 1;
const MAIN: usize = 2;

/// Newcomers pass through a queue, first in, first out, where uses do not count; whoever comes back while remembered
/// belongs to the main part, kept by LRU.
#[derive(Debug)]
pub struct TwoQ {
    queues: Segments<3>,
    in_share_bytes: u64,
    out_share_bytes: u64,
    known: bool,
}

impl Policy for TwoQ {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::share("in", 0.25, "the newcomers' share of the capacity: the paper's Kin"),
        Parameter::multiple("out", 0.5, "bytes remembered, as a multiple of the capacity: the paper's Kout"),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [newcomers, out, ..] = setup.values::<Self>();
        Ok(Self {
            queues: Segments::new(setup.sizes),
            in_share_bytes: setup.share(newcomers),
            out_share_bytes: setup.multiple(out),
            known: false,
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        if self.queues.place(tensor) == Some(MAIN) {
            self.queues.make_newest(MAIN, tensor);
        }
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        // Before room is made: that may push it out of what is remembered.
        self.known = self.queues.place(tensor).is_some();
        self.queues.remove(tensor);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.queues.make_newest(if self.known { MAIN } else { IN }, tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        if self.queues.bytes(IN) <= self.in_share_bytes || self.queues.is_empty(IN) {
            let victim = self.queues.pop_oldest(MAIN);
            if victim.is_some() {
                return victim;
            }
        }
        let victim = self.queues.oldest(IN)?;
        self.queues.make_newest(OUT, victim);
        while self.queues.bytes(OUT) > self.out_share_bytes && self.queues.pop_oldest(OUT).is_some() {}
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        self.queues.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.queues.resize(tensor, bytes);
    }
}
