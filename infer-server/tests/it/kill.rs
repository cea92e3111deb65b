//! The real binary: what it refuses at the start, how it stops, and that killing it in the middle of a write loses nothing
//! but what was not written.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::common::{HANGS_AFTER, check, expected, question};
use crate::jobs_file;

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infer-server"));
    command.args(arguments).env_remove("ACCEL_API_KEY").env_remove("ACCEL_MODEL").env_remove("ACCEL_CACHE");
    command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A running binary; killed when dropped.
pub(crate) struct Binary {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Binary {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut command(&[arguments, &["--port", "0"]].concat()))
    }

    /// One that says on which port of this machine it listens.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = String::new();
        let url = loop {
            let Some(line) = lines.next() else { panic!("it did not start:\n{before}") };
            let line = line.unwrap();
            if let Some(at) = line.find("http://127.0.0.1:") {
                break line[at..].split_whitespace().next().unwrap().to_owned();
            }
            before += &line;
        };
        // Read on, or the pipe would fill up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // SIGKILL on Unix: no handler runs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A llama.cpp server with one token per byte and the fake model's answers.
async fn engine() -> (String, Arc<watch::Sender<usize>>) {
    async fn tokenize(Json(body): Json<Value>) -> Json<Value> {
        Json(json!({ "tokens": body["content"].as_str().unwrap().as_bytes() }))
    }
    async fn completion(State(asked): State<Arc<watch::Sender<usize>>>, Json(body): Json<Value>) -> Json<Value> {
        asked.send_modify(|asked| *asked += 1);
        let bytes = body["prompt"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u8).collect();
        let prompt = String::from_utf8(bytes).unwrap();
        let (query, item) = prompt.split_once('\n').unwrap();
        let top = |label: &str| json!({"id": label.as_bytes()[0], "logprob": expected(&format!("{query}\n"), item, label, None)});
        Json(json!({"content": "a", "completion_probabilities": [{"top_logprobs": [top("a"), top("b")]}]}))
    }
    let asked = Arc::new(watch::Sender::new(0));
    let app = Router::new().route("/tokenize", post(tokenize)).route("/completion", post(completion));
    let app = app.with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, asked)
}

async fn score(url: &str, items: &[String]) -> Option<Value> {
    let http = accel_model::client::builder().build().unwrap();
    let sent = http.post(format!("{url}/v1/score")).body(question("q\n", items)).send().await.ok()?;
    assert_eq!(sent.status().as_u16(), 200);
    sent.json().await.ok()
}

