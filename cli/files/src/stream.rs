//! Runs over traces that are too long to hold: two passes over the file, one to learn the objects, one to run.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;

use accel_core::bound::Misses;
use accel_core::curve::{Curves, Grid, Measured};
use accel_core::error::Error;
use accel_core::import::oracle_general::Objects;
use accel_core::policy::Knows;
use accel_core::progress::Progress;
use accel_core::recipe::sample::{SAMPLES, Size};
use accel_core::recipe::{FileSource, Recipe};
use accel_core::run::stream::{Done, Known, Outcome, Stream};
use accel_core::trace::{Chunk, Resize, Summary};
use accel_core::units::{format_bytes, format_count};
use anyhow::bail;

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
    allow: &mut dyn FnMut(Needs) -> anyhow::Result<()>,
    progress: &mut dyn Progress,
) -> anyhow::Result<Streamed> {
    let policies = recipe.policies.iter().map(|kind| kind.info());
    if let Some(policy) = policies.clone().find(|policy| policy.knows != Knows::Past) {
        bail!(
            "{} needs to know the whole trace, and --stream does not hold it: leave it out, or leave --stream out",
            policy.title
        );
    }
    if let Some(member) = &source.member {
        bail!("{member} is in an archive, which cannot be streamed: unpack it first, or leave --stream out");
    }
    let file = Source::open(path, source.format, source.columns.as_ref())?;
    let name = file.name();
    let most = recipe.measure.requests.unwrap_or(u64::MAX);
    let mut objects = Objects::default();
    let mut warnings = file.each(most, progress, "objects", |chunk| Ok(objects.learn(name, chunk)?))?;
    let mut summary = objects.summary(name)?;
    let ones = recipe.measure.ignore_size.then(|| vec![1; objects.sizes().len()]);
    if ones.is_some() {
        (summary.requested_bytes, summary.unique_bytes) = (summary.accesses, summary.tensors);
    }
    let sizes = ones.as_deref().unwrap_or(objects.sizes());
    let largest = if ones.is_some() { None } else { objects.largest_sizes() };
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
    let known = Known { summary, ids: objects.ids(), sizes, largest: largest.as_deref() };
    let mut stream = Stream::new(recipe, &capacities, known)?;
    let parts = stream.split(rayon::current_num_threads());
    let accesses = usize::try_from(summary.accesses)?;
    let mut again = objects.again();
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
        let result = file.each(most, progress, "policies", |chunk| {
            let Chunk { start, accesses, resizes, .. } = again.accesses(name, chunk)?;
            let resizes = if ones.is_some() { Vec::new() } else { resizes.to_vec() };
            let piece = Arc::new(Piece { start, accesses: accesses.to_vec(), resizes });
            read += piece.accesses.len();
            // A worker that is gone has panicked: that shows when it is joined.
            workers.iter().for_each(|(sender, _)| drop(sender.send(Arc::clone(&piece))));
            Ok(())
        });
        let finish = |(sender, worker): (SyncSender<_>, ScopedJoinHandle<'_, Vec<Done>>)| {
            drop(sender);
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let done: Vec<Done> = workers.into_iter().flat_map(finish).collect();
        result.map(|_| done)
    })?;
    if read != accesses {
        bail!(
            "{name}: the second pass read {read} records and the first {accesses}. It must be a regular file that nobody \
             writes to",
        );
    }
    let outcome = stream.finish(done)?;
    warnings.extend(outcome.sampled.iter().flat_map(|sampled| sampled.about()));
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
