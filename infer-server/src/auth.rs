//! The optional API key: a bearer token, compared in a time that does not depend on it.

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::ApiError;

/// A key, kept as its digest: all digests have one length, so that not even the key's length can be timed.
#[derive(Clone)]
pub struct ApiKey([u8; 32]);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl ApiKey {
    /// A key as the user wrote it; surrounding white space, such as a file's last line break, is no part of it.
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        (!key.is_empty()).then(|| Self(Sha256::digest(key).into()))
    }

    fn opens(&self, token: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.0.ct_eq(&digest).into()
    }
}

/// Lets requests with the right key through.
pub(crate) async fn require(State(key): State<ApiKey>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    // RFC 9110: the scheme's name is case-insensitive.
    let token = header.and_then(|value| value.split_at_checked(7));
    match token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") && key.opens(token.trim_ascii()) => {
            next.run(request).await
        }
        _ => ApiError::unauthorized().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_opens() {
        let key = ApiKey::new(" secret\n").unwrap();
        assert!(key.opens(b"secret"));
        for wrong in [&b""[..], b"secre", b"secret ", b"Secret", b"secretsecret"] {
            assert!(!key.opens(wrong));
        }
        assert!(ApiKey::new(" \n").is_none());
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
    }
}
