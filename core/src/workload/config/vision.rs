//! Vision models in stages of falling resolution: ConvNeXt (Liu et al. 2022) and Swin (Liu et al. 2021).
//!
//! Names and defaults are those of transformers' classes.

use super::keys::Keys;
use super::network::{BlockKind, Network, NetworkBuilder, Window};
use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

/// A list of sizes, or what the class assumes.
fn sizes(keys: &Keys<'_>, name: &'static str, default: &[u64], most: u64) -> Result<Vec<u64>> {
    if keys.value(name).is_none() {
        return Ok(default.to_vec());
    }
    keys.list(name, 1..=64, most)
}

/// An image and the patches that it is read in.
fn image(keys: &Keys<'_>, patch: u64) -> Result<([u64; 3], Window)> {
    let size = keys.optional(&["image_size"], 1 << 14)?.unwrap_or(224);
    let channels = keys.optional(&["num_channels"], 1 << 10)?.unwrap_or(3);
    let patch = keys.optional(&["patch_size"], 1 << 12)?.unwrap_or(patch);
    Ok(([channels, size, size], Window { size: patch, stride: patch, padding: 0 }))
}

/// Fails where two lists do not go together.
fn same_length(keys: &Keys<'_>, name: &str, found: usize, wanted: usize) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(keys.bad(name, format!("{found} numbers for {wanted} stages"), "Give one for each stage"))
}

/// The average over the image, and a classifier where the file's class has one.
fn classify(keys: &Keys<'_>, chain: &mut NetworkBuilder, last: usize, norm_after: bool) -> Result<()> {
    chain.layer += 1;
    let [channels, ..] = chain.network.out(last);
    let normed = if norm_after { last } else { chain.norm("layernorm", last) };
    let mut pooled = chain.push("pooler", normed, BlockKind::GlobalPool, [channels, 1, 1]);
    if norm_after {
        pooled = chain.norm("layernorm", pooled);
    }
    let bare = keys.architecture().is_some_and(|class| class.ends_with("Model") || class.ends_with("Backbone"));
    if !bare {
        chain.linear("classifier", pooled, keys.labels(1000)?, true)?;
    }
    Ok(())
}

/// ConvNeXt: wide convolutions channel by channel, then an MLP at each position.
pub(super) fn convnext(keys: &Keys<'_>) -> Result<Network> {
    let scaled = keys.value("layer_scale_init_value").is_none_or(|value| value.as_f64().is_none_or(|of| of > 0.0));
    convnext_of(keys, scaled, false)
}

/// Its second version, whose MLPs normalise the response of each channel in place of scales.
pub(super) fn convnext_v2(keys: &Keys<'_>) -> Result<Network> {
    convnext_of(keys, false, true)
}

fn convnext_of(keys: &Keys<'_>, scaled: bool, response_norm: bool) -> Result<Network> {
    let (image, patches) = image(keys, 4)?;
    let widths = sizes(keys, "hidden_sizes", &[96, 192, 384, 768], 1 << 14)?;
    let depths = sizes(keys, "depths", &[3, 3, 9, 3], 1 << 10)?;
    same_length(keys, "depths", depths.len(), widths.len())?;
    let mut chain = NetworkBuilder::new(image);
    let mut last = chain.conv("embeddings.patch_embeddings", 0, widths[0], patches, (1, true))?;
    last = chain.norm("embeddings.layernorm", last);
    for (stage, (width, depth)) in widths.iter().zip(&depths).enumerate() {
        if stage > 0 {
            let name = format!("encoder.stages.{stage}.downsampling_layer");
            last = chain.norm(&format!("{name}.0"), last);
            let halve = Window { size: 2, stride: 2, padding: 0 };
            last = chain.conv(&format!("{name}.1"), last, *width, halve, (1, true))?;
        }
        for layer in 0..*depth {
            chain.layer += 1;
            let name = format!("encoder.stages.{stage}.layers.{layer}");
            let of = |part: &str| format!("{name}.{part}");
            let wide = Window { size: 7, stride: 1, padding: 3 };
            let mut x = chain.conv(&of("dwconv"), last, *width, wide, (*width, true))?;
            x = chain.norm(&of("layernorm"), x);
            x = chain.linear(&of("pwconv1"), x, 4 * width, true)?;
            x = chain.active(&of("pwconv1"), x);
            if response_norm {
                x = chain.norm(&of("grn"), x);
            }
            x = chain.linear(&of("pwconv2"), x, *width, true)?;
            if scaled {
                x = chain.scale(&of("layer_scale_parameter"), x, *width);
            }
            last = chain.add(&name, x, last);
        }
    }
    classify(keys, &mut chain, last, true)?;
    Ok(chain.network)
}

