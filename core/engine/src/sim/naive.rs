//! Every policy once more, as plainly as its paper says it: lists that are searched from end to end.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::Counts;
use crate::policy::{Admission, PolicyKind, PolicySpec, Setup};
use crate::score::predicted_reuse_distance;
use crate::trace::reuse::{Future, NEVER};
use crate::trace::{NO_PARENT, Trace};

/// The order of victims.
pub(super) trait Model {
    fn hit(&mut self, t: u32, now: usize);
    fn miss(&mut self, _t: u32, _now: usize) {}
    fn insert(&mut self, t: u32, now: usize);
    fn crowded(&self) -> bool {
        false
    }
    fn evict(&mut self) -> u32;
    fn remove(&mut self, t: u32);
    /// Resident or not, `t` has `bytes` from now on.
    fn resize(&mut self, _t: u32, _bytes: u64) {}
}

/// The size of each tensor now.
pub(super) type Sizes = Rc<RefCell<Vec<u64>>>;

/// Runs a model; the memory is a list of residents. `sizes` are those that the model looks at.
pub(super) fn run(model: &mut dyn Model, setup: &Setup<'_>, trace: &Trace, sizes: &Sizes) -> Counts {
    let size = |t: u32| sizes.borrow()[t as usize];
    let used = |residents: &[u32]| residents.iter().map(|t| size(*t)).sum::<u64>();
    let parent = |t: u32| setup.parents.get(t as usize).copied().filter(|parent| *parent != NO_PARENT);
    // Who leaves takes along whoever continues it, those farthest from it first.
    let take = |residents: &mut Vec<u32>, model: &mut dyn Model, t: u32| -> Vec<u32> {
        let below = |r: u32| std::iter::successors(Some(r), |r| parent(*r)).skip(1).any(|above| above == t);
        let mut with: Vec<u32> = residents.iter().copied().filter(|r| below(*r)).collect();
        with.sort_unstable_by_key(|r| std::cmp::Reverse(*r));
        with.iter().for_each(|r| model.remove(*r));
        residents.retain(|r| *r != t && !with.contains(r));
        with
    };
    let orphan = |residents: &[u32], t: u32| parent(t).is_some_and(|parent| !residents.contains(&parent));
    let mut residents: Vec<u32> = Vec::new();
    let mut counts = Counts::default();
    for (now, (t, bytes)) in trace.sized().enumerate() {
        if bytes > setup.capacity_bytes && residents.contains(&t) {
            counts.evictions += 1 + take(&mut residents, model, t).len() as u64;
            model.remove(t);
        }
        if size(t) != bytes {
            model.resize(t, bytes);
        }
        let resized = std::mem::replace(&mut sizes.borrow_mut()[t as usize], bytes) != bytes;
        if residents.contains(&t) {
            counts.hits += 1;
            counts.hit_bytes += bytes;
            model.hit(t, now);
            while resized && (used(&residents) > setup.capacity_bytes || model.crowded()) {
                let victim = model.evict();
                counts.evictions += 1 + take(&mut residents, model, victim).len() as u64;
            }
            continue;
        }
        counts.misses += 1;
        counts.miss_bytes += bytes;
        if bytes > setup.capacity_bytes {
            counts.bypassed += 1;
            counts.oversize += 1;
            continue;
        }
        if orphan(&residents, t) {
            counts.bypassed += 1;
            continue;
        }
        model.miss(t, now);
        let bypass = setup.admission == Admission::Bypass;
        let mut room = setup.capacity_bytes - bytes;
        if bypass {
            residents.push(t);
            model.insert(t, now);
            room = setup.capacity_bytes;
        }
        while used(&residents) > room || model.crowded() {
            let victim = model.evict();
            for left in take(&mut residents, model, victim).into_iter().chain([victim]) {
                if left == t { counts.bypassed += 1 } else { counts.evictions += 1 }
            }
        }
        if !bypass {
            if orphan(&residents, t) {
                counts.bypassed += 1;
                continue;
            }
            residents.push(t);
            model.insert(t, now);
        }
    }
    counts
}

/// What a ranking may look at.
#[derive(Clone, Copy)]
struct Resident {
    t: u32,
    inserted: usize,
    used: usize,
    uses: u64,
    /// The priority of the last victim when this one was last used.
    age: f64,
}

type Rank = dyn Fn(&Resident, usize) -> (f64, f64);

/// Evicts the resident of the lowest rank.
struct Ranked {
    residents: Vec<Resident>,
    rank: Box<Rank>,
    age: f64,
    now: usize,
}

impl Model for Ranked {
    fn hit(&mut self, t: u32, now: usize) {
        let age = self.age;
        let r = self.residents.iter_mut().find(|r| r.t == t).unwrap();
        *r = Resident { used: now, uses: r.uses + 1, age, ..*r };
    }
    fn miss(&mut self, _t: u32, now: usize) {
        self.now = now;
    }
    fn insert(&mut self, t: u32, now: usize) {
        self.residents.push(Resident { t, inserted: now, used: now, uses: 1, age: self.age });
    }
    fn evict(&mut self) -> u32 {
        let rank = |r: &Resident| (self.rank)(r, self.now);
        let lowest = |a: &&Resident, b: &&Resident| rank(a).partial_cmp(&rank(b)).unwrap();
        let victim = *self.residents.iter().min_by(lowest).unwrap();
        self.age = rank(&victim).0;
        self.residents.retain(|r| r.t != victim.t);
        victim.t
    }
    fn remove(&mut self, t: u32) {
        self.residents.retain(|r| r.t != t);
    }
}

/// The resident of the lowest rank among those that no resident continues.
struct Leaves {
    ranked: Ranked,
    parents: Vec<u32>,
}

impl Model for Leaves {
    fn hit(&mut self, t: u32, now: usize) {
        self.ranked.hit(t, now);
    }
    fn miss(&mut self, t: u32, now: usize) {
        self.ranked.miss(t, now);
    }
    fn insert(&mut self, t: u32, now: usize) {
        self.ranked.insert(t, now);
    }
    fn evict(&mut self) -> u32 {
        let residents = std::mem::take(&mut self.ranked.residents);
        let parents = &self.parents;
        let has_child = |r: &Resident| residents.iter().any(|other| parents.get(other.t as usize) == Some(&r.t));
        let (inner, leaves) = residents.iter().copied().partition(has_child);
        self.ranked.residents = leaves;
        let victim = self.ranked.evict();
        self.ranked.residents.extend::<Vec<Resident>>(inner);
        victim
    }
    fn remove(&mut self, t: u32) {
        self.ranked.remove(t);
    }
}

/// Position and removal in queues whose front is the oldest.
fn take(queue: &mut VecDeque<u32>, t: u32) -> bool {
    let at = queue.iter().position(|x| *x == t);
    at.map(|at| queue.remove(at)).is_some()
}

