//! The way for streams too long to replay: random accesses, from each of which the stream is followed backwards until
//! the same line comes, or more other lines than the cache holds.
//!
//! A walk that finds neither within its share of the work leaves it open whether the access missed; the interval then
//! holds both.
//!
//! Positions are drawn from the box around the loops, so that nothing need be counted: one that the loops never reach
//! is a draw without a miss. Accesses of a straight loop that touch the line of the iteration before cannot miss, so
//! only the first touches of lines are drawn there.

use rustc_hash::FxHashSet;

use super::meter::{Meter, too_long};
use super::plan::{Address, CachePlan, PlanBranch, PlanLoop, Step, Touch};
use super::run::{Cursor, cursors, each_round, reverse};
use super::totals::Totals;
use accel_ground::error::Error;
use accel_ground::rng::Rng;

/// Draws that show how much of the box the loops reach.
const POSITION_DRAWS: u32 = 2000;
/// With fewer of them in the loops, the box says too little.
const LEAST_REACHED: u64 = 100;
/// Draws of the first batch, however far each is followed; each batch after it has twice as many.
const FIRST_BATCH: u64 = 32;
/// No more batches once so many were drawn.
const MAX_DRAWS: u64 = 1 << 17;
/// Standard deviations that hold 99 % of a normal distribution.
const DEVIATIONS: f64 = 2.576;

/// What a sample says of the whole.
#[derive(Debug)]
pub(super) struct Sample {
    /// Positions drawn.
    pub(super) drawn: u64,
    /// Of them, those not followed to their end.
    pub(super) open: u64,
    /// Between which numbers misses of both kinds lie with 99 % confidence.
    pub(super) range: [f64; 2],
    pub(super) write_backs: f64,
    /// Misses by index into [`CachePlan::sources`].
    pub(super) by_source: Vec<f64>,
}

/// Where a step stands: its index, and the arm of a branch in which to go on.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: usize,
    then: bool,
}

/// An access of the program, and how many positions its box has.
#[derive(Debug)]
struct Site<'p, 'a> {
    touch: &'p Touch<'a>,
    path: Vec<Place>,
    positions: f64,
}

/// All accesses, with the positions up to the end of each.
#[derive(Debug)]
struct Sites<'p, 'a> {
    sites: Vec<Site<'p, 'a>>,
    ends: Vec<f64>,
}

impl<'p, 'a> Sites<'p, 'a> {
    fn of(plan: &'p CachePlan<'a>, capacity: u64) -> Self {
        let mut sites = Vec::new();
        collect(plan, &plan.steps, capacity, 1.0, &mut Vec::new(), &mut sites);
        let add = |end: &mut f64, site: &Site<'_, '_>| {
            *end += site.positions;
            Some(*end)
        };
        let ends = sites.iter().scan(0.0, add).collect();
        Self { sites, ends }
    }

    fn positions(&self) -> f64 {
        self.ends.last().copied().unwrap_or_default()
    }

    fn draw(&self, rng: &mut Rng) -> Option<&Site<'p, 'a>> {
        let at = rng.unit() * self.positions();
        self.sites.get(self.ends.partition_point(|end| *end <= at))
    }
}

/// What a batch of draws found.
#[derive(Debug, Clone)]
struct Found {
    drawn: u64,
    /// Not followed to their end, by index into [`CachePlan::sources`].
    open: Vec<u64>,
    misses: Vec<u64>,
    write_backs: u64,
}

/// Why following the stream ends.
enum Stop {
    /// All is known.
    Known,
    /// The walk has taken its share of the work.
    Open,
    /// It cannot go on.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Sample {
    /// What is expected without drawing, and by how much the misses may be off.
    pub(super) fn expected(totals: &Totals, spread: f64) -> Self {
        let by_source: Vec<f64> = totals.misses.iter().map(|misses| *misses as f64).collect();
        let all: f64 = by_source.iter().sum();
        let range = [all - spread, all + spread];
        Self { drawn: 0, open: 0, range, write_backs: totals.write_backs as f64, by_source }
    }

    /// About how many positions the program comes to: no replay without skipping touches fewer lines.
    pub(super) fn positions(plan: &CachePlan<'_>, capacity: u64, meter: &mut Meter<'_>) -> Result<f64, Error> {
        let sites = Sites::of(plan, capacity);
        let mut rng = Rng::new(0, "kernel positions");
        let mut reached = 0;
        for _ in 0..POSITION_DRAWS {
            if let Some(site) = sites.draw(&mut rng) {
                reached += u64::from(
                    BackwardWalk::new(plan, capacity, false, u64::MAX, meter).seek(site, &mut rng)?.is_some(),
                );
            }
        }
        // From a few hits nothing follows.
        let reached = if reached < LEAST_REACHED { 0 } else { reached };
        Ok(sites.positions() * reached as f64 / POSITION_DRAWS as f64)
    }

