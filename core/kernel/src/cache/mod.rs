//! Misses of fully associative LRU caches.
//!
//! `rewrite` makes loops even, and lays arrays out without the gaps that loops leave; `plan` fills in the numbers.
//! Compulsory misses are the lines touched at all (`footprint`, `sweep`). The others come from the project's engine for
//! short streams (`small`), in closed form from passes over arrays (`passes`, `order`), from an exact replay that skips
//! what repeats for all else (`replay`, `periods`, `stream`, `sparse`), and from a sample with a stated error for those
//! that are too long for that (`sample`). What a library moves beyond touching its operands once lies between two bounds
//! (`library`).

mod chance;
mod footprint;
mod library;
mod lru;
mod meter;
mod order;
mod passes;
mod periods;
mod plan;
mod replay;
mod rewrite;
mod run;
mod sample;
mod small;
mod sparse;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
mod totals;

use footprint::Footprint;
use library::Extra;
use meter::Meter;
use passes::Passes;
use plan::CachePlan;
use replay::Replay;
use sample::Sample;
use small::Stream;
use totals::Totals;

use super::nest::Program;
use super::report::{BUDGET, Count};
use accel_ground::error::Error;
use accel_ground::progress::Progress;

/// What happens in one cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Misses {
    /// Its capacity in bytes.
    pub capacity_bytes: u64,
    /// Lines touched for the first time.
    pub compulsory: Count,
    /// Lines that were there and had left.
    pub capacity: Count,
    /// Between which numbers `capacity` lies, where it is not exact.
    pub capacity_range: Option<[f64; 2]>,
    /// Changed lines that go back: those that leave, and those left at the end.
    pub write_backs: Count,
    /// Misses of both kinds by the line of the source (ascending) that caused them.
    pub by_line: Vec<(u32, Count)>,
    /// How they were found, in words.
    pub method: String,
}

/// What is left for each level at least, of the work of all: iterations that repeat soon are found with that.
const LEAST_REPLAY_SHARE: u64 = 16;
/// Programs made of passes take less work than this; others should cost little beside their replay.
const PASSES_WORK: u64 = 1_000_000;
/// Larger caches than this many lines (1 GiB in lines of 64 bytes) would take too much memory to follow.
const MAX_LINES: u64 = 1 << 24;

/// Which ways to take, and how far; others only in tests.
#[derive(Debug, Clone, Copy)]
struct Ways {
    engine: bool,
    footprint_work: u64,
    replay_work: u64,
    sample_work: u64,
}

/// The misses of `program` in caches of `capacities` bytes, each seeing every access.
pub fn misses(
    program: &Program,
    line_bytes: u64,
    capacities: &[u64],
    progress: &mut dyn Progress,
) -> Result<Vec<Misses>, Error> {
    misses_within(program, line_bytes, capacities, BUDGET, progress)
}

/// The same, with at most so much work: an eighth of `budget` finds the lines touched, an eighth what libraries add,
/// half replays, in all levels together, and a quarter samples what is too long for that.
pub fn misses_within(
    program: &Program,
    line_bytes: u64,
    capacities: &[u64],
    budget: u64,
    progress: &mut dyn Progress,
) -> Result<Vec<Misses>, Error> {
    let ways = Ways { engine: true, footprint_work: budget / 8, replay_work: budget / 2, sample_work: budget / 4 };
    find(program, line_bytes, capacities, ways, progress)
}