#[derive(Default)]
struct NaiveClock {
    queue: VecDeque<(u32, bool)>,
}

impl Model for NaiveClock {
    fn hit(&mut self, t: u32, _: usize) {
        self.queue.iter_mut().find(|e| e.0 == t).unwrap().1 = true;
    }
    fn insert(&mut self, t: u32, _: usize) {
        self.queue.push_back((t, false));
    }
    fn evict(&mut self) -> u32 {
        while self.queue[0].1 {
            self.queue[0].1 = false;
            self.queue.rotate_left(1);
        }
        self.queue.pop_front().unwrap().0
    }
    fn remove(&mut self, t: u32) {
        self.queue.retain(|e| e.0 != t);
    }
}

/// Oldest first; the hand is an index.
#[derive(Default)]
struct NaiveSieve {
    queue: Vec<(u32, bool)>,
    hand: usize,
}

impl Model for NaiveSieve {
    fn hit(&mut self, t: u32, _: usize) {
        self.queue.iter_mut().find(|e| e.0 == t).unwrap().1 = true;
    }
    fn insert(&mut self, t: u32, _: usize) {
        self.queue.push((t, false));
    }
    fn evict(&mut self) -> u32 {
        loop {
            if self.queue[self.hand].1 {
                self.queue[self.hand].1 = false;
                self.hand = (self.hand + 1) % self.queue.len();
                continue;
            }
            let victim = self.queue.remove(self.hand).0;
            // A hand past the newest starts at the oldest again, even if something newer comes meanwhile.
            if self.hand == self.queue.len() {
                self.hand = 0;
            }
            return victim;
        }
    }
    fn remove(&mut self, t: u32) {
        let at = self.queue.iter().position(|e| e.0 == t).unwrap();
        self.queue.remove(at);
        self.hand -= usize::from(at < self.hand);
        if self.hand == self.queue.len() {
            self.hand = 0;
        }
    }
}

/// Bytes of the tensors of some queues.
fn bytes_of<'a>(sizes: &Sizes, tensors: impl IntoIterator<Item = &'a u32>) -> u64 {
    tensors.into_iter().map(|t| sizes.borrow()[*t as usize]).sum()
}

/// A share or a multiple of the capacity.
fn part(capacity: u64, factor: f64) -> u64 {
    (capacity as f64 * factor).floor() as u64
}

struct NaiveSlru {
    segments: Vec<VecDeque<u32>>,
    sizes: Sizes,
    share: u64,
    lowest: bool,
}

impl Model for NaiveSlru {
    fn hit(&mut self, t: u32, _: usize) {
        let from = self.segments.iter_mut().position(|s| take(s, t)).unwrap();
        let to = (from + 1).min(self.segments.len() - 1);
        self.segments[to].push_back(t);
        for i in (1..=to).rev() {
            while bytes_of(&self.sizes, &self.segments[i]) > self.share {
                let t = self.segments[i].pop_front().unwrap();
                self.segments[i - 1].push_back(t);
            }
        }
    }
    fn insert(&mut self, t: u32, _: usize) {
        let room = |s: &VecDeque<u32>| bytes_of(&self.sizes, s.iter().chain([&t])) <= self.share;
        let segment = self.segments.iter().position(room).filter(|_| !self.lowest);
        self.segments[segment.unwrap_or(0)].push_back(t);
    }
    fn evict(&mut self) -> u32 {
        self.segments.iter_mut().find_map(VecDeque::pop_front).unwrap()
    }
    fn remove(&mut self, t: u32) {
        assert!(self.segments.iter_mut().any(|s| take(s, t)));
    }
}

struct NaiveS3Fifo {
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    ghost: VecDeque<u32>,
    freq: BTreeMap<u32, u32>,
    sizes: Sizes,
    small_share: u64,
    main_share: u64,
    ghost_share: u64,
    promotion: u32,
    published: bool,
    was_full: bool,
    known: bool,
}

impl NaiveS3Fifo {
    fn bytes(&self, queue: &VecDeque<u32>) -> u64 {
        bytes_of(&self.sizes, queue)
    }
    fn evict_small(&mut self) -> Option<u32> {
        while let Some(t) = self.small.pop_front() {
            if self.freq[&t] >= self.promotion {
                self.freq.insert(t, 0);
                self.main.push_back(t);
            } else {
                self.ghost.push_back(t);
                while self.bytes(&self.ghost) > self.ghost_share {
                    self.ghost.pop_front();
                }
                return Some(t);
            }
        }
        None
    }
    fn evict_main(&mut self) -> Option<u32> {
        while let Some(t) = self.main.pop_front() {
            let freq = self.freq.get_mut(&t).unwrap();
            if *freq == 0 {
                return Some(t);
            }
            *freq -= 1;
            self.main.push_back(t);
        }
        None
    }
}

impl Model for NaiveS3Fifo {
    fn hit(&mut self, t: u32, _: usize) {
        let freq = self.freq.get_mut(&t).unwrap();
        *freq = (*freq + 1).min(3);
    }
    fn miss(&mut self, t: u32, _: usize) {
        self.known = !self.published && take(&mut self.ghost, t);
    }
    fn insert(&mut self, t: u32, _: usize) {
        self.freq.insert(t, 0);
        let known = self.known || take(&mut self.ghost, t);
        let fills = !self.published && !self.was_full && self.bytes(&self.small) >= self.small_share;
        if known || fills { self.main.push_back(t) } else { self.small.push_back(t) }
    }
    fn evict(&mut self) -> u32 {
        self.was_full = true;
        loop {
            let from_small = if self.published {
                self.bytes(&self.small) >= self.small_share || self.main.is_empty()
            } else {
                self.bytes(&self.main) <= self.main_share && !self.small.is_empty()
            };
            let victim = if from_small { self.evict_small() } else { None };
            if let Some(victim) = victim.or_else(|| self.evict_main()) {
                return victim;
            }
        }
    }
    fn remove(&mut self, t: u32) {
        assert!(take(&mut self.small, t) || take(&mut self.main, t));
    }
}

/// LFUDA as libCacheSim has it: the age is the lowest priority, and a use adds it.
struct NaiveLfuda {
    /// Tensor, priority, last use.
    residents: Vec<(u32, u64, usize)>,
    age: u64,
}

impl NaiveLfuda {
    fn lowest(&self) -> Option<u64> {
        self.residents.iter().map(|r| r.1).min()
    }
}

