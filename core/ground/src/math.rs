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

/// e to the power of `x`, within 1e-14 of the truth; infinite beyond what 64 bits hold, 0 below.
pub fn exp(x: f64) -> f64 {
    // ln 2 in two parts, the first with so few bits that its multiples are exact (fdlibm, e_exp.c).
    const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    if x.is_nan() || x > 709.7 {
        return if x.is_nan() { x } else { f64::INFINITY };
    }
    if x < -708.0 {
        return 0.0;
    }
    let octaves = (x * std::f64::consts::LOG2_E).round();
    let rest = (x - octaves * LN_2[0]) - octaves * LN_2[1];
    // |rest| is at most ln 2 / 2: the 16th term of the series is below 1e-19.
    let sum = (1..=15).rev().fold(1.0, |sum, i| 1.0 + rest / f64::from(i) * sum);
    // Between the least and the greatest exponent of a normal number; the greatest needs a step in between.
    let half = (octaves as i64) / 2;
    let scale = |octaves: i64| f64::from_bits(((1023 + octaves) as u64) << 52);
    sum * scale(half) * scale(octaves as i64 - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for i in -7080..=7097 {
            let x = f64::from(i) / 10.0 + 0.037;
            let (got, wanted) = (exp(x.min(709.7)), x.min(709.7).exp());
            assert!((got - wanted).abs() <= 1e-14 * wanted, "{x}: {got} {wanted}");
        }
        assert_eq!((exp(0.0), exp(710.0), exp(-1e9)), (1.0, f64::INFINITY, 0.0));
        assert!(exp(f64::NAN).is_nan());
    }

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
