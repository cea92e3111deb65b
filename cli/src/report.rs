//! A sweep as a report: who is best where, what it costs, and what nothing beats.

use std::collections::BTreeMap;

use accel_chart::alone::Figure;
use accel_chart::front::{self, Point};
use accel_chart::heat::{self, Cell, Shade};
use accel_core::policy::PolicySpec;
use accel_core::sweep::Cells;
use accel_core::sweep::table::{Values, axis_columns};
use accel_core::units::{format_bytes, format_count};
use accel_files::sweep::Table;
use anyhow::bail;

use crate::picture::{WIDTH, drawn};

/// Groups of cells that have figures of their own, at most: more would be no report.
const MOST_GROUPS: usize = 8;
/// Rows of the table of the best, at most.
const MOST_ROWS: usize = 60;

/// A report: its text and its figures.
#[derive(Debug)]
pub(crate) struct Report {
    /// What it is of, a paragraph each.
    pub(crate) about: Vec<String>,
    /// The figures.
    pub(crate) figures: Vec<Figure>,
}

/// A row that has numbers.
#[derive(Debug, Clone)]
struct Row {
    /// The values of the axes beside capacity and seed, in words.
    group: String,
    policy: String,
    capacity: u64,
    byte_miss_ratio: f64,
    miss_bytes: f64,
    time_ms: Option<f64>,
    energy_j: Option<f64>,
}

/// What is told of a row, and how it is written.
#[derive(Clone, Copy)]
struct Cost {
    what: &'static str,
    column: &'static str,
    of: fn(&Row) -> Option<f64>,
    label: fn(f64) -> String,
}

const TIME: Cost = Cost { what: "time", column: "time_ms", of: |row| row.time_ms, label: |ms| time(ms) };
const ENERGY: Cost =
    Cost { what: "energy", column: "energy_j", of: |row| row.energy_j, label: |joules| format!("{joules:.3} J") };
const BYTES: Cost = Cost {
    what: "bytes from DRAM",
    column: "miss_bytes",
    of: |row| Some(row.miss_bytes),
    label: |bytes| format_bytes(bytes as u64),
};

fn time(ms: f64) -> String {
    match ms {
        ms if ms >= 10_000.0 => format!("{:.1} s", ms / 1000.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.3} ms"),
    }
}

/// The cell of a column as text; empty where there is none.
fn text(table: &Table, column: &str, row: usize) -> String {
    match table.column(column) {
        Some(Values::Text(values)) => values.get(row).cloned().flatten().unwrap_or_default(),
        Some(Values::Whole(values)) => values.get(row).copied().flatten().map_or(String::new(), |n| n.to_string()),
        Some(Values::Number(values)) => values.get(row).copied().flatten().map_or(String::new(), |x| x.to_string()),
        Some(Values::Flag(values)) => values.get(row).copied().flatten().map_or(String::new(), |yes| yes.to_string()),
        None => String::new(),
    }
}

/// The cell of a column as a number.
fn number(table: &Table, column: &str, row: usize) -> Option<f64> {
    match table.column(column)? {
        Values::Whole(values) => values.get(row).copied().flatten().map(|n| n as f64),
        Values::Number(values) => values.get(row).copied().flatten(),
        Values::Text(_) | Values::Flag(_) => None,
    }
}

