//! Where the trace comes from: a recipe, a file, a model or the synthetic workload.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use accel_core::import::cache_csv::Columns;
use accel_core::import::input::{Input, without_mark};
use accel_core::import::{self, Format};
use accel_core::memory::device::DeviceRef;
use accel_core::memory::{Cost, Level, Memory, Physical};
use accel_core::policy::{Admission, PolicyKind};
use accel_core::recipe::{FRAGMENT, Recipe, default_seed};
use accel_core::recipe::{FileSource, Workload};
use accel_core::scenarios;
use accel_core::trace::Trace;
use accel_core::units::parse_bytes;
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_core::workload::dtype::Dtype;
use accel_core::workload::model_run::{Convolution, ModelRun, Task};
use accel_core::workload::plan::Dataflow;
use accel_core::workload::requests::Requests;
use accel_core::workload::synthetic::{ModelType, Pattern, Synthetic};
use accel_core::workload::train::Optimizer;
use anyhow::{Context as _, bail};
use clap::Args;

use crate::parquet;
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
    /// Format of the trace file; told from its content if left out.
    #[arg(long, value_name = "NAME", requires = "trace")]
    pub(crate) format: Option<String>,
    /// Columns of a CSV or Parquet trace, as libCacheSim's -t takes them:
    /// time-col=1,obj-id-col=2,obj-size-col=3,has-header=true,delimiter=, (numbers from 1, or names).
    #[arg(long, value_name = "KEY=VALUE,...", requires = "trace")]
    pub(crate) columns: Option<String>,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
}

