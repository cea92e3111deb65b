//! Columns of a data frame as the requests of a trace.

use accel_core::error::{Error, Place};
use accel_core::import::cache_csv::{ColumnIndices, Columns};
use accel_core::import::columns::{Batch, FromColumns, Ids};
use accel_core::progress::{Flow, Progress};
use accel_core::trace::Trace;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
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
enum Held<'a> {
    Unsigned(Vec<u64>),
    Signed(Vec<i64>),
    Text(Vec<&'a str>),
}

/// A piece of the columns that count, converted.
struct Piece<'a> {
    ids: Held<'a>,
    sizes: Option<Vec<u64>>,
    times: Option<Vec<f64>>,
    ttls: Option<Vec<f64>>,
    parents: Option<Vec<String>>,
}

fn bad(column: &str, row: u64, value: &str, cure: &str) -> Error {
    Error::input(INPUT, Place::Item(row), format!("{column} is {value}"), cure)
}

/// A column that is wrong as a whole.
fn wrong(column: &str, kind: &DataType, cure: &str) -> Error {
    Error::input(INPUT, Place::Key(column.to_owned()), format!("its values are of type {kind}"), cure)
}

/// The number of the first row without a value.
fn first_null(array: &dyn Array) -> Option<usize> {
    (array.logical_null_count() > 0).then(|| (0..array.len()).find(|row| array.is_null(*row))).flatten()
}

/// The values of an array of numbers of any of these types, each converted by `$to`; none where it has another type. (The
/// code that casts any type of Arrow to any other takes two megabytes.)
macro_rules! values {
    ($array:expr, [$($kind:ident $of:ident),*], $to:expr) => {
        match $array.data_type() {
            $(DataType::$kind => Some($array.as_primitive::<$of>().values().iter().map($to).collect()),)*
            _ => None,
        }
    };
}

fn unsigned(array: &ArrayRef) -> Option<Vec<u64>> {
    let kinds = values!(array, [UInt8 UInt8Type, UInt16 UInt16Type, UInt32 UInt32Type], |x| u64::from(*x));
    kinds.or_else(|| values!(array, [UInt64 UInt64Type], |x| *x))
}

fn signed(array: &ArrayRef) -> Option<Vec<i64>> {
    let kinds = values!(array, [Int8 Int8Type, Int16 Int16Type, Int32 Int32Type], |x| i64::from(*x));
    kinds.or_else(|| values!(array, [Int64 Int64Type], |x| *x))
}

fn floating(array: &ArrayRef) -> Option<Vec<f64>> {
    let kinds = values!(array, [Float32 Float32Type], |x| f64::from(*x));
    kinds.or_else(|| values!(array, [Float64 Float64Type], |x| *x))
}

/// The texts of an array; none where it has others, or where it holds no texts.
fn texts(array: &dyn Array) -> Option<Vec<Option<&str>>> {
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().collect(),
        DataType::Utf8View => array.as_string_view().iter().collect(),
        DataType::Null => vec![None; array.len()],
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary_opt()?;
            let values = texts(dictionary.values().as_ref())?;
            let keys = if values.is_empty() { vec![0; array.len()] } else { dictionary.normalized_keys() };
            let value =
                |(row, key): (usize, &usize)| values.get(*key).copied().flatten().filter(|_| !array.is_null(row));
            keys.iter().enumerate().map(value).collect()
        }
        _ => return None,
    })
}

const ID_CURE: &str = "Choose a column of whole numbers or text without gaps";
const SIZE_CURE: &str = "Choose a column of whole numbers of bytes, zero or more, without gaps";

fn ids<'a>(array: &'a ArrayRef, column: &str, before: u64) -> Result<Held<'a>, Error> {
    let missing = |row: usize| bad(column, before + row as u64, "missing", ID_CURE);
    if let Some(row) = first_null(array) {
        return Err(missing(row));
    }
    let numbers = unsigned(array).map(Held::Unsigned).or_else(|| signed(array).map(Held::Signed));
    match (numbers, texts(array.as_ref())) {
        (Some(numbers), _) => Ok(numbers),
        (None, Some(texts)) => {
            let texts = texts.into_iter().enumerate().map(|(row, text)| text.ok_or_else(|| missing(row)));
            texts.collect::<Result<_, _>>().map(Held::Text)
        }
        (None, None) => Err(wrong(column, array.data_type(), ID_CURE)),
    }
}

