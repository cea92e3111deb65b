//! Items per second of the local model, against llama.cpp on the same file in turns: `cargo xtask bench model`.
//!
//! The file is that of `file`. llama.cpp is measured where `ACCEL_LLAMA_CPP_PYTHON` names a Python that
//! has llama-cpp-python (`pip install llama-cpp-python`).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use accel_model::{LoadOptions, LocalModel, Prompt};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

mod file;

use file::VOCABULARY;

const PREFIX: usize = 200;
const ITEM: usize = 30;
const ITEMS: usize = 32;
/// Full prompts are slow, so fewer are asked.
const FULL_PROMPTS: usize = 6;
const ROUNDS: usize = 5;

fn main() {
    let path = file::model_file(Path::new(env!("CARGO_TARGET_TMPDIR")));
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
