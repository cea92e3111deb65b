//! A model that tests can steer, and a service around it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use accel_model::{DeviceKind, LabelLogProbs, Loader, Model, ModelError, ModelInfo, Prompt, Tokenize};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use infer_server::health::Health;
use infer_server::scoring::queue::{Options, Queue};
use infer_server::scoring::{Backend, Common, Limits, Patience, Scoring};
use infer_server::service::{Config, router};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt as _;

/// No test waits longer for anything: by then it hangs.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(300);

/// What the fake model was asked.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often it was loaded.
    pub(crate) loads: usize,
    /// Items answered.
    pub(crate) items: usize,
    /// Passes under way or done.
    pub(crate) passes: usize,
    /// Passes that were cancelled.
    pub(crate) cancelled: usize,
    /// The next load fails.
    fail_load: bool,
    /// Loading waits for this to go.
    hold_load: bool,
    /// Only so many passes may end; all where there is no limit.
    allowed: Option<usize>,
}

/// What the fake model was asked, and what it is to do.
#[derive(Debug, Default)]
pub(crate) struct Orders(watch::Sender<Seen>);

impl Orders {
    /// What it was asked so far.
    pub(crate) fn seen(&self) -> watch::Ref<'_, Seen> {
        self.0.borrow()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let mut result = None;
        self.0.send_modify(|seen| result = Some(change(seen)));
        result.unwrap()
    }

    /// Fails the next load.
    pub(crate) fn fail_load(&self) {
        self.change(|seen| seen.fail_load = true);
    }

    /// Holds loads, or lets them go on.
    pub(crate) fn hold_load(&self, hold: bool) {
        self.change(|seen| seen.hold_load = hold);
    }

    /// Holds the next pass, and all after it.
    pub(crate) fn hold(&self) {
        self.change(|seen| seen.allowed = Some(seen.passes));
    }

    /// Lets as many passes of those held end.
    pub(crate) fn allow(&self, passes: usize) {
        self.change(|seen| seen.allowed = seen.allowed.map(|allowed| allowed + passes));
    }

    /// Lets all passes end.
    pub(crate) fn release(&self) {
        self.change(|seen| seen.allowed = None);
    }

    /// Waits on the model's thread until `go` holds, or `cancelled`, which nobody signals; whether it was cancelled.
    fn block(&self, go: impl Fn(&Seen) -> bool, cancelled: &dyn Fn() -> bool) -> bool {
        while !go(&self.seen()) {
            if cancelled() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// Waits until `what` holds.
    pub(crate) async fn until(&self, what: impl Fn(&Seen) -> bool) {
        let mut seen = self.0.subscribe();
        let held = tokio::time::timeout(HANGS_AFTER, seen.wait_for(|seen| what(seen))).await.is_ok();
        assert!(held, "it does not come about: {:?}", self.0);
    }
}

/// Asks `what` again and again until it holds, for what nobody signals.
pub(crate) async fn eventually(what: impl AsyncFn() -> bool) {
    let poll = async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(HANGS_AFTER, poll).await.is_ok(), "it does not come about");
}

/// One token per byte.
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

/// A model whose answers can be computed beforehand: see [`expected`].
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
            further_files: Vec::new(),
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
        let pass = self.orders.change(|seen| {
            seen.passes += 1;
            seen.passes
        });
        if self.orders.block(|seen| seen.allowed.is_none_or(|allowed| pass <= allowed), cancelled) {
            self.orders.change(|seen| seen.cancelled += 1);
            return Err(ModelError::Cancelled);
        }
        let query = text(&prompt.prefix);
        let mut rows = Vec::new();
        for (i, item) in prompt.items.iter().enumerate() {
            self.orders.change(|seen| seen.items += 1);
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
        orders.change(|seen| seen.loads += 1);
        orders.block(|seen| !seen.hold_load, &|| false);
        if orders.change(|seen| std::mem::take(&mut seen.fail_load)) {
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

/// Those of a server whose requests wait as long as they have to.
pub(crate) fn limits() -> Limits {
    Limits { deadline: HANGS_AFTER, ..Limits::default() }
}

pub(crate) fn server(limits: Limits) -> Server {
    server_with(limits, Config::default(), None)
}

/// A server whose model is loaded again `reload_after` a failure.
pub(crate) fn server_with(limits: Limits, config: Config, reload_after: Option<Duration>) -> Server {
    let orders = Arc::new(Orders::default());
    let common = Common::in_memory(limits);
    let queue = Queue::start(loader(&orders), Options { adapter: None, reload_after }, &common).unwrap();
    let scoring = Scoring::new(Backend::Local(queue), common);
    let health = Health::default();
    let router = router(&Config { scoring: scoring.clone(), ..config }, health.clone());
    Server { orders, scoring, health, router }
}

impl Server {
    /// The same server, once the model is loaded.
    pub(crate) async fn ready(self) -> Self {
        // A job waits for the model.
        let loaded = tokio::time::timeout(HANGS_AFTER, self.queue().load(Patience::Job)).await;
        assert!(matches!(loaded, Ok(Ok(_))), "the fake does not load: {loaded:?}");
        self
    }

    pub(crate) fn queue(&self) -> &Queue {
        let Backend::Local(queue) = self.scoring.backend() else { unreachable!() };
        queue
    }

    /// Waits until the counts for Prometheus hold `line`.
    pub(crate) async fn counts(&self, line: &str) {
        eventually(async || self.get("/metrics").await.text.contains(line)).await;
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

    /// Checks that it is a refusal in JSON with `status` and `words`.
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

/// Checks that the answers are those of the fake to these items.
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
