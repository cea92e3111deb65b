//! Damaged requests: each is answered, with a cause where it is refused, and the next one as if nothing had been.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::common::{HANGS_AFTER, check, limits, question, server};
use crate::mutant::{each, mutant};

/// Mutants of requests.
const MUTANTS: u64 = 500;

/// What is sent, as a client writes it.
fn valid() -> Vec<Vec<u8>> {
    let run = r#"{"workload":{"model":{"model":"llama-2-7b"}},"policies":["lru"]}"#;
    let trace = r#"{"trace":[{"timestamp":0,"tensor_id":"a","size":4},{"timestamp":1,"tensor_id":"b","size":4}]}"#;
    [
        ("POST", "/v1/score", question("is it?\n", &["yes: ", "no: "])),
        ("POST", "/v1/run", run.to_owned()),
        ("POST", "/validate-trace", trace.to_owned()),
        ("POST", "/v1/jobs", r#"{"kind":"sweep","body":{}}"#.to_owned()),
        ("GET", "/info", String::new()),
        ("GET", "/health/ready", String::new()),
    ]
    .into_iter()
    .map(|(method, path, body)| {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json");
        format!("{head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
    })
    .collect()
}

/// Sends all of it and reads to the end; what came.
fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANGS_AFTER)).unwrap();
    // A server that has seen enough may close while it is written to, and reset what it did not read.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    assert!(end.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::ConnectionReset), "{end:?}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_requests_are_answered_with_a_cause() {
    let server = server(limits()).ready().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let requests = valid();
    let all = move || {
        each(MUTANTS, move |number| {
            let answer = send(address, &mutant(number, &requests[number as usize % requests.len()]));
            let text = String::from_utf8_lossy(&answer);
            // Nothing comes where not even a head did.
            let Some(status) = text.split(' ').nth(1) else { return };
            let status: u16 = status.parse().unwrap_or_else(|_| panic!("no answer in HTTP: {text}"));
            assert!(matches!(status, 100..=499 | 503 | 505), "{text}");
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            // What is no HTTP is refused before anyone looks at it: RFC 9112, 3.
            if status >= 400 && !body.is_empty() && status != 404 && status != 405 {
                assert!(body.contains("\"error\"") || body.contains("\"detail\""), "{text}");
            }
        });
    };
    tokio::task::spawn_blocking(all).await.unwrap();
    let answer = server.post("/v1/score", question("after\n", &["all: "])).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    check(&answer.json(), "after\n", &["all: "], None);
}
