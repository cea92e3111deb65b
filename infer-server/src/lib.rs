//! The native server as a library: [`service::router`] makes the whole service, so tests run it in process.
//!
//! A module imports only from those before it; what computes on this machine is `accel_model`, a crate of its own.
//!
//! - `panics`: as errors; `store`: files that outlive the server.
//! - [`metrics`]: what is counted; [`health`]: whether work is taken.
//! - [`traces`]: spans of what is done, for an OpenTelemetry collector.
//! - [`tls`]: the server's certificate; [`listen`]: connections, and how long each may take.
//! - [`scoring`]: questions to a language model: who answers them, and how.
//! - `error`: every refusal; [`hub`]: models by name; `input`: what the body of a request asks for.
//! - `work`: what requests and jobs have in common; [`jobs`]: the same in the background.
//! - `http`: what all routes share; [`auth`]: keys and their roles; `origin`: what browsers may carry here from other sites;
//!   [`logs`]: one line per event; `schema`: what requests hold, by core's own tables.
//! - `routes`: the endpoints, one module per kind; `document`: what they say of themselves.
//! - [`page`]: the page's files, and what browsers are told with them.
//! - [`service`]: all of it behind limits, key and logs.

pub mod auth;
mod document;
mod error;
pub mod health;
mod http;
pub mod hub;
mod input;
pub mod jobs;
pub mod listen;
pub mod logs;
pub mod metrics;
mod origin;
pub mod page;
mod panics;
mod routes;
mod schema;
pub mod scoring;
pub mod service;
mod store;
pub mod tls;
pub mod traces;
mod work;
