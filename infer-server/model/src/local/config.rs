//! What a model computes, by the metadata of its file: one table of architectures, and every key known.
//!
//! A key of the architecture that nobody knows may change what is computed, so it is refused. Keys: `docs/gguf.md` of ggml,
//! `llama-arch.cpp` and `load_hparams` of llama.cpp.

use candle_core::quantized::gguf_file::Value;

use super::gguf::{Gguf, whole};
use super::rope::Rope;
use crate::error::ModelError;

/// What an architecture does in its own way; all else they share with Llama.
#[derive(Debug, PartialEq)]
pub struct Architecture {
    /// Its name in files.
    pub name: &'static str,
    /// The two numbers of a pair that positions turn are neighbours in a head; else half of what is turned apart.
    pub(super) neighbours: bool,
    /// Queries, keys and values have biases.
    pub(super) biases: bool,
    /// Queries and keys are normed by head.
    pub(super) head_norms: bool,
    /// One matrix makes queries, keys and values, and one gate and up.
    pub(super) fused: bool,
    /// The gate goes through GELU (its approximation by tanh); else through SiLU.
    pub(super) gelu: bool,
    /// Embeddings are multiplied by the root of their length.
    pub(super) root_embedding: bool,
    /// Its files say what embeddings, sums, scores and logits are multiplied by.
    pub(super) scales: bool,
}

const LLAMA: Architecture = Architecture {
    name: "llama",
    neighbours: true,
    biases: false,
    head_norms: false,
    fused: false,
    gelu: false,
    root_embedding: false,
    scales: false,
};

/// Those that are built.
pub(super) static ARCHITECTURES: [Architecture; 6] = [
    LLAMA,
    Architecture { name: "qwen2", neighbours: false, biases: true, ..LLAMA },
    Architecture { name: "qwen3", neighbours: false, head_norms: true, ..LLAMA },
    Architecture { name: "gemma", neighbours: false, gelu: true, root_embedding: true, ..LLAMA },
    Architecture { name: "phi3", neighbours: false, fused: true, ..LLAMA },
    Architecture { name: "granite", scales: true, ..LLAMA },
];

/// Keys, without the architecture's name before them, whose values are read.
const READ: [&str; 20] = [
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    // Checked below.
    "expert_count",
];
/// Keys that say again what weights say, or nothing of what is computed.
const HARMLESS: [&str; 3] = ["vocab_size", "tensor_data_layout", "rope.scaling.finetuned"];
/// Keys that change nothing while they are zero or false.
const OFF_AT_ZERO: [&str; 12] = [
    "expert_used_count",
    "expert_shared_count",
    "leading_dense_block_count",
    "nextn_predict_layers",
    "pooling_type",
    "use_parallel_residual",
    "attention.max_alibi_bias",
    "attention.clamp_kqv",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.scaling.yarn_log_multiplier",
];
/// What Granite's embeddings, sums and scores are multiplied by, and its logits divided.
const SCALES: [&str; 4] = ["embedding_scale", "residual_scale", "attention.scale", "logit_scale"];

const CURE: &str = "Take a model of Llama architecture, such as Mistral-7B-Instruct-v0.2";

/// What a model is, from the file's metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// What it does in its own way.
    pub architecture: &'static Architecture,
    /// Blocks of attention and MLP.
    pub layers: usize,
    /// Numbers of the residual stream.
    pub hidden: usize,
    /// Numbers inside the MLP.
    pub feed_forward: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, each shared by `heads / kv_heads` heads of queries.
    pub kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Tokens that the model knows.
    pub vocabulary: usize,
    /// The longest prompt in tokens.
    pub context: usize,
    /// How positions turn heads.
    pub rope: Rope,
    /// The weight with what the wavelengths of positions are multiplied by, if there is one.
    pub factors: Option<&'static str>,
    /// Added to the mean square before its root.
    pub norm_epsilon: f32,
    /// Tokens that see each other: a token sees itself and the `window - 1` before it. None: all before it.
    pub window: Option<usize>,
    /// What is multiplied on the way.
    pub scales: Scales,
}

