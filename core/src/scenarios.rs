//! Questions that people ask, each with the experiment that answers it.

use crate::curve::Grid;
use crate::error::Error;
use crate::memory::device::{Device, DeviceRef};
use crate::memory::{Cost, Memory, Physical};
use crate::policy::{PolicyKind, PolicySpec};
use crate::recipe::Recipe;
use crate::recipe::Workload;
use crate::recipe::tenants::{Tenant, Tenants};
use crate::units::{GIB, MIB};
use crate::workload::ModelRef;
use crate::workload::config::{Gemm, ModelConfig};
use crate::workload::dtype::Dtype;
use crate::workload::model_run::{ModelRun, Task};
use crate::workload::plan::Dataflow;
use crate::workload::requests::Requests;
use crate::workload::routing::Routing;

/// A question and its experiment.
#[derive(Debug)]
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// What is asked.
    pub question: &'static str,
    make: fn() -> Recipe,
}

impl Scenario {
    /// The experiment.
    pub fn recipe(&self) -> Recipe {
        (self.make)()
    }
}

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "phone-decode",
        question: "Does the 8 MiB system-level cache of a small chip help a 1B model, in 4 bits, to decode?",
        make: || Recipe {
            workload: Workload::Model(ModelRun {
                weight_dtype: Some(Dtype::Int4),
                decode_tokens: Some(8),
                tile_bytes: Some(MIB),
                ..ModelRun::preset("llama-3.2-1b")
            }),
            memory: on("apple-m1", 8 * MIB),
            policies: PolicySpec::plain([PolicyKind::Lru, PolicyKind::Sieve, PolicyKind::Mru, PolicyKind::Belady]),
            curve: Some(Grid::default()),
            ..Recipe::default()
        },
    },
    Scenario {
        name: "moe-24gb",
        question: "Mixtral-8x7B in 8 bits takes 47 GB: which experts should a card of 24 GB hold, and which policy should choose?",
        make: || Recipe {
            workload: Workload::Model(ModelRun {
                weight_dtype: Some(Dtype::Int8),
                prompt_tokens: Some(32),
                decode_tokens: Some(64),
                tile_bytes: Some(64 * MIB),
                // An assumption, to be replaced by a routing log: a few experts are more popular than others.
                routing: Routing { zipf: 0.5, ..Routing::default() },
                ..ModelRun::preset("mixtral-8x7b")
            }),
            memory: Memory {
                capacity_bytes: 24_000_000_000,
                cost: Cost::Physical(Physical { device: host_link(), ..Physical::default() }),
                ..Memory::default()
            },
            policies: PolicySpec::plain([
                PolicyKind::Lru,
                PolicyKind::Lfu,
                PolicyKind::Arc,
                PolicyKind::S3Fifo,
                PolicyKind::Belady,
            ]),
            curve: Some(Grid::default()),
            ..Recipe::default()
        },
    },
    Scenario {
        name: "resnet-training",
        question: "How much of a training step of ResNet-50, with 8 images, stays within 64 MB?",
        make: || Recipe {
            workload: Workload::Model(ModelRun {
                task: Task::Training,
                batch_size: 8,
                tile_bytes: Some(MIB),
                ..ModelRun::preset("resnet-50")
            }),
            memory: Memory::new(64_000_000),
            policies: PolicySpec::plain([PolicyKind::Lru, PolicyKind::Arc, PolicyKind::Gdsf, PolicyKind::Belady]),
            curve: Some(Grid::default()),
            ..Recipe::default()
        },
    },
    Scenario {
        name: "kv-batch",
        question: "Sixteen requests grow their KV caches beside the weights of Llama-3-8B: what do 16 GiB miss?",
        make: || Recipe {
            workload: Workload::Model(ModelRun {
                requests: Some(Requests::parse("8x1024+24, 8x512+32@8").unwrap_or_default()),
                batch_size: 16,
                tile_bytes: Some(8 * MIB),
                ..ModelRun::preset("llama-3-8b")
            }),
            memory: on("a100-40", 16 * GIB),
            policies: PolicySpec::plain([PolicyKind::Lru, PolicyKind::Mru, PolicyKind::Ml, PolicyKind::Belady]),
            ..Recipe::default()
        },
    },
    Scenario {
        name: "multi-tenant",
        question: "BERT and ResNet-50 share the 50 MiB second-level cache of one accelerator: who pays for it?",
        make: || {
            let tenant = |name: &str, run| Tenant { name: name.into(), workload: Workload::Model(run), slice: 64 };
            let tenants = vec![
                tenant(
                    "bert",
                    ModelRun { batch_size: 4, steps: 2, tile_bytes: Some(MIB / 2), ..ModelRun::preset("bert-base") },
                ),
                tenant(
                    "resnet",
                    ModelRun { batch_size: 8, steps: 4, tile_bytes: Some(MIB / 2), ..ModelRun::preset("resnet-50") },
                ),
            ];
            Recipe {
                workload: Workload::Tenants(Tenants { tenants }),
                memory: on("h100-sxm", 50 * MIB),
                policies: PolicySpec::plain([
                    PolicyKind::Lru,
                    PolicyKind::S3Fifo,
                    PolicyKind::WTinyLfu,
                    PolicyKind::Belady,
                ]),
                ..Recipe::default()
            }
        },
    },
    Scenario {
        name: "gemm-dataflow",
        question: "A matrix multiplication of 2048 x 2048 x 2048 in 4 MiB: how much does its dataflow leave to the policy?",
        make: || Recipe {
            workload: Workload::Model(ModelRun {
                model: ModelRef::Config(Box::new(ModelConfig::Gemm(Gemm {
                    m: 2048,
                    n: 2048,
                    k: 2048,
                    torch_dtype: Dtype::Float32,
                }))),
                dataflow: Some(Dataflow::OutputStationary),
                tile_bytes: Some(MIB / 16),
                ..ModelRun::default()
            }),
            memory: Memory::new(4 * MIB),
            policies: PolicySpec::plain([PolicyKind::Lru, PolicyKind::Fifo, PolicyKind::Mru, PolicyKind::Belady]),
            curve: Some(Grid::default()),
            ..Recipe::default()
        },
    },
];

