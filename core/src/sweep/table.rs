//! Rows as columns, for Parquet and Arrow: long and tidy, one row a recipe and policy.

use serde_json::Value;

use super::cells::{Cells, WHOLE};
use super::key::RESULTS_VERSION;
use super::row::{Found, Row};
use crate::bound::Bounds;
use crate::error::Error;
use crate::recipe::Recipe;
use crate::run::sampled::Estimate;
use crate::sim::timing::{Timed, Tokens};

/// A column of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// A value for each row; none where there is none.
    pub values: Values,
}

/// The values of a column, all of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Texts.
    Text(Vec<Option<String>>),
    /// Whole numbers.
    Whole(Vec<Option<u64>>),
    /// Numbers.
    Number(Vec<Option<f64>>),
    /// Yes or no.
    Flag(Vec<Option<bool>>),
}

/// How a column of every table is made from a row.
enum Of {
    Text(fn(&Row) -> Option<String>),
    Whole(fn(&Row) -> Option<u64>),
    Number(fn(&Row) -> Option<f64>),
}

fn found(row: &Row) -> Option<&Found> {
    row.found.as_ref().ok()
}

/// A count of the report.
macro_rules! count {
    ($field:ident) => {
        Of::Whole(|row| Some(found(row)?.report.$field))
    };
}

/// A number of the report that there may not be.
macro_rules! maybe {
    ($field:ident) => {
        Of::Number(|row| found(row)?.report.$field)
    };
}

fn timed(row: &Row) -> Option<&Timed> {
    found(row)?.report.physical.as_ref()
}

fn tokens(row: &Row) -> Option<&Tokens> {
    timed(row)?.tokens.as_ref()
}

fn estimate(row: &Row) -> Option<&Estimate> {
    found(row)?.estimate.as_ref()
}

fn bounds(row: &Row) -> Option<&Bounds> {
    found(row)?.bounds.as_ref()
}

fn recipe(row: &Row) -> Option<&Recipe> {
    row.recipe.as_ref()
}

