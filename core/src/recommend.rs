//! Which design to build: capacity, policy, admission, prefetch depth and tile for a goal, found by trying them all.

use serde::{Deserialize, Serialize};

use crate::closed;
use crate::curve::Grid;
use crate::error::Error;
use crate::memory::{Cost, Memory, Physical};
use crate::policy::{Knows, PolicyKind, PolicySpec};
use crate::progress::{Flow, Progress};
use crate::recipe::{Recipe, Workload};
use crate::rules::AdmissionSpec;
use crate::run::Alone;
use crate::sim::Report;
use crate::sweep::Shared;
use crate::trace::Trace;
use crate::units::{MIB, format_bytes, format_count, format_joules};

closed! {
    /// What is to be least.
    #[derive(Default)]
    pub enum Goal("goal", "goal") {
        /// The time of all accesses.
        #[default]
        Time = "time" titled "the least time",
        /// The energy of all accesses.
        Energy = "energy" titled "the least energy",
        /// Fast memory that is enough.
        Capacity = "capacity" titled "the least capacity that is enough",
    }
}

/// What a design has to reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// What is to be least.
    pub goal: Goal,
    /// The least hit rate of a capacity that is enough, as a share of the best hit rate of all designs, above 0 and up to 1.
    pub hits: f64,
    /// The most stall of a design, as a share of its time, 0..=1; any where absent.
    pub stall: Option<f64>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { goal: Goal::default(), hits: 0.9, stall: None }
    }
}

/// A design, and what it costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// Bytes of fast memory.
    pub capacity_bytes: u64,
    /// The policy.
    pub policy: PolicySpec,
    /// Which missed tensors come in.
    pub admission: AdmissionSpec,
    /// Accesses by which loads run ahead, where a device counts time.
    pub prefetch_depth: Option<u32>,
    /// The largest tile of a model's tensors in bytes; none where it follows the capacity.
    pub tile_bytes: Option<u64>,
    /// Hits as a share of accesses.
    pub hit_ratio: f64,
    /// Bytes from DRAM.
    pub miss_bytes: u64,
    /// Time of all accesses in ms, where anything counts it.
    pub time_ms: Option<f64>,
    /// The part of it that waits for DRAM, in ms, where a device counts it.
    pub stall_ms: Option<f64>,
    /// Energy in joules, the least and the most, where a device counts it.
    pub energy_j: Option<[f64; 2]>,
    /// The experiment, to run or to link to.
    pub recipe: Recipe,
}

/// What the bounds say is left at the capacity of the first design.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// No schedule fetches less, in bytes.
    pub miss_bytes: u64,
    /// No schedule takes less, in ms, where a device counts time.
    pub time_ms: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// What was wanted.
    pub wanted: Wanted,
    /// The best designs, the best first; at most [`SHOWN`].
    pub designs: Vec<Design>,
    /// LRU, as the recipe has everything else, to compare with.
    pub baseline: Design,
    /// What the bounds say is left.
    pub left: Left,
    /// Designs that were tried, and those of them that reach what is wanted.
    pub tried: u64,
    /// Those of them that reach what is wanted.
    pub enough: u64,
    /// What was tried, in words.
    pub space: Vec<String>,
}

/// What a search says that it does, while it counts the designs that are tried.
pub const DESIGNS: &str = "designs";
/// Designs that are shown, at most.
pub const SHOWN: usize = 5;

/// The policies that are tried where the recipe names none but the usual ones: each leads somewhere in docs/policies.md.
const POLICIES: [PolicyKind; 9] = [
    PolicyKind::Lru,
    PolicyKind::Fifo,
    PolicyKind::Sieve,
    PolicyKind::S3Fifo,
    PolicyKind::Arc,
    PolicyKind::Lirs,
    PolicyKind::WTinyLfu,
    PolicyKind::Gdsf,
    PolicyKind::MlReuse,
];
/// Prefetch depths that are tried: none, one access, and as many as cover the latency of most devices.
const DEPTHS: [u32; 4] = [0, 1, 4, 16];
/// Tiles that are tried beside those that follow the capacity (ours: a small and a large one).
const TILES: [u64; 2] = [MIB, 8 * MIB];
/// Capacities that are tried where none are named.
const CAPACITIES: u32 = 12;

