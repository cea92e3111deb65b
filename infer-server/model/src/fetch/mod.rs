//! Files of the Hugging Face hub: `infer-server fetch` downloads one, and [`small`] and [`header`] bring what says which
//! shapes a model has, for whoever names a model.
//!
//! The hub answers for `{endpoint}/{repo}/resolve/{revision}/{file}` with what the file is (`X-Linked-Etag`, which for
//! large files is its SHA-256, and `X-Linked-Size`) and where it lies (`Location`, a signed address that expires). Each
//! try asks anew. What has come goes to `.{file}.{etag}.part` beside the file: the name says what it is a part of, so a
//! file that changed on the hub is never joined to what came before. The file gets its name when its SHA-256 is right.
//!
//! - `name`: which file of which hub, and where it goes; `error`: why it does not come.
//! - `hub`: asks and downloads; `answer`: which answers are the hub's, and what they say.
//! - `part`: what has come so far; `tries`: what is tried again, and how often.

mod answer;
mod error;
mod hub;
mod name;
mod part;
mod tries;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::FetchError;
pub use name::{Args, CONFIG, ENDPOINT, HubName, default_model};
pub use reqwest::Url;

use error::{file_error, refused, shown};
use hub::{Hub, Source};
use name::{destination, kept_in, resolve_url};
use part::{Bar, Part, sha256_of, tag};
use tries::Tries;

/// The longest file that [`small`] brings: a thousand times as long as any `config.json`.
const MOST_SMALL: u64 = 16 << 20;
/// The longest header that [`header`] brings: what safetensors allows.
const MOST_HEADER: u64 = 100_000_008;
/// Bytes that are enough to say how long a header is.
const HEADER_START: u64 = 64 * 1024;

/// What was fetched, now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Why the hub could not be asked whether it has changed; none where it was.
    pub unasked: Option<String>,
}

/// A file that is there and whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Whether anyone vouched for that SHA-256: the hub or the command line.
    pub checked: bool,
}

/// Downloads a file, or goes on with one that was broken off.
///
/// # Errors
/// Where the hub cannot be reached or says no, somebody else answers in its place, the file cannot be written, or its
/// SHA-256 is wrong.
pub async fn run(args: &Args) -> Result<Fetched, FetchError> {
    let url = resolve_url(args)?;
    let path = destination(args)?;
    let hub = Hub::new(args)?;
    let source = asked(&hub, &url).await?;
    bring(args, &hub, &url, source, &path, u64::MAX).await
}

/// Brings the file that `source` describes to `path`, of at most `most` bytes.
async fn bring(
    args: &Args,
    hub: &Hub,
    url: &Url,
    mut source: Source,
    path: &Path,
    most: u64,
) -> Result<Fetched, FetchError> {
    if let Some(bytes) = source.bytes.filter(|bytes| *bytes > most) {
        let problem = format!("the file has {bytes} bytes, and such a file has at most {most}");
        return Err(refused(url, problem, "Name the config.json of a model"));
    }
    if let (Some(wanted), Some(stated)) = (&args.sha256, source.sha256())
        && *wanted != stated
    {
        let problem = format!("the hub's file has the SHA-256 {stated}, not {wanted}");
        return Err(refused(url, problem, "Name the --revision that the SHA-256 is of, or leave --sha256 out"));
    }
    let expected = args.sha256.clone().or_else(|| source.sha256());
    if path.is_file() {
        return check_present(path, &source, expected);
    }

    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| file_error(folder, &error))?;
    let mut part = Part::open(path, &source.etag, source.bytes, most)?;
    let mut tries = Tries::default();
    // The most that was here: what a fresh start brings again is not new.
    let mut farthest = part.bytes;
    let mut bar = Bar::new(source.bytes, part.bytes);
    tracing::info!(bytes = source.bytes, present = part.bytes, "downloading {} to {}", shown(url), path.display());
    while source.bytes.is_none_or(|all| part.bytes < all) {
        match hub.download(&source, &mut part, &mut bar).await {
            Ok(()) => break,
            Err(failure) => {
                if part.bytes > farthest {
                    farthest = part.bytes;
                    tries.progress();
                }
                tries.again(url, failure).await?;
            }
        }
        // Signed addresses expire, and the file may have changed.
        let again = loop {
            match hub.ask(url).await {
                Ok(source) => break source,
                Err(failure) => tries.again(url, failure).await?,
            }
        };
        if again.etag != source.etag {
            let problem = "the file changed on the hub while it was downloaded";
            return Err(refused(url, problem, "Run the same command again: it starts afresh"));
        }
        source = again;
    }
    let sha256 = part.finish()?;
    if let Some(expected) = expected.as_ref().filter(|e| **e != sha256) {
        fs::remove_file(&part.path).map_err(|error| file_error(&part.path, &error))?;
        let cure = "what came is thrown away. Run the same command again";
        return Err(FetchError::Checksum { path: path.to_owned(), is: sha256, expected: expected.clone(), cure });
    }
    fs::rename(&part.path, path).map_err(|error| file_error(path, &error))?;
    bar.finish();
    Ok(done(path.to_owned(), part.bytes, sha256, expected.is_some()))
}

