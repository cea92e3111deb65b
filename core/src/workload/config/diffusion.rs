//! The denoisers of diffusion models, with the keys of diffusers: UNets (Rombach et al. 2022), and Transformers whose norms
//! follow the time (Peebles and Xie 2023; Esser et al. 2024).
//!
//! A pass is one denoising step of a batch of latents, without those of classifier-free guidance; texts come encoded. Names
//! and defaults are those of diffusers' classes.

use serde_json::Value;

use super::keys::{Keys, show};
use super::network::{BlockKind, Network, NetworkBuilder, Window};
use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

const EXPORT: &str = "Export the model as ONNX, or record an execution trace of it";
/// Channels of the sine and cosine of a time (`Timesteps(num_channels=256)`).
const TIME: u64 = 256;

/// A number for each of `count` blocks: one for all, or a list.
fn each(keys: &Keys<'_>, name: &'static str, count: usize, default: u64) -> Result<Vec<u64>> {
    match keys.value(name) {
        Some(Value::Array(_)) => keys.list(name, count..=count, 1 << 16),
        _ => Ok(vec![keys.optional(&[name], 1 << 16)?.unwrap_or(default); count]),
    }
}

/// Fails where a key says what is not counted.
fn refuse(keys: &Keys<'_>, name: &'static str) -> Result<()> {
    match keys.value(name) {
        None | Some(Value::Bool(false)) => Ok(()),
        Some(value) => Err(keys.bad(name, format!("the value is {}, which is not counted", show(value)), EXPORT)),
    }
}

/// The parts of a UNet.
struct Unet<'k> {
    keys: &'k Keys<'k>,
    chain: NetworkBuilder,
    /// The embedding of the time, and the vectors of the text.
    time: usize,
    text: usize,
    /// Whether the time scales as well as shifts.
    scaled: bool,
}

/// The attention of a block of a UNet.
#[derive(Clone, Copy)]
struct Attends {
    layers: u64,
    heads: u64,
}

impl Unet<'_> {
    fn channels(&self, of: usize) -> u64 {
        self.chain.network.out(of)[0]
    }

    fn conv(&mut self, name: &str, from: usize, filters: u64, stride: u64) -> Result<usize> {
        self.chain.conv(name, from, filters, Window { size: 3, stride, padding: 1 }, (1, true))
    }

    fn resnet(&mut self, name: &str, from: usize, filters: u64) -> Result<usize> {
        self.chain.layer += 1;
        let of = |part: &str| format!("{name}.{part}");
        let mut x = self.chain.norm(&of("norm1"), from);
        x = self.chain.active(&of("norm1"), x);
        x = self.conv(&of("conv1"), x, filters, 1)?;
        let time =
            self.chain.linear(&of("time_emb_proj"), self.time, filters * if self.scaled { 2 } else { 1 }, true)?;
        x = self.chain.add(&of("time"), x, time);
        x = self.chain.norm(&of("norm2"), x);
        x = self.chain.active(&of("norm2"), x);
        x = self.conv(&of("conv2"), x, filters, 1)?;
        let skip = match self.channels(from) == filters {
            true => from,
            false => self.chain.linear(&of("conv_shortcut"), from, filters, true)?,
        };
        Ok(self.chain.add(name, x, skip))
    }

    fn attends(&mut self, name: &str, from: usize, attends: Attends) -> Result<usize> {
        let width = self.channels(from);
        if !width.is_multiple_of(attends.heads) {
            let problem = format!("{} heads do not divide {width} channels", attends.heads);
            return Err(self.keys.bad("attention_head_dim", problem, "Correct one of the two"));
        }
        let of = |part: &str| format!("{name}.{part}");
        let normed = self.chain.norm(&of("norm"), from);
        let mut x = self.chain.linear(&of("proj_in"), normed, width, true)?;
        for layer in 0..attends.layers {
            let of = |part: &str| format!("{name}.transformer_blocks.{layer}.{part}");
            for (norm, part) in [("norm1", "attn1"), ("norm2", "attn2")] {
                let normed = self.chain.norm(&of(norm), x);
                let seen = if part == "attn1" { normed } else { self.text };
                let mut made = [normed, seen, seen];
                for (value, name) in made.iter_mut().zip(["to_q", "to_k", "to_v"]) {
                    *value = self.chain.linear(&of(&format!("{part}.{name}")), *value, width, false)?;
                }
                let mixed = self.chain.attention(&of(part), made, attends.heads);
                let out = self.chain.linear(&of(&format!("{part}.to_out")), mixed, width, true)?;
                x = self.chain.add(&of(part), out, x);
            }
            let normed = self.chain.norm(&of("norm3"), x);
            let up = self.chain.linear(&of("ff.net.0.proj"), normed, 8 * width, true)?;
            let [_, high, wide] = self.chain.network.out(up);
            let gated = self.chain.push(of("ff.net.0.gate"), up, BlockKind::Gate, [4 * width, high, wide]);
            let down = self.chain.linear(&of("ff.net.2"), gated, width, true)?;
            x = self.chain.add(&of("ff"), down, x);
        }
        let out = self.chain.linear(&of("proj_out"), x, width, true)?;
        Ok(self.chain.add(name, out, from))
    }
}

