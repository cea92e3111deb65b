//! Parameter counts against those that transformers builds (tests/fixtures/parameters.py).

use std::collections::BTreeSet;

use accel_core::score::prompt::{Questions, items};
use accel_core::trace::{Kind, Op};
use accel_core::workload::ModelRef;
use accel_core::workload::config::{ModelConfig, ReadAs};
use accel_core::workload::model_run::{ModelRun, Task};
use serde_json::Value;

#[test]
fn every_model_has_the_parameters_that_transformers_gives_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/parameters.json");
    let models: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let models = models.as_array().unwrap();
    assert!(models.len() > 30);
    for model in models {
        let name = model["name"].as_str().unwrap();
        let config = ModelConfig::from_json(name, model["config"].to_string().as_bytes()).unwrap();
        assert_eq!(Some(config.parameters()), model["parameters"].as_u64(), "{name}");
        let again = serde_json::to_vec(&config).unwrap();
        assert_eq!(ModelConfig::from_json(name, &again).unwrap(), config, "{name}");
    }
}

/// Every family against what transformers builds (tests/fixtures/families.py).
#[test]
fn every_family_has_the_parameters_that_transformers_gives_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/families.json");
    let models: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for model in models.as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        let config = match ModelConfig::from_json(name, model["config"].to_string().as_bytes()) {
            Ok(config) => config,
            Err(error) => {
                wrong.push(error.to_string());
                continue;
            }
        };
        let (found, wanted) = (config.parameters(), model["parameters"].as_u64().unwrap());
        if found != wanted {
            wrong.push(format!("{name}: {found} parameters, not {wanted}: {}", found as i64 - wanted as i64));
        }
        let again = serde_json::to_vec(&config).unwrap();
        assert_eq!(ModelConfig::from_json(name, &again).unwrap(), config, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each family runs, and trains where it can: the trace holds the weights of the facts but rows that nobody looks up,
/// and the keys, values and states of its requests.
#[test]
fn every_family_runs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/families.json");
    let models: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let small = |model: &&Value| model["parameters"].as_u64().unwrap() < 1_000_000_000;
    for model in models.as_array().unwrap().iter().filter(small) {
        let name = model["name"].as_str().unwrap();
        let config = ModelConfig::from_json(name, model["config"].to_string().as_bytes()).unwrap();
        let decodes = config.transformer().is_some_and(|model| !model.encodes_only());
        let run = |task| ModelRun {
            task,
            batch_size: 2,
            model: ModelRef::Config(Box::new(config.clone())),
            prompt_tokens: decodes.then_some(70),
            decode_tokens: (decodes && task == Task::Inference).then_some(3),
            ..ModelRun::default()
        };
        let facts = run(Task::Inference).facts().unwrap();
        let trace = run(Task::Inference).trace(0, u64::MAX).unwrap();
        let sum = |kind: Kind| -> u64 { trace.tensors().iter().filter(|t| t.kind == kind).map(|t| t.bytes).sum() };
        assert_eq!(sum(Kind::KvCache), facts.kv_bytes + facts.state_bytes, "{name}");
        assert!(sum(Kind::Weights) > facts.weight_bytes / 4, "{name}");
        let mut names = BTreeSet::new();
        let twice: Vec<&str> =
            trace.tensors().iter().map(|tensor| tensor.name.as_str()).filter(|name| !names.insert(*name)).collect();
        assert!(twice.is_empty(), "{name}: two tensors of one name: {twice:?}");
        assert!(run(Task::Training).trace(0, u64::MAX).unwrap().knows_flops(), "{name}");
        assert!(!run(Task::Inference).groups(0).unwrap().is_empty(), "{name}");
    }
}