impl Model for NaiveLfuda {
    fn hit(&mut self, t: u32, now: usize) {
        let age = self.age;
        let r = self.residents.iter_mut().find(|r| r.0 == t).unwrap();
        let before = r.1;
        *r = (t, before.saturating_add(age), now);
        if before == age {
            self.age = self.lowest().unwrap();
        }
    }
    fn insert(&mut self, t: u32, now: usize) {
        self.residents.push((t, self.age.saturating_add(1), now));
    }
    fn evict(&mut self) -> u32 {
        let at = (0..self.residents.len()).min_by_key(|i| (self.residents[*i].1, self.residents[*i].2)).unwrap();
        let (victim, priority, _) = self.residents.remove(at);
        self.age = self.lowest().unwrap_or(priority);
        victim
    }
    fn remove(&mut self, t: u32) {
        self.residents.retain(|r| r.0 != t);
    }
}

struct NaiveTwoQ {
    newcomers: VecDeque<u32>,
    out: VecDeque<u32>,
    main: VecDeque<u32>,
    sizes: Sizes,
    in_share: u64,
    out_share: u64,
    known: bool,
}

impl Model for NaiveTwoQ {
    fn hit(&mut self, t: u32, _: usize) {
        if take(&mut self.main, t) {
            self.main.push_back(t);
        }
    }
    fn miss(&mut self, t: u32, _: usize) {
        self.known = take(&mut self.out, t);
    }
    fn insert(&mut self, t: u32, _: usize) {
        if self.known { self.main.push_back(t) } else { self.newcomers.push_back(t) }
    }
    fn evict(&mut self) -> u32 {
        let too_many = bytes_of(&self.sizes, &self.newcomers) > self.in_share && !self.newcomers.is_empty();
        if !too_many && let Some(victim) = self.main.pop_front() {
            return victim;
        }
        let victim = self.newcomers.pop_front().unwrap();
        self.out.push_back(victim);
        while bytes_of(&self.sizes, &self.out) > self.out_share {
            self.out.pop_front();
        }
        victim
    }
    fn remove(&mut self, t: u32) {
        assert!(take(&mut self.newcomers, t) || take(&mut self.main, t));
    }
}

/// All uses of each resident since it came in.
struct NaiveLruK {
    residents: Vec<(u32, Vec<usize>)>,
    k: usize,
}

impl Model for NaiveLruK {
    fn hit(&mut self, t: u32, now: usize) {
        self.residents.iter_mut().find(|r| r.0 == t).unwrap().1.push(now);
    }
    fn insert(&mut self, t: u32, now: usize) {
        self.residents.push((t, vec![now]));
    }
    fn evict(&mut self) -> u32 {
        let rank = |uses: &[usize]| match uses.len().checked_sub(self.k) {
            None => (0, uses[0]),
            Some(at) => (1, uses[at]),
        };
        let at = (0..self.residents.len()).min_by_key(|at| rank(&self.residents[*at].1)).unwrap();
        self.residents.remove(at).0
    }
    fn remove(&mut self, t: u32) {
        self.residents.retain(|r| r.0 != t);
    }
}

struct NaiveQdLpFifo {
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    ghost: VecDeque<u32>,
    uses: BTreeMap<u32, u32>,
    sizes: Sizes,
    main_share: u64,
    ghost_share: u64,
    most: u32,
    /// The newcomer, if it was remembered and is on its way to the main part.
    incoming: Option<u32>,
}

impl Model for NaiveQdLpFifo {
    fn hit(&mut self, t: u32, _: usize) {
        let uses = self.uses.get_mut(&t).unwrap();
        *uses = (*uses + 1).min(self.most);
    }
    fn miss(&mut self, t: u32, _: usize) {
        self.incoming = Some(t).filter(|t| take(&mut self.ghost, *t));
    }
    fn insert(&mut self, t: u32, _: usize) {
        self.uses.insert(t, 0);
        if self.incoming.take().is_some() { self.main.push_back(t) } else { self.small.push_back(t) }
    }
    fn evict(&mut self) -> u32 {
        loop {
            let main = bytes_of(&self.sizes, self.main.iter().chain(&self.incoming));
            if self.small.is_empty() || (main > self.main_share && !self.main.is_empty()) {
                let t = self.main.pop_front().unwrap();
                let uses = self.uses.get_mut(&t).unwrap();
                if *uses == 0 {
                    return t;
                }
                *uses -= 1;
                self.main.push_back(t);
                continue;
            }
            let t = self.small.pop_front().unwrap();
            if self.uses.insert(t, 0).unwrap() > 0 {
                self.main.push_back(t);
                continue;
            }
            self.ghost.push_back(t);
            while bytes_of(&self.sizes, &self.ghost) > self.ghost_share {
                self.ghost.pop_front();
            }
            return t;
        }
    }
    fn remove(&mut self, t: u32) {
        assert!(take(&mut self.small, t) || take(&mut self.main, t));
    }
}

/// The paper's page in bytes: of all sizes seen, the greatest common divisor; or a byte; or the tensor.
struct NaivePage {
    kind: f64,
    seen: Vec<u64>,
}

impl NaivePage {
    fn bytes(&mut self, bytes: u64) -> f64 {
        fn divisor(a: u64, b: u64) -> u64 {
            if b == 0 { a } else { divisor(b, a % b) }
        }
        self.seen.push(bytes);
        match self.kind {
            0.0 => self.seen.iter().copied().fold(0, divisor) as f64,
            1.0 => 1.0,
            _ => bytes as f64,
        }
    }
}

/// As in the paper, with bytes in place of pages.
struct NaiveCar {
    /// T1, T2, B1 and B2, the oldest first.
    lists: [VecDeque<u32>; 4],
    used: BTreeMap<u32, bool>,
    p: f64,
    page: NaivePage,
    known: bool,
    sizes: Sizes,
    capacity: u64,
}

impl NaiveCar {
    fn bytes(&self, lists: &[usize]) -> u64 {
        lists.iter().map(|list| bytes_of(&self.sizes, &self.lists[*list])).sum()
    }
}

impl Model for NaiveCar {
    fn hit(&mut self, t: u32, _: usize) {
        self.used.insert(t, true);
    }
    fn miss(&mut self, t: u32, _: usize) {
        let (b1, b2) = (self.bytes(&[2]) as f64, self.bytes(&[3]) as f64);
        let size = self.page.bytes(self.sizes.borrow()[t as usize]);
        let (in_b1, in_b2) = (self.lists[2].contains(&t), self.lists[3].contains(&t));
        if in_b1 {
            self.p = (self.p + f64::max(1.0, b2 / b1.max(1.0)) * size).min(self.capacity as f64);
        } else if in_b2 {
            self.p = (self.p - f64::max(1.0, b1 / b2.max(1.0)) * size).max(0.0);
        }
        self.known = in_b1 || in_b2;
    }
    fn insert(&mut self, t: u32, _: usize) {
        let [_, _, b1, b2] = &mut self.lists;
        let _ = take(b1, t) || take(b2, t);
        self.used.insert(t, false);
        self.lists[usize::from(self.known)].push_back(t);
        while self.bytes(&[0, 2]) > self.capacity && !self.lists[2].is_empty() {
            self.lists[2].pop_front();
        }
        while self.bytes(&[0, 1, 2, 3]) > 2 * self.capacity && !self.lists[3].is_empty() {
            self.lists[3].pop_front();
        }
    }
    fn evict(&mut self) -> u32 {
        loop {
            let enough = self.bytes(&[0]) as f64 >= self.p.max(1.0);
            let from = if !self.lists[0].is_empty() && (enough || self.lists[1].is_empty()) { 0 } else { 1 };
            let t = self.lists[from].pop_front().unwrap();
            if self.used.insert(t, false).unwrap() {
                self.lists[1].push_back(t);
            } else {
                self.lists[from + 2].push_back(t);
                return t;
            }
        }
    }
    fn remove(&mut self, t: u32) {
        let [t1, t2, ..] = &mut self.lists;
        assert!(take(t1, t) || take(t2, t));
    }
}

