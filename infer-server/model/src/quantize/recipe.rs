//! Which tensor of a Hugging Face model becomes which of a llama GGUF, and in what type.

use candle_core::quantized::GgmlDType;
use half::f16;

use super::Type;
use super::checkpoint::Checkpoint;
use super::config::Config;
use super::gguf::TensorInfo;

/// One tensor on its way.
#[derive(Debug)]
pub(super) struct Part {
    /// Its name in the checkpoint.
    pub(super) source: String,
    /// What it becomes.
    pub(super) info: TensorInfo,
    /// The rows of one head, where rows are put in the order of interleaved rotary positions.
    head_rows: Option<usize>,
}

/// What a tensor does, as far as its type depends on it.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Norm,
    Embedding,
    Output,
    /// The value and down projections: what Q4_K_M gives more bits.
    Sensitive,
    Other,
}

/// The tensors of a model of this configuration, in the order of the network. Types that a row's length does not allow
/// are named in `warnings`.
pub(super) fn plan(config: &Config, kind: Type, warnings: &mut Vec<String>) -> Vec<Part> {
    let &Config { layers, width, inner, vocabulary, .. } = config;
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let rotated = Some(config.head_dim);
    let mut parts = Vec::new();
    // Tensors of another type than wanted: why, the first, and how many.
    let mut odd: Vec<((usize, GgmlDType, GgmlDType), String, usize)> = Vec::new();
    let mut add = |names: (String, String), shape: &[usize], head_rows, role, layer| {
        let wanted = wanted_type(kind, role, layer, config);
        let dtype = possible_type(wanted, shape);
        if dtype != wanted {
            let columns = shape[shape.len() - 1];
            let row = odd.iter_mut().find(|(of, _, _)| *of == (columns, wanted, dtype));
            match row {
                Some((_, _, count)) => *count += 1,
                None => odd.push(((columns, wanted, dtype), names.1.clone(), 1)),
            }
        }
        let info = TensorInfo { name: names.1, shape: shape.to_vec(), dtype };
        parts.push(Part { source: names.0, info, head_rows });
    };
    let named = |source: &str, name: &str| (source.to_owned(), name.to_owned());
    add(named("model.embed_tokens.weight", "token_embd.weight"), &[vocabulary, width], None, Role::Embedding, 0);
    for layer in 0..layers {
        let in_layer = |source: &str, name: &str| {
            (format!("model.layers.{layer}.{source}.weight"), format!("blk.{layer}.{name}.weight"))
        };
        for (source, name, shape, head_rows, role) in [
            ("input_layernorm", "attn_norm", &[width][..], None, Role::Norm),
            ("self_attn.q_proj", "attn_q", &[queries, width], rotated, Role::Other),
            ("self_attn.k_proj", "attn_k", &[keys, width], rotated, Role::Other),
            ("self_attn.v_proj", "attn_v", &[keys, width], None, Role::Sensitive),
            ("self_attn.o_proj", "attn_output", &[width, queries], None, Role::Other),
            ("post_attention_layernorm", "ffn_norm", &[width], None, Role::Norm),
            ("mlp.gate_proj", "ffn_gate", &[inner, width], None, Role::Other),
            ("mlp.up_proj", "ffn_up", &[inner, width], None, Role::Other),
            ("mlp.down_proj", "ffn_down", &[width, inner], None, Role::Sensitive),
        ] {
            add(in_layer(source, name), shape, head_rows, role, layer);
        }
    }
    add(named("model.norm.weight", "output_norm.weight"), &[width], None, Role::Norm, 0);
    if !config.tied {
        add(named("lm_head.weight", "output.weight"), &[vocabulary, width], None, Role::Output, 0);
    }
    for ((columns, wanted, dtype), first, count) in odd {
        warnings.push(format!(
            "{first} and {} others: rows of {columns} do not divide into blocks of {wanted:?}, so they become {dtype:?}",
            count - 1
        ));
    }
    parts
}

/// A tensor of the checkpoint that no llama has: leaving it out would change what the model says.
pub(super) fn unknown<'a>(checkpoint: &'a Checkpoint, config: &Config) -> Option<&'a str> {
    let parts = plan(config, Type::F32, &mut Vec::new());
    let known: std::collections::HashSet<&str> = parts.iter().map(|part| part.source.as_str()).collect();
    checkpoint.names().find(|name| {
        // What stands beside a weight in 4 bits has the weight's name before its own.
        let weight = name.find(".weight").map_or(*name, |at| &name[..at + ".weight".len()]);
        // Old checkpoints keep the table of rotary positions, which follows from the configuration; tied ones may keep
        // the embedding twice.
        let computed = name.ends_with(".rotary_emb.inv_freq") || (config.tied && weight == "lm_head.weight");
        !known.contains(weight) && !computed
    })
}

