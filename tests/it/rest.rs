//! The REST contract: exact keys, right statuses, errors that name field, value and range.

use accel_core::policy::POLICIES;
use accel_core::progress::Unattended;
use accel_core::recipe::Recipe;
use accel_core::run::run;
use accel_tests::{accel, get, post, send, service};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use infer_server::health::Health;
use infer_server::page::Page;
use infer_server::service::{Config, router};
use serde_json::{Value, json};

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn sorted<const N: usize>(mut names: [&str; N]) -> Vec<&str> {
    names.sort_unstable();
    names.to_vec()
}

const RECORD: [&str; 6] = ["tensor_id", "size_mb", "reuse_distance", "stride", "op", "model_type"];

#[tokio::test]
async fn generate_trace_answers_the_prototypes_records() {
    for (model_type, tensors) in [("Transformer", 4), ("CNN", 3), ("MLP", 2), ("MoE", 2)] {
        let request = json!({"model_type": model_type, "num_layers": 5, "reuse_probability": 0.0});
        let answer = post("/generate-trace", request.to_string()).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let records = answer.json().unwrap();
        let records = records.as_array().unwrap();
        assert_eq!(records.len(), 5 * tensors);
        for record in records {
            assert_eq!(keys(record), sorted(RECORD));
            assert!([4.0, 8.0, 16.0, 32.0].contains(&record["size_mb"].as_f64().unwrap()));
            let ops = ["matmul", "attention", "conv", "relu", "gating"];
            assert!(ops.contains(&record["op"].as_str().unwrap()));
            let strides: &[u64] = if model_type == "CNN" { &[1, 2, 4] } else { &[1] };
            assert!(strides.contains(&record["stride"].as_u64().unwrap()));
            assert_eq!(record["model_type"], model_type);
            assert_eq!(record["reuse_distance"], 0);
        }
    }
}

