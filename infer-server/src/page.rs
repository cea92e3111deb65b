//! The built page: its files as they were packed, and what browsers are told with them.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

/// What names the page's policy in its `index.html`, before and after.
const POLICY: (&str, &str) = ("http-equiv=\"Content-Security-Policy\" content=\"", "\"");
/// What no page can say of itself: no other page may show it in a frame.
const NO_FRAMES: &str = "frame-ancestors 'none'";
/// Digits of the version in names of files: 64 bits in base 16, as `cargo xtask` writes them.
const VERSION_DIGITS: usize = 16;

/// A folder with a built page.
#[derive(Debug, Clone)]
pub struct Page {
    folder: PathBuf,
    policy: HeaderValue,
}

/// Why a folder is none with a built page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Its `index.html` cannot be read.
    #[error("cannot read {}: {problem}. Build the page with `cargo xtask dist`, and name its folder", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        problem: std::io::Error,
    },
    /// Its `index.html` does not say what the page may load and run.
    #[error("{}: no Content-Security-Policy in its head. Build the page with `cargo xtask dist`", .file.display())]
    NoPolicy {
        /// The file.
        file: PathBuf,
    },
}

impl Page {
    /// The page in `folder`.
    ///
    /// # Errors
    ///
    /// Where there is no `index.html`, or one without a Content-Security-Policy.
    pub fn open(folder: PathBuf) -> Result<Self, PageError> {
        let file = folder.join("index.html");
        let html = match std::fs::read_to_string(&file) {
            Ok(html) => html,
            Err(problem) => return Err(PageError::Unreadable { file, problem }),
        };
        let policy = html.split_once(POLICY.0).and_then(|(_, rest)| rest.split_once(POLICY.1));
        let header = policy.and_then(|(policy, _)| HeaderValue::from_str(&format!("{policy}; {NO_FRAMES}")).ok());
        match header {
            Some(policy) => Ok(Self { folder, policy }),
            None => Err(PageError::NoPolicy { file }),
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Serves it. Workers have the policy of their own script, so every file carries it.
    pub(crate) fn service(&self) -> Router {
        let files = ServeDir::new(&self.folder).precompressed_br().precompressed_gzip();
        Router::new()
            .fallback_service(files)
            .layer(SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, self.policy.clone()))
            .layer(middleware::from_fn(keep))
    }
}

/// Has browsers keep files whose names change with their content; those that are missing may come yet.
async fn keep(request: Request, next: Next) -> Response {
    let versioned = is_versioned(request.uri().path());
    let mut response = next.run(request).await;
    let there = response.status().is_success() || response.status().is_redirection();
    if versioned && there {
        let for_a_year = HeaderValue::from_static("public, max-age=31536000, immutable");
        response.headers_mut().insert(header::CACHE_CONTROL, for_a_year);
    }
    response
}

/// Whether the name of the file holds its version, as in `start-0123456789abcdef.js`.
fn is_versioned(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let version = name.rsplit_once('-').map_or("", |(_, end)| end.split(['.', '_']).next().unwrap_or(end));
    version.len() == VERSION_DIGITS && version.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_version_are_told_from_others() {
        for name in ["/start-0123456789abcdef.js", "/a/accel-app-ffffffffffffffff_bg.wasm"] {
            assert!(is_versioned(name), "{name}");
        }
        for name in ["/", "/index.html", "/sw.js", "/accel-app.js", "/accel-app_bg.wasm", "/a-0123456789abcdef/b.js"] {
            assert!(!is_versioned(name), "{name}");
        }
    }
}
