//! Segmented LRU (Karedla, Love and Wherry, "Caching Strategies to Improve Disk System Performance", 1994), with
//! five equal segments.

use super::list::Segments;
use super::{Policy, Setup};
use crate::error::Error;

/// Segments; each may fill an equal share of the capacity.
const SEGMENTS: usize = 5;

/// A tensor comes into the lowest segment and rises by one at each hit; what overflows a segment falls to the one
/// below. Evicts the oldest of the lowest segment that holds any.
#[derive(Debug)]
pub struct Slru {
    segments: Segments<SEGMENTS>,
    share_bytes: u64,
}

impl Policy for Slru {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let share_bytes = setup.capacity_bytes / SEGMENTS as u64;
        Ok(Self { segments: Segments::new(setup.sizes), share_bytes })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        let at = self.segments.place(tensor).unwrap_or(0);
        let to = (at + 1).min(SEGMENTS - 1);
        self.segments.make_newest(to, tensor);
        for segment in (1..=to).rev() {
            while self.segments.bytes(segment) > self.share_bytes {
                let Some(oldest) = self.segments.oldest(segment) else { break };
                self.segments.make_newest(segment - 1, oldest);
            }
        }
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.segments.make_newest(0, tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        (0..SEGMENTS).find_map(|segment| self.segments.pop_oldest(segment))
    }

    fn remove(&mut self, tensor: u32) {
        self.segments.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.segments.resize(tensor, bytes);
    }
}
