//! Hugging Face's `config.json`, and `params.json`: the shapes of a model.

use super::input::{Input, strip_mark};
use crate::error::Error;
use crate::progress::Progress;
use crate::workload::config::ModelConfig;
use crate::workload::file::ModelFile;

/// The longest `config.json`: a thousand times as long as any.
const MOST_BYTES: usize = 16 << 20;

/// Whether `head` begins like a `config.json`: a JSON object that names a type of model.
pub(super) fn matches(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    let names = |key: &[u8]| head.windows(key.len()).any(|part| part == key);
    head.starts_with(b"{")
        && (names(b"\"model_type\"")
            || names(b"\"architectures\"")
            // Those of diffusers that are read.
            || (names(b"\"_class_name\"") && ModelConfig::classes().any(|class| names(class.as_bytes())))
            // Meta's and Mistral's params.json.
            || (names(b"\"dim\"") && names(b"\"n_layers\"")))
        && !names(b"\"tensor_id\"")
        && !names(b"\"nodes\"")
}

/// Reads the shapes of a model.
pub(super) fn model(input: &Input<'_>, progress: &mut dyn Progress) -> Result<ModelFile, Error> {
    let text = input.whole(MOST_BYTES, progress)?;
    let config = ModelConfig::of_any_family(input.name, strip_mark(&text))?;
    Ok(ModelFile::Config(Box::new(config)))
}
