//! The endpoints that ask a model, against one that tests can steer.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use infer_server::auth::Keys;
use infer_server::health::Health;
use infer_server::jobs::JobLimits;
use infer_server::scoring::Limits;
use infer_server::service::{Config, router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::common::{Answer, HANGS_AFTER, Server, check, eventually, limits, question, send, server, server_with};

#[tokio::test]
async fn scores_are_distributions_and_equal_items_are_asked_once() {
    let server = server(limits()).ready().await;
    let items = ["red", "blue", "red", "green"];
    let answer = server.post("/v1/score", question("q\n", &items)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    assert_eq!((&answer["scorer"], &answer["model"]), (&json!("local"), &json!("fake")));
    assert_eq!(answer["labels"], json!(["a", "b"]));
    check(&answer, "q\n", &items, None);
    assert_eq!(server.orders.seen().items, 3);

    // Asked before: nothing of it, part of it.
    check(&server.post("/v1/score", question("q\n", &["green", "red"])).await.json(), "q\n", &["green", "red"], None);
    assert_eq!(server.orders.seen().items, 3);
    check(&server.post("/v1/score", question("q\n", &["red", "new"])).await.json(), "q\n", &["red", "new"], None);
    assert_eq!(server.orders.seen().items, 4);
    check(&server.post("/v1/score", question("Q\n", &["red"])).await.json(), "Q\n", &["red"], None);
    assert_eq!(server.orders.seen().items, 5);

    // Digits are the labels of those who name none.
    let digits = server.post("/v1/score", r#"{"items":["x"]}"#).await.json();
    assert_eq!(digits["items"][0]["probabilities"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn long_requests_keep_their_order() {
    let server = server(limits()).ready().await;
    let items: Vec<String> = (0..3000).map(|i| format!("item {}", i * 7 % 1500)).collect();
    let answer = server.post("/v1/score", question("q\n", &items)).await;
    check(&answer.json(), "q\n", &items, None);
    assert_eq!(server.orders.seen().items, 1500);
}

#[tokio::test]
async fn the_first_question_loads_the_model() {
    let server = server(limits());
    let ready = server.get("/health/ready").await;
    assert_eq!((ready.status.as_u16(), ready.json()), (503, json!({"status": "unloaded", "model": "unloaded"})));
    server.orders.hold_load(true);
    server.post("/v1/score", question("q\n", &["x"])).await.refuses(503, "is being loaded");
    server.orders.until(|seen| seen.loads == 1).await;
    let ready = server.get("/health/ready").await;
    assert_eq!((ready.status.as_u16(), ready.json()["status"].clone()), (503, json!("loading")));
    assert_eq!(server.get("/health/live").await.status, 200);
    server.post("/predict-schedule", "{}").await.refuses(503, "is being loaded");
    // What needs no model goes on.
    assert_eq!(server.post("/simulate?policy=lru", "{}").await.status, 200);
    server.orders.hold_load(false);
    let server = server.ready().await;
    assert_eq!(server.get("/health/ready").await.json(), json!({"status": "ready", "model": "ready"}));
    assert_eq!(server.post("/v1/score", question("q\n", &["x"])).await.status, 200);
    assert_eq!(server.orders.seen().loads, 1);
}

/// A server whose model is refused for long after a failure, and one whose model is loaded again at once.
fn after_a_failure() -> [Server; 2] {
    [HANGS_AFTER, Duration::ZERO].map(|reload_after| server_with(limits(), Config::default(), Some(reload_after)))
}

/// What `/health/ready` says once the model has failed.
async fn failed(server: &Server) -> Answer {
    let ready = || server.get("/health/ready");
    eventually(async || ready().await.json()["status"] == "failed").await;
    ready().await
}

#[tokio::test]
async fn a_model_that_does_not_load_says_why_and_is_tried_again_later() {
    let [refusing, retrying] = after_a_failure();
    for server in [&refusing, &retrying] {
        server.orders.fail_load();
        server.post("/v1/score", question("q\n", &["x"])).await.refuses(503, "is being loaded");
        let failed = failed(server).await;
        assert_eq!(failed.status, 503);
        assert!(failed.json()["problem"].as_str().unwrap().contains("Download it again"), "{}", failed.text);
    }
    refusing.post("/v1/score", question("q\n", &["x"])).await.refuses(500, "Download it again");
    assert_eq!(refusing.orders.seen().loads, 1);
    let retrying = retrying.ready().await;
    assert_eq!(retrying.post("/v1/score", question("q\n", &["x"])).await.status, 200);
    assert_eq!(retrying.orders.seen().loads, 2);
}

#[tokio::test]
async fn what_breaks_in_the_model_costs_its_request_only() {
    let [refusing, retrying] = after_a_failure();
    let (refusing, retrying) = (refusing.ready().await, retrying.ready().await);
    for server in [&refusing, &retrying] {
        server.post("/v1/score", question("q\n", &["nan"])).await.refuses(500, "not finite");
        assert_eq!(server.post("/v1/score", question("q\n", &["x"])).await.status, 200);

        let broken = server.post("/v1/score", question("q\n", &["panic"])).await;
        broken.refuses(500, "it panicked");
        // What a panic says is for the log.
        assert!(!broken.text.contains("told to"), "{}", broken.text);
        assert_eq!(failed(server).await.status, 503);
    }
    refusing.post("/v1/score", question("q\n", &["y"])).await.refuses(500, "it panicked");
    let retrying = retrying.ready().await;
    assert_eq!(retrying.post("/v1/score", question("q\n", &["y"])).await.status, 200);
    assert_eq!(retrying.orders.seen().loads, 2);
}

#[tokio::test]
async fn bad_requests_name_the_place_and_the_cure() {
    let small = Limits { items: 10, tokens: 1000, labels: 10, text_bytes: 500, ..limits() };
    let server = server(small).ready().await;
    let ask = |body: Value| server.post("/v1/score", body.to_string());
    ask(json!({"items": vec!["x"; 11]})).await.refuses(413, "--max-items");
    ask(json!({"items": ["x"], "labels": "abcdefghijk".chars().collect::<Vec<_>>()}))
        .await
        .refuses(413, "Choose among fewer labels");
    ask(json!({"items": ["x".repeat(501)]})).await.refuses(413, "501 bytes");
    let long: Vec<String> = (0..10).map(|i| format!("{i}").repeat(200)).collect();
    ask(json!({"items": long})).await.refuses(413, "--max-tokens");
    ask(json!({"items": []})).await.refuses(422, "at least one item");
    ask(json!({"items": [""], "labels": ["a"]})).await.refuses(422, "items[0]: it has no tokens");
    ask(json!({"items": ["x"], "labels": []})).await.refuses(422, "at least one label");
    ask(json!({"items": ["x"], "labels": ["a", ""]})).await.refuses(422, "labels[1]: it is empty");
    ask(json!({"items": ["x"], "labels": ["a", "b", "a"]})).await.refuses(422, "named twice");
    ask(json!({"items": ["x"], "labels": ["ab"]})).await.refuses(422, "Choose one that is one token");
    ask(json!({"items": ["x"], "lables": ["a"]})).await.refuses(422, "unknown field `lables`");
    ask(json!({"items": "x"})).await.refuses(422, "expected a sequence");
    ask(json!({})).await.refuses(422, "missing field `items`");
    server.post("/v1/score", "").await.refuses(422, "line 1");
    server.post("/v1/score", &b"{\"items\":[\"\xff\"]}"[..]).await.refuses(422, "line 1, column");
    assert_eq!(server.orders.seen().items, 0);
    assert_eq!(ask(json!({"items": ["x"]})).await.status, 200);
}

#[tokio::test]
async fn a_prompt_of_ten_megabytes_is_refused() {
    let server = server(limits()).ready().await;
    let body = json!({ "items": ["x".repeat(10 << 20)] }).to_string();
    server.post("/v1/score", body).await.refuses(413, "a string of 10485760 bytes");
    let body = json!({ "items": ["x".repeat(5000)] }).to_string();
    server.post("/v1/score", body).await.refuses(413, "query and items[0] have 5000 tokens, and the model reads 4096");
    // As is a body over the limit of all bodies, in JSON like every refusal.
    server.post("/v1/score", vec![b' '; (16 << 20) + 1]).await.refuses(413, "--body-limit");
    server.post("/simulate", vec![b' '; (16 << 20) + 1]).await.refuses(413, "--body-limit");
}

/// Asks while the model is held; the task ends with the answer.
fn ask(server: &Server, items: Vec<String>) -> tokio::task::JoinHandle<Answer> {
    let request = Request::post("/v1/score").body(Body::from(question("q\n", &items))).unwrap();
    tokio::spawn(send(server.router.clone(), request))
}

fn items(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{name}{i}")).collect()
}

#[tokio::test]
async fn a_full_queue_refuses_single_and_batch_alike() {
    let small = Limits { items: 8, queue_items: 10, ..limits() };
    let server = server(small).ready().await;
    server.orders.hold();
    let first = ask(&server, items("first", 8));
    server.orders.until(|seen| seen.passes == 1).await;
    server.post("/v1/score", question("q\n", &items("batch", 3))).await.refuses(429, "Try again in");
    let second = ask(&server, items("second", 2));
    server.counts("accel_queue_items 10\n").await;
    server.post("/v1/score", question("q\n", &["one"])).await.refuses(429, "Try again in");
    server.orders.release();
    check(&first.await.unwrap().json(), "q\n", &items("first", 8), None);
    check(&second.await.unwrap().json(), "q\n", &items("second", 2), None);
    assert_eq!(server.post("/v1/score", question("q\n", &["one"])).await.status, 200);
    assert!(server.get("/metrics").await.text.contains("accel_queue_items 0"));
}

#[tokio::test]
async fn a_request_past_its_deadline_is_504_in_the_queue_and_in_the_model() {
    let server = server(Limits { deadline: Duration::from_millis(100), ..limits() }).ready().await;
    server.orders.hold();
    // On a busy machine the deadline may pass before the model's turn comes: then another one is asked.
    while server.orders.seen().passes == 0 {
        ask(&server, items("running", 2)).await.unwrap().refuses(504, "POST /v1/jobs");
    }
    server.orders.until(|seen| seen.cancelled == 1).await;
    // A job has no deadline, so it holds the model while the next request waits.
    let job = server.post("/v1/jobs", r#"{"evictions":{"num_layers":4}}"#).await;
    server.orders.until(|seen| seen.passes == 2).await;
    ask(&server, items("waiting", 2)).await.unwrap().refuses(504, "--deadline");
    server.orders.release();
    let done = finished(&server, &job).await;
    assert_eq!(done["status"], "done");
    eventually(async || server.post("/v1/score", question("q\n", &["x"])).await.status == 200).await;
    let (asked, wanted) = (server.orders.seen().items, done["result"]["prompts"].as_u64().unwrap() as usize + 1);
    assert_eq!(asked, wanted, "the model was asked what nobody waited for");
}

#[tokio::test]
async fn what_a_client_leaves_is_cancelled_or_dropped() {
    let server = server(limits()).ready().await;
    server.orders.hold();
    let running = ask(&server, items("running", 2));
    server.orders.until(|seen| seen.passes == 1).await;
    let waiting = ask(&server, items("waiting", 2));
    server.counts("accel_queue_items 4\n").await;
    // In this order: the one that waits must be gone before its turn comes.
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    running.abort();
    server.orders.until(|seen| seen.cancelled == 1).await;
    server.counts("accel_abandoned_requests_total 2\n").await;
    server.counts("accel_queue_items 0\n").await;
    let seen = server.orders.seen();
    assert_eq!((seen.passes, seen.items), (1, 0));
}

#[tokio::test]
async fn a_short_request_is_not_stuck_behind_a_long_one() {
    let server = server(limits()).ready().await;
    server.orders.hold();
    let long = ask(&server, items("long", 3000));
    server.orders.until(|seen| seen.passes == 1).await;
    let short = ask(&server, items("short", 1));
    server.counts("accel_queue_items 3001\n").await;
    // The pass under way, and one of the short request.
    server.orders.allow(2);
    check(&short.await.unwrap().json(), "q\n", &items("short", 1), None);
    assert!(!long.is_finished(), "the short request came after the long one");
    let asked = server.orders.seen().items;
    assert!(asked < 1000, "{asked} items before the short one");
    server.orders.release();
    check(&long.await.unwrap().json(), "q\n", &items("long", 3000), None);
}

#[tokio::test]
async fn adapters_are_swapped_between_pieces() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two", "bad"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let config = Config { adapters: Some(folder.path().to_owned()), ..Config::default() };
    let server = server_with(limits(), config, None).ready().await;
    let adapter = |path: Value| server.post("/v1/adapter", json!({ "path": path }).to_string());
    let score = || server.post("/v1/score", question("q\n", &["x"]));
    check(&score().await.json(), "q\n", &["x"], None);
    assert_eq!(adapter(json!("one")).await.json()["adapter"], "one");
    check(&score().await.json(), "q\n", &["x"], Some("one"));
    assert_eq!(server.get("/info").await.json()["adapter"], "one");
    adapter(json!("bad")).await.refuses(422, "another shape");
    check(&score().await.json(), "q\n", &["x"], Some("one"));
    adapter(json!("three")).await.refuses(422, "no such adapter");
    for outside in ["..", "../x", "/tmp", "one/../..", "."] {
        adapter(json!(outside)).await.refuses(422, "--adapters");
    }
    server.post("/v1/adapter", "{}").await.refuses(422, "missing field `path`");

    // A request under way is not answered by two adapters: four passes of it were by the first.
    server.orders.hold();
    let (passes, long) = (server.orders.seen().passes, ask(&server, items("long", 1000)));
    server.orders.until(|seen| seen.passes == passes + 1).await;
    server.orders.allow(3);
    server.orders.until(|seen| seen.passes == passes + 4).await;
    let mut swap = std::pin::pin!(server.queue().set_adapter(Some(folder.path().join("two"))));
    // The branches are polled in order: it is on its way now, and waits for the pass under way.
    tokio::select! {
        biased;
        _ = swap.as_mut() => panic!("it came in the middle of a pass"),
        () = std::future::ready(()) => {}
    }
    server.orders.release();
    assert_eq!(swap.await.unwrap().adapter.as_deref(), Some("two"));
    check(&long.await.unwrap().json(), "q\n", &items("long", 1000), Some("two"));
    assert_eq!(adapter(json!("two")).await.json()["adapter"], "two");

    // The answers of each are kept apart.
    let asked = server.orders.seen().items;
    assert_eq!(adapter(Value::Null).await.json()["adapter"], Value::Null);
    check(&score().await.json(), "q\n", &["x"], None);
    assert_eq!(server.orders.seen().items, asked);

    crate::common::server(limits())
        .ready()
        .await
        .post("/v1/adapter", r#"{"path":null}"#)
        .await
        .refuses(501, "--adapters DIR");
}

#[tokio::test]
async fn a_model_is_loaded_anew_while_it_answers() {
    let server = server(limits()).ready().await;
    server.orders.hold();
    let running = ask(&server, items("running", 2));
    server.orders.until(|seen| seen.passes == 1).await;
    let waiting = ask(&server, items("waiting", 2));
    server.counts("accel_queue_items 4\n").await;
    server.orders.hold_load(true);
    let reload = Request::post("/v1/reload").body(Body::empty()).unwrap();
    let reload = tokio::spawn(send(server.router.clone(), reload));
    server.orders.until(|seen| seen.loads == 2).await;
    // The old one goes on meanwhile.
    assert_eq!(server.get("/health/ready").await.json()["status"], "ready");
    server.orders.allow(1);
    check(&running.await.unwrap().json(), "q\n", &items("running", 2), None);
    server.orders.until(|seen| seen.passes == 2).await;
    let later = ask(&server, items("later", 2));
    server.counts("accel_queue_items 4\n").await;
    server.orders.hold_load(false);
    server.orders.release();
    let renewed = reload.await.unwrap();
    assert_eq!((renewed.status.as_u16(), renewed.json()["name"].clone()), (200, json!("fake")));
    check(&waiting.await.unwrap().json(), "q\n", &items("waiting", 2), None);
    check(&later.await.unwrap().json(), "q\n", &items("later", 2), None);
    server.counts("accel_queue_items 0\n").await;

    // One that cannot be loaded changes nothing.
    server.orders.fail_load();
    server.post("/v1/reload", "").await.refuses(500, "Download it again. The old one stays");
    assert_eq!(server.get("/health/ready").await.json()["status"], "ready");
    check(&server.post("/v1/score", question("q\n", &["x"])).await.json(), "q\n", &["x"], None);
    assert_eq!(server.orders.seen().loads, 3);
}

#[tokio::test]
async fn what_waits_is_asked_of_the_model_that_was_loaded_anew() {
    // The fresh model is there a moment after its loader ends, which nobody signals: where the question that waits was
    // faster, it is done again.
    for round in 0.. {
        assert!(round < 1000, "the fresh model is never there in time");
        let server = server(limits()).ready().await;
        server.orders.hold();
        let running = ask(&server, items("running", 2));
        server.orders.until(|seen| seen.passes == 1).await;
        let waiting = ask(&server, items("waiting", 2));
        server.counts("accel_queue_items 4\n").await;
        let reload = Request::post("/v1/reload").body(Body::empty()).unwrap();
        let mut reload = tokio::spawn(send(server.router.clone(), reload));
        server.orders.until(|seen| seen.loads == 2).await;
        server.counts("accel_queue_items 4\n").await;
        server.orders.allow(1);
        check(&running.await.unwrap().json(), "q\n", &items("running", 2), None);
        // One of both is next.
        let fresh_was_next = tokio::select! {
            renewed = &mut reload => {
                assert_eq!(renewed.unwrap().status, 200);
                true
            }
            () = server.orders.until(|seen| seen.passes == 2) => reload.is_finished(),
        };
        server.orders.release();
        check(&waiting.await.unwrap().json(), "q\n", &items("waiting", 2), None);
        server.counts("accel_queue_items 0\n").await;
        if fresh_was_next {
            return;
        }
    }
}

#[tokio::test]
async fn a_model_that_is_loaded_anew_keeps_its_adapter() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("one")).unwrap();
    let config = Config { adapters: Some(folder.path().to_owned()), ..Config::default() };
    let server = server_with(limits(), config, None).ready().await;
    assert_eq!(server.post("/v1/adapter", r#"{"path":"one"}"#).await.status, 200);
    assert!(!server.queue().is_outdated());
    let renewed = server.post("/v1/reload", "").await.json();
    assert_eq!(renewed["adapter"], "one");
    check(&server.post("/v1/score", question("q\n", &["x"])).await.json(), "q\n", &["x"], Some("one"));
    // Chosen while it is loaded: it counts.
    server.orders.hold_load(true);
    let reload = Request::post("/v1/reload").body(Body::empty()).unwrap();
    let reload = tokio::spawn(send(server.router.clone(), reload));
    server.orders.until(|seen| seen.loads == 3).await;
    assert_eq!(server.post("/v1/adapter", r#"{"path":null}"#).await.status, 200);
    server.orders.hold_load(false);
    assert_eq!(reload.await.unwrap().json()["adapter"], Value::Null);
    // The files of an adapter that changed are noticed.
    assert_eq!(server.post("/v1/adapter", r#"{"path":"one"}"#).await.status, 200);
    std::fs::write(folder.path().join("one/adapter_config.json"), "{}").unwrap();
    assert!(server.queue().is_outdated());
}

#[tokio::test]
async fn a_trace_is_scored_by_the_model() {
    let server = server(limits()).ready().await;
    let body = r#"{"num_layers":4}"#;
    let answer = server.post("/v1/evictions", body).await;
    assert!(answer.headers["x-scorer"] == "local" && answer.headers["x-model"] == "fake");
    assert!(!answer.headers.contains_key("x-fallback-reason"));
    let evictions = answer.json();
    let accesses = evictions["accesses"].as_array().unwrap();
    let prompts = evictions["prompts"].as_u64().unwrap() as usize;
    assert!(prompts < accesses.len() && prompts == server.orders.seen().items, "{prompts}");
    for access in accesses {
        let [score, mass, entropy] =
            ["eviction_score", "label_mass", "entropy"].map(|key| access[key].as_f64().unwrap());
        assert!((0.0..=1.0).contains(&score) && (0.0..=1.0).contains(&mass) && entropy > 0.0, "{access}");
    }
    // The prototype's endpoints give the same scores, and ask nothing anew.
    let records = server.post("/predict-schedule", body).await;
    assert!(records.headers["x-scorer"] == "local" && records.headers["x-model"] == "fake");
    for (record, access) in records.json().as_array().unwrap().iter().zip(accesses) {
        assert_eq!(record["eviction_score"], access["eviction_score"]);
        assert_eq!(record["tensor_id"], access["tensor_id"]);
    }
    let by_model = server.post("/simulate?policy=ml", body).await;
    assert_eq!(by_model.headers["x-scorer"], "local");
    let recipe = json!({"workload": {"synthetic": {"num_layers": 4}}, "memory": {"capacity_bytes": 64_000_000}});
    let run = server.post("/v1/run", recipe.to_string()).await;
    assert_eq!(run.status, 200, "{}", run.text);
    assert_eq!(run.headers["x-scorer"], "local");
    assert_eq!(run.json()["scorer"], "local");
    let ml = |answer: &Value| {
        answer["runs"].as_array().unwrap().iter().find(|r| r["policy"] == "ml").unwrap()["hits"].clone()
    };
    assert_eq!(ml(&run.json()), by_model.json()["cache_hits (count)"]);
    assert_eq!(server.orders.seen().items, prompts);
    let of_recipe = server.post("/v1/evictions", json!({ "recipe": recipe }).to_string()).await;
    assert_eq!(of_recipe.json(), evictions);

    // A run without scored policies asks nobody.
    let plain = json!({"workload": {"synthetic": {}}, "policies": ["lru"]}).to_string();
    let plain = server.post("/v1/run", plain).await;
    assert!(plain.status == 200 && !plain.headers.contains_key("x-scorer"));

    for (body, wanted) in [
        (json!({"recipe": {}, "seed": 1}), "either"),
        (json!({"recipe": {"workload": {"file": {"name": "x.csv"}}}}), "cannot carry"),
        (json!({"recipe": {"workload": {"model": {"model": "gpt-9"}}}}), "no such preset"),
        (json!({"num_layers": 0}), "num_layers"),
    ] {
        server.post("/v1/evictions", body.to_string()).await.refuses(422, wanted);
    }
}

#[tokio::test]
async fn without_a_model_the_heuristic_answers_under_its_own_name() {
    let router = router(&Config::default(), Health::default());
    let post =
        |path: &str, body: &str| send(router.clone(), Request::post(path).body(Body::from(body.to_owned())).unwrap());
    let answer = post("/v1/evictions", "{}").await;
    assert_eq!(answer.headers["x-fallback-reason"], "no model is loaded");
    let answer = answer.json();
    assert_eq!((&answer["scorer"], &answer["fallback_reason"]), (&json!("heuristic"), &json!("no model is loaded")));
    assert_eq!((&answer["accesses"][0]["label_mass"], &answer["prompt_version"]), (&Value::Null, &Value::Null));
    let run = post("/v1/run", "{\"workload\":{\"synthetic\":{}}}").await;
    assert!(run.headers["x-scorer"] == "embedded" && run.headers["x-fallback-reason"] == "no model is loaded");
    let named = post("/v1/run", "{\"workload\":{\"synthetic\":{}},\"scorer\":\"history\"}").await;
    assert!(named.headers["x-scorer"] == "history" && !named.headers.contains_key("x-fallback-reason"));
    assert_eq!(named.json()["scorer"], "history");
    post("/v1/score", r#"{"items":["x"]}"#).await.refuses(501, "--model FILE");
    post("/v1/adapter", r#"{"path":null}"#).await.refuses(501, "--model FILE");
    let ready = send(router.clone(), Request::get("/health/ready").body(Body::empty()).unwrap()).await;
    assert_eq!(ready.json(), json!({"status": "ready", "model": "none"}));
}

#[tokio::test]
async fn traces_over_the_limits_are_sent_to_jobs_or_refused() {
    let server = server(Limits { items: 5, accesses: 400, ..limits() }).ready().await;
    server.post("/v1/evictions", "{}").await.refuses(413, "POST /v1/jobs");
    let answer = server.post("/v1/evictions", r#"{"num_layers":100,"max_tensors_per_layer":16}"#).await;
    answer.refuses(413, "the limit is 400");
    let job = server.post("/v1/jobs", r#"{"evictions":{"num_layers":4}}"#).await;
    assert_eq!(finished(&server, &job).await["status"], "done");
}

/// The job once it has ended.
async fn finished(server: &Server, job: &Answer) -> Value {
    assert_eq!(job.status, 202, "{}", job.text);
    let look = || server.get(job.headers["location"].to_str().unwrap());
    let ended = |now: Value| !["queued", "running"].contains(&now["status"].as_str().unwrap());
    eventually(async || ended(look().await.json())).await;
    look().await.json()
}

#[tokio::test]
async fn jobs_do_what_requests_do() {
    let server = server(limits());
    // A job waits for the model to load.
    let job = server.post("/v1/jobs", r#"{"evictions":{"num_layers":4}}"#).await;
    let done = finished(&server, &job).await;
    assert_eq!((&done["status"], &done["kind"]), (&json!("done"), &json!("evictions")), "{done}");
    assert_eq!(done["result"], server.post("/v1/evictions", r#"{"num_layers":4}"#).await.json());
    assert_eq!(done["progress"]["done"], done["progress"]["total"]);

    let recipe = json!({"workload": {"synthetic": {}}, "policies": ["lru", "ml"]});
    let job = server.post("/v1/jobs", json!({ "run": recipe }).to_string()).await;
    let done = finished(&server, &job).await;
    assert_eq!(done["result"], server.post("/v1/run", recipe.to_string()).await.json());

    // Its events end with it, and can be read again.
    let path = format!("{}/events", job.headers["location"].to_str().unwrap());
    let events = server.get(&path).await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    assert!(events.text.contains("event: done") && !events.text.contains("\"result\""), "{}", events.text);

    let path = job.headers["location"].to_str().unwrap();
    assert_eq!(server.delete(path).await.status, 204);
    server.get(path).await.refuses(404, "POST /v1/jobs");
    server.delete(path).await.refuses(404, "POST /v1/jobs");
    for (body, wanted) in [
        ("{}", "one of run and evictions"),
        ("[]", "not an object"),
        (r#"{"sing":{}}"#, "no job is called"),
        (r#"{"run":{},"evictions":{}}"#, "one of"),
        (r#"{"run":{"workload":{"file":{"name":"x.csv"}}}}"#, "cannot carry"),
    ] {
        server.post("/v1/jobs", body).await.refuses(422, wanted);
    }
    // What is wrong inside is the job's own affair.
    let job = server.post("/v1/jobs", r#"{"evictions":{"num_layers":0}}"#).await;
    let failed = finished(&server, &job).await;
    assert_eq!(failed["status"], "failed");
    assert!(failed["error"]["error"].as_str().unwrap().contains("num_layers"), "{failed}");
}

#[tokio::test]
async fn jobs_are_bounded_cancelled_and_followed() {
    let jobs = JobLimits { unfinished: 2, finished: 1, ..JobLimits::default() };
    let server = server_with(limits(), Config { jobs, ..Config::default() }, None).ready().await;
    server.orders.hold();
    let all = server.router.clone().oneshot(Request::get("/events").body(Body::empty()).unwrap()).await.unwrap();
    let all = tokio::spawn(all.into_body().collect());
    let first = server.post("/v1/jobs", r#"{"evictions":{"num_layers":4}}"#).await;
    server.orders.until(|seen| seen.passes == 1).await;
    let second = server.post("/v1/jobs", r#"{"evictions":{"num_layers":5}}"#).await;
    server.post("/v1/jobs", r#"{"evictions":{}}"#).await.refuses(429, "2 jobs");
    let path = first.headers["location"].to_str().unwrap();
    let stopped = server.delete(path).await;
    assert_eq!((stopped.status.as_u16(), &stopped.json()["status"]), (202, &json!("cancelled")));
    // The model drops it as well.
    server.orders.until(|seen| seen.cancelled >= 1).await;
    assert_eq!(server.get(path).await.json()["status"], "cancelled");
    let path = format!("{}/events", second.headers["location"].to_str().unwrap());
    let events = server.router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let mut events = events.into_body();
    let first_event = events.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first_event.starts_with(b"event: progress"), "{first_event:?}");
    server.orders.release();
    assert_eq!(finished(&server, &second).await["status"], "done");
    // Only one result is kept.
    server.get(first.headers["location"].to_str().unwrap()).await.refuses(404, "no job");
    let events = String::from_utf8(events.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(events.contains("event: done"), "{events}");
    // Shutting down ends the streams.
    server.health.drain();
    let all = String::from_utf8(all.await.unwrap().unwrap().to_bytes().to_vec()).unwrap();
    assert!(all.contains("event: cancelled") && all.contains("event: done"), "{all}");
}

#[tokio::test]
async fn a_server_that_shuts_down_takes_no_more_work() {
    let server = server(limits()).ready().await;
    server.orders.hold();
    let request = ask(&server, items("under way", 2));
    server.orders.until(|seen| seen.passes == 1).await;
    let job = server.post("/v1/jobs", r#"{"evictions":{}}"#).await;
    server.health.drain();
    assert_eq!(server.get("/health/ready").await.json()["status"], "draining");
    server.post("/v1/score", question("q\n", &["x"])).await.refuses(503, "shutting down");
    server.post("/v1/evictions", "{}").await.refuses(503, "shutting down");
    server.post("/v1/jobs", r#"{"evictions":{}}"#).await.refuses(503, "shutting down");
    server.post("/predict-schedule", "{}").await.refuses(503, "shutting down");
    assert_eq!(finished(&server, &job).await["status"], "cancelled");
    server.orders.release();
    check(&request.await.unwrap().json(), "q\n", &items("under way", 2), None);
}

#[tokio::test]
async fn a_key_guards_all_but_health_and_documentation() {
    let origins = vec!["https://example.org".parse().unwrap()];
    let config = Config { keys: Some(Keys::new("secret", None).unwrap()), cors_origins: origins, ..Config::default() };
    let server = server_with(limits(), config, None).ready().await;
    let with = |key: &str| {
        let request = Request::post("/v1/score").header("authorization", key);
        send(server.router.clone(), request.body(Body::from(question("q\n", &["x"]))).unwrap())
    };
    for wrong in ["", "Bearer", "Bearer ", "Bearer wrong", "secret", "Basic secret", "Bearer secretsecret"] {
        let answer = with(wrong).await;
        answer.refuses(401, "Authorization: Bearer");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert!(with("Bearer secret").await.status == 200 && with("bearer secret").await.status == 200);
    for path in ["/info", "/metrics", "/events", "/v1/jobs/x"] {
        server.get(path).await.refuses(401, "wants its key");
    }
    server.post("/simulate", "{}").await.refuses(401, "wants its key");
    for path in ["/health/live", "/health/ready", "/openapi.json", "/docs/"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    // A browser asks first, without the key.
    let preflight = Request::builder().method("OPTIONS").uri("/v1/score").header("origin", "https://example.org");
    let preflight = preflight
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .header("access-control-request-private-network", "true");
    let answer = send(server.router.clone(), preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    assert_eq!(answer.headers["access-control-allow-private-network"], "true");
}

#[tokio::test]
async fn the_server_says_what_it_is_and_counts() {
    let server = server(limits()).ready().await;
    server.post("/v1/score", question("q\n", &["x", "y", "x"])).await;
    server.post("/v1/score", question("q\n", &["x"])).await;
    server.post("/v1/score", "{").await;
    let info = server.get("/info").await.json();
    assert_eq!((&info["backend"], &info["state"], &info["device"]), (&json!("local"), &json!("ready"), &json!("cpu")));
    assert_eq!(
        (&info["model"]["quantization"], &info["prompt_version"]),
        (&json!("Q4_K"), &json!(accel_core::score::prompt::VERSION))
    );
    assert_eq!(info["limits"]["deadline_s"], HANGS_AFTER.as_secs_f64());
    let metrics = server.get("/metrics").await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "accel_http_requests_total{route=\"/v1/score\",status=\"200\"} 2",
        "accel_http_requests_total{route=\"/v1/score\",status=\"422\"} 1",
        "accel_scored_items_total 2",
        "accel_scored_tokens_total 4",
        "accel_cache_hits_total 1",
        "accel_cache_misses_total 2",
        "accel_piece_duration_seconds_count 1",
        "accel_queue_wait_seconds_count 1",
        "accel_model_phase{phase=\"ready\"} 1",
        "accel_build{version=\"",
        "# UNIT process_resident_memory_bytes bytes",
        "process_cpu_seconds_total ",
        "process_start_time_seconds ",
    ] {
        assert!(metrics.text.contains(line), "{line} is not in\n{}", metrics.text);
    }
    let api = server.get("/openapi.json").await.json();
    for path in [
        "/v1/score",
        "/v1/evictions",
        "/v1/adapter",
        "/v1/jobs",
        "/v1/jobs/{id}",
        "/v1/jobs/{id}/events",
        "/events",
        "/info",
        "/metrics",
    ] {
        assert!(api["paths"][path].is_object(), "{path} is not documented");
    }
}
