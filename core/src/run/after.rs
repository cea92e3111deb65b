//! Questions about a finished run: single accesses, a part of the trace, a cell of a heatmap, scores against the truth.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Details, Job, Plan};
use crate::curve::Grid;
use crate::error::Error;
use crate::import::prototype_csv::{Record, record};
use crate::order;
use crate::score::{BuiltIn, Scorer, Scores};
use crate::sim;
use crate::sim::why::{Asked, Eviction};
use crate::trace::Trace;
use crate::trace::reuse::{Future, NEVER};

/// What is behind an outcome.
#[derive(Debug)]
pub struct Finished {
    plan: Plan,
    /// Accesses by falling score, sorted when first asked for.
    ranked: Option<Vec<u32>>,
}

/// The order of [`Finished::records`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As the trace runs.
    #[default]
    Access,
    /// Highest eviction score first.
    Score,
}

/// Which accesses are asked for, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wanted {
    /// Their order.
    pub order: Order,
    /// Only those of this part: its first access, and the first one behind it.
    pub part: Option<(u64, u64)>,
    /// Only those to tensors whose name holds this.
    pub tensor: String,
}

/// A cell of a heatmap: a group of tensors during a stretch of the trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The largest tensors of the group: name, bytes, and whether it is resident at the end of the stretch.
    pub tensors: Vec<(String, u64, bool)>,
    /// Tensors of the group in all.
    pub of_tensors: u64,
    /// The worst evictions of the group during the stretch, each with the tensor that needed the room.
    pub evictions: Vec<(String, Eviction)>,
}

/// Rows of each list of a [`Cell`], at most.
pub const CELL_ROWS: usize = 12;

/// How good the scores of a scorer are: how often each score met each distance to the next use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scatter {
    /// Who made the scores.
    pub scorer: Scorer,
    /// Accesses by their score (from 0 to 1, in [`SCORE_BINS`] equal parts), and in each by the distance to the next use:
    /// number `d` counts those of 2^d up to 2^(d + 1) accesses.
    pub counts: Vec<Vec<u64>>,
    /// Spearman's rank correlation of score and distance over the accesses whose tensor is used again, from -1 to 1: 1
    /// where a higher score always means a later use; none where all scores or all distances are equal.
    pub rank_correlation: Option<f64>,
    /// Accesses whose tensor is not used again, by score.
    pub never: Vec<u64>,
}

/// Parts into which scores are counted.
pub const SCORE_BINS: usize = 20;

impl Finished {
    pub(super) fn new(mut plan: Plan) -> Self {
        // What the questions seldom need is made again rather than kept.
        plan.future = Arc::default();
        plan.orders = Default::default();
        plan.curve = None;
        Self { plan, ranked: None }
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        &self.plan.trace
    }

    /// Of the accesses that `wanted` asks for, those from `start` on, at most `count`: each with its number in the trace and
    /// its score; and how many there are in all.
    pub fn records(&mut self, wanted: &Wanted, start: usize, count: usize) -> (u64, Vec<(u64, Record)>) {
        let (trace, scores) = (&self.plan.trace, self.plan.scores());
        let all = self.plan.accesses();
        let part = wanted.part.map_or(0..all, |(from, to)| (from as usize).min(all)..(to as usize).min(all));
        let named: Option<Vec<bool>> = (!wanted.tensor.is_empty())
            .then(|| trace.tensors().iter().map(|tensor| tensor.name.contains(&wanted.tensor)).collect());
        let asked = |access: &usize| {
            let tensor = || trace.accesses()[*access] as usize;
            part.contains(access) && named.as_ref().is_none_or(|named| named[tensor()])
        };
        let take = |accesses: &mut dyn Iterator<Item = usize>| {
            let (mut total, mut rows) = (0, Vec::new());
            for access in accesses {
                if total >= start && rows.len() < count {
                    rows.push((access as u64, record(trace, scores, access)));
                }
                total += 1;
            }
            (total as u64, rows)
        };
        match wanted.order {
            Order::Access => take(&mut part.clone().filter(asked)),
            Order::Score => {
                let by_falling = || order::by_key(scores.values.iter().map(|value| order::bits(-value)));
                let ranked = self.ranked.get_or_insert_with(by_falling);
                take(&mut ranked.iter().map(|access| *access as usize).filter(asked))
            }
        }
    }

