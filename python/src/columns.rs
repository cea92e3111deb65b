//! Columns of a data frame as the requests of a trace.

use std::sync::Arc;

use accel_core::error::{Error, Place};
use accel_core::import::cache_csv::{ColumnIndices, Columns};
use accel_core::import::columns::{Batch, FromColumns, Ids};
use accel_core::progress::{Flow, Progress};
use accel_core::trace::Trace;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Int64Array, StringArray, UInt64Array};
use arrow_cast::cast;
use arrow_schema::DataType;

/// What the columns are called in errors.
pub(crate) const INPUT: &str = "trace";
/// Rows that are converted at a time: they stay in a processor's cache.
const PIECE: usize = 1 << 14;

/// Columns of equal length, in pieces of rows, and their names.
pub(crate) struct Frame {
    pub(crate) names: Vec<String>,
    /// The arrays of each piece, in the order of the names.
    pub(crate) pieces: Vec<Vec<ArrayRef>>,
}

/// What the ids of a column become.
enum Held {
    Unsigned(UInt64Array),
    Signed(Int64Array),
    Text(StringArray),
}

/// A piece of the columns that count, converted.
struct Piece {
    ids: Held,
    sizes: Option<Vec<u64>>,
    times: Option<Vec<f64>>,
    ttls: Option<Vec<f64>>,
    parents: Option<StringArray>,
}

fn bad(column: &str, row: u64, value: &str, cure: &str) -> Error {
    Error::input(INPUT, Place::Item(row), format!("{column} is {value}"), cure)
}

/// A column that is wrong as a whole.
fn wrong(column: &str, kind: &DataType, cure: &str) -> Error {
    Error::input(INPUT, Place::Key(column.to_owned()), format!("its values are of type {kind}"), cure)
}

fn converted(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Error> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    cast(array, to).map_err(|error| Error::Internal(error.to_string()))
}

