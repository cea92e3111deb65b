//! Reading and writing files: one file per format, and one row of `formats!` each. Formats parse bytes and know no files.

pub(crate) mod archive;
pub mod cache_csv;
pub mod chakra;
pub mod columns;
mod config;
pub mod gguf;
mod gguf_model;
pub mod input;
mod json;
pub mod kineto;
pub mod moe_routing;
pub mod mooncake;
mod onnx;
pub mod operators;
pub mod oracle_general;
pub mod prototype_csv;
pub mod prototype_json;
pub mod pytorch_et;
pub mod request_log;
pub mod safetensors;
mod scale_sim;
mod seed;
mod strangers;
pub(crate) mod text;
pub mod weights;
pub mod weights_index;

use crate::by_name;
use crate::closed::Closed;
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::{Mode, Trace};
use crate::workload::config::ModelConfig;
use crate::workload::file::ModelFile;
use cache_csv::Columns;
use input::{Input, strip_mark};

/// What a Parquet file begins with. Its reader is as large as the rest of the page: only the command line has it.
pub const PARQUET: &[u8] = b"PAR1";

/// What is known of a format without its reader, so that the page can have it.
#[derive(Debug)]
pub struct FormatInfo {
    /// The format.
    pub format: Format,
    /// The name on the command line and in recipes.
    pub name: &'static str,
    /// The name people read.
    pub title: &'static str,
    /// What a file of it holds.
    pub kind: FileKind,
    /// How names of its files end, without the dot. Others may end so as well.
    pub extensions: &'static [&'static str],
    /// Where it is an object of JSON: a key that such a file has, and neither a recipe nor a `config.json`.
    pub json_key: Option<&'static str>,
    /// Whether [`write()`] writes it; the others hold less than a trace.
    pub writable: bool,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A trace.
    Trace,
    /// The prototype's records, which its generator may have made.
    Records,
    /// A table of requests whose columns may be chosen.
    Table,
    /// Weights, of which only the header at its start is read.
    Weights,
    /// A model, which becomes a trace only when it runs: [`read`] does not read it.
    Model,
}

/// How a format is detected, read and written.
#[derive(Debug)]
struct Codec {
    /// Whether the head of a file, with its byte-order mark or without, begins like this format.
    matches: fn(&[u8]) -> bool,
    encoding: Encoding,
    read: Reader,
    write: Option<Writer>,
}

/// What a format is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// UTF-8 that is checked before it is read.
    Text,
    /// Bytes, or text that its reader checks.
    Binary,
}

