//! What a trace looks like: how soon tensors come back, how large they are, how many are in use at a time, and which
//! kinds and layers they belong to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reuse::{NEVER, StackDistances};
use super::{Chunk, Kind, Trace};
use crate::order;

/// Windows of the working set, at most: two to three pixels of a chart each (ours).
pub const WINDOWS: usize = 240;
/// Distinct sizes that are listed one by one, at most; more are gathered into bins (ours: as many as bars stay apart).
pub const LISTED_SIZES: usize = 32;

/// How many values lie in `low..=high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// The least value of the bin.
    pub low: u64,
    /// The greatest value of the bin.
    pub high: u64,
    /// Values in it.
    pub count: u64,
}

/// What one window of accesses touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Accesses until the window's end.
    pub at: u64,
    /// Distinct bytes touched in the window, each tensor with its size at its first use there.
    pub bytes: u64,
    /// Distinct tensors touched in the window.
    pub tensors: u64,
    /// Distinct bytes touched from the start to the window's end, each tensor at its largest so far.
    pub bytes_so_far: u64,
}

/// What the tensors of one group are and how they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    /// Tensors.
    pub tensors: u64,
    /// Bytes of these tensors, each at its largest.
    pub bytes: u64,
    /// Accesses to them.
    pub accesses: u64,
    /// Bytes of these accesses.
    pub accessed_bytes: u64,
}

impl Share {
    fn add(&mut self, tally: &Tally) {
        self.tensors += 1;
        self.bytes += tally.largest;
        self.accesses += u64::from(tally.uses);
        self.accessed_bytes += tally.requested;
    }
}

/// The views of a trace. Histograms have bins 0, 1, 2–3, 4–7, ... from the first to the last that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Views {
    /// First uses: accesses without a distance.
    pub cold: u64,
    /// Accesses since the last use of the same tensor: 1 is back to back.
    pub reuse_distance: Vec<Bin>,
    /// Distinct other tensors used since: 0 is back to back.
    pub stack_distance_tensors: Vec<Bin>,
    /// Bytes of the distinct tensors used since and of the tensor itself: the least LRU memory that hits.
    pub stack_distance_bytes: Vec<Bin>,
    /// Sizes of tensors in bytes: each by itself where there are at most [`LISTED_SIZES`].
    pub sizes: Vec<Bin>,
    /// Accesses of a window; the last one may have fewer.
    pub window: u64,
    /// The working set, window by window.
    pub working_set: Vec<Point>,
    /// The kinds that occur, in the order of [`Kind::ALL`].
    pub kinds: Vec<(Kind, Share)>,
    /// The layers that occur, ascending; tensors of no layer last.
    pub layers: Vec<(Option<u32>, Share)>,
}

impl Views {
    /// The views of `trace`: one pass, memory for the tensors only.
    pub fn of(trace: &Trace) -> Self {
        let mut pass = Pass::new(trace);
        while pass.step(trace, usize::MAX) {}
        pass.finish(trace)
    }
}

/// What is known of a tensor so far.
#[derive(Debug, Clone, Copy)]
struct Tally {
    last: u32,
    uses: u32,
    /// Its size at the last use, and the largest so far.
    bytes: u64,
    largest: u64,
    /// Bytes of its uses.
    requested: u64,
}

/// The pass that collects the views, in steps for whoever shows progress or may be cancelled.
#[derive(Debug)]
pub struct Pass {
    now: usize,
    tallies: Vec<Tally>,
    depths: StackDistances,
    bytes: StackDistances,
    reuse_distance: Log2,
    stack_distance_tensors: Log2,
    stack_distance_bytes: Log2,
    window: usize,
    open: Point,
    working_set: Vec<Point>,
}

impl Tally {
    /// Before the first use of a tensor of `bytes`.
    fn new(bytes: u64) -> Self {
        Self { last: NEVER, uses: 0, bytes, largest: bytes, requested: 0 }
    }
}

