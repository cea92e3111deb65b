//! What only one family has, or a few: mixers with a state, layers that differ, streams in parallel.
//!
//! Sizes are those that transformers' classes of the same name build (`tests/fixtures/families.py` compares them).

use serde_json::Value;

use super::layers::{
    Block, By, Heads, Index, Layer, Linear, Make, Mixer, Mixing, Mixture, MlpShape, Model, Part, Role, Sees, Table,
};
use super::layout::{Norms, Shapes};
use super::shapes::{WIDEST, feed};
use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

/// Work for each element of a state of a state space (Gu and Dao 2024, algorithm 2): decay, the outer product of input
/// and B added to it, and the sum with C.
const SCAN_FLOPS: u64 = 5;
/// Of one of a delta rule (Yang et al. 2025, equation 10): decay, what the state says of the key, the correction added
/// to it, and the sum with the query.
const DELTA_FLOPS: u64 = 7;

fn inner(linear: Linear) -> Make {
    Make::new(Role::Inner, linear)
}

fn behind(from: usize, linear: Linear) -> Make {
    Make { from: Some(from), ..inner(linear) }
}

fn state(
    makes: Vec<Make>,
    (elements, convolved, flops): (u64, u64, u64),
    out: Linear,
    extras: Vec<(&'static str, u64)>,
) -> Mixer {
    Mixer { makes, mixing: Mixing::State { elements, convolved, flops }, outs: vec![out], extras, positions: 0 }
}

/// Multi-head latent attention.
pub(super) fn latent(shapes: &Shapes<'_>, _: u64) -> Result<Mixer> {
    shapes.latent()
}

/// The same with an index.
pub(super) fn latent_indexed(shapes: &Shapes<'_>, _: u64) -> Result<Mixer> {
    shapes.indexed(shapes.latent()?)
}

/// Whether layer `layer` is of the type `name`, where the file lists types; else what `otherwise` says.
fn is_type(shapes: &Shapes<'_>, layer: u64, names: &[&str], otherwise: bool) -> Result<bool> {
    for list in ["layer_types", "layers_block_type"] {
        if let Some(of) = shapes.keys.of_layer(list, layer, shapes.layers)? {
            return Ok(of.as_str().is_some_and(|of| names.contains(&of)));
        }
    }
    Ok(otherwise)
}

/// Attention with a gate on what it makes, in every fourth layer; gated delta networks in the others (Qwen3-Next).
pub(super) fn gated_delta(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let keys = shapes.keys;
    let every = keys.optional(&["full_attention_interval"], 1024)?.unwrap_or(4);
    if !is_type(shapes, layer, &["linear_attention"], !(layer + 1).is_multiple_of(every))? {
        let mut mixer = shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, Sees::All, false)?;
        // Queries and their gates are one matrix.
        if let Some(queries) = mixer.makes.first_mut() {
            queries.linear.outputs *= 2;
        }
        return Ok(mixer);
    }
    let size = |name, default| keys.optional(&[name], 1 << 12).map(|size| size.unwrap_or(default));
    let (k_heads, v_heads) = (size("linear_num_key_heads", 16)?, size("linear_num_value_heads", 32)?);
    let (k_dim, v_dim) = (size("linear_key_head_dim", 128)?, size("linear_value_head_dim", 128)?);
    let kernel = size("linear_conv_kernel_dim", 4)?;
    let (k, v, hidden) = (k_heads * k_dim, v_heads * v_dim, shapes.hidden);
    let makes = vec![
        inner(Linear::new("linear_attn.in_proj_qkv", hidden, 2 * k + v)),
        inner(Linear::new("linear_attn.in_proj_z", hidden, v)),
        inner(Linear::new("linear_attn.in_proj_b", hidden, v_heads)),
        inner(Linear::new("linear_attn.in_proj_a", hidden, v_heads)),
        behind(0, Linear::new("linear_attn.conv1d", kernel, 2 * k + v)),
    ];
    let elements = v_heads * k_dim * v_dim;
    let sizes = (elements, (kernel - 1) * (2 * k + v), DELTA_FLOPS * elements);
    let out = Linear::new("linear_attn.out_proj", v, hidden);
    Ok(state(makes, sizes, out, vec![("linear_attn.A_log", v_heads), ("dt_bias", v_heads), ("norm", v_dim)]))
}

