//! Where the trace comes from: a recipe, a file, a model or the synthetic workload.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use accel_core::import::cache_csv::Columns;
use accel_core::import::input::{Input, strip_mark};
use accel_core::import::request_log::{self, Selection};
use accel_core::import::{FORMATS, FileKind, Format};
use accel_core::memory::device::DeviceRef;
use accel_core::memory::{Cost, Level, Physical};
use accel_core::policy::{PolicyKind, PolicySpec};
use accel_core::recipe::fields::{Field, Part};
use accel_core::recipe::{FRAGMENT, FileSource, Recipe, Workload};
use accel_core::scenarios;
use accel_core::trace::Trace;
use accel_core::units::parse_bytes;
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_core::workload::model_run::ModelRun;
use accel_core::workload::requests::{MOST_REQUESTS, Requests};
use accel_files::parallel::Capacity;
use accel_model::fetch::HubName;
use anyhow::{Context as _, bail};
use clap::Args;

use crate::flags::{self, Flags, OfDevice, OfFile, OfMemory, OfModel, OfWorkload, Policies};
use crate::hub;
use crate::progress::Bar;

/// One source of accesses.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// A recipe: a JSON file, - for standard input, or a link copied from the page.
    #[arg(long, value_name = "FILE|LINK", group = "source")]
    pub(crate) recipe: Option<String>,
    /// A trace file. With --recipe, the file that the recipe names.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Format of the trace file; detected from its content if left out.
    #[arg(long, value_name = "NAME", requires = "trace", value_parser = flags::format())]
    pub(crate) format: Option<Format>,
    #[command(flatten)]
    pub(crate) file: Flags<OfFile>,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
}

/// A workload described by flags.
#[derive(Debug, Args)]
pub(crate) struct WorkloadArgs {
    /// A model: a preset's name (`accel list models` prints them), a file (a Hugging Face config.json or the folder that it
    /// is in, GGUF weights, an ONNX graph, a SCALE-Sim topology), or a name on the Hugging Face hub, `OWNER/NAME[@REVISION]`, whose config.json is fetched (HF_TOKEN
    /// and HF_ENDPOINT from the environment).
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// Requests from a log of a server (Azure, BurstGPT, Mooncake): a CSV or JSON lines with the tokens of each.
    #[arg(long, value_name = "FILE", requires = "model")]
    request_log: Option<PathBuf>,
    /// Requests of the log to pass over.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "request_log")]
    request_skip: u64,
    /// Requests of the log to take after that.
    #[arg(long, value_name = "N", default_value_t = MOST_REQUESTS, requires = "request_log")]
    request_count: u64,
    /// How long a step of the server takes, which turns the times of the log into steps; without it, all requests wait from
    /// the start.
    #[arg(long, value_name = "MS", requires = "request_log")]
    request_step_ms: Option<f64>,
    /// A question with its experiment (`accel list scenarios` prints them).
    #[arg(long, value_name = "NAME", value_parser = flags::scenario(), hide_possible_values = true)]
    scenario: Option<String>,
    #[command(flatten)]
    fields: Flags<OfWorkload>,
}

/// Memory and policies.
#[derive(Debug, Default, Args)]
pub(crate) struct ExperimentArgs {
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    /// Policies to compare, separated by commas, or all.
    #[arg(long, value_name = "LIST", value_parser = flags::policies())]
    pub(crate) policy: Option<Policies>,
}

/// Memory.
#[derive(Debug, Default, Args)]
pub(crate) struct MemoryArgs {
    /// Capacities of fast memory, separated by commas: sizes such as 128MiB, or shares of the bytes of all tensors, such
    /// as 0.1.
    #[arg(
        long = "capacity",
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_parser = flags::capacity()
    )]
    pub(crate) capacities: Vec<Capacity>,
    #[command(flatten)]
    pub(crate) fields: Flags<OfMemory>,
    /// What counts time: the device that fits the workload (an H100 for operations of models; nothing for requests to
    /// objects), or the prototype's constants.
    #[arg(long, value_name = "NAME", value_enum, conflicts_with = "device")]
    pub(crate) cost: Option<CostArg>,
    /// Count time and energy on a device: its name (`accel list devices` prints them) or a JSON file that describes it.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) device: Option<String>,
    #[command(flatten)]
    pub(crate) of_device: Flags<OfDevice>,
    /// A memory below the fast one, such as name=HBM,capacity=80GB,policy=lru,gb_s=63,latency_ns=1000, where gb_s and
    /// latency_ns are those of the link beneath it; may be given several times, the fastest first (device).
    #[arg(long = "level", value_name = "KEY=VALUE,...", requires = "device")]
    pub(crate) levels: Vec<String>,
}

