//! Connections: each kind of slow client is closed in its time, and a server that stops ends what it can. The clock of
//! these tests stands still while anything moves, and jumps to the next limit when nothing does.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use axum::serve::Listener;
use infer_server::health::Health;
use infer_server::listen::{Bounds, serve};
use infer_server::metrics::Metrics;
use infer_server::service::{Config, router};
use infer_server::tls::{Files, Tls};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Connections made in process.
struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.recv().await {
            Some(io) => (io, (Ipv4Addr::LOCALHOST, 1).into()),
            None => pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, 1).into())
    }
}

struct Server {
    connections: mpsc::UnboundedSender<DuplexStream>,
    stop: oneshot::Sender<()>,
    metrics: Metrics,
    served: JoinHandle<usize>,
}

impl Server {
    fn start(service: Router, tls: Option<Tls>, bounds: Bounds) -> Self {
        let (connections, pipes) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let metrics = Metrics::default();
        let theirs = metrics.clone();
        let served = async move { serve(Pipes(pipes), service, tls, bounds, &theirs, stopped).await };
        Self { connections, stop, metrics, served: tokio::spawn(served) }
    }

    /// A connection whose two sides hold so many bytes on their way.
    fn connect(&self, bytes: usize) -> DuplexStream {
        let (ours, theirs) = duplex(bytes);
        self.connections.send(theirs).unwrap();
        ours
    }
}

/// The service, and beside it `/here`; a megabyte at `/large`; the length of a body at `/length`; and `/wait`, which answers
/// when it is told to.
fn service(go: &Arc<Notify>) -> Router {
    let go = Arc::clone(go);
    let wait = move || {
        let go = Arc::clone(&go);
        async move {
            go.notified().await;
            "waited"
        }
    };
    Router::new()
        .route("/here", get(|| async { "here" }))
        .route("/large", get(|| async { "x".repeat(1 << 20) }))
        .route("/wait", get(wait))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .merge(router(&Config::default(), Health::default()))
}

fn start(bounds: Bounds) -> (Server, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    (Server::start(service(&go), None, bounds), go)
}

/// What the server sends until it closes the connection, and after which time that was.
async fn to_the_end(mut io: impl tokio::io::AsyncRead + Unpin, since: Instant) -> (String, Duration) {
    let mut text = Vec::new();
    // One that is broken off ends as well.
    let _ = io.read_to_end(&mut text).await;
    (String::from_utf8(text).unwrap(), since.elapsed())
}

/// Reads until `end` comes.
async fn until(io: &mut DuplexStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut bytes = [0; 1];
        assert_eq!(io.read(&mut bytes).await.unwrap(), 1, "it closed: {text}");
        text.push(bytes[0] as char);
    }
    text
}

