//! The prototype's records as CSV: `tensor_id,size_mb,reuse_distance,stride,op,model_type[,eviction_score]`.
//!
//! Columns are found by name, in any order. `reuse_distance` is the prototype's: the number of earlier
//! uses of the tensor (0, 1, 2 …). It is recomputed from the order of the records; a score is not read back.

use std::io::BufRead;

use super::input::Input;
use super::occurring;
use super::text::{Names, Rows, shorten};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::score::{Features, Scores, features};
use crate::trace::{Kind, Op, Tensor, Trace, TraceBuilder};

/// The columns every file has.
pub const COLUMNS: [&str; 6] = ["tensor_id", "size_mb", "reuse_distance", "stride", "op", "model_type"];
/// The column of a scored trace.
pub const SCORE_COLUMN: &str = "eviction_score";

/// Bytes in a record's megabyte.
const MB: f64 = 1e6;

/// The least megabytes of a record: a byte.
pub const LEAST_MB: f64 = 1e-6;
/// The most: ten petabytes are more than any memory, and 1,800 such records still add up to less than 2^64 bytes.
pub const MOST_MB: f64 = 1e10;

/// Whether the first line of `bytes` has a `tensor_id` column.
pub fn matches(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(4096)];
    String::from_utf8_lossy(line).split(',').any(|name| name.trim().trim_matches('"') == COLUMNS[0])
}

/// One record of a trace as the prototype's REST answers and CSV files show it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// The tensor's name.
    pub tensor_id: String,
    /// Its size in MB (10^6 bytes).
    pub size_mb: f64,
    /// Earlier uses of this tensor: 0, 1, 2 …
    pub reuse_distance: u32,
    /// Stride in elements.
    pub stride: u32,
    /// The operation.
    pub op: String,
    /// The family of model.
    pub model_type: String,
    /// Score from 0 (keep) to 1 (evict first), in a scored trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction_score: Option<f64>,
}

fn make_record(trace: &Trace, access: usize, seen: Features, scores: Option<&Scores>) -> Record {
    let tensor = &trace.tensors()[trace.accesses()[access] as usize];
    Record {
        tensor_id: tensor.name.clone(),
        size_mb: seen.bytes as f64 / MB,
        reuse_distance: seen.uses,
        stride: seen.stride,
        op: trace.op(access).name().to_owned(),
        model_type: trace.model_type().to_owned(),
        eviction_score: scores.map(|s| s.values[access]),
    }
}

/// The records of a trace, in order, with their scores if given.
pub fn records<'a>(trace: &'a Trace, scores: Option<&'a Scores>) -> impl Iterator<Item = Record> + 'a {
    features(trace).enumerate().map(move |(access, f)| make_record(trace, access, f, scores))
}

/// The scored record of one access, in the time of a look through the trace before it.
pub fn record(trace: &Trace, scores: &Scores, access: usize) -> Record {
    let tensor = trace.accesses()[access];
    let earlier = trace.accesses()[..access].iter().filter(|t| **t == tensor).count();
    let bytes = trace.bytes_at(access);
    let seen = Features { bytes, uses: earlier as u32, stride: trace.tensors()[tensor as usize].stride };
    make_record(trace, access, seen, Some(scores))
}

/// What takes records as they are read.
pub trait Records {
    /// Takes the next record, found at `place`.
    fn push(&mut self, record: &Record, place: Place) -> Result<(), Error>;
}

impl Record {
    /// Its size in bytes and its operation; refused where `input` has at `place` what is no record.
    pub fn checked(&self, input: &str, place: &Place) -> Result<(u64, Op), Error> {
        let bad = |problem: String, cure: &str| Error::input(input, place.clone(), problem, cure);
        // NaN and infinity are in no range.
        if !(LEAST_MB..=MOST_MB).contains(&self.size_mb) {
            let cure = format!("Write a positive number of megabytes, from {LEAST_MB} to {MOST_MB}");
            return Err(bad(format!("size_mb is {}", self.size_mb), &cure));
        }
        if self.tensor_id.is_empty() {
            return Err(bad("tensor_id is empty".into(), "Give every record the name of its tensor"));
        }
        let op = Op::from_name(&self.op).map_err(|_| {
            let names = Op::ALL.map(Op::name).join(", ");
            bad(format!("op is \"{}\"", shorten(&self.op)), &format!("Use one of {names}"))
        })?;
        Ok(((self.size_mb * MB).round() as u64, op))
    }
}

