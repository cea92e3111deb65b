//! What a tuned library moves beyond touching its operands once.
//!
//! How it orders its loops is unknown, so the answer lies between what no order can go below and what a simple
//! blocking reaches.

use super::meter::Meter;
use super::plan::{CachePlan, Choice};
use crate::expr::Expr;
use crate::nest::{At, Library, Node};
use accel_ground::error::Error;

/// Misses of a library beyond its sweep, in one cache.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    /// At least.
    pub(super) low: f64,
    /// With the blocking.
    pub(super) high: f64,
    /// `high` by line of the source.
    pub(super) by_line: Vec<(u32, f64)>,
}

struct Walk<'p, 'a, 'm> {
    plan: &'p CachePlan<'a>,
    capacities: &'p [u64],
    values: Vec<i64>,
    found: Vec<Extra>,
    meter: &'p mut Meter<'m>,
}

/// Whether there is a library in `nodes`.
pub(super) fn any(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Loop(l) => any(&l.body),
        Node::Branch(branch) => any(&branch.then) || any(&branch.otherwise),
        Node::Work(_) => false,
        Node::Library(_) => true,
    })
}

/// What the libraries of `nodes` add in caches of `capacities` lines.
pub(super) fn extra(
    plan: &CachePlan<'_>,
    nodes: &[Node],
    capacities: &[u64],
    meter: &mut Meter<'_>,
) -> Result<Vec<Extra>, Error> {
    let found = vec![Extra::default(); capacities.len()];
    let mut walk = Walk { plan, capacities, values: plan.values.clone(), found, meter };
    walk.nodes(nodes, 1.0)?;
    Ok(walk.found)
}

impl Walk<'_, '_, '_> {
    fn nodes(&mut self, nodes: &[Node], times: f64) -> Result<(), Error> {
        for node in nodes {
            self.meter.spend(1)?;
            match node {
                Node::Library(library) => self.library(library, times)?,
                Node::Branch(branch) => {
                    for (arm, holds) in [(&branch.then, true), (&branch.otherwise, false)] {
                        if any(arm) {
                            let share = Choice { condition: &branch.condition, at: branch.at }.share(&self.values)?;
                            let share = if holds { share } else { 1.0 - share };
                            if share > 0.0 {
                                self.nodes(arm, times * share)?;
                            }
                        }
                    }
                }
                Node::Loop(l) if any(&l.body) => {
                    let (first, rounds, step) = self.plan.rounds_of(l, &self.values)?;
                    // Where nothing within mentions the variable, all iterations are like the first.
                    let (runs, times) =
                        if mentions(&l.body, l.var) { (rounds, times) } else { (1, times * rounds as f64) };
                    for round in 0..runs.min(rounds) {
                        if let Some(var) = self.values.get_mut(l.var.0 as usize) {
                            *var = first.wrapping_add(step.wrapping_mul(round as i64));
                        }
                        self.nodes(&l.body, times)?;
                    }
                }
                Node::Loop(_) | Node::Work(_) => {}
            }
        }
        Ok(())
    }

    fn library(&mut self, library: &Library, times: f64) -> Result<(), Error> {
        let extent = |expr: &Expr, at: At| Ok(super::plan::value(expr, &self.values, at)?.max(0) as f64);
        let product = Product {
            m: extent(&library.m, library.at)?,
            n: extent(&library.n, library.at)?,
            k: extent(&library.k, library.at)?,
        };
        let times = times * extent(&library.batch, library.at)?;
        let per_line = self.plan.line_bytes as f64 / library.element.bytes() as f64;
        // A convolution is counted like a product of larger matrices than it reads: the bound does not hold for it.
        let bounded = !library.name.contains("conv");
        for (lines, extra) in self.capacities.iter().zip(&mut self.found) {
            let elements = *lines as f64 * per_line;
            let high = times * product.blocked(elements) / per_line;
            extra.high += high;
            if bounded {
                extra.low += (times * product.least(elements) / per_line).min(high);
            }
            match extra.by_line.iter_mut().find(|(line, _)| *line == library.at.line) {
                Some((_, misses)) => *misses += high,
                None => extra.by_line.push((library.at.line, high)),
            }
        }
        Ok(())
    }
}

/// An `m x k` by `k x n` product. What follows counts elements moved beyond the `mk + kn + mn` of touching each once.
#[derive(Debug, Clone, Copy)]
struct Product {
    m: f64,
    n: f64,
    k: f64,
}

impl Product {
    fn once(self) -> f64 {
        self.m * self.k + self.k * self.n + self.m * self.n
    }

    /// No order of the loops moves less than `2 m n k / sqrt(S) - 2 S` elements into a memory of `S` (Smith, Lowery,
    /// Langou and van de Geijn, "A Tight I/O Lower Bound for Matrix Multiplication", 2019; as an order of growth Hong
    /// and Kung, "I/O complexity: The red-blue pebble game", 1981).
    fn least(self, memory: f64) -> f64 {
        let moved = 2.0 * self.m * self.n * self.k / memory.max(1.0).sqrt() - 2.0 * memory;
        (moved - self.once()).max(0.0)
    }

    /// Square blocks of the three matrices, each a third of the memory: a block of the result stays while `A` is read
    /// once for each column of blocks and `B` once for each row. Nothing, where one matrix fits beside a vector of
    /// each of the others: it stays, and they stream by.
    fn blocked(self, memory: f64) -> f64 {
        let Self { m, n, k } = self;
        let stays = |matrix: f64, others: f64| matrix + others <= memory;
        if stays(m * k, m + k) || stays(k * n, k + n) || stays(m * n, m + n) {
            return 0.0;
        }
        let side = (memory / 3.0).sqrt().floor().max(1.0);
        m * k * ((n / side).ceil() - 1.0) + k * n * ((m / side).ceil() - 1.0)
    }
}

/// Whether what decides the work of libraries in `nodes` mentions `var`.
fn mentions(nodes: &[Node], var: crate::expr::Symbol) -> bool {
    nodes.iter().any(|node| match node {
        Node::Loop(l) => any(&l.body) && (l.lower.mentions(var) || l.upper.mentions(var) || mentions(&l.body, var)),
        Node::Branch(branch) => {
            (any(&branch.then) || any(&branch.otherwise))
                && (Choice { condition: &branch.condition, at: branch.at }.mentions(var)
                    || mentions(&branch.then, var)
                    || mentions(&branch.otherwise, var))
        }
        Node::Work(_) => false,
        Node::Library(library) => {
            [&library.batch, &library.m, &library.n, &library.k].iter().any(|extent| extent.mentions(var))
        }
    })
}
