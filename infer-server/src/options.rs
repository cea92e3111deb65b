//! What `serve` takes: each option as a flag, in the environment as `ACCEL_` and its name, and in the file of `--config`.

use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use accel_model::DeviceKind;
use accel_model::flags::one_of;
use anyhow::ensure;
use axum::http::{HeaderValue, Uri};
use clap::builder::RangedU64ValueParser;
use infer_server::jobs::JobLimits;
use infer_server::listen::Bounds;
use infer_server::logs::LogFormat;
use infer_server::scoring::Limits;
use infer_server::scoring::cache::ENTRIES;
use infer_server::scoring::remote::Kind;
use infer_server::service::Config;

/// Seconds of a day: nothing here takes longer, and clocks cannot count to the end of time.
const DAY: u64 = 24 * 60 * 60;
/// Bounds of counts that cost memory for each: far above what is of use, far below what could not be had.
const MANY: u64 = 1 << 16;
/// The same of things that are small: items, tokens, answers.
const MANY_SMALL: u64 = 1 << 24;
/// Bodies are held in memory, each up to ten times while it is read.
const LARGEST_BODY: u64 = 1 << 30;

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A TOML file with options by their names, such as `port = 8000`. A flag goes before the environment, and the
    /// environment before the file.
    #[arg(long, value_name = "FILE", env = "ACCEL_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Address to listen on. One that others can reach needs an API key.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), env = "ACCEL_HOST")]
    pub(crate) host: IpAddr,
    /// Port to listen on; 0 chooses a free one.
    #[arg(long, default_value_t = 8000, env = "ACCEL_PORT")]
    pub(crate) port: u16,
    /// The built page [default: the folder `page` next to the server's own].
    #[arg(long, value_name = "DIR", env = "ACCEL_PAGE")]
    pub(crate) page: Option<PathBuf>,
    /// The largest request body in bytes.
    #[arg(long, value_name = "N", value_parser = count(1..=LARGEST_BODY), default_value_t = Config::default().body_limit_bytes, env = "ACCEL_BODY_LIMIT")]
    pub(crate) body_limit: usize,
    /// Recipes run at once; further ones are refused with the time to come back.
    #[arg(long, value_name = "N", value_parser = count(1..=MANY), default_value_t = Config::default().runs, env = "ACCEL_RUNS")]
    pub(crate) runs: usize,
    /// Jobs waiting or running; further ones are refused with the time to come back.
    #[arg(long, value_name = "N", value_parser = count(1..=MANY), default_value_t = JobLimits::default().unfinished, env = "ACCEL_JOBS")]
    pub(crate) jobs: usize,
    /// Keep jobs and their results in this file over restarts [default: in memory only].
    #[arg(long, value_name = "FILE", env = "ACCEL_JOBS_FILE")]
    pub(crate) jobs_file: Option<PathBuf>,
    /// Let requests name models of this hub, such as https://huggingface.co, by OWNER/NAME: their config.json is fetched and
    /// kept. A token for it is read from the environment, HF_TOKEN.
    #[arg(long, value_name = "URL", env = "ACCEL_HUB")]
    pub(crate) hub: Option<accel_model::fetch::Url>,
    /// How to write logs; RUST_LOG chooses which.
    #[arg(long, value_parser = one_of::<LogFormat>(), ignore_case = true, default_value_t = LogFormat::Text, env = "ACCEL_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Send traces to this OpenTelemetry collector over OTLP/HTTP, such as http://127.0.0.1:4318. What else is known of it,
    /// such as its key, is read from the environment: OTEL_EXPORTER_OTLP_HEADERS and its like.
    #[arg(long, value_name = "URL", env = "ACCEL_OTLP", hide_env_values = true)]
    pub(crate) otlp: Option<String>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) connections: ConnectionArgs,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    #[command(flatten)]
    pub(crate) remote: RemoteArgs,
    #[command(flatten)]
    pub(crate) scoring: ScoringArgs,
}

