//! Short streams go through the project's own engine, line by line.

use rustc_hash::FxHashMap;

use super::plan::{CachePlan, PlanLoop, Step};
use super::totals::Totals;
use accel_core::error::Error;
use accel_core::policy::Setup;
use accel_core::policy::lru::Lru;
use accel_core::sim::{Engine, Observer};

/// Longer streams are replayed without being kept.
pub(super) const MAX_ACCESSES: usize = 1_000_000;

/// All accesses, in order.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Lines, numbered in the order of their first touch.
    tensors: Vec<u32>,
    sites: Vec<Site>,
    numbers: FxHashMap<u64, u32>,
}

#[derive(Debug, Clone, Copy)]
struct Site {
    source: u32,
    write: bool,
}

struct Counter<'s> {
    sites: &'s [Site],
    dirty: Vec<bool>,
    totals: Totals,
}

impl Stream {
    /// The accesses of `plan`; none if there are too many.
    pub(super) fn of(plan: &CachePlan<'_>) -> Result<Option<Self>, Error> {
        let mut stream = Self::default();
        // Loops around conditions that never hold end too.
        let mut steps = 4 * MAX_ACCESSES;
        let whole = stream.steps(plan, &plan.steps, &mut plan.values.clone(), &mut steps)?;
        Ok(whole.then_some(stream))
    }

    fn steps(
        &mut self,
        plan: &CachePlan<'_>,
        steps: &[Step<'_>],
        values: &mut [i64],
        left: &mut usize,
    ) -> Result<bool, Error> {
        for step in steps {
            *left = left.saturating_sub(1);
            if *left == 0 || self.tensors.len() > MAX_ACCESSES {
                return Ok(false);
            }
            match step {
                Step::Loop(l) => {
                    if !self.repeat(plan, l, values, left)? {
                        return Ok(false);
                    }
                }
                Step::Branch(branch) => {
                    let arm = plan.arm(branch, values)?;
                    if !self.steps(plan, arm, values, left)? {
                        return Ok(false);
                    }
                }
                Step::Touch(touch) => {
                    let line = plan.line(touch, values)?;
                    let new = self.numbers.len() as u32;
                    self.tensors.push(*self.numbers.entry(line).or_insert(new));
                    self.sites.push(Site { source: touch.source, write: touch.write });
                }
            }
        }
        Ok(true)
    }

    fn repeat(
        &mut self,
        plan: &CachePlan<'_>,
        l: &PlanLoop<'_>,
        values: &mut [i64],
        left: &mut usize,
    ) -> Result<bool, Error> {
        let (first, rounds) = plan.rounds(l, values)?;
        for round in 0..rounds {
            if let Some(var) = values.get_mut(l.var) {
                *var = first.wrapping_add(l.step.wrapping_mul(round as i64));
            }
            if !self.steps(plan, &l.body, values, left)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What happens in a cache of `capacity` lines.
    pub(super) fn run(&self, plan: &CachePlan<'_>, capacity: u64) -> Result<Totals, Error> {
        let sizes = vec![plan.line_bytes; self.numbers.len()];
        let mut engine: Engine<Lru> = Engine::new(&Setup::new(&sizes, capacity.saturating_mul(plan.line_bytes)))?;
        let totals = Totals { misses: vec![0; plan.sources.len()], write_backs: 0 };
        let mut counter = Counter { sites: &self.sites, dirty: vec![false; sizes.len()], totals };
        engine.advance(&self.tensors, 0, &mut counter);
        let dirty = counter.dirty.iter().filter(|dirty| **dirty).count() as u128;
        let Totals { misses, write_backs } = counter.totals;
        Ok(Totals { misses, write_backs: write_backs + dirty })
    }
}

impl Counter<'_> {
    fn used(&mut self, now: usize, tensor: u32) {
        let write = self.sites.get(now).is_some_and(|site| site.write);
        if let Some(dirty) = self.dirty.get_mut(tensor as usize) {
            *dirty |= write;
        }
    }
}

impl Observer for Counter<'_> {
    fn hit(&mut self, now: usize, tensor: u32, _bytes: u64) {
        self.used(now, tensor);
    }

    fn miss(&mut self, now: usize, _tensor: u32, _bytes: u64) {
        let source = self.sites.get(now).map(|site| site.source as usize);
        if let Some(misses) = source.and_then(|source| self.totals.misses.get_mut(source)) {
            *misses += 1;
        }
    }

    fn insert(&mut self, now: usize, tensor: u32, _bytes: u64) {
        self.used(now, tensor);
    }

    fn evict(&mut self, _now: usize, tensor: u32, _bytes: u64) {
        if let Some(dirty) = self.dirty.get_mut(tensor as usize) {
            self.totals.write_backs += u128::from(std::mem::take(dirty));
        }
    }
}
