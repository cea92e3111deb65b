//! What a plan keeps of a graph before it runs: weights, inputs, and the shapes that the file states.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::graph::{Graph, short};
use super::proto::{self, FLOAT, INT64};
use super::shape::{Known, count, dims_of, values_of};
use crate::error::{Error, Place};
use crate::trace::Kind;
use crate::workload::plan::{Planner, Shape};

/// How the free dimensions of a graph are filled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Free {
    /// The first dimension of an input.
    pub(super) batch: u64,
    /// Further ones.
    pub(super) tokens: Option<u64>,
}

/// Tokens where nobody says otherwise, as in every other model.
pub(super) const TOKENS: u64 = 128;

/// The free dimensions that were filled.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// By their names; those without one by the input and their place in it.
    sizes: BTreeMap<String, u64>,
    /// Whether any is the batch, and whether any is that of tokens.
    batch: bool,
    tokens: bool,
}

impl Filled {
    /// The size of dimension `at` of an input: as its name says, else the first is the batch and others are tokens.
    fn fill(&mut self, input: &str, at: usize, name: &str, free: Free) -> u64 {
        let plain = name.to_ascii_lowercase();
        let is_batch = plain == "n" || plain.starts_with("batch");
        let is_tokens = plain.starts_with("seq") || plain.ends_with("length") || plain == "tokens";
        let batch = is_batch || (at == 0 && !is_tokens);
        let label = if name.is_empty() { format!("{input}[{at}]") } else { name.to_owned() };
        *self.sizes.entry(label).or_insert_with(|| {
            *(if batch { &mut self.batch } else { &mut self.tokens }) = true;
            if batch { free.batch } else { free.tokens.unwrap_or(TOKENS) }
        })
    }
}

/// A graph whose weights are part of a plan.
pub(super) struct Prepared<'a> {
    pub(super) graph: &'a Graph,
    pub(super) layers: Vec<u32>,
    pub(super) weights: FxHashMap<&'a str, Known>,
    /// Shapes that the file states.
    pub(super) stated: FxHashMap<&'a str, Known>,
    /// What any operator or the caller reads.
    pub(super) read: FxHashSet<&'a str>,
    pub(super) inputs: Vec<&'a str>,
}

