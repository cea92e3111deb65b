//! One axis of a convolution: which inputs the outputs of a tile need.

use serde::{Deserialize, Serialize};

use crate::check::check_range;
use crate::error::Error;

use super::MOST_SIDE;

/// The most padding on one side.
const MOST_PAD: u64 = 1 << 12;

/// Rows, or columns, of an image and of what a filter makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Outputs.
    pub out: u64,
    /// Inputs, without padding.
    pub size: u64,
    /// Elements of the filter.
    pub filter: u64,
    /// Inputs from one output to the next.
    pub stride: u64,
    /// Zeros before the first input; they are not read.
    #[serde(default)]
    pub pad: u64,
}

impl Axis {
    /// The axis of an image without padding, as many outputs as fit. None where the filter is larger than the image.
    pub fn valid(size: u64, filter: u64, stride: u64) -> Option<Self> {
        let room = size.checked_sub(filter)?;
        Some(Self { out: room / stride.max(1) + 1, size, filter, stride, pad: 0 })
    }

    /// Fails on sides that are out of range, and where more than the last position of a filter sees nothing but padding.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (name, side) in [("out", self.out), ("size", self.size), ("filter", self.filter), ("stride", self.stride)] {
            check_range(name, side, 1..=MOST_SIDE)?;
        }
        check_range("pad", self.pad, 0..=MOST_PAD.min(self.filter - 1))?;
        let before = u128::from(self.out.saturating_sub(2)) * u128::from(self.stride);
        if before >= u128::from(self.size) + u128::from(self.pad) {
            let problem = format!("{} positions of a filter do not fit {} inputs", self.out, self.size);
            return Err(Error::field("out", self.out, problem, "Choose fewer outputs, or a smaller stride"));
        }
        Ok(())
    }

    /// How often an input is used, at most.
    pub(super) fn reuse(&self) -> u64 {
        self.filter.div_ceil(self.stride)
    }

    /// The first input of output `at`, and the one behind its last, both counted from the first zero of the padding.
    fn window(&self, at: u64) -> (u128, u128) {
        let first = u128::from(at) * u128::from(self.stride);
        (first, first + u128::from(self.filter))
    }

    /// Inputs that the outputs `from..to` use.
    pub(super) fn inputs(&self, from: u64, to: u64) -> u64 {
        let (pad, end) = (u128::from(self.pad), u128::from(self.pad) + u128::from(self.size));
        let within = |(low, high): (u128, u128)| high.min(end).saturating_sub(low.max(pad));
        let used = if self.stride < self.filter {
            within((self.window(from).0, self.window(to - 1).1))
        } else {
            // Windows do not meet: only the first of all and the last two may reach beyond the image.
            let ends = (to.saturating_sub(2)..to).filter(|at| *at > from);
            let inner = (to - from).saturating_sub(3);
            let of_ends: u128 = ends.map(|at| within(self.window(at))).sum();
            within(self.window(from)) + u128::from(inner) * u128::from(self.filter) + of_ends
        };
        used as u64
    }

    /// The inputs that the outputs `from..to` use, one by one.
    pub(crate) fn used(&self, from: u64, to: u64) -> impl Iterator<Item = u64> + use<> {
        let Self { size, filter, stride, pad, .. } = *self;
        let ((first, _), (_, end)) = (self.window(from), self.window(to - 1));
        // Windows that do not meet leave inputs out between them.
        let seen = move |at: &u128| at % u128::from(stride) < u128::from(filter);
        let inputs = (first.max(pad.into())..end.min(u128::from(pad) + u128::from(size))).filter(seen);
        inputs.map(move |at| at as u64 - pad)
    }

    /// The inputs of the largest of the tiles of `tile` outputs, and of all of them together.
    pub(super) fn tiles(&self, tile: u64) -> (u64, u128) {
        let tiles = self.out.div_ceil(tile);
        let at = |number: u64| self.inputs(number * tile, (number * tile + tile).min(self.out));
        // Tiles away from the edges of the image are all alike; those at the edges are few, unless tiles are small.
        let (pad, stride) = (self.pad, self.stride.saturating_mul(tile));
        let low = (pad.div_ceil(stride) + 1).min(tiles);
        let end = u128::from(pad) + u128::from(self.size);
        let clear = end.saturating_sub(u128::from(self.filter)) / u128::from(self.stride);
        let high = ((clear / u128::from(tile)).saturating_sub(1) as u64).clamp(low, tiles);
        let edges = (0..low).chain(high..tiles).map(at);
        let (mut largest, mut all) = (0, 0u128);
        for inputs in edges {
            largest = largest.max(inputs);
            all += u128::from(inputs);
        }
        if high > low {
            let inner = at(low);
            largest = largest.max(inner);
            all += u128::from(inner) * u128::from(high - low);
        }
        (largest, all)
    }
}
