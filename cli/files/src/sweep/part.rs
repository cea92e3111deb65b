//! A part of the table: some rows as a Parquet file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use accel_core::error::{Error, Place};
use accel_core::sweep::table::{self, Column, Values};
use accel_core::sweep::{Cells, Key, Row};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::types::Type;

/// Rows as columns of equal length; the first holds the keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
}

impl Table {
    /// The keys of its rows.
    pub fn keys(&self) -> Result<Vec<Key>, Error> {
        let Some(Column { values: Values::Text(keys), .. }) = self.columns.first() else { return Ok(Vec::new()) };
        keys.iter().map(|key| Key::try_from(key.clone().unwrap_or_default())).collect()
    }

    /// The rows whose numbers are `wanted`, in that order.
    pub fn rows(&self, wanted: &[usize]) -> Self {
        fn pick<T: Clone>(values: &[Option<T>], wanted: &[usize]) -> Vec<Option<T>> {
            wanted.iter().map(|row| values.get(*row).cloned().flatten()).collect()
        }
        let column = |column: &Column| {
            let values = match &column.values {
                Values::Text(values) => Values::Text(pick(values, wanted)),
                Values::Whole(values) => Values::Whole(pick(values, wanted)),
                Values::Number(values) => Values::Number(pick(values, wanted)),
                Values::Flag(values) => Values::Flag(pick(values, wanted)),
            };
            Column { name: column.name.clone(), values }
        };
        Self { columns: self.columns.iter().map(column).collect() }
    }

    /// Adds the rows of `other`, whose columns are the same.
    pub fn append(&mut self, other: Self) -> Result<(), Error> {
        if self.columns.is_empty() {
            *self = other;
            return Ok(());
        }
        for (mine, theirs) in self.columns.iter_mut().zip(other.columns) {
            match (&mut mine.values, theirs.values) {
                (Values::Text(mine), Values::Text(theirs)) => mine.extend(theirs),
                (Values::Whole(mine), Values::Whole(theirs)) => mine.extend(theirs),
                (Values::Number(mine), Values::Number(theirs)) => mine.extend(theirs),
                (Values::Flag(mine), Values::Flag(theirs)) => mine.extend(theirs),
                _ => return Err(Error::Internal(format!("two types of the column {}", mine.name))),
            }
        }
        Ok(())
    }

