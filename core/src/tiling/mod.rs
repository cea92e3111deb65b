//! How few bytes an operator can move through a memory of a given size: the best mapping found, and a proven bound.
//!
//! A *mapping* of an operator is one schedule that can be carried out: sizes of the tiles that are in fast memory at
//! once, the order of the loops over tiles, and what the rest of the memory keeps. Its DRAM traffic is counted with the
//! smaller tiles at the edges and the overlap of the patches of an image; it can be carried out with no more.
//!
//! - [`Product`]: matrix products, and convolutions, which are products whose first operand is an image.
//! - [`Chain`]: two products whose middle never leaves fast memory: attention, and the two layers of an MLP.
//! - [`Group`]: operators of a model that may be fused or not.
//!
//! [`Least`] is the least traffic found and the bound that no schedule goes below; docs/tiling.md has the formulas, their
//! sources and where they hold.

// Ground first: each imports only from those before it.
mod axis;
mod bound;

pub mod chain;
pub mod product;

pub mod group;

#[cfg(test)]
mod tests;

pub use self::axis::Axis;
pub use self::chain::Chain;
pub use self::group::{Group, Work};
pub use self::product::{Image, Mapping, Product, Rows};

use serde::{Deserialize, Serialize};

use crate::closed;
use crate::error::Error;
use crate::units::format_bytes;

closed! {
    /// Which operand of a matrix multiplication stays in place while the others pass by.
    pub enum Dataflow("dataflow", "dataflow") {
        /// A tile of the output is finished before the next begins.
        OutputStationary = "output_stationary" titled "output stationary" or "os",
        /// A tile of the weights is used for all rows before the next is read.
        WeightStationary = "weight_stationary" titled "weight stationary" or "ws",
        /// A tile of the input is used for all columns before the next is read.
        InputStationary = "input_stationary" titled "input stationary" or "is",
    }
}

/// How few bytes an operator moves between fast memory and DRAM, both ways together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Least {
    /// Each operand once.
    pub compulsory_bytes: u64,
    /// No schedule moves less.
    pub bound_bytes: u64,
    /// What the best mapping found moves.
    pub attained_bytes: u64,
}

/// The longest side of an operand.
pub const MOST_SIDE: u64 = 1 << 32;

/// The most bits of an operand: 2^61 bytes.
const MOST_BITS: u128 = 1 << 64;

/// The bits of an operand of these sides, refused where it is too large to count.
fn bits_of(what: &str, sides: &[u64]) -> Result<u128, Error> {
    let bits = sides.iter().try_fold(1u128, |bits, side| bits.checked_mul(u128::from(*side)));
    bits.filter(|bits| (1..=MOST_BITS).contains(bits)).ok_or_else(|| Error::TooLarge {
        problem: format!("{what} has no element, or more than 2^61 bytes"),
        cure: "Check the sizes of the operator, and the batch size".into(),
    })
}

/// The bytes of `bits`, rounded up.
fn bytes(bits: u128) -> u64 {
    u64::try_from(bits.div_ceil(8)).unwrap_or(u64::MAX)
}

/// A memory that not even the smallest tiles fit; `least` bits would do.
fn too_small(capacity_bytes: u64, least: u128) -> Error {
    let problem = format!("the smallest tiles of the operator take {} together", format_bytes(bytes(least)));
    Error::field("capacity_bytes", capacity_bytes, problem, format!("Choose at least {}", bytes(least)))
}

/// Sizes of tiles that a side of `whole` elements may be cut into: for every number of tiles the smallest size that
/// makes no more of them. Of the sizes that make more than 512 tiles, only some, 2 % apart, so that the list stays short.
fn cuts(whole: u64) -> Vec<u64> {
    const ALL: u64 = 512;
    let mut sizes = Vec::new();
    let mut tiles = 1;
    while tiles <= whole {
        let size = whole.div_ceil(tiles);
        sizes.push(size);
        // The first number of tiles that are smaller.
        let next = if size == 1 { whole + 1 } else { whole.div_ceil(size - 1) };
        tiles = if tiles < ALL { next } else { next.max(tiles + tiles / 50) };
    }
    if sizes.last() != Some(&1) {
        sizes.push(1);
    }
    sizes.dedup();
    sizes
}