/// Swin: attention in windows, whose borders shift from layer to layer; four positions become one between stages.
pub(super) fn swin(keys: &Keys<'_>) -> Result<Network> {
    let (image, patches) = image(keys, 4)?;
    let width = keys.optional(&["embed_dim"], 1 << 14)?.unwrap_or(96);
    let depths = sizes(keys, "depths", &[2, 2, 6, 2], 1 << 10)?;
    let heads = sizes(keys, "num_heads", &[3, 6, 12, 24], 1 << 10)?;
    same_length(keys, "num_heads", heads.len(), depths.len())?;
    let window = keys.optional(&["window_size"], 1 << 10)?.unwrap_or(7);
    let ratio = keys.value("mlp_ratio").and_then(serde_json::Value::as_f64).unwrap_or(4.0);
    let bias = keys.flag("qkv_bias", true)?;
    let mut chain = NetworkBuilder::new(image);
    let mut last = chain.conv("embeddings.patch_embeddings", 0, width, patches, (1, true))?;
    last = chain.norm("embeddings.norm", last);
    if keys.flag("use_absolute_embeddings", false)? {
        last = chain.keep("embeddings.position_embeddings".into(), last, BlockKind::Learned);
    }
    let stages = depths.len();
    for (stage, (depth, heads)) in depths.iter().zip(&heads).enumerate() {
        let [channels, height, breadth] = chain.network.out(last);
        if !channels.is_multiple_of(*heads) {
            let problem = format!("{heads} heads do not divide the {channels} channels of stage {stage}");
            return Err(keys.bad("num_heads", problem, "Correct one of the two"));
        }
        for layer in 0..*depth {
            chain.layer += 1;
            let name = format!("encoder.layers.{stage}.blocks.{layer}");
            let of = |part: &str| format!("{name}.{part}");
            let normed = chain.norm(&of("layernorm_before"), last);
            let qkv = chain.linear(&of("attention.qkv"), normed, 3 * channels, bias)?;
            let side = window.min(height).min(breadth);
            let kind = BlockKind::Attention {
                heads: *heads,
                others: None,
                window: Some(side * side),
                table: (2 * window - 1).pow(2) * heads,
            };
            let mixed =
                chain.push(of("attention.relative_position_bias_table"), qkv, kind, [channels, height, breadth]);
            let out = chain.linear(&of("attention.output"), mixed, channels, true)?;
            let sum = chain.add(&of("attention"), out, last);
            let normed = chain.norm(&of("layernorm_after"), sum);
            let names = [of("intermediate"), of("output")];
            let inner = (ratio * channels as f64) as u64;
            let out = chain.mlp([&names[0], &names[1]], normed, inner, channels)?;
            last = chain.add(&name, out, sum);
        }
        if stage + 1 < stages {
            // Positions at an odd end are padded.
            let halved = [4 * channels, height.div_ceil(2), breadth.div_ceil(2)];
            let name = format!("encoder.layers.{stage}.downsample");
            let merged = chain.lay(&name, last, halved);
            let normed = chain.norm(&format!("{name}.norm"), merged);
            last = chain.linear(&format!("{name}.reduction"), normed, 2 * channels, false)?;
        }
    }
    classify(keys, &mut chain, last, false)?;
    Ok(chain.network)
}
