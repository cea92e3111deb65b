//! Runs of samples: what they say of the whole trace, and how sure that is.
//!
//! A sample has some of the objects ([`crate::recipe::sample`]), and its memory the same share of the capacity. What it
//! misses is divided by what it would be asked for if it were like the whole: a sample with more requests than that has the
//! most popular objects, which hit (Waldspurger et al., FAST 2015, section 3.1, call it SHARDS-adj). LRU runs over
//! the whole trace beside it, as a control.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{Answer, Details, Gathered, Plan};
use crate::bound::Misses;
use crate::curve::{Curves, Grid, Measured};
use crate::error::Error;
use crate::memory::Costing;
use crate::order;
use crate::policy::{PolicyKind, PolicySpec};
use crate::recipe::Recipe;
use crate::recipe::measure::{Amount, Measure};
use crate::recipe::sample::{Chosen, SAMPLES, Sample, id_of};
use crate::sim::{Counts, Report};
use crate::trace::part::LEFT_OUT;
use crate::trace::{Summary, Trace};
use crate::units::{format_bytes, format_count};

/// Half an interval of 95 % in standard errors: Student's t with [`SAMPLES`] - 1 = 4 degrees of freedom (NIST/SEMATECH
/// e-Handbook of Statistical Methods, 1.3.6.7.2).
const STUDENT: f64 = 2.776;
const _: () = assert!(SAMPLES == 5);
/// Accesses that miss in samples because their objects are larger than the memory of the sample, and only there, as a
/// share of all: from here on the interval need not cover the truth (ours: a fifth of the error that is aimed at).
const MOST_OVERSIZE: f64 = 0.001;

/// A share of misses, as samples have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Their mean, 0..=1.
    pub mean: f64,
    /// The interval of 95 %.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Spread {
    /// Of one value for each sample, with an interval at least `off` wide on both sides.
    fn of(values: &[f64], off: f64) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (count - 1.0);
        let half = (STUDENT * (variance / count).sqrt()).max(off);
        let share = |x: f64| x.clamp(0.0, 1.0);
        Self { mean: share(mean), low: share(mean - half), high: share(mean + half) }
    }

    /// Whether the interval holds `value`.
    pub fn covers(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// What samples say of a policy in a memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The policy.
    pub policy: PolicySpec,
    /// The capacity of the memory of the whole trace.
    pub capacity_bytes: u64,
    /// Misses as a share of accesses.
    pub miss_ratio: Spread,
    /// Bytes missed as a share of bytes requested.
    pub byte_miss_ratio: Spread,
    /// Whether the intervals can be trusted: those of LRU cover what LRU misses of the whole trace, and hardly any object is
    /// too large for the memory of a sample alone.
    pub sure: bool,
}

/// LRU over the whole trace, beside LRU over the samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Misses of the whole trace as a share of accesses.
    pub miss_ratio: f64,
    /// The same for bytes.
    pub byte_miss_ratio: f64,
    /// What the samples say.
    pub sampled: Estimate,
}

/// What samples say, and how they were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// Objects of a sample.
    pub objects: u64,
    /// Objects of the trace.
    pub of_objects: u64,
    /// How many samples there are.
    pub samples: u64,
    /// What they say: of each policy at the capacity, then of each at those of the curve.
    pub estimates: Vec<Estimate>,
    /// LRU at the same capacities.
    pub control: Vec<Control>,
}

impl Sampled {
    /// What samples say of `policy` in a memory of `capacity_bytes`.
    pub fn estimate(&self, policy: PolicySpec, capacity_bytes: u64) -> Option<&Estimate> {
        self.estimates.iter().find(|it| it.policy == policy && it.capacity_bytes == capacity_bytes)
    }

    /// What the reader should know, in words.
    pub fn about(&self) -> Vec<String> {
        let Self { objects, of_objects, samples, .. } = self;
        let (objects, of_objects) = (format_count(*objects), format_count(*of_objects));
        let percent = |share: f64| format!("{:.2}", 100.0 * share);
        let mut about = vec![format!(
            "Estimated from {samples} samples of {objects} of {of_objects} objects; intervals hold the truth in 95 % of cases."
        )];
        // A curve has a table.
        for Control { miss_ratio, sampled, .. } in self.control.iter().take(1) {
            let Spread { mean, low, high } = sampled.miss_ratio;
            about.push(format!(
                "In {}, LRU misses {} % of the whole trace, and {} % ({} to {}) by the samples.",
                format_bytes(sampled.capacity_bytes),
                percent(*miss_ratio),
                percent(mean),
                percent(low),
                percent(high),
            ));
        }
        let unsure: Vec<String> = self
            .control
            .iter()
            .filter(|control| !control.sampled.sure)
            .map(|control| format_bytes(control.sampled.capacity_bytes))
            .collect();
        if !unsure.is_empty() {
            about.push(format!(
                "In {} the intervals may not hold the truth: LRU is outside of its own, or objects are too large for the \
                 memory of a sample. Take larger samples.",
                unsure.join(", ")
            ));
        }
        about
    }
}

