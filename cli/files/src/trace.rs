//! The trace of a recipe, with the file that it names.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use accel_core::import::cache_csv::Columns;
use accel_core::import::input::Input;
use accel_core::import::oracle_general::Reading;
use accel_core::import::{self, Format};
use accel_core::progress::Progress;
use accel_core::recipe::fields::Part;
use accel_core::recipe::{FileSource, Recipe, Workload};
use accel_core::trace::Trace;
use anyhow::Context as _;

use crate::parquet;
use crate::pieces::Source;

/// Enough of a file to detect its format.
const HEAD: u64 = 64 * 1024;
/// Parquet that is packed or piped is held while it is read; this is the most.
const MOST_PARQUET: usize = 4 << 30;

/// Reads a trace file, - for standard input, in `format` or the one that is detected; the format's name comes along.
pub fn read(
    path: &Path,
    format: Option<Format>,
    columns: Option<&Columns>,
    progress: &mut dyn Progress,
) -> anyhow::Result<(Trace, &'static str)> {
    let source = FileSource { format, columns: columns.cloned(), ..FileSource::named(path.display().to_string()) };
    read_workload(&Recipe { workload: Workload::File(source), ..Part::File.recipe() }, path, progress)
}

/// Makes the trace of a recipe with the file at `path`, - for standard input; the name of the file's format comes along.
///
/// Of a file of weights only the header is read: the rest may be many gigabytes.
pub fn read_workload(
    recipe: &Recipe,
    path: &Path,
    progress: &mut dyn Progress,
) -> anyhow::Result<(Trace, &'static str)> {
    let (workload, requests) = (&recipe.workload, recipe.measure.requests);
    let columns = match workload {
        Workload::File(FileSource { format: None, columns, .. }) => Some(columns.as_ref()),
        _ => None,
    };
    let name = &crate::pieces::name(path);
    let cannot = || format!("cannot read {name}");
    let mut bytes = Vec::new();
    if path != Path::new("-") {
        let mut file = File::open(path).with_context(cannot)?;
        (&mut file).take(HEAD).read_to_end(&mut bytes).with_context(cannot)?;
        if let Some(columns) = columns
            && bytes.starts_with(import::PARQUET)
        {
            return Ok((parquet::read(name, file, columns, progress)?, parquet::NAME));
        }
        // The format of the longest traces: its records are read while those before become a trace.
        if file.metadata().with_context(cannot)?.is_file() && is_oracle_general(workload, name, &bytes) {
            let mut reading = Reading::default();
            let most = requests.unwrap_or(u64::MAX);
            Source::records(path)?.each(most, progress, "reading", |piece| Ok(reading.push(name, piece)?))?;
            return Ok((reading.finish(name)?, Format::OracleGeneral.name()));
        }
        let rest = Format::bytes_to_read(&bytes).map_or(u64::MAX, |all| all.saturating_sub(bytes.len() as u64));
        file.take(rest).read_to_end(&mut bytes).with_context(cannot)?;
    } else {
        std::io::stdin().read_to_end(&mut bytes).with_context(cannot)?;
    }
    let input = Input::new(name, &bytes);
    if let Some(columns) = columns
        && input.head().starts_with(import::PARQUET)
    {
        let content = bytes::Bytes::from(input.whole(MOST_PARQUET, progress)?);
        return Ok((parquet::read(name, content, columns, progress)?, parquet::NAME));
    }
    let (seed, capacity) = (recipe.seed, recipe.memory.capacity_bytes);
    let (trace, format) = recipe.workload.trace_with((seed, capacity), &input, progress)?;
    Ok((trace, format.name()))
}

/// Whether a file that begins with `head` is read as oracleGeneral.
fn is_oracle_general(workload: &Workload, name: &str, head: &[u8]) -> bool {
    let Workload::File(FileSource { format, columns: None, .. }) = workload else { return false };
    let found = import::choose(*format, None, &Input::new(name, head));
    found.is_ok_and(|format| format == Format::OracleGeneral)
}