/// Builds a trace from records one at a time; rows of tables and JSON come through here.
#[derive(Debug)]
pub struct FromRecords<'a> {
    input: &'a str,
    builder: TraceBuilder,
    names: Names,
    /// The model type of the first record.
    model_type: Option<String>,
    /// Records whose stride or model type differs from an earlier one's.
    other_strides: u64,
    other_models: u64,
}

impl Records for FromRecords<'_> {
    fn push(&mut self, record: &Record, place: Place) -> Result<(), Error> {
        let (bytes, op) = record.checked(self.input, &place)?;
        match &self.model_type {
            Some(first) => self.other_models += u64::from(record.model_type != *first),
            None => {
                self.builder.of_model(&record.model_type);
                self.model_type = Some(record.model_type.clone());
            }
        }
        let tensor = match self.names.get(&record.tensor_id) {
            Some(tensor) => {
                self.other_strides += u64::from(self.builder.tensor_mut(tensor).stride != record.stride);
                self.builder.resize(tensor, bytes)?;
                tensor
            }
            None => {
                let tensor = self.builder.tensor(Tensor {
                    name: record.tensor_id.clone(),
                    bytes,
                    layer: layer_of(&record.tensor_id),
                    stride: record.stride,
                    kind: kind_of(&record.tensor_id),
                })?;
                self.names.insert(self.input, &record.tensor_id, tensor)?;
                tensor
            }
        };
        self.builder.access(tensor, op)
    }
}

impl<'a> FromRecords<'a> {
    /// An empty trace; `input` is named in the errors.
    pub fn new(input: &'a str) -> Self {
        let (builder, names) = (TraceBuilder::new(""), Names::default());
        Self { input, builder, names, model_type: None, other_strides: 0, other_models: 0 }
    }

    /// The trace.
    pub fn finish(mut self) -> Result<Trace, Error> {
        if self.other_strides > 0 {
            self.builder.warn(format!(
                "{} records give their tensor another stride than its first record; the first counts",
                self.other_strides
            ));
        }
        if self.other_models > 0 {
            self.builder.warn(format!(
                "{} records name another model type than the first record; the first counts",
                self.other_models
            ));
        }
        self.builder.finish(self.input)
    }
}

/// Whether records hold the size of every tensor to the byte: megabytes as 64-bit numbers do up to some 2^53 bytes.
fn is_exact(bytes: u64) -> bool {
    (bytes as f64 / MB * MB).round() as u64 == bytes
}

/// Refuses a trace whose records could not be read back: each has a size above zero, and none too many bytes.
pub fn check(trace: &Trace) -> Result<(), Error> {
    let readable = 1..=(MOST_MB * MB) as u64;
    let Some((tensor, bytes)) = trace.sized().find(|(_, bytes)| !readable.contains(bytes)) else { return Ok(()) };
    let tensor = &trace.tensors()[tensor as usize];
    let problem = match bytes {
        0 => "the prototype's records have no tensors without bytes",
        _ => "the prototype's records have no tensors of more than 10,000,000,000 MB",
    };
    Err(Error::field(shorten(&tensor.name), format!("{bytes} bytes"), problem, "Write csv or oracle-general"))
}

/// The layer of a tensor named as the prototype names them (`Q_3`), where it follows from the name.
fn layer_of(name: &str) -> Option<u32> {
    let layer = name.rsplit_once('_')?.1.parse().ok()?;
    // Beyond this it is an identifier, not a layer.
    (layer < 65_536).then_some(layer)
}

/// The kind of a tensor named as the prototype names them.
fn kind_of(name: &str) -> Kind {
    match name.rsplit_once('_').map_or(name, |(kind, _)| kind) {
        "weights" | "expert_weights" => Kind::Weights,
        "Q" | "K" | "V" | "output" | "activations" => Kind::Activations,
        _ => Kind::Object,
    }
}

/// Reads records from CSV text.
pub fn read(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut trace = FromRecords::new(input.name);
    each(input, input.text(progress)?, &mut trace)?;
    trace.finish()
}

