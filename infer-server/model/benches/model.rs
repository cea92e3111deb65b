//! Items per second of the local model, against llama.cpp on the same file in turns: `cargo xtask bench model`.
//!
//! The file has the exact shapes of Mistral-7B cut to two layers, random weights and the types of Q4_K_M. It is made
//! once, in cargo's folder for such things. llama.cpp is measured where `ACCEL_LLAMA_CPP_PYTHON` names a Python that
//! has llama-cpp-python (`pip install llama-cpp-python`).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::borrow::Cow;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use accel_model::{LoadOptions, LocalModel, Prompt};
use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::f16;
use rand::rngs::ChaCha8Rng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// `config.json` of mistralai/Mistral-7B-Instruct-v0.2, but for the layers.
const HIDDEN: usize = 4096;
const FEED_FORWARD: usize = 14_336;
const KV: usize = 1024;
const VOCABULARY: usize = 32_000;
const LAYERS: usize = 2;
const PREFIX: usize = 200;
const ITEM: usize = 30;
const ITEMS: usize = 32;
/// Full prompts are slow, so fewer are asked.
const FULL_PROMPTS: usize = 6;
const ROUNDS: usize = 5;

fn main() {
    let path = model_file();
    let file_bytes = fs::metadata(&path).unwrap().len();
    let began = Instant::now();
    let mut model = LocalModel::load(&path, &LoadOptions::default()).unwrap();
    println!("loaded in {:.2} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    model.warm_up().unwrap();
    println!("warmed up in {:.2} s", began.elapsed().as_secs_f64());
    if let Some(resident) = resident_bytes() {
        println!("resident: {:.2} times the file's {file_bytes} bytes", resident / file_bytes as f64);
    }

    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut tokens =
        |count: usize| -> Vec<u32> { (0..count).map(|_| rng.random_range(300..VOCABULARY as u32)).collect() };
    let prefix = tokens(PREFIX);
    let items: Vec<Vec<u32>> = (0..ITEMS).map(|_| tokens(ITEM)).collect();
    let labels: Vec<u32> = (300..310).collect();
    let packed = Prompt { prefix: prefix.clone(), items: items.clone(), labels: labels.clone() };
    let alone: Vec<Prompt> = items.iter().map(|item| Prompt { items: vec![item.clone()], ..packed.clone() }).collect();
    let full: Vec<Prompt> = items[..FULL_PROMPTS]
        .iter()
        .map(|item| Prompt { prefix: vec![], items: vec![[&prefix[..], item].concat()], labels: labels.clone() })
        .collect();
    let threads = std::thread::available_parallelism().unwrap().get();
    let mut llama_cpp = LlamaCpp::start(&path, threads, &packed);

    let mut ask = |prompts: &[Prompt]| -> (f64, Vec<f32>) {
        let began = Instant::now();
        let answers: Vec<_> = prompts.iter().flat_map(|prompt| model.score(prompt, &|| false).unwrap()).collect();
        (answers.len() as f64 / began.elapsed().as_secs_f64(), answers[0].clone())
    };
    // The prefix is kept from here on, as llama.cpp keeps it.
    ask(&alone[..1]);
    let mut rates: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        let (rate, first) = ask(std::slice::from_ref(&packed));
        rates[0].push(rate);
        rates[1].push(ask(&alone).0);
        rates[2].push(ask(&full).0);
        if let Some(llama_cpp) = &mut llama_cpp {
            for (way, rates) in ["cached", "packed"].into_iter().zip(&mut rates[3..]) {
                let (seconds, theirs) = llama_cpp.round(way);
                rates.push(ITEMS as f64 / seconds);
                let difference = first.iter().zip(theirs).map(|(a, b)| (a.exp() - b.exp()).abs()).fold(0.0, f32::max);
                assert!(difference < 0.02, "the two answer differently: {difference}");
            }
        }
    }
    let names = [
        "packed",
        "one by one behind the kept prefix",
        "one by one, full prompts",
        "llama.cpp, prefix kept",
        "llama.cpp, prefix shared, items in one batch",
    ];
    let median = |rates: &Vec<f64>| {
        let mut sorted = rates.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    };
    println!("{ITEMS} items of {ITEM} tokens behind {PREFIX}, {threads} threads, median of {ROUNDS} rounds in turns:");
    let ours = median(&rates[0]).unwrap();
    for (name, rates) in names.into_iter().zip(&rates) {
        let Some(rate) = median(rates) else { continue };
        let (least, most) = rates.iter().fold((f64::MAX, 0.0f64), |(a, b), rate| (a.min(*rate), b.max(*rate)));
        println!("{rate:7.2} items/s ({least:.2} to {most:.2}); packed is {:.2} times that: {name}", ours / rate);
    }
}

/// Bytes of memory that the process holds, as Linux counts them.
fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

