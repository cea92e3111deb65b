//! Accepting connections, holding each of them to its limits, and ending them when the server stops.
//!
//! A connection is `Idle` until the first byte of a request, in its `Head` until the service is asked, `Asked` until the
//! answer has been handed over, and `Answered` until the client has it; then it is idle again. A body that does not arrive
//! and an answer that is not read are noticed where bytes are read and written.

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::serve::Listener;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tower::ServiceExt as _;

use crate::metrics::Metrics;
use crate::tls::Tls;

/// How many connections there may be, and how long each may take for what.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Connections at once; more wait in the system's backlog until one ends.
    pub connections: usize,
    /// For the first byte of a request: after connecting, and after an answer.
    pub idle: Duration,
    /// For the rest of a request's head, and for the handshake of TLS.
    pub head: Duration,
    /// For a request's body as a whole.
    pub body: Duration,
    /// Without a byte of a body that is being read, or of an answer that is being written.
    pub stall: Duration,
    /// For a connection as a whole: after it no request is taken any more, and an answer under way has `grace` to end.
    pub total: Duration,
    /// For the answers under way when the server stops.
    pub grace: Duration,
}

/// Clients on the same network take milliseconds; these are for slow ones far away.
impl Default for Bounds {
    fn default() -> Self {
        Self {
            // A connection costs some 30 kB and a file descriptor, of which systems allow 1024 and more.
            connections: 512,
            // Browsers and proxies keep connections for about a minute.
            idle: Duration::from_secs(75),
            // A head has some kilobytes.
            head: Duration::from_secs(10),
            // 16 MiB, the limit of bodies, at half a megabit a second.
            body: Duration::from_secs(300),
            stall: Duration::from_secs(30),
            // So that clients come to know of other servers behind the same name.
            total: Duration::from_secs(3600),
            // The deadline of a question to the model.
            grace: Duration::from_secs(120),
        }
    }
}

/// The other end of the connection that a request came over; requests made in process have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A request's body did not arrive in its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it did not arrive within its time")]
pub(crate) struct TooSlow;

impl TooSlow {
    /// Whether it is what caused `error`.
    pub(crate) fn caused(error: &(dyn Error + 'static)) -> bool {
        error.is::<Self>() || error.source().is_some_and(Self::caused)
    }
}

/// Serves until `stop` ends; then takes no more connections, closes those without a request, and gives the answers under
/// way their grace. How many connections were cut off at its end.
pub async fn serve<L: Listener<Addr = SocketAddr>>(
    mut listener: L,
    service: Router,
    tls: Option<Tls>,
    bounds: Bounds,
    metrics: &Metrics,
    stop: impl Future<Output = ()>,
) -> usize {
    let places = Arc::new(Semaphore::new(bounds.connections));
    metrics.connections_limit.set(bounds.connections as i64);
    let stopping = watch::Sender::new(false);
    let host = Host { service, tls, bounds: bounds.clone(), stopping: stopping.subscribe() };
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        tokio::select! {
            () = stop.as_mut() => break,
            // The semaphore is never closed.
            Some((place, (io, peer))) = next => {
                let open = Open::new(&metrics.connections, place);
                connections.spawn(host.clone().connection(io, peer, open))
            }
        };
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    stopping.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(bounds.grace, ended).await.is_ok() {
        return 0;
    }
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

/// A connection's place, and its part in the count of those that are open.
struct Open {
    count: Gauge,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(count: &Gauge, place: OwnedSemaphorePermit) -> Self {
        count.inc();
        Self { count: count.clone(), _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.dec();
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Host {
    service: Router,
    tls: Option<Tls>,
    bounds: Bounds,
    stopping: watch::Receiver<bool>,
}

impl Host {
    /// One connection from its start to its end, in a place of its own.
    async fn connection<I>(mut self, io: I, peer: SocketAddr, _open: Open)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = self.tls.take() else { return self.requests(io, peer).await };
        let handshake = timeout(self.bounds.head, tls.accept(io));
        let mut stopping = self.stopping.clone();
        tokio::select! {
            encrypted = handshake => match encrypted {
                Ok(Ok(io)) => self.requests(io, peer).await,
                Ok(Err(error)) => tracing::debug!(%peer, ?error, "no TLS"),
                Err(_) => tracing::debug!(%peer, "no TLS in time"),
            },
            () = stopped(&mut stopping) => {}
        }
    }

    async fn requests<I: AsyncRead + AsyncWrite + Unpin + Send>(mut self, io: I, peer: SocketAddr) {
        let course = Arc::new(Course::default());
        let io = TokioIo::new(Wire { io, course: Arc::clone(&course), stall: self.bounds.stall, stalled: None });
        let ask = {
            let (course, service, bounds) = (Arc::clone(&course), self.service.clone(), self.bounds.clone());
            service_fn(move |request: Request<Incoming>| {
                course.enter(Phase::Asked);
                let mut request = request.map(|body| Body::new(Arriving::new(body, &bounds)));
                request.extensions_mut().insert(Peer(peer));
                let (answer, given) = (service.clone().oneshot(request), Given(Arc::clone(&course)));
                async move { Ok::<_, Infallible>(answer.await?.map(|body| Leaving { body, _given: given })) }
            })
        };
        // It has no clock of its own: the limits are watched here.
        let mut connection = pin!(http1::Builder::new().header_read_timeout(None).serve_connection(io, ask));
        let mut changes = course.0.subscribe();
        let (total, grace) = (Instant::now() + self.bounds.total, self.bounds.grace);
        let (mut end, mut leaving) = (total, false);
        loop {
            let limit = self.bounds.limit(*changes.borrow_and_update());
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, ?error, "the connection broke");
                    }
                    return;
                }
                _ = changes.changed() => {}
                () = until(limit) => {
                    tracing::debug!(%peer, "the client took too long");
                    return;
                }
                () = sleep_until(end) => {
                    if leaving {
                        return;
                    }
                    leaving = true;
                }
                () = stopped(&mut self.stopping), if !leaving => leaving = true,
            }
            if leaving && end == total {
                end = Instant::now() + grace;
                connection.as_mut().graceful_shutdown();
                // No request, or a part of its head: nobody asked anything yet.
                if matches!(course.0.borrow().0, Phase::Idle | Phase::Head) {
                    return;
                }
            }
        }
    }
}

