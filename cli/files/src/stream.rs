//! Runs over traces that are too long to hold: the accesses are read from their file, or made by their model, twice: once
//! to learn the objects, once to run.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;

use accel_core::bound::Misses;
use accel_core::curve::{Curves, Grid, Measured};
use accel_core::error::Error;
use accel_core::import::oracle_general::Objects;
use accel_core::policy::Knows;
use accel_core::progress::{Flow, Progress};
use accel_core::recipe::sample::{SAMPLES, Size};
use accel_core::recipe::{FileSource, Recipe};
use accel_core::run::stream::{Done, Known, Outcome, Stream};
use accel_core::trace::{Chunk, Resize, Sink, Summary, Tensor};
use accel_core::units::{format_bytes, format_count};
use accel_core::workload::model_run::ModelRun;
use anyhow::{Context as _, bail};

use crate::parallel::Capacity;
use crate::pieces::Source;

/// The memories of a run.
#[derive(Debug, Clone, Copy)]
pub enum Memories<'a> {
    /// Of these capacities; that of the recipe where there are none.
    These(&'a [Capacity]),
    /// Of the capacities of a grid.
    Grid(&'a Grid),
}

/// What is held while a stream runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Bytes, at most.
    pub bytes: u64,
    /// Objects of the trace.
    pub objects: u64,
    /// Memories that are run at once, in samples as well.
    pub runs: u64,
}

/// What a stream comes to.
#[derive(Debug)]
pub struct Streamed {
    /// The size of the trace.
    pub summary: Summary,
    /// The reports.
    pub outcome: Outcome,
    /// What the reader should know of the file and the samples.
    pub warnings: Vec<String>,
}

impl Streamed {
    /// The reports as curves: those of a grid.
    pub fn curves(&self, recipe: &Recipe) -> Curves {
        let mut capacities: Vec<u64> = self.outcome.runs.iter().map(|run| run.capacity_bytes).collect();
        capacities.dedup();
        let misses = |at: usize| {
            let runs = self.outcome.runs.iter().skip(at).step_by(recipe.policies.len().max(1));
            runs.map(|run| Misses { objects: run.misses, bytes: run.miss_bytes }).collect()
        };
        let policies = recipe.policies.iter().enumerate().map(|(at, policy)| (*policy, misses(at)));
        Measured::new(self.summary, capacities).curves(policies)
    }
}

/// Runs the policies of `recipe` over its trace file at `path`, in `memories`, all at once. `allow` is asked before they
/// start whether there is room for what they hold.
///
/// One thread reads while others simulate: each has some of the runs.
///
/// # Errors
///
/// Where a policy must know more than the past, and where the format cannot be read in order.
pub fn run(
    recipe: &Recipe,
    source: &FileSource,
    path: &Path,
    memories: Memories<'_>,
    allow: &mut Allow<'_>,
    progress: &mut dyn Progress,
) -> anyhow::Result<Streamed> {
    refuse_foresight(recipe)?;
    if let Some(member) = &source.member {
        bail!("{member} is in an archive, which cannot be streamed: unpack it first, or leave --stream out");
    }
    let file = Source::open(path, source.format, source.columns.as_ref())?;
    let name = file.name();
    let most = recipe.measure.requests.unwrap_or(u64::MAX);
    let mut objects = Objects::default();
    let warnings = file.each(most, progress, "objects", |chunk| Ok(objects.learn(name, chunk)?))?;
    let summary = objects.summary(name)?;
    let largest = objects.largest_sizes();
    let known = Known { summary, ids: objects.ids(), sizes: objects.sizes(), largest: largest.as_deref() };
    let mut again = objects.again();
    let differs = format!("{name} must be a regular file that nobody writes to");
    let mut streamed = simulate(recipe, known, (memories, allow), &differs, |take| {
        let keep = |chunk: &[u8]| {
            let Chunk { start, accesses, resizes, .. } = again.accesses(name, chunk)?;
            take(Piece { start, accesses: accesses.to_vec(), resizes: resizes.to_vec() });
            Ok(())
        };
        file.each(most, progress, "policies", keep).map(drop)
    })?;
    streamed.warnings.splice(0..0, warnings);
    Ok(streamed)
}