/// How a sample is smaller than the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Its share of the objects.
    pub objects: f64,
    /// Its share of their bytes.
    pub bytes: f64,
}

impl Scale {
    /// Of a sample whose objects have so many of all bytes.
    pub fn new(objects: u64, of_objects: u64, bytes: u64, of_bytes: u64) -> Self {
        let objects = objects as f64 / of_objects.max(1) as f64;
        Self { objects, bytes: if of_bytes == 0 || bytes == 0 { objects } else { bytes as f64 / of_bytes as f64 } }
    }

    /// The memory of the sample.
    pub fn capacity(&self, capacity_bytes: u64) -> u64 {
        ((capacity_bytes as f64 * self.bytes).round() as u64).max(1)
    }

    /// The counts of the whole that these of the sample stand for, before they are rounded: misses, bytes missed,
    /// evictions, bypassed, oversize, expired.
    fn whole(&self, counts: &Counts) -> [f64; 6] {
        let Counts { misses, miss_bytes, evictions, bypassed, oversize, expired, .. } = *counts;
        let objects = |count: u64| count as f64 / self.objects;
        [
            objects(misses),
            miss_bytes as f64 / self.bytes,
            objects(evictions),
            objects(bypassed),
            objects(oversize),
            objects(expired),
        ]
    }
}

/// What is counted of the whole trace, and what LRU counts there.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// Accesses that are counted.
    pub accesses: u64,
    /// Bytes that they request.
    pub requested_bytes: u64,
    /// What LRU misses.
    pub lru: Misses,
    /// Accesses of objects larger than the memory.
    pub oversize: u64,
}

/// What the samples count in one memory of the whole trace.
#[derive(Debug)]
pub struct Said {
    /// The capacity.
    pub capacity_bytes: u64,
    /// What each policy counts in each sample.
    pub counts: Vec<(PolicySpec, Vec<(Scale, Counts)>)>,
}

impl Said {
    /// The counts of the whole that the samples say each policy has; and the estimates, and that of LRU beside the truth.
    pub fn tell(&self, truth: Truth) -> Result<(Vec<Counts>, Vec<Estimate>, Control), Error> {
        let (accesses, bytes) = (truth.accesses.max(1) as f64, truth.requested_bytes.max(1) as f64);
        let shares = |counts: &[(Scale, Counts)], at: usize, of: f64| -> Vec<f64> {
            counts.iter().map(|(scale, counts)| scale.whole(counts)[at] / of).collect()
        };
        let lru = self.counts.iter().find(|(policy, _)| *policy == PolicyKind::Lru);
        let (_, lru) = lru.ok_or_else(|| Error::Internal("samples without LRU".into()))?;
        let exact = [truth.lru.objects as f64 / accesses, truth.lru.bytes as f64 / bytes];
        // How far LRU is off is how far others may be.
        let off = |at: usize, of: f64| (Spread::of(&shares(lru, at, of), 0.0).mean - exact[at]).abs();
        let (off, byte_off) = (off(0, accesses), off(1, bytes));
        let oversize = Spread::of(&shares(lru, 4, accesses), 0.0).mean - truth.oversize as f64 / accesses;
        let plain = [Spread::of(&shares(lru, 0, accesses), 0.0), Spread::of(&shares(lru, 1, bytes), 0.0)];
        let sure = oversize <= MOST_OVERSIZE && plain.iter().zip(exact).all(|(spread, exact)| spread.covers(exact));
        let estimate = |policy: PolicySpec, counts: &[(Scale, Counts)], off: [f64; 2]| Estimate {
            policy,
            capacity_bytes: self.capacity_bytes,
            miss_ratio: Spread::of(&shares(counts, 0, accesses), off[0]),
            byte_miss_ratio: Spread::of(&shares(counts, 1, bytes), off[1]),
            sure,
        };
        let sampled = estimate(PolicyKind::Lru.into(), lru, [0.0, 0.0]);
        let control = Control { miss_ratio: exact[0], byte_miss_ratio: exact[1], sampled };
        let whole = |(_, counts): &(PolicySpec, Vec<(Scale, Counts)>)| {
            let mean = |at: usize, most: u64| {
                let sum: f64 = counts.iter().map(|(scale, counts)| scale.whole(counts)[at]).sum();
                ((sum / counts.len().max(1) as f64).round() as u64).min(most)
            };
            let (misses, miss_bytes) = (mean(0, truth.accesses), mean(1, truth.requested_bytes));
            Counts {
                hits: truth.accesses - misses,
                misses,
                hit_bytes: truth.requested_bytes - miss_bytes,
                miss_bytes,
                evictions: mean(2, u64::MAX),
                bypassed: mean(3, misses),
                oversize: mean(4, misses),
                expired: mean(5, misses),
            }
        };
        let estimates = self.counts.iter().map(|(policy, counts)| estimate(*policy, counts, [off, byte_off])).collect();
        Ok((self.counts.iter().map(whole).collect(), estimates, control))
    }
}

