//! The form: what the user typed, as text, and the recipe it stands for.

use accel_core::curve::Grid;
use accel_core::error::Error;
use accel_core::memory::device::DeviceRef;
use accel_core::memory::{Cost, Memory, Physical};
use accel_core::policy::{POLICIES, PolicyKind, PolicySpec};
use accel_core::recipe::fields::{FIELDS, Field, Part};
use accel_core::recipe::measure::Measure;
use accel_core::recipe::{FileSource, Recipe, Workload, default_seed};
use accel_core::units::format_bytes;
use accel_core::workload::ModelRef;
use accel_core::workload::config::ModelConfig;
use accel_core::workload::model_run::{Fields as Meaningful, ModelRun, Task};
use accel_core::workload::presets;
use accel_core::workload::synthetic::Synthetic;
use leptos::prelude::*;

/// The value of a choice that stands for pasted JSON.
pub(crate) const CUSTOM: &str = "config.json";

/// The value of the model choice that stands for the file that was dropped.
pub(crate) const MODEL_FILE: &str = "file";

/// The value of the device choice that leaves it to the workload.
pub(crate) const FITTING: &str = "";

/// The value of the device choice that stands for the prototype's constants.
pub(crate) const PROTOTYPE: &str = "prototype";

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
    /// Any workload as JSON.
    pub(crate) workload: RwSignal<String>,
    pub(crate) file: RwSignal<Option<FileSource>>,
    /// [`FITTING`], [`PROTOTYPE`], the name of a known one, or [`CUSTOM`].
    pub(crate) device: RwSignal<String>,
    /// The user's own device model, as JSON.
    pub(crate) physical: RwSignal<String>,
    pub(crate) bounds: RwSignal<bool>,
    pub(crate) curve: RwSignal<bool>,
    /// Capacities of a curve that came with a link; the form only keeps them.
    capacities: RwSignal<Vec<u64>>,
    pub(crate) policies: RwSignal<Vec<PolicyKind>>,
    /// Policies with parameters that are not the defaults, as a list.
    pub(crate) tuned: RwSignal<String>,
    /// The server whose model scores; empty where the scorer of the recipe does. No part of the recipe: a link that someone else
    /// made must not choose whom this page calls.
    pub(crate) scorer: RwSignal<String>,
    /// The text of each field in the table of fields.
    texts: [RwSignal<String>; Field::COUNT],
    /// Which fields mean something to the chosen model and task.
    pub(crate) meaningful: Memo<Meaningful>,
}

/// Tells which fields mean something: to the model with this name, the text of its configuration, its task and its requests.
pub(crate) type Meaning = fn(RwSignal<String>, RwSignal<String>, RwSignal<String>, RwSignal<String>) -> Meaningful;

impl Form {
    /// A form with nothing in it. `meaning` comes with the code that reads models.
    pub(crate) fn new(meaning: RwSignal<Option<Meaning>>) -> Self {
        let text = || RwSignal::new(String::new());
        let (model, config) = (text(), text());
        let texts = std::array::from_fn(|_| text());
        Self {
            source: RwSignal::new(Source::Model),
            model,
            config,
            model_file: text(),
            workload: text(),
            file: RwSignal::new(None),
            device: text(),
            physical: text(),
            bounds: RwSignal::new(true),
            curve: RwSignal::new(false),
            capacities: RwSignal::new(Vec::new()),
            policies: RwSignal::new(Vec::new()),
            tuned: text(),
            scorer: text(),
            texts,
            meaningful: Memo::new(move |_| {
                let text = |field: Field| texts[field as usize];
                let meaning = meaning.get();
                meaning.map_or_else(
                    || Meaningful::of_file(Task::default()),
                    |meaning| meaning(model, config, text(Field::Task), text(Field::Requests)),
                )
            }),
        }
    }

    /// Shows the default recipe.
    pub(crate) fn reset(&self) {
        for row in &FIELDS {
            self.text(row.field).set(row.default());
        }
        self.set(&Recipe::default());
    }

    /// The text of a field.
    pub(crate) fn text(&self, field: Field) -> RwSignal<String> {
        self.texts[field as usize]
    }

    /// Shows the fields of `part` as they are in `recipe`.
    fn show_part(&self, part: Part, recipe: &Recipe) {
        for row in part.fields() {
            self.text(row.field).set(row.get(recipe).unwrap_or_else(|| row.default()));
        }
    }

