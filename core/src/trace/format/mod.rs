//! Reading and writing traces: one file a format. Formats parse bytes and know no files.

pub mod cache_csv;
pub mod input;
pub mod oracle_general;
pub mod prototype_csv;
mod text;

use serde::{Deserialize, Serialize};

use super::Trace;
use crate::error::{Error, Place};
use crate::run::Progress;
use cache_csv::Columns;
use input::Input;

/// A trace file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The prototype's records, [`prototype_csv`].
    PrototypeCsv,
    /// Requests as CSV with chosen columns, [`cache_csv`].
    Csv,
    /// libCacheSim's binary records, [`oracle_general`].
    OracleGeneral,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::PrototypeCsv, Self::Csv, Self::OracleGeneral];

    /// The name on the command line and in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrototypeCsv => "prototype-csv",
            Self::Csv => "csv",
            Self::OracleGeneral => "oracle-general",
        }
    }

    /// The format of that name; `-`, `_` and case do not matter (`oracleGeneral` is found too).
    pub fn from_name(name: &str) -> Result<Self, Error> {
        let plain = |s: &str| s.replace(['-', '_'], "").to_ascii_lowercase();
        Self::ALL.into_iter().find(|format| plain(format.name()) == plain(name)).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::field("format", name, "no such format", format!("Choose one of {names}"))
        })
    }
}

/// Which format a file is in, told from its content alone.
pub fn detect(input: &Input<'_>) -> Result<Format, Error> {
    if input.is_empty() {
        let cure = "Give a trace with at least one record";
        return Err(Error::input(input.name, Place::Whole, "the file is empty", cure));
    }
    let head = input.head();
    if prototype_csv::looks_like(&head) {
        return Ok(Format::PrototypeCsv);
    }
    if cache_csv::looks_like(&head) {
        return Ok(Format::Csv);
    }
    if oracle_general::looks_like(&head) {
        return Ok(Format::OracleGeneral);
    }
    let names = Format::ALL.map(Format::name).join(", ");
    Err(Error::input(
        input.name,
        Place::Whole,
        "its format cannot be told from its content",
        format!(
            "Name it (one of {names}), or check that the file is complete; CSV must name its columns ({})",
            prototype_csv::COLUMNS.join(",")
        ),
    ))
}

/// The format to read a file in: the one named, CSV where its columns are chosen, or the one its content tells.
pub fn choose(format: Option<Format>, columns: Option<&Columns>, input: &Input<'_>) -> Result<Format, Error> {
    match (format, columns) {
        (Some(format), _) => Ok(format),
        (None, Some(_)) => Ok(Format::Csv),
        (None, None) => detect(input),
    }
}

/// Reads a file in `format`; `columns` belong to [`Format::Csv`] alone.
pub fn read(
    format: Format,
    input: &Input<'_>,
    columns: Option<&Columns>,
    progress: &mut dyn Progress,
) -> Result<Trace, Error> {
    if let Some(columns) = columns.filter(|_| format != Format::Csv) {
        let cure = format!("Leave the columns out, or read the file as csv (its format is {})", format.name());
        return Err(Error::field("columns", format!("\"{columns}\""), "this format has no columns to choose", cure));
    }
    match format {
        Format::PrototypeCsv => prototype_csv::read(input, progress),
        Format::Csv => cache_csv::read(input, columns, progress),
        Format::OracleGeneral => oracle_general::read(input, progress),
    }
}

/// Writes `trace` in `format`.
pub fn write(format: Format, trace: &Trace) -> Result<Vec<u8>, Error> {
    match format {
        Format::PrototypeCsv => prototype_csv::write(trace, None),
        Format::Csv => cache_csv::write(trace),
        Format::OracleGeneral => oracle_general::write(trace),
    }
}
