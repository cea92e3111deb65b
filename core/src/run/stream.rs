//! Runs over traces that are too long to hold: accesses come in pieces, and only the objects and their sizes at
//! their first use are known beforehand.
//!
//! All policies run in all memories in one pass, over the whole trace or over samples of it, which are cut out of the
//! pieces. What is held grows with the objects and never with the accesses.

use std::sync::Arc;

use super::counter::Counter;
use super::sampled::{Said, Sampled, Scale, Truth};
use crate::bound::Misses;
use crate::error::Error;
use crate::memory::Costing;
use crate::policy::{Knows, PolicyKind, PolicySpec, Setup};
use crate::recipe::Recipe;
use crate::recipe::sample::Chosen;
use crate::rules::Rules;
use crate::sim::{Cache, Counts, Report, cache};
use crate::trace::part::LEFT_OUT;
use crate::trace::{Chunk, Resize, Summary};

/// What is known of a trace before it is run: its size, and its objects.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Accesses, objects and bytes.
    pub summary: Summary,
    /// What each object is known by, in the order of their first use.
    pub ids: &'a [u64],
    /// Their sizes at their first use, in bytes.
    pub sizes: &'a [u64],
    /// Their largest sizes, where any changes.
    pub largest: Option<&'a [u64]>,
}

/// The policies of a recipe, each in memories of some capacities, over accesses that come in pieces.
pub struct Stream {
    costing: Costing,
    summary: Summary,
    capacities: Vec<u64>,
    policies: Vec<PolicySpec>,
    /// The first of them are asked for.
    asked: usize,
    samples: Vec<Arc<Lane>>,
    runs: Vec<Run>,
}

/// A sample of the objects.
#[derive(Debug)]
struct Lane {
    chosen: Chosen,
    scale: Scale,
}

/// A policy in a memory.
struct Run {
    /// Its place among all.
    place: usize,
    /// The sample that it sees; none sees everything.
    sample: Option<Arc<Lane>>,
    policy: PolicySpec,
    capacity_bytes: u64,
    memory: Box<dyn Cache>,
    counter: Counter,
}

/// Some of the runs of a stream, to be run beside the others.
pub struct Part {
    runs: Vec<Run>,
    /// The first access that is counted.
    from: usize,
    cuts: Vec<Cut>,
}

/// The accesses of a piece that a sample has.
struct Cut {
    sample: Arc<Lane>,
    /// Accesses of the sample before the piece.
    start: usize,
    accesses: Vec<u32>,
    resizes: Vec<Resize>,
}

/// What a run counts.
#[derive(Debug)]
pub struct Done {
    place: usize,
    report: Report,
}

/// What a stream comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// A report for each policy and capacity: all policies at the first, in the order of the recipe, and so on.
    pub runs: Vec<Report>,
    /// How sure they are, where they are those of samples.
    pub sampled: Option<Sampled>,
}

/// Bytes that a memory holds for each object, at most: the engine's own and those of its policy (measured: a test of
/// `core/tests/memory` runs every policy that decides by the past; most take less than half).
pub const RUN_BYTES: u64 = 112;
/// Bytes that reading holds for each object, at most: its id, its sizes, and its place in a table that grows fourfold (measured as well).
pub const OBJECT_BYTES: u64 = 160;

