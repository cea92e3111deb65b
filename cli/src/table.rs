//! What several commands print: tables, JSON, and parts of an outcome in words.

use std::io::Write;

use accel_core::bound::Bounds;
use accel_core::curve::{self, Curves};
use accel_core::explain::schedule_name;
use accel_core::run::sampled::{Estimate, Sampled, Spread};
use accel_core::trace::Summary;
use accel_core::units::{format_bytes, format_count};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// Writes an answer for scripts.
pub(crate) fn print_json(answer: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, answer)?;
    writeln!(out)?;
    Ok(())
}

/// The size of a trace, in words, and the capacities of the memories.
pub(crate) fn print_summary(trace: &Summary, capacities: &[u64], out: &mut dyn Write) -> anyhow::Result<()> {
    let Summary { accesses, tensors, requested_bytes, unique_bytes } = *trace;
    let capacities: Vec<String> = capacities.iter().map(|capacity| format_bytes(*capacity)).collect();
    writeln!(
        out,
        "{} accesses to {} tensors: {} requested, {} unique. Capacity {}.",
        format_count(accesses),
        format_count(tensors),
        format_bytes(requested_bytes),
        format_bytes(unique_bytes),
        capacities.join(", "),
    )?;
    Ok(())
}

/// An empty table in the style of all tables; every column but the first holds numbers.
pub(crate) fn numbers<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// How sure estimates are, and how they were made.
pub(crate) fn print_sampled(sampled: &Sampled, out: &mut dyn Write) -> anyhow::Result<()> {
    let share = |share: f64| format!("{:.2}", 100.0 * share);
    let ends = |spread: &Spread| format!("{} to {}", share(spread.low), share(spread.high));
    let row = |it: &Estimate, what: &str| {
        let [one, bytes] = [&it.miss_ratio, &it.byte_miss_ratio];
        let name = format!("{}{what}", it.policy.title());
        let capacity = format_bytes(it.capacity_bytes);
        let sure = if it.sure { "yes" } else { "no" }.to_owned();
        [name, capacity, share(one.mean), ends(one), share(bytes.mean), ends(bytes), sure]
    };
    let control = sampled.control.iter().map(|it| {
        let name = "LRU, whole trace".to_owned();
        let [one, bytes] = [it.miss_ratio, it.byte_miss_ratio].map(share);
        let none = || "-".to_owned();
        [name, format_bytes(it.sampled.capacity_bytes), one, none(), bytes, none(), none()]
    });
    let sampled_lru = sampled.control.iter().map(|it| row(&it.sampled, ", samples"));
    let rows = sampled.estimates.iter().map(|it| row(it, "")).chain(sampled_lru).chain(control);
    let header = ["estimated", "capacity", "miss %", "95 % interval", "byte miss %", "95 % interval", "holds"];
    writeln!(out, "{}", numbers(header, rows))?;
    sampled.about().iter().try_for_each(|sentence| writeln!(out, "{sentence}"))?;
    Ok(())
}

/// The bounds in words.
pub(crate) fn print_bounds(bounds: &Bounds, out: &mut dyn Write) -> anyhow::Result<()> {
    let Bounds { admission, misses, miss_bytes, time_ms, .. } = bounds;
    writeln!(out, "The best possible schedule ({} admission) lies between", admission.name())?;
    let line = |what: &str, lower: String, upper: String, schedule: &str| {
        [what.to_owned(), lower, upper, schedule_name(schedule)]
    };
    let mut rows = vec![
        line("misses", format_count(misses.lower), format_count(misses.upper), &misses.schedule),
        line("bytes missed", format_count(miss_bytes.lower), format_count(miss_bytes.upper), &miss_bytes.schedule),
    ];
    rows.extend(
        time_ms
            .as_ref()
            .map(|time| line("time ms", format!("{:.3}", time.lower), format!("{:.3}", time.upper), &time.schedule)),
    );
    writeln!(out, "{}", numbers(["", "proven at least", "attained", "by"], rows))?;
    Ok(())
}

/// Prints the curves as tables.
pub(crate) fn print_curves(curves: &Curves, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(first) = curves.curves.first() else { return Ok(()) };
    for (what, ratio) in [
        ("Misses in percent of accesses", (|p| p.miss_ratio) as fn(&curve::CurvePoint) -> f64),
        ("Bytes missed in percent of bytes requested", |p| p.byte_miss_ratio),
    ] {
        writeln!(out, "{what}:")?;
        let mut header = vec!["capacity".to_owned()];
        header.extend(curves.curves.iter().map(|c| c.policy.title()));
        if curves.bounds.is_some() {
            header.extend(["best known", "proven least"].map(String::from));
        }
        let mut table = numbers::<0>([], []);
        table.set_header(header);
        for (i, point) in first.points.iter().enumerate() {
            let mut row = vec![format_bytes(point.capacity_bytes)];
            let bounds = curves.bounds.iter().flat_map(|b| [&b.upper[i], &b.lower[i]]);
            let points = curves.curves.iter().map(|c| &c.points[i]).chain(bounds);
            row.extend(points.map(|p| format!("{:.2}", 100.0 * ratio(p))));
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(out, "{table}")?;
    }
    for curve in &curves.curves {
        let title = curve.policy.title();
        let among = match curve.exact_from_bytes {
            Some(from) => format!("of all from {} on and of those measured below", format_bytes(from)),
            None => "of those measured".into(),
        };
        let knee = curve.knee_bytes.map_or("no knee".into(), |knee| format!("knee at {}", format_bytes(knee)));
        let smallest = curve.smallest.iter().map(|s| {
            let capacity = s.capacity_bytes.map_or("-".into(), format_bytes);
            format!("{:.0} % {capacity}", 100.0 * s.share_of_hits)
        });
        let smallest = smallest.collect::<Vec<_>>().join(", ");
        writeln!(out, "{title}: {knee}; smallest capacity, {among}, for a share of all possible hits: {smallest}")?;
    }
    Ok(())
}
