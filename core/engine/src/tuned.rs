//! What is chosen by name and tuned by numbers, as text: `s3-fifo(small=0.2,ghost=0.5)`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::closed::{self, Closed, same_name};
use crate::error::Error;
use crate::units::parse_bytes;

/// Nothing has more parameters.
pub const MOST_PARAMETERS: usize = 4;

/// The values of the parameters, in the order of the rows.
pub type Values = [f64; MOST_PARAMETERS];

/// A number that tunes a policy or an admission rule: a row in its file.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The name in the parentheses.
    pub name: &'static str,
    /// The value where none is given.
    pub default: f64,
    /// The least and the greatest value.
    pub range: [f64; 2],
    /// Whether only whole numbers have a meaning.
    pub whole: bool,
    /// Whether it counts bytes, and may be given with a unit.
    pub bytes: bool,
    /// What it is, and where its default comes from if not from the paper.
    pub about: &'static str,
}

impl Parameter {
    /// A share of the capacity, 0 to 1.
    pub(crate) const fn share(name: &'static str, default: f64, about: &'static str) -> Self {
        Self { name, default, range: [0.0, 1.0], whole: false, bytes: false, about }
    }

    /// A multiple, 0 to 100.
    pub(crate) const fn multiple(name: &'static str, default: f64, about: &'static str) -> Self {
        Self { name, default, range: [0.0, 100.0], whole: false, bytes: false, about }
    }

    /// A whole number.
    pub(crate) const fn count(name: &'static str, default: f64, range: [f64; 2], about: &'static str) -> Self {
        Self { name, default, range, whole: true, bytes: false, about }
    }

    /// A choice: 0 or 1.
    pub(crate) const fn choice(name: &'static str, about: &'static str) -> Self {
        Self { name, default: 0.0, range: [0.0, 1.0], whole: true, bytes: false, about }
    }

    /// A number of bytes, at least 1.
    pub(crate) const fn bytes(name: &'static str, default: f64, about: &'static str) -> Self {
        // Up to 2^53 every number of bytes has its own.
        Self { name, default, range: [1.0, 9_007_199_254_740_992.0], whole: true, bytes: true, about }
    }

    /// Reads a value.
    fn read(&self, text: &str) -> Option<f64> {
        let number = match text.parse::<f64>() {
            Err(_) if self.bytes => parse_bytes(self.name, text).ok()? as f64,
            number => number.ok()?,
        };
        let fits = (self.range[0]..=self.range[1]).contains(&number) && (!self.whole || number.fract() == 0.0);
        // Not the other zero.
        fits.then_some(number + 0.0)
    }

    /// What may be given, in words.
    pub fn accepts(&self) -> String {
        if self.bytes {
            return "a number of bytes, such as 64KiB".into();
        }
        let kind = if self.whole { "a whole number" } else { "a number" };
        format!("{kind} from {} to {}", self.range[0], self.range[1])
    }
}

/// The values where none are given.
pub(crate) fn defaults(parameters: &[Parameter]) -> Values {
    let mut values = Values::default();
    values.iter_mut().zip(parameters).for_each(|(value, parameter)| *value = parameter.default);
    values
}

/// A closed list whose values are tuned by numbers.
pub trait Tuned: Closed + PartialEq {
    /// What it is tuned by.
    fn parameters(self) -> &'static [Parameter];
}

/// A value of the list `K` with the values of its parameters.
///
/// In recipes and on the command line it is text: the name and, in parentheses, those values that are not the defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec<K> {
    kind: K,
    values: Values,
}

impl<K: Tuned> From<K> for Spec<K> {
    fn from(kind: K) -> Self {
        Self { kind, values: defaults(kind.parameters()) }
    }
}

/// Whether it is that one with its defaults.
impl<K: Tuned> PartialEq<K> for Spec<K> {
    fn eq(&self, kind: &K) -> bool {
        *self == Self::from(*kind)
    }
}

impl<K: Tuned + Default> Default for Spec<K> {
    fn default() -> Self {
        K::default().into()
    }
}

