//! What is kept between runs: an interrupted one goes on from it to the same result.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::Tensor;
use candle_core::safetensors::load_buffer;
use safetensors::SafeTensors;
use sha2::{Digest as _, Sha256};

use super::Learner;
use super::variables::Variable;
use crate::error::ModelError;
use crate::local::lora::replace;

/// What a run is about, by name: a checkpoint of another run is refused.
pub type About = BTreeMap<String, String>;

const STEPS: &str = "steps";

impl Variable {
    /// The names of its value and means in a checkpoint.
    fn names(&self) -> [String; 3] {
        let (layer, projection, is_up) = self.place;
        let part = if is_up { "B" } else { "A" };
        ["value", "mean", "square"].map(|what| format!("{layer}.{}.{part}.{what}", projection.module()))
    }
}

impl Learner {
    /// What must be the same for a run to go on: `about`, the base model's file and the kind of adapter.
    fn about(&self, about: &About) -> About {
        let files = self.model.files.iter();
        let digest = files.fold(Sha256::new(), |hash, file| hash.chain_update(file.bytes())).finalize();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut all = about.clone();
        all.extend([
            ("model".into(), format!("{:?}", self.model.llama.config)),
            ("model's file (SHA-256)".into(), digest),
            ("adapter".into(), format!("{:?}", self.settings)),
        ]);
        all
    }

    /// Writes all that the next step needs into `path`: beside it first, and then over it.
    ///
    /// # Errors
    /// [`ModelError::File`] where that fails; an older checkpoint then remains.
    pub fn keep(&self, path: &Path, about: &About) -> Result<(), ModelError> {
        let bad = |problem: String| {
            let cure = "Make room or name another folder; the checkpoint before is still there".into();
            ModelError::File { path: path.display().to_string(), problem, cure }
        };
        let mut tensors: Vec<(String, Tensor)> = Vec::new();
        for variable in &self.variables.all {
            let [value, mean, square] = variable.names();
            let [of_mean, of_square] = variable.means.clone();
            tensors.extend([(value, variable.value.as_detached_tensor()), (mean, of_mean), (square, of_square)]);
        }
        let mut metadata: HashMap<String, String> = self.about(about).into_iter().collect();
        metadata.insert(STEPS.into(), self.steps.to_string());
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|error| bad(error.to_string()))?;
        replace(path, &bytes).map_err(|error| bad(format!("cannot be written: {error}")))
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// [`ModelError::File`] where it cannot be read or is of another run; then nothing changes.
    pub fn resume(&mut self, path: &Path, about: &About) -> Result<(), ModelError> {
        let bad = |problem: String, cure: &str| ModelError::File {
            path: path.display().to_string(),
            problem,
            cure: cure.into(),
        };
        const DAMAGED: &str = "It is no checkpoint, or damaged: name another folder, or remove it to begin anew";
        let bytes = std::fs::read(path).map_err(|error| bad(format!("cannot be read: {error}"), DAMAGED))?;
        let damaged = |error: &dyn std::fmt::Display| bad(error.to_string(), DAMAGED);
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error))?;
        let found = header.metadata().clone().unwrap_or_default();
        for (name, wanted) in self.about(about) {
            let other = found.get(&name).map_or("nothing", String::as_str);
            if other != wanted {
                let cure = "Ask for the same run to go on with it, or name another folder";
                return Err(bad(format!("its {name} is {other}, and this run's is {wanted}"), cure));
            }
        }
        let steps = found.get(STEPS).and_then(|steps| steps.parse().ok());
        let steps = steps.ok_or_else(|| bad("the number of steps is missing".into(), DAMAGED))?;
        let mut tensors = load_buffer(&bytes, &self.model.device).map_err(|error| damaged(&error))?;
        let mut news = Vec::with_capacity(self.variables.all.len());
        for variable in &self.variables.all {
            let taken = variable.names().map(|name| match tensors.remove(&name) {
                Some(tensor) if tensor.shape() == variable.value.shape() => Ok(tensor),
                _ => Err(bad(format!("{name} is missing or of another shape"), DAMAGED)),
            });
            let [value, mean, square] = taken;
            news.push((value?, [mean?, square?]));
        }
        for (variable, (value, means)) in self.variables.all.iter_mut().zip(news) {
            variable.value.set(&value)?;
            variable.means = means;
        }
        self.steps = steps;
        Ok(())
    }
}
