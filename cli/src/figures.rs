//! The figures of reports as columns: one list for tables that people read and for CSV.

use std::io::Write;

use accel_core::sim::timing::{Timed, Tokens};
use accel_core::sim::{Interval, Report};
use accel_core::units::{format_bytes, format_count, format_joules};
use comfy_table::{CellAlignment, Table};

use crate::table::numbers;

/// A figure, as it is written for people and for programs.
enum Cell {
    Text(String),
    Count(u64),
    Bytes(u64),
    /// A share, in percent with so many decimals for people.
    Share(f64, usize),
    /// A number, with so many decimals for people.
    Number(f64, usize),
    Joules(f64, f64),
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => format_count(*count),
            Self::Bytes(bytes) => format_bytes(*bytes),
            Self::Share(share, decimals) => format!("{:.decimals$}", 100.0 * share),
            Self::Number(number, decimals) => format!("{number:.decimals$}"),
            Self::Joules(low, high) => format_joules(*low, *high),
        }
    }

    fn raw(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(number) | Self::Bytes(number) => number.to_string(),
            Self::Share(number, _) | Self::Number(number, _) => number.to_string(),
            // A column of its own holds the most.
            Self::Joules(low, _) => low.to_string(),
        }
    }
}

/// Where a column is shown to people, beside CSV, which has all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// In the table of policies.
    Policies,
    /// In the table of policies, where any report has another figure than nothing.
    IfAny,
    /// In the table of what the device does.
    Device,
    /// In CSV alone.
    Nowhere,
}

/// A column: its heads for people and for programs, and its figure.
struct Column {
    head: &'static str,
    key: &'static str,
    shown: Shown,
    cell: fn(&Report) -> Option<Cell>,
}

const fn column(head: &'static str, key: &'static str, shown: Shown, cell: fn(&Report) -> Option<Cell>) -> Column {
    Column { head, key, shown, cell }
}

fn timed(run: &Report, cell: fn(&Timed) -> Cell) -> Option<Cell> {
    run.physical.as_ref().map(cell)
}

fn tokens(run: &Report, figure: fn(&Tokens) -> Option<f64>, decimals: usize) -> Option<Cell> {
    let tokens = run.physical.as_ref()?.tokens.as_ref()?;
    figure(tokens).map(|figure| Cell::Number(figure, decimals))
}

const POLICY: Column = column("policy", "policy", Shown::Nowhere, |run| Some(Cell::Text(run.policy.name())));

/// The columns, in their order.
const COLUMNS: [Column; 30] = [
    column("capacity", "capacity_bytes", Shown::Nowhere, |run| Some(Cell::Bytes(run.capacity_bytes))),
    column("accesses", "accesses", Shown::Nowhere, |run| Some(Cell::Count(run.accesses))),
    column("hits", "hits", Shown::Policies, |run| Some(Cell::Count(run.hits))),
    column("misses", "misses", Shown::Policies, |run| Some(Cell::Count(run.misses))),
    column("hit %", "hit_ratio", Shown::Policies, |run| Some(Cell::Share(run.hit_ratio(), 2))),
    column("miss %", "miss_ratio", Shown::Nowhere, |run| Some(Cell::Share(1.0 - run.hit_ratio(), 2))),
    column("byte hit %", "byte_hit_ratio", Shown::Policies, |run| Some(Cell::Share(run.byte_hit_ratio(), 2))),
    column("byte miss %", "byte_miss_ratio", Shown::Nowhere, |run| Some(Cell::Share(1.0 - run.byte_hit_ratio(), 2))),
    column("gap closed %", "gap_closed", Shown::IfAny, |run| run.gap_closed.map(|gap| Cell::Share(gap, 1))),
    column("byte gap closed %", "byte_gap_closed", Shown::Nowhere, |run| {
        run.byte_gap_closed.map(|gap| Cell::Share(gap, 1))
    }),
    column("hit", "hit_bytes", Shown::Nowhere, |run| Some(Cell::Bytes(run.hit_bytes))),
    column("from DRAM", "miss_bytes", Shown::Policies, |run| Some(Cell::Bytes(run.miss_bytes))),
    column("evictions", "evictions", Shown::Policies, |run| Some(Cell::Count(run.evictions))),
    column("bypassed", "bypassed", Shown::Policies, |run| Some(Cell::Count(run.bypassed))),
    column("oversize", "oversize", Shown::Nowhere, |run| Some(Cell::Count(run.oversize))),
    column("expired", "expired", Shown::IfAny, |run| Some(Cell::Count(run.expired))),
    column("latency ms", "total_latency_ms", Shown::IfAny, |run| run.total_latency_ms.map(|ms| Cell::Number(ms, 2))),
    column("bandwidth wait ms", "bandwidth_wait_ms", Shown::IfAny, |run| {
        run.bandwidth_wait_ms.map(|ms| Cell::Number(ms, 2))
    }),
    column("total ms", "total_ms", Shown::IfAny, |run| timed(run, |timed| Cell::Number(timed.total_ms, 3))),
    column("stall ms", "stall_ms", Shown::IfAny, |run| timed(run, |timed| Cell::Number(timed.stall_ms, 3))),
    column("first token ms", "ttft_ms", Shown::IfAny, |run| tokens(run, |tokens| Some(tokens.ttft_ms), 3)),
    column("ms per token", "ms_per_token", Shown::IfAny, |run| tokens(run, |tokens| tokens.ms_per_token, 3)),
    column("tokens/s", "tokens_per_s", Shown::IfAny, |run| tokens(run, |tokens| tokens.tokens_per_s, 1)),
    column("compute ms", "compute_ms", Shown::Device, |run| timed(run, |timed| Cell::Number(timed.compute_ms, 3))),
    column("read", "dram_read_bytes", Shown::Device, |run| timed(run, |timed| Cell::Bytes(timed.dram_read_bytes))),
    column("written", "dram_written_bytes", Shown::Device, |run| {
        timed(run, |timed| Cell::Bytes(timed.dram_written_bytes))
    }),
    column("dropped", "dropped_bytes", Shown::Device, |run| timed(run, |timed| Cell::Bytes(timed.dropped_bytes))),
    column("GB/s", "achieved_gb_s", Shown::Device, |run| timed(run, |timed| Cell::Number(timed.achieved_gb_s, 1))),
    column("energy", "energy_low_j", Shown::Device, |run| {
        timed(run, |timed| Cell::Joules(timed.energy.low_j, timed.energy.high_j))
    }),
    column("energy, at most", "energy_high_j", Shown::Nowhere, |run| {
        timed(run, |timed| Cell::Number(timed.energy.high_j, 3))
    }),
];

