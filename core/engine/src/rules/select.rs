//! Which tensors are meant: a kind, or a pattern of names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::closed::{names, same_name};
use crate::error::Error;
use crate::trace::{Kind, Tensor, Trace};

/// A kind of tensors (`kv_cache`), or a pattern of their names in which `*` stands for any characters and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(String);

impl Selector {
    /// Whether it means `tensor`.
    pub fn means(&self, tensor: &Tensor) -> bool {
        same_name(tensor.kind.name(), &self.0) || glob(self.0.as_bytes(), tensor.name.as_bytes())
    }

    /// For each tensor of `trace` whether it is meant. Fails, naming `field`, where none is, or where blocks of prefixes
    /// would be treated apart from those that they continue.
    pub(super) fn of(&self, field: &str, trace: &Trace) -> Result<Vec<bool>, Error> {
        if !trace.parents().is_empty() {
            let problem = "blocks that continue others stay and leave with them";
            return Err(Error::field(field, self, problem, "Leave it out for a trace with shared prefixes"));
        }
        let chosen: Vec<bool> = trace.tensors().iter().map(|tensor| self.means(tensor)).collect();
        if chosen.contains(&true) {
            return Ok(chosen);
        }
        let example = trace.tensors().first().map_or("", |tensor| &tensor.name);
        let cure = format!("Choose a kind ({}) or a pattern of names, which are like {example}", names(&Kind::ALL));
        Err(Error::field(field, self, "the trace has no such tensor", cure))
    }
}

/// Whether `text` is what `pattern` stands for.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Where the last star stands, and how much of the text it has taken so far.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => (p, t) = (p + 1, t + 1),
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

impl TryFrom<String> for Selector {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() {
            let cure = format!("Write a kind ({}) or a pattern such as *.layers.0.*", names(&Kind::ALL));
            return Err(Error::field("tensors", "empty", "no tensor is meant", cure));
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.0
    }
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A share of the memory for some tensors: `kv_cache=0.25`, or `*experts*/layer=0.5`, which is divided evenly among the
/// layers of the tensors that it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Whose it is.
    pub of: Selector,
    /// Whether each of their layers has its part.
    pub per_layer: bool,
    /// The share, above 0 and at most 1.
    pub share: f64,
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || {
            let cure = "Write TENSORS=SHARE with a share above 0 and at most 1, such as kv_cache=0.25";
            Error::field("shares", format!("\"{text}\""), "not a share of the memory", cure)
        };
        let (of, share) = text.rsplit_once('=').ok_or_else(refuse)?;
        let share = share.trim().parse().ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(refuse)?;
        let of = of.trim();
        let (of, per_layer) = of.strip_suffix("/layer").map_or((of, false), |of| (of, true));
        Ok(Self { of: of.parse().map_err(|_| refuse())?, per_layer, share })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, per_layer, share } = self;
        write!(f, "{of}{}={share}", if *per_layer { "/layer" } else { "" })
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_names() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*abc", "ababc", true),
            ("??", "ab", true),
            ("?", "", false),
            ("a?c*", "abcdef", true),
            ("layers.*.mlp", "layers.11.mlp", true),
            ("layers.*.mlp", "layers.11.mlp.up", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), is, "{pattern} {text}");
        }
        // What takes some matchers a time exponential in the stars.
        assert!(!glob(format!("{}b", "a*".repeat(40)).as_bytes(), "a".repeat(10_000).as_bytes()));
    }

    #[test]
    fn shares_are_read_as_they_are_written() {
        for text in ["kv_cache=0.25", "*experts*/layer=0.5", "a=b=1"] {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.to_string(), text);
            let json = serde_json::to_string(&share).unwrap();
            assert_eq!(serde_json::from_str::<Share>(&json).unwrap(), share);
        }
        for text in ["", "kv_cache", "kv_cache=", "=0.5", "kv_cache=0", "kv_cache=1.5", "kv_cache=nan", "/layer=0.5"] {
            let error = text.parse::<Share>().unwrap_err();
            assert_eq!(error.field_name(), Some("shares"), "{text}");
        }
    }
}
