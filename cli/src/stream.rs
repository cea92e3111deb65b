//! Traces that are too long to hold: two passes over the file, one to learn the objects, one to run.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;

use accel_core::import::input::Input;
use accel_core::import::oracle_general::Objects;
use accel_core::import::{self, Format};
use accel_core::policy::Knows;
use accel_core::recipe::Recipe;
use accel_core::recipe::Workload;
use accel_core::run::stream::Stream;
use accel_core::sim::Report;
use accel_core::trace::{Chunk, Resize, Summary};
use anyhow::{Context as _, bail};

use crate::progress::Bar;
use accel_files::parallel::Capacity;
use accel_files::parquet;
use accel_files::pieces::{self, PIECE};

/// Runs the policies of `recipe` over its trace file, in memories of `capacities`; the recipe's where there are none.
///
/// One thread reads while others simulate: each has some of the runs.
pub(crate) fn simulate(recipe: &Recipe, capacities: &[Capacity]) -> anyhow::Result<(Summary, Vec<Report>)> {
    let progress = &mut Bar::new();
    let Workload::File(source) = &recipe.workload else {
        bail!("only a trace file can be streamed: give --trace FILE")
    };
    if let Some(format) = source.format.filter(|format| *format != Format::OracleGeneral) {
        bail!("{} cannot be streamed, only oracle-general: leave --stream out", format.name());
    }
    let policies = recipe.policies.iter().map(|kind| kind.info());
    if let Some(policy) = policies.clone().find(|policy| policy.knows != Knows::Past) {
        bail!(
            "{} needs to know the whole trace, and --stream does not hold it: leave it out, or leave --stream out",
            policy.title
        );
    }
    if source.format.is_none() {
        let mut head = Vec::new();
        let file = File::open(&source.name).with_context(|| format!("cannot read {}", source.name))?;
        file.take(PIECE as u64).read_to_end(&mut head).with_context(|| format!("cannot read {}", source.name))?;
        let input = Input::new(&source.name, &head);
        let found = match head.starts_with(import::PARQUET) {
            true => parquet::NAME,
            false => import::choose(None, source.columns.as_ref(), &input)?.name(),
        };
        if found != Format::OracleGeneral.name() {
            bail!("{}: {found} cannot be streamed, only oracle-general: leave --stream out", source.name);
        }
    }
    let most = recipe.measure.requests.unwrap_or(u64::MAX);
    let mut objects = Objects::default();
    pieces::each(&source.name, most, progress, "objects", |chunk| Ok(objects.learn(&source.name, chunk)?))?;
    let mut summary = objects.summary(&source.name)?;
    let ones = recipe.measure.ignore_size.then(|| vec![1; objects.sizes().len()]);
    if ones.is_some() {
        (summary.requested_bytes, summary.unique_bytes) = (summary.accesses, summary.tensors);
    }
    let capacities: Vec<u64> = match capacities {
        [] => vec![recipe.memory.capacity_bytes],
        some => some.iter().map(|capacity| capacity.bytes(summary.unique_bytes)).collect(),
    };
    let accesses = usize::try_from(summary.accesses)?;
    let sizes = ones.as_deref().unwrap_or(objects.sizes());
    let parts = Stream::new(recipe, &capacities, sizes, accesses)?.split(rayon::current_num_threads());
    let mut again = objects.again();
    let mut done = 0;
    let runs = std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for mut part in parts {
            let (sender, pieces) = sync_channel::<Arc<Piece>>(AHEAD);
            let worker = scope.spawn(move || {
                pieces.iter().for_each(|piece| part.advance(piece.chunk()));
                part.finish()
            });
            workers.push((sender, worker));
        }
        let read = pieces::each(&source.name, most, progress, "policies", |chunk| {
            let Chunk { start, accesses, resizes, .. } = again.accesses(&source.name, chunk)?;
            let resizes = if ones.is_some() { Vec::new() } else { resizes.to_vec() };
            let piece = Arc::new(Piece { start, accesses: accesses.to_vec(), resizes });
            done += piece.accesses.len();
            // A worker that is gone has panicked: that shows when it is joined.
            workers.iter().for_each(|(sender, _)| drop(sender.send(Arc::clone(&piece))));
            Ok(())
        });
        let finish = |(sender, worker): (SyncSender<_>, ScopedJoinHandle<'_, Vec<Report>>)| {
            drop(sender);
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let runs: Vec<Report> = workers.into_iter().flat_map(finish).collect();
        read.map(|()| runs)
    })?;
    if done != accesses {
        bail!(
            "{}: the second pass read {done} records and the first {accesses}. It must be a regular file that nobody \
             writes to",
            source.name,
        );
    }
    Ok((summary, runs))
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
