//! One experiment as one value. The URL, the worker, REST and the command line all carry it.

pub mod fields;
pub mod measure;
pub mod sample;
pub mod tenants;
mod workload;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::curve::Grid;
use crate::error::{Error, Place};
use crate::memory::Memory;
use crate::policy::{PolicyKind, PolicySpec};
use crate::score::BuiltIn;
use crate::trace::Trace;
use crate::units::GIB;
use crate::workload::model_run::ModelRun;
use measure::Measure;
use sample::Sample;

pub use workload::{FileSource, Workload};

/// What precedes the recipe in a link's fragment: `#r=…`.
pub const FRAGMENT: &str = "r=";

/// An experiment: the same recipe gives the same numbers everywhere, for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What is read, in which order.
    pub workload: Workload,
    /// Fast memory.
    #[serde(default)]
    pub memory: Memory,
    /// The policies to compare, at least one.
    #[serde(default = "default_policies")]
    pub policies: Vec<PolicySpec>,
    /// Who makes the eviction scores that a policy reads; where absent, the network that is shipped, or the model of the
    /// server that runs the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scorer: Option<BuiltIn>,
    /// The seed of everything drawn by chance.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Whether to enclose the best possible schedule; takes about as long as five policies.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub bounds: bool,
    /// Which accesses are run and counted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub measure: Measure,
    /// At which capacities to run everything again, if at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<Grid>,
}

fn is_default(measure: &Measure) -> bool {
    *measure == Measure::default()
}

fn yes() -> bool {
    true
}

fn default_policies() -> Vec<PolicySpec> {
    PolicySpec::plain([PolicyKind::Lru, PolicyKind::Fifo, PolicyKind::Ml])
}

/// The seed of a recipe that names none.
pub fn default_seed() -> u64 {
    42
}

/// Mistral-7B decoding in 8 GiB: the weights do not fit, and the policies differ visibly.
impl Default for Recipe {
    fn default() -> Self {
        Self {
            workload: Workload::Model(ModelRun::default()),
            memory: Memory::new(8 * GIB),
            policies: default_policies(),
            scorer: None,
            seed: default_seed(),
            bounds: true,
            measure: Measure::default(),
            curve: None,
        }
    }
}

impl Recipe {
    /// Whether a policy reads eviction scores.
    pub fn reads_scores(&self) -> bool {
        self.policies.iter().any(|policy| self.reads_scores_under(*policy))
    }

    /// Whether `policy`, or that of a level below, reads eviction scores.
    pub fn reads_scores_under(&self, policy: PolicySpec) -> bool {
        let below = self.memory.physical().map_or(&[][..], |physical| &physical.below);
        let mut policies = below.iter().map(|level| level.policy).chain([policy]);
        policies.any(|policy| policy.info().scored())
    }

    /// The accesses that are run; a file workload brings its trace along.
    pub fn trace(&self, file: Option<Trace>) -> Result<Trace, Error> {
        let trace = match file {
            Some(trace) => trace,
            None => self.workload.trace(self.seed, self.memory.capacity_bytes)?,
        };
        Ok(self.measure.part(trace))
    }

    /// Fails on the first field that is out of range, without making the trace.
    pub fn check(&self) -> Result<(), Error> {
        self.memory.check()?;
        if self.policies.is_empty() {
            return Err(Error::field("policies", "empty", "there is nothing to compare", "Choose at least one policy"));
        }
        let twice = self.policies.iter().enumerate().find(|(i, policy)| self.policies[..*i].contains(policy));
        if let Some((_, policy)) = twice {
            return Err(Error::field("policies", policy.name(), "named twice", "Name each policy once"));
        }
        self.measure.check()?;
        if let Some(sample) = &self.measure.sample {
            self.check_sample(sample)?;
        }
        self.curve.as_ref().map_or(Ok(()), Grid::check)?;
        if let (Some(warmup), Some(_)) = (self.measure.warmup, &self.curve) {
            let problem = "a curve over capacities counts every access";
            return Err(Error::field("warmup", warmup, problem, "Leave the warm-up out, or the curve"));
        }
        self.workload.check(self.memory.capacity_bytes)
    }

