//! Parquet, which only the command line reads and writes: its library is too large for the page.
//!
//! A file holds a trace as it is written here, with all that is known of it (`whole`); the prototype's records, where it
//! has a column `tensor_id`; or requests as a CSV trace does, with the same names of columns. Nested columns are not read.

mod column;
mod labels;
mod stream;
mod whole;
mod write;

use accel_core::error::{Error, Place};
use accel_core::import::cache_csv::{self, Columns, FromRequests, Request, Requests as _};
use accel_core::import::prototype_csv::{self, FromRecords, Record, Records as _};
use accel_core::progress::{Flow, Progress};
use accel_core::trace::Trace;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

pub use labels::Labels;
pub(crate) use stream::UNTIMED;
pub use stream::{Batch, requests};
pub use write::write;

/// The name of the format on the command line.
pub const NAME: &str = "parquet";
/// Rows between two reports of progress.
const REPORT: u64 = 1 << 16;

/// A row's field as the trace needs it; none where it is null or of another type.
fn text(field: &Field) -> Option<String> {
    match field {
        Field::Str(text) => Some(text.clone()),
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).ok().map(str::to_owned),
        _ => integer(field).map(|n| n.to_string()),
    }
}

fn integer(field: &Field) -> Option<i128> {
    Some(match field {
        Field::Byte(n) => (*n).into(),
        Field::Short(n) => (*n).into(),
        Field::Int(n) => (*n).into(),
        Field::Long(n) => (*n).into(),
        Field::UByte(n) => (*n).into(),
        Field::UShort(n) => (*n).into(),
        Field::UInt(n) => (*n).into(),
        Field::ULong(n) => (*n).into(),
        Field::TimestampMillis(n) | Field::TimestampMicros(n) => (*n).into(),
        _ => return None,
    })
}

fn number(field: &Field) -> Option<f64> {
    match field {
        Field::Float(x) => Some((*x).into()),
        Field::Double(x) => Some(*x),
        _ => integer(field).map(|n| n as f64),
    }
}

/// A number of bytes: a whole number, also one that a table with gaps holds with a point.
fn bytes(field: &Field) -> Option<u64> {
    let whole = |x: f64| (x.fract() == 0.0 && (0.0..9e15).contains(&x)).then_some(x as u64);
    integer(field).map_or_else(|| number(field).and_then(whole), |n| u64::try_from(n).ok())
}

/// The fields of a row in the order of `wanted`.
fn pick<'r>(row: &'r Row, wanted: &[&str]) -> Vec<Option<&'r Field>> {
    wanted.iter().map(|name| row.get_column_iter().find(|(column, _)| column == name).map(|(_, field)| field)).collect()
}

/// A Parquet file opened for reading.
struct Table {
    name: String,
    reader: Box<dyn FileReader>,
    columns: Vec<String>,
}

impl Table {
    fn open(name: &str, file: impl ChunkReader + 'static) -> anyhow::Result<Self> {
        let reader = SerializedFileReader::new(file).map_err(|e| damaged(name, Place::Whole, &e))?;
        let schema = reader.metadata().file_metadata().schema();
        let columns = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
        Ok(Self { name: name.to_owned(), reader: Box::new(reader), columns })
    }

    /// Hands the columns `wanted` of every row to `take`, with its place.
    fn rows(
        &self,
        wanted: &[&str],
        progress: &mut dyn Progress,
        mut take: impl FnMut(&[Option<&Field>], Place) -> Result<(), Error>,
    ) -> anyhow::Result<()> {
        let file = self.reader.metadata().file_metadata();
        let fields = file.schema().get_fields().iter();
        let fields: Vec<_> = fields.filter(|field| wanted.contains(&field.name())).cloned().collect();
        if let Some(nested) = fields.iter().find(|field| !field.is_primitive()) {
            let problem = format!("column {} is nested", nested.name());
            return Err(Error::input(&self.name, Place::Whole, problem, "Choose a column of plain values").into());
        }
        let mut names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.array_windows().find(|[a, b]| a == b) {
            let problem = format!("two columns are named {twice}");
            return Err(Error::input(&self.name, Place::Whole, problem, "Rename one of them, or leave it out").into());
        }
        let broken = |place: Place, error: &ParquetError| damaged(&self.name, place, error);
        let schema = Type::group_type_builder(file.schema().name()).with_fields(fields).build();
        let schema = schema.map_err(|e| broken(Place::Whole, &e))?;
        let rows = self.reader.get_row_iter(Some(schema)).map_err(|e| broken(Place::Whole, &e))?;
        let total = u64::try_from(file.num_rows()).unwrap_or_default();
        for (number, row) in (0..).zip(rows) {
            if number % REPORT == 0 && progress.report(number.min(total), total, "reading") == Flow::Cancel {
                return Err(Error::Cancelled.into());
            }
            let row = row.map_err(|e| broken(Place::Item(number), &e))?;
            take(&pick(&row, wanted), Place::Item(number))?;
        }
        Ok(())
    }