/// A sample of the trace of a plan.
#[derive(Debug)]
struct Part {
    scale: Scale,
    chosen: Chosen,
    plan: Plan,
}

/// The samples of the trace of a plan.
#[derive(Debug)]
pub(super) struct Samples {
    parts: Vec<Part>,
}

impl Samples {
    /// The samples of the trace of `whole`; none where they would have all objects.
    pub(super) fn new(sample: &Sample, whole: &Plan) -> Result<Option<Self>, Error> {
        let trace = &whole.trace;
        let refuse = |problem: &str, cure: &str| Err(Error::field("sample", sample, problem, cure));
        if trace.knows_operations() {
            return Err(sample.of_a_model());
        }
        if !trace.parents().is_empty() {
            return refuse("blocks of prompts continue each other, and it would tear them apart", "Leave it out");
        }
        if whole.costing.physical().is_some() {
            return refuse("a device has to see every access", "Leave it out, or let nothing count time");
        }
        let ids: Vec<u64> = trace.tensors().iter().map(|tensor| id_of(&tensor.name)).collect();
        let Some(all) = sample.choose(&ids, whole.recipe.seed)? else { return Ok(None) };
        drop(ids);
        let of = trace.summary();
        let details = Details { runs: whole.details.runs, ..Details::REPORTS };
        let part = |chosen: Chosen| {
            let part = trace.only(&chosen.numbers);
            let Summary { tensors, unique_bytes, .. } = part.summary();
            let scale = Scale::new(tensors, of.tensors, unique_bytes, of.unique_bytes);
            let recipe = recipe_of(&whole.recipe, trace, whole.from, scale, &chosen);
            Ok(Part { scale, plan: Plan::new(&recipe, Some(part), None, details)?, chosen })
        };
        Ok(Some(Self { parts: all.into_iter().map(part).collect::<Result<_, Error>>()? }))
    }

    /// Those of another recipe on the same trace, which counts from access `from` on.
    pub(super) fn sharing(&self, recipe: &Recipe, trace: &Trace, from: usize) -> Result<Self, Error> {
        let part = |Part { scale, chosen, plan }: &Part| {
            let recipe = recipe_of(recipe, trace, from, *scale, chosen);
            Ok(Part { scale: *scale, plan: plan.sharing(recipe)?, chosen: chosen.clone() })
        };
        Ok(Self { parts: self.parts.iter().map(part).collect::<Result<_, Error>>()? })
    }

    /// Takes memories for one of `capacity_bytes` of the whole.
    pub(super) fn set_capacity(&mut self, capacity_bytes: u64) -> Result<(), Error> {
        self.parts.iter_mut().try_for_each(|part| part.plan.set_capacity(part.scale.capacity(capacity_bytes)))
    }

    /// Takes curves for one at the capacities of `grid` of the whole, and reports where `details` want them.
    pub(super) fn set_curve(&mut self, grid: &Grid, details: Details) {
        for Part { scale, plan, .. } in &mut self.parts {
            plan.details.runs = details.runs;
            plan.set_curve(&scaled(grid, *scale));
        }
    }

    /// Every pass of every sample.
    pub(super) fn passes(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let passes = |(at, part): (usize, &Part)| (0..part.plan.passes()).map(move |pass| (at, pass));
        self.parts.iter().enumerate().flat_map(passes)
    }

