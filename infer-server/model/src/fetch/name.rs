//! Which file of which hub: names, addresses and places on this machine.

use std::path::{Component, Path, PathBuf};

use reqwest::Url;

use super::error::{FetchError, refused};

/// The default model: the prototype's, in 4 bits.
const REPO: &str = "TheBloke/Mistral-7B-Instruct-v0.2-GGUF";
/// Its file.
const FILE: &str = "mistral-7b-instruct-v0.2.Q4_K_M.gguf";
/// The file that says which shapes a model has.
pub const CONFIG: &str = "config.json";
/// Where models are unless another hub is named.
pub const ENDPOINT: &str = "https://huggingface.co";

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

/// Where the default model is once it was fetched; `None` where the user has no cache folder.
pub fn default_model() -> Option<PathBuf> {
    Some(default_dir()?.join(FILE))
}

fn default_dir() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("accel-copilot").join("models"))
}

/// What the hub's address for the file is.
pub(super) fn resolve_url(args: &Args) -> Result<Url, FetchError> {
    let mut url = args.endpoint.clone();
    let bad = |problem: &str, cure: &str| refused(&args.endpoint, problem, cure);
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

pub(super) fn destination(args: &Args) -> Result<PathBuf, FetchError> {
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

/// Where files of a model are kept.
pub(super) fn kept_in(args: &Args) -> Result<PathBuf, FetchError> {
    let dir = args.dir.clone().or_else(|| Some(dirs::cache_dir()?.join("accel-copilot").join("hub")));
    let dir = dir.ok_or_else(|| FetchError::File {
        path: PathBuf::from(&args.file),
        problem: "this user has no cache folder".to_owned(),
        cure: "Download the file and name it by its path".to_owned(),
    })?;
    Ok(dir.join(args.repo.replace('/', "--")).join(args.revision.replace('/', "--")))
}

/// Reads a SHA-256 in hexadecimal.
pub(super) fn sha256_hex(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a SHA-256 has 64 hexadecimal digits".to_owned())
    }
}
