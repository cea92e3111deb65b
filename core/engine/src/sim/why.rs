//! Why a policy missed: what it evicted, when that was needed next, and who would have been the better victim.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Observer;
use crate::memory::Reload;
use crate::order;
use crate::policy::Setup;
use crate::score::reason::reasons;
use crate::score::{Scores, predicted_reuse_distance};
use crate::trace::reuse::{Future, NEVER, TimeSet};
use crate::trace::{Kind, Trace};

/// What was predicted of a tensor at its last use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The access that used it last.
    pub last_use: u64,
    /// The score of that access, from 0 (used again at once) to 1 (not within any time that matters).
    pub score: f64,
    /// The access that was to use it again, as `ml-reuse` reads the score; none where none was to.
    pub next_use: Option<u64>,
    /// What the score rests on, in words.
    pub reason: String,
    /// Whether it was not asked: `ml-reuse` followed LRU, which was ahead.
    pub distrusted: bool,
}

/// Rows of the lists of the worst evictions and the costliest tensors, at most.
pub const ROWS: usize = 10;

/// One eviction, next to the best victim at that moment: the resident whose next use was farthest away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Eviction {
    /// The access that needed the room.
    pub access: u64,
    /// Who was evicted.
    pub tensor: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The access that needs it next; none where it is not used again.
    pub next_use: Option<u64>,
    /// The resident (or the newcomer, where it may be bypassed) whose next use is farthest away.
    pub best_tensor: String,
    /// Its size in bytes.
    pub best_bytes: u64,
    /// The access that needs it next.
    pub best_next_use: Option<u64>,
    /// Time to load the evicted tensor again less that to load the best victim again, each only where it is used
    /// again, in ms. Not positive where the difference is one of time alone; none where nothing counts time.
    pub cost_ms: Option<f64>,
    /// Accesses by which the evicted tensor is needed sooner than the best victim, until the end where that is not
    /// needed again.
    pub sooner_by: u64,
    /// What the policy's scores said of the evicted tensor; none where it reads none.
    pub prediction: Option<Prediction>,
}

/// What happened to the tensors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindSummary {
    /// The kind.
    pub kind: Kind,
    /// Tensors of this kind.
    pub tensors: u64,
    /// Their accesses: hits + misses.
    pub accesses: u64,
    /// Accesses that found their tensor resident.
    pub hits: u64,
    /// Accesses that did not.
    pub misses: u64,
    /// Bytes of the misses.
    pub miss_bytes: u64,
    /// Evictions.
    pub evictions: u64,
    /// Evictions of tensors that were used again.
    pub evicted_too_early: u64,
}

/// What happened to one tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSummary {
    /// Its name.
    pub tensor: String,
    /// Its size in bytes; where it changes, at its last use.
    pub bytes: u64,
    /// Its accesses: hits + misses.
    pub accesses: u64,
    /// Accesses that did not find it resident.
    pub misses: u64,
    /// Bytes of the misses.
    pub miss_bytes: u64,
    /// How often it was evicted.
    pub evictions: u64,
}

/// What happened to the tensors of one family: those whose names differ only in numbers, such as `layer 3 attention` and
/// `layer 17 attention`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilySummary {
    /// Their name, with `*` for each number.
    pub family: String,
    /// Their kind: that of the first.
    pub kind: Kind,
    /// Tensors.
    pub tensors: u64,
    /// Their accesses: hits + misses.
    pub accesses: u64,
    /// Accesses that did not find their tensor resident.
    pub misses: u64,
    /// Bytes of the misses.
    pub miss_bytes: u64,
    /// Evictions.
    pub evictions: u64,
    /// Evictions of tensors that were used again.
    pub evicted_too_early: u64,
}

/// Families of a trace, at most; the other tensors are taken together.
pub const FAMILIES: usize = 40;

/// Why a policy missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// Evictions of tensors that were used again.
    pub evicted_too_early: u64,
    /// Evictions of the best victim there was, or of another that was needed no sooner.
    pub best_choices: u64,
    /// By kind of tensor.
    pub kinds: Vec<KindSummary>,
    /// By family of tensors, the one that costs the most bytes first.
    pub families: Vec<FamilySummary>,
    /// The tensors that cost the most bytes.
    pub tensors: Vec<TensorSummary>,
    /// The evictions that gave away the most space-time: size x accesses by which it was needed sooner.
    pub worst: Vec<Eviction>,
}