/// What a run is called beside others: its policy, and its capacity where that differs.
fn title(run: &Report, runs: &[Report]) -> String {
    let title = run.policy.title();
    let differs = runs.iter().any(|other| other.capacity_bytes != run.capacity_bytes);
    if differs { format!("{title} in {}", format_bytes(run.capacity_bytes)) } else { title }
}

/// A table of `columns`, one row a run.
fn table_of(head: &'static str, columns: &[&Column], runs: &[Report]) -> Table {
    let mut table = numbers::<0>([], []);
    table.set_header([head].into_iter().chain(columns.iter().map(|column| column.head)));
    table.add_rows(runs.iter().map(|run| {
        let cells = columns.iter().map(|column| (column.cell)(run).map_or("-".to_owned(), |cell| cell.shown()));
        [title(run, runs)].into_iter().chain(cells).collect::<Vec<_>>()
    }));
    align(&mut table);
    table
}

/// Numbers stand on the right.
fn align(table: &mut Table) {
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
}

/// The table of policies.
pub(crate) fn table(runs: &[Report]) -> Table {
    let any = |column: &&Column| {
        runs.iter().any(|run| (column.cell)(run).is_some_and(|cell| !matches!(cell, Cell::Count(0))))
    };
    let shown = |column: &&Column| match column.shown {
        Shown::Policies => true,
        Shown::IfAny => any(column),
        Shown::Device | Shown::Nowhere => false,
    };
    table_of("policy", &COLUMNS.iter().filter(shown).collect::<Vec<_>>(), runs)
}

/// What the device does beside waiting.
pub(crate) fn on_the_device(runs: &[Report]) -> Table {
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| column.shown == Shown::Device).collect();
    table_of("on the device", &columns, runs)
}

/// Writes one line of CSV for each run; a figure that there is not is empty.
pub(crate) fn csv(runs: &[Report], out: &mut dyn Write) -> anyhow::Result<()> {
    let columns = || [&POLICY].into_iter().chain(&COLUMNS);
    line(columns().map(|column| column.key.to_owned()), out)?;
    for run in runs {
        line(columns().map(|column| (column.cell)(run).map_or(String::new(), |cell| cell.raw())), out)?;
    }
    Ok(())
}

/// Writes one line of CSV for each interval of each run.
pub(crate) fn intervals_csv(runs: &[Report], out: &mut dyn Write) -> anyhow::Result<()> {
    const KEYS: [&str; 9] = [
        "policy",
        "capacity_bytes",
        "end",
        "accesses",
        "misses",
        "miss_ratio",
        "requested_bytes",
        "miss_bytes",
        "byte_miss_ratio",
    ];
    line(KEYS.map(str::to_owned).into_iter(), out)?;
    for run in runs {
        for interval in &run.intervals {
            let Interval { end, accesses, misses, requested_bytes, miss_bytes } = *interval;
            let fields = [
                run.policy.name(),
                run.capacity_bytes.to_string(),
                end.to_string(),
                accesses.to_string(),
                misses.to_string(),
                interval.miss_ratio().to_string(),
                requested_bytes.to_string(),
                miss_bytes.to_string(),
                interval.byte_miss_ratio().to_string(),
            ];
            line(fields.into_iter(), out)?;
        }
    }
    Ok(())
}

/// Writes fields that hold no comma.
fn line(fields: impl Iterator<Item = String>, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{}", fields.collect::<Vec<_>>().join(","))?;
    Ok(())
}

/// Intervals that a table shows, at most.
const SHOWN_INTERVALS: usize = 50;

/// Misses over time, one column a run.
pub(crate) fn print_intervals(runs: &[Report], out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(first) = runs.first().filter(|run| !run.intervals.is_empty()) else { return Ok(()) };
    writeln!(out, "Misses in percent of the accesses of each interval:")?;
    let mut table = numbers::<0>([], []);
    table.set_header(["until access".to_owned()].into_iter().chain(runs.iter().map(|run| title(run, runs))));
    for (i, interval) in first.intervals.iter().take(SHOWN_INTERVALS).enumerate() {
        let shares = runs.iter().map(|run| run.intervals.get(i).map_or(0.0, Interval::miss_ratio));
        let shares = shares.map(|share| format!("{:.2}", 100.0 * share));
        table.add_row([format_count(interval.end)].into_iter().chain(shares));
    }
    align(&mut table);
    writeln!(out, "{table}")?;
    if let Some(more) = first.intervals.len().checked_sub(SHOWN_INTERVALS).filter(|more| *more > 0) {
        writeln!(out, "{} more are left out: --json and --csv print them all.", format_count(more as u64))?;
    }
    Ok(())
}
