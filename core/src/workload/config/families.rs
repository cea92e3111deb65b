//! The families of models that are read: one row each.
//!
//! A row names the `model_type` of the family's files and says what sets its [`Layout`] apart from that of a relative.
//! What reads a `config.json` and what derives tensors from it look at the row alone, and know no family by name.

use super::graph::Build;
use super::layout::{
    AttentionBias, CNN, ExpertLayout, Gated, Layout, MLP, Matrices, ModelInput, Norm, Norms, Pooler, Positions, QkNorm,
    Qkv, Shared, SizeKeys, SlidingWindow, SparseLayers, Stacks, TRANSFORMER, Transform,
};
use super::{diffusion, shapes, special, towers, vision};

/// A family of models: what its files are called, and how they are read.
#[derive(Debug)]
pub struct Family {
    /// The `model_type` of its files.
    pub name: &'static str,
    /// Other names: those derived from `architectures`, and those of models of text and images around this one.
    pub aliases: &'static [&'static str],
    /// The name people read.
    pub title: &'static str,
    /// What sets it apart, in a few words.
    pub about: &'static str,
    /// How its files are read.
    pub(super) reader: Reader,
}

impl Family {
    /// The type of its models, in the prototype's words: Transformer, MoE, CNN or MLP.
    pub fn kind(&self) -> &'static str {
        match &self.reader {
            Reader::Transformer(layout) => layout.kind(),
            Reader::Graph(kind, _) => kind,
            Reader::Resnet | Reader::Cnn => CNN,
            Reader::Mlp | Reader::Gemm => MLP,
        }
    }

    /// Whether `name` is its `model_type` or one of its other names.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// The names of all families, for messages.
pub(super) fn supported() -> String {
    let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    match names.split_last() {
        Some((last, names)) => format!("{} and {last}", names.join(", ")),
        None => String::new(),
    }
}

