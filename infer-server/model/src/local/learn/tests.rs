//! Against PEFT's answers, finite differences and the pass that serves.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor, safetensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::LoadOptions;
use crate::local::config::{ARCHITECTURES, LlamaConfig, Scales};
use crate::local::projection::Projection;
use crate::local::rope::Rope;
use crate::local::tests::{Expected, fixture, largest_difference, load, logits, rewritten};

const PLAIN: LoraSettings = LoraSettings { rank: 4, alpha: 8.0, dropout: 0.0, seed: 5 };
const FRESH: LoraSettings = LoraSettings { rank: 8, alpha: 16.0, dropout: 0.1, seed: 5 };

/// Begins with PEFT's adapter.
fn plain() -> Learner {
    let options = LoadOptions { adapter: Some(fixture("plain")), ..LoadOptions::default() };
    Learner::new(LocalModel::load(&fixture("f32.gguf"), &options).unwrap(), PLAIN).unwrap()
}

fn fresh() -> Learner {
    Learner::new(load(&fixture("f32.gguf")), FRESH).unwrap()
}

/// The fixture's items, and answers to them that differ.
fn questions() -> (Prompt, Vec<Vec<f32>>) {
    let expected = Expected::read();
    let labels = expected.labels.clone();
    let wanted = (0..4).map(|item| (0..10).map(|at| if at == item * 2 { 0.7 } else { 0.3 / 9.0 }).collect());
    (Prompt { labels, ..expected.prompt() }, wanted.collect())
}

fn values(learner: &Learner) -> Vec<Vec<f32>> {
    let of = |variable: &variables::Variable| variable.value.flatten_all().unwrap().to_vec1().unwrap();
    learner.variables.all.iter().map(of).collect()
}

#[test]
fn logits_are_those_of_peft_and_of_the_pass_that_serves() {
    let expected = Expected::read();
    let learner = plain();
    let ours: Vec<Vec<f32>> = learner.logits(&expected.prompt(), None).unwrap().to_vec2().unwrap();
    let difference = largest_difference(&ours, &expected.adapters["plain"]);
    println!("largest difference of logits from PEFT: {difference:e}");
    assert!(difference < 1e-4, "{difference}");
    assert!(largest_difference(&ours, &logits(&learner.model, &expected)) < 1e-4);
}

/// What PEFT wrote, read and written again, is what PEFT wrote.
#[test]
fn an_adapter_is_saved_as_peft_saves_it() {
    let dir = TempDir::new().unwrap();
    plain().save(dir.path(), false).unwrap();
    let read = |dir: &Path| -> (HashMap<String, Tensor>, Value) {
        let options = fs::read(dir.join("adapter_config.json")).unwrap();
        let weights = safetensors::load(dir.join("adapter_model.safetensors"), &Device::Cpu).unwrap();
        (weights, serde_json::from_slice(&options).unwrap())
    };
    let ((ours, our_options), (theirs, their_options)) = (read(dir.path()), read(&fixture("plain")));
    assert_eq!(ours.len(), theirs.len());
    for (name, theirs) in &theirs {
        let row = |tensor: &Tensor| vec![tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()];
        assert_eq!(ours[name].dims(), theirs.dims(), "{name}");
        assert!(largest_difference(&row(&ours[name]), &row(theirs)) < 1e-6, "{name}");
    }
    let modules = |options: &Value| -> Vec<String> {
        let mut names: Vec<String> = serde_json::from_value(options["target_modules"].clone()).unwrap();
        names.sort();
        names
    };
    assert_eq!(modules(&our_options), modules(&their_options));
    for (name, ours) in our_options.as_object().unwrap() {
        let named = ["target_modules", "base_model_name_or_path"].contains(&name.as_str());
        let same = ours.as_f64().zip(their_options[name].as_f64()).map(|(ours, theirs)| ours == theirs);
        assert!(named || same.unwrap_or(*ours == their_options[name]), "{name}: {ours} {}", their_options[name]);
    }
}

