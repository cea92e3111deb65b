//! Files of the Hugging Face hub: `infer-server fetch` downloads one, and [`small`] and [`header`] bring what says which
//! shapes a model has, for whoever names a model.
//!
//! The hub answers for `{endpoint}/{repo}/resolve/{revision}/{file}` with what the file is (`X-Linked-Etag`, which for
//! large files is its SHA-256, and `X-Linked-Size`) and where it lies (`Location`, a signed address that expires). Each
//! try asks anew. What has come goes to `.{file}.{etag}.part` beside the file: the name says what it is a part of, so a
//! file that changed on the hub is never joined to what came before. The file gets its name when its SHA-256 is right.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
pub use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use sha2::{Digest as _, Sha256};

use crate::client;

/// The default model: the prototype's, in 4 bits.
const REPO: &str = "TheBloke/Mistral-7B-Instruct-v0.2-GGUF";
/// Its file.
const FILE: &str = "mistral-7b-instruct-v0.2.Q4_K_M.gguf";
/// How often in a row a try may bring nothing new before the download is given up.
const TRIES: u32 = 5;
/// The wait after the first failed try; each further one waits twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait between tries, also where the hub asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How many redirects are followed: as many as browsers do.
const REDIRECTS: usize = 20;
/// A connection that is not there after this long is not coming.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The options of `infer-server fetch`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The repository on the hub.
    #[arg(long, default_value = REPO)]
    pub repo: String,
    /// The file in it.
    #[arg(long, default_value = FILE)]
    pub file: String,
    /// A branch, tag or commit.
    #[arg(long, default_value = "main")]
    pub revision: String,
    /// Where to put it [default: accel-copilot/models in the user's cache folder].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The hub. A token for it is read from the environment, HF_TOKEN.
    #[arg(long, value_name = "URL", env = "HF_ENDPOINT", default_value = ENDPOINT)]
    pub endpoint: Url,
    /// The SHA-256 that the file must have [default: the one that the hub states].
    #[arg(long, value_name = "HEX", value_parser = sha256_hex)]
    pub sha256: Option<String>,
    /// Gives up a connection on which nothing comes for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub stall_timeout: u64,
}

/// The file that says which shapes a model has.
pub const CONFIG: &str = "config.json";
/// The longest file that [`small`] brings: a thousand times as long as any `config.json`.
const MOST_SMALL: u64 = 16 << 20;
/// The longest header that [`header`] brings: what safetensors allows.
const MOST_HEADER: u64 = 100_000_008;
/// Bytes that are enough to say how long a header is.
const HEADER_START: u64 = 64 * 1024;
/// Where models are unless another hub is named.
pub const ENDPOINT: &str = "https://huggingface.co";

/// A model, or a file of it, on a hub: `OWNER/NAME`, with `@REVISION` where it is not `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    /// The repository, as `OWNER/NAME`.
    pub repo: String,
    /// A branch, tag or commit.
    pub revision: String,
    /// The file in it.
    pub file: String,
}

impl HubName {
    /// Reads `OWNER/NAME`, `OWNER/NAME@REVISION` and the same with `hf://` before and `/FILE` behind; none where `text`
    /// has another form. Without a file, it is [`CONFIG`].
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |part: &&str| {
            let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(letters)
        };
        let (text, schemed) = text.strip_prefix("hf://").map_or((text, false), |rest| (rest, true));
        let mut parts = text.splitn(3, '/');
        let owner = parts.next().filter(|part| plain(part))?;
        let (name, revision) = parts.next().map(|name| name.split_once('@').unwrap_or((name, "main")))?;
        let file = parts.next();
        let named = [name, revision].iter().all(plain);
        // A path on this machine may have three parts as well.
        let file_fits = file.is_none_or(|file| schemed && file.split('/').all(|part| plain(&part)));
        (named && file_fits).then(|| Self {
            repo: format!("{owner}/{name}"),
            revision: revision.to_owned(),
            file: file.unwrap_or(CONFIG).to_owned(),
        })
    }

    /// What to fetch of the hub at `endpoint`; `dir` is the folder of what was fetched before, the user's own where there
    /// is none.
    pub fn args(&self, endpoint: &Url, dir: Option<&Path>) -> Args {
        Args {
            repo: self.repo.clone(),
            file: self.file.clone(),
            revision: self.revision.clone(),
            dir: dir.map(Path::to_owned),
            endpoint: endpoint.clone(),
            sha256: None,
            stall_timeout: 30,
        }
    }
}

