//! Beginnings of prompts whose keys and values are kept: a prompt computes what follows the longest that it shares.

use candle_core::Result;

use super::config::LlamaConfig;
use super::llama::Past;

/// The most bytes of keys and values kept, besides those in use: 4000 tokens of a Mistral-7B.
const BYTES: usize = 1 << 30;
/// The most beginnings kept: those of as many clients as are served at once. Looking through them costs nothing beside a pass.
pub(super) const MOST: usize = 64;

/// How many tokens two begin with alike.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// What is kept.
#[derive(Default)]
pub(super) struct Prefixes {
    /// The last used first. None is the beginning of another.
    kept: Vec<(Vec<u32>, Past)>,
}

impl Prefixes {
    /// The longest beginning of `tokens` that is known.
    pub(super) fn longest(&mut self, tokens: &[u32]) -> Result<Past> {
        let nearest = self.kept.iter().map(|(kept, _)| common(kept, tokens)).enumerate();
        // Of equals the last used.
        let Some((at, shared)) = nearest.rev().max_by_key(|(_, shared)| *shared).filter(|(_, shared)| *shared > 0)
        else {
            return Ok(Past::default());
        };
        let (kept, past) = self.kept.remove(at);
        let known = past.truncated(shared);
        self.kept.insert(0, (kept, past));
        known
    }

    /// Keeps `tokens` and their past, unless they begin what is kept.
    pub(super) fn keep(&mut self, tokens: &[u32], past: &Past, config: &LlamaConfig) {
        if tokens.is_empty() || self.kept.iter().any(|(kept, _)| kept.starts_with(tokens)) {
            return;
        }
        self.kept.retain(|(kept, _)| !tokens.starts_with(kept));
        self.kept.insert(0, (tokens.to_vec(), past.clone()));
        self.kept.truncate(MOST);
        let token_bytes = 2 * config.layers * config.kv_heads * config.head_dim * size_of::<f32>();
        let (mut bytes, mut at) = (0, 0);
        self.kept.retain(|(kept, _)| {
            (bytes, at) = (bytes + kept.len() * token_bytes, at + 1);
            bytes <= BYTES || at == 1
        });
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// Those kept, the last used first.
    #[cfg(test)]
    pub(super) fn kept(&self) -> Vec<&[u32]> {
        self.kept.iter().map(|(kept, _)| kept.as_slice()).collect()
    }
}
