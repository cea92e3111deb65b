//! Reading and writing traces: one file a format. Formats parse bytes and know no files.

pub mod chakra;
pub mod input;
mod json;
pub mod kineto;
pub mod operators;
pub mod oracle_general;
pub mod prototype_csv;
pub mod pytorch_et;

use serde::{Deserialize, Serialize};

use super::Trace;
use crate::error::{Error, Place};
use crate::run::Progress;
use input::Input;

/// The longest text that is read as a whole.
const MOST_TEXT: usize = 1 << 30;

/// A trace file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The prototype's records, [`prototype_csv`].
    PrototypeCsv,
    /// libCacheSim's binary records, [`oracle_general`].
    OracleGeneral,
    /// PyTorch's execution traces, [`pytorch_et`].
    PytorchEt,
    /// The PyTorch profiler's traces, [`kineto`].
    Kineto,
    /// MLCommons' execution traces, [`chakra`].
    Chakra,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::PrototypeCsv, Self::OracleGeneral, Self::PytorchEt, Self::Kineto, Self::Chakra];

    /// The name on the command line and in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrototypeCsv => "prototype-csv",
            Self::OracleGeneral => "oracle-general",
            Self::PytorchEt => "pytorch-et",
            Self::Kineto => "kineto",
            Self::Chakra => "chakra",
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
    if pytorch_et::looks_like(&head) {
        return Ok(Format::PytorchEt);
    }
    if kineto::looks_like(&head) {
        return Ok(Format::Kineto);
    }
    if chakra::looks_like(&head) {
        return Ok(Format::Chakra);
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

/// Reads a file in `format`.
pub fn read(format: Format, input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    match format {
        Format::PrototypeCsv => prototype_csv::read(input.name, &input.whole(MOST_TEXT, progress)?),
        Format::OracleGeneral => oracle_general::read(input, progress),
        Format::PytorchEt => pytorch_et::read(input, progress),
        Format::Kineto => kineto::read(input, progress),
        Format::Chakra => chakra::read(input, progress),
    }
}

/// Writes `trace` in `format`.
pub fn write(format: Format, trace: &Trace) -> Result<Vec<u8>, Error> {
    match format {
        Format::PrototypeCsv => prototype_csv::write(trace, None),
        Format::OracleGeneral => oracle_general::write(trace),
        Format::PytorchEt | Format::Kineto | Format::Chakra => Err(Error::field(
            "format",
            format.name(),
            "this format is read, not written: it tells of operators and threads what a trace does not know",
            "Write prototype-csv or oracle-general",
        )),
    }
}
