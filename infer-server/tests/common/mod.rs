//! A model that tests can steer, and a service around it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use accel_model::{DeviceKind, LabelLogProbs, ModelError, ModelInfo, Prompt};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use infer_server::app::{Config, Health, router};
use infer_server::scoring::local::{Loader, Model, Tokenize};
use infer_server::scoring::queue::{Options, Queue};
use infer_server::scoring::{Backend, Common, Limits, Scoring};
use serde_json::Value;
use tower::ServiceExt as _;

/// What the fake model was asked, and what it is to do.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// How often it was loaded.
    pub(crate) loads: AtomicUsize,
    /// The next load fails.
    pub(crate) fail_load: AtomicBool,
    /// Loading waits for this to go.
    pub(crate) hold_load: AtomicBool,
    /// A pass waits for this to go, or to be cancelled.
    pub(crate) hold: AtomicBool,
    /// Items asked.
    pub(crate) items: AtomicUsize,
    /// Passes under way or done.
    pub(crate) passes: AtomicUsize,
    /// Passes that were cancelled.
    pub(crate) cancelled: AtomicUsize,
    /// Milliseconds a pass takes.
    pub(crate) pass_ms: AtomicUsize,
}

/// One token a byte.
struct Bytes;

impl Tokenize for Bytes {
    fn encode(&self, text: &str, _start: bool) -> Result<Vec<u32>, ModelError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn label_tokens(&self, _context: &str, labels: &[String]) -> Result<Vec<u32>, ModelError> {
        let token = |label: &String| match label.as_bytes() {
            [byte] => Ok(u32::from(*byte)),
            bytes => Err(ModelError::Label {
                label: label.clone(),
                problem: format!("it is {} tokens", bytes.len()),
                cure: "Choose one that is one token".into(),
            }),
        };
        labels.iter().map(token).collect()
    }
}

/// A model whose answers can be told beforehand: see [`expected`].
struct Fake {
    orders: Arc<Orders>,
    adapter: Option<String>,
}

/// What the fake says of a label: any function will do that differs for each part of the question.
pub(crate) fn expected(query: &str, item: &str, label: &str, adapter: Option<&str>) -> f32 {
    let bytes = [query, item, label, adapter.unwrap_or("")].join("\u{1}");
    let hash = bytes.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    -3.0 - (hash % 1000) as f32 / 500.0
}

fn text(tokens: &[u32]) -> String {
    String::from_utf8(tokens.iter().map(|t| *t as u8).collect()).unwrap()
}

impl Model for Fake {
    fn warm_up(&mut self) -> Result<(), ModelError> {
        Ok(())
    }

    fn info(&self) -> ModelInfo {
        ModelInfo {
            name: "fake".into(),
            architecture: "llama".into(),
            file: "/nowhere/fake.gguf".into(),
            file_bytes: 1,
            parameters: 2,
            quantization: "Q4_K".into(),
            context_length: 4096,
            vocabulary: 256,
            layers: 1,
            adapter: self.adapter.clone(),
            device: DeviceKind::Cpu,
        }
    }

    fn tokenizer(&self) -> Arc<dyn Tokenize> {
        Arc::new(Bytes)
    }

    fn set_adapter(&mut self, dir: Option<&Path>) -> Result<(), ModelError> {
        let name = dir.map(|dir| dir.file_name().unwrap().to_string_lossy().into_owned());
        if name.as_deref() == Some("bad") {
            return Err(ModelError::Adapter {
                path: "bad".into(),
                problem: "its matrices have another shape".into(),
                cure: "Choose one made for this model".into(),
            });
        }
        self.adapter = name;
        Ok(())
    }

