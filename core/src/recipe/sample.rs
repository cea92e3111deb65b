//! Samples: some of the objects of a trace stand for all.
//!
//! Which ones is decided by a hash of the object and a salt, so that all requests for an object are in or out together
//! (Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST 2015). Memory shrinks as the objects do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::trace::part::LEFT_OUT;

/// Samples of a run, each by a salt of its own: enough for an interval.
pub const SAMPLES: usize = 5;
/// Objects of a sample, at least, unless it is forced. Below, the miss ratio is off by 0.02 and more in the mean
/// (measured: `docs/sweeps.md`).
pub const LEAST_OBJECTS: u64 = 8192;

/// How many objects each sample has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// So many.
    Objects(u64),
    /// A share of all, above 0 and below 1.
    Share(f64),
}

/// Samples in place of the whole trace: `32768objects`, `0.01`, or `1000objects,force`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Sample {
    /// Objects of each.
    pub size: Size,
    /// Whether it may have fewer than [`LEAST_OBJECTS`].
    pub forced: bool,
}

/// A share is a number as well.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Share(f64),
    Text(String),
}

impl TryFrom<Written> for Sample {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self, Error> {
        match written {
            Written::Share(share) => share.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Sample> for Written {
    fn from(sample: Sample) -> Self {
        match sample {
            Sample { size: Size::Share(share), forced: false } => Self::Share(share),
            other => Self::Text(other.to_string()),
        }
    }
}

/// What says that a sample may be small.
const FORCE: &str = "force";
/// What follows a number of objects.
const OBJECTS: &str = "objects";

impl FromStr for Sample {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |problem: &str| {
            let cure = "Write a number of objects such as 32768objects, or a share of them such as 0.01";
            Error::field("sample", format!("\"{text}\""), problem, cure)
        };
        let (size, forced) = match text.split_once(',') {
            None => (text, false),
            Some((size, force)) if force.trim() == FORCE => (size, true),
            Some(_) => return Err(bad("nothing but \"force\" follows the comma")),
        };
        let size = match size.trim().strip_suffix(OBJECTS) {
            Some(objects) => match objects.trim().parse() {
                Ok(objects) if objects > 0 => Size::Objects(objects),
                _ => return Err(bad("it is no number of objects")),
            },
            None => match size.trim().parse() {
                Ok(share) if share > 0.0 && share < 1.0 => Size::Share(share),
                _ => return Err(bad("it is neither a number of objects nor a share above 0 and below 1")),
            },
        };
        Ok(Self { size, forced })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            Size::Objects(objects) => write!(f, "{objects}{OBJECTS}"),
            Size::Share(share) => share.fmt(f),
        }?;
        if self.forced { write!(f, ",{FORCE}") } else { Ok(()) }
    }
}

/// The objects of one sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The number of each object of the trace in the sample, rising from 0, or [`LEFT_OUT`].
    pub numbers: Vec<u32>,
    /// Objects in it.
    pub objects: u64,
}

/// A permutation of 64 bits after which near numbers are far apart: the end of SplitMix64 (Steele, Lea and Flood, OOPSLA
/// 2014; constants of David Stafford's thirteenth mix).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// What an object is known by: its number, or 64 bits of FNV-1a over its name (Fowler, Noll and Vo; constants as in
/// draft-eastlake-fnv), mixed.
pub fn id_of(name: &str) -> u64 {
    // Only what a number is written as: `007` is a name.
    let number = name.parse::<u64>().ok().filter(|_| name == "0" || name.as_bytes().first() != Some(&b'0'));
    number.filter(|_| !name.starts_with('+')).unwrap_or_else(|| {
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        mix(name.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, hash))
    })
}

impl Sample {
    /// Why a model is not sampled.
    pub fn of_a_model(&self) -> Error {
        let problem = "a model has few tensors that it reads in order, and samples of those are off by up to 0.99";
        let cure = "Leave it out: a run of a model is exact, and its trace is short";
        Error::field("sample", self, problem, cure)
    }

