//! What strides cost beyond the lines that they touch: lines that meet in few sets of a cache, and pages whose translation
//! is not at hand.

use std::collections::{BTreeMap, BTreeSet};

use super::target::Target;
use super::vector::{address, together};
use crate::nest::{Access, Loop, Node, Program};

/// What was found, by line of the source.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Strides {
    /// Accesses that miss in each level because lines push each other out of their sets, and those of them that store.
    pub(super) conflicts: BTreeMap<u32, Vec<[f64; 2]>>,
    /// Stores that each go to another line than the one before.
    pub(super) scattered: BTreeMap<u32, f64>,
    /// Translations of addresses that have to be looked up.
    pub(super) walks: BTreeMap<u32, f64>,
    /// The same, in words.
    pub(super) notes: BTreeSet<String>,
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

impl Strides {
    /// Adds the accesses of the innermost loop `l`, which has so many rounds in all.
    pub(super) fn add(&mut self, program: &Program, l: &Loop, values: &mut [i64], target: &Target, runs: f64) {
        let var = l.var.0 as usize;
        let (Ok(lower), Ok(upper), Ok(step)) = (l.lower.value(values), l.upper.value(values), l.step.value(values))
        else {
            return;
        };
        let rounds = ((upper as f64 - lower as f64) / step as f64).ceil().max(0.0);
        let mut known = BTreeSet::new();
        let work = l.body.iter().filter_map(|node| if let Node::Work(work) = node { Some(work) } else { None });
        for access in work.flat_map(|work| &work.accesses) {
            let mut at = |value: i64| {
                *values.get_mut(var)? = value;
                address(program, access, values, l.var)
            };
            let places = (at(lower), lower.checked_add(step).and_then(&mut at));
            if let Some(own) = values.get_mut(var) {
                *own = lower;
            }
            let Some(array) = program.arrays.get(access.array) else { continue };
            if access.index.is_none() {
                let together = together(program, access, values, Some(l.var));
                self.drawn(program, access, target, (runs, together));
            }
            let (Some(first), Some(second)) = places else { continue };
            let bytes = i128::from(array.element.bytes());
            let Ok(stride) = u64::try_from(((second - first) * bytes).abs()) else { continue };
            // Neighbours in a line are one access.
            let line = (first * bytes).div_euclid(i128::from(target.line_bytes));
            if stride < target.line_bytes || !known.insert((access.array, stride, line, access.write)) {
                continue;
            }
            if access.write {
                *self.scattered.entry(access.at.line).or_default() += runs;
            }
            self.sets(access, stride, target, [rounds, runs]);
            self.pages(access, stride, target, [rounds, runs]);
        }
    }

    /// Lines a stride apart that meet in the same sets.
    fn sets(&mut self, access: &Access, stride: u64, target: &Target, [rounds, runs]: [f64; 2]) {
        for (i, (level, ways)) in target.levels.iter().zip(&target.ways).enumerate() {
            let Some(ways) = ways.map(u64::from) else { continue };
            let sets = level.capacity_bytes / target.line_bytes / ways;
            if sets == 0 || !stride.is_multiple_of(target.line_bytes) {
                continue;
            }
            let apart = sets / divisor(sets, stride / target.line_bytes);
            // With more lines than the cache holds, those that leave are counted already.
            if rounds <= (apart * ways) as f64 || rounds > (level.capacity_bytes / target.line_bytes) as f64 {
                continue;
            }
            let all = self.conflicts.entry(access.at.line).or_insert_with(|| vec![[0.0; 2]; target.levels.len()]);
            if let Some([misses, stores]) = all.get_mut(i) {
                *misses += runs;
                *stores += if access.write { runs } else { 0.0 };
            }
            self.notes.insert(format!(
                "line {}: lines {stride} bytes apart meet in {apart} of the {sets} sets of {}, and push each other out",
                access.at.line, level.name
            ));
        }
    }

    /// Pages that a stride goes through before it comes back.
    fn pages(&mut self, access: &Access, stride: u64, target: &Target, [rounds, runs]: [f64; 2]) {
        let Some(pages) = target.core().and_then(|core| core.pages) else { return };
        let each = (stride as f64 / pages.bytes as f64).min(1.0);
        if rounds * each > f64::from(pages.known) {
            *self.walks.entry(access.at.line).or_default() += runs * each;
            self.notes.insert(format!(
                "line {}: {:.0} pages lie between two uses of one, and the core knows the translations of {}",
                access.at.line,
                rounds * each,
                pages.known
            ));
        }
    }

    /// An access at places that data decide: anywhere in its array, with so many bytes next to each other.
    fn drawn(&mut self, program: &Program, access: &Access, target: &Target, (runs, together): (f64, f64)) {
        let Some((array, pages)) = program.arrays.get(access.array).zip(target.core().and_then(|core| core.pages))
        else {
            return;
        };
        let values = program.values();
        // Where the first axes are known, it is in what they leave.
        let dims = array.dims.iter().skip(access.known[0].len());
        let elements: f64 = dims.map(|dim| dim.value(&values).map_or(0.0, |dim| dim as f64)).product();
        let all = elements * array.element.bytes() as f64 / pages.bytes as f64;
        let unknown = (1.0 - f64::from(pages.known) / all.max(1.0)).max(0.0);
        if unknown > 0.0 {
            // A page, or less of one, is translated once.
            let each = array.element.bytes() as f64 / together.min(pages.bytes as f64);
            *self.walks.entry(access.at.line).or_default() += runs * each * unknown;
            self.notes.insert(format!(
                "line {}: {} lies in {all:.0} pages, and the core knows the translations of {}",
                access.at.line, array.name, pages.known
            ));
        }
    }
}
