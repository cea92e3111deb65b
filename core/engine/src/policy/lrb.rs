//! LRB (Song, Berger, Li and Lloyd, "Learning Relaxed Belady for Content Distribution Network Caching", NSDI 2020),
//! small, with the batches of 3L-Cache (Zhou et al., "3L-Cache: Low Overhead and Precise Learning-based Eviction Policy
//! for Caches", FAST 2025).

use std::collections::VecDeque;

use super::trees::{Row, Trees, step};
use super::{Parameter, Policy, Setup};
use crate::error::Error;
use crate::rng::Rng;

/// Distances between uses that are remembered; LRB remembers 32.
const DISTANCES: usize = 4;
/// Those, the time since the last use, the number of uses and the size; LRB also has ten counters that decay.
const FEATURES: usize = DISTANCES + 3;
/// One in so many accesses, a resident drawn by chance is looked at.
const LOOKED_AT: u32 = 8;
/// Examples from which is learned: at first, and at most. LRB waits for 131,072.
const FIRST_EXAMPLES: usize = 1 << 10;
const MOST_EXAMPLES: usize = 1 << 15;
/// Of so many residents drawn, one leaves at once or soon.
const BATCH_SHARE: usize = 3;

/// What is known of a tensor: a line of a processor's cache.
#[derive(Debug, Clone, Copy)]
struct Known {
    bytes: u64,
    /// The access of the last use.
    used: u64,
    uses: u32,
    /// Between its uses, the newest first; 0 where there was none.
    distances: [u32; DISTANCES],
    /// Where it stands among the residents.
    place: u32,
    /// The access at which it was looked at and one, 0 where none waits for what follows, and what was known then.
    looked: u64,
    row: Row<FEATURES>,
}

const ABSENT: u32 = u32::MAX;

impl Known {
    fn row(&self, now: u64) -> Row<FEATURES> {
        let mut row = [0; FEATURES];
        for (feature, distance) in row.iter_mut().zip(self.distances) {
            *feature = if distance == 0 { u8::MAX } else { step(u64::from(distance)) };
        }
        let others = [now - self.used, u64::from(self.uses), self.bytes];
        row[DISTANCES..].copy_from_slice(&others.map(step));
        row
    }
}

/// Of some residents drawn by chance, evicts those whose next use it expects to be farthest away. It learns online what
/// to expect: residents drawn by chance are examples once they are used again, or once a window has passed. Until it
/// has learned, the one used longest ago leaves.
///
/// The model is small: sixteen boosted trees of depth four, on features on a logarithmic scale; LRB has 32 of 32
/// leaves.
#[derive(Debug)]
pub struct Lrb {
    residents: Vec<u32>,
    tensors: Vec<Known>,
    /// Tensors in the order in which they were looked at, and when.
    waiting: VecDeque<(u32, u64)>,
    window: u64,
    rows: Vec<Row<FEATURES>>,
    values: Vec<f32>,
    wanted: usize,
    model: Option<Trees>,
    /// Those about to leave, the next one last, and when they were used last.
    batch: Vec<(u32, u64)>,
    draws: usize,
    now: u64,
    rng: Rng,
}

impl Lrb {
    fn draw(&mut self) -> Option<u32> {
        let at = self.rng.below(self.residents.len() as u32);
        self.residents.get(at as usize).copied()
    }

    /// `tensor` was looked at: it is an example of who is used again `distance` accesses later.
    fn learn(&mut self, tensor: u32, distance: u64) {
        let known = &mut self.tensors[tensor as usize];
        known.looked = 0;
        self.rows.push(known.row);
        self.values.push(f32::from(step(distance)));
        if self.rows.len() >= self.wanted {
            self.model = Some(Trees::fit(&self.rows, &mut self.values));
            self.rows.clear();
            self.values.clear();
            self.wanted = (2 * self.wanted).min(MOST_EXAMPLES);
            self.batch.clear();
        }
    }

