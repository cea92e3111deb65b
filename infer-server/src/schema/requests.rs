//! What is sent.

use accel_core::import::prototype_csv::{LEAST_MB, MOST_MB};
use accel_core::memory::device::DEVICES;
use accel_core::policy::{PolicyKind, PolicySpec};
use accel_core::recipe::fields::Part;
use accel_core::recipe::{Recipe, default_seed};
use accel_core::rules::AdmissionRule;
use accel_core::score::Scorer;
use accel_core::tiling::MOST_SIDE;
use accel_core::trace::Op;
use accel_core::validate::profile::PROFILES;
use accel_core::workload::dtype::Dtype;
use accel_core::workload::presets::PRESETS;
use accel_kernel::nest::Element;
use accel_kernel::report::{Compiler, DEFAULT_DEVICE, DEFAULT_GPU, Language, OptLevel, Request};
use serde_json::{Value, json};

use super::fields::{part, place};
use super::{
    MOST_WHOLE, WITH_UNIT, about, any_of, closed, integer, list, names, nullable, number, object, reference, set, text,
    tuned, with_default, with_example,
};

/// What is one of several objects has a name of its own for each of them, for clients to have types for.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let workloads = [
        ("Synthetic", synthetic()),
        ("SyntheticWorkload", object(&["synthetic"], [("synthetic", reference("Synthetic"))])),
        ("ModelWorkload", object(&["model"], [("model", reference("ModelRun"))])),
        ("TenantsWorkload", object(&["tenants"], [("tenants", reference("Tenants"))])),
        ("Tenants", tenants()),
        ("Tenant", tenant()),
        ("Workload", workload()),
        ("Model", model()),
        ("ModelConfig", model_config()),
        ("ModelRun", model_run()),
    ];
    let memories = [
        ("Capacity", capacity()),
        ("Policy", with_example(about("A policy.", tuned::<PolicyKind>()), json!("lru"))),
        ("Admission", with_example(about("Which missed tensors come in.", tuned::<AdmissionRule>()), json!("bypass"))),
        ("Device", device()),
        ("OwnDevice", own_device()),
        ("DeviceCost", object(&["physical"], [("physical", reference("Physical"))])),
        ("Physical", physical()),
        ("Level", level()),
        ("Memory", memory()),
        ("Measure", part(Part::Measure, "/measure", "Which accesses are run and counted.")),
        ("Grid", grid()),
    ];
    let traces = [
        ("TraceRequest", trace_request()),
        ("TraceRecord", trace_record()),
        ("ScoredRecord", scored_record()),
        ("TraceInput", trace_input()),
        ("Profile", profile()),
        ("ScorerName", about("Who made the scores.", closed::<Scorer>())),
    ];
    let questions = [
        ("Recipe", recipe()),
        ("RecipeTrace", about("The trace of a recipe.", object(&["recipe"], [("recipe", reference("Recipe"))]))),
        ("EvictionsRequest", evictions()),
        ("RunJob", about("What /v1/run takes.", object(&["run"], [("run", reference("Recipe"))]))),
        ("EvictionsJob", object(&["evictions"], [("evictions", reference("EvictionsRequest"))])),
        ("JobRequest", job()),
        ("Traffic", traffic()),
        ("TrafficOfGemm", object(&["gemm"], [("gemm", reference("Gemm"))])),
        ("TrafficOfConv", object(&["conv"], [("conv", reference("Conv"))])),
        ("TrafficOfAttention", object(&["attention"], [("attention", reference("Attention"))])),
        ("TrafficOfWorkload", object(&["workload"], [("workload", reference("Workload"))])),
        ("Gemm", gemm()),
        ("Conv", conv()),
        ("Attention", attention()),
        ("FitQuestion", fit()),
        ("PriceQuestion", price()),
        ("CompileRequest", compile()),
    ];
    workloads.into_iter().chain(memories).chain(traces).chain(questions).collect()
}

fn capacity() -> Value {
    let pattern = format!("^([1-9][0-9]{{0,14}}|{WITH_UNIT})$");
    with_example(
        about("A number of bytes, alone or with a unit.", json!({ "type": "string", "pattern": pattern })),
        json!("64MB"),
    )
}

fn seed() -> Value {
    about("Seed of everything drawn by chance.", with_default(integer(0, u64::MAX), default_seed()))
}

