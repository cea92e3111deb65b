//! Many clients at once over loopback: no panic, no lost or crossed answer, every refusal with the right status, and memory
//! that stays flat. The ordinary test takes two seconds; `cargo xtask bench serve` runs the long one.
#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use accel_model::{LoadOptions, LocalModel, Prompt};
use common::{check, question, server};
use infer_server::app::{Config, Health, router};
use infer_server::metrics::Metrics;
use infer_server::scoring::cache::Cache;
use infer_server::scoring::local::Loader;
use infer_server::scoring::queue::{Options, Queue};
use infer_server::scoring::{Backend, Common, Limits, Patience, Scoring};
use serde_json::Value;

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    answers: AtomicU64,
    full: AtomicU64,
    too_large: AtomicU64,
    bad: AtomicU64,
    late: AtomicU64,
    left: AtomicU64,
}

/// Asks until `end`. Every question is of this client and turn alone, so that another one's answer would be seen.
async fn client(number: u64, url: String, end: Instant, seen: Arc<Seen>) {
    let http = reqwest::Client::new();
    let mut turn = number;
    while Instant::now() < end {
        // A small generator of its own: which kind of request comes next must not depend on time.
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let kind = (turn >> 33) % 20;
        let count = match kind {
            0 => 65,
            1..=3 => 64,
            4..=6 => 20,
            _ => 1,
        };
        let (query, labels_are_bad) = (format!("client {number} turn {turn}\n"), kind == 7);
        // Some questions were asked before by others.
        let items: Vec<String> = (0..count).map(|i| format!("item {} is ", (turn >> 40) % 50 + i)).collect();
        let mut body: Value = serde_json::from_str(&question(&query, &items)).unwrap();
        if labels_are_bad {
            body["labels"] = serde_json::json!(["ab"]);
        }
        let request = http.post(format!("{url}/v1/score")).body(body.to_string()).send();
        if kind == 8 {
            // Leaves in the middle.
            let _ = tokio::time::timeout(Duration::from_millis(1), request).await;
            seen.left.fetch_add(1, SeqCst);
            continue;
        }
        let answer = request.await.unwrap();
        let (status, later) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let answer: Value = answer.json().await.unwrap();
        let count = match status {
            200 if kind != 0 && !labels_are_bad => {
                check(&answer, &query, &items, None);
                &seen.answers
            }
            // The queue may be full before or after the labels are looked at.
            429 if later && kind != 0 => &seen.full,
            413 if kind == 0 => &seen.too_large,
            422 if labels_are_bad => &seen.bad,
            504 if kind != 0 => &seen.late,
            _ => panic!("{status} to {body}: {answer}"),
        };
        count.fetch_add(1, SeqCst);
        assert_eq!(status == 200, answer["error"].is_null());
        if status == 429 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Resident memory of this process in MB, where the system tells.
fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1000.0)
}