    fn score(&mut self, prompt: &Prompt, cancelled: &dyn Fn() -> bool) -> Result<LabelLogProbs, ModelError> {
        self.orders.passes.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(self.orders.pass_ms.load(Ordering::SeqCst) as u64));
        while self.orders.hold.load(Ordering::SeqCst) {
            if cancelled() {
                self.orders.cancelled.fetch_add(1, Ordering::SeqCst);
                return Err(ModelError::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let query = text(&prompt.prefix);
        let mut rows = Vec::new();
        for (i, item) in prompt.items.iter().enumerate() {
            self.orders.items.fetch_add(1, Ordering::SeqCst);
            let item = text(item);
            match item.as_str() {
                "nan" => return Err(ModelError::NotFinite { item: i }),
                "panic" => panic!("told to"),
                _ => {}
            }
            let label = |token: &u32| expected(&query, &item, &text(&[*token]), self.adapter.as_deref());
            rows.push(prompt.labels.iter().map(label).collect());
        }
        Ok(rows)
    }
}

/// Loads the fake.
pub(crate) fn loader(orders: &Arc<Orders>) -> Loader {
    let orders = Arc::clone(orders);
    Box::new(move || {
        orders.loads.fetch_add(1, Ordering::SeqCst);
        while orders.hold_load.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if orders.fail_load.swap(false, Ordering::SeqCst) {
            return Err(ModelError::File {
                path: "fake.gguf".into(),
                problem: "it is cut short".into(),
                cure: "Download it again".into(),
            });
        }
        Ok(Box::new(Fake { orders: Arc::clone(&orders), adapter: None }) as Box<dyn Model>)
    })
}

/// A service with the fake, not loaded yet.
pub(crate) struct Server {
    pub(crate) orders: Arc<Orders>,
    pub(crate) scoring: Scoring,
    pub(crate) health: Health,
    pub(crate) router: Router,
}

pub(crate) fn limits() -> Limits {
    Limits { deadline: Duration::from_secs(10), ..Limits::default() }
}

pub(crate) fn server(limits: Limits) -> Server {
    server_with(limits, Config::default())
}

pub(crate) fn server_with(limits: Limits, config: Config) -> Server {
    let orders = Arc::new(Orders::default());
    let common = Common::in_memory(limits);
    let options = Options { adapter: None, reload_after: Some(Duration::from_millis(200)) };
    let queue = Queue::start(loader(&orders), options, &common).unwrap();
    let scoring = Scoring::new(Backend::Local(queue), common);
    let health = Health::default();
    let router = router(&Config { scoring: scoring.clone(), ..config }, health.clone());
    Server { orders, scoring, health, router }
}

impl Server {
    /// The same, once the model is loaded.
    pub(crate) async fn ready(self) -> Self {
        let Backend::Local(queue) = self.scoring.backend() else { unreachable!() };
        let _ = queue.wake();
        for _ in 0..2000 {
            if queue.loaded().is_some() {
                return self;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the fake does not load");
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        send(self.router.clone(), Request::post(path).body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.router.clone(), Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        send(self.router.clone(), Request::delete(path).body(Body::empty()).unwrap()).await
    }

    /// Waits until `what` holds.
    pub(crate) async fn until(&self, what: impl Fn(&Orders) -> bool) {
        for _ in 0..2000 {
            if what(&self.orders) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it does not come about: {:?}", self.orders);
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// Whether it is a refusal in JSON with `status` and `words`.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, words: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let error = self.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words), "{error}");
        let later = matches!(status, 429 | 503);
        assert_eq!(self.headers.contains_key("retry-after"), later, "{status}: {:?}", self.headers);
    }
}

pub(crate) async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

/// A request to `/v1/score`.
pub(crate) fn question<S: AsRef<str>>(query: &str, items: &[S]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    serde_json::json!({ "query": query, "items": items, "labels": ["a", "b"] }).to_string()
}

/// Whether the answers are those of the fake to these items.
#[track_caller]
pub(crate) fn check(answer: &Value, query: &str, items: &[impl AsRef<str>], adapter: Option<&str>) {
    let scores = answer["items"].as_array().unwrap();
    assert_eq!(scores.len(), items.len());
    for (score, item) in scores.iter().zip(items) {
        let raw = ["a", "b"].map(|label| f64::from(expected(query, item.as_ref(), label, adapter)).exp());
        let mass: f64 = raw.iter().sum();
        assert!((score["label_mass"].as_f64().unwrap() - mass).abs() < 1e-6, "{} {score}", item.as_ref());
        for (i, p) in raw.iter().enumerate() {
            let got = score["probabilities"][i].as_f64().unwrap();
            assert!((got - p / mass).abs() < 1e-6, "{} {score}", item.as_ref());
        }
    }
}
