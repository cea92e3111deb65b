//! From calls to a trace.

use super::calls::{Calls, Node};
use super::lives::Lives;
use super::names::{Name, Phase, operation};
use super::tree::Tree;
use super::visit::{EventKind, UseMode, Visit};
use crate::error::{Error, Place};
use crate::progress::{Flow, Progress};
use crate::trace::{Mode, Tensor, Trace, TraceBuilder};

/// The most marks: a chart cannot show more.
const MOST_MARKS: usize = 1000;

impl Calls {
    /// Turns the calls into a trace. `progress` is asked between the steps.
    pub(in crate::import) fn trace(mut self, progress: &mut dyn Progress) -> Result<Trace, Error> {
        let mut step = |done, what| match progress.report(done, 4, what) {
            Flow::Cancel => Err(Error::Cancelled),
            Flow::Continue => Ok(()),
        };
        step(0, "ordering the calls")?;
        self.complete();
        let tree = Tree::new(&self)?;
        step(1, "choosing what counts")?;
        let mut visit = Visit::new(&self);
        visit.all(&tree);
        step(2, "separating the lives of storages")?;
        visit.events.sort_unstable_by_key(|e| (e.at, e.what, e.turn));
        let lives = Lives::new(&self, &visit, &tree.parents);
        step(3, "building the trace")?;
        self.build(&visit, lives, tree.orphans)
    }

    /// Bytes of the rows that a look-up reads of its table.
    fn rows(&self, node: &Node) -> Option<u64> {
        let result = self.outputs(node).first()?.bytes;
        // A bag sums up several rows: as many as there are indices for each offset.
        match self.inputs(node) {
            [_, indices, offsets, ..] if self.names[node.name as usize].text.contains("_bag") => {
                let rows = u128::from(result) * u128::from(indices.bytes) / u128::from(offsets.bytes.max(1));
                u64::try_from(rows).ok()
            }
            _ => Some(result),
        }
    }

    fn build(&self, visit: &Visit<'_>, mut lives: Lives, orphans: u64) -> Result<Trace, Error> {
        let mut builder = TraceBuilder::new("");
        let mut numbers = vec![0u32; self.storages.len()];
        let (mut phase, mut marks) = (None, 0);
        let trained = visit.phases.iter().flatten().any(|phase| *phase != Phase::Forward);
        let (mut again, mut looked_up) = (0u64, 0u64);
        for event in visit.events.iter().filter(|event| event.what == EventKind::Uses) {
            let node = &self.nodes[event.node as usize];
            let Name { text: name, looks_up, .. } = &self.names[node.name as usize];
            let rows = if *looks_up { self.rows(node) } else { None };
            let now = visit.phases[event.node as usize].unwrap_or(Phase::Forward);
            if trained && phase != Some(now) && marks < MOST_MARKS {
                builder.mark(now.label());
                phase = Some(now);
                marks += 1;
            }
            let op = operation(name);
            let range = event.range.0 as usize..event.range.1 as usize;
            let uses = &visit.uses[range.clone()];
            // The work waits for the largest input.
            let read = uses.iter().enumerate().filter(|(_, used)| used.mode == UseMode::Read);
            let largest = read
                .max_by_key(|(at, used)| (self.mentions[used.mention as usize].bytes, std::cmp::Reverse(*at)))
                .map_or(0, |(at, _)| at);
            for (at, (used, life)) in uses.iter().zip(&lives.of_use[range]).enumerate() {
                let mention = &self.mentions[used.mention as usize];
                let life = &mut lives.all[*life as usize];
                let (storage, device) = self.storages[mention.storage as usize];
                let device = &self.devices[usize::from(device)];
                let table = mention.argument == 0 && used.mode == UseMode::Read && !life.born;
                if let Some(bytes) = rows.filter(|bytes| table && *bytes < life.bytes()) {
                    looked_up += 1;
                    let name = format!("storage {storage} ({device}) {name} rows[{}]", node.id);
                    let rows = builder.tensor(Tensor { name, bytes, layer: None, stride: 1, kind: life.kind() })?;
                    builder.access_with(rows, op, Mode::Read, 0.0)?;
                    continue;
                }
                let tensor = match life.tensor {
                    Some(tensor) => tensor,
                    None => {
                        let number = &mut numbers[mention.storage as usize];
                        *number += 1;
                        again += u64::from(*number > 1);
                        let which = if *number > 1 { format!(" #{number}") } else { String::new() };
                        let mut called = format!("storage {storage} ({device}){which} {name}");
                        called.shrink_to_fit();
                        let tensor = builder.tensor(Tensor {
                            name: called,
                            bytes: life.bytes(),
                            layer: None,
                            stride: 1,
                            kind: life.kind(),
                        })?;
                        life.tensor = Some(tensor);
                        tensor
                    }
                };
                let mode = match used.mode {
                    UseMode::Read => Mode::Read,
                    UseMode::Write => Mode::Write,
                    UseMode::Replace if mention.bytes >= life.bytes() => Mode::Write,
                    UseMode::Update | UseMode::Replace => Mode::Update,
                };
                let flops = if event.works && at == largest { f64::from(node.flops) } else { 0.0 };
                builder.access_with(tensor, op, mode, flops)?;
            }
        }
        if builder.is_empty() {
            let problem = format!("none of its {} nodes is an operator that uses a tensor", self.nodes.len());
            let cure = "Record operators with their tensors: start the observer before the step, stop it after";
            return Err(Error::input(&self.input, Place::Whole, problem, cure));
        }
        let counts = &visit.counts;
        builder.warn(format!(
            "Of {} nodes, {} are operators ({} without operators inside). {} count, {} of which work beside operators \
             inside them. Not counted: {} whose work operators inside them do, {} views, {} that touch no element, {} \
             without tensors",
            self.nodes.len(),
            counts.operators,
            counts.leaves,
            counts.counted,
            counts.not_leaves,
            counts.covered,
            counts.views,
            counts.no_data,
            counts.without_tensors,
        ));
        if again > 0 {
            builder.warn(format!(
                "{again} tensors lie where an earlier one lay: an address that is returned as new memory is a new tensor"
            ));
        }
        if looked_up > 0 {
            builder.warn(format!(
                "{looked_up} look-ups read rows of a table, and the file does not say which rows: those of each look-up \
                 are an object of their own"
            ));
        }
        if self.empty > 0 {
            builder
                .warn(format!("{} times a tensor without elements (or without memory) is named: left out", self.empty));
        }
        if orphans > 0 {
            builder.warn(format!("{orphans} nodes name a parent that is not in the file; they stand at the top"));
        }
        if marks >= MOST_MARKS {
            builder.warn(format!("Marks end after the first {MOST_MARKS} changes of phase"));
        }
        builder.finish(&self.input)
    }
}
