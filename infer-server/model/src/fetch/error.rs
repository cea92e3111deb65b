//! Why a file did not come, each with the place, the cause and the cure.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;

/// Why a file was not downloaded.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The hub says no.
    #[error("{url}: {problem}. {cure}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The hub's answer.
        problem: String,
        /// What to do about it.
        cure: String,
    },
    /// Somebody else answers in the hub's place.
    #[error(
        "{url}: {problem}. This is not the hub but most likely the login page of this network, or a proxy. Open a page in \
         a browser and log in, or check --endpoint and the proxy (one that opens TLS needs its certificate in the file that \
         SSL_CERT_FILE names). Then run the same command again: what has come is kept"
    )]
    Intercepted {
        /// What was asked for.
        url: String,
        /// How it was seen.
        problem: String,
    },
    /// The hub cannot be reached, or breaks off again and again.
    #[error(
        "{url}: gave up after {tries} tries: {problem}. Check the connection and run the same command again: what has \
         come is kept. Everything else works offline, with a model file named by its path"
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// How often it was tried since anything new came, or in all where that ended it.
        tries: u32,
        /// How the last try ended.
        problem: String,
    },
    /// What came is not what was promised.
    #[error("{path}: its SHA-256 is {is}, not {expected}: {cure}", path = path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Its SHA-256.
        is: String,
        /// The one that it should have.
        expected: String,
        /// What to do about it.
        cure: &'static str,
    },
    /// The file cannot be written.
    #[error("{path}: {problem}. {cure}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        cure: String,
    },
}

/// An address without what may be secret: a signature, a name and a password.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // An address that can have neither has neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

pub(super) fn refused(url: &Url, problem: impl Into<String>, cure: &str) -> FetchError {
    FetchError::Refused { url: shown(url), problem: problem.into(), cure: cure.to_owned() }
}

pub(super) fn intercepted(url: &Url, problem: impl Into<String>) -> FetchError {
    FetchError::Intercepted { url: shown(url), problem: problem.into() }
}

pub(super) fn file_error(path: &Path, error: &io::Error) -> FetchError {
    let cure = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Make room and run the same command again: what has come is kept"
        }
        io::ErrorKind::FileTooLarge => {
            "Raise the limit of a file's size (ulimit -f), or choose a folder on a file system that takes it with --dir"
        }
        _ => "Choose a folder that can be written with --dir",
    };
    FetchError::File { path: path.to_owned(), problem: error.to_string(), cure: cure.to_owned() }
}

/// An error and what caused it: reqwest keeps the cause to itself.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}
