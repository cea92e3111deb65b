//! A policy and the values of its parameters: `s3-fifo(small=0.2,ghost=0.5)`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{POLICIES, PolicyInfo, PolicyKind};
use crate::closed::same_name;
use crate::error::Error;

/// No policy has more parameters.
pub const MOST_PARAMETERS: usize = 4;

/// The values of a policy's parameters, in the order of its rows.
pub type Values = [f64; MOST_PARAMETERS];

/// A number that tunes a policy: a row in the policy's file.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The name in a policy's parentheses.
    pub name: &'static str,
    /// The value where none is given.
    pub default: f64,
    /// The least and the greatest value.
    pub range: [f64; 2],
    /// Whether only whole numbers have a meaning.
    pub whole: bool,
    /// What it is, and where its default comes from if not from the policy's paper.
    pub about: &'static str,
}

impl Parameter {
    /// A share of the capacity, 0 to 1.
    pub(super) const fn share(name: &'static str, default: f64, about: &'static str) -> Self {
        Self { name, default, range: [0.0, 1.0], whole: false, about }
    }

    /// A multiple, 0 to 100.
    pub(super) const fn multiple(name: &'static str, default: f64, about: &'static str) -> Self {
        Self { name, default, range: [0.0, 100.0], whole: false, about }
    }

    /// A whole number.
    pub(super) const fn count(name: &'static str, default: f64, range: [f64; 2], about: &'static str) -> Self {
        Self { name, default, range, whole: true, about }
    }

    /// A choice: 0 or 1.
    pub(super) const fn choice(name: &'static str, about: &'static str) -> Self {
        Self { name, default: 0.0, range: [0.0, 1.0], whole: true, about }
    }

    /// What may be given, in words.
    pub fn accepts(&self) -> String {
        let kind = if self.whole { "a whole number" } else { "a number" };
        format!("{kind} from {} to {}", self.range[0], self.range[1])
    }
}

/// The values where none are given.
pub(super) fn defaults(parameters: &[Parameter]) -> Values {
    let mut values = Values::default();
    values.iter_mut().zip(parameters).for_each(|(value, parameter)| *value = parameter.default);
    values
}

/// A policy with the values of its parameters.
///
/// In recipes and on the command line it is text: the policy's name and, in parentheses, those values that are not the
/// defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicySpec {
    kind: PolicyKind,
    values: Values,
}

impl From<PolicyKind> for PolicySpec {
    fn from(kind: PolicyKind) -> Self {
        Self { kind, values: defaults(kind.info().parameters) }
    }
}

/// Whether it is that policy with its defaults.
impl PartialEq<PolicyKind> for PolicySpec {
    fn eq(&self, kind: &PolicyKind) -> bool {
        *self == Self::from(*kind)
    }
}

impl PolicySpec {
    /// Each of `kinds` with its defaults.
    pub fn plain<const N: usize>(kinds: [PolicyKind; N]) -> Vec<Self> {
        kinds.map(Self::from).to_vec()
    }

    /// The policy.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// The policy's row of the table.
    pub fn info(&self) -> &'static PolicyInfo {
        self.kind.info()
    }

    /// The values of its parameters, in the order of the rows.
    pub fn values(&self) -> Values {
        self.values
    }

    /// What people read: the title, and the values that are not the defaults.
    pub fn title(&self) -> String {
        self.text(self.info().title)
    }

    /// What recipes hold: the name, and the values that are not the defaults.
    pub fn name(&self) -> String {
        self.text(self.info().name)
    }

    fn text(&self, name: &str) -> String {
        let rows = self.info().parameters.iter().zip(self.values);
        let changed = rows.filter(|(row, value)| row.default != *value);
        let pairs: Vec<String> = changed.map(|(row, value)| format!("{}={value}", row.name)).collect();
        if pairs.is_empty() { name.to_owned() } else { format!("{name}({})", pairs.join(",")) }
    }

    /// Reads `lru` or `s3-fifo(small=0.2,ghost=0.5)`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let Some((name, rest)) = text.split_once('(') else { return Ok(PolicyKind::from_name(text)?.into()) };
        let kind = PolicyKind::from_name(name.trim())?;
        let mut policy = Self::from(kind);
        let refuse = |problem: String, cure: String| Error::field("policy", format!("\"{text}\""), problem, cure);
        let rows = kind.info().parameters;
        let known = || match rows {
            [] => format!("Leave the parentheses out: {} has no parameters", kind.name()),
            rows => {
                let rows: Vec<String> = rows.iter().map(|row| format!("{} ({})", row.name, row.accepts())).collect();
                format!(
                    "Its parameters are {}, as in {}({}={})",
                    rows.join(", "),
                    kind.name(),
                    kind.info().parameters[0].name,
                    kind.info().parameters[0].default
                )
            }
        };
        let Some(pairs) = rest.strip_suffix(')') else {
            return Err(refuse("the parentheses do not close".into(), "End it with )".into()));
        };
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
            let number = value.trim().parse::<f64>().ok();
            let fits =
                |value: &f64| (row.range[0]..=row.range[1]).contains(value) && (!row.whole || value.fract() == 0.0);
            let Some(number) = number.filter(fits) else {
                return Err(refuse(
                    format!("{} cannot be {}", row.name, value.trim()),
                    format!("Give {}", row.accepts()),
                ));
            };
            // Not the other zero.
            policy.values[at] = number + 0.0;
        }
        Ok(policy)
    }

    /// Reads a list such as `lru,s3-fifo(small=0.2)`, or `all`.
    pub fn parse_list(names: &str) -> Result<Vec<Self>, Error> {
        if names.trim().eq_ignore_ascii_case("all") {
            return Ok(POLICIES.iter().map(|row| row.kind.into()).collect());
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

impl fmt::Display for PolicySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl std::str::FromStr for PolicySpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Serialize for PolicySpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for PolicySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