    /// Notes the use of `tensor` by access `now`.
    fn note(&mut self, tensor: u32, now: usize) {
        self.now = now as u64;
        let looked = self.tensors[tensor as usize].looked;
        if looked > 0 {
            self.learn(tensor, self.now + 1 - looked);
        }
        while let Some((first, then)) = self.waiting.front().copied() {
            if self.now + 1 - then <= self.window {
                break;
            }
            self.waiting.pop_front();
            if self.tensors[first as usize].looked == then {
                self.learn(first, self.window.saturating_mul(2));
            }
        }
        let known = &mut self.tensors[tensor as usize];
        if known.uses > 0 {
            known.distances.rotate_right(1);
            known.distances[0] = u32::try_from(self.now - known.used).unwrap_or(u32::MAX);
        }
        (known.used, known.uses) = (self.now, known.uses.saturating_add(1));
        if !self.residents.is_empty()
            && self.rng.below(LOOKED_AT) == 0
            && let Some(drawn) = self.draw().filter(|drawn| self.tensors[*drawn as usize].looked == 0)
        {
            let known = &mut self.tensors[drawn as usize];
            (known.looked, known.row) = (self.now + 1, known.row(self.now));
            self.waiting.push_back((drawn, self.now + 1));
        }
    }

    /// Draws residents and keeps those whose next use is farthest away, the farthest last.
    fn choose(&mut self) {
        let mut drawn: Vec<(f32, u32, u64)> = Vec::with_capacity(self.draws);
        for _ in 0..self.draws {
            let Some(tensor) = self.draw() else { break };
            let known = &self.tensors[tensor as usize];
            let expected = match &self.model {
                Some(model) => model.predict(&known.row(self.now)),
                None => (self.now - known.used) as f32,
            };
            drawn.push((expected, tensor, known.used));
        }
        drawn.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let kept = drawn.len() - drawn.len().div_ceil(BATCH_SHARE);
        self.batch.extend(drawn[kept..].iter().map(|(_, tensor, used)| (*tensor, *used)));
    }
}

impl Policy for Lrb {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter::count("draws", 64.0, [1.0, 1024.0], "residents drawn at once; the paper's choice"),
        Parameter::multiple(
            "window",
            8.0,
            "accesses after which a tensor counts as not used again, as a multiple of the tensors that fit",
        ),
    ];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [draws, window, ..] = setup.values::<Self>();
        let known = |bytes: &u64| Known {
            bytes: *bytes,
            used: 0,
            uses: 0,
            distances: [0; DISTANCES],
            place: ABSENT,
            looked: 0,
            row: [0; FEATURES],
        };
        Ok(Self {
            residents: Vec::new(),
            tensors: setup.sizes.iter().map(known).collect(),
            waiting: VecDeque::new(),
            window: ((setup.entries() as f64 * window) as u64).max(1),
            rows: Vec::new(),
            values: Vec::new(),
            wanted: FIRST_EXAMPLES,
            model: None,
            batch: Vec::new(),
            draws: draws as usize,
            now: 0,
            rng: Rng::new(setup.seed, "lrb"),
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.note(tensor, now);
    }

    fn miss(&mut self, tensor: u32, now: usize) {
        self.note(tensor, now);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.tensors[tensor as usize].place = self.residents.len() as u32;
        self.residents.push(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        if self.residents.is_empty() {
            return None;
        }
        loop {
            while let Some((victim, used)) = self.batch.pop() {
                let known = &self.tensors[victim as usize];
                if known.used == used && known.place != ABSENT {
                    self.remove(victim);
                    return Some(victim);
                }
            }
            self.choose();
        }
    }

    fn remove(&mut self, tensor: u32) {
        let place = std::mem::replace(&mut self.tensors[tensor as usize].place, ABSENT);
        self.residents.swap_remove(place as usize);
        if let Some(moved) = self.residents.get(place as usize) {
            self.tensors[*moved as usize].place = place;
        }
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.tensors[tensor as usize].bytes = bytes;
    }
}
