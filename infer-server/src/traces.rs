//! Traces: spans of requests, jobs and what the model does, sent to an OpenTelemetry collector (OTLP over HTTP, protobuf).
//!
//! A span belongs to the trace of the request that it was made for, which a client may have begun (W3C Trace Context) and
//! an engine behind another server may go on with. Where no collector is named, nothing is recorded, and what a request
//! says of its trace is passed on as it came.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, Key, KeyValue, global};
use opentelemetry_http::{Bytes, HeaderExtractor, HeaderInjector, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::{StatusCode, Url, redirect};
use tokio::runtime::Handle;

/// The service's name where the environment (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`) has no other.
const NAME: &str = env!("CARGO_PKG_NAME");
/// What the SDK calls a service without a name, before the name of its program.
const NAMELESS: &str = "unknown_service";
/// Where a collector takes traces (OTLP/HTTP, "OTLP/HTTP Request").
const PATH: &str = "v1/traces";
/// How long a call may take: the default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
const CALL: Duration = Duration::from_secs(10);
/// How long the last spans may take: what the SDK gives them where nobody says.
const FLUSH: Duration = Duration::from_secs(5);
/// The most bytes of a collector's answer: it says how many spans it refused, and why.
const ANSWER_BYTES: usize = 1 << 16;

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("--otlp {url}: {problem}")]
pub struct TracesError {
    url: String,
    problem: String,
}

/// What sends spans to a collector, from its start until it is flushed.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends spans to the collector at `url` from now on. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// Where `url` is no address of a collector, or the environment (`OTEL_…`) says what cannot be done.
    pub fn start(url: &str) -> Result<Self, TracesError> {
        // What stands before the host is a secret.
        let shown = url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, host)| format!("…@{host}"));
        let fault = |problem: String| TracesError { url: shown.clone(), problem };
        let url = endpoint(url).map_err(fault)?;
        let fault = |problem: String| TracesError { url: shown.clone(), problem };
        let http = accel_model::client::builder().timeout(CALL).redirect(redirect::Policy::none()).build();
        let collector = Collector {
            http: http.map_err(|e| fault(e.to_string()))?,
            runtime: Handle::try_current().map_err(|e| fault(e.to_string()))?,
            away: AtomicBool::new(false),
        };
        let exporter = SpanExporter::builder().with_http().with_http_client(collector).with_endpoint(url.as_str());
        let exporter = exporter.build().map_err(|e| fault(e.to_string()))?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
        global::set_tracer_provider(provider.clone());
        Ok(Self(provider))
    }

    /// Sends what is left, within `time` and five seconds, whichever is shorter. No span is sent after it.
    pub async fn flush(self, time: Duration) {
        let flushed = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(time.min(FLUSH))).await;
        // A collector that is away was told of when it was first asked.
        if let Ok(Err(error)) = flushed {
            tracing::debug!(%error, "the last spans are lost");
        }
    }
}

/// The address for traces of the collector at `url`.
fn endpoint(url: &str) -> Result<Url, String> {
    const CURE: &str = "Write it as http://host:4318 or https://host";
    let mut url = Url::parse(url).map_err(|e| format!("{e}. {CURE}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
        return Err(format!("not an HTTP address. {CURE}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a name or password in it. Give it as a header, in OTEL_EXPORTER_OTLP_HEADERS".into());
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix(PATH).unwrap_or(path).trim_end_matches('/');
    let path = format!("{path}/{PATH}");
    url.set_path(&path);
    url.set_fragment(None);
    Ok(url)
}

/// What is the same of all spans.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let known = Resource::builder().with_attribute(version.clone()).build();
    let named = known.get(&Key::from_static_str("service.name")).map(|name| name.to_string());
    match named {
        Some(name) if !name.starts_with(NAMELESS) => known,
        _ => Resource::builder().with_attribute(version).with_service_name(NAME).build(),
    }
}

/// The collector as the exporter's thread asks it: on the runtime, which that thread has none of. What goes wrong is told
/// once, until it goes well again.
#[derive(Debug)]
struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    away: AtomicBool,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().to_string();
        let answer = match self.runtime.spawn(send(self.http.clone(), request)).await {
            Ok(answer) => answer,
            // The runtime ends, and the process with it.
            Err(gone) => return Err(gone.into()),
        };
        let problem = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(refused(answer.status())),
            Err(error) => Some(format!("{error:#}. Start the collector there, or correct --otlp")),
        };
        match problem {
            Some(problem) if !self.away.swap(true, Ordering::Relaxed) => {
                tracing::warn!("no traces go to {url}, and their spans are lost: {problem}");
            }
            Some(_) => {}
            None if self.away.swap(false, Ordering::Relaxed) => tracing::info!("traces go to {url} again"),
            None => {}
        }
        Ok(answer?)
    }
}