impl Pass {
    /// Before the first access.
    pub fn new(trace: &Trace) -> Self {
        let tensors = trace.tensors().len();
        Self {
            now: 0,
            tallies: trace.tensors().iter().map(|tensor| Tally::new(tensor.bytes)).collect(),
            depths: StackDistances::new(tensors),
            bytes: StackDistances::new(tensors),
            reuse_distance: Log2::default(),
            stack_distance_tensors: Log2::default(),
            stack_distance_bytes: Log2::default(),
            window: trace.accesses().len().div_ceil(WINDOWS).max(1),
            open: Point { at: 0, bytes: 0, tensors: 0, bytes_so_far: 0 },
            working_set: Vec::new(),
        }
    }

    /// Goes on by at most `accesses` and returns whether some are left.
    pub fn step(&mut self, trace: &Trace, accesses: usize) -> bool {
        let order = trace.accesses();
        let end = self.now.saturating_add(accesses).min(order.len());
        let Chunk { accesses, resizes, .. } = trace.chunk(self.now, end);
        let mut resizes = resizes.iter().peekable();
        for &tensor in accesses {
            let before = self.tallies[tensor as usize].bytes;
            let resize = resizes.next_if(|resize| resize.at as usize == self.now);
            self.access(tensor, before, resize.map_or(before, |resize| resize.bytes));
        }
        self.now < order.len()
    }

    fn access(&mut self, tensor: u32, before: u64, bytes: u64) {
        let tally = &mut self.tallies[tensor as usize];
        let last = std::mem::replace(&mut tally.last, self.now as u32);
        let known = if last == NEVER { 0 } else { tally.largest };
        tally.uses += 1;
        tally.bytes = bytes;
        tally.largest = tally.largest.max(bytes);
        tally.requested += bytes;
        self.open.bytes_so_far += tally.largest - known;
        let (depth, distance) = (self.depths.access(tensor, 1), self.bytes.access_resized(tensor, before, bytes));
        if let (Some(depth), Some(distance)) = (depth, distance) {
            self.reuse_distance.add((self.now - last as usize) as u64);
            self.stack_distance_tensors.add(depth - 1);
            self.stack_distance_bytes.add(distance);
        }
        let start = self.now - self.now % self.window;
        if last == NEVER || (last as usize) < start {
            self.open.bytes += bytes;
            self.open.tensors += 1;
        }
        self.now += 1;
        if self.now.is_multiple_of(self.window) {
            self.close_window();
        }
    }

    fn close_window(&mut self) {
        self.working_set.push(Point { at: self.now as u64, ..self.open });
        self.open = Point { bytes: 0, tensors: 0, ..self.open };
    }

    /// The views of the accesses so far; `trace` is the same as before.
    pub fn finish(mut self, trace: &Trace) -> Views {
        if self.open.tensors > 0 {
            self.close_window();
        }
        let mut kinds = Kind::ALL.map(|kind| (kind, Share::default()));
        // Tensors of no layer come last.
        let mut layers: BTreeMap<(bool, Option<u32>), Share> = BTreeMap::new();
        for (tensor, tally) in trace.tensors().iter().zip(&self.tallies).filter(|(_, tally)| tally.uses > 0) {
            kinds.iter_mut().filter(|(kind, _)| *kind == tensor.kind).for_each(|(_, share)| share.add(tally));
            layers.entry((tensor.layer.is_none(), tensor.layer)).or_default().add(tally);
        }
        Views {
            cold: self.tallies.iter().filter(|tally| tally.uses > 0).count() as u64,
            reuse_distance: self.reuse_distance.bins(),
            stack_distance_tensors: self.stack_distance_tensors.bins(),
            stack_distance_bytes: self.stack_distance_bytes.bins(),
            sizes: sizes(trace),
            window: self.window as u64,
            working_set: self.working_set,
            kinds: kinds.into_iter().filter(|(_, share)| share.tensors > 0).collect(),
            layers: layers.into_iter().map(|((_, layer), share)| (layer, share)).collect(),
        }
    }
}

fn sizes(trace: &Trace) -> Vec<Bin> {
    let mut sizes = trace.largest_sizes();
    order::sort_numbers(&mut sizes);
    let same = |a: &u64, b: &u64| a == b;
    if sizes.chunk_by(same).count() <= LISTED_SIZES {
        return sizes.chunk_by(same).map(|s| Bin { low: s[0], high: s[0], count: s.len() as u64 }).collect();
    }
    let mut bins = Log2::default();
    sizes.iter().for_each(|size| bins.add(*size));
    bins.bins()
}