    pub(super) fn take(plan: &CachePlan<'_>, capacity: u64, meter: &mut Meter<'_>) -> Result<Self, Error> {
        let sites = Sites::of(plan, capacity);
        let mut found = Found::of(0, plan);
        // Half of the work is enough for the first batch, whatever it meets.
        let share = meter.left() / (2 * FIRST_BATCH);
        let mut rng = Rng::new(0, "kernel sample");
        let mut batch = FIRST_BATCH;
        // A batch is begun only where it will probably end, so that what ends it is not what it finds.
        while found.drawn < MAX_DRAWS && meter.spent() / found.drawn.max(1) * batch * 2 < meter.left() {
            match draw(plan, &sites, (capacity, share), batch, &mut rng, meter) {
                Ok(more) => found.add(&more),
                Err(Error::TooLarge { .. }) if found.drawn > 0 => break,
                Err(error) => return Err(error),
            }
            batch *= 2;
        }
        if found.drawn == 0 {
            return Err(too_long());
        }
        Ok(found.of_all(sites.positions()))
    }
}

impl Found {
    fn of(drawn: u64, plan: &CachePlan<'_>) -> Self {
        let none = vec![0; plan.sources.len()];
        Self { drawn, open: none.clone(), misses: none, write_backs: 0 }
    }

    fn add(&mut self, more: &Self) {
        self.drawn += more.drawn;
        self.write_backs += more.write_backs;
        for (own, more) in [(&mut self.misses, &more.misses), (&mut self.open, &more.open)] {
            own.iter_mut().zip(more).for_each(|(own, more)| *own += more);
        }
    }

    /// What it means for `positions` in all.
    fn of_all(&self, positions: f64) -> Sample {
        let scale = positions / self.drawn as f64;
        let open = self.open.iter().sum();
        let (missed, unknown) = (self.misses.iter().sum::<u64>() as f64, open as f64);
        let drawn = self.drawn as f64;
        let range = [interval(missed, drawn)[0], interval(missed + unknown, drawn)[1]];
        Sample {
            drawn: self.drawn,
            open,
            range: range.map(|share| share * positions),
            write_backs: self.write_backs as f64 * scale,
            // One that was not followed to its end is as likely a hit.
            by_source: (self.misses.iter().zip(&self.open))
                .map(|(misses, open)| (*misses as f64 + *open as f64 / 2.0) * scale)
                .collect(),
        }
    }
}

/// The share behind `hits` of `draws`, with 99 % confidence (Wilson, "Probable Inference, the Law of Succession, and
/// Statistical Inference", 1927).
fn interval(hits: f64, draws: f64) -> [f64; 2] {
    let (share, z2) = (hits / draws, DEVIATIONS * DEVIATIONS);
    let middle = share + z2 / (2.0 * draws);
    let half = DEVIATIONS * (share * (1.0 - share) / draws + z2 / (4.0 * draws * draws)).sqrt();
    [middle - half, middle + half].map(|end| (end / (1.0 + z2 / draws)).clamp(0.0, 1.0))
}

/// Collects the accesses of `steps`, around which the loops have `positions` rounds together.
fn collect<'p, 'a>(
    plan: &CachePlan<'_>,
    steps: &'p [Step<'a>],
    capacity: u64,
    positions: f64,
    path: &mut Vec<Place>,
    sites: &mut Vec<Site<'p, 'a>>,
) {
    for (index, step) in steps.iter().enumerate() {
        path.push(Place { index, then: true });
        match step {
            Step::Loop(l) if l.straight => {
                for (inner, step) in l.body.iter().enumerate() {
                    if let Step::Touch(touch) = step {
                        let positions = positions * most_visits(plan, l, touch, capacity) as f64;
                        let path = path.iter().copied().chain([Place { index: inner, then: true }]).collect();
                        sites.push(Site { touch, path, positions });
                    }
                }
            }
            Step::Loop(l) => collect(plan, &l.body, capacity, positions * l.most as f64, path, sites),
            Step::Branch(branch) => {
                collect(plan, &branch.then, capacity, positions, path, sites);
                if let Some(place) = path.last_mut() {
                    place.then = false;
                }
                collect(plan, &branch.otherwise, capacity, positions, path, sites);
            }
            Step::Touch(touch) => sites.push(Site { touch, path: path.clone(), positions }),
        }
        path.pop();
    }
}

/// Whether a cache holds all lines of an iteration, so that a line touched again in the next iteration is a hit.
fn holds_round(l: &PlanLoop<'_>, capacity: u64) -> bool {
    l.body.len() as u64 <= capacity
}

