//! The fields of a recipe, one row each: what the form of the page, the flags of the command line and the names in
//! errors are made of.
//!
//! A field is read and written as text. What holds more than a line of text has no row: a model, a device or a workload
//! as a whole, the list of policies, and the capacities of a curve.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use super::measure::Amount;
use super::sample::Sample;
use super::{FileSource, Recipe, Workload};
use crate::closed::{self, Closed};
use crate::curve::Grid;
use crate::error::Error;
use crate::import::cache_csv::Columns;
use crate::memory::{Cost, Memory, Physical};
use crate::rules::{AdmissionRule, AdmissionSpec, list};
use crate::score::BuiltIn;
use crate::units::{GIB, MB, MIB, parse_bytes};
use crate::workload::config::ReadAs;
use crate::workload::dtype::Dtype;
use crate::workload::fusion::Fusion;
use crate::workload::model_run::{Convolution, Fields as Meaningful, Task, Tiling};
use crate::workload::parallel::Parallel;
use crate::workload::plan::Dataflow;
use crate::workload::requests::Requests;
use crate::workload::serving::Serving;
use crate::workload::synthetic::{ModelType, Pattern, Synthetic};
use crate::workload::train::Optimizer;

/// The part of a recipe that has a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A run of a model.
    Model,
    /// The prototype's random workload.
    Synthetic,
    /// A trace file.
    File,
    /// Fast memory.
    Memory,
    /// Who makes eviction scores.
    Scores,
    /// The device on which time and energy are counted.
    Device,
    /// The curve over capacities.
    Curve,
    /// Which accesses are run and counted.
    Measure,
    /// The experiment as a whole.
    Experiment,
}

/// What may be written into a field.
#[derive(Debug, Clone, Copy)]
pub enum Domain {
    /// A number within a range, where it has one: least and most.
    Number(Option<[&'static str; 2]>),
    /// A number of bytes, such as `128MiB`.
    Size,
    /// One of these.
    Choice(fn() -> Vec<Choice>),
    /// One of these, with values of its parameters in parentheses where it has some.
    Tuned(fn() -> Vec<Choice>),
    /// A text of its own form.
    Text,
}

/// A value of a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The name in recipes.
    pub name: &'static str,
    /// The name people read.
    pub title: &'static str,
}

/// A row of the table of fields.
#[derive(Debug)]
pub struct FieldInfo {
    /// The field.
    pub field: Field,
    /// The part of a recipe that has it.
    pub part: Part,
    /// Its place in the recipe, as a JSON pointer.
    pub pointer: &'static str,
    /// The name in errors.
    pub name: &'static str,
    /// The name that no other field has.
    pub id: &'static str,
    /// The flag of the command line, without its dashes. A field of a model and one of the random workload may share it.
    pub flag: &'static str,
    /// What stands for the value in the flag's description.
    pub value_name: &'static str,
    /// The label on the page; empty for a field that has none there.
    pub title: &'static str,
    /// What is written beneath it on the page.
    pub hint: &'static str,
    /// What an empty field means; a field that cannot be empty has none.
    pub empty: &'static str,
    /// What may be written.
    pub value: Domain,
    /// Least, most and step of the slider that covers the usual range.
    pub slider: Option<[&'static str; 3]>,
    /// The folded part of the form that holds it; none where it is always open.
    pub group: &'static str,
    /// Whether it shares its line of the form with a neighbour.
    pub half: bool,
    /// Whether it means something to a model.
    means: fn(&Meaningful) -> bool,
    access: Access,
}

/// How the field is read and written.
#[derive(Debug)]
struct Access {
    get: fn(&Recipe) -> Option<String>,
    set: fn(&FieldInfo, &mut Recipe, &str) -> Result<(), Error>,
}

impl FieldInfo {
    /// The text of the field in `recipe`; none where the recipe has no such part.
    pub fn get(&self, recipe: &Recipe) -> Option<String> {
        (self.access.get)(recipe)
    }

    /// Reads `text` into `recipe`; fails, naming the field, where it is no such value or the recipe has no such part.
    pub fn set(&self, recipe: &mut Recipe, text: &str) -> Result<(), Error> {
        (self.access.set)(self, recipe, text)
    }

    /// Fails, naming the field, where `text` is no such value. Whether it is in its range shows in [`Recipe::check`].
    pub fn check(&self, text: &str) -> Result<(), Error> {
        self.set(&mut self.part.recipe(), text)
    }

    /// The text where nothing is chosen.
    pub fn default(&self) -> String {
        self.get(&self.part.recipe()).unwrap_or_default()
    }

