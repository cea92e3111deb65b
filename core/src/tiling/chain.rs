//! Two products whose middle never leaves fast memory: attention, and the two layers of an MLP.
//!
//! Every row of the input meets every element of the middle, which is summed up into the row of the output: softmax(Q K')
//! V has a key for each element of the middle and reads its key and its value (FlashAttention, Dao et al. 2022); an MLP has
//! a neuron, and reads its column of the first matrix (two of them, if it is gated) and its row of the second.

use serde::{Deserialize, Serialize};

use super::{Least, MOST_SIDE, bits_of, bound, bytes, cuts, too_small};
use crate::check::check_range;
use crate::error::Error;

/// A batch of chains of the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Chain {
    /// Chains that share nothing: sequences, and heads with keys of their own.
    pub batch: u64,
    /// Rows of input and output: the queries of all heads that share keys, or the rows of an MLP.
    pub rows: u64,
    /// Elements of a row of the input.
    pub inputs: u64,
    /// Elements of a row of the output.
    pub outputs: u64,
    /// Elements of the middle: keys, or neurons.
    pub middle: u64,
    /// Vectors of `inputs` elements that an element of the middle is made with: 1, or 2 in a gated MLP.
    pub factors: u64,
    /// Numbers that a row carries along beside its output: 2 in attention, the largest score and the sum of all.
    pub carried: u64,
    /// Elements of the middle that are computed, of all rows; fewer than all where some are masked.
    pub pairs: u64,
    /// Bits of an element of the input, of what the middle is made with, and of the output.
    pub bits: [u64; 3],
}

/// A schedule of a [`Chain`] and what it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainMapping {
    /// Rows in fast memory at once.
    pub rows: u64,
    /// Elements of the middle at once.
    pub middle: u64,
    /// Bytes moved, of all chains of the batch.
    pub moved_bytes: u64,
}

impl Chain {
    /// Attention of `queries` to `keys` in each of `batch` sequences: `heads` heads of `width` elements, which share the keys
    /// and values of `kv_heads`.
    pub fn attention(
        batch: u64,
        (heads, kv_heads): (u64, u64),
        (queries, keys): (u64, u64),
        width: u64,
        bits: u64,
    ) -> Result<Self, Error> {
        check_range("kv_heads", kv_heads, 1..=heads.max(1))?;
        for (name, side) in
            [("batch", batch), ("heads", heads), ("queries", queries), ("keys", keys), ("head_dim", width)]
        {
            check_range(name, side, 1..=MOST_SIDE)?;
        }
        if !heads.is_multiple_of(kv_heads) {
            let cure = "Choose a divisor of the heads";
            return Err(Error::field("kv_heads", kv_heads, format!("{heads} heads do not share them evenly"), cure));
        }
        let overflow = || Error::TooLarge {
            problem: "the attention has more than 2^64 - 1 scores".into(),
            cure: "Choose fewer heads or tokens".into(),
        };
        let rows = (heads / kv_heads).checked_mul(queries).ok_or_else(overflow)?;
        let chain = Self {
            batch: batch.checked_mul(kv_heads).ok_or_else(overflow)?,
            rows,
            inputs: width,
            outputs: width,
            middle: keys,
            factors: 1,
            carried: 2,
            pairs: rows.checked_mul(keys).ok_or_else(overflow)?,
            bits: [bits; 3],
        };
        chain.check()?;
        Ok(chain)
    }

    /// Fails where a side is out of range, or an operand has more than 2^61 bytes.
    pub fn check(&self) -> Result<(), Error> {
        let sides = [
            ("batch", self.batch),
            ("rows", self.rows),
            ("inputs", self.inputs),
            ("outputs", self.outputs),
            ("middle", self.middle),
        ];
        sides.into_iter().try_for_each(|(name, side)| check_range(name, side, 1..=MOST_SIDE))?;
        check_range("factors", self.factors, 1..=2)?;
        check_range("carried", self.carried, 0..=2)?;
        check_range("pairs", self.pairs, 0..=self.rows.saturating_mul(self.middle))?;
        self.bits.into_iter().try_for_each(|bits| check_range("bits", bits, 1..=64))?;
        bits_of("the input", &[self.batch, self.rows, self.inputs, self.bits[0]])?;
        bits_of(
            "what the middle is made with",
            &[self.batch, self.middle, self.factors * self.inputs + self.outputs, self.bits[1]],
        )?;
        bits_of("the output", &[self.batch, self.rows, self.outputs + self.carried, self.bits[2]])?;
        Ok(())
    }