impl<K: Tuned> Spec<K> {
    /// Each of `kinds` with its defaults.
    pub fn plain<const N: usize>(kinds: [K; N]) -> Vec<Self> {
        kinds.map(Self::from).to_vec()
    }

    /// What is tuned.
    pub fn kind(&self) -> K {
        self.kind
    }

    /// The values of its parameters, in the order of the rows.
    pub fn values(&self) -> Values {
        self.values
    }

    /// What people read: the title, and the values that are not the defaults.
    pub fn title(&self) -> String {
        text(self.kind.title(), self.kind.parameters(), &self.values)
    }

    /// What recipes hold: the name, and the values that are not the defaults.
    pub fn name(&self) -> String {
        text(self.kind.name(), self.kind.parameters(), &self.values)
    }

    /// Reads `lru` or `s3-fifo(small=0.2,ghost=0.5)`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let (name, pairs) = match text.split_once('(') {
            Some((name, pairs)) => (name.trim(), Some(pairs)),
            None => (text, None),
        };
        let kind: K = closed::from_name(K::FIELD, name)?;
        let values = match pairs {
            Some(pairs) => parse_values(K::FIELD, text, kind.name(), pairs, kind.parameters())?,
            None => defaults(kind.parameters()),
        };
        Ok(Self { kind, values })
    }

    /// Reads a list such as `lru,s3-fifo(small=0.2)`, or `all`.
    pub fn parse_list(names: &str) -> Result<Vec<Self>, Error> {
        if names.trim().eq_ignore_ascii_case("all") {
            return Ok(K::ALL.iter().map(|kind| (*kind).into()).collect());
        }
        let mut depth = 0_usize;
        let outside = |c: char| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        };
        names.split(outside).map(Self::parse).collect()
    }
}

/// `name` and, in parentheses, the values that are not the defaults.
fn text(name: &str, rows: &[Parameter], values: &Values) -> String {
    let changed = rows.iter().zip(values).filter(|(row, value)| row.default != **value);
    let pairs: Vec<String> = changed.map(|(row, value)| format!("{}={value}", row.name)).collect();
    if pairs.is_empty() { name.to_owned() } else { format!("{name}({})", pairs.join(",")) }
}

/// Reads what follows the opening parenthesis of `text`, which begins with `name`.
fn parse_values(field: &str, text: &str, name: &str, pairs: &str, rows: &[Parameter]) -> Result<Values, Error> {
    let refuse = |problem: String, cure: String| Error::field(field, format!("\"{text}\""), problem, cure);
    let known = || match rows {
        [] => format!("Leave the parentheses out: {name} has no parameters"),
        [first, ..] => {
            let rows: Vec<String> = rows.iter().map(|row| format!("{} ({})", row.name, row.accepts())).collect();
            format!("Its parameters are {}, as in {name}({}={})", rows.join(", "), first.name, first.default)
        }
    };
    let Some(pairs) = pairs.strip_suffix(')') else {
        return Err(refuse("the parentheses do not close".into(), "End it with )".into()));
    };
    let mut values = defaults(rows);
    let mut given = [false; MOST_PARAMETERS];
    for pair in pairs.split(',').map(str::trim).filter(|pair| !pair.is_empty() || !pairs.trim().is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(refuse(format!("\"{pair}\" is not NAME=VALUE"), known()));
        };
        let Some(at) = rows.iter().position(|row| same_name(row.name, key.trim())) else {
            return Err(refuse(format!("there is no parameter \"{}\"", key.trim()), known()));
        };
        let row = &rows[at];
        if std::mem::replace(&mut given[at], true) {
            return Err(refuse(format!("{} is given twice", row.name), "Give it once".into()));
        }
        let cannot = || refuse(format!("{} cannot be {}", row.name, value.trim()), format!("Give {}", row.accepts()));
        values[at] = row.read(value.trim()).ok_or_else(cannot)?;
    }
    Ok(values)
}

