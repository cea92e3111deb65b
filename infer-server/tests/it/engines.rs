//! Real engines against the local model, on one file: the same question, the same distribution.
//!
//! Run where the engines are: `ACCEL_LLAMA_CPP_PYTHON` names a Python with `llama-cpp-python[server]`, and
//! `ACCEL_LLAMA_SERVER` llama.cpp's own `llama-server`. Where neither is named, there is nothing to compare with.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use accel_model::client::builder;
use accel_model::{LoadOptions, loader};
use infer_server::scoring::queue::{self, Queue};
use infer_server::scoring::remote::{Client, Kind, Options};
use infer_server::scoring::{Backend, Common, ItemScore, Limits, Patience, ScoreRequest, Scoring};

use crate::common::eventually;

struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Unquantised, so that what differs is what was asked and not how weights are rounded; that, the model's own tests compare.
fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mistral/f32.gguf")
}

/// In a model that nobody trained, the byte of a digit may be likelier than the digit, and an engine that answers by text
/// cannot tell them apart; so the labels are texts of one token only.
fn question() -> ScoreRequest {
    let items = (0..40).map(|i| format!("tensor {i} of {} bytes: ", 1000 * i)).collect();
    let labels = ["er", "on", "de", "ize", "gain", "one"].map(str::to_owned).to_vec();
    ScoreRequest { query: "How soon is it used again?\n".into(), items, labels }
}

async fn local() -> Vec<ItemScore> {
    let common = Common::in_memory(Limits::default());
    let loader = loader(model(), LoadOptions::default()).unwrap();
    let queue = Queue::start(loader, queue::Options::default(), &common).unwrap();
    Scoring::new(Backend::Local(queue), common).score(question(), Patience::Job).await.unwrap()
}

/// Starts `command` on a free port and asks it, once it answers.
async fn remote(mut command: Command, kind: Kind) -> Vec<ItemScore> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    command.args(["--port", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let _engine = Engine(command.spawn().unwrap());
    let url = format!("http://127.0.0.1:{port}");
    let http = builder().build().unwrap();
    let answers = async || http.get(format!("{url}/v1/models")).send().await;
    eventually(async || answers().await.is_ok_and(|answer| answer.status().is_success())).await;
    let common = Common::in_memory(Limits::default());
    let options = Options {
        url,
        kind,
        model: "tiny".into(),
        key: None,
        concurrency: 2,
        timeout: Duration::from_secs(300),
        retries: 2,
    };
    let client = Client::new(options, &common.limits, common.metrics.clone()).unwrap();
    let scoring = Scoring::new(Backend::Remote(Box::new(client)), common);
    scoring.score(question(), Patience::Job).await.unwrap()
}

fn compare(engine: &str, local: &[ItemScore], remote: &[ItemScore]) {
    assert_eq!(local.len(), remote.len());
    let (mut apart, mut mass) = (0f64, 0f64);
    for (ours, theirs) in local.iter().zip(remote) {
        let pairs = ours.probabilities.iter().zip(&theirs.probabilities);
        apart = pairs.map(|(a, b)| (a - b).abs()).fold(apart, f64::max);
        mass = mass.max((ours.label_mass.unwrap() - theirs.label_mass.unwrap()).abs());
    }
    println!("{engine}: probabilities at most {apart:.5} apart, label mass {mass:.5}");
    assert!(apart < 0.02 && mass < 0.02);
}

#[tokio::test]
async fn real_engines_answer_as_the_local_model_does() {
    let python = std::env::var("ACCEL_LLAMA_CPP_PYTHON").ok();
    let server = std::env::var("ACCEL_LLAMA_SERVER").ok();
    if python.is_none() && server.is_none() {
        println!("skipped: neither ACCEL_LLAMA_CPP_PYTHON nor ACCEL_LLAMA_SERVER names an engine");
        return;
    }
    let ours = local().await;
    let file = model();
    let file = file.to_str().unwrap();
    if let Some(python) = python {
        let mut command = Command::new(python);
        command.args(["-m", "llama_cpp.server", "--logits_all", "true", "--n_ctx", "256", "--model", file]);
        compare("llama-cpp-python", &ours, &remote(command, Kind::Openai).await);
    }
    if let Some(server) = server {
        let mut command = Command::new(server);
        command.args(["--ctx-size", "512", "--parallel", "2", "--model", file]);
        compare("llama-server", &ours, &remote(command, Kind::LlamaCpp).await);
    }
}