    fn bad(&self, place: Place, column: &str, field: Option<&Field>, cure: &str) -> Error {
        let value = field.map_or_else(|| "missing".to_owned(), ToString::to_string);
        let value: String = value.chars().take(100).collect();
        Error::input(&self.name, place, format!("{column} is {value}"), cure)
    }

    fn requests(&self, columns: Option<&Columns>, progress: &mut dyn Progress) -> anyhow::Result<Trace> {
        let names: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let chosen = Columns { header: Some(true), ..columns.cloned().unwrap_or_default() };
        let found = chosen.find(&self.name, Place::Whole, &names)?;
        let mut trace = FromRequests::new(&self.name);
        if let Some(warning) = found.warning() {
            trace.warn(warning);
        }
        let name = |at: Option<usize>| at.and_then(|at| names.get(at)).copied().unwrap_or_default();
        let wanted = [name(Some(found.id)), name(found.size), name(found.time), name(found.ttl), name(found.parent)];
        self.rows(&wanted, progress, |fields, place| {
            let [id, size, time, ttl, parent] = *fields else { return Ok(()) };
            let id = id.and_then(text).ok_or_else(|| {
                self.bad(place.clone(), wanted[0], id, "Choose a column of whole numbers or text without gaps")
            })?;
            let size = found.size.map(|_| {
                let cure = "Choose a column of whole numbers of bytes, zero or more, without gaps";
                size.and_then(bytes).ok_or_else(|| self.bad(place.clone(), wanted[1], size, cure))
            });
            let ttl = found.ttl.map(|_| match ttl {
                None | Some(Field::Null) => Ok(0.0),
                Some(field) => number(field)
                    .filter(|ttl| (0.0..f64::INFINITY).contains(ttl))
                    .ok_or_else(|| self.bad(place.clone(), wanted[3], Some(field), cache_csv::TTL_CURE)),
            });
            let (bytes, ttl) = (size.transpose()?, ttl.transpose()?);
            let parent = match parent.filter(|parent| found.parent.is_some() && **parent != Field::Null) {
                None => String::new(),
                Some(field) => text(field).ok_or_else(|| {
                    self.bad(place.clone(), wanted[4], Some(field), "Choose a column of whole numbers or text")
                })?,
            };
            trace.push(Request { id: &id, bytes, time: time.and_then(number), ttl, parent: &parent }, place)
        })?;
        Ok(trace.finish()?)
    }

    fn records(&self, progress: &mut dyn Progress) -> anyhow::Result<Trace> {
        let wanted = prototype_csv::COLUMNS;
        if let Some(missing) = wanted.iter().find(|name| !self.columns.iter().any(|column| column == *name)) {
            let problem = format!("there is no column {missing} (found: {})", self.columns.join(","));
            let cure = format!("The columns of records are {}", wanted.join(","));
            return Err(Error::input(&self.name, Place::Whole, problem, cure).into());
        }
        let mut trace = FromRecords::new(&self.name);
        self.rows(&wanted, progress, |fields, place| {
            let field = |i: usize| fields.get(i).copied().flatten();
            let bad = |i: usize, cure: &str| self.bad(place.clone(), wanted[i], field(i), cure);
            let word = |i: usize| field(i).and_then(text).ok_or_else(|| bad(i, "Write a string"));
            let whole = |i: usize| {
                let value = field(i).and_then(bytes).and_then(|n| u32::try_from(n).ok());
                value.ok_or_else(|| bad(i, "Write a whole number from 0 to 4294967295"))
            };
            let record = Record {
                tensor_id: word(0)?,
                size_mb: field(1).and_then(number).ok_or_else(|| bad(1, "Write a positive number of megabytes"))?,
                reuse_distance: whole(2)?,
                stride: whole(3)?,
                op: word(4)?,
                model_type: word(5)?,
                eviction_score: None,
            };
            trace.push(&record, place)
        })?;
        Ok(trace.finish()?)
    }
}

