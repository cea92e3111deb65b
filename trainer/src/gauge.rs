//! What policies are worth: the share of the way from LRU to the best schedule known that each goes.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use accel_core::memory::{Cost, Memory};
use accel_core::policy::{PolicyKind, PolicySpec, Setup};
use accel_core::progress::Unattended;
use accel_core::recipe::{FileSource, Recipe, Workload};
use accel_core::run::{Details, Plan, gap_closed};
use accel_core::score::{BuiltIn, Scorer, Scores, log2, of_log2};
use accel_core::sim::simulate;
use accel_core::trace::Trace;
use accel_core::trace::reuse::{Future, NEVER};
use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};

use crate::points::{ROWS, Row};

/// The classics that are run at every point.
pub const CLASSICS: [PolicyKind; 13] = [
    PolicyKind::Fifo,
    PolicyKind::Mru,
    PolicyKind::Sieve,
    PolicyKind::S3Fifo,
    PolicyKind::Arc,
    PolicyKind::Lirs,
    PolicyKind::WTinyLfu,
    PolicyKind::Lfu,
    PolicyKind::Gdsf,
    PolicyKind::TwoQ,
    PolicyKind::LruK,
    PolicyKind::LeCaR,
    PolicyKind::Lhd,
];
/// The classics that have a column of their own.
const SHOWN: [PolicyKind; 3] = [PolicyKind::Lirs, PolicyKind::S3Fifo, PolicyKind::Gdsf];

/// Misses in objects and bytes.
pub type Misses = [u64; 2];
/// Gap closed in objects and bytes; none where LRU is the best known.
type Gaps = [Option<f64>; 2];

/// What is known of a point whoever scores.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Known {
    /// Accesses of the trace.
    pub accesses: u64,
    /// What LRU misses.
    pub lru: Misses,
    /// What the best schedule known misses.
    pub best: Misses,
    /// What each of [`CLASSICS`] misses.
    pub classics: Vec<Misses>,
}

impl Known {
    /// Runs LRU, the classics and the bounds.
    pub fn of(trace: &Trace, capacity_bytes: u64) -> anyhow::Result<Self> {
        let file = FileSource { name: "point".into(), format: None, columns: None };
        let recipe = Recipe {
            workload: Workload::File(file),
            memory: Memory { cost: Cost::Prototype, ..Memory::new(capacity_bytes) },
            policies: [PolicyKind::Lru].into_iter().chain(CLASSICS).map(PolicySpec::from).collect(),
            ..Recipe::default()
        };
        let plan = Plan::new(&recipe, Some(trace.clone()), None, Details::REPORTS)?;
        let answers = (0..plan.passes()).map(|pass| plan.run(pass, &mut Unattended)).collect::<Result<_, _>>()?;
        let outcome = plan.finish(answers)?.0;
        let bounds = outcome.bounds.context("the bounds are missing")?;
        let mut runs = outcome.runs.iter().map(|run| [run.misses, run.miss_bytes]);
        let lru = runs.next().context("the run of LRU is missing")?;
        let best = [bounds.misses.upper, bounds.miss_bytes.upper];
        Ok(Self { accesses: outcome.trace.accesses, lru, best, classics: runs.collect() })
    }

    /// The share of the gap that `misses` close, at least -1.
    pub fn closed(&self, misses: Misses) -> Gaps {
        std::array::from_fn(|i| gap_closed(self.lru[i], misses[i], self.best[i]).map(|gap| gap.max(-1.0)))
    }
}

/// What `ml-reuse` misses with `scores`.
pub fn misses(trace: &Trace, scores: &Scores, capacity_bytes: u64) -> anyhow::Result<Misses> {
    let sizes = trace.sizes();
    let setup = Setup { scores: Some(scores), parents: trace.parents(), ..Setup::new(&sizes, capacity_bytes) };
    let report = simulate(PolicyKind::MlReuse, &setup, trace)?;
    Ok([report.misses, report.miss_bytes])
}

/// Scores that tell the time of the next use, as far as their scale goes: what the rule could do with perfect predictions.
pub fn perfect(trace: &Trace) -> Scores {
    let future = Future::of(trace);
    let score = |(now, next): (usize, &u32)| match *next {
        NEVER => 1.0,
        next => of_log2(log2(u64::from(next) - now as u64)),
    };
    // Nobody's: the name of a scorer that would be wrong is not shown.
    Scores { values: future.next_use.iter().enumerate().map(score).collect(), scorer: Scorer::Heuristic }
}

