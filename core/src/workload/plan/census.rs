//! What the operators of a model move at least, however they are tiled: [`Group`]s of its steps, and a bound for its
//! trace.
//!
//! Operators are fused where it always pays: one that works element by element takes what the operator before it has
//! just made, and so neither is written nor read in between. Two linear layers with such an operator between them may be
//! a [`Chain`], if that moves less. Norms are not fused: they need whole rows first.

use std::collections::{BTreeMap, BTreeSet};

use super::StoredTensor;
use super::listing::List;
use super::nest::{nest, shape};
use super::step::{Operator, Step, Val};
use super::tiles::{Order, Purpose, Tiles};
use crate::error::Error;
use crate::tiling::{Chain, Group, Product, Rows, Work};
use crate::trace::{Kind, Mode, Op};

/// Ways to do a group of operators.
type Ways = Vec<Vec<Work>>;

/// What was seen of the operators of a plan.
#[derive(Default)]
pub(crate) struct Census {
    /// Ways to do each group, and how often it is done.
    groups: BTreeMap<Ways, u64>,
    /// The operators, where they are asked for.
    pub(super) list: List,
    /// Bytes that the trace moves at least.
    least_bytes: u64,
    bounds: BTreeMap<Product, u64>,
    /// Stored tensors that were used before.
    seen: BTreeSet<u32>,
    operators: u64,
    /// Operators that are larger than fast memory and have no tiles to choose.
    untiled: u64,
}

/// Whether any order walks over the tiles of a product: only the best mapping knows groups and the backward pass of images.
fn forward(product: &Product) -> bool {
    product.batch == 1 && product.sum == 2
}

impl Census {
    /// Adds the operators of a step.
    pub(super) fn step(
        &mut self,
        step: &Step,
        last: &[usize],
        stored: &[StoredTensor],
        tiles: &Tiles,
    ) -> Result<(), Error> {
        match tiles.purpose {
            Purpose::Trace => self.bound(step, stored, tiles),
            Purpose::Groups => self.group(step, last, stored),
            Purpose::List(layer) => self.list.step(step, stored, layer),
        }
    }

    /// The groups so far.
    pub(crate) fn groups(self) -> Vec<Group> {
        self.groups.into_iter().map(|(ways, times)| Group { ways, times }).collect()
    }

    /// Bytes that miss in every schedule of the trace.
    pub(super) fn least_bytes(&self) -> u64 {
        self.least_bytes
    }

    /// What to say of operators that have no tiles to choose.
    pub(super) fn untiled(&self) -> Option<String> {
        (self.untiled > 0).then(|| {
            format!(
                "{} operators are larger than fast memory and move each tile once all the same: so do products under a tile \
                 size without a dataflow, those whose operands are laid out in another way, and convolutions in groups \
                 under a dataflow",
                self.untiled
            )
        })
    }

    /// Adds the bounds of products. What an operator finds in fast memory, of operands used before or of the buffer that it
    /// writes to, it need not load.
    fn bound(&mut self, step: &Step, stored: &[StoredTensor], tiles: &Tiles) -> Result<(), Error> {
        let capacity_bytes = tiles.capacity_bytes;
        let mut made = BTreeSet::new();
        for operator in &step.operators {
            // Where each tile is used once, no bound on what walks over them holds.
            let walked = |product: &Product| match tiles.order {
                Order::Mapped => true,
                Order::Dataflow(_) => forward(product),
                Order::Once => false,
            };
            if let Some(product) = nest(step, stored, operator).filter(walked) {
                let bound = match self.bounds.get(&product) {
                    Some(bound) => *bound,
                    None => {
                        let bound = product.bound_bytes(capacity_bytes)?;
                        self.bounds.insert(product, bound);
                        bound
                    }
                };
                let found = operator.product.map_or([None; 3], |p| {
                    let before = |value: Val| match value {
                        Val::Stored(index) => self.seen.contains(&index),
                        Val::Temp(_) => made.contains(&value),
                    };
                    [
                        Some(p.a).filter(|a| before(*a)),
                        Some(p.b).filter(|b| before(*b)),
                        Some(p.c).filter(|_| self.operators > 0),
                    ]
                });
                let sizes = found.into_iter().flatten().map(|value| shape(step, stored, value).bytes());
                let found = sizes.sum::<Result<u64, Error>>().unwrap_or(u64::MAX);
                self.least_bytes = self.least_bytes.saturating_add(bound.saturating_sub(found.min(capacity_bytes)));
            } else if operator.product.is_some() {
                let bytes = operator.values().map(|value| shape(step, stored, value).bytes());
                self.untiled += u64::from(bytes.sum::<Result<u64, Error>>().is_ok_and(|bytes| bytes > capacity_bytes));
            }
            for value in operator.values() {
                match value {
                    Val::Stored(index) => drop(self.seen.insert(index)),
                    Val::Temp(_) => drop(made.insert(value)),
                }
            }
            self.operators += 1;
        }
        Ok(())
    }