impl<K: Tuned> fmt::Display for Spec<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl<K: Tuned> std::str::FromStr for Spec<K> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl<K: Tuned> Serialize for Spec<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de, K: Tuned> Deserialize<'de> for Spec<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{POLICIES, PolicyKind, PolicySpec};
    use crate::rules::{AdmissionRule, AdmissionSpec};

    #[test]
    fn bytes_may_have_units() {
        for text in ["size(most=65536)", "SIZE( most = 64KiB )", "size(most=65.536kB)"] {
            let spec = AdmissionSpec::parse(text).unwrap();
            assert_eq!((spec.kind(), spec.values()[0]), (AdmissionRule::Size, 65_536.0), "{text}");
            assert_eq!(spec.to_string(), "size(most=65536)");
        }
        for text in ["size(most=0)", "size(most=x)", "size(most=-1)", "size(most=1e300)", "size(most=nan)"] {
            let error = AdmissionSpec::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("admission is") && error.contains("Give a number of bytes"), "{error}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for row in POLICIES {
            let plain = PolicySpec::from(row.kind);
            assert_eq!((plain.name().as_str(), plain.title().as_str()), (row.name, row.title));
            assert!(row.parameters.len() <= MOST_PARAMETERS, "{}", row.name);
            for (at, parameter) in row.parameters.iter().enumerate() {
                let [least, most] = parameter.range;
                assert!((least..=most).contains(&parameter.default), "{} {}", row.name, parameter.name);
                for value in [least, most, parameter.default] {
                    let mut spec = plain;
                    spec.values[at] = value;
                    assert_eq!(PolicySpec::parse(&spec.name()).unwrap(), spec);
                    assert_eq!(spec == row.kind, value == parameter.default);
                }
            }
        }
        let spec = PolicySpec::parse(" S3_FIFO( Ghost = 0.50, small=.2 ) ").unwrap();
        assert_eq!(spec.to_string(), "s3-fifo(small=0.2,ghost=0.5)");
        assert_eq!(PolicySpec::parse("slru(segments=4)").unwrap().to_string(), "slru");
        assert_eq!(PolicySpec::parse("slru()").unwrap().to_string(), "slru");
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<PolicySpec>(&json).unwrap(), spec);
    }

    #[test]
    fn lists() {
        let list = |text: &str| PolicySpec::parse_list(text).unwrap();
        assert_eq!(list("FIFO, lru"), [PolicyKind::Fifo, PolicyKind::Lru]);
        assert_eq!(list("all").len(), POLICIES.len());
        let names: Vec<String> =
            list("lru, s3-fifo(small=0.2,ghost=1),slru(segments=5)").iter().map(PolicySpec::name).collect();
        assert_eq!(names, ["lru", "s3-fifo(small=0.2,ghost=1)", "slru(segments=5)"]);
        let error = PolicySpec::parse_list("lru,,").unwrap_err().to_string();
        assert!(error.contains("Choose one of lru, fifo"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_refused_with_the_cure() {
        for (text, problem, cure) in [
            ("lru(k=2)", "no parameter \"k\"", "Leave the parentheses out: lru has no parameters"),
            (
                "slru(segment=2)",
                "no parameter \"segment\"",
                "Its parameters are segments (a whole number from 1 to 16)",
            ),
            ("slru(segments=2.5)", "segments cannot be 2.5", "Give a whole number from 1 to 16"),
            ("slru(segments=0)", "segments cannot be 0", "Give a whole number from 1 to 16"),
            ("s3-fifo(small=1.1)", "small cannot be 1.1", "Give a number from 0 to 1"),
            ("s3-fifo(small=nan)", "small cannot be nan", "Give a number from 0 to 1"),
            ("s3-fifo(small=inf)", "small cannot be inf", "Give a number from 0 to 1"),
            ("s3-fifo(small=0.1,small=0.2)", "small is given twice", "Give it once"),
            ("s3-fifo(small)", "\"small\" is not NAME=VALUE", "as in s3-fifo(small=0.1)"),
            ("s3-fifo(small=0.1", "the parentheses do not close", "End it with )"),
            ("s3-fifo(small=0.1,)", "\"\" is not NAME=VALUE", "Its parameters are"),
            ("s4-fifo(small=0.1)", "no such policy", "Choose one of lru"),
        ] {
            let error = PolicySpec::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains(cure), "{text}: {error}");
        }
    }
}