/// What a refusal of the collector means.
fn refused(status: StatusCode) -> String {
    let cure = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "Give its key in OTEL_EXPORTER_OTLP_HEADERS",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "Correct --otlp: the collector takes OTLP elsewhere",
        _ => "Look at the collector's log",
    };
    format!("the collector answers {status}. {cure}")
}

async fn send(http: reqwest::Client, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
    let mut answer = http.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
    let mut built = Response::builder().status(answer.status());
    if let Some(headers) = built.headers_mut() {
        headers.clone_from(answer.headers());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        anyhow::ensure!(bytes.len() + chunk.len() <= ANSWER_BYTES, "it answers more than {ANSWER_BYTES} bytes");
        bytes.extend_from_slice(&chunk);
    }
    Ok(built.body(bytes.into())?)
}

/// The span that a request says it belongs to, in `traceparent` and `tracestate`.
pub(crate) fn received(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
}

/// The headers by which another server learns of the span in `context`.
pub(crate) fn handed_on(context: &Context) -> HeaderMap {
    let mut headers = HeaderMap::new();
    TraceContextPropagator::new().inject_context(context, &mut HeaderInjector(&mut headers));
    headers
}

/// The name of the trace that the span in `context` belongs to, where it is recorded.
pub(crate) fn name(context: &Context) -> Option<String> {
    let span = context.span();
    span.is_recording().then(|| span.span_context().trace_id().to_string())
}

/// A span that begins now and ends when this is dropped.
pub(crate) struct Span(Context);

impl Span {
    /// A child of the span in `parent`.
    pub(crate) fn begin(parent: &Context, kind: SpanKind, name: String, attributes: Vec<KeyValue>) -> Self {
        let tracer = global::tracer(NAME);
        let span = tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        Self(parent.with_span(span.start_with_context(&tracer, parent)))
    }

    /// What it is the parent in.
    pub(crate) fn context(&self) -> &Context {
        &self.0
    }

    /// Says of it what was not known when it began.
    pub(crate) fn set(&self, attribute: KeyValue) {
        self.0.span().set_attribute(attribute);
    }

    /// Marks it as failed.
    pub(crate) fn fail(&self, problem: impl ToString) {
        self.0.span().set_status(Status::error(problem.to_string()));
    }
}

impl Drop for Span {
    // Others may still hold its context, as their parent.
    fn drop(&mut self) {
        self.0.span().end();
    }
}

/// A span that began at `since` and ends now.
pub(crate) fn record(
    parent: &Context,
    name: &'static str,
    since: Instant,
    attributes: Vec<KeyValue>,
    problem: Option<&dyn std::fmt::Display>,
) {
    let tracer = global::tracer(NAME);
    let start = SystemTime::now().checked_sub(since.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
    let span = tracer.span_builder(name).with_kind(SpanKind::Internal).with_start_time(start);
    let span = span.with_attributes(attributes).start_with_context(&tracer, parent);
    let context = parent.with_span(span);
    if let Some(problem) = problem {
        context.span().set_status(Status::error(problem.to_string()));
    }
    context.span().end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_collector_is_that_of_its_traces() {
        for (url, wanted) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://h:4318/", "http://h:4318/v1/traces"),
            ("https://h/otlp", "https://h/otlp/v1/traces"),
            ("https://h/otlp/v1/traces", "https://h/otlp/v1/traces"),
            ("http://h/v1/traces/?tenant=a#x", "http://h/v1/traces?tenant=a"),
        ] {
            assert_eq!(endpoint(url).unwrap().as_str(), wanted, "{url}");
        }
        for (url, wanted) in [
            ("h:4318", "Write it as http://host:4318"),
            ("127.0.0.1:4318", "Write it as http://host:4318"),
            ("ftp://h", "not an HTTP address"),
            ("http://name:secret@h", "OTEL_EXPORTER_OTLP_HEADERS"),
        ] {
            let error = Traces::start(url).unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn what_a_request_says_of_its_trace_is_handed_on_where_nothing_is_recorded() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", parent.parse().unwrap());
        headers.insert("tracestate", "vendor=a".parse().unwrap());
        let received = received(&headers);
        let span = Span::begin(&received, SpanKind::Server, "GET /".into(), Vec::new());
        let handed = handed_on(span.context());
        assert_eq!((&handed["traceparent"], &handed["tracestate"]), (&headers["traceparent"], &headers["tracestate"]));
        assert_eq!(name(span.context()), None);
        // What is none is passed over.
        headers.insert("traceparent", "00-0-0-01".parse().unwrap());
        assert!(!super::received(&headers).span().span_context().is_valid());
    }
}
