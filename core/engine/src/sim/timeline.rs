//! What is resident when, what hits and what is fetched when: the data of the charts over the trace.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Observer;
use crate::trace::{Kind, Trace};

/// Columns of a timeline, at most.
pub const COLUMNS: usize = 96;
/// Rows of a heatmap, at most.
pub const ROWS: usize = 40;

/// A way to gather tensors into the rows of a heatmap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grouping {
    /// What the rows are: `layer`, `kind` or `first use`.
    pub by: String,
    /// A name for each row.
    pub labels: Vec<String>,
    /// Bytes of all tensors of each row, each at its largest.
    pub bytes: Vec<u64>,
    /// The row of each tensor.
    #[serde(skip)]
    rows: Vec<u16>,
}

impl Grouping {
    fn new(by: &str, labels: Vec<String>, rows: Vec<u16>, trace: &Trace) -> Self {
        let mut bytes = vec![0; labels.len()];
        for (row, size) in rows.iter().zip(trace.largest_sizes()) {
            bytes[usize::from(*row)] += size;
        }
        Self { by: by.into(), labels, bytes, rows }
    }

    /// One row a kind of tensor.
    fn by_kind(trace: &Trace) -> Self {
        let present: Vec<Kind> =
            Kind::ALL.into_iter().filter(|k| trace.tensors().iter().any(|t| t.kind == *k)).collect();
        let row = |kind| present.iter().position(|k| *k == kind).unwrap_or(0) as u16;
        let rows = trace.tensors().iter().map(|t| row(t.kind)).collect();
        Self::new("kind", present.iter().map(|k| k.title().to_owned()).collect(), rows, trace)
    }

    /// One row a layer (or band of layers), and one a kind for the tensors of no layer.
    fn by_layer(trace: &Trace) -> Option<Self> {
        // A number of layers beyond any index would not fit 32 bits: whoever makes a trace keeps them small.
        let layers = (trace.tensors().iter().filter_map(|t| t.layer).max()? as usize).saturating_add(1);
        let band = layers.div_ceil(ROWS - Kind::ALL.len());
        let mut labels: Vec<String> = (0..layers.div_ceil(band))
            .map(|i| match (i * band, ((i + 1) * band).min(layers) - 1) {
                (first, last) if first == last => format!("layer {first}"),
                (first, last) => format!("layers {first}–{last}"),
            })
            .collect();
        let bands = labels.len();
        let kinds: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|k| trace.tensors().iter().any(|t| t.layer.is_none() && t.kind == *k))
            .collect();
        labels.extend(kinds.iter().map(|k| format!("other {}", k.title())));
        let row = |layer: Option<u32>, kind| match layer {
            Some(layer) => layer as usize / band,
            None => bands + kinds.iter().position(|k| *k == kind).unwrap_or(0),
        };
        let rows = trace.tensors().iter().map(|t| row(t.layer, t.kind) as u16).collect();
        Some(Self::new("layer", labels, rows, trace))
    }

    /// One row for each share of the tensors, in order of first use.
    fn by_first_use(trace: &Trace) -> Self {
        let tensors = trace.tensors().len();
        let count = tensors.min(ROWS / 2);
        let label = |i: usize| match (i * tensors / count + 1, (i + 1) * tensors / count) {
            (first, last) if first == last => format!("object {first}"),
            (first, last) => format!("objects {first}–{last}"),
        };
        // The inverse of the bounds in `label`: tensor t lies in row i where i*n/c <= t < (i+1)*n/c.
        let rows = (0..tensors).map(|t| (((t + 1) * count - 1) / tensors) as u16).collect();
        Self::new("first use", (0..count).map(label).collect(), rows, trace)
    }
}

/// How a timeline is cut into columns and rows; shared by the runs of one trace.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    /// The first access of the first column, and the first one behind the last column.
    pub range: Range<usize>,
    /// Accesses a column covers.
    pub width: usize,
    /// Columns.
    pub columns: usize,
    /// The groupings of the heatmap, the most telling first.
    pub groupings: Arc<[Grouping]>,
}

impl Buckets {
    /// At most [`COLUMNS`] columns of equal width for `trace`.
    pub fn new(trace: &Trace) -> Self {
        let by_kind = Grouping::by_kind(trace);
        let detailed = Grouping::by_layer(trace).unwrap_or_else(|| Grouping::by_first_use(trace));
        let groupings = if by_kind.labels.len() > 1 { vec![detailed, by_kind] } else { vec![detailed] };
        let whole = Self { groupings: groupings.into(), ..Self::default() };
        whole.of(0..trace.accesses().len())
    }

    /// The same rows over the accesses of `range` alone, in at most [`COLUMNS`] columns of equal width.
    pub fn of(&self, range: Range<usize>) -> Self {
        let width = range.len().div_ceil(COLUMNS).max(1);
        Self { width, columns: range.len().div_ceil(width), range, groupings: Arc::clone(&self.groupings) }
    }
}

