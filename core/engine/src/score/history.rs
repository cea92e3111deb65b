//! Predictions of the next use that are learned while a trace runs: what came back after how long, in this state and in
//! states like it.
//!
//! An access is seen in several contexts, from those that it shares with many to its tensor's own. When a tensor is used
//! again, the gap is booked to the contexts of its previous access; and some time after each access its contexts learn
//! whether the tensor had come back by then, so that "not again" is learned without the future. All numbers are whole, so
//! that every platform gives the same.

use super::{Scorer, Scores, log2};
use crate::trace::{Kind, Mode, Op, Trace};

/// Contexts of an access, from general to special:
///
/// 1. kind and size, to a power of two
/// 2. these, operation and mode
/// 3. all these and the last gap, to a power of two
/// 4. the second, of this access and of the two before it
/// 5. kind, size, operation, mode, and the place in the model: the last layer that was named, and the direction
/// 6. kind, size, operation, mode and the last two gaps
/// 7. tensor, operation and mode
/// 8. these and the last gap, to a power of two
pub const CONTEXTS: usize = 8;
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
    /// The mean of more of them.
    pub slow: u16,
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
    /// Where in the model it is.
    pub place: Place,
    /// The contexts, from general to special; one of which nothing is known is empty.
    pub contexts: [Context; CONTEXTS],
    /// All accesses so far.
    pub all: Context,
}

/// Where in a model an access is, by the layers of the tensors so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Number of the access.
    pub now: u32,
    /// The last layer that was named.
    pub layer: u32,
    /// The highest one so far.
    pub highest: u32,
    /// Whether the one before was higher.
    pub backwards: bool,
    /// The access at which that changed.
    pub turned: u32,
}

impl Place {
    fn see(&mut self, now: u32, layer: Option<u32>) {
        self.now = now;
        if let Some(layer) = layer.filter(|layer| *layer != self.layer) {
            let backwards = layer < self.layer;
            if backwards != self.backwards {
                (self.backwards, self.turned) = (backwards, now);
            }
            self.layer = layer;
            self.highest = self.highest.max(layer);
        }
    }
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
}

/// Bits of the number of slots: 6 MB. The length of a trace does not change it, for that is the future too.
const BITS: u32 = 18;

impl Table {
    fn new() -> Self {
        Self { slots: vec![Context::default(); 1 << BITS] }
    }

    #[inline]
    fn get(&self, key: u32) -> Context {
        let slot = self.slots[(key >> (u32::BITS - BITS)) as usize];
        if slot.tag == key { slot } else { Context::default() }
    }

    #[inline]
    fn slot(&mut self, key: u32) -> &mut Context {
        let slot = &mut self.slots[(key >> (u32::BITS - BITS)) as usize];
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
        let weight = (65_536 / (i32::from(self.outcomes) + 1)).max(65_536 / 64);
        self.slow = (i32::from(self.slow) + (((i32::from(gap) - i32::from(self.slow)) * weight) >> 16)) as u16;
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
    let mut table = Table::new();
    let mut tensors = vec![Tensor::default(); trace.tensors().len()];
    let mut waiting = vec![Waiting::default(); trace.accesses().len().min(WAITS[1])];
    let mut all = Context::default();
    let mut place = Place::default();
    let mut path = [0; 2];
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
        place.see(now as u32, trace.tensors()[number as usize].layer);
        let contexts = [Context::default(); CONTEXTS];
        let mut seen = Seen { kind, op, mode, bytes, uses: tensor.uses, gaps, place, contexts, all };
        let keys = keys(number, &seen, &mut path);
        seen.contexts = keys.map(|key| table.get(key));
        look(&seen);
        *tensor = Tensor { last: now as u32, gap, uses: tensor.uses.saturating_add(1), keys };
        waiting[now % WAITS[1]] = Waiting { keys, back: false };
    }
}

/// The contexts' keys, none of them 0; `path` is the state of the two accesses before, and then of this one as well.
#[inline]
fn keys(tensor: u32, seen: &Seen, path: &mut [u64; 2]) -> [u32; CONTEXTS] {
    let Seen { kind, op, mode, bytes, gaps: [gap, before], place, .. } = *seen;
    let used = (op as u64) << 8 | mode as u64;
    let kind_size = mix(mix(1, kind as u64), u64::from(bytes.max(1).ilog2()));
    let kind_size_used = mix(kind_size, used);
    let exactly = mix(mix(mix(mix(2, kind as u64), bytes), used), u64::from(gap) << 32 | u64::from(before));
    let own = mix(mix(3, u64::from(tensor)), used);
    let gap = rounded(gap);
    let along = mix(mix(mix(4, kind_size_used), path[0]), path[1]);
    *path = [kind_size_used, path[0]];
    let at = u64::from(place.layer) << 1 | u64::from(place.backwards);
    let role = mix(mix(mix(mix(5, kind as u64), bytes), used), at);
    [kind_size, kind_size_used, mix(kind_size_used, gap), along, role, exactly, own, mix(own, gap)]
        .map(|hash| (hash >> 32) as u32 | 1)
}

