//! What the headers of weight files hold: the name, type, shape and bytes of every weight, without the data.

use std::cmp::Ordering;

use crate::error::{Error, Place};
use crate::trace::{Kind, MAX_ACCESSES, Op, Tensor, Trace, TraceBuilder};
use crate::units::format_count;

/// The most bytes that the weights of a file take, 1 PiB: the largest published models have a few TB.
pub(super) const MOST_BYTES: u64 = 1 << 50;

/// One weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions, the slowest first, whatever the order in the file.
    pub shape: Vec<u64>,
    /// The type of its elements, as the format names it.
    pub dtype: String,
    /// Its bytes in the file.
    pub bytes: u64,
}

/// The weights of a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Weights {
    /// The weights.
    pub tensors: Vec<Weight>,
    /// The short entries of the metadata: name, architecture, counts of layers and heads. Not the vocabulary.
    pub metadata: Vec<(String, String)>,
}

/// The layer in a name such as `model.layers.10.mlp`, `blk.2.attn_q` or `h.3.ln_1`: its first part that is a number.
pub fn layer_of(name: &str) -> Option<u32> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// Where a weight belongs in a pass through the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Embedding,
    /// Vision towers and encoders come before what reads their output.
    Encoder,
    Layers,
    /// The final norm and whatever else has no layer.
    Rest,
    Head,
}

fn part_of(name: &str) -> Part {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    match layer_of(name) {
        _ if has(&["lm_head", "embed_out"])
            || starts(&["output.weight", "output.bias", "classifier", "score", "cls."]) =>
        {
            Part::Head
        }
        Some(_) if has(&["encoder.", "vision", "visual"]) => Part::Encoder,
        Some(_) => Part::Layers,
        None if has(&["embed", "embd", "wte", "wpe"]) || name == "shared.weight" => Part::Embedding,
        None if has(&["encoder.", "vision", "visual"]) => Part::Encoder,
        None => Part::Rest,
    }
}

/// Where a weight belongs in its layer: norm, attention (its output last), norm, feed-forward (its output last).
fn step_of(name: &str) -> u8 {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let is_norm = has(&["norm", "ln_", "layernorm", "LayerNorm"]);
    let feed_forward = has(&["mlp", "ffn", "feed_forward", "moe", "expert", "intermediate", "fc1", "fc2"]);
    match () {
        () if is_norm && has(&["input", "ln_1", "attn_norm", "attention_norm", "norm1"]) => 0,
        () if is_norm => 3,
        () if feed_forward && has(&["down", "w2", "fc2", "c_proj", "fc_out"]) => 6,
        () if feed_forward && has(&["gate.weight", "gate_inp", "router"]) => 4,
        () if feed_forward => 5,
        () if has(&["o_proj", "out_proj", "c_proj", "attn_output", "attention.output", ".wo."]) => 2,
        () if has(&["output"]) => 6,
        () => 1,
    }
}

