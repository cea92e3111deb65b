//! What is counted, for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

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
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("accel");
        let requests = Family::default();
        registry.register("http_requests", "Requests by route and status", requests.clone());
        let times = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit("http_request_duration", "Time to the answer's head", Unit::Seconds, times.clone());
        let (queue_items, queue_tokens, jobs) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("queue_items", "Items that wait for the model", queue_items.clone());
        registry.register("queue_tokens", "Tokens that wait for the model", queue_tokens.clone());
        registry.register("jobs", "Jobs waiting or running", jobs.clone());
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
        let cache_unwritten = counter("cache_unwritten", "Scores not kept on disk because it was behind");
        let remote_retries = counter("remote_retries", "Calls to a remote engine that were repeated");
        let pieces = durations();
        registry.register_with_unit("piece_duration", "Time of a piece in the model", Unit::Seconds, pieces.clone());
        Self {
            registry: Arc::new(registry),
            requests,
            durations: times,
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
        }
    }
}

impl Metrics {
    /// Counts a request. `route` is the pattern, not the path, so that the number of series is bounded.
    pub fn request(&self, route: &str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { route: route.to_owned(), status }).inc();
        self.durations.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// The counts as text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