/// What was fetched, now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Why the hub could not be asked whether it has changed; none where it was.
    pub unasked: Option<String>,
}

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
    /// The hub cannot be reached, or breaks off again and again.
    #[error(
        "{url}: gave up after {TRIES} tries: {problem}. Check the connection and run the same command again: what has \
         come is kept. Everything else works offline, with a model file named by its path"
    )]
    Unreachable {
        /// What was asked for.
        url: String,
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

/// Where the default model is once it was fetched; `None` where the user has no cache folder.
pub fn default_model() -> Option<PathBuf> {
    Some(default_dir()?.join(FILE))
}

fn default_dir() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("accel-copilot").join("models"))
}

/// Downloads a file, or goes on with one that was broken off.
///
/// # Errors
/// Where the hub cannot be reached or says no, the file cannot be written, or its SHA-256 is wrong.
pub async fn run(args: &Args) -> Result<Fetched, FetchError> {
    let url = resolve_url(args)?;
    let path = destination(args)?;
    let client = Hub::new(args)?;
    let mut source = asked(args, &url).await?;
    if let (Some(wanted), Some(stated)) = (&args.sha256, source.sha256())
        && *wanted != stated
    {
        let problem = format!("the hub's file has the SHA-256 {stated}, not {wanted}");
        return Err(refused(&url, problem, "Name the --revision that the SHA-256 is of, or leave --sha256 out"));
    }
    let expected = args.sha256.clone().or_else(|| source.sha256());
    if path.is_file() {
        return check_present(&path, &source, expected);
    }

    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| file_error(folder, &error))?;
    let mut part = Part::open(&path, &source)?;
    let mut tries = Tries::default();
    let mut bar = Bar::new(source.bytes, part.bytes);
    tracing::info!(bytes = source.bytes, present = part.bytes, "downloading {url} to {}", path.display());
    while source.bytes.is_none_or(|all| part.bytes < all) {
        let before = part.bytes;
        match client.download(&source, &mut part, &mut bar).await {
            Ok(()) => break,
            Err(failure) => {
                if part.bytes > before {
                    tries = Tries::default();
                }
                tries.again(&url, failure).await?;
            }
        }
        // Signed addresses expire, and the file may have changed.
        let again = loop {
            match client.ask(&url).await {
                Ok(source) => break source,
                Err(failure) => tries.again(&url, failure).await?,
            }
        };
        if again.etag != source.etag {
            let problem = "the file changed on the hub while it was downloaded".to_owned();
            return Err(refused(&url, problem, "Run the same command again: it starts afresh"));
        }
        source = again;
    }
    part.file.sync_all().map_err(|error| file_error(&part.path, &error))?;
    let sha256 = sha256_of(&part.path)?;
    if let Some(expected) = expected.as_ref().filter(|e| **e != sha256) {
        fs::remove_file(&part.path).map_err(|error| file_error(&part.path, &error))?;
        let cure = "what came is thrown away. Run the same command again";
        return Err(FetchError::Checksum { path, is: sha256, expected: expected.clone(), cure });
    }
    fs::rename(&part.path, &path).map_err(|error| file_error(&path, &error))?;
    bar.bar.finish_and_clear();
    Ok(done(path, part.bytes, sha256, expected.is_some()))
}

/// Brings a file of at most 16 MiB, or what was brought of it before where it has not changed or the hub cannot be reached.
///
/// # Errors
/// As [`run`], and where the file is larger.
pub async fn small(args: &Args) -> Result<Kept, FetchError> {
    let url = resolve_url(args)?;
    let root = kept_in(args)?;
    let source = match asked(args, &url).await {
        Ok(source) => source,
        Err(error) => return unasked(&root, args.file.as_ref(), error),
    };
    if source.bytes.is_some_and(|bytes| bytes > MOST_SMALL) {
        let problem =
            format!("the file has {} bytes, and such a file has at most {MOST_SMALL}", source.bytes.unwrap_or(0));
        return Err(refused(&url, problem, "Name the config.json of a model"));
    }
    // Each content has a folder of its own, so that nothing is written over.
    let dir = Some(root.join(tag(&source.etag)));
    let fetched = run(&Args { dir, ..args.clone() }).await?;
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
    let client = Hub::new(args)?;
    let source = match asked(args, &url).await {
        Ok(source) => source,
        Err(error) => return unasked(&root, name.as_ref(), error),
    };
    let path = root.join(tag(&source.etag)).join(&name);
    if let Ok(bytes) = fs::read(&path) {
        return Ok(Kept { bytes, unasked: None });
    }
    let mut bytes = client.beginning(&url, &source, HEADER_START).await?;
    if let Some(all) = length(&bytes).filter(|all| *all > HEADER_START) {
        bytes = client.beginning(&url, &source, all.min(MOST_HEADER)).await?;
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| file_error(folder, &error))?;
    // Under another name until it is whole: two processes may fetch it at once.
    let part = folder.join(format!(".{name}.{}.part", std::process::id()));
    fs::write(&part, &bytes).and_then(|()| fs::rename(&part, &path)).map_err(|error| file_error(&path, &error))?;
    Ok(Kept { bytes, unasked: None })
}

