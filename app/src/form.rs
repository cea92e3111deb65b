//! The form: what the user typed, as text, and the recipe it stands for.

use accel_core::curve::Grid;
use accel_core::error::Error;
use accel_core::memory::device::DeviceRef;
use accel_core::memory::{Cost, Memory, Physical};
use accel_core::policy::{Admission, POLICIES, PolicyKind};
use accel_core::recipe::{FRAGMENT, Recipe};
use accel_core::recipe::{FileSource, Workload};
use accel_core::units::{GIB, MB, MIB, parse_bytes};
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_core::workload::dtype::Dtype;
use accel_core::workload::model_run::{Convolution, Fields, ModelRun, Task};
use accel_core::workload::plan::Dataflow;
use accel_core::workload::presets;
use accel_core::workload::requests::Requests;
use accel_core::workload::routing::Routing;
use accel_core::workload::synthetic::{ModelType, Pattern, Synthetic};
use accel_core::workload::train::Optimizer;
use leptos::prelude::*;

/// The value of a choice that stands for pasted JSON.
pub(crate) const CUSTOM: &str = "config.json";

/// The value of the model choice that stands for the file that was dropped.
pub(crate) const MODEL_FILE: &str = "file";

/// The value of the device choice that stands for none.
pub(crate) const NO_DEVICE: &str = "prototype";

/// Which workload the form shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Model,
    Synthetic,
    File,
    /// Any workload, as JSON: those that no other form holds.
    Json,
}

/// Every field as the user typed it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) source: RwSignal<Source>,
    pub(crate) model: RwSignal<String>,
    pub(crate) config: RwSignal<String>,
    /// The file that describes the model.
    pub(crate) model_file: RwSignal<String>,
    pub(crate) task: RwSignal<String>,
    pub(crate) steps: RwSignal<String>,
    pub(crate) requests: RwSignal<String>,
    pub(crate) dataflow: RwSignal<String>,
    pub(crate) convolution: RwSignal<String>,
    pub(crate) optimizer: RwSignal<String>,
    pub(crate) zipf: RwSignal<String>,
    pub(crate) stickiness: RwSignal<String>,
    /// The routing log of a recipe; the form only keeps it.
    routing_log: RwSignal<Option<String>>,
    /// Any workload as JSON.
    pub(crate) workload: RwSignal<String>,
    pub(crate) columns: RwSignal<String>,
    pub(crate) model_batch: RwSignal<String>,
    pub(crate) prompt_tokens: RwSignal<String>,
    pub(crate) decode_tokens: RwSignal<String>,
    pub(crate) weight_dtype: RwSignal<String>,
    pub(crate) kv_dtype: RwSignal<String>,
    pub(crate) tile: RwSignal<String>,
    pub(crate) model_type: RwSignal<String>,
    pub(crate) num_layers: RwSignal<String>,
    pub(crate) batch_size: RwSignal<String>,
    pub(crate) seq_length: RwSignal<String>,
    pub(crate) reuse_probability: RwSignal<String>,
    pub(crate) max_tensors: RwSignal<String>,
    pub(crate) pattern: RwSignal<String>,
    pub(crate) file: RwSignal<Option<FileSource>>,
    pub(crate) capacity: RwSignal<String>,
    pub(crate) admission: RwSignal<String>,
    /// [`NO_DEVICE`], the name of a known one, or [`CUSTOM`].
    pub(crate) device: RwSignal<String>,
    pub(crate) prefetch_depth: RwSignal<String>,
    /// A device model of one's own, as JSON.
    pub(crate) physical: RwSignal<String>,
    pub(crate) bounds: RwSignal<bool>,
    pub(crate) curve: RwSignal<bool>,
    pub(crate) points: RwSignal<String>,
    /// Capacities of a curve that came with a link; the form only keeps them.
    capacities: RwSignal<Vec<u64>>,
    pub(crate) policies: RwSignal<Vec<PolicyKind>>,
    pub(crate) seed: RwSignal<String>,
    /// The server whose model scores; empty where the heuristic does. No part of the recipe: a link that someone else
    /// made must not choose whom this page calls.
    pub(crate) scorer: RwSignal<String>,
}