/// Hands every record of CSV text to `trace`, in its order. `source` has the content from its start, without a mark.
pub fn each(input: &Input<'_>, source: impl BufRead, trace: &mut dyn Records) -> Result<(), Error> {
    let mut rows = Rows::new(*input, source, b',');
    let refuse = |line: u64, problem: String, cure: &str| Error::input(input.name, Place::Line(line), problem, cure);
    let Some(headers) = rows.next()? else { return Ok(()) };
    let (line, columns) = (headers.line, headers.len());
    let list = COLUMNS.join(",");
    let mut at = [0usize; COLUMNS.len()];
    for (slot, name) in at.iter_mut().zip(COLUMNS) {
        *slot = headers.fields().position(|header| header == name).ok_or_else(|| {
            let found = shorten(&headers.fields().collect::<Vec<_>>().join(","));
            let cure = format!("The first line must name the columns {list}");
            refuse(line, format!("there is no column {name} (found: {found})"), &cure)
        })?;
    }
    let known = |name: &&str| COLUMNS.contains(name) || *name == SCORE_COLUMN;
    if let Some(other) = headers.fields().find(|name| !known(name)) {
        let cure = format!("Remove it: the columns are {list} and, if scored, {SCORE_COLUMN}");
        return Err(refuse(line, format!("there is an unknown column \"{}\"", shorten(other)), &cure));
    }

    while let Some(row) = rows.next()? {
        let line = row.line;
        if row.len() != columns {
            let problem = format!("{} fields where the first line has {columns}", row.len());
            return Err(refuse(line, problem, "Give every line the same columns"));
        }
        let field = |i: usize| row.field(at[i]);
        let number = |i: usize, cure: &str| {
            field(i)
                .parse::<f64>()
                .map_err(|_| refuse(line, format!("{} is \"{}\", not a number", COLUMNS[i], shorten(field(i))), cure))
        };
        let whole = |i: usize| {
            let value = number(i, "Write a whole number")?;
            if value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value) {
                return Ok(value as u32);
            }
            Err(refuse(line, format!("{} is {value}", COLUMNS[i]), "Write a whole number from 0 to 4294967295"))
        };
        let record = Record {
            tensor_id: field(0).to_owned(),
            size_mb: number(1, "Write a positive number of megabytes, such as 4")?,
            reuse_distance: whole(2)?,
            stride: whole(3)?,
            op: field(4).to_owned(),
            model_type: field(5).to_owned(),
            eviction_score: None,
        };
        trace.push(&record, Place::Line(line))?;
    }
    Ok(())
}

/// Writes the trace as CSV, with the scores as a last column if given.
pub fn write(trace: &Trace, scores: Option<&Scores>) -> Result<Vec<u8>, Error> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    for record in records(trace, scores) {
        writer.serialize(record).map_err(|e| Error::Internal(e.to_string()))?;
    }
    writer.into_inner().map_err(|e| Error::Internal(e.to_string()))
}

/// Writes the records of `trace` without scores.
pub(super) fn write_trace(trace: &Trace) -> Result<Vec<u8>, Error> {
    check(trace)?;
    write(trace, None)
}

/// What records leave out of `trace`.
pub(super) fn lost(trace: &Trace) -> Vec<&'static str> {
    let spaced = trace.tensors().iter().any(|t| t.name != t.name.trim());
    let mut lost = lost_in_records(trace);
    // The times come last.
    let at = lost.len() - usize::from(trace.was_timed());
    lost.splice(at..at, spaced.then_some("the space around names"));
    lost
}

