//! What is counted, for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Where a model is in its life: there is none, it is elsewhere, or as [`crate::scoring::queue::Phase`] says.
pub(crate) const PHASES: [&str; 7] = ["none", "remote", "unloaded", "loading", "warming", "ready", "failed"];

/// A request and how it ended.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

/// A request, for its duration.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: String,
}

/// What the server was built as.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
    target: String,
    model: &'static str,
}

impl Build {
    fn of_this() -> Self {
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        let model = if cfg!(feature = "model") { "yes" } else { "no" };
        Self { version: env!("CARGO_PKG_VERSION"), target, model }
    }
}

/// A phase of the model's life.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Phase {
    phase: &'static str,
}

/// From a millisecond to half an hour, a factor of two apart.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 21))
}

/// Every count of one server; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram>,
    phases: Family<Phase, Gauge>,
    /// How long a request waited for the model's first look at it.
    pub queue_wait: Histogram,
    /// Items that wait for the model.
    pub queue_items: Gauge,
    /// Tokens that wait for the model.
    pub queue_tokens: Gauge,
    /// Items the model answered.
    pub items: Counter,
    /// Tokens the model read for them.
    pub tokens: Counter,
    /// How long the model took for a piece of a request.
    pub pieces: Histogram,
    /// Requests that their clients left.
    pub abandoned: Counter,
    /// Scores found in the cache.
    pub cache_hits: Counter,
    /// Scores not found in the cache.
    pub cache_misses: Counter,
    /// Scores not written to disk because the disk was behind.
    pub cache_unwritten: Counter,
    /// Calls to a remote engine that were repeated.
    pub remote_retries: Counter,
    /// Jobs waiting or running.
    pub jobs: Gauge,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that may be open at once.
    pub connections_limit: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut all = Registry::default();
        all.register_collector(Box::new(Process));
        let registry = all.sub_registry_with_prefix("accel");
        let requests = Family::default();
        registry.register("http_requests", "Requests by route and status", requests.clone());
        let times = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit("http_request_duration", "Time to the answer's head", Unit::Seconds, times.clone());
        let (queue_items, queue_tokens, jobs) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("queue_items", "Items that wait for the model", queue_items.clone());
        registry.register("queue_tokens", "Tokens that wait for the model", queue_tokens.clone());
        registry.register("jobs", "Jobs waiting or running", jobs.clone());
        let (connections, connections_limit) = (Gauge::default(), Gauge::default());
        registry.register("connections", "Connections that are open", connections.clone());
        let help = "Connections that may be open at once; more wait";
        registry.register("connections_limit", help, connections_limit.clone());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let items = counter("scored_items", "Items the model answered");
        let tokens = counter("scored_tokens", "Tokens the model read");
        let abandoned = counter("abandoned_requests", "Score requests that their clients left");
        let cache_hits = counter("cache_hits", "Scores found in the cache");
        let cache_misses = counter("cache_misses", "Scores not found in the cache");
        let cache_unwritten = counter("cache_unwritten", "Scores not kept on disk because it was behind or full");
        let remote_retries = counter("remote_retries", "Calls to a remote engine that were repeated");
        let queue_wait = durations();
        let help = "Time from the queue's end to its front";
        registry.register_with_unit("queue_wait", help, Unit::Seconds, queue_wait.clone());
        let phases = Family::default();
        registry.register("model_phase", "1 for the phase that the model is in, 0 for those it was in", phases.clone());
        let build: Family<Build, Gauge> = Family::default();
        build.get_or_create(&Build::of_this()).set(1);
        registry.register("build", "What the server was built as", build);
        let pieces = durations();
        registry.register_with_unit("piece_duration", "Time of a piece in the model", Unit::Seconds, pieces.clone());
        Self {
            registry: Arc::new(all),
            requests,
            durations: times,
            phases,
            queue_wait,
            queue_items,
            queue_tokens,
            items,
            tokens,
            pieces,
            abandoned,
            cache_hits,
            cache_misses,
            cache_unwritten,
            remote_retries,
            jobs,
            connections,
            connections_limit,
        }
    }
}

impl Metrics {
    /// Counts a request. `route` is the pattern, not the path, so that the number of series is bounded.
    pub fn request(&self, route: &str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { route: route.to_owned(), status }).inc();
        self.durations.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Notes the phase that the model is in.
    pub(crate) fn phase(&self, phase: &'static str) {
        let now = Phase { phase };
        // First the others: at no moment are there two.
        for known in PHASES.map(|phase| Phase { phase }) {
            if known != now && self.phases.get(&known).is_some() {
                self.phases.get_or_create(&known).set(0);
            }
        }
        self.phases.get_or_create(&now).set(1);
    }

    /// The counts as text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What the system says of this process, asked when the counts are.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let pid = Pid::from_u32(std::process::id());
        // Where the system does not say, there is nothing to show.
        let Ok(mut system) = System::new() else { return Ok(()) };
        let wanted = ProcessRefreshKind::nothing().with_memory().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, wanted);
        let Some(process) = system.process(pid) else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, unit: &Unit, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, Some(unit), gauge.metric_type())?)
        };
        // Names that every dashboard knows.
        gauge("process_resident_memory", "Memory that the process holds", &Unit::Bytes, process.memory() as f64)?;
        gauge("process_virtual_memory", "Addresses that it has", &Unit::Bytes, process.virtual_memory() as f64)?;
        gauge("process_start_time", "When it began, since 1970", &Unit::Seconds, process.start_time() as f64)?;
        let cpu = ConstCounter::new(process.accumulated_cpu_time() as f64 / 1000.0);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "Time on processors",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)
    }
}
