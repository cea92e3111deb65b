//! What a predictor of reuse learns from: labels, which know the future, and features, which do not.

use std::sync::Arc;

use accel_core::error::Error;
use accel_core::policy::Setup;
use accel_core::policy::belady::Belady;
use accel_core::progress::{Flow, Progress};
use accel_core::score::history::{Context, ONE, Seen, predicted};
use accel_core::sim::{Engine, Observer};
use accel_core::trace::Trace;
use accel_core::trace::reuse::{Future, NEVER};

use super::column::{Access, Column, Of};

/// The labels of a trace in a memory.
#[derive(Debug, Clone, Copy)]
pub struct Labels {
    /// The capacity for which Belady decides.
    pub capacity_bytes: u64,
}

/// Columns of the past: contexts in the order of `CONTEXTS` of `score::history`, and all accesses together.
const CONTEXTS: [&str; 9] =
    ["kind_size", "kind_size_op", "kind_size_op_gap", "path", "place", "exact", "own", "own_gap", "all"];
/// What each has told so far: logarithms to base 2 of gaps in accesses, counts, and shares from 0 to 1.
const TOLD: [(&str, Told); 8] = [
    ("mean", |context| log2(context.mean)),
    ("slow", |context| log2(context.slow)),
    ("deviation", |context| log2(context.deviation)),
    ("last", |context| log2(context.last)),
    ("count", |context| context.outcomes.into()),
    ("judged", |context| context.judged[1].into()),
    ("beyond_1024", |context| share(context.beyond[0])),
    ("beyond_16384", |context| share(context.beyond[1])),
];

type Told = fn(&Context) -> f64;

fn log2(log2: u16) -> f64 {
    f64::from(log2) / 256.0
}

fn share(share: u16) -> f64 {
    f64::from(share) / f64::from(ONE)
}

/// What Belady does, access by access.
struct Decisions {
    /// The last access to each tensor.
    last: Vec<usize>,
    /// Whether each access hits.
    hits: Vec<bool>,
    /// Whether the tensor of each access stays until it is used again.
    keeps: Vec<bool>,
}

impl Observer for Decisions {
    fn hit(&mut self, now: usize, tensor: u32, _bytes: u64) {
        self.hits[now] = true;
        self.keeps[self.last[tensor as usize]] = true;
        self.last[tensor as usize] = now;
    }

    fn miss(&mut self, now: usize, tensor: u32, _bytes: u64) {
        self.last[tensor as usize] = now;
    }
}

impl Labels {
    /// The columns of labels and features.
    pub(super) fn columns(self, trace: &Trace, progress: &mut dyn Progress) -> anyhow::Result<Vec<Column>> {
        let accesses = trace.accesses().len();
        if progress.report(0, accesses as u64, "labelling") == Flow::Cancel {
            return Err(Error::Cancelled.into());
        }
        let future = Arc::new(Future::of(trace));
        let sizes = trace.sizes();
        let setup =
            Setup { future: Some(&future), parents: trace.parents(), ..Setup::new(&sizes, self.capacity_bytes) };
        let (last, flags) = (vec![0; sizes.len()], vec![false; accesses]);
        let mut decisions = Decisions { last, hits: flags.clone(), keeps: flags };
        Engine::<Belady>::new(&setup)?.advance(trace.whole(), &mut decisions);
        let Decisions { hits, keeps, .. } = decisions;
        let next = move |access: &Access<'_>| {
            let next = future.next_use[access.now];
            (next != NEVER).then_some(i64::from(next))
        };
        let past = |name: String, of: fn(&Seen) -> f64| {
            Column::new(name, Of::Number(Box::new(move |access| access.seen.map_or(f64::NAN, of))))
        };
        let gap = |at: usize| {
            move |access: &Access<'_>| access.seen.map(|seen| i64::from(seen.gaps[at])).filter(|gap| *gap > 0)
        };
        let mut columns = vec![
            Column::new("next_use", Of::Maybe(Box::new(next))),
            Column::new("belady_hits", Of::Flag(Box::new(move |access| hits[access.now]))),
            Column::new("belady_keeps", Of::Flag(Box::new(move |access| keeps[access.now]))),
            past("uses".into(), |seen| seen.uses.into()),
            Column::new("last_gap", Of::Maybe(Box::new(gap(0)))),
            Column::new("gap_before", Of::Maybe(Box::new(gap(1)))),
            past("history".into(), |seen| log2(predicted(seen))),
        ];
        for (at, context) in CONTEXTS.into_iter().enumerate() {
            for (told, of) in TOLD {
                let told_of = move |access: &Access<'_>| {
                    let context = access.seen.map(|seen| seen.contexts.get(at).unwrap_or(&seen.all));
                    context.map_or(f64::NAN, of)
                };
                columns.push(Column::new(format!("{context}_{told}"), Of::Number(Box::new(told_of))));
            }
        }
        Ok(columns)
    }
}
