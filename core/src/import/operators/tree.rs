//! The tree of calls.

use super::NONE;
use super::call::NO_PARENT;
use super::calls::Calls;
use crate::error::{Error, Place};

/// The tree of calls.
pub(super) struct Tree {
    /// Children of node `n`: `children[first[n]..first[n + 1]]`, in order of their ids.
    pub(super) first: Vec<u32>,
    pub(super) children: Vec<u32>,
    pub(super) roots: Vec<u32>,
    pub(super) parents: Vec<u32>,
    /// Nodes whose parent is not in the file.
    pub(super) orphans: u64,
}

impl Tree {
    /// Of nodes in order of their ids.
    pub(super) fn new(calls: &Calls) -> Result<Self, Error> {
        let nodes = &calls.nodes;
        let refuse = |id: u64, problem: String| {
            let cure = "Check that the file is not damaged, and holds one trace";
            Error::input(&calls.input, Place::Key(format!("nodes, id {id}")), problem, cure)
        };
        for pair in nodes.windows(2) {
            if let [a, b] = pair
                && a.id == b.id
            {
                let names = [a, b].map(|n| calls.names[n.name as usize].text.as_str());
                let problem = format!("two nodes have this id ({} and {})", names[0], names[1]);
                return Err(refuse(a.id, problem));
            }
        }
        let mut orphans = 0;
        let mut parents = vec![NONE; nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            // The profiler's root is its own parent.
            if node.parent == NO_PARENT || (node.parent == node.id && !node.operator) {
                continue;
            }
            match nodes.binary_search_by_key(&node.parent, |n| n.id) {
                Ok(parent) => parents[at] = parent as u32,
                Err(_) => orphans += 1,
            }
        }
        // Every node leads to a root: paths are followed until they meet one that does.
        let mut walk = vec![NONE; nodes.len()];
        for start in 0..nodes.len() {
            let mut at = start;
            while walk[at] == NONE {
                walk[at] = start as u32;
                match parents[at] {
                    NONE => break,
                    parent if walk[parent as usize] == start as u32 => {
                        let node = &nodes[parent as usize];
                        let name = &calls.names[node.name as usize].text;
                        return Err(refuse(node.id, format!("{name} is above itself: its parents form a cycle")));
                    }
                    parent => at = parent as usize,
                }
            }
        }
        let mut first = vec![0u32; nodes.len() + 1];
        let mut roots = Vec::new();
        for (at, parent) in parents.iter().enumerate() {
            match *parent {
                NONE => roots.push(at as u32),
                parent => first[parent as usize + 1] += 1,
            }
        }
        for at in 0..nodes.len() {
            first[at + 1] += first[at];
        }
        let mut next = first.clone();
        let mut children = vec![0u32; nodes.len() - roots.len()];
        for (at, parent) in parents.iter().enumerate().filter(|(_, parent)| **parent != NONE) {
            let slot = &mut next[*parent as usize];
            children[*slot as usize] = at as u32;
            *slot += 1;
        }
        Ok(Self { first, children, roots, parents, orphans })
    }
}
