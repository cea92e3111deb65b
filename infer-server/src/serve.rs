//! `infer-server serve`: from the command line to a running service.

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use accel_core::closed;
use accel_model::flags::one_of;
use accel_model::{DeviceKind, LoadOptions};
use anyhow::{Context as _, bail, ensure};
use axum::http::HeaderValue;
use infer_server::auth::ApiKey;
use infer_server::health::Health;
use infer_server::hub::Hub;
use infer_server::jobs::JobLimits;
use infer_server::metrics::Metrics;
use infer_server::page::Page;
use infer_server::scoring::cache::{Cache, Disk, ENTRIES, ENTRIES_ON_DISK};
use infer_server::scoring::queue::{self, Queue};
use infer_server::scoring::remote::{self, Client, Kind, Secret};
use infer_server::scoring::{Backend, Common, Limits, Scoring};
use infer_server::service::{Config, router};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// The environment variable of the server's own key.
const API_KEY: &str = "ACCEL_API_KEY";
/// The environment variable of the remote engine's key.
const REMOTE_API_KEY: &str = "ACCEL_REMOTE_API_KEY";

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on. One that others can reach needs an API key.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), env = "ACCEL_HOST")]
    host: IpAddr,
    /// Port to listen on; 0 chooses a free one.
    #[arg(long, default_value_t = 8000, env = "ACCEL_PORT")]
    port: u16,
    /// The built page [default: the folder `page` next to the server's own].
    #[arg(long, value_name = "DIR", env = "ACCEL_PAGE")]
    page: Option<PathBuf>,
    /// An origin whose pages may call the API, such as https://example.org; may be repeated.
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    cors_origins: Vec<HeaderValue>,
    /// The largest request body in bytes.
    #[arg(long, value_name = "N", default_value_t = Config::default().body_limit_bytes)]
    body_limit: usize,
    /// Recipes run at once; further ones are refused with the time to come back.
    #[arg(long, value_name = "N", default_value_t = Config::default().runs)]
    runs: usize,
    /// Jobs waiting or running; further ones are refused with the time to come back.
    #[arg(long, value_name = "N", default_value_t = JobLimits::default().unfinished)]
    jobs: usize,
    /// Let requests name models of this hub, such as https://huggingface.co, by OWNER/NAME: their config.json is fetched and
    /// kept. A token for it is read from the environment, HF_TOKEN.
    #[arg(long, value_name = "URL")]
    hub: Option<accel_model::fetch::Url>,
    /// A file with the key that requests must carry; ACCEL_API_KEY may hold the key itself.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Listen where others can reach the server without a key.
    #[arg(long)]
    allow_unauthenticated: bool,
    /// How to write logs; RUST_LOG chooses which.
    #[arg(long, value_parser = one_of::<LogFormat>(), ignore_case = true, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(flatten)]
    local: LocalArgs,
    #[command(flatten)]
    remote: RemoteArgs,
    #[command(flatten)]
    scoring: ScoringArgs,
}

/// The model on this machine.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model on this machine")]
struct LocalArgs {
    /// A GGUF file of Llama architecture that scores evictions.
    #[arg(long, value_name = "FILE", env = "ACCEL_MODEL")]
    model: Option<PathBuf>,
    /// A tokenizer.json to use instead of the file's own.
    #[arg(long, value_name = "FILE", requires = "model")]
    tokenizer: Option<PathBuf>,
    /// A PEFT LoRA adapter's folder.
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
    /// The folder below which POST /v1/adapter may choose another adapter.
    #[arg(long, value_name = "DIR", requires = "model")]
    adapters: Option<PathBuf>,
    /// Where to compute.
    #[arg(long, value_parser = one_of::<DeviceKind>(), ignore_case = true, default_value_t = DeviceKind::Cpu)]
    device: DeviceKind,
    /// Threads to compute with [default: one per core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Load the model now rather than when it is first asked.
    #[arg(long, requires = "model")]
    preload: bool,
}

