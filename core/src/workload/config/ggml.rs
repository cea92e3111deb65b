//! The number formats of ggml, and how the matrices of a GGUF file are stored: module by module, layer by layer.

use std::collections::BTreeMap;

use serde_json::Value;

/// A number format: blocks of elements that share scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GgmlType {
    /// Its number in files.
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    /// Elements of a block.
    pub(crate) elements: u64,
    /// Bytes of a block.
    pub(crate) bytes: u64,
}

/// `type_traits` in ggml.c and the blocks in ggml-common.h. Numbers that are missing were removed.
const TYPES: [(u32, &str, u64, u64); 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
];

impl GgmlType {
    fn all() -> impl Iterator<Item = Self> {
        TYPES.into_iter().map(|(number, name, elements, bytes)| Self { number, name, elements, bytes })
    }

    /// The type of this number.
    pub(crate) fn of_number(number: u32) -> Option<Self> {
        Self::all().find(|of| of.number == number)
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::all().find(|of| of.name == name)
    }

    /// Bits of an element without what its block shares, and of what that is.
    pub(super) fn split(self) -> (u64, u64) {
        let bits = 8 * self.bytes / self.elements;
        (bits, 8 * self.bytes - bits * self.elements)
    }
}

/// Names of modules here, and in the files of llama.cpp (`gguf-py/gguf/constants.py`).
const MODULES: [(&str, &str); 27] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_a_proj", "attn_q_a"),
    ("self_attn.q_b_proj", "attn_q_b"),
    ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    ("self_attn.kv_b_proj", "attn_kv_b"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.experts.0.up_proj", "ffn_up_exps"),
    ("mlp.experts.0.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.0.down_proj", "ffn_down_exps"),
    ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
    ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
    ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
    ("mlp.gate", "ffn_gate_inp"),
    ("mlp.router", "ffn_gate_inp"),
    ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
    ("embed_tokens", "token_embd"),
    ("lm_head", "output"),
];

/// The types of the modules of a file: one for each layer, or one for all.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored(BTreeMap<String, Vec<GgmlType>>);

impl Stored {
    /// Reads `{"attn_q": "Q4_K", "attn_v": ["Q6_K", "Q4_K"]}`; the name of a module with no such type where there is one.
    pub(super) fn read(modules: &Value) -> Result<Self, String> {
        let Value::Object(modules) = modules else { return Err("modules".into()) };
        let mut all = BTreeMap::new();
        for (name, types) in modules {
            let of = |value: &Value| value.as_str().and_then(GgmlType::of_name).ok_or_else(|| name.clone());
            let types = match types {
                Value::Array(types) if !types.is_empty() => types.iter().map(of).collect::<Result<Vec<_>, _>>()?,
                one => vec![of(one)?],
            };
            all.insert(name.clone(), types);
        }
        Ok(Self(all))
    }

    /// The type of the matrix of this name.
    pub(super) fn of(&self, name: &str) -> Option<GgmlType> {
        let segments: Vec<&str> = name.split('.').collect();
        // `model.layers.3.mlp.up_proj` is `mlp.up_proj` of layer 3.
        let layer = segments.iter().position(|segment| segment.parse::<usize>().is_ok());
        let module = match layer {
            Some(at) => segments.get(at + 1..)?.join("."),
            None => name.strip_prefix("model.").unwrap_or(name).to_owned(),
        };
        let (_, stored) = MODULES.iter().find(|(own, _)| *own == module)?;
        let types = self.0.get(*stored)?;
        let layer = layer.and_then(|at| segments[at].parse().ok()).unwrap_or(0);
        types.get(layer).or(types.last()).copied()
    }
}