/// The same over the accesses of a model's run, which are made as they are run: there may be as many as it takes.
///
/// # Errors
///
/// Where a policy must know more than the past, where several memories would each have tiles of their own, and where only
/// a part is asked for.
pub fn run_model(
    recipe: &Recipe,
    run: &ModelRun,
    memories: Memories<'_>,
    allow: &mut Allow<'_>,
    progress: &mut dyn Progress,
) -> anyhow::Result<Streamed> {
    refuse_foresight(recipe)?;
    if recipe.workload.follows_capacity() && matches!(memories, Memories::These([_, _, ..])) {
        bail!(
            "each capacity has tiles of its own, and so a run of its own: stream one at a time, or give all the same \
             tiles with --tile"
        );
    }
    if let Some(requests) = recipe.measure.requests {
        bail!(
            "the first {requests} accesses of a model's run cannot be streamed: choose fewer tokens, or leave --stream out"
        );
    }
    let mut uses: Vec<u64> = Vec::new();
    let mut accesses = 0;
    let (tensors, warnings) = each_piece(recipe, run, |piece| {
        accesses += piece.len() as u64;
        for tensor in piece {
            let tensor = tensor as usize;
            if uses.len() <= tensor {
                uses.resize(tensor + 1, 0);
            }
            uses[tensor] += 1;
        }
        // How many there will be is what this pass is to learn.
        go_on(progress.report(accesses, accesses, "tensors"))
    })?;
    let sizes: Vec<u64> = tensors.iter().map(|tensor| tensor.bytes).collect();
    let sum = uses.iter().zip(&sizes).try_fold(0u64, |sum, (uses, bytes)| sum.checked_add(uses.checked_mul(*bytes)?));
    let requested_bytes = sum.context("the accesses add up to more than 2^64 - 1 bytes: choose fewer tokens")?;
    let (tensors, unique_bytes) = (sizes.len() as u64, sizes.iter().sum());
    let summary = Summary { accesses, tensors, requested_bytes, unique_bytes };
    // Tensors are not sampled: what each is known by does not matter.
    let ids: Vec<u64> = (0..tensors).collect();
    let known = Known { summary, ids: &ids, sizes: &sizes, largest: None };
    let mut streamed = simulate(recipe, known, (memories, allow), "This is a fault of the program", |take| {
        let mut start = 0;
        let pass = each_piece(recipe, run, |accesses| {
            let length = accesses.len();
            take(Piece { start, accesses, resizes: Vec::new() });
            start += length;
            go_on(progress.report(start as u64, summary.accesses, "policies"))
        });
        pass.map(drop)
    })?;
    streamed.warnings.splice(0..0, warnings);
    Ok(streamed)
}

/// Says whether there is room for what a stream holds.
pub type Allow<'a> = dyn FnMut(Needs) -> anyhow::Result<()> + 'a;

fn refuse_foresight(recipe: &Recipe) -> anyhow::Result<()> {
    let policies = recipe.policies.iter().map(|kind| kind.info());
    if let Some(policy) = policies.clone().find(|policy| policy.knows != Knows::Past) {
        bail!(
            "{} needs to know the whole trace, and --stream does not hold it: leave it out, or leave --stream out",
            policy.title
        );
    }
    Ok(())
}

fn go_on(flow: Flow) -> anyhow::Result<()> {
    match flow {
        Flow::Continue => Ok(()),
        Flow::Cancel => Err(Error::Cancelled.into()),
    }
}

/// Makes the accesses of `run` on a thread of its own and hands them to `take`, piece by piece.
fn each_piece(
    recipe: &Recipe,
    run: &ModelRun,
    take: impl FnMut(Vec<u32>) -> anyhow::Result<()>,
) -> anyhow::Result<(Vec<Tensor>, Vec<String>)> {
    let (seed, capacity_bytes) = (recipe.seed, recipe.memory.capacity_bytes);
    std::thread::scope(|scope| {
        let (sender, pieces) = sync_channel(AHEAD);
        // Where nobody takes them any more, no more are made.
        let sink = Sink::new(move |piece| sender.send(piece).map_err(|_| Error::Cancelled));
        let maker = scope.spawn(move || run.stream(seed, capacity_bytes, sink));
        let taken = pieces.iter().try_for_each(take);
        drop(pieces);
        let made = maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        taken?;
        Ok(made?)
    })
}

