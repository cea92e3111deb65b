//! Where the trace of an experiment comes from.

use serde::{Deserialize, Serialize};

use super::tenants::Tenants;
use crate::error::{Error, Place};
use crate::import::archive;
use crate::import::cache_csv::Columns;
use crate::import::input::Input;
use crate::import::moe_routing::RoutingLog;
use crate::import::{self, Content, Format};
use crate::progress::Progress;
use crate::tiling::Group;
use crate::trace::Trace;
use crate::workload::ModelRef;
use crate::workload::config::Facts;
use crate::workload::file::ModelFile;
use crate::workload::model_run::{ModelRun, Source};
use crate::workload::plan::listing::Listing;
use crate::workload::synthetic::Synthetic;

/// Where an experiment's trace comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// The prototype's random workload.
    Synthetic(Synthetic),
    /// A model at work.
    #[serde(alias = "inference")]
    Model(ModelRun),
    /// Several workloads on one memory.
    Tenants(Tenants),
    /// A trace file. The recipe names it; whoever runs the recipe brings the bytes.
    File(FileSource),
}

/// A trace file as a recipe names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// Its name.
    pub name: String,
    /// Its format; detected from the content where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Which columns of a CSV file hold what; detected where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// Which file of an archive (tar, zip) is meant; the first by name that can be read where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
}

impl FileSource {
    /// The file `name`, whose format is detected.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), format: None, columns: None, member: None }
    }
}

impl Workload {
    /// Fails on the first field that is out of range, without making the trace.
    /// Its tiles must fit `capacity_bytes` of fast memory.
    pub fn check(&self, capacity_bytes: u64) -> Result<(), Error> {
        match self {
            Self::Synthetic(synthetic) => synthetic.check(),
            Self::Model(run) => {
                run.check_fields()?;
                run.tiles(capacity_bytes).map(|_| ())
            }
            Self::Tenants(tenants) => tenants.check(capacity_bytes),
            Self::File(_) => Ok(()),
        }
    }

    /// Whether its tiles, and so its trace, depend on the capacity.
    pub fn follows_capacity(&self) -> bool {
        match self {
            Self::Model(run) => run.tile_bytes.is_none(),
            Self::Tenants(tenants) => tenants.follow_capacity(),
            Self::Synthetic(_) | Self::File(_) => false,
        }
    }

    /// Checks every field and makes the trace for `capacity_bytes` of fast memory. A workload that needs a file has no trace
    /// without it: an error says so.
    pub fn trace(&self, seed: u64, capacity_bytes: u64) -> Result<Trace, Error> {
        self.refuse_without_file()?;
        match self {
            Self::Synthetic(synthetic) => synthetic.trace(seed),
            Self::Model(run) => run.trace(seed, capacity_bytes),
            Self::Tenants(tenants) => tenants.trace(seed, capacity_bytes),
            Self::File(_) => Err(Error::Internal("a trace file without a name".into())),
        }
    }

    /// Refuses a workload that needs a file.
    fn refuse_without_file(&self) -> Result<(), Error> {
        if let Some(file) = self.file() {
            return Err(Error::input(
                file,
                Place::Whole,
                "the recipe names this file, and a recipe does not carry the file itself",
                "Give the file along with the recipe",
            ));
        }
        Ok(())
    }

    /// What the operators of a model move, one group after the other; other workloads have no operators. A model from a
    /// file comes with it.
    pub fn groups(
        &self,
        seed: u64,
        file: Option<&Input<'_>>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Group>, Error> {
        let Self::Model(run) = self else {
            let problem = "it is not a run of a model, and has no operators";
            return Err(Error::field("workload", "given", problem, "Name a model, or give the sizes of an operator"));
        };
        let (ModelRef::File { file: name }, Some(input)) = (&run.model, file) else {
            self.refuse_without_file()?;
            return run.groups(seed);
        };
        let (model, _) = model_file(name, input, progress)?;
        run.groups_of(Source::File(&model), seed).map_err(|e| named(e, input.name))
    }

    /// The operators of a model, one by one, of one layer or of all. A model from a file comes with it.
    pub fn list(
        &self,
        (seed, layer): (u64, Option<u32>),
        file: Option<&Input<'_>>,
        progress: &mut dyn Progress,
    ) -> Result<Listing, Error> {
        let Self::Model(run) = self else {
            let problem = "it is not a run of a model, and has no operators";
            return Err(Error::field("workload", "given", problem, "Name a model"));
        };
        let (ModelRef::File { file: name }, Some(input)) = (&run.model, file) else {
            self.refuse_without_file()?;
            return run.list(seed, layer);
        };
        let (model, _) = model_file(name, input, progress)?;
        run.list_of(Source::File(&model), seed, layer).map_err(|e| named(e, input.name))
    }