/// What is tried.
struct Space {
    capacities: Vec<u64>,
    policies: Vec<PolicySpec>,
    admissions: Vec<AdmissionSpec>,
    depths: Vec<Option<u32>>,
    tiles: Vec<Option<u64>>,
}

impl Space {
    fn of(recipe: &Recipe, wanted: &Wanted, capacities: &[u64], shared: &Shared) -> Result<Self, Error> {
        let capacities = match (capacities, wanted.goal) {
            ([], Goal::Capacity) => Grid { points: CAPACITIES, capacities: Vec::new() }.capacities(shared.trace()),
            ([], _) => vec![recipe.memory.capacity_bytes],
            (given, _) => given.to_vec(),
        };
        let usual = recipe.policies == Recipe::default().policies;
        let policies = if usual { PolicySpec::plain(POLICIES) } else { recipe.policies.clone() };
        let policies: Vec<PolicySpec> = policies.into_iter().filter(|p| p.info().knows != Knows::Future).collect();
        if policies.is_empty() {
            let problem = "all of them know the future";
            return Err(Error::field("policies", "", problem, "Name one that can be built, such as lru"));
        }
        let mut admissions = vec![recipe.memory.admission];
        let bypass = AdmissionSpec::parse("bypass")?;
        if !admissions.contains(&bypass) {
            admissions.push(bypass);
        }
        let timed = physical(recipe, shared.trace());
        // Where time does not count, a load that runs ahead changes nothing.
        let counts = wanted.goal != Goal::Capacity || wanted.stall.is_some();
        let depths = match timed {
            Some(physical) if counts => {
                let mut depths: Vec<u32> = DEPTHS.into_iter().chain([physical.prefetch_depth]).collect();
                depths.sort_unstable();
                depths.dedup();
                depths.into_iter().map(Some).collect()
            }
            Some(physical) => vec![Some(physical.prefetch_depth)],
            None => vec![None],
        };
        let tiles = match &recipe.workload {
            Workload::Model(run) if run.tile_bytes.is_none() => {
                std::iter::once(None).chain(TILES.into_iter().map(Some)).collect()
            }
            Workload::Model(run) => vec![run.tile_bytes],
            _ => vec![None],
        };
        Ok(Self { capacities, policies, admissions, depths, tiles })
    }

    /// What is tried, in words.
    fn words(&self) -> Vec<String> {
        let list = |items: Vec<String>| items.join(", ");
        let mut words = vec![
            format!("capacities: {}", list(self.capacities.iter().map(|c| format_bytes(*c)).collect())),
            format!("policies: {}", list(self.policies.iter().map(PolicySpec::title).collect())),
            format!("admission: {}", list(self.admissions.iter().map(ToString::to_string).collect())),
        ];
        if self.depths.len() > 1 {
            words
                .push(format!("prefetch depths: {}", list(self.depths.iter().flatten().map(u32::to_string).collect())));
        }
        if self.tiles.len() > 1 {
            let tile = |tile: &Option<u64>| tile.map_or("as the capacity".into(), format_bytes);
            words.push(format!("tiles: {}", list(self.tiles.iter().map(tile).collect())));
        }
        words
    }
}

/// The device that counts the time of a recipe on `trace`, where one does.
fn physical(recipe: &Recipe, trace: &Trace) -> Option<Physical> {
    let random = matches!(recipe.workload, Workload::Synthetic(_));
    recipe.memory.cost.fit(trace.knows_operations(), random).physical().cloned()
}