/// Who scores, by name.
type Who = (&'static str, fn(&Trace) -> Scores);

/// Those that are measured.
const WHO: [Who; 4] = [
    ("heuristic", |trace| BuiltIn::Heuristic.scores(trace)),
    ("history", |trace| BuiltIn::History.scores(trace)),
    ("embedded", |trace| BuiltIn::Embedded.scores(trace)),
    ("perfect", perfect),
];

/// The figures of a point.
struct Figures {
    row: &'static Row,
    megabytes: u64,
    known: Known,
    scored: Vec<Misses>,
}

impl Figures {
    fn of(row: &'static Row, megabytes: u64, kept: Option<Known>) -> anyhow::Result<Self> {
        let capacity_bytes = megabytes * 1_000_000;
        let trace = row.trace(capacity_bytes)?;
        let mut known = match kept {
            Some(known) => known,
            None => Known::of(&trace, capacity_bytes)?,
        };
        let scored = WHO.iter().map(|(_, scores)| misses(&trace, &scores(&trace), capacity_bytes));
        let scored = scored.collect::<anyhow::Result<Vec<Misses>>>()?;
        for misses in &scored {
            known.best = [0, 1].map(|unit| known.best[unit].min(misses[unit]));
        }
        Ok(Self { row, megabytes, known, scored })
    }

    fn name(row: &Row, megabytes: u64) -> String {
        format!("{} {} {megabytes} MB", row.family, row.name)
    }
}

/// Measures every point and prints the table; `keep` names a file that keeps what does not depend on scorers, from one
/// call to the next.
pub fn gauge(keep: Option<&str>, out: &mut dyn Write) -> anyhow::Result<()> {
    let points: Vec<(&Row, u64)> = ROWS.iter().flat_map(|row| row.megabytes.iter().map(move |mb| (row, *mb))).collect();
    let kept: BTreeMap<String, Known> = match keep.map(std::fs::read) {
        Some(Ok(bytes)) => serde_json::from_slice(&bytes)?,
        _ => BTreeMap::new(),
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, (row, mb))) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            points.get(at).map(|point| (at, *point))
        } {
            done.push((at, Figures::of(row, mb, kept.get(&Figures::name(row, mb)).cloned())));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().map_err(|_| anyhow!("a thread failed"));
        let done = threads.into_iter().map(join).collect::<anyhow::Result<Vec<Vec<_>>>>()?;
        anyhow::Ok(done.into_iter().flatten().collect::<Vec<_>>())
    })?;
    done.sort_by_key(|(at, _)| *at);
    let all = done.into_iter().map(|(_, figures)| figures).collect::<anyhow::Result<Vec<Figures>>>()?;
    if let Some(path) = keep {
        let known: BTreeMap<String, &Known> =
            all.iter().map(|point| (Figures::name(point.row, point.megabytes), &point.known)).collect();
        std::fs::write(path, serde_json::to_vec(&known)?).with_context(|| format!("cannot write {path}"))?;
    }
    print(&all, out)
}

/// A column: its name and the gaps of all points.
type Column = (String, Vec<Gaps>);

/// The columns of all classics, of the best of them at each point, and of all scorers.
fn columns(all: &[Figures]) -> Vec<Column> {
    let classics = CLASSICS.iter().enumerate().map(|(i, policy)| {
        let gaps = all.iter().map(|point| point.known.closed(point.known.classics[i])).collect();
        (policy.name().to_owned(), gaps)
    });
    let best = all.iter().map(|Figures { known, .. }| {
        let least = |unit: usize| known.classics.iter().map(|misses| misses[unit]).fold(known.lru[unit], u64::min);
        known.closed([least(0), least(1)])
    });
    let scored = WHO.iter().enumerate().map(|(i, (name, _))| {
        let gaps = all.iter().map(|point| point.known.closed(point.scored[i])).collect();
        (format!("ml-reuse, {name}"), gaps)
    });
    classics.chain([("best classic of each point".to_owned(), best.collect())]).chain(scored).collect()
}