    /// The samples of objects known by `ids`, by salts that follow from `seed`; none where a sample is all of them.
    ///
    /// # Errors
    ///
    /// Where a sample is small and not forced.
    pub fn choose(&self, ids: &[u64], seed: u64) -> Result<Option<Vec<Chosen>>, Error> {
        let all = ids.len() as u64;
        let objects = match self.size {
            Size::Objects(objects) => objects,
            Size::Share(share) => ((share * all as f64).round() as u64).max(1),
        };
        if objects >= all {
            return Ok(None);
        }
        if objects < LEAST_OBJECTS && !self.forced {
            let problem = format!("it has {objects} of {all} objects, and below {LEAST_OBJECTS} it tells little");
            let cure = match all <= LEAST_OBJECTS {
                true => "Leave it out: the trace has few objects".to_owned(),
                false => format!(
                    "Choose {LEAST_OBJECTS}objects, a share of {} or more, or add \",{FORCE}\"",
                    ((LEAST_OBJECTS as f64 / all as f64 * 1000.0).ceil() / 1000.0).min(0.999)
                ),
            };
            return Err(Error::field("sample", self, problem, cure));
        }
        let mut hashes = vec![0; ids.len()];
        let sample = |salt: u64| {
            let salt = mix(mix(seed) ^ salt);
            let hash = |id: &u64| mix(id ^ salt);
            hashes.iter_mut().zip(ids).for_each(|(place, id)| *place = hash(id));
            // Distinct ids have distinct hashes: so many are below.
            let (_, end, _) = hashes.select_nth_unstable(objects as usize);
            let end = *end;
            let mut next = 0;
            let number = |id: &u64| {
                if hash(id) >= end {
                    return LEFT_OUT;
                }
                next += 1;
                next - 1
            };
            let numbers: Vec<u32> = ids.iter().map(number).collect();
            Chosen { objects: next.into(), numbers }
        };
        // Numbers from 1 on: mixed, none of them is 0.
        Ok(Some((1..=SAMPLES as u64).map(sample).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_numbers_of_objects_or_shares() {
        let sample = |size, forced| Sample { size, forced };
        for (text, wanted) in [
            ("32768objects", sample(Size::Objects(32768), false)),
            ("0.01", sample(Size::Share(0.01), false)),
            ("1000objects,force", sample(Size::Objects(1000), true)),
            ("0.5,force", sample(Size::Share(0.5), true)),
        ] {
            assert_eq!(text.parse(), Ok(wanted));
            assert_eq!(wanted.to_string(), text);
            let json = serde_json::to_string(&wanted).unwrap();
            assert_eq!(serde_json::from_str::<Sample>(&json).unwrap(), wanted, "{json}");
        }
        assert_eq!(serde_json::from_str::<Sample>("0.01").unwrap(), "0.01".parse().unwrap());
        for text in ["", "1", "0", "-0.1", "NaN", "0objects", "xobjects", "1e3objects", "0.1,forced", "0.1,"] {
            assert_eq!(text.parse::<Sample>().unwrap_err().field_name(), Some("sample"), "{text}");
        }
    }

    #[test]
    fn samples_have_as_many_objects_as_asked_and_differ() {
        let ids: Vec<u64> = (0..100_000).collect();
        let sample: Sample = "10000objects".parse().unwrap();
        let chosen = sample.choose(&ids, 1).unwrap().unwrap();
        assert_eq!(chosen.len(), SAMPLES);
        for Chosen { numbers, objects } in &chosen {
            let kept: Vec<u32> = numbers.iter().copied().filter(|number| *number != LEFT_OUT).collect();
            assert_eq!(kept, (0..10_000).collect::<Vec<_>>());
            assert_eq!(*objects, 10_000);
        }
        // Two independent samples of a tenth have a hundredth in common: here 1,000, give or take 28 (one deviation).
        let both = |a: &Chosen, b: &Chosen| {
            a.numbers.iter().zip(&b.numbers).filter(|(a, b)| **a != LEFT_OUT && **b != LEFT_OUT).count()
        };
        for (i, a) in chosen.iter().enumerate() {
            chosen[..i].iter().for_each(|b| assert!(both(a, b).abs_diff(1000) < 150, "{}", both(a, b)));
        }
        assert_eq!(sample.choose(&ids, 1).unwrap().unwrap(), chosen);
        assert_ne!(sample.choose(&ids, 2).unwrap().unwrap(), chosen);
        assert_eq!("0.1".parse::<Sample>().unwrap().choose(&ids, 1).unwrap().unwrap(), chosen);
    }

    #[test]
    fn small_samples_are_refused_unless_forced() {
        let ids: Vec<u64> = (0..20_000).collect();
        let choose = |text: &str, ids: &[u64]| text.parse::<Sample>().unwrap().choose(ids, 1);
        let error = choose("0.1", &ids).unwrap_err().to_string();
        assert!(error.contains("2000 of 20000 objects") && error.contains("a share of 0.41"), "{error}");
        assert!(choose("8191objects", &ids).is_err() && choose("8192objects", &ids).is_ok());
        assert_eq!(choose("0.1,force", &ids).unwrap().unwrap()[0].objects, 2000);
        // All objects are no sample.
        assert_eq!(choose("20000objects", &ids), Ok(None));
        assert!(choose("0.5", &ids[..100]).unwrap_err().to_string().contains("few objects"));
    }

    #[test]
    fn numbers_are_ids_and_names_are_hashed() {
        assert_eq!((id_of("0"), id_of("17"), id_of("18446744073709551615")), (0, 17, u64::MAX));
        let mut names: Vec<u64> =
            ["007", "+7", "7", "a", "b", "", "-1", "18446744073709551616"].map(id_of).into_iter().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 8);
    }
}