/// As in the paper, case by case; with bytes in place of pages.
struct NaiveArc {
    t1: VecDeque<u32>,
    t2: VecDeque<u32>,
    b1: VecDeque<u32>,
    b2: VecDeque<u32>,
    p: f64,
    from_b2: bool,
    page: NaivePage,
    /// Whether the newcomer was remembered, and its bytes.
    known: bool,
    incoming: u64,
    sizes: Sizes,
    capacity: u64,
}

impl NaiveArc {
    fn bytes(&self, lists: &[&VecDeque<u32>]) -> u64 {
        lists.iter().flat_map(|l| l.iter()).map(|t| self.sizes.borrow()[*t as usize]).sum()
    }
}

impl Model for NaiveArc {
    fn hit(&mut self, t: u32, _: usize) {
        assert!(take(&mut self.t1, t) || take(&mut self.t2, t));
        self.t2.push_back(t);
    }
    fn miss(&mut self, t: u32, _: usize) {
        let (b1, b2) = (self.bytes(&[&self.b1]) as f64, self.bytes(&[&self.b2]) as f64);
        self.incoming = self.sizes.borrow()[t as usize];
        let size = self.page.bytes(self.incoming);
        self.from_b2 = self.b2.contains(&t);
        self.known = self.from_b2 || self.b1.contains(&t);
        if self.b1.contains(&t) {
            let delta = if b1 >= b2 { 1.0 } else { b2 / b1.max(1.0) };
            self.p = (self.p + delta * size).min(self.capacity as f64);
        } else if self.from_b2 {
            let delta = if b2 >= b1 { 1.0 } else { b1 / b2.max(1.0) };
            self.p = (self.p - delta * size).max(0.0);
        }
        let _ = take(&mut self.b1, t) || take(&mut self.b2, t);
    }
    fn insert(&mut self, t: u32, _: usize) {
        if self.known {
            self.t2.push_back(t)
        } else {
            self.t1.push_back(t)
        }
        self.incoming = 0;
        if self.page.kind < 2.0 {
            return;
        }
        while self.bytes(&[&self.t1, &self.b1]) > self.capacity && !self.b1.is_empty() {
            self.b1.pop_front();
        }
        while self.bytes(&[&self.t1, &self.t2, &self.b1, &self.b2]) > 2 * self.capacity && !self.b2.is_empty() {
            self.b2.pop_front();
        }
    }
    fn evict(&mut self) -> u32 {
        if self.page.kind < 2.0 && !self.known {
            // Case IV, one tensor at a time.
            if self.bytes(&[&self.t1, &self.b1]) + self.incoming > self.capacity {
                if self.b1.pop_front().is_none() && !self.t1.is_empty() {
                    return self.t1.pop_front().unwrap();
                }
            } else if self.bytes(&[&self.t1, &self.t2, &self.b1, &self.b2]) >= 2 * self.capacity {
                self.b2.pop_front();
            }
        }
        let t1 = self.bytes(&[&self.t1]) as f64;
        if !self.t1.is_empty() && (t1 > self.p || (self.from_b2 && t1 == self.p) || self.t2.is_empty()) {
            let t = self.t1.pop_front().unwrap();
            self.b1.push_back(t);
            t
        } else {
            let t = self.t2.pop_front().unwrap();
            self.b2.push_back(t);
            t
        }
    }
    fn remove(&mut self, t: u32) {
        assert!(take(&mut self.t1, t) || take(&mut self.t2, t));
    }
}

/// The published algorithm, case by case, for tensors that all have the size 1.
pub(super) struct PublishedArc {
    lists: [VecDeque<u32>; 4],
    p: f64,
    c: usize,
}

impl PublishedArc {
    /// Misses of `order` with room for `c`.
    pub(super) fn misses(order: &[u32], c: usize) -> u64 {
        let mut arc = Self { lists: Default::default(), p: 0.0, c };
        order.iter().map(|t| u64::from(!arc.access(*t))).sum()
    }

    fn replace(&mut self, in_b2: bool) {
        let [t1, t2, b1, b2] = &mut self.lists;
        let n = t1.len() as f64;
        if !t1.is_empty() && ((in_b2 && n == self.p) || n > self.p) {
            b1.push_back(t1.pop_front().unwrap());
        } else {
            b2.push_back(t2.pop_front().unwrap());
        }
    }

    fn access(&mut self, x: u32) -> bool {
        let [t1, t2, b1, b2] = &mut self.lists;
        let c = self.c as f64;
        if take(t1, x) || take(t2, x) {
            t2.push_back(x);
            return true;
        }
        if b1.contains(&x) {
            let delta = if b1.len() >= b2.len() { 1.0 } else { b2.len() as f64 / b1.len() as f64 };
            self.p = (self.p + delta).min(c);
            self.replace(false);
            take(&mut self.lists[2], x);
            self.lists[1].push_back(x);
        } else if b2.contains(&x) {
            let delta = if b2.len() >= b1.len() { 1.0 } else { b1.len() as f64 / b2.len() as f64 };
            self.p = (self.p - delta).max(0.0);
            self.replace(true);
            take(&mut self.lists[3], x);
            self.lists[1].push_back(x);
        } else {
            let total = t1.len() + t2.len() + b1.len() + b2.len();
            if t1.len() + b1.len() == self.c {
                if t1.len() < self.c {
                    b1.pop_front();
                    self.replace(false);
                } else {
                    t1.pop_front();
                }
            } else if total >= self.c {
                if total == 2 * self.c {
                    b2.pop_front();
                }
                self.replace(false);
            }
            self.lists[0].push_back(x);
        }
        false
    }
}

/// Stack, queue and ghosts as lists with the newest last.
struct NaiveLirs {
    stack: Vec<u32>,
    queue: Vec<u32>,
    low: Vec<u32>,
    ghosts: Vec<u32>,
    sizes: Sizes,
    capacity: u64,
    high_share: u64,
    stack_limit: Option<u64>,
}