    /// The models that are named as a hub names them (`OWNER/NAME`), of tenants as well: whoever runs the recipe where
    /// there is a network puts their `config.json` in the place of the names. No preset's name has a slash.
    pub fn hub_models(&mut self) -> Vec<&mut ModelRef> {
        match self {
            Self::Model(run) => match &run.model {
                ModelRef::Preset(name) if name.contains('/') => vec![&mut run.model],
                _ => Vec::new(),
            },
            Self::Tenants(tenants) => {
                tenants.tenants.iter_mut().flat_map(|tenant| tenant.workload.hub_models()).collect()
            }
            Self::Synthetic(_) | Self::File(_) => Vec::new(),
        }
    }

    /// Facts of the model, where the workload is one that the recipe describes.
    pub fn model_facts(&self) -> Result<Option<Facts>, Error> {
        match self {
            Self::Model(run) if !matches!(run.model, ModelRef::File { .. }) => run.facts().map(Some),
            Self::Model(_) | Self::Synthetic(_) | Self::Tenants(_) | Self::File(_) => Ok(None),
        }
    }

    /// The file that the workload needs, by its name in the recipe.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::File(source) => Some(&source.name),
            Self::Model(run) => match (&run.model, &run.routing.log) {
                (ModelRef::File { file }, _) => Some(file),
                (_, log) => log.as_deref(),
            },
            Self::Synthetic(_) | Self::Tenants(_) => None,
        }
    }

    /// The trace for a seed and a capacity in bytes, with the file that the workload needs, and that file's format.
    pub fn trace_with(
        &self,
        (seed, capacity_bytes): (u64, u64),
        input: &Input<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(Trace, Format), Error> {
        match self {
            Self::File(source) => {
                let (format, columns) = (source.format, source.columns.as_ref());
                let fits = |file: &Input<'_>| match (format, columns, import::detect(file)) {
                    (None, None, found) => found.is_ok(),
                    (Some(format), _, found) => found == Ok(format),
                    (None, Some(_), found) => found.map_or(true, |found| found == Format::Csv),
                };
                let opened = archive::open(input, source.member.as_deref(), &fits, progress)?;
                let input = &opened.input();
                let format = import::choose(format, columns, input)?;
                let mut trace = match import::content(format, input, source.columns.as_ref(), progress)? {
                    Content::Trace(trace) => *trace,
                    Content::Model(model) => {
                        let model_ref = ModelRef::File { file: source.name.clone() };
                        let run = ModelRun { model: model_ref, ..ModelRun::default() };
                        run.trace_of(Source::File(&model), seed, capacity_bytes).map_err(|e| named(e, input.name))?
                    }
                };
                opened.tell(&mut trace);
                Ok((trace, format))
            }
            Self::Model(run) => match (&run.model, &run.routing.log) {
                (ModelRef::File { file }, _) => {
                    let (model, format) = model_file(file, input, progress)?;
                    let trace = run.trace_of(Source::File(&model), seed, capacity_bytes);
                    Ok((trace.map_err(|e| named(e, input.name))?, format))
                }
                (_, Some(_)) => {
                    let is_log = |file: &Input<'_>| import::detect(file) == Ok(Format::MoeRouting);
                    let opened = archive::open(input, None, &is_log, progress)?;
                    let log = RoutingLog::parse(&opened.input(), progress)?;
                    let source = Source::Config(&run.check()?, Some(&log));
                    Ok((run.trace_of(source, seed, capacity_bytes)?, Format::MoeRouting))
                }
                (_, None) => Err(needs_no_file()),
            },
            Self::Synthetic(_) | Self::Tenants(_) => Err(needs_no_file()),
        }
    }
}

/// The model that a file describes, and its format.
fn model_file(file: &str, input: &Input<'_>, progress: &mut dyn Progress) -> Result<(ModelFile, Format), Error> {
    let is_model =
        |file: &Input<'_>| import::detect(file).is_ok_and(|format| format.is_model() || format == Format::Gguf);
    let opened = archive::open(input, None, &is_model, progress)?;
    let input = &opened.input();
    let format = import::detect(input)?;
    let not_a_model = || {
        let problem = format!("it is a trace ({}), not a model", format.name());
        Error::input(file, Place::Whole, problem, "Give it as a trace file, or name a model")
    };
    Ok((import::model(format, input, progress).ok_or_else(not_a_model)??, format))
}

fn needs_no_file() -> Error {
    Error::Internal("a workload was given a file that it does not need".into())
}

/// What is too large, with the name of its file.
fn named(error: Error, file: &str) -> Error {
    match error {
        Error::TooLarge { problem, cure } => Error::TooLarge { problem: format!("{file}: {problem}"), cure },
        other => other,
    }
}