/// The model behind another server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model behind another server (key: ACCEL_REMOTE_API_KEY)")]
struct RemoteArgs {
    /// Address of an engine that scores evictions, such as http://127.0.0.1:8080.
    #[arg(long, value_name = "URL", conflicts_with = "model", requires = "remote_kind", requires = "remote_model")]
    remote: Option<String>,
    /// What it speaks.
    #[arg(long, value_parser = one_of::<Kind>(), ignore_case = true)]
    remote_kind: Option<Kind>,
    /// The model's name there.
    #[arg(long, value_name = "NAME")]
    remote_model: Option<String>,
    /// Calls to it at once.
    #[arg(long, value_name = "N", default_value_t = 8)]
    remote_concurrency: usize,
    /// Seconds that one call may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    remote_timeout: u64,
    /// How often a call that failed is repeated.
    #[arg(long, value_name = "N", default_value_t = 4)]
    remote_retries: u32,
}

/// Limits of questions to either.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Questions to a model")]
struct ScoringArgs {
    /// Keep answers in this file over restarts.
    #[arg(long, value_name = "FILE", env = "ACCEL_CACHE")]
    cache: Option<PathBuf>,
    /// Answers kept in memory.
    #[arg(long, value_name = "N", default_value_t = ENTRIES)]
    cache_entries: usize,
    /// Items of one request.
    #[arg(long, value_name = "N", default_value_t = Limits::default().items)]
    max_items: usize,
    /// Tokens of one request.
    #[arg(long, value_name = "N", default_value_t = Limits::default().tokens)]
    max_tokens: usize,
    /// Items of all requests that wait; further ones are refused with the time to come back [default: twice --max-items].
    #[arg(long, value_name = "N")]
    queue_items: Option<usize>,
    /// Tokens of all requests that wait; further ones are refused with the time to come back [default: twice --max-tokens].
    #[arg(long, value_name = "N")]
    queue_tokens: Option<usize>,
    /// Seconds that a request may wait for its answer.
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().deadline.as_secs())]
    deadline: u64,
}

closed! {
    /// How logs are written.
    pub(crate) enum LogFormat("log_format", "format of logs") {
        /// Lines for people.
        Text = "text" titled "Lines for people",
        /// One JSON object per line.
        Json = "json" titled "One JSON object per line",
    }
}

/// Serves until it is interrupted or terminated.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    start_logs(args.log_format);
    let api_key = api_key(args.api_key_file.as_deref())?;
    if !args.host.is_loopback() && api_key.is_none() && !args.allow_unauthenticated {
        let host = args.host;
        bail!("{host} can be reached by others. Set {API_KEY} or --api-key-file, or say --allow-unauthenticated");
    }
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}. Stop what uses it, or choose another with --port"))?;
    let config = Config {
        page: find_page(args.page)?,
        cors_origins: args.cors_origins,
        body_limit_bytes: args.body_limit,
        runs: args.runs,
        adapters: args.local.adapters.clone(),
        hub: args.hub.map(|endpoint| Hub::at(endpoint, None)).unwrap_or_default(),
        scoring: scoring(&args.local, &args.remote, &args.scoring)?,
        jobs: JobLimits { unfinished: args.jobs, ..JobLimits::default() },
        api_key,
    };
    let health = Health::default();
    let service = router(&config, health.clone());
    match &config.page {
        Some(page) => tracing::info!(page = %page.folder().display(), "serving the page"),
        None => tracing::warn!("no page found: only the API is served. Name the built page with --page DIR"),
    }
    tracing::info!(scorer = config.scoring.scorer().name(), "listening on http://{}", listener.local_addr()?);
    axum::serve(listener, service).with_graceful_shutdown(stop_signal(health)).await?;
    tracing::info!("stopped");
    Ok(())
}

/// The key that requests must carry, from the file or the environment.
fn api_key(file: Option<&Path>) -> anyhow::Result<Option<ApiKey>> {
    let (text, place) = match (file, std::env::var(API_KEY)) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| format!("cannot read the API key from {}", file.display()))?;
            (text, file.display().to_string())
        }
        (None, Ok(text)) => (text, API_KEY.to_owned()),
        (None, Err(std::env::VarError::NotPresent)) => return Ok(None),
        (None, Err(error)) => return Err(error).context(API_KEY),
    };
    // An empty key is a mistake, and must not mean that everyone may come in.
    let key = ApiKey::new(&text).with_context(|| format!("{place} holds no key. Put one there, or leave it out"))?;
    Ok(Some(key))
}