/// The number of the first row without a value.
fn first_null(array: &dyn Array) -> Option<usize> {
    (array.null_count() > 0).then(|| (0..array.len()).find(|row| array.is_null(*row))).flatten()
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn texts(array: &ArrayRef) -> Result<StringArray, Error> {
    Ok(converted(array, &DataType::Utf8)?.as_string::<i32>().clone())
}

const ID_CURE: &str = "Choose a column of whole numbers or text without gaps";
const SIZE_CURE: &str = "Choose a column of whole numbers of bytes, zero or more, without gaps";

fn ids(array: &ArrayRef, column: &str, before: u64) -> Result<Held, Error> {
    if let Some(row) = first_null(array) {
        return Err(bad(column, before + row as u64, "missing", ID_CURE));
    }
    Ok(match array.data_type() {
        kind if kind.is_unsigned_integer() => {
            Held::Unsigned(converted(array, &DataType::UInt64)?.as_primitive::<UInt64Type>().clone())
        }
        kind if kind.is_signed_integer() => {
            Held::Signed(converted(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
        }
        kind if is_text(kind) => Held::Text(texts(array)?),
        other => return Err(wrong(column, other, ID_CURE)),
    })
}

fn sizes(array: &ArrayRef, column: &str, before: u64) -> Result<Vec<u64>, Error> {
    let kind = array.data_type();
    if let Some(row) = first_null(array) {
        return Err(bad(column, before + row as u64, "missing", SIZE_CURE));
    }
    if kind.is_integer() {
        // What does not fit becomes null.
        let whole = converted(array, &DataType::UInt64)?;
        if let Some(row) = first_null(&whole) {
            return Err(bad(column, before + row as u64, "negative", SIZE_CURE));
        }
        return Ok(whole.as_primitive::<UInt64Type>().values().to_vec());
    }
    if !kind.is_floating() {
        return Err(wrong(column, kind, SIZE_CURE));
    }
    // Whole numbers that a table with gaps elsewhere holds with a point.
    let numbers = converted(array, &DataType::Float64)?;
    let whole = |(row, x): (u64, &f64)| match x.fract() == 0.0 && (0.0..9e15).contains(x) {
        true => Ok(*x as u64),
        false => Err(bad(column, before + row, &x.to_string(), SIZE_CURE)),
    };
    (0..).zip(numbers.as_primitive::<Float64Type>().values()).map(whole).collect()
}

/// Times or ages as numbers; none are NaN.
fn numbers(array: &ArrayRef, column: &str, cure: &str) -> Result<Vec<f64>, Error> {
    let kind = array.data_type();
    let of = match kind {
        kind if kind.is_numeric() => Arc::clone(array),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Duration(_) => {
            converted(array, &DataType::Int64)?
        }
        other => return Err(wrong(column, other, cure)),
    };
    let numbers = converted(&of, &DataType::Float64)?;
    Ok(numbers.as_primitive::<Float64Type>().iter().map(|x| x.unwrap_or(f64::NAN)).collect())
}

impl Frame {
    fn piece(&self, piece: &[ArrayRef], found: &ColumnIndices, before: u64) -> Result<Piece, Error> {
        let name = |at: usize| self.names.get(at).map_or("", String::as_str);
        let array = |at: usize| {
            piece.get(at).ok_or_else(|| Error::Internal(format!("a piece has no column {at}"))).map(|it| (it, name(at)))
        };
        let (id, column) = array(found.id)?;
        let ids = ids(id, column, before)?;
        let size = |at| array(at).and_then(|(array, column)| sizes(array, column, before));
        const TIME_CURE: &str = "Choose a column of numbers, or leave time-col out: the order of the rows counts";
        let time = |at| array(at).and_then(|(array, column)| numbers(array, column, TIME_CURE));
        let ttl = |at| {
            let (array, column) = array(at)?;
            let cure = accel_core::import::cache_csv::TTL_CURE;
            let ttls = numbers(array, column, cure)?.into_iter().map(|ttl| if ttl.is_nan() { 0.0 } else { ttl });
            let ttls: Vec<f64> = ttls.collect();
            match (0u64..).zip(&ttls).find(|(_, ttl)| !(0.0..f64::INFINITY).contains(*ttl)) {
                Some((row, ttl)) => Err(bad(column, before + row, &ttl.to_string(), cure)),
                None => Ok(ttls),
            }
        };
        let parent = |at| {
            let (array, column) = array(at)?;
            match array.data_type() {
                kind if is_text(kind) || kind.is_integer() || *kind == DataType::Null => texts(array),
                other => Err(wrong(column, other, "Choose a column of whole numbers or text")),
            }
        };
        Ok(Piece {
            ids,
            sizes: found.size.map(size).transpose()?,
            times: found.time.map(time).transpose()?,
            ttls: found.ttl.map(ttl).transpose()?,
            parents: found.parent.map(parent).transpose()?,
        })
    }

    fn rows(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.first().map_or(0, |array| array.len() as u64)).sum()
    }

    /// Hands all rows over, in order, converted a few at a time.
    fn each(
        &self,
        found: &ColumnIndices,
        progress: &mut dyn Progress,
        what: &str,
        mut take: impl FnMut(&Batch<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut before, all) = (0, self.rows());
        for piece in &self.pieces {
            let rows = piece.first().map_or(0, |array| array.len());
            for start in (0..rows).step_by(PIECE) {
                if progress.report(before, all, what) == Flow::Cancel {
                    return Err(Error::Cancelled);
                }
                let length = PIECE.min(rows - start);
                let slices: Vec<ArrayRef> = piece.iter().map(|array| array.slice(start, length)).collect();
                let piece = self.piece(&slices, found, before)?;
                hand(&piece, &mut take)?;
                before += length as u64;
            }
        }
        Ok(())
    }

    /// The trace of the rows; `chosen` columns, or those detected by their names.
    pub(crate) fn trace(&self, chosen: Option<&Columns>, progress: &mut dyn Progress) -> Result<Trace, Error> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let chosen = Columns { header: Some(true), ..chosen.cloned().unwrap_or_default() };
        let found = chosen.find(INPUT, Place::Whole, &names)?;
        let mut columns = FromColumns::new(INPUT);
        let warning = found.warning().map(|text| text.replace("the names in the first line", "their names"));
        warning.into_iter().for_each(|warning| columns.warn(warning));
        self.each(&found, progress, "looking", |batch| {
            columns.look(batch);
            Ok(())
        })?;
        self.each(&found, progress, "reading", |batch| columns.push(batch))?;
        columns.finish()
    }
}

fn hand(piece: &Piece, take: &mut dyn FnMut(&Batch<'_>) -> Result<(), Error>) -> Result<(), Error> {
    fn all(array: &StringArray) -> Vec<&str> {
        array.iter().map(Option::unwrap_or_default).collect()
    }
    let parents = piece.parents.as_ref().map(all);
    let texts = match &piece.ids {
        Held::Text(ids) => all(ids),
        Held::Unsigned(_) | Held::Signed(_) => Vec::new(),
    };
    let ids = match &piece.ids {
        Held::Unsigned(ids) => Ids::Unsigned(ids.values()),
        Held::Signed(ids) => Ids::Signed(ids.values()),
        Held::Text(_) => Ids::Text(&texts),
    };
    let Piece { sizes, times, ttls, .. } = piece;
    take(&Batch {
        ids,
        sizes: sizes.as_deref(),
        times: times.as_deref(),
        ttls: ttls.as_deref(),
        parents: parents.as_deref(),
    })
}
