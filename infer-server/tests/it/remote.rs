//! Clients of remote engines, against stand-ins that speak their wire formats and have their faults. Real engines:
//! `engines.rs`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use infer_server::health::Health;
use infer_server::scoring::remote::{Client, Kind, Options, Secret};
use infer_server::scoring::{Backend, Common, Limits, Scoring};
use infer_server::service::{Config, router};
use serde_json::{Value, json};

use crate::common::{Answer, HANGS_AFTER, check, expected, limits, question, send};

/// A fault of the next call to the model.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Status(u16, Option<&'static str>),
    /// It never answers.
    Silent,
    Cut,
    NotJson,
    OtherJson,
    MissingLabel,
    /// The likeliest token is a piece of a character: llama.cpp's server holds its text back, and its probabilities.
    Piece,
    /// Log probabilities that no distribution has: this one for every label.
    LogProb(f32),
}

/// How the stand-in speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dialect {
    Vllm,
    /// Refuses `logprob_token_ids`.
    VllmRefusing,
    /// Ignores it, and gives shares of the labels alone.
    VllmIgnoring,
    LlamaCpp,
    LlamaCppOlder,
    Openai,
}

/// An engine: one token a byte, but for "ab", which is one token, and answers as the fake model's.
#[derive(Debug)]
struct Engine {
    dialect: Dialect,
    faults: Mutex<VecDeque<Fault>>,
    /// Said of every label in the place of what it should be.
    log_prob: Mutex<Option<f32>>,
    /// Labels are not among the likeliest tokens unless more than so many are asked for.
    hidden_below: AtomicUsize,
    calls: AtomicUsize,
    tokenised: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    prompts: AtomicUsize,
    /// What its model is called in its list of models.
    root: Mutex<&'static str>,
}

/// The list of models, in which the time passes.
async fn models(State(engine): State<Arc<Engine>>) -> Response {
    let created = engine.calls.load(SeqCst);
    let model = json!({"id": "m", "object": "model", "created": created, "root": *engine.root.lock().unwrap()});
    axum::Json(json!({"object": "list", "data": [model]})).into_response()
}

fn tokens(text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        (tokens, rest) = match rest.strip_prefix(b"ab") {
            Some(after) => ([tokens, vec![300]].concat(), after),
            None => ([tokens, vec![u32::from(*first)]].concat(), after),
        };
    }
    tokens
}

fn text(tokens: &Value) -> String {
    let byte = |token: &Value| {
        if token == 300 { "ab".to_owned() } else { char::from(token.as_u64().unwrap() as u8).to_string() }
    };
    tokens.as_array().unwrap().iter().map(byte).collect()
}

/// What the engine says of a token after a prompt.
fn log_prob(engine: &Engine, prompt: &str, label: &str) -> f32 {
    let (query, item) = prompt.split_once('\n').unwrap();
    engine.log_prob.lock().unwrap().unwrap_or_else(|| expected(&format!("{query}\n"), item, label, None))
}

