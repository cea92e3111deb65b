//! Bytes that no schedule of an operator goes below.
//!
//! A schedule multiplies and adds as the definition of the operator says, each product once; it holds at most S bits at a
//! time and loads and stores the rest. Beside the compulsory traffic:
//!
//! - *Products.* Let C = A B + C, so that each sum is loaded before its first product, and cut a schedule into parts that
//!   load T bits each. A part sees at most S + T bits of A, B and C, the first, which begins with an empty memory, at most
//!   T; by Loomis and Whitney it computes at most sqrt(|A| |B| |C|) products of |A|, |B|, |C| elements, which are at most
//!   ((S + T) / 3)^1.5 / sqrt(a b c) where elements are a, b and c bits wide. C = A B does without loading MN sums, and
//!   stores as many: it moves no less than C = A B + C loads. With T = 2S this is the 2MNK / sqrt(S) - 2S words of
//!   Smith et al. 2017 (arXiv:1702.02017), after Hong and Kung 1981; the best of several T is a little more.
//! - *Convolutions.* As a matrix with a row for each position of the filter, an image shows each of its elements in at most
//!   r rows for each column, r = ceil(R / stride) ceil(S / stride); so |A| elements of the image stand for at most r |A| of
//!   the matrix, and the same holds with a / r in place of a (the sqrt(RS) of Demmel and Dinh 2018, arXiv:1802.06905).
//! - *Two products whose middle stays.* See [`chain`].

/// Less than the rounding of the few operations below could add.
const ROUNDING: f64 = 1.0 - 1e-12;

/// The bits that a product moves at least: `macs` multiplications of elements of A, B and C that are `bits` wide, where an
/// element of A shows `reuse` times, with `capacity` bits of fast memory.
pub(super) fn product(macs: f64, bits: [u64; 3], reuse: f64, capacity: f64) -> u128 {
    let [a, b, c] = bits.map(|bits| bits as f64);
    // Everything in units of the memory.
    let products = macs * (a / reuse * b * c / capacity).sqrt() / capacity;
    let of_a_part = |seen: f64| (seen / 3.0).powi(3).sqrt();
    let loads = |part: f64| {
        let rest = products - of_a_part(part);
        if rest <= 0.0 {
            return 3.0 * products.cbrt().powi(2);
        }
        let parts = (rest / of_a_part(1.0 + part)).floor();
        let last = rest - parts * of_a_part(1.0 + part);
        part * (1.0 + parts) + (3.0 * last.cbrt().powi(2) - 1.0).max(0.0)
    };
    let most = (4..64).map(|quarters| loads(f64::from(quarters) / 4.0)).fold(0.0, f64::max);
    (most * capacity * ROUNDING) as u128
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
