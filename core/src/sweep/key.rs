//! What a row is known by.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::policy::PolicySpec;
use crate::recipe::Recipe;

/// Counts how often the numbers of some recipe have changed. A test holds the numbers of a few recipes fixed; whoever
/// changes them on purpose counts here, and no old row is taken for a new one.
pub const RESULTS_VERSION: u32 = 1;

/// The SHA-256 digest of the content of a file that a recipe names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// Of what `content` reads to its end.
    pub fn read(content: &mut dyn std::io::Read) -> std::io::Result<Self> {
        let mut hash = Sha256::new();
        let mut piece = vec![0; 1 << 16];
        loop {
            match content.read(&mut piece)? {
                0 => return Ok(Self(hash.finalize().into())),
                length => hash.update(piece.get(..length).unwrap_or_default()),
            }
        }
    }
}

/// The first 128 bits of a SHA-256 digest of all on which a row depends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key([u8; 16]);

impl Key {
    /// Of `recipe` under one policy alone, with the content of the file that it names: its results version, its JSON with
    /// every default filled in, and that file's digest.
    pub fn of(recipe: &Recipe, policy: PolicySpec, file: Option<Digest>) -> Result<Self, Error> {
        let recipe = Recipe { policies: vec![policy], curve: None, ..recipe.clone() };
        Ok(Self::of_text(&recipe.to_json()?, file))
    }

    /// Of the text that stands for a recipe.
    pub(super) fn of_text(text: &str, file: Option<Digest>) -> Self {
        let mut hash = Sha256::new();
        hash.update(RESULTS_VERSION.to_le_bytes());
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
        if let Some(Digest(digest)) = file {
            hash.update(digest);
        }
        let mut key = [0; 16];
        key.iter_mut().zip(hash.finalize()).for_each(|(key, byte)| *key = byte);
        Self(key)
    }

    /// The key of several, whatever their order.
    pub fn of_all(keys: impl IntoIterator<Item = Self>) -> Self {
        let mut keys: Vec<Self> = keys.into_iter().collect();
        keys.sort_unstable();
        Self::of_text(&keys.iter().map(Self::to_string).collect::<String>(), None)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for Key {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let bad = || Error::field("key", &text, "it is not a key", "A key has 32 hexadecimal digits");
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(bad());
        }
        let mut key = [0; 16];
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(key))
    }
}