/// Factors on the way through a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// Of embeddings.
    pub embedding: f64,
    /// Of what a block adds to the residual stream.
    pub residual: f64,
    /// Of the scores of attention.
    pub attention: f64,
    /// Of logits.
    pub logits: f64,
}

impl LlamaConfig {
    /// The model's sizes; an architecture that this program does not build is refused by name, and a key that may
    /// change what is computed. `asked` is the longest prompt where it is not the model's own.
    pub(super) fn read(gguf: &Gguf, asked: Option<usize>) -> Result<Self, ModelError> {
        if let Some(kind) = gguf.text("general.type").filter(|kind| *kind != "model") {
            return Err(gguf.unsupported(format!("it holds no model but {kind:?}"), "Name the model's own file"));
        }
        let Some(name) = gguf.text("general.architecture") else {
            return Err(gguf.damaged("general.architecture is missing".into()));
        };
        let Some(architecture) = ARCHITECTURES.iter().find(|architecture| architecture.name == name) else {
            let built = ARCHITECTURES.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", ");
            return Err(gguf.unsupported(format!("the architecture is {name}"), format!("These are built: {built}")));
        };
        let key = |rest: &str| format!("{name}.{rest}");
        if gguf.whole(&key("expert_count"))?.is_some_and(|experts| experts > 0) {
            return Err(gguf.unsupported("it is a mixture of experts", CURE));
        }
        check_keys(gguf, architecture)?;
        let heads = gguf.size(&key("attention.head_count"), 1 << 12)?;
        let hidden = gguf.size(&key("embedding_length"), 1 << 20)?;
        let kv_heads = match gguf.value(&key("attention.head_count_kv")) {
            None => heads,
            Some(Value::Array(_)) => return Err(gguf.unsupported("its layers differ in their heads", CURE)),
            Some(_) => gguf.size(&key("attention.head_count_kv"), heads)?,
        };
        let head_dim = gguf.whole(&key("attention.key_length"))?.unwrap_or(hidden / heads);
        if !heads.is_multiple_of(kv_heads) || head_dim == 0 || !head_dim.is_multiple_of(2) || head_dim > 1 << 12 {
            let problem = format!("{heads} heads of {head_dim} cannot share {kv_heads} heads of keys and values");
            return Err(gguf.damaged(problem));
        }
        if let Some(n) = gguf.whole(&key("attention.value_length"))?.filter(|n| *n != head_dim) {
            let problem = format!("{} is {n} and heads have {head_dim}", key("attention.value_length"));
            return Err(gguf.unsupported(problem, format!("Only values as long as keys are built. {CURE}")));
        }
        let turned = gguf.whole(&key("rope.dimension_count"))?.unwrap_or(head_dim);
        if turned == 0 || turned > head_dim || !turned.is_multiple_of(2) {
            let problem = format!("{} is {turned} and heads have {head_dim}", key("rope.dimension_count"));
            return Err(gguf.damaged(problem));
        }
        if turned < head_dim && architecture.neighbours {
            let problem = format!("{} is {turned} and heads have {head_dim}", key("rope.dimension_count"));
            return Err(gguf.unsupported(problem, format!("Llama's positions turn whole heads. {CURE}")));
        }
        let vocabulary = match gguf.weight("token_embd.weight").map(|weight| &weight.shape[..]) {
            Some([rows, columns]) if *columns == hidden && *rows > 0 => *rows,
            Some(shape) => {
                return Err(gguf.wrong_shape("token_embd.weight", shape, format_args!("[tokens, {hidden}]")));
            }
            None => return Err(gguf.damaged("the weight token_embd.weight is missing".into())),
        };
        let own = gguf.size(&key("context_length"), 1 << 24)?;
        let rope = Rope::read(gguf, key, turned, own)?;
        if let Some(asked) = asked.filter(|asked| !(1..=own).contains(asked)) {
            let problem = format!("prompts of {asked} tokens are asked for, and it was made for {own}");
            return Err(gguf.unsupported(problem, format!("Ask for 1 to {own} (--context)")));
        }
        let trained = gguf.whole(&key("rope.scaling.original_context_length"))?.filter(|n| *n > 0).unwrap_or(own);
        let (context, factors) = match factors(gguf) {
            Factors::None => (asked.unwrap_or(own), None),
            Factors::One(weight) => (asked.unwrap_or(own), Some(weight)),
            // By the context and not by the prompt: keys that are kept were turned as queries are.
            Factors::ByContext([short, long]) => {
                let context = asked.unwrap_or(own.min(trained));
                (context, Some(if context > trained { long } else { short }))
            }
        };
        let epsilon = key("attention.layer_norm_rms_epsilon");
        Ok(Self {
            architecture,
            layers: gguf.size(&key("block_count"), 1 << 12)?,
            hidden,
            feed_forward: gguf.size(&key("feed_forward_length"), 1 << 22)?,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context,
            rope,
            factors,
            norm_epsilon: gguf.number(&epsilon)?.ok_or_else(|| gguf.damaged(format!("{epsilon} is missing")))?,
            window: gguf.whole(&key("attention.sliding_window"))?.filter(|window| *window > 0),
            scales: Scales::read(gguf, architecture, hidden, head_dim)?,
        })
    }
}