    /// Whether it means something to a run of a model; a field that is not one of a model always does.
    pub fn means(&self, meaningful: &Meaningful) -> bool {
        (self.means)(meaningful)
    }
}

impl Part {
    /// The smallest recipe that has this part, everything as it is by default.
    pub fn recipe(self) -> Recipe {
        let with = |workload| Recipe { workload, memory: Memory::default(), ..Recipe::default() };
        match self {
            Self::Model | Self::Memory | Self::Scores | Self::Measure | Self::Experiment => Recipe::default(),
            Self::Synthetic => with(Workload::Synthetic(Synthetic::default())),
            Self::File => with(Workload::File(FileSource::named(""))),
            Self::Device => {
                let cost = Cost::Physical(Physical::default());
                Recipe { memory: Memory { cost, ..Memory::default() }, ..Recipe::default() }
            }
            Self::Curve => Recipe { curve: Some(Grid::default()), ..Recipe::default() },
        }
    }

    /// Its fields, in their order.
    pub fn fields(self) -> impl Iterator<Item = &'static FieldInfo> {
        FIELDS.iter().filter(move |row| row.part == self)
    }
}

/// How a value of type `T` is written.
trait Written<T> {
    fn text(value: &T) -> String;
    fn read(row: &FieldInfo, text: &str) -> Result<T, Error>;
}

struct Number;

impl<T: Display + FromStr> Written<T> for Number {
    fn text(value: &T) -> String {
        value.to_string()
    }

    fn read(row: &FieldInfo, text: &str) -> Result<T, Error> {
        text.trim().parse().map_err(|_| {
            let shown = if text.trim().is_empty() { "empty".to_owned() } else { format!("\"{text}\"") };
            let cure = match row.value {
                Domain::Number(Some([least, most])) => format!("Write a number from {least} to {most}"),
                _ => "Write a number".to_owned(),
            };
            Error::field(row.name, shown, "not a number this field can hold", cure)
        })
    }
}

struct Size;

impl Written<u64> for Size {
    fn text(bytes: &u64) -> String {
        let whole = |(_, factor): &(&str, u64)| *bytes > 0 && bytes.is_multiple_of(*factor);
        let unit = [("GiB", GIB), ("MiB", MIB), ("MB", MB)].into_iter().find(whole);
        unit.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
    }

    fn read(row: &FieldInfo, text: &str) -> Result<u64, Error> {
        parse_bytes(row.name, text)
    }
}

struct Name;

impl<T: Closed> Written<T> for Name {
    fn text(value: &T) -> String {
        value.name().to_owned()
    }

    fn read(row: &FieldInfo, text: &str) -> Result<T, Error> {
        closed::from_name(row.name, text)
    }
}

struct Form;

impl Written<Requests> for Form {
    fn text(requests: &Requests) -> String {
        requests.text()
    }

    fn read(_: &FieldInfo, text: &str) -> Result<Requests, Error> {
        Requests::parse(text)
    }
}

impl Written<Parallel> for Form {
    fn text(parallel: &Parallel) -> String {
        parallel.to_string()
    }

    fn read(_: &FieldInfo, text: &str) -> Result<Parallel, Error> {
        text.parse()
    }
}

impl Written<Fusion> for Form {
    fn text(fusion: &Fusion) -> String {
        fusion.to_string()
    }

    fn read(_: &FieldInfo, text: &str) -> Result<Fusion, Error> {
        text.parse()
    }
}

impl Written<Serving> for Form {
    fn text(serving: &Serving) -> String {
        serving.to_string()
    }

    fn read(_: &FieldInfo, text: &str) -> Result<Serving, Error> {
        text.parse()
    }
}

impl Written<AdmissionSpec> for Form {
    fn text(admission: &AdmissionSpec) -> String {
        admission.name()
    }

    fn read(_: &FieldInfo, text: &str) -> Result<AdmissionSpec, Error> {
        text.parse()
    }
}

/// A list whose items are separated by commas, and which may be empty.
struct List;

impl<T: ToString + FromStr<Err = Error>> Written<Vec<T>> for List {
    fn text(items: &Vec<T>) -> String {
        list(items)
    }

    fn read(row: &FieldInfo, text: &str) -> Result<Vec<T>, Error> {
        let item = |text: &str| text.trim().parse().map_err(|error: Error| error.of_field(row.name));
        text.split(',').filter(|_| !text.trim().is_empty()).map(item).collect()
    }
}

impl Written<Columns> for Form {
    fn text(columns: &Columns) -> String {
        columns.to_string()
    }

    fn read(_: &FieldInfo, text: &str) -> Result<Columns, Error> {
        text.parse()
    }
}

impl Written<Sample> for Form {
    fn text(sample: &Sample) -> String {
        sample.to_string()
    }

    fn read(_: &FieldInfo, text: &str) -> Result<Sample, Error> {
        text.parse()
    }
}

impl Written<Amount> for Form {
    fn text(amount: &Amount) -> String {
        amount.to_string()
    }