/// Runs the policies over what is `known`; `feed` gives the accesses. `differs` is said where they are not as many as are
/// known.
fn simulate(
    recipe: &Recipe,
    known: Known<'_>,
    (memories, allow): (Memories<'_>, &mut Allow<'_>),
    differs: &str,
    feed: impl FnOnce(&mut dyn FnMut(Piece)) -> anyhow::Result<()>,
) -> anyhow::Result<Streamed> {
    let mut summary = known.summary;
    let ones = recipe.measure.ignore_size.then(|| vec![1; known.sizes.len()]);
    if ones.is_some() {
        (summary.requested_bytes, summary.unique_bytes) = (summary.accesses, summary.tensors);
    }
    let sizes = ones.as_deref().unwrap_or(known.sizes);
    let largest = known.largest.filter(|_| ones.is_none());
    let smallest = || sizes.iter().copied().min().unwrap_or(1);
    let capacities: Vec<u64> = match memories {
        Memories::These([]) => vec![recipe.memory.capacity_bytes],
        Memories::These(some) => {
            let mut bytes = Vec::new();
            for capacity in some.iter().map(|capacity| capacity.bytes(summary.unique_bytes)) {
                if !bytes.contains(&capacity) {
                    bytes.push(capacity);
                }
            }
            bytes
        }
        Memories::Grid(grid) => grid.capacities_of(summary.unique_bytes, smallest()),
    };
    allow(needs(recipe, capacities.len(), summary.tensors))?;
    let mut stream = Stream::new(recipe, &capacities, Known { summary, sizes, largest, ..known })?;
    let parts = stream.split(rayon::current_num_threads());
    let mut read = 0;
    let done = std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for mut part in parts {
            let (sender, pieces) = sync_channel::<Arc<Piece>>(AHEAD);
            let worker = scope.spawn(move || {
                pieces.iter().for_each(|piece| part.advance(piece.chunk()));
                part.finish()
            });
            workers.push((sender, worker));
        }
        let result = feed(&mut |mut piece| {
            if ones.is_some() {
                piece.resizes.clear();
            }
            read += piece.accesses.len() as u64;
            let piece = Arc::new(piece);
            // A worker that is gone has panicked: that shows when it is joined.
            workers.iter().for_each(|(sender, _)| drop(sender.send(Arc::clone(&piece))));
        });
        let finish = |(sender, worker): (SyncSender<_>, ScopedJoinHandle<'_, Vec<Done>>)| {
            drop(sender);
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let done: Vec<Done> = workers.into_iter().flat_map(finish).collect();
        result.map(|()| done)
    })?;
    if read != summary.accesses {
        bail!("the second pass gave {read} accesses and the first {}. {differs}", summary.accesses);
    }
    let outcome = stream.finish(done)?;
    let warnings = outcome.sampled.iter().flat_map(|sampled| sampled.about()).collect();
    Ok(Streamed { summary, outcome, warnings })
}

/// What runs in so many memories over so many objects hold.
fn needs(recipe: &Recipe, capacities: usize, objects: u64) -> Needs {
    let policies = recipe.policies.len();
    let sampled = recipe.measure.sample.map(|sample| match sample.size {
        Size::Objects(some) => some.min(objects),
        Size::Share(share) => (share * objects as f64) as u64,
    });
    let sampled = sampled.filter(|some| *some < objects).map(|some| (SAMPLES as u64, some));
    let bytes = Stream::bytes(policies, capacities, objects, sampled);
    let runs = match sampled {
        None => policies,
        Some((samples, _)) => 1 + samples as usize * (policies + 1),
    };
    Needs { bytes, objects, runs: (runs * capacities) as u64 }
}

/// Pieces that are read ahead of a worker.
const AHEAD: usize = 4;

/// Accesses on their way from the reader to the workers.
struct Piece {
    start: usize,
    accesses: Vec<u32>,
    resizes: Vec<Resize>,
}

impl Piece {
    fn chunk(&self) -> Chunk<'_> {
        Chunk { start: self.start, accesses: &self.accesses, resizes: &self.resizes, deadlines: &[] }
    }
}

/// What is refused where there is no room.
pub fn too_large(needs: Needs, available: u64) -> Error {
    let Needs { bytes, objects, runs } = needs;
    Error::TooLarge {
        problem: format!(
            "{} objects in {} memories take up to {}, and {} are free",
            format_count(objects),
            format_count(runs),
            format_bytes(bytes),
            format_bytes(available)
        ),
        cure: "Choose fewer policies or capacities, or run a sample (--sample 32768objects)".into(),
    }
}