/// `UNet2DConditionModel`.
pub(super) fn unet(keys: &Keys<'_>) -> Result<Network> {
    for name in [
        "only_cross_attention",
        "dual_cross_attention",
        "class_embed_type",
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "time_cond_proj_dim",
        "time_embedding_dim",
        "time_embedding_act_fn",
        "timestep_post_act",
        "cross_attention_norm",
        "class_embeddings_concat",
        "reverse_transformer_layers_per_block",
    ] {
        refuse(keys, name)?;
    }
    let widths = match keys.value("block_out_channels") {
        Some(_) => keys.list("block_out_channels", 1..=16, 1 << 14)?,
        None => vec![320, 640, 1280, 1280],
    };
    let count = widths.len();
    let kinds = |name: &'static str, plain: &str, attends: &str| -> Result<Vec<bool>> {
        let Some(value) = keys.value(name) else {
            // Those of the class: the deepest block has no attention.
            let deepest = if name.starts_with("down") { count - 1 } else { 0 };
            return Ok((0..count).map(|at| at != deepest).collect());
        };
        let cure = format!("Write a list of {plain} and {attends}, one for each block");
        let Some(all) = value.as_array().filter(|all| all.len() == count) else {
            return Err(keys.bad(name, format!("the value is {}, for {count} blocks", show(value)), &cure));
        };
        let kind = |value: &Value| match value.as_str() {
            Some(kind) if kind == plain => Ok(false),
            Some(kind) if kind == attends => Ok(true),
            _ => Err(keys.bad(name, format!("{} is not counted", show(value)), &cure)),
        };
        all.iter().map(kind).collect()
    };
    let down = kinds("down_block_types", "DownBlock2D", "CrossAttnDownBlock2D")?;
    let up = kinds("up_block_types", "UpBlock2D", "CrossAttnUpBlock2D")?;
    let layers = each(keys, "layers_per_block", count, 2)?;
    let deep = each(keys, "transformer_layers_per_block", count, 1)?;
    let text_widths = each(keys, "cross_attention_dim", count, 1280)?;
    let heads = match keys.value("num_attention_heads") {
        // The name is historical: it has always been the number of heads.
        None => each(keys, "attention_head_dim", count, 8)?,
        Some(_) => each(keys, "num_attention_heads", count, 8)?,
    };
    let side = keys.optional(&["sample_size"], 1 << 12)?.unwrap_or(64);
    let [inputs, outputs] = ["in_channels", "out_channels"].map(|name| keys.optional(&[name], 1 << 12));
    let mut chain = NetworkBuilder::new([inputs?.unwrap_or(4), side, side]);
    // The tokens of CLIP's text, to which Stable Diffusion pads.
    let text = chain.push("encoder_hidden_states", 0, BlockKind::Input, [text_widths[0], 77, 1]);
    if let Some(other) = text_widths.iter().find(|width| **width != text_widths[0]) {
        return Err(keys.bad("cross_attention_dim", format!("blocks differ ({other})"), EXPORT));
    }
    let steps = chain.push("timestep", 0, BlockKind::Input, [widths[0], 1, 1]);
    let wide = 4 * widths[0];
    let mut time = chain.mlp(["time_embedding.linear_1", "time_embedding.linear_2"], steps, wide, wide)?;
    match keys.text("addition_embed_type")?.as_deref() {
        None => {}
        Some("text_time") => {
            let width = keys.required(&["projection_class_embeddings_input_dim"], 1 << 16)?;
            let added = chain.push("added_conditions", 0, BlockKind::Input, [width, 1, 1]);
            let added = chain.mlp(["add_embedding.linear_1", "add_embedding.linear_2"], added, wide, wide)?;
            time = chain.add("add_embedding", time, added);
        }
        Some(other) => {
            return Err(keys.bad("addition_embed_type", format!("\"{other}\" is not counted"), EXPORT));
        }
    }
    if let Some(classes) = keys.optional(&["num_class_embeds"], 1 << 20)? {
        let rows = chain.push("class_embedding", 0, BlockKind::Rows { rows: classes }, [wide, 1, 1]);
        time = chain.add("class_embedding", time, rows);
    }
    let time = chain.active("time_embedding", time);
    let scaled = keys.text("resnet_time_scale_shift")?.is_some_and(|kind| kind == "scale_shift");
    let mut unet = Unet { keys, chain, time, text, scaled };
    let mut x = unet.conv("conv_in", 0, widths[0], 1)?;
    let mut skips = vec![x];
    for (block, width) in widths.iter().enumerate() {
        let attends = Attends { layers: deep[block], heads: heads[block] };
        for layer in 0..layers[block] {
            x = unet.resnet(&format!("down_blocks.{block}.resnets.{layer}"), x, *width)?;
            if down[block] {
                x = unet.attends(&format!("down_blocks.{block}.attentions.{layer}"), x, attends)?;
            }
            skips.push(x);
        }
        if block + 1 < count {
            x = unet.conv(&format!("down_blocks.{block}.downsamplers.0.conv"), x, *width, 2)?;
            skips.push(x);
        }
    }
    let (last, deepest) = (count - 1, widths[count - 1]);
    match keys.text("mid_block_type")?.as_deref() {
        _ if keys.keys.get("mid_block_type").is_some_and(Value::is_null) => {}
        None | Some("UNetMidBlock2DCrossAttn") => {
            x = unet.resnet("mid_block.resnets.0", x, deepest)?;
            x = unet.attends("mid_block.attentions.0", x, Attends { layers: deep[last], heads: heads[last] })?;
            x = unet.resnet("mid_block.resnets.1", x, deepest)?;
        }
        Some(other) => return Err(keys.bad("mid_block_type", format!("\"{other}\" is not counted"), EXPORT)),
    }
    for (block, width) in widths.iter().rev().enumerate() {
        let from_end = last - block;
        let attends = Attends { layers: deep[from_end], heads: heads[from_end] };
        for layer in 0..=layers[from_end] {
            let skip = skips.pop().ok_or_else(|| Error::Internal("a UNet without its skips".into()))?;
            let name = format!("up_blocks.{block}.resnets.{layer}");
            let joined = unet.chain.concat(&name, x, skip);
            x = unet.resnet(&name, joined, *width)?;
            if up[block] {
                x = unet.attends(&format!("up_blocks.{block}.attentions.{layer}"), x, attends)?;
            }
        }
        if let Some(next) = skips.last() {
            let name = format!("up_blocks.{block}.upsamplers.0");
            let [_, high, wide] = unet.chain.network.out(*next);
            let larger = unet.chain.lay(&name, x, [*width, high, wide]);
            x = unet.conv(&format!("{name}.conv"), larger, *width, 1)?;
        }
    }
    unet.chain.layer += 1;
    x = unet.chain.norm("conv_norm_out", x);
    x = unet.chain.active("conv_norm_out", x);
    unet.conv("conv_out", x, outputs?.unwrap_or(4), 1)?;
    Ok(unet.chain.network)
}