/// What reads the files of a family.
#[derive(Debug)]
pub(super) enum Reader {
    /// [`Transformer`](super::Transformer), of this layout.
    Transformer(&'static Layout),
    /// [`Graph`](super::Graph): the type of the model, in the prototype's words, and what makes its operators.
    Graph(&'static str, Build),
    /// [`Resnet`](super::Resnet).
    Resnet,
    /// [`Cnn`](super::Cnn).
    Cnn,
    /// [`Mlp`](super::Mlp).
    Mlp,
    /// [`Gemm`](super::Gemm).
    Gemm,
}

const LLAMA_KEYS: SizeKeys = SizeKeys {
    hidden_size: &["hidden_size"],
    intermediate_size: &["intermediate_size"],
    num_hidden_layers: &["num_hidden_layers"],
    num_decoder_layers: &["num_decoder_layers"],
    num_attention_heads: &["num_attention_heads"],
    num_key_value_heads: &["num_key_value_heads"],
    head_dim: &["head_dim"],
    vocab_size: &["vocab_size"],
    // The second name is that of the first Llama's files.
    max_position_embeddings: &["max_position_embeddings", "max_sequence_length"],
};

const GPT2_KEYS: SizeKeys = SizeKeys {
    hidden_size: &["hidden_size", "n_embd"],
    intermediate_size: &["intermediate_size", "n_inner"],
    num_hidden_layers: &["num_hidden_layers", "n_layer"],
    num_attention_heads: &["num_attention_heads", "n_head"],
    max_position_embeddings: &["max_position_embeddings", "n_positions", "n_ctx"],
    ..LLAMA_KEYS
};

const OPT_KEYS: SizeKeys = SizeKeys { intermediate_size: &["intermediate_size", "ffn_dim"], ..LLAMA_KEYS };

const T5_KEYS: SizeKeys = SizeKeys {
    hidden_size: &["hidden_size", "d_model"],
    intermediate_size: &["intermediate_size", "d_ff"],
    num_hidden_layers: &["num_hidden_layers", "num_layers"],
    num_attention_heads: &["num_attention_heads", "num_heads"],
    head_dim: &["head_dim", "d_kv"],
    ..LLAMA_KEYS
};

const LLAMA_MATRICES: Matrices = Matrices {
    qkv: Qkv::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    out: "self_attn.o_proj",
    mlp: ["mlp.up_proj", "mlp.gate_proj", "mlp.down_proj"],
};

const BERT_MATRICES: Matrices = Matrices {
    qkv: Qkv::Separate(["attention.query", "attention.key", "attention.value"]),
    out: "attention.output",
    mlp: ["intermediate.dense", "intermediate.gate", "output.dense"],
};

const T5_MATRICES: Matrices = Matrices {
    qkv: Qkv::Separate(["SelfAttention.q", "SelfAttention.k", "SelfAttention.v"]),
    out: "SelfAttention.o",
    mlp: ["DenseReluDense.wi", "DenseReluDense.wi_0", "DenseReluDense.wo"],
};

const T5_STACKS: Stacks = Stacks::Both {
    encoder: "encoder.block",
    decoder: "decoder.block",
    cross: ["EncDecAttention.q", "EncDecAttention.k", "EncDecAttention.v", "EncDecAttention.o"],
};

/// Buckets of T5's relative positions (`relative_attention_num_buckets` in its configuration; no published model has
/// another number).
const T5_POSITIONS: Positions = Positions::Relative { buckets: 32 };

/// The default of transformers' Qwen configurations.
const QWEN_WINDOW: SlidingWindow = SlidingWindow::IfUsed { full: Some(28) };

/// Experts of Mixtral: every MLP, as wide as it would be.
const EXPERTS: ExpertLayout = ExpertLayout {
    per_token: None,
    wide_as_mlp: true,
    shared: Shared::None,
    layers: SparseLayers::All,
    router: "mlp.gate",
    names: ["up_proj", "gate_proj", "down_proj"],
    router_bias: false,
};

const QWEN2_EXPERTS: ExpertLayout =
    ExpertLayout { wide_as_mlp: false, shared: Shared::Weighed, layers: SparseLayers::LastOfGroup, ..EXPERTS };

const TOKENS: ModelInput = ModelInput::Tokens { types: None, narrow: false };

/// RMS norm before each half of a layer, rotary positions, gated MLP, grouped queries.
const LLAMA: Layout = Layout {
    keys: LLAMA_KEYS,
    defaults: &[],
    class: &[
        ("vocab_size", 32_000),
        ("hidden_size", 4096),
        ("intermediate_size", 11_008),
        ("num_hidden_layers", 32),
        ("num_attention_heads", 32),
        ("max_position_embeddings", 2048),
    ],
    stacks: Stacks::Decoder("model.layers"),
    attends: true,
    matrices: LLAMA_MATRICES,
    norm: Norm::Rms,
    norms: Norms::Before,
    final_norm: true,
    qk_norm: QkNorm::None,
    positions: Positions::Rotary,
    positions_each: false,
    window: SlidingWindow::Never,
    attention_bias: AttentionBias::File,
    mlp_bias: false,
    gated: Gated::Always,
    mlp_factor: None,
    experts: None,
    input: TOKENS,
    embedding_norm: false,
    narrow: &[],
    project_bias: false,
    narrow_out: false,
    pooler: Pooler::Never,
    transform: Transform::Masked,
    classes: 0,
    classified: 1,
    tied: false,
    head_bias: false,
    mixer: shapes::heads,
    feed: shapes::feed,
    layer: shapes::layer,
    finish: None,
};

const MISTRAL: Layout = Layout {
    defaults: &[("sliding_window", 4096)],
    class: &[
        ("vocab_size", 32_000),
        ("hidden_size", 4096),
        ("intermediate_size", 14_336),
        ("num_hidden_layers", 32),
        ("num_attention_heads", 32),
        ("num_key_value_heads", 8),
        ("max_position_embeddings", 131_072),
    ],
    window: SlidingWindow::All,
    ..LLAMA
};

const QWEN2: Layout = Layout {
    class: &[
        ("vocab_size", 151_936),
        ("hidden_size", 4096),
        ("intermediate_size", 22_016),
        ("num_hidden_layers", 32),
        ("num_attention_heads", 32),
        ("num_key_value_heads", 32),
        ("max_position_embeddings", 32_768),
    ],
    window: QWEN_WINDOW,
    attention_bias: AttentionBias::Inputs,
    ..LLAMA
};

const QWEN3: Layout =
    Layout { defaults: &[("head_dim", 128)], qk_norm: QkNorm::Head, attention_bias: AttentionBias::File, ..QWEN2 };

const GEMMA: Layout = Layout { defaults: &[("head_dim", 256)], tied: true, ..LLAMA };

const GPT2: Layout = Layout {
    keys: GPT2_KEYS,
    stacks: Stacks::Decoder("transformer.h"),
    matrices: Matrices {
        qkv: Qkv::Packed("attn.c_attn"),
        out: "attn.c_proj",
        mlp: ["mlp.c_fc", "mlp.gate", "mlp.c_proj"],
    },
    norm: Norm::Layer,
    positions: Positions::Learned { extra: 0 },
    attention_bias: AttentionBias::Always,
    mlp_bias: true,
    gated: Gated::Never,
    mlp_factor: Some(4),
    tied: true,
    ..LLAMA
};

const BERT: Layout = Layout {
    stacks: Stacks::Encoder("encoder.layer"),
    matrices: BERT_MATRICES,
    norm: Norm::Layer,
    norms: Norms::After,
    positions: Positions::Learned { extra: 0 },
    attention_bias: AttentionBias::Always,
    mlp_bias: true,
    gated: Gated::Never,
    input: ModelInput::Tokens { types: Some(2), narrow: false },
    embedding_norm: true,
    pooler: Pooler::ByDefault,
    tied: true,
    ..LLAMA
};

const T5: Layout = Layout {
    keys: T5_KEYS,
    stacks: T5_STACKS,
    matrices: T5_MATRICES,
    positions: T5_POSITIONS,
    attention_bias: AttentionBias::Never,
    gated: Gated::File,
    tied: true,
    ..LLAMA
};

const DEEPSEEK_EXPERTS: ExpertLayout =
    ExpertLayout { wide_as_mlp: false, shared: Shared::Several, layers: SparseLayers::Behind, ..EXPERTS };

/// Multi-head latent attention, and experts behind the first layers.
const DEEPSEEK: Layout = Layout { keys: LATENT_KEYS, mixer: special::latent, experts: Some(DEEPSEEK_EXPERTS), ..LLAMA };

/// Heads of latent attention have widths of their own, whatever the width of the model.
const LATENT_KEYS: SizeKeys = SizeKeys { head_dim: &["head_dim", "v_head_dim"], ..LLAMA_KEYS };

/// GPT-NeoX: both halves side by side, each with a norm.
const NEOX: Layout = Layout {
    stacks: Stacks::Decoder("gpt_neox.layers"),
    matrices: Matrices {
        qkv: Qkv::Packed("attention.query_key_value"),
        out: "attention.dense",
        mlp: ["mlp.dense_h_to_4h", "mlp.gate", "mlp.dense_4h_to_h"],
    },
    norm: Norm::Layer,
    norms: Norms::BesideTwo,
    attention_bias: AttentionBias::Always,
    mlp_bias: true,
    gated: Gated::Never,
    layer: special::neox_layer,
    ..LLAMA
};

const PACKED_MATRICES: Matrices =
    Matrices { mlp: ["mlp.gate_up_proj", "mlp.gate_proj", "mlp.down_proj"], ..LLAMA_MATRICES };

const GLM: Layout =
    Layout { matrices: PACKED_MATRICES, gated: Gated::Packed, attention_bias: AttentionBias::FileInputs, ..LLAMA };

/// Experts and linear attention of the newer Qwen models.
const QWEN3_NEXT: Layout =
    Layout { mixer: special::gated_delta, qk_norm: QkNorm::Head, defaults: &[("head_dim", 256)], ..LLAMA };

const QWEN3_NEXT_EXPERTS: ExpertLayout = ExpertLayout { layers: SparseLayers::LastOfGroup, ..QWEN2_EXPERTS };

const FC_MATRICES: Matrices = Matrices { out: "self_attn.out_proj", mlp: ["fc1", "gate", "fc2"], ..LLAMA_MATRICES };

const BART_KEYS: SizeKeys = SizeKeys {
    hidden_size: &["hidden_size", "d_model"],
    intermediate_size: &["intermediate_size", "encoder_ffn_dim"],
    num_hidden_layers: &["encoder_layers", "num_hidden_layers"],
    num_decoder_layers: &["decoder_layers"],
    num_attention_heads: &["encoder_attention_heads", "num_attention_heads"],
    ..LLAMA_KEYS
};

const BART: Layout = Layout {
    keys: BART_KEYS,
    stacks: Stacks::Both {
        encoder: "model.encoder.layers",
        decoder: "model.decoder.layers",
        cross: ["encoder_attn.q_proj", "encoder_attn.k_proj", "encoder_attn.v_proj", "encoder_attn.out_proj"],
    },
    matrices: FC_MATRICES,
    norm: Norm::Layer,
    norms: Norms::After,
    // The offset of BartLearnedPositionalEmbedding in transformers, for padding.
    positions: Positions::Learned { extra: 2 },
    positions_each: true,
    attention_bias: AttentionBias::Always,
    mlp_bias: true,
    gated: Gated::Never,
    tied: true,
    finish: Some(special::bart),
    ..LLAMA
};

const DEBERTA: Layout = Layout {
    input: ModelInput::Tokens { types: Some(0), narrow: false },
    pooler: Pooler::Never,
    finish: Some(special::deberta),
    ..BERT
};

const VIT: Layout = Layout {
    stacks: Stacks::Encoder("vit.encoder.layer"),
    norms: Norms::Before,
    input: ModelInput::Patches { learned: 1 },
    embedding_norm: false,
    pooler: Pooler::Bare,
    // The default of transformers' ImageNet classifiers.
    classes: 1000,
    tied: false,
    ..BERT
};

/// Every family.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "llama",
        aliases: &["codellama"],
        title: "Llama",
        about: "RMS norm, rotary positions, gated MLP, grouped queries",
        reader: Reader::Transformer(&LLAMA),
    },
    Family {
        name: "mistral",
        aliases: &[],
        title: "Mistral",
        about: "Llama's layout; may attend to a sliding window",
        reader: Reader::Transformer(&MISTRAL),
    },
    Family {
        name: "mixtral",
        aliases: &[],
        title: "Mixtral",
        about: "Mistral with experts in place of every MLP",
        reader: Reader::Transformer(&Layout { defaults: &[], experts: Some(EXPERTS), ..MISTRAL }),
    },
    Family {
        name: "qwen2",
        aliases: &["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen2_audio"],
        title: "Qwen2",
        about: "Llama's layout with biases on queries, keys and values",
        reader: Reader::Transformer(&QWEN2),
    },
    Family {
        name: "qwen2_moe",
        aliases: &["qwen2moe"],
        title: "Qwen2-MoE",
        about: "Qwen2 with experts, and one expert for all tokens",
        reader: Reader::Transformer(&Layout { experts: Some(QWEN2_EXPERTS), ..QWEN2 }),
    },
    Family {
        name: "qwen3",
        aliases: &["qwen3_vl", "qwen3_vl_text"],
        title: "Qwen3",
        about: "Llama's layout with norms on queries and keys",
        reader: Reader::Transformer(&QWEN3),
    },
    Family {
        name: "qwen3_moe",
        aliases: &["qwen3moe", "qwen3_vl_moe", "qwen3_vl_moe_text"],
        title: "Qwen3-MoE",
        about: "Qwen3 with experts",
        reader: Reader::Transformer(&Layout {
            defaults: &[],
            window: SlidingWindow::IfUsed { full: None },
            experts: Some(ExpertLayout { shared: Shared::None, ..QWEN2_EXPERTS }),
            ..QWEN3
        }),
    },
    Family {
        name: "gemma",
        aliases: &[],
        title: "Gemma",
        about: "Llama's layout with wide heads and tied embeddings",
        reader: Reader::Transformer(&GEMMA),
    },
    Family {
        name: "gemma2",
        aliases: &[],
        title: "Gemma 2",
        about: "Gemma with norms before and after both halves of a layer; every other layer sees a window only",
        reader: Reader::Transformer(&Layout {
            defaults: &[("head_dim", 256), ("sliding_window", 4096)],
            norms: Norms::Around,
            window: SlidingWindow::AllBut { every: 2 },
            ..GEMMA
        }),
    },
    Family {
        name: "gemma3_text",
        aliases: &["gemma3"],
        title: "Gemma 3",
        about: "Gemma 2 with norms on queries and keys; every sixth layer sees everything",
        reader: Reader::Transformer(&Layout {
            // Its published files give only what differs from these.
            defaults: &[
                ("vocab_size", 262_208),
                ("hidden_size", 2304),
                ("intermediate_size", 9216),
                ("num_hidden_layers", 26),
                ("num_attention_heads", 8),
                ("num_key_value_heads", 4),
                ("head_dim", 256),
                ("max_position_embeddings", 131_072),
                ("sliding_window", 4096),
            ],
            norms: Norms::Around,
            qk_norm: QkNorm::Head,
            window: SlidingWindow::AllBut { every: 6 },
            ..GEMMA
        }),
    },
    Family {
        name: "gpt2",
        aliases: &[],
        title: "GPT-2",
        about: "Layer norm, learned positions, biases, plain MLP, tied embeddings",
        reader: Reader::Transformer(&GPT2),
    },
    Family {
        name: "opt",
        aliases: &[],
        title: "OPT",
        about: "GPT-2's layout with separate queries, keys and values",
        reader: Reader::Transformer(&Layout {
            keys: OPT_KEYS,
            stacks: Stacks::Decoder("model.decoder.layers"),
            matrices: Matrices { out: "self_attn.out_proj", mlp: ["fc1", "gate", "fc2"], ..LLAMA_MATRICES },
            // The offset of OPTLearnedPositionalEmbedding in transformers, for padding.
            positions: Positions::Learned { extra: 2 },
            mlp_factor: None,
            input: ModelInput::Tokens { types: None, narrow: true },
            narrow: &["word_embed_proj_dim"],
            narrow_out: true,
            ..GPT2
        }),
    },
    Family {
        name: "bert",
        aliases: &[],
        title: "BERT",
        about: "An encoder with norms after each half of a layer, token types and a pooler",
        reader: Reader::Transformer(&BERT),
    },
    Family {
        name: "t5",
        aliases: &[],
        title: "T5",
        about: "An encoder and a decoder, relative positions, no biases",
        reader: Reader::Transformer(&T5),
    },
    Family {
        name: "switch_transformers",
        aliases: &["switchtransformers"],
        title: "Switch Transformers",
        about: "T5 with experts in some layers",
        reader: Reader::Transformer(&Layout {
            experts: Some(ExpertLayout { per_token: Some(1), layers: SparseLayers::SecondOfGroup, ..EXPERTS }),
            ..T5
        }),
    },
    Family {
        name: "vit",
        aliases: &[],
        title: "ViT",
        about: "An encoder of image patches with a classifier",
        reader: Reader::Transformer(&VIT),
    },
    Family {
        name: "mimo",
        aliases: &[],
        title: "MiMo",
        about: "Qwen2 with layers that predict further tokens",
        reader: Reader::Transformer(&QWEN2),
    },
    Family {
        name: "ministral3",
        aliases: &["mistral3", "ministral"],
        title: "Ministral 3",
        about: "Mistral without a window",
        reader: Reader::Transformer(&Layout { defaults: &[], window: SlidingWindow::Listed, ..MISTRAL }),
    },
    Family {
        name: "smollm3",
        aliases: &[],
        title: "SmolLM3",
        about: "Llama with tied embeddings; some layers have no positions",
        reader: Reader::Transformer(&Layout { window: SlidingWindow::IfUsed { full: None }, tied: true, ..LLAMA }),
    },
    Family {
        name: "granite",
        aliases: &[],
        title: "Granite",
        about: "Llama with factors on embeddings, residuals and logits",
        reader: Reader::Transformer(&LLAMA),
    },
    Family {
        name: "seed_oss",
        aliases: &[],
        title: "Seed-OSS",
        about: "Llama with biases on queries, keys and values",
        reader: Reader::Transformer(&Layout { attention_bias: AttentionBias::FileInputs, ..LLAMA }),
    },
    Family {
        name: "granitemoe",
        aliases: &[],
        title: "Granite MoE",
        about: "Granite with experts in place of every MLP",
        reader: Reader::Transformer(&Layout {
            gated: Gated::Packed,
            experts: Some(ExpertLayout {
                router: "block_sparse_moe.router",
                names: ["input_linear", "gate", "output_linear"],
                ..EXPERTS
            }),
            ..LLAMA
        }),
    },
    Family {
        name: "granitemoehybrid",
        aliases: &[],
        title: "Granite 4",
        about: "Mamba 2 in most layers, attention in the others, experts beside an MLP for all tokens",
        reader: Reader::Transformer(&Layout {
            gated: Gated::Packed,
            mlp_factor: Some(0),
            experts: Some(ExpertLayout { router: "block_sparse_moe.router", ..EXPERTS }),
            layer: special::granite_hybrid_layer,
            ..LLAMA
        }),
    },
    Family {
        name: "olmo",
        aliases: &[],
        title: "OLMo",
        about: "Llama with norms that store nothing",
        reader: Reader::Transformer(&Layout { norm: Norm::Bare, ..LLAMA }),
    },
    Family {
        name: "olmo2",
        aliases: &[],
        title: "OLMo 2",
        about: "Norms behind each half, and on queries and keys over all heads",
        reader: Reader::Transformer(&Layout { norms: Norms::Outputs, qk_norm: QkNorm::All, ..LLAMA }),
    },
    Family {
        name: "olmo3",
        aliases: &[],
        title: "OLMo 3",
        about: "OLMo 2 with a window in three of four layers",
        reader: Reader::Transformer(&Layout {
            defaults: &[("sliding_window", 4096)],
            norms: Norms::Outputs,
            qk_norm: QkNorm::All,
            window: SlidingWindow::AllBut { every: 4 },
            ..LLAMA
        }),
    },
    Family {
        name: "olmoe",
        aliases: &[],
        title: "OLMoE",
        about: "Experts in place of every MLP, norms on queries and keys over all heads",
        reader: Reader::Transformer(&Layout { qk_norm: QkNorm::All, experts: Some(EXPERTS), ..LLAMA }),
    },
    Family {
        name: "phi",
        aliases: &[],
        title: "Phi",
        about: "Both halves side by side, layer norm, biases",
        reader: Reader::Transformer(&Layout {
            matrices: Matrices { out: "self_attn.dense", mlp: ["mlp.fc1", "mlp.gate", "mlp.fc2"], ..LLAMA_MATRICES },
            norm: Norm::Layer,
            norms: Norms::Beside,
            attention_bias: AttentionBias::Always,
            mlp_bias: true,
            gated: Gated::Never,
            mlp_factor: Some(4),
            head_bias: true,
            ..LLAMA
        }),
    },
    Family {
        name: "phi3",
        aliases: &[],
        title: "Phi-3",
        about: "Llama with one matrix for queries, keys and values and one for both projections of the MLP",
        reader: Reader::Transformer(&Layout {
            matrices: Matrices { qkv: Qkv::Packed("self_attn.qkv_proj"), ..PACKED_MATRICES },
            window: SlidingWindow::All,
            gated: Gated::Packed,
            attention_bias: AttentionBias::Never,
            ..LLAMA
        }),
    },
    Family {
        name: "phimoe",
        aliases: &[],
        title: "Phi-3.5-MoE",
        about: "Experts in place of every MLP, layer norm",
        reader: Reader::Transformer(&Layout {
            norm: Norm::Layer,
            window: SlidingWindow::All,
            experts: Some(EXPERTS),
            finish: Some(special::head_bias),
            ..LLAMA
        }),
    },
    Family {
        name: "starcoder2",
        aliases: &[],
        title: "StarCoder2",
        about: "Llama's attention with GPT-2's norms, biases and MLP",
        reader: Reader::Transformer(&Layout {
            defaults: &[("sliding_window", 4096)],
            matrices: Matrices { mlp: ["mlp.c_fc", "mlp.gate", "mlp.c_proj"], ..LLAMA_MATRICES },
            norm: Norm::Layer,
            window: SlidingWindow::All,
            attention_bias: AttentionBias::FileAll { key: "use_bias", default: true },
            gated: Gated::Never,
            tied: true,
            ..LLAMA
        }),
    },
    Family {
        name: "cohere",
        aliases: &[],
        title: "Command R",
        about: "Both halves side by side behind one norm, tied embeddings",
        reader: Reader::Transformer(&Layout { norms: Norms::Beside, qk_norm: QkNorm::FileAll, tied: true, ..LLAMA }),
    },
    Family {
        name: "cohere2",
        aliases: &[],
        title: "Command A",
        about: "Command R with a window in three of four layers",
        reader: Reader::Transformer(&Layout {
            defaults: &[("sliding_window", 4096)],
            norms: Norms::Beside,
            window: SlidingWindow::AllBut { every: 4 },
            tied: true,
            ..LLAMA
        }),
    },
    Family {
        name: "exaone4",
        aliases: &[],
        title: "EXAONE 4",
        about: "Norms behind each half, and on queries and keys",
        reader: Reader::Transformer(&Layout {
            norms: Norms::Outputs,
            qk_norm: QkNorm::Head,
            window: SlidingWindow::AllBut { every: 4 },
            ..LLAMA
        }),
    },
    Family {
        name: "glm",
        aliases: &[],
        title: "GLM-4 (2024)",
        about: "Llama with one matrix for both projections of the MLP",
        reader: Reader::Transformer(&Layout { defaults: &[("head_dim", 128)], ..GLM }),
    },
    Family {
        name: "glm4",
        aliases: &[],
        title: "GLM-4",
        about: "GLM with norms before and behind each half",
        reader: Reader::Transformer(&Layout { defaults: &[("head_dim", 128)], norms: Norms::Around, ..GLM }),
    },
    Family {
        name: "glm4_moe",
        aliases: &["glm4v_moe", "glm4v_moe_text"],
        title: "GLM-4.5",
        about: "Experts behind the first layers, biases on queries, keys and values",
        reader: Reader::Transformer(&Layout {
            qk_norm: QkNorm::File,
            attention_bias: AttentionBias::FileInputs,
            experts: Some(DEEPSEEK_EXPERTS),
            ..LLAMA
        }),
    },
    Family {
        name: "deepseek_v2",
        aliases: &["deepseek_vl_v2"],
        title: "DeepSeek-V2",
        about: "Multi-head latent attention; experts behind the first layers",
        reader: Reader::Transformer(&DEEPSEEK),
    },
    Family {
        name: "deepseek_v3",
        aliases: &["kimi_k2", "kimi_k25", "kimi_vl", "glm4_moe_lite", "axk1"],
        title: "DeepSeek-V3",
        about: "DeepSeek-V2 with more and smaller experts",
        reader: Reader::Transformer(&DEEPSEEK),
    },
    Family {
        name: "deepseek_v32",
        aliases: &["glm_moe_dsa", "glm5"],
        title: "DeepSeek-V3.2",
        about: "DeepSeek-V3 with an index that chooses the positions that a query sees",
        reader: Reader::Transformer(&Layout { mixer: special::latent_indexed, ..DEEPSEEK }),
    },
    Family {
        name: "deepseek_v4",
        aliases: &[],
        title: "DeepSeek-V4",
        about: "One head of keys, old positions compressed, experts in every layer, several residual streams",
        reader: Reader::Transformer(&Layout {
            mlp_factor: Some(0),
            window: SlidingWindow::Never,
            experts: Some(ExpertLayout { layers: SparseLayers::All, ..DEEPSEEK_EXPERTS }),
            layer: special::deepseek_v4_layer,
            finish: Some(special::deepseek_v4),
            ..LLAMA
        }),
    },
    Family {
        name: "kimi_linear",
        aliases: &["kimi_k3"],
        title: "Kimi Linear",
        about: "Kimi Delta Attention in most layers, latent attention in the others; experts",
        reader: Reader::Transformer(&Layout {
            keys: LATENT_KEYS,
            mixer: special::kimi_linear,
            feed: special::latent_feed,
            experts: Some(DEEPSEEK_EXPERTS),
            ..LLAMA
        }),
    },
    Family {
        name: "gpt_oss",
        aliases: &[],
        title: "gpt-oss",
        about: "Experts with biases, sinks, a window in every other layer",
        reader: Reader::Transformer(&Layout {
            defaults: &[("sliding_window", 128), ("head_dim", 64)],
            mlp_bias: true,
            window: SlidingWindow::Alternate,
            experts: Some(ExpertLayout { router: "mlp.router", router_bias: true, ..EXPERTS }),
            attention_bias: AttentionBias::Always,
            mixer: special::sinks,
            ..LLAMA
        }),
    },
    Family {
        name: "llama4_text",
        aliases: &["llama4"],
        title: "Llama 4",
        about: "Experts with one for all tokens; most layers see a chunk only",
        reader: Reader::Transformer(&Layout {
            defaults: &[("head_dim", 128), ("attention_chunk_size", 8192)],
            experts: Some(ExpertLayout {
                per_token: Some(1),
                shared: Shared::One,
                layers: SparseLayers::Interleaved,
                router: "feed_forward.router",
                ..EXPERTS
            }),
            mixer: special::llama4,
            feed: special::llama4_feed,
            ..LLAMA
        }),
    },
    Family {
        name: "gemma3n_text",
        aliases: &["gemma3n"],
        title: "Gemma 3n",
        about: "Several streams, a narrow path beside the attention, layers that are told of their token",
        reader: Reader::Transformer(&Layout {
            defaults: &[
                ("vocab_size", 262_400),
                ("hidden_size", 2048),
                ("intermediate_size", 16_384),
                ("num_hidden_layers", 35),
                ("num_attention_heads", 8),
                ("num_key_value_heads", 2),
                ("head_dim", 256),
                ("max_position_embeddings", 32_768),
                ("sliding_window", 512),
                ("hidden_size_per_layer_input", 256),
                ("vocab_size_per_layer_input", 262_144),
                ("num_kv_shared_layers", 15),
            ],
            norms: Norms::Around,
            qk_norm: QkNorm::Head,
            window: SlidingWindow::AllBut { every: 5 },
            layer: special::gemma3n_layer,
            finish: Some(special::gemma3n),
            ..GEMMA
        }),
    },
    Family {
        name: "gemma4_text",
        aliases: &["gemma4"],
        title: "Gemma 4",
        about: "Wider heads in the layers that see everything; experts beside the MLP",
        reader: Reader::Transformer(&Layout {
            defaults: &[
                ("vocab_size", 262_144),
                ("hidden_size", 2304),
                ("intermediate_size", 9216),
                ("num_hidden_layers", 30),
                ("num_attention_heads", 8),
                ("num_key_value_heads", 4),
                ("head_dim", 256),
                ("global_head_dim", 512),
                ("max_position_embeddings", 131_072),
                ("sliding_window", 512),
                ("hidden_size_per_layer_input", 256),
                ("vocab_size_per_layer_input", 262_144),
            ],
            norms: Norms::Around,
            qk_norm: QkNorm::Head,
            window: SlidingWindow::AllBut { every: 6 },
            experts: Some(ExpertLayout { wide_as_mlp: false, router: "router.proj", ..EXPERTS }),
            layer: special::gemma4_layer,
            finish: Some(special::gemma4),
            ..GEMMA
        }),
    },
    Family {
        name: "qwen3_next",
        aliases: &[],
        title: "Qwen3-Next",
        about: "Gated delta networks in three of four layers; experts, and one for all tokens",
        reader: Reader::Transformer(&Layout { experts: Some(QWEN3_NEXT_EXPERTS), ..QWEN3_NEXT }),
    },
    Family {
        name: "qwen3_5",
        aliases: &["qwen3_5_text"],
        title: "Qwen3.5",
        about: "Gated delta networks in three of four layers",
        reader: Reader::Transformer(&QWEN3_NEXT),
    },
    Family {
        name: "qwen3_5_moe",
        aliases: &["qwen3_5_moe_text"],
        title: "Qwen3.5-MoE",
        about: "Qwen3.5 with experts, and one for all tokens",
        reader: Reader::Transformer(&Layout { experts: Some(QWEN3_NEXT_EXPERTS), ..QWEN3_NEXT }),
    },
    Family {
        name: "minimax_m2",
        aliases: &[],
        title: "MiniMax-M2",
        about: "Experts in place of every MLP, norms on queries and keys over all heads",
        reader: Reader::Transformer(&Layout { qk_norm: QkNorm::FileAll, experts: Some(EXPERTS), ..LLAMA }),
    },
    Family {
        name: "minimax_m3",
        aliases: &["minimax_m3_vl", "minimax_m3_vl_text"],
        title: "MiniMax-M3",
        about: "Experts behind the first layers, blocks of positions chosen by an index",
        reader: Reader::Transformer(&Layout {
            qk_norm: QkNorm::Head,
            experts: Some(ExpertLayout { wide_as_mlp: true, ..DEEPSEEK_EXPERTS }),
            mixer: special::minimax_m3,
            feed: special::dense_feed,
            ..LLAMA
        }),
    },
    Family {
        name: "mimo_v2_flash",
        aliases: &["mimo_v2"],
        title: "MiMo-V2",
        about: "Experts behind the first layer; layers with a window have heads of their own",
        reader: Reader::Transformer(&Layout { experts: Some(DEEPSEEK_EXPERTS), mixer: special::mimo_v2, ..LLAMA }),
    },
    Family {
        name: "step3p7",
        aliases: &["step3p5", "step3p7_text"],
        title: "Step-3.7",
        about: "Experts behind the first layers, a window in three of four",
        reader: Reader::Transformer(&Layout {
            qk_norm: QkNorm::Head,
            keys: SizeKeys { num_key_value_heads: &["num_key_value_heads", "num_attention_groups"], ..LLAMA_KEYS },
            // The first three layers have no experts, where the file does not say.
            defaults: &[("first_k_dense_replace", 3), ("share_expert_dim", 1280)],
            window: SlidingWindow::AllBut { every: 4 },
            experts: Some(ExpertLayout { shared: Shared::One, ..DEEPSEEK_EXPERTS }),
            mixer: special::step3,
            ..LLAMA
        }),
    },
    Family {
        name: "nemotron_h",
        aliases: &[],
        title: "Nemotron-H",
        about: "Layers of one part each: Mamba 2, attention, MLP or experts",
        reader: Reader::Transformer(&Layout {
            stacks: Stacks::Decoder("backbone.layers"),
            gated: Gated::Never,
            experts: Some(ExpertLayout { layers: SparseLayers::All, ..DEEPSEEK_EXPERTS }),
            layer: special::nemotron_h_layer,
            ..LLAMA
        }),
    },
    Family {
        name: "nemotron-nas",
        aliases: &["deci", "decilm"],
        title: "Llama-Nemotron",
        about: "Llama with layers that differ in heads and widths, or lack a half",
        reader: Reader::Transformer(&Layout { mlp_factor: Some(0), layer: special::nemotron_nas_layer, ..LLAMA }),
    },
    Family {
        name: "falcon",
        aliases: &["refinedweb", "refinedwebmodel"],
        title: "Falcon",
        about: "Both halves side by side, one head of keys and values or few",
        reader: Reader::Transformer(&Layout {
            stacks: Stacks::Decoder("transformer.h"),
            matrices: Matrices {
                qkv: Qkv::Packed("self_attention.query_key_value"),
                out: "self_attention.dense",
                mlp: ["mlp.dense_h_to_4h", "mlp.gate", "mlp.dense_4h_to_h"],
            },
            keys: SizeKeys {
                num_hidden_layers: &["num_hidden_layers", "n_layer"],
                num_attention_heads: &["num_attention_heads", "n_head"],
                ..LLAMA_KEYS
            },
            norm: Norm::Layer,
            positions: Positions::None,
            attention_bias: AttentionBias::FileAll { key: "bias", default: false },
            gated: Gated::Never,
            mlp_factor: Some(4),
            layer: special::falcon_layer,
            tied: true,
            ..LLAMA
        }),
    },
    Family {
        name: "falcon_h1",
        aliases: &[],
        title: "Falcon-H1",
        about: "Attention and Mamba 2 side by side, then an MLP",
        reader: Reader::Transformer(&Layout { layer: special::falcon_h1_layer, ..LLAMA }),
    },
    Family {
        name: "gpt_neox",
        aliases: &[],
        title: "GPT-NeoX",
        about: "Both halves side by side, each with a layer norm; biases",
        reader: Reader::Transformer(&NEOX),
    },
    Family {
        name: "gptj",
        aliases: &[],
        title: "GPT-J",
        about: "Both halves side by side behind one norm; biases in the MLP only",
        reader: Reader::Transformer(&Layout {
            matrices: Matrices {
                qkv: Qkv::Separate(["attn.q_proj", "attn.k_proj", "attn.v_proj"]),
                out: "attn.out_proj",
                mlp: ["mlp.fc_in", "mlp.gate", "mlp.fc_out"],
            },
            norms: Norms::Beside,
            positions: Positions::Rotary,
            attention_bias: AttentionBias::Never,
            tied: false,
            head_bias: true,
            ..GPT2
        }),
    },
    Family {
        name: "bloom",
        aliases: &[],
        title: "BLOOM",
        about: "GPT-2 with a norm over the embeddings and slopes for positions",
        reader: Reader::Transformer(&Layout {
            keys: SizeKeys {
                hidden_size: &["hidden_size", "n_embed"],
                max_position_embeddings: &["seq_length"],
                ..GPT2_KEYS
            },
            matrices: Matrices {
                qkv: Qkv::Packed("self_attention.query_key_value"),
                out: "self_attention.dense",
                mlp: ["mlp.dense_h_to_4h", "mlp.gate", "mlp.dense_4h_to_h"],
            },
            positions: Positions::None,
            embedding_norm: true,
            ..GPT2
        }),
    },
    Family {
        name: "mamba",
        aliases: &["falcon_mamba"],
        title: "Mamba",
        about: "A selective state space in every layer, and nothing else",
        reader: Reader::Transformer(&Layout {
            stacks: Stacks::Decoder("backbone.layers"),
            attends: false,
            positions: Positions::None,
            mlp_factor: Some(0),
            mixer: special::mamba,
            layer: special::mixer_alone,
            tied: true,
            ..LLAMA
        }),
    },
    Family {
        name: "mamba2",
        aliases: &[],
        title: "Mamba 2",
        about: "State spaces of several heads, and nothing else",
        reader: Reader::Transformer(&Layout {
            stacks: Stacks::Decoder("backbone.layers"),
            keys: SizeKeys { head_dim: &[], ..LLAMA_KEYS },
            attends: false,
            positions: Positions::None,
            mlp_factor: Some(0),
            mixer: special::mamba2,
            layer: special::mixer_alone,
            ..LLAMA
        }),
    },
    Family {
        name: "jamba",
        aliases: &[],
        title: "Jamba",
        about: "Mamba in most layers, attention in one of eight; experts in every second",
        reader: Reader::Transformer(&Layout {
            positions: Positions::None,
            mixer: special::jamba,
            experts: Some(ExpertLayout { layers: SparseLayers::Periodic, router: "feed_forward.router", ..EXPERTS }),
            ..LLAMA
        }),
    },
    Family {
        name: "rwkv",
        aliases: &[],
        title: "RWKV",
        about: "Time mixing and channel mixing, each with a state",
        reader: Reader::Transformer(&Layout {
            keys: SizeKeys { max_position_embeddings: &["context_length"], ..LLAMA_KEYS },
            stacks: Stacks::Decoder("rwkv.blocks"),
            attends: false,
            norm: Norm::Layer,
            positions: Positions::None,
            gated: Gated::Never,
            mlp_factor: Some(4),
            layer: special::rwkv_layer,
            finish: Some(special::rwkv),
            ..LLAMA
        }),
    },
    Family {
        name: "lfm2",
        aliases: &[],
        title: "LFM2",
        about: "Short convolutions in most layers, attention in the others",
        reader: Reader::Transformer(&Layout {
            keys: SizeKeys { intermediate_size: &["block_ff_dim", "intermediate_size"], ..LLAMA_KEYS },
            matrices: Matrices {
                out: "self_attn.out_proj",
                mlp: ["feed_forward.w3", "feed_forward.w1", "feed_forward.w2"],
                ..LLAMA_MATRICES
            },
            qk_norm: QkNorm::Head,
            attention_bias: AttentionBias::Never,
            mixer: special::lfm2,
            feed: special::lfm2_feed,
            tied: true,
            ..LLAMA
        }),
    },
    Family {
        name: "bart",
        aliases: &["mbart"],
        title: "BART",
        about: "An encoder and a decoder with learned positions, norms behind each half",
        reader: Reader::Transformer(&BART),
    },
    Family {
        name: "whisper",
        aliases: &[],
        title: "Whisper",
        about: "BART over frames of sound; norms before each half",
        reader: Reader::Transformer(&Layout {
            keys: SizeKeys { max_position_embeddings: &["max_target_positions"], ..BART_KEYS },
            norms: Norms::Before,
            positions: Positions::Learned { extra: 0 },
            attention_bias: AttentionBias::NotKeys,
            finish: Some(special::whisper),
            ..BART
        }),
    },
    Family {
        name: "roberta",
        aliases: &["xlm-roberta", "camembert"],
        title: "RoBERTa",
        about: "BERT with another vocabulary",
        reader: Reader::Transformer(&BERT),
    },
    Family {
        name: "distilbert",
        aliases: &[],
        title: "DistilBERT",
        about: "BERT without token types and pooler",
        reader: Reader::Transformer(&Layout {
            keys: SizeKeys {
                hidden_size: &["hidden_size", "dim"],
                intermediate_size: &["intermediate_size", "hidden_dim"],
                num_hidden_layers: &["num_hidden_layers", "n_layers"],
                num_attention_heads: &["num_attention_heads", "n_heads"],
                ..LLAMA_KEYS
            },
            input: TOKENS,
            pooler: Pooler::Never,
            ..BERT
        }),
    },
    Family {
        name: "modernbert",
        aliases: &[],
        title: "ModernBERT",
        about: "An encoder with rotary positions, gated MLPs and a window in two of three layers",
        reader: Reader::Transformer(&Layout {
            matrices: Matrices { qkv: Qkv::Packed("attn.Wqkv"), out: "attn.Wo", mlp: ["mlp.Wi", "mlp.gate", "mlp.Wo"] },
            stacks: Stacks::Encoder("layers"),
            norm: Norm::Rms,
            norms: Norms::Before,
            positions: Positions::Rotary,
            attention_bias: AttentionBias::Never,
            mlp_bias: false,
            gated: Gated::Packed,
            input: TOKENS,
            pooler: Pooler::Never,
            transform: Transform::Everywhere,
            layer: special::modernbert_layer,
            ..BERT
        }),
    },
    Family {
        name: "deberta",
        aliases: &[],
        title: "DeBERTa",
        about: "BERT that attends to distances",
        reader: Reader::Transformer(&Layout {
            matrices: Matrices { qkv: Qkv::Packed("attention.self.in_proj"), ..BERT_MATRICES },
            mixer: special::deberta_v1,
            ..DEBERTA
        }),
    },
    Family {
        name: "deberta-v2",
        aliases: &[],
        title: "DeBERTa V2 and V3",
        about: "BERT that attends to distances, by buckets",
        reader: Reader::Transformer(&DEBERTA),
    },
    Family {
        name: "dinov2",
        aliases: &[],
        title: "DINOv2",
        about: "ViT with scales on each half",
        reader: Reader::Transformer(&Layout {
            keys: SizeKeys { intermediate_size: &[], ..LLAMA_KEYS },
            mlp_factor: Some(4),
            // A classifier looks at the class and at the mean of the patches.
            classified: 2,
            pooler: Pooler::Never,
            feed: special::dinov2_feed,
            finish: Some(special::dinov2),
            ..VIT
        }),
    },
    Family {
        name: "stablelm",
        aliases: &[],
        title: "StableLM",
        about: "Llama with layer norms",
        reader: Reader::Transformer(&Layout {
            norm: Norm::Layer,
            norms: Norms::Before,
            attention_bias: AttentionBias::InputsBy("use_qkv_bias"),
            ..LLAMA
        }),
    },
    Family {
        name: "ernie4_5",
        aliases: &[],
        title: "ERNIE 4.5",
        about: "Llama with tied embeddings",
        reader: Reader::Transformer(&Layout {
            attention_bias: AttentionBias::FileAll { key: "use_bias", default: false },
            tied: true,
            ..LLAMA
        }),
    },
    Family {
        name: "minicpm3",
        aliases: &[],
        title: "MiniCPM3",
        about: "Llama with latent attention and tied embeddings",
        reader: Reader::Transformer(&Layout { mixer: special::latent, tied: true, ..LLAMA }),
    },
    Family {
        name: "helium",
        aliases: &[],
        title: "Helium",
        about: "Llama with pairs of channels rotated together",
        reader: Reader::Transformer(&LLAMA),
    },
    Family {
        name: "gpt_bigcode",
        aliases: &[],
        title: "StarCoder",
        about: "GPT-2 with one head of keys and values",
        reader: Reader::Transformer(&Layout { mixer: special::multi_query, ..GPT2 }),
    },
    Family {
        name: "codegen",
        aliases: &[],
        title: "CodeGen",
        about: "GPT-J with one matrix for queries, keys and values",
        reader: Reader::Transformer(&Layout {
            matrices: Matrices {
                qkv: Qkv::Packed("attn.qkv_proj"),
                out: "attn.out_proj",
                mlp: ["mlp.fc_in", "mlp.gate", "mlp.fc_out"],
            },
            norms: Norms::Beside,
            positions: Positions::Rotary,
            attention_bias: AttentionBias::Never,
            tied: false,
            head_bias: true,
            ..GPT2
        }),
    },
    Family {
        name: "clip",
        aliases: &[],
        title: "CLIP",
        about: "A tower for texts and one for images, trained on pairs",
        reader: Reader::Graph(TRANSFORMER, towers::clip),
    },
    Family {
        name: "clip_text_model",
        aliases: &["cliptext"],
        title: "CLIP, texts",
        about: "CLIP's tower for texts alone",
        reader: Reader::Graph(TRANSFORMER, towers::clip_text),
    },
    Family {
        name: "clip_vision_model",
        aliases: &["clipvision"],
        title: "CLIP, images",
        about: "CLIP's tower for images alone",
        reader: Reader::Graph(TRANSFORMER, towers::clip_vision),
    },
    Family {
        name: "siglip",
        aliases: &[],
        title: "SigLIP",
        about: "CLIP with a pooler that attends to all patches",
        reader: Reader::Graph(TRANSFORMER, towers::siglip),
    },
    Family {
        name: "siglip_text_model",
        aliases: &["sigliptext"],
        title: "SigLIP, texts",
        about: "SigLIP's tower for texts alone",
        reader: Reader::Graph(TRANSFORMER, towers::siglip_text),
    },
    Family {
        name: "siglip_vision_model",
        aliases: &["siglipvision"],
        title: "SigLIP, images",
        about: "SigLIP's tower for images alone",
        reader: Reader::Graph(TRANSFORMER, towers::siglip_vision),
    },
    Family {
        name: "swin",
        aliases: &[],
        title: "Swin",
        about: "Attention in windows that shift, in stages of falling resolution",
        reader: Reader::Graph(TRANSFORMER, vision::swin),
    },
    Family {
        name: "convnext",
        aliases: &[],
        title: "ConvNeXt",
        about: "Wide convolutions channel by channel and MLPs, in stages of falling resolution",
        reader: Reader::Graph(CNN, vision::convnext),
    },
    Family {
        name: "convnextv2",
        aliases: &[],
        title: "ConvNeXt V2",
        about: "ConvNeXt whose MLPs normalise the response of each channel",
        reader: Reader::Graph(CNN, vision::convnext_v2),
    },
    Family {
        name: "unet2d_condition",
        aliases: &["UNet2DConditionModel"],
        title: "UNet of Stable Diffusion",
        about: "Residual blocks of convolutions and attention to a text, down and up again; one denoising step",
        reader: Reader::Graph(CNN, diffusion::unet),
    },
    Family {
        name: "dit_transformer2d",
        aliases: &["DiTTransformer2DModel", "Transformer2DModel"],
        title: "DiT",
        about: "Patches of an image, norms that follow time and class; one denoising step",
        reader: Reader::Graph(TRANSFORMER, diffusion::dit),
    },
    Family {
        name: "sd3_transformer2d",
        aliases: &["SD3Transformer2DModel"],
        title: "Stable Diffusion 3",
        about: "Text and image attend to each other with weights of their own; one denoising step",
        reader: Reader::Graph(TRANSFORMER, diffusion::sd3),
    },
    Family {
        name: "flux_transformer2d",
        aliases: &["FluxTransformer2DModel"],
        title: "FLUX.1",
        about: "Stable Diffusion 3's blocks, then such with one stream for both; one denoising step",
        reader: Reader::Graph(TRANSFORMER, diffusion::flux),
    },
    Family {
        name: "resnet",
        aliases: &[],
        title: "ResNet",
        about: "Residual blocks of convolutions with batch normalisation, in stages of falling resolution",
        reader: Reader::Resnet,
    },
    Family {
        name: "cnn",
        aliases: &[],
        title: "Chain of convolutions",
        about: "Convolutions, pools and linear layers one after the other, listed in `layers`",
        reader: Reader::Cnn,
    },
    Family {
        name: "mlp",
        aliases: &[],
        title: "MLP",
        about: "Linear layers one after the other, their widths listed in `layers`",
        reader: Reader::Mlp,
    },
    Family {
        name: "gemm",
        aliases: &[],
        title: "Matrix multiplication",
        about: "One product of an m x k and a k x n matrix",
        reader: Reader::Gemm,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_is_used_twice() {
        let names = FAMILIES.iter().flat_map(|family| [family.name].into_iter().chain(family.aliases.iter().copied()));
        let mut seen = BTreeSet::new();
        for name in names {
            assert!(seen.insert(name), "{name}");
        }
        assert!(FAMILIES.iter().all(|family| !family.title.is_empty() && !family.about.is_empty()));
    }

    /// `docs/workloads.md` lists the table as it is.
    #[test]
    fn the_documentation_lists_every_family() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/workloads.md"));
        let listed =
            text.split("<!-- families -->\n").nth(1).unwrap().split("<!-- end of families -->").next().unwrap();
        let mut table = "| `model_type` | family | type | layout |\n| --- | --- | --- | --- |\n".to_owned();
        for family in FAMILIES {
            table += &format!("| `{}` | {} | {} | {} |\n", family.name, family.title, family.kind(), family.about);
        }
        assert_eq!(listed, table, "write this between the marks of docs/workloads.md:\n{table}");
    }
}
