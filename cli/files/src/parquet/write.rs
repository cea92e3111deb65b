//! Writes a trace with all that is known of it, one row per access.

use std::sync::Arc;

use accel_core::error::Error;
use accel_core::import::cache_csv;
use accel_core::progress::{Flow, Progress};
use accel_core::score::history::{Seen, scan};
use accel_core::trace::Trace;
use anyhow::Context as _;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::column::{Access, Column, Of};
use super::labels::Labels;
use super::whole::{self, About};

/// Rows of a group: some 10 MB, and 100 with labels.
const GROUP: usize = 1 << 18;

/// The columns of `trace`: those of what it does not know are left out.
fn columns(trace: &Trace) -> Vec<Column> {
    let [time, id, size] = cache_csv::COLUMNS;
    let mut columns = vec![
        Column::whole(time, |access| access.now as i64),
        Column::text(id, |access| ByteArray::from(access.tensor().name.as_str())),
        // Checked to be below 2^63.
        Column::whole(size, |access| access.bytes as i64),
    ];
    let [kind, op, mode, layer, stride] = whole::COLUMNS;
    columns.extend([
        Column::text(kind, |access| ByteArray::from(access.tensor().kind.name())),
        Column::text(op, |access| ByteArray::from(access.trace.op(access.now).name())),
        Column::text(mode, |access| ByteArray::from(access.trace.mode(access.now).name())),
        Column::new(layer, Of::Maybe(Box::new(|access| access.tensor().layer.map(i64::from)))),
        Column::whole(stride, |access| access.tensor().stride.into()),
        Column::whole(whole::NUMBER, |access| access.number.into()),
    ]);
    if trace.knows_flops() {
        columns.push(Column::new(whole::FLOPS, Of::Number(Box::new(|access| access.trace.flops(access.now)))));
    }
    if !trace.parents().is_empty() {
        let parent = |access: &Access<'_>| access.parent().map(ByteArray::from);
        columns.push(Column::new(whole::PARENT, Of::MaybeText(Box::new(parent))));
    }
    if trace.expires() {
        let expires = |access: &Access<'_>| access.trace.whole().deadlines[access.now].into();
        columns.push(Column::whole(whole::EXPIRES, expires));
    }
    columns
}

/// The values of a column in a group of rows.
enum Values {
    Whole(Vec<i64>),
    Maybe(Vec<Option<i64>>),
    Number(Vec<f64>),
    Flag(Vec<bool>),
    Text(Vec<ByteArray>),
    MaybeText(Vec<Option<ByteArray>>),
}

impl Of {
    fn empty(&self) -> Values {
        match self {
            Self::Whole(_) => Values::Whole(Vec::new()),
            Self::Maybe(_) => Values::Maybe(Vec::new()),
            Self::Number(_) => Values::Number(Vec::new()),
            Self::Flag(_) => Values::Flag(Vec::new()),
            Self::Text(_) => Values::Text(Vec::new()),
            Self::MaybeText(_) => Values::MaybeText(Vec::new()),
        }
    }

    /// The type in a schema.
    fn kind(&self) -> [&'static str; 3] {
        match self {
            Self::Whole(_) => ["REQUIRED", "INT64", ""],
            Self::Maybe(_) => ["OPTIONAL", "INT64", ""],
            Self::Number(_) => ["REQUIRED", "DOUBLE", ""],
            Self::Flag(_) => ["REQUIRED", "BOOLEAN", ""],
            Self::Text(_) => ["REQUIRED", "BYTE_ARRAY", "(UTF8)"],
            Self::MaybeText(_) => ["OPTIONAL", "BYTE_ARRAY", "(UTF8)"],
        }
    }
}

impl Values {
    fn push(&mut self, of: &Of, access: &Access<'_>) {
        match (self, of) {
            (Self::Whole(values), Of::Whole(of)) => values.push(of(access)),
            (Self::Maybe(values), Of::Maybe(of)) => values.push(of(access)),
            (Self::Number(values), Of::Number(of)) => values.push(of(access)),
            (Self::Flag(values), Of::Flag(of)) => values.push(of(access)),
            (Self::Text(values), Of::Text(of)) => values.push(of(access)),
            (Self::MaybeText(values), Of::MaybeText(of)) => values.push(of(access)),
            // Made by `empty` of the same column.
            _ => {}
        }
    }