    /// The values of the column `name`.
    pub fn column(&self, name: &str) -> Option<&Values> {
        self.columns.iter().find(|column| column.name == name).map(|column| &column.values)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        match self.columns.first().map(|column| &column.values) {
            None => 0,
            Some(Values::Text(values)) => values.len(),
            Some(Values::Whole(values)) => values.len(),
            Some(Values::Number(values)) => values.len(),
            Some(Values::Flag(values)) => values.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As Parquet, compressed by zstd.
    pub fn to_parquet(&self) -> anyhow::Result<Vec<u8>> {
        let schema = self.columns.iter().map(|Column { name, values }| {
            let (physical, logical) = match values {
                Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
                Values::Whole(_) => (Physical::INT64, Some(LogicalType::integer(64, false))),
                Values::Number(_) => (Physical::DOUBLE, None),
                Values::Flag(_) => (Physical::BOOLEAN, None),
            };
            let column = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
            column.with_logical_type(logical).build().map(Arc::new)
        });
        let schema = Type::group_type_builder("sweep").with_fields(schema.collect::<Result<_, _>>()?).build()?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
        let mut group = file.next_row_group()?;
        for column in &self.columns {
            let Some(mut writer) = group.next_column()? else { break };
            write(&column.values, writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
        Ok(file.into_inner()?)
    }
}

fn write(values: &Values, writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
    fn levels<T>(values: &[Option<T>]) -> Vec<i16> {
        values.iter().map(|value| i16::from(value.is_some())).collect()
    }
    match (writer, values) {
        (ColumnWriter::ByteArrayColumnWriter(writer), Values::Text(values)) => {
            let given: Vec<ByteArray> = values.iter().flatten().map(|text| text.as_str().into()).collect();
            writer.write_batch(&given, Some(&levels(values)), None)?;
        }
        (ColumnWriter::Int64ColumnWriter(writer), Values::Whole(values)) => {
            // The logical type says that the bits are those of an unsigned number.
            let given: Vec<i64> = values.iter().flatten().map(|number| number.cast_signed()).collect();
            writer.write_batch(&given, Some(&levels(values)), None)?;
        }
        (ColumnWriter::DoubleColumnWriter(writer), Values::Number(values)) => {
            let given: Vec<f64> = values.iter().flatten().copied().collect();
            writer.write_batch(&given, Some(&levels(values)), None)?;
        }
        (ColumnWriter::BoolColumnWriter(writer), Values::Flag(values)) => {
            let given: Vec<bool> = values.iter().flatten().copied().collect();
            writer.write_batch(&given, Some(&levels(values)), None)?;
        }
        _ => return Err(ParquetError::General("a column of another type than its schema's".into())),
    }
    Ok(())
}

/// `rows` as a part: the content of a Parquet file.
pub fn bytes_of(cells: &Cells, rows: &[Row]) -> anyhow::Result<Vec<u8>> {
    Table { columns: table::columns(cells, rows)? }.to_parquet()
}

/// A part that cannot be read.
fn damaged(path: &Path, error: impl std::fmt::Display) -> Error {
    let cure = "The file is damaged or no part of a sweep: move it away, and the sweep makes its rows again";
    Error::input(path.display().to_string(), Place::Whole, error.to_string(), cure)
}

/// The names of the columns of a part.
pub(super) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let file = File::open(path).map_err(|error| damaged(path, error))?;
    let reader = SerializedFileReader::new(file).map_err(|error| damaged(path, error))?;
    let fields = reader.metadata().file_metadata().schema().get_fields();
    Ok(fields.iter().map(|field| field.name().to_owned()).collect())
}

/// Reads a part, or its columns `only`.
pub fn read_part(path: &Path, only: Option<&[&str]>) -> Result<Table, Error> {
    let file = File::open(path).map_err(|error| damaged(path, error))?;
    read(path, file, only)
}

pub(super) fn read(path: &Path, file: impl ChunkReader + 'static, only: Option<&[&str]>) -> Result<Table, Error> {
    let broken = |error: ParquetError| damaged(path, error);
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema();
    let fields = schema.get_fields().iter().filter(|field| only.is_none_or(|only| only.contains(&field.name())));
    let fields: Vec<Arc<Type>> = fields.cloned().collect();
    let mut columns = Vec::new();
    for field in &fields {
        let values = match (field.is_primitive()).then(|| field.get_physical_type()) {
            Some(Physical::BYTE_ARRAY) => Values::Text(Vec::new()),
            Some(Physical::INT64) => Values::Whole(Vec::new()),
            Some(Physical::DOUBLE) => Values::Number(Vec::new()),
            Some(Physical::BOOLEAN) => Values::Flag(Vec::new()),
            _ => return Err(damaged(path, format!("the column {} has a type that no part has", field.name()))),
        };
        columns.push(Column { name: field.name().to_owned(), values });
    }
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build().map_err(broken)?;
    for row in reader.get_row_iter(Some(projection)).map_err(broken)? {
        let row = row.map_err(broken)?;
        for ((name, field), column) in row.get_column_iter().zip(&mut columns) {
            match (&mut column.values, field) {
                (Values::Text(values), Field::Str(text)) => values.push(Some(text.clone())),
                (Values::Whole(values), Field::ULong(number)) => values.push(Some(*number)),
                (Values::Number(values), Field::Double(number)) => values.push(Some(*number)),
                (Values::Flag(values), Field::Bool(flag)) => values.push(Some(*flag)),
                (Values::Text(values), Field::Null) => values.push(None),
                (Values::Whole(values), Field::Null) => values.push(None),
                (Values::Number(values), Field::Null) => values.push(None),
                (Values::Flag(values), Field::Null) => values.push(None),
                (_, other) => return Err(damaged(path, format!("the column {name} has {other}, of another type"))),
            }
        }
    }
    Ok(Table { columns })
}