/// The columns before the axes, and those behind them. The names are those of the JSON and the CSV of `accel simulate`;
/// those of bounds say so.
const BEFORE: [(&str, Of); 1] = [("key", Of::Text(|row| Some(row.key.to_string())))];
const BEHIND: [(&str, Of); 58] = [
    ("policy", Of::Text(|row| Some(row.policy()?.name()))),
    ("capacity_bytes", Of::Whole(|row| Some(recipe(row)?.memory.capacity_bytes))),
    ("seed", Of::Whole(|row| Some(recipe(row)?.seed))),
    ("tensors", Of::Whole(|row| Some(found(row)?.trace.tensors))),
    ("unique_bytes", Of::Whole(|row| Some(found(row)?.trace.unique_bytes))),
    ("requested_bytes", Of::Whole(|row| Some(found(row)?.trace.requested_bytes))),
    ("accesses", count!(accesses)),
    ("hits", count!(hits)),
    ("misses", count!(misses)),
    ("hit_ratio", Of::Number(|row| Some(found(row)?.report.hit_ratio()))),
    ("miss_ratio", Of::Number(|row| Some(1.0 - found(row)?.report.hit_ratio()))),
    ("byte_hit_ratio", Of::Number(|row| Some(found(row)?.report.byte_hit_ratio()))),
    ("byte_miss_ratio", Of::Number(|row| Some(1.0 - found(row)?.report.byte_hit_ratio()))),
    ("miss_ratio_low", Of::Number(|row| Some(estimate(row)?.miss_ratio.low))),
    ("miss_ratio_high", Of::Number(|row| Some(estimate(row)?.miss_ratio.high))),
    ("byte_miss_ratio_low", Of::Number(|row| Some(estimate(row)?.byte_miss_ratio.low))),
    ("byte_miss_ratio_high", Of::Number(|row| Some(estimate(row)?.byte_miss_ratio.high))),
    ("gap_closed", maybe!(gap_closed)),
    ("byte_gap_closed", maybe!(byte_gap_closed)),
    ("hit_bytes", count!(hit_bytes)),
    ("miss_bytes", count!(miss_bytes)),
    ("evictions", count!(evictions)),
    ("bypassed", count!(bypassed)),
    ("oversize", count!(oversize)),
    ("expired", count!(expired)),
    ("bounds_misses_lower", Of::Whole(|row| Some(bounds(row)?.misses.lower))),
    ("bounds_misses_upper", Of::Whole(|row| Some(bounds(row)?.misses.upper))),
    ("bounds_miss_bytes_lower", Of::Whole(|row| Some(bounds(row)?.miss_bytes.lower))),
    ("bounds_miss_bytes_upper", Of::Whole(|row| Some(bounds(row)?.miss_bytes.upper))),
    ("bounds_time_ms_lower", Of::Number(|row| Some(bounds(row)?.time_ms.as_ref()?.lower))),
    ("bounds_time_ms_upper", Of::Number(|row| Some(bounds(row)?.time_ms.as_ref()?.upper))),
    ("io_bound_bytes", Of::Whole(|row| Some(found(row)?.io_bound_bytes).filter(|bytes| *bytes > 0))),
    ("total_latency_ms", maybe!(total_latency_ms)),
    ("bandwidth_wait_ms", maybe!(bandwidth_wait_ms)),
    ("device", Of::Text(|row| Some(timed(row)?.device.clone()))),
    ("total_ms", Of::Number(|row| Some(timed(row)?.total_ms))),
    ("compute_ms", Of::Number(|row| Some(timed(row)?.compute_ms))),
    ("stall_ms", Of::Number(|row| Some(timed(row)?.stall_ms))),
    ("ttft_ms", Of::Number(|row| Some(tokens(row)?.ttft_ms))),
    ("ms_per_token", Of::Number(|row| tokens(row)?.ms_per_token)),
    ("tokens_per_s", Of::Number(|row| tokens(row)?.tokens_per_s)),
    ("dram_read_bytes", Of::Whole(|row| Some(timed(row)?.dram_read_bytes))),
    ("dram_written_bytes", Of::Whole(|row| Some(timed(row)?.dram_written_bytes))),
    ("dropped_bytes", Of::Whole(|row| Some(timed(row)?.dropped_bytes))),
    ("dirty_bytes_at_end", Of::Whole(|row| Some(timed(row)?.dirty_bytes_at_end))),
    ("achieved_gb_s", Of::Number(|row| Some(timed(row)?.achieved_gb_s))),
    ("flops", Of::Number(|row| Some(timed(row)?.flops))),
    ("energy_low_j", Of::Number(|row| Some(timed(row)?.energy.low_j))),
    ("energy_high_j", Of::Number(|row| Some(timed(row)?.energy.high_j))),
    (
        "levels",
        Of::Text(|row| {
            let levels = &timed(row)?.levels;
            (!levels.is_empty()).then(|| serde_json::to_string(levels).ok()).flatten()
        }),
    ),
    ("admission", Of::Text(|row| Some(recipe(row)?.memory.admission.name()))),
    ("prefetch_depth", Of::Whole(|row| Some(recipe(row)?.memory.physical()?.prefetch_depth.into()))),
    ("scorer", Of::Text(|row| Some(found(row)?.scorer?.name().to_owned()))),
    (
        "warnings",
        Of::Text(|row| {
            let warnings = &found(row)?.warnings;
            (!warnings.is_empty()).then(|| warnings.join("\n"))
        }),
    ),
    ("error", Of::Text(|row| Some(row.found.as_ref().err()?.to_string()))),
    ("recipe", Of::Text(|row| recipe(row)?.to_fragment().ok())),
    ("engine", Of::Text(|_| Some(engine()))),
    ("seconds", Of::Number(|row| Some(row.seconds))),
];

/// Which program makes the numbers: its version, and that of its results.
pub fn engine() -> String {
    format!("accel-core {}, results {RESULTS_VERSION}", env!("CARGO_PKG_VERSION"))
}

/// Fields of a recipe that a column of every table holds.
const HELD: [&str; 4] =
    ["/memory/capacity_bytes", "/seed", "/memory/admission", "/memory/cost/physical/prefetch_depth"];

