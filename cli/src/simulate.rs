//! `accel simulate`: policies side by side.

use std::io::Write;
use std::path::PathBuf;

use accel_core::bound::Bounds;
use accel_core::curve::Curves;
use accel_core::memory::Stated;
use accel_core::policy::Knows;
use accel_core::recipe::Recipe;
use accel_core::recipe::fields::Part;
use accel_core::recipe::measure::Amount;
use accel_core::run::sampled::Sampled;
use accel_core::run::{Details, Outcome};
use accel_core::sim::Report;
use accel_core::trace::Summary;
use accel_core::units::{format_bytes, format_count, format_joules};
use accel_files::parallel::{at_capacities, run_all};
use accel_files::stream::{Memories, Streamed};
use clap::Args;
use serde::Serialize;

use crate::figures::{self, print_intervals};
use crate::flags::{Flags, OfMeasure};
use crate::picture;
use crate::progress::Bar;
use crate::scores::{Price, ScorerArgs};
use crate::source::{ExperimentArgs, Source};
use crate::stream;
use crate::table::{numbers, print_bounds, print_curves, print_json, print_sampled, print_summary};

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    experiment: ExperimentArgs,
    #[command(flatten)]
    measure: Flags<OfMeasure>,
    #[command(flatten)]
    scorer: ScorerArgs,
    /// Enclose what any policy could do, and explain the differences, for a trace file as well: it takes as long as a
    /// dozen policies. Models and the synthetic workload have bounds unless --no-bounds is given.
    #[arg(long, conflicts_with_all = ["no_bounds", "stream"])]
    bounds: bool,
    /// Leave out the bounds on what any policy could do.
    #[arg(long)]
    no_bounds: bool,
    /// Go twice through the trace without holding it, whatever its length; for policies that decide by the past, without
    /// bounds, device and explanation (a model, whose accesses are made as they are run, or a file: oracleGeneral, CSV and
    /// Parquet, packed or not; - for standard input).
    #[arg(long, conflicts_with_all = ["recipe", "device", "scorer"])]
    stream: bool,
    /// Print JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Draw what each policy fetches into a file as well: .svg, .png, or .html with the figures.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print CSV: one line for each policy and capacity, or for each of their intervals.
    #[arg(long)]
    csv: bool,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    /// What was asked; where there are several capacities, with the first.
    recipe: &'a Recipe,
    trace: &'a Summary,
    /// What counts time.
    cost: &'a Stated,
    /// One for each policy and capacity.
    runs: Vec<&'a Report>,
    /// How good any policy could be, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    bounds: Option<BoundsAnswer<'a>>,
    /// How sure they are, where they are those of samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<Vec<&'a Sampled>>,
    /// How misses fall as memory grows, where the recipe asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<&'a Curves>,
    /// Bytes that the operators load at least; left out where nothing is known of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    io_bound_bytes: Option<u64>,
    /// Who made the eviction scores, where a policy read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    scorer: Option<&'static str>,
    /// What the scores cost, where a server was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<&'a Price>,
}

/// The bounds at the capacity, or at each of several.
#[derive(Serialize)]
#[serde(untagged)]
enum BoundsAnswer<'a> {
    One(BoundsAt<'a>),
    Each(Vec<BoundsAt<'a>>),
}

#[derive(Serialize)]
struct BoundsAt<'a> {
    capacity_bytes: u64,
    #[serde(flatten)]
    bounds: &'a Bounds,
}