fn find(
    program: &Program,
    line_bytes: u64,
    capacities: &[u64],
    ways: Ways,
    progress: &mut dyn Progress,
) -> Result<Vec<Misses>, Error> {
    if line_bytes == 0 {
        return Err(Error::field("line_bytes", 0, "a line has at least one byte", "Write 64, or what the device has"));
    }
    let mut lines = Vec::with_capacity(capacities.len());
    for capacity in capacities {
        if *capacity < line_bytes {
            let problem = format!("the cache is smaller than a line of {line_bytes} bytes");
            return Err(Error::field("levels", format!("{capacity} bytes"), problem, "Give it a line or more"));
        }
        lines.push(capacity / line_bytes);
    }
    let program = &*rewrite::rewritten(program);
    let plan = CachePlan::new(program, line_bytes)?;
    let found = Footprint::of(&plan, &mut Meter::new(progress, "lines touched", ways.footprint_work))?;
    let extra =
        library::extra(&plan, &program.body, &lines, &mut Meter::new(progress, "libraries", ways.footprint_work))?;
    let stream = if ways.engine { Stream::of(&plan)? } else { None };
    let laid_out = if stream.is_none() { rewrite::laid_out(program, line_bytes) } else { None };
    let laid_out = laid_out.as_ref().map(|program| CachePlan::new(program, line_bytes)).transpose()?;
    let plans = (&plan, laid_out.as_ref());
    let least_replay = ways.replay_work / LEAST_REPLAY_SHARE;
    let mut all = Vec::with_capacity(capacities.len());
    let mut ways = Ways { sample_work: ways.sample_work / capacities.len().max(1) as u64, ..ways };
    for ((capacity_bytes, lines), extra) in capacities.iter().zip(&lines).zip(&extra) {
        let (totals, method) = match &stream {
            Some(stream) => (Outcome::Exact(stream.run(&plan, *lines)), "exact: replayed line by line".into()),
            None => {
                ways.replay_work = ways.replay_work.max(least_replay);
                replay_or_sample(plans, &found, *lines, &mut ways, progress)?
            }
        };
        let mut misses = totals.misses(&plan, &found, *capacity_bytes, method);
        if found.at_most {
            misses.compulsory = Count::Real(misses.compulsory.value());
            let capacity = misses.capacity.value();
            let [low, high] = misses.capacity_range.unwrap_or([capacity; 2]);
            misses.capacity = Count::Real(capacity);
            misses.capacity_range = Some([low, high + found.lines as f64]);
            misses.method.push_str("; compulsory misses at most, as if every line of every array were touched");
        }
        if library::any(&program.body) {
            misses.add(extra);
        }
        if plan.random {
            misses.admit_chance();
        }
        all.push(misses);
    }
    agree(&mut all);
    Ok(all)
}

/// A larger LRU cache never misses more: so estimates of two levels keep each other in bounds.
fn agree(all: &mut [Misses]) {
    for larger in 1..all.len() {
        let (smaller, rest) = all.split_at_mut(larger);
        let Some(larger) = rest.first_mut() else { continue };
        let bytes = larger.capacity_bytes;
        for smaller in smaller.iter_mut().filter(|smaller| smaller.capacity_bytes <= bytes) {
            let range = |misses: &Misses| misses.capacity_range.unwrap_or([misses.capacity.value(); 2]);
            let ([low, high], [least, most]) = (range(smaller), range(larger));
            smaller.narrow([low.max(least), high], f64::INFINITY);
            larger.narrow([least, most.min(high)], smaller.capacity.value());
        }
    }
}

/// What one of the ways found.
enum Outcome {
    Exact(Totals),
    Sampled(Sample),
}

/// The same program as it is and, where this helps, with its arrays laid out anew.
type Plans<'p, 'a, 'b> = (&'p CachePlan<'a>, Option<&'p CachePlan<'b>>);