fn synthetic() -> Value {
    part(Part::Synthetic, "/workload/synthetic", "The prototype's random workload. Every field has a default.")
}

fn trace_request() -> Value {
    let mut request = synthetic();
    place(&mut request, &["seed"], seed());
    with_example(request, json!({ "model_type": "Transformer", "num_layers": 12, "reuse_probability": 0.3 }))
}

fn trace_record() -> Value {
    let megabytes = json!({ "type": "number", "minimum": LEAST_MB, "maximum": MOST_MB });
    let mut record = object(
        &["tensor_id", "size_mb", "reuse_distance", "stride", "op", "model_type"],
        [
            ("tensor_id", about("The tensor's name, `{type}_{layer}`.", json!({ "type": "string", "minLength": 1 }))),
            ("size_mb", about("Size in MB (10^6 bytes).", megabytes)),
            ("reuse_distance", about("Earlier uses of this tensor: 0, 1, 2 …", integer(0, u32::MAX.into()))),
            ("stride", about("Stride in elements.", integer(0, u32::MAX.into()))),
            ("op", about("The operation.", names(Op::ALL.map(Op::name)))),
            ("model_type", about("Family of models.", text())),
            ("eviction_score", about("From 0 (keep) to 1 (evict first); in scored traces only.", nullable(number()))),
        ],
    );
    // What else a record says is not read.
    set(&mut record, "additionalProperties", true);
    let example = json!({
        "tensor_id": "Q_0", "size_mb": 8.0, "reuse_distance": 0, "stride": 1, "op": "matmul", "model_type": "Transformer",
    });
    with_example(about("One access of a trace.", record), example)
}

fn scored_record() -> Value {
    let mut record = trace_record();
    place(&mut record, &["eviction_score"], about("From 0 (keep) to 1 (evict first).", number()));
    place(&mut record, &["scorer"], about("Who made the score.", closed::<Scorer>()));
    if let Some(Value::Array(required)) = record.get_mut("required") {
        required.extend(["eviction_score", "scorer"].map(Value::from));
    }
    set(&mut record, "examples", Vec::<Value>::new());
    about("One access of a trace with its score.", record)
}

fn records() -> Value {
    let mut records = list(reference("TraceRecord"));
    set(&mut records, "minItems", 1);
    about("The records of a trace, as /generate-trace answers them.", records)
}

fn profile() -> Value {
    let profile = names(PROFILES.iter().map(|profile| profile.name));
    with_example(about("A reference profile.", profile), json!("gpt2-large"))
}

fn trace_input() -> Value {
    let input = about("A workload to make, or the records of a trace.", any_of([reference("TraceRequest"), records()]));
    with_example(input, json!({ "model_type": "Transformer", "num_layers": 12 }))
}

fn evictions() -> Value {
    let request = any_of([reference("RecipeTrace"), reference("TraceRequest"), records()]);
    let workload = json!({ "model": { "model": "lenet-300-100" } });
    let recipe = json!({ "workload": workload, "memory": { "capacity_bytes": 65_536 } });
    with_example(about("A recipe, a workload, or the records of a trace.", request), json!({ "recipe": recipe }))
}

fn job() -> Value {
    let job = any_of([reference("RunJob"), reference("EvictionsJob")]);
    with_example(about("What the job does.", job), json!({ "evictions": { "num_layers": 4 } }))
}

/// A number above zero, as figures of devices are.
fn figure() -> Value {
    json!({ "type": "number", "minimum": 1e-6, "maximum": 1e15 })
}

/// The same, or zero.
fn delay() -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": 1e15 })
}

fn device() -> Value {
    let known = about("A known device.", names(DEVICES.iter().map(|device| device.name)));
    about("A device by name, or described.", any_of([known, reference("OwnDevice")]))
}

fn own_device() -> Value {
    let energy = json!({ "type": "array", "minItems": 2, "maxItems": 2, "items": delay() });
    let device = object(
        &["name", "dram_gb_s"],
        [
            ("name", text()),
            ("dram_gb_s", about("Bandwidth of the memory below in GB/s.", figure())),
            ("on_chip_gb_s", about("Bandwidth of the fast memory in GB/s.", nullable(figure()))),
            ("dram_latency_ns", about("Latency of the memory below in ns.", nullable(delay()))),
            ("tflops", about("Operations per second in 10^12.", nullable(figure()))),
            ("dram_pj_per_bit", about("The least and the most energy of a bit from DRAM in pJ.", nullable(energy))),
            ("machine", about("Cores, caches and peaks, for the cost of code.", nullable(json!({ "type": "object" })))),
        ],
    );
    about("The user's own device.", device)
}

