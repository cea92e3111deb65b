//! Helpers of the tests that cross crates.

#[cfg(feature = "browser")]
pub mod browser;

use std::path::PathBuf;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use clap::Parser as _;
use http_body_util::BodyExt as _;
use infer_server::app::{Config, Health, router};
use serde_json::Value;
use tower::ServiceExt as _;

/// What `accel` prints for these arguments.
pub fn accel<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<String> {
    let cli = accel_cli::Cli::try_parse_from(["accel"].into_iter().chain(arguments))?;
    let mut out = Vec::new();
    accel_cli::run(cli, &mut out)?;
    Ok(String::from_utf8(out)?)
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

/// A file of real data that lies beside some checkouts; none where it is not there.
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let file = root().join("../shared/data").join(name);
    file.is_file().then_some(file)
}
