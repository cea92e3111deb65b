//! Many experiments as one value: a recipe, and axes along which it varies.
//!
//! A [`Sweep`] is what is written. [`Cells`] are its experiments, one for each combination of the values of its axes.
//! [`Cells::groups`] orders them by trace: those of a group share one, with its future and its scores ([`Shared`]). Each
//! policy of each cell becomes a [`Row`], known by a [`Key`] that says everything on which its numbers depend, and
//! [`table`] writes rows as columns. Whoever runs a sweep brings files, threads and clocks.

mod axis;
mod cells;
mod key;
mod row;
mod shared;
pub mod table;

#[cfg(test)]
mod tests;

pub use axis::Axis;
pub use cells::{Cells, Group, MOST_CELLS, Shard, Todo, left, share_trace};
pub use key::{Digest, Key, RESULTS_VERSION};
pub use row::{Found, Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use shared::Shared;

use crate::error::Error;
use crate::recipe::Recipe;
use crate::recipe::fields::FieldInfo;

/// A recipe, and what is varied of it.
///
/// ```
/// use accel_core::sweep::Sweep;
///
/// let sweep: Sweep = serde_json::from_str(r#"{
///     "recipe": {"workload": {"synthetic": {}}, "policies": ["lru", "belady"]},
///     "axes": [{"/memory/capacity_bytes": {"from": "32MB", "to": "512MB", "points": 5}}, {"/seed": [1, 2, 3]}]
/// }"#)?;
/// assert_eq!(sweep.cells()?.len(), 15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The recipe as JSON; what it leaves out has its default, or stands on an axis.
    #[serde(default = "nothing")]
    pub recipe: Value,
    /// The axes; the first varies slowest.
    #[serde(default)]
    pub axes: Vec<Axis>,
}

impl Sweep {
    /// Varies fields of `recipe`, each over the values that people wrote for it: `32MB, 64MB`, with semicolons where values
    /// hold commas, or `32MB to 1GB in 6` (in equal ratios where the field counts bytes). Curves are left out: a sweep runs
    /// none.
    ///
    /// # Errors
    ///
    /// Where a field cannot take a value, or a range is none.
    pub fn varied(recipe: &Recipe, axes: &[(&FieldInfo, &str)]) -> Result<Self, Error> {
        let recipe = Recipe { curve: None, ..recipe.clone() };
        let axes = axes.iter().map(|(row, text)| axis::typed(&recipe, row, text)).collect::<Result<_, _>>()?;
        let recipe = serde_json::to_value(&recipe).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(Self { recipe, axes })
    }
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Whether an axis counts bytes: its values may be sizes with a unit, and its ranges go in equal ratios.
fn counts_bytes(pointer: &str) -> bool {
    pointer.ends_with("bytes")
}