/// The rows that have numbers, those of a policy, group and capacity as one: the mean of their seeds.
fn rows(cells: &Cells, table: &Table) -> Vec<Row> {
    let axes: Vec<String> =
        axis_columns(cells).into_iter().filter(|name| !["capacity_bytes", "seed"].contains(&name.as_str())).collect();
    let mut means: BTreeMap<(usize, u64, usize), (Row, f64)> = BTreeMap::new();
    let (mut groups, mut policies): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let place = |names: &mut Vec<String>, name: &str| {
        names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        })
    };
    for at in 0..table.len() {
        let Some(byte_miss_ratio) = number(table, "byte_miss_ratio", at) else { continue };
        let group = axes.iter().map(|axis| format!("{axis} {}", text(table, axis, at))).collect::<Vec<_>>().join(", ");
        let policy = text(table, "policy", at);
        let energy = number(table, "energy_low_j", at).zip(number(table, "energy_high_j", at));
        let row = Row {
            capacity: number(table, "capacity_bytes", at).unwrap_or_default() as u64,
            byte_miss_ratio,
            miss_bytes: number(table, "miss_bytes", at).unwrap_or_default(),
            time_ms: number(table, "total_ms", at).or_else(|| number(table, "total_latency_ms", at)),
            energy_j: energy.map(|(low, high)| f64::midpoint(low, high)),
            group: group.clone(),
            policy: policy.clone(),
        };
        let key = (place(&mut groups, &group), row.capacity, place(&mut policies, &policy));
        let Some((mean, count)) = means.get_mut(&key) else {
            means.insert(key, (row, 1.0));
            continue;
        };
        *count += 1.0;
        let into = |mean: &mut f64, one: f64| *mean += (one - *mean) / *count;
        into(&mut mean.byte_miss_ratio, row.byte_miss_ratio);
        into(&mut mean.miss_bytes, row.miss_bytes);
        for (mean, one) in [(&mut mean.time_ms, row.time_ms), (&mut mean.energy_j, row.energy_j)] {
            *mean = mean.zip(one).map(|(mean, one)| mean + (one - mean) / *count);
        }
    }
    means.into_values().map(|(row, _)| row).collect()
}

/// Names in their order, each once.
fn distinct<T: PartialEq + Clone>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut known: Vec<T> = Vec::new();
    all.for_each(|one| {
        if !known.contains(&one) {
            known.push(one);
        }
    });
    known
}

/// The policy as people read it.
fn title(policy: &str) -> String {
    PolicySpec::parse(policy).map_or_else(|_| policy.to_owned(), |policy| policy.title())
}

/// What is of a group, where there are several.
fn of(group: &str, groups: usize) -> String {
    if groups > 1 && !group.is_empty() { format!(": {group}") } else { String::new() }
}

/// The report of the rows of a sweep.
pub(crate) fn of_sweep(cells: &Cells, table: &Table) -> anyhow::Result<Report> {
    let all = rows(cells, table);
    if all.is_empty() {
        bail!("no row of the sweep has numbers, so there is nothing to draw: see its column error");
    }
    let policies = distinct(all.iter().map(|row| row.policy.clone()));
    let groups = distinct(all.iter().map(|row| row.group.clone()));
    let mut capacities = distinct(all.iter().map(|row| row.capacity));
    capacities.sort_unstable();
    let mut about = vec![format!(
        "{} rows: {} policies in {} memories{}. Rows that differ in their seed alone are shown as their mean.",
        format_count(table.len() as u64),
        policies.len(),
        capacities.len(),
        if groups.len() > 1 { format!(", {} groups", groups.len()) } else { String::new() },
    )];
    let missing = (0..table.len()).filter(|at| number(table, "misses", *at).is_none()).count();
    if missing > 0 {
        about.push(format!("{missing} rows could not be computed and are left out; their column error says why."));
    }
    let shown = &groups[..groups.len().min(MOST_GROUPS)];
    if groups.len() > shown.len() {
        about.push(format!("Of {} groups the first {MOST_GROUPS} have figures of their own.", groups.len()));
    }
    let mut figures = vec![best(&all, &groups, &capacities, &policies)?];
    for group in shown {
        let rows: Vec<&Row> = all.iter().filter(|row| row.group == *group).collect();
        let of = of(group, groups.len());
        figures.push(misses(&rows, &of, &capacities, &policies)?);
        let timed = [TIME, ENERGY].into_iter().filter(|cost| rows.iter().any(|row| (cost.of)(row).is_some()));
        let mut costs: Vec<Cost> = timed.collect();
        if costs.is_empty() {
            costs.push(BYTES);
        }
        for cost in costs {
            figures.push(pareto(&rows, &of, cost, &policies)?);
        }
    }
    Ok(Report { about, figures })
}