/// What counts time, where no device is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CostArg {
    Device,
    Prototype,
}

/// A model, and how much of its work is asked about.
#[derive(Debug, Default, Args)]
pub(crate) struct ModelArgs {
    /// A model in place of source code: a preset's name (`accel list models` prints them), a file (a Hugging Face
    /// config.json or the folder that it is in, GGUF weights, an ONNX graph, a SCALE-Sim topology), or a name on the Hugging
    /// Face hub.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    fields: Flags<OfModel>,
}

impl ModelArgs {
    /// The experiment of `model`.
    pub(crate) fn recipe(&self, model: &str) -> anyhow::Result<Recipe> {
        let workload = Workload::Model(ModelRun { model: model_ref(model)?, ..ModelRun::default() });
        let mut recipe = Recipe { workload, ..Part::Model.recipe() };
        self.fields.apply(Part::Model, &mut recipe)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The name and the content of the file that the recipe's workload needs, if it needs one.
    pub(crate) fn content(&self, recipe: &Recipe) -> anyhow::Result<Option<(String, Vec<u8>)>> {
        let read = |name: &str| Ok((name.to_owned(), read_file(Path::new(name))?));
        recipe.workload.file().map(read).transpose()
    }

    /// Fails where a flag was given that says nothing of source code.
    pub(crate) fn refuse_fields(&self) -> anyhow::Result<()> {
        match self.fields.given().next() {
            Some((flag, _)) => bail!("--{flag} belongs to {MODEL}: name one, or leave it out"),
            None => Ok(()),
        }
    }
}

impl MemoryArgs {
    /// The one capacity of a command that has no use for more.
    pub(crate) fn one_capacity(&self) -> anyhow::Result<Option<Capacity>> {
        match self.capacities[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            [_, _, ..] => bail!("--capacity names several capacities, and only accel simulate takes them: give one"),
        }
    }

    fn apply(&self, recipe: &mut Recipe) -> anyhow::Result<()> {
        if let Some(Capacity::Bytes(bytes)) = self.capacities.first() {
            recipe.memory.capacity_bytes = *bytes;
        }
        self.fields.apply(Part::Memory, recipe)?;
        match self.cost {
            Some(CostArg::Device) => recipe.memory.cost = Cost::Device,
            Some(CostArg::Prototype) => recipe.memory.cost = Cost::Prototype,
            None => {}
        }
        let Some(device) = &self.device else { return Ok(()) };
        let below = self.levels.iter().map(|level| read_level(level)).collect::<anyhow::Result<_>>()?;
        recipe.memory.cost = Cost::Physical(Physical { device: device_ref(device)?, below, ..Physical::default() });
        Ok(self.of_device.apply(Part::Device, recipe)?)
    }
}

/// A device by name, or described in a file.
pub(crate) fn device_ref(device: &str) -> anyhow::Result<DeviceRef> {
    let path = Path::new(device);
    if !path.is_file() {
        let looks_like_a_file =
            path.extension().is_some_and(|e| e == "json") || device.contains(std::path::MAIN_SEPARATOR);
        if looks_like_a_file {
            bail!("{device}: no such file. Give a JSON file that describes the device, or the name of a known one");
        }
        return Ok(DeviceRef::Known(device.to_owned()));
    }
    let own = serde_json::from_slice(&read_file(path)?).with_context(|| {
        format!("{device} does not describe a device, such as {{\"name\":\"mine\",\"dram_gb_s\":100}}")
    })?;
    Ok(DeviceRef::Own(own))
}

/// Reads `name=HBM,capacity=80GB,policy=lru,gb_s=63,latency_ns=1000`.
fn read_level(text: &str) -> anyhow::Result<Level> {
    const KEYS: &str = "name, capacity, policy, gb_s, latency_ns";
    let mut level =
        Level { name: "below".into(), capacity_bytes: 0, policy: PolicyKind::Lru.into(), gb_s: 0.0, latency_ns: 0.0 };
    let mut seen = Vec::new();
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("--level {text}: \"{pair}\" is not KEY=VALUE. The keys are {KEYS}");
        };
        if seen.contains(&key.trim()) {
            bail!("--level {text}: {key} is given twice. Give each key once");
        }
        seen.push(key.trim());
        let number = || value.trim().parse().with_context(|| format!("--level {text}: {key} is not a number"));
        match key.trim() {
            "name" => level.name = value.trim().into(),
            "capacity" => level.capacity_bytes = parse_bytes("below.capacity_bytes", value)?,
            "policy" => level.policy = PolicySpec::parse(value)?,
            "gb_s" => level.gb_s = number()?,
            "latency_ns" => level.latency_ns = number()?,
            other => bail!("--level {text}: there is no key \"{other}\". The keys are {KEYS}"),
        }
    }
    if let Some(missing) = ["capacity", "gb_s"].into_iter().find(|key| !seen.contains(key)) {
        bail!("--level {text}: {missing} is missing. The keys are {KEYS}");
    }
    Ok(level)
}