    /// The same run with its charts over the accesses of `range` alone, and nothing else.
    ///
    /// # Errors
    ///
    /// Where `range` holds no access of the trace.
    pub fn window(&self, range: Range<u64>) -> Result<Job, Error> {
        let accesses = self.plan.accesses() as u64;
        if range.is_empty() || range.end > accesses {
            let cure = format!("Choose a part of the {accesses} accesses");
            return Err(Error::field("range", format!("{}..{}", range.start, range.end), "not in the trace", cure));
        }
        let mut plan = self.plan.at(self.plan.recipe.memory.capacity_bytes)?;
        plan.details = Details { runs: true, charts: true, explanation: false, reasons: false };
        plan.recipe.bounds = false;
        plan.buckets = self.plan.buckets.of(range.start as usize..range.end as usize);
        plan.passes = plan.all_passes();
        Ok(Job::of(plan))
    }

    /// The curves of the same run at the capacities of `grid`, between bounds, and nothing else.
    ///
    /// # Errors
    ///
    /// Where the grid is out of range.
    pub fn curve(&self, grid: &Grid) -> Result<Job, Error> {
        grid.check()?;
        let mut plan = self.plan.at(self.plan.recipe.memory.capacity_bytes)?;
        plan.details = Details::CURVES;
        plan.set_curve(grid);
        Ok(Job::of(plan))
    }

    /// What happens to the tensors of the row number `row` of a grouping under policy number `run` of the recipe during the
    /// accesses of `range`.
    ///
    /// # Errors
    ///
    /// Where there is no such policy, grouping or row.
    pub fn cell(&self, run: usize, grouping: usize, row: usize, range: Range<u64>) -> Result<Cell, Error> {
        let plan = &self.plan;
        let missing = |what: &str| Error::Internal(format!("there is no such {what}"));
        let policy = *plan.recipe.policies.get(run).ok_or_else(|| missing("policy"))?;
        let group = plan.buckets.groupings.get(grouping).ok_or_else(|| missing("grouping"))?;
        let (trace, end) = (&plan.trace, (range.end as usize).min(plan.accesses()));
        let of_group: Vec<bool> = (0..trace.tensors().len() as u32).map(|tensor| group.holds(row, tensor)).collect();
        let mut members: Vec<usize> = (0..of_group.len()).filter(|tensor| of_group[*tensor]).collect();
        let asked = Asked { accesses: range.start as usize..end, tensors: Some(of_group), most: CELL_ROWS };
        let (evictions, resident) =
            sim::evictions(policy, &plan.setup(policy), plan.future(), trace, &plan.costing, asked)?;
        let of_tensors = members.len() as u64;
        let largest = order::by_key(members.iter().map(|tensor| u64::MAX - trace.tensors()[*tensor].bytes));
        members = largest.into_iter().take(CELL_ROWS).map(|place| members[place as usize]).collect();
        let describe =
            |tensor: usize| (trace.tensors()[tensor].name.clone(), trace.tensors()[tensor].bytes, resident[tensor]);
        let by = |eviction: &Eviction| {
            trace
                .accesses()
                .get(eviction.access as usize)
                .map_or(String::new(), |t| trace.tensors()[*t as usize].name.clone())
        };
        Ok(Cell {
            tensors: members.into_iter().map(describe).collect(),
            of_tensors,
            evictions: evictions.into_iter().map(|eviction| (by(&eviction), eviction)).collect(),
        })
    }