/// Who may ask.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Who may ask")]
pub(crate) struct AccessArgs {
    /// A file with the keys that requests must carry, read again on SIGHUP. A line is KEY, ROLE KEY or ROLE NAME KEY; a ROLE
    /// is score, run or admin (a KEY alone: admin). ACCEL_API_KEY may hold a key itself.
    #[arg(long, value_name = "FILE", env = "ACCEL_API_KEY_FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Requests that each key may make in a minute [default: as many as it likes].
    #[arg(long, value_name = "N", env = "ACCEL_RATE_LIMIT")]
    pub(crate) rate_limit: Option<NonZeroU32>,
    /// Listen where others can reach the server without a key.
    #[arg(long, env = "ACCEL_ALLOW_UNAUTHENTICATED")]
    pub(crate) allow_unauthenticated: bool,
    /// A name by which a server without a key may be asked, beside addresses and localhost; may be repeated.
    #[arg(
        long = "allowed-host",
        value_name = "NAME",
        value_parser = host_name,
        value_delimiter = ',',
        env = "ACCEL_ALLOWED_HOST"
    )]
    pub(crate) allowed_hosts: Vec<String>,
    /// An origin whose pages may call the API, such as https://example.org; may be repeated.
    #[arg(long = "cors-origin", value_name = "ORIGIN", value_parser = origin, value_delimiter = ',', env = "ACCEL_CORS_ORIGIN")]
    pub(crate) cors_origins: Vec<HeaderValue>,
    /// Speak TLS with the certificates in this PEM file, read again on SIGHUP.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "ACCEL_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of the first of them, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "ACCEL_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// How many connections, and for how long.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionArgs {
    /// Connections at once; more wait until one ends.
    #[arg(long, value_name = "N", value_parser = count(1..=MANY), default_value_t = Bounds::default().connections, env = "ACCEL_CONNECTIONS")]
    connections: usize,
    /// Seconds until the first byte of a request: after connecting, and after an answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1), default_value_t = Bounds::default().idle.as_secs(), env = "ACCEL_IDLE_TIMEOUT")]
    idle_timeout: u64,
    /// Seconds for the rest of a request's head, and for the handshake of TLS.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1), default_value_t = Bounds::default().head.as_secs(), env = "ACCEL_HEAD_TIMEOUT")]
    head_timeout: u64,
    /// Seconds for a request's body as a whole.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1), default_value_t = Bounds::default().body.as_secs(), env = "ACCEL_BODY_TIMEOUT")]
    body_timeout: u64,
    /// Seconds without a byte of a body or of an answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1), default_value_t = Bounds::default().stall.as_secs(), env = "ACCEL_STALL_TIMEOUT")]
    stall_timeout: u64,
    /// Seconds for a connection as a whole; what is under way then has --grace to end.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1), default_value_t = Bounds::default().total.as_secs(), env = "ACCEL_CONNECTION_TIMEOUT")]
    connection_timeout: u64,
    /// Seconds for the answers under way when the server stops.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(0), default_value_t = Bounds::default().grace.as_secs(), env = "ACCEL_GRACE")]
    grace: u64,
}

/// The model on this machine.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model on this machine")]
pub(crate) struct LocalArgs {
    /// A GGUF file of Llama architecture that scores evictions.
    #[arg(long, value_name = "FILE", env = "ACCEL_MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// A tokenizer.json to use instead of the file's own.
    #[arg(long, value_name = "FILE", requires = "model", env = "ACCEL_TOKENIZER")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// A PEFT LoRA adapter's folder.
    #[arg(long, value_name = "DIR", requires = "model", env = "ACCEL_ADAPTER")]
    pub(crate) adapter: Option<PathBuf>,
    /// The folder below which POST /v1/adapter may choose another adapter.
    #[arg(long, value_name = "DIR", requires = "model", env = "ACCEL_ADAPTERS")]
    pub(crate) adapters: Option<PathBuf>,
    /// Where to compute.
    #[arg(long, value_parser = one_of::<DeviceKind>(), ignore_case = true, default_value_t = DeviceKind::Cpu, env = "ACCEL_DEVICE")]
    pub(crate) device: DeviceKind,
    /// The longest prompt in tokens [default: the model's own; of one with LongRoPE, such as Phi-3, what it was first trained
    /// for]. Longer ones take such a model's factors for long contexts, for all prompts.
    #[arg(long, value_name = "TOKENS", requires = "model", value_parser = count(1..=MANY_SMALL), env = "ACCEL_CONTEXT")]
    pub(crate) context: Option<usize>,
    /// Threads to compute with [default: one per core].
    #[arg(long, value_name = "N", value_parser = count(1..=1024), env = "ACCEL_THREADS")]
    pub(crate) threads: Option<usize>,
    /// So many compute at once, each on one thread, with the same weights: for small models on many cores, with
    /// RAYON_NUM_THREADS=1 in the environment [default: one, on all threads].
    #[arg(long, value_name = "N", requires = "model", env = "ACCEL_REPLICAS")]
    pub(crate) replicas: Option<NonZeroUsize>,
    /// Load the model when it is first asked rather than now. The server is not ready before.
    #[arg(long, requires = "model", env = "ACCEL_LAZY")]
    pub(crate) lazy: bool,
}