/// A workload described by flags.
#[derive(Debug, Args)]
pub(crate) struct WorkloadArgs {
    /// A model: a preset's name (`accel models` lists them) or a file: a Hugging Face config.json, an ONNX graph, a
    /// SCALE-Sim topology.
    #[arg(long, value_name = "NAME|FILE")]
    model: Option<String>,
    /// A question with its experiment (`accel models` lists them).
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// What the model does: inference or training.
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Batches one after the other: of images or rows, or of training (model).
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Requests of different lengths and arrivals, such as 512+64,3x128+32@4: prompt and decoded tokens, how many, and
    /// the step before which they come (model).
    #[arg(long, value_name = "LIST")]
    requests: Option<String>,
    /// The order in which matrix multiplications walk over square tiles: output-, weight- or input-stationary (model).
    #[arg(long, value_name = "NAME")]
    dataflow: Option<String>,
    /// How convolutions are computed: direct or im2col (model).
    #[arg(long, value_name = "NAME")]
    convolution: Option<String>,
    /// How weights are updated: sgd, momentum or adam (training).
    #[arg(long, value_name = "NAME")]
    optimizer: Option<String>,
    /// Exponent of the popularity of experts; 0 = all equal (mixture of experts).
    #[arg(long, value_name = "S")]
    zipf: Option<f64>,
    /// Probability that a token takes over an expert of the token before it (mixture of experts).
    #[arg(long, value_name = "P")]
    stickiness: Option<f64>,
    /// A record of routing to follow: JSON lines of token, layer and experts (mixture of experts).
    #[arg(long, value_name = "FILE")]
    routing_log: Option<String>,
    /// The prototype's random workload of a model type: Transformer, CNN, MLP or MoE.
    #[arg(long, value_name = "TYPE")]
    synthetic: Option<String>,
    /// Sequences in a batch.
    #[arg(long, value_name = "N")]
    batch_size: Option<u32>,
    /// Tokens of each prompt (model).
    #[arg(long, value_name = "N")]
    prompt_tokens: Option<u64>,
    /// Tokens decoded after the prompt (model).
    #[arg(long, value_name = "N")]
    decode_tokens: Option<u64>,
    /// Number format of the weights, such as int4 (model).
    #[arg(long, value_name = "TYPE")]
    weight_dtype: Option<String>,
    /// Number format of the KV cache (model).
    #[arg(long, value_name = "TYPE")]
    kv_dtype: Option<String>,
    /// The largest block that moves as one, such as 4MiB (model).
    #[arg(long, value_name = "SIZE")]
    tile: Option<String>,
    /// Layers (synthetic).
    #[arg(long, value_name = "N")]
    num_layers: Option<u32>,
    /// Sequence length; recorded, not used by the synthetic generator.
    #[arg(long, value_name = "N")]
    seq_length: Option<u32>,
    /// Probability of each of five possible reuses (synthetic).
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    reuse_probability: Option<f64>,
    /// The most tensors taken of each layer (synthetic).
    #[arg(long, value_name = "N")]
    max_tensors_per_layer: Option<u32>,
    /// Order of reuses: interleaved or burst (synthetic).
    #[arg(long, value_name = "NAME")]
    pattern: Option<String>,
    /// Seed of everything drawn by chance.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Memory and policies.
#[derive(Debug, Default, Args)]
pub(crate) struct ExperimentArgs {
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
    /// Policies to compare, separated by commas, or all.
    #[arg(long, value_name = "LIST")]
    pub(crate) policy: Option<String>,
}

/// Memory.
#[derive(Debug, Default, Args)]
pub(crate) struct MemoryArgs {
    /// Capacity of fast memory, such as 128MiB.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) capacity: Option<String>,
    /// Which missed tensors come in: always (all that fit), or bypass (those the policy would not evict at once).
    #[arg(long, value_name = "MODE")]
    pub(crate) admission: Option<String>,
    /// Count time and energy on a device: its name (h100-sxm, tpu-v4, ...) or a JSON file that describes it.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) device: Option<String>,
    /// Loads may start as soon as the access this many before does; 0 loads on demand (device).
    #[arg(long, value_name = "N", requires = "device")]
    pub(crate) prefetch_depth: Option<u32>,
    /// A memory below the fast one, such as name=HBM,capacity=80GB,policy=lru,gb_s=63,latency_ns=1000, where gb_s and
    /// latency_ns are those of the link beneath it; may be given several times, the fastest first (device).
    #[arg(long = "level", value_name = "KEY=VALUE,...", requires = "device")]
    pub(crate) levels: Vec<String>,
}

impl MemoryArgs {
    fn apply(&self, memory: &mut Memory) -> anyhow::Result<()> {
        if let Some(capacity) = &self.capacity {
            memory.capacity_bytes = parse_bytes("capacity_bytes", capacity)?;
        }
        if let Some(admission) = &self.admission {
            memory.admission = Admission::from_name(admission)?;
        }
        let Some(device) = &self.device else { return Ok(()) };
        let mut physical = Physical { device: device_ref(device)?, ..Physical::default() };
        set(&mut physical.prefetch_depth, self.prefetch_depth);
        physical.below = self.levels.iter().map(|level| read_level(level)).collect::<anyhow::Result<_>>()?;
        memory.cost = Cost::Physical(physical);
        Ok(())
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
        Level { name: "below".into(), capacity_bytes: 0, policy: PolicyKind::Lru, gb_s: 0.0, latency_ns: 0.0 };
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
            "policy" => level.policy = PolicyKind::from_name(value)?,
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

/// Applies a flag where it was given.
fn set<T>(slot: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *slot = value;
    }
}

impl WorkloadArgs {
    /// Fails where a flag was given that says nothing about the chosen source. (clap's own `requires` is waived where
    /// flags exclude each other, and then they would be ignored.)
    fn check_flags(&self) -> anyhow::Result<()> {
        let given = |flag: &Option<String>| flag.is_some();
        let sources = [("--model", &self.model), ("--scenario", &self.scenario), ("--synthetic", &self.synthetic)];
        let chosen: Vec<&str> = sources.iter().filter(|(_, flag)| given(flag)).map(|(name, _)| *name).collect();
        if let [first, second, ..] = chosen[..] {
            bail!("{first} cannot be combined with {second}: choose one");
        }
        let of_model = [
            ("--task", given(&self.task)),
            ("--steps", self.steps.is_some()),
            ("--requests", given(&self.requests)),
            ("--dataflow", given(&self.dataflow)),
            ("--convolution", given(&self.convolution)),
            ("--optimizer", given(&self.optimizer)),
            ("--zipf", self.zipf.is_some()),
            ("--stickiness", self.stickiness.is_some()),
            ("--routing-log", given(&self.routing_log)),
            ("--prompt-tokens", self.prompt_tokens.is_some()),
            ("--decode-tokens", self.decode_tokens.is_some()),
            ("--weight-dtype", given(&self.weight_dtype)),
            ("--kv-dtype", given(&self.kv_dtype)),
            ("--tile", given(&self.tile)),
        ];
        let of_synthetic = [
            ("--num-layers", self.num_layers.is_some()),
            ("--seq-length", self.seq_length.is_some()),
            ("--reuse-probability", self.reuse_probability.is_some()),
            ("--max-tensors-per-layer", self.max_tensors_per_layer.is_some()),
            ("--pattern", given(&self.pattern)),
        ];
        let of_either = [("--batch-size", self.batch_size.is_some())];
        for (flags, owners) in [
            (&of_model[..], &["--model"][..]),
            (&of_synthetic[..], &["--synthetic"][..]),
            (&of_either[..], &["--model", "--synthetic"][..]),
        ] {
            if let Some((flag, _)) = flags.iter().find(|(_, given)| *given)
                && !chosen.iter().any(|source| owners.contains(source))
            {
                let owners = owners.join(" or ");
                match chosen.first() {
                    Some(&source @ "--scenario") => bail!(
                        "{flag} belongs to {owners}; {source} brings its own workload. \
                         Change it in the recipe: accel recipe --scenario NAME"
                    ),
                    Some(source) => bail!("{flag} belongs to {owners}, not to {source}: leave it out"),
                    None => bail!("{flag} belongs to {owners}: name one"),
                }
            }
        }
        Ok(())
    }

