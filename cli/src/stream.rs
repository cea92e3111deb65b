//! Traces that are too long to hold: two passes over the file, one to learn the objects, one to run.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};

use accel_core::error::Error;
use accel_core::import::input::{Input, damaged, unpack};
use accel_core::import::oracle_general::{self, Objects};
use accel_core::import::{self, Format};
use accel_core::policy::Knows;
use accel_core::progress::{Flow, Progress};
use accel_core::recipe::Recipe;
use accel_core::recipe::Workload;
use accel_core::run::stream::Stream;
use accel_core::sim::Report;
use accel_core::trace::Summary;
use anyhow::{Context as _, bail};

use crate::parquet;

/// Bytes read at a time: whole records.
const CHUNK: usize = 64 * 1024 * oracle_general::RECORD;

/// Runs the policies of `recipe` over its trace file.
pub(crate) fn simulate(recipe: &Recipe, progress: &mut dyn Progress) -> anyhow::Result<(Summary, Vec<Report>)> {
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
        file.take(CHUNK as u64).read_to_end(&mut head).with_context(|| format!("cannot read {}", source.name))?;
        let input = Input::new(&source.name, &head);
        let found = match head.starts_with(import::PARQUET) {
            true => parquet::NAME,
            false => import::choose(None, source.columns.as_ref(), &input)?.name(),
        };
        if found != Format::OracleGeneral.name() {
            bail!("{}: {found} cannot be streamed, only oracle-general: leave --stream out", source.name);
        }
    }
    let mut objects = Objects::default();
    each_chunk(&source.name, progress, "objects", |chunk| Ok(objects.learn(&source.name, chunk)?))?;
    let summary = objects.summary(&source.name)?;
    let mut stream = Stream::new(recipe, objects.sizes())?;
    let mut again = objects.again();
    each_chunk(&source.name, progress, "policies", |chunk| {
        stream.advance(again.accesses(&source.name, chunk)?);
        Ok(())
    })?;
    if stream.accesses() as u64 != summary.accesses {
        bail!(
            "{}: the second pass read {} records and the first {}. It must be a regular file that nobody writes to",
            source.name,
            stream.accesses(),
            summary.accesses
        );
    }
    Ok((summary, stream.finish()))
}

/// Reads the content of the file, unpacked, from its start to its end; `what` is shown meanwhile.
fn each_chunk(
    name: &str,
    progress: &mut dyn Progress,
    what: &str,
    mut read: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {name}");
    let file = File::open(name).with_context(cannot)?;
    let total = file.metadata().with_context(cannot)?.len();
    let mut content = unpack(BufReader::new(&file)).with_context(cannot)?;
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        let done = (&file).stream_position().with_context(cannot)?;
        if progress.report(done, total.max(done), what) == Flow::Cancel {
            return Err(Error::Cancelled.into());
        }
        chunk.clear();
        match content.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(_) => read(&chunk)?,
            // What the system refuses has a number; the rest is in the bytes.
            Err(error) if error.raw_os_error().is_some() => return Err(error).with_context(cannot),
            Err(error) => return Err(damaged(name, &error).into()),
        }
    }
}
