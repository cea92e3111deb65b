//! Functions that give the same bits on every platform: made of operations that IEEE 754 rounds in one way only.

/// `base` to the power of `exponent`, for a `base` of 0 or more and an `exponent` in 0..2^32, by square roots and
/// products alone; within 1e-14 of the truth, and exact for small whole exponents.
pub fn power(base: f64, exponent: f64) -> f64 {
    let mut whole = exponent.trunc() as u32;
    let mut fraction = exponent.fract();
    let (mut result, mut root, mut square) = (1.0, base, base);
    // A bit of the fraction at a time: as many as it can have.
    for _ in 0..f64::MANTISSA_DIGITS {
        root = root.sqrt();
        fraction *= 2.0;
        if fraction >= 1.0 {
            fraction -= 1.0;
            result *= root;
        }
    }
    while whole > 0 {
        if whole % 2 == 1 {
            result *= square;
        }
        square *= square;
        whole /= 2;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_powers() {
        for (base, exponent) in [(1024.0, 0.5), (2.0, 0.25), (7.0, 0.999), (1.0, 0.3), (9.0, 0.0)] {
            assert!((power(base, exponent) - f64::powf(base, exponent)).abs() < 1e-9);
        }
        for (base, exponent) in [(0.0, 2.0), (3.0, 1.0), (17.0, 4.0), (65_535.0, 2.5), (3.0, 3.75), (2.0, 31.0)] {
            let wanted = f64::powf(base, exponent);
            assert!((power(base, exponent) - wanted).abs() <= 1e-14 * wanted, "{base} {exponent}");
        }
        assert_eq!((power(3.0, 1.0), power(17.0, 4.0), power(5.0, 0.0)), (3.0, 83_521.0, 1.0));
    }
}
