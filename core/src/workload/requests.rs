//! Requests of a server: how long each is, and when it comes.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Tokens of its prompt.
    pub prompt_tokens: u64,
    /// Those at its beginning that all prompts with such a beginning have in common, as far as it goes: less than all.
    pub shared_tokens: u64,
    /// Tokens decoded after it.
    pub decode_tokens: u64,
    /// The step of the server before which it comes.
    pub arrival: u64,
}

/// Requests in the order given, written as `512+64, 3x100/128+32@4`: prompt and decoded tokens, how many of the kind, how
/// many tokens of the prompt are the common beginning, and the step before which they come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests(pub Vec<Request>);

/// The most requests of a run.
pub const MOST_REQUESTS: u64 = 4096;
/// The most tokens of a prompt, and of an answer.
pub const MOST_TOKENS: u64 = 131_072;

impl Requests {
    /// Reads the form above.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut all = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = |problem: &str| {
                Error::field("requests", format!("\"{part}\""), problem, "Write such as 512+64 or 3x128+32@4")
            };
            let number = |text: &str| text.trim().parse::<u64>().map_err(|_| bad("not a whole number"));
            let (rest, arrival) = match part.split_once('@') {
                Some((rest, step)) => (rest, number(step)?),
                None => (part, 0),
            };
            let (count, rest) = match rest.split_once(['x', 'X']) {
                Some((count, rest)) => (number(count)?, rest),
                None => (1, rest),
            };
            let (prompt, decode) = rest.split_once('+').ok_or_else(|| bad("there is no + between its tokens"))?;
            let (shared, prompt) = match prompt.split_once('/') {
                Some((shared, prompt)) => (number(shared)?, prompt),
                None => (0, prompt),
            };
            let (prompt_tokens, decode_tokens) = (number(prompt)?, number(decode)?);
            let request = Request { prompt_tokens, shared_tokens: shared, decode_tokens, arrival };
            let tokens = 1..=MOST_TOKENS;
            if !tokens.contains(&request.prompt_tokens) || request.decode_tokens > *tokens.end() {
                return Err(bad("a prompt has 1 to 131072 tokens, and at most as many are decoded"));
            }
            if shared >= request.prompt_tokens {
                return Err(bad("a prompt has more tokens than those that it shares"));
            }
            if !(1..=MOST_REQUESTS).contains(&count) || all.len() as u64 + count > MOST_REQUESTS {
                return Err(bad("there may be 1 to 4096 requests"));
            }
            if arrival > 1 << 32 {
                return Err(bad("the step is beyond 2^32"));
            }
            all.extend((0..count).map(|_| request));
        }
        if all.is_empty() {
            return Err(Error::field("requests", "empty", "there is no request", "Write such as 512+64, 3x128+32@4"));
        }
        Ok(Self(all))
    }

    /// The form that [`parse`](Self::parse) reads.
    pub fn text(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for run in self.0.chunk_by(|a, b| a == b) {
            let Request { prompt_tokens, shared_tokens, decode_tokens, arrival } = run[0];
            let count = if run.len() > 1 { format!("{}x", run.len()) } else { String::new() };
            let at = if arrival > 0 { format!("@{arrival}") } else { String::new() };
            let shared = if shared_tokens > 0 { format!("{shared_tokens}/") } else { String::new() };
            parts.push(format!("{count}{shared}{prompt_tokens}+{decode_tokens}{at}"));
        }
        parts.join(", ")
    }
}

impl Serialize for Requests {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Requests {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_reads_back() {
        let requests = Requests::parse(" 512+64,3x128+32@4 , 1+0").unwrap();
        assert_eq!(requests.0.len(), 5);
        assert_eq!(requests.0[2], Request { prompt_tokens: 128, shared_tokens: 0, decode_tokens: 32, arrival: 4 });
        assert_eq!(requests.text(), "512+64, 3x128+32@4, 1+0");
        assert_eq!(Requests::parse(&requests.text()).unwrap(), requests);
        let shared = Requests::parse("2x100/128+32@4").unwrap();
        assert_eq!((shared.0[1].shared_tokens, shared.text().as_str()), (100, "2x100/128+32@4"));
    }

    #[test]
    fn broken_requests_are_told() {
        for text in [
            "",
            "512",
            "a+1",
            "1+b",
            "0+1",
            "1+1@x",
            "0x1+1",
            "5000x1+1",
            "-1+2",
            "1+999999",
            "1+1@99999999999",
            "8/8+1",
            "/8+1",
            "a/8+1",
        ] {
            let error = Requests::parse(text).unwrap_err();
            assert_eq!(error.field_name(), Some("requests"), "{text}");
        }
    }
}
