//! Keys: who may ask what, and how often. A key is a bearer token, compared in a time that does not depend on it.

use std::num::NonZeroU32;
use std::sync::Arc;

use accel_core::closed;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use governor::clock::Clock as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use crate::error::ApiError;

closed! {
    /// What a key opens; each opens what those before it do.
    pub enum Role("role", "role of a key") {
        /// Questions to the model, and what the server says of itself.
        Score = "score" titled "Questions to the model",
        /// Everything that computes: recipes, kernels, jobs, the prototype's endpoints.
        Run = "run" titled "Everything that computes",
        /// What changes the server: adapters, the model.
        Admin = "admin" titled "What changes the server",
    }
}

impl Role {
    /// The role that a route asks for, by the pattern of its path. What is not named here computes.
    fn of(route: &str) -> Self {
        match route {
            "/v1/score" | "/v1/evictions" | "/info" | "/metrics" => Self::Score,
            "/v1/adapter" | "/v1/reload" => Self::Admin,
            _ => Self::Run,
        }
    }
}

/// Why a text holds no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// It is empty. That is a mistake, and must not mean that everyone may come in.
    #[error("it holds no key. Put one there, or leave it out")]
    Empty,
    /// A line is none. The error does not repeat it: it may hold a key.
    #[error(
        "line {line}: {problem}. Write KEY, ROLE KEY or ROLE NAME KEY, where ROLE is one of {}",
        closed::names(&Role::ALL)
    )]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// A key, kept as its digest: all digests have one length, so that not even the key's length can be timed.
struct Key {
    digest: [u8; 32],
    role: Role,
    /// Who has it, for the log.
    name: Arc<str>,
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Key {
    fn opens(&self, digest: &[u8; 32]) -> bool {
        self.digest.ct_eq(digest).into()
    }
}

/// The keys of a server; clones share them.
#[derive(Clone)]
pub struct Keys {
    keys: Arc<watch::Sender<Vec<Key>>>,
    per_minute: Option<NonZeroU32>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.keys.borrow();
        f.debug_list().entries(keys.iter().map(|key| (&*key.name, key.role))).finish()
    }
}

/// Whom a request is from, for the log.
#[derive(Debug, Clone)]
pub(crate) struct Name(pub(crate) Arc<str>);

impl Keys {
    /// The keys of a text: one on each line, alone (then it opens everything), after its role, or after its role and the name
    /// of who has it. Empty lines and those that begin with `#` are none. Each key may ask so often in a minute, where that
    /// is given.
    ///
    /// # Errors
    ///
    /// Where a line is of another form, a key is there twice, or there is none.
    pub fn new(text: &str, per_minute: Option<NonZeroU32>) -> Result<Self, KeysError> {
        Ok(Self { keys: Arc::new(watch::Sender::new(read(text, per_minute)?)), per_minute })
    }

    /// Takes the keys of `text` in the place of those before; requests under way go on.
    ///
    /// # Errors
    ///
    /// As [`Keys::new`]; the keys from before stay.
    pub fn replace(&self, text: &str) -> Result<(), KeysError> {
        self.keys.send_replace(read(text, self.per_minute)?);
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.keys.borrow().len()
    }

    /// Lets a request with `token` to a route through, under a name.
    fn admit(&self, token: &[u8], route: &str) -> Result<Name, ApiError> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let (keys, wanted) = (self.keys.borrow(), Role::of(route));
        // All are compared: the time says nothing about which.
        let found = keys.iter().fold(None, |found, key| if key.opens(&digest) { Some(key) } else { found });
        let found = found.ok_or_else(ApiError::unauthorized)?;
        if let Some(limiter) = &found.limiter {
            let wait = |until: governor::NotUntil<_>| until.wait_time_from(limiter.clock().now());
            limiter.check().map_err(|until| ApiError::too_often(wait(until)))?;
        }
        if found.role < wanted {
            return Err(ApiError::forbidden_to(found.role.name(), wanted.name()));
        }
        Ok(Name(Arc::clone(&found.name)))
    }
}