/// What the hub says of a file, asked again where a try fails.
async fn asked(args: &Args, url: &Url) -> Result<Source, FetchError> {
    let client = Hub::new(args)?;
    let mut tries = Tries::default();
    loop {
        match client.ask(url).await {
            Ok(source) => return Ok(source),
            Err(failure) => tries.again(url, failure).await?,
        }
    }
}

/// Where files of a model are kept.
fn kept_in(args: &Args) -> Result<PathBuf, FetchError> {
    let dir = args.dir.clone().or_else(|| Some(dirs::cache_dir()?.join("accel-copilot").join("hub")));
    let dir = dir.ok_or_else(|| FetchError::File {
        path: PathBuf::from(&args.file),
        problem: "this user has no cache folder".to_owned(),
        cure: "Download the file and name it by its path".to_owned(),
    })?;
    Ok(dir.join(args.repo.replace('/', "--")).join(args.revision.replace('/', "--")))
}

/// The newest of what was fetched under a name, where the hub cannot be reached; else the error.
fn unasked(root: &Path, name: &Path, error: FetchError) -> Result<Kept, FetchError> {
    let FetchError::Unreachable { problem, .. } = &error else { return Err(error) };
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    let files = folders.map(|folder| folder.path().join(name)).filter(|path| path.is_file());
    let newest = files.max_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
    let Some(path) = newest else { return Err(error) };
    let bytes = fs::read(&path).map_err(|error| file_error(&path, &error))?;
    Ok(Kept { bytes, unasked: Some(problem.clone()) })
}