/// Which evictions are asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Caused by these accesses.
    pub accesses: Range<usize>,
    /// Of these tensors, or of all.
    pub tensors: Option<Vec<bool>>,
    /// At most so many, the worst.
    pub most: usize,
}

impl Asked {
    fn covers(&self, case: &Case) -> bool {
        let of = |tensors: &Vec<bool>| tensors.get(case.tensor as usize).is_some_and(|asked| *asked);
        self.accesses.contains(&case.access) && self.tensors.as_ref().is_none_or(of)
    }
}

/// An eviction in numbers.
#[derive(Debug, Clone, Copy)]
struct Case {
    lost: u128,
    access: usize,
    tensor: u32,
    bytes: u64,
    best: u32,
    best_bytes: u64,
    next_use: u32,
    best_next_use: u32,
    last_use: u32,
    distrusted: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    miss_bytes: u64,
    misses: u32,
    evictions: u32,
    too_early: u32,
}

/// Marks a tensor that is not among those done with.
const NOT_DONE: u32 = u32::MAX;

/// Keeps the next uses of what is resident, to know the best victim at each eviction.
#[derive(Debug)]
pub(super) struct Watcher {
    future: Arc<Future>,
    sizes: Vec<u64>,
    next_uses: TimeSet,
    /// The next use of each resident.
    next: Vec<u32>,
    /// Residents that are not used again, and where each stands.
    done: Vec<u32>,
    places: Vec<u32>,
    tallies: Vec<Tally>,
    best_choices: u64,
    /// The worst cases, by falling loss.
    worst: Vec<Case>,
    /// The evictions that are kept; where none are asked for, the worst.
    asked: Option<Asked>,
    reload: Option<Reload>,
    /// The scores that the policy reads.
    scores: Option<Scores>,
    /// The last use of each tensor.
    last: Vec<u32>,
    /// Whether the policy does not follow them now.
    distrusted: bool,
    now: usize,
    /// The last access that missed.
    missed: Option<usize>,
}

impl Watcher {
    pub(super) fn new(setup: &Setup<'_>, future: &Arc<Future>, reload: Option<Reload>, asked: Option<Asked>) -> Self {
        let tensors = setup.sizes.len();
        let reads_scores = setup.policy.is_some_and(|policy| policy.info().scored());
        Self {
            next_uses: TimeSet::new(future.next_use.len()),
            future: Arc::clone(future),
            sizes: setup.sizes.to_vec(),
            next: vec![NEVER; tensors],
            done: Vec::new(),
            places: vec![NOT_DONE; tensors],
            tallies: vec![Tally::default(); tensors],
            best_choices: 0,
            worst: Vec::new(),
            asked,
            reload,
            scores: setup.scores.filter(|_| reads_scores).cloned(),
            last: vec![0; tensors],
            distrusted: false,
            now: 0,
            missed: None,
        }
    }

    /// A resident was used.
    fn used(&mut self, tensor: u32, now: usize) {
        self.now = now;
        self.last[tensor as usize] = now as u32;
        let next = self.future.next_use[now];
        self.next[tensor as usize] = next;
        if next == NEVER {
            self.places[tensor as usize] = self.done.len() as u32;
            self.done.push(tensor);
        } else {
            self.next_uses.insert(next);
        }
    }

    /// The resident whose next use is farthest away, and that use.
    fn best(&self) -> Option<(u32, u32)> {
        if let Some(tensor) = self.done.last() {
            return Some((*tensor, NEVER));
        }
        // Uses that came true stay in the set: every resident's next use lies behind them.
        let farthest = self.next_uses.last().filter(|next| *next as usize > self.now)?;
        Some((self.future.order[farthest as usize], farthest))
    }

    fn left(&mut self, tensor: u32) {
        match std::mem::replace(&mut self.places[tensor as usize], NOT_DONE) {
            NOT_DONE => self.next_uses.remove(self.next[tensor as usize]),
            place => {
                self.done.swap_remove(place as usize);
                if let Some(moved) = self.done.get(place as usize) {
                    self.places[*moved as usize] = place;
                }
            }
        }
    }

    fn keep(&mut self, case: Case) {
        let most = match &self.asked {
            Some(asked) if !asked.covers(&case) => return,
            Some(asked) => asked.most,
            None if case.lost == 0 => return,
            None => ROWS,
        };
        if self.worst.len() == most && self.worst.last().is_some_and(|last| last.lost >= case.lost) {
            return;
        }
        let at = self.worst.partition_point(|other| other.lost >= case.lost);
        self.worst.insert(at, case);
        self.worst.truncate(most);
    }

