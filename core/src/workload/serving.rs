//! How a server runs requests, as text: `chunk=512,reuse=blocks` or `draft=llama-3.2-1b,guess=4,accept=0.8`.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::presets;
use crate::check::check_range;
use crate::error::Error;

/// What is out of the ordinary in how requests are served.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Serving {
    /// The most tokens of a step, 1..=131072: one of each request that decodes, then those of prompts (Agrawal et al. 2024,
    /// Sarathi-Serve). Without it, prompts are read whole, in a step of their own.
    pub chunk: Option<u64>,
    /// Whether blocks of keys and values of finished requests are used again (Kwon et al. 2023, vLLM).
    pub reuse: bool,
    /// The model that guesses tokens.
    pub draft: Option<Box<Draft>>,
}

/// Speculative decoding (Leviathan et al. 2023): a small model guesses tokens, and one pass of the large one checks them.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The preset of the small model.
    pub model: String,
    /// Tokens guessed for each pass of the large model, 1..=64.
    pub guess: u64,
    /// Probability that a guess is accepted where those before it were, 0 to 1.
    pub accept: f64,
}

impl Draft {
    /// Tokens that a pass which checks `guesses` of them gives on average: equation 1 of Leviathan et al. 2023, as the sum
    /// that it comes from, 1 + a + a^2 + ...
    pub fn tokens(&self, guesses: u64) -> f64 {
        (0..guesses).fold((1.0, 1.0), |(sum, power), _| (sum + power * self.accept, power * self.accept)).0
    }
}

/// Tokens that are guessed, and the probability that one is accepted, where the text does not say: those of figure 2 of
/// Leviathan et al. 2023 lie around them.
const GUESS: u64 = 4;
const ACCEPT: f64 = 0.8;

impl Serving {
    /// Fails on the first value that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        check_range("chunk", self.chunk.unwrap_or(1), 1..=131_072)?;
        if let Some(draft) = &self.draft {
            check_range("guess", draft.guess, 1..=64)?;
            check_range("accept", draft.accept, 0.0..=1.0)?;
            presets::find(&draft.model)?;
            if self.chunk.is_some() {
                let cure = "Leave one of the two out";
                return Err(Error::field("serving", self, "chunks and guesses are not computed together", cure));
            }
        }
        Ok(())
    }
}

impl Display for Serving {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.chunk.iter().map(|chunk| format!("chunk={chunk}")).collect();
        if self.reuse {
            parts.push("reuse=blocks".into());
        }
        if let Some(draft) = &self.draft {
            let Draft { model, guess, accept } = &**draft;
            parts.push(format!("draft={model},guess={guess},accept={accept}"));
        }
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Serving {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (mut all, mut guess, mut accept) = (Self::default(), None, None);
        let mut model = None;
        for part in text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty()) {
            let bad = |problem: &str| {
                let cure = "Write such as chunk=512,reuse=blocks or draft=llama-3.2-1b,guess=4,accept=0.8";
                Error::field("serving", format!("\"{part}\""), problem, cure)
            };
            let (name, value) = part.split_once('=').ok_or_else(|| bad("there is no = in it"))?;
            match name {
                "chunk" => all.chunk = Some(value.parse().map_err(|_| bad("not a whole number"))?),
                "reuse" if value == "blocks" => all.reuse = true,
                "reuse" if value == "none" => all.reuse = false,
                "draft" => model = Some(value.to_owned()),
                "guess" => guess = Some(value.parse().map_err(|_| bad("not a whole number"))?),
                "accept" => accept = Some(value.parse().map_err(|_| bad("not a number"))?),
                _ => return Err(bad("no such way to serve requests")),
            }
        }
        match (model, guess, accept) {
            (Some(model), guess, accept) => {
                let (guess, accept) = (guess.unwrap_or(GUESS), accept.unwrap_or(ACCEPT));
                all.draft = Some(Box::new(Draft { model, guess, accept }));
            }
            (None, None, None) => {}
            (None, ..) => {
                let cure = "Name the small model (draft=llama-3.2-1b), or leave guess and accept out";
                return Err(Error::field("serving", format!("\"{text}\""), "nobody guesses", cure));
            }
        }
        all.check()?;
        Ok(all)
    }
}

impl Serialize for Serving {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Serving {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["", "chunk=512", "chunk=8,reuse=blocks", "reuse=blocks,draft=llama-3.2-1b,guess=3,accept=0.75"] {
            assert_eq!(text.parse::<Serving>().unwrap().to_string(), text);
        }
        let draft = "draft=llama-3.2-1b".parse::<Serving>().unwrap().draft.unwrap();
        assert_eq!((draft.guess, draft.accept), (4, 0.8));
        // 1 + a + a^2 + a^3 + a^4.
        assert!((draft.tokens(4) - (1.0 + 0.8 + 0.64 + 0.512 + 0.4096)).abs() < 1e-12);
        assert_eq!(Draft { accept: 1.0, ..*draft }.tokens(4), 5.0);
        for (text, wanted) in [
            ("chunk", "there is no ="),
            ("chunk=0", "chunk is 0"),
            ("chunk=x", "not a whole number"),
            ("guess=4", "nobody guesses"),
            ("draft=nobody", "nobody"),
            ("draft=llama-3.2-1b,accept=2", "accept is 2"),
            ("draft=llama-3.2-1b,guess=0", "guess is 0"),
            ("draft=llama-3.2-1b,chunk=8", "not computed together"),
            ("speed=9", "no such way"),
        ] {
            let error = text.parse::<Serving>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
