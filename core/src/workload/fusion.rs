//! Which operators are computed as one, as text: `attention,qkv,gate-up`.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// Operators that kernels compute as one, so that what passes between them is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fusion {
    /// Scores, softmax and the sum of values (FlashAttention, Dao et al. 2022): scores are never stored.
    pub attention: bool,
    /// Queries, keys and values by one matrix: what comes in is read once.
    pub qkv: bool,
    /// Both projections of a gated MLP by one matrix.
    pub gate_up: bool,
    /// An MLP from its input to its output: what is between its matrices is never stored.
    pub mlp: bool,
    /// A sum and the norm behind it: the sum is not read again.
    pub norm: bool,
}

impl Default for Fusion {
    fn default() -> Self {
        Self { attention: true, qkv: false, gate_up: false, mlp: false, norm: false }
    }
}

/// What is written for none of them.
const NONE: &str = "none";

impl Fusion {
    fn parts(self) -> [(&'static str, bool); 5] {
        [
            ("attention", self.attention),
            ("qkv", self.qkv),
            ("gate-up", self.gate_up),
            ("mlp", self.mlp),
            ("norm", self.norm),
        ]
    }
}

impl Display for Fusion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fused: Vec<&str> = self.parts().into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
        f.write_str(&if fused.is_empty() { NONE.to_owned() } else { fused.join(",") })
    }
}

impl FromStr for Fusion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut all = Self { attention: false, ..Self::default() };
        for part in text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty() && *part != NONE) {
            match part {
                "attention" => all.attention = true,
                "qkv" => all.qkv = true,
                "gate-up" => all.gate_up = true,
                "mlp" => all.mlp = true,
                "norm" => all.norm = true,
                _ => {
                    let cure = "Write some of attention,qkv,gate-up,mlp,norm, or none";
                    return Err(Error::field("fusion", format!("\"{part}\""), "no such operators", cure));
                }
            }
        }
        Ok(all)
    }
}

impl Serialize for Fusion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fusion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["attention", "none", "attention,qkv,gate-up,mlp,norm", "qkv,norm"] {
            assert_eq!(text.parse::<Fusion>().unwrap().to_string(), text);
        }
        assert_eq!("".parse::<Fusion>().unwrap(), Fusion::default());
        assert_eq!("none, qkv".parse::<Fusion>().unwrap().to_string(), "qkv");
        let error = "qkv,softmax".parse::<Fusion>().unwrap_err().to_string();
        assert!(error.contains("\"softmax\"") && error.contains("gate-up"), "{error}");
    }
}
