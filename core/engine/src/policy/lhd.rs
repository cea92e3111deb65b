//! LHD (Beckmann, Chen and Cidon, "LHD: Improving Cache Hit Rate by Maximizing Hit Density", NSDI 2018), with the
//! constants of its authors' code.

use super::{Parameter, Policy, Setup};
use crate::error::Error;
use crate::rng::Rng;

/// Classes of tensors by how long ago their last two uses were, on a logarithmic scale.
const CLASSES: usize = 16;
/// Ages are told apart up to here.
const AGES: usize = 20_000;
/// What one update of the densities keeps of what was seen before.
const DECAY: f32 = 0.9;
/// Accesses from one update to the next.
const UPDATE: u32 = 1 << 20;
/// Accesses that count as one step of age, as a power of two, until the number of residents is known.
const FIRST_SHIFT: u32 = 10;
/// The share of the age scale that one resident's step may be wrong by.
const TOLERANCE: f32 = 0.01;
/// One in so many uses makes a tensor an explorer, which stays for its class to be learned, within a share of the
/// capacity, and until so many updates are done.
const EXPLORERS: u32 = 32;
const EXPLORER_SHARE: f64 = 0.01;
const LEARNED: u32 = 50;
/// Residents drawn for an eviction until then.
const FIRST_DRAWS: usize = 8;
/// The newcomers of little worth that are looked at besides.
const NEWCOMERS: usize = 8;

#[derive(Debug, Clone, Copy, Default)]
struct Tag {
    /// The access of the last use.
    used: u64,
    last_age: u32,
    age_before: u32,
    explorer: bool,
    resident: bool,
    /// Where it stands among the residents.
    place: u32,
}

#[derive(Debug)]
struct Class {
    hits: Vec<f32>,
    evictions: Vec<f32>,
    densities: Vec<f32>,
}

/// Of some residents drawn by chance, evicts the one with the least hit density: hits expected per access that it
/// still stays, and per byte, as others of its class and age have had them.
#[derive(Debug)]
pub struct Lhd {
    residents: Vec<u32>,
    tags: Vec<Tag>,
    sizes: Vec<u64>,
    classes: Vec<Class>,
    newcomers: [Option<u32>; NEWCOMERS],
    next_newcomer: usize,
    victims_density: f32,
    explorer_bytes: i64,
    now: u64,
    until_update: u32,
    updates: u32,
    shift: u32,
    mean_residents: (f32, f32),
    draws: usize,
    rng: Rng,
}

impl Lhd {
    fn age(&self, tag: &Tag) -> usize {
        ((self.now - tag.used) >> self.shift).min(AGES as u64 - 1) as usize
    }

    /// The class of a tensor: the shorter ago its last uses were, the higher.
    fn class(tag: &Tag) -> usize {
        let age = tag.last_age as usize + tag.age_before as usize;
        if age == 0 {
            return CLASSES - 1;
        }
        (0..CLASSES - 1).find(|class| age << class >= AGES).unwrap_or(CLASSES - 1)
    }

    fn density(&self, tensor: u32) -> f32 {
        let tag = &self.tags[tensor as usize];
        let age = self.age(tag);
        if age == AGES - 1 {
            return f32::MIN;
        }
        let density = self.classes[Self::class(tag)].densities[age] / self.sizes[tensor as usize].max(1) as f32;
        if tag.explorer { density + 1.0 } else { density }
    }

    /// Notes a use; whether the tensor has become an explorer.
    fn use_now(&mut self, tensor: u32) -> bool {
        let explore = self.rng.below(EXPLORERS) == 0;
        let bytes = i64::try_from(self.sizes[tensor as usize]).unwrap_or(i64::MAX);
        let tag = &mut self.tags[tensor as usize];
        tag.used = self.now;
        tag.explorer = explore && self.explorer_bytes > 0 && self.updates < LEARNED;
        if tag.explorer {
            self.explorer_bytes = self.explorer_bytes.saturating_sub(bytes);
        }
        explore
    }

