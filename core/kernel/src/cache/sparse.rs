//! The first or the last touches of lines, without most of the others.
//!
//! Most rounds touch nothing new: where a loop neither moves an access nor decides whether it happens, all its rounds
//! touch what the first one did. So to meet each line's first touch, each access is followed through the first
//! iterations of such loops only; and through the last rounds to meet each line's last touch. Touches come in the order
//! of the program, some that are neither first nor last among them.

use super::plan::{CachePlan, Depths, Kind, PlanLoop, Step, Touch};
use super::run::{Cursor, cursors};
use accel_ground::error::Error;

/// Which touches are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The first of each line; where asked, subscripts are checked to lie within their arrays.
    First {
        /// Whether they are.
        check: bool,
    },
    /// The last of each line.
    Last,
}

/// Hears of the touches.
pub(super) trait Visitor {
    /// A step of the walk, whether or not it comes to a touch.
    fn step(&mut self) -> Result<(), Error>;
    /// A touch.
    fn touch(&mut self, touch: &Touch<'_>, line: u64) -> Result<(), Error>;
    /// The touches of so many iterations.
    fn runs(&mut self, plan: &CachePlan<'_>, runs: &mut [Cursor], rounds: u64) -> Result<(), Error>;
}

/// The walk.
#[derive(Debug)]
pub(super) struct Sparse<'p, 'a, 'v, V> {
    plan: &'p CachePlan<'a>,
    values: Vec<i64>,
    turn: Turn,
    visitor: &'v mut V,
    /// Kept for its memory.
    cursors: Vec<Cursor>,
}

/// Whether a touch may be looked for while the loops `past` are past their first iterations, or before their last.
fn alive(kind: Kind, past: Depths) -> bool {
    past & !kind.mentions == 0
}

fn any_alive(l: &PlanLoop<'_>, past: Depths) -> bool {
    l.kinds.iter().any(|kind| alive(*kind, past))
}

impl<'p, 'a, 'v, V: Visitor> Sparse<'p, 'a, 'v, V> {
    /// A walk that starts where `values` hold.
    pub(super) fn new(plan: &'p CachePlan<'a>, values: Vec<i64>, turn: Turn, visitor: &'v mut V) -> Self {
        Self { plan, values, turn, visitor, cursors: Vec::new() }
    }

    /// The values where it ended.
    pub(super) fn into_values(self) -> Vec<i64> {
        self.values
    }

    /// Walks `steps` while the loops `past` are in other iterations than those that are looked at.
    pub(super) fn steps(&mut self, steps: &'p [Step<'a>], past: Depths) -> Result<(), Error> {
        for step in steps {
            match step {
                Step::Loop(l) if any_alive(l, past) => self.repeat(l, past)?,
                Step::Branch(branch) => {
                    self.visitor.step()?;
                    let arm = self.plan.arm(branch, &self.values)?;
                    self.steps(arm, past)?;
                }
                Step::Touch(touch) if alive(touch.kind, past) => {
                    self.check(touch)?;
                    let line = self.plan.line(touch, &self.values)?;
                    self.visitor.touch(touch, line)?;
                }
                Step::Loop(_) | Step::Touch(_) => {}
            }
        }
        Ok(())
    }

    fn checks(&self) -> bool {
        self.turn == Turn::First { check: true }
    }

    fn check(&mut self, touch: &Touch<'_>) -> Result<(), Error> {
        if touch.doubtful && self.checks() { self.plan.check(touch, &self.values) } else { Ok(()) }
    }

    fn set(&mut self, l: &PlanLoop<'_>, first: i64, round: u64) {
        if let Some(var) = self.values.get_mut(l.var) {
            *var = first.wrapping_add(l.step.wrapping_mul(round as i64));
        }
    }

    /// The iteration of `rounds` in which all touches are looked for.
    fn own_round(&self, rounds: u64) -> u64 {
        if self.turn == Turn::Last { rounds - 1 } else { 0 }
    }