impl Form {
    /// A form that shows `recipe`.
    pub(crate) fn new(recipe: &Recipe) -> Self {
        let text = || RwSignal::new(String::new());
        let form = Self {
            source: RwSignal::new(Source::Model),
            model: text(),
            config: text(),
            model_file: text(),
            task: text(),
            steps: text(),
            requests: text(),
            dataflow: text(),
            convolution: text(),
            optimizer: text(),
            zipf: text(),
            stickiness: text(),
            routing_log: RwSignal::new(None),
            workload: text(),
            columns: text(),
            model_batch: text(),
            prompt_tokens: text(),
            decode_tokens: text(),
            weight_dtype: text(),
            kv_dtype: text(),
            tile: text(),
            model_type: text(),
            num_layers: text(),
            batch_size: text(),
            seq_length: text(),
            reuse_probability: text(),
            max_tensors: text(),
            pattern: text(),
            file: RwSignal::new(None),
            capacity: text(),
            admission: text(),
            device: text(),
            prefetch_depth: text(),
            physical: text(),
            bounds: RwSignal::new(true),
            curve: RwSignal::new(false),
            points: text(),
            capacities: RwSignal::new(Vec::new()),
            policies: RwSignal::new(Vec::new()),
            seed: text(),
            scorer: text(),
        };
        form.set_synthetic(&Synthetic::default());
        form.set_model(&ModelRun::default());
        form.set(recipe);
        form
    }

    /// Shows `recipe`.
    pub(crate) fn set(&self, recipe: &Recipe) {
        match &recipe.workload {
            Workload::Model(run) => {
                self.source.set(Source::Model);
                self.set_model(run);
            }
            tenants @ Workload::Tenants(_) => {
                self.source.set(Source::Json);
                // A workload always serialises; an empty box would only ask for it again.
                self.workload.set(serde_json::to_string_pretty(tenants).unwrap_or_default());
            }
            Workload::Synthetic(synthetic) => {
                self.source.set(Source::Synthetic);
                self.set_synthetic(synthetic);
            }
            Workload::File(file) => {
                self.source.set(Source::File);
                self.columns.set(file.columns.as_ref().map_or(String::new(), ToString::to_string));
                self.file.set(Some(file.clone()));
            }
        }
        self.capacity.set(exact_size(recipe.memory.capacity_bytes));
        self.admission.set(recipe.memory.admission.name().into());
        self.set_physical(recipe.memory.physical());
        self.bounds.set(recipe.bounds);
        self.curve.set(recipe.curve.is_some());
        let grid = recipe.curve.clone().unwrap_or_default();
        self.points.set(grid.points.to_string());
        self.capacities.set(grid.capacities);
        self.policies.set(recipe.policies.clone());
        self.seed.set(recipe.seed.to_string());
    }

    fn set_physical(&self, physical: Option<&Physical>) {
        let depth = physical.map_or(Physical::default().prefetch_depth, |p| p.prefetch_depth);
        self.prefetch_depth.set(depth.to_string());
        match physical {
            None => self.device.set(NO_DEVICE.into()),
            Some(Physical { device: DeviceRef::Known(name), below, .. }) if below.is_empty() => {
                self.device.set(name.clone());
            }
            Some(own) => {
                self.device.set(CUSTOM.into());
                // Such a model always serialises; an empty box would only ask for it again.
                self.physical.set(serde_json::to_string_pretty(own).unwrap_or_default());
            }
        }
    }

    fn cost(&self) -> Result<Cost, Error> {
        let device = self.device.get();
        if device == NO_DEVICE {
            return Ok(Cost::Prototype);
        }
        if device == CUSTOM {
            let own = serde_json::from_str(&self.physical.get())
                .map_err(|e| Error::field("physical", "not usable", e.to_string(), ""))?;
            return Ok(Cost::Physical(own));
        }
        let prefetch_depth = number("prefetch_depth", &self.prefetch_depth.get())?;
        Ok(Cost::Physical(Physical { device: DeviceRef::Known(device), prefetch_depth, below: Vec::new() }))
    }

    fn grid(&self) -> Result<Option<Grid>, Error> {
        if !self.curve.get() {
            return Ok(None);
        }
        Ok(Some(Grid { points: number("curve.points", &self.points.get())?, capacities: self.capacities.get() }))
    }

    fn set_model(&self, run: &ModelRun) {
        match &run.model {
            ModelRef::Preset(name) => self.model.set(name.clone()),
            ModelRef::File { file } => {
                self.model.set(MODEL_FILE.into());
                self.model_file.set(file.clone());
            }
            ModelRef::Config(config) => {
                self.model.set(CUSTOM.into());
                // A configuration always serialises; an empty box would only ask for it again.
                self.config.set(serde_json::to_string_pretty(config).unwrap_or_default());
            }
        }
        let text = |number: Option<u64>| number.map_or(String::new(), |n| n.to_string());
        self.task.set(run.task.name().into());
        self.model_batch.set(run.batch_size.to_string());
        self.prompt_tokens.set(text(run.prompt_tokens));
        self.decode_tokens.set(text(run.decode_tokens));
        self.requests.set(run.requests.as_ref().map_or(String::new(), Requests::text));
        self.steps.set(run.steps.to_string());
        let name = |dtype: Option<Dtype>| dtype.map_or("", Dtype::name).to_owned();
        self.weight_dtype.set(name(run.weight_dtype));
        self.kv_dtype.set(name(run.kv_dtype));
        self.tile.set(exact_size(run.tile_bytes));
        self.dataflow.set(run.dataflow.map_or("", Dataflow::name).into());
        self.convolution.set(run.convolution.name().into());
        self.optimizer.set(run.optimizer.name().into());
        self.zipf.set(run.routing.zipf.to_string());
        self.stickiness.set(run.routing.stickiness.to_string());
        self.routing_log.set(run.routing.log.clone());
    }