impl WorkloadArgs {
    /// The sources of a workload that were chosen.
    fn chosen(&self) -> Vec<&'static str> {
        let synthetic = self.fields.text(Field::ModelType).is_some();
        let sources = [(MODEL, self.model.is_some()), (SCENARIO, self.scenario.is_some()), (SYNTHETIC, synthetic)];
        sources.into_iter().filter(|(_, given)| *given).map(|(source, _)| source).collect()
    }

    /// Fails where a flag was given that says nothing about the chosen source. (clap's own `requires` is waived where
    /// flags exclude each other, and then they would be ignored.)
    fn check_flags(&self) -> anyhow::Result<()> {
        let chosen = self.chosen();
        if let [first, second, ..] = chosen[..] {
            bail!("{first} cannot be combined with {second}: choose one");
        }
        for (flag, text) in self.fields.given() {
            let has = |part: Part| part.fields().any(|row| row.flag == flag && flags::is_meant(row, text));
            let owners =
                [(Part::Model, MODEL), (Part::Synthetic, SYNTHETIC)].into_iter().filter(|(part, _)| has(*part));
            let owners: Vec<&str> = owners.map(|(_, source)| source).collect();
            if owners.is_empty() || chosen.iter().any(|source| owners.contains(source)) {
                continue;
            }
            let owners = owners.join(" or ");
            match chosen.first() {
                Some(&SCENARIO) => bail!(
                    "--{flag} belongs to {owners}; {SCENARIO} brings its own workload. \
                     Change it in the recipe: accel recipe --scenario NAME"
                ),
                Some(source) => bail!("--{flag} belongs to {owners}, not to {source}: leave it out"),
                None => bail!("--{flag} belongs to {owners}: name one"),
            }
        }
        Ok(())
    }

    /// The recipe of a model or of the synthetic workload, where one is chosen.
    fn recipe(&self) -> anyhow::Result<Option<Recipe>> {
        self.check_flags()?;
        if let Some(model) = &self.model {
            let workload = Workload::Model(ModelRun { model: model_ref(model)?, ..ModelRun::default() });
            let mut recipe = Recipe { workload, ..Part::Model.recipe() };
            self.fields.apply(Part::Model, &mut recipe)?;
            if let (Some(log), Workload::Model(run)) = (&self.request_log, &mut recipe.workload) {
                if run.requests.is_some() {
                    bail!("--request-log cannot be combined with a list in --requests: choose one");
                }
                run.requests = Some(self.requests(log)?);
            }
            return Ok(Some(recipe));
        }
        if self.fields.text(Field::ModelType).is_some() {
            let mut recipe = Part::Synthetic.recipe();
            self.fields.apply(Part::Synthetic, &mut recipe)?;
            return Ok(Some(recipe));
        }
        Ok(None)
    }
}