/// The fixture as Phi-3 has its matrices: those of queries, keys and values in one, and both of the MLP's first.
fn as_phi3(dir: &TempDir) -> PathBuf {
    rewritten(dir, |metadata, weights| {
        for (key, value) in std::mem::take(metadata) {
            let renamed = key.strip_prefix("llama.").map(|rest| format!("phi3.{rest}"));
            metadata.insert(renamed.unwrap_or(key), value);
        }
        metadata.insert("general.architecture".into(), gguf_file::Value::String("phi3".into()));
        for layer in 0..2 {
            let of = |name: &str| format!("blk.{layer}.{name}.weight");
            for (all, parts) in [("attn_qkv", &["attn_q", "attn_k", "attn_v"][..]), ("ffn_up", &["ffn_gate", "ffn_up"])]
            {
                let rows =
                    parts.iter().map(|part| weights.remove(&of(part)).unwrap().dequantize(&Device::Cpu).unwrap());
                let rows = Tensor::cat(&rows.collect::<Vec<_>>(), 0).unwrap();
                weights.insert(of(all), QTensor::quantize(&rows, GgmlDType::F32).unwrap());
            }
        }
    })
}

/// Phi-3 has `qkv_proj` and `gate_up_proj`; PEFT finds no others in it.
#[test]
fn an_adapter_of_fused_matrices_is_saved_with_the_names_and_shapes_that_peft_loads() {
    let (models, dir, again) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = as_phi3(&models);
    let (prompt, wanted) = questions();
    let mut learner = Learner::new(load(&path), FRESH).unwrap();
    for _ in 0..3 {
        learner.learn(&prompt, &wanted, 0.01).unwrap();
    }
    learner.save(dir.path(), false).unwrap();
    let weights = safetensors::load(dir.path().join("adapter_model.safetensors"), &Device::Cpu).unwrap();
    let config = learner.model.llama.config.clone();
    let (rank, hidden) = (FRESH.rank, config.hidden);
    let (q, kv, inner) = (config.heads * config.head_dim, config.kv_heads * config.head_dim, config.feed_forward);
    // Outputs and inputs as in `Phi3Attention` and `Phi3MLP` of transformers.
    let modules = [
        ("self_attn.qkv_proj", 3 * rank, [q + 2 * kv, hidden]),
        ("self_attn.o_proj", rank, [hidden, q]),
        ("mlp.gate_up_proj", 2 * rank, [2 * inner, hidden]),
        ("mlp.down_proj", rank, [hidden, inner]),
    ];
    assert_eq!(weights.len(), config.layers * modules.len() * 2);
    for (layer, (module, rank, [outputs, inputs])) in (0..config.layers).flat_map(|layer| modules.map(|it| (layer, it)))
    {
        let of =
            |part| weights[&format!("base_model.model.model.layers.{layer}.{module}.{part}.weight")].dims().to_vec();
        assert_eq!((of("lora_A"), of("lora_B")), (vec![rank, inputs], vec![outputs, rank]), "{module}");
    }
    let options: Value = serde_json::from_slice(&fs::read(dir.path().join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(options["target_modules"], json!(["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]));
    // What B is multiplied by, alpha over the rank, is the same for all.
    let alpha = FRESH.alpha;
    assert_eq!(options["rank_pattern"], json!({"qkv_proj": 3 * rank, "gate_up_proj": 2 * rank}));
    assert_eq!(options["alpha_pattern"], json!({"qkv_proj": 3.0 * alpha, "gate_up_proj": 2.0 * alpha}));

    // Read again, it answers as what was learned, and learning goes on from it.
    let adapted = LoadOptions { adapter: Some(dir.path().to_owned()), ..LoadOptions::default() };
    let adapted = LocalModel::load(&path, &adapted).unwrap();
    let expected = Expected::read();
    let learned: Vec<Vec<f32>> = learner.logits(&expected.prompt(), None).unwrap().to_vec2().unwrap();
    assert!(largest_difference(&learned, &logits(&adapted, &expected)) < 1e-4);
    assert!(largest_difference(&learned, &logits(&load(&path), &expected)) > 1e-3);
    let on = Learner::new(adapted, FRESH).unwrap();
    let apart = largest_difference(&values(&on), &values(&learner));
    assert!(apart < 1e-6, "{apart}");
    on.save(again.path(), false).unwrap();
    let twice = safetensors::load(again.path().join("adapter_model.safetensors"), &Device::Cpu).unwrap();
    for (name, tensor) in &weights {
        assert_eq!(twice[name].dims(), tensor.dims(), "{name}");
    }
}

/// A GGUF file of a Phi-3 as Hugging Face has it, in `dir`.
fn as_checkpoint(path: &Path, config: &LlamaConfig, dir: &Path) {
    let mut file = fs::File::open(path).unwrap();
    let content = gguf_file::Content::read(&mut file).unwrap();
    let names = [
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("output", "lm_head"),
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attn_qkv", "self_attn.qkv_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_up", "mlp.gate_up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ];
    let mut weights = HashMap::new();
    for name in content.tensor_infos.keys() {
        let parts: Vec<&str> = name.split('.').collect();
        let (place, of_file) = match parts[..] {
            ["blk", layer, of_file, "weight"] => (format!("model.layers.{layer}."), of_file),
            [of_file, "weight"] => (String::new(), of_file),
            _ => panic!("{name}"),
        };
        let module = names.iter().find(|(other, _)| *other == of_file).unwrap().1;
        let weight = content.tensor(&mut file, name, &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
        weights.insert(format!("{place}{module}.weight"), weight);
    }
    safetensors::save(&weights, dir.join("model.safetensors")).unwrap();
    let metadata = |key: &str| content.metadata[&format!("phi3.{key}")].clone();
    let options = json!({
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "vocab_size": config.vocabulary,
        "hidden_size": config.hidden,
        "intermediate_size": config.feed_forward,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": metadata("attention.layer_norm_rms_epsilon").to_f32().unwrap(),
        "rope_theta": metadata("rope.freq_base").to_f32().unwrap(),
        "max_position_embeddings": config.context,
        "original_max_position_embeddings": config.context,
        "sliding_window": config.window,
        "tie_word_embeddings": false,
        "pad_token_id": 0,
    });
    fs::write(dir.join("config.json"), options.to_string()).unwrap();
    // transformers reads no weights that do not say where they are for.
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let tensors = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = ::safetensors::serialize(tensors.tensors(), Some(about)).unwrap();
    fs::write(dir.join("model.safetensors"), bytes).unwrap();
}

/// Where `ACCEL_PEFT` names a Python that has it: the answers of the adapter's own library are those that were learned.
#[test]
fn peft_itself_answers_with_a_learned_adapter_of_phi3_as_what_was_learned() {
    let Ok(python) = std::env::var("ACCEL_PEFT") else {
        println!("skipped: ACCEL_PEFT names no Python with torch, transformers and peft (tests/fixtures/phi3_peft.py)");
        return;
    };
    let (models, base, adapter) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = as_phi3(&models);
    let (prompt, wanted) = questions();
    let mut learner = Learner::new(load(&path), FRESH).unwrap();
    for _ in 0..3 {
        learner.learn(&prompt, &wanted, 0.01).unwrap();
    }
    learner.save(adapter.path(), false).unwrap();
    as_checkpoint(&path, &learner.model.llama.config, base.path());
    let expected = Expected::read();
    let learned: Vec<Vec<f32>> = learner.logits(&expected.prompt(), None).unwrap().to_vec2().unwrap();
    let asked: Vec<Vec<u32>> =
        expected.prompt().items.iter().map(|item| [&expected.prefix[..], item].concat()).collect();
    let script = fixture("../phi3_peft.py");
    let mut peft = Command::new(python)
        .args([&script, base.path(), adapter.path()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    write!(peft.stdin.take().unwrap(), "{}", json!(asked)).unwrap();
    let answered = peft.wait_with_output().unwrap();
    assert!(answered.status.success());
    let theirs: Vec<Vec<f32>> = serde_json::from_slice(&answered.stdout).unwrap();
    let apart = largest_difference(&learned, &theirs);
    println!("largest difference of logits from PEFT: {apart:e}");
    assert!(apart < 1e-4, "{apart}");
    // And the adapter changes them.
    assert!(largest_difference(&theirs, &logits(&load(&path), &expected)) > 1e-3);
}

#[test]
fn every_variable_has_a_gradient_and_it_is_the_slope_of_the_loss() {
    let learner = plain();
    let (prompt, wanted) = questions();
    for dropout in [None, Some(Dropout { share: 0.1, seed: 3 })] {
        let (_, gradients) = learner.gradients(&prompt, &wanted, dropout).unwrap();
        assert_eq!(gradients.len(), 2 * 2 * 7);
        let loss = || {
            let logits = learner.logits(&prompt, dropout).unwrap();
            f64::from(learner.loss(&logits, &prompt, &wanted).unwrap().0.to_scalar::<f32>().unwrap())
        };
        for (variable, gradient) in learner.variables.all.iter().zip(&gradients) {
            let before = variable.value.as_tensor().copy().unwrap().detach();
            // Along the gradient itself, the loss rises by its squared length.
            let square = f64::from(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
            assert!(square > 1e-10, "{:?}: {square}", variable.place);
            let step = 0.004 / square.sqrt();
            let at = |by: f64| {
                variable.value.set(&(&before + (gradient * by).unwrap()).unwrap()).unwrap();
                loss()
            };
            let slope = (at(step) - at(-step)) / (2.0 * step);
            variable.value.set(&before).unwrap();
            assert!((slope / square - 1.0).abs() < 0.02, "{:?}: {slope} {square}", variable.place);
        }
    }
}

/// One number by itself, of A and of B.
#[test]
fn the_gradient_of_one_weight_is_a_finite_difference() {
    let learner = plain();
    let (prompt, wanted) = questions();
    let (_, gradients) = learner.gradients(&prompt, &wanted, None).unwrap();
    for at in [0, 1, 14, 27] {
        let (variable, gradient) = (&learner.variables.all[at], &gradients[at]);
        let before: Vec<f32> = values(&learner)[at].clone();
        let slopes: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        let largest = (0..slopes.len()).max_by(|a, b| slopes[*a].abs().total_cmp(&slopes[*b].abs())).unwrap();
        let loss = |by: f32| {
            let mut after = before.clone();
            after[largest] += by;
            variable.value.set(&Tensor::from_vec(after, variable.value.shape(), &Device::Cpu).unwrap()).unwrap();
            let logits = learner.logits(&prompt, None).unwrap();
            learner.loss(&logits, &prompt, &wanted).unwrap().0.to_scalar::<f32>().unwrap()
        };
        let slope = (loss(0.01) - loss(-0.01)) / 0.02;
        loss(0.0);
        assert!((slope / slopes[largest] - 1.0).abs() < 0.03, "{:?}: {slope} {}", variable.place, slopes[largest]);
    }
}

/// The loss falls, and the adapter then answers the same where it is served; of a base in 4 bits as well.
#[test]
fn what_is_learned_is_served() {
    let (prompt, wanted) = questions();
    let dir = TempDir::new().unwrap();
    for (file, most) in [("f32.gguf", 1e-4), ("q4_k.gguf", 0.05)] {
        let mut learner = Learner::new(load(&fixture(file)), FRESH).unwrap();
        let first = learner.learn(&prompt, &wanted, 0.0).unwrap();
        let mut last = first;
        for _ in 0..60 {
            last = learner.learn(&prompt, &wanted, 0.01).unwrap();
        }
        // The least there is: the answers' own entropy.
        let least = -(0.7f64.ln() * 0.7 + (0.3f64 / 9.0).ln() * 0.3);
        println!("{file}: {first:?} {last:?}, least {least}");
        assert!(last.labels - least < (first.labels - least) / 4.0 && last.all < first.all / 2.0, "{file}");
        assert!(last.labels >= least - 1e-3);
        let learned: Vec<Vec<f32>> = learner.logits(&Expected::read().prompt(), None).unwrap().to_vec2().unwrap();
        for (half, most) in [(false, most), (true, most + 0.05)] {
            learner.save(dir.path(), half).unwrap();
            let mut model = load(&fixture(file));
            model.set_adapter(Some(dir.path())).unwrap();
            let difference = largest_difference(&logits(&model, &Expected::read()), &learned);
            println!("{file}, half {half}: {difference:e}");
            assert!(difference < most, "{file}, half {half}: {difference}");
        }
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_result() {
    let (prompt, wanted) = questions();
    let dir = TempDir::new().unwrap();
    let (path, about) = (dir.path().join("checkpoint"), About::from([("batch".into(), "4".into())]));
    let mut whole = fresh();
    for step in 0..6 {
        if step == 3 {
            whole.keep(&path, &about).unwrap();
        }
        whole.learn(&prompt, &wanted, 0.01).unwrap();
    }
    let mut rest = fresh();
    rest.resume(&path, &about).unwrap();
    assert_eq!(rest.steps(), 3);
    for _ in 3..6 {
        rest.learn(&prompt, &wanted, 0.01).unwrap();
    }
    assert!(values(&whole) == values(&rest));
}

#[test]
fn checkpoints_of_other_runs_are_refused_and_nothing_changes() {
    let (prompt, wanted) = questions();
    let dir = TempDir::new().unwrap();
    let (path, about) = (dir.path().join("checkpoint"), About::from([("batch".into(), "4".into())]));
    let mut learner = fresh();
    learner.learn(&prompt, &wanted, 0.01).unwrap();
    learner.keep(&path, &about).unwrap();
    let before = values(&learner);
    let refused = |learner: &mut Learner, about: &About| learner.resume(&path, about).unwrap_err().to_string();
    let other = About::from([("batch".into(), "8".into())]);
    let message = refused(&mut learner, &other);
    assert!(message.contains("its batch is 4, and this run's is 8") && message.contains("another folder"), "{message}");
    let mut of_rank = Learner::new(load(&fixture("f32.gguf")), LoraSettings { rank: 4, ..FRESH }).unwrap();
    assert!(refused(&mut of_rank, &about).contains("its adapter is LoraSettings { rank: 8"));
    let mut of_model = Learner::new(load(&fixture("q8_0.gguf")), FRESH).unwrap();
    assert!(refused(&mut of_model, &about).contains("its model is LlamaConfig"));
    let whole = fs::read(&path).unwrap();
    for length in [0, 7, 100, whole.len() / 2] {
        fs::write(&path, &whole[..length]).unwrap();
        let message = refused(&mut learner, &about);
        assert!(message.contains("damaged"), "{length}: {message}");
    }
    assert!(values(&learner) == before);
}

#[test]
fn adapters_of_another_rank_are_no_beginning() {
    let options = LoadOptions { adapter: Some(fixture("patterns")), ..LoadOptions::default() };
    let model = LocalModel::load(&fixture("f32.gguf"), &options).unwrap();
    let refused = Learner::new(model, PLAIN).err().unwrap().to_string();
    assert!(refused.contains("is not of rank 4"), "{refused}");
}

#[test]
fn questions_that_cannot_be_learned_are_refused() {
    let (prompt, wanted) = questions();
    let mut learner = fresh();
    let mut refused =
        |prompt: &Prompt, wanted: &[Vec<f32>]| learner.learn(prompt, wanted, 0.1).unwrap_err().to_string();
    assert!(refused(&prompt, &wanted[1..]).contains("4 items of 10 labels"));
    assert!(refused(&prompt, &vec![vec![0.5; 10]; 4]).contains("sum to 1"));
    assert!(refused(&Prompt { prefix: Vec::new(), ..prompt.clone() }, &wanted).contains("a prefix and an item"));
}

/// The adapter in the repository fits the model that its card names.
#[test]
fn the_published_adapter_fits_its_model() {
    let dir = fixture("../../../trainer/adapters/smollm2-135m");
    let config = LlamaConfig {
        architecture: &ARCHITECTURES[0],
        layers: 30,
        hidden: 576,
        feed_forward: 1536,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        vocabulary: 49_152,
        context: 8192,
        rope: Rope { turned: 64, base: 1e5, divisor: 1.0, yarn: None, magnitude: 1.0 },
        norm_epsilon: 1e-5,
        window: None,
        scales: Scales { embedding: 1.0, residual: 1.0, attention: 0.125, logits: 1.0 },
        factors: None,
    };
    let adapter = lora::load(&dir, &config, &Device::Cpu).unwrap();
    let deltas = (0..config.layers).flat_map(|layer| Projection::ALL.map(|it| adapter.delta(layer, it).unwrap()));
    for delta in deltas {
        let sum = delta.up.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(delta.down.dims()[1] == 8 && sum > 0.0 && sum.is_finite());
    }
    let bytes = fs::metadata(dir.join("adapter_model.safetensors")).unwrap().len();
    assert!(bytes < 6_000_000, "{bytes}");
}
