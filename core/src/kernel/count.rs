//! Counts: closed forms in the parameters, and numbers.

use super::nest::Program;
use super::report::Count;
use crate::error::Error;

/// What a program does.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// Loops in the program, a library's included (3, and one for a batch).
    pub num_loops: u64,
    /// Conditions in the program.
    pub num_branches: u64,
    /// Rounds of all loops, a library's included.
    pub rounds: Quantity,
    /// Conditions evaluated.
    pub branches: Quantity,
    /// Loads of array elements.
    pub load_ops: Quantity,
    /// Stores of array elements.
    pub store_ops: Quantity,
    /// Floating-point operations.
    pub flops: Quantity,
    /// Bytes that loads and stores move.
    pub mem_bytes: Quantity,
    /// What each node does itself, children left out: the nodes of the program in the order in which they stand
    /// (pre-order: a node, then its body or `then`, then `otherwise`; a library's sweep is not entered).
    pub nodes: Vec<NodeCount>,
    /// Assumptions under which closed forms hold, such as `N >= 2`.
    pub assumptions: Vec<String>,
}

/// A number and its closed form.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantity {
    /// With the parameters' values.
    pub count: Count,
    /// In the parameters: `4*D^3 + 2*D^2`; with sums written out where there is no polynomial.
    pub form: String,
}

/// What a node does itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeCount {
    /// A loop: rounds. A branch: evaluations. Work, a library: how often it runs.
    pub runs: Count,
    /// Loads.
    pub load_ops: Count,
    /// Stores.
    pub store_ops: Count,
    /// Floating-point operations.
    pub flops: Count,
    /// Bytes that its loads and stores move.
    pub mem_bytes: Count,
}

/// Counts `program`.
pub fn count(_program: &Program) -> Result<Counts, Error> {
    Err(Error::Internal("not yet".into()))
}
