//! Whether the server takes work, where its model is elsewhere; and what opens that is not shown.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::routing::any;
use infer_server::auth::Keys;
use infer_server::health::Health;
use infer_server::scoring::remote::{Client, Kind, Options};
use infer_server::scoring::{Backend, Common, Scoring};
use infer_server::service::{Config, router};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::common::{Answer, HANGS_AFTER, limits, question, send};

fn service(url: String) -> Router {
    service_with(url, Config::default())
}

fn service_with(url: String, config: Config) -> Router {
    let options = Options {
        url,
        kind: Kind::LlamaCpp,
        model: "m".into(),
        key: None,
        concurrency: 1,
        timeout: HANGS_AFTER,
        retries: 0,
    };
    let common = Common::in_memory(limits());
    let client = Client::new(options, &common.limits, common.metrics.clone()).unwrap();
    let scoring = Scoring::new(Backend::Remote(Box::new(client)), common);
    router(&Config { scoring, ..config }, Health::default())
}

async fn get(service: &Router, path: &str) -> Answer {
    send(service.clone(), Request::get(path).body(Body::empty()).unwrap()).await
}

/// An engine that answers everything with `status`; its address, and the last key that it saw.
async fn engine(status: StatusCode) -> (String, Arc<Mutex<Option<String>>>) {
    let seen = Arc::new(Mutex::new(None));
    let theirs = Arc::clone(&seen);
    let answer = move |request: Request<Body>| async move {
        let key = request.headers().get(header::AUTHORIZATION).map(|key| key.to_str().unwrap().to_owned());
        *theirs.lock().await = key;
        status
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(answer))).await });
    (address, seen)
}

#[tokio::test]
async fn a_server_is_ready_when_its_engine_answers() {
    for (status, ready, word) in [
        (StatusCode::OK, 200, ""),
        (StatusCode::NOT_FOUND, 200, ""),
        (StatusCode::SERVICE_UNAVAILABLE, 503, "503"),
        (StatusCode::UNAUTHORIZED, 503, "ACCEL_REMOTE_API_KEY"),
    ] {
        let (address, _) = engine(status).await;
        let answer = get(&service(format!("http://{address}")), "/health/ready").await;
        assert_eq!(answer.status.as_u16(), ready, "{}", answer.text);
        let wanted = if ready == 200 { "ready" } else { "unreachable" };
        assert!(answer.json()["status"] == wanted && answer.text.contains(word), "{}", answer.text);
    }
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answer = get(&service(format!("http://{free}")), "/health/ready").await;
    assert_eq!((answer.status.as_u16(), answer.json()["model"].clone()), (503, Value::from("remote")));
}

#[tokio::test]
async fn behind_a_key_nobody_else_learns_where_the_engine_is() {
    let (address, _) = engine(StatusCode::SERVICE_UNAVAILABLE).await;
    let keys = Some(Keys::new("k", None).unwrap());
    let service = service_with(format!("http://{address}"), Config { keys, ..Config::default() });
    let answer = get(&service, "/health/ready").await;
    assert_eq!(answer.json(), json!({"status": "unreachable", "model": "remote"}));
}

#[tokio::test]
async fn what_opens_the_engine_is_sent_to_it_and_shown_to_nobody() {
    let (address, seen) = engine(StatusCode::IM_A_TEAPOT).await;
    let service = service(format!("http://alice:p%40ss@{address}/v1"));
    let ask = Request::post("/v1/score").body(Body::from(question("q\n", &["x"]))).unwrap();
    let refused = send(service.clone(), ask).await;
    // alice:p@ss
    assert_eq!(seen.lock().await.as_deref(), Some("Basic YWxpY2U6cEBzcw=="));
    assert!(refused.status == 502 && refused.text.contains(&address), "{}", refused.text);
    for text in [refused.text, get(&service, "/info").await.text, get(&service, "/health/ready").await.text] {
        assert!(!text.contains("alice") && !text.contains("p%40ss"), "{text}");
    }
}
