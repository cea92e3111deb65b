//! Reading and writing traces: one file a format. Formats parse bytes and know no files.

pub mod cache_csv;
pub mod chakra;
pub mod gguf;
pub mod input;
mod json;
pub mod kineto;
pub mod moe_routing;
pub mod operators;
pub mod oracle_general;
pub mod prototype_csv;
pub mod prototype_json;
pub mod pytorch_et;
pub mod safetensors;
pub(crate) mod text;
pub mod weights;

use serde::{Deserialize, Serialize};

use super::{Kind, Mode, Op, Tensor, Trace};
use crate::error::{Error, Place};
use crate::run::Progress;
use cache_csv::Columns;
use input::{Input, without_mark};

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
    /// PyTorch's execution traces, [`pytorch_et`].
    PytorchEt,
    /// The PyTorch profiler's traces, [`kineto`].
    Kineto,
    /// MLCommons' execution traces, [`chakra`].
    Chakra,
    /// A model's graph, read by [`workload::file`](crate::workload::file).
    Onnx,
    /// A model's layers, likewise.
    ScaleSim,
    /// A model's `config.json`, likewise.
    Config,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 13] = [
        Self::PrototypeCsv,
        Self::PrototypeJson,
        Self::Csv,
        Self::OracleGeneral,
        Self::MoeRouting,
        Self::Safetensors,
        Self::Gguf,
        Self::PytorchEt,
        Self::Kineto,
        Self::Chakra,
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
            Self::PytorchEt => "pytorch-et",
            Self::Kineto => "kineto",
            Self::Chakra => "chakra",
        }
    }

    /// Whether it holds a model, which becomes a trace only when it runs: [`read`] does not read it.
    pub fn is_model(self) -> bool {
        matches!(self, Self::Onnx | Self::ScaleSim | Self::Config)
    }

    fn is_text(self) -> bool {
        use Format::{Csv, Kineto, MoeRouting, PrototypeCsv, PrototypeJson, PytorchEt};
        matches!(self, PrototypeCsv | PrototypeJson | Csv | MoeRouting | PytorchEt | Kineto)
    }

    /// Whether [`write()`] writes it; the others hold less than a trace.
    pub fn writable(self) -> bool {
        matches!(self, Self::PrototypeCsv | Self::PrototypeJson | Self::Csv | Self::OracleGeneral)
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
    let head = input.head();
    let text = without_mark(&head);
    // The surest signs first.
    let signs: [Sign; 10] = [
        (Format::Gguf, gguf::looks_like),
        (Format::Safetensors, safetensors::looks_like),
        (Format::MoeRouting, moe_routing::looks_like),
        (Format::PrototypeJson, prototype_json::looks_like),
        (Format::PytorchEt, pytorch_et::looks_like),
        (Format::Kineto, kineto::looks_like),
        (Format::PrototypeCsv, prototype_csv::looks_like),
        (Format::Csv, cache_csv::looks_like),
        (Format::Chakra, chakra::looks_like),
        (Format::OracleGeneral, oracle_general::looks_like),
    ];
    if let Some((format, _)) = signs.into_iter().find(|(_, looks_like)| looks_like(&head) || looks_like(text)) {
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
    if format.is_text() {
        input.check()?;
    }
    match format {
        Format::PrototypeCsv => prototype_csv::read(input, progress),
        Format::PrototypeJson => prototype_json::read(input, progress),
        Format::Csv => cache_csv::read(input, columns, progress),
        Format::OracleGeneral => oracle_general::read(input, progress),
        Format::MoeRouting => moe_routing::read(input, None, progress),
        Format::Safetensors => safetensors::read(input, None, progress),
        Format::Gguf => gguf::read(input, None, progress),
        Format::PytorchEt => pytorch_et::read(input, progress),
        Format::Kineto => kineto::read(input, progress),
        Format::Chakra => chakra::read(input, progress),
        Format::Onnx | Format::ScaleSim | Format::Config => {
            Err(Error::Internal(format!("{} is a model, not a trace", format.name())))
        }
    }
}

/// Writes `trace` in `format`.
pub fn write(format: Format, trace: &Trace) -> Result<Vec<u8>, Error> {
    match format {
        Format::PrototypeCsv => {
            prototype_csv::check(trace)?;
            prototype_csv::write(trace, None)
        }
        Format::PrototypeJson => {
            prototype_csv::check(trace)?;
            prototype_json::write(trace, None)
        }
        Format::Csv => cache_csv::write(trace),
        Format::OracleGeneral => oracle_general::write(trace),
        _ => {
            let names: Vec<_> = Format::ALL.into_iter().filter(|f| f.writable()).map(Format::name).collect();
            let cure = format!("Choose one of {}", names.join(", "));
            Err(Error::field("format", format.name(), "this format is read, not written", cure))
        }
    }
}

/// What [`write()`] leaves out of `trace`, in words that follow "lost: ".
pub fn lost(format: Format, trace: &Trace) -> Vec<String> {
    let tensors = || trace.tensors().iter();
    let records = matches!(format, Format::PrototypeCsv | Format::PrototypeJson);
    let told = |t: &Tensor| prototype_csv::layer_of(&t.name) == t.layer && prototype_csv::kind_of(&t.name) == t.kind;
    let text = matches!(format, Format::PrototypeCsv | Format::Csv);
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
        (records && !tensors().all(|t| prototype_csv::is_exact(t.bytes)), "the last digits of large sizes"),
        (text && tensors().any(|t| t.name != t.name.trim()), "the space around names"),
        (records && trace.was_timed(), "the times"),
        (!records && trace.was_timed(), "the times: the number of an access stands for each"),
    ];
    losses.into_iter().filter(|(is_lost, _)| *is_lost).map(|(_, what)| what.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Flow, Unattended};
    use proptest::prelude::*;

    /// A good file of each format.
    fn good() -> Vec<(Format, Vec<u8>)> {
        let records =
            "tensor_id,size_mb,reuse_distance,stride,op,model_type\nQ_0,4,0,1,matmul,T\n\"K,0\",8.5,0,1,attention,T\n";
        let trace = prototype_csv::read(&Input::new("t", records.as_bytes()), &mut Unattended).unwrap();
        let mut files: Vec<(Format, Vec<u8>)> = Format::ALL
            .into_iter()
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

    /// Reads in the format and in the one that is detected; every refusal tells where and what to do.
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
        for format in Format::ALL.into_iter().filter(|format| !format.is_model()) {
            assert_eq!(Format::from_name(format.name()).unwrap(), format);
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(json, format!("\"{}\"", format.name()));
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
            (b"hello", "its format cannot be told from its content. Name it (one of prototype-csv"),
            (b"", "the file is empty"),
            (b"\xff\xfet\0i\0", "the text is UTF-16. Save the file as UTF-8"),
            (b"BZh91AY&SY\0", "it is packed with bzip2, which is not read here. Unpack it first"),
            (b"\xfd7zXZ\0\0\x04", "it is packed with xz"),
            (b"PK\x03\x04\0\0", "it is a zip archive"),
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
        for format in Format::ALL.into_iter().filter(|format| !format.is_model()) {
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
        assert_eq!(lost(Format::PrototypeJson, &trace), ["layers and kinds that the names do not tell"]);
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
            for format in Format::ALL.into_iter().filter(|format| !format.is_model()) {
                check(format, &bytes);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a,;{}\\[\\]\":. \n-]{0,200}") {
            for format in Format::ALL.into_iter().filter(|format| !format.is_model()) {
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
