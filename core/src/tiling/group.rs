//! Operators of a model that may be fused.

use super::chain::ChainMapping;
use super::{Chain, Least, Mapping, Product, Rows};
use crate::error::Error;

/// What an operator does, as far as its traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A matrix product or a convolution.
    Product(Product),
    /// Two products whose middle stays.
    Chain(Chain),
    /// Bytes that are moved once whatever fits: an operator that works element by element.
    Once(u64),
}

impl Work {
    /// The least bytes it moves.
    pub fn least(&self, capacity_bytes: u64) -> Result<Least, Error> {
        match self {
            Self::Product(product) => product.least(capacity_bytes),
            Self::Chain(chain) => chain.least(capacity_bytes),
            Self::Once(bytes) => Ok(Least { compulsory_bytes: *bytes, bound_bytes: *bytes, attained_bytes: *bytes }),
        }
    }

    /// Its best mapping, in words.
    pub fn mapping(&self, capacity_bytes: u64) -> Result<Option<String>, Error> {
        Ok(match self {
            Self::Product(product) => {
                let (_, mappings) = product.parts(capacity_bytes)?;
                let words = mappings.iter().map(|mapping| {
                    let Mapping { dataflow, images, rows, cols, n, k, hole, .. } = mapping;
                    let of_rows = match product.rows {
                        Rows::Matrix(_) => rows.to_string(),
                        Rows::Image(_) => format!("{images} x {rows} x {cols}"),
                    };
                    let sides = hole.iter().filter(|side| **side > 0).map(u64::to_string).collect::<Vec<_>>();
                    let hole =
                        if sides.is_empty() { String::new() } else { format!(", {} of each later", sides.join(" x ")) };
                    format!("{}, tiles of {of_rows} rows, {n} columns, depth {k}{hole}", dataflow.title())
                });
                Some(words.collect::<Vec<_>>().join("; then "))
            }
            Self::Chain(chain) => {
                let ChainMapping { rows, middle, .. } = chain.map(capacity_bytes)?;
                Some(format!("{rows} rows with {middle} elements of the middle at a time"))
            }
            Self::Once(_) => None,
        })
    }
}

/// Operators that are done before the next group begins, and how often they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Ways to do them: one operator after the other, or fused.
    pub ways: Vec<Vec<Work>>,
    /// How often.
    pub times: u64,
}

impl Group {
    /// The least bytes of all its times: of the way that moves least. Bound and compulsory bytes are the least of all ways.
    pub fn least(&self, capacity_bytes: u64) -> Result<Least, Error> {
        let mut least: Option<Least> = None;
        let mut problem = None;
        for way in &self.ways {
            match way
                .iter()
                .try_fold(Least::NOTHING, |sum, work| Ok::<_, Error>(sum.plus(work.least(capacity_bytes)?, 1)))
            {
                Ok(of_way) => {
                    least = Some(least.map_or(of_way, |least| Least {
                        compulsory_bytes: least.compulsory_bytes.min(of_way.compulsory_bytes),
                        bound_bytes: least.bound_bytes.min(of_way.bound_bytes),
                        attained_bytes: least.attained_bytes.min(of_way.attained_bytes),
                    }));
                }
                Err(error) => problem = Some(error),
            }
        }
        match (least, problem) {
            (Some(least), _) => Ok(Least::NOTHING.plus(least, self.times)),
            (None, Some(problem)) => Err(problem),
            (None, None) => Ok(Least::NOTHING),
        }
    }
}

impl Least {
    /// No bytes.
    pub const NOTHING: Self = Self { compulsory_bytes: 0, bound_bytes: 0, attained_bytes: 0 };

    /// The sum of these and `times` others.
    pub fn plus(self, other: Self, times: u64) -> Self {
        let sum = |one: u64, other: u64| one.saturating_add(other.saturating_mul(times));
        Self {
            compulsory_bytes: sum(self.compulsory_bytes, other.compulsory_bytes),
            bound_bytes: sum(self.bound_bytes, other.bound_bytes),
            attained_bytes: sum(self.attained_bytes, other.attained_bytes),
        }
    }
}