/// Brings a file of at most 16 MiB, or what was brought of it before where it has not changed or the hub cannot be reached.
///
/// # Errors
/// As [`run`], and where the file is larger.
pub async fn small(args: &Args) -> Result<Kept, FetchError> {
    let url = resolve_url(args)?;
    let root = kept_in(args)?;
    let hub = Hub::new(args)?;
    let source = match asked(&hub, &url).await {
        Ok(source) => source,
        Err(error) => return unasked(&root, args.file.as_ref(), error),
    };
    // Each content has a folder of its own, so that nothing is written over.
    let args = Args { dir: Some(root.join(tag(&source.etag))), ..args.clone() };
    let path = destination(&args)?;
    let fetched = match bring(&args, &hub, &url, source, &path, MOST_SMALL).await {
        Ok(fetched) => fetched,
        Err(error) => return unasked(&root, args.file.as_ref(), error),
    };
    let bytes = fs::read(&fetched.path).map_err(|error| file_error(&fetched.path, &error))?;
    Ok(Kept { bytes, unasked: None })
}

/// Brings the header at the start of a file, or what was brought of it before where it has not changed or the hub cannot be
/// reached. `length` says how long the header is, by the beginning of the file; without an answer, the beginning is all.
///
/// # Errors
/// As [`run`].
pub async fn header(args: &Args, length: impl Fn(&[u8]) -> Option<u64>) -> Result<Kept, FetchError> {
    let url = resolve_url(args)?;
    let root = kept_in(args)?;
    let name = format!("{}.header", args.file.replace('/', "--"));
    let hub = Hub::new(args)?;
    let source = match asked(&hub, &url).await {
        Ok(source) => source,
        Err(error) => return unasked(&root, name.as_ref(), error),
    };
    let path = root.join(tag(&source.etag)).join(&name);
    if let Ok(bytes) = fs::read(&path) {
        return Ok(Kept { bytes, unasked: None });
    }
    let mut bytes = hub.beginning(&url, &source, HEADER_START).await?;
    if let Some(all) = length(&bytes).filter(|all| *all > HEADER_START) {
        bytes = hub.beginning(&url, &source, all.min(MOST_HEADER)).await?;
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| file_error(folder, &error))?;
    // Under another name until it is whole: two processes may fetch it at once.
    let part = folder.join(format!(".{name}.{}.part", std::process::id()));
    fs::write(&part, &bytes).and_then(|()| fs::rename(&part, &path)).map_err(|error| file_error(&path, &error))?;
    Ok(Kept { bytes, unasked: None })
}

/// What the hub says of a file, asked again where a try fails.
async fn asked(hub: &Hub, url: &Url) -> Result<Source, FetchError> {
    let mut tries = Tries::default();
    loop {
        match hub.ask(url).await {
            Ok(source) => return Ok(source),
            Err(failure) => tries.again(url, failure).await?,
        }
    }
}

/// The newest of what was fetched under a name, where the hub cannot be reached; else the error.
fn unasked(root: &Path, name: &Path, error: FetchError) -> Result<Kept, FetchError> {
    let (FetchError::Unreachable { problem, .. } | FetchError::Intercepted { problem, .. }) = &error else {
        return Err(error);
    };
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    let files = folders.map(|folder| folder.path().join(name)).filter(|path| path.is_file());
    let newest = files.max_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
    let Some(path) = newest else { return Err(error) };
    let bytes = fs::read(&path).map_err(|error| file_error(&path, &error))?;
    Ok(Kept { bytes, unasked: Some(problem.clone()) })
}

fn done(path: PathBuf, bytes: u64, sha256: String, checked: bool) -> Fetched {
    if !checked {
        tracing::warn!(%sha256, "the hub states no SHA-256 for this file: only its size was checked. Give --sha256 to check it");
    }
    Fetched { path, bytes, sha256, checked }
}

/// What is under the name already: the hub's file, or something else, which is not written over.
fn check_present(path: &Path, source: &Source, expected: Option<String>) -> Result<Fetched, FetchError> {
    let cure = "it is not written over. Move it away, or choose another --dir";
    let bytes = fs::metadata(path).map_err(|error| file_error(path, &error))?.len();
    let sha256 = sha256_of(path)?;
    match expected {
        Some(expected) if expected != sha256 => {
            Err(FetchError::Checksum { path: path.to_owned(), is: sha256, expected, cure })
        }
        None if source.bytes.is_some_and(|all| all != bytes) => Err(FetchError::File {
            path: path.to_owned(),
            problem: format!("it has {bytes} bytes, not the hub's {}", source.bytes.unwrap_or_default()),
            cure: "It is not written over. Move it away, or choose another --dir".to_owned(),
        }),
        expected => {
            tracing::info!("{} is there already", path.display());
            Ok(done(path.to_owned(), bytes, sha256, expected.is_some()))
        }
    }
}