/// How many lines `touch` goes to in one run of `l`, at most.
fn most_visits(plan: &CachePlan<'_>, l: &PlanLoop<'_>, touch: &Touch<'_>, capacity: u64) -> u64 {
    let Address::Even(even) = &touch.address else { return l.most };
    if !holds_round(l, capacity) {
        return l.most;
    }
    let bytes = u128::from(even.by(l.var).wrapping_mul(l.step).unsigned_abs()) * u128::from(l.most - 1);
    u64::try_from(bytes / u128::from(plan.line_bytes) + 2).unwrap_or(u64::MAX).min(l.most)
}

fn draw<'a>(
    plan: &CachePlan<'a>,
    sites: &Sites<'_, 'a>,
    (capacity, share): (u64, u64),
    batch: u64,
    rng: &mut Rng,
    meter: &mut Meter<'_>,
) -> Result<Found, Error> {
    let mut found = Found::of(batch, plan);
    for _ in 0..batch {
        let Some(site) = sites.draw(rng) else { continue };
        let mut walk = BackwardWalk::new(plan, capacity, site.touch.write, share, meter);
        let Some(rounds) = walk.seek(site, rng)? else { continue };
        match walk.before(&plan.steps, &site.path, &rounds) {
            Ok(()) | Err(Stop::Known) => {}
            Err(Stop::Open) if walk.missed.is_none() => {
                if let Some(open) = found.open.get_mut(site.touch.source as usize) {
                    *open += 1;
                }
                continue;
            }
            // Whether it missed is known; whether its line was changed before is taken as it looks.
            Err(Stop::Open) => {}
            Err(Stop::Failed(error)) => return Err(error),
        }
        // Nothing before it means that its line was never there.
        let missed = walk.missed.unwrap_or(true);
        if let Some(misses) = found.misses.get_mut(site.touch.source as usize).filter(|_| missed) {
            *misses += 1;
        }
        found.write_backs += u64::from(site.touch.write && walk.first_write);
    }
    Ok(found)
}

/// Follows the stream backwards.
#[derive(Debug)]
struct BackwardWalk<'p, 'a, 'm> {
    plan: &'p CachePlan<'a>,
    capacity: u64,
    values: Vec<i64>,
    /// The line that was drawn, and whether it was written.
    line: u64,
    write: bool,
    /// Other lines since it came last.
    others: FxHashSet<u64>,
    /// Whether the access drawn missed, once that is known.
    missed: Option<bool>,
    /// Whether the line was not written to since it came in: then this write will bring it back once.
    first_write: bool,
    /// Work that the walk may still take.
    left: u64,
    meter: &'p mut Meter<'m>,
}

impl<'p, 'a, 'm> BackwardWalk<'p, 'a, 'm> {
    fn new(plan: &'p CachePlan<'a>, capacity: u64, write: bool, left: u64, meter: &'p mut Meter<'m>) -> Self {
        let (values, others) = (plan.values.clone(), FxHashSet::default());
        Self { plan, capacity, values, line: 0, write, others, missed: None, first_write: true, left, meter }
    }

    /// Takes a step of the walk.
    fn step(&mut self) -> Result<(), Stop> {
        self.meter.spend(1)?;
        self.left = self.left.checked_sub(1).ok_or(Stop::Open)?;
        Ok(())
    }