/// The weights with factors of the wavelengths of positions.
enum Factors {
    None,
    One(&'static str),
    /// For contexts that the model was first trained for, and for longer ones.
    ByContext([&'static str; 2]),
}

/// The weights that may hold factors: of Llama 3, and of LongRoPE for short and for long contexts.
pub(super) const FACTORS: [&str; 3] = ["rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"];

/// Which there are. As in llama.cpp (`llama_model::get_rope_factors`) the first goes before the others.
fn factors(gguf: &Gguf) -> Factors {
    let [all, short, long] = FACTORS;
    let there = |weight: &str| gguf.weight(weight).is_some();
    match (there(all), there(short) || there(long)) {
        (true, _) => Factors::One(all),
        (false, true) => Factors::ByContext([short, long]),
        (false, false) => Factors::None,
    }
}

impl Scales {
    fn read(gguf: &Gguf, architecture: &Architecture, hidden: usize, head_dim: usize) -> Result<Self, ModelError> {
        let embedding = if architecture.root_embedding { (hidden as f64).sqrt() } else { 1.0 };
        let plain = Self { embedding, residual: 1.0, attention: (head_dim as f64).powf(-0.5), logits: 1.0 };
        if !architecture.scales {
            return Ok(plain);
        }
        let given = |name: &str| gguf.number(&format!("{}.{name}", architecture.name)).map(|n| n.map(f64::from));
        let [embedding, residual, attention, logits] = SCALES.map(given);
        Ok(Self {
            embedding: embedding?.unwrap_or(plain.embedding),
            residual: residual?.unwrap_or(plain.residual),
            attention: attention?.unwrap_or(plain.attention),
            logits: logits?.map_or(plain.logits, |divisor| 1.0 / divisor),
        })
    }
}

/// Refuses a key of the architecture that is not known, or asks for what is not built.
fn check_keys(gguf: &Gguf, architecture: &Architecture) -> Result<(), ModelError> {
    let mut keys: Vec<(&str, &Value)> = gguf.values().collect();
    keys.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in keys {
        let Some(name) = key.strip_prefix(architecture.name).and_then(|rest| rest.strip_prefix('.')) else { continue };
        let read = READ.contains(&name) || HARMLESS.contains(&name) || architecture.scales && SCALES.contains(&name);
        let off = match value {
            Value::Bool(flag) => *flag == (name == "attention.causal"),
            Value::F32(number) => *number == 0.0,
            value => whole(value) == Some(0),
        };
        let known = name == "attention.causal" || OFF_AT_ZERO.contains(&name);
        if read || known && off {
            continue;
        }
        let what = if known { "asks for what is not built" } else { "is not known, and may change what is computed" };
        let shown: String = format!("{value:?}").chars().take(80).collect();
        return Err(gguf.unsupported(format!("{key} is {shown}, which {what}"), CURE));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};
    use tempfile::TempDir;

    use super::super::LocalModel;
    use super::super::tests::{Expected, logits, rewritten};
    use super::*;
    use crate::LoadOptions;

    /// The model of the repository, which was made for 512 tokens, with these metadata and these factors of wavelengths.
    fn made(dir: &TempDir, trained: Option<u32>, factors: &[(&str, f32)]) -> PathBuf {
        rewritten(dir, |metadata, weights| {
            let key = "llama.rope.scaling.original_context_length";
            metadata.extend(trained.map(|trained| (key.to_owned(), Value::U32(trained))));
            for (name, factor) in factors {
                let values = Tensor::full(*factor, 8, &Device::Cpu).unwrap();
                weights.insert((*name).to_owned(), QTensor::quantize(&values, GgmlDType::F32).unwrap());
            }
        })
    }

    fn read(path: &std::path::Path, context: Option<usize>) -> Result<(usize, Vec<Vec<f32>>), ModelError> {
        let model = LocalModel::load(path, &LoadOptions { context, ..LoadOptions::default() })?;
        Ok((model.info().context_length, logits(&model, &Expected::read())))
    }

    #[test]
    fn factors_are_those_of_the_context_and_not_of_the_prompt() {
        let dir = TempDir::new().unwrap();
        let of = |factor| read(&made(&dir, None, &[("rope_freqs.weight", factor)]), None).unwrap().1;
        let (short, long) = (of(2.0), of(5.0));
        assert_ne!(short, long);
        let both = [("rope_factors_short.weight", 2.0), ("rope_factors_long.weight", 5.0)];
        let path = made(&dir, Some(128), &both);
        // What it was first trained for, and one token more.
        for (asked, context, wanted) in [
            (None, 128, &short),
            (Some(64), 64, &short),
            (Some(128), 128, &short),
            (Some(129), 129, &long),
            (Some(512), 512, &long),
        ] {
            assert_eq!(read(&path, asked).unwrap(), (context, wanted.clone()), "{asked:?}");
        }
        for asked in [0, 513] {
            let error = read(&path, Some(asked)).unwrap_err().to_string();
            assert!(error.contains(&format!("prompts of {asked} tokens")) && error.contains("1 to 512"), "{error}");
        }
        // Where the file does not say for what it was first trained, that is for all that it reads.
        assert_eq!(read(&made(&dir, None, &both), None).unwrap(), (512, short.clone()));
        let path = made(&dir, Some(128), &both[..1]);
        assert_eq!(read(&path, None).unwrap(), (128, short));
        let error = read(&path, Some(512)).unwrap_err().to_string();
        assert!(error.contains("rope_factors_long.weight"), "{error}");
        // Those of Llama 3 go before both.
        let path = made(&dir, Some(128), &[both[0], both[1], ("rope_freqs.weight", 5.0)]);
        assert_eq!(read(&path, Some(64)).unwrap(), (64, long));
    }

    #[test]
    fn a_context_is_what_a_model_reads_at_most() {
        let (dir, expected) = (TempDir::new().unwrap(), Expected::read());
        let path = made(&dir, None, &[]);
        let (context, same) = read(&path, Some(200)).unwrap();
        assert_eq!((context, same), (200, read(&path, None).unwrap().1));
        let mut model = LocalModel::load(&path, &LoadOptions { context: Some(5), ..LoadOptions::default() }).unwrap();
        let prompt = crate::Prompt { prefix: expected.prefix.clone(), items: vec![vec![1; 6]], labels: vec![0] };
        let tokens = expected.prefix.len() + 6;
        let error = model.score(&prompt, &|| false).unwrap_err();
        assert!(matches!(error, ModelError::TooLong { tokens: t, limit: 5 } if t == tokens), "{error}");
    }
}
