//! Convolutional networks: residual networks by their `config.json`, and chains written down layer by layer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::Keys;
use super::network::{BlockKind, Network, NetworkBuilder, Window};
use crate::check::check_range;
use crate::error::Error;
use crate::workload::dtype::Dtype;

fn one() -> u64 {
    1
}

/// A layer of a [`Cnn`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// A convolution with this many filters, and a rectifier.
    Conv {
        /// Filters.
        filters: u64,
        /// Height and width of a filter.
        size: u64,
        /// Step; 1 where absent.
        #[serde(default = "one")]
        stride: u64,
        /// Border; 0 where absent.
        #[serde(default)]
        padding: u64,
        /// Groups of channels that do not see each other; 1 where absent.
        #[serde(default = "one")]
        groups: u64,
    },
    /// A pool.
    Pool(Window),
    /// An average over the whole image, channel by channel.
    GlobalPool,
    /// A linear layer with this many outputs.
    Linear(u64),
}

/// A chain of convolutions, pools and linear layers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "model_type", rename = "cnn")]
pub struct Cnn {
    /// Height and width of the image.
    pub image_size: u64,
    /// Its channels.
    pub num_channels: u64,
    /// The layers.
    pub layers: Vec<Layer>,
    /// Number format of the weights.
    pub torch_dtype: Dtype,
}

/// A residual network, with the keys of its `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "model_type", rename = "resnet")]
pub struct Resnet {
    /// Height and width of the image; 224 where the file says nothing, the size these networks were published with.
    pub image_size: u64,
    /// Its channels.
    pub num_channels: u64,
    /// Filters of the first convolution.
    pub embedding_size: u64,
    /// Filters that leave each stage.
    pub hidden_sizes: Vec<u64>,
    /// Blocks of each stage.
    pub depths: Vec<u64>,
    /// `basic` (two convolutions of 3 x 3) or `bottleneck` (1 x 1, 3 x 3 and 1 x 1).
    pub layer_type: String,
    /// Whether the first stage halves the image as the others do.
    pub downsample_in_first_stage: bool,
    /// Whether the stride sits in the first convolution of a bottleneck instead of the second.
    pub downsample_in_bottleneck: bool,
    /// Classes.
    pub num_labels: u64,
    /// Number format of the weights.
    pub torch_dtype: Dtype,
}

impl Cnn {
    pub(super) fn from_keys(keys: &Keys<'_>) -> Result<Self, Error> {
        let layers = keys.value("layers").cloned().unwrap_or(Value::Null);
        let layers: Vec<Layer> = serde_json::from_value(layers).map_err(|e| {
            let cure = "Write a list such as [{\"conv\":{\"filters\":64,\"size\":3,\"padding\":1}}, \
                        {\"pool\":{\"size\":2,\"stride\":2}}, {\"linear\":1000}]";
            keys.bad("layers", e.to_string(), cure)
        })?;
        Ok(Self {
            image_size: keys.required(&["image_size"], 1 << 16)?,
            num_channels: keys.required(&["num_channels"], 1 << 16)?,
            layers,
            torch_dtype: keys.dtype()?,
        })
    }

    /// Its operators; fails where a window does not fit.
    pub(crate) fn network(&self) -> Result<Network, Error> {
        if self.layers.is_empty() || self.layers.len() > 4096 {
            return Err(Error::field("layers", self.layers.len(), "out of range", "Give 1 to 4096 layers"));
        }
        let mut chain = NetworkBuilder::new([self.num_channels, self.image_size, self.image_size]);
        for (i, layer) in (0..).zip(&self.layers) {
            chain.layer = i;
            let last = chain.last();
            match layer {
                Layer::Conv { filters, size, stride, padding, groups } => {
                    check_range("filters", *filters, 1..=1 << 20)?;
                    let window = Window { size: *size, stride: *stride, padding: *padding };
                    let conv = chain.conv(&format!("features.{i}"), last, *filters, window, (*groups, true))?;
                    chain.keep(format!("features.{i}.relu"), conv, BlockKind::Relu);
                }
                Layer::Pool(window) => {
                    chain.pool(&format!("features.{i}.pool"), last, *window)?;
                }
                Layer::GlobalPool => {
                    let [channels, ..] = chain.network.out(last);
                    chain.push(format!("features.{i}.pool"), last, BlockKind::GlobalPool, [channels, 1, 1]);
                }
                Layer::Linear(outputs) => {
                    check_range("linear", *outputs, 1..=1 << 20)?;
                    let linear = chain.push(format!("classifier.{i}"), last, BlockKind::Linear, [*outputs, 1, 1]);
                    // The last layer gives the scores as they are.
                    if i as usize + 1 < self.layers.len() {
                        chain.keep(format!("classifier.{i}.relu"), linear, BlockKind::Relu);
                    }
                }
            }
        }
        Ok(chain.network)
    }
}