/// Mamba 2 (Dao and Gu 2024), by the names that its relatives give to its sizes.
fn mamba2_of(shapes: &Shapes<'_>, normed: bool) -> Result<Mixer> {
    let keys = shapes.keys;
    let hidden = shapes.hidden;
    let size = |names: &[&'static str], default| keys.optional(names, WIDEST).map(|size| size.unwrap_or(default));
    let heads = size(&["mamba_num_heads", "mamba_n_heads", "num_heads"], 128)?;
    let head = match keys.value("mamba_d_head").and_then(Value::as_str) {
        // "auto"
        Some(_) => match keys.optional(&["mamba_d_ssm"], WIDEST)? {
            Some(width) => width / heads,
            None => size(&["mamba_expand"], 2)? * hidden / heads,
        },
        None => size(&["mamba_head_dim", "mamba_d_head", "head_dim"], 64)?,
    };
    let groups = size(&["n_groups", "mamba_n_groups"], 8)?;
    let width = size(&["ssm_state_size", "mamba_d_state", "state_size"], 128)?;
    let kernel = size(&["conv_kernel", "mamba_d_conv"], 4)?;
    let conv_bias = keys.flag("use_conv_bias", true)? && keys.flag("mamba_conv_bias", true)?;
    let bias = keys.flag("mamba_proj_bias", false)? || keys.flag("use_bias", false)?;
    let within = heads * head;
    let convolved = within + 2 * groups * width;
    let makes = vec![
        inner(Linear { bias, ..Linear::new("mixer.in_proj", hidden, within + convolved + heads) }),
        behind(0, Linear { bias: conv_bias, ..Linear::new("mixer.conv1d", kernel, convolved) }),
    ];
    let out = Linear { bias, ..Linear::new("mixer.out_proj", within, hidden) };
    let norm = if normed { within } else { 0 };
    let extras = vec![("mixer.A_log", heads), ("mixer.D", heads), ("mixer.dt_bias", heads), ("mixer.norm", norm)];
    Ok(state(makes, (within * width, (kernel - 1) * convolved, SCAN_FLOPS * within * width), out, extras))
}

/// Mamba 2 in every layer.
pub(super) fn mamba2(shapes: &Shapes<'_>, _: u64) -> Result<Mixer> {
    mamba2_of(shapes, true)
}

/// Mamba (Gu and Dao 2024); `normed` with norms on what selects.
fn mamba_of(shapes: &Shapes<'_>, normed: bool) -> Result<Mixer> {
    let keys = shapes.keys;
    let hidden = shapes.hidden;
    let size = |names: &[&'static str], default| keys.optional(names, WIDEST).map(|size| size.unwrap_or(default));
    let within = match normed {
        true => size(&["mamba_expand"], 2)? * hidden,
        false => match keys.optional(&["intermediate_size"], WIDEST)? {
            Some(width) => width,
            None => size(&["expand"], 2)? * hidden,
        },
    };
    let width = size(&["state_size", "mamba_d_state"], 16)?;
    let kernel = size(&["conv_kernel", "mamba_d_conv"], 4)?;
    let rank = match keys.find(&["time_step_rank", "mamba_dt_rank"]) {
        Some((_, Value::String(_))) | None => hidden.div_ceil(16),
        Some((name, _)) => keys.required(&[name], WIDEST)?,
    };
    let bias = keys.flag("use_bias", false)? || keys.flag("mamba_proj_bias", false)?;
    let conv_bias = keys.flag("use_conv_bias", true)? && keys.flag("mamba_conv_bias", true)?;
    let makes = vec![
        inner(Linear { bias, ..Linear::new("mixer.in_proj", hidden, 2 * within) }),
        behind(0, Linear { bias: conv_bias, ..Linear::new("mixer.conv1d", kernel, within) }),
        behind(1, Linear::new("mixer.x_proj", within, rank + 2 * width)),
        behind(2, Linear { bias: true, ..Linear::new("mixer.dt_proj", rank, within) }),
    ];
    let out = Linear { bias, ..Linear::new("mixer.out_proj", within, hidden) };
    let norms = if normed { rank + 2 * width } else { 0 };
    let extras = vec![("mixer.A_log", within * width), ("mixer.D", within), ("mixer.norms", norms)];
    Ok(state(makes, (within * width, (kernel - 1) * within, SCAN_FLOPS * within * width), out, extras))
}

/// Mamba in every layer.
pub(super) fn mamba(shapes: &Shapes<'_>, _: u64) -> Result<Mixer> {
    mamba_of(shapes, false)
}

/// A layer of nothing but its mixer.
pub(super) fn mixer_alone(shapes: &Shapes<'_>, _: usize, layer: u64) -> Result<Layer> {
    Ok(shapes.arrange(vec![Block::Mix((shapes.layout.mixer)(shapes, layer)?)]))
}

/// Attention in one of eight layers, Mamba in the others (Jamba).
pub(super) fn jamba(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let period = shapes.keys.optional(&["attn_layer_period"], 1024)?.unwrap_or(8);
    let offset = shapes.keys.count(&["attn_layer_offset"], 1024)?.unwrap_or(4);
    match layer % period == offset {
        true => shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, Sees::All, false),
        false => mamba_of(shapes, true),
    }
}

/// Attention where the file lists it, Mamba 2 elsewhere (Granite 4).
pub(super) fn granite_hybrid(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    match is_type(shapes, layer, &["attention", "full_attention"], false)? {
        true => shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, Sees::All, false),
        false => mamba2_of(shapes, true),
    }
}

/// Experts, where there are some, beside an MLP for all tokens (Granite 4).
pub(super) fn granite_hybrid_layer(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Layer> {
    let keys = shapes.keys;
    let mut blocks = vec![Block::Mix(granite_hybrid(shapes, layer)?)];
    let routed = keys.count(&["num_local_experts"], 1 << 16)?.unwrap_or(8) > 0;
    let wide = keys.optional(&["shared_intermediate_size"], WIDEST)?.unwrap_or(1024);
    let names = ["shared_mlp.input_linear", "shared_mlp.gate", "shared_mlp.output_linear"];
    let shared = shapes.mlp(wide, names);
    match routed.then(|| shapes.mixture(stack, layer)).transpose()?.flatten() {
        Some(mixture) => blocks.push(Block::Sparse(Box::new(Mixture { shared: Some((shared, None)), ..mixture }))),
        None => blocks.push(Block::Dense(shared)),
    }
    Ok(shapes.arrange(blocks))
}

/// A short convolution in most layers, attention in the others (LFM2).
pub(super) fn lfm2(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let keys = shapes.keys;
    let listed = match keys.value("full_attn_idxs") {
        Some(Value::Array(all)) => all.iter().any(|of| of.as_u64() == Some(layer)),
        _ => true,
    };
    if is_type(shapes, layer, &["full_attention"], listed)? {
        return shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, Sees::All, false);
    }
    let kernel = keys.optional(&["conv_L_cache"], 64)?.unwrap_or(3);
    let (hidden, bias) = (shapes.hidden, keys.flag("conv_bias", false)?);
    let makes = vec![
        inner(Linear { bias, ..Linear::new("conv.in_proj", hidden, 3 * hidden) }),
        behind(0, Linear { bias, ..Linear::new("conv.conv1d", kernel, hidden) }),
    ];
    let out = Linear { bias, ..Linear::new("conv.out_proj", hidden, hidden) };
    Ok(state(makes, (0, (kernel - 1) * hidden, 2 * hidden), out, Vec::new()))
}

