//! W-TinyLFU (Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", 2017), with sizes
//! in bytes.

use super::list::Segments;
use super::{Policy, Setup};
use crate::error::Error;

const WINDOW: usize = 0;
const PROBATION: usize = 1;
const PROTECTED: usize = 2;

/// The window's part of the capacity, the paper's 1 %: one in so many bytes.
const WINDOW_SHARE: u64 = 100;

/// Newcomers enter a window of 1 % of the capacity, kept by LRU. What leaves the window stays only if it was used
/// more often, by the estimate of a sketch, than the victim of the main part: a segmented LRU, 80 % of it
/// protected. A newcomer larger than the window is put to the test at once under
/// [`Admission::Bypass`](super::Admission::Bypass); under `Always` it comes in, as every tensor that fits must.
#[derive(Debug)]
pub struct WTinyLfu {
    segments: Segments<3>,
    sketch: Sketch,
    capacity_bytes: u64,
    window_share_bytes: u64,
    protected_share_bytes: u64,
    incoming_bytes: u64,
}

impl Policy for WTinyLfu {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let window_share_bytes = setup.capacity_bytes / WINDOW_SHARE;
        let main = setup.capacity_bytes - window_share_bytes;
        Ok(Self {
            segments: Segments::new(setup.sizes),
            sketch: Sketch::new(entries(setup)),
            capacity_bytes: setup.capacity_bytes,
            window_share_bytes,
            protected_share_bytes: main - main / 5,
            incoming_bytes: 0,
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.sketch.count(tensor);
        match self.segments.place(tensor) {
            Some(WINDOW) => self.segments.make_newest(WINDOW, tensor),
            _ => {
                self.segments.make_newest(PROTECTED, tensor);
                while self.segments.bytes(PROTECTED) > self.protected_share_bytes {
                    let Some(oldest) = self.segments.oldest(PROTECTED) else { break };
                    self.segments.make_newest(PROBATION, oldest);
                }
            }
        }
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        self.sketch.count(tensor);
        self.incoming_bytes = self.segments.size(tensor);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.segments.make_newest(WINDOW, tensor);
        let used: u64 = (WINDOW..=PROTECTED).map(|segment| self.segments.bytes(segment)).sum();
        // Where there is room for all, what the window cannot hold needs no contest.
        while used <= self.capacity_bytes && self.segments.bytes(WINDOW) > self.window_share_bytes {
            let Some(oldest) = self.segments.oldest(WINDOW) else { break };
            self.segments.make_newest(PROBATION, oldest);
        }
        self.incoming_bytes = 0;
    }

    fn evict(&mut self) -> Option<u32> {
        let window_overflows = self.segments.bytes(WINDOW) + self.incoming_bytes > self.window_share_bytes;
        let candidate = self.segments.oldest(WINDOW).filter(|_| window_overflows);
        let victim = self.segments.oldest(PROBATION).or_else(|| self.segments.oldest(PROTECTED));
        let loser = match (candidate, victim) {
            (Some(candidate), Some(victim)) if self.sketch.uses(candidate) > self.sketch.uses(victim) => {
                self.segments.make_newest(PROBATION, candidate);
                victim
            }
            (Some(candidate), _) => candidate,
            (None, victim) => victim.or_else(|| self.segments.oldest(WINDOW))?,
        };
        self.segments.remove(loser);
        Some(loser)
    }

    fn remove(&mut self, tensor: u32) {
        self.segments.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.segments.resize(tensor, bytes);
    }
}

/// About how many tensors the memory holds: capacity by mean size, at most all.
fn entries(setup: &Setup<'_>) -> usize {
    let tensors = setup.sizes.len();
    let total: u128 = setup.sizes.iter().map(|s| u128::from(*s)).sum();
    let held = u128::from(setup.capacity_bytes) * tensors as u128 / total.max(1);
    held.clamp(1, tensors.max(1) as u128) as usize
}

/// Counters of four bits in four rows: how often a tensor was used of late, never less than it was, at most 15.
#[derive(Debug)]
struct Sketch {
    /// Sixteen counters a word; the rows share the table.
    words: Vec<u64>,
    /// Uses counted since the last halving, and after how many all counters are halved (the paper's W = 10 x entries).
    counted: usize,
    sample: usize,
}

const ROWS: u64 = 4;
const MOST: u64 = 15;

impl Sketch {
    fn new(entries: usize) -> Self {
        // A counter for each row and entry, rounded up to a power of two.
        Self { words: vec![0; entries.next_power_of_two().div_ceil(4)], counted: 0, sample: 10 * entries }
    }

    /// Word and shift of the counter of `tensor` in `row`.
    fn counter(&self, tensor: u32, row: u64) -> (usize, u32) {
        // The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
        let mut hash = (u64::from(tensor) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(row << 32);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
        ((hash >> 4) as usize & (self.words.len() - 1), 4 * (hash & 15) as u32)
    }

    fn uses(&self, tensor: u32) -> u64 {
        let read = |row| {
            let (word, shift) = self.counter(tensor, row);
            (self.words[word] >> shift) & MOST
        };
        (0..ROWS).map(read).min().unwrap_or(0)
    }

    fn count(&mut self, tensor: u32) {
        for row in 0..ROWS {
            let (word, shift) = self.counter(tensor, row);
            if (self.words[word] >> shift) & MOST < MOST {
                self.words[word] += 1 << shift;
            }
        }
        self.counted += 1;
        if self.counted >= self.sample {
            self.counted /= 2;
            for word in &mut self.words {
                *word = (*word >> 1) & 0x7777_7777_7777_7777;
            }
        }
    }
}