/// A Transformer whose norms are shifted and scaled by an embedding of the time.
struct Dit {
    chain: NetworkBuilder,
    width: u64,
    heads: u64,
    /// The embedding of time and conditions, behind its activation.
    time: usize,
    /// Elements of a norm on queries or keys; 0 where there is none.
    qk_norm: u64,
}

/// What is made of one stream in a block: what it began with, and its modulations.
#[derive(Clone, Copy)]
struct Stream {
    x: usize,
    /// Shifts, scales and gates.
    modulation: usize,
    normed: usize,
}

impl Dit {
    fn new(keys: &Keys<'_>, image: [u64; 3], heads: u64, head_dim: u64) -> Result<Self> {
        let heads = keys.optional(&["num_attention_heads"], 1 << 10)?.unwrap_or(heads);
        let head_dim = keys.optional(&["attention_head_dim"], 1 << 12)?.unwrap_or(head_dim);
        let qk_norm = match keys.text("qk_norm")?.as_deref() {
            None => 0,
            Some("rms_norm") => head_dim,
            Some(other) => return Err(keys.bad("qk_norm", format!("\"{other}\" is not counted"), EXPORT)),
        };
        Ok(Self { chain: NetworkBuilder::new(image), width: heads * head_dim, heads, time: 0, qk_norm })
    }

