//! Workloads that come with a file: a trace, a model, or a record of routing.

use super::config::ModelConfig;
use super::model_run::ModelRun;
use super::onnx::Graph;
use super::routing::ExpertLog;
use super::scale_sim::Topology;
use super::{ModelRef, Workload, onnx, scale_sim};
use crate::error::{Error, Place};
use crate::run::Progress;
use crate::trace::Trace;
use crate::trace::format::input::{Input, without_mark};
use crate::trace::format::moe_routing::RoutingLog;
use crate::trace::format::{self, Format};

/// A model as a file describes it.
#[derive(Debug)]
pub(crate) enum ModelFile {
    Graph(Graph),
    Topology(Topology),
    Config(ModelConfig),
}

/// The longest `config.json`: a thousand times as long as any.
const MOST_CONFIG: usize = 16 << 20;

/// Whether `head` begins like a `config.json`: a JSON object that names a type of model.
fn looks_like_config(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    let names = |key: &[u8]| head.windows(key.len()).any(|part| part == key);
    head.starts_with(b"{")
        && (names(b"\"model_type\"") || names(b"\"architectures\""))
        && !names(b"\"tensor_id\"")
        && !names(b"\"nodes\"")
}

/// Which format a file is in, told from its content alone.
pub fn detect(input: &Input<'_>) -> Result<Format, Error> {
    let head = input.head();
    if onnx::looks_like(&head) {
        return Ok(Format::Onnx);
    }
    let head = without_mark(&head);
    if scale_sim::looks_like(head) {
        return Ok(Format::ScaleSim);
    }
    // Records and traces may name a model as well: they go first.
    match format::detect(input) {
        Err(_) if looks_like_config(head) => Ok(Format::Config),
        other => other,
    }
}

impl ModelFile {
    fn read(format: Format, input: &Input<'_>, progress: &mut dyn Progress) -> Result<Option<Self>, Error> {
        Ok(Some(match format {
            Format::Onnx => Self::Graph(Graph::parse(input, progress)?),
            Format::ScaleSim => Self::Topology(Topology::parse(input, progress)?),
            Format::Config => {
                let text = input.whole(MOST_CONFIG, progress)?;
                Self::Config(ModelConfig::from_json(input.name, without_mark(&text))?)
            }
            _ => return Ok(None),
        }))
    }
}

/// What is too large, with the name of its file.
fn named(error: Error, file: &str) -> Error {
    match error {
        Error::TooLarge { problem, cure } => Error::TooLarge { problem: format!("{file}: {problem}"), cure },
        other => other,
    }
}

impl ExpertLog for RoutingLog {
    fn experts(&self, token: u64, layer: u32) -> Result<&[u16], Error> {
        let missing = || {
            let problem =
                format!("the log, of {} tokens, has no experts for token {token} in layer {layer}", self.tokens());
            let cure = "Choose fewer tokens or a smaller batch, or give a longer log";
            Error::input("the routing log", Place::Item(token), problem, cure)
        };
        let key = u32::try_from(token).ok().zip(u16::try_from(layer).ok()).ok_or_else(missing)?;
        let experts = self.experts_of(key.0, key.1);
        if experts.is_empty() { Err(missing()) } else { Ok(experts) }
    }
}

impl Workload {
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

    /// The trace, with the file that the workload needs, and that file's format.
    pub fn trace_with(
        &self,
        seed: u64,
        input: &Input<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(Trace, Format), Error> {
        match self {
            Self::File(source) => {
                let format = match (source.format, &source.columns) {
                    (None, None) => detect(input)?,
                    (format, columns) => format::choose(format, columns.as_ref(), input)?,
                };
                if let Some(model) = ModelFile::read(format, input, progress)? {
                    let model_ref = ModelRef::File { file: source.name.clone() };
                    let run = ModelRun { model: model_ref, ..ModelRun::default() };
                    return Ok((run.trace_of(&model, seed).map_err(|e| named(e, input.name))?, format));
                }
                Ok((format::read(format, input, source.columns.as_ref(), progress)?, format))
            }
            Self::Model(run) => match (&run.model, &run.routing.log) {
                (ModelRef::File { file }, _) => {
                    let format = detect(input)?;
                    let model = ModelFile::read(format, input, progress)?.ok_or_else(|| {
                        let problem = format!("it is a trace ({}), not a model", format.name());
                        Error::input(file, Place::Whole, problem, "Give it as a trace file, or name a model")
                    })?;
                    Ok((run.trace_of(&model, seed).map_err(|e| named(e, input.name))?, format))
                }
                (_, Some(_)) => {
                    let log = RoutingLog::parse(input, progress)?;
                    Ok((run.trace_by(&run.check()?, seed, Some(&log))?, Format::MoeRouting))
                }
                (_, None) => Err(Error::Internal("a workload was given a file that it does not need".into())),
            },
            Self::Synthetic(_) | Self::Tenants(_) => {
                Err(Error::Internal("a workload was given a file that it does not need".into()))
            }
        }
    }
}
