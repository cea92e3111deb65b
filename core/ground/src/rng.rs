//! The one source of chance: ChaCha8, seeded from the recipe, the same stream on every platform for ever.

use rand::SeedableRng;
use rand::rand_core::Rng as _;
use rand::rngs::ChaCha8Rng;

/// A seeded stream of random numbers.
///
/// The mapping from bits to numbers is written out here, so that a newer version of `rand` cannot change it.
#[derive(Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream of `seed` for one `purpose`; streams of different purposes are independent.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        for (slot, byte) in key[8..].iter_mut().zip(purpose.bytes()) {
            *slot = byte;
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A uniform number in `0.0..1.0`, a multiple of 2^-53.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform number in `0..bound`; 0 for a bound of 0.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        // Lemire's multiplication; its bias, below bound / 2^64, is far under anything a test could see.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u32
    }

    /// One of `choices`, each with the same probability. There must be at least one.
    #[inline]
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u32) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recipe gives the same bytes for ever: these numbers may never change.
    #[test]
    fn the_stream_is_frozen() {
        let mut rng = Rng::new(42, "test");
        let drawn: Vec<u32> = (0..8).map(|_| rng.below(1000)).collect();
        assert_eq!(drawn, [60, 190, 931, 997, 367, 916, 208, 775]);
    }

    #[test]
    fn unit_is_in_range_and_centred() {
        let mut rng = Rng::new(7, "test");
        let mean = (0..10_000).map(|_| rng.unit()).inspect(|u| assert!((0.0..1.0).contains(u))).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