    /// An embedding of what comes in from outside: two layers.
    fn embedding(&mut self, name: &str, inputs: u64) -> Result<usize> {
        let input = self.chain.push(format!("{name}.in"), 0, BlockKind::Input, [inputs, 1, 1]);
        let names = [format!("{name}.linear_1"), format!("{name}.linear_2")];
        self.chain.mlp([&names[0], &names[1]], input, self.width, self.width)
    }

    /// A norm without weights, shifted and scaled by `parts` vectors that are made of the time.
    fn modulated(&mut self, name: &str, x: usize, parts: u64) -> Result<Stream> {
        let modulation = self.chain.linear(&format!("{name}.linear"), self.time, parts * self.width, true)?;
        let normed = self.chain.scale(name, x, 0);
        Ok(Stream { x, modulation, normed: self.chain.add(name, normed, modulation) })
    }

    /// Queries, keys and values.
    fn project(&mut self, name: &str, from: usize, names: [&str; 3]) -> Result<[usize; 3]> {
        let mut made = [from; 3];
        for (at, (value, part)) in made.iter_mut().zip(names).enumerate() {
            let of = format!("{name}.{part}");
            *value = self.chain.linear(&of, from, self.width, true)?;
            if at < 2 && self.qk_norm > 0 {
                *value = self.chain.scale(&format!("{of}.norm"), *value, self.qk_norm);
            }
        }
        Ok(made)
    }

    /// The positions of two streams, one behind the other.
    fn join(&mut self, name: &str, first: usize, second: usize) -> usize {
        let ([width, a, _], [_, b, _]) = (self.chain.network.out(first), self.chain.network.out(second));
        self.chain.push(format!("{name}.joined"), first, BlockKind::Copy(Some(second)), [width, a + b, 1])
    }

    /// A part of the positions of `from`: as many as `like` has.
    fn part(&mut self, name: &str, from: usize, like: usize) -> usize {
        let positions = self.chain.network.out(like)[1];
        let width = self.chain.network.out(from)[0];
        self.chain.lay(name, from, [width, positions, 1])
    }

    /// The matrix out, its gate, and the sum with what the stream began with.
    fn close(&mut self, name: &str, stream: Stream, mixed: usize) -> Result<usize> {
        let out = self.chain.linear(name, mixed, self.width, true)?;
        let gated = self.chain.add(&format!("{name}.gate"), out, stream.modulation);
        Ok(self.chain.add(name, gated, stream.x))
    }

    /// The MLP of a stream, four times as wide.
    fn feed(&mut self, name: &str, stream: Stream, x: usize) -> Result<usize> {
        let normed = self.chain.scale(&format!("{name}.norm"), x, 0);
        let normed = self.chain.add(&format!("{name}.norm"), normed, stream.modulation);
        let names = [format!("{name}.net.0.proj"), format!("{name}.net.2")];
        let out = self.chain.mlp([&names[0], &names[1]], normed, 4 * self.width, self.width)?;
        let gated = self.chain.add(&format!("{name}.gate"), out, stream.modulation);
        Ok(self.chain.add(name, gated, x))
    }

    /// The last norm and the matrix to patches.
    fn end(mut self, names: [&str; 2], x: usize, outputs: u64) -> Result<Network> {
        self.chain.layer += 1;
        let stream = self.modulated(names[0], x, 2)?;
        self.chain.linear(names[1], stream.normed, outputs, true)?;
        Ok(self.chain.network)
    }

    /// A block in which a text and an image attend to each other, each with weights of its own. The last one makes nothing
    /// more of the text, where `last` says so.
    fn joint(&mut self, name: &str, [image, text]: [usize; 2], twice: bool, last: bool) -> Result<[usize; 2]> {
        self.chain.layer += 1;
        let of = |part: &str| format!("{name}.{part}");
        let seen = self.modulated(&of("norm1"), image, if twice { 9 } else { 6 })?;
        let read = self.modulated(&of("norm1_context"), text, if last { 2 } else { 6 })?;
        let own = self.project(&of("attn"), seen.normed, ["to_q", "to_k", "to_v"])?;
        let added = self.project(&of("attn"), read.normed, ["add_q_proj", "add_k_proj", "add_v_proj"])?;
        let mut all = own;
        for (value, other) in all.iter_mut().zip(added) {
            *value = self.join(&of("attn"), *value, other);
        }
        let mixed = self.chain.attention(&of("attn"), all, self.heads);
        let mine = self.part(&of("attn.image"), mixed, image);
        let mut x = self.close(&of("attn.to_out"), seen, mine)?;
        if twice {
            let own = self.project(&of("attn2"), seen.normed, ["to_q", "to_k", "to_v"])?;
            let mixed = self.chain.attention(&of("attn2"), own, self.heads);
            x = self.close(&of("attn2.to_out"), Stream { x, ..seen }, mixed)?;
        }
        x = self.feed(&of("ff"), seen, x)?;
        if last {
            return Ok([x, text]);
        }
        let its = self.part(&of("attn.text"), mixed, text);
        let y = self.close(&of("attn.to_add_out"), read, its)?;
        Ok([x, self.feed(&of("ff_context"), read, y)?])
    }
}

