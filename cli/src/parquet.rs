//! Parquet, which only the command line reads and writes: its library is too large for the page.
//!
//! A file holds the prototype's records, where it has a column `tensor_id`, or requests as a CSV trace does, with the
//! same names of columns. Nested columns are not read.

use std::sync::Arc;

use accel_core::error::{Error, Place};
use accel_core::import::cache_csv::{self, Columns, FromRequests, Request};
use accel_core::import::prototype_csv::{self, FromRecords, Record, records};
use accel_core::progress::{Flow, Progress};
use accel_core::trace::Trace;
use anyhow::Context as _;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::{Field, Row};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;

/// The name of the format on the command line.
pub(crate) const NAME: &str = "parquet";
/// Rows written as a group and rows between two reports of progress: groups of some 10 MB.
const GROUP: usize = 1 << 20;
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
        let mut trace: Option<FromRecords<'_>> = None;
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
            let trace = trace.get_or_insert_with(|| FromRecords::new(&self.name, &record.model_type));
            trace.push(&record, place)
        })?;
        Ok(trace.unwrap_or_else(|| FromRecords::new(&self.name, "")).finish()?)
    }
}

fn damaged(name: &str, place: Place, error: &ParquetError) -> anyhow::Error {
    Error::input(name, place, error.to_string(), "Check that it is a Parquet file and not damaged, or write it again")
        .into()
}

/// Reads the prototype's records, or requests whose columns are chosen or detected by their names.
pub(crate) fn read(
    name: &str,
    file: impl ChunkReader + 'static,
    columns: Option<&Columns>,
    progress: &mut dyn Progress,
) -> anyhow::Result<Trace> {
    let table = Table::open(name, file)?;
    let has_records = table.columns.iter().any(|column| column == prototype_csv::COLUMNS[0]);
    if columns.is_none() && has_records { table.records(progress) } else { table.requests(columns, progress) }
}

/// One column of a group of rows.
enum Values {
    Whole(Vec<i64>),
    Number(Vec<f64>),
    Text(Vec<ByteArray>),
}

impl Values {
    /// The column's type in a schema.
    fn kind(&self, name: &str) -> String {
        match self {
            Self::Whole(_) => format!("REQUIRED INT64 {name};"),
            Self::Number(_) => format!("REQUIRED DOUBLE {name};"),
            Self::Text(_) => format!("REQUIRED BYTE_ARRAY {name} (UTF8);"),
        }
    }
}

fn text_column<'t>(texts: impl Iterator<Item = &'t str>) -> Values {
    Values::Text(texts.map(ByteArray::from).collect())
}

fn record_columns(records: &[Record]) -> Vec<(&'static str, Values)> {
    let [id, size, distance, stride, op, model] = prototype_csv::COLUMNS;
    vec![
        (id, text_column(records.iter().map(|r| r.tensor_id.as_str()))),
        (size, Values::Number(records.iter().map(|r| r.size_mb).collect())),
        (distance, Values::Whole(records.iter().map(|r| r.reuse_distance.into()).collect())),
        (stride, Values::Whole(records.iter().map(|r| r.stride.into()).collect())),
        (op, text_column(records.iter().map(|r| r.op.as_str()))),
        (model, text_column(records.iter().map(|r| r.model_type.as_str()))),
    ]
}

fn request_columns(trace: &Trace, from: usize, to: usize) -> anyhow::Result<Vec<(&'static str, Values)>> {
    let [time, id, size] = cache_csv::COLUMNS;
    let tensors = || trace.accesses()[from..to].iter().map(|t| &trace.tensors()[*t as usize]);
    let sizes = tensors().map(|t| i64::try_from(t.bytes)).collect::<Result<_, _>>();
    Ok(vec![
        (time, Values::Whole((from as i64..to as i64).collect())),
        (id, text_column(tensors().map(|t| t.name.as_str()))),
        (size, Values::Whole(sizes.context("Parquet holds sizes below 2^63 only: use smaller tiles")?)),
    ])
}

/// Writes the prototype's records where the trace knows its operations, else requests.
pub(crate) fn write(trace: &Trace, progress: &mut dyn Progress) -> anyhow::Result<Vec<u8>> {
    let all = trace.accesses().len();
    let mut records = if trace.knows_operations() {
        prototype_csv::check(trace)?;
        Some(records(trace, None))
    } else {
        None
    };
    let mut out = None;
    for from in (0..all).step_by(GROUP) {
        if progress.report(from as u64, all as u64, "writing") == Flow::Cancel {
            return Err(Error::Cancelled.into());
        }
        let to = all.min(from + GROUP);
        let columns = match &mut records {
            Some(records) => record_columns(&records.take(to - from).collect::<Vec<_>>()),
            None => request_columns(trace, from, to)?,
        };
        if out.is_none() {
            let kinds: Vec<String> = columns.iter().map(|(name, values)| values.kind(name)).collect();
            let schema = parse_message_type(&format!("message trace {{ {} }}", kinds.join(" ")))?;
            let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
            out = Some(SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties.build()))?);
        }
        let Some(writer) = &mut out else { continue };
        let mut group = writer.next_row_group()?;
        for (_, values) in columns {
            let Some(mut column) = group.next_column()? else { continue };
            match (column.untyped(), values) {
                (ColumnWriter::Int64ColumnWriter(writer), Values::Whole(values)) => {
                    writer.write_batch(&values, None, None)?
                }
                (ColumnWriter::DoubleColumnWriter(writer), Values::Number(values)) => {
                    writer.write_batch(&values, None, None)?
                }
                (ColumnWriter::ByteArrayColumnWriter(writer), Values::Text(values)) => {
                    writer.write_batch(&values, None, None)?
                }
                _ => return Err(Error::Internal("a column of another type than its schema's".into()).into()),
            };
            column.close()?;
        }
        group.close()?;
    }
    Ok(out.context("the trace has no accesses")?.into_inner()?)
}

#[cfg(test)]
mod tests {
    use accel_core::progress::Unattended;
    use bytes::Bytes;

    use super::*;

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let schema = "message t { REQUIRED INT64 id; REQUIRED INT64 size; REQUIRED INT64 id; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        while let Some(mut column) = group.next_column().unwrap() {
            if let ColumnWriter::Int64ColumnWriter(values) = column.untyped() {
                values.write_batch(&[7], None, None).unwrap();
            }
            column.close().unwrap();
        }
        group.close().unwrap();
        let file = Bytes::from(writer.into_inner().unwrap());
        let columns = "obj-id-col=3,obj-size-col=2".parse().unwrap();
        let error = read("t.parquet", file, Some(&columns), &mut Unattended).unwrap_err().to_string();
        assert!(error.contains("two columns are named id. Rename one of them"), "{error}");
    }
}