/// The mean of those that there are, and the least.
fn mean(gaps: impl Iterator<Item = Option<f64>>) -> (f64, f64) {
    let gaps: Vec<f64> = gaps.flatten().collect();
    (gaps.iter().sum::<f64>() / gaps.len().max(1) as f64, gaps.iter().copied().fold(1.0, f64::min))
}

fn print(all: &[Figures], out: &mut dyn Write) -> anyhow::Result<()> {
    let columns = columns(all);
    let shown: Vec<&Column> = columns
        .iter()
        .filter(|(name, _)| SHOWN.iter().any(|policy| policy.name() == name) || name.contains(' '))
        .collect();
    let names: Vec<&str> = shown.iter().map(|(name, _)| name.as_str()).collect();
    writeln!(out, "| objects / bytes | accesses | {} |", names.join(" | "))?;
    writeln!(out, "| --- |{}", " ---: |".repeat(names.len() + 1))?;
    let cell = |gap: Option<f64>| gap.map_or_else(|| "-".to_owned(), |gap| format!("{gap:.2}"));
    for (at, point) in all.iter().enumerate() {
        let cells = shown.iter().map(|(_, gaps)| gaps[at].map(cell).join(" / ")).collect::<Vec<_>>().join(" | ");
        writeln!(out, "| {} | {} | {cells} |", Figures::name(point.row, point.megabytes), point.known.accesses)?;
    }
    let mut families: Vec<&str> = all.iter().map(|point| point.row.family).collect();
    families.dedup();
    for family in families {
        let of = |gaps: &[Gaps], unit: usize| {
            mean(all.iter().zip(gaps).filter(|(point, _)| point.row.family == family).map(|(_, gap)| gap[unit])).0
        };
        let cells = shown.iter().map(|(_, gaps)| format!("{:.2} / {:.2}", of(gaps, 0), of(gaps, 1)));
        writeln!(out, "| **{family}** | | {} |", cells.collect::<Vec<_>>().join(" | "))?;
    }
    writeln!(out, "\n| mean of {} points | objects | bytes | worst |\n| --- | ---: | ---: | ---: |", all.len())?;
    for (name, gaps) in &columns {
        let [objects, bytes] = [0, 1].map(|unit| mean(gaps.iter().map(|gap| gap[unit])));
        writeln!(out, "| {name} | {:.2} | {:.2} | {:.2} |", objects.0, bytes.0, objects.1.min(bytes.1))?;
    }
    Ok(())
}

/// Seconds that this thread has had a processor, which others on the machine do not change; none but on Linux.
fn processor_s() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

/// Prints how many accesses each scorer, and `ml-reuse` with it, does per second of a processor, or of the clock where the
/// system does not tell the former.
pub fn speed(out: &mut dyn Write) -> anyhow::Result<()> {
    let row = &ROWS[0];
    let capacity_bytes = row.megabytes[0] * 1_000_000;
    let trace = row.trace(capacity_bytes)?;
    let million = trace.accesses().len() as f64 / 1e6;
    writeln!(out, "By the time of {}:", if processor_s().is_some() { "one processor" } else { "the clock" })?;
    let start = Instant::now();
    let seconds = || processor_s().unwrap_or_else(|| start.elapsed().as_secs_f64());
    for (name, scores) in WHO {
        let began = seconds();
        let scores = scores(&trace);
        let scored = seconds() - began;
        misses(&trace, &scores, capacity_bytes)?;
        let all = seconds() - began;
        writeln!(out, "{name}: {:.2} million accesses/s, {:.2} with ml-reuse", million / scored, million / all)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With perfect predictions the rule is nearly the best schedule known, whatever the kind of workload.
    #[test]
    fn perfect_predictions_close_the_gap() {
        for (name, megabytes) in [("vit-b-16", 100), ("alexnet", 100), ("bert-base adam", 500)] {
            let row = ROWS.iter().find(|row| row.name == name).unwrap();
            let capacity_bytes = megabytes * 1_000_000;
            let trace = row.trace(capacity_bytes).unwrap();
            let known = Known::of(&trace, capacity_bytes).unwrap();
            let [_, bytes] = known.closed(misses(&trace, &perfect(&trace), capacity_bytes).unwrap());
            assert!(bytes.unwrap() > 0.95, "{name}: {bytes:?}");
        }
    }
}
