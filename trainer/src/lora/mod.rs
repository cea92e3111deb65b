//! The adapter of a language model, learned from questions and how often each digit was the answer; and what it is worth.

pub mod batches;
pub mod measure;
pub mod train;

use std::path::{Path, PathBuf};

use accel_model::{DeviceKind, LoadOptions, LocalModel};
use anyhow::Context as _;

/// The model in a file, with an adapter or without.
fn open(model: &Path, adapter: Option<PathBuf>, device: DeviceKind) -> anyhow::Result<LocalModel> {
    let options = LoadOptions { adapter, device, ..LoadOptions::default() };
    LocalModel::load(model, &options).context("cannot load the model")
}