impl Stream {
    /// Starts the policies of `recipe` in memories of `capacities` over a trace of `objects`. Fails for a policy that must
    /// know more than the past: its scores or its future would need the whole trace; and for a device, which needs it too.
    pub fn new(recipe: &Recipe, capacities: &[u64], objects: Known<'_>) -> Result<Self, Error> {
        if let Some(policy) = recipe.policies.iter().find(|policy| policy.info().knows != Knows::Past) {
            let problem = "this policy must know the whole trace, and a stream does not hold it";
            let cure = "Choose policies that decide by the past, or hold the trace";
            return Err(Error::field("policies", policy.name(), problem, cure));
        }
        let costing = recipe.memory.cost.fit(false, false);
        if costing.physical().is_some() {
            let problem = "a device must know the whole trace, and a stream does not hold it";
            return Err(Error::field("device", "given", problem, "Leave it out, or hold the trace"));
        }
        let summary = objects.summary;
        let accesses = usize::try_from(summary.accesses).unwrap_or(usize::MAX);
        let from = recipe.measure.begin(accesses)?;
        let counter = Counter::new(from, accesses, recipe.measure.interval(accesses - from)?);
        let rules = recipe.memory.nameless_rules()?;
        let chosen = match &recipe.measure.sample {
            Some(sample) => sample.choose(objects.ids, recipe.seed)?.unwrap_or_default(),
            None => Vec::new(),
        };
        let mut stream = Self {
            costing,
            summary,
            capacities: capacities.to_vec(),
            policies: recipe.policies.clone(),
            asked: recipe.policies.len(),
            samples: Vec::new(),
            runs: Vec::new(),
        };
        let lru = PolicySpec::from(PolicyKind::Lru);
        if chosen.is_empty() {
            let policies = stream.policies.clone();
            stream.add(recipe, &rules, None, &policies, objects.sizes, &counter)?;
            return Ok(stream);
        }
        // LRU over everything is the control.
        stream.add(recipe, &rules, None, &[lru], objects.sizes, &counter)?;
        if !stream.policies.contains(&lru) {
            stream.policies.push(lru);
        }
        for chosen in chosen {
            let kept = |sizes: &[u64]| -> Vec<u64> {
                let all = sizes.iter().zip(&chosen.numbers).filter(|(_, number)| **number != LEFT_OUT);
                all.map(|(bytes, _)| *bytes).collect()
            };
            let sizes = kept(objects.sizes);
            let unique: u64 = objects.largest.map_or_else(|| sizes.iter().sum(), |largest| kept(largest).iter().sum());
            let scale = Scale::new(chosen.objects, summary.tensors, unique, summary.unique_bytes);
            let sample = Arc::new(Lane { chosen, scale });
            stream.samples.push(Arc::clone(&sample));
            let policies = stream.policies.clone();
            // Where counting begins is known once the pieces come.
            let counter = Counter::new(0, usize::MAX, None);
            stream.add(recipe, &rules, Some(sample), &policies, &sizes, &counter)?;
        }
        Ok(stream)
    }

    /// Adds the runs of `policies` at every capacity.
    fn add(
        &mut self,
        recipe: &Recipe,
        rules: &Rules,
        sample: Option<Arc<Lane>>,
        policies: &[PolicySpec],
        sizes: &[u64],
        counter: &Counter,
    ) -> Result<(), Error> {
        for capacity_bytes in self.capacities.clone() {
            let capacity_bytes = sample.as_ref().map_or(capacity_bytes, |lane| lane.scale.capacity(capacity_bytes));
            for policy in policies {
                let setup = Setup {
                    admission: recipe.memory.mode(),
                    rules: Some(rules),
                    seed: recipe.seed,
                    ..Setup::new(sizes, capacity_bytes)
                };
                let memory = cache(*policy, &setup)?;
                let (place, sample, counter) = (self.runs.len(), sample.clone(), counter.clone());
                self.runs.push(Run { place, sample, policy: *policy, capacity_bytes, memory, counter });
            }
        }
        Ok(())
    }

    /// Bytes that runs of `policies` policies in `capacities` memories over `objects` objects hold at most, with
    /// `sampled` objects in each of the `samples` samples.
    pub fn bytes(policies: usize, capacities: usize, objects: u64, samples: Option<(u64, u64)>) -> u64 {
        let memories = |policies: usize, objects: u64| {
            (policies as u64).saturating_mul(capacities as u64).saturating_mul(objects).saturating_mul(RUN_BYTES)
        };
        let runs = match samples {
            None => memories(policies, objects),
            Some((samples, sampled)) => {
                let each = memories(policies + 1, sampled).saturating_add(objects * size_of::<u32>() as u64);
                memories(1, objects).saturating_add(samples.saturating_mul(each))
            }
        };
        runs.saturating_add(objects.saturating_mul(OBJECT_BYTES))
    }

    /// Its runs in `parts` parts or fewer, to be run at once. What [`Part::finish`] gives goes to [`finish`](Self::finish).
    pub fn split(&mut self, parts: usize) -> Vec<Part> {
        let mut runs = std::mem::take(&mut self.runs);
        let from = runs.first().map_or(0, |run| run.counter.from());
        let each = runs.len().div_ceil(parts.max(1)).max(1);
        let mut all = Vec::new();
        while !runs.is_empty() {
            let rest = runs.split_off(each.min(runs.len()));
            let runs = std::mem::replace(&mut runs, rest);
            let mut cuts: Vec<Cut> = Vec::new();
            for sample in runs.iter().filter_map(|run| run.sample.as_ref()) {
                if cuts.last().is_none_or(|cut| !Arc::ptr_eq(&cut.sample, sample)) {
                    let (accesses, resizes) = (Vec::new(), Vec::new());
                    cuts.push(Cut { sample: Arc::clone(sample), start: 0, accesses, resizes });
                }
            }
            all.push(Part { runs, from, cuts });
        }
        all
    }

