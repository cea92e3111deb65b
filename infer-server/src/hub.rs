//! Models by the name that a hub gives them: what a recipe names so is replaced by its `config.json`.

use std::path::PathBuf;
use std::sync::Arc;

use accel_core::error::Error;
use accel_core::recipe::Workload;
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_model::fetch::{self, FetchError, HubName, Url};

use crate::error::ApiError;

/// The hub that requests may name models of.
#[derive(Debug, Clone, Default)]
pub struct Hub(Option<Arc<Place>>);

#[derive(Debug)]
struct Place {
    endpoint: Url,
    folder: Option<PathBuf>,
}

impl Hub {
    /// The hub at `endpoint`; what is fetched of it is kept in `folder`, or in that of the user.
    pub fn at(endpoint: Url, folder: Option<PathBuf>) -> Self {
        Self(Some(Arc::new(Place { endpoint, folder })))
    }

    /// Puts the configuration in the place of each model that `workload` names as a hub does.
    pub(crate) async fn resolve(&self, workload: &mut Workload) -> Result<(), ApiError> {
        for model in workload.hub_models() {
            let ModelRef::Preset(name) = &*model else { continue };
            let refused = |problem: &str, cure: &str| ApiError::body(Error::field("model", name, problem, cure));
            let Some(hub_name) = HubName::parse(name) else {
                return Err(refused("it is no name of a model", "Write a preset's name, or OWNER/NAME of the hub"));
            };
            let Some(place) = &self.0 else {
                let cure =
                    "Start it with --hub https://huggingface.co, or send the config.json in the place of the name";
                return Err(refused("this server asks no hub for models", cure));
            };
            let kept = fetch::small(&hub_name.args(&place.endpoint, place.folder.as_deref())).await;
            let kept = kept.map_err(|error| match error {
                FetchError::Refused { problem, cure, .. } => refused(&problem, &cure),
                other => ApiError::bad_gateway(other.to_string()),
            })?;
            if let Some(problem) = kept.unasked {
                tracing::warn!(model = name, problem, "the hub cannot be asked: what was fetched before is used");
            }
            *model = ModelRef::Config(Box::new(ModelConfig::from_json(name, &kept.bytes).map_err(ApiError::body)?));
        }
        Ok(())
    }
}