async fn load(clients: u64, time: Duration) {
    // Smaller than what the clients want together, so that it is full now and then.
    let limits = Limits { items: 64, queue_items: 192, deadline: Duration::from_secs(5), ..Limits::default() };
    let server = server(limits).ready().await;
    server.orders.pass_ms.store(1, SeqCst);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = server.router.clone();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let (seen, start) = (Arc::new(Seen::default()), Instant::now());
    let run = |number| tokio::spawn(client(number, url.clone(), start + time, Arc::clone(&seen)));
    let tasks: Vec<_> = (0..clients).map(run).collect();
    let mut memory = Vec::new();
    for _ in 0..12 {
        tokio::time::sleep(time / 12).await;
        memory.extend(resident_mb());
    }
    for task in tasks {
        task.await.unwrap();
    }
    let counts = |seen: &Seen| {
        [&seen.answers, &seen.full, &seen.too_large, &seen.bad, &seen.late, &seen.left].map(|n| n.load(SeqCst))
    };
    let [answers, full, too_large, bad, late, left] = counts(&seen);
    println!("answers {answers}, queue full {full}, too large {too_large}, bad labels {bad}, late {late}, left {left}");
    println!("resident MB over time: {memory:.1?}");
    assert!(answers > 0 && full > 0 && too_large > 0 && bad > 0 && left > 0, "{seen:?}");
    // All that was taken was given back.
    let empty = async || {
        let text = server.get("/metrics").await.text;
        text.contains("accel_queue_items 0\n") && text.contains("accel_queue_tokens 0\n")
    };
    for _ in 0..200 {
        if empty().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(empty().await, "something is left in the queue");
    assert_eq!(server.get("/health/ready").await.status, 200);
    assert_eq!(server.orders.loads.load(SeqCst), 1, "the model failed on the way");
    // The cache fills up first: 65536 answers of some 200 bytes.
    if let (Some(middle), Some(end), true) = (memory.get(5), memory.last(), time > Duration::from_secs(30)) {
        assert!(end - middle < 20.0, "memory grew from {middle} to {end} MB in the second half");
    }
}

/// What is asked of the real model: few enough questions to know every answer beforehand.
const QUERIES: u64 = 8;
const ITEMS: u64 = 100;

fn asked(query: u64, item: u64) -> (String, String) {
    (format!("The cache holds {query} tensors.\n"), format!("Tensor {item} was used {} times: ", item % 7))
}

/// Sixty-four clients against a tiny model with real weights, whose answers are known from asking it alone. The cache
/// holds next to nothing, so that the model is asked again and again.
async fn load_of_a_real_model(time: Duration) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mistral/f32.gguf");
    let labels: Vec<String> = ["0", "1", "2"].map(str::to_owned).to_vec();
    let mut alone = LocalModel::load(&file, &LoadOptions::default()).unwrap();
    let tokenizer = alone.tokenizer();
    let mut known = Vec::new();
    for query in 0..QUERIES {
        let prefix = tokenizer.encode(&asked(query, 0).0, true).unwrap();
        let items = (0..ITEMS).map(|item| tokenizer.encode(&asked(query, item).1, false).unwrap()).collect();
        let labels = tokenizer.label_tokens(&asked(query, 0).1, &labels).unwrap();
        let rows = alone.score(&Prompt { prefix, items, labels }, &|| false).unwrap();
        known.push(rows.into_iter().map(|row| row.iter().map(|p| f64::from(*p).exp()).sum()).collect::<Vec<f64>>());
    }
    let metrics = Metrics::default();
    let limits = Limits { queue_items: 256, ..Limits::default() };
    let common = Common { cache: Arc::new(Cache::new(16, None, metrics.clone())), limits, metrics };
    let loader: Loader = Box::new(move || Ok(Box::new(LocalModel::load(&file, &LoadOptions::default())?)));
    let queue = Queue::start(loader, Options::default(), &common).unwrap();
    queue.load(Patience::Job).await.unwrap();
    let scoring = Scoring::new(Backend::Local(queue), common);
    let service = router(&Config { scoring, ..Config::default() }, Health::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/score", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, service).await });
    let (known, labels, end) = (Arc::new(known), Arc::new(labels), Instant::now() + time);
    let run = |number: u64| {
        let (known, labels, url) = (Arc::clone(&known), Arc::clone(&labels), url.clone());
        tokio::spawn(async move {
            let (http, mut turn, mut answers, mut full) = (reqwest::Client::new(), number, 0u64, 0u64);
            while Instant::now() < end {
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (query, first, count) = ((turn >> 33) % QUERIES, (turn >> 40) % ITEMS, 1 + (turn >> 50) % 8);
                let items: Vec<u64> = (0..count).map(|i| (first + i) % ITEMS).collect();
                let texts: Vec<String> = items.iter().map(|item| asked(query, *item).1).collect();
                let body = serde_json::json!({"query": asked(query, 0).0, "items": texts, "labels": *labels});
                let answer = http.post(&url).body(body.to_string()).send().await.unwrap();
                let status = answer.status().as_u16();
                let answer: Value = answer.json().await.unwrap();
                if status == 429 {
                    full += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                assert_eq!(status, 200, "{answer}");
                for (item, score) in items.iter().zip(answer["items"].as_array().unwrap()) {
                    let (mass, wanted) = (score["label_mass"].as_f64().unwrap(), known[query as usize][*item as usize]);
                    assert!((mass / wanted - 1.0).abs() < 1e-3, "{query} {item}: {mass} {wanted}");
                }
                answers += 1;
            }
            (answers, full)
        })
    };
    let tasks: Vec<_> = (0..64).map(run).collect();
    let mut memory = Vec::new();
    for _ in 0..12 {
        tokio::time::sleep(time / 12).await;
        memory.extend(resident_mb());
    }
    let (mut answers, mut full) = (0, 0);
    for task in tasks {
        let (of_one, refused) = task.await.unwrap();
        assert!(of_one > 0, "a client got no answer");
        (answers, full) = (answers + of_one, full + refused);
    }
    println!("real model: answers {answers}, queue full {full}; resident MB over time: {memory:.1?}");
    if let (Some(middle), Some(end), true) = (memory.get(5), memory.last(), time > Duration::from_secs(30)) {
        assert!(end - middle < 20.0, "memory grew from {middle} to {end} MB in the second half");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_model_under_load() {
    load_of_a_real_model(Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: cargo xtask bench serve"]
async fn a_real_model_under_a_minute_of_load() {
    load_of_a_real_model(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_seconds_of_load() {
    load(64, Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: cargo xtask bench serve"]
async fn a_minute_of_load() {
    load(64, Duration::from_secs(60)).await;
}