impl NaiveLirs {
    fn tidy(&mut self) {
        while self.stack.first().is_some_and(|t| !self.low.contains(t)) {
            self.stack.remove(0);
        }
        self.ghosts.retain(|t| self.stack.contains(t));
    }
    fn limit(&mut self) {
        let Some(limit) = self.stack_limit else { return };
        while bytes_of(&self.sizes, &self.stack) > limit && !self.ghosts.is_empty() {
            let ghost = self.ghosts.remove(0);
            self.stack.retain(|x| *x != ghost);
        }
    }
    fn top(&mut self, t: u32) {
        self.stack.retain(|x| *x != t);
        self.stack.push(t);
    }
    fn demote(&mut self) {
        let bottom = self.stack.remove(0);
        self.low.retain(|x| *x != bottom);
        self.queue.push(bottom);
        self.tidy();
    }
    fn has_room(&self, t: u32) -> bool {
        let bytes = self.sizes.borrow()[t as usize];
        let room = self.capacity.saturating_sub(self.high_share.max(bytes));
        bytes_of(&self.sizes, &self.low) + bytes <= room
    }
    fn make_low(&mut self, t: u32) {
        for list in [&mut self.queue, &mut self.ghosts] {
            list.retain(|x| *x != t);
        }
        while !self.has_room(t) && !self.low.is_empty() {
            self.demote();
            // It is the last of the stack, and about to be low.
            self.stack.extend(Some(t).filter(|t| !self.stack.contains(t)));
        }
        self.low.push(t);
    }
}

impl Model for NaiveLirs {
    fn hit(&mut self, t: u32, _: usize) {
        let stacked = self.stack.contains(&t);
        self.top(t);
        if self.low.contains(&t) {
            self.tidy();
        } else if stacked {
            self.make_low(t);
        } else {
            self.queue.retain(|x| *x != t);
            self.queue.push(t);
            self.tidy();
            self.limit();
        }
    }
    fn insert(&mut self, t: u32, _: usize) {
        let remembered = self.stack.contains(&t);
        self.top(t);
        if remembered || self.has_room(t) {
            self.make_low(t);
        } else {
            self.queue.push(t);
            self.tidy();
        }
        self.limit();
    }
    fn evict(&mut self) -> u32 {
        if self.queue.is_empty() {
            self.demote();
        }
        let victim = self.queue.remove(0);
        if self.stack.contains(&victim) {
            self.ghosts.push(victim);
        }
        victim
    }
    fn remove(&mut self, t: u32) {
        for list in [&mut self.stack, &mut self.queue, &mut self.low] {
            list.retain(|x| *x != t);
        }
        self.tidy();
    }
}

/// Counters of four bits that share a table, or exact ones.
struct NaiveCounts {
    exact: bool,
    counters: BTreeMap<u64, u64>,
    size: u64,
    counted: f64,
    sample: f64,
}

