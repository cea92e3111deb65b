//! Pairs of towers, one for texts and one for images, and each of them alone: CLIP (Radford et al. 2021) and SigLIP (Zhai et
//! al. 2023).
//!
//! Names and defaults are those of transformers' classes. A batch is so many pairs of an image and a text; texts are as long as
//! the model has positions for, as its preprocessor pads them.

use serde_json::{Map, Value};

use super::keys::Keys;
use super::network::{BlockKind, Network, NetworkBuilder, Window};
use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

/// The sizes of a tower.
#[derive(Debug, Clone, Copy)]
struct Tower {
    hidden: u64,
    inner: u64,
    layers: u64,
    heads: u64,
}

impl Tower {
    fn read(keys: &Keys<'_>, default: Self) -> Result<Self> {
        let size = |name, default, most| Ok::<_, Error>(keys.optional(&[name], most)?.unwrap_or(default));
        let tower = Self {
            hidden: size("hidden_size", default.hidden, 1 << 16)?,
            inner: size("intermediate_size", default.inner, 1 << 18)?,
            layers: size("num_hidden_layers", default.layers, 1 << 10)?,
            heads: size("num_attention_heads", default.heads, 1 << 10)?,
        };
        if !tower.hidden.is_multiple_of(tower.heads) {
            let problem = format!("{} heads do not divide hidden_size {}", tower.heads, tower.hidden);
            return Err(keys.bad("num_attention_heads", problem, "Correct one of the two"));
        }
        Ok(tower)
    }

    /// Its layers: norms before both halves, biases everywhere.
    fn layers(self, chain: &mut NetworkBuilder, prefix: &str, mut last: usize) -> Result<usize> {
        for layer in 0..self.layers {
            chain.layer += 1;
            let name = format!("{prefix}.encoder.layers.{layer}");
            let of = |part: &str| format!("{name}.{part}");
            let normed = chain.norm(&of("layer_norm1"), last);
            let mut made = [normed; 3];
            for (value, name) in made.iter_mut().zip(["q_proj", "k_proj", "v_proj"]) {
                *value = chain.linear(&of(&format!("self_attn.{name}")), normed, self.hidden, true)?;
            }
            let mixed = chain.attention(&of("self_attn"), made, self.heads);
            let out = chain.linear(&of("self_attn.out_proj"), mixed, self.hidden, true)?;
            let sum = chain.add(&of("self_attn"), out, last);
            let normed = chain.norm(&of("layer_norm2"), sum);
            let names = [of("mlp.fc1"), of("mlp.fc2")];
            let out = chain.mlp([&names[0], &names[1]], normed, self.inner, self.hidden)?;
            last = chain.add(&name, out, sum);
        }
        Ok(last)
    }
}

/// Which of the two families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Clip,
    Siglip,
}

impl Kind {
    /// The tower of texts, up to one vector for each.
    fn text(self, keys: &Keys<'_>, chain: &mut NetworkBuilder) -> Result<usize> {
        let (default, words, longest) = match self {
            Self::Clip => (Tower { hidden: 512, inner: 2048, layers: 12, heads: 8 }, 49_408, 77),
            Self::Siglip => (Tower { hidden: 768, inner: 3072, layers: 12, heads: 12 }, 32_000, 64),
        };
        let tower = Tower::read(keys, default)?;
        let rows = keys.optional(&["vocab_size"], 1 << 24)?.unwrap_or(words);
        let positions = keys.optional(&["max_position_embeddings"], 1 << 16)?.unwrap_or(longest);
        let shape = [tower.hidden, positions, 1];
        let looked_up = chain.push("text_model.embeddings.token_embedding", 0, BlockKind::Rows { rows }, shape);
        let start = chain.keep("text_model.embeddings.position_embedding".into(), looked_up, BlockKind::Learned);
        let last = tower.layers(chain, "text_model", start)?;
        let normed = chain.norm("text_model.final_layer_norm", last);
        let chosen = chain.lay("text_model.pooled", normed, [tower.hidden, 1, 1]);
        Ok(match self {
            Self::Clip => chosen,
            Self::Siglip => {
                let wide = keys.optional(&["projection_size"], 1 << 16)?.unwrap_or(tower.hidden);
                chain.linear("text_model.head", chosen, wide, true)?
            }
        })
    }

    /// The tower of images, which is the network's input, up to one vector for each.
    fn image(self, keys: &Keys<'_>, chain: &mut NetworkBuilder) -> Result<usize> {
        let tower = Tower::read(keys, Tower { hidden: 768, inner: 3072, layers: 12, heads: 12 })?;
        let [channels, side, _] = chain.network.image;
        let patch = keys.optional(&["patch_size"], 1 << 12)?.unwrap_or(if self == Self::Clip { 32 } else { 16 });
        let window = Window { size: patch, stride: patch, padding: 0 };
        if channels == 0 || patch > side {
            return Err(keys.bad(
                "patch_size",
                format!("{patch} does not fit an image of {side}"),
                "Correct one of the two",
            ));
        }
        let biased = self == Self::Siglip;
        let patches = chain.conv("vision_model.embeddings.patch_embedding", 0, tower.hidden, window, (1, biased))?;
        let [_, high, wide] = chain.network.out(patches);
        let mut start = chain.lay("vision_model.embeddings", patches, [tower.hidden, high * wide, 1]);
        if self == Self::Clip {
            let class =
                chain.push("vision_model.embeddings.class_embedding", 0, BlockKind::Parameter, [tower.hidden, 1, 1]);
            let kind = BlockKind::Copy(Some(class));
            start = chain.push("vision_model.embeddings.joined", start, kind, [tower.hidden, high * wide + 1, 1]);
        }
        start = chain.keep("vision_model.embeddings.position_embedding".into(), start, BlockKind::Learned);
        if self == Self::Clip {
            start = chain.norm("vision_model.pre_layrnorm", start);
        }
        let last = tower.layers(chain, "vision_model", start)?;
        Ok(match self {
            Self::Clip => {
                let chosen = chain.lay("vision_model.pooled", last, [tower.hidden, 1, 1]);
                chain.norm("vision_model.post_layernorm", chosen)
            }
            Self::Siglip => {
                let normed = chain.norm("vision_model.post_layernorm", last);
                match keys.flag("vision_use_head", true)? {
                    true => pooled(chain, tower, normed)?,
                    false => normed,
                }
            }
        })
    }
}