    /// The plan of sample number `at`.
    pub(super) fn plan(&self, at: usize) -> Result<&Plan, Error> {
        let missing = || Error::Internal(format!("there is no sample {at}"));
        self.parts.get(at).map(|part| &part.plan).ok_or_else(missing)
    }

    /// Puts together what the samples found, given in the order of [`passes`](Self::passes): the reports and curves of
    /// `whole`. `gathered` has what its own passes found.
    pub(super) fn tell(&self, whole: &Plan, found: Vec<Answer>, gathered: &mut Gathered) -> Result<(), Error> {
        let mut found = found.into_iter();
        let mut all = Vec::new();
        for Part { scale, plan, .. } in &self.parts {
            let Gathered { runs, curve, .. } = plan.gather(found.by_ref().take(plan.passes()).collect())?;
            let curves = plan.curve.as_ref().map(|tasks| tasks.finish(curve)).transpose()?;
            all.push((*scale, plan.trace.summary(), runs, curves));
        }
        let of = whole.trace.summary();
        let larger = Larger::new(whole.trace.sized().skip(whole.from).map(|(_, bytes)| bytes));
        let mut sampled = Sampled {
            objects: self.parts.first().map_or(0, |part| part.chosen.objects),
            of_objects: of.tensors,
            samples: self.parts.len() as u64,
            estimates: Vec::new(),
            control: Vec::new(),
        };
        if whole.details.runs {
            let exact = gathered.schedules.pop().ok_or_else(|| Error::Internal("samples without a control".into()))?;
            let capacity_bytes = whole.recipe.memory.capacity_bytes;
            let truth = Truth {
                accesses: gathered.counted.accesses,
                requested_bytes: gathered.counted.requested_bytes,
                lru: exact.misses,
                oversize: larger.than(capacity_bytes),
            };
            let policies =
                all.first().map_or(Vec::new(), |(_, _, runs, _)| runs.iter().map(|run| run.policy).collect());
            let counts = |at: usize| {
                let of = |(scale, _, runs, _): &(_, _, Vec<Report>, _)| Some((*scale, counts_of(runs.get(at)?)));
                all.iter().filter_map(of).collect()
            };
            let counts = policies.iter().enumerate().map(|(at, policy)| (*policy, counts(at))).collect();
            let (counts, estimates, control) = Said { capacity_bytes, counts }.tell(truth)?;
            sampled.control.push(control);
            for (counts, estimate) in counts.into_iter().zip(estimates) {
                if !whole.recipe.policies.contains(&estimate.policy) {
                    continue;
                }
                let report = Report::new(estimate.policy, capacity_bytes, counts);
                let prototype = whole.costing == Costing::Prototype;
                gathered.runs.push(if prototype { report.by_prototype() } else { report });
                sampled.estimates.push(estimate);
            }
        }
        if let Some(tasks) = &whole.curve {
            let exact = tasks.finish(std::mem::take(&mut gathered.curve))?;
            let curves = self.curves(whole, &exact, &larger, &all, &mut sampled)?;
            gathered.curves = Some(curves);
        }
        gathered.sampled = Some(sampled);
        Ok(())
    }