    fn describe(&self, case: &Case, prediction: Option<Prediction>, trace: &Trace) -> Eviction {
        let name = |t: u32| trace.tensors()[t as usize].name.clone();
        let when = |next: u32| (next != NEVER).then_some(u64::from(next));
        let cost = |reload: Reload| {
            let again = |bytes: u64, next: u32| if next == NEVER { 0.0 } else { reload.ms(bytes) };
            again(case.bytes, case.next_use) - again(case.best_bytes, case.best_next_use)
        };
        Eviction {
            access: case.access as u64,
            tensor: name(case.tensor),
            bytes: case.bytes,
            next_use: when(case.next_use),
            best_tensor: name(case.best),
            best_bytes: case.best_bytes,
            best_next_use: when(case.best_next_use),
            cost_ms: self.reload.map(cost),
            sooner_by: self.sooner_by(case.next_use, case.best_next_use),
            prediction,
        }
    }

    /// What was predicted of the tensors of `cases`.
    fn predictions(&self, cases: &[&Case], trace: &Trace) -> Vec<Option<Prediction>> {
        let Some(scores) = self.scores.as_ref().filter(|_| !cases.is_empty()) else { return vec![None; cases.len()] };
        let last_uses: Vec<u32> = cases.iter().map(|case| case.last_use).collect();
        let of_case = |(case, reason): (&&Case, String)| {
            let (last_use, score) = (u64::from(case.last_use), scores.values[case.last_use as usize]);
            let next_use = (score < 1.0).then(|| last_use + predicted_reuse_distance(score));
            Some(Prediction { last_use, score, next_use, reason, distrusted: case.distrusted })
        };
        cases.iter().zip(reasons(trace, scores.scorer, &last_uses)).map(of_case).collect()
    }

    /// Accesses between two next uses; "never" counts as the end of the trace.
    fn sooner_by(&self, next: u32, best: u32) -> u64 {
        let end = self.future.order.len() as u64;
        let at = |next: u32| if next == NEVER { end } else { u64::from(next) };
        at(best).saturating_sub(at(next))
    }

    fn families(&self, trace: &Trace, uses: &[u64]) -> Vec<FamilySummary> {
        let (mut families, mut places) = (Vec::<FamilySummary>::new(), BTreeMap::<String, usize>::new());
        let mut name = String::new();
        for ((tensor, tally), uses) in trace.tensors().iter().zip(&self.tallies).zip(uses) {
            family_of(&tensor.name, &mut name);
            let place = places.get(&name).copied().unwrap_or_else(|| {
                // Names without a pattern would make a family of each tensor.
                if families.len() + 1 >= FAMILIES {
                    name.clear();
                    name.push_str("others");
                }
                *places.entry(name.clone()).or_insert_with(|| {
                    families.push(FamilySummary {
                        family: name.clone(),
                        kind: tensor.kind,
                        tensors: 0,
                        accesses: 0,
                        misses: 0,
                        miss_bytes: 0,
                        evictions: 0,
                        evicted_too_early: 0,
                    });
                    families.len() - 1
                })
            });
            let sum = &mut families[place];
            sum.tensors += 1;
            sum.accesses += uses;
            sum.misses += u64::from(tally.misses);
            sum.miss_bytes += tally.miss_bytes;
            sum.evictions += u64::from(tally.evictions);
            sum.evicted_too_early += u64::from(tally.too_early);
        }
        let order = order::by_key(families.iter().map(|family| u64::MAX - family.miss_bytes));
        order.into_iter().map(|place| families[place as usize].clone()).collect()
    }