    fn read(_: &FieldInfo, text: &str) -> Result<Amount, Error> {
        text.parse()
    }
}

impl Written<String> for Form {
    fn text(text: &String) -> String {
        text.clone()
    }

    fn read(_: &FieldInfo, text: &str) -> Result<String, Error> {
        Ok(text.to_owned())
    }
}

/// Yes, or an empty text.
struct Switch;

impl Written<bool> for Switch {
    fn text(on: &bool) -> String {
        if *on { "yes".to_owned() } else { String::new() }
    }

    fn read(row: &FieldInfo, text: &str) -> Result<bool, Error> {
        match text.trim() {
            "" => Ok(false),
            "yes" => Ok(true),
            other => {
                Err(Error::field(row.name, format!("\"{other}\""), "neither yes nor empty", "Write yes, or nothing"))
            }
        }
    }
}

/// A value that may be absent, and then is an empty text.
struct Optional<W>(PhantomData<W>);

impl<T, W: Written<T>> Written<Option<T>> for Optional<W> {
    fn text(value: &Option<T>) -> String {
        value.as_ref().map_or_else(String::new, W::text)
    }

    fn read(row: &FieldInfo, text: &str) -> Result<Option<T>, Error> {
        if text.trim().is_empty() { Ok(None) } else { W::read(row, text).map(Some) }
    }
}

fn choices<T: Closed>() -> Vec<Choice> {
    T::ALL.iter().map(|value| Choice { name: value.name(), title: value.title() }).collect()
}

/// How a field is reached: in a part that a recipe may lack, or in one that every recipe has.
macro_rules! access {
    (model $written:ty, $($path:ident).+) => { access!($written, workload as Workload::Model(run), run.$($path).+) };
    ($written:ty, $($place:ident).+ as $part:pat, $($path:ident).+) => {
        Access {
            get: |recipe| match &recipe.$($place).+ {
                $part => Some(<$written as Written<_>>::text(&$($path).+)),
                _ => None,
            },
            set: |row, recipe, text| match &mut recipe.$($place).+ {
                $part => {
                    $($path).+ = <$written as Written<_>>::read(row, text)?;
                    Ok(())
                }
                _ => {
                    let problem = "the recipe has no part that it belongs to";
                    Err(Error::field(row.name, format!("\"{text}\""), problem, "Leave it out"))
                }
            },
        }
    };
    ($written:ty, $($path:ident).+) => {
        Access {
            get: |recipe| Some(<$written as Written<_>>::text(&recipe.$($path).+)),
            set: |row, recipe, text| {
                recipe.$($path).+ = <$written as Written<_>>::read(row, text)?;
                Ok(())
            },
        }
    };
}

/// The table of fields: for each its help on the command line, and what is not as in [`PLAIN`].
macro_rules! fields {
    ($($field:ident $help:literal { $($key:ident: $value:expr,)* })*) => {
        /// A field by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = $help] $field,)*
        }

        impl Field {
            /// How many there are.
            pub const COUNT: usize = [$($help),*].len();
        }

        /// Every field, in the order of the form and of the command line.
        pub static FIELDS: [FieldInfo; Field::COUNT] =
            [$(FieldInfo { field: Field::$field, $($key: $value,)* ..PLAIN }),*];

        impl Field {
            /// What the flag's description says. Apart from the row, because the page shows none of it.
            pub fn help(self) -> &'static str {
                [$($help),*][self as usize]
            }
        }
    };
}

/// What most rows have in common.
const PLAIN: FieldInfo = FieldInfo {
    field: Field::Seed,
    part: Part::Model,
    pointer: "",
    name: "",
    id: "",
    flag: "",
    value_name: "N",
    title: "",
    hint: "",
    empty: "",
    value: Domain::Text,
    slider: None,
    group: "",
    half: false,
    means: |_| true,
    access: access!(Number, seed),
};

impl Field {
    /// Its row of the table.
    pub fn info(self) -> &'static FieldInfo {
        &FIELDS[self as usize]
    }
}

