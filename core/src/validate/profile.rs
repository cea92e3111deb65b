//! Reference profiles: stack distances of real training, as mixtures of two geometric laws.

use crate::error::Error;

/// The stack distances of a family of models: short ones within an operator and its neighbours, long ones between the
/// forward and the backward pass.
///
/// A distance counts the distinct *other* tensors used since the last use of the same one: 0 is back to back. The
/// depth in the LRU stack, distance + 1, is drawn from a geometric law on 1, 2, ... of the mode's mean depth. Of the
/// conventions possible this is the one under which all four fits are as near to the measured quartiles as their
/// stated KS distances: were the means those of the distance itself, DLRM's quartiles would be .137 away, not .033.
#[derive(Debug, PartialEq)]
pub struct Profile {
    /// The name in recipes and on the command line.
    pub name: &'static str,
    /// The name people read.
    pub title: &'static str,
    /// Where the numbers come from.
    pub source: &'static str,
    /// Probability of the short mode.
    pub short_weight: f64,
    /// Mean depth of the short mode, in tensors.
    pub short_mean: f64,
    /// Mean depth of the long mode, in tensors.
    pub long_mean: f64,
    /// Distances measured at 25, 50, 75 and 90 %, in tensors.
    pub measured: [u64; 4],
    /// KS distance of the mixture from the distances measured.
    pub fit: f64,
}

/// Where all profiles come from.
const SOURCE: &str =
    "fitted to stack distances of public PyTorch execution traces of training (FP32, leaf operators, by storage)";

/// Every profile. Weights, means, quartiles and KS distances are those of the fit to the traces named in `source`.
pub const PROFILES: &[Profile] = &[
    Profile {
        name: "linear",
        title: "Linear model",
        source: SOURCE,
        short_weight: 0.80,
        short_mean: 3.8,
        long_mean: 45.0,
        measured: [1, 2, 6, 49],
        fit: 0.080,
    },
    Profile {
        name: "resnet-50",
        title: "ResNet-50",
        source: SOURCE,
        short_weight: 0.59,
        short_mean: 2.3,
        long_mean: 267.0,
        measured: [1, 2, 170, 485],
        fit: 0.106,
    },
    Profile {
        name: "gpt2-large",
        title: "GPT-2-large",
        source: SOURCE,
        short_weight: 0.65,
        short_mean: 3.0,
        long_mean: 537.0,
        measured: [1, 3, 39, 795],
        fit: 0.077,
    },
    Profile {
        name: "dlrm",
        title: "DLRM",
        source: SOURCE,
        short_weight: 0.83,
        short_mean: 2.8,
        long_mean: 22.0,
        measured: [0, 2, 3, 11],
        fit: 0.033,
    },
];

/// The profile of that name; case does not matter.
pub fn find(name: &str) -> Result<&'static Profile, Error> {
    PROFILES.iter().find(|p| p.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names = PROFILES.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
        Error::field("reference", format!("\"{name}\""), "no such profile", format!("Choose one of {names}"))
    })
}

impl Profile {
    /// The probability of a distance of at most `distance`.
    pub fn at_most(&self, distance: u64) -> f64 {
        let farther = |mean: f64| power(1.0 - 1.0 / mean, distance.saturating_add(1));
        1.0 - self.short_weight * farther(self.short_mean) - (1.0 - self.short_weight) * farther(self.long_mean)
    }

    /// The least distance up to which a share of at least `level`, below 1, lies.
    pub fn quantile(&self, level: f64) -> u64 {
        let mut high = 1;
        while self.at_most(high) < level && high < 1 << 62 {
            high *= 2;
        }
        // The answer lies in low..=high.
        let mut low = 0;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at_most(middle) < level {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }
}

/// `base` to the power of `exponent` by multiplication alone, which every platform rounds alike (`powi` need not).
fn power(base: f64, exponent: u64) -> f64 {
    let (mut result, mut square, mut left) = (1.0, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result *= square;
        }
        square *= square;
        left >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The measured quartiles are no farther from the mixture than its stated KS distance.
    #[test]
    fn quartiles_are_as_near_as_the_fit_claims() {
        for profile in PROFILES {
            for (level, measured) in [0.25, 0.5, 0.75, 0.9].into_iter().zip(profile.measured) {
                // Of the distances measured, a share of `level` or more is at most `measured`, and less is below it.
                assert!(profile.at_most(measured) >= level - profile.fit, "{} at {level}", profile.name);
                let below = measured.checked_sub(1).map_or(0.0, |below| profile.at_most(below));
                assert!(below <= level + profile.fit, "{} at {level}", profile.name);
            }
        }
        let quartiles = |p: &Profile| [0.25, 0.5, 0.75, 0.9].map(|level| p.quantile(level));
        let all: Vec<_> = PROFILES.iter().map(quartiles).collect();
        assert_eq!(all, [[1, 3, 7, 30], [0, 3, 131, 376], [1, 3, 180, 672], [0, 1, 4, 12]]);
    }

    #[test]
    fn probabilities_and_quantiles_are_inverse() {
        for profile in PROFILES {
            for distance in [0, 1, 2, 10, 100, 1000, 5000] {
                let below = profile.at_most(distance);
                let mass = below - distance.checked_sub(1).map_or(0.0, |d| profile.at_most(d));
                if mass > 1e-12 {
                    assert_eq!(profile.quantile(below - mass / 2.0), distance, "{} {distance}", profile.name);
                }
            }
            assert_eq!((profile.quantile(0.0), profile.at_most(u64::MAX)), (0, 1.0));
        }
    }

    #[test]
    fn names_are_found_and_listed() {
        for profile in PROFILES {
            assert_eq!(find(&profile.name.to_uppercase()).unwrap(), profile);
        }
        let error = find("vgg").unwrap_err().to_string();
        assert_eq!(error, "reference is \"vgg\": no such profile. Choose one of linear, resnet-50, gpt2-large, dlrm");
    }
}
