//! Functions that give the same bits on every platform: made of operations that IEEE 754 rounds in one way only.

/// `base` to the power of `exponent`, for a `base` of 0 or more and an `exponent` in 0..2^32, by square roots and
/// products alone; within 1e-14 of the truth, and exact for small whole exponents.
pub fn power(base: f64, exponent: f64) -> f64 {
    Powers::of(base).raised(exponent)
}

/// Bits of the fraction of an exponent: as many as it can have.
const FRACTION: usize = f64::MANTISSA_DIGITS as usize;

/// What the powers of a base are made of, for many of them ([`power`]).
#[derive(Debug, Clone)]
pub struct Powers {
    /// The base to the powers 1/2, 1/4, 1/8, ...
    roots: [f64; FRACTION],
    /// The base to the powers 1, 2, 4, ...
    squares: [f64; 32],
}

impl Powers {
    /// Of a base of 0 or more.
    pub fn of(base: f64) -> Self {
        let (mut root, mut square) = (base, base);
        let mut powers = Self { roots: [0.0; FRACTION], squares: [0.0; 32] };
        for known in &mut powers.roots {
            root = root.sqrt();
            *known = root;
        }
        for known in &mut powers.squares {
            *known = square;
            square *= square;
        }
        powers
    }

    /// The base to the power of `exponent`, in 0..2^32.
    pub fn raised(&self, exponent: f64) -> f64 {
        let mut whole = exponent.trunc() as u32;
        let mut fraction = exponent.fract();
        let mut result = 1.0;
        for root in &self.roots {
            if fraction <= 0.0 {
                break;
            }
            fraction *= 2.0;
            if fraction >= 1.0 {
                fraction -= 1.0;
                result *= root;
            }
        }
        for square in &self.squares {
            if whole == 0 {
                break;
            }
            if whole % 2 == 1 {
                result *= square;
            }
            whole /= 2;
        }
        result
    }
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