async fn serve(
    State(engine): State<Arc<Engine>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(headers["authorization"], "Bearer engine key");
    let body: Value = serde_json::from_slice(&body).unwrap();
    let dialect = engine.dialect;
    match path.as_str() {
        "tokenize" => {
            engine.tokenised.fetch_add(1, SeqCst);
            let text = match dialect {
                Dialect::LlamaCpp | Dialect::LlamaCppOlder => {
                    assert_eq!((&body["add_special"], &body["parse_special"]), (&json!(true), &json!(false)));
                    &body["content"]
                }
                _ => {
                    assert_eq!((&body["model"], &body["add_special_tokens"]), (&json!("m"), &json!(true)));
                    &body["prompt"]
                }
            };
            return axum::Json(json!({ "tokens": tokens(text.as_str().unwrap()) })).into_response();
        }
        "v1/completions" | "completion" => {}
        _ => return StatusCode::NOT_FOUND.into_response(),
    }
    engine.calls.fetch_add(1, SeqCst);
    let now = engine.at_once.fetch_add(1, SeqCst) + 1;
    engine.most_at_once.fetch_max(now, SeqCst);
    tokio::time::sleep(Duration::from_millis(2)).await;
    engine.at_once.fetch_sub(1, SeqCst);
    let fault = engine.faults.lock().unwrap().pop_front();
    match fault {
        Some(Fault::Status(status, retry_after)) => {
            let status = StatusCode::from_u16(status).unwrap();
            let headers = retry_after.map(|after| [("retry-after", after)]);
            return (status, headers.map(IntoResponse::into_response), "the engine's complaint").into_answer();
        }
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::Cut) => {
            let start = async { Ok::<_, std::io::Error>(Bytes::from("{\"choices\":[")) };
            let end = async { Err(std::io::Error::other("cut")) };
            use futures_util::stream::{self, StreamExt as _};
            return Body::from_stream(stream::once(start).chain(stream::once(end))).into_response();
        }
        Some(Fault::NotJson) => return "<html>".into_response(),
        Some(Fault::OtherJson) => return axum::Json(json!({"object": "error"})).into_response(),
        Some(Fault::MissingLabel | Fault::Piece | Fault::LogProb(_)) | None => {}
    }
    if matches!(fault, Some(Fault::Piece)) && body.get("logit_bias").is_none() {
        // Until it is asked to say something else.
        engine.faults.lock().unwrap().push_front(Fault::Piece);
        return axum::Json(json!({"content": "\u{fffd}", "stop": true})).into_response();
    }
    let missing = matches!(fault, Some(Fault::MissingLabel));
    *engine.log_prob.lock().unwrap() = match fault {
        Some(Fault::LogProb(log_prob)) => Some(log_prob),
        _ => None,
    };
    match dialect {
        Dialect::Vllm | Dialect::VllmRefusing | Dialect::VllmIgnoring => vllm(&engine, &body, missing),
        Dialect::LlamaCpp | Dialect::LlamaCppOlder => llama_cpp(&engine, &body, missing),
        Dialect::Openai => openai(&engine, &body, missing),
    }
}

trait IntoAnswer {
    fn into_answer(self) -> Response;
}

impl IntoAnswer for (StatusCode, Option<Response>, &'static str) {
    fn into_answer(self) -> Response {
        let mut response = (self.0, self.2).into_response();
        if let Some(headers) = self.1 {
            response.headers_mut().extend(headers.headers().clone());
        }
        response
    }
}

fn vllm(engine: &Engine, body: &Value, missing: bool) -> Response {
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!("m"), &json!(1)));
    assert_eq!((&body["temperature"], &body["return_tokens_as_token_ids"]), (&json!(0), &json!(true)));
    let by_id = body.get("logprob_token_ids");
    if by_id.is_some() && engine.dialect == Dialect::VllmRefusing {
        let complaint = json!({"object": "error", "message": "Extra inputs are not permitted: logprob_token_ids"});
        return (StatusCode::BAD_REQUEST, axum::Json(complaint)).into_response();
    }
    let known = by_id.filter(|_| engine.dialect == Dialect::Vllm);
    let labels = known.or(body.get("allowed_token_ids"));
    let of_labels = known.is_none();
    let prompts = body["prompt"].as_array().unwrap();
    engine.prompts.fetch_add(prompts.len(), SeqCst);
    let mut choices: Vec<Value> = prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| {
            let prompt = text(prompt);
            let mut top = serde_json::Map::new();
            top.insert("token_id:999".into(), json!(-0.1));
            let named: Vec<&Value> = labels.map_or(Vec::new(), |l| l.as_array().unwrap().iter().collect());
            let all: f32 = named.iter().map(|l| log_prob(engine, &prompt, &text(&json!([l]))).exp()).sum();
            for label in named.iter().skip(usize::from(missing)) {
                let log_prob =
                    log_prob(engine, &prompt, &text(&json!([label]))) - if of_labels { all.ln() } else { 0.0 };
                top.insert(format!("token_id:{label}"), json!(log_prob));
            }
            json!({"index": index, "text": "x", "logprobs": {"tokens": ["token_id:999"], "top_logprobs": [top]}})
        })
        .collect();
    // The order is not promised.
    choices.reverse();
    axum::Json(json!({"object": "text_completion", "choices": choices})).into_response()
}

