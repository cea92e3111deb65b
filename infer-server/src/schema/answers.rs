//! What comes back where the types are those of other crates. Answers may hold more than these keys.

use accel_core::memory::CostedBy;
use accel_core::score::Scorer;
use accel_kernel::operator::Limit;
use accel_model::DeviceKind;
use serde_json::{Value, json};

use super::{
    MOST_WHOLE, about, answer, any_of, closed, integer, list, names, nullable, number, object, reference, set, text,
};
use crate::jobs::{BROKEN, EVENT_NAMES, MISSED};
use crate::metrics::PHASES;

pub(super) fn all() -> [(&'static str, Value); 10] {
    [
        ("Outcome", outcome()),
        ("TrafficCurve", traffic()),
        ("Fit", fit()),
        ("PriceList", price_list()),
        ("ModelInfo", model_info()),
        ("CodeFeatures", code_features()),
        ("Realism", realism()),
        ("JobEvent", job_event()),
        ("JobEvents", any_of([about("The whole stream.", text()), reference("JobEvent")])),
        ("ModelPhase", about("Where a model is in its life.", names(PHASES))),
    ]
}

fn count() -> Value {
    integer(0, u64::MAX)
}

fn any_object() -> Value {
    json!({ "type": "object" })
}

fn run() -> Value {
    answer([
        ("policy", about("The policy, with the parameters that are not the defaults.", text())),
        ("capacity_bytes", count()),
        ("accesses", count()),
        ("hits", count()),
        ("misses", count()),
        ("hit_bytes", count()),
        ("miss_bytes", count()),
        ("evictions", count()),
        ("bypassed", about("Misses whose tensor was not kept.", count())),
        ("oversize", about("Misses of tensors larger than the capacity.", count())),
        ("total_latency_ms", about("By the prototype's constants, where those count.", nullable(number()))),
        ("bandwidth_wait_ms", about("By the prototype's constants, where those count.", nullable(number()))),
        ("gap_closed", about("How much of the way from LRU to the best schedule known it goes.", nullable(number()))),
        ("physical", about("Time, energy and tokens on a device, where one counts.", nullable(any_object()))),
    ])
}

fn outcome() -> Value {
    let trace =
        answer([("accesses", count()), ("tensors", count()), ("requested_bytes", count()), ("unique_bytes", count())]);
    let cost = answer([("by", closed::<CostedBy>()), ("device", nullable(text())), ("about", text())]);
    about(
        "What a recipe comes to.",
        answer([
            ("trace", about("Size of the trace.", trace)),
            ("cost", about("What counts time and energy.", cost)),
            ("runs", about("One for each policy, in the order of the recipe.", list(run()))),
            ("bounds", about("How good any policy could be, where the recipe asks.", nullable(any_object()))),
            ("io_bound_bytes", about("Bytes that the operators of a model load at least; 0 where not known.", count())),
            ("curve", about("How misses fall as memory grows, where the recipe asks.", nullable(any_object()))),
            ("scorer", about("Who made the scores.", closed::<Scorer>())),
            ("model", about("Parameters and bytes, where the workload is a model.", nullable(any_object()))),
            ("reuse", about("How far apart the uses of a tensor are.", any_object())),
            ("headline", about("What it comes to, in a sentence or two.", text())),
            ("explanation", about("What it means, in words.", list(text()))),
            ("warnings", about("What the reader should know about the trace.", list(text()))),
            ("validation", about("Whether a drawn trace matches its law.", nullable(any_object()))),
            ("charts", about("Data of the charts.", any_object())),
        ]),
    )
}

/// Readers of OpenAPI 3.1 take the schema of a stream for that of the whole or of each event.
fn job_event() -> Value {
    let data = json!({
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": reference("JobView"),
        "description": "The job without its result, as JSON.",
    });
    let known = answer([("event", names(EVENT_NAMES)), ("id", about("The job's.", text())), ("data", data)]);
    let missed = about("How many events a slow reader of all jobs has missed.", names([MISSED]));
    let broken = about("Why there is no event.", names([BROKEN]));
    let [missed, broken] = [missed, broken].map(|name| answer([("event", name), ("data", text())]));
    about("A server-sent event.", any_of([known, missed, broken]))
}

fn traffic() -> Value {
    let point = answer([
        ("capacity_bytes", count()),
        ("compulsory_bytes", about("Each operand of each operator once.", count())),
        ("bound_bytes", about("No schedule moves less.", count())),
        ("attained_bytes", about("What the best mapping found moves.", count())),
        ("ratio", about("Attained bytes as a multiple of the bound.", number())),
        ("mapping", about("How the operator is tiled, where it is one.", nullable(text()))),
    ]);
    let groups = about("Groups of operators, each as often as it is done.", count());
    about("DRAM traffic by capacity.", answer([("groups", groups), ("points", list(point))]))
}

fn fit() -> Value {
    let held = answer([("what", text()), ("bytes", count())]);
    let sent = answer([("what", text()), ("algorithm", text()), ("bytes", count())]);
    let fit = answer([
        ("devices", about("Devices that share the model.", count())),
        ("stage", about("The stage of the pipeline that holds most, from 0.", count())),
        ("context", about("Tokens of a sequence.", count())),
        ("batch_size", about("Sequences at once on each replica.", count())),
        ("held", about("What the device holds.", list(held))),
        ("bytes", about("Its sum.", count())),
        ("budget_bytes", count()),
        ("fits", json!({ "type": "boolean" })),
        ("longest_context", about("The longest context that fits with this batch.", nullable(count()))),
        ("positions", about("Positions of the model.", count())),
        ("largest_batch", about("The largest batch that fits with this context.", nullable(count()))),
        ("sent", about("What the device sends.", list(sent))),
        ("notes", about("What the configuration says and is not counted.", list(text()))),
    ]);
    about("Whether a model fits a device, and how much of it would.", fit)
}

fn price_list() -> Value {
    let amount = |text: &str| about(text, json!({ "type": "number", "minimum": 0 }));
    let range = || json!({ "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 });
    let operator = answer([
        ("phase", about("The part of the run; empty where there are no parts.", text())),
        ("name", about("What it is called.", text())),
        ("class", about("What it is priced as.", text())),
        ("sizes", about("Its sizes, such as `128 x 4096 x 4096`.", text())),
        ("element", about("The type of its elements.", text())),
        ("runs", about("How often it runs.", count())),
        ("ms", amount("How long all runs take.")),
        ("range_ms", about("Between which times that lies.", range())),
        ("limit", about("What takes most of it.", names(Limit::ALL.map(Limit::name)))),
        ("bytes", amount("Bytes that one run reads and writes.")),
        ("operations", amount("Operations of one run.")),
    ]);
    let advice = answer([("change", text()), ("ms", number()), ("factor", number())]);
    let list = answer([
        ("device", about("The device's name.", text())),
        ("latency_ms", amount("All operators, one after the other.")),
        ("latency_range_ms", about("Between which times that lies.", range())),
        ("phases", about("The parts of the whole run, whichever is priced.", list(text()))),
        ("operators", about("Each operator; those that are alike are one.", list(operator))),
        ("advice", about("Changes that would help, the best first.", list(advice))),
        ("assumptions", about("What was assumed.", list(text()))),
    ]);
    about("What the operators of a model take.", list)
}

fn model_info() -> Value {
    let info = answer([
        ("name", about("The name that the file gives, or the file's.", text())),
        ("architecture", text()),
        ("file", text()),
        ("file_bytes", count()),
        ("parameters", count()),
        ("quantization", about("The types of its weights, those with the most bytes first.", text())),
        ("context_length", about("The longest prompt in tokens.", count())),
        ("vocabulary", count()),
        ("layers", count()),
        ("adapter", about("The adapter, if there is one.", nullable(text()))),
        ("device", about("Where it is computed.", closed::<DeviceKind>())),
    ]);
    about("The model as it is now.", info)
}

fn code_features() -> Value {
    let amount = || json!({ "type": "number", "minimum": 0 });
    let mut features = object(
        &["num_loops", "num_branches", "load_ops", "store_ops", "flops", "mem_bytes"],
        [
            ("num_loops", integer(0, MOST_WHOLE)),
            ("num_branches", integer(0, MOST_WHOLE)),
            ("load_ops", amount()),
            ("store_ops", amount()),
            ("flops", amount()),
            ("mem_bytes", amount()),
        ],
    );
    set(&mut features, "additionalProperties", true);
    about("What was counted; expected where a probability decides.", features)
}

fn realism() -> Value {
    let realism = answer([
        ("reference", about("The reference's name.", text())),
        ("distances", about("Stack distances beside those of the reference.", any_object())),
        ("sizes", about("Sizes of tensors beside those of the reference.", nullable(any_object()))),
        ("interpretation", about("The verdict in words.", text())),
    ]);
    about("The trace beside a reference profile.", realism)
}
