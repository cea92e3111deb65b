//! Many clients at once over loopback: no panic, no lost or crossed answer, every refusal with the right status, and memory
//! that stays flat. `cargo xtask bench serve` runs the long ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use accel_model::client::builder;
use axum::Router;
use infer_server::scoring::Limits;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::{check, eventually, limits, question, server};

/// Clients at once.
const CLIENTS: u64 = 64;

/// A small generator of its own: which request comes next must not depend on time.
fn next(turn: u64) -> u64 {
    turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// Serves on a free port; the address.
async fn listen(service: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/score", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, service).await });
    url
}

/// Posts `body` until the queue takes it; the status and the answer. Counts how often it was full.
async fn post(http: &reqwest::Client, url: &str, body: &Value, full: &AtomicU64) -> (u16, Value) {
    loop {
        let answer = http.post(url).body(body.to_string()).send().await.unwrap();
        let (status, later) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        if status != 429 {
            return (status, answer.json().await.unwrap());
        }
        assert!(later, "429 without Retry-After");
        full.fetch_add(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    answers: AtomicU64,
    full: AtomicU64,
    too_large: AtomicU64,
    bad: AtomicU64,
    left: AtomicU64,
}

/// Asks `turns` times. Every question is of this client and turn alone, so that another one's answer would be seen.
async fn client(number: u64, turns: u64, url: String, seen: Arc<Seen>) {
    let http = builder().build().unwrap();
    let mut turn = number;
    for _ in 0..turns {
        turn = next(turn);
        let kind = (turn >> 33) % 20;
        let count = match kind {
            0 => 65,
            1..=3 => 64,
            4..=6 => 20,
            _ => 1,
        };
        let query = format!("client {number} turn {turn}\n");
        // Some questions were asked before by others.
        let items: Vec<String> = (0..count).map(|i| format!("item {} is ", (turn >> 40) % 50 + i)).collect();
        let mut body: Value = serde_json::from_str(&question(&query, &items)).unwrap();
        match kind {
            7 => body["labels"] = serde_json::json!(["ab"]),
            8 => {
                // Leaves, most often in the middle.
                let request = http.post(&url).body(body.to_string()).send();
                let _ = tokio::time::timeout(Duration::from_millis(1), request).await;
                seen.left.fetch_add(1, SeqCst);
                continue;
            }
            _ => {}
        }
        let (status, answer) = post(&http, &url, &body, &seen.full).await;
        let count = match (status, kind) {
            (413, 0) => &seen.too_large,
            (422, 7) => &seen.bad,
            (200, 1..=6 | 9..) => {
                check(&answer, &query, &items, None);
                &seen.answers
            }
            _ => panic!("{status} to {body}: {answer}"),
        };
        count.fetch_add(1, SeqCst);
        assert_eq!(status == 200, answer["error"].is_null());
    }
}

/// Resident memory of this process in MB, where the system reports it.
fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1000.0)
}

/// Whether memory stays flat, once what is kept has filled up: 65536 cached answers of some 200 bytes each.
fn flat(memory: &[f64]) {
    println!("resident MB: {memory:.1?}");
    if let (Some(middle), Some(end)) = (memory.get(memory.len() / 2), memory.last()) {
        assert!(end - middle < 20.0, "memory grew from {middle} to {end} MB in the second half");
    }
}

/// Rounds of all clients with so many turns each; memory after each round. In each the model waits until the queue was full.
async fn load(rounds: usize, turns: u64) -> Vec<f64> {
    // Smaller than what the clients want together.
    let server = server(Limits { items: 64, queue_items: 192, ..limits() }).ready().await;
    let url = listen(server.router.clone()).await;
    let (seen, mut memory) = (Arc::new(Seen::default()), Vec::new());
    for round in 0..rounds as u64 {
        server.orders.hold();
        let full = seen.full.load(SeqCst);
        let start = |number| tokio::spawn(client(round * CLIENTS + number, turns, url.clone(), Arc::clone(&seen)));
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        eventually(async || seen.full.load(SeqCst) > full).await;
        server.orders.release();
        for client in clients {
            client.await.unwrap();
        }
        memory.extend(resident_mb());
    }
    println!("{seen:?}");
    let counts = [&seen.answers, &seen.too_large, &seen.bad, &seen.left].map(|count| count.load(SeqCst));
    assert!(counts.iter().all(|count| *count > 0), "{seen:?}");
    assert_eq!(counts.iter().sum::<u64>(), rounds as u64 * CLIENTS * turns, "{seen:?}");
    // All that was taken was given back.
    server.counts("accel_queue_items 0\n").await;
    server.counts("accel_queue_tokens 0\n").await;
    assert_eq!(server.get("/health/ready").await.status, 200);
    assert_eq!(server.orders.seen().loads, 1, "the model failed on the way");
    memory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once() {
    load(2, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute or so: cargo xtask bench serve"]
async fn many_clients_for_long() {
    flat(&load(24, 100).await);
}

/// Sends the head of a request for `body` and half of the body.
async fn half_sent(url: &str, body: &str) -> tokio::net::TcpStream {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head =
        format!("POST /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..length / 2]).await.unwrap();
    stream
}

/// Clients that stop in the middle of a request, that go without reading their answer, and that read it byte by byte, among
/// others who are answered before any of the slow ones is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_and_those_that_go_hold_nobody_up() {
    let server = server(Limits { items: 64, queue_items: 1 << 16, ..limits() }).ready().await;
    let url = listen(server.router.clone()).await;
    let asked = |client: u64| (format!("slow {client}\n"), [format!("item {client} is "), "another is ".to_owned()]);
    let mut slow = Vec::new();
    for number in 0..CLIENTS {
        let (query, items) = asked(number);
        let body = question(&query, &items);
        let stream = half_sent(&url, &body).await;
        match number % 3 {
            // It goes in the middle of its request.
            0 => drop(stream),
            // It goes without its answer.
            1 => {
                let mut stream = stream;
                stream.write_all(&body.as_bytes()[body.len() / 2..]).await.unwrap();
                drop(stream);
            }
            _ => slow.push((number, body, stream)),
        }
    }
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> =
        (0..CLIENTS).map(|n| tokio::spawn(client(1000 + n, 5, url.clone(), Arc::clone(&seen)))).collect();
    for client in clients {
        client.await.unwrap();
    }
    assert!(seen.answers.load(SeqCst) > 0, "{seen:?}");
    for (number, body, mut stream) in slow {
        stream.write_all(&body.as_bytes()[body.len() / 2..]).await.unwrap();
        let mut answer = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            answer.push(byte);
        }
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        let (query, items) = asked(number);
        check(&serde_json::from_str(body).unwrap(), &query, &items, None);
    }
    server.counts("accel_queue_items 0\n").await;
    assert_eq!(server.orders.seen().loads, 1, "the model failed on the way");
}

#[cfg(feature = "model")]
mod real_model {
    use std::path::{Path, PathBuf};

    use accel_model::{LoadOptions, LocalModel, Prompt, loader};
    use infer_server::health::Health;
    use infer_server::metrics::Metrics;
    use infer_server::scoring::cache::Cache;
    use infer_server::scoring::queue::{Options, Queue};
    use infer_server::scoring::{Backend, Common, Patience, Scoring};
    use infer_server::service::{Config, router};

    use super::*;
    use crate::kill::{self, Binary};

    /// What is asked of the real model: few enough questions to know every answer beforehand.
    const QUERIES: u64 = 8;
    const ITEMS: u64 = 25;

    fn asked(query: u64, item: u64) -> (String, String) {
        (format!("The cache holds {query} tensors.\n"), format!("Tensor {item} was used {} times: ", item % 7))
    }

    /// Asks `turns` times of what is `known`, or is wrong, or goes in the middle; how often it was answered, how often the
    /// queue was full, and the longest that an answer took.
    async fn client(
        number: u64,
        turns: u64,
        url: String,
        labels: Vec<String>,
        known: Arc<Vec<Vec<f64>>>,
    ) -> (u64, u64, Duration) {
        let (http, mut turn, full) = (builder().build().unwrap(), number, AtomicU64::new(0));
        let (mut answers, mut longest) = (0, Duration::ZERO);
        for _ in 0..turns {
            turn = next(turn);
            let (query, first, count) = ((turn >> 33) % QUERIES, (turn >> 40) % ITEMS, 1 + (turn >> 50) % 8);
            let items: Vec<u64> = (0..count).map(|i| (first + i) % ITEMS).collect();
            let texts: Vec<String> = items.iter().map(|item| asked(query, *item).1).collect();
            let mut body = serde_json::json!({"query": asked(query, 0).0, "items": texts, "labels": labels});
            match (turn >> 54) % 16 {
                0 => {
                    let request = http.post(&url).body(body.to_string()).send();
                    let _ = tokio::time::timeout(Duration::from_millis(1), request).await;
                    continue;
                }
                1 => {
                    body["labels"] = serde_json::json!(["a label of several tokens"]);
                    assert_eq!(post(&http, &url, &body, &full).await.0, 422);
                    continue;
                }
                _ => {}
            }
            let start = Instant::now();
            let (status, answer) = post(&http, &url, &body, &full).await;
            assert_eq!(status, 200, "{answer}");
            (answers, longest) = (answers + 1, longest.max(start.elapsed()));
            let scores = answer["items"].as_array().unwrap();
            assert_eq!(scores.len(), items.len());
            for (item, score) in items.iter().zip(scores) {
                let (mass, wanted) = (score["label_mass"].as_f64().unwrap(), known[query as usize][*item as usize]);
                assert!(
                    (mass - wanted).abs() < 1e-5 && (mass / wanted - 1.0).abs() < 1e-3,
                    "{query} {item}: {mass} {wanted}"
                );
            }
        }
        (answers, full.into_inner(), longest)
    }

    fn file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mistral/f32.gguf")
    }

    /// What the model in `file` answers to each item of each query, asked alone: the sums of the labels' probabilities.
    fn alone(file: &Path, labels: &[String]) -> Vec<Vec<f64>> {
        let mut alone = LocalModel::load(file, &LoadOptions::default()).unwrap();
        let tokenizer = alone.tokenizer();
        let mut known = Vec::new();
        for query in 0..QUERIES {
            let prefix = tokenizer.encode(&asked(query, 0).0, true).unwrap();
            let labels = tokenizer.label_tokens(&asked(query, 0).1, labels).unwrap();
            let mut mass = |item| {
                let items = vec![tokenizer.encode(&asked(query, item).1, false).unwrap()];
                let prompt = Prompt { prefix: prefix.clone(), items, labels: labels.clone() };
                let rows = alone.score(&prompt, &|| false).unwrap();
                rows[0].iter().map(|p| f64::from(*p).exp()).sum::<f64>()
            };
            known.push((0..ITEMS).map(&mut mass).collect());
        }
        known
    }

    /// All clients against a model with real weights, whose answers are known from asking it alone. The cache holds next to
    /// nothing, so that the model is asked again and again. Memory after each round.
    async fn load(file: PathBuf, rounds: usize, turns: u64) -> Vec<f64> {
        let labels: Vec<String> = ["0", "1", "2"].map(str::to_owned).to_vec();
        let known = alone(&file, &labels);
        let metrics = Metrics::default();
        let limits = Limits { queue_items: 256, items: 64, ..limits() };
        let common = Common { cache: Arc::new(Cache::new(16, None, metrics.clone())), limits, metrics };
        let loader = loader(file, LoadOptions::default()).unwrap();
        let queue = Queue::start(loader, Options::default(), &common).unwrap();
        queue.load(Patience::Job).await.unwrap();
        let scoring = Scoring::new(Backend::Local(queue), common);
        let url = listen(router(&Config { scoring, ..Config::default() }, Health::default())).await;
        let (known, mut memory, mut longest) = (Arc::new(known), Vec::new(), Duration::ZERO);
        let (start_of_load, mut answers, mut full) = (Instant::now(), 0, 0);
        for round in 0..rounds as u64 {
            let number = |client| round * CLIENTS + client;
            let start = |of| tokio::spawn(client(number(of), turns, url.clone(), labels.clone(), Arc::clone(&known)));
            let clients: Vec<_> = (0..CLIENTS).map(start).collect();
            for client in clients {
                let (answered, refused, took) = client.await.unwrap();
                (answers, full, longest) = (answers + answered, full + refused, longest.max(took));
            }
            memory.extend(resident_mb());
        }
        let seconds = start_of_load.elapsed().as_secs_f64();
        println!("{answers} answers of a real model in {seconds:.1} s, each as alone; the longest took {longest:.1?}");
        println!("the queue was full {full} times");
        memory
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_clients_at_once() {
        load(file(), 1, 2).await;
    }

    /// candle's threads are those of the process, so that replicas run in one of their own.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn replicas_answer_as_one_does() {
        let labels: Vec<String> = ["0", "1", "2"].map(str::to_owned).to_vec();
        let (file, known) = (file(), Arc::new(alone(&file(), &labels)));
        let arguments = ["--model", file.to_str().unwrap(), "--replicas", "3", "--cache-entries", "1", "--port", "0"];
        let server = Binary::spawn(kill::command(&arguments).env("RAYON_NUM_THREADS", "1"));
        let url = format!("{}/v1/score", server.url);
        let (http, (query, item)) = (builder().build().unwrap(), asked(0, 0));
        let body = serde_json::json!({"query": query, "items": [item], "labels": labels}).to_string();
        eventually(async || http.post(&url).body(body.clone()).send().await.unwrap().status() == 200).await;
        let start = |number| tokio::spawn(client(number, 3, url.clone(), labels.clone(), Arc::clone(&known)));
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        for client in clients {
            client.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes a minute or so: cargo xtask bench serve"]
    async fn many_clients_for_long() {
        flat(&load(file(), 24, 20).await);
    }

    /// A minute or so of SmolLM2-135M on two cores, and its 200 questions alone before that.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes minutes: ACCEL_LOAD_MODEL=FILE cargo xtask bench serve"]
    async fn many_clients_of_a_chosen_model() {
        let Some(file) = std::env::var_os("ACCEL_LOAD_MODEL") else {
            println!("skipped: ACCEL_LOAD_MODEL names no GGUF file");
            return;
        };
        flat(&load(file.into(), 8, 2).await);
    }
}