    pub(super) fn repeat(&mut self, l: &'p PlanLoop<'a>, past: Depths) -> Result<(), Error> {
        self.visitor.step()?;
        let (first, rounds) = self.plan.rounds(l, &self.values)?;
        if rounds == 0 {
            return Ok(());
        }
        if l.straight {
            return self.straight(l, first, rounds, past);
        }
        let own = self.own_round(rounds);
        if self.turn == Turn::Last {
            self.others(l, first, rounds, past | l.depth)?;
        }
        self.set(l, first, own);
        self.steps(&l.body, past)?;
        if self.turn != Turn::Last {
            self.others(l, first, rounds, past | l.depth)?;
        }
        Ok(())
    }

    /// The iterations in which not all touches are looked for.
    fn others(&mut self, l: &'p PlanLoop<'a>, first: i64, rounds: u64, past: Depths) -> Result<(), Error> {
        if rounds == 1 || !any_alive(l, past) {
            return Ok(());
        }
        let own = self.own_round(rounds);
        self.set(l, first, 0);
        if let Some(mut runs) = self.flat(l, past)? {
            // The own iteration of the first touches comes twice, which adds nothing.
            self.visitor.runs(self.plan, &mut runs, if own == 0 { rounds } else { own })?;
            self.cursors = runs;
            return Ok(());
        }
        for round in (0..rounds).filter(|round| *round != own) {
            self.set(l, first, round);
            self.steps(&l.body, past)?;
        }
        Ok(())
    }

    /// The accesses that are looked for in other iterations of `l`, where none of them mentions a loop further in: then
    /// the loops within do not matter, and `l` is as good as straight.
    fn flat(&mut self, l: &'p PlanLoop<'a>, past: Depths) -> Result<Option<Vec<Cursor>>, Error> {
        let further_in = !(l.depth | (l.depth - 1));
        let mut kinds = l.kinds.iter().filter(|kind| alive(**kind, past));
        if kinds.any(|kind| kind.domain & l.depth != 0 || kind.mentions & further_in != 0) {
            return Ok(None);
        }
        let mut runs = std::mem::take(&mut self.cursors);
        runs.clear();
        if self.flatten(l, &l.body, past, &mut runs)? {
            return Ok(Some(runs));
        }
        self.cursors = runs;
        Ok(None)
    }

    /// Collects the accesses of `steps` in the own iterations of the loops within; false where one is not even.
    fn flatten(
        &mut self,
        l: &'p PlanLoop<'a>,
        steps: &'p [Step<'a>],
        past: Depths,
        runs: &mut Vec<Cursor>,
    ) -> Result<bool, Error> {
        for step in steps {
            let even = match step {
                Step::Loop(inner) if any_alive(inner, past) => {
                    let (first, rounds) = self.plan.rounds(inner, &self.values)?;
                    if rounds > 0 {
                        self.set(inner, first, self.own_round(rounds));
                    }
                    rounds == 0 || self.flatten(l, &inner.body, past, runs)?
                }
                Step::Branch(branch) => {
                    let arm = self.plan.arm(branch, &self.values)?;
                    self.flatten(l, arm, past, runs)?
                }
                Step::Touch(touch) if alive(touch.kind, past) => {
                    let run = Cursor::new(touch, l.var, l.step, &self.values);
                    let run = run.filter(|_| !touch.doubtful || !self.checks());
                    runs.extend(run);
                    run.is_some()
                }
                Step::Loop(_) | Step::Touch(_) => true,
            };
            if !even {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn straight(&mut self, l: &'p PlanLoop<'a>, first: i64, rounds: u64, past: Depths) -> Result<(), Error> {
        // Subscripts that move evenly are within the array all the way if they are at both ends.
        for round in [rounds - 1, 0] {
            self.set(l, first, round);
            for step in l.body.iter().filter(|_| l.doubtful) {
                if let Step::Touch(touch) = step {
                    self.check(touch)?;
                }
            }
        }
        let mut runs = std::mem::take(&mut self.cursors);
        cursors(l, &self.values, |touch| alive(touch.kind, past), &mut runs);
        self.visitor.runs(self.plan, &mut runs, rounds)?;
        self.cursors = runs;
        Ok(())
    }
}
