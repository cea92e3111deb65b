//! The page as it is served: what browsers may keep, run and be sent.

use std::fs;
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use infer_server::health::Health;
use infer_server::page::Page;
use infer_server::service::{Config, router};
use tower::ServiceExt as _;

const POLICY: &str = "default-src 'none'; script-src 'self'";
const FOREVER: &str = "public, max-age=31536000, immutable";

/// A service with a page of a few files in `folder`; packed ones hold other bytes, so that tests tell which they got.
fn service(folder: &Path) -> Router {
    let index = format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">");
    let long = "a file worth packing ".repeat(100);
    for (name, text) in [
        ("index.html", index.as_str()),
        ("sw.js", "service worker"),
        ("start-0123456789abcdef.js", "script"),
        ("start-0123456789abcdef.js.br", "script by Brotli"),
        ("start-0123456789abcdef.js.gz", "script by gzip"),
        ("accel-app-0123456789abcdef_bg.wasm", "module"),
        ("style-0123456789abcdef.css", long.as_str()),
        ("first-0123456789abcdef.bin", "answer"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let page = Page::open(folder.to_owned()).unwrap();
    router(&Config { page: Some(page), ..Config::default() }, Health::default())
}

async fn get(service: &Router, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    let response = service.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    (status, headers, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn files_named_by_their_version_are_kept_and_all_others_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path());
    for (path, kept, content_type) in [
        ("/", "no-cache", "text/html"),
        ("/index.html", "no-cache", "text/html"),
        ("/sw.js", "no-cache", "text/javascript"),
        ("/start-0123456789abcdef.js", FOREVER, "text/javascript"),
        ("/accel-app-0123456789abcdef_bg.wasm", FOREVER, "application/wasm"),
        ("/style-0123456789abcdef.css", FOREVER, "text/css"),
        ("/first-0123456789abcdef.bin", FOREVER, "application/octet-stream"),
    ] {
        let (status, headers, _) = get(&service, path, &[]).await;
        assert_eq!((status, &headers["cache-control"]), (StatusCode::OK, &kept.parse().unwrap()), "{path}");
        assert_eq!(headers["content-type"], content_type, "{path}");
        // Kept or not, what has not changed is not sent again.
        let tag = headers["etag"].to_str().unwrap().to_owned();
        let (status, headers, body) = get(&service, path, &[("if-none-match", &tag)]).await;
        assert_eq!((status, &headers["cache-control"]), (StatusCode::NOT_MODIFIED, &kept.parse().unwrap()), "{path}");
        assert!(body.is_empty());
    }
    // A file of another version is there after the next update: nobody may keep that it is missing.
    let (status, headers, _) = get(&service, "/start-fedcba9876543210.js", &[]).await;
    assert_eq!((status, &headers["cache-control"]), (StatusCode::NOT_FOUND, &"no-cache".parse().unwrap()));
}

#[tokio::test]
async fn every_file_carries_the_policy_of_the_page_and_every_answer_its_type() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path());
    for path in ["/", "/sw.js", "/start-0123456789abcdef.js", "/missing.js"] {
        let (_, headers, _) = get(&service, path, &[]).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert_eq!(policy, format!("{POLICY}; frame-ancestors 'none'"), "{path}");
    }
    for path in ["/", "/start-0123456789abcdef.js", "/missing.js", "/info", "/docs/", "/simulate"] {
        let (_, headers, _) = get(&service, path, &[]).await;
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
    }
    // The documentation is another page, with styles of its own.
    let (_, headers, _) = get(&service, "/docs/", &[]).await;
    assert!(!headers.contains_key("content-security-policy"));
}

#[tokio::test]
async fn packed_files_are_sent_as_they_lie_there() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path());
    let script = "/start-0123456789abcdef.js";
    for (accepted, encoding, body) in [
        ("gzip, deflate, br, zstd", Some("br"), "script by Brotli"),
        ("gzip", Some("gzip"), "script by gzip"),
        ("identity", None, "script"),
    ] {
        let (status, headers, bytes) = get(&service, script, &[("accept-encoding", accepted)]).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers.get("content-encoding").map(|value| value.to_str().unwrap()), encoding, "{accepted}");
        assert_eq!(bytes, body.as_bytes(), "{accepted}");
        assert_eq!(headers["content-type"], "text/javascript", "{accepted}");
        assert_eq!(headers["cache-control"], FOREVER, "{accepted}");
        assert!(headers["vary"].to_str().unwrap().contains("accept-encoding"), "{accepted}");
    }
    // What nobody packed is packed when it is sent.
    let (_, headers, bytes) =
        get(&service, "/style-0123456789abcdef.css", &[("accept-encoding", "gzip, deflate, br, zstd")]).await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(bytes.len() < 200, "{}", bytes.len());
}

#[test]
fn a_folder_without_a_page_is_refused_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let error = Page::open(folder.path().to_owned()).unwrap_err().to_string();
    assert!(error.contains("index.html") && error.contains("`cargo xtask dist`"), "{error}");
    fs::write(folder.path().join("index.html"), "<p>another page").unwrap();
    let error = Page::open(folder.path().to_owned()).unwrap_err().to_string();
    assert!(error.contains("no Content-Security-Policy") && error.contains("`cargo xtask dist`"), "{error}");
}

/// The project's own page.
#[tokio::test]
async fn no_text_becomes_a_script_or_a_style() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../index.html"), folder.path().join("index.html")).unwrap();
    let page = Page::open(folder.path().to_owned()).unwrap();
    let service = router(&Config { page: Some(page), ..Config::default() }, Health::default());
    let (_, headers, _) = get(&service, "/", &[]).await;
    let policy = headers["content-security-policy"].to_str().unwrap();
    let of = |name: &str| policy.split(';').map(str::trim).find(|part| part.starts_with(name)).unwrap();
    assert_eq!(of("default-src"), "default-src 'none'");
    assert_eq!(of("script-src"), "script-src 'self' 'wasm-unsafe-eval'");
    assert_eq!(of("style-src"), "style-src 'self'");
    assert_eq!(of("worker-src"), "worker-src 'self'");
}
