//! `fetch` against a stand-in for the Hugging Face hub on this machine: one address that knows what a file is, and
//! another where it lies.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use accel_model::fetch::{Args, FetchError, Fetched, HubName, Kept, header, run, small};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::common::{HANGS_AFTER, eventually};

/// What the next answer is, where it is not the right one.
#[derive(Clone, Debug)]
enum Fault {
    /// The right answer.
    None,
    Status(u16, &'static [(&'static str, &'static str)]),
    /// The connection ends after so many bytes.
    Cut(usize),
    /// After so many bytes nothing comes until it is notified.
    Hold(usize, Arc<Notify>),
    /// The whole, though a part was asked for.
    NoRanges,
    /// Another part than the one asked for.
    OtherPart,
    /// The content changes before this answer.
    Change(Vec<u8>),
    /// What somebody else says in its place, with these headers.
    Other(u16, Vec<(&'static str, String)>, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    path: String,
    range: Option<String>,
    if_range: Option<String>,
    token: Option<String>,
}

struct Inner {
    content: Vec<u8>,
    /// What the hub says the file is, where it is not the content's SHA-256.
    etag: Option<String>,
    /// Whether the file lies on the hub itself, as small ones do.
    direct: bool,
    hub_faults: VecDeque<Fault>,
    store_faults: VecDeque<Fault>,
    hub: Vec<Asked>,
    store: Vec<Asked>,
}

/// The stand-in.
#[derive(Clone)]
struct Hub {
    inner: Arc<Mutex<Inner>>,
    store: String,
    url: String,
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn asked(request: &Request) -> Asked {
    let header = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    Asked {
        method: request.method().clone(),
        path: request.uri().to_string(),
        range: header("range"),
        if_range: header("if-range"),
        token: header("authorization"),
    }
}

impl Hub {
    async fn start(content: Vec<u8>) -> Self {
        let (hub, store) = (listener().await, listener().await);
        let address = |l: &tokio::net::TcpListener| format!("http://{}", l.local_addr().unwrap());
        let inner = Inner {
            content,
            etag: None,
            direct: false,
            hub_faults: VecDeque::new(),
            store_faults: VecDeque::new(),
            hub: Vec::new(),
            store: Vec::new(),
        };
        let this = Self { inner: Arc::new(Mutex::new(inner)), store: address(&store), url: address(&hub) };
        let hub_service = Router::new().fallback(answer_as_hub).with_state(this.clone());
        let store_service = Router::new().fallback(answer_as_store).with_state(this.clone());
        tokio::spawn(async move { axum::serve(hub, hub_service).await.unwrap() });
        tokio::spawn(async move { axum::serve(store, store_service).await.unwrap() });
        this
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap())
    }

    fn args(&self, dir: &Path) -> Args {
        Args {
            repo: "owner/name".to_owned(),
            file: "model.gguf".to_owned(),
            revision: "main".to_owned(),
            dir: Some(dir.to_owned()),
            endpoint: self.url.parse().unwrap(),
            sha256: None,
            stall_timeout: HANGS_AFTER.as_secs(),
        }
    }

    /// The ranges that were asked for, in order.
    fn ranges(&self) -> Vec<Option<String>> {
        self.with(|i| i.store.iter().map(|a| a.range.clone()).collect())
    }
}

async fn listener() -> tokio::net::TcpListener {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn answer_as_hub(State(hub): State<Hub>, request: Request) -> Response {
    let fault = hub.with(|i| {
        i.hub.push(asked(&request));
        i.hub_faults.pop_front()
    });
    if let Some(Fault::Change(content)) = &fault {
        hub.with(|i| i.content.clone_from(content));
    }
    match fault {
        Some(Fault::Status(status, headers)) => return error(status, headers),
        Some(Fault::Other(status, headers, body)) => return other(status, &headers, body),
        _ => {}
    }
    let (content, etag, direct) = hub.with(|i| {
        let etag = i.etag.clone().unwrap_or_else(|| format!("\"{}\"", sha256(&i.content)));
        (i.content.clone(), etag, i.direct)
    });
    if direct {
        return serve(&hub, &request, &content, &etag);
    }
    Response::builder()
        .status(StatusCode::FOUND)
        .header("location", format!("{}/blob?signature={}", hub.store, hub.with(|i| i.hub.len())))
        .header("x-repo-commit", "0123456789012345678901234567890123456789")
        .header("x-linked-size", content.len())
        .header("x-linked-etag", &etag)
        .header("etag", "\"of the redirect\"")
        .body(Body::empty())
        .unwrap()
}

async fn answer_as_store(State(hub): State<Hub>, request: Request) -> Response {
    let content = hub.with(|i| i.content.clone());
    serve(&hub, &request, &content, "\"of the store\"")
}

fn error(status: u16, headers: &[(&str, &str)]) -> Response {
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    for (name, value) in headers {
        let name: axum::http::HeaderName = name.parse().unwrap();
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

fn other(status: u16, headers: &[(&str, String)], body: Vec<u8>) -> Response {
    // What comes in chunks has no length.
    let (chunked, headers): (Vec<_>, Vec<_>) =
        headers.iter().map(|(name, value)| (*name, value.as_str())).partition(|(name, _)| *name == "transfer-encoding");
    let mut response = error(status, &headers);
    *response.body_mut() = match chunked.is_empty() {
        true => Body::from(body),
        false => Body::from_stream(stream::once(async { std::io::Result::Ok(Bytes::from(body)) })),
    };
    response
}

fn serve(hub: &Hub, request: &Request, content: &[u8], etag: &str) -> Response {
    if request.method() == Method::HEAD {
        return Response::builder()
            .header("etag", etag)
            .header("content-length", content.len())
            .body(Body::empty())
            .unwrap();
    }
    let fault = hub.with(|i| {
        i.store.push(asked(request));
        i.store_faults.pop_front()
    });
    match fault {
        Some(Fault::Status(status, headers)) => return error(status, headers),
        Some(Fault::Other(status, headers, body)) => return other(status, &headers, body),
        _ => {}
    }
    let changed = request.headers().get("if-range").is_some_and(|tag| tag.to_str().unwrap() != etag);
    let mut from = start(request.headers()).filter(|_| !changed && !matches!(fault, Some(Fault::NoRanges)));
    if from.is_some_and(|from| from >= content.len()) {
        return error(416, &[]);
    }
    if matches!(fault, Some(Fault::OtherPart)) {
        from = Some(1);
    }
    let last =
        end(request.headers()).filter(|_| from.is_some()).map_or(content.len(), |last| content.len().min(last + 1));
    let part = Bytes::copy_from_slice(&content[from.unwrap_or(0)..last]);
    let response = match from {
        None => Response::builder().status(StatusCode::OK),
        Some(from) => Response::builder()
            .status(StatusCode::PARTIAL_CONTENT)
            .header("content-range", format!("bytes {from}-{}/{}", last - 1, content.len())),
    };
    let length = part.len();
    let body = match fault {
        Some(Fault::Cut(at)) => {
            // What was sent goes out while this waits, before the error closes the connection.
            pieces(part.slice(..at), tokio::time::sleep(Duration::from_millis(20)), Err(std::io::Error::other("cut")))
        }
        Some(Fault::Hold(at, go)) => pieces(part.slice(..at), async move { go.notified().await }, Ok(part.slice(at..))),
        _ => Body::from(part),
    };
    response.header("etag", etag).header("content-length", length).body(body).unwrap()
}

/// `first`, and after `wait` the rest.
fn pieces(first: Bytes, wait: impl Future<Output = ()> + Send + 'static, rest: std::io::Result<Bytes>) -> Body {
    let rest = stream::once(async move {
        wait.await;
        rest
    });
    Body::from_stream(stream::once(async move { Ok(first) }).chain(rest))
}

fn start(headers: &HeaderMap) -> Option<usize> {
    headers.get("range")?.to_str().unwrap().strip_prefix("bytes=")?.split('-').next()?.parse().ok()
}

/// The last byte of a range that has one.
fn end(headers: &HeaderMap) -> Option<usize> {
    headers.get("range")?.to_str().unwrap().rsplit('-').next()?.parse().ok()
}

fn parts(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.filter(|p| p.extension().is_some_and(|e| e == "part")).collect()
}

fn whole(dir: &Path, fetched: &Fetched, content: &[u8]) {
    assert_eq!(fetched.path, dir.join("model.gguf"));
    assert!(fs::read(&fetched.path).unwrap() == content, "the file is not the hub's");
    assert_eq!((fetched.bytes, &fetched.sha256), (content.len() as u64, &sha256(content)));
    assert!(parts(dir).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_whole_and_is_not_fetched_twice() {
    let (hub, dir) = (Hub::start(content(300_000)).await, tempfile::tempdir().unwrap());
    let mut args = hub.args(&dir.path().join("new/folder"));
    let fetched = run(&args).await.unwrap();
    whole(&dir.path().join("new/folder"), &fetched, &content(300_000));
    assert!(fetched.checked);
    assert_eq!(hub.ranges(), [None]);
    let first = hub.with(|i| i.hub[0].clone());
    assert_eq!((first.method, first.path.as_str()), (Method::HEAD, "/owner/name/resolve/main/model.gguf"));
    assert_eq!(run(&args).await.unwrap(), fetched);
    assert_eq!(hub.ranges().len(), 1, "what is there was fetched again");
    args.revision = "refs/pr/1".to_owned();
    args.file = "sub/model.gguf".to_owned();
    run(&args).await.unwrap();
    assert_eq!(hub.with(|i| i.hub.last().unwrap().path.clone()), "/owner/name/resolve/refs%2Fpr%2F1/sub/model.gguf");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_goes_on_where_it_broke() {
    let (hub, dir) = (Hub::start(content(300_000)).await, tempfile::tempdir().unwrap());
    hub.with(|i| i.store_faults.extend([Fault::Cut(100_000), Fault::Cut(50_000), Fault::Cut(1)]));
    let fetched = run(&hub.args(dir.path())).await.unwrap();
    whole(dir.path(), &fetched, &content(300_000));
    let range = |from: usize| Some(format!("bytes={from}-"));
    assert_eq!(hub.ranges(), [None, range(100_000), range(150_000), range(150_001)]);
    // Each try has a fresh signature.
    let signatures = hub.with(|i| i.store.iter().map(|a| a.path.clone()).collect::<std::collections::BTreeSet<_>>());
    assert_eq!(signatures.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_comes_is_given_up() {
    let (hub, dir) = (Hub::start(content(300_000)).await, tempfile::tempdir().unwrap());
    hub.with(|i| i.store_faults.push_back(Fault::Hold(50_000, Arc::default())));
    let args = Args { stall_timeout: 1, ..hub.args(dir.path()) };
    whole(dir.path(), &run(&args).await.unwrap(), &content(300_000));
    // On a busy machine more than one connection may be given up.
    let ranges = hub.ranges();
    assert!(ranges.len() >= 2 && ranges[0].is_none(), "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_fit_what_has_come_start_afresh() {
    for fault in [Fault::NoRanges, Fault::OtherPart, Fault::Status(416, &[])] {
        let (hub, dir) = (Hub::start(content(200_000)).await, tempfile::tempdir().unwrap());
        hub.with(|i| i.store_faults.extend([Fault::Cut(100_000), fault.clone()]));
        let fetched = run(&hub.args(dir.path())).await.unwrap();
        whole(dir.path(), &fetched, &content(200_000));
        assert!(hub.ranges().len() <= 3, "{fault:?}: {:?}", hub.ranges());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_errors_are_tried_again() {
    let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
    // A signed address that expired is asked for anew; a limit says how long to wait.
    hub.with(|i| {
        i.hub_faults.extend([Fault::Status(503, &[]), Fault::Status(429, &[("retry-after", "1")])]);
        i.store_faults.extend([Fault::Status(403, &[])]);
    });
    let started = Instant::now();
    let fetched = run(&hub.args(dir.path())).await.unwrap();
    whole(dir.path(), &fetched, &content(1000));
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After was not heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_end() {
    let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
    hub.with(|i| i.hub_faults.extend(vec![Fault::Status(500, &[]); 10]));
    let message = run(&hub.args(dir.path())).await.unwrap_err().to_string();
    assert!(message.contains("gave up after 5 tries") && message.contains("500"), "{message}");
    assert_eq!(hub.with(|i| i.hub.len()), 5);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_the_error_says_what_works_still() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(Vec::new()).await;
    let mut args = hub.args(dir.path());
    // A port that was free a moment ago.
    args.endpoint = format!("http://{}", listener().await.local_addr().unwrap()).parse().unwrap();
    let message = run(&args).await.unwrap_err().to_string();
    assert!(message.contains("works offline") && message.to_lowercase().contains("connect"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do() {
    for (status, headers, expected) in [
        (401, &[("x-error-code", "GatedRepo")][..], "HF_TOKEN"),
        (401, &[("x-error-code", "RepoNotFound"), ("x-error-message", "Repository not found")], "Repository not found"),
        (401, &[], "HF_TOKEN"),
        (403, &[], "HF_TOKEN"),
        (404, &[("x-error-code", "EntryNotFound")], "--file"),
        (404, &[("x-error-code", "RevisionNotFound")], "--revision"),
        (404, &[], "--repo"),
    ] {
        let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
        hub.with(|i| i.hub_faults.push_back(Fault::Status(status, headers)));
        let error = run(&hub.args(dir.path())).await.unwrap_err();
        assert!(matches!(error, FetchError::Refused { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(&status.to_string()) && message.contains(expected), "{message}");
        assert_eq!(hub.with(|i| i.hub.len()), 1, "a refusal was tried again");
    }
}

/// What the login page of a network says.
const PAGE: &str = "\n<!DOCTYPE html><html><title>Welcome to the hotel</title></html>";

fn page(status: u16, headers: &[(&'static str, &str)]) -> Fault {
    Fault::Other(status, headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), PAGE.into())
}

/// Serves the login page of a network at every address; where it is.
async fn login() -> String {
    let listener = listener().await;
    let url = format!("http://{}/login?for=secret", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(axum::response::Html(PAGE))).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_the_place_of_the_hub_is_told_at_once() {
    let login = login().await;
    let html = ("content-type", "text/html; charset=utf-8");
    for fault in [
        page(200, &[html]),
        page(200, &[html, ("etag", "\"abc\"")]),
        page(302, &[("location", &login)]),
        page(511, &[html]),
    ] {
        let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
        hub.with(|i| i.hub_faults.push_back(fault.clone()));
        let error = run(&hub.args(dir.path())).await.unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, FetchError::Intercepted { .. }), "{message}");
        assert!(message.contains("log in") && !message.contains("secret"), "{message}");
        assert_eq!((hub.with(|i| i.hub.len()), hub.ranges().len()), (1, 0), "{fault:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_the_place_of_the_file_costs_nothing_of_what_has_come() {
    let login = login().await;
    for fault in [
        page(200, &[("content-type", "text/html")]),
        page(206, &[("content-type", "application/xhtml+xml"), ("content-range", "bytes 100000-100060/200000")]),
        page(200, &[("content-type", "application/octet-stream"), ("transfer-encoding", "chunked")]),
        page(307, &[("location", &login)]),
        page(511, &[]),
    ] {
        let (hub, dir) = (Hub::start(content(200_000)).await, tempfile::tempdir().unwrap());
        hub.with(|i| i.store_faults.extend([Fault::Cut(100_000), fault.clone()]));
        let error = run(&hub.args(dir.path())).await.unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, FetchError::Intercepted { .. }), "{fault:?}: {message}");
        assert!(!message.contains("signature") && !message.contains("secret"), "{message}");
        assert_eq!(hub.ranges().len(), 2, "{fault:?}");
        assert_eq!(fs::metadata(&parts(dir.path())[0]).unwrap().len(), 100_000);
        // Once logged in, it goes on.
        whole(dir.path(), &run(&hub.args(dir.path())).await.unwrap(), &content(200_000));
        assert_eq!(hub.ranges().last().unwrap().as_deref(), Some("bytes=100000-"));
    }
    // A file that is a page comes as one.
    let (hub, dir) = (Hub::start(PAGE.into()).await, tempfile::tempdir().unwrap());
    let args = Args { file: "report.html".to_owned(), ..hub.args(dir.path()) };
    assert_eq!(fs::read(run(&args).await.unwrap().path).unwrap(), PAGE.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_another_length_are_not_taken_and_not_tried_for_ever() {
    // Each one is longer than the last, which is no progress.
    let shorter = |i: usize| Fault::Other(200, vec![], vec![0; 1000 + i]);
    let longer = |_| Fault::Other(200, vec![("transfer-encoding", "chunked".to_owned())], vec![0; 300_000]);
    for (fault, kept) in [(&shorter as &dyn Fn(usize) -> Fault, 100_000), (&longer, 0)] {
        let (hub, dir) = (Hub::start(content(200_000)).await, tempfile::tempdir().unwrap());
        hub.with(|i| i.store_faults.extend([Fault::Cut(100_000)].into_iter().chain((0..20).map(fault))));
        let message = run(&hub.args(dir.path())).await.unwrap_err().to_string();
        assert!(message.contains("gave up after 5 tries") && message.contains("bytes"), "{message}");
        // The first broke off after it had brought something.
        assert_eq!(hub.ranges().len(), 5, "{message}");
        assert_eq!(fs::metadata(&parts(dir.path())[0]).unwrap().len(), kept, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_not_tried_again() {
    let gzip = || Fault::Other(200, vec![("content-encoding", "gzip".to_owned())], vec![1; 1000]);
    for (fault, wanted) in [
        (Fault::Status(400, &[]), "--endpoint"),
        (Fault::Status(407, &[]), "HTTPS_PROXY"),
        (Fault::Status(410, &[]), "--revision"),
        (Fault::Status(501, &[]), "--endpoint"),
        (Fault::Status(302, &[]), "names no address"),
        (gzip(), "packed (gzip)"),
    ] {
        let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
        hub.with(|i| i.hub_faults.push_back(fault.clone()));
        let message = run(&hub.args(dir.path())).await.unwrap_err().to_string();
        assert!(message.contains(wanted), "{fault:?}: {message}");
        assert_eq!(hub.with(|i| i.hub.len()), 1, "{fault:?}: {message}");
    }
    // Where the file lies, an address may have expired: a fresh one is asked for, once.
    for status in [401, 403, 404, 410] {
        let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
        hub.with(|i| i.store_faults.extend(vec![Fault::Status(status, &[]); 9]));
        let error = run(&hub.args(dir.path())).await.unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, FetchError::Refused { .. }), "{message}");
        assert!(message.contains(&status.to_string()) && !message.contains("signature"), "{message}");
        assert_eq!((hub.with(|i| i.hub.len()), hub.ranges().len()), (2, 2), "{message}");
    }
    // A part that was not asked for cannot be out of range.
    let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
    hub.with(|i| i.store_faults.extend(vec![Fault::Status(416, &[]); 9]));
    let message = run(&hub.args(dir.path())).await.unwrap_err().to_string();
    assert!(message.contains("416"), "{message}");
    assert_eq!(hub.ranges().len(), 2);
    // A circle is left.
    let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
    hub.with(|i| i.hub_faults.extend(vec![Fault::Status(302, &[("location", "/owner/other")]); 99]));
    let message = run(&hub.args(dir.path())).await.unwrap_err().to_string();
    assert!(message.contains("more than 20 redirects"), "{message}");
    assert_eq!(hub.with(|i| i.hub.len()), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_is_asked_once() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (listener, dir) = (listener().await, tempfile::tempdir().unwrap());
    let mut args = Hub::start(Vec::new()).await.args(dir.path());
    args.endpoint = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let connections = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            *counted.lock().unwrap() += 1;
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://login.hotel/\r\n\r\n").await;
        }
    });
    let error = run(&args).await.unwrap_err();
    assert!(matches!(error, FetchError::Intercepted { .. }), "{error}");
    assert_eq!(*connections.lock().unwrap(), 1, "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_with_its_cure() {
    let (hub, dir) = (Hub::start(content(200_000)).await, tempfile::tempdir().unwrap());
    let etag = format!("\"{}\"", sha256(&content(200_000)));
    let part = dir.path().join(format!(".model.gguf.{}.part", &sha256(etag.as_bytes())[..16]));
    // Whatever is written there finds the disk full.
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let message = run(&hub.args(dir.path())).await.unwrap_err().to_string();
    assert!(message.contains("No space left") && message.contains("Make room"), "{message}");
    assert_eq!(hub.ranges().len(), 1);
    fs::remove_file(part).unwrap();
    whole(dir.path(), &run(&hub.args(dir.path())).await.unwrap(), &content(200_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_changes_is_never_joined() {
    // Between two runs: the part has the name of what it is a part of.
    let (hub, dir) = (Hub::start(content(200_000)).await, tempfile::tempdir().unwrap());
    hub.with(|i| i.store_faults.extend(vec![Fault::Cut(100_000); 1]));
    hub.with(|i| i.hub_faults.extend([Fault::None].into_iter().chain(vec![Fault::Status(500, &[]); 9])));
    run(&hub.args(dir.path())).await.unwrap_err();
    assert_eq!(parts(dir.path()).len(), 1);
    let other: Vec<u8> = content(200_000).iter().map(|b| b ^ 255).collect();
    hub.with(|i| {
        i.hub_faults.clear();
        i.content.clone_from(&other);
    });
    let fetched = run(&hub.args(dir.path())).await.unwrap();
    whole(dir.path(), &fetched, &other);
    assert_eq!(hub.ranges(), [None, None]);

    // Within a run: the hub says so when it is asked again.
    let (hub, dir) = (Hub::start(content(200_000)).await, tempfile::tempdir().unwrap());
    hub.with(|i| {
        i.store_faults.push_back(Fault::Cut(100_000));
        i.hub_faults.extend([Fault::None, Fault::Change(other.clone())]);
    });
    let message = run(&hub.args(dir.path())).await.unwrap_err().to_string();
    assert!(message.contains("changed on the hub"), "{message}");
    whole(dir.path(), &run(&hub.args(dir.path())).await.unwrap(), &other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_checksum_is_thrown_away() {
    let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
    hub.with(|i| i.etag = Some(format!("\"{}\"", sha256(b"something else"))));
    let error = run(&hub.args(dir.path())).await.unwrap_err();
    assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    hub.with(|i| i.etag = None);
    let mut args = hub.args(dir.path());
    args.sha256 = Some(sha256(b"something else"));
    let before = hub.ranges().len();
    let message = run(&args).await.unwrap_err().to_string();
    assert!(message.contains("--sha256"), "{message}");
    assert_eq!(hub.ranges().len(), before, "it was fetched though the hub says that it is another");
    // What is there already is neither taken for the hub's nor written over.
    fs::write(dir.path().join("model.gguf"), "mine").unwrap();
    let message = run(&hub.args(dir.path())).await.unwrap_err().to_string();
    assert!(message.contains("not written over"), "{message}");
    assert_eq!(fs::read(dir.path().join("model.gguf")).unwrap(), b"mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_lies_on_the_hub_itself_and_is_held_to_its_tag() {
    let (hub, dir) = (Hub::start(content(100_000)).await, tempfile::tempdir().unwrap());
    hub.with(|i| {
        i.direct = true;
        i.etag = Some("\"a94a8fe5ccb19ba61c4c0873d391e987982fbbd3\"".to_owned());
        i.store_faults.push_back(Fault::Cut(40_000));
    });
    let fetched = run(&hub.args(dir.path())).await.unwrap();
    whole(dir.path(), &fetched, &content(100_000));
    assert!(!fetched.checked, "git's tag is no SHA-256");
    let second = hub.with(|i| i.store[1].clone());
    assert_eq!(second.range.as_deref(), Some("bytes=40000-"));
    assert_eq!(second.if_range.as_deref(), Some("\"a94a8fe5ccb19ba61c4c0873d391e987982fbbd3\""));
    let (hub, dir) = (hub.clone(), tempfile::tempdir().unwrap());
    let mut args = hub.args(dir.path());
    args.sha256 = Some(sha256(&content(100_000)));
    assert!(run(&args).await.unwrap().checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_elsewhere_are_refused() {
    let (hub, dir) = (Hub::start(content(10)).await, tempfile::tempdir().unwrap());
    for (repo, file) in
        [("owner/name", "../evil"), ("owner", "f"), ("owner/../x", "f"), ("owner/name", "/etc/f"), ("o/n", "")]
    {
        let mut args = hub.args(dir.path());
        (args.repo, args.file) = (repo.to_owned(), file.to_owned());
        assert!(run(&args).await.is_err(), "{repo} {file}");
    }
    assert_eq!(hub.with(|i| i.hub.len()), 0);
}

fn program(hub: &Hub, dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infer-server"));
    command.args(["fetch", "--repo", "owner/name", "--file", "model.gguf", "--dir"]).arg(dir);
    command.args(["--stall-timeout", &HANGS_AFTER.as_secs().to_string()]);
    command.env_remove("HF_TOKEN").env("HF_ENDPOINT", &hub.url).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_goes_to_the_hub_alone() {
    let (hub, dir) = (Hub::start(content(1000)).await, tempfile::tempdir().unwrap());
    let mut command = program(&hub, dir.path());
    command.env("HF_TOKEN", "hf_secret");
    let output = output(command).await;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains(&sha256(&content(1000))), "{text}");
    assert!(!text.contains("hf_secret"), "{text}");
    hub.with(|i| {
        assert!(i.hub.iter().all(|a| a.token.as_deref() == Some("Bearer hf_secret")));
        assert!(i.store.iter().all(|a| a.token.is_none()));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_was_killed_goes_on() {
    let all = content(2_000_000);
    let (hub, dir) = (Hub::start(all.clone()).await, tempfile::tempdir().unwrap());
    const STEP: usize = 300_000;
    hub.with(|i| i.store_faults.extend(vec![Fault::Hold(STEP, Arc::default()); 3]));
    for kill in 1..=3 {
        let mut child = program(&hub, dir.path()).spawn().unwrap();
        let present = || parts(dir.path()).first().map_or(0, |part| fs::metadata(part).unwrap().len());
        eventually(async || present() == (kill * STEP) as u64).await;
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!dir.path().join("model.gguf").exists());
    }
    let output = output(program(&hub, dir.path())).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read(dir.path().join("model.gguf")).unwrap() == all, "the file is not the hub's");
    assert!(parts(dir.path()).is_empty());
    let range = |kills: usize| Some(format!("bytes={}-", kills * STEP));
    assert_eq!(hub.ranges(), [None, range(1), range(2), range(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_downloads_of_one_file_do_not_mix() {
    let (hub, dir) = (Hub::start(content(500_000)).await, tempfile::tempdir().unwrap());
    let go = Arc::new(Notify::new());
    hub.with(|i| i.store_faults.push_back(Fault::Hold(100_000, Arc::clone(&go))));
    let first = tokio::spawn({
        let args = hub.args(dir.path());
        async move { run(&args).await }
    });
    eventually(async || !hub.ranges().is_empty()).await;
    let message = run(&hub.args(dir.path())).await.unwrap_err().to_string();
    assert!(message.contains("another process is downloading it"), "{message}");
    go.notify_one();
    whole(dir.path(), &first.await.unwrap().unwrap(), &content(500_000));
}

#[test]
fn names_of_models_are_told_from_paths() {
    let named = |text: &str| HubName::parse(text).map(|name| (name.repo, name.revision, name.file));
    let name = |repo: &str, revision: &str, file: &str| Some((repo.to_owned(), revision.to_owned(), file.to_owned()));
    assert_eq!(named("owner/name"), name("owner/name", "main", "config.json"));
    assert_eq!(named("meta-llama/Llama-3.1-8B@v1.0"), name("meta-llama/Llama-3.1-8B", "v1.0", "config.json"));
    assert_eq!(named("hf://o/n@r/sub/a.safetensors"), name("o/n", "r", "sub/a.safetensors"));
    for path in
        ["name", "", "/etc/passwd", "./a", "../a", "a/b/c", "a/", "a/b c", "hf://a", "hf://a/b/../c", "a/b@", "a@b"]
    {
        assert_eq!(named(path), None, "{path}");
    }
}

const LLAMA: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":64,"intermediate_size":128,
    "num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":100,"max_position_embeddings":2048,"torch_dtype":"bfloat16",
    "rms_norm_eps":1e-05,"tie_word_embeddings":false}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_kept_and_used_where_the_hub_is_gone() {
    let (hub, dir) = (Hub::start(LLAMA.into()).await, tempfile::tempdir().unwrap());
    hub.with(|i| i.direct = true);
    let name = HubName::parse("owner/name").unwrap();
    let args = name.args(&hub.url.parse().unwrap(), Some(dir.path()));
    let kept = Kept { bytes: LLAMA.into(), unasked: None };
    assert_eq!(small(&args).await.unwrap(), kept);
    assert_eq!(hub.with(|i| i.hub[0].path.clone()), "/owner/name/resolve/main/config.json");
    let gets = || hub.with(|i| i.store.len());
    assert_eq!(gets(), 1);
    assert_eq!(small(&args).await.unwrap(), kept);
    assert_eq!(gets(), 1, "what has not changed was fetched again");
    hub.with(|i| i.content = b"{}".to_vec());
    assert_eq!(small(&args).await.unwrap().bytes, b"{}");
    // Nobody listens there any more.
    let gone = Args { endpoint: "http://127.0.0.1:9".parse().unwrap(), ..args.clone() };
    let offline = small(&gone).await.unwrap();
    assert_eq!(offline.bytes, b"{}");
    assert!(offline.unasked.is_some());
    // Nor is somebody else believed.
    hub.with(|i| i.hub_faults.push_back(page(200, &[("content-type", "text/html"), ("etag", "\"abc\"")])));
    let behind_a_login = small(&args).await.unwrap();
    assert_eq!((behind_a_login.bytes, behind_a_login.unasked.is_some()), (b"{}".to_vec(), true));
    let other = HubName::parse("owner/other").unwrap().args(&gone.endpoint, Some(dir.path()));
    assert!(matches!(small(&other).await, Err(FetchError::Unreachable { .. })));
    hub.with(|i| i.hub_faults.push_back(Fault::Status(403, &[("x-error-code", "GatedRepo")])));
    let refused = small(&args).await.unwrap_err().to_string();
    assert!(refused.contains("Accept the model's conditions on its page, and set HF_TOKEN"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_weights_the_header_alone_is_fetched() {
    // A header that is longer than what is asked for first, and a megabyte of weights.
    let json = format!(
        "{{\"w\":{{\"dtype\":\"U8\",\"shape\":[1048576],\"data_offsets\":[0,1048576]}}{}}}",
        " ".repeat(100_000)
    );
    let file = [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &vec![7; 1 << 20]].concat();
    let length = |head: &[u8]| Some(u64::from_le_bytes(head[..8].try_into().unwrap()) + 8);
    for faults in [vec![], vec![Fault::Cut(1000)], vec![Fault::NoRanges, Fault::NoRanges]] {
        let (hub, dir) = (Hub::start(file.clone()).await, tempfile::tempdir().unwrap());
        hub.with(|i| i.store_faults.extend(faults));
        let name = HubName::parse("hf://owner/name/model.safetensors").unwrap();
        let args = name.args(&hub.url.parse().unwrap(), Some(dir.path()));
        let kept = header(&args, length).await.unwrap();
        assert!(kept.bytes == file[..json.len() + 8]);
        assert!(hub.ranges().iter().all(|range| range.as_deref().is_some_and(|range| range.starts_with("bytes=0-"))));
        let asked = hub.ranges().len();
        assert_eq!(header(&args, length).await.unwrap(), kept);
        assert_eq!(hub.ranges().len(), asked, "a header was fetched again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_runs_a_model_by_its_name() {
    let (hub, dir) = (Hub::start(LLAMA.into()).await, tempfile::tempdir().unwrap());
    let place = infer_server::hub::Hub::at(hub.url.parse().unwrap(), Some(dir.path().to_owned()));
    let asks = |hub| {
        let config = infer_server::service::Config { hub, ..Default::default() };
        infer_server::service::router(&config, infer_server::health::Health::default())
    };
    let post = async |service: Router, path: &str, model: &str| {
        let run = format!(r#"{{"workload":{{"model":{{"model":{model}}}}}}}"#);
        let body = if path == "/v1/traffic" { format!(r#"{{"of":{run}}}"#) } else { run };
        let request =
            axum::http::Request::post(path).header("content-type", "application/json").body(body.into()).unwrap();
        crate::common::send(service, request).await
    };
    for path in ["/v1/run", "/v1/traffic", "/v1/price"] {
        let named = post(asks(place.clone()), path, "\"owner/name\"").await;
        let given = post(asks(infer_server::hub::Hub::default()), path, LLAMA).await;
        assert_eq!(named.status, 200, "{}", named.text);
        assert_eq!(named.json(), given.json(), "{path}");
    }
    let none = post(asks(infer_server::hub::Hub::default()), "/v1/run", "\"owner/name\"").await;
    none.refuses(422, "this server asks no hub for models. Start it with --hub");
    hub.with(|i| i.hub_faults.push_back(Fault::Status(404, &[("x-error-code", "RepoNotFound")])));
    post(asks(place), "/v1/run", "\"owner/name\"").await.refuses(422, "Check --repo, or set HF_TOKEN if it is private");
}