#[tokio::test]
async fn every_field_has_a_default_and_the_seed_decides() {
    let defaults = json!({"model_type": "Transformer", "num_layers": 12, "batch_size": 32, "seq_length": 128,
        "reuse_probability": 0.3, "max_tensors_per_layer": 16, "pattern": "interleaved", "seed": 42});
    let full = post("/generate-trace", defaults.to_string()).await.unwrap();
    for body in ["{}", ""] {
        assert_eq!(post("/generate-trace", body).await.unwrap().text, full.text);
    }
    assert_ne!(post("/generate-trace", r#"{"seed": 1}"#).await.unwrap().text, full.text);
}

#[tokio::test]
async fn burst_counts_reuses_up_from_0() {
    let answer = post("/generate-trace", r#"{"pattern": "burst", "reuse_probability": 1}"#).await.unwrap();
    let records = answer.json().unwrap();
    for (i, record) in records.as_array().unwrap().iter().enumerate() {
        assert_eq!(record["reuse_distance"], i % 6);
    }
}

#[tokio::test]
async fn predict_schedule_adds_scores_and_says_whose() {
    let answer = post("/predict-schedule", "{}").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["x-scorer"], "heuristic");
    assert_eq!(answer.headers["x-fallback-reason"], "no model is loaded");
    // The prototype's keys come first, in its order.
    let places = RECORD.map(|key| answer.text.find(&format!("\"{key}\"")).unwrap());
    let after = ["\"eviction_score\"", "\"scorer\""].map(|key| answer.text.find(key).unwrap());
    assert!(places.is_sorted() && places[5] < after[0] && after[0] < after[1], "{}", &answer.text[..200]);
    let scored = answer.json().unwrap();
    let mut plain = post("/generate-trace", "{}").await.unwrap().json().unwrap();
    let most = |name: &str| {
        let values = scored.as_array().unwrap().iter().map(|r| r[name].as_f64().unwrap());
        values.fold(0.0, f64::max) + 1e-8
    };
    let (size, reuse, stride) = (most("size_mb"), most("reuse_distance"), most("stride"));
    for (record, plain) in scored.as_array().unwrap().iter().zip(plain.as_array_mut().unwrap()) {
        let f = |name: &str| record[name].as_f64().unwrap();
        let expected = 0.4 * f("size_mb") / size + 0.5 * f("reuse_distance") / reuse + 0.1 * f("stride") / stride;
        assert!((f("eviction_score") - expected).abs() < 1e-12);
        plain["eviction_score"] = record["eviction_score"].clone();
        plain["scorer"] = "heuristic".into();
        assert_eq!(record, plain);
    }
}

const METRICS: [&str; 6] = [
    "cache_hits (count)",
    "dram_accesses (count)",
    "total_latency (ms)",
    "evictions (count)",
    "bandwidth_wait_time (ms)",
    "cache_hit_rate (%)",
];

#[tokio::test]
async fn simulate_answers_the_prototypes_metrics_first() {
    let accesses = post("/generate-trace", "{}").await.unwrap().json().unwrap().as_array().unwrap().len() as u64;
    for policy in ["LRU", "fifo", "Ml"] {
        let answer = post(&format!("/simulate?policy={policy}"), "{}").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        // The order of the keys is part of the answer, which a map would not show.
        let places: Vec<usize> = METRICS.iter().map(|key| answer.text.find(key).unwrap()).collect();
        assert!(places.is_sorted() && places[5] < answer.text.find("\"policy\"").unwrap());
        let metrics = answer.json().unwrap();
        let n = |key: &str| metrics[key].as_u64().unwrap();
        assert_eq!(n("cache_hits (count)") + n("dram_accesses (count)"), accesses);
        let rate = metrics["cache_hit_rate (%)"].as_f64().unwrap();
        let exact = 100.0 * n("cache_hits (count)") as f64 / accesses as f64;
        assert!((rate - exact).abs() <= 0.005 + 1e-9, "{rate} {exact}");
        assert!((rate * 100.0 - (rate * 100.0).round()).abs() < 1e-9);
        let miss_mb = n("miss_bytes") as f64 / 1e6;
        let latency = n("cache_hits (count)") as f64 * 0.01 + miss_mb * 0.1 + miss_mb / 32.0;
        assert!((metrics["total_latency (ms)"].as_f64().unwrap() - latency).abs() < 1e-9 * latency);
        assert!((metrics["bandwidth_wait_time (ms)"].as_f64().unwrap() - miss_mb / 32.0).abs() < 1e-9 * miss_mb);
        assert_eq!(n("capacity_bytes"), 64_000_000);
        assert_eq!(answer.headers.get("x-scorer").is_some(), policy == "Ml");
        let scorer = (policy == "Ml").then_some("heuristic");
        assert_eq!(
            (metrics["scorer"].as_str(), metrics["fallback_reason"].as_str().is_some()),
            (scorer, scorer.is_some())
        );
    }
}

#[tokio::test]
async fn every_policy_answers_between_the_bounds() {
    for policy in POLICIES {
        for admission in ["always", "bypass"] {
            let path = format!("/simulate?policy={}&admission={admission}&capacity=100MB", policy.name);
            let answer = post(&path, r#"{"model_type": "MoE", "num_layers": 40}"#).await.unwrap().json().unwrap();
            let number = |key: &str| answer[key].as_u64().unwrap();
            assert_eq!((answer["policy"].as_str(), answer["admission"].as_str()), (Some(policy.name), Some(admission)));
            assert!(number("lower_bound_misses") <= number("best_known_misses"));
            assert!(number("best_known_misses") <= number("dram_accesses (count)"), "{answer}");
            assert!(answer["gap_closed"].as_f64().is_none_or(|gap| gap <= 1.0), "{answer}");
        }
    }
}

#[tokio::test]
async fn records_may_be_sent_back() {
    let trace = post("/generate-trace", r#"{"seed": 9}"#).await.unwrap().text;
    let scored = post("/predict-schedule", trace.clone()).await.unwrap().text;
    for body in [trace, scored] {
        let from_records = post("/simulate?policy=ml", body).await.unwrap();
        let from_request = post("/simulate?policy=ml", r#"{"seed": 9}"#).await.unwrap();
        assert_eq!(from_records.text, from_request.text);
    }
}

#[tokio::test]
async fn validate_trace_answers_the_prototypes_keys() {
    let wanted = sorted([
        "reuse_distribution_p_value (chi-square)",
        "tensor_size_distribution_p_value (KS-test)",
        "interpretation",
    ]);
    let answer = post("/validate-trace", r#"{"num_layers": 48}"#).await.unwrap().json().unwrap();
    assert_eq!(keys(&answer), wanted);
    for key in &wanted[1..] {
        assert!((0.0..=1.0).contains(&answer[*key].as_f64().unwrap()), "{answer}");
    }
    let trace = post("/generate-trace", r#"{"num_layers": 48}"#).await.unwrap().text;
    assert!(answer.get("realism").is_none(), "{answer}");
    let beside = post("/validate-trace?reference=gpt2-large", r#"{"num_layers": 480}"#).await.unwrap().json().unwrap();
    let p_value = beside["realism"]["distances"]["p_value"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&p_value), "{beside}");
    let estimated = post("/validate-trace", trace).await.unwrap().json().unwrap();
    assert_eq!(estimated[wanted[2]], answer[wanted[2]]);
}

#[tokio::test]
async fn bad_requests_name_field_value_and_range() {
    for (path, body, field, message) in [
        (
            "/generate-trace",
            r#"{"num_layers": 0}"#,
            "num_layers",
            "num_layers is 0: out of range. Choose a value from 1 to 1024",
        ),
        ("/generate-trace", r#"{"num_layers": 1025}"#, "num_layers", "from 1 to 1024"),
        ("/generate-trace", r#"{"num_layers": 1e99}"#, "num_layers", "from 1 to 1024"),
        ("/generate-trace", r#"{"num_layers": "12"}"#, "num_layers", "num_layers is \"12\""),
        ("/generate-trace", r#"{"num_layers": null}"#, "num_layers", "num_layers is null"),
        ("/generate-trace", r#"{"batch_size": 4097}"#, "batch_size", "batch_size is 4097"),
        ("/generate-trace", r#"{"batch_size": -1}"#, "batch_size", "batch_size is -1"),
        ("/generate-trace", r#"{"seq_length": 131073}"#, "seq_length", "from 1 to 131072"),
        ("/generate-trace", r#"{"seq_length": 1.5}"#, "seq_length", "seq_length is 1.5"),
        ("/generate-trace", r#"{"reuse_probability": 1.01}"#, "reuse_probability", "from 0 to 1"),
        ("/generate-trace", r#"{"reuse_probability": []}"#, "reuse_probability", "not a number"),
        ("/generate-trace", r#"{"model_type": "RNN"}"#, "model_type", "Choose one of Transformer, CNN, MLP, MoE"),
        ("/generate-trace", r#"{"pattern": "zigzag"}"#, "pattern", "Choose one of interleaved, burst"),
        ("/generate-trace", r#"{"seed": -1}"#, "seed", "seed is -1"),
        ("/generate-trace", r#"{"num_layer": 3}"#, "num_layer", "unknown field. The fields are model_type, num_layers"),
        ("/simulate?policy=MRU2", "{}", "policy", "no such policy. Choose one of lru, fifo"),
        (
            "/simulate?policy=lru&admission=never",
            "{}",
            "admission",
            "no such admission rule. Choose one of always, bypass",
        ),
        (
            "/v1/run",
            r#"{"workload":{"synthetic":{}},"memory":{"cost":{"physical":{"device":"h101"}}}}"#,
            "device",
            "no such device. Choose one of reference",
        ),
        ("/v1/run", r#"{"workload":{"synthetic":{}},"curve":{"points":1}}"#, "curve.points", "from 2 to 512"),
        ("/simulate?policy=lru&capacity=0", "{}", "capacity_bytes", "holds nothing"),
        ("/simulate?policy=lru&capacity=-5MB", "{}", "capacity", "finite number, zero or more"),
        ("/simulate", r#"[{"tensor_id":"a"}]"#, "0", "not a record"),
        ("/v1/run", r#"{"workload":{"synthetic":{}},"policies":["lru","lru"]}"#, "policies", "Name each policy once"),
        (
            "/predict-schedule",
            r#"[{"tensor_id":"a","size_mb":-1,"reuse_distance":0,"stride":1,"op":"conv","model_type":"x"}]"#,
            "0",
            "size_mb is -1",
        ),
    ] {
        let answer = post(path, body).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {body}: {}", answer.text);
        let json = answer.json().unwrap();
        let error = json["error"].as_str().unwrap();
        assert!(error.contains(message), "{path} {body}: {error}");
        // Below /v1, `detail` is the sentence, as RFC 9457 has it.
        let places = if path.starts_with("/v1/") { "errors" } else { "detail" };
        assert_eq!(json[places][0]["loc"][1], field, "{path} {body}: {json}");
        assert_eq!(json[places][0]["msg"], error);
    }
    for body in ["{", "[", "3", "[]", "\u{0}", "{\"num_layers\": NaN}"] {
        let answer = post("/generate-trace", body).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
    }
    for (path, body, wanted) in [
        ("/simulate?policy=lru&policy=fifo", "{}", "at most once each"),
        ("/v1/run", r#"{"workload":{"file":{"name":"x.csv"}}}"#, "Send the records of a trace to /simulate"),
        (
            "/v1/run",
            r#"{"workload":{"model":{"model":{"file":"x.onnx"}}}}"#,
            "x.onnx, whole input: the recipe names a file",
        ),
        (
            "/v1/run",
            r#"{"workload":{"model":{"model":"mixtral-8x7b","routing":{"log":"r.jsonl"}}}}"#,
            "r.jsonl, whole input: the recipe names a file",
        ),
        ("/validate-trace?reference=vgg", "{}", "Choose one of linear"),
        ("/validate-trace?p=1", "{}", "Give reference at most once"),
    ] {
        let answer = post(path, body).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(answer.text.contains(wanted), "{}", answer.text);
    }
    let deep = "[".repeat(100_000);
    assert_eq!(post("/generate-trace", deep).await.unwrap().status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn below_v1_the_prototypes_endpoints_answer_the_same() {
    for (path, body) in [
        ("/generate-trace", r#"{"seed": 3}"#),
        ("/predict-schedule", "{}"),
        ("/simulate?policy=ml", "{}"),
        ("/validate-trace", r#"{"num_layers": 48}"#),
        ("/predict-compile", r#"{"code": "def matmul(a, b): return a @ b"}"#),
    ] {
        let old = post(path, body).await.unwrap();
        let versioned = post(&format!("/v1{path}"), body).await.unwrap();
        assert_eq!(old.status, StatusCode::OK, "{path}: {}", old.text);
        assert_eq!((old.status, old.text), (versioned.status, versioned.text), "{path}");
    }
    assert_eq!(get("/info").await.unwrap().text, get("/v1/info").await.unwrap().text);
}

#[tokio::test]
async fn refusals_below_v1_are_problem_details() {
    let old = post("/simulate", r#"{"num_layers": 0}"#).await.unwrap();
    assert_eq!(old.headers["content-type"], "application/json");
    assert_eq!(keys(&old.json().unwrap()), ["detail", "error"]);
    let problem = post("/v1/simulate?policy=lru", r#"{"num_layers": 0}"#).await.unwrap();
    assert_eq!(problem.headers["content-type"], "application/problem+json");
    assert_eq!(problem.headers["content-length"].to_str().unwrap(), problem.text.len().to_string());
    let (old, problem) = (old.json().unwrap(), problem.json().unwrap());
    assert_eq!(keys(&problem), ["detail", "error", "errors", "instance", "status", "title", "type"]);
    assert_eq!(problem["errors"], old["detail"]);
    assert_eq!((&problem["detail"], &problem["error"]), (&old["error"], &old["error"]));
    assert_eq!((&problem["type"], &problem["title"]), (&json!("about:blank"), &json!("Unprocessable Entity")));
    assert_eq!((&problem["status"], &problem["instance"]), (&json!(422), &json!("/v1/simulate")));
}

/// With a page and without one: what nobody answers is refused in the shape of its path.
#[tokio::test]
async fn what_does_not_exist_is_refused_in_json() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("index.html"),
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'\">",
    )
    .unwrap();
    let page = Config { page: Some(Page::open(folder.path().to_owned()).unwrap()), ..Config::default() };
    for config in [Config::default(), page] {
        for (method, path, status, words) in [
            ("GET", "/nothing", 404, "there is nothing at /nothing"),
            ("GET", "/v1/nothing", 404, "there is nothing at /v1/nothing"),
            ("GET", "/v1", 404, "there is nothing at /v1"),
            ("GET", "/simulate", 405, "/simulate does not take GET"),
            ("PATCH", "/v1/jobs/x", 405, "does not take PATCH. The header Allow names"),
            ("GET", "/v1/jobs/%FF", 404, "no such job"),
        ] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let answer = send(router(&config, Health::default()), request).await.unwrap();
            assert_eq!(answer.status.as_u16(), status, "{method} {path}");
            let kind = if path.starts_with("/v1") { "application/problem+json" } else { "application/json" };
            assert_eq!(answer.headers["content-type"], kind, "{method} {path}: {}", answer.text);
            let json = answer.json().unwrap();
            assert!(json["error"].as_str().unwrap().contains(words), "{method} {path}: {json}");
            assert_eq!(answer.headers.contains_key("allow"), status == 405);
        }
    }
}

#[tokio::test]
async fn a_whole_number_may_be_written_with_a_point() {
    let [whole, point] = [r#"{"num_layers": 5}"#, r#"{"num_layers": 5.0}"#];
    let trace = post("/generate-trace", whole).await.unwrap();
    assert_eq!(trace.text, post("/generate-trace", point).await.unwrap().text);
    let with_points =
        trace.text.replace("\"stride\":1,", "\"stride\":1.0,").replace("_distance\":2,", "_distance\":2.0,");
    assert_ne!(with_points, trace.text);
    assert_eq!(post("/generate-trace", with_points).await.unwrap().text, trace.text);
    let half = trace.text.replace("\"stride\":1,", "\"stride\":1.5,");
    assert_eq!(post("/generate-trace", half).await.unwrap().status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let service = router(&Config { body_limit_bytes: 1000, ..Config::default() }, Health::default());
    let request = Request::post("/generate-trace").body(Body::from(vec![b' '; 1001])).unwrap();
    assert_eq!(send(service, request).await.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn predict_compile_answers_the_prototypes_keys() {
    let body = r#"{"code": "def matmul(a, b): return a @ b", "model_type": "Transformer", "opt_level": "O2"}"#;
    let answer = post("/predict-compile", body).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let answer = answer.json().unwrap();
    let features = sorted(["num_loops", "num_branches", "load_ops", "store_ops", "flops", "mem_bytes"]);
    assert_eq!(keys(&answer["features"]), features);
    assert_eq!(keys(&answer["feature_importance"]), features);
    assert_eq!(answer["features"]["flops"], 2u64 << 30);
    let [latency, energy] = ["latency (ms)", "energy (J)"].map(|key| answer[key].as_f64().unwrap());
    assert!(latency > 0.0 && energy > 0.0);
    let shares: f64 = answer["feature_importance"].as_object().unwrap().values().filter_map(|v| v.as_f64()).sum();
    assert!((shares - latency).abs() < 1e-9 * latency, "a core starts without a launch");
    for (body, wanted) in [
        ("{}", "code"),
        (r#"{"code": 1}"#, "code"),
        (r#"{"code": "x[0] = 1;", "opt_level": "O9"}"#, "opt_level"),
        (r#"{"code": "x[0] = 1;", "opt_level": 2}"#, "opt_level"),
        (r#"{"code": "x[0] = 1;", "device": "abacus"}"#, "device"),
        (r#"{"code": "x[0] = 1;", "defines": {"N": "many"}}"#, "defines"),
        (r#"{"code": "x[0] = 1;", "colour": "red"}"#, "colour"),
    ] {
        let answer = post("/predict-compile", body).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        assert_eq!(answer.json().unwrap()["detail"][0]["loc"][1], wanted, "{body}");
    }
    let endless = r#"{"code": "def f(a):\n    while True:\n        a[0] += 1\n"}"#;
    let answer = post("/predict-compile", endless).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("line 2"), "{}", answer.text);
}

#[tokio::test]
async fn a_recipe_gives_the_same_outcome_as_in_core() {
    let recipe = Recipe::default();
    let answer = post("/v1/run", recipe.to_json().unwrap()).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let expected = run(&recipe, &mut Unattended).unwrap();
    assert_eq!(answer.text, serde_json::to_string(&expected).unwrap());
    // And the command line prints the same numbers; the reasons are for `accel explain`.
    let printed: Value =
        serde_json::from_str(&accel(["simulate", "--model", "mistral-7b", "--json"]).unwrap()).unwrap();
    let mut answer = answer.json().unwrap();
    for run in answer["runs"].as_array_mut().unwrap() {
        assert!(run["why"].take().is_object());
    }
    assert_eq!(printed["runs"], answer["runs"]);
    // The command line says for which of its capacities the bounds hold.
    let mut bounds = printed["bounds"].clone();
    let capacity = bounds.as_object_mut().unwrap().remove("capacity_bytes");
    assert_eq!(capacity.and_then(|bytes| bytes.as_u64()), Some(recipe.memory.capacity_bytes));
    assert_eq!(bounds, answer["bounds"]);

    let bad = post("/v1/run", r#"{"workload":{"inference":{"model":"gpt-9"}}}"#).await.unwrap();
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(bad.text.contains("no such preset"), "{}", bad.text);
    let huge = r#"{"workload":{"inference":{"model":"mistral-7b","batch_size":4096,"prompt_tokens":30000,"tile_bytes":1024}}}"#;
    let huge = post("/v1/run", huge).await.unwrap();
    assert_eq!(huge.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(huge.text.contains("tile"), "{}", huge.text);
}

#[tokio::test]
async fn more_runs_than_allowed_are_told_to_come_back() {
    let service = router(&Config { runs: 0, ..Config::default() }, Health::default());
    let request = Request::post("/v1/run").body(Body::from(Recipe::default().to_json().unwrap())).unwrap();
    let answer = send(service, request).await.unwrap();
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn health_documentation_and_a_missing_page() {
    assert_eq!(get("/health/live").await.unwrap().json().unwrap()["status"], "live");
    assert_eq!(get("/health/ready").await.unwrap().json().unwrap()["status"], "ready");
    let health = Health::default();
    let service = router(&Config::default(), health.clone());
    health.drain();
    let answer = send(service, Request::get("/health/ready").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);

    let api = get("/openapi.json").await.unwrap().json().unwrap();
    let paths = keys(&api["paths"]);
    for path in [
        "/generate-trace",
        "/predict-schedule",
        "/simulate",
        "/validate-trace",
        "/predict-compile",
        "/v1/run",
        "/health/live",
    ] {
        assert!(paths.contains(&path), "{path} is not documented: {paths:?}");
    }
    let docs = get("/docs/").await.unwrap();
    assert!(docs.status.is_success() && docs.text.contains("swagger"), "{docs:?}");
    assert!(get("/docs").await.unwrap().status.is_redirection());
    let page = get("/").await.unwrap();
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.text.contains("cargo xtask serve"));
}

#[tokio::test]
async fn the_page_is_served_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let html = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'\"><p>here";
    std::fs::write(folder.path().join("index.html"), html).unwrap();
    let config = Config { page: Some(Page::open(folder.path().to_owned()).unwrap()), ..Config::default() };
    for path in ["/", "/index.html"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = send(router(&config, Health::default()), request).await.unwrap();
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, html));
        assert_eq!(answer.headers["cache-control"], "no-cache");
    }
    let outside = Request::get("/../Cargo.toml").body(Body::empty()).unwrap();
    assert!(!send(router(&config, Health::default()), outside).await.unwrap().status.is_success());
}

#[tokio::test]
async fn cors_answers_listed_origins_only() {
    let origins = vec!["https://example.org".parse().unwrap()];
    let service = router(&Config { cors_origins: origins, ..Config::default() }, Health::default());
    for (origin, allowed) in [("https://example.org", true), ("https://evil.example", false)] {
        let request = Request::builder()
            .method("OPTIONS")
            .uri("/simulate")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-private-network", "true")
            .body(Body::empty())
            .unwrap();
        let answer = send(service.clone(), request).await.unwrap();
        assert_eq!(answer.headers.get("access-control-allow-origin").is_some(), allowed, "{origin}");
        if allowed {
            assert_eq!(answer.headers["access-control-allow-private-network"], "true");
        }
    }
    let plain = send(
        self::service(),
        Request::get("/health/live").header("origin", "https://example.org").body(Body::empty()).unwrap(),
    );
    assert!(plain.await.unwrap().headers.get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn models_fit_or_do_not() {
    let body = r#"{"model":{"model":"gemma-3-27b","parallel":"tensor=2"},"budget_bytes":80000000000}"#;
    let answer = post("/v1/fit", body).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let printed =
        accel(["fit", "--model", "gemma-3-27b", "--parallel", "tensor=2", "--on", "h100-sxm", "--json"]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), answer.json().unwrap());
    for (body, says) in [
        (r#"{"model":{"model":"resnet-18"},"budget_bytes":1}"#, "no context"),
        (r#"{"model":{"model":{"file":"x.onnx"}},"budget_bytes":1}"#, "has no context"),
        (r#"{"model":{"model":"gemma-2b","parallel":"tensor=0"},"budget_bytes":1}"#, "tensor is 0"),
        (r#"{"model":{"model":"gemma-2b"}}"#, "budget_bytes"),
    ] {
        let refused = post("/v1/fit", body).await.unwrap();
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", refused.text);
        assert!(refused.text.contains(says), "{body}: {}", refused.text);
    }
}

#[tokio::test]
async fn traffic_of_operators_and_models() {
    let gemm = r#"{"of":{"gemm":{"m":1024,"n":1024,"k":1024}},"capacities":[1024,98304]}"#;
    let answer = post("/v1/traffic", gemm).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let points = answer.json().unwrap()["points"].as_array().unwrap().clone();
    let bytes = |point: &Value, key: &str| point[key].as_u64().unwrap();
    for (point, least) in points.iter().zip([536_000_000, 54_600_000]) {
        assert!(bytes(point, "bound_bytes") >= least && bytes(point, "attained_bytes") >= bytes(point, "bound_bytes"));
    }
    // And the command line prints the same.
    let printed = accel(["traffic", "--gemm", "1024x1024x1024", "--capacity", "1KiB,96KiB", "--json"]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), answer.json().unwrap());
    for (body, says) in [
        (r#"{"of":{"gemm":{"m":0,"n":1,"k":1}}}"#, "m is 0"),
        (r#"{"of":{"gemm":{"m":9,"n":9,"k":9}},"capacities":[4]}"#, "Choose at least 12"),
        (r#"{"of":{"sum":{}}}"#, "unknown variant"),
        (r#"{"of":{"workload":{"file":{"name":"x.csv"}}}}"#, "a request cannot carry"),
    ] {
        let refused = post("/v1/traffic", body).await.unwrap();
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", refused.text);
        assert!(refused.text.contains(says), "{body}: {}", refused.text);
    }
}

#[tokio::test]
async fn prices_of_a_model() {
    let body = r#"{"workload":{"model":{"model":"llama-3-8b","prompt_tokens":512}},"layer":0,"phase":"prefill","device":"l4"}"#;
    let answer = post("/v1/price", body).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let flags = ["--layer", "0", "--phase", "prefill", "--prompt-tokens", "512", "--device", "l4", "--json"];
    let printed = accel(["kernel", "--model", "llama-3-8b"].into_iter().chain(flags)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), answer.json().unwrap());
    for (body, says) in [
        (r#"{"workload":{"model":{"model":"llama-3-8b"}},"layer":32}"#, "the model has 32 layers"),
        (r#"{"workload":{"model":{"model":"llama-3-8b"}},"phase":"forward"}"#, "Choose one of prefill, decode"),
        (r#"{"workload":{"model":{"model":"llama-3-8b"}},"device":"epyc-7452"}"#, "h100-sxm"),
        (r#"{"workload":{"model":{"model":"llama-3-8b","batch_size":0}}}"#, "batch_size is 0"),
        (r#"{"workload":{"model":{"model":{"file":"x.onnx"}}}}"#, "a request cannot carry"),
        (r#"{"workload":{"synthetic":{}}}"#, "Name a model"),
        (r#"{"workload":{"model":{"model":"llama-3-8b"}},"layers":1}"#, "unknown field"),
    ] {
        let refused = post("/v1/price", body).await.unwrap();
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", refused.text);
        assert!(refused.text.contains(says), "{body}: {}", refused.text);
    }
}
