//! Every run as a row of a Parquet table.

use std::sync::Arc;

use accel_core::policy::{Knows, PolicyKind};
use anyhow::Context as _;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::measure::{Cost, Measured, Run, Unit};

/// A point and a run of it.
type Row<'m> = (&'m Measured, &'m Run);

/// How a column is told from a row; none where there is nothing.
enum Column {
    Text(fn(&Row<'_>) -> anyhow::Result<Option<String>>),
    Whole(fn(&Row<'_>) -> Option<u64>),
    Number(fn(&Row<'_>) -> Option<f64>),
}

/// The columns and their names.
const COLUMNS: [(&str, Column); 24] = [
    ("family", Column::Text(|(point, _)| Ok(Some(point.family.clone())))),
    ("workload", Column::Text(|(point, _)| Ok(Some(point.workload.clone())))),
    ("half", Column::Text(|(point, _)| Ok(Some(if point.seen { "validation" } else { "never seen" }.to_owned())))),
    ("admission", Column::Text(|(point, _)| Ok(Some(point.admission.name().to_owned())))),
    ("capacity_bytes", Column::Whole(|(point, _)| Some(point.capacity_bytes))),
    ("accesses", Column::Whole(|(point, _)| Some(point.accesses))),
    ("policy", Column::Text(|(_, run)| Ok(Some(run.policy.clone())))),
    ("knows", Column::Text(|(_, run)| Ok(Some(knows(run)?.name().to_owned())))),
    ("scorer", Column::Text(|(_, run)| Ok(run.scorer.clone()))),
    ("misses", Column::Whole(|(_, run)| Some(run.cost.misses))),
    ("miss_bytes", Column::Whole(|(_, run)| Some(run.cost.miss_bytes))),
    ("stall_ns", Column::Whole(|(_, run)| run.cost.stall_ns)),
    ("best_misses", Column::Whole(|(point, _)| Some(point.best.misses))),
    ("best_miss_bytes", Column::Whole(|(point, _)| Some(point.best.miss_bytes))),
    ("best_stall_ns", Column::Whole(|(point, _)| point.best.stall_ns)),
    ("proven_misses", Column::Whole(|(point, _)| Some(point.proven.misses))),
    ("proven_miss_bytes", Column::Whole(|(point, _)| Some(point.proven.miss_bytes))),
    ("proven_stall_ns", Column::Whole(|(point, _)| point.proven.stall_ns)),
    ("gap_objects", Column::Number(|row| closed(row, Unit::Objects, |point| point.best))),
    ("gap_bytes", Column::Number(|row| closed(row, Unit::Bytes, |point| point.best))),
    ("gap_stall", Column::Number(|row| closed(row, Unit::Stall, |point| point.best))),
    ("proven_gap_objects", Column::Number(|row| closed(row, Unit::Objects, |point| point.proven))),
    ("proven_gap_bytes", Column::Number(|row| closed(row, Unit::Bytes, |point| point.proven))),
    ("proven_gap_stall", Column::Number(|row| closed(row, Unit::Stall, |point| point.proven))),
];

fn closed((point, run): &Row<'_>, unit: Unit, best: fn(&Measured) -> Cost) -> Option<f64> {
    super::gaps::closed(point.lru.get(unit)?, run.cost.get(unit)?, best(point).get(unit)?)
}

/// What a run's policy knows; one with perfect scores knows the future.
fn knows(run: &Run) -> anyhow::Result<Knows> {
    if run.scorer.as_deref() == Some(super::measure::PERFECT) {
        return Ok(Knows::Future);
    }
    Ok(PolicyKind::from_name(&run.policy)?.info().knows)
}

/// The values that there are, and for each row whether there is one.
fn split<T>(values: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let (mut some, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        some.extend(value);
    }
    (some, levels)
}

/// The file.
pub(super) fn write(all: &[Measured]) -> anyhow::Result<Vec<u8>> {
    let rows: Vec<Row<'_>> = all.iter().flat_map(|point| point.runs.iter().map(move |run| (point, run))).collect();
    let kinds = COLUMNS.iter().map(|(name, column)| match column {
        Column::Text(_) => format!("OPTIONAL BYTE_ARRAY {name} (UTF8);"),
        Column::Whole(_) => format!("OPTIONAL INT64 {name};"),
        Column::Number(_) => format!("OPTIONAL DOUBLE {name};"),
    });
    let schema = parse_message_type(&format!("message points {{ {} }}", kinds.collect::<Vec<_>>().join(" ")))?;
    let compression = Compression::ZSTD(ZstdLevel::try_new(19)?);
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (name, column) in &COLUMNS {
        let mut next = group.next_column()?.with_context(|| format!("no column {name}"))?;
        match (next.untyped(), column) {
            (ColumnWriter::ByteArrayColumnWriter(writer), Column::Text(of)) => {
                let texts = rows.iter().map(of).collect::<anyhow::Result<Vec<_>>>()?;
                let (values, levels) = split(texts.iter().map(|text| text.as_deref().map(ByteArray::from)));
                writer.write_batch(&values, Some(&levels), None)?;
            }
            (ColumnWriter::Int64ColumnWriter(writer), Column::Whole(of)) => {
                let whole = rows.iter().map(|row| of(row).map(i64::try_from).transpose());
                let whole = whole.collect::<Result<Vec<_>, _>>().with_context(|| format!("{name} is beyond 2^63"))?;
                let (values, levels) = split(whole.into_iter());
                writer.write_batch(&values, Some(&levels), None)?;
            }
            (ColumnWriter::DoubleColumnWriter(writer), Column::Number(of)) => {
                let (values, levels) = split(rows.iter().map(of));
                writer.write_batch(&values, Some(&levels), None)?;
            }
            _ => anyhow::bail!("column {name} is of another type than its schema's"),
        }
        next.close()?;
    }
    group.close()?;
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use accel_core::policy::Admission;
    use bytes::Bytes;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    use super::*;

    #[test]
    fn every_run_is_a_row() {
        let cost = |misses, stall_ns| Cost { misses, miss_bytes: 10 * misses, stall_ns };
        let run = |policy: &str, scorer: Option<&str>, misses| Run {
            policy: policy.into(),
            scorer: scorer.map(Into::into),
            cost: cost(misses, None),
        };
        let point = Measured {
            family: "decode".into(),
            workload: "w".into(),
            point: "decode w".into(),
            seen: false,
            capacity_bytes: 1000,
            admission: Admission::Bypass,
            accesses: 200,
            lru: cost(100, None),
            best: cost(20, None),
            proven: cost(0, None),
            runs: vec![run("lru", None, 100), run("ml-reuse", Some("perfect"), 60)],
        };
        let reader = SerializedFileReader::new(Bytes::from(write(&[point]).unwrap())).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        let at = |name: &str| COLUMNS.iter().position(|(column, _)| *column == name).unwrap();
        let text = |row: usize, name: &str| rows[row].get_string(at(name)).unwrap().clone();
        assert_eq!(
            ["family", "half", "admission", "policy"].map(|n| text(0, n)),
            ["decode", "never seen", "bypass", "lru"]
        );
        assert_eq!(["knows", "scorer"].map(|n| text(1, n)), ["future", "perfect"]);
        assert_eq!(text(0, "knows"), "past");
        assert!(rows[0].get_string(at("scorer")).is_err() && rows[1].get_long(at("stall_ns")).is_err());
        assert_eq!(
            (rows[1].get_long(at("misses")).unwrap(), rows[1].get_long(at("best_miss_bytes")).unwrap()),
            (60, 200)
        );
        let gaps = ["gap_objects", "gap_bytes", "proven_gap_bytes"].map(|n| rows[1].get_double(at(n)).unwrap());
        assert_eq!(gaps, [0.5, 0.5, 0.4]);
        assert!(rows[1].get_double(at("gap_stall")).is_err());
    }
}
