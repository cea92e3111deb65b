//! `infer-server serve`: from its options to a running service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use accel_model::LoadOptions;
use anyhow::{Context as _, bail, ensure};
use infer_server::auth::Keys;
use infer_server::health::Health;
use infer_server::hub::Hub;
use infer_server::jobs::{JobLimits, JobsFile};
use infer_server::metrics::Metrics;
use infer_server::page::Page;
use infer_server::scoring::cache::{Cache, Disk, ENTRIES_ON_DISK};
use infer_server::scoring::queue::{self, Phase, Queue};
use infer_server::scoring::remote::{self, Client, Secret};
use infer_server::scoring::{Backend, Common, Patience, Scoring};
use infer_server::service::{Config, router};
use infer_server::tls::{Files, Tls};
use infer_server::traces::Traces;
use infer_server::{listen, logs};
use tokio::net::TcpListener;

use crate::options::{AccessArgs, Args, LocalArgs, RemoteArgs, ScoringArgs};
use crate::stop::Signals;

/// The environment variable of the server's own key.
const API_KEY: &str = "ACCEL_API_KEY";
/// The environment variable of the remote engine's key.
const REMOTE_API_KEY: &str = "ACCEL_REMOTE_API_KEY";
/// How often an engine that does not answer is asked at the start whether it does.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Serves until it is interrupted or terminated, or its model cannot be loaded at the start.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    logs::start(args.log_format);
    let traces = args.otlp.as_deref().map(Traces::start).transpose()?;
    let (grace, stopping) = (args.connections.bounds().grace, OnceLock::new());
    let outcome = serve(args, &stopping).await;
    if let Some(traces) = traces {
        let gone = stopping.get().map_or(Duration::ZERO, Instant::elapsed);
        traces.flush(grace.saturating_sub(gone)).await;
    }
    outcome
}