fields! {
    Task "What the model does." {
        pointer: "/workload/model/task",
        name: "task",
        id: "task",
        flag: "task",
        value_name: "NAME",
        title: "Task",
        value: Domain::Choice(choices::<Task>),
        access: access!(model Name, task),
    }
    PromptTokens "Tokens of each prompt (model)." {
        pointer: "/workload/model/prompt_tokens",
        name: "prompt_tokens",
        id: "prompt_tokens",
        flag: "prompt-tokens",
        title: "Tokens read",
        empty: "128",
        value: Domain::Number(Some(["1", "131072"])),
        slider: Some(["1", "4096", "1"]),
        half: true,
        means: |model| model.prompt_tokens,
        access: access!(model Optional<Number>, prompt_tokens),
    }
    DecodeTokens "Tokens decoded after the prompt (model)." {
        pointer: "/workload/model/decode_tokens",
        name: "decode_tokens",
        id: "decode_tokens",
        flag: "decode-tokens",
        title: "Tokens decoded",
        empty: "16",
        value: Domain::Number(Some(["0", "131072"])),
        slider: Some(["0", "64", "1"]),
        half: true,
        means: |model| model.decode_tokens,
        access: access!(model Optional<Number>, decode_tokens),
    }
    BatchSize "Sequences, images or rows in a batch." {
        pointer: "/workload/model/batch_size",
        name: "batch_size",
        id: "batch_size",
        flag: "batch-size",
        title: "Batch size",
        value: Domain::Number(Some(["1", "4096"])),
        slider: Some(["1", "64", "1"]),
        half: true,
        access: access!(model Number, batch_size),
    }
    Steps "Batches one after the other: of images or rows, or of training (model)." {
        pointer: "/workload/model/steps",
        name: "steps",
        id: "steps",
        flag: "steps",
        title: "Steps",
        value: Domain::Number(Some(["1", "1000"])),
        slider: Some(["1", "16", "1"]),
        half: true,
        means: |model| model.steps,
        access: access!(model Number, steps),
    }
    Requests "Requests of different lengths and arrivals, such as 512+64,3x100/128+32@4: tokens of the prompt (the first 100 \
              of these shared with others) and decoded tokens, how many, and the step before which they come (model)." {
        pointer: "/workload/model/requests",
        name: "requests",
        id: "requests",
        flag: "requests",
        value_name: "LIST",
        title: "Requests instead",
        hint: "Such as 512+64, 3x100/128+32@4: tokens read (100 of them shared) and decoded, how many, and the step before which they come. As many as the batch size run at once.",
        means: |model| model.requests,
        access: access!(model Optional<Form>, requests),
    }
    Serving "How requests are served: chunk=N (most tokens of a step), reuse=blocks (of finished requests), or \
             draft=NAME,guess=N,accept=P for speculative decoding (model)." {
        pointer: "/workload/model/serving",
        name: "serving",
        id: "serving",
        flag: "serving",
        value_name: "KEY=VALUE,...",
        title: "Serving",
        hint: "Such as chunk=512, reuse=blocks; or draft=llama-3.2-1b, guess=4, accept=0.8.",
        means: |model| model.serving,
        access: access!(model Form, serving),
    }
    WeightDtype "Number format of the weights, such as int4 (model)." {
        pointer: "/workload/model/weight_dtype",
        name: "weight_dtype",
        id: "weight_dtype",
        flag: "weight-dtype",
        value_name: "TYPE",
        title: "Weights",
        empty: "the model's own",
        value: Domain::Choice(choices::<Dtype>),
        group: STORAGE,
        half: true,
        access: access!(model Optional<Name>, weight_dtype),
    }
    KvDtype "Number format of the KV cache (model)." {
        pointer: "/workload/model/kv_dtype",
        name: "kv_dtype",
        id: "kv_dtype",
        flag: "kv-dtype",
        value_name: "TYPE",
        title: "KV cache",
        empty: "as activations",
        value: Domain::Choice(choices::<Dtype>),
        group: STORAGE,
        half: true,
        means: |model| model.kv_dtype,
        access: access!(model Optional<Name>, kv_dtype),
    }
    Parallel "How devices share the model, such as tensor=8,pipeline=2,expert=8,data=4,context=2,zero=3,recompute=full,\
              offload=optimizer: what is counted is one of them (model)." {
        pointer: "/workload/model/parallel",
        name: "parallel",
        id: "parallel",
        flag: "parallel",
        value_name: "KEY=VALUE,...",
        title: "Devices that share it",
        hint: "Such as tensor=8, pipeline=2, expert=8, data=4: what is counted is one of them.",
        group: STORAGE,
        means: |model| model.parallel,
        access: access!(model Form, parallel),
    }
    Fusion "Operators that are computed as one: some of attention,qkv,gate-up,mlp,norm, or none; attention alone where \
            absent (model)." {
        pointer: "/workload/model/fusion",
        name: "fusion",
        id: "fusion",
        flag: "fusion",
        value_name: "NAME,...",
        title: "Fused operators",
        hint: "Some of attention, qkv, gate-up, mlp, norm, or none.",
        group: STORAGE,
        means: |model| model.fusion,
        access: access!(model Form, fusion),
    }
    ReadAs "A family whose layout a config.json of an unknown family is read with (model)." {
        pointer: "/workload/model/read_as",
        name: "read_as",
        id: "read_as",
        flag: "read-as",
        value_name: "NAME",
        title: "Unknown family",
        empty: "refused",
        value: Domain::Choice(choices::<ReadAs>),
        group: STORAGE,
        half: true,
        access: access!(model Optional<Name>, read_as),
    }
    Tiling "How operators are cut into tiles: auto, by the mapping that moves the least, or fixed (model)." {
        pointer: "/workload/model/tiling",
        name: "tiling",
        id: "tiling",
        flag: "tiling",
        value_name: "NAME",
        title: "Tiling",
        empty: "auto, unless a tile or a dataflow is given",
        value: Domain::Choice(choices::<Tiling>),
        group: STORAGE,
        half: true,
        access: access!(model Optional<Name>, tiling),
    }
    Tile "The largest block that moves as one, such as 4MiB (model)." {
        pointer: "/workload/model/tile_bytes",
        name: "tile_bytes",
        id: "tile_bytes",
        flag: "tile",
        value_name: "SIZE",
        title: "Tile",
        hint: "The largest block that moves as one.",
        empty: "as fits, 4 MiB at most",
        value: Domain::Size,
        group: STORAGE,
        half: true,
        access: access!(model Optional<Size>, tile_bytes),
    }
    Dataflow "The order in which matrix multiplications walk over square tiles (model)." {
        pointer: "/workload/model/dataflow",
        name: "dataflow",
        id: "dataflow",
        flag: "dataflow",
        value_name: "NAME",
        title: "Dataflow",
        empty: "each tile once",
        value: Domain::Choice(choices::<Dataflow>),
        group: STORAGE,
        half: true,
        access: access!(model Optional<Name>, dataflow),
    }
    Convolution "How convolutions are computed (model)." {
        pointer: "/workload/model/convolution",
        name: "convolution",
        id: "convolution",
        flag: "convolution",
        value_name: "NAME",
        title: "Convolutions",
        value: Domain::Choice(choices::<Convolution>),
        group: STORAGE,
        half: true,
        means: |model| model.convolution,
        access: access!(model Name, convolution),
    }
    Optimizer "How weights are updated (training)." {
        pointer: "/workload/model/optimizer",
        name: "optimizer",
        id: "optimizer",
        flag: "optimizer",
        value_name: "NAME",
        title: "Optimizer",
        value: Domain::Choice(choices::<Optimizer>),
        group: STORAGE,
        half: true,
        means: |model| model.optimizer,
        access: access!(model Name, optimizer),
    }
    Zipf "Exponent of the popularity of experts; 0 = all equal (mixture of experts)." {
        pointer: "/workload/model/routing/zipf",
        name: "zipf",
        id: "zipf",
        flag: "zipf",
        value_name: "S",
        title: "Popularity (Zipf)",
        hint: "0: all experts alike.",
        value: Domain::Number(Some(["0", "4"])),
        group: EXPERTS,
        half: true,
        means: |model| model.routing,
        access: access!(model Number, routing.zipf),
    }
    Stickiness "Probability that a token takes over an expert of the token before it (mixture of experts)." {
        pointer: "/workload/model/routing/stickiness",
        name: "stickiness",
        id: "stickiness",
        flag: "stickiness",
        value_name: "P",
        title: "Stickiness",
        hint: "How likely the next token keeps an expert.",
        value: Domain::Number(Some(["0", "1"])),
        group: EXPERTS,
        half: true,
        means: |model| model.routing,
        access: access!(model Number, routing.stickiness),
    }
    RoutingLog "A record of routing to follow: JSON lines of token, layer and experts (mixture of experts)." {
        pointer: "/workload/model/routing/log",
        name: "routing_log",
        id: "routing_log",
        flag: "routing-log",
        value_name: "FILE",
        means: |model| model.routing,
        access: access!(model Optional<Form>, routing.log),
    }
    ModelType "The prototype's random workload of a model type." {
        part: Part::Synthetic,
        pointer: "/workload/synthetic/model_type",
        name: "model_type",
        id: "model_type",
        flag: "synthetic",
        value_name: "TYPE",
        title: "Model type",
        value: Domain::Choice(choices::<ModelType>),
        access: access!(Name, workload as Workload::Synthetic(it), it.model_type),
    }
    NumLayers "Layers (synthetic)." {
        part: Part::Synthetic,
        pointer: "/workload/synthetic/num_layers",
        name: "num_layers",
        id: "num_layers",
        flag: "num-layers",
        title: "Layers",
        value: Domain::Number(Some(["1", "1024"])),
        slider: Some(["4", "48", "1"]),
        access: access!(Number, workload as Workload::Synthetic(it), it.num_layers),
    }
    ReuseProbability "Probability of each of five possible reuses (synthetic)." {
        part: Part::Synthetic,
        pointer: "/workload/synthetic/reuse_probability",
        name: "reuse_probability",
        id: "reuse_probability",
        flag: "reuse-probability",
        value_name: "P",
        title: "Reuse probability",
        value: Domain::Number(Some(["0", "1"])),
        slider: Some(["0", "1", "0.01"]),
        access: access!(Number, workload as Workload::Synthetic(it), it.reuse_probability),
    }
    SyntheticBatchSize "Batch size; recorded, not used by the synthetic generator." {
        part: Part::Synthetic,
        pointer: "/workload/synthetic/batch_size",
        name: "batch_size",
        id: "synthetic_batch_size",
        flag: "batch-size",
        title: "Batch size",
        value: Domain::Number(Some(["1", "4096"])),
        slider: Some(["1", "256", "1"]),
        half: true,
        access: access!(Number, workload as Workload::Synthetic(it), it.batch_size),
    }
    SeqLength "Sequence length; recorded, not used by the synthetic generator." {
        part: Part::Synthetic,
        pointer: "/workload/synthetic/seq_length",
        name: "seq_length",
        id: "seq_length",
        flag: "seq-length",
        title: "Sequence length",
        value: Domain::Number(Some(["1", "131072"])),
        slider: Some(["32", "1024", "1"]),
        half: true,
        access: access!(Number, workload as Workload::Synthetic(it), it.seq_length),
    }
    Pattern "Order of reuses (synthetic)." {
        part: Part::Synthetic,
        pointer: "/workload/synthetic/pattern",
        name: "pattern",
        id: "pattern",
        flag: "pattern",
        value_name: "NAME",
        title: "Order of reuses",
        hint: "burst: back to back, as the prototype wrote them; every policy then gets the same hits.",
        value: Domain::Choice(choices::<Pattern>),
        group: MORE,
        access: access!(Name, workload as Workload::Synthetic(it), it.pattern),
    }
    MaxTensorsPerLayer "The most tensors taken of each layer (synthetic)." {
        part: Part::Synthetic,
        pointer: "/workload/synthetic/max_tensors_per_layer",
        name: "max_tensors_per_layer",
        id: "max_tensors_per_layer",
        flag: "max-tensors-per-layer",
        title: "Most tensors of a layer",
        value: Domain::Number(Some(["1", "1024"])),
        group: MORE,
        access: access!(Number, workload as Workload::Synthetic(it), it.max_tensors_per_layer),
    }
    Columns "Columns of a CSV or Parquet trace, as libCacheSim's -t takes them: \
             time-col=1,obj-id-col=2,obj-size-col=3,has-header=true,delimiter=, (numbers from 1, or names)." {
        part: Part::File,
        pointer: "/workload/file/columns",
        name: "columns",
        id: "columns",
        flag: "columns",
        value_name: "KEY=VALUE,...",
        title: "Columns of a CSV",
        hint: "Such as time-col=1,obj-id-col=2,obj-size-col=3,has-header=true,delimiter=,",
        empty: "detected in the file",
        access: access!(Optional<Form>, workload as Workload::File(file), file.columns),
    }
    Member "Which file of an archive (tar, zip) is read, by its name in it." {
        part: Part::File,
        pointer: "/workload/file/member",
        name: "member",
        id: "member",
        flag: "member",
        value_name: "NAME",
        title: "File of an archive",
        empty: "the first by name that can be read",
        access: access!(Optional<Form>, workload as Workload::File(file), file.member),
    }
    Capacity "Capacity of fast memory, such as 128MiB." {
        part: Part::Memory,
        pointer: "/memory/capacity_bytes",
        name: "capacity_bytes",
        id: "capacity_bytes",
        flag: "capacity",
        value_name: "SIZE",
        title: "Capacity",
        hint: "Such as 64MB, 128MiB or 8GiB.",
        value: Domain::Size,
        access: access!(Size, memory.capacity_bytes),
    }
    Admission "Which missed tensors come in: always (all that fit), bypass (those the policy would not evict at once), \
               size(most=SIZE), probability(share=P), size-probability(bytes=SIZE), second-request, adaptsize." {
        part: Part::Memory,
        pointer: "/memory/admission",
        name: "admission",
        id: "admission",
        flag: "admission",
        value_name: "MODE",
        title: "Admission",
        hint: "Such as always, bypass, size(most=64KiB), second-request or adaptsize.",
        value: Domain::Tuned(choices::<AdmissionRule>),
        access: access!(Form, memory.admission),
    }
    Watermark "Share of the capacity down to which residents are evicted when room is needed." {
        part: Part::Memory,
        pointer: "/memory/watermark",
        name: "watermark",
        id: "watermark",
        flag: "watermark",
        value_name: "SHARE",
        title: "Low watermark",
        hint: "When room is needed, evict until this share of the capacity is used.",
        value: Domain::Number(Some(["0.01", "1"])),
        group: RULES,
        access: access!(Number, memory.watermark),
    }
    Pinned "Tensors that stay once they are in: kinds, or patterns of names, such as kv_cache or *.layers.0.*." {
        part: Part::Memory,
        pointer: "/memory/pinned",
        name: "pinned",
        id: "pinned",
        flag: "pin",
        value_name: "TENSORS,...",
        title: "Pinned tensors",
        hint: "Kinds or patterns of names, such as kv_cache or *.layers.0.*",
        empty: "none",
        value: Domain::Text,
        group: RULES,
        access: access!(List, memory.pinned),
    }
    Shares "Shares of the capacity for some tensors: kv_cache=0.25, or *expert*/layer=0.5 for a part per layer." {
        part: Part::Memory,
        pointer: "/memory/shares",
        name: "shares",
        id: "shares",
        flag: "share",
        value_name: "TENSORS=SHARE,...",
        title: "Shares of the capacity",
        hint: "Such as kv_cache=0.25, or *expert*/layer=0.5 for a part per layer; the rest belongs to all others.",
        empty: "not divided",
        value: Domain::Text,
        group: RULES,
        access: access!(List, memory.shares),
    }
    Scorer "Who makes the scores that ml and ml-reuse read: embedded (the trained network), history, or heuristic." {
        part: Part::Scores,
        pointer: "/scorer",
        name: "scorer",
        id: "scored_by",
        flag: "scorer",
        value_name: "NAME",
        title: "Eviction scores",
        empty: "embedded: the trained network",
        value: Domain::Choice(choices::<BuiltIn>),
        access: access!(Optional<Name>, scorer),
    }
    PrefetchDepth "Loads may start as soon as the access this many before does; 0 loads on demand (device)." {
        part: Part::Device,
        pointer: "/memory/cost/physical/prefetch_depth",
        name: "prefetch_depth",
        id: "prefetch_depth",
        flag: "prefetch-depth",
        title: "Prefetch depth",
        hint: "Accesses by which loads run ahead; 0 loads on demand.",
        value: Domain::Number(Some(["0", "1024"])),
        access: access!(Number, memory.cost as Cost::Physical(it), it.prefetch_depth),
    }
    Points "Capacities in equal ratios up to the bytes of all tensors." {
        part: Part::Curve,
        pointer: "/curve/points",
        name: "curve.points",
        id: "points",
        flag: "points",
        title: "Capacities",
        hint: "2 to 512, up to the bytes of all tensors.",
        value: Domain::Number(Some(["2", "512"])),
        access: access!(Number, curve as Some(grid), grid.points),
    }
    Warmup "Accesses before counting begins, or their share of all, such as 0.2." {
        part: Part::Measure,
        pointer: "/measure/warmup",
        name: "warmup",
        id: "warmup",
        flag: "warmup",
        value_name: "N|SHARE",
        title: "Warm-up",
        hint: "Accesses before counting begins, or their share of all.",
        empty: "none",
        access: access!(Optional<Form>, measure.warmup),
    }
    Accesses "Run the first N accesses of the trace only." {
        part: Part::Measure,
        pointer: "/measure/requests",
        name: "requests",
        id: "accesses",
        flag: "requests",
        title: "Accesses, at most",
        empty: "all",
        value: Domain::Number(None),
        access: access!(Optional<Number>, measure.requests),
    }
    Interval "Tell the misses of each N accesses as well." {
        part: Part::Measure,
        pointer: "/measure/interval",
        name: "interval",
        id: "interval",
        flag: "interval",
        access: access!(Optional<Number>, measure.interval),
        value: Domain::Number(None),
    }
    IgnoreSize "Count every tensor as one byte." {
        part: Part::Measure,
        pointer: "/measure/ignore_size",
        name: "ignore_size",
        id: "ignore_size",
        flag: "ignore-size",
        value_name: "",
        title: "Sizes",
        empty: "as given",
        value: Domain::Choice(|| vec![Choice { name: "yes", title: "one byte each" }]),
        access: access!(Switch, measure.ignore_size),
    }
    Sample "Run five samples of so many objects, or of a share of them, in place of all: for requests to objects." {
        part: Part::Measure,
        pointer: "/measure/sample",
        name: "sample",
        id: "sample",
        flag: "sample",
        value_name: "NOBJECTS|SHARE",
        title: "Sample",
        hint: "So many objects, such as 32768objects, or their share, such as 0.01, in place of all.",
        empty: "all objects",
        access: access!(Optional<Form>, measure.sample),
    }
    Seed "Seed of everything drawn by chance." {
        part: Part::Experiment,
        pointer: "/seed",
        name: "seed",
        id: "seed",
        flag: "seed",
        title: "Seed",
        value: Domain::Number(Some(["0", "18446744073709551615"])),
    }
}