fn read(text: &str, per_minute: Option<NonZeroU32>) -> Result<Vec<Key>, KeysError> {
    let mut keys: Vec<Key> = Vec::new();
    for (line, text) in text.lines().enumerate().map(|(i, text)| (i + 1, text.trim())) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let fault = |problem| KeysError::Line { line, problem };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (role, name, key) = match words[..] {
            [key] => ("admin", None, key),
            [role, key] => (role, None, key),
            [role, name, key] => (role, Some(name), key),
            _ => return Err(fault("more than three words")),
        };
        let role = closed::find(role).ok_or_else(|| fault("no such role"))?;
        let digest: [u8; 32] = Sha256::digest(key).into();
        if keys.iter().any(|key| key.opens(&digest)) {
            return Err(fault("its key is on an earlier line as well"));
        }
        let limiter = per_minute.map(|most| RateLimiter::direct(Quota::per_minute(most)));
        let name = name.map_or_else(|| format!("key {line}"), str::to_owned).into();
        keys.push(Key { digest, role, name, limiter });
    }
    if keys.is_empty() { Err(KeysError::Empty) } else { Ok(keys) }
}

/// Lets requests with the right key through.
pub(crate) async fn require(State(keys): State<Keys>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    // RFC 9110: the scheme's name is case-insensitive.
    let token = match header.and_then(|value| value.split_at_checked(7)) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => return ApiError::unauthorized().into_response(),
    };
    let route = request.extensions().get::<MatchedPath>().map_or("", |path| path.as_str());
    match keys.admit(token, route) {
        Ok(name) => {
            let mut response = next.run(request).await;
            response.extensions_mut().insert(name);
            response
        }
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(keys: &Keys, token: &[u8], route: &str) -> Result<String, u16> {
        keys.admit(token, route).map(|name| name.0.to_string()).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn only_the_key_opens() {
        let keys = Keys::new(" secret\n", None).unwrap();
        assert_eq!(admitted(&keys, b"secret", "/v1/adapter"), Ok("key 1".to_owned()));
        for wrong in [&b""[..], b"secre", b"secret ", b"Secret", b"secretsecret"] {
            assert_eq!(admitted(&keys, wrong, "/info"), Err(401));
        }
        assert_eq!(Keys::new(" \n", None).unwrap_err(), KeysError::Empty);
        assert!(!format!("{keys:?}").contains("secret"));
    }

    #[test]
    fn each_key_opens_what_its_role_may() {
        let keys = Keys::new("# who\nscore s1\nRUN ci r1\n\nadmin ann a1\n", None).unwrap();
        for (token, opened) in [("s1", 1), ("r1", 2), ("a1", 3)] {
            for (route, needed) in [("/v1/score", 1), ("/metrics", 1), ("/v1/run", 2), ("/new", 2), ("/v1/reload", 3)] {
                let admitted = admitted(&keys, token.as_bytes(), route);
                assert_eq!(admitted.is_ok(), opened >= needed, "{token} {route}: {admitted:?}");
                assert!(admitted.is_ok() || admitted == Err(403));
            }
        }
        assert_eq!(admitted(&keys, b"a1", "/info"), Ok("ann".to_owned()));
    }

    #[test]
    fn keys_are_replaced_whole_or_not_at_all() {
        let keys = Keys::new("old", None).unwrap();
        for (bad, problem) in [
            ("\nroot s3cret", "line 2: no such role"),
            ("admin a b c", "line 1: more than three"),
            ("s3cret\nrun s3cret", "line 2: its key"),
            ("# none", "no key"),
        ] {
            let error = keys.replace(bad).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("s3cret"), "{error}");
            assert!(keys.clone().admit(b"old", "/info").is_ok());
        }
        keys.replace("new").unwrap();
        assert_eq!((admitted(&keys, b"old", "/info"), keys.count()), (Err(401), 1));
        assert!(keys.admit(b"new", "/info").is_ok());
    }

    #[test]
    fn a_key_asks_no_more_often_than_it_may() {
        let keys = Keys::new("score a\nscore b", NonZeroU32::new(1)).unwrap();
        // Were this machine so slow that a minute passed between two requests, a further one would come too early.
        let refused = (0..).find_map(|_| keys.admit(b"a", "/info").err()).unwrap();
        assert_eq!(refused.status().as_u16(), 429);
        assert!(keys.admit(b"b", "/info").is_ok());
    }
}