impl Resnet {
    pub(super) fn from_keys(keys: &Keys<'_>) -> Result<Self, Error> {
        let layer_type = keys.text("layer_type")?.unwrap_or_else(|| "bottleneck".into());
        if layer_type != "basic" && layer_type != "bottleneck" {
            return Err(keys.bad("layer_type", format!("\"{layer_type}\" is unknown"), "Write basic or bottleneck"));
        }
        // The defaults are those of transformers' ResNetConfig, but for the classes: those of ImageNet.
        let config = Self {
            image_size: keys.optional(&["image_size"], 1 << 16)?.unwrap_or(224),
            num_channels: keys.optional(&["num_channels"], 1 << 16)?.unwrap_or(3),
            embedding_size: keys.optional(&["embedding_size"], 1 << 16)?.unwrap_or(64),
            hidden_sizes: keys.list("hidden_sizes", 1..=64, 1 << 16)?,
            depths: keys.list("depths", 1..=64, 1 << 10)?,
            layer_type,
            downsample_in_first_stage: keys.flag("downsample_in_first_stage", false)?,
            downsample_in_bottleneck: keys.flag("downsample_in_bottleneck", false)?,
            num_labels: keys.labels(1000)?,
            torch_dtype: keys.dtype()?,
        };
        if config.hidden_sizes.len() != config.depths.len() {
            let problem = format!("{} depths for {} hidden_sizes", config.depths.len(), config.hidden_sizes.len());
            return Err(keys.bad("depths", problem, "Give one depth for each of the hidden_sizes"));
        }
        Ok(config)
    }

    /// Its operators; fails where a window does not fit.
    pub(crate) fn network(&self) -> Result<Network, Error> {
        let mut chain = NetworkBuilder::new([self.num_channels, self.image_size, self.image_size]);
        // The stem: 7 x 7 by 2, and a pool of 3 x 3 by 2 (He et al. 2016, table 1).
        let stem = Window { size: 7, stride: 2, padding: 3 };
        let mut last = chain.conv_norm("embedder", 0, self.embedding_size, stem, true)?;
        last = chain.pool("embedder.pooler", last, Window { size: 3, stride: 2, padding: 1 })?;
        for (stage, (filters, depth)) in self.hidden_sizes.iter().zip(&self.depths).enumerate() {
            for block in 0..*depth {
                chain.layer += 1;
                let halve = block == 0 && (stage > 0 || self.downsample_in_first_stage);
                let stride = if halve { 2 } else { 1 };
                last = self.residual(&mut chain, &format!("stages.{stage}.layers.{block}"), last, *filters, stride)?;
            }
        }
        chain.layer += 1;
        let [channels, ..] = chain.network.out(last);
        let pooled = chain.push("pooler", last, BlockKind::GlobalPool, [channels, 1, 1]);
        chain.push("classifier", pooled, BlockKind::Linear, [self.num_labels, 1, 1]);
        Ok(chain.network)
    }

    fn residual(
        &self,
        chain: &mut NetworkBuilder,
        name: &str,
        from: usize,
        filters: u64,
        stride: u64,
    ) -> Result<usize, Error> {
        let point = Window { size: 1, stride: 1, padding: 0 };
        let wide = Window { size: 3, stride: 1, padding: 1 };
        let layer = |i: usize| format!("{name}.layer.{i}");
        let out = if self.layer_type == "basic" {
            let first = chain.conv_norm(&layer(0), from, filters, Window { stride, ..wide }, true)?;
            chain.conv_norm(&layer(1), first, filters, wide, false)?
        } else {
            // A bottleneck narrows to a quarter (He et al. 2016, figure 5).
            let narrow = (filters / 4).max(1);
            let (early, late) = if self.downsample_in_bottleneck { (stride, 1) } else { (1, stride) };
            let first = chain.conv_norm(&layer(0), from, narrow, Window { stride: early, ..point }, true)?;
            let second = chain.conv_norm(&layer(1), first, narrow, Window { stride: late, ..wide }, true)?;
            chain.conv_norm(&layer(2), second, filters, point, false)?
        };
        let [channels, ..] = chain.network.out(from);
        let skip = if channels != filters || stride != 1 {
            chain.conv_norm(&format!("{name}.shortcut"), from, filters, Window { stride, ..point }, false)?
        } else {
            from
        };
        let sum = chain.keep(format!("{name}.sum"), out, BlockKind::Add(skip));
        Ok(chain.keep(format!("{name}.relu"), sum, BlockKind::Relu))
    }
}
