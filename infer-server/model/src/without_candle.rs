//! What a build without the feature `candle` has in place of the model: the same names, and an error that names the cure.

use std::path::PathBuf;

use crate::{LoadOptions, Loader, ModelError};

/// What was left out, and what builds it.
fn left_out(what: String) -> ModelError {
    ModelError::Unsupported {
        path: what,
        problem: "this server was built without a language model of its own".into(),
        cure: "Build it with the default features: `cargo xtask serve -- --model FILE` does so, or \
               `cargo build --release --package infer-server`"
            .into(),
    }
}

/// Loads nothing.
///
/// # Errors
/// Always: the model was left out of this build.
pub fn loader(path: PathBuf, _options: LoadOptions) -> Result<Loader, ModelError> {
    Err(left_out(path.display().to_string()))
}

/// `infer-server quantize`, which was left out of this build.
pub mod quantize {
    use super::{ModelError, left_out};

    /// Whatever is asked for.
    #[derive(Debug, Clone, clap::Args)]
    pub struct Args {
        /// Needs a server that was built with its default features.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        pub arguments: Vec<String>,
    }

    /// Makes nothing.
    ///
    /// # Errors
    /// Always: what quantises was left out of this build.
    pub fn run(_args: &Args) -> Result<String, ModelError> {
        Err(left_out("quantize".into()))
    }
}