    /// The scores of the run, and then those of every built-in scorer that did not make them, against the truth.
    pub fn scatters(&self) -> Vec<Scatter> {
        let (own, future) = (self.plan.scores(), self.plan.future());
        let others = BuiltIn::ALL.iter().filter(|scorer| scorer.scorer() != own.scorer);
        let others = others.map(|scorer| scatter(&scorer.scores(&self.plan.trace), future));
        std::iter::once(scatter(own, future)).chain(others).collect()
    }
}

fn scatter(scores: &Scores, future: &Future) -> Scatter {
    let mut counts = vec![Vec::new(); SCORE_BINS];
    let mut never = vec![0; SCORE_BINS];
    let (mut known, mut distances) = (Vec::new(), Vec::new());
    for ((now, score), next) in scores.values.iter().enumerate().zip(&future.next_use) {
        let bin = ((score * SCORE_BINS as f64) as usize).min(SCORE_BINS - 1);
        if *next == NEVER {
            never[bin] += 1;
            continue;
        }
        let distance = u64::from(*next) - now as u64;
        let power = distance.max(1).ilog2() as usize;
        let row: &mut Vec<u64> = &mut counts[bin];
        if row.len() <= power {
            row.resize(power + 1, 0);
        }
        row[power] += 1;
        known.push(order::bits(*score));
        distances.push(distance);
    }
    let most = counts.iter().map(Vec::len).max().unwrap_or_default();
    counts.iter_mut().for_each(|row| row.resize(most, 0));
    Scatter { scorer: scores.scorer, counts, rank_correlation: correlation(&ranks(&known), &ranks(&distances)), never }
}

/// The ranks of `keys`, those of equal ones their mean.
fn ranks(keys: &[u64]) -> Vec<f64> {
    let by_key = order::by_key(keys.iter().copied());
    let mut ranks = vec![0.0; keys.len()];
    let mut start = 0;
    while start < by_key.len() {
        let key = keys[by_key[start] as usize];
        let same = by_key[start..].iter().take_while(|i| keys[**i as usize] == key).count();
        let mean = start as f64 + (same as f64 - 1.0) / 2.0;
        by_key[start..start + same].iter().for_each(|i| ranks[*i as usize] = mean);
        start += same;
    }
    ranks
}