const HERE: &str = "GET /here HTTP/1.1\r\nhost: h\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn slow_clients_are_closed_in_their_time() {
    let bounds = Bounds::default();
    let (server, _go) = start(bounds.clone());
    let since = Instant::now();

    let silent = server.connect(4096);
    assert_eq!(to_the_end(silent, since).await, (String::new(), bounds.idle));

    let since = Instant::now();
    let mut half_a_head = server.connect(4096);
    half_a_head.write_all(b"GET / HTTP/1.1\r\nhos").await.unwrap();
    assert_eq!(to_the_end(&mut half_a_head, since).await, (String::new(), bounds.head));

    let since = Instant::now();
    let mut after_an_answer = server.connect(4096);
    after_an_answer.write_all(HERE.as_bytes()).await.unwrap();
    let (answer, took) = to_the_end(after_an_answer, since).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
    assert_eq!(took, bounds.idle);

    let since = Instant::now();
    let mut half_a_body = server.connect(4096);
    half_a_body.write_all(b"POST /v1/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{\"a").await.unwrap();
    let (answer, took) = to_the_end(half_a_body, since).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("--stall-timeout"), "{answer}");
    assert_eq!(took, bounds.stall);

    // Always a byte, never the end.
    let since = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(server.connect(4096));
    let head = b"POST /v1/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n\r\n";
    writing.write_all(head).await.unwrap();
    let trickle = tokio::spawn(async move {
        while writing.write_all(b" ").await.is_ok() {
            sleep(Duration::from_secs(20)).await;
        }
    });
    let (answer, took) = to_the_end(&mut reading, since).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(took, bounds.body);
    trickle.abort();

    // Asks, and does not read.
    let since = Instant::now();
    let mut deaf = server.connect(4096);
    deaf.write_all(b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    sleep(bounds.stall + Duration::from_secs(1)).await;
    let (answer, took) = to_the_end(deaf, since).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() <= 4096, "{}", answer.len());
    assert!(took < bounds.idle, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_after_its_time() {
    let bounds = Bounds::default();
    let (server, go) = start(bounds.clone());
    let since = Instant::now();
    let mut busy = server.connect(4096);
    while since.elapsed() < bounds.total {
        busy.write_all(HERE.as_bytes()).await.unwrap();
        until(&mut busy, "here").await;
        sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(to_the_end(busy, since).await, (String::new(), bounds.total));

    // What is under way then is finished, if it takes no longer than the grace.
    let short = Bounds { total: Duration::from_secs(5), ..bounds.clone() };
    let (server, since) = (start(short.clone()), Instant::now());
    let mut asking = server.0.connect(4096);
    asking.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    sleep(short.total + Duration::from_secs(1)).await;
    server.1.notify_one();
    let (answer, took) = to_the_end(asking, since).await;
    assert!(answer.ends_with("waited") && took < short.total + short.grace, "{answer}");
    let (server, since) = (start(short.clone()), Instant::now());
    let mut asking = server.0.connect(4096);
    asking.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    assert_eq!(to_the_end(asking, since).await, (String::new(), short.total + short.grace));
    drop(go);
}

#[tokio::test(start_paused = true)]
async fn more_connections_than_allowed_wait() {
    let (server, _go) = start(Bounds { connections: 1, ..Bounds::default() });
    let mut first = server.connect(4096);
    first.write_all(HERE.as_bytes()).await.unwrap();
    until(&mut first, "here").await;
    let mut second = server.connect(4096);
    second.write_all(HERE.as_bytes()).await.unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(10), second.read_u8()).await;
    assert!(answered.is_err(), "two connections were served at once");
    drop(first);
    until(&mut second, "here").await;
}

#[tokio::test(start_paused = true)]
async fn open_connections_are_counted() {
    let (server, go) = start(Bounds { connections: 3, ..Bounds::default() });
    let text = |open: i64| {
        let text = server.metrics.text().unwrap();
        assert!(text.contains("# HELP accel_connections Connections that are open.\n"), "{text}");
        assert!(text.contains("\naccel_connections_limit 3\n"), "{text}");
        assert!(text.contains(&format!("\naccel_connections {open}\n")), "{open}: {text}");
    };
    let mut first = server.connect(4096);
    first.write_all(HERE.as_bytes()).await.unwrap();
    until(&mut first, "here").await;
    text(1);
    let mut asking = server.connect(4096);
    asking.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let _silent = server.connect(4096);
    sleep(Duration::from_secs(1)).await;
    text(3);
    // One more than there may be is not open yet.
    let _waiting = server.connect(4096);
    sleep(Duration::from_secs(1)).await;
    text(3);
    drop(first);
    sleep(Duration::from_secs(1)).await;
    text(3);
    go.notify_one();
    until(&mut asking, "waited").await;
    drop(asking);
    sleep(Duration::from_secs(1)).await;
    text(2);
    // Those that are cut off at the end count no more either.
    let count = server.metrics.connections.clone();
    server.stop.send(()).unwrap();
    server.served.await.unwrap();
    assert_eq!(count.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_finishes_what_is_under_way() {
    let (server, go) = start(Bounds::default());
    let silent = server.connect(4096);
    let mut idle = server.connect(4096);
    idle.write_all(HERE.as_bytes()).await.unwrap();
    until(&mut idle, "here").await;
    let mut half_a_head = server.connect(4096);
    half_a_head.write_all(b"GET /he").await.unwrap();
    let mut second_half = server.connect(4096);
    second_half.write_all(HERE.as_bytes()).await.unwrap();
    until(&mut second_half, "here").await;
    second_half.write_all(b"GET /he").await.unwrap();
    let mut asking = server.connect(4096);
    asking.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut sending = server.connect(4096);
    sending.write_all(b"POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
    sleep(Duration::from_secs(1)).await;

    let since = Instant::now();
    server.stop.send(()).unwrap();
    for waiting in [silent, idle, half_a_head, second_half] {
        assert_eq!(to_the_end(waiting, since).await, (String::new(), Duration::ZERO));
    }
    assert!(server.connections.is_closed(), "it still takes connections");
    sleep(Duration::from_secs(1)).await;
    sending.write_all(b"cd").await.unwrap();
    let (answer, took) = to_the_end(sending, since).await;
    assert!(answer.ends_with("\r\n\r\n4") && took == Duration::from_secs(1), "{answer} {took:?}");
    assert!(!server.served.is_finished());
    go.notify_one();
    let (answer, took) = to_the_end(asking, since).await;
    assert!(answer.ends_with("waited") && took == Duration::from_secs(1), "{answer} {took:?}");
    assert_eq!((server.served.await.unwrap(), since.elapsed()), (0, Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn the_grace_has_an_end() {
    let bounds = Bounds { grace: Duration::from_secs(7), ..Bounds::default() };
    let (server, _go) = start(bounds.clone());
    let mut asking = server.connect(4096);
    asking.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let since = Instant::now();
    server.stop.send(()).unwrap();
    assert_eq!((server.served.await.unwrap(), since.elapsed()), (1, bounds.grace));
    assert_eq!(to_the_end(asking, since).await.0, "");
}

#[tokio::test(start_paused = true)]
async fn the_host_is_named_once() {
    let (server, _go) = start(Bounds::default());
    for (request, status) in [
        ("GET /health/live HTTP/1.1\r\n\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nhost: a b\r\n\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n", 200),
        ("GET /health/live HTTP/1.0\r\n\r\n", 200),
    ] {
        let mut io = server.connect(4096);
        io.write_all(request.as_bytes()).await.unwrap();
        let (answer, _) = to_the_end(io, Instant::now()).await;
        assert!(answer.contains(&format!(" {status} ")), "{request}{answer}");
    }
}

/// Writes a certificate for `localhost` and its key into `folder`; the certificate.
fn certify(folder: &std::path::Path) -> rcgen::Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert
}

async fn over_tls(server: &Server, trusted: &rcgen::Certificate) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut io = connector.connect(ServerName::try_from("localhost").unwrap(), server.connect(4096)).await?;
    io.write_all(b"GET /here HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    Ok(to_the_end(io, Instant::now()).await.0)
}

// The certificate's time is that of the real clock.
#[tokio::test]
async fn tls_speaks_with_the_certificate_of_the_day() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let error = Tls::open(files.clone()).unwrap_err().to_string();
    assert!(error.contains("cert.pem") && error.contains("PEM"), "{error}");
    let first = certify(folder.path());
    let tls = Tls::open(files).unwrap();
    let server = Server::start(service(&Arc::default()), Some(tls.clone()), Bounds::default());
    assert!(over_tls(&server, &first).await.unwrap().ends_with("here"));

    // Plain HTTP gets no answer.
    let mut plain = server.connect(4096);
    plain.write_all(HERE.as_bytes()).await.unwrap();
    assert!(!to_the_end(plain, Instant::now()).await.0.contains("200"));

    let second = certify(folder.path());
    assert!(over_tls(&server, &second).await.is_err(), "the new certificate is not read yet");
    tls.reload().unwrap();
    assert!(over_tls(&server, &second).await.unwrap().ends_with("here"));
    assert!(over_tls(&server, &first).await.is_err(), "the old certificate is still there");

    // A key of another certificate is refused, and what was there stays.
    let key = std::fs::read(folder.path().join("key.pem")).unwrap();
    certify(folder.path());
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("belongs to the certificate"), "{error}");
    assert!(over_tls(&server, &second).await.unwrap().ends_with("here"));
}
