//! An order of nodes in which each comes after what it depends on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Dependency;

/// What waits for each node: `of[first[n]..first[n + 1]]`.
struct Followers {
    first: Vec<u32>,
    of: Vec<u32>,
}

impl Followers {
    fn new(nodes: usize, dependencies: &[Dependency]) -> Self {
        let mut first = vec![0u32; nodes + 1];
        for dependency in dependencies {
            first[dependency.of as usize + 1] += 1;
        }
        for at in 0..nodes {
            first[at + 1] += first[at];
        }
        let mut next = first.clone();
        let mut of = vec![0u32; dependencies.len()];
        for dependency in dependencies {
            let slot = &mut next[dependency.of as usize];
            of[*slot as usize] = dependency.node;
            *slot += 1;
        }
        Self { first, of }
    }

    fn of(&self, node: u32) -> &[u32] {
        &self.of[self.first[node as usize] as usize..self.first[node as usize + 1] as usize]
    }
}

/// Drops the control dependencies that are part of a cycle, and returns how many.
pub(super) fn drop_cycles(nodes: usize, dependencies: &mut Vec<Dependency>) -> u64 {
    let before = dependencies.len();
    // Both ends of a dependency that is part of a cycle are in one component, and the other way round.
    let component = components(&Followers::new(nodes, dependencies));
    dependencies.retain(|Dependency { node, of, data }| *data || component[*node as usize] != component[*of as usize]);
    (before - dependencies.len()) as u64
}

/// The strongly connected component of each node (Tarjan, "Depth-first search and linear graph algorithms", 1972), without
/// recursion.
fn components(followers: &Followers) -> Vec<u32> {
    const UNSEEN: u32 = u32::MAX;
    let nodes = followers.first.len() - 1;
    let (mut component, mut number, mut low) = (vec![UNSEEN; nodes], vec![UNSEEN; nodes], vec![0u32; nodes]);
    let (mut stack, mut path, mut seen) = (Vec::new(), Vec::new(), 0u32);
    for root in 0..nodes as u32 {
        if number[root as usize] != UNSEEN {
            continue;
        }
        path.push((root, followers.first[root as usize]));
        while let Some((node, next)) = path.last_mut() {
            let at = *node as usize;
            if number[at] == UNSEEN {
                (number[at], low[at]) = (seen, seen);
                seen += 1;
                stack.push(*node);
            }
            if *next < followers.first[at + 1] {
                let other = followers.of[*next as usize];
                *next += 1;
                if number[other as usize] == UNSEEN {
                    path.push((other, followers.first[other as usize]));
                } else if component[other as usize] == UNSEEN {
                    low[at] = low[at].min(number[other as usize]);
                }
                continue;
            }
            if low[at] == number[at] {
                while let Some(member) = stack.pop() {
                    component[member as usize] = at as u32;
                    if member as usize == at {
                        break;
                    }
                }
            }
            let lowest = low[at];
            path.pop();
            if let Some((above, _)) = path.last() {
                low[*above as usize] = low[*above as usize].min(lowest);
            }
        }
    }
    component
}

/// The nodes so that every one comes after what it depends on, the smaller of the `ids` first where there is a choice; a
/// node that depends on itself where there is no such order.
pub(super) fn order(ids: &[u64], dependencies: &[Dependency]) -> Result<Vec<u32>, u32> {
    let nodes = ids.len();
    let mut waits = vec![0u32; nodes];
    for dependency in dependencies {
        waits[dependency.node as usize] += 1;
    }
    let followers = Followers::new(nodes, dependencies);
    let ready = (0..nodes).filter(|at| waits[*at] == 0).map(|at| Reverse((ids[at], at as u32)));
    let mut ready: BinaryHeap<_> = ready.collect();
    let mut order = Vec::with_capacity(nodes);
    while let Some(Reverse((_, at))) = ready.pop() {
        order.push(at);
        for follower in followers.of(at) {
            let waits = &mut waits[*follower as usize];
            *waits -= 1;
            if *waits == 0 {
                ready.push(Reverse((ids[*follower as usize], *follower)));
            }
        }
    }
    if order.len() == nodes {
        return Ok(order);
    }
    // Who still waits, waits for one that still waits: following that leads into a cycle.
    let mut waits_for = vec![u32::MAX; nodes];
    for dependency in dependencies {
        if waits[dependency.node as usize] > 0 && waits[dependency.of as usize] > 0 {
            let slot = &mut waits_for[dependency.node as usize];
            *slot = (*slot).min(dependency.of);
        }
    }
    let mut at = waits_for.iter().position(|of| *of != u32::MAX).unwrap_or(0) as u32;
    let mut met = vec![false; nodes];
    while at != u32::MAX && !std::mem::replace(&mut met[at as usize], true) {
        at = waits_for[at as usize];
    }
    Err(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against reachability worked out by brute force, and the smallest ready id taken by looking at all.
        #[test]
        fn as_brute_force_orders(edges in proptest::collection::vec((0u32..8, 0u32..8, any::<bool>()), 0..20), ids in Just((0..8u64).collect::<Vec<_>>()).prop_shuffle()) {
            let all: Vec<Dependency> = edges.iter().map(|(node, of, data)| Dependency { node: *node, of: *of, data: *data }).collect();
            let mut reaches = [[false; 8]; 8];
            all.iter().for_each(|d| reaches[d.node as usize][d.of as usize] = true);
            for k in 0..8 {
                for i in 0..8 {
                    for j in 0..8 {
                        reaches[i][j] |= reaches[i][k] && reaches[k][j];
                    }
                }
            }
            let wanted: Vec<Dependency> = all.iter().copied().filter(|d| d.data || !reaches[d.of as usize][d.node as usize]).collect();
            let mut kept = all.clone();
            prop_assert_eq!(drop_cycles(8, &mut kept), (all.len() - wanted.len()) as u64);
            prop_assert_eq!(&kept, &wanted);
            let mut left: Vec<u32> = (0..8).collect();
            let mut naive = Vec::new();
            while let Some(next) = left.iter().copied().filter(|n| wanted.iter().all(|d| d.node != *n || naive.contains(&d.of))).min_by_key(|n| ids[*n as usize]) {
                naive.push(next);
                left.retain(|n| *n != next);
            }
            match order(&ids, &kept) {
                Ok(order) => prop_assert_eq!(order, naive),
                Err(at) => prop_assert!(!left.is_empty() && reaches[at as usize][at as usize]),
            }
        }
    }
}