fn items(round: usize, request: usize) -> Vec<String> {
    (0..20).map(|i| format!("round {round} request {request} item {i}: ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_write_it_starts_again_and_nothing_is_corrupt() {
    kill(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask bench serve"]
async fn killed_a_hundred_times_it_starts_again_and_nothing_is_corrupt() {
    kill(100).await;
}

/// Kills the binary so many times at least, and until half of what was answered is found in the cache.
async fn kill(rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("scores.redb");
    let (engine, asked) = engine().await;
    let remote = ["--remote", &engine, "--remote-kind", "llama-cpp", "--remote-model", "m"];
    let file = folder.path().join("jobs.redb");
    let arguments =
        [&remote[..], &["--cache", cache.to_str().unwrap(), "--jobs-file", file.to_str().unwrap()]].concat();
    let mut answered: Vec<Vec<String>> = Vec::new();
    // Jobs of the round before: names, and what was seen of those that had ended.
    let mut jobs: Vec<(String, Option<Value>)> = Vec::new();
    for round in 0.. {
        let binary = Binary::start(&arguments);
        // All that was answered before the kills is answered rightly; what was written, from the file.
        let before = *asked.borrow();
        for items in &answered {
            check(&score(&binary.url, items).await.unwrap(), "q\n", items, None);
        }
        for (id, seen) in jobs.drain(..) {
            // Known from when it was started on, and with its result from when somebody saw that.
            match (jobs_file::look(&binary.url, &id).await, seen) {
                ((200, found), Some(seen)) => assert_eq!(found, seen),
                ((200, found), None) if found["status"] == "done" => assert!(found["result"].is_object(), "{found}"),
                ((200, found), None) => jobs_file::was_interrupted(&found),
                ((status, answer), _) => panic!("round {round}: {status} {answer}"),
            }
        }
        let (again, all) = (*asked.borrow() - before, answered.len() * 20);
        if round >= rounds && again < all / 2 {
            break;
        }
        assert!(round < 10 * rounds, "{again} of {all} items are not in the cache, and it does not fill");
        for request in 0..3 + round % 10 {
            let items = items(round, request);
            check(&score(&binary.url, &items).await.unwrap(), "q\n", &items, None);
            answered.push(items);
        }
        for seed in 0..2 {
            let id = jobs_file::start(&binary.url, &jobs_file::quick(seed)).await;
            let seen = if seed == 0 { Some(jobs_file::ended(&binary.url, &id).await) } else { None };
            jobs.push((id, seen));
        }
        // The cache is written while requests come in; the kill falls in the middle of one.
        let (calls, url, last) = (*asked.borrow(), binary.url.clone(), items(round, usize::MAX));
        let asking = tokio::spawn(async move { score(&url, &last).await });
        let mut engine = asked.subscribe();
        let reached = engine.wait_for(|asked| *asked >= calls + round % 20);
        tokio::time::timeout(HANGS_AFTER, reached).await.unwrap().unwrap();
        drop(binary);
        asking.abort();
    }
    still_opens(&cache, &arguments);
}

/// A limit of the file's size stands for a full disk: what is answered does not change, and once there is room, what was
/// written before is there.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_cache_costs_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("scores.redb");
    let (engine, asked) = engine().await;
    let remote = ["--remote", &engine, "--remote-kind", "llama-cpp", "--remote-model", "m"];
    let arguments = [&remote[..], &["--cache", cache.to_str().unwrap()]].concat();
    let first = Binary::start(&arguments);
    let before = items(0, 0);
    check(&score(&first.url, &before).await.unwrap(), "q\n", &before, None);
    // It is on the disk once another process finds it there.
    drop(first);
    let room = std::fs::metadata(&cache).unwrap().len();
    // In units of 512 bytes. A write past it is an error of the file rather than the end of the process.
    let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", room.div_ceil(512));
    let mut shell = Command::new("sh");
    shell.args(["-c", &limited]).arg(env!("CARGO_BIN_EXE_infer-server")).args(&arguments).args(["--port", "0"]);
    shell.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let narrow = Binary::spawn(&mut shell);
    let http = accel_model::client::builder().build().unwrap();
    let unwritten = async || {
        let metrics = http.get(format!("{}/metrics", narrow.url)).send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("accel_cache_unwritten_total ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let mut request = 1;
    while unwritten().await == 0 {
        let items = items(0, request);
        check(&score(&narrow.url, &items).await.unwrap(), "q\n", &items, None);
        request += 1;
    }
    let (calls, last) = (*asked.borrow(), items(0, request - 1));
    check(&score(&narrow.url, &last).await.unwrap(), "q\n", &last, None);
    assert_eq!(*asked.borrow(), calls, "what memory holds was asked again");
    drop(narrow);
    let again = Binary::start(&arguments);
    for request in 0..request {
        let items = items(0, request);
        check(&score(&again.url, &items).await.unwrap(), "q\n", &items, None);
    }
}

/// A second server on the same file is refused while the first one runs, and starts after it.
fn still_opens(cache: &Path, arguments: &[&str]) {
    let first = Binary::start(arguments);
    let second = command(&[arguments, &["--port", "0"]].concat()).output().unwrap();
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && message.contains("Stop the server that uses it"), "{message}");
    drop(first);
    assert!(cache.exists());
    drop(Binary::start(arguments));
}

/// What a server says of a model that is not there, or that it cannot load.
const NO_MODEL: &str = if cfg!(feature = "model") { "is no file" } else { "Build it with the default features" };

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.key");
    std::fs::write(&empty, "\n").unwrap();
    let empty = empty.to_str().unwrap();
    for (arguments, wanted) in [
        (&["--host", "0.0.0.0", "--port", "0"][..], "--allow-unauthenticated"),
        (&["--host", "::", "--port", "0"], "ACCEL_API_KEY"),
        (&["--api-key-file", empty, "--port", "0"], "holds no key"),
        (&["--api-key-file", "/nowhere/key"], "/nowhere/key"),
        (&["serve", "--model", "/nowhere/model.gguf", "--port", "0"], NO_MODEL),
        (&["--remote", "http://h", "--model", "m"], "cannot be used with"),
        (&["--remote", "http://h"], "--remote-kind"),
        (&["--remote", "h:1", "--remote-kind", "vllm", "--remote-model", "m", "--port", "0"], "http://host:port"),
        (&["--adapter", "x"], "--model"),
        (&["--preload"], "unexpected argument"),
        (&["--max-items", "10", "--queue-items", "5", "--port", "0"], "Raise --queue-items"),
        (&["--cache", "/nowhere/cache", "--port", "0"], "cannot use /nowhere/cache as the score cache"),
    ] {
        let output = command(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(wanted), "{arguments:?}: {message}");
    }
}