/// The bin of `value` among 0, 1, 2–3, 4–7, ...: the bits it takes.
pub fn log2_bin(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// The least and the greatest value of a bin.
pub fn log2_bounds(bin: u32) -> (u64, u64) {
    match bin {
        0 => (0, 0),
        _ => (1 << (bin - 1), u64::MAX >> (u64::BITS - bin)),
    }
}

/// Counts by the bits of a value.
#[derive(Debug)]
struct Log2([u64; u64::BITS as usize + 1]);

impl Default for Log2 {
    fn default() -> Self {
        Self([0; u64::BITS as usize + 1])
    }
}

impl Log2 {
    fn add(&mut self, value: u64) {
        self.0[log2_bin(value) as usize] += 1;
    }

    fn bins(&self) -> Vec<Bin> {
        let first = self.0.iter().position(|count| *count > 0).unwrap_or(self.0.len());
        let end = self.0.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        (first..end)
            .map(|bin| {
                let (low, high) = log2_bounds(bin as u32);
                Bin { low, high, count: self.0[bin] }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::trace::{Op, Tensor, TraceBuilder, testing};

    fn binned(values: impl IntoIterator<Item = u64>) -> Vec<Bin> {
        let values: Vec<u64> = values.into_iter().collect();
        let mut bins = Vec::new();
        let (mut low, mut high) = (0u64, 0u64);
        loop {
            let count = values.iter().filter(|v| (low..=high).contains(v)).count() as u64;
            bins.push(Bin { low, high, count });
            if high == u64::MAX {
                break;
            }
            low = high + 1;
            high = low + (low - 1);
        }
        let used = |bin: &Bin| bin.count > 0;
        let first = bins.iter().position(used).unwrap_or(0);
        let end = bins.iter().rposition(used).map_or(first, |last| last + 1);
        bins[first..end].to_vec()
    }

    /// Each view by its definition.
    fn naive(trace: &Trace) -> Views {
        let order = trace.accesses();
        let bytes = |t: &u32| trace.tensors()[*t as usize].bytes;
        let distinct = |range: &[u32]| range.iter().copied().collect::<BTreeSet<u32>>();
        let sum = |set: &BTreeSet<u32>| set.iter().map(bytes).sum::<u64>();
        let reuses: Vec<(usize, usize)> =
            (0..order.len()).filter_map(|now| Some(((0..now).rev().find(|i| order[*i] == order[now])?, now))).collect();
        let window = order.len().div_ceil(WINDOWS);
        let point = |(i, range): (usize, &[u32])| {
            let at = i * window + range.len();
            let set = distinct(range);
            let bytes_so_far = sum(&distinct(&order[..at]));
            Point { at: at as u64, bytes: sum(&set), tensors: set.len() as u64, bytes_so_far }
        };
        let share = |of: &dyn Fn(&Tensor) -> bool| {
            let is = |t: &u32| of(&trace.tensors()[*t as usize]);
            let tensors: BTreeSet<u32> = distinct(order).into_iter().filter(is).collect();
            let accesses: Vec<&u32> = order.iter().filter(|t| is(t)).collect();
            Share {
                tensors: tensors.len() as u64,
                bytes: sum(&tensors),
                accesses: accesses.len() as u64,
                accessed_bytes: accesses.into_iter().map(bytes).sum(),
            }
        };
        let sizes: BTreeSet<u64> = trace.sizes().into_iter().collect();
        let count = |size: u64| trace.sizes().iter().filter(|s| **s == size).count() as u64;
        let layers = (0..4).map(Some).chain([None]);
        Views {
            cold: distinct(order).len() as u64,
            reuse_distance: binned(reuses.iter().map(|(last, now)| (now - last) as u64)),
            stack_distance_tensors: binned(
                reuses.iter().map(|(last, now)| distinct(&order[last + 1..*now]).len() as u64),
            ),
            stack_distance_bytes: binned(reuses.iter().map(|(last, now)| sum(&distinct(&order[*last..*now])))),
            sizes: match sizes.len() <= LISTED_SIZES {
                true => sizes.into_iter().map(|s| Bin { low: s, high: s, count: count(s) }).collect(),
                false => binned(trace.sizes()),
            },
            window: window as u64,
            working_set: order.chunks(window).enumerate().map(point).collect(),
            kinds: Kind::ALL.map(|k| (k, share(&|t| t.kind == k))).into_iter().filter(|k| k.1.tensors > 0).collect(),
            layers: layers.map(|l| (l, share(&|t| t.layer == l))).filter(|l| l.1.tensors > 0).collect(),
        }
    }

    /// A trace of tensors with kinds and layers.
    fn labelled(tensors: &[(u64, usize, u32)], order: &[usize]) -> Trace {
        let mut builder = TraceBuilder::new("");
        let mut index = vec![None; tensors.len()];
        for &t in order {
            let (bytes, kind, layer) = tensors[t];
            let (kind, layer) = (Kind::ALL[kind], (layer < 4).then_some(layer));
            let tensor = *index[t].get_or_insert_with(|| {
                builder.tensor(Tensor { name: t.to_string(), bytes, layer, stride: 1, kind }).unwrap()
            });
            builder.access(tensor, Op::Request).unwrap();
        }
        builder.finish("test").unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn views_equal_their_definitions(
            tensors in prop::collection::vec((0u64..1 << 40, 0usize..4, 0u32..5), 60),
            order in prop::collection::vec(0usize..60, 1..600),
            narrow in 1usize..60,
            step in 1usize..700,
        ) {
            let order: Vec<usize> = order.into_iter().map(|t| t % narrow).collect();
            let trace = labelled(&tensors, &order);
            let views = Views::of(&trace);
            prop_assert_eq!(&views, &naive(&trace));
            let mut pass = Pass::new(&trace);
            let mut steps = 1;
            while pass.step(&trace, step) {
                steps += 1;
            }
            prop_assert_eq!(steps, order.len().div_ceil(step));
            prop_assert_eq!(pass.finish(&trace), views);
        }
    }

    #[test]
    fn windows_stay_few_and_cover_all() {
        for accesses in [1, 239, 240, 241, 480, 481, 100_000] {
            let order: Vec<u32> = (0..accesses).map(|i| i % 7).collect();
            let views = Views::of(&testing::trace(&[3; 7], &order));
            assert!(views.working_set.len() <= WINDOWS);
            assert_eq!(views.working_set.last().unwrap().at, u64::from(accesses));
        }
    }

    #[test]
    fn one_access_has_no_distance() {
        let views = Views::of(&testing::trace(&[0], &[0]));
        let share = Share { tensors: 1, bytes: 0, accesses: 1, accessed_bytes: 0 };
        let expected = Views {
            cold: 1,
            sizes: vec![Bin { low: 0, high: 0, count: 1 }],
            window: 1,
            working_set: vec![Point { at: 1, bytes: 0, tensors: 1, bytes_so_far: 0 }],
            kinds: vec![(Kind::Object, share)],
            layers: vec![(None, share)],
            ..Views::default()
        };
        assert_eq!(views, expected);
    }

    #[test]
    fn back_to_back_is_one_access_and_no_other_tensor() {
        let views = Views::of(&testing::trace(&[100], &[0, 0, 0]));
        assert_eq!(views.reuse_distance, [Bin { low: 1, high: 1, count: 2 }]);
        assert_eq!(views.stack_distance_tensors, [Bin { low: 0, high: 0, count: 2 }]);
        assert_eq!(views.stack_distance_bytes, [Bin { low: 64, high: 127, count: 2 }]);
    }

    #[test]
    fn the_largest_values_have_a_bin() {
        let views = Views::of(&testing::trace(&[u64::MAX], &[0]));
        assert_eq!(views.sizes, [Bin { low: u64::MAX, high: u64::MAX, count: 1 }]);
        assert_eq!(log2_bounds(log2_bin(u64::MAX)), (1 << 63, u64::MAX));
    }
}