    /// The curves of the whole, from those of the samples and the `exact` one of LRU.
    fn curves(
        &self,
        whole: &Plan,
        exact: &Curves,
        larger: &Larger,
        all: &[(Scale, Summary, Vec<Report>, Option<Curves>)],
        sampled: &mut Sampled,
    ) -> Result<Curves, Error> {
        let missing = || Error::Internal("a point of a sampled curve is missing".into());
        let of = whole.trace.summary();
        let lru = exact.curves.first().ok_or_else(missing)?;
        let policies: Vec<PolicySpec> = all
            .first()
            .and_then(|(.., curves)| curves.as_ref())
            .ok_or_else(missing)?
            .curves
            .iter()
            .map(|c| c.policy)
            .collect();
        let mut points: Vec<Vec<Misses>> = vec![Vec::new(); policies.len()];
        let of_samples: Vec<Larger> =
            self.parts.iter().map(|part| Larger::new(part.plan.trace.sized().map(|(_, bytes)| bytes))).collect();
        for point in &lru.points {
            let counts = |at: usize| {
                let of = |((scale, summary, _, curves), larger): (&(Scale, Summary, _, Option<Curves>), &Larger)| {
                    let wanted = scale.capacity(point.capacity_bytes);
                    let points = &curves.as_ref()?.curves.get(at)?.points;
                    let point = points.iter().find(|point| point.capacity_bytes == wanted)?;
                    let misses = (point.miss_ratio * summary.accesses as f64).round() as u64;
                    let miss_bytes = (point.byte_miss_ratio * summary.requested_bytes as f64).round() as u64;
                    Some((*scale, Counts { misses, miss_bytes, oversize: larger.than(wanted), ..Counts::default() }))
                };
                all.iter().zip(&of_samples).map(of).collect::<Option<Vec<_>>>().ok_or_else(missing)
            };
            let counts = policies.iter().enumerate().map(|(at, policy)| Ok((*policy, counts(at)?)));
            let said = Said { capacity_bytes: point.capacity_bytes, counts: counts.collect::<Result<_, Error>>()? };
            let truth = Truth {
                accesses: of.accesses,
                requested_bytes: of.requested_bytes,
                lru: Misses {
                    objects: (point.miss_ratio * of.accesses as f64).round() as u64,
                    bytes: (point.byte_miss_ratio * of.requested_bytes as f64).round() as u64,
                },
                oversize: larger.than(point.capacity_bytes),
            };
            let (counts, estimates, control) = said.tell(truth)?;
            for (points, counts) in points.iter_mut().zip(&counts) {
                points.push(Misses { objects: counts.misses, bytes: counts.miss_bytes });
            }
            sampled.estimates.extend(estimates.into_iter().filter(|it| whole.recipe.policies.contains(&it.policy)));
            sampled.control.push(control);
        }
        let wanted = |(policy, _): &(PolicySpec, Vec<Misses>)| whole.recipe.policies.contains(policy);
        let measured = policies.into_iter().zip(points).filter(wanted);
        let capacities = lru.points.iter().map(|point| point.capacity_bytes).collect();
        Ok(Measured::new(of, capacities).curves(measured))
    }
}

/// How many accesses are to objects larger than a capacity.
#[derive(Debug, Default)]
pub struct Larger {
    /// Sizes, rising, with the accesses to objects that are no larger.
    sizes: Vec<(u64, u64)>,
}

impl Larger {
    /// Of accesses to objects of these sizes.
    pub fn new(sizes: impl Iterator<Item = u64>) -> Self {
        let mut counts: FxHashMap<u64, u64> = FxHashMap::default();
        sizes.for_each(|bytes| *counts.entry(bytes).or_default() += 1);
        let mut sum = 0;
        let up_to = |bytes: u64| {
            sum += counts[&bytes];
            (bytes, sum)
        };
        let sizes = order::distinct(counts.keys().copied()).into_iter().map(up_to).collect();
        Self { sizes }
    }

    /// The accesses to objects larger than `capacity_bytes`.
    pub fn than(&self, capacity_bytes: u64) -> u64 {
        let up_to = |end: usize| end.checked_sub(1).map_or(0, |last| self.sizes[last].1);
        up_to(self.sizes.len()) - up_to(self.sizes.partition_point(|(bytes, _)| *bytes <= capacity_bytes))
    }
}

/// What a report counts.
pub(super) fn counts_of(report: &Report) -> Counts {
    let Report { hits, misses, hit_bytes, miss_bytes, evictions, bypassed, oversize, expired, .. } = *report;
    Counts { hits, misses, hit_bytes, miss_bytes, evictions, bypassed, oversize, expired }
}

/// The same experiment on a sample; LRU runs there as well.
fn recipe_of(recipe: &Recipe, trace: &Trace, from: usize, scale: Scale, chosen: &Chosen) -> Recipe {
    let mut policies = recipe.policies.clone();
    if !policies.iter().any(|policy| *policy == PolicyKind::Lru) {
        policies.push(PolicyKind::Lru.into());
    }
    let before = trace.accesses()[..from].iter().filter(|tensor| chosen.numbers[**tensor as usize] != LEFT_OUT).count();
    let warmup = (before > 0).then_some(Amount::Accesses(before as u64));
    let mut memory = recipe.memory.clone();
    memory.capacity_bytes = scale.capacity(memory.capacity_bytes);
    let curve = recipe.curve.as_ref().map(|grid| {
        let capacities = grid.capacities(trace);
        scaled(&Grid { capacities, ..grid.clone() }, scale)
    });
    Recipe { policies, memory, curve, measure: Measure { warmup, ..Measure::default() }, ..recipe.clone() }
}

/// The grid of a sample.
fn scaled(grid: &Grid, scale: Scale) -> Grid {
    let capacities = grid.capacities.iter().map(|capacity| scale.capacity(*capacity)).collect();
    Grid { capacities, ..grid.clone() }
}
