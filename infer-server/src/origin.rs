//! What browsers may carry here from other sites. Where no key guards a server, a foreign page could make the visitor's
//! browser ask it: so the host's name must be one of the server's own (a foreign name may be made to point here), the page
//! behind a request that changes something must be as well, and a body must be sent as what it is (browsers send a form or
//! plain text without asking first).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::error::ApiError;
use crate::listen::Peer;

/// Whose requests are let in.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Names of the server beside addresses and `localhost`.
    pub(crate) hosts: Vec<String>,
    /// Origins whose pages may ask.
    pub(crate) origins: Vec<HeaderValue>,
    /// Whether a key guards the server: no browser sends one that its page does not know.
    pub(crate) guarded: bool,
}

impl Rules {
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let (headers, version) = (request.headers(), request.version());
        let host = host(headers, request.uri())?;
        // RFC 9112, 3.2. Requests made in process come over no connection.
        if host.is_none() && version == Version::HTTP_11 && request.extensions().get::<Peer>().is_some() {
            return Err(ApiError::bad_host("a request of HTTP/1.1 names the host"));
        }
        let unsafe_method = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        if unsafe_method {
            content_type(headers)?;
        }
        if self.guarded {
            return Ok(());
        }
        if let Some(host) = host.as_ref().filter(|host| !is_local_or_address(host.host()) && !self.names(host.host())) {
            return Err(ApiError::foreign_host(host.as_str()));
        }
        match headers.get(header::ORIGIN) {
            Some(origin) if unsafe_method && !self.lets_in(origin, host.as_ref()) => {
                Err(ApiError::foreign_origin(&String::from_utf8_lossy(origin.as_bytes())))
            }
            _ => Ok(()),
        }
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Whether a page of `origin` may change something: the server's own, one of this machine, or one that was named.
    fn lets_in(&self, origin: &HeaderValue, host: Option<&Authority>) -> bool {
        if self.origins.contains(origin) {
            return true;
        }
        let page = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let page = page.as_ref().filter(|page| page.scheme().is_some()).and_then(|page| page.authority());
        page.is_some_and(|page| Some(page) == host || is_loopback(page.host()))
    }
}

/// The host that a request is for. One that names two, or none that can be, was tampered with.
fn host(headers: &HeaderMap, uri: &Uri) -> Result<Option<Authority>, ApiError> {
    let mut named = headers.get_all(header::HOST).iter();
    let authority = match (named.next(), named.next()) {
        (Some(_), Some(_)) => return Err(ApiError::bad_host("it is named twice")),
        (Some(host), None) => Authority::try_from(host.as_bytes()).map_err(|_| ApiError::bad_host("it is no host"))?,
        (None, _) => match uri.authority() {
            Some(authority) => authority.clone(),
            None => return Ok(None),
        },
    };
    Ok(Some(authority))
}

/// An address, which nobody can make to point elsewhere, or this machine's own name.
fn is_local_or_address(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || address(host).is_some()
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|address| address.is_loopback())
}

fn address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Bodies are JSON; one that does not say what it is, is taken for it.
fn content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    if json { Ok(()) } else { Err(ApiError::not_json(&text)) }
}

/// Refuses what comes from elsewhere.
pub(crate) async fn check(State(rules): State<Arc<Rules>>, request: Request, next: Next) -> Response {
    match rules.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}
