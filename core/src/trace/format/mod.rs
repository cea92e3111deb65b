//! Reading and writing traces: one file a format. Formats parse bytes and know no files.

pub mod cache_csv;
pub mod gguf;
pub mod input;
pub mod moe_routing;
pub mod oracle_general;
pub mod prototype_csv;
pub mod prototype_json;
pub mod safetensors;
pub(crate) mod text;
pub mod weights;

use serde::{Deserialize, Serialize};

use super::{Kind, Mode, Op, Tensor, Trace};
use crate::error::{Error, Place};
use crate::run::Progress;
use cache_csv::Columns;
use input::Input;

/// What a Parquet file begins with. Its reader is as large as the rest of the page: only the command line has it.
pub const PARQUET: &[u8] = b"PAR1";

/// A trace file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The prototype's records, [`prototype_csv`].
    PrototypeCsv,
    /// The prototype's records, [`prototype_json`].
    PrototypeJson,
    /// Requests as CSV with chosen columns, [`cache_csv`].
    Csv,
    /// libCacheSim's binary records, [`oracle_general`].
    OracleGeneral,
    /// The experts that tokens were sent to, [`moe_routing`].
    MoeRouting,
    /// The header of a weight file, [`safetensors`].
    Safetensors,
    /// The header of a weight file, [`gguf`].
    Gguf,
    /// A model's graph, read by [`workload::file`](crate::workload::file).
    Onnx,
    /// A model's layers, likewise.
    ScaleSim,
    /// A model's `config.json`, likewise.
    Config,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 10] = [
        Self::PrototypeCsv,
        Self::PrototypeJson,
        Self::Csv,
        Self::OracleGeneral,
        Self::MoeRouting,
        Self::Safetensors,
        Self::Gguf,
        Self::Onnx,
        Self::ScaleSim,
        Self::Config,
    ];

    /// The name on the command line and in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrototypeCsv => "prototype-csv",
            Self::PrototypeJson => "prototype-json",
            Self::Csv => "csv",
            Self::OracleGeneral => "oracle-general",
            Self::MoeRouting => "moe-routing",
            Self::Safetensors => "safetensors",
            Self::Gguf => "gguf",
            Self::Onnx => "onnx",
            Self::ScaleSim => "scale-sim",
            Self::Config => "config",
        }
    }

    /// Whether [`write`] writes it; the others hold less than a trace.
    pub fn writable(self) -> bool {
        match self {
            Self::PrototypeCsv | Self::PrototypeJson | Self::Csv | Self::OracleGeneral => true,
            Self::MoeRouting | Self::Safetensors | Self::Gguf | Self::Onnx | Self::ScaleSim | Self::Config => false,
        }
    }

    /// How many bytes from the start of a large file, which begins with `head`, are all that is read of it; none
    /// where it is read to its end.
    pub fn bytes_to_read(head: &[u8]) -> Option<u64> {
        if gguf::looks_like(head) {
            return Some(gguf::MOST_HEADER);
        }
        safetensors::looks_like(head).then(|| safetensors::bytes_to_read(head)).flatten()
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

/// A format and whether the head of a file looks like it.
type Sign = (Format, fn(&[u8]) -> bool);

/// Which format a file is in, told from its content alone.
pub fn detect(input: &Input<'_>) -> Result<Format, Error> {
    if input.is_empty() {
        let cure = "Give a trace with at least one record";
        return Err(Error::input(input.name, Place::Whole, "the file is empty", cure));
    }
    let head = input.head();
    // The surest signs first.
    let signs: [Sign; 7] = [
        (Format::Gguf, gguf::looks_like),
        (Format::Safetensors, safetensors::looks_like),
        (Format::MoeRouting, moe_routing::looks_like),
        (Format::PrototypeJson, prototype_json::looks_like),
        (Format::PrototypeCsv, prototype_csv::looks_like),
        (Format::Csv, cache_csv::looks_like),
        (Format::OracleGeneral, oracle_general::looks_like),
    ];
    if let Some((format, _)) = signs.into_iter().find(|(_, looks_like)| looks_like(&head)) {
        return Ok(format);
    }
    if safetensors::is_index(&head) {
        return Err(safetensors::index_error(input.name));
    }
    if head.starts_with(PARQUET) {
        let cure = "Give it to the command line (accel simulate --trace), or convert it (accel trace convert)";
        return Err(Error::input(input.name, Place::Whole, "Parquet is not read here", cure));
    }
    let names = Format::ALL.map(Format::name).join(", ");
    Err(Error::input(
        input.name,
        Place::Whole,
        "its format cannot be told from its content",
        format!(
            "Name it (one of {names}), or check that the file is complete; CSV must name its columns ({} or {}), or have \
             them chosen",
            prototype_csv::COLUMNS.join(","),
            cache_csv::COLUMNS.join(",")
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
        Format::PrototypeJson => prototype_json::read(input, progress),
        Format::Csv => cache_csv::read(input, columns, progress),
        Format::OracleGeneral => oracle_general::read(input, progress),
        Format::MoeRouting => moe_routing::read(input, None, progress),
        Format::Safetensors => safetensors::read(input, None, progress),
        Format::Gguf => gguf::read(input, None, progress),
        Format::Onnx | Format::ScaleSim | Format::Config => {
            Err(Error::Internal(format!("{} is a model, not a trace", format.name())))
        }
    }
}

/// Writes `trace` in `format`.
pub fn write(format: Format, trace: &Trace) -> Result<Vec<u8>, Error> {
    match format {
        Format::PrototypeCsv => prototype_csv::write(trace, None),
        Format::PrototypeJson => prototype_json::write(trace, None),
        Format::Csv => cache_csv::write(trace),
        Format::OracleGeneral => oracle_general::write(trace),
        _ => {
            let names: Vec<_> = Format::ALL.into_iter().filter(|f| f.writable()).map(Format::name).collect();
            let cure = format!("Choose one of {}", names.join(", "));
            Err(Error::field("format", format.name(), "this format is read, not written", cure))
        }
    }
}

/// What [`write`] leaves out of `trace`, in words that follow "lost: ".
pub fn lost(format: Format, trace: &Trace) -> Vec<String> {
    let tensors = || trace.tensors().iter();
    let records = matches!(format, Format::PrototypeCsv | Format::PrototypeJson);
    let told = |t: &Tensor| prototype_csv::layer_of(&t.name) == t.layer && prototype_csv::kind_of(&t.name) == t.kind;
    let zero = tensors().filter(|t| t.bytes == 0).count();
    let losses = [
        (trace.modes.iter().any(|mode| *mode != Mode::Read), "which accesses write"),
        (trace.knows_flops(), "the work of each access"),
        (!trace.marks().is_empty(), "the marks"),
        (records && !tensors().all(told), "layers and kinds that the names do not tell"),
        (!records && tensors().any(|t| t.layer.is_some()), "the layers"),
        (!records && tensors().any(|t| t.kind != Kind::Object), "what kind each tensor is of"),
        (!records && tensors().any(|t| t.stride != 1), "the strides"),
        (!records && trace.ops.iter().any(|op| *op != Op::Request), "the operations"),
        (!records && !trace.model_type().is_empty(), "the type of the model"),
        (format == Format::OracleGeneral && oracle_general::ids(trace).is_none(), "the names: objects are numbered"),
        (records && zero > 0, "tensors without bytes: such records are not read back"),
    ];
    losses.into_iter().filter(|(is_lost, _)| *is_lost).map(|(_, what)| what.to_owned()).collect()
}