/// The width of LFM2's MLPs: two thirds of what the file says, scaled and rounded up, unless it says otherwise.
pub(super) fn lfm2_feed(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Block> {
    let keys = shapes.keys;
    let dense = keys.count(&["num_dense_layers"], 1024)?.unwrap_or(0);
    if shapes.layout.experts.is_some() && layer >= dense {
        return feed(shapes, stack, layer);
    }
    let mut width = shapes.inner;
    if shapes.layout.experts.is_none() && keys.flag("block_auto_adjust_ff_dim", true)? {
        let of = keys.optional(&["block_multiple_of"], 1 << 16)?.unwrap_or(256);
        width = width * 2 / 3;
        if let Some(factor) = keys.value("block_ffn_dim_multiplier").and_then(Value::as_f64) {
            width = (factor * width as f64) as u64;
        }
        width = width.min(WIDEST).div_ceil(of) * of;
    }
    Ok(Block::Dense(shapes.mlp(width, shapes.layout.matrices.mlp)))
}

/// RWKV-4: time mixing and channel mixing, each of which sees the token before.
pub(super) fn rwkv_layer(shapes: &Shapes<'_>, _: usize, _: u64) -> Result<Layer> {
    let hidden = shapes.hidden;
    let width = shapes.keys.optional(&["attention_hidden_size"], 1 << 20)?.unwrap_or(hidden);
    let matrix = |name| inner(Linear::new(name, hidden, width));
    let makes = vec![matrix("attention.key"), matrix("attention.value"), matrix("attention.receptance")];
    let out = Linear::new("attention.output", width, hidden);
    // Numerator, denominator and maximum of the weighed sum, and the token before.
    let extras = vec![("attention.time", 2 * width + 3 * hidden)];
    let time = state(makes, (3 * width, hidden, 4 * width), out, extras);
    let inner_width = shapes.inner;
    let makes = vec![
        inner(Linear::new("feed_forward.key", hidden, inner_width)),
        inner(Linear::new("feed_forward.receptance", hidden, hidden)),
    ];
    let out = Linear::new("feed_forward.value", inner_width, hidden);
    let channel = state(makes, (0, hidden, 0), out, vec![("feed_forward.time", 2 * hidden)]);
    Ok(shapes.arrange(vec![Block::Mix(time), Block::Mix(channel)]))
}

/// RWKV-4 has a norm before its first layer.
pub(super) fn rwkv(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    model.embedding_norm = shapes.norm();
    Ok(())
}

/// Kimi Delta Attention in most layers, latent attention in the others (Kimi Linear, arXiv 2510.26692).
pub(super) fn kimi_linear(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let keys = shapes.keys;
    let of = keys.value("linear_attn_config").cloned().unwrap_or_default();
    let size = |name: &str, default| {
        of.get(name).and_then(Value::as_u64).filter(|n| (1..=1 << 12).contains(n)).unwrap_or(default)
    };
    // Layers are counted from 1.
    let listed = of.get("full_attn_layers").and_then(Value::as_array);
    let full = listed.map_or((layer + 1).is_multiple_of(4), |all| all.iter().any(|of| of.as_u64() == Some(layer + 1)));
    let gated = keys.flag("mla_use_output_gate", false)?;
    if full {
        let mut mixer = shapes.latent()?;
        if gated {
            let width = mixer.outs.first().map_or(0, |out| out.inputs);
            mixer.makes.push(inner(Linear::new("self_attn.g_proj", shapes.hidden, width)));
        }
        return Ok(mixer);
    }
    let (heads, dim, kernel) =
        (size("num_heads", shapes.heads), size("head_dim", 128), size("short_conv_kernel_size", 4));
    let (width, hidden) = (heads * dim, shapes.hidden);
    let matrix = |name| inner(Linear::new(name, hidden, width));
    let mut makes = vec![
        matrix("self_attn.q_proj"),
        matrix("self_attn.k_proj"),
        matrix("self_attn.v_proj"),
        inner(Linear::new("self_attn.conv1d", kernel, 3 * width)),
        inner(Linear::new("self_attn.f_a_proj", hidden, dim)),
        behind(4, Linear::new("self_attn.f_b_proj", dim, width)),
        inner(Linear::new("self_attn.b_proj", hidden, heads)),
    ];
    match of.get("use_full_rank_gate").and_then(Value::as_bool) {
        Some(true) => makes.push(matrix("self_attn.g_proj")),
        _ => {
            makes.push(inner(Linear::new("self_attn.g_a_proj", hidden, dim)));
            makes.push(behind(7, Linear::new("self_attn.g_b_proj", dim, width)));
        }
    }
    let elements = heads * dim * dim;
    let extras = vec![("self_attn.A_log", heads), ("self_attn.dt_bias", width), ("self_attn.o_norm", dim)];
    let sizes = (elements, (kernel - 1) * 3 * width, DELTA_FLOPS * elements);
    Ok(state(makes, sizes, Linear::new("self_attn.o_proj", width, hidden), extras))
}

/// Experts that work in a narrower width, where the file gives one (`routed_expert_hidden_size`, `moe_latent_size`).
pub(super) fn latent_feed(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Block> {
    let block = feed(shapes, stack, layer)?;
    let narrow = shapes.keys.optional(&["routed_expert_hidden_size", "moe_latent_size"], WIDEST)?;
    Ok(match (block, narrow) {
        (Block::Sparse(mixture), Some(narrow)) => Block::Sparse(Box::new(through(*mixture, shapes.hidden, narrow))),
        (block, _) => block,
    })
}

fn through(mixture: Mixture, hidden: u64, narrow: u64) -> Mixture {
    let expert = mixture.expert;
    let into = |linear: Linear| Linear { inputs: narrow, ..linear };
    let down = Linear { outputs: narrow, ..expert.down };
    Mixture {
        expert: MlpShape { gate: expert.gate.map(into), up: into(expert.up), down },
        latent: Some((
            Linear::new("mlp.fc1_latent_proj", hidden, narrow),
            Linear::new("mlp.fc2_latent_proj", narrow, hidden),
        )),
        ..mixture
    }
}

/// Layers of one part each, which a pattern lists: M Mamba 2, * attention, - MLP, E experts (Nemotron-H).
pub(super) fn nemotron_h_layer(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Layer> {
    let keys = shapes.keys;
    let pattern = keys.text("hybrid_override_pattern")?;
    let letter = match &pattern {
        Some(pattern) => pattern.chars().nth(layer as usize),
        None => match keys.of_layer("layers_block_type", layer, shapes.layers)?.and_then(Value::as_str) {
            Some("mamba") => Some('M'),
            Some("attention" | "full_attention") => Some('*'),
            Some("mlp") => Some('-'),
            Some("moe") => Some('E'),
            _ => None,
        },
    };
    let block = match letter {
        Some('M') => Block::Mix(mamba2_of(shapes, true)?),
        Some('*') => Block::Mix(shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, Sees::All, false)?),
        Some('-') => Block::Dense(shapes.mlp(shapes.inner, shapes.layout.matrices.mlp)),
        Some('E') => latent_feed(shapes, stack, layer)?,
        other => {
            let problem = format!("layer {layer} of {} is {other:?}", shapes.layers);
            let cure = "Write one of M (Mamba 2), * (attention), - (MLP) and E (experts) for each layer";
            return Err(keys.bad("hybrid_override_pattern", problem, cure));
        }
    };
    Ok(shapes.arrange(vec![block]))
}

/// Layers that differ in heads and widths, or lack a half (Llama-Nemotron, `block_configs`).
pub(super) fn nemotron_nas_layer(shapes: &Shapes<'_>, _: usize, layer: u64) -> Result<Layer> {
    let keys = shapes.keys;
    let bad = |problem: String| keys.bad("block_configs", problem, "Give the model's complete config.json");
    let Some(of) = keys.of_layer("block_configs", layer, shapes.layers)? else {
        return Err(bad("the key is missing".into()));
    };
    let on = |part: &str, name: &str| of.get(part).and_then(|of| of.get(name)).and_then(Value::as_bool) == Some(true);
    let mut blocks = Vec::new();
    let square = |name| Linear::new(name, shapes.hidden, shapes.hidden);
    if on("attention", "replace_with_linear") {
        blocks.push(Block::Chain(vec![square("self_attn.linear_attn")]));
    } else if !on("attention", "no_op") {
        let group = of.get("attention").and_then(|of| of.get("n_heads_in_group")).and_then(Value::as_u64);
        let group = group.filter(|group| *group > 0 && shapes.heads.is_multiple_of(*group));
        let group = group.ok_or_else(|| bad(format!("n_heads_in_group of layer {layer} does not divide the heads")))?;
        let sees = match of.get("attention").and_then(|of| of.get("window_length")).and_then(Value::as_u64) {
            Some(window) if window > 0 => Sees::Window(window),
            _ => Sees::All,
        };
        blocks.push(Block::Mix(shapes.heads_of(layer, shapes.heads / group, shapes.head_dim, sees, false)?));
    }
    if on("ffn", "replace_with_linear") {
        blocks.push(Block::Chain(vec![square("mlp.linear_mlp")]));
    } else if !on("ffn", "no_op") {
        let factor = of.get("ffn").and_then(|of| of.get("ffn_mult")).and_then(Value::as_f64);
        let factor = factor.filter(|factor| (0.0..=1024.0).contains(factor));
        let factor = factor.ok_or_else(|| bad(format!("ffn_mult of layer {layer} is no factor")))?;
        // As its modelling code rounds: two thirds, up to a multiple of 256.
        let width = (2.0 * factor * shapes.hidden as f64 / 3.0) as u64;
        let width = width.min(WIDEST).next_multiple_of(256);
        blocks.push(Block::Dense(shapes.mlp(width, shapes.layout.matrices.mlp)));
    }
    Ok(shapes.arrange(blocks))
}

/// Attention and Mamba 2 side by side, then an MLP (Falcon-H1).
pub(super) fn falcon_h1_layer(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Layer> {
    let attention = shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, Sees::All, false)?;
    let mut mamba = mamba2_of(shapes, shapes.keys.flag("mamba_rms_norm", false)?)?;
    let bias = shapes.keys.flag("projectors_bias", false)?;
    mamba.outs.iter_mut().for_each(|out| out.bias = bias);
    let mut layer =
        shapes.arrange(vec![Block::Mix(attention), Block::Mix(mamba), (shapes.layout.feed)(shapes, stack, layer)?]);
    if let Some(part) = layer.parts.get_mut(1) {
        part.beside = true;
        part.norms = [0; 3];
    }
    Ok(layer)
}

/// Falcon's attention, whose heads of keys and values are told by flags.
pub(super) fn falcon_layer(shapes: &Shapes<'_>, _: usize, layer: u64) -> Result<Layer> {
    let keys = shapes.keys;
    let new = keys.flag("new_decoder_architecture", false)?;
    let kv_heads = if new {
        keys.optional(&["num_kv_heads"], 1 << 14)?.unwrap_or(shapes.heads)
    } else if keys.flag("multi_query", true)? {
        1
    } else {
        shapes.heads
    };
    let mixer = shapes.heads_of(layer, kv_heads, shapes.head_dim, Sees::All, false)?;
    let width = keys.optional(&["ffn_hidden_size"], WIDEST)?.unwrap_or(4 * shapes.hidden);
    let blocks = vec![Block::Mix(mixer), Block::Dense(shapes.mlp(width, shapes.layout.matrices.mlp))];
    let norms = match (new, keys.flag("parallel_attn", true)?) {
        (true, _) if keys.optional(&["num_ln_in_parallel_attn"], 2)?.unwrap_or(2) == 2 => Norms::BesideTwo,
        (false, false) => Norms::Before,
        _ => Norms::Beside,
    };
    Ok(shapes.arrange_as(blocks, norms))
}

/// Side by side where the file says so (GPT-NeoX, StableLM).
pub(super) fn neox_layer(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Layer> {
    let blocks = vec![Block::Mix((shapes.layout.mixer)(shapes, layer)?), (shapes.layout.feed)(shapes, stack, layer)?];
    let beside = shapes.keys.flag("use_parallel_residual", shapes.layout.norms == Norms::BesideTwo)?;
    Ok(shapes.arrange_as(blocks, if beside { shapes.layout.norms } else { Norms::Before }))
}

/// Attention with sinks: a number for each head that takes part in its softmax (gpt-oss).
pub(super) fn sinks(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let mut mixer = super::shapes::heads(shapes, layer)?;
    mixer.extras.push(("self_attn.sinks", shapes.heads));
    Ok(mixer)
}

/// Chunks in the layers with positions, everything in each fourth, which has none (Llama 4).
pub(super) fn llama4(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let keys = shapes.keys;
    let rotary = match keys.of_layer("no_rope_layers", layer, 0)? {
        Some(of) => of.as_u64() != Some(0),
        None => {
            let every = keys.optional(&["no_rope_layer_interval"], 1024)?.unwrap_or(4);
            !(layer + 1).is_multiple_of(every)
        }
    };
    let chunk = keys.optional(&["attention_chunk_size"], 1 << 24)?;
    let sees = match (chunk, is_type(shapes, layer, &["chunked_attention"], rotary)?) {
        (Some(chunk), true) => Sees::Chunk(chunk),
        _ => Sees::All,
    };
    shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, sees, false)
}

/// The dense MLPs between Llama 4's experts are wider.
pub(super) fn llama4_feed(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Block> {
    Ok(match feed(shapes, stack, layer)? {
        Block::Dense(_) => {
            let width = shapes.keys.optional(&["intermediate_size_mlp"], WIDEST)?.unwrap_or(16_384);
            Block::Dense(shapes.mlp(width, shapes.layout.matrices.mlp))
        }
        sparse => sparse,
    })
}

/// The dense MLPs before experts that have a width of their own (MiniMax-M3).
pub(super) fn dense_feed(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Block> {
    Ok(match (feed(shapes, stack, layer)?, shapes.keys.optional(&["dense_intermediate_size"], WIDEST)?) {
        (Block::Dense(_), Some(width)) => Block::Dense(shapes.mlp(width, shapes.layout.matrices.mlp)),
        (block, _) => block,
    })
}

/// Layers with a window have heads of their own, and sinks (MiMo-V2).
pub(super) fn mimo_v2(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let keys = shapes.keys;
    let windowed = match keys.of_layer("hybrid_layer_pattern", layer, shapes.layers)? {
        Some(of) => of.as_u64() == Some(1),
        None => is_type(shapes, layer, &["sliding_attention"], false)?,
    };
    let size = |swa, own, default| {
        keys.optional(if windowed { swa } else { own }, 1 << 14).map(|size| size.unwrap_or(default))
    };
    let heads = size(&["swa_num_attention_heads"], &["num_attention_heads"], shapes.heads)?;
    let kv_heads = size(&["swa_num_key_value_heads"], &["num_key_value_heads"], shapes.kv_heads)?;
    let head_dim = size(&["swa_head_dim"], &["head_dim"], shapes.head_dim)?;
    let v_dim = size(&["swa_v_head_dim"], &["v_head_dim"], head_dim)?;
    let window = keys.optional(&["sliding_window", "sliding_window_size"], 1 << 24)?;
    let sees = window.filter(|_| windowed).map_or(Sees::All, Sees::Window);
    let mut mixer = shapes.heads_of(layer, kv_heads, head_dim, sees, false)?;
    for (make, outputs) in mixer.makes.iter_mut().zip([heads * head_dim, kv_heads * head_dim, kv_heads * v_dim]) {
        make.linear.outputs = outputs;
    }
    mixer.outs.iter_mut().for_each(|out| out.inputs = heads * v_dim);
    if let Mixing::Attention(of) = &mut mixer.mixing {
        (of.heads, of.v_dim, of.kept) = (heads, v_dim, kv_heads * (head_dim + v_dim));
    }
    let (key, default) = match windowed {
        true => ("add_swa_attention_sink_bias", true),
        false => ("add_full_attention_sink_bias", false),
    };
    if keys.flag(key, default)? {
        mixer.extras.push(("self_attn.sinks", heads));
    }
    Ok(mixer)
}

/// The sizes of Gemma 3n's and Gemma 4's layers.
struct Gemma {
    /// Width of what each layer is told of a token besides; 0 where there is none.
    told: u64,
    windowed: bool,
    /// The earlier layer whose keys and values are read.
    borrows: Option<u64>,
}

fn gemma_of(shapes: &Shapes<'_>, layer: u64, every: u64) -> Result<Gemma> {
    let keys = shapes.keys;
    let windowed = |layer: u64| is_type(shapes, layer, &["sliding_attention"], !(layer + 1).is_multiple_of(every));
    let shared = keys.count(&["num_kv_shared_layers"], 1024)?.unwrap_or(0);
    let own = shapes.layers.saturating_sub(shared);
    let of = windowed(layer)?;
    let mut borrows = None;
    if layer >= own {
        for earlier in 0..own {
            if windowed(earlier)? == of {
                borrows = Some(earlier);
            }
        }
    }
    Ok(Gemma { told: keys.count(&["hidden_size_per_layer_input"], 1 << 16)?.unwrap_or(0), windowed: of, borrows })
}

/// Attention that reads the keys and values of an earlier layer.
fn borrow(mixer: &mut Mixer, layer: u64) {
    mixer.makes.retain(|make| make.role == Role::Query);
    if let Mixing::Attention(heads) = &mut mixer.mixing {
        (heads.kept, heads.borrows) = (0, Some(layer));
    }
}

/// What each layer is told of a token besides: gated by the stream, widened and added.
fn told(shapes: &Shapes<'_>, width: u64) -> Part {
    let hidden = shapes.hidden;
    let chain =
        vec![Linear::new("per_layer_input_gate", hidden, width), Linear::new("per_layer_projection", width, hidden)];
    Part { norms: [0, hidden, 0], ..Part::new(Block::Chain(chain), 0) }
}

/// The width of the MLP of a layer, where the file lists them.
fn listed_width(shapes: &Shapes<'_>, layer: u64) -> Result<u64> {
    match shapes.keys.value("intermediate_size") {
        Some(Value::Array(all)) => {
            let width = all.get(layer as usize).and_then(Value::as_u64).filter(|width| (1..=WIDEST).contains(width));
            width.ok_or_else(|| {
                let cure = "Write a width for each layer";
                shapes.keys.bad("intermediate_size", format!("layer {layer} has no width"), cure)
            })
        }
        _ => Ok(shapes.inner),
    }
}

/// Gemma 3n: several streams, of which one is worked on, a narrow path beside the attention, layers that are told of
/// their token, and layers that read the keys and values of earlier ones.
pub(super) fn gemma3n_layer(shapes: &Shapes<'_>, _: usize, layer: u64) -> Result<Layer> {
    let keys = shapes.keys;
    let hidden = shapes.hidden;
    let of = gemma_of(shapes, layer, 5)?;
    let sees = shapes.window.filter(|_| of.windowed).map_or(Sees::All, Sees::Window);
    let mut mixer = shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, sees, false)?;
    if let Some(earlier) = of.borrows {
        borrow(&mut mixer, earlier);
    }
    let width = listed_width(shapes, layer)?;
    let rank = keys.optional(&["laurel_rank"], 1 << 14)?.unwrap_or(64);
    let narrow = Block::Chain(vec![
        Linear::new("laurel.linear_left", hidden, rank),
        Linear::new("laurel.linear_right", rank, hidden),
    ]);
    let mlp = Block::Dense(shapes.mlp(width, shapes.layout.matrices.mlp));
    let mut arranged = shapes.arrange(vec![Block::Mix(mixer), mlp]);
    let laurel = Part { norms: [0, hidden, 0], beside: true, ..Part::new(narrow, 0) };
    arranged.parts.insert(1, laurel);
    arranged.parts.push(told(shapes, of.told));
    let streams = keys.optional(&["altup_num_inputs"], 64)?.unwrap_or(4);
    // A router over the streams, what it predicts and corrects, and the scale of the output.
    let altup = hidden + streams * streams + streams * streams * streams + streams * hidden + hidden;
    arranged.extras.push(("altup", altup));
    Ok(arranged)
}

/// Tables and matrices of Gemma 3n and 4 outside their layers.
fn gemma_outside(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    let keys = shapes.keys;
    let width = keys.count(&["hidden_size_per_layer_input"], 1 << 16)?.unwrap_or(0) * shapes.layers;
    if width > 0 {
        let rows = keys.optional(&["vocab_size_per_layer_input"], 1 << 24)?.unwrap_or(shapes.vocabulary);
        model.tables.push(Table { name: "embed_tokens_per_layer", rows, width, by: By::Token });
        model.extras.push(("per_layer_model_projection", width * shapes.hidden));
        model.extras.push(("per_layer_projection_norm", width / shapes.layers));
    }
    Ok(())
}

/// Gemma 3n makes its streams of the embeddings, and one of them in the end.
pub(super) fn gemma3n(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    gemma_outside(shapes, model)?;
    let streams = shapes.keys.optional(&["altup_num_inputs"], 64)?.unwrap_or(4);
    for _ in 1..streams {
        model.inputs.push(Linear::new("altup_projections", shapes.hidden, shapes.hidden));
        model.outputs.push(Linear::new("altup_unembed_projections", shapes.hidden, shapes.hidden));
    }
    Ok(())
}

/// Gemma 4: layers that see everything have wider heads, whose values may be their keys; experts beside the MLP.
pub(super) fn gemma4_layer(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Layer> {
    let keys = shapes.keys;
    let hidden = shapes.hidden;
    let of = gemma_of(shapes, layer, 6)?;
    let mut mixer = if of.windowed {
        let sees = shapes.window.map_or(Sees::All, Sees::Window);
        shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, sees, false)?
    } else {
        let head_dim = keys.optional(&["global_head_dim"], 1 << 14)?.unwrap_or(shapes.head_dim);
        let same = keys.flag("attention_k_eq_v", false)?;
        let kv_heads = keys.optional(&["num_global_key_value_heads"], 1 << 14)?.filter(|_| same);
        let mut mixer = shapes.heads_of(layer, kv_heads.unwrap_or(shapes.kv_heads), head_dim, Sees::All, false)?;
        if same {
            mixer.makes.truncate(2);
        }
        mixer
    };
    if let Some(earlier) = of.borrows {
        borrow(&mut mixer, earlier);
    }
    let double = of.borrows.is_some() && keys.flag("use_double_wide_mlp", false)?;
    let width = shapes.inner * if double { 2 } else { 1 };
    let mut arranged =
        shapes.arrange(vec![Block::Mix(mixer), Block::Dense(shapes.mlp(width, shapes.layout.matrices.mlp))]);
    if keys.flag("enable_moe_block", false)?
        && let Some(mixture) = shapes.mixture(stack, layer)?
    {
        let extras = vec![("router.scale", hidden + mixture.experts)];
        let part = Part::new(Block::Sparse(Box::new(Mixture { extras, ..mixture })), hidden);
        arranged.parts.push(Part { norms: [hidden, hidden, 0], beside: true, ..part });
        arranged.extras.push(("post_feedforward_layernorm", hidden));
    }
    if of.told > 0 {
        arranged.parts.push(told(shapes, of.told));
    }
    Ok(arranged)
}

/// Gemma 4 outside its layers.
pub(super) fn gemma4(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    gemma_outside(shapes, model)
}

/// DeepSeek-V4: one key and value head, whose old positions are compressed; several residual streams.
pub(super) fn deepseek_v4_layer(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Layer> {
    let keys = shapes.keys;
    let size = |name| keys.required(&[name], 1 << 20);
    let (hidden, heads, dim) = (shapes.hidden, shapes.heads, shapes.head_dim);
    let (q_rank, o_rank, groups) = (size("q_lora_rank")?, size("o_lora_rank")?, size("o_groups")?);
    let window = keys.optional(&["sliding_window"], 1 << 24)?.unwrap_or(128);
    let streams = keys.optional(&["hc_mult"], 64)?.unwrap_or(4);
    let ratio = match keys.of_layer("compress_ratios", layer, shapes.layers)? {
        Some(of) => of.as_u64().filter(|ratio| *ratio <= 1 << 16).unwrap_or(0),
        None if is_type(shapes, layer, &["compressed_sparse_attention"], false)? => 4,
        None if is_type(shapes, layer, &["heavily_compressed_attention"], false)? => 128,
        None => 0,
    };
    let kept = |linear| Make { norm: dim, ..Make::new(Role::Kept, linear) };
    let mut makes = vec![
        Make { norm: q_rank, ..inner(Linear::new("self_attn.q_a_proj", hidden, q_rank)) },
        Make { from: Some(0), ..Make::new(Role::Query, Linear::new("self_attn.q_b_proj", q_rank, heads * dim)) },
        kept(Linear::new("self_attn.kv_proj", hidden, dim)),
    ];
    let mut extras = vec![("self_attn.sinks", heads)];
    let mut index = None;
    // Entries of four positions overlap, and so are made twice as wide; an index chooses among them.
    let overlaps = ratio > 0 && ratio <= 4;
    let wide = if overlaps { 2 } else { 1 };
    if ratio > 0 {
        makes.push(inner(Linear::new("self_attn.compressor.kv_proj", hidden, wide * dim)));
        makes.push(inner(Linear::new("self_attn.compressor.gate_proj", hidden, wide * dim)));
        extras.push(("self_attn.compressor", ratio * wide * dim + dim));
    }
    let mut chosen = u64::MAX;
    if overlaps {
        let (of_heads, of_dim) = (size("index_n_heads")?, size("index_head_dim")?);
        chosen = size("index_topk")?;
        makes.push(inner(Linear::new("self_attn.indexer.kv_proj", hidden, wide * of_dim)));
        makes.push(inner(Linear::new("self_attn.indexer.gate_proj", hidden, wide * of_dim)));
        makes.push(behind(0, Linear::new("self_attn.indexer.q_b_proj", q_rank, of_heads * of_dim)));
        makes.push(inner(Linear::new("self_attn.indexer.weights_proj", hidden, of_heads)));
        extras.push(("self_attn.indexer", ratio * wide * of_dim + of_dim));
        index = Some(Index { heads: of_heads, dim: of_dim, ratio });
    }
    let sees = match ratio {
        0 => Sees::Window(window),
        ratio => Sees::Compressed { window, ratio, chosen },
    };
    let mixing = Mixing::Attention(Heads {
        heads,
        kv_heads: 1,
        qk_dim: dim,
        v_dim: dim,
        latent: None,
        sees,
        // The value is the key.
        kept: dim,
        borrows: None,
        index,
    });
    let outs = vec![
        Linear::new("self_attn.o_a_proj", heads * dim / groups, groups * o_rank),
        Linear::new("self_attn.o_b_proj", groups * o_rank, hidden),
    ];
    let mut layer = shapes.arrange(vec![
        Block::Mix(Mixer { makes, mixing, outs, extras, positions: 0 }),
        (shapes.layout.feed)(shapes, stack, layer)?,
    ]);
    // How the streams are mixed before and after each half: a matrix over all of them, with offsets and scales.
    let mixed = (2 + streams) * streams;
    layer.extras.push(("hyper_connections", 2 * (mixed * streams * hidden + mixed + 3)));
    Ok(layer)
}

/// The streams become one before the head.
pub(super) fn deepseek_v4(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    let streams = shapes.keys.optional(&["hc_mult"], 64)?.unwrap_or(4);
    model.extras.push(("hc_head", streams * streams * shapes.hidden + streams + 1));
    Ok(())
}

/// The first layer of ModernBERT has no norm before its attention; two of three layers see a window.
pub(super) fn modernbert_layer(shapes: &Shapes<'_>, stack: usize, layer: u64) -> Result<Layer> {
    let every = shapes.keys.optional(&["global_attn_every_n_layers"], 1024)?.unwrap_or(3);
    let window = shapes.keys.optional(&["local_attention"], 1 << 24)?.unwrap_or(128);
    let local = is_type(shapes, layer, &["sliding_attention"], !layer.is_multiple_of(every))?;
    let sees = if local { Sees::Window(window) } else { Sees::All };
    let mut mixer = shapes.heads_of(layer, shapes.kv_heads, shapes.head_dim, sees, false)?;
    if let Mixing::Attention(heads) = &mut mixer.mixing {
        heads.kept = 0;
    }
    let mut arranged = shapes.arrange(vec![Block::Mix(mixer), (shapes.layout.feed)(shapes, stack, layer)?]);
    if let (0, Some(part)) = (layer, arranged.parts.first_mut()) {
        part.norms[0] = 0;
    }
    Ok(arranged)
}

/// DeBERTa attends to distances too: a table of them for all layers, and in each layer the matrices that it is read through.
pub(super) fn deberta(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    let keys = shapes.keys;
    let hidden = shapes.hidden;
    if !keys.flag("position_biased_input", true)? {
        model.tables.retain(|table| table.by != By::Position);
    }
    model.embedding_norm = shapes.norm();
    if !keys.flag("relative_attention", false)? {
        return Ok(());
    }
    let furthest = match keys.value("max_relative_positions").and_then(Value::as_u64) {
        Some(distances) if distances > 0 => distances,
        _ => model.positions,
    };
    let rows = match keys.value("position_buckets").and_then(Value::as_u64) {
        Some(buckets) if buckets > 0 => buckets,
        _ => furthest,
    };
    model.tables.push(Table { name: "rel_embeddings", rows: 2 * rows, width: hidden, by: By::Kind });
    if keys.text("norm_rel_ebd")?.is_some_and(|norm| norm.contains("layer_norm")) {
        model.extras.push(("encoder.LayerNorm", 2 * hidden));
    }
    if keys.flag("share_att_key", false)? {
        return Ok(());
    }
    let kinds = match keys.value("pos_att_type") {
        Some(Value::String(kinds)) => kinds.clone(),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        _ => String::new(),
    };
    let packed = shapes.layout.key_name().is_empty();
    for part in model.stacks.iter_mut().flat_map(|stack| &mut stack.layers).flat_map(|layer| &mut layer.parts) {
        let Block::Mix(mixer) = &mut part.block else { continue };
        if kinds.contains("c2p") {
            let linear = Linear::new("attention.self.pos_key_proj", hidden, hidden);
            mixer.makes.push(inner(Linear { bias: !packed, ..linear }));
        }
        if kinds.contains("p2c") {
            let linear = Linear::new("attention.self.pos_query_proj", hidden, hidden);
            mixer.makes.push(inner(Linear { bias: true, ..linear }));
        }
    }
    Ok(())
}

/// DeBERTa's first version: queries and values have biases of their own.
pub(super) fn deberta_v1(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let mut mixer = super::shapes::heads(shapes, layer)?;
    mixer.makes.iter_mut().for_each(|make| make.linear.bias = false);
    mixer.extras.push(("attention.self.biases", 2 * shapes.hidden));
    Ok(mixer)
}

/// Whisper's encoder reads frames of sound through two convolutions; its positions are stored, and end earlier.
pub(super) fn whisper(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    let keys = shapes.keys;
    let mel = keys.optional(&["num_mel_bins"], 1 << 14)?.unwrap_or(80);
    let frames = keys.optional(&["max_source_positions"], 1 << 20)?.unwrap_or(1500);
    let hidden = shapes.hidden;
    // Three frames of the spectrogram, then three of what was made of them.
    model.extras.push(("encoder.conv", (3 * mel + 1) * hidden + (3 * hidden + 1) * hidden));
    if let Some(table) = model.tables.first_mut() {
        table.rows = frames;
    }
    Ok(())
}

/// BART's decoder has a norm of its own over the embeddings, and a last norm where the file says so (mBART).
pub(super) fn bart(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    let norm = shapes.norm();
    if shapes.keys.flag("normalize_embedding", true)? {
        model.embedding_norm = norm;
        model.extras.push(("decoder.layernorm_embedding", norm));
    }
    Ok(())
}

/// A vision Transformer without its classifier's norm: scales on each half, and a token for masked patches (DINOv2).
pub(super) fn dinov2(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    let hidden = shapes.hidden;
    for layer in model.stacks.iter_mut().flat_map(|stack| &mut stack.layers) {
        layer.extras.push(("layer_scale", 2 * hidden));
    }
    if shapes.keys.flag("use_mask_token", true)? {
        model.extras.push(("embeddings.mask_token", hidden));
    }
    Ok(())
}

/// DINOv2's MLP: a multiple of the width, or gated and rounded (`use_swiglu_ffn`).
pub(super) fn dinov2_feed(shapes: &Shapes<'_>, _: usize, _: u64) -> Result<Block> {
    let factor = shapes.keys.optional(&["mlp_ratio"], 64)?.unwrap_or(4);
    let width = factor * shapes.hidden;
    let names = shapes.layout.matrices.mlp;
    Ok(Block::Dense(match shapes.keys.flag("use_swiglu_ffn", false)? {
        true => {
            // Two thirds, up to a multiple of 8, both projections in one.
            let width = (width * 2 / 3).next_multiple_of(8);
            let mlp = shapes.mlp(width, names);
            MlpShape { up: Linear { outputs: 2 * width, ..mlp.up }, ..mlp }
        }
        false => shapes.mlp(width, names),
    }))
}

/// A head with biases, where the file says so (`lm_head_bias`).
pub(super) fn head_bias(shapes: &Shapes<'_>, model: &mut Model) -> Result<()> {
    let bias = shapes.keys.flag("lm_head_bias", false)?;
    if let Some(head) = &mut model.head {
        head.bias = bias;
    }
    Ok(())
}

/// Blocks of positions, which an index with keys of its own chooses (MiniMax-M3, `sparse_attention_config`).
pub(super) fn minimax_m3(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let mut mixer = super::shapes::heads(shapes, layer)?;
    let Some(of) = shapes.keys.value("sparse_attention_config") else { return Ok(mixer) };
    let number = |name: &str| of.get(name).and_then(Value::as_u64).filter(|n| (1..=1 << 20).contains(n));
    let listed = of.get("sparse_attention_freq").and_then(|all| all.get(layer as usize)).and_then(Value::as_u64);
    if listed != Some(1) || of.get("use_sparse_attention").and_then(Value::as_bool) == Some(false) {
        return Ok(mixer);
    }
    let (Some(heads), Some(dim)) = (number("sparse_num_index_heads"), number("sparse_index_dim")) else {
        return Ok(mixer);
    };
    let norm = shapes.norm_of(dim);
    let make = |name, outputs| Make { norm, ..inner(Linear::new(name, shapes.hidden, outputs)) };
    mixer.makes.push(make("self_attn.indexer.q_proj", heads * dim));
    mixer.makes.push(make("self_attn.indexer.k_proj", dim));
    if let (Mixing::Attention(heads_of), Some(block), Some(blocks)) =
        (&mut mixer.mixing, number("sparse_block_size"), number("sparse_topk_blocks"))
    {
        heads_of.sees = Sees::Chosen(block * blocks);
        heads_of.index = Some(Index { heads, dim, ratio: 1 });
    }
    Ok(mixer)
}

/// A gate for each head; layers with a window may have more of them (Step-3.7).
pub(super) fn step3(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let keys = shapes.keys;
    let mut mixer = super::shapes::heads(shapes, layer)?;
    let windowed = matches!(mixer.heads().map(|heads| heads.sees), Some(Sees::Window(_)));
    let other =
        keys.value("attention_other_setting").and_then(|of| of.get("num_attention_heads")).and_then(Value::as_u64);
    let more = keys.optional(&["num_sliding_attention_heads"], 1 << 14)?.or(other);
    let heads = more.filter(|_| windowed).unwrap_or(shapes.heads);
    if !heads.is_multiple_of(shapes.kv_heads) || heads > 1 << 14 {
        let problem = format!("{heads} heads do not share {} heads of keys and values", shapes.kv_heads);
        return Err(keys.bad("num_sliding_attention_heads", problem, "Correct one of the two"));
    }
    if let Some(queries) = mixer.makes.first_mut() {
        queries.linear.outputs = heads * shapes.head_dim;
    }
    mixer.outs.iter_mut().for_each(|out| out.inputs = heads * shapes.head_dim);
    if let Mixing::Attention(of) = &mut mixer.mixing {
        of.heads = heads;
    }
    mixer.makes.push(inner(Linear::new("self_attn.g_proj", shapes.hidden, heads)));
    Ok(mixer)
}

/// One head of keys and values for all heads of queries, unless the file says otherwise (`multi_query`).
pub(super) fn multi_query(shapes: &Shapes<'_>, layer: u64) -> Result<Mixer> {
    let kv_heads = if shapes.keys.flag("multi_query", true)? { 1 } else { shapes.heads };
    shapes.heads_of(layer, kv_heads, shapes.head_dim, Sees::All, false)
}