/// A name for a content.
fn tag(etag: &str) -> String {
    hex(&Sha256::digest(etag)).chars().take(16).collect()
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

/// What the hub says of a file.
#[derive(Debug)]
struct Source {
    /// Where it lies for now.
    url: Url,
    /// What it is; equal for equal content.
    etag: String,
    bytes: Option<u64>,
    /// Whether `url` is on the hub itself, whose `ETag` is then that of the bytes.
    direct: bool,
}

impl Source {
    /// Large files have their SHA-256 for an `ETag`, small ones that of git.
    fn sha256(&self) -> Option<String> {
        sha256_hex(self.etag.trim_start_matches("W/").trim_matches('"')).ok()
    }
}

/// How a try ended.
#[derive(Debug)]
enum Failure {
    /// Another try may do.
    Passing {
        problem: String,
        wait: Option<Duration>,
    },
    Final(FetchError),
}

impl Failure {
    fn passing(problem: impl Into<String>) -> Self {
        Self::Passing { problem: problem.into(), wait: None }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

/// A client of one hub.
struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<String>,
}

impl Hub {
    fn new(args: &Args) -> Result<Self, FetchError> {
        let client = client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(Duration::from_secs(args.stall_timeout.max(1)))
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| refused(&args.endpoint, chain(&error), "Check the proxy and certificate settings"))?;
        let token = std::env::var("HF_TOKEN").ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        Ok(Self { client, endpoint: args.endpoint.clone(), token })
    }

    /// Asks what `url` is and where it lies.
    async fn ask(&self, url: &Url) -> Result<Source, Failure> {
        let mut at = url.clone();
        let mut etag = None;
        let mut bytes = None;
        for _ in 0..REDIRECTS {
            let response = self.send(reqwest::Method::HEAD, &at, HeaderMap::new()).await?;
            let headers = response.headers();
            let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
            etag = etag.or_else(|| text("x-linked-etag"));
            bytes = bytes.or_else(|| text("x-linked-size")?.parse().ok());
            if response.status().is_redirection() {
                let to = location(&response).ok_or_else(|| Failure::passing("a redirect to nowhere"))?;
                // Within the hub a repository has a new name; elsewhere lies the file.
                if to.origin() == self.endpoint.origin() && etag.is_none() {
                    at = to;
                    continue;
                }
                let etag = etag.or_else(|| text(ETAG.as_str())).ok_or_else(|| no_etag(url))?;
                return Ok(Source { direct: false, url: to, etag, bytes });
            }
            check_status(url, &response, true)?;
            let direct = etag.is_none();
            let etag = etag.or_else(|| text(ETAG.as_str())).ok_or_else(|| no_etag(url))?;
            bytes = bytes.or_else(|| text("content-length")?.parse().ok());
            return Ok(Source { direct, url: at, etag, bytes });
        }
        Err(Failure::passing(format!("more than {REDIRECTS} redirects")))
    }

    /// Brings what is missing of `part`.
    async fn download(&self, source: &Source, part: &mut Part, bar: &mut Bar) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        if part.bytes > 0 {
            let range = format!("bytes={}-", part.bytes);
            headers.insert(RANGE, range.parse().map_err(|_| Failure::passing("no such range"))?);
            // Elsewhere than on the hub the tag is another; there the hub's answer and the SHA-256 decide.
            if let Some(tag) = source.etag.parse().ok().filter(|_| source.direct && !source.etag.starts_with("W/")) {
                headers.insert(IF_RANGE, tag);
            }
        }
        let mut response = self.follow(source, &headers).await?;
        let at = response.url().clone();
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (start, all) = content_range(&response).ok_or_else(|| Failure::passing("a part of nothing"))?;
                if start != part.bytes || source.bytes.is_some_and(|bytes| bytes != all) {
                    part.restart(bar)?;
                    return Err(Failure::passing(format!("the part from byte {start} of {all} was not asked for")));
                }
            }
            // The whole, though a part was asked for: the server has no ranges, or the file is another.
            StatusCode::OK => part.restart(bar)?,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                part.restart(bar)?;
                return Err(Failure::passing("what had come is no part of the file"));
            }
            _ => {
                check_status(&at, &response, at.origin() == self.endpoint.origin())?;
                return Err(Failure::passing(format!("an answer {} to a download", response.status())));
            }
        }
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    part.write(&chunk)?;
                    bar.set(part.bytes);
                }
                Ok(None) => break,
                Err(error) => return Err(Failure::passing(chain(&error.without_url()))),
            }
        }
        match source.bytes {
            Some(all) if part.bytes < all => {
                Err(Failure::passing(format!("the connection closed at byte {} of {all}", part.bytes)))
            }
            Some(all) if part.bytes > all => {
                let problem = format!("{} bytes came where {all} were promised", part.bytes);
                part.restart(bar)?;
                Err(Failure::passing(problem))
            }
            _ => Ok(()),
        }
    }

    /// The first bytes of a file, `most` or fewer where it is shorter.
    async fn beginning(&self, url: &Url, source: &Source, most: u64) -> Result<Vec<u8>, FetchError> {
        let mut tries = Tries::default();
        loop {
            match self.start_of(source, most).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => tries.again(url, failure).await?,
            }
        }
    }

    async fn start_of(&self, source: &Source, most: u64) -> Result<Vec<u8>, Failure> {
        let mut headers = HeaderMap::new();
        let range = format!("bytes=0-{}", most.saturating_sub(1));
        headers.insert(RANGE, range.parse().map_err(|_| Failure::passing("no such range"))?);
        let mut response = self.follow(source, &headers).await?;
        if !matches!(response.status(), StatusCode::PARTIAL_CONTENT | StatusCode::OK) {
            let at = response.url().clone();
            check_status(&at, &response, at.origin() == self.endpoint.origin())?;
            return Err(Failure::passing(format!("an answer {} to a download", response.status())));
        }
        let mut bytes = Vec::new();
        // A server without ranges sends the whole: no more is taken than is needed.
        while let Some(chunk) = response.chunk().await.map_err(|e| Failure::passing(chain(&e.without_url())))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 >= most {
                bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
                return Ok(bytes);
            }
        }
        match source.bytes {
            Some(all) if (bytes.len() as u64) < all.min(most) => {
                Err(Failure::passing(format!("the connection closed at byte {} of {}", bytes.len(), all.min(most))))
            }
            _ => Ok(bytes),
        }
    }

    /// Asks for a file where it lies.
    async fn follow(&self, source: &Source, headers: &HeaderMap) -> Result<Response, Failure> {
        let mut response = self.send(reqwest::Method::GET, &source.url, headers.clone()).await?;
        for _ in 0..REDIRECTS {
            if !response.status().is_redirection() {
                break;
            }
            let at = location(&response).ok_or_else(|| Failure::passing("a redirect to nowhere"))?;
            response = self.send(reqwest::Method::GET, &at, headers.clone()).await?;
        }
        Ok(response)
    }

    async fn send(&self, method: reqwest::Method, url: &Url, headers: HeaderMap) -> Result<Response, Failure> {
        // Compressed bytes could not be counted or continued.
        let mut request =
            self.client.request(method, url.clone()).headers(headers).header("accept-encoding", "identity");
        if let Some(token) = self.token.as_ref().filter(|_| url.origin() == self.endpoint.origin()) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.send().await.map_err(|error| Failure::passing(chain(&error.without_url())))
    }
}