/// Names with the numbers in them compared as numbers: `experts.2` before `experts.10`.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = a.split('.').zip(b.split('.'));
    for (x, y) in parts {
        let order = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => x.cmp(y),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    // One may be the beginning of the other, or write a number with zeros before it.
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn op_of(name: &str) -> Op {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match part_of(name) {
        Part::Embedding => Op::Embedding,
        _ if has(&["norm", "ln_", "layernorm", "LayerNorm"]) => Op::Norm,
        _ if has(&["conv"]) => Op::Conv,
        _ if has(&["gate.weight", "gate_inp", "router"]) => Op::Gating,
        _ => Op::Matmul,
    }
}

impl Weights {
    /// Bytes of all weights.
    pub fn bytes(&self) -> u64 {
        // Readers see to it that they fit.
        self.tensors.iter().map(|weight| weight.bytes).sum()
    }

    /// One pass over all weights: embeddings, layer by layer, the head. Weights larger than `tile_bytes` are cut into
    /// pieces of that size.
    pub fn trace(&self, input: &str, tile_bytes: Option<u64>) -> Result<Trace, Error> {
        if self.tensors.is_empty() {
            let cure = "Give the file that holds the weights";
            return Err(Error::input(input, Place::Whole, "the file has no weights", cure));
        }
        let pieces = |weight: &Weight| match tile_bytes {
            Some(tile) => weight.bytes.div_ceil(tile.max(1)).max(1),
            None => 1,
        };
        let all = self.tensors.iter().try_fold(0u64, |sum, weight| sum.checked_add(pieces(weight)));
        if all.is_none_or(|all| all > MAX_ACCESSES as u64) {
            return Err(Error::TooLarge {
                problem: format!("{input} gives more than {} tiles", format_count(MAX_ACCESSES as u64)),
                cure: "Choose larger tiles".into(),
            });
        }
        let mut order: Vec<(Part, Option<u32>, u8, &Weight)> = self
            .tensors
            .iter()
            .map(|weight| (part_of(&weight.name), layer_of(&weight.name), step_of(&weight.name), weight))
            .collect();
        order.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)).then_with(|| natural(&a.3.name, &b.3.name)));
        let mut builder = TraceBuilder::new("");
        for (_, layer, _, weight) in order {
            let (count, op) = (pieces(weight), op_of(&weight.name));
            for piece in 0..count {
                let tile = tile_bytes.unwrap_or(weight.bytes).max(1);
                let (name, bytes) = match count {
                    1 => (weight.name.clone(), weight.bytes),
                    _ => (format!("{}#{piece}", weight.name), tile.min(weight.bytes - piece * tile)),
                };
                let tensor = builder.tensor(Tensor { name, bytes, layer, stride: 1, kind: Kind::Weights })?;
                builder.access(tensor, op)?;
            }
        }
        builder.warn(
            "a header knows neither activations nor the KV cache: this is one pass over all weights, what one token \
             of decode reads, but of an embedding table that is one row only",
        );
        if self.tensors.iter().any(|weight| weight.name.contains("experts") || weight.name.contains("_exps")) {
            builder.warn("all experts are read here; a token reads only those that its router chooses");
        }
        builder.finish(input)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::import::input::Input;
    use crate::import::{Format, detect, gguf, safetensors};
    use crate::progress::Unattended;

    fn weights(names: &[&str]) -> Weights {
        let weight =
            |name: &&str| Weight { name: (*name).to_owned(), shape: vec![4, 5], dtype: "BF16".into(), bytes: 40 };
        Weights { tensors: names.iter().map(weight).collect(), metadata: Vec::new() }
    }

    #[test]
    fn a_pass_follows_the_layers() {
        for wanted in [
            &[
                "model.embed_tokens.weight",
                "model.layers.2.input_layernorm.weight",
                "model.layers.2.self_attn.k_proj.weight",
                "model.layers.2.self_attn.q_proj.weight",
                "model.layers.2.self_attn.o_proj.weight",
                "model.layers.2.post_attention_layernorm.weight",
                "model.layers.2.block_sparse_moe.gate.weight",
                "model.layers.2.block_sparse_moe.experts.2.w1.weight",
                "model.layers.2.block_sparse_moe.experts.10.w1.weight",
                "model.layers.2.block_sparse_moe.experts.2.w2.weight",
                "model.layers.10.mlp.down_proj.weight",
                "model.norm.weight",
                "lm_head.weight",
            ][..],
            &[
                "token_embd.weight",
                "blk.0.attn_norm.weight",
                "blk.0.attn_q.weight",
                "blk.0.attn_output.weight",
                "blk.0.ffn_norm.weight",
                "blk.0.ffn_gate.weight",
                "blk.0.ffn_down.weight",
                "blk.9.attn_q.weight",
                "blk.10.attn_q.weight",
                "output_norm.weight",
                "output.weight",
            ],
            &[
                "wte.weight",
                "h.0.ln_1.weight",
                "h.0.attn.c_attn.weight",
                "h.0.attn.c_proj.weight",
                "h.0.ln_2.weight",
                "h.0.mlp.c_fc.weight",
                "h.0.mlp.c_proj.weight",
                "h.11.ln_1.weight",
                "ln_f.weight",
            ],
            &["shared.weight", "encoder.block.1.layer.0.x", "decoder.block.0.layer.0.x"],
        ] {
            let mut shuffled = wanted.to_vec();
            shuffled.sort_unstable_by_key(|name| name.bytes().rev().collect::<Vec<_>>());
            let trace = weights(&shuffled).trace("t", None).unwrap();
            assert_eq!(trace.tensors().iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), wanted);
        }
        assert_eq!(layer_of("model.layers.10.mlp.experts.3.w1"), Some(10));
        assert_eq!(layer_of("lm_head.weight"), None);
    }

    #[test]
    fn tiles_add_up() {
        let trace = weights(&["a", "b"]).trace("t", Some(16)).unwrap();
        assert_eq!(trace.sizes(), [16, 16, 8, 16, 16, 8]);
        assert_eq!(trace.tensors()[4].name, "b#1");
        let mut large = weights(&["a"]);
        large.tensors[0].bytes = 1 << 49;
        assert!(large.trace("t", Some(1)).unwrap_err().to_string().contains("Choose larger tiles"));
        assert!(weights(&[]).trace("t", None).unwrap_err().to_string().contains("no weights"));
    }

    /// Files that the safetensors and gguf libraries wrote, and what these libraries say of them
    /// (tests/fixtures/weights.py).
    #[test]
    fn files_of_the_real_libraries() {
        let expected: Value =
            serde_json::from_slice(include_bytes!("../../../tests/fixtures/weights/expected.json")).unwrap();
        let safetensors = include_bytes!("../../../tests/fixtures/weights/tiny.safetensors");
        let gguf = include_bytes!("../../../tests/fixtures/weights/tiny.gguf");
        for (name, bytes) in [("tiny.safetensors", &safetensors[..]), ("tiny.gguf", &gguf[..])] {
            let input = Input::new(name, bytes);
            let weights = match detect(&input).unwrap() {
                Format::Safetensors => safetensors::header(&input, &mut Unattended).unwrap(),
                Format::Gguf => gguf::header(&input, &mut Unattended).unwrap(),
                other => panic!("{name} is {other:?}"),
            };
            let expected = &expected[name];
            let tensors = expected["tensors"].as_object().unwrap();
            assert_eq!(weights.tensors.len(), tensors.len());
            for weight in &weights.tensors {
                let wanted = &tensors[&weight.name];
                let found = json!({"shape": weight.shape, "dtype": weight.dtype, "bytes": weight.bytes});
                assert_eq!(found["shape"], wanted["shape"], "{}", weight.name);
                assert_eq!(found["dtype"], wanted["dtype"], "{}", weight.name);
                assert_eq!(found["bytes"], wanted["bytes"], "{}", weight.name);
            }
            for (key, value) in &weights.metadata {
                let Some(wanted) = expected["metadata"].get(key) else { continue };
                let wanted = wanted.as_str().map_or_else(|| wanted.to_string(), str::to_owned);
                assert_eq!(value.parse::<f64>().ok(), wanted.parse().ok(), "{key}");
                assert!(value.parse::<f64>().is_ok() || *value == wanted, "{key}");
            }
        }
    }
}