    /// Shows `recipe`. Workloads of another kind stay as they were typed.
    pub(crate) fn set(&self, recipe: &Recipe) {
        match &recipe.workload {
            Workload::Model(run) => {
                self.source.set(Source::Model);
                self.set_model(&run.model);
                self.show_part(Part::Model, recipe);
            }
            tenants @ Workload::Tenants(_) => {
                self.source.set(Source::Json);
                // A workload always serialises; an empty box would only ask for it again.
                self.workload.set(indented(&serde_json::to_string(tenants).unwrap_or_default()));
            }
            Workload::Synthetic(_) => {
                self.source.set(Source::Synthetic);
                self.show_part(Part::Synthetic, recipe);
            }
            Workload::File(file) => {
                self.source.set(Source::File);
                self.file.set(Some(file.clone()));
                self.show_part(Part::File, recipe);
            }
        }
        self.set_cost(&recipe.memory.cost);
        self.bounds.set(recipe.bounds);
        self.curve.set(recipe.curve.is_some());
        self.capacities.set(recipe.curve.as_ref().map_or(Vec::new(), |grid| grid.capacities.clone()));
        let (plain, tuned): (Vec<&PolicySpec>, _) =
            recipe.policies.iter().partition(|policy| **policy == policy.kind());
        self.policies.set(plain.into_iter().map(PolicySpec::kind).collect());
        let tuned: Vec<String> = tuned.into_iter().map(PolicySpec::name).collect();
        self.tuned.set(tuned.join(", "));
        for part in [Part::Memory, Part::Scores, Part::Device, Part::Curve, Part::Measure, Part::Experiment] {
            self.show_part(part, recipe);
        }
    }

    fn set_cost(&self, cost: &Cost) {
        match cost {
            Cost::Device => self.device.set(FITTING.into()),
            Cost::Prototype => self.device.set(PROTOTYPE.into()),
            Cost::Physical(Physical { device: DeviceRef::Known(name), below, .. }) if below.is_empty() => {
                self.device.set(name.clone());
            }
            Cost::Physical(own) => {
                self.device.set(CUSTOM.into());
                // Such a model always serialises; an empty box would only ask for it again.
                self.physical.set(indented(&serde_json::to_string(own).unwrap_or_default()));
            }
        }
    }

    /// Whether a known device is chosen.
    pub(crate) fn names_a_device(&self) -> bool {
        self.device.with(|device| ![FITTING, PROTOTYPE, CUSTOM].contains(&device.as_str()))
    }

    fn cost(&self) -> Result<Cost, Error> {
        let device = self.device.get();
        Ok(match device.as_str() {
            FITTING => Cost::Device,
            PROTOTYPE => Cost::Prototype,
            CUSTOM => Cost::Physical(
                serde_json::from_slice(self.physical.get().as_bytes())
                    .map_err(|e| Error::field("physical", "not usable", e.to_string(), ""))?,
            ),
            _ => Cost::Physical(Physical { device: DeviceRef::Known(device), ..Physical::default() }),
        })
    }

    fn set_model(&self, model: &ModelRef) {
        match model {
            ModelRef::Preset(name) => self.model.set(name.clone()),
            ModelRef::File { file } => {
                self.model.set(MODEL_FILE.into());
                self.model_file.set(file.clone());
            }
            ModelRef::Config(config) => {
                self.model.set(CUSTOM.into());
                // A configuration always serialises; an empty box would only ask for it again.
                self.config.set(indented(&serde_json::to_string(config).unwrap_or_default()));
            }
        }
    }