fn sizes(array: &ArrayRef, column: &str, before: u64) -> Result<Vec<u64>, Error> {
    if let Some(row) = first_null(array) {
        return Err(bad(column, before + row as u64, "missing", SIZE_CURE));
    }
    if let Some(sizes) = unsigned(array) {
        return Ok(sizes);
    }
    if let Some(sizes) = signed(array) {
        let size = |(row, bytes): (u64, &i64)| {
            u64::try_from(*bytes).map_err(|_| bad(column, before + row, "negative", SIZE_CURE))
        };
        return (0..).zip(&sizes).map(size).collect();
    }
    // Whole numbers that a table with gaps elsewhere holds with a point.
    let numbers = floating(array).ok_or_else(|| wrong(column, array.data_type(), SIZE_CURE))?;
    let whole = |(row, x): (u64, &f64)| match x.fract() == 0.0 && (0.0..9e15).contains(x) {
        true => Ok(*x as u64),
        false => Err(bad(column, before + row, &x.to_string(), SIZE_CURE)),
    };
    (0..).zip(&numbers).map(whole).collect()
}

/// Times or ages as numbers, NaN where there is none.
fn numbers(array: &ArrayRef, column: &str, cure: &str) -> Result<Vec<f64>, Error> {
    let whole = || unsigned(array).map(|all| all.into_iter().map(|x| x as f64).collect());
    let negative = || signed(array).map(|all| all.into_iter().map(|x| x as f64).collect());
    let dates = || match array.data_type() {
        // Eight bytes each, whatever their unit.
        DataType::Timestamp(..) | DataType::Date64 | DataType::Duration(_) => {
            let data = array.to_data();
            let ticks: &[i64] = data.buffers().first()?.typed_data();
            ticks.get(data.offset()..data.offset() + data.len()).map(|all| all.iter().map(|x| *x as f64).collect())
        }
        DataType::Null => Some(vec![f64::NAN; array.len()]),
        _ => None,
    };
    let found = floating(array).or_else(whole).or_else(negative).or_else(dates);
    let mut found: Vec<f64> = found.ok_or_else(|| wrong(column, array.data_type(), cure))?;
    if first_null(array).is_some() {
        found.iter_mut().enumerate().filter(|(row, _)| array.is_null(*row)).for_each(|(_, x)| *x = f64::NAN);
    }
    Ok(found)
}

/// The objects that others continue, empty for none.
fn parents(array: &ArrayRef, column: &str) -> Result<Vec<String>, Error> {
    let found: Option<Vec<String>> = None
        .or_else(|| unsigned(array).map(|all| all.iter().map(u64::to_string).collect()))
        .or_else(|| signed(array).map(|all| all.iter().map(i64::to_string).collect()))
        .or_else(|| Some(texts(array.as_ref())?.into_iter().map(|text| text.unwrap_or_default().to_owned()).collect()));
    let cure = "Choose a column of whole numbers or text";
    let mut found = found.ok_or_else(|| wrong(column, array.data_type(), cure))?;
    if first_null(array).is_some() {
        found.iter_mut().enumerate().filter(|(row, _)| array.is_null(*row)).for_each(|(_, text)| text.clear());
    }
    Ok(found)
}

impl Frame {
    fn piece<'a>(&self, piece: &'a [ArrayRef], found: &ColumnIndices, before: u64) -> Result<Piece<'a>, Error> {
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
        let parent = |at| array(at).and_then(|(array, column)| parents(array, column));
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

fn hand(piece: &Piece<'_>, take: &mut dyn FnMut(&Batch<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let parents: Option<Vec<&str>> = piece.parents.as_ref().map(|all| all.iter().map(String::as_str).collect());
    let ids = match &piece.ids {
        Held::Unsigned(ids) => Ids::Unsigned(ids),
        Held::Signed(ids) => Ids::Signed(ids),
        Held::Text(ids) => Ids::Text(ids),
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