/// `DiTTransformer2DModel`: classes of images.
pub(super) fn dit(keys: &Keys<'_>) -> Result<Network> {
    let size = |name, default, most| Ok::<_, Error>(keys.optional(&[name], most)?.unwrap_or(default));
    let (side, patch) = (size("sample_size", 32, 1 << 12)?, size("patch_size", 2, 64)?);
    let inputs = size("in_channels", 4, 1 << 12)?;
    let outputs = size("out_channels", inputs, 1 << 12)?;
    match keys.text("norm_type")?.as_deref() {
        None | Some("ada_norm_zero") => {}
        Some(other) => return Err(keys.bad("norm_type", format!("\"{other}\" is not counted"), EXPORT)),
    }
    let bias = keys.flag("attention_bias", true)?;
    let mut dit = Dit::new(keys, [inputs, side, side], 16, 72)?;
    let window = Window { size: patch, stride: patch, padding: 0 };
    let patches = dit.chain.conv("pos_embed.proj", 0, dit.width, window, (1, true))?;
    let [_, high, wide] = dit.chain.network.out(patches);
    let mut x = dit.chain.lay("pos_embed", patches, [dit.width, high * wide, 1]);
    let classes = size("num_embeds_ada_norm", 1000, 1 << 20)?;
    for layer in 0..size("num_layers", 28, 1 << 10)? {
        dit.chain.layer += 1;
        let name = format!("transformer_blocks.{layer}");
        let of = |part: &str| format!("{name}.{part}");
        // Each block has an embedding of its own; the last row stands for no class.
        let time = dit.embedding(&of("norm1.emb.timestep_embedder"), TIME)?;
        let kind = BlockKind::Rows { rows: classes + 1 };
        let class = dit.chain.push(of("norm1.emb.class_embedder"), 0, kind, [dit.width, 1, 1]);
        let sum = dit.chain.add(&of("norm1.emb"), time, class);
        dit.time = dit.chain.active(&of("norm1.emb"), sum);
        let stream = dit.modulated(&of("norm1"), x, 6)?;
        let mut made = [stream.normed; 3];
        for (value, part) in made.iter_mut().zip(["attn1.to_q", "attn1.to_k", "attn1.to_v"]) {
            *value = dit.chain.linear(&of(part), stream.normed, dit.width, bias)?;
        }
        let mixed = dit.chain.attention(&of("attn1"), made, dit.heads);
        x = dit.close(&of("attn1.to_out"), stream, mixed)?;
        x = dit.feed(&of("ff"), stream, x)?;
    }
    dit.end(["proj_out_1", "proj_out_2"], x, patch * patch * outputs)
}