    /// Bits of a row of the input, of what an element of the middle is made with, and of a row of the output.
    fn widths(&self) -> [u128; 3] {
        let elements = [self.inputs, self.factors * self.inputs + self.outputs, self.outputs];
        [0, 1, 2].map(|i| u128::from(elements[i]) * u128::from(self.bits[i]))
    }

    /// Bits of input, middle and output, of each chain of the batch.
    fn compulsory(&self) -> u128 {
        let [input, made_with, output] = self.widths();
        u128::from(self.rows) * (input + output) + u128::from(self.middle) * made_with
    }

    /// The least bytes it moves through `capacity_bytes` of fast memory.
    pub fn least(&self, capacity_bytes: u64) -> Result<Least, Error> {
        let mapping = self.map(capacity_bytes)?;
        let compulsory = self.compulsory() * u128::from(self.batch);
        let narrowest = self.bits.into_iter().min().unwrap_or(1);
        let pairs = self.pairs as f64 * self.batch as f64;
        let bound = bound::chain(pairs, self.inputs as f64, narrowest, 8.0 * capacity_bytes as f64);
        Ok(Least {
            compulsory_bytes: bytes(compulsory),
            bound_bytes: bytes(bound.max(compulsory)),
            attained_bytes: mapping.moved_bytes,
        })
    }

    /// Bits of fast memory for `rows` rows and `middle` elements: their operands, what rows carry along, and one element of
    /// the middle for each row.
    fn footprint(&self, rows: u64, middle: u64) -> u128 {
        let [input, made_with, output] = self.widths();
        let carried = u128::from(self.carried + 1) * u128::from(self.bits[2]);
        u128::from(rows) * (input + output + carried) + u128::from(middle) * made_with
    }

    /// The best mapping found: rows stay while the middle passes, or the middle stays while rows pass with the sums so far.
    pub fn map(&self, capacity_bytes: u64) -> Result<ChainMapping, Error> {
        self.check()?;
        let capacity = u128::from(capacity_bytes) * 8;
        let [input, made_with, output] = self.widths();
        let wide = u128::from;
        let partial = output + wide(self.carried) * wide(self.bits[2]);
        let (all_rows, all_middle) = (wide(self.rows), wide(self.middle));
        let mut best: Option<(u128, u64, u64)> = None;
        let mut weigh = |moved: u128, rows, middle| {
            if best.is_none_or(|(least, ..)| moved < least) {
                best = Some((moved, rows, middle));
            }
        };
        for rows in cuts(self.rows) {
            let Some(free) = capacity.checked_sub(self.footprint(rows, 1)) else { continue };
            let further = wide(self.rows.div_ceil(rows) - 1);
            let kept = free.min(all_middle * made_with);
            weigh(self.compulsory() + (all_middle * made_with - kept) * further, rows, 1);
        }
        for middle in cuts(self.middle) {
            let Some(free) = capacity.checked_sub(self.footprint(1, middle)) else { continue };
            let further = wide(self.middle.div_ceil(middle) - 1);
            // Sums go both ways, so they are kept first.
            let sums = free.min(all_rows * partial);
            let inputs = (free - sums).min(all_rows * input);
            let moved = 2 * (all_rows * partial - sums) + (all_rows * input - inputs);
            weigh(self.compulsory() + moved * further, 1, middle);
        }
        let Some((moved, rows, middle)) = best else { return Err(too_small(capacity_bytes, self.footprint(1, 1))) };
        Ok(ChainMapping { rows, middle, moved_bytes: bytes(moved * wide(self.batch)) })
    }
}
