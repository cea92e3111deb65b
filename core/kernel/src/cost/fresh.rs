//! Lines that a device as a whole writes from end to end before anything reads them: they are not fetched first.

use std::collections::BTreeMap;

use crate::nest::{Node, Program};

/// Bytes of such arrays by the line of the source that writes them; on one core every store fetches its line.
pub(super) fn bytes(program: &Program, values: &[i64]) -> BTreeMap<u32, f64> {
    let mut walk =
        Walk { program, values, seen: vec![false; program.arrays.len()], around: Vec::new(), out: BTreeMap::new() };
    walk.nodes(&program.body, true);
    walk.out
}

struct Walk<'a> {
    program: &'a Program,
    values: &'a [i64],
    /// Whether an array was met before.
    seen: Vec<bool>,
    /// Variables of the loops around and how often each runs; none where that is not known beforehand.
    around: Vec<(crate::expr::Symbol, Option<f64>)>,
    out: BTreeMap<u32, f64>,
}

impl Walk<'_> {
    /// Goes through a block; `certain` is false where data or variables decide whether it runs.
    fn nodes(&mut self, body: &[Node], certain: bool) {
        for node in body {
            match node {
                Node::Loop(l) => {
                    let value = |expr: &crate::expr::Expr| {
                        let varies = self.around.iter().any(|(var, _)| expr.mentions(*var));
                        if varies { None } else { expr.value(self.values).ok().map(|value| value as f64) }
                    };
                    let rounds = match (value(&l.lower), value(&l.upper), value(&l.step)) {
                        (Some(lower), Some(upper), Some(step)) if step.abs() == 1.0 => {
                            Some(((upper - lower) / step).max(0.0))
                        }
                        _ => None,
                    };
                    self.around.push((l.var, rounds));
                    self.nodes(&l.body, certain);
                    self.around.pop();
                }
                Node::Branch(branch) => {
                    self.nodes(&branch.then, false);
                    self.nodes(&branch.otherwise, false);
                }
                Node::Work(work) => {
                    for access in &work.accesses {
                        let first = self.seen.get_mut(access.array).is_some_and(|seen| !std::mem::replace(seen, true));
                        if first && access.write && certain {
                            let bytes = access.index.as_ref().and_then(|index| self.written(access.array, index));
                            *self.out.entry(access.at.line).or_default() += bytes.unwrap_or_default();
                        }
                    }
                }
                Node::Library(library) => self.nodes(&library.sweep, certain),
            }
        }
    }

    /// Bytes that a store writes in whole lines: neighbours one after the other, of a known number.
    fn written(&self, array: usize, index: &[crate::expr::Expr]) -> Option<f64> {
        let array = self.program.arrays.get(array)?;
        let mentioned = |var| index.iter().any(|own| own.mentions(var));
        let (var, _) = self.around.iter().rev().find(|(var, rounds)| *rounds != Some(1.0) && mentioned(*var))?;
        if !index.last()?.mentions(*var) {
            return None;
        }
        let mut rounds = self.around.iter().filter(|(var, _)| mentioned(*var)).map(|(_, rounds)| *rounds);
        let elements = rounds.try_fold(1.0, |all, rounds| rounds.map(|rounds| all * rounds))?;
        let held: f64 = array.dims.iter().map(|dim| dim.value(self.values).map_or(0.0, |dim| dim as f64)).product();
        Some(elements.min(held) * array.element.bytes() as f64)
    }
}