impl WorkloadArgs {
    /// The requests of a log; what should be known of them is printed.
    fn requests(&self, log: &Path) -> anyhow::Result<Requests> {
        let name = log.display().to_string();
        let selection = Selection { skip: self.request_skip, most: self.request_count, step_ms: self.request_step_ms };
        let bytes = read_file(log)?;
        let (requests, notes) = request_log::read(&Input::new(&name, &bytes), selection, &mut Bar::new())?;
        notes.iter().for_each(|note| eprintln!("warning: {name}: {note}"));
        Ok(requests)
    }
}

/// The flag that names a model.
const MODEL: &str = "--model";
/// The flag that names a scenario.
const SCENARIO: &str = "--scenario";
/// The flag that chooses the synthetic workload.
const SYNTHETIC: &str = "--synthetic";

/// A preset by name, a configuration from its file or folder, or the name of a file that holds more than a recipe carries.
fn model_ref(model: &str) -> anyhow::Result<ModelRef> {
    let path = Path::new(model);
    if path.exists() {
        let (model, notes) = accel_files::model::read(path)?;
        notes.iter().for_each(|note| eprintln!("warning: {note}"));
        return Ok(model);
    }
    if let Some(file) = hub_file(model).filter(|_| model.ends_with(".gguf")) {
        return Ok(accel_files::model::of_weights(model, &hub::header(&file)?)?);
    }
    let names_a_file = FORMATS.iter().any(|info| info.kind == FileKind::Model && info.has_extension(model))
        || Format::Gguf.info().has_extension(model);
    if let Some(name) = HubName::parse(model).filter(|_| !names_a_file) {
        let bytes = hub::config(&name)?;
        return Ok(ModelRef::Config(Box::new(ModelConfig::from_json(model, strip_mark(&bytes))?)));
    }
    if names_a_file || model.contains(std::path::MAIN_SEPARATOR) {
        bail!(
            "{model}: no such file. Give a config.json, an ONNX graph, a SCALE-Sim topology, GGUF weights, a folder with a \
             config.json, a name that `accel list models` prints, or a model of the hub as OWNER/NAME"
        );
    }
    Ok(ModelRef::Preset(model.to_owned()))
}

impl Source {
    /// Whether a recipe says what to compute, rather than flags.
    pub(crate) fn names_a_recipe(&self) -> bool {
        self.recipe.is_some()
    }

