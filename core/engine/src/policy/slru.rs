//! Segmented LRU (Karedla, Love and Wherry, "Caching Strategies to Improve Disk System Performance", 1994), with any
//! number of equal segments.

use super::list::Segments;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

/// At most so many segments.
const MOST_SEGMENTS: usize = 16;

/// A tensor comes into the lowest segment that has room, or the lowest of all, and rises by one at each hit; what
/// overflows a segment falls to the one below. Evicts the oldest of the lowest segment that holds any.
#[derive(Debug)]
pub struct Slru {
    segments: Segments<MOST_SEGMENTS>,
    count: usize,
    share_bytes: u64,
    lowest: bool,
}

impl Policy for Slru {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::count(
            "segments",
            4.0,
            [1.0, MOST_SEGMENTS as f64],
            "equal segments; libCacheSim has 4, the paper 2",
        ),
        Parameter::choice("lowest", "1: newcomers enter the lowest segment even where one above has room"),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [segments, lowest, ..] = setup.values::<Self>();
        let count = segments as usize;
        let share_bytes = setup.capacity_bytes / count as u64;
        Ok(Self { segments: Segments::new(setup.sizes), count, share_bytes, lowest: lowest > 0.0 })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        let at = self.segments.place(tensor).unwrap_or(0);
        let to = (at + 1).min(self.count - 1);
        self.segments.make_newest(to, tensor);
        for segment in (1..=to).rev() {
            while self.segments.bytes(segment) > self.share_bytes {
                let Some(oldest) = self.segments.oldest(segment) else { break };
                self.segments.make_newest(segment - 1, oldest);
            }
        }
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        let bytes = self.segments.size(tensor);
        let has_room = |segment: &usize| self.segments.bytes(*segment).saturating_add(bytes) <= self.share_bytes;
        let segment = if self.lowest { 0 } else { (0..self.count).find(has_room).unwrap_or(0) };
        self.segments.make_newest(segment, tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        (0..self.count).find_map(|segment| self.segments.pop_oldest(segment))
    }

    fn remove(&mut self, tensor: u32) {
        self.segments.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.segments.resize(tensor, bytes);
    }
}
