//! Serves the page and the API.

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use axum::http::HeaderValue;
use clap::{Parser, Subcommand, ValueEnum};
use infer_server::app::{Config, Health, router};
use infer_server::{fetch, quantize};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// The page, the prototype's REST API and the recipes, served from one machine.
#[derive(Debug, Parser)]
#[command(name = "infer-server", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Address to listen on.
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
    /// Recipes run at once; more are told to come back.
    #[arg(long, value_name = "N", default_value_t = Config::default().runs)]
    runs: usize,
    /// How to write logs; RUST_LOG chooses which.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// What else than serving.
#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a 4-bit GGUF of a Hugging Face model.
    Quantize(quantize::Args),
    /// Downloads a model from the Hugging Face hub; the default one where none is named.
    Fetch(fetch::Args),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    start_logs(args.log_format);
    match &args.command {
        Some(Command::Quantize(options)) => {
            let made = quantize::run(options)?;
            println!("{} ({} parameters, {} bytes)", options.output.display(), made.parameters, made.file_bytes);
            return Ok(());
        }
        Some(Command::Fetch(options)) => {
            let fetched = fetch::run(options).await?;
            println!("{} ({} bytes, SHA-256 {})", fetched.path.display(), fetched.bytes, fetched.sha256);
            return Ok(());
        }
        None => {}
    }
    let config = Config {
        page: find_page(args.page)?,
        cors_origins: args.cors_origins,
        body_limit_bytes: args.body_limit,
        runs: args.runs,
    };
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}. Stop what uses it, or choose another with --port"))?;
    let health = Health::default();
    let service = router(&config, health.clone());
    match &config.page {
        Some(page) => tracing::info!(page = %page.display(), "serving the page"),
        None => tracing::warn!("no page found: only the API is served. Name the built page with --page DIR"),
    }
    tracing::info!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, service).with_graceful_shutdown(stop_signal(health)).await?;
    tracing::info!("stopped");
    Ok(())
}

fn start_logs(format: LogFormat) {
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

/// The folder named, or the one that a release has next to the server's.
fn find_page(named: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    let is_page = |dir: &PathBuf| dir.join("index.html").is_file();
    match named {
        Some(dir) if is_page(&dir) => Ok(Some(dir)),
        Some(dir) => bail!("{} has no index.html. Build the page with `cargo xtask dist`", dir.display()),
        None => {
            let own = std::env::current_exe().context("cannot tell where the server is installed")?;
            Ok(own.parent().and_then(|bin| bin.parent()).map(|root| root.join("page")).filter(is_page))
        }
    }
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