fn on(device: &str, capacity_bytes: u64) -> Memory {
    let device = DeviceRef::Known(device.into());
    Memory { capacity_bytes, cost: Cost::Physical(Physical { device, ..Physical::default() }), ..Memory::default() }
}

/// A graphics card that reads what it does not hold from the host: 31.5 GB/s each way (PCI Express base specification
/// 4.0: 16 lanes of 16 GT/s with 128b/130b coding).
fn host_link() -> DeviceRef {
    DeviceRef::Own(Device {
        name: "card behind PCIe 4.0 x16".into(),
        on_chip_gb_s: None,
        dram_gb_s: 31.5,
        dram_latency_ns: None,
        tflops: None,
        dram_pj_per_bit: None,
        machine: None,
    })
}

/// The scenario of that name; case does not matter.
pub fn find(name: &str) -> Result<&'static Scenario, Error> {
    SCENARIOS.iter().find(|s| s.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names = SCENARIOS.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
        Error::field("scenario", format!("\"{name}\""), "no such scenario", format!("Choose one of {names}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unattended;
    use crate::run::run;

    /// Each runs in a moment, and its policies differ: there is something to learn.
    #[test]
    fn every_scenario_has_an_answer() {
        for scenario in SCENARIOS {
            let recipe = scenario.recipe();
            recipe.check().unwrap();
            let outcome = run(&Recipe { curve: None, ..recipe.clone() }, &mut Unattended).unwrap();
            let accesses = outcome.trace.accesses;
            assert!((1_000..400_000).contains(&accesses), "{}: {accesses} accesses", scenario.name);
            let misses: Vec<u64> = outcome.runs.iter().map(|run| run.miss_bytes).collect();
            assert!(misses.iter().max() > misses.iter().min(), "{}: {misses:?}", scenario.name);
            assert_eq!(Recipe::from_json("again", recipe.to_json().unwrap().as_bytes()).unwrap(), recipe);
            assert_eq!(find(scenario.name).unwrap().question, scenario.question);
        }
        assert!(find("coffee").is_err());
    }
}