/// Notes in `stopping` when it began to stop.
async fn serve(args: Args, stopping: &OnceLock<Instant>) -> anyhow::Result<()> {
    let signals = Signals::catch().context("cannot catch signals")?;
    let keys = keys(&args.access)?;
    if !args.host.is_loopback() && keys.is_none() && !args.access.allow_unauthenticated {
        let host = args.host;
        bail!("{host} can be reached by others. Set {API_KEY} or --api-key-file, or say --allow-unauthenticated");
    }
    let files = args.access.tls_cert.clone().zip(args.access.tls_key.clone());
    let tls = files.map(|(certificate, key)| Tls::open(Files { certificate, key })).transpose()?;
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}. Stop what uses it, or choose another with --port"))?;
    let config = Config {
        page: find_page(args.page)?,
        cors_origins: args.access.cors_origins.clone(),
        allowed_hosts: args.access.allowed_hosts.clone(),
        body_limit_bytes: args.body_limit,
        runs: args.runs,
        adapters: args.local.adapters.clone(),
        hub: args.hub.map(|endpoint| Hub::at(endpoint, None)).unwrap_or_default(),
        scoring: scoring(&args.local, &args.remote, &args.scoring)?,
        jobs: JobLimits { unfinished: args.jobs, ..JobLimits::default() },
        jobs_file: args.jobs_file.as_deref().map(JobsFile::open).transpose()?,
        keys,
    };
    let health = Health::default();
    let service = router(&config, health.clone());
    match &config.page {
        Some(page) => tracing::info!(page = %page.folder().display(), "serving the page"),
        None => tracing::warn!("no page found: only the API is served. Name the built page with --page DIR"),
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!(scorer = config.scoring.scorer().name(), "listening on {scheme}://{}", listener.local_addr()?);
    read_again_on_hangup(args.access.api_key_file, &config, tls.clone())?;
    let stop = async {
        signals.first().await;
        stopping.get_or_init(Instant::now);
        health.drain();
        tell_systemd(Notice::Stopping);
        tracing::info!("stopping: finishing the answers under way");
    };
    let metrics = config.scoring.metrics();
    let served = listen::serve(listener, service, tls, args.connections.bounds(), metrics, stop);
    let (lazy, scoring) = (args.local.lazy, config.scoring.clone());
    let loaded = async move {
        if !lazy {
            wait_until_ready(&scoring).await?;
        }
        tell_systemd(Notice::Ready);
        anyhow::Ok(())
    };
    let mut served = std::pin::pin!(served);
    let cut = tokio::select! {
        cut = served.as_mut() => cut,
        loaded = loaded => {
            loaded?;
            served.await
        }
    };
    if cut > 0 {
        tracing::warn!(cut, "answers that --grace was too short for");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Loads the model, or waits for the engine. A model that cannot be loaded is an error.
async fn wait_until_ready(scoring: &Scoring) -> anyhow::Result<()> {
    match scoring.backend() {
        Backend::Heuristic => {}
        Backend::Local(queue) => {
            if let Err(error) = queue.load(Patience::Job).await {
                match queue.phase() {
                    Phase::Failed(problem) => bail!("{problem}"),
                    _ => bail!("{error}"),
                }
            }
        }
        Backend::Remote(client) => {
            // What is wrong with it is in the log.
            while client.reachable().await.is_err() {
                tokio::time::sleep(PROBE_EVERY).await;
            }
        }
    }
    tracing::info!("ready");
    Ok(())
}

/// What systemd is told of a unit of `Type=notify`.
#[derive(Clone, Copy)]
enum Notice {
    Ready,
    Stopping,
}

#[cfg(target_os = "linux")]
fn tell_systemd(notice: Notice) {
    let state = match notice {
        Notice::Ready => sd_notify::NotifyState::Ready,
        Notice::Stopping => sd_notify::NotifyState::Stopping,
    };
    // Does nothing where systemd did not start the server.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}

#[cfg(not(target_os = "linux"))]
fn tell_systemd(_notice: Notice) {}

/// On SIGHUP: keys and certificate are read again, and the model where its files are others now.
#[cfg(unix)]
fn read_again_on_hangup(key_file: Option<PathBuf>, config: &Config, tls: Option<Tls>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
    let (keys, scoring) = (config.keys.clone(), config.scoring.clone());
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match read_again(key_file.as_deref(), keys.as_ref(), tls.as_ref(), &scoring).await {
                Ok(()) => tracing::info!("read again"),
                Err(error) => tracing::error!("{error:#}. What was read before stays"),
            }
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn read_again_on_hangup(_key_file: Option<PathBuf>, _config: &Config, _tls: Option<Tls>) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(unix)]
async fn read_again(
    key_file: Option<&Path>,
    keys: Option<&Keys>,
    tls: Option<&Tls>,
    scoring: &Scoring,
) -> anyhow::Result<()> {
    if let (Some(file), Some(keys)) = (key_file, keys) {
        keys.replace(&key_text(file)?).with_context(|| file.display().to_string())?;
        tracing::info!(keys = keys.count(), "keys");
    }
    if let Some(tls) = tls {
        tls.reload()?;
    }
    if let Backend::Local(queue) = scoring.backend()
        && queue.is_outdated()
    {
        let model = queue.reload().await?;
        tracing::info!(model = model.name, "model");
    }
    Ok(())
}

/// The keys that requests must carry, from the file or the environment.
fn keys(args: &AccessArgs) -> anyhow::Result<Option<Keys>> {
    let (text, place) = match (&args.api_key_file, std::env::var(API_KEY)) {
        (Some(file), _) => (key_text(file)?, file.display().to_string()),
        (None, Ok(text)) => (text, API_KEY.to_owned()),
        (None, Err(std::env::VarError::NotPresent)) => {
            ensure!(args.rate_limit.is_none(), "--rate-limit is for each key. Set {API_KEY} or --api-key-file");
            return Ok(None);
        }
        (None, Err(error)) => return Err(error).context(API_KEY),
    };
    Ok(Some(Keys::new(&text, args.rate_limit).context(place)?))
}

fn key_text(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read the API key from {}", file.display()))
}

fn scoring(local: &LocalArgs, remote: &RemoteArgs, args: &ScoringArgs) -> anyhow::Result<Scoring> {
    let limits = args.limits()?;
    let metrics = Metrics::default();
    let disk = args.cache.as_deref().map(|path| Disk::open(path, ENTRIES_ON_DISK, metrics.clone())).transpose()?;
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
        context: args.context,
        threads: args.threads,
        replicas: args.replicas,
    };
    let loader = accel_model::loader(model.to_owned(), options)?;
    // Its content waits for the model's thread: a wrong name is reported before the server listens.
    ensure!(model.is_file(), "{} is no file. `infer-server fetch` downloads a model", model.display());
    if let Some(folder) = args.adapters.as_ref().filter(|folder| !folder.is_dir()) {
        bail!("--adapters {}: no such folder", folder.display());
    }
    let options = queue::Options { adapter: args.adapter.clone(), ..queue::Options::default() };
    Queue::start(loader, options, common).context("cannot start the model's thread")
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