    fn write(self, writer: &mut ColumnWriter<'_>) -> anyhow::Result<()> {
        match (writer, self) {
            (ColumnWriter::Int64ColumnWriter(writer), Self::Whole(values)) => {
                writer.write_batch(&values, None, None)?
            }
            (ColumnWriter::Int64ColumnWriter(writer), Self::Maybe(values)) => {
                let (values, levels) = optional(values);
                writer.write_batch(&values, Some(&levels), None)?
            }
            (ColumnWriter::DoubleColumnWriter(writer), Self::Number(values)) => {
                writer.write_batch(&values, None, None)?
            }
            (ColumnWriter::BoolColumnWriter(writer), Self::Flag(values)) => writer.write_batch(&values, None, None)?,
            (ColumnWriter::ByteArrayColumnWriter(writer), Self::Text(values)) => {
                writer.write_batch(&values, None, None)?
            }
            (ColumnWriter::ByteArrayColumnWriter(writer), Self::MaybeText(values)) => {
                let (values, levels) = optional(values);
                writer.write_batch(&values, Some(&levels), None)?
            }
            _ => return Err(Error::Internal("a column of another type than its schema's".into()).into()),
        };
        Ok(())
    }
}

/// The values that there are, and for each row whether it has one.
fn optional<T>(values: Vec<Option<T>>) -> (Vec<T>, Vec<i16>) {
    let levels = values.iter().map(|value| i16::from(value.is_some())).collect();
    (values.into_iter().flatten().collect(), levels)
}

/// A file under way: its columns, and the rows of the group that is not written yet.
struct Table {
    columns: Vec<Column>,
    rows: usize,
    values: Vec<Values>,
    file: SerializedFileWriter<Vec<u8>>,
}

impl Table {
    fn new(trace: &Trace, columns: Vec<Column>) -> anyhow::Result<Self> {
        let kinds = columns.iter().map(|Column { name, of }| {
            let [needed, kind, meaning] = of.kind();
            format!("{needed} {kind} {name} {meaning};")
        });
        let schema = parse_message_type(&format!("message trace {{ {} }}", kinds.collect::<Vec<_>>().join(" ")))?;
        let about = KeyValue::new(whole::KEY.to_owned(), serde_json::to_string(&About::of(trace))?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(vec![about]));
        let file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties.build()))?;
        let values = columns.iter().map(|column| column.of.empty()).collect();
        Ok(Self { columns, rows: 0, values, file })
    }

    fn push(&mut self, access: &Access<'_>, progress: &mut dyn Progress) -> anyhow::Result<()> {
        for (values, column) in self.values.iter_mut().zip(&self.columns) {
            values.push(&column.of, access);
        }
        self.rows += 1;
        if self.rows < GROUP {
            return Ok(());
        }
        if progress.report(access.now as u64, access.trace.accesses().len() as u64, "writing") == Flow::Cancel {
            return Err(Error::Cancelled.into());
        }
        self.flush()
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.rows = 0;
        let mut group = self.file.next_row_group()?;
        for (values, column) in self.values.iter_mut().zip(&self.columns) {
            let values = std::mem::replace(values, column.of.empty());
            let Some(mut writer) = group.next_column()? else { continue };
            values.write(writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }
}

/// Writes `trace`, and its labels where they are asked for.
pub fn write(trace: &Trace, labels: Option<Labels>, progress: &mut dyn Progress) -> anyhow::Result<Vec<u8>> {
    let most = trace.largest_sizes().into_iter().max().unwrap_or_default();
    i64::try_from(most).context("Parquet holds sizes below 2^63 only: use smaller tiles")?;
    let mut all = columns(trace);
    if let Some(labels) = labels {
        all.extend(labels.columns(trace, progress)?);
    }
    let mut table = Table::new(trace, all)?;
    let mut rows = trace.sized().enumerate();
    let mut push = |seen: Option<&Seen>| {
        let Some((now, (number, bytes))) = rows.next() else { return Ok(false) };
        table.push(&Access { trace, now, number, bytes, seen }, progress).map(|()| true)
    };
    match labels {
        None => while push(None)? {},
        Some(_) => {
            let mut failed = None;
            scan(trace, |seen| {
                if failed.is_none() {
                    failed = push(Some(seen)).err();
                }
            });
            failed.map_or(Ok(()), Err)?;
        }
    }
    table.flush()?;
    Ok(table.file.into_inner()?)
}