/// Pearson's correlation; none where either is constant.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let count = a.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        both += a * b;
        of_a += a * a;
        of_b += b * b;
    }
    (of_a > 0.0 && of_b > 0.0).then(|| both / (of_a * of_b).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unattended;
    use crate::recipe::{Recipe, Workload};
    use crate::run::{Outcome, run_to_end};
    use crate::workload::synthetic::Synthetic;

    fn finished() -> (Outcome, Finished) {
        let workload = Workload::Synthetic(Synthetic::default());
        let mut recipe = Recipe { workload, ..Recipe::default() };
        recipe.memory.capacity_bytes = 40_000_000;
        recipe.memory.cost = crate::memory::Cost::Physical(crate::memory::Physical::default());
        let mut job = Job::new(&recipe, None).unwrap();
        while !job.is_done() {
            job.step(1000).unwrap();
        }
        job.finish().unwrap()
    }

    fn charts(job: Job) -> crate::run::Charts {
        run_to_end(job, &mut Unattended).unwrap().charts
    }

    /// All of the trace is the charts of the run, and its parts add up to it.
    #[test]
    fn a_window_is_a_part_of_the_whole() {
        let (outcome, finished) = finished();
        let accesses = outcome.trace.accesses;
        assert_eq!(charts(finished.window(0..accesses).unwrap()), outcome.charts);
        for cut in [1, accesses / 3, accesses - 1] {
            let parts = [0..cut, cut..accesses].map(|range| charts(finished.window(range).unwrap()));
            for (run, report) in outcome.runs.iter().enumerate() {
                let of = |figure: fn(&crate::sim::timeline::Timeline) -> f64| {
                    parts.iter().map(|part| figure(&part.timelines[run])).sum::<f64>()
                };
                assert_eq!(of(|t| t.hits.iter().map(|h| f64::from(*h)).sum()), report.hits as f64);
                assert_eq!(of(|t| t.miss_bytes.iter().map(|b| *b as f64).sum()), report.miss_bytes as f64);
                let stall: f64 = outcome.charts.timelines[run].stall_ms.iter().sum();
                assert!((of(|t| t.stall_ms.iter().sum()) - stall).abs() < 1e-9 * stall.max(1.0));
                // What is resident at the end is the same however it is cut.
                let last = |charts: &crate::run::Charts| -> Vec<u64> {
                    charts.timelines[run].resident[0].iter().filter_map(|row| row.last().copied()).collect()
                };
                assert_eq!(last(&parts[1]), last(&outcome.charts));
            }
        }
        assert!(finished.window(5..5).is_err() && finished.window(0..accesses + 1).is_err());
    }

    #[test]
    fn a_cell_lists_its_tensors_and_their_evictions() {
        let (outcome, finished) = finished();
        let accesses = outcome.trace.accesses;
        for run in 0..outcome.runs.len() {
            let resident = &outcome.charts.timelines[run].resident[0];
            for (row, bytes) in resident.iter().enumerate() {
                let cell = finished.cell(run, 0, row, 0..accesses).unwrap();
                if cell.of_tensors as usize == cell.tensors.len() {
                    let sum: u64 =
                        cell.tensors.iter().filter(|(.., resident)| *resident).map(|(_, bytes, _)| bytes).sum();
                    assert_eq!(Some(&sum), bytes.last());
                }
                let policy = outcome.runs[run].policy;
                for (by, eviction) in &cell.evictions {
                    assert!(
                        cell.of_tensors > CELL_ROWS as u64
                            || cell.tensors.iter().any(|(name, ..)| *name == eviction.tensor)
                    );
                    assert_ne!(*by, eviction.tensor);
                    assert!(finished.plan.evictions_at(policy, eviction.access as usize).unwrap().contains(eviction));
                }
            }
        }
        assert!(finished.cell(99, 0, 0, 0..1).is_err() && finished.cell(0, 9, 0, 0..1).is_err());
    }

    #[test]
    fn scatters_count_every_access_and_perfect_scores_correlate_fully() {
        let (outcome, finished) = finished();
        let scatters = finished.scatters();
        assert_eq!(scatters.len(), BuiltIn::ALL.len());
        assert_eq!(scatters[0].scorer, outcome.scorer);
        for scatter in &scatters {
            let counted: u64 = scatter.counts.iter().flatten().chain(&scatter.never).sum();
            assert_eq!(counted, outcome.trace.accesses);
        }
        let future = Future::of(finished.trace());
        let truth = |sign: f64| {
            let of = |(now, next): (usize, &u32)| 0.5 + sign * (f64::from(*next) - now as f64) / 1e6;
            let values = future.next_use.iter().map(|next| if *next == NEVER { &0 } else { next }).enumerate().map(of);
            scatter(&Scores { values: values.collect(), scorer: Scorer::Remote }, &future).rank_correlation
        };
        assert!((truth(1.0).unwrap() - 1.0).abs() < 1e-12 && (truth(-1.0).unwrap() + 1.0).abs() < 1e-12);
        let constant = Scores { values: vec![0.5; outcome.trace.accesses as usize].into(), scorer: Scorer::Remote };
        assert_eq!(scatter(&constant, &future).rank_correlation, None);
    }

    /// Curves asked for afterwards are those that a recipe asks for.
    #[test]
    fn curves_may_be_asked_for_later() {
        let (_, finished) = finished();
        let grid = Grid { points: 4, capacities: Vec::new() };
        let recipe = Recipe { curve: Some(grid.clone()), ..finished.plan.recipe.clone() };
        let wanted = crate::run::run(&recipe, &mut Unattended).unwrap().curve;
        assert_eq!(run_to_end(finished.curve(&grid).unwrap(), &mut Unattended).unwrap().curve, wanted);
    }
}