    /// Which fields mean something to the chosen model and task; all that a file may need where the model cannot be
    /// told.
    pub(crate) fn fields(&self) -> Fields {
        let task = Task::from_name(&self.task.get()).unwrap_or_default();
        let config = match self.model.get() {
            name if name == MODEL_FILE => return Fields::of_file(task),
            name if name == CUSTOM => ModelConfig::from_json(CUSTOM, self.config.get().as_bytes()),
            name => presets::find(&name).and_then(presets::Preset::config),
        };
        config.map_or_else(|_| Fields::of_file(task), |config| Fields::of(&config, task))
    }

    fn set_synthetic(&self, synthetic: &Synthetic) {
        self.model_type.set(synthetic.model_type.name().into());
        self.num_layers.set(synthetic.num_layers.to_string());
        self.batch_size.set(synthetic.batch_size.to_string());
        self.seq_length.set(synthetic.seq_length.to_string());
        self.reuse_probability.set(synthetic.reuse_probability.to_string());
        self.max_tensors.set(synthetic.max_tensors_per_layer.to_string());
        self.pattern.set(synthetic.pattern.name().into());
    }

    /// The recipe that the fields stand for, or what is wrong with the first bad field.
    pub(crate) fn recipe(&self) -> Result<Recipe, Error> {
        let workload = match self.source.get() {
            Source::Model => Workload::Model(self.model_run()?),
            Source::Synthetic => Workload::Synthetic(self.synthetic()?),
            Source::Json => serde_json::from_str(&self.workload.get())
                .map_err(|e| Error::field("workload", "not usable", e.to_string(), ""))?,
            Source::File => Workload::File(self.file_source()?),
        };
        let recipe = Recipe {
            workload,
            memory: Memory {
                capacity_bytes: parse_bytes("capacity_bytes", &self.capacity.get())?,
                admission: Admission::from_name(&self.admission.get())?,
                cost: self.cost()?,
            },
            policies: self.policies.get(),
            seed: number("seed", &self.seed.get())?,
            bounds: self.bounds.get(),
            curve: self.grid()?,
        };
        recipe.check()?;
        Ok(recipe)
    }

    /// Whether a chosen policy reads scores.
    pub(crate) fn reads_scores(&self) -> bool {
        self.policies.with(|policies| policies.iter().any(|policy| policy.info().scored()))
    }

    /// The server whose model scores `recipe`, where one was named and scores are read.
    pub(crate) fn scorer(&self, recipe: &Recipe) -> Option<String> {
        let server = self.scorer.get();
        (recipe.reads_scores() && !server.trim().is_empty()).then(|| server.trim().to_owned())
    }

    /// The recipe as JSON.
    pub(crate) fn json(&self) -> Result<String, Error> {
        self.recipe()?.to_json()
    }

    fn file_source(&self) -> Result<FileSource, Error> {
        let file = self.file.get().ok_or_else(|| {
            Error::field("file", "empty", "no trace file was chosen", "Drop a trace file on the page, or choose one")
        })?;
        let columns = self.columns.get();
        let columns = if columns.trim().is_empty() { None } else { Some(columns.parse()?) };
        Ok(FileSource { columns, ..file })
    }

