//! What policies are worth: the share of the way from LRU to the best schedule known that each goes.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use accel_core::memory::Memory;
use accel_core::policy::{PolicyKind, PolicySpec, Setup};
use accel_core::progress::Unattended;
use accel_core::recipe::{FileSource, Recipe, Workload};
use accel_core::run::{Details, Plan, gap_closed};
use accel_core::score::{Scorer, Scores};
use accel_core::sim::simulate;
use accel_core::trace::Trace;
use accel_core::trace::reuse::Future;
use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use crate::points::{ADMISSION, ROWS, Row};

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

/// Misses in objects and bytes.
pub type Misses = [u64; 2];

/// What is known of a point whoever scores.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Known {
    accesses: u64,
    lru: Misses,
    best: Misses,
    classics: Vec<Misses>,
}

/// The share of the gap that `misses` close, objects and bytes, at least -1; none where LRU is the best known.
fn closed(known: &Known, misses: Misses) -> [Option<f64>; 2] {
    std::array::from_fn(|i| gap_closed(known.lru[i], misses[i], known.best[i]).map(|gap| gap.max(-1.0)))
}

/// Runs the classics and the bounds.
fn known(trace: &Trace, capacity_bytes: u64) -> anyhow::Result<Known> {
    let file = FileSource { name: "point".into(), format: None, columns: None };
    let policies: Vec<PolicySpec> = [PolicyKind::Lru].into_iter().chain(CLASSICS).map(PolicySpec::from).collect();
    let recipe = Recipe {
        workload: Workload::File(file),
        memory: Memory { admission: ADMISSION, cost: accel_core::memory::Cost::Prototype, ..Memory::new(capacity_bytes) },
        policies,
        ..Recipe::default()
    };
    let plan = Plan::new(&recipe, Some(trace.clone()), None, Details::REPORTS)?;
    let answers = (0..plan.passes()).map(|pass| plan.run(pass, &mut Unattended)).collect::<Result<_, _>>()?;
    let outcome = plan.finish(answers)?.0;
    let bounds = outcome.bounds.ok_or_else(|| anyhow!("no bounds"))?;
    let mut runs = outcome.runs.iter().map(|run| [run.misses, run.miss_bytes]);
    let lru = runs.next().ok_or_else(|| anyhow!("no runs"))?;
    let best = [bounds.misses.upper, bounds.miss_bytes.upper];
    Ok(Known { accesses: outcome.trace.accesses, lru, best, classics: runs.collect() })
}

/// What a policy misses at the scores.
fn misses(policy: PolicyKind, trace: &Trace, scores: &Scores, capacity_bytes: u64) -> anyhow::Result<Misses> {
    let sizes = trace.sizes();
    let setup = Setup {
        admission: ADMISSION,
        scores: Some(scores),
        parents: trace.parents(),
        ..Setup::new(&sizes, capacity_bytes)
    };
    let report = simulate(policy, &setup, trace)?;
    Ok([report.misses, report.miss_bytes])
}

/// Scores that tell the exact time of the next use, as far as their scale goes: what the rule could do.
fn oracle(trace: &Trace) -> Scores {
    let future = Future::of(trace);
    let score = |(now, next): (usize, &u32)| match *next {
        accel_core::trace::reuse::NEVER => 1.0,
        // The digit of the question, in the middle of its factor of four.
        next => {
            let digit = accel_core::score::prompt::digit(Some(u64::from(next) - now as u64));
            digit as f64 / 9.0
        }
    };
    Scores { values: future.next_use.iter().enumerate().map(score).collect(), scorer: Scorer::Heuristic }
}