    /// The experiment that the flags describe.
    pub(crate) fn recipe(&self, experiment: &ExperimentArgs) -> anyhow::Result<Recipe> {
        let mut recipe = match (&self.recipe, self.workload.recipe()?, &self.trace) {
            _ if self.workload.scenario.is_some() && (self.recipe.is_some() || self.trace.is_some()) => {
                bail!("--scenario cannot be combined with --recipe or --trace: choose one")
            }
            (Some(_), Some(_), _) => bail!("--recipe cannot be combined with --model or --synthetic: choose one"),
            (Some(recipe), None, _) => read_recipe(recipe)?,
            (None, Some(_), Some(_)) => bail!("--trace cannot be combined with --model or --synthetic: choose one"),
            (None, Some(recipe), None) => recipe,
            (None, None, Some(path)) => {
                let file = FileSource { format: self.format, ..FileSource::named(path.display().to_string()) };
                // A file may be long, and bounds take as long as a dozen policies: they are computed where asked for.
                let mut recipe = Recipe { workload: Workload::File(file), bounds: false, ..Part::File.recipe() };
                self.file.apply(Part::File, &mut recipe)?;
                recipe
            }
            (None, None, None) if let Some(name) = &self.workload.scenario => scenarios::find(name)?.recipe(),
            (None, None, None) => {
                bail!(
                    "nothing to run. Give --recipe FILE, --trace FILE, --model NAME|FILE, --scenario NAME or --synthetic TYPE"
                )
            }
        };
        for model in recipe.workload.hub_models() {
            if let ModelRef::Preset(name) = &*model {
                *model = model_ref(name)?;
            }
        }
        self.workload.fields.apply(Part::Experiment, &mut recipe)?;
        self.workload.fields.apply(Part::Measure, &mut recipe)?;
        experiment.memory.apply(&mut recipe)?;
        if let Some(Policies(policies)) = &experiment.policy {
            recipe.policies.clone_from(policies);
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// Where the file is that the recipe's workload needs, if it needs one.
    fn path(&self, recipe: &Recipe) -> anyhow::Result<Option<PathBuf>> {
        let Some(name) = recipe.workload.file() else {
            if let (Some(path), Some(_)) = (&self.trace, &self.recipe) {
                bail!("the recipe makes its own trace; leave --trace {} out", path.display());
            }
            return Ok(None);
        };
        Ok(Some(match (&self.trace, &self.recipe) {
            (Some(path), _) => path.clone(),
            (None, Some(recipe)) if is_link(recipe) || recipe == "-" => {
                bail!("the recipe reads the file {name}: give it with --trace FILE")
            }
            // Next to the recipe.
            (None, Some(recipe)) => Path::new(recipe).with_file_name(name),
            (None, None) => PathBuf::from(name),
        }))
    }

    /// The trace, where the recipe's workload needs a file, and that file's format.
    pub(crate) fn file(&self, recipe: &Recipe) -> anyhow::Result<Option<(Trace, &'static str)>> {
        let Some(path) = self.path(recipe)? else { return Ok(None) };
        // What was given for the file goes before what the recipe says of it.
        let mut recipe = recipe.clone();
        if let Workload::File(source) = &mut recipe.workload {
            source.format = self.format.or(source.format);
            self.file.apply(Part::File, &mut recipe)?;
        }
        Ok(Some(read_workload(&recipe, &path)?))
    }

    /// The name and the content of the file that the recipe's workload needs, if it needs one.
    pub(crate) fn content(&self, recipe: &Recipe) -> anyhow::Result<Option<(String, Vec<u8>)>> {
        let Some(path) = self.path(recipe)? else { return Ok(None) };
        Ok(Some((path.display().to_string(), read_file(&path)?)))
    }
}

/// Reads a trace file, - for standard input, in `format` or the one that is detected; the format's name comes along.
pub(crate) fn read_trace(
    path: &Path,
    format: Option<Format>,
    columns: Option<&Columns>,
) -> anyhow::Result<(Trace, &'static str)> {
    warned(path, accel_files::trace::read(path, format, columns, &mut Bar::new())?)
}

/// Makes the trace of a recipe with the file at `path`, - for standard input, and prints its warnings.
fn read_workload(recipe: &Recipe, path: &Path) -> anyhow::Result<(Trace, &'static str)> {
    let name = accel_files::pieces::name(path);
    if let Some(file) = hub_file(&name).filter(|_| !path.exists()) {
        let header = hub::header(&file)?;
        let place = (recipe.seed, recipe.memory.capacity_bytes);
        let (trace, format) = recipe.workload.trace_with(place, &Input::new(&name, &header), &mut Bar::new())?;
        return warned(path, (trace, format.name()));
    }
    warned(path, accel_files::trace::read_workload(recipe, path, &mut Bar::new())?)
}

fn warned(path: &Path, (trace, format): (Trace, &'static str)) -> anyhow::Result<(Trace, &'static str)> {
    for warning in trace.warnings() {
        eprintln!("warning: {}: {warning}", accel_files::pieces::name(path));
    }
    Ok((trace, format))
}

/// A file of weights on the hub, such as `hf://OWNER/NAME/model.safetensors`.
fn hub_file(name: &str) -> Option<HubName> {
    name.starts_with("hf://").then(|| HubName::parse(name)).flatten()
}

fn is_link(source: &str) -> bool {
    source.contains(&format!("#{FRAGMENT}")) || source.starts_with(FRAGMENT)
}

fn read_recipe(source: &str) -> anyhow::Result<Recipe> {
    if is_link(source) {
        return Ok(Recipe::from_fragment(source)?);
    }
    if source == "-" {
        let mut json = Vec::new();
        std::io::stdin().read_to_end(&mut json).context("standard input")?;
        return Ok(Recipe::from_json("standard input", &json)?);
    }
    Ok(Recipe::from_json(source, &read_file(Path::new(source))?)?)
}

pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The trace needs no memory and no policies: the defaults pass the checks.
pub(crate) fn load(source: &Source) -> anyhow::Result<(Recipe, Trace, Option<&'static str>)> {
    let recipe = source.recipe(&ExperimentArgs::default())?;
    recipe.measure.check()?;
    let (file, format) = source.file(&recipe)?.unzip();
    let trace = recipe.trace(file)?;
    Ok((recipe, trace, format))
}