fn model() -> Value {
    let preset = about("A model by the name of its preset.", names(PRESETS.iter().map(|preset| preset.name)));
    let hub = json!({ "type": "string", "pattern": "^[^/]+/[^/]+$" });
    let hub = about("A model of the hub that the server was started with, as OWNER/NAME.", hub);
    about("A model by name, or by its configuration.", any_of([preset, hub, reference("ModelConfig")]))
}

fn model_config() -> Value {
    let mut config = object(&["model_type"], [("model_type", text())]);
    set(&mut config, "additionalProperties", true);
    about("The keys of a Hugging Face config.json.", config)
}

fn model_run() -> Value {
    let mut run = part(Part::Model, "/workload/model", "A model at work.");
    place(&mut run, &["model"], reference("Model"));
    run
}

fn tenants() -> Value {
    let mut tenants = list(reference("Tenant"));
    set(&mut tenants, "minItems", 1);
    set(&mut tenants, "maxItems", 64);
    about("Workloads that share a memory.", object(&["tenants"], [("tenants", tenants)]))
}

fn tenant() -> Value {
    let name = json!({ "type": "string", "minLength": 1 });
    let workload = any_of([reference("SyntheticWorkload"), reference("ModelWorkload")]);
    let tenant = object(
        &["name", "workload"],
        [
            ("name", about("The tenant's name; the names of its tensors begin with it.", name)),
            ("workload", about("What it does.", workload)),
            ("slice", about("Accesses before the next one's turn.", with_default(integer(1, 1_000_000_000), 64))),
        ],
    );
    about("One of several workloads.", tenant)
}

fn workload() -> Value {
    let workload = any_of([reference("SyntheticWorkload"), reference("ModelWorkload"), reference("TenantsWorkload")]);
    about("What is read, in which order. A request carries no files, so a workload of a file is refused.", workload)
}

fn level() -> Value {
    object(
        &["name", "capacity_bytes", "gb_s"],
        [
            ("name", about("Its name, such as HBM.", text())),
            ("capacity_bytes", about("Capacity in bytes.", integer(1, MOST_WHOLE))),
            ("policy", about("Its policy; not one that knows the future.", reference("Policy"))),
            ("gb_s", about("Bandwidth from what lies beneath in GB/s.", figure())),
            ("latency_ns", about("Latency of that channel in ns.", with_default(delay(), 0))),
        ],
    )
}

fn physical() -> Value {
    let mut below = list(reference("Level"));
    set(&mut below, "maxItems", 8);
    let below = about("Memories between the fast one and the place where everything is, the fastest first.", below);
    let mut physical = part(Part::Device, "/memory/cost/physical", "A device that runs the trace.");
    place(&mut physical, &["device"], reference("Device"));
    place(&mut physical, &["below"], below);
    physical
}

fn memory() -> Value {
    let by_name = names(["device", "prototype"]);
    let by_name = about("A device that fits the workload, or the prototype's constants.", by_name);
    let cost = any_of([by_name, reference("DeviceCost")]);
    let mut memory = part(Part::Memory, "/memory", "Fast memory.");
    place(&mut memory, &["cost"], about("How time and energy are counted.", cost));
    memory
}

fn grid() -> Value {
    let mut capacities = list(integer(1, MOST_WHOLE));
    set(&mut capacities, "maxItems", 512);
    let mut grid = part(Part::Curve, "/curve", "At which capacities everything is run again.");
    place(&mut grid, &["capacities"], about("These capacities in bytes.", capacities));
    grid
}

