//! The rule of Mockingjay (Shah, Jain and Lin, "Effective Mimicry of Belady's MIN Policy", HPCA 2022).

use std::collections::VecDeque;

use super::heap::{IndexedHeap, Key};
use super::{Parameter, Policy, Setup};
use crate::error::Error;

/// A prediction moves by this share of its error: the paper's temporal difference.
const LEARNED_SHARE: i64 = 16;
/// Tensors that were not used again have one prediction for each power of two of bytes.
const CLASSES: usize = u64::BITS as usize + 1;
/// No prediction yet.
const UNKNOWN: i64 = -1;

/// Predicts when each resident is used next, and evicts the one whose time is farthest from now: farthest ahead, or
/// longest overdue. A prediction is the distance between uses that was seen so far, moved by a sixteenth of the error
/// with each use. The paper predicts by the instruction that loads; here a tensor is predicted by its own uses once it
/// had two, and by those of tensors of about its size before. Who is not used again within the window counts as a use
/// at its end, and who is predicted to come then as one that never comes.
///
/// The paper looks at some of the sets, and its times count eight accesses as one.
#[derive(Debug)]
pub struct Mockingjay {
    /// The time of the next use, the latest first, and the earliest first; among equals, the one used longest ago.
    latest: IndexedHeap<Key>,
    earliest: IndexedHeap<Key>,
    /// Distances between uses, of each tensor and of tensors by size.
    own: Vec<i64>,
    by_size: [i64; CLASSES],
    /// The access of the last use and one, 0 where it is outside the window.
    used: Vec<usize>,
    /// The uses of the window: tensors and accesses.
    recent: VecDeque<(u32, usize)>,
    sizes: Vec<u64>,
    window: usize,
    now: usize,
}

/// Moves a prediction towards what was seen.
fn learn(prediction: &mut i64, seen: usize) {
    let seen = seen as i64;
    let error = seen - *prediction;
    *prediction = match *prediction {
        UNKNOWN => seen,
        // By one at least.
        known => known + error / LEARNED_SHARE + if error % LEARNED_SHARE == 0 { 0 } else { error.signum() },
    };
}

impl Mockingjay {
    fn class(&self, tensor: u32) -> usize {
        (u64::BITS - self.sizes[tensor as usize].leading_zeros()) as usize
    }

    /// Notes the use of `tensor` by access `now`, and forgets those outside the window.
    fn note(&mut self, tensor: u32, now: usize) {
        self.now = now;
        let class = self.class(tensor);
        let before = self.used[tensor as usize];
        if before > 0 {
            let distance = now + 1 - before;
            learn(&mut self.own[tensor as usize], distance);
            learn(&mut self.by_size[class], distance);
        }
        self.used[tensor as usize] = now + 1;
        self.recent.push_back((tensor, now));
        while let Some((old, then)) = self.recent.front().copied().filter(|(_, then)| now - *then >= self.window) {
            self.recent.pop_front();
            if self.used[old as usize] == then + 1 {
                let class = self.class(old);
                learn(&mut self.by_size[class], self.window);
                if self.own[old as usize] != UNKNOWN {
                    learn(&mut self.own[old as usize], self.window);
                }
                self.used[old as usize] = 0;
            }
        }
    }

    /// Puts `tensor`, used now, in order.
    fn order(&mut self, tensor: u32) {
        let own = self.own[tensor as usize];
        let distance = if own == UNKNOWN { self.by_size[self.class(tensor)] } else { own };
        let (now, window) = (self.now as u64, self.window as u64);
        let next = match u64::try_from(distance) {
            Ok(distance) if distance >= window => u64::MAX,
            Ok(distance) => now + distance,
            // Nothing is known of its like.
            Err(_) => now + window,
        };
        self.latest.set(tensor, (next, !now));
        self.earliest.set(tensor, (!next, !now));
    }
}

impl Policy for Mockingjay {
    const PARAMETERS: &'static [Parameter] = &[Parameter::multiple(
        "window",
        8.0,
        "accesses within which a use is expected, as a multiple of the tensors that fit; the paper's choice",
    )];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [window, ..] = setup.values::<Self>();
        let tensors = setup.sizes.len();
        Ok(Self {
            latest: IndexedHeap::new(tensors),
            earliest: IndexedHeap::new(tensors),
            own: vec![UNKNOWN; tensors],
            by_size: [UNKNOWN; CLASSES],
            used: vec![0; tensors],
            recent: VecDeque::new(),
            sizes: setup.sizes.to_vec(),
            window: ((setup.entries() as f64 * window) as usize).max(1),
            now: 0,
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.note(tensor, now);
        self.order(tensor);
    }

    fn miss(&mut self, tensor: u32, now: usize) {
        self.note(tensor, now);
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        self.order(tensor);
    }

    fn evict(&mut self) -> Option<u32> {
        let (latest, earliest) = (self.latest.peek()?, self.earliest.peek()?);
        let now = self.now as u64;
        let ahead = self.latest.key(latest).0.saturating_sub(now);
        let overdue = now.saturating_sub(!self.earliest.key(earliest).0);
        let victim = if overdue >= ahead { earliest } else { latest };
        self.remove(victim);
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        self.latest.remove(tensor);
        self.earliest.remove(tensor);
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.sizes[tensor as usize] = bytes;
    }
}