impl Grouping {
    /// Whether `tensor` belongs to the row number `row`.
    pub fn holds(&self, row: usize, tensor: u32) -> bool {
        self.rows.get(tensor as usize).is_some_and(|of| usize::from(*of) == row)
    }
}

/// What one run shows over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Hits in each column.
    pub hits: Vec<u32>,
    /// Bytes fetched in each column.
    pub miss_bytes: Vec<u64>,
    /// Time in each column in which nothing computes because data is on its way, in ms; empty without a device.
    pub stall_ms: Vec<f64>,
    /// For each grouping, bytes resident at the end of each column, row by row.
    pub resident: Vec<Vec<Vec<u64>>>,
    #[serde(skip)]
    state: State,
}

/// What is resident now; not part of the result.
#[derive(Debug, Clone, Default)]
struct State {
    groupings: Arc<[Grouping]>,
    /// Bytes resident now, for each row of each grouping.
    now: Vec<Vec<u64>>,
    /// The column being filled, the first access after it, and how far columns are apart.
    column: usize,
    end: usize,
    width: usize,
    /// The accesses that columns cover.
    range: Range<usize>,
    /// The stall before the column being filled, in ns.
    stalled_ns: f64,
}

/// The state is scratch: two timelines are equal when what they show is.
impl PartialEq for State {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Timeline {
    /// An empty timeline of `buckets`.
    pub fn new(buckets: &Buckets) -> Self {
        let rows = |g: &Grouping| vec![vec![0; buckets.columns]; g.labels.len()];
        Self {
            hits: vec![0; buckets.columns],
            miss_bytes: vec![0; buckets.columns],
            stall_ms: Vec::new(),
            resident: buckets.groupings.iter().map(rows).collect(),
            state: State {
                groupings: Arc::clone(&buckets.groupings),
                now: buckets.groupings.iter().map(|g| vec![0; g.labels.len()]).collect(),
                column: 0,
                end: buckets.range.start + buckets.width,
                width: buckets.width,
                range: buckets.range.clone(),
                stalled_ns: 0.0,
            },
        }
    }

    /// `tensor` comes in (`delta` = its bytes) or leaves (their negative).
    fn change(&mut self, tensor: u32, delta: u64) {
        let State { groupings, now, column, .. } = &mut self.state;
        for ((grouping, sums), resident) in groupings.iter().zip(now).zip(&mut self.resident) {
            let row = usize::from(grouping.rows[tensor as usize]);
            sums[row] = sums[row].wrapping_add(delta);
            if let Some(cell) = resident[row].get_mut(*column) {
                *cell = sums[row];
            }
        }
    }

    /// Moves to the column of access `now`; what is resident is carried along.
    #[inline]
    fn move_to(&mut self, now: usize) {
        while now >= self.state.end {
            let state = &mut self.state;
            state.end += state.width;
            state.column += 1;
            for (sums, resident) in state.now.iter().zip(&mut self.resident) {
                for (sum, row) in sums.iter().zip(resident) {
                    if let Some(cell) = row.get_mut(state.column) {
                        *cell = *sum;
                    }
                }
            }
        }
    }

    /// Behind access `at`, where the stall is looked at next: where the first column begins, or where one ends.
    pub(super) fn next_look(&self, at: usize) -> usize {
        let Range { start, end } = self.state.range;
        match at {
            _ if at < start => start,
            _ if at >= end => usize::MAX,
            _ => (start + ((at - start) / self.state.width + 1) * self.state.width).min(end),
        }
    }

    /// Before access `at` nothing was computed for `stalled_ns` in all.
    pub(super) fn look(&mut self, at: usize, stalled_ns: f64) {
        let state = &mut self.state;
        if at > state.range.start && at <= state.range.end && self.stall_ms.len() < self.hits.len() {
            self.stall_ms.push((stalled_ns - state.stalled_ns) / 1e6);
        }
        state.stalled_ns = stalled_ns;
    }
}

impl Observer for Timeline {
    fn hit(&mut self, now: usize, _tensor: u32, _bytes: u64) {
        self.move_to(now);
        if self.state.range.contains(&now) {
            self.hits[self.state.column] += 1;
        }
    }

    fn miss(&mut self, now: usize, _tensor: u32, bytes: u64) {
        self.move_to(now);
        if self.state.range.contains(&now) {
            self.miss_bytes[self.state.column] += bytes;
        }
    }

    fn insert(&mut self, _now: usize, tensor: u32, bytes: u64) {
        self.change(tensor, bytes);
    }

    fn resize(&mut self, now: usize, tensor: u32, before: u64, bytes: u64, resident: bool) {
        self.move_to(now);
        if resident {
            self.change(tensor, bytes.wrapping_sub(before));
        }
    }

    fn evict(&mut self, now: usize, tensor: u32, bytes: u64) {
        self.move_to(now);
        self.change(tensor, bytes.wrapping_neg());
    }
}
