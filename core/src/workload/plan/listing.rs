//! The operators of a plan, one by one: what each does, to how much, and how often.

use std::collections::BTreeMap;

use super::StoredTensor;
use super::nest::{nest, shape};
use super::step::{Operator, Shape, Step, Val};
use crate::error::Error;
use crate::trace::{Kind, Mode, Op};

/// The operators of a run, in the order in which they first run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listing {
    /// Operators that are alike are one, which runs as often as all of them.
    pub operators: Vec<Listed>,
    /// What should be known of them: free dimensions that were filled in, operators whose work is not known.
    pub notes: Vec<String>,
}

/// An operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The part of the run: `prefill`, `decode`, `forward`, `backward`; empty where a run has one part.
    pub phase: &'static str,
    /// What it makes.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Its sizes.
    pub form: Form,
    /// Bits of the elements that it computes with.
    pub bits: u64,
    /// Bytes that it reads, each operand once.
    pub read_bytes: u64,
    /// Bytes that it writes, each result once.
    pub written_bytes: u64,
    /// FLOPs of products; of others those that are known.
    pub flops: f64,
    /// How often it runs.
    pub times: u64,
}

/// The sizes of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// `batch` products of an `m` x `k` by a `k` x `n` matrix; a convolution is one with its patches as rows.
    Product {
        /// How many: groups of a convolution.
        batch: u64,
        /// Rows of the result.
        m: u64,
        /// Columns of the result.
        n: u64,
        /// What is summed over.
        k: u64,
    },
    /// Two products whose middle is never stored.
    Chain {
        /// Rows of the result, all heads and requests together.
        rows: u64,
        /// Columns of what comes in and of what goes out.
        width: u64,
    },
    /// Anything else, by the shape of its result.
    Rows {
        /// Rows.
        rows: u64,
        /// Elements of each.
        columns: u64,
    },
}

/// What makes operators alike.
type Key = (&'static str, String, Op, Form, [u64; 4]);

/// The operators of a plan so far.
#[derive(Debug, Default)]
pub(super) struct List {
    /// The part of the run that the plan is in.
    pub(super) phase: &'static str,
    places: BTreeMap<Key, usize>,
    operators: Vec<Listed>,
    /// Layers so far.
    layers: u32,
}

impl List {
    /// Adds the operators of a step, those of `layer` if one is asked for.
    pub(super) fn step(&mut self, step: &Step, stored: &[StoredTensor], layer: Option<u32>) -> Result<(), Error> {
        let mut marks = step.marks.iter().peekable();
        for (now, operator) in step.operators.iter().enumerate() {
            while let Some((_, label)) = marks.next_if(|(at, _)| *at == now) {
                self.phase = *label;
            }
            self.layers = self.layers.max(operator.layer.map_or(0, |layer| layer + 1));
            if layer.is_none() || operator.layer == layer {
                self.add(listed(self.phase, step, stored, operator)?);
            }
        }
        Ok(())
    }

    fn add(&mut self, own: Listed) {
        let figures = [own.bits, own.read_bytes, own.written_bytes, own.flops.to_bits()];
        let key = (own.phase, own.name.clone(), own.op, own.form, figures);
        let at = *self.places.entry(key).or_insert(self.operators.len());
        match self.operators.get_mut(at) {
            Some(known) => known.times += own.times,
            None => self.operators.push(own),
        }
    }

    /// All of them; fails where there is no layer of that number.
    pub(super) fn listing(self, layer: Option<u32>, notes: Vec<String>) -> Result<Listing, Error> {
        if let Some(layer) = layer.filter(|layer| *layer >= self.layers) {
            let problem = format!("the model has {} layers, counted from 0", self.layers);
            return Err(Error::field("layer", layer, problem, "Choose one of them, or leave it out for all"));
        }
        Ok(Listing { operators: self.operators, notes })
    }
}

fn listed(phase: &'static str, step: &Step, stored: &[StoredTensor], operator: &Operator) -> Result<Listed, Error> {
    let of = |value: Val| shape(step, stored, value);
    let is_cache = |value: Val| matches!(value, Val::Stored(at) if stored[at as usize].kind == Kind::KvCache);
    let mut read: Vec<Val> = operator.reads.iter().chain(&operator.streams).copied().collect();
    read.sort_unstable();
    read.dedup();
    let sum = |values: &[Val]| values.iter().map(|value| of(*value).bytes()).sum::<Result<u64, Error>>();
    let (mut read_bytes, mut written_bytes, mut appends) = (sum(&read)?, 0, false);
    for (value, mode) in &operator.writes {
        match mode {
            // Into a cache of keys and values goes what was read, and no more.
            Mode::Update if operator.op == Op::Attention && is_cache(*value) => appends = true,
            Mode::Update => {
                (read_bytes, written_bytes) = (read_bytes + of(*value).bytes()?, written_bytes + of(*value).bytes()?)
            }
            Mode::Read | Mode::Write => written_bytes += of(*value).bytes()?,
        }
    }
    written_bytes += if appends { sum(&read)? } else { 0 };
    let result = operator.writes.first().map(|(value, _)| *value);
    let made = result.filter(|value| !is_cache(*value)).or(operator.reads.first().copied());
    let whole = made.map_or(Shape::new(1, 1, 8), of);
    let bits = match operator.product {
        Some(product) => of(product.a).bits.max(of(product.b).bits),
        None => operator.reads.first().map_or(0, |first| of(*first).bits).max(whole.bits),
    };
    Ok(Listed {
        phase,
        name: result.map_or_else(String::new, |value| name(step, stored, value)),
        op: operator.op,
        form: form(step, stored, operator, whole),
        bits,
        read_bytes,
        written_bytes,
        flops: operator.flops,
        times: 1,
    })
}

fn form(step: &Step, stored: &[StoredTensor], operator: &Operator, whole: Shape) -> Form {
    if let Some(product) = nest(step, stored, operator) {
        let (batch, m, n, k) = (product.batch, product.outputs(), product.n, product.k.saturating_mul(product.taps()));
        // The image, the filters or the output is what is summed up: the others' sizes are those of the result.
        return match product.sum {
            0 => Form::Product { batch, m, n: k, k: n },
            1 => Form::Product { batch, m: k, n, k: m },
            _ => Form::Product { batch, m, n, k },
        };
    }
    if let Some(product) = operator.product {
        return Form::Product { batch: 1, m: product.m, n: product.n, k: product.k };
    }
    match operator.chains.first() {
        Some(first) => {
            let rows = operator.chains.iter().map(|chain| chain.batch.saturating_mul(chain.rows));
            Form::Chain { rows: rows.fold(0, u64::saturating_add), width: first.inputs.saturating_add(first.outputs) }
        }
        None => Form::Rows { rows: whole.rows, columns: whole.cols },
    }
}

/// What a tensor is called in every layer and for every request.
fn name(step: &Step, stored: &[StoredTensor], value: Val) -> String {
    match value {
        Val::Temp(at) => step.temps[at as usize].name.to_string(),
        Val::Stored(at) => {
            let StoredTensor { name, kind, .. } = &stored[at as usize];
            let end = if *kind == Kind::KvCache { name.find('.') } else { None };
            name.get(..end.unwrap_or(name.len())).unwrap_or(name).to_owned()
        }
    }
}
