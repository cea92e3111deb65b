//! Jobs over restarts of the real binary: what ended is there, what had not is told, and the file is checked and bounded.

use std::path::Path;

use accel_model::client::builder;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use infer_server::health::Health;
use infer_server::jobs::{JobLimits, JobsFile};
use infer_server::service::{Config, router};
use reqwest::Client;
use serde_json::{Value, json};

use crate::common::{Answer, eventually, send};
#[cfg(unix)]
use crate::kill::{Binary, command};
#[cfg(unix)]
use crate::lifecycle::engine;

/// A job that takes no time.
pub(crate) fn quick(seed: usize) -> Value {
    json!({"run": {"workload": {"synthetic": {}}, "seed": seed, "policies": ["lru"]}})
}

fn client() -> Client {
    builder().build().unwrap()
}

/// Starts a job; its name.
pub(crate) async fn start(url: &str, job: &Value) -> String {
    let sent = client().post(format!("{url}/v1/jobs")).body(job.to_string()).send().await.unwrap();
    assert_eq!(sent.status().as_u16(), 202);
    sent.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

/// A job as it is, and the status of the answer.
pub(crate) async fn look(url: &str, id: &str) -> (u16, Value) {
    let answer = client().get(format!("{url}/v1/jobs/{id}")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// A job once it has ended.
pub(crate) async fn ended(url: &str, id: &str) -> Value {
    let events = client().get(format!("{url}/v1/jobs/{id}/events")).send().await.unwrap();
    // The stream ends with the job.
    events.text().await.unwrap();
    look(url, id).await.1
}

/// Checks that a job was under way when the server was killed.
#[track_caller]
pub(crate) fn was_interrupted(job: &Value) {
    let error = job["error"]["error"].as_str().unwrap_or_else(|| panic!("{job}"));
    assert!(job["status"] == "failed" && error.starts_with("interrupted: "), "{job}");
    assert!(error.contains("Start it again with POST /v1/jobs"), "{error}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_finds_its_jobs_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.redb");
    let (engine, come, _release) = engine().await;
    let remote = ["--remote", &engine, "--remote-kind", "llama-cpp", "--remote-model", "m"];
    let arguments = [&remote[..], &["--jobs-file", file.to_str().unwrap()]].concat();
    let binary = Binary::start(&arguments);
    let done = start(&binary.url, &quick(1)).await;
    let before = ended(&binary.url, &done).await;
    assert_eq!((&before["status"], before["result"].is_object()), (&json!("done"), true), "{before}");
    let failed = start(&binary.url, &json!({"evictions": {"num_layers": 0}})).await;
    let problem = ended(&binary.url, &failed).await;
    assert_eq!(problem["status"], "failed", "{problem}");
    let forgotten = start(&binary.url, &quick(2)).await;
    ended(&binary.url, &forgotten).await;
    let deleted = client().delete(format!("{}/v1/jobs/{forgotten}", binary.url)).send().await;
    assert_eq!(deleted.unwrap().status().as_u16(), 204);
    // These wait for their engine.
    let waiting = json!({"evictions": {"num_layers": 1}});
    let stopped = start(&binary.url, &waiting).await;
    come.acquire().await.unwrap().forget();
    let deleted = client().delete(format!("{}/v1/jobs/{stopped}", binary.url)).send().await;
    assert_eq!(deleted.unwrap().json::<Value>().await.unwrap()["status"], "cancelled");
    let running = start(&binary.url, &waiting).await;
    come.acquire().await.unwrap().forget();
    drop(binary);
    for _ in 0..2 {
        let binary = Binary::start(&arguments);
        assert_eq!(look(&binary.url, &done).await, (200, before.clone()));
        assert_eq!(look(&binary.url, &failed).await, (200, problem.clone()));
        assert_eq!(look(&binary.url, &forgotten).await.0, 404);
        assert_eq!(look(&binary.url, &stopped).await.1["status"], "cancelled");
        was_interrupted(&look(&binary.url, &running).await.1);
        // What ended is no load.
        let counts = client().get(format!("{}/metrics", binary.url)).send().await.unwrap();
        assert!(counts.text().await.unwrap().contains("\naccel_jobs 0\n"));
        let second = command(&[&arguments[..], &["--port", "0"]].concat()).output().unwrap();
        let message = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(!second.status.success() && message.contains("Stop the server that uses it"), "{message}");
    }
}

/// A service on the file, without a model.
async fn service(file: &Path, jobs: JobLimits) -> Router {
    // The one before is gone once its last job has.
    let busy = || JobsFile::open(file).err().is_some_and(|error| error.to_string().contains("Stop the server"));
    eventually(async || !busy()).await;
    let jobs_file = Some(JobsFile::open(file).unwrap());
    router(&Config { jobs, jobs_file, ..Config::default() }, Health::default())
}

async fn get(router: &Router, path: &str) -> Answer {
    send(router.clone(), Request::get(path).body(Body::empty()).unwrap()).await
}

/// Does a job to its end; its name.
async fn run(router: &Router, seed: usize) -> String {
    let answer = send(router.clone(), Request::post("/v1/jobs").body(quick(seed).to_string().into()).unwrap()).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(get(router, &format!("/v1/jobs/{id}/events")).await.text.contains("event: done"));
    id
}

/// Makes a file with one job in it; the job's name, and the bytes.
async fn written(file: &Path) -> (String, Vec<u8>) {
    let first = service(file, JobLimits::default()).await;
    let id = run(&first, 1).await;
    drop(first);
    // Once the one before is gone, and the file is closed.
    drop(service(file, JobLimits::default()).await);
    (id, std::fs::read(file).unwrap())
}

#[tokio::test]
async fn the_file_holds_what_memory_holds_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.redb");
    let limits = |finished| JobLimits { finished, ..JobLimits::default() };
    let first = service(&file, limits(3)).await;
    let mut ids = Vec::new();
    for seed in 0..5 {
        ids.push(run(&first, seed).await);
    }
    // Looking at one drops those that are over.
    assert_eq!(get(&first, &format!("/v1/jobs/{}", ids[4])).await.status, 200);
    drop(first);
    let bytes = std::fs::metadata(&file).unwrap().len();
    let found = async |router: &Router| {
        let mut found = Vec::new();
        for id in &ids {
            found.push(get(router, &format!("/v1/jobs/{id}")).await.status == 200);
        }
        found
    };
    let again = service(&file, limits(3)).await;
    assert_eq!(found(&again).await, [false, false, true, true, true]);
    drop(again);
    // Lower limits hold for those of before: the youngest stay. Those that are over are gone for good.
    let fewer = service(&file, limits(1)).await;
    assert_eq!(found(&fewer).await, [false, false, false, false, true]);
    drop(fewer);
    assert_eq!(found(&service(&file, limits(3)).await).await, [false, false, false, false, true]);
    // None is kept for longer than it may, and the file does not grow with what was in it.
    let kept = JobLimits { kept: std::time::Duration::ZERO, ..limits(3) };
    let none = service(&file, kept).await;
    assert_eq!(found(&none).await, [false; 5]);
    for seed in 5..30 {
        send(none.clone(), Request::post("/v1/jobs").body(quick(seed).to_string().into()).unwrap()).await;
    }
    assert!(std::fs::metadata(&file).unwrap().len() <= 4 * bytes);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.redb");
    let (id, whole) = written(&file).await;
    // Cut short, and other bytes where the page is named that names all others.
    let mut other = whole.clone();
    other[64..320].iter_mut().for_each(|byte| *byte ^= 0x55);
    for (name, bytes) in [("short", &whole[..whole.len() / 3]), ("other", &other)] {
        let (file, aside) = (folder.path().join(name), folder.path().join(format!("{name}.damaged")));
        std::fs::write(&file, bytes).unwrap();
        let fresh = service(&file, JobLimits::default()).await;
        get(&fresh, &format!("/v1/jobs/{id}")).await.refuses(404, "no job");
        run(&fresh, 2).await;
        assert!(std::fs::read(&aside).unwrap().starts_with(&bytes[..9]));
    }
    // The whole one is as good as before.
    assert_eq!(get(&service(&file, JobLimits::default()).await, &format!("/v1/jobs/{id}")).await.status, 200);
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "not a database, but a text of some length").unwrap();
    let error = JobsFile::open(&text).unwrap_err().to_string();
    assert!(error.contains("notes.txt") && error.contains("name another with --jobs-file"), "{error}");
    assert!(text.exists());
    let error = JobsFile::open(&folder.path().join("nowhere/jobs.redb")).unwrap_err().to_string();
    assert!(error.contains("Name a file that can be written"), "{error}");
}

/// Any byte of the file may be another: the server starts, or says why it does not.
#[tokio::test]
async fn no_damage_of_the_file_ends_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.redb");
    let (id, whole) = written(&file).await;
    let mut opened = 0;
    for place in (0..whole.len()).step_by(whole.len() / 97) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0xff;
        let file = folder.path().join(format!("{place}.redb"));
        std::fs::write(&file, &bytes).unwrap();
        match JobsFile::open(&file) {
            Ok(jobs_file) => {
                let router = router(&Config { jobs_file: Some(jobs_file), ..Config::default() }, Health::default());
                let found = get(&router, &format!("/v1/jobs/{id}")).await;
                assert!(matches!(found.status.as_u16(), 200 | 404), "{place}: {}", found.text);
                run(&router, 3).await;
                opened += 1;
            }
            // It does not begin as a database any more.
            Err(error) => assert!(place < 9 && error.to_string().contains("Delete the file"), "{place}: {error}"),
        }
    }
    assert!(opened > 90, "{opened}");
}
