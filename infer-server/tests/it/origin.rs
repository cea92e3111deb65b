//! What browsers may carry here from other sites, with a key and without.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use infer_server::auth::Keys;
use infer_server::health::Health;
use infer_server::service::{Config, router};

use crate::common::{Answer, send};

fn open() -> Router {
    let config = Config {
        cors_origins: vec!["https://page.example".parse().unwrap()],
        allowed_hosts: vec!["box.lan".to_owned()],
        ..Config::default()
    };
    router(&config, Health::default())
}

async fn ask(service: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(service.clone(), request.body(Body::from(if method == "POST" { "{}" } else { "" })).unwrap()).await
}

#[tokio::test]
async fn a_foreign_name_does_not_lead_here() {
    let service = open();
    for host in [
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1:8000",
        "127.8.9.1",
        "[::1]:8000",
        "10.0.0.7:80",
        "box.lan",
        "Box.LAN:1",
    ] {
        assert_eq!(ask(&service, "GET", "/info", &[("host", host)]).await.status, 200, "{host}");
    }
    for host in
        ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "box.lan.evil"]
    {
        ask(&service, "GET", "/info", &[("host", host)]).await.refuses(421, "--allowed-host");
        ask(&service, "POST", "/simulate", &[("host", host)]).await.refuses(421, "--allowed-host");
    }
    for host in ["a b", "", "a/b", "http://localhost"] {
        ask(&service, "GET", "/info", &[("host", host)]).await.refuses(400, "Host");
    }
    ask(&service, "GET", "/info", &[("host", "localhost"), ("host", "localhost")]).await.refuses(400, "twice");
}

#[tokio::test]
async fn a_foreign_page_changes_nothing() {
    let service = open();
    let from = |origin: &'static str| [("host", "localhost:8000"), ("origin", origin)];
    for origin in [
        "http://localhost:8000",
        "http://localhost:3000",
        "https://127.0.0.1",
        "http://[::1]:1",
        "https://page.example",
    ] {
        assert_eq!(ask(&service, "POST", "/simulate", &from(origin)).await.status, 200, "{origin}");
    }
    for origin in
        ["https://evil.example", "null", "localhost", "http://localhost.evil.example", "https://page.example:444", ""]
    {
        for (method, path) in
            [("POST", "/simulate"), ("POST", "/v1/jobs"), ("POST", "/v1/adapter"), ("DELETE", "/v1/jobs/x")]
        {
            let refused = ask(&service, method, path, &from(origin)).await;
            // As every refusal of its path.
            let kind = if path.starts_with("/v1/") { "application/problem+json" } else { "application/json" };
            assert_eq!(refused.headers["content-type"], kind);
            refused.refuses(403, "--cors-origin");
        }
        // What changes nothing is answered, and without a header that lets the page read it.
        let read = ask(&service, "GET", "/info", &from(origin)).await;
        assert!(read.status == 200 && !read.headers.contains_key("access-control-allow-origin"), "{origin}");
    }
    // A page that this very server sent, under the name by which it is known.
    let own = [("host", "box.lan:8000"), ("origin", "http://box.lan:8000")];
    assert_eq!(ask(&service, "POST", "/simulate", &own).await.status, 200);
}

#[tokio::test]
async fn a_body_is_json_and_says_so() {
    let keys = Some(Keys::new("k", None).unwrap());
    let guarded = router(&Config { keys, ..Config::default() }, Health::default());
    for service in [open(), guarded] {
        let ask = async |kind: &str| {
            ask(&service, "POST", "/simulate", &[("authorization", "Bearer k"), ("content-type", kind)]).await
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.accel+json"] {
            assert_eq!(ask(kind).await.status, 200, "{kind}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ""] {
            ask(kind).await.refuses(415, "Content-Type: application/json");
        }
        let untold = Request::post("/simulate").header("authorization", "Bearer k").body(Body::empty()).unwrap();
        assert_eq!(send(service.clone(), untold).await.status, 200);
    }
}

#[tokio::test]
async fn a_key_is_asked_for_its_role_and_not_for_its_page() {
    let keys = Keys::new("score reader\nrun ci runner\nadmin boss", None).unwrap();
    let service = router(&Config { keys: Some(keys), ..Config::default() }, Health::default());
    let with = async |key: &str, method: &str, path: &str| {
        let key = format!("Bearer {key}");
        let foreign = [("authorization", key.as_str()), ("host", "proxy.example"), ("origin", "https://x.example")];
        ask(&service, method, path, &foreign).await
    };
    assert_eq!(with("reader", "GET", "/metrics").await.status, 200);
    with("reader", "POST", "/simulate").await.refuses(403, "run is needed");
    assert_eq!(with("runner", "POST", "/simulate").await.status, 200);
    with("runner", "POST", "/v1/reload").await.refuses(403, "admin is needed");
    with("boss", "POST", "/v1/reload").await.refuses(501, "--model FILE");
    with("nobody", "GET", "/info").await.refuses(401, "wants its key");
}

#[tokio::test]
async fn a_request_keeps_its_name() {
    let service = open();
    let named = ask(&service, "GET", "/health/live", &[("x-request-id", "abc-1")]).await;
    assert_eq!(named.headers["x-request-id"], "abc-1");
    for bad in ["a b", "a=\"b\"", &"x".repeat(65)] {
        let renamed = ask(&service, "GET", "/nowhere", &[("x-request-id", bad)]).await;
        assert_eq!(renamed.headers["x-request-id"].len(), 16);
    }
}