    fn workload(&self) -> anyhow::Result<Option<Workload>> {
        self.check_flags()?;
        if let Some(model) = &self.model {
            let mut run = ModelRun { model: model_ref(model)?, ..ModelRun::default() };
            set(&mut run.batch_size, self.batch_size.map(u64::from));
            (run.prompt_tokens, run.decode_tokens) = (self.prompt_tokens, self.decode_tokens);
            run.requests = self.requests.as_deref().map(Requests::parse).transpose()?;
            set(&mut run.task, self.task.as_deref().map(Task::from_name).transpose()?);
            set(&mut run.steps, self.steps);
            run.dataflow = self.dataflow.as_deref().map(Dataflow::from_name).transpose()?;
            set(&mut run.convolution, self.convolution.as_deref().map(Convolution::from_name).transpose()?);
            set(&mut run.optimizer, self.optimizer.as_deref().map(Optimizer::from_name).transpose()?);
            set(&mut run.routing.zipf, self.zipf);
            set(&mut run.routing.stickiness, self.stickiness);
            run.routing.log.clone_from(&self.routing_log);
            let dtype = |flag, name: &Option<String>| name.as_deref().map(|n| Dtype::from_name(flag, n)).transpose();
            run.weight_dtype = dtype("weight_dtype", &self.weight_dtype)?;
            run.kv_dtype = dtype("kv_dtype", &self.kv_dtype)?;
            set(&mut run.tile_bytes, self.tile.as_deref().map(|t| parse_bytes("tile_bytes", t)).transpose()?);
            return Ok(Some(Workload::Model(run)));
        }
        if let Some(model_type) = &self.synthetic {
            let mut synthetic = Synthetic { model_type: ModelType::from_name(model_type)?, ..Synthetic::default() };
            set(&mut synthetic.num_layers, self.num_layers);
            set(&mut synthetic.batch_size, self.batch_size);
            set(&mut synthetic.seq_length, self.seq_length);
            set(&mut synthetic.reuse_probability, self.reuse_probability);
            set(&mut synthetic.max_tensors_per_layer, self.max_tensors_per_layer);
            set(&mut synthetic.pattern, self.pattern.as_deref().map(Pattern::from_name).transpose()?);
            return Ok(Some(Workload::Synthetic(synthetic)));
        }
        Ok(None)
    }
}

/// A preset by name, a configuration from its file, or the name of a file that holds more than a recipe carries.
fn model_ref(model: &str) -> anyhow::Result<ModelRef> {
    let path = Path::new(model);
    if path.is_file() {
        let bytes = read_file(path)?;
        let input = Input::new(model, &bytes);
        if import::detect(&input).ok() == Some(Format::Config) || path.extension().is_some_and(|e| e == "json") {
            input.check()?;
            return Ok(ModelRef::Config(Box::new(ModelConfig::from_json(model, without_mark(&bytes))?)));
        }
        return Ok(ModelRef::File { file: model.to_owned() });
    }
    let looks_like_a_file = path.extension().is_some_and(|e| ["json", "onnx", "csv"].iter().any(|known| e == *known));
    if looks_like_a_file || model.contains(std::path::MAIN_SEPARATOR) {
        bail!(
            "{model}: no such file. Give a config.json, an ONNX graph, a SCALE-Sim topology, or a name that `accel models` lists"
        );
    }
    Ok(ModelRef::Preset(model.to_owned()))
}

impl Source {
    /// The experiment that the flags describe.
    pub(crate) fn recipe(&self, experiment: &ExperimentArgs) -> anyhow::Result<Recipe> {
        let mut recipe = match (&self.recipe, self.workload.workload()?, &self.trace) {
            _ if self.workload.scenario.is_some() && (self.recipe.is_some() || self.trace.is_some()) => {
                bail!("--scenario cannot be combined with --recipe or --trace: choose one")
            }
            (Some(_), Some(_), _) => bail!("--recipe cannot be combined with --model or --synthetic: choose one"),
            (Some(recipe), None, _) => read_recipe(recipe)?,
            (None, Some(_), Some(_)) => bail!("--trace cannot be combined with --model or --synthetic: choose one"),
            (None, Some(workload), None) => {
                // The default capacity fits the default model; the prototype's fits its workload.
                let memory = match workload {
                    Workload::Synthetic(_) => Memory::default(),
                    _ => Recipe::default().memory,
                };
                Recipe { workload, memory, ..Recipe::default() }
            }
            (None, None, Some(path)) => Recipe {
                workload: Workload::File(FileSource {
                    name: path.display().to_string(),
                    format: self.format.as_deref().map(parse_format).transpose()?,
                    columns: self.columns.as_deref().map(str::parse).transpose()?,
                }),
                memory: Memory::default(),
                ..Recipe::default()
            },
            (None, None, None) if let Some(name) = &self.workload.scenario => scenarios::find(name)?.recipe(),
            (None, None, None) => {
                bail!(
                    "nothing to run. Give --recipe FILE, --trace FILE, --model NAME|FILE, --scenario NAME or --synthetic TYPE"
                )
            }
        };
        set(&mut recipe.seed, self.workload.seed);
        experiment.memory.apply(&mut recipe.memory)?;
        if let Some(policies) = &experiment.policy {
            recipe.policies = PolicyKind::parse_list(policies)?;
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// The trace, where the recipe's workload needs a file, and that file's format.
    pub(crate) fn file(&self, recipe: &Recipe) -> anyhow::Result<Option<(Trace, &'static str)>> {
        let Some(name) = recipe.workload.file() else {
            if let (Some(path), Some(_)) = (&self.trace, &self.recipe) {
                bail!("the recipe makes its own trace; leave --trace {} out", path.display());
            }
            return Ok(None);
        };
        let path = match (&self.trace, &self.recipe) {
            (Some(path), _) => path.clone(),
            (None, Some(recipe)) if is_link(recipe) || recipe == "-" => {
                bail!("the recipe reads the file {name}: give it with --trace FILE")
            }
            // Next to the recipe.
            (None, Some(recipe)) => Path::new(recipe).with_file_name(name),
            (None, None) => PathBuf::from(name),
        };
        let mut workload = recipe.workload.clone();
        if let Workload::File(source) = &mut workload {
            let format = self.format.as_deref().map(parse_format).transpose()?;
            source.format = format.or(source.format);
            source.columns = self.columns.as_deref().map(str::parse).transpose()?.or(source.columns.take());
        }
        Ok(Some(read_workload(&workload, &path, recipe.seed)?))
    }
}

/// Enough of a file to tell its format.
const HEAD: u64 = 64 * 1024;

/// The format of that name.
pub(crate) fn parse_format(name: &str) -> anyhow::Result<Format> {
    if name.eq_ignore_ascii_case(parquet::NAME) {
        bail!("Parquet files are told by their content: leave the format out");
    }
    Ok(Format::from_name(name)?)
}

/// Reads a trace file, - for standard input, in `format` or the one its content tells; the format's name comes along.
pub(crate) fn read_trace(
    path: &Path,
    format: Option<Format>,
    columns: Option<&Columns>,
) -> anyhow::Result<(Trace, &'static str)> {
    let source = FileSource { name: path.display().to_string(), format, columns: columns.cloned() };
    read_workload(&Workload::File(source), path, default_seed())
}

/// Makes the trace of a workload with the file at `path`, - for standard input, and tells its warnings.
fn read_workload(workload: &Workload, path: &Path, seed: u64) -> anyhow::Result<(Trace, &'static str)> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let (trace, format) = read_named(workload, (!is_stdin).then_some(path), &name, seed)?;
    for warning in trace.warnings() {
        eprintln!("warning: {name}: {warning}");
    }
    Ok((trace, format))
}

/// Parquet that is packed or piped is held while it is read; this is the most.
const MOST_PARQUET: usize = 4 << 30;

/// Of a file of weights only the header is read: the rest may be many gigabytes.
fn read_named(
    workload: &Workload,
    path: Option<&Path>,
    name: &str,
    seed: u64,
) -> anyhow::Result<(Trace, &'static str)> {
    let columns = match workload {
        Workload::File(FileSource { format: None, columns, .. }) => Some(columns.as_ref()),
        _ => None,
    };
    let cannot = || format!("cannot read {name}");
    let mut bytes = Vec::new();
    if let Some(path) = path {
        let mut file = File::open(path).with_context(cannot)?;
        (&mut file).take(HEAD).read_to_end(&mut bytes).with_context(cannot)?;
        if let Some(columns) = columns
            && bytes.starts_with(import::PARQUET)
        {
            return Ok((parquet::read(name, file, columns, &mut Bar::new())?, parquet::NAME));
        }
        let rest = Format::bytes_to_read(&bytes).map_or(u64::MAX, |all| all.saturating_sub(bytes.len() as u64));
        file.take(rest).read_to_end(&mut bytes).with_context(cannot)?;
    } else {
        std::io::stdin().read_to_end(&mut bytes).with_context(cannot)?;
    }
    let input = Input::new(name, &bytes);
    if let Some(columns) = columns
        && input.head().starts_with(import::PARQUET)
    {
        let content = bytes::Bytes::from(input.whole(MOST_PARQUET, &mut Bar::new())?);
        return Ok((parquet::read(name, content, columns, &mut Bar::new())?, parquet::NAME));
    }
    let (trace, format) = workload.trace_with(seed, &input, &mut Bar::new())?;
    Ok((trace, format.name()))
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