    /// What all parts counted.
    pub fn finish(self, done: Vec<Done>) -> Result<Outcome, Error> {
        let missing = || Error::Internal("a run of a stream is missing".into());
        let mut done = done;
        done.sort_by_key(|done| done.place);
        let mut reports = done.into_iter().map(|done| done.report);
        let timed = |report: Report| match self.costing {
            Costing::Prototype => report.by_prototype(),
            _ => report,
        };
        if self.samples.is_empty() {
            return Ok(Outcome { runs: reports.map(timed).collect(), sampled: None });
        }
        let control: Vec<Report> = reports.by_ref().take(self.capacities.len()).collect();
        let each = self.capacities.len() * self.policies.len();
        let samples: Vec<Vec<Report>> = self.samples.iter().map(|_| reports.by_ref().take(each).collect()).collect();
        let mut sampled = Sampled {
            objects: self.samples.first().map_or(0, |sample| sample.chosen.objects),
            of_objects: self.summary.tensors,
            samples: self.samples.len() as u64,
            estimates: Vec::new(),
            control: Vec::new(),
        };
        let mut runs = Vec::new();
        for (at, (capacity_bytes, exact)) in self.capacities.iter().zip(&control).enumerate() {
            let truth = Truth {
                accesses: exact.hits + exact.misses,
                requested_bytes: exact.hit_bytes + exact.miss_bytes,
                lru: Misses { objects: exact.misses, bytes: exact.miss_bytes },
                oversize: exact.oversize,
            };
            let counts = |policy: usize| {
                let place = at * self.policies.len() + policy;
                let of = |(lane, reports): (&Arc<Lane>, &Vec<Report>)| {
                    Some((lane.scale, super::sampled::counts_of(reports.get(place)?)))
                };
                self.samples.iter().zip(&samples).map(of).collect::<Option<Vec<_>>>().ok_or_else(missing)
            };
            let counts = self.policies.iter().enumerate().map(|(place, policy)| Ok((*policy, counts(place)?)));
            let said = Said { capacity_bytes: *capacity_bytes, counts: counts.collect::<Result<_, Error>>()? };
            let (counts, estimates, control) = said.tell(truth)?;
            for (counts, estimate) in counts.into_iter().zip(estimates).take(self.asked) {
                runs.push(timed(Report::new(estimate.policy, *capacity_bytes, counts)));
                sampled.estimates.push(estimate);
            }
            sampled.control.push(control);
        }
        Ok(Outcome { runs, sampled: Some(sampled) })
    }
}

impl Cut {
    /// Cuts the accesses of `chunk` out.
    fn of(&mut self, chunk: Chunk<'_>) {
        self.start += self.accesses.len();
        self.accesses.clear();
        self.resizes.clear();
        let numbers = &self.sample.chosen.numbers;
        let mut resizes = chunk.resizes.iter().peekable();
        for (now, tensor) in (chunk.start..).zip(chunk.accesses) {
            let number = numbers[*tensor as usize];
            let resize = resizes.next_if(|resize| resize.at as usize == now);
            if number != LEFT_OUT {
                let at = (self.start + self.accesses.len()) as u64;
                self.resizes.extend(resize.map(|resize| Resize { at, ..*resize }));
                self.accesses.push(number);
            }
        }
    }
}

impl Part {
    /// Runs the next accesses.
    pub fn advance(&mut self, chunk: Chunk<'_>) {
        let (start, length) = (chunk.start, chunk.accesses.len());
        // Samples begin to count where the whole does.
        let begins = (self.from > start && self.from < start + length).then(|| self.from - start);
        let pieces = match begins {
            Some(at) if !self.cuts.is_empty() => vec![chunk.part(0, at), chunk.part(at, length)],
            _ => vec![chunk],
        };
        for chunk in pieces {
            let counts = chunk.start == self.from && self.from > 0;
            self.cuts.iter_mut().for_each(|cut| cut.of(chunk));
            for Run { sample, memory, counter, .. } in &mut self.runs {
                let Some(sample) = sample else {
                    counter.advance(&mut **memory, chunk);
                    continue;
                };
                if counts {
                    counter.begin(memory.counts());
                }
                // Whoever has a sample has its cut.
                if let Some(cut) = self.cuts.iter().find(|cut| Arc::ptr_eq(&cut.sample, sample)) {
                    let Cut { start, accesses, resizes, .. } = cut;
                    memory.advance(Chunk { start: *start, accesses, resizes, deadlines: &[] });
                }
            }
        }
    }

    /// What its runs count.
    pub fn finish(self) -> Vec<Done> {
        let done = |run: Run| {
            let counts: Counts = run.memory.counts().since(run.counter.before());
            let report = run.counter.report(Report::new(run.policy, run.capacity_bytes, counts));
            Done { place: run.place, report }
        };
        self.runs.into_iter().map(done).collect()
    }
}
