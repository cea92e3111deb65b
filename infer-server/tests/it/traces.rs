//! Traces: what a collector is sent of requests, jobs and the model, and that one which is away costs nothing.
#![cfg(unix)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::sync::{Arc, Mutex};

use accel_model::client::builder;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};

use crate::common::question;
use crate::kill::{Binary, command};
use crate::lifecycle::{end, signal};

/// A trace that a client began, and its span in it.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// What came to the collector, with the headers of each call.
type Calls = Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>;

async fn collector() -> (String, Calls) {
    async fn take(State(calls): State<Calls>, headers: HeaderMap, body: Bytes) -> StatusCode {
        let spans = ExportTraceServiceRequest::decode(body).unwrap();
        calls.lock().unwrap().push((headers, spans));
        StatusCode::OK
    }
    let calls = Calls::default();
    let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&calls));
    (serve(app).await, calls)
}

async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// A llama.cpp server that says any label; what it was told of the trace of each question.
async fn engine() -> (String, Arc<Mutex<Vec<String>>>) {
    async fn completion(State(told): State<Arc<Mutex<Vec<String>>>>, headers: HeaderMap) -> Json<Value> {
        told.lock().unwrap().push(headers["traceparent"].to_str().unwrap().to_owned());
        let top: Vec<Value> = b"ab0123456789".iter().map(|id| json!({"id": id, "logprob": -3.0})).collect();
        Json(json!({"content": "a", "completion_probabilities": [{"top_logprobs": top}]}))
    }
    let tokenize = |Json(body): Json<Value>| async move {
        Json(json!({ "tokens": body["content"].as_str().unwrap().as_bytes() }))
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let app = Router::new().route("/tokenize", post(tokenize)).route("/completion", post(completion));
    (serve(app.with_state(Arc::clone(&told))).await, told)
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Attributes as text.
fn texts(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone().unwrap().value.unwrap() {
        Any::StringValue(text) => text,
        Any::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn spans(calls: &Calls) -> Vec<Span> {
    let calls = calls.lock().unwrap();
    let scopes = calls.iter().flat_map(|(_, call)| &call.resource_spans).flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

/// The only span of that name.
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let named: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(named.len(), 1, "{name}: {spans:#?}");
    named[0]
}

/// Of OTLP's `SpanKind`.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
/// Of OTLP's `Status`.
const ERROR: i32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_jobs_and_calls_of_an_engine_are_spans_of_the_clients_trace() {
    let (collector, calls) = collector().await;
    let (engine, told) = engine().await;
    let remote = ["--remote", &engine, "--remote-kind", "llama-cpp", "--remote-model", "m"];
    let arguments = [&remote[..], &["--otlp", &collector, "--port", "0"]].concat();
    let mut command = command(&arguments);
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20k3y");
    command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    let binary = Binary::spawn(&mut command);
    let http = builder().build().unwrap();
    let post = async |path: &str, body: String| {
        let sent = http.post(format!("{}{path}", binary.url)).header("traceparent", traceparent());
        sent.header("x-request-id", "mine").body(body).send().await.unwrap()
    };
    assert_eq!(post("/v1/score", question("q\n", &["x"])).await.status().as_u16(), 200);
    let asked = told.lock().unwrap().clone();
    assert_eq!(post("/v1/score", "{}".into()).await.status().as_u16(), 422);
    let job: Value = post("/v1/jobs", r#"{"evictions":{"num_layers":1}}"#.into()).await.json().await.unwrap();
    let id = job["id"].as_str().unwrap();
    let events = http.get(format!("{}/v1/jobs/{id}/events", binary.url)).send().await.unwrap().text().await.unwrap();
    assert!(events.contains("event: done"), "{events}");
    for path in ["/health/live", "/metrics"] {
        assert_eq!(http.get(format!("{}{path}", binary.url)).send().await.unwrap().status().as_u16(), 200);
    }
    signal("TERM", &binary);
    assert_eq!(end(binary).await.code(), Some(0));

    for (headers, call) in calls.lock().unwrap().iter() {
        assert!(headers["content-type"] == "application/x-protobuf" && headers["authorization"] == "Bearer k3y");
        let resource = texts(&call.resource_spans[0].resource.as_ref().unwrap().attributes);
        assert_eq!(resource["service.name"], "infer-server");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(resource["deployment.environment.name"], "test");
    }
    let spans = spans(&calls);
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert!(!names.iter().any(|name| name.contains("health") || name.contains("metrics")), "{names:?}");
    let scored: Vec<&Span> = spans.iter().filter(|span| span.name == "POST /v1/score").collect();
    let [request, refused] = scored[..] else { panic!("{names:?}") };
    for (span, status) in [(request, "200"), (refused, "422")] {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
        let attributes = texts(&span.attributes);
        let names = ["http.response.status_code", "http.request.method", "http.route", "url.path", "accel.request.id"];
        assert_eq!(names.map(|name| &*attributes[name]), [status, "POST", "/v1/score", "/v1/score", "mine"]);
        assert_eq!((span.kind, attributes["client.address"].as_str()), (SERVER, "127.0.0.1"));
        // The client is at fault.
        assert_ne!(span.status.clone().unwrap_or_default().code, ERROR);
    }
    // The engine is asked within the request's span, and learns of its own call's.
    let inner: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == request.span_id).collect();
    assert!(inner.iter().all(|span| span.kind == CLIENT && hex(&span.trace_id) == TRACE), "{inner:#?}");
    let completion: Vec<&&Span> =
        inner.iter().filter(|span| texts(&span.attributes)["url.full"].ends_with("/completion")).collect();
    let [completion] = completion[..] else { panic!("{inner:#?}") };
    assert_eq!(asked, [format!("00-{TRACE}-{}-01", hex(&completion.span_id))]);
    assert_eq!(texts(&completion.attributes)["http.response.status_code"], "200");
    // A job goes on in the trace of the request that started it.
    let (start, run) = (only(&spans, "POST /v1/jobs"), only(&spans, "job evictions"));
    assert_eq!((hex(&run.trace_id), &run.parent_span_id, run.kind), (TRACE.to_owned(), &start.span_id, INTERNAL));
    let attributes = texts(&run.attributes);
    assert_eq!((&*attributes["accel.job.id"], &*attributes["accel.job.status"]), (id, "done"));
    assert!(spans.iter().any(|span| span.kind == CLIENT && span.parent_span_id == run.span_id));
    assert!(run.end_time_unix_nano >= start.start_time_unix_nano);
    // The stream of events is a request without a trace of its own.
    assert_ne!(hex(&only(&spans, "GET /v1/jobs/{id}/events").trace_id), TRACE);
}

#[cfg(feature = "model")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_model_does_for_a_request_is_in_its_trace() {
    let (collector, calls) = collector().await;
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mistral/f32.gguf");
    let binary =
        Binary::spawn(&mut command(&["--port", "0", "--model", model.to_str().unwrap(), "--otlp", &collector]));
    let http = builder().build().unwrap();
    let ready = format!("{}/health/ready", binary.url);
    crate::common::eventually(async || http.get(&ready).send().await.unwrap().status().is_success()).await;
    let ask = async |items: &[&str]| {
        let body = json!({"query": "q\n", "items": items}).to_string();
        let sent = http.post(format!("{}/v1/score", binary.url)).header("traceparent", traceparent()).body(body);
        assert_eq!(sent.send().await.unwrap().status().as_u16(), 200);
    };
    ask(&["red: ", "blue: "]).await;
    // Answered from memory, without the model.
    ask(&["red: ", "blue: "]).await;
    ask(&["blue: ", "green: "]).await;
    signal("TERM", &binary);
    assert_eq!(end(binary).await.code(), Some(0));
    let spans = spans(&calls);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    let of = |parent: &Span, name: &str| -> Vec<Span> {
        spans.iter().filter(|span| span.parent_span_id == parent.span_id && span.name == name).cloned().collect()
    };
    let mut requests: Vec<&Span> = spans.iter().filter(|span| span.name == "POST /v1/score").collect();
    requests.sort_by_key(|span| span.start_time_unix_nano);
    let mut items = Vec::new();
    for request in &requests {
        let (queued, passes) = (of(request, "queue"), of(request, "forward pass"));
        assert_eq!(queued.len(), passes.len(), "{spans:#?}");
        let Some((queued, pass)) = queued.first().zip(passes.first()) else {
            items.push(0);
            continue;
        };
        assert!(request.start_time_unix_nano <= queued.start_time_unix_nano, "{spans:#?}");
        assert!(queued.end_time_unix_nano <= pass.end_time_unix_nano, "{spans:#?}");
        assert!(pass.start_time_unix_nano < pass.end_time_unix_nano, "{spans:#?}");
        let counts = texts(&pass.attributes);
        assert!(counts["accel.tokens"].parse::<usize>().unwrap() > 0);
        assert_eq!(counts["accel.requests"], "1");
        items.push(counts["accel.items"].parse().unwrap());
    }
    // `blue: ` is known by the third.
    assert_eq!(items, [2, 0, 1]);
}

/// Starts the binary; its address, and the lines that it logs from then on, to its end.
fn logging(command: &mut std::process::Command) -> (Binary, impl Iterator<Item = String> + use<>) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let listening = lines.find(|line| line.contains("listening on")).unwrap();
    let url = listening[listening.find("http://").unwrap()..].split_whitespace().next().unwrap().to_owned();
    (Binary { child, url }, lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_or_refuses_fails_nothing_and_is_told_once() {
    // A port that nobody listens on.
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", away.local_addr().unwrap());
    drop(away);
    let locked = serve(Router::new().route("/v1/traces", post(|| async { StatusCode::UNAUTHORIZED }))).await;
    for (url, cure) in
        [(nobody, "Start the collector there, or correct --otlp"), (locked, "OTEL_EXPORTER_OTLP_HEADERS")]
    {
        let mut command = command(&["--port", "0", "--otlp", &url]);
        // Each span is a call of its own: several fail.
        command.env("OTEL_BSP_SCHEDULE_DELAY", "1").env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1");
        let (binary, mut lines) = logging(&mut command);
        let http = builder().build().unwrap();
        let ask = async || http.get(format!("{}/info", binary.url)).send().await.unwrap().status().as_u16();
        assert_eq!(ask().await, 200);
        let told = |line: &String| line.contains("no traces go to");
        let (line, mut lines) = tokio::task::spawn_blocking(move || (lines.find(told), lines)).await.unwrap();
        let line = line.unwrap();
        assert!(line.contains(&format!("{url}/v1/traces")) && line.contains(cure), "{line}");
        for _ in 0..20 {
            assert_eq!(ask().await, 200);
        }
        signal("TERM", &binary);
        let rest = tokio::task::spawn_blocking(move || lines.by_ref().collect::<Vec<_>>()).await.unwrap();
        assert_eq!(end(binary).await.code(), Some(0));
        assert!(!rest.iter().any(told), "{rest:#?}");
    }
}

#[test]
fn what_is_no_address_of_a_collector_is_refused_at_the_start() {
    for (url, wanted) in
        [("collector:4318", "Write it as http://host:4318"), ("http://n:s3cret@h", "OTEL_EXPORTER_OTLP_HEADERS")]
    {
        let output = command(&["--port", "0", "--otlp", url]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains("--otlp") && message.contains(wanted), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}
