//! Which tensor leaves when room is needed: one trait, one file a policy, one table.
//!
//! A policy orders victims and nothing else. The engine ([`crate::sim`]) owns capacity, hits and counting,
//! and calls the policy through generics, so the hot loop is compiled once for each.

mod heap;
mod list;

pub mod fifo;
pub mod lru;
pub mod ml;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::score::Scores;

/// What a policy may know before the first access.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// Size of each tensor in bytes.
    pub sizes: &'a [u64],
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// A score for each access, for policies that read them.
    pub scores: Option<&'a Scores>,
}

/// The order in which tensors leave.
///
/// The engine promises: `hit` only for a resident tensor, `insert` only for an absent one that now
/// fits, `evict` only while at least one tensor is resident.
pub trait Policy: Sized + Send {
    /// An empty order.
    fn new(setup: &Setup<'_>) -> Result<Self, Error>;

    /// The resident `tensor` is used by access number `now`.
    fn hit(&mut self, tensor: u32, now: usize);

    /// `tensor` was absent and becomes resident at access number `now`.
    fn insert(&mut self, tensor: u32, now: usize);

    /// Chooses the tensor to leave, forgets it and returns it.
    fn evict(&mut self) -> u32;
}

/// Code that is generic over the policy; see [`PolicyKind::dispatch`].
pub trait Visitor {
    /// What the code returns.
    type Output;
    /// Runs it for the policy `P`.
    fn visit<P: Policy + 'static>(self) -> Self::Output;
}

/// A row of the table of policies.
#[derive(Debug, Clone, Copy)]
pub struct PolicyInfo {
    /// The policy.
    pub kind: PolicyKind,
    /// The name in recipes, JSON and on the command line.
    pub name: &'static str,
    /// The name people read.
    pub title: &'static str,
    /// What it evicts, in one sentence.
    pub about: &'static str,
    /// Whether it reads scores.
    pub scored: bool,
}

/// Lists the policies once: the enum, the table and the dispatch all come from these rows.
macro_rules! policies {
    ($($kind:ident, $type:ty, $name:literal, $title:literal, $scored:literal, $about:literal;)*) => {
        /// A policy by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum PolicyKind {
            $(#[doc = $about] $kind,)*
        }

        /// Every policy.
        pub const POLICIES: &[PolicyInfo] = &[
            $(PolicyInfo { kind: PolicyKind::$kind, name: $name, title: $title, about: $about, scored: $scored },)*
        ];

        impl PolicyKind {
            /// Its row of the table.
            pub fn info(self) -> &'static PolicyInfo {
                &POLICIES[self as usize]
            }

            /// Runs `visitor` for the type behind the name.
            pub fn dispatch<V: Visitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$kind => visitor.visit::<$type>(),)*
                }
            }
        }
    };
}

policies! {
    Lru, lru::Lru, "lru", "LRU", false, "Evicts the tensor whose last use is longest ago.";
    Fifo, fifo::Fifo, "fifo", "FIFO", false, "Evicts the tensor that came in first.";
    Ml, ml::Ml, "ml", "ML", true, "Evicts the tensor with the highest eviction score.";
}

impl PolicyKind {
    /// The name in recipes, JSON and on the command line.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The policy of that name; case does not matter.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        let found = POLICIES.iter().find(|p| p.name.eq_ignore_ascii_case(name.trim()));
        found.map(|p| p.kind).ok_or_else(|| {
            let names = POLICIES.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
            Error::field("policy", format!("\"{name}\""), "no such policy", format!("Choose from {names}"))
        })
    }

    /// Reads a list such as `lru,fifo`, or `all`.
    pub fn parse_list(names: &str) -> Result<Vec<Self>, Error> {
        if names.trim().eq_ignore_ascii_case("all") {
            return Ok(POLICIES.iter().map(|p| p.kind).collect());
        }
        names.split(',').map(Self::from_name).collect()
    }
}

impl Serialize for PolicyKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for PolicyKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_agrees_with_the_enum() {
        for (i, row) in POLICIES.iter().enumerate() {
            assert_eq!(row.kind as usize, i);
            assert_eq!(PolicyKind::from_name(&row.name.to_uppercase()).unwrap(), row.kind);
        }
    }

    #[test]
    fn lists() {
        assert_eq!(PolicyKind::parse_list("FIFO, lru").unwrap(), [PolicyKind::Fifo, PolicyKind::Lru]);
        assert_eq!(PolicyKind::parse_list("all").unwrap().len(), POLICIES.len());
        let error = PolicyKind::parse_list("lru,,").unwrap_err().to_string();
        assert!(error.contains("Choose from lru, fifo"), "{error}");
    }
}