impl NaiveCounts {
    /// Where the counters of a tensor are: SplitMix64 of its number and the row.
    fn places(&self, t: u32) -> Vec<u64> {
        if self.exact {
            return vec![u64::from(t)];
        }
        let place = |row: u64| {
            let mut hash = (u64::from(t) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(row << 32);
            hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (hash ^ (hash >> 31)) % (16 * self.size)
        };
        (0..4).map(place).collect()
    }
    fn uses(&self, t: u32) -> u64 {
        self.places(t).iter().map(|place| self.counters.get(place).copied().unwrap_or(0)).min().unwrap()
    }
    fn count(&mut self, t: u32) {
        for place in self.places(t) {
            let counter = self.counters.entry(place).or_insert(0);
            if self.exact || *counter < 15 {
                *counter += 1;
            }
        }
        self.counted += 1.0;
        if !self.exact && self.counted >= self.sample {
            self.counted = (self.counted / 2.0).floor();
            self.counters.values_mut().for_each(|counter| *counter /= 2);
        }
    }
}

struct NaiveWTinyLfu {
    window: VecDeque<u32>,
    probation: VecDeque<u32>,
    protected: VecDeque<u32>,
    counts: NaiveCounts,
    sizes: Sizes,
    capacity: u64,
    window_share: u64,
    protected_part: f64,
    protected_share: u64,
    incoming: u64,
    spills: bool,
    /// Hits and accesses of this step, and the hit ratio of the step before; the window's share and how it moves.
    period: Option<usize>,
    hits: usize,
    accesses: usize,
    before: f64,
    share: f64,
    step: f64,
}

impl NaiveWTinyLfu {
    fn bytes(&self, queue: &VecDeque<u32>) -> u64 {
        bytes_of(&self.sizes, queue)
    }
    fn divide(&mut self) {
        self.window_share = part(self.capacity, self.share);
        self.protected_share = part(self.capacity - self.window_share, self.protected_part);
    }
    fn climb(&mut self, hit: bool) {
        let Some(period) = self.period else { return };
        self.hits += usize::from(hit);
        self.accesses += 1;
        if self.accesses == period {
            let ratio = self.hits as f64 / period as f64;
            let change = ratio - self.before;
            if change < 0.0 {
                self.step = -self.step;
            }
            self.share = (self.share + self.step).clamp(0.0, 1.0);
            self.step *= if change.abs() >= 0.05 { 0.0625 / self.step.abs() } else { 0.98 };
            (self.hits, self.accesses, self.before) = (0, 0, ratio);
            self.divide();
        }
    }
    fn probation_share(&self) -> u64 {
        self.capacity - self.window_share - self.protected_share
    }
    fn victim(&self) -> Option<u32> {
        self.probation.front().or(self.protected.front()).copied()
    }
    fn hand_on(&mut self) -> u32 {
        loop {
            let Some(candidate) = self.window.pop_front() else { return self.victim().unwrap() };
            let bytes = self.sizes.borrow()[candidate as usize];
            let (probation, protected) = (self.bytes(&self.probation), self.bytes(&self.protected));
            let fits = probation + protected + bytes <= self.capacity - self.window_share;
            let victim = self.victim().filter(|_| !fits);
            let loses = !fits && victim.is_none_or(|v| self.counts.uses(candidate) <= self.counts.uses(v));
            self.counts.count(candidate);
            if loses {
                self.window.push_front(candidate);
                return candidate;
            }
            let room = [probation + bytes <= self.probation_share(), protected + bytes <= self.protected_share];
            if room == [false, true] {
                self.protected.push_back(candidate)
            } else {
                self.probation.push_back(candidate)
            }
            if let Some(victim) = victim {
                return victim;
            }
        }
    }
}

impl Model for NaiveWTinyLfu {
    fn hit(&mut self, t: u32, _: usize) {
        self.climb(true);
        let in_window = take(&mut self.window, t);
        if !(self.counts.exact && in_window) {
            self.counts.count(t);
        }
        if in_window {
            self.window.push_back(t);
            return;
        }
        assert!(take(&mut self.probation, t) || take(&mut self.protected, t));
        self.protected.push_back(t);
        while self.bytes(&self.protected) > self.protected_share && !self.protected.is_empty() {
            self.probation.push_back(self.protected.pop_front().unwrap());
            self.spills = self.counts.exact;
        }
    }
    fn miss(&mut self, t: u32, _: usize) {
        self.spills = self.crowded();
        self.climb(false);
        if !self.counts.exact {
            self.counts.count(t);
        }
        self.incoming = self.sizes.borrow()[t as usize];
    }
    fn insert(&mut self, t: u32, _: usize) {
        self.incoming = 0;
        if self.counts.exact {
            self.counts.count(t);
            self.window.push_back(t);
            return;
        }
        self.window.push_back(t);
        let used = self.bytes(&self.window) + self.bytes(&self.probation) + self.bytes(&self.protected);
        while used <= self.capacity && self.window.len() > 1 && self.bytes(&self.window) > self.window_share {
            self.probation.push_back(self.window.pop_front().unwrap());
        }
    }
    fn crowded(&self) -> bool {
        self.spills && self.bytes(&self.probation) > self.probation_share()
    }
    fn evict(&mut self) -> u32 {
        let loser = if self.counts.exact {
            if self.crowded() { self.probation[0] } else { self.hand_on() }
        } else {
            let alone = self.incoming == 0 && self.window.len() == 1;
            let overflows = !alone && self.bytes(&self.window) + self.incoming > self.window_share;
            let candidate = self.window.front().copied().filter(|_| overflows);
            match (candidate, self.victim()) {
                (Some(candidate), Some(victim)) if self.counts.uses(candidate) > self.counts.uses(victim) => {
                    self.window.pop_front();
                    self.probation.push_back(candidate);
                    victim
                }
                (Some(candidate), _) => candidate,
                (None, victim) => victim.unwrap_or_else(|| self.window[0]),
            }
        };
        self.remove(loser);
        loser
    }
    fn remove(&mut self, t: u32) {
        assert!(take(&mut self.window, t) || take(&mut self.probation, t) || take(&mut self.protected, t));
    }
}

#[derive(PartialEq)]
enum Heat {
    Hot,
    Cold,
    Ghost,
}

/// One tensor of the clock.
struct Hand {
    t: u32,
    heat: Heat,
    used: bool,
    tested: bool,
}

/// The clock begins where the hand of the hot ones is.
struct NaiveClockPro {
    clock: Vec<Hand>,
    /// Cold tensors in the order in which they became so.
    cold: VecDeque<u32>,
    share: u64,
    sizes: Sizes,
    capacity: u64,
    known: bool,
}

impl NaiveClockPro {
    fn size(&self, t: u32) -> u64 {
        self.sizes.borrow()[t as usize]
    }
    fn bytes(&self, heat: &Heat) -> u64 {
        self.clock.iter().filter(|x| x.heat == *heat).map(|x| self.size(x.t)).sum()
    }
    fn take(&mut self, t: u32) -> Hand {
        let at = self.clock.iter().position(|x| x.t == t).unwrap();
        self.clock.remove(at)
    }
    fn end_test(&mut self, at: usize) {
        let Hand { t, used, .. } = self.clock[at];
        self.clock[at].tested = false;
        if !used {
            self.share -= self.share.min(self.size(t));
        }
        if self.clock[at].heat == Heat::Ghost {
            self.clock.remove(at);
        }
    }
    fn test(&mut self, t: u32) {
        self.clock.push(Hand { t, heat: Heat::Cold, used: false, tested: true });
        self.cold.push_back(t);
    }
    fn heat(&mut self, t: u32) {
        self.share = self.capacity.min(self.share + self.size(t));
        self.clock.push(Hand { t, heat: Heat::Hot, used: false, tested: false });
        while self.bytes(&Heat::Hot) > self.capacity - self.share && self.cool() {}
    }
    fn cool(&mut self) -> bool {
        if self.clock.iter().all(|x| x.heat != Heat::Hot) {
            return false;
        }
        loop {
            if self.clock[0].tested {
                let ghost = self.clock[0].heat == Heat::Ghost;
                self.end_test(0);
                if ghost {
                    continue;
                }
            }
            let mut first = self.clock.remove(0);
            let cools = first.heat == Heat::Hot && !first.used;
            if cools {
                first.heat = Heat::Cold;
                self.cold.push_back(first.t);
            } else if first.heat == Heat::Hot {
                first.used = false;
            }
            self.clock.push(first);
            if cools {
                return true;
            }
        }
    }
}

impl Model for NaiveClockPro {
    fn hit(&mut self, t: u32, _: usize) {
        self.clock.iter_mut().find(|x| x.t == t).unwrap().used = true;
    }
    fn miss(&mut self, t: u32, _: usize) {
        self.known = self.clock.iter().any(|x| x.t == t);
        self.clock.retain(|x| x.t != t);
    }
    fn insert(&mut self, t: u32, _: usize) {
        if self.known { self.heat(t) } else { self.test(t) }
    }
    fn evict(&mut self) -> u32 {
        loop {
            let Some(t) = self.cold.pop_front() else {
                assert!(self.cool());
                continue;
            };
            let at = self.clock.iter().position(|x| x.t == t).unwrap();
            match (self.clock[at].used, self.clock[at].tested) {
                (true, true) => {
                    self.take(t);
                    self.heat(t);
                }
                (true, false) => {
                    self.take(t);
                    self.test(t);
                }
                (false, false) => return self.take(t).t,
                (false, true) => {
                    self.clock[at].heat = Heat::Ghost;
                    while self.bytes(&Heat::Ghost) > self.capacity {
                        let first = self.clock.iter().position(|x| x.tested).unwrap();
                        self.end_test(first);
                    }
                    return t;
                }
            }
        }
    }
    fn remove(&mut self, t: u32) {
        self.take(t);
        self.cold.retain(|x| *x != t);
    }
}

struct NaiveMockingjay {
    /// Tensor, time of the next use and of the last.
    residents: Vec<(u32, Option<usize>, usize)>,
    /// Distances by tensor and by size.
    own: BTreeMap<u32, i64>,
    by_size: BTreeMap<u32, i64>,
    /// The last use of each, within the window.
    used: BTreeMap<u32, usize>,
    sizes: Sizes,
    window: usize,
    now: usize,
}

impl NaiveMockingjay {
    fn class(&self, t: u32) -> u32 {
        self.sizes.borrow()[t as usize].checked_ilog2().map_or(0, |octave| octave + 1)
    }
    fn learn(prediction: &mut i64, seen: usize) {
        let error = seen as i64 - *prediction;
        *prediction += error.signum() * (error.abs() as f64 / 16.0).ceil() as i64;
    }
    fn note(&mut self, t: u32, now: usize) {
        self.now = now;
        let class = self.class(t);
        if let Some(before) = self.used.insert(t, now) {
            let seen = now - before;
            Self::learn(self.own.entry(t).or_insert(seen as i64), seen);
            Self::learn(self.by_size.entry(class).or_insert(seen as i64), seen);
        }
        let mut old: Vec<(usize, u32)> = self.used.iter().map(|(t, then)| (*then, *t)).collect();
        old.retain(|(then, _)| now - then >= self.window);
        old.sort_unstable();
        for (_, t) in old {
            let class = self.class(t);
            Self::learn(self.by_size.entry(class).or_insert(self.window as i64), self.window);
            if let Some(own) = self.own.get_mut(&t) {
                Self::learn(own, self.window);
            }
            self.used.remove(&t);
        }
    }
}

impl Model for NaiveMockingjay {
    fn hit(&mut self, t: u32, now: usize) {
        self.note(t, now);
        self.residents.retain(|r| r.0 != t);
        self.insert(t, now);
    }
    fn miss(&mut self, t: u32, now: usize) {
        self.note(t, now);
    }
    fn insert(&mut self, t: u32, now: usize) {
        let distance = self.own.get(&t).or(self.by_size.get(&self.class(t)));
        let next = match distance {
            None => Some(now + self.window),
            Some(distance) if *distance >= self.window as i64 => None,
            Some(distance) => Some(now + *distance as usize),
        };
        self.residents.push((t, next, now));
    }
    fn evict(&mut self) -> u32 {
        // How far from now, in which direction, and how long unused.
        let rank = |r: &(u32, Option<usize>, usize)| {
            let next = r.1.unwrap_or(usize::MAX);
            (next.abs_diff(self.now), next <= self.now, usize::MAX - r.2)
        };
        let at = (0..self.residents.len()).max_by_key(|at| rank(&self.residents[*at])).unwrap();
        self.residents.remove(at).0
    }
    fn remove(&mut self, t: u32) {
        self.residents.retain(|r| r.0 != t);
    }
}

/// About how many tensors fit.
fn entries(setup: &Setup<'_>) -> u64 {
    let bytes: u64 = setup.sizes.iter().sum();
    let count = setup.sizes.len() as u64;
    (setup.capacity_bytes * count / bytes.max(1)).clamp(1, count.max(1))
}

/// A shadow memory: its residents, the least recently used first, with their last uses, and what it missed.
#[derive(Default)]
struct NaiveShadow {
    residents: Vec<(u32, usize)>,
    misses: u64,
}

impl NaiveShadow {
    fn keeps(&self, t: u32) -> bool {
        self.residents.iter().any(|r| r.0 == t)
    }
    fn remove(&mut self, t: u32) {
        self.residents.retain(|r| r.0 != t);
    }
}

/// Two shadow memories, the first by predictions, and the residents by the time of their last change.
struct NaiveMlReuse {
    shadows: [NaiveShadow; 2],
    order: VecDeque<u32>,
    scores: Arc<[f64]>,
    sizes: Sizes,
    capacity: u64,
    admission: Admission,
}

impl NaiveMlReuse {
    /// |predicted next use - now|^2 x size, and what decides among equals.
    fn rank(&self, (t, used): (u32, usize), now: usize) -> (u128, u64, bool, i64) {
        let size = 1u64 << self.sizes.borrow()[t as usize].max(1).ilog2();
        let ahead = used as i64 + predicted_reuse_distance(self.scores[used]) as i64 - now as i64;
        let number = if ahead <= 0 { -i64::from(t) } else { i64::from(t) };
        (u128::from(ahead.unsigned_abs()).pow(2) * u128::from(size), size, ahead <= 0, number)
    }
    fn make_room(&mut self, which: usize, most: u64, now: usize) {
        loop {
            let residents = &self.shadows[which].residents;
            if residents.iter().map(|r| self.sizes.borrow()[r.0 as usize]).sum::<u64>() <= most {
                return;
            }
            let first = residents.iter().copied().max_by_key(|r| self.rank(*r, now));
            let victim = if which == 0 { first } else { residents.first().copied() }.unwrap().0;
            self.shadows[which].remove(victim);
            if take(&mut self.order, victim) {
                self.order.push_back(victim);
            }
        }
    }
    fn see(&mut self, t: u32, now: usize) {
        let bytes = self.sizes.borrow()[t as usize];
        for which in 0..2 {
            if !self.shadows[which].keeps(t) {
                self.shadows[which].misses += 1;
                if self.admission == Admission::Always {
                    self.make_room(which, self.capacity - bytes, now);
                }
            }
            self.shadows[which].remove(t);
            self.shadows[which].residents.push((t, now));
            self.make_room(which, self.capacity, now);
        }
    }
}

impl Model for NaiveMlReuse {
    fn hit(&mut self, t: u32, now: usize) {
        self.see(t, now);
        take(&mut self.order, t);
        self.order.push_back(t);
    }
    fn miss(&mut self, t: u32, now: usize) {
        self.see(t, now);
    }
    fn insert(&mut self, t: u32, _: usize) {
        self.order.push_back(t);
    }
    fn evict(&mut self) -> u32 {
        let better = usize::from(self.shadows[0].misses >= self.shadows[1].misses + 32);
        // Kept by neither, by the worse, by the better, by both; of these the one that changed first.
        let group =
            |t: &u32| usize::from(self.shadows[1 - better].keeps(*t)) + 2 * usize::from(self.shadows[better].keeps(*t));
        let victim = *self.order.iter().min_by_key(|t| group(t)).unwrap();
        take(&mut self.order, victim);
        victim
    }
    fn remove(&mut self, t: u32) {
        self.shadows.iter_mut().for_each(|shadow| shadow.remove(t));
        take(&mut self.order, t);
    }
    fn resize(&mut self, t: u32, bytes: u64) {
        if bytes > self.capacity {
            self.shadows.iter_mut().for_each(|shadow| shadow.remove(t));
        }
    }
}

/// The plain model of a policy; none where chance or an estimate decides, or where nobody has written one.
pub(super) fn model(
    policy: PolicySpec,
    setup: &Setup<'_>,
    future: &Arc<Future>,
    sizes: &Sizes,
) -> Option<Box<dyn Model>> {
    let (sizes, capacity) = (Rc::clone(sizes), setup.capacity_bytes);
    let ranked = |rank: Box<Rank>| -> Option<Box<dyn Model>> {
        Some(Box::new(Ranked { residents: Vec::new(), rank, age: 0.0, now: 0 }))
    };
    let leaves = |rank: Box<Rank>| -> Option<Box<dyn Model>> {
        let ranked = Ranked { residents: Vec::new(), rank, age: 0.0, now: 0 };
        Some(Box::new(Leaves { ranked, parents: setup.parents.to_vec() }))
    };
    let size = {
        let sizes = Rc::clone(&sizes);
        move |r: &Resident| sizes.borrow()[r.t as usize] as f64
    };
    let next = {
        let future = Arc::clone(future);
        move |r: &Resident| match future.next_use[r.used] {
            NEVER => f64::INFINITY,
            next => f64::from(next),
        }
    };
    let scores = setup.scores.unwrap().values.clone();
    let values = policy.values();
    match policy.kind() {
        PolicyKind::Lru => ranked(Box::new(|r, _| (r.used as f64, 0.0))),
        PolicyKind::Fifo => ranked(Box::new(|r, _| (r.inserted as f64, 0.0))),
        PolicyKind::Mru => ranked(Box::new(|r, _| (-(r.used as f64), 0.0))),
        PolicyKind::Lfu => ranked(Box::new(|r, _| (r.uses as f64, r.used as f64))),
        PolicyKind::Lfuda if values[0] == 0.0 => Some(Box::new(NaiveLfuda { residents: Vec::new(), age: 0 })),
        PolicyKind::Lfuda => ranked(Box::new(|r, _| (r.age + r.uses as f64, r.used as f64))),
        PolicyKind::Gdsf => ranked(Box::new(move |r, _| (r.age + r.uses as f64 / size(r), r.used as f64))),
        PolicyKind::Size => ranked(Box::new(move |r, _| (-size(r), r.used as f64))),
        PolicyKind::Ml => ranked(Box::new(move |r, _| (-scores[r.used], -(r.used as f64)))),
        PolicyKind::MlReuse => Some(Box::new(NaiveMlReuse {
            shadows: Default::default(),
            order: VecDeque::new(),
            scores,
            sizes,
            capacity,
            admission: setup.admission,
        })),
        PolicyKind::Belady => ranked(Box::new(move |r, _| (-next(r), -(r.used as f64)))),
        PolicyKind::BeladySize => ranked(Box::new(move |r, now| {
            // Whoever is not used again goes first, whatever its size.
            if next(r).is_infinite() {
                return (f64::NEG_INFINITY, -(r.used as f64));
            }
            (-(next(r) - now as f64) * size(r), f64::from(r.t))
        })),
        PolicyKind::Radix => leaves(Box::new(|r, _| (r.used as f64, 0.0))),
        PolicyKind::RadixCost => {
            let (sizes, parents) = (Rc::clone(&sizes), setup.parents.to_vec());
            leaves(Box::new(move |r, _| {
                let above = |t: &u32| parents.get(*t as usize).copied().filter(|parent| *parent != NO_PARENT);
                let path = std::iter::successors(Some(r.t), above);
                let bytes = (sizes.borrow()[r.t as usize] as f64).max(1.0);
                (r.age + r.uses as f64 * path.count() as f64 / bytes, r.used as f64)
            }))
        }
        PolicyKind::Clock => Some(Box::new(NaiveClock::default())),
        PolicyKind::Sieve => Some(Box::new(NaiveSieve::default())),
        PolicyKind::Slru => Some(Box::new(NaiveSlru {
            segments: vec![VecDeque::new(); values[0] as usize],
            sizes,
            share: capacity / values[0] as u64,
            lowest: values[1] == 1.0,
        })),
        PolicyKind::S3Fifo => Some(Box::new(NaiveS3Fifo {
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghost: VecDeque::new(),
            freq: BTreeMap::new(),
            sizes,
            small_share: part(capacity, values[0]),
            main_share: capacity - part(capacity, values[0]),
            ghost_share: part(capacity, values[1]),
            promotion: values[2] as u32,
            published: values[3] == 1.0,
            was_full: false,
            known: false,
        })),
        PolicyKind::LruK => Some(Box::new(NaiveLruK { residents: Vec::new(), k: values[0] as usize })),
        PolicyKind::QdLpFifo => Some(Box::new(NaiveQdLpFifo {
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghost: VecDeque::new(),
            uses: BTreeMap::new(),
            sizes,
            main_share: capacity - part(capacity, values[0]),
            ghost_share: part(capacity, values[1]),
            most: (1 << values[2] as u32) - 1,
            incoming: None,
        })),
        PolicyKind::Car => Some(Box::new(NaiveCar {
            lists: Default::default(),
            used: BTreeMap::new(),
            p: 0.0,
            page: NaivePage { kind: values[0], seen: Vec::new() },
            known: false,
            sizes,
            capacity,
        })),
        PolicyKind::ClockPro => Some(Box::new(NaiveClockPro {
            clock: Vec::new(),
            cold: VecDeque::new(),
            share: part(capacity, values[0]),
            sizes,
            capacity,
            known: false,
        })),
        PolicyKind::Mockingjay => Some(Box::new(NaiveMockingjay {
            residents: Vec::new(),
            own: BTreeMap::new(),
            by_size: BTreeMap::new(),
            used: BTreeMap::new(),
            sizes,
            window: (entries(setup) as f64 * values[0]).floor().max(1.0) as usize,
            now: 0,
        })),
        PolicyKind::TwoQ => Some(Box::new(NaiveTwoQ {
            newcomers: VecDeque::new(),
            out: VecDeque::new(),
            main: VecDeque::new(),
            sizes,
            in_share: part(capacity, values[0]),
            out_share: part(capacity, values[1]),
            known: false,
        })),
        PolicyKind::WTinyLfu => {
            let entries = entries(setup);
            let mut model = NaiveWTinyLfu {
                window: VecDeque::new(),
                probation: VecDeque::new(),
                protected: VecDeque::new(),
                counts: NaiveCounts {
                    exact: values[2] == 0.0,
                    counters: BTreeMap::new(),
                    size: entries.next_power_of_two(),
                    counted: 0.0,
                    sample: (entries as f64 * values[2]).floor().max(1.0),
                },
                sizes,
                capacity,
                window_share: 0,
                protected_part: values[1],
                protected_share: 0,
                incoming: 0,
                spills: false,
                period: (values[3] == 1.0).then_some(10 * entries as usize),
                hits: 0,
                accesses: 0,
                before: 0.0,
                share: values[0],
                step: -0.0625,
            };
            model.divide();
            Some(Box::new(model))
        }
        PolicyKind::Arc => Some(Box::new(NaiveArc {
            t1: VecDeque::new(),
            t2: VecDeque::new(),
            b1: VecDeque::new(),
            b2: VecDeque::new(),
            p: 0.0,
            from_b2: false,
            page: NaivePage { kind: values[0], seen: Vec::new() },
            known: false,
            incoming: 0,
            sizes,
            capacity,
        })),
        PolicyKind::Lirs => Some(Box::new(NaiveLirs {
            stack: Vec::new(),
            queue: Vec::new(),
            low: Vec::new(),
            ghosts: Vec::new(),
            sizes,
            capacity,
            high_share: part(capacity, values[0]),
            stack_limit: (values[1] > 0.0).then(|| part(capacity, values[1])),
        })),
        _ => None,
    }
}
