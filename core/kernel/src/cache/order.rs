//! In which order an iteration of a pass touches its lines.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::meter::Meter;
use super::plan::{CachePlan, PlanLoop, Step};
use super::run::{cursors, each_round};
use super::stream::Stream;
use accel_ground::error::Error;

/// Iterations kept for the lines next to each other that hang on them: a window ends in two passes, and there are few.
const MOST_KEPT: usize = 16;

/// The loop that a pass is, and where it begins; none for a single touch.
pub(super) type Origin<'p, 'a> = Option<(&'p PlanLoop<'a>, Vec<i64>)>;

/// The lines of an iteration.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Each once, in the order of their first touches.
    firsts: Vec<u64>,
    /// Each once, from the last one touched backwards.
    lasts: Vec<u64>,
    /// Where each stands in both.
    places: FxHashMap<u64, [usize; 2]>,
}

impl Order {
    fn of(touches: &[u64]) -> Self {
        let mut own = Self::default();
        for line in touches {
            own.places.entry(*line).or_insert_with(|| {
                own.firsts.push(*line);
                [own.firsts.len() - 1, usize::MAX]
            });
        }
        for line in touches.iter().rev() {
            if let Some([_, last]) = own.places.get_mut(line)
                && *last == usize::MAX
            {
                *last = own.lasts.len();
                own.lasts.push(*line);
            }
        }
        own
    }

    /// The lines touched before `line` is touched first; all where it is not.
    pub(super) fn before(&self, line: u64) -> &[u64] {
        let end = self.places.get(&line).map_or(self.firsts.len(), |[first, _]| *first);
        self.firsts.get(..end).unwrap_or_default()
    }

    /// The lines touched after `line` is touched last; all where it is not.
    pub(super) fn after(&self, line: u64) -> &[u64] {
        let end = self.places.get(&line).map_or(self.lasts.len(), |[_, last]| *last);
        self.lasts.get(..end).unwrap_or_default()
    }

    /// Whether `other` is among [`Self::before`] of `line`.
    pub(super) fn is_before(&self, other: u64, line: u64) -> bool {
        let end = self.places.get(&line).map_or(usize::MAX, |[first, _]| *first);
        self.places.get(&other).is_some_and(|[first, _]| *first < end)
    }
}

/// Iterations that were looked at: the number of the pass, that of the iteration, and its order.
#[derive(Debug, Default)]
pub(super) struct Orders {
    kept: Vec<(u64, u64, Rc<Order>)>,
}

impl Orders {
    /// The order within iteration `round` of pass `number`.
    pub(super) fn order(
        &mut self,
        plan: &CachePlan<'_>,
        (number, stream, origin): (u64, &Stream, &Origin<'_, '_>),
        round: u64,
        meter: &mut Meter<'_>,
    ) -> Result<Rc<Order>, Error> {
        if let Some((.., order)) = self.kept.iter().find(|(own, at, _)| (*own, *at) == (number, round)) {
            return Ok(Rc::clone(order));
        }
        let mut lines = Vec::new();
        if let Some((l, values)) = origin {
            let mut values = values.clone();
            if let Some(var) = values.get_mut(l.var) {
                *var = var.wrapping_add(l.step.wrapping_mul(round as i64));
            }
            walk(plan, &l.body, &mut values, &mut lines, meter)?;
        } else {
            lines.extend(stream.windows().iter().map(|window| stream.touched(window).0));
        }
        let order = Rc::new(Order::of(&lines));
        if self.kept.len() >= MOST_KEPT {
            self.kept.remove(0);
        }
        self.kept.push((number, round, Rc::clone(&order)));
        Ok(order)
    }
}

fn walk(
    plan: &CachePlan<'_>,
    steps: &[Step<'_>],
    values: &mut Vec<i64>,
    lines: &mut Vec<u64>,
    meter: &mut Meter<'_>,
) -> Result<(), Error> {
    for step in steps {
        meter.spend(1)?;
        match step {
            Step::Loop(l) => {
                let (first, rounds) = plan.rounds(l, values)?;
                if l.straight && rounds > 0 {
                    if let Some(var) = values.get_mut(l.var) {
                        *var = first;
                    }
                    let mut runs = Vec::new();
                    cursors(l, values, |_| true, &mut runs);
                    each_round(plan, &mut runs, (0, rounds), |runs, _| {
                        meter.spend(runs.len() as u64)?;
                        // Further iterations at the same lines change neither what comes first nor what comes last.
                        lines.extend(runs.iter().map(|run| run.line));
                        Ok(())
                    })?;
                    continue;
                }
                for round in 0..rounds {
                    if let Some(var) = values.get_mut(l.var) {
                        *var = first.wrapping_add(l.step.wrapping_mul(round as i64));
                    }
                    walk(plan, &l.body, values, lines, meter)?;
                }
            }
            Step::Branch(branch) => walk(plan, plan.arm(branch, values)?, values, lines, meter)?,
            Step::Touch(touch) => lines.push(plan.line(touch, values)?),
        }
    }
    Ok(())
}
