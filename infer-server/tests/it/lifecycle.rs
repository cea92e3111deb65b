//! The real binary from its options to its end: what it refuses, what it reads again, and how it stops.
#![cfg(unix)]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use accel_model::client::builder;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::common::{HANGS_AFTER, eventually, question};
use crate::kill::{Binary, command};

pub(crate) fn signal(name: &str, binary: &Binary) {
    let status = Command::new("kill").args([&format!("-{name}"), &binary.child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

pub(crate) async fn end(mut binary: Binary) -> ExitStatus {
    let ended = tokio::task::spawn_blocking(move || binary.child.wait().unwrap());
    tokio::time::timeout(HANGS_AFTER, ended).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sigterm_it_ends_streams_and_stops() {
    let binary = Binary::start(&[]);
    let http = builder().build().unwrap();
    let mut events = http.get(format!("{}/events", binary.url)).send().await.unwrap();
    assert_eq!(events.status().as_u16(), 200);
    signal("TERM", &binary);
    // The stream ends rather than holds the server up.
    assert!(events.chunk().await.unwrap().is_none());
    assert!(end(binary).await.success());
}

/// An engine that answers a question only when it may; how many have come, and leave to answer one.
pub(crate) async fn engine() -> (String, Arc<Semaphore>, Arc<Semaphore>) {
    let (come, leave) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (theirs, mine) = (Arc::clone(&come), Arc::clone(&leave));
    let tokenize = |Json(body): Json<Value>| async move {
        Json(json!({ "tokens": body["content"].as_str().unwrap().as_bytes() }))
    };
    let completion = move || {
        let (come, leave) = (Arc::clone(&theirs), Arc::clone(&mine));
        async move {
            come.add_permits(1);
            leave.acquire().await.unwrap().forget();
            let top = |label: &str| json!({"id": label.as_bytes()[0], "logprob": -1.0});
            Json(json!({"content": "a", "completion_probabilities": [{"top_logprobs": [top("a"), top("b")]}]}))
        }
    };
    let app = Router::new().route("/tokenize", post(tokenize)).route("/completion", post(completion));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, come, leave)
}

/// A server that waits for its engine with one question; the rest is done by signals.
async fn with_a_question_under_way(leave: &[&str]) -> (Binary, tokio::task::JoinHandle<u16>, Arc<Semaphore>) {
    let (engine, come, release) = engine().await;
    let remote = ["--remote", &engine, "--remote-kind", "llama-cpp", "--remote-model", "m"];
    let binary = Binary::start(&[&remote[..], leave].concat());
    let url = format!("{}/v1/score", binary.url);
    let asking = tokio::spawn(async move {
        let sent = builder().build().unwrap().post(url).body(question("q\n", &["x"])).send().await;
        sent.map_or(0, |answer| answer.status().as_u16())
    });
    tokio::time::timeout(HANGS_AFTER, come.acquire()).await.unwrap().unwrap().forget();
    (binary, asking, release)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sigterm_answers_are_finished_and_half_a_request_is_not_waited_for() {
    let (binary, asking, release) = with_a_question_under_way(&[]).await;
    let address = binary.url.trim_start_matches("http://").to_owned();
    let mut half = TcpStream::connect(&address).await.unwrap();
    half.write_all(b"GET /info HTTP/1.1\r\nho").await.unwrap();
    let mut idle = TcpStream::connect(&address).await.unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    while idle.read_u8().await.unwrap() != b'}' {}
    signal("TERM", &binary);
    // Both end while the answer is still under way.
    let mut rest = Vec::new();
    for io in [&mut half, &mut idle] {
        tokio::time::timeout(HANGS_AFTER, io.read_to_end(&mut rest)).await.unwrap().ok();
    }
    assert!(rest.is_empty() && !asking.is_finished());
    assert!(TcpStream::connect(&address).await.is_err(), "it still takes connections");
    release.add_permits(1);
    assert_eq!(asking.await.unwrap(), 200);
    assert_eq!(end(binary).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_grace_it_ends_with_code_0() {
    let (binary, asking, _release) = with_a_question_under_way(&["--grace", "0"]).await;
    signal("INT", &binary);
    assert_eq!(end(binary).await.code(), Some(0));
    assert_eq!(asking.await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let (binary, asking, _release) = with_a_question_under_way(&[]).await;
        let address = binary.url.trim_start_matches("http://").to_owned();
        let mut idle = TcpStream::connect(&address).await.unwrap();
        signal("TERM", &binary);
        // Once this ends, the first signal has come.
        tokio::time::timeout(HANGS_AFTER, idle.read_to_end(&mut Vec::new())).await.unwrap().ok();
        signal(name, &binary);
        assert_eq!(end(binary).await.code(), Some(code));
        assert_eq!(asking.await.unwrap(), 0);
    }
}

/// Systemd's side of the socket; nobody sends before it is there.
fn systemd(folder: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
    socket.set_read_timeout(Some(HANGS_AFTER)).unwrap();
    socket
}

fn notice(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let socket = systemd(folder.path());
    let mut command = command(&["--port", "0"]);
    let binary = Binary::spawn(command.env("NOTIFY_SOCKET", folder.path().join("notify")));
    assert_eq!(notice(&socket), "READY=1");
    signal("TERM", &binary);
    assert_eq!(notice(&socket), "STOPPING=1");
    assert!(end(binary).await.success());
}

/// What a server says of a model that it cannot load.
const NO_MODEL: &str = if cfg!(feature = "model") { "broken.gguf" } else { "Build it with the default features" };

#[test]
fn a_model_that_cannot_be_loaded_ends_it_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("broken.gguf");
    std::fs::write(&model, "this is no model").unwrap();
    let output = command(&["--port", "0", "--model", model.to_str().unwrap()]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    let last = message.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains(NO_MODEL), "{message}");
}

/// A tiny model; its file, which may be put into the place of another one.
#[cfg(feature = "model")]
fn tiny(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/mistral").join(name)
}

#[cfg(feature = "model")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_loaded_at_the_start_or_by_the_first_question() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.gguf");
    std::fs::copy(tiny("f32.gguf"), &model).unwrap();
    let http = builder().build().unwrap();
    let get = async |binary: &Binary, path: &str| {
        let answer = http.get(format!("{}{path}", binary.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    for lazy in [false, true] {
        let arguments = ["--model", model.to_str().unwrap(), "--lazy"];
        let binary = Binary::start(&arguments[..if lazy { 3 } else { 2 }]);
        if lazy {
            let unloaded = json!({"status": "unloaded", "model": "unloaded"});
            assert_eq!(get(&binary, "/health/ready").await, (503, unloaded));
            let asked = http.post(format!("{}/v1/score", binary.url)).body(question("q\n", &["x"])).send().await;
            assert_eq!(asked.unwrap().status().as_u16(), 503);
        }
        eventually(async || get(&binary, "/health/ready").await.0 == 200).await;
        let quantization = async || get(&binary, "/info").await.1["model"]["quantization"].clone();
        let before = quantization().await;
        // Another file under the same name.
        let other = folder.path().join("other.gguf");
        std::fs::copy(tiny(if lazy { "f32.gguf" } else { "q8_0.gguf" }), &other).unwrap();
        std::fs::rename(&other, &model).unwrap();
        signal("HUP", &binary);
        eventually(async || quantization().await != before).await;
        assert_eq!(get(&binary, "/health/ready").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_read_again_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "admin old\n").unwrap();
    let binary = Binary::start(&["--api-key-file", file.to_str().unwrap()]);
    let http = builder().build().unwrap();
    let opens = async |key: &str| {
        let sent = http.get(format!("{}/info", binary.url)).bearer_auth(key).send().await;
        sent.unwrap().status().as_u16()
    };
    assert_eq!((opens("old").await, opens("new").await), (200, 401));
    std::fs::write(&file, "score new\n").unwrap();
    signal("HUP", &binary);
    eventually(async || opens("new").await == 200).await;
    assert_eq!(opens("old").await, 401);
    // What is no list of keys changes nothing.
    std::fs::write(&file, "\n").unwrap();
    signal("HUP", &binary);
    std::fs::write(&file, "score newer\n").unwrap();
    signal("HUP", &binary);
    eventually(async || opens("newer").await == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("accel.toml");
    let text = "max-items = 11\nmax-tokens = 12\ndeadline = 13\nport = 0\ncors-origin = [\"https://a.example\"]\n";
    std::fs::write(&file, text).unwrap();
    let arguments = ["serve", "--config", file.to_str().unwrap(), "--max-items=31"];
    let binary = Binary::spawn(command(&arguments).env("ACCEL_MAX_TOKENS", "22").env("ACCEL_MAX_ITEMS", "21"));
    let info: Value =
        builder().build().unwrap().get(format!("{}/info", binary.url)).send().await.unwrap().json().await.unwrap();
    let limits = ["items", "tokens", "deadline_s"].map(|name| info["limits"][name].as_f64().unwrap());
    assert_eq!(limits, [31.0, 22.0, 13.0]);
}

#[test]
fn what_is_wrong_in_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("accel.toml");
    for (text, wanted) in [
        ("prot = 1", "prot is no option"),
        ("config = \"x\"", "config is no option"),
        ("help = true", "help is no option"),
        ("[server]\nport = 1", "server is no option"),
        ("port = ", "is no TOML"),
        ("port = 1.5", "port = 1.5. Give a text or a whole number"),
        ("lazy = 1", "Give true or false"),
        ("cors-origin = \"https://a.example\"", "Give a list"),
        ("runs = 0", "--runs"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = command(&["--config", file.to_str().unwrap()]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(wanted), "{text}: {message}");
    }
    let output = command(&["--config", "/nowhere/accel.toml"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/accel.toml"));
}

/// The options of `serve` by their names.
fn options() -> Vec<(String, String)> {
    let help = command(&["--help"]).stdout(Stdio::piped()).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let mut options: Vec<(String, String)> = Vec::new();
    for line in help.lines().map(str::trim) {
        if let Some(flag) = line.strip_prefix("--").or_else(|| line.split_once(", --").map(|(_, flag)| flag)) {
            options.push((flag.split([' ', '=']).next().unwrap().to_owned(), String::new()));
        } else if let Some((_, text)) = options.last_mut() {
            text.push_str(line);
        }
    }
    options.retain(|(name, _)| name != "help" && name != "version");
    options
}

#[test]
fn every_option_has_its_name_in_the_environment() {
    let options = options();
    assert!(options.len() > 35, "{}", options.len());
    for (name, text) in options {
        let variable = format!("[env: ACCEL_{}", name.to_uppercase().replace('-', "_"));
        let (_, rest) = text.split_once(&variable).unwrap_or_else(|| panic!("--{name}: {text}"));
        assert!(rest.starts_with(['=', ']']), "--{name}: {text}");
    }
}

#[test]
fn numbers_out_of_their_range_are_refused_and_never_panic() {
    let numbers = options().into_iter().filter(|(name, _)| {
        let help = ["timeout", "limit", "entries", "items", "tokens", "concurrency", "retries"];
        let exact = ["runs", "jobs", "threads", "connections", "deadline", "grace"];
        help.iter().any(|part| name.ends_with(part)) || exact.contains(&name.as_str())
    });
    let numbers: Vec<String> = numbers.map(|(name, _)| name).collect();
    assert!(numbers.len() >= 20, "{numbers:?}");
    for name in numbers {
        let from_0 = ["cache-entries", "remote-retries", "grace"].contains(&name.as_str());
        let zero = (!from_0).then_some("0");
        for bad in zero.into_iter().chain(["18446744073709551615", "-1", "1.5", "x"]) {
            let output = command(&[&format!("--{name}={bad}"), "--port", "0"]).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "--{name}={bad}: {message}");
            assert!(message.contains(&format!("--{name}")) && !message.contains("panicked"), "{message}");
        }
    }
    for (option, wanted) in [
        ("--cors-origin=*", "Name each origin"),
        ("--cors-origin=https://a.example/", "Write https://a.example"),
        ("--cors-origin=a.example", "not an origin"),
        ("--cors-origin=https://A.example", "Write https://a.example"),
        ("--allowed-host=http://a", "not a name"),
        ("--tls-cert=x", "--tls-key"),
        ("--rate-limit=5", "--api-key-file"),
    ] {
        let output = command(&[option, "--port", "0"]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(wanted), "{option}: {message}");
    }
}