/// Tries every design for `recipe`, and ranks those that reach what is `wanted`.
///
/// Its capacity is tried, or `capacities`; for the least capacity a grid of them where none are given. A file workload
/// brings its trace along.
///
/// # Errors
///
/// Where the recipe or a number is out of range, where nothing counts what is wanted, and where `progress` stops it.
pub fn recommend(
    recipe: &Recipe,
    file: Option<Trace>,
    wanted: Wanted,
    capacities: &[u64],
    progress: &mut dyn Progress,
) -> Result<Recommendation, Error> {
    check(&wanted)?;
    let base = Recipe { bounds: false, curve: None, ..recipe.clone() };
    base.check()?;
    let first = Shared::new(&base, file.clone(), 0)?;
    let space = Space::of(&base, &wanted, capacities, &first)?;
    let counted = physical(&base, first.trace()).is_some();
    if !counted && (wanted.stall.is_some() || wanted.goal == Goal::Energy) {
        let problem = "no device counts it";
        return Err(Error::field("goal", wanted.goal.name(), problem, "Name a device (accel list devices)"));
    }

    let baseline = {
        let lru = Recipe { policies: PolicySpec::plain([PolicyKind::Lru]), ..base.clone() };
        let alone = first.run(lru.clone(), progress)?;
        let report = alone.first().ok_or_else(|| Error::Internal("LRU was not run".into()))?;
        Design::of(&lru, &report.report)
    };
    let recipes: Vec<Recipe> = space.recipes(&base, first.trace());
    let total = recipes.len() as u64;
    let (mut designs, mut shared) = (Vec::new(), first);
    let mut of = base.clone();
    for (done, recipe) in recipes.into_iter().enumerate() {
        if progress.report(done as u64, total, DESIGNS) == Flow::Cancel {
            return Err(Error::Cancelled);
        }
        // Tiles that do not fit the capacity make no design.
        if recipe.check().is_err() {
            continue;
        }
        let follows = recipe.workload.follows_capacity() && recipe.memory.capacity_bytes != of.memory.capacity_bytes;
        if recipe.workload != of.workload || follows {
            shared = Shared::new(&recipe, file.clone(), 0)?;
            of = recipe.clone();
        }
        for Alone { report, .. } in shared.run(recipe.clone(), progress)? {
            designs.push(Design::of(&recipe, &report));
        }
    }
    let tried = designs.len() as u64;
    let best_hits = designs.iter().map(|design| design.hit_ratio).fold(0.0, f64::max);
    designs.retain(|design| design.reaches(&wanted, best_hits));
    let enough = designs.len() as u64;
    // What is equal keeps its order: simple designs were tried first.
    designs.sort_by(|a, b| a.rank(wanted.goal).partial_cmp(&b.rank(wanted.goal)).unwrap_or(std::cmp::Ordering::Equal));
    let mut shown: Vec<Design> = Vec::new();
    for design in designs {
        let alike = |other: &Design| other.policy == design.policy && other.admission == design.admission;
        if shown.len() < SHOWN && !shown.iter().any(alike) {
            shown.push(design);
        }
    }
    let Some(best) = shown.first() else {
        let problem = "no design that was tried reaches it";
        let cure = "Allow more stall, or try larger capacities";
        return Err(Error::field("stall", wanted.stall.unwrap_or_default(), problem, cure));
    };
    let bounded = Recipe { bounds: true, ..best.recipe.clone() };
    let bounds = Shared::new(&bounded, file, 0)?.run(bounded, progress)?.into_iter().find_map(|alone| alone.bounds);
    let bounds = bounds.ok_or_else(|| Error::Internal("there are no bounds".into()))?;
    let left = Left { miss_bytes: bounds.miss_bytes.lower, time_ms: bounds.time_ms.map(|time| time.lower) };
    Ok(Recommendation { wanted, designs: shown, baseline, left, tried, enough, space: space.words() })
}

/// What [`Design::cells`] tells.
pub const HEAD: [&str; 9] =
    ["capacity", "policy", "admission", "prefetch", "tile", "hits", "from DRAM", "time ms", "energy"];

impl Recommendation {
    /// What was asked, and how many designs were tried.
    pub fn headline(&self) -> String {
        let [tried, enough] = [self.tried, self.enough].map(format_count);
        let goal = self.wanted.goal.title();
        format!("For {goal}: {tried} designs were tried, {enough} of them reach what is wanted.")
    }

    /// What the bounds say is left.
    pub fn what_is_left(&self) -> String {
        let capacity = format_bytes(self.designs.first().unwrap_or(&self.baseline).capacity_bytes);
        let time = self.left.time_ms.map_or(String::new(), |ms| format!(" and takes less than {ms:.3} ms"));
        format!("With {capacity} no schedule fetches less than {}{time}.", format_bytes(self.left.miss_bytes))
    }
}

