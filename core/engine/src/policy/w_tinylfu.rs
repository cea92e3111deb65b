//! W-TinyLFU (Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", 2017), with sizes
//! in bytes.

use super::list::Segments;
use super::{Parameter, Policy, Setup};
use crate::error::Error;

const WINDOW: usize = 0;
const PROBATION: usize = 1;
const PROTECTED: usize = 2;

/// The climber's first step, as a share of the capacity, and by how much each further step in one direction shrinks;
/// a hit ratio that changes by more than the threshold starts it anew (Einziger et al., "Adaptive Software Cache
/// Management", Middleware 2018; the constants of Caffeine 3).
const FIRST_STEP: f64 = 0.0625;
const STEP_DECAY: f64 = 0.98;
const RESTART: f64 = 0.05;

/// Newcomers enter a window, kept by LRU, that holds one tensor at least. What leaves the window stays only if it was
/// used more often, by the estimate of a sketch, than the victim of the main part: a segmented LRU, most of it
/// protected. The window may adapt: it grows or shrinks as long as that raises the hit ratio.
///
/// libCacheSim (0.3.5) counts without error or halving, when a tensor comes in, is hit in the main part or comes to the
/// end of the window; and its window takes whatever comes, and hands on to the main part once room is needed.
#[derive(Debug)]
pub struct WTinyLfu {
    segments: Segments<3>,
    counts: Counts,
    capacity_bytes: u64,
    window_share_bytes: u64,
    protected_share: f64,
    protected_share_bytes: u64,
    incoming_bytes: u64,
    /// Whether a hit made the probation segment exceed its share, where counts are exact.
    spills: bool,
    climber: Option<Climber>,
}

/// Looks for the window with the best hit ratio, step by step; the first one is down.
#[derive(Debug)]
struct Climber {
    /// Accesses of a step, and those of this one so far.
    period: usize,
    accesses: usize,
    hits: usize,
    before: f64,
    /// Shares of the capacity.
    window: f64,
    step: f64,
}

impl Climber {
    /// Counts an access; the window's new share of the capacity, once a step is over.
    fn count(&mut self, hit: bool) -> Option<f64> {
        self.hits += usize::from(hit);
        self.accesses += 1;
        if self.accesses < self.period {
            return None;
        }
        let ratio = self.hits as f64 / self.accesses as f64;
        let change = ratio - self.before;
        let step = if change >= 0.0 { self.step } else { -self.step };
        self.window = (self.window + step).clamp(0.0, 1.0);
        self.step = if change.abs() >= RESTART { FIRST_STEP.copysign(step) } else { STEP_DECAY * step };
        (self.before, self.accesses, self.hits) = (ratio, 0, 0);
        Some(self.window)
    }
}

impl WTinyLfu {
    /// Gives the window a share of the capacity, and the protected segment its part of the rest.
    fn divide(&mut self, window: f64) {
        self.window_share_bytes = ((self.capacity_bytes as f64 * window) as u64).min(self.capacity_bytes);
        let main = self.capacity_bytes - self.window_share_bytes;
        self.protected_share_bytes = ((main as f64 * self.protected_share) as u64).min(main);
    }

    /// Counts an access for the climber.
    fn climb(&mut self, hit: bool) {
        if let Some(window) = self.climber.as_mut().and_then(|climber| climber.count(hit)) {
            self.divide(window);
        }
    }

    /// What the protected segment leaves to the probation segment.
    fn probation_share_bytes(&self) -> u64 {
        self.capacity_bytes - self.window_share_bytes - self.protected_share_bytes
    }

    /// The main part's next victim.
    fn victim(&self) -> Option<u32> {
        self.segments.oldest(PROBATION).or_else(|| self.segments.oldest(PROTECTED))
    }

    /// The oldest of the window goes on to the main part or leaves; as many go on as there is room for.
    fn hand_on(&mut self) -> Option<u32> {
        let main_bytes = self.capacity_bytes - self.window_share_bytes;
        while let Some(candidate) = self.segments.oldest(WINDOW) {
            let bytes = self.segments.size(candidate);
            let [probation, protected] = [PROBATION, PROTECTED].map(|segment| self.segments.bytes(segment));
            let fits = (probation + protected).saturating_add(bytes) <= main_bytes;
            let victim = self.victim().filter(|_| !fits);
            let wins = victim.is_some_and(|victim| self.counts.uses(candidate) > self.counts.uses(victim));
            self.counts.count(candidate);
            if fits || wins {
                // The lowest segment with room, as in libCacheSim's SLRU.
                let above = probation.saturating_add(bytes) > self.probation_share_bytes()
                    && protected.saturating_add(bytes) <= self.protected_share_bytes;
                self.segments.make_newest(if above { PROTECTED } else { PROBATION }, candidate);
            }
            if !fits {
                return if wins { victim } else { Some(candidate) };
            }
        }
        self.victim()
    }
}