/// Bytes missed by policy and capacity.
fn misses(rows: &[&Row], of: &str, capacities: &[u64], policies: &[String]) -> anyhow::Result<Figure> {
    let cell = |policy: &String, capacity: &u64| {
        let row = rows.iter().find(|row| row.policy == *policy && row.capacity == *capacity)?;
        let text = format!("{:.0} %", 100.0 * row.byte_miss_ratio);
        Some(Cell { text, shade: Shade::Share(row.byte_miss_ratio) })
    };
    let table = heat::Table {
        rows: policies.iter().map(|policy| title(policy)).collect(),
        columns: capacities.iter().map(|capacity| format_bytes(*capacity)).collect(),
        cells: policies.iter().map(|policy| capacities.iter().map(|it| cell(policy, it)).collect()).collect(),
    };
    let head = ["policy", "capacity_bytes", "byte_miss_ratio", "miss_bytes"].map(str::to_owned).to_vec();
    let figures = rows.iter().map(|row| {
        vec![
            row.policy.clone(),
            row.capacity.to_string(),
            row.byte_miss_ratio.to_string(),
            format!("{:.0}", row.miss_bytes),
        ]
    });
    Ok(Figure {
        title: format!("Bytes missed per byte requested, by policy and capacity{of}"),
        legend: Vec::new(),
        svg: drawn(heat::draw(&table, WIDTH))?,
        rows: [head].into_iter().chain(figures).collect(),
    })
}

/// The policy that costs least in each group and memory: the least time where all of them have one, else the fewest bytes.
fn best(all: &[Row], groups: &[String], capacities: &[u64], policies: &[String]) -> anyhow::Result<Figure> {
    let mut rows = vec![["group", "capacity_bytes", "policy", "by", "cost"].map(str::to_owned).to_vec()];
    let mut table = heat::Table {
        columns: capacities.iter().map(|capacity| format_bytes(*capacity)).collect(),
        ..heat::Table::default()
    };
    for group in groups {
        let mut cells = Vec::new();
        for capacity in capacities {
            let here: Vec<&Row> = all.iter().filter(|row| row.group == *group && row.capacity == *capacity).collect();
            let cost = if here.iter().all(|row| row.time_ms.is_some()) { TIME } else { BYTES };
            let least =
                here.iter().filter_map(|row| Some(((cost.of)(row)?, *row))).min_by(|(a, _), (b, _)| a.total_cmp(b));
            cells.push(least.map(|(value, row)| {
                let (by, written) = (cost.column.to_owned(), value.to_string());
                rows.push(vec![group.clone(), capacity.to_string(), row.policy.clone(), by, written]);
                let series = policies.iter().position(|policy| *policy == row.policy).unwrap_or_default();
                Cell { text: title(&row.policy), shade: Shade::Series(series) }
            }));
        }
        if table.rows.len() < MOST_ROWS {
            table.rows.push(if group.is_empty() { "all".to_owned() } else { group.clone() });
            table.cells.push(cells);
        }
    }
    let timed = all.iter().all(|row| row.time_ms.is_some());
    Ok(Figure {
        title: format!("The best policy in each memory: the least {}", if timed { "time" } else { "bytes from DRAM" }),
        legend: policies.iter().map(|policy| title(policy)).collect(),
        svg: drawn(heat::draw(&table, WIDTH))?,
        rows,
    })
}

/// What costs how much, and what nothing beats.
fn pareto(rows: &[&Row], of: &str, cost: Cost, policies: &[String]) -> anyhow::Result<Figure> {
    let priced: Vec<(&Row, f64)> = rows.iter().filter_map(|row| Some((*row, (cost.of)(row)?))).collect();
    let series = |row: &Row| policies.iter().position(|policy| *policy == row.policy).unwrap_or_default();
    let point = |(row, cost): &(&Row, f64)| Point { capacity_bytes: row.capacity, cost: *cost, series: series(row) };
    let points: Vec<Point> = priced.iter().map(point).collect();
    let best = front::front(&points);
    let head = ["policy", "capacity_bytes", cost.column, "on the front"].map(str::to_owned).to_vec();
    let figures = priced.iter().enumerate().map(|(at, (row, cost))| {
        let front = if best.contains(&at) { "yes" } else { "" };
        vec![row.policy.clone(), row.capacity.to_string(), cost.to_string(), front.to_owned()]
    });
    Ok(Figure {
        title: format!("Capacity against {}, and the designs that nothing beats in both{of}", cost.what),
        legend: policies.iter().map(|policy| title(policy)).collect(),
        svg: drawn(front::draw(&points, &cost.label, WIDTH))?,
        rows: [head].into_iter().chain(figures).collect(),
    })
}