fn check(wanted: &Wanted) -> Result<(), Error> {
    let share = |field: &str, value: f64, least: bool| match (0.0..=1.0).contains(&value) && (value > 0.0 || !least) {
        true => Ok(()),
        false => Err(Error::field(field, value, "not a share", "Write a number from 0 to 1, such as 0.9")),
    };
    share("hits", wanted.hits, true)?;
    wanted.stall.map_or(Ok(()), |stall| share("stall", stall, false))
}

impl Space {
    /// A recipe for each capacity, tile, admission and depth, with all policies; the simple ones first, and those that share
    /// a trace one after another.
    fn recipes(&self, base: &Recipe, trace: &Trace) -> Vec<Recipe> {
        let physical = physical(base, trace);
        let mut recipes = Vec::new();
        for tile in &self.tiles {
            for capacity_bytes in &self.capacities {
                for admission in &self.admissions {
                    for depth in &self.depths {
                        let mut recipe = Recipe { policies: self.policies.clone(), ..base.clone() };
                        if let Workload::Model(run) = &mut recipe.workload {
                            run.tile_bytes = *tile;
                        }
                        let cost = match (&physical, depth) {
                            (Some(physical), Some(depth)) => {
                                Cost::Physical(Physical { prefetch_depth: *depth, ..physical.clone() })
                            }
                            _ => base.memory.cost.clone(),
                        };
                        recipe.memory = Memory {
                            capacity_bytes: *capacity_bytes,
                            admission: *admission,
                            cost,
                            ..base.memory.clone()
                        };
                        recipes.push(recipe);
                    }
                }
            }
        }
        recipes
    }
}

impl Design {
    /// The design and what it costs, as people read it: see [`HEAD`].
    pub fn cells(&self) -> [String; 9] {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        [
            format_bytes(self.capacity_bytes),
            self.policy.title(),
            self.admission.to_string(),
            or_none(self.prefetch_depth.map(|depth| depth.to_string())),
            or_none(self.tile_bytes.map(format_bytes)),
            format!("{:.2} %", 100.0 * self.hit_ratio),
            format_bytes(self.miss_bytes),
            or_none(self.time_ms.map(|ms| format!("{ms:.3}"))),
            or_none(self.energy_j.map(|[low, high]| format_joules(low, high))),
        ]
    }

    fn of(recipe: &Recipe, report: &Report) -> Self {
        let physical = report.physical.as_ref();
        let prefetch_depth = match &recipe.memory.cost {
            Cost::Physical(physical) => Some(physical.prefetch_depth),
            _ => None,
        };
        let tile_bytes = match &recipe.workload {
            Workload::Model(run) => run.tile_bytes,
            _ => None,
        };
        Self {
            capacity_bytes: report.capacity_bytes,
            policy: report.policy,
            admission: recipe.memory.admission,
            prefetch_depth,
            tile_bytes,
            hit_ratio: report.hit_ratio(),
            miss_bytes: report.miss_bytes,
            time_ms: report.time_ms(),
            stall_ms: physical.map(|timed| timed.stall_ms),
            energy_j: physical.map(|timed| [timed.energy.low_j, timed.energy.high_j]),
            recipe: Recipe { policies: vec![report.policy], ..recipe.clone() },
        }
    }

    fn reaches(&self, wanted: &Wanted, best_hits: f64) -> bool {
        let hits = wanted.goal != Goal::Capacity || self.hit_ratio >= wanted.hits * best_hits;
        let stalls = match (wanted.stall, self.stall_ms, self.time_ms) {
            (Some(most), Some(stall), Some(time)) => stall <= most * time,
            (Some(_), ..) => false,
            (None, ..) => true,
        };
        hits && stalls
    }