    /// The recipe that the fields stand for, or what is wrong with the first bad field. Fields that mean nothing to the
    /// chosen model are left out.
    pub(crate) fn recipe(&self) -> Result<Recipe, Error> {
        let (part, workload) = match self.source.get() {
            Source::Model => {
                let run = ModelRun { model: self.model_ref()?, ..ModelRun::default() };
                (Some(Part::Model), Workload::Model(run))
            }
            Source::Synthetic => (Some(Part::Synthetic), Workload::Synthetic(Synthetic::default())),
            Source::File => (Some(Part::File), Workload::File(self.file_source()?)),
            Source::Json => {
                let workload = serde_json::from_slice(self.workload.get().as_bytes())
                    .map_err(|e| Error::field("workload", "not usable", e.to_string(), ""))?;
                (None, workload)
            }
        };
        let curve = self.curve.get().then(|| Grid { capacities: self.capacities.get(), ..Grid::default() });
        let parts = [
            part,
            Some(Part::Memory),
            Some(Part::Scores),
            // The user's own device brings its prefetch depth along.
            self.names_a_device().then_some(Part::Device),
            curve.is_some().then_some(Part::Curve),
            Some(Part::Measure),
            Some(Part::Experiment),
        ];
        let mut recipe = Recipe {
            workload,
            memory: Memory { cost: self.cost()?, ..Memory::default() },
            policies: self.policies()?,
            scorer: None,
            seed: default_seed(),
            bounds: self.bounds.get(),
            measure: Measure::default(),
            curve,
        };
        self.fill(parts.into_iter().flatten(), &mut recipe)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Sets the fields of `parts` that mean something to the chosen model.
    fn fill(&self, parts: impl Iterator<Item = Part>, recipe: &mut Recipe) -> Result<(), Error> {
        let meaningful = self.meaningful.get();
        for row in parts.flat_map(Part::fields).filter(|row| row.means(&meaningful)) {
            row.set(recipe, &self.text(row.field).get())?;
        }
        Ok(())
    }

    /// The run of the model that is chosen, whichever workload is shown.
    pub(crate) fn model_run(&self) -> Result<Workload, Error> {
        let run = ModelRun { model: self.model_ref()?, ..ModelRun::default() };
        let mut recipe = Recipe { workload: Workload::Model(run), ..Recipe::default() };
        self.fill(std::iter::once(Part::Model), &mut recipe)?;
        Ok(recipe.workload)
    }

    /// Shows a run of a model, and leaves all that is no part of it.
    pub(crate) fn set_model_run(&self, run: ModelRun) {
        self.set_model(&run.model);
        self.show_part(Part::Model, &Recipe { workload: Workload::Model(run), ..Recipe::default() });
        self.show(Source::Model);
    }

    /// Every text as it was typed, for a later visit: the recipe may be none yet.
    pub(crate) fn draft(&self) -> Vec<String> {
        let file = self.file.with(|file| file.as_ref().and_then(|file| serde_json::to_string(file).ok()));
        let policies: Vec<&str> = self.policies.with(|chosen| chosen.iter().map(|policy| policy.name()).collect());
        let source = self.source.get() as u8;
        let mut draft = vec![source.to_string(), file.unwrap_or_default(), policies.join(",")];
        draft.extend([self.bounds, self.curve].map(|on| on.get().to_string()));
        draft.extend(self.lines().map(|text| text.get()));
        draft.extend(self.texts.map(|text| text.get()));
        draft
    }

    /// Shows a draft; one of another version of the page is left.
    pub(crate) fn set_draft(&self, draft: &[String]) {
        let [source, file, policies, bounds, curve, texts @ ..] = draft else { return };
        let lines = self.lines();
        if texts.len() != lines.len() + self.texts.len() {
            return;
        }
        let sources = [Source::Model, Source::Synthetic, Source::File, Source::Json];
        if let Some(source) = source.parse::<usize>().ok().and_then(|source| sources.get(source)) {
            self.source.set(*source);
        }
        self.file.set(serde_json::from_slice(file.as_bytes()).ok());
        self.policies.set(policies.split(',').filter_map(|name| PolicyKind::from_name(name).ok()).collect());
        self.bounds.set(bounds == "true");
        self.curve.set(curve == "true");
        lines.iter().chain(&self.texts).zip(texts).for_each(|(signal, text)| signal.set(text.clone()));
    }

    /// The texts that are no row of the table of fields; whom the page asks for scores is not kept.
    fn lines(&self) -> [RwSignal<String>; 7] {
        [self.model, self.config, self.model_file, self.workload, self.device, self.physical, self.tuned]
    }

    /// The policies that are ticked, and then those with parameters.
    pub(crate) fn policies(&self) -> Result<Vec<PolicySpec>, Error> {
        let mut policies: Vec<PolicySpec> = self.policies.get().into_iter().map(PolicySpec::from).collect();
        let tuned = self.tuned.get();
        if !tuned.trim().is_empty() {
            policies.extend(PolicySpec::parse_list(&tuned)?);
        }
        Ok(policies)
    }

    /// Whether a chosen policy reads scores.
    pub(crate) fn reads_scores(&self) -> bool {
        self.policies().is_ok_and(|policies| policies.iter().any(|policy| policy.info().scored()))
    }

    /// The server whose model scores `recipe`, where one was named and scores are read.
    pub(crate) fn scorer(&self, recipe: &Recipe) -> Option<String> {
        let server = self.scorer.get();
        let server = server.trim();
        // Nobody types the scheme of a server on his own machine.
        let address = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        (recipe.reads_scores() && !server.is_empty()).then_some(address)
    }

    /// The recipe as JSON.
    pub(crate) fn json(&self) -> Result<String, Error> {
        self.recipe()?.to_json()
    }

    fn file_source(&self) -> Result<FileSource, Error> {
        self.file.get().ok_or_else(|| {
            Error::field("file", "empty", "no trace file was chosen", "Drop a trace file on the page, or choose one")
        })
    }

    fn model_ref(&self) -> Result<ModelRef, Error> {
        Ok(match self.model.get() {
            custom if custom == CUSTOM => {
                let config = ModelConfig::of_any_family(CUSTOM, self.config.get().as_bytes()).map_err(|e| {
                    // Whatever is wrong with the pasted text belongs beside the text.
                    Error::field("config", "not usable", e.to_string(), "")
                })?;
                ModelRef::Config(Box::new(config))
            }
            file if file == MODEL_FILE => ModelRef::File { file: self.model_file.get() },
            preset => ModelRef::Preset(preset),
        })
    }

    /// Shows another kind of workload. A capacity nobody changed follows: what holds half a model is
    /// far too large for the prototype's workload, and the other way round.
    pub(crate) fn show(&self, source: Source) {
        let capacity = |part: Part| Field::Capacity.info().get(&part.recipe()).unwrap_or_default();
        let (of_models, of_others) = (capacity(Part::Model), capacity(Part::Synthetic));
        let (from, to) = if source == Source::Model { (of_others, of_models) } else { (of_models, of_others) };
        let shown = self.text(Field::Capacity);
        if shown.with_untracked(|capacity| *capacity == from) {
            shown.set(to);
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
        self.show_part(Part::Model, &Part::Model.recipe());
        self.set_model(&ModelRef::File { file: name });
        self.show(Source::Model);
    }

    /// Shows a model that a dropped file describes.
    pub(crate) fn show_model(&self, config: ModelConfig) {
        self.show_part(Part::Model, &Part::Model.recipe());
        self.set_model(&ModelRef::Config(Box::new(config)));
        self.show(Source::Model);
    }

    /// Shows the text of a dropped or pasted `config.json`.
    pub(crate) fn show_config(&self, text: String) {
        self.show_part(Part::Model, &Part::Model.recipe());
        self.config.set(text);
        self.model.set(CUSTOM.into());
        self.show(Source::Model);
    }
}

/// Which fields mean something to the chosen model and task; all that a file may need where the model is not known.
pub(crate) fn meaningful(
    model: RwSignal<String>,
    config: RwSignal<String>,
    task: RwSignal<String>,
    requests: RwSignal<String>,
) -> Meaningful {
    let task = Task::from_name(&task.get()).unwrap_or_default();
    let config = match model.get() {
        name if name == MODEL_FILE => return Meaningful::of_file(task),
        name if name == CUSTOM => ModelConfig::of_any_family(CUSTOM, config.get().as_bytes()),
        name => presets::find(&name).and_then(presets::Preset::config),
    };
    let mut fields = config.map_or_else(|_| Meaningful::of_file(task), |config| Meaningful::of(&config, task));
    // Requests say how many tokens they have.
    if fields.requests && requests.with(|text| !text.trim().is_empty()) {
        (fields.prompt_tokens, fields.decode_tokens) = (false, false);
    }
    fields
}

/// An experiment in a few words: its workload and its capacity.
pub(crate) fn title(recipe: &Recipe) -> String {
    let workload = match &recipe.workload {
        Workload::Model(run) => match &run.model {
            ModelRef::Preset(name) => {
                presets::find(name).map_or_else(|_| name.clone(), |preset| preset.title.to_owned())
            }
            ModelRef::File { file } => file.clone(),
            ModelRef::Config(_) => "your config.json".to_owned(),
        },
        Workload::Synthetic(synthetic) => format!("random {}", synthetic.model_type.name()),
        Workload::File(file) => file.name.clone(),
        Workload::Tenants(_) => "tenants".to_owned(),
    };
    format!("{workload}, {}", format_bytes(recipe.memory.capacity_bytes))
}

/// JSON on lines of its own. The text is set out rather than written once more: code that writes each type takes room.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(2 * json.len());
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut last = ' ';
    for letter in json.chars() {
        let (opens, closes) = (matches!(letter, '{' | '['), matches!(letter, '}' | ']'));
        if !quoted {
            depth -= usize::from(closes);
            let empty = matches!((last, letter), ('{', '}') | ('[', ']'));
            if (matches!(last, '{' | '[' | ',') || closes) && !empty {
                out.push('\n');
                (0..depth).for_each(|_| out.push_str("  "));
            }
            depth += usize::from(opens);
        }
        out.push(letter);
        if !quoted && letter == ':' {
            out.push(' ');
        }
        quoted ^= letter == '"' && !escaped;
        escaped = quoted && letter == '\\' && !escaped;
        last = if quoted { '"' } else { letter };
    }
    out
}