    /// Groups the operators of a step.
    fn group(&mut self, step: &Step, last: &[usize], stored: &[StoredTensor]) -> Result<(), Error> {
        let of = Values { step, last, stored };
        let mut at = 0;
        while at < step.operators.len() {
            let (ways, next) = match of.mlp(at)? {
                Some(found) => found,
                None => {
                    let (work, next) = of.fused(at)?;
                    (vec![work], next)
                }
            };
            *self.groups.entry(ways).or_insert(0) += 1;
            at = next;
        }
        Ok(())
    }
}

/// The tensors of a step.
struct Values<'a> {
    step: &'a Step,
    last: &'a [usize],
    stored: &'a [StoredTensor],
}

impl Values<'_> {
    fn bytes(&self, value: Val) -> Result<u64, Error> {
        shape(self.step, self.stored, value).bytes()
    }

    /// Whether operator `at` is the last to use a temporary tensor.
    fn dies(&self, value: Val, at: usize) -> bool {
        matches!(value, Val::Temp(t) if self.last[t as usize] == at)
            && !self.step.inputs.contains(&value)
            && self.step.output != Some(value)
    }

    fn operator(&self, at: usize) -> Option<&Operator> {
        self.step.operators.get(at)
    }

    /// Bytes of what is read besides `but`, and of what is written besides it.
    fn moved(&self, operator: &Operator, but: &[Val]) -> Result<u64, Error> {
        let mut read = BTreeSet::new();
        // Collected at once, they would be sorted.
        read.extend(operator.reads.iter().chain(&operator.streams).copied());
        let sizes = read.iter().filter(|value| !but.contains(value)).map(|value| self.bytes(*value));
        let reads = sizes.sum::<Result<u64, Error>>()?;
        let mut writes = 0;
        let mut appended = false;
        for (value, mode) in operator.writes.iter().filter(|(value, _)| !but.contains(value)) {
            match (value, mode) {
                // Into a cache goes what was read, and no more.
                (Val::Stored(index), Mode::Update) if self.stored[*index as usize].kind == Kind::KvCache => {
                    appended = true
                }
                (_, Mode::Update) => writes += 2 * self.bytes(*value)?,
                (_, Mode::Read | Mode::Write) => writes += self.bytes(*value)?,
            }
        }
        Ok(reads + writes + if appended { reads } else { 0 })
    }

    /// What operator `at` does on its own.
    fn own(&self, at: usize) -> Result<Vec<Work>, Error> {
        let Some(operator) = self.operator(at) else { return Ok(Vec::new()) };
        let mut work = Vec::new();
        let moved = if let Some(product) = nest(self.step, self.stored, operator) {
            work.push(Work::Product(product));
            let operands = operator.product.iter().flat_map(|product| [product.a, product.b, product.c]);
            self.moved(operator, &operands.collect::<Vec<_>>())?
        } else if operator.chains.is_empty() {
            self.moved(operator, &[])?
        } else {
            work.extend(operator.chains.iter().copied().map(Work::Chain));
            // Beside queries, keys, values and output: biases.
            let biases = operator.streams.iter().filter(
                |value| matches!(value, Val::Stored(index) if self.stored[*index as usize].kind == Kind::Weights),
            );
            biases.map(|value| self.bytes(*value)).sum::<Result<u64, Error>>()?
        };
        work.extend((moved > 0).then_some(Work::Once(moved)));
        Ok(work)
    }

    /// Operator `at` with those that take what it has just made, element by element, and the operator behind them.
    fn fused(&self, at: usize) -> Result<(Vec<Work>, usize), Error> {
        let mut work = self.own(at)?;
        let Some(first) = self.operator(at) else { return Ok((work, at + 1)) };
        let mut made =
            first.product.map(|product| product.c).filter(|_| work.iter().any(|work| matches!(work, Work::Product(_))));
        let mut next = at + 1;
        while let (Some(value), Some(operator)) = (made, self.operator(next)) {
            let takes = operator.reads.contains(&value) && self.dies(value, next) && elementwise(operator);
            let [(out, Mode::Write)] = operator.writes[..] else { break };
            if !takes || self.bytes(out)? != self.bytes(value)? {
                break;
            }
            let moved = self.moved(operator, &[value, out])?;
            work.extend((moved > 0).then_some(Work::Once(moved)));
            made = Some(out);
            next += 1;
        }
        Ok((work, next))
    }

    /// Two linear layers from operator `at` on, with the ways to do them and the operator behind them.
    fn mlp(&self, at: usize) -> Result<Option<(Ways, usize)>, Error> {
        let linear = |at: usize| {
            let operator = self.operator(at)?;
            let nest = nest(self.step, self.stored, operator)?;
            let Rows::Matrix(_) = nest.rows else { return None };
            Some((operator, operator.product?, nest))
        };
        let Some((first, up, up_nest)) = linear(at) else { return Ok(None) };
        // The gate of a gated MLP reads the same rows.
        let gate = linear(at + 1).filter(|(_, gate, nest)| gate.a == up.a && *nest == up_nest);
        let factors = 1 + usize::from(gate.is_some());
        let Some(active) = self.operator(at + factors).filter(|operator| elementwise(operator)) else {
            return Ok(None);
        };
        let Some((_, down, down_nest)) = linear(at + factors + 1) else { return Ok(None) };
        let middles: Vec<Val> = std::iter::once(up.c).chain(gate.map(|(_, gate, _)| gate.c)).collect();
        let [(out, Mode::Write)] = active.writes[..] else { return Ok(None) };
        let joins = active.streams.is_empty()
            && active.reads.len() == factors
            && middles.iter().all(|middle| active.reads.contains(middle) && self.dies(*middle, at + factors))
            && down.a == out
            && self.dies(out, at + factors + 1)
            && (up_nest.rows, up_nest.n) == (down_nest.rows, down_nest.k);
        if !joins {
            return Ok(None);
        }
        let Rows::Matrix(rows) = up_nest.rows else { return Ok(None) };
        let chain = Chain {
            batch: 1,
            rows,
            inputs: up_nest.k,
            outputs: down_nest.n,
            middle: up_nest.n,
            factors: factors as u64,
            carried: 0,
            pairs: rows.saturating_mul(up_nest.n),
            bits: [up_nest.bits[0], up_nest.bits[1].max(down_nest.bits[1]), down_nest.bits[2]],
        };
        let mut apart = Vec::new();
        let mut next = at;
        while next <= at + factors + 1 {
            let (work, behind) = self.fused(next)?;
            apart.extend(work);
            next = behind;
        }
        // Biases, and what follows the second layer, are the same either way.
        let mut together = vec![Work::Chain(chain)];
        let biases = self.moved(first, &[up.a, up.b, up.c])?
            + gate.map_or(Ok(0), |(operator, gate, _)| self.moved(operator, &[gate.a, gate.b, gate.c]))?;
        together.extend((biases > 0).then_some(Work::Once(biases)));
        let (rest, _) = self.fused(at + factors + 1)?;
        together.extend(rest.into_iter().filter(|work| matches!(work, Work::Once(_))));
        Ok(Some((vec![apart, together], next)))
    }
}

/// Whether an operator works element by element, and needs no whole rows.
fn elementwise(operator: &Operator) -> bool {
    operator.in_place && matches!(operator.op, Op::Relu | Op::Add)
}