/// What a prediction rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The mean of a context, by its place among the [`CONTEXTS`].
    Context(usize),
    /// The mean of all accesses.
    All,
    /// The share that stayed away in a context.
    Gone(usize),
    /// Nothing has come back yet.
    Nothing,
}

/// The most special context that has an outcome. Where none has, tensors that mostly stayed away count as gone, and of
/// others nothing is known but the mean of all.
pub fn source(seen: &Seen) -> Source {
    let special = |knows: fn(&Context) -> bool| seen.contexts.iter().rposition(knows);
    if let Some(context) = special(|context| context.outcomes > 0) {
        return Source::Context(context);
    }
    match special(|context| context.judged[1] > 0) {
        Some(context) if i32::from(seen.contexts[context].beyond[1]) > GONE => Source::Gone(context),
        _ if seen.all.outcomes > 0 => Source::All,
        _ => Source::Nothing,
    }
}

/// What its [`source`] predicts, as a [`log2`].
pub fn predicted(seen: &Seen) -> u16 {
    match source(seen) {
        Source::Context(context) => seen.contexts[context].mean,
        Source::All => seen.all.mean,
        Source::Gone(_) => NEVER,
        Source::Nothing => UNKNOWN,
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::rng::Rng;
    use crate::trace::testing::trace;
    use crate::trace::{Tensor, TraceBuilder};

    /// Layers that are read in turn and now and then backwards, with tensors that come back by chance.
    fn mixed(accesses: u32) -> Trace {
        let mut rng = Rng::new(5, "test");
        let mut builder = TraceBuilder::new("");
        for i in 0..40u32 {
            let kind = if i < 30 { Kind::Weights } else { Kind::Activations };
            let tensor = Tensor {
                name: i.to_string(),
                bytes: 1000 + u64::from(i % 3) * 900,
                layer: (i < 30).then_some(i / 3),
                stride: 1,
                kind,
            };
            builder.tensor(tensor).unwrap();
        }
        for i in 0..accesses {
            let turn = i / 30 % 3;
            let at = if turn == 2 { 29 - i % 30 } else { i % 30 };
            let tensor = if rng.below(4) == 0 { 30 + rng.below(10) } else { at };
            let mode = if rng.below(5) == 0 { Mode::Update } else { Mode::Read };
            builder.access_with(tensor, if turn == 2 { Op::Conv } else { Op::Matmul }, mode, 0.0).unwrap();
        }
        (0..40).for_each(|t| builder.access_with(t, Op::Norm, Mode::Read, 0.0).unwrap());
        builder.finish("test").unwrap()
    }

    /// What is said of an access does not change with what comes after it.
    #[test]
    fn nothing_comes_from_the_future() {
        let order: Vec<u32> = (0..6000u32).map(|i| (i * i / 7 + i) % 50).collect();
        let sizes: Vec<u64> = (0..50).map(|i| 100 + i * 37).collect();
        let cut = |length: usize, then: u32| {
            let mut order = order.clone();
            order[length..].iter_mut().for_each(|t| *t = (*t + then) % 50);
            trace(&sizes, &order)
        };
        for make in [history, crate::score::embedded::embedded] {
            let all = make(&cut(6000, 0));
            for length in [1, 500, 4000, 5999] {
                let (other, shorter) = (make(&cut(length, 13)), make(&trace(&sizes, &order[..length])));
                assert_eq!(all.values[..length], other.values[..length]);
                assert_eq!(all.values[..length], shorter.values[..]);
            }
        }
    }

    /// The same once more with maps of lists: every context is its fields, and every gap is kept.
    #[test]
    fn contexts_are_those_of_a_plain_model() {
        type Key = (usize, Vec<u64>);
        let trace = mixed(9_000);
        let mut gaps: HashMap<Key, Vec<u16>> = HashMap::new();
        let mut away: HashMap<Key, [Vec<bool>; 2]> = HashMap::new();
        let mut past: Vec<(u32, Vec<Key>)> = Vec::new();
        let (mut layers, mut path) = (vec![0u32], vec![vec![0]; 2]);
        let mut plain = Vec::new();
        for (now, (t, bytes)) in trace.sized().enumerate() {
            let uses: Vec<usize> = (0..now).filter(|then| past[*then].0 == t).collect();
            let gap = uses.last().map_or(0, |last| now - last);
            let before = if let [.., a, b] = uses[..] { b - a } else { 0 };
            if let Some(last) = uses.last() {
                for key in &past[*last].1 {
                    gaps.entry(key.clone()).or_default().push(log2(gap as u64));
                }
            }
            for (wait, ago) in WAITS.into_iter().enumerate() {
                if now >= ago {
                    let (tensor, keys) = &past[now - ago];
                    let back = past[now - ago + 1..].iter().any(|(other, _)| other == tensor) || t == *tensor;
                    for key in keys {
                        away.entry(key.clone()).or_default()[wait].push(!back);
                    }
                }
            }
            let tensor = &trace.tensors()[t as usize];
            if let Some(layer) = tensor.layer.filter(|layer| layers.last() != Some(layer)) {
                layers.push(layer);
            }
            let backwards = layers.len() > 1 && layers[layers.len() - 1] < layers[layers.len() - 2];
            // Linear between powers of two, so half a step up is at 1.5.
            let rounded = |gap: usize| match gap {
                0 => 0,
                gap => 1 + u64::from(gap.ilog2()) + u64::from(2 * gap >= 3 << gap.ilog2()),
            };
            let used = vec![trace.op(now) as u64, trace.mode(now) as u64];
            let kind_size = vec![tensor.kind as u64, u64::from(bytes.ilog2())];
            let kind_size_used = [kind_size.clone(), used.clone()].concat();
            let exact = [vec![tensor.kind as u64, bytes], used.clone()].concat();
            let own = [vec![u64::from(t)], used].concat();
            let fields = [
                kind_size,
                kind_size_used.clone(),
                [&kind_size_used[..], &[rounded(gap)]].concat(),
                [&kind_size_used[..], &path[0], &path[1]].concat(),
                [&exact[..], &[u64::from(*layers.last().unwrap()), u64::from(backwards)]].concat(),
                [&exact[..], &[gap as u64, before as u64]].concat(),
                own.clone(),
                [&own[..], &[rounded(gap)]].concat(),
            ];
            path = vec![kind_size_used, path.swap_remove(0)];
            let keys: Vec<Key> = fields.into_iter().enumerate().collect();
            plain.push(keys.iter().map(|key| (gaps.get(key).cloned(), away.get(key).cloned())).collect::<Vec<_>>());
            past.push((t, keys));
        }
        let mut now = 0;
        let mut known = 0;
        scan(&trace, |seen| {
            for (context, (gaps, away)) in seen.contexts.iter().zip(&plain[now]) {
                let gaps = gaps.as_deref().unwrap_or_default();
                // In this trace no two contexts meet in a slot at this place but for a few.
                if usize::from(context.outcomes) != gaps.len() {
                    continue;
                }
                known += 1;
                assert_eq!(gaps.last().copied().unwrap_or_default(), context.last, "{now}");
                let mut mean = 0.0;
                for (n, gap) in gaps.iter().enumerate() {
                    mean += (f64::from(*gap) - mean) * f64::max(1.0 / (n as f64 + 1.0), 0.15);
                }
                assert!((mean - f64::from(context.mean)).abs() < 8.0, "{now}: {mean} {context:?}");
                for wait in 0..WAITS.len() {
                    let away = away.as_ref().map_or(&[][..], |away| &away[wait]);
                    if away.len() != usize::from(context.judged[wait]) {
                        continue;
                    }
                    let mut share = 0.0;
                    for (n, away) in away.iter().enumerate() {
                        share += (f64::from(u8::from(*away)) - share) * f64::max(1.0 / (n as f64 + 1.0), 0.05);
                    }
                    let got = f64::from(context.beyond[wait]) / f64::from(ONE);
                    assert!((share - got).abs() < 0.01, "{now}: {share} {context:?}");
                }
            }
            now += 1;
        });
        assert!(known * 20 > now * CONTEXTS * 19, "{known} of {}", now * CONTEXTS);
    }

    /// A cycle is known after its second round: every tensor comes back after as many accesses.
    #[test]
    fn a_cycle_is_learned() {
        let order: Vec<u32> = (0..1000).map(|i| i % 100).collect();
        let scores = history(&trace(&[64; 100], &order));
        let wanted = crate::score::of_log2(log2(100));
        assert!(scores.values[200..].iter().all(|score| (score - wanted).abs() < 1e-9));
        assert_eq!(scores.scorer, Scorer::History);
    }
}