struct LlamaCpp {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl LlamaCpp {
    fn start(path: &Path, threads: usize, prompt: &Prompt) -> Option<Self> {
        let Some(python) = std::env::var_os("ACCEL_LLAMA_CPP_PYTHON") else {
            println!("llama.cpp is left out: name a Python with llama-cpp-python in ACCEL_LLAMA_CPP_PYTHON");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/with_llama_cpp.py");
        let prompt = serde_json::json!({ "prefix": prompt.prefix, "items": prompt.items, "labels": prompt.labels });
        let mut child = Command::new(python)
            .arg(script)
            .arg(path)
            .args([threads.to_string(), prompt.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut this = Self { child, answers };
        assert_eq!(this.line().trim(), "ready");
        Some(this)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }

    /// Seconds for all items, and the first one's answer.
    fn round(&mut self, way: &str) -> (f64, Vec<f32>) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{way}").unwrap();
        let answer: serde_json::Value = serde_json::from_str(&self.line()).unwrap();
        let first = answer["first"].as_array().unwrap().iter().map(|log| log.as_f64().unwrap() as f32).collect();
        (answer["seconds"].as_f64().unwrap(), first)
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The file, made unless it is there.
fn model_file() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistral-7b-2-layers-q4_k_m.gguf");
    if path.is_file() {
        return path;
    }
    println!("making {}", path.display());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let mut add = |name: String, dtype, rows, columns| tensors.push((name, random(&mut rng, dtype, rows, columns)));
    add("token_embd.weight".into(), GgmlDType::Q4K, VOCABULARY, HIDDEN);
    add("output.weight".into(), GgmlDType::Q6K, VOCABULARY, HIDDEN);
    add("output_norm.weight".into(), GgmlDType::F32, 1, HIDDEN);
    for layer in 0..LAYERS {
        // Q4_K_M gives half of the layers six bits in these two.
        let more = if layer % 2 == 0 { GgmlDType::Q4K } else { GgmlDType::Q6K };
        for (name, dtype, rows, columns) in [
            ("attn_q", GgmlDType::Q4K, HIDDEN, HIDDEN),
            ("attn_k", GgmlDType::Q4K, KV, HIDDEN),
            ("attn_v", more, KV, HIDDEN),
            ("attn_output", GgmlDType::Q4K, HIDDEN, HIDDEN),
            ("ffn_gate", GgmlDType::Q4K, FEED_FORWARD, HIDDEN),
            ("ffn_up", GgmlDType::Q4K, FEED_FORWARD, HIDDEN),
            ("ffn_down", more, HIDDEN, FEED_FORWARD),
            ("attn_norm", GgmlDType::F32, 1, HIDDEN),
            ("ffn_norm", GgmlDType::F32, 1, HIDDEN),
        ] {
            add(format!("blk.{layer}.{name}.weight"), dtype, rows, columns);
        }
    }
    let metadata = metadata();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let part = path.with_extension("part");
    gguf_file::write(&mut fs::File::create(&part).unwrap(), &metadata, &tensors).unwrap();
    fs::rename(part, &path).unwrap();
    path
}

/// Blocks of random numbers around 0 whose deviation keeps activations as large as they are.
fn random(rng: &mut ChaCha8Rng, dtype: GgmlDType, rows: usize, columns: usize) -> QTensor {
    if dtype == GgmlDType::F32 {
        let ones: Vec<u8> = std::iter::repeat_n(1f32.to_le_bytes(), columns).flatten().collect();
        return QTensor::new(QStorage::from_data(Cow::Owned(ones), &Device::Cpu, dtype).unwrap(), columns).unwrap();
    }
    let deviation = (columns as f32).powf(-0.5);
    let mut data = vec![0u8; rows * columns / dtype.block_size() * dtype.type_size()];
    rng.fill_bytes(&mut data);
    for block in data.chunks_exact_mut(dtype.type_size()) {
        match dtype {
            // q is uniform in 0..16, of deviation 4.61 around 7.5. All sub-blocks have the scale 8 and the minimum 8.
            GgmlDType::Q4K => {
                let scale = deviation / 4.61 / 8.0;
                block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
                block[2..4].copy_from_slice(&f16::from_f32(7.5 * scale).to_le_bytes());
                block[4..12].fill(8);
                block[12..16].fill(0x88);
            }
            // q is uniform in -32..32, of deviation 18.5.
            GgmlDType::Q6K => {
                block[192..208].fill(1);
                block[208..].copy_from_slice(&f16::from_f32(deviation / 18.5).to_le_bytes());
            }
            other => panic!("{other:?} is not made"),
        }
    }
    QTensor::new(QStorage::from_data(Cow::Owned(data), &Device::Cpu, dtype).unwrap(), (rows, columns)).unwrap()
}

fn metadata() -> Vec<(&'static str, Value)> {
    let number = |n: usize| Value::U32(n as u32);
    let list = |value: &dyn Fn(usize) -> Value| Value::Array((0..VOCABULARY).map(value).collect());
    vec![
        ("general.architecture", Value::String("llama".into())),
        ("general.name", Value::String("Mistral-7B cut to 2 layers, random".into())),
        ("llama.block_count", number(LAYERS)),
        ("llama.context_length", number(32_768)),
        ("llama.embedding_length", number(HIDDEN)),
        ("llama.feed_forward_length", number(FEED_FORWARD)),
        ("llama.attention.head_count", number(32)),
        ("llama.attention.head_count_kv", number(8)),
        ("llama.rope.dimension_count", number(128)),
        ("llama.rope.freq_base", Value::F32(1e6)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", Value::String("llama".into())),
        ("tokenizer.ggml.tokens", list(&|id| Value::String(token(id)))),
        ("tokenizer.ggml.scores", list(&|id| Value::F32(-(id as f32)))),
        (
            "tokenizer.ggml.token_type",
            list(&|id| {
                Value::I32(if id < 1 {
                    2
                } else if id < 3 {
                    3
                } else if id < 259 {
                    6
                } else {
                    1
                })
            }),
        ),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
        ("tokenizer.ggml.unknown_token_id", number(0)),
    ]
}

fn token(id: usize) -> String {
    match id {
        0 => "<unk>".into(),
        1 => "<s>".into(),
        2 => "</s>".into(),
        3..259 => format!("<0x{:02X}>", id - 3),
        _ => format!("t{id}"),
    }
}