fn llama_cpp(engine: &Engine, body: &Value, missing: bool) -> Response {
    assert_eq!(
        (&body["n_predict"], &body["temperature"], &body["cache_prompt"]),
        (&json!(1), &json!(-1), &json!(true))
    );
    engine.prompts.fetch_add(1, SeqCst);
    let prompt = text(&body["prompt"]);
    let shown = body["n_probs"].as_u64().unwrap() as usize > engine.hidden_below.load(SeqCst);
    let labels = if shown { &["a", "b"][usize::from(missing)..] } else { &[] };
    let other = [("z", -0.1)].into_iter();
    let all = other.chain(labels.iter().map(|label| (*label, log_prob(engine, &prompt, label))));
    let position = if engine.dialect == Dialect::LlamaCpp {
        let top: Vec<Value> = all
            .map(|(token, logprob)| json!({"id": token.as_bytes()[0], "token": token, "bytes": token.as_bytes(), "logprob": logprob}))
            .collect();
        json!({"id": 122, "token": "z", "bytes": [122], "logprob": -0.1, "top_logprobs": top})
    } else {
        let probs: Vec<Value> = all.map(|(token, p)| json!({"tok_str": token, "prob": p.exp()})).collect();
        json!({"content": "z", "probs": probs})
    };
    axum::Json(json!({"content": "z", "stop": true, "completion_probabilities": [position]})).into_response()
}

fn openai(engine: &Engine, body: &Value, missing: bool) -> Response {
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!("m"), &json!(1)));
    engine.prompts.fetch_add(1, SeqCst);
    let most = body["logprobs"].as_u64().unwrap() as usize;
    if most > 1024 {
        return (StatusCode::BAD_REQUEST, "logprobs is at most 1024").into_response();
    }
    let prompt = body["prompt"].as_str().unwrap();
    let shown = most > engine.hidden_below.load(SeqCst);
    let labels = if shown { &["a", "b"][usize::from(missing)..] } else { &[] };
    // Other tokens around them, some without a text of their own, and a twin with the text of each label below it.
    let others = (0..600).map(|i| {
        let text = if i % 10 == 0 { String::new() } else { format!("other {i}") };
        (text, -0.1 - 0.01 * i as f32)
    });
    let both = labels.iter().flat_map(|label| {
        let log_prob = log_prob(engine, prompt, label);
        [((*label).to_owned(), log_prob), ((*label).to_owned(), log_prob - 0.033)]
    });
    let mut all: Vec<(String, f32)> = others.chain(both).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    // As a map, of which the unlikelier ones remain.
    let top: serde_json::Map<_, _> = all.into_iter().take(most).map(|(text, p)| (text, json!(p))).collect();
    axum::Json(json!({"choices": [{"index": 0, "text": "z", "logprobs": {"top_logprobs": [top]}}]})).into_response()
}

struct Stand {
    engine: Arc<Engine>,
    scoring: Scoring,
    service: Router,
}

impl Stand {
    async fn ask(&self, body: String) -> Answer {
        send(self.service.clone(), Request::post("/v1/score").body(Body::from(body)).unwrap()).await
    }

    fn faults(&self, faults: &[Fault]) {
        self.engine.calls.store(0, SeqCst);
        self.engine.faults.lock().unwrap().extend(faults);
    }
}

async fn stand(dialect: Dialect, limits: Limits) -> Stand {
    stand_with(dialect, limits, |options| options).await
}