impl Bounds {
    /// Until when a connection may stay in its phase.
    fn limit(&self, (phase, since): (Phase, Instant)) -> Option<Instant> {
        match phase {
            Phase::Idle => Some(since + self.idle),
            Phase::Head => Some(since + self.head),
            // Bodies and answers have limits of their own; the time of a handler is its own affair.
            Phase::Asked | Phase::Answered => None,
        }
    }
}

/// Waits until the server stops, or is dropped.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn until(limit: Option<Instant>) {
    match limit {
        Some(limit) => sleep_until(limit).await,
        None => pending().await,
    }
}

/// Where a connection is between two requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Asked,
    Answered,
}

/// The phase of a connection, and since when.
struct Course(watch::Sender<(Phase, Instant)>);

impl Default for Course {
    fn default() -> Self {
        Self(watch::Sender::new((Phase::Idle, Instant::now())))
    }
}

impl Course {
    fn enter(&self, phase: Phase) {
        self.0.send_replace((phase, Instant::now()));
    }

    /// Goes on to `next` where the phase is `from`.
    fn pass(&self, from: Phase, next: Phase) {
        if self.0.borrow().0 == from {
            self.enter(next);
        }
    }
}

/// Dropped with the body of an answer: once that is handed over, or nobody wants it.
struct Given(Arc<Course>);

impl Drop for Given {
    fn drop(&mut self) {
        self.0.enter(Phase::Answered);
    }
}

/// The body of an answer.
struct Leaving {
    body: Body,
    _given: Given,
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, which must come in its time.
struct Arriving {
    body: Incoming,
    /// When the whole of it must be there.
    whole: Instant,
    stall: Duration,
    next: Pin<Box<Sleep>>,
}

impl Arriving {
    fn new(body: Incoming, bounds: &Bounds) -> Self {
        let (whole, stall) = (Instant::now() + bounds.body, bounds.stall);
        Self { body, whole, stall, next: Box::pin(sleep(stall.min(bounds.body))) }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let next = self.whole.min(Instant::now() + self.stall);
                self.next.as_mut().reset(next);
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => self.next.as_mut().poll(cx).map(|()| Some(Err(TooSlow.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The bytes of a connection.
struct Wire<I> {
    io: I,
    course: Arc<Course>,
    stall: Duration,
    /// Runs while the client does not take what is written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<I> Wire<I> {
    /// What was written, if the client takes it in time.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.stall)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.course.pass(Phase::Idle, Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.course.pass(Phase::Answered, Phase::Idle);
        }
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.io).poll_shutdown(cx);
        self.in_time(cx, ended)
    }
}
