//! Any operator at any capacity: no mapping beats its bound or does worse with more memory, nothing panics, and what is
//! refused says the cure.
#![no_main]

use accel_core::error::Error;
use accel_core::tiling::{Axis, Chain, Image, Least, Product, Rows};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    /// Mantissa and shift of each side.
    sides: [(u8, u8); 12],
    bits: [u8; 3],
    capacity: (u8, u8),
    steps: (u8, u8),
    what: u8,
}

fn side((mantissa, shift): (u8, u8)) -> u64 {
    u64::from(mantissa) << (shift % 34)
}

fn check(least: impl Fn(u64) -> Result<Least, Error>, capacity: u64) {
    let mut last = u64::MAX;
    for capacity in [capacity, capacity.saturating_mul(2), capacity.saturating_mul(16)] {
        match least(capacity) {
            Ok(Least { compulsory_bytes, bound_bytes, attained_bytes }) => {
                assert!(compulsory_bytes <= bound_bytes && bound_bytes <= attained_bytes);
                assert!(attained_bytes <= last);
                last = attained_bytes;
            }
            Err(error) => assert!(last == u64::MAX && !matches!(error, Error::Internal(_)), "{error}"),
        }
    }
}

fuzz_target!(|input: Input| {
    let sides = input.sides.map(side);
    let [a, b, c, d, e, f, g, h, i, j, k, l] = sides;
    let bits = input.bits.map(|bits| u64::from(bits) % 66);
    let capacity = side(input.capacity);
    if input.what % 3 == 2 {
        let chain = Chain {
            batch: a,
            rows: b,
            inputs: c,
            outputs: d,
            middle: e,
            factors: f % 4,
            carried: g % 4,
            pairs: if h % 2 == 0 { h } else { h.min(b.saturating_mul(e)) },
            bits,
        };
        return check(|capacity| chain.least(capacity), capacity);
    }
    let rows = match input.what % 3 {
        0 => Rows::Matrix(d),
        _ => {
            let axis = |out, size, filter: u64, stride| Axis { out, size, filter, stride, pad: l % filter.max(1) };
            Rows::Image(Image { images: d, axes: [axis(e, f, g % 64, h % 64), axis(i, j, k % 64, h % 64)] })
        }
    };
    let product = Product { batch: a, rows, n: b, k: c, bits, sum: usize::from(input.what / 3 % 4) };
    check(|capacity| product.least(capacity), capacity);
    if let Ok(mapping) = product.map_tiles(capacity, side(input.steps)) {
        assert!(mapping.steps <= side(input.steps) && mapping.moved_bytes >= product.compulsory_bytes());
    }
});