/// What records of either encoding leave out of `trace`.
pub(super) fn lost_in_records(trace: &Trace) -> Vec<&'static str> {
    let tensors = || trace.tensors().iter();
    let implied = |t: &Tensor| layer_of(&t.name) == t.layer && kind_of(&t.name) == t.kind;
    occurring([
        (!tensors().all(implied), "layers and kinds that do not follow from the names"),
        (!trace.sized().all(|(_, bytes)| is_exact(bytes)), "the last digits of large sizes"),
        (trace.was_timed(), "the times"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;

    fn read(name: &str, bytes: &[u8]) -> Result<Trace, Error> {
        super::read(&Input::new(name, bytes), &mut Unattended)
    }

    const GOOD: &str = "tensor_id,size_mb,reuse_distance,stride,op,model_type\n\
                        Q_0,4,0,1,matmul,Transformer\nK_0,8,0,1,attention,Transformer\nQ_0,4,1,1,relu,Transformer\n";

    #[test]
    fn round_trip() {
        assert_eq!(detect(&Input::new("t", GOOD.as_bytes())).unwrap(), Format::PrototypeCsv);
        let trace = read("t", GOOD.as_bytes()).unwrap();
        assert_eq!(trace.tensors()[1].bytes, 8_000_000);
        assert_eq!(trace.accesses(), [0, 1, 0]);
        assert_eq!(trace.tensors()[0].layer, Some(0));
        assert_eq!(read("t", &write(&trace, None).unwrap()).unwrap(), trace);
    }

    #[test]
    fn any_line_ends_quotes_blank_lines_and_a_byte_order_mark() {
        let trace = read("t", GOOD.as_bytes()).unwrap();
        let quoted = GOOD.replace("Q_0", "\"Q_0\"").replace(",matmul", " , matmul ");
        let long = GOOD.replace("Q_0", &"Q".repeat(1000)).replace("Transformer", &"T".repeat(300));
        assert_eq!(read("t", long.as_bytes()).unwrap().accesses(), [0, 1, 0]);
        for text in [
            GOOD.replace('\n', "\r\n"),
            GOOD.trim_end().into(),
            quoted,
            GOOD.replace('\n', "\n\n"),
            format!("\u{feff}{GOOD}"),
        ] {
            assert_eq!(read("t", text.as_bytes()).unwrap(), trace, "{text:?}");
            let broken = text.replace(",8,", ",x,");
            let line = broken[..broken.find(",x,").unwrap()].matches('\n').count() + 1;
            let error = read("t", broken.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("t, line {line}: size_mb is \"x\"")), "{text:?} gave {error}");
        }
    }

    /// A record has the size of its tensor at that access.
    #[test]
    fn sizes_belong_to_records() {
        let text = "tensor_id,size_mb,reuse_distance,stride,op,model_type\nQ,4,0,1,matmul,T\nQ,8,1,1,matmul,T\n";
        let trace = read("t", text.as_bytes()).unwrap();
        assert_eq!(trace.sized().collect::<Vec<_>>(), [(0, 4_000_000), (0, 8_000_000)]);
        let sizes = |records: Vec<Record>| records.iter().map(|record| record.size_mb).collect::<Vec<_>>();
        assert_eq!(sizes(records(&trace, None).collect()), [4.0, 8.0]);
        assert_eq!(record(&trace, &crate::score::heuristic(&trace), 1).size_mb, 8.0);
    }

    #[test]
    fn broken_files_name_the_line_and_the_cure() {
        let head = "tensor_id,size_mb,reuse_distance,stride,op,model_type\n";
        for (text, wanted) in [
            (String::from("a,b\n1,2\n"), "line 1: there is no column tensor_id (found: a,b)"),
            (format!("{head}Q,4,0,1,matmul\n"), "line 2: 5 fields where the first line has 6"),
            (format!("{head}Q,4,0,1,matmul,T\nQ,NaN,0,1,matmul,T\n"), "line 3: size_mb is NaN"),
            (format!("{head}Q,-4,0,1,matmul,T\n"), "line 2: size_mb is -4"),
            (format!("{head}Q,inf,0,1,matmul,T\n"), "line 2: size_mb is inf"),
            (format!("{head}Q,0,0,1,matmul,T\n"), "line 2: size_mb is 0"),
            (format!("{head}Q,5e-7,0,1,matmul,T\n"), "line 2: size_mb is 0.0000005"),
            (format!("{head}Q,10000000001,0,1,matmul,T\n"), "line 2: size_mb is 10000000001"),
            (format!("{head}Q,x,0,1,matmul,T\n"), "line 2: size_mb is \"x\", not a number"),
            (format!("{head}Q,4,-1,1,matmul,T\n"), "line 2: reuse_distance is -1"),
            (format!("{head}Q,4,0,1.5,matmul,T\n"), "line 2: stride is 1.5"),
            (format!("{head}Q,4,0,1,gemm,T\n"), "line 2: op is \"gemm\""),
            (format!("{head},4,0,1,matmul,T\n"), "line 2: tensor_id is empty"),
            (head.replace("model_type", "model_type,color") + "Q,4,0,1,matmul,T,red\n", "unknown column \"color\""),
            (head.to_owned(), "the trace has no accesses"),
        ] {
            let error = read("t.csv", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("t.csv, ") && error.contains(wanted), "{text:?} gave {error}");
        }
        let error = read("t.csv", b"tensor_id,size_mb,reuse_distance,stride,op,model_type\n\xff,4,0,1,matmul,T\n");
        assert!(error.unwrap_err().to_string().contains("not UTF-8"));
    }
}