/// What has come so far.
struct Part {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Part {
    /// Opens the part of this very content and takes away those of others.
    fn open(path: &Path, source: &Source) -> Result<Self, FetchError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let own = folder.join(format!(".{name}.{}.part", tag(&source.etag)));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&own)
            .map_err(|error| file_error(&own, &error))?;
        match file.try_lock() {
            // Not every file system has locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => {
                let problem = "another process is downloading it".to_owned();
                return Err(FetchError::File { path: own, problem, cure: "Wait for it, or stop it".to_owned() });
            }
        }
        for entry in fs::read_dir(folder).map_err(|error| file_error(folder, &error))?.flatten() {
            let other = entry.file_name().to_string_lossy().into_owned();
            let stale = other.starts_with(&format!(".{name}.")) && other.ends_with(".part") && entry.path() != own;
            if stale && fs::remove_file(entry.path()).is_ok() {
                tracing::info!("the file changed on the hub: {} is of no use and was removed", entry.path().display());
            }
        }
        let bytes = file.seek(SeekFrom::End(0)).map_err(|error| file_error(&own, &error))?;
        let mut part = Self { path: own, file, bytes };
        if source.bytes.is_some_and(|all| bytes > all) || source.bytes.is_none() {
            part.cut()?;
        }
        Ok(part)
    }

    fn cut(&mut self) -> Result<(), FetchError> {
        let cut = self.file.set_len(0).and_then(|()| self.file.rewind());
        cut.map_err(|error| file_error(&self.path, &error))?;
        self.bytes = 0;
        Ok(())
    }

    fn restart(&mut self, bar: &mut Bar) -> Result<(), FetchError> {
        if self.bytes > 0 {
            tracing::warn!("the download starts again from its first byte");
            self.cut()?;
            bar.set(0);
        }
        Ok(())
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(chunk).map_err(|error| file_error(&self.path, &error))?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }
}

/// Tries in a row that brought nothing new.
#[derive(Default)]
struct Tries(u32);

impl Tries {
    /// Waits before another try, or says why there is none.
    async fn again(&mut self, url: &Url, failure: Failure) -> Result<(), FetchError> {
        let (problem, asked) = match failure {
            Failure::Passing { problem, wait } => (problem, wait),
            Failure::Final(error) => return Err(error),
        };
        self.0 += 1;
        if self.0 >= TRIES {
            return Err(FetchError::Unreachable { url: url.to_string(), problem });
        }
        let wait = asked.unwrap_or(FIRST_WAIT * 2u32.pow(self.0 - 1)).min(LONGEST_WAIT);
        tracing::warn!(wait_ms = wait.as_millis(), "{problem}: trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Shows how far a download is: a bar on a terminal, a line per tenth elsewhere.
struct Bar {
    bar: ProgressBar,
    all: Option<u64>,
    tenths: u64,
}

impl Bar {
    fn new(all: Option<u64>, present: u64) -> Self {
        let bar = all.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let style = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta:>4} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar: bar.with_position(present), all, tenths: tenths(present, all) }
    }

    fn set(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
        let tenths = tenths(bytes, self.all);
        if self.bar.is_hidden() && self.tenths < tenths {
            tracing::info!(bytes, "{tenths}0 % is here");
        }
        self.tenths = tenths;
    }
}

/// How many tenths of `all` are there.
fn tenths(bytes: u64, all: Option<u64>) -> u64 {
    all.filter(|all| *all > 0).map_or(0, |all| bytes.saturating_mul(10) / all)
}

/// What the hub's address for the file is.
fn resolve_url(args: &Args) -> Result<Url, FetchError> {
    let mut url = args.endpoint.clone();
    let bad = |problem: &str, cure: &str| refused(&args.endpoint, problem.to_owned(), cure);
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("the endpoint is not on the web", "Name it as https://huggingface.co"));
    }
    let (repo, file): (Vec<_>, Vec<_>) = (args.repo.split('/').collect(), args.file.split('/').collect());
    if repo.len() != 2 || repo.iter().chain(&file).any(|p| matches!(*p, "" | "." | "..")) {
        return Err(bad(
            &format!("{}/{} names no file", args.repo, args.file),
            "Name --repo OWNER/NAME and --file NAME",
        ));
    }
    let mut segments = url.path_segments_mut().map_err(|()| bad("no path can follow it", "Name another --endpoint"))?;
    // A slash in a revision is a part of its name.
    segments.pop_if_empty().extend(repo).push("resolve").push(&args.revision).extend(file);
    drop(segments);
    Ok(url)
}

