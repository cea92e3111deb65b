//! Helpers of the tests that cross crates.

#[cfg(feature = "browser")]
pub mod browser;
#[cfg(feature = "browser")]
pub mod host;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use accel_model::{LoadOptions, loader};
use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use clap::Parser as _;
use http_body_util::BodyExt as _;
use infer_server::health::Health;
use infer_server::scoring::queue::{self, Queue};
use infer_server::scoring::{Backend, Common, Scoring};
use infer_server::service::{Config, router};
use serde_json::Value;
use tower::ServiceExt as _;

/// What `accel` prints for these arguments.
pub fn accel<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
    let cli = accel_cli::Cli::try_parse_from(["accel"].into_iter().chain(arguments))?;
    let mut out = Vec::new();
    accel_cli::run(cli, &mut out)?;
    Ok(String::from_utf8(out)?)
}

/// The folder of the tiny models.
fn tiny_models() -> PathBuf {
    root().join("tests/fixtures/mistral")
}

/// A tiny model with random weights, which reads prompts as long as those of scoring: the fixture's own limit is raised,
/// as nothing else depends on it.
pub fn tiny_model(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut bytes = std::fs::read(tiny_models().join("f32.gguf"))?;
    let key = b"llama.context_length";
    let at = bytes.windows(key.len()).position(|part| part == key).context("no context length in the fixture")?;
    // The type of the value (4 = u32), then the value.
    let value = at + key.len() + 4;
    bytes[value..value + 4].copy_from_slice(&4096u32.to_le_bytes());
    let path = folder.join("tiny.gguf");
    std::fs::write(&path, bytes)?;
    Ok(path)
}

/// Serves a service whose scores are by the model in `file` on a free port; its address.
pub async fn serve_model(file: PathBuf, cors_origins: Vec<HeaderValue>) -> anyhow::Result<String> {
    let common = Common::default();
    let loader = loader(file, LoadOptions::default())?;
    let queue = Queue::start(loader, queue::Options::default(), &common)?;
    let scoring = Scoring::new(Backend::Local(queue), common);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = router(&Config { scoring, cors_origins, ..Config::default() }, Health::default());
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(format!("http://{address}"))
}

/// A service without a page.
pub fn service() -> Router {
    router(&Config::default(), Health::default())
}

/// An answer of the service.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.text).with_context(|| self.text.clone())
    }
}

/// Sends one request to `service`.
pub async fn send(service: Router, request: Request<Body>) -> anyhow::Result<Answer> {
    let response = service.oneshot(request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Answer { status, headers, text: String::from_utf8(body.to_vec())? })
}

/// Posts `body` to `path`.
pub async fn post(path: &str, body: impl Into<Body>) -> anyhow::Result<Answer> {
    send(service(), Request::post(path).header("content-type", "application/json").body(body.into())?).await
}

/// Gets `path`.
pub async fn get(path: &str) -> anyhow::Result<Answer> {
    send(service(), Request::get(path).body(Body::empty())?).await
}

/// The project's folder.
pub fn root() -> PathBuf {
    // Asked when it runs, not when it is compiled: checkouts may share their build outputs.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.join("..")
}

/// A file of real data that lies beside some checkouts; none where it is not there. Then the test that asks for it is
/// noted in the file that `ACCEL_SKIPPED` names, which `cargo xtask test` prints at its end.
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let file = root().join("../shared/data").join(name);
    if file.is_file() {
        return Some(file);
    }
    skipped(&format!("there is no ../shared/data/{name} beside the checkout"));
    None
}

/// Notes that the test which runs now was skipped, and why.
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let note = format!("{test}: {why}\n");
    eprint!("skipped: {note}");
    if let Some(notes) = std::env::var_os("ACCEL_SKIPPED") {
        // One write per note, so that tests at once do not mix theirs.
        let file = File::options().create(true).append(true).open(notes);
        if let Err(error) = file.and_then(|mut file| file.write_all(note.as_bytes())) {
            eprintln!("the skipped check was not noted: {error}");
        }
    }
}