impl Simulate {
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut recipe = self.source.recipe(&self.experiment)?;
        self.measure.apply(Part::Measure, &mut recipe)?;
        recipe.measure.check()?;
        if self.experiment.policy.is_none() && recipe.measure.sample.is_some() {
            recipe.policies.retain(|policy| !policy.info().scored());
        }
        self.scorer.apply(&mut recipe)?;
        if self.stream {
            if self.experiment.policy.is_none() {
                recipe.policies.retain(|policy| policy.info().knows == Knows::Past);
            }
            return self.stream(&recipe, out);
        }
        recipe.bounds = (recipe.bounds || self.bounds) && !self.no_bounds;
        let file = self.source.file(&recipe)?.map(|(trace, _)| trace);
        // What is not printed is not computed: `accel explain` gives the reasons.
        let words = !self.json && !self.csv && recipe.bounds;
        let details = Details { explanation: words, ..Details::REPORTS };
        let mut price = None;
        let plan = self.scorer.plan(&recipe, file, details, &mut price)?;
        let mut plans = at_capacities(plan, &self.experiment.memory.capacities)?;
        let recipes: Vec<Recipe> = plans.iter().map(|plan| plan.recipe().clone()).collect();
        if recipes.len() > 1 && recipe.workload.follows_capacity() {
            // Each memory has tiles of its own, and so a trace of its own.
            plans.clear();
            for recipe in &recipes {
                let file = self.source.file(recipe)?.map(|(trace, _)| trace);
                plans.push(self.scorer.plan(recipe, file, details, &mut price)?);
            }
        }
        self.print(&recipes, &run_all(plans, &mut Bar::new())?, price.as_ref(), out)
    }

    /// Prints the outcomes, each of a recipe that differs from the others in its capacity.
    fn print(
        &self,
        recipes: &[Recipe],
        outcomes: &[Outcome],
        price: Option<&Price>,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let Some((recipe, first)) = recipes.iter().zip(outcomes).next() else { return Ok(()) };
        let runs: Vec<Report> = outcomes.iter().flat_map(|outcome| outcome.runs.iter().cloned()).collect();
        if let Some(path) = &self.plot {
            let least = (outcomes.len() == 1).then(|| first.bounds.as_ref().map(|bounds| bounds.miss_bytes.lower));
            picture::save_one(path, &picture::of_runs(&runs, least.flatten())?)?;
        }
        if self.csv {
            let intervals = recipe.measure.interval.is_some();
            return if intervals { figures::intervals_csv(&runs, out) } else { figures::csv(&runs, out) };
        }
        let bounds = || {
            let pairs = recipes.iter().zip(outcomes);
            pairs.filter_map(|(recipe, outcome)| Some((recipe.memory.capacity_bytes, outcome.bounds.as_ref()?)))
        };
        let scored = runs.iter().any(|run| run.policy.info().scored());
        if self.json {
            let mut at: Vec<BoundsAt<'_>> =
                bounds().map(|(capacity_bytes, bounds)| BoundsAt { capacity_bytes, bounds }).collect();
            let bounds = match at.len() {
                0 => None,
                1 => at.pop().map(BoundsAnswer::One),
                _ => Some(BoundsAnswer::Each(at)),
            };
            let Outcome { trace, cost, curve, .. } = first;
            let scorer = scored.then(|| first.scorer.name());
            let runs = runs.iter().collect();
            let io_bound_bytes = Some(first.io_bound_bytes).filter(|bytes| *bytes > 0);
            let curve = curve.as_ref();
            let sampled = recipe.measure.sample.map(|_| outcomes.iter().filter_map(|it| it.sampled.as_ref()).collect());
            return print_json(
                &Answer { recipe, trace, cost, runs, bounds, sampled, curve, io_bound_bytes, scorer, price },
                out,
            );
        }
        let capacities: Vec<u64> = recipes.iter().map(|recipe| recipe.memory.capacity_bytes).collect();
        print_summary(&first.trace, &capacities, out)?;
        print_measure(recipe, out)?;
        for cost in outcomes.iter().map(|outcome| &outcome.cost).take(1) {
            writeln!(out, "{}", cost.about)?;
        }
        writeln!(out, "{}", figures::table(&runs))?;
        outcomes.iter().filter_map(|it| it.sampled.as_ref()).try_for_each(|sampled| print_sampled(sampled, out))?;
        print_physical(&runs, out)?;
        print_intervals(&runs, out)?;
        for (capacity, bounds) in bounds() {
            if outcomes.len() > 1 {
                write!(out, "In {}: ", format_bytes(capacity))?;
            }
            print_bounds(bounds, out)?;
        }
        for (capacity, outcome) in capacities.iter().zip(outcomes).filter(|(_, it)| it.io_bound_bytes > 0) {
            let (least, capacity) = (format_bytes(outcome.io_bound_bytes), format_bytes(*capacity));
            writeln!(out, "The operators themselves load at least {least} into {capacity}, in whatever order.")?;
        }
        if let Some(curves) = &first.curve {
            print_curves(curves, out)?;
        }
        for (capacity, outcome) in capacities.iter().zip(outcomes).filter(|(_, it)| !it.explanation.is_empty()) {
            if outcomes.len() > 1 {
                writeln!(out, "In {}:", format_bytes(*capacity))?;
            }
            writeln!(out, "{}", outcome.headline)?;
            outcome.explanation.iter().try_for_each(|sentence| writeln!(out, "{sentence}"))?;
        }
        if scored {
            let price = price.map_or(String::new(), |Price { questions, seconds }| {
                format!(": {questions} different questions, answered in {seconds:.1} s")
            });
            writeln!(out, "Eviction scores by the {} scorer{price}.", first.scorer.name())?;
        }
        if let Some(validation) = &first.validation {
            writeln!(out, "Validation against the generator's own laws. {}", validation.interpretation)?;
        }
        Ok(())
    }

    fn stream(&self, recipe: &Recipe, out: &mut dyn Write) -> anyhow::Result<()> {
        let capacities = Memories::These(&self.experiment.memory.capacities);
        let Streamed { summary, outcome, .. } = stream::run(recipe, &self.source, capacities)?;
        let (trace, runs, sampled) = (summary, outcome.runs, outcome.sampled);
        if let Some(path) = &self.plot {
            picture::save_one(path, &picture::of_runs(&runs, None)?)?;
        }
        if self.csv {
            return figures::csv(&runs, out);
        }
        let costing = recipe.memory.cost.fit(false, false);
        let cost = costing.stated(recipe.memory.capacity_bytes)?;
        if self.json {
            let runs = runs.iter().collect();
            let (bounds, curve, io_bound_bytes, scorer, price) = (None, None, None, None, None);
            let (trace, cost, sampled) = (&trace, &cost, sampled.as_ref().map(|sampled| vec![sampled]));
            let answer = Answer { recipe, trace, cost, runs, bounds, sampled, curve, io_bound_bytes, scorer, price };
            return print_json(&answer, out);
        }
        let mut capacities: Vec<u64> = runs.iter().map(|run| run.capacity_bytes).collect();
        capacities.dedup();
        print_summary(&trace, &capacities, out)?;
        writeln!(out, "{}", cost.about)?;
        writeln!(out, "{}", figures::table(&runs))?;
        sampled.map_or(Ok(()), |sampled| print_sampled(&sampled, out))
    }
}