/// How a file is read: a variant for each [`FileKind`].
#[derive(Debug, Clone, Copy)]
enum Reader {
    Trace(fn(&Input<'_>, &mut dyn Progress) -> Result<Trace, Error>),
    Records(fn(&Input<'_>, &mut dyn Progress) -> Result<Trace, Error>),
    /// With the columns that were chosen.
    Table(fn(&Input<'_>, Option<&Columns>, &mut dyn Progress) -> Result<Trace, Error>),
    /// With the size of tiles, how many bytes from the start of a file with this head are read, and the model that the
    /// header describes.
    Weights(
        fn(&Input<'_>, Option<u64>, &mut dyn Progress) -> Result<Trace, Error>,
        fn(&[u8]) -> Option<u64>,
        fn(&Input<'_>, &mut dyn Progress) -> Result<ModelFile, Error>,
    ),
    Model(fn(&Input<'_>, &mut dyn Progress) -> Result<ModelFile, Error>),
}

/// How a trace is written.
#[derive(Debug, Clone, Copy)]
struct Writer {
    write: fn(&Trace) -> Result<Vec<u8>, Error>,
    /// What is left out, after [`lost_by_all`].
    lost: fn(&Trace) -> Vec<&'static str>,
}

/// The table of formats, in the order in which they are detected: the surest signs first. A row: the variant, the name
/// in recipes, the name people read, extensions, encoding, detection, and how it is read (a variant of [`Reader`]); then,
/// where there is one, the key of its JSON, and how it is written with what that loses.
macro_rules! formats {
    ($($(#[$doc:meta])* $format:ident, $name:literal, $title:literal, [$($extension:literal),*], $encoding:ident,
       $matches:path, $kind:ident($($read:expr),+) $(, json $key:literal)? $(, writes $write:path, losing $lost:path)?;)*) => {
        /// A format of files.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Format {
            $($(#[$doc])* $format,)*
        }

        impl Closed for Format {
            const FIELD: &'static str = "format";
            const WHAT: &'static str = "format";
            const ALL: &'static [Self] = &[$(Self::$format),*];

            fn name(self) -> &'static str {
                self.info().name
            }

            fn title(self) -> &'static str {
                self.info().title
            }
        }

        by_name!(pub Format);

        /// Every format, in the order in which they are detected.
        pub static FORMATS: &[FormatInfo] = &[$(
            FormatInfo {
                format: Format::$format,
                name: $name,
                title: $title,
                kind: FileKind::$kind,
                extensions: &[$($extension),*],
                json_key: [$(Some($key),)? None][0],
                writable: [$({ let _ = stringify!($write); true },)? false][0],
            },
        )*];

        /// The readers and writers of [`FORMATS`], row by row. Apart from them, because whoever names one row of a table
        /// links all that it points to.
        static CODECS: &[Codec] = &[$(
            Codec {
                matches: $matches,
                encoding: Encoding::$encoding,
                read: Reader::$kind($($read),+),
                write: [$(Some(Writer { write: $write, lost: $lost }),)? None][0],
            },
        )*];

        /// The model that a file with this head describes, as far as its first bytes show; none where it holds none.
        /// Links no reader.
        pub fn detect_model(head: &[u8]) -> Option<Format> {
            let head = strip_mark(head);
            $(if matches!(FileKind::$kind, FileKind::Model) && $matches(head) {
                return Some(Format::$format);
            })*
            None
        }
    };
}

formats! {
    /// The prototype's records, [`prototype_csv`].
    PrototypeCsv, "prototype-csv", "the prototype's records as CSV", ["csv"], Text, prototype_csv::matches,
        Records(prototype_csv::read), writes prototype_csv::write_trace, losing prototype_csv::lost;
    /// A model's graph.
    Onnx, "onnx", "ONNX graph", ["onnx"], Binary, onnx::matches, Model(onnx::model);
    /// A model's layers.
    ScaleSim, "scale-sim", "SCALE-Sim topology", ["csv"], Binary, scale_sim::matches, Model(scale_sim::model);
    /// The header of a weight file, [`gguf`].
    Gguf, "gguf", "GGUF weights", ["gguf"], Binary, gguf::matches,
        Weights(gguf::read, gguf::bytes_to_read, gguf_model::model);
    /// The header of a weight file, [`safetensors`].
    Safetensors, "safetensors", "safetensors weights", ["safetensors"], Binary, safetensors::matches,
        Weights(safetensors::read, safetensors::bytes_to_read, safetensors::model);
    /// The experts that tokens were sent to, [`moe_routing`].
    MoeRouting, "moe-routing", "log of expert routing", ["jsonl"], Text, moe_routing::matches,
        Trace(moe_routing::read_trace), json "experts";
    /// Prompts as blocks of a KV cache, [`mooncake`].
    Mooncake, "mooncake", "prompts as KV blocks (Mooncake)", ["jsonl"], Text, mooncake::matches, Trace(mooncake::read),
        json "hash_ids";
    /// The prototype's records, [`prototype_json`].
    PrototypeJson, "prototype-json", "the prototype's records as JSON", ["json"], Text, prototype_json::matches,
        Records(prototype_json::read), json "tensor_id",
        writes prototype_json::write_trace, losing prototype_json::lost;
    /// PyTorch's execution traces, [`pytorch_et`].
    PytorchEt, "pytorch-et", "PyTorch execution trace", ["json"], Text, pytorch_et::matches, Trace(pytorch_et::read),
        json "nodes";
    /// The PyTorch profiler's traces, [`kineto`].
    Kineto, "kineto", "PyTorch profiler trace (Kineto)", ["json"], Text, kineto::matches, Trace(kineto::read),
        json "traceEvents";
    /// Requests as CSV with chosen columns, [`cache_csv`].
    Csv, "csv", "requests as CSV", ["csv"], Text, cache_csv::matches,
        Table(cache_csv::read), writes cache_csv::write, losing cache_csv::lost;
    /// MLCommons' execution traces, [`chakra`].
    Chakra, "chakra", "Chakra execution trace", ["et", "json"], Binary, chakra::matches, Trace(chakra::read),
        json "workload_graph";
    /// libCacheSim's binary records, [`oracle_general`].
    OracleGeneral, "oracle-general", "libCacheSim's oracleGeneral", ["oracleGeneral", "bin"], Binary,
        oracle_general::matches, Trace(oracle_general::read),
        writes oracle_general::write, losing oracle_general::lost;
    /// A model's `config.json`. Records and traces may name a model as well: they go first.
    Config, "config", "Hugging Face config.json", ["json"], Binary, config::matches, Model(config::model);
}

impl FormatInfo {
    /// Whether the name of a file ends as those of this format do; letter case does not matter.
    pub fn has_extension(&self, file: &str) -> bool {
        let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
        self.extensions.iter().any(|known| known.eq_ignore_ascii_case(extension))
    }
}

impl Format {
    /// Its row of [`FORMATS`].
    pub fn info(self) -> &'static FormatInfo {
        &FORMATS[self as usize]
    }

    fn codec(self) -> &'static Codec {
        &CODECS[self as usize]
    }

    /// The name on the command line and in recipes.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Every format, in the order in which they are detected.
    pub fn all() -> impl Iterator<Item = Self> {
        FORMATS.iter().map(|info| info.format)
    }

    /// Whether it holds a model, which becomes a trace only when it runs: [`read`] does not read it.
    pub fn is_model(self) -> bool {
        self.info().kind == FileKind::Model
    }

    /// Whether [`write()`] writes it; the others hold less than a trace.
    pub fn writable(self) -> bool {
        self.info().writable
    }

    /// How many bytes from the start of a large file, which begins with `head`, are all that is read of it; none
    /// where it is read to its end.
    pub fn bytes_to_read(head: &[u8]) -> Option<u64> {
        CODECS.iter().filter(|codec| (codec.matches)(head)).find_map(|codec| match codec.read {
            Reader::Weights(_, bytes_to_read, _) => bytes_to_read(head),
            _ => None,
        })
    }

    /// The format to write `trace` in under the name `file`: of those that end so, the prototype's records where the
    /// trace knows its operations, and another where it does not. None where no format that is written ends so.
    pub fn to_write(file: &str, trace: &Trace) -> Option<Self> {
        let all = || FORMATS.iter().filter(|info| info.writable && info.has_extension(file));
        let fitting = all().find(|info| (info.kind == FileKind::Records) == trace.knows_operations());
        fitting.or_else(|| all().next()).map(|info| info.format)
    }
}

/// Where the first accesses of a trace end in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records {
    /// Each takes so many bytes.
    Bytes(u64),
    /// Each is a line; heads and remarks are lines as well.
    Lines,
}

impl Records {
    /// How the records of a file that begins with `head` follow one another; none where more than its beginning is needed
    /// to read the first ones.
    pub fn of(head: &[u8]) -> Option<Self> {
        if input::is_packed(head) {
            return None;
        }
        match detect(&Input::new("", head)).ok()? {
            Format::OracleGeneral => Some(Self::Bytes(oracle_general::RECORD as u64)),
            Format::PrototypeCsv | Format::Csv => Some(Self::Lines),
            _ => None,
        }
    }
}

/// Whether the name of a file is one that only models have.
pub fn is_model_name(file: &str) -> bool {
    let mut formats = FORMATS.iter().filter(|info| info.has_extension(file)).peekable();
    formats.peek().is_some() && formats.all(|info| info.kind == FileKind::Model)
}

/// The names of some formats, separated by commas.
fn names(include: fn(Format) -> bool) -> String {
    Format::all().filter(|format| include(*format)).map(Format::name).collect::<Vec<_>>().join(", ")
}

/// Which format a file is in, detected from its content alone.
pub fn detect(input: &Input<'_>) -> Result<Format, Error> {
    let head = input.head();
    let text = strip_mark(&head);
    let matches = |format: &Format| {
        let matches = format.codec().matches;
        matches(&head) || matches(text)
    };
    if let Some(format) = Format::all().find(matches) {
        return Ok(format);
    }
    if safetensors::is_index(text) {
        return Err(safetensors::index_error(input.name));
    }
    input.check()?;
    if head.is_empty() {
        let cure = "Give a trace with at least one record";
        return Err(Error::input(input.name, Place::Whole, "the file is empty", cure));
    }
    if head.starts_with(PARQUET) {
        let cure = "Give it to the command line (accel simulate --trace), or convert it (accel trace convert)";
        return Err(Error::input(input.name, Place::Whole, "Parquet is not read here", cure));
    }
    strangers::refuse(input.name, text)?;
    if request_log::matches(text) {
        let problem = "it is a log of requests to a language model: how long they are, but not what they share";
        let cure = "Let a model serve them (accel simulate --model NAME --request-log FILE)";
        return Err(Error::input(input.name, Place::Whole, problem, cure));
    }
    Err(Error::input(
        input.name,
        Place::Whole,
        "its format cannot be detected from its content",
        format!(
            "Name it (one of {}), or check that the file is complete; CSV must name its columns ({} or {}), or have \
             them chosen",
            names(|_| true),
            prototype_csv::COLUMNS.join(","),
            cache_csv::COLUMNS.join(",")
        ),
    ))
}

/// The format to read a file in: the one named, CSV where its columns are chosen, or the one detected.
pub fn choose(format: Option<Format>, columns: Option<&Columns>, input: &Input<'_>) -> Result<Format, Error> {
    match (format, columns) {
        (Some(format), _) => Ok(format),
        (None, Some(_)) => Ok(Format::Csv),
        (None, None) => detect(input),
    }
}

/// What a file yields.
pub(crate) enum Content {
    Trace(Box<Trace>),
    Model(ModelFile),
}

/// Reads a file in `format`; `columns` belong to [`Format::Csv`] alone.
pub(crate) fn content(
    format: Format,
    input: &Input<'_>,
    columns: Option<&Columns>,
    progress: &mut dyn Progress,
) -> Result<Content, Error> {
    let codec = format.codec();
    if let Some(columns) = columns.filter(|_| !matches!(codec.read, Reader::Table(_))) {
        let cure = format!("Leave the columns out, or read the file as csv (its format is {})", format.name());
        return Err(Error::field("columns", format!("\"{columns}\""), "this format has no columns to choose", cure));
    }
    if codec.encoding == Encoding::Text {
        input.check()?;
    }
    Ok(match codec.read {
        Reader::Trace(read) | Reader::Records(read) => Content::Trace(read(input, progress)?.into()),
        Reader::Table(read) => Content::Trace(read(input, columns, progress)?.into()),
        Reader::Weights(read, ..) => Content::Trace(read(input, None, progress)?.into()),
        Reader::Model(read) => Content::Model(read(input, progress)?),
    })
}

/// Reads a model in `format`; none where the format holds none.
pub(crate) fn model(
    format: Format,
    input: &Input<'_>,
    progress: &mut dyn Progress,
) -> Option<Result<ModelFile, Error>> {
    match format.codec().read {
        Reader::Model(read) | Reader::Weights(.., read) => Some(read(input, progress)),
        _ => None,
    }
}

/// The model that the header of a file of weights describes (GGUF): `header` is the file or its beginning, as it is. Links
/// nothing that unpacks.
pub fn model_of_weights(name: &str, header: &[u8]) -> Result<ModelConfig, Error> {
    gguf_model::config(name, &gguf::of_bytes(&Input::new(name, header), header)?)
}

/// Reads a trace in `format`; `columns` belong to [`Format::Csv`] alone.
pub fn read(
    format: Format,
    input: &Input<'_>,
    columns: Option<&Columns>,
    progress: &mut dyn Progress,
) -> Result<Trace, Error> {
    match content(format, input, columns, progress)? {
        Content::Trace(trace) => Ok(*trace),
        Content::Model(_) => Err(Error::Internal(format!("{} is a model, not a trace", format.name()))),
    }
}

/// Writes `trace` in `format`.
pub fn write(format: Format, trace: &Trace) -> Result<Vec<u8>, Error> {
    match format.codec().write {
        Some(writer) => (writer.write)(trace),
        None => {
            let cure = format!("Choose one of {}", names(Format::writable));
            Err(Error::field("format", format.name(), "this format is read, not written", cure))
        }
    }
}

/// What [`write()`] leaves out of `trace`, in words that follow "lost: ".
pub fn lost(format: Format, trace: &Trace) -> Vec<String> {
    let own = format.codec().write.map(|writer| (writer.lost)(trace)).unwrap_or_default();
    lost_by_all(trace).into_iter().chain(own).map(str::to_owned).collect()
}

/// What no format keeps.
fn lost_by_all(trace: &Trace) -> Vec<&'static str> {
    occurring([
        (trace.modes().any(|mode| mode != Mode::Read), "which accesses write"),
        (trace.knows_flops(), "the work of each access"),
        (!trace.marks().is_empty(), "the marks"),
        (!trace.parents().is_empty(), "which tensors continue others"),
    ])
}

/// The losses that occur.
fn occurring(losses: impl IntoIterator<Item = (bool, &'static str)>) -> Vec<&'static str> {
    losses.into_iter().filter_map(|(is_lost, what)| is_lost.then_some(what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{Flow, Unattended};
    use proptest::prelude::*;

    const RECORDS: &str =
        "tensor_id,size_mb,reuse_distance,stride,op,model_type\nQ_0,4,0,1,matmul,T\n\"K,0\",8.5,0,1,attention,T\n";

    /// A good file of each format.
    fn good() -> Vec<(Format, Vec<u8>)> {
        let trace = prototype_csv::read(&Input::new("t", RECORDS.as_bytes()), &mut Unattended).unwrap();
        let mut files: Vec<(Format, Vec<u8>)> = Format::all()
            .filter(|format| format.writable())
            .map(|format| (format, write(format, &trace).unwrap()))
            .collect();
        let routing =
            b"{\"token\":0,\"layer\":3,\"experts\":[1,6]}\n{\"token\":1,\"layer\":3,\"experts\":[6]}\n".to_vec();
        files.push((Format::MoeRouting, routing));
        files.push((Format::Safetensors, safetensors::tests::file(safetensors::tests::GOOD)));
        files.push((Format::Gguf, gguf::tests::good()));
        files
    }

    /// Reads in the format and in the one that is detected; every refusal names the place and the cure.
    fn check(format: Format, bytes: &[u8]) -> Option<Trace> {
        let input = Input::new("some file", bytes);
        if let Ok(found) = detect(&input) {
            let _ = read(found, &input, None, &mut Unattended);
        }
        match read(format, &input, None, &mut Unattended) {
            Ok(trace) => Some(trace),
            Err(Error::Internal(problem)) => panic!("{problem}"),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(". ") && text.len() < 2000, "{text}");
                None
            }
        }
    }

    #[test]
    fn good_files_are_told_apart_packed_or_not() {
        for (format, bytes) in good() {
            let zstd = ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest);
            for bytes in [&bytes, &zstd] {
                assert_eq!(detect(&Input::new("t", bytes)).unwrap(), format);
                assert!(check(format, bytes).is_some(), "{}", format.name());
            }
        }
        for format in Format::all().filter(|format| !format.is_model()) {
            assert_eq!(Format::from_name(format.name()).unwrap(), format);
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(json, format!("\"{}\"", format.name()));
        }
    }

    #[test]
    fn the_table_answers_by_name_and_by_head() {
        let records = prototype_csv::read(&Input::new("t", RECORDS.as_bytes()), &mut Unattended).unwrap();
        let requests = read(Format::Csv, &Input::new("t", b"id,size\na,1\n"), None, &mut Unattended).unwrap();
        for (file, trace, wanted) in [
            ("a.csv", &records, Some(Format::PrototypeCsv)),
            ("a.CSV", &requests, Some(Format::Csv)),
            ("a.json", &records, Some(Format::PrototypeJson)),
            ("a.json", &requests, Some(Format::PrototypeJson)),
            ("b.bin", &records, Some(Format::OracleGeneral)),
            ("b.oraclegeneral", &requests, Some(Format::OracleGeneral)),
            ("a.onnx", &records, None),
            ("csv", &records, None),
        ] {
            assert_eq!(Format::to_write(file, trace), wanted, "{file}");
        }
        for (file, wanted) in
            [("a.onnx", true), ("a.csv", false), ("config.json", false), ("a.gguf", false), ("a", false)]
        {
            assert_eq!(is_model_name(file), wanted, "{file}");
        }
        assert!(Format::Gguf.info().has_extension("model-Q4.GGUF"));
        for (head, wanted) in [
            (&b"{\"model_type\":\"llama\"}"[..], Some(Format::Config)),
            (b"\x08\x07\x12\x07pytorch", Some(Format::Onnx)),
            (b"\xef\xbb\xbfLayer name, IFMAP Height, IFMAP Width,\nConv1, 224, 224,\n", Some(Format::ScaleSim)),
            (RECORDS.as_bytes(), None),
            (b"{\"workload\":{}}", None),
        ] {
            assert_eq!(detect_model(head), wanted);
        }
        // A recipe or a configuration must not be taken for a trace.
        let recipe = crate::recipe::Recipe::default().to_json().unwrap();
        for key in FORMATS.iter().filter_map(|info| info.json_key) {
            assert!(!recipe.contains(&format!("\"{key}\"")), "{key}");
        }
    }

    #[test]
    fn execution_traces_models_and_topologies_are_not_taken_for_tables_or_weights() {
        let tables = good().into_iter().map(|(format, _)| format).collect::<Vec<_>>();
        for other in [
            &b"{\"schema\":\"1.1.1\",\"nodes\":[{\"id\":1,\"name\":\"a\"}]}"[..],
            b"{\"traceEvents\":[{\"ph\":\"X\",\"args\":{\"layer\":1}}]}",
            b"{\"model_type\":\"llama\",\"hidden_size\":4096}",
            b"Layer name, IFMAP Height, IFMAP Width,\nConv1, 224, 224,\n",
            b"Layer, M, N, K,\nGemm1, 1, 2, 3,\n",
            b"\x08\x07\x12\x07pytorch\x1a\x052.0.0:\x99\x01",
        ] {
            let found = detect(&Input::new("t", other));
            assert!(!found.as_ref().is_ok_and(|found| tables.contains(found)), "{found:?}");
        }
        for (other, wanted) in [
            (&b"PAR1\x15\x04"[..], "Parquet is not read here. Give it to the command line"),
            (b"{\"metadata\":{},\"weight_map\":{}}", "Give one of the .safetensors files that it names"),
            (b"hello", "its format cannot be detected from its content. Name it (one of prototype-csv"),
            (b"", "the file is empty"),
            (b"\xff\xfet\0i\0", "the text is UTF-16. Save the file as UTF-8"),
            (b"BZh91AY&SY\0", "it is packed with bzip2, which is not read here. Unpack it first"),
            (b"\xfd7zXZ\0\0\x04", "it is packed with xz"),
            (b"\x28\xb5\x2f\xfd\x24\x10", "the packed data are damaged or cut off"),
        ] {
            let error = detect(&Input::new("t", other)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn losses_are_told() {
        let csv = |text: &str| read(Format::Csv, &Input::new("t", text.as_bytes()), None, &mut Unattended).unwrap();
        for (text, format, wanted) in [
            ("time,id,size\n0,a,1\n1,b,2\n", Format::Csv, &[][..]),
            ("time,id,size\n0,a,1\n5,b,2\n", Format::Csv, &["the times: the number of an access stands for each"]),
            (
                "time,id,size\n0,1,1\n2020-01-01,2,2\n",
                Format::OracleGeneral,
                &["the times: the number of an access stands for each"],
            ),
            ("time,id,size\n7,a,1\n", Format::PrototypeCsv, &["the times"]),
            ("id,size\na,9007199254740995\n", Format::PrototypeJson, &["the last digits of large sizes"]),
        ] {
            let trace = csv(text);
            assert_eq!(lost(format, &trace), wanted, "{text}");
            write(format, &trace).unwrap();
        }
        let spaced =
            br#"[{"tensor_id":" a","size_mb":1,"reuse_distance":0,"stride":1,"op":"matmul","model_type":"T"}]"#;
        let trace = prototype_json::read(&Input::new("t", spaced), &mut Unattended).unwrap();
        assert_eq!(lost(Format::PrototypeCsv, &trace), ["the space around names"]);
        let empty = csv("id,size\na,0\n");
        for format in [Format::PrototypeCsv, Format::PrototypeJson] {
            let error = write(format, &empty).unwrap_err().to_string();
            assert!(error.starts_with("a is 0 bytes: ") && error.ends_with("Write csv or oracle-general"), "{error}");
        }
        let bytes = write(Format::OracleGeneral, &csv("time,id,size\n0,7,1\n3,8,1\n")).unwrap();
        let mut late = bytes.clone();
        late[24] = 9;
        for (bytes, timed) in [(&bytes, false), (&late, true)] {
            let input = Input::new("t", bytes);
            assert_eq!(oracle_general::read(&input, &mut Unattended).unwrap().was_timed(), timed);
        }
    }

    #[test]
    fn formats_that_are_not_written_name_those_that_are() {
        let trace = crate::trace::testing::trace(&[10, 20], &[0, 1, 0]);
        for format in Format::all().filter(|format| !format.is_model()) {
            match write(format, &trace) {
                Ok(_) => assert!(format.writable()),
                Err(error) => {
                    assert!(!format.writable());
                    let cure = "Choose one of prototype-csv, prototype-json, csv, oracle-general";
                    assert!(error.to_string().contains(cure), "{error}");
                }
            }
        }
        assert!(lost(Format::Csv, &trace).is_empty());
        let weights = gguf::tests::good();
        let trace = gguf::read(&Input::new("t", &weights), None, &mut Unattended).unwrap();
        assert_eq!(lost(Format::OracleGeneral, &trace).len(), 4);
        assert_eq!(lost(Format::PrototypeJson, &trace), ["layers and kinds that do not follow from the names"]);
        let columns = Columns::default();
        let error = read(Format::Gguf, &Input::new("t", &weights), Some(&columns), &mut Unattended).unwrap_err();
        assert!(error.to_string().contains("no columns to choose"), "{error}");
    }

    #[test]
    fn every_reader_tells_progress_and_hears_cancelling() {
        struct Once(bool);
        impl Progress for Once {
            fn report(&mut self, _: u64, _: u64, _: &str) -> Flow {
                self.0 = true;
                Flow::Cancel
            }
        }
        for (format, bytes) in good() {
            let mut once = Once(false);
            let result = read(format, &Input::new("t", &bytes), None, &mut once);
            assert_eq!((result, once.0), (Err(Error::Cancelled), true), "{}", format.name());
        }
    }

    #[test]
    fn any_truncation_is_read_or_refused() {
        for (format, bytes) in good() {
            (0..bytes.len()).for_each(|end| drop(check(format, &bytes[..end])));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for format in Format::all().filter(|format| !format.is_model()) {
                check(format, &bytes);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a,;{}\\[\\]\":. \n-]{0,200}") {
            for format in Format::all().filter(|format| !format.is_model()) {
                check(format, text.as_bytes());
            }
        }

        #[test]
        fn any_changed_byte_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            for (format, mut bytes) in good() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                check(format, &bytes);
            }
        }
    }
}