    /// Draws a position of `site`: the iteration of each loop on its path; none where the program never comes there.
    fn seek(&mut self, site: &Site<'_, 'a>, rng: &mut Rng) -> Result<Option<Vec<u64>>, Error> {
        self.meter.spend(1 + self.values.len() as u64 / 16)?;
        let mut below = |bound: u64| ((rng.unit() * bound as f64) as u64).min(bound.saturating_sub(1));
        let mut rounds = Vec::with_capacity(site.path.len());
        let plan = self.plan;
        let mut steps: &[Step<'a>] = &plan.steps;
        for place in &site.path {
            match steps.get(place.index) {
                Some(Step::Loop(l)) => {
                    let (first, count) = plan.rounds(l, &self.values)?;
                    let mut round =
                        below(if l.straight { most_visits(plan, l, site.touch, self.capacity) } else { l.most });
                    if l.straight && holds_round(l, self.capacity) && count > 0 {
                        self.set(l, first, 0);
                        let cursor = Cursor::new(site.touch, l.var, l.step, &self.values);
                        match cursor.and_then(|cursor| cursor.round_of(round, count, plan.line_bytes)) {
                            Some(start) => round = start,
                            None => return Ok(None),
                        }
                    }
                    if round >= count {
                        return Ok(None);
                    }
                    self.set(l, first, round);
                    rounds.push(round);
                    steps = &l.body;
                }
                Some(Step::Branch(branch)) => {
                    if plan.holds(branch, &self.values)? != place.then {
                        return Ok(None);
                    }
                    rounds.push(0);
                    steps = arm(branch, place.then);
                }
                Some(Step::Touch(touch)) => {
                    rounds.push(0);
                    self.line = plan.line(touch, &self.values)?;
                }
                None => return Ok(None),
            }
        }
        Ok(Some(rounds))
    }

    fn set(&mut self, l: &PlanLoop<'_>, first: i64, round: u64) {
        if let Some(var) = self.values.get_mut(l.var) {
            *var = first.wrapping_add(l.step.wrapping_mul(round as i64));
        }
    }

    /// All that happens in `steps` before the position, last first.
    fn before(&mut self, steps: &'p [Step<'a>], path: &[Place], rounds: &[u64]) -> Result<(), Stop> {
        let (Some((place, path)), Some((round, rounds))) = (path.split_first(), rounds.split_first()) else {
            return Ok(());
        };
        match steps.get(place.index) {
            Some(Step::Loop(l)) if l.straight => {
                let first = self.plan.rounds(l, &self.values)?.0;
                self.straight_before(l, first, *round, path.first().map_or(0, |place| place.index))?;
            }
            Some(Step::Loop(l)) => {
                self.before(&l.body, path, rounds)?;
                let first = self.plan.rounds(l, &self.values)?.0;
                self.rounds(l, first, *round)?;
            }
            Some(Step::Branch(branch)) => self.before(arm(branch, place.then), path, rounds)?,
            Some(Step::Touch(_)) | None => {}
        }
        self.all(steps.get(..place.index).unwrap_or_default())
    }

    /// All of `steps`, last first.
    fn all(&mut self, steps: &'p [Step<'a>]) -> Result<(), Stop> {
        for step in steps.iter().rev() {
            match step {
                Step::Loop(l) => {
                    self.step()?;
                    let (first, rounds) = self.plan.rounds(l, &self.values)?;
                    if l.straight {
                        self.straight_before(l, first, rounds, 0)?;
                    } else {
                        self.rounds(l, first, rounds)?;
                    }
                }
                Step::Branch(branch) => {
                    self.step()?;
                    let holds = self.plan.holds(branch, &self.values)?;
                    self.all(arm(branch, holds))?;
                }
                Step::Touch(touch) => {
                    self.meter.spend(touch.evaluation())?;
                    let line = self.plan.line(touch, &self.values)?;
                    self.see(line, touch.write)?;
                }
            }
        }
        Ok(())
    }

    /// The iterations of `l` below `to`, last first.
    fn rounds(&mut self, l: &'p PlanLoop<'a>, first: i64, to: u64) -> Result<(), Stop> {
        for round in (0..to).rev() {
            self.set(l, first, round);
            self.all(&l.body)?;
        }
        Ok(())
    }

    /// The first accesses of iteration `round` of a straight loop, and the iterations below it, last first.
    fn straight_before(&mut self, l: &'p PlanLoop<'a>, first: i64, round: u64, accesses: usize) -> Result<(), Stop> {
        self.set(l, first, 0);
        let mut runs = Vec::new();
        cursors(l, &self.values, |_| true, &mut runs);
        let plan = self.plan;
        if let Some(begun) = runs.get_mut(..accesses) {
            each_round(plan, begun, (round, round.saturating_add(1)), |runs, _| {
                runs.iter().rev().try_for_each(|run| self.see(run.line, run.write))
            })?;
        }
        reverse(&mut runs, round);
        each_round(plan, &mut runs, (0, round), |runs, rounds| {
            // What a second iteration does not show, further ones do not either.
            for _ in 0..rounds.min(2) {
                runs.iter().try_for_each(|run| self.see(run.line, run.write))?;
            }
            Ok(())
        })
    }

    fn see(&mut self, line: u64, write: bool) -> Result<(), Stop> {
        self.step()?;
        if line != self.line {
            if !self.others.insert(line) || (self.others.len() as u64) < self.capacity {
                return Ok(());
            }
            self.missed.get_or_insert(true);
            return Err(Stop::Known);
        }
        self.missed.get_or_insert(false);
        if !self.write {
            return Err(Stop::Known);
        }
        if write {
            self.first_write = false;
            return Err(Stop::Known);
        }
        self.others.clear();
        Ok(())
    }
}

fn arm<'b, 'a>(branch: &'b PlanBranch<'a>, then: bool) -> &'b [Step<'a>] {
    if then { &branch.then } else { &branch.otherwise }
}