/// A stand-in, and a service that asks it in another way than usual.
async fn stand_with(dialect: Dialect, limits: Limits, otherwise: impl Fn(Options) -> Options) -> Stand {
    let engine = Arc::new(Engine {
        dialect,
        faults: Mutex::default(),
        log_prob: Mutex::default(),
        hidden_below: AtomicUsize::new(0),
        calls: AtomicUsize::new(0),
        tokenised: AtomicUsize::new(0),
        at_once: AtomicUsize::new(0),
        most_at_once: AtomicUsize::new(0),
        prompts: AtomicUsize::new(0),
        root: Mutex::new("one"),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/models", get(models)).route("/{*path}", post(serve));
    let app = app.with_state(Arc::clone(&engine));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let kind = match dialect {
        Dialect::Vllm | Dialect::VllmRefusing | Dialect::VllmIgnoring => Kind::Vllm,
        Dialect::LlamaCpp | Dialect::LlamaCppOlder => Kind::LlamaCpp,
        Dialect::Openai => Kind::Openai,
    };
    let options = Options { key: Some(Secret("engine key".into())), ..options(url, kind) };
    let scoring = scoring(otherwise(options), limits);
    Stand { engine, service: service(scoring.clone()), scoring }
}

fn options(url: String, kind: Kind) -> Options {
    Options { url, kind, model: "m".into(), key: None, concurrency: 3, timeout: HANGS_AFTER, retries: 2 }
}

fn scoring(options: Options, limits: Limits) -> Scoring {
    let common = Common::in_memory(limits);
    let client = Client::new(options, &common.limits, common.metrics.clone()).unwrap();
    Scoring::new(Backend::Remote(Box::new(client)), common)
}

fn service(scoring: Scoring) -> Router {
    router(&Config { scoring, ..Config::default() }, Health::default())
}

fn items(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("item {i} is: ")).collect()
}

/// What was kept is not the answer of a model that took the place of the one that gave it.
#[tokio::test]
async fn another_model_under_the_same_name_is_asked_again() {
    let stand = stand(Dialect::LlamaCpp, limits()).await;
    let asked = question("q\n", &items(2));
    let Backend::Remote(client) = stand.scoring.backend() else { panic!() };
    let ask = async |root| {
        *stand.engine.root.lock().unwrap() = root;
        // What it said in the last seconds counts; no test waits for their end.
        client.identity(true).await.unwrap();
        let before = stand.engine.prompts.load(SeqCst);
        assert_eq!(stand.ask(asked.clone()).await.status, 200);
        stand.engine.prompts.load(SeqCst) - before
    };
    assert_eq!((ask("one").await, ask("one").await, ask("two").await, ask("two").await), (2, 0, 2, 0));
    // Its answers are still those of the first one.
    assert_eq!(ask("one").await, 0);
}

#[tokio::test]
async fn every_dialect_gives_the_same_answers() {
    for dialect in [Dialect::Vllm, Dialect::VllmRefusing, Dialect::LlamaCpp, Dialect::LlamaCppOlder, Dialect::Openai] {
        let stand = stand(dialect, limits()).await;
        let items = items(70);
        let answer = stand.ask(question("q\n", &items)).await;
        assert_eq!(answer.status, 200, "{dialect:?}: {}", answer.text);
        let answer = answer.json();
        assert_eq!((&answer["scorer"], &answer["model"]), (&json!("remote"), &json!("m")));
        if dialect == Dialect::VllmRefusing {
            // Shares of the labels alone: how much they are of the whole is not known.
            assert!(answer["items"].as_array().unwrap().iter().all(|item| item["label_mass"].is_null()), "{answer}");
            continue;
        }
        check(&answer, "q\n", &items, None);
        let (asked, most) = (stand.engine.prompts.load(SeqCst), stand.engine.most_at_once.load(SeqCst));
        // Where texts are ambiguous, the same is asked again.
        let once = asked == 70 || dialect == Dialect::Openai;
        assert!(once && most <= 3, "{dialect:?}: {asked} prompts, {most} calls at once");
        // Half of it is known.
        let more = [&items[..35], &["new is: ".to_owned()]].concat();
        check(&stand.ask(question("q\n", &more)).await.json(), "q\n", &more, None);
        if dialect != Dialect::Openai {
            assert_eq!(stand.engine.prompts.load(SeqCst), 71);
            // One call per item, and once what the labels are after "is:".
            assert_eq!(stand.engine.tokenised.load(SeqCst), 71 + 3);
        }
    }
}

#[tokio::test]
async fn an_engine_that_ignores_what_it_does_not_know_is_asked_otherwise() {
    let stand = stand(Dialect::VllmIgnoring, limits()).await;
    let answer = stand.ask(question("q\n", &["x: "])).await.json();
    let p = ["a", "b"].map(|label| f64::from(expected("q\n", "x: ", label, None)).exp());
    let got = answer["items"][0]["probabilities"][0].as_f64().unwrap();
    assert!((got - p[0] / (p[0] + p[1])).abs() < 1e-6 && answer["items"][0]["label_mass"].is_null(), "{answer}");
    assert_eq!(stand.engine.calls.load(SeqCst), 2);
    // Once is enough to learn it.
    stand.ask(question("q\n", &["y: "])).await;
    assert_eq!(stand.engine.calls.load(SeqCst), 3);
}

#[tokio::test]
async fn a_label_that_is_left_out_is_asked_for_or_an_error_but_never_zero() {
    for dialect in [Dialect::LlamaCpp, Dialect::LlamaCppOlder, Dialect::Openai] {
        let stand = stand(dialect, limits()).await;
        stand.engine.hidden_below.store(300, SeqCst);
        check(&stand.ask(question("q\n", &["x: "])).await.json(), "q\n", &["x: "], None);
        stand.engine.hidden_below.store(usize::MAX, SeqCst);
        stand.ask(question("q\n", &["y: "])).await.refuses(502, "\"a\" is not among the");
    }
    let stand = stand(Dialect::Vllm, limits()).await;
    stand.faults(&[Fault::MissingLabel, Fault::MissingLabel]);
    stand.ask(question("q\n", &["x: "])).await.refuses(502, "leaves out the label \"a\"");
}

#[tokio::test]
async fn a_piece_of_a_character_does_not_hide_the_probabilities() {
    let stand = stand(Dialect::LlamaCpp, limits()).await;
    stand.faults(&[Fault::Piece]);
    check(&stand.ask(question("q\n", &["x: "])).await.json(), "q\n", &["x: "], None);
    assert_eq!(stand.engine.calls.load(SeqCst), 2);
    // The older form would give probabilities after the bias.
    let older = self::stand(Dialect::LlamaCppOlder, limits()).await;
    older.faults(&[Fault::Piece]);
    older.ask(question("q\n", &["x: "])).await.refuses(502, "December 2024");
}

#[tokio::test]
async fn what_is_no_distribution_is_the_engines_fault() {
    for dialect in [Dialect::Vllm, Dialect::LlamaCpp, Dialect::LlamaCppOlder, Dialect::Openai] {
        let stand = stand(dialect, limits()).await;
        for (log_prob, words) in [(0.5, "a log probability of"), (-0.2, "sum to 1.6")] {
            // Where texts are ambiguous, the same is asked again.
            stand.faults(&[Fault::LogProb(log_prob); 40]);
            let answer = stand.ask(question("q\n", &["x: "])).await;
            answer.refuses(502, words);
            answer.refuses(502, "items[0]");
            stand.engine.faults.lock().unwrap().clear();
        }
        // It was not kept.
        check(&stand.ask(question("q\n", &["x: "])).await.json(), "q\n", &["x: "], None);
    }
}

#[tokio::test]
async fn labels_are_checked_at_their_boundary() {
    for dialect in [Dialect::Vllm, Dialect::LlamaCpp] {
        let stand = stand(dialect, limits()).await;
        let ask = |item: &str, label: &str| stand.ask(json!({"items": [item], "labels": [label]}).to_string());
        ask("x: ", "xy").await.refuses(422, "\"xy\" is not one token of its own");
        // After "a", the label "b" melts into the token "ab".
        ask("x: a", "b").await.refuses(422, "\"b\" is not one token of its own after \"x: a\"");
        assert_eq!(stand.engine.calls.load(SeqCst), 0);
    }
}

#[tokio::test]
async fn faults_that_pass_are_tried_again() {
    for dialect in [Dialect::Vllm, Dialect::LlamaCpp, Dialect::Openai] {
        let stand = stand(dialect, limits()).await;
        for (i, faults) in [
            vec![Fault::Status(500, None), Fault::Status(503, None)],
            vec![Fault::Cut],
            vec![Fault::Status(429, Some("0")), Fault::Status(429, Some("1"))],
        ]
        .iter()
        .enumerate()
        {
            stand.faults(faults);
            let item = [format!("x{i}: ")];
            let answer = stand.ask(question("q\n", &item)).await;
            assert_eq!(answer.status, 200, "{dialect:?} {faults:?}: {}", answer.text);
            check(&answer.json(), "q\n", &item, None);
            let calls = stand.engine.calls.load(SeqCst);
            let enough = if dialect == Dialect::Openai { calls > faults.len() } else { calls == faults.len() + 1 };
            assert!(enough, "{dialect:?} {faults:?}: {calls} calls");
        }
        let metrics = send(stand.service.clone(), Request::get("/metrics").body(Body::empty()).unwrap()).await;
        assert!(metrics.text.contains("accel_remote_retries_total 5"), "{}", metrics.text);
    }
}

#[tokio::test]
async fn a_call_that_is_not_answered_is_repeated() {
    for dialect in [Dialect::Vllm, Dialect::LlamaCpp, Dialect::Openai] {
        // On a busy machine other calls may take so long as well, and are repeated too.
        let impatient = |options| Options { timeout: Duration::from_millis(500), retries: 1000, ..options };
        let stand = stand_with(dialect, limits(), impatient).await;
        stand.faults(&[Fault::Silent]);
        check(&stand.ask(question("q\n", &["x: "])).await.json(), "q\n", &["x: "], None);
        assert!(stand.engine.calls.load(SeqCst) >= 2);
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let stand = stand(Dialect::LlamaCpp, limits()).await;
    stand.faults(&[Fault::Status(429, Some("1"))]);
    let start = std::time::Instant::now();
    assert_eq!(stand.ask(question("q\n", &["x: "])).await.status, 200);
    // Without the header, it would be 200 ms at most.
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn faults_that_stay_are_reported() {
    for dialect in [Dialect::Vllm, Dialect::LlamaCpp, Dialect::Openai] {
        let stand = stand(dialect, limits()).await;
        for (faults, calls, status, words) in [
            (vec![Fault::Status(500, None); 3], 3, 502, "the engine's complaint"),
            (vec![Fault::Status(429, Some("0")); 3], 3, 503, "is busy or not ready"),
            (vec![Fault::Status(401, None)], 1, 502, "ACCEL_REMOTE_API_KEY"),
            (vec![Fault::Status(400, None)], 1, 502, "the engine's complaint"),
            (vec![Fault::Status(302, None)], 1, 502, "302"),
            (vec![Fault::NotJson], 1, 502, "not what it should be"),
            (vec![Fault::OtherJson], 1, 502, "not what it should be"),
        ] {
            stand.faults(&faults);
            let answer = stand.ask(question("q\n", &["x: "])).await;
            answer.refuses(status, words);
            assert_eq!(stand.engine.calls.load(SeqCst), calls, "{dialect:?} {faults:?}");
        }
        assert_eq!(stand.ask(question("q\n", &["x: "])).await.status, 200);
    }
}

#[tokio::test]
async fn a_silent_engine_meets_the_deadline_and_an_absent_one_is_named() {
    let stand = stand(Dialect::LlamaCpp, Limits { deadline: Duration::from_millis(200), ..limits() }).await;
    stand.faults(&[Fault::Silent]);
    stand.ask(question("q\n", &["x: "])).await.refuses(504, "--deadline");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let service = service(scoring(Options { retries: 1, ..options(url, Kind::LlamaCpp) }, limits()));
    let ask = Request::post("/v1/score").body(Body::from(question("q\n", &["x: "]))).unwrap();
    send(service, ask).await.refuses(502, "onnect");
}

#[tokio::test]
async fn traces_are_scored_by_an_engine_too() {
    // The stand-in knows two answers; a trace asks for ten.
    let stand = stand(Dialect::Vllm, limits()).await;
    let request = Request::post("/predict-schedule").body(Body::from(r#"{"num_layers":2}"#)).unwrap();
    let answer = send(stand.service.clone(), request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["x-scorer"], "remote");
    assert!(
        answer.json().as_array().unwrap().iter().all(|r| (0.0..=1.0).contains(&r["eviction_score"].as_f64().unwrap()))
    );
}