/// A scorer by its name.
type Make = (&'static str, fn(&Trace) -> Scores);

/// Those that are measured, by `ml-reuse`.
const SCORERS: &[Make] = &[
    ("heuristic", accel_core::score::heuristic),
    ("history", accel_core::score::history::history),
    ("embedded", accel_core::score::embedded::embedded),
    ("digits", oracle),
];

/// The figures of a point.
struct Figures {
    row: &'static Row,
    megabytes: u64,
    known: Known,
    scored: Vec<Misses>,
}

fn figures(row: &'static Row, megabytes: u64, kept: Option<Known>) -> anyhow::Result<Figures> {
    let capacity_bytes = megabytes * 1_000_000;
    let trace = row.trace(capacity_bytes)?;
    let mut known = match kept {
        Some(known) => known,
        None => known_of(&trace, capacity_bytes)?,
    };
    let scored = SCORERS
        .iter()
        .map(|(_, make)| misses(PolicyKind::MlReuse, &trace, &make(&trace), capacity_bytes))
        .collect::<anyhow::Result<Vec<Misses>>>()?;
    for misses in scored.iter().chain(&known.classics) {
        for (best, misses) in known.best.iter_mut().zip(misses) {
            *best = (*best).min(*misses);
        }
    }
    Ok(Figures { row, megabytes, known, scored })
}

use known as known_of;

/// Measures every point and prints the table; `keep` names a file that keeps what does not depend on scorers.
pub fn gauge(keep: Option<&str>, out: &mut dyn Write) -> anyhow::Result<()> {
    let points: Vec<(&Row, u64)> = ROWS.iter().flat_map(|row| row.megabytes.iter().map(move |mb| (row, *mb))).collect();
    let key = |row: &Row, mb: u64| format!("{} {} {mb}", row.family, row.name);
    let kept: std::collections::BTreeMap<String, Known> = match keep.map(std::fs::read) {
        Some(Ok(bytes)) => serde_json::from_slice(&bytes)?,
        _ => Default::default(),
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((row, mb)) = points.get(at) else { return done };
            let known = kept.get(&key(row, *mb)).cloned();
            done.push((at, figures(row, *mb, known)));
        }
    };
    let mut done: Vec<(usize, anyhow::Result<Figures>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    let all = done.into_iter().map(|(_, figures)| figures).collect::<anyhow::Result<Vec<Figures>>>()?;
    if let Some(path) = keep {
        let known: std::collections::BTreeMap<String, &Known> =
            all.iter().map(|f| (key(f.row, f.megabytes), &f.known)).collect();
        std::fs::write(path, serde_json::to_vec(&known)?)?;
    }
    print(&all, out)
}

/// The columns: name and gap closed.
fn columns(all: &[Figures]) -> Vec<(String, Vec<[Option<f64>; 2]>)> {
    let mut columns: Vec<(String, Vec<[Option<f64>; 2]>)> = Vec::new();
    for (i, policy) in CLASSICS.iter().enumerate() {
        let gaps = all.iter().map(|f| closed(&f.known, f.known.classics[i])).collect();
        columns.push((policy.name().to_owned(), gaps));
    }
    let best = all.iter().map(|f| {
        std::array::from_fn(|unit| {
            let least = f.known.classics.iter().chain([&f.known.lru]).map(|misses| misses[unit]).min();
            closed(&f.known, [least.unwrap_or(0); 2])[unit]
        })
    });
    columns.push(("hindsight".into(), best.collect()));
    for (i, (name, _)) in SCORERS.iter().enumerate() {
        columns.push((format!("ml-reuse {name}"), all.iter().map(|f| closed(&f.known, f.scored[i])).collect()));
    }
    columns
}

/// The mean of those that there are, and the least.
fn mean(gaps: impl Iterator<Item = Option<f64>>) -> (f64, f64) {
    let gaps: Vec<f64> = gaps.flatten().collect();
    (gaps.iter().sum::<f64>() / gaps.len().max(1) as f64, gaps.iter().copied().fold(1.0, f64::min))
}

fn print(all: &[Figures], out: &mut dyn Write) -> anyhow::Result<()> {
    let columns = columns(all);
    let shown: Vec<&(String, Vec<[Option<f64>; 2]>)> =
        columns.iter().filter(|(name, _)| ["lirs", "gdsf", "hindsight"].contains(&name.as_str()) || name.contains(' ')).collect();
    write!(out, "| point | accesses |")?;
    shown.iter().try_for_each(|(name, _)| write!(out, " {name} |"))?;
    writeln!(out)?;
    let cell = |gap: Option<f64>| gap.map_or_else(|| "-".to_owned(), |gap| format!("{gap:.2}"));
    for (at, f) in all.iter().enumerate() {
        write!(out, "| {} {} {} MB | {} |", f.row.family, f.row.name, f.megabytes, f.known.accesses)?;
        for (_, gaps) in &shown {
            write!(out, " {}/{} |", cell(gaps[at][0]), cell(gaps[at][1]))?;
        }
        writeln!(out)?;
    }
    let mut families: Vec<&str> = all.iter().map(|f| f.row.family).collect();
    families.dedup();
    for family in families {
        write!(out, "| {family} | |")?;
        for (_, gaps) in &shown {
            let of = |unit: usize| mean(all.iter().zip(gaps).filter(|(f, _)| f.row.family == family).map(|(_, g)| g[unit])).0;
            write!(out, " {:.2}/{:.2} |", of(0), of(1))?;
        }
        writeln!(out)?;
    }
    writeln!(out, "| policy | objects | bytes | worst |")?;
    for (name, gaps) in &columns {
        let [objects, bytes] = [0, 1].map(|unit| mean(gaps.iter().map(|gap| gap[unit])));
        writeln!(out, "| {name} | {:.3} | {:.3} | {:.2} |", objects.0, bytes.0, objects.1.min(bytes.1))?;
    }
    let _ = Arc::<u8>::default();
    Ok(())
}