impl Policy for WTinyLfu {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::share("window", 0.01, "the window's share of the capacity"),
        Parameter::share("protected", 0.8, "the protected segment's share of the rest"),
        Parameter::multiple(
            "sample",
            10.0,
            "uses after which all counts are halved, as a multiple of the tensors that fit; 0: never, and counts are \
             exact, as in libCacheSim",
        ),
        Parameter::choice("adaptive", "1: the window adapts by hill climbing, as Caffeine's does; 0: it stays"),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [window, protected_share, sample, adaptive] = setup.values::<Self>();
        let entries = setup.entries();
        // A step takes as many accesses as the paper's sample: ten times the tensors that fit.
        let climber = Climber { period: 10 * entries, accesses: 0, hits: 0, before: 0.0, window, step: -FIRST_STEP };
        let mut policy = Self {
            segments: Segments::new(setup.sizes),
            counts: Counts::new(entries, setup.sizes.len(), sample),
            capacity_bytes: setup.capacity_bytes,
            window_share_bytes: 0,
            protected_share,
            protected_share_bytes: 0,
            incoming_bytes: 0,
            spills: false,
            climber: (adaptive > 0.0).then_some(climber),
        };
        policy.divide(window);
        Ok(policy)
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        self.climb(true);
        if !self.counts.is_exact() || self.segments.place(tensor) != Some(WINDOW) {
            self.counts.count(tensor);
        }
        match self.segments.place(tensor) {
            Some(WINDOW) => self.segments.make_newest(WINDOW, tensor),
            _ => {
                self.segments.make_newest(PROTECTED, tensor);
                while self.segments.bytes(PROTECTED) > self.protected_share_bytes {
                    let Some(oldest) = self.segments.oldest(PROTECTED) else { break };
                    self.segments.make_newest(PROBATION, oldest);
                    self.spills = self.counts.is_exact();
                }
            }
        }
    }

    fn miss(&mut self, tensor: u32, _now: usize) {
        self.spills = self.crowded();
        self.climb(false);
        if !self.counts.is_exact() {
            self.counts.count(tensor);
        }
        self.incoming_bytes = self.segments.size(tensor);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.segments.make_newest(WINDOW, tensor);
        self.incoming_bytes = 0;
        if self.counts.is_exact() {
            self.counts.count(tensor);
            return;
        }
        let used: u64 = (WINDOW..=PROTECTED).map(|segment| self.segments.bytes(segment)).sum();
        // Where there is room for all, what the window cannot hold needs no contest.
        while used <= self.capacity_bytes && self.segments.bytes(WINDOW) > self.window_share_bytes {
            let Some(oldest) = self.segments.oldest(WINDOW).filter(|oldest| *oldest != tensor) else { break };
            self.segments.make_newest(PROBATION, oldest);
        }
    }

    fn crowded(&self) -> bool {
        self.spills && self.segments.bytes(PROBATION) > self.probation_share_bytes()
    }

    fn evict(&mut self) -> Option<u32> {
        if self.counts.is_exact() {
            let loser = if self.crowded() { self.segments.oldest(PROBATION)? } else { self.hand_on()? };
            self.segments.remove(loser);
            return Some(loser);
        }
        let alone = self.incoming_bytes == 0 && self.segments.newest(WINDOW) == self.segments.oldest(WINDOW);
        let overflows = !alone && self.segments.bytes(WINDOW) + self.incoming_bytes > self.window_share_bytes;
        let candidate = self.segments.oldest(WINDOW).filter(|_| overflows);
        let victim = self.victim();
        let loser = match (candidate, victim) {
            (Some(candidate), Some(victim)) if self.counts.uses(candidate) > self.counts.uses(victim) => {
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

/// How often tensors were used.
#[derive(Debug)]
enum Counts {
    Estimated(Sketch),
    Exact(Vec<u64>),
}

impl Counts {
    /// For `tensors`, of which `entries` fit; exact for a sample of 0.
    fn new(entries: usize, tensors: usize, sample: f64) -> Self {
        if sample > 0.0 { Self::Estimated(Sketch::new(entries, sample)) } else { Self::Exact(vec![0; tensors]) }
    }

    fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    fn uses(&self, tensor: u32) -> u64 {
        match self {
            Self::Estimated(sketch) => sketch.uses(tensor),
            Self::Exact(uses) => uses[tensor as usize],
        }
    }

    fn count(&mut self, tensor: u32) {
        match self {
            Self::Estimated(sketch) => sketch.count(tensor),
            Self::Exact(uses) => uses[tensor as usize] += 1,
        }
    }
}

/// Counters of four bits in four rows: how often a tensor was used of late, never less than it was, at most 15.
#[derive(Debug)]
struct Sketch {
    /// Sixteen counters a word; the rows share the table.
    words: Vec<u64>,
    /// Uses counted since the last halving, and after how many all counters are halved: the paper's W.
    counted: usize,
    sample: usize,
}

const ROWS: u64 = 4;
const MOST: u64 = 15;

impl Sketch {
    /// For `entries` tensors, halved after `sample` times as many uses.
    fn new(entries: usize, sample: f64) -> Self {
        // Sixteen counters for each entry, as Caffeine has them, in a power of two of words.
        let sample = ((entries as f64 * sample) as usize).max(1);
        Self { words: vec![0; entries.next_power_of_two()], counted: 0, sample }
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