fn destination(args: &Args) -> Result<PathBuf, FetchError> {
    let file = Path::new(&args.file);
    if file.components().any(|c| !matches!(c, Component::Normal(_))) {
        let cure = "Name a file of the repository".to_owned();
        return Err(FetchError::File { path: file.to_owned(), problem: "it is no plain path".to_owned(), cure });
    }
    let dir = args.dir.clone().or_else(default_dir).ok_or_else(|| FetchError::File {
        path: file.to_owned(),
        problem: "this user has no cache folder".to_owned(),
        cure: "Name a folder with --dir".to_owned(),
    })?;
    Ok(dir.join(file))
}

/// Sorts answers into those that another try may mend and those that it cannot; `hub` says whether the hub itself gave
/// it, rather than the place where the file lies, whose signed addresses expire.
fn check_status(url: &Url, response: &Response, hub: bool) -> Result<(), Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
    let said = header("x-error-message").map(|m| format!(": {m}")).unwrap_or_default();
    let problem = format!("the answer is {status}{said}");
    let cure = match (status, header("x-error-code").unwrap_or_default()) {
        (_, "GatedRepo") => "Accept the model's conditions on its page, and set HF_TOKEN to a token of that account",
        (_, "EntryNotFound") => "Check --file: the repository has no such file at that --revision",
        (_, "RevisionNotFound") => "Check --revision",
        (_, "RepoNotFound") => "Check --repo, or set HF_TOKEN if it is private",
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) if hub => {
            "Set HF_TOKEN to a token that may read the repository, and check --repo"
        }
        (StatusCode::NOT_FOUND, _) if hub => "Check --repo, --revision and --file",
        (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS, _) => {
            return Err(Failure::Passing { problem, wait: retry_after(response) });
        }
        _ if status.is_server_error() || !hub => {
            return Err(Failure::Passing { problem, wait: retry_after(response) });
        }
        _ => "Check --repo, --revision, --file and --endpoint",
    };
    Err(Failure::Final(refused(url, problem, cure)))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn location(response: &Response) -> Option<Url> {
    response.url().join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

/// The first byte and the size of the whole, of `Content-Range: bytes first-last/all`.
fn content_range(response: &Response) -> Option<(u64, u64)> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, all) = range.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, all.parse().ok()?))
}

fn no_etag(url: &Url) -> Failure {
    let cure = "Check --endpoint: a Hugging Face hub, or a mirror of one, does";
    Failure::Final(refused(url, "the answer does not say what the file is (no ETag)".to_owned(), cure))
}

fn refused(url: &Url, problem: String, cure: &str) -> FetchError {
    FetchError::Refused { url: url.to_string(), problem, cure: cure.to_owned() }
}

fn file_error(path: &Path, error: &io::Error) -> FetchError {
    let cure = match error.kind() {
        io::ErrorKind::StorageFull => "Make room and run the same command again: what has come is kept",
        _ => "Choose a folder that can be written with --dir",
    };
    FetchError::File { path: path.to_owned(), problem: error.to_string(), cure: cure.to_owned() }
}

/// An error and what caused it: reqwest keeps the cause to itself.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

fn sha256_of(path: &Path) -> Result<String, FetchError> {
    let failed = |error: io::Error| file_error(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads a SHA-256 in hexadecimal.
fn sha256_hex(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a SHA-256 has 64 hexadecimal digits".to_owned())
    }
}