/// SigLIP's pooler: a learned query attends to all patches, and an MLP follows.
fn pooled(chain: &mut NetworkBuilder, tower: Tower, from: usize) -> Result<usize> {
    let name = |part: &str| format!("vision_model.head.{part}");
    let probe = chain.push(name("probe"), 0, BlockKind::Parameter, [tower.hidden, 1, 1]);
    let q = chain.linear(&name("attention.q_proj"), probe, tower.hidden, true)?;
    let k = chain.linear(&name("attention.k_proj"), from, tower.hidden, true)?;
    let v = chain.linear(&name("attention.v_proj"), from, tower.hidden, true)?;
    let mixed = chain.attention(&name("attention"), [q, k, v], tower.heads);
    let out = chain.linear(&name("attention.out_proj"), mixed, tower.hidden, true)?;
    let normed = chain.norm(&name("layernorm"), out);
    let names = [name("mlp.fc1"), name("mlp.fc2")];
    let mlp = chain.mlp([&names[0], &names[1]], normed, tower.inner, tower.hidden)?;
    Ok(chain.add(&name("mlp"), mlp, out))
}

/// The image that the keys of a tower name.
fn seen(keys: &Keys<'_>) -> Result<[u64; 3]> {
    let side = keys.optional(&["image_size"], 1 << 14)?.unwrap_or(224);
    Ok([keys.optional(&["num_channels"], 1 << 10)?.unwrap_or(3), side, side])
}

/// Where there is no image.
const NO_IMAGE: [u64; 3] = [1, 1, 1];

/// Both towers, and what brings their vectors to one width.
fn both(kind: Kind, keys: &Keys<'_>) -> Result<Network> {
    let none = Map::new();
    let of = |name| match keys.value(name) {
        Some(Value::Object(inner)) => Keys::new(keys.input, inner),
        _ => Keys::new(keys.input, &none),
    };
    let (text, vision) = (of("text_config"), of("vision_config"));
    let class = keys.architecture().unwrap_or_default();
    let mut chain = NetworkBuilder::new(seen(&vision)?);
    let image = kind.image(&vision, &mut chain)?;
    if class.ends_with("ForImageClassification") {
        let all = chain.lay("vision_model.mean", image, [chain.network.out(image)[0], 1, 1]);
        chain.linear("classifier", all, keys.labels(2)?, true)?;
        return Ok(chain.network);
    }
    let text = kind.text(&text, &mut chain)?;
    let (image, text, scalars) = match kind {
        Kind::Clip => {
            let shared = keys.optional(&["projection_dim"], 1 << 16)?.unwrap_or(512);
            let image = chain.linear("visual_projection", image, shared, false)?;
            (image, chain.linear("text_projection", text, shared, false)?, 1)
        }
        Kind::Siglip => (image, text, 2),
    };
    let pair = chain.concat("pairs", image, text);
    chain.scale("logit_scale", pair, scalars);
    Ok(chain.network)
}

/// A tower alone, with the projection of its class.
fn alone(kind: Kind, keys: &Keys<'_>, of_text: bool) -> Result<Network> {
    let mut chain = NetworkBuilder::new(if of_text { NO_IMAGE } else { seen(keys)? });
    let last = if of_text { kind.text(keys, &mut chain)? } else { kind.image(keys, &mut chain)? };
    if keys.architecture().is_some_and(|class| class.ends_with("WithProjection")) {
        let shared = keys.optional(&["projection_dim"], 1 << 16)?.unwrap_or(512);
        chain.linear(if of_text { "text_projection" } else { "visual_projection" }, last, shared, false)?;
    }
    Ok(chain.network)
}

pub(super) fn clip(keys: &Keys<'_>) -> Result<Network> {
    both(Kind::Clip, keys)
}

pub(super) fn clip_text(keys: &Keys<'_>) -> Result<Network> {
    alone(Kind::Clip, keys, true)
}

pub(super) fn clip_vision(keys: &Keys<'_>) -> Result<Network> {
    alone(Kind::Clip, keys, false)
}

pub(super) fn siglip(keys: &Keys<'_>) -> Result<Network> {
    both(Kind::Siglip, keys)
}

pub(super) fn siglip_text(keys: &Keys<'_>) -> Result<Network> {
    alone(Kind::Siglip, keys, true)
}

pub(super) fn siglip_vision(keys: &Keys<'_>) -> Result<Network> {
    alone(Kind::Siglip, keys, false)
}