/// The work of a forward pass is what torch counts and what the formula of attention says (tests/fixtures/families.py).
#[test]
fn families_do_the_work_that_torch_counts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/families.json");
    let models: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut seen = 0;
    for model in models.as_array().unwrap().iter().filter(|model| model.get("flops").is_some()) {
        let name = model["name"].as_str().unwrap();
        let config = ModelConfig::from_json(name, model["config"].to_string().as_bytes()).unwrap();
        let run = ModelRun {
            task: Task::Training,
            model: ModelRef::Config(Box::new(config)),
            prompt_tokens: model["flops"]["tokens"].as_u64(),
            ..ModelRun::default()
        };
        let trace = run.trace(0, u64::MAX).unwrap();
        let forward = trace.marks().iter().find(|mark| mark.label == "backward").unwrap().at as usize;
        let of = |ops: &[Op]| -> f64 {
            (0..forward).filter(|now| ops.contains(&trace.op(*now))).map(|now| trace.flops(now)).sum()
        };
        // FLOPs are kept as 32-bit floats.
        for (ops, what) in [(&[Op::Matmul, Op::Gating][..], "products"), (&[Op::Attention], "attention")] {
            let (found, wanted) = (of(ops), model["flops"][what].as_f64().unwrap());
            assert!((found / wanted - 1.0).abs() < 1e-6, "{name}: {what} take {found} FLOPs, not {wanted}");
        }
        seen += 1;
    }
    assert!(seen > 10);
}

/// Files as they are published, and the parameters that transformers 5.23 builds of their models of text. Of MiMo, which it
/// does not know, the card's 7,833,409,536 less the layer that predicts a further token; of Llama-Nemotron the 49.9 billion
/// of its card; Kimi-K3's are not published to the digit.
#[test]
fn files_of_2026() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/hf_configs_2026");
    if !std::path::Path::new(folder).exists() {
        println!("skipped: ../shared/data/hf_configs_2026 is not there");
        return;
    }
    let further = 177_223_680 + 2 * 4096 * 4096 + 3 * 4096;
    for (name, wanted) in [
        ("DeepSeek-V3.2-NVFP4", 671_877_929_216),
        ("DeepSeek-V3.2", 671_877_929_216),
        ("DeepSeek-V3", 671_026_404_352),
        ("DeepSeek-V4-Flash", 284_332_230_231),
        ("GLM-5", 743_911_199_232),
        ("Kimi-K2-Instruct", 1_026_408_209_408),
        ("Kimi-K2.5", 1_026_408_209_408),
        ("Kimi-K3", 0),
        ("Llama-3_3-Nemotron-Super-49B-v1", 49_867_145_216),
        ("Llama-4-Scout-17B-16E-Instruct", 107_769_861_120),
        ("MiMo-7B-Base", 7_833_409_536 - further),
        ("MiMo-V2-Flash", 308_778_768_832),
        ("MiniMax-M2.5", 228_689_748_992),
        ("MiniMax-M3", 426_174_565_632),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31_577_937_344),
        ("NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 120_668_687_360),
        ("Nemotron-H-56B-Base-8K", 56_324_350_464),
        ("Qwen3-32B-FP8-Static-PerTensor", 32_762_123_264),
        ("Qwen3-32B-FP8", 32_762_123_264),
        ("Qwen3-VL-30B-A3B-Instruct", 30_532_122_624),
        ("Qwen3-VL-8B-Instruct", 8_190_735_360),
        ("Qwen3.5-27B", 26_895_998_464),
        ("Qwen3.5-35B-A3B", 34_660_610_688),
        ("Step-3.7-Flash", 195_844_496_640),
        ("gemma-4-26B-A4B", 25_233_141_760),
        ("gpt-oss-20b", 20_914_757_184),
    ] {
        let text = std::fs::read(format!("{folder}/{name}.json")).unwrap();
        let config = ModelConfig::from_json(name, &text).unwrap_or_else(|error| panic!("{error}"));
        if wanted > 0 {
            assert_eq!(config.parameters(), wanted, "{name}");
        }
        let run = ModelRun { model: ModelRef::Config(Box::new(config)), ..ModelRun::default() };
        let facts = run.facts().unwrap();
        assert!(facts.weight_bytes < 2 * 2 * facts.parameters && facts.active_parameters < facts.parameters, "{name}");
    }
}