fn scoring(local: &LocalArgs, remote: &RemoteArgs, args: &ScoringArgs) -> anyhow::Result<Scoring> {
    let limits = Limits {
        items: args.max_items,
        tokens: args.max_tokens,
        queue_items: args.queue_items.unwrap_or(args.max_items.saturating_mul(2)),
        queue_tokens: args.queue_tokens.unwrap_or(args.max_tokens.saturating_mul(2)),
        deadline: Duration::from_secs(args.deadline),
        ..Limits::default()
    };
    let fits = limits.queue_items >= limits.items && limits.queue_tokens >= limits.tokens;
    ensure!(
        fits,
        "the queue is smaller than one request. Raise --queue-items and --queue-tokens, or lower --max-items and --max-tokens"
    );
    let metrics = Metrics::default();
    let disk = args.cache.as_deref().map(|path| Disk::open(path, ENTRIES_ON_DISK)).transpose()?;
    let cache = Arc::new(Cache::new(args.cache_entries, disk, metrics.clone()));
    let common = Common { cache, limits, metrics };
    let backend = match (&local.model, &remote.remote) {
        (Some(model), _) => Backend::Local(start_model(model, local, &common)?),
        (None, Some(url)) => Backend::Remote(Box::new(client(url, remote, &common)?)),
        (None, None) => Backend::Heuristic,
    };
    Ok(Scoring::new(backend, common))
}

fn start_model(model: &Path, args: &LocalArgs, common: &Common) -> anyhow::Result<Queue> {
    let options = LoadOptions {
        tokenizer: args.tokenizer.clone(),
        adapter: args.adapter.clone(),
        device: args.device,
        threads: args.threads,
    };
    let loader = accel_model::loader(model.to_owned(), options)?;
    // Only its content can wait: a wrong name is better reported now than to the first one who asks.
    ensure!(model.is_file(), "{} is no file. `infer-server fetch` downloads a model", model.display());
    if let Some(folder) = args.adapters.as_ref().filter(|folder| !folder.is_dir()) {
        bail!("--adapters {}: no such folder", folder.display());
    }
    let options = queue::Options { adapter: args.adapter.clone(), ..queue::Options::default() };
    let queue = Queue::start(loader, options, common).context("cannot start the model's thread")?;
    if args.preload {
        // What it says is that it is not loaded yet.
        let _ = queue.wake();
    }
    Ok(queue)
}

fn client(url: &str, args: &RemoteArgs, common: &Common) -> anyhow::Result<Client> {
    let key = match std::env::var(REMOTE_API_KEY) {
        Ok(key) => Some(Secret(key.trim().to_owned())).filter(|key| !key.0.is_empty()),
        Err(std::env::VarError::NotPresent) => None,
        Err(error) => return Err(error).context(REMOTE_API_KEY),
    };
    let options = remote::Options {
        url: url.to_owned(),
        kind: args.remote_kind.context("--remote needs --remote-kind")?,
        model: args.remote_model.clone().context("--remote needs --remote-model")?,
        key,
        concurrency: args.remote_concurrency,
        timeout: Duration::from_secs(args.remote_timeout),
        retries: args.remote_retries,
    };
    Ok(Client::new(options, &common.limits, common.metrics.clone())?)
}

pub(crate) fn start_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,tower_http=debug"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}

/// The page in the folder named, or in the one that a release has next to the server's.
fn find_page(named: Option<PathBuf>) -> anyhow::Result<Option<Page>> {
    let folder = match named {
        Some(folder) => Some(folder),
        None => {
            let own = std::env::current_exe().context("cannot find where the server is installed")?;
            let beside = own.parent().and_then(Path::parent).map(|root| root.join("page"));
            beside.filter(|folder| folder.join("index.html").is_file())
        }
    };
    Ok(folder.map(Page::open).transpose()?)
}

/// Waits for Ctrl-C or, on Unix, SIGTERM. Requests under way are finished.
async fn stop_signal(health: Health) {
    let interrupt = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot wait for Ctrl-C");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "cannot wait for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
    health.drain();
    tracing::info!("stopping: finishing the requests under way");
}