/// The model behind another server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model behind another server (key: ACCEL_REMOTE_API_KEY)")]
pub(crate) struct RemoteArgs {
    /// Address of an engine that scores evictions, such as http://127.0.0.1:8080.
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "model",
        requires = "remote_kind",
        requires = "remote_model",
        env = "ACCEL_REMOTE",
        hide_env_values = true
    )]
    pub(crate) remote: Option<String>,
    /// What it speaks.
    #[arg(long, value_parser = one_of::<Kind>(), ignore_case = true, env = "ACCEL_REMOTE_KIND")]
    pub(crate) remote_kind: Option<Kind>,
    /// The model's name there.
    #[arg(long, value_name = "NAME", env = "ACCEL_REMOTE_MODEL")]
    pub(crate) remote_model: Option<String>,
    /// Calls to it at once.
    #[arg(long, value_name = "N", value_parser = count(1..=1024), default_value_t = 8, env = "ACCEL_REMOTE_CONCURRENCY")]
    pub(crate) remote_concurrency: usize,
    /// Seconds that one call may take.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1), default_value_t = 60, env = "ACCEL_REMOTE_TIMEOUT")]
    pub(crate) remote_timeout: u64,
    /// How often a call that failed is repeated.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100), default_value_t = 4, env = "ACCEL_REMOTE_RETRIES")]
    pub(crate) remote_retries: u32,
}

/// Limits of questions to either.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Questions to a model")]
pub(crate) struct ScoringArgs {
    /// Keep answers in this file over restarts.
    #[arg(long, value_name = "FILE", env = "ACCEL_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// Answers kept in memory.
    #[arg(long, value_name = "N", value_parser = count(0..=MANY_SMALL), default_value_t = ENTRIES, env = "ACCEL_CACHE_ENTRIES")]
    pub(crate) cache_entries: usize,
    /// Items of one request.
    #[arg(long, value_name = "N", value_parser = count(1..=MANY_SMALL), default_value_t = Limits::default().items, env = "ACCEL_MAX_ITEMS")]
    max_items: usize,
    /// Tokens of one request.
    #[arg(long, value_name = "N", value_parser = count(1..=MANY_SMALL), default_value_t = Limits::default().tokens, env = "ACCEL_MAX_TOKENS")]
    max_tokens: usize,
    /// Items of all requests that wait; further ones are refused with the time to come back [default: twice --max-items].
    #[arg(long, value_name = "N", value_parser = count(1..=2 * MANY_SMALL), env = "ACCEL_QUEUE_ITEMS")]
    queue_items: Option<usize>,
    /// Tokens of all requests that wait; further ones are refused with the time to come back [default: twice --max-tokens].
    #[arg(long, value_name = "N", value_parser = count(1..=2 * MANY_SMALL), env = "ACCEL_QUEUE_TOKENS")]
    queue_tokens: Option<usize>,
    /// Seconds that a request may wait for its answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds(1), default_value_t = Limits::default().deadline.as_secs(), env = "ACCEL_DEADLINE")]
    deadline: u64,
}

impl ConnectionArgs {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            connections: self.connections,
            idle: Duration::from_secs(self.idle_timeout),
            head: Duration::from_secs(self.head_timeout),
            body: Duration::from_secs(self.body_timeout),
            stall: Duration::from_secs(self.stall_timeout),
            total: Duration::from_secs(self.connection_timeout),
            grace: Duration::from_secs(self.grace),
        }
    }
}

impl ScoringArgs {
    pub(crate) fn limits(&self) -> anyhow::Result<Limits> {
        let limits = Limits {
            items: self.max_items,
            tokens: self.max_tokens,
            queue_items: self.queue_items.unwrap_or(2 * self.max_items),
            queue_tokens: self.queue_tokens.unwrap_or(2 * self.max_tokens),
            deadline: Duration::from_secs(self.deadline),
            ..Limits::default()
        };
        let fits = limits.queue_items >= limits.items && limits.queue_tokens >= limits.tokens;
        ensure!(
            fits,
            "the queue is smaller than one request. Raise --queue-items and --queue-tokens, or lower --max-items and --max-tokens"
        );
        Ok(limits)
    }
}

/// Reads a whole number of a range.
fn count(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Reads so many seconds at least, and a day at most.
fn seconds(least: u64) -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(least..=DAY)
}

/// Reads an origin as browsers send it: a scheme, a host, and a port where it is not the scheme's own.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let cure = "Write it as https://example.org or http://127.0.0.1:8080";
    if text == "*" {
        return Err(format!("every page of the web could ask then. Name each origin. {cure}"));
    }
    let uri: Uri = text.parse().map_err(|_| format!("not an origin. {cure}"))?;
    let written = match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) if !authority.as_str().contains('@') => {
            format!("{scheme}://{authority}").to_ascii_lowercase()
        }
        _ => return Err(format!("not an origin. {cure}")),
    };
    if text != written {
        return Err(format!("browsers write it otherwise. Write {written}"));
    }
    HeaderValue::from_str(text).map_err(|_| format!("not an origin. {cure}"))
}

/// Reads the name of a host, without a port: any will do.
fn host_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let fits = !text.is_empty() && text.chars().all(plain);
    if fits { Ok(text.to_owned()) } else { Err("not a name. Write it as server.example.org, without a port".into()) }
}
