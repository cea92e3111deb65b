//! The network that is shipped: it weighs what [`history`](super::history) knows of an access and of those like it.
//!
//! Two hidden layers, whole numbers throughout: features, weights and sums, so that every platform gives the same. It
//! was trained by `accel-trainer embedded` on workloads of random shapes; `docs/learned.md` is its model card.

use super::history::{CONTEXTS, Context, NEVER, ONE, Place, Seen, predicted, scan};
use super::{Scorer, Scores, log2};
use crate::trace::Trace;

/// Kinds, operations and modes that the network knows; one beyond them counts as none.
pub const CHOICES: [usize; 3] = [6, 14, 3];
/// Inputs of which one in each group of [`CHOICES`] is on.
pub const SWITCHES: usize = CHOICES[0] + CHOICES[1] + CHOICES[2];
/// Numbers of the access itself.
const OWN: usize = 10;
/// What a [`Context`] tells the network.
const TELLS: usize = 8;
/// Inputs that are numbers, a multiple of eight.
pub const NUMBERS: usize = (OWN + TELLS * (CONTEXTS + 1)).next_multiple_of(8);
/// Neurons of the hidden layers.
pub const HIDDEN: [usize; 2] = [32, 16];
/// Weights in all.
pub const WEIGHTS: usize = (SWITCHES + NUMBERS + 1) * HIDDEN[0] + (HIDDEN[0] + 1) * HIDDEN[1] + HIDDEN[1] + 1;
/// A weight of one.
pub const UNIT: i32 = 1 << UNIT_BITS;
const UNIT_BITS: u32 = 9;
/// The greatest weight: with it no sum leaves 32 bits.
pub const GREATEST: i32 = 4 * UNIT - 1;
/// The greatest value of a neuron, in parts of [`ONE`].
pub const SATURATED: i32 = 4 * ONE - 1;

/// The trained weights, 16 bits each, the lower byte first.
pub static TRAINED: &[u8; 2 * WEIGHTS] = include_bytes!("embedded.bin");

/// What the network sees of an access: which switches are on, and the numbers in parts of [`ONE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The switch of the kind, of the operation and of the mode; [`SWITCHES`] for none.
    pub switches: [usize; 3],
    /// Logarithms are sixteenths of the exponent, counts sixteenths up to one.
    pub numbers: [i16; NUMBERS],
}

impl Inputs {
    /// Those of an access.
    pub fn of(seen: &Seen) -> Self {
        let [kinds, ops, modes] = CHOICES;
        let switch = |at: usize, choices: usize, first: usize| if at < choices { first + at } else { SWITCHES };
        let whole = |n: u32| log2(u64::from(n) + 1) as i16;
        let [gap, before] = seen.gaps.map(|gap| log2(u64::from(gap)) as i16);
        let Place { now, layer, highest, backwards, turned } = seen.place;
        let mut numbers = [0; NUMBERS];
        numbers[..OWN].copy_from_slice(&[
            (log2(seen.bytes) / 2) as i16,
            whole(seen.uses),
            gap,
            before,
            predicted(seen) as i16,
            whole(now),
            whole(layer),
            whole(highest),
            i16::from(backwards) << 12,
            whole(now - turned),
        ]);
        let chunks = numbers[OWN..].as_chunks_mut::<TELLS>().0;
        for (chunk, context) in chunks.iter_mut().zip(seen.contexts.iter().chain([&seen.all])) {
            *chunk = tells(context);
        }
        Self {
            switches: [
                switch(seen.kind as usize, kinds, 0),
                switch(seen.op as usize, ops, kinds),
                switch(seen.mode as usize, modes, kinds + ops),
            ],
            numbers,
        }
    }
}

/// A context in numbers.
fn tells(context: &Context) -> [i16; TELLS] {
    let count = |n: u16| (n.min(16) << 8) as i16;
    [
        context.mean as i16,
        context.deviation as i16,
        context.last as i16,
        context.slow as i16,
        count(context.outcomes),
        context.beyond[0] as i16,
        context.beyond[1] as i16,
        count(context.judged[1]),
    ]
}

/// A network with its weights in the order in which they are used.
#[derive(Debug)]
pub struct Network {
    /// For each switch the weights to the first layer; the last row, for none, is empty.
    switches: Vec<[i32; HIDDEN[0]]>,
    first: [([i16; NUMBERS], i32); HIDDEN[0]],
    second: [([i16; HIDDEN[0]], i32); HIDDEN[1]],
    third: ([i16; HIDDEN[1]], i32),
}

impl Network {
    /// The one that is shipped.
    pub fn trained() -> Self {
        let mut weights = [0; WEIGHTS];
        for (weight, bytes) in weights.iter_mut().zip(TRAINED.as_chunks::<2>().0) {
            *weight = i16::from_le_bytes(*bytes);
        }
        Self::new(&weights)
    }