    fn end_explorer(&mut self, tensor: u32) {
        if std::mem::take(&mut self.tags[tensor as usize].explorer) {
            let bytes = i64::try_from(self.sizes[tensor as usize]).unwrap_or(i64::MAX);
            self.explorer_bytes = self.explorer_bytes.saturating_add(bytes);
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        self.until_update -= 1;
        if self.until_update == 0 {
            self.until_update = UPDATE;
            self.update();
            self.updates += 1;
        }
    }

    fn update(&mut self) {
        for class in &mut self.classes {
            class.hits.iter_mut().chain(&mut class.evictions).for_each(|count| *count *= DECAY);
        }
        self.adapt_ages();
        for class in &mut self.classes {
            let (mut hits, mut events, mut lifetime) = (0.0, 0.0, 0.0);
            for age in (0..AGES).rev() {
                hits += class.hits[age];
                events += class.hits[age] + class.evictions[age];
                lifetime += events;
                if age < AGES - 1 {
                    class.densities[age] = if events > 1e-5 { hits / lifetime } else { 0.0 };
                }
            }
        }
    }

    /// Twice in a run, the scale of ages is fitted to the number of residents.
    fn adapt_ages(&mut self) {
        let (sum, weight) = self.mean_residents;
        self.mean_residents = (sum * DECAY + self.residents.len() as f32, weight * DECAY + 1.0);
        if self.updates != 5 && self.updates != 25 {
            return;
        }
        let wanted = self.mean_residents.0 / self.mean_residents.1 / (TOLERANCE * AGES as f32);
        let shift = (1..32).find(|shift| (1u64 << shift) as f32 >= wanted).unwrap_or(31);
        let before = std::mem::replace(&mut self.shift, shift);
        self.mean_residents = (self.mean_residents.0 * 8.0, self.mean_residents.1 * 8.0);
        for class in &mut self.classes {
            rescale(&mut class.hits, before, shift);
            rescale(&mut class.evictions, before, shift);
        }
    }
}

/// Counts by age, in steps of 2^`before` accesses, in steps of 2^`after`; what is older than all falls to the last.
fn rescale(counts: &mut Vec<f32>, before: u32, after: u32) {
    let mut scaled = vec![0.0; AGES];
    for (age, count) in counts.iter().enumerate().take(AGES - 1) {
        if after >= before {
            scaled[age >> (after - before)] += count;
        } else {
            let times = 1usize << (before - after);
            for part in 0..times {
                scaled[(age * times + part).min(AGES - 1)] += count / times as f32;
            }
        }
    }
    scaled[AGES - 1] += counts[AGES - 1];
    *counts = scaled;
}

impl Policy for Lhd {
    const PARAMETERS: &'static [Parameter] = &[Parameter::count(
        "draws",
        32.0,
        [1.0, 1024.0],
        "residents drawn for each eviction, once densities are learned",
    )];

    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let [draws, ..] = setup.values::<Self>();
        // Before anything is learned, it is about GDSF.
        let class = |class: usize| Class {
            hits: vec![0.0; AGES],
            evictions: vec![0.0; AGES],
            densities: (0..AGES).map(|age| (class + CLASSES + 1) as f32 / (age + 1) as f32).collect(),
        };
        Ok(Self {
            residents: Vec::new(),
            tags: vec![Tag::default(); setup.sizes.len()],
            sizes: setup.sizes.to_vec(),
            classes: (0..CLASSES).map(class).collect(),
            newcomers: [None; NEWCOMERS],
            next_newcomer: 0,
            victims_density: 0.0,
            explorer_bytes: i64::try_from(setup.share(EXPLORER_SHARE)).unwrap_or(i64::MAX),
            now: 0,
            until_update: UPDATE,
            updates: 0,
            shift: FIRST_SHIFT,
            mean_residents: (0.0, 0.0),
            draws: draws as usize,
            rng: Rng::new(setup.seed, "lhd"),
        })
    }

    fn hit(&mut self, tensor: u32, _now: usize) {
        let tag = self.tags[tensor as usize];
        let age = self.age(&tag);
        self.classes[Self::class(&tag)].hits[age] += 1.0;
        self.end_explorer(tensor);
        let tag = &mut self.tags[tensor as usize];
        (tag.age_before, tag.last_age) = (tag.last_age, age as u32);
        self.use_now(tensor);
        self.tick();
    }

    fn insert(&mut self, tensor: u32, _now: usize) {
        let place = self.residents.len() as u32;
        self.residents.push(tensor);
        self.tags[tensor as usize] = Tag { age_before: AGES as u32, resident: true, place, ..Tag::default() };
        let explore = self.use_now(tensor);
        if !explore && self.density(tensor) < self.victims_density {
            self.newcomers[self.next_newcomer % NEWCOMERS] = Some(tensor);
            self.next_newcomer += 1;
        }
        self.tick();
    }

    fn evict(&mut self) -> Option<u32> {
        let draws = if self.updates > LEARNED { self.draws } else { FIRST_DRAWS.min(self.draws) };
        let mut best: Option<(f32, u32)> = None;
        for at in 0..draws + NEWCOMERS {
            let drawn = match at.checked_sub(draws) {
                None => self.residents.get(self.rng.below(self.residents.len() as u32) as usize).copied(),
                Some(newcomer) => self.newcomers[newcomer].filter(|tensor| self.tags[*tensor as usize].resident),
            };
            let Some(tensor) = drawn else { continue };
            let density = self.density(tensor);
            if best.is_none_or(|(least, _)| density < least) {
                best = Some((density, tensor));
            }
        }
        let (density, victim) = best?;
        self.victims_density = DECAY * self.victims_density + (1.0 - DECAY) * density;
        let tag = self.tags[victim as usize];
        let age = self.age(&tag);
        self.classes[Self::class(&tag)].evictions[age] += 1.0;
        self.remove(victim);
        Some(victim)
    }

    fn remove(&mut self, tensor: u32) {
        self.end_explorer(tensor);
        let tag = &mut self.tags[tensor as usize];
        tag.resident = false;
        let place = tag.place;
        self.residents.swap_remove(place as usize);
        if let Some(moved) = self.residents.get(place as usize) {
            self.tags[*moved as usize].place = place;
        }
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.end_explorer(tensor);
        self.sizes[tensor as usize] = bytes;
    }
}
