//! Convolutional networks: residual networks by their `config.json`, and chains written down layer by layer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::Keys;
use crate::error::Error;
use crate::workload::dtype::Dtype;

/// Filters of `size` x `size` that move by `stride` over an image with a border of `padding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Height and width.
    pub size: u64,
    /// Step; 1 where absent.
    #[serde(default = "one")]
    pub stride: u64,
    /// Border; 0 where absent.
    #[serde(default)]
    pub padding: u64,
}

fn one() -> u64 {
    1
}

impl Window {
    /// Positions along a side of `side` elements; none where the window does not fit.
    pub(crate) fn positions(&self, side: u64) -> Option<u64> {
        if self.size == 0 || self.padding > 1 << 16 {
            return None;
        }
        let room = side.checked_add(2 * self.padding)?.checked_sub(self.size)?;
        Some(room.checked_div(self.stride)? + 1)
    }
}

/// A layer of a [`Cnn`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// A convolution with this many filters, and a rectifier.
    Conv {
        /// Filters.
        filters: u64,
        /// How they move.
        #[serde(flatten)]
        window: Window,
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

/// An operator of a convolutional network. `from` names the operator whose output it reads (0 = the image, 1 = the
/// first operator, ...).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    /// The name of its weights, or what it is.
    pub(crate) name: String,
    /// The layer it counts to.
    pub(crate) layer: u32,
    /// Whose output it reads.
    pub(crate) from: usize,
    /// What it does.
    pub(crate) what: What,
    /// Channels, height and width of what it makes.
    pub(crate) out: [u64; 3],
}

/// What a [`Block`] does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// A convolution, with a bias or not.
    Conv {
        /// How it moves.
        window: Window,
        /// Groups of channels.
        groups: u64,
        /// Whether it has biases.
        bias: bool,
    },
    /// Batch normalisation: a factor and an offset a channel.
    Norm,
    /// A rectifier.
    Relu,
    /// A pool.
    Pool(Window),
    /// An average over the image.
    GlobalPool,
    /// The sum with another operator's output.
    Add(usize),
    /// A linear layer over everything, with biases.
    Linear,
}

/// The operators of a convolutional network, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network {
    /// Channels, height and width of the image.
    pub(crate) image: [u64; 3],
    pub(crate) blocks: Vec<Block>,
}

impl Network {
    /// Channels, height and width of the image (0) or of what an operator makes (1, 2, ...).
    pub(crate) fn out(&self, of: usize) -> [u64; 3] {
        if of == 0 { self.image } else { self.blocks[of - 1].out }
    }

    