    /// The one of `weights`: rows of the switches, then of each neuron its weights and its bias, layer by layer.
    pub fn new(weights: &[i16; WEIGHTS]) -> Self {
        let mut rest = weights.iter().copied();
        let mut next = || rest.next().unwrap_or_default();
        let mut row = || std::array::from_fn(|_| i32::from(next()) * ONE);
        let mut switches: Vec<_> = (0..SWITCHES).map(|_| row()).collect();
        switches.push([0; HIDDEN[0]]);
        Self {
            switches,
            first: std::array::from_fn(|_| neuron(&mut next)),
            second: std::array::from_fn(|_| neuron(&mut next)),
            third: neuron(&mut next),
        }
    }

    /// The predicted time of the next use from the access on, as a [`log2`].
    #[inline]
    pub fn predict(&self, inputs: &Inputs) -> u16 {
        let rows = inputs.switches.map(|switch| &self.switches[switch]);
        let first: [i16; HIDDEN[0]] = std::array::from_fn(|i| {
            let switches: i32 = rows.iter().map(|row| row[i]).sum();
            positive(switches + sum(&self.first[i], &inputs.numbers))
        });
        let second: [i16; HIDDEN[1]] = std::array::from_fn(|i| positive(sum(&self.second[i], &first)));
        let change = sum(&self.third, &second) >> UNIT_BITS;
        (i32::from(inputs.numbers[PREDICTED]) + change).clamp(0, i32::from(NEVER)) as u16
    }
}

/// Where among the numbers what history predicts stands: the network adds to it.
pub const PREDICTED: usize = 4;

fn neuron<const N: usize>(next: &mut impl FnMut() -> i16) -> ([i16; N], i32) {
    (std::array::from_fn(|_| next()), i32::from(next()) * ONE)
}

#[inline]
fn sum<const N: usize>((weights, bias): &([i16; N], i32), inputs: &[i16; N]) -> i32 {
    let products = weights.iter().zip(inputs).map(|(weight, input)| i32::from(*weight) * i32::from(*input));
    bias + products.sum::<i32>()
}

/// A sum as the value of a neuron: nothing below 0.
#[inline]
fn positive(sum: i32) -> i16 {
    (sum >> UNIT_BITS).clamp(0, SATURATED) as i16
}

/// The score of each access by the network that is shipped.
pub fn embedded(trace: &Trace) -> Scores {
    scores(trace, &Network::trained())
}

/// The score of each access by `network`.
pub fn scores(trace: &Trace, network: &Network) -> Scores {
    let mut values = Vec::with_capacity(trace.accesses().len());
    scan(trace, |seen| values.push(super::of_log2(network.predict(&Inputs::of(seen)))));
    Scores { values: values.into(), scorer: Scorer::Embedded }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same network with numbers of 64 bits, weight by weight in the order of the file.
    fn plain(weights: &[i16], inputs: &Inputs) -> u16 {
        let [first, second] = HIDDEN;
        let (switches, rest) = weights.split_at(SWITCHES * first);
        let (of_first, rest) = rest.split_at((NUMBERS + 1) * first);
        let (of_second, of_third) = rest.split_at((first + 1) * second);
        let layer = |rows: &[i16], inputs: &[i64], extra: &dyn Fn(usize) -> i64| -> Vec<i64> {
            let row = |(i, row): (usize, &[i16])| {
                let sum: i64 = row.iter().zip(inputs).map(|(weight, input)| i64::from(*weight) * input).sum();
                let sum = sum + i64::from(row[inputs.len()]) * 4096 + extra(i);
                assert!(i32::try_from(sum).is_ok(), "{sum}");
                sum.div_euclid(512)
            };
            rows.chunks(inputs.len() + 1).enumerate().map(row).collect()
        };
        let relu = |values: Vec<i64>| values.into_iter().map(|value| value.clamp(0, 16_383)).collect::<Vec<i64>>();
        let on = |i: usize| -> i64 {
            let on = inputs.switches.iter().filter(|switch| **switch < SWITCHES);
            on.map(|switch| i64::from(switches[switch * first + i]) * 4096).sum()
        };
        let numbers: Vec<i64> = inputs.numbers.iter().map(|number| i64::from(*number)).collect();
        let one = relu(layer(of_first, &numbers, &on));
        let two = relu(layer(of_second, &one, &|_| 0));
        let change = layer(of_third, &two, &|_| 0)[0];
        (numbers[PREDICTED] + change).clamp(0, i64::from(NEVER)) as u16
    }

    #[test]
    fn the_network_is_the_plain_one_and_never_overflows() {
        let greatest = GREATEST as i16;
        let mut state = 1u32;
        let mut draw = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16
        };
        let drawn: [i16; WEIGHTS] = std::array::from_fn(|_| draw() % (greatest + 1));
        for weights in [drawn, [greatest; WEIGHTS], [-greatest; WEIGHTS]] {
            let network = Network::new(&weights);
            for numbers in [[8191; NUMBERS], [0; NUMBERS], std::array::from_fn(|i| (i * 191 % 8192) as i16)] {
                for switches in [[0, 6, 20], [5, 19, 22], [SWITCHES; 3]] {
                    let inputs = Inputs { switches, numbers };
                    assert_eq!(network.predict(&inputs), plain(&weights, &inputs));
                }
            }
        }
    }
}
