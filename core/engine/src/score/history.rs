//! Predictions of the next use that are learned while a trace runs: what came back after how long, in this state and in
//! states like it.
//!
//! An access is seen in several contexts, from those that it shares with many to its tensor's own. When a tensor is used
//! again, the gap is booked to the contexts of its previous access; and some time after each access its contexts learn
//! whether the tensor had come back by then, so that "not again" is learned without the future. All numbers are whole, so
//! that every platform gives the same.

use super::{Scorer, Scores, log2};
use crate::trace::{Kind, Mode, Op, Trace};

/// Contexts of an access.
pub const CONTEXTS: usize = 6;
/// Accesses after which is looked whether a tensor came back.
pub const WAITS: [usize; 2] = [1 << 10, 1 << 14];
/// What a share of one is.
pub const ONE: i32 = 1 << 12;

/// What the accesses of a context have told so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context {
    tag: u32,
    /// Gaps that were booked, at most 65,535.
    pub outcomes: u16,
    /// Their mean, recent ones counting more, as a [`log2`].
    pub mean: u16,
    /// The mean of their distances from the mean.
    pub deviation: u16,
    /// The last one.
    pub last: u16,
    /// Accesses looked at again after each of [`WAITS`], at most 65,535.
    pub judged: [u16; 2],
    /// The share of those whose tensor had not come back, in parts of [`ONE`].
    pub beyond: [u16; 2],
}

/// What is known at an access, of its past alone.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// What the tensor is.
    pub kind: Kind,
    /// What uses it.
    pub op: Op,
    /// What the access does to it.
    pub mode: Mode,
    /// Its size in bytes.
    pub bytes: u64,
    /// Earlier uses.
    pub uses: u32,
    /// Accesses since the last use, and between the two before; 0 where there are none.
    pub gaps: [u32; 2],
    /// The contexts, from general to special; one of which nothing is known is empty.
    pub contexts: [Context; CONTEXTS],
    /// All accesses so far.
    pub all: Context,
}

/// What is known of a tensor.
#[derive(Debug, Clone, Copy, Default)]
struct Tensor {
    last: u32,
    gap: u32,
    uses: u32,
    keys: [u32; CONTEXTS],
}

/// An access that is still to be judged.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    keys: [u32; CONTEXTS],
    back: bool,
}

/// The contexts by their keys, in a table of fixed size as in the predictors of processors: where two meet in a slot, the
/// one that learned last has it.
struct Table {
    slots: Vec<Context>,
    shift: u32,
}

/// Least and most bits of the number of slots: at most 5 MB.
const BITS: [u32; 2] = [10, 18];

impl Table {
    /// About as many slots as there are accesses.
    fn new(accesses: usize) -> Self {
        let bits = accesses.next_power_of_two().ilog2().clamp(BITS[0], BITS[1]);
        Self { slots: vec![Context::default(); 1 << bits], shift: u32::BITS - bits }
    }

    #[inline]
    fn get(&self, key: u32) -> Context {
        let slot = self.slots[(key >> self.shift) as usize];
        if slot.tag == key { slot } else { Context::default() }
    }

    #[inline]
    fn slot(&mut self, key: u32) -> &mut Context {
        let slot = &mut self.slots[(key >> self.shift) as usize];
        if slot.tag != key {
            *slot = Context { tag: key, ..Context::default() };
        }
        slot
    }
}

impl Context {
    /// Books a gap: the first ones count alike, later ones .15.
    #[inline]
    fn learn(&mut self, gap: u16) {
        const WEIGHTS: [i32; 7] = [65_536, 32_768, 21_845, 16_384, 13_107, 10_923, 9_830];
        let weight = WEIGHTS[usize::from(self.outcomes).min(6)];
        let off = i32::from(gap) - i32::from(self.mean);
        let deviation = off.abs() - i32::from(self.deviation);
        if self.outcomes > 0 {
            self.deviation = (i32::from(self.deviation) + ((deviation * weight) >> 16)) as u16;
        }
        self.mean = (i32::from(self.mean) + ((off * weight) >> 16)) as u16;
        self.last = gap;
        self.outcomes = self.outcomes.saturating_add(1);
    }

    /// Learns whether a tensor had come back after wait number `wait`: the first twenty count alike, later ones .05.
    #[inline]
    fn judge(&mut self, wait: usize, back: bool) {
        let judged = self.judged[wait].saturating_add(1);
        self.judged[wait] = judged;
        let off = if back { 0 } else { ONE } - i32::from(self.beyond[wait]);
        self.beyond[wait] = (i32::from(self.beyond[wait]) + off / i32::from(judged.min(20))) as u16;
    }
}

