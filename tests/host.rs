//! A host of the built page that tests can lose, break and update.
//!
//! A failure here is a failed test: there is nobody to hand an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tower_http::services::ServeDir;

/// What happens to files on their way.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The host answers 503.
    Fails,
    /// The host says that it is of this type.
    SentAs(&'static str),
    /// This text comes before it.
    Begins(&'static str),
}

/// The faults, by a part of the name of the file.
type Faults = Arc<Mutex<Vec<(String, Fault)>>>;

/// A host on a port of its own, on a thread of its own: stopping it closes every connection, as losing it does.
#[derive(Debug)]
pub struct Host {
    address: SocketAddr,
    router: Router,
    faults: Faults,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Host {
    /// Serves the folder under /some/folder/ without any headers of its own, as a static host would.
    pub fn of_folder(folder: PathBuf) -> Self {
        Self::new(Router::new().nest_service("/some/folder", ServeDir::new(folder)))
    }

    /// Serves `router`.
    pub fn new(router: Router) -> Self {
        let faults = Faults::default();
        let router = router.layer(middleware::from_fn_with_state(Arc::clone(&faults), with_faults));
        let mut host = Self { address: ([127, 0, 0, 1], 0).into(), router, faults, running: None };
        host.start();
        host
    }

    /// Where it listens; the same after it was stopped and started again.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it again.
    pub fn start(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (router, address) = (self.router.clone(), self.address);
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        self.address = told.recv().unwrap();
        self.running = Some((stop, thread));
    }

    /// Stops it, and closes what was open.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.send(()).unwrap();
            thread.join().unwrap();
        }
    }

    /// From now on `fault` happens to files whose path contains `name`.
    pub fn breaks(&self, name: &str, fault: Fault) {
        self.faults.lock().unwrap().push((name.to_owned(), fault));
    }

    /// Nothing happens to files any more.
    pub fn heals(&self) {
        self.faults.lock().unwrap().clear();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop();
        }
    }
}

async fn with_faults(State(faults): State<Faults>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let here: Vec<Fault> =
        faults.lock().unwrap().iter().filter(|(name, _)| path.contains(name)).map(|(_, fault)| fault.clone()).collect();
    let mut response = next.run(request).await;
    for fault in here {
        match fault {
            Fault::Fails => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Fault::SentAs(content_type) => {
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            Fault::Begins(text) => {
                let (mut head, body) = response.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                head.headers.remove(header::CONTENT_LENGTH);
                response = Response::from_parts(head, Body::from([text.as_bytes(), &body].concat()));
            }
        }
    }
    response
}