    /// Fails where a sample cannot answer what is asked.
    fn check_sample(&self, sample: &Sample) -> Result<(), Error> {
        if !matches!(self.workload, Workload::File(_)) {
            return Err(sample.of_a_model());
        }
        if self.bounds {
            let problem = "bounds of a sample would prove nothing about the trace";
            return Err(Error::field("bounds", "given", problem, "Leave the bounds out, or the sample"));
        }
        if let Some(interval) = self.measure.interval {
            let problem = "an interval of the trace has too few accesses of the sample";
            return Err(Error::field("interval", interval, problem, "Leave the intervals out, or the sample"));
        }
        if let Some(policy) = self.policies.iter().find(|policy| self.reads_scores_under(**policy)) {
            let problem = "it reads scores of every access, and a sample has some of them";
            return Err(Error::field("policies", policy.name(), problem, "Choose others, or leave the sample out"));
        }
        if !self.memory.pinned.is_empty() {
            let problem = "a sample has some of the tensors that are pinned";
            return Err(Error::field("pinned", "given", problem, "Leave the pins out, or the sample"));
        }
        Ok(())
    }

    /// Reads a recipe from JSON; `input` is named in the errors.
    pub fn from_json(input: &str, json: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(json).map_err(|e| {
            let place = Place::LineColumn(e.line() as u64, e.column() as u64);
            let problem = e.to_string();
            // serde_json repeats the place at the end of its message.
            let problem = problem.split(" at line ").next().unwrap_or_default().to_owned();
            Error::input(input, place, problem, "Copy the recipe from the page, or print one with `accel recipe`")
        })
    }

    /// The recipe as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|e| Error::Internal(e.to_string()))
    }

    /// The fragment of a link that reopens this experiment, without the `#`.
    pub fn to_fragment(&self) -> Result<String, Error> {
        Ok(format!("{FRAGMENT}{}", URL_SAFE_NO_PAD.encode(self.to_json()?)))
    }

    /// Reads a link, its fragment, or the part after `r=`.
    pub fn from_fragment(link: &str) -> Result<Self, Error> {
        let fragment = link.rsplit('#').next().unwrap_or(link).trim();
        let encoded = fragment.strip_prefix(FRAGMENT).unwrap_or(fragment);
        let json = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).map_err(|e| {
            Error::input("link", Place::Whole, format!("not a recipe: {e}"), "Copy the whole link again")
        })?;
        Self::from_json("link", &json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::synthetic::Synthetic;
    use crate::workload::{ModelRef, presets::PRESETS};

    #[test]
    fn links_reopen_the_recipe() {
        let mut recipes = vec![Recipe::default()];
        recipes.push(Recipe {
            workload: Workload::Synthetic(Synthetic::default()),
            seed: u64::MAX,
            ..Recipe::default()
        });
        let config = PRESETS[1].config().unwrap();
        let inference = ModelRun { model: ModelRef::Config(Box::new(config)), ..ModelRun::default() };
        recipes.push(Recipe { workload: Workload::Model(inference), ..Recipe::default() });
        for recipe in recipes {
            let link = format!("https://example.org/page/#{}", recipe.to_fragment().unwrap());
            assert_eq!(Recipe::from_fragment(&link).unwrap(), recipe);
            assert_eq!(Recipe::from_json("r", recipe.to_json().unwrap().as_bytes()).unwrap(), recipe);
        }
    }

    #[test]
    fn broken_recipes_name_the_place() {
        let error = Recipe::from_fragment("#r=%%%").unwrap_err().to_string();
        assert!(error.starts_with("link, whole input: not a recipe"), "{error}");
        let text = br#"{"workload":{"synthetic":{"num_layer":3}}}"#;
        let error = Recipe::from_json("r.json", text).unwrap_err().to_string();
        assert!(error.contains("unknown field `num_layer`, expected one of"), "{error}");
        let text = br#"{"workload":{"synthetic":{}},"policies":["mru2"]}"#;
        assert!(Recipe::from_json("r.json", text).unwrap_err().to_string().contains("no such policy"));
        let recipe = Recipe { memory: Memory::new(0), ..Recipe::default() };
        assert_eq!(recipe.check().unwrap_err().field_name(), Some("capacity_bytes"));
        assert!(Recipe { policies: vec![], ..Recipe::default() }.check().is_err());
        let twice = Recipe { policies: vec![PolicyKind::Lru.into(); 2], ..Recipe::default() };
        assert!(twice.check().unwrap_err().to_string().contains("Name each policy once"));
    }
}
