//! Logs: one line per event, whatever a client or an engine wrote into it, and one event per request.

use std::io::{self, IsTerminal as _, Write};
use std::time::Instant;

use accel_core::closed;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::KeyValue;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::SpanKind;
use tracing::Instrument as _;
use tracing_subscriber::EnvFilter;

use crate::auth::Name;
use crate::listen::Peer;
use crate::traces::{self, Span};

/// The header with a request's name in the logs: the client's own, or one that the server gives it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer names of requests are replaced: what makes them writes a UUID of 36 characters, or a trace's of 55.
const ID_LENGTH: usize = 64;
/// Routes whose requests have no span.
const UNTRACED: [&str; 3] = ["/health/live", "/health/ready", "/metrics"];

closed! {
    /// How logs are written.
    pub enum LogFormat("log_format", "format of logs") {
        /// Lines for people.
        Text = "text" titled "Lines for people",
        /// One JSON object per line.
        Json = "json" titled "One JSON object per line",
    }
}

/// Writes logs to standard error from now on; `RUST_LOG` chooses which.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal() && format == LogFormat::Text;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || OneLine { out: io::stderr(), colours })
        .with_ansi(colours);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}

/// Writes an event, which comes in one piece, as one line: what would break it, or change how a terminal shows it, is
/// written as JSON escapes it.
struct OneLine<W> {
    out: W,
    /// Whether the format itself writes colours. Then escapes that begin them stay; the subscriber replaces those of others.
    colours: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (text, end) = event.strip_suffix(b"\n").map_or((event, &b""[..]), |text| (text, b"\n"));
        let mut line = String::with_capacity(event.len());
        for c in String::from_utf8_lossy(text).chars() {
            match c {
                '\u{1b}' if self.colours => line.push(c),
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    line.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                c => line.push(c),
            }
        }
        self.out.write_all(line.as_bytes())?;
        self.out.write_all(end)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Names a request, and writes one line about it once its answer begins. What is logged meanwhile carries the name.
pub(crate) async fn request(mut request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).filter(|id| is_plain(id)).cloned().unwrap_or_else(new_id);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let name = id.to_str().unwrap_or_default().to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let start = Instant::now();
    let span = tracing::info_span!("request", id = name);
    let traced = traced(&request, &name);
    let context = traced.as_ref().map_or_else(|| traces::received(request.headers()), |span| span.context().clone());
    let trace = traces::name(&context);
    let mut response = next.run(request).instrument(span).with_context(context).await;
    let who = response.extensions().get::<Name>().map(|name| &*name.0);
    let (status, ms) = (response.status().as_u16(), start.elapsed().as_millis() as u64);
    tracing::info!(target: "access", %method, path, status, ms, id = name, trace, peer = peer.map(tracing::field::display), key = who);
    if let Some(span) = traced {
        span.set(KeyValue::new("http.response.status_code", i64::from(status)));
        if response.status().is_server_error() {
            span.set(KeyValue::new("error.type", status.to_string()));
            span.fail("");
        }
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A span for a request, named as OpenTelemetry's conventions for HTTP have it. What is asked every few seconds, to see
/// whether the server is well, has none.
fn traced(request: &Request, id: &str) -> Option<Span> {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if route.is_some_and(|route| UNTRACED.contains(&route)) {
        return None;
    }
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.clone()),
        KeyValue::new("url.path", path),
        KeyValue::new("accel.request.id", id.to_owned()),
    ];
    attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_string());
    attributes.extend(peer.map(|peer| KeyValue::new("client.address", peer)));
    let name = route.map_or_else(|| method.clone(), |route| format!("{method} {route}"));
    Some(Span::begin(&traces::received(request.headers()), SpanKind::Server, name, attributes))
}

fn is_plain(id: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    (1..=ID_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

fn new_id() -> HeaderValue {
    // A name that is there twice does no harm: without random numbers, all are alike.
    let number = getrandom::u64().unwrap_or_default();
    HeaderValue::try_from(format!("{number:016x}")).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_that_others_write_begins_a_line() {
        let forged = "busy\n2030-01-01T00:00:00Z  INFO all is well\r\u{1b}[2J\u{85}\u{2028}end";
        for json in [false, true] {
            let lines = Lines::default();
            let theirs = lines.clone();
            let logs = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(move || OneLine { out: theirs.clone(), colours: false });
            let subscriber: Box<dyn tracing::Subscriber + Send + Sync> =
                if json { Box::new(logs.json().finish()) } else { Box::new(logs.finish()) };
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(error = %forged, quoted = ?forged, "{forged}");
                tracing::info!("next");
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(!text.contains(['\r', '\u{1b}', '\u{85}', '\u{2028}']), "{text:?}");
            assert!(text.contains("all is well") && text.contains("end"), "{text}");
        }
    }

    #[test]
    fn names_of_requests_are_plain() {
        for good in ["1", "0f8a-77_x.y", &"a".repeat(64)] {
            assert!(is_plain(&HeaderValue::from_str(good).unwrap()), "{good}");
        }
        for bad in ["", "a b", "a=\"b\"", &"a".repeat(65), "é"] {
            assert!(!is_plain(&HeaderValue::from_bytes(bad.as_bytes()).unwrap()), "{bad}");
        }
        assert!(is_plain(&new_id()));
    }
}