/// `SD3Transformer2DModel`: Stable Diffusion 3 and 3.5.
pub(super) fn sd3(keys: &Keys<'_>) -> Result<Network> {
    let size = |name, default, most| Ok::<_, Error>(keys.optional(&[name], most)?.unwrap_or(default));
    let (side, patch) = (size("sample_size", 128, 1 << 12)?, size("patch_size", 2, 64)?);
    let inputs = size("in_channels", 16, 1 << 12)?;
    let layers = size("num_layers", 18, 1 << 10)?;
    let twice: Vec<u64> = match keys.value("dual_attention_layers") {
        None => Vec::new(),
        Some(list) => serde_json::from_value(list.clone())
            .map_err(|e| keys.bad("dual_attention_layers", e.to_string(), "Write a list of layers, counted from 0"))?,
    };
    let mut dit = Dit::new(keys, [inputs, side, side], 18, 64)?;
    let window = Window { size: patch, stride: patch, padding: 0 };
    let patches = dit.chain.conv("pos_embed.proj", 0, dit.width, window, (1, true))?;
    let [_, high, wide] = dit.chain.network.out(patches);
    let mut image = dit.chain.lay("pos_embed", patches, [dit.width, high * wide, 1]);
    let time = dit.embedding("time_text_embed.timestep_embedder", TIME)?;
    let pooled = dit.embedding("time_text_embed.text_embedder", size("pooled_projection_dim", 2048, 1 << 16)?)?;
    let sum = dit.chain.add("time_text_embed", time, pooled);
    dit.time = dit.chain.active("time_text_embed", sum);
    // 77 tokens of the CLIP encoders and 256 of T5, as its pipeline pads them.
    let width = size("joint_attention_dim", 4096, 1 << 16)?;
    let text = dit.chain.push("encoder_hidden_states", 0, BlockKind::Input, [width, 77 + 256, 1]);
    let wide = size("caption_projection_dim", dit.width, 1 << 16)?;
    if wide != dit.width {
        let problem = format!("{wide} is not the width {} of the layers", dit.width);
        return Err(keys.bad("caption_projection_dim", problem, "Correct one of the two"));
    }
    let mut text = dit.chain.linear("context_embedder", text, wide, true)?;
    for layer in 0..layers {
        let name = format!("transformer_blocks.{layer}");
        [image, text] = dit.joint(&name, [image, text], twice.contains(&layer), layer + 1 == layers)?;
    }
    dit.end(["norm_out", "proj_out"], image, patch * patch * size("out_channels", 16, 1 << 12)?)
}

/// `FluxTransformer2DModel`: FLUX.1, for an image of 1024 x 1024.
pub(super) fn flux(keys: &Keys<'_>) -> Result<Network> {
    let size = |name, default, most| Ok::<_, Error>(keys.optional(&[name], most)?.unwrap_or(default));
    let inputs = size("in_channels", 64, 1 << 12)?;
    let outputs = size("out_channels", inputs, 1 << 12)?;
    let patch = size("patch_size", 1, 64)?;
    // Latents of an eighth of the size, in blocks of two by two.
    let mut dit = Dit::new(keys, [inputs, 64, 64], 24, 128)?;
    dit.qk_norm = dit.width / dit.heads;
    let embedded = dit.chain.linear("x_embedder", 0, dit.width, true)?;
    let mut image = dit.chain.lay("x_embedder", embedded, [dit.width, 64 * 64, 1]);
    let mut sum = dit.embedding("time_text_embed.timestep_embedder", TIME)?;
    if keys.flag("guidance_embeds", false)? {
        let guidance = dit.embedding("time_text_embed.guidance_embedder", TIME)?;
        sum = dit.chain.add("time_text_embed.guidance", sum, guidance);
    }
    let pooled = dit.embedding("time_text_embed.text_embedder", size("pooled_projection_dim", 768, 1 << 16)?)?;
    sum = dit.chain.add("time_text_embed", sum, pooled);
    dit.time = dit.chain.active("time_text_embed", sum);
    // The longest text of its pipeline (`max_sequence_length`).
    let width = size("joint_attention_dim", 4096, 1 << 16)?;
    let text = dit.chain.push("encoder_hidden_states", 0, BlockKind::Input, [width, 512, 1]);
    let mut text = dit.chain.linear("context_embedder", text, dit.width, true)?;
    for layer in 0..keys.count(&["num_layers"], 1 << 10)?.unwrap_or(19) {
        [image, text] = dit.joint(&format!("transformer_blocks.{layer}"), [image, text], false, false)?;
    }
    let mut x = dit.join("single_transformer_blocks", text, image);
    for layer in 0..keys.count(&["num_single_layers"], 1 << 10)?.unwrap_or(38) {
        dit.chain.layer += 1;
        let name = format!("single_transformer_blocks.{layer}");
        let of = |part: &str| format!("{name}.{part}");
        let stream = dit.modulated(&of("norm"), x, 3)?;
        let up = dit.chain.linear(&of("proj_mlp"), stream.normed, 4 * dit.width, true)?;
        let up = dit.chain.active(&of("proj_mlp"), up);
        let made = dit.project(&of("attn"), stream.normed, ["to_q", "to_k", "to_v"])?;
        let mixed = dit.chain.attention(&of("attn"), made, dit.heads);
        let both = dit.chain.concat(&name, mixed, up);
        x = dit.close(&of("proj_out"), stream, both)?;
    }
    let image = dit.part("image", x, image);
    dit.end(["norm_out", "proj_out"], image, patch * patch * outputs)
}