/// How tensors are stored, and in which order they are used.
const STORAGE: &str = "Storage and order";
/// Where tokens are sent.
const EXPERTS: &str = "Experts";
/// What decides about residency beside the policy.
const RULES: &str = "Pinning, shares, watermark";
/// What is seldom changed.
const MORE: &str = "More";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read_as_it_is_written() {
        for (i, row) in FIELDS.iter().enumerate() {
            assert_eq!(row.field as usize, i);
            assert!(FIELDS[..i].iter().all(|other| other.id != row.id && other.pointer != row.pointer), "{}", row.id);
            let mut recipe = row.part.recipe();
            let texts = match row.value {
                Domain::Number(Some(range)) => range.map(str::to_owned).to_vec(),
                Domain::Choice(choices) | Domain::Tuned(choices) => {
                    choices().iter().map(|choice| choice.name.to_owned()).collect()
                }
                Domain::Size => vec!["3MiB".into(), "2GiB".into(), "5MB".into(), "4097".into()],
                Domain::Number(None) | Domain::Text => {
                    let text = match row.field {
                        Field::Requests => "512+64, 3x128+32@4",
                        Field::Columns => "time-col=1,obj-id-col=2",
                        Field::Warmup => "0.2",
                        Field::Pinned => "kv_cache,*.layers.0.*",
                        Field::Shares => "kv_cache=0.25,*/layer=0.5",
                        Field::Accesses | Field::Interval => "1000",
                        Field::Parallel => "tensor=2,pipeline=4",
                        Field::Serving => "chunk=512,reuse=blocks",
                        Field::Fusion => "attention,qkv,norm",
                        Field::Sample => "32768objects",
                        _ => "log.jsonl",
                    };
                    vec![text.to_owned()]
                }
            };
            for text in texts.into_iter().chain([row.default()]) {
                row.set(&mut recipe, &text).unwrap();
                assert_eq!(row.get(&recipe), Some(text.clone()), "{}", row.id);
                // The pointer leads to it, unless it is left out because it is the default.
                let json = serde_json::to_value(&recipe).unwrap();
                match json.pointer(row.pointer) {
                    None => assert_eq!(text, row.default(), "{}", row.pointer),
                    Some(serde_json::Value::String(shown)) => assert_eq!(*shown, text),
                    Some(serde_json::Value::Array(items)) => {
                        let items: Vec<&str> = items.iter().filter_map(serde_json::Value::as_str).collect();
                        assert_eq!(items.join(","), text);
                    }
                    Some(serde_json::Value::Bool(on)) => assert!(*on && text == "yes"),
                    Some(serde_json::Value::Number(number))
                        if matches!(row.value, Domain::Number(_)) || row.field == Field::Warmup =>
                    {
                        assert_eq!(number.to_string().trim_end_matches(".0"), text);
                    }
                    Some(number) => assert!(matches!(row.value, Domain::Size) && number.is_u64()),
                }
            }
        }
    }

    #[test]
    fn ranges_are_those_of_the_check() {
        for row in &FIELDS {
            let Domain::Number(Some([least, most])) = row.value else { continue };
            let refused = |text: &str| {
                let mut recipe = row.part.recipe();
                let error = row.set(&mut recipe, text).and_then(|()| recipe.check()).err();
                error.is_some_and(|error| {
                    error.field_name() == Some(row.name) && error.to_string().contains("out of range")
                })
            };
            for inside in [least, most] {
                assert!(!refused(inside), "{} refuses {inside}", row.id);
            }
            if row.field == Field::Seed {
                continue;
            }
            let beyond = |text: &str, by: f64| (text.parse::<f64>().unwrap() + by).to_string();
            let (below, above) = (beyond(least, -1.0), beyond(most, 1.0));
            assert!(below.starts_with('-') || refused(&below), "{} takes {below}", row.id);
            assert!(refused(&above), "{} takes {above}", row.id);
        }
    }

    #[test]
    fn errors_name_the_field() {
        for row in &FIELDS {
            for text in ["no such value", "-4"] {
                match row.check(text) {
                    Err(error) => assert_eq!(error.field_name(), Some(row.name)),
                    // Any text is the name of a file or a pattern of names; below zero is out of the range, which shows later.
                    Ok(()) => assert!(
                        matches!(row.field, Field::RoutingLog | Field::Member | Field::Pinned)
                            || (text == "-4" && matches!(row.value, Domain::Number(_)))
                    ),
                }
            }
        }
        let error = Field::Steps.info().check("many").unwrap_err().to_string();
        assert_eq!(error, "steps is \"many\": not a number this field can hold. Write a number from 1 to 1000");
        let error = Field::Pattern.info().set(&mut Recipe::default(), "burst").unwrap_err();
        assert!(error.to_string().contains("the recipe has no part"), "{error}");
    }
}