/// What is run and counted, where that is not everything.
fn print_measure(recipe: &Recipe, out: &mut dyn Write) -> anyhow::Result<()> {
    let measure = &recipe.measure;
    if let Some(warmup) = measure.warmup {
        let unit = if matches!(warmup, Amount::Share(_)) { "of the accesses" } else { "accesses" };
        writeln!(out, "Counted from the end of a warm-up of {warmup} {unit} on.")?;
    }
    if measure.ignore_size {
        writeln!(out, "Every tensor counts one byte.")?;
    }
    Ok(())
}

/// Time, traffic and energy on the device.
fn print_physical(runs: &[Report], out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(first) = runs.iter().find_map(|run| run.physical.as_ref()) else { return Ok(()) };
    writeln!(out, "{}", figures::on_the_device(runs))?;
    let levels = runs.iter().flat_map(|run| {
        let title = run.policy.title();
        run.physical.iter().flat_map(|timed| &timed.levels).map(move |level| {
            [
                format!("{title} over {} ({})", level.name, level.policy.title()),
                format_bytes(level.capacity_bytes),
                format_count(level.accesses),
                format_count(level.hits),
                format_count(level.misses),
                format_bytes(level.miss_bytes),
                format_bytes(level.written_bytes),
            ]
        })
    });
    if !first.levels.is_empty() {
        let header = ["level", "capacity", "loads", "hits", "misses", "from beneath", "written"];
        writeln!(out, "{}", numbers(header, levels))?;
    }
    let items = first.energy.ledger.iter().map(|item| {
        [
            item.what.clone(),
            format!("{:.4e} {}s", item.amount, item.unit),
            format!("{:.3} to {:.3}", item.low_pj, item.high_pj),
            format_joules(item.low_j, item.high_j),
            item.source.clone(),
        ]
    });
    let title = format!("energy of {}", runs.first().map_or_else(String::new, |run| run.policy.title()));
    writeln!(out, "{}", numbers([title.as_str(), "amount", "pJ each", "energy", "source"], items))?;
    Ok(())
}
