//! ONNX graphs: operators and shapes, without the numbers.
//!
//! Shapes of intermediate tensors are inferred from those of the inputs, with the values of shapes and indices that
//! operators make on the way; where the rule of an operator is not known here, the graph must state the shape. What only
//! relabels a tensor (reshape, flatten, identity, ...) moves nothing, nor does a tensor without elements. FLOPs are those of
//! convolutions, matrix multiplications and recurrent layers; operators that are read without their work are named in a
//! warning.

mod graph;
mod prepare;
mod proto;
mod rules;
mod shape;
mod values;
mod walk;

use super::input::Input;
use crate::error::Error;
use crate::progress::Progress;
use crate::workload::file::{ModelFile, Operators, StoredModel};
use crate::workload::model_run::{Convolution, ModelRun, refuse_field};
use crate::workload::plan::Planner;
use graph::Graph;
use prepare::Free;

/// Whether `head` begins like an ONNX model: a protobuf message with a small `ir_version`, then known fields.
pub(super) fn matches(head: &[u8]) -> bool {
    // ir_version is written first: field 1, varint. Versions so far are 1 to 13.
    let [8, 1..=32, rest @ ..] = head else { return false };
    // producer_name (2), producer_version (3), domain (4), model_version (5), doc_string (6), graph (7), opset (8).
    matches!(rest.first(), Some(0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42))
}

/// Reads a model's graph.
pub(super) fn model(input: &Input<'_>, progress: &mut dyn Progress) -> Result<ModelFile, Error> {
    Ok(ModelFile::Operators(Box::new(Graph::parse(input, progress)?)))
}

impl Operators for Graph {
    fn family(&self) -> &'static str {
        self.family_name()
    }

    fn check(&self, run: &ModelRun) -> Result<(), Error> {
        let im2col = run.convolution == Convolution::Im2col;
        refuse_field("convolution", im2col, "the convolutions of a graph read their images directly")?;
        refuse_field("weight_dtype", run.weight_dtype.is_some(), "the graph says how its weights are stored")
    }

    fn store<'a>(&'a self, planner: &mut Planner, run: &'a ModelRun) -> Result<Box<dyn StoredModel + 'a>, Error> {
        let free = Free { batch: run.batch_size, tokens: run.prompt_tokens };
        Ok(Box::new(self.prepare(planner, free)?))
    }
}