/// The name of the column for each of the varied `fields`: the end of its pointer, as long as it takes to be the only one
/// of that name. None where a column of every table holds it.
pub(super) fn axis_names(fields: &[&str]) -> Vec<Option<String>> {
    let end = |pointer: &str, parts: usize| {
        let all: Vec<&str> = pointer.split('/').skip(1).collect();
        all[all.len().saturating_sub(parts)..].join("_")
    };
    let fixed = |name: &str| BEFORE.iter().chain(&BEHIND).any(|(column, _)| *column == name);
    let name = |pointer: &&str| {
        if HELD.contains(pointer) || *pointer == WHOLE {
            return None;
        }
        let parts = pointer.matches('/').count();
        let alone = |parts: &usize| {
            let name = end(pointer, *parts);
            !fixed(&name) && fields.iter().filter(|other| end(other, *parts) == name).count() == 1
        };
        Some((1..=parts).find(alone).map_or_else(|| (*pointer).to_owned(), |parts| end(pointer, parts)))
    };
    fields.iter().map(name).collect()
}

/// The names of the columns that vary from cell to cell, in the order of the axes.
pub fn axis_columns(cells: &Cells) -> Vec<String> {
    let fields: Vec<&str> = cells.fields().map(|(pointer, _)| pointer).collect();
    // A column of every table is named by the end of its pointer.
    let held = |pointer: &str| pointer.rsplit('/').next().unwrap_or_default().to_owned();
    let names = fields.iter().zip(axis_names(&fields)).filter(|(pointer, _)| **pointer != WHOLE);
    names.map(|(pointer, name)| name.unwrap_or_else(|| held(pointer))).collect()
}

/// The column of an axis has the type of all its values.
fn axis(name: &str, all: &[Value], values: Vec<&Value>) -> Column {
    let every = |is: fn(&Value) -> bool| all.iter().all(|value| value.is_null() || is(value));
    let text = |value: &&Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let values = if every(Value::is_boolean) {
        Values::Flag(values.iter().map(|value| value.as_bool()).collect())
    } else if every(Value::is_u64) {
        Values::Whole(values.iter().map(|value| value.as_u64()).collect())
    } else if every(Value::is_number) {
        Values::Number(values.iter().map(|value| value.as_f64()).collect())
    } else {
        Values::Text(values.iter().map(text).collect())
    };
    Column { name: name.to_owned(), values }
}

/// The columns of `rows` of `cells`.
pub fn columns(cells: &Cells, rows: &[Row]) -> Result<Vec<Column>, Error> {
    let column = |(name, of): &(&str, Of)| {
        let values = match of {
            Of::Text(of) => Values::Text(rows.iter().map(of).collect()),
            Of::Whole(of) => Values::Whole(rows.iter().map(of).collect()),
            Of::Number(of) => Values::Number(rows.iter().map(of).collect()),
        };
        Column { name: (*name).to_owned(), values }
    };
    let fields: Vec<&str> = cells.fields().map(|(pointer, _)| pointer).collect();
    let axes = cells.fields().zip(axis_names(&fields)).enumerate().filter_map(|(i, ((_, all), name))| {
        let values = rows.iter().map(|row| row.axes.get(i).unwrap_or(&Value::Null)).collect();
        Some(axis(&name?, all, values))
    });
    Ok(BEFORE.iter().map(column).chain(axes).chain(BEHIND.iter().map(column)).collect())
}

/// The columns as CSV, their names first.
pub fn csv(columns: &[Column]) -> Result<Vec<u8>, Error> {
    let broken = |error: csv::Error| Error::Internal(error.to_string());
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(columns.iter().map(|column| &column.name)).map_err(broken)?;
    let rows = columns.first().map_or(0, |column| column.values.len());
    for row in 0..rows {
        writer.write_record(columns.iter().map(|column| column.values.text(row))).map_err(broken)?;
    }
    writer.into_inner().map_err(|error| Error::Internal(error.to_string()))
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Whole(values) => values.len(),
            Self::Number(values) => values.len(),
            Self::Flag(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of row number `row`; empty where there is none.
    pub fn text(&self, row: usize) -> String {
        fn shown<T: ToString>(values: &[Option<T>], row: usize) -> String {
            values.get(row).and_then(Option::as_ref).map_or_else(String::new, T::to_string)
        }
        match self {
            Self::Text(values) => shown(values, row),
            Self::Whole(values) => shown(values, row),
            Self::Number(values) => shown(values, row),
            Self::Flag(values) => shown(values, row),
        }
    }
}
