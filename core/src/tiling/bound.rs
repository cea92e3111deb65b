//! Bytes that no schedule of an operator goes below.
//!
//! A schedule multiplies and adds as the definition of the operator says, each product once; it holds at most S bits at a
//! time, none at first, and loads and stores the rest.
//!
//! - *What is counted.* An element of A or B comes into fast memory by a load. An element of C comes in by a load, or is
//!   begun from nothing, and then it leaves by a store. So no fewer bits move than come in.
//! - *Parts.* Cut a schedule into n parts of as many products each. Of what a part uses, at most S bits were there when it
//!   began, and nothing when the first began: all parts together use at most (n - 1) S bits more than come in.
//! - *What a part uses.* By Loomis and Whitney, |A| |B| |C| elements make at most sqrt(|A| |B| |C|) products, and no operand
//!   has more elements than it has. For large products the best n gives 2MNK / sqrt(S) + S words (2MNK / sqrt(S) - 2S in
//!   Smith et al. 2017, arXiv:1702.02017, after Hong and Kung 1981).
//! - *What parts share.* Products are the points of a box, and elements its lines along the axes. A line that r > 1 parts use
//!   is counted r - 1 >= r / 2 times too often, and is a mixed line of each: neither without it nor filled by it. A set of a
//!   share v <= 1/2 of a cube has mixed lines of at least min(1, 2 v^(1/2), 3 v^(2/3)) of a face: compressing a set along an
//!   axis makes no more of them, and in a compressed set each has one edge of the boundary that Bollobás and Leader 1991
//!   count (Combinatorica 11, theorem 3). A box is a cube whose points are blown up.
//! - *Convolutions.* As a matrix with a row for each position of the filter, an image shows each of its elements in at most
//!   r rows for each column, r = ceil(R / stride) ceil(S / stride); so |A| elements of the image stand for at most r |A| of
//!   the matrix (the sqrt(RS) of Demmel and Dinh 2018, arXiv:1802.06905).
//! - *Products of a batch* share no element, so each is a schedule of its own.
//! - *Two products whose middle stays.* See [`chain`].

/// Less than the rounding of the few operations below could add.
const ROUNDING: f64 = 1.0 - 1e-12;

/// The bits that a product of `macs` multiplications moves at least through `capacity` bits of fast memory. A, B and C have
/// elements of `bits` bits and take `a`, `b` and `c` bits; an element of A shows `reuse` times. `boxed`: every row meets every column.
pub(super) fn product(macs: f64, bits: [u64; 3], [a, b, c]: [f64; 3], reuse: f64, boxed: bool, capacity: f64) -> u128 {
    let (small, large) = (a.min(b).min(c), a.max(b).max(c));
    let middle = a.min(b).max(a.max(b).min(c));
    let bits_of_three = bits.iter().map(|bits| *bits as f64).product::<f64>() / reuse;
    let uses = |products: f64| {
        let of_three = products * products * bits_of_three;
        let of_two = of_three / small;
        if of_three <= small.powi(3) {
            3.0 * of_three.cbrt()
        } else if of_two <= middle * middle {
            small + 2.0 * of_two.sqrt()
        } else {
            small + middle + of_two / middle
        }
    };
    let moved = |parts: f64| {
        let products = (macs / parts).floor();
        let share = products / macs;
        let mixed = if boxed && parts > 1.0 {
            small * (2.0 * share.sqrt()).min(3.0 * share.cbrt().powi(2)).min(1.0)
        } else {
            0.0
        };
        (parts * uses(products)).max(small + middle + large + parts / 2.0 * mixed) - (parts - 1.0) * capacity
    };
    // Where the derivative is nothing, and where no operand is used whole any more.
    let free = [capacity, small].map(|least| (macs * (bits_of_three / least).sqrt() / least).floor());
    let counts = (1..=8).map(f64::from).chain(free).chain(free.map(|parts| parts + 1.0));
    let most = counts.filter(|parts| (1.0..=macs).contains(parts)).map(moved).fold(0.0, f64::max);
    (most * ROUNDING) as u128
}

/// The bits that two products in a row move at least, whose middle never leaves fast memory: the middle has `pairs`
/// elements, each the sum of `depth` products of two elements from outside of at least `bits` bits.
///
/// Cut a schedule into parts that move S words each. A part sees at most 2S words of the two operands together. An element
/// of the middle that begins and ends in the part needs `depth` words of each, so there are at most S^2 / depth^2 of them;
/// of the others a part of the sum is in memory at the beginning or at the end, or is moved: at most 3S, which by Loomis
/// and Whitney take part in at most sqrt(3) S^1.5 products. So a part computes at most S^2 / depth + sqrt(3) S^1.5
/// products. (The pairs * depth^2 / S of Saha and Ye 2024, arXiv:2402.07443, with a constant.)
pub(super) fn chain(pairs: f64, depth: f64, bits: u64, capacity: f64) -> u128 {
    let words = capacity / bits as f64;
    let of_a_part = words * words / depth + 3f64.sqrt() * words * words.sqrt();
    let parts = (pairs * depth / of_a_part * ROUNDING).floor();
    (parts * capacity * ROUNDING).max(0.0) as u128
}