/// One step of a multiplicative hash; the factor is 2^64 by the golden ratio (Knuth, The Art of Computer Programming,
/// volume 3, section 6.4).
#[inline]
fn mix(state: u64, value: u64) -> u64 {
    (state.rotate_left(23) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A gap to a power of two, the nearest one.
fn rounded(gap: u32) -> u64 {
    if gap == 0 { 0 } else { u64::from((log2(u64::from(gap)) + 128) >> 8) + 1 }
}

/// Calls `look` with what is known at each access of `trace`, in order.
pub fn scan(trace: &Trace, mut look: impl FnMut(&Seen)) {
    let mut table = Table::new(trace.accesses().len());
    let mut tensors = vec![Tensor::default(); trace.tensors().len()];
    let mut waiting = vec![Waiting::default(); trace.accesses().len().min(WAITS[1])];
    let mut all = Context::default();
    for (now, (number, bytes)) in trace.sized().enumerate() {
        let tensor = &mut tensors[number as usize];
        let gap = if tensor.uses == 0 { 0 } else { now as u32 - tensor.last };
        if gap > 0 {
            let outcome = log2(u64::from(gap));
            for key in tensor.keys {
                table.slot(key).learn(outcome);
            }
            all.learn(outcome);
            if (gap as usize) < WAITS[1] {
                waiting[tensor.last as usize % WAITS[1]].back = true;
            }
        }
        for (wait, ago) in WAITS.into_iter().enumerate() {
            if let Some(then) = now.checked_sub(ago) {
                let Waiting { keys, back } = waiting[then % WAITS[1]];
                for key in keys {
                    table.slot(key).judge(wait, back);
                }
                all.judge(wait, back);
            }
        }
        let (kind, op, mode) = (trace.tensors()[number as usize].kind, trace.op(now), trace.mode(now));
        let gaps = [gap, tensor.gap];
        let keys = keys(number, bytes, (kind, op, mode), gaps);
        look(&Seen { kind, op, mode, bytes, uses: tensor.uses, gaps, contexts: keys.map(|key| table.get(key)), all });
        *tensor = Tensor { last: now as u32, gap, uses: tensor.uses.saturating_add(1), keys };
        waiting[now % WAITS[1]] = Waiting { keys, back: false };
    }
}

/// The contexts' keys, none of them 0.
#[inline]
fn keys(tensor: u32, bytes: u64, (kind, op, mode): (Kind, Op, Mode), [gap, before]: [u32; 2]) -> [u32; CONTEXTS] {
    let used = (op as u64) << 8 | mode as u64;
    let kind_size = mix(mix(1, kind as u64), u64::from(bytes.max(1).ilog2()));
    let kind_size_used = mix(kind_size, used);
    let exactly = mix(mix(mix(mix(2, kind as u64), bytes), used), u64::from(gap) << 32 | u64::from(before));
    let own = mix(mix(3, u64::from(tensor)), used);
    let gap = rounded(gap);
    [kind_size, kind_size_used, mix(kind_size_used, gap), exactly, own, mix(own, gap)]
        .map(|hash| (hash >> 32) as u32 | 1)
}

/// The mean of the most special context that has an outcome, as a [`log2`]. Where none has, tensors that mostly stayed
/// away count as gone, and of others nothing is known but the mean of all.
pub fn predicted(seen: &Seen) -> u16 {
    let known = seen.contexts.iter().rev().chain([&seen.all]);
    let mean = known.clone().find(|context| context.outcomes > 0).map(|context| context.mean);
    let alike = &seen.contexts[..];
    let gone = alike.iter().all(|context| context.outcomes == 0)
        && alike.iter().rev().find(|context| context.judged[1] > 0).is_some_and(|it| i32::from(it.beyond[1]) > GONE);
    match mean {
        _ if gone => NEVER,
        Some(mean) => mean,
        None => UNKNOWN,
    }
}

/// The share of tensors that stayed away from which on one counts as gone: .8.
const GONE: i32 = ONE * 4 / 5;
/// Not within any time that matters: 2^18, as in the question to a language model.
pub const NEVER: u16 = 18 << 8;
/// Before anything came back: the middle of the scale.
const UNKNOWN: u16 = NEVER / 2;

/// The score of each access by what came back after how long.
pub fn history(trace: &Trace) -> Scores {
    let mut values = Vec::with_capacity(trace.accesses().len());
    scan(trace, |seen| values.push(super::of_log2(predicted(seen))));
    Scores { values: values.into(), scorer: Scorer::History }
}