fn recipe() -> Value {
    let usual = Recipe::default().policies.iter().map(PolicySpec::name).collect::<Vec<_>>();
    let mut policies = list(reference("Policy"));
    set(&mut policies, "minItems", 1);
    set(&mut policies, "uniqueItems", true);
    let bounds = json!({ "type": "boolean", "default": true });
    let title = "One experiment as one value, as the page's link, `accel recipe` and files hold it.";
    let mut recipe = part(Part::Scores, "", title);
    set(&mut recipe, "required", vec!["workload"]);
    for (name, schema) in [
        ("workload", reference("Workload")),
        ("memory", reference("Memory")),
        ("policies", about("The policies to compare.", with_default(policies, usual))),
        ("seed", seed()),
        ("bounds", about("Whether to enclose the best possible schedule.", bounds)),
        ("measure", reference("Measure")),
        ("curve", nullable(reference("Grid"))),
    ] {
        place(&mut recipe, &[name], schema);
    }
    let example = json!({
        "workload": { "model": { "model": "lenet-300-100", "batch_size": 8 } },
        "memory": { "capacity_bytes": 65_536 },
        "policies": ["lru", "fifo", "ml"],
        "seed": 42,
    });
    with_example(recipe, example)
}

/// A side of an operator.
fn side() -> Value {
    integer(1, MOST_SIDE)
}

/// The same, 1 where absent.
fn one() -> Value {
    with_default(side(), 1)
}

fn dtype() -> Value {
    about("Number format.", with_default(closed::<Dtype>(), Dtype::Float32.name()))
}

fn gemm() -> Value {
    let gemm = object(
        &["m", "n", "k"],
        [
            ("m", about("Rows of A and C.", side())),
            ("n", about("Columns of B and C.", side())),
            ("k", about("Columns of A and rows of B.", side())),
            ("batch", about("Products of this shape that share nothing.", one())),
            ("dtype", dtype()),
        ],
    );
    about("A matrix product: m x k times k x n.", gemm)
}

fn conv() -> Value {
    let conv = object(
        &["height", "width", "channels", "filters", "size"],
        [
            ("height", about("Rows of an image.", side())),
            ("width", about("Columns of an image.", side())),
            ("channels", about("Channels of an image.", side())),
            ("filters", about("Filters.", side())),
            ("size", about("Rows and columns of a filter.", side())),
            ("stride", about("Step of a filter.", one())),
            ("padding", about("Zeros around the image, fewer than `size`.", with_default(integer(0, MOST_SIDE), 0))),
            ("groups", about("Groups of channels; divides channels and filters.", one())),
            ("batch", about("Images.", one())),
            ("dtype", dtype()),
        ],
    );
    about("A convolution of images.", conv)
}

fn attention() -> Value {
    let attention = object(
        &["queries", "keys", "head_dim"],
        [
            ("queries", about("Queries of a sequence.", side())),
            ("keys", about("Keys of a sequence.", side())),
            ("heads", about("Heads.", one())),
            ("kv_heads", about("Heads of keys and values; as many as heads where absent.", nullable(side()))),
            ("head_dim", about("Elements of a head.", side())),
            ("batch", about("Sequences.", one())),
            ("dtype", dtype()),
        ],
    );
    about("An attention.", attention)
}

fn traffic() -> Value {
    let ways = ["TrafficOfGemm", "TrafficOfConv", "TrafficOfAttention", "TrafficOfWorkload"];
    let of = any_of(ways.map(reference));
    let mut capacities = list(integer(1, 1 << 50));
    set(&mut capacities, "maxItems", 64);
    let capacities = about("Bytes of fast memory; doublings from 1 KiB to 64 MiB where none are given.", capacities);
    let of = about("An operator by its sizes, or a model.", of);
    let traffic = object(&["of"], [("of", of), ("capacities", capacities)]);
    let gemm = json!({ "m": 1024, "n": 1024, "k": 1024, "dtype": "float32" });
    let example = json!({ "of": { "gemm": gemm }, "capacities": [65_536, 1_048_576] });
    with_example(about("What is moved, at which capacities.", traffic), example)
}

fn fit() -> Value {
    let budget = about("Bytes of the device.", integer(0, MOST_WHOLE));
    let question = object(&["model", "budget_bytes"], [("model", reference("ModelRun")), ("budget_bytes", budget)]);
    let model = json!({ "model": "llama-3.1-70b", "parallel": "tensor=8", "prompt_tokens": 8192 });
    let example = json!({ "model": model, "budget_bytes": 80_000_000_000_u64 });
    with_example(about("A run of a model, and the memory of a device.", question), example)
}