    pub(super) fn finish(self, trace: &Trace) -> Why {
        // The greatest loss first.
        let gains = self.worst.iter().map(|case| u128::MAX - case.lost);
        let worst = order::by_two_keys(&gains.map(|gain| ((gain >> 64) as u64, gain as u64)).collect::<Vec<_>>());
        let mut uses = vec![0u64; self.sizes.len()];
        trace.accesses().iter().for_each(|t| uses[*t as usize] += 1);
        let mut kinds: Vec<KindSummary> = Vec::new();
        for kind in Kind::ALL {
            let mut sum = KindSummary {
                kind,
                tensors: 0,
                accesses: 0,
                hits: 0,
                misses: 0,
                miss_bytes: 0,
                evictions: 0,
                evicted_too_early: 0,
            };
            for ((tensor, tally), uses) in trace.tensors().iter().zip(&self.tallies).zip(&uses) {
                if tensor.kind == kind {
                    sum.tensors += 1;
                    sum.accesses += uses;
                    sum.misses += u64::from(tally.misses);
                    sum.miss_bytes += tally.miss_bytes;
                    sum.evictions += u64::from(tally.evictions);
                    sum.evicted_too_early += u64::from(tally.too_early);
                }
            }
            sum.hits = sum.accesses - sum.misses;
            if sum.tensors > 0 {
                kinds.push(sum);
            }
        }
        let families = self.families(trace, &uses);
        let cost = |t: u32| self.tallies[t as usize].miss_bytes;
        // The greatest first.
        let mut costly: Vec<u32> = Vec::with_capacity(ROWS + 1);
        for t in 0..self.sizes.len() as u32 {
            let at = costly.partition_point(|other| cost(*other) >= cost(t));
            if at < ROWS {
                costly.insert(at, t);
                costly.truncate(ROWS);
            }
        }
        let summary = |t: u32| {
            let Tally { misses, evictions, .. } = self.tallies[t as usize];
            TensorSummary {
                tensor: trace.tensors()[t as usize].name.clone(),
                bytes: self.sizes[t as usize],
                accesses: uses[t as usize],
                misses: misses.into(),
                miss_bytes: cost(t),
                evictions: evictions.into(),
            }
        };
        let worst: Vec<&Case> = worst.into_iter().map(|case| &self.worst[case as usize]).collect();
        let predictions = self.predictions(&worst, trace);
        let described = |(case, prediction)| self.describe(case, prediction, trace);
        Why {
            evicted_too_early: self.tallies.iter().map(|t| u64::from(t.too_early)).sum(),
            best_choices: self.best_choices,
            kinds,
            families,
            tensors: costly.into_iter().map(summary).collect(),
            worst: worst.into_iter().zip(predictions).map(described).collect(),
        }
    }
}

/// Puts into `family` the name of the family of a tensor: its own with `*` for each number.
fn family_of(name: &str, family: &mut String) {
    family.clear();
    let mut in_number = false;
    for letter in name.chars() {
        let digit = letter.is_ascii_digit();
        if !digit {
            family.push(letter);
        } else if !in_number {
            family.push('*');
        }
        in_number = digit;
    }
}

impl Observer for Watcher {
    fn hit(&mut self, now: usize, tensor: u32, _bytes: u64) {
        self.used(tensor, now);
    }

    fn miss(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.now = now;
        self.missed = Some(now);
        let tally = &mut self.tallies[tensor as usize];
        tally.misses += 1;
        tally.miss_bytes += bytes;
    }

    fn insert(&mut self, now: usize, tensor: u32, _bytes: u64) {
        self.used(tensor, now);
    }

    fn resize(&mut self, _now: usize, tensor: u32, _before: u64, bytes: u64, _resident: bool) {
        self.sizes[tensor as usize] = bytes;
    }

    /// Nobody chose it.
    fn expire(&mut self, _now: usize, tensor: u32, _bytes: u64) {
        self.left(tensor);
    }

    fn evict(&mut self, now: usize, tensor: u32, bytes: u64) {
        let next_use = self.next[tensor as usize];
        let (best, best_next_use) = self.best().unwrap_or((tensor, next_use));
        self.left(tensor);
        let tally = &mut self.tallies[tensor as usize];
        // A newcomer that passes by is not an eviction, but may be a worse choice than one.
        let evicted = self.missed != Some(now) || self.future.order[now] != tensor;
        tally.evictions += u32::from(evicted);
        tally.too_early += u32::from(evicted && next_use != NEVER);
        let sooner_by = self.sooner_by(next_use, best_next_use);
        self.best_choices += u64::from(evicted && sooner_by == 0);
        let lost = u128::from(bytes) * u128::from(sooner_by);
        let best_bytes = self.sizes[best as usize];
        let (last_use, distrusted) = (self.last[tensor as usize], self.distrusted);
        self.keep(Case {
            lost,
            access: now,
            tensor,
            bytes,
            best,
            best_bytes,
            next_use,
            best_next_use,
            last_use,
            distrusted,
        });
    }

    fn distrust(&mut self) -> Option<&mut bool> {
        self.scores.is_some().then_some(&mut self.distrusted)
    }
}
