//! Requests of a Parquet file in their order, column by column and page by page: nothing is held but a batch.

use accel_core::error::{Error, Place};
use accel_core::import::cache_csv::Columns;
use accel_core::import::prototype_csv;
use accel_core::recipe::sample::id_of;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{ChunkReader, FileReader as _, RowGroupReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::{damaged, whole};

/// The warning where a file says what is done with its tensors.
pub(crate) const UNTIMED: &str = "a stream keeps no operations: nothing counts time";

/// Rows that are read at a time.
const BATCH: usize = 1 << 14;

/// Requests that follow each other.
#[derive(Debug, Default)]
pub struct Batch {
    /// What each object is known by.
    pub ids: Vec<u64>,
    /// The size of each in bytes; empty where every object counts one.
    pub sizes: Vec<u64>,
    /// Rows up to here, and in all.
    pub done: u64,
    /// Rows in all.
    pub total: u64,
}

/// Where a file has ids and sizes.
struct Found {
    id: usize,
    size: Option<usize>,
    /// Bytes of a unit of the sizes.
    unit: f64,
}

/// The values of a column in a batch of rows.
enum Values {
    Signed(Vec<i64>),
    Unsigned(Vec<u64>),
    Number(Vec<f64>),
    Text(Vec<ByteArray>),
}

/// Hands the requests of a file to `take`, batch by batch, until that says no. What one should know is told to `warn`.
///
/// # Errors
///
/// Where the file is damaged, has no such columns or gaps in them, or tells more of its objects than an id and a size.
pub fn requests(
    name: &str,
    file: impl ChunkReader + 'static,
    columns: Option<&Columns>,
    warn: &mut dyn FnMut(String),
    take: &mut dyn FnMut(&Batch) -> Result<bool, Error>,
) -> anyhow::Result<()> {
    let reader = SerializedFileReader::new(file).map_err(|e| damaged(name, Place::Whole, &e))?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let root = reader.metadata().file_metadata().schema();
    if let Some(nested) = root.get_fields().iter().find(|field| !field.is_primitive()) {
        let problem = format!("column {} is nested, and a stream takes plain ones", nested.name());
        return Err(Error::input(name, Place::Whole, problem, "Leave that column out, or hold the trace").into());
    }
    let names: Vec<&str> = schema.columns().iter().map(|column| column.name()).collect();
    let found = find(name, &names, columns, warn)?;
    let total = u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or_default();
    let mut batch = Batch { total, ..Batch::default() };
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(|e| damaged(name, Place::Item(batch.done), &e))?;
        let mut ids = Column::new(name, &*group, found.id, batch.done)?;
        let mut sizes = found.size.map(|size| Column::new(name, &*group, size, batch.done)).transpose()?;
        let rows = u64::try_from(group.metadata().num_rows()).unwrap_or_default();
        let end = batch.done + rows;
        while batch.done < end {
            let rows = usize::try_from(end - batch.done).unwrap_or(BATCH).min(BATCH);
            ids.ids(rows, &mut batch.ids)?;
            if let Some(sizes) = &mut sizes {
                sizes.bytes(rows, found.unit, &mut batch.sizes)?;
            }
            batch.done += rows as u64;
            if !take(&batch)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The columns of ids and sizes.
fn find(name: &str, names: &[&str], columns: Option<&Columns>, warn: &mut dyn FnMut(String)) -> Result<Found, Error> {
    let at = |wanted: &str| names.iter().position(|column| *column == wanted);
    let refuse = |column: &str, what: &str| {
        let problem = format!("its column {column} says {what}, and a stream does not keep that");
        Error::input(name, Place::Whole, problem, "Leave --stream out, or choose id and size with --columns")
    };
    if columns.is_none() {
        if let (Some(id), Some(size)) = (at(prototype_csv::COLUMNS[0]), at(prototype_csv::COLUMNS[1])) {
            warn(UNTIMED.to_owned());
            // Megabytes of the prototype.
            return Ok(Found { id, size: Some(size), unit: 1e6 });
        }
        for (column, what) in [(whole::EXPIRES, "when objects expire"), (whole::PARENT, "which object one continues")] {
            if at(column).is_some() && whole::COLUMNS.iter().all(|column| at(column).is_some()) {
                return Err(refuse(column, what));
            }
        }
        if whole::COLUMNS.iter().all(|column| at(column).is_some()) {
            warn(UNTIMED.to_owned());
        }
    }
    let chosen = Columns { header: Some(true), ..columns.cloned().unwrap_or_default() };
    let found = chosen.find(name, Place::Whole, names)?;
    let column = |at: usize| names.get(at).copied().unwrap_or_default();
    if let Some(ttl) = found.ttl {
        return Err(refuse(column(ttl), "when objects expire"));
    }
    if let Some(parent) = found.parent {
        return Err(refuse(column(parent), "which object one continues"));
    }
    found.warning().into_iter().for_each(warn);
    Ok(Found { id: found.id, size: found.size, unit: 1.0 })
}

/// A column of a group of rows.
struct Column<'a> {
    input: &'a str,
    name: String,
    reader: ColumnReader,
    optional: bool,
    unsigned: bool,
    row: u64,
}

impl<'a> Column<'a> {
    fn new(input: &'a str, group: &dyn RowGroupReader, at: usize, row: u64) -> anyhow::Result<Self> {
        let description: &ColumnDescriptor = group.metadata().column(at).column_descr();
        let unsigned = match (description.logical_type_ref(), description.converted_type()) {
            (Some(LogicalType::Integer(kind)), _) => !kind.is_signed,
            (_, ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64) => {
                true
            }
            _ => false,
        };
        let (name, optional) = (description.name().to_owned(), description.max_def_level() > 0);
        let reader = group.get_column_reader(at).map_err(|e| damaged(input, Place::Item(row), &e))?;
        Ok(Self { input, name, reader, optional, unsigned, row })
    }

    fn bad(&self, row: u64, problem: &str, cure: &str) -> Error {
        Error::input(self.input, Place::Item(row), format!("column {} {problem}", self.name), cure)
    }

    /// The next `rows` values: there are as many, or the file is refused.
    fn values(&mut self, rows: usize) -> anyhow::Result<Values> {
        let Self { input, name, optional, unsigned, row, .. } = self;
        let (input, row, optional) = (*input, *row, *optional);
        macro_rules! plain {
            ($reader:expr) => {
                read(input, name, $reader, optional, row, rows)?
            };
        }
        let values = match &mut self.reader {
            ColumnReader::Int32ColumnReader(reader) if *unsigned => {
                Values::Unsigned(plain!(reader).into_iter().map(|n: i32| n.cast_unsigned().into()).collect())
            }
            ColumnReader::Int32ColumnReader(reader) => {
                Values::Signed(plain!(reader).into_iter().map(i64::from).collect())
            }
            ColumnReader::Int64ColumnReader(reader) if *unsigned => {
                Values::Unsigned(plain!(reader).into_iter().map(i64::cast_unsigned).collect())
            }
            ColumnReader::Int64ColumnReader(reader) => Values::Signed(plain!(reader)),
            ColumnReader::FloatColumnReader(reader) => {
                Values::Number(plain!(reader).into_iter().map(f64::from).collect())
            }
            ColumnReader::DoubleColumnReader(reader) => Values::Number(plain!(reader)),
            ColumnReader::ByteArrayColumnReader(reader) => Values::Text(plain!(reader)),
            _ => {
                let kinds = [Physical::INT32, Physical::INT64, Physical::DOUBLE, Physical::BYTE_ARRAY];
                let kinds = kinds.map(|kind| kind.to_string()).join(", ");
                let cure = format!("Choose a column of one of {kinds}");
                return Err(self.bad(row, "has values of another type", &cure).into());
            }
        };
        self.row += rows as u64;
        Ok(values)
    }

    /// What the objects of the next rows are known by.
    fn ids(&mut self, rows: usize, ids: &mut Vec<u64>) -> anyhow::Result<()> {
        let start = self.row;
        ids.clear();
        match self.values(rows)? {
            // A negative number is known by its text, as in a CSV.
            Values::Signed(values) => {
                ids.extend(values.into_iter().map(|n| u64::try_from(n).unwrap_or_else(|_| id_of(&n.to_string()))));
            }
            Values::Unsigned(values) => ids.extend(values),
            Values::Text(values) => {
                for (row, value) in (start..).zip(&values) {
                    let text = std::str::from_utf8(value.data()).ok().filter(|text| !text.is_empty());
                    let cure = "Give every request an object, as a number or text";
                    ids.push(text.map(id_of).ok_or_else(|| self.bad(row, "is empty or no text", cure))?);
                }
            }
            Values::Number(_) => {
                return Err(self.bad(start, "has broken numbers", "Choose a column of whole numbers or text").into());
            }
        }
        Ok(())
    }

    /// The sizes of the next rows in bytes.
    fn bytes(&mut self, rows: usize, unit: f64, sizes: &mut Vec<u64>) -> anyhow::Result<()> {
        let start = self.row;
        let whole = |x: f64| {
            let bytes = if unit == 1.0 { x } else { (x * unit).round() };
            (bytes.fract() == 0.0 && (0.0..9e15).contains(&bytes)).then_some(bytes as u64)
        };
        let found: Vec<Option<u64>> = match self.values(rows)? {
            Values::Signed(values) if unit == 1.0 => values.into_iter().map(|n| u64::try_from(n).ok()).collect(),
            Values::Unsigned(values) if unit == 1.0 => values.into_iter().map(Some).collect(),
            Values::Signed(values) => values.into_iter().map(|n| whole(n as f64)).collect(),
            Values::Unsigned(values) => values.into_iter().map(|n| whole(n as f64)).collect(),
            Values::Number(values) => values.into_iter().map(whole).collect(),
            Values::Text(_) => vec![None],
        };
        sizes.clear();
        for (row, bytes) in (start..).zip(found) {
            let cure = "Choose a column of whole numbers of bytes, zero or more, without gaps";
            sizes.push(bytes.ok_or_else(|| self.bad(row, "is no number of bytes", cure))?);
        }
        Ok(())
    }
}

/// The next `rows` values of a column, none of which is missing.
fn read<T: DataType>(
    input: &str,
    name: &str,
    reader: &mut ColumnReaderImpl<T>,
    optional: bool,
    row: u64,
    rows: usize,
) -> anyhow::Result<Vec<T::T>> {
    let mut values = Vec::with_capacity(rows);
    let mut levels = Vec::new();
    let mut done = 0;
    while done < rows {
        let levels = optional.then_some(&mut levels);
        let read = reader.read_records(rows - done, levels, None, &mut values);
        let (records, ..) = read.map_err(|e| damaged(input, Place::Item(row), &e))?;
        if records == 0 {
            let problem = format!("column {name} ends before the others");
            return Err(Error::input(input, Place::Item(row), problem, "Write the file again").into());
        }
        done += records;
    }
    if values.len() < rows {
        let gap = levels.iter().position(|level| *level == 0).unwrap_or(0) as u64;
        let problem = format!("column {name} is empty");
        let cure = "Choose a column without gaps, or fill them";
        return Err(Error::input(input, Place::Item(row + gap), problem, cure).into());
    }
    Ok(values)
}