fn price() -> Value {
    let device = about(&format!("The device; {DEFAULT_GPU} where absent."), nullable(reference("Device")));
    let layer = integer(0, u32::MAX.into());
    let question = object(
        &["workload"],
        [
            ("workload", reference("ModelWorkload")),
            ("layer", about("The layer, counted from 0; all, and what stands outside, where absent.", nullable(layer))),
            ("phase", about("The part of the run, such as `prefill` or `decode`; all where absent.", nullable(text()))),
            ("device", device),
        ],
    );
    let run = json!({ "model": "llama-3-8b", "prompt_tokens": 512 });
    let example = json!({ "workload": { "model": run }, "layer": 0, "phase": "prefill", "device": "h100-sxm" });
    with_example(about("A run of a model, and a device that works as a whole.", question), example)
}

fn compile() -> Value {
    let usual = Request::default();
    let level = object(
        &["name", "capacity_bytes"],
        [("name", text()), ("capacity_bytes", about("Its capacity in bytes.", integer(1, MOST_WHOLE)))],
    );
    let whole = [Element::I64, Element::I32, Element::I16, Element::I8];
    let elements = names(Element::FLOATING.into_iter().chain(whole).map(Element::name));
    let share = json!({ "type": "number", "minimum": 0, "maximum": 1, "default": usual.probability });
    let defines = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
    let levels = nullable(list(level));
    let flag = || json!({ "type": "boolean", "default": false });
    let request = object(
        &["code"],
        [
            ("code", about("C, Python or StableHLO source.", text())),
            ("model_type", about("Family of models; recorded by the prototype, not used here.", nullable(text()))),
            (
                "opt_level",
                about("How the code is compiled.", with_default(closed::<OptLevel>(), usual.opt_level.name())),
            ),
            ("language", about("The language; inferred from the code where absent.", nullable(closed::<Language>()))),
            (
                "function",
                about("The function to look at; needed if there are several that no other calls.", nullable(text())),
            ),
            ("defines", about("Values of parameters.", defines)),
            ("shapes", about("Shapes of arrays, such as `a: f32[M, K]`.", list(text()))),
            (
                "element",
                about(
                    "The type of elements where the source does not say.",
                    with_default(elements, usual.element.name()),
                ),
            ),
            ("probability", about("How often a condition on data holds.", share)),
            (
                "device",
                about(
                    &format!(
                        "The device; if left out, {DEFAULT_GPU} for CUDA and Triton and {DEFAULT_DEVICE} for all else."
                    ),
                    nullable(reference("Device")),
                ),
            ),
            ("levels", about("Caches instead of the device's own, nearest first.", levels)),
            (
                "line_bytes",
                about("Bytes of a cache line instead of the device's own.", nullable(integer(1, MOST_WHOLE))),
            ),
            ("compiler", about("Who compiles C; either where absent.", nullable(closed::<Compiler>()))),
            ("backward", about("Whether gradients are computed too.", flag())),
            ("warm", about("Whether caches hold what the same run left before.", flag())),
            (
                "cores",
                about(
                    "Cores that share the loops marked as parallel.",
                    with_default(integer(1, u32::MAX.into()), usual.cores),
                ),
            ),
            (
                "budget",
                about(
                    "The most work for finding misses of caches, in lines touched.",
                    with_default(integer(0, MOST_WHOLE), usual.budget),
                ),
            ),
        ],
    );
    let request = about("Source code and the machine it is to run on. Every field but `code` has a default.", request);
    with_example(request, json!({ "code": "def matmul(a, b): return a @ b", "opt_level": "O2" }))
}

#[cfg(test)]
mod tests {
    use accel_core::memory::device::DeviceRef;

    use super::*;

    /// What the reader of kernels takes is what the schema says: a field that is added there is missed here.
    #[test]
    fn every_field_of_a_kernel_is_described() {
        let usual = Request::default();
        let everything = Request {
            language: Some(Language::C),
            function: Some("f".into()),
            device: Some(DeviceRef::Known(DEFAULT_DEVICE.into())),
            levels: Some(Vec::new()),
            line_bytes: Some(64),
            compiler: Some(Compiler::Gcc),
            backward: true,
            warm: true,
            cores: usual.cores + 1,
            budget: usual.budget + 1,
            ..usual
        };
        let taken = serde_json::to_value(everything).unwrap();
        let mut taken: Vec<&str> = taken.as_object().unwrap().keys().map(String::as_str).collect();
        // The prototype's, which no reader needs.
        taken.push("model_type");
        taken.sort_unstable();
        let schema = compile();
        let mut said: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        said.sort_unstable();
        assert_eq!(taken, said);
    }
}