/// The types of Q4_K_M are those that llama.cpp chooses (`llama_tensor_get_type` in
/// <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp>), but for its rule for models of 70B, whose
/// Q5_K has no fast kernel here.
fn wanted_type(kind: Type, role: Role, layer: usize, config: &Config) -> GgmlDType {
    let output = role == Role::Output || (role == Role::Embedding && config.tied);
    match (kind, role) {
        (_, Role::Norm) | (Type::F32, _) => GgmlDType::F32,
        (Type::F16, _) => GgmlDType::F16,
        (Type::Q8_0, _) => GgmlDType::Q8_0,
        (Type::Q6K, _) => GgmlDType::Q6K,
        (Type::Q4K, _) if output => GgmlDType::Q6K,
        (Type::Q4K, Role::Sensitive) if more_bits(layer, config.layers) => GgmlDType::Q6K,
        (Type::Q4K, _) => GgmlDType::Q4K,
    }
}

/// `use_more_bits` of llama-quant.cpp: the first and the last eighth, and every third layer between.
fn more_bits(layer: usize, layers: usize) -> bool {
    let first = layers / 8;
    layer < first || layer >= 7 * layers / 8 || (layer - first) % 3 == 2
}

/// Where a row does not divide into the type's blocks, a type with blocks of 32, else F16.
fn possible_type(wanted: GgmlDType, shape: &[usize]) -> GgmlDType {
    let columns = shape.last().copied().unwrap_or(1);
    let fits = |dtype: &GgmlDType| columns.is_multiple_of(dtype.block_size());
    [wanted, GgmlDType::Q8_0].into_iter().find(fits).unwrap_or(GgmlDType::F16)
}

/// `llama_ftype` of llama.h.
pub(super) fn file_type(kind: Type) -> u32 {
    match kind {
        Type::F32 => 0,
        Type::F16 => 1,
        Type::Q8_0 => 7,
        Type::Q4K => 15,
        Type::Q6K => 18,
    }
}

impl Part {
    /// The elements of a row.
    pub(super) fn columns(&self) -> usize {
        self.info.shape.last().copied().unwrap_or(1)
    }

    /// How many elements to read at a time: whole rows, and whole heads where heads are permuted, no more than `most`
    /// unless one is larger.
    pub(super) fn step(&self, most: usize) -> usize {
        let unit = self.columns() * self.head_rows.unwrap_or(1);
        (most / unit).max(1) * unit
    }

    /// Numbers that the type can hold.
    pub(super) fn check(&self, values: &[f32]) -> Result<(), String> {
        let most = if self.info.dtype == GgmlDType::F16 { f16::MAX.to_f32() } else { f32::MAX };
        match values.iter().find(|v| v.is_nan() || v.abs() > most) {
            Some(bad) => Err(format!("a weight is {bad}, which {:?} does not hold", self.info.dtype)),
            None => Ok(()),
        }
    }

    /// Puts the rows of whole heads in the order of interleaved rotary positions.
    ///
    /// Hugging Face turns dimension `i` of a head together with `i + half`; llama GGUFs turn neighbours. Row `i` of the
    /// first half therefore becomes row `2 i`, and row `i` of the second half `2 i + 1`.
    pub(super) fn permute(&self, values: &mut Vec<f32>) {
        let Some(rows) = self.head_rows else { return };
        let columns = self.columns();
        let mut permuted = Vec::with_capacity(values.len());
        for head in values.chunks(rows * columns) {
            let (first, second) = head.split_at(head.len() / 2);
            for pair in first.chunks(columns).zip(second.chunks(columns)) {
                permuted.extend_from_slice(pair.0);
                permuted.extend_from_slice(pair.1);
            }
        }
        *values = permuted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_of_a_7b_that_get_more_bits_are_those_of_llama_cpp() {
        // By hand: below 32 / 8 = 4, from 7 * 32 / 8 = 28 on, and those that leave 2 when 4 is taken off and 3s are.
        let more: Vec<usize> = (0..32).filter(|layer| more_bits(*layer, 32)).collect();
        assert_eq!(more, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
    }

    #[test]
    fn rows_of_a_head_are_interleaved() {
        let info = TensorInfo { name: String::new(), shape: vec![8, 2], dtype: GgmlDType::F32 };
        let part = Part { source: String::new(), info, head_rows: Some(4) };
        let mut values: Vec<f32> = (0..16).map(|v| v as f32).collect();
        part.permute(&mut values);
        let rows: Vec<f32> = values.chunks(2).map(|row| row[0] / 2.0).collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(part.step(1), 8);
        assert_eq!(part.step(17), 16);
    }
}
