//! Short streams are kept, and run through a cache line by line.

use rustc_hash::FxHashMap;

use super::lru::Lru;
use super::plan::{CachePlan, PlanLoop, Step};
use super::totals::Totals;
use accel_ground::error::Error;

/// Longer streams are replayed without being kept.
pub(super) const MAX_ACCESSES: usize = 200_000;

/// All accesses, in order.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Lines, numbered in the order of their first touch.
    lines: Vec<u32>,
    sites: Vec<Site>,
    numbers: FxHashMap<u64, u32>,
}

#[derive(Debug, Clone, Copy)]
struct Site {
    source: u32,
    write: bool,
}

impl Stream {
    /// The accesses of `plan`; none if there are too many.
    pub(super) fn of(plan: &CachePlan<'_>) -> Result<Option<Self>, Error> {
        // Far more than there can be, if no condition leaves most of them out.
        if most_accesses(&plan.steps) > 16 * MAX_ACCESSES as u64 {
            return Ok(None);
        }
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
            if *left == 0 || self.lines.len() > MAX_ACCESSES {
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
                    self.lines.push(*self.numbers.entry(line).or_insert(new));
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
    pub(super) fn run(&self, plan: &CachePlan<'_>, capacity: u64) -> Totals {
        let mut totals = Totals { misses: vec![0; plan.sources.len()], write_backs: 0 };
        let mut cache = Lru::new(usize::try_from(capacity).unwrap_or(usize::MAX), self.numbers.len() as u64);
        for (line, site) in self.lines.iter().zip(&self.sites) {
            // The array of a line matters to those who shift lines.
            let touched = cache.touch(u64::from(*line), 0, site.write);
            totals.write_backs += u128::from(touched.changed);
            if touched.missed
                && let Some(misses) = totals.misses.get_mut(site.source as usize)
            {
                *misses += 1;
            }
        }
        totals
    }
}

/// How many accesses there are at most.
fn most_accesses(steps: &[Step<'_>]) -> u64 {
    let of = |step: &Step<'_>| match step {
        Step::Loop(l) => l.most.saturating_mul(most_accesses(&l.body)),
        Step::Branch(branch) => most_accesses(&branch.then).max(most_accesses(&branch.otherwise)),
        Step::Touch(_) => 1,
    };
    steps.iter().map(of).fold(0, u64::saturating_add)
}