fn replay_or_sample(
    (plan, laid_out): Plans<'_, '_, '_>,
    found: &Footprint,
    capacity: u64,
    ways: &mut Ways,
    progress: &mut dyn Progress,
) -> Result<(Outcome, String), Error> {
    if found.lines <= capacity {
        let misses = found.first.iter().copied().map(u128::from).collect();
        let totals = Totals { misses, write_backs: found.written.into() };
        let method = if found.at_most { "all lines fit" } else { "exact: all lines fit" };
        return Ok((Outcome::Exact(totals), method.into()));
    }
    if capacity > MAX_LINES {
        return Err(Error::TooLarge {
            problem: format!(
                "the kernel does not fit a cache of {} lines",
                accel_ground::units::format_count(capacity)
            ),
            cure: format!("Use smaller parameters, or a cache of at most {MAX_LINES} lines"),
        });
    }
    let mut work = ways.replay_work.min(PASSES_WORK);
    let mut passed = None;
    if let Some(laid_out) = laid_out {
        let mut meter = Meter::new(progress, "passes", work);
        passed = Passes::run(laid_out, capacity, &mut meter)?;
        work = meter.left();
    }
    if passed.is_none() {
        passed = Passes::run(plan, capacity, &mut Meter::new(progress, "passes", work))?;
    }
    if let Some((totals, spread)) = passed {
        if spread > 0.0 {
            let sample = Sample::expected(&totals, spread);
            return Ok((
                Outcome::Sampled(sample),
                "expected: passes over arrays, in closed form, 99 % interval".into(),
            ));
        }
        return Ok((Outcome::Exact(totals), "exact: passes over arrays, in closed form".into()));
    }
    // Where nothing can be skipped, it is known beforehand whether a replay would come to its end.
    let hopeless = !Replay::may_skip(&plan.steps, capacity) && {
        let meter = &mut Meter::new(progress, "accesses estimated", u64::MAX);
        Sample::positions(plan, capacity, meter)? > ways.replay_work as f64
    };
    if !hopeless {
        let mut meter = Meter::new(progress, "accesses replayed", ways.replay_work);
        let replayed = Replay::run(plan, capacity, &mut meter);
        ways.replay_work = meter.left();
        match replayed {
            Ok((totals, false)) => return Ok((Outcome::Exact(totals), "exact: replayed".into())),
            Ok((totals, true)) => {
                return Ok((Outcome::Exact(totals), "exact: replayed, repeating iterations skipped".into()));
            }
            Err(Error::TooLarge { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let sample = Sample::take(plan, capacity, &mut Meter::new(progress, "accesses sampled", ways.sample_work))?;
    let mut method = format!("sampled: {} accesses, 99 % interval", accel_ground::units::format_count(sample.drawn));
    if sample.open > 0 {
        method.push_str(&format!(
            ", {} of them not followed to their end",
            accel_ground::units::format_count(sample.open)
        ));
    }
    Ok((Outcome::Sampled(sample), method))
}

/// A count, whole as long as it fits.
fn count(number: u128) -> Count {
    u64::try_from(number).map_or(Count::Real(number as f64), Count::Whole)
}

impl Outcome {
    fn misses(self, plan: &CachePlan<'_>, found: &Footprint, capacity_bytes: u64, method: String) -> Misses {
        let compulsory = Count::Whole(found.lines);
        match self {
            Self::Exact(totals) => {
                let sum = totals.misses.iter().fold(0, |sum: u128, misses| sum.saturating_add(*misses));
                let by_line = plan.sources.iter().copied().zip(totals.misses.into_iter().map(count)).collect();
                Misses {
                    capacity_bytes,
                    compulsory,
                    capacity: count(sum.saturating_sub(found.lines.into())),
                    capacity_range: None,
                    write_backs: count(totals.write_backs),
                    by_line,
                    method,
                }
            }
            Self::Sampled(sample) => {
                // First touches are known, and a line written goes back once at least.
                let by_source = sample.by_source.iter().zip(&found.first).map(|(own, first)| own.max(*first as f64));
                let by_source: Vec<f64> = by_source.collect();
                let beyond = |misses: f64| (misses - found.lines as f64).max(0.0);
                let [low, high] = sample.range.map(beyond);
                let written = if found.at_most { 0.0 } else { found.written as f64 };
                Misses {
                    capacity_bytes,
                    compulsory,
                    capacity: Count::Real(beyond(by_source.iter().sum()).clamp(low, high)),
                    capacity_range: Some([low, high]),
                    write_backs: Count::Real(sample.write_backs.max(written)),
                    by_line: plan.sources.iter().copied().zip(by_source.into_iter().map(Count::Real)).collect(),
                    method,
                }
            }
        }
    }
}

impl Misses {
    /// What is left of them where the cache holds what a run before left: nothing, if everything fits; else all, because
    /// what was used first has left by the end.
    #[must_use]
    pub(crate) fn warm(self, line_bytes: u64) -> Self {
        if self.compulsory.value() * line_bytes as f64 > self.capacity_bytes as f64 {
            let method = format!("{}; warm, but not all lines fit", self.method);
            return Self { method, ..self };
        }
        let none = Count::Whole(0);
        Self {
            compulsory: none,
            capacity: none,
            capacity_range: None,
            write_backs: none,
            by_line: self.by_line.into_iter().map(|(line, _)| (line, none)).collect(),
            method: "warm: all lines are there".into(),
            ..self
        }
    }

    /// Takes a narrower range, and keeps the estimate within it and below `most`; what is exact stays.
    fn narrow(&mut self, [low, high]: [f64; 2], most: f64) {
        if self.capacity_range.is_some() && low <= high {
            self.capacity_range = Some([low, high]);
            self.capacity = Count::Real(self.capacity.value().min(most).clamp(low, high));
        }
    }

    /// Adds what libraries move beyond their sweeps.
    fn add(&mut self, extra: &Extra) {
        let [low, high] = self.capacity_range.unwrap_or([self.capacity.value(); 2]);
        if extra.high > 0.0 {
            self.capacity = Count::Real(self.capacity.value() + extra.high);
            self.capacity_range = Some([low + extra.low, high + extra.high]);
        }
        for (line, misses) in &extra.by_line {
            if let Some((_, own)) = self.by_line.iter_mut().find(|(own, _)| own == line).filter(|_| *misses > 0.0) {
                *own = Count::Real(own.value() + misses);
            }
        }
        self.method.push_str("; libraries: their operands touched once, and square blocks for this cache");
    }

    /// Counts that hang on draws are not whole.
    fn admit_chance(&mut self) {
        let by_line = self.by_line.iter_mut().map(|(_, misses)| misses);
        for count in [&mut self.compulsory, &mut self.capacity, &mut self.write_backs].into_iter().chain(by_line) {
            *count = Count::Real(count.value());
        }
        let method = self.method.strip_prefix("exact: ").unwrap_or(&self.method);
        self.method =
            format!("{method}; conditions and subscripts that data decide are drawn at random, by one fixed seed");
    }
}
