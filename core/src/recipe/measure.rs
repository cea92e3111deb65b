//! Which accesses of a trace are run, and which of them are counted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::sample::Sample;
use crate::check::check_range;
use crate::error::Error;
use crate::trace::Trace;

/// What is run and counted; everything, where nothing is said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Measure {
    /// Accesses before counting begins: policies fill the memory meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Amount>,
    /// The run ends after so many accesses, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Misses are told for each so many accesses as well, at least 1; at most [`MOST_INTERVALS`] times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
    /// Every tensor counts one byte.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_size: bool,
    /// Some of the objects stand for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// Intervals of a run, at most (ours: as many as a chart or a spreadsheet takes).
pub const MOST_INTERVALS: u64 = 100_000;

/// A part of the accesses: so many, or a share above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub enum Amount {
    /// So many.
    Accesses(u64),
    /// A share of all.
    Share(f64),
}

impl Amount {
    /// How many of `all` that is.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Accesses(accesses) => usize::try_from(accesses).unwrap_or(usize::MAX),
            Self::Share(share) => (share * all as f64) as usize,
        }
    }
}

impl TryFrom<f64> for Amount {
    type Error = Error;

    fn try_from(number: f64) -> Result<Self, Error> {
        // Beyond 2^53 not every whole number has its own.
        match number {
            whole if whole.fract() == 0.0 && (0.0..9e15).contains(&whole) => Ok(Self::Accesses(whole as u64)),
            share if share > 0.0 && share < 1.0 => Ok(Self::Share(share)),
            _ => {
                let cure = "Write a whole number of accesses, or a share of all above 0 and below 1";
                Err(Error::field("warmup", number, "neither a number of accesses nor a share", cure))
            }
        }
    }
}

impl From<Amount> for f64 {
    fn from(amount: Amount) -> Self {
        match amount {
            Amount::Accesses(accesses) => accesses as Self,
            Amount::Share(share) => share,
        }
    }
}

impl FromStr for Amount {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // What is no number is none of the kinds.
        text.trim().parse().unwrap_or(f64::NAN).try_into()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accesses(accesses) => accesses.fmt(f),
            Self::Share(share) => share.fmt(f),
        }
    }
}

impl Measure {
    /// Fails on the first field that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        check_range("requests", self.requests.unwrap_or(1), 1..=u64::MAX)?;
        check_range("interval", self.interval.unwrap_or(1), 1..=u64::MAX)
    }

    /// Whether all of a trace is run as it is.
    pub fn is_whole(&self) -> bool {
        self.requests.is_none() && !self.ignore_size
    }

    /// The accesses of `trace` that are run.
    pub fn part(&self, trace: Trace) -> Trace {
        let trace = match self.requests {
            Some(requests) => trace.first(usize::try_from(requests).unwrap_or(usize::MAX)),
            None => trace,
        };
        if self.ignore_size { trace.without_sizes() } else { trace }
    }

    /// The number of the first access that is counted, of `accesses`.
    pub fn begin(&self, accesses: usize) -> Result<usize, Error> {
        let from = self.warmup.map_or(0, |warmup| warmup.of(accesses));
        if from < accesses {
            return Ok(from);
        }
        let problem = format!("the trace has {accesses} accesses, and none is left to count");
        Err(Error::field("warmup", from, problem, "Choose fewer, or a share such as 0.2"))
    }

    /// Accesses of an interval, where the misses of `counted` accesses are told by intervals.
    pub fn interval(&self, counted: usize) -> Result<Option<usize>, Error> {
        let Some(interval) = self.interval else { return Ok(None) };
        let least = (counted as u64).div_ceil(MOST_INTERVALS);
        if interval < least {
            let problem = format!("that makes more than {MOST_INTERVALS} intervals");
            return Err(Error::field("interval", interval, problem, format!("Choose at least {least} accesses")));
        }
        Ok(Some(usize::try_from(interval).unwrap_or(usize::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::trace;

    #[test]
    fn amounts_are_numbers_or_shares() {
        for (text, amount) in [("0", Amount::Accesses(0)), ("12", Amount::Accesses(12)), ("0.2", Amount::Share(0.2))] {
            assert_eq!(text.parse::<Amount>(), Ok(amount));
            assert_eq!(amount.to_string(), text);
            let json = serde_json::to_string(&amount).unwrap();
            assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), amount);
        }
        assert_eq!((Amount::Share(0.25).of(10), Amount::Accesses(7).of(3)), (2, 7));
        for text in ["", "x", "-1", "1.5", "NaN", "1e300"] {
            assert_eq!(text.parse::<Amount>().unwrap_err().field_name(), Some("warmup"), "{text}");
        }
    }

    #[test]
    fn what_leaves_nothing_to_count_is_refused() {
        let measure =
            |warmup, interval| Measure { warmup: Some(warmup), interval: Some(interval), ..Measure::default() };
        assert_eq!(measure(Amount::Share(0.5), 1).begin(4), Ok(2));
        assert!(measure(Amount::Accesses(4), 1).begin(4).unwrap_err().to_string().contains("none is left to count"));
        assert_eq!(measure(Amount::Accesses(0), 3).interval(10), Ok(Some(3)));
        let many = measure(Amount::Accesses(0), 1).interval(300_000).unwrap_err().to_string();
        assert!(many.contains("Choose at least 3 accesses"), "{many}");
    }

    #[test]
    fn a_part_is_run() {
        let whole = trace(&[10, 20, 30], &[0, 1, 0, 2]);
        let measure = Measure { requests: Some(3), ignore_size: true, ..Measure::default() };
        let summary = measure.part(whole).summary();
        assert_eq!((summary.accesses, summary.tensors, summary.requested_bytes), (3, 2, 3));
    }
}