    /// Fields that mean nothing to the chosen model are left out.
    fn model_run(&self) -> Result<ModelRun, Error> {
        let model = match self.model.get() {
            custom if custom == CUSTOM => {
                let config = ModelConfig::from_json(CUSTOM, self.config.get().as_bytes()).map_err(|e| {
                    // Whatever is wrong with the pasted text belongs beside the text.
                    Error::field("config", "not usable", e.to_string(), "")
                })?;
                ModelRef::Config(Box::new(config))
            }
            file if file == MODEL_FILE => ModelRef::File { file: self.model_file.get() },
            preset => ModelRef::Preset(preset),
        };
        let dtype = |field, name: String| (!name.is_empty()).then(|| Dtype::from_name(field, &name)).transpose();
        let optional = |field, text: String| {
            if text.trim().is_empty() { Ok(None) } else { number(field, &text).map(Some) }
        };
        let (means, task) = (self.fields(), Task::from_name(&self.task.get())?);
        let requests = self.requests.get();
        let dataflow = self.dataflow.get();
        let mut run = ModelRun {
            model,
            task,
            batch_size: number("batch_size", &self.model_batch.get())?,
            weight_dtype: dtype("weight_dtype", self.weight_dtype.get())?,
            tile_bytes: parse_bytes("tile_bytes", &self.tile.get())?,
            dataflow: if dataflow.is_empty() { None } else { Some(Dataflow::from_name(&dataflow)?) },
            ..ModelRun::default()
        };
        if means.convolution {
            run.convolution = Convolution::from_name(&self.convolution.get())?;
        }
        if means.optimizer {
            run.optimizer = Optimizer::from_name(&self.optimizer.get())?;
        }
        if means.requests && !requests.trim().is_empty() {
            run.requests = Some(Requests::parse(&requests)?);
        }
        // Requests say how many tokens they have.
        if means.prompt_tokens && run.requests.is_none() {
            run.prompt_tokens = optional("prompt_tokens", self.prompt_tokens.get())?;
        }
        if means.decode_tokens && run.requests.is_none() {
            run.decode_tokens = optional("decode_tokens", self.decode_tokens.get())?;
        }
        if means.kv_dtype {
            run.kv_dtype = dtype("kv_dtype", self.kv_dtype.get())?;
        }
        if means.steps {
            run.steps = number("steps", &self.steps.get())?;
        }
        if means.routing {
            run.routing = Routing {
                zipf: number("zipf", &self.zipf.get())?,
                stickiness: number("stickiness", &self.stickiness.get())?,
                log: self.routing_log.get(),
            };
        }
        Ok(run)
    }

    fn synthetic(&self) -> Result<Synthetic, Error> {
        Ok(Synthetic {
            model_type: ModelType::from_name(&self.model_type.get())?,
            num_layers: number("num_layers", &self.num_layers.get())?,
            batch_size: number("batch_size", &self.batch_size.get())?,
            seq_length: number("seq_length", &self.seq_length.get())?,
            reuse_probability: number("reuse_probability", &self.reuse_probability.get())?,
            max_tensors_per_layer: number("max_tensors_per_layer", &self.max_tensors.get())?,
            pattern: Pattern::from_name(&self.pattern.get())?,
        })
    }

    /// Shows another kind of workload. A capacity nobody changed follows: what holds half a model is
    /// far too large for the prototype's workload, and the other way round.
    pub(crate) fn show(&self, source: Source) {
        let of_models = exact_size(Recipe::default().memory.capacity_bytes);
        let of_others = exact_size(Memory::default().capacity_bytes);
        let (from, to) = if source == Source::Model { (of_others, of_models) } else { (of_models, of_others) };
        if self.capacity.with_untracked(|capacity| *capacity == from) {
            self.capacity.set(to);
        }
        self.source.set(source);
    }

    /// Ticks or unticks `policy`; the order stays that of the table.
    pub(crate) fn toggle(&self, policy: PolicyKind) {
        let on = self.policies.with_untracked(|chosen| chosen.contains(&policy));
        self.policies.update(|chosen| {
            *chosen = POLICIES
                .iter()
                .map(|row| row.kind)
                .filter(|kind| if *kind == policy { !on } else { chosen.contains(kind) })
                .collect();
        });
    }

    /// Shows a dropped file as the model. What was set for another model hardly fits this one: it starts afresh.
    pub(crate) fn show_model_file(&self, name: String) {
        self.set_model(&ModelRun { model: ModelRef::File { file: name }, ..ModelRun::default() });
        self.show(Source::Model);
    }

    /// Shows the text of a dropped or pasted `config.json`.
    pub(crate) fn show_config(&self, text: String) {
        self.set_model(&ModelRun::default());
        self.config.set(text);
        self.model.set(CUSTOM.into());
        self.show(Source::Model);
    }
}

/// Reads a number; the error names `field`.
fn number<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Error> {
    text.trim().parse().map_err(|_| {
        let shown = if text.trim().is_empty() { "empty".to_owned() } else { format!("\"{text}\"") };
        Error::field(field, shown, "not a number this field can hold", "Write a number in the range shown")
    })
}

/// A size as text that reads back as the same number of bytes.
fn exact_size(bytes: u64) -> String {
    for (unit, factor) in [("GiB", GIB), ("MiB", MIB), ("MB", MB)] {
        if bytes > 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// The recipe in the address bar: none where there is no fragment.
pub(crate) fn recipe_from_address() -> Option<Result<Recipe, Error>> {
    let hash = window().location().hash().unwrap_or_default();
    let fragment = hash.trim_start_matches('#');
    fragment.starts_with(FRAGMENT).then(|| Recipe::from_fragment(fragment))
}

/// Puts `recipe` into the address bar, so that the link reopens it.
pub(crate) fn show_in_address(recipe: &Recipe) -> Result<(), Error> {
    let fragment = recipe.to_fragment()?;
    let failed = |_| Error::Internal("the browser refuses to change the address".into());
    let history = window().history().map_err(failed)?;
    history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(&format!("#{fragment}"))).map_err(failed)
}