    /// What is to be least, and what decides where that is equal.
    fn rank(&self, goal: Goal) -> (f64, f64) {
        let bytes = self.miss_bytes as f64;
        match goal {
            Goal::Time => (self.time_ms.unwrap_or(bytes), bytes),
            Goal::Energy => (self.energy_j.map_or(f64::INFINITY, |[low, high]| low + high), bytes),
            Goal::Capacity => (self.capacity_bytes as f64, self.time_ms.unwrap_or(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unattended;
    use crate::workload::ModelRef;
    use crate::workload::model_run::ModelRun;

    fn recipe() -> Recipe {
        let model = ModelRef::Preset("gpt2-large".into());
        let run = ModelRun { model, prompt_tokens: Some(8), decode_tokens: Some(3), ..ModelRun::default() };
        let mut recipe = Recipe { workload: Workload::Model(run), ..Recipe::default() };
        recipe.memory.capacity_bytes = 400_000_000;
        recipe.policies = PolicySpec::plain([PolicyKind::Lru, PolicyKind::Mru, PolicyKind::MlReuse]);
        recipe
    }

    fn ask(wanted: Wanted) -> Recommendation {
        recommend(&recipe(), None, wanted, &[], &mut Unattended).unwrap()
    }

    /// The first is the least of all designs, each run by itself.
    #[test]
    fn the_first_is_the_best_of_all() {
        let answer = ask(Wanted::default());
        let space = Space {
            capacities: vec![400_000_000],
            policies: recipe().policies,
            admissions: vec![AdmissionSpec::default(), AdmissionSpec::parse("bypass").unwrap()],
            depths: DEPTHS.map(Some).to_vec(),
            tiles: vec![None, Some(TILES[0]), Some(TILES[1])],
        };
        let trace = recipe().trace(None).unwrap();
        let mut least = f64::INFINITY;
        let mut tried = 0;
        for recipe in space.recipes(&Recipe { bounds: false, ..recipe() }, &trace) {
            let outcome = crate::run::run(&recipe, &mut Unattended).unwrap();
            tried += outcome.runs.len() as u64;
            least = outcome.runs.iter().filter_map(Report::time_ms).fold(least, f64::min);
        }
        assert_eq!((answer.designs[0].time_ms, answer.tried), (Some(least), tried));
        assert!(answer.designs[0].time_ms <= answer.baseline.time_ms);
        assert!(answer.left.time_ms <= answer.designs[0].time_ms);
        // The recipe of a design makes its figures again.
        let again = crate::run::run(&answer.designs[0].recipe, &mut Unattended).unwrap();
        assert_eq!(again.runs[0].miss_bytes, answer.designs[0].miss_bytes);
    }

    #[test]
    fn the_least_capacity_reaches_what_is_wanted() {
        let answer = ask(Wanted { goal: Goal::Capacity, hits: 0.5, stall: None });
        let all = ask(Wanted { goal: Goal::Capacity, hits: 1e-9, stall: None });
        assert!(answer.designs.iter().all(|design| design.hit_ratio > 0.0));
        assert!(all.designs[0].capacity_bytes <= answer.designs[0].capacity_bytes);
        assert!(answer.enough < all.enough && answer.tried == all.tried);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let fails = |wanted: Wanted, recipe: &Recipe| {
            recommend(recipe, None, wanted, &[], &mut Unattended).unwrap_err().to_string()
        };
        assert!(fails(Wanted { hits: 0.0, ..Wanted::default() }, &recipe()).contains("hits"));
        assert!(fails(Wanted { stall: Some(1.5), ..Wanted::default() }, &recipe()).contains("stall"));
        assert!(fails(Wanted { stall: Some(0.0), ..Wanted::default() }, &recipe()).contains("no design"));
        let synthetic = Recipe { workload: Workload::Synthetic(Default::default()), ..Recipe::default() };
        let energy = Wanted { goal: Goal::Energy, ..Wanted::default() };
        assert!(fails(energy, &synthetic).contains("device"));
        let future = Recipe { policies: PolicySpec::plain([PolicyKind::Belady]), ..recipe() };
        assert!(fails(Wanted::default(), &future).contains("future"));
    }

    #[test]
    fn it_stops_when_it_is_told() {
        struct Never;
        impl Progress for Never {
            fn report(&mut self, _: u64, _: u64, _: &str) -> Flow {
                Flow::Cancel
            }
        }
        assert_eq!(recommend(&recipe(), None, Wanted::default(), &[], &mut Never), Err(Error::Cancelled));
    }
}