fn damaged(name: &str, place: Place, error: &ParquetError) -> anyhow::Error {
    if error.to_string().contains("Disabled feature") {
        let problem = "it is packed with Brotli, which is not read here";
        let cure = "Write it with zstd or snappy, or read it with the command line";
        return Error::input(name, place, problem, cure).into();
    }
    Error::input(name, place, error.to_string(), "Check that it is a Parquet file and not damaged, or write it again")
        .into()
}

/// Reads a trace as it is written here, the prototype's records, or requests whose columns are chosen or detected by their
/// names.
pub fn read(
    name: &str,
    file: impl ChunkReader + 'static,
    columns: Option<&Columns>,
    progress: &mut dyn Progress,
) -> anyhow::Result<Trace> {
    let table = Table::open(name, file)?;
    let has = |name: &str| table.columns.iter().any(|column| column == name);
    match columns {
        None if whole::COLUMNS.iter().all(|column| has(column)) => table.whole(progress),
        None if has(prototype_csv::COLUMNS[0]) => table.records(progress),
        _ => table.requests(columns, progress),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use accel_core::policy::{PolicyKind, Setup};
    use accel_core::progress::Unattended;
    use accel_core::recipe::Workload;
    use accel_core::sim::simulate;
    use accel_core::trace::reuse::Future;
    use bytes::Bytes;
    use parquet::column::writer::ColumnWriter;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    enum Cells {
        Whole(&'static [i64]),
        Text(&'static [&'static str]),
    }

    fn file(columns: &[(&str, Cells)]) -> Bytes {
        let kinds = columns.iter().map(|(name, cells)| match cells {
            Cells::Whole(_) => format!("REQUIRED INT64 {name};"),
            Cells::Text(_) => format!("REQUIRED BYTE_ARRAY {name} (UTF8);"),
        });
        let schema = format!("message t {{ {} }}", kinds.collect::<String>());
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for (_, cells) in columns {
            let mut column = group.next_column().unwrap().unwrap();
            match (column.untyped(), cells) {
                (ColumnWriter::Int64ColumnWriter(writer), Cells::Whole(cells)) => {
                    writer.write_batch(cells, None, None).unwrap();
                }
                (ColumnWriter::ByteArrayColumnWriter(writer), Cells::Text(cells)) => {
                    let cells: Vec<_> = cells.iter().map(|cell| (*cell).into()).collect();
                    writer.write_batch(&cells, None, None).unwrap();
                }
                _ => unreachable!(),
            }
            column.close().unwrap();
        }
        group.close().unwrap();
        Bytes::from(writer.into_inner().unwrap())
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let file = file(&[("id", Cells::Whole(&[7])), ("size", Cells::Whole(&[7])), ("id", Cells::Whole(&[7]))]);
        let columns = "obj-id-col=3,obj-size-col=2".parse().unwrap();
        let error = read("t.parquet", file, Some(&columns), &mut Unattended).unwrap_err().to_string();
        assert!(error.contains("two columns are named id. Rename one of them"), "{error}");
    }

    /// As another program may write such a table: without metadata, and with mistakes.
    #[test]
    fn a_whole_trace_of_another_maker() {
        let two = |change: Option<(&'static str, Cells)>| {
            let mut columns = vec![
                ("obj_id", Cells::Text(&["w", "w"])),
                ("obj_size", Cells::Whole(&[8, 8])),
                ("kind", Cells::Text(&["weights", "weights"])),
                ("op", Cells::Text(&["matmul", "Optimizer"])),
                ("mode", Cells::Text(&["read", "update"])),
                ("layer", Cells::Whole(&[3, 3])),
                ("stride", Cells::Whole(&[1, 1])),
            ];
            if let Some(change) = change {
                columns.retain(|(name, _)| *name != change.0);
                columns.push(change);
            }
            read("t.parquet", file(&columns), None, &mut Unattended)
        };
        let trace = two(None).unwrap();
        assert_eq!(
            (trace.tensors()[0].layer, trace.op(1).name(), trace.mode(1).name()),
            (Some(3), "optimizer", "update")
        );
        for (change, wanted) in [
            (("kind", Cells::Text(&["weights", "wait"])), "record 1: kind is \"wait\". Write one of weights, "),
            (("mode", Cells::Text(&["read", "eat"])), "record 1: mode is \"eat\". Write one of read, write, update"),
            (("layer", Cells::Whole(&[3, 4])), "record 1: w has another kind, layer, stride or parent than before"),
            (("layer", Cells::Whole(&[-3, 4])), "record 0: layer is -3. Write a whole number"),
            (("flops", Cells::Whole(&[3, -4])), "record 1: flops is -4. Write a number, zero or more"),
            (("parent", Cells::Text(&["v", "v"])), "record 0: parent is \"v\". Let a tensor continue one"),
            (("tensor", Cells::Whole(&[1, 1])), "whole input: the numbers in the column tensor are not those"),
        ] {
            let error = two(Some(change)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    /// Whatever is known of a trace is still known after it was written and read.
    #[test]
    fn a_trace_comes_back_whole() {
        for workload in [
            r#"{"model":{"model":"llama-3.2-1b","decode_tokens":2,"prompt_tokens":8}}"#,
            r#"{"model":{"model":"alexnet","task":"training","steps":2}}"#,
            r#"{"model":{"model":"llama-3.2-1b","requests":"3x16/40+2"}}"#,
            r#"{"synthetic":{"model_type":"MoE"}}"#,
        ] {
            let workload: Workload = serde_json::from_str(workload).unwrap();
            comes_back(&workload.trace(1, 1 << 24).unwrap());
        }
        let csv = b"time,id,size,ttl,parent\n0,a,5,3,\n1,b,6,2,a\n2,a,7,0,\n3,c,1,9,b\n4,b,6,1,a\n";
        let columns = "time-col=1,obj-id-col=2,obj-size-col=3,ttl-col=4,parent-col=5".parse().unwrap();
        let input = accel_core::import::input::Input::new("t.csv", csv);
        comes_back(&cache_csv::read(&input, Some(&columns), &mut Unattended).unwrap());
    }

    /// Labels against what a slow look at the trace finds.
    #[test]
    fn labels_tell_the_future_and_features_the_past() {
        let workload = r#"{"synthetic":{"model_type":"MLP","num_layers":12,"reuse_probability":0.6}}"#;
        let workload: Workload = serde_json::from_str(workload).unwrap();
        let trace = workload.trace(3, 1 << 30).unwrap();
        let capacity_bytes = trace.summary().unique_bytes / 3;
        let written = write(&trace, Some(Labels { capacity_bytes }), &mut Unattended).unwrap();
        let table = Table::open("t.parquet", Bytes::from(written)).unwrap();
        let wanted = ["next_use", "belady_hits", "belady_keeps", "uses", "last_gap", "gap_before", "own_count"];
        let mut rows: Vec<Vec<Option<f64>>> = Vec::new();
        table
            .rows(&wanted, &mut Unattended, |fields, _| {
                let value = |field: &Option<&Field>| match field {
                    Some(Field::Bool(flag)) => Some(f64::from(u8::from(*flag))),
                    field => field.and_then(number),
                };
                rows.push(fields.iter().map(value).collect());
                Ok(())
            })
            .unwrap();
        let accesses = trace.accesses();
        let uses = |tensor: u32| (0..accesses.len()).filter(move |at| accesses[*at] == tensor);
        for (now, row) in rows.iter().enumerate() {
            let before: Vec<usize> = uses(accesses[now]).take_while(|at| *at < now).collect();
            let next = uses(accesses[now]).find(|at| *at > now);
            let gap = |last: Option<usize>, before: Option<usize>| Some((last? - before?) as f64);
            let last = before.last().copied();
            assert_eq!(row[0], next.map(|next| next as f64), "{now}");
            assert_eq!(row[2], Some(next.map_or(0.0, |next| rows[next][1].unwrap())), "{now}");
            assert_eq!(row[3], Some(before.len() as f64), "{now}");
            assert_eq!(row[4], gap(Some(now), last), "{now}");
            assert_eq!(row[5], gap(last, before.iter().rev().nth(1).copied()), "{now}");
        }
        let (sizes, future) = (trace.sizes(), Arc::new(Future::of(&trace)));
        let setup = Setup { future: Some(&future), ..Setup::new(&sizes, capacity_bytes) };
        let belady = simulate(PolicyKind::Belady, &setup, &trace).unwrap();
        assert_eq!(rows.iter().filter(|row| row[1] == Some(1.0)).count() as u64, belady.hits);
        assert!(belady.hits > 0 && rows.iter().any(|row| row[6] > Some(0.0)));
    }

    fn comes_back(trace: &Trace) {
        for labels in [None, Some(Labels { capacity_bytes: 1 << 20 })] {
            let written = write(trace, labels, &mut Unattended).unwrap();
            let read = read("t.parquet", Bytes::from(written), None, &mut Unattended).unwrap();
            assert!(read == *trace, "{:?} {:?}", read.summary(), trace.summary());
        }
    }
}
