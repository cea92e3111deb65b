//! Reading and writing traces: one file a format. Formats parse bytes and know no files.

pub mod oracle_general;
pub mod prototype_csv;

use serde::{Deserialize, Serialize};

use super::Trace;
use crate::error::{Error, Place};

/// A trace file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The prototype's records, [`prototype_csv`].
    PrototypeCsv,
    /// libCacheSim's binary records, [`oracle_general`].
    OracleGeneral,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::PrototypeCsv, Self::OracleGeneral];

    /// The name on the command line and in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrototypeCsv => "prototype-csv",
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

/// Which format `bytes` are in, told from the content alone; `input` is named in the error.
pub fn detect(input: &str, bytes: &[u8]) -> Result<Format, Error> {
    if bytes.is_empty() {
        return Err(Error::input(input, Place::Whole, "the file is empty", "Give a trace with at least one record"));
    }
    if prototype_csv::looks_like(bytes) {
        return Ok(Format::PrototypeCsv);
    }
    if oracle_general::looks_like(bytes) {
        return Ok(Format::OracleGeneral);
    }
    let names = Format::ALL.map(Format::name).join(", ");
    Err(Error::input(
        input,
        Place::Byte(0),
        "the format cannot be told from the content",
        format!(
            "Name it (one of {names}), or check that the file is complete; CSV must name its columns ({})",
            prototype_csv::COLUMNS.join(",")
        ),
    ))
}

/// Reads a trace in `format` from `bytes`; `input` is named in the errors.
pub fn read(format: Format, input: &str, bytes: &[u8]) -> Result<Trace, Error> {
    match format {
        Format::PrototypeCsv => prototype_csv::read(input, bytes),
        Format::OracleGeneral => oracle_general::read(input, bytes),
    }
}

/// Writes `trace` in `format`.
pub fn write(format: Format, trace: &Trace) -> Result<Vec<u8>, Error> {
    match format {
        Format::PrototypeCsv => prototype_csv::write(trace, None),
        Format::OracleGeneral => oracle_general::write(trace),
    }
}