impl Graph {
    /// Adds the weights to a plan.
    pub(super) fn prepare<'a>(&'a self, planner: &mut Planner, free: Free) -> Result<Prepared<'a>, Error> {
        let layers = self.layers();
        let mut layer_of: FxHashMap<&str, u32> = FxHashMap::default();
        for (node, layer) in self.graph.nodes.iter().zip(&layers) {
            for name in &node.inputs {
                layer_of.entry(name).or_insert(*layer);
            }
        }
        let mut weights = FxHashMap::default();
        for tensor in &self.graph.initializers {
            let known = self.weight(planner, tensor, &tensor.name, layer_of.get(tensor.name.as_str()).copied())?;
            weights.insert(tensor.name.as_str(), known);
        }
        self.constants(planner, &layer_of, &mut weights)?;
        let read =
            self.graph.nodes.iter().flat_map(|node| &node.inputs).chain(self.graph.outputs.iter().map(|o| &o.name));
        let read = read.map(String::as_str).collect();
        let stated = FxHashMap::default();
        let mut stored = Prepared { graph: self, layers, weights, stated, read, inputs: Vec::new() };
        let mut filled = Filled::default();
        for info in &self.graph.inputs {
            if stored.weights.contains_key(info.name.as_str()) {
                continue;
            }
            let known = self.state(info, &mut filled, Some(free))?.ok_or_else(|| {
                let place = Place::Key(format!("input {}", short(&info.name)));
                Error::input(&self.input, place, "it has no shape", "Export the model with the shapes of its inputs")
            })?;
            stored.stated.insert(info.name.as_str(), known);
            stored.inputs.push(info.name.as_str());
        }
        if free.batch != 1 && !filled.batch {
            let problem = "the shapes in the graph are fixed, so that it takes one batch as it is";
            let cure = "Choose 1, or export the model with a dynamic first dimension";
            return Err(Error::field("batch_size", free.batch, problem, cure));
        }
        if let Some(tokens) = free.tokens.filter(|_| !filled.tokens) {
            let problem = "no dimension of the graph is left free for tokens";
            return Err(Error::field("prompt_tokens", tokens, problem, "Leave it out: the graph has its own lengths"));
        }
        for info in self.graph.values.iter().chain(&self.graph.outputs) {
            if let Some(known) = self.state(info, &mut filled, None)? {
                stored.stated.insert(info.name.as_str(), known);
            }
        }
        if !filled.sizes.is_empty() {
            let sizes = filled.sizes.iter().map(|(name, size)| format!("{} = {size}", short(name)));
            let sizes: Vec<String> = sizes.collect();
            planner.warn(format!("free dimensions were filled in: {}", sizes.join(", ")));
        }
        Ok(stored)
    }

    fn weight(
        &self,
        planner: &mut Planner,
        tensor: &proto::Tensor,
        name: &str,
        layer: Option<u32>,
    ) -> Result<Known, Error> {
        let place = || Place::Key(format!("initializer {}", short(name)));
        let dims = dims_of(tensor.dims.iter().copied())
            .map_err(|problem| Error::input(&self.input, place(), problem, "Export the model again"))?;
        let width = self.bits(name, tensor.data_type)?;
        // Each filter is a row.
        let shape = match dims.as_slice() {
            [filters, rest @ ..] if rest.len() > 1 => Shape::new((*filters).max(1), count(rest).max(1), width),
            dims => matrix(dims, width),
        };
        let ints = values_of(tensor, &dims);
        // Scalars, shapes and indices are part of the program, not tensors that move.
        let moves = count(&dims) > 1 && (ints.is_none() || tensor.data_type != INT64);
        let value = moves.then(|| planner.stored(name.to_owned(), shape, layer, Kind::Weights));
        Ok(Known { ints, dims, data_type: tensor.data_type, value, stored: true })
    }

    /// Adds to the weights what operators make of nothing but the file: constants, and tensors filled with one value,
    /// which stand for weights in graphs that were stripped of theirs.
    fn constants<'a>(
        &'a self,
        planner: &mut Planner,
        layer_of: &FxHashMap<&str, u32>,
        weights: &mut FxHashMap<&'a str, Known>,
    ) -> Result<(), Error> {
        for node in &self.graph.nodes {
            let Some(name) = node.outputs.first().filter(|name| !name.is_empty()) else { continue };
            let layer = layer_of.get(name.as_str()).copied();
            let tensor = node.attribute("value").and_then(|a| a.t.as_ref());
            let known = match node.op_type.as_str() {
                "Constant" => match tensor {
                    Some(tensor) => self.weight(planner, tensor, name, layer)?,
                    None => {
                        let list = |length: usize| vec![length as u64];
                        let (dims, data_type, ints) = if let Some(ints) = node.attribute("value_ints") {
                            (list(ints.ints.len()), INT64, Some(ints.ints.clone()))
                        } else if let Some(int) = node.attribute("value_int") {
                            (Vec::new(), INT64, Some(vec![int.i]))
                        } else if let Some(floats) = node.attribute("value_floats") {
                            (list(floats.floats.len()), FLOAT, None)
                        } else {
                            (Vec::new(), FLOAT, None)
                        };
                        Known { dims, data_type, value: None, ints, stored: true }
                    }
                },
                "ConstantOfShape" => {
                    let shape = node.inputs.first().and_then(|shape| weights.get(shape.as_str()));
                    let Some(dims) = shape.and_then(|shape| shape.ints.clone()) else { continue };
                    let data_type = tensor.map_or(FLOAT, |tensor| tensor.data_type);
                    let filled = proto::Tensor { dims, data_type, ..proto::Tensor::default() };
                    self.weight(planner, &filled, name, layer)?
                }
                _ => continue,
            };
            weights.insert(name, known);
        }
        Ok(())
    }

    /// The shape that the file states; free dimensions are filled in, of inputs by `free`.
    fn state(&self, info: &proto::ValueInfo, filled: &mut Filled, free: Option<Free>) -> Result<Option<Known>, Error> {
        let Some(tensor) = info.kind.as_ref().and_then(|kind| kind.tensor.as_ref()) else { return Ok(None) };
        let Some(shape) = &tensor.shape else { return Ok(None) };
        let mut dims = Vec::new();
        for (i, dim) in shape.dims.iter().enumerate() {
            let size = match (dim.value, free) {
                (Some(value), _) => value,
                (_, Some(free)) => filled.fill(&info.name, i, &dim.name, free) as i64,
                (_, None) => match filled.sizes.get(&dim.name) {
                    Some(size) if !dim.name.is_empty() => *size as i64,
                    _ => return Ok(None),
                },
            };
            dims.push(size);
        }
        let dims = dims_of(dims).map_err(|problem| {
            let place = Place::Key(format!("tensor {}", short(&info.name)));
            Error::input(&self.input, place, problem, "Export the model again")
        })?;
        Ok(Some(Known { dims, data_type: tensor.elem_type, value: None, ints: None, stored: false }))
    }
}

/// A tensor as a matrix: images (four dimensions and more) with their channels as columns, others with their last side.
pub(super) fn matrix(dims: &[u64], bits: u64) -> Shape {
    let all = count(dims).max(1);
    let cols = match dims {
        [] => 1,
        [_, channels, _, _, ..] => *channels,
        [.., last] => *last,
    };
    let cols = cols.max(1);
    Shape::new(all.div_ceil(cols), cols, bits)
}