/// A family that is not in the table is read as a Llama when that is asked for, and then says so.
#[test]
fn an_unknown_family_is_read_as_llama_when_asked() {
    let text = r#"{"model_type":"mystery","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
        "num_attention_heads":4,"vocab_size":100,"max_position_embeddings":512,"num_experts":4}"#;
    let refused = ModelConfig::from_json("c", text.as_bytes()).unwrap_err().to_string();
    assert!(refused.contains("\"mystery\" is not supported") && refused.contains("read_as llama"), "{refused}");
    let model: ModelRef = serde_json::from_str(text).unwrap();
    let run = ModelRun { model, ..ModelRun::default() };
    assert_eq!(run.facts().unwrap_err().to_string(), refused.replace("c, key", "config.json, key"));
    let again: ModelRun = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
    assert_eq!(again, run);
    let run = ModelRun { read_as: Some(ReadAs::Llama), ..run };
    let facts = run.facts().unwrap();
    assert_eq!(facts.parameters, 2 * 6400 + 2 * (4 * 64 * 64 + 3 * 64 * 128 + 128) + 64);
    assert!(facts.notes[0].contains("\"mystery\" is read as llama") && facts.notes[1].contains("num_experts"));
    assert!(run.trace(0, u64::MAX).unwrap().warnings().iter().any(|warning| warning.contains("num_experts")));
    let known = ModelRun { read_as: Some(ReadAs::Llama), ..ModelRun::default() };
    assert_eq!(known.facts().unwrap_err().field_name(), Some("read_as"));
}

/// A device of several makes its share of the work, and passes on what it sends.
#[test]
fn shares_are_traced() {
    let trace = |name: &str, parallel: &str, task| {
        let run = ModelRun {
            task,
            parallel: parallel.parse().unwrap(),
            prompt_tokens: Some(32),
            decode_tokens: (task == Task::Inference).then_some(2),
            ..ModelRun::preset(name)
        };
        let trace = run.trace(0, u64::MAX).unwrap();
        let flops: f64 = (0..trace.accesses().len()).map(|now| trace.flops(now)).sum();
        let sum = |kind: Kind| -> u64 { trace.tensors().iter().filter(|t| t.kind == kind).map(|t| t.bytes).sum() };
        let names = |name: &str| trace.tensors().iter().filter(|t| t.name.starts_with(name)).count();
        (
            flops,
            sum(Kind::KvCache),
            run.facts().unwrap(),
            names("all_reduce"),
            names("all_to_all"),
            names("to_next_stage"),
        )
    };
    for task in Task::ALL {
        let whole = trace("llama-3.2-1b", "", task);
        let eighth = trace("llama-3.2-1b", "tensor=8", task);
        assert!((whole.0 / eighth.0 / 8.0 - 1.0).abs() < 0.01, "{task:?}: {} {}", whole.0, eighth.0);
        assert!(eighth.3 > 0 && eighth.1 == eighth.2.kv_bytes);
        // The later of two stages has the output head.
        let stage = trace("llama-3.2-1b", "pipeline=2", task);
        assert!(stage.0 < whole.0 && stage.1 * 2 == whole.1);
    }
    let whole = trace("qwen3-30b-a3b", "", Task::Inference);
    let part = trace("qwen3-30b-a3b", "expert=8", Task::Inference);
    assert!(part.4 > 0 && part.2.weight_bytes < whole.2.weight_bytes / 4);
    let run = ModelRun { parallel: "context=2".parse().unwrap(), ..ModelRun::default() };
    assert_eq!(run.trace(0, u64::MAX).unwrap_err().field_name(), Some("parallel"));
}

/// A run of a model asks a scorer few different questions.
#[test]
fn questions_repeat() {
    let trace = ModelRun { decode_tokens: Some(16), ..ModelRun::preset("mistral-7b") }.trace(0, u64::MAX).unwrap();
    let questions = Questions::of(&trace);
    let (asked, all) = (questions.items.len(), trace.accesses().len());
    assert!(all > 50_000 && asked < 1000, "{asked} of {all}");
    let numbers: Vec<usize> = (0..asked).collect();
    let lines = questions.of_accesses(&numbers).unwrap();
    assert!(lines.iter().map(|at| &questions.items[*at]).eq(&items(&trace)));
    assert!(questions.of_accesses(&numbers[1..]).is_err());
}